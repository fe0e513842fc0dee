//! The LOAD slot (`tpc.md` 6.3).

use super::memory::Memory;
use super::registers::{DIMENSIONS, Write};
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::LoadOp as Op;
use crate::operand::Operand;

const DIMENSION_MASK: Bits = Bits::new(Field::B, 2, 5);

impl Tpc {
    pub(super) fn execute_load(
        &mut self,
        operation: &Operation<Op>,
        immediate: u32,
        _memory: &mut dyn Memory,
    ) -> Result<(), Trap> {
        let Some(_mask) = self.lane_mask(operation.predicate, 1) else { return Ok(()) };
        match (operation.op, operation.operand(Field::Dest)) {
            (Op::SetIndx, Some(Operand::I(dest))) => {
                let value = self.scalar_source(operation, Field::A, immediate)?;
                self.set_coordinates(dest, operation.fields.bits(DIMENSION_MASK), value);
                Ok(())
            }
            (Op::LdL, Some(Operand::S(dest))) => {
                let address = self.scalar_source(operation, Field::A, immediate)?;
                let value = self.local.load_scalar(address)?;
                self.registers.push(Write::S(dest, value));
                Ok(())
            }
            (op, _) => Err(Trap::not_modelled(op.mnemonic())),
        }
    }

    /// Writes one value into the selected coordinates.
    pub(super) fn set_coordinates(&mut self, dest: u8, selected: u16, value: u32) {
        for dimension in (0..DIMENSIONS).filter(|dimension| selected >> dimension & 1 != 0) {
            self.registers.push(Write::I(dest, dimension, value as i32));
        }
    }
}
