//! The queue engine with its board.

use std::collections::{BTreeMap, VecDeque};

use coxswain_abi::regs::qman::{self as regs, EngineKind};
use coxswain_abi::regs::{CFG_BASE, dma_core, mme, tpc_cfg};
use coxswain_abi::soc::WriteKind;
use coxswain_core::ports::PostedWrites;
use coxswain_core::queue::{Blocked, QmanDescription, QueueEngine};

use super::board::{Board, Consequence, attributes, consequence};
use crate::machine::{Data, Waiting, Write};
use crate::memory::Memory;
use crate::scenario::Setup;

/// Rounds after which an engine that goes on counts as one that never rests.
const ROUNDS: usize = 20_000;

/// The queue engine under test.
pub struct EngineSide {
    engine: Box<QueueEngine>,
    /// Its board.
    pub board: Board,
    /// Bus writes since they were last taken.
    pub writes: Vec<Write>,
    /// Jobs that engines have.
    jobs: BTreeMap<usize, u32>,
    /// Engines that stopped.
    stopped: Vec<usize>,
}

impl EngineSide {
    /// An engine with these QMANs and this room for posted writes.
    pub fn new(setups: &[Setup], room: usize) -> Self {
        let mut engine = Box::new(QueueEngine::new());
        let mut registers = BTreeMap::new();
        for setup in setups {
            let kind = regs::engine_kind(setup.number);
            engine.add(QmanDescription {
                number: setup.number as u8,
                base: regs::base(setup.number),
                engine_base: regs::engine_base(setup.number),
                engine: kind,
                engine_depth: setup.engine_depth as u16,
            });
            registers.insert(regs::base(setup.number) + regs::GLBL_STS0, regs::STS0_IDLE);
            registers.insert(regs::base(setup.number) + regs::CGM_STS, regs::CGM_STS_IDLE);
        }
        let board = Board {
            registers,
            memory: Memory::default(),
            posted: VecDeque::new(),
            room,
            now: 0,
            reads: BTreeMap::new(),
            misuse: None,
        };
        let mut side = Self { engine, board, writes: vec![], jobs: BTreeMap::new(), stopped: vec![] };
        for setup in setups {
            side.publish_engine(setup.number);
        }
        side
    }

    /// Stores a register without an effect.
    pub fn set_register(&mut self, number: usize, offset: u32, value: u32) {
        self.board.registers.insert(regs::base(number) + offset, value);
    }

    /// Stores a register and tells the engine. Fence counters are the firmware's to publish.
    pub fn write_register(&mut self, number: usize, offset: u32, value: u32) {
        if !(regs::CP_FENCE0_CNT_0..regs::CP_STS_0).contains(&offset) {
            self.set_register(number, offset, value);
        }
        let upper = regs::PQ_PI_0..regs::PQ_PI_0 + 16;
        if upper.contains(&offset) {
            let bit = 4 * number + ((offset - upper.start) / 4) as usize;
            let mut bells = [0; 2];
            if let Some(half) = bells.get_mut(bit / 64) {
                *half = 1 << (bit % 64);
            }
            self.engine.on_doorbells(bells, &mut self.board);
        } else {
            self.engine.on_register_write(number, offset, value, &mut self.board);
        }
    }

    /// Clears bits of a cause register, which only the card does.
    pub fn clear_causes(&mut self, number: usize, stream: usize, causes: u32) {
        let offset = regs::base(number) + regs::GLBL_STS1_0 + 4 * stream as u32;
        if let Some(value) = self.board.registers.get_mut(&offset) {
            *value &= !causes;
        }
    }

    pub fn check_all_doorbells(&mut self) {
        self.engine.check_all_doorbells(&mut self.board);
    }

    pub fn fence(&mut self, number: usize, stream: usize, id: usize, increment: u8) {
        self.engine.on_fence(number, stream, id, increment, &mut self.board);
    }

    pub fn complete(&mut self, number: usize) {
        let jobs = self.jobs.entry(number).or_insert(0);
        if *jobs != 0 && !self.stopped.contains(&number) {
            *jobs -= 1;
            self.publish_engine(number);
            self.engine.on_engine_done(number, &mut self.board);
        }
    }

    pub fn fail_engine(&mut self, number: usize) {
        self.stopped.push(number);
        self.engine.on_engine_stopped(number);
    }

    pub fn fail_message(&mut self, number: usize, stream: usize) {
        self.engine.on_write_failed((8 * number + stream) as u8, &mut self.board);
    }

    pub fn pass_time(&mut self, microseconds: u64) {
        self.board.now += microseconds;
    }

    /// Jobs in flight.
    pub fn jobs(&self, number: usize) -> u32 {
        self.jobs.get(&number).copied().unwrap_or(0)
    }

    /// Rounds of the engine, after each of which the hardware takes some posted writes.
    pub fn run(&mut self, rounds: usize, writes: usize) {
        for _ in 0..rounds {
            self.engine.run(&mut self.board);
            self.take(writes);
        }
    }

    /// Until nothing happens any more; false when that never comes.
    pub fn run_to_rest(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let more = self.engine.run(&mut self.board);
            let taken = self.take(usize::MAX);
            if !more && taken == 0 {
                return true;
            }
        }
        false
    }

    /// The engine's events: bit per QMAN.
    pub fn take_events(&mut self) -> u32 {
        self.engine.take_errors()
    }

    /// Bit per QMAN that is stuck.
    pub fn stuck(&self) -> u32 {
        self.engine.stuck()
    }

    /// Why a stream waits, in the interpreter's terms.
    ///
    /// # Errors
    /// The engine's own word for a reason that the interpreter does not know.
    pub fn waiting(&self, number: usize, stream: usize) -> Result<Option<Waiting>, Blocked> {
        Ok(Some(match self.engine.blocked(number, stream) {
            None => return Ok(None),
            Some(Blocked::Fence { id, target }) => Waiting::Fence { id, target },
            Some(Blocked::Engine) => Waiting::Engine,
            Some(Blocked::Barrier) => Waiting::Barrier,
            Some(Blocked::LowerQueue) => Waiting::LowerQueue,
            Some(Blocked::Arbiter) => Waiting::Arbiter,
            Some(Blocked::Stopped) => Waiting::Stopped,
            Some(Blocked::Failed) => Waiting::Failed,
            Some(other) => return Err(other),
        }))
    }

    /// The hardware takes up to `limit` posted writes; how many it took.
    fn take(&mut self, limit: usize) -> usize {
        let mut taken = 0;
        while taken < limit
            && let Some(posted) = self.board.posted.pop_front()
        {
            taken += 1;
            let offset = posted.address.wrapping_sub(CFG_BASE) as u32;
            let registers = &mut self.board.registers;
            match posted.attributes.kind() {
                WriteKind::Bus => {
                    let data = if posted.attributes.timestamp() { Data::Time } else { Data::Value(posted.data) };
                    let write = Write { address: posted.address, data, attributes: attributes(posted.attributes) };
                    // What the firmware writes for itself is no packet's.
                    if posted.attributes != coxswain_abi::soc::Attributes::CPU {
                        self.writes.push(write);
                    }
                    self.pass_on(&write);
                }
                WriteKind::Status => _ = registers.insert(offset, posted.data),
                WriteKind::SetBits => *registers.entry(offset).or_insert(0) |= posted.data,
                WriteKind::ClearBits => *registers.entry(offset).or_insert(0) &= !posted.data,
            }
        }
        taken
    }

    fn pass_on(&mut self, write: &Write) {
        match consequence(write) {
            Some(Consequence::Fence { number, stream, id, increment }) => self.fence(number, stream, id, increment),
            Some(Consequence::Arbiter { number, offset, value }) => self.write_register(number, offset, value),
            Some(Consequence::Job { number }) => {
                *self.jobs.entry(number).or_insert(0) += 1;
                self.publish_engine(number);
            }
            None => {}
        }
    }

    /// The engine's own idle bits.
    fn publish_engine(&mut self, number: usize) {
        let idle = self.jobs(number) == 0;
        let (offset, value) = match regs::engine_kind(number) {
            EngineKind::Dma => (dma_core::STS0, u32::from(!idle) << 31),
            EngineKind::Tpc => (tpc_cfg::STATUS, if idle { tpc_cfg::STATUS_IDLE } else { 0 }),
            EngineKind::Mme => (mme::ARCH_STATUS, mme::ARCH_STATUS_IDLE),
        };
        self.board.registers.insert(regs::engine_base(number) + offset, value);
    }

    /// Makes everything posted visible; the board here has nothing to do for it.
    pub fn flush(&mut self) {
        self.board.flush();
    }
}
