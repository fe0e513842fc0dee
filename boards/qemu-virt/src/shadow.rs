//! Reads of the register file through the mapped shadow.

use core::sync::atomic::{AtomicU32, Ordering};

use coxswain_abi::soc::bar0;
use coxswain_core::ports::Registers;

use crate::soc::Soc;
use crate::window::Window;

/// Bits of an offset that lies in the register file and on 4 bytes.
const ALIGNED_OFFSETS: u32 = bar0::SHADOW_SIZE as u32 - 4;
const _: () = assert!(bar0::SHADOW_SIZE.is_power_of_two() && bar0::SHADOW_SIZE <= 1 << 31);

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
        if offset & !ALIGNED_OFFSETS != 0 {
            return 0;
        }
        // SAFETY: `offset` is a multiple of 4 below the size of the register file (the mask is both checks in one), and
        // `Soc::attach` makes the window of exactly that size, mapped and aligned; the access is atomic.
        let cell = unsafe { AtomicU32::from_ptr(self.window.start().add(offset as usize).cast()) };
        // Acquire: what firmware reads after a status register is not older than it.
        cell.load(Ordering::Acquire)
    }
}
