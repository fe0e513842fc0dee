//! Sync managers: sync objects, monitors and what they send (`gaudi-mmu-sync.md` 2, `qman.md` 5.7, `decisions.md` 1).
//!
//! For: writes into a sync manager's block. Owns: the SOB, monitor and SEI registers, and which monitors watch which group.
//! Never: performs a payload write itself; payloads are handed to the bus's work list, so that chains of monitors cost no
//! stack.
//!
//! Semantics: a SOB write with INC adds a 15-bit two's complement number and wraps; every write re-evaluates the monitors
//! that watch its group. A monitor fires once, when all its SOBs satisfy the comparison at the same time; a mask of 0xFF
//! watches nothing and fires at once. All of it happens under the bus lock: SOB updates are atomic towards each other.

use coxswain_abi::regs::sync_manager as regs;
use coxswain_abi::soc::{Attributes, Notification};

use super::register_file::RegisterFile;

/// Groups of eight SOBs.
const GROUPS: usize = regs::SOBS / 8;
/// Bytes from the first to past the last SOB.
const SOBS_SIZE: u32 = 4 * regs::SOBS as u32;
/// Bytes of one monitor register array.
const ARRAY_SIZE: u32 = 4 * regs::MONITORS as u32;
/// MON_STATUS: armed.
const VALID: u32 = 1;
/// MON_STATUS: armed by a secure access.
const PROT: u32 = 1 << 9;
/// SOB_OBJ: value.
const VALUE: u32 = 0x7FFF;
/// SOB_OBJ: add instead of set.
const INC: u32 = 1 << 31;

/// SM_SEI_CAUSE bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeiCause {
    /// A SOB left its range; log = group.
    Overflow = 0,
    /// A payload address is not 4-byte aligned; log = low address bits.
    Unaligned = 1,
    /// A payload write got an error answer; log = initiator.
    PayloadFailed = 2,
}

/// A write that a monitor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payload {
    /// Manager that sends it.
    pub manager: usize,
    /// Device address.
    pub address: u64,
    /// 32-bit data.
    pub data: u32,
    /// Those of the write that armed the monitor.
    pub attributes: Attributes,
}

/// What a write into a sync manager causes.
#[derive(Default)]
pub(super) struct Effects {
    /// Payloads, in order.
    pub payloads: Vec<Payload>,
    /// SEI notifications.
    pub notifications: Vec<Notification>,
}

/// One sync manager.
pub(super) struct SyncManager {
    index: usize,
    base: u32,
    registers: RegisterFile,
    /// Bit m of group g: monitor m is armed on group g.
    watchers: Vec<[u64; regs::MONITORS / 64]>,
    /// Attributes of the write that armed each monitor.
    armed_by: Vec<Attributes>,
}

/// The sync manager and the offset inside its block behind a CFG offset.
pub(super) fn find(offset: u32) -> Option<(usize, u32)> {
    let index = (0..regs::MANAGERS).find(|&index| offset & !0xFFFF == regs::base(index))?;
    Some((index, offset & 0xFFFF))
}

impl SyncManager {
    pub fn new(index: usize, registers: RegisterFile) -> Self {
        Self {
            index,
            base: regs::base(index),
            registers,
            watchers: vec![[0; regs::MONITORS / 64]; GROUPS],
            armed_by: vec![Attributes::CPU; regs::MONITORS],
        }
    }

    /// Forgets every armed monitor; the register file is reset elsewhere.
    pub fn reset(&mut self) {
        self.watchers.fill([0; regs::MONITORS / 64]);
    }

    /// A write at `offset` inside the block.
    pub fn write(&mut self, offset: u32, value: u32, attributes: Attributes, effects: &mut Effects) {
        let place = self.base + offset;
        let monitor = |first: u32| ((offset - first) / 4) as usize;
        match offset {
            regs::SOB_OBJ_0.. if offset < regs::SOB_OBJ_0 + SOBS_SIZE => {
                self.write_sob(((offset - regs::SOB_OBJ_0) / 4) as usize, value, effects);
            }
            regs::MON_PAY_ADDRL_0.. if offset < regs::MON_PAY_ADDRL_0 + ARRAY_SIZE => {
                self.write_payload(monitor(regs::MON_PAY_ADDRL_0), place, value, attributes);
            }
            regs::MON_PAY_ADDRH_0.. if offset < regs::MON_PAY_ADDRH_0 + ARRAY_SIZE => {
                self.write_payload(monitor(regs::MON_PAY_ADDRH_0), place, value, attributes);
            }
            regs::MON_PAY_DATA_0.. if offset < regs::MON_PAY_DATA_0 + ARRAY_SIZE => {
                self.write_payload(monitor(regs::MON_PAY_DATA_0), place, value, attributes);
            }
            regs::MON_ARM_0.. if offset < regs::MON_ARM_0 + ARRAY_SIZE => {
                let monitor = monitor(regs::MON_ARM_0);
                self.disarm(monitor);
                self.registers.write(place, value);
                self.arm(monitor, attributes, effects);
            }
            regs::MON_STATUS_0.. if offset < regs::MON_STATUS_0 + ARRAY_SIZE => {
                let monitor = monitor(regs::MON_STATUS_0);
                self.disarm(monitor);
                if value & VALID != 0 {
                    self.arm(monitor, attributes, effects);
                } else {
                    self.registers.write(place, value);
                }
            }
            // Chosen: write 1 to clear, since the documents name no way to clear it.
            regs::SM_SEI_CAUSE => self.registers.clear_bits(place, value & 7),
            _ => self.registers.write(place, value),
        }
    }

    /// Changing the payload of an armed monitor makes it the writer's: what a user wrote must not go out as secure.
    fn write_payload(&mut self, monitor: usize, place: u32, value: u32, attributes: Attributes) {
        self.registers.write(place, value);
        if !attributes.secure() {
            if let Some(armed_by) = self.armed_by.get_mut(monitor) {
                *armed_by = attributes;
            }
            self.registers.clear_bits(self.register(regs::MON_STATUS_0, monitor), PROT);
        }
    }

    fn write_sob(&mut self, sob: usize, value: u32, effects: &mut Effects) {
        let place = self.register(regs::SOB_OBJ_0, sob);
        let new = if value & INC == 0 {
            value & VALUE
        } else {
            let addend = ((value & VALUE) << 17) as i32 >> 17;
            let sum = (self.registers.read(place) & VALUE) as i32 + addend;
            if !(0..=VALUE as i32).contains(&sum) {
                self.raise(SeiCause::Overflow, (sob / 8) as u32, effects);
            }
            sum as u32 & VALUE
        };
        self.registers.write(place, new);
        self.evaluate_group(sob / 8, effects);
    }

    /// Evaluates every monitor that watches `group`, in ascending order.
    fn evaluate_group(&mut self, group: usize, effects: &mut Effects) {
        let Some(watchers) = self.watchers.get(group).copied() else { return };
        for (word, mut bits) in watchers.into_iter().enumerate() {
            while bits != 0 {
                let monitor = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                self.evaluate(monitor, effects);
            }
        }
    }

    fn arm(&mut self, monitor: usize, attributes: Attributes, effects: &mut Effects) {
        let group = self.registers.read(self.register(regs::MON_ARM_0, monitor)) & 0xFF;
        if let Some(watchers) = self.watchers.get_mut(group as usize) {
            set_bit(watchers, monitor, true);
        }
        if let Some(armed_by) = self.armed_by.get_mut(monitor) {
            *armed_by = attributes;
        }
        self.evaluate(monitor, effects);
    }

    /// Takes the monitor off its group. Its MON_ARM still holds the group it was armed on.
    fn disarm(&mut self, monitor: usize) {
        let group = self.registers.read(self.register(regs::MON_ARM_0, monitor)) & 0xFF;
        if let Some(watchers) = self.watchers.get_mut(group as usize) {
            set_bit(watchers, monitor, false);
        }
    }

    /// Publishes which conditions of an armed monitor are still open, or fires it.
    fn evaluate(&mut self, monitor: usize, effects: &mut Effects) {
        let arm = self.registers.read(self.register(regs::MON_ARM_0, monitor));
        let first = 8 * (arm & 0xFF) as usize;
        let (equal, target) = (arm >> 16 & 1 != 0, arm >> 17);
        let mut pending = 0;
        for bit in (0..8).filter(|bit| arm >> (8 + bit) & 1 == 0) {
            let value = self.registers.read(self.register(regs::SOB_OBJ_0, first + bit)) & VALUE;
            let satisfied = if equal { value == target } else { value >= target };
            pending |= u32::from(!satisfied) << bit;
        }
        let attributes = self.armed_by.get(monitor).copied().unwrap_or(Attributes::CPU);
        let prot = if attributes.secure() { PROT } else { 0 };
        let status = self.register(regs::MON_STATUS_0, monitor);
        if pending != 0 {
            self.registers.write(status, VALID | pending << 1 | prot);
            return;
        }
        self.disarm(monitor);
        self.registers.write(status, prot);
        let address = self
            .registers
            .read_pair(self.register(regs::MON_PAY_ADDRL_0, monitor), self.register(regs::MON_PAY_ADDRH_0, monitor));
        if address & 3 != 0 {
            self.raise(SeiCause::Unaligned, address as u32 & 0xFFFF, effects);
            return;
        }
        let data = self.registers.read(self.register(regs::MON_PAY_DATA_0, monitor));
        effects.payloads.push(Payload { manager: self.index, address, data, attributes });
    }

    /// A payload of this manager got an error answer.
    pub fn payload_failed(&mut self, initiator: u8, effects: &mut Effects) {
        self.raise(SeiCause::PayloadFailed, u32::from(initiator), effects);
    }

    /// Sets a cause bit; the log is that of the first cause since all were clear. A masked cause notifies nobody.
    fn raise(&mut self, cause: SeiCause, log: u32, effects: &mut Effects) {
        let place = self.base + regs::SM_SEI_CAUSE;
        let old = self.registers.read(place);
        let log_bits = if old & 7 == 0 { (log & 0xFFFF) << 16 } else { old & 0xFFFF_0000 };
        self.registers.write(place, log_bits | old & 7 | 1 << cause as u32);
        if self.registers.read(self.base + regs::SM_SEI_MASK) >> cause as u32 & 1 == 0 {
            let manager = self.index as u8;
            effects.notifications.push(Notification::SyncManagerError { manager, cause: cause as u8, log });
        }
    }

    fn register(&self, array: u32, index: usize) -> u32 {
        self.base + array + 4 * index as u32
    }
}

fn set_bit(words: &mut [u64; regs::MONITORS / 64], bit: usize, value: bool) {
    if let Some(word) = words.get_mut(bit / 64) {
        *word = *word & !(1 << (bit % 64)) | u64::from(value) << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memories;
    use std::sync::Arc;

    struct Fixture {
        manager: SyncManager,
        effects: Effects,
    }

    const USER: Attributes = Attributes::new(false, false, 1, 3 << 3);
    const NOTHING: [u32; 0] = [];

    impl Fixture {
        fn new() -> Self {
            let registers = RegisterFile::new(Arc::new(Memories::new(4096).unwrap()));
            Self { manager: SyncManager::new(3, registers), effects: Effects::default() }
        }

        fn write(&mut self, offset: u32, value: u32) {
            self.manager.write(offset, value, USER, &mut self.effects);
        }

        fn sob(&self, index: u32) -> u32 {
            self.manager.registers.read(regs::base(3) + regs::SOB_OBJ_0 + 4 * index)
        }

        fn status(&self, monitor: u32) -> u32 {
            self.manager.registers.read(regs::base(3) + regs::MON_STATUS_0 + 4 * monitor)
        }

        fn set_payload(&mut self, monitor: u32, address: u64, data: u32) {
            self.write(regs::MON_PAY_ADDRL_0 + 4 * monitor, address as u32);
            self.write(regs::MON_PAY_ADDRH_0 + 4 * monitor, (address >> 32) as u32);
            self.write(regs::MON_PAY_DATA_0 + 4 * monitor, data);
        }

        fn arm(&mut self, monitor: u32, sid: u32, mask: u32, equal: bool, target: u32) {
            let word = sid | mask << 8 | u32::from(equal) << 16 | target << 17;
            self.write(regs::MON_ARM_0 + 4 * monitor, word);
        }

        fn fired(&mut self) -> Vec<u32> {
            self.effects.payloads.drain(..).map(|payload| payload.data).collect()
        }
    }

    #[test]
    fn a_sob_is_set_or_added_to() {
        let mut f = Fixture::new();
        f.write(regs::SOB_OBJ_0 + 4 * 9, 0x5);
        assert_eq!(f.sob(9), 5);
        f.write(regs::SOB_OBJ_0 + 4 * 9, 0x8000_0001);
        f.write(regs::SOB_OBJ_0 + 4 * 9, 0x8000_0000);
        assert_eq!(f.sob(9), 6);
        f.write(regs::SOB_OBJ_0 + 4 * 9, 0x8000_7FFF);
        assert_eq!(f.sob(9), 5, "the addend is two's complement");
        f.write(regs::SOB_OBJ_0 + 4 * 9, 0x4000_0003);
        assert_eq!(f.sob(9), 3, "the trace hint is not stored");
        assert!(f.effects.notifications.is_empty());
    }

    #[test]
    fn a_sob_wraps_and_reports_its_group() {
        let mut f = Fixture::new();
        f.write(regs::SOB_OBJ_0 + 4 * 100, 0x7FFF);
        f.write(regs::SOB_OBJ_0 + 4 * 100, 0x8000_0002);
        assert_eq!(f.sob(100), 1);
        let expected = Notification::SyncManagerError { manager: 3, cause: 0, log: 12 };
        assert_eq!(f.effects.notifications, [expected]);
        assert_eq!(f.manager.registers.read(regs::base(3) + regs::SM_SEI_CAUSE), 12 << 16 | 1);
        f.write(regs::SOB_OBJ_0, 0);
        f.write(regs::SOB_OBJ_0, 0x8000_7FFF);
        assert_eq!(f.sob(0), 0x7FFF, "below 0 it wraps to the top");
        assert_eq!(f.manager.registers.read(regs::base(3) + regs::SM_SEI_CAUSE), 12 << 16 | 1, "the first log stays");
        f.write(regs::SM_SEI_CAUSE, 1);
        assert_eq!(f.manager.registers.read(regs::base(3) + regs::SM_SEI_CAUSE) & 7, 0);
    }

    #[test]
    fn a_masked_cause_notifies_nobody() {
        let mut f = Fixture::new();
        f.write(regs::SM_SEI_MASK, 1);
        f.write(regs::SOB_OBJ_0, 0x8000_7FFF);
        assert!(f.effects.notifications.is_empty());
        assert_eq!(f.manager.registers.read(regs::base(3) + regs::SM_SEI_CAUSE) & 7, 1);
    }

    #[test]
    fn a_monitor_fires_once_when_its_sob_reaches_the_target() {
        let mut f = Fixture::new();
        f.set_payload(7, 0x7F_FC50_8308, 1);
        f.arm(7, 2, 0xFE, false, 3);
        assert_eq!(f.status(7), 1 | 1 << 1, "armed, condition 0 open");
        f.write(regs::SOB_OBJ_0 + 4 * 16, 2);
        assert_eq!(f.fired(), NOTHING);
        f.write(regs::SOB_OBJ_0 + 4 * 17, 9);
        assert_eq!(f.fired(), NOTHING, "another SOB of the group does not count");
        f.write(regs::SOB_OBJ_0 + 4 * 16, 4);
        assert_eq!(f.effects.payloads, [Payload { manager: 3, address: 0x7F_FC50_8308, data: 1, attributes: USER }]);
        assert_eq!(f.status(7), 0);
        f.effects.payloads.clear();
        f.write(regs::SOB_OBJ_0 + 4 * 16, 5);
        assert_eq!(f.fired(), NOTHING, "one shot");
    }

    #[test]
    fn a_monitor_armed_on_a_true_condition_fires_at_once() {
        let mut f = Fixture::new();
        f.write(regs::SOB_OBJ_0 + 4 * 8, 1);
        f.set_payload(0, 0x1000, 0x55);
        f.arm(0, 1, 0xFE, true, 1);
        assert_eq!(f.fired(), [0x55]);
    }

    #[test]
    fn equality_does_not_fire_above_the_target() {
        let mut f = Fixture::new();
        f.set_payload(0, 0x1000, 0x55);
        f.arm(0, 1, 0xFE, true, 2);
        f.write(regs::SOB_OBJ_0 + 4 * 8, 3);
        assert_eq!(f.fired(), NOTHING);
        f.write(regs::SOB_OBJ_0 + 4 * 8, 2);
        assert_eq!(f.fired(), [0x55]);
    }

    #[test]
    fn all_conditions_must_be_true_at_the_same_time() {
        let mut f = Fixture::new();
        f.set_payload(5, 0x1000, 9);
        f.arm(5, 0, !0b0000_0101 & 0xFF, true, 1);
        f.write(regs::SOB_OBJ_0, 1);
        assert_eq!(f.status(5) >> 1 & 0xFF, 0b100);
        f.write(regs::SOB_OBJ_0, 2);
        f.write(regs::SOB_OBJ_0 + 8, 1);
        assert_eq!(f.fired(), NOTHING, "the first condition was true only before");
        assert_eq!(f.status(5) >> 1 & 0xFF, 0b001);
        f.write(regs::SOB_OBJ_0, 1);
        assert_eq!(f.fired(), [9]);
    }

    #[test]
    fn a_mask_of_all_ones_fires_at_once() {
        let mut f = Fixture::new();
        f.set_payload(511, 0x1000, 3);
        f.arm(511, 255, 0xFF, false, 0x7FFF);
        assert_eq!(f.fired(), [3]);
    }

    #[test]
    fn arming_again_replaces_the_condition_and_zero_in_the_status_disarms() {
        let mut f = Fixture::new();
        f.set_payload(0, 0x1000, 1);
        f.arm(0, 0, 0xFE, false, 1);
        f.arm(0, 1, 0xFE, false, 1);
        f.write(regs::SOB_OBJ_0, 1);
        assert_eq!(f.fired(), NOTHING, "it watches another group now");
        f.write(regs::MON_STATUS_0, 0);
        f.write(regs::SOB_OBJ_0 + 4 * 8, 1);
        assert_eq!(f.fired(), NOTHING);
    }

    #[test]
    fn several_monitors_of_a_group_fire_in_ascending_order() {
        let mut f = Fixture::new();
        for monitor in [300, 2, 65] {
            f.set_payload(monitor, 0x1000, monitor);
            f.arm(monitor, 0, 0xFE, false, 1);
        }
        f.write(regs::SOB_OBJ_0, 1);
        assert_eq!(f.fired(), [2, 65, 300]);
    }

    #[test]
    fn an_unaligned_payload_address_is_a_cause_and_no_write() {
        let mut f = Fixture::new();
        f.set_payload(0, 0x7F_FC50_830A, 1);
        f.arm(0, 0, 0xFF, false, 0);
        assert_eq!(f.fired(), NOTHING);
        let expected = Notification::SyncManagerError { manager: 3, cause: 1, log: 0x830A };
        assert_eq!(f.effects.notifications, [expected]);
    }

    #[test]
    fn the_payload_carries_the_attributes_of_the_arming_write() {
        let mut f = Fixture::new();
        f.set_payload(0, 0x1000, 1);
        f.manager.write(regs::MON_ARM_0, 0xFE00 | 1 << 17, Attributes::CPU, &mut f.effects);
        assert_eq!(f.status(0) & PROT, PROT);
        f.write(regs::SOB_OBJ_0, 1);
        assert_eq!(f.effects.payloads.pop().unwrap().attributes, Attributes::CPU);
    }

    #[test]
    fn a_user_cannot_make_a_secure_monitor_send_his_payload_as_secure() {
        let mut f = Fixture::new();
        f.manager.write(regs::MON_ARM_0, 0xFE00 | 1 << 17, Attributes::CPU, &mut f.effects);
        f.set_payload(0, 0x7F_FCC0_4100, 1);
        f.write(regs::SOB_OBJ_0, 1);
        assert_eq!(f.effects.payloads.pop().unwrap().attributes, USER);
        f.manager.write(regs::MON_ARM_0, 0xFE00 | 2 << 17, USER, &mut f.effects);
        f.write(regs::MON_STATUS_0, VALID | PROT);
        assert_eq!(f.status(0) & PROT, 0);
    }

    #[test]
    fn every_block_is_found() {
        assert_eq!(find(0x4F_2000), Some((3, 0x2000)));
        assert_eq!(find(0x49_FFFC), Some((0, 0xFFFC)));
        assert_eq!(find(0x4A_2000), None);
        assert_eq!(find(0x50_2000), None);
    }
}
