//! From bundles to operations.
//!
//! Owns the judgement "is this a legal bundle": whatever no form of [`crate::forms`] describes is refused with its place and its
//! bytes, never guessed. Knows nothing about effects.

use core::fmt;

use crate::bundle::{BUNDLE_BYTES, Bundle, Field, IMMEDIATE, LOAD_PREDICATE_IS_VECTOR, RESERVED, Slot, loop_fields};
use crate::forms::{Fields, Form, Predicate, SlotOp};
use crate::opcodes::{LoadOp, SpuOp, StoreOp, VpuOp};
use crate::operand::Operand;

/// One operation of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Operation<O: SlotOp> {
    /// What to do.
    pub op: O,
    /// The fields of the slot. Fields that the form does not use may hold bits of other slots.
    pub fields: Fields,
    /// When to do it.
    pub predicate: Predicate,
    /// The form that fits.
    pub form: &'static Form<O>,
}

impl<O: SlotOp> Operation<O> {
    /// The operand in a field.
    ///
    /// `None` when the field holds no operand code, which cannot be for a field that the form declares as a register.
    #[must_use]
    pub const fn operand(&self, field: Field) -> Option<Operand> {
        Operand::from_code(O::SLOT, self.fields.get(field))
    }

    /// One bit of the switches.
    #[must_use]
    pub const fn switch(&self, bit: u32) -> bool {
        (self.fields.get(Field::Switch) >> bit) & 1 != 0
    }
}

/// A bundle of four slots; an absent operation is a NOP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slots {
    /// The LOAD slot.
    pub load: Option<Operation<LoadOp>>,
    /// The SPU slot.
    pub spu: Option<Operation<SpuOp>>,
    /// The VPU slot.
    pub vpu: Option<Operation<VpuOp>>,
    /// The STORE slot.
    pub store: Option<Operation<StoreOp>>,
    /// The immediate that all slots share.
    pub immediate: u32,
}

/// Start, boundary or step of a LOOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopOperand {
    /// A scalar register, 0..36.
    Register(u8),
    /// A value.
    Immediate(u32),
}

/// How a LOOP compares its counter with its boundary, signed (`tpc.md` 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// All comparisons in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Greater, Self::GreaterOrEqual, Self::Less, Self::LessOrEqual, Self::Equal, Self::NotEqual];

    /// The sign in the text.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether `left` stands in this relation to `right`.
    #[must_use]
    pub const fn holds(self, left: i32, right: i32) -> bool {
        match self {
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}

/// A LOOP bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopInstruction {
    /// First value of the counter.
    pub start: LoopOperand,
    /// What the counter is compared with.
    pub boundary: LoopOperand,
    /// What is added after each pass.
    pub step: LoopOperand,
    /// Whether to go on.
    pub comparison: Comparison,
    /// Bytes from this bundle to the last bundle of the body; a multiple of 32, at least 64.
    pub end: u16,
    /// When it fails, the body is skipped.
    pub predicate: Predicate,
}

/// A decoded bundle.
#[derive(Clone, Copy, Debug)]
pub enum Instruction {
    /// A LOOP, which fills its bundle.
    Loop(LoopInstruction),
    /// Everything else.
    Slots(Slots),
}

/// Why a bundle is illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeReason {
    /// No operation of the slot has this opcode.
    UnknownOpcode {
        /// The slot.
        slot: Slot,
        /// The opcode.
        code: u8,
    },
    /// The operation exists, its operands, type or switches do not.
    NoForm {
        /// The slot.
        slot: Slot,
        /// Name of the operation.
        name: &'static str,
        /// The fields of the slot.
        fields: Fields,
    },
    /// Bits 191-255 are not zero.
    ReservedBits,
    /// HALT in only one of SPU and VPU.
    HalfHalt,
    /// A lane predicate for LOAD together with a STORE operation.
    StoreUnderVectorPredicate,
    /// A LOOP names a register that does not exist.
    LoopRegister {
        /// The code.
        code: u32,
    },
    /// A LOOP with bit 29 or bit 30, whose effect is unknown.
    LoopReserved,
    /// A LOOP comparison that does not exist.
    LoopComparison {
        /// The code.
        code: u32,
    },
    /// The end of a LOOP is not a whole number of bundles, or its body is empty.
    LoopEnd {
        /// The byte distance.
        end: u32,
    },
    /// The code ends in the middle of a bundle.
    Truncated {
        /// Bytes that are left.
        bytes: usize,
    },
}

/// A bundle that is no legal instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Address, or offset in the code, of the bundle.
    pub pc: u64,
    /// The bundle; zero-padded when the code ends inside it.
    pub bytes: [u8; BUNDLE_BYTES],
    /// What is wrong.
    pub reason: DecodeReason,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pc, reason, bytes) = (self.pc, &self.reason, Bundle::from_bytes(&self.bytes));
        write!(formatter, "illegal bundle at {pc:#x}: {reason} (bytes{bytes})")
    }
}

impl core::error::Error for DecodeError {}

impl fmt::Display for DecodeReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOpcode { slot, code } => write!(formatter, "{} opcode {code:#04x} is unknown", slot.name()),
            Self::NoForm { slot, name, fields } => {
                write!(formatter, "{} {name} has no form with these fields:", slot.name())?;
                for field in Field::ALL {
                    if slot.field(field).is_some() {
                        write!(formatter, " {field:?}={:#x}", fields.get(field))?;
                    }
                }
                Ok(())
            }
            Self::ReservedBits => formatter.write_str("bits 191 to 255 are not zero"),
            Self::HalfHalt => formatter.write_str("halt is in one of SPU and VPU only"),
            Self::StoreUnderVectorPredicate => formatter.write_str("STORE operation under a vector predicate"),
            Self::LoopRegister { code } => write!(formatter, "loop register {code} does not exist"),
            Self::LoopReserved => formatter.write_str("loop bit 29 or 30 is set"),
            Self::LoopComparison { code } => write!(formatter, "loop comparison {code} does not exist"),
            Self::LoopEnd { end } => write!(formatter, "loop end {end:#x} is not a bundle behind the delay slot"),
            Self::Truncated { bytes } => write!(formatter, "the code ends after {bytes} bytes of the bundle"),
        }
    }
}

/// Decodes one bundle.
///
/// # Errors
///
/// [`DecodeError`] with `pc` and the bytes, when the bundle is no legal instruction.
pub fn decode(bundle: &Bundle, pc: u64) -> Result<Instruction, DecodeError> {
    let fail = |reason| DecodeError { pc, bytes: bundle.to_bytes(), reason };
    if RESERVED.iter().any(|&range| bundle.get(range) != 0) {
        return Err(fail(DecodeReason::ReservedBits));
    }
    if bundle.get(Slot::Spu.opcode()) == loop_fields::OPCODE_VALUE {
        return decode_loop(bundle).map(Instruction::Loop).map_err(fail);
    }
    decode_slots(bundle).map(Instruction::Slots).map_err(fail)
}

fn decode_slots(bundle: &Bundle) -> Result<Slots, DecodeReason> {
    let slots = Slots {
        load: decode_slot(bundle)?,
        spu: decode_slot(bundle)?,
        vpu: decode_slot(bundle)?,
        store: decode_slot(bundle)?,
        immediate: bundle.get(IMMEDIATE),
    };
    let scalar_halt = slots.spu.is_some_and(|operation| operation.op == SpuOp::Halt);
    let vector_halt = slots.vpu.is_some_and(|operation| operation.op == VpuOp::Halt);
    if scalar_halt != vector_halt {
        return Err(DecodeReason::HalfHalt);
    }
    if slots.store.is_some() && bundle.get(LOAD_PREDICATE_IS_VECTOR) != 0 {
        return Err(DecodeReason::StoreUnderVectorPredicate);
    }
    Ok(slots)
}

fn decode_slot<O: SlotOp>(bundle: &Bundle) -> Result<Option<Operation<O>>, DecodeReason> {
    let slot = O::SLOT;
    let code = bundle.get(slot.opcode()) as u8;
    if code == O::NOP_CODE {
        return Ok(None);
    }
    let op = O::from_opcode(code).ok_or(DecodeReason::UnknownOpcode { slot, code })?;
    let mut fields = Fields::default();
    for field in Field::ALL {
        if let Some(range) = slot.field(field) {
            fields.set(field, bundle.get(range) as u16);
        }
    }
    let immediate = bundle.get(IMMEDIATE);
    let form = O::forms()
        .iter()
        .find(|form| form.op == op && form.fits(&fields, immediate))
        .ok_or(DecodeReason::NoForm { slot, name: op.name(), fields })?;
    let (register, polarity, vector) = slot.predicate();
    let predicate = Predicate {
        register: bundle.get(register) as u8,
        inverted: bundle.get(polarity) != 0,
        vector: vector.is_some_and(|range| bundle.get(range) != 0),
    };
    Ok(Some(Operation { op, fields, predicate, form }))
}

fn decode_loop(bundle: &Bundle) -> Result<LoopInstruction, DecodeReason> {
    if bundle.get(loop_fields::REPEAT_ONCE) != 0 || bundle.get(loop_fields::ZERO) != 0 {
        return Err(DecodeReason::LoopReserved);
    }
    let operand = |is_immediate, register, immediate| {
        if bundle.get(is_immediate) != 0 {
            return Ok(LoopOperand::Immediate(bundle.get(immediate)));
        }
        let code = bundle.get(register);
        match Operand::from_code(Slot::Spu, code as u16) {
            Some(Operand::S(number)) => Ok(LoopOperand::Register(number)),
            _ => Err(DecodeReason::LoopRegister { code }),
        }
    };
    let start = operand(loop_fields::START_IS_IMMEDIATE, loop_fields::START_REGISTER, loop_fields::START)?;
    let boundary = operand(loop_fields::BOUNDARY_IS_IMMEDIATE, loop_fields::BOUNDARY_REGISTER, loop_fields::BOUNDARY)?;
    let step = operand(loop_fields::STEP_IS_IMMEDIATE, loop_fields::STEP_REGISTER, loop_fields::STEP)?;
    let code = bundle.get(loop_fields::COMPARE);
    let comparison = *Comparison::ALL.get(code as usize).ok_or(DecodeReason::LoopComparison { code })?;
    let end = bundle.get(loop_fields::END);
    if !end.is_multiple_of(BUNDLE_BYTES as u32) || end < 2 * BUNDLE_BYTES as u32 {
        return Err(DecodeReason::LoopEnd { end });
    }
    let predicate = Predicate {
        register: bundle.get(loop_fields::PREDICATE) as u8,
        inverted: bundle.get(loop_fields::POLARITY) != 0,
        vector: false,
    };
    Ok(LoopInstruction { start, boundary, step, comparison, end: end as u16, predicate })
}
