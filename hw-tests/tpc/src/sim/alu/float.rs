//! FP32 and BF16 with selectable rounding (`tpc.md` 9.1, 9.3).
//!
//! Every result is the exact one rounded once. It is computed in binary64 "rounded to odd", which keeps the information that the
//! last rounding needs, and then rounded to the target. BF16 arithmetic is FP32 arithmetic rounded to BF16 afterwards, as the
//! document infers for the hardware. Chosen: denormals are kept; every NaN result is the quiet NaN without payload.

use super::{Binary, integer};
use crate::operand::ElementType;

/// Rounding modes, without the indirect one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum RoundingMode {
    NearestEven,
    Zero,
    Up,
    Down,
    NearestAway,
}

/// How to round.
pub(in crate::sim) type Rounding = RoundingMode;

const NAN: u32 = 0x7FC0_0000;

/// The FP32 value of a raw element; exact.
#[inline(always)]
pub(super) fn widen(element: ElementType, raw: u32) -> f32 {
    match element {
        ElementType::Bf16 => f32::from_bits(raw << 16),
        _ => f32::from_bits(raw),
    }
}

/// An FP32 result as raw element.
#[inline(always)]
fn narrow(element: ElementType, value: f32, rounding: Rounding) -> u32 {
    let value = if value.is_nan() { f32::from_bits(NAN) } else { value };
    match element {
        // Half to even on the bits: the exponents are the same, so the carry does the rest.
        ElementType::Bf16 if rounding == RoundingMode::NearestEven => {
            let bits = value.to_bits();
            (bits.wrapping_add(0x7FFF + (bits >> 16 & 1))) >> 16
        }
        ElementType::Bf16 => round(f64::from(value), 8, rounding).to_bits() >> 16,
        _ => value.to_bits(),
    }
}

#[inline(always)]
pub(super) fn binary(operation: Binary, element: ElementType, a: u32, b: u32, rounding: Rounding) -> u32 {
    let (x, y) = (widen(element, a), widen(element, b));
    let result = match operation {
        Binary::Add { .. } => add(x, y, rounding),
        Binary::Sub { negate: false, .. } => add(x, -y, rounding),
        // The negated difference, rounded as the difference is.
        Binary::Sub { negate: true, .. } => -add(x, -y, rounding),
        // The host rounds to nearest even itself.
        Binary::Mul if rounding == RoundingMode::NearestEven => x * y,
        Binary::Mul => round(f64::from(x) * f64::from(y), 24, rounding),
        Binary::Max => select(x, y, |x, y| x > y),
        Binary::Min => select(x, y, |x, y| x < y),
        // The table of forms admits no other operation with a float type.
        _ => f32::from_bits(NAN),
    };
    narrow(element, result, rounding)
}

/// Chosen: a NaN loses against a number, and -0 is smaller than +0.
#[inline(always)]
fn select(x: f32, y: f32, better: impl Fn(f32, f32) -> bool) -> f32 {
    if x.is_nan() {
        return y;
    }
    if y.is_nan() {
        return x;
    }
    if x == y {
        let signed = |value: f32| if value.is_sign_negative() { -1.0 } else { 1.0 };
        return if better(signed(x), signed(y)) { x } else { y };
    }
    if better(x, y) { x } else { y }
}

#[inline(always)]
fn add(x: f32, y: f32, rounding: Rounding) -> f32 {
    if rounding == RoundingMode::NearestEven {
        return x + y;
    }
    sum(f64::from(x), f64::from(y), rounding)
}

/// `x + y`, both exact in binary64, rounded once to FP32.
fn sum(x: f64, y: f64, rounding: Rounding) -> f32 {
    let rounded = x + y;
    if rounded == 0.0 && x == -y && x != 0.0 {
        // An exact cancellation is -0 when rounding down.
        return if rounding == RoundingMode::Down { -0.0 } else { 0.0 };
    }
    if rounded == 0.0 && x.is_sign_negative() != y.is_sign_negative() {
        return if rounding == RoundingMode::Down { -0.0 } else { 0.0 };
    }
    round(to_odd(rounded, x, y), 24, rounding)
}

/// Makes the last bit of an inexact binary64 sum odd.
fn to_odd(rounded: f64, x: f64, y: f64) -> f64 {
    if !rounded.is_finite() || rounded.to_bits() & 1 != 0 {
        return rounded;
    }
    // The exact error of the sum.
    let virtual_y = rounded - x;
    let error = (x - (rounded - virtual_y)) + (y - virtual_y);
    if error == 0.0 {
        return rounded;
    }
    let away_from_zero = (error > 0.0) == (rounded > 0.0);
    let bits = rounded.to_bits();
    f64::from_bits(if away_from_zero { bits + 1 } else { bits - 1 })
}

/// `a * b + accumulator`, rounded once to FP32, then to the element.
pub(super) fn multiply_add(element: ElementType, a: u32, b: u32, accumulator: u32, rounding: Rounding) -> u32 {
    let product = f64::from(widen(element, a)) * f64::from(widen(element, b));
    narrow(element, sum(product, f64::from(widen(element, accumulator)), rounding), rounding)
}

/// The same, to nearest even, by the host: quick where the host has the instruction, and very slow elsewhere.
#[inline(always)]
pub(super) fn fused(element: ElementType, a: u32, b: u32, accumulator: u32) -> u32 {
    let (a, b, accumulator) = (widen(element, a), widen(element, b), widen(element, accumulator));
    narrow(element, a.mul_add(b, accumulator), RoundingMode::NearestEven)
}

/// Rounds to a format with `precision` significant bits (24: FP32, 8: BF16) and the exponents of FP32.
fn round(value: f64, precision: i32, rounding: Rounding) -> f32 {
    if value.is_nan() {
        return f32::from_bits(NAN);
    }
    if value == 0.0 || value.is_infinite() {
        return value as f32;
    }
    // No finite value that comes here is subnormal in binary64: the smallest product is 2^-298.
    let exponent = ((value.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    let quantum = exponent.max(-126) - (precision - 1);
    let rounded = to_integral(value * power_of_two(-quantum), rounding) * power_of_two(quantum);
    let largest = (2.0 - power_of_two(1 - precision)) * power_of_two(127);
    if rounded.abs() > largest {
        let to_infinity = match rounding {
            RoundingMode::NearestEven | RoundingMode::NearestAway => true,
            RoundingMode::Zero => false,
            RoundingMode::Up => value > 0.0,
            RoundingMode::Down => value < 0.0,
        };
        let magnitude = if to_infinity { f32::INFINITY } else { largest as f32 };
        return magnitude.copysign(value as f32);
    }
    // Exact: the value has at most `precision` bits on a quantum that FP32 has.
    rounded as f32
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

fn to_integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        RoundingMode::NearestEven => value.round_ties_even(),
        RoundingMode::Zero => value.trunc(),
        RoundingMode::Up => value.ceil(),
        RoundingMode::Down => value.floor(),
        RoundingMode::NearestAway => value.round(),
    }
}

pub(super) fn nearby_integer(element: ElementType, a: u32, rounding: Rounding) -> u32 {
    let value = f64::from(widen(element, a));
    // Exact: FP32 and BF16 hold every integral neighbour of their own values.
    narrow(element, to_integral(value, rounding) as f32, RoundingMode::NearestEven)
}

#[inline(always)]
pub(super) fn convert(from: ElementType, to: ElementType, a: u32, rounding: Rounding) -> u32 {
    let value = match from {
        ElementType::F32 | ElementType::Bf16 => f64::from(widen(from, a)),
        // 32 bits are exact in binary64.
        _ => integer::value(from, a) as f64,
    };
    match to {
        // The casts are exact or round to nearest even, and those to integers saturate.
        ElementType::F32 if rounding == RoundingMode::NearestEven && !value.is_nan() => (value as f32).to_bits(),
        ElementType::I32 if rounding == RoundingMode::NearestEven => value.round_ties_even() as i32 as u32,
        ElementType::F32 => round(value, 24, rounding).to_bits(),
        ElementType::Bf16 => round(value, 8, rounding).to_bits() >> 16,
        _ if value.is_nan() => 0,
        // The cast saturates at the ends of i128, far outside of every element.
        _ => integer::saturated(to, to_integral(value, rounding) as i128),
    }
}

/// Mantissa bits of the element.
const fn mantissa_bits(element: ElementType) -> u32 {
    match element {
        ElementType::Bf16 => 7,
        _ => 23,
    }
}

/// Chosen: the exponent field as it is, without regard to denormals, zero, infinity and NaN.
pub(super) fn exponent(element: ElementType, raw: u32, biased: bool) -> u32 {
    let field = raw >> mantissa_bits(element) & 0xFF;
    if biased { field } else { field.wrapping_sub(127) & integer::mask(element) }
}

/// The class mask: one of bits 0-9.
pub(super) fn classify(element: ElementType, raw: u32) -> u32 {
    let raw = raw & integer::mask(element);
    let mantissa_bits = mantissa_bits(element);
    let mantissa = raw & ((1 << mantissa_bits) - 1);
    let exponent = raw >> mantissa_bits & 0xFF;
    let negative = raw >> (mantissa_bits + 8) != 0;
    let quiet = mantissa >> (mantissa_bits - 1) != 0;
    let class = match (exponent, mantissa) {
        (0xFF, 0) => {
            if negative {
                0
            } else {
                7
            }
        }
        (0xFF, _) => {
            if quiet {
                9
            } else {
                8
            }
        }
        (0, 0) => {
            if negative {
                3
            } else {
                4
            }
        }
        (0, _) => {
            if negative {
                2
            } else {
                5
            }
        }
        _ => {
            if negative {
                1
            } else {
                6
            }
        }
    };
    1 << class
}
