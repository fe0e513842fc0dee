//! The event queue towards the host.
//!
//! [`EventQueue`] owns the events that wait, the producer index and running index of the queue in host memory, and the
//! masks of the unmask protocol. Everybody posts with [`EventQueue::post`], which touches nothing outside; one place pumps
//! with [`EventQueue::pump`]. It never waits and never loses an event silently: what does not fit is counted.
//!
//! # Rules (`cpucp.md` 10)
//!
//! * An entry belongs to the host while its READY bit is set in host memory; the bit is read before a slot is used.
//! * Payload first, then the control word, then the MSI. One MSI may cover several entries.
//! * The running index counts from 1 since the handshake, modulo 65536.
//! * Nothing is sent before the handshake, the driver's INTS_REGISTER and ENABLE_PCI_ACCESS, or after [`EventQueue::stop`].
//! * An id that the host unmasks has at most one event outstanding. A cause that arrives meanwhile is kept and sent after the
//!   unmask; several such causes become one event, because the driver reads the accumulated cause registers.

use coxswain_abi::event::{CTL_READY, ENTRY_BYTES, ENTRY_CTL, Event, ctl, id, is_unmasked_by_host};
use coxswain_abi::regs::pcie;
use heapless::{Deque, Vec};

use crate::ports::{HostMemory, PostedWrites};

/// Events that can wait for a free slot.
pub const WAITING: usize = 128;
/// Events that can wait for an unmask: more than the ids that this firmware posts.
pub const DEFERRED: usize = 64;
/// After this time without the host consuming an entry the interrupt is raised again: it may have been lost
/// (`decisions.md` 3.13).
pub const REPEAT_INTERRUPT_US: u64 = 100_000;

const MASK_WORDS: usize = (id::LIMIT as usize).div_ceil(64);

/// A set of event ids.
#[derive(Debug, Clone)]
struct Ids([u64; MASK_WORDS]);

impl Ids {
    const EMPTY: Self = Self([0; MASK_WORDS]);

    fn contains(&self, id: u16) -> bool {
        self.0.get(usize::from(id / 64)).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    fn insert(&mut self, id: u16) {
        if let Some(word) = self.0.get_mut(usize::from(id / 64)) {
            *word |= 1 << (id % 64);
        }
    }

    fn remove(&mut self, id: u16) {
        if let Some(word) = self.0.get_mut(usize::from(id / 64)) {
            *word &= !(1 << (id % 64));
        }
    }
}

/// Where the queue is in host memory: a 4-byte aligned host bus address and a power of two of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRing {
    base: u64,
    /// Entries minus 1: the wrap of an index.
    mask: u32,
}

impl EventRing {
    /// Most entries of a ring. The driver's has 64.
    pub const LARGEST: u32 = 1 << 16;

    /// The ring of `entries` entries (a power of two up to [`Self::LARGEST`]) at host bus address `base` (4-byte aligned,
    /// below 2^50); `None` for other values.
    #[must_use]
    pub const fn new(base: u64, entries: u32) -> Option<Self> {
        if !base.is_multiple_of(4) || base >> 50 != 0 || !entries.is_power_of_two() || entries > Self::LARGEST {
            return None;
        }
        Some(Self { base, mask: entries.wrapping_sub(1) })
    }

    /// Host bus address of entry `index`. [`Self::new`] bounds base and index, so nothing saturates.
    fn entry(&self, index: u32) -> u64 {
        self.base.saturating_add(u64::from(index & self.mask) * ENTRY_BYTES as u64)
    }
}

/// Counters of what did not go the usual way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounters {
    /// Events handed to the host.
    pub sent: u32,
    /// Events that found the waiting or deferred store full and are lost.
    pub dropped: u32,
    /// Causes that joined an event of the same id that was still waiting.
    pub joined: u32,
    /// Ids outside the driver's range: refused.
    pub refused: u32,
    /// Times that the queue was found full.
    pub full: u32,
    /// Accesses to the queue that host memory refused; the queue stops until the next handshake.
    pub host_errors: u32,
    /// Interrupts raised again because the host had not looked.
    pub repeated_interrupts: u32,
}

/// The producer of the event queue.
pub struct EventQueue {
    ring: Option<EventRing>,
    producer: u32,
    index: u16,
    host_ready: bool,
    access: bool,
    waiting: Deque<Event, WAITING>,
    /// Ids in `waiting`.
    queued: Ids,
    /// Ids sent and not yet unmasked.
    masked: Ids,
    /// Causes that arrived while their id was masked, one per id.
    deferred: Vec<Event, DEFERRED>,
    interrupt_owed: bool,
    /// When the last interrupt was raised, while an entry may be unread.
    interrupt_at: Option<u64>,
    counters: EventCounters,
}

impl Default for EventQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl EventQueue {
    /// A queue that sends nothing yet; events can already be posted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ring: None,
            producer: 0,
            index: 0,
            host_ready: false,
            access: false,
            waiting: Deque::new(),
            queued: Ids::EMPTY,
            masked: Ids::EMPTY,
            deferred: Vec::new(),
            interrupt_owed: false,
            interrupt_at: None,
            counters: EventCounters {
                sent: 0,
                dropped: 0,
                joined: 0,
                refused: 0,
                full: 0,
                host_errors: 0,
                repeated_interrupts: 0,
            },
        }
    }

    /// Starts over with the ring of a new handshake: indices from the beginning, nothing masked, host not ready. Events
    /// that wait stay, also those that waited for an unmask.
    pub fn restart(&mut self, ring: EventRing) {
        self.ring = Some(ring);
        self.producer = 0;
        self.index = 0;
        self.host_ready = false;
        self.access = false;
        self.masked = Ids::EMPTY;
        self.interrupt_owed = false;
        self.interrupt_at = None;
        while let Some(event) = self.deferred.pop() {
            self.enqueue(event);
        }
    }

    /// The driver's INTS_REGISTER arrived: it is ready for events.
    pub fn host_is_ready(&mut self) {
        self.host_ready = true;
    }

    /// ENABLE_PCI_ACCESS arrived.
    pub fn allow_access(&mut self) {
        self.access = true;
    }

    /// DISABLE_PCI_ACCESS or HALT_MACHINE arrived: not one more access to the host until the next handshake.
    pub fn stop(&mut self) {
        self.ring = None;
        self.access = false;
        self.host_ready = false;
        self.interrupt_owed = false;
        self.interrupt_at = None;
    }

    /// True while events may be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ring.is_some() && self.host_ready && self.access
    }

    /// What did not go the usual way so far.
    #[must_use]
    pub const fn counters(&self) -> EventCounters {
        self.counters
    }

    /// Takes an event for the host. Returns at once; [`Self::pump`] sends it.
    pub fn post(&mut self, event: Event) {
        if event.id >= id::LIMIT {
            self.counters.refused = self.counters.refused.saturating_add(1);
        } else if self.queued.contains(event.id) {
            self.counters.joined = self.counters.joined.saturating_add(1);
        } else if self.masked.contains(event.id) {
            self.defer(event);
        } else {
            self.enqueue(event);
        }
    }

    /// The host has handled event `id` and allows the next one. False for an id that no event has.
    pub fn unmask(&mut self, id: u16) -> bool {
        if id >= id::LIMIT {
            return false;
        }
        self.masked.remove(id);
        if let Some(position) = self.deferred.iter().position(|event| event.id == id) {
            let event = self.deferred.swap_remove(position);
            self.post(event);
        }
        true
    }

    /// True when [`Self::pump`] may have something to do: events wait, or an interrupt is owed or may have been lost. A cheap
    /// look for a loop that comes by after every packet; pumping without it is never wrong.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.interrupt_owed || self.interrupt_at.is_some() || !self.waiting.is_empty()
    }

    /// Sends what can be sent, and raises one interrupt for it. Call it after posting, after handling packets, and at the
    /// safety tick, which also heals a full queue and a lost interrupt. `now_us` is the time of the clock port.
    pub fn pump(&mut self, host: &mut impl HostMemory, posts: &mut impl PostedWrites, now_us: u64) {
        if !self.is_open() {
            return;
        }
        while let Some(ring) = self.ring
            && let Some(event) = self.waiting.front().copied()
        {
            match self.send(ring, event, host) {
                Ok(true) => {}
                Ok(false) => {
                    self.counters.full = self.counters.full.saturating_add(1);
                    break;
                }
                Err(_) => self.give_up(),
            }
        }
        self.watch_interrupt(host, now_us);
        if self.interrupt_owed && posts.available() > 0 {
            posts.post_register(pcie::CORE_MSI_REQ, 1);
            posts.flush();
            self.interrupt_owed = false;
            self.interrupt_at = Some(now_us);
        }
    }

    fn enqueue(&mut self, event: Event) {
        if self.waiting.push_back(event).is_ok() {
            self.queued.insert(event.id);
        } else {
            self.counters.dropped = self.counters.dropped.saturating_add(1);
        }
    }

    fn defer(&mut self, event: Event) {
        if let Some(kept) = self.deferred.iter_mut().find(|kept| kept.id == event.id) {
            *kept = event;
            self.counters.joined = self.counters.joined.saturating_add(1);
        } else if self.deferred.push(event).is_err() {
            self.counters.dropped = self.counters.dropped.saturating_add(1);
        }
    }

    /// Writes the event into the next slot; false when the host still owns it.
    fn send(
        &mut self,
        ring: EventRing,
        event: Event,
        host: &mut impl HostMemory,
    ) -> Result<bool, crate::ports::OutOfRange> {
        let slot = ring.entry(self.producer);
        if Self::owned_by_host(slot, host)? {
            return Ok(false);
        }
        self.waiting.pop_front();
        self.queued.remove(event.id);
        self.index = self.index.wrapping_add(1);
        host.write(slot, &event.entry_without_ctl())?;
        host.write_release(slot.saturating_add(ENTRY_CTL), ctl(event.id, self.index))?;
        self.producer = self.producer.wrapping_add(1) & ring.mask;
        if is_unmasked_by_host(event.id) {
            self.masked.insert(event.id);
        }
        self.counters.sent = self.counters.sent.wrapping_add(1);
        self.interrupt_owed = true;
        Ok(true)
    }

    fn owned_by_host(slot: u64, host: &impl HostMemory) -> Result<bool, crate::ports::OutOfRange> {
        let mut word = [0; 4];
        host.read(slot.saturating_add(ENTRY_CTL), &mut word)?;
        Ok(u32::from_le_bytes(word) & CTL_READY != 0)
    }

    /// Owes the interrupt again when the newest entry is still unread long after the last one.
    fn watch_interrupt(&mut self, host: &impl HostMemory, now_us: u64) {
        let (Some(ring), Some(at)) = (self.ring, self.interrupt_at) else { return };
        if now_us.saturating_sub(at) < REPEAT_INTERRUPT_US {
            return;
        }
        match Self::owned_by_host(ring.entry(self.producer.wrapping_sub(1)), host) {
            Ok(true) => {
                self.interrupt_owed = true;
                self.counters.repeated_interrupts = self.counters.repeated_interrupts.saturating_add(1);
            }
            Ok(false) => self.interrupt_at = None,
            Err(_) => self.give_up(),
        }
    }

    /// Host memory refused an access that the handshake had validated.
    fn give_up(&mut self) {
        self.counters.host_errors = self.counters.host_errors.saturating_add(1);
        self.ring = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_active_from_the_first_event_that_waits() {
        let mut queue = EventQueue::new();
        assert!(!queue.is_active());
        queue.post(Event::new(id::MMU_PAGE_FAULT));
        assert!(queue.is_active());
    }
}
