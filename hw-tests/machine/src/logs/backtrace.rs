//! Where in the source a firmware fault happened.
//!
//! A fault report of the port layer is one line of text: `FATAL exception: image I core C EL.. .. ELR A .. SP S`, then
//! registers. From its addresses and the images' debug information this module makes lines with functions, files and
//! line numbers. It reads the stopped machine's memory through QEMU's monitor to walk the stack, and changes nothing.

use std::borrow::Cow;
use std::sync::Arc;

use addr2line::gimli;
use object::{Object as _, ObjectSection as _};
use serde_json::json;

use crate::images::Stage;
use crate::qemu::qmp::Qmp;

/// Frames shown at most.
const DEPTH: usize = 24;

/// Debug information of the images.
pub struct Symbols {
    stages: Vec<(u8, &'static str, Vec<u8>)>,
}

type Reader<'a> = gimli::EndianSlice<'a, gimli::LittleEndian>;

/// A place in the firmware and how to get from there to its caller.
struct Unwinder<'a> {
    places: addr2line::Context<Reader<'a>>,
    frames: gimli::DebugFrame<Reader<'a>>,
}

impl Symbols {
    /// Keeps what is needed of `stages`.
    #[must_use]
    pub fn new(stages: &[Stage]) -> Self {
        Self { stages: stages.iter().map(|stage| (stage.log_id, stage.name, stage.elf.clone())).collect() }
    }

    /// Lines that explain a line with `FATAL` in it: the backtrace, innermost first. Empty when nothing is known.
    #[must_use]
    pub fn explain(&self, line: &str, qmp: &Arc<Qmp>) -> Vec<String> {
        let core = number_after(line, "core ").unwrap_or(0);
        let Some((_, name, elf)) =
            number_after(line, "image ").and_then(|id| self.stages.iter().find(|(found, ..)| u64::from(*found) == id))
        else {
            return Vec::new();
        };
        // A panic has no registers in its report; those of the core that has stopped serve as well.
        let registers = Registers::of_core(qmp, core).unwrap_or_default();
        let start = match (number_after(line, "ELR "), number_after(line, " SP ")) {
            (Some(program_counter), Some(stack)) => Registers { program_counter, stack, ..registers },
            _ => registers,
        };
        let Some(unwinder) = Unwinder::new(elf) else { return Vec::new() };
        let mut lines = vec![format!("backtrace ({name} image, core {core}):")];
        let read = |address: u64| read_word(qmp, core, address);
        lines.extend(unwinder.walk(start, &read));
        lines
    }
}

/// The registers that a stack walk needs.
#[derive(Debug, Clone, Copy, Default)]
struct Registers {
    program_counter: u64,
    stack: u64,
    frame: u64,
    link: u64,
}

impl Registers {
    /// Those of a core now, from the monitor's `info registers`.
    fn of_core(qmp: &Qmp, core: u64) -> Option<Self> {
        let text = monitor(qmp, core, "info registers")?;
        let value = |name: &str| {
            let start = text.find(&format!("{name}="))? + name.len() + 1;
            u64::from_str_radix(text.get(start..)?.split_whitespace().next()?, 16).ok()
        };
        Some(Self { program_counter: value("PC")?, stack: value("SP")?, frame: value("X29")?, link: value("X30")? })
    }
}

impl<'a> Unwinder<'a> {
    fn new(elf: &'a [u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let section = |name: &str| {
            let data = file.section_by_name(name).and_then(|section| section.data().ok());
            Reader::new(data.unwrap_or_default(), gimli::LittleEndian)
        };
        let dwarf = gimli::Dwarf::load(|id| Ok::<_, gimli::Error>(section(id.name()))).ok()?;
        let places = addr2line::Context::from_dwarf(dwarf).ok()?;
        let mut frames = gimli::DebugFrame::from(section(".debug_frame"));
        frames.set_address_size(8);
        Some(Self { places, frames })
    }

    /// Lines of the call chain that begins at `registers`.
    fn walk(&self, mut registers: Registers, read: &dyn Fn(u64) -> Option<u64>) -> Vec<String> {
        let mut lines = Vec::new();
        for depth in 0..DEPTH {
            // A return address points behind the call; the call itself is meant.
            let address = registers.program_counter.wrapping_sub(if depth == 0 { 0 } else { 4 });
            lines.extend(self.describe(depth, address));
            match self.caller(registers, address, depth == 0, read) {
                Some(caller) if caller.program_counter != 0 && caller.stack >= registers.stack => registers = caller,
                _ => break,
            }
        }
        lines
    }

    /// One line per function at `address`, inlined ones first.
    fn describe(&self, depth: usize, address: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if let Ok(mut found) = self.places.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = found.next() {
                let function = frame.function.and_then(|name| name.demangle().ok().map(Cow::into_owned));
                let place = frame.location.and_then(|place| Some(format!("{}:{}", place.file?, place.line?)));
                lines.push(format!(
                    "  #{depth:<2} {address:#x} {}{}",
                    function.as_deref().unwrap_or("?"),
                    place.map(|place| format!(" at {place}")).unwrap_or_default()
                ));
            }
        }
        if lines.is_empty() {
            lines.push(format!("  #{depth:<2} {address:#x} ?"));
        }
        lines
    }

    /// The registers in the caller's frame.
    fn caller(
        &self,
        registers: Registers,
        address: u64,
        innermost: bool,
        read: &dyn Fn(u64) -> Option<u64>,
    ) -> Option<Registers> {
        use gimli::{CfaRule, RegisterRule, UnwindSection as _};
        let bases = gimli::BaseAddresses::default();
        let mut context = gimli::UnwindContext::new();
        let row =
            self.frames.unwind_info_for_address(&bases, &mut context, address, gimli::DebugFrame::cie_from_offset);
        let Ok(row) = row else {
            // No information (a function in assembly): its caller is in the link register, when it is a leaf.
            let has_link = innermost && registers.link != 0 && registers.link != registers.program_counter;
            return has_link.then_some(Registers { program_counter: registers.link, link: 0, ..registers });
        };
        let value_of = |register: gimli::Register| match register {
            gimli::AArch64::SP => Some(registers.stack),
            gimli::AArch64::X29 => Some(registers.frame),
            gimli::AArch64::X30 => Some(registers.link),
            _ => None,
        };
        let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return None };
        let stack = value_of(*register)?.checked_add_signed(*offset)?;
        let restored = |register: gimli::Register, now: u64| match row.register(register) {
            Some(RegisterRule::Offset(offset)) => read(stack.checked_add_signed(offset)?),
            _ => Some(now),
        };
        let link = restored(gimli::AArch64::X30, registers.link)?;
        let frame = restored(gimli::AArch64::X29, registers.frame)?;
        (link != registers.program_counter || innermost).then_some(Registers {
            program_counter: link,
            stack,
            frame,
            link,
        })
    }
}

/// Runs a monitor command on a core.
fn monitor(qmp: &Qmp, core: u64, command: &str) -> Option<String> {
    let arguments = json!({ "command-line": command, "cpu-index": core });
    qmp.execute("human-monitor-command", arguments).ok()?.as_str().map(str::to_owned)
}

/// A 64-bit word at a virtual address of a core.
fn read_word(qmp: &Qmp, core: u64, address: u64) -> Option<u64> {
    // The answer looks like `000000000e012345: 0x0000000000001234`.
    let text = monitor(qmp, core, &format!("x /1gx {address:#x}"))?;
    parse_number(text.split(':').nth(1)?.trim())
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The number behind `word` in a report.
fn number_after(line: &str, word: &str) -> Option<u64> {
    let rest = line.get(line.find(word)? + word.len()..)?;
    parse_number(rest.split(|character: char| !character.is_ascii_alphanumeric()).next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_fault_report_are_found() {
        let line =
            "FATAL exception: image 3 core 1 EL1 vector 4 ESR 0x96000010 ELR 0xe401234 FAR 0x8 SPSR 0x3 SP 0xe7ff000";
        assert_eq!(number_after(line, "image "), Some(3));
        assert_eq!(number_after(line, "core "), Some(1));
        assert_eq!(number_after(line, "ELR "), Some(0xE40_1234));
        assert_eq!(number_after(line, " SP "), Some(0xE7F_F000));
        assert_eq!(number_after("FATAL panic: image 2 core 0: at x", "ELR "), None);
    }
}
