//! Whole vectors: the operations of single elements, compiled for each operation and type into a loop over the lanes.
//!
//! For: speed. The meaning stays in the functions for single elements, which are inlined here with operation, type and rounding as
//! constants, so that the compiler can use the host's vector unit; on an x86-64 host with AVX2 and FMA a second copy uses those.
//! What is not listed, such as other roundings than to nearest even, goes lane by lane through the same functions.

use super::{Binary, Compare, RoundingMode};
use crate::operand::ElementType as E;
use crate::sim::vector::{ByteMask, Vector, lane_bytes};

const NEAREST: RoundingMode = RoundingMode::NearestEven;

/// Makes a function that runs the body with the best unit that the host has; `FUSED` tells the body whether it has fused
/// multiply-add.
macro_rules! on_best_unit {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty = $body:ident) => {
        $(#[$doc])*
        pub(in crate::sim) fn $name($($argument: $kind),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn with_avx2($($argument: $kind),*) -> $result {
                    $body::<true>($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the two features that the function is compiled for were just found in this processor.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            $body::<false>($($argument),*)
        }
    };
}

on_best_unit! {
    /// The lanes of `a` and `b` combined.
    fn binary(operation: Binary, element: E, a: &Vector, b: &Vector, rounding: RoundingMode) -> Vector = binary_lanes
}
on_best_unit! {
    /// `accumulator + a * b` or minus the product in every lane, with one rounding; floats only.
    fn multiply_add(
        element: E, accumulator: &Vector, a: &Vector, b: &Vector, negate: bool, rounding: RoundingMode
    ) -> Vector = multiply_add_lanes
}
on_best_unit! {
    /// The bytes of the lanes in which the comparison holds.
    fn compare(operation: Compare, element: E, a: &Vector, b: &Vector) -> ByteMask = compare_lanes
}
on_best_unit! {
    /// The lanes of `yes` where the comparison of `a` and `b` holds, the others of `no`.
    fn select(operation: Compare, element: E, a: &Vector, b: &Vector, yes: &Vector, no: &Vector) -> Vector = select_lanes
}
on_best_unit! {
    /// Every lane converted to a type of the same width, or rounded to an integral value.
    fn convert(from: E, to: E, a: &Vector, rounding: RoundingMode) -> Vector = convert_lanes
}

#[inline(always)]
fn binary_lanes<const FUSED: bool>(
    operation: Binary,
    element: E,
    a: &Vector,
    b: &Vector,
    rounding: RoundingMode,
) -> Vector {
    macro_rules! lanes {
        ($operation:expr, $element:expr, $width:literal) => {
            Vector::from_lanes($width, |lane| {
                super::binary($operation, $element, a.lane($width, lane), b.lane($width, lane), NEAREST)
            })
        };
    }
    macro_rules! types {
        ($operation:expr) => {
            match element {
                E::F32 if rounding == NEAREST => return lanes!($operation, E::F32, 4),
                E::Bf16 if rounding == NEAREST => return lanes!($operation, E::Bf16, 2),
                E::I32 => return lanes!($operation, E::I32, 4),
                E::U32 => return lanes!($operation, E::U32, 4),
                E::I16 => return lanes!($operation, E::I16, 2),
                E::U16 => return lanes!($operation, E::U16, 2),
                E::I8 => return lanes!($operation, E::I8, 1),
                E::U8 => return lanes!($operation, E::U8, 1),
                _ => {}
            }
        };
    }
    let width = lane_bytes(element);
    match operation {
        Binary::And => return lanes!(Binary::And, E::U32, 4),
        Binary::Or => return lanes!(Binary::Or, E::U32, 4),
        Binary::Xor => return lanes!(Binary::Xor, E::U32, 4),
        Binary::ShiftLeft if width == 4 => return lanes!(Binary::ShiftLeft, E::U32, 4),
        Binary::ShiftRight if width == 4 => return lanes!(Binary::ShiftRight, E::U32, 4),
        Binary::Add { saturate: false } => types!(Binary::Add { saturate: false }),
        Binary::Sub { saturate: false, negate: false } => types!(Binary::Sub { saturate: false, negate: false }),
        Binary::Mul => types!(Binary::Mul),
        Binary::Max => types!(Binary::Max),
        Binary::Min => types!(Binary::Min),
        _ => {}
    }
    Vector::from_lanes(width, |lane| {
        super::binary(operation, element, a.lane(width, lane), b.lane(width, lane), rounding)
    })
}

#[inline(always)]
fn multiply_add_lanes<const FUSED: bool>(
    element: E,
    accumulator: &Vector,
    a: &Vector,
    b: &Vector,
    negate: bool,
    rounding: RoundingMode,
) -> Vector {
    macro_rules! fused {
        ($element:expr, $width:literal) => {{
            let sign = if negate { 1 << ($element.bits() - 1) } else { 0 };
            Vector::from_lanes($width, |lane| {
                let (a, b) = (a.lane($width, lane) ^ sign, b.lane($width, lane));
                super::float::fused($element, a, b, accumulator.lane($width, lane))
            })
        }};
    }
    match element {
        E::F32 if FUSED && rounding == NEAREST => fused!(E::F32, 4),
        E::Bf16 if FUSED && rounding == NEAREST => fused!(E::Bf16, 2),
        _ => {
            let width = lane_bytes(element);
            Vector::from_lanes(width, |lane| {
                let (a, b) = (a.lane(width, lane), b.lane(width, lane));
                super::multiply_add(element, accumulator.lane(width, lane), a, b, negate, rounding)
            })
        }
    }
}

/// Expands `$use!(operation, type, width)` for the operation and type at hand.
macro_rules! for_comparison {
    ($operation:ident, $element:ident, $use:ident) => {{
        macro_rules! types {
            ($constant:expr) => {
                match $element {
                    E::F32 => $use!($constant, E::F32, 4),
                    E::Bf16 => $use!($constant, E::Bf16, 2),
                    E::I32 => $use!($constant, E::I32, 4),
                    E::U32 => $use!($constant, E::U32, 4),
                    E::I16 => $use!($constant, E::I16, 2),
                    E::U16 => $use!($constant, E::U16, 2),
                    E::I8 => $use!($constant, E::I8, 1),
                    _ => $use!($constant, E::U8, 1),
                }
            };
        }
        match $operation {
            Compare::Equal => types!(Compare::Equal),
            Compare::NotEqual => types!(Compare::NotEqual),
            Compare::Less => types!(Compare::Less),
            Compare::LessOrEqual => types!(Compare::LessOrEqual),
            Compare::Greater => types!(Compare::Greater),
            Compare::GreaterOrEqual => types!(Compare::GreaterOrEqual),
            Compare::MaskIsZero => types!(Compare::MaskIsZero),
        }
    }};
}

#[inline(always)]
fn compare_lanes<const FUSED: bool>(operation: Compare, element: E, a: &Vector, b: &Vector) -> ByteMask {
    macro_rules! lanes {
        ($operation:expr, $element:expr, $width:literal) => {
            Vector::from_lanes($width, |lane| {
                let holds = super::compare($operation, $element, a.lane($width, lane), b.lane($width, lane));
                if holds { u32::MAX } else { 0 }
            })
        };
    }
    ByteMask::of_bytes(&for_comparison!(operation, element, lanes))
}

#[inline(always)]
fn select_lanes<const FUSED: bool>(
    operation: Compare,
    element: E,
    a: &Vector,
    b: &Vector,
    yes: &Vector,
    no: &Vector,
) -> Vector {
    macro_rules! lanes {
        ($operation:expr, $element:expr, $width:literal) => {
            Vector::from_lanes($width, |lane| {
                let holds = super::compare($operation, $element, a.lane($width, lane), b.lane($width, lane));
                let (yes, no) = (yes.lane($width, lane), no.lane($width, lane));
                if holds { yes } else { no }
            })
        };
    }
    for_comparison!(operation, element, lanes)
}

#[inline(always)]
fn convert_lanes<const FUSED: bool>(from: E, to: E, a: &Vector, rounding: RoundingMode) -> Vector {
    macro_rules! lanes {
        ($from:expr, $to:expr) => {
            Vector::from_lanes(4, |lane| super::convert($from, $to, a.lane(4, lane), NEAREST))
        };
    }
    match (from, to) {
        (E::F32, E::I32) if rounding == NEAREST => lanes!(E::F32, E::I32),
        (E::I32, E::F32) if rounding == NEAREST => lanes!(E::I32, E::F32),
        _ => {
            let width = lane_bytes(from);
            Vector::from_lanes(width, |lane| super::convert(from, to, a.lane(width, lane), rounding))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [E; 8] = [E::F32, E::Bf16, E::I32, E::U32, E::I16, E::U16, E::I8, E::U8];

    /// Patterns in which special floats, small and large integers meet in every combination.
    fn vectors() -> Vec<Vector> {
        const SPECIAL: [u32; 16] = [
            0,
            0x8000_0000,
            0x7F80_0000,
            0xFF80_0000,
            0x7FC0_0000,
            0x7FA0_0001,
            1,
            0x807F_FFFF,
            0x7F7F_FFFF,
            0x3F80_0000,
            0xBF80_0000,
            u32::MAX,
            0x7FFF_FFFF,
            0x0080_0000,
            0x3F80_8000,
            0x4B00_0001,
        ];
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.rotate_left(16)
        };
        (0..24)
            .map(|round| {
                Vector::from_lanes(4, |lane| match (round + lane) % 3 {
                    0 => next(),
                    1 => SPECIAL[next() as usize % 16],
                    _ => next() & 0x80FF_FFFF | 0x3F00_0000,
                })
            })
            .collect()
    }

    fn lanes(element: E, lane: impl FnMut(usize) -> u32) -> Vector {
        Vector::from_lanes(lane_bytes(element), lane)
    }

    #[test]
    fn a_whole_vector_is_its_single_elements_in_every_operation_type_and_rounding() {
        use Binary as B;
        let operations = [
            B::Add { saturate: false },
            B::Add { saturate: true },
            B::Sub { saturate: false, negate: false },
            B::Sub { saturate: true, negate: true },
            B::Mul,
            B::MulUpper,
            B::Max,
            B::Min,
            B::And,
            B::Or,
            B::Xor,
            B::ShiftLeft,
            B::ShiftRight,
            B::ShiftArithmetic { round: true },
        ];
        let vectors = vectors();
        for pair in vectors.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            for element in TYPES {
                let width = lane_bytes(element);
                for operation in operations {
                    for rounding in [NEAREST, RoundingMode::Up] {
                        let found = binary(operation, element, a, b, rounding);
                        let right = lanes(element, |lane| {
                            crate::sim::alu::binary(
                                operation,
                                element,
                                a.lane(width, lane),
                                b.lane(width, lane),
                                rounding,
                            )
                        });
                        assert_eq!(found, right, "{operation:?} of {element:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn whole_vectors_are_compared_and_selected_like_single_elements() {
        use Compare as C;
        let vectors = vectors();
        for four in vectors.windows(4) {
            let [a, b, c, d] = four else { panic!("four vectors") };
            for element in TYPES {
                let width = lane_bytes(element);
                for operation in
                    [C::Equal, C::NotEqual, C::Less, C::LessOrEqual, C::Greater, C::GreaterOrEqual, C::MaskIsZero]
                {
                    let holds =
                        |lane| crate::sim::alu::compare(operation, element, a.lane(width, lane), b.lane(width, lane));
                    assert_eq!(compare(operation, element, a, b), ByteMask::from_lanes(width, holds));
                    let right = lanes(element, |lane| if holds(lane) { c } else { d }.lane(width, lane));
                    assert_eq!(select(operation, element, a, b, c, d), right);
                }
            }
        }
    }

    #[test]
    fn the_host_s_fused_multiply_add_is_the_one_of_single_elements() {
        let vectors = vectors();
        for three in vectors.windows(3) {
            let [a, b, c] = three else { panic!("three vectors") };
            for element in [E::F32, E::Bf16] {
                let width = lane_bytes(element);
                for negate in [false, true] {
                    let right = lanes(element, |lane| {
                        let (a, b, c) = (a.lane(width, lane), b.lane(width, lane), c.lane(width, lane));
                        crate::sim::alu::multiply_add(element, c, a, b, negate, NEAREST)
                    });
                    assert_eq!(multiply_add(element, c, a, b, negate, NEAREST), right, "{element:?}");
                }
            }
        }
    }

    #[test]
    fn whole_vectors_are_converted_like_single_elements() {
        for a in vectors() {
            for (from, to) in [(E::F32, E::I32), (E::I32, E::F32), (E::F32, E::U32), (E::U32, E::F32)] {
                for rounding in [NEAREST, RoundingMode::Down] {
                    let right = lanes(from, |lane| crate::sim::alu::convert(from, to, a.lane(4, lane), rounding));
                    assert_eq!(convert(from, to, &a, rounding), right);
                }
            }
        }
    }
}
