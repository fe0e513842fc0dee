//! QMAN block (`qman.md` 2). Offsets relative to the block unless named `base`.

/// Kind of engine behind a QMAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// DMA core.
    Dma,
    /// Tensor processing core.
    Tpc,
    /// Matrix engine.
    Mme,
}

/// CFG offset of QMAN `index`: 0..=7 DMA, 8..=15 TPC, 16 MME0, 17 MME2.
#[must_use]
pub const fn base(index: usize) -> u32 {
    match index {
        0..=7 => 0x50_8000 + 0x2_0000 * index as u32,
        8..=15 => 0xE0_8000 + 0x4_0000 * (index as u32 - 8),
        16 => 0x06_8000,
        _ => 0x16_8000,
    }
}

/// CFG offset of the engine block at window offset 0 of QMAN `index`.
#[must_use]
pub const fn engine_base(index: usize) -> u32 {
    match index {
        0..=7 => super::dma_core::base(index),
        8..=15 => super::tpc_cfg::base(index - 8),
        16 => super::mme::ctrl_base(0),
        _ => super::mme::ctrl_base(2),
    }
}

/// Kind of engine behind QMAN `index`.
#[must_use]
pub const fn engine_kind(index: usize) -> EngineKind {
    match index {
        0..=7 => EngineKind::Dma,
        8..=15 => EngineKind::Tpc,
        _ => EngineKind::Mme,
    }
}

/// The QMAN that owns CFG offset `offset` (within its 4 KiB block), with the offset inside the block.
#[must_use]
pub const fn find(offset: u32) -> Option<(usize, u32)> {
    let block = offset & !0xFFF;
    let inside = offset & 0xFFF;
    let index = if block >= 0x50_8000 && block < 0x60_0000 && (block - 0x50_8000) & 0x1_FFFF == 0 {
        (block - 0x50_8000) / 0x2_0000
    } else if block >= 0xE0_8000 && block < 0x100_0000 && (block - 0xE0_8000) & 0x3_FFFF == 0 {
        8 + (block - 0xE0_8000) / 0x4_0000
    } else if block == 0x06_8000 {
        16
    } else if block == 0x16_8000 {
        17
    } else {
        return None;
    };
    Some((index as usize, inside))
}

/// Streams per QMAN: four upper CPs and the lower CP.
pub const STREAMS: usize = 5;
/// Number of the lower CP.
pub const LOWER: usize = 4;

/// PQF_EN \[3:0\], CQF_EN \[8:4\], CP_EN \[13:9\].
pub const GLBL_CFG0: u32 = 0x000;
/// PQF_STOP \[3:0\], CQF_STOP \[8:4\], CP_STOP \[13:9\].
pub const GLBL_CFG1: u32 = 0x004;
/// Secure units: PQF \[3:0\], CQF \[8:4\], CP \[13:9\], ERR \[14\].
pub const GLBL_PROT: u32 = 0x008;
/// Error messages \[13:0\], stop on error: PQF \[19:16\], CQF \[24:20\], CP \[29:25\], ARB \[31\].
pub const GLBL_ERR_CFG: u32 = 0x00C;
/// ASID \[9:0\], MMU bypass \[10\]; five registers.
pub const GLBL_SECURE_PROPS_0: u32 = 0x010;
/// The same for non-secure units; five registers.
pub const GLBL_NON_SECURE_PROPS_0: u32 = 0x024;
/// Idle: PQF \[3:0\], CQF \[8:4\], CP \[13:9\]; stopped: PQF \[19:16\], CQF \[24:20\], CP \[29:25\], ARB \[31\].
pub const GLBL_STS0: u32 = 0x038;
/// Error causes, five registers; write 1 to clear. Bits in [`cause`].
pub const GLBL_STS1_0: u32 = 0x040;
/// Message enables of streams 0..=3; the lower CP's is at [`GLBL_MSG_EN_4`].
pub const GLBL_MSG_EN_0: u32 = 0x054;
/// Message enable of the lower CP (note the gap).
pub const GLBL_MSG_EN_4: u32 = 0x068;
/// Ring address, low half; four registers.
pub const PQ_BASE_LO_0: u32 = 0x070;
/// High half.
pub const PQ_BASE_HI_0: u32 = 0x080;
/// log2(entries).
pub const PQ_SIZE_0: u32 = 0x090;
/// Producer index; a write is a doorbell.
pub const PQ_PI_0: u32 = 0x0A0;
/// Consumer index.
pub const PQ_CI_0: u32 = 0x0B0;
/// Command buffer address, low half; five groups of stride 0x10.
pub const CQ_PTR_LO_0: u32 = 0x174;
/// High half.
pub const CQ_PTR_HI_0: u32 = 0x178;
/// Bytes.
pub const CQ_TSIZE_0: u32 = 0x17C;
/// A write starts the fetch.
pub const CQ_CTL_0: u32 = 0x180;
/// Distance between two streams' CQ groups.
pub const CQ_STRIDE: u32 = 0x10;
/// Pending descriptors in the CQ input FIFO; five registers.
pub const CQ_IFIFO_CNT_0: u32 = 0x214;
/// Message base 0, low half; five registers, bases 0x28 apart.
pub const CP_MSG_BASE0_ADDR_LO_0: u32 = 0x228;
/// Message base 0, high half; five registers, bases 0x28 apart.
pub const CP_MSG_BASE0_ADDR_HI_0: u32 = 0x23C;
/// Distance between two message bases.
pub const CP_MSG_BASE_STRIDE: u32 = 0x28;
/// Window offset of {size, control}.
pub const CP_LDMA_TSIZE_OFFSET_0: u32 = 0x2C8;
/// Window offset of the source.
pub const CP_LDMA_SRC_BASE_LO_OFFSET_0: u32 = 0x2E0;
/// Window offset of the destination.
pub const CP_LDMA_DST_BASE_LO_OFFSET_0: u32 = 0x2F4;
/// A write adds to fence counter 0; four groups of [`FENCE_STRIDE`], five registers each.
pub const CP_FENCE0_RDATA_0: u32 = 0x308;
/// Fence counter 0; four groups of [`FENCE_STRIDE`], five registers each.
pub const CP_FENCE0_CNT_0: u32 = 0x358;
/// Distance between two fences' groups.
pub const FENCE_STRIDE: u32 = 0x14;
/// State of a command processor; fields in [`fields::CP_STS`].
pub const CP_STS_0: u32 = 0x3A8;
/// First word of the current packet.
pub const CP_CURRENT_INST_LO_0: u32 = 0x3BC;
/// Control word of the current packet.
pub const CP_CURRENT_INST_HI_0: u32 = 0x3D0;
/// Arbiter configuration.
pub const ARB_CFG_0: u32 = 0xA00;
/// A write pushes a stream number into a slave's choice queue.
pub const ARB_CHOISE_Q_PUSH: u32 = 0xA04;
/// Weights of the streams; four registers.
pub const ARB_WRR_WEIGHT_0: u32 = 0xA08;
/// Written by slaves: returns a credit.
pub const ARB_MST_CRED_INC: u32 = 0xAA0;
/// Offset from ARB_BASE of slave n's choice queue; 32 registers.
pub const ARB_MST_CHOISE_PUSH_OFST_0: u32 = 0xAA4;
/// Offset from ARB_BASE of the master's credit register.
pub const ARB_SLV_MASTER_INC_CRED_OFST: u32 = 0xB28;
/// Bit per slave that is told of each grant.
pub const ARB_MST_SLAVE_EN: u32 = 0xB2C;
/// Identity of a slave, 0..=31.
pub const ARB_SLV_ID: u32 = 0xB3C;
/// Base of arbiter messages, low half.
pub const ARB_BASE_LO: u32 = 0xB54;
/// High half.
pub const ARB_BASE_HI: u32 = 0xB58;
/// Arbiter error cause: choice overflow \[0\], choice watchdog \[1\], message error \[2\].
pub const ARB_ERR_CAUSE: u32 = 0xB9C;
/// Longest time that a slave's choice may stand, in cycles of 1 ns; 0 = no limit.
pub const ARB_SLV_CHOISE_WDT: u32 = 0xB38;
/// Choices that a slave holds, 0..=64.
pub const ARB_CHOISE_FULLNESS_STS: u32 = 0xB84;
/// Stream at the head of a slave's choices.
pub const ARB_SLV_CHOISE_Q_HEAD: u32 = 0xB8C;
/// Enables of the error message, bits as [`ARB_ERR_CAUSE`].
pub const ARB_ERR_MSG_EN: u32 = 0xBA0;
/// Clock gating status; 0x700 when idle, AGENT_IDLE \[8\].
pub const CGM_STS: u32 = 0xC74;
/// Error message address, low half.
pub const GLBL_ERR_ADDR_LO: u32 = 0xCD0;
/// High half.
pub const GLBL_ERR_ADDR_HI: u32 = 0xCD4;
/// Error message data.
pub const GLBL_ERR_WDATA: u32 = 0xCD8;

/// Bit fields of registers with several.
// The macro writes items of its own that cannot be documented.
#[allow(missing_docs)]
pub mod fields {
    tock_registers::register_bitfields![u32,
        /// Fields of CP_STS_n.
        pub CP_STS [
            /// Messages that are not answered.
            MSG_INFLIGHT_CNT OFFSET(0) NUMBITS(16) [],
            /// Stopped by a STOP packet.
            SW_STOP OFFSET(19) NUMBITS(1) [],
            /// Counter that a FENCE packet waits for.
            FENCE_ID OFFSET(20) NUMBITS(2) [],
            /// A FENCE packet waits.
            FENCE_IN_PROGRESS OFFSET(22) NUMBITS(1) []
        ]
    ];
}

/// GLBL_STS0 with every unit idle and none stopped.
pub const STS0_IDLE: u32 = 0x3FFF;
/// CGM_STS of an idle QMAN.
pub const CGM_STS_IDLE: u32 = 0x700;

/// Bits of GLBL_STS1_n.
pub mod cause {
    /// PQ read failed.
    pub const PQF_RD: u32 = 1 << 0;
    /// Command buffer read failed.
    pub const CQF_RD: u32 = 1 << 1;
    /// CP read failed.
    pub const CP_RD: u32 = 1 << 2;
    /// Undefined or illegal packet.
    pub const UNDEF_CMD: u32 = 1 << 3;
    /// STOP packet.
    pub const STOP_OP: u32 = 1 << 4;
    /// Message write failed.
    pub const MSG_WR: u32 = 1 << 5;
    /// Register write failed.
    pub const WREG: u32 = 1 << 6;
    /// Fence 0 clipped at its maximum; fence x is `<< x`.
    pub const FENCE0_OVF: u32 = 1 << 8;
    /// Fence 0 clipped at 0; fence x is `<< x`.
    pub const FENCE0_UDF: u32 = 1 << 12;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_qman_is_found_by_its_registers() {
        for index in 0..18 {
            assert_eq!(find(base(index) + 0xA0), Some((index, 0xA0)));
        }
        assert_eq!(find(0x50_0014), None);
        assert_eq!(find(0x0E_8000), None);
        assert_eq!(find(0xFC_8000), Some((15, 0)));
    }
}
