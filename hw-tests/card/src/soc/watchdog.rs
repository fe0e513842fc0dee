//! The watchdog of the management CPU at PSOC_WDOG (`decisions.md` 4).
//!
//! For: a CPU that has stopped working. Owns: the count-down and the two expiries: the first raises the interrupt status,
//! the second asks for a reset. Never: resets more than the CPU; the card's state stays.
//!
//! Chosen: the register layout of Arm's SP805, counting at 1 MHz of real time. It is off after every reset.

use std::time::{Duration, Instant};

/// CFG offset of the block.
const BASE: u32 = 0xC4_8000;
/// Ticks from a (re)start to an expiry; a write restarts the count.
const LOAD: u32 = BASE;
/// Ticks left; read-only.
const VALUE: u32 = BASE + 0x004;
/// Count \[0\], reset at the second expiry \[1\].
const CONTROL: u32 = BASE + 0x008;
/// Any write clears the status and restarts the count.
const INTCLR: u32 = BASE + 0x00C;
/// The first expiry has happened; read-only.
const RIS: u32 = BASE + 0x010;
/// The same, while counting is on; read-only.
const MIS: u32 = BASE + 0x014;
/// Write access to the others: [`UNLOCK`] opens, anything else closes. Reads 1 when closed.
const LOCK: u32 = BASE + 0xC00;
/// Opens the lock.
const UNLOCK: u32 = 0x1ACC_E551;
/// CONTROL: count.
const INTEN: u32 = 1 << 0;
/// CONTROL: the second expiry resets.
const RESEN: u32 = 1 << 1;

/// State of the watchdog. Used under the bus lock.
#[derive(Debug)]
pub(super) struct Watchdog {
    load: u32,
    control: u32,
    locked: bool,
    raised: bool,
    expiry: Option<Instant>,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { load: u32::MAX, control: 0, locked: false, raised: false, expiry: None }
    }
}

impl Watchdog {
    /// A write at CFG offset `offset`; false when that is no register of the watchdog. The value to store follows from
    /// [`Self::shown`].
    pub fn write(&mut self, offset: u32, value: u32, now: Instant) -> bool {
        match offset {
            LOCK => self.locked = value != UNLOCK,
            LOAD | CONTROL | INTCLR if self.locked => {}
            LOAD => {
                self.load = value;
                self.restart(now);
            }
            CONTROL => {
                let starts = value & INTEN != 0 && self.control & INTEN == 0;
                self.control = value & (INTEN | RESEN);
                if starts || value & INTEN == 0 {
                    self.restart(now);
                }
            }
            INTCLR => {
                self.raised = false;
                self.restart(now);
            }
            VALUE | RIS | MIS => {}
            _ => return false,
        }
        true
    }

    fn restart(&mut self, now: Instant) {
        let running = self.control & INTEN != 0;
        self.expiry = running.then(|| now + Duration::from_micros(u64::from(self.load)));
    }

    /// What the registers show, by CFG offset.
    pub fn shown(&self, now: Instant) -> [(u32, u32); 6] {
        let left = self.expiry.map_or(self.load, |expiry| expiry.saturating_duration_since(now).as_micros() as u32);
        [
            (LOAD, self.load),
            (VALUE, left),
            (CONTROL, self.control),
            (RIS, u32::from(self.raised)),
            (MIS, u32::from(self.raised && self.control & INTEN != 0)),
            (LOCK, u32::from(self.locked)),
        ]
    }

    /// When something happens next without a write.
    pub fn deadline(&self) -> Option<Instant> {
        self.expiry
    }

    /// Lets time pass; true when the CPU is to be reset.
    pub fn advance(&mut self, now: Instant) -> bool {
        if self.expiry.is_none_or(|expiry| expiry > now) {
            return false;
        }
        if !self.raised {
            self.raised = true;
            self.restart(now);
            return false;
        }
        self.expiry = None;
        self.control & RESEN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(now: Instant, load: u32, control: u32) -> Watchdog {
        let mut watchdog = Watchdog::default();
        assert!(watchdog.write(LOAD, load, now));
        assert!(watchdog.write(CONTROL, control, now));
        watchdog
    }

    fn shown(watchdog: &Watchdog, register: u32, now: Instant) -> u32 {
        watchdog.shown(now).into_iter().find(|(offset, _)| *offset == register).unwrap().1
    }

    #[test]
    fn the_second_expiry_resets() {
        let start = Instant::now();
        let mut watchdog = armed(start, 1000, INTEN | RESEN);
        let at = |micros| start + Duration::from_micros(micros);
        assert!(!watchdog.advance(at(999)));
        assert_eq!(shown(&watchdog, RIS, at(999)), 0);
        assert_eq!(shown(&watchdog, VALUE, at(400)), 600);
        assert!(!watchdog.advance(at(1000)));
        assert_eq!(shown(&watchdog, RIS, at(1000)), 1);
        assert!(!watchdog.advance(at(1999)));
        assert!(watchdog.advance(at(2000)));
        assert!(!watchdog.advance(at(9000)), "once");
    }

    #[test]
    fn a_fed_watchdog_does_not_expire() {
        let start = Instant::now();
        let mut watchdog = armed(start, 1000, INTEN | RESEN);
        for step in 1..20 {
            let now = start + Duration::from_micros(900 * step);
            assert!(!watchdog.advance(now));
            assert!(watchdog.write(INTCLR, 1, now));
        }
        assert_eq!(shown(&watchdog, RIS, start), 0);
    }

    #[test]
    fn a_locked_watchdog_can_be_neither_fed_nor_stopped() {
        let start = Instant::now();
        let mut watchdog = armed(start, 1000, INTEN | RESEN);
        watchdog.write(LOCK, 0, start);
        let later = start + Duration::from_micros(2000);
        watchdog.write(CONTROL, 0, later);
        watchdog.write(INTCLR, 1, later);
        assert!(!watchdog.advance(later));
        assert!(watchdog.advance(later + Duration::from_micros(1000)));
        watchdog.write(LOCK, UNLOCK, later);
        watchdog.write(CONTROL, 0, later);
        assert_eq!(watchdog.deadline(), None);
    }

    #[test]
    fn without_reset_enable_it_only_raises_its_status() {
        let start = Instant::now();
        let mut watchdog = armed(start, 10, INTEN);
        let later = start + Duration::from_millis(1);
        assert!(!watchdog.advance(later));
        assert!(!watchdog.advance(later + Duration::from_millis(1)));
        assert_eq!(shown(&watchdog, MIS, later), 1);
        assert!(!watchdog.write(0xC4_9000, 1, later));
    }
}
