//! Resets of the card and of its management CPU.

mod soc_support;

use coxswain_abi::regs::{dma_core, dma_core::commit, mmu, psoc, qman, sync_manager};
use coxswain_abi::soc::{ResetReason, bar0, control, core_block, info};
use soc_support::{Card, cpu_write, eventually, kmd_msg};

/// Every register of the card, the device time left out.
fn registers(card: &Card) -> Vec<(u32, u32)> {
    let time = [psoc::TIMESTAMP_CNTCVL, psoc::TIMESTAMP_CNTCVU];
    (0..0x0200_0000)
        .step_by(4)
        .filter(|offset| !time.contains(offset))
        .map(|offset| (offset, card.read(offset)))
        .collect()
}

/// The driver's reset (`gaudi-soc.md` 12 steps 3 and 4).
fn reset_by_the_driver(card: &Card) {
    card.write(psoc::SW_ALL_RST_CFG_H, 0x3F_FFFF);
    card.write(psoc::SW_ALL_RST_CFG_L, 0xFFE0_0001);
    card.write(psoc::COLD_RST_FLOPS_1, 0xED7B_D694);
    card.write(psoc::BOOT_SEQ_RE_START, 1);
    card.write(psoc::SW_ALL_RST, 1);
}

#[test]
fn the_driver_s_reset_returns_every_register_to_its_power_on_value() {
    let card = Card::new();
    let fresh = registers(&card);
    card.replay("hw_init.");
    for (sob, value) in [(0, 5), (2047, 6)] {
        card.write(sync_manager::base(1) + sync_manager::SOB_OBJ_0 + 4 * sob, value);
    }
    card.write(psoc::KMD_MSG_TO_CPU, 5);
    reset_by_the_driver(&card);
    assert_eq!(*card.wires.resets.lock().unwrap(), [ResetReason::SoftwareAll]);
    card.answer_reset(ResetReason::SoftwareAll);
    let mut kept = Vec::new();
    for ((offset, before), (_, after)) in fresh.into_iter().zip(registers(&card)) {
        if before != after {
            kept.push((offset, after));
        }
    }
    // PCIe and the cold-reset flops are not part of the reset; the driver's protection bits of the PLLs survive with them.
    kept.retain(|(offset, _)| !(0xC0_0000..0xC1_0000).contains(offset) && offset & 0xFFF < 0xF80);
    assert_eq!(kept, [(psoc::COLD_RST_FLOPS_1, 0xED7B_D694)]);
}

#[test]
fn the_boot_manager_is_busy_until_the_cpu_runs_again() {
    let card = Card::new();
    assert_eq!(card.read(psoc::BTM_FSM) & 0xF, 0);
    card.write(psoc::SW_ALL_RST, 1);
    assert_ne!(card.read(psoc::BTM_FSM) & 0xF, 0);
    card.write(psoc::BTM_FSM, 0);
    card.soc.reset_state(ResetReason::SoftwareAll);
    assert_ne!(card.read(psoc::BTM_FSM) & 0xF, 0);
    card.soc.out_of_reset();
    assert_eq!(card.read(psoc::BTM_FSM) & 0xF, 0);
}

#[test]
fn a_reset_empties_the_rings_and_tells_why() {
    let card = Card::new();
    card.memories.soc.write_bytes(bar0::CONTROL + control::ROUTE, &[3; 18]).unwrap();
    card.post(0, &[cpu_write(psoc::HW_STATE, 1); 5]);
    card.write(psoc::KMD_MSG_TO_CPU, 5);
    card.write(qman::base(0) + qman::PQ_PI_0, 5);
    for value in 0..2000 {
        card.write(psoc::KMD_MSG_TO_CPU, value);
    }
    card.write(psoc::SW_ALL_RST, 1);
    card.answer_reset(ResetReason::SoftwareAll);
    for core in 0..4 {
        let read = |field| card.memories.soc.read_u32(core_block::offset(core) + field).unwrap();
        for field in [
            core_block::POSTED_PRODUCER,
            core_block::POSTED_CONSUMER,
            core_block::NOTIFY_PRODUCER,
            core_block::NOTIFY_CONSUMER,
            core_block::WANT_INTERRUPT,
        ] {
            assert_eq!(read(field), 0);
        }
        assert_eq!(read(core_block::POSTED_IDLE), 1);
        assert_eq!(card.doorbells(core), [0, 0]);
    }
    let reason = || card.memories.soc.read_u32(bar0::INFO + info::RESET_REASON).unwrap();
    assert_eq!(reason(), ResetReason::SoftwareAll as u32);
    card.write(psoc::KMD_MSG_TO_CPU, 9);
    card.write(qman::base(0) + qman::PQ_PI_0, 1);
    assert_eq!(card.notifications(0), [kmd_msg(9)], "no backlog is left");
    assert_eq!(card.doorbells(0), [1, 0], "and routes are the default");
}

#[test]
fn a_reset_aborts_the_engines() {
    let card = Card::new();
    card.initialise();
    card.long_fill(2, 0x0101_0101_0101_0101, 0x2000_0000);
    card.dma(2, 0x0202_0202_0202_0202, 0x1_0000_0000, 64, commit::LIN | commit::MEM_SET);
    eventually("the start", || card.memories.hbm.read_u64(0x2000_0000).unwrap() != 0);
    card.write(psoc::SW_ALL_RST, 1);
    card.soc.reset_state(ResetReason::SoftwareAll);
    assert_eq!(card.read(dma_core::base(2) + dma_core::STS0), 0);
    card.soc.out_of_reset();
    card.initialise();
    card.dma(2, 3, 0x7F_F000_1000, 8, commit::LIN | commit::MEM_SET);
    card.until(|notification| matches!(notification, coxswain_abi::soc::Notification::EngineDone { engine: 2 }));
    assert_eq!(card.memories.soc.read_u64(0x1000).unwrap(), 3);
    assert_eq!(card.memories.hbm.read_u64(0x1_0000_0000).unwrap(), 0, "the queued transfer is gone");
    assert_eq!(card.notifications(0), []);
}

#[test]
fn memory_below_256_mib_survives_the_reset_of_the_card() {
    let card = Card::new();
    card.memories.hbm.write_u64(0x0FFF_FFF8, 0xE917A9).unwrap();
    card.memories.hbm.write_u64(0x1000_0000, 1).unwrap();
    card.write(psoc::SW_ALL_RST, 1);
    card.answer_reset(ResetReason::SoftwareAll);
    assert_eq!(card.memories.hbm.read_u64(0x0FFF_FFF8).unwrap(), 0xE917A9);
    assert_eq!(card.memories.hbm.read_u64(0x1000_0000).unwrap(), 0);
}

#[test]
fn translations_do_not_survive_the_reset_of_the_card() {
    let card = Card::lockstep();
    card.initialise();
    card.map(0x1_0000_0000_0000, &[0x8000]);
    let generation = || card.memories.soc.read_u64(bar0::INFO + info::MMU_GENERATION).unwrap();
    let before = generation();
    card.write(psoc::SW_ALL_RST, 1);
    card.answer_reset(ResetReason::SoftwareAll);
    assert_eq!(card.memories.soc.read_u64(bar0::INFO + info::HOP0 + 8).unwrap(), 0);
    assert_eq!(card.read(mmu::MMU_ENABLE), 0);
    assert!(generation() > before);
}

#[test]
fn writes_between_request_and_end_of_a_card_reset_are_dropped() {
    let card = Card::new();
    card.write(psoc::SW_ALL_RST, 1);
    card.write(psoc::HW_STATE, 1);
    assert_eq!(card.read(psoc::HW_STATE), 0);
    card.answer_reset(ResetReason::SoftwareAll);
    card.write(psoc::HW_STATE, 1);
    assert_eq!(card.read(psoc::HW_STATE), 1);
}

#[test]
fn a_restart_of_the_cpu_alone_keeps_the_card() {
    let card = Card::new();
    card.initialise();
    card.write(psoc::HW_STATE, 1);
    card.write(sync_manager::base(0) + sync_manager::SOB_OBJ_0, 5);
    for reason in [ResetReason::Firmware, ResetReason::Watchdog] {
        card.soc.request_reset(reason);
        card.write(psoc::KMD_MSG_TO_CPU, 3);
        card.answer_reset(reason);
        assert_eq!(card.memories.soc.read_u32(bar0::INFO + info::RESET_REASON).unwrap(), reason as u32);
        assert_eq!(card.read(psoc::HW_STATE), 1);
        assert_eq!(card.read(psoc::KMD_MSG_TO_CPU), 3);
        assert_eq!(card.read(sync_manager::base(0) + sync_manager::SOB_OBJ_0), 5);
        assert_eq!(card.notifications(0), []);
    }
    assert_eq!(card.memories.soc.read_u64(bar0::INFO + info::HOP0).unwrap(), 0x1000_0000);
}

/// The end of one reset must not be taken for that of the next: the host would write into a card that is about to be reset.
#[test]
fn a_reset_asked_for_during_another_keeps_the_card_in_reset_until_it_is_done() {
    let card = Card::new();
    card.soc.request_reset(ResetReason::Watchdog);
    card.soc.reset_state(ResetReason::Watchdog);
    card.write(psoc::SW_ALL_RST, 1);
    card.soc.out_of_reset();
    assert_ne!(card.read(psoc::BTM_FSM) & 0xF, 0);
    card.write(psoc::HW_STATE, 1);
    card.soc.reset_state(ResetReason::Firmware);
    card.soc.out_of_reset();
    assert_ne!(card.read(psoc::BTM_FSM) & 0xF, 0, "a reset of the CPU is none of the card");
    card.answer_reset(ResetReason::SoftwareAll);
    assert_eq!(card.read(psoc::BTM_FSM) & 0xF, 0);
    assert_eq!(card.read(psoc::HW_STATE), 0);
    card.write(psoc::HW_STATE, 1);
    assert_eq!(card.read(psoc::HW_STATE), 1);
}

/// The CPU is released before the SoC is told: what it posts in between must not wait for a kick that never comes.
#[test]
fn posted_writes_of_a_cpu_that_runs_before_the_end_of_reset_are_served() {
    let card = Card::new();
    card.write(psoc::SW_ALL_RST, 1);
    card.soc.reset_state(ResetReason::SoftwareAll);
    card.post(0, &[cpu_write(psoc::HW_STATE, 3)]);
    assert_eq!(card.read(psoc::HW_STATE), 0);
    card.soc.out_of_reset();
    assert_eq!(card.read(psoc::HW_STATE), 3);
}

#[test]
fn an_unfed_watchdog_asks_for_a_reset_of_the_cpu_alone() {
    const WATCHDOG: u32 = 0xC4_8000;
    let card = Card::new();
    card.write(psoc::HW_STATE, 1);
    card.post(0, &[cpu_write(WATCHDOG, 20_000), cpu_write(WATCHDOG + 8, 3)]);
    for _ in 0..8 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        card.post(0, &[cpu_write(WATCHDOG + 0xC, 1)]);
    }
    assert_eq!(*card.wires.resets.lock().unwrap(), []);
    eventually("the reset", || !card.wires.resets.lock().unwrap().is_empty());
    assert_eq!(*card.wires.resets.lock().unwrap(), [ResetReason::Watchdog]);
    assert_eq!(card.read(WATCHDOG + 0x10), 1);
    card.answer_reset(ResetReason::Watchdog);
    assert_eq!(card.read(WATCHDOG + 8), 0, "it is off");
    assert_eq!(card.read(psoc::HW_STATE), 1);
}

#[test]
fn a_shut_down_card_keeps_no_thread() {
    let card = Card::new();
    card.initialise();
    card.dma(2, 1, 0x2000_0000, 1 << 30, commit::LIN | commit::MEM_SET);
    card.soc.shutdown();
    card.soc.shutdown();
    let memories = card.memories.clone();
    drop(card);
    assert_eq!(std::sync::Arc::strong_count(&memories), 1, "a thread still holds the chip");
}
