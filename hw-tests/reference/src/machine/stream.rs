//! State of one stream.

use std::collections::BTreeSet;

/// Largest value of a fence counter: 14 bits.
pub const FENCE_MAX: u32 = 0x3FFF;

/// The three units of a stream that fail and stop on their own (`qman.md` 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// PQ fetch.
    Pqf,
    /// Command buffer fetch.
    Cqf,
    /// Command processor.
    Cp,
}

impl Unit {
    /// Bit of stream 0 in GLBL_CFG0, GLBL_CFG1, GLBL_PROT, GLBL_ERR_CFG and GLBL_STS0.
    #[must_use]
    pub fn first_bit(self) -> usize {
        match self {
            Self::Pqf => 0,
            Self::Cqf => 4,
            Self::Cp => 9,
        }
    }
}

/// Why a stream waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A FENCE packet.
    Fence {
        /// Counter.
        id: u8,
        /// Value it waits for.
        target: u8,
    },
    /// The engine holds no further job.
    Engine,
    /// An engine barrier.
    Barrier,
    /// The input queue of the lower CP is full.
    LowerQueue,
    /// An ARB_POINT request.
    Arbiter,
    /// Stopped by GLBL_CFG1.
    Stopped,
    /// A unit stopped because of an error or a STOP packet.
    Failed,
}

/// A command buffer and how much of it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Device address.
    pub address: u64,
    /// Bytes.
    pub size: u32,
    /// Bytes whose packets are done.
    pub position: u32,
}

/// A WAIT packet whose increment is due later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// Device time in nanoseconds.
    pub due: u64,
    /// Fence counter.
    pub id: usize,
    /// Increment.
    pub increment: u32,
}

/// One stream. After a reset everything is 0 and off.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// GLBL_CFG0 enables all units of the stream.
    pub enabled: bool,
    /// Producer index that was accepted.
    pub producer: u32,
    /// Entries taken, modulo twice the ring.
    pub consumer: u32,
    /// The buffer in execution.
    pub buffer: Option<Buffer>,
    /// CQ_PTR and CQ_TSIZE: the buffer in execution or the last one.
    pub shown: (u64, u32),
    /// Fence counters.
    pub fences: [u32; 4],
    /// P1..P31; P0 is 1 whatever stands here.
    pub predicates: [bool; 32],
    /// R0..R3.
    pub scalars: [u32; 4],
    /// Registers that the WREG_BULK in place has written.
    pub bulk_done: usize,
    /// Increments that are due later.
    pub timers: Vec<Timer>,
    /// GLBL_STS1.
    pub causes: u32,
    /// Units that stopped.
    pub failed: BTreeSet<Unit>,
    /// Header of the packet that failed last.
    pub failed_header: Option<(u32, u32)>,
    /// A STOP packet was executed.
    pub software_stop: bool,
    /// Why the last attempt to go on did not.
    pub waiting: Option<Waiting>,
}
