//! Everything at once: host, management CPU, engines, resets. What is looked for are dead-locks and lost work.

mod soc_support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coxswain_abi::regs::{dma_core, dma_core::commit, psoc, sync_manager, tpc_cfg};
use coxswain_abi::soc::{Notification, PostedWrite, ResetReason, core_block};
use soc_support::{Card, cfg, cpu_write, user};

const HBM: u64 = 0x2000_0000;

/// The writes by which a user's stream starts a fill of its DMA core.
fn fill(core: usize, value: u32, to: u64, len: u32) -> Vec<PostedWrite> {
    let base = dma_core::base(core);
    [
        (dma_core::SRC_BASE_LO, value),
        (dma_core::SRC_BASE_HI, 0),
        (dma_core::DST_BASE_LO, to as u32),
        (dma_core::DST_BASE_HI, (to >> 32) as u32),
        (dma_core::DST_TSIZE_0, len),
        (dma_core::COMMIT, commit::LIN | commit::MEM_SET | commit::WR_COMP_EN),
    ]
    .map(|(offset, data)| PostedWrite { address: cfg(base + offset), data, attributes: user(core, 4) })
    .to_vec()
}

/// Small and large transfers of all cores, committed by CPU and host at once: each is done exactly once.
#[test]
fn every_commit_is_answered_once_whoever_runs_it() {
    const ROUNDS: u32 = 200;
    let card = Card::new();
    card.initialise();
    for core in 0..8 {
        let base = dma_core::base(core);
        let sob = sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 4 * core as u32;
        card.write_pair(base + dma_core::WR_COMP_ADDR_LO, base + dma_core::WR_COMP_ADDR_HI, cfg(sob));
        card.write(base + dma_core::WR_COMP_WDATA, 0x8000_0001);
    }
    let mut done = [0; 8];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                for core in 4..8 {
                    card.dma(core, 7, HBM + (64 << 20), 8 + round, commit::LIN | commit::MEM_SET | commit::WR_COMP_EN);
                }
                std::thread::yield_now();
            }
        });
        let (mut round, mut outstanding) = (0, 0);
        let deadline = Instant::now() + Duration::from_secs(60);
        while done.iter().sum::<u32>() < 8 * ROUNDS {
            assert!(Instant::now() < deadline, "lost work: {done:?}");
            if round < ROUNDS && outstanding < 4 {
                for core in 0..4 {
                    let len = if round % 16 == 0 { 300_000 } else { 100 };
                    card.post(0, &fill(core, round, HBM + (core as u64) * (8 << 20), len));
                }
                round += 1;
                outstanding += 4;
            }
            for notification in card.notifications(0) {
                let Notification::EngineDone { engine } = notification else { panic!("unexpected {notification:?}") };
                done[usize::from(engine)] += 1;
                outstanding -= i32::from(engine < 4);
            }
        }
    });
    assert_eq!(done, [ROUNDS; 8]);
    for core in 0..8 {
        assert_eq!(card.read(sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 4 * core), ROUNDS);
    }
}

#[test]
fn resets_in_the_middle_of_everything_leave_a_working_card() {
    let card = Card::new();
    let stop = AtomicBool::new(false);
    // Locked by the CPU while it executes, and by whoever holds it: a core that runs through `Soc::reset_state` would put the
    // consumer index of before beside the producer index 0 of after. A kick may be under way when the CPU is stopped.
    let cpu = Mutex::new(());
    let execute = || cpu.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = |reason| {
        let held = execute();
        card.soc.reset_state(reason);
        drop(held);
        card.soc.out_of_reset();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0;
            while !stop.load(Ordering::SeqCst) {
                value += 1;
                card.dma(5, u64::from(value), HBM, 1 << 20, commit::LIN | commit::MEM_SET);
                card.write(dma_core::base(5) + dma_core::CFG_0, 1);
                card.write(dma_core::base(5) + dma_core::CFG_1, value & 1);
                card.write(tpc_cfg::base(3) + tpc_cfg::TPC_EXECUTE, 1);
                card.write(psoc::KMD_MSG_TO_CPU, value);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let running = execute();
                card.memories.soc.write_u32(core_block::offset(0) + core_block::WANT_INTERRUPT, 1).expect("a ring");
                card.notifications(0);
                drop(running);
                card.soc.kick(0);
                card.soc.kick(1);
            }
        });
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(3));
            card.write(psoc::SW_ALL_RST, 1);
            answer(ResetReason::SoftwareAll);
            card.soc.request_reset(ResetReason::Firmware);
            answer(ResetReason::Firmware);
        }
        stop.store(true, Ordering::SeqCst);
    });
    card.write(psoc::SW_ALL_RST, 1);
    card.answer_reset(ResetReason::SoftwareAll);
    card.initialise();
    card.post(0, &[cpu_write(psoc::HW_STATE, 5)]);
    assert_eq!(card.read(psoc::HW_STATE), 5);
    card.dma(5, 0x55, HBM, 1 << 20, commit::LIN | commit::MEM_SET);
    card.until(|notification| *notification == Notification::EngineDone { engine: 5 });
    assert_eq!(card.memories.hbm.read_u64(HBM + (1 << 20) - 8).expect("HBM"), 0x55);
}
