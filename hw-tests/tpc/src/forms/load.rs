//! Forms of the LOAD slot (`tpc.md` 6.3).

use super::{Bits, Form, Item, NUMBERS, SWITCH_0, SWITCH_2, SWITCH_3, Suffix, form};
use crate::bundle::Field;
use crate::opcodes::LoadOp as Op;
use crate::operand::Classes;

const DEST_V: Item = Item::Register(Field::Dest, Classes::V);
const DEST_V_OR_VP: Item = Item::Register(Field::Dest, Classes::V.or(Classes::VP));
const DEST_I: Item = Item::Register(Field::Dest, Classes::I);
const A_I: Item = Item::Register(Field::A, Classes::I);
const A_AD: Item = Item::Register(Field::A, Classes::AD);
const A_S: Item = Item::Register(Field::A, Classes::S.or(Classes::IMM));
const TENSOR: Item = Item::Number(Bits::new(Field::B, 0, 4));
const MASK: Item = Item::Mask(Bits::new(Field::B, 2, 5));
/// MOV has its type in SrcB.
const MOV_TYPE: Suffix = Suffix::Type(Bits::new(Field::B, 4, 4), NUMBERS);
const B_ZERO: (Bits, u16) = (Bits::new(Field::B, 0, 9), 0);
const PARTIAL: Item = Item::Flag("partial", SWITCH_0);
const PARTIAL_PARAMETERS: Item = Item::Implied("S30", SWITCH_0);

const fn tensor(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), Suffix::None, &[], &[PARTIAL], &[DEST_V_OR_VP, TENSOR, A_I, PARTIAL_PARAMETERS])
}

const fn tensor_in_register(op: Op) -> Form<Op> {
    form(
        op,
        op.mnemonic(),
        Suffix::None,
        &[(SWITCH_3, 1), B_ZERO],
        &[PARTIAL],
        &[DEST_V_OR_VP, Item::Word("S27"), A_I, PARTIAL_PARAMETERS],
    )
}

const fn local_vector(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), Suffix::None, &[], &[], &[DEST_V_OR_VP, A_S])
}

const fn lookup(op: Op, arguments: &'static [Item]) -> Form<Op> {
    form(op, op.mnemonic(), Suffix::None, &[], &[Item::Flag("upper_half", SWITCH_2)], arguments)
}

const A_V: Item = Item::Register(Field::A, Classes::V);
const ENTRY_WIDTH: Item = Item::Choice(Bits::new(Field::Switch, 0, 2), &[("bv32", 0), ("bv16", 1)], None);

/// All forms.
pub(super) static FORMS: &[Form<Op>] = &[
    form(Op::GenAddr, "gen_addr", Suffix::None, &[], &[], &[Item::Register(Field::Dest, Classes::AD), TENSOR, A_I]),
    form(Op::PrmtIndx, "prmt_indx", Suffix::None, &[], &[], &[DEST_I, A_I, Item::Register(Field::B, Classes::S)]),
    form(Op::SetIndx, "set_indx", Suffix::None, &[], &[], &[DEST_I, MASK, A_S]),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[B_ZERO],
        &[],
        &[DEST_V, Item::Register(Field::A, Classes::V.or(Classes::GENERATED))],
    ),
    form(
        Op::Mov,
        "mov",
        MOV_TYPE,
        &[],
        &[],
        &[DEST_V, Item::Register(Field::A, Classes::V.or(Classes::GENERATED).or(Classes::S).or(Classes::IMM))],
    ),
    form(Op::Mov, "mov", MOV_TYPE, &[], &[], &[Item::Register(Field::Dest, Classes::S), A_S]),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[],
        &[MASK],
        &[DEST_I, Item::Register(Field::A, Classes::S.or(Classes::IMM).or(Classes::I))],
    ),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[B_ZERO],
        &[],
        &[Item::Register(Field::Dest, Classes::VP), Item::Register(Field::A, Classes::VP.or(Classes::SP))],
    ),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[],
        &[],
        &[Item::Register(Field::Dest, Classes::VP), A_S, Item::KeyNumber("section", Bits::new(Field::B, 0, 4), None)],
    ),
    form(
        Op::Mov,
        "mov",
        Suffix::None,
        &[B_ZERO],
        &[],
        &[
            Item::Register(Field::Dest, Classes::SP),
            Item::Register(Field::A, Classes::SP.or(Classes::S).or(Classes::IMM)),
        ],
    ),
    lookup(Op::Lookup, &[DEST_V, A_V, ENTRY_WIDTH, Item::FunctionId]),
    lookup(Op::Lookup2C, &[Item::Pair(Field::Dest, 'D'), A_V, ENTRY_WIDTH, Item::FunctionId]),
    lookup(Op::Lookup1C, &[DEST_V, A_V, ENTRY_WIDTH, Item::FunctionId]),
    form(
        Op::LdL,
        "ld_l",
        Suffix::None,
        &[],
        &[Item::Flag("mmio", Bits::new(Field::B, 0, 1))],
        &[Item::Register(Field::Dest, Classes::S.or(Classes::SP)), A_S],
    ),
    form(
        Op::LdG,
        "ld_g",
        Suffix::None,
        &[],
        &[],
        &[Item::Register(Field::Dest, Classes::S.or(Classes::SP).or(Classes::V)), A_AD],
    ),
    form(Op::Prefetch, "prefetch", Suffix::None, &[], &[], &[A_AD]),
    local_vector(Op::LdLV),
    local_vector(Op::LdLVLow),
    local_vector(Op::LdLVHigh),
    tensor(Op::LdTnsr),
    tensor(Op::LdTnsrLow),
    tensor(Op::LdTnsrHigh),
    tensor_in_register(Op::LdTnsr),
    tensor_in_register(Op::LdTnsrLow),
    tensor_in_register(Op::LdTnsrHigh),
];
