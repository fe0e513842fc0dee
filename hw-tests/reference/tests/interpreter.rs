//! Rules of `qman.md` on the interpreter alone, for what a comparison cannot see: both sides could be wrong.

#[allow(dead_code, reason = "shared with another test")]
mod bench;

use bench::Bench;
use coxswain_abi::regs::qman::{self as regs, cause};
use coxswain_reference::machine::Waiting;

/// MSG_LONG of `value` to SRAM.
fn message(value: u32) -> [u32; 4] {
    [value, 0x0300_0000, 0xF000_0080, 0x7F]
}

fn fence(id: u32, target: u32, decrement: u32) -> [u32; 2] {
    [id << 30 | target << 16 | decrement, 0x0800_0000]
}

const TRANSFER: [u32; 6] = [64, 0x0900_0008, 0, 0, 0x2000_0000, 0];

#[test]
fn a_fence_subtracts_what_it_says_and_not_what_it_waited_for() {
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 1, &[&fence(3, 4, 1)[..], &message(7)].concat());
    bench.fence(0, 1, 3, 3);
    assert_eq!(bench.values(), [0; 0]);
    bench.fence(0, 1, 3, 2);
    assert_eq!(bench.values(), [7]);
    assert_eq!(bench.status(0, regs::CP_FENCE0_CNT_0 + 3 * regs::FENCE_STRIDE + 4), 4);
}

#[test]
fn a_counter_that_is_smaller_than_the_decrement_clips_and_stops_the_stream() {
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &[&fence(2, 0, 5)[..], &message(7)].concat());
    assert_eq!(bench.values(), [0; 0]);
    assert_eq!(bench.status(0, regs::GLBL_STS1_0), cause::FENCE0_UDF << 2);
    assert_eq!(bench.waiting(0, 0), Some(Waiting::Failed));
}

#[test]
fn a_counter_clips_at_14_bits() {
    let mut bench = Bench::with_stop_on_error(&[0], false);
    bench.machine.write_register(0, regs::CP_FENCE0_CNT_0, 0x3FF8);
    bench.fence(0, 0, 0, 8);
    assert_eq!(bench.status(0, regs::CP_FENCE0_CNT_0), 0x3FFF);
    assert_eq!(bench.status(0, regs::GLBL_STS1_0), cause::FENCE0_OVF);
}

#[test]
fn an_engine_holds_so_many_jobs_and_a_barrier_waits_for_all() {
    let mut bench = Bench::new(&[0]);
    let barrier = [0, 0x2A00_0000];
    bench.submit(0, 0, &[&TRANSFER[..], &TRANSFER, &TRANSFER, &barrier, &message(7)].concat());
    assert_eq!((bench.waiting(0, 0), bench.machine.jobs(0)), (Some(Waiting::Engine), 2));
    bench.complete(0);
    assert_eq!((bench.waiting(0, 0), bench.machine.jobs(0)), (Some(Waiting::Barrier), 2));
    bench.complete(0);
    bench.writes();
    bench.complete(0);
    assert_eq!(bench.values(), [7]);
}

#[test]
fn the_queue_of_the_lower_cp_holds_three_buffers() {
    let mut bench = Bench::new(&[8]);
    let lower: Vec<u8> = fence(0, 1, 1).iter().flat_map(|dword| dword.to_le_bytes()).collect();
    let address = bench.store(lower) as u32;
    let call = [8, 0x0500_0000, address, 0];
    bench.submit(8, 2, &[call, call, call, call, call].concat());
    assert_eq!(bench.waiting(8, 2), Some(Waiting::LowerQueue));
    assert_eq!(bench.status(8, regs::CQ_IFIFO_CNT_0 + 16), 3);
    bench.fence(8, 4, 0, 1);
    assert_eq!(bench.waiting(8, 2), None);
    bench.fence(8, 4, 0, 4);
    assert_eq!(bench.status(8, regs::GLBL_STS0), regs::STS0_IDLE);
}

#[test]
fn packets_that_a_command_processor_does_not_know_are_undefined_commands() {
    let undefined = |number: usize, dwords: &[u32]| {
        let mut bench = Bench::new(&[number]);
        bench.submit(number, 0, dwords);
        bench.status(number, regs::GLBL_STS1_0) == cause::UNDEF_CMD
    };
    assert!(undefined(0, &[16, 0x0500_0000, 0, 0]), "CP_DMA without a lower CP");
    assert!(undefined(2, &TRANSFER), "LIN_DMA on an upper stream of an internal QMAN");
    assert!(undefined(0, &[0, 0x0600_0000]), "REPEAT");
    assert!(undefined(0, &[7, 0x0320_0000, 0xF000_0080, 0x7F]), "an operation of a message that means nothing");
    assert!(undefined(0, &message(7)[..3]), "a packet that the end of its buffer cuts off");
}

#[test]
fn only_the_stream_with_the_error_stops() {
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &[0, 0x1F00_0000]);
    bench.submit(0, 1, &message(1));
    assert_eq!(bench.values(), [1]);
    assert!(bench.machine.take_events().contains(&0));
    bench.submit(0, 0, &message(2));
    assert_eq!(bench.values(), [0; 0], "a doorbell does not revive it");
}

#[test]
fn without_stop_on_error_the_failing_packet_is_passed_over_with_its_length() {
    let mut bench = Bench::with_stop_on_error(&[0], false);
    // The values of the refused bulk write look like a STOP packet.
    let refused = [1, 0x0220_0000, 0, 0x0B00_0000];
    bench.submit(0, 0, &[refused, message(7)].concat());
    assert_eq!(bench.values(), [7]);
    assert_eq!(bench.status(0, regs::GLBL_STS1_0), cause::WREG);
}

#[test]
fn a_stop_takes_effect_between_packets_and_is_taken_back() {
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &[&fence(0, 1, 1)[..], &message(7)].concat());
    bench.machine.write_register(0, regs::GLBL_CFG1, 0x1E00);
    bench.rest();
    assert_eq!(bench.waiting(0, 0), Some(Waiting::Stopped));
    bench.fence(0, 0, 0, 1);
    assert_eq!(bench.values(), [0; 0]);
    bench.machine.write_register(0, regs::GLBL_CFG1, 0);
    bench.rest();
    assert_eq!(bench.values(), [7]);
}

#[test]
fn messages_are_not_secure_but_for_the_protected_one() {
    let mut bench = Bench::new(&[0]);
    let protected = [7, 0x0700_0000, 0xF000_0080, 0x7F];
    bench.submit(0, 0, &[message(1), protected].concat());
    let writes = bench.machine.take_writes();
    assert_eq!(writes.iter().map(|write| write.attributes.secure).collect::<Vec<_>>(), [false, true]);
    assert_eq!((writes[0].attributes.asid, writes[1].attributes.bypass), (1, true));
    // On an internal QMAN it is an ordinary message.
    let mut bench = Bench::new(&[2]);
    bench.submit(2, 0, &protected);
    assert!(!bench.machine.take_writes()[0].attributes.secure);
}

#[test]
fn weights_are_grants_in_a_row() {
    let mut bench = Bench::new(&[0]);
    bench.machine.write_register(0, regs::ARB_CFG_0, 0x111);
    for (stream, weight) in [(0, 2), (1, 1)] {
        bench.machine.write_register(0, regs::ARB_WRR_WEIGHT_0 + 4 * stream, weight);
    }
    for stream in [0, 1] {
        let section = [&[0, 0x0C00_0000][..], &message(stream as u32), &[0x8000_0000, 0x0C00_0000]].concat();
        let bytes: Vec<u8> = section.repeat(3).iter().flat_map(|dword| dword.to_le_bytes()).collect();
        let size = bytes.len() as u32;
        let address = bench.store(bytes);
        bench.submit_buffer(0, stream, address, size);
    }
    bench.rest();
    assert_eq!(bench.values(), [0, 0, 1, 0, 1, 1]);
}

#[test]
fn a_slave_lets_streams_pass_in_the_order_of_its_masters_choices() {
    let mut bench = Bench::new(&[8]);
    bench.machine.write_register(8, regs::ARB_CFG_0, 0x100);
    let section = |stream: u32| [&[0, 0x0C00_0000][..], &message(stream), &[0x8000_0000, 0x0C00_0000]].concat();
    bench.submit(8, 0, &section(0));
    bench.submit(8, 3, &section(3));
    assert_eq!(bench.waiting(8, 0), Some(Waiting::Arbiter));
    for stream in [3, 0] {
        bench.machine.write_register(8, regs::ARB_CHOISE_Q_PUSH, stream);
    }
    bench.rest();
    let values = bench.writes().into_iter().filter(|(address, _)| *address == 0x7F_F000_0080);
    assert_eq!(values.map(|(_, value)| value).collect::<Vec<_>>(), [Some(3), Some(0)]);
}

#[test]
fn a_choice_too_many_is_an_error_of_the_arbiter() {
    let mut bench = Bench::new(&[8]);
    bench.machine.write_register(8, regs::ARB_CFG_0, 0x100);
    for _ in 0..64 {
        bench.machine.write_register(8, regs::ARB_CHOISE_Q_PUSH, 1);
    }
    assert_eq!(bench.status(8, regs::ARB_ERR_CAUSE), 0);
    bench.machine.write_register(8, regs::ARB_CHOISE_Q_PUSH, 1);
    assert_eq!(bench.status(8, regs::ARB_ERR_CAUSE), 1);
    assert!(bench.machine.take_events().contains(&8));
}

#[test]
fn scalars_execute_a_packet_that_was_loaded() {
    let mut bench = Bench::new(&[0]);
    let bytes: Vec<u8> = message(9).iter().flat_map(|dword| dword.to_le_bytes()).collect();
    let address = bench.store(bytes) as u32;
    bench.submit(0, 0, &[0x301, 0x0F00_0000, address, 0]);
    assert_eq!(bench.values(), [9]);
    // From R2 on there are only the two dwords of the address: opcode 0.
    bench.submit(0, 0, &[0x600, 0x0F00_0000, 0, 0]);
    assert_eq!(bench.status(0, regs::GLBL_STS1_0), cause::UNDEF_CMD);
}
