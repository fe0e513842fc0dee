//! The kernel that the driver runs on every TPC at probe.

use coxswain_tpc::{FlatMemory, Launch, MEMINIT_SOURCE, Memory, Outcome, Tpc, assemble};

const BASE: u64 = 0x7F_F000_2000;

fn prepared(code: &[u8]) -> (Tpc, FlatMemory, Launch) {
    let mut memory = FlatMemory::new(BASE, code.len());
    memory.write(BASE, code).expect("the memory has the size of the code");
    let mut tpc = Tpc::new();
    tpc.scalar_memory_mut().fill(0xA5);
    tpc.vector_memory_mut().fill(0x5A);
    let mut launch = Launch::default();
    launch.set_kernel_address(BASE);
    // What nobody programs must not matter.
    for index in 0..32 {
        launch.set_argument(index, 0xDEAD_0000 + index as u32);
    }
    (tpc, memory, launch)
}

#[test]
fn meminit_clears_both_local_memories_and_halts() {
    let (mut tpc, mut memory, launch) = prepared(&assemble(MEMINIT_SOURCE).unwrap());
    tpc.start(&launch);
    assert_eq!(tpc.run(&mut memory, 1_000_000), Outcome::Halted);
    assert!(tpc.vector_memory().iter().all(|&byte| byte == 0));
    assert!(tpc.scalar_memory().iter().all(|&byte| byte == 0));
    // 8 bundles, then per loop: LOOP, delay slot and 7 per pass; 5 and 7 bundles behind them; HALT.
    assert_eq!(tpc.retired(), 8 + (2 + 320 * 7) + 5 + (2 + 256 * 7) + 7 + 1);
    assert!(!tpc.is_running());
}

#[test]
fn meminit_keeps_the_latency_rules_of_hand_written_code() {
    for delay in 0..=7 {
        let (mut tpc, mut memory, launch) = prepared(&assemble(MEMINIT_SOURCE).unwrap());
        tpc.set_write_delay(delay);
        tpc.start(&launch);
        assert_eq!(tpc.run(&mut memory, 1_000_000), Outcome::Halted, "delay {delay}");
        assert!(tpc.vector_memory().iter().chain(tpc.scalar_memory()).all(|&byte| byte == 0), "delay {delay}");
    }
}

#[test]
fn a_run_that_uses_its_budget_goes_on_where_it_stopped() {
    let (mut tpc, mut memory, launch) = prepared(&assemble(MEMINIT_SOURCE).unwrap());
    tpc.start(&launch);
    let mut runs = 0;
    loop {
        let before = tpc.retired();
        match tpc.run(&mut memory, 13) {
            Outcome::OutOfBudget => assert_eq!(tpc.retired(), before + 13),
            outcome => {
                assert_eq!(outcome, Outcome::Halted);
                break;
            }
        }
        runs += 1;
    }
    assert_eq!(runs, tpc.retired() / 13);
    assert!(tpc.vector_memory().iter().all(|&byte| byte == 0));
}

#[test]
fn a_kernel_that_never_halts_can_be_aborted_and_the_engine_started_again() {
    let endless = assemble("L: nop; nop; nop; nop ;; nop; jmpr L; nop; nop").unwrap();
    let (mut tpc, mut memory, launch) = prepared(&endless);
    tpc.start(&launch);
    assert_eq!(tpc.run(&mut memory, 1000), Outcome::OutOfBudget);
    assert_eq!(tpc.retired(), 1000);
    tpc.abort();
    assert!(!tpc.is_running());
    assert_eq!(tpc.run(&mut memory, 1000), Outcome::Halted);

    let (_, mut memory, launch) = prepared(&assemble(MEMINIT_SOURCE).unwrap());
    tpc.start(&launch);
    assert_eq!(tpc.run(&mut memory, 1_000_000), Outcome::Halted);
}
