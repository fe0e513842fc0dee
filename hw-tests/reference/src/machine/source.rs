//! A machine whose registers and memory a card holds.

use std::fmt::Debug;

use super::{Attributes, Machine};

/// Where a machine reads, when a card holds what [`Machine::memory`] and the register writes hold otherwise.
pub trait Source: Debug + Send + Sync {
    /// The `length` bytes at a device address; `None` when the initiator cannot read all of them.
    fn read(&self, address: u64, length: usize, attributes: Attributes) -> Option<Vec<u8>>;

    /// The register at `offset` in the block of QMAN `number`, as it was written last.
    fn register(&self, number: usize, offset: u32) -> u32;
}

impl Machine {
    /// The same QMANs, with the same source, after a reset.
    #[must_use]
    pub fn after_reset(&self) -> Self {
        let descriptions: Vec<_> = self.qmans.values().map(|qman| qman.description).collect();
        Self { source: self.source.clone(), ..Self::new(&descriptions) }
    }

    /// True when an increment of a WAIT packet is due later.
    #[must_use]
    pub fn has_timers(&self) -> bool {
        self.qmans.values().flat_map(|qman| &qman.streams).any(|state| !state.timers.is_empty())
    }
}
