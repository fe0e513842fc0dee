//! Every arithmetic operation of both units against the host's own integers and floats.
//!
//! The expected values come from Rust's native types, written per type; nothing of the simulator is used for them.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CODE, Numbers};
use coxswain_tpc::sim::VECTOR_BYTES;
use coxswain_tpc::{FlatMemory, Launch, Memory, Outcome, Tpc, assemble};

type Register = [u8; VECTOR_BYTES];

fn execute(tpc: &mut Tpc, source: &str, arguments: &[u32], round_csr: u32) {
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
fn vector(source: &str, registers: &[Register; 6], round_csr: u32) -> [Register; 2] {
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

fn scalar(operation: &str, a: u32, b: u32, old: u32, round_csr: u32) -> u32 {
    let mut tpc = Tpc::new();
    execute(&mut tpc, &format!("nop; {operation}; nop; nop"), &[a, b, old], round_csr);
    tpc.registers().s(2)
}

fn registers(numbers: &mut Numbers) -> [Register; 6] {
    core::array::from_fn(|_| {
        let mut register = [0; VECTOR_BYTES];
        for lane in register.as_chunks_mut::<4>().0 {
            *lane = numbers.pattern().to_le_bytes();
        }
        register
    })
}

fn lane(register: &Register, width: usize, index: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes[..width].copy_from_slice(&register[index * width..][..width]);
    u32::from_le_bytes(bytes)
}

/// Checks an operation of two sources in both units: `reference` gets raw lanes and gives the raw result.
fn check_binary(name: &str, element: &str, width: usize, signed: bool, reference: impl Fn(u32, u32) -> u32) {
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

fn check_compare(name: &str, element: &str, width: usize, reference: impl Fn(u32, u32) -> bool) {
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

fn check_select(name: &str, element: &str, width: usize, reference: impl Fn(u32, u32) -> bool) {
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

macro_rules! integer_tests {
    ($test:ident, $element:literal, $native:ty, $unsigned:ty, $signed:literal) => {
        #[test]
        fn $test() {
            const WIDTH: usize = size_of::<$native>();
            const BITS: u32 = <$native>::BITS;
            let check = |name: &str, reference: fn($native, $native) -> $native| {
                check_binary(name, $element, WIDTH, $signed, |a, b| {
                    u32::from(reference(a as $native, b as $native) as $unsigned)
                });
            };
            check("add", <$native>::wrapping_add);
            check("add st", <$native>::saturating_add);
            check("sub", <$native>::wrapping_sub);
            check("sub st", <$native>::saturating_sub);
            check("sub neg", |a, b| b.wrapping_sub(a));
            check("max", |a, b| if a > b { a } else { b });
            check("min", |a, b| if a < b { a } else { b });
            check("and", |a, b| a & b);
            check("or", |a, b| a | b);
            check("xor", |a, b| a ^ b);
            check("shl", |a, b| a.checked_shl(u32::from(b as $unsigned)).unwrap_or(0));
            check("shr", |a, b| (a as $unsigned).checked_shr(u32::from(b as $unsigned)).unwrap_or(0) as $native);
            // By repeated doubling and halving of a wide number; 80 times is more than any width needs.
            let shift = |round: bool| {
                move |a: $native, amount: i32| {
                    let mut value = a as f64;
                    for _ in 0..amount.unsigned_abs().min(80) {
                        value = if amount > 0 { value * 2.0 } else { value / 2.0 };
                    }
                    let whole = if round && amount < 0 { (value + 0.5).floor() } else { value.floor() };
                    // The cast saturates at the ends of the type.
                    whole as $native
                }
            };
            let amount = |b: u32| ((b << (32 - BITS)) as i32) >> (32 - BITS);
            check_binary("ash", $element, WIDTH, $signed, |a, b| {
                u32::from(shift(false)(a as $native, amount(b)) as $unsigned)
            });
            check_binary("ash rhu", $element, WIDTH, $signed, |a, b| {
                u32::from(shift(true)(a as $native, amount(b)) as $unsigned)
            });

            let relations: [(&str, fn(&$native, &$native) -> bool); 6] = [
                ("eq", <$native>::eq),
                ("neq", <$native>::ne),
                ("less", <$native>::lt),
                ("leq", <$native>::le),
                ("grt", <$native>::gt),
                ("geq", <$native>::ge),
            ];
            for (name, holds) in relations {
                let holds = |a: u32, b: u32| holds(&(a as $native), &(b as $native));
                check_compare(&format!("cmp_{name}"), $element, WIDTH, holds);
                check_select(name, $element, WIDTH, holds);
            }
            check_compare("cmp_eq mask_eq_zero", $element, WIDTH, |a, b| a & b == 0);

            let unary = |name: &str, reference: fn($native) -> u32| {
                let input = registers(&mut Numbers(99 + name.len() as u64));
                let (operation, modifier) = name.split_once(' ').unwrap_or((name, ""));
                let text = format!("{operation}.{} {modifier}", $element);
                let result = vector(&format!("nop; nop; {text} V4, V0; nop"), &input, 0);
                for index in 0..VECTOR_BYTES / WIDTH {
                    let a = lane(&input[0], WIDTH, index);
                    let expected = reference(a as $native);
                    assert_eq!(lane(&result[0], WIDTH, index), expected, "VPU {name} {a:#x}");
                    if index < 64 {
                        let extended = if matches!(operation, "not" | "abs") {
                            expected as $native as i64 as u32
                        } else {
                            expected
                        };
                        assert_eq!(scalar(&format!("{text} S2, S0"), a, 0, 0, 0), extended, "SPU {name} {a:#x}");
                    }
                }
            };
            unary("not", |a| u32::from(!a as $unsigned));
            unary("popcnt 1", |a| a.count_ones());
            unary("popcnt 0", |a| a.count_zeros());
            unary("find_first 1", |a| a.trailing_zeros());
            unary("find_first 0", |a| a.trailing_ones());
            unary("find_first 1 start_msb", |a| a.leading_zeros());
            unary("find_first 0 start_msb", |a| a.leading_ones());
            unary("brev", |a| u32::from((a as $unsigned).reverse_bits()));
        }
    };
}

integer_tests!(i32_operations_equal_native_ones, "i32", i32, u32, true);
integer_tests!(u32_operations_equal_native_ones, "u32", u32, u32, false);
integer_tests!(i16_operations_equal_native_ones, "i16", i16, u16, true);
integer_tests!(u16_operations_equal_native_ones, "u16", u16, u16, false);
integer_tests!(i8_operations_equal_native_ones, "i8", i8, u8, true);
integer_tests!(u8_operations_equal_native_ones, "u8", u8, u8, false);

#[test]
fn absolute_values_saturate() {
    let input = registers(&mut Numbers(7));
    let result = vector("nop; nop; abs.i32 V4, V0; nop\nnop; nop; abs.i8 V5, V0; nop", &input, 0);
    for index in 0..64 {
        assert_eq!(lane(&result[0], 4, index) as i32, (lane(&input[0], 4, index) as i32).saturating_abs());
    }
    for (result, input) in result[1].iter().zip(input[0]) {
        assert_eq!(*result as i8, (input as i8).saturating_abs());
    }
    assert_eq!(scalar("abs.i16 S2, S0", 0x8000, 0, 0, 0), 0x7FFF);
    assert_eq!(scalar("abs.f32 S2, S0", 0xFFC0_0001, 0, 0, 0), 0x7FC0_0001);
}

#[test]
fn integer_products_have_all_their_bits() {
    let input = registers(&mut Numbers(8));
    let signed = vector("nop; nop; mul.i32 D4, V0, V1; nop", &input, 0);
    let unsigned = vector("nop; nop; mul.u32 D4, V0, V1; nop", &input, 0);
    let rounded = vector("nop; nop; mul.i32 double_and_round32 V4, V0, V1; nop", &input, 0);
    for index in 0..64 {
        let (a, b) = (lane(&input[0], 4, index), lane(&input[1], 4, index));
        let product = i64::from(a as i32) * i64::from(b as i32);
        let full =
            |pair: &[Register; 2]| u64::from(lane(&pair[1], 4, index)) << 32 | u64::from(lane(&pair[0], 4, index));
        assert_eq!(full(&signed) as i64, product);
        assert_eq!(full(&unsigned), u64::from(a) * u64::from(b));
        let doubled = ((product >> 30) + 1) >> 1;
        assert_eq!(i64::from(lane(&rounded[0], 4, index) as i32), doubled.min(i64::from(i32::MAX)), "{a:#x} {b:#x}");
        assert_eq!(scalar("mul.i32 S2, S0, S1", a, b, 0, 0), product as u32);
        assert_eq!(scalar("mul.i32 upper32 S2, S0, S1", a, b, 0, 0), (product >> 32) as u32);
        assert_eq!(scalar("mul.u32 upper32 S2, S0, S1", a, b, 0, 0), ((u64::from(a) * u64::from(b)) >> 32) as u32);
    }
}

#[test]
fn sixteen_bit_products_accumulate_in_the_pair() {
    let input = registers(&mut Numbers(9));
    type Add = fn(i32, i32) -> i32;
    let forms: [(&str, Add); 4] = [
        ("", i32::wrapping_add),
        ("st", i32::saturating_add),
        ("neg", i32::wrapping_sub),
        ("st neg", i32::saturating_sub),
    ];
    for (modifier, add) in forms {
        let result = vector(&format!("nop; nop; mac.i16 {modifier} D4, V0, V1; nop"), &input, 0);
        for index in 0..128 {
            let product = i32::from(lane(&input[0], 2, index) as i16) * i32::from(lane(&input[1], 2, index) as i16);
            let old = lane(&input[4 + index % 2], 4, index / 2) as i32;
            assert_eq!(lane(&result[index % 2], 4, index / 2) as i32, add(old, product), "{modifier}");
        }
    }
}

/// NaN results are one pattern.
fn canonical(value: f32) -> u32 {
    if value.is_nan() { 0x7FC0_0000 } else { value.to_bits() }
}

#[test]
fn f32_operations_equal_native_ones() {
    let f = f32::from_bits;
    check_binary("add", "f32", 4, false, |a, b| canonical(f(a) + f(b)));
    check_binary("sub", "f32", 4, false, |a, b| canonical(f(a) - f(b)));
    check_binary("sub neg", "f32", 4, false, |a, b| canonical(-(f(a) - f(b))));
    check_binary("mul", "f32", 4, false, |a, b| canonical(f(a) * f(b)));
    check_binary("max", "f32", 4, false, |a, b| {
        canonical(if (a, b) == (0x8000_0000, 0) { 0.0 } else { largest(f(a), f(b)) })
    });
    check_binary("min", "f32", 4, false, |a, b| canonical(-largest(-f(a), -f(b))));
    check_binary("and", "f32", 4, false, |a, b| a & b);
    check_binary("xor", "f32", 4, false, |a, b| a ^ b);
    check_binary("or", "f32", 4, false, |a, b| a | b);
    check_binary("shr", "f32", 4, false, |a, b| a.checked_shr(b).unwrap_or(0));
    check_binary("shl", "f32", 4, false, |a, b| a.checked_shl(b).unwrap_or(0));
    type Holds = fn(&f32, &f32) -> bool;
    let relations: [(&str, Holds); 6] =
        [("eq", f32::eq), ("neq", f32::ne), ("less", f32::lt), ("leq", f32::le), ("grt", f32::gt), ("geq", f32::ge)];
    for (name, holds) in relations {
        check_compare(&format!("cmp_{name}"), "f32", 4, |a, b| holds(&f(a), &f(b)));
        check_select(name, "f32", 4, |a, b| holds(&f(a), &f(b)));
        let wide = |a: u32| f(a << 16);
        check_compare(&format!("cmp_{name}"), "bf16", 2, |a, b| holds(&wide(a), &wide(b)));
        check_select(name, "bf16", 2, |a, b| holds(&wide(a), &wide(b)));
    }
}

/// The larger number; a NaN loses; +0 is larger than -0.
fn largest(a: f32, b: f32) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == 0.0 && b == 0.0 => {
            if a.is_sign_positive() {
                a
            } else {
                b
            }
        }
        _ => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

#[test]
fn multiply_add_rounds_once() {
    let f = f32::from_bits;
    let mut numbers = Numbers(10);
    for _ in 0..20 {
        let input = registers(&mut numbers);
        let plus = vector("nop; nop; mac.f32 V4, V0, V1; nop", &input, 0);
        let minus = vector("nop; nop; mac.f32 neg V4, V0, V1; nop", &input, 0);
        for index in 0..64 {
            let [a, b, c] = [0, 1, 4].map(|register| lane(&input[register], 4, index));
            let expected = canonical(f(a).mul_add(f(b), f(c)));
            assert_eq!(lane(&plus[0], 4, index), expected, "{a:#x} * {b:#x} + {c:#x}");
            let expected = canonical((-f(a)).mul_add(f(b), f(c)));
            assert_eq!(lane(&minus[0], 4, index), expected, "{c:#x} - {a:#x} * {b:#x}");
        }
        let [a, b, c] = [0, 1, 4].map(|register| lane(&input[register], 4, 5));
        assert_eq!(scalar("mac.f32 S2, S0, S1", a, b, c, 0), canonical(f(a).mul_add(f(b), f(c))));
    }
}

/// Half to even on the bits of a binary32.
fn to_bf16(value: f32) -> u32 {
    let bits = u64::from(value.to_bits());
    if value.is_nan() { 0x7FC0 } else { ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u32 }
}

#[test]
fn bf16_operations_are_f32_operations_rounded() {
    let f = |a: u32| f32::from_bits(a << 16);
    check_binary("add", "bf16", 2, false, |a, b| to_bf16(f(a) + f(b)));
    check_binary("sub", "bf16", 2, false, |a, b| to_bf16(f(a) - f(b)));
    check_binary("mul", "bf16", 2, false, |a, b| to_bf16(f(a) * f(b)));
    check_binary("max", "bf16", 2, false, |a, b| to_bf16(largest(f(a), f(b))));
    check_binary("min", "bf16", 2, false, |a, b| to_bf16(-largest(-f(a), -f(b))));
    let input = registers(&mut Numbers(11));
    let narrow = vector("nop; nop; mac.bf16 V4, V0, V1; nop", &input, 0);
    for index in 0..128 {
        let [a, b, c] = [0, 1, 4].map(|register| f(lane(&input[register], 2, index)));
        assert_eq!(lane(&narrow[0], 2, index), to_bf16(a.mul_add(b, c)));
    }
}

#[test]
fn bf16_products_in_f32_fill_a_pair() {
    let f = |a: u32| f32::from_bits(a << 16);
    let input = registers(&mut Numbers(12));
    let products = vector("nop; nop; mul.bf16 acc_fp32 D4, V0, V1; nop", &input, 0);
    let sums = vector("nop; nop; mac.bf16 acc_fp32 D4, V0, V1; nop", &input, 0);
    let predicated = vector(
        "nop; nop; cmp_grt.i16 VP1, V2, 0; nop\nnop; nop; mac.bf16 neg acc_fp32 D4, V0, V1, VP1; nop",
        &input,
        0,
    );
    for index in 0..128 {
        let (half, at) = (index % 2, index / 2);
        let (a, b) = (f(lane(&input[0], 2, index)), f(lane(&input[1], 2, index)));
        let old = lane(&input[4 + half], 4, at);
        assert_eq!(lane(&products[half], 4, at), canonical(a * b));
        assert_eq!(lane(&sums[half], 4, at), canonical(a.mul_add(b, f32::from_bits(old))));
        let expected =
            if lane(&input[2], 2, index) as i16 > 0 { canonical((-a).mul_add(b, f32::from_bits(old))) } else { old };
        assert_eq!(lane(&predicated[half], 4, at), expected, "lane {index}");
    }
}

/// `mantissa * 2^-100` as FP32 in a rounding mode of ROUND_CSR, by search among the neighbours; for values of ordinary size.
fn rounded(mantissa: i128, mode: u32) -> u32 {
    let exact = |value: f32| -> i128 {
        let bits = value.to_bits();
        let magnitude = i128::from(bits & 0x7F_FFFF | 0x80_0000) << ((bits >> 23 & 0xFF) as i32 - 150 + 100);
        if value < 0.0 { -magnitude } else { magnitude }
    };
    if mantissa == 0 {
        return if mode == 3 { 0x8000_0000 } else { 0 };
    }
    // Truncation to 24 bits, then its neighbour away from zero.
    let magnitude = mantissa.unsigned_abs();
    let top = 127 - magnitude.leading_zeros() as i32;
    let fraction = (if top >= 23 { magnitude >> (top - 23) } else { magnitude << (23 - top) }) as u32 & 0x7F_FFFF;
    let sign = if mantissa < 0 { 0x8000_0000 } else { 0 };
    let inner = sign | ((top - 100 + 127) as u32) << 23 | fraction;
    if exact(f32::from_bits(inner)) == mantissa {
        return inner;
    }
    let outer = inner + 1;
    let (low, high) = if mantissa > 0 { (inner, outer) } else { (outer, inner) };
    match mode {
        1 => inner,
        2 => high,
        3 => low,
        _ => {
            let to_low = mantissa - exact(f32::from_bits(low));
            let to_high = exact(f32::from_bits(high)) - mantissa;
            if to_low != to_high {
                if to_low < to_high { low } else { high }
            } else if low & 1 == 0 {
                low
            } else {
                high
            }
        }
    }
}

#[test]
fn the_rounding_register_rules_float_arithmetic() {
    let mut numbers = Numbers(13);
    // Floats between 2^-12 and 2^12 as multiples of 2^-50: products are multiples of 2^-100 below 2^26.
    let fixed = |value: f32| (f64::from(value) * 2f64.powi(50)) as i128;
    for _ in 0..400 {
        let (a, b, c) = (numbers.float(), numbers.float(), numbers.float());
        for mode in 0..4 {
            let (x, y, z) = (a.to_bits(), b.to_bits(), c.to_bits());
            let sum = (fixed(a) + fixed(b)) << 50;
            assert_eq!(scalar("add.f32 S2, S0, S1", x, y, 0, mode), rounded(sum, mode), "{a:e} + {b:e}, {mode}");
            let difference = (fixed(a) - fixed(b)) << 50;
            assert_eq!(scalar("sub.f32 S2, S0, S1", x, y, 0, mode), rounded(difference, mode), "{a:e} - {b:e}");
            let product = fixed(a) * fixed(b);
            assert_eq!(scalar("mul.f32 S2, S0, S1", x, y, 0, mode), rounded(product, mode), "{a:e} * {b:e}, {mode}");
            let total = product + (fixed(c) << 50);
            assert_eq!(scalar("mac.f32 S2, S0, S1", x, y, z, mode), rounded(total, mode), "{a:e} * {b:e} + {c:e}");
        }
    }
}

#[test]
fn results_out_of_range_follow_the_rounding() {
    let max = f32::MAX.to_bits();
    for (mode, positive, negative) in [
        (0, f32::INFINITY, f32::NEG_INFINITY),
        (1, f32::MAX, f32::MIN),
        (2, f32::INFINITY, f32::MIN),
        (3, f32::MAX, f32::NEG_INFINITY),
    ] {
        assert_eq!(scalar("add.f32 S2, S0, S1", max, max, 0, mode), positive.to_bits());
        assert_eq!(scalar("mul.f32 S2, S0, S1", max, 2f32.to_bits() | 1 << 31, 0, mode), negative.to_bits());
        // The smallest denormal halved.
        let up = u32::from(mode == 2);
        assert_eq!(scalar("mul.f32 S2, S0, S1", 1, 0.5f32.to_bits(), 0, mode), up);
        assert_eq!(scalar("sub.f32 S2, S0, S1", max, max, 0, mode), if mode == 3 { 1 << 31 } else { 0 });
        // Zeros of different signs.
        assert_eq!(scalar("add.f32 S2, S0, S1", 0, 1 << 31, 0, mode), if mode == 3 { 1 << 31 } else { 0 });
        let one = 1f32.to_bits();
        assert_eq!(scalar("mac.f32 S2, S0, S1", 1 << 31, one, 0, mode), if mode == 3 { 1 << 31 } else { 0 });
        assert_eq!(scalar("mac.f32 S2, S0, S1", 1 << 31, one, 1 << 31, mode), 1 << 31);
    }
}

#[test]
fn conversions_round_as_they_are_told() {
    let f = f32::from_bits;
    type Integral = fn(f32) -> f32;
    let modes: [(&str, Integral); 5] = [
        ("rhne", f32::round_ties_even),
        ("rz", f32::trunc),
        ("ru", f32::ceil),
        ("rd", f32::floor),
        ("rhaz", f32::round),
    ];
    let mut input = registers(&mut Numbers(14));
    for (index, value) in
        [0.5f32, 1.5, 2.5, -0.5, -1.5, -2.5, 2147483648.0, -2147483648.0, 4294967296.0, 127.5].iter().enumerate()
    {
        input[0][4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (mode, integral) in modes {
        let integers = vector(
            &format!("nop; nop; convert.f32 V4, V0, int32, {mode}; nop\nnop; nop; nearbyint.f32 V5, V0, {mode}; nop"),
            &input,
            0,
        );
        for index in 0..64 {
            let a = f(lane(&input[0], 4, index));
            // The cast saturates and makes 0 of NaN, as the model chooses.
            assert_eq!(lane(&integers[0], 4, index) as i32, integral(a) as i32, "{a:e} {mode}");
            assert_eq!(lane(&integers[1], 4, index), canonical(integral(a)), "{a:e} {mode}");
            let single = scalar(&format!("convert.f32 S2, S0, int16, {mode}"), a.to_bits(), 0, 0, 0);
            assert_eq!(single as i32, i32::from(integral(a) as i16), "{a:e} {mode}");
            let unsigned = scalar(&format!("convert.f32 S2, S0, uint32, {mode}"), a.to_bits(), 0, 0, 0);
            assert_eq!(unsigned, integral(a) as u32);
        }
    }
    // Without a word the rounding register decides.
    assert_eq!(scalar("convert.f32 S2, S0, int32", 1.5f32.to_bits(), 0, 0, 1), 1);
    assert_eq!(scalar("convert.f32 S2, S0, int32", 1.5f32.to_bits(), 0, 0, 2), 2);
    for value in [0, 1, -1, 16_777_217, -16_777_219, i32::MAX, i32::MIN] {
        assert_eq!(scalar("convert.i32 S2, S0, fp32, rhne", value as u32, 0, 0, 0), (value as f32).to_bits());
        assert_eq!(scalar("convert.u32 S2, S0, fp32, rhne", value as u32, 0, 0, 0), (value as u32 as f32).to_bits());
    }
}

#[test]
fn conversions_between_widths_interleave_their_lanes() {
    let mut input = registers(&mut Numbers(15));
    // A pair of sources in D0.
    let result = vector("nop; nop; convert.f32 V4, D0, bf16, all_lanes, rhne; nop", &input, 0);
    for index in 0..128 {
        let source = f32::from_bits(lane(&input[index % 2], 4, index / 2));
        assert_eq!(lane(&result[0], 2, index), to_bf16(source), "{source:e}");
    }
    let predicated = "nop; nop; cmp_grt.i16 VP1, V2, 0; nop\nnop; nop; convert.bf16 D4, V0, fp32, rhne, !VP1; nop";
    let some = vector(predicated, &input, 0);
    let back = vector("nop; nop; convert.bf16 D4, V0, fp32, rhne; nop", &input, 0);
    for index in 0..128 {
        let wide = f32::from_bits(lane(&input[0], 2, index) << 16);
        assert_eq!(lane(&back[index % 2], 4, index / 2), canonical(wide));
        let kept = lane(&input[2], 2, index) as i16 > 0;
        let expected = if kept { lane(&input[4 + index % 2], 4, index / 2) } else { canonical(wide) };
        assert_eq!(lane(&some[index % 2], 4, index / 2), expected);
    }
    for (index, lane) in input[0].as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *lane = (index as f32 * 700.0 - 20_000.0).to_le_bytes();
    }
    for select in 0..2 {
        let source = format!(
            "nop; nop; convert.f32 V4, V0, int16, lane_sel={select}, rz; nop\nnop; nop; convert.f32 V5, V0, bf16, single_lane, lane_sel={select}, rhne; nop"
        );
        let one = vector(&source, &input, 0);
        for index in 0..128 {
            let value = f32::from_bits(lane(&input[0], 4, index / 2));
            let chosen = index % 2 == select;
            let (integer, float) = (u32::from(value as i16 as u16), to_bf16(value));
            assert_eq!(lane(&one[0], 2, index), if chosen { integer } else { lane(&input[4], 2, index) });
            assert_eq!(lane(&one[1], 2, index), if chosen { float } else { lane(&input[5], 2, index) });
        }
    }
}

#[test]
fn exponents_and_classes_are_read_from_the_bits() {
    for (bits, biased, class) in [
        (0xFF80_0000u32, 255, 0),
        (0xC000_0000, 128, 1),
        (0x8000_0001, 0, 2),
        (0x8000_0000, 0, 3),
        (0x0000_0000, 0, 4),
        (0x007F_FFFF, 0, 5),
        (0x3F80_0000, 127, 6),
        (0x7F80_0000, 255, 7),
        (0x7FA0_0000, 255, 8),
        (0x7FC0_0000, 255, 9),
    ] {
        assert_eq!(scalar("extract_exp.f32 biased S2, S0", bits, 0, 0, 0), biased, "{bits:#x}");
        assert_eq!(scalar("extract_exp.f32 S2, S0", bits, 0, 0, 0) as i32, biased as i32 - 127);
        assert_eq!(scalar("fclass.f32 S2, S0", bits, 0, 0, 0), 1 << class);
        assert_eq!(scalar("extract_exp.bf16 S2, S0", bits >> 16, 0, 0, 0) as i32, biased as i32 - 127);
        let input = [bits.to_le_bytes().repeat(64).try_into().unwrap(); 6];
        let result =
            vector("nop; nop; fclass.f32 V4, V0; nop\nnop; nop; extract_exp.bf16 biased V5, V0; nop", &input, 0);
        assert_eq!(lane(&result[0], 4, 63), 1 << class);
        assert_eq!(lane(&result[1], 2, 127), biased);
    }
}

#[test]
fn form_fp_num_joins_sign_exponent_and_mantissa() {
    let input = registers(&mut Numbers(16));
    for (flags, exponent, sign) in [
        ("", 0, 0),
        ("exp_add_bias", 127, 0),
        ("force_sign0", 0, 1),
        ("force_sign1", 0, 2),
        ("exp_is_num", 1000, 0),
        ("sign_lsb", 0, 3),
        ("exp_add_bias exp_is_num", 1127, 0),
    ] {
        let result = vector(&format!("nop; nop; form_fp_num.f32 {flags} V4, V0, V1, V2; nop"), &input, 0);
        let half = vector(&format!("nop; nop; form_fp_num.bf16 {flags} V4, V0, V1, V2; nop"), &input, 0);
        let expected = |a: u32, b: u32, c: u32, mantissa: u32| {
            let field = if exponent >= 1000 { a + exponent % 1000 } else { (a >> mantissa) + exponent } % 256;
            let sign = match sign {
                1 => 0,
                2 => 1,
                3 => b & 1,
                _ => b >> (mantissa + 8) & 1,
            };
            (sign << (mantissa + 8)) | (field << mantissa) | (c % (1 << mantissa))
        };
        for index in 0..128 {
            let l = |register: usize, width: usize| lane(&input[register], width, index);
            assert_eq!(lane(&half[0], 2, index), expected(l(0, 2), l(1, 2), l(2, 2), 7), "{flags}");
            if index < 64 && l(0, 4) < u32::MAX - 200 {
                assert_eq!(lane(&result[0], 4, index), expected(l(0, 4), l(1, 4), l(2, 4), 23), "{flags}");
            }
        }
    }
}

#[test]
fn elements_spread_and_pack_inside_their_dual_groups() {
    let input = registers(&mut Numbers(17));
    for (element, width) in [("bf16", 2), ("i16", 2), ("i8", 1), ("f32", 4)] {
        for group in 0..2 {
            for (stride, half) in [(2, 0), (4, 0), (4, 1)] {
                let per_group = 32 / width;
                let text = format!("unpack.{element} V4, V0, group_{group}, stride_{stride}, group_half_{half}");
                let unpacked = vector(&format!("nop; nop; {text}; nop"), &input, 0)[0];
                for index in 0..VECTOR_BYTES / width {
                    let (dual_group, at) = (index / (2 * per_group), index % (2 * per_group));
                    let first = group * per_group + if stride == 4 { half * per_group / 2 } else { 0 };
                    let expected = if at % stride == 0 {
                        lane(&input[0], width, dual_group * 2 * per_group + first + at / stride)
                    } else {
                        lane(&input[4], width, index)
                    };
                    assert_eq!(lane(&unpacked, width, index), expected, "{text} lane {index}");
                }
                if half == 0 {
                    // Packing what was unpacked gives the elements back.
                    let source = format!(
                        "nop; nop; {text}; nop\nnop; nop; pack.{element} V5, V4, group_{group}, stride_{stride}; nop"
                    );
                    let packed = vector(&source, &input, 0)[1];
                    let count = 2 * per_group / stride;
                    for index in 0..VECTOR_BYTES / width {
                        let at = index % (2 * per_group);
                        let moved = (group * per_group..group * per_group + count).contains(&at);
                        let expected = lane(&input[if moved { 0 } else { 5 }], width, index);
                        assert_eq!(lane(&packed, width, index), expected, "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn groups_and_dual_groups_move_under_their_byte_mask() {
    let input = registers(&mut Numbers(18));
    let mask = 0xA5F0_3C0Fu32;
    let selected = |byte: usize| mask >> (byte % 32) & 1 != 0;
    for (source, target, groups) in [(0, 0, 3), (1, 2, 1), (3, 0, 2), (2, 3, 0)] {
        let text = format!(
            "mov_dg V4, V0, src={source}, dst={target}, wr_lg={}, wr_ug={}, {mask:#x}",
            groups & 1,
            groups >> 1
        );
        let result = vector(&format!("nop; nop; {text}; nop"), &input, 0)[0];
        for byte in 0..256 {
            let moved = byte / 64 == target && groups >> (byte / 32 % 2) & 1 != 0 && selected(byte);
            assert_eq!(result[byte], if moved { input[0][source * 64 + byte % 64] } else { input[4][byte] }, "{text}");
        }
    }
    let text = format!("mov_dg.all V4, V0, sdg0=3, sdg1=2, sdg2=1, sdg3=1, weg0=3, weg1=0, weg2=1, weg3=2, {mask:#x}");
    let result = vector(&format!("nop; nop; {text}; nop"), &input, 0)[0];
    for byte in 0..256 {
        let enabled = [3, 0, 1, 2][byte / 64] >> (byte / 32 % 2) & 1 != 0;
        let from = [3, 2, 1, 1][byte / 64] * 64 + byte % 64;
        assert_eq!(result[byte], if enabled && selected(byte) { input[0][from] } else { input[4][byte] });
    }
    let result = vector(&format!("nop; nop; mov_g V4, V0, g_en=1, dg_en=5, {mask:#x}; nop"), &input, 0)[0];
    for byte in 0..256 {
        let moved = byte / 64 % 2 == 0 && byte / 32 % 2 == 0 && selected(byte);
        assert_eq!(result[byte], if moved { input[0][byte + 32] } else { input[4][byte] });
    }
    // A source that is its own destination is read first.
    let result = vector("nop; nop; mov_g V4, V4, g_en=3, dg_en=15, -1; nop", &input, 0)[0];
    for byte in 0..256 {
        assert_eq!(result[byte], input[4][byte ^ 32]);
    }
}

#[test]
fn shuffle_takes_elements_of_the_own_dual_group() {
    let input = registers(&mut Numbers(19));
    for (element, width) in [("i32", 4), ("bf16", 2), ("u8", 1)] {
        let result = vector(&format!("nop; nop; shuffle.{element} V4, V0, V1; nop"), &input, 0)[0];
        let per_group = 32 / width;
        for index in 0..VECTOR_BYTES / width {
            let direction = lane(&input[1], width, index) as usize;
            let dual_group = index / (2 * per_group);
            let from = dual_group * 2 * per_group + (direction >> 5 & 1) * per_group + (direction & 31) % per_group;
            let expected =
                if direction & 0x80 != 0 { lane(&input[0], width, from) } else { lane(&input[4], width, index) };
            assert_eq!(lane(&result, width, index), expected, "{element} {index}");
        }
    }
}

#[test]
fn moves_replicate_scalars_and_number_lanes() {
    let input = registers(&mut Numbers(23));
    for (text, width, expected) in [
        ("nop; nop; mov.f32 V4, 0x3f800000; nop", 4, 0x3F80_0000u32),
        ("nop; nop; mov.bf16 V4, 0x12345678; nop", 2, 0x5678),
        ("nop; nop; mov.i8 V4, 0x1ff; nop", 1, 0xFF),
        ("mov.i16 V4, 0x12345; nop; nop; nop", 2, 0x2345),
        ("nop; mov.i32 S9, 77; nop; nop\nmov.i32 V4, S9; nop; nop; nop", 4, 77),
        ("nop; mov.i32 S9, 78; nop; nop\nnop; nop; mov.i32 V4, S9; nop", 4, 78),
    ] {
        let result = vector(text, &input, 0)[0];
        assert!((0..VECTOR_BYTES / width).all(|index| lane(&result, width, index) == expected), "{text}");
    }
    for (bits, width) in [(32, 4), (16, 2), (8, 1)] {
        let result = vector(&format!("nop; nop; mov V4, LANE_ID_{bits}; nop\nmov V5, V1; nop; nop; nop"), &input, 0);
        assert!((0..VECTOR_BYTES / width).all(|index| lane(&result[0], width, index) == index as u32));
        assert_eq!(result[1], input[1]);
    }
}

#[test]
fn vector_predicates_combine_and_load_from_scalars() {
    let input = registers(&mut Numbers(24));
    let prepare = "nop; nop; cmp_grt.i32 VP1, V0, 0; nop\nnop; nop; cmp_grt.i32 VP2, V1, 0; nop\n";
    let positive = |register: usize, index: usize| lane(&input[register], 4, index) as i32 > 0;
    type Logic = fn(bool, bool) -> bool;
    let operations: [(&str, Logic); 4] = [
        ("and.b VP3, VP1, VP2", |a, b| a & b),
        ("or.b VP3, VP1, VP2", |a, b| a | b),
        ("xor.b VP3, VP1, VP2", |a, b| a ^ b),
        ("not.b VP3, VP1", |a, _| !a),
    ];
    for (text, logic) in operations {
        let source = format!("{prepare}nop; nop; {text}; nop\nnop; nop; mov.i32 V4, V2, VP3; nop");
        let result = vector(&source, &input, 0)[0];
        for index in 0..64 {
            let register = if logic(positive(0, index), positive(1, index)) { 2 } else { 4 };
            assert_eq!(lane(&result, 4, index), lane(&input[register], 4, index), "{text}");
        }
    }
    for (moves, first, last) in [
        ("nop; mov SP1, 1; nop; nop\nnop; nop; mov VP3, SP1; nop", 0, 64),
        ("nop; mov SP1, 1; nop; nop\nmov VP3, SP1; nop; nop; nop", 0, 64),
        ("nop; nop; mov VP3, -1, section=2; nop", 16, 24),
        ("mov VP3, -1, section=7; nop; nop; nop", 56, 64),
        ("nop; nop; mov VP3, -1, section=8; nop", 0, 64),
        ("nop; nop; mov VP3, 0xf0, section=0; nop", 1, 2),
    ] {
        let result = vector(&format!("{moves}\nnop; nop; mov.i32 V4, V2, VP3; nop"), &input, 0)[0];
        for index in 0..64 {
            let register = if (first..last).contains(&index) { 2 } else { 4 };
            assert_eq!(lane(&result, 4, index), lane(&input[register], 4, index), "{moves} {index}");
        }
    }
}

/// The division of `tpc.md` 14.3, written from its description, gives the column of the fused multiply-add.
#[test]
fn the_division_of_the_document_gives_its_reference_values() {
    let rows: [[u32; 3]; 8] = [
        [0x3F80_0000, 0x4000_0000, 0x3F00_0000],
        [0x3F80_0000, 0x4040_0000, 0x3EAA_AAAA],
        [0x4120_0000, 0x4080_0000, 0x4020_0000],
        [0x3F80_0000, 0x3DCC_CCCD, 0x4120_0000],
        [0x41B0_0000, 0x40E0_0000, 0x4049_2492],
        [0xC0D0_0000, 0x3FC0_0000, 0xC08A_AAAA],
        [0x4040_0000, 0xB727_C5AC, 0xC892_7C00],
        [0x40A0_0000, 0x3FFF_FFFF, 0x4020_0000],
    ];
    let mut input = [[0; VECTOR_BYTES]; 6];
    for (index, row) in rows.iter().enumerate() {
        input[0][4 * index..4 * index + 4].copy_from_slice(&row[0].to_le_bytes());
        input[1][4 * index..4 * index + 4].copy_from_slice(&row[1].to_le_bytes());
    }
    let word = |value: f32| format!("{:#x}", value.to_bits());
    let newton = format!("mov.f32 V13, {}\nmac.f32 neg V13, V10, V12\nmul.f32 V12, V12, V13\n", word(2.0));
    let operations = format!(
        "form_fp_num.f32 force_sign0 exp_is_num V10, 0x7e, V1, V1\n\
         mov.f32 V11, {}\nmac.f32 V11, V10, {}\nmov.f32 V12, {}\nmac.f32 V12, V10, V11\n{newton}{newton}\
         shr.i32 V14, V1, 23\nand.i32 V14, V14, 0xff\nshr.i32 V15, V12, 23\nsub.i32 V15, V15, V14\n\
         add.i32 V15, V15, 126\nform_fp_num.f32 exp_is_num V16, V15, V1, V12\nmul.f32 V4, V0, V16",
        word(-5.81818),
        word(2.58586),
        word(4.24242),
    );
    let source: Vec<String> = operations.lines().map(|operation| format!("nop; nop; {operation}; nop")).collect();
    let result = vector(&source.join("\n"), &input, 0)[0];
    for (index, [x, y, quotient]) in rows.into_iter().enumerate() {
        assert_eq!(lane(&result, 4, index), quotient, "{x:#x} / {y:#x}: {:#x}", lane(&result, 4, index));
    }
}
