//! Bulk writes, predicates and scalars, time stamps, WAIT.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::queue::fetch::BLOCK;

#[test]
fn a_bulk_write_fills_consecutive_registers_low_half_first() {
    let mut bench = Bench::new();
    let mut words = vec![Header::new(opcode::WREG_BULK, 0x14 << 8, 300).0];
    words.extend((0..300u64).map(|value| value | (value + 1000) << 32));
    let message = packet::msg_long(SRAM_BASE, 9, 0);
    words.extend(message);
    bench.fake.room = crate::queue::ROOM + 100;
    bench.submit(0, 0, host(0), &words);
    let bus = bench.run();
    assert_eq!(bus.len(), 601, "two registers for each value, and the packet behind");
    for (value, pair) in (0u32..).zip(bus[..600].chunks_exact(2)) {
        let register = CFG_BASE + 0x50_0014 + 8 * u64::from(value);
        assert_eq!((pair[0].address, pair[0].data), (register, value));
        assert_eq!((pair[1].address, pair[1].data), (register + 4, value + 1000));
    }
    assert_eq!(bus[600].data, 9);
}

#[test]
fn a_bulk_write_beyond_the_window_or_the_buffer_is_an_error_and_writes_nothing() {
    for (header, size, expected) in [
        (Header::new(opcode::WREG_BULK, 0xFF8 << 8, 2), 3, cause::WREG),
        (Header::new(opcode::WREG_BULK, 0x7FFC << 8, 1), 2, cause::WREG),
        (Header::new(opcode::WREG_BULK, 0x16 << 8, 1), 2, cause::WREG),
        (Header::new(opcode::WREG_BULK, 0x14 << 8, 3), 3, cause::UNDEF_CMD),
    ] {
        let mut bench = Bench::new();
        let mut words = vec![0; size];
        words[0] = header.0;
        bench.submit(0, 0, host(0), &words);
        assert_eq!(bench.run(), []);
        assert_eq!(bench.register(0, regs::GLBL_STS1_0), expected);
    }
}

#[test]
fn a_bulk_write_whose_values_cannot_be_read_ends_with_its_buffer() {
    let mut bench = Bench::new();
    bench.fake.registers.insert(regs::base(0) + regs::GLBL_ERR_CFG, 0x1EFF);
    // One block of the buffer is there; the values behind it are not.
    let mut words = [0; BLOCK];
    words[0] = Header::new(opcode::WREG_BULK, 0x14 << 8, BLOCK as u32 + 40).0;
    bench.store(host(0), &words);
    bench.submit_bytes(0, 0, host(0), 8 * (BLOCK as u32 + 41));
    bench.submit(0, 0, host(0x1000), &packet::msg_long(SRAM_BASE, 9, 0));
    let bus = bench.run();
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::CQF_RD);
    let last = bus.last().expect("the next buffer is executed");
    assert_eq!((last.address, last.data), (SRAM_BASE, 9));
    assert_eq!(bus.len(), 2 * (BLOCK - 1) + 1);
}

#[test]
fn a_bulk_write_across_the_commit_register_starts_one_job_and_waits_for_room() {
    let mut bench = Bench::new();
    let bulk = [Header::new(opcode::WREG_BULK, 0x74 << 8, 1).0, 64 | u64::from(commit::LIN) << 32];
    let words: Vec<u64> = [bulk, bulk, bulk].concat();
    bench.submit(0, 0, host(0), &words);
    assert_eq!(bench.run().len(), 5, "the third job's size is written, its commit waits");
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Engine));
    bench.engine.on_engine_done(0, &mut bench.fake);
    let rest = bench.run();
    assert_eq!(rest.iter().map(|write| write.address).collect::<Vec<_>>(), [CFG_BASE + 0x50_0078]);
}

#[test]
fn a_predicate_decides_whether_a_packet_executes() {
    let mut bench = Bench::new();
    // P1..P31 come from bit 0 of dwords 1..31: only P10 is set.
    let mut table = [0u64; 16];
    table[5] = 1;
    bench.store(SRAM_BASE + 0x100, &table);
    let mut words = vec![Header::new(opcode::LOAD_AND_EXE, MB, 0x100).0, SRAM_BASE + 0x100];
    for predicate in 0..32u32 {
        words.extend([Header::new(opcode::MSG_LONG, predicate, predicate).0, SRAM_BASE]);
    }
    // A skipped bulk write is skipped with its values.
    words.extend([Header::new(opcode::WREG_BULK, 3 | 0x14 << 8, 100).0]);
    words.extend([u64::MAX; 100]);
    words.extend(packet::msg_long(SRAM_BASE, 77, 0));
    bench.submit(0, 0, host(0), &words);
    assert_eq!(bench.run().iter().map(|write| write.data).collect::<Vec<_>>(), [0, 10, 77]);
}

#[test]
fn a_packet_in_scalars_executes_from_either_place() {
    let mut bench = Bench::new();
    let first = packet::msg_long(SRAM_BASE + 0x40, 5, 0);
    bench.store(SRAM_BASE + 0x100, &first);
    let short = packet::msg_short(1, 0x20, 6, 0);
    bench.store(SRAM_BASE + 0x200, &[0, short]);
    let words = [
        Header::new(opcode::LOAD_AND_EXE, 0, 0x301).0,
        SRAM_BASE + 0x100,
        Header::new(opcode::LOAD_AND_EXE, 0, 0x101).0,
        SRAM_BASE + 0x200,
        Header::new(opcode::LOAD_AND_EXE, 0, 0x600).0,
        0,
    ];
    bench.submit(0, 0, host(0), &words);
    let bus = bench.run();
    assert_eq!(
        bus.iter().map(|write| (write.address, write.data)).collect::<Vec<_>>(),
        [(SRAM_BASE + 0x40, 5), (CFG_BASE + 0x4F_2020, 6)]
    );
}

#[test]
fn a_packet_in_scalars_that_waits_is_loaded_once() {
    let mut bench = Bench::new();
    bench.store(SRAM_BASE + 0x100, &[packet::fence(1, 1, 1, 0), 0]);
    bench.submit(0, 0, host(0), &[Header::new(opcode::LOAD_AND_EXE, 0, 0x301).0, SRAM_BASE + 0x100]);
    bench.run();
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Fence { id: 1, target: 1 }));
    bench.store(SRAM_BASE + 0x100, &packet::msg_long(SRAM_BASE, 1, 0));
    bench.engine.on_fence(0, 0, 1, 1, &mut bench.fake);
    assert_eq!(bench.run(), [], "what was loaded executes, not what is there now");
    assert_eq!(bench.engine.blocked(0, 0), None);
}

#[test]
fn what_cannot_be_in_scalars_is_an_undefined_command() {
    for packet in [
        Header::new(opcode::LIN_DMA, 0, 1),
        Header::new(opcode::CP_DMA, 0, 1),
        Header::new(opcode::ARB_POINT, 0, 1),
        Header::new(opcode::LOAD_AND_EXE, 0, 0x200),
        Header::new(opcode::WREG_BULK, 0, 0),
    ] {
        let mut bench = Bench::new();
        bench.store(SRAM_BASE + 0x100, &[packet.0, 0]);
        bench.submit(0, 0, host(0), &[Header::new(opcode::LOAD_AND_EXE, 0, 0x301).0, SRAM_BASE + 0x100]);
        bench.run();
        assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::UNDEF_CMD);
    }
}

#[test]
fn a_load_that_fails_is_a_read_error_of_the_command_processor() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &[Header::new(opcode::LOAD_AND_EXE, 0, 0x100).0, 0x4000_0000_0000]);
    bench.run();
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::CP_RD);
}

#[test]
fn a_time_stamp_message_leaves_with_its_mark() {
    let mut bench = Bench::new();
    let [header, address] = packet::msg_long(SRAM_BASE, 0, 0);
    bench.submit(0, 0, host(0), &[header | 1 << 52, address]);
    let bus = bench.run();
    assert!(bus[0].attributes.timestamp());
    bench.submit(0, 0, host(0x100), &[header | 2 << 52, address]);
    bench.run();
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::UNDEF_CMD, "there is no operation 2");
}

#[test]
fn a_wait_packet_does_not_block_and_adds_to_its_fence_in_time() {
    let mut bench = Bench::new();
    let wait = Header::new(opcode::WAIT, 0, 1 << 28 | 1 << 24 | 5000).0;
    let message = packet::msg_long(SRAM_BASE, 1, 0);
    let behind = packet::msg_long(SRAM_BASE, 2, 0);
    bench.submit(0, 0, host(0), &[&[wait][..], &message, &[packet::fence(1, 1, 1, 0)], &behind].concat());
    assert_eq!(bench.run().len(), 1);
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Fence { id: 1, target: 1 }));
    let due = bench.engine.next_time().unwrap();
    assert_eq!(due, 6, "5000 cycles at 1 GHz, and one tick of the clock");
    bench.fake.now = due - 1;
    assert_eq!(bench.run(), []);
    bench.fake.now = due;
    assert_eq!(bench.run().len(), 1);
    assert_eq!(bench.engine.next_time(), None);
}
