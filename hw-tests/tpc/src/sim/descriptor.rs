//! The launch descriptor: tensors, index space, scalar arguments (`tpc.md` 13.1).
//!
//! Owns the offsets inside the 0x440 bytes, which are those of the KERNEL copy at register 0x400.

use super::registers::DIMENSIONS;

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 0x440;
/// Tensors of a descriptor.
pub const TENSORS: usize = 16;
/// Scalar arguments of a descriptor.
pub const ARGUMENTS: usize = 32;

const TENSOR_BYTES: usize = 0x38;
const KERNEL_BASE_LOW: usize = 0x388;
const KERNEL_BASE_HIGH: usize = 0x38C;
const INDEX_SPACE: usize = 0x390;
const KERNEL_CONFIG: usize = 0x3B8;
const SCALARS: usize = 0x3C0;

/// What a launch needs beyond memory.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The descriptor as the registers from 0x400 (KERNEL copy) or 0xA00 (QM copy) hold it, little-endian.
    pub descriptor: [u8; DESCRIPTOR_BYTES],
    /// ROUND_CSR, bits 2:0.
    pub round_csr: u32,
    /// Addresses of the lookup tables of 256, 128, 64 and 32 entries (LUT_FUNC256 to LUT_FUNC32).
    pub lookup_tables: [u64; 4],
}

impl Default for Launch {
    /// All zero: rounding to nearest even, no tensors, an empty index space, the kernel at address 0.
    fn default() -> Self {
        Self { descriptor: [0; DESCRIPTOR_BYTES], round_csr: 0, lookup_tables: [0; 4] }
    }
}

/// One tensor descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Address of the element with all coordinates zero.
    pub base: u64,
    /// What a load returns outside.
    pub padding: u32,
    /// Data type code, tensor numbering (`tpc.md` 4), 0..8.
    pub data_type: u32,
    /// Dimensions that are checked and enter the address, bit n = dimension n.
    pub dimensions: u32,
    /// Stores read, combine and write.
    pub read_modify_write: bool,
    /// How they combine: 0 add, 1 subtract, 2 minimum, 3 maximum.
    pub operation: u32,
    /// Elements per dimension.
    pub sizes: [u32; DIMENSIONS],
    /// Elements between neighbours of a dimension.
    pub strides: [u32; DIMENSIONS],
}

impl Launch {
    /// Reads the word at a byte offset, which is a multiple of 4; 0 outside of the descriptor.
    #[must_use]
    pub fn word(&self, offset: usize) -> u32 {
        word(&self.descriptor, offset)
    }

    /// Sets the word at a byte offset; a word outside of the descriptor is dropped.
    pub fn set_word(&mut self, offset: usize, value: u32) {
        if let Some(bytes) = self.descriptor.get_mut(offset..offset + 4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Address of the first bundle.
    #[must_use]
    pub fn kernel_address(&self) -> u64 {
        u64::from(self.word(KERNEL_BASE_HIGH)) << 32 | u64::from(self.word(KERNEL_BASE_LOW))
    }

    /// Sets the address of the first bundle.
    pub fn set_kernel_address(&mut self, address: u64) {
        self.set_word(KERNEL_BASE_LOW, address as u32);
        self.set_word(KERNEL_BASE_HIGH, (address >> 32) as u32);
    }

    /// First point of the index space, per dimension.
    #[must_use]
    pub fn index_space_offset(&self) -> [i32; DIMENSIONS] {
        core::array::from_fn(|dimension| self.word(INDEX_SPACE + 8 * dimension) as i32)
    }

    /// Points of the index space, per dimension.
    #[must_use]
    pub fn index_space_size(&self) -> [i32; DIMENSIONS] {
        core::array::from_fn(|dimension| self.word(INDEX_SPACE + 8 * dimension + 4) as i32)
    }

    /// Sets this engine's part of the index space.
    pub fn set_index_space(&mut self, offset: [i32; DIMENSIONS], size: [i32; DIMENSIONS]) {
        for (dimension, (offset, size)) in offset.into_iter().zip(size).enumerate() {
            self.set_word(INDEX_SPACE + 8 * dimension, offset as u32);
            self.set_word(INDEX_SPACE + 8 * dimension + 4, size as u32);
        }
    }

    /// KERNEL_CONFIG bit 0: vector local memory has 16 KiB only.
    #[must_use]
    pub fn small_vector_memory(&self) -> bool {
        self.word(KERNEL_CONFIG) & 1 != 0
    }

    /// Scalar argument `index`, 0..32.
    #[must_use]
    pub fn argument(&self, index: usize) -> u32 {
        self.word(SCALARS + 4 * index)
    }

    /// Sets a scalar argument.
    pub fn set_argument(&mut self, index: usize, value: u32) {
        self.set_word(SCALARS + 4 * index, value);
    }

    /// Tensor `index`, 0..16.
    #[must_use]
    pub fn tensor(&self, index: usize) -> Tensor {
        tensor(&self.descriptor, index)
    }

    /// Sets tensor `index`, 0..16. The dimensions beyond the highest one in use are left out of LAST_DIM.
    pub fn set_tensor(&mut self, index: usize, tensor: &Tensor) {
        let at = index * TENSOR_BYTES;
        let last = 31 - (tensor.dimensions & 0x1F | 1).leading_zeros();
        let config = tensor.data_type & 7
            | (tensor.dimensions & 0x1F) << 8
            | last << 16
            | u32::from(tensor.read_modify_write) << 19
            | (tensor.operation & 3) << 21;
        self.set_word(at, tensor.base as u32);
        self.set_word(at + 4, (tensor.base >> 32) as u32);
        self.set_word(at + 8, tensor.padding);
        self.set_word(at + 0xC, config);
        for (dimension, (size, stride)) in tensor.sizes.into_iter().zip(tensor.strides).enumerate() {
            self.set_word(at + 0x10 + 8 * dimension, size);
            self.set_word(at + 0x14 + 8 * dimension, stride);
        }
    }
}

pub(super) fn word(descriptor: &[u8; DESCRIPTOR_BYTES], offset: usize) -> u32 {
    descriptor.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn tensor(descriptor: &[u8; DESCRIPTOR_BYTES], index: usize) -> Tensor {
    let at = index * TENSOR_BYTES;
    let config = word(descriptor, at + 0xC);
    // LAST_DIM can say 5 to 7 (its reset value is 5): every dimension that exists.
    let up_to_last = (2u32 << (config >> 16 & 7)) - 1;
    Tensor {
        base: u64::from(word(descriptor, at + 4)) << 32 | u64::from(word(descriptor, at)),
        padding: word(descriptor, at + 8),
        data_type: config & 7,
        dimensions: config >> 8 & 0x1F & up_to_last,
        read_modify_write: config >> 19 & 1 != 0,
        operation: config >> 21 & 3,
        sizes: core::array::from_fn(|dimension| word(descriptor, at + 0x10 + 8 * dimension)),
        strides: core::array::from_fn(|dimension| word(descriptor, at + 0x14 + 8 * dimension)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_lies_where_the_descriptor_table_says() {
        let mut launch = Launch::default();
        let tensor = Tensor {
            base: 0x1234_5678_9ABC,
            padding: 7,
            data_type: 7,
            dimensions: 0b11,
            read_modify_write: true,
            operation: 3,
            sizes: [100, 4, 1, 1, 1],
            strides: [1, 100, 400, 400, 400],
        };
        launch.set_tensor(2, &tensor);
        assert_eq!(launch.tensor(2), tensor);
        let words: Vec<u32> = (0..8).map(|index| launch.word(0x70 + 4 * index)).collect();
        assert_eq!(words, [0x5678_9ABC, 0x1234, 7, 7 | 3 << 8 | 1 << 16 | 1 << 19 | 3 << 21, 100, 1, 4, 100]);
    }

    #[test]
    fn dimensions_count_up_to_the_last_one_only() {
        let mut launch = Launch::default();
        for (last, dimensions) in [(0, 0b00001), (1, 0b00011), (3, 0b01111), (4, 0b11111), (5, 0b11111), (7, 0b11111)] {
            launch.set_word(0xC, 7 | 0x1F << 8 | last << 16);
            assert_eq!(launch.tensor(0).dimensions, dimensions, "last dimension {last}");
        }
        launch.set_word(0xC, 7 | 0b10100 << 8 | 3 << 16);
        assert_eq!(launch.tensor(0).dimensions, 0b00100);
    }

    #[test]
    fn the_kernel_address_and_the_index_space_lie_at_the_documented_offsets() {
        let mut launch = Launch::default();
        launch.set_word(0x388, 0x2000);
        launch.set_word(0x38C, 0x7F);
        assert_eq!(launch.kernel_address(), 0x7F_0000_2000);
        launch.set_index_space([1, 2, 3, 4, 5], [10, 20, 30, 40, 50]);
        assert_eq!(launch.word(0x390 + 8 * 4), 5);
        assert_eq!(launch.word(0x394), 10);
        launch.set_argument(31, 9);
        assert_eq!(launch.word(0x43C), 9);
    }
}
