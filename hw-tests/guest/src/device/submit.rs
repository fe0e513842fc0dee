//! Submitting work and waiting for it.

use super::{CommandBuffer, Device, DeviceError, call, uapi};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// Longest single wait inside the driver: the program looks at its own deadline in between.
const WAIT_SLICE: Duration = Duration::from_secs(1);

/// A submission's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u64);

/// One job of a submission: packets for one queue.
#[derive(Debug, Clone, Copy)]
pub enum Job<'a> {
    /// For an external queue (0..=7): the packets in a command buffer.
    External {
        /// Queue number.
        queue: u32,
        /// The packets; copied by the driver.
        commands: &'a CommandBuffer<'a>,
    },
    /// For an internal queue: packets in SRAM, HBM or mapped host memory, not looked at by the driver.
    Internal {
        /// Queue number.
        queue: u32,
        /// Device address of the packets.
        address: u64,
        /// Bytes of packets.
        bytes: u32,
    },
}

impl Job<'_> {
    pub(super) fn to_chunk(self) -> uapi::Chunk {
        match self {
            Self::External { queue, commands } => uapi::Chunk {
                handle_or_address: commands.handle(),
                queue,
                size: commands.used() as u32,
                ..Default::default()
            },
            Self::Internal { queue, address, bytes } => {
                uapi::Chunk { handle_or_address: address, queue, size: bytes, ..Default::default() }
            }
        }
    }
}

impl Device {
    /// Submits jobs as one submission. At least one must be for an external queue: the others have no completion.
    ///
    /// # Errors
    /// [`DeviceError::Full`] when a queue is full; otherwise why the driver refuses.
    pub fn submit(&self, jobs: &[Job<'_>]) -> Result<Sequence, DeviceError> {
        if jobs.len() > uapi::JOBS_LIMIT {
            return Err(DeviceError::Argument("more jobs than one submission may have"));
        }
        let chunks: Vec<uapi::Chunk> = jobs.iter().map(|job| job.to_chunk()).collect();
        sequence_of(self.submit_chunks(&chunks, 0, 0)?)
    }

    /// Submits chunks; `extra` is the field that the flags give a meaning ([`uapi::CsIn::sequence`]).
    pub(super) fn submit_chunks(
        &self,
        chunks: &[uapi::Chunk],
        flags: u32,
        extra: u64,
    ) -> Result<uapi::CsOut, DeviceError> {
        let mut args = uapi::CsIn {
            execute: chunks.as_ptr().expose_provenance() as u64,
            execute_count: chunks.len() as u32,
            sequence: extra,
            flags,
            ..Default::default()
        };
        // SAFETY: the number announces exactly the size of `CsIn` (asserted there). The driver reads `execute_count`
        // chunks at `execute`, which live until the caller's borrow ends, and writes only the argument. What a chunk names
        // by address - the array of a wait submission - is the caller's, alive during its call of this function.
        let result = unsafe { call::<{ uapi::IOCTL_CS }, _>(self.as_fd(), &mut args) };
        match result {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Err(DeviceError::Full),
            Err(errno) => return Err(DeviceError::Refused { operation: "a submission", errno }),
        }
        let (out, _) = uapi::CsOut::read_from_prefix(args.as_bytes())
            .map_err(|_| DeviceError::Answer("a submission without sequence number"))?;
        Ok(out)
    }

    /// Waits until a submission is complete.
    ///
    /// # Errors
    /// It ended with an error, or is still running after `patience`.
    pub fn wait(&self, sequence: Sequence, patience: Duration) -> Result<(), DeviceError> {
        let begun = Instant::now();
        let Sequence(sequence) = sequence;
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let slice = left.min(WAIT_SLICE);
            let mut args = uapi::WaitIn { sequence, timeout_us: slice.as_micros() as u64, ..Default::default() };
            // SAFETY: the number announces exactly the size of `WaitIn` (asserted there); the driver writes only it.
            let result = unsafe { call::<{ uapi::IOCTL_WAIT_CS }, _>(self.as_fd(), &mut args) };
            match result {
                Ok(()) => {}
                Err(Errno::TIMEDOUT) => return Err(DeviceError::TimedOut { sequence }),
                Err(Errno::IO) => return Err(DeviceError::Aborted { sequence }),
                Err(errno) => return Err(DeviceError::Refused { operation: "waiting for a submission", errno }),
            }
            let (out, _) = uapi::WaitOut::read_from_prefix(args.as_bytes())
                .map_err(|_| DeviceError::Answer("a wait without status"))?;
            match out.status {
                uapi::wait_status::COMPLETED => return Ok(()),
                uapi::wait_status::BUSY if left.is_zero() => {
                    let waited_ms = begun.elapsed().as_millis() as u64;
                    return Err(DeviceError::StillRunning { sequence, waited_ms });
                }
                uapi::wait_status::BUSY => {}
                uapi::wait_status::TIMED_OUT => return Err(DeviceError::TimedOut { sequence }),
                uapi::wait_status::ABORTED => return Err(DeviceError::Aborted { sequence }),
                _ => return Err(DeviceError::Answer("an unknown state of a submission")),
            }
        }
    }
}

/// The sequence number in an answer.
pub(super) fn sequence_of(out: uapi::CsOut) -> Result<Sequence, DeviceError> {
    match out.sequence {
        0 | u64::MAX => Err(DeviceError::Answer("a submission with an impossible sequence number")),
        sequence => Ok(Sequence(sequence)),
    }
}
