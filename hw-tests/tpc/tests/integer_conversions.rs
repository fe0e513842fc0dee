//! Conversions from and between integers, lane by lane.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::Numbers;
use common::lanes::{Register, lane, registers, vector};

/// The number in the low bits of `raw`.
fn number(element: &str, raw: u32) -> i64 {
    match element {
        "i32" => i64::from(raw as i32),
        "i16" => i64::from(raw as i16),
        "i8" => i64::from(raw as i8),
        "u16" => i64::from(raw as u16),
        "u8" => i64::from(raw as u8),
        _ => i64::from(raw),
    }
}

/// What a conversion of an integer gives.
fn converted(value: i64, target: &str) -> u32 {
    let clamp = |low: i64, high: i64, mask: u32| value.clamp(low, high) as u32 & mask;
    match target {
        "fp32" => (value as f32).to_bits(),
        "bf16" => common::lanes::to_bf16(value as f32),
        "int32" => clamp(i32::MIN.into(), i32::MAX.into(), u32::MAX),
        "uint32" => clamp(0, u32::MAX.into(), u32::MAX),
        "int16" => clamp(i16::MIN.into(), i16::MAX.into(), 0xFFFF),
        "uint16" => clamp(0, u16::MAX.into(), 0xFFFF),
        "int8" => clamp(i8::MIN.into(), i8::MAX.into(), 0xFF),
        _ => clamp(0, u8::MAX.into(), 0xFF),
    }
}

fn bytes(element: &str) -> usize {
    match element {
        "fp32" | "int32" | "uint32" | "i32" | "u32" => 4,
        "bf16" | "int16" | "uint16" | "i16" | "u16" => 2,
        _ => 1,
    }
}

fn input(seed: u64) -> [Register; 6] {
    registers(&mut Numbers(seed))
}

#[test]
fn a_conversion_to_wider_lanes_takes_the_first_narrow_lane_of_each() {
    let input = input(3);
    for (from, to) in [
        ("i16", "int32"),
        ("i16", "uint32"),
        ("i16", "fp32"),
        ("u16", "int32"),
        ("i8", "int32"),
        ("i8", "fp32"),
        ("i8", "int16"),
        ("i8", "uint16"),
        ("u8", "fp32"),
        ("u8", "uint16"),
    ] {
        let result = vector(&format!("nop; nop; convert.{from} V4, V0, {to}, lane_sel=0, rhne; nop"), &input, 0)[0];
        let ratio = bytes(to) / bytes(from);
        for index in 0..256 / bytes(to) {
            let raw = lane(&input[0], bytes(from), index * ratio);
            assert_eq!(lane(&result, bytes(to), index), converted(number(from, raw), to), "{from} {to} {raw:#x}");
        }
    }
}

#[test]
fn a_conversion_to_narrower_lanes_fills_one_part_of_each_and_saturates() {
    let input = input(4);
    for (from, to) in [("i32", "int16"), ("i32", "int8"), ("u32", "uint8"), ("i16", "int8"), ("i16", "uint8")] {
        let parts = bytes(from) / bytes(to);
        for part in 0..parts {
            let source = format!("nop; nop; convert.{from} V4, V0, {to}, lane_sel={part}, rhne; nop");
            let result = vector(&source, &input, 0)[0];
            for index in 0..256 / bytes(to) {
                let raw = lane(&input[0], bytes(from), index / parts);
                let right = if index % parts == part {
                    converted(number(from, raw), to)
                } else {
                    lane(&input[4], bytes(to), index)
                };
                assert_eq!(lane(&result, bytes(to), index), right, "{from} {to} part {part} {raw:#x}");
            }
        }
    }
}

#[test]
fn a_conversion_of_the_same_width_stays_in_its_lane() {
    let input = input(5);
    for (from, to) in
        [("i16", "uint16"), ("i16", "bf16"), ("u16", "bf16"), ("i8", "uint8"), ("u8", "int8"), ("u16", "int16")]
    {
        let result = vector(&format!("nop; nop; convert.{from} V4, V0, {to}, lane_sel=0, rhne; nop"), &input, 0)[0];
        for index in 0..256 / bytes(from) {
            let raw = lane(&input[0], bytes(from), index);
            assert_eq!(lane(&result, bytes(to), index), converted(number(from, raw), to), "{from} {to} {raw:#x}");
        }
    }
    let result = vector("nop; nop; convert.bf16 V4, V0, int16, rz; nop", &input, 0)[0];
    for index in 0..128 {
        let raw = lane(&input[0], 2, index);
        // The cast truncates, saturates and makes 0 of NaN.
        let right = f32::from_bits(raw << 16) as i16;
        assert_eq!(lane(&result, 2, index), u32::from(right as u16), "{raw:#x}");
    }
}

#[test]
fn fixed_point_conversions_without_a_shift_saturate_into_their_part() {
    let input = input(6);
    for (operation, from, to, flag) in [
        ("convert_int32", "i32", "int16", "to_16, "),
        ("convert_int32", "i32", "int8", ""),
        ("convert_uint32", "u32", "uint16", "to_16, "),
        ("convert_uint32", "u32", "uint8", ""),
        ("convert_int16", "i16", "int8", ""),
        ("convert_uint16", "u16", "uint8", ""),
    ] {
        let parts = bytes(from) / bytes(to);
        for part in 0..parts {
            let source = format!("nop; nop; {operation} V4, V0, 0, lane_sel={part}, {flag}rhne; nop");
            let result = vector(&source, &input, 0)[0];
            for index in 0..256 / bytes(to) {
                let raw = lane(&input[0], bytes(from), index / parts);
                let right = if index % parts == part {
                    converted(number(from, raw), to)
                } else {
                    lane(&input[4], bytes(to), index)
                };
                assert_eq!(lane(&result, bytes(to), index), right, "{operation} part {part} {raw:#x}");
            }
        }
    }
}

/// Sixteen-bit elements in order through group moves, UNPACK and CONVERT into two registers of 32-bit elements in order: ties
/// together which group the enables mean, that MOV_GROUP swaps, and which lanes a widening conversion reads.
#[test]
fn group_moves_unpack_and_convert_keep_elements_in_order() {
    let input = input(7);
    let source = "
        nop; nop; mov_g V6, V0, g_en=3, dg_en=15, 0xffffffff; nop
        nop; nop; mov_dg.all V7, V0, sdg0=0, sdg1=2, sdg2=1, sdg3=3, weg0=3, weg1=2, weg2=1, weg3=3, 0xffffffff; nop
        nop; nop; mov_dg.all V7, V6, sdg0=2, sdg1=0, sdg2=3, sdg3=1, weg0=2, weg1=1, weg2=2, weg3=1, 0xffffffff; nop
        nop; nop; unpack.i16 V8, V7, group_0, stride_2, group_half_0; nop
        nop; nop; unpack.i16 V9, V7, group_1, stride_2, group_half_0; nop
        nop; nop; convert.i16 V4, V8, int32, lane_sel=0, rhne; nop
        nop; nop; convert.i16 V5, V9, int32, lane_sel=0, rhne; nop";
    let result = vector(source, &input, 0);
    for index in 0..128 {
        let right = lane(&input[0], 2, index) as u16 as i16;
        assert_eq!(lane(&result[index / 64], 4, index % 64) as i32, i32::from(right), "element {index}");
    }
}

#[test]
fn special_results_replace_the_lanes_whose_classes_decide() {
    let input = input(8);
    for (element, width) in [("f32", 4), ("bf16", 2)] {
        let source = format!(
            "nop; nop; fclass.{element} V6, V0; nop\nnop; nop; calc_fp_special.{element} func=recip V4, V6, V6; nop"
        );
        let result = vector(&source, &input, 0)[0];
        let mut replaced = 0;
        for index in 0..256 / width {
            let raw = lane(&input[0], width, index);
            let x = if width == 4 { f32::from_bits(raw) } else { f32::from_bits(raw << 16) };
            let old = lane(&input[4], width, index);
            let decided = x.is_nan() || x == 0.0 || x.is_infinite();
            replaced += u32::from(decided);
            let right = common::lanes::canonical(1.0 / x) >> (32 - 8 * width);
            assert_eq!(lane(&result, width, index), if decided { right } else { old }, "{element} {raw:#x}");
        }
        assert!(replaced > 3);
    }
    let scalar = |x: u32| common::lanes::scalar("calc_fp_special.f32 func=sqrt S2, S0, S1", x, 0, 7, 0);
    assert_eq!([scalar(1 << 1), scalar(1 << 6), scalar(1 << 7)], [0x7FC0_0000, 7, 0x7F80_0000]);
}
