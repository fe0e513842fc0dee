//! From text to bundles.
//!
//! The syntax is that of `tpc-vectors.csv`. One bundle per line, or several separated by `;;`; a bundle is four slots
//! `LOAD; SPU; VPU; STORE`, or `nop` alone, or a `loop` alone; `nop 7` stands for seven bundles of `nop`. `name:` in front of a bundle is a label; `//` starts a comment.
//! The end of a loop is named by the first bundle *behind* its body.
//! Owns the checks of what the encoding cannot express: one immediate per bundle, bits shared by two slots, the common predicate of
//! LOAD and STORE, distances. It does not check the timing rules of hand-written code (`tpc.md` 8): the simulator's write delay does.

mod slot;

use core::fmt;
use std::collections::HashMap;

use crate::bundle::{BUNDLE_BYTES, Bundle, Field, IMMEDIATE, LOAD_PREDICATE_IS_VECTOR, Slot, loop_fields};
use crate::decode::{Comparison, decode};
use crate::forms::Predicate;
use crate::opcodes::{LoadOp, SpuOp, StoreOp, VpuOp};
use crate::operand::{Operand, parse_number};
use slot::{Parsed, parse_predicate, parse_slot};

/// A program that cannot be assembled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssembleError {
    /// Line of the source, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for AssembleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.message)
    }
}

impl core::error::Error for AssembleError {}

/// Assembles a program; the result is a whole number of bundles of 32 bytes.
///
/// # Errors
///
/// [`AssembleError`] with the line of the first mistake.
pub fn assemble(source: &str) -> Result<Vec<u8>, AssembleError> {
    let mut labels: HashMap<&str, usize> = HashMap::new();
    let mut statements: Vec<(usize, Statement)> = Vec::new();
    let mut last_line = 1;
    let mut dangling = None;
    for (number, line) in source.lines().enumerate() {
        let line_number = number + 1;
        last_line = line_number;
        let fail = |message| AssembleError { line: line_number, message };
        let code = line.split("//").next().unwrap_or_default();
        for bundle in code.split(";;") {
            let mut text = bundle.trim();
            while let Some((name, rest)) = text.split_once(':') {
                let name = name.trim();
                if !is_label(name) {
                    return Err(fail(format!("`{name}` is no label name")));
                }
                if labels.insert(name, statements.len()).is_some() {
                    return Err(fail(format!("label `{name}` is defined twice")));
                }
                dangling = Some(line_number);
                text = rest.trim();
            }
            if text.is_empty() {
                continue;
            }
            dangling = None;
            let count = repetition(text).map_err(fail)?;
            let statement = parse_statement(if count.is_some() { "nop" } else { text }).map_err(fail)?;
            statements.extend(core::iter::repeat_n((line_number, statement), count.unwrap_or(1)));
        }
    }
    if let Some(line) = dangling {
        return Err(AssembleError { line, message: "no bundle follows the label".to_owned() });
    }
    if statements.is_empty() {
        return Err(AssembleError { line: last_line, message: "the program has no bundle".to_owned() });
    }

    let mut code = Vec::with_capacity(statements.len() * BUNDLE_BYTES);
    for (index, (line, statement)) in statements.iter().enumerate() {
        let fail = |message| AssembleError { line: *line, message };
        let distance = match &statement.target {
            None => None,
            Some(Target::Distance(distance)) => Some(*distance),
            Some(Target::Label(name)) => {
                let label = *labels.get(name.as_str()).ok_or_else(|| fail(format!("label `{name}` is not defined")))?;
                Some((label as i64 - index as i64) * BUNDLE_BYTES as i64)
            }
        };
        let bundle = statement.finish(distance).map_err(fail)?;
        // The tables serve both directions, so a mistake here is one of this crate; it must not reach a kernel silently.
        decode(&bundle, (index * BUNDLE_BYTES) as u64).map_err(|error| fail(error.to_string()))?;
        code.extend_from_slice(&bundle.to_bytes());
    }
    Ok(code)
}

/// The number of bundles that `nop N` stands for.
fn repetition(text: &str) -> Result<Option<usize>, String> {
    let Some(count) = text.strip_prefix("nop").filter(|rest| rest.starts_with(char::is_whitespace)) else {
        return Ok(None);
    };
    let count = count.trim();
    if count.starts_with(';') {
        return Ok(None);
    }
    match count.parse() {
        Ok(number @ 1..=2047) => Ok(Some(number)),
        _ => Err(format!("`{count}` is not a number of bundles from 1 to 2047")),
    }
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && Operand::parse_register(name).is_none()
}

/// Where a branch or a loop end points.
#[derive(Clone, Debug)]
enum Target {
    Distance(i64),
    Label(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(value) = parse_number(text) {
            return Ok(Self::Distance(i64::from(value as i32)));
        }
        if is_label(text) { Ok(Self::Label(text.to_owned())) } else { Err(format!("`{text}` is no branch target")) }
    }
}

/// A bundle whose branch distance is not filled in yet.
#[derive(Clone, Debug)]
struct Statement {
    bundle: Bundle,
    is_loop: bool,
    target: Option<Target>,
    immediate: Option<u32>,
}

impl Statement {
    fn finish(&self, distance: Option<i64>) -> Result<Bundle, String> {
        let Some(distance) = distance else { return Ok(self.bundle) };
        if self.is_loop {
            // The text names the bundle behind the body, the field the last bundle of the body.
            let end = distance - BUNDLE_BYTES as i64;
            if end % BUNDLE_BYTES as i64 != 0 || end < 2 * BUNDLE_BYTES as i64 || end > i64::from(u16::MAX) {
                return Err(format!(
                    "the bundle behind the loop lies {distance} bytes away, not 3 to 2048 bundles ahead"
                ));
            }
            return Ok(self.bundle.with(loop_fields::END, end as u32));
        }
        let value =
            i32::try_from(distance).map_err(|_| format!("the branch target lies {distance} bytes away"))? as u32;
        if self.immediate.is_some_and(|other| other != value) {
            return Err("the branch distance and another immediate of the bundle differ".to_owned());
        }
        Ok(self.bundle.with(IMMEDIATE, value))
    }
}

fn parse_statement(text: &str) -> Result<Statement, String> {
    if text == "nop" {
        return Ok(Statement { bundle: Bundle::NOP, is_loop: false, target: None, immediate: None });
    }
    if let Some(rest) = text.strip_prefix("loop").filter(|rest| rest.starts_with(char::is_whitespace)) {
        return parse_loop(rest);
    }
    let slots: Vec<&str> = text.split(';').map(str::trim).collect();
    let [load, spu, vpu, store] = slots[..] else {
        return Err(format!("a bundle has the four slots LOAD; SPU; VPU; STORE, this one has {}", slots.len()));
    };
    let load = parse_slot::<LoadOp>(load)?;
    let spu = parse_slot::<SpuOp>(spu)?;
    let vpu = parse_slot::<VpuOp>(vpu)?;
    let store = parse_slot::<StoreOp>(store)?;
    join(load, spu, vpu, store)
}

fn join(
    load: Option<Parsed>,
    spu: Option<Parsed>,
    vpu: Option<Parsed>,
    store: Option<Parsed>,
) -> Result<Statement, String> {
    if let (Some(load), Some(store)) = (&load, &store) {
        if load.predicate.vector {
            return Err("a LOAD under a vector predicate cannot stand beside a STORE".to_owned());
        }
        if load.predicate != store.predicate {
            return Err("LOAD and STORE share one predicate and must agree".to_owned());
        }
    }
    let mut bundle = Bundle::NOP;
    let mut written = Bundle::ZERO;
    let mut immediate: Option<(Slot, u32)> = None;
    let mut target = None;
    for parsed in [load, spu, vpu, store].into_iter().flatten() {
        let slot = parsed.slot;
        bundle = bundle.with(slot.opcode(), u32::from(parsed.code));
        for field in Field::ALL {
            let Some(range) = slot.field(field) else { continue };
            let owned = u32::from(parsed.owned[field as usize]) & ((1 << range.width) - 1);
            if owned == 0 {
                continue;
            }
            let value = u32::from(parsed.fields.get(field));
            if (bundle.get(range) ^ value) & written.get(range) & owned != 0 {
                return Err(format!(
                    "two slots share the bits of {} Src{field:?} and want different values",
                    slot.name()
                ));
            }
            bundle = bundle.with(range, (bundle.get(range) & !owned) | (value & owned));
            written = written.with(range, written.get(range) | owned);
        }
        let (register, polarity, vector) = slot.predicate();
        bundle = bundle
            .with(register, u32::from(parsed.predicate.register))
            .with(polarity, u32::from(parsed.predicate.inverted));
        if let Some(range) = vector {
            bundle = bundle.with(range, u32::from(parsed.predicate.vector));
        }
        if let Some(value) = parsed.immediate {
            if let Some((other, first)) = immediate.filter(|&(_, first)| first != value) {
                return Err(format!(
                    "a bundle has one immediate, but {} wants {first:#x} and {} wants {value:#x}",
                    other.name(),
                    slot.name()
                ));
            }
            immediate = Some((slot, value));
            bundle = bundle.with(IMMEDIATE, value);
        }
        if parsed.target.is_some() {
            target = parsed.target;
        }
    }
    debug_assert!(bundle.get(LOAD_PREDICATE_IS_VECTOR) == 0 || bundle.get(Slot::Store.opcode()) == 0x1F);
    Ok(Statement { bundle, is_loop: false, target, immediate: immediate.map(|(_, value)| value) })
}

/// `start, boundary, step, comparison, end[, predicate]`.
fn parse_loop(rest: &str) -> Result<Statement, String> {
    let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
    let (&[start, boundary, step, sign, end], predicate) = match parts.split_first_chunk::<5>() {
        Some((operands, [])) => (operands, Predicate::default()),
        Some((operands, [predicate])) => (
            operands,
            parse_predicate(predicate, false).ok_or_else(|| format!("`{predicate}` is no scalar predicate"))?,
        ),
        _ => return Err("loop wants start, boundary, step, comparison, end and perhaps a predicate".to_owned()),
    };
    let comparison = Comparison::ALL
        .iter()
        .position(|comparison| comparison.sign() == sign)
        .ok_or_else(|| format!("`{sign}` is no comparison"))?;
    let mut bundle = Bundle::ZERO.with(Slot::Spu.opcode(), loop_fields::OPCODE_VALUE);
    for (text, register, is_immediate, immediate) in [
        (start, loop_fields::START_REGISTER, loop_fields::START_IS_IMMEDIATE, loop_fields::START),
        (boundary, loop_fields::BOUNDARY_REGISTER, loop_fields::BOUNDARY_IS_IMMEDIATE, loop_fields::BOUNDARY),
        (step, loop_fields::STEP_REGISTER, loop_fields::STEP_IS_IMMEDIATE, loop_fields::STEP),
    ] {
        if let Some(Operand::S(number)) = Operand::parse_register(text) {
            bundle = bundle.with(register, u32::from(number));
        } else {
            let value = parse_number(text).ok_or_else(|| format!("`{text}` is neither scalar register nor number"))?;
            // The low bits of an immediate also stand in the register field, as the vendor's assembler leaves them.
            bundle = bundle.with(is_immediate, 1).with(immediate, value).with(register, value);
        }
    }
    bundle = bundle
        .with(loop_fields::COMPARE, comparison as u32)
        .with(loop_fields::POLARITY, u32::from(predicate.inverted))
        .with(loop_fields::PREDICATE, u32::from(predicate.register));
    Ok(Statement { bundle, is_loop: true, target: Some(Target::parse(end)?), immediate: None })
}
