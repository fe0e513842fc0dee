//! The text of one slot: finding the form that it is an instance of, and reading its words.

use std::collections::VecDeque;

use super::Target;
use crate::bundle::{Field, Slot};
use crate::forms::{Bits, Fields, Form, Item, Names, Predicate, SlotOp, Suffix, pair_code};
use crate::operand::{ElementType, Operand, parse_number, parse_register_number};

/// The parsed text of one slot.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) slot: Slot,
    pub(super) code: u8,
    pub(super) fields: Fields,
    pub(super) owned: [u16; 7],
    pub(super) predicate: Predicate,
    pub(super) immediate: Option<u32>,
    pub(super) target: Option<Target>,
}

/// Parses one slot; `None` for a NOP.
pub(super) fn parse_slot<O: SlotOp>(text: &str) -> Result<Option<Parsed>, String> {
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
    words: VecDeque<&'a str>,
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
pub(super) fn parse_predicate(word: &str, vector_allowed: bool) -> Option<Predicate> {
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
