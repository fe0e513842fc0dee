//! LOAD_AND_EXE: loads predicates or scalars from memory, executes a packet held in scalars (`qman.md` 5.3).
//!
//! The address comes from the user also on queues whose buffers the driver owns, so the read is made with the user's
//! attributes (`qman.md` 7.4).

use coxswain_abi::packet::{Header, opcode};
use coxswain_abi::regs::qman::cause;

use super::QueuePorts;
use super::cp::{self, Shared, Step};
use super::fetch::read_any_alignment;
use super::stream::Stream;
use crate::ports::ReadError;

/// Words of the predicate table: 32 dwords.
const TABLE: usize = 16;

/// Executes the packet.
pub(super) fn execute<P: QueuePorts>(
    header: Header,
    address: u64,
    number: usize,
    stream: &mut Stream,
    shared: &mut Shared,
    ports: &mut P,
) -> Step {
    let config = header.value();
    let (scalars, loads, executes, from_second) =
        (config & 1 != 0, config >> 8 & 1 != 0, config >> 9 & 1 != 0, config >> 10 & 1 != 0);
    // A packet that waits is tried again as a whole; what it loads is loaded once.
    if loads && !stream.loaded {
        let result =
            if scalars { load_scalars(address, stream, ports) } else { load_predicates(address, stream, ports) };
        if let Err(error) = result {
            stream.page_fault |= matches!(error, ReadError::PageFault { .. });
            return Step::Fail(cause::CP_RD);
        }
    }
    if !executes {
        return Step::Next;
    }
    let [r0, r1, r2, r3] = stream.scalars.map(u64::from);
    let (first, second) = (r0 | r1 << 32, r2 | r3 << 32);
    let (packet, operand, room) = if from_second { (Header(second), 0, 1) } else { (Header(first), second, 2) };
    let illegal = matches!(
        packet.opcode(),
        opcode::WREG_BULK | opcode::LIN_DMA | opcode::CP_DMA | opcode::ARB_POINT | opcode::LOAD_AND_EXE
    );
    if illegal || packet.words().is_none_or(|words| words > room) {
        stream.loaded = false;
        return Step::Fail(cause::UNDEF_CMD);
    }
    let step = cp::execute(packet, [operand, 0], number, stream, shared, ports);
    stream.loaded = loads && matches!(step, Step::Block(_));
    step
}

/// P1..P31 = bit 0 of dwords 1..31; P0 stays true.
fn load_predicates<P: QueuePorts>(address: u64, stream: &mut Stream, ports: &mut P) -> Result<(), ReadError> {
    let mut table = [0; TABLE];
    read_any_alignment(address, stream.access.message, &mut table, ports)?;
    let mut predicates = 0;
    for (index, word) in table.into_iter().enumerate() {
        predicates |= (word as u32 & 1) << (2 * index) | ((word >> 32) as u32 & 1) << (2 * index + 1);
    }
    stream.predicates = predicates | 1;
    Ok(())
}

fn load_scalars<P: QueuePorts>(address: u64, stream: &mut Stream, ports: &mut P) -> Result<(), ReadError> {
    let mut words = [0; 2];
    read_any_alignment(address, stream.access.message, &mut words, ports)?;
    let [low, high] = words;
    stream.scalars = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
    Ok(())
}
