//! Command buffer fetch: blocks of a buffer, of any byte alignment, as 64-bit words (`qman.md` 4).
//!
//! A buffer is read once, block by block, into on-chip memory and parsed there, so whoever rewrites it during execution
//! changes at most what has not been fetched. Nothing beyond the buffer's last aligned word is read.

use coxswain_abi::soc::Attributes;

use crate::ports::{DeviceMemory, ReadError};

/// Words of a block: 1 KiB.
pub(super) const BLOCK: usize = 128;

/// The buffer of a stream and the part of it that is on chip.
pub(super) struct Fetcher {
    /// Start of the buffer, for the host to see.
    pub address: u64,
    /// Bytes of the buffer.
    pub size: u32,
    /// Address of the next byte that is not on chip.
    next: u64,
    /// Bytes that are not on chip.
    remaining: u32,
    /// Next word in `words`.
    position: usize,
    /// Words on chip.
    length: usize,
    words: [u64; BLOCK],
}

/// Words that a packet needs are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FetchError {
    /// The buffer ends inside the packet.
    Truncated,
    /// Reading the buffer failed.
    Read(ReadError),
}

impl Fetcher {
    pub const fn new() -> Self {
        Self { address: 0, size: 0, next: 0, remaining: 0, position: 0, length: 0, words: [0; BLOCK] }
    }

    /// Starts a buffer. Forgets what was left of the previous one.
    pub fn start(&mut self, address: u64, size: u32) {
        self.address = address;
        self.size = size;
        self.next = address;
        self.remaining = size;
        self.position = 0;
        self.length = 0;
    }

    /// Shows another buffer to the host than the one that is fetched.
    pub fn show(&mut self, address: u64, size: u32) {
        self.address = address;
        self.size = size;
    }

    /// Abandons the buffer.
    pub fn stop(&mut self) {
        self.remaining = 0;
        self.position = 0;
        self.length = 0;
    }

    /// True while packets of the buffer are left.
    #[inline]
    pub fn active(&self) -> bool {
        self.position < self.length || self.remaining != 0
    }

    /// Word `index` after the current position; 0 beyond what [`Self::ensure`] has made sure of.
    #[inline]
    pub fn peek(&self, index: usize) -> u64 {
        self.words.get(self.position + index).copied().unwrap_or(0)
    }

    /// Moves past `count` words that [`Self::ensure`] has made sure of.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.position += count;
    }

    /// The words on chip, and the position of the next one.
    #[inline]
    pub fn on_chip(&self) -> (&[u64], usize) {
        (self.words.get(..self.length).unwrap_or(&[]), self.position)
    }

    /// Moves to a position among the words on chip.
    #[inline]
    pub fn advance_to(&mut self, position: usize) {
        self.position = position.min(self.length);
    }

    /// Words on chip that are not consumed.
    #[inline]
    pub fn words_on_chip(&self) -> usize {
        self.length.saturating_sub(self.position)
    }

    /// Whole words of the buffer that are not consumed.
    #[inline]
    pub fn left(&self) -> u32 {
        // PANIC: at most a block is on chip, and the rest was cut from a number of bytes in 32 bits.
        self.words_on_chip() as u32 + self.remaining / 8
    }

    /// True when the buffer has `count` words behind the next `words` ones.
    pub fn holds_behind(&self, words: usize, count: u32) -> bool {
        u64::from(self.left()) >= words as u64 + u64::from(count)
    }

    /// Makes sure that `count` words (at most a block) are on chip.
    #[inline]
    pub fn ensure<P: DeviceMemory>(
        &mut self,
        count: usize,
        access: Attributes,
        ports: &mut P,
    ) -> Result<(), FetchError> {
        if self.length - self.position >= count { Ok(()) } else { self.refill(count, access, ports) }
    }

    #[cold]
    fn refill<P: DeviceMemory>(&mut self, count: usize, access: Attributes, ports: &mut P) -> Result<(), FetchError> {
        let kept = self.length - self.position;
        if kept != 0 {
            self.words.copy_within(self.position..self.length, 0);
        }
        self.position = 0;
        self.length = kept;
        let wanted = ((self.remaining / 8) as usize).min(BLOCK - kept);
        if kept + wanted < count {
            return Err(FetchError::Truncated);
        }
        let Some(room) = self.words.get_mut(kept..kept + wanted) else { return Err(FetchError::Truncated) };
        read_any_alignment(self.next, access, room, ports).map_err(FetchError::Read)?;
        self.length = kept + wanted;
        self.next = self.next.wrapping_add(8 * wanted as u64);
        // PANIC: `wanted` is at most `remaining / 8`.
        self.remaining -= 8 * wanted as u32;
        Ok(())
    }
}

/// Reads words from an address of any alignment: aligned words are read, then joined.
pub(super) fn read_any_alignment<P: DeviceMemory>(
    address: u64,
    access: Attributes,
    out: &mut [u64],
    ports: &mut P,
) -> Result<(), ReadError> {
    let shift = (address & 7) as u32 * 8;
    if shift == 0 {
        return ports.read_words(address, access, out);
    }
    let aligned = address & !7;
    ports.read_words(aligned, access, out)?;
    let mut last = [0u64];
    ports.read_words(aligned.wrapping_add(8 * out.len() as u64), access, &mut last)?;
    let mut next = last.into_iter().next().unwrap_or(0);
    for word in out.iter_mut().rev() {
        let low = *word;
        *word = low >> shift | next << (64 - shift);
        next = low;
    }
    Ok(())
}
