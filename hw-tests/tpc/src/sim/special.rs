//! CALC_FP_SPECIAL: results that follow from the classes of the operands alone (`tpc.md` 9.4).
//!
//! The operands are class masks as FCLASS gives them. The document says which functions there are, that lanes of other than special
//! classes keep the destination, and that results follow the conventions of IEEE 754. Chosen: a lane is replaced exactly when these
//! conventions give one result for all values of its classes; a mask that does not have exactly one bit replaces nothing. So a
//! denormal operand of a reciprocal keeps the destination: denormals are numbers in this model.

/// Class of an operand; the discriminants are the bits of its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    NegativeInfinity,
    NegativeNumber,
    NegativeZero,
    PositiveZero,
    PositiveNumber,
    PositiveInfinity,
    Nan,
}

use Class::{NegativeInfinity, NegativeNumber, NegativeZero, PositiveInfinity, PositiveNumber, PositiveZero};

impl Class {
    /// The class of a mask with one bit; normal and denormal numbers are one.
    fn of(mask: u32) -> Option<Self> {
        Some(match mask {
            0x001 => NegativeInfinity,
            0x002 | 0x004 => NegativeNumber,
            0x008 => NegativeZero,
            0x010 => PositiveZero,
            0x020 | 0x040 => PositiveNumber,
            0x080 => PositiveInfinity,
            0x100 | 0x200 => Self::Nan,
            _ => return None,
        })
    }

    fn is_negative(self) -> bool {
        matches!(self, NegativeInfinity | NegativeNumber | NegativeZero)
    }

    fn is_zero(self) -> bool {
        matches!(self, NegativeZero | PositiveZero)
    }

    fn is_infinite(self) -> bool {
        matches!(self, NegativeInfinity | PositiveInfinity)
    }

    fn is_number(self) -> bool {
        matches!(self, NegativeNumber | PositiveNumber)
    }
}

/// The result of function `code` (SPECIAL_FUNC, 0..8) for operands of these class masks; `None` keeps the destination.
pub(super) fn result(code: u16, a: u32, b: u32) -> Option<f32> {
    let x = Class::of(a)?;
    match code {
        6 => return quotient(x, Class::of(b)?),
        7 => return power(x, Class::of(b)?),
        _ => {}
    }
    if x == Class::Nan {
        return Some(f32::NAN);
    }
    match code {
        // Reciprocal.
        0 => quotient(PositiveNumber, x),
        // Reciprocal square root.
        1 => match x {
            NegativeZero => Some(f32::NEG_INFINITY),
            PositiveZero => Some(f32::INFINITY),
            PositiveInfinity => Some(0.0),
            PositiveNumber => None,
            _ => Some(f32::NAN),
        },
        // Square root.
        2 => match x {
            NegativeZero => Some(-0.0),
            PositiveZero => Some(0.0),
            PositiveInfinity => Some(f32::INFINITY),
            PositiveNumber => None,
            _ => Some(f32::NAN),
        },
        // Logarithm.
        3 => match x {
            NegativeZero | PositiveZero => Some(f32::NEG_INFINITY),
            PositiveInfinity => Some(f32::INFINITY),
            PositiveNumber => None,
            _ => Some(f32::NAN),
        },
        // Exponential function.
        4 => match x {
            NegativeInfinity => Some(0.0),
            NegativeZero | PositiveZero => Some(1.0),
            PositiveInfinity => Some(f32::INFINITY),
            _ => None,
        },
        // Hyperbolic tangent.
        _ => match x {
            NegativeInfinity => Some(-1.0),
            NegativeZero => Some(-0.0),
            PositiveZero => Some(0.0),
            PositiveInfinity => Some(1.0),
            _ => None,
        },
    }
}

fn quotient(x: Class, y: Class) -> Option<f32> {
    let magnitude = match (x, y) {
        (Class::Nan, _) | (_, Class::Nan) => return Some(f32::NAN),
        _ if x.is_number() && y.is_number() => return None,
        _ if x.is_infinite() && y.is_infinite() || x.is_zero() && y.is_zero() => return Some(f32::NAN),
        _ if x.is_infinite() || y.is_zero() => f32::INFINITY,
        _ => 0.0,
    };
    Some(if x.is_negative() == y.is_negative() { magnitude } else { -magnitude })
}

fn power(x: Class, y: Class) -> Option<f32> {
    if y.is_zero() {
        return Some(1.0);
    }
    match (x, y) {
        (Class::Nan, _) => Some(f32::NAN),
        // 1 to the power of NaN is 1.
        (PositiveNumber, Class::Nan) => None,
        (_, Class::Nan) => Some(f32::NAN),
        // Whether the base is above or below 1 decides.
        _ if x.is_number() && y.is_infinite() => None,
        _ if x.is_number() => None,
        // An odd integer as the exponent would give the sign of the base.
        _ if x.is_negative() && y.is_number() => None,
        _ => Some(if x.is_zero() == y.is_negative() { f32::INFINITY } else { 0.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of each class, in the order of the mask bits.
    const VALUES: [&[f32]; 10] = [
        &[f32::NEG_INFINITY],
        &[-1.0, -0.5, -3.0, -2.5, f32::MIN],
        &[-1e-40, -3e-42],
        &[-0.0],
        &[0.0],
        &[1e-40, 3e-42],
        &[1.0, 0.5, 2.5, 3.0, f32::MAX],
        &[f32::INFINITY],
        &[f32::NAN],
        &[f32::NAN],
    ];

    fn host(code: u16, x: f32, y: f32) -> f32 {
        match code {
            0 => 1.0 / x,
            // The sign of a zero is kept by IEEE 754, and lost by a division after the root.
            1 if x == 0.0 => 1.0 / x,
            1 => 1.0 / x.sqrt(),
            2 => x.sqrt(),
            3 => x.ln(),
            4 => x.exp(),
            5 => x.tanh(),
            6 => x / y,
            _ => x.powf(y),
        }
    }

    #[test]
    fn every_result_is_the_host_s_for_all_values_of_the_classes() {
        for code in 0..8 {
            for (a, xs) in VALUES.iter().enumerate() {
                for (b, ys) in VALUES.iter().enumerate() {
                    let Some(result) = result(code, 1 << a, 1 << b) else { continue };
                    for (x, y) in xs.iter().flat_map(|x| ys.iter().map(move |y| (*x, *y))) {
                        let right = host(code, x, y);
                        let same = result.to_bits() == right.to_bits() || result.is_nan() && right.is_nan();
                        assert!(same, "function {code} of {x}, {y}: {result} instead of {right}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_lane_is_left_alone_only_when_its_classes_do_not_decide() {
        for code in 0..8 {
            for (a, xs) in VALUES.iter().enumerate() {
                for (b, ys) in VALUES.iter().enumerate() {
                    if result(code, 1 << a, 1 << b).is_some() {
                        continue;
                    }
                    let numbers = |class: usize| matches!(class, 1 | 2 | 5 | 6);
                    assert!(numbers(a) || code >= 6 && numbers(b), "function {code} of {xs:?}, {ys:?}");
                }
            }
        }
        assert_eq!(result(0, 0, 0), None);
        assert_eq!(result(0, 0x18, 0), None, "two classes");
    }
}
