//! Moves across lanes, replication of scalars, vector predicates.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::Numbers;
use common::lanes::{lane, registers, vector};
use coxswain_tpc::sim::VECTOR_BYTES;

#[test]
fn elements_spread_and_pack_inside_their_dual_groups() {
    let input = registers(&mut Numbers(17));
    for (element, width) in [("bf16", 2), ("i16", 2), ("i8", 1), ("f32", 4)] {
        for group in 0..2 {
            for (stride, half) in [(2, 0), (4, 0), (4, 1)] {
                let per_group = 32 / width;
                let text = format!("unpack.{element} V4, V0, group_{group}, stride_{stride}, group_half_{half}");
                let unpacked = vector(&format!("nop; nop; {text}; nop"), &input, 0)[0];
                for index in 0..VECTOR_BYTES / width {
                    let (dual_group, at) = (index / (2 * per_group), index % (2 * per_group));
                    let first = group * per_group + if stride == 4 { half * per_group / 2 } else { 0 };
                    let expected = if at % stride == 0 {
                        lane(&input[0], width, dual_group * 2 * per_group + first + at / stride)
                    } else {
                        lane(&input[4], width, index)
                    };
                    assert_eq!(lane(&unpacked, width, index), expected, "{text} lane {index}");
                }
                if half == 0 {
                    // Packing what was unpacked gives the elements back.
                    let source = format!(
                        "nop; nop; {text}; nop\nnop; nop; pack.{element} V5, V4, group_{group}, stride_{stride}; nop"
                    );
                    let packed = vector(&source, &input, 0)[1];
                    let count = 2 * per_group / stride;
                    for index in 0..VECTOR_BYTES / width {
                        let at = index % (2 * per_group);
                        let moved = (group * per_group..group * per_group + count).contains(&at);
                        let expected = lane(&input[if moved { 0 } else { 5 }], width, index);
                        assert_eq!(lane(&packed, width, index), expected, "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn groups_and_dual_groups_move_under_their_byte_mask() {
    let input = registers(&mut Numbers(18));
    let mask = 0xA5F0_3C0Fu32;
    let selected = |byte: usize| mask >> (byte % 32) & 1 != 0;
    for (source, target, groups) in [(0, 0, 3), (1, 2, 1), (3, 0, 2), (2, 3, 0)] {
        let text = format!(
            "mov_dg V4, V0, src={source}, dst={target}, wr_lg={}, wr_ug={}, {mask:#x}",
            groups & 1,
            groups >> 1
        );
        let result = vector(&format!("nop; nop; {text}; nop"), &input, 0)[0];
        for byte in 0..256 {
            let moved = byte / 64 == target && groups >> (byte / 32 % 2) & 1 != 0 && selected(byte);
            assert_eq!(result[byte], if moved { input[0][source * 64 + byte % 64] } else { input[4][byte] }, "{text}");
        }
    }
    let text = format!("mov_dg.all V4, V0, sdg0=3, sdg1=2, sdg2=1, sdg3=1, weg0=3, weg1=0, weg2=1, weg3=2, {mask:#x}");
    let result = vector(&format!("nop; nop; {text}; nop"), &input, 0)[0];
    for byte in 0..256 {
        let enabled = [3, 0, 1, 2][byte / 64] >> (byte / 32 % 2) & 1 != 0;
        let from = [3, 2, 1, 1][byte / 64] * 64 + byte % 64;
        assert_eq!(result[byte], if enabled && selected(byte) { input[0][from] } else { input[4][byte] });
    }
    let result = vector(&format!("nop; nop; mov_g V4, V0, g_en=1, dg_en=5, {mask:#x}; nop"), &input, 0)[0];
    for byte in 0..256 {
        let moved = byte / 64 % 2 == 0 && byte / 32 % 2 == 0 && selected(byte);
        assert_eq!(result[byte], if moved { input[0][byte + 32] } else { input[4][byte] });
    }
    // A source that is its own destination is read first.
    let result = vector("nop; nop; mov_g V4, V4, g_en=3, dg_en=15, -1; nop", &input, 0)[0];
    for byte in 0..256 {
        assert_eq!(result[byte], input[4][byte ^ 32]);
    }
}

#[test]
fn shuffle_takes_elements_of_the_own_dual_group() {
    let input = registers(&mut Numbers(19));
    for (element, width) in [("i32", 4), ("bf16", 2), ("u8", 1)] {
        let result = vector(&format!("nop; nop; shuffle.{element} V4, V0, V1; nop"), &input, 0)[0];
        let per_group = 32 / width;
        for index in 0..VECTOR_BYTES / width {
            let direction = lane(&input[1], width, index) as usize;
            let dual_group = index / (2 * per_group);
            let from = dual_group * 2 * per_group + (direction >> 5 & 1) * per_group + (direction & 31) % per_group;
            let expected =
                if direction & 0x80 != 0 { lane(&input[0], width, from) } else { lane(&input[4], width, index) };
            assert_eq!(lane(&result, width, index), expected, "{element} {index}");
        }
    }
}

#[test]
fn moves_replicate_scalars_and_number_lanes() {
    let input = registers(&mut Numbers(23));
    for (text, width, expected) in [
        ("nop; nop; mov.f32 V4, 0x3f800000; nop", 4, 0x3F80_0000u32),
        ("nop; nop; mov.bf16 V4, 0x12345678; nop", 2, 0x5678),
        ("nop; nop; mov.i8 V4, 0x1ff; nop", 1, 0xFF),
        ("mov.i16 V4, 0x12345; nop; nop; nop", 2, 0x2345),
        ("nop; mov.i32 S9, 77; nop; nop\nmov.i32 V4, S9; nop; nop; nop", 4, 77),
        ("nop; mov.i32 S9, 78; nop; nop\nnop; nop; mov.i32 V4, S9; nop", 4, 78),
    ] {
        let result = vector(text, &input, 0)[0];
        assert!((0..VECTOR_BYTES / width).all(|index| lane(&result, width, index) == expected), "{text}");
    }
    for (bits, width) in [(32, 4), (16, 2), (8, 1)] {
        let result = vector(&format!("nop; nop; mov V4, LANE_ID_{bits}; nop\nmov V5, V1; nop; nop; nop"), &input, 0);
        assert!((0..VECTOR_BYTES / width).all(|index| lane(&result[0], width, index) == index as u32));
        assert_eq!(result[1], input[1]);
    }
}

#[test]
fn vector_predicates_combine_and_load_from_scalars() {
    let input = registers(&mut Numbers(24));
    let prepare = "nop; nop; cmp_grt.i32 VP1, V0, 0; nop\nnop; nop; cmp_grt.i32 VP2, V1, 0; nop\n";
    let positive = |register: usize, index: usize| lane(&input[register], 4, index) as i32 > 0;
    type Logic = fn(bool, bool) -> bool;
    let operations: [(&str, Logic); 4] = [
        ("and.b VP3, VP1, VP2", |a, b| a & b),
        ("or.b VP3, VP1, VP2", |a, b| a | b),
        ("xor.b VP3, VP1, VP2", |a, b| a ^ b),
        ("not.b VP3, VP1", |a, _| !a),
    ];
    for (text, logic) in operations {
        let source = format!("{prepare}nop; nop; {text}; nop\nnop; nop; mov.i32 V4, V2, VP3; nop");
        let result = vector(&source, &input, 0)[0];
        for index in 0..64 {
            let register = if logic(positive(0, index), positive(1, index)) { 2 } else { 4 };
            assert_eq!(lane(&result, 4, index), lane(&input[register], 4, index), "{text}");
        }
    }
    for (moves, first, last) in [
        ("nop; mov SP1, 1; nop; nop\nnop; nop; mov VP3, SP1; nop", 0, 64),
        ("nop; mov SP1, 1; nop; nop\nmov VP3, SP1; nop; nop; nop", 0, 64),
        ("nop; nop; mov VP3, -1, section=2; nop", 16, 24),
        ("mov VP3, -1, section=7; nop; nop; nop", 56, 64),
        ("nop; nop; mov VP3, -1, section=8; nop", 0, 64),
        ("nop; nop; mov VP3, 0xf0, section=0; nop", 1, 2),
    ] {
        let result = vector(&format!("{moves}\nnop; nop; mov.i32 V4, V2, VP3; nop"), &input, 0)[0];
        for index in 0..64 {
            let register = if (first..last).contains(&index) { 2 } else { 4 };
            assert_eq!(lane(&result, 4, index), lane(&input[register], 4, index), "{moves} {index}");
        }
    }
}
