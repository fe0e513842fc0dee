//! Random instances of every form of every operation: each prints, assembles to the same operation, and is executed or refused in
//! words. Nothing panics, whatever registers, memories and descriptors hold.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CODE, Numbers};
use coxswain_tpc::bundle::{Field, IMMEDIATE, Slot};
use coxswain_tpc::forms::{Fields, Form, Item, SlotOp, Suffix};
use coxswain_tpc::opcodes::{LoadOp, SpuOp, StoreOp, VpuOp};
use coxswain_tpc::operand::Operand;
use coxswain_tpc::{Bundle, FlatMemory, Launch, Memory, Outcome, Tpc, assemble, decode, disassemble};

/// A random legal bundle with one operation of this form; `None` when the dice gave fields that do not fit.
fn instance<O: SlotOp>(form: &Form<O>, numbers: &mut Numbers) -> Option<Bundle> {
    let immediate = if numbers.next().is_multiple_of(2) { numbers.next() % 0x1000 / 4 * 4 } else { numbers.pattern() };
    let mut fields = Fields::default();
    for field in Field::ALL {
        fields.set(field, numbers.next() as u16 & form.owned(field));
    }
    for &(bits, value) in form.fixed {
        fields.set_bits(bits, value);
    }
    if let Suffix::Type(bits, types) = form.suffix {
        let choices: Vec<u16> = (0..16).filter(|code| types >> code & 1 != 0).collect();
        fields.set_bits(bits, choices[numbers.next() as usize % choices.len()]);
    }
    for item in form.modifiers.iter().chain(form.arguments) {
        match *item {
            Item::Register(field, classes) => {
                let codes: Vec<u16> = (0..256)
                    .filter(|&code| Operand::from_code(O::SLOT, code).is_some_and(|operand| classes.contains(operand)))
                    .collect();
                fields.set(field, codes[numbers.next() as usize % codes.len()]);
            }
            Item::Pair(field, _) => fields.set(field, numbers.next() as u16 % 18 * 2),
            Item::Choice(bits, names, _) | Item::KeyChoice(_, bits, names, _) => {
                fields.set_bits(bits, names[numbers.next() as usize % names.len()].1);
            }
            Item::FunctionId => fields.set(Field::B, (immediate & 0x1FF) as u16),
            Item::Target => fields.set(Field::A, 127),
            _ => {}
        }
    }
    if !form.fits(&fields, immediate) {
        return None;
    }
    let mut bundle = Bundle::NOP.with(O::SLOT.opcode(), u32::from(form.op.opcode()));
    if form.uses_immediate(&fields) {
        bundle = bundle.with(IMMEDIATE, immediate);
    }
    for field in Field::ALL {
        if let Some(range) = O::SLOT.field(field) {
            bundle = bundle.with(range, u32::from(fields.get(field)));
        }
    }
    let (register, polarity, vector) = O::SLOT.predicate();
    if numbers.next().is_multiple_of(3) {
        bundle = bundle.with(register, numbers.next()).with(polarity, numbers.next());
        if let Some(vector) = vector {
            bundle = bundle.with(vector, numbers.next());
        }
    }
    Some(bundle)
}

/// An engine whose registers hold random values, after its launch on a program of one bundle.
fn execute(bundle: Bundle, numbers: &mut Numbers) -> Outcome {
    let mut prepare = String::new();
    for register in 0..8 {
        prepare.push_str(&format!("ld_l_v V{}, {}; nop; nop; nop\n", register * 5, register * 256));
        prepare.push_str(&format!("set_indx I{register}, b{:05b}, S{register}; nop; nop; nop\n", numbers.next() % 32));
        prepare
            .push_str(&format!("nop; mov SP{register}, S{}; cmp_less.i8 VP{register}, V5, V10; nop\n", register + 8));
        prepare.push_str(&format!("gen_addr AD{register}, {register}, I{register}; nop; nop; nop\n"));
    }
    let mut code = assemble(&prepare).unwrap();
    code.extend_from_slice(&bundle.to_bytes());
    code.extend_from_slice(&assemble("nop; halt; halt; nop").unwrap());
    let mut memory = FlatMemory::new(CODE, code.len());
    memory.write(CODE, &code).unwrap();
    let mut launch = Launch { round_csr: numbers.next() % 8, ..Launch::default() };
    for byte in &mut launch.descriptor {
        *byte = numbers.next() as u8;
    }
    for index in 0..32 {
        launch.set_argument(index, numbers.pattern());
    }
    launch.set_kernel_address(CODE);
    launch.set_word(0x3B8, 0);
    let mut tpc = Tpc::new();
    for byte in tpc.vector_memory_mut() {
        *byte = numbers.next() as u8;
    }
    tpc.start(&launch);
    tpc.run(&mut memory, 200)
}

/// Returns how many instances ran to the end.
fn check<O: SlotOp>(rounds: usize) -> usize {
    let mut numbers = Numbers(O::SLOT as u64 + 40);
    let mut ended = 0;
    for form in O::forms() {
        let mut instances = 0;
        for round in 0..20 * rounds {
            let Some(bundle) = instance(form, &mut numbers) else { continue };
            // Bits that the form does not own are not part of the text: only compare what is printed again.
            let text = match decode(&bundle, 0) {
                Ok(_) => disassemble(&bundle.to_bytes()).unwrap(),
                // HALT needs both units, which one slot alone cannot give.
                Err(error) => {
                    assert_eq!(form.name, "halt", "{error}");
                    instances += 1;
                    break;
                }
            };
            instances += 1;
            let again = assemble(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(again, bundle.to_bytes(), "{text}");
            if round % 4 == 0 {
                match execute(bundle, &mut numbers) {
                    Outcome::Halted | Outcome::OutOfBudget => ended += 1,
                    Outcome::Fault(fault) => assert!(!fault.detail.is_empty(), "{text}"),
                }
            }
            if instances == rounds {
                break;
            }
        }
        assert!(instances > 0, "no instance of {} in {:?}", form.name, O::SLOT);
    }
    ended
}

#[test]
fn every_form_of_load_prints_assembles_and_runs() {
    assert!(check::<LoadOp>(60) > 100);
}

#[test]
fn every_form_of_spu_prints_assembles_and_runs() {
    assert!(check::<SpuOp>(60) > 500);
}

#[test]
fn every_form_of_vpu_prints_assembles_and_runs() {
    assert!(check::<VpuOp>(60) > 500);
}

#[test]
fn every_form_of_store_prints_assembles_and_runs() {
    assert!(check::<StoreOp>(60) > 40);
}

#[test]
fn every_operation_has_a_form() {
    fn all<O: SlotOp>(slot: Slot) {
        for code in 0..0x40 {
            if let Some(op) = O::from_opcode(code) {
                let known = O::forms().iter().any(|form| form.op == op);
                // The fixed-point conversions of the scalar unit have no documented form.
                let undocumented = slot == Slot::Spu && matches!(code, 0x04 | 0x17 | 0x18 | 0x1C);
                assert_eq!(known, !undocumented, "{op:?}");
            }
        }
    }
    all::<LoadOp>(Slot::Load);
    all::<SpuOp>(Slot::Spu);
    all::<VpuOp>(Slot::Vpu);
    all::<StoreOp>(Slot::Store);
}
