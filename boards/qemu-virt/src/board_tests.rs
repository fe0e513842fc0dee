//! Tests of the decision to sleep, and of what is refused at the attach.

use std::sync::atomic::Ordering;

use coxswain_abi::soc::{Attributes, Notification, PostedWrite, core_block, info};
use coxswain_core::ports::{Notifications, PostedWrites};

use crate::board::{Board, SAFETY_TICK_US};
use crate::clock::BoardClock;
use crate::fake::{FakeCard, HOST_BYTES};
use crate::soc::AttachError;

const WRITE: PostedWrite = PostedWrite { address: 0, data: 0, attributes: Attributes::CPU };

fn board(card: &FakeCard, now_us: u64) -> Board {
    Board::new(card.soc, 0, BoardClock::stopped(now_us)).unwrap()
}

#[test]
fn what_was_posted_is_published_before_the_core_sleeps() {
    let card = FakeCard::new();
    let mut board = board(&card, 0);
    board.post(WRITE);
    board.wait_for_work(None);
    assert_eq!(card.consume(), [WRITE]);
}

#[test]
fn a_passed_deadline_and_a_doorbell_keep_the_core_awake() {
    let card = FakeCard::new();
    let mut board = board(&card, 50);
    assert!(board.prepare_to_sleep(Some(51)));
    assert!(!board.prepare_to_sleep(Some(50)));
    card.block(core_block::DOORBELLS).store(1, Ordering::Relaxed);
    assert!(!board.prepare_to_sleep(None));
}

#[test]
fn the_safety_tick_asks_for_a_sweep_and_heals_a_lost_kick() {
    let card = FakeCard::new();
    let mut board = board(&card, SAFETY_TICK_US);
    board.post(WRITE);
    board.flush();
    assert_eq!(card.take_kick(), None);
    assert!(!board.prepare_to_sleep(None));
    assert!(board.take_sweep());
    assert!(!board.take_sweep());
    assert_eq!(card.take_kick(), Some(0));
    assert!(board.prepare_to_sleep(None));
    assert_eq!(board.wake_time(None), Some(2 * SAFETY_TICK_US));
    assert_eq!(board.wake_time(Some(SAFETY_TICK_US + 1)), Some(SAFETY_TICK_US + 1));
}

#[test]
fn a_full_notification_ring_ends_with_a_kick_for_the_backlog() {
    let card = FakeCard::with_rings(8, 8).unwrap();
    let mut board = board(&card, 0);
    let notification = Notification::EngineDone { engine: 1 };
    while card.notify(notification.to_words()) {}
    for _ in 0..8 {
        assert_eq!(board.next(), Some(notification));
        assert_eq!(card.take_kick(), None);
    }
    assert_eq!(board.next(), None);
    assert_eq!(card.take_kick(), Some(0));
    assert_eq!(board.next(), None);
    assert_eq!(card.take_kick(), None);
}

#[test]
fn in_lockstep_only_a_deadline_wakes_the_core() {
    let card = FakeCard::with_page(|put| put(info::LOCKSTEP, 1)).unwrap();
    let mut board = board(&card, 10 * SAFETY_TICK_US);
    assert!(board.prepare_to_sleep(None));
    assert!(!board.take_sweep());
    assert_eq!(board.wake_time(None), None);
    assert_eq!(board.wake_time(Some(7)), Some(7));
}

#[test]
fn a_card_of_another_version_is_refused() {
    let refused = |offset, value| FakeCard::with_page(|put| put(offset, value)).err();
    assert_eq!(refused(info::MAGIC, 7), Some(AttachError::Magic(7)));
    let other = info::VERSION_VALUE + 1;
    assert_eq!(refused(info::VERSION, other), Some(AttachError::Version(other)));
    assert_eq!(
        refused(info::POSTED_ENTRIES, 4095),
        Some(AttachError::RingGeometry { posted: 4095, notify: core_block::NOTIFY_ENTRIES })
    );
    assert_eq!(
        refused(info::NOTIFY_ENTRIES, 1 << 20),
        Some(AttachError::RingGeometry { posted: core_block::POSTED_ENTRIES, notify: 1 << 20 })
    );
    let host = HOST_BYTES + 0x1000;
    assert!(
        matches!(refused(info::HOST_BYTES, host as u32), Some(AttachError::Extent { host: found, .. }) if found == host)
    );
}

#[test]
fn a_qman_is_routed_to_a_core_in_the_control_page() {
    let card = FakeCard::new();
    card.soc.route_qman(5, 3);
    card.soc.route_qman(18, 1);
    card.soc.route_qman(0, 4);
    let control = coxswain_abi::soc::bar0::CONTROL;
    assert_eq!(card.word(control + 4).load(Ordering::Relaxed), 3 << 8);
    assert_eq!(card.word(control).load(Ordering::Relaxed), 0);
    assert_eq!(card.word(control + 16).load(Ordering::Relaxed), 0);
}
