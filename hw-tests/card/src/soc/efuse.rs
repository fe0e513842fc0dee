//! The e-fuse block (`coxswain_abi::regs::efuse`): bits that go from 0 to 1 and never back.
//!
//! For: what a card was told for good. Owns: the fuses, and the file that keeps them when there is one. Never: knows what a
//! bit is for; nobody but the management CPU programs a word, and no reset changes one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use coxswain_abi::regs::efuse as regs;
use coxswain_abi::soc::{Attributes, INITIATOR_CPU};

use super::register_file::RegisterFile;

/// The fuses' words, in the order of their registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuses {
    words: [u32; regs::FUSE_WORDS],
    damaged: bool,
}

impl Default for Fuses {
    fn default() -> Self {
        Self { words: [0; regs::FUSE_WORDS], damaged: false }
    }
}

impl Fuses {
    /// Blank fuses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Index of the word whose register is at CFG offset `offset`.
    fn index(offset: u32) -> Option<usize> {
        (offset.is_multiple_of(4) && (regs::FUSES..regs::FUSES_END).contains(&offset))
            .then(|| (offset - regs::FUSES) as usize / 4)
    }

    /// Adds bits to the word at CFG offset `offset`; elsewhere nothing happens.
    pub fn program(&mut self, offset: u32, bits: u32) {
        if let Some(word) = Self::index(offset).and_then(|index| self.words.get_mut(index)) {
            *word |= bits;
        }
    }

    /// The word at CFG offset `offset`; 0 elsewhere.
    #[must_use]
    pub fn word(&self, offset: u32) -> u32 {
        Self::index(offset).and_then(|index| self.words.get(index)).copied().unwrap_or(0)
    }

    /// The same with a key's hash in slot `slot` (0-3).
    #[must_use]
    pub fn with_key(mut self, slot: usize, hash: &[u8; regs::KEY_HASH_BYTES]) -> Self {
        if slot < regs::KEYS {
            for (number, bytes) in hash.chunks_exact(4).enumerate() {
                let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
                self.program(regs::KEY_HASH + (slot * regs::KEY_HASH_BYTES + 4 * number) as u32, word);
            }
            self.program(regs::KEYS_PROGRAMMED, 1 << slot);
        }
        self
    }

    /// The same with slot `slot` revoked.
    #[must_use]
    pub fn with_revoked(mut self, slot: usize) -> Self {
        self.program(regs::KEYS_REVOKED, 1 << (slot % regs::KEYS));
        self
    }

    /// The same with rollback counter `which` at `count` (0 to 64) or more.
    #[must_use]
    pub fn with_rollback(mut self, which: usize, count: u32) -> Self {
        if which < regs::ROLLBACKS {
            let bits = 1u128.checked_shl(count.min(64)).unwrap_or(0).wrapping_sub(1);
            let offset = regs::ROLLBACK + which as u32 * regs::ROLLBACK_STRIDE;
            self.program(offset, bits as u32);
            self.program(offset + 4, (bits >> 32) as u32);
        }
        self
    }

    /// The same with a failed redundancy check.
    #[must_use]
    pub fn with_damage(mut self) -> Self {
        self.damaged = true;
        self
    }

    fn to_bytes(self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fuses = Self::new();
        if bytes.len() != 4 * regs::FUSE_WORDS {
            return None;
        }
        for (word, bytes) in fuses.words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        Some(fuses)
    }

    /// The fuses that `file` keeps; `self` (written there) when there is no such file yet.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn in_file(self, file: &Path) -> anyhow::Result<Self> {
        match fs::read(file) {
            Ok(bytes) => Self::from_bytes(&bytes).with_context(|| {
                format!("{} is not a fuse file: it must have {} bytes", file.display(), 4 * regs::FUSE_WORDS)
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::write(file, self.to_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
                Ok(self)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

/// The block. Used under the bus lock.
#[derive(Debug, Default)]
pub(super) struct FuseBlock {
    fuses: Fuses,
    file: Option<PathBuf>,
    address: u32,
}

impl FuseBlock {
    pub fn new(fuses: Fuses, file: Option<PathBuf>) -> Self {
        Self { fuses, file, address: 0 }
    }

    pub fn fuses(&self) -> Fuses {
        self.fuses
    }

    /// Shows the fuses in their registers, as after every reset.
    pub fn show(&self, registers: &RegisterFile) {
        let error = if self.fuses.damaged { regs::STATUS_ERROR } else { 0 };
        registers.write(regs::STATUS, regs::STATUS_READY | error);
        for offset in (regs::FUSES..regs::FUSES_END).step_by(4) {
            registers.write(offset, self.fuses.word(offset));
        }
    }

    /// A bus write inside the block.
    pub fn write(&mut self, offset: u32, value: u32, access: Attributes, registers: &RegisterFile) {
        if access.initiator() != INITIATOR_CPU || !access.secure() {
            return;
        }
        match offset {
            regs::PROGRAM_ADDRESS => self.address = value,
            regs::PROGRAM_DATA => {
                self.fuses.program(self.address, value);
                self.show(registers);
                if let Some(file) = &self.file
                    && let Err(error) = fs::write(file, self.fuses.to_bytes())
                {
                    eprintln!("card: the fuses could not be kept in {}: {error}", file.display());
                }
            }
            _ => {}
        }
    }
}

/// True for a register of the block.
pub(super) fn contains(offset: u32) -> bool {
    (regs::BASE..regs::BASE + regs::SIZE).contains(&offset)
}
