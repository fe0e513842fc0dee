//! The command processor: executes packets (`qman.md` 5).
//!
//! [`run`] executes the packets of one stream until something ends its turn ([`Exit`]). The frequent packets are executed in
//! a loop over the words on chip ([`fast`]); everything else goes through [`execute`], one packet at a time. It
//! touches one stream and what its QMAN shares ([`Shared`]), writes only through the posted-write ring, and never waits: a
//! packet that cannot go on is left in place and tried again when the stream is woken.

use coxswain_abi::packet::{EB, Header, opcode};
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman::{CP_FENCE0_RDATA_0, EngineKind, LOWER, cause};
use coxswain_abi::soc::{Attributes, PostedWrite};
use heapless::Deque;

use super::arbiter::{Arbiter, Passage};
use super::bulk::Bulk;
use super::engine::{Effect, Engine};
use super::fetch::FetchError;
use super::stream::{Blocked, Descriptor, Stream};
use super::timer::Timers;
use super::{QueuePorts, ROOM, fast, load};

/// Buffers that wait for the lower CP.
pub(super) type LowerQueue = Deque<Buffer, 3>;

/// Posted writes of one packet at most, those of a bulk write and of the loop over the words on chip apart.
const PACKET: usize = 6;

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
pub(super) const ENGINE_WINDOW: u32 = 0x1000;

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

/// An error of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Cause bits.
    pub causes: u32,
    /// First word of the packet, where one is to blame.
    pub header: Option<u64>,
    /// Words of the packet that are in place: those are passed over when the stream may go on.
    pub words: usize,
}

impl Failure {
    /// An error that no packet in place is to blame for.
    pub const fn outside(causes: u32) -> Self {
        Self { causes, header: None, words: 0 }
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
    /// An error of the packet in place.
    Fail(Failure),
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

/// Executes packets of stream `number` until its turn ends: at most `share` words of them; what is left of the share stays
/// there.
// A function of its own: inlined, the loop would compete with its callers for registers.
#[inline(never)]
pub(super) fn run<P: QueuePorts>(
    number: usize,
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    share: &mut usize,
) -> Exit {
    // What is left in the ring lets the status be published: hosts can see that the stream is busy.
    while *share != 0 && ports.has_room(ROOM + PACKET) {
        let before = stream.fetcher.left();
        let exit = if stream.bulk.is_some() {
            super::bulk::run(stream, shared, ports)
        } else {
            run_packets(number, stream, shared, ports, *share)
        };
        if let Some(exit) = exit {
            return exit;
        }
        *share = share.saturating_sub(before.wrapping_sub(stream.fetcher.left()) as usize);
    }
    Exit::Yield
}

/// Executes the frequent packets on chip and the packet behind them; `None` when the turn can go on.
#[inline]
fn run_packets<P: QueuePorts>(
    number: usize,
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    share: usize,
) -> Option<Exit> {
    if stream.fetcher.words_on_chip() < 2 {
        if !stream.fetcher.active() {
            return Some(Exit::End);
        }
        // Two where there are two: the loop over the words on chip leaves the last one.
        let words = stream.fetcher.left().clamp(1, 2) as usize;
        if let Err(error) = stream.fetcher.ensure(words, stream.access.fetch, ports) {
            return Some(Exit::Fetch(error));
        }
    }
    if Header(stream.fetcher.peek(0)).control() & EB != 0 && !shared.engine.is_idle(ports) {
        return Some(Exit::Block(Blocked::Barrier));
    }
    let before = stream.fetcher.words_on_chip();
    ports.burst(ROOM + PACKET, |burst| fast::run(stream, shared, burst, share));
    if stream.fetcher.words_on_chip() == 0 || before - stream.fetcher.words_on_chip() >= share {
        return None;
    }
    // The packet in place is not one for that loop, or not wholly on chip.
    let header = Header(stream.fetcher.peek(0));
    let words = match (header.opcode(), header.words()) {
        // The values of a bulk write are fetched as they are written.
        (opcode::WREG_BULK, _) | (_, None) => 1,
        (_, Some(words)) => words,
    };
    if let Err(error) = stream.fetcher.ensure(words, stream.access.fetch, ports) {
        return Some(Exit::Fetch(error));
    }
    let operands = [stream.fetcher.peek(1), stream.fetcher.peek(2)];
    match execute(header, operands, number, stream, shared, ports) {
        Step::Next => {
            stream.settled = false;
            stream.fetcher.consume(words);
            None
        }
        Step::Block(reason) => Some(Exit::Block(reason)),
        Step::Fail(causes) => {
            stream.settled = false;
            Some(Exit::Fail(Failure { causes, header: Some(header.0), words }))
        }
    }
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
    if asks_arbiter(header) && !stream.settled {
        return settle(number, shared, ports);
    }
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
            match linear_dma(header, operand, second, &stream.descriptor, stream.access.message, &shared.engine) {
                Ok(writes) => {
                    writes.into_iter().for_each(|write| ports.post(write));
                    shared.engine.started();
                    Step::Next
                }
                Err(step) => step,
            }
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

/// True for a request to the arbiter, which must see what earlier messages have written there: to registers that the firmware
/// itself keeps. With or without a message barrier: requests are rare, and wait anyway.
fn asks_arbiter(header: Header) -> bool {
    header.opcode() == opcode::ARB_POINT && header.value() >> 31 == 0
}

/// Asks the hardware to tell when everything posted so far has happened: an increment of a fence by 0, which comes back behind
/// the notifications of all earlier writes ([`super::qman::Qman::on_fence`]). A user that writes such an increment opens only
/// the barrier of their own stream.
fn settle<P: QueuePorts>(number: usize, shared: &Shared, ports: &mut P) -> Step {
    ports.post_register(shared.base.wrapping_add(CP_FENCE0_RDATA_0 + 4 * number as u32), 0);
    Step::Block(Blocked::Message)
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
        stream.bulk = Bulk::skip(header, values);
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
    ports.post(register(target, value, stream.access.message));
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
    stream.bulk = Bulk::write(header, first, values);
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

/// LIN_DMA: the writes that give the engine its descriptor; the caller posts all of them and counts the job. An error is what
/// becomes of the packet instead.
#[inline]
pub(super) fn linear_dma(
    header: Header,
    from: u64,
    to: u64,
    descriptor: &Descriptor,
    access: Attributes,
    engine: &Engine,
) -> Result<[PostedWrite; 6], Step> {
    /// Control bits that go to COMMIT.
    const COMMIT_BITS: u32 = 0x00FF_007F;
    let Descriptor::Engine { source, destination, size } = *descriptor else {
        return Err(Step::Fail(cause::UNDEF_CMD));
    };
    if engine.kind() != EngineKind::Dma {
        return Err(Step::Fail(cause::UNDEF_CMD));
    }
    if !engine.has_room() {
        return Err(Step::Block(Blocked::Engine));
    }
    Ok([
        register(source, from as u32, access),
        register(source.wrapping_add(4), (from >> 32) as u32, access),
        register(destination, to as u32, access),
        register(destination.wrapping_add(4), (to >> 32) as u32, access),
        register(size, header.value(), access),
        register(size.wrapping_add(4), header.control() & COMMIT_BITS, access),
    ])
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

/// The write of a register at CFG offset `offset`.
#[inline]
fn register(offset: u32, data: u32, attributes: Attributes) -> PostedWrite {
    PostedWrite { address: CFG_BASE + u64::from(offset), data, attributes }
}
