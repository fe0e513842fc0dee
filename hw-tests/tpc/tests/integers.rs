//! Every integer operation of both units against the host's own integers, written per type.
//!
//! Nothing of the simulator is used for the expected values.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::Numbers;
use common::lanes::{Register, check_binary, check_compare, check_select, lane, registers, scalar, vector};
use coxswain_tpc::sim::VECTOR_BYTES;

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
