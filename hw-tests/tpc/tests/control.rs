//! Control flow, the order of results, faults and launches.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CODE, Numbers};
use coxswain_tpc::{Cause, FlatMemory, Launch, Memory, Outcome, Tpc, assemble, disassemble};

/// Runs a program that needs no data; S0, S1 ... start as `arguments`.
fn run_with(tpc: &mut Tpc, source: &str, arguments: &[u32]) -> Outcome {
    let code = assemble(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let mut memory = FlatMemory::new(CODE, code.len());
    memory.write(CODE, &code).unwrap();
    let mut launch = Launch::default();
    launch.set_kernel_address(CODE);
    for (index, value) in arguments.iter().enumerate() {
        launch.set_argument(index, *value);
    }
    tpc.start(&launch);
    tpc.run(&mut memory, 1_000_000)
}

fn halted(source: &str, arguments: &[u32]) -> Tpc {
    let mut tpc = Tpc::new();
    assert_eq!(run_with(&mut tpc, source, arguments), Outcome::Halted, "{source}");
    tpc
}

/// The cause and the bundle's number of the fault that ends a program.
fn faulted(source: &str) -> (Cause, u64, String) {
    match run_with(&mut Tpc::new(), source, &[]) {
        Outcome::Fault(fault) => (fault.cause, (fault.pc - CODE) / 32, fault.detail),
        outcome => panic!("{outcome:?}"),
    }
}

const HALT: &str = "\nnop; halt; halt; nop\nnop\nnop\nnop\n";

#[test]
fn a_loop_counts_like_a_for_loop_with_a_signed_comparison() {
    type Holds = fn(i32, i32) -> bool;
    let signs: [(&str, Holds); 6] = [
        (">", |a, b| a > b),
        (">=", |a, b| a >= b),
        ("<", |a, b| a < b),
        ("<=", |a, b| a <= b),
        ("==", |a, b| a == b),
        ("!=", |a, b| a != b),
    ];
    for (sign, holds) in signs {
        for (start, boundary, step) in [(0, 5, 1), (5, 0, -1), (3, 3, 1), (-2, 2, 2), (7, 1, -3), (1, -1, 1)] {
            let (mut counter, mut passes, mut sum) = (start, 0u32, 0u32);
            while holds(counter, boundary) && passes < 40 {
                passes += 1;
                sum = sum.wrapping_add(counter as u32);
                counter = counter.wrapping_add(step);
            }
            if passes == 40 {
                continue;
            }
            for (start_text, boundary_text, step_text) in [
                (start.to_string(), boundary.to_string(), step.to_string()),
                ("S5".to_owned(), "S6".to_owned(), "S7".to_owned()),
            ] {
                let source = format!(
                    "loop {start_text}, {boundary_text}, {step_text}, {sign}, E\n\
                     nop; add.i32 S2, S2, 1; nop; nop\n\
                     nop; add.i32 S0, S0, 1; nop; nop\n\
                     nop; add.i32 S1, S1, S32; nop; nop\n\
                     E: nop {HALT}"
                );
                let tpc = halted(&source, &[0, 0, 0, 0, 0, start as u32, boundary as u32, step as u32]);
                let s = |number| tpc.registers().s(number);
                assert_eq!((s(0), s(1)), (passes, sum), "{start} {sign} {boundary} by {step}");
                assert_eq!(s(2), 1, "the delay slot runs once, {passes} passes");
                assert_eq!(s(32), counter as u32);
            }
        }
    }
}

#[test]
fn four_levels_of_loops_count_in_their_own_registers() {
    let source = format!(
        "loop 0, 2, 1, <, A\nnop\n\
         loop 10, 13, 1, <, B\nnop\n\
         loop 0, -8, -4, >, C\nnop\n\
         loop 1, 3, 1, <=, D\nnop\n\
         nop; add.i32 S0, S0, 1; nop; nop\n\
         nop; add.i32 S1, S1, S32; nop; nop\n\
         nop; add.i32 S2, S2, S33; nop; nop\n\
         nop; add.i32 S3, S3, S34; nop; nop\n\
         nop; add.i32 S4, S4, S35; nop; nop\n\
         D: nop\nC: nop\nB: nop\nA: nop {HALT}"
    );
    let tpc = halted(&source, &[0; 5]);
    let s = |number| tpc.registers().s(number) as i32;
    // 2 * 3 * 2 * 3 passes.
    assert_eq!([s(0), s(1), s(2), s(3), s(4)], [36, 18, 396, -72, 72]);
}

#[test]
fn a_loop_captures_its_operands_once() {
    let source = format!(
        "loop S1, S2, S3, <, E\nnop\n\
         nop; add.i32 S0, S0, 1; nop; nop\n\
         nop; mov.i32 S1, 100; nop; nop\n\
         nop; mov.i32 S2, 1000; nop; nop\n\
         nop; mov.i32 S3, 0; nop; nop\n\
         nop; mov.i32 S32, 0; nop; nop\n\
         E: nop {HALT}"
    );
    let tpc = halted(&source, &[0, 2, 10, 3]);
    assert_eq!(tpc.registers().s(0), 3);
}

#[test]
fn a_loop_whose_predicate_fails_runs_its_delay_slot_only() {
    for (predicate, passes) in [("SP1", 0), ("!SP1", 4)] {
        let source = format!(
            "loop 0, 4, 1, <, E, {predicate}\nnop; add.i32 S1, S1, 1; nop; nop\n\
             nop; add.i32 S0, S0, 1; nop; nop\nnop\nE: nop {HALT}"
        );
        let tpc = halted(&source, &[0, 0]);
        assert_eq!((tpc.registers().s(0), tpc.registers().s(1)), (passes, 1), "{predicate}");
    }
}

#[test]
fn a_forward_jump_inside_a_body_may_skip_an_inner_loop() {
    let source = format!(
        "loop 0, 6, 1, <, A\nnop\n\
         nop; cmp_less.i32 SP1, S32, 4; nop; nop\n\
         nop; jmpr OVER, SP1; nop; nop\n\
         nop\n\
         loop 0, 3, 1, <, B\nnop\n\
         nop; add.i32 S0, S0, 1; nop; nop\nnop\n\
         B: nop\n\
         OVER: nop; add.i32 S1, S1, 1; nop; nop\nnop\n\
         A: nop {HALT}"
    );
    let tpc = halted(&source, &[0, 0]);
    assert_eq!((tpc.registers().s(0), tpc.registers().s(1)), (6, 6));
}

#[test]
fn loops_may_end_with_one_bundle() {
    // The inner loop is skipped in the first pass of the outer one.
    let source = format!(
        "loop 0, 4, 1, <, E\nnop\n\
         nop; add.i32 S0, S0, 1; nop; nop\n\
         loop 0, S32, 1, <, E\nnop\n\
         nop; add.i32 S1, S1, 1; nop; nop\n\
         nop\nE: nop {HALT}"
    );
    let tpc = halted(&source, &[0, 0]);
    assert_eq!((tpc.registers().s(0), tpc.registers().s(1)), (4, 6));
}

#[test]
fn a_jump_has_no_delay_slot_and_its_distance_counts_from_itself() {
    let source = format!("nop; jmpr 64; nop; nop\nnop; mov.i32 S0, 1; nop; nop\nnop; mov.i32 S1, 1; nop; nop {HALT}");
    let tpc = halted(&source, &[0, 0]);
    assert_eq!((tpc.registers().s(0), tpc.registers().s(1)), (0, 1));

    let source = format!("nop; jmpr S2; nop; nop\nnop; mov.i32 S0, 1; nop; nop\nnop; mov.i32 S1, 1; nop; nop {HALT}");
    let tpc = halted(&source, &[0, 0, 64]);
    assert_eq!((tpc.registers().s(0), tpc.registers().s(1)), (0, 1));
}

#[test]
fn all_slots_of_a_bundle_read_before_any_writes() {
    let tpc = halted(&format!("mov.i32 S1, S0; mov.i32 S0, S1; nop; st_l 0, S0 {HALT}"), &[7, 8]);
    assert_eq!((tpc.registers().s(0), tpc.registers().s(1)), (8, 7));
    assert_eq!(tpc.scalar_memory()[0], 7);
}

#[test]
fn three_slots_may_write_different_coordinates_of_one_register() {
    let source = format!(
        "set_indx I2, b00001, S0; set_indx I2, b00100, S1; nop; set_indx I2, b11000, S2\n\
         nop; mov_irf_dim 0 S10, I2; nop; nop\nnop; mov_irf_dim 1 S11, I2; nop; nop\n\
         nop; mov_irf_dim 2 S12, I2; nop; nop\nnop; mov_irf_dim 3 S13, I2; nop; nop\n\
         nop; mov_irf_dim 4 S14, I2; nop; nop {HALT}"
    );
    let tpc = halted(&source, &[5, 6, 7]);
    assert_eq!([10, 11, 12, 13, 14].map(|number| tpc.registers().s(number)), [5, 0, 6, 7, 7]);
    assert_eq!(*tpc.registers().i(2), [5, 0, 6, 7, 7]);
}

#[test]
fn coordinates_take_part_in_arithmetic_per_selected_dimension() {
    type Reference = fn(i32, i32) -> i32;
    let operations: [(&str, Reference); 8] = [
        ("add", i32::wrapping_add),
        ("sub", i32::wrapping_sub),
        ("mul", i32::wrapping_mul),
        ("max", i32::max),
        ("min", i32::min),
        ("and", |a, b| a & b),
        ("or", |a, b| a | b),
        ("xor", |a, b| a ^ b),
    ];
    let mut numbers = Numbers(20);
    for (name, reference) in operations {
        let (a, b, scalar) = (numbers.pattern(), numbers.pattern(), numbers.pattern());
        let source = format!(
            "set_indx I2, b01111, S0; set_indx I3, b01111, S1; nop; set_indx I4, b11111, S3\n\
             nop; {name}.i32 b00101 I4, I2, I3; nop; nop\n\
             nop; {name}.i32 b01000 I4, S2, I3; nop; nop {HALT}"
        );
        let tpc = halted(&source, &[a, b, scalar, 77]);
        let both = reference(a as i32, b as i32);
        let mixed = reference(scalar as i32, b as i32);
        assert_eq!(*tpc.registers().i(4), [both, 77, both, mixed, 77], "{name} {a:#x} {b:#x} {scalar:#x}");
    }
    let tpc = halted(
        &format!(
            "set_indx I2, b11111, S0; nop; nop; nop\nnop; shl.i32 b00010 I2, I2, 4; nop; nop\nnop; shr.i32 b10000 I2, I2, S1; nop; nop {HALT}"
        ),
        &[0xF000_0001, 28],
    );
    assert_eq!(tpc.registers().i(2).map(|c| c as u32), [0xF000_0001, 0x10, 0xF000_0001, 0xF000_0001, 0xF]);
}

#[test]
fn coordinates_can_be_permuted_and_copied() {
    // Dimension 0 takes 4, 1 takes 3, 2 takes 2, 3 takes 1, 4 takes 0.
    let order = 4 | 3 << 3 | 2 << 6 | 1 << 9;
    for (permute, copy) in [
        ("prmt_indx I3, I2, S0; nop; nop; nop", "mov b00011 I4, I3; nop; nop; nop"),
        ("nop; nop; nop; prmt_indx I3, I2, S0", "nop; mov b00011 I4, I3; nop; nop"),
    ] {
        let source = format!(
            "set_indx I2, b00001, 1; nop; nop; nop\nset_indx I2, b00010, 2; nop; nop; nop\n\
             set_indx I2, b00100, 3; nop; nop; nop\nset_indx I2, b01000, 4; nop; nop; nop\n\
             set_indx I2, b10000, 5; nop; nop; nop\n{permute}\n{copy} {HALT}"
        );
        let tpc = halted(&source, &[order]);
        assert_eq!(*tpc.registers().i(3), [5, 4, 3, 2, 1]);
        assert_eq!(*tpc.registers().i(4), [5, 4, 0, 0, 0]);
    }
}

#[test]
fn a_predicated_off_operation_leaves_its_destination() {
    let source = format!(
        "nop; mov SP2, 1; nop; nop\n\
         nop; mov.i32 S0, 9, SP1; nop; nop\nnop; mov.i32 S1, 9, !SP1; nop; nop\n\
         nop; mov.i32 S2, 9, SP2; nop; nop\nnop; mov.i32 S3, 9, !SP2; nop; nop\n\
         nop; nop; nop; st_l 4, S2, SP2\nnop; nop; nop; st_l 4, S0, SP1\nld_l S4, 4, SP1; nop; nop; nop {HALT}"
    );
    let tpc = halted(&source, &[1, 1, 1, 1, 1]);
    assert_eq!([0, 1, 2, 3, 4].map(|number| tpc.registers().s(number)), [1, 9, 9, 1, 1]);
    assert_eq!(tpc.scalar_memory()[4], 9);
}

#[test]
fn scalar_predicates_combine_and_sp0_stays_true() {
    let source = format!(
        "nop; mov SP0, 0; nop; nop\nnop; mov SP1, S0; nop; nop\nnop; mov SP2, S1; nop; nop\n\
         nop; and.b SP3, SP1, SP2; nop; nop\nnop; or.b SP4, SP1, SP2; nop; nop\n\
         nop; xor.b SP5, SP1, SP2; nop; nop\nnop; not.b SP6, SP1; nop; nop {HALT}"
    );
    for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
        let tpc = halted(&source, &[u32::from(a), u32::from(b)]);
        let sp = |number| tpc.registers().sp(number);
        assert_eq!([sp(0), sp(3), sp(4), sp(5), sp(6)], [true, a & b, a | b, a ^ b, !a]);
    }
}

#[test]
fn division_steps_give_quotient_and_remainder() {
    let steps: String =
        (0..8).map(|call| format!("nop; udiv_4step.u32 {} Z2, S1; nop; nop\n", 31 - 4 * call)).collect();
    let mut numbers = Numbers(21);
    for _ in 0..50 {
        let (numerator, divisor) = (numbers.pattern(), numbers.pattern().max(1));
        let source = format!("nop; mov.i32 S2, S0; nop; nop\n{steps}{HALT}");
        let tpc = halted(&source, &[numerator, divisor]);
        let result = (tpc.registers().s(3), tpc.registers().s(2));
        assert_eq!(result, (numerator / divisor, numerator % divisor), "{numerator} / {divisor}");
    }
}

#[test]
fn a_write_delay_shows_code_that_reads_too_early() {
    let source = |distance: usize| {
        let nops = "nop\n".repeat(distance - 1);
        format!("nop; mov.i32 S0, 9; nop; nop\n{nops}nop; mov.i32 S1, S0; nop; nop{HALT}")
    };
    for delay in 0..=7 {
        for distance in 1..=9 {
            let mut tpc = Tpc::new();
            tpc.set_write_delay(delay);
            assert_eq!(run_with(&mut tpc, &source(distance), &[1, 1]), Outcome::Halted);
            assert_eq!(tpc.registers().s(1), if distance > delay { 9 } else { 1 }, "{delay} {distance}");
        }
    }
}

#[test]
fn a_launch_loads_arguments_and_index_space_and_keeps_local_memory() {
    let mut tpc = halted(&format!("nop; nop; nop; st_l 8, S31 {HALT}"), &[3; 32]);
    let code =
        assemble(&format!("ld_l S2, 8; mov_irf_dim 4 S1, I1; nop; nop\nnop; mov_irf_dim 2 S0, I0; nop; nop {HALT}"))
            .unwrap();
    let mut memory = FlatMemory::new(0x40, code.len());
    memory.write(0x40, &code).unwrap();
    let mut launch = Launch::default();
    launch.set_kernel_address(0x40);
    launch.set_index_space([1, 2, -3, 4, 5], [6, 7, 8, 9, 10]);
    tpc.start(&launch);
    assert_eq!(tpc.run(&mut memory, 100), Outcome::Halted);
    assert_eq!([0, 1, 2].map(|number| tpc.registers().s(number) as i32), [-3, 10, 3]);
    assert_eq!(tpc.retired(), 3);
}

#[test]
fn an_illegal_bundle_stops_the_engine_with_its_place_and_bytes() {
    let mut code = assemble(&format!("nop ;; nop ;; nop {HALT}")).unwrap();
    // SPU opcode 0x3E in the third bundle.
    code[64] = 0x3E;
    let mut memory = FlatMemory::new(CODE, code.len());
    memory.write(CODE, &code).unwrap();
    let mut launch = Launch::default();
    launch.set_kernel_address(CODE);
    let mut tpc = Tpc::new();
    tpc.start(&launch);
    let Outcome::Fault(fault) = tpc.run(&mut memory, 100) else { panic!("no fault") };
    assert_eq!((fault.cause.bit(), fault.pc), (13, CODE + 64));
    assert!(
        fault.detail.contains("SPU opcode 0x3e is unknown") && fault.detail.contains("3e000000 00f80100"),
        "{fault}"
    );
    assert_eq!(tpc.retired(), 2);
    assert!(!tpc.is_running());
}

#[test]
fn code_that_runs_out_of_its_memory_has_a_read_error() {
    let (cause, bundle, _) = faulted("nop ;; nop");
    assert_eq!((cause.bit(), bundle), (16, 2));
}

#[test]
fn local_addresses_are_checked() {
    for (operation, limit, step) in [
        ("st_l {}, S0", 1024, 4),
        ("st_l_v {}, V0", 81920, 256),
        ("st_l_v_low {}, V0", 81920, 128),
        ("st_l_v_high {}, V0", 81920, 128),
    ] {
        let run = |address: i64| {
            let operation = operation.replace("{}", &address.to_string());
            run_with(&mut Tpc::new(), &format!("nop; nop; nop; {operation} {HALT}"), &[])
        };
        assert_eq!(run(limit - step), Outcome::Halted, "{operation}");
        for address in [limit, limit - step + 1, -step, 1, step / 2] {
            assert!(
                matches!(run(address), Outcome::Fault(fault) if fault.cause == Cause::LocalAddress && fault.pc == CODE),
                "{operation} {address}"
            );
        }
    }
}

#[test]
fn a_kernel_with_small_vector_memory_faults_beyond_16_kib() {
    let code = assemble(&format!("ld_l_v V0, S0; nop; nop; nop {HALT}")).unwrap();
    let mut memory = FlatMemory::new(CODE, code.len());
    memory.write(CODE, &code).unwrap();
    for (config, address, fails) in [(1, 16128, false), (1, 16384, true), (0, 16384, false)] {
        let mut launch = Launch::default();
        launch.set_kernel_address(CODE);
        launch.set_word(0x3B8, config);
        launch.set_argument(0, address);
        let mut tpc = Tpc::new();
        tpc.start(&launch);
        assert_eq!(matches!(tpc.run(&mut memory, 100), Outcome::Fault(_)), fails, "{config} {address}");
    }
}

#[test]
fn a_bundle_that_faults_leaves_its_registers_alone() {
    let mut tpc = Tpc::new();
    let source = format!("nop; mov.i32 S1, 5; nop; nop\nnop; mov.i32 S1, 2048; nop; st_l 2048, S0 {HALT}");
    assert!(matches!(run_with(&mut tpc, &source, &[]), Outcome::Fault(_)));
    assert_eq!(tpc.registers().s(1), 5);
    // Nor do its results appear in the next kernel.
    assert_eq!(run_with(&mut tpc, &format!("nop {HALT}"), &[0, 7]), Outcome::Halted);
    assert_eq!(tpc.registers().s(1), 7);
}

#[test]
fn what_a_loop_cannot_do_is_a_fault_and_not_a_guess() {
    let nested = "loop 0, 2, 1, <, E\nnop\n".repeat(5);
    let (cause, bundle, detail) = faulted(&format!("{nested}nop\nnop\nE: nop {HALT}"));
    assert_eq!((cause.bit(), bundle), (13, 8), "{detail}");
    let (cause, bundle, detail) = faulted(&format!("loop 0, 2, 1, <, E\nnop; jmpr E; nop; nop\nnop\nE: nop {HALT}"));
    assert_eq!((cause.bit(), bundle), (13, 1), "{detail}");
    assert!(detail.contains("delay slot"));
    let (cause, bundle, detail) =
        faulted(&format!("loop 0, 2, 1, <, E\nnop\nnop; jmpr E; nop; nop\nnop\nE: nop {HALT}"));
    assert_eq!((cause.bit(), bundle), (13, 2), "{detail}");
    assert!(detail.contains("out of a LOOP"));
}

#[test]
fn a_jump_out_of_the_address_space_is_a_program_counter_wrap() {
    let code = assemble("nop; jmpr -64; nop; nop").unwrap();
    let mut memory = FlatMemory::new(0, code.len());
    memory.write(0, &code).unwrap();
    let mut tpc = Tpc::new();
    tpc.start(&Launch::default());
    assert!(matches!(tpc.run(&mut memory, 1), Outcome::Fault(fault) if fault.cause.bit() == 14 && fault.pc == 0));
}

/// Kernels of the vectors that touch local memory only, at every latency of hand-written code.
#[test]
fn the_jump_loop_of_the_vectors_sums_to_55() {
    let row = include_str!("data/tpc-vectors.csv").lines().find(|line| line.contains("[kernel jmploop]")).unwrap();
    let text = row.trim_start_matches("\"[kernel jmploop]").split('"').next().unwrap();
    for delay in 0..=7 {
        let mut tpc = Tpc::new();
        tpc.set_write_delay(delay);
        assert_eq!(run_with(&mut tpc, text, &[10]), Outcome::Halted);
        assert_eq!(tpc.scalar_memory()[..4], 55u32.to_le_bytes(), "delay {delay}");
    }
}

#[test]
fn random_bundles_never_panic_and_what_decodes_prints_and_assembles_to_itself() {
    let mut numbers = Numbers(22);
    let mut decoded = 0;
    for round in 0..200_000 {
        // A legal bundle with some bits changed, so that much of it still decodes.
        let mut bytes = coxswain_tpc::Bundle::NOP.to_bytes();
        for _ in 0..1 + round % 12 {
            let bit = numbers.next() as usize % 191;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let mut launch = Launch::default();
        launch.set_kernel_address(CODE);
        let mut memory = FlatMemory::new(CODE, 32);
        memory.write(CODE, &bytes).unwrap();
        if round % 16 == 0 {
            let mut tpc = Tpc::new();
            tpc.start(&launch);
            tpc.run(&mut memory, 4);
        }
        let Ok(text) = disassemble(&bytes) else { continue };
        decoded += 1;
        let again = assemble(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(disassemble(&again).unwrap(), text);
    }
    assert!(decoded > 10_000, "{decoded}");
}
