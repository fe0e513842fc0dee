//! The PQ: a ring of 16-byte buffer descriptors in host memory, with host-written indices made safe (`qman.md` 3).
//!
//! Both indices run from 0 to twice the ring size. The producer index is an allegation of the host: it is used only after
//! [`PacketQueue::set_producer`] has checked it.

/// Largest ring that is accepted: 2^16 entries.
const MAX_LOG2: u32 = 16;

/// A producer index that does not fit the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadIndex;

/// The ring of one stream.
pub(super) struct PacketQueue {
    /// Device address of entry 0.
    base: u64,
    /// Twice the number of entries, a power of two, minus 1; 0 = no ring.
    mask: u32,
    consumer: u32,
    producer: u32,
}

impl PacketQueue {
    pub const fn new() -> Self {
        Self { base: 0, mask: 0, consumer: 0, producer: 0 }
    }

    /// Takes a ring over with both indices 0. A size beyond 2^16 entries leaves no ring.
    pub fn configure(&mut self, base: u64, log2_entries: u32) {
        let mask = if log2_entries <= MAX_LOG2 { (2 << log2_entries) - 1 } else { 0 };
        *self = Self { base, mask, consumer: 0, producer: 0 };
    }

    /// Accepts a producer index written by the host.
    #[inline]
    pub fn set_producer(&mut self, index: u32) -> Result<(), BadIndex> {
        // A full ring is ahead by as many entries as it has: half of the mask, rounded up.
        if self.mask == 0 || index > self.mask || index.wrapping_sub(self.consumer) & self.mask > self.mask.div_ceil(2)
        {
            return Err(BadIndex);
        }
        self.producer = index;
        Ok(())
    }

    /// Entries between consumer and producer.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.producer.wrapping_sub(self.consumer) & self.mask
    }

    /// Device address of the next entry; `None` when the ring is empty.
    #[inline]
    pub fn next_entry(&self) -> Option<u64> {
        (self.pending() != 0).then(|| self.base.wrapping_add(u64::from(self.consumer & self.mask >> 1) * 16))
    }

    /// Moves past the entry that was just read.
    #[inline]
    pub fn advance(&mut self) {
        if self.pending() != 0 {
            self.consumer = self.consumer.wrapping_add(1) & self.mask;
        }
    }

    /// The consumer index, one past the last fetched entry.
    pub fn consumer(&self) -> u32 {
        self.consumer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_producer_index_is_refused_or_leaves_at_most_a_full_ring(
            log2 in 0u32..20, steps in proptest::collection::vec(any::<u32>(), 0..64)
        ) {
            let mut queue = PacketQueue::new();
            queue.configure(0x1000, log2);
            for step in steps {
                let _ = queue.set_producer(step);
                let _ = queue.set_producer(step & ((2 << log2) - 1));
                prop_assert!(queue.pending() <= 1 << log2);
                while let Some(address) = queue.next_entry() {
                    prop_assert!(address >= 0x1000 && address < 0x1000 + (16 << log2));
                    queue.advance();
                }
                prop_assert_eq!(queue.pending(), 0);
            }
        }
    }

    #[test]
    fn the_index_wraps_at_twice_the_ring_size() {
        let mut queue = PacketQueue::new();
        queue.configure(0, 2);
        for index in 1..=20u32 {
            assert_eq!(queue.set_producer(index % 8), Ok(()));
            assert_eq!(queue.next_entry(), Some(u64::from((index - 1) % 4) * 16));
            queue.advance();
            assert_eq!(queue.consumer(), index % 8);
        }
    }
}
