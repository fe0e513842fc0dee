//! What this card trusts: hashes of keys and rollback counters, read from the e-fuse block.
//!
//! Read once per stage, before anything of the host's is looked at. It decides nothing: [`super::signature`] does.

use coxswain_abi::regs::efuse;

use super::error::BootError;
use super::fit::Stage;
use crate::ports::{PostedWrites, Registers};

/// The fuses' contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// False when the block says that its contents are damaged or not there.
    valid: bool,
    programmed: u32,
    revoked: u32,
    rollback: [u32; efuse::ROLLBACKS],
    hashes: [[u8; efuse::KEY_HASH_BYTES]; efuse::KEYS],
}

/// Index of the stage's rollback counter.
const fn counter(stage: Stage) -> usize {
    match stage {
        Stage::BootFit => 0,
        Stage::Control => 1,
    }
}

/// CFG offset of the counter's low word.
const fn counter_offset(stage: Stage) -> u32 {
    efuse::ROLLBACK + counter(stage) as u32 * efuse::ROLLBACK_STRIDE
}

impl Trust {
    /// Trust in one key and nothing rolled back: for tools and tests.
    #[must_use]
    pub fn in_key(hash: [u8; efuse::KEY_HASH_BYTES]) -> Self {
        let mut hashes = [[0; efuse::KEY_HASH_BYTES]; efuse::KEYS];
        if let Some(first) = hashes.first_mut() {
            *first = hash;
        }
        Self { valid: true, programmed: 1, revoked: 0, rollback: [0; efuse::ROLLBACKS], hashes }
    }

    /// The same with the rollback counter of `stage` at `count`.
    #[must_use]
    pub fn with_rollback(mut self, stage: Stage, count: u32) -> Self {
        if let Some(counter) = self.rollback.get_mut(counter(stage)) {
            *counter = count;
        }
        self
    }

    /// Reads the e-fuse block.
    #[must_use]
    pub fn read(registers: &impl Registers) -> Self {
        let mut trust = Self::in_key([0; efuse::KEY_HASH_BYTES]);
        trust.valid =
            registers.read(efuse::STATUS) & (efuse::STATUS_READY | efuse::STATUS_ERROR) == efuse::STATUS_READY;
        trust.programmed = registers.read(efuse::KEYS_PROGRAMMED);
        trust.revoked = registers.read(efuse::KEYS_REVOKED);
        for (stage, count) in [Stage::BootFit, Stage::Control].into_iter().zip(&mut trust.rollback) {
            let offset = counter_offset(stage);
            *count = registers.read(offset).count_ones().saturating_add(registers.read(offset | 4).count_ones());
        }
        let mut offset = efuse::KEY_HASH;
        for hash in &mut trust.hashes {
            for bytes in hash.as_chunks_mut::<4>().0 {
                *bytes = registers.read(offset).to_le_bytes();
                offset = offset.wrapping_add(4);
            }
        }
        trust
    }

    /// Checks that a key with this hash may sign images.
    ///
    /// # Errors
    /// [`BootError::NoTrust`], [`BootError::UnknownKey`] or [`BootError::RevokedKey`].
    pub fn check_key(&self, hash: &[u8; efuse::KEY_HASH_BYTES]) -> Result<(), BootError> {
        if !self.valid || self.programmed == 0 {
            return Err(BootError::NoTrust);
        }
        let mut answer = Err(BootError::UnknownKey);
        for (slot, known) in self.hashes.iter().enumerate() {
            if self.programmed >> slot & 1 != 0 && known == hash {
                if self.revoked >> slot & 1 == 0 {
                    return Ok(());
                }
                answer = Err(BootError::RevokedKey);
            }
        }
        answer
    }

    /// Checks that an image of `stage` with rollback version `version` is not older than what this card accepts.
    ///
    /// # Errors
    /// [`BootError::RolledBack`].
    pub fn check_rollback(&self, stage: Stage, version: u32) -> Result<(), BootError> {
        match self.rollback.get(counter(stage)) {
            Some(floor) if version >= *floor => Ok(()),
            _ => Err(BootError::RolledBack),
        }
    }
}

/// Raises the rollback counter of `stage` to `floor` (at most 64) where it is lower. Four posted writes.
pub fn raise_rollback(stage: Stage, floor: u32, posts: &mut impl PostedWrites) {
    let bits = 1u128.checked_shl(floor.min(64)).unwrap_or(0).wrapping_sub(1);
    let offset = counter_offset(stage);
    for (offset, word) in [(offset, bits as u32), (offset | 4, (bits >> 32) as u32)] {
        posts.post_register(efuse::PROGRAM_ADDRESS, offset);
        posts.post_register(efuse::PROGRAM_DATA, word);
    }
}
