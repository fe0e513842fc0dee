//! Running kernels on the card's TPCs: loading code, submitting the launches, waiting for their end.
//!
//! A launch goes the way of production programs (`submission-path.md` 11.8): an internal queue of each TPC gets a packet that
//! hands a program to its lower command processor; the program writes the descriptor and starts the kernel; the TPC itself adds
//! 1 to a sync object when the kernel ended; an external queue waits for all of them, and its completion is that of the launch.
//!
//! Owns the place of the code and of the programs in device and host memory. What is launched is decided by
//! [`coxswain_kernels::Dispatch`]; the data is the caller's.

use crate::device::{DeviceError, HostBuffer, Job};
use crate::jobs::bench::{Bench, JobError};
use crate::jobs::packets::{Packets, QUEUE_TO_HOST, external};
use coxswain_abi::packet::sob_add;
use coxswain_abi::regs::{CFG_BASE, sync_manager};
use coxswain_kernels::dispatch::{CODE_ALIGNMENT, DispatchError};
use coxswain_kernels::packets::{self, Order};
use coxswain_kernels::{Dispatch, Kernel, SyncMessage};
use std::time::Duration;

/// Internal queue: stream 0 of TPC 0; four per TPC (`submission-path.md` 2).
const QUEUE_TPC: u32 = 41;
/// The sync object that kernels raise at their end, and the monitor that watches it.
const DONE: u16 = 64;
const DONE_MONITOR: u16 = 32;
/// Alignment of a program.
const ALIGNMENT: usize = 256;

impl From<DispatchError> for JobError {
    fn from(error: DispatchError) -> Self {
        Self::Claim(error.to_string())
    }
}

/// Queue of a stream (0..=3) of a TPC (0..=7).
#[must_use]
pub const fn queue(tpc: u8, stream: u32) -> u32 {
    QUEUE_TPC + 4 * tpc as u32 + stream
}

/// What a TPC sends when its kernel ended: 1 for the sync object that launches wait for.
#[must_use]
pub const fn completion() -> SyncMessage {
    let object = CFG_BASE + (sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 4 * DONE as u32) as u64;
    SyncMessage { address: object as u32, value: sob_add(1) }
}

/// Code in device memory.
#[derive(Debug)]
pub struct Loaded<'kernel> {
    kernel: &'kernel Kernel,
    address: u64,
}

impl<'kernel> Loaded<'kernel> {
    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &'kernel Kernel {
        self.kernel
    }

    /// Device address of its code.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }
}

/// Brings kernels to the card.
#[derive(Debug)]
pub struct Loader<'bench, 'device> {
    bench: &'bench Bench<'device>,
    next: u64,
}

impl<'bench, 'device> Loader<'bench, 'device> {
    /// A loader that uses the card's place for code from its start.
    #[must_use]
    pub fn new(bench: &'bench Bench<'device>) -> Self {
        Self { bench, next: bench.layout.kernels }
    }

    /// Copies a kernel's code to the card.
    ///
    /// # Errors
    /// There is no more place, or the copy failed.
    pub fn load<'kernel>(&mut self, kernel: &'kernel Kernel) -> Result<Loaded<'kernel>, JobError> {
        let bytes = kernel.code().len() as u64;
        let end = self.bench.layout.kernels + self.bench.layout.kernel_bytes;
        // The engine fetches beyond the last bundle.
        let next = (self.next + bytes + CODE_ALIGNMENT).next_multiple_of(CODE_ALIGNMENT);
        if next > end {
            return Err(JobError::Claim(format!("no place for the {bytes} bytes of {}", kernel.name())));
        }
        let mut staging = HostBuffer::new(self.bench.device, kernel.code().len().max(1))?;
        self.bench.upload(&mut staging, kernel.code(), self.next)?;
        let address = std::mem::replace(&mut self.next, next);
        Ok(Loaded { kernel, address })
    }
}

/// Launches that are submitted together, and as often as wanted.
#[derive(Debug)]
pub struct Launches<'device> {
    /// The programs of all TPCs, in host memory.
    memory: HostBuffer<'device>,
    jobs: Vec<Job<'static>>,
    /// Kernels whose end is waited for.
    kernels: u16,
}

/// Packets of one TPC under construction.
#[derive(Debug, Default)]
struct Program {
    words: Vec<u64>,
    upper: Packets,
}

impl<'device> Launches<'device> {
    /// Prepares runs for stream `stream` of their TPCs: those of one TPC one after the other, in this order, and the TPCs beside
    /// each other.
    ///
    /// # Errors
    /// A dispatch is not possible, there are more kernels than a sync object counts, or no memory.
    pub fn new(
        bench: &Bench<'device>,
        runs: &[(&Loaded<'_>, Dispatch<'_>)],
        stream: u32,
        order: Order,
    ) -> Result<Self, JobError> {
        let mut programs: [Program; 8] = Default::default();
        let mut kernels = 0usize;
        for (loaded, dispatch) in runs {
            for part in dispatch.parts(loaded.address, Some(completion()))? {
                let program = programs
                    .get_mut(usize::from(part.engine))
                    .ok_or(DeviceError::Argument("an engine that the card does not have"))?;
                program.words.extend(packets::launch(&part.launch, order));
                kernels += 1;
            }
        }
        let kernels = u16::try_from(kernels)
            .ok()
            .filter(|kernels| *kernels < 1 << 15)
            .ok_or(JobError::Claim(format!("{kernels} kernels are more than one sync object counts")))?;
        let bytes: usize = programs.iter().map(|program| (8 * program.words.len()).next_multiple_of(ALIGNMENT)).sum();
        let mut memory = HostBuffer::new(bench.device, bytes + programs.len() * ALIGNMENT)?;
        let mut jobs = Vec::new();
        let mut place = |bytes: &[u8], used: &mut usize| -> Result<u64, DeviceError> {
            memory.write(*used, bytes)?;
            let address = memory.address(*used);
            *used = (*used + bytes.len()).next_multiple_of(ALIGNMENT);
            Ok(address)
        };
        let mut used = 0;
        for (tpc, program) in (0..).zip(&mut programs) {
            if program.words.is_empty() {
                continue;
            }
            let lower = Packets::new().raw(&program.words);
            let address = place(&lower.to_le_bytes(), &mut used)?;
            program.upper = Packets::new().lower(address, lower.bytes() as u32);
            let upper = place(&program.upper.to_le_bytes(), &mut used)?;
            let bytes = program.upper.bytes() as u32;
            jobs.push(Job::Internal { queue: queue(tpc, stream), address: upper, bytes });
        }
        Ok(Self { memory, jobs, kernels })
    }

    /// Kernels that run in one submission.
    #[must_use]
    pub fn kernels(&self) -> u16 {
        self.kernels
    }

    /// Bytes of host memory that the programs take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// Submits them, waits until all kernels ended, and then has `last` executed by the external queue that waited.
    ///
    /// # Errors
    /// Any end but success.
    pub fn run(&self, bench: &Bench<'_>, last: &Packets) -> Result<Duration, JobError> {
        Self::run_together(std::slice::from_ref(self), bench, last)
    }

    /// The same for several, which were prepared for different streams, in one submission.
    ///
    /// # Errors
    /// Any end but success.
    pub fn run_together(all: &[Self], bench: &Bench<'_>, last: &Packets) -> Result<Duration, JobError> {
        let (qman, stream) = external(QUEUE_TO_HOST);
        let kernels = all.iter().map(|launches| launches.kernels).sum();
        let end = Packets::new().wait_until(DONE, kernels, DONE_MONITOR, qman, stream).clear(DONE);
        let commands = bench.commands(&end.raw(last.words()))?;
        let mut jobs: Vec<Job<'_>> = all.iter().flat_map(|launches| launches.jobs.iter().copied()).collect();
        jobs.push(Job::External { queue: QUEUE_TO_HOST, commands: &commands });
        Ok(bench.run(&jobs)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `submission-path.md` 2 and 11.8: queue 41 + 4 n, sync object 152 at 0xFC4F2260.
    #[test]
    fn queues_and_the_completion_have_the_documented_numbers() {
        assert_eq!([queue(0, 0), queue(1, 0), queue(7, 3)], [41, 45, 72]);
        assert_eq!(completion(), SyncMessage { address: 0xFC4F_2260 - 4 * (152 - 64), value: 0x8000_0001 });
    }
}
