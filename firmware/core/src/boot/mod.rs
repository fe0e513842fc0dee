//! The boot chain: what turns bytes that a host wrote into an image that runs.
//!
//! * [`comms`] - the COMMS server: a pure state machine over command words.
//! * [`loader`] - "load the next image": descriptor, copy, check, execute. The same code in the ROM and in the boot-fit.
//! * `static_loader` - the same with the older protocol, chosen by a board strap.
//! * [`resident`] - what the image that runs still answers to COMMS.
//! * [`fit`] - the image container. [`fdt`] - the flattened device tree below it.
//! * [`signature`] - who may say that an image is good. [`trust`] - whom this card believes.
//! * [`record`] - the one line about a failure that outlives a reset.
//! * [`version`] - the version strings, whose grammar the driver depends on.
//! * [`error`] - every way the boot chain can refuse something, numbered once.
//!
//! The rules: an image is copied out of host-writable memory before anything in it is believed, so that what was checked is
//! what runs; a refusal is fast, numbered and leaves the stage ready for the next attempt.

pub mod comms;
pub mod error;
pub mod fdt;
pub mod fit;
pub mod loader;
pub mod record;
pub mod resident;
pub mod signature;
mod static_loader;
pub mod trust;
pub mod version;

pub use error::BootError;
