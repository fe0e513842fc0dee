//! HBM: a memory file whose blocks may be filled without being stored.
//!
//! For: fills and copies of tens of GiB on a machine that has not as much memory; the driver's scrub fills all of HBM with a
//! pattern. A whole block ([`hbm_block::SIZE`]) that is filled is only remembered, with its pattern. It is stored - *present* -
//! again when a part of it is written, or when somebody asks for it who reads the file by himself
//! ([`coxswain_abi::soc`], filled blocks of HBM). A block of zeros is present, as a hole of the file.
//!
//! Owns: the state and the pattern of every block, and the published copy of the states.
//!
//! Never: believes the published copy, which firmware could overwrite, and never leaves a block below
//! [`hbm_block::ALWAYS_PRESENT`] unstored.
//!
//! # Concurrency
//!
//! A state changes under the lock of the patterns only. Accesses do not take it while a block is present:
//! * a read that finds the state unchanged afterwards has seen bytes of that state. A block is marked before its pages are
//!   given back, and stored before it is marked present;
//! * a write that meets a fill of the same block on its way counts as one before it or after it, as on hardware: what it
//!   leaves in a block that is not present is overwritten with the pattern when the block becomes present.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coxswain_abi::regs;
use coxswain_abi::soc::hbm_block::{self, ALWAYS_PRESENT, SIZE, is_present};

use super::shared_file::{OutOfBounds, PUNCH_THRESHOLD, SharedFile, full_barrier};

/// Shortest range worth the question whether it is uniform, in bytes.
const UNIFORM_THRESHOLD: u64 = 4096;

/// HBM of one card, [`regs::HBM_SIZE`] bytes; offset = device address.
#[derive(Debug)]
pub struct Hbm {
    file: SharedFile,
    /// Where firmware sees the states.
    soc: Arc<SharedFile>,
    /// State of each block as [`hbm_block`] says.
    states: Box<[AtomicU32]>,
    /// Pattern of each block that is not present: the little-endian bytes that the block begins with.
    patterns: Mutex<Box<[u64]>>,
}

/// The pattern as it reads `bytes` further on.
fn further(pattern: u64, bytes: u64) -> u64 {
    pattern.rotate_right(8 * (bytes % 8) as u32)
}

/// Fills `out` with `pattern` from its first byte.
fn repeat(pattern: u64, out: &mut [u8]) {
    let bytes = pattern.to_le_bytes();
    for chunk in out.chunks_mut(8) {
        // PANIC: a chunk has at most the eight bytes of the pattern.
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

impl Hbm {
    /// Creates HBM, all zero; the states are published in `soc`, the file behind [`coxswain_abi::soc::bar0`].
    ///
    /// # Errors
    /// The kernel refused the file.
    pub(super) fn new(soc: Arc<SharedFile>) -> std::io::Result<Self> {
        Ok(Self {
            file: SharedFile::new("coxswain-hbm", regs::HBM_SIZE)?,
            soc,
            states: (0..hbm_block::COUNT).map(|_| AtomicU32::new(0)).collect(),
            patterns: Mutex::new(vec![0; hbm_block::COUNT as usize].into_boxed_slice()),
        })
    }

    /// Length in bytes; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "HBM is never empty")]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// The file itself, to be shared with another process; below [`hbm_block::ALWAYS_PRESENT`] it is what HBM holds, above as
    /// far as the block is present.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    /// Bytes that HBM takes of the machine's memory.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn stored_bytes(&self) -> std::io::Result<u64> {
        self.file.stored_bytes()
    }

    fn patterns(&self) -> MutexGuard<'_, Box<[u64]>> {
        // Every critical section leaves a valid table behind, so a panic elsewhere does not spoil it.
        self.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of the block that holds `offset`. Only offsets that were checked come here; another one is present.
    fn state(&self, offset: u64) -> u32 {
        self.states.get((offset / SIZE) as usize).map_or(0, |state| state.load(Ordering::Acquire))
    }

    /// Changes the state of block `block`. The caller holds the lock.
    fn change_state(&self, block: u64) {
        if let Some(state) = self.states.get(block as usize) {
            let next = state.load(Ordering::Relaxed).wrapping_add(1);
            state.store(next, Ordering::Release);
            // Inside the file: the table has a word for each block.
            let _ = self.soc.store_release_u32(hbm_block::state(block * SIZE), next);
        }
    }

    /// The pattern of the block that holds `offset` as it reads from there; `None` when the block is present.
    fn pattern(&self, offset: u64) -> Option<u64> {
        let patterns = self.patterns();
        let pattern = patterns.get((offset / SIZE) as usize)?;
        (!is_present(self.state(offset))).then(|| further(*pattern, offset % SIZE))
    }

    /// Stores block `block` in the file, if it is not there.
    ///
    /// # Errors
    /// [`OutOfBounds`] when there is no such block.
    pub fn make_present(&self, block: u64) -> Result<(), OutOfBounds> {
        let offset = block.saturating_mul(SIZE);
        self.file.check(offset, SIZE, 1)?;
        if is_present(self.state(offset)) {
            return Ok(());
        }
        let patterns = self.patterns();
        if !is_present(self.state(offset)) {
            self.file.fill(offset, SIZE, patterns.get(block as usize).copied().unwrap_or(0))?;
            self.change_state(block);
        }
        Ok(())
    }

    /// Cuts a range that lies inside HBM at the bounds of blocks and calls `act` with offset, position in the range and length
    /// of each piece, ascending. What lies below [`ALWAYS_PRESENT`] is one piece.
    fn for_each_piece(
        offset: u64,
        len: u64,
        mut act: impl FnMut(u64, usize, usize) -> Result<(), OutOfBounds>,
    ) -> Result<(), OutOfBounds> {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let room = if at < ALWAYS_PRESENT { ALWAYS_PRESENT - at } else { SIZE - at % SIZE };
            let piece = room.min(len - done);
            act(at, done as usize, piece as usize)?;
            done += piece;
        }
        Ok(())
    }

    /// Reads from one block: with `stored` from the file, or with `uniform` from the pattern as it begins at `offset`.
    fn read_piece<T>(
        &self,
        offset: u64,
        mut stored: impl FnMut(&SharedFile) -> Result<T, OutOfBounds>,
        uniform: impl Fn(u64) -> T,
    ) -> Result<T, OutOfBounds> {
        if offset < ALWAYS_PRESENT {
            return stored(&self.file);
        }
        loop {
            let before = self.state(offset);
            if is_present(before) {
                let value = stored(&self.file)?;
                fence(Ordering::Acquire);
                if self.state(offset) == before {
                    return Ok(value);
                }
            } else if let Some(pattern) = self.pattern(offset) {
                return Ok(uniform(pattern));
            }
        }
    }

    /// Makes the block that holds `offset`, which must lie inside, ready to be written.
    fn prepare_write(&self, offset: u64) -> Result<(), OutOfBounds> {
        if offset < ALWAYS_PRESENT { Ok(()) } else { self.make_present(offset / SIZE) }
    }

    /// Reads the aligned 32-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// [`OutOfBounds`] outside HBM or not aligned; the same for every accessor below.
    pub fn read_u32(&self, offset: u64) -> Result<u32, OutOfBounds> {
        self.file.check(offset, 4, 4)?;
        self.read_piece(offset, |file| file.read_u32(offset), |pattern| pattern as u32)
    }

    /// Reads the aligned 64-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    pub fn read_u64(&self, offset: u64) -> Result<u64, OutOfBounds> {
        self.file.check(offset, 8, 8)?;
        self.read_piece(offset, |file| file.read_u64(offset), |pattern| pattern)
    }

    /// Writes the aligned 32-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    pub fn write_u32(&self, offset: u64, value: u32) -> Result<(), OutOfBounds> {
        self.file.check(offset, 4, 4)?;
        self.prepare_write(offset)?;
        self.file.write_u32(offset, value)
    }

    /// Writes the aligned 64-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    pub fn write_u64(&self, offset: u64, value: u64) -> Result<(), OutOfBounds> {
        self.file.check(offset, 8, 8)?;
        self.prepare_write(offset)?;
        self.file.write_u64(offset, value)
    }

    /// Writes the aligned 32-bit word at `offset` after everything that precedes in program order.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    pub fn store_release_u32(&self, offset: u64, value: u32) -> Result<(), OutOfBounds> {
        self.file.check(offset, 4, 4)?;
        self.prepare_write(offset)?;
        self.file.store_release_u32(offset, value)
    }

    /// Copies `out.len()` bytes from `offset`, any alignment. Nothing is copied on an error. Reading a filled block
    /// does not store it.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside HBM.
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfBounds> {
        self.file.check(offset, out.len() as u64, 1)?;
        Self::for_each_piece(offset, out.len() as u64, |at, position, len| {
            let Some(part) = out.get_mut(position..position + len) else { return Ok(()) };
            let uniform = self.read_piece(at, |file| file.read_bytes(at, part).map(|()| None), Some)?;
            if let Some(pattern) = uniform {
                repeat(pattern, part);
            }
            Ok(())
        })
    }

    /// Copies `data` to `offset`, any alignment, ascending. Nothing is written on an error.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside HBM.
    pub fn write_bytes(&self, offset: u64, data: &[u8]) -> Result<(), OutOfBounds> {
        self.file.check(offset, data.len() as u64, 1)?;
        Self::for_each_piece(offset, data.len() as u64, |at, position, len| {
            let Some(part) = data.get(position..position + len) else { return Ok(()) };
            self.prepare_write(at)?;
            self.file.write_bytes(at, part)
        })
    }

    /// Fills `len` bytes at `offset` with the little-endian `pattern`, whose byte 0 lands at `offset`; a length that is no
    /// multiple of 8 ends with a part of the pattern. Blocks that are filled as a whole take no memory.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside HBM; nothing is written then.
    pub fn fill(&self, offset: u64, len: u64, pattern: u64) -> Result<(), OutOfBounds> {
        self.file.check(offset, len, 1)?;
        let end = offset + len;
        let stored = ALWAYS_PRESENT.saturating_sub(offset).min(len);
        if stored > 0 {
            self.file.fill(offset, stored, pattern)?;
        }
        let mut at = offset + stored;
        while at < end {
            let pattern = further(pattern, at - offset);
            let whole = if at.is_multiple_of(SIZE) { (end - at) / SIZE } else { 0 };
            let piece = match whole {
                0 => (SIZE - at % SIZE).min(end - at),
                blocks => blocks * SIZE,
            };
            if whole > 0 {
                self.fill_blocks(at / SIZE, whole, pattern)?;
            } else if self.pattern(at) != Some(pattern) {
                self.make_present(at / SIZE)?;
                self.file.fill(at, piece, pattern)?;
            }
            at += piece;
        }
        Ok(())
    }

    /// Fills `count` blocks from block `first` with a pattern.
    fn fill_blocks(&self, first: u64, count: u64, pattern: u64) -> Result<(), OutOfBounds> {
        let mut patterns = self.patterns();
        let blocks = first..first + count;
        if pattern == 0 {
            self.file.punch_hole(first * SIZE, count * SIZE)?;
            for block in blocks.filter(|block| !is_present(self.state(block * SIZE))) {
                self.change_state(block);
            }
            return Ok(());
        }
        let mut was_stored = false;
        for block in blocks {
            if let Some(place) = patterns.get_mut(block as usize) {
                *place = pattern;
            }
            if is_present(self.state(block * SIZE)) {
                self.change_state(block);
                was_stored = true;
            }
        }
        if was_stored {
            // Whoever still reads stored bytes, and meets zeros from here on, finds the state changed afterwards.
            full_barrier();
            self.file.punch_hole(first * SIZE, count * SIZE)?;
        }
        Ok(())
    }

    /// Zeroes `len` bytes at `offset` and gives the memory back.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside HBM; nothing is written then.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<(), OutOfBounds> {
        self.fill(offset, len, 0)
    }

    /// The pattern that fills the whole range, as it begins at `offset`, if that is known without a look at the bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside HBM.
    pub fn uniform(&self, offset: u64, len: u64) -> Result<Option<u64>, OutOfBounds> {
        self.file.check(offset, len, 1)?;
        let is_stored = offset < ALWAYS_PRESENT || is_present(self.state(offset));
        // A question about stored bytes is one to the kernel.
        if len < if is_stored { PUNCH_THRESHOLD } else { UNIFORM_THRESHOLD } {
            return Ok(None);
        }
        let patterns = self.patterns();
        let mut found = None;
        let mut blocks = offset / SIZE..(offset + len).div_ceil(SIZE);
        let is_uniform = blocks.all(|block| {
            let stored = block * SIZE < ALWAYS_PRESENT || is_present(self.state(block * SIZE));
            // A stored block counts as one of zeros until the end.
            let pattern = if stored { 0 } else { patterns.get(block as usize).copied().unwrap_or(0) };
            *found.get_or_insert(pattern) == pattern
        });
        Ok(match found.filter(|_| is_uniform) {
            Some(0) => self.file.is_hole(offset, len)?.then_some(0),
            Some(pattern) => Some(further(pattern, offset % SIZE)),
            None => None,
        })
    }
}
