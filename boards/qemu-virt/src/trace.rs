//! The trace ring of one core in reserved HBM ([`coxswain_abi::trace`]): firmware writes, tools read.
//!
//! Owns the ring's index. Writes nothing unless the board is strapped for it. A reader that looks while the firmware runs may
//! see the oldest records being replaced.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use coxswain_abi::soc::{info, straps};
use coxswain_abi::{regs, trace};

use crate::soc::Soc;
use crate::window::Window;

/// The ring of one core.
#[derive(Debug)]
pub struct TraceRing {
    ring: Window,
    written: u64,
    count: &'static AtomicU64,
}

impl TraceRing {
    /// The ring of core `core`, behind what an earlier life of the image has left there; `None` when the board is not strapped for a trace, or has no such core.
    #[must_use]
    pub fn new(soc: &Soc, core: usize, frequency: u64) -> Option<Self> {
        if soc.info_u32(info::STRAPS) & straps::TRACE == 0 || core >= coxswain_abi::soc::CORES {
            return None;
        }
        let place = trace::BASE - regs::HBM_BASE + trace::STRIDE * core as u64;
        let ring = soc.hbm.always_present(place, trace::STRIDE)?;
        let count = ring.double_word(trace::WRITTEN)?;
        let magic: &AtomicU32 = ring.word(trace::MAGIC)?;
        let is_ring = magic.load(Ordering::Acquire) == trace::MAGIC_VALUE;
        let written = if is_ring { count.load(Ordering::Relaxed) } else { 0 };
        count.store(written, Ordering::Relaxed);
        ring.double_word(trace::FREQUENCY)?.store(frequency, Ordering::Relaxed);
        magic.store(trace::MAGIC_VALUE, Ordering::Release);
        Some(Self { ring, written, count })
    }

    /// Appends a record.
    pub fn record(&mut self, time: u64, event: trace::Event) {
        let slot = trace::HEADER + self.written % trace::CAPACITY * 16;
        // Inside the ring by the line above.
        if let (Some(first), Some(second)) = (self.ring.double_word(slot), self.ring.double_word(slot + 8)) {
            first.store(time, Ordering::Relaxed);
            second.store(event.to_word(), Ordering::Relaxed);
        }
        self.written = self.written.wrapping_add(1);
        // Release: a reader that sees the number sees the record.
        self.count.store(self.written, Ordering::Release);
    }
}
