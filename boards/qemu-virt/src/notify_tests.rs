//! Tests of the notification ring against the card's half of its rules.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use coxswain_abi::soc::{Notification, core_block};
use coxswain_core::ports::Notifications;

use crate::fake::FakeCard;
use crate::notify::NotificationRing;

fn done(engine: u8) -> Notification {
    Notification::EngineDone { engine }
}

fn ring(card: &FakeCard) -> NotificationRing {
    NotificationRing::new(&card.soc, 0).unwrap()
}

#[test]
fn notifications_arrive_in_order_across_the_wrap_of_the_indices() {
    let card = FakeCard::with_rings(8, 4).unwrap();
    card.block(core_block::NOTIFY_PRODUCER).store(u32::MAX, Ordering::Relaxed);
    card.block(core_block::NOTIFY_CONSUMER).store(u32::MAX, Ordering::Relaxed);
    let mut ring = ring(&card);
    for round in 0..5 {
        for number in 0..4 {
            assert!(card.notify(done(4 * round + number).to_words()));
        }
        assert!(!card.notify(done(99).to_words()));
        for number in 0..4 {
            assert_eq!(ring.next(), Some(done(4 * round + number)));
        }
        assert_eq!(ring.next(), None);
    }
    assert_eq!(ring.counters().taken, 20);
}

#[test]
fn an_unknown_kind_is_skipped_and_counted() {
    let card = FakeCard::new();
    let mut ring = ring(&card);
    assert!(card.notify([0xEE, 1]));
    assert!(card.notify(done(3).to_words()));
    assert_eq!(ring.next(), Some(done(3)));
    assert_eq!(ring.counters().unknown, 1);
}

#[test]
fn an_index_that_the_card_cannot_have_written_is_not_followed() {
    let card = FakeCard::with_rings(8, 4).unwrap();
    let mut ring = ring(&card);
    card.block(core_block::NOTIFY_PRODUCER).store(1000, Ordering::Relaxed);
    assert_eq!(ring.next(), None);
    assert_eq!(ring.counters().bad_index, 1);
    assert!(card.notify(done(1).to_words()));
    assert_eq!(ring.next(), Some(done(1)));
}

#[test]
fn discarding_drops_notifications_and_doorbells() {
    let card = FakeCard::new();
    let mut ring = ring(&card);
    assert!(card.notify(done(1).to_words()));
    card.block(core_block::DOORBELLS).store(5, Ordering::Relaxed);
    ring.discard();
    assert!(!ring.is_pending());
    assert_eq!(ring.next(), None);
    assert_eq!(ring.take_doorbells(), [0, 0]);
}

#[test]
fn doorbells_are_taken_once() {
    let card = FakeCard::new();
    let mut ring = ring(&card);
    card.block(core_block::DOORBELLS).store(1, Ordering::Relaxed);
    card.block(core_block::DOORBELLS + 8).store(0x80, Ordering::Relaxed);
    assert_eq!(ring.take_doorbells(), [1, 0x80]);
    assert_eq!(ring.take_doorbells(), [0, 0]);
}

#[test]
fn sleep_is_refused_while_something_waits() {
    let card = FakeCard::new();
    let mut ring = ring(&card);
    card.block(core_block::DOORBELLS).store(1, Ordering::Relaxed);
    assert!(!ring.arm_interrupt());
    assert_eq!(card.block(core_block::WANT_INTERRUPT).load(Ordering::Relaxed), 0);
    let _ = ring.take_doorbells();
    assert!(ring.arm_interrupt());
    assert_eq!(card.notify_and_interrupt(done(0)), Some(true));
    assert_eq!(card.notify_and_interrupt(done(1)), Some(false));
}

#[test]
fn a_ring_that_was_half_full_is_reported_once() {
    let card = FakeCard::with_rings(8, 8).unwrap();
    let mut ring = ring(&card);
    for number in 0..3 {
        assert!(card.notify(done(number).to_words()));
    }
    while ring.next().is_some() {}
    assert!(!ring.take_pressure());
    for number in 0..4 {
        assert!(card.notify(done(number).to_words()));
    }
    while ring.next().is_some() {}
    assert!(ring.take_pressure());
    assert!(!ring.take_pressure());
}

#[test]
fn no_wake_up_is_lost_between_two_threads() {
    const EVENTS: u32 = 20_000;
    let card = FakeCard::with_rings(8, 64).unwrap();
    let interrupts = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while number < EVENTS {
                let notification = Notification::RegisterWrite { offset: 4, value: number, secure: true };
                match card.notify_and_interrupt(notification) {
                    Some(raise) => {
                        interrupts.fetch_add(u32::from(raise), Ordering::SeqCst);
                        number += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        let mut ring = ring(&card);
        let mut seen = 0;
        let mut expected = 0;
        loop {
            while let Some(notification) = ring.next() {
                assert_eq!(notification, Notification::RegisterWrite { offset: 4, value: expected, secure: true });
                expected += 1;
            }
            if expected == EVENTS {
                break;
            }
            if ring.arm_interrupt() {
                let patience = Instant::now();
                while interrupts.load(Ordering::SeqCst) == seen {
                    assert!(patience.elapsed() < Duration::from_secs(20), "interrupt lost after {expected}");
                    std::thread::yield_now();
                }
                seen += 1;
            }
        }
        assert_eq!(ring.counters().unknown + ring.counters().bad_index, 0);
    });
}
