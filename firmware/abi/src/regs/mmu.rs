//! MMU (STLB and MMU_UP blocks, `gaudi-mmu-sync.md` 1). Offsets from CFG_BASE.

/// Bit 31 written as 1 loads the hop-0 pointer and reads back 0.
pub const STLB_BUSY: u32 = 0xC1_2000;
/// ASID for the hop-0 load.
pub const STLB_ASID: u32 = 0xC1_2004;
/// Hop-0 address bits 43:12.
pub const STLB_HOP0_PA43_12: u32 = 0xC1_2008;
/// Hop-0 address bits 49:44.
pub const STLB_HOP0_PA49_44: u32 = 0xC1_200C;
/// Invalidation producer index.
pub const STLB_CACHE_INV: u32 = 0xC1_2010;
/// Invalidation: the host writes 3, then 2, and waits for 0.
pub const STLB_INV_PS: u32 = 0xC1_203C;
/// Written 0 after an invalidation.
pub const STLB_INV_SET: u32 = 0xC1_2048;
/// Memory-cache invalidation.
pub const STLB_MEM_CACHE_INVALIDATION: u32 = 0xC1_2050;
/// Translation enable \[0\].
pub const MMU_ENABLE: u32 = 0xC1_100C;
/// First page fault: valid \[18\], VA 49:32 \[17:0\]; the host writes 0 to re-arm.
pub const PAGE_ERROR_CAPTURE: u32 = 0xC1_1034;
/// VA 31:0 of the first page fault.
pub const PAGE_ERROR_CAPTURE_VA: u32 = 0xC1_1038;
/// First access (permission) error, as [`PAGE_ERROR_CAPTURE`].
pub const ACCESS_ERROR_CAPTURE: u32 = 0xC1_103C;
/// VA 31:0 of it.
pub const ACCESS_ERROR_CAPTURE_VA: u32 = 0xC1_1040;
/// A blocked write was captured; the host writes 0 to re-arm.
pub const RAZWI_WRITE_VLD: u32 = 0xC1_105C;
/// Its initiator.
pub const RAZWI_WRITE_ID: u32 = 0xC1_1060;
/// A blocked read was captured; the host writes 0 to re-arm.
pub const RAZWI_READ_VLD: u32 = 0xC1_1064;
/// Its initiator.
pub const RAZWI_READ_ID: u32 = 0xC1_1068;
/// Valid bit of the capture registers.
pub const CAPTURE_VALID: u32 = 1 << 18;
