//! Building floats from parts and replacing results of special classes (`tpc.md` 9.4).

use super::registers::Write;
use super::spu::element_of;
use super::vector::{ByteMask, Vector, lane_bytes};
use super::{Tpc, Trap, special};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::VpuOp as Op;
use crate::operand::ElementType;

impl Tpc {
    /// FORM_FP_NUM: exponent of A, sign of B, mantissa of C.
    pub(super) fn form_number(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let flag = |bit| operation.fields.bits(Bits::new(Field::D, bit, 1)) != 0;
        let parts = Parts {
            add_bias: flag(0),
            force_sign: if flag(2) { Some(1) } else { flag(1).then_some(0) },
            exponent_is_number: flag(3),
            sign_is_lowest: flag(4),
        };
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let b = self.vector_source(operation, Field::B, width, immediate)?;
        let c = self.vector_source(operation, Field::C, width, immediate)?;
        let value = Vector::from_lanes(width, |lane| {
            parts.form(element, a.lane(width, lane), b.lane(width, lane), c.lane(width, lane))
        });
        self.registers.push(Write::V(dest, value, mask));
        Ok(())
    }

    /// CALC_FP_SPECIAL: lanes whose classes decide get their result, the others keep the destination.
    pub(super) fn special_results(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let b = self.vector_source(operation, Field::B, width, immediate)?;
        let function = operation.fields.bits(SPECIAL_FUNCTION);
        let result = |lane| special_result(element, function, a.lane(width, lane), b.lane(width, lane));
        let value = Vector::from_lanes(width, |lane| result(lane).unwrap_or(0));
        let replaced = ByteMask::from_lanes(width, |lane| result(lane).is_some());
        self.registers.push(Write::V(dest, value, mask.zip(&replaced, |a, b| a & b)));
        Ok(())
    }
}

/// The function of CALC_FP_SPECIAL, in both units.
pub(super) const SPECIAL_FUNCTION: Bits = Bits::new(Field::Switch, 0, 3);

/// The bits of a special result; `None` when the classes do not decide.
pub(super) fn special_result(element: ElementType, function: u16, a: u32, b: u32) -> Option<u32> {
    // The class masks of BF16 have the same ten bits.
    let bits = special::result(function, a & 0x3FF, b & 0x3FF)?;
    let bits = if bits.is_nan() { 0x7FC0_0000 } else { bits.to_bits() };
    Some(if element == ElementType::Bf16 { bits >> 16 } else { bits })
}

/// How FORM_FP_NUM reads its sources.
#[derive(Clone, Copy, Debug)]
struct Parts {
    add_bias: bool,
    force_sign: Option<u32>,
    exponent_is_number: bool,
    sign_is_lowest: bool,
}

impl Parts {
    /// Chosen: the bias is added to whatever the exponent is, modulo 256; a forced 1 wins over a forced 0.
    fn form(self, element: ElementType, a: u32, b: u32, c: u32) -> u32 {
        let (mantissa_bits, sign_bit) = if element == ElementType::Bf16 { (7, 15) } else { (23, 31) };
        let exponent = if self.exponent_is_number { a } else { a >> mantissa_bits };
        let exponent = exponent.wrapping_add(if self.add_bias { 127 } else { 0 }) & 0xFF;
        let sign = self.force_sign.unwrap_or(if self.sign_is_lowest { b } else { b >> sign_bit }) & 1;
        sign << sign_bit | exponent << mantissa_bits | c & ((1 << mantissa_bits) - 1)
    }
}
