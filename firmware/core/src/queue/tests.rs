//! Behaviour of the queue engine on a fake board.

extern crate std;

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use coxswain_abi::packet::{self, EB, Header, MB, RB, opcode};
use coxswain_abi::regs::dma_core::{self, commit};
use coxswain_abi::regs::qman::{self as regs, EngineKind, cause};
use coxswain_abi::regs::{CFG_BASE, HOST_BASE, SRAM_BASE};
use coxswain_abi::soc::{Attributes, PostedWrite, WriteKind, initiator};
use proptest::prelude::*;

use super::{Blocked, QmanDescription, QueueEngine};
use crate::ports::{Clock, DeviceMemory, PostedWrites, ReadError, Registers};

const RING: u64 = HOST_BASE + 0x10_0000;
const SECURE: u32 = 0x400;
const USER: u32 = 1;

/// A board whose hardware takes posted writes when the test says so.
struct Fake {
    registers: BTreeMap<u32, u32>,
    memory: BTreeMap<u64, u64>,
    posted: Vec<PostedWrite>,
    room: usize,
    now: u64,
}

impl Clock for Fake {
    fn now_us(&self) -> u64 {
        self.now
    }
}

impl Registers for Fake {
    fn read(&self, offset: u32) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }
}

impl PostedWrites for Fake {
    fn available(&self) -> usize {
        self.room.saturating_sub(self.posted.len())
    }

    fn post(&mut self, write: PostedWrite) {
        assert!(self.available() != 0, "a write was posted without room");
        self.posted.push(write);
    }

    fn flush(&mut self) {}
}

impl DeviceMemory for Fake {
    fn read_words(&mut self, address: u64, _: Attributes, out: &mut [u64]) -> Result<(), ReadError> {
        assert_eq!(address % 8, 0, "reads are made of aligned words");
        for (index, word) in out.iter_mut().enumerate() {
            let at = address + 8 * index as u64;
            *word = *self.memory.get(&at).ok_or(ReadError::Unmapped { address: at })?;
        }
        Ok(())
    }
}

/// An engine with one DMA QMAN of external kind (number 0) and one of internal kind (number 2).
struct Bench {
    engine: QueueEngine,
    fake: Fake,
    producer: BTreeMap<(usize, usize), u32>,
}

impl Bench {
    fn new() -> Self {
        let mut engine = QueueEngine::new();
        for number in [0u8, 2] {
            engine.add(QmanDescription {
                number,
                base: regs::base(number.into()),
                engine_base: regs::engine_base(number.into()),
                engine: EngineKind::Dma,
                engine_depth: 2,
            });
        }
        let fake = Fake { registers: BTreeMap::new(), memory: BTreeMap::new(), posted: vec![], room: 4096, now: 0 };
        let mut bench = Self { engine, fake, producer: BTreeMap::new() };
        bench.enable(0, 0x5EFF, 0x1EFF, 0x9EFF_1EFF);
        bench.enable(2, 0x400F, 0x3FFF, 0xBFFF_3FFF);
        bench
    }

    fn enable(&mut self, number: usize, protection: u32, enable: u32, errors: u32) {
        let base = regs::base(number);
        let mut set = |offset: u32, value: u32| {
            self.fake.registers.insert(base + offset, value);
        };
        for stream in 0..5u32 {
            let index = 4 * stream;
            let upper_of_internal = number >= 2 && stream < 4;
            let (size, source) = if upper_of_internal { (0x81BC, 0x81B4) } else { (0x74, 0x14) };
            set(regs::CP_LDMA_TSIZE_OFFSET_0 + index, size);
            set(regs::CP_LDMA_SRC_BASE_LO_OFFSET_0 + index, source);
            set(regs::CP_LDMA_DST_BASE_LO_OFFSET_0 + index, 0x1C);
            set(regs::CP_MSG_BASE0_ADDR_LO_0 + index, 0xFC4F_4000);
            set(regs::CP_MSG_BASE0_ADDR_HI_0 + index, 0x7F);
            set(regs::CP_MSG_BASE0_ADDR_LO_0 + regs::CP_MSG_BASE_STRIDE + index, 0xFC4F_2000);
            set(regs::CP_MSG_BASE0_ADDR_HI_0 + regs::CP_MSG_BASE_STRIDE + index, 0x7F);
            set(regs::GLBL_SECURE_PROPS_0 + index, SECURE);
            set(regs::GLBL_NON_SECURE_PROPS_0 + index, USER);
            set(if stream == 4 { regs::GLBL_MSG_EN_4 } else { regs::GLBL_MSG_EN_0 + index }, 0xFF7F);
            if stream < 4 {
                let ring = Self::ring(number, stream as usize);
                set(regs::PQ_BASE_LO_0 + index, ring as u32);
                set(regs::PQ_BASE_HI_0 + index, (ring >> 32) as u32);
                set(regs::PQ_SIZE_0 + index, 3);
            }
        }
        set(regs::GLBL_PROT, protection);
        set(regs::GLBL_ERR_CFG, errors);
        set(regs::GLBL_CFG0, enable);
        self.engine.on_register_write(number, regs::GLBL_CFG0, enable, &mut self.fake);
    }

    fn ring(number: usize, stream: usize) -> u64 {
        RING + 0x1000 * (4 * number + stream) as u64
    }

    fn store(&mut self, address: u64, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.fake.memory.insert(address + 8 * index as u64, *word);
        }
    }

    /// Stores a buffer, queues it and rings the doorbell.
    fn submit(&mut self, number: usize, stream: usize, address: u64, words: &[u64]) {
        self.store(address, words);
        self.submit_bytes(number, stream, address, 8 * words.len() as u32);
    }

    fn submit_bytes(&mut self, number: usize, stream: usize, address: u64, bytes: u32) {
        let producer = self.producer.entry((number, stream)).or_insert(0);
        let slot = u64::from(*producer % 8);
        *producer = (*producer + 1) % 16;
        let producer = *producer;
        self.store(Self::ring(number, stream) + 16 * slot, &[address, u64::from(bytes) | 0xABCD << 32]);
        self.ring_doorbell(number, stream, producer);
    }

    fn ring_doorbell(&mut self, number: usize, stream: usize, producer: u32) {
        self.fake.registers.insert(regs::base(number) + regs::PQ_PI_0 + 4 * stream as u32, producer);
        let bit = 4 * number + stream;
        let mut bells = [0; 2];
        bells[bit / 64] = 1 << (bit % 64);
        self.engine.on_doorbells(bells, &mut self.fake);
    }

    /// Runs until nothing is ready; takes what was posted: status into the registers, bus writes returned.
    fn run(&mut self) -> Vec<PostedWrite> {
        let mut bus = vec![];
        for _ in 0..10_000 {
            let more = self.engine.run(&mut self.fake);
            for write in self.fake.posted.drain(..) {
                let offset = write.address.wrapping_sub(CFG_BASE) as u32;
                match write.attributes.kind() {
                    WriteKind::Bus => bus.push(write),
                    WriteKind::Status => _ = self.fake.registers.insert(offset, write.data),
                    WriteKind::SetBits => *self.fake.registers.entry(offset).or_insert(0) |= write.data,
                    WriteKind::ClearBits => *self.fake.registers.entry(offset).or_insert(0) &= !write.data,
                }
            }
            if !more {
                return bus;
            }
        }
        panic!("the engine never comes to rest");
    }

    fn register(&self, number: usize, offset: u32) -> u32 {
        self.fake.read(regs::base(number) + offset)
    }
}

fn host(offset: u64) -> u64 {
    HOST_BASE + 0x1000_0000 + offset
}

#[test]
fn a_queue_that_is_enabled_empty_never_looks_busy() {
    let mut bench = Bench::new();
    let mut is_quiet = |act: &dyn Fn(&mut QueueEngine, &mut Fake)| {
        act(&mut bench.engine, &mut bench.fake);
        let more = bench.engine.run(&mut bench.fake);
        let busy = |write: &PostedWrite| write.address == CFG_BASE + u64::from(regs::base(0) + regs::GLBL_STS0);
        !more && !bench.fake.posted.iter().any(busy)
    };
    assert!(is_quiet(&|_, _| {}), "after it was enabled");
    assert!(is_quiet(&|engine, fake| engine.check_all_doorbells(fake)), "at the safety tick");
    assert!(is_quiet(&|engine, fake| engine.on_doorbells([1, 0], fake)), "at a doorbell without work");
}

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
    bench.engine.on_engine_done(0);
    assert_eq!(bench.run(), []);
    bench.fake.registers.insert(dma_core::base(0) + dma_core::STS0, 0);
    bench.engine.on_engine_done(0);
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
    bench.engine.on_engine_done(0);
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
    bench.engine.on_engine_done(0);
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
    bench.fake.room = super::ROOM + 40;
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

#[test]
fn a_bulk_write_fills_consecutive_registers_low_half_first() {
    let mut bench = Bench::new();
    let mut words = vec![Header::new(opcode::WREG_BULK, 0x14 << 8, 300).0];
    words.extend((0..300u64).map(|value| value | (value + 1000) << 32));
    let message = packet::msg_long(SRAM_BASE, 9, 0);
    words.extend(message);
    bench.fake.room = super::ROOM + 100;
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
fn a_bulk_write_across_the_commit_register_starts_one_job_and_waits_for_room() {
    let mut bench = Bench::new();
    let bulk = [Header::new(opcode::WREG_BULK, 0x74 << 8, 1).0, 64 | u64::from(commit::LIN) << 32];
    let words: Vec<u64> = [bulk, bulk, bulk].concat();
    bench.submit(0, 0, host(0), &words);
    assert_eq!(bench.run().len(), 5, "the third job's size is written, its commit waits");
    assert_eq!(bench.engine.blocked(0, 0), Some(Blocked::Engine));
    bench.engine.on_engine_done(0);
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

/// `submission-path.md` 11.5: whoever wins the first request, the stream with the smaller number does its work last.
#[test]
fn the_stream_with_the_smaller_priority_works_last() {
    for first in [0, 1] {
        let mut bench = Bench::new();
        let base = regs::base(0);
        bench.fake.registers.insert(base + regs::ARB_CFG_0, 0x110);
        bench.engine.on_register_write(0, regs::ARB_CFG_0, 0x110, &mut bench.fake);
        let program = |priority: u32, value: u32| -> Vec<u64> {
            let request = Header::new(opcode::ARB_POINT, 0, priority).0;
            let release = Header::new(opcode::ARB_POINT, 0, 1 << 31 | priority).0;
            let mut words = vec![request, release, request];
            (0..32).for_each(|_| words.extend(packet::msg_long(SRAM_BASE, value, 0)));
            words.push(release);
            words
        };
        bench.store(host(0), &program(1, 1));
        bench.store(host(0x1000), &program(2, 2));
        let size = 8 * program(1, 1).len() as u32;
        for stream in [first, 1 - first] {
            bench.submit_bytes(0, stream, host(0x1000 * stream as u64), size);
        }
        let order: Vec<u32> = bench.run().iter().map(|write| write.data).collect();
        assert_eq!(order.len(), 64);
        assert!(order[..32].iter().all(|value| *value == 2) && order[32..].iter().all(|value| *value == 1));
    }
}

#[test]
fn a_disabled_arbiter_lets_its_waiting_streams_pass() {
    let mut bench = Bench::new();
    bench.engine.on_register_write(2, regs::ARB_CFG_0, 0x100, &mut bench.fake);
    let message = packet::msg_long(SRAM_BASE, 1, 0);
    bench.submit(2, 1, SRAM_BASE + 0x80, &[&[Header::new(opcode::ARB_POINT, 0, 0).0][..], &message].concat());
    assert_eq!(bench.run(), []);
    assert_eq!(bench.engine.blocked(2, 1), Some(Blocked::Arbiter));
    bench.engine.on_register_write(2, regs::ARB_CFG_0, 0, &mut bench.fake);
    assert_eq!(bench.run().len(), 1);
}

/// `qman.md` 6.3: the master tells its slave, the slave returns the credit.
#[test]
fn a_master_tells_its_slave_and_the_slave_returns_the_credit() {
    let mut bench = Bench::new();
    let (master, slave) = (regs::base(0), regs::base(2));
    for (offset, value) in [
        (master + regs::ARB_BASE_LO, CFG_BASE as u32),
        (master + regs::ARB_BASE_HI, (CFG_BASE >> 32) as u32),
        (slave + regs::ARB_BASE_LO, CFG_BASE as u32),
        (slave + regs::ARB_BASE_HI, (CFG_BASE >> 32) as u32),
        (master + regs::ARB_MST_SLAVE_EN, 1 << 3),
        (master + regs::ARB_MST_CHOISE_PUSH_OFST_0 + 12, slave + regs::ARB_CHOISE_Q_PUSH),
        (slave + regs::ARB_SLV_ID, 3),
        (slave + regs::ARB_SLV_MASTER_INC_CRED_OFST, master + regs::ARB_MST_CRED_INC),
    ] {
        bench.fake.registers.insert(offset, value);
    }
    bench.engine.on_register_write(0, regs::ARB_CFG_0, 0x110, &mut bench.fake);
    bench.engine.on_register_write(2, regs::ARB_CFG_0, 0x100, &mut bench.fake);
    let program =
        [Header::new(opcode::ARB_POINT, 0, 1).0, packet::nop(0), Header::new(opcode::ARB_POINT, 0, 1 << 31).0];
    bench.submit(2, 1, SRAM_BASE + 0x80, &program);
    assert_eq!(bench.run(), []);
    bench.submit(0, 1, host(0), &program);
    let told = bench.run();
    assert_eq!(
        told.iter().map(|write| (write.address, write.data)).collect::<Vec<_>>(),
        [(CFG_BASE + u64::from(slave + regs::ARB_CHOISE_Q_PUSH), 1)]
    );
    bench.engine.on_register_write(2, regs::ARB_CHOISE_Q_PUSH, 1, &mut bench.fake);
    let returned = bench.run();
    assert_eq!(
        returned.iter().map(|write| (write.address, write.data)).collect::<Vec<_>>(),
        [(CFG_BASE + u64::from(master + regs::ARB_MST_CRED_INC), 3)]
    );
    assert_eq!(bench.engine.blocked(2, 1), None);
}
