//! The posted-write ring of one core: firmware produces, the card consumes in order.
//!
//! Owns the producer index and the entries between the two indices; reads the consumer index and the idle flag. Never waits:
//! a write without room is dropped and counted, and the caller checks [`PostedWrites::available`] first.
//!
//! [`PostedRing::post`] is what every packet ends in, so it is two stores and a step of a pointer: room is looked for once in
//! a run of consecutive entries, and indices and counters are worked out at the flush.

use core::sync::atomic::{AtomicU32, Ordering};

use coxswain_abi::soc::{PostedWrite, core_block};
use coxswain_core::ports::PostedWrites;

use crate::barrier;
use crate::ring::{RingEntries, Run};
use crate::soc::{Kick, Soc};

/// What went through the ring since the image started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct PostedCounters {
    /// Entries that the card was shown.
    pub posted: u64,
    /// Trapped kicks.
    pub kicks: u64,
    /// Writes dropped because their sender did not look for room.
    pub dropped: u64,
    /// Times the consumer index was not one that the card can have written.
    pub bad_index: u64,
}

/// The producer side.
#[derive(Debug)]
pub struct PostedRing {
    entries: RingEntries,
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    idle: &'static AtomicU32,
    doorbell: Kick,
    /// Entries of the ring; a power of two.
    size: u32,
    /// Entries that can be written without looking at the consumer index: they were free when the run was made, and the
    /// card's index only moves forward.
    run: Run,
    /// Index of the first entry of `run`.
    run_index: u32,
    /// Last index that the card was shown.
    published: u32,
    counters: PostedCounters,
}

impl PostedRing {
    /// The ring of core `core`; `None` for a core without rings.
    ///
    /// Continues at the index that the image before has left. An index that no image can have left (garbage after power-on)
    /// is replaced by the card's.
    #[must_use]
    pub fn new(soc: &Soc, core: usize) -> Option<Self> {
        let block = soc.core_block(core)?;
        let size = soc.posted_entries();
        let producer = block.word(core_block::POSTED_PRODUCER)?;
        let consumer = block.word(core_block::POSTED_CONSUMER)?;
        let (left, seen) = (producer.load(Ordering::Relaxed), consumer.load(Ordering::Relaxed));
        let next = if left.wrapping_sub(seen) <= size { left } else { seen };
        producer.store(next, Ordering::Relaxed);
        Some(Self {
            entries: RingEntries::new(&block.part(core_block::POSTED_RING, 16 * u64::from(size))?, size)?,
            producer,
            consumer,
            idle: block.word(core_block::POSTED_IDLE)?,
            doorbell: soc.kick(core),
            size,
            run: Run::empty(),
            run_index: next,
            published: next,
            counters: PostedCounters::default(),
        })
    }

    /// Index of the next entry to write.
    #[inline]
    fn next(&self) -> u32 {
        self.run_index.wrapping_add(self.run.taken())
    }

    /// Entries that the card has not consumed yet, published or not.
    #[inline]
    fn used(&self) -> u32 {
        // Acquire: an entry is only overwritten after the card has read it.
        self.next().wrapping_sub(self.consumer.load(Ordering::Acquire))
    }

    /// Reads the consumer index and goes on with the next run of free entries.
    #[cold]
    fn next_run(&mut self) {
        let used = self.used();
        let free = self.size.saturating_sub(used);
        if used > self.size {
            self.counters.bad_index = self.counters.bad_index.wrapping_add(1);
        }
        self.run_index = self.next();
        self.run = self.entries.run(self.run_index, free);
    }

    /// Entries of a burst when all of the current run is to be kept.
    #[cold]
    fn burst_in_next_run(&mut self, keep: usize) -> usize {
        if self.run.is_empty() {
            self.next_run();
        }
        self.available().saturating_sub(keep).min(self.run.left())
    }

    /// Writes an entry to the next run. Without one it is dropped and counted.
    #[cold]
    fn post_in_next_run(&mut self, first: u64, second: u64) {
        self.next_run();
        if !self.run.append([[first, second]]) {
            self.counters.dropped = self.counters.dropped.wrapping_add(1);
        }
    }

    /// True when the card has consumed everything that was published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.published == self.consumer.load(Ordering::Acquire)
    }

    /// What went through the ring.
    #[must_use]
    pub const fn counters(&self) -> PostedCounters {
        self.counters
    }

    /// Kicks the card when published entries are unread, whatever the idle flag says: a lost kick is healed.
    pub fn kick_if_unread(&mut self) {
        if !self.is_empty() {
            self.kick();
        }
    }

    /// Makes the card look at this core's rings and backlog, whatever the idle flag says. Costs a trap.
    pub fn kick(&mut self) {
        self.counters.kicks = self.counters.kicks.wrapping_add(1);
        self.doorbell.ring();
    }
}

impl PostedWrites for PostedRing {
    type Burst<'a> = Run;

    #[inline(always)]
    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Run) -> R) -> R {
        let count = match self.run.left().saturating_sub(keep) {
            0 => self.burst_in_next_run(keep),
            count => count,
        };
        // On its own, so that its two ends can live in registers.
        let mut burst = self.run.first(count);
        let result = fill(&mut burst);
        self.run.go_on_behind(&burst);
        result
    }

    #[inline]
    fn available(&self) -> usize {
        // A distance beyond the size is no index of the card's: no room until it writes a sane one.
        self.size.saturating_sub(self.used()) as usize
    }

    #[inline]
    fn has_room(&self, writes: usize) -> bool {
        // What is left of the run is free, whatever the card has done since.
        self.run.left() >= writes || self.available() >= writes
    }

    // Always: a call would cost as much again, and everything that a packet does ends here.
    #[inline(always)]
    fn post(&mut self, write: PostedWrite) {
        // As words, which are passed in registers: the write itself would be put on the stack also when it has room.
        let [first, second] = write.to_words();
        if !self.run.append([[first, second]]) {
            self.post_in_next_run(first, second);
        }
    }

    #[inline]
    fn flush(&mut self) {
        let next = self.next();
        let count = next.wrapping_sub(self.published);
        if count == 0 {
            return;
        }
        // Release: the entries are visible before the index.
        self.producer.store(next, Ordering::Release);
        self.counters.posted = self.counters.posted.wrapping_add(u64::from(count));
        self.published = next;
        // The store above must not pass the load below: either the card sees the index or we see its flag.
        barrier::full();
        if self.idle.load(Ordering::Relaxed) == 1 {
            self.kick();
        }
    }
}
