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
        Self::from_lanes(width, |_| value)
    }

    /// The number of each lane, in lanes of `width` bytes (8-bit numbers wrap never: there are 256).
    #[must_use]
    pub fn lane_numbers(width: usize) -> Self {
        Self::from_lanes(width, |lane| lane as u32)
    }

    /// A vector from its lanes of `width` bytes (1, 2 or 4); the low bits of each value are taken.
    #[must_use]
    #[inline(always)]
    pub fn from_lanes(width: usize, mut lane: impl FnMut(usize) -> u32) -> Self {
        let mut vector = Self::ZERO;
        match width {
            4 => {
                for (index, bytes) in vector.0.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *bytes = lane(index).to_le_bytes();
                }
            }
            2 => {
                for (index, bytes) in vector.0.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    *bytes = (lane(index) as u16).to_le_bytes();
                }
            }
            _ => {
                for (index, byte) in vector.0.iter_mut().enumerate() {
                    *byte = lane(index) as u8;
                }
            }
        }
        vector
    }

    /// A lane of `width` bytes (1, 2 or 4), zero-extended.
    ///
    /// # Panics
    ///
    /// When the lane lies outside the vector; callers count lanes by `VECTOR_BYTES / width`.
    #[must_use]
    #[inline(always)]
    pub fn lane(&self, width: usize, index: usize) -> u32 {
        // PANIC: see above.
        match width {
            4 => u32::from_le_bytes(self.0.as_chunks::<4>().0[index]),
            2 => u32::from(u16::from_le_bytes(self.0.as_chunks::<2>().0[index])),
            _ => u32::from(self.0[index]),
        }
    }

    /// Sets a lane of `width` bytes (1, 2 or 4) to the low bits of `value`.
    ///
    /// # Panics
    ///
    /// When the lane lies outside the vector.
    #[inline]
    pub fn set_lane(&mut self, width: usize, index: usize, value: u32) {
        // PANIC: see above.
        match width {
            4 => self.0.as_chunks_mut::<4>().0[index] = value.to_le_bytes(),
            2 => self.0.as_chunks_mut::<2>().0[index] = (value as u16).to_le_bytes(),
            _ => self.0[index] = value as u8,
        }
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

    /// The bytes of a range inside 0..256.
    #[must_use]
    pub fn from_bytes(range: core::ops::Range<usize>) -> Self {
        Self(core::array::from_fn(|word| {
            let start = range.start.clamp(64 * word, 64 * word + 64) - 64 * word;
            let end = range.end.clamp(64 * word, 64 * word + 64) - 64 * word;
            if start < end { (u64::MAX >> (64 - (end - start))) << start } else { 0 }
        }))
    }

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

    /// The highest bit of every byte.
    #[must_use]
    pub fn of_bytes(vector: &Vector) -> Self {
        let mut mask = Self::NONE;
        for (word, bytes) in mask.0.iter_mut().zip(vector.0.as_chunks::<64>().0) {
            for (index, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
                // The product gathers bits 7, 15, ... 63 in its highest byte.
                let tops = u64::from_le_bytes(*eight) >> 7 & 0x0101_0101_0101_0101;
                *word |= (tops.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * index);
            }
        }
        mask
    }

    /// The mask in which each lane of `width` bytes repeats its lowest bit, inverted on demand: what a predicate means
    /// to an operation of that width (`tpc.md` 2.1, a choice of the model).
    #[must_use]
    pub fn per_lane(&self, width: usize, inverted: bool) -> Self {
        let (lowest, lane) = match width {
            4 => (0x1111_1111_1111_1111, 0xF),
            2 => (0x5555_5555_5555_5555, 0x3),
            _ => (u64::MAX, 1),
        };
        let flip = if inverted { u64::MAX } else { 0 };
        Self(self.0.map(|word| ((word & lowest) * lane) ^ flip))
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

impl Vector {
    /// Takes the masked bytes of `new`.
    pub fn blend(&mut self, new: &Self, mask: &ByteMask) {
        for (index, (old, new)) in self.0.as_chunks_mut::<8>().0.iter_mut().zip(new.0.as_chunks::<8>().0).enumerate() {
            // PANIC: there are 32 groups of 8 bytes, and 4 words with the bits of 8 groups each.
            let bits = mask.0[index / 8] >> (8 * (index % 8)) & 0xFF;
            // Bit n of the eight in byte n alone, then the whole byte.
            let spread = bits.wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
            let bytes = ((spread + 0x7F7F_7F7F_7F7F_7F7F) >> 7 & 0x0101_0101_0101_0101) * 0xFF;
            *old = (u64::from_le_bytes(*old) & !bytes | u64::from_le_bytes(*new) & bytes).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blend_takes_exactly_the_masked_bytes() {
        let (old, new) = (Vector([0x55; VECTOR_BYTES]), Vector::lane_numbers(1));
        for (start, end) in [(0, 256), (0, 0), (3, 70), (255, 256), (64, 65)] {
            let mut blended = old;
            blended.blend(&new, &ByteMask::from_bytes(start..end));
            assert!(
                (0..256).all(|byte| blended.0[byte] == if (start..end).contains(&byte) { byte as u8 } else { 0x55 })
            );
        }
    }

    #[test]
    fn the_highest_bits_of_bytes_are_gathered_in_order() {
        let vector = Vector::from_lanes(1, |lane| if lane % 7 == 3 { 0x80 } else { 0x7F });
        assert_eq!(ByteMask::of_bytes(&vector), ByteMask::from_lanes(1, |lane| lane % 7 == 3));
    }

    #[test]
    fn a_mask_of_a_range_has_exactly_its_bytes() {
        for (start, end) in [(0, 256), (0, 0), (5, 5), (0, 1), (63, 65), (64, 128), (100, 255), (255, 256), (9, 3)] {
            let mask = ByteMask::from_bytes(start..end);
            assert!((0..256).all(|byte| mask.bit(byte) == (start..end).contains(&byte)), "{start}..{end}");
        }
    }

    #[test]
    fn a_lane_of_a_mask_repeats_its_lowest_bit() {
        let mut mask = ByteMask::NONE;
        mask.set_lane(1, 4, true);
        mask.set_lane(1, 9, true);
        assert_eq!(mask.per_lane(4, false), ByteMask::from_bytes(4..8));
        assert_eq!(mask.per_lane(2, false), ByteMask::from_bytes(4..6));
        assert_eq!(mask.per_lane(4, true).zip(&mask.per_lane(4, false), |a, b| a ^ b), ByteMask::ALL);
    }

    #[test]
    fn lanes_are_little_endian() {
        let vector = Vector::from_lanes(2, |lane| 0x1000 + lane as u32);
        assert_eq!(vector.0[..4], [0x00, 0x10, 0x01, 0x10]);
        assert_eq!(vector.lane(4, 0), 0x1001_1000);
        assert_eq!(vector.lane(1, 255), 0x10);
    }
}
