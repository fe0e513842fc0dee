//! Memory of the host that the card may use: an allocator of whole pages.
//!
//! Owns which pages of the host's memory file are in use. It never reads or writes them.

use crate::HostError;
use coxswain_abi::regs;
use std::collections::BTreeMap;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// First address given out: what lies below belongs to nobody, so that address 0 is never valid.
const FIRST: u64 = 1 << 20;

/// Pages of host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Host bus address, page-aligned.
    pub address: u64,
    /// Bytes, a multiple of a page.
    pub bytes: u64,
}

impl Pages {
    /// The device address of byte `offset`: what a queue register, a descriptor or an untranslated access carries.
    #[must_use]
    pub fn device_address(self, offset: u64) -> u64 {
        regs::HOST_BASE + self.address + offset
    }
}

/// Gives out and takes back pages: first fit over a list of holes.
#[derive(Debug)]
pub struct Allocator {
    /// Bytes of each hole by its address; no two touch.
    holes: BTreeMap<u64, u64>,
}

impl Allocator {
    /// Everything from 1 MiB to `limit` is free.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let bytes = limit.saturating_sub(FIRST) / PAGE * PAGE;
        Self { holes: (bytes > 0).then_some((FIRST, bytes)).into_iter().collect() }
    }

    /// Takes at least `bytes`, rounded up to pages, at a multiple of `alignment` (a power of two of at least a page).
    ///
    /// # Errors
    /// No hole is large enough, or nothing was asked for.
    pub fn take(&mut self, bytes: u64, alignment: u64) -> Result<Pages, HostError> {
        let alignment = alignment.max(PAGE);
        let refused = || HostError::usage(format!("no {bytes} bytes of host memory are left"));
        let bytes = bytes.checked_next_multiple_of(PAGE).filter(|bytes| *bytes > 0).ok_or_else(refused)?;
        let fit = |(start, size): (&u64, &u64)| {
            let address = start.next_multiple_of(alignment);
            (address + bytes <= start + size).then_some((*start, *size, address))
        };
        let (start, size, address) = self.holes.iter().find_map(fit).ok_or_else(refused)?;
        self.holes.remove(&start);
        if address > start {
            self.holes.insert(start, address - start);
        }
        let end = start + size;
        if address + bytes < end {
            self.holes.insert(address + bytes, end - address - bytes);
        }
        Ok(Pages { address, bytes })
    }

    /// Gives pages back. Pages that are not in use any more must be given back once only.
    pub fn give_back(&mut self, pages: Pages) {
        let Pages { mut address, mut bytes } = pages;
        if let Some((&before, &size)) = self.holes.range(..address).next_back()
            && before + size == address
        {
            self.holes.remove(&before);
            address = before;
            bytes += size;
        }
        if let Some(size) = self.holes.remove(&(address + bytes)) {
            bytes += size;
        }
        self.holes.insert(address, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_in_use_never_overlap_and_holes_join_again() {
        let mut allocator = Allocator::new(FIRST + 64 * PAGE);
        let mut used = Vec::new();
        for bytes in [1, PAGE, 3 * PAGE + 1, 2 * PAGE] {
            used.push(allocator.take(bytes, PAGE).unwrap());
        }
        for (index, pages) in used.iter().enumerate() {
            for other in used.iter().skip(index + 1) {
                assert!(pages.address + pages.bytes <= other.address || other.address + other.bytes <= pages.address);
            }
        }
        for index in [1, 3, 0, 2] {
            allocator.give_back(used[index]);
        }
        assert_eq!(allocator.holes, BTreeMap::from([(FIRST, 64 * PAGE)]));
    }

    #[test]
    fn alignment_is_kept_and_the_gap_is_not_lost() {
        let mut allocator = Allocator::new(FIRST + (4 << 20));
        let first = allocator.take(PAGE, PAGE).unwrap();
        let aligned = allocator.take(2 << 20, 2 << 20).unwrap();
        assert_eq!(aligned.address % (2 << 20), 0);
        assert_eq!(allocator.take(PAGE, PAGE).unwrap().address, first.address + PAGE);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut allocator = Allocator::new(FIRST + 2 * PAGE);
        assert!(allocator.take(3 * PAGE, PAGE).is_err());
        assert!(allocator.take(0, PAGE).is_err());
        assert!(allocator.take(u64::MAX, PAGE).is_err());
        assert!(allocator.take(2 * PAGE, PAGE).is_ok());
        assert!(allocator.take(1, PAGE).is_err());
        assert!(Allocator::new(0).take(1, PAGE).is_err());
    }
}
