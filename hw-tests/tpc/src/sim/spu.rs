//! The scalar unit: scalars, scalar predicates, coordinates, jumps (`tpc.md` 6.1).

use super::alu::{self, Binary, Compare, Rounding, RoundingMode, Unary};
use super::control::{Flow, advance};
use super::number_format::{SPECIAL_FUNCTION, special_result};
use super::registers::{DIMENSIONS, Write};
use super::{Cause, Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::{Bits, Predicate, SlotOp};
use crate::opcodes::SpuOp as Op;
use crate::operand::{ElementType, Operand};

const TYPE: Bits = Bits::new(Field::Type, 0, 4);
const DIMENSION_MASK: Bits = Bits::new(Field::Switch, 2, 5);

impl Tpc {
    /// The outcome of a scalar predicate.
    pub(super) fn scalar_predicate(&self, predicate: Predicate) -> bool {
        self.registers.sp(predicate.register) != predicate.inverted
    }

    /// The value of a scalar register, a scalar predicate or the immediate in a field.
    pub(super) fn scalar_source<O: SlotOp>(
        &self,
        operation: &Operation<O>,
        field: Field,
        immediate: u32,
    ) -> Result<u32, Trap> {
        match operation.operand(field) {
            Some(Operand::S(number)) => Ok(self.registers.s(number)),
            Some(Operand::Sp(number)) => Ok(u32::from(self.registers.sp(number))),
            Some(Operand::Immediate) => Ok(immediate),
            Some(Operand::ScalarLfsr { .. }) => Err(Trap::not_modelled("the random register")),
            _ => Err(Trap::not_modelled("this scalar source")),
        }
    }

    /// The rounding of an arithmetic operation, from the rounding register.
    pub(super) fn register_rounding(&self) -> Result<Rounding, Trap> {
        rounding_of(self.round_csr)
    }

    /// The rounding that a conversion asks for; code 5 means the rounding register.
    pub(super) fn rounding(&self, code: u16) -> Result<Rounding, Trap> {
        if code == 5 { self.register_rounding() } else { rounding_of(u32::from(code)) }
    }

    pub(super) fn execute_spu(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<Flow, Trap> {
        if !self.scalar_predicate(operation.predicate) {
            return Ok(Flow::Next);
        }
        match operation.op {
            Op::Halt => return Ok(Flow::Halt),
            Op::Jmpr => {
                let distance = self.scalar_source(operation, Field::A, immediate)? as i32;
                return advance(self.pc, i64::from(distance)).map(Flow::Jump);
            }
            Op::Jmpa => return Err(Trap::not_modelled("jmpa (its base is unknown)")),
            _ => {}
        }
        match operation.operand(Field::Dest) {
            Some(Operand::I(number)) => self.execute_coordinates(operation, immediate, number)?,
            Some(Operand::Sp(number)) => {
                let value = self.predicate_result(operation, immediate)?;
                self.registers.push(Write::Sp(number, value));
            }
            Some(Operand::S(number)) => self.execute_scalar(operation, immediate, number)?,
            _ => return Err(Trap::not_modelled("this destination")),
        }
        Ok(Flow::Next)
    }

    fn execute_scalar(&mut self, operation: &Operation<Op>, immediate: u32, dest: u8) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let a = self.scalar_source(operation, Field::A, immediate);
        let b = self.scalar_source(operation, Field::B, immediate);
        let saturate = operation.switch(0);
        let negate = operation.switch(1);
        let mask = u32::MAX >> (32 - element.bits());
        let unary = || {
            unary_of(operation.op, operation.switch(0), operation.switch(1))
                .ok_or_else(|| Trap::not_modelled(operation.op.mnemonic()))
        };
        let value = match operation.op {
            Op::MovIrfDim => {
                let dimension = usize::from(operation.fields.get(Field::Switch) & 7);
                let Some(Operand::I(number)) = operation.operand(Field::A) else {
                    return Err(Trap::not_modelled("this source of mov_irf_dim"));
                };
                *self.registers.i(number).get(dimension).ok_or_else(|| Trap::not_modelled("a dimension above 4"))?
                    as u32
            }
            Op::Mov => a?,
            Op::Mac => {
                let (a, b, accumulator) = (a?, b?, self.registers.s(dest));
                let rounding = self.register_rounding()?;
                if operation.switch(2) {
                    alu::multiply_add_wide(accumulator, a & 0xFFFF, b & 0xFFFF, negate, rounding)
                } else {
                    alu::multiply_add(element, accumulator & mask, a & mask, b & mask, negate, rounding)
                }
            }
            Op::Convert => {
                let target = ElementType::from_code(operation.fields.bits(Bits::new(Field::B, 0, 4)))
                    .ok_or_else(|| Trap::not_modelled("this conversion"))?;
                let rounding = self.rounding(operation.fields.bits(Bits::new(Field::Switch, 0, 3)))?;
                alu::extend(target, alu::convert(element, target, a? & mask, rounding))
            }
            Op::Nearbyint => {
                let rounding = self.rounding(operation.fields.bits(Bits::new(Field::Switch, 0, 3)))?;
                alu::nearby_integer(element, a? & mask, rounding)
            }
            Op::Udiv4Step => return self.divide_step(operation, a?, dest),
            Op::CalcFpSpecial => match special_result(element, operation.fields.bits(SPECIAL_FUNCTION), a?, b?) {
                Some(value) => value,
                None => return Ok(()),
            },
            Op::Not | Op::Abs => alu::extend(element, alu::unary(unary()?, element, a? & mask)),
            Op::Popcnt | Op::FindFirst | Op::Brev | Op::ExtractExp | Op::Fclass => {
                let value = alu::unary(unary()?, element, a? & mask);
                // The unbiased exponent is a signed number in the width of the float.
                match (operation.op, element) {
                    (Op::ExtractExp, ElementType::Bf16) => alu::extend(ElementType::I16, value),
                    _ => value,
                }
            }
            _ => {
                let binary = binary_of(operation.op, saturate, negate, operation.switch(2))
                    .ok_or_else(|| Trap::not_modelled(operation.op.mnemonic()))?;
                let rounding = if is_float_arithmetic(binary, element) {
                    self.register_rounding()?
                } else {
                    RoundingMode::NearestEven
                };
                alu::extend(element, alu::binary(binary, element, a? & mask, b? & mask, rounding))
            }
        };
        self.registers.push(Write::S(dest, value));
        Ok(())
    }

    fn predicate_result(&self, operation: &Operation<Op>, immediate: u32) -> Result<bool, Trap> {
        let a = self.scalar_source(operation, Field::A, immediate)?;
        if let Op::Mov = operation.op {
            // Chosen: bit 0 decides.
            return Ok(a & 1 != 0);
        }
        if let Op::Not = operation.op {
            return Ok(a & 1 == 0);
        }
        let b = self.scalar_source(operation, Field::B, immediate)?;
        match operation.op {
            Op::And => return Ok(a & b & 1 != 0),
            Op::Or => return Ok((a | b) & 1 != 0),
            Op::Xor => return Ok((a ^ b) & 1 != 0),
            _ => {}
        }
        let element = element_of(operation)?;
        let mask = u32::MAX >> (32 - element.bits());
        let compare =
            compare_of(operation.op, operation.switch(0)).ok_or_else(|| Trap::not_modelled(operation.op.mnemonic()))?;
        Ok(alu::compare(compare, element, a & mask, b & mask))
    }

    /// Operations that write coordinates: each selected dimension on its own.
    fn execute_coordinates(&mut self, operation: &Operation<Op>, immediate: u32, dest: u8) -> Result<(), Trap> {
        let selected = operation.fields.bits(DIMENSION_MASK);
        for dimension in (0..DIMENSIONS).filter(|dimension| selected >> dimension & 1 != 0) {
            let a = self.coordinate_source(operation, Field::A, immediate, dimension)?;
            let value = match operation.op {
                Op::Mov | Op::SetIndx => a,
                op => {
                    let b = self.coordinate_source(operation, Field::B, immediate, dimension)?;
                    let binary = binary_of(op, false, false, false).ok_or_else(|| Trap::not_modelled(op.mnemonic()))?;
                    alu::binary(binary, ElementType::I32, a, b, RoundingMode::NearestEven)
                }
            };
            self.registers.push(Write::I(dest, dimension, value as i32));
        }
        Ok(())
    }

    /// One coordinate of an IRF source; a scalar source stands for every dimension.
    fn coordinate_source(
        &self,
        operation: &Operation<Op>,
        field: Field,
        immediate: u32,
        dimension: usize,
    ) -> Result<u32, Trap> {
        match operation.operand(field) {
            Some(Operand::I(number)) => Ok(self.registers.i(number)[dimension] as u32),
            _ => self.scalar_source(operation, field, immediate),
        }
    }

    /// Four steps of restoring division: remainder in the even register's upper part, quotient bits collected in the odd one.
    ///
    /// Chosen (the document gives only the state before the first and after the last call): step `n` to `n - 3` each subtract
    /// `divisor << step` from the even register when it fits and set that bit of the odd register. The first call, which names the
    /// highest step, clears the quotient.
    fn divide_step(&mut self, operation: &Operation<Op>, divisor: u32, dest: u8) -> Result<(), Trap> {
        let element = element_of(operation)?;
        let mask = u32::MAX >> (32 - element.bits());
        let first = u32::from(operation.fields.get(Field::Switch) & 0x1F);
        let mut remainder = u64::from(self.registers.s(dest) & mask);
        let mut quotient = if first + 1 == element.bits() { 0 } else { self.registers.s(dest + 1) & mask };
        let divisor = u64::from(divisor & mask);
        for step in (0..=first).rev().take(4) {
            // Chosen: division by zero gives all ones, as subtracting nothing always fits.
            if divisor << step <= remainder {
                remainder -= divisor << step;
                quotient |= 1 << step;
            }
        }
        self.registers.push(Write::S(dest, remainder as u32));
        self.registers.push(Write::S(dest + 1, quotient));
        Ok(())
    }
}

fn rounding_of(code: u32) -> Result<Rounding, Trap> {
    Ok(match code {
        0 => RoundingMode::NearestEven,
        1 => RoundingMode::Zero,
        2 => RoundingMode::Up,
        3 => RoundingMode::Down,
        6 => RoundingMode::NearestAway,
        4 => return Err(Trap::not_modelled("stochastic rounding")),
        _ => return Err(Trap::new(Cause::IllegalInstruction, format!("rounding code {code} does not exist"))),
    })
}

pub(super) fn element_of<O: SlotOp>(operation: &Operation<O>) -> Result<ElementType, Trap> {
    ElementType::from_code(operation.fields.bits(TYPE)).ok_or_else(|| Trap::not_modelled("this element type"))
}

pub(super) fn is_float_arithmetic(operation: Binary, element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::Bf16)
        && matches!(operation, Binary::Add { .. } | Binary::Sub { .. } | Binary::Mul)
}

pub(super) fn unary_of(op: Op, switch_0: bool, switch_1: bool) -> Option<Unary> {
    Some(match op {
        Op::Not => Unary::Not,
        Op::Abs => Unary::Abs,
        Op::Popcnt => Unary::Count { ones: switch_0 },
        Op::FindFirst => Unary::FindFirst { one: switch_0, from_top: switch_1 },
        Op::Brev => Unary::Reverse,
        Op::ExtractExp => Unary::Exponent { biased: switch_0 },
        Op::Fclass => Unary::Classify,
        _ => return None,
    })
}

pub(super) fn binary_of(op: Op, switch_0: bool, switch_1: bool, switch_2: bool) -> Option<Binary> {
    Some(match op {
        Op::Add => Binary::Add { saturate: switch_0 },
        Op::Sub => Binary::Sub { saturate: switch_0, negate: switch_1 },
        Op::Mul => {
            if switch_2 {
                Binary::MulUpper
            } else {
                Binary::Mul
            }
        }
        Op::Max => Binary::Max,
        Op::Min => Binary::Min,
        Op::And => Binary::And,
        Op::Or => Binary::Or,
        Op::Xor => Binary::Xor,
        Op::Shl => Binary::ShiftLeft,
        Op::Shr => Binary::ShiftRight,
        Op::Ash => Binary::ShiftArithmetic { round: switch_1 },
        _ => return None,
    })
}

pub(super) fn compare_of(op: Op, mask: bool) -> Option<Compare> {
    Some(match op {
        Op::CmpEq => {
            if mask {
                Compare::MaskIsZero
            } else {
                Compare::Equal
            }
        }
        Op::CmpNeq => Compare::NotEqual,
        Op::CmpLess => Compare::Less,
        Op::CmpLeq => Compare::LessOrEqual,
        Op::CmpGrt => Compare::Greater,
        Op::CmpGeq => Compare::GreaterOrEqual,
        _ => return None,
    })
}
