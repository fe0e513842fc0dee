//! The two PCI functions of the card.
//!
//! For: what a host ([`host`]) and the management CPU's machine ([`soc`]) see of the card over PCI: configuration space,
//! BARs, interrupts. Both implement [`crate::vfio_user::Device`]; tests and the scripted host call the same objects.
//!
//! Owns: PCI state. What lies behind CFG registers and rings belongs to the SoC, reached through [`RegisterBus`].
//!
//! Never: holds one of its locks while it calls the SoC. The SoC may raise an interrupt from inside such a call, and the
//! management CPU's machine must get answers while a host write is still being worked on (`decisions.md` 3.11).

pub mod config_space;
pub mod host;
pub mod iatu;
pub mod msi;
mod names;
pub mod soc;
pub mod trace;

use crate::vfio_user;

/// Bytes of a PCIe function's configuration space.
pub const CONFIG_SIZE: u64 = 4096;

/// What the functions need of the SoC. [`crate::soc::Soc`] is the real one; tests put a register array there.
pub trait RegisterBus: Send + Sync {
    /// Reads the register at CFG offset `offset` (4-byte aligned, below `CFG_SIZE`) as the host.
    fn host_read(&self, offset: u32) -> u32;

    /// Writes the register at CFG offset `offset` (4-byte aligned, below `CFG_SIZE`) as the host.
    fn host_write(&self, offset: u32, value: u32);

    /// Core `core` (below `CORES`) has something in its posted-write ring.
    fn kick(&self, core: usize);

    /// Firmware asks for a reset of the management CPU; returns before the reset is carried out.
    fn request_cpu_reset(&self);
}

/// Vectors of interrupt index `index` of a function with the MSI vectors `msi`.
fn irq_count(index: u32, msi: &msi::Msi) -> u32 {
    match index {
        vfio_user::MSI_INDEX => msi.vectors(),
        // Never raised; QEMU warns at every start about a function without it.
        vfio_user::ERROR_INDEX => 1,
        _ => 0,
    }
}

/// Copies the part of `word`, a little-endian 32-bit register at `register`, that an access of `data.len()` bytes at
/// `offset` covers.
fn copy_word_part(register: u64, word: u32, offset: u64, data: &mut [u8]) {
    for (index, byte) in word.to_le_bytes().into_iter().enumerate() {
        let position = (register + index as u64).wrapping_sub(offset);
        if let Some(slot) = usize::try_from(position).ok().and_then(|position| data.get_mut(position)) {
            *slot = byte;
        }
    }
}
