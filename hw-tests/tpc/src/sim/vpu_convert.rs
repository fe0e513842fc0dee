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
/// Lane select and target width of CONVERT_INT32 and its like.
const FIXED_POINT_LANE: Bits = Bits::new(Field::Switch, 0, 2);
const TO_16: Bits = Bits::new(Field::Type, 3, 1);
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
            // Chosen: the same width element by element, whatever the lane select.
            (from, to) if from == to => {
                let Some(mask) = self.lane_mask(operation.predicate, from) else { return Ok(()) };
                let a = self.vector_source(operation, Field::A, from, immediate)?;
                self.registers.push(Write::V(dest, alu::wide::convert(source, target, &a, rounding), mask));
            }
            // Into wider lanes: the first of the narrow lanes in each, where UNPACK puts elements.
            (from, to) if from < to => {
                if operation.fields.bits(LANE_SELECT) != 0 {
                    return Err(Trap::not_modelled("a lane select of a widening conversion"));
                }
                let Some(mask) = self.lane_mask(operation.predicate, to) else { return Ok(()) };
                let a = self.vector_source(operation, Field::A, from, immediate)?;
                let value = Vector::from_lanes(to, |lane| {
                    alu::convert(source, target, a.lane(from, lane * (to / from)), rounding)
                });
                self.registers.push(Write::V(dest, value, mask));
            }
            // Into narrower ones: one part of each wide lane.
            (from, to) => {
                let part = usize::from(operation.fields.bits(LANE_SELECT));
                self.convert_part(operation, (from, to), part, immediate, |a| {
                    alu::convert(source, target, a, rounding)
                })?;
            }
        }
        Ok(())
    }
    /// CONVERT_INT32 and its like: integers into one part of their lanes, saturated.
    ///
    /// Chosen: only without a shift. The document does not say which way a shift goes; without one, the rounding does not matter.
    pub(super) fn convert_fixed(
        &mut self,
        operation: &Operation<Op>,
        source: ElementType,
        immediate: u32,
    ) -> Result<(), Trap> {
        let wide = lane_bytes(source);
        let to_16 = operation.fields.bits(TO_16) != 0;
        let target = match (source, to_16) {
            (ElementType::I32, true) => ElementType::I16,
            (ElementType::U32, true) => ElementType::U16,
            (ElementType::I32 | ElementType::I16, false) => ElementType::I8,
            (ElementType::U32 | ElementType::U16, false) => ElementType::U8,
            _ => return Err(Trap::not_modelled("a conversion from 16 to 16 bits")),
        };
        // The shift amounts are bytes, one for each lane or one for all.
        if *self.vector_source(operation, Field::B, 1, immediate)? != Vector::ZERO {
            return Err(Trap::not_modelled("a fixed-point conversion with a shift"));
        }
        let part = usize::from(operation.fields.bits(FIXED_POINT_LANE));
        let nearest = alu::RoundingMode::NearestEven;
        self.convert_part(operation, (wide, lane_bytes(target)), part, immediate, |a| {
            alu::convert(source, target, a, nearest)
        })
    }

    /// Converts lanes of `from` bytes into lanes of `to` bytes: number `part` of those in each wide lane; the others keep their
    /// content.
    fn convert_part(
        &mut self,
        operation: &Operation<Op>,
        (from, to): (usize, usize),
        part: usize,
        immediate: u32,
        convert: impl Fn(u32) -> u32,
    ) -> Result<(), Trap> {
        let Some(mask) = self.lane_mask(operation.predicate, from) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let parts = from / to;
        if part >= parts {
            return Err(Trap::not_modelled("a lane select beyond the lane"));
        }
        let a = self.vector_source(operation, Field::A, from, immediate)?;
        let value = Vector::from_lanes(to, |lane| convert(a.lane(from, lane / parts)));
        let selected = ByteMask::from_lanes(to, |lane| lane % parts == part);
        self.registers.push(Write::V(dest, value, mask.zip(&selected, |a, b| a & b)));
        Ok(())
    }
}
