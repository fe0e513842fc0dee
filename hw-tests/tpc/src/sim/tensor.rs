//! Vector accesses to tensors: addresses, bounds, padding, packing, read-modify-write (`tpc.md` 10).

use super::Trap;
use super::alu::{self, Binary, Rounding};
use super::descriptor::Tensor;
use super::local::Half;
use super::memory::Memory;
use super::registers::DIMENSIONS;
use super::vector::{ByteMask, VECTOR_BYTES, Vector, lane_bytes};
use crate::operand::ElementType;

/// The element type of a tensor data type code, 0..8 (`tpc.md` 4).
pub(super) const fn element_of(data_type: u32) -> ElementType {
    match data_type & 7 {
        0 => ElementType::I8,
        1 => ElementType::I16,
        2 => ElementType::I32,
        3 => ElementType::U8,
        4 => ElementType::U16,
        5 => ElementType::U32,
        6 => ElementType::Bf16,
        _ => ElementType::F32,
    }
}

/// How a store combines with memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadModifyWrite {
    /// Type of the combination.
    pub(super) element: ElementType,
    /// 0 add, 1 subtract, 2 minimum, 3 maximum.
    pub(super) operation: u32,
    /// Rounding of a float sum.
    pub(super) rounding: Rounding,
}

/// The elements that one vector access of a tensor touches: lane l has coordinates (c0 + l, c1, ... c4).
#[derive(Clone, Debug)]
pub(super) struct TensorAccess {
    /// Address of lane 0, which may lie outside of the tensor.
    first: u64,
    /// Bytes between the elements of neighbouring lanes.
    step: u64,
    /// Bytes of an element.
    width: usize,
    /// Lanes of the register that take part: all or half of them.
    lanes: usize,
    /// Byte of the register where lane 0 is.
    register_offset: usize,
    /// Lanes inside of the tensor.
    inside: core::ops::Range<usize>,
    /// Lanes that a partial access names.
    named: core::ops::Range<usize>,
    padding: u32,
}

/// The address of an element; coordinates outside of the tensor give addresses outside.
pub(super) fn element_address(tensor: &Tensor, coordinates: &[i32; DIMENSIONS]) -> u64 {
    let width = lane_bytes(element_of(tensor.data_type)) as i64;
    let mut address = tensor.base;
    for dimension in (0..DIMENSIONS).filter(|dimension| tensor.dimensions >> dimension & 1 != 0) {
        let distance =
            i64::from(coordinates[dimension]).wrapping_mul(i64::from(tensor.strides[dimension])).wrapping_mul(width);
        address = address.wrapping_add_signed(distance);
    }
    address
}

impl TensorAccess {
    /// The access of a whole register or of a half, at `coordinates`.
    pub(super) fn new(tensor: &Tensor, coordinates: &[i32; DIMENSIONS], half: Half) -> Self {
        let width = lane_bytes(element_of(tensor.data_type));
        let range = half.range();
        let lanes = range.len() / width;
        let valid = |dimension: usize| tensor.dimensions >> dimension & 1 != 0;
        let size = |dimension: usize| i64::from(tensor.sizes[dimension]);
        let coordinate = |dimension: usize| i64::from(coordinates[dimension]);
        let row_is_inside = (1..DIMENSIONS)
            .filter(|&dimension| valid(dimension))
            .all(|dimension| (0..size(dimension)).contains(&coordinate(dimension)));
        let inside = if !row_is_inside {
            0..0
        } else if valid(0) {
            let clamp = |lane: i64| lane.clamp(0, lanes as i64) as usize;
            clamp(-coordinate(0))..clamp(size(0) - coordinate(0))
        } else {
            0..lanes
        };
        let step = if valid(0) { u64::from(tensor.strides[0]).wrapping_mul(width as u64) } else { 0 };
        Self {
            first: element_address(tensor, coordinates),
            step,
            width,
            lanes,
            register_offset: range.start,
            inside,
            named: 0..lanes,
            padding: tensor.padding,
        }
    }

    /// Bytes of an element.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Restricts the access to the lanes that a partial register (S30, S31) names: bits 7:0 count minus 1, bits 15:8 first.
    ///
    /// Chosen: lane l keeps coordinate c0 + l; lanes beyond the register do not exist.
    pub(super) fn restrict(&mut self, parameters: u32) {
        let first = (parameters >> 8 & 0xFF) as usize;
        let count = (parameters & 0xFF) as usize + 1;
        self.named = first.min(self.lanes)..(first + count).min(self.lanes);
    }

    /// Reads into `value` what the register gets: elements inside from memory, the others padding. The mask tells which bytes of the
    /// register are meant.
    pub(super) fn load(&self, memory: &mut dyn Memory, value: &mut Vector) -> Result<ByteMask, Trap> {
        let lanes = self.touched();
        if lanes.len() * self.width != VECTOR_BYTES {
            *value = Vector::splat(self.padding, self.width);
        }
        let register_bytes = |lanes: &core::ops::Range<usize>| {
            self.register_offset + lanes.start * self.width..self.register_offset + lanes.end * self.width
        };
        let mask = ByteMask::from_bytes(register_bytes(&self.named));
        if self.step == self.width as u64 {
            if !lanes.is_empty() {
                let bytes = register_bytes(&lanes);
                // PANIC: the lanes lie inside the register.
                memory.read(self.address(lanes.start), &mut value.0[bytes]).map_err(Trap::read)?;
            }
        } else {
            for lane in lanes {
                let at = self.register_offset + lane * self.width;
                // PANIC: as above.
                memory.read(self.address(lane), &mut value.0[at..at + self.width]).map_err(Trap::read)?;
            }
        }
        Ok(mask)
    }

    /// Writes the elements inside from the lanes of the register that the access means.
    pub(super) fn store(
        &self,
        memory: &mut dyn Memory,
        value: &Vector,
        combine: Option<ReadModifyWrite>,
    ) -> Result<(), Trap> {
        let mut write = |first: usize, count: usize| {
            let at = self.register_offset + first * self.width;
            // PANIC: the lanes lie inside the register.
            let new = &value.0[at..at + count * self.width];
            let Some(combine) = combine else {
                return memory.write(self.address(first), new).map_err(Trap::write);
            };
            let mut buffer = [0; VECTOR_BYTES];
            // PANIC: at most a register is written at once.
            let bytes = &mut buffer[..new.len()];
            memory.read(self.address(first), bytes).map_err(Trap::read)?;
            for (old, new) in bytes.chunks_exact_mut(self.width).zip(new.chunks_exact(self.width)) {
                combine.apply(old, new);
            }
            memory.write(self.address(first), bytes).map_err(Trap::write)
        };
        let lanes = self.touched();
        if self.step == self.width as u64 {
            return if lanes.is_empty() { Ok(()) } else { write(lanes.start, lanes.len()) };
        }
        lanes.into_iter().try_for_each(|lane| write(lane, 1))
    }

    /// Lanes that reach memory.
    fn touched(&self) -> core::ops::Range<usize> {
        let start = self.inside.start.max(self.named.start);
        start..self.inside.end.min(self.named.end).max(start)
    }

    fn address(&self, lane: usize) -> u64 {
        self.first.wrapping_add(self.step.wrapping_mul(lane as u64))
    }
}

impl ReadModifyWrite {
    fn apply(self, old: &mut [u8], new: &[u8]) {
        let width = old.len();
        let word = |bytes: &[u8]| {
            let mut word = [0; 4];
            // PANIC: an element has 1, 2 or 4 bytes.
            word[..width].copy_from_slice(bytes);
            u32::from_le_bytes(word)
        };
        let (memory, new) = (word(old), word(new));
        let operation = match self.operation & 3 {
            0 => Binary::Add { saturate: false },
            // Chosen: what is stored is subtracted from memory.
            1 => Binary::Sub { saturate: false, negate: false },
            2 => Binary::Min,
            _ => Binary::Max,
        };
        let result = alu::binary(operation, self.element, memory, new, self.rounding);
        old.copy_from_slice(&result.to_le_bytes()[..width]);
    }
}
