//! Reproducible numbers for data.

/// A small generator; the same sequence for the same seed.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// 32 bits.
    pub fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32) as u32
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(limit)) >> 32) as u32
    }

    /// A float from 2^-12 to 2^12, both signs, all mantissas.
    pub fn float(&mut self) -> f32 {
        let bits = self.word();
        f32::from_bits(bits & 0x807F_FFFF | (127 - 12 + self.below(24)) << 23)
    }

    /// `count` such floats.
    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    /// `count` words.
    pub fn words(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.word()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_ordinary_and_of_both_signs() {
        let floats = Numbers::new(1).floats(1000);
        assert!(floats.iter().all(|value| (2f32.powi(-12)..2f32.powi(13)).contains(&value.abs())));
        assert!(floats.iter().any(|value| *value < 0.0) && floats.iter().any(|value| *value > 0.0));
        assert_ne!(floats, Numbers::new(2).floats(1000));
        let mut numbers = Numbers::new(3);
        assert!((0..1000).all(|_| numbers.below(7) < 7));
    }
}
