//! Reads of the register file through the mapped shadow.

use core::sync::atomic::{AtomicU32, Ordering};

use coxswain_core::ports::Registers;

use crate::soc::Soc;
use crate::window::Window;

/// The register shadow, indexed by CFG offset.
#[derive(Debug, Clone, Copy)]
pub struct Shadow {
    window: Window,
}

impl Shadow {
    /// The shadow of `soc`.
    #[must_use]
    pub const fn new(soc: &Soc) -> Self {
        Self { window: soc.shadow }
    }

    /// The cell of the register at CFG offset `offset`; `None` outside the register file. For readers that look at one
    /// register often.
    #[must_use]
    pub fn cell(&self, offset: u32) -> Option<&'static AtomicU32> {
        self.window.word(u64::from(offset))
    }
}

impl Registers for Shadow {
    #[inline]
    fn read(&self, offset: u32) -> u32 {
        // Acquire: what firmware reads after a status register is not older than it.
        self.window.word(u64::from(offset)).map_or(0, |cell| cell.load(Ordering::Acquire))
    }
}
