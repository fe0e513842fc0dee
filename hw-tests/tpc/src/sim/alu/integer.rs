//! Integer elements of 8, 16 and 32 bits.

use super::Binary;
use crate::operand::ElementType;

/// The bits of an element.
pub(super) const fn mask(element: ElementType) -> u32 {
    u32::MAX >> (32 - element.bits())
}

const fn is_signed(element: ElementType) -> bool {
    matches!(element, ElementType::I32 | ElementType::I16 | ElementType::I8)
}

/// The number that the low bits of `raw` mean.
pub(super) const fn value(element: ElementType, raw: u32) -> i64 {
    let raw = raw & mask(element);
    if is_signed(element) {
        let unused = 32 - element.bits();
        (((raw << unused) as i32) >> unused) as i64
    } else {
        raw as i64
    }
}

/// Smallest and largest value.
pub(super) const fn range(element: ElementType) -> (i128, i128) {
    let bits = element.bits();
    if is_signed(element) { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// The nearest value of the type, as bits.
#[inline(always)]
pub(super) fn saturated(element: ElementType, value: i128) -> u32 {
    let (low, high) = range(element);
    value.clamp(low, high) as u32 & mask(element)
}

#[inline(always)]
pub(super) fn binary(operation: Binary, element: ElementType, a: u32, b: u32) -> u32 {
    let (x, y) = (i128::from(value(element, a)), i128::from(value(element, b)));
    let (result, saturate) = match operation {
        Binary::Add { saturate } => (x + y, saturate),
        Binary::Sub { saturate, negate } => (if negate { y - x } else { x - y }, saturate),
        Binary::Mul => (x * y, false),
        Binary::MulUpper => ((x * y) >> element.bits(), false),
        Binary::Max => (x.max(y), false),
        Binary::Min => (x.min(y), false),
        Binary::ShiftArithmetic { round } => (shift_arithmetic(element, x, b, round), true),
        // The bitwise operations do not come here.
        Binary::And | Binary::Or | Binary::Xor | Binary::ShiftLeft | Binary::ShiftRight => (x, false),
    };
    if saturate { saturated(element, result) } else { result as u32 & mask(element) }
}

/// The amount is signed in the width of the element; 64 and more behave like 64.
fn shift_arithmetic(element: ElementType, x: i128, amount: u32, round: bool) -> i128 {
    let unused = 32 - element.bits();
    let amount = ((amount << unused) as i32) >> unused;
    let bits = amount.unsigned_abs().min(64);
    if amount >= 0 {
        return x << bits;
    }
    let half = if round { 1 << (bits - 1) } else { 0 };
    (x + half) >> bits
}

/// Chosen: an amount of the element's width or more gives 0.
#[inline(always)]
pub(super) fn shift_left(element: ElementType, a: u32, amount: u32) -> u32 {
    let amount = amount & mask(element);
    if amount >= element.bits() { 0 } else { (a << amount) & mask(element) }
}

/// Chosen: an amount of the element's width or more gives 0.
#[inline(always)]
pub(super) fn shift_right(element: ElementType, a: u32, amount: u32) -> u32 {
    let amount = amount & mask(element);
    if amount >= element.bits() { 0 } else { (a & mask(element)) >> amount }
}

/// Chosen: the magnitude of the smallest value saturates (the hardware has a cause bit for that overflow).
pub(super) fn absolute(element: ElementType, a: u32) -> u32 {
    saturated(element, i128::from(value(element, a)).abs())
}

/// Chosen: bits are counted from the end where the search starts; without a match the result is the number of bits.
pub(super) fn find_first(element: ElementType, a: u32, one: bool, from_top: bool) -> u32 {
    let wanted = if one { a } else { !a } & mask(element);
    let from_bottom = wanted.trailing_zeros();
    let position = if from_top { wanted.leading_zeros() - (32 - element.bits()) } else { from_bottom };
    position.min(element.bits())
}
