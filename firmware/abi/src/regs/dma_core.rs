//! DMA core block (`gaudi-mmu-sync.md` 3). Offsets relative to the block unless named `base`.

/// CFG offset of DMA core `index` (0..=7).
#[must_use]
pub const fn base(index: usize) -> u32 {
    0x50_0000 + 0x2_0000 * index as u32
}
/// Enable \[0\].
pub const CFG_0: u32 = 0x000;
/// Halt \[0\], flush \[1\].
pub const CFG_1: u32 = 0x004;
/// Source address, or the 64-bit pattern of a memset, low half.
pub const SRC_BASE_LO: u32 = 0x014;
/// High half.
pub const SRC_BASE_HI: u32 = 0x018;
/// Destination address, low half.
pub const DST_BASE_LO: u32 = 0x01C;
/// Destination address \[23:0\], context id \[31:24\].
pub const DST_BASE_HI: u32 = 0x020;
/// Bytes of source dimension 0.
pub const SRC_TSIZE_0: u32 = 0x04C;
/// Bytes of destination dimension 0; the size of a linear transfer.
pub const DST_TSIZE_0: u32 = 0x074;
/// Starts a transfer; bits as in [`commit`].
pub const COMMIT: u32 = 0x078;
/// Completion write: data.
pub const WR_COMP_WDATA: u32 = 0x07C;
/// Completion write: address, low half.
pub const WR_COMP_ADDR_LO: u32 = 0x080;
/// High half.
pub const WR_COMP_ADDR_HI: u32 = 0x084;
/// Secure attributes: value \[0\], error message \[1\].
pub const PROT: u32 = 0x0B8;
/// ASID \[9:0\], MMU bypass \[10\] of secure transfers.
pub const SECURE_PROPS: u32 = 0x0F0;
/// The same of non-secure transfers.
pub const NON_SECURE_PROPS: u32 = 0x0F4;
/// Error message enable \[0\], stop on error \[1\].
pub const ERR_CFG: u32 = 0x160;
/// Causes: HBW read \[0\], HBW write \[1\], LBW write \[2\], descriptor overflow \[3\]; write 1 to clear.
pub const ERR_CAUSE: u32 = 0x164;
/// Error message address, low half.
pub const ERRMSG_ADDR_LO: u32 = 0x170;
/// High half.
pub const ERRMSG_ADDR_HI: u32 = 0x174;
/// Error message data.
pub const ERRMSG_WDATA: u32 = 0x178;
/// Read requests \[14:0\], write requests \[30:16\], busy \[31\].
pub const STS0: u32 = 0x190;
/// Halted \[0\].
pub const STS1: u32 = 0x194;

/// Bits of [`COMMIT`], which are those of a LIN_DMA packet's control word.
pub mod commit {
    /// Send the completion write.
    pub const WR_COMP_EN: u32 = 1 << 0;
    /// Transpose.
    pub const TRANSPOSE: u32 = 1 << 1;
    /// Data type of the transpose engine.
    pub const DTYPE: u32 = 1 << 2;
    /// Linear transfer.
    pub const LIN: u32 = 1 << 3;
    /// Fill with the pattern in the source address.
    pub const MEM_SET: u32 = 1 << 4;
    /// Compress.
    pub const COMPRESS: u32 = 1 << 5;
    /// Decompress.
    pub const DECOMPRESS: u32 = 1 << 6;
}

/// Bits of [`ERR_CAUSE`].
pub mod err_cause {
    /// A read failed.
    pub const HBW_RD: u32 = 1 << 0;
    /// A write failed.
    pub const HBW_WR: u32 = 1 << 1;
    /// The completion write failed.
    pub const LBW_WR: u32 = 1 << 2;
    /// More descriptors than the core holds, or one it cannot execute.
    pub const DESC_OVF: u32 = 1 << 3;
}
