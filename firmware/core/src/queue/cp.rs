//! The command processor: executes packets (`qman.md` 5).
//!
//! [`run`] executes the packets of one stream until something ends its turn ([`Exit`]). The frequent packets are executed in
//! a loop over the words on chip ([`run_on_chip`]); everything else goes through [`execute`], one packet at a time. It
//! touches one stream and what its QMAN shares ([`Shared`]), writes only through the posted-write ring, and never waits: a
//! packet that cannot go on is left in place and tried again when the stream is woken.

use coxswain_abi::packet::{EB, Header, opcode};
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman::{EngineKind, LOWER, cause};
use coxswain_abi::soc::{Attributes, PostedWrite};
use heapless::Deque;

use super::arbiter::{Arbiter, Passage};
use super::bulk::Bulk;
use super::engine::{Effect, Engine};
use super::fetch::FetchError;
use super::load;
use super::stream::{Access, Blocked, Descriptor, Stream};
use super::timer::Timers;
use super::{QueuePorts, ROOM};

/// Buffers that wait for the lower CP.
pub(super) type LowerQueue = Deque<Buffer, 3>;

/// Posted writes of one packet at most, bulk writes apart.
const POSTS_PER_PACKET: usize = 6;

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
    /// The arbiter.
    pub arbiter: Arbiter,
    /// Fence increments that are due later.
    pub timers: Timers,
    /// CFG offset of the QMAN's block.
    pub base: u32,
    /// CFG offset of the engine's block.
    pub engine_base: u32,
}

/// Bytes of the engine's block that a window reaches.
const ENGINE_WINDOW: u32 = 0x1000;

impl Shared {
    /// CFG offset behind an offset in the 64 KiB register window (`qman.md` 5.5); `None` outside the mapped parts.
    #[inline]
    pub fn window(&self, offset: u32) -> Option<u32> {
        match offset {
            0..ENGINE_WINDOW => Some(self.engine_base.wrapping_add(offset)),
            0x8000..=0x9FFF => Some(self.base.wrapping_add(offset - 0x8000)),
            _ => None,
        }
    }
}

/// Why a stream's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It has had its share, or there is no room for more writes; it can go on.
    Yield,
    /// The buffer is done.
    End,
    /// It waits.
    Block(Blocked),
    /// Error cause bits of the packet in place, which has this many words.
    Fail(u32, usize),
    /// What the packet needs could not be fetched.
    Fetch(FetchError),
}

/// Result of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Done: go on behind it.
    Next,
    /// Try again when the reason is gone.
    Block(Blocked),
    /// Error cause bits.
    Fail(u32),
}

/// Executes packets of stream `number` until its turn ends, at most `share` of them; what is left of the share stays there.
// A function of its own: inlined, the loop would compete with its callers for registers.
#[inline(never)]
pub(super) fn run<P: QueuePorts>(
    number: usize,
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    share: &mut usize,
) -> Exit {
    let mut left = (*share).min(room_in_packets(ports));
    let before = left;
    let exit = run_packets(number, stream, shared, ports, &mut left);
    *share -= (before - left).min(*share);
    exit
}

/// Packets whose posted writes have room now.
#[inline]
fn room_in_packets<P: QueuePorts>(ports: &P) -> usize {
    ports.available().saturating_sub(ROOM) / POSTS_PER_PACKET
}

fn run_packets<P: QueuePorts>(
    number: usize,
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    left: &mut usize,
) -> Exit {
    while *left != 0 {
        if stream.bulk.is_some() {
            if let Some(exit) = super::bulk::run(stream, shared, ports) {
                return exit;
            }
            // A bulk write used room that was counted for packets.
            *left = (*left - 1).min(room_in_packets(ports));
            continue;
        }
        if stream.fetcher.words_on_chip() == 0 {
            if !stream.fetcher.active() {
                return Exit::End;
            }
            if let Err(error) = stream.fetcher.ensure(1, stream.access.fetch, ports) {
                return Exit::Fetch(error);
            }
        }
        if let Some(reason) = run_on_chip(stream, shared, ports, left) {
            return Exit::Block(reason);
        }
        if *left == 0 {
            break;
        }
        if stream.fetcher.words_on_chip() == 0 {
            continue;
        }
        // The packet in place is not one for the loop above, or not wholly on chip.
        let fetched = stream.fetcher.ensure(1, stream.access.fetch, ports);
        let header = match fetched {
            Ok(()) => Header(stream.fetcher.peek(0)),
            Err(error) => return Exit::Fetch(error),
        };
        let words = match (header.opcode(), header.words()) {
            // The values of a bulk write are fetched as they are written.
            (opcode::WREG_BULK, _) | (_, None) => 1,
            (_, Some(words)) => words,
        };
        if let Err(error) = stream.fetcher.ensure(words, stream.access.fetch, ports) {
            return Exit::Fetch(error);
        }
        let operands = [stream.fetcher.peek(1), stream.fetcher.peek(2)];
        match execute(header, operands, number, stream, shared, ports) {
            Step::Next => stream.fetcher.consume(words),
            Step::Block(reason) => return Exit::Block(reason),
            Step::Fail(causes) => return Exit::Fail(causes, words),
        }
        *left -= 1;
    }
    Exit::Yield
}

/// Executes the frequent packets among the words on chip: NOP, MSG_LONG, MSG_PROT, MSG_SHORT, WREG_32 and FENCE in their plain forms.
/// Stops at any other packet, at the end of the words, when `left` packets are done, or when a packet must wait - only then
/// it returns a reason.
#[inline]
fn run_on_chip<P: QueuePorts>(
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    left: &mut usize,
) -> Option<Blocked> {
    /// Predicate bits, and the operation bits of messages.
    const PREDICATE: u32 = 0x1F;
    const OPERATION: u32 = 3 << 20;
    let Stream { fetcher, fences, access, message_base, descriptor, .. } = stream;
    let Access { message, protected, .. } = *access;
    let access = message;
    let start = shared.engine.start_register();
    let (words, mut position) = fetcher.on_chip();
    let mut blocked = None;
    while *left != 0
        && let Some(&first) = words.get(position)
    {
        let header = Header(first);
        let control = header.control();
        if control & EB != 0 && !shared.engine.is_idle(ports) {
            blocked = Some(Blocked::Barrier);
            break;
        }
        match header.opcode() {
            code @ (opcode::MSG_LONG | opcode::MSG_PROT) => {
                let Some(&address) = words.get(position + 1) else { break };
                if control & (PREDICATE | OPERATION) != 0 || address & 3 != 0 {
                    break;
                }
                let attributes = if code == opcode::MSG_LONG { message } else { protected };
                ports.post(PostedWrite { address, data: header.value(), attributes });
                position += 2;
            }
            opcode::MSG_SHORT => {
                let [a, b, c, d] = *message_base;
                let base = match control >> 22 & 3 {
                    0 => a,
                    1 => b,
                    2 => c,
                    _ => d,
                };
                let address = base.wrapping_add(u64::from(control & 0xFFFF));
                if control & OPERATION != 0 || address & 3 != 0 {
                    break;
                }
                ports.post(PostedWrite { address, data: header.value(), attributes: access });
                position += 1;
            }
            opcode::WREG_32 => {
                let offset = header.register_offset();
                // The predicate and alignment bits at once: both must be 0.
                if offset >= ENGINE_WINDOW || offset == start || (control & PREDICATE) | (offset & 3) != 0 {
                    break;
                }
                post_register(shared.engine_base.wrapping_add(offset), header.value(), access, ports);
                position += 1;
            }
            opcode::NOP => position += 1,
            opcode::LIN_DMA => {
                let Some(&[from, to]) = words.get(position + 1..).and_then(|rest| rest.first_chunk()) else { break };
                // What is wrong, or must wait, is found again where it can be told.
                if linear_dma(header, from, to, descriptor, access, shared, ports) != Step::Next {
                    break;
                }
                position += 3;
            }
            opcode::FENCE => {
                let value = header.value();
                let target = value >> 16 & 0xFF;
                let decrement = value & 0xF;
                let Some(counter) = fences.get_mut((value >> 30) as usize) else { break };
                if control & PREDICATE != 0 || u32::from(*counter) < target.max(decrement) {
                    // It waits, or clips.
                    break;
                }
                // PANIC: `decrement` is at most the counter.
                *counter -= decrement as u16;
                position += 1;
            }
            _ => break,
        }
        *left -= 1;
    }
    fetcher.advance_to(position);
    blocked
}

/// Executes one packet. `header` is its first word, `operands` the two behind it.
pub(super) fn execute<P: QueuePorts>(
    header: Header,
    operands: [u64; 2],
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
    // Barriers come first, also of a packet that is then skipped (`qman.md` 10 #2).
    if has_predicate(code) && stream.predicates >> header.predicate() & 1 == 0 {
        return skip(header, stream);
    }
    let [operand, second] = operands;
    match code {
        opcode::MSG_LONG => message(operand, header, stream.access.message, ports),
        opcode::MSG_SHORT => {
            let base = stream.message_base.get((control >> 22 & 3) as usize).copied().unwrap_or(0);
            message(base.wrapping_add(u64::from(control & 0xFFFF)), header, stream.access.message, ports)
        }
        opcode::MSG_PROT => message(operand, header, stream.access.protected, ports),
        opcode::WREG_32 => write_register(header.register_offset(), header.value(), stream, shared, ports),
        opcode::WREG_BULK => start_bulk(header, stream, shared),
        opcode::FENCE => fence(header, stream),
        opcode::LIN_DMA => {
            linear_dma(header, operand, second, &stream.descriptor, stream.access.message, shared, ports)
        }
        opcode::CP_DMA => queue_lower(header, operand, number, stream, shared),
        opcode::LOAD_AND_EXE => load::execute(header, operand, number, stream, shared, ports),
        opcode::ARB_POINT => arbitrate(header, number, shared, ports),
        opcode::WAIT => wait(header, number, shared, ports),
        opcode::NOP => Step::Next,
        opcode::STOP => Step::Fail(cause::STOP_OP),
        _ => Step::Fail(cause::UNDEF_CMD),
    }
}

/// True for opcodes whose control word has a predicate (`qman.md` 5.0).
const fn has_predicate(code: u32) -> bool {
    matches!(
        code,
        opcode::WREG_32
            | opcode::WREG_BULK
            | opcode::MSG_LONG
            | opcode::MSG_PROT
            | opcode::CP_DMA
            | opcode::FENCE
            | opcode::ARB_POINT
            | opcode::LOAD_AND_EXE
    )
}

/// Passes over a packet whose predicate is false, with its whole length.
fn skip(header: Header, stream: &mut Stream) -> Step {
    if header.opcode() == opcode::WREG_BULK {
        let values = header.value() & 0xFFFF;
        if !stream.fetcher.holds_behind(1, values) {
            return Step::Fail(cause::UNDEF_CMD);
        }
        stream.bulk = Bulk::skip(values);
    }
    Step::Next
}

/// Passes over a packet of `words` words that failed, with its whole length. The buffer ends with a bulk write that is cut off.
pub(super) fn skip_failed(words: usize, stream: &mut Stream) {
    let header = Header(stream.fetcher.peek(0));
    if words != 0 && matches!(skip(header, stream), Step::Fail(_)) {
        return stream.abandon_buffer();
    }
    stream.fetcher.consume(words);
}

/// A message: a 32-bit write of the value, or of the device's time.
#[inline]
fn message<P: QueuePorts>(address: u64, header: Header, access: Attributes, ports: &mut P) -> Step {
    let attributes = match header.control() >> 20 & 3 {
        0 => access,
        1 => access.with_timestamp(),
        _ => return Step::Fail(cause::UNDEF_CMD),
    };
    if address & 3 != 0 {
        return Step::Fail(cause::MSG_WR);
    }
    ports.post(PostedWrite { address, data: header.value(), attributes });
    Step::Next
}

/// Writes an engine register, or one of this QMAN, through the window.
pub(super) fn write_register<P: QueuePorts>(
    offset: u32,
    value: u32,
    stream: &Stream,
    shared: &mut Shared,
    ports: &mut P,
) -> Step {
    let Some(target) = shared.window(offset) else { return Step::Fail(cause::WREG) };
    if offset & 3 != 0 {
        return Step::Fail(cause::WREG);
    }
    match shared.engine.effect(offset) {
        Effect::Configuration => {}
        Effect::Start if shared.engine.has_room() => shared.engine.started(),
        Effect::Start => return Step::Block(Blocked::Engine),
        Effect::Unsupported => return Step::Fail(cause::WREG),
    }
    post_register(target, value, stream.access.message, ports);
    Step::Next
}

/// WREG_BULK: checks the whole range and the length; the values follow as they are fetched.
fn start_bulk(header: Header, stream: &mut Stream, shared: &Shared) -> Step {
    let values = header.value() & 0xFFFF;
    if values == 0 {
        return Step::Next;
    }
    let first = header.register_offset();
    // 16 bits and 19 bits: no overflow.
    let end = first + 8 * values;
    if first & 3 != 0 || shared.window(first).is_none() || shared.window(end - 4).is_none() {
        return Step::Fail(cause::WREG);
    }
    // Both ends are mapped; what lies between is, unless the range spans the hole between the two parts.
    if (first < ENGINE_WINDOW) != (end - 4 < ENGINE_WINDOW) {
        return Step::Fail(cause::WREG);
    }
    if !stream.fetcher.holds_behind(1, values) {
        return Step::Fail(cause::UNDEF_CMD);
    }
    stream.bulk = Bulk::write(first, values);
    Step::Next
}

#[inline]
fn fence(header: Header, stream: &mut Stream) -> Step {
    let value = header.value();
    let id = value >> 30;
    let target = (value >> 16) as u8;
    let counter = stream.fences.get(id as usize).copied().unwrap_or(0);
    if counter < u16::from(target) {
        return Step::Block(Blocked::Fence { id: id as u8, target });
    }
    match stream.decrement_fence(id as usize, (value & 0xF) as u16) {
        0 => Step::Next,
        clipped => Step::Fail(clipped),
    }
}

/// LIN_DMA: a descriptor for the engine. Nothing is done unless it returns [`Step::Next`].
#[inline]
fn linear_dma<P: QueuePorts>(
    header: Header,
    from: u64,
    to: u64,
    descriptor: &Descriptor,
    access: Attributes,
    shared: &mut Shared,
    ports: &mut P,
) -> Step {
    /// Control bits that go to COMMIT.
    const COMMIT_BITS: u32 = 0x00FF_007F;
    let Descriptor::Engine { source, destination, size } = *descriptor else {
        return Step::Fail(cause::UNDEF_CMD);
    };
    if shared.engine.kind() != EngineKind::Dma {
        return Step::Fail(cause::UNDEF_CMD);
    }
    if !shared.engine.has_room() {
        return Step::Block(Blocked::Engine);
    }
    post_register(source, from as u32, access, ports);
    post_register(source.wrapping_add(4), (from >> 32) as u32, access, ports);
    post_register(destination, to as u32, access, ports);
    post_register(destination.wrapping_add(4), (to >> 32) as u32, access, ports);
    post_register(size, header.value(), access, ports);
    post_register(size.wrapping_add(4), header.control() & COMMIT_BITS, access, ports);
    shared.engine.started();
    Step::Next
}

fn queue_lower(header: Header, address: u64, number: usize, stream: &Stream, shared: &mut Shared) -> Step {
    if number == LOWER || stream.descriptor != Descriptor::Lower {
        return Step::Fail(cause::UNDEF_CMD);
    }
    let buffer = Buffer { address, size: header.value() };
    if buffer.size == 0 || shared.lower.push_back(buffer).is_ok() {
        Step::Next
    } else {
        Step::Block(Blocked::LowerQueue)
    }
}

/// ARB_POINT: requests or releases the arbiter.
fn arbitrate<P: QueuePorts>(header: Header, number: usize, shared: &mut Shared, ports: &mut P) -> Step {
    if number == LOWER {
        return Step::Fail(cause::UNDEF_CMD);
    }
    let value = header.value();
    if value >> 31 != 0 {
        shared.arbiter.release(number, shared.base, ports);
        return Step::Next;
    }
    match shared.arbiter.request(number, value as u8) {
        Passage::Pass => Step::Next,
        Passage::Wait => Step::Block(Blocked::Arbiter),
    }
}

/// WAIT: a fence increment that is due after a number of cycles of a 1 GHz clock (`qman.md` 10 #16). Does not block, unless
/// too many are due already.
fn wait<P: QueuePorts>(header: Header, number: usize, shared: &mut Shared, ports: &P) -> Step {
    let value = header.value();
    let cycles = value & 0xFF_FFFF;
    let increment = (value >> 24 & 0xF) as u8;
    let fence = (value >> 28 & 3) as u8;
    // At least the time asked for: a clock of microseconds may be about to tick.
    let due = ports.now_us().saturating_add(u64::from(cycles).div_ceil(1000)).saturating_add(1);
    if shared.timers.add(due, number as u8, fence, increment) { Step::Next } else { Step::Block(Blocked::Timers) }
}

#[inline]
pub(super) fn post_register<P: QueuePorts>(offset: u32, data: u32, attributes: Attributes, ports: &mut P) {
    ports.post(PostedWrite { address: CFG_BASE + u64::from(offset), data, attributes });
}
