//! Queue managers that cost next to nothing: the interpreter serves a card's queues in place of the management CPU.
//!
//! For: the ceiling that the firmware is measured against. Everything but the queue managers is as it always is - driver,
//! trapped accesses, the card's engines and their transfers, the control queue served by the firmware - so what a
//! submission costs more with the firmware is the price of the queue managers on the emulated processor. It also lets the
//! driver try the interpreter itself.
//!
//! It owns one [`Machine`] per QMAN: they reach each other by bus writes only. It publishes status registers when
//! everything has come to rest. It never raises events of the driver and captures no faults of the MMU: a queue that fails
//! sets its cause and stops, and the job ends by the driver's own time-out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman::{self as regs, EngineKind, STREAMS, cause};
use coxswain_abi::soc::{self, Notification, PostedWrite, QMANS, WriteKind, bar0, info, initiator};
use coxswain_card::Card;
use coxswain_card::soc::{CardView, QueueNews, QueuePort, QueueServer, QueueThread, Turn};

use crate::machine::{Attributes, Data, Description, Machine, Source, StatusRegister, Write};

/// Launches that a TPC accepts, the one in execution included (`gaudi-mmu-sync.md` 4.1).
const TPC_DEPTH: u32 = 4;
/// Packets and buffers in one access; only programs that start each other for ever come here.
const STEPS_PER_TURN: usize = 100_000;

/// Serves all QMANs of a card.
pub struct Ceiling {
    qmans: Vec<Served>,
    began: Instant,
    /// Bit n: QMAN n may be able to go on.
    ready: u32,
    /// Bit n: status of QMAN n may have changed.
    changed: u32,
    /// The stream that is tried first, so that none is always behind.
    turn: usize,
}

/// One QMAN.
struct Served {
    number: usize,
    machine: Machine,
    /// Device time at which the machine stands, in nanoseconds.
    now: u64,
    published: BTreeMap<StatusRegister, u32>,
}

impl Ceiling {
    /// Takes the queue managers of `card` over from its management CPU, before the host uses them.
    ///
    /// # Errors
    /// The card's information page cannot be read.
    pub fn attach(card: &Card, thread: QueueThread) -> anyhow::Result<()> {
        let behind =
            card.memories().soc.read_u32(bar0::INFO + info::DMA_QUEUE_DEPTH).context("the information page")?;
        let ceiling = Self::new(card.soc().view(), behind + 1);
        card.soc().serve_queues_with(Box::new(ceiling), thread);
        Ok(())
    }

    /// Queue managers that read through `view`, for DMA cores that accept `dma_depth` descriptors, the one in execution
    /// included.
    #[must_use]
    pub fn new(view: CardView, dma_depth: u32) -> Self {
        let source: Arc<dyn Source> = Arc::new(View(view));
        let serve = |number| {
            let engine_depth = match regs::engine_kind(number) {
                EngineKind::Dma => dma_depth,
                EngineKind::Tpc => TPC_DEPTH,
                EngineKind::Mme => 0,
            };
            Served::new(Description { number, engine_depth }, source.clone())
        };
        Self { qmans: (0..QMANS).map(serve).collect(), began: Instant::now(), ready: 0, changed: 0, turn: 0 }
    }

    fn hear(&mut self, news: QueueNews, port: &QueuePort<'_>) {
        let QueueNews::Notification(notification) = news else {
            self.qmans.iter_mut().for_each(Served::reset);
            (self.ready, self.changed) = (0, 0);
            return;
        };
        let number = match notification {
            Notification::RegisterWrite { offset, .. } => regs::find(offset).map_or(QMANS, |(number, _)| number),
            Notification::Fence { qman, .. } => usize::from(qman),
            Notification::EngineDone { engine } | Notification::EngineError { engine, .. } => usize::from(engine),
            Notification::WriteFailed { initiator, .. } => usize::from(initiator >> 3),
            _ => QMANS,
        };
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Some(served) = self.qmans.get_mut(number) else { return };
        served.pass_time(now);
        served.hear(notification, port);
        self.ready |= 1 << number;
        self.changed |= 1 << number;
    }

    /// One step of every QMAN that is ready.
    fn step(&mut self, port: &QueuePort<'_>) {
        let (turn, ready) = (&mut self.turn, self.ready);
        for served in self.qmans.iter_mut().filter(|served| ready >> served.number & 1 == 1) {
            let mut choose = |limit: usize| {
                *turn = turn.wrapping_add(1);
                *turn % limit.max(1)
            };
            if !served.machine.run(1, &mut choose) {
                self.ready &= !(1 << served.number);
            }
            // Bus writes are over before the next packet, also of another stream, is looked at.
            let writes: Vec<PostedWrite> = served.machine.take_writes().iter().map(posted).collect();
            port.post(&writes);
            served.machine.take_events();
        }
    }
}

impl QueueServer for Ceiling {
    fn serve(&mut self, port: &QueuePort<'_>) -> Turn {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for served in self.qmans.iter_mut().filter(|served| served.machine.has_timers()) {
            served.pass_time(now);
            self.ready |= 1 << served.number;
            self.changed |= 1 << served.number;
        }
        for _ in 0..STEPS_PER_TURN {
            for news in port.take_news() {
                self.hear(news, port);
            }
            if self.ready == 0 {
                for served in self.qmans.iter_mut().filter(|served| self.changed >> served.number & 1 == 1) {
                    served.publish(port);
                }
                self.changed = 0;
                let waits = self.qmans.iter().any(|served| served.machine.has_timers());
                return if waits { Turn::Waiting } else { Turn::Done };
            }
            self.step(port);
        }
        Turn::Unfinished
    }
}

impl Served {
    fn new(description: Description, source: Arc<dyn Source>) -> Self {
        let mut machine = Machine::new(&[description]);
        machine.source = Some(source);
        Self { number: description.number, machine, now: 0, published: BTreeMap::new() }
    }

    fn reset(&mut self) {
        self.machine = self.machine.after_reset();
        (self.now, self.published) = (0, BTreeMap::new());
    }

    fn pass_time(&mut self, now: u64) {
        self.machine.pass_time(now.saturating_sub(self.now));
        self.now = now;
    }

    fn hear(&mut self, notification: Notification, port: &QueuePort<'_>) {
        match notification {
            Notification::RegisterWrite { offset, value, .. } => {
                self.machine.write_register(self.number, offset - regs::base(self.number), value);
            }
            Notification::Fence { stream, fence, increment, .. } => {
                let offset = regs::CP_FENCE0_RDATA_0 + regs::FENCE_STRIDE * u32::from(fence) + 4 * u32::from(stream);
                self.machine.write_register(self.number, offset, u32::from(increment));
            }
            Notification::EngineDone { .. } => self.machine.engine_done(self.number),
            Notification::EngineError { stopped: true, .. } => self.machine.engine_failed(self.number),
            // Of the streams only; their engines report for themselves.
            Notification::WriteFailed { initiator, .. } if usize::from(initiator & 7) < STREAMS => {
                let stream = usize::from(initiator & 7);
                self.machine.message_failed(self.number, stream);
                // The card drops what the stream wrote since, until the error is recorded.
                port.post(&[self.status(regs::GLBL_STS1_0 + 4 * stream as u32, cause::MSG_WR, WriteKind::SetBits)]);
            }
            _ => {}
        }
    }

    /// Publishes the status registers that have changed; causes by setting their bits, which the host clears.
    fn publish(&mut self, port: &QueuePort<'_>) {
        let status = self.machine.status(self.number);
        let causes = regs::GLBL_STS1_0..regs::GLBL_STS1_0 + 4 * STREAMS as u32;
        let mut writes = vec![];
        for (&offset, &value) in &status {
            let before = self.published.get(&offset).copied();
            if before == Some(value) {
                continue;
            }
            if causes.contains(&offset) || offset == regs::ARB_ERR_CAUSE {
                let new = value & !before.unwrap_or(0);
                if new != 0 {
                    writes.push(self.status(offset, new, WriteKind::SetBits));
                }
            } else {
                writes.push(self.status(offset, value, WriteKind::Status));
            }
        }
        self.published = status;
        port.post(&writes);
    }

    fn status(&self, offset: u32, data: u32, kind: WriteKind) -> PostedWrite {
        let address = CFG_BASE + u64::from(regs::base(self.number) + offset);
        PostedWrite { address, data, attributes: soc::Attributes::CPU.with_kind(kind) }
    }
}

/// The card as the interpreter's memory and registers.
#[derive(Debug)]
struct View(CardView);

impl Source for View {
    fn read(&self, address: u64, length: usize, attributes: Attributes) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read(address, &mut bytes, access(attributes)).ok().map(|()| bytes)
    }

    fn register(&self, number: usize, offset: u32) -> u32 {
        self.0.register(regs::base(number) + offset)
    }
}

fn access(attributes: Attributes) -> soc::Attributes {
    let Attributes { secure, bypass, asid, qman, stream } = attributes;
    soc::Attributes::new(secure, bypass, asid, initiator(qman, stream))
}

fn posted(write: &Write) -> PostedWrite {
    let attributes = access(write.attributes);
    match write.data {
        Data::Value(data) => PostedWrite { address: write.address, data, attributes },
        Data::Time => PostedWrite { address: write.address, data: 0, attributes: attributes.with_timestamp() },
    }
}
