//! Sync objects, monitors and fences through the bus.

mod soc_support;

use std::sync::atomic::Ordering;

use coxswain_abi::regs::{pcie, psoc, qman, sync_manager};
use coxswain_abi::soc::{Attributes, Notification, PostedWrite};
use soc_support::{Card, cfg, eventually, kmd_msg, user};

const E_N: usize = 3;

fn sob(index: u32) -> u32 {
    sync_manager::base(E_N) + sync_manager::SOB_OBJ_0 + 4 * index
}

/// The four writes that arm a monitor of E_N, as a user's packets make them.
fn monitor(index: u32, payload: u64, data: u32, arm: u32, attributes: Attributes) -> [PostedWrite; 4] {
    let base = sync_manager::base(E_N) + 4 * index;
    [
        (sync_manager::MON_PAY_ADDRL_0, payload as u32),
        (sync_manager::MON_PAY_ADDRH_0, (payload >> 32) as u32),
        (sync_manager::MON_PAY_DATA_0, data),
        (sync_manager::MON_ARM_0, arm),
    ]
    .map(|(array, data)| PostedWrite { address: cfg(base + array), data, attributes })
}

/// Arm word: SOB group, mask of ignored SOBs, exact or at least, target.
fn arm(sid: u32, mask: u32, equal: bool, target: u32) -> u32 {
    sid | mask << 8 | u32::from(equal) << 16 | target << 17
}

#[test]
fn a_signalled_sob_releases_the_fence_of_a_waiting_stream() {
    let card = Card::new();
    card.initialise();
    // `qman.md` 5.8: monitor 0 -> DMA0 stream 0 fence 0, armed on SOB 8 == 1.
    let fence = cfg(qman::base(0) + qman::CP_FENCE0_RDATA_0);
    assert_eq!(fence, 0x7F_FC50_8308);
    card.post(0, &monitor(0, fence, 1, 0x0003_FE01, user(0, 0)));
    assert_eq!(card.notifications(0), []);
    card.message(cfg(sob(8)), 0x8000_0001, user(4, 4));
    assert_eq!(card.notifications(0), [Notification::Fence { qman: 0, stream: 0, fence: 0, increment: 1 }]);
    assert_eq!(card.read(sob(8)), 1);
}

#[test]
fn a_chain_of_all_monitors_runs_to_its_end() {
    let card = Card::new();
    card.initialise();
    for index in 0..511 {
        // Monitor n waits for SOB 8n and signals SOB 8(n + 1); 256 groups, so the second half starts over.
        let group = index % 256;
        let next = cfg(sob(8 * ((index + 1) % 256)));
        card.post(0, &monitor(index, next, 0x8000_0001, arm(group, 0xFE, false, index / 256 + 1), user(0, 0)));
    }
    card.post(0, &monitor(511, 0x7F_F000_1000, 0xC0FFEE, arm(255, 0xFE, false, 2), user(0, 0)));
    assert_eq!(card.memories.soc.read_u32(0x1000).unwrap(), 0);
    card.message(cfg(sob(0)), 0x8000_0001, user(0, 0));
    assert_eq!(card.memories.soc.read_u32(0x1000).unwrap(), 0xC0FFEE);
    assert_eq!(card.notifications(0), []);
}

#[test]
fn monitors_that_fire_each_other_for_ever_do_not_stop_the_card() {
    let card = Card::new();
    card.initialise();
    // The payload is the monitor's own arm word, at its own arm register; it watches nothing and fires at once.
    let word = arm(0, 0xFF, false, 0);
    let register = cfg(sync_manager::base(E_N) + sync_manager::MON_ARM_0);
    card.post(0, &monitor(0, register, word, word, user(0, 0)));
    card.write(psoc::KMD_MSG_TO_CPU, 5);
    assert_eq!(card.notifications(0), [kmd_msg(5)]);
    card.write(sob(1), 3);
    assert_eq!(card.read(sob(1)), 3);
    // It still runs: a new payload address takes effect, and ends it.
    let address = cfg(sync_manager::base(E_N) + sync_manager::MON_PAY_ADDRL_0);
    card.message(address, cfg(sob(9)) as u32, user(0, 0));
    eventually("the end", || card.read(sob(9)) == word & 0x7FFF);
}

#[test]
fn a_payload_reaches_host_memory_by_the_attributes_of_the_arming_write() {
    let card = Card::new();
    card.initialise();
    card.map(0x1_0000_0000_0000, &[0x8000]);
    card.post(0, &monitor(1, 0x1_0000_0000_0010, 0x1234_5678, arm(0, 0xFF, false, 0), user(0, 0)));
    assert_eq!(card.memories.host.read_u32(0x8010).unwrap(), 0x1234_5678);
    assert_eq!(card.notifications(0), []);
}

#[test]
fn a_user_s_monitor_cannot_reach_the_msi_or_the_interrupt_controller() {
    let card = Card::new();
    card.initialise();
    let before = card.wires.msis.load(Ordering::SeqCst);
    for offset in [pcie::CORE_MSI_REQ, coxswain_abi::regs::GICD_SETSPI_NSR] {
        card.post(0, &monitor(2, cfg(offset), 1, arm(0, 0xFF, false, 0), user(0, 3)));
        let expected = Notification::Blocked { initiator: 3, write: true, address: cfg(offset) };
        assert_eq!(card.notifications(0), [expected]);
    }
    assert_eq!(card.wires.msis.load(Ordering::SeqCst), before);
}

#[test]
fn a_payload_that_cannot_be_written_is_the_sync_manager_s_error() {
    let card = Card::new();
    card.initialise();
    card.post(0, &monitor(3, 0x10_0000_0000, 1, arm(0, 0xFF, false, 0), user(2, 4)));
    let seen = card.notifications(0);
    assert!(seen.contains(&Notification::PageFault { initiator: 2 << 3 | 4, write: true, address: 0x10_0000_0000 }));
    assert!(seen.contains(&Notification::SyncManagerError { manager: 3, cause: 2, log: 2 << 3 | 4 }));
    assert_eq!(card.read(sync_manager::base(E_N) + sync_manager::SM_SEI_CAUSE), (2 << 3 | 4) << 16 | 1 << 2);
}

#[test]
fn the_driver_s_zeroes_disarm_every_monitor() {
    let card = Card::new();
    card.initialise();
    card.post(0, &monitor(72, 0x7F_F000_1000, 1, arm(18, 0xFE, false, 1), user(0, 0)));
    let status = sync_manager::base(E_N) + sync_manager::MON_STATUS_0 + 4 * 72;
    assert_eq!(card.read(status), 0b11);
    card.message(cfg(status), 0, user(0, 0));
    card.message(cfg(sob(144)), 1, user(0, 0));
    assert_eq!(card.read(status), 0);
    assert_eq!(card.memories.soc.read_u32(0x1000).unwrap(), 0);
}

#[test]
fn increments_from_host_and_cpu_at_the_same_time_all_count() {
    let card = Card::new();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..8000).for_each(|_| card.write(sob(5), 0x8000_0001)));
        for _ in 0..80 {
            let write = PostedWrite { address: cfg(sob(5)), data: 0x8000_0001, attributes: Attributes::CPU };
            card.post(1, &[write; 100]);
        }
    });
    assert_eq!(card.read(sob(5)), 16_000);
}
