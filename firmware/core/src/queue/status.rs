//! What hosts can read of a QMAN: published when it changed, at the end of a round.
//!
//! The registers are those that the driver and its users look at (`qman.md` 2.6, 7.3): idle and stop bits, consumer index,
//! the buffer in execution, fence state and counters. They are stored through the same ring as the messages, so a host that
//! sees a completion message soon sees the idle bits that belong to it.

use coxswain_abi::regs::qman::fields::CP_STS;
use coxswain_abi::regs::qman::{self as regs, LOWER, STREAMS, cause};

use super::qman::Qman;
use super::stream::{Activity, Blocked, Stream, Unit};
use super::{QueuePorts, ROOM};

/// GLBL_STS0: the arbiter is stopped.
const ARBITER_STOPPED: u32 = 1 << 31;

/// Last published values of one stream.
#[derive(Clone, Copy, PartialEq, Eq)]
struct StreamStatus {
    consumer: u32,
    address: u64,
    size: u32,
    cp: u32,
    fences: [u16; 4],
}

/// Last published values of a QMAN.
pub(super) struct Published {
    streams: [StreamStatus; STREAMS],
    global: u32,
    /// What `global` becomes when the streams published so far are all that changed.
    streams_global: u32,
    lower_queue: u32,
    /// Number and head of the arbiter's choices.
    choices: (u32, u32),
}

impl Published {
    /// The values after a reset of the card.
    pub const fn new() -> Self {
        let stream = StreamStatus { consumer: 0, address: 0, size: 0, cp: 0, fences: [0; 4] };
        Self {
            streams: [stream; STREAMS],
            global: regs::STS0_IDLE,
            streams_global: regs::STS0_IDLE,
            lower_queue: 0,
            choices: (0, 0),
        }
    }
}

impl Published {
    /// The host has written the registers that show the lower CP's buffer.
    pub fn note_lower(&mut self, address: u64, size: u32) {
        if let Some(lower) = self.streams.get_mut(LOWER) {
            (lower.address, lower.size) = (address, size);
        }
    }
}

/// Publishes what changed; false when there was no room for all of it. Looks only at the streams that were touched.
pub(super) fn publish<P: QueuePorts>(qman: &mut Qman, ports: &mut P) -> bool {
    let base = qman.description.base;
    // A stream needs at most nine writes and the QMAN five, so the room for the last stream is enough for both.
    if !ports.has_room(ROOM) {
        return false;
    }
    let waiting = qman.shared.lower.len() as u32;
    if qman.published.lower_queue != waiting {
        qman.touched |= 1 << LOWER;
    }
    let mut global = qman.published.streams_global;
    while qman.touched != 0 {
        let number = qman.touched.trailing_zeros() as usize;
        if let (Some(stream), Some(last)) = (qman.streams.get(number), qman.published.streams.get_mut(number)) {
            publish_stream(base, number, stream, last, ports);
            global = global & !stream_bits(number) | stream_status(number, stream, waiting != 0);
            qman.published.streams_global = global;
        }
        qman.touched &= qman.touched.wrapping_sub(1);
        if qman.touched != 0 && !ports.has_room(ROOM) {
            return false;
        }
    }
    update(&mut qman.published.lower_queue, waiting, base.wrapping_add(regs::CQ_IFIFO_CNT_0 + 4 * LOWER as u32), ports);
    let choices = qman.shared.arbiter.choices();
    if qman.published.choices != choices {
        update(&mut qman.published.choices.0, choices.0, base.wrapping_add(regs::ARB_CHOISE_FULLNESS_STS), ports);
        update(&mut qman.published.choices.1, choices.1, base.wrapping_add(regs::ARB_SLV_CHOISE_Q_HEAD), ports);
    }
    let global = global & !ARBITER_STOPPED | u32::from(qman.shared.arbiter.is_stopped()) << 31;
    if global != qman.published.global {
        let was_idle = qman.published.global & regs::STS0_IDLE == regs::STS0_IDLE;
        let is_idle = global & regs::STS0_IDLE == regs::STS0_IDLE;
        update(&mut qman.published.global, global, base.wrapping_add(regs::GLBL_STS0), ports);
        if was_idle != is_idle {
            ports.post_status(base.wrapping_add(regs::CGM_STS), if is_idle { regs::CGM_STS_IDLE } else { 0 });
        }
    }
    true
}

fn publish_stream<P: QueuePorts>(base: u32, number: usize, stream: &Stream, last: &mut StreamStatus, ports: &mut P) {
    let index = 4 * number as u32;
    if number < LOWER {
        update(&mut last.consumer, stream.queue.consumer(), base.wrapping_add(regs::PQ_CI_0 + index), ports);
    }
    let group = base.wrapping_add(regs::CQ_STRIDE * number as u32);
    let (address, size) = (stream.fetcher.address, stream.fetcher.size);
    if last.address != address {
        let changed = last.address ^ address;
        last.address = address;
        ports.post_status(group.wrapping_add(regs::CQ_PTR_LO_0), address as u32);
        if changed >> 32 != 0 {
            ports.post_status(group.wrapping_add(regs::CQ_PTR_HI_0), (address >> 32) as u32);
        }
    }
    update(&mut last.size, size, group.wrapping_add(regs::CQ_TSIZE_0), ports);
    update(&mut last.cp, cp_status(stream), base.wrapping_add(regs::CP_STS_0 + index), ports);
    if last.fences != stream.fences {
        for ((fence, now), before) in (0u32..).zip(stream.fences).zip(last.fences) {
            if now != before {
                let offset = regs::CP_FENCE0_CNT_0 + regs::FENCE_STRIDE * fence + index;
                ports.post_status(base.wrapping_add(offset), u32::from(now));
            }
        }
        last.fences = stream.fences;
    }
}

fn update<P: QueuePorts>(last: &mut u32, value: u32, offset: u32, ports: &mut P) {
    if *last != value {
        *last = value;
        ports.post_status(offset, value);
    }
}

/// CP_STS: fence in progress and its number, software stop.
fn cp_status(stream: &Stream) -> u32 {
    let fence = match stream.activity {
        Activity::Blocked(Blocked::Fence { id, .. }) => {
            CP_STS::FENCE_IN_PROGRESS::SET + CP_STS::FENCE_ID.val(id.into())
        }
        _ => CP_STS::FENCE_IN_PROGRESS::CLEAR,
    };
    let stopped = stream.failed() && stream.causes & cause::STOP_OP != 0;
    (fence + CP_STS::SW_STOP.val(stopped.into())).value
}

/// Bits of GLBL_STS0 that belong to a stream: PQ, CQ and CP idle; PQ, CQ and CP stopped.
const fn stream_bits(number: usize) -> u32 {
    let queue = if number < LOWER { 1 << number | 1 << (16 + number) } else { 0 };
    queue | 1 << (4 + number) | 1 << (9 + number) | 1 << (20 + number) | 1 << (25 + number)
}

/// The bits of a stream in GLBL_STS0. A stream that failed is not idle: its job will not complete, and the driver's idle
/// check at the user's close must see that. One that is off is idle, whatever became of what it did before.
fn stream_status(number: usize, stream: &Stream, lower_waiting: bool) -> u32 {
    let failed = stream.enabled && stream.failed();
    let waiting = number == LOWER && lower_waiting;
    let busy = stream.fetcher.active() || stream.activity == Activity::Ready || failed || waiting;
    let mut status = if busy { 0 } else { 1 << (4 + number) | 1 << (9 + number) };
    if number < LOWER {
        status |= u32::from(stream.queue.pending() == 0) << number;
    }
    if failed {
        for unit in Unit::ALL.into_iter().filter(|unit| stream.failed_units & unit.bit() != 0) {
            status |= 1 << (16 + unit.first_bit() + number);
        }
    }
    let between_packets =
        matches!(stream.activity, Activity::Idle | Activity::Blocked(Blocked::Stopped | Blocked::Failed));
    if stream.stop_requested && between_packets {
        status |= 1 << (16 + Unit::Cp.first_bit() + number);
    }
    status
}
