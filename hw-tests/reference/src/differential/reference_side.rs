//! The interpreter, with the card's part played for it.

use super::board::{Consequence, consequence};
use crate::machine::{Description, Machine, Write};
use crate::scenario::Setup;

/// Steps after which the card looks at the interpreter's writes.
const STEPS: usize = 5;

/// The interpreter.
pub struct ReferenceSide {
    /// The QMANs.
    pub machine: Machine,
    /// Bus writes since they were last taken.
    pub writes: Vec<Write>,
    random: u64,
}

impl ReferenceSide {
    /// An interpreter with these QMANs that tries streams in the order of `seed`.
    pub fn new(setups: &[Setup], seed: u64) -> Self {
        let descriptions: Vec<Description> =
            setups.iter().map(|setup| Description { number: setup.number, engine_depth: setup.engine_depth }).collect();
        Self { machine: Machine::new(&descriptions), writes: vec![], random: seed | 1 }
    }

    pub fn complete(&mut self, number: usize) {
        if self.machine.jobs(number) != 0 && !self.machine.is_engine_stopped(number) {
            self.machine.engine_done(number);
        }
    }

    /// About `steps` steps.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps.div_ceil(STEPS) {
            self.go_on();
        }
    }

    /// Until nothing happens any more.
    pub fn run_to_rest(&mut self) {
        while self.go_on() {}
    }

    fn go_on(&mut self) -> bool {
        let random = &mut self.random;
        let mut choose = |limit: usize| {
            // A linear congruential generator; the upper bits are the good ones.
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*random >> 33) as usize % limit.max(1)
        };
        let more = self.machine.run(STEPS, &mut choose);
        let writes = self.machine.take_writes();
        let mut passed_on = false;
        for write in &writes {
            match consequence(write) {
                Some(Consequence::Fence { number, stream, id, increment }) => {
                    use coxswain_abi::regs::qman as regs;
                    let offset = regs::CP_FENCE0_RDATA_0 + regs::FENCE_STRIDE * id as u32 + 4 * stream as u32;
                    self.machine.write_register(number, offset, u32::from(increment));
                    passed_on = true;
                }
                Some(Consequence::Arbiter { number, offset, value }) => {
                    self.machine.write_register(number, offset, value);
                    passed_on = true;
                }
                // The interpreter counts its jobs when it starts them.
                Some(Consequence::Job { .. }) | None => {}
            }
        }
        self.writes.extend(writes);
        more || passed_on
    }
}
