//! The entries of a ring in shared memory: 16 bytes each, a power of two of them.
//!
//! For: the two rings of a core. Owns the proof that an entry lies inside the ring's memory, given once when the ring is
//! made, so that an access costs a mask and two loads or stores. Never knows which index is valid, or who writes what: that is
//! for [`crate::posted`] and [`crate::notify`].

use core::sync::atomic::AtomicU64;

use coxswain_abi::soc::PostedWrite;
use coxswain_core::ports::Burst;

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

    /// The entries from `index`, which runs freely, up to the end of the ring's memory, at most `count`.
    #[must_use]
    pub fn run(&self, index: u32, count: u32) -> Run {
        let slot = index & self.mask;
        let entries = count.min(self.mask - slot + 1) as usize;
        // SAFETY: `slot` is at most `mask` and `slot + entries` at most one more, so both ends lie inside the ring's memory or
        // right behind it.
        let (start, end) =
            unsafe { (self.first.add(2 * slot as usize), self.first.add(2 * (slot as usize + entries))) };
        Run { start, next: start, end }
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

/// Consecutive entries that the producer may write, and how far it has come: a write needs no index arithmetic until the
/// run is used up.
#[derive(Debug)]
pub struct Run {
    start: *mut u64,
    /// The next entry, `start` plus a multiple of 16 bytes up to `end`.
    next: *mut u64,
    /// One past the last entry.
    end: *mut u64,
}

// SAFETY: addresses; all accesses through them are atomic.
unsafe impl Send for Run {}

impl Run {
    /// No entries.
    #[must_use]
    pub const fn empty() -> Self {
        let nowhere = core::ptr::null_mut();
        Self { start: nowhere, next: nowhere, end: nowhere }
    }

    /// Entries taken so far.
    #[inline]
    #[must_use]
    pub fn taken(&self) -> u32 {
        (self.next.addr().wrapping_sub(self.start.addr()) / ENTRY as usize) as u32
    }

    /// Entries left.
    #[inline(always)]
    #[must_use]
    pub fn left(&self) -> usize {
        self.end.addr().wrapping_sub(self.next.addr()) / ENTRY as usize
    }

    /// True when no entries are left.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// The first `count` entries that are left, or fewer. They are written through the result from now on, until the caller
    /// goes on behind them.
    #[inline(always)]
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        // SAFETY: at most `end`, from `next`, by whole entries.
        let end = unsafe { self.next.add(2 * self.left().min(count)) };
        Self { start: self.start, next: self.next, end }
    }

    /// Goes on where `part`, made by [`Self::first`] of this run, has come to.
    #[inline(always)]
    pub fn go_on_behind(&mut self, part: &Self) {
        debug_assert!(self.start == part.start && part.next <= self.end);
        self.next = part.next;
    }

    /// Writes the next entries; false, and none written, when there are not as many.
    #[inline(always)]
    pub fn append<const N: usize>(&mut self, entries: [[u64; 2]; N]) -> bool {
        let full = match N {
            // One comparison less: it is what nearly every packet does.
            1 => self.next == self.end,
            _ => self.left() < N,
        };
        if full {
            return false;
        }
        for entry in entries {
            // SAFETY: `RingEntries::run` makes `start .. end` whole entries inside the ring, `next` moves from one to the
            // other by entries, and `N` of them lie before `end`. The creator of the window vouched for mapping and
            // alignment. The write needs no atomic: an entry between the indices belongs to the producer, whose release
            // store of the index hands it over.
            unsafe {
                self.next.cast::<[u64; 2]>().write(entry);
                self.next = self.next.add(2);
            }
        }
        true
    }
}

impl Burst for Run {
    #[inline(always)]
    fn push<const N: usize>(&mut self, writes: [PostedWrite; N]) -> bool {
        self.append(writes.map(PostedWrite::to_words))
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
    fn a_run_ends_at_its_count_and_at_the_end_of_the_memory() {
        let mut memory = [0_u64; 8];
        // SAFETY: as above.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 64) };
        let ring = RingEntries::new(&window, 4).unwrap();
        for (index, count, length) in [(0, 4, 4), (0, 9, 4), (5, 2, 2), (6, 4, 2), (u32::MAX, 1, 1), (3, 0, 0)] {
            let mut run = ring.run(index, count);
            for taken in 0..length {
                assert_eq!(run.taken(), taken);
                assert!(run.append([[u64::from(index), u64::from(taken)]]));
                let words = ring.entry(index.wrapping_add(taken)).map(|word| word.load(Ordering::Relaxed));
                assert_eq!(words, [u64::from(index), u64::from(taken)]);
            }
            assert!(run.is_empty() && !run.append([[7, 7]]));
            assert_eq!(run.taken(), length);
        }
        assert!(Run::empty().is_empty() && !Run::empty().append([[7, 7]]));
    }

    #[test]
    fn entries_are_appended_all_or_none() {
        let mut memory = [0_u64; 8];
        // SAFETY: as above.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 64) };
        let ring = RingEntries::new(&window, 4).unwrap();
        let mut run = ring.run(0, 4);
        assert!(run.append([[1, 1], [2, 2], [3, 3]]));
        assert!(!run.append([[4, 4], [5, 5]]) && run.taken() == 3);
        assert!(run.append([[4, 4]]) && run.is_empty());
        assert_eq!(window.read_u64(48), Some(4));
    }

    #[test]
    fn a_part_of_a_run_ends_early_and_the_run_goes_on_behind_it() {
        let mut memory = [0_u64; 8];
        // SAFETY: as above.
        let window = unsafe { Window::new(memory.as_mut_ptr().cast(), 64) };
        let ring = RingEntries::new(&window, 4).unwrap();
        let mut run = ring.run(0, 4);
        let mut part = run.first(2);
        assert!(part.append([[1, 1]]) && part.append([[2, 2]]) && !part.append([[3, 3]]));
        run.go_on_behind(&part);
        assert_eq!(run.taken(), 2);
        assert!(run.first(9).append([[3, 3], [4, 4]]) && run.first(0).is_empty());
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
