#![no_std]
//! The port layer for `qemu-system-aarch64 -M virt,secure=on,gic-version=3,msi=gicv2m`.
//!
//! Everything that the firmware says about this machine is here: exception levels and vectors, GIC, timer, UARTs, page
//! tables, the PCI function that stands for the SoC, and the implementations of the ports of [`coxswain_core::ports`]. It
//! owns the hardware and the shared memory's firmware side; it decides nothing about queues or protocols.
//!
//! * [`board::Board`] - all ports of one core and [`board::Board::wait_for_work`].
//! * `el3` - boot ROM only: entry, hand-over, the resident monitor. [`smc`] - how other images call it.
//! * `el` - entry of the images at Secure EL1, parking. `fault`, `epitaph` - what happens on a fatal error.
//! * [`pci`], [`soc`] - the SoC-side function; [`posted`], [`notify`], [`ring`], [`shadow`], [`hbm`],
//!   [`memory`], [`translation`] - its parts.
//! * `stage` - what ROM and boot-fit share. [`boot_info`] - what the stages hand over. [`memory_map`] - every address.
//! * `log` (defmt), `text`, `pmu`, [`clock`], `timer`, `gic`, `paging`, `heap`, `cores`.
//!
//! The parts that do not touch the processor also run in host tests; the names without a link exist on the target only.

#[cfg(test)]
extern crate std;

pub mod barrier;
pub mod board;
pub mod boot_info;
pub mod clock;
pub mod hbm;
pub mod memory;
pub mod memory_map;
pub mod notify;
pub mod pci;
pub mod posted;
pub mod ring;
pub mod shadow;
pub mod smc;
pub mod soc;
pub mod trace;
pub mod translation;
pub mod window;

#[cfg(target_os = "none")]
pub mod cores;
#[cfg(target_os = "none")]
pub mod el;
#[cfg(target_os = "none")]
pub mod el3;
#[cfg(target_os = "none")]
pub mod epitaph;
#[cfg(target_os = "none")]
pub mod fault;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod log;
#[cfg(target_os = "none")]
pub mod paging;
#[cfg(target_os = "none")]
pub mod pmu;
#[cfg(target_os = "none")]
pub mod stage;
#[cfg(target_os = "none")]
pub mod text;
#[cfg(target_os = "none")]
pub mod timer;

#[cfg(test)]
mod board_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod notify_tests;
#[cfg(test)]
mod posted_tests;
