//! Vector values and lane masks.
//!
//! A vector is 256 bytes, little-endian; lane k of a type of w bytes is bytes k*w .. k*w + w. A mask has one bit per byte.

use crate::operand::ElementType;

/// Bytes of a vector register.
pub const VECTOR_BYTES: usize = 256;

/// The content of a vector register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector(pub [u8; VECTOR_BYTES]);

impl Vector {
    /// All bytes zero.
    pub const ZERO: Self = Self([0; VECTOR_BYTES]);

    /// The low `width` bytes of `value` in every lane; `width` is 1, 2 or 4.
    #[must_use]
    pub fn splat(value: u32, width: usize) -> Self {
        let bytes = value.to_le_bytes();
        Self(core::array::from_fn(|index| bytes[index % width]))
    }

    /// The number of each lane, in lanes of `width` bytes (8-bit numbers wrap never: there are 256).
    #[must_use]
    pub fn lane_numbers(width: usize) -> Self {
        Self::from_lanes(width, |lane| lane as u32)
    }

    /// A vector from its lanes of `width` bytes; the low bits of each value are taken.
    #[must_use]
    pub fn from_lanes(width: usize, mut lane: impl FnMut(usize) -> u32) -> Self {
        let mut vector = Self::ZERO;
        for (index, chunk) in vector.0.chunks_exact_mut(width).enumerate() {
            let bytes = lane(index).to_le_bytes();
            // PANIC: width is 1, 2 or 4.
            chunk.copy_from_slice(&bytes[..width]);
        }
        vector
    }

    /// A lane of `width` bytes, zero-extended.
    ///
    /// # Panics
    ///
    /// When the lane lies outside the vector; callers count lanes by `VECTOR_BYTES / width`.
    #[must_use]
    pub fn lane(&self, width: usize, index: usize) -> u32 {
        let mut bytes = [0; 4];
        // PANIC: see above; width is 1, 2 or 4.
        bytes[..width].copy_from_slice(&self.0[index * width..(index + 1) * width]);
        u32::from_le_bytes(bytes)
    }

    /// Sets a lane of `width` bytes to the low bits of `value`.
    ///
    /// # Panics
    ///
    /// When the lane lies outside the vector.
    pub fn set_lane(&mut self, width: usize, index: usize, value: u32) {
        // PANIC: see above; width is 1, 2 or 4.
        self.0[index * width..(index + 1) * width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// One bit per byte of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteMask(pub [u64; 4]);

impl ByteMask {
    /// No byte.
    pub const NONE: Self = Self([0; 4]);
    /// Every byte.
    pub const ALL: Self = Self([u64::MAX; 4]);
    /// Bytes 0-127.
    pub const LOW: Self = Self([u64::MAX, u64::MAX, 0, 0]);
    /// Bytes 128-255.
    pub const HIGH: Self = Self([0, 0, u64::MAX, u64::MAX]);

    /// The bit of a byte, 0..256.
    #[must_use]
    pub fn bit(&self, byte: usize) -> bool {
        // PANIC: callers count bytes below 256.
        (self.0[byte / 64] >> (byte % 64)) & 1 != 0
    }

    /// Sets the `width` bits of a lane.
    pub fn set_lane(&mut self, width: usize, lane: usize, value: bool) {
        let bits = ((1u64 << width) - 1) << (lane * width % 64);
        // PANIC: callers count lanes by 256 / width. A lane never crosses a word: its width divides 64.
        let word = &mut self.0[lane * width / 64];
        *word = if value { *word | bits } else { *word & !bits };
    }

    /// A mask from one truth value per lane: all bits of a lane are equal.
    #[must_use]
    pub fn from_lanes(width: usize, mut lane: impl FnMut(usize) -> bool) -> Self {
        let mut mask = Self::NONE;
        for index in 0..VECTOR_BYTES / width {
            if lane(index) {
                mask.set_lane(width, index, true);
            }
        }
        mask
    }

    /// The mask in which each lane of `width` bytes repeats its lowest bit, inverted on demand: what a predicate means
    /// to an operation of that width (`tpc.md` 2.1, a choice of the model).
    #[must_use]
    pub fn per_lane(&self, width: usize, inverted: bool) -> Self {
        Self::from_lanes(width, |lane| self.bit(lane * width) != inverted)
    }

    /// Combines two masks bit by bit.
    #[must_use]
    pub fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        // PANIC: the index is 0..4.
        Self(core::array::from_fn(|index| combine(self.0[index], other.0[index])))
    }
}

/// Bytes of a vector lane of a type that has whole bytes.
#[must_use]
pub const fn lane_bytes(element: ElementType) -> usize {
    match element.bits() {
        32 => 4,
        16 => 2,
        _ => 1,
    }
}
