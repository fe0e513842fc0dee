//! Data handed on from slot to slot of HBM: every slot shows whether the step before it was done in time.
//!
//! At first only slot 0 holds the pattern and all others its complement. Whoever copies slot n to slot n + 1 before slot n
//! was written hands the complement on, to all slots behind.

use super::bench::{Bench, JobError, expect};
use super::packets::{Packets, QUEUE_TO_DEVICE};
use super::pattern::Pattern;
use crate::device::{DeviceError, HostBuffer};

/// Bytes of a slot.
const SLOT: usize = 256;

/// The slots and what they hold.
#[derive(Debug)]
pub struct Chain<'device> {
    pattern: Pattern,
    host: HostBuffer<'device>,
    base: u64,
    slots: usize,
}

impl<'device> Chain<'device> {
    /// Puts the pattern into slot 0 of `slots` and the complement into the others.
    ///
    /// # Errors
    /// No memory, no room, or a failed submission.
    pub fn new(bench: &Bench<'device>, slots: usize, seed: u64) -> Result<Self, JobError> {
        let pattern = Pattern::new(seed);
        let bytes = slots * SLOT;
        if bytes as u64 > bench.layout.hbm_bytes {
            return Err(DeviceError::Argument("more slots than memory").into());
        }
        let mut host = HostBuffer::new(bench.device, bytes)?;
        for slot in 0..slots {
            let content = if slot == 0 { pattern } else { pattern.complement() };
            content.fill(&mut host, slot * SLOT, 0, SLOT)?;
        }
        let base = bench.layout.hbm;
        bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), base, bytes as u32))?;
        Ok(Self { pattern, host, base, slots })
    }

    /// Adds the copy of slot `number` to the next one.
    #[must_use]
    pub fn hand_on(&self, number: usize, packets: Packets) -> Packets {
        let from = self.base + (number * SLOT) as u64;
        packets.copy(from, from + SLOT as u64, SLOT as u32)
    }

    /// Checks that every slot holds the pattern.
    ///
    /// # Errors
    /// The first that does not, or a failed submission.
    pub fn check(&mut self, bench: &Bench<'_>) -> Result<(), JobError> {
        let bytes = self.slots * SLOT;
        self.pattern.complement().fill(&mut self.host, 0, 0, bytes)?;
        bench.download(self.base, self.host.address(0), bytes as u32)?;
        for slot in 0..self.slots {
            expect("a slot of the chain", 0, self.pattern.check(&self.host, slot * SLOT, 0, SLOT)?)
                .map_err(|error| JobError::Claim(format!("slot {slot} of {}: {error}", self.slots)))?;
        }
        Ok(())
    }
}
