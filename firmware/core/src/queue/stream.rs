//! One stream: its command buffer, fetched block, fence counters and state. It owns no packet semantics.

use coxswain_abi::regs::qman::cause;
use coxswain_abi::soc::Attributes;

use super::bulk::Bulk;
use super::fetch::Fetcher;
use super::pq::PacketQueue;

/// Why a stream waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// A FENCE packet: the counter is below its target.
    Fence {
        /// Counter 0..=3.
        id: u8,
        /// Value it waits for.
        target: u8,
    },
    /// The engine's descriptor queue is full.
    Engine,
    /// An engine barrier: jobs are in flight.
    Barrier,
    /// A request to the arbiter: earlier messages, perhaps to its registers, are on their way.
    Message,
    /// The lower CP's input queue is full.
    LowerQueue,
    /// An ARB_POINT request: another stream owns the arbiter.
    Arbiter,
    /// A WAIT packet: too many are due already.
    Timers,
    /// Stopped through GLBL_CFG1.
    Stopped,
    /// Stopped by an error or a STOP packet; only a reset revives it.
    Failed,
}

/// What a stream does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Nothing to do.
    Idle,
    /// Can run.
    Ready,
    /// Waits.
    Blocked(Blocked),
}

/// The units of a stream that an error can stop (`qman.md` 7.1). Each has its bits in GLBL_ERR_CFG and GLBL_STS0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Fetches descriptors.
    Pqf,
    /// Fetches buffers.
    Cqf,
    /// Executes packets.
    Cp,
}

impl Unit {
    pub const ALL: [Self; 3] = [Self::Pqf, Self::Cqf, Self::Cp];

    /// The unit that raises `causes`.
    pub const fn of(causes: u32) -> Self {
        if causes & cause::PQF_RD != 0 {
            Self::Pqf
        } else if causes & cause::CQF_RD != 0 {
            Self::Cqf
        } else {
            Self::Cp
        }
    }

    /// Its bit for stream 0 in a register that has one per unit and stream.
    pub const fn first_bit(self) -> usize {
        match self {
            Self::Pqf => 0,
            Self::Cqf => 4,
            Self::Cp => 9,
        }
    }

    /// Its bit in a set of units.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Attributes of the three kinds of access that a command processor makes (`qman.md` 7.4).
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    /// Command buffer reads.
    pub fetch: Attributes,
    /// Messages and register writes: always non-secure.
    pub message: Attributes,
    /// MSG_PROT.
    pub protected: Attributes,
}

/// Where LIN_DMA and CP_DMA put their descriptor (CP_LDMA_*_OFFSET).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// Into the engine: CFG offsets of source, destination and size registers; the commit register follows the size.
    Engine {
        /// Source, low half.
        source: u32,
        /// Destination, low half.
        destination: u32,
        /// Size.
        size: u32,
    },
    /// Into the lower CP's CQ.
    Lower,
    /// To neither: both packets are undefined commands.
    Nowhere,
}

/// Maximum of a fence counter (14 bits).
const FENCE_MAX: u16 = 0x3FFF;

/// One stream.
pub(super) struct Stream {
    pub enabled: bool,
    pub activity: Activity,
    /// Stopped through GLBL_CFG1; takes effect at the next packet boundary.
    pub stop_requested: bool,
    /// Set of units that an error or a STOP packet has stopped; only a reset revives them.
    pub failed_units: u8,
    /// Error causes raised so far (the W1C copy hosts see is in the register file).
    pub causes: u32,
    pub queue: PacketQueue,
    pub fetcher: Fetcher,
    pub access: Access,
    pub descriptor: Descriptor,
    pub message_base: [u64; 4],
    pub fences: [u16; 4],
    /// Predicates P0 to P31; P0 is always true.
    pub predicates: u32,
    /// Scalars R0 to R3.
    pub scalars: [u32; 4],
    /// The LOAD_AND_EXE packet in place has loaded and waits with what it executes.
    pub loaded: bool,
    /// Everything before the packet in place has happened.
    pub settled: bool,
    /// A bulk write in progress.
    pub bulk: Option<Bulk>,
    /// A load ended in a page fault that waits to be reported.
    pub page_fault: bool,
}

impl Stream {
    pub const fn new() -> Self {
        Self {
            enabled: false,
            activity: Activity::Idle,
            stop_requested: false,
            failed_units: 0,
            causes: 0,
            queue: PacketQueue::new(),
            fetcher: Fetcher::new(),
            access: Access { fetch: Attributes(0), message: Attributes(0), protected: Attributes(0) },
            descriptor: Descriptor::Nowhere,
            message_base: [0; 4],
            fences: [0; 4],
            predicates: 1,
            scalars: [0; 4],
            loaded: false,
            settled: false,
            bulk: None,
            page_fault: false,
        }
    }

    /// Forgets what is left of the buffer, the values of a bulk write among it.
    pub fn abandon_buffer(&mut self) {
        self.fetcher.stop();
        self.bulk = None;
    }

    /// Adds to a fence counter; returns the cause bit when it clips.
    pub fn increment_fence(&mut self, id: usize, increment: u8) -> u32 {
        let Some(counter) = self.fences.get_mut(id) else { return 0 };
        // PANIC: 0x3FFF + 255 does not overflow 16 bits.
        let sum = *counter + u16::from(increment);
        *counter = sum.min(FENCE_MAX);
        if sum > FENCE_MAX { cause::FENCE0_OVF << (id & 3) } else { 0 }
    }

    /// Sets a fence counter (CP_FENCEx_CNT was written).
    pub fn set_fence(&mut self, id: usize, value: u32) {
        if let Some(counter) = self.fences.get_mut(id) {
            *counter = value as u16 & FENCE_MAX;
        }
    }

    /// Subtracts from a fence counter; returns the cause bit when it clips.
    pub fn decrement_fence(&mut self, id: usize, decrement: u16) -> u32 {
        let Some(counter) = self.fences.get_mut(id) else { return 0 };
        let clipped = *counter < decrement;
        *counter = counter.saturating_sub(decrement);
        if clipped { cause::FENCE0_UDF << (id & 3) } else { 0 }
    }

    /// True when an error or a STOP packet has stopped a unit of the stream: at the latest when the buffer in execution ends,
    /// nothing goes on.
    pub fn failed(&self) -> bool {
        self.failed_units != 0
    }
}
