//! Conversions between element types in the vector unit (`tpc.md` 9.3).

use super::alu;
use super::registers::Write;
use super::spu::element_of;
use super::vector::{ByteMask, Vector, lane_bytes};
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::VpuOp as Op;
use crate::operand::ElementType;

const ROUNDING: Bits = Bits::new(Field::Switch, 0, 3);
const TARGET: Bits = Bits::new(Field::B, 0, 4);
const LANE_SELECT: Bits = Bits::new(Field::B, 4, 2);
const SINGLE_LANE: Bits = Bits::new(Field::B, 6, 1);

impl Tpc {
    /// CONVERT and NEARBYINT.
    pub(super) fn convert(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let source = element_of(operation)?;
        let rounding = self.rounding(operation.fields.bits(ROUNDING))?;
        let dest = self.vector_register(operation, Field::Dest)?;
        if operation.op == Op::Nearbyint {
            let width = lane_bytes(source);
            let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
            let a = self.vector_source(operation, Field::A, width, immediate)?;
            let value = Vector::from_lanes(width, |lane| alu::nearby_integer(source, a.lane(width, lane), rounding));
            self.registers.push(Write::V(dest, value, mask));
            return Ok(());
        }
        let target = ElementType::from_code(operation.fields.bits(TARGET))
            .ok_or_else(|| Trap::not_modelled("this conversion"))?;
        match (lane_bytes(source), lane_bytes(target)) {
            // All lanes of a pair, interleaved.
            (4, 2) if target == ElementType::Bf16 && operation.fields.bits(SINGLE_LANE) == 0 => {
                let Some(mask) = self.lane_mask(operation.predicate, 2) else { return Ok(()) };
                let first = self.vector_register(operation, Field::A)?;
                let pair = [self.registers.v(first), self.registers.v(first + 1)];
                // PANIC: lane % 2 is 0 or 1.
                let value = Vector::from_lanes(2, |lane| {
                    alu::convert(source, target, pair[lane % 2].lane(4, lane / 2), rounding)
                });
                self.registers.push(Write::V(dest, value, mask));
            }
            // One register into one part of each 32-bit lane.
            (4, width @ (1 | 2)) => {
                let Some(mask) = self.lane_mask(operation.predicate, 4) else { return Ok(()) };
                let part = usize::from(operation.fields.bits(LANE_SELECT));
                let parts = 4 / width;
                if part >= parts {
                    return Err(Trap::not_modelled("a lane select beyond the lane"));
                }
                let a = self.vector_source(operation, Field::A, 4, immediate)?;
                let value =
                    Vector::from_lanes(width, |lane| alu::convert(source, target, a.lane(4, lane / parts), rounding));
                let selected = ByteMask::from_lanes(width, |lane| lane % parts == part);
                self.registers.push(Write::V(dest, value, mask.zip(&selected, |a, b| a & b)));
            }
            // BF16 into a pair: even lanes into the first register, odd ones into the second.
            (2, 4) if source == ElementType::Bf16 && target == ElementType::F32 => {
                let Some(masks) = self.pair_masks(operation.predicate) else { return Ok(()) };
                let a = *self.vector_source(operation, Field::A, 2, immediate)?;
                for (half, mask) in masks.into_iter().enumerate() {
                    let value = Vector::from_lanes(4, |lane| {
                        alu::convert(source, target, a.lane(2, 2 * lane + half), rounding)
                    });
                    self.registers.push(Write::V(dest + half as u8, value, mask));
                }
            }
            (from, to) if from == to && from == 4 => {
                let Some(mask) = self.lane_mask(operation.predicate, 4) else { return Ok(()) };
                let a = self.vector_source(operation, Field::A, 4, immediate)?;
                self.registers.push(Write::V(dest, alu::wide::convert(source, target, &a, rounding), mask));
            }
            // The document gives no lane order for conversions from 8- and 16-bit integers.
            _ => return Err(Trap::not_modelled("this conversion")),
        }
        Ok(())
    }
}
