//! Sync managers (`gaudi-mmu-sync.md` 2). Offsets relative to a manager's block unless named `base`.

/// CFG offset of manager `index`: 0 W_S, 1 E_S, 2 W_N, 3 E_N.
#[must_use]
pub const fn base(index: usize) -> u32 {
    0x49_0000 + 0x2_0000 * index as u32
}
/// Number of managers.
pub const MANAGERS: usize = 4;
/// Sync objects per manager.
pub const SOBS: usize = 2048;
/// Monitors per manager.
pub const MONITORS: usize = 512;
/// SEI mask.
pub const SM_SEI_MASK: u32 = 0x0000;
/// SEI cause \[2:0\], log \[31:16\].
pub const SM_SEI_CAUSE: u32 = 0x0004;
/// VAL \[14:0\], INC \[31\] on write.
pub const SOB_OBJ_0: u32 = 0x2000;
/// Payload address, low half.
pub const MON_PAY_ADDRL_0: u32 = 0x4000;
/// Payload address, high half.
pub const MON_PAY_ADDRH_0: u32 = 0x4800;
/// Payload data.
pub const MON_PAY_DATA_0: u32 = 0x5000;
/// SID \[7:0\], MASK \[15:8\], SOP \[16\], SOD \[31:17\]; a write arms.
pub const MON_ARM_0: u32 = 0x5800;
/// VALID \[0\], PENDING \[8:1\], PROT \[9\].
pub const MON_STATUS_0: u32 = 0x6000;
