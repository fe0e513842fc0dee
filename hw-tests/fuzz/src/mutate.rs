//! Mutations of inputs from a seed: what `cargo test` has in the place of libFuzzer. The same seed gives the same inputs.

/// Longest input that is made.
pub const LONGEST: usize = 4096;

/// A source of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The source of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub const fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }
}

/// Words that bounds are made of.
const WORDS: [u32; 12] = [0, 1, 3, 4, 7, 0x40, 0x1000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFC, 0xFFFF_FFFE, 0xFFFF_FFFF];

/// Changes `input` in one to eight ways; `other` gives parts. The result has at most [`LONGEST`] bytes or the length before.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let longest = LONGEST.max(input.len());
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let len = 1 + random.below(16);
        let end = (at + len).min(input.len());
        match random.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            2 => {
                let word = WORDS[random.below(WORDS.len())];
                let bytes = if random.below(2) == 0 { word.to_le_bytes() } else { word.to_be_bytes() };
                for (byte, new) in input.iter_mut().skip(at).zip(bytes) {
                    *byte = new;
                }
            }
            3 => {
                let new: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
                input.splice(at..at, new);
            }
            4 => drop(input.drain(at..end)),
            5 => {
                let copy = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            6 => {
                let from = random.below(other.len() + 1);
                let part = other[from..].iter().copied().take(random.below(64)).collect::<Vec<_>>();
                input.splice(at..at, part);
            }
            7 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = byte.wrapping_add(if random.below(2) == 0 { 1 } else { 0xFF });
                }
            }
            _ => input.extend((0..len).map(|_| random.next() as u8)),
        }
        input.truncate(longest);
    }
}
