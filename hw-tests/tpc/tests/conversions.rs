//! Conversions between types and the parts of floats, against the host's own conversions.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::Numbers;
use common::lanes::{canonical, lane, registers, scalar, to_bf16, vector};

#[test]
fn conversions_round_as_they_are_told() {
    let f = f32::from_bits;
    type Integral = fn(f32) -> f32;
    let modes: [(&str, Integral); 5] = [
        ("rhne", f32::round_ties_even),
        ("rz", f32::trunc),
        ("ru", f32::ceil),
        ("rd", f32::floor),
        ("rhaz", f32::round),
    ];
    let mut input = registers(&mut Numbers(14));
    for (index, value) in
        [0.5f32, 1.5, 2.5, -0.5, -1.5, -2.5, 2147483648.0, -2147483648.0, 4294967296.0, 127.5].iter().enumerate()
    {
        input[0][4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (mode, integral) in modes {
        let integers = vector(
            &format!("nop; nop; convert.f32 V4, V0, int32, {mode}; nop\nnop; nop; nearbyint.f32 V5, V0, {mode}; nop"),
            &input,
            0,
        );
        for index in 0..64 {
            let a = f(lane(&input[0], 4, index));
            // The cast saturates and makes 0 of NaN, as the model chooses.
            assert_eq!(lane(&integers[0], 4, index) as i32, integral(a) as i32, "{a:e} {mode}");
            assert_eq!(lane(&integers[1], 4, index), canonical(integral(a)), "{a:e} {mode}");
            let single = scalar(&format!("convert.f32 S2, S0, int16, {mode}"), a.to_bits(), 0, 0, 0);
            assert_eq!(single as i32, i32::from(integral(a) as i16), "{a:e} {mode}");
            let unsigned = scalar(&format!("convert.f32 S2, S0, uint32, {mode}"), a.to_bits(), 0, 0, 0);
            assert_eq!(unsigned, integral(a) as u32);
        }
    }
    // Without a word the rounding register decides.
    assert_eq!(scalar("convert.f32 S2, S0, int32", 1.5f32.to_bits(), 0, 0, 1), 1);
    assert_eq!(scalar("convert.f32 S2, S0, int32", 1.5f32.to_bits(), 0, 0, 2), 2);
    for value in [0, 1, -1, 16_777_217, -16_777_219, i32::MAX, i32::MIN] {
        assert_eq!(scalar("convert.i32 S2, S0, fp32, rhne", value as u32, 0, 0, 0), (value as f32).to_bits());
        assert_eq!(scalar("convert.u32 S2, S0, fp32, rhne", value as u32, 0, 0, 0), (value as u32 as f32).to_bits());
    }
}

#[test]
fn conversions_between_widths_interleave_their_lanes() {
    let mut input = registers(&mut Numbers(15));
    // A pair of sources in D0.
    let result = vector("nop; nop; convert.f32 V4, D0, bf16, all_lanes, rhne; nop", &input, 0);
    for index in 0..128 {
        let source = f32::from_bits(lane(&input[index % 2], 4, index / 2));
        assert_eq!(lane(&result[0], 2, index), to_bf16(source), "{source:e}");
    }
    let predicated = "nop; nop; cmp_grt.i16 VP1, V2, 0; nop\nnop; nop; convert.bf16 D4, V0, fp32, rhne, !VP1; nop";
    let some = vector(predicated, &input, 0);
    let back = vector("nop; nop; convert.bf16 D4, V0, fp32, rhne; nop", &input, 0);
    for index in 0..128 {
        let wide = f32::from_bits(lane(&input[0], 2, index) << 16);
        assert_eq!(lane(&back[index % 2], 4, index / 2), canonical(wide));
        let kept = lane(&input[2], 2, index) as i16 > 0;
        let expected = if kept { lane(&input[4 + index % 2], 4, index / 2) } else { canonical(wide) };
        assert_eq!(lane(&some[index % 2], 4, index / 2), expected);
    }
    for (index, lane) in input[0].as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *lane = (index as f32 * 700.0 - 20_000.0).to_le_bytes();
    }
    for select in 0..2 {
        let source = format!(
            "nop; nop; convert.f32 V4, V0, int16, lane_sel={select}, rz; nop\nnop; nop; convert.f32 V5, V0, bf16, single_lane, lane_sel={select}, rhne; nop"
        );
        let one = vector(&source, &input, 0);
        for index in 0..128 {
            let value = f32::from_bits(lane(&input[0], 4, index / 2));
            let chosen = index % 2 == select;
            let (integer, float) = (u32::from(value as i16 as u16), to_bf16(value));
            assert_eq!(lane(&one[0], 2, index), if chosen { integer } else { lane(&input[4], 2, index) });
            assert_eq!(lane(&one[1], 2, index), if chosen { float } else { lane(&input[5], 2, index) });
        }
    }
}

#[test]
fn exponents_and_classes_are_read_from_the_bits() {
    for (bits, biased, class) in [
        (0xFF80_0000u32, 255, 0),
        (0xC000_0000, 128, 1),
        (0x8000_0001, 0, 2),
        (0x8000_0000, 0, 3),
        (0x0000_0000, 0, 4),
        (0x007F_FFFF, 0, 5),
        (0x3F80_0000, 127, 6),
        (0x7F80_0000, 255, 7),
        (0x7FA0_0000, 255, 8),
        (0x7FC0_0000, 255, 9),
    ] {
        assert_eq!(scalar("extract_exp.f32 biased S2, S0", bits, 0, 0, 0), biased, "{bits:#x}");
        assert_eq!(scalar("extract_exp.f32 S2, S0", bits, 0, 0, 0) as i32, biased as i32 - 127);
        assert_eq!(scalar("fclass.f32 S2, S0", bits, 0, 0, 0), 1 << class);
        assert_eq!(scalar("extract_exp.bf16 S2, S0", bits >> 16, 0, 0, 0) as i32, biased as i32 - 127);
        let input = [bits.to_le_bytes().repeat(64).try_into().unwrap(); 6];
        let result =
            vector("nop; nop; fclass.f32 V4, V0; nop\nnop; nop; extract_exp.bf16 biased V5, V0; nop", &input, 0);
        assert_eq!(lane(&result[0], 4, 63), 1 << class);
        assert_eq!(lane(&result[1], 2, 127), biased);
    }
}

#[test]
fn form_fp_num_joins_sign_exponent_and_mantissa() {
    let input = registers(&mut Numbers(16));
    for (flags, exponent, sign) in [
        ("", 0, 0),
        ("exp_add_bias", 127, 0),
        ("force_sign0", 0, 1),
        ("force_sign1", 0, 2),
        ("exp_is_num", 1000, 0),
        ("sign_lsb", 0, 3),
        ("exp_add_bias exp_is_num", 1127, 0),
    ] {
        let result = vector(&format!("nop; nop; form_fp_num.f32 {flags} V4, V0, V1, V2; nop"), &input, 0);
        let half = vector(&format!("nop; nop; form_fp_num.bf16 {flags} V4, V0, V1, V2; nop"), &input, 0);
        let expected = |a: u32, b: u32, c: u32, mantissa: u32| {
            let field = if exponent >= 1000 { a + exponent % 1000 } else { (a >> mantissa) + exponent } % 256;
            let sign = match sign {
                1 => 0,
                2 => 1,
                3 => b & 1,
                _ => b >> (mantissa + 8) & 1,
            };
            (sign << (mantissa + 8)) | (field << mantissa) | (c % (1 << mantissa))
        };
        for index in 0..128 {
            let l = |register: usize, width: usize| lane(&input[register], width, index);
            assert_eq!(lane(&half[0], 2, index), expected(l(0, 2), l(1, 2), l(2, 2), 7), "{flags}");
            if index < 64 && l(0, 4) < u32::MAX - 200 {
                assert_eq!(lane(&result[0], 4, index), expected(l(0, 4), l(1, 4), l(2, 4), 23), "{flags}");
            }
        }
    }
}
