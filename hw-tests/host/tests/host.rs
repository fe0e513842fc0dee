//! The scripted host against the card model and a stand-in for its firmware.
#![allow(clippy::unwrap_used, reason = "a test program: a panic is how it fails")]

mod stand_in;

use coxswain_abi::comms::ResetCause;
use coxswain_abi::packet::{self, RB};
use coxswain_abi::regs::dma_core::commit;
use coxswain_card::{Card, CardOptions};
use coxswain_host::{Bounds, Host, HostError};
use stand_in::StandIn;
use std::sync::atomic::Ordering;
use std::time::Duration;

struct Setup {
    stand_in: StandIn,
    card: Card,
    _directory: tempfile::TempDir,
}

fn setup() -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let card = Card::start(CardOptions {
        host_memory_bytes: 64 << 20,
        host_socket: directory.path().join("host.sock"),
        soc_socket: directory.path().join("soc.sock"),
        lockstep: false,
        straps: 0,
        fuses: coxswain_card::Fuses::new(),
        fuse_file: None,
        trace: None,
    })
    .unwrap();
    Setup { stand_in: StandIn::start(&card), card, _directory: directory }
}

/// The driver's bounds are for a machine of its own; tests share one. Failures are provoked with the short ones.
fn patient() -> Bounds {
    Bounds { halt: Duration::from_millis(20), ..Bounds::scaled(10) }
}

fn image(seed: u8) -> Vec<u8> {
    (0..4096u32).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn up(setup: &Setup) -> Host {
    let mut host = Host::probe_within(&setup.card, patient()).unwrap();
    host.bring_up(&image(1), &image(2)).unwrap();
    host
}

#[test]
fn both_images_arrive_and_the_stages_names_come_back() {
    let setup = setup();
    let mut host = Host::probe_within(&setup.card, patient()).unwrap();
    let (loaded, info) = host.bring_up(&image(1), &image(2)).unwrap();
    assert!(loaded.preboot_version.starts_with("Preboot version"), "{loaded:?}");
    assert_eq!(loaded.boot_fit_version, "boot-fit of the stand-in");
    assert!(loaded.messages.iter().any(|message| message == "room for 4096 bytes"));
    assert!(info.card_name.starts_with(b"STAND\0"));
    let seen = setup.stand_in.seen.lock().unwrap();
    assert!(seen.images == [image(1), image(2)]);
    assert_eq!(seen.packets, [18, 14, 2]);
    assert_eq!(setup.card.host().inbound_target(4), Some(0));
    assert_eq!(setup.card.host().counts(), Default::default());
}

#[test]
fn a_copy_goes_through_the_page_tables_and_ends_with_an_interrupt() {
    let setup = setup();
    let mut host = up(&setup);
    let source = host.map(3 * 4096).unwrap();
    let target = host.map(2 * 4096).unwrap();
    let data: Vec<u8> = (0..5000u32).map(|index| (index * 7) as u8).collect();
    host.write(&source, 77, &data).unwrap();
    let before = host.msis();
    let there = packet::lin_dma(source.address + 77, 0x2000_0003, 5000, RB | commit::LIN);
    host.run(0, &there).unwrap();
    let back = packet::lin_dma(0x2000_0003, target.address + 4, 5000, RB | commit::LIN);
    host.run(5, &back).unwrap();
    assert!(host.wait_msi(before, Duration::ZERO).is_some_and(|now| now >= before + 2));
    let mut result = vec![0; 5004];
    host.read(&target, 0, &mut result).unwrap();
    assert_eq!(result[..4], [0; 4]);
    assert_eq!(result[4..], data);
    assert_eq!(host.pending(), 0);
    host.unmap(source).unwrap();
}

#[test]
fn many_submissions_complete_in_order_and_reuse_their_memory() {
    let setup = setup();
    let mut host = up(&setup);
    let message = packet::msg_long(0x7F_FC4F_2000, 1, 0);
    for round in 0..20 {
        let tickets: Vec<_> = (0..300).map(|index| host.submit(index % 8, &message).unwrap()).collect();
        for ticket in tickets.iter().rev() {
            host.wait(*ticket, Duration::from_secs(20)).unwrap();
        }
        assert_eq!(host.pending(), 0, "round {round}");
    }
}

#[test]
fn a_context_opens_with_its_eight_jobs() {
    let setup = setup();
    let mut host = up(&setup);
    host.link().write(0x4F_2000 + 4 * 5, 77);
    assert_eq!(host.link().read(0x4F_2000 + 4 * 5) & 0x7FFF, 77);
    host.open_context().unwrap();
    assert_eq!(host.link().read(0x4F_2000 + 4 * 5), 0);
    assert_eq!(host.link().read(0x50_0080), 0xFC4F_2000);
}

#[test]
fn events_come_in_order_with_their_payload() {
    let setup = setup();
    let mut host = up(&setup);
    setup.stand_in.send_event(421, [1, 0, 0, 0, 0, 0, 0, 0]);
    setup.stand_in.send_event(572, [2; 8]);
    let event = host.wait_event(572, Duration::from_secs(10)).unwrap();
    assert_eq!((event.index, event.payload[0]), (2, 2));
    let others = host.take_events().unwrap();
    assert_eq!(others.iter().map(|event| (event.id, event.index)).collect::<Vec<_>>(), [(421, 1)]);
    let late = host.wait_event(600, Duration::from_millis(30)).unwrap_err();
    assert!(late.is_timeout(), "{late}");
    host.unmask_event(572).unwrap();
    assert_eq!(setup.stand_in.seen.lock().unwrap().packets.last(), Some(&16));
}

#[test]
fn after_a_reset_the_card_is_loaded_again_and_told_the_cause() {
    let setup = setup();
    let mut host = up(&setup);
    host.submit(0, &packet::msg_long(0x7F_FC4F_2000, 1, 0)).unwrap();
    host.reset(Some(ResetCause::Timeout)).unwrap();
    assert_eq!(host.link().read(0xC4_B100), 0);
    assert_eq!(host.pending(), 0);
    host.bring_up(&image(3), &image(4)).unwrap();
    let buffer = host.map(4096).unwrap();
    host.run(0, &packet::lin_dma(buffer.address, 0x2000_0000, 64, RB | commit::LIN)).unwrap();
    let seen = setup.stand_in.seen.lock().unwrap();
    assert_eq!(seen.causes, [2]);
    assert!(seen.images[2..] == [image(3), image(4)]);
    assert!(seen.packets.contains(&1));
    assert_eq!(setup.card.resets().completed, 1);
}

#[test]
fn a_card_left_dirty_is_reset_at_probe() {
    let setup = setup();
    drop(up(&setup));
    // A driver that finds the control image running waits for the ROM in vain, resets, and succeeds the next time. Here
    // the ROM is faked to be ready with HW_STATE still dirty.
    setup.card.host().bar_write_u32(2, 0x400_0000 + 0xC4_B300, 16);
    let host = Host::probe_within(&setup.card, patient()).unwrap();
    assert_eq!(host.link().read(0xC4_B100), 0);
    assert_eq!(setup.card.resets().completed, 1);
}

#[test]
fn a_damaged_descriptor_is_found() {
    let setup = setup();
    setup.stand_in.faults.bad_descriptor.store(true, Ordering::Relaxed);
    let mut host = Host::probe_within(&setup.card, patient()).unwrap();
    let error = host.load(&image(1), &image(2)).unwrap_err().to_string();
    assert!(error.contains("descriptor") && error.contains("damaged"), "{error}");
}

#[test]
fn a_refused_image_ends_the_load_at_once_with_firmwares_words() {
    for stage in [1, 2] {
        let setup = setup();
        setup.stand_in.faults.refuse_image.store(stage, Ordering::Relaxed);
        let mut host = Host::probe_within(&setup.card, patient()).unwrap();
        let begun = std::time::Instant::now();
        let error = host.load(&image(1), &image(2)).unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(error.contains("refuses DataReady"), "{error}");
        assert!(error.contains("CPU_BOOT_ERR0 0x80000002") && error.contains("room for"), "{error}");
    }
}

#[test]
fn a_missing_interrupt_and_a_missing_completion_are_told_apart() {
    let setup = setup();
    let mut host = up(&setup);
    let message = packet::msg_long(0x7F_FC4F_2000, 1, 0);
    setup.stand_in.faults.no_interrupt.store(true, Ordering::Relaxed);
    let ticket = host.submit(0, &message).unwrap();
    let error = host.wait(ticket, Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("no interrupt came"), "{error}");
    setup.stand_in.faults.dead_queues.store(true, Ordering::Relaxed);
    let ticket = host.submit(1, &message).unwrap();
    let error = host.wait(ticket, Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("not written"), "{error}");
}

#[test]
fn a_packet_that_fails_says_so_and_the_queue_lives_on() {
    let setup = setup();
    let mut host = up(&setup);
    setup.stand_in.faults.failing_packet.store(3, Ordering::Relaxed);
    assert_eq!(host.packet(3, 0, 0, 0), Err(HostError::Packet { opcode: 3, code: 2 }));
    assert!(host.packet(18, 0xFE8C_E7A5, 0, 0).is_ok());
}

#[test]
fn nothing_is_submitted_before_the_queues_are_set_up() {
    let setup = setup();
    let mut host = Host::probe_within(&setup.card, patient()).unwrap();
    assert!(matches!(host.submit(0, &[]), Err(HostError::Usage(_))));
    assert!(matches!(host.packet(18, 0, 0, 0), Err(HostError::Usage(_))));
    assert!(matches!(host.load(&[1, 2, 3], &image(2)), Err(HostError::Boot(_))));
}
