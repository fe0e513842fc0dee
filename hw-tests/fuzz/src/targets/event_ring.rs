//! The event queue, and a host that takes events from its ring as the driver does, or writes anything into it
//! (`coxswain_core::event`).

use std::collections::BTreeSet;

use coxswain_abi::event::{CTL_READY, ENTRY_BYTES, ENTRY_CTL, Event, id, is_unmasked_by_host};
use coxswain_abi::regs::{CFG_BASE, pcie};
use coxswain_core::event::{EventQueue, EventRing};

use crate::board::{Host, Posts, Register};
use crate::bytes::Bytes;
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "event_ring",
    run,
    seeds,
    milestones: &[
        "an entry is written",
        "an event waits for its unmask",
        "an interrupt is repeated",
        "host memory ends inside the ring",
        "the ring is full",
        "everything is delivered",
    ],
};

/// Offset of the ring in the host's memory.
const RING: usize = 0x100;
/// Bytes of the host's memory: a ring of 64 entries has its end outside.
const MEMORY: usize = RING + 33 * ENTRY_BYTES;
/// Most inputs steps that are looked at.
const STEPS: usize = 400;

struct Play {
    events: EventQueue,
    host: Host,
    posts: Posts,
    entries: usize,
    /// The entry that the host looks at next, as the driver counts.
    consumer: usize,
    /// The running index of the newest entry.
    index: u16,
    now_us: u64,
    /// The host has written into the ring what the driver would not.
    hostile: bool,
    /// Sent and not unmasked.
    outstanding: BTreeSet<u16>,
    /// Posted and not sent.
    owed: BTreeSet<u16>,
    reached: Reached,
}

/// Runs one input.
///
/// # Panics
/// When a rule of the event queue is broken.
pub fn run(bytes: &[u8]) -> Reached {
    let mut bytes = Bytes::new(bytes);
    let registers = Register::default();
    let mut play = Play {
        events: EventQueue::new(),
        host: Host::new(MEMORY),
        posts: Posts::new(&registers),
        entries: 0,
        consumer: 0,
        index: 0,
        now_us: 0,
        hostile: false,
        outstanding: BTreeSet::new(),
        owed: BTreeSet::new(),
        reached: Reached::new(),
    };
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        play.step(&mut bytes);
    }
    play.finish();
    play.reached
}

impl Play {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 16 {
            0..=4 => self.post(bytes.half() % (id::LIMIT + 2)),
            // Few ids, so that they meet.
            5 => self.post(bytes.choose(&[
                id::MMU_PAGE_FAULT,
                id::DEV_RESET_REQ,
                id::PKT_QUEUE_OUT_SYNC,
                id::sync_manager(0),
                id::dma_core(0),
            ])),
            6 | 7 => self.pump(bytes.byte()),
            8 | 9 => drop(self.take()),
            10 => self.unmask(bytes.half() % (id::LIMIT + 2)),
            11 => {
                let sent: Vec<u16> = self.outstanding.iter().copied().collect();
                if !sent.is_empty() {
                    self.unmask(bytes.choose(&sent));
                }
            }
            12 => {
                let offset = usize::from(bytes.half()) % MEMORY;
                let data = bytes.take(8);
                self.hostile = true;
                self.host.put(offset, data);
            }
            13 => self.restart(bytes.choose(&[1, 2, 4, 8, 32, 64])),
            14 => {
                self.events.host_is_ready();
                self.events.allow_access();
                self.pump(0);
            }
            _ => match bytes.byte() % 4 {
                0 => self.events.stop(),
                1 => self.events.allow_access(),
                2 => self.events.host_is_ready(),
                _ => self.posts.room = usize::from(bytes.byte() % 3),
            },
        }
    }

    fn restart(&mut self, entries: usize) {
        let ring = EventRing::new(Host::BASE + RING as u64, entries as u32).expect("a ring");
        // The driver begins with an empty ring.
        self.host.bytes[RING..].fill(0);
        self.hostile = false;
        self.events.restart(ring);
        (self.entries, self.consumer, self.index) = (entries, 0, 0);
        self.outstanding.clear();
    }

    fn post(&mut self, id: u16) {
        let before = self.events.counters();
        self.events.post(Event::new(id));
        let after = self.events.counters();
        assert_eq!(after.refused != before.refused, id >= id::LIMIT, "an id beyond the driver's range");
        if after.dropped == before.dropped && after.refused == before.refused {
            self.owed.insert(id);
            if self.outstanding.contains(&id) {
                self.reached.insert("an event waits for its unmask");
            }
        }
    }

    fn unmask(&mut self, id: u16) {
        assert_eq!(self.events.unmask(id), id < id::LIMIT);
        self.outstanding.remove(&id);
    }

    /// Pumps `later` times 10 ms later and looks at everything that was written.
    fn pump(&mut self, later: u8) {
        self.now_us += u64::from(later) * 10_000;
        let was_open = self.events.is_open();
        let before = self.events.counters();
        self.events.pump(&mut self.host, &mut self.posts, self.now_us);
        let after = self.events.counters();
        let writes = std::mem::take(&mut self.host.writes);
        assert!(was_open || writes.is_empty(), "the host's memory was written while the queue is closed");
        let mut released = 0;
        for write in &writes {
            let offset = (write.address - Host::BASE) as usize;
            let ring = RING..RING + self.entries * ENTRY_BYTES;
            assert!(ring.contains(&offset) && offset + write.bytes <= ring.end, "a write outside the ring: {write:?}");
            assert_eq!(write.before & CTL_READY, 0, "an entry that the host owns was overwritten: {write:?}");
            let Some(control) = write.released else { continue };
            released += 1;
            self.index = self.index.wrapping_add(1);
            let id = (control >> 16 & 0xFFF) as u16;
            assert!(control & CTL_READY != 0 && control as u16 == self.index, "control word {control:#x}");
            assert_eq!(offset as u64 % ENTRY_BYTES as u64, ENTRY_CTL, "the control word's place");
            assert!(self.owed.remove(&id), "event {id} was sent and not posted");
            if is_unmasked_by_host(id) {
                assert!(self.outstanding.insert(id), "event {id} was sent again before its unmask");
            }
            self.reached.insert("an entry is written");
        }
        assert_eq!(after.sent.wrapping_sub(before.sent), released, "the counter of sent events");
        for post in &self.posts.log {
            let is_interrupt = post.address == CFG_BASE + u64::from(pcie::CORE_MSI_REQ) && post.data == 1;
            assert!(is_interrupt, "{post:?} is no interrupt");
        }
        let interrupts = std::mem::take(&mut self.posts.log).len();
        assert!(interrupts <= 1, "one pump, {interrupts} interrupts");
        if after.repeated_interrupts != before.repeated_interrupts {
            self.reached.insert("an interrupt is repeated");
        }
        if released > 0 && self.posts.room > 0 && after.host_errors == before.host_errors {
            assert_eq!(interrupts, 1, "entries without an interrupt");
        }
        for (counter, name) in [
            (after.full != before.full, "the ring is full"),
            (after.host_errors != before.host_errors, "host memory ends inside the ring"),
        ] {
            if counter {
                self.reached.insert(name);
            }
        }
        if after.host_errors != before.host_errors {
            assert!(!self.events.is_open(), "the queue goes on after host memory refused an access");
        }
    }

    /// Takes an entry as the driver does.
    fn take(&mut self) -> Option<u16> {
        if self.entries == 0 {
            return None;
        }
        let place = RING + self.consumer * ENTRY_BYTES + ENTRY_CTL as usize;
        let control = self.host.word(place);
        if control & CTL_READY == 0 {
            return None;
        }
        self.host.put(place, &(control & !CTL_READY).to_le_bytes());
        self.consumer = (self.consumer + 1) % self.entries;
        Some((control >> 16 & 0xFFF) as u16)
    }

    /// A well-behaved host from here on gets everything.
    fn finish(&mut self) {
        self.posts.room = usize::MAX;
        self.restart(16);
        self.events.host_is_ready();
        self.events.allow_access();
        let mut rounds = 0;
        while !self.owed.is_empty() {
            rounds += 1;
            assert!(rounds < 1000, "events {:?} are never sent", self.owed);
            self.pump(0);
            while let Some(id) = self.take() {
                self.unmask(id);
            }
        }
        if rounds > 0 {
            self.reached.insert("everything is delivered");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        // Open a ring of 8, post, pump, take, unmask.
        vec![13, 3, 14, 5, 0, 6, 0, 5, 0, 6, 0, 8, 11, 0, 6, 0, 8],
        // Fill a ring of 2, wait, take, again.
        vec![13, 1, 14, 0, 1, 0, 0, 2, 0, 0, 3, 0, 6, 20, 6, 20, 8, 6, 20, 8, 8],
        // A ring whose end is outside the memory.
        [vec![13, 5, 14], (0..80).flat_map(|id| [0, id, 0]).collect(), vec![6, 0, 15, 0]].concat(),
        // A host that writes into the ring.
        vec![
            13, 0, 14, 12, 4, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 9, 0, 6, 1, 12, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 1,
        ],
    ]
}
