//! Wrong packets on an internal queue: each stops its own stream, is reported by the event of its queue manager, and ends
//! the submission that can then never complete with an error (`qman.md` 7, `decisions.md` 2).
//!
//! Nothing of this process works afterwards; the card comes back for the next one.

use super::bench::{Bench, JobError};
use super::faults::{NEVER, NEVER_MONITOR, NOWHERE, UNDEFINED_OPCODE, UNMAPPED};
use super::packets::{INTERNAL_ENGINE, LOWER, Packets, QUEUE_INTERNAL, QUEUE_TO_HOST, external, fence_address};
use super::programs::Programs;
use crate::device::{DeviceError, Information, Job};
use coxswain_abi::packet::{self, Header, opcode};
use coxswain_abi::regs::qman;
use std::time::{Duration, Instant};

/// Most time from the submission to its end.
const BOUND: Duration = Duration::from_secs(10);
/// Event of the queue manager of the DMA engine (`qman.md` 7.3).
const EVENT: u32 = 583 + INTERNAL_ENGINE as u32;
/// Offset in the register window where nothing is mapped (`qman.md` 5.5).
const HOLE: u32 = 0x4000;
/// Where the window shows the queue manager itself.
const OWN_BLOCK: u32 = 0x8000;
/// Largest value of a fence counter.
const FENCE_LIMIT: u32 = 0x3FFF;
/// The fence counter that clips.
const FENCE: u32 = 1;

/// What is wrong in the buffer of the lower command processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// A packet number that is not defined.
    Opcode,
    /// The buffer ends inside a packet.
    Truncated,
    /// A message to an address where nothing is.
    Message,
    /// The buffer itself lies where nothing is mapped.
    Fetch,
    /// A register outside the engine's window.
    Register,
    /// A fence counter is decreased below 0.
    FenceUnder,
    /// A fence counter is raised beyond its limit.
    FenceOver,
    /// A predicate table where nothing is mapped.
    Table,
    /// A packet that stops the stream.
    Stop,
}

impl Bad {
    /// The wrong buffer, without what makes its stream stop.
    fn packets(self) -> Packets {
        let packets = Packets::new();
        match self {
            Self::Opcode => packets.raw(&[Header::new(UNDEFINED_OPCODE, 0, 0).0]),
            Self::Truncated => packets.raw(&[Header::new(opcode::MSG_LONG, packet::RB, 1).0]),
            Self::Message => packets.message(NOWHERE, 1),
            Self::Fetch => packets,
            Self::Register => packets.register(HOLE, 1),
            Self::FenceUnder => packets.fence(FENCE, 0, 5),
            Self::FenceOver => {
                let counter = qman::CP_FENCE0_CNT_0 + qman::FENCE_STRIDE * FENCE + 4 * LOWER;
                packets
                    .register(OWN_BLOCK + counter, FENCE_LIMIT)
                    .message(fence_address(INTERNAL_ENGINE, LOWER, FENCE), 1)
            }
            Self::Table => packets.load_predicates(UNMAPPED),
            Self::Stop => packets.raw(&[Header::new(opcode::STOP, 0, 0).0]),
        }
    }
}

/// Runs the wrong buffer, and an external job that waits for what it never signals; returns how long that was pending.
///
/// # Errors
/// The submission was reported as complete, did not end in time, or the event did not reach the driver.
pub fn provoke(bench: &Bench<'_>, bad: Bad) -> Result<Duration, JobError> {
    let mut programs = Programs::new(bench, 4096)?;
    match bad {
        Bad::Fetch => programs.lower_at(QUEUE_INTERNAL, UNMAPPED, 64)?,
        _ => {
            let (address, bytes) = programs.put(&bad.packets())?;
            programs.lower_at(QUEUE_INTERNAL, address, bytes)?;
        }
    }
    let (qman, stream) = external(QUEUE_TO_HOST);
    let wait = bench.commands(&Packets::new().wait_for(NEVER, NEVER_MONITOR, qman, stream))?;
    let mut jobs: Vec<Job<'_>> = programs.jobs().to_vec();
    jobs.push(Job::External { queue: QUEUE_TO_HOST, commands: &wait });

    let reports = || -> Result<u32, DeviceError> {
        let events = bench.device.events(true)?;
        Ok(events.into_iter().find(|(number, _)| *number == EVENT).map_or(0, |(_, count)| count))
    };
    let before = reports()?;
    let begun = Instant::now();
    let ended = bench.run(&jobs);
    let elapsed = begun.elapsed();
    match ended {
        Err(DeviceError::Aborted { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(JobError::Claim("the submission was reported as complete".to_owned())),
    }
    if elapsed > BOUND {
        return Err(JobError::Claim(format!("the submission ended only after {} ms", elapsed.as_millis())));
    }
    if reports()? == before {
        return Err(JobError::Claim(format!("event {EVENT} of the queue manager did not reach the driver")));
    }
    Ok(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dwords(bad: Bad) -> Vec<u32> {
        bad.packets().words().iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect()
    }

    #[test]
    fn each_buffer_is_wrong_in_its_own_way() {
        assert_eq!(dwords(Bad::Opcode), [0, 0x1F00_0000]);
        assert_eq!(dwords(Bad::Truncated), [1, 0x4300_0000], "a message without its address");
        assert_eq!(dwords(Bad::Register), [1, 0x4140_0000]);
        // Counter 1 of stream 4: 0x36C + 0x10 in the queue manager's own block, then its increment register.
        assert_eq!(dwords(Bad::FenceOver), [0x3FFF, 0x4183_7C00, 1, 0xC300_0000, 0xFC54_832C, 0x7F]);
        assert_eq!(dwords(Bad::FenceUnder), [0x4000_0005, 0xC800_0000]);
    }
}
