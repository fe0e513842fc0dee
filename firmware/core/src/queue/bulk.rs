//! WREG_BULK: consecutive register writes, longer than what fits on chip at once (`qman.md` 5.1).
//!
//! The packet was checked when its header was executed: the whole range is mapped and the buffer holds all values.

use super::cp::{Exit, Shared, Step, post_register, write_register};
use super::stream::Stream;
use super::{QueuePorts, ROOM};

/// A bulk write in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bulk {
    /// Window offset of the next register; `None` when the values are only passed over.
    offset: Option<u32>,
    /// 64-bit values to come.
    left: u32,
    /// The low half of the value in place is written.
    half: bool,
}

impl Bulk {
    /// A write of `values` values from window offset `offset`; nothing when there are none.
    pub fn write(offset: u32, values: u32) -> Option<Self> {
        (values != 0).then_some(Self { offset: Some(offset), left: values, half: false })
    }

    /// Passes over `values` values.
    pub fn skip(values: u32) -> Option<Self> {
        (values != 0).then_some(Self { offset: None, left: values, half: false })
    }
}

/// Goes on with the stream's bulk write. `None` when it is done or more can be done at once.
pub(super) fn run<P: QueuePorts>(stream: &mut Stream, shared: &mut Shared, ports: &mut P) -> Option<Exit> {
    let bulk = stream.bulk?;
    if let Err(error) = stream.fetcher.ensure(1, stream.access.fetch, ports) {
        return Some(Exit::Fetch(error));
    }
    let Some(offset) = bulk.offset else {
        pass_over(stream, bulk);
        return None;
    };
    let room = ports.available().saturating_sub(ROOM) / 2;
    if room == 0 {
        return Some(Exit::Yield);
    }
    let count = (bulk.left as usize).min(room).min(stream.fetcher.words_on_chip());
    // PANIC: the whole range is below 64 KiB, so its end does not overflow.
    let end = offset + 8 * count as u32;
    let start = shared.engine.start_register();
    let done = if (offset..end).contains(&start) || bulk.half {
        match one_by_one(stream, shared, ports, offset, count) {
            Ok(done) => done,
            Err(exit) => return Some(exit),
        }
    } else if let Some(target) = shared.window(offset) {
        let access = stream.access.message;
        let (words, position) = stream.fetcher.on_chip();
        let values = words.get(position..).unwrap_or(&[]);
        let mut register = target;
        for value in values.iter().take(count) {
            post_register(register, *value as u32, access, ports);
            post_register(register.wrapping_add(4), (*value >> 32) as u32, access, ports);
            register = register.wrapping_add(8);
        }
        count
    } else {
        count
    };
    finish(stream, bulk, done);
    None
}

/// Writes register by register, because one of them starts the engine and may have to wait.
fn one_by_one<P: QueuePorts>(
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
    offset: u32,
    count: usize,
) -> Result<usize, Exit> {
    for index in 0..count {
        let value = stream.fetcher.peek(index);
        // PANIC: below 64 KiB, as above.
        let register = offset + 8 * index as u32;
        let half_done = stream.bulk.is_some_and(|bulk| bulk.half);
        for (offset, value, high) in [(register, value as u32, false), (register + 4, (value >> 32) as u32, true)] {
            if half_done && !high {
                continue;
            }
            match write_register(offset, value, stream, shared, ports) {
                Step::Next => {
                    if let Some(bulk) = &mut stream.bulk {
                        bulk.half = !high;
                    }
                }
                Step::Block(reason) => {
                    let bulk = stream.bulk;
                    if let Some(bulk) = bulk {
                        finish(stream, bulk, index);
                        if let Some(rest) = &mut stream.bulk {
                            rest.half = high;
                        }
                    }
                    return Err(Exit::Block(reason));
                }
                Step::Fail(causes) => {
                    // With stop-on-error off the rest of the packet is passed over.
                    if let Some(bulk) = stream.bulk {
                        finish(stream, bulk, index);
                        stream.bulk = Bulk::skip(bulk.left.saturating_sub(index as u32));
                    }
                    return Err(Exit::Fail(causes, 0));
                }
            }
        }
    }
    Ok(count)
}

/// Accounts for `done` values that were written.
fn finish(stream: &mut Stream, bulk: Bulk, done: usize) {
    stream.fetcher.consume(done);
    let left = bulk.left.saturating_sub(done as u32);
    let offset = bulk.offset.map(|offset| offset.wrapping_add(8 * done as u32));
    stream.bulk = (left != 0).then_some(Bulk { offset, left, half: false });
}

/// Passes over the values on chip.
fn pass_over(stream: &mut Stream, bulk: Bulk) {
    let count = (bulk.left as usize).min(stream.fetcher.words_on_chip());
    finish(stream, bulk, count);
}
