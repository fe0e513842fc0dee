//! The I2C controller of the board-management bus: names and bits of the DesignWare controller (`decisions.md` 4).
//!
//! It differs in one point, because firmware reads registers from a shadow, where a read has no side effect: received bytes
//! are not popped from IC_DATA_CMD but lie in [`RX_WINDOW`], one per word, [`RXFLR`] of them, until a write to [`CLR_INTR`];
//! what DesignWare clears by reading is cleared by writing. The controller has no interrupt.

/// CFG offset of the block.
pub const BASE: u32 = 0xC4_0000;
/// Bytes of the block.
pub const SIZE: u32 = 0x1000;
/// Target address, 7 bits. Takes effect with the next START.
pub const TAR: u32 = BASE + 0x04;
/// A write queues one byte of a transfer: \[7:0\] data, [`DATA_READ`], [`DATA_STOP`], [`DATA_RESTART`].
pub const DATA_CMD: u32 = BASE + 0x10;
/// DATA_CMD: read a byte instead of writing one.
pub const DATA_READ: u32 = 1 << 8;
/// DATA_CMD: STOP behind the byte.
pub const DATA_STOP: u32 = 1 << 9;
/// DATA_CMD: START anew before the byte.
pub const DATA_RESTART: u32 = 1 << 10;
/// What happened since the last write of [`CLR_INTR`]: [`TX_ABRT`], [`STOP_DET`]. Read-only.
pub const RAW_INTR_STAT: u32 = BASE + 0x34;
/// RAW_INTR_STAT: the transfer was given up; [`TX_ABRT_SOURCE`] says why. What is queued of it is dropped.
pub const TX_ABRT: u32 = 1 << 6;
/// RAW_INTR_STAT: STOP was sent.
pub const STOP_DET: u32 = 1 << 9;
/// Any write clears RAW_INTR_STAT, TX_ABRT_SOURCE and the received bytes.
pub const CLR_INTR: u32 = BASE + 0x40;
/// \[0\] enables the controller, [`ENABLE_ABORT`] gives the transfer up.
pub const ENABLE: u32 = BASE + 0x6C;
/// ENABLE: give the transfer up.
pub const ENABLE_ABORT: u32 = 1 << 1;
/// \[0\] [`ACTIVITY`]. Read-only.
pub const STATUS: u32 = BASE + 0x70;
/// STATUS: a transfer has begun and not ended.
pub const ACTIVITY: u32 = 1 << 0;
/// Received bytes. Read-only.
pub const RXFLR: u32 = BASE + 0x78;
/// Why a transfer was given up: [`ABRT_ADDRESS`], [`ABRT_DATA`], [`ABRT_USER`]. Read-only.
pub const TX_ABRT_SOURCE: u32 = BASE + 0x80;
/// TX_ABRT_SOURCE: nobody acknowledged the address.
pub const ABRT_ADDRESS: u32 = 1 << 0;
/// TX_ABRT_SOURCE: a byte was not acknowledged.
pub const ABRT_DATA: u32 = 1 << 3;
/// TX_ABRT_SOURCE: by ENABLE_ABORT.
pub const ABRT_USER: u32 = 1 << 16;
/// Received bytes, one per word, in order.
pub const RX_WINDOW: u32 = BASE + 0x200;
/// Bytes that one transfer can receive; a command for more is ignored.
pub const RX_BYTES: usize = 256;
