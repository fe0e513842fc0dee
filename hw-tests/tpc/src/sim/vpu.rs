//! The vector unit (`tpc.md` 6.2).

use super::registers::Write;
use super::spu::element_of;
use super::vector::{ByteMask, Vector, lane_bytes};
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::{Predicate, SlotOp};
use crate::opcodes::VpuOp as Op;
use crate::operand::{ElementType, Operand};

impl Tpc {
    /// The bytes of the result that an operation with lanes of `width` bytes may write; `None` when it does nothing at all.
    pub(super) fn lane_mask(&self, predicate: Predicate, width: usize) -> Option<ByteMask> {
        if predicate.vector {
            return Some(self.registers.vp(predicate.register).per_lane(width, predicate.inverted));
        }
        self.scalar_predicate(predicate).then_some(ByteMask::ALL)
    }

    /// A vector source: a register, or a scalar in every lane of `width` bytes.
    pub(super) fn vector_source<O: SlotOp>(
        &self,
        operation: &Operation<O>,
        field: Field,
        width: usize,
        immediate: u32,
    ) -> Result<Vector, Trap> {
        match operation.operand(field) {
            Some(Operand::V(number)) => Ok(*self.registers.v(number)),
            Some(Operand::LaneNumber(bits)) => Ok(Vector::lane_numbers(usize::from(bits / 8))),
            Some(Operand::VectorLfsr { .. }) => Err(Trap::not_modelled("the random register")),
            _ => Ok(Vector::splat(self.scalar_source(operation, field, immediate)?, width)),
        }
    }

    pub(super) fn execute_vpu(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        if operation.op == Op::Halt {
            return Ok(());
        }
        let element = if operation.op == Op::Mov && operation.fields.get(Field::Type) == 0 {
            ElementType::F32
        } else {
            element_of(operation)?
        };
        let width = lane_bytes(element);
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        match (operation.op, operation.operand(Field::Dest)) {
            (Op::Mov, Some(Operand::V(dest))) => {
                let value = self.vector_source(operation, Field::A, width, immediate)?;
                self.registers.push(Write::V(dest, value, mask));
                Ok(())
            }
            (op, _) => Err(Trap::not_modelled(op.mnemonic())),
        }
    }
}
