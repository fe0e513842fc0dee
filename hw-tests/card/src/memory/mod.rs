//! Memories shared between the card and the two machines.
//!
//! For: SRAM with the register shadow and the rings ([`Memories::soc`]), HBM ([`Memories::hbm`]) and the host's memory
//! ([`Memories::host`]). Each is one anonymous memory file that the card maps for its whole life and whose descriptor the
//! vfio-user servers hand to the QEMUs.
//!
//! Owns: the mappings and every unsafe access to them. Callers see offsets and bounds-checked accessors only.
//!
//! Never: gives out a reference or a pointer into a mapping.
//!
//! * `shared_file` - a mapped file: the accessors and the memory model.
//! * `hbm` - HBM on top of one, where a fill of gigabytes takes no memory.

mod hbm;
#[cfg(test)]
mod hbm_tests;
mod shared_file;

use std::sync::Arc;

use coxswain_abi::soc::bar0;

pub use hbm::Hbm;
pub use shared_file::{OutOfBounds, SharedFile, full_barrier};

/// The memories of one card.
#[derive(Debug)]
pub struct Memories {
    /// SRAM, register shadow, information page and rings: the layout of [`coxswain_abi::soc::bar0`].
    pub soc: Arc<SharedFile>,
    /// HBM, sparse, [`coxswain_abi::regs::HBM_SIZE`] bytes; offset = device address.
    pub hbm: Hbm,
    /// The host's memory; offset = host bus address.
    pub host: SharedFile,
}

impl Memories {
    /// Creates all three, zero-filled, with `host_bytes` of host memory.
    ///
    /// # Errors
    /// The kernel refused one of the files; or `host_bytes` is 0.
    pub fn new(host_bytes: u64) -> std::io::Result<Self> {
        let soc = Arc::new(SharedFile::new("coxswain-soc", bar0::SIZE)?);
        Ok(Self { hbm: Hbm::new(Arc::clone(&soc))?, soc, host: SharedFile::new("coxswain-host", host_bytes)? })
    }
}
