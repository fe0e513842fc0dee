//! Reproducible data: byte `n` of a pattern depends on the seed and `n` alone.
//!
//! Any part of a pattern can be written or checked without the parts before it. The *complement* of a pattern differs
//! from it in every byte: memory filled with it shows which bytes a copy touched.

use crate::device::{DeviceError, HostBuffer};

/// Bytes handled at a time between a buffer and a pattern.
const BLOCK: usize = 8192;

/// A pattern, or a complement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
    flip: u64,
}

/// The first byte that is not as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Index in the pattern.
    pub index: u64,
    /// The expected byte.
    pub expected: u8,
    /// The byte found.
    pub found: u8,
}

impl Pattern {
    /// The pattern of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, flip: 0 }
    }

    /// The pattern that differs from this one in every byte.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self { seed: self.seed, flip: !self.flip }
    }

    /// Another pattern, as good as random to this one and to its complement.
    #[must_use]
    pub const fn unrelated(self) -> Self {
        Self { seed: self.seed.rotate_left(32) ^ 0x5851_F42D_4C95_7F2D, flip: 0 }
    }

    /// Eight bytes, from index `8 * word`: the SplitMix64 generator with its state computed directly.
    const fn word(self, word: u64) -> u64 {
        let mut z = self.seed.wrapping_add(word.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) ^ self.flip
    }

    /// Writes the bytes from `index` on.
    pub fn generate(self, index: u64, bytes: &mut [u8]) {
        let head = (index.wrapping_neg() % 8).min(bytes.len() as u64) as usize;
        let (first, rest) = bytes.split_at_mut(head);
        for (n, byte) in (index..).zip(first) {
            *byte = (self.word(n / 8) >> (8 * (n % 8))) as u8;
        }
        let words = (index + head as u64) / 8;
        for (n, chunk) in (words..).zip(rest.chunks_mut(8)) {
            let word = self.word(n).to_le_bytes();
            chunk.copy_from_slice(word.get(..chunk.len()).unwrap_or_default());
        }
    }

    /// Fills `length` bytes of a buffer at `offset` with the pattern from `index` on.
    ///
    /// # Errors
    /// The range is outside the buffer.
    pub fn fill(
        self,
        buffer: &mut HostBuffer<'_>,
        offset: usize,
        index: u64,
        length: usize,
    ) -> Result<(), DeviceError> {
        let mut block = [0; BLOCK];
        for start in (0..length).step_by(BLOCK) {
            let size = BLOCK.min(length - start);
            let bytes = block.get_mut(..size).unwrap_or_default();
            self.generate(index + start as u64, bytes);
            buffer.write(offset + start, bytes)?;
        }
        Ok(())
    }

    /// Compares `length` bytes of a buffer at `offset` with the pattern from `index` on.
    ///
    /// # Errors
    /// The range is outside the buffer.
    pub fn check(
        self,
        buffer: &HostBuffer<'_>,
        offset: usize,
        index: u64,
        length: usize,
    ) -> Result<Option<Mismatch>, DeviceError> {
        let (mut expected, mut found) = ([0; BLOCK], [0; BLOCK]);
        for start in (0..length).step_by(BLOCK) {
            let size = BLOCK.min(length - start);
            let expected = expected.get_mut(..size).unwrap_or_default();
            let found = found.get_mut(..size).unwrap_or_default();
            let index = index + start as u64;
            self.generate(index, expected);
            buffer.read(offset + start, found)?;
            if expected != found {
                let differing = (index..).zip(expected.iter().zip(found.iter())).find(|(_, (a, b))| a != b);
                return Ok(differing.map(|(index, (&expected, &found))| Mismatch { index, expected, found }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_pattern_is_the_same_as_in_the_whole() {
        let mut whole = [0; 64];
        Pattern::new(7).generate(0, &mut whole);
        for start in 0..40 {
            for length in 0..24 {
                let mut part = vec![0; length];
                Pattern::new(7).generate(start as u64, &mut part);
                assert_eq!(part, whole[start..start + length], "{start} {length}");
            }
        }
    }

    /// First output of SplitMix64 for state 0, from the generator's published reference.
    #[test]
    fn the_generator_is_the_published_one() {
        let mut bytes = [0; 8];
        Pattern::new(0).generate(0, &mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn a_complement_differs_in_every_byte() {
        let (mut one, mut other) = ([0; 4099], [0; 4099]);
        Pattern::new(99).generate(3, &mut one);
        Pattern::new(99).complement().generate(3, &mut other);
        assert!(one.iter().zip(&other).all(|(a, b)| *a == !*b));
        assert_eq!(Pattern::new(99).complement().complement(), Pattern::new(99));
    }
}
