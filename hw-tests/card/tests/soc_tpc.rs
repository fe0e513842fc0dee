//! TPCs: launch, completion, stall, faults. Kernels are assembled here and executed by the simulator.

mod soc_support;

use coxswain_abi::regs::{mmu, sync_manager, tpc_cfg};
use coxswain_abi::soc::{Notification, PostedWrite, ResetReason, initiator};
use soc_support::{Card, cfg, eventually, user};

/// Where kernels lie: in SRAM, as the driver's first one.
const KERNEL: u64 = 0x7F_F000_2000;
const HALT: &str = "nop; halt; halt; nop ;; nop ;; nop ;; nop";
/// A loop that never ends.
const SPIN: &str = "L: nop; jmpr L; nop; nop ;; nop ;; nop ;; nop ;; nop";

fn done(engine: u8) -> Notification {
    Notification::EngineDone { engine }
}

fn sob(index: u32) -> u32 {
    sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 4 * index
}

fn load(card: &Card, source: &str) {
    let bytes = coxswain_tpc::assemble(source).expect("a kernel");
    card.memories.soc.write_bytes(KERNEL - 0x7F_F000_0000, &bytes).expect("SRAM");
}

/// Programs and starts TPC `index` as the driver does (`gaudi-mmu-sync.md` 4.3), with SOB 0 as its sync object.
fn launch(card: &Card, index: usize, message: u32) {
    let base = tpc_cfg::base(index);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_LOW, KERNEL as u32);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_HIGH, (KERNEL >> 32) as u32);
    card.write(base + tpc_cfg::QM_SYNC_OBJECT_ADDR, cfg(sob(0)) as u32);
    card.write(base + tpc_cfg::QM_SYNC_OBJECT_MESSAGE, message);
    card.write(base + tpc_cfg::TPC_CMD, 0x11);
    card.write(base + tpc_cfg::TPC_EXECUTE, 1);
}

fn is_idle(card: &Card, index: usize) -> bool {
    card.read(tpc_cfg::base(index) + tpc_cfg::STATUS) & tpc_cfg::STATUS_IDLE == tpc_cfg::STATUS_IDLE
}

#[test]
fn the_driver_s_first_kernel_runs_on_every_tpc() {
    let card = Card::new();
    card.initialise();
    load(&card, include_str!("../../tpc/kernels/meminit.tpc"));
    for index in 0..8 {
        launch(&card, index, 0);
        eventually("the end of the kernel", || is_idle(&card, index));
        assert_eq!(card.read(tpc_cfg::base(index) + tpc_cfg::WQ_INFLIGHT_CNTR), 0);
        assert_eq!(card.read(tpc_cfg::base(index) + tpc_cfg::TPC_INTR_CAUSE), 0);
    }
    let expected: Vec<Notification> = (8..16).map(done).collect();
    assert_eq!(card.notifications(0), expected);
}

#[test]
fn the_end_of_a_kernel_sends_its_sync_message() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, HALT);
    launch(&card, 3, 0x8000_0001);
    launch(&card, 3, 0x8000_0001);
    assert_eq!(card.read(sob(0)), 2);
    assert_eq!(card.notifications(0), [done(11), done(11)]);
}

#[test]
fn a_descriptor_without_a_sync_object_sends_nothing() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, HALT);
    let base = tpc_cfg::base(0);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_LOW, KERNEL as u32);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_HIGH, (KERNEL >> 32) as u32);
    card.write(base + tpc_cfg::TPC_EXECUTE, 1);
    assert_eq!(card.notifications(0), [done(8)]);
}

#[test]
fn the_descriptor_becomes_the_active_one_when_its_kernel_begins() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, HALT);
    let base = tpc_cfg::base(2);
    card.write(base + tpc_cfg::TPC_STALL, 1);
    let kernel_message = base + tpc_cfg::KERNEL_DESCRIPTOR + 0x380;
    launch(&card, 2, 0x8000_0001);
    launch(&card, 2, 0x8000_0005);
    assert_eq!(card.read(kernel_message), 0);
    assert!(!is_idle(&card, 2));
    assert_eq!(card.notifications(0), []);
    card.write(base + tpc_cfg::TPC_STALL, 0);
    assert_eq!(card.read(sob(0)), 6, "each launch has the descriptor of its EXECUTE");
    assert_eq!(card.read(kernel_message), 0x8000_0005);
    card.write(kernel_message, 7);
    assert_eq!(card.read(kernel_message), 0x8000_0005, "the active set is not writable");
}

#[test]
fn a_user_s_packets_launch_a_kernel() {
    let card = Card::new();
    card.initialise();
    load(&card, HALT);
    let base = tpc_cfg::base(0);
    let writes = [
        (tpc_cfg::QM_KERNEL_BASE_ADDRESS_LOW, KERNEL as u32),
        (tpc_cfg::QM_KERNEL_BASE_ADDRESS_HIGH, (KERNEL >> 32) as u32),
        (tpc_cfg::QM_SYNC_OBJECT_ADDR, cfg(sob(0)) as u32),
        (tpc_cfg::QM_SYNC_OBJECT_MESSAGE, 0x8000_0001),
        // Padding of production code at a closed register.
        (0x9A4, 0),
        (tpc_cfg::TPC_CMD, 0xF),
        (tpc_cfg::TPC_EXECUTE, 1),
    ]
    .map(|(offset, data)| PostedWrite { address: cfg(base + offset), data, attributes: user(8, 4) });
    card.post(0, &writes);
    let seen = card.until(|notification| *notification == done(8));
    assert_eq!(seen, [done(8)], "and nothing else");
    assert_eq!(card.read(sob(0)), 1);
}

#[test]
fn a_stalled_kernel_stands_still_and_goes_on() {
    let card = Card::new();
    card.initialise();
    load(&card, SPIN);
    let base = tpc_cfg::base(1);
    let retired = || card.read(base + 0x9C4);
    launch(&card, 1, 0);
    eventually("progress", || retired() > 0);
    card.write(base + tpc_cfg::TPC_STALL, 1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let stopped = retired();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(retired(), stopped);
    assert!(!is_idle(&card, 1));
    card.write(base + tpc_cfg::TPC_STALL, 0);
    eventually("progress", || retired() != stopped);
}

#[test]
fn a_kernel_without_end_blocks_no_other_engine_and_ends_with_the_reset() {
    let card = Card::new();
    card.initialise();
    load(&card, SPIN);
    launch(&card, 1, 0);
    eventually("progress", || card.read(tpc_cfg::base(1) + 0x9C4) > 0);
    load(&card, HALT);
    launch(&card, 2, 0);
    card.until(|notification| *notification == done(10));
    card.write(coxswain_abi::regs::psoc::SW_ALL_RST, 1);
    card.answer_reset(ResetReason::SoftwareAll);
    assert!(is_idle(&card, 1));
}

/// A write recomputes whether the TPC may run; the end of the card must be part of that.
#[test]
fn a_kernel_without_end_ends_with_the_card_although_the_host_still_writes() {
    let card = Card::new();
    card.initialise();
    load(&card, SPIN);
    launch(&card, 1, 0);
    eventually("progress", || card.read(tpc_cfg::base(1) + 0x9C4) > 0);
    let soc = card.soc.clone();
    let ending = std::thread::spawn(move || soc.shutdown());
    eventually("the end", || {
        card.write(tpc_cfg::base(1) + tpc_cfg::TPC_CMD, 0x11);
        ending.is_finished()
    });
}

#[test]
fn a_kernel_without_end_does_not_hold_a_lockstep_access_for_ever() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, SPIN);
    launch(&card, 1, 0);
    let first = card.read(tpc_cfg::base(1) + 0x9C4);
    card.soc.kick(0);
    assert_ne!(card.read(tpc_cfg::base(1) + 0x9C4), first);
}

#[test]
fn an_illegal_instruction_stops_the_tpc_with_a_cause() {
    let card = Card::lockstep();
    card.initialise();
    card.memories.soc.write_bytes(KERNEL - 0x7F_F000_0000, &[0xFF; 32]).unwrap();
    launch(&card, 4, 0x8000_0001);
    let error = Notification::EngineError { engine: 12, cause: 1 << 13, stopped: true };
    assert_eq!(card.notifications(0), [error]);
    let words = card.soc.last_tpc_fault(4).expect("words for a person");
    assert!(words.contains(&format!("{KERNEL:#x}")) && words.contains("cause bit 13"), "{words}");
    assert_eq!(card.soc.last_tpc_fault(5), None);
    let base = tpc_cfg::base(4);
    assert_eq!(card.read(base + tpc_cfg::TPC_INTR_CAUSE), 1 << 13);
    assert_eq!(card.read(sob(0)), 0);
    assert!(!is_idle(&card, 4));
    card.write(base + tpc_cfg::TPC_INTR_CAUSE, 0);
    assert_eq!(card.read(base + tpc_cfg::TPC_INTR_CAUSE), 0);
    card.write(base + tpc_cfg::TPC_INTR_CAUSE, 4);
    assert_eq!(card.read(base + tpc_cfg::TPC_INTR_CAUSE), 0, "a write sets no cause");
    launch(&card, 4, 0x8000_0001);
    assert_eq!(card.notifications(0), [], "it stays stopped");
}

#[test]
fn a_kernel_whose_code_is_not_mapped_is_a_page_fault_and_a_read_error() {
    let card = Card::lockstep();
    card.initialise();
    let base = tpc_cfg::base(0);
    card.write(base + tpc_cfg::ARUSER_LO, 1);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_LOW, 0);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_HIGH, 0x1_0000);
    card.write(base + tpc_cfg::TPC_EXECUTE, 1);
    let fault = Notification::PageFault { initiator: initiator(8, 7), write: false, address: 0x1_0000_0000_0000 };
    let error = Notification::EngineError { engine: 8, cause: 1 << 16, stopped: true };
    assert_eq!(card.notifications(0), [fault, error]);
    assert_eq!(card.read(mmu::PAGE_ERROR_CAPTURE), mmu::CAPTURE_VALID | 0x1_0000);
}

#[test]
fn more_launches_than_the_queue_holds_are_a_cause() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, HALT);
    let base = tpc_cfg::base(0);
    card.write(base + tpc_cfg::TPC_INTR_MASK, 0);
    card.write(base + tpc_cfg::TPC_STALL, 1);
    for _ in 0..5 {
        launch(&card, 0, 0x8000_0001);
    }
    assert_eq!(card.notifications(0), []);
    launch(&card, 0, 0x8000_0001);
    let error = Notification::EngineError { engine: 8, cause: 1 << 15, stopped: false };
    assert_eq!(card.notifications(0), [error, done(8)]);
    card.write(base + tpc_cfg::TPC_STALL, 0);
    assert_eq!(card.read(sob(0)), 5);
}

#[test]
fn a_masked_cause_is_latched_and_not_reported() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, HALT);
    let base = tpc_cfg::base(0);
    assert_eq!(card.read(base + tpc_cfg::TPC_INTR_MASK), 0x8FFE, "as the driver sets it");
    card.write(base + tpc_cfg::TPC_STALL, 1);
    for _ in 0..6 {
        launch(&card, 0, 0x8000_0001);
    }
    assert_eq!(card.notifications(0), [done(8)]);
    assert_eq!(card.read(base + tpc_cfg::TPC_INTR_CAUSE), 1 << 15);
}

#[test]
fn a_kernel_whose_completion_message_goes_nowhere_stops_with_a_write_error() {
    let card = Card::lockstep();
    card.initialise();
    load(&card, HALT);
    let base = tpc_cfg::base(6);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_LOW, KERNEL as u32);
    card.write(base + tpc_cfg::QM_KERNEL_BASE_ADDRESS_HIGH, (KERNEL >> 32) as u32);
    // Between HBM and SRAM.
    card.write(base + tpc_cfg::QM_SYNC_OBJECT_ADDR, 0xE000_0000);
    card.write(base + tpc_cfg::TPC_EXECUTE, 1);
    let error = Notification::EngineError { engine: 14, cause: 1 << 19, stopped: true };
    assert_eq!(card.notifications(0).last(), Some(&error));
    assert_eq!(card.read(base + tpc_cfg::TPC_INTR_CAUSE), 1 << 19);
    assert!(!is_idle(&card, 6));
}
