//! Registers whose write concerns the card as a whole: mailboxes, interrupts, reset, device time, watchdog
//! (`gaudi-soc.md` 5, 12, 15.1, `boot-protocol.md` 2).
//!
//! For: their side effects. Owns: the time-stamp counter. Never: resets anything itself; it asks for a reset.
//!
//! Device time is computed when the host or an engine reads it. The shadow's TIMESTAMP_CNTCV holds what was last written and
//! is never refreshed: firmware, which reads nothing but the shadow, cannot read device time and has its own timer.

use std::time::Instant;

use coxswain_abi::regs::{self, cpu_if, pcie, psoc};
use coxswain_abi::soc::{Attributes, INITIATOR_CPU, Notification, ResetReason};

use super::bus::Bus;
use super::{efuse, i2c};

/// BTM_FSM while the card or its management CPU is in reset; any value but 0 in the low four bits means that.
pub(super) const BTM_FSM_BUSY: u32 = 1;

/// Registers whose every write reaches the management CPU, in order, with its value (`decisions.md` 3.7).
const NOTIFYING: [u32; 4] = [psoc::KMD_MSG_TO_CPU, cpu_if::QUEUE_INIT, cpu_if::PF_PQ_PI, regs::GICD_SETSPI_NSR];

/// The time-stamp counter: 64 bits, 1 GHz, writable by halves (`gaudi-soc.md` 6.3 step 11). The rate is chosen; the
/// documents give none.
#[derive(Debug, Default)]
pub(super) struct Timestamp {
    value: u64,
    running_since: Option<Instant>,
}

impl Timestamp {
    /// The low half of the device's time, for time-stamp messages.
    pub fn low(&self) -> u32 {
        self.now() as u32
    }

    fn now(&self) -> u64 {
        let elapsed = self.running_since.map_or(0, |start| start.elapsed().as_nanos() as u64);
        self.value.wrapping_add(elapsed)
    }

    /// Reads one of the counter's registers; `None` when `offset` is not one.
    pub fn read(&self, offset: u32) -> Option<u32> {
        match offset {
            psoc::TIMESTAMP_CNTCVL => Some(self.now() as u32),
            psoc::TIMESTAMP_CNTCVU => Some((self.now() >> 32) as u32),
            _ => None,
        }
    }

    /// Writes one of the counter's registers; false when `offset` is not one.
    fn write(&mut self, offset: u32, value: u32) -> bool {
        let now = self.now();
        let (value, runs) = match offset {
            psoc::TIMESTAMP_CNTCR => (now, value & 1 != 0),
            psoc::TIMESTAMP_CNTCVL => (now & !0xFFFF_FFFF | u64::from(value), self.running_since.is_some()),
            psoc::TIMESTAMP_CNTCVU => (now & 0xFFFF_FFFF | u64::from(value) << 32, self.running_since.is_some()),
            _ => return false,
        };
        *self = Self { value, running_since: runs.then(Instant::now) };
        true
    }
}

impl Bus {
    /// A write of a register outside the blocks that have a file of their own; false when it has no side effect.
    pub(super) fn write_global(&mut self, offset: u32, value: u32, access: Attributes) -> bool {
        let registers = &self.hardware.registers;
        match offset {
            pcie::CORE_MSI_REQ => {
                // A user's write is stopped by the range registers; before they are set there is no user.
                registers.write(offset, value);
                self.requests.host_msi |= value & 1 != 0 && access.secure();
            }
            psoc::SW_ALL_RST => {
                registers.write(offset, value);
                if value & 1 != 0 {
                    self.request_cpu_reset(ResetReason::SoftwareAll);
                }
            }
            psoc::BTM_FSM => {}
            // The bus belongs to the management CPU: parts can be written for good.
            _ if i2c::contains(offset) => {
                if access.initiator() == INITIATOR_CPU {
                    self.i2c.write(offset, value, &mut self.board, registers);
                }
            }
            _ if efuse::contains(offset) => self.fuses.write(offset, value, access, registers),
            _ if NOTIFYING.contains(&offset) => {
                registers.write(offset, value);
                self.notify(Notification::RegisterWrite { offset, value, secure: access.secure() });
            }
            _ => {
                let now = Instant::now();
                if self.watchdog.write(offset, value, now) {
                    self.requests.watchdog = true;
                    self.show_watchdog();
                } else if self.timestamp.write(offset, value) {
                    registers.write(offset, value);
                } else {
                    return false;
                }
            }
        }
        true
    }

    /// Publishes the watchdog's registers.
    pub(super) fn show_watchdog(&self) {
        for (offset, value) in self.watchdog.shown(Instant::now()) {
            self.hardware.registers.write(offset, value);
        }
    }

    /// Lets the watchdog's time pass.
    pub(super) fn run_watchdog(&mut self) {
        if self.watchdog.advance(Instant::now()) {
            self.request_cpu_reset(ResetReason::Watchdog);
        }
        self.show_watchdog();
    }

    /// Starts a reset. When the whole card is reset its engines stop at once and writes are dropped until it is done.
    pub(super) fn request_cpu_reset(&mut self, reason: ResetReason) {
        self.hardware.registers.write(psoc::BTM_FSM, BTM_FSM_BUSY);
        if resets_the_card(reason) {
            self.in_reset = true;
            self.due.card = true;
            self.refresh_engines();
        } else {
            self.due.cpu = true;
        }
        self.requests.cpu_reset = Some(reason);
    }

    /// A reset of this kind is done. One of the whole card answers every request, one of the CPU alone only its like.
    pub(super) fn reset_is_answered(&mut self, reason: ResetReason) {
        self.due.cpu = false;
        self.due.card &= !resets_the_card(reason);
    }

    /// True when a reset was asked for and is not done.
    pub(super) fn is_reset_due(&self) -> bool {
        self.due.cpu || self.due.card
    }
}

/// True when a reset of this kind is one of the whole card; otherwise only the management CPU restarts.
pub(super) fn resets_the_card(reason: ResetReason) -> bool {
    match reason {
        ResetReason::PowerOn | ResetReason::SoftwareAll | ResetReason::FunctionLevel => true,
        ResetReason::Firmware | ResetReason::Watchdog => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn device_time_runs_only_while_enabled_and_can_be_set() {
        let mut time = Timestamp::default();
        assert_eq!(time.read(psoc::TIMESTAMP_CNTCVL), Some(0));
        assert!(time.write(psoc::TIMESTAMP_CNTCVU, 7));
        assert!(time.write(psoc::TIMESTAMP_CNTCVL, 9));
        assert_eq!(time.now(), 7 << 32 | 9);
        assert!(time.write(psoc::TIMESTAMP_CNTCR, 1));
        std::thread::sleep(Duration::from_millis(2));
        assert!(time.write(psoc::TIMESTAMP_CNTCR, 0));
        let stopped = time.now();
        assert!(stopped >= (7 << 32 | 9) + 2_000_000);
        assert_eq!(time.now(), stopped);
        assert_eq!(time.read(psoc::TIMESTAMP_CNTCVU), Some((stopped >> 32) as u32));
        assert!(!time.write(psoc::HW_STATE, 1));
    }
}
