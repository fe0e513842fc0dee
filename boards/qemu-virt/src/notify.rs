//! The notification ring and the doorbell bitmap of one core: the card produces, firmware consumes.
//!
//! Owns the consumer index and the interrupt flag (as the side that sets it to 1); reads the producer index and the entries
//! between the two. An index that the card cannot have written is counted and skipped, never followed.
//!
//! # What can be lost
//! With one processor in the machine QEMU carries out exclusive accesses without a host atomic, so an exchange here may lose
//! a doorbell that the card sets at the same instant. The sweep at the safety tick ([`crate::board::Board::take_sweep`])
//! heals it: the control loop then compares every queue's indices.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use coxswain_abi::soc::{Notification, core_block};
use coxswain_core::ports::Notifications;

use crate::barrier;
use crate::ring::RingEntries;
use crate::soc::Soc;

/// What went through the ring since the image started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub struct NotifyCounters {
    /// Entries taken.
    pub taken: u64,
    /// Entries of an unknown kind, skipped.
    pub unknown: u64,
    /// Times the producer index was not one that the card can have written; the ring was skipped to it.
    pub bad_index: u64,
}

/// The consumer side.
#[derive(Debug)]
pub struct NotificationRing {
    entries: RingEntries,
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    want_interrupt: &'static AtomicU32,
    doorbells: [&'static AtomicU64; 2],
    /// Entries of the ring; a power of two.
    size: u32,
    /// Half of that.
    half: u32,
    /// Next entry to read.
    next: u32,
    /// The ring was at least half full since the last [`Self::take_pressure`]: the card may hold a backlog.
    pressure: bool,
    counters: NotifyCounters,
}

impl NotificationRing {
    /// The ring of core `core`; `None` for a core without rings. Continues at the index that the image before has left.
    #[must_use]
    pub fn new(soc: &Soc, core: usize) -> Option<Self> {
        let block = soc.core_block(core)?;
        let size = soc.notify_entries();
        let consumer = block.word(core_block::NOTIFY_CONSUMER)?;
        Some(Self {
            entries: RingEntries::new(&block.part(core_block::NOTIFY_RING, 16 * u64::from(size))?, size)?,
            producer: block.word(core_block::NOTIFY_PRODUCER)?,
            consumer,
            want_interrupt: block.word(core_block::WANT_INTERRUPT)?,
            doorbells: [block.double_word(core_block::DOORBELLS)?, block.double_word(core_block::DOORBELLS + 8)?],
            size,
            half: size / 2,
            next: consumer.load(Ordering::Relaxed),
            pressure: false,
            counters: NotifyCounters::default(),
        })
    }

    /// Drops everything that is pending, including doorbells: what an earlier life of the CPU was told means nothing now.
    pub fn discard(&mut self) {
        self.want_interrupt.store(0, Ordering::Relaxed);
        self.next = self.producer.load(Ordering::Acquire);
        self.consumer.store(self.next, Ordering::Release);
        for word in self.doorbells {
            word.store(0, Ordering::Relaxed);
        }
        self.pressure = true;
    }

    /// True when a notification or a doorbell is waiting.
    #[inline]
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.producer.load(Ordering::Acquire) != self.next
            || self.doorbells.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Asks for an interrupt at the next notification. Returns false, with the request withdrawn, when something is waiting
    /// already: the caller must not sleep then.
    #[inline]
    #[must_use]
    pub fn arm_interrupt(&mut self) -> bool {
        self.want_interrupt.store(1, Ordering::Relaxed);
        // The store above must not pass the loads below: either we see the notification or the card sees the flag.
        barrier::full();
        if self.is_pending() {
            self.disarm_interrupt();
            return false;
        }
        true
    }

    /// Withdraws the request. The card may have raised its interrupt meanwhile: a wake-up without work.
    #[inline]
    pub fn disarm_interrupt(&mut self) {
        self.want_interrupt.store(0, Ordering::Relaxed);
    }

    /// What [`Self::take_pressure`] would return: a look without a store.
    #[inline]
    #[must_use]
    pub const fn is_under_pressure(&self) -> bool {
        self.pressure
    }

    /// True once after the ring was at least half full. The card keeps what does not fit in a backlog and looks at it at the
    /// next kick; it can only have one after it found the ring full, and firmware, which looks at the producer index before
    /// each entry, has then seen it nearly full.
    pub fn take_pressure(&mut self) -> bool {
        core::mem::take(&mut self.pressure)
    }

    /// What went through the ring.
    #[must_use]
    pub const fn counters(&self) -> NotifyCounters {
        self.counters
    }
}

impl Notifications for NotificationRing {
    #[inline]
    fn next(&mut self) -> Option<Notification> {
        loop {
            // Acquire: the entry is at least as new as the index.
            let producer = self.producer.load(Ordering::Acquire);
            let waiting = producer.wrapping_sub(self.next);
            if waiting == 0 {
                return None;
            }
            if waiting > self.size {
                self.counters.bad_index = self.counters.bad_index.wrapping_add(1);
                self.next = producer;
                self.consumer.store(producer, Ordering::Release);
                self.pressure = true;
                return None;
            }
            self.pressure |= waiting >= self.half;
            let [head, detail] = self.entries.entry(self.next);
            let words = [head.load(Ordering::Relaxed), detail.load(Ordering::Relaxed)];
            self.next = self.next.wrapping_add(1);
            // Release: the entry was read before the card may overwrite it.
            self.consumer.store(self.next, Ordering::Release);
            self.counters.taken = self.counters.taken.wrapping_add(1);
            match Notification::from_words(words) {
                Some(notification) => return Some(notification),
                None => self.counters.unknown = self.counters.unknown.wrapping_add(1),
            }
        }
    }

    #[inline]
    fn take_doorbells(&mut self) -> [u64; 2] {
        self.doorbells.map(|word| {
            // The exchange is only needed when there is something to take.
            if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::AcqRel) }
        })
    }
}
