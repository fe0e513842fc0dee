//! The rings between the card and the management CPU, both directions.

mod soc_support;

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

use coxswain_abi::regs::{psoc, qman, sync_manager};
use coxswain_abi::soc::{
    Attributes, Notification, PostedWrite, ResetReason, WriteKind, bar0, control, core_block, info,
};
use coxswain_card::soc::SocOptions;
use soc_support::{Card, PATIENCE, cfg, cpu_write, eventually, kmd_msg};

fn status(offset: u32, data: u32, kind: WriteKind) -> PostedWrite {
    PostedWrite { address: cfg(offset), data, attributes: Attributes::CPU.with_kind(kind) }
}

fn posted_index(card: &Card, core: usize) -> u32 {
    card.ring_word(core, core_block::POSTED_CONSUMER)
}

fn is_idle(card: &Card, core: usize) -> bool {
    card.ring_word(core, core_block::POSTED_IDLE) == 1
}

#[test]
fn the_information_page_describes_the_card() {
    let card = Card::with(SocOptions { lockstep: true, straps: 5, ..Default::default() });
    let read = |field| card.memories.soc.read_u32(bar0::INFO + field).unwrap();
    assert_eq!(read(info::MAGIC), info::MAGIC_VALUE);
    assert_eq!(read(info::VERSION), info::VERSION_VALUE);
    assert_eq!(read(info::POSTED_ENTRIES), 4096);
    assert_eq!(read(info::NOTIFY_ENTRIES), 1024);
    assert_eq!(card.memories.soc.read_u64(bar0::INFO + info::HOST_BYTES).unwrap(), soc_support::HOST_BYTES);
    assert_eq!(card.memories.soc.read_u64(bar0::INFO + info::HBM_BYTES).unwrap(), 32 << 30);
    assert_eq!(read(info::RESET_REASON), ResetReason::PowerOn as u32);
    assert_eq!(read(info::STRAPS), 5);
    assert_eq!(read(info::DMA_QUEUE_DEPTH), 16);
    assert_eq!(read(info::LOCKSTEP), 1);
    assert_eq!(card.read(psoc::BOOT_STRAP_PINS), 5);
}

#[test]
fn posted_writes_are_applied_in_order_and_consumed() {
    let card = Card::new();
    let scratch = psoc::HW_STATE;
    assert!(is_idle(&card, 2));
    card.post(
        2,
        &[cpu_write(scratch, 1), status(scratch, 6, WriteKind::SetBits), status(scratch, 2, WriteKind::ClearBits)],
    );
    assert_eq!(card.read(scratch), 5);
    assert_eq!(posted_index(&card, 2), 3);
    assert!(is_idle(&card, 2));
    card.post(2, &[status(qman::base(0) + qman::GLBL_STS0, 0x77, WriteKind::Status)]);
    assert_eq!(card.read(qman::base(0) + qman::GLBL_STS0), 0x77);
}

#[test]
fn the_posted_ring_goes_round() {
    let card = Card::new();
    let sob = sync_manager::base(3) + sync_manager::SOB_OBJ_0;
    let batch = vec![cpu_write(sob, 0x8000_0001); 3000];
    for _ in 0..5 {
        card.post(0, &batch);
    }
    assert_eq!(card.read(sob), 15_000);
    assert_eq!(posted_index(&card, 0), 15_000);
}

#[test]
fn a_full_ring_of_posted_writes_is_consumed() {
    let card = Card::new();
    let sob = sync_manager::base(3) + sync_manager::SOB_OBJ_0;
    card.post(0, &vec![cpu_write(sob, 0x8000_0001); 4096]);
    assert_eq!(card.read(sob), 4096);
}

#[test]
fn a_producer_index_that_cannot_be_is_counted_and_ignored() {
    let card = Card::new();
    let place = core_block::offset(1) + core_block::POSTED_PRODUCER;
    card.memories.soc.write_u32(place, 4097).unwrap();
    card.soc.kick(1);
    assert_eq!(posted_index(&card, 1), 0);
    assert!(card.soc.counters().bad_producer_indices > 0);
    card.memories.soc.write_u32(place, 0).unwrap();
    card.post(1, &[cpu_write(psoc::HW_STATE, 9)]);
    assert_eq!(card.read(psoc::HW_STATE), 9);
}

#[test]
fn a_kick_of_a_core_that_is_none_does_nothing() {
    let card = Card::new();
    card.soc.kick(4);
    card.soc.kick(usize::MAX);
}

#[test]
fn a_failed_write_is_reported_to_its_initiator() {
    let card = Card::new();
    card.memories.soc.write_bytes(bar0::CONTROL + control::ROUTE + 5, &[3]).unwrap();
    let attributes = soc_support::secured(5, 1);
    for address in [0x10_0000_0000, cfg(psoc::HW_STATE) + 2, cfg(0x50_7000)] {
        card.post(0, &[PostedWrite { address, data: 1, attributes }]);
        let expected = Notification::WriteFailed { initiator: 5 << 3 | 1, address };
        assert_eq!(card.notifications(3), [expected]);
        card.post(0, &[status(qman::base(5) + qman::GLBL_STS1_0 + 4, qman::cause::MSG_WR, WriteKind::SetBits)]);
    }
    assert_eq!(card.notifications(0), []);
}

#[test]
fn after_a_failed_write_the_stream_writes_nothing_until_the_error_is_recorded() {
    let card = Card::new();
    let write = |address, data, stream| PostedWrite { address, data, attributes: soc_support::secured(5, stream) };
    let record =
        |stream: u32| status(qman::base(5) + qman::GLBL_STS1_0 + 4 * stream, qman::cause::MSG_WR, WriteKind::SetBits);
    let sram = |offset: u64| card.memories.soc.read_u32(offset).unwrap();
    let bad = 0x10_0000_0000;
    card.post(0, &[write(bad, 1, 1), write(bad, 2, 1), write(0x7F_F000_1000, 3, 1), write(0x7F_F000_1004, 4, 2)]);
    assert_eq!(card.notifications(0), [Notification::WriteFailed { initiator: 5 << 3 | 1, address: bad }]);
    assert_eq!([sram(0x1000), sram(0x1004)], [0, 4], "another stream goes on");
    card.post(0, &[write(0x7F_F000_1000, 5, 1), record(2), write(0x7F_F000_1000, 6, 1)]);
    assert_eq!(sram(0x1000), 0, "the error of another stream says nothing");
    card.post(0, &[record(1), write(0x7F_F000_1000, 7, 1)]);
    assert_eq!(sram(0x1000), 7);
}

#[test]
fn a_time_stamp_write_carries_the_time_at_which_it_is_carried_out() {
    let card = Card::new();
    card.replay("hw_init.11");
    let attributes = soc_support::secured(5, 1).with_timestamp();
    let stamp = || {
        card.post(0, &[PostedWrite { address: 0x7F_F000_1000, data: 0, attributes }]);
        card.memories.soc.read_u32(0x1000).unwrap()
    };
    let first = stamp();
    eventually("time", || card.read(psoc::TIMESTAMP_CNTCVL) > first + 1000);
    let between = card.read(psoc::TIMESTAMP_CNTCVL);
    assert!(stamp() >= between && between > first, "{first} {between}");
}

#[test]
fn a_full_notification_ring_stalls_the_posted_writes_and_loses_nothing() {
    let card = Card::new();
    let writes: Vec<PostedWrite> = (0..1500).map(|value| cpu_write(psoc::KMD_MSG_TO_CPU, value)).collect();
    card.post(0, &writes);
    assert!(posted_index(&card, 0) < 1500, "the card stopped");
    assert!(is_idle(&card, 0), "it looks again only when kicked");
    card.write(psoc::KMD_MSG_TO_CPU, 0xAAAA);
    let mut seen = card.take(0, 10);
    eventually("the rest", || {
        card.soc.kick(0);
        posted_index(&card, 0) > 1025
    });
    while seen.len() < 1501 {
        let more = card.notifications(0);
        card.soc.kick(0);
        seen.extend(more);
    }
    assert_eq!(card.notifications(0), []);
    let host = seen.iter().position(|notification| *notification == kmd_msg(0xAAAA)).unwrap();
    seen.remove(host);
    let expected: Vec<Notification> = (0..1500).map(kmd_msg).collect();
    assert!(seen == expected, "another order");
}

#[test]
fn a_backlog_arrives_without_a_kick() {
    let card = Card::new();
    for value in 0..1100 {
        card.write(psoc::KMD_MSG_TO_CPU, value);
    }
    let mut seen = card.notifications(0);
    assert_eq!(seen.len(), 1024);
    let producer = core_block::offset(0) + core_block::NOTIFY_PRODUCER;
    eventually("the backlog", || card.memories.soc.load_acquire_u32(producer).unwrap() == 1100);
    seen.extend(card.notifications(0));
    assert!(seen == (0..1100).map(kmd_msg).collect::<Vec<_>>(), "another order");
}

/// The backlog may be flushed by anybody's notification; the ring that stands behind it must not be forgotten then.
#[test]
fn posted_writes_behind_a_backlog_go_on_without_a_kick_whoever_flushes_it() {
    for _ in 0..20 {
        let card = Card::new();
        let writes: Vec<PostedWrite> = (0..1500).map(|value| cpu_write(psoc::KMD_MSG_TO_CPU, value)).collect();
        card.post(0, &writes);
        assert!(posted_index(&card, 0) < 1500, "the card stopped");
        card.notifications(0);
        card.write(psoc::KMD_MSG_TO_CPU, 0xAAAA);
        eventually("the rest", || posted_index(&card, 0) == 1500);
    }
}

#[test]
fn a_backlog_of_one_core_does_not_stall_another() {
    let card = Card::new();
    card.memories.soc.write_bytes(bar0::CONTROL + control::ROUTE, &[1]).unwrap();
    let fence = cpu_write(qman::base(0) + qman::CP_FENCE0_RDATA_0, 1);
    card.post(0, &vec![fence; 1500]);
    assert_eq!(posted_index(&card, 0), 1500);
    assert_eq!(card.notifications(1).len(), 1024);
}

/// The classic bug: a wake-up lost between the last look and going to sleep. One thread is the management CPU with the sleep
/// protocol of the interface, one the host; every message and every answer must arrive.
#[test]
fn no_wake_up_is_lost_in_either_direction() {
    const MESSAGES: u32 = 20_000;
    let card = Card::new();
    let done = AtomicBool::new(false);
    let sob = sync_manager::base(0) + sync_manager::SOB_OBJ_0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..MESSAGES {
                card.write(psoc::KMD_MSG_TO_CPU, value);
                if value % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        // Answers wait for room in the posted ring: a card with a backlog of notifications consumes none.
        let (mut next, mut owed) = (0, 0);
        let deadline = Instant::now() + 3 * PATIENCE;
        while next < MESSAGES || owed > 0 {
            assert!(Instant::now() < deadline, "{owed} answers found no room at {next}");
            let waiting = card.ring_word(0, core_block::POSTED_PRODUCER).wrapping_sub(posted_index(&card, 0));
            for _ in 0..owed.min(core_block::POSTED_ENTRIES - waiting) {
                card.post(0, &[cpu_write(sob, 0x8000_0001)]);
                owed -= 1;
            }
            let seen = card.wires.interrupts[0].load(Ordering::SeqCst);
            card.memories.soc.write_u32(core_block::offset(0) + core_block::WANT_INTERRUPT, 1).unwrap();
            fence(Ordering::SeqCst);
            let batch = card.notifications(0);
            if batch.is_empty() && owed > 0 {
                std::thread::yield_now();
            } else if batch.is_empty() && next < MESSAGES {
                assert!(card.wires.wait_for_interrupt(0, seen), "asleep for ever at {next}");
            }
            for notification in batch {
                assert_eq!(notification, kmd_msg(next));
                next += 1;
                owed += 1;
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(done.load(Ordering::SeqCst));
    eventually("the last answer", || card.read(sob) == MESSAGES);
    assert_eq!(card.soc.counters().bad_producer_indices, 0);
    assert_eq!(card.soc.counters().dropped_notifications, 0);
}

#[test]
fn kicks_are_ignored_while_the_cpu_is_in_reset() {
    let card = Card::new();
    card.soc.request_reset(ResetReason::Firmware);
    assert_eq!(*card.wires.resets.lock().unwrap(), [ResetReason::Firmware]);
    card.post(0, &[cpu_write(psoc::HW_STATE, 3)]);
    assert_eq!(card.read(psoc::HW_STATE), 0);
    assert_eq!(posted_index(&card, 0), 0);
    card.answer_reset(ResetReason::Firmware);
    card.soc.kick(0);
    assert_eq!(card.read(psoc::HW_STATE), 0, "the reset emptied the ring");
    card.post(0, &[cpu_write(psoc::HW_STATE, 4)]);
    assert_eq!(card.read(psoc::HW_STATE), 4);
}
