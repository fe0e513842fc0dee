//! The event queue against a host that behaves like the driver (`cpucp.md` 10).
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FakeHost, FakePosts, FakeRegisters};
use coxswain_abi::event::{Event, id};
use coxswain_core::event::{DEFERRED, EventQueue, EventRing, REPEAT_INTERRUPT_US, WAITING};
use proptest::prelude::*;

const MSI: u64 = 0x7F_FCC0_4100;
const RING: usize = 0x1_0000;

/// An event queue and the host's end of it.
struct Bench {
    events: EventQueue,
    host: FakeHost,
    posts: FakePosts,
    consumer: usize,
    expected_index: u16,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let mut events = EventQueue::new();
        events.restart(EventRing::new(FakeHost::BASE + RING as u64, 64).unwrap());
        let posts = FakePosts::new(&FakeRegisters::default());
        Self { events, host: FakeHost::new(), posts, consumer: 0, expected_index: 0, now: 0 }
    }

    fn open() -> Self {
        let mut bench = Self::new();
        bench.events.host_is_ready();
        bench.events.allow_access();
        bench
    }

    fn pump(&mut self) {
        self.events.pump(&mut self.host, &mut self.posts, self.now);
    }

    /// Pumps and returns the ids of the entries that were written.
    fn pump_and_see(&mut self) -> Vec<u16> {
        let before = self.host.writes.len();
        self.pump();
        let released = self.host.writes[before..].iter().filter(|write| write.2);
        released.map(|write| (self.host.word((write.0 - FakeHost::BASE) as usize) >> 16 & 0xFFF) as u16).collect()
    }

    fn post(&mut self, id: u16) {
        self.events.post(Event::new(id));
        self.pump();
    }

    fn interrupts(&self) -> usize {
        assert!(self.posts.log.iter().all(|write| write.address == MSI && write.data == 1));
        self.posts.log.len()
    }

    /// Takes the next entry as the driver does: READY, then index, then payload; clears READY.
    fn take(&mut self) -> Option<(u16, [u8; 56])> {
        let entry = RING + 64 * self.consumer;
        let ctl = self.host.word(entry + 4);
        if ctl >> 31 == 0 {
            return None;
        }
        self.expected_index = self.expected_index.wrapping_add(1);
        assert_eq!(ctl as u16, self.expected_index, "the driver stops for good at a wrong index");
        let payload = self.host.bytes[entry + 8..entry + 64].try_into().unwrap();
        self.host.put(entry + 4, &(ctl & 0x7FFF_FFFF).to_le_bytes());
        self.consumer = (self.consumer + 1) % 64;
        Some(((ctl >> 16 & 0xFFF) as u16, payload))
    }

    fn take_all(&mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.take()).map(|(id, _)| id).collect()
    }
}

#[test]
fn an_event_is_payload_then_control_word_then_interrupt() {
    let mut bench = Bench::open();
    bench.events.post(Event::sync_manager(2, 1, 0xAABB_CCDD));
    bench.pump();
    let base = FakeHost::BASE + RING as u64;
    assert_eq!(bench.host.writes, [(base, 64, false), (base + 4, 4, true)]);
    assert_eq!(bench.interrupts(), 1);
    let (id, payload) = bench.take().unwrap();
    assert_eq!((id, &payload[..6]), (279, &[0xDD, 0xCC, 0xBB, 0xAA, 1, 0][..]));
    assert_eq!(bench.take(), None);
}

#[test]
fn nothing_is_sent_before_the_host_is_ready_and_has_given_access() {
    let mut bench = Bench::new();
    bench.post(id::DEV_RESET_REQ);
    bench.events.host_is_ready();
    bench.pump();
    assert_eq!(*bench.host.accesses.borrow(), 0);
    bench.events.allow_access();
    bench.pump();
    assert_eq!(bench.take_all(), [646]);

    let mut bench = Bench::new();
    bench.events.allow_access();
    bench.post(id::DEV_RESET_REQ);
    assert_eq!((*bench.host.accesses.borrow(), bench.interrupts()), (0, 0));
}

#[test]
fn nothing_is_touched_after_a_stop() {
    let mut bench = Bench::open();
    bench.post(583);
    let accesses = *bench.host.accesses.borrow();
    bench.events.stop();
    bench.now = 10 * REPEAT_INTERRUPT_US;
    bench.post(584);
    bench.events.host_is_ready();
    bench.events.allow_access();
    bench.pump();
    assert_eq!((*bench.host.accesses.borrow(), bench.interrupts()), (accesses, 1));
}

#[test]
fn one_interrupt_covers_all_entries_of_a_pump() {
    let mut bench = Bench::open();
    for qman in 0..18 {
        bench.events.post(Event::new(id::queue_manager(qman)));
    }
    bench.pump();
    assert_eq!(bench.interrupts(), 1);
    assert_eq!(bench.take_all().len(), 18);
}

#[test]
fn a_masked_event_is_sent_again_only_after_its_unmask() {
    let mut bench = Bench::open();
    bench.post(583);
    bench.post(583);
    bench.post(583);
    bench.post(584);
    assert_eq!(bench.take_all(), [583, 584]);
    assert!(bench.events.unmask(583));
    bench.pump();
    assert_eq!(bench.take_all(), [583], "the causes that came meanwhile, once");
    bench.events.unmask(583);
    bench.pump();
    assert_eq!(bench.take_all(), []);
    assert_eq!(bench.events.counters().joined, 1);
    bench.post(583);
    assert_eq!(bench.take_all(), [583]);
}

#[test]
fn an_event_that_the_host_never_unmasks_is_not_masked() {
    let mut bench = Bench::open();
    bench.post(id::PKT_QUEUE_OUT_SYNC);
    bench.post(id::PKT_QUEUE_OUT_SYNC);
    assert_eq!(bench.take_all(), [647, 647]);
}

#[test]
fn an_unmask_of_nothing_changes_nothing() {
    let mut bench = Bench::open();
    assert!(bench.events.unmask(583));
    assert!(!bench.events.unmask(663));
    assert!(!bench.events.unmask(u16::MAX));
    bench.pump();
    assert_eq!(bench.take_all(), []);
}

#[test]
fn a_full_queue_waits_and_goes_on() {
    let mut bench = Bench::open();
    // Ids that nobody unmasks: classes A and B have more than 64 of them.
    let ids: Vec<u16> = (124..=155).chain(239..=256).chain(46..=53).chain(78..=85).chain([645, 646, 647]).collect();
    assert!(ids.len() > 64 && ids.len() <= WAITING);
    for id in &ids {
        bench.events.post(Event::new(*id));
    }
    bench.pump();
    assert_eq!(bench.events.counters().full, 1);
    let mut taken = vec![bench.take().unwrap().0];
    bench.pump();
    taken.extend(bench.take_all());
    bench.pump();
    taken.extend(bench.take_all());
    assert_eq!(taken, ids, "in order, none lost, none twice");
    assert_eq!(bench.events.counters().dropped, 0);
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut bench = Bench::new();
    let ids: Vec<u16> = (0..WAITING as u16 + 3).collect();
    for id in &ids {
        bench.events.post(Event::new(*id));
    }
    bench.events.post(Event::new(0));
    bench.events.post(Event::new(663));
    let counters = bench.events.counters();
    assert_eq!((counters.dropped, counters.joined, counters.refused), (3, 1, 1));

    let mut bench = Bench::open();
    let maskable: Vec<u16> =
        (0..663).filter(|id| coxswain_abi::event::is_unmasked_by_host(*id)).take(DEFERRED + 2).collect();
    for _ in 0..2 {
        for id in &maskable {
            bench.post(*id);
            bench.take_all();
        }
    }
    assert_eq!(bench.events.counters().dropped, 2);
}

#[test]
fn the_interrupt_is_owed_until_there_is_room_for_it() {
    let mut bench = Bench::open();
    bench.posts.room = 0;
    bench.post(583);
    assert_eq!(bench.interrupts(), 0);
    bench.posts.room = 1;
    bench.pump();
    assert_eq!(bench.interrupts(), 1);
    bench.pump();
    assert_eq!(bench.interrupts(), 1);
}

#[test]
fn an_interrupt_that_had_no_effect_is_raised_again() {
    let mut bench = Bench::open();
    bench.post(583);
    bench.now = REPEAT_INTERRUPT_US - 1;
    bench.pump();
    assert_eq!(bench.interrupts(), 1);
    bench.now = REPEAT_INTERRUPT_US;
    bench.pump();
    assert_eq!(bench.interrupts(), 2);
    assert_eq!(bench.take_all(), [583]);
    bench.now = 2 * REPEAT_INTERRUPT_US;
    bench.pump();
    bench.now = 3 * REPEAT_INTERRUPT_US;
    bench.pump();
    assert_eq!((bench.interrupts(), bench.events.counters().repeated_interrupts), (2, 1));
}

#[test]
fn a_new_handshake_starts_over_and_keeps_what_was_not_told() {
    let mut bench = Bench::open();
    bench.post(583);
    bench.post(583);
    bench.host = FakeHost::new();
    bench.consumer = 0;
    bench.expected_index = 0;
    bench.events.restart(EventRing::new(FakeHost::BASE + RING as u64, 64).unwrap());
    bench.pump();
    assert_eq!(bench.take_all(), [], "not before the host is ready again");
    bench.events.host_is_ready();
    bench.events.allow_access();
    bench.pump();
    assert_eq!(bench.take_all(), [583]);
}

#[test]
fn a_queue_that_is_no_memory_stops_the_events_only() {
    let mut bench = Bench::open();
    bench.events.restart(EventRing::new(FakeHost::BASE + FakeHost::SIZE as u64 - 64, 64).unwrap());
    bench.events.host_is_ready();
    bench.events.allow_access();
    bench.post(645);
    bench.post(646);
    assert_eq!(bench.events.counters().host_errors, 1);
    assert!(!bench.events.is_open());
}

#[test]
fn a_ring_of_another_shape_cannot_be_made() {
    assert_eq!(EventRing::new(2, 64), None);
    assert_eq!(EventRing::new(0, 0), None);
    assert_eq!(EventRing::new(0, 48), None);
    assert_eq!(EventRing::new(0, 1 << 17), None);
    assert_eq!(EventRing::new(1 << 50, 64), None);
    assert!(EventRing::new(0, 1).is_some());
}

#[derive(Debug, Clone)]
enum Move {
    Post(u16),
    Unmask,
    Take,
    Pump,
    Room(bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let ids = prop_oneof![Just(583u16), Just(584), Just(590), Just(604), Just(380), Just(548), Just(646), Just(647)];
    proptest::collection::vec(
        prop_oneof![
            6 => ids.prop_map(Move::Post),
            3 => Just(Move::Unmask),
            4 => Just(Move::Take),
            4 => Just(Move::Pump),
            1 => any::<bool>().prop_map(Move::Room),
        ],
        0..400,
    )
}

proptest! {
    /// Every cause that is posted is followed by an entry with its id; an id that is masked is outstanding once at most;
    /// indices never break (checked in `take`).
    #[test]
    fn no_cause_is_lost_and_no_masked_event_is_sent_twice(moves in moves()) {
        let mut bench = Bench::open();
        let mut untold = std::collections::BTreeSet::new();
        let mut masked = std::collections::BTreeSet::new();
        for step in moves {
            match step {
                Move::Post(id) => {
                    bench.events.post(Event::new(id));
                    untold.insert(id);
                }
                Move::Unmask => {
                    if let Some(id) = masked.pop_first() {
                        bench.events.unmask(id);
                    }
                }
                Move::Take => {
                    if let Some((id, _)) = bench.take()
                        && id < 640
                    {
                        prop_assert!(masked.insert(id), "event {} while it was masked", id);
                    }
                }
                Move::Pump => {
                    for id in bench.pump_and_see() {
                        untold.remove(&id);
                    }
                }
                Move::Room(room) => bench.posts.room = usize::from(room),
            }
        }
        // Unmask and take until silence.
        bench.posts.room = 1;
        loop {
            for id in bench.pump_and_see() {
                untold.remove(&id);
            }
            for id in bench.take_all() {
                masked.insert(id);
            }
            if masked.is_empty() {
                break;
            }
            while let Some(id) = masked.pop_first() {
                bench.events.unmask(id);
            }
        }
        prop_assert!(untold.is_empty(), "{:?} were never told", untold);
        prop_assert_eq!(bench.events.counters().dropped, 0);
    }

    /// A host that scribbles over its own queue cannot make us write outside it or panic.
    #[test]
    fn a_host_that_scribbles_hurts_only_itself(
        scribbles in proptest::collection::vec((0usize..64, any::<u32>(), 0u16..663), 0..200),
    ) {
        let mut bench = Bench::open();
        for (slot, word, id) in scribbles {
            bench.host.put(RING + 64 * slot + 4, &word.to_le_bytes());
            bench.events.unmask(id);
            bench.post(id);
        }
        let range = FakeHost::BASE + RING as u64..FakeHost::BASE + RING as u64 + 4096;
        prop_assert!(bench.host.writes.iter().all(|(at, bytes, _)| range.contains(at) && at + *bytes as u64 <= range.end));
    }
}
