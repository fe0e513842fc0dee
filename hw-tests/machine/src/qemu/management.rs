//! Command line of the management CPU: a Cortex-A53 that enters the boot ROM at EL3, the SoC-side function beside it.
//!
//! Facts: `emulation.md` 1 and 4, `decisions.md` 4.

use std::path::{Path, PathBuf};

use super::machine::Builder;
use crate::provision::{Emulator, Qemu};

/// Parameters of the management CPU's machine.
pub struct ManagementMachine<'a> {
    /// The emulators.
    pub qemu: &'a Qemu,
    /// The boot ROM as a flat image for address 0.
    pub rom: &'a Path,
    /// Socket of the card's SoC-side function.
    pub card: PathBuf,
    /// Cores, 1 to 4.
    pub cores: u32,
    /// Exact instruction counting; only meaningful with one core and a card in lockstep.
    pub instruction_count: bool,
    /// Wait for a debugger.
    pub gdb: bool,
}

impl ManagementMachine<'_> {
    /// Builds the command line.
    ///
    /// # Errors
    /// When sockets cannot be made.
    pub fn build(self) -> anyhow::Result<Builder> {
        let mut builder = Builder::new("qemu-system-aarch64", self.qemu.command(Emulator::Management))?;
        let cores = self.cores.to_string();
        builder.args(["-machine", "virt,secure=on,gic-version=3,msi=gicv2m,memory-backend=mem0"]);
        builder.args(["-object", "memory-backend-memfd,id=mem0,size=256M,share=on"]);
        builder.args(["-cpu", "cortex-a53", "-accel", "tcg", "-smp", &cores, "-m", "256M"]);
        builder.args([Path::new("-bios"), self.rom]);
        builder.serial()?.serial()?;
        if self.instruction_count {
            builder.args(["-icount", "shift=0,sleep=off"]);
        }
        builder.args(["-device", &super::vfio_user("pcie.0", Some("1.0"), &self.card)]);
        if self.gdb {
            builder.wait_for_debugger()?;
        }
        Ok(builder)
    }
}
