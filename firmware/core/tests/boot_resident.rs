//! COMMS while the control image runs (`boot-protocol.md` 14.2).

mod common;

use common::{FakePosts, FakeRegisters};
use coxswain_abi::regs::psoc::{self, boot_status};
use coxswain_core::boot::loader::Outcome;
use coxswain_core::boot::resident::Resident;

/// Runs words through a resident server; the last outcome and the status words published.
fn run(words: &[u32]) -> (Outcome, Vec<u32>, Vec<u32>) {
    let mut posts = FakePosts::new(&FakeRegisters::default());
    let mut resident = Resident::new();
    let mut outcome = Outcome::Continue;
    for word in words {
        assert_eq!(outcome, Outcome::Continue);
        outcome = resident.on_command(*word, &mut posts);
    }
    (outcome, posts.values(psoc::CPU_CMD_STATUS_TO_HOST), posts.values(psoc::CPU_BOOT_STATUS))
}

#[test]
fn goto_wfe_is_acknowledged_and_parks() {
    let (outcome, status, boot) = run(&[0x0800_0000, 0x3800_0000, 0x0800_0000, 0]);
    assert_eq!((outcome, status, boot), (Outcome::Park, vec![0, 0x1000_0000, 0], vec![boot_status::IN_WFE]));
}

#[test]
fn rst_dev_is_acknowledged_and_resets() {
    let (outcome, status, boot) = run(&[0x0800_0000, 0x3000_0000, 0x0800_0000, 0]);
    assert_eq!((outcome, status, boot), (Outcome::Reset, vec![0, 0x1000_0000, 0], vec![]));
}

#[test]
fn nothing_can_be_loaded_any_more() {
    for command in [0x1800_0500, 0x2000_0000, 0x2800_0000] {
        let (outcome, status, boot) = run(&[command, 0x0800_0000, 0]);
        assert_eq!((outcome, status, boot), (Outcome::Continue, vec![0x1000_0000, 0, 0x2C00_0000], vec![]));
    }
}

#[test]
fn rst_state_is_answered_and_unknown_commands_are_refused() {
    assert_eq!(run(&[0x1000_0000, 0x0800_0000, 0]).1, [0x1000_0000, 0, 0x2000_0000]);
    assert_eq!(run(&[0x4800_0000]).1, [0x3000_0000]);
}
