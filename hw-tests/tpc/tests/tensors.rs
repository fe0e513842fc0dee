//! Tensor accesses, generated addresses and the engine's own registers.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::CODE;
use coxswain_tpc::sim::Tensor;
use coxswain_tpc::{Cause, FlatMemory, Launch, Memory, MemoryFault, Outcome, Tpc, assemble};

const DATA: u64 = 0x1000;
const DATA_BYTES: usize = 0x4000;

/// Code and a small data memory with content byte i = i * 7 mod 251; everything else is unmapped.
struct Split {
    code: FlatMemory,
    data: FlatMemory,
}

impl Memory for Split {
    fn read(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        if address >= CODE { self.code.read(address, out) } else { self.data.read(address, out) }
    }
    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        self.data.write(address, data)
    }
}

fn pattern() -> Vec<u8> {
    (0..DATA_BYTES).map(|index| (index * 7 % 251) as u8).collect()
}

struct Run {
    outcome: Outcome,
    tpc: Tpc,
    data: Vec<u8>,
}

/// Runs a program; tensor 0 is `tensor`, vector local memory holds 0x80 + byte number.
fn run(tensor: &Tensor, arguments: &[(usize, u32)], source: &str) -> Run {
    run_on(&pattern(), tensor, arguments, source)
}

fn run_on(data: &[u8], tensor: &Tensor, arguments: &[(usize, u32)], source: &str) -> Run {
    let source = format!("{source}\nnop; halt; halt; nop");
    let code = assemble(&source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let mut memory = Split { code: FlatMemory::new(CODE, code.len()), data: FlatMemory::new(DATA, DATA_BYTES) };
    memory.code.write(CODE, &code).unwrap();
    memory.data.write(DATA, data).unwrap();
    let mut launch = Launch::default();
    launch.set_kernel_address(CODE);
    launch.set_tensor(0, tensor);
    for &(index, value) in arguments {
        launch.set_argument(index, value);
    }
    let mut tpc = Tpc::new();
    for (index, byte) in tpc.vector_memory_mut().iter_mut().enumerate() {
        *byte = 0x80 + (index % 97) as u8;
    }
    tpc.start(&launch);
    let outcome = tpc.run(&mut memory, 1000);
    let mut data = vec![0; DATA_BYTES];
    memory.data.read(DATA, &mut data).unwrap();
    Run { outcome, tpc, data }
}

const FP32: Tensor = Tensor {
    base: DATA + 0x400,
    padding: 0xAABB_CCDD,
    data_type: 7,
    dimensions: 0b11,
    read_modify_write: false,
    operation: 0,
    sizes: [100, 3, 1, 1, 1],
    strides: [1, 100, 300, 300, 300],
};

/// Loads at (`c0`, `c1`), the other coordinates far outside; returns the register's bytes.
fn loaded(tensor: &Tensor, c0: i32, c1: i32, operation: &str) -> Vec<u8> {
    let source = format!(
        "set_indx I2, b11111, 0x7000; nop; nop; nop\nset_indx I2, b00001, {c0}; nop; nop; nop\n\
         set_indx I2, b00010, {c1}; nop; nop; nop\n{operation}; nop; nop; nop"
    );
    let run = run(tensor, &[], &source);
    assert_eq!(run.outcome, Outcome::Halted);
    run.tpc.registers().v(1).0.to_vec()
}

/// What a load must give, written with coordinates instead of ranges.
fn expected_load(tensor: &Tensor, width: usize, c0: i32, c1: i32) -> Vec<u8> {
    let memory = pattern();
    let mut bytes = Vec::new();
    for lane in 0..256 / width {
        let x = i64::from(c0) + lane as i64;
        let y = i64::from(c1);
        if x < 0 || x >= i64::from(tensor.sizes[0]) || y < 0 || y >= i64::from(tensor.sizes[1]) {
            bytes.extend_from_slice(&tensor.padding.to_le_bytes()[..width]);
        } else {
            let element = x * i64::from(tensor.strides[0]) + y * i64::from(tensor.strides[1]);
            let at = (tensor.base - DATA) as usize + element as usize * width;
            bytes.extend_from_slice(&memory[at..at + width]);
        }
    }
    bytes
}

#[test]
fn a_load_pads_lanes_outside_of_the_tensor() {
    for (data_type, width) in [(7, 4), (2, 4), (5, 4), (6, 2), (1, 2), (4, 2), (0, 1), (3, 1)] {
        let tensor = Tensor { data_type, ..FP32 };
        for (c0, c1) in [
            (0, 0),
            (64, 2),
            (99, 1),
            (100, 0),
            (-1, 0),
            (-63, 1),
            (-300, 0),
            (0, 3),
            (0, -1),
            (i32::MIN, 0),
            (i32::MAX, 0),
        ] {
            assert_eq!(
                loaded(&tensor, c0, c1, "ld_tnsr V1, 0, I2"),
                expected_load(&tensor, width, c0, c1),
                "type {data_type} at {c0}, {c1}"
            );
        }
    }
}

#[test]
fn strides_count_elements_in_every_dimension() {
    for strides in [[1, 128, 0, 0, 0], [2, 400, 0, 0, 0], [3, 1, 0, 0, 0], [0, 5, 0, 0, 0]] {
        let tensor = Tensor { strides, ..FP32 };
        assert_eq!(loaded(&tensor, 7, 2, "ld_tnsr V1, 0, I2"), expected_load(&tensor, 4, 7, 2), "{strides:?}");
    }
    // Five dimensions, one element each.
    let tensor = Tensor { dimensions: 0b11111, sizes: [1, 9, 9, 9, 9], strides: [1, 2, 30, 100, 7], ..FP32 };
    let source = "set_indx I2, b11111, 0; nop; nop; nop\nset_indx I2, b00010, 1; nop; nop; nop\nset_indx I2, b00100, 2; nop; nop; nop\n\
                  set_indx I2, b01000, 3; nop; nop; nop\nset_indx I2, b10000, 4; nop; nop; nop\nld_tnsr V1, 0, I2; nop; nop; nop";
    let run = run(&tensor, &[], source);
    let at = 0x400 + 4 * (2 + 60 + 300 + 28);
    assert_eq!(run.tpc.registers().v(1).0[..4], pattern()[at..at + 4]);
    assert_eq!(run.tpc.registers().v(1).0[4..8], 0xAABB_CCDDu32.to_le_bytes());
}

#[test]
fn half_loads_fill_their_half_from_lane_zero_of_the_address() {
    let whole = expected_load(&FP32, 4, 20, 1);
    let low = loaded(&FP32, 20, 1, "ld_tnsr_low V1, 0, I2");
    assert_eq!((&low[..128], &low[128..]), (&whole[..128], &[0; 128][..]));
    let high = loaded(&FP32, 20, 1, "ld_tnsr_high V1, 0, I2");
    assert_eq!((&high[..128], &high[128..]), (&[0; 128][..], &whole[..128]));
}

#[test]
fn partial_loads_and_lane_predicates_keep_the_other_lanes() {
    let whole = expected_load(&FP32, 4, 5, 1);
    let at = "set_indx I2, b00001, 5; nop; nop; nop\nset_indx I2, b00010, 1; nop; nop; nop\n";
    let partial = run(&FP32, &[(30, 10 << 8 | 3)], &format!("{at}ld_tnsr partial V1, 0, I2, S30; nop; nop; nop"));
    let mut expected = vec![0; 256];
    expected[40..56].copy_from_slice(&whole[40..56]);
    assert_eq!(partial.tpc.registers().v(1).0.to_vec(), expected);

    let source = format!("{at}nop; nop; cmp_less.i32 VP3, LANE_ID_32, 7; nop\nld_tnsr V1, 0, I2, !VP3; nop; nop; nop");
    let predicated = run(&FP32, &[], &source);
    let mut expected = whole;
    expected[..28].fill(0);
    assert_eq!(predicated.tpc.registers().v(1).0.to_vec(), expected);
}

#[test]
fn a_tensor_number_may_come_from_a_register() {
    let load = run(
        &FP32,
        &[(27, 0)],
        "ld_tnsr V1, S27, I2; nop; nop; nop\nld_l_v V2, 0; nop; nop; nop\nnop; nop; nop; st_tnsr S28, I2, V2",
    );
    assert_eq!(load.tpc.registers().v(1).0.to_vec(), expected_load(&FP32, 4, 0, 0));
    assert_eq!(load.data[0x400..0x404], [0x80, 0x81, 0x82, 0x83]);
    let refused = run(&FP32, &[(27, 16)], "ld_tnsr V1, S27, I2; nop; nop; nop");
    assert!(matches!(refused.outcome, Outcome::Fault(fault) if fault.cause == Cause::IllegalInstruction));
}

/// Stores V2 (bytes of vector local memory) at (`c0`, `c1`) and returns all of data memory.
fn stored(tensor: &Tensor, arguments: &[(usize, u32)], c0: i32, c1: i32, operation: &str) -> Vec<u8> {
    let source = format!(
        "set_indx I2, b11111, 0x7000; nop; nop; nop\nset_indx I2, b00001, {c0}; nop; nop; nop\nset_indx I2, b00010, {c1}; nop; nop; nop\n\
         ld_l_v V2, 0x2000; nop; nop; nop\nnop; nop; nop; {operation}"
    );
    let run = run(tensor, arguments, &source);
    assert_eq!(run.outcome, Outcome::Halted, "{source}");
    run.data
}

fn register_byte(index: usize) -> u8 {
    0x80 + ((0x2000 + index) % 97) as u8
}

#[test]
fn a_store_drops_lanes_outside_and_touches_nothing_else() {
    for (data_type, width) in [(7, 4), (6, 2), (0, 1)] {
        for strides in [[1, 100, 0, 0, 0], [2, 250, 0, 0, 0]] {
            let tensor = Tensor { data_type, strides, ..FP32 };
            for (c0, c1) in [(0, 0), (70, 2), (-10, 1), (100, 0), (0, 3), (5, -1)] {
                let mut expected = pattern();
                for lane in 0..256 / width {
                    let x = c0 + lane as i32;
                    if (0..100).contains(&x) && (0..3).contains(&c1) {
                        let element = x as usize * strides[0] as usize + c1 as usize * strides[1] as usize;
                        for byte in 0..width {
                            expected[0x400 + element * width + byte] = register_byte(lane * width + byte);
                        }
                    }
                }
                assert!(
                    stored(&tensor, &[], c0, c1, "st_tnsr 0, I2, V2") == expected,
                    "{data_type} {strides:?} {c0} {c1}"
                );
            }
        }
    }
}

#[test]
fn half_partial_and_packing_stores_choose_their_lanes() {
    let check = |tensor: &Tensor,
                 arguments: &[(usize, u32)],
                 operation: &str,
                 source: &dyn Fn(usize) -> Option<usize>,
                 width: usize| {
        let mut expected = pattern();
        for element in 0..100 {
            if let Some(lane) = source(element) {
                for byte in 0..width {
                    expected[0x400 + element * width + byte] = register_byte(lane * width + byte);
                }
            }
        }
        assert!(stored(tensor, arguments, 0, 0, operation) == expected, "{operation}");
    };
    check(&FP32, &[], "st_tnsr_low 0, I2, V2", &|element| (element < 32).then_some(element), 4);
    check(&FP32, &[], "st_tnsr_high 0, I2, V2", &|element| (element < 32).then_some(element + 32), 4);
    let named = |element| (17..20).contains(&element).then_some(element);
    check(&FP32, &[(31, 17 << 8 | 2)], "st_tnsr partial 0, I2, V2, S31", &named, 4);
    let bf16 = Tensor { data_type: 6, ..FP32 };
    let packed = |element| Some(if element < 64 { 2 * element } else { 2 * (element - 64) + 1 });
    check(&bf16, &[], "st_tnsr pack 0, I2, V2", &packed, 2);
}

#[test]
fn a_read_modify_write_combines_with_memory() {
    type Combine = fn(i32, i32) -> i32;
    let operations: [Combine; 4] = [i32::wrapping_add, i32::wrapping_sub, i32::min, i32::max];
    for (code, combine) in operations.into_iter().enumerate() {
        let mut expected = pattern();
        for element in 0..64 {
            let at = 0x400 + 4 * element;
            let old = i32::from_le_bytes(expected[at..at + 4].try_into().unwrap());
            let new = i32::from_le_bytes(core::array::from_fn(|byte| register_byte(4 * element + byte)));
            expected[at..at + 4].copy_from_slice(&combine(old, new).to_le_bytes());
        }
        let tensor = Tensor { data_type: 2, read_modify_write: true, operation: code as u32, ..FP32 };
        assert!(stored(&tensor, &[], 0, 0, "st_tnsr 0, I2, V2") == expected, "descriptor, {code}");
        // S29: type INT32, operation, enable; over a descriptor that says nothing.
        let tensor = Tensor { data_type: 2, ..FP32 };
        let parameters = [(29, 2 | (code as u32) << 4 | 1 << 6)];
        assert!(stored(&tensor, &parameters, 0, 0, "st_tnsr rmw_sel 0, I2, V2, S29") == expected, "register, {code}");
    }
    // S29 without its enable bit: an ordinary store, also over a descriptor that combines.
    let tensor = Tensor { data_type: 2, read_modify_write: true, ..FP32 };
    let plain = stored(&Tensor { read_modify_write: false, ..tensor }, &[], 0, 0, "st_tnsr 0, I2, V2");
    assert!(stored(&tensor, &[(29, 2)], 0, 0, "st_tnsr rmw_sel 0, I2, V2, S29") == plain);
    let tensor = Tensor { read_modify_write: true, ..FP32 };
    let mut data = pattern();
    data[0x400..0x404].copy_from_slice(&1.5f32.to_le_bytes());
    let source = "nop; nop; mov.f32 V2, 0x40200000; nop\nnop; nop; nop; st_tnsr 0, I2, V2";
    assert_eq!(run_on(&data, &tensor, &[], source).data[0x400..0x404], 4.0f32.to_le_bytes());
}

#[test]
fn generated_addresses_read_and_write_single_words() {
    let source = "set_indx I2, b00001, 6; nop; nop; nop\nset_indx I2, b00010, 2; nop; nop; nop\n\
                  gen_addr AD1, 0, I2; nop; nop; nop\nnop; nop; nop; gen_addr AD2, 0, I3\n\
                  ld_g S0, AD1; nop; nop; nop\nld_g V3, AD1; nop; nop; nop\nnop; mov.i32 S1, 0x12345678; nop; nop\nnop; nop; nop; st_g AD2, S1";
    let run = run(&FP32, &[], source);
    assert_eq!(run.outcome, Outcome::Halted);
    let at = 0x400 + 4 * 206;
    let word = u32::from_le_bytes(pattern()[at..at + 4].try_into().unwrap());
    assert_eq!(run.tpc.registers().ad(1), DATA + at as u64);
    assert_eq!(run.tpc.registers().s(0), word);
    assert!(run.tpc.registers().v(3).0.chunks(4).all(|lane| lane == word.to_le_bytes()));
    assert_eq!(run.data[0x400..0x404], 0x1234_5678u32.to_le_bytes());
}

#[test]
fn refused_memory_faults_with_address_and_cause() {
    let below = Tensor { base: DATA - 4, ..FP32 };
    let beyond = Tensor { base: DATA + DATA_BYTES as u64 - 8, sizes: [64, 1, 1, 1, 1], ..FP32 };
    for (tensor, operation, bit) in [
        (&below, "ld_tnsr V1, 0, I2; nop; nop; nop", 16),
        (&beyond, "ld_tnsr V1, 0, I2; nop; nop; nop", 16),
        (&beyond, "nop; nop; nop; st_tnsr 0, I2, V1", 17),
    ] {
        let Outcome::Fault(fault) = run(tensor, &[], operation).outcome else { panic!("{operation}") };
        assert_eq!((fault.cause.bit(), fault.pc, fault.address), (bit, CODE, Some(tensor.base)), "{operation}");
    }
    // A tensor of which no lane is inside reads nothing.
    let empty = Tensor { base: 0, sizes: [0, 0, 1, 1, 1], ..FP32 };
    assert_eq!(run(&empty, &[], "ld_tnsr V1, 0, I2; nop; nop; nop").outcome, Outcome::Halted);
}

#[test]
fn no_descriptor_makes_an_access_overflow_or_panic() {
    let mut numbers = common::Numbers(30);
    for _ in 0..2000 {
        let mut word = || if numbers.next().is_multiple_of(3) { numbers.next() % 300 } else { numbers.pattern() };
        let tensor = Tensor {
            base: u64::from(word()) << 32 | u64::from(word()),
            padding: word(),
            data_type: word() % 8,
            dimensions: word() % 32,
            read_modify_write: word() % 2 == 0,
            operation: word() % 4,
            sizes: core::array::from_fn(|_| word()),
            strides: core::array::from_fn(|_| word()),
        };
        let arguments = [(0, word()), (1, word()), (30, word()), (31, word()), (29, word())];
        let source = "set_indx I2, b10101, S0; nop; nop; nop\nset_indx I2, b01010, S1; nop; nop; nop\n\
                      ld_tnsr partial V1, 0, I2, S30; nop; nop; nop\nnop; nop; nop; st_tnsr partial rmw_sel 0, I2, V1, S31, S29";
        let outcome = run(&tensor, &arguments, source).outcome;
        assert!(matches!(outcome, Outcome::Halted | Outcome::Fault(_)));
    }
}

#[test]
fn a_kernel_reads_its_descriptor_and_sets_its_rounding() {
    let source = "ld_l mmio S0, 0x410; nop; nop; nop\nld_l mmio S1, 0x418; nop; nop; nop\n\
                  nop; mov.i32 S2, 2; nop; nop\nnop; nop; nop; st_l mmio 0x8fc, S2\nld_l mmio S3, 0x8fc; nop; nop; nop\n\
                  nop; mov.f32 S4, 0x3f800000; nop; nop\nnop; add.f32 S4, S4, 0x00000001; nop; nop\n\
                  nop; nop; nop; aso\nnop; nop; nop; aso vpu\nnop; nop; nop; aso dec\nld_l mmio S5, 0x908; nop; nop; nop";
    let run = run(&FP32, &[], source);
    assert_eq!(run.outcome, Outcome::Halted);
    let s = |number| run.tpc.registers().s(number);
    assert_eq!([s(0), s(1), s(3), s(5)], [100, 3, 2, 1]);
    // 1 plus the smallest denormal, rounded up.
    assert_eq!((s(4), run.tpc.round_csr(), run.tpc.semaphore()), (0x3F80_0001, 2, 1));
}

#[test]
fn registers_that_the_model_lacks_are_faults() {
    for (operation, bit) in [
        ("ld_l mmio S0, 0x840; nop; nop; nop", 18),
        ("ld_l mmio S0, 0x402; nop; nop; nop", 18),
        ("nop; nop; nop; st_l mmio 0x400, S0", 19),
    ] {
        let Outcome::Fault(fault) = run(&FP32, &[], operation).outcome else { panic!("{operation}") };
        assert_eq!(fault.cause.bit(), bit, "{operation}");
    }
}

#[test]
fn the_vector_additions_of_the_vectors_add_at_every_latency() {
    for (name, dimensions) in [("[kernel vecadd1d]", 1), ("[kernel vecadd2d]", 2)] {
        let row = include_str!("data/tpc-vectors.csv").lines().find(|line| line.contains(name)).unwrap();
        let text = row.trim_start_matches('"').trim_start_matches(name).split('"').next().unwrap();
        let code = assemble(text).unwrap();
        for delay in 0..=7 {
            let mut memory = Split { code: FlatMemory::new(CODE, code.len()), data: FlatMemory::new(DATA, DATA_BYTES) };
            memory.code.write(CODE, &code).unwrap();
            let rows = if dimensions == 2 { 3 } else { 1 };
            let mut launch = Launch::default();
            launch.set_kernel_address(CODE);
            launch.set_index_space([0; 5], [2, rows, 1, 1, 1]);
            for number in 0..3 {
                let tensor = Tensor {
                    base: DATA + 0x1000 * number,
                    dimensions: (1 << dimensions) - 1,
                    sizes: [100, rows as u32, 1, 1, 1],
                    ..FP32
                };
                launch.set_tensor(number as usize, &tensor);
                for element in 0..100 * rows as u64 {
                    let value = (element as f32).mul_add(0.5, number as f32 * 1000.0);
                    memory.data.write(tensor.base + 4 * element, &value.to_le_bytes()).unwrap();
                }
            }
            let mut tpc = Tpc::new();
            tpc.set_write_delay(delay);
            tpc.start(&launch);
            assert_eq!(tpc.run(&mut memory, 10_000), Outcome::Halted);
            for element in 0..100 * rows as u64 {
                let mut bytes = [0; 4];
                memory.data.read(DATA + 0x2000 + 4 * element, &mut bytes).unwrap();
                assert_eq!(f32::from_le_bytes(bytes), element as f32 + 1000.0, "{name} {delay} {element}");
            }
        }
    }
}
