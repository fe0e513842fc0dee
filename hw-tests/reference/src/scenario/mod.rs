//! Scenarios: programs and happenings for a few QMANs.
//!
//! A scenario is data that shrinks and prints well: buffers of the lower CP and tables of predicates stand inside the packet
//! that uses them; addresses are given out when the scenario is played ([`place`]). [`Scenario::repair`] turns any scenario
//! into one whose outcome does not depend on the order between streams, so that two interpreters can be compared.

mod bytes;
mod display;
pub mod place;
mod repair;
mod rules;
mod shrink;

pub use repair::MARKERS;
pub use rules::ORIGIN_SHIFT;

use crate::packet::{Barriers, Packet};

/// QMANs that scenarios use: two DMA QMANs of the external and the internal kind, a TPC's and an MME's.
pub const QMANS: [usize; 4] = [0, 2, 8, 16];

/// Address of fence increments by message: CP_FENCEx_RDATA of a stream.
#[must_use]
pub fn fence_address(qman: usize, stream: usize, id: usize) -> u64 {
    use coxswain_abi::regs::{CFG_BASE, qman as regs};
    let offset = regs::CP_FENCE0_RDATA_0 + regs::FENCE_STRIDE * id as u32 + 4 * stream as u32;
    CFG_BASE + u64::from(regs::base(qman) + offset)
}

/// The packets that a generator may use. Others become NOPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// WREG_BULK.
    pub bulk: bool,
    /// LOAD_AND_EXE.
    pub load: bool,
    /// ARB_POINT.
    pub arbiter: bool,
    /// WAIT, and time stamps in messages.
    pub time: bool,
}

impl Set {
    /// What every command processor has.
    pub const BASIC: Self = Self { bulk: false, load: false, arbiter: false, time: false };
    /// All packets.
    pub const ALL: Self = Self { bulk: true, load: true, arbiter: true, time: true };
}

/// A place in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A packet as it is.
    Packet(Packet),
    /// CP_DMA of a buffer that exists.
    Call {
        /// The buffer.
        body: Program,
        /// Barriers of the CP_DMA packet.
        barriers: Barriers,
        /// Its predicate.
        predicate: u8,
    },
    /// LOAD_AND_EXE that loads predicates.
    LoadPredicates {
        /// Bit i becomes predicate i.
        table: u32,
        /// Predicate of the packet itself.
        predicate: u8,
        /// Bytes between the table and a multiple of 8, 0..=7.
        misalignment: u8,
    },
    /// LOAD_AND_EXE that loads a packet into the scalars, and perhaps executes it.
    LoadScalars {
        /// The packet, of which at most 16 bytes fit.
        packet: Box<Packet>,
        /// It goes to R2 instead of R0.
        second: bool,
        /// EXE: execute it at once.
        execute: bool,
        /// Predicate of the LOAD_AND_EXE packet.
        predicate: u8,
    },
}

/// A command buffer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// What it holds.
    pub items: Vec<Item>,
    /// Bytes between its start and a multiple of 8, 0..=7.
    pub misalignment: u8,
    /// Bytes at its end that the length leaves out.
    pub cut: u32,
    /// The buffer does not exist.
    pub missing: bool,
}

/// One QMAN of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Number on the card.
    pub number: usize,
    /// GLBL_ERR_CFG as the driver sets it with or without stop-on-error.
    pub stop_on_error: bool,
    /// Jobs that the engine holds.
    pub engine_depth: u32,
    /// log2 of the entries of each PQ.
    pub ring_log2: u32,
}

impl Setup {
    /// The QMAN has no lower CP in use (`qman.md` 1.1).
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.number < 2
    }
}

/// What happens. `qman` is an index into [`Scenario::qmans`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The host puts a buffer into a PQ.
    Submit {
        /// QMAN.
        qman: usize,
        /// Upper stream.
        stream: usize,
        /// The buffer.
        program: Program,
        /// The doorbell arrives; else only the register holds the new index.
        rings: bool,
    },
    /// All doorbells ring, as at the firmware's safety tick.
    CheckDoorbells,
    /// Somebody adds to a fence counter.
    Fence {
        /// QMAN.
        qman: usize,
        /// Stream 0..=4.
        stream: usize,
        /// Counter 0..=3.
        id: usize,
        /// 0..=15.
        increment: u8,
    },
    /// The host sets a fence counter.
    SetFence {
        /// QMAN.
        qman: usize,
        /// Stream 0..=4.
        stream: usize,
        /// Counter 0..=3.
        id: usize,
        /// The value.
        value: u32,
    },
    /// The engine finishes a job, if it has one.
    Complete {
        /// QMAN.
        qman: usize,
    },
    /// The engine stops with an error.
    FailEngine {
        /// QMAN.
        qman: usize,
    },
    /// The host writes CP_STOP bits.
    Stop {
        /// QMAN.
        qman: usize,
        /// Bit per stream; 0 lets all go on.
        streams: u8,
    },
    /// The host stops command processors for a moment.
    Pause {
        /// QMAN.
        qman: usize,
        /// Bit per stream.
        streams: u8,
    },
    /// The host writes GLBL_CFG0.
    Enable {
        /// QMAN.
        qman: usize,
        /// Bit per upper stream; the lower CP of an internal QMAN is on when one of them is.
        streams: u8,
    },
    /// The host starts the lower CP by registers, if its queue has room.
    StartLower {
        /// QMAN.
        qman: usize,
        /// The buffer.
        program: Program,
    },
    /// A message of a stream was answered with an error.
    FailMessage {
        /// QMAN.
        qman: usize,
        /// Stream 0..=4.
        stream: usize,
    },
    /// The host writes a producer index that the ring cannot have.
    BadProducer {
        /// QMAN.
        qman: usize,
        /// Upper stream.
        stream: usize,
        /// By how much it is wrong.
        excess: u32,
    },
    /// The memory behind a PQ goes away.
    LoseRing {
        /// QMAN.
        qman: usize,
        /// Upper stream.
        stream: usize,
    },
    /// The host clears a stream's causes.
    ClearCauses {
        /// QMAN.
        qman: usize,
        /// Stream 0..=4.
        stream: usize,
    },
    /// The arbiter is set up.
    Arbiter {
        /// QMAN.
        qman: usize,
        /// ARB_CFG_0.
        config: u32,
        /// Weights.
        weights: [u8; 4],
        /// Bit per QMAN of the scenario that is its slave.
        slaves: u8,
    },
    /// A master elsewhere chooses a stream of a slave.
    Choose {
        /// QMAN.
        qman: usize,
        /// Upper stream.
        stream: usize,
    },
    /// Time goes on.
    Time {
        /// Milliseconds.
        milliseconds: u32,
    },
    /// Both interpreters go on for a while, but not to rest.
    Run {
        /// Slices of the engine.
        rounds: u8,
        /// Posted writes that the hardware takes after each.
        writes: u8,
        /// Steps of the interpreter.
        steps: u8,
    },
    /// Everything goes on until it waits, and is compared.
    Settle,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The QMANs; not empty, each number at most once.
    pub qmans: Vec<Setup>,
    /// What happens.
    pub steps: Vec<Step>,
    /// Entries of the ring between engine and hardware.
    pub room: usize,
    /// One stream of each QMAN uses the engine, so that jobs in flight can be compared; else all jobs finish before anything is
    /// compared.
    pub strict: bool,
    /// Seed of the order in which the interpreter tries streams.
    pub seed: u64,
}

impl Scenario {
    /// Reads a scenario out of arbitrary bytes. Repaired.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], set: Set) -> Self {
        bytes::scenario(bytes).repair(set)
    }

    /// Indices of the QMANs whose lower CP several upper streams use.
    #[must_use]
    pub fn crowded(&self) -> Vec<usize> {
        (0..self.qmans.len()).filter(|qman| repair::callers(&self.steps, *qman).len() > 1).collect()
    }

    /// True when an arbiter is used.
    #[must_use]
    pub fn arbitrates(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Arbiter { .. } | Step::Choose { .. }))
    }
}
