//! Jobs that do something wrong, and pass when it ends well: with an error, in time.
//!
//! The card reports an error by an event; when a job can then never complete it asks for a reset, and the driver ends
//! every pending submission with an input/output error (`decisions.md` 2). Nothing of this process works afterwards.

use super::bench::{Bench, JobError};
use super::packets::{Packets, QUEUE_INTERNAL, QUEUE_TO_DEVICE, QUEUE_TO_HOST, external};
use crate::device::{DeviceError, HostBuffer, Job};
use coxswain_abi::packet::Header;
use coxswain_abi::regs::HOST_VA_BASE;
use std::time::{Duration, Instant};

/// An address of the user's range far behind anything that the driver gives out.
pub(super) const UNMAPPED: u64 = HOST_VA_BASE + (1 << 40);
/// A device address between HBM and SRAM: nothing is there.
pub(super) const NOWHERE: u64 = 0x7F_E000_0000;
/// A packet number that is not defined (`qman.md` 5.0).
pub(super) const UNDEFINED_OPCODE: u32 = 0x1F;
/// The object that is never raised.
pub(super) const NEVER: u16 = 24;
/// The monitor that watches it.
pub(super) const NEVER_MONITOR: u16 = 12;

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An external DMA reads memory that is not mapped.
    Page,
    /// An internal queue meets an undefined packet; an external job waits for what it should have signalled.
    Opcode,
    /// An external queue sends a message to nowhere, and waits for what nobody signals.
    Message,
}

/// Provokes a fault and waits for its end; returns how long the submission was pending.
///
/// # Errors
/// The submission was reported as complete, or did not end in time.
pub fn provoke(bench: &Bench<'_>, fault: Fault) -> Result<Duration, JobError> {
    let mut staging = HostBuffer::new(bench.device, 4096)?;
    let (queue, packets) = match fault {
        Fault::Page => (QUEUE_TO_DEVICE, Packets::new().copy(UNMAPPED, bench.layout.hbm, 4096)),
        Fault::Message => {
            let (qman, stream) = external(QUEUE_TO_DEVICE);
            let message = Packets::new().message(NOWHERE, 1);
            (QUEUE_TO_DEVICE, message.wait_for(NEVER, NEVER_MONITOR, qman, stream))
        }
        Fault::Opcode => {
            let (qman, stream) = external(QUEUE_TO_HOST);
            (QUEUE_TO_HOST, Packets::new().wait_for(NEVER, NEVER_MONITOR, qman, stream))
        }
    };
    let commands = bench.commands(&packets)?;
    let mut jobs = vec![Job::External { queue, commands: &commands }];
    if fault == Fault::Opcode {
        let address = bench.layout.programs;
        bench.upload(&mut staging, &Header::new(UNDEFINED_OPCODE, 0, 0).0.to_le_bytes(), address)?;
        jobs.push(Job::Internal { queue: QUEUE_INTERNAL, address, bytes: 8 });
    }
    let begun = Instant::now();
    match bench.run(&jobs) {
        Err(DeviceError::Aborted { .. }) => Ok(begun.elapsed()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(JobError::Claim("the faulty submission was reported as complete".to_owned())),
    }
}
