//! Disagreements between the queue engine and the reference interpreter that the search has found, by name.

use coxswain_reference::packet::{Action, Barriers, Packet};
use coxswain_reference::scenario::{Item, Program, Scenario, Set, Setup, Step};

const DMA_EXTERNAL: usize = 0;
const DMA_INTERNAL: usize = 2;
const TPC: usize = 8;
const MME: usize = 16;

const NONE: Barriers = Barriers { engine: false, register: false, message: false };

fn setup(number: usize, stop_on_error: bool) -> Setup {
    Setup { number, stop_on_error, engine_depth: 2, ring_log2: 2 }
}

/// Both sides agree on everything.
fn agree(qmans: &[Setup], steps: Vec<Step>) {
    agree_with_room(qmans, steps, 4096);
}

fn agree_with_room(qmans: &[Setup], steps: Vec<Step>, room: usize) {
    let scenario = Scenario { qmans: qmans.to_vec(), steps, room, strict: false, seed: 1 }.repair(Set::ALL);
    if let Err(disagreement) = coxswain_reference::run(&scenario) {
        panic!("{disagreement}\n{scenario}");
    }
}

fn packet(action: Action) -> Item {
    Item::Packet(Packet::new(action, NONE))
}

fn message(value: u32) -> Item {
    packet(Action::MessageLong { protected: false, address: 0x7F_F000_0080, value, operation: 0 })
}

fn undefined(value: u32) -> Item {
    packet(Action::Undefined { value, control: 0, opcode: 0x1F })
}

fn program(items: Vec<Item>) -> Program {
    Program { items, ..Program::default() }
}

fn submit_program(qman: usize, stream: usize, program: Program) -> Step {
    Step::Submit { qman, stream, program, rings: true }
}

fn submit(qman: usize, stream: usize, items: Vec<Item>) -> Step {
    submit_program(qman, stream, program(items))
}

fn bulk(offset: u16, values: Vec<u64>) -> Item {
    packet(Action::WriteBulk { offset, values })
}

fn request(priority: u8) -> Item {
    packet(Action::ArbPoint { priority, release: false })
}

fn release() -> Item {
    packet(Action::ArbPoint { priority: 0, release: true })
}

fn master(qman: usize) -> Step {
    Step::Arbiter { qman, config: 0x110, weights: [1; 4], slaves: 0 }
}

#[test]
fn an_unreadable_queue_without_stop_on_error_is_passed_over() {
    let lost = Step::LoseRing { qman: 0, stream: 2 };
    agree(&[setup(TPC, false)], vec![lost, submit(0, 2, vec![message(1)])]);
}

#[test]
fn a_lower_cp_that_is_off_stays_idle_when_a_user_starts_it() {
    let start = Step::StartLower { qman: 0, program: program(vec![message(1)]) };
    agree(&[setup(DMA_EXTERNAL, true)], vec![start.clone()]);
    let off = Step::Enable { qman: 0, streams: 0 };
    let on = Step::Enable { qman: 0, streams: 0xF };
    agree(&[setup(DMA_INTERNAL, true)], vec![off, start, on]);
}

#[test]
fn a_stream_that_is_off_stays_idle_when_its_late_message_fails() {
    let off = Step::Enable { qman: 0, streams: 0b1000 };
    agree(&[setup(DMA_EXTERNAL, true)], vec![off, Step::FailMessage { qman: 0, stream: 0 }]);
}

#[test]
fn a_stream_that_is_off_stays_idle_when_its_fence_counter_overflows() {
    let off = Step::Enable { qman: 0, streams: 0b1000 };
    let full = Step::SetFence { qman: 0, stream: 0, id: 3, value: 0x3FFF };
    let one_more = Step::Fence { qman: 0, stream: 0, id: 3, increment: 1 };
    agree(&[setup(DMA_EXTERNAL, true)], vec![off, full, one_more]);
}

#[test]
fn the_header_of_a_packet_that_is_cut_off_is_shown() {
    let transfer = packet(Action::LinDma { source: 0, destination: 0, size: 64, control: 8 });
    let cut = Program { cut: 1, ..program(vec![transfer]) };
    agree(&[setup(DMA_EXTERNAL, true)], vec![submit_program(0, 0, cut)]);
}

#[test]
fn the_header_of_a_bulk_write_that_fails_in_its_values_is_shown() {
    // The values reach the start register of an engine that is not there.
    agree(&[setup(MME, true)], vec![submit(0, 0, vec![bulk(0x278, vec![1, 2])])]);
}

#[test]
fn the_unit_that_stopped_is_shown_after_errors_of_other_units() {
    // Without stop-on-error a buffer that cannot be read stops nothing; the STOP packet behind it stops the CP.
    let missing = Program { missing: true, ..program(vec![message(1)]) };
    agree(&[setup(DMA_EXTERNAL, false)], vec![submit_program(0, 0, missing), submit(0, 0, vec![packet(Action::Stop)])]);
}

#[test]
fn a_command_processor_that_the_host_stops_is_shown_as_stopped_also_when_its_queue_has_failed() {
    let wrong = Step::BadProducer { qman: 0, stream: 2, excess: 1 };
    agree(&[setup(DMA_EXTERNAL, true)], vec![wrong, Step::Stop { qman: 0, streams: 0b100 }]);
}

#[test]
fn a_cause_that_is_set_already_is_no_new_event() {
    agree(
        &[setup(DMA_EXTERNAL, false)],
        vec![submit(0, 0, vec![undefined(1)]), Step::Settle, submit(0, 0, vec![undefined(2)])],
    );
}

#[test]
fn a_wrong_producer_index_is_reported_once() {
    let wrong = Step::BadProducer { qman: 0, stream: 0, excess: 1 };
    agree(&[setup(DMA_EXTERNAL, false)], vec![wrong, Step::Settle, Step::CheckDoorbells]);
}

#[test]
fn a_wrong_producer_index_stops_the_queue_and_not_the_buffer_in_execution() {
    let steps = vec![
        submit(0, 0, vec![packet(Action::Fence { id: 0, target: 1, decrement: 1 }), message(1)]),
        Step::Settle,
        Step::BadProducer { qman: 0, stream: 0, excess: 1 },
        Step::Settle,
        Step::Fence { qman: 0, stream: 0, id: 0, increment: 1 },
    ];
    agree(&[setup(DMA_EXTERNAL, true)], steps);
}

#[test]
fn a_refused_bulk_write_is_passed_over_with_its_values() {
    // The values look like packets.
    let values = vec![0x0A00_0000_0000_0000, 0x1F00_0000_0000_0000];
    agree(&[setup(DMA_EXTERNAL, false)], vec![submit(0, 0, vec![bulk(0x0FF8, values), message(1)])]);
}

#[test]
fn a_bulk_write_that_is_cut_off_is_passed_over_with_its_values() {
    let stop = 0x0B00_0000_0000_0000;
    let cut = Program { cut: 8, ..program(vec![bulk(0, vec![stop, 0])]) };
    agree(&[setup(DMA_EXTERNAL, false)], vec![submit_program(0, 0, cut), submit(0, 0, vec![message(1)])]);
}

#[test]
fn an_empty_bulk_write_does_nothing_whatever_its_offset() {
    agree(&[setup(DMA_EXTERNAL, true)], vec![submit(0, 0, vec![bulk(0x2E1, vec![]), message(1)])]);
}

#[test]
fn a_grant_is_not_lost_when_the_posted_ring_is_full() {
    // The 98 writes of one QMAN leave room for one packet of the next, but not for the messages of a grant.
    let fill = bulk(0x400, (0..49).collect());
    let steps = vec![master(1), submit(0, 0, vec![fill]), submit(1, 0, vec![request(1), message(1), release()])];
    agree_with_room(&[setup(DMA_INTERNAL, true), setup(TPC, true)], steps, 128);
}

#[test]
fn a_request_is_granted_when_the_owner_is_switched_off() {
    let steps = vec![
        master(0),
        submit(0, 0, vec![request(1), packet(Action::Fence { id: 0, target: 1, decrement: 1 })]),
        Step::Settle,
        submit(0, 1, vec![request(1), message(1)]),
        Step::Settle,
        Step::Enable { qman: 0, streams: 0b1110 },
    ];
    agree(&[setup(DMA_INTERNAL, true)], steps);
}

#[test]
fn a_request_that_passed_because_its_stream_was_masked_is_not_granted_later() {
    let steps = vec![
        master(0),
        submit(0, 0, vec![request(1), packet(Action::Fence { id: 0, target: 1, decrement: 1 }), release()]),
        Step::Settle,
        submit(0, 1, vec![request(1), message(1)]),
        Step::Settle,
        Step::Arbiter { qman: 0, config: 0x110 | 1 << 13, weights: [1; 4], slaves: 0 },
        Step::Settle,
        master(0),
        submit(0, 2, vec![request(1), message(2), release()]),
        Step::Settle,
        Step::Fence { qman: 0, stream: 0, id: 0, increment: 1 },
    ];
    agree(&[setup(DMA_INTERNAL, true)], steps);
}

#[test]
fn a_slaves_release_lets_the_next_choice_pass() {
    let steps = vec![
        Step::Arbiter { qman: 1, config: 0x100, weights: [1; 4], slaves: 0 },
        submit(1, 3, vec![request(0), packet(Action::Fence { id: 0, target: 1, decrement: 1 }), release()]),
        submit(1, 0, vec![request(0), message(1), release()]),
        Step::Choose { qman: 1, stream: 3 },
        Step::Choose { qman: 1, stream: 0 },
        Step::Settle,
        Step::Fence { qman: 1, stream: 3, id: 0, increment: 1 },
    ];
    // Credits go to the first QMAN.
    agree(&[setup(DMA_INTERNAL, true), setup(TPC, true)], steps);
}

#[test]
fn a_grant_waits_for_the_lower_cp_too() {
    let call = || Item::Call { body: program(vec![packet(Action::Nop)]), barriers: NONE, predicate: 0 };
    let steps = vec![
        master(0),
        submit(0, 3, vec![request(0), message(1), release()]),
        submit(0, 0, vec![call(), call(), call(), call(), request(1), message(2), release()]),
    ];
    agree(&[setup(TPC, true)], steps);
}

#[test]
fn a_stopped_stream_takes_no_part_in_arbitration() {
    let request = |priority| packet(Action::ArbPoint { priority, release: false });
    let turn = [request(0), message(1), release()];
    let steps = vec![
        master(0),
        submit(0, 3, vec![request(251)]),
        submit(0, 0, vec![request(0)]),
        Step::Stop { qman: 0, streams: 0b00001 },
        submit(0, 3, [&turn[..], &turn].concat()),
    ];
    agree(&[setup(DMA_EXTERNAL, false)], steps);
}

#[test]
fn a_lower_cp_that_is_switched_off_before_it_runs_shows_no_buffer() {
    let start = Step::StartLower { qman: 0, program: program(vec![message(1)]) };
    agree(&[setup(TPC, false)], vec![start, Step::Enable { qman: 0, streams: 0 }]);
}

#[test]
fn a_stream_that_waits_for_its_turn_is_not_told_that_the_engine_has_failed() {
    let barrier = Barriers { engine: true, ..NONE };
    let request = Item::Packet(Packet::new(Action::ArbPoint { priority: 0, release: false }, barrier));
    let slave = Step::Arbiter { qman: 0, config: 0x101, weights: [1; 4], slaves: 0 };
    agree(&[setup(DMA_INTERNAL, true)], vec![slave, submit(0, 0, vec![request]), Step::FailEngine { qman: 0 }]);
}
