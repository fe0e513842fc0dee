//! The vector unit: predicates per lane, arithmetic, comparisons, selections (`tpc.md` 6.2).
//!
//! Conversions, moves across lanes and number formats are in [`super::vpu_convert`], [`super::lanes`] and [`super::number_format`].

use super::alu::{self, Binary, RoundingMode};
use super::registers::Write;
use super::spu::{binary_of, compare_of, element_of, is_float_arithmetic, unary_of};
use super::vector::{ByteMask, Vector, lane_bytes};
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::{Bits, Predicate, SlotOp};
use crate::opcodes::{SpuOp, VpuOp as Op};
use crate::operand::{ElementType, Operand};

/// A vector that an operation reads: a register where it is, or a value made for the operation.
// A box for each scalar operand would cost an allocation per bundle.
#[allow(clippy::large_enum_variant)]
pub(super) enum Source<'a> {
    Register(&'a Vector),
    Made(Vector),
}

impl core::ops::Deref for Source<'_> {
    type Target = Vector;

    #[inline]
    fn deref(&self) -> &Vector {
        match self {
            Self::Register(vector) => vector,
            Self::Made(vector) => vector,
        }
    }
}

impl Tpc {
    /// The bytes of the result that an operation with lanes of `width` bytes may write; `None` when it does nothing at all.
    pub(super) fn lane_mask(&self, predicate: Predicate, width: usize) -> Option<ByteMask> {
        if predicate.vector {
            return Some(self.registers.vp(predicate.register).per_lane(width, predicate.inverted));
        }
        self.scalar_predicate(predicate).then_some(ByteMask::ALL)
    }

    /// The same for a pair of registers of 32-bit lanes that an operation on 16-bit lanes fills: lane k of the first belongs to
    /// lane 2k of the sources, lane k of the second to lane 2k + 1.
    pub(super) fn pair_masks(&self, predicate: Predicate) -> Option<[ByteMask; 2]> {
        let mask = self.lane_mask(predicate, 2)?;
        Some([0, 2].map(|offset| ByteMask::from_lanes(4, |lane| mask.bit(4 * lane + offset))))
    }

    /// A vector source: a register, or a scalar in every lane of `width` bytes.
    #[inline(always)]
    pub(super) fn vector_source<O: SlotOp>(
        &self,
        operation: &Operation<O>,
        field: Field,
        width: usize,
        immediate: u32,
    ) -> Result<Source<'_>, Trap> {
        match operation.operand(field) {
            Some(Operand::V(number)) => Ok(Source::Register(self.registers.v(number))),
            Some(Operand::LaneNumber(bits)) => Ok(Source::Made(Vector::lane_numbers(usize::from(bits / 8)))),
            Some(Operand::VectorLfsr { .. }) => Err(Trap::not_modelled("the random register")),
            _ => Ok(Source::Made(Vector::splat(self.scalar_source(operation, field, immediate)?, width))),
        }
    }

    /// The number of the vector register, or of the first of a pair, in a field.
    pub(super) fn vector_register<O: SlotOp>(&self, operation: &Operation<O>, field: Field) -> Result<u8, Trap> {
        match operation.operand(field) {
            Some(Operand::V(number)) => Ok(number),
            _ => Err(Trap::not_modelled("this vector register")),
        }
    }

    pub(super) fn execute_vpu(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        match operation.op {
            Op::Halt => Ok(()),
            Op::Mov => self.move_vector(operation, immediate),
            Op::Mac | Op::Mul => self.multiply(operation, immediate),
            Op::CmpEq | Op::CmpNeq | Op::CmpLess | Op::CmpLeq | Op::CmpGrt | Op::CmpGeq => {
                self.compare(operation, immediate)
            }
            Op::SelEq | Op::SelNeq | Op::SelLess | Op::SelLeq | Op::SelGrt | Op::SelGeq => {
                self.select(operation, immediate)
            }
            Op::Sel2Less | Op::Sel2Leq | Op::Sel2Grt | Op::Sel2Geq => self.select_two(operation, immediate),
            Op::Convert | Op::Nearbyint => self.convert(operation, immediate),
            Op::Shuffle | Op::Pack | Op::Unpack | Op::MovDualGroup | Op::MovGroup => {
                self.move_lanes(operation, immediate)
            }
            Op::FormFpNum => self.form_number(operation, immediate),
            Op::CalcFpSpecial => self.special_results(operation, immediate),
            Op::ConvertInt16 => self.convert_fixed(operation, ElementType::I16, immediate),
            Op::ConvertUint16 => self.convert_fixed(operation, ElementType::U16, immediate),
            Op::ConvertInt32 => self.convert_fixed(operation, ElementType::I32, immediate),
            Op::ConvertUint32 => self.convert_fixed(operation, ElementType::U32, immediate),
            Op::GetLutEntry => Err(Trap::not_modelled(operation.op.mnemonic())),
            Op::Add
            | Op::Sub
            | Op::Max
            | Op::Min
            | Op::Or
            | Op::And
            | Op::Xor
            | Op::Shr
            | Op::Shl
            | Op::Ash
            | Op::Not
            | Op::Abs
            | Op::Popcnt
            | Op::FindFirst
            | Op::ExtractExp
            | Op::Fclass
            | Op::Brev => match operation.operand(Field::Dest) {
                Some(Operand::Vp(dest)) => self.combine_predicates(operation, dest),
                _ => self.lanewise(operation, immediate),
            },
        }
    }

    /// Operations whose result lane depends on the same lane of the sources.
    fn lanewise(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let common = common(operation.op)?;
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let value = if let Some(unary) = unary_of(common, operation.switch(0), operation.switch(1)) {
            Vector::from_lanes(width, |lane| alu::unary(unary, element, a.lane(width, lane)))
        } else {
            let binary = binary_of(common, operation.switch(0), operation.switch(1), false)
                .ok_or_else(|| Trap::not_modelled(operation.op.mnemonic()))?;
            let b = self.vector_source(operation, Field::B, width, immediate)?;
            alu::wide::binary(binary, element, &a, &b, self.rounding_of(binary, element)?)
        };
        self.registers.push(Write::V(dest, value, mask));
        Ok(())
    }

    /// The rounding of an operation that may be a float one.
    fn rounding_of(&self, binary: Binary, element: ElementType) -> Result<RoundingMode, Trap> {
        if is_float_arithmetic(binary, element) { self.register_rounding() } else { Ok(RoundingMode::NearestEven) }
    }

    fn multiply(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let accumulate = operation.op == Op::Mac;
        let dest = self.vector_register(operation, Field::Dest)?;
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let b = self.vector_source(operation, Field::B, width, immediate)?;
        match element {
            ElementType::Bf16 | ElementType::I16 if element == ElementType::I16 || operation.switch(2) => {
                let (a, b) = (*a, *b);
                self.multiply_wide(operation, element, dest, &a, &b)
            }
            ElementType::F32 | ElementType::Bf16 => {
                let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
                let value = if accumulate {
                    let rounding = self.register_rounding()?;
                    let negate = operation.switch(1);
                    alu::wide::multiply_add(element, self.registers.v(dest), &a, &b, negate, rounding)
                } else {
                    alu::wide::binary(Binary::Mul, element, &a, &b, self.register_rounding()?)
                };
                self.registers.push(Write::V(dest, value, mask));
                Ok(())
            }
            ElementType::I32 | ElementType::U32 if !accumulate => {
                let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
                if operation.switch(1) {
                    let value =
                        Vector::from_lanes(4, |lane| alu::multiply_double_round(a.lane(4, lane), b.lane(4, lane)));
                    self.registers.push(Write::V(dest, value, mask));
                    return Ok(());
                }
                let halves = [Binary::Mul, Binary::MulUpper]
                    .map(|half| alu::wide::binary(half, element, &a, &b, RoundingMode::NearestEven));
                for (number, value) in (dest..).zip(halves) {
                    self.registers.push(Write::V(number, value, mask));
                }
                Ok(())
            }
            _ => Err(Trap::not_modelled(operation.op.mnemonic())),
        }
    }

    /// Products of 16-bit lanes as 32-bit lanes of a pair: even lanes into the first register, odd ones into the second.
    ///
    /// Chosen: integers are placed like BF16, for which the document knows the order.
    fn multiply_wide(
        &mut self,
        operation: &Operation<Op>,
        element: ElementType,
        dest: u8,
        a: &Vector,
        b: &Vector,
    ) -> Result<(), Trap> {
        let Some(masks) = self.pair_masks(operation.predicate) else { return Ok(()) };
        let negate = operation.switch(1);
        let saturate = operation.switch(0);
        let rounding = self.register_rounding()?;
        for (half, mask) in masks.into_iter().enumerate() {
            let register = dest + half as u8;
            // The product alone starts from -0, which no product changes.
            let accumulator = match operation.op {
                Op::Mac => *self.registers.v(register),
                _ => Vector::splat(0x8000_0000, 4),
            };
            let value = Vector::from_lanes(4, |lane| {
                let (a, b) = (a.lane(2, 2 * lane + half), b.lane(2, 2 * lane + half));
                let accumulator = accumulator.lane(4, lane);
                if element == ElementType::Bf16 {
                    return alu::multiply_add_wide(accumulator, a, b, negate, rounding);
                }
                let product = alu::binary(
                    Binary::Mul,
                    ElementType::I32,
                    alu::extend(ElementType::I16, a),
                    alu::extend(ElementType::I16, b),
                    rounding,
                );
                let operation = if negate { Binary::Sub { saturate, negate: false } } else { Binary::Add { saturate } };
                alu::binary(operation, ElementType::I32, accumulator, product, rounding)
            });
            self.registers.push(Write::V(register, value, mask));
        }
        Ok(())
    }

    fn compare(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let Some(Operand::Vp(dest)) = operation.operand(Field::Dest) else {
            return Err(Trap::not_modelled("this destination of a comparison"));
        };
        let compare = compare_of(common(operation.op)?, operation.switch(0))
            .ok_or_else(|| Trap::not_modelled(operation.op.mnemonic()))?;
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let b = self.vector_source(operation, Field::B, width, immediate)?;
        self.registers.push(Write::Vp(dest, alu::wide::compare(compare, element, &a, &b), mask));
        Ok(())
    }

    /// Logic of vector predicates, bit by bit.
    fn combine_predicates(&mut self, operation: &Operation<Op>, dest: u8) -> Result<(), Trap> {
        let Some(mask) = self.lane_mask(operation.predicate, 1) else { return Ok(()) };
        let source = |field| match operation.operand(field) {
            Some(Operand::Vp(number)) => Ok(self.registers.vp(number)),
            _ => Err(Trap::not_modelled("this source of predicate logic")),
        };
        let a = source(Field::A)?;
        let value = match operation.op {
            Op::Not => a.zip(&a, |a, _| !a),
            Op::And => a.zip(&source(Field::B)?, |a, b| a & b),
            Op::Or => a.zip(&source(Field::B)?, |a, b| a | b),
            Op::Xor => a.zip(&source(Field::B)?, |a, b| a ^ b),
            op => return Err(Trap::not_modelled(op.mnemonic())),
        };
        self.registers.push(Write::Vp(dest, value, mask));
        Ok(())
    }

    fn select(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let compare = selection(operation.op)?;
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let b = self.vector_source(operation, Field::B, width, immediate)?;
        let c = self.vector_source(operation, Field::C, width, immediate)?;
        let d = self.vector_source(operation, Field::D, width, immediate)?;
        let value = alu::wide::select(compare, element, &a, &b, &c, &d);
        self.registers.push(Write::V(dest, value, mask));
        Ok(())
    }

    /// The first register takes C or D, the second A or B.
    fn select_two(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let compare = selection(operation.op)?;
        let a = self.vector_source(operation, Field::A, width, immediate)?;
        let b = self.vector_source(operation, Field::B, width, immediate)?;
        let c = self.vector_source(operation, Field::C, width, immediate)?;
        let d = self.vector_source(operation, Field::D, width, immediate)?;
        let values = [(&c, &d), (&a, &b)].map(|(yes, no)| alu::wide::select(compare, element, &a, &b, yes, no));
        for (number, value) in (dest..).zip(values) {
            self.registers.push(Write::V(number, value, mask));
        }
        Ok(())
    }

    fn move_vector(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        match operation.operand(Field::Dest) {
            Some(Operand::V(dest)) => {
                let width = lane_bytes(element_of(operation)?);
                let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
                let value = *self.vector_source(operation, Field::A, width, immediate)?;
                self.registers.push(Write::V(dest, value, mask));
                Ok(())
            }
            Some(Operand::Vp(dest)) => self.move_to_vector_predicate(
                operation,
                dest,
                operation.fields.bits(Bits::new(Field::B, 0, 4)),
                immediate,
            ),
            _ => Err(Trap::not_modelled("this destination of mov")),
        }
    }

    /// MOV into a vector predicate, of the VPU and of the LOAD slot: a copy, one truth value everywhere, or 32 bits into one section
    /// (0-7) or into all (8).
    ///
    /// Chosen: under a vector predicate the copy is bit by bit.
    pub(super) fn move_to_vector_predicate<O: SlotOp>(
        &mut self,
        operation: &Operation<O>,
        dest: u8,
        section: u16,
        immediate: u32,
    ) -> Result<(), Trap> {
        let Some(mask) = self.lane_mask(operation.predicate, 1) else { return Ok(()) };
        let (value, written) = match operation.operand(Field::A) {
            Some(Operand::Vp(number)) => (self.registers.vp(number), ByteMask::ALL),
            Some(Operand::Sp(number)) => {
                (if self.registers.sp(number) { ByteMask::ALL } else { ByteMask::NONE }, ByteMask::ALL)
            }
            _ => {
                let bits = self.scalar_source(operation, Field::A, immediate)?;
                let value = ByteMask([u64::from(bits) << 32 | u64::from(bits); 4]);
                let written = match section {
                    8 => ByteMask::ALL,
                    0..=7 => ByteMask::from_lanes(32, |lane| lane == usize::from(section)),
                    _ => return Err(Trap::not_modelled("a predicate section above 8")),
                };
                (value, written)
            }
        };
        let mask = mask.zip(&written, |a, b| a & b);
        self.registers.push(Write::Vp(dest, value, mask));
        Ok(())
    }
}

/// The comparison of a selection.
fn selection(op: Op) -> Result<alu::Compare, Trap> {
    Ok(match op {
        Op::SelEq => alu::Compare::Equal,
        Op::SelNeq => alu::Compare::NotEqual,
        Op::SelLess | Op::Sel2Less => alu::Compare::Less,
        Op::SelLeq | Op::Sel2Leq => alu::Compare::LessOrEqual,
        Op::SelGrt | Op::Sel2Grt => alu::Compare::Greater,
        Op::SelGeq | Op::Sel2Geq => alu::Compare::GreaterOrEqual,
        op => return Err(Trap::not_modelled(op.mnemonic())),
    })
}

/// The scalar operation with the same number: opcodes 00-1F are common to both units (`tpc.md` 5.1).
fn common(op: Op) -> Result<SpuOp, Trap> {
    SpuOp::from_code(op.code()).ok_or_else(|| Trap::not_modelled(op.mnemonic()))
}
