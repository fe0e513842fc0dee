//! The reference interpreter of the queue managers, and the comparison of the real queue engine with it.
//!
//! [`machine`] is `qman.md` as a program: simple, slow, written from the document alone. It shares no code with the queue
//! engine; of the project it uses register offsets and cause bits.
//!
//! [`scenario`] describes what happens to a few QMANs: programs, doorbells, fence increments, completions, stops, errors.
//! [`differential`] plays a scenario on the queue engine over a board made for it and on the interpreter, and says where they
//! disagree. Only that module knows the engine.
//!
//! [`ceiling`] lets the interpreter serve the queues of a card model, as queue managers that cost next to nothing.
//!
//! [`native`] runs the queue engine on a flat board, for measurements on this machine's processor.
//!
//! Nothing here runs on the card, knows of Linux, or measures time.

pub mod ceiling;
pub mod differential;
pub mod machine;
pub mod memory;
pub mod native;
pub mod packet;
pub mod scenario;

pub use differential::{Disagreement, run, run_bytes};
