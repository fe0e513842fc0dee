//! Tests of the posted-write ring against the card's half of its rules.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coxswain_abi::soc::{Attributes, PostedWrite, core_block};
use coxswain_core::ports::PostedWrites;

use crate::fake::FakeCard;
use crate::posted::PostedRing;

fn write(number: u32) -> PostedWrite {
    PostedWrite { address: 0x7F_FC00_0000 + 4 * u64::from(number), data: number, attributes: Attributes::CPU }
}

fn ring(card: &FakeCard) -> PostedRing {
    PostedRing::new(&card.soc, 0).unwrap()
}

#[test]
fn writes_arrive_in_order_and_only_after_a_flush() {
    let card = FakeCard::new();
    let mut ring = ring(&card);
    for number in 0..5 {
        ring.post(write(number));
    }
    assert_eq!(card.consume(), []);
    assert!(ring.is_empty());
    ring.flush();
    assert!(!ring.is_empty());
    assert_eq!(card.consume(), (0..5).map(write).collect::<std::vec::Vec<_>>());
    assert!(ring.is_empty());
}

#[test]
fn only_an_idle_card_is_kicked_and_only_for_something_new() {
    let card = FakeCard::new();
    let mut ring = ring(&card);
    ring.post(write(0));
    ring.flush();
    assert_eq!(card.take_kick(), None);
    card.block(core_block::POSTED_IDLE).store(1, Ordering::SeqCst);
    ring.flush();
    assert_eq!(card.take_kick(), None);
    ring.post(write(1));
    ring.flush();
    assert_eq!(card.take_kick(), Some(0));
    assert_eq!(ring.counters().kicks, 1);
}

#[test]
fn each_core_kicks_with_its_own_number() {
    let card = FakeCard::new();
    card.word(core_block::offset(3) + core_block::POSTED_IDLE).store(1, Ordering::SeqCst);
    let mut ring = PostedRing::new(&card.soc, 3).unwrap();
    ring.post(write(0));
    ring.flush();
    assert_eq!(card.take_kick(), Some(3));
    assert!(PostedRing::new(&card.soc, 4).is_none());
}

#[test]
fn a_write_without_room_is_dropped_and_counted() {
    let card = FakeCard::with_rings(8, 8).unwrap();
    let mut ring = ring(&card);
    assert_eq!(ring.available(), 8);
    for number in 0..10 {
        ring.post(write(number));
    }
    assert_eq!(ring.available(), 0);
    ring.flush();
    assert_eq!(card.consume(), (0..8).map(write).collect::<std::vec::Vec<_>>());
    assert_eq!((ring.counters().posted, ring.counters().dropped), (8, 2));
    assert_eq!(ring.available(), 8);
}

#[test]
fn the_indices_wrap_around() {
    let card = FakeCard::with_rings(8, 8).unwrap();
    card.block(core_block::POSTED_PRODUCER).store(u32::MAX - 2, Ordering::Relaxed);
    card.block(core_block::POSTED_CONSUMER).store(u32::MAX - 2, Ordering::Relaxed);
    let mut ring = ring(&card);
    for round in 0..3 {
        for number in 0..7 {
            ring.post(write(10 * round + number));
        }
        ring.flush();
        assert_eq!(card.consume(), (0..7).map(|number| write(10 * round + number)).collect::<std::vec::Vec<_>>());
    }
}

#[test]
fn the_next_image_goes_on_where_the_last_one_stopped() {
    let card = FakeCard::new();
    let mut first = ring(&card);
    first.post(write(1));
    first.flush();
    first.post(write(2));
    let mut second = ring(&card);
    second.post(write(3));
    second.flush();
    assert_eq!(card.consume(), [write(1), write(3)]);
}

#[test]
fn an_index_that_no_image_can_have_left_is_replaced_by_the_cards() {
    let card = FakeCard::with_rings(8, 8).unwrap();
    card.block(core_block::POSTED_PRODUCER).store(0xDEAD_0000, Ordering::Relaxed);
    card.block(core_block::POSTED_CONSUMER).store(5, Ordering::Relaxed);
    let mut ring = ring(&card);
    assert_eq!(ring.available(), 8);
    ring.post(write(1));
    ring.flush();
    assert_eq!(card.consume(), [write(1)]);
}

#[test]
fn a_consumer_index_beyond_the_producer_gives_no_room() {
    let card = FakeCard::with_rings(8, 8).unwrap();
    let mut ring = ring(&card);
    card.block(core_block::POSTED_CONSUMER).store(1, Ordering::Relaxed);
    assert_eq!(ring.available(), 0);
    ring.post(write(0));
    assert_eq!((ring.counters().bad_index, ring.counters().dropped), (1, 1));
}

#[test]
fn no_kick_is_lost_between_two_threads() {
    const WRITES: u32 = 20_000;
    let card = FakeCard::with_rings(64, 8).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut expected = 0;
            let idle = card.block(core_block::POSTED_IDLE);
            while expected < WRITES {
                for write in card.consume() {
                    assert_eq!(write.data, expected);
                    expected += 1;
                }
                // The card's rule: say idle, look once more, then wait for a kick.
                idle.store(1, Ordering::SeqCst);
                std::sync::atomic::fence(Ordering::SeqCst);
                if card.block(core_block::POSTED_PRODUCER).load(Ordering::Acquire)
                    == card.block(core_block::POSTED_CONSUMER).load(Ordering::Relaxed)
                    && expected < WRITES
                {
                    let patience = Instant::now();
                    while card.take_kick().is_none() {
                        assert!(patience.elapsed() < Duration::from_secs(20), "kick lost after {expected}");
                        std::thread::yield_now();
                    }
                }
                idle.store(0, Ordering::SeqCst);
            }
        });
        let mut ring = ring(&card);
        let mut number = 0;
        while number < WRITES {
            if ring.available() == 0 {
                ring.flush();
                std::thread::yield_now();
                continue;
            }
            ring.post(write(number));
            number += 1;
            if number % 3 == 0 {
                ring.flush();
            }
        }
        ring.flush();
        assert_eq!(ring.counters().dropped, 0);
    });
}
