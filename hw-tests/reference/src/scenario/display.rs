//! Scenarios as text: one happening or packet a line, buffers of the lower CP and loaded data indented below the packet that
//! uses them.

use std::fmt;

use super::{Item, Program, Scenario, Step};

impl Program {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = 4 * depth;
        if self.missing {
            writeln!(f, "{:indent$}(the buffer does not exist)", "")?;
        }
        if self.misalignment != 0 {
            writeln!(f, "{:indent$}(begins {} bytes behind a multiple of 8)", "", self.misalignment)?;
        }
        for item in &self.items {
            item.write(f, depth)?;
        }
        if self.cut != 0 {
            writeln!(f, "{:indent$}(without the last {} bytes)", "", self.cut)?;
        }
        Ok(())
    }
}

impl Item {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = 4 * depth;
        write!(f, "{:indent$}", "")?;
        let condition = |f: &mut fmt::Formatter<'_>, predicate: u8| {
            if predicate == 0 { writeln!(f) } else { writeln!(f, " if P{predicate}") }
        };
        match self {
            Self::Packet(packet) => writeln!(f, "{packet}"),
            Self::Call { body, barriers, predicate } => {
                write!(f, "CP_DMA of")?;
                for (set, name) in [(barriers.engine, "EB"), (barriers.register, "RB"), (barriers.message, "MB")] {
                    if set {
                        write!(f, " {name}")?;
                    }
                }
                condition(f, *predicate)?;
                body.write(f, depth + 1)
            }
            Self::LoadPredicates { table, predicate, misalignment } => {
                write!(f, "LOAD_AND_EXE predicates {table:#x} misaligned by {misalignment}")?;
                condition(f, *predicate)
            }
            Self::LoadScalars { packet, second, execute, predicate } => {
                let register = if *second { 2 } else { 0 };
                write!(f, "LOAD_AND_EXE R{register}{} \"{packet}\"", if *execute { " and execute" } else { "" })?;
                condition(f, *predicate)
            }
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Scenario {
    fn write_step(&self, f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
        let name = |qman: &usize| format!("QMAN {}", self.qmans.get(*qman).map_or(usize::MAX, |setup| setup.number));
        match step {
            Step::Submit { qman, stream, program, rings } => {
                let bell = if *rings { "" } else { " (the doorbell is lost)" };
                writeln!(f, "submit to {} stream {stream}{bell}", name(qman))?;
                program.write(f, 1)
            }
            Step::CheckDoorbells => writeln!(f, "all doorbells are looked at"),
            Step::Fence { qman, stream, id, increment } => {
                writeln!(f, "fence {id} of {} stream {stream} += {increment}", name(qman))
            }
            Step::SetFence { qman, stream, id, value } => {
                writeln!(f, "fence {id} of {} stream {stream} = {value:#x}", name(qman))
            }
            Step::Complete { qman } => writeln!(f, "a job of {} completes", name(qman)),
            Step::FailEngine { qman } => writeln!(f, "the engine of {} fails", name(qman)),
            Step::Stop { qman, streams } => writeln!(f, "stop streams {streams:#07b} of {}", name(qman)),
            Step::Pause { qman, streams } => writeln!(f, "stop streams {streams:#07b} of {} for a moment", name(qman)),
            Step::Enable { qman, streams } => writeln!(f, "enable streams {streams:#06b} of {}", name(qman)),
            Step::StartLower { qman, program } => {
                writeln!(f, "start the lower CP of {}", name(qman))?;
                program.write(f, 1)
            }
            Step::FailMessage { qman, stream } => writeln!(f, "a message of {} stream {stream} fails", name(qman)),
            Step::BadProducer { qman, stream, excess } => {
                writeln!(f, "producer index of {} stream {stream} is wrong by {excess}", name(qman))
            }
            Step::LoseRing { qman, stream } => writeln!(f, "the PQ of {} stream {stream} goes away", name(qman)),
            Step::ClearCauses { qman, stream } => writeln!(f, "clear causes of {} stream {stream}", name(qman)),
            Step::Arbiter { qman, config, weights, slaves } => writeln!(
                f,
                "arbiter of {}: configuration {config:#x} weights {weights:?} slaves {slaves:#06b}",
                name(qman)
            ),
            Step::Choose { qman, stream } => writeln!(f, "stream {stream} of {} is chosen", name(qman)),
            Step::Time { milliseconds } => writeln!(f, "{milliseconds} ms pass"),
            Step::Run { rounds, writes, steps } => {
                writeln!(f, "run: engine {rounds} rounds of {writes} writes, reference {steps} steps")
            }
            Step::Settle => writeln!(f, "come to rest and compare"),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.strict { "strict" } else { "all jobs finish before anything is compared" };
        writeln!(f, "room for {} posted writes; seed {:#x}; {mode}", self.room, self.seed)?;
        for setup in &self.qmans {
            writeln!(
                f,
                "QMAN {}: stop on error {}, engine holds {} jobs, PQs of {} entries",
                setup.number,
                setup.stop_on_error,
                setup.engine_depth,
                1u32 << setup.ring_log2
            )?;
        }
        self.steps.iter().try_for_each(|step| self.write_step(f, step))
    }
}
