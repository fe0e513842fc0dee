//! What a stream does next: take a buffer, or execute one packet (`qman.md` 3 to 5).

use coxswain_abi::regs::qman::{self as regs, EngineKind, LOWER, cause};
use coxswain_abi::regs::{CFG_BASE, dma_core, mme, tpc_cfg};

use super::stream::{Buffer, Timer, Unit, Waiting};
use super::{Attributes, Data, LOWER_QUEUE_DEPTH, Machine};
use crate::packet::{self, Action, Decoded, Packet};

/// What became of a packet.
enum Outcome {
    /// Executed, or skipped by its predicate.
    Done,
    /// Cannot go on now; it is tried again.
    Wait(Waiting),
    /// An error cause.
    Error(u32),
}

/// Window offset of {TSIZE, CTL} of the lower CP's CQ: where CP_DMA goes when the driver has set it up (`qman.md` 8.1).
const LOWER_SIZE_OFFSET: u32 = 0x8000 + regs::CQ_TSIZE_0 + regs::CQ_STRIDE * LOWER as u32;

impl Machine {
    /// One step of one stream: true when it went on, false when it waits or has nothing to do.
    pub(super) fn step(&mut self, number: usize, stream: usize) -> bool {
        let stops = self.register(number, regs::GLBL_CFG1);
        let is_stopped = |unit: Unit| stops >> (unit.first_bit() + stream) & 1 == 1;
        let Some(state) = self.stream_mut(number, stream) else { return false };
        let waited = state.waiting.take();
        if !state.enabled || state.failed.contains(&Unit::Cp) || state.failed.contains(&Unit::Cqf) {
            return false;
        }
        let buffer = state.buffer;
        let fetch_stopped = buffer.is_none() && (is_stopped(Unit::Cqf) || stream != LOWER && is_stopped(Unit::Pqf));
        if is_stopped(Unit::Cp) || fetch_stopped {
            let has_work = buffer.is_some() || self.has_next(number, stream);
            if let Some(state) = self.stream_mut(number, stream) {
                state.waiting = has_work.then_some(Waiting::Stopped);
            }
            return false;
        }
        if waited.is_some_and(|reason| self.still_waits(number, stream, reason)) {
            if let Some(state) = self.stream_mut(number, stream) {
                state.waiting = waited;
            }
            return false;
        }
        match buffer {
            None => self.take_buffer(number, stream),
            Some(buffer) => self.take_packet(number, stream, buffer),
        }
    }

    /// What a packet waits for has not happened. When it has, or its counter or the arbiter was written, the packet is tried again as a whole, barriers included: the
    /// document does not say whether a barrier that has opened once may close again.
    fn still_waits(&self, number: usize, stream: usize, reason: Waiting) -> bool {
        let Some(qman) = self.qmans.get(&number) else { return false };
        match reason {
            Waiting::Fence { id, target } => {
                let counter = self.stream(number, stream).and_then(|state| state.fences.get(usize::from(id)));
                counter.is_some_and(|counter| *counter < u32::from(target))
            }
            Waiting::Engine => !qman.engine_has_room(),
            Waiting::Barrier => !qman.engine_idle(),
            Waiting::LowerQueue => qman.lower_queue.len() == LOWER_QUEUE_DEPTH,
            Waiting::Arbiter => !qman.arbiter.passes(stream),
            Waiting::Stopped | Waiting::Failed => false,
        }
    }

    fn has_next(&self, number: usize, stream: usize) -> bool {
        let Some(state) = self.stream(number, stream) else { return false };
        if stream == LOWER {
            self.lower_waiting(number) != 0
        } else {
            state.producer != state.consumer && !state.failed.contains(&Unit::Pqf)
        }
    }

    /// Takes the next buffer: from the PQ, or from the input queue of the lower CP.
    fn take_buffer(&mut self, number: usize, stream: usize) -> bool {
        if !self.has_next(number, stream) {
            return false;
        }
        let next = if stream == LOWER {
            self.qmans.get_mut(&number).and_then(|qman| qman.lower_queue.pop_front())
        } else {
            self.take_descriptor(number, stream)
        };
        if let (Some(buffer), Some(state)) = (next, self.stream_mut(number, stream)) {
            state.shown = (buffer.address, buffer.size);
            // An empty buffer is over at once.
            state.buffer = (buffer.size != 0).then_some(buffer);
        }
        true
    }

    /// Reads a PQ entry: address, length, and a control word that is ignored (`qman.md` 3.1). One that cannot be read is passed
    /// over when the stream does not stop.
    fn take_descriptor(&mut self, number: usize, stream: usize) -> Option<Buffer> {
        let index = 4 * stream as u32;
        let ring = self.register64(number, regs::PQ_BASE_LO_0 + index, regs::PQ_BASE_HI_0 + index);
        let entries = 1 << self.register(number, regs::PQ_SIZE_0 + index);
        let consumer = self.stream(number, stream)?.consumer;
        let attributes = self.attributes(number, stream, self.is_secure(number, Unit::Pqf.first_bit() + stream));
        let bytes = self.read(ring.wrapping_add(16 * u64::from(consumer % entries)), 16, attributes);
        if bytes.is_none() && self.raise(number, stream, cause::PQF_RD) {
            return None;
        }
        self.stream_mut(number, stream)?.consumer = (consumer + 1) % (2 * entries);
        let (low, high) = bytes.as_ref()?.split_first_chunk::<8>()?;
        let (size, _) = high.split_first_chunk::<4>()?;
        Some(Buffer { address: u64::from_le_bytes(*low), size: u32::from_le_bytes(*size), position: 0 })
    }

    /// Fetches and executes the packet at the stream's position.
    fn take_packet(&mut self, number: usize, stream: usize, buffer: Buffer) -> bool {
        let attributes = self.attributes(number, stream, self.is_secure(number, Unit::Cqf.first_bit() + stream));
        let address = buffer.address.wrapping_add(u64::from(buffer.position));
        let left = buffer.size - buffer.position;
        if left < 8 {
            return self.fail_truncated(number, stream, None, left);
        }
        let Some(start) = self.read(address, 8, attributes) else { return self.fail_fetch(number, stream) };
        let (value, control) = dwords(&start);
        let length = packet::length(value, control);
        if left < length {
            return self.fail_truncated(number, stream, Some((value, control)), left);
        }
        let Some(bytes) = self.read(address, length as usize, attributes) else {
            return self.fail_fetch(number, stream);
        };
        // As long as its header says, so it is a packet.
        let Decoded::Packet(packet, length) = Packet::decode(&bytes) else { return false };
        match self.execute(number, stream, &packet) {
            Outcome::Done => self.advance(number, stream, length),
            Outcome::Wait(reason) => {
                if let Some(state) = self.stream_mut(number, stream) {
                    state.waiting = Some(reason);
                }
                return false;
            }
            Outcome::Error(cause) => return self.fail_packet(number, stream, cause, Some((value, control)), length),
        }
        true
    }

    fn advance(&mut self, number: usize, stream: usize, length: u32) {
        if let Some(state) = self.stream_mut(number, stream) {
            state.bulk_done = 0;
            if let Some(buffer) = &mut state.buffer {
                buffer.position += length;
                if buffer.position == buffer.size {
                    state.buffer = None;
                }
            }
        }
    }

    /// A packet failed: the stream stops at it, or passes over its `length` bytes.
    fn fail_packet(
        &mut self,
        number: usize,
        stream: usize,
        cause: u32,
        header: Option<(u32, u32)>,
        length: u32,
    ) -> bool {
        let stopped = self.raise(number, stream, cause);
        if let Some(state) = self.stream_mut(number, stream) {
            state.failed_header = header;
            state.software_stop |= cause == cause::STOP_OP;
        }
        if !stopped {
            self.advance(number, stream, length);
        }
        true
    }

    /// The buffer ends inside a packet: an undefined command (`qman.md` 10 #6).
    fn fail_truncated(&mut self, number: usize, stream: usize, header: Option<(u32, u32)>, left: u32) -> bool {
        self.fail_packet(number, stream, cause::UNDEF_CMD, header, left);
        true
    }

    /// The buffer could not be read: it is abandoned.
    fn fail_fetch(&mut self, number: usize, stream: usize) -> bool {
        self.raise(number, stream, cause::CQF_RD);
        if let Some(state) = self.stream_mut(number, stream) {
            state.buffer = None;
        }
        true
    }

    fn execute(&mut self, number: usize, stream: usize, packet: &Packet) -> Outcome {
        let Some(qman) = self.qmans.get(&number) else { return Outcome::Done };
        let Some(state) = qman.streams.get(stream) else { return Outcome::Done };
        // Barriers first, also of a packet that is skipped. Register writes and messages are over when the packet behind
        // them executes, so RB and MB never wait here.
        if packet.barriers.engine && !qman.engine_idle() {
            return Outcome::Wait(Waiting::Barrier);
        }
        if packet.predicate != 0 && !state.predicates.get(usize::from(packet.predicate)).is_some_and(|value| *value) {
            return Outcome::Done;
        }
        let user = self.attributes(number, stream, false);
        match &packet.action {
            Action::Nop => Outcome::Done,
            Action::Stop => Outcome::Error(cause::STOP_OP),
            Action::Undefined { .. } => Outcome::Error(cause::UNDEF_CMD),
            Action::MessageLong { protected, address, value, operation } => {
                let secure = *protected && self.is_secure(number, Unit::Cp.first_bit() + stream);
                self.message(*address, *value, *operation, self.attributes(number, stream, secure))
            }
            Action::MessageShort { base, offset, value, operation } => {
                let register = regs::CP_MSG_BASE_STRIDE * u32::from(*base) + 4 * stream as u32;
                let base = self.register64(
                    number,
                    regs::CP_MSG_BASE0_ADDR_LO_0 + register,
                    regs::CP_MSG_BASE0_ADDR_HI_0 + register,
                );
                self.message(base.wrapping_add(u64::from(*offset)), *value, *operation, user)
            }
            Action::WriteRegister { offset, value } => self.write_window(number, u32::from(*offset), *value, user),
            Action::WriteBulk { offset, values } => self.write_bulk(number, stream, u32::from(*offset), values),
            Action::LinDma { source, destination, size, control } => {
                self.linear_dma(number, stream, *source, *destination, *size, *control)
            }
            Action::CpDma { source, size } => self.queue_lower(number, stream, *source, *size),
            Action::Fence { id, target, decrement } => self.fence(number, stream, *id, *target, u32::from(*decrement)),
            Action::Wait { id, increment, cycles } => {
                let timer = Timer {
                    due: self.now + u64::from(*cycles),
                    id: usize::from(*id),
                    increment: u32::from(*increment),
                };
                if let Some(state) = self.stream_mut(number, stream) {
                    state.timers.push(timer);
                }
                Outcome::Done
            }
            Action::ArbPoint { .. } if stream == LOWER => Outcome::Error(cause::UNDEF_CMD),
            Action::ArbPoint { release: true, .. } => {
                self.release(number, stream);
                Outcome::Done
            }
            Action::ArbPoint { priority, .. } => {
                let arbiter = self.qmans.get_mut(&number).map(|qman| &mut qman.arbiter);
                match arbiter.is_none_or(|arbiter| arbiter.request(stream, *priority)) {
                    true => Outcome::Done,
                    false => Outcome::Wait(Waiting::Arbiter),
                }
            }
            Action::LoadAndExe { scalars, load, execute, second, source } => {
                if *load && !self.load(number, stream, *scalars, *source, user) {
                    return Outcome::Error(cause::CP_RD);
                }
                if *execute { self.execute_scalars(number, stream, *second) } else { Outcome::Done }
            }
        }
    }

    /// A 32-bit write to a device address. An address that is not a multiple of 4 cannot be written.
    fn message(&mut self, address: u64, value: u32, operation: u8, attributes: Attributes) -> Outcome {
        let data = match operation {
            0 => Data::Value(value),
            1 => Data::Time,
            _ => return Outcome::Error(cause::UNDEF_CMD),
        };
        if !address.is_multiple_of(4) {
            return Outcome::Error(cause::MSG_WR);
        }
        self.write(address, data, attributes);
        Outcome::Done
    }

    /// CFG offset behind an offset of the register window (`qman.md` 5.5).
    fn window(number: usize, offset: u32) -> Option<u32> {
        match offset {
            0x0000..=0x0FFF => Some(regs::engine_base(number) + offset),
            0x8000..=0x9FFF => Some(regs::base(number) + offset - 0x8000),
            _ => None,
        }
        .filter(|_| offset.is_multiple_of(4))
    }

    /// Window offset whose write starts the engine.
    fn start_offset(kind: EngineKind) -> u32 {
        match kind {
            EngineKind::Dma => dma_core::COMMIT,
            EngineKind::Tpc => tpc_cfg::TPC_EXECUTE,
            EngineKind::Mme => mme::CMD,
        }
    }

    /// Writes one register through the window.
    fn write_window(&mut self, number: usize, offset: u32, value: u32, attributes: Attributes) -> Outcome {
        let Some(target) = Self::window(number, offset) else { return Outcome::Error(cause::WREG) };
        let Some(qman) = self.qmans.get_mut(&number) else { return Outcome::Done };
        let kind = qman.kind();
        if offset == Self::start_offset(kind) {
            if kind == EngineKind::Mme {
                // There is no such engine on this card (`decisions.md` 3.15).
                return Outcome::Error(cause::WREG);
            }
            if !qman.engine_has_room() {
                return Outcome::Wait(Waiting::Engine);
            }
            qman.jobs += 1;
        }
        self.write(CFG_BASE + u64::from(target), Data::Value(value), attributes);
        Outcome::Done
    }

    /// WREG_BULK. A range that is not wholly mapped is refused as a whole; a start register that has to wait is waited for in
    /// the middle.
    fn write_bulk(&mut self, number: usize, stream: usize, offset: u32, values: &[u64]) -> Outcome {
        let registers: Vec<(u32, u32)> = (0..)
            .zip(values)
            .flat_map(|(index, value)| {
                [(offset + 8 * index, *value as u32), (offset + 8 * index + 4, (*value >> 32) as u32)]
            })
            .collect();
        if registers.iter().any(|(offset, _)| Self::window(number, *offset).is_none()) {
            return Outcome::Error(cause::WREG);
        }
        let attributes = self.attributes(number, stream, false);
        let done = self.stream(number, stream).map_or(0, |state| state.bulk_done);
        for (offset, value) in registers.into_iter().skip(done) {
            match self.write_window(number, offset, value, attributes) {
                Outcome::Done => {
                    if let Some(state) = self.stream_mut(number, stream) {
                        state.bulk_done += 1;
                    }
                }
                other => return other,
            }
        }
        Outcome::Done
    }

    /// True when the registers of an upper stream send descriptors to the lower CP: the QMAN is of the internal kind.
    fn feeds_lower(&self, number: usize, stream: usize) -> bool {
        self.register(number, regs::CP_LDMA_TSIZE_OFFSET_0 + 4 * stream as u32) == LOWER_SIZE_OFFSET
    }

    /// LIN_DMA: source, destination, size and control to the DMA core.
    fn linear_dma(
        &mut self,
        number: usize,
        stream: usize,
        source: u64,
        destination: u64,
        size: u32,
        control: u32,
    ) -> Outcome {
        if regs::engine_kind(number) != EngineKind::Dma || self.feeds_lower(number, stream) {
            return Outcome::Error(cause::UNDEF_CMD);
        }
        let Some(qman) = self.qmans.get_mut(&number) else { return Outcome::Done };
        if !qman.engine_has_room() {
            return Outcome::Wait(Waiting::Engine);
        }
        qman.jobs += 1;
        let attributes = self.attributes(number, stream, false);
        let index = 4 * stream as u32;
        let target = |machine: &Self, register: u32| {
            CFG_BASE + u64::from(regs::engine_base(number) + machine.register(number, register + index))
        };
        let groups = [
            (target(self, regs::CP_LDMA_SRC_BASE_LO_OFFSET_0), source as u32, (source >> 32) as u32),
            (target(self, regs::CP_LDMA_DST_BASE_LO_OFFSET_0), destination as u32, (destination >> 32) as u32),
            (target(self, regs::CP_LDMA_TSIZE_OFFSET_0), size, control & 0x00FF_007F),
        ];
        for (address, low, high) in groups {
            self.write(address, Data::Value(low), attributes);
            self.write(address + 4, Data::Value(high), attributes);
        }
        Outcome::Done
    }

    /// CP_DMA: a buffer for the lower CP.
    fn queue_lower(&mut self, number: usize, stream: usize, source: u64, size: u32) -> Outcome {
        if stream == LOWER || !self.feeds_lower(number, stream) {
            return Outcome::Error(cause::UNDEF_CMD);
        }
        let Some(qman) = self.qmans.get_mut(&number) else { return Outcome::Done };
        if size == 0 {
            return Outcome::Done;
        }
        if qman.lower_queue.len() == LOWER_QUEUE_DEPTH {
            return Outcome::Wait(Waiting::LowerQueue);
        }
        qman.lower_queue.push_back(Buffer { address: source, size, position: 0 });
        Outcome::Done
    }

    fn fence(&mut self, number: usize, stream: usize, id: u8, target: u8, decrement: u32) -> Outcome {
        let Some(counter) = self.stream_mut(number, stream).and_then(|state| state.fences.get_mut(usize::from(id)))
        else {
            return Outcome::Done;
        };
        if *counter < u32::from(target) {
            return Outcome::Wait(Waiting::Fence { id, target });
        }
        if *counter < decrement {
            *counter = 0;
            return Outcome::Error(cause::FENCE0_UDF << id);
        }
        *counter -= decrement;
        Outcome::Done
    }

    /// Loads predicates or scalars; false when they cannot be read. The address is the user's, so the read is non-secure also on
    /// external queues (`qman.md` 7.4).
    fn load(&mut self, number: usize, stream: usize, scalars: bool, source: u64, attributes: Attributes) -> bool {
        let length = if scalars { 16 } else { 128 };
        let Some(bytes) = self.read(source, length, attributes) else { return false };
        let dwords: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|chunk| chunk.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)))
            .collect();
        if let Some(state) = self.stream_mut(number, stream) {
            if scalars {
                state.scalars.copy_from_slice(&dwords);
            } else {
                for (predicate, dword) in state.predicates.iter_mut().zip(&dwords) {
                    *predicate = dword & 1 == 1;
                }
            }
        }
        true
    }

    /// Executes the packet in the scalars. Longer ones, and those that would not make sense there, are undefined commands.
    fn execute_scalars(&mut self, number: usize, stream: usize, second: bool) -> Outcome {
        let Some(state) = self.stream(number, stream) else { return Outcome::Done };
        let skipped = if second { 2 } else { 0 };
        let bytes: Vec<u8> = state.scalars.iter().skip(skipped).flat_map(|dword| dword.to_le_bytes()).collect();
        let Decoded::Packet(packet, _) = Packet::decode(&bytes) else { return Outcome::Error(cause::UNDEF_CMD) };
        match packet.action {
            Action::WriteBulk { .. }
            | Action::LinDma { .. }
            | Action::CpDma { .. }
            | Action::ArbPoint { .. }
            | Action::LoadAndExe { .. } => Outcome::Error(cause::UNDEF_CMD),
            _ => self.execute(number, stream, &packet),
        }
    }
}

fn dwords(bytes: &[u8]) -> (u32, u32) {
    let word = |range: std::ops::Range<usize>| {
        bytes.get(range).map_or(0, |slice| slice.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte)))
    };
    (word(0..4), word(4..8))
}
