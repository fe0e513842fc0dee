//! The e-fuse block: what the card was told for good before it left the factory. A chosen part (`decisions.md` 4): there is
//! no public description of Gaudi's.
//!
//! Bits only ever go from 0 to 1. Hosts and engines can neither write nor program the block; firmware programs a word by
//! [`PROGRAM_ADDRESS`] and then [`PROGRAM_DATA`], whose bits are added to the word.

/// CFG offset of the block.
pub const BASE: u32 = 0xC4_A000;
/// Bytes of the block.
pub const SIZE: u32 = 0x1000;
/// Fuses as the sense logic read them after reset: [`STATUS_READY`], [`STATUS_ERROR`]. Read-only.
pub const STATUS: u32 = BASE;
/// STATUS: the words below are valid.
pub const STATUS_READY: u32 = 1 << 0;
/// STATUS: the block's redundancy check failed; nothing in it may be believed.
pub const STATUS_ERROR: u32 = 1 << 1;
/// Key slots that hold a hash, bit n = slot n.
pub const KEYS_PROGRAMMED: u32 = BASE + 0x10;
/// Key slots that must not be used any more, bit n = slot n.
pub const KEYS_REVOKED: u32 = BASE + 0x14;
/// Rollback counters, two words each, a thermometer code: the counter is the number of bits set, 0 to 64.
/// Index 0: boot-fit, 1: control image.
pub const ROLLBACK: u32 = BASE + 0x20;
/// Distance between two rollback counters.
pub const ROLLBACK_STRIDE: u32 = 8;
/// Rollback counters.
pub const ROLLBACKS: usize = 2;
/// Hash of key 0: the first 32 bytes of the SHA-512 of an Ed25519 public key, eight words, little-endian.
pub const KEY_HASH: u32 = BASE + 0x80;
/// Bytes of a key hash.
pub const KEY_HASH_BYTES: usize = 32;
/// Key slots.
pub const KEYS: usize = 4;
/// CFG offset of the word to program, between [`KEYS_PROGRAMMED`] and the end of the last key hash. Management CPU only.
pub const PROGRAM_ADDRESS: u32 = BASE + 0x200;
/// Programs: the bits set are added to the addressed word. Management CPU only.
pub const PROGRAM_DATA: u32 = BASE + 0x204;
/// First word that can be programmed.
pub const FUSES: u32 = KEYS_PROGRAMMED;
/// Behind the last word that can be programmed.
pub const FUSES_END: u32 = KEY_HASH + (KEYS * KEY_HASH_BYTES) as u32;

/// Words of the fuses, in order, from [`FUSES`] to [`FUSES_END`].
pub const FUSE_WORDS: usize = ((FUSES_END - FUSES) / 4) as usize;
