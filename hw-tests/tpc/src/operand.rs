//! Operands: registers and immediates, their codes in the slots' fields and their names in the text (`tpc.md` 2).
//!
//! Owns the number of registers of each file, so that an [`Operand`] made here never names a register that does not exist.

use core::fmt;

use crate::bundle::Slot;

/// Scalar registers; S32-S35 are the loop counters of nesting level 0-3.
pub const SCALAR_REGISTERS: u8 = 36;
/// Vector registers.
pub const VECTOR_REGISTERS: u8 = 40;
/// Coordinate registers.
pub const INDEX_REGISTERS: u8 = 32;
/// Global-address registers.
pub const ADDRESS_REGISTERS: u8 = 8;
/// Predicate registers, of each of the two files.
pub const PREDICATE_REGISTERS: u8 = 16;

/// A source or destination of an operation. The register numbers are in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// Scalar register, 0..36.
    S(u8),
    /// The scalar random register; it advances unless `held`.
    ScalarLfsr {
        /// Read without advance.
        held: bool,
    },
    /// Scalar predicate, 0..16.
    Sp(u8),
    /// Coordinate register, 0..32.
    I(u8),
    /// Global-address register, 0..8.
    Ad(u8),
    /// Vector register, 0..40.
    V(u8),
    /// The vector random register; it advances unless `held`.
    VectorLfsr {
        /// Read without advance.
        held: bool,
    },
    /// The number of each lane as integers of this many bits: 8, 16 or 32.
    LaneNumber(u8),
    /// Vector predicate, 0..16.
    Vp(u8),
    /// The immediate of the bundle.
    Immediate,
}

/// A set of operand kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(u16);

impl Classes {
    /// S0-S35.
    pub const S: Self = Self(1);
    /// SP0-SP15.
    pub const SP: Self = Self(2);
    /// I0-I31.
    pub const I: Self = Self(4);
    /// AD0-AD7.
    pub const AD: Self = Self(8);
    /// V0-V39.
    pub const V: Self = Self(16);
    /// VP0-VP15.
    pub const VP: Self = Self(32);
    /// The immediate.
    pub const IMM: Self = Self(64);
    /// Lane numbers and the vector random register: sources only.
    pub const GENERATED: Self = Self(128);
    /// The scalar random register: a source only.
    pub const LFSR: Self = Self(256);

    /// The union of two sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the operand belongs to the set.
    #[must_use]
    pub const fn contains(self, operand: Operand) -> bool {
        let class = match operand {
            Operand::S(_) => Self::S,
            Operand::ScalarLfsr { .. } => Self::LFSR,
            Operand::Sp(_) => Self::SP,
            Operand::I(_) => Self::I,
            Operand::Ad(_) => Self::AD,
            Operand::V(_) => Self::V,
            Operand::VectorLfsr { .. } | Operand::LaneNumber(_) => Self::GENERATED,
            Operand::Vp(_) => Self::VP,
            Operand::Immediate => Self::IMM,
        };
        self.0 & class.0 != 0
    }
}

impl Operand {
    /// The operand that a field of the slot names, if there is one.
    #[must_use]
    pub const fn from_code(slot: Slot, code: u16) -> Option<Self> {
        match slot {
            Slot::Spu => Self::from_scalar_code(code),
            Slot::Load | Slot::Vpu | Slot::Store => Self::from_vector_code(code),
        }
    }

    const fn from_scalar_code(code: u16) -> Option<Self> {
        Some(match code {
            0..=35 => Self::S(code as u8),
            40 => Self::ScalarLfsr { held: false },
            41 => Self::ScalarLfsr { held: true },
            48..=63 => Self::Sp(code as u8 - 48),
            64..=95 => Self::I(code as u8 - 64),
            96..=103 => Self::Ad(code as u8 - 96),
            127 => Self::Immediate,
            _ => return None,
        })
    }

    const fn from_vector_code(code: u16) -> Option<Self> {
        Some(match code {
            0..=39 => Self::V(code as u8),
            40 => Self::VectorLfsr { held: false },
            41 => Self::VectorLfsr { held: true },
            42 => Self::LaneNumber(32),
            43 => Self::LaneNumber(16),
            44 => Self::LaneNumber(8),
            64..=99 => Self::S(code as u8 - 64),
            127 => Self::Immediate,
            128..=159 => Self::I((code - 128) as u8),
            160..=167 => Self::Ad((code - 160) as u8),
            224..=239 => Self::Sp((code - 224) as u8),
            240..=255 => Self::Vp((code - 240) as u8),
            _ => return None,
        })
    }

    /// The code of the operand in the fields of a slot, if the slot can name it.
    #[must_use]
    pub const fn code(self, slot: Slot) -> Option<u16> {
        let scalar_unit = matches!(slot, Slot::Spu);
        Some(match self {
            Self::Immediate => 127,
            Self::S(number) => number as u16 + if scalar_unit { 0 } else { 64 },
            Self::Sp(number) => number as u16 + if scalar_unit { 48 } else { 224 },
            Self::I(number) => number as u16 + if scalar_unit { 64 } else { 128 },
            Self::Ad(number) => number as u16 + if scalar_unit { 96 } else { 160 },
            Self::ScalarLfsr { held } if scalar_unit => 40 + held as u16,
            Self::V(number) if !scalar_unit => number as u16,
            Self::VectorLfsr { held } if !scalar_unit => 40 + held as u16,
            Self::LaneNumber(32) if !scalar_unit => 42,
            Self::LaneNumber(16) if !scalar_unit => 43,
            Self::LaneNumber(_) if !scalar_unit => 44,
            Self::Vp(number) if !scalar_unit => number as u16 + 240,
            _ => return None,
        })
    }

    /// The register with this name; `None` for anything else, numbers included.
    #[must_use]
    pub fn parse_register(text: &str) -> Option<Self> {
        match text {
            "S_LFSR" => return Some(Self::ScalarLfsr { held: false }),
            "S_LFSR_HOLD" => return Some(Self::ScalarLfsr { held: true }),
            "V_LFSR" => return Some(Self::VectorLfsr { held: false }),
            "V_LFSR_HOLD" => return Some(Self::VectorLfsr { held: true }),
            "LANE_ID_32" => return Some(Self::LaneNumber(32)),
            "LANE_ID_16" => return Some(Self::LaneNumber(16)),
            "LANE_ID_8" => return Some(Self::LaneNumber(8)),
            _ => {}
        }
        let digits = text.find(|c: char| c.is_ascii_digit())?;
        let (file, number) = text.split_at(digits);
        let number = parse_register_number(number)?;
        let (limit, operand) = match file {
            "S" => (SCALAR_REGISTERS, Self::S(number)),
            "SP" => (PREDICATE_REGISTERS, Self::Sp(number)),
            "I" => (INDEX_REGISTERS, Self::I(number)),
            "AD" => (ADDRESS_REGISTERS, Self::Ad(number)),
            "V" => (VECTOR_REGISTERS, Self::V(number)),
            "VP" => (PREDICATE_REGISTERS, Self::Vp(number)),
            _ => return None,
        };
        (number < limit).then_some(operand)
    }
}

/// A register number: decimal digits only, no sign, no leading zero.
pub(crate) fn parse_register_number(text: &str) -> Option<u8> {
    if text.len() > 1 && text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A number of the text: decimal or `0x` hexadecimal, optionally negative, within 32 bits.
pub(crate) fn parse_number(text: &str) -> Option<u32> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(rest) => (rest, 16),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(&value).then_some(value as u32)
}

impl fmt::Display for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S(number) => write!(formatter, "S{number}"),
            Self::ScalarLfsr { held } => write!(formatter, "S_LFSR{}", if *held { "_HOLD" } else { "" }),
            Self::Sp(number) => write!(formatter, "SP{number}"),
            Self::I(number) => write!(formatter, "I{number}"),
            Self::Ad(number) => write!(formatter, "AD{number}"),
            Self::V(number) => write!(formatter, "V{number}"),
            Self::VectorLfsr { held } => write!(formatter, "V_LFSR{}", if *held { "_HOLD" } else { "" }),
            Self::LaneNumber(bits) => write!(formatter, "LANE_ID_{bits}"),
            Self::Vp(number) => write!(formatter, "VP{number}"),
            Self::Immediate => write!(formatter, "IMM"),
        }
    }
}

/// The element type of an operation (`tpc.md` 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE binary32.
    F32,
    /// The upper half of a binary32.
    Bf16,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// One bit.
    Bool,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 16 bits.
    U16,
}

impl ElementType {
    /// All types in the order of their codes.
    pub const ALL: [Self; 9] =
        [Self::F32, Self::Bf16, Self::I32, Self::U32, Self::I8, Self::U8, Self::Bool, Self::I16, Self::U16];

    /// The type with this code; codes above 8 belong to later chips.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::Bf16,
            2 => Self::I32,
            3 => Self::U32,
            4 => Self::I8,
            5 => Self::U8,
            6 => Self::Bool,
            7 => Self::I16,
            8 => Self::U16,
            _ => return None,
        })
    }

    /// The code of the type.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Bits of a vector lane of this type; a BOOL lane is one bit.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::Bf16 | Self::I16 | Self::U16 => 16,
            Self::I8 | Self::U8 => 8,
            Self::Bool => 1,
        }
    }

    /// The suffix of an operation's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "b",
            Self::I16 => "i16",
            Self::U16 => "u16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operand_code_returns_to_itself() {
        for slot in Slot::ALL {
            for code in 0..512 {
                if let Some(operand) = Operand::from_code(slot, code) {
                    assert_eq!(operand.code(slot), Some(code), "{slot:?} {code}");
                    if operand != Operand::Immediate {
                        assert_eq!(Operand::parse_register(&operand.to_string()), Some(operand));
                    }
                }
            }
        }
    }

    #[test]
    fn registers_that_do_not_exist_have_no_name() {
        for text in ["S36", "V40", "SP16", "VP16", "I32", "AD8", "S-1", "S01", "S", "Q3", "", "V3x", "12"] {
            assert_eq!(Operand::parse_register(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_keep_to_32_bits() {
        assert_eq!(parse_number("0xffffffff"), Some(u32::MAX));
        assert_eq!(parse_number("-1"), Some(u32::MAX));
        assert_eq!(parse_number("-0x10"), Some(0xFFFF_FFF0));
        for text in ["", "-", "0x", "4294967296", "-2147483649", "1 2", "+3", "0x-1", "--1"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }
}
