//! The queue engine on a flat, fast board of this machine's processor: for measuring its loops without an emulator.
//!
//! For: how long the packet loops take on a developer's machine; the harness's `bench` holds the clock. Owns: one external
//! DMA QMAN with one stream in use, set up as the driver does, and a board whose accesses are array accesses. Never: checks
//! what the engine does (see [`crate::differential`]), and its hardware takes posted writes without looking at them, except
//! that started transfers are reported as done.

use coxswain_abi::regs::qman::{self as regs, EngineKind};
use coxswain_abi::regs::{CFG_SIZE, HOST_BASE, qman};
use coxswain_abi::soc::{Attributes, PostedWrite};
use coxswain_core::ports::{Burst, Clock, DeviceMemory, PostedWrites, ReadError, Registers, Trace};
use coxswain_core::queue::{QmanDescription, QueueEngine};

/// The QMAN: DMA0.
const QMAN: usize = 0;
/// Entries of its ring, as a power of two.
const RING_LOG2: u32 = 3;
/// Bytes of the host's memory: the ring at its start, the command buffer behind it.
const MEMORY: usize = 128 << 10;
const BUFFER: u64 = 0x1000;
/// Posted writes that fit, as on the card.
const ROOM: usize = 4096;
/// Descriptors that a DMA core accepts, the one in execution included.
const DEPTH: u16 = 17;

/// Registers, host memory and posted writes as plain arrays.
struct Board {
    registers: Vec<u32>,
    memory: Vec<u64>,
    /// The posted-write ring. The hardware takes all of them at once.
    ring: Vec<PostedWrite>,
    used: usize,
}

impl Registers for Board {
    #[inline(always)]
    fn read(&self, offset: u32) -> u32 {
        self.registers.get(offset as usize / 4).copied().unwrap_or(0)
    }
}

/// Free entries of the ring, in one piece.
struct Run<'a> {
    free: &'a mut [PostedWrite],
    used: usize,
}

impl Burst for Run<'_> {
    #[inline(always)]
    fn push<const N: usize>(&mut self, writes: [PostedWrite; N]) -> bool {
        let Some(entries) = self.free.get_mut(self.used..).and_then(<[_]>::first_chunk_mut::<N>) else { return false };
        // Field by field: what was written in parts is not read back as a whole right behind it.
        // Field by field: this machine's processors stall on a whole word read behind the stores of its halves.
        for (entry, write) in entries.iter_mut().zip(&writes) {
            (entry.address, entry.data, entry.attributes) = (write.address, write.data, write.attributes);
        }
        self.used += N;
        true
    }
}

impl PostedWrites for Board {
    type Burst<'a> = Run<'a>;

    #[inline(always)]
    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Run<'_>) -> R) -> R {
        let end = ROOM.saturating_sub(keep).max(self.used);
        let mut run = Run { free: self.ring.get_mut(self.used..end).unwrap_or_default(), used: 0 };
        let result = fill(&mut run);
        self.used += run.used;
        result
    }

    #[inline(always)]
    fn available(&self) -> usize {
        ROOM - self.used
    }

    #[inline(always)]
    fn post(&mut self, write: PostedWrite) {
        if let Some(entry) = self.ring.get_mut(self.used) {
            (entry.address, entry.data, entry.attributes) = (write.address, write.data, write.attributes);
            self.used += 1;
        }
    }

    #[inline(always)]
    fn flush(&mut self) {}
}

impl DeviceMemory for Board {
    #[inline(always)]
    fn read_words(&mut self, address: u64, _: Attributes, out: &mut [u64]) -> Result<(), ReadError> {
        let first = (address.wrapping_sub(HOST_BASE) / 8) as usize;
        let words = first.checked_add(out.len()).and_then(|end| self.memory.get(first..end));
        out.copy_from_slice(words.ok_or(ReadError::Unmapped { address })?);
        Ok(())
    }
}

impl Trace for Board {}

impl Clock for Board {
    #[inline(always)]
    fn now_us(&self) -> u64 {
        0
    }
}

/// An engine that runs jobs on this machine's processor.
pub struct Native {
    engine: Box<QueueEngine>,
    board: Board,
    producer: u32,
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Native {
    /// An engine with its QMAN enabled.
    #[must_use]
    pub fn new() -> Self {
        let mut engine = Box::new(QueueEngine::new());
        engine.add(QmanDescription {
            number: QMAN as u8,
            base: qman::base(QMAN),
            engine_base: qman::engine_base(QMAN),
            engine: EngineKind::Dma,
            engine_depth: DEPTH,
        });
        let board = Board {
            registers: vec![0; CFG_SIZE as usize / 4],
            memory: vec![0; MEMORY / 8],
            ring: vec![PostedWrite { address: 0, data: 0, attributes: Attributes::CPU }; ROOM],
            used: 0,
        };
        let mut native = Self { engine, board, producer: 0 };
        native.enable();
        native
    }

    /// What the driver programs into an external QMAN (`qman.md` 8), as far as the engine looks at it.
    fn enable(&mut self) {
        let stream = [
            (regs::PQ_BASE_LO_0, HOST_BASE as u32),
            (regs::PQ_BASE_HI_0, (HOST_BASE >> 32) as u32),
            (regs::PQ_SIZE_0, RING_LOG2),
            (regs::CP_LDMA_TSIZE_OFFSET_0, 0x74),
            (regs::CP_LDMA_SRC_BASE_LO_OFFSET_0, 0x14),
            (regs::CP_LDMA_DST_BASE_LO_OFFSET_0, 0x1C),
            (regs::CP_MSG_BASE0_ADDR_LO_0 + regs::CP_MSG_BASE_STRIDE, 0xFC4F_2000),
            (regs::CP_MSG_BASE0_ADDR_HI_0 + regs::CP_MSG_BASE_STRIDE, 0x7F),
            (regs::GLBL_SECURE_PROPS_0, 0x400),
            (regs::GLBL_NON_SECURE_PROPS_0, 1),
            (regs::GLBL_PROT, 0x5EFF),
            (regs::GLBL_ERR_CFG, 0x9EFF_1EFF),
            (regs::GLBL_CFG0, 0x1EFF),
        ];
        for (offset, value) in stream {
            self.set(offset, value);
            self.engine.on_register_write(QMAN, offset, value, &mut self.board);
        }
        self.rest();
    }

    fn set(&mut self, offset: u32, value: u32) {
        if let Some(register) = self.board.registers.get_mut((qman::base(QMAN) + offset) as usize / 4) {
            *register = value;
        }
    }

    /// Puts packets into the command buffer.
    ///
    /// # Panics
    /// They do not fit.
    pub fn load(&mut self, packets: &[u64]) {
        let first = BUFFER as usize / 8;
        let place = self.board.memory.get_mut(first..first + packets.len()).expect("the packets fit the buffer");
        place.copy_from_slice(packets);
    }

    /// Runs the first `words` words of the command buffer as one job, from the doorbell to rest; of its packets `transfers`
    /// start the engine. Returns the bus writes and status stores that the hardware was given.
    #[inline(never)]
    pub fn job(&mut self, words: usize, transfers: u32) -> usize {
        let slot = 2 * (self.producer % (1 << RING_LOG2)) as usize;
        if let Some([address, size]) = self.board.memory.get_mut(slot..slot + 2) {
            (*address, *size) = (HOST_BASE + BUFFER, 8 * words as u64);
        }
        self.producer = (self.producer + 1) % (2 << RING_LOG2);
        self.set(regs::PQ_PI_0, self.producer);
        self.engine.on_doorbells([1, 0], &mut self.board);
        let mut writes = self.rest();
        for _ in 0..transfers {
            self.engine.on_engine_done(QMAN, &mut self.board);
            writes += self.rest();
        }
        writes
    }

    /// Runs until there is nothing to do; the hardware takes what was posted.
    fn rest(&mut self) -> usize {
        let mut writes = 0;
        loop {
            let more = self.engine.run(&mut self.board);
            let posted = std::mem::take(&mut self.board.used);
            writes += posted;
            if !more && posted == 0 {
                return writes;
            }
        }
    }

    /// True when every job is done and no error was found.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.engine.blocked(QMAN, 0).is_none() && self.engine.stuck() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_abi::packet::{self, EB, RB};
    use coxswain_abi::regs::dma_core::commit;

    #[test]
    fn every_packet_is_executed_and_the_engine_comes_to_rest() {
        let mut native = Native::new();
        let long = packet::msg_long(HOST_BASE + 0x2000, 1, 0).repeat(512);
        native.load(&long);
        for _ in 0..20 {
            let (few, many) = (native.job(2 * 64, 0), native.job(2 * 512, 0));
            // One bus write per message; status stores, when the stream pauses, are a few.
            assert!((512 - 64..512).contains(&(many - few)), "{few} and {many} writes");
            assert!(native.is_idle());
        }
    }

    #[test]
    fn transfers_complete_before_the_barrier_behind_them_opens() {
        let mut native = Native::new();
        let round = [&packet::lin_dma(0, 4096, 64, RB | commit::LIN)[..], &[packet::nop(EB)]].concat();
        native.load(&round.repeat(12));
        native.job(4 * 12, 12);
        assert!(native.is_idle());
    }
}
