//! CPU_IF: the queue registers between host and management CPU (`cpucp.md` 2). Offsets from CFG_BASE.

/// Bits 49:39 of host addresses issued by the management CPU.
pub const CPU_MSB_ADDR: u32 = 0x44_212C;
/// PQ producer index, 0..=8191.
pub const PF_PQ_PI: u32 = 0x44_2200;
/// PQ base, low half.
pub const PQ_BASE_ADDR_LOW: u32 = 0x44_2204;
/// PQ base, high half.
pub const PQ_BASE_ADDR_HIGH: u32 = 0x44_2208;
/// PQ length in bytes.
pub const PQ_LENGTH: u32 = 0x44_220C;
/// Start of the shared area, low half.
pub const CQ_BASE_ADDR_LOW: u32 = 0x44_2210;
/// Start of the shared area, high half.
pub const CQ_BASE_ADDR_HIGH: u32 = 0x44_2214;
/// Length of the shared area in bytes.
pub const CQ_LENGTH: u32 = 0x44_2218;
/// EQ base, low half.
pub const EQ_BASE_ADDR_LOW: u32 = 0x44_2220;
/// EQ base, high half.
pub const EQ_BASE_ADDR_HIGH: u32 = 0x44_2224;
/// EQ length in bytes.
pub const EQ_LENGTH: u32 = 0x44_2228;
/// EQ consumer index, 0..=63.
pub const EQ_RD_OFFS: u32 = 0x44_222C;
/// Handshake: host writes 3, firmware answers 2.
pub const QUEUE_INIT: u32 = 0x44_2230;
