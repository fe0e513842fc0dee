//! DMA cores: descriptors, completion, errors, halt, translation.

mod soc_support;

use coxswain_abi::regs::dma_core::{self, commit, err_cause};
use coxswain_abi::regs::{GICD_SETSPI_NSR, mmu, qman, sync_manager};
use coxswain_abi::soc::{Attributes, Notification, PostedWrite, ResetReason, initiator};
use proptest::prelude::*;
use soc_support::{Card, cfg, eventually, user};

const HBM: u64 = 0x2000_0000;
const COPY: u32 = commit::LIN;
const FILL: u32 = commit::LIN | commit::MEM_SET;

fn done(engine: u8) -> Notification {
    Notification::EngineDone { engine }
}

fn is_done(engine: u8) -> impl Fn(&Notification) -> bool {
    move |notification| *notification == done(engine)
}

fn is_busy(card: &Card, index: usize) -> bool {
    card.read(dma_core::base(index) + dma_core::STS0) >> 31 != 0
}

/// The signature of an engine.
fn engine(index: usize) -> u8 {
    initiator(index, 7)
}

#[test]
fn the_driver_s_scrub_by_register_writes_completes() {
    let card = Card::new();
    card.initialise();
    card.memories.hbm.fill(HBM, 64 << 20, u64::MAX).unwrap();
    for index in 0..8 {
        card.dma(index, 0x1122_3344_5566_7788, HBM + (8 << 20) * index as u64, 8 << 20, FILL);
    }
    for index in 0..8 {
        eventually("the end of a scrub", || !is_busy(&card, index));
        assert_eq!(
            card.memories.hbm.read_u64(HBM + (8 << 20) * (index as u64 + 1) - 8).unwrap(),
            0x1122_3344_5566_7788
        );
        assert_eq!(card.read(dma_core::base(index) + dma_core::ERR_CAUSE), 0);
    }
}

#[test]
fn the_completion_write_follows_the_data_and_precedes_idle() {
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(2);
    let sob = sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 8;
    card.write_pair(base + dma_core::WR_COMP_ADDR_LO, base + dma_core::WR_COMP_ADDR_HI, cfg(sob));
    card.write(base + dma_core::WR_COMP_WDATA, 0x8000_0001);
    card.dma(2, HBM, HBM + 0x1000, 100, COPY | commit::WR_COMP_EN);
    card.dma(2, HBM, HBM + 0x1000, 0, COPY | commit::WR_COMP_EN);
    card.dma(2, HBM, HBM + 0x1000, 100, COPY);
    assert_eq!(card.read(sob), 2, "also for a size of 0, not without WR_COMP_EN");
    assert_eq!(card.notifications(0), [done(2), done(2), done(2)]);
    assert!(!is_busy(&card, 2));
}

#[test]
fn descriptors_are_latched_at_commit_and_run_in_order() {
    let card = Card::lockstep();
    card.initialise();
    card.write(dma_core::base(3) + dma_core::CFG_0, 0);
    for value in 0..5_u64 {
        card.dma(3, value, HBM + 8 * value, 64, FILL);
    }
    assert!(is_busy(&card, 3), "a disabled core keeps its descriptors");
    assert_eq!(card.notifications(0), []);
    card.write(dma_core::base(3) + dma_core::CFG_0, 1);
    assert_eq!(card.notifications(0), vec![done(3); 5]);
    for value in 0..5_u64 {
        assert_eq!(card.memories.hbm.read_u64(HBM + 8 * value).unwrap(), value);
    }
    assert_eq!(card.memories.hbm.read_u64(HBM + 8 * 4 + 56).unwrap(), 4);
}

#[test]
fn more_descriptors_than_the_core_holds_are_an_overflow() {
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(4);
    card.write(base + dma_core::CFG_1, 1);
    card.write(base + dma_core::ERR_CFG, 0);
    for value in 0..17 {
        card.dma(4, value, HBM + 8 * value, 8, FILL);
    }
    assert_eq!(card.notifications(0), []);
    card.dma(4, 99, HBM + 8 * 99, 8, FILL);
    let error = Notification::EngineError { engine: 4, cause: err_cause::DESC_OVF, stopped: false };
    assert_eq!(card.notifications(0), [error, done(4)]);
    assert_eq!(card.read(base + dma_core::ERR_CAUSE), err_cause::DESC_OVF);
    card.write(base + dma_core::ERR_CAUSE, err_cause::DESC_OVF);
    assert_eq!(card.read(base + dma_core::ERR_CAUSE), 0);
    card.write(base + dma_core::CFG_1, 0);
    assert_eq!(card.notifications(0), vec![done(4); 17]);
    assert_eq!(card.memories.hbm.read_u64(HBM + 8 * 99).unwrap(), 0);
}

/// The SRAM of this card does not reduce; a plain write in place of a reduction would be silent corruption.
#[test]
fn a_write_that_asks_the_sram_to_reduce_is_an_error_and_moves_nothing() {
    const WR_AWUSER_31_11: u32 = 0x130;
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(5);
    card.write(base + dma_core::ERR_CFG, 0);
    for (user_bits, length) in [(2, 8), (0x1F_FFFF, 1 << 20)] {
        card.memories.soc.write_u64(0x1000, 5).unwrap();
        card.write(base + WR_AWUSER_31_11, user_bits);
        card.dma(5, 7, 0x7F_F000_1000, length, FILL | commit::WR_COMP_EN);
        let error = Notification::EngineError { engine: 5, cause: err_cause::DESC_OVF, stopped: false };
        assert_eq!(card.notifications(0), [error, done(5)]);
        assert_eq!(card.memories.soc.read_u64(0x1000).unwrap(), 5);
    }
    for user_bits in [0, 1] {
        card.write(base + WR_AWUSER_31_11, user_bits);
        card.dma(5, 9 + u64::from(user_bits), 0x7F_F000_1000, 8, FILL);
        assert_eq!(card.notifications(0), [done(5)]);
        assert_eq!(card.memories.soc.read_u64(0x1000).unwrap(), 9 + u64::from(user_bits));
    }
}

/// A completion write can commit the next transfer. Whoever comes across such a chain must get out of it again: the thread
/// that kicked it off, the pump (seen here by its watchdog), and a reset.
#[test]
fn a_core_that_commits_its_own_work_without_end_holds_no_access_no_watchdog_and_no_reset() {
    const WATCHDOG: u32 = 0xC4_8000;
    for card in [Card::new(), Card::lockstep()] {
        let base = dma_core::base(2);
        card.write(base + dma_core::PROT, 1);
        card.write(base + dma_core::CFG_0, 1);
        card.write_pair(
            base + dma_core::WR_COMP_ADDR_LO,
            base + dma_core::WR_COMP_ADDR_HI,
            cfg(base + dma_core::COMMIT),
        );
        card.write(base + dma_core::WR_COMP_WDATA, FILL | commit::WR_COMP_EN);
        card.write(WATCHDOG, 20_000);
        card.write(WATCHDOG + 8, 3);
        card.dma(2, 7, HBM, 8, FILL | commit::WR_COMP_EN);
        eventually("the watchdog's reset", || *card.wires.resets.lock().unwrap() == [ResetReason::Watchdog]);
        card.answer_reset(ResetReason::Watchdog);
        card.until(is_done(2));
        assert!(is_busy(&card, 2), "it goes on");
        card.write(coxswain_abi::regs::psoc::SW_ALL_RST, 1);
        card.answer_reset(ResetReason::SoftwareAll);
        assert!(!is_busy(&card, 2));
        assert_eq!(card.notifications(0), []);
    }
}

#[test]
fn an_error_with_stop_on_error_leaves_the_core_busy_and_silent() {
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(5);
    let sob = sync_manager::base(3) + sync_manager::SOB_OBJ_0;
    card.write_pair(base + dma_core::WR_COMP_ADDR_LO, base + dma_core::WR_COMP_ADDR_HI, cfg(sob));
    card.write(base + dma_core::WR_COMP_WDATA, 1);
    card.dma(5, HBM, 0x7F_FC00_0000, 8, COPY | commit::WR_COMP_EN);
    let message = Notification::RegisterWrite { offset: GICD_SETSPI_NSR, value: 453 + 5, secure: true };
    let error = Notification::EngineError { engine: 5, cause: err_cause::HBW_WR, stopped: true };
    assert_eq!(card.notifications(0), [message, error]);
    card.dma(5, HBM, HBM + 64, 8, COPY | commit::WR_COMP_EN);
    card.write(base + dma_core::CFG_1, 2);
    assert!(is_busy(&card, 5));
    assert_eq!(card.read(sob), 0);
    assert_eq!(card.notifications(0), []);
    card.dma(6, 7, HBM, 8, FILL);
    assert_eq!(card.notifications(0), [done(6)], "other cores go on");
}

#[test]
fn without_stop_on_error_the_core_goes_on_with_the_next_descriptor() {
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(5);
    card.write(base + dma_core::ERR_CFG, 1);
    card.dma(5, 0x10_0000_0000, HBM, 8, COPY | commit::WR_COMP_EN);
    card.dma(5, 7, HBM, 8, FILL);
    let seen = card.notifications(0);
    let error = Notification::EngineError { engine: 5, cause: err_cause::HBW_RD, stopped: false };
    assert!(seen.contains(&error), "{seen:?}");
    assert_eq!(seen.iter().filter(|notification| **notification == done(5)).count(), 2);
    assert!(!is_busy(&card, 5));
    assert_eq!(card.memories.hbm.read_u64(HBM).unwrap(), 7);
}

#[test]
fn a_failed_completion_write_is_a_cause() {
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(5);
    card.write_pair(base + dma_core::WR_COMP_ADDR_LO, base + dma_core::WR_COMP_ADDR_HI, cfg(0x50_7000));
    card.dma(5, 1, HBM, 8, FILL | commit::WR_COMP_EN);
    assert_eq!(card.read(base + dma_core::ERR_CAUSE), err_cause::LBW_WR);
    assert!(is_busy(&card, 5));
}

#[test]
fn a_transposing_descriptor_is_refused_and_not_ignored() {
    let card = Card::lockstep();
    card.initialise();
    card.dma(5, HBM, HBM + 64, 8, COPY | commit::TRANSPOSE);
    let error = Notification::EngineError { engine: 5, cause: err_cause::DESC_OVF, stopped: true };
    assert!(card.notifications(0).contains(&error));
}

#[test]
fn a_halted_core_stops_within_a_transfer_and_resumes() {
    let card = Card::new();
    card.initialise();
    let base = dma_core::base(2);
    card.long_fill(2, 0x0101_0101_0101_0101, HBM);
    eventually("the start", || card.memories.hbm.read_u64(HBM).unwrap() != 0);
    card.write(base + dma_core::CFG_1, 1);
    eventually("the halt", || card.read(base + dma_core::STS1) == 1);
    assert!(is_busy(&card, 2));
    assert_eq!(card.notifications(0), []);
    let left = card.read(base + 0x134);
    assert!(left > 0);
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(card.read(base + 0x134), left, "nothing moves");
    card.write(base + dma_core::CFG_1, 0);
    card.until(is_done(2));
    assert_eq!(card.memories.hbm.read_u64(HBM + (64 << 10) - 8).unwrap(), 0x0101_0101_0101_0101);
}

#[test]
fn a_flush_drops_every_descriptor() {
    let card = Card::lockstep();
    card.initialise();
    let base = dma_core::base(2);
    card.write(base + dma_core::CFG_1, 1);
    card.dma(2, 1, HBM, 8, FILL);
    card.write(base + dma_core::CFG_1, 3);
    assert!(!is_busy(&card, 2));
    card.write(base + dma_core::CFG_1, 0);
    assert_eq!(card.notifications(0), []);
    assert_eq!(card.memories.hbm.read_u64(HBM).unwrap(), 0);
}

#[test]
fn a_job_of_the_driver_uses_the_secure_properties() {
    let card = Card::lockstep();
    card.initialise();
    card.memories.host.write_bytes(0x5000, b"image").unwrap();
    let base = dma_core::base(0);
    card.write(base + dma_core::PROT, 3);
    card.dma(0, 0x80_0000_5000, 0x7F_F000_2000, 5, COPY);
    card.dma(0, 0, 0x1000_0000, 0x0C00_0000, FILL);
    card.write(base + dma_core::PROT, 2);
    assert_eq!(card.read(base + dma_core::ERR_CAUSE), 0);
    let mut seen = [0; 5];
    card.memories.soc.read_bytes(0x2000, &mut seen).unwrap();
    assert_eq!(&seen, b"image");
    card.dma(0, 0x80_0000_5000, 0x7F_F000_3000, 5, COPY);
    assert_eq!(card.read(base + dma_core::ERR_CAUSE), err_cause::HBW_RD, "a user's address is translated");
}

#[test]
fn a_page_fault_is_captured_once_and_reported() {
    let card = Card::lockstep();
    card.initialise();
    card.map(0x1_0000_0000_0000, &[0x8000]);
    card.dma(2, 0x1_0000_0000_0FFC, HBM, 8, COPY);
    let seen = card.notifications(0);
    let fault = Notification::PageFault { initiator: engine(2), write: false, address: 0x1_0000_0000_1000 };
    assert!(seen.contains(&fault), "{seen:?}");
    assert!(seen.contains(&Notification::EngineError { engine: 2, cause: err_cause::HBW_RD, stopped: true }));
    assert_eq!(card.read(mmu::PAGE_ERROR_CAPTURE), mmu::CAPTURE_VALID | 0x1_0000);
    assert_eq!(card.read(mmu::PAGE_ERROR_CAPTURE_VA), 0x1000);
    card.dma(3, HBM, 0x2_0000_0000_0000, 8, COPY);
    assert_eq!(card.read(mmu::PAGE_ERROR_CAPTURE_VA), 0x1000, "the first stays");
    card.write(mmu::PAGE_ERROR_CAPTURE, 0);
    card.dma(4, HBM, 0x2_0000_0000_0000, 8, COPY);
    assert_eq!(card.read(mmu::PAGE_ERROR_CAPTURE), mmu::CAPTURE_VALID | 0x2_0000);
}

#[test]
fn a_user_s_transfer_cannot_touch_the_closed_part_of_hbm() {
    let card = Card::lockstep();
    card.initialise();
    card.memories.hbm.write_u64(0x1FFF_FFF8, 0x5EC2E7).unwrap();
    card.dma(2, 0x1FFF_FFF0, HBM, 32, COPY);
    let blocked = Notification::Blocked { initiator: engine(2), write: false, address: 0x1FFF_FFF0 };
    assert!(card.notifications(0).contains(&blocked));
    assert_eq!(card.memories.hbm.read_u64(HBM + 8).unwrap(), 0);
    assert_ne!(card.read(mmu::RAZWI_READ_VLD), 0);
    assert_eq!(card.read(mmu::RAZWI_READ_ID), 0x2020_0000, "DMA2 at (0,2)");
    card.dma(3, u64::MAX, 0x7F_F000_0078, 16, FILL);
    let blocked = Notification::Blocked { initiator: engine(3), write: true, address: 0x7F_F000_0078 };
    assert!(card.notifications(0).contains(&blocked));
    assert_eq!(card.memories.soc.read_u64(0x78).unwrap(), 0);
    assert_ne!(card.read(mmu::RAZWI_WRITE_VLD), 0);
}

#[test]
fn a_protected_register_keeps_its_value_and_the_violation_is_captured() {
    let card = Card::new();
    card.initialise();
    let props = dma_core::base(2) + dma_core::NON_SECURE_PROPS;
    card.message(cfg(props), 0x400, user(0, 0));
    assert_eq!(card.read(props), 1);
    assert_eq!(card.notifications(0), [Notification::Blocked { initiator: 0, write: true, address: cfg(props) }]);
    assert_eq!(card.read(mmu::RAZWI_WRITE_VLD), 1);
    assert_eq!(card.read(mmu::RAZWI_WRITE_ID), 0x1020_0000, "DMA0 at (0,1)");
    card.message(cfg(props), 0x400, user(2, 4));
    assert_eq!(card.read(props), 1, "nor from its own stream");
    assert_eq!(card.notifications(0), [], "but padding writes to the own engine stay silent");
    card.message(cfg(props), 0x400, Attributes::new(true, true, 0, initiator(0, 0)));
    assert_eq!(card.read(props), 0x400, "a secured packet may");
    let enable = qman::base(4) + qman::GLBL_CFG0;
    card.message(cfg(enable), 0, user(0, 0));
    assert_eq!(card.read(enable), 0x3FFF);
}

#[test]
fn a_user_s_packets_program_and_start_a_core() {
    let card = Card::new();
    card.initialise();
    let base = dma_core::base(2);
    let writes = [
        (dma_core::SRC_BASE_LO, 0xAA),
        (dma_core::SRC_BASE_HI, 0),
        (dma_core::DST_BASE_LO, HBM as u32),
        (dma_core::DST_BASE_HI, 0),
        (dma_core::DST_TSIZE_0, 8),
        (dma_core::COMMIT, FILL),
    ]
    .map(|(offset, data)| PostedWrite { address: cfg(base + offset), data, attributes: user(2, 4) });
    card.post(0, &writes);
    card.until(is_done(2));
    assert_eq!(card.memories.hbm.read_u64(HBM).unwrap(), 0xAA);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Copies between HBM and scattered host pages, both directions, against a plain model of the address space.
    #[test]
    fn copies_through_the_mmu_equal_copies_of_slices(
        order in Just((0..8_u64).collect::<Vec<_>>()).prop_shuffle(),
        start in 0..4096_u64, len in 0..24_000_u32, to_host: bool,
    ) {
        let card = Card::lockstep();
        card.initialise();
        let pages: Vec<u64> = order.iter().map(|page| 0x4_0000 + 0x2000 * page).collect();
        card.map(0x1_0000_0020_0000, &pages);
        let va = 0x1_0000_0020_0000 + start;
        let data: Vec<u8> = (0..0x8000_u32).map(|index| (index * 13 + index / 255) as u8).collect();
        for (index, page) in pages.iter().enumerate() {
            card.memories.host.write_bytes(*page, &data[4096 * index..4096 * (index + 1)]).unwrap();
        }
        let (first, len_u) = (start as usize, len as usize);
        if to_host {
            card.dma(1, HBM, va, len, COPY);
            let mut expected = data.clone();
            expected[first..first + len_u].fill(0);
            for (index, page) in pages.iter().enumerate() {
                let mut seen = vec![0; 4096];
                card.memories.host.read_bytes(*page, &mut seen).unwrap();
                prop_assert!(seen == expected[4096 * index..4096 * (index + 1)], "page {}", index);
            }
        } else {
            card.dma(1, va, HBM, len, COPY);
            let mut seen = vec![0; len_u + 1];
            card.memories.hbm.read_bytes(HBM, &mut seen).unwrap();
            prop_assert!(seen[..len_u] == data[first..first + len_u]);
            prop_assert_eq!(seen[len_u], 0);
        }
        prop_assert_eq!(card.notifications(0), [done(1)]);
    }
}
