//! The simulator of one engine.
//!
//! Owns the state that the engine keeps: registers, local memories, the running kernel. It executes bundle by bundle,
//! deterministically, and stops whenever its budget is used, so that the caller can stall, watch or abort a kernel at any bundle. It
//! never writes the completion message and never touches status registers: the caller does when a kernel ends.
//!
//! Model assumptions, each from `tpc.md` 8: all slots of a bundle read before any of them writes; results are visible to the next
//! bundle (or later, with a write delay); nothing takes longer than a bundle. LOAD is executed before STORE, so a bundle that does
//! both to one address loads the old content.
//!
//! Not modelled are operations whose effect the document does not know well enough: GET_LUT_ENTRY and lookups of 16-bit entries,
//! fixed-point conversions (CONVERT_INT16 and its like) with a shift, stochastic rounding, the random registers, JMPA,
//! vector-predicate destinations of memory loads, packing stores of other than 16-bit elements. They decode and disassemble;
//! executing one stops the engine with cause bit 13, its name, its place and its bytes, never with a guessed result.

mod alu;
mod control;
mod descriptor;
mod lanes;
mod load;
mod local;
mod lookup;
mod memory;
mod number_format;
mod registers;
mod special;
mod spu;
mod store;
mod tensor;
mod vector;
mod vpu;
mod vpu_convert;

use core::fmt;

pub use descriptor::{ARGUMENTS, DESCRIPTOR_BYTES, Launch, TENSORS, Tensor};
pub use local::{SLM_BYTES, SMALL_VLM_BYTES, VLM_BYTES};
pub use memory::{FlatMemory, Memory, MemoryFault};
pub use registers::{DIMENSIONS, Registers};
pub use vector::{ByteMask, VECTOR_BYTES, Vector};

use crate::bundle::{BUNDLE_BYTES, Bundle};
use crate::decode::{Instruction, LoopInstruction, Slots, decode};
use control::{Flow, LoopStack};
use local::LocalMemory;

/// Why a kernel stopped with an error: bit numbers of the interrupt cause register (`tpc.md` 13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A local address is outside or not aligned.
    LocalAddress = 0,
    /// A bundle is no legal instruction, or one that this model does not execute.
    IllegalInstruction = 13,
    /// The program counter left the address space.
    ProgramCounterWrap = 14,
    /// Memory refused a read, of data or of a bundle.
    ReadResponse = 16,
    /// Memory refused a write.
    WriteResponse = 17,
    /// A read of a register of the own block that the model does not have.
    RegisterRead = 18,
    /// A write of a register of the own block that the model does not have.
    RegisterWrite = 19,
}

impl Cause {
    /// The bit number.
    #[must_use]
    pub const fn bit(self) -> u32 {
        self as u32
    }
}

/// The error that stopped a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The cause bit.
    pub cause: Cause,
    /// Address of the bundle.
    pub pc: u64,
    /// The refused address, of a memory fault.
    pub address: Option<u64>,
    /// What happened, for a log.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TPC stopped at {:#x}, cause bit {}: {}", self.pc, self.cause.bit(), self.detail)
    }
}

impl core::error::Error for Fault {}

/// What ended a [`Tpc::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel executed HALT (or none is running); all its stores are done.
    Halted,
    /// The budget is used; another run goes on where this one stopped.
    OutOfBudget,
    /// The kernel is stopped for good.
    Fault(Fault),
}

/// An error inside a bundle, before the place is known.
#[derive(Debug)]
struct Trap {
    cause: Cause,
    address: Option<u64>,
    detail: String,
}

impl Trap {
    fn new(cause: Cause, detail: String) -> Self {
        Self { cause, address: None, detail }
    }

    /// A legal encoding whose effect the model does not know or not execute.
    fn not_modelled(what: &str) -> Self {
        Self::new(Cause::IllegalInstruction, format!("{what} is not modelled"))
    }

    fn read(fault: MemoryFault) -> Self {
        let detail = format!("read of {:#x} was refused", fault.address);
        Self { cause: Cause::ReadResponse, address: Some(fault.address), detail }
    }

    fn write(fault: MemoryFault) -> Self {
        let detail = format!("write of {:#x} was refused", fault.address);
        Self { cause: Cause::WriteResponse, address: Some(fault.address), detail }
    }
}

/// Decoded bundles of the running kernel, direct-mapped by address.
///
/// Chosen: 64 KiB of code like the hardware's cache, emptied at each launch, so that a kernel never runs with the code of an older one.
/// Code that a kernel writes over itself takes effect at the next launch.
#[derive(Default)]
struct InstructionCache {
    lines: Vec<Line>,
    /// Number of the launch; lines of other numbers are empty.
    launch: u64,
}

struct Line {
    launch: u64,
    pc: u64,
    instruction: Cached,
}

/// A bundle, ready to be executed.
enum Cached {
    /// All four slots do nothing.
    Nothing,
    Loop(LoopInstruction),
    Slots(Slots),
}

const CACHED_BUNDLES: usize = 2048;

impl InstructionCache {
    fn empty(&mut self) {
        self.launch += 1;
        if self.lines.is_empty() {
            self.lines.resize_with(CACHED_BUNDLES, || Line { launch: 0, pc: 0, instruction: Cached::Nothing });
        }
    }

    /// The bundle at `pc`, fetched and decoded unless it is here.
    #[inline]
    fn fetch(&mut self, pc: u64, memory: &mut dyn Memory) -> Result<&Cached, Trap> {
        let index = (pc / BUNDLE_BYTES as u64) as usize % CACHED_BUNDLES;
        // PANIC: `empty` made CACHED_BUNDLES lines before a kernel could run.
        let line = &mut self.lines[index];
        if line.pc != pc || line.launch != self.launch {
            let instruction = fetch(pc, memory)?;
            *line = Line { launch: self.launch, pc, instruction };
        }
        Ok(&line.instruction)
    }
}

fn fetch(pc: u64, memory: &mut dyn Memory) -> Result<Cached, Trap> {
    if !pc.is_multiple_of(BUNDLE_BYTES as u64) {
        let text = format!("the program counter {pc:#x} is not a multiple of {BUNDLE_BYTES}");
        return Err(Trap::new(Cause::IllegalInstruction, text));
    }
    let mut bytes = [0; BUNDLE_BYTES];
    memory.read(pc, &mut bytes).map_err(Trap::read)?;
    match decode(&Bundle::from_bytes(&bytes), pc) {
        Ok(Instruction::Loop(instruction)) => Ok(Cached::Loop(instruction)),
        Ok(Instruction::Slots(Slots { load: None, spu: None, vpu: None, store: None, .. })) => Ok(Cached::Nothing),
        Ok(Instruction::Slots(slots)) => Ok(Cached::Slots(slots)),
        Err(error) => Err(Trap::new(Cause::IllegalInstruction, error.to_string())),
    }
}

/// One engine.
pub struct Tpc {
    registers: Registers,
    local: LocalMemory,
    descriptor: [u8; DESCRIPTOR_BYTES],
    /// What the descriptor says about tensors.
    tensors: [Tensor; TENSORS],
    round_csr: u32,
    lookup_tables: [u64; 4],
    semaphore: u32,
    pc: u64,
    running: bool,
    retired: u64,
    loops: LoopStack,
    cache: InstructionCache,
}

impl Default for Tpc {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tpc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tpc")
            .field("pc", &format_args!("{:#x}", self.pc))
            .field("running", &self.running)
            .field("retired", &self.retired)
            .finish_non_exhaustive()
    }
}

impl Tpc {
    /// An idle engine with empty memories and registers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registers: Registers::new(),
            local: LocalMemory::new(),
            descriptor: [0; DESCRIPTOR_BYTES],
            tensors: core::array::from_fn(|_| Launch::default().tensor(0)),
            round_csr: 0,
            lookup_tables: [0; 4],
            semaphore: 0,
            pc: 0,
            running: false,
            retired: 0,
            loops: LoopStack::default(),
            cache: InstructionCache::default(),
        }
    }

    /// Starts a kernel: takes over the descriptor, loads S0-S31, I0 and I1, and sets the program counter (`tpc.md` 13.3).
    ///
    /// Local memories, vectors, predicates and all other registers keep what the last kernel left. A kernel that runs is aborted.
    pub fn start(&mut self, launch: &Launch) {
        self.abort();
        self.descriptor = launch.descriptor;
        self.tensors = core::array::from_fn(|index| launch.tensor(index));
        self.round_csr = launch.round_csr & 7;
        self.lookup_tables = launch.lookup_tables;
        for index in 0..ARGUMENTS {
            self.registers.set_s(index as u8, launch.argument(index));
        }
        self.registers.set_i(0, launch.index_space_offset());
        self.registers.set_i(1, launch.index_space_size());
        self.local.vlm_limit = if launch.small_vector_memory() { SMALL_VLM_BYTES } else { VLM_BYTES };
        self.loops = LoopStack::default();
        self.cache.empty();
        self.pc = launch.kernel_address();
        self.retired = 0;
        self.running = true;
    }

    /// Executes at most `budget` bundles of the running kernel.
    ///
    /// Memory is touched during this call only, so the caller may stop a kernel simply by not calling again, and may let time or
    /// other engines go on between calls.
    pub fn run(&mut self, memory: &mut dyn Memory, budget: u64) -> Outcome {
        // Out of the engine while it runs: an instruction is read while registers are written.
        let mut cache = core::mem::take(&mut self.cache);
        let outcome = self.run_cached(&mut cache, memory, budget);
        self.cache = cache;
        outcome
    }

    fn run_cached(&mut self, cache: &mut InstructionCache, memory: &mut dyn Memory, budget: u64) -> Outcome {
        for _ in 0..budget {
            if !self.running {
                return Outcome::Halted;
            }
            if let Err(trap) = self.step(cache, memory) {
                self.registers.discard_bundle();
                self.abort();
                return Outcome::Fault(self.fault(trap, memory));
            }
        }
        if self.running { Outcome::OutOfBudget } else { Outcome::Halted }
    }

    /// A trap with its place, and with the bytes of the bundle when the bundle is what is wrong.
    fn fault(&self, trap: Trap, memory: &mut dyn Memory) -> Fault {
        let mut detail = trap.detail;
        let mut bytes = [0; BUNDLE_BYTES];
        // The decoder's errors name the bytes themselves.
        if trap.cause == Cause::IllegalInstruction
            && !detail.contains("(bytes ")
            && memory.read(self.pc, &mut bytes).is_ok()
        {
            detail.push_str(&format!(" (bytes{})", Bundle::from_bytes(&bytes)));
        }
        Fault { cause: trap.cause, pc: self.pc, address: trap.address, detail }
    }

    /// Stops the running kernel, if there is one. Its stores so far stay done.
    pub fn abort(&mut self) {
        self.running = false;
        self.registers.drain();
    }

    /// Whether a kernel was started and has neither ended nor been aborted.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Bundles executed since the start of the kernel, delay slots and HALT counted: the measure of progress.
    #[must_use]
    pub fn retired(&self) -> u64 {
        self.retired
    }

    /// Address of the next bundle, or of the one that halted or faulted.
    #[must_use]
    pub fn pc(&self) -> u64 {
        self.pc
    }

    /// The register files.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Scalar local memory, 1 KiB.
    #[must_use]
    pub fn scalar_memory(&self) -> &[u8] {
        &self.local.slm
    }

    /// Scalar local memory, to fill it.
    pub fn scalar_memory_mut(&mut self) -> &mut [u8] {
        &mut self.local.slm
    }

    /// Vector local memory, 80 KiB.
    #[must_use]
    pub fn vector_memory(&self) -> &[u8] {
        &self.local.vlm
    }

    /// Vector local memory, to fill it.
    pub fn vector_memory_mut(&mut self) -> &mut [u8] {
        &mut self.local.vlm
    }

    /// The SEMAPHORE register, counted by ASO.
    #[must_use]
    pub fn semaphore(&self) -> u32 {
        self.semaphore
    }

    /// Sets the SEMAPHORE register.
    pub fn set_semaphore(&mut self, value: u32) {
        self.semaphore = value;
    }

    /// ROUND_CSR, which kernels can write.
    #[must_use]
    pub fn round_csr(&self) -> u32 {
        self.round_csr
    }

    /// Delays every register result by `bundles` (0-7), to find hand-written code that reads too early.
    ///
    /// Compiled code relies on short latencies and does not run with a delay (`tpc.md` 8). Loop counters are never delayed.
    pub fn set_write_delay(&mut self, bundles: usize) {
        self.registers.set_delay(bundles);
    }

    #[inline]
    fn step(&mut self, cache: &mut InstructionCache, memory: &mut dyn Memory) -> Result<(), Trap> {
        let flow = match cache.fetch(self.pc, memory)? {
            Cached::Nothing => Flow::Next,
            Cached::Loop(instruction) => {
                self.loops.enter(instruction, self.pc, &mut self.registers)?;
                Flow::Next
            }
            Cached::Slots(slots) => self.execute(slots, memory)?,
        };
        self.registers.end_bundle();
        self.retired += 1;
        match flow {
            Flow::Halt => self.abort(),
            Flow::Next | Flow::Jump(_) => {
                let (pc, registers) = (self.pc, &mut self.registers);
                self.pc = self.loops.next(flow, pc, registers)?;
            }
        }
        Ok(())
    }

    fn execute(&mut self, slots: &Slots, memory: &mut dyn Memory) -> Result<Flow, Trap> {
        let immediate = slots.immediate;
        if let Some(operation) = &slots.load {
            self.execute_load(operation, immediate, memory)?;
        }
        let flow = match &slots.spu {
            Some(operation) => self.execute_spu(operation, immediate)?,
            None => Flow::Next,
        };
        if let Some(operation) = &slots.vpu {
            self.execute_vpu(operation, immediate)?;
        }
        if let Some(operation) = &slots.store {
            self.execute_store(operation, immediate, memory)?;
        }
        Ok(flow)
    }
}
