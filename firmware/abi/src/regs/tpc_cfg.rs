//! TPC_CFG block (`gaudi-mmu-sync.md` 4). Offsets relative to the block unless named `base`.

/// CFG offset of TPC_CFG `index` (0..=7).
#[must_use]
pub const fn base(index: usize) -> u32 {
    0xE0_6000 + 0x4_0000 * index as u32
}
/// Active copy of the descriptor.
pub const KERNEL_DESCRIPTOR: u32 = 0x400;
/// Descriptor written by QMAN or host.
pub const QM_DESCRIPTOR: u32 = 0xA00;
/// Bytes of a descriptor.
pub const DESCRIPTOR_SIZE: u32 = 0x440;
/// Pipe and queue state, [`STATUS_IDLE`] when idle.
pub const STATUS: u32 = 0x91C;
/// [`STATUS`] of an idle TPC.
pub const STATUS_IDLE: u32 = 0xEE;
/// Upper half of the sync-object address.
pub const SM_BASE_ADDRESS_HIGH: u32 = 0x92C;
/// Cache commands.
pub const TPC_CMD: u32 = 0x930;
/// A write of 1 launches the kernel in the QM descriptor.
pub const TPC_EXECUTE: u32 = 0x938;
/// Stall \[0\].
pub const TPC_STALL: u32 = 0x93C;
/// Interrupt causes \[19:0\]; cleared by writing 0.
pub const TPC_INTR_CAUSE: u32 = 0x958;
/// 1 = masked.
pub const TPC_INTR_MASK: u32 = 0x95C;
/// {bypass \[10\], asid \[9:0\]} of reads.
pub const ARUSER_LO: u32 = 0x964;
/// The same of writes.
pub const AWUSER_LO: u32 = 0x96C;
/// Writes in flight; 0 when drained.
pub const WQ_INFLIGHT_CNTR: u32 = 0x9B8;
/// Descriptor: sync-object message.
pub const QM_SYNC_OBJECT_MESSAGE: u32 = 0xD80;
/// Descriptor: sync-object address, low half.
pub const QM_SYNC_OBJECT_ADDR: u32 = 0xD84;
/// Descriptor: kernel address, low half.
pub const QM_KERNEL_BASE_ADDRESS_LOW: u32 = 0xD88;
/// Descriptor: kernel address, high half.
pub const QM_KERNEL_BASE_ADDRESS_HIGH: u32 = 0xD8C;
