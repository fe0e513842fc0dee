//! The interpreter: QMANs as plain state, one packet at a time (`qman.md`).
//!
//! For reading, not for speed: every rule stands where the document has it, nothing is cached, nothing is woken - a stream
//! that can go on is found by trying it. It consumes programs (bytes in a [`Memory`]) and happenings (the methods of
//! [`Machine`]), and produces what can be observed: bus writes in order, jobs started, cause bits, status registers, and why
//! each stream waits.
//!
//! It owns no bus: a write to a fence counter of another stream comes back as a happening, from whoever plays the card.
//!
//! * [`stream`] - state of one stream.
//! * [`execute`] - what each packet does.
//! * [`arbiter`] - who may pass an ARB_POINT.
//! * [`control`] - register writes by host and messages.
//! * [`status`] - what a host reads.
//! * [`source`] - registers and memory of a card in place of the machine's own.

pub mod arbiter;
mod control;
mod execute;
mod source;
mod status;
pub mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use coxswain_abi::regs::qman::{self as regs, EngineKind, LOWER, STREAMS, cause};

use crate::memory::Memory;
use arbiter::Arbiter;
pub use source::Source;
pub use status::StatusRegister;
use stream::{Buffer, Stream, Timer};
pub use stream::{Unit, Waiting};

/// Buffers that the input queue of the lower CP holds (`qman.md` 4).
pub const LOWER_QUEUE_DEPTH: usize = 3;

/// What is fixed about a QMAN.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Number on the card: 0..=7 DMA, 8..=15 TPC, 16 and 17 MME.
    pub number: usize,
    /// Jobs that the engine holds, the one in execution included.
    pub engine_depth: u32,
}

/// Attributes of an access (`qman.md` 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// Secure.
    pub secure: bool,
    /// MMU bypass.
    pub bypass: bool,
    /// Address space when not in bypass.
    pub asid: u32,
    /// QMAN of the initiator.
    pub qman: usize,
    /// Stream of the initiator, 4 = lower CP.
    pub stream: usize,
}

/// What a bus write carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// This value.
    Value(u32),
    /// The device's time when the write is carried out.
    Time,
}

/// A 32-bit write on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Device address.
    pub address: u64,
    /// Data.
    pub data: Data,
    /// Who writes, and how.
    pub attributes: Attributes,
}

/// One QMAN.
#[derive(Debug, Clone)]
pub struct Qman {
    description: Description,
    /// Registers as the host wrote them, by offset in the block.
    registers: BTreeMap<u32, u32>,
    streams: [Stream; STREAMS],
    /// Buffers that wait for the lower CP.
    lower_queue: VecDeque<Buffer>,
    /// Jobs given to the engine and not reported done.
    jobs: u32,
    /// The engine stopped with an error.
    engine_stopped: bool,
    arbiter: Arbiter,
    arbiter_causes: u32,
}

/// Some QMANs and the memory that their programs are in.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Memory that PQs, command buffers and loads read.
    pub memory: Memory,
    qmans: BTreeMap<usize, Qman>,
    /// Device time in nanoseconds.
    now: u64,
    writes: Vec<Write>,
    reads: BTreeMap<u64, BTreeSet<Attributes>>,
    events: BTreeSet<usize>,
    /// A card that holds registers and memory; `None`: they are here.
    pub source: Option<Arc<dyn Source>>,
}

impl Machine {
    /// QMANs after a reset, with every register 0.
    #[must_use]
    pub fn new(descriptions: &[Description]) -> Self {
        let qmans = descriptions.iter().map(|description| (description.number, Qman::new(*description))).collect();
        Self {
            memory: Memory::default(),
            qmans,
            now: 0,
            writes: vec![],
            reads: BTreeMap::new(),
            events: BTreeSet::new(),
            source: None,
        }
    }

    /// Takes the bus writes since the last call, in order.
    pub fn take_writes(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.writes)
    }

    /// Takes the QMANs that reported an error since the last call.
    pub fn take_events(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.events)
    }

    /// Attributes with which each region of memory was read, by the region's address.
    #[must_use]
    pub fn reads(&self) -> &BTreeMap<u64, BTreeSet<Attributes>> {
        &self.reads
    }

    /// Jobs in flight in the engine of a QMAN.
    #[must_use]
    pub fn jobs(&self, number: usize) -> u32 {
        self.qmans.get(&number).map_or(0, |qman| qman.jobs)
    }

    /// Buffers that wait for a lower CP.
    #[must_use]
    pub fn lower_waiting(&self, number: usize) -> usize {
        self.qmans.get(&number).map_or(0, |qman| qman.lower_queue.len())
    }

    /// True when a stream is enabled.
    #[must_use]
    pub fn is_enabled(&self, number: usize, stream: usize) -> bool {
        self.stream(number, stream).is_some_and(|stream| stream.enabled)
    }

    /// Consumer index of a PQ.
    #[must_use]
    pub fn consumer(&self, number: usize, stream: usize) -> u32 {
        self.stream(number, stream).map_or(0, |stream| stream.consumer)
    }

    /// Why a stream waits; `None` when it has nothing to do. Meaningful at rest.
    #[must_use]
    pub fn waiting(&self, number: usize, stream: usize) -> Option<Waiting> {
        let state = self.stream(number, stream)?;
        if state.failed.contains(&Unit::Cp) || state.failed.contains(&Unit::Cqf) {
            return Some(Waiting::Failed);
        }
        if state.failed.contains(&Unit::Pqf) && state.buffer.is_none() {
            return Some(Waiting::Failed);
        }
        state.waiting
    }

    /// True when the engine of a QMAN stopped.
    #[must_use]
    pub fn is_engine_stopped(&self, number: usize) -> bool {
        self.qmans.get(&number).is_some_and(|qman| qman.engine_stopped)
    }

    /// True when a stream or the engine of a QMAN stopped because of an error or a STOP packet.
    #[must_use]
    pub fn is_stuck(&self, number: usize) -> bool {
        let Some(qman) = self.qmans.get(&number) else { return false };
        qman.engine_stopped || qman.streams.iter().any(|state| !state.failed.is_empty())
    }

    /// All causes that a stream has raised and nobody cleared.
    #[must_use]
    pub fn causes(&self, number: usize, stream: usize) -> u32 {
        self.stream(number, stream).map_or(0, |state| state.causes)
    }

    /// True when GLBL_CFG1 stops the command processor of a stream.
    #[must_use]
    pub fn is_stop_requested(&self, number: usize, stream: usize) -> bool {
        self.register(number, regs::GLBL_CFG1) >> (Unit::Cp.first_bit() + stream) & 1 == 1
    }

    /// Stores a register without an effect, as a host does before it enables a QMAN or when its doorbell is lost.
    pub fn set_register(&mut self, number: usize, offset: u32, value: u32) {
        if let Some(qman) = self.qmans.get_mut(&number) {
            qman.registers.insert(offset, value);
        }
    }

    /// A job of the engine is done.
    pub fn engine_done(&mut self, number: usize) {
        if let Some(qman) = self.qmans.get_mut(&number) {
            qman.jobs = qman.jobs.saturating_sub(1);
        }
    }

    /// The engine stopped with an error: no job completes any more, BUSY stays 1 (`qman.md` 7.3).
    pub fn engine_failed(&mut self, number: usize) {
        if let Some(qman) = self.qmans.get_mut(&number) {
            qman.engine_stopped = true;
        }
    }

    /// A message of a stream was answered with an error.
    pub fn message_failed(&mut self, number: usize, stream: usize) {
        self.raise(number, stream, cause::MSG_WR);
    }

    /// Time goes on; increments of WAIT packets that are due take place.
    pub fn pass_time(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        let mut due = vec![];
        for (number, qman) in &mut self.qmans {
            for (stream, state) in qman.streams.iter_mut().enumerate() {
                let now = self.now;
                due.extend(state.timers.iter().filter(|timer| timer.due <= now).map(|timer| (*number, stream, *timer)));
                state.timers.retain(|timer| timer.due > now);
            }
        }
        for (number, stream, Timer { id, increment, .. }) in due {
            self.increment_fence(number, stream, id, increment);
        }
    }

    /// Lets streams go on until all wait or have nothing to do. `choose` picks the stream that is tried next, as a number
    /// below its argument: the order between streams is free.
    pub fn run_to_rest(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        while self.run(usize::MAX, choose) {}
    }

    /// At most `steps` steps; true when it stopped because they were used up.
    pub fn run(&mut self, steps: usize, choose: &mut dyn FnMut(usize) -> usize) -> bool {
        let places: Vec<(usize, usize)> =
            self.qmans.keys().flat_map(|number| (0..STREAMS).map(|stream| (*number, stream))).collect();
        for _ in 0..steps {
            let first = choose(places.len());
            let moved = (0..places.len()).any(|offset| {
                let (number, stream) = places[(first + offset) % places.len()];
                self.step(number, stream)
            });
            if !moved && !self.decide() {
                return false;
            }
        }
        true
    }

    /// Arbiters decide when no stream can go on (`qman.md` 6.2). True when one granted.
    fn decide(&mut self) -> bool {
        let numbers: Vec<usize> = self.qmans.keys().copied().collect();
        numbers.into_iter().any(|number| self.arbitrate(number))
    }

    fn stream(&self, number: usize, stream: usize) -> Option<&Stream> {
        self.qmans.get(&number)?.streams.get(stream)
    }

    fn stream_mut(&mut self, number: usize, stream: usize) -> Option<&mut Stream> {
        self.qmans.get_mut(&number)?.streams.get_mut(stream)
    }

    fn register(&self, number: usize, offset: u32) -> u32 {
        if let Some(source) = &self.source {
            return source.register(number, offset);
        }
        self.qmans.get(&number).and_then(|qman| qman.registers.get(&offset)).copied().unwrap_or(0)
    }

    fn register64(&self, number: usize, low: u32, high: u32) -> u64 {
        u64::from(self.register(number, low)) | u64::from(self.register(number, high)) << 32
    }

    /// Attributes of an access of stream `stream` under its secure or its non-secure properties.
    fn attributes(&self, number: usize, stream: usize, secure: bool) -> Attributes {
        let block = if secure { regs::GLBL_SECURE_PROPS_0 } else { regs::GLBL_NON_SECURE_PROPS_0 };
        let properties = self.register(number, block + 4 * stream as u32);
        Attributes { secure, bypass: properties >> 10 & 1 == 1, asid: properties & 0x3FF, qman: number, stream }
    }

    /// Bit `bit` of GLBL_PROT.
    fn is_secure(&self, number: usize, bit: usize) -> bool {
        self.register(number, regs::GLBL_PROT) >> bit & 1 == 1
    }

    /// Reads memory as an initiator.
    fn read(&mut self, address: u64, length: usize, attributes: Attributes) -> Option<Vec<u8>> {
        if let Some(source) = &self.source {
            return source.read(address, length, attributes);
        }
        if let Some((region, _)) = self.memory.region(address) {
            self.reads.entry(region).or_default().insert(attributes);
        }
        self.memory.read(address, length).map(<[u8]>::to_vec)
    }

    fn write(&mut self, address: u64, data: Data, attributes: Attributes) {
        self.writes.push(Write { address, data, attributes });
    }

    /// Raises a cause: GLBL_STS1, the event, and the stop of the unit that failed (`qman.md` 7). True when it stopped.
    fn raise(&mut self, number: usize, stream: usize, cause: u32) -> bool {
        let unit = match cause {
            cause::PQF_RD => Unit::Pqf,
            cause::CQF_RD => Unit::Cqf,
            _ => Unit::Cp,
        };
        let bit = unit.first_bit() + stream;
        let config = self.register(number, regs::GLBL_ERR_CFG);
        let enables = if stream == LOWER { regs::GLBL_MSG_EN_4 } else { regs::GLBL_MSG_EN_0 + 4 * stream as u32 };
        let reported = config >> bit & 1 == 1 && self.register(number, enables) & cause != 0;
        let stops = config >> (16 + bit) & 1 == 1 || cause == cause::STOP_OP;
        let Some(state) = self.stream_mut(number, stream) else { return false };
        // Once per new cause.
        let new = state.causes & cause == 0;
        state.causes |= cause;
        if stops {
            state.failed.insert(unit);
        }
        if reported && new {
            self.events.insert(number);
        }
        stops
    }

    /// A counter was written: a packet that waits for it is tried again as a whole.
    fn retry_fence(&mut self, number: usize, stream: usize, written: usize) {
        if let Some(state) = self.stream_mut(number, stream)
            && matches!(state.waiting, Some(Waiting::Fence { id, .. }) if usize::from(id) == written)
        {
            state.waiting = None;
        }
    }

    fn increment_fence(&mut self, number: usize, stream: usize, id: usize, increment: u32) {
        self.retry_fence(number, stream, id);
        let Some(counter) = self.stream_mut(number, stream).and_then(|state| state.fences.get_mut(id)) else { return };
        *counter += increment;
        if *counter > stream::FENCE_MAX {
            *counter = stream::FENCE_MAX;
            self.raise(number, stream, cause::FENCE0_OVF << id);
        }
    }
}

impl Qman {
    fn new(description: Description) -> Self {
        Self {
            description,
            registers: BTreeMap::new(),
            streams: std::array::from_fn(|_| Stream::default()),
            lower_queue: VecDeque::new(),
            jobs: 0,
            engine_stopped: false,
            arbiter: Arbiter::default(),
            arbiter_causes: 0,
        }
    }

    fn kind(&self) -> EngineKind {
        regs::engine_kind(self.description.number)
    }

    /// EB opens.
    fn engine_idle(&self) -> bool {
        self.jobs == 0 && !self.engine_stopped
    }

    /// A job can be started.
    fn engine_has_room(&self) -> bool {
        self.jobs < self.description.engine_depth && !self.engine_stopped
    }
}
