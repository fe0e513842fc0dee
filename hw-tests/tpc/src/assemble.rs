//! From text to bundles.
//!
//! The syntax is that of `tpc-vectors.csv`. One bundle per line, or several separated by `;;`; a bundle is four slots
//! `LOAD; SPU; VPU; STORE`, or `nop` alone, or a `loop` alone. `name:` in front of a bundle is a label; `//` starts a comment.
//! The end of a loop is named by the first bundle *behind* its body.
//! Owns the checks of what the encoding cannot express: one immediate per bundle, bits shared by two slots, the common predicate of
//! LOAD and STORE, distances. It does not check the timing rules of hand-written code (`tpc.md` 8): the simulator's write delay does.

use core::fmt;
use std::collections::HashMap;

use crate::bundle::{BUNDLE_BYTES, Bundle, Field, IMMEDIATE, LOAD_PREDICATE_IS_VECTOR, Slot, loop_fields};
use crate::decode::{Comparison, decode};
use crate::forms::{Bits, Fields, Form, Item, Names, Predicate, SlotOp, Suffix, pair_code};
use crate::opcodes::{LoadOp, SpuOp, StoreOp, VpuOp};
use crate::operand::{ElementType, Operand, parse_number, parse_register_number};

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
            statements.push((line_number, parse_statement(text).map_err(fail)?));
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

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && Operand::parse_register(name).is_none()
}

/// Where a branch or a loop end points.
#[derive(Debug)]
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
#[derive(Debug)]
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

/// The parsed text of one slot.
#[derive(Debug)]
struct Parsed {
    slot: Slot,
    code: u8,
    fields: Fields,
    owned: [u16; 7],
    predicate: Predicate,
    immediate: Option<u32>,
    target: Option<Target>,
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

fn parse_slot<O: SlotOp>(text: &str) -> Result<Option<Parsed>, String> {
    if text == "nop" {
        return Ok(None);
    }
    let slot = O::SLOT.name();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let mut best: Option<(usize, String)> = None;
    for form in O::forms() {
        let Some(element) = match_name(form, name) else { continue };
        match parse_form(form, element, rest.trim()) {
            Ok(parsed) => return Ok(Some(parsed)),
            Err((progress, message)) => {
                if best.as_ref().is_none_or(|(other, _)| progress > *other) {
                    best = Some((progress, message));
                }
            }
        }
    }
    Err(match best {
        Some((_, message)) => format!("{slot} `{name}`: {message}"),
        None if name.is_empty() => format!("the {slot} slot is empty; write `nop`"),
        None => format!("the {slot} slot has no operation `{name}`"),
    })
}

/// The element type that `name` asks for, if it is a name of this form: `Some(None)` for a form without type.
fn match_name<O: SlotOp>(form: &Form<O>, name: &str) -> Option<Option<(Bits, u16)>> {
    match form.suffix {
        Suffix::None => (form.name == name).then_some(None),
        Suffix::Type(bits, types) => {
            let suffix = name.strip_prefix(form.name)?.strip_prefix('.')?;
            let element = ElementType::ALL.into_iter().find(|element| element.suffix() == suffix)?;
            ((types >> element.code()) & 1 != 0).then_some(Some((bits, element.code())))
        }
    }
}

/// The text that is still to be read of one operation.
struct Reader<'a> {
    slot: Slot,
    fields: Fields,
    immediate: Option<u32>,
    target: Option<Target>,
    /// Words in front of the first operand, or the operands.
    words: std::collections::VecDeque<&'a str>,
    consumed: usize,
}

fn parse_form<O: SlotOp>(form: &Form<O>, element: Option<(Bits, u16)>, rest: &str) -> Result<Parsed, (usize, String)> {
    let mut fields = Fields::default();
    for &(bits, value) in form.fixed {
        fields.set_bits(bits, value);
    }
    if let Some((bits, value)) = element {
        fields.set_bits(bits, value);
    }
    let mut parts = rest.split(',').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let mut reader = Reader {
        slot: O::SLOT,
        fields,
        immediate: None,
        target: None,
        words: first.split_whitespace().collect(),
        consumed: 0,
    };
    for item in form.modifiers {
        reader.read(item).map_err(|message| (reader.consumed, message))?;
    }
    // What is left of the first part is the first operand.
    if reader.words.len() > 1 {
        let message = format!("`{}` is not expected here", reader.words[0]);
        return Err((reader.consumed, message));
    }
    if rest.is_empty() {
        reader.words.clear();
    }
    reader.words.extend(parts);
    for item in form.arguments {
        reader.read(item).map_err(|message| (reader.consumed, message))?;
    }
    let mut predicate = Predicate::default();
    if let Some(word) = reader.words.pop_front() {
        let vector_allowed = O::SLOT.predicate().2.is_some();
        predicate = parse_predicate(word, vector_allowed)
            .ok_or_else(|| (reader.consumed, format!("`{word}` is neither an operand nor a predicate of this slot")))?;
    }
    if let Some(word) = reader.words.pop_front() {
        return Err((reader.consumed, format!("`{word}` is too much")));
    }
    if !form.fits(&reader.fields, reader.immediate.unwrap_or(0)) {
        return Err((reader.consumed, "this combination of operands has no encoding".to_owned()));
    }
    let owned = core::array::from_fn(|index| form.owned(Field::ALL[index]));
    Ok(Parsed {
        slot: O::SLOT,
        code: form.op.opcode(),
        fields: reader.fields,
        owned,
        predicate,
        immediate: reader.immediate,
        target: reader.target,
    })
}

/// `SP3`, `!VP2`.
fn parse_predicate(word: &str, vector_allowed: bool) -> Option<Predicate> {
    let (inverted, name) = match word.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    match Operand::parse_register(name)? {
        Operand::Sp(register) => Some(Predicate { register, inverted, vector: false }),
        Operand::Vp(register) if vector_allowed => Some(Predicate { register, inverted, vector: true }),
        _ => None,
    }
}

impl Reader<'_> {
    fn read(&mut self, item: &Item) -> Result<(), String> {
        let word = self.words.front().copied();
        if self.try_read(item, word)? {
            self.words.pop_front();
            self.consumed += 1;
        }
        Ok(())
    }

    /// Reads one item; true when it used the word.
    fn try_read(&mut self, item: &Item, word: Option<&str>) -> Result<bool, String> {
        let missing = |what: &str| format!("{what} is missing");
        match *item {
            Item::Register(field, classes) => {
                let word = word.ok_or_else(|| missing("an operand"))?;
                let operand = match Operand::parse_register(word) {
                    Some(register) => register,
                    None => {
                        let value = parse_number(word).ok_or_else(|| format!("`{word}` is no operand"))?;
                        if classes.contains(Operand::Immediate) {
                            self.set_immediate(value)?;
                        }
                        Operand::Immediate
                    }
                };
                let code = operand.code(self.slot).filter(|_| classes.contains(operand));
                self.fields.set(field, code.ok_or_else(|| format!("`{word}` cannot be an operand here"))?);
                Ok(true)
            }
            Item::Pair(field, letter) => {
                let word = word.ok_or_else(|| missing("a register pair"))?;
                let code = word
                    .strip_prefix(letter)
                    .and_then(parse_register_number)
                    .and_then(|number| pair_code(self.slot, letter, number));
                self.fields.set(field, code.ok_or_else(|| format!("`{word}` is no {letter} register pair"))?);
                Ok(true)
            }
            Item::Flag(name, bits) => {
                let present = word == Some(name);
                if present {
                    self.fields.set_bits(bits, 1);
                }
                Ok(present)
            }
            Item::Word(name) => {
                if word == Some(name) {
                    Ok(true)
                } else {
                    Err(format!("`{name}` is missing"))
                }
            }
            Item::Implied(name, bits) => match (self.fields.bits(bits) != 0, word == Some(name)) {
                (true, false) => Err(format!("`{name}` is missing")),
                (expected, _) => Ok(expected),
            },
            Item::Choice(bits, names, default) => {
                self.choose(bits, names, default, word, &format!("one of {}", list(names)))
            }
            Item::Number(bits) => {
                let word = word.ok_or_else(|| missing("a number"))?;
                self.set_number(bits, word)?;
                Ok(true)
            }
            Item::KeyNumber(key, bits, default) => {
                if let Some(value) =
                    word.and_then(|word| word.strip_prefix(key)).and_then(|rest| rest.strip_prefix('='))
                {
                    self.set_number(bits, value)?;
                    return Ok(true);
                }
                self.fields.set_bits(bits, default.ok_or_else(|| missing(&format!("`{key}=`")))?);
                Ok(false)
            }
            Item::KeyChoice(key, bits, names, default) => {
                let value = word.and_then(|word| word.strip_prefix(key)).and_then(|rest| rest.strip_prefix('='));
                self.choose(bits, names, default, value, &format!("`{key}=` with one of {}", list(names)))
            }
            Item::Mask(bits) => {
                let word = word.ok_or_else(|| missing("a dimension mask"))?;
                let value = word
                    .strip_prefix('b')
                    .filter(|digits| digits.len() == bits.width as usize)
                    .and_then(|digits| u16::from_str_radix(digits, 2).ok())
                    .ok_or_else(|| format!("`{word}` is no dimension mask such as b00001"))?;
                self.fields.set_bits(bits, value);
                Ok(true)
            }
            Item::FunctionId | Item::WholeImmediate => {
                let word = word.ok_or_else(|| missing("a number"))?;
                let value = parse_number(word).ok_or_else(|| format!("`{word}` is no number"))?;
                self.set_immediate(value)?;
                if matches!(item, Item::FunctionId) {
                    self.fields.set(Field::B, (value & 0x1FF) as u16);
                }
                Ok(true)
            }
            Item::Target => {
                let word = word.ok_or_else(|| missing("a branch target"))?;
                self.target = Some(Target::parse(word)?);
                let code = Operand::Immediate.code(self.slot).unwrap_or_default();
                self.fields.set(Field::A, code);
                Ok(true)
            }
        }
    }

    fn choose(
        &mut self,
        bits: Bits,
        names: Names,
        default: Option<u16>,
        word: Option<&str>,
        wanted: &str,
    ) -> Result<bool, String> {
        if let Some(&(_, value)) = names.iter().find(|&&(name, _)| word == Some(name)) {
            self.fields.set_bits(bits, value);
            return Ok(true);
        }
        self.fields.set_bits(bits, default.ok_or_else(|| format!("{wanted} is missing"))?);
        Ok(false)
    }

    fn set_number(&mut self, bits: Bits, word: &str) -> Result<(), String> {
        let value = parse_number(word).ok_or_else(|| format!("`{word}` is no number"))?;
        if value >= 1 << bits.width {
            return Err(format!("{word} is not in 0..={}", (1 << bits.width) - 1));
        }
        self.fields.set_bits(bits, value as u16);
        Ok(())
    }

    fn set_immediate(&mut self, value: u32) -> Result<(), String> {
        if self.immediate.is_some_and(|other| other != value) {
            return Err("a bundle has one immediate".to_owned());
        }
        self.immediate = Some(value);
        Ok(())
    }
}

fn list(names: Names) -> String {
    let mut text = String::new();
    for (index, (name, _)) in names.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        text.push_str(name);
    }
    text
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
