//! The 256-bit bundle: where each slot's fields lie (`tpc.md` 1.1, 1.2).
//!
//! Owns the bit positions and nothing else: what a field means is decided in [`crate::forms`], which operations exist in
//! [`crate::opcodes`].

/// Bytes of a bundle; the program counter advances by this.
pub const BUNDLE_BYTES: usize = 32;

/// A run of bits inside a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRange {
    /// First bit, 0..=255.
    pub low: u32,
    /// Number of bits, 1..=32.
    pub width: u32,
}

impl BitRange {
    /// The range that starts at `low` and has `width` bits.
    #[must_use]
    pub const fn new(low: u32, width: u32) -> Self {
        assert!(width >= 1 && width <= 32 && low + width <= 256);
        Self { low, width }
    }
}

/// One 256-bit instruction word; bit n is bit n % 8 of byte n / 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bundle {
    words: [u64; 4],
}

impl Bundle {
    /// A bundle whose four slots do nothing (`tpc.md` 1.3).
    pub const NOP: Self = {
        let nop = Self { words: [0; 4] };
        let nop = nop.with(SPU_OPCODE, 0x3F);
        let nop = nop.with(VPU_OPCODE, 0x3F);
        let nop = nop.with(LOAD_OPCODE, 0x1F);
        nop.with(STORE_OPCODE, 0x1F)
    };

    /// A bundle of zero bits only, which is the start for a LOOP bundle and no legal instruction in itself.
    pub const ZERO: Self = Self { words: [0; 4] };

    /// The bundle stored in memory as `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; BUNDLE_BYTES]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Self { words }
    }

    /// The bytes of the bundle in memory order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; BUNDLE_BYTES] {
        let mut bytes = [0; BUNDLE_BYTES];
        for (word, chunk) in self.words.iter().zip(bytes.as_chunks_mut::<8>().0) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// The value of a bit range.
    #[must_use]
    pub const fn get(&self, range: BitRange) -> u32 {
        let word = (range.low / 64) as usize;
        let shift = range.low % 64;
        // PANIC: a BitRange ends at bit 256 at most, so `word` is 0..=3, and word + 1 is read only when bits follow.
        let mut value = (self.words[word] >> shift) as u128;
        if shift + range.width > 64 {
            value |= (self.words[word + 1] as u128) << (64 - shift);
        }
        (value & ((1 << range.width) - 1)) as u32
    }

    /// The same bundle with a bit range set to the low bits of `value`.
    #[must_use]
    pub const fn with(mut self, range: BitRange, value: u32) -> Self {
        let word = (range.low / 64) as usize;
        let shift = range.low % 64;
        let mask = ((1u128 << range.width) - 1) << shift;
        let value = ((value as u128) << shift) & mask;
        // PANIC: as in `get`.
        self.words[word] = (self.words[word] & !(mask as u64)) | value as u64;
        if shift + range.width > 64 {
            self.words[word + 1] = (self.words[word + 1] & !((mask >> 64) as u64)) | (value >> 64) as u64;
        }
        self
    }
}

impl core::fmt::Display for Bundle {
    /// The bytes in groups of four, each group behind a space.
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for group in self.to_bytes().as_chunks::<4>().0 {
            formatter.write_str(" ")?;
            for byte in group {
                write!(formatter, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The four slots of a bundle, in the order in which the text names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Memory to register, coordinates.
    Load,
    /// Scalar unit, coordinates, control flow.
    Spu,
    /// Vector unit.
    Vpu,
    /// Register to memory, coordinates.
    Store,
}

/// A field of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// SrcA.
    A,
    /// SrcB.
    B,
    /// SrcC; one set of bits for VPU and STORE.
    C,
    /// SrcD; the bits of LOAD SrcB.
    D,
    /// Destination.
    Dest,
    /// Operation type.
    Type,
    /// Switches.
    Switch,
}

impl Field {
    /// All fields, in the order of their numbers.
    pub const ALL: [Self; 7] = [Self::A, Self::B, Self::C, Self::D, Self::Dest, Self::Type, Self::Switch];
}

/// The opcode of the SPU slot.
pub const SPU_OPCODE: BitRange = BitRange::new(0, 6);
/// The opcode of the VPU slot.
pub const VPU_OPCODE: BitRange = BitRange::new(43, 6);
/// The opcode of the LOAD slot.
pub const LOAD_OPCODE: BitRange = BitRange::new(119, 5);
/// The opcode of the STORE slot.
pub const STORE_OPCODE: BitRange = BitRange::new(140, 5);
/// The immediate shared by all slots.
pub const IMMEDIATE: BitRange = BitRange::new(151, 32);
/// Bits 191..=255, zero on this generation, as two ranges.
pub const RESERVED: [BitRange; 3] = [BitRange::new(191, 1), BitRange::new(192, 32), BitRange::new(224, 32)];

impl Slot {
    /// All slots, in the order of the text.
    pub const ALL: [Self; 4] = [Self::Load, Self::Spu, Self::Vpu, Self::Store];

    /// The name of the slot in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "LOAD",
            Self::Spu => "SPU",
            Self::Vpu => "VPU",
            Self::Store => "STORE",
        }
    }

    /// Where the opcode lies.
    #[must_use]
    pub const fn opcode(self) -> BitRange {
        match self {
            Self::Load => LOAD_OPCODE,
            Self::Spu => SPU_OPCODE,
            Self::Vpu => VPU_OPCODE,
            Self::Store => STORE_OPCODE,
        }
    }

    /// Where a field lies, if the slot has it.
    #[must_use]
    pub const fn field(self, field: Field) -> Option<BitRange> {
        let (low, width) = match (self, field) {
            (Self::Spu, Field::A) => (6, 7),
            (Self::Spu, Field::B) => (13, 7),
            (Self::Spu, Field::Dest) => (20, 7),
            (Self::Spu, Field::Type) => (27, 4),
            (Self::Spu, Field::Switch) => (36, 7),
            (Self::Vpu, Field::A) => (49, 8),
            (Self::Vpu, Field::B) => (57, 8),
            (Self::Vpu | Self::Store, Field::C) => (65, 8),
            (Self::Vpu, Field::D) | (Self::Load, Field::B) => (73, 9),
            (Self::Vpu, Field::Dest) => (82, 8),
            (Self::Vpu, Field::Switch) => (90, 3),
            (Self::Vpu, Field::Type) => (93, 4),
            (Self::Load, Field::A) => (103, 8),
            (Self::Load, Field::Dest) => (111, 8),
            (Self::Load, Field::Switch) => (183, 4),
            (Self::Store, Field::A) => (124, 8),
            (Self::Store, Field::B) => (132, 8),
            (Self::Store, Field::Switch) => (187, 4),
            _ => return None,
        };
        Some(BitRange::new(low, width))
    }

    /// Where the predicate lies: register, polarity, and the "vector" bit where the slot has one.
    #[must_use]
    pub const fn predicate(self) -> (BitRange, BitRange, Option<BitRange>) {
        match self {
            Self::Spu => (BitRange::new(32, 4), BitRange::new(31, 1), None),
            Self::Vpu => (BitRange::new(98, 4), BitRange::new(97, 1), Some(BitRange::new(102, 1))),
            Self::Load => (BitRange::new(146, 4), BitRange::new(145, 1), Some(BitRange::new(150, 1))),
            Self::Store => (BitRange::new(146, 4), BitRange::new(145, 1), None),
        }
    }
}

/// The bit that makes the common LOAD and STORE predicate a vector one.
pub const LOAD_PREDICATE_IS_VECTOR: BitRange = BitRange::new(150, 1);

/// The map of a LOOP bundle (`tpc.md` 1.2).
pub mod loop_fields {
    use super::BitRange;

    /// SPU opcode that makes the bundle a LOOP.
    pub const OPCODE_VALUE: u32 = 0x22;
    /// Start register.
    pub const START_REGISTER: BitRange = BitRange::new(6, 7);
    /// Boundary register.
    pub const BOUNDARY_REGISTER: BitRange = BitRange::new(13, 7);
    /// Step register.
    pub const STEP_REGISTER: BitRange = BitRange::new(20, 6);
    /// The start is an immediate.
    pub const START_IS_IMMEDIATE: BitRange = BitRange::new(26, 1);
    /// The boundary is an immediate.
    pub const BOUNDARY_IS_IMMEDIATE: BitRange = BitRange::new(27, 1);
    /// The step is an immediate.
    pub const STEP_IS_IMMEDIATE: BitRange = BitRange::new(28, 1);
    /// Repeat at most once: meaning unknown, never set by the compiler.
    pub const REPEAT_ONCE: BitRange = BitRange::new(29, 1);
    /// Zero.
    pub const ZERO: BitRange = BitRange::new(30, 1);
    /// Predicate polarity.
    pub const POLARITY: BitRange = BitRange::new(31, 1);
    /// Predicate register.
    pub const PREDICATE: BitRange = BitRange::new(32, 4);
    /// Boundary immediate.
    pub const BOUNDARY: BitRange = BitRange::new(36, 32);
    /// Step immediate.
    pub const STEP: BitRange = BitRange::new(68, 32);
    /// Byte distance from the LOOP bundle to the last bundle of the body.
    pub const END: BitRange = BitRange::new(100, 16);
    /// Comparison, see [`crate::decode::Comparison`].
    pub const COMPARE: BitRange = BitRange::new(116, 3);
    /// Start immediate.
    pub const START: BitRange = BitRange::new(151, 32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nop_bundle_has_the_documented_bytes() {
        let mut expected = [0u8; 32];
        expected[0] = 0x3F;
        expected[5..7].copy_from_slice(&[0xF8, 0x01]);
        expected[15..18].copy_from_slice(&[0x0F, 0x00, 0xF0]);
        expected[14] = 0x80;
        expected[18] = 0x01;
        assert_eq!(Bundle::NOP.to_bytes(), expected);
    }

    #[test]
    fn a_range_that_crosses_a_word_reads_what_was_written_and_touches_nothing_else() {
        for low in [0u32, 33, 57, 60, 63, 100, 127, 180, 224] {
            for width in [1u32, 5, 8, 9, 32] {
                if low + width > 256 {
                    continue;
                }
                let range = BitRange::new(low, width);
                let full = Bundle { words: [u64::MAX; 4] };
                let value = 0x5A5A_A5A5 & (((1u64 << width) - 1) as u32);
                assert_eq!(full.with(range, value).get(range), value);
                assert_eq!(full.with(range, 0).with(range, u32::MAX), full);
                assert_eq!(Bundle::ZERO.with(range, u32::MAX).with(range, 0), Bundle::ZERO);
            }
        }
    }

    #[test]
    fn bytes_and_bundles_convert_without_loss() {
        let bytes: [u8; 32] = core::array::from_fn(|index| (index * 7 + 3) as u8);
        assert_eq!(Bundle::from_bytes(&bytes).to_bytes(), bytes);
        assert_eq!(Bundle::from_bytes(&bytes).get(BitRange::new(8, 8)), 10);
    }
}
