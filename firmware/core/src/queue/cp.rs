//! The command processor: executes one packet (`qman.md` 5).
//!
//! It touches one stream, the engine and the input queue of the lower CP, and writes only through the posted-write ring. It
//! never waits: a packet that cannot go on is left in place and tried again when the stream is woken.

use coxswain_abi::packet::{EB, Header, opcode};
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman::{EngineKind, LOWER, cause};
use coxswain_abi::soc::{Attributes, PostedWrite};
use heapless::Deque;

use super::QueuePorts;
use super::engine::{Effect, Engine};
use super::stream::{Blocked, Descriptor, Stream};

/// Buffers that wait for the lower CP.
pub(super) type LowerQueue = Deque<Buffer, 3>;

/// A command buffer handed to the lower CP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffer {
    /// Address of the first packet.
    pub address: u64,
    /// Bytes.
    pub size: u32,
}

/// What the streams of a QMAN share.
pub(super) struct Shared {
    /// The engine.
    pub engine: Engine,
    /// Input queue of the lower CP.
    pub lower: LowerQueue,
    /// CFG offset of the QMAN's block.
    pub base: u32,
    /// CFG offset of the engine's block.
    pub engine_base: u32,
}

impl Shared {
    /// CFG offset behind an offset in the 64 KiB register window (`qman.md` 5.5); `None` outside the mapped parts.
    #[inline]
    pub fn window(&self, offset: u32) -> Option<u32> {
        match offset {
            0..=0x0FFF => Some(self.engine_base + offset),
            0x8000..=0x9FFF => Some(self.base + (offset - 0x8000)),
            _ => None,
        }
    }
}

/// Result of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Done: go on behind the packet, which has this many words.
    Next(usize),
    /// Try again when the reason is gone.
    Block(Blocked),
    /// Error cause bits; the packet has this many words.
    Fail(u32, usize),
}

/// Control bits that a LIN_DMA packet passes to COMMIT.
const COMMIT_BITS: u32 = 0x00FF_007F;

/// Executes the packet at the stream's position. `header` is its first word, `words` its size; all of it is on chip.
#[inline]
pub(super) fn execute<P: QueuePorts>(
    header: Header,
    words: usize,
    number: usize,
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
) -> Step {
    let control = header.control();
    if control & EB != 0 && !shared.engine.is_idle(ports) {
        return Step::Block(Blocked::Barrier);
    }
    let code = header.opcode();
    // Predicates are loaded by LOAD_AND_EXE only, which is not built yet: predicate 0 is always true, the others are false.
    let predicated =
        matches!(code, opcode::WREG_32 | opcode::MSG_LONG | opcode::MSG_PROT | opcode::CP_DMA | opcode::FENCE);
    if predicated && header.predicate() != 0 {
        return Step::Next(words);
    }
    match code {
        opcode::MSG_LONG => message(stream.fetcher.peek(1), header, stream.access.message, ports, words),
        opcode::MSG_SHORT => {
            let base = stream.message_base.get((control >> 22 & 3) as usize).copied().unwrap_or(0);
            message(base.wrapping_add(u64::from(control & 0xFFFF)), header, stream.access.message, ports, words)
        }
        opcode::WREG_32 => write_register(header, words, stream, shared, ports),
        opcode::FENCE => fence(header, words, stream),
        opcode::LIN_DMA => linear_dma(header, words, stream, shared, ports),
        opcode::MSG_PROT => message(stream.fetcher.peek(1), header, stream.access.protected, ports, words),
        opcode::CP_DMA => queue_lower(header, words, number, stream, shared),
        opcode::NOP => Step::Next(words),
        opcode::STOP => Step::Fail(cause::STOP_OP, words),
        _ => Step::Fail(cause::UNDEF_CMD, words),
    }
}

/// MSG_LONG, MSG_SHORT, MSG_PROT: a 32-bit write. The time-stamp form (OP 1) is not built yet.
#[inline]
fn message<P: QueuePorts>(address: u64, header: Header, access: Attributes, ports: &mut P, words: usize) -> Step {
    if header.control() >> 20 & 3 != 0 {
        return Step::Fail(cause::UNDEF_CMD, words);
    }
    if address & 3 != 0 {
        return Step::Fail(cause::MSG_WR, words);
    }
    ports.post(PostedWrite { address, data: header.value(), attributes: access });
    Step::Next(words)
}

#[inline]
fn write_register<P: QueuePorts>(
    header: Header,
    words: usize,
    stream: &Stream,
    shared: &mut Shared,
    ports: &mut P,
) -> Step {
    let offset = header.register_offset();
    let Some(target) = shared.window(offset) else { return Step::Fail(cause::WREG, words) };
    if offset & 3 != 0 {
        return Step::Fail(cause::WREG, words);
    }
    match shared.engine.effect(offset) {
        Effect::Configuration => {}
        Effect::Start if shared.engine.has_room() => shared.engine.started(),
        Effect::Start => return Step::Block(Blocked::Engine),
        Effect::Unsupported => return Step::Fail(cause::WREG, words),
    }
    post_register(target, header.value(), stream.access.message, ports);
    Step::Next(words)
}

#[inline]
fn fence(header: Header, words: usize, stream: &mut Stream) -> Step {
    let value = header.value();
    let id = value >> 30;
    let target = (value >> 16) as u8;
    let counter = stream.fences.get(id as usize).copied().unwrap_or(0);
    if counter < u16::from(target) {
        return Step::Block(Blocked::Fence { id: id as u8, target });
    }
    match stream.decrement_fence(id as usize, (value & 0xF) as u16) {
        0 => Step::Next(words),
        clipped => Step::Fail(clipped, words),
    }
}

fn linear_dma<P: QueuePorts>(
    header: Header,
    words: usize,
    stream: &Stream,
    shared: &mut Shared,
    ports: &mut P,
) -> Step {
    let Descriptor::Engine { source, destination, size } = stream.descriptor else {
        return Step::Fail(cause::UNDEF_CMD, words);
    };
    if shared.engine.kind() != EngineKind::Dma {
        return Step::Fail(cause::UNDEF_CMD, words);
    }
    if !shared.engine.has_room() {
        return Step::Block(Blocked::Engine);
    }
    let from = stream.fetcher.peek(1);
    let to = stream.fetcher.peek(2);
    let access = stream.access.message;
    post_register(source, from as u32, access, ports);
    post_register(source + 4, (from >> 32) as u32, access, ports);
    post_register(destination, to as u32, access, ports);
    post_register(destination + 4, (to >> 32) as u32, access, ports);
    post_register(size, header.value(), access, ports);
    post_register(size + 4, header.control() & COMMIT_BITS, access, ports);
    shared.engine.started();
    Step::Next(words)
}

fn queue_lower(header: Header, words: usize, number: usize, stream: &Stream, shared: &mut Shared) -> Step {
    if number == LOWER || stream.descriptor != Descriptor::Lower {
        return Step::Fail(cause::UNDEF_CMD, words);
    }
    let buffer = Buffer { address: stream.fetcher.peek(1), size: header.value() };
    if buffer.size == 0 || shared.lower.push_back(buffer).is_ok() {
        Step::Next(words)
    } else {
        Step::Block(Blocked::LowerQueue)
    }
}

#[inline]
fn post_register<P: QueuePorts>(offset: u32, data: u32, attributes: Attributes, ports: &mut P) {
    ports.post(PostedWrite { address: CFG_BASE + u64::from(offset), data, attributes });
}
