//! Addresses of the machine and of what this firmware puts into its memories.
//!
//! Machine addresses are those of `qemu-system-aarch64 -M virt,secure=on,gic-version=3,msi=gicv2m` (`emulation.md` 4).
//! The layout of secure RAM is ours; the linker scripts repeat the image regions.

/// GIC distributor.
pub const GICD: usize = 0x0800_0000;
/// GICv2m frame; a write of an INTID to [`MSI_DOORBELL`] raises it.
pub const GICV2M: u64 = 0x0802_0000;
/// Where a message-signalled interrupt is written.
pub const MSI_DOORBELL: u64 = GICV2M + 0x40;
/// First INTID of the GICv2m frame.
pub const MSI_FIRST_INTID: u32 = 80;
/// GIC redistributors, 128 KiB per core.
pub const GICR: usize = 0x080A_0000;
/// Distance between two cores' redistributors.
pub const GICR_STRIDE: usize = 0x2_0000;
/// First PL011: text for people.
pub const UART_TEXT: usize = 0x0900_0000;
/// Second PL011, reachable from Secure state only: defmt frames.
pub const UART_LOG: usize = 0x0904_0000;
/// PCI configuration space, one 4 KiB page per function.
pub const ECAM: usize = 0x40_1000_0000;
/// Bytes of ECAM for bus 0.
pub const ECAM_BUS_SIZE: usize = 0x10_0000;
/// 64-bit PCI memory window.
pub const PCI_WINDOW: u64 = 0x80_0000_0000;
/// End of the 64-bit PCI memory window, exclusive: the top of the 40-bit physical address space.
pub const PCI_WINDOW_END: u64 = 0x100_0000_0000;

/// Device number of the SoC-side function on bus 0.
pub const SOC_DEVICE: u8 = 1;
/// Where the ROM puts BAR0 (SRAM, shadow, rings) of the SoC-side function.
pub const BAR0: u64 = PCI_WINDOW;
/// Where the ROM puts BAR2 (the host's memory); the slot takes up to 16 GiB.
pub const BAR2: u64 = PCI_WINDOW + 0x4_0000_0000;
/// Where the ROM puts BAR4 (HBM); the slot takes up to 32 GiB.
pub const BAR4: u64 = PCI_WINDOW + 0x8_0000_0000;
/// Largest size of BAR2 that fits its slot.
pub const BAR2_MAX: u64 = 0x4_0000_0000;
/// Largest size of BAR4 that fits its slot.
pub const BAR4_MAX: u64 = 0x8_0000_0000;

/// Secure RAM.
pub const SECURE_RAM: u64 = 0x0E00_0000;
/// Bytes of secure RAM.
pub const SECURE_RAM_SIZE: u64 = 0x0100_0000;
/// What the ROM and its monitor keep: data, stacks, mail boxes. No other image writes here.
pub const ROM_RAM_SIZE: u64 = 0xF_0000;
/// The hand-over structure between the stages ([`crate::boot_info::BootInfo`]), one page.
pub const BOOT_INFO: u64 = 0x0E0F_0000;
/// The record of the last fatal error (`epitaph::Epitaph`), one page; survives a reset of the CPU.
pub const EPITAPH: u64 = 0x0E0F_1000;
/// Load address, entry point and region of the boot-fit image.
pub const BOOTFIT: u64 = 0x0E10_0000;
/// Bytes of the boot-fit's region.
pub const BOOTFIT_SIZE: u64 = 0x30_0000;
/// Load address, entry point and region of the control image.
pub const CONTROL: u64 = 0x0E40_0000;
/// Bytes of the control image's region.
pub const CONTROL_SIZE: u64 = 0x60_0000;
/// The machine's ordinary RAM. Neither the host nor a bus master of the card's user side reaches it.
pub const RAM: u64 = 0x4000_0000;
/// Where a stage copies an image container before it verifies it: out of memory that the host can write.
pub const RECEIVE: u64 = 0x4100_0000;
/// Bytes of the receive buffer: the driver's limit for an image file is 20 MiB (`boot-protocol.md` 9).
pub const RECEIVE_SIZE: u64 = 0x0140_0000;
/// Cores of the machine at most.
pub const CORES: usize = 4;
