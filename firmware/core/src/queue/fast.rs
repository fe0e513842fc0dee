//! The frequent packets, executed in a loop over the words on chip: NOP, MSG_LONG, MSG_PROT, MSG_SHORT, WREG_32, FENCE and
//! LIN_DMA in their plain forms.
//!
//! Owns no semantics: a packet with an engine barrier, a predicate or a time stamp, one that must wait and one that fails end
//! the loop in front of it, and [`super::cp::execute`] finds out again what is to be done. So the loop holds only what
//! nearly every packet needs, and its writes go into a run of free entries that is taken once ([`Burst`]).

use coxswain_abi::packet::{Header, opcode};
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::soc::PostedWrite;

use super::cp::{self, ENGINE_WINDOW, Shared};
use super::stream::Stream;
use crate::ports::Burst;

/// Predicate bits of a control word.
const PREDICATE: u32 = 0x1F;
/// Operation bits of a message's control word.
const OPERATION: u32 = 3 << 20;
/// Position of the opcode in the first word of a packet, with the engine barrier as the bit above it: a packet with the
/// barrier is none of those below.
const OPCODE_SHIFT: u32 = 56;
const OPCODE_AND_BARRIER: u32 = 0x3F;

/// Executes packets that start among the next `share` words on chip. Stops in front of any other packet, or when the burst is
/// used up.
#[inline]
pub(super) fn run<B: Burst>(stream: &mut Stream, shared: &mut Shared, burst: &mut B, share: usize) {
    let Stream { fetcher, fences, access, message_base, descriptor, .. } = stream;
    let (message, protected) = (access.message, access.protected);
    let engine_base = CFG_BASE + u64::from(shared.engine_base);
    let start = shared.engine.start_register();
    let (words, mut position) = fetcher.on_chip();
    let limit = words.len().min(position.saturating_add(share));
    while position < limit
        && let Some(&first) = words.get(position)
    {
        let header = Header(first);
        let control = header.control();
        let data = header.value();
        match (first >> OPCODE_SHIFT) as u32 & OPCODE_AND_BARRIER {
            opcode::NOP => position += 1,
            opcode::MSG_LONG => {
                let Some(&address) = words.get(position + 1) else { break };
                if control & (PREDICATE | OPERATION) != 0
                    || address & 3 != 0
                    || !burst.push([PostedWrite { address, data, attributes: message }])
                {
                    break;
                }
                position += 2;
            }
            opcode::MSG_PROT => {
                let Some(&address) = words.get(position + 1) else { break };
                if control & (PREDICATE | OPERATION) != 0
                    || address & 3 != 0
                    || !burst.push([PostedWrite { address, data, attributes: protected }])
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
                let address = engine_base + u64::from(offset);
                // The predicate and alignment bits at once: both must be 0.
                if (control & PREDICATE) | (offset & 3) != 0
                    || offset >= ENGINE_WINDOW
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
            opcode::LIN_DMA => {
                let Some(&[from, to]) = words.get(position + 1..).and_then(|rest| rest.first_chunk()) else { break };
                let Ok(writes) = cp::linear_dma(header, from, to, descriptor, message, &shared.engine) else { break };
                if !burst.push(writes) {
                    break;
                }
                shared.engine.started();
                position += 3;
            }
            _ => break,
        }
    }
    fetcher.advance_to(position);
}
