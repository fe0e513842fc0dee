//! Arithmetic on single elements, shared by the scalar and the vector unit (`tpc.md` 9.1).
//!
//! Elements are raw bits in the low part of a `u32`. Nothing here knows registers or lanes.

mod float;
mod integer;
pub(super) mod wide;

pub(super) use float::{Rounding, RoundingMode};

use crate::operand::ElementType;

/// An operation of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add {
        saturate: bool,
    },
    Sub {
        saturate: bool,
        negate: bool,
    },
    /// Integers: the low half of the product.
    Mul,
    /// The high half of the product; integers only.
    MulUpper,
    Max,
    Min,
    And,
    Or,
    Xor,
    /// Left; by unsigned amounts.
    ShiftLeft,
    /// Right, filled with zeros; by unsigned amounts.
    ShiftRight,
    /// Left with saturation by positive, arithmetic right by negative amounts; rounds half up on demand. Integers only.
    ShiftArithmetic {
        round: bool,
    },
}

/// A comparison of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// No bit is set in both.
    MaskIsZero,
}

/// An operation of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Abs,
    /// Bits equal to this; a count.
    Count {
        ones: bool,
    },
    /// Position of the first bit equal to this.
    FindFirst {
        one: bool,
        from_top: bool,
    },
    /// Bits in reverse order.
    Reverse,
    /// The exponent; floats only.
    Exponent {
        biased: bool,
    },
    /// The class mask; floats only.
    Classify,
}

/// `a` and `b` combined. `rounding` matters for float arithmetic only.
#[inline(always)]
pub(super) fn binary(operation: Binary, element: ElementType, a: u32, b: u32, rounding: Rounding) -> u32 {
    match operation {
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::ShiftLeft => integer::shift_left(element, a, b),
        Binary::ShiftRight => integer::shift_right(element, a, b),
        _ => match element {
            ElementType::F32 | ElementType::Bf16 => float::binary(operation, element, a, b, rounding),
            _ => integer::binary(operation, element, a, b),
        },
    }
}

/// Whether `a` and `b` stand in this relation.
#[inline(always)]
pub(super) fn compare(operation: Compare, element: ElementType, a: u32, b: u32) -> bool {
    if operation == Compare::MaskIsZero {
        return a & b == 0;
    }
    match element {
        ElementType::F32 | ElementType::Bf16 => relation(operation, float::widen(element, a), float::widen(element, b)),
        _ => relation(operation, integer::value(element, a), integer::value(element, b)),
    }
}

/// NaN is in no relation but "not equal".
#[inline(always)]
fn relation<T: PartialOrd>(operation: Compare, a: T, b: T) -> bool {
    match operation {
        Compare::Equal | Compare::MaskIsZero => a == b,
        Compare::NotEqual => a != b,
        Compare::Less => a < b,
        Compare::LessOrEqual => a <= b,
        Compare::Greater => a > b,
        Compare::GreaterOrEqual => a >= b,
    }
}

/// The operation of `a`; the result has the width of the element.
pub(super) fn unary(operation: Unary, element: ElementType, a: u32) -> u32 {
    match operation {
        Unary::Not => !a & integer::mask(element),
        Unary::Abs => match element {
            ElementType::F32 | ElementType::Bf16 => a & (integer::mask(element) >> 1),
            _ => integer::absolute(element, a),
        },
        Unary::Count { ones } => {
            let counted = if ones { a } else { !a };
            (counted & integer::mask(element)).count_ones()
        }
        Unary::FindFirst { one, from_top } => integer::find_first(element, a, one, from_top),
        Unary::Reverse => a.reverse_bits() >> (32 - element.bits()),
        Unary::Exponent { biased } => float::exponent(element, a, biased),
        Unary::Classify => float::classify(element, a),
    }
}

/// `accumulator + a * b`, or minus the product, with one rounding; floats only.
pub(super) fn multiply_add(
    element: ElementType,
    accumulator: u32,
    a: u32,
    b: u32,
    negate: bool,
    rounding: Rounding,
) -> u32 {
    let product_of = |a: u32| if negate { a ^ (1 << (element.bits() - 1)) } else { a };
    float::multiply_add(element, product_of(a), b, accumulator, rounding)
}

/// `accumulator + a * b` of BF16 factors and an FP32 accumulator.
pub(super) fn multiply_add_wide(accumulator: u32, a: u32, b: u32, negate: bool, rounding: Rounding) -> u32 {
    multiply_add(ElementType::F32, accumulator, a << 16, b << 16, negate, rounding)
}

/// Rounds a float to an integral value of the same type.
pub(super) fn nearby_integer(element: ElementType, a: u32, rounding: Rounding) -> u32 {
    float::nearby_integer(element, a, rounding)
}

/// Converts an element. Out of range saturates, NaN becomes 0 as an integer (`tpc.md` 9.3).
#[inline(always)]
pub(super) fn convert(from: ElementType, to: ElementType, a: u32, rounding: Rounding) -> u32 {
    float::convert(from, to, a, rounding)
}

/// The two's complement or zero-extended value of an element in 32 bits.
///
/// Chosen: what a scalar register holds after an operation of a narrow type.
pub(super) fn extend(element: ElementType, a: u32) -> u32 {
    match element {
        ElementType::I8 | ElementType::I16 => integer::value(element, a) as u32,
        _ => a & integer::mask(element),
    }
}

/// Twice the signed product, its high half rounded half up, saturated.
pub(super) fn multiply_double_round(a: u32, b: u32) -> u32 {
    let doubled = 2 * i128::from(a as i32) * i128::from(b as i32);
    let rounded = (doubled + (1 << 31)) >> 32;
    rounded.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as u32
}
