//! A mapped memory window, every access checked against its extent.
//!
//! The other side - the card, and through it the host - reads and writes the same memory at any time, so every access is
//! an atomic one: no reference into a window ever exists. A mapped BAR touched beyond the file behind it kills the machine
//! (`decisions.md` 3.10), therefore the extent is that of the file and not that of the BAR.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// A mapped window of `bytes` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    base: *mut u8,
    bytes: u64,
}

// SAFETY: a window is an address and a length; all accesses through it are atomic.
unsafe impl Send for Window {}
// SAFETY: as above: accesses from several cores at once are atomic.
unsafe impl Sync for Window {}

impl Window {
    /// A window over `bytes` bytes of memory from `base`.
    ///
    /// # Safety
    /// `base .. base + bytes` must be mapped, readable and writable memory for as long as the window or a copy of it is
    /// used, must not be memory that Rust owns otherwise, and `base` must be aligned to 8 bytes.
    #[must_use]
    pub const unsafe fn new(base: *mut u8, bytes: u64) -> Self {
        Self { base, bytes }
    }

    /// The first byte. Accesses through it must be atomic and stay inside.
    pub(crate) const fn start(&self) -> *mut u8 {
        self.base
    }

    /// Bytes of the window.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A part of the window; `None` when it does not lie inside or does not start on 8 bytes.
    #[must_use]
    pub fn part(&self, offset: u64, bytes: u64) -> Option<Self> {
        if !offset.is_multiple_of(8) || !self.contains(offset, bytes) {
            return None;
        }
        // SAFETY: the part lies inside a window that fulfils the contract of `new`, and `offset` keeps the alignment.
        Some(unsafe { Self::new(self.base.add(offset as usize), bytes) })
    }

    /// True when `length` bytes at `offset` lie inside.
    #[must_use]
    pub const fn contains(&self, offset: u64, length: u64) -> bool {
        offset <= self.bytes && length <= self.bytes - offset
    }

    /// The 32-bit cell at `offset`; `None` outside the window or off alignment.
    #[inline]
    #[must_use]
    pub fn word(&self, offset: u64) -> Option<&'static AtomicU32> {
        if !offset.is_multiple_of(4) || !self.contains(offset, 4) {
            return None;
        }
        // SAFETY: inside the window and aligned (the base is aligned to 8), valid for the life of the mapping, which the
        // creator of the window vouched for; all accesses are atomic.
        Some(unsafe { AtomicU32::from_ptr(self.base.add(offset as usize).cast()) })
    }

    /// The 64-bit cell at `offset`; `None` outside the window or off alignment.
    #[inline]
    #[must_use]
    pub fn double_word(&self, offset: u64) -> Option<&'static AtomicU64> {
        if !offset.is_multiple_of(8) || !self.contains(offset, 8) {
            return None;
        }
        // SAFETY: as in `word`.
        Some(unsafe { AtomicU64::from_ptr(self.base.add(offset as usize).cast()) })
    }

    /// Reads the 32-bit word at `offset`; `None` outside the window or off alignment.
    #[inline]
    #[must_use]
    pub fn read_u32(&self, offset: u64) -> Option<u32> {
        self.word(offset).map(|cell| cell.load(Ordering::Relaxed))
    }

    /// Reads the 64-bit word at `offset`; `None` outside the window or off alignment.
    #[inline]
    #[must_use]
    pub fn read_u64(&self, offset: u64) -> Option<u64> {
        self.double_word(offset).map(|cell| cell.load(Ordering::Relaxed))
    }

    /// Reads `out.len()` 64-bit words from `offset` (8-byte aligned); false and nothing read when any lies outside.
    #[inline]
    #[must_use]
    pub fn read_words(&self, offset: u64, out: &mut [u64]) -> bool {
        if !offset.is_multiple_of(8) || !self.contains(offset, 8 * out.len() as u64) {
            return false;
        }
        // SAFETY: the first byte of the range lies inside the window or right behind it (checked above).
        let source = unsafe { self.base.add(offset as usize) }.cast::<u64>();
        // SAFETY: the words of the range lie inside the window (checked above), and `offset` and the base keep the alignment.
        unsafe { load_words(source, out) };
        true
    }

    /// Copies `out.len()` bytes from `offset`; false and nothing copied when any lies outside.
    #[must_use]
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) -> bool {
        if !self.contains(offset, out.len() as u64) {
            return false;
        }
        let mut at = offset as usize;
        let (head, middle) = out.split_at_mut(head_length(at, out.len()));
        for byte in head {
            *byte = self.load_byte(at);
            at += 1;
        }
        // Whole words where both sides are aligned, as images are; anything else is short.
        // SAFETY: every bit pattern is a u64.
        let (unaligned, words, tail) = match unsafe { middle.align_to_mut::<u64>() } {
            ([], words, tail) => (&mut [][..], words, tail),
            _ => (middle, &mut [][..], &mut [][..]),
        };
        for word in words {
            // SAFETY: `contains` covers the whole range and `at` is a multiple of 8 here.
            let cell = unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) };
            *word = cell.load(Ordering::Relaxed);
            at += 8;
        }
        for byte in unaligned.iter_mut().chain(tail) {
            *byte = self.load_byte(at);
            at += 1;
        }
        true
    }

    /// Copies `data` to `offset`; false and nothing written when any byte lies outside.
    #[must_use]
    pub fn write_bytes(&self, offset: u64, data: &[u8]) -> bool {
        if !self.contains(offset, data.len() as u64) {
            return false;
        }
        let mut at = offset as usize;
        let (head, middle) = data.split_at(head_length(at, data.len()));
        for &byte in head {
            self.store_byte(at, byte);
            at += 1;
        }
        let mut words = middle.chunks_exact(8);
        for word in &mut words {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            // SAFETY: `contains` covers the whole range and `at` is a multiple of 8 here.
            let cell = unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) };
            cell.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            at += 8;
        }
        for &byte in words.remainder() {
            self.store_byte(at, byte);
            at += 1;
        }
        true
    }

    /// Loads one byte. Callers have checked that `at` lies inside.
    fn load_byte(&self, at: usize) -> u8 {
        // SAFETY: the callers checked `at` against the extent; the access is atomic.
        unsafe { AtomicU8::from_ptr(self.base.add(at)) }.load(Ordering::Relaxed)
    }

    /// Stores one byte. Callers have checked that `at` lies inside.
    fn store_byte(&self, at: usize, byte: u8) {
        // SAFETY: the callers checked `at` against the extent; the access is atomic.
        unsafe { AtomicU8::from_ptr(self.base.add(at)) }.store(byte, Ordering::Relaxed);
    }
}

/// Loads `out.len()` consecutive words that others may write at the same time, each of them whole.
///
/// # Safety
/// `source` is aligned to 8 bytes, and the words behind it are mapped.
#[inline]
unsafe fn load_words(source: *const u64, out: &mut [u64]) {
    let mut source = source;
    // In eights: a fraction of the loop's own instructions for each word.
    let mut blocks = out.chunks_exact_mut(8);
    for block in &mut blocks {
        // SAFETY: eight words of `out`, and as many of the caller's.
        unsafe { load_eight(source, block) };
        // SAFETY: at most one past the last word of the range.
        source = unsafe { source.add(8) };
    }
    for word in blocks.into_remainder() {
        // SAFETY: one of the caller's words; the access is atomic.
        *word = u64::from_le(unsafe { AtomicU64::from_ptr(source.cast_mut()) }.load(Ordering::Relaxed));
        // SAFETY: as above.
        source = unsafe { source.add(1) };
    }
}

/// Loads eight words. Pairs of registers, which the compiler does not make of atomic loads: each half of a pair is a
/// single-copy atomic access of its own.
///
/// # Safety
/// As for [`load_words`]; `block` has eight words.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn load_eight(source: *const u64, block: &mut [u64]) {
    debug_assert!(block.len() == 8);
    // SAFETY: reads the eight words at `source` and writes those of `block`, nothing else.
    unsafe {
        core::arch::asm!(
            "ldp {a}, {b}, [{source}]",
            "ldp {c}, {d}, [{source}, #16]",
            "stp {a}, {b}, [{target}]",
            "stp {c}, {d}, [{target}, #16]",
            "ldp {a}, {b}, [{source}, #32]",
            "ldp {c}, {d}, [{source}, #48]",
            "stp {a}, {b}, [{target}, #32]",
            "stp {c}, {d}, [{target}, #48]",
            source = in(reg) source,
            target = in(reg) block.as_mut_ptr(),
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Loads eight words.
///
/// # Safety
/// As for [`load_words`].
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
unsafe fn load_eight(source: *const u64, block: &mut [u64]) {
    for (index, word) in block.iter_mut().enumerate() {
        // SAFETY: one of the caller's words; the access is atomic.
        *word = u64::from_le(unsafe { AtomicU64::from_ptr(source.add(index).cast_mut()) }.load(Ordering::Relaxed));
    }
}

/// Bytes before the first 8-byte boundary at or after `at`, at most `length`.
fn head_length(at: usize, length: usize) -> usize {
    (at.wrapping_neg() & 7).min(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn copies_of_every_alignment_and_length_are_exact() {
        let mut memory = [0_u64; 8];
        // SAFETY: the array outlives the window and is only accessed through it.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 64) };
        for offset in 0..24_u64 {
            for length in 0..32_usize {
                let data: Vec<u8> = (0..length).map(|index| (index as u8) ^ (offset as u8) << 3).collect();
                assert!(window.write_bytes(0, &[0xEE; 64]));
                assert!(window.write_bytes(offset, &data));
                let mut all = [0; 64];
                assert!(window.read_bytes(0, &mut all));
                let (start, end) = (offset as usize, offset as usize + length);
                assert_eq!(&all[start..end], data);
                assert!(all[..start].iter().chain(&all[end..]).all(|&byte| byte == 0xEE));
                let mut again = std::vec![0; length];
                assert!(window.read_bytes(offset, &mut again));
                assert_eq!(again, data);
            }
        }
    }

    #[test]
    fn nothing_outside_is_touched() {
        let mut memory = [0_u64; 2];
        // SAFETY: as above.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 16) };
        assert!(!window.write_bytes(9, &[0; 8]) && !window.read_bytes(u64::MAX, &mut [0; 2]));
        assert!(window.read_u32(14).is_none() && window.read_u32(16).is_none() && window.read_u64(12).is_none());
        assert!(!window.read_words(8, &mut [0; 2]) && !window.read_words(4, &mut [0; 1]));
        assert!(window.part(8, 8).is_some() && window.part(8, 9).is_none() && window.part(4, 4).is_none());
    }
}
