//! Submissions of the driver's own synchronisation: signal and wait, reserved signals, stages, and waiting for the first of
//! several (`submission-path.md` 2 and 7).

use super::submit::sequence_of;
use super::{Device, DeviceError, Job, Sequence, call, uapi};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::time::Duration;
use uapi::cs_flags;
use zerocopy::{FromBytes, IntoBytes};

/// Signals of a queue's sync object that the driver keeps for one staged submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// The driver's name for it.
    pub handle: u32,
    /// How many signals.
    pub count: u32,
    /// CFG offset of the sync object that the jobs of the submission must raise `count` times.
    pub sob_offset: u32,
}

/// Which stage of a staged submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first one.
    First,
    /// The first one; its jobs send the signals of a reservation.
    FirstWithSignals(Reservation),
    /// One between, of the submission that began as this.
    Middle(Sequence),
    /// The last one, of the submission that began as this: only its external jobs have a completion.
    Last(Sequence),
}

impl Device {
    /// A submission that raises the sync object of an external queue.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn signal(&self, queue: u32) -> Result<Sequence, DeviceError> {
        let chunk = uapi::Chunk { queue, ..Default::default() };
        sequence_of(self.submit_chunks(&[chunk], cs_flags::SIGNAL, 0)?)
    }

    /// A submission that makes an external queue wait for a signal submission. `None` when that is complete already: then
    /// the driver submits nothing.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn wait_on_queue(&self, queue: u32, signal: Sequence) -> Result<Option<Sequence>, DeviceError> {
        let sequences = [signal.0];
        let array = sequences.as_ptr().expose_provenance() as u64;
        let chunk = uapi::Chunk { handle_or_address: array, queue, size: 1, ..Default::default() };
        let out = self.submit_chunks(&[chunk], cs_flags::WAIT, 0)?;
        if out.sequence == u64::MAX { Ok(None) } else { sequence_of(out).map(Some) }
    }

    /// Reserves `count` signals of an external queue's sync object.
    ///
    /// # Errors
    /// The driver refuses: 0, or more than a sync object can count.
    pub fn reserve_signals(&self, queue: u32, count: u32) -> Result<Reservation, DeviceError> {
        let extra = u64::from(count) | u64::from(queue) << 32;
        let out = self.submit_chunks(&[], cs_flags::RESERVE, extra)?;
        Ok(Reservation { handle: out.sequence as u32, count: (out.sequence >> 32) as u32, sob_offset: out.sob_offset })
    }

    /// Gives a reservation back that no submission has used.
    ///
    /// # Errors
    /// The driver refuses: there is no such reservation, or signals were sent behind it.
    pub fn unreserve_signals(&self, reservation: Reservation) -> Result<(), DeviceError> {
        self.submit_chunks(&[], cs_flags::UNRESERVE, u64::from(reservation.handle)).map(|_| ())
    }

    /// A submission that makes an external queue wait for the first `count` reserved signals of a staged submission. `None`
    /// when that is complete already.
    ///
    /// # Errors
    /// As [`Self::submit`]; also more signals than reserved.
    pub fn wait_on_queue_for(&self, queue: u32, staged: Sequence, count: u32) -> Result<Option<Sequence>, DeviceError> {
        let chunk = uapi::Chunk { handle_or_address: staged.0, queue, size: count, ..Default::default() };
        let out = self.submit_chunks(&[chunk], cs_flags::WAIT | cs_flags::ENCAPSULATED, 0)?;
        if out.sequence == u64::MAX { Ok(None) } else { sequence_of(out).map(Some) }
    }

    /// Submits one stage of a staged submission; the sequence number of the first names the whole.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_stage(&self, stage: Stage, jobs: &[Job<'_>]) -> Result<Sequence, DeviceError> {
        let first = cs_flags::STAGED | cs_flags::STAGED_FIRST;
        let (flags, extra) = match stage {
            Stage::First => (first, 0),
            Stage::FirstWithSignals(reservation) => (first | cs_flags::ENCAPSULATED, u64::from(reservation.handle)),
            Stage::Middle(sequence) => (cs_flags::STAGED, sequence.0),
            Stage::Last(sequence) => (cs_flags::STAGED | cs_flags::STAGED_LAST, sequence.0),
        };
        let chunks: Vec<uapi::Chunk> = jobs.iter().map(|job| job.to_chunk()).collect();
        sequence_of(self.submit_chunks(&chunks, flags, extra)?)
    }

    /// Waits until at least one of up to 32 submissions is complete; the answer has one bit for each that is, and is 0 when
    /// none was within `patience`.
    ///
    /// # Errors
    /// One of them ended with an error, or the driver refuses.
    pub fn wait_any(&self, sequences: &[Sequence], patience: Duration) -> Result<u32, DeviceError> {
        if sequences.is_empty() || sequences.len() > uapi::WAIT_ANY_LIMIT {
            return Err(DeviceError::Argument("a wait for none or for too many submissions"));
        }
        let numbers: Vec<u64> = sequences.iter().map(|sequence| sequence.0).collect();
        let mut args = uapi::WaitIn {
            sequence: numbers.as_ptr().expose_provenance() as u64,
            timeout_us: patience.as_micros() as u64,
            flags: uapi::WAIT_ANY,
            sequences: numbers.len() as u64,
            ..Default::default()
        };
        // SAFETY: the number announces exactly the size of `WaitIn` (asserted there); the driver writes only it and reads
        // the array, which lives until the end of this function.
        let result = unsafe { call::<{ uapi::IOCTL_WAIT_CS }, _>(self.as_fd(), &mut args) };
        let first = sequences.first().map_or(0, |sequence| sequence.0);
        match result {
            Ok(()) => {}
            Err(Errno::TIMEDOUT) => return Err(DeviceError::TimedOut { sequence: first }),
            Err(Errno::IO) => return Err(DeviceError::Aborted { sequence: first }),
            Err(errno) => return Err(DeviceError::Refused { operation: "waiting for several submissions", errno }),
        }
        let (out, _) = uapi::WaitOut::read_from_prefix(args.as_bytes())
            .map_err(|_| DeviceError::Answer("a wait without status"))?;
        match out.status {
            uapi::wait_status::COMPLETED => Ok(out.completion_map),
            uapi::wait_status::BUSY => Ok(0),
            uapi::wait_status::TIMED_OUT => Err(DeviceError::TimedOut { sequence: first }),
            uapi::wait_status::ABORTED => Err(DeviceError::Aborted { sequence: first }),
            _ => Err(DeviceError::Answer("an unknown state of several submissions")),
        }
    }
}
