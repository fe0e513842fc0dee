//! MME control block. There is no engine model yet; only what the driver's idle check reads is described.

/// CFG offset of MME_CTRL `index` (0..=3).
#[must_use]
pub const fn ctrl_base(index: usize) -> u32 {
    0x06_0000 + 0x8_0000 * index as u32
}
/// Idle and empty bits 7, 8 and 12, relative to [`ctrl_base`].
pub const ARCH_STATUS: u32 = 0x000;
/// [`ARCH_STATUS`] of an idle engine.
pub const ARCH_STATUS_IDLE: u32 = 0x1180;
/// Starts a run, relative to [`ctrl_base`].
pub const CMD: u32 = 0x280;
