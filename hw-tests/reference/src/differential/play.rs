//! Plays the steps of a scenario on both sides.

use std::collections::BTreeMap;

use coxswain_abi::regs::qman::{self as regs, LOWER};

use super::compare::{Arbitrated, compare};
use super::configure;
use super::engine_side::EngineSide;
use super::reference_side::ReferenceSide;
use super::{Coverage, Disagreement};
use crate::scenario::place::Placer;
use crate::scenario::{Program, Scenario, Setup, Step};

/// Completions before a comparison; more than any scenario starts.
const JOBS: usize = 100_000;

/// A scenario in progress.
pub struct Player<'a> {
    scenario: &'a Scenario,
    engine: EngineSide,
    reference: ReferenceSide,
    placer: Placer,
    /// The host's producer index, and the consumer index when it was last known.
    indices: BTreeMap<(usize, usize), (u32, u32)>,
    /// QMANs whose lower CP several streams use.
    crowded: Vec<usize>,
    arbitrated: Arbitrated,
    coverage: Coverage,
    step: usize,
}

impl<'a> Player<'a> {
    /// Both sides with the scenario's QMANs, enabled.
    pub fn new(scenario: &'a Scenario) -> Self {
        let setups = &scenario.qmans;
        let mut player = Self {
            scenario,
            engine: EngineSide::new(setups, scenario.room),
            reference: ReferenceSide::new(setups, scenario.seed),
            placer: Placer::default(),
            indices: BTreeMap::new(),
            crowded: scenario.crowded().into_iter().map(|index| setups[index].number).collect(),
            arbitrated: Arbitrated::new(),
            coverage: Coverage::default(),
            step: 0,
        };
        for (identity, setup) in (0..).zip(setups) {
            for (offset, value) in configure::registers(setup, identity, setups) {
                player.set_register(setup.number, offset, value);
            }
            for stream in 0..LOWER {
                let bytes = vec![0; 16 << setup.ring_log2];
                player.put(configure::ring(setup.number, stream), bytes);
            }
            player.write_register(setup.number, regs::GLBL_CFG0, configure::enables(setup, 0xF));
        }
        player
    }

    /// Plays all steps.
    pub fn play(mut self) -> Result<Coverage, Disagreement> {
        let result = (|| {
            self.settle()?;
            for (index, step) in self.scenario.steps.iter().enumerate() {
                self.step = index;
                if self.needs_rest(step) {
                    self.settle()?;
                }
                self.apply(step)?;
                // What a happening lets an arbiter decide does not wait for the next submission.
                if self.scenario.arbitrates() && !matches!(step, Step::Submit { .. }) {
                    self.settle()?;
                }
            }
            self.step = self.scenario.steps.len();
            self.settle()
        })();
        match result {
            Ok(()) => Ok(self.coverage),
            Err(what) => Err(Disagreement { step: self.step, what }),
        }
    }

    /// True for steps whose effect depends on how far the streams are.
    fn needs_rest(&self, step: &Step) -> bool {
        match step {
            Step::Submit { .. } | Step::CheckDoorbells => false,
            Step::Run { .. } | Step::Settle => false,
            Step::Fence { id, .. } => *id == 3 || self.scenario.strict,
            Step::Complete { .. } | Step::Pause { .. } => self.scenario.strict,
            Step::Stop { streams, .. } => *streams != 0 || self.scenario.strict,
            _ => true,
        }
    }

    fn setup(&self, qman: usize) -> Setup {
        self.scenario.qmans[qman]
    }

    fn apply(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Submit { qman, stream, program, rings } => self.submit(*qman, *stream, program, *rings),
            Step::CheckDoorbells => {
                self.engine.check_all_doorbells();
                for setup in &self.scenario.qmans {
                    for stream in 0..LOWER {
                        let index = self.engine.board.registers.get(&(regs::base(setup.number) + pi(stream)));
                        let index = index.copied().unwrap_or(0);
                        self.reference.machine.write_register(setup.number, pi(stream), index);
                    }
                }
            }
            Step::Fence { qman, stream, id, increment } => {
                let number = self.setup(*qman).number;
                self.engine.fence(number, *stream, *id, *increment);
                let offset = regs::CP_FENCE0_RDATA_0 + regs::FENCE_STRIDE * *id as u32 + 4 * *stream as u32;
                self.reference.machine.write_register(number, offset, u32::from(*increment));
            }
            Step::SetFence { qman, stream, id, value } => {
                let offset = regs::CP_FENCE0_CNT_0 + regs::FENCE_STRIDE * *id as u32 + 4 * *stream as u32;
                self.write_register(self.setup(*qman).number, offset, *value);
            }
            Step::Complete { qman } => {
                self.engine.complete(self.setup(*qman).number);
                self.reference.complete(self.setup(*qman).number);
            }
            Step::FailEngine { qman } => {
                self.engine.fail_engine(self.setup(*qman).number);
                self.reference.machine.engine_failed(self.setup(*qman).number);
            }
            Step::Stop { qman, streams } => self.stop(*qman, *streams),
            Step::Pause { qman, streams } => {
                let before = self.register(*qman, regs::GLBL_CFG1);
                self.stop(*qman, *streams | (before >> 9) as u8);
                self.engine.run(3, 16);
                self.reference.run(10);
                self.write_register(self.setup(*qman).number, regs::GLBL_CFG1, before);
            }
            Step::Enable { qman, streams } => self.enable(*qman, *streams)?,
            Step::StartLower { qman, program } => self.start_lower(*qman, program),
            Step::FailMessage { qman, stream } => {
                self.engine.fail_message(self.setup(*qman).number, *stream);
                self.reference.machine.message_failed(self.setup(*qman).number, *stream);
            }
            Step::BadProducer { qman, stream, excess } => self.bad_producer(*qman, *stream, *excess),
            Step::LoseRing { qman, stream } => {
                let ring = configure::ring(self.setup(*qman).number, *stream);
                self.engine.board.memory.remove(ring);
                self.reference.machine.memory.remove(ring);
            }
            Step::ClearCauses { qman, stream } => {
                let number = self.setup(*qman).number;
                self.engine.clear_causes(number, *stream, u32::MAX);
                let offset = regs::GLBL_STS1_0 + 4 * *stream as u32;
                self.reference.machine.write_register(number, offset, u32::MAX);
            }
            Step::Arbiter { qman, config, weights, slaves } => {
                let number = self.setup(*qman).number;
                for (stream, weight) in (0..).zip(weights) {
                    self.write_register(number, regs::ARB_WRR_WEIGHT_0 + 4 * stream, u32::from(*weight));
                }
                let existing = (1 << self.scenario.qmans.len()) - 1;
                self.write_register(number, regs::ARB_MST_SLAVE_EN, u32::from(*slaves) & existing);
                self.write_register(number, regs::ARB_CFG_0, *config);
                self.arbitrated.remove(qman);
                if config >> 8 & 1 == 1 {
                    self.arbitrated.insert(*qman, !(config >> 12) as u8 & 0xF);
                }
            }
            Step::Choose { qman, stream } => {
                self.write_register(self.setup(*qman).number, regs::ARB_CHOISE_Q_PUSH, *stream as u32);
            }
            Step::Time { milliseconds } => {
                self.engine.pass_time(u64::from(*milliseconds) * 1000);
                self.reference.machine.pass_time(u64::from(*milliseconds) * 1_000_000);
            }
            Step::Run { .. } if self.scenario.strict => {}
            Step::Run { rounds, writes, steps } => {
                self.engine.run(usize::from(*rounds), usize::from(*writes));
                self.reference.run(usize::from(*steps));
            }
            Step::Settle => self.settle()?,
        }
        Ok(())
    }

    /// Both sides come to rest and are compared.
    fn settle(&mut self) -> Result<(), String> {
        self.rest()?;
        if !self.scenario.strict {
            self.finish_jobs()?;
        }
        let setups = &self.scenario.qmans;
        compare(setups, &self.crowded, &self.arbitrated, &mut self.engine, &mut self.reference, &mut self.coverage)?;
        for setup in setups {
            for stream in 0..LOWER {
                let consumer = self.reference.machine.consumer(setup.number, stream);
                self.indices.entry((setup.number, stream)).or_insert((0, 0)).1 = consumer;
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), String> {
        self.reference.run_to_rest();
        self.engine.flush();
        if self.engine.run_to_rest() { Ok(()) } else { Err("the engine never comes to rest".to_owned()) }
    }

    /// All jobs of engines that work complete.
    fn finish_jobs(&mut self) -> Result<(), String> {
        for _ in 0..JOBS {
            let mut left = false;
            for setup in &self.scenario.qmans {
                let number = setup.number;
                if !self.reference.machine.is_engine_stopped(number) {
                    left |= self.engine.jobs(number) != 0 || self.reference.machine.jobs(number) != 0;
                    self.engine.complete(number);
                    self.reference.complete(number);
                }
            }
            if !left {
                return Ok(());
            }
            self.rest()?;
        }
        Err("jobs never end".to_owned())
    }

    fn submit(&mut self, qman: usize, stream: usize, program: &Program, rings: bool) {
        let setup = self.setup(qman);
        let number = setup.number;
        let (producer, consumer) = self.indices.get(&(number, stream)).copied().unwrap_or((0, 0));
        let entries = 1u32 << setup.ring_log2;
        let full = (producer + 2 * entries - consumer) % (2 * entries) >= entries;
        if full || !self.reference.machine.is_enabled(number, stream) {
            return;
        }
        let (address, size) = self.place(program);
        let slot = configure::ring(number, stream) + 16 * u64::from(producer % entries);
        // The control word is a host's bookkeeping.
        let entry = [address.to_le_bytes(), (u64::from(size) | 0xABCD << 32).to_le_bytes()].concat();
        self.engine.board.memory.write(slot, &entry);
        self.reference.machine.memory.write(slot, &entry);
        let producer = (producer + 1) % (2 * entries);
        self.indices.insert((number, stream), (producer, consumer));
        if rings {
            self.write_register(number, pi(stream), producer);
        } else {
            self.set_register(number, pi(stream), producer);
        }
    }

    fn stop(&mut self, qman: usize, streams: u8) {
        let number = self.setup(qman).number;
        let enabled = (0..=LOWER).filter(|stream| self.reference.machine.is_enabled(number, *stream));
        let mask = enabled.fold(0, |mask, stream| mask | 1 << stream);
        self.write_register(number, regs::GLBL_CFG1, u32::from(streams & mask) << 9);
    }

    /// GLBL_CFG0, when no job is in flight and no engine has stopped.
    fn enable(&mut self, qman: usize, streams: u8) -> Result<(), String> {
        let setup = self.setup(qman);
        if self.reference.machine.is_engine_stopped(setup.number) {
            return Ok(());
        }
        self.finish_jobs()?;
        self.settle()?;
        self.write_register(setup.number, regs::GLBL_CFG1, 0);
        self.settle()?;
        self.finish_jobs()?;
        for stream in 0..LOWER {
            if !self.reference.machine.is_enabled(setup.number, stream) {
                self.set_register(setup.number, pi(stream), 0);
                self.indices.insert((setup.number, stream), (0, 0));
            }
        }
        self.write_register(setup.number, regs::GLBL_CFG0, configure::enables(&setup, streams));
        Ok(())
    }

    fn start_lower(&mut self, qman: usize, program: &Program) {
        let number = self.setup(qman).number;
        if self.reference.machine.lower_waiting(number) == crate::machine::LOWER_QUEUE_DEPTH {
            return;
        }
        let (address, size) = self.place(program);
        let group = regs::CQ_STRIDE * LOWER as u32;
        for (offset, value) in [
            (regs::CQ_PTR_LO_0, address as u32),
            (regs::CQ_PTR_HI_0, (address >> 32) as u32),
            (regs::CQ_TSIZE_0, size),
            (regs::CQ_CTL_0, 0),
        ] {
            self.write_register(number, offset + group, value);
        }
    }

    fn bad_producer(&mut self, qman: usize, stream: usize, excess: u32) {
        let setup = self.setup(qman);
        let entries = 1u32 << setup.ring_log2;
        let (_, consumer) = self.indices.get(&(setup.number, stream)).copied().unwrap_or((0, 0));
        if !self.reference.machine.is_enabled(setup.number, stream) {
            return;
        }
        let index = if entries > 1 && excess.is_multiple_of(2) {
            (consumer + entries + 1 + excess % (entries - 1)) % (2 * entries)
        } else {
            2 * entries + excess
        };
        self.write_register(setup.number, pi(stream), index);
    }

    fn place(&mut self, program: &Program) -> (u64, u32) {
        let placed = self.placer.program(program);
        for (address, bytes) in std::mem::take(&mut self.placer.regions) {
            self.put(address, bytes);
        }
        placed
    }

    fn put(&mut self, address: u64, bytes: Vec<u8>) {
        self.engine.board.memory.put(address, bytes.clone());
        self.reference.machine.memory.put(address, bytes);
    }

    fn register(&self, qman: usize, offset: u32) -> u32 {
        self.engine.board.registers.get(&(regs::base(self.setup(qman).number) + offset)).copied().unwrap_or(0)
    }

    fn set_register(&mut self, number: usize, offset: u32, value: u32) {
        self.engine.set_register(number, offset, value);
        self.reference.machine.set_register(number, offset, value);
    }

    fn write_register(&mut self, number: usize, offset: u32, value: u32) {
        self.engine.write_register(number, offset, value);
        self.reference.machine.write_register(number, offset, value);
    }
}

/// PQ_PI of a stream.
fn pi(stream: usize) -> u32 {
    regs::PQ_PI_0 + 4 * stream as u32
}
