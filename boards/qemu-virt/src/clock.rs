//! Time: the generic timer's physical counter.

use coxswain_core::ports::Clock;

/// Microseconds of `ticks` of a counter that runs at `frequency` Hz; 0 for a frequency of 0.
#[must_use]
pub const fn ticks_to_us(ticks: u64, frequency: u64) -> u64 {
    if frequency == 0 {
        return 0;
    }
    let seconds = ticks / frequency;
    let rest = ticks % frequency;
    // `rest < frequency`, and frequencies are below 2^32, so the product stays below 2^52.
    seconds.wrapping_mul(1_000_000).wrapping_add(rest.wrapping_mul(1_000_000) / frequency)
}

/// Ticks of a counter that runs at `frequency` Hz in `us` microseconds, rounded up.
#[must_use]
pub const fn us_to_ticks(us: u64, frequency: u64) -> u64 {
    let seconds = us / 1_000_000;
    let rest = us % 1_000_000;
    seconds.saturating_mul(frequency).saturating_add(rest.saturating_mul(frequency).div_ceil(1_000_000))
}

/// Microseconds since the image started.
#[derive(Debug, Clone, Copy)]
pub struct BoardClock {
    start: u64,
    frequency: u64,
    /// Where the counter of a host test stands.
    #[cfg(not(target_os = "none"))]
    now: u64,
}

impl BoardClock {
    /// A clock that shows 0 now.
    #[cfg(target_os = "none")]
    #[must_use]
    pub fn start() -> Self {
        Self { start: ticks(), frequency: frequency() }
    }

    /// A clock for host tests that always shows `us`: its counter stands there.
    #[cfg(not(target_os = "none"))]
    #[must_use]
    pub const fn stopped(us: u64) -> Self {
        Self { start: 0, frequency: 1_000_000, now: us }
    }

    /// The counter, for comparisons with [`Self::tick_at`].
    #[inline]
    #[must_use]
    pub fn ticks(&self) -> u64 {
        #[cfg(target_os = "none")]
        return ticks();
        #[cfg(not(target_os = "none"))]
        self.now
    }

    /// Ticks of the counter in a second.
    #[must_use]
    pub const fn frequency(&self) -> u64 {
        self.frequency
    }

    /// Ticks of the counter in `us` microseconds, rounded up.
    #[must_use]
    pub const fn ticks_in(&self, us: u64) -> u64 {
        us_to_ticks(us, self.frequency)
    }

    /// Counter value at which the clock shows `us`.
    #[must_use]
    pub fn tick_at(&self, us: u64) -> u64 {
        self.start.saturating_add(us_to_ticks(us, self.frequency))
    }
}

impl Clock for BoardClock {
    #[inline]
    fn now_us(&self) -> u64 {
        ticks_to_us(self.ticks().wrapping_sub(self.start), self.frequency)
    }
}

/// Frequency of the counter, Hz.
#[cfg(target_os = "none")]
#[must_use]
pub fn frequency() -> u64 {
    use cortex_a::registers::{CNTFRQ_EL0, Readable};
    CNTFRQ_EL0.get()
}

/// The counter.
#[cfg(target_os = "none")]
#[inline]
#[must_use]
pub fn ticks() -> u64 {
    use cortex_a::registers::{CNTPCT_EL0, Readable};
    cortex_a::asm::barrier::isb(cortex_a::asm::barrier::SY);
    CNTPCT_EL0.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_century_of_ticks_does_not_overflow() {
        let frequency = 1_000_000_000;
        let ticks = 100 * 365 * 86_400 * frequency;
        assert_eq!(ticks_to_us(ticks, frequency), 100 * 365 * 86_400 * 1_000_000);
    }

    #[test]
    fn a_deadline_is_never_early() {
        for us in [0, 1, 3, 999_999, 1_000_001, 12_345_678] {
            assert!(ticks_to_us(us_to_ticks(us, 62_500_000), 62_500_000) >= us);
            assert!(us_to_ticks(us, 62_500_000) <= us * 63);
        }
    }

    #[test]
    fn a_frequency_of_zero_reads_as_no_time() {
        assert_eq!(ticks_to_us(5, 0), 0);
    }
}
