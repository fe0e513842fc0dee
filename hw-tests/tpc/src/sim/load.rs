//! The LOAD slot (`tpc.md` 6.3).

use super::local::Half;
use super::memory::Memory;
use super::registers::{DIMENSIONS, Write};
use super::tensor::{TensorAccess, element_address};
use super::vector::{ByteMask, Vector, lane_bytes};
use super::{Cause, Tpc, Trap, descriptor};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::{Bits, SlotOp};
use crate::opcodes::LoadOp as Op;
use crate::operand::{ElementType, Operand};

const DIMENSION_MASK: Bits = Bits::new(Field::B, 2, 5);
const TENSOR: Bits = Bits::new(Field::B, 0, 4);
const MOV_TYPE: Bits = Bits::new(Field::B, 4, 4);
const SECTION: Bits = Bits::new(Field::B, 0, 4);
const MMIO: Bits = Bits::new(Field::B, 0, 1);

/// The register with the tensor number of a load.
const TENSOR_NUMBER_REGISTER: u8 = 27;
/// The register with the lanes of a partial load.
const PARTIAL_REGISTER: u8 = 30;

/// First register of the descriptor in the own block.
const DESCRIPTOR_REGISTERS: u32 = 0x400;
/// ROUND_CSR in the own block.
pub(super) const ROUND_CSR: u32 = 0x8FC;
/// SEMAPHORE in the own block.
pub(super) const SEMAPHORE: u32 = 0x908;

impl Tpc {
    pub(super) fn execute_load(
        &mut self,
        operation: &Operation<Op>,
        immediate: u32,
        memory: &mut dyn Memory,
    ) -> Result<(), Trap> {
        let dest = operation.operand(Field::Dest);
        let vector_result = matches!(dest, Some(Operand::V(_) | Operand::Vp(_)));
        if operation.predicate.vector && !vector_result {
            return Err(Trap::not_modelled("a result without lanes under a vector predicate"));
        }
        if !operation.predicate.vector && !self.scalar_predicate(operation.predicate) {
            return Ok(());
        }
        match operation.op {
            Op::SetIndx => {
                let value = self.scalar_source(operation, Field::A, immediate)?;
                self.set_coordinates(coordinates_number(dest)?, operation.fields.bits(DIMENSION_MASK), value);
                Ok(())
            }
            Op::PrmtIndx => {
                let order = self.scalar_source(operation, Field::B, immediate)?;
                self.permute_coordinates(operation, coordinates_number(dest)?, order)
            }
            Op::Mov => self.load_move(operation, immediate),
            Op::LdL => {
                let address = self.scalar_source(operation, Field::A, immediate)?;
                let value = if operation.fields.bits(MMIO) != 0 {
                    self.read_register(address)?
                } else {
                    self.local.load_scalar(address)?
                };
                self.push_word(dest, value, ByteMask::ALL)
            }
            Op::LdG => {
                let Some(Operand::Ad(number)) = operation.operand(Field::A) else {
                    return Err(Trap::not_modelled("this address of ld_g"));
                };
                let mut bytes = [0; 4];
                memory.read(self.registers.ad(number), &mut bytes).map_err(Trap::read)?;
                let mask = self.lane_mask(operation.predicate, 4).unwrap_or(ByteMask::NONE);
                self.push_word(dest, u32::from_le_bytes(bytes), mask)
            }
            // A hint: caches have no effect in this model.
            Op::Prefetch => Ok(()),
            Op::GenAddr => {
                let Some(Operand::Ad(number)) = dest else {
                    return Err(Trap::not_modelled("this destination of gen_addr"));
                };
                let address = self.generated_address(operation)?;
                self.registers.push(Write::Ad(number, address));
                Ok(())
            }
            Op::LdLV => self.load_local_vector(operation, immediate, Half::Both),
            Op::LdLVLow => self.load_local_vector(operation, immediate, Half::Low),
            Op::LdLVHigh => self.load_local_vector(operation, immediate, Half::High),
            Op::LdTnsr => self.load_tensor(operation, Half::Both, memory),
            Op::LdTnsrLow => self.load_tensor(operation, Half::Low, memory),
            Op::LdTnsrHigh => self.load_tensor(operation, Half::High, memory),
            Op::Lookup | Op::Lookup1C | Op::Lookup2C => self.look_up(operation, immediate, memory),
        }
    }

    /// Writes one value into the selected coordinates.
    pub(super) fn set_coordinates(&mut self, dest: u8, selected: u16, value: u32) {
        for dimension in (0..DIMENSIONS).filter(|dimension| selected >> dimension & 1 != 0) {
            self.registers.push(Write::I(dest, dimension, value as i32));
        }
    }

    /// PRMT_INDX of both slots: each dimension takes the one that 3 bits of `order` name.
    pub(super) fn permute_coordinates<O: SlotOp>(
        &mut self,
        operation: &Operation<O>,
        dest: u8,
        order: u32,
    ) -> Result<(), Trap> {
        let source = *self.coordinates(operation)?;
        for dimension in 0..DIMENSIONS {
            let from = (order >> (3 * dimension) & 7) as usize;
            let value = *source.get(from).ok_or_else(|| Trap::not_modelled("a dimension above 4"))?;
            self.registers.push(Write::I(dest, dimension, value));
        }
        Ok(())
    }

    /// The coordinates in SrcA.
    pub(super) fn coordinates<O: SlotOp>(&self, operation: &Operation<O>) -> Result<&[i32; DIMENSIONS], Trap> {
        coordinates_number(operation.operand(Field::A)).map(|number| self.registers.i(number))
    }

    /// GEN_ADDR of both slots. Chosen: bounds are not checked; the access to the address is.
    pub(super) fn generated_address<O: SlotOp>(&self, operation: &Operation<O>) -> Result<u64, Trap> {
        // PANIC: four bits number the sixteen tensors.
        let tensor = &self.tensors[usize::from(operation.fields.bits(TENSOR))];
        Ok(element_address(tensor, self.coordinates(operation)?))
    }

    /// The tensor of an access: named in the instruction or by a scalar register.
    pub(super) fn tensor_of<O: SlotOp>(
        &self,
        operation: &Operation<O>,
        number_register: u8,
    ) -> Result<descriptor::Tensor, Trap> {
        let number = if operation.switch(3) {
            self.registers.s(number_register) as usize
        } else {
            usize::from(operation.fields.bits(TENSOR))
        };
        self.tensors
            .get(number)
            .copied()
            .ok_or_else(|| Trap::new(Cause::IllegalInstruction, format!("tensor {number} does not exist")))
    }

    fn load_tensor(&mut self, operation: &Operation<Op>, half: Half, memory: &mut dyn Memory) -> Result<(), Trap> {
        let Some(Operand::V(dest)) = operation.operand(Field::Dest) else {
            return Err(Trap::not_modelled("a tensor load into a predicate"));
        };
        let tensor = self.tensor_of(operation, TENSOR_NUMBER_REGISTER)?;
        let mut access = TensorAccess::new(&tensor, self.coordinates(operation)?, half);
        if operation.switch(0) {
            access.restrict(self.registers.s(PARTIAL_REGISTER));
        }
        let mask = self.lane_mask(operation.predicate, access.width()).unwrap_or(ByteMask::NONE);
        let mut value = Vector::ZERO;
        let named = access.load(memory, &mut value)?;
        self.registers.push(Write::V(dest, value, mask.zip(&named, |a, b| a & b)));
        Ok(())
    }

    fn load_local_vector(&mut self, operation: &Operation<Op>, immediate: u32, half: Half) -> Result<(), Trap> {
        let Some(Operand::V(dest)) = operation.operand(Field::Dest) else {
            return Err(Trap::not_modelled("a local vector load into a predicate"));
        };
        // Chosen: the access has no type, so a vector predicate is read byte by byte.
        let mask = self.lane_mask(operation.predicate, 1).unwrap_or(ByteMask::NONE);
        let address = self.scalar_source(operation, Field::A, immediate)?;
        let mut value = Vector::ZERO;
        self.local.load_vector(address, half, &mut value)?;
        let part = match half {
            Half::Both => ByteMask::ALL,
            Half::Low => ByteMask::LOW,
            Half::High => ByteMask::HIGH,
        };
        self.registers.push(Write::V(dest, value, mask.zip(&part, |a, b| a & b)));
        Ok(())
    }

    fn load_move(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        match operation.operand(Field::Dest) {
            Some(Operand::V(dest)) => {
                let element = mov_type(operation)?;
                let width = lane_bytes(element);
                let value = *self.vector_source(operation, Field::A, width, immediate)?;
                let mask = self.lane_mask(operation.predicate, width).unwrap_or(ByteMask::NONE);
                self.registers.push(Write::V(dest, value, mask));
                Ok(())
            }
            Some(Operand::Vp(dest)) => {
                self.move_to_vector_predicate(operation, dest, operation.fields.bits(SECTION), immediate)
            }
            Some(Operand::I(dest)) => {
                let selected = operation.fields.bits(DIMENSION_MASK);
                if let Some(Operand::I(source)) = operation.operand(Field::A) {
                    let source = *self.registers.i(source);
                    for (dimension, value) in
                        source.into_iter().enumerate().filter(|(dimension, _)| selected >> dimension & 1 != 0)
                    {
                        self.registers.push(Write::I(dest, dimension, value));
                    }
                    return Ok(());
                }
                let value = self.scalar_source(operation, Field::A, immediate)?;
                self.set_coordinates(dest, selected, value);
                Ok(())
            }
            dest => {
                let value = self.scalar_source(operation, Field::A, immediate)?;
                self.push_word(dest, value, ByteMask::ALL)
            }
        }
    }

    /// A 32-bit result for a scalar register, a scalar predicate (bit 0) or every lane of a vector.
    fn push_word(&mut self, dest: Option<Operand>, value: u32, mask: ByteMask) -> Result<(), Trap> {
        self.registers.push(match dest {
            Some(Operand::S(number)) => Write::S(number, value),
            Some(Operand::Sp(number)) => Write::Sp(number, value & 1 != 0),
            Some(Operand::V(number)) => Write::V(number, Vector::splat(value, 4), mask),
            _ => return Err(Trap::not_modelled("this destination of a load")),
        });
        Ok(())
    }

    /// A register of the own block that a kernel can read: descriptor, ROUND_CSR, SEMAPHORE.
    fn read_register(&self, offset: u32) -> Result<u32, Trap> {
        let in_descriptor = offset.wrapping_sub(DESCRIPTOR_REGISTERS) as usize;
        match offset {
            ROUND_CSR => Ok(self.round_csr),
            SEMAPHORE => Ok(self.semaphore),
            _ if in_descriptor < descriptor::DESCRIPTOR_BYTES && offset.is_multiple_of(4) => {
                Ok(descriptor::word(&self.descriptor, in_descriptor))
            }
            _ => Err(Trap::new(Cause::RegisterRead, format!("register {offset:#x} cannot be read by a kernel"))),
        }
    }
}

/// The number of a coordinate register.
pub(super) fn coordinates_number(operand: Option<Operand>) -> Result<u8, Trap> {
    match operand {
        Some(Operand::I(number)) => Ok(number),
        _ => Err(Trap::not_modelled("this coordinate register")),
    }
}

fn mov_type(operation: &Operation<Op>) -> Result<ElementType, Trap> {
    ElementType::from_code(operation.fields.bits(MOV_TYPE)).ok_or_else(|| Trap::not_modelled("this element type"))
}
