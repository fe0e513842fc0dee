//! Float arithmetic of both units against the host's own floats and, for other roundings, exact integers.
//!
//! Nothing of the simulator is used for the expected values.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::Numbers;
use common::lanes::{canonical, check_binary, check_compare, check_select, lane, registers, scalar, to_bf16, vector};
use coxswain_tpc::sim::VECTOR_BYTES;

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
