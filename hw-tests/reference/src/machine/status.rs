//! What a host reads of a QMAN: the registers that the driver and its users look at (`qman.md` 2.6, 7.3).

use std::collections::BTreeMap;

use coxswain_abi::regs::qman::{self as regs, LOWER, STREAMS};

use super::stream::{Stream, Unit, Waiting};
use super::{Machine, Qman};

/// A status register: offset in the block, and its stream for those that have one per stream.
pub type StatusRegister = u32;

impl Machine {
    /// Status registers of a QMAN by offset in its block. Meaningful at rest. CP_CURRENT_INST is there only for a stream
    /// that a packet has stopped.
    #[must_use]
    pub fn status(&self, number: usize) -> BTreeMap<StatusRegister, u32> {
        let mut values = BTreeMap::new();
        let Some(qman) = self.qmans.get(&number) else { return values };
        let stops = self.register(number, regs::GLBL_CFG1);
        let global = global(qman, stops);
        values.insert(regs::GLBL_STS0, global);
        let idle = global & regs::STS0_IDLE == regs::STS0_IDLE;
        values.insert(regs::CGM_STS, if idle { regs::CGM_STS_IDLE } else { 0 });
        values.insert(regs::CQ_IFIFO_CNT_0 + 4 * LOWER as u32, qman.lower_queue.len() as u32);
        values.insert(regs::ARB_ERR_CAUSE, qman.arbiter_causes);
        for (stream, state) in qman.streams.iter().enumerate() {
            let index = 4 * stream as u32;
            values.insert(regs::GLBL_STS1_0 + index, state.causes);
            if stream != LOWER {
                values.insert(regs::PQ_CI_0 + index, state.consumer);
            }
            let group = regs::CQ_STRIDE * stream as u32;
            values.insert(regs::CQ_PTR_LO_0 + group, state.shown.0 as u32);
            values.insert(regs::CQ_PTR_HI_0 + group, (state.shown.0 >> 32) as u32);
            values.insert(regs::CQ_TSIZE_0 + group, state.shown.1);
            for (id, counter) in (0..).zip(state.fences) {
                values.insert(regs::CP_FENCE0_CNT_0 + regs::FENCE_STRIDE * id + index, counter);
            }
            values.insert(regs::CP_STS_0 + index, command_processor(state));
            if state.failed.contains(&Unit::Cp)
                && let Some((low, high)) = state.failed_header
            {
                values.insert(regs::CP_CURRENT_INST_LO_0 + index, low);
                values.insert(regs::CP_CURRENT_INST_HI_0 + index, high);
            }
        }
        values
    }
}

/// CP_STS: SW_STOP, FENCE_ID, FENCE_IN_PROGRESS. A stopped command processor does not wait for its fence.
fn command_processor(state: &Stream) -> u32 {
    let fence = match state.waiting {
        Some(Waiting::Fence { id, .. }) if !state.failed.contains(&Unit::Cp) => 1 << 22 | u32::from(id) << 20,
        _ => 0,
    };
    fence | u32::from(state.software_stop) << 19
}

/// GLBL_STS0. A unit is idle when there is no work for it; a stream of which a unit failed is not idle, so that the driver
/// resets (`qman.md` 7.2).
fn global(qman: &Qman, stops: u32) -> u32 {
    let mut value = u32::from(qman.arbiter.stopped) << 31;
    for (stream, state) in qman.streams.iter().enumerate() {
        let waiting_buffers = stream == LOWER && !qman.lower_queue.is_empty();
        let busy = state.enabled && (state.buffer.is_some() || waiting_buffers || !state.failed.is_empty());
        let stopped = |unit: Unit| {
            let requested = stops >> (unit.first_bit() + stream) & 1 == 1;
            state.enabled && (state.failed.contains(&unit) || requested)
        };
        for unit in [Unit::Pqf, Unit::Cqf, Unit::Cp] {
            if unit == Unit::Pqf && stream == LOWER {
                continue;
            }
            let idle = if unit == Unit::Pqf { state.producer == state.consumer } else { !busy };
            value |= u32::from(idle) << (unit.first_bit() + stream);
            value |= u32::from(stopped(unit)) << (16 + unit.first_bit() + stream);
        }
    }
    value
}

const _: () = assert!(STREAMS == 5);
