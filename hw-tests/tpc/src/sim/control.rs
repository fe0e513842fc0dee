//! Where the program goes on: LOOP, its delay slot, jumps (`tpc.md` 7).

use super::registers::Registers;
use super::{Cause, Trap};
use crate::bundle::BUNDLE_BYTES;
use crate::decode::{Comparison, LoopInstruction, LoopOperand};

/// Nested loops that the hardware can count.
const LEVELS: usize = 4;
/// The counter of the outermost loop.
const FIRST_COUNTER: u8 = 32;

/// What a bundle says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The bundle behind it.
    Next,
    /// The bundle at this address.
    Jump(u64),
    /// None: the kernel ends.
    Halt,
}

/// A loop whose body runs.
#[derive(Clone, Copy, Debug)]
struct ActiveLoop {
    /// First bundle of the body.
    body: u64,
    /// Last bundle of the body.
    end: u64,
    counter: i32,
    boundary: i32,
    step: i32,
    comparison: Comparison,
}

/// What follows a delay slot.
#[derive(Clone, Copy, Debug)]
enum Continuation {
    /// The body, which begins here.
    Body(u64),
    /// What follows the last bundle of the body, which is here.
    Skip(u64),
}

/// The active loops and the delay slot.
#[derive(Clone, Debug, Default)]
pub(super) struct LoopStack {
    active: Vec<ActiveLoop>,
    /// Where to go behind the delay slot of the LOOP that was executed last.
    behind_delay_slot: Option<Continuation>,
    /// The bundle that is executed now is a delay slot.
    in_delay_slot: bool,
}

impl LoopStack {
    /// Executes the LOOP at `pc`.
    pub(super) fn enter(
        &mut self,
        instruction: &LoopInstruction,
        pc: u64,
        registers: &mut Registers,
    ) -> Result<(), Trap> {
        self.refuse_in_delay_slot("LOOP")?;
        let body = advance(pc, 2 * BUNDLE_BYTES as i64)?;
        let end = advance(pc, i64::from(instruction.end))?;
        let predicate = instruction.predicate;
        if registers.sp(predicate.register) == predicate.inverted {
            self.behind_delay_slot = Some(Continuation::Skip(end));
            return Ok(());
        }
        if self.active.len() == LEVELS {
            return Err(Trap::new(Cause::IllegalInstruction, format!("more than {LEVELS} nested loops")));
        }
        let value = |operand| match operand {
            LoopOperand::Register(number) => registers.s(number) as i32,
            LoopOperand::Immediate(value) => value as i32,
        };
        // Captured once: compiled kernels overwrite the registers inside the body.
        let active = ActiveLoop {
            body,
            end,
            counter: value(instruction.start),
            boundary: value(instruction.boundary),
            step: value(instruction.step),
            comparison: instruction.comparison,
        };
        registers.set_s(FIRST_COUNTER + self.active.len() as u8, active.counter as u32);
        if active.comparison.holds(active.counter, active.boundary) {
            self.active.push(active);
            self.behind_delay_slot = Some(Continuation::Body(body));
        } else {
            self.behind_delay_slot = Some(Continuation::Skip(end));
        }
        Ok(())
    }

    /// The address that follows the bundle at `pc`; ends an iteration when that bundle was the last of a body.
    ///
    /// Chosen: a jump out of the innermost active loop is an error, because nobody knows what becomes of its counter (compiled code
    /// never does it); a jump in the last bundle of a body does not end the iteration.
    #[inline]
    pub(super) fn next(&mut self, flow: Flow, pc: u64, registers: &mut Registers) -> Result<u64, Trap> {
        if let Flow::Jump(target) = flow {
            self.refuse_in_delay_slot("a jump")?;
            if self.active.last().is_some_and(|active| target < active.body || target > active.end) {
                return Err(Trap::new(Cause::IllegalInstruction, format!("a jump to {target:#x}, out of a LOOP")));
            }
            return Ok(target);
        }
        match self.behind_delay_slot {
            // The bundle at `pc` was the LOOP itself.
            Some(_) if !self.in_delay_slot => {
                self.in_delay_slot = true;
                advance(pc, BUNDLE_BYTES as i64)
            }
            Some(continuation) => {
                self.behind_delay_slot = None;
                self.in_delay_slot = false;
                match continuation {
                    Continuation::Body(body) => Ok(body),
                    Continuation::Skip(end) => self.behind(end, registers),
                }
            }
            None => self.behind(pc, registers),
        }
    }

    /// The address that follows the bundle at `pc`, where any number of active loops may end.
    ///
    /// Chosen: the counter keeps the first value that failed the comparison.
    #[inline]
    fn behind(&mut self, pc: u64, registers: &mut Registers) -> Result<u64, Trap> {
        while let Some(innermost) = self.active.last_mut().filter(|active| active.end == pc) {
            innermost.counter = innermost.counter.wrapping_add(innermost.step);
            let (body, counter) = (innermost.body, innermost.counter);
            let goes_on = innermost.comparison.holds(counter, innermost.boundary);
            registers.set_s(FIRST_COUNTER + self.active.len() as u8 - 1, counter as u32);
            if goes_on {
                return Ok(body);
            }
            self.active.pop();
        }
        advance(pc, BUNDLE_BYTES as i64)
    }

    fn refuse_in_delay_slot(&self, what: &str) -> Result<(), Trap> {
        if self.in_delay_slot {
            return Err(Trap::new(Cause::IllegalInstruction, format!("{what} in the delay slot of a LOOP")));
        }
        Ok(())
    }
}

/// An address some bytes further.
pub(super) fn advance(pc: u64, distance: i64) -> Result<u64, Trap> {
    pc.checked_add_signed(distance)
        .ok_or_else(|| Trap::new(Cause::ProgramCounterWrap, format!("{pc:#x} {distance:+} leaves the address space")))
}
