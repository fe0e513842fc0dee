//! From bundles to text.
//!
//! Prints the syntax of `tpc-vectors.csv`: the four slots LOAD; SPU; VPU; STORE, a LOOP alone. What it prints assembles to the
//! same operations; bits that no operation uses are not part of the text.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use crate::bundle::{BUNDLE_BYTES, Bundle, Field};
use crate::decode::{DecodeError, DecodeReason, Instruction, LoopOperand, Operation, Slots, decode};
use crate::forms::{Item, Names, Predicate, SlotOp, Suffix, pair_number};
use crate::opcodes::SpuOp;
use crate::operand::{ElementType, Operand};

/// The text of a whole program: one bundle a line, with labels for branch targets and loop ends.
///
/// # Errors
///
/// [`DecodeError`] of the first illegal bundle; its `pc` is the offset in `code`.
pub fn disassemble(code: &[u8]) -> Result<String, DecodeError> {
    let mut instructions = Vec::with_capacity(code.len() / BUNDLE_BYTES);
    let (bundles, rest) = code.as_chunks::<BUNDLE_BYTES>();
    for (index, bytes) in bundles.iter().enumerate() {
        instructions.push(decode(&Bundle::from_bytes(bytes), (index * BUNDLE_BYTES) as u64)?);
    }
    if !rest.is_empty() {
        let mut bytes = [0; BUNDLE_BYTES];
        bytes[..rest.len()].copy_from_slice(rest);
        let reason = DecodeReason::Truncated { bytes: rest.len() };
        return Err(DecodeError { pc: (code.len() - rest.len()) as u64, bytes, reason });
    }

    let mut labels = BTreeMap::new();
    for (index, instruction) in instructions.iter().enumerate() {
        if let Some(target) = target_of(instruction, index).filter(|&target| target < instructions.len()) {
            labels.insert(target, format!("L{target}"));
        }
    }
    let mut text = String::new();
    for (index, instruction) in instructions.iter().enumerate() {
        if let Some(label) = labels.get(&index) {
            text.push_str(label);
            text.push_str(": ");
        }
        let label = target_of(instruction, index).and_then(|target| labels.get(&target));
        text.push_str(&instruction_text(instruction, label.map(String::as_str)));
        text.push('\n');
    }
    Ok(text)
}

/// The text of one instruction; `target` is the name to print for a branch target or a loop end, which otherwise is
/// a byte distance.
#[must_use]
pub fn instruction_text(instruction: &Instruction, target: Option<&str>) -> String {
    match instruction {
        Instruction::Loop(instruction) => {
            let operand = |operand| match operand {
                LoopOperand::Register(number) => format!("S{number}"),
                LoopOperand::Immediate(value) => (value as i32).to_string(),
            };
            let mut text = format!(
                "loop {}, {}, {}, {}, ",
                operand(instruction.start),
                operand(instruction.boundary),
                operand(instruction.step),
                instruction.comparison.sign()
            );
            match target {
                Some(name) => text.push_str(name),
                None => text.push_str(&(u32::from(instruction.end) + BUNDLE_BYTES as u32).to_string()),
            }
            if let Some(predicate) = predicate_text(instruction.predicate) {
                text.push_str(", ");
                text.push_str(&predicate);
            }
            text
        }
        Instruction::Slots(slots) => slots_text(slots, target),
    }
}

/// The index of the bundle that the instruction at `index` jumps to, or that lies behind its loop.
fn target_of(instruction: &Instruction, index: usize) -> Option<usize> {
    let distance = match instruction {
        Instruction::Loop(instruction) => i64::from(instruction.end) + BUNDLE_BYTES as i64,
        Instruction::Slots(slots) => {
            let operation = slots.spu.as_ref()?;
            if operation.op != SpuOp::Jmpr || operation.operand(Field::A) != Some(Operand::Immediate) {
                return None;
            }
            i64::from(slots.immediate as i32)
        }
    };
    if distance % BUNDLE_BYTES as i64 != 0 {
        return None;
    }
    usize::try_from(index as i64 + distance / BUNDLE_BYTES as i64).ok()
}

fn slots_text(slots: &Slots, target: Option<&str>) -> String {
    [
        operation_text(slots.load.as_ref(), slots.immediate, None),
        operation_text(slots.spu.as_ref(), slots.immediate, target),
        operation_text(slots.vpu.as_ref(), slots.immediate, None),
        operation_text(slots.store.as_ref(), slots.immediate, None),
    ]
    .join("; ")
}

fn operation_text<O: SlotOp>(operation: Option<&Operation<O>>, immediate: u32, target: Option<&str>) -> String {
    let Some(operation) = operation else { return "nop".to_owned() };
    let form = operation.form;
    let mut text = form.name.to_owned();
    if let Suffix::Type(bits, _) = form.suffix
        && let Some(element) = ElementType::from_code(operation.fields.bits(bits))
    {
        text.push('.');
        text.push_str(element.suffix());
    }
    for word in form.modifiers.iter().filter_map(|item| item_text(item, operation, immediate, target)) {
        text.push(' ');
        text.push_str(&word);
    }
    let mut separator = " ";
    let arguments = form.arguments.iter().filter_map(|item| item_text(item, operation, immediate, target));
    for argument in arguments.chain(predicate_text(operation.predicate)) {
        text.push_str(separator);
        text.push_str(&argument);
        separator = ", ";
    }
    text
}

fn item_text<O: SlotOp>(item: &Item, operation: &Operation<O>, immediate: u32, target: Option<&str>) -> Option<String> {
    let fields = &operation.fields;
    let named = |names: Names, value| names.iter().find(|&&(_, code)| code == value).map(|&(name, _)| name);
    Some(match *item {
        Item::Register(field, _) => match operation.operand(field)? {
            Operand::Immediate => immediate_text(immediate),
            register => register.to_string(),
        },
        Item::Pair(field, letter) => format!("{letter}{}", pair_number(O::SLOT, letter, fields.get(field))?),
        Item::Flag(word, bits) | Item::Implied(word, bits) => {
            if fields.bits(bits) == 0 {
                return None;
            }
            word.to_owned()
        }
        Item::Word(word) => word.to_owned(),
        Item::Choice(bits, names, default) => {
            let value = fields.bits(bits);
            if default == Some(value) {
                return None;
            }
            named(names, value)?.to_owned()
        }
        Item::Number(bits) => fields.bits(bits).to_string(),
        Item::KeyNumber(key, bits, default) => {
            let value = fields.bits(bits);
            if default == Some(value) {
                return None;
            }
            format!("{key}={value}")
        }
        Item::KeyChoice(key, bits, names, default) => {
            let value = fields.bits(bits);
            if default == Some(value) {
                return None;
            }
            format!("{key}={}", named(names, value)?)
        }
        Item::Mask(bits) => {
            let mut text = "b".to_owned();
            let _ = write!(text, "{:0width$b}", fields.bits(bits), width = bits.width as usize);
            text
        }
        Item::FunctionId | Item::WholeImmediate => immediate_text(immediate),
        Item::Target => target.map_or_else(|| (immediate as i32).to_string(), ToOwned::to_owned),
    })
}

fn immediate_text(value: u32) -> String {
    if value < 10 { value.to_string() } else { format!("{value:#x}") }
}

fn predicate_text(predicate: Predicate) -> Option<String> {
    if predicate == Predicate::default() {
        return None;
    }
    let sign = if predicate.inverted { "!" } else { "" };
    let file = if predicate.vector { "VP" } else { "SP" };
    Some(format!("{sign}{file}{}", predicate.register))
}
