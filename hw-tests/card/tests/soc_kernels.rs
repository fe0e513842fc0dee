//! Whole kernels on the card: tensors in HBM, eight TPCs at once, their completion messages, and the same result every time.

#![allow(clippy::unwrap_used, reason = "a helper of tests: a failed access is a failed test")]

mod soc_support;

use coxswain_abi::packet::sob_add;
use coxswain_abi::regs::{HBM_BASE, sync_manager, tpc_cfg};
use coxswain_abi::soc::{Notification, PostedWrite};
use coxswain_kernels::SyncMessage;
use coxswain_kernels::cases::{Case, POISON, built, compiled};
use soc_support::{Card, cfg, user};

const ALL: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const CODE: u64 = 0x2000_0000;
/// The sync object that counts the ends.
const SOB: u32 = 40;

fn sob() -> u32 {
    sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 4 * SOB
}

/// Runs a case over `engines` by users' writes, all started before any is waited for; returns the output's memory.
fn run(card: &Card, case: &Case, dimension: usize, engines: &[u8]) -> Vec<u8> {
    let put = |address: u64, bytes: &[u8]| card.memories.hbm.write_bytes(address - HBM_BASE, bytes).unwrap();
    put(CODE, case.kernel.code());
    let mut at = CODE + 0x10_0000;
    let mut addresses = Vec::new();
    for data in case.inputs.iter().chain([&case.output]) {
        addresses.push(at);
        put(at, &data.bytes);
        at += (data.bytes.len() as u64).next_multiple_of(256) + 256;
    }
    let output = *addresses.last().unwrap();
    put(output, &vec![POISON; case.output.bytes.len()]);

    card.write(sob(), 0);
    let message = SyncMessage { address: cfg(sob()) as u32, value: sob_add(1) };
    let parts = case.dispatch(&addresses, dimension, engines).unwrap().parts(CODE, Some(message)).unwrap();
    for part in &parts {
        let engine = usize::from(part.engine);
        let base = tpc_cfg::base(engine);
        let write = |offset, data| PostedWrite { address: cfg(base + offset), data, attributes: user(8 + engine, 4) };
        let words = part.launch.descriptor.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let descriptor = (0..).zip(words).map(|(index, word)| write(tpc_cfg::QM_DESCRIPTOR + 4 * index, word));
        let mut writes: Vec<PostedWrite> = descriptor.collect();
        writes.extend([write(tpc_cfg::TPC_CMD, 0xF), write(tpc_cfg::TPC_EXECUTE, 1)]);
        for burst in writes.chunks(64) {
            card.post(0, burst);
        }
    }
    let mut ended = 0;
    while ended < parts.len() {
        for notification in card.until(|seen| matches!(seen, Notification::EngineDone { .. })) {
            assert!(matches!(notification, Notification::EngineDone { engine: 8..=15 }), "{notification:?}");
            ended += 1;
        }
    }
    assert_eq!(card.read(sob()), parts.len() as u32, "one message for each engine");
    let mut found = vec![0; case.output.bytes.len()];
    card.memories.hbm.read_bytes(output - HBM_BASE, &mut found).unwrap();
    found
}

/// A card whose sync manager's address is set as the driver does.
fn card() -> Card {
    let card = Card::new();
    card.initialise();
    card
}

#[test]
fn compiled_and_own_kernels_give_right_results_over_one_to_eight_tpcs() {
    let card = card();
    for case in compiled::all(21).unwrap().iter().chain(&built::all(22)) {
        for engines in [&ALL[3..4], &ALL[1..4], &ALL] {
            for dimension in case.splits.clone() {
                let found = run(&card, case, dimension, engines);
                let how = format!("{} over {engines:?} along {dimension}", case.kernel.name());
                case.check(&found).unwrap_or_else(|wrong| panic!("{how}: {wrong}"));
            }
        }
    }
}

/// Engines run beside each other in any interleaving of the host's threads; nothing of it shows in the results.
#[test]
fn the_same_launch_gives_the_same_bytes_every_time() {
    let card = card();
    for case in built::all(23) {
        let first = run(&card, &case, 0, &ALL);
        for _ in 0..5 {
            assert!(run(&card, &case, 0, &ALL) == first, "{}", case.kernel.name());
        }
        assert!(run(&card, &case, 0, &ALL[..1]) == first, "{} on one engine", case.kernel.name());
    }
}
