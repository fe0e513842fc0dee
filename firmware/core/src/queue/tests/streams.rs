//! Streams: buffers, blocking and waking, errors, fairness.

use std::vec;
use std::vec::Vec;

use super::*;

#[test]
fn a_protected_message_leaves_with_the_secure_properties_of_its_stream() {
    let mut bench = Bench::new();
    bench.submit(0, 1, host(0), &packet::msg_prot(host(0x800), 0x72E9_1AB9, EB | MB));
    let bus = bench.run();
    assert_eq!(bus.len(), 1);
    assert_eq!((bus[0].address, bus[0].data), (host(0x800), 0x72E9_1AB9));
    assert_eq!(bus[0].attributes, Attributes::from_props(true, SECURE, initiator(0, 1)));
    assert_eq!(bench.register(0, regs::PQ_CI_0 + 4), 1);
}

#[test]
fn a_plain_message_is_never_secure() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &packet::msg_long(CFG_BASE + 0xC0_4100, 1, 0));
    let bus = bench.run();
    assert_eq!(bus[0].attributes, Attributes::from_props(false, USER, initiator(0, 0)));
}

#[test]
fn a_short_message_goes_to_its_base_plus_offset() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &[packet::msg_short(1, 0x20, packet::sob_add(1), EB | RB | MB)]);
    assert_eq!(bench.run()[0].address, CFG_BASE + 0x4F_2020);
}

#[test]
fn a_fence_packet_waits_until_its_target() {
    let mut bench = Bench::new();
    let message = packet::msg_long(SRAM_BASE + 0x100, 7, 0);
    bench.submit(0, 0, host(0), &[packet::fence(2, 2, 2, 0), message[0], message[1]]);
    assert_eq!(bench.run(), []);
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Fence { id: 2, target: 2 }));
    assert_eq!(bench.register(0, regs::CP_STS_0), 1 << 22 | 2 << 20);
    assert_eq!(bench.register(0, regs::GLBL_STS0) & 1 << 9, 0, "a waiting stream is not idle");
    bench.engine.on_fence(0, 0, 2, 1, &mut bench.fake);
    assert_eq!(bench.run(), []);
    assert_eq!(bench.register(0, regs::CP_FENCE0_CNT_0 + 2 * regs::FENCE_STRIDE), 1);
    bench.engine.on_fence(0, 0, 2, 2, &mut bench.fake);
    assert_eq!(bench.run().len(), 1);
    assert_eq!(bench.register(0, regs::CP_FENCE0_CNT_0 + 2 * regs::FENCE_STRIDE), 1, "3 arrived, 2 are consumed");
    assert_eq!(bench.register(0, regs::GLBL_STS0), regs::STS0_IDLE);
}

#[test]
fn an_increment_of_another_fence_does_not_wake_the_stream() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &[packet::fence(0, 1, 1, 0)]);
    bench.run();
    bench.engine.on_fence(0, 0, 1, 5, &mut bench.fake);
    bench.engine.on_fence(0, 1, 0, 5, &mut bench.fake);
    bench.run();
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Fence { id: 0, target: 1 }));
}

#[test]
fn an_engine_barrier_waits_for_the_job_and_for_the_engine() {
    let mut bench = Bench::new();
    let mut words = packet::lin_dma(host(0x100), 0x2000_0000, 0x1000, commit::LIN | RB).to_vec();
    words.extend(packet::msg_prot(host(0x800), 1, EB | MB));
    bench.submit(0, 0, host(0), &words);
    let bus = bench.run();
    let core = CFG_BASE + u64::from(dma_core::base(0));
    let expected: Vec<_> = [
        (dma_core::SRC_BASE_LO, host(0x100) as u32),
        (dma_core::SRC_BASE_HI, (host(0x100) >> 32) as u32),
        (dma_core::DST_BASE_LO, 0x2000_0000),
        (dma_core::DST_BASE_HI, 0),
        (dma_core::DST_TSIZE_0, 0x1000),
        (dma_core::COMMIT, commit::LIN),
    ]
    .into_iter()
    .map(|(offset, data)| (core + u64::from(offset), data))
    .collect();
    assert_eq!(bus.iter().map(|write| (write.address, write.data)).collect::<Vec<_>>(), expected);
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Barrier));
    // A job of somebody else still runs when ours is done.
    bench.fake.registers.insert(dma_core::base(0) + dma_core::STS0, 1 << 31);
    bench.engine.on_engine_done(0, &mut bench.fake);
    assert_eq!(bench.run(), []);
    bench.fake.registers.insert(dma_core::base(0) + dma_core::STS0, 0);
    bench.engine.on_engine_done(0, &mut bench.fake);
    assert_eq!(bench.run().len(), 1);
}

#[test]
fn a_full_engine_blocks_the_next_transfer_only() {
    let mut bench = Bench::new();
    let transfer = packet::lin_dma(0, 0x2000_0000, 64, commit::LIN);
    bench.submit(0, 0, host(0), &[transfer, transfer, transfer].concat());
    assert_eq!(bench.run().len(), 12, "two of three descriptors");
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Engine));
    bench.submit(0, 1, host(0x1000), &packet::msg_prot(host(0x800), 1, MB));
    assert_eq!(bench.run().len(), 1, "another stream goes on");
    bench.engine.on_engine_done(0, &mut bench.fake);
    assert_eq!(bench.run().len(), 6);
}

#[test]
fn the_lower_cp_executes_buffers_in_the_order_of_their_cp_dma_packets() {
    let mut bench = Bench::new();
    for index in 0..6u64 {
        bench.store(SRAM_BASE + 0x1000 + 0x100 * index, &packet::msg_long(SRAM_BASE, index as u32, 0));
    }
    let upper = |first: u64| -> Vec<u64> {
        (0..3).flat_map(|step| packet::cp_dma(SRAM_BASE + 0x1000 + 0x100 * (first + step), 16, RB)).collect()
    };
    bench.submit(2, 0, SRAM_BASE + 0x80, &upper(0));
    bench.submit(2, 1, SRAM_BASE + 0x400, &upper(3));
    let bus = bench.run();
    assert_eq!(bus.iter().map(|write| write.data).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(bus.iter().all(|write| write.attributes.initiator() == initiator(2, 4)));
}

#[test]
fn a_full_lower_queue_stalls_the_upper_stream_without_an_error() {
    let mut bench = Bench::new();
    bench.store(SRAM_BASE + 0x1000, &[packet::fence(0, 1, 1, 0)]);
    let upper: Vec<u64> = (0..5).flat_map(|_| packet::cp_dma(SRAM_BASE + 0x1000, 8, 0)).collect();
    bench.submit(2, 3, SRAM_BASE + 0x80, &upper);
    bench.run();
    assert_eq!(bench.engine.blocked(2, 3), Some(Blocked::LowerQueue));
    assert_eq!(bench.engine.blocked(2, 4), Some(Blocked::Fence { id: 0, target: 1 }));
    assert_eq!(bench.register(2, regs::CQ_IFIFO_CNT_0 + 16), 3);
    bench.engine.on_fence(2, 4, 0, 5, &mut bench.fake);
    bench.run();
    assert_eq!(bench.register(2, regs::GLBL_STS0), regs::STS0_IDLE);
    assert_eq!(bench.register(2, regs::GLBL_STS1_0 + 12), 0);
}

#[test]
fn an_undefined_packet_stops_its_stream_and_no_other() {
    for bad in [0x00, opcode::REPEAT, 0x0E, 0x10, 0x1F] {
        let mut bench = Bench::new();
        let mut words = packet::msg_long(SRAM_BASE, 1, 0).to_vec();
        words.push(Header::new(bad, 0, 0x55).0);
        words.extend(packet::msg_long(SRAM_BASE, 2, 0));
        bench.submit(0, 2, host(0), &words);
        assert_eq!(bench.run().len(), 1, "nothing after the bad packet executes");
        assert_eq!(bench.register(0, regs::GLBL_STS1_0 + 8), cause::UNDEF_CMD);
        assert_eq!(bench.register(0, regs::CP_CURRENT_INST_LO_0 + 8), 0x55);
        assert_eq!(bench.register(0, regs::CP_CURRENT_INST_HI_0 + 8) >> 24, bad);
        assert_eq!(bench.register(0, regs::CQ_PTR_LO_0 + 0x20), host(0) as u32);
        assert_eq!(bench.register(0, regs::CQ_TSIZE_0 + 0x20), 40);
        assert_eq!(bench.register(0, regs::GLBL_STS0) & (1 << 27 | 1 << 11), 1 << 27, "stopped and not idle");
        assert_eq!(bench.engine.take_errors(), 1);
        assert_eq!(bench.engine.take_errors(), 0);
        assert_eq!(bench.engine.blocked(0, 2), Some(Blocked::Failed));
        bench.submit(0, 2, host(0x1000), &packet::msg_long(SRAM_BASE, 3, 0));
        assert_eq!(bench.run(), [], "a doorbell does not revive it");
        bench.submit(0, 0, host(0x2000), &packet::msg_long(SRAM_BASE, 4, 0));
        assert_eq!(bench.run().len(), 1);
    }
}

#[test]
fn without_stop_on_error_the_stream_goes_on_behind_the_bad_packet() {
    let mut bench = Bench::new();
    bench.fake.registers.insert(regs::base(0) + regs::GLBL_ERR_CFG, 0x1EFF);
    let mut words = vec![Header::new(0x1F, 0, 0).0];
    words.extend(packet::msg_long(SRAM_BASE, 2, 0));
    bench.submit(0, 0, host(0), &words);
    assert_eq!(bench.run().len(), 1);
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::UNDEF_CMD);
}

#[test]
fn a_stop_packet_stops_even_without_stop_on_error() {
    let mut bench = Bench::new();
    bench.fake.registers.insert(regs::base(2) + regs::GLBL_ERR_CFG, 0x3FFF);
    bench.submit(2, 0, SRAM_BASE + 0x80, &[Header::new(opcode::STOP, 0, 0).0, packet::nop(0)]);
    bench.run();
    assert_eq!(bench.register(2, regs::GLBL_STS1_0), cause::STOP_OP);
    assert_eq!(bench.register(2, regs::CP_STS_0) & 1 << 19, 1 << 19);
    assert_eq!(bench.engine.blocked(2, 0), Some(Blocked::Failed));
}

#[test]
fn a_packet_cut_off_by_the_end_of_its_buffer_is_an_undefined_command() {
    let mut bench = Bench::new();
    let message = packet::msg_long(SRAM_BASE, 1, 0);
    bench.store(host(0), &message);
    bench.submit_bytes(0, 0, host(0), 12);
    assert_eq!(bench.run(), []);
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::UNDEF_CMD);
}

#[test]
fn an_unreadable_buffer_is_a_fetch_error() {
    let mut bench = Bench::new();
    bench.submit_bytes(0, 0, 0x4000_0000_0000, 64);
    bench.run();
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::CQF_RD);
    assert_eq!(bench.register(0, regs::GLBL_STS0) & 1 << 20, 1 << 20);
}

#[test]
fn an_impossible_producer_index_is_a_queue_error() {
    for index in [9, 16, 0xFFFF_FFFF] {
        let mut bench = Bench::new();
        bench.ring_doorbell(0, 0, index);
        bench.run();
        assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::PQF_RD);
        assert_eq!(bench.register(0, regs::GLBL_STS0) & 1 << 16, 1 << 16);
    }
}

#[test]
fn cp_dma_is_undefined_where_there_is_no_lower_cp() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &packet::cp_dma(SRAM_BASE, 16, 0));
    bench.submit(2, 0, SRAM_BASE + 0x80, &packet::lin_dma(0, 0, 16, commit::LIN));
    bench.run();
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::UNDEF_CMD);
    assert_eq!(bench.register(2, regs::GLBL_STS1_0), cause::UNDEF_CMD, "LIN_DMA on an upper stream");
}

#[test]
fn a_register_write_outside_the_window_is_a_register_error() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &[packet::wreg_32(0x80, 5, 0), packet::wreg_32(0x2000, 1, 0)]);
    let bus = bench.run();
    assert_eq!(bus.iter().map(|write| write.address).collect::<Vec<_>>(), [CFG_BASE + 0x50_0080]);
    assert_eq!(bench.register(0, regs::GLBL_STS1_0), cause::WREG);
}

#[test]
fn a_write_to_the_commit_register_counts_as_a_job() {
    let mut bench = Bench::new();
    bench.submit(0, 0, host(0), &[packet::wreg_32(dma_core::COMMIT as u16, 8, 0), packet::nop(EB)]);
    bench.run();
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Barrier));
    bench.engine.on_engine_done(0, &mut bench.fake);
    bench.run();
    assert_eq!(bench.engine.blocked(0, 0), None);
}

#[test]
fn a_disabled_queue_manager_forgets_its_work() {
    let mut bench = Bench::new();
    let message = packet::msg_prot(host(0x800), 1, 0);
    bench.submit(0, 0, host(0), &[packet::fence(0, 1, 1, 0), message[0], message[1]]);
    bench.run();
    bench.engine.on_register_write(0, regs::GLBL_CFG0, 0, &mut bench.fake);
    bench.engine.on_fence(0, 0, 0, 1, &mut bench.fake);
    assert_eq!(bench.run(), []);
    assert_eq!(bench.register(0, regs::GLBL_STS0), regs::STS0_IDLE);
}

#[test]
fn a_stopped_command_processor_goes_on_where_it_was() {
    let mut bench = Bench::new();
    bench.engine.on_register_write(0, regs::GLBL_CFG1, 0x1E00, &mut bench.fake);
    bench.submit(0, 0, host(0), &packet::msg_prot(host(0x800), 1, 0));
    assert_eq!(bench.run(), []);
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Stopped));
    bench.engine.on_register_write(0, regs::GLBL_CFG1, 0, &mut bench.fake);
    assert_eq!(bench.run().len(), 1);
}

#[test]
fn a_failed_message_stops_the_stream_that_sent_it() {
    let mut bench = Bench::new();
    bench.engine.on_write_failed(initiator(2, 4), &mut bench.fake);
    bench.run();
    assert_eq!(bench.register(2, regs::GLBL_STS1_0 + 16), cause::MSG_WR);
    assert_eq!(bench.engine.take_errors(), 1 << 2);
    assert_eq!(bench.engine.stuck(), 1 << 2);
}

#[test]
fn streams_take_turns() {
    let mut bench = Bench::new();
    for stream in 0..2 {
        let words: Vec<u64> = (0..200).flat_map(|_| packet::msg_long(SRAM_BASE, stream, 0)).collect();
        bench.submit(0, stream as usize, host(0x10_0000 * u64::from(stream)), &words);
    }
    let bus = bench.run();
    assert_eq!(bus.len(), 400);
    let first_half = bus[..200].iter().filter(|write| write.data == 0).count();
    assert!((64..=136).contains(&first_half), "stream 0 has {first_half} of the first 200 messages");
}

#[test]
fn a_full_posted_ring_delays_and_loses_nothing() {
    let mut bench = Bench::new();
    bench.fake.room = crate::queue::ROOM + 40;
    let words: Vec<u64> = (0..500).flat_map(|value| packet::msg_long(SRAM_BASE, value, 0)).collect();
    bench.submit(0, 0, host(0), &words);
    let bus = bench.run();
    assert_eq!(bus.iter().map(|write| write.data).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    assert_eq!(bench.register(0, regs::GLBL_STS0), regs::STS0_IDLE);
}

proptest! {
    /// A buffer may start at any byte.
    #[test]
    fn a_buffer_of_any_alignment_executes(offset in 0u64..16, count in 1usize..200) {
        let mut bench = Bench::new();
        let words: Vec<u64> = (0..count).flat_map(|value| packet::msg_long(SRAM_BASE, value as u32, 0)).collect();
        let mut bytes = vec![0xA5u8; offset as usize];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8) + 8, 0x5A);
        let stored: Vec<u64> = bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap())).collect();
        bench.store(host(0), &stored);
        bench.submit_bytes(0, 0, host(offset), 8 * words.len() as u32);
        let bus = bench.run();
        prop_assert_eq!(bus.iter().map(|write| write.data).collect::<Vec<_>>(), (0..count as u32).collect::<Vec<_>>());
    }

    /// Whatever a command buffer holds, the engine comes to rest and posts no secure write but for MSG_PROT.
    #[test]
    fn random_buffers_end_in_rest_or_in_an_error_of_their_own_stream(
        words in proptest::collection::vec(any::<u64>(), 1..300), codes in proptest::collection::vec(0u64..32, 300)
    ) {
        let mut bench = Bench::new();
        let words: Vec<u64> = words.iter().zip(codes).map(|(word, code)| word & !(0x1F << 56) | code << 56).collect();
        bench.submit(2, 0, SRAM_BASE + 0x80, &words);
        for write in bench.run() {
            prop_assert!(!write.attributes.secure());
            prop_assert_eq!(write.address % 4, 0);
        }
        bench.submit(0, 0, host(0), &packet::msg_prot(host(0x800), 1, MB));
        prop_assert_eq!(bench.run().len(), 1);
    }
}

/// A slave of which stream 0 waits for its turn.
fn slave(bench: &mut Bench, watchdog: u32, errors: u32) {
    let base = regs::base(0);
    for (register, value) in
        [(regs::ARB_SLV_CHOISE_WDT, watchdog), (regs::ARB_ERR_MSG_EN, 7), (regs::GLBL_ERR_CFG, errors)]
    {
        bench.fake.registers.insert(base + register, value);
    }
    bench.engine.on_register_write(0, regs::ARB_CFG_0, 0x100, &mut bench.fake);
    let request = packet::Header::new(packet::opcode::ARB_POINT, 0, 0).0;
    let message = packet::msg_long(SRAM_BASE, 7, 0);
    bench.submit(0, 0, host(0), &[request, message[0], message[1]]);
    assert_eq!(bench.run(), []);
}

#[test]
fn a_choice_that_nobody_takes_is_reported_once_when_its_time_is_over() {
    let mut bench = Bench::new();
    slave(&mut bench, 5_000, 0);
    bench.engine.on_register_write(0, regs::ARB_CHOISE_Q_PUSH, 3, &mut bench.fake);
    bench.run();
    assert_eq!(bench.register(0, regs::ARB_CHOISE_FULLNESS_STS), 1);
    assert_eq!(bench.register(0, regs::ARB_SLV_CHOISE_Q_HEAD), 3);
    let due = bench.engine.next_time().expect("a watchdog");
    assert!((5..=6).contains(&due), "{due}");
    bench.fake.now = due - 1;
    bench.run();
    assert_eq!((bench.register(0, regs::ARB_ERR_CAUSE), bench.engine.take_errors()), (0, 0));
    bench.fake.now = due;
    bench.run();
    assert_eq!((bench.register(0, regs::ARB_ERR_CAUSE), bench.engine.take_errors()), (2, 1));
    bench.fake.now = due + 1000;
    bench.run();
    assert_eq!((bench.engine.next_time(), bench.engine.take_errors()), (None, 0));
}

#[test]
fn an_arbiter_that_an_error_has_stopped_lets_nobody_pass_until_it_is_switched_off() {
    let mut bench = Bench::new();
    slave(&mut bench, 0, 1 << 31);
    // The head is another stream's; the queue of choices overflows.
    for _ in 0..65 {
        bench.engine.on_register_write(0, regs::ARB_CHOISE_Q_PUSH, 3, &mut bench.fake);
    }
    assert_eq!(bench.run(), []);
    assert_eq!((bench.register(0, regs::ARB_ERR_CAUSE), bench.engine.take_errors()), (1, 1));
    assert_eq!(bench.register(0, regs::GLBL_STS0) >> 31, 1);
    let request = packet::Header::new(packet::opcode::ARB_POINT, 0, 0).0;
    bench.submit(0, 3, host(0x1000), &[request]);
    assert_eq!(bench.run(), []);
    assert_eq!(bench.engine.blocked(0, 3), Some(Blocked::Arbiter), "its turn, but the arbiter is stopped");
    bench.engine.on_register_write(0, regs::ARB_CFG_0, 0, &mut bench.fake);
    assert_eq!(bench.run().len(), 1, "a disabled arbiter lets everything pass");
    assert_eq!(bench.register(0, regs::GLBL_STS0) >> 31, 0);
}
