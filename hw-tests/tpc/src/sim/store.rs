//! The STORE slot (`tpc.md` 6.4).

use super::local::Half;
use super::memory::Memory;
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::StoreOp as Op;
use crate::operand::Operand;

const DIMENSION_MASK: Bits = Bits::new(Field::B, 2, 5);

impl Tpc {
    pub(super) fn execute_store(
        &mut self,
        operation: &Operation<Op>,
        immediate: u32,
        _memory: &mut dyn Memory,
    ) -> Result<(), Trap> {
        if !self.scalar_predicate(operation.predicate) {
            return Ok(());
        }
        match operation.op {
            Op::SetIndx => {
                let Some(Operand::I(dest)) = operation.operand(Field::C) else {
                    return Err(Trap::not_modelled("this destination of set_indx"));
                };
                let value = self.scalar_source(operation, Field::A, immediate)?;
                self.set_coordinates(dest, operation.fields.bits(DIMENSION_MASK), value);
                Ok(())
            }
            Op::StL => {
                let address = self.scalar_source(operation, Field::A, immediate)?;
                let value = self.scalar_source(operation, Field::C, immediate)?;
                self.local.store_scalar(address, value)
            }
            Op::StLV => {
                let address = self.scalar_source(operation, Field::A, immediate)?;
                let value = self.vector_source(operation, Field::C, 4, immediate)?;
                self.local.store_vector(address, Half::Both, &value)
            }
            // Caches have no effect in this model: every access goes to memory.
            Op::CacheFlush | Op::CacheInvalidate => Ok(()),
            op => Err(Trap::not_modelled(op.mnemonic())),
        }
    }
}
