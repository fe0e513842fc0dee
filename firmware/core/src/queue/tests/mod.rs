//! Behaviour of the queue engine on a fake board: [`streams`] and their blocking, the rarer [`packets`], [`arbitration`].

extern crate std;

mod arbitration;
mod packets;
mod streams;

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
use crate::ports::{Clock, DeviceMemory, OneByOne, PostedWrites, ReadError, Registers, Trace};

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

impl Trace for Fake {}

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
    type Burst<'a> = OneByOne<'a, Self>;

    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Self::Burst<'_>) -> R) -> R {
        let room = self.available().saturating_sub(keep);
        fill(&mut OneByOne { port: self, room })
    }

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
            let mut more = self.engine.run(&mut self.fake);
            for write in std::mem::take(&mut self.fake.posted) {
                let offset = write.address.wrapping_sub(CFG_BASE) as u32;
                match write.attributes.kind() {
                    WriteKind::Bus if write.attributes == Attributes::CPU => {
                        more |= self.settle(offset);
                    }
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

    /// A write of the firmware's own, which comes back as a notification.
    fn settle(&mut self, offset: u32) -> bool {
        let (number, inside) = regs::find(offset).expect("a register of a queue manager");
        let stream = (inside - regs::CP_FENCE0_RDATA_0) / 4;
        self.engine.on_fence(number, stream as usize, 0, 0, &mut self.fake);
        true
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
