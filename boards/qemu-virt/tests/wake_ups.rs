//! The wake-up rules of the rings, checked over every interleaving and every permitted reordering of their atomics (loom).
//!
//! These are the rules of `coxswain_abi::soc` as both sides carry them out: firmware in `posted.rs` and `notify.rs`, the card in
//! its service of the rings. A lost wake-up leaves a side asleep with work waiting, which loom reports as a dead-lock. Each model
//! has a twin in which one barrier is missing: it must fail, or the model proves nothing.

use std::process::Command;

use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use loom::sync::{Arc, Notify};
use loom::thread;

/// Entries that pass in one model.
const ENTRIES: u32 = 2;

/// Which barriers the sides execute.
#[derive(Clone, Copy)]
struct Barriers {
    producer: bool,
    consumer: bool,
}

const BOTH: Barriers = Barriers { producer: true, consumer: true };

fn barrier(wanted: bool) {
    if wanted {
        fence(SeqCst);
    }
}

/// A ring as its two sides see it: the flag says that the consumer wants to be woken.
struct Ring {
    producer: AtomicU32,
    flag: AtomicU32,
    wake: Notify,
}

/// Posted writes: firmware publishes and kicks when the card's idle flag is up; the card raises the flag before its last look.
fn posted_writes(barriers: Barriers) {
    loom::model(move || {
        let ring = Arc::new(Ring { producer: AtomicU32::new(0), flag: AtomicU32::new(1), wake: Notify::new() });
        let card = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut consumed = 0;
                while consumed < ENTRIES {
                    ring.wake.wait();
                    loop {
                        ring.flag.store(0, Relaxed);
                        consumed = ring.producer.load(Acquire);
                        ring.flag.store(1, Release);
                        barrier(barriers.consumer);
                        if ring.producer.load(Acquire) == consumed {
                            break;
                        }
                    }
                }
            })
        };
        for index in 1..=ENTRIES {
            ring.producer.store(index, Release);
            barrier(barriers.producer);
            if ring.flag.load(Relaxed) == 1 {
                ring.wake.notify();
            }
        }
        card.join().expect("the card's side");
    });
}

/// Notifications: the card publishes and raises the interrupt when firmware has asked for one; firmware asks before its last
/// look. The card exchanges the flag for 0, so that one request gives one interrupt. Firmware's plain stores are exchanges in
/// the model: loom lets a store and an earlier exchange of the same location change places, which no processor does.
fn notifications(barriers: Barriers) {
    loom::model(move || {
        let ring = Arc::new(Ring { producer: AtomicU32::new(0), flag: AtomicU32::new(0), wake: Notify::new() });
        let firmware = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut consumed = 0;
                while consumed < ENTRIES {
                    let seen = ring.producer.load(Acquire);
                    if seen != consumed {
                        consumed = seen;
                        continue;
                    }
                    ring.flag.swap(1, Relaxed);
                    barrier(barriers.consumer);
                    if ring.producer.load(Acquire) == consumed {
                        ring.wake.wait();
                    }
                    ring.flag.swap(0, Relaxed);
                }
            })
        };
        for index in 1..=ENTRIES {
            ring.producer.store(index, Release);
            barrier(barriers.producer);
            if ring.flag.swap(0, Relaxed) == 1 {
                ring.wake.notify();
            }
        }
        firmware.join().expect("firmware's side");
    });
}

#[test]
fn no_posted_write_is_left_behind() {
    posted_writes(BOTH);
}

#[test]
fn no_notification_is_left_behind() {
    notifications(BOTH);
}

#[test]
#[ignore = "must fail; run by the test below"]
fn posted_writes_without_firmware_s_barrier() {
    posted_writes(Barriers { producer: false, ..BOTH });
}

#[test]
#[ignore = "must fail; run by the test below"]
fn posted_writes_without_the_card_s_barrier() {
    posted_writes(Barriers { consumer: false, ..BOTH });
}

#[test]
#[ignore = "must fail; run by the test below"]
fn notifications_without_firmware_s_barrier() {
    notifications(Barriers { consumer: false, ..BOTH });
}

/// A dead-lock that loom finds ends the process, so each twin runs in one of its own.
#[test]
fn every_barrier_is_needed() {
    let program = std::env::current_exe().unwrap();
    for twin in [
        "posted_writes_without_firmware_s_barrier",
        "posted_writes_without_the_card_s_barrier",
        "notifications_without_firmware_s_barrier",
    ] {
        let output = Command::new(&program).args(["--ignored", "--nocapture", "--exact", twin]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("deadlock"), "{twin} loses no wake-up: {said}");
    }
}
