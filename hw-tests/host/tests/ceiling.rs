//! The interpreter of `coxswain-reference` serves a card's queues in place of firmware: the whole tour must give right data.
#![allow(clippy::unwrap_used, reason = "a test program: a panic is how it fails")]

#[allow(dead_code, reason = "the other test program uses the rest")]
mod stand_in;

use coxswain_abi::packet::{self, EB, Header, MB, RB, opcode};
use coxswain_abi::regs::{CFG_BASE, SRAM_BASE, dma_core::commit, qman};
use coxswain_card::soc::QueueThread;
use coxswain_card::{Card, CardOptions};
use coxswain_host::exercise::exercise;
use coxswain_host::{Bounds, Host};
use coxswain_reference::ceiling::Ceiling;
use stand_in::StandIn;
use std::sync::atomic::Ordering;
use std::time::Duration;

struct Setup {
    _stand_in: StandIn,
    card: Card,
    _directory: tempfile::TempDir,
}

/// A card whose firmware does everything but queues.
fn setup(lockstep: bool, thread: QueueThread) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let card = Card::start(CardOptions {
        host_memory_bytes: 64 << 20,
        host_socket: directory.path().join("host.sock"),
        soc_socket: directory.path().join("soc.sock"),
        lockstep,
        straps: 0,
        fuses: coxswain_card::Fuses::new(),
        fuse_file: None,
        trace: None,
    })
    .unwrap();
    Ceiling::attach(&card, thread).unwrap();
    let stand_in = StandIn::start(&card);
    stand_in.faults.dead_queues.store(true, Ordering::Relaxed);
    Setup { _stand_in: stand_in, card, _directory: directory }
}

fn patient() -> Bounds {
    Bounds { halt: Duration::from_millis(20), ..Bounds::scaled(10) }
}

fn up(setup: &Setup) -> Host {
    let mut host = Host::probe_within(&setup.card, patient()).unwrap();
    host.bring_up(&[1; 4096], &[2; 4096]).unwrap();
    host.open_context().unwrap();
    host
}

#[test]
fn the_tour_gives_right_data_with_the_interpreter_at_the_queues() {
    for (lockstep, thread) in
        [(false, QueueThread::Access), (true, QueueThread::Access), (false, QueueThread::Own), (true, QueueThread::Own)]
    {
        let setup = setup(lockstep, thread);
        let mut steps = 0;
        exercise(&setup.card, patient(), &[1; 4096], &[2; 4096], |_, _, _| steps += 1).unwrap();
        assert_eq!(steps, 11);
    }
}

#[test]
fn a_small_job_is_complete_when_its_doorbell_returns() {
    let setup = setup(false, QueueThread::Access);
    let mut host = up(&setup);
    for _ in 0..100 {
        let seen = host.msis();
        let copy = packet::lin_dma(0x2000_0000, 0x2000_1000, 64, RB | commit::LIN);
        let ticket = host.submit(0, &copy).unwrap();
        assert_eq!(host.msis(), seen + 1, "the interrupt came before the write of the doorbell returned");
        host.wait(ticket, Duration::ZERO).unwrap();
    }
}

#[test]
fn idle_queues_look_idle_and_a_stream_at_a_fence_does_not() {
    let setup = setup(false, QueueThread::Access);
    let mut host = up(&setup);
    let base = qman::base(0);
    let is_idle = |host: &Host| host.link().read(base + qman::GLBL_STS0) & qman::STS0_IDLE == qman::STS0_IDLE;
    host.run(0, &[packet::nop(0)]).unwrap();
    assert!(is_idle(&host));
    let ticket = host.submit(0, &[packet::fence(2, 1, 1, RB)]).unwrap();
    assert!(!is_idle(&host));
    assert_eq!(host.link().read(base + qman::CP_STS_0) >> 20 & 7, 0b110, "FENCE_IN_PROGRESS and its id");
    host.link().write(base + qman::CP_FENCE0_RDATA_0 + 2 * qman::FENCE_STRIDE, 1);
    host.wait(ticket, Duration::ZERO).unwrap();
    assert!(is_idle(&host));
}

#[test]
fn a_wait_packet_ends_by_time_alone() {
    let setup = setup(false, QueueThread::Access);
    let mut host = up(&setup);
    const CYCLES: u32 = 5_000_000;
    let wait = Header::new(opcode::WAIT, 0, 3 << 28 | 1 << 24 | CYCLES).0;
    let packets = [wait, packet::fence(3, 1, 1, RB | MB | EB)];
    let begun = std::time::Instant::now();
    host.run(0, &packets).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(5));
}

#[test]
fn a_failed_message_is_recorded_and_what_follows_is_dropped() {
    let setup = setup(false, QueueThread::Access);
    let mut host = up(&setup);
    let word = SRAM_BASE + 0x1000;
    let nowhere = CFG_BASE + u64::from(qman::base(0)) + 0xF00_0000;
    let mut packets = packet::msg_long(nowhere, 1, RB).to_vec();
    packets.extend(packet::msg_long(word, 7, RB));
    let ticket = host.submit(0, &packets).unwrap();
    assert!(host.wait(ticket, Duration::from_millis(50)).is_err(), "the stream stands");
    let causes = host.link().read(qman::base(0) + qman::GLBL_STS1_0);
    assert_ne!(causes & qman::cause::MSG_WR, 0, "{causes:#x}");
    // Other streams go on.
    host.run(1, &[packet::nop(0)]).unwrap();
}
