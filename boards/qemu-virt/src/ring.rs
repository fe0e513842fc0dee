//! The entries of a ring in shared memory: 16 bytes each, a power of two of them.
//!
//! For: the two rings of a core. Owns the proof that an entry lies inside the ring's memory, given once when the ring is
//! made, so that an access costs a mask and two loads or stores. Never knows which index is valid, or who writes what: that is
//! for [`crate::posted`] and [`crate::notify`].

use core::sync::atomic::AtomicU64;

use crate::window::Window;

/// Bytes of an entry.
const ENTRY: u64 = 16;

/// The entries of one ring.
#[derive(Debug, Clone, Copy)]
pub struct RingEntries {
    /// Entry 0, aligned to 8 bytes.
    first: *mut u64,
    /// Entries minus 1.
    mask: u32,
}

// SAFETY: an address and a mask; all accesses through it are atomic.
unsafe impl Send for RingEntries {}

impl RingEntries {
    /// The ring of `entries` entries at the start of `window`; `None` unless `entries` is a power of two and all of them lie
    /// inside.
    #[must_use]
    pub fn new(window: &Window, entries: u32) -> Option<Self> {
        let mask = entries.checked_sub(1)?;
        if !entries.is_power_of_two() || !window.contains(0, ENTRY * u64::from(entries)) {
            return None;
        }
        Some(Self { first: window.double_word(0)?.as_ptr(), mask })
    }

    /// The two words of entry `index`, which runs freely.
    #[inline]
    #[must_use]
    pub fn entry(&self, index: u32) -> [&'static AtomicU64; 2] {
        let slot = 2 * (index & self.mask) as usize;
        // SAFETY: `slot / 2` is at most `mask`, and `new` has checked that entries 0 ..= mask lie inside a window, whose
        // creator vouched for mapping and alignment for as long as it or a part is used; all accesses are atomic.
        unsafe { [AtomicU64::from_ptr(self.first.add(slot)), AtomicU64::from_ptr(self.first.add(slot + 1))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn every_index_leads_to_its_slot_inside_the_ring() {
        let mut memory = [0_u64; 10];
        // SAFETY: the array outlives the ring and is only accessed through it.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 80) };
        let ring = RingEntries::new(&window, 4).unwrap();
        for index in [0, 1, 2, 3, 4, 7, u32::MAX] {
            let [low, high] = ring.entry(index);
            low.store(u64::from(index % 4), Ordering::Relaxed);
            high.store(100, Ordering::Relaxed);
        }
        let words: std::vec::Vec<_> = (0..10).map(|word| window.read_u64(8 * word).unwrap()).collect();
        assert_eq!(words, [0, 100, 1, 100, 2, 100, 3, 100, 0, 0]);
    }

    #[test]
    fn a_ring_that_does_not_fit_is_refused() {
        let mut memory = [0_u64; 10];
        // SAFETY: as above.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 80) };
        for entries in [0, 3, 5, 8, 1 << 31] {
            assert!(RingEntries::new(&window, entries).is_none(), "{entries}");
        }
    }
}
