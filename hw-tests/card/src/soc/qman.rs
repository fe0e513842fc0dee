//! The hardware part of a QMAN's register block (`qman.md` 2). The queue manager itself is firmware.
//!
//! For: what a bus write into the block does: doorbell, notification, write 1 to clear, or plain storage. Owns: nothing
//! beyond the registers. Never: lets a bus write change a status that firmware publishes.

use std::ops::Range;

use coxswain_abi::regs::qman as regs;
use coxswain_abi::soc::{Attributes, Notification};

use super::bus::Bus;

/// Status registers that firmware publishes through status stores.
const PUBLISHED: &[Range<u32>] = &[
    regs::GLBL_STS0..regs::GLBL_STS0 + 4,
    // PQ_STS0, PQ_STS1.
    0x0F0..0x110,
    // CQ_STS0, CQ_STS1.
    0x14C..regs::CQ_PTR_LO_0,
    // CQ_PTR_LO_STS to CQ_IFIFO_CNT.
    0x1C4..regs::CP_MSG_BASE0_ADDR_LO_0,
    // CP_STS, CP_CURRENT_INST.
    regs::CP_STS_0..0x3E4,
    // CP_DBG_0.
    0x408..0x41C,
    // ARB_STATE_STS to ARB_SLV_CHOISE_Q_HEAD.
    0xB80..0xB90,
    // ARB_ERR_STS_DRP.
    0xBA8..0xBAC,
    // ARB_MST_CRED_STS.
    0xBB0..0xC30,
    regs::CGM_STS..regs::CGM_STS + 4,
    // GLBL_MEM_INIT_BUSY.
    0xD00..0xD04,
];
const GLBL_STS1: Range<u32> = regs::GLBL_STS1_0..regs::GLBL_STS1_0 + 4 * regs::STREAMS as u32;
const PQ_PI: Range<u32> = regs::PQ_PI_0..regs::PQ_PI_0 + 16;
const PQ_CI: Range<u32> = regs::PQ_CI_0..regs::PQ_CI_0 + 16;
const CQ_GROUPS: Range<u32> = regs::CQ_PTR_LO_0..regs::CQ_PTR_LO_0 + regs::STREAMS as u32 * regs::CQ_STRIDE;
const FENCE_RDATA: Range<u32> = regs::CP_FENCE0_RDATA_0..regs::CP_FENCE0_CNT_0;
const FENCE_CNT: Range<u32> = regs::CP_FENCE0_CNT_0..regs::CP_STS_0;
/// Everything of the arbiter.
const ARB: Range<u32> = regs::ARB_CFG_0..0xC30;

impl Bus {
    /// A write at `inside` the block of QMAN `qman`.
    pub(super) fn write_qman(&mut self, qman: usize, inside: u32, value: u32, access: Attributes) {
        let place = regs::base(qman) + inside;
        let registers = self.hardware.registers.clone();
        let notification = Notification::RegisterWrite { offset: place, value, secure: access.secure() };
        if GLBL_STS1.contains(&inside) || inside == regs::ARB_ERR_CAUSE {
            registers.clear_bits(place, value);
        } else if PQ_PI.contains(&inside) {
            registers.write(place, value);
            let stream = (inside - regs::PQ_PI_0) as usize / 4;
            self.notifier.doorbell(&self.hardware.memories, qman, stream, value);
        } else if PQ_CI.contains(&inside) {
            // A plain value at initialisation, firmware's while the QMAN is enabled (`qman.md` 10 #25).
            if registers.read(regs::base(qman) + regs::GLBL_CFG0) == 0 {
                registers.write(place, value);
            }
        } else if FENCE_RDATA.contains(&inside) {
            let index = (inside - regs::CP_FENCE0_RDATA_0) / 4;
            registers.write(place, value);
            self.notify(Notification::Fence {
                qman: qman as u8,
                stream: (index % regs::STREAMS as u32) as u8,
                fence: (index / regs::STREAMS as u32) as u8,
                increment: (value & 0xF) as u8,
            });
        } else if FENCE_CNT.contains(&inside) {
            // The counter is firmware's: it takes the value over and publishes it (`decisions.md` 3.8).
            self.notify(notification);
        } else if PUBLISHED.iter().any(|range| range.contains(&inside)) {
        } else {
            registers.write(place, value);
            let starts_a_fetch = CQ_GROUPS.contains(&inside)
                && (inside - regs::CQ_PTR_LO_0) % regs::CQ_STRIDE == regs::CQ_CTL_0 - regs::CQ_PTR_LO_0;
            if starts_a_fetch || ARB.contains(&inside) || matches!(inside, regs::GLBL_CFG0 | regs::GLBL_CFG1) {
                self.notify(notification);
            }
        }
    }
}
