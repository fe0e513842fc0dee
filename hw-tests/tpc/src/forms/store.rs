//! Forms of the STORE slot (`tpc.md` 6.4).

use super::{Bits, Form, Item, SWITCH_0, SWITCH_1, SWITCH_2, SWITCH_3, Suffix, form};
use crate::bundle::Field;
use crate::opcodes::StoreOp as Op;
use crate::operand::Classes;

const A_I: Item = Item::Register(Field::A, Classes::I);
const A_AD: Item = Item::Register(Field::A, Classes::AD);
const A_S: Item = Item::Register(Field::A, Classes::S.or(Classes::IMM));
const C_V: Item = Item::Register(Field::C, Classes::V);
const C_I: Item = Item::Register(Field::C, Classes::I);
const TENSOR: Item = Item::Number(Bits::new(Field::B, 0, 4));
const MASK: Item = Item::Mask(Bits::new(Field::B, 2, 5));
/// The number in SrcB of a store whose tensor number is in S28.
const NUMBER_IN_S28: (Bits, u16) = (Bits::new(Field::B, 0, 8), 28);

const SWITCHES: &[Item] =
    &[Item::Flag("partial", SWITCH_0), Item::Flag("rmw_sel", SWITCH_1), Item::Flag("pack", SWITCH_2)];
const PARTIAL_PARAMETERS: Item = Item::Implied("S31", SWITCH_0);
const RMW_PARAMETERS: Item = Item::Implied("S29", SWITCH_1);

const fn tensor(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), Suffix::None, &[], SWITCHES, &[TENSOR, A_I, C_V, PARTIAL_PARAMETERS, RMW_PARAMETERS])
}

const fn tensor_in_register(op: Op) -> Form<Op> {
    form(
        op,
        op.mnemonic(),
        Suffix::None,
        &[(SWITCH_3, 1), NUMBER_IN_S28],
        SWITCHES,
        &[Item::Word("S28"), A_I, C_V, PARTIAL_PARAMETERS, RMW_PARAMETERS],
    )
}

const fn local_vector(op: Op) -> Form<Op> {
    form(op, op.mnemonic(), Suffix::None, &[], &[], &[A_S, C_V])
}

/// All forms.
pub(super) static FORMS: &[Form<Op>] = &[
    form(Op::GenAddr, "gen_addr", Suffix::None, &[], &[], &[Item::Register(Field::C, Classes::AD), TENSOR, A_I]),
    form(Op::PrmtIndx, "prmt_indx", Suffix::None, &[], &[], &[C_I, A_I, Item::Register(Field::B, Classes::S)]),
    form(Op::SetIndx, "set_indx", Suffix::None, &[], &[], &[C_I, MASK, A_S]),
    form(
        Op::StL,
        "st_l",
        Suffix::None,
        &[],
        &[Item::Flag("mmio", Bits::new(Field::B, 0, 1))],
        &[A_S, Item::Register(Field::C, Classes::S)],
    ),
    form(Op::StG, "st_g", Suffix::None, &[], &[], &[A_AD, Item::Register(Field::C, Classes::S.or(Classes::SP))]),
    local_vector(Op::StLV),
    local_vector(Op::StLVLow),
    local_vector(Op::StLVHigh),
    form(
        Op::Aso,
        "aso",
        Suffix::None,
        &[],
        &[Item::Flag("dec", Bits::new(Field::A, 0, 1)), Item::Flag("vpu", Bits::new(Field::A, 1, 1))],
        &[],
    ),
    tensor(Op::StTnsr),
    tensor(Op::StTnsrLow),
    tensor(Op::StTnsrHigh),
    tensor_in_register(Op::StTnsr),
    tensor_in_register(Op::StTnsrLow),
    tensor_in_register(Op::StTnsrHigh),
    form(Op::CacheFlush, "cache_flush", Suffix::None, &[], &[], &[]),
    form(Op::CacheInvalidate, "cache_invalidate", Suffix::None, &[], &[], &[]),
];
