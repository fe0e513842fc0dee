//! Table lookups of 32-bit entries, and the refusal of what is not known about them.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::CODE;
use coxswain_tpc::{Cause, FlatMemory, Launch, Memory, Outcome, Tpc, assemble};

const TABLES: u64 = CODE + 0x1_0000;
const SIZE: usize = 0x4_0000;
/// Bytes of a function's table, by class.
const FUNCTION_BYTES: [u64; 4] = [26 * 128, 13 * 128, 7 * 128, 4 * 128];

/// Runs one bundle with entry numbers in V1; every word of memory behind `TABLES` holds its own distance.
fn run(bundle: &str) -> (Outcome, Tpc) {
    let code = assemble(&format!("ld_l_v V1, 0; nop; nop; nop\n{bundle}\nnop; halt; halt; nop")).unwrap();
    let mut memory = FlatMemory::new(CODE, SIZE);
    memory.write(CODE, &code).unwrap();
    for at in (0..SIZE - 0x1_0000).step_by(4) {
        memory.write(TABLES + at as u64, &(at as u32).to_le_bytes()).unwrap();
    }
    let lookup_tables = [0, 0x8000, 0x1_0000, 0x1_8000].map(|offset| TABLES + offset);
    let mut launch = Launch { lookup_tables, ..Launch::default() };
    launch.set_kernel_address(CODE);
    let mut tpc = Tpc::new();
    for (lane, bytes) in tpc.vector_memory_mut()[..256].as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *bytes = entry(lane).to_le_bytes();
    }
    tpc.start(&launch);
    (tpc.run(&mut memory, 100), tpc)
}

fn entry(lane: usize) -> u32 {
    (lane as u32 * 7) % 32
}

#[test]
fn coefficients_come_from_lines_of_ten_entries() {
    for class in 0..4u64 {
        for function in [0, 3] {
            let id = class << 7 | function;
            let table = 0x8000 * class + FUNCTION_BYTES[class as usize] * function;
            let place = |lane: usize| table + u64::from(entry(lane) / 10 * 128 + entry(lane) % 10 * 12);
            let (outcome, tpc) = run(&format!("lookup_1c V4, V1, bv32, {id}; nop; nop; nop"));
            assert_eq!(outcome, Outcome::Halted);
            let (pair_outcome, pair) = run(&format!("lookup_2c D4, V1, bv32, {id}; nop; nop; nop"));
            assert_eq!(pair_outcome, Outcome::Halted);
            for lane in 0..64 {
                let at = place(lane) as u32;
                assert_eq!(tpc.registers().v(4).lane(4, lane), at, "class {class}, function {function}");
                assert_eq!([4, 5].map(|number| pair.registers().v(number).lane(4, lane)), [at + 4, at + 8]);
            }
        }
    }
}

#[test]
fn a_plain_lookup_reads_words_in_a_row() {
    let (outcome, tpc) = run("lookup V4, V1, bv32, 0x102; nop; nop; nop");
    assert_eq!(outcome, Outcome::Halted);
    for lane in 0..64 {
        assert_eq!(tpc.registers().v(4).lane(4, lane), 0x1_0000 + 2 * 7 * 128 + 4 * entry(lane));
    }
}

#[test]
fn what_is_not_known_about_lookups_stops_the_engine_with_its_name() {
    for (bundle, name) in [
        ("lookup_1c V4, V1, bv16, 3; nop; nop; nop", "16-bit"),
        ("nop; nop; get_lut_entry_and_interval_start.f32 D4, V2, 17; nop", "get_lut_entry"),
    ] {
        match run(bundle).0 {
            Outcome::Fault(fault) => {
                assert_eq!((fault.cause, fault.pc), (Cause::IllegalInstruction, CODE + 32));
                let text = fault.to_string();
                assert!(text.contains(name) && text.contains("bytes"), "{text}");
            }
            outcome => panic!("{outcome:?}"),
        }
    }
}
