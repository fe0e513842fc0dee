//! What the assembler and the decoder refuse, and with which words.

use coxswain_tpc::{Bundle, assemble, decode, disassemble};

/// The message for a program of one bundle.
fn message(bundle: &str) -> String {
    match assemble(bundle) {
        Ok(_) => panic!("{bundle} was assembled"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_name_line_slot_operation_and_mistake() {
    for (source, expected) in [
        ("nop; add.i32 S1, S2; nop; nop", "line 1: SPU `add.i32`: an operand is missing"),
        ("nop; add.i32 S1, S2, S99; nop; nop", "line 1: SPU `add.i32`: `S99` is no operand"),
        ("nop; add.i32 S1, S2, V3; nop; nop", "line 1: SPU `add.i32`: `V3` cannot be an operand here"),
        ("nop; add.q7 S1, S2, S3; nop; nop", "line 1: the SPU slot has no operation `add.q7`"),
        ("nop; ld_l S1, S2; nop; nop", "line 1: the SPU slot has no operation `ld_l`"),
        ("nop; ; nop; nop", "line 1: the SPU slot is empty; write `nop`"),
        ("nop; nop; nop", "line 1: a bundle has the four slots LOAD; SPU; VPU; STORE, this one has 3"),
        ("nop\n\nnop; mov.i32 S1; nop; nop", "line 3: SPU `mov.i32`: an operand is missing"),
        ("nop; mov.i32 S1, 4294967296; nop; nop", "line 1: SPU `mov.i32`: `4294967296` is no operand"),
        (
            "nop; mov.i32 S1, 1; mov.i32 V1, 2; nop",
            "line 1: a bundle has one immediate, but SPU wants 0x1 and VPU wants 0x2",
        ),
        ("nop; add.i32 S1, 1, 2; nop; nop", "line 1: SPU `add.i32`: a bundle has one immediate"),
        ("ld_tnsr V1, 16, I2; nop; nop; nop", "line 1: LOAD `ld_tnsr`: 16 is not in 0..=15"),
        ("nop; nop; mul.i32 D3, V1, V2; nop", "line 1: VPU `mul.i32`: `D3` is no D register pair"),
        ("nop; set_indx I3, b0011, 4; nop; nop", "line 1: SPU `set_indx`: `b0011` is no dimension mask such as b00001"),
        (
            "nop; add.i32 S1, S2, S3, VP1; nop; nop",
            "line 1: SPU `add.i32`: `VP1` is neither an operand nor a predicate of this slot",
        ),
        ("nop; add.i32 S1, S2, S3, SP1, SP2; nop; nop", "line 1: SPU `add.i32`: `SP2` is too much"),
        ("ld_l S1, 4, SP1; nop; nop; st_l 8, S1, SP2", "line 1: LOAD and STORE share one predicate and must agree"),
        (
            "ld_tnsr V1, 0, I2, VP1; nop; nop; st_l S1, S2",
            "line 1: a LOAD under a vector predicate cannot stand beside a STORE",
        ),
        (
            "nop; nop; sel_eq.f32 V1, V2, V3, V4, V5; st_tnsr 2, I3, V6",
            "line 1: two slots share the bits of STORE SrcC and want different values",
        ),
        (
            "ld_tnsr V1, 3, I2; nop; form_fp_num.f32 V1, V2, V3, V4; nop",
            "line 1: two slots share the bits of VPU SrcD and want different values",
        ),
        ("nop; halt; nop; nop", "line 1: illegal bundle at 0x0: halt is in one of SPU and VPU only (bytes"),
        ("nop; jmpr nowhere; nop; nop", "line 1: label `nowhere` is not defined"),
        ("L: nop ;; L: nop", "line 1: label `L` is defined twice"),
        ("nop\nend:", "line 2: no bundle follows the label"),
        ("nop 0", "line 1: `0` is not a number of bundles from 1 to 2047"),
        ("nop\nnop x", "line 2: `x` is not a number of bundles from 1 to 2047"),
        ("1a: nop", "line 1: `1a` is no label name"),
        ("S3: nop", "line 1: `S3` is no label name"),
        (
            "loop 0, 1, 1, <, E ;; nop ;; E: nop",
            "line 1: the bundle behind the loop lies 64 bytes away, not 3 to 2048 bundles ahead",
        ),
        (
            "E: nop ;; loop 0, 1, 1, <, E",
            "line 1: the bundle behind the loop lies -32 bytes away, not 3 to 2048 bundles ahead",
        ),
        ("loop 0, 1, 1, <>, 128", "line 1: `<>` is no comparison"),
        ("loop 0, 1, 1, <", "line 1: loop wants start, boundary, step, comparison, end and perhaps a predicate"),
        ("loop V0, 1, 1, <, 128", "line 1: `V0` is neither scalar register nor number"),
        ("loop 0, 1, 1, <, 128, VP1", "line 1: `VP1` is no scalar predicate"),
        ("// nothing\n", "line 1: the program has no bundle"),
    ] {
        let message = message(source);
        assert!(message.starts_with(expected), "{source}\n  gives {message}\n  not   {expected}");
    }
}

#[test]
fn slots_may_share_an_immediate_and_equal_bits() {
    let text = "nop; mov.i32 S1, 0x11; mov.i32 V1, 0x11; st_l 0x11, S2\n";
    assert_eq!(assemble(text).map(|code| disassemble(&code).expect("it was just assembled")), Ok(text.to_owned()));
    assert!(assemble("nop; nop; sel_eq.f32 V1, V2, V3, V6, V5; st_tnsr 2, I3, V6").is_ok());
}

#[test]
fn comments_labels_and_separators_are_free_in_their_layout() {
    let plain = assemble("nop; jmpr 64; nop; nop ;; nop ;; nop; halt; halt; nop");
    assert!(plain.is_ok());
    let laid_out = "// a program\n\n nop ;jmpr  OUT ; nop;nop // jump\n\tnop ;;\nOUT:\n\n  nop; halt; halt; nop // end";
    assert_eq!(assemble(laid_out), plain);
}

#[test]
fn a_loop_reaches_2048_bundles() {
    let program = |bundles: usize| format!("loop 0, 1, 1, <, E\n{}E: nop", "nop\n".repeat(bundles - 1));
    assert!(assemble(&program(2048)).is_ok());
    assert!(message(&program(2049)).contains("65568 bytes away"));
}

#[test]
fn the_decoder_refuses_what_it_does_not_know() {
    let nop = Bundle::NOP.to_bytes();
    let change = |bits: &[(usize, u8)]| {
        let mut bytes = nop;
        for &(byte, value) in bits {
            bytes[byte] ^= value;
        }
        decode(&Bundle::from_bytes(&bytes), 0x40).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(change(&[]), Ok(()));
    for (bits, expected) in [
        (&[(0, 0x3F ^ 0x21)][..], "illegal bundle at 0x40: SPU opcode 0x21 is unknown (bytes 21000000 00f80100"),
        (&[(0, 0x3F ^ 0x3E)], "illegal bundle at 0x40: SPU opcode 0x3e is unknown"),
        (&[(24, 1)], "illegal bundle at 0x40: bits 191 to 255 are not zero"),
        (&[(31, 0x80)], "illegal bundle at 0x40: bits 191 to 255 are not zero"),
        (&[(23, 0x80)], "illegal bundle at 0x40: bits 191 to 255 are not zero"),
        // ADD of type 9.
        (
            &[(0, 0x3D), (4, 0), (3, 0x48)],
            "illegal bundle at 0x40: SPU add has no form with these fields: A=0x0 B=0x0 Dest=0x0 Type=0x9 Switch=0x0",
        ),
        // A zero bundle: no slot is a NOP there, LOAD GEN_ADDR would write a V register.
        (
            &[(0, 0x3F), (5, 0xF8), (6, 1), (14, 0x80), (15, 0x0F), (17, 0xF0), (18, 1)],
            "illegal bundle at 0x40: LOAD gen_addr has no form",
        ),
    ] {
        let message = change(bits).expect_err("an illegal bundle");
        assert!(message.starts_with(expected), "{message}\nnot {expected}");
    }
}

#[test]
fn a_store_under_a_vector_predicate_is_illegal() {
    let mut code = assemble("nop; nop; nop; st_l S1, S2, SP1").expect("a legal bundle");
    assert!(disassemble(&code).is_ok());
    // Bit 150: the common predicate of LOAD and STORE is a vector one.
    code[18] |= 0x40;
    let error = disassemble(&code).expect_err("STORE knows scalar predicates only");
    assert!(error.to_string().contains("STORE operation under a vector predicate"), "{error}");
}

#[test]
fn truncated_code_has_no_text() {
    let error = disassemble(&[0x3F; 33]).expect_err("the bundles are not legal");
    assert_eq!(error.pc, 0);
    let mut code = Bundle::NOP.to_bytes().to_vec();
    code.extend_from_slice(&[1, 2, 3]);
    let error = disassemble(&code).expect_err("the code ends inside a bundle");
    assert!(
        error.to_string().starts_with("illegal bundle at 0x20: the code ends after 3 bytes of the bundle"),
        "{error}"
    );
}

#[test]
fn no_text_makes_the_assembler_panic() {
    let pieces = [
        "nop",
        ";",
        ";;",
        "loop",
        "add.i32",
        " S1",
        ",",
        "V2",
        "0x",
        "-",
        "b00011",
        "I2",
        ":",
        "L",
        "//",
        "\n",
        "mov_dg.all",
        "=",
        "src=9",
        "ld_tnsr",
        "partial",
        "D6",
        "!SP1",
        "é",
        "99999999999",
    ];
    let mut state = 1u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(pieces[(state >> 40) as usize % pieces.len()]);
        }
        let _ = assemble(&text);
    }
}

#[test]
fn a_nop_with_a_number_is_that_many_bundles() {
    assert_eq!(assemble("nop 3 ;; nop; halt; halt; nop"), assemble("nop ;; nop ;; nop ;; nop; halt; halt; nop"));
    // A label in front names the first of them, one behind the bundle after the last.
    let counted = assemble("L: nop 2 ;; nop; jmpr L; nop; nop ;; nop; jmpr E; nop; nop ;; nop 4 ;; E: nop");
    let written =
        assemble("nop ;; nop ;; nop; jmpr -64; nop; nop ;; nop; jmpr 160; nop; nop ;; nop;;nop;;nop;;nop ;; nop");
    assert_eq!(counted, written);
}
