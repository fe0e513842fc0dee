//! Register offsets and the device address map.
//!
//! Offsets are relative to [`CFG_BASE`] unless a module says that they are relative to a block. Names are those of the
//! driver's headers. Source: `gaudi-soc.md`, `gaudi-registers.csv`.

pub mod cpu_if;
pub mod dma_core;
pub mod efuse;
pub mod i2c;
pub mod mme;
pub mod mmu;
pub mod pcie;
pub mod psoc;
pub mod qman;
pub mod sync_manager;
pub mod tpc_cfg;

/// Device address of the register space.
pub const CFG_BASE: u64 = 0x7F_FC00_0000;
/// Bytes of the register space (the CoreSight space of the same size follows it).
pub const CFG_SIZE: u64 = 0x0200_0000;
/// Device address of SRAM.
pub const SRAM_BASE: u64 = 0x7F_F000_0000;
/// Bytes of SRAM.
pub const SRAM_SIZE: u64 = 0x0140_0000;
/// Device address of HBM.
pub const HBM_BASE: u64 = 0;
/// Bytes of HBM.
pub const HBM_SIZE: u64 = 0x8_0000_0000;
/// Device address of the SPI flash window, where the host's BAR2 starts.
pub const SPI_BASE: u64 = 0x7F_F800_0000;
/// Device address of the PSOC scratchpad SRAM.
pub const SCRATCHPAD_BASE: u64 = 0x7F_FBFE_0000;
/// Device address at which host bus address 0 appears.
pub const HOST_BASE: u64 = 0x80_0000_0000;
/// Bytes of the host window.
pub const HOST_SIZE: u64 = 1 << 48;
/// First virtual address of the MMU's host mappings.
pub const HOST_VA_BASE: u64 = 0x1_0000_0000_0000;
/// End of the MMU's virtual range, exclusive.
pub const HOST_VA_END: u64 = 0x3_FF80_0000_0000;

/// GICD_SETSPI_NSR: a write of an interrupt number reaches the management CPU. On this card it is a card register whose
/// value arrives as a notification (`decisions.md` 1).
pub const GICD_SETSPI_NSR: u32 = 0x80_0040;

/// True when `address` lies in `base .. base + size`.
#[must_use]
pub const fn within(address: u64, base: u64, size: u64) -> bool {
    address >= base && address - base < size
}
