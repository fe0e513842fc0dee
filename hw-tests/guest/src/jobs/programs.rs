//! Programs for internal queues, in mapped host memory, and the end of what they do.
//!
//! An internal queue has no completion. So every program ends by raising a sync object, and an external queue waits for all
//! of them; its completion is theirs.

use super::bench::{Bench, JobError};
use super::packets::{Packets, QUEUE_TO_HOST, external};
use crate::device::{DeviceError, HostBuffer, Job};
use std::time::Duration;

/// Raised by each program at its end.
const DONE: u16 = 32;
/// The monitor that watches it.
const DONE_MONITOR: u16 = 16;
/// Alignment of a program.
const ALIGNMENT: usize = 64;

/// Programs in host memory.
#[derive(Debug)]
pub struct Programs<'device> {
    memory: HostBuffer<'device>,
    used: usize,
    jobs: Vec<Job<'static>>,
    to_wait_for: u16,
}

impl<'device> Programs<'device> {
    /// Room for `bytes` of packets.
    ///
    /// # Errors
    /// No memory.
    pub fn new(bench: &Bench<'device>, bytes: usize) -> Result<Self, DeviceError> {
        Ok(Self { memory: HostBuffer::new(bench.device, bytes)?, used: 0, jobs: Vec::new(), to_wait_for: 0 })
    }

    /// Puts packets into the memory; returns their device address and size.
    ///
    /// # Errors
    /// They do not fit.
    pub fn put(&mut self, packets: &Packets) -> Result<(u64, u32), DeviceError> {
        let bytes = packets.to_le_bytes();
        self.memory.write(self.used, &bytes)?;
        let address = self.memory.address(self.used);
        self.used = (self.used + bytes.len()).next_multiple_of(ALIGNMENT);
        Ok((address, bytes.len() as u32))
    }

    /// Adds a program for the lower command processor behind an internal queue. It is followed by raising the sync object
    /// that [`Self::run`] waits for.
    ///
    /// # Errors
    /// It does not fit.
    pub fn lower(&mut self, queue: u32, packets: Packets) -> Result<(), DeviceError> {
        let (address, bytes) = self.put(&packets.signal(DONE))?;
        self.to_wait_for += 1;
        self.lower_at(queue, address, bytes)
    }

    /// The same with a program that is first put to device memory at `address`.
    ///
    /// # Errors
    /// The submission that brings it there failed.
    pub fn lower_from(
        &mut self,
        bench: &Bench<'_>,
        queue: u32,
        packets: Packets,
        address: u64,
    ) -> Result<(), DeviceError> {
        let packets = packets.signal(DONE);
        let mut staging = HostBuffer::new(bench.device, packets.bytes())?;
        bench.upload(&mut staging, &packets.to_le_bytes(), address)?;
        self.to_wait_for += 1;
        self.lower_at(queue, address, packets.bytes() as u32)
    }

    /// Adds a program that lies elsewhere and raises nothing.
    ///
    /// # Errors
    /// The packet that hands it on does not fit.
    pub fn lower_at(&mut self, queue: u32, address: u64, bytes: u32) -> Result<(), DeviceError> {
        self.upper(queue, &Packets::new().lower(address, bytes))
    }

    /// Adds packets for the queue's own command processor, followed by raising the sync object that [`Self::run`] waits for.
    ///
    /// # Errors
    /// They do not fit.
    pub fn upper_to_end(&mut self, queue: u32, packets: Packets) -> Result<(), DeviceError> {
        self.to_wait_for += 1;
        self.upper(queue, &packets.signal(DONE))
    }

    /// Adds packets for the queue's own command processor.
    ///
    /// # Errors
    /// They do not fit.
    pub fn upper(&mut self, queue: u32, packets: &Packets) -> Result<(), DeviceError> {
        let (address, bytes) = self.put(packets)?;
        self.jobs.push(Job::Internal { queue, address, bytes });
        Ok(())
    }

    /// The jobs for the internal queues.
    #[must_use]
    pub fn jobs(&self) -> &[Job<'static>] {
        &self.jobs
    }

    /// Submits all programs, and with them `last` for an external queue behind their end; waits for it.
    ///
    /// # Errors
    /// Any end but success.
    pub fn run(&self, bench: &Bench<'_>, last: &Packets) -> Result<Duration, JobError> {
        let (qman, stream) = external(QUEUE_TO_HOST);
        let end =
            Packets::new().wait_until(DONE, self.to_wait_for, DONE_MONITOR, qman, stream).clear(DONE).raw(last.words());
        let commands = bench.commands(&end)?;
        let mut jobs: Vec<Job<'_>> = self.jobs.clone();
        jobs.push(Job::External { queue: QUEUE_TO_HOST, commands: &commands });
        Ok(bench.run(&jobs)?)
    }
}
