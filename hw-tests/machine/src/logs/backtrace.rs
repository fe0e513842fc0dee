//! Where in the source a firmware fault happened.
//!
//! A fault report of the port layer is one line of text, `FATAL exception: image I core C EL.. .. ELR A .. SP S`, and lines
//! with the registers. From its addresses and the images' debug information this module makes lines with functions, files and
//! line numbers. The images carry neither frame pointers nor unwind tables, so callers are found by looking through the
//! stack of the stopped core for return addresses: every caller is found, an entry that an earlier call has left may be
//! among them. Memory is read through QEMU's monitor; nothing is changed.

use std::borrow::Cow;
use std::sync::Arc;

use addr2line::gimli;
use object::{Object as _, ObjectSection as _};
use serde_json::json;

use crate::images::Stage;
use crate::qemu::qmp::Qmp;

/// Callers shown at most.
const DEPTH: usize = 24;
/// 64-bit words of the stack that are looked through.
const STACK_WORDS: usize = 512;

/// Debug information of the images.
pub struct Symbols {
    stages: Vec<(u8, &'static str, Vec<u8>)>,
}

type Reader<'a> = gimli::EndianSlice<'a, gimli::LittleEndian>;

/// The code of an image and where it comes from.
struct Code<'a> {
    places: addr2line::Context<Reader<'a>>,
    /// Address and bytes of each section with code.
    sections: Vec<(u64, &'a [u8])>,
}

impl Symbols {
    /// Keeps what is needed of `stages`.
    #[must_use]
    pub fn new(stages: &[Stage]) -> Self {
        Self { stages: stages.iter().map(|stage| (stage.log_id, stage.name, stage.elf.clone())).collect() }
    }

    /// Lines that explain a fault report (all its lines in one text): the backtrace, innermost first. Empty when nothing is
    /// known.
    #[must_use]
    pub fn explain(&self, line: &str, qmp: &Arc<Qmp>) -> Vec<String> {
        let core = number_after(line, "core ").unwrap_or(0);
        let Some((_, name, elf)) =
            number_after(line, "image ").and_then(|id| self.stages.iter().find(|(found, ..)| u64::from(*found) == id))
        else {
            return Vec::new();
        };
        let Some(code) = Code::new(elf) else { return Vec::new() };
        // A panic has no registers in its report; those of the core, which has stopped, serve as well.
        let of_core = Registers::of_core(qmp, core);
        let reported = number_after(line, "ELR ").zip(number_after(line, " SP "));
        let Some(start) = reported.map(|(counter, stack)| Registers { counter, stack }).or(of_core) else {
            return Vec::new();
        };
        let mut lines =
            vec![format!("backtrace ({name} image, core {core}; entries of earlier calls may be among the callers):")];
        lines.extend(code.describe(0, start.counter));
        // The latest return address may still be in the link register.
        let mut words: Vec<u64> = number_after(line, "x30=").into_iter().collect();
        words.extend(read_words(qmp, core, start.stack));
        let callers = code.callers(&words);
        lines.extend(
            callers.into_iter().take(DEPTH).enumerate().flat_map(|(index, call)| code.describe(index + 1, call)),
        );
        lines
    }
}

/// The registers that a stack walk needs.
#[derive(Debug, Clone, Copy)]
struct Registers {
    counter: u64,
    stack: u64,
}

impl Registers {
    /// Those of a core now, from the monitor's `info registers`.
    fn of_core(qmp: &Qmp, core: u64) -> Option<Self> {
        let text = monitor(qmp, core, "info registers")?;
        let value = |name: &str| {
            let start = text.find(name)? + name.len();
            u64::from_str_radix(text.get(start..)?.split_whitespace().next()?, 16).ok()
        };
        Some(Self { counter: value(" PC=")?, stack: value(" SP=")? })
    }
}

impl<'a> Code<'a> {
    fn new(elf: &'a [u8]) -> Option<Self> {
        let file = object::File::parse(elf).ok()?;
        let section = |name: &str| {
            let data = file.section_by_name(name).and_then(|section| section.data().ok());
            Reader::new(data.unwrap_or_default(), gimli::LittleEndian)
        };
        let dwarf = gimli::Dwarf::load(|id| Ok::<_, gimli::Error>(section(id.name()))).ok()?;
        let places = addr2line::Context::from_dwarf(dwarf).ok()?;
        let sections = file
            .sections()
            .filter(|section| section.kind() == object::SectionKind::Text)
            .filter_map(|section| Some((section.address(), section.data().ok()?)))
            .collect();
        Some(Self { places, sections })
    }

    /// The 32-bit instruction at `address`.
    fn instruction(&self, address: u64) -> Option<u32> {
        self.sections.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
            let word = bytes.get(offset..offset.checked_add(4)?)?;
            (offset % 4 == 0).then(|| word.try_into().map(u32::from_le_bytes).ok()).flatten()
        })
    }

    /// Addresses of the calls whose return addresses are among `stack`, in its order.
    fn callers(&self, stack: &[u64]) -> Vec<u64> {
        let calls = stack.iter().filter_map(|word| {
            let call = word.checked_sub(4)?;
            self.instruction(call).filter(|word| is_call(*word)).map(|_| call)
        });
        let mut calls: Vec<u64> = calls.collect();
        calls.dedup();
        calls
    }

    /// One line per function at `address`, inlined ones first.
    fn describe(&self, depth: usize, address: u64) -> Vec<String> {
        let mut lines = Vec::new();
        // Functions that the linker has dropped are described at addresses near 0.
        if self.instruction(address).is_some()
            && let Ok(mut found) = self.places.find_frames(address).skip_all_loads()
        {
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
}

/// True for the AArch64 instructions that leave a return address: BL and BLR.
const fn is_call(instruction: u32) -> bool {
    instruction & 0xFC00_0000 == 0x9400_0000 || instruction & 0xFFFF_FC1F == 0xD63F_0000
}

/// Runs a monitor command on a core.
fn monitor(qmp: &Qmp, core: u64, command: &str) -> Option<String> {
    let arguments = json!({ "command-line": command, "cpu-index": core });
    qmp.execute("human-monitor-command", arguments).ok()?.as_str().map(str::to_owned)
}

/// The 64-bit words from a virtual address of a core on; fewer when memory ends.
fn read_words(qmp: &Qmp, core: u64, address: u64) -> Vec<u64> {
    // Lines look like `000000000e012345: 0x0000000000001234 0x0000000000005678`.
    let text = monitor(qmp, core, &format!("x /{STACK_WORDS}gx {address:#x}")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, words)| words.split_whitespace().map_while(parse_number))
        .collect()
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
    fn calls_are_told_from_other_instructions() {
        // bl, blr x8; b, br x8, ret, nop.
        assert!(is_call(0x9400_0123) && is_call(0x97FF_FFFF) && is_call(0xD63F_0100));
        assert!(!is_call(0x1400_0123) && !is_call(0xD61F_0100) && !is_call(0xD65F_03C0) && !is_call(0xD503_201F));
    }

    #[test]
    fn only_return_addresses_are_taken_from_a_stack() {
        let code: Vec<u8> =
            [0xD503_201Fu32, 0x9400_0001, 0xD503_201F].iter().flat_map(|word| word.to_le_bytes()).collect();
        let places = addr2line::Context::from_dwarf(gimli::Dwarf::default()).unwrap();
        let code = Code { places, sections: vec![(0x1000, &code)] };
        assert_eq!(code.callers(&[0, 0x1008, 0x1004, 0x1006, 0x1008, 0x100C, u64::MAX]), [0x1004]);
        assert_eq!(code.describe(1, 0x1004), ["  #1  0x1004 ?"]);
    }

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
