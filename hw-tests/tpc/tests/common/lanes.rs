//! Single operations of both units, run on registers full of patterns and compared lane by lane.

use coxswain_tpc::sim::VECTOR_BYTES;
use coxswain_tpc::{FlatMemory, Launch, Memory, Outcome, Tpc, assemble};

use super::{CODE, Numbers};

pub type Register = [u8; VECTOR_BYTES];

pub fn execute(tpc: &mut Tpc, source: &str, arguments: &[u32], round_csr: u32) {
    let source = format!("{source}\nnop; halt; halt; nop");
    let code = assemble(&source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let mut memory = FlatMemory::new(CODE, code.len());
    memory.write(CODE, &code).unwrap();
    let mut launch = Launch { round_csr, ..Launch::default() };
    launch.set_kernel_address(CODE);
    for (index, value) in arguments.iter().enumerate() {
        launch.set_argument(index, *value);
    }
    tpc.start(&launch);
    assert_eq!(tpc.run(&mut memory, 1000), Outcome::Halted, "{source}");
}

/// V0-V3 are the sources, D4 (V4, V5) starts as the last two; returns V4 and V5 after the bundles.
pub fn vector(source: &str, registers: &[Register; 6], round_csr: u32) -> [Register; 2] {
    let mut tpc = Tpc::new();
    let mut text = String::new();
    for (number, register) in registers.iter().enumerate() {
        tpc.vector_memory_mut()[number * 256..][..256].copy_from_slice(register);
        text.push_str(&format!("ld_l_v V{number}, {}; nop; nop; nop\n", number * 256));
    }
    text.push_str(source);
    execute(&mut tpc, &text, &[], round_csr);
    [tpc.registers().v(4).0, tpc.registers().v(5).0]
}

pub fn scalar(operation: &str, a: u32, b: u32, old: u32, round_csr: u32) -> u32 {
    let mut tpc = Tpc::new();
    execute(&mut tpc, &format!("nop; {operation}; nop; nop"), &[a, b, old], round_csr);
    tpc.registers().s(2)
}

pub fn registers(numbers: &mut Numbers) -> [Register; 6] {
    core::array::from_fn(|_| {
        let mut register = [0; VECTOR_BYTES];
        for lane in register.as_chunks_mut::<4>().0 {
            *lane = numbers.pattern().to_le_bytes();
        }
        register
    })
}

pub fn lane(register: &Register, width: usize, index: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes[..width].copy_from_slice(&register[index * width..][..width]);
    u32::from_le_bytes(bytes)
}

/// Checks an operation of two sources in both units: `reference` gets raw lanes and gives the raw result.
pub fn check_binary(name: &str, element: &str, width: usize, signed: bool, reference: impl Fn(u32, u32) -> u32) {
    let mut numbers = Numbers(width as u64 + name.len() as u64);
    let input = registers(&mut numbers);
    let (operation, modifier) = name.split_once(' ').unwrap_or((name, ""));
    let result = vector(&format!("nop; nop; {operation}.{element} {modifier} V4, V0, V1; nop"), &input, 0);
    for index in 0..VECTOR_BYTES / width {
        let (a, b) = (lane(&input[0], width, index), lane(&input[1], width, index));
        let expected = reference(a, b);
        assert_eq!(lane(&result[0], width, index), expected, "VPU {name}.{element} {a:#x} {b:#x}");
        if index < 64 {
            // A scalar register holds the extended result.
            let unused = 32 - 8 * width as u32;
            let extended = if signed { (((expected << unused) as i32) >> unused) as u32 } else { expected };
            let text = format!("{operation}.{element} {modifier} S2, S0, S1");
            assert_eq!(scalar(&text, a, b, 0, 0), extended, "SPU {name}.{element} {a:#x} {b:#x}");
        }
    }
}

pub fn check_compare(name: &str, element: &str, width: usize, reference: impl Fn(u32, u32) -> bool) {
    let input = registers(&mut Numbers(width as u64 * 31 + name.len() as u64));
    let (operation, modifier) = name.split_once(' ').unwrap_or((name, ""));
    let source = format!(
        "nop; nop; {operation}.{element} {modifier} VP1, V0, V1; nop\nnop; nop; mov.{element} V4, V2, VP1; nop\nnop; nop; mov.{element} V5, V3, !VP1; nop"
    );
    let result = vector(&source, &input, 0);
    for index in 0..VECTOR_BYTES / width {
        let l = |register: usize| lane(&input[register], width, index);
        let holds = reference(l(0), l(1));
        assert_eq!(lane(&result[0], width, index), if holds { l(2) } else { l(4) }, "{name}.{element}");
        assert_eq!(lane(&result[1], width, index), if holds { l(5) } else { l(3) }, "{name}.{element}");
        if index < 64 {
            let mut tpc = Tpc::new();
            let text = format!("nop; {operation}.{element} {modifier} SP1, S0, S1; nop; nop");
            execute(&mut tpc, &text, &[l(0), l(1)], 0);
            assert_eq!(tpc.registers().sp(1), holds, "SPU {name}.{element} {:#x} {:#x}", l(0), l(1));
        }
    }
}

pub fn check_select(name: &str, element: &str, width: usize, reference: impl Fn(u32, u32) -> bool) {
    let input = registers(&mut Numbers(width as u64 * 17 + name.len() as u64));
    let one = vector(&format!("nop; nop; sel_{name}.{element} V4, V0, V1, V2, V3; nop"), &input, 0);
    for index in 0..VECTOR_BYTES / width {
        let l = |register: usize| lane(&input[register], width, index);
        let expected = if reference(l(0), l(1)) { l(2) } else { l(3) };
        assert_eq!(lane(&one[0], width, index), expected, "sel_{name}.{element}");
    }
    if matches!(name, "eq" | "neq") {
        return;
    }
    let two = vector(&format!("nop; nop; sel2_{name}.{element} D4, V0, V1, V2, V3; nop"), &input, 0);
    for index in 0..VECTOR_BYTES / width {
        let l = |register: usize| lane(&input[register], width, index);
        let expected = if reference(l(0), l(1)) { [l(2), l(0)] } else { [l(3), l(1)] };
        assert_eq!([0, 1].map(|half| lane(&two[half], width, index)), expected, "sel2_{name}.{element}");
    }
}

/// NaN results are one pattern.
pub fn canonical(value: f32) -> u32 {
    if value.is_nan() { 0x7FC0_0000 } else { value.to_bits() }
}

/// Half to even on the bits of a binary32.
pub fn to_bf16(value: f32) -> u32 {
    let bits = u64::from(value.to_bits());
    if value.is_nan() { 0x7FC0 } else { ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u32 }
}
