//! WREG_BULK: consecutive register writes, longer than what fits on chip at once (`qman.md` 5.1).
//!
//! The packet was checked when its header was executed: the whole range is mapped and the buffer holds all values.

use coxswain_abi::packet::Header;
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::soc::{Attributes, PostedWrite};

use super::cp::{Exit, Failure, Shared, Step, write_register};
use super::stream::Stream;
use super::{QueuePorts, ROOM};
use crate::ports::Burst;

/// A bulk write in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bulk {
    /// Window offset of the next register; `None` when the values are only passed over.
    offset: Option<u32>,
    /// 64-bit values to come.
    left: u32,
    /// The low half of the value in place is written.
    half: bool,
    /// First word of the packet, for the host to see when it fails.
    pub header: u64,
}

impl Bulk {
    /// A write of `values` values from window offset `offset`; nothing when there are none.
    pub fn write(header: Header, offset: u32, values: u32) -> Option<Self> {
        (values != 0).then_some(Self { offset: Some(offset), left: values, half: false, header: header.0 })
    }

    /// Passes over `values` values.
    pub fn skip(header: Header, values: u32) -> Option<Self> {
        (values != 0).then_some(Self { offset: None, left: values, half: false, header: header.0 })
    }
}

/// Goes on with the stream's bulk write, with what is on chip. `None` when it is done or more can be done at once.
pub(super) fn run<P: QueuePorts>(stream: &mut Stream, shared: &mut Shared, ports: &mut P) -> Option<Exit> {
    let bulk = stream.bulk?;
    if let Err(error) = stream.fetcher.ensure(1, stream.access.fetch, ports) {
        return Some(Exit::Fetch(error));
    }
    let Some(offset) = bulk.offset else {
        pass_over(stream, bulk);
        return None;
    };
    let on_chip = (bulk.left as usize).min(stream.fetcher.words_on_chip());
    // PANIC: the whole range is below 64 KiB, so its end does not overflow.
    let end = offset + 8 * on_chip as u32;
    let start = shared.engine.start_register();
    // The value that starts the engine may have to wait between its halves.
    let plain = match () {
        () if bulk.half => 0,
        () if (offset..end).contains(&start) => ((start - offset) / 8) as usize,
        () => on_chip,
    };
    let done = match shared.window(offset) {
        Some(target) if plain != 0 => {
            let access = stream.access.message;
            let (words, position) = stream.fetcher.on_chip();
            let values = words.get(position..position + plain).unwrap_or(&[]);
            ports.burst(ROOM, |burst| write_pairs(values, target, access, burst))
        }
        _ => 0,
    };
    if done == 0 {
        return write_value(stream, shared, ports, bulk, offset);
    }
    finish(stream, bulk, done);
    None
}

/// Writes pairs of registers from CFG offset `target`, as many as the burst takes; returns how many.
#[inline]
fn write_pairs<B: Burst>(values: &[u64], target: u32, access: Attributes, burst: &mut B) -> usize {
    let mut address = CFG_BASE.wrapping_add(u64::from(target));
    let mut rest = values.iter();
    while let Some(value) = rest.as_slice().first() {
        let low = PostedWrite { address, data: *value as u32, attributes: access };
        let high = PostedWrite { address: address.wrapping_add(4), data: (*value >> 32) as u32, attributes: access };
        if !burst.push([low, high]) {
            break;
        }
        address = address.wrapping_add(8);
        let _ = rest.next();
    }
    values.len().wrapping_sub(rest.len())
}

/// Writes the value in place register by register: one of them starts the engine and may have to wait, or the pair finds no
/// room in one piece.
fn write_value<P: QueuePorts>(
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    bulk: Bulk,
    offset: u32,
) -> Option<Exit> {
    let value = stream.fetcher.peek(0);
    let halves = [(false, offset, value as u32), (true, offset.wrapping_add(4), (value >> 32) as u32)];
    for (half, offset, data) in halves.into_iter().skip(bulk.half.into()) {
        match write_register(offset, data, stream, shared, ports) {
            Step::Next => {}
            Step::Block(reason) => {
                stream.bulk = Some(Bulk { half, ..bulk });
                return Some(Exit::Block(reason));
            }
            Step::Fail(causes) => {
                // With stop-on-error off the rest of the packet is passed over.
                stream.bulk = Bulk::skip(Header(bulk.header), bulk.left);
                return Some(Exit::Fail(Failure { causes, header: Some(bulk.header), words: 0 }));
            }
        }
    }
    finish(stream, bulk, 1);
    None
}

/// Accounts for `done` values that were written.
fn finish(stream: &mut Stream, bulk: Bulk, done: usize) {
    stream.fetcher.consume(done);
    let left = bulk.left.saturating_sub(done as u32);
    let offset = bulk.offset.map(|offset| offset.wrapping_add(8 * done as u32));
    stream.bulk = (left != 0).then_some(Bulk { offset, left, half: false, ..bulk });
}

/// Passes over the values on chip.
fn pass_over(stream: &mut Stream, bulk: Bulk) {
    let count = (bulk.left as usize).min(stream.fetcher.words_on_chip());
    finish(stream, bulk, count);
}
