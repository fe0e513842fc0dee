//! PCIe wrapper, auxiliary and ELBI registers. Offsets from CFG_BASE, or config space where said.

/// A write of 1 raises MSI vector 0.
pub const CORE_MSI_REQ: u32 = 0xC0_4100;
/// Read by the driver to flush host-bound writes; value ignored.
pub const WRAP_RR_ELBI_RD_SEC_REG_CTRL: u32 = 0xC0_1208;
/// Host accesses become secure.
pub const WRAP_LBW_PROT_OVR: u32 = 0xC0_1B48;
/// DBI window; iATU registers are offsets from here while [`AUX_DBI`] selects them.
pub const DBI: u32 = 0xC0_2000;
/// Selects what a DBI access reaches; [`AUX_DBI_IATU`] = iATU.
pub const AUX_DBI: u32 = 0xC0_7490;
/// Value of [`AUX_DBI`] for the iATU.
pub const AUX_DBI_IATU: u32 = 0x0030_0000;
/// FLR control.
pub const AUX_FLR_CTRL: u32 = 0xC0_7394;
/// Config-space offset: low 32 bits of the device address.
pub const ELBI_ADDR: u16 = 0xFF0;
/// Config-space offset: data.
pub const ELBI_DATA: u16 = 0xFF4;
/// Config-space offset: a write starts the access; bit 31 = write.
pub const ELBI_CTRL: u16 = 0xFF8;
/// Config-space offset: done \[31\], error \[30\].
pub const ELBI_STS: u16 = 0xFFC;
