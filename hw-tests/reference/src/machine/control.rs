//! Register writes: by the host, or by messages that the card passes on (`qman.md` 2).

use coxswain_abi::regs::qman::{self as regs, LOWER, STREAMS, cause};

use super::arbiter::Choice;
use super::stream::{Buffer, Stream, Waiting};
use super::{LOWER_QUEUE_DEPTH, Machine};

/// ARB_ERR_CAUSE: a choice was pushed although the queue is full.
const ARB_OVERFLOW: u32 = 1 << 0;

impl Machine {
    /// Writes a register of a QMAN's block, with its effect.
    pub fn write_register(&mut self, number: usize, offset: u32, value: u32) {
        if !self.qmans.contains_key(&number) {
            return;
        }
        let causes = regs::GLBL_STS1_0..regs::GLBL_STS1_0 + 4 * STREAMS as u32;
        if causes.contains(&offset) {
            // Write 1 to clear.
            if let Some(state) = self.stream_mut(number, ((offset - causes.start) / 4) as usize) {
                state.causes &= !value;
            }
            return;
        }
        if let Some(qman) = self.qmans.get_mut(&number) {
            qman.registers.insert(offset, value);
        }
        let index = |base: u32, count: u32| {
            let inside = offset.checked_sub(base)?;
            (inside % 4 == 0 && inside / 4 < count).then_some((inside / 4) as usize)
        };
        if offset == regs::GLBL_CFG0 {
            self.enable(number, value);
        } else if let Some(stream) = index(regs::PQ_PI_0, 4) {
            self.doorbell(number, stream);
        } else if let Some(place) = index(regs::CP_FENCE0_RDATA_0, 20) {
            self.increment_fence(number, place % 5, place / 5, value & 0xF);
        } else if let Some(place) = index(regs::CP_FENCE0_CNT_0, 20) {
            self.retry_fence(number, place % 5, place / 5);
            if let Some(counter) = self.stream_mut(number, place % 5).and_then(|state| state.fences.get_mut(place / 5))
            {
                *counter = value & super::stream::FENCE_MAX;
            }
        } else if let Some(place) = index(regs::CQ_PTR_LO_0 + regs::CQ_STRIDE * LOWER as u32, 3) {
            self.show_lower(number, place, value);
        } else if offset == regs::CQ_CTL_0 + regs::CQ_STRIDE * LOWER as u32 {
            self.start_lower(number);
        } else {
            self.arbiter_register(number, offset, value);
        }
    }

    /// GLBL_CFG0. A stream is enabled when all its units are; the driver knows no other way. Being disabled, a stream forgets
    /// everything; being enabled, it looks at its producer index.
    fn enable(&mut self, number: usize, value: u32) {
        for stream in 0..STREAMS {
            let bit = |position: usize| value >> position & 1 == 1;
            let enabled = bit(4 + stream) && bit(9 + stream) && (stream == LOWER || bit(stream));
            let Some(qman) = self.qmans.get_mut(&number) else { return };
            let Some(state) = qman.streams.get_mut(stream) else { return };
            if state.enabled == enabled {
                continue;
            }
            let causes = state.causes;
            // What a host has written to CQ_PTR of a stream that is off stays.
            let shown = if enabled { state.shown } else { (0, 0) };
            *state = Stream { enabled, causes, shown, ..Stream::default() };
            qman.arbiter.forget(stream);
            if stream == LOWER {
                qman.lower_queue.clear();
            } else if enabled {
                self.doorbell(number, stream);
            }
        }
        if value == 0
            && let Some(qman) = self.qmans.get_mut(&number)
        {
            qman.jobs = 0;
            qman.engine_stopped = false;
        }
    }

    /// Entries of the ring of an upper stream.
    fn ring_entries(&self, number: usize, stream: usize) -> u32 {
        let log2 = self.register(number, regs::PQ_SIZE_0 + 4 * stream as u32);
        if log2 <= 16 { 1 << log2 } else { 0 }
    }

    /// The producer index was written (`qman.md` 3.2). One that does not fit the ring is an error of the PQ fetch.
    fn doorbell(&mut self, number: usize, stream: usize) {
        let producer = self.register(number, regs::PQ_PI_0 + 4 * stream as u32);
        let entries = self.ring_entries(number, stream);
        let Some(state) = self.stream_mut(number, stream) else { return };
        // Only a reset revives a stream that failed: it takes no doorbells.
        if !state.enabled || !state.failed.is_empty() {
            return;
        }
        let wrap = 2 * entries;
        if producer < wrap && (producer + wrap - state.consumer) % wrap <= entries {
            state.producer = producer;
        } else {
            self.raise(number, stream, cause::PQF_RD);
        }
    }

    /// CQ_CTL of the lower CP: the buffer in CQ_PTR and CQ_TSIZE joins the input queue. One too many is an undefined command;
    /// the document knows only CP_DMA packets there, which wait.
    fn start_lower(&mut self, number: usize) {
        let group = regs::CQ_STRIDE * LOWER as u32;
        let address = self.register64(number, regs::CQ_PTR_LO_0 + group, regs::CQ_PTR_HI_0 + group);
        let size = self.register(number, regs::CQ_TSIZE_0 + group);
        if size == 0 || !self.is_enabled(number, LOWER) {
            return;
        }
        let Some(qman) = self.qmans.get_mut(&number) else { return };
        if qman.lower_queue.len() < LOWER_QUEUE_DEPTH {
            qman.lower_queue.push_back(Buffer { address, size, position: 0 });
        } else {
            self.raise(number, LOWER, cause::UNDEF_CMD);
        }
    }

    /// The registers of the lower CP's CQ read back what was written last, by the host or by CP_DMA.
    fn show_lower(&mut self, number: usize, place: usize, value: u32) {
        let Some(state) = self.stream_mut(number, LOWER) else { return };
        let (address, size) = &mut state.shown;
        match place {
            0 => *address = *address & !0xFFFF_FFFF | u64::from(value),
            1 => *address = *address & 0xFFFF_FFFF | u64::from(value) << 32,
            _ => *size = value,
        }
    }

    fn arbiter_register(&mut self, number: usize, offset: u32, value: u32) {
        let enabled = self.register(number, regs::ARB_ERR_MSG_EN);
        let stops = self.register(number, regs::GLBL_ERR_CFG) >> 31 == 1;
        let Some(qman) = self.qmans.get_mut(&number) else { return };
        if qman.arbiter.write_register(offset, value) == Choice::Overflow {
            let new = qman.arbiter_causes & ARB_OVERFLOW == 0;
            qman.arbiter_causes |= ARB_OVERFLOW;
            qman.arbiter.stopped |= stops;
            if enabled & ARB_OVERFLOW != 0 && new {
                self.events.insert(number);
            }
            return;
        }
        // Packets that wait for it are tried again as a whole.
        for state in &mut qman.streams {
            if state.waiting == Some(Waiting::Arbiter) {
                state.waiting = None;
            }
        }
    }
}
