//! Forms of the VPU slot (`tpc.md` 6.2).

use super::{
    BF16, BOOL, Bits, CONVERT_TYPES, FLOATS, Form, I16, I32, INTEGERS, Item, NUMBERS, Names, ROUNDINGS,
    SPECIAL_FUNCTIONS, SWITCH_0, SWITCH_1, SWITCH_2, Suffix, WORDS, form, typed,
};
use crate::bundle::Field;
use crate::opcodes::VpuOp as Op;
use crate::operand::{Classes, ElementType};

const VECTOR: Classes = Classes::V.or(Classes::GENERATED);
const SOURCE: Classes = VECTOR.or(Classes::S).or(Classes::IMM);
const DEST: Item = Item::Register(Field::Dest, Classes::V);
const DEST_PAIR: Item = Item::Pair(Field::Dest, 'D');
const DEST_VP: Item = Item::Register(Field::Dest, Classes::VP);
const A: Item = Item::Register(Field::A, SOURCE);
const B: Item = Item::Register(Field::B, SOURCE);
const C: Item = Item::Register(Field::C, SOURCE);
const D: Item = Item::Register(Field::D, SOURCE);
const A_V: Item = Item::Register(Field::A, Classes::V);
const A_VP: Item = Item::Register(Field::A, Classes::VP);
const B_VP: Item = Item::Register(Field::B, Classes::VP);

const ROUNDING: Item = Item::Choice(Bits::new(Field::Switch, 0, 3), ROUNDINGS, Some(5));
const SATURATE: Item = Item::Flag("st", SWITCH_0);
const NEGATE: Item = Item::Flag("neg", SWITCH_1);
const ACC_FP32: Item = Item::Word("acc_fp32");

/// Code of BF16 as a conversion target.
const TO_BF16: (Bits, u16) = (CONVERT_TARGET, 1);
const CONVERT_TARGET: Bits = Bits::new(Field::B, 0, 4);
const CONVERT_SINGLE: Bits = Bits::new(Field::B, 6, 1);
const CONVERT_LANE: Bits = Bits::new(Field::B, 4, 2);
const WIDE_TARGETS: Names = &[("fp32", 0), ("int32", 2), ("uint32", 3)];
const NARROW_TARGETS: Names = &[("int8", 4), ("uint8", 5), ("int16", 7), ("uint16", 8)];
const FIXED_POINT_ROUNDING: Item = Item::Choice(Bits::new(Field::Type, 0, 3), ROUNDINGS, Some(5));
const FIXED_POINT_LANE: Item = Item::KeyNumber("lane_sel", Bits::new(Field::Switch, 0, 2), None);
const TO_16: Item = Item::Flag("to_16", Bits::new(Field::Type, 3, 1));

const fn binary(op: Op, set: u16, modifiers: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), typed(set), &[], modifiers, &[DEST, A, B])
}

const fn unary(op: Op, set: u16, modifiers: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), typed(set), &[], modifiers, &[DEST, A])
}

const fn compare(op: Op, modifiers: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), typed(NUMBERS), &[], modifiers, &[DEST_VP, A, B])
}

const fn predicate_logic(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), typed(BOOL), &[], &[], &[DEST_VP, A_VP, B_VP])
}

const fn select(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), typed(NUMBERS), &[], &[], &[DEST, A, B, C, D])
}

const fn select_two(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), typed(NUMBERS), &[], &[], &[DEST_PAIR, A, B, C, D])
}

const fn fixed_point(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), Suffix::None, &[], &[], &[DEST, A, B, FIXED_POINT_LANE, TO_16, FIXED_POINT_ROUNDING])
}

/// All forms.
pub(super) static FORMS: &[Form<Op>] = &[
    binary(Op::Mac, FLOATS, &[NEGATE]),
    form(Op::Mac, "mac", typed(BF16), &[(SWITCH_2, 1)], &[NEGATE, ACC_FP32], &[DEST_PAIR, A, B]),
    form(Op::Mac, "mac", typed(I16), &[], &[SATURATE, NEGATE], &[DEST_PAIR, A, B]),
    binary(Op::Mul, FLOATS, &[]),
    form(Op::Mul, "mul", typed(BF16), &[(SWITCH_2, 1)], &[ACC_FP32], &[DEST_PAIR, A, B]),
    form(Op::Mul, "mul", typed(WORDS), &[], &[], &[DEST_PAIR, A, B]),
    form(Op::Mul, "mul", typed(I32), &[(SWITCH_1, 1)], &[Item::Word("double_and_round32")], &[DEST, A, B]),
    binary(Op::Add, FLOATS, &[]),
    binary(Op::Add, INTEGERS, &[SATURATE]),
    binary(Op::Sub, FLOATS, &[NEGATE]),
    binary(Op::Sub, INTEGERS, &[SATURATE, NEGATE]),
    fixed_point(Op::ConvertInt16),
    binary(Op::Max, NUMBERS, &[]),
    binary(Op::Min, NUMBERS, &[]),
    unary(Op::Abs, NUMBERS, &[]),
    form(Op::Mov, "mov", Suffix::None, &[(super::TYPE, 0)], &[], &[DEST, Item::Register(Field::A, VECTOR)]),
    unary(Op::Mov, NUMBERS, &[]),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[(super::TYPE, ElementType::I32.code()), (Bits::new(Field::B, 0, 8), 0)],
        &[],
        &[DEST_VP, Item::Register(Field::A, Classes::VP.or(Classes::SP))],
    ),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[(super::TYPE, ElementType::I32.code())],
        &[],
        &[
            DEST_VP,
            Item::Register(Field::A, Classes::S.or(Classes::IMM)),
            Item::KeyNumber("section", Bits::new(Field::B, 0, 4), None),
        ],
    ),
    compare(Op::CmpEq, &[Item::Flag("mask_eq_zero", SWITCH_0)]),
    compare(Op::CmpNeq, &[]),
    compare(Op::CmpLess, &[]),
    compare(Op::CmpLeq, &[]),
    compare(Op::CmpGrt, &[]),
    compare(Op::CmpGeq, &[]),
    binary(Op::Or, NUMBERS, &[]),
    predicate_logic(Op::Or),
    binary(Op::And, NUMBERS, &[]),
    predicate_logic(Op::And),
    binary(Op::Xor, NUMBERS, &[]),
    predicate_logic(Op::Xor),
    unary(Op::Not, NUMBERS, &[]),
    form(Op::Not, "not", typed(BOOL), &[], &[], &[DEST_VP, A_VP]),
    binary(Op::Shr, NUMBERS, &[]),
    binary(Op::Shl, NUMBERS, &[]),
    form(Op::Ash, "ash", typed(INTEGERS), &[(SWITCH_0, 1)], &[Item::Flag("rhu", SWITCH_1)], &[DEST, A, B]),
    // To BF16 from a pair ("all lanes") or from one register into half of the lanes.
    form(
        Op::Convert,
        "convert",
        typed(super::types(&[ElementType::F32])),
        &[TO_BF16, (CONVERT_SINGLE, 0)],
        &[],
        &[DEST, Item::Pair(Field::A, 'D'), Item::Word("bf16"), Item::Word("all_lanes"), ROUNDING],
    ),
    form(
        Op::Convert,
        "convert",
        typed(super::types(&[ElementType::F32])),
        &[TO_BF16, (CONVERT_SINGLE, 1)],
        &[],
        &[
            DEST,
            A_V,
            Item::Word("bf16"),
            Item::Word("single_lane"),
            Item::KeyNumber("lane_sel", CONVERT_LANE, Some(0)),
            ROUNDING,
        ],
    ),
    form(
        Op::Convert,
        "convert",
        typed(BF16),
        &[(Bits::new(Field::B, 0, 8), 0)],
        &[],
        &[DEST_PAIR, A_V, Item::Word("fp32"), ROUNDING],
    ),
    form(
        Op::Convert,
        "convert",
        typed(super::types(&[ElementType::F32, ElementType::I32, ElementType::U32])),
        &[],
        &[],
        &[DEST, A, Item::Choice(CONVERT_TARGET, WIDE_TARGETS, None), ROUNDING],
    ),
    form(
        Op::Convert,
        "convert",
        typed(super::types(&[ElementType::F32, ElementType::I32, ElementType::U32])),
        &[],
        &[],
        &[
            DEST,
            A,
            Item::Choice(CONVERT_TARGET, NARROW_TARGETS, None),
            Item::Flag("single_lane", CONVERT_SINGLE),
            Item::KeyNumber("lane_sel", CONVERT_LANE, None),
            ROUNDING,
        ],
    ),
    form(
        Op::Convert,
        "convert",
        typed(super::types(&[ElementType::I16, ElementType::U16, ElementType::I8, ElementType::U8])),
        &[],
        &[],
        &[
            DEST,
            A,
            Item::Choice(CONVERT_TARGET, CONVERT_TYPES, None),
            Item::Flag("single_lane", CONVERT_SINGLE),
            Item::KeyNumber("lane_sel", CONVERT_LANE, None),
            ROUNDING,
        ],
    ),
    // Between BF16 and 16-bit integers the lanes stay where they are.
    form(
        Op::Convert,
        "convert",
        typed(BF16),
        &[(Bits::new(Field::B, 4, 4), 0)],
        &[],
        &[DEST, A_V, Item::Choice(CONVERT_TARGET, &[("int16", 7), ("uint16", 8)], None), ROUNDING],
    ),
    fixed_point(Op::ConvertInt32),
    fixed_point(Op::ConvertUint32),
    unary(Op::Popcnt, INTEGERS, &[Item::Number(SWITCH_0)]),
    unary(Op::FindFirst, INTEGERS, &[Item::Number(SWITCH_0), Item::Flag("start_msb", SWITCH_1)]),
    form(Op::Nearbyint, "nearbyint", typed(FLOATS), &[], &[], &[DEST, A, ROUNDING]),
    fixed_point(Op::ConvertUint16),
    unary(Op::ExtractExp, FLOATS, &[Item::Flag("biased", SWITCH_0)]),
    unary(Op::Fclass, FLOATS, &[]),
    unary(Op::Brev, INTEGERS, &[]),
    form(Op::Halt, "halt", Suffix::None, &[], &[], &[]),
    select(Op::SelEq),
    select(Op::SelNeq),
    select(Op::SelLess),
    select(Op::SelLeq),
    select(Op::SelGrt),
    select(Op::SelGeq),
    select_two(Op::Sel2Less),
    select_two(Op::Sel2Leq),
    select_two(Op::Sel2Grt),
    select_two(Op::Sel2Geq),
    binary(Op::Shuffle, NUMBERS, &[]),
    form(
        Op::Pack,
        "pack",
        typed(NUMBERS),
        &[],
        &[],
        &[
            DEST,
            A_V,
            Item::Choice(Bits::new(Field::B, 0, 1), &[("group_0", 0), ("group_1", 1)], None),
            Item::Choice(Bits::new(Field::B, 1, 1), &[("stride_2", 0), ("stride_4", 1)], None),
        ],
    ),
    form(
        Op::Unpack,
        "unpack",
        typed(NUMBERS),
        &[],
        &[],
        &[
            DEST,
            A_V,
            Item::Choice(Bits::new(Field::B, 0, 1), &[("group_0", 0), ("group_1", 1)], None),
            Item::Choice(Bits::new(Field::B, 1, 1), &[("stride_2", 0), ("stride_4", 1)], None),
            Item::Choice(Bits::new(Field::B, 2, 1), &[("group_half_0", 0), ("group_half_1", 1)], None),
        ],
    ),
    form(
        Op::GetLutEntry,
        "get_lut_entry_and_interval_start",
        typed(FLOATS),
        &[],
        &[],
        &[
            DEST_PAIR,
            A_V,
            Item::Number(Bits::new(Field::B, 0, 5)),
            Item::KeyChoice(
                "funcid",
                Bits::new(Field::B, 5, 3),
                &[("none", 0), ("tanh", 1), ("sqrt_rsqrt", 2), ("sin_cos", 3), ("log", 4)],
                Some(0),
            ),
        ],
    ),
    form(
        Op::FormFpNum,
        "form_fp_num",
        typed(FLOATS),
        &[],
        &[
            Item::Flag("exp_add_bias", Bits::new(Field::D, 0, 1)),
            Item::Flag("force_sign0", Bits::new(Field::D, 1, 1)),
            Item::Flag("force_sign1", Bits::new(Field::D, 2, 1)),
            Item::Flag("exp_is_num", Bits::new(Field::D, 3, 1)),
            Item::Flag("sign_lsb", Bits::new(Field::D, 4, 1)),
        ],
        &[DEST, A, B, C],
    ),
    form(
        Op::MovDualGroup,
        "mov_dg",
        Suffix::None,
        &[],
        &[],
        &[
            DEST,
            A_V,
            Item::KeyNumber("src", Bits::new(Field::B, 0, 2), None),
            Item::KeyNumber("dst", Bits::new(Field::B, 2, 2), None),
            Item::KeyNumber("wr_lg", Bits::new(Field::B, 4, 1), None),
            Item::KeyNumber("wr_ug", Bits::new(Field::B, 5, 1), None),
            Item::WholeImmediate,
        ],
    ),
    form(
        Op::MovDualGroup,
        "mov_dg.all",
        Suffix::None,
        &[(SWITCH_0, 1)],
        &[],
        &[
            DEST,
            A_V,
            Item::KeyNumber("sdg0", Bits::new(Field::B, 0, 2), None),
            Item::KeyNumber("sdg1", Bits::new(Field::B, 2, 2), None),
            Item::KeyNumber("sdg2", Bits::new(Field::B, 4, 2), None),
            Item::KeyNumber("sdg3", Bits::new(Field::B, 6, 2), None),
            Item::KeyNumber("weg0", Bits::new(Field::C, 0, 2), None),
            Item::KeyNumber("weg1", Bits::new(Field::C, 2, 2), None),
            Item::KeyNumber("weg2", Bits::new(Field::C, 4, 2), None),
            Item::KeyNumber("weg3", Bits::new(Field::C, 6, 2), None),
            Item::WholeImmediate,
        ],
    ),
    form(
        Op::MovGroup,
        "mov_g",
        Suffix::None,
        &[],
        &[],
        &[
            DEST,
            A_V,
            Item::KeyNumber("g_en", Bits::new(Field::B, 0, 2), None),
            Item::KeyNumber("dg_en", Bits::new(Field::B, 2, 4), None),
            Item::WholeImmediate,
        ],
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
