//! The card's side of the notification rings and doorbell bitmaps.
//!
//! For: telling a core of the management CPU that something happened, in order, without ever losing it. Owns: the producer
//! index of each ring, the backlog behind it, and the WANT_INTERRUPT exchange. Never: trusts an index that firmware wrote,
//! and never waits.
//!
//! The rules are those of `coxswain_abi::soc`. Where they leave room: PageFault, Blocked and SyncManagerError concern the
//! card as a whole and go to core 0; WriteFailed, Fence and everything of a QMAN or its engine go to the core that the
//! control page routes the QMAN to.

use std::collections::VecDeque;

use coxswain_abi::soc::{CORES, Notification, QMANS, bar0, control, core_block};

use super::queues::QueueNews;
use crate::memory::{Memories, full_barrier};

/// Notifications that a backlog holds at most. Only firmware that stopped consuming comes near; what is beyond is dropped
/// and counted.
const BACKLOG_LIMIT: usize = 1 << 16;

#[derive(Default)]
struct Ring {
    producer: u32,
    backlog: VecDeque<[u64; 2]>,
    dropped: u64,
}

/// The notification side of every core. Used under the bus lock.
#[derive(Default)]
pub(super) struct Notifier {
    rings: [Ring; CORES],
    /// Bit n: core n asked for an interrupt and something was published for it.
    interrupts: u32,
    /// What concerns QMANs goes to [`Self::news`] instead of to a core.
    pub divert: bool,
    /// News for the queue server, oldest first.
    pub news: VecDeque<QueueNews>,
}

/// The core that serves a QMAN and its engine; core 0 for every other unit. The control page is firmware's: a number that
/// is no core counts as 0.
pub(super) fn route(memories: &Memories, qman: usize) -> usize {
    let mut core = [0];
    if qman < QMANS {
        let _ = memories.soc.read_bytes(bar0::CONTROL + control::ROUTE + qman as u64, &mut core);
    }
    let core = usize::from(core[0]);
    if core < CORES { core } else { 0 }
}

impl Notifier {
    /// Sends a notification to the core it belongs to.
    pub fn send(&mut self, memories: &Memories, notification: Notification) {
        let qman = match notification {
            Notification::RegisterWrite { offset, .. } => {
                coxswain_abi::regs::qman::find(offset).map_or(QMANS, |(qman, _)| qman)
            }
            Notification::Fence { qman, .. } => usize::from(qman),
            Notification::EngineDone { engine } | Notification::EngineError { engine, .. } => usize::from(engine),
            Notification::WriteFailed { initiator, .. } => usize::from(initiator >> 3),
            Notification::PageFault { .. } | Notification::Blocked { .. } | Notification::SyncManagerError { .. } => {
                QMANS
            }
        };
        if self.divert && qman < QMANS {
            self.news.push_back(QueueNews::Notification(notification));
            return;
        }
        let core = route(memories, qman);
        let Some(ring) = self.rings.get_mut(core) else { return };
        if ring.backlog.len() < BACKLOG_LIMIT {
            ring.backlog.push_back(notification.to_words());
        } else {
            ring.dropped += 1;
        }
        self.flush(memories, core);
    }

    /// Marks a doorbell of a stream: PQ_PI was written with `value`.
    pub fn doorbell(&mut self, memories: &Memories, qman: usize, stream: usize, value: u32) {
        if self.divert {
            use coxswain_abi::regs::qman as regs;
            let offset = regs::base(qman) + regs::PQ_PI_0 + 4 * stream as u32;
            self.news.push_back(QueueNews::Notification(Notification::RegisterWrite { offset, value, secure: true }));
            return;
        }
        let core = route(memories, qman);
        let bit = 4 * qman + stream;
        let place = core_block::offset(core) + core_block::DOORBELLS + 8 * (bit as u64 / 64);
        let _ = memories.soc.fetch_or_u64(place, 1 << (bit % 64));
        self.ask_for_interrupt(memories, core);
    }

    /// Publishes as much of a core's backlog as its ring holds.
    pub fn flush(&mut self, memories: &Memories, core: usize) {
        let Some(ring) = self.rings.get_mut(core) else { return };
        let block = core_block::offset(core);
        let consumer = memories.soc.load_acquire_u32(block + core_block::NOTIFY_CONSUMER).unwrap_or(0);
        let before = ring.producer;
        // A consumer index that is ahead of the producer makes `used` huge: the ring counts as full.
        while ring.producer.wrapping_sub(consumer) < core_block::NOTIFY_ENTRIES {
            let Some(words) = ring.backlog.pop_front() else { break };
            let slot = u64::from(ring.producer % core_block::NOTIFY_ENTRIES);
            let place = block + core_block::NOTIFY_RING + 16 * slot;
            let _ = memories.soc.write_u64(place, words[0]);
            let _ = memories.soc.write_u64(place + 8, words[1]);
            ring.producer = ring.producer.wrapping_add(1);
        }
        if ring.producer != before {
            let _ = memories.soc.store_release_u32(block + core_block::NOTIFY_PRODUCER, ring.producer);
            self.ask_for_interrupt(memories, core);
        }
    }

    fn ask_for_interrupt(&mut self, memories: &Memories, core: usize) {
        full_barrier();
        let place = core_block::offset(core) + core_block::WANT_INTERRUPT;
        // The flag is read first: an exchange that finds 0 would still take the cache line away from firmware.
        if memories.soc.read_u32(place) == Ok(1) && memories.soc.swap_u32(place, 0) == Ok(1) {
            self.interrupts |= 1 << core;
        }
    }

    /// True when notifications of `core` wait for room in its ring.
    pub fn has_backlog(&self, core: usize) -> bool {
        self.rings.get(core).is_some_and(|ring| !ring.backlog.is_empty())
    }

    /// Cores whose interrupt is to be raised; cleared by the call.
    pub fn take_interrupts(&mut self) -> u32 {
        std::mem::take(&mut self.interrupts)
    }

    /// Notifications lost because firmware stopped consuming.
    pub fn dropped(&self) -> u64 {
        self.rings.iter().map(|ring| ring.dropped).sum()
    }

    /// Empties every ring, as after a reset of the management CPU.
    pub fn reset(&mut self, memories: &Memories) {
        for (core, ring) in self.rings.iter_mut().enumerate() {
            ring.producer = 0;
            ring.backlog.clear();
            let block = core_block::offset(core);
            for field in [core_block::NOTIFY_PRODUCER, core_block::NOTIFY_CONSUMER, core_block::WANT_INTERRUPT] {
                let _ = memories.soc.write_u32(block + field, 0);
            }
            let _ = memories.soc.write_u64(block + core_block::DOORBELLS, 0);
            let _ = memories.soc.write_u64(block + core_block::DOORBELLS + 8, 0);
        }
        self.interrupts = 0;
        self.news.clear();
        if self.divert {
            self.news.push_back(QueueNews::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (Memories, Notifier) {
        (Memories::new(4096).unwrap(), Notifier::default())
    }

    fn done(engine: u8) -> Notification {
        Notification::EngineDone { engine }
    }

    fn consume(memories: &Memories, core: usize) -> Vec<Notification> {
        let block = core_block::offset(core);
        let producer = memories.soc.load_acquire_u32(block + core_block::NOTIFY_PRODUCER).unwrap();
        let mut consumer = memories.soc.read_u32(block + core_block::NOTIFY_CONSUMER).unwrap();
        let mut out = Vec::new();
        while consumer != producer {
            let place = block + core_block::NOTIFY_RING + 16 * u64::from(consumer % core_block::NOTIFY_ENTRIES);
            let words = [memories.soc.read_u64(place).unwrap(), memories.soc.read_u64(place + 8).unwrap()];
            out.push(Notification::from_words(words).unwrap());
            consumer = consumer.wrapping_add(1);
        }
        memories.soc.store_release_u32(block + core_block::NOTIFY_CONSUMER, consumer).unwrap();
        out
    }

    #[test]
    fn a_notification_goes_to_the_core_of_its_qman() {
        let (memories, mut notifier) = fixture();
        memories.soc.write_bytes(bar0::CONTROL + control::ROUTE + 5, &[2]).unwrap();
        memories.soc.write_bytes(bar0::CONTROL + control::ROUTE + 6, &[200]).unwrap();
        notifier.send(&memories, done(5));
        notifier.send(&memories, done(6));
        notifier.send(&memories, Notification::PageFault { initiator: 5 << 3, write: false, address: 0 });
        assert_eq!(consume(&memories, 2), [done(5)]);
        assert_eq!(consume(&memories, 0).len(), 2, "an impossible route and a fault of the card");
    }

    #[test]
    fn what_does_not_fit_waits_in_order() {
        let (memories, mut notifier) = fixture();
        let total = core_block::NOTIFY_ENTRIES + 70;
        for value in 0..total {
            notifier.send(&memories, Notification::RegisterWrite { offset: 0, value, secure: true });
        }
        assert!(notifier.has_backlog(0));
        let mut seen = consume(&memories, 0);
        assert_eq!(seen.len(), core_block::NOTIFY_ENTRIES as usize);
        notifier.flush(&memories, 0);
        assert!(!notifier.has_backlog(0));
        seen.extend(consume(&memories, 0));
        for (value, notification) in (0..total).zip(&seen) {
            assert_eq!(*notification, Notification::RegisterWrite { offset: 0, value, secure: true });
        }
        assert_eq!(seen.len(), total as usize);
    }

    #[test]
    fn an_interrupt_is_raised_once_per_request() {
        let (memories, mut notifier) = fixture();
        notifier.send(&memories, done(0));
        assert_eq!(notifier.take_interrupts(), 0, "nobody asked");
        memories.soc.write_u32(core_block::offset(0) + core_block::WANT_INTERRUPT, 1).unwrap();
        notifier.send(&memories, done(0));
        notifier.send(&memories, done(0));
        assert_eq!(notifier.take_interrupts(), 1);
        assert_eq!(memories.soc.read_u32(core_block::offset(0) + core_block::WANT_INTERRUPT).unwrap(), 0);
        notifier.doorbell(&memories, 17, 3, 1);
        assert_eq!(notifier.take_interrupts(), 0);
    }

    #[test]
    fn a_doorbell_sets_the_bit_of_its_stream_and_interrupts() {
        let (memories, mut notifier) = fixture();
        memories.soc.write_u32(core_block::offset(0) + core_block::WANT_INTERRUPT, 1).unwrap();
        notifier.doorbell(&memories, 17, 3, 1);
        notifier.doorbell(&memories, 0, 1, 1);
        let word =
            |index: u64| memories.soc.read_u64(core_block::offset(0) + core_block::DOORBELLS + 8 * index).unwrap();
        assert_eq!((word(0), word(1)), (2, 1 << (71 - 64)));
        assert_eq!(notifier.take_interrupts(), 1);
    }

    #[test]
    fn a_consumer_index_ahead_of_the_producer_counts_as_a_full_ring() {
        let (memories, mut notifier) = fixture();
        memories.soc.write_u32(core_block::offset(0) + core_block::NOTIFY_CONSUMER, 5).unwrap();
        notifier.send(&memories, done(0));
        assert!(notifier.has_backlog(0));
        for _ in 0..BACKLOG_LIMIT {
            notifier.send(&memories, done(0));
        }
        assert_eq!(notifier.dropped(), 1);
    }

    #[test]
    fn indices_run_over_the_end_of_32_bits() {
        let (memories, mut notifier) = fixture();
        notifier.rings[0].producer = u32::MAX - 1;
        for field in [core_block::NOTIFY_PRODUCER, core_block::NOTIFY_CONSUMER] {
            memories.soc.write_u32(core_block::offset(0) + field, u32::MAX - 1).unwrap();
        }
        for engine in 0..5 {
            notifier.send(&memories, done(engine));
        }
        assert_eq!(consume(&memories, 0), [done(0), done(1), done(2), done(3), done(4)]);
    }
}
