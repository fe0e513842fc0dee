//! The frequent packets, executed in a loop over the words on chip: NOP, MSG_LONG, MSG_PROT, MSG_SHORT, WREG_32, FENCE and
//! LIN_DMA in their plain forms.
//!
//! Owns no semantics: a packet with an engine barrier behind the first one, one with a predicate or a time stamp, one that must
//! wait and one that fails end the loop in front of it, and [`super::cp::execute`] finds out again what is to be done. So the
//! loop holds only what nearly every packet needs, and its writes go into a run of free entries that is taken once ([`Burst`]).

use coxswain_abi::packet::{EB, Header, opcode};
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::soc::PostedWrite;

use super::cp::{self, ENGINE_WINDOW, Shared};
use super::stream::Stream;
use crate::ports::Burst;

/// Predicate bits of a control word.
const PREDICATE: u32 = 0x1F;
/// Operation bits of a message's control word.
const OPERATION: u32 = 3 << 20;
/// What must be clear in the control word of a plain WREG_32: the predicate, and those bits of the offset that are set when
/// it lies outside the engine's window or off alignment.
const NOT_PLAIN_REGISTER: u32 = PREDICATE | (0xFFFF & !(ENGINE_WINDOW - 4)) << 8;
/// The engine barrier in the first word of a packet.
const BARRIER: u64 = (EB as u64) << 32;
/// Position of the opcode in the first word of a packet, with the engine barrier as the bit above it: a packet with the
/// barrier is none of those below.
const OPCODE_SHIFT: u32 = 56;
const OPCODE_AND_BARRIER: u32 = 0x3F;

/// Executes packets that start among the next `share` words on chip; the barrier of the first one is open. Stops in front of
/// any other packet, at the last word on chip, or when the burst is used up.
#[inline]
pub(super) fn run<B: Burst>(stream: &mut Stream, shared: &mut Shared, burst: &mut B, share: usize) {
    let (_, start) = stream.fetcher.on_chip();
    let limit = start.saturating_add(share);
    let mut opened = BARRIER;
    loop {
        run_short(stream, shared, burst, limit, opened);
        opened = 0;
        // Between the runs of short packets, so that what it needs is not kept at hand all the time.
        let (words, position) = stream.fetcher.on_chip();
        let Some(&[first, from, to]) = words.get(position..).and_then(|rest| rest.first_chunk()) else { return };
        let barrier = if position == start { BARRIER } else { 0 };
        if position >= limit || code(first & !barrier) != opcode::LIN_DMA {
            return;
        }
        let header = Header(first);
        let access = stream.access.message;
        let Ok(writes) = cp::linear_dma(header, from, to, &stream.descriptor, access, &shared.engine) else { return };
        if !burst.push(writes) {
            return;
        }
        shared.engine.started();
        stream.fetcher.advance_to(position + writes.len() / 2);
    }
}

/// Opcode and engine barrier.
#[inline(always)]
const fn code(first: u64) -> u32 {
    (first >> OPCODE_SHIFT) as u32 & OPCODE_AND_BARRIER
}

/// Executes packets of one and two words; `opened` is what is not to be looked at in the first of them.
// Always: only a burst that is a local variable lives in registers.
#[inline(always)]
fn run_short<B: Burst>(stream: &mut Stream, shared: &Shared, burst: &mut B, limit: usize, opened: u64) {
    let Stream { fetcher, fences, access, message_base, .. } = stream;
    let (message, protected) = (access.message, access.protected);
    let engine_base = CFG_BASE + u64::from(shared.engine_base);
    let start = shared.engine.start_register();
    let (words, mut position) = fetcher.on_chip();
    let mut opened = opened;
    // Every word but the last one, and the word behind each: both words of a packet of two are there.
    let count = words.len().saturating_sub(1).min(limit);
    let (firsts, seconds) = (words.get(..count).unwrap_or(&[]), words.get(1..=count).unwrap_or(&[]));
    while let (Some(&word), Some(&operand)) = (firsts.get(position), seconds.get(position)) {
        let first = word & !opened;
        opened = 0;
        let header = Header(first);
        let control = header.control();
        let data = header.value();
        match code(first) {
            opcode::NOP => position += 1,
            opcode::MSG_LONG => {
                if control & (PREDICATE | OPERATION) != 0
                    || operand & 3 != 0
                    || !burst.push([PostedWrite { address: operand, data, attributes: message }])
                {
                    break;
                }
                position += 2;
            }
            opcode::MSG_PROT => {
                if control & (PREDICATE | OPERATION) != 0
                    || operand & 3 != 0
                    || !burst.push([PostedWrite { address: operand, data, attributes: protected }])
                {
                    break;
                }
                position += 2;
            }
            opcode::MSG_SHORT => {
                let base = message_base.get((control >> 22 & 3) as usize).copied().unwrap_or(0);
                let address = base.wrapping_add(u64::from(control & 0xFFFF));
                if control & OPERATION != 0
                    || address & 3 != 0
                    || !burst.push([PostedWrite { address, data, attributes: message }])
                {
                    break;
                }
                position += 1;
            }
            opcode::WREG_32 => {
                let offset = header.register_offset();
                let address = engine_base.wrapping_add(u64::from(offset));
                if control & NOT_PLAIN_REGISTER != 0
                    || offset == start
                    || !burst.push([PostedWrite { address, data, attributes: message }])
                {
                    break;
                }
                position += 1;
            }
            opcode::FENCE => {
                let target = data >> 16 & 0xFF;
                let decrement = data & 0xF;
                let Some(counter) = fences.get_mut((data >> 30) as usize) else { break };
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
    }
    fetcher.advance_to(position);
}
