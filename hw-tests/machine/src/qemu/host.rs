//! Command line of the host machine: x86-64 with the Linux guest, the card in a PCIe slot.
//!
//! Facts: `emulation.md` 1, `decisions.md` 3.10.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::machine::Builder;
use crate::provision::{Emulator, Qemu};

/// Smallest and largest memory in MiB. Above the upper bound q35 splits its memory around the PCI hole, which the card
/// would have to know.
pub const MEMORY_MIB: std::ops::RangeInclusive<u64> = 256..=2816;

/// Parameters of the host machine.
pub struct HostMachine<'a> {
    /// The emulators.
    pub qemu: &'a Qemu,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The file behind its memory, shared with the card; `None`: private memory.
    pub memory: Option<OwnedFd>,
    /// Socket of the card's host-side function; `None`: no card.
    pub card: Option<PathBuf>,
    /// Linux image.
    pub kernel: &'a Path,
    /// Initramfs.
    pub initramfs: &'a Path,
    /// Kernel parameters beyond the harness's own.
    pub parameters: String,
    /// Folder offered to the guest as the 9p share `share`.
    pub share: Option<PathBuf>,
    /// Wait for a debugger.
    pub gdb: bool,
}

/// Checks a memory size.
///
/// # Errors
/// When it is outside [`MEMORY_MIB`].
pub fn check_memory(mib: u64) -> anyhow::Result<()> {
    if !MEMORY_MIB.contains(&mib) {
        bail!("memory of {mib} MiB: the guest can have {} to {} MiB", MEMORY_MIB.start(), MEMORY_MIB.end());
    }
    Ok(())
}

impl HostMachine<'_> {
    /// Builds the command line.
    ///
    /// # Errors
    /// When a parameter is out of range or sockets cannot be made.
    pub fn build(self) -> anyhow::Result<Builder> {
        check_memory(self.memory_mib)?;
        let mut builder = Builder::new("qemu-system-x86_64", self.qemu.command(Emulator::Host))?;
        let size = format!("{}M", self.memory_mib);
        let backend = match self.memory {
            Some(memory) => {
                let fd = builder.inherit(memory);
                format!("memory-backend-file,id=mem0,size={size},mem-path=/proc/self/fd/{fd},share=on")
            }
            None => format!("memory-backend-memfd,id=mem0,size={size},share=on"),
        };
        builder.args(["-machine", "q35,memory-backend=mem0", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", &size]);
        builder.args(["-object", &backend, "-no-reboot"]);
        builder.serial()?.serial()?.serial()?;
        builder.args(["-device", "pcie-root-port,id=rp0,chassis=1,slot=1"]);
        if let Some(socket) = &self.card {
            builder.args(["-device", &super::vfio_user("rp0", None, socket)]);
        }
        if let Some(folder) = &self.share {
            // Commas separate options; a doubled one stands for itself.
            let folder = folder.to_string_lossy().replace(',', ",,");
            builder.args(["-fsdev", &format!("local,id=share,path={folder},security_model=none,multidevs=remap")]);
            builder.args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]);
        }
        if self.gdb {
            builder.wait_for_debugger()?;
        }
        builder.args([Path::new("-kernel"), self.kernel, Path::new("-initrd"), self.initramfs]);
        // Everything to the console: it is the record of the kernel's messages even when the kernel dies.
        let parameters = format!(
            "console=ttyS0 loglevel=7 panic=-1 nokaslr mitigations=off printk.time=1 8250.nr_uarts=4 {}",
            self.parameters
        );
        builder.args(["-append", parameters.trim()]);
        Ok(builder)
    }
}
