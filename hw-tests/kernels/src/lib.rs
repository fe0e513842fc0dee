//! Kernels for the TPC, and what a program needs to launch them.
//!
//! For: everything between a compiled or assembled kernel and the packets of a command buffer. It binds tensors and scalars,
//! splits the index space over engines, and writes the descriptors. It never talks to a card: programs in the guest submit the
//! packets (`hw-tests/guest`), tests run the descriptors in the simulator.
//!
//! * [`kernel`]: a kernel, from an object of the public compiler or from the assembler;
//! * [`tensor`]: what a tensor parameter is bound to;
//! * [`dispatch`]: a kernel with its parameters and index space, split over engines into descriptors;
//! * [`packets`]: the packets that launch a descriptor;
//! * [`built`], [`compiled`]: our own kernels, assembled at build, and the ten compiled ones;
//! * [`cases`]: kernels with data and the results that the host's own arithmetic gives.

pub mod built;
pub mod cases;
pub mod compiled;
pub mod dispatch;
pub mod kernel;
pub mod packets;
pub mod tensor;

pub use dispatch::{Dispatch, DispatchError, Part, SyncMessage};
pub use kernel::{Kernel, KernelError};
pub use tensor::{Element, Tensor};
