//! The forms of every operation: which fields it uses, which values they may have, and how the text names them
//! (`tpc.md` 6; text syntax of `tpc-vectors.csv`).
//!
//! One table per slot serves decoder, disassembler and assembler alike, so that the three cannot disagree: an operation is legal
//! exactly when one of its forms fits. The table never says what an operation does; that is the simulator's.

mod load;
mod spu;
mod store;
mod vpu;

use crate::bundle::{Field, Slot};
use crate::opcodes::{LoadOp, SpuOp, StoreOp, VpuOp};
use crate::operand::{Classes, ElementType, Operand};

/// Some bits of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The field.
    pub field: Field,
    /// First bit inside the field.
    pub low: u32,
    /// Number of bits.
    pub width: u32,
}

impl Bits {
    /// Bits `low .. low + width` of a field.
    #[must_use]
    pub const fn new(field: Field, low: u32, width: u32) -> Self {
        Self { field, low, width }
    }

    /// The mask of these bits inside their field.
    #[must_use]
    pub const fn mask(self) -> u16 {
        (((1u32 << self.width) - 1) << self.low) as u16
    }
}

/// Names of values, in the order in which a reader tries them.
pub type Names = &'static [(&'static str, u16)];

/// One element of the text of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// A register or the immediate, in a whole field.
    Register(Field, Classes),
    /// A pair of registers, named with this letter and the number of the first, which is even.
    Pair(Field, char),
    /// A word that is present when the one bit is set.
    Flag(&'static str, Bits),
    /// A word that must be there.
    Word(&'static str),
    /// A word that must be there exactly when the one bit is set; the bit itself belongs to a [`Item::Flag`] before it.
    Implied(&'static str, Bits),
    /// One of several words; with a default it may be absent.
    Choice(Bits, Names, Option<u16>),
    /// A plain number.
    Number(Bits),
    /// `key=number`; with a default it may be absent.
    KeyNumber(&'static str, Bits, Option<u16>),
    /// `key=word`; with a default it may be absent.
    KeyChoice(&'static str, Bits, Names, Option<u16>),
    /// A dimension mask, `b00101`; the rightmost digit is dimension 0.
    Mask(Bits),
    /// A lookup function: the immediate, whose low 9 bits are also in SrcB.
    FunctionId,
    /// A number that is the bundle's immediate.
    WholeImmediate,
    /// A branch target: the immediate is the signed byte distance from this bundle. SrcA says "immediate".
    Target,
}

/// Where the element type of an operation is, when its name carries one.
#[derive(Clone, Copy, Debug)]
pub enum Suffix {
    /// No type in the name.
    None,
    /// Bits that hold the type code, and the set of types that the operation knows (bit n = code n).
    Type(Bits, u16),
}

/// One legal shape of an operation.
#[derive(Debug)]
pub struct Form<O: 'static> {
    /// The operation.
    pub op: O,
    /// Its name in the text, without type.
    pub name: &'static str,
    /// Its type.
    pub suffix: Suffix,
    /// Bits with one legal value.
    pub fixed: &'static [(Bits, u16)],
    /// Words between the name and the first operand.
    pub modifiers: &'static [Item],
    /// Operands, separated by commas.
    pub arguments: &'static [Item],
}

/// The condition of an operation (`tpc.md` 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Predicate {
    /// SP or VP number, 0..16.
    pub register: u8,
    /// The operation takes effect where the predicate's value differs from this.
    pub inverted: bool,
    /// The register is a VP and decides per lane.
    pub vector: bool,
}

/// The values of a slot's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fields {
    values: [u16; 7],
}

impl Fields {
    /// The value of a whole field; 0 when the slot lacks it.
    #[must_use]
    pub const fn get(&self, field: Field) -> u16 {
        // PANIC: a Field is 0..=6.
        self.values[field as usize]
    }

    /// Sets a whole field.
    pub const fn set(&mut self, field: Field, value: u16) {
        // PANIC: a Field is 0..=6.
        self.values[field as usize] = value;
    }

    /// The value of some bits.
    #[must_use]
    pub const fn bits(&self, bits: Bits) -> u16 {
        (self.get(bits.field) & bits.mask()) >> bits.low
    }

    /// Sets some bits to the low bits of `value`.
    pub const fn set_bits(&mut self, bits: Bits, value: u16) {
        let rest = self.get(bits.field) & !bits.mask();
        self.set(bits.field, rest | (value << bits.low) & bits.mask());
    }
}

/// What the operations of the four slots have in common.
pub trait SlotOp: Copy + Eq + core::fmt::Debug + 'static {
    /// The slot.
    const SLOT: Slot;
    /// The opcode of a slot without work.
    const NOP_CODE: u8;
    /// All legal forms.
    fn forms() -> &'static [Form<Self>];
    /// The operation with this opcode.
    fn from_opcode(code: u8) -> Option<Self>;
    /// The opcode.
    fn opcode(self) -> u8;
    /// The name in messages.
    fn name(self) -> &'static str;
}

macro_rules! slot_op {
    ($op:ident, $slot:ident, $forms:path) => {
        impl SlotOp for $op {
            const SLOT: Slot = Slot::$slot;
            const NOP_CODE: u8 = $op::NOP;
            fn forms() -> &'static [Form<Self>] {
                $forms
            }
            fn from_opcode(code: u8) -> Option<Self> {
                $op::from_code(code)
            }
            fn opcode(self) -> u8 {
                self.code()
            }
            fn name(self) -> &'static str {
                self.mnemonic()
            }
        }
    };
}

slot_op!(LoadOp, Load, load::FORMS);
slot_op!(SpuOp, Spu, spu::FORMS);
slot_op!(VpuOp, Vpu, vpu::FORMS);
slot_op!(StoreOp, Store, store::FORMS);

impl<O: SlotOp> Form<O> {
    /// Which bits of a field the form gives a meaning to.
    #[must_use]
    pub fn owned(&self, field: Field) -> u16 {
        let mut owned = 0;
        if let Suffix::Type(bits, _) = self.suffix
            && bits.field == field
        {
            owned |= bits.mask();
        }
        for (bits, _) in self.fixed.iter().filter(|(bits, _)| bits.field == field) {
            owned |= bits.mask();
        }
        for item in self.modifiers.iter().chain(self.arguments) {
            owned |= item.owned(field);
        }
        owned
    }

    /// Whether the form uses the bundle's immediate with these fields.
    #[must_use]
    pub fn uses_immediate(&self, fields: &Fields) -> bool {
        self.modifiers.iter().chain(self.arguments).any(|item| match *item {
            Item::Register(field, _) => Operand::from_code(O::SLOT, fields.get(field)) == Some(Operand::Immediate),
            Item::FunctionId | Item::WholeImmediate | Item::Target => true,
            _ => false,
        })
    }

    /// Whether the fields are a legal instance of this form.
    #[must_use]
    pub fn fits(&self, fields: &Fields, immediate: u32) -> bool {
        if self.fixed.iter().any(|&(bits, value)| fields.bits(bits) != value) {
            return false;
        }
        if let Suffix::Type(bits, types) = self.suffix
            && (types >> fields.bits(bits)) & 1 == 0
        {
            return false;
        }
        // A field that the form does not use at all may hold anything (other slots share bits); in a field that it uses, and in
        // type and switches, every bit without a meaning must be clear.
        for field in Field::ALL {
            let owned = self.owned(field);
            let strict = owned != 0 || matches!(field, Field::Type | Field::Switch);
            if strict && fields.get(field) & !owned != 0 {
                return false;
            }
        }
        self.modifiers.iter().chain(self.arguments).all(|item| item.fits(O::SLOT, fields, immediate))
    }
}

impl Item {
    fn owned(&self, field: Field) -> u16 {
        match *self {
            Self::Register(own, _) | Self::Pair(own, _) if own == field => u16::MAX,
            Self::Flag(_, bits)
            | Self::Choice(bits, ..)
            | Self::Number(bits)
            | Self::KeyNumber(_, bits, _)
            | Self::KeyChoice(_, bits, ..)
            | Self::Mask(bits)
                if bits.field == field =>
            {
                bits.mask()
            }
            Self::FunctionId if field == Field::B => 0x1FF,
            Self::Target if field == Field::A => u16::MAX,
            _ => 0,
        }
    }

    fn fits(&self, slot: Slot, fields: &Fields, immediate: u32) -> bool {
        match *self {
            Self::Register(field, classes) => {
                Operand::from_code(slot, fields.get(field)).is_some_and(|operand| classes.contains(operand))
            }
            Self::Pair(field, letter) => pair_number(slot, letter, fields.get(field)).is_some(),
            Self::Choice(bits, names, _) | Self::KeyChoice(_, bits, names, _) => {
                names.iter().any(|&(_, value)| value == fields.bits(bits))
            }
            Self::FunctionId => fields.get(Field::B) == (immediate & 0x1FF) as u16,
            Self::Target => Operand::from_code(slot, fields.get(Field::A)) == Some(Operand::Immediate),
            Self::Flag(..)
            | Self::Word(_)
            | Self::Implied(..)
            | Self::Number(_)
            | Self::KeyNumber(..)
            | Self::Mask(_)
            | Self::WholeImmediate => true,
        }
    }
}

/// The number of a register pair from the code of its first register: D pairs are vector registers, Z pairs scalar ones.
pub(crate) fn pair_number(slot: Slot, letter: char, code: u16) -> Option<u8> {
    match (letter, Operand::from_code(slot, code)?) {
        ('D', Operand::V(number)) | ('Z', Operand::S(number)) if number % 2 == 0 => Some(number),
        _ => None,
    }
}

/// The code of a register pair.
pub(crate) fn pair_code(slot: Slot, letter: char, number: u8) -> Option<u16> {
    let operand = match letter {
        'D' if number < crate::operand::VECTOR_REGISTERS => Operand::V(number),
        'Z' if number < crate::operand::SCALAR_REGISTERS => Operand::S(number),
        _ => return None,
    };
    if number.is_multiple_of(2) { operand.code(slot) } else { None }
}

/// Rounding codes of conversions (`tpc.md` 4); 5 = from the rounding register, which the text leaves out.
pub(crate) const ROUNDINGS: Names = &[("rhne", 0), ("rz", 1), ("ru", 2), ("rd", 3), ("sr", 4), ("csr", 5), ("rhaz", 6)];

/// Target types of conversions.
pub(crate) const CONVERT_TYPES: Names =
    &[("fp32", 0), ("bf16", 1), ("int32", 2), ("uint32", 3), ("int8", 4), ("uint8", 5), ("int16", 7), ("uint16", 8)];

/// Functions of CALC_FP_SPECIAL (`tpc.md` 9.4).
pub(crate) const SPECIAL_FUNCTIONS: Names =
    &[("recip", 0), ("rsqrt", 1), ("sqrt", 2), ("log", 3), ("exp", 4), ("tanh", 5), ("div", 6), ("pow", 7)];

const fn types(list: &[ElementType]) -> u16 {
    let mut set = 0;
    let mut index = 0;
    while index < list.len() {
        set |= 1 << list[index].code();
        index += 1;
    }
    set
}

/// FP32 and BF16.
const FLOATS: u16 = types(&[ElementType::F32, ElementType::Bf16]);
/// All integer types.
const INTEGERS: u16 =
    types(&[ElementType::I32, ElementType::U32, ElementType::I16, ElementType::U16, ElementType::I8, ElementType::U8]);
/// Everything but BOOL.
const NUMBERS: u16 = FLOATS | INTEGERS;
/// INT32 and UINT32.
const WORDS: u16 = types(&[ElementType::I32, ElementType::U32]);
/// INT32.
const I32: u16 = types(&[ElementType::I32]);
/// INT16.
const I16: u16 = types(&[ElementType::I16]);
/// BF16.
const BF16: u16 = types(&[ElementType::Bf16]);
/// BOOL.
const BOOL: u16 = types(&[ElementType::Bool]);

/// The type code in the Type field.
const TYPE: Bits = Bits::new(Field::Type, 0, 4);
/// Bit 0 of the switches.
const SWITCH_0: Bits = Bits::new(Field::Switch, 0, 1);
/// Bit 1 of the switches.
const SWITCH_1: Bits = Bits::new(Field::Switch, 1, 1);
/// Bit 2 of the switches.
const SWITCH_2: Bits = Bits::new(Field::Switch, 2, 1);
/// Bit 3 of the switches.
const SWITCH_3: Bits = Bits::new(Field::Switch, 3, 1);

const fn form<O>(
    op: O,
    name: &'static str,
    suffix: Suffix,
    fixed: &'static [(Bits, u16)],
    modifiers: &'static [Item],
    arguments: &'static [Item],
) -> Form<O> {
    Form { op, name, suffix, fixed, modifiers, arguments }
}

/// A form whose name carries the type in the Type field.
const fn typed(set: u16) -> Suffix {
    Suffix::Type(TYPE, set)
}
