//! Table lookups as far as the layout of the tables is known (`tpc.md` 12): 32-bit entries.
//!
//! The tables lie in global memory; four registers of the launch say where, one per size class. Each lane brings its entry number.
//! Chosen: an entry number is not compared with the size of the table, memory decides; the three coefficients of an entry lie in the
//! order C0, C1, C2. Entries of 16 bits and the upper half, whose layout nobody tells, are refused, and so is the operation that
//! finds entry numbers (GET_LUT_ENTRY_AND_INTERVAL_START).

use super::memory::Memory;
use super::registers::Write;
use super::vector::{ByteMask, VECTOR_BYTES, Vector};
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::LoadOp as Op;

/// Bytes of a line.
const LINE: u64 = 128;
/// Lines of a function, by size class: tables of 256, 128, 64 and 32 entries.
const FUNCTION_LINES: [u64; 4] = [26, 13, 7, 4];
/// Bytes of an entry with three coefficients, and how many of them a line holds.
const ENTRY: u64 = 12;
const ENTRIES_PER_LINE: u64 = 10;

impl Tpc {
    pub(super) fn look_up(
        &mut self,
        operation: &Operation<Op>,
        immediate: u32,
        memory: &mut dyn Memory,
    ) -> Result<(), Trap> {
        let wide_entries = operation.fields.bits(Bits::new(Field::Switch, 0, 2)) == 0;
        if !wide_entries || operation.switch(2) {
            return Err(Trap::not_modelled("a lookup of 16-bit entries"));
        }
        let Some(mask) = self.lane_mask(operation.predicate, 4) else { return Ok(()) };
        let dest = self.vector_register(operation, Field::Dest)?;
        let entries = *self.vector_source(operation, Field::A, 4, immediate)?;
        let class = (immediate >> 7 & 3) as usize;
        // PANIC: two bits number the four classes.
        let table = self.lookup_tables[class].wrapping_add(FUNCTION_LINES[class] * LINE * u64::from(immediate & 0x7F));
        let coefficients = match operation.op {
            Op::Lookup1C => 0..1,
            Op::Lookup2C => 1..3,
            // One value per entry, one behind the other.
            _ => {
                let value = gather(memory, &entries, &mask, |entry| table.wrapping_add(4 * entry))?;
                self.registers.push(Write::V(dest, value, mask));
                return Ok(());
            }
        };
        for (register, coefficient) in (dest..).zip(coefficients) {
            let place = |entry: u64| {
                let in_line = entry % ENTRIES_PER_LINE * ENTRY + 4 * coefficient;
                table.wrapping_add(entry / ENTRIES_PER_LINE * LINE + in_line)
            };
            let value = gather(memory, &entries, &mask, place)?;
            self.registers.push(Write::V(register, value, mask));
        }
        Ok(())
    }
}

/// A word from memory for each lane that the mask selects.
fn gather(
    memory: &mut dyn Memory,
    entries: &Vector,
    mask: &ByteMask,
    place: impl Fn(u64) -> u64,
) -> Result<Vector, Trap> {
    let mut value = Vector::ZERO;
    for lane in (0..VECTOR_BYTES / 4).filter(|lane| mask.bit(4 * lane)) {
        let mut word = [0; 4];
        memory.read(place(entries.lane(4, lane).into()), &mut word).map_err(Trap::read)?;
        value.set_lane(4, lane, u32::from_le_bytes(word));
    }
    Ok(value)
}
