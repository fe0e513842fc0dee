//! Fence increments that are due later: the WAIT packets of one QMAN.

use heapless::Vec;

/// WAIT packets that can be due at the same time; the next one waits.
const LIMIT: usize = 16;

/// One increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    /// Clock value in microseconds.
    due: u64,
    /// Stream 0..=4.
    pub stream: u8,
    /// Fence counter 0..=3.
    pub fence: u8,
    /// Increment 0..=15.
    pub increment: u8,
}

/// All of a QMAN.
#[derive(Debug, Default)]
pub(super) struct Timers(Vec<Timer, LIMIT>);

impl Timers {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes an increment; false when there is no room.
    pub fn add(&mut self, due: u64, stream: u8, fence: u8, increment: u8) -> bool {
        self.0.push(Timer { due, stream, fence, increment }).is_ok()
    }

    /// True when nothing is due.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes an increment that is due at `now`; `None` when there is none.
    pub fn take_due(&mut self, now: u64) -> Option<Timer> {
        let position = self.0.iter().position(|timer| timer.due <= now)?;
        Some(self.0.swap_remove(position))
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<u64> {
        self.0.iter().map(|timer| timer.due).min()
    }

    /// Forgets the increments of a stream.
    pub fn forget(&mut self, stream: usize) {
        self.0.retain(|timer| usize::from(timer.stream) != stream);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
