//! The hardware around the queue engine: registers, memory, the posted-write ring, time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coxswain_abi::regs::qman as regs;
use coxswain_abi::soc::{Attributes, PostedWrite};
use coxswain_core::ports::{Clock, DeviceMemory, OneByOne, PostedWrites, ReadError, Registers, Trace};

use crate::machine;
use crate::memory::Memory;

/// The board. Its hardware takes posted writes only when told to.
pub struct Board {
    /// Registers by CFG offset.
    pub registers: BTreeMap<u32, u32>,
    /// Memory that PQs, command buffers and loads read.
    pub memory: Memory,
    /// The posted-write ring.
    pub posted: VecDeque<PostedWrite>,
    /// Its size.
    pub room: usize,
    /// Microseconds.
    pub now: u64,
    /// Attributes with which each region was read.
    pub reads: BTreeMap<u64, BTreeSet<machine::Attributes>>,
    /// First misuse of a port.
    pub misuse: Option<String>,
}

impl Registers for Board {
    fn read(&self, offset: u32) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }
}

impl PostedWrites for Board {
    type Burst<'a> = OneByOne<'a, Self>;

    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Self::Burst<'_>) -> R) -> R {
        let room = self.available().saturating_sub(keep);
        fill(&mut OneByOne { port: self, room })
    }

    fn available(&self) -> usize {
        self.room.saturating_sub(self.posted.len())
    }

    fn post(&mut self, write: PostedWrite) {
        if self.available() == 0 {
            self.misuse.get_or_insert_with(|| format!("posted without room: {write:x?}"));
        }
        self.posted.push_back(write);
    }

    fn flush(&mut self) {}
}

impl DeviceMemory for Board {
    fn read_words(&mut self, address: u64, access: Attributes, out: &mut [u64]) -> Result<(), ReadError> {
        if !address.is_multiple_of(8) {
            self.misuse.get_or_insert_with(|| format!("a read of words at {address:#x}"));
        }
        if let Some((region, _)) = self.memory.region(address) {
            self.reads.entry(region).or_default().insert(attributes(access));
        }
        let bytes = self.memory.read(address, 8 * out.len()).ok_or(ReadError::Unmapped { address })?;
        for (word, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        }
        Ok(())
    }
}

impl Trace for Board {}

impl Clock for Board {
    fn now_us(&self) -> u64 {
        self.now
    }
}

/// The engine's attributes in the interpreter's terms.
pub fn attributes(access: Attributes) -> machine::Attributes {
    machine::Attributes {
        secure: access.secure(),
        bypass: access.bypass(),
        asid: access.asid(),
        qman: usize::from(access.initiator() >> 3),
        stream: usize::from(access.initiator() & 7),
    }
}

/// What a bus write does to a QMAN: the card passes these on.
pub enum Consequence {
    /// CP_FENCEx_RDATA: an increment.
    Fence {
        /// QMAN number.
        number: usize,
        /// Stream.
        stream: usize,
        /// Counter.
        id: usize,
        /// Increment.
        increment: u8,
    },
    /// A register of an arbiter that other arbiters write.
    Arbiter {
        /// QMAN number.
        number: usize,
        /// Offset in the block.
        offset: u32,
        /// Value.
        value: u32,
    },
    /// The engine got a job.
    Job {
        /// QMAN number.
        number: usize,
    },
}

/// The consequence of a bus write, if it has one for queues.
pub fn consequence(write: &machine::Write) -> Option<Consequence> {
    use coxswain_abi::regs::{CFG_BASE, dma_core, tpc_cfg};
    let machine::Data::Value(value) = write.data else { return None };
    let inside = u32::try_from(write.address.checked_sub(CFG_BASE)?).ok()?;
    if let Some((number, offset)) = regs::find(inside) {
        if offset == regs::ARB_CHOISE_Q_PUSH || offset == regs::ARB_MST_CRED_INC {
            return Some(Consequence::Arbiter { number, offset, value });
        }
        let place = offset.checked_sub(regs::CP_FENCE0_RDATA_0).filter(|place| *place < 4 * regs::FENCE_STRIDE)?;
        let (id, stream) = (place / regs::FENCE_STRIDE, place % regs::FENCE_STRIDE / 4);
        return Some(Consequence::Fence {
            number,
            stream: stream as usize,
            id: id as usize,
            increment: value as u8 & 0xF,
        });
    }
    let number = (0..16).find(|number| {
        let start = if *number < 8 { dma_core::COMMIT } else { tpc_cfg::TPC_EXECUTE };
        inside == regs::engine_base(*number) + start
    })?;
    // Only the QMAN's own streams reach its engine's start register in a scenario.
    (write.attributes.qman == number).then_some(Consequence::Job { number })
}
