//! Forms of the SPU slot (`tpc.md` 6.1). LOOP is a bundle of its own and not here.
//!
//! The fixed-point conversions (opcodes 04, 17, 18, 1C) have no documented scalar form and are therefore illegal here.

use super::{
    BF16, BOOL, Bits, CONVERT_TYPES, FLOATS, Form, I32, INTEGERS, Item, NUMBERS, ROUNDINGS, SPECIAL_FUNCTIONS,
    SWITCH_0, SWITCH_1, SWITCH_2, Suffix, WORDS, form, typed,
};
use crate::bundle::Field;
use crate::opcodes::SpuOp as Op;
use crate::operand::{Classes, ElementType};

const SOURCE: Classes = Classes::S.or(Classes::LFSR).or(Classes::IMM);
const DEST: Item = Item::Register(Field::Dest, Classes::S);
const A: Item = Item::Register(Field::A, SOURCE);
const B: Item = Item::Register(Field::B, SOURCE);
const DEST_SP: Item = Item::Register(Field::Dest, Classes::SP);
const A_SP: Item = Item::Register(Field::A, Classes::SP);
const B_SP: Item = Item::Register(Field::B, Classes::SP);
const DEST_I: Item = Item::Register(Field::Dest, Classes::I);
const A_I: Item = Item::Register(Field::A, Classes::I);
const A_ANY_I: Item = Item::Register(Field::A, SOURCE.or(Classes::I));
const B_I: Item = Item::Register(Field::B, Classes::I);

/// Dimensions that an operation on coordinates writes.
const DIMENSIONS: Bits = Bits::new(Field::Switch, 2, 5);
const MASK: Item = Item::Mask(DIMENSIONS);
const TYPE_I32: (Bits, u16) = (super::TYPE, ElementType::I32.code());
const TYPE_BOOL: (Bits, u16) = (super::TYPE, ElementType::Bool.code());

const ROUNDING: Item = Item::Choice(Bits::new(Field::Switch, 0, 3), ROUNDINGS, Some(5));
const SATURATE: Item = Item::Flag("st", SWITCH_0);
const NEGATE: Item = Item::Flag("neg", SWITCH_1);

const fn scalar(op: Op, set: u16, modifiers: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), typed(set), &[], modifiers, &[DEST, A, B])
}

const fn unary(op: Op, set: u16, modifiers: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), typed(set), &[], modifiers, &[DEST, A])
}

const fn predicate_logic(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), typed(BOOL), &[], &[], &[DEST_SP, A_SP, B_SP])
}

const fn compare(op: Op, modifiers: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), typed(NUMBERS), &[], modifiers, &[DEST_SP, A, B])
}

const fn coordinates(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), typed(I32), &[], &[MASK], &[DEST_I, A_ANY_I, B_I])
}

const fn coordinate_shift(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), typed(I32), &[], &[MASK], &[DEST_I, A_I, B])
}

/// All forms.
pub(super) static FORMS: &[Form<Op>] = &[
    scalar(Op::Mac, FLOATS, &[NEGATE]),
    form(Op::Mac, "mac", typed(BF16), &[(SWITCH_2, 1)], &[NEGATE, Item::Word("acc_fp32")], &[DEST, A, B]),
    scalar(Op::Mul, FLOATS, &[]),
    scalar(Op::Mul, WORDS, &[Item::Flag("upper32", SWITCH_2)]),
    coordinates(Op::Mul),
    scalar(Op::Add, FLOATS, &[]),
    scalar(Op::Add, INTEGERS, &[SATURATE]),
    coordinates(Op::Add),
    scalar(Op::Sub, FLOATS, &[NEGATE]),
    scalar(Op::Sub, INTEGERS, &[SATURATE, NEGATE]),
    coordinates(Op::Sub),
    scalar(Op::Max, NUMBERS, &[]),
    coordinates(Op::Max),
    scalar(Op::Min, NUMBERS, &[]),
    coordinates(Op::Min),
    unary(Op::Abs, NUMBERS, &[]),
    unary(Op::Mov, NUMBERS, &[]),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[TYPE_BOOL],
        &[],
        &[DEST_SP, Item::Register(Field::A, Classes::SP.or(Classes::S).or(Classes::IMM))],
    ),
    form(Op::Mov, "mov", Suffix::None, &[TYPE_I32], &[MASK], &[DEST_I, A_ANY_I]),
    compare(Op::CmpEq, &[Item::Flag("mask_eq_zero", SWITCH_0)]),
    compare(Op::CmpNeq, &[]),
    compare(Op::CmpLess, &[]),
    compare(Op::CmpLeq, &[]),
    compare(Op::CmpGrt, &[]),
    compare(Op::CmpGeq, &[]),
    scalar(Op::Or, NUMBERS, &[]),
    predicate_logic(Op::Or),
    coordinates(Op::Or),
    scalar(Op::And, NUMBERS, &[]),
    predicate_logic(Op::And),
    coordinates(Op::And),
    scalar(Op::Xor, NUMBERS, &[]),
    predicate_logic(Op::Xor),
    coordinates(Op::Xor),
    unary(Op::Not, NUMBERS, &[]),
    form(Op::Not, "not", typed(BOOL), &[], &[], &[DEST_SP, A_SP]),
    scalar(Op::Shr, NUMBERS, &[]),
    coordinate_shift(Op::Shr),
    scalar(Op::Shl, NUMBERS, &[]),
    coordinate_shift(Op::Shl),
    form(Op::Ash, "ash", typed(INTEGERS), &[(SWITCH_0, 1)], &[Item::Flag("rhu", SWITCH_1)], &[DEST, A, B]),
    form(
        Op::Convert,
        "convert",
        typed(NUMBERS),
        &[],
        &[],
        &[DEST, A, Item::Choice(Bits::new(Field::B, 0, 4), CONVERT_TYPES, None), ROUNDING],
    ),
    unary(Op::Popcnt, INTEGERS, &[Item::Number(SWITCH_0)]),
    unary(Op::FindFirst, INTEGERS, &[Item::Number(SWITCH_0), Item::Flag("start_msb", SWITCH_1)]),
    form(Op::Nearbyint, "nearbyint", typed(FLOATS), &[], &[], &[DEST, A, ROUNDING]),
    unary(Op::ExtractExp, FLOATS, &[Item::Flag("biased", SWITCH_0)]),
    unary(Op::Fclass, FLOATS, &[]),
    unary(Op::Brev, INTEGERS, &[]),
    form(Op::Halt, "halt", Suffix::None, &[], &[], &[]),
    form(Op::Jmpr, "jmpr", Suffix::None, &[], &[], &[Item::Target]),
    form(Op::Jmpr, "jmpr", Suffix::None, &[], &[], &[Item::Register(Field::A, Classes::S)]),
    form(Op::Jmpa, "jmpa", Suffix::None, &[], &[], &[Item::Register(Field::A, Classes::S.or(Classes::IMM))]),
    form(
        Op::MovIrfDim,
        "mov_irf_dim",
        Suffix::None,
        &[],
        &[Item::Number(Bits::new(Field::Switch, 0, 3))],
        &[DEST, A_I],
    ),
    form(
        Op::SetIndx,
        "set_indx",
        Suffix::None,
        &[TYPE_I32],
        &[],
        &[DEST_I, MASK, Item::Register(Field::A, Classes::S.or(Classes::IMM))],
    ),
    form(
        Op::Udiv4Step,
        "udiv_4step",
        typed(super::types(&[ElementType::U32, ElementType::U16, ElementType::U8])),
        &[],
        &[Item::Number(Bits::new(Field::Switch, 0, 5))],
        &[Item::Pair(Field::Dest, 'Z'), Item::Register(Field::A, Classes::S)],
    ),
    form(
        Op::CalcFpSpecial,
        "calc_fp_special",
        typed(FLOATS),
        &[],
        &[Item::KeyChoice("func", Bits::new(Field::Switch, 0, 3), SPECIAL_FUNCTIONS, None)],
        &[DEST, A, B],
    ),
];
