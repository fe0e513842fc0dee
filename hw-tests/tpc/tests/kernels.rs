//! The ten compiled kernels of `data/kernels` (formulas and examples: the README there), each against the host's own arithmetic, with
//! partial last vectors and several splits of the index space; and the worked examples with their bundle counts.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use common::{BF16, Bench, FP32, INT32, Numbers, half_bytes, word_bytes};
use coxswain_tpc::kernel_text;

macro_rules! kernel {
    ($name:literal) => {
        kernel_text(include_bytes!(concat!("data/kernels/", $name, ".o"))).unwrap()
    };
}

fn floats(numbers: &mut Numbers, count: usize) -> Vec<f32> {
    (0..count).map(|_| numbers.float()).collect()
}

fn float_bytes(values: &[f32]) -> Vec<u8> {
    word_bytes(values.iter().map(|value| value.to_bits()))
}

fn points(elements: usize, per_point: usize) -> i32 {
    elements.div_ceil(per_point) as i32
}

/// Half to even, done on the bits.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    assert!(!value.is_nan());
    ((u64::from(bits) + 0x7FFF + u64::from(bits >> 16 & 1)) >> 16) as u16
}

#[test]
fn add_f32_adds_over_five_dimensions() {
    let sizes = [100, 3, 2, 2, 3];
    let count = sizes.iter().product();
    let mut numbers = Numbers(1);
    let (a, b) = (floats(&mut numbers, count), floats(&mut numbers, count));
    for (split, engines) in [(0, 1), (0, 3), (1, 2), (4, 8)] {
        let mut bench = Bench::new(kernel!("add_f32"));
        bench.tensor(FP32, &sizes, &float_bytes(&a)).tensor(FP32, &sizes, &float_bytes(&b)).output(FP32, &sizes);
        bench.run([points(100, 64), 3, 2, 2, 3], split, engines);
        let expected: Vec<u32> = a.iter().zip(&b).map(|(a, b)| (a + b).to_bits()).collect();
        assert_eq!(bench.words(2), expected, "{engines} engines along {split}");
    }
}

#[test]
fn add_i32_wraps() {
    let sizes = [70, 5];
    let mut numbers = Numbers(2);
    let mut pattern = || (0..350).map(|_| numbers.pattern()).collect::<Vec<_>>();
    let (a, b) = (pattern(), pattern());
    for engines in [1, 8] {
        let mut bench = Bench::new(kernel!("add_i32"));
        bench.tensor(INT32, &sizes, &word_bytes(a.clone())).tensor(INT32, &sizes, &word_bytes(b.clone()));
        bench.output(INT32, &sizes).run([points(70, 64), 5, 1, 1, 1], 1, engines);
        let expected: Vec<u32> = a.iter().zip(&b).map(|(a, b)| a.wrapping_add(*b)).collect();
        assert_eq!(bench.words(2), expected);
    }
}

#[test]
fn axpb_f32_scales_and_shifts_with_one_rounding() {
    let sizes = [130, 2];
    let x = floats(&mut Numbers(3), 260);
    let (scale, offset) = (1.7f32, -0.3f32);
    let mut bench = Bench::new(kernel!("axpb_f32"));
    bench.tensor(FP32, &sizes, &float_bytes(&x)).output(FP32, &sizes);
    bench.launch.set_argument(0, scale.to_bits());
    bench.launch.set_argument(1, offset.to_bits());
    bench.run([points(130, 64), 2, 1, 1, 1], 0, 3);
    let expected: Vec<u32> = x.iter().map(|x| x.mul_add(scale, offset).to_bits()).collect();
    assert_eq!(bench.words(1), expected);
}

#[test]
fn cast_f32_to_bf16_rounds_half_to_even_and_packs() {
    let sizes = [300, 3];
    let mut input = floats(&mut Numbers(4), 900);
    input[0] = f32::from_bits(0x3F80_8000);
    input[1] = f32::from_bits(0x3F81_8000);
    input[2] = f32::MAX;
    input[3] = f32::from_bits(0x0000_8001);
    for engines in [1, 2, 5] {
        let mut bench = Bench::new(kernel!("cast_f32_to_bf16"));
        bench.tensor(FP32, &sizes, &float_bytes(&input)).output(BF16, &sizes);
        bench.run([points(300, 128), 3, 1, 1, 1], 0, engines);
        let expected: Vec<u16> = input.iter().map(|&value| to_bf16(value)).collect();
        assert_eq!(bench.halves(1), expected);
    }
}

#[test]
fn fold_local_f32_reverses_the_rows_through_local_memory() {
    let sizes = [150, 8];
    let x = floats(&mut Numbers(5), 1200);
    let mut bench = Bench::new(kernel!("fold_local_f32"));
    bench.tensor(FP32, &sizes, &float_bytes(&x)).output(FP32, &sizes);
    bench.run([points(150, 64), 1, 1, 1, 1], 0, 2);
    let expected: Vec<u32> = (0..1200).map(|at| x[(7 - at / 150) * 150 + at % 150].to_bits()).collect();
    assert_eq!(bench.words(1), expected);
}

#[test]
fn leaky_relu_f32_scales_negative_elements_only() {
    let sizes = [90, 4];
    let mut x = floats(&mut Numbers(6), 360);
    x[..4].copy_from_slice(&[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY]);
    let slope = 0.01f32;
    let mut bench = Bench::new(kernel!("leaky_relu_f32"));
    bench.tensor(FP32, &sizes, &float_bytes(&x)).output(FP32, &sizes);
    bench.launch.set_argument(0, slope.to_bits());
    bench.run([points(90, 64), 4, 1, 1, 1], 1, 3);
    let expected: Vec<u32> = x.iter().map(|&x| if x > 0.0 { x } else { x * slope }.to_bits()).collect();
    assert_eq!(bench.words(1), expected);
}

#[test]
fn max_rows_f32_keeps_the_largest_of_each_column() {
    for rows in [1, 2, 7] {
        let x = floats(&mut Numbers(7), 200 * rows);
        let mut bench = Bench::new(kernel!("max_rows_f32"));
        bench.tensor(FP32, &[200, rows], &float_bytes(&x)).output(FP32, &[200]);
        bench.launch.set_argument(0, rows as u32);
        bench.run([points(200, 64), 1, 1, 1, 1], 0, 3);
        let largest = |column| (0..rows).map(|row| x[row * 200 + column]).fold(f32::NEG_INFINITY, f32::max);
        let expected: Vec<u32> = (0..200).map(|column| largest(column).to_bits()).collect();
        assert_eq!(bench.words(1), expected, "{rows} rows");
    }
}

#[test]
fn mul_bf16_multiplies_and_rounds() {
    let sizes = [200, 3];
    let mut numbers = Numbers(8);
    let mut halves = || floats(&mut numbers, 600).into_iter().map(to_bf16).collect::<Vec<u16>>();
    let (a, b) = (halves(), halves());
    let mut bench = Bench::new(kernel!("mul_bf16"));
    bench.tensor(BF16, &sizes, &half_bytes(a.clone())).tensor(BF16, &sizes, &half_bytes(b.clone()));
    bench.output(BF16, &sizes).run([points(200, 128), 3, 1, 1, 1], 1, 2);
    let wide = |half: u16| f32::from_bits(u32::from(half) << 16);
    let expected: Vec<u16> = a.iter().zip(&b).map(|(&a, &b)| to_bf16(wide(a) * wide(b))).collect();
    assert_eq!(bench.halves(2), expected);
}

#[test]
fn polynomial_f32_reads_its_coefficients_from_a_tensor() {
    let sizes = [140, 2];
    let x = floats(&mut Numbers(9), 280);
    let c = [0.5f32, -1.25, 3.0, 0.007];
    let mut bench = Bench::new(kernel!("polynomial_f32"));
    bench.tensor(FP32, &sizes, &float_bytes(&x)).tensor(FP32, &[4], &float_bytes(&c)).output(FP32, &sizes);
    bench.run([points(140, 64), 2, 1, 1, 1], 0, 3);
    let horner = |x: f32| x.mul_add(x.mul_add(x.mul_add(c[3], c[2]), c[1]), c[0]);
    let expected: Vec<u32> = x.iter().map(|&x| horner(x).to_bits()).collect();
    assert_eq!(bench.words(2), expected);
}

#[test]
fn recip_newton_f32_comes_close_to_the_reciprocal() {
    let x = floats(&mut Numbers(10), 333);
    let mut bench = Bench::new(kernel!("recip_newton_f32"));
    bench.tensor(FP32, &[333], &float_bytes(&x)).output(FP32, &[333]);
    bench.run([points(333, 64), 1, 1, 1, 1], 0, 4);
    for (word, x) in bench.words(1).into_iter().zip(x) {
        let exact = 1.0 / f64::from(x);
        let error = (f64::from(f32::from_bits(word)) / exact - 1.0).abs();
        assert!(error < 2.5e-7, "1 / {x}: {error:e}");
    }
}

#[test]
fn an_engine_without_index_space_stores_nothing() {
    let mut bench = Bench::new(kernel!("add_i32"));
    bench.tensor(INT32, &[64], &[1; 256]).tensor(INT32, &[64], &[1; 256]).output(INT32, &[64]);
    bench.run([0, 1, 1, 1, 1], 0, 1);
    assert!(bench.bytes(2).iter().all(|&byte| byte == common::POISON));
}

/// One engine, index space 1 everywhere: inputs, scalars, shape of the output, result, bundles.
struct Example {
    code: &'static [u8],
    inputs: Vec<(u32, Vec<usize>, Vec<u8>)>,
    scalars: Vec<u32>,
    output: (u32, Vec<usize>),
    result: Vec<u8>,
    bundles: u64,
}

fn check(example: Example) {
    let mut bench = Bench::new(example.code);
    for (data_type, sizes, bytes) in &example.inputs {
        bench.tensor(*data_type, sizes, bytes);
    }
    bench.output(example.output.0, &example.output.1);
    for (index, value) in example.scalars.into_iter().enumerate() {
        bench.launch.set_argument(index, value);
    }
    bench.run([1; 5], 0, 1);
    assert_eq!(bench.bytes(example.inputs.len()), example.result);
    assert_eq!(bench.retired, [example.bundles]);
}

fn row(data_type: u32, values: &[f32]) -> (u32, Vec<usize>, Vec<u8>) {
    (data_type, vec![values.len()], float_bytes(values))
}

#[test]
fn the_worked_examples_give_their_bits_in_their_number_of_bundles() {
    let three = (FP32, vec![3]);
    check(Example {
        code: kernel!("add_f32"),
        inputs: vec![row(FP32, &[1.0, 2.5, -3.0]), row(FP32, &[10.0, 0.25, 3.0])],
        scalars: vec![],
        output: three.clone(),
        result: word_bytes([0x4130_0000, 0x4030_0000, 0]),
        bundles: 62,
    });
    check(Example {
        code: kernel!("add_i32"),
        inputs: vec![
            (INT32, vec![3], word_bytes([1, 0x7FFF_FFFF, 0xFFFF_FFFE])),
            (INT32, vec![3], word_bytes([2, 1, 5])),
        ],
        scalars: vec![],
        output: (INT32, vec![3]),
        result: word_bytes([3, 0x8000_0000, 3]),
        bundles: 37,
    });
    check(Example {
        code: kernel!("axpb_f32"),
        inputs: vec![row(FP32, &[1.0, -2.0, 0.5])],
        scalars: vec![2f32.to_bits(), 0.5f32.to_bits()],
        output: three.clone(),
        result: word_bytes([0x4020_0000, 0xC060_0000, 0x3FC0_0000]),
        bundles: 36,
    });
    check(Example {
        code: kernel!("cast_f32_to_bf16"),
        inputs: vec![(FP32, vec![3], word_bytes([0x3F80_8000, 0x3F81_8000, 0xC049_0FDB]))],
        scalars: vec![],
        output: (BF16, vec![3]),
        result: half_bytes([0x3F80, 0x3F82, 0xC049]),
        bundles: 40,
    });
    check(Example {
        code: kernel!("fold_local_f32"),
        inputs: vec![(FP32, vec![1, 8], float_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))],
        scalars: vec![],
        output: (FP32, vec![1, 8]),
        result: float_bytes(&[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
        bundles: 54,
    });
    check(Example {
        code: kernel!("leaky_relu_f32"),
        inputs: vec![row(FP32, &[4.0, -4.0, 0.0, -0.5])],
        scalars: vec![0.25f32.to_bits()],
        output: (FP32, vec![4]),
        result: word_bytes([0x4080_0000, 0xBF80_0000, 0, 0xBE00_0000]),
        bundles: 38,
    });
    check(Example {
        code: kernel!("max_rows_f32"),
        inputs: vec![(FP32, vec![2, 3], float_bytes(&[1.0, 5.0, -3.0, 4.0, 2.0, -7.0]))],
        scalars: vec![3],
        output: (FP32, vec![2]),
        result: float_bytes(&[2.0, 5.0]),
        bundles: 45,
    });
    check(Example {
        code: kernel!("mul_bf16"),
        inputs: vec![
            (BF16, vec![3], half_bytes([0x3FC0, 0xC000, 0x4049])),
            (BF16, vec![3], half_bytes([0x4000, 0x3F00, 0x4049])),
        ],
        scalars: vec![],
        output: (BF16, vec![3]),
        result: half_bytes([0x4040, 0xBF80, 0x411E]),
        bundles: 37,
    });
    check(Example {
        code: kernel!("polynomial_f32"),
        inputs: vec![row(FP32, &[0.0, 1.0, -2.0]), row(FP32, &[1.0, 2.0, 3.0, 4.0])],
        scalars: vec![],
        output: three,
        result: word_bytes([0x3F80_0000, 0x4120_0000, 0xC1B8_0000]),
        bundles: 56,
    });
    check(Example {
        code: kernel!("recip_newton_f32"),
        inputs: vec![row(FP32, &[1.0, 3.0, -8.0, 0.1])],
        scalars: vec![],
        output: (FP32, vec![4]),
        result: word_bytes([0x3F7F_FFFF, 0x3EAA_AAAB, 0xBDFF_FFFF, 0x4120_0000]),
        bundles: 83,
    });
}

#[test]
fn compiled_code_disassembles_to_a_text_that_assembles_to_the_same_code() {
    for (name, code) in [
        ("add_f32", kernel!("add_f32")),
        ("add_i32", kernel!("add_i32")),
        ("axpb_f32", kernel!("axpb_f32")),
        ("cast_f32_to_bf16", kernel!("cast_f32_to_bf16")),
        ("fold_local_f32", kernel!("fold_local_f32")),
        ("leaky_relu_f32", kernel!("leaky_relu_f32")),
        ("max_rows_f32", kernel!("max_rows_f32")),
        ("mul_bf16", kernel!("mul_bf16")),
        ("polynomial_f32", kernel!("polynomial_f32")),
        ("recip_newton_f32", kernel!("recip_newton_f32")),
    ] {
        let text = coxswain_tpc::disassemble(code).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = coxswain_tpc::assemble(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again, code, "{name}: {text}");
    }
}
