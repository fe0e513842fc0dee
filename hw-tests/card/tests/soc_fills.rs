//! Fills and copies of gigabytes: what the card does not store reads as if it were.

mod soc_support;

use coxswain_abi::regs::dma_core::{self, commit};
use coxswain_abi::regs::psoc;
use coxswain_abi::soc::{PostedWrite, ResetReason, hbm_block};
use soc_support::{Card, eventually, secured};

/// The user's part of HBM, all of which may be filled and not stored.
const HBM: u64 = hbm_block::ALWAYS_PRESENT;
const COPY: u32 = commit::LIN;
const FILL: u32 = commit::LIN | commit::MEM_SET;

fn is_busy(card: &Card, index: usize) -> bool {
    card.read(dma_core::base(index) + dma_core::STS0) >> 31 != 0
}

/// Bytes of the largest descriptor that the driver writes (`gaudi-mmu-sync.md` 3).
const SCRUB_CHUNK: u64 = 2 << 30;
/// Device address behind HBM.
const END: u64 = 32 << 30;

/// Fills the user's part of HBM as the driver's scrub does: two rounds, a chunk on each core (`gaudi-soc.md` 6.8).
fn scrub(card: &Card, pattern: u64) {
    for round in 0..2 {
        for index in 0..8 {
            let at = HBM + SCRUB_CHUNK * (8 * round + index as u64);
            card.dma(index, pattern, at, SCRUB_CHUNK.min(END - at) as u32, FILL);
        }
        for index in 0..8 {
            eventually("the end of a scrub", || !is_busy(card, index));
            assert_eq!(card.read(dma_core::base(index) + dma_core::ERR_CAUSE), 0);
        }
    }
}

#[test]
fn a_scrub_of_all_of_hbm_takes_no_memory_and_is_seen_in_every_part() {
    let card = Card::new();
    card.initialise();
    card.memories.hbm.write_bytes(HBM + 12345, &vec![1; 8 << 20]).unwrap();
    card.memories.hbm.write_u64(HBM - 8, 0x7AB1E).unwrap();
    scrub(&card, 0x1122_3344_5566_7788);
    assert!(card.memories.hbm.stored_bytes().unwrap() <= 4096, "the word below alone is stored");
    for at in (HBM..END).step_by((64 << 20) + 8) {
        assert_eq!(card.memories.hbm.read_u64(at), Ok(0x1122_3344_5566_7788), "at {at:#x}");
    }
    assert_eq!(card.memories.hbm.read_u64(HBM - 8), Ok(0x7AB1E));
    card.write(psoc::SW_ALL_RST, 1);
    card.answer_reset(ResetReason::SoftwareAll);
    for at in (HBM..END).step_by((64 << 20) + 8) {
        assert_eq!(card.memories.hbm.read_u64(at), Ok(0), "at {at:#x} after a reset");
    }
}

#[test]
fn copies_of_filled_and_of_untouched_memory_take_no_memory_at_any_alignment() {
    let card = Card::new();
    card.initialise();
    let hbm = &card.memories.hbm;
    let copy = |from, to, len| {
        card.dma(3, from, to, len, COPY);
        eventually("the end of a copy", || !is_busy(&card, 3));
    };
    scrub(&card, 0x1122_3344_5566_7788);
    hbm.fill(HBM + (4 << 30), 2 << 30, 0xA1A2_A3A4_A5A6_A7A8).unwrap();
    hbm.fill(HBM + (8 << 30), 2 << 30, 0).unwrap();
    // From the middle of the one pattern into the other, and back.
    copy(HBM + (4 << 30) + 3, HBM + (12 << 30) + 1, 0x7FFF_FFF0);
    let stored = hbm.stored_bytes().unwrap();
    assert!(stored <= 2 * hbm_block::SIZE, "the two ends alone are stored, not {stored:#x} bytes");
    assert_eq!(hbm.read_u64(HBM + (12 << 30)), Ok(0xA7A8_A1A2_A3A4_A588), "byte 0 is kept");
    assert_eq!(hbm.read_u64(HBM + (13 << 30)), Ok(0xA7A8_A1A2_A3A4_A5A6));
    // Zeros over a pattern, and a pattern over what was zero.
    copy(HBM + (8 << 30), HBM + (4 << 30), 0x8000_0000);
    assert_eq!(hbm.read_u64(HBM + (5 << 30)), Ok(0));
    copy(HBM + (1 << 30), HBM + (8 << 30), 0x8000_0000);
    assert_eq!(hbm.read_u64(HBM + (10 << 30) - 8), Ok(0x1122_3344_5566_7788));
    // The kernel stores a page of zeros where a hole is read.
    assert_eq!(hbm.stored_bytes().unwrap(), stored + 4096);
    // What is stored is copied as it is.
    hbm.write_u64(HBM + (6 << 30) + 80, 0x5EED).unwrap();
    copy(HBM + (6 << 30), HBM + (7 << 30) + 8, 1 << 20);
    assert_eq!(hbm.read_u64(HBM + (7 << 30) + 88), Ok(0x5EED));
    assert_eq!(hbm.read_u64(HBM + (7 << 30) + 96), Ok(0x1122_3344_5566_7788));
}

#[test]
fn a_message_stores_the_filled_block_that_it_changes() {
    let card = Card::new();
    card.initialise();
    scrub(&card, 0x1122_3344_5566_7788);
    card.post(0, &[PostedWrite { address: HBM + 0x1004, data: 9, attributes: secured(0, 0) }]);
    eventually("the message", || card.memories.hbm.read_u64(HBM + 0x1000) == Ok(0x9_5566_7788));
    assert_eq!(card.memories.hbm.read_u64(HBM + 0x1008), Ok(0x1122_3344_5566_7788));
    assert_eq!(card.memories.hbm.stored_bytes().unwrap(), hbm_block::SIZE);
}
