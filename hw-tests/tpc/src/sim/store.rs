//! The STORE slot (`tpc.md` 6.4).

use super::load::{ROUND_CSR, SEMAPHORE, coordinates_number};
use super::local::Half;
use super::memory::Memory;
use super::registers::Write;
use super::tensor::{ReadModifyWrite, TensorAccess, element_of};
use super::vector::Vector;
use super::{Cause, Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::StoreOp as Op;
use crate::operand::Operand;

const DIMENSION_MASK: Bits = Bits::new(Field::B, 2, 5);
const MMIO: Bits = Bits::new(Field::B, 0, 1);

/// The register with the tensor number of a store.
const TENSOR_NUMBER_REGISTER: u8 = 28;
/// The register with the parameters of a read-modify-write store.
const RMW_REGISTER: u8 = 29;
/// The register with the lanes of a partial store.
const PARTIAL_REGISTER: u8 = 31;

impl Tpc {
    pub(super) fn execute_store(
        &mut self,
        operation: &Operation<Op>,
        immediate: u32,
        memory: &mut dyn Memory,
    ) -> Result<(), Trap> {
        if !self.scalar_predicate(operation.predicate) {
            return Ok(());
        }
        match operation.op {
            Op::SetIndx => {
                let dest = coordinates_number(operation.operand(Field::C))?;
                let value = self.scalar_source(operation, Field::A, immediate)?;
                self.set_coordinates(dest, operation.fields.bits(DIMENSION_MASK), value);
                Ok(())
            }
            Op::PrmtIndx => {
                let dest = coordinates_number(operation.operand(Field::C))?;
                let order = self.scalar_source(operation, Field::B, immediate)?;
                self.permute_coordinates(operation, dest, order)
            }
            Op::GenAddr => {
                let Some(Operand::Ad(dest)) = operation.operand(Field::C) else {
                    return Err(Trap::not_modelled("this destination of gen_addr"));
                };
                let address = self.generated_address(operation)?;
                self.registers.push(Write::Ad(dest, address));
                Ok(())
            }
            Op::StL => {
                let address = self.scalar_source(operation, Field::A, immediate)?;
                let value = self.scalar_source(operation, Field::C, immediate)?;
                if operation.fields.bits(MMIO) != 0 {
                    return self.write_register(address, value);
                }
                self.local.store_scalar(address, value)
            }
            Op::StG => {
                let Some(Operand::Ad(number)) = operation.operand(Field::A) else {
                    return Err(Trap::not_modelled("this address of st_g"));
                };
                let value = self.scalar_source(operation, Field::C, immediate)?;
                memory.write(self.registers.ad(number), &value.to_le_bytes()).map_err(Trap::write)
            }
            Op::StLV => self.store_local_vector(operation, immediate, Half::Both),
            Op::StLVLow => self.store_local_vector(operation, immediate, Half::Low),
            Op::StLVHigh => self.store_local_vector(operation, immediate, Half::High),
            Op::StTnsr => self.store_tensor(operation, Half::Both, memory),
            Op::StTnsrLow => self.store_tensor(operation, Half::Low, memory),
            Op::StTnsrHigh => self.store_tensor(operation, Half::High, memory),
            // Accesses are in order anyway; the counter is what remains.
            Op::Aso => {
                let decrement = operation.fields.bits(Bits::new(Field::A, 0, 1)) != 0;
                let change = if decrement { u32::MAX } else { 1 };
                self.semaphore = self.semaphore.wrapping_add(change);
                Ok(())
            }
            // Caches have no effect in this model: every access goes to memory.
            Op::CacheFlush | Op::CacheInvalidate => Ok(()),
        }
    }

    fn store_local_vector(&mut self, operation: &Operation<Op>, immediate: u32, half: Half) -> Result<(), Trap> {
        let address = self.scalar_source(operation, Field::A, immediate)?;
        let number = self.vector_register(operation, Field::C)?;
        self.local.store_vector(address, half, self.registers.v(number))
    }

    fn store_tensor(&mut self, operation: &Operation<Op>, half: Half, memory: &mut dyn Memory) -> Result<(), Trap> {
        let tensor = self.tensor_of(operation, TENSOR_NUMBER_REGISTER)?;
        let mut access = TensorAccess::new(&tensor, self.coordinates(operation)?, half);
        if operation.switch(0) {
            access.restrict(self.registers.s(PARTIAL_REGISTER));
        }
        let mut combine = tensor.read_modify_write.then_some((element_of(tensor.data_type), tensor.operation));
        if operation.switch(1) {
            let parameters = self.registers.s(RMW_REGISTER);
            let element = if parameters >> 7 & 1 != 0 { tensor.data_type } else { parameters & 0xF };
            // Chosen: the switch gives S29 the word over the descriptor, also when S29 says "off".
            combine = (parameters >> 6 & 1 != 0).then_some((element_of(element), parameters >> 4 & 3));
        }
        let combine = match combine {
            Some((element, _)) if super::vector::lane_bytes(element) != access.width() => {
                return Err(Trap::not_modelled("a read-modify-write of another width than the tensor"));
            }
            Some((element, operation)) => {
                Some(ReadModifyWrite { element, operation, rounding: self.register_rounding()? })
            }
            None => None,
        };
        let pack = operation.switch(2);
        let value = *self.registers.v(self.vector_register(operation, Field::C)?);
        match (pack, access.width(), half) {
            (false, ..) => access.store(memory, &value, combine),
            // Even lanes first, then odd ones.
            (true, 2, Half::Both) => {
                let source = |element| if element < 64 { 2 * element } else { 2 * (element - 64) + 1 };
                let packed = Vector::from_lanes(2, |element| value.lane(2, source(element)));
                access.store(memory, &packed, combine)
            }
            (true, ..) => Err(Trap::not_modelled("a packing store of this width")),
        }
    }

    /// A register of the own block that a kernel can write: ROUND_CSR, SEMAPHORE.
    fn write_register(&mut self, offset: u32, value: u32) -> Result<(), Trap> {
        match offset {
            ROUND_CSR => self.round_csr = value & 7,
            SEMAPHORE => self.semaphore = value,
            _ => {
                let text = format!("register {offset:#x} cannot be written by a kernel");
                return Err(Trap::new(Cause::RegisterWrite, text));
            }
        }
        Ok(())
    }
}
