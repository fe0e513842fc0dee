//! The Tensor Processing Core of a Gaudi-class card: decoder, disassembler, assembler and simulator of its instruction set.
//!
//! The facts come from `tpc.md` (`boards/gaudi/docs/`), which also says how sure each of them is; where it leaves a choice to the
//! model, the choice is marked "Chosen:" at the place that makes it. This crate owns the meaning of kernels and the state that one
//! engine keeps. It never touches registers of the card: who starts the engine, where its memory is and what follows an end or a
//! fault is the card model's (`hw-tests/card`).
//!
//! An operation has its number in [`opcodes`], its operands and its text in the table of its slot in [`forms`] (which decoder,
//! assembler and disassembler share), and its effect in the file of its slot or family in [`sim`].

pub mod assemble;
pub mod bundle;
pub mod decode;
pub mod disassemble;
pub mod forms;
pub mod object;
pub mod opcodes;
pub mod operand;
pub mod sim;

pub use self::object::{KernelObject, Metadata, ObjectError, kernel_text};
pub use assemble::{AssembleError, assemble};
pub use bundle::{BUNDLE_BYTES, Bundle};
pub use decode::{DecodeError, Instruction, decode};
pub use disassemble::disassemble;
pub use sim::{Cause, Fault, FlatMemory, Launch, Memory, MemoryFault, Outcome, Tpc};

/// Source of the kernel that clears the local memories, in the syntax of [`assemble()`]; built, it serves as `gaudi_tpc.bin`.
pub const MEMINIT_SOURCE: &str = include_str!("../kernels/meminit.tpc");
