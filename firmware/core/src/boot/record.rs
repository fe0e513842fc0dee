//! The one line about a failure that outlives a reset.
//!
//! The driver shows free text only with the *next* descriptor that it accepts (`decisions.md` 1), and between the failure and
//! that descriptor it may reset the card. So the line is kept in card memory that survives the reset. The host can write that
//! memory: a record is believed only when its magic, number and CRC are right, and only its number is used - the text comes
//! from our own table.

use coxswain_abi::comms::crc32;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::BootError;
use super::fit::Stage;
use crate::ports::CardMemory;

const MAGIC: u32 = 0x5258_4F43;

/// A failure: what was to be loaded and why it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The stage that was to be loaded.
    pub stage: Stage,
    /// Why it was refused.
    pub error: BootError,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Stored {
    magic: U32,
    stage: U16,
    error: U16,
    crc32: U32,
}

/// Bytes of a stored record.
pub const RECORD_BYTES: u64 = size_of::<Stored>() as u64;

impl Stored {
    fn crc(&self) -> u32 {
        crc32(self.as_bytes().get(..8).unwrap_or(&[]))
    }
}

impl Record {
    /// Reads the record at device address `address`; `None` when there is none.
    #[must_use]
    pub fn load(memory: &impl CardMemory, address: u64) -> Option<Self> {
        let mut stored = Stored { magic: U32::ZERO, stage: U16::ZERO, error: U16::ZERO, crc32: U32::ZERO };
        memory.read(address, stored.as_mut_bytes()).ok()?;
        if stored.magic.get() != MAGIC || stored.crc32.get() != stored.crc() {
            return None;
        }
        let stage = match stored.stage.get() {
            0 => Stage::BootFit,
            1 => Stage::Control,
            _ => return None,
        };
        Some(Self { stage, error: BootError::from_number(stored.error.get())? })
    }

    /// Stores the record at device address `address`. An address outside card memory stores nothing: the record is a help
    /// for people, no step depends on it.
    pub fn store(self, memory: &mut impl CardMemory, address: u64) {
        let stage = match self.stage {
            Stage::BootFit => 0,
            Stage::Control => 1,
        };
        let mut stored = Stored {
            magic: U32::new(MAGIC),
            stage: U16::new(stage),
            error: U16::new(self.error.number()),
            crc32: U32::ZERO,
        };
        stored.crc32 = U32::new(stored.crc());
        let _ = memory.write(address, stored.as_bytes());
    }

    /// Erases the record at device address `address`.
    pub fn erase(memory: &mut impl CardMemory, address: u64) {
        let _ = memory.write(address, &[0; size_of::<Stored>()]);
    }
}

impl Record {
    /// The line for the host's log. Built without `core::fmt`, which would be an eighth of the boot ROM.
    #[must_use]
    pub fn line(&self) -> Line {
        let mut line = Line::new();
        // A line that does not fit ends early: the number stands before the text.
        for piece in ["Coxswain: ", self.stage.name(), " refused: boot error 0x"] {
            let _ = line.push_str(piece);
        }
        for shift in [12, 8, 4, 0] {
            let digit = core::char::from_digit(u32::from(self.error.number()) >> shift & 0xF, 16).unwrap_or('?');
            let _ = line.push(digit.to_ascii_uppercase());
        }
        for piece in [": ", self.error.text()] {
            let _ = line.push_str(piece);
        }
        line
    }
}

/// A line of the host's log.
pub type Line = heapless::String<127>;
