//! What HBM promises: it reads like plain memory whatever is stored, and what is filled or copied as whole blocks is not.

use std::sync::atomic::{AtomicBool, Ordering};

use coxswain_abi::regs::HBM_SIZE;
use coxswain_abi::soc::hbm_block::{self, ALWAYS_PRESENT, COUNT, SIZE, is_present};
use proptest::prelude::*;

use super::{Memories, OutOfBounds};

const PATTERN: u64 = 0x1122_3344_5566_7788;
/// Somewhere in the part that may be filled and not stored, at a bound of blocks.
const BASE: u64 = ALWAYS_PRESENT + 64 * SIZE;

fn memories() -> Memories {
    Memories::new(4096).unwrap()
}

fn stored(memories: &Memories) -> u64 {
    memories.hbm.stored_bytes().unwrap()
}

fn bytes(memories: &Memories, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    memories.hbm.read_bytes(offset, &mut out).unwrap();
    out
}

/// The state that firmware sees.
fn published(memories: &Memories, offset: u64) -> u32 {
    memories.soc.read_u32(hbm_block::state(offset)).unwrap()
}

#[test]
fn all_of_hbm_filled_with_a_pattern_takes_no_memory() {
    let memories = memories();
    memories.hbm.fill(ALWAYS_PRESENT, HBM_SIZE - ALWAYS_PRESENT, PATTERN).unwrap();
    assert_eq!(stored(&memories), 0);
    for offset in [ALWAYS_PRESENT, BASE, HBM_SIZE - 8] {
        assert_eq!(memories.hbm.read_u64(offset), Ok(PATTERN));
        assert_eq!(memories.hbm.read_u32(offset + 4), Ok(0x1122_3344));
    }
    assert_eq!(bytes(&memories, BASE + SIZE - 3, 6), [0x33, 0x22, 0x11, 0x88, 0x77, 0x66]);
    assert_eq!(stored(&memories), 0, "reading a filled block does not store it");
    assert_eq!(memories.hbm.read_u64(ALWAYS_PRESENT - 8), Ok(0));
}

#[test]
fn a_write_stores_its_block_and_keeps_the_rest_of_the_pattern() {
    let memories = memories();
    memories.hbm.fill(BASE, 8 * SIZE, PATTERN).unwrap();
    memories.hbm.write_u32(BASE + SIZE + 4, 7).unwrap();
    assert_eq!(memories.hbm.read_u64(BASE + SIZE), Ok(0x7_5566_7788));
    assert_eq!(memories.hbm.read_u64(BASE + SIZE + 8), Ok(PATTERN));
    assert_eq!(memories.hbm.read_u64(BASE + 2 * SIZE - 8), Ok(PATTERN));
    assert_eq!(stored(&memories), SIZE);
    memories.hbm.write_bytes(BASE + 4 * SIZE - 1, &[1, 2]).unwrap();
    assert_eq!(bytes(&memories, BASE + 4 * SIZE - 2, 4), [0x22, 1, 2, 0x77]);
    assert_eq!(stored(&memories), 3 * SIZE);
}

#[test]
fn a_fill_of_a_stored_block_gives_its_memory_back() {
    let memories = memories();
    memories.hbm.write_bytes(BASE, &vec![1; 4 * SIZE as usize]).unwrap();
    assert_eq!(stored(&memories), 4 * SIZE);
    memories.hbm.fill(BASE + SIZE, 2 * SIZE, PATTERN).unwrap();
    assert_eq!(stored(&memories), 2 * SIZE);
    assert_eq!(memories.hbm.read_u64(BASE + SIZE - 8), Ok(0x0101_0101_0101_0101));
    assert_eq!(memories.hbm.read_u64(BASE + SIZE), Ok(PATTERN));
    assert_eq!(memories.hbm.read_u64(BASE + 3 * SIZE), Ok(0x0101_0101_0101_0101));
    memories.hbm.punch_hole(BASE, 4 * SIZE).unwrap();
    assert_eq!(stored(&memories), 0);
    assert_eq!(memories.hbm.read_u64(BASE + 2 * SIZE), Ok(0));
}

#[test]
fn the_mapped_file_holds_the_bytes_of_every_block_that_is_said_to_be_present() {
    let memories = memories();
    let mapping =
        super::SharedFile::from_fd(memories.hbm.fd().try_clone_to_owned().unwrap(), memories.hbm.len()).unwrap();
    assert!(is_present(published(&memories, BASE)), "as after power-on");
    memories.hbm.fill(BASE, 2 * SIZE, PATTERN).unwrap();
    let filled = published(&memories, BASE);
    assert!(!is_present(filled) && !is_present(published(&memories, BASE + SIZE)));
    assert!(is_present(published(&memories, BASE - 1)) && is_present(published(&memories, BASE + 2 * SIZE)));
    memories.hbm.make_present(BASE / SIZE).unwrap();
    assert_eq!(published(&memories, BASE), filled + 1);
    assert_eq!(mapping.read_u64(BASE), Ok(PATTERN));
    assert_eq!(mapping.read_u64(BASE + SIZE - 8), Ok(PATTERN));
    memories.hbm.make_present(BASE / SIZE).unwrap();
    assert_eq!(published(&memories, BASE), filled + 1, "nothing changed");
    memories.hbm.fill(BASE, 2 * SIZE, 0).unwrap();
    assert!(is_present(published(&memories, BASE + SIZE)));
    assert_eq!(mapping.read_u64(BASE + SIZE), Ok(0), "zeros are a hole");
    memories.hbm.fill(0, ALWAYS_PRESENT / 256, PATTERN).unwrap();
    assert!((0..ALWAYS_PRESENT / SIZE).all(|block| published(&memories, block * SIZE) == 0));
    assert_eq!(mapping.read_u64(0), Ok(PATTERN));
}

#[test]
fn only_what_firmware_sees_is_changed_when_the_published_states_are_overwritten() {
    let memories = memories();
    memories.hbm.fill(BASE, SIZE, PATTERN).unwrap();
    memories.soc.write_u32(hbm_block::state(BASE), 0x1234).unwrap();
    assert_eq!(memories.hbm.read_u64(BASE), Ok(PATTERN));
    memories.hbm.make_present(BASE / SIZE).unwrap();
    assert_eq!(published(&memories, BASE), 2, "the card's own count");
}

#[test]
fn uniform_ranges_are_known_across_blocks_and_at_any_phase() {
    let memories = memories();
    memories.hbm.fill(BASE, 2 * SIZE, PATTERN).unwrap();
    memories.hbm.fill(BASE + 2 * SIZE, SIZE, 5).unwrap();
    let uniform = |offset, len| memories.hbm.uniform(offset, len).unwrap();
    assert_eq!(uniform(BASE + SIZE / 2, SIZE), Some(PATTERN));
    assert_eq!(uniform(BASE + 3, 2 * SIZE - 3), Some(0x6677_8811_2233_4455));
    assert_eq!(uniform(BASE + SIZE, SIZE + 1), None, "two patterns");
    assert_eq!(uniform(BASE + 3 * SIZE, 4 * SIZE), Some(0), "never written");
    assert_eq!(uniform(BASE - SIZE, 2 * SIZE), None, "zeros and a pattern");
    memories.hbm.write_u32(BASE + 5 * SIZE, 0).unwrap();
    assert_eq!(uniform(BASE + 3 * SIZE, 4 * SIZE), None, "something is stored");
    assert_eq!(
        memories.hbm.uniform(HBM_SIZE - SIZE, SIZE + 1),
        Err(OutOfBounds { offset: HBM_SIZE - SIZE, len: SIZE + 1 })
    );
}

#[test]
fn accesses_past_the_end_or_unaligned_are_refused() {
    let hbm = memories().hbm;
    hbm.fill(HBM_SIZE - SIZE, SIZE, PATTERN).unwrap();
    let refused = |offset, len| OutOfBounds { offset, len };
    assert_eq!(hbm.read_u32(HBM_SIZE), Err(refused(HBM_SIZE, 4)));
    assert_eq!(hbm.read_u32(HBM_SIZE - 6), Err(refused(HBM_SIZE - 6, 4)));
    assert_eq!(hbm.read_u64(HBM_SIZE - 4), Err(refused(HBM_SIZE - 4, 8)));
    assert_eq!(hbm.write_u64(u64::MAX - 7, 0), Err(refused(u64::MAX - 7, 8)));
    assert_eq!(hbm.write_u32(HBM_SIZE - 2, 0), Err(refused(HBM_SIZE - 2, 4)));
    assert_eq!(hbm.write_bytes(HBM_SIZE - 1, &[1, 2]), Err(refused(HBM_SIZE - 1, 2)));
    assert_eq!(hbm.fill(HBM_SIZE - SIZE, SIZE + 1, 3), Err(refused(HBM_SIZE - SIZE, SIZE + 1)));
    assert_eq!(hbm.fill(8, u64::MAX, 3), Err(refused(8, u64::MAX)));
    assert!(hbm.make_present(COUNT).is_err() && hbm.make_present(u64::MAX).is_err());
    assert_eq!(hbm.read_u64(HBM_SIZE - 8), Ok(PATTERN), "nothing was written");
    assert_eq!(hbm.stored_bytes().unwrap(), 0);
}

#[test]
fn a_reader_beside_fills_and_writes_sees_one_of_the_patterns_and_never_the_hole_between() {
    let memories = memories();
    let patterns = [u64::MAX, PATTERN];
    memories.hbm.fill(BASE, SIZE, patterns[0]).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut bytes = vec![0; 16 << 10];
                while !stop.load(Ordering::Relaxed) {
                    memories.hbm.read_bytes(BASE + 8, &mut bytes).unwrap();
                    for word in bytes.as_chunks::<8>().0 {
                        let seen = u64::from_le_bytes(*word);
                        assert!(patterns.contains(&seen), "{seen:#x}");
                    }
                    let seen = memories.hbm.read_u64(BASE + SIZE - 8).unwrap();
                    assert!(patterns.contains(&seen), "{seen:#x}");
                }
            });
        }
        for round in 0..500 {
            memories.hbm.make_present(BASE / SIZE).unwrap();
            memories.hbm.fill(BASE, SIZE, patterns[round % 2]).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[derive(Debug, Clone)]
enum Step {
    Fill { offset: u64, len: u64, pattern: u64 },
    Write { offset: u64, len: u64, seed: u8 },
    MakePresent { block: u64 },
}

/// The window that the random steps use: half a block that is always present and three and a half that need not be.
const WINDOW: std::ops::Range<u64> = ALWAYS_PRESENT - SIZE / 2..ALWAYS_PRESENT + 7 * SIZE / 2;
const WINDOW_BYTES: u64 = WINDOW.end - WINDOW.start;

/// Places in the window, often at or beside a bound of blocks.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..=WINDOW_BYTES,
        (0..4_u64, 0..3_u64).prop_map(|(block, beside)| SIZE / 2 + block * SIZE + beside - 1),
        (0..4_u64).prop_map(|block| SIZE / 2 + block * SIZE),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (place(), place()).prop_map(|(a, b)| (WINDOW.start + a.min(b), a.max(b) - a.min(b)));
    prop_oneof![
        4 => (range(), prop_oneof![Just(0), any::<u64>()])
            .prop_map(|((offset, len), pattern)| Step::Fill { offset, len, pattern }),
        2 => (range(), any::<u8>())
            .prop_map(|((offset, len), seed)| Step::Write { offset, len: len.min(9000), seed }),
        1 => (WINDOW.start / SIZE..=WINDOW.end / SIZE).prop_map(|block| Step::MakePresent { block }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_fills_and_writes_read_like_those_of_plain_memory(steps in prop::collection::vec(step(), 1..12)) {
        let memories = memories();
        let mut model = vec![0_u8; WINDOW_BYTES as usize];
        let at = |offset: u64, len: u64| (offset - WINDOW.start) as usize..(offset - WINDOW.start + len) as usize;
        for step in &steps {
            match *step {
                Step::Fill { offset, len, pattern } => {
                    memories.hbm.fill(offset, len, pattern).unwrap();
                    for (index, byte) in model[at(offset, len)].iter_mut().enumerate() {
                        *byte = pattern.to_le_bytes()[index % 8];
                    }
                }
                Step::Write { offset, len, seed } => {
                    let data: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(7) ^ seed).collect();
                    memories.hbm.write_bytes(offset, &data).unwrap();
                    model[at(offset, len)].copy_from_slice(&data);
                }
                Step::MakePresent { block } => memories.hbm.make_present(block).unwrap(),
            }
        }
        prop_assert!(bytes(&memories, WINDOW.start, model.len()) == model, "{:?}", steps);
        for offset in (WINDOW.start..WINDOW.end).step_by(4096 + 8) {
            let word = u64::from_le_bytes(model[at(offset, 8)].try_into().unwrap());
            prop_assert_eq!(memories.hbm.read_u64(offset), Ok(word));
        }
        prop_assert!(bytes(&memories, WINDOW.end, 16).iter().all(|&byte| byte == 0));
    }
}
