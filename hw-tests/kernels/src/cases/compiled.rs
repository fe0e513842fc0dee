//! The ten compiled kernels, each with partial last vectors; formulas and tolerances from the README beside the objects.

use super::{Case, Data, Numbers, Tolerance, points};
use crate::compiled::{
    ADD_F32, ADD_I32, AXPB_F32, CAST_F32_TO_BF16, FOLD_LOCAL_F32, LEAKY_RELU_F32, MAX_ROWS_F32, MUL_BF16,
    POLYNOMIAL_F32, RECIP_NEWTON_F32,
};
use crate::kernel::{Kernel, KernelError};
use crate::tensor::Element::{self, Bf16, F32, I32};

/// All ten, with the data of a seed.
///
/// # Errors
/// An object cannot be loaded.
pub fn all(seed: u64) -> Result<Vec<Case>, KernelError> {
    let mut numbers = Numbers::new(seed);
    [
        add_f32,
        add_i32,
        |numbers: &mut Numbers| axpb_f32(numbers, &[1000, 2]),
        cast_f32_to_bf16,
        fold_local_f32,
        leaky_relu_f32,
        max_rows_f32,
        mul_bf16,
        polynomial_f32,
        recip_newton_f32,
    ]
    .into_iter()
    .map(|case| case(&mut numbers))
    .collect()
}

/// The bf16 nearest to a float, half to even, done on the bits. Not for NaN.
#[must_use]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((u64::from(bits) + 0x7FFF + u64::from(bits >> 16 & 1)) >> 16) as u16
}

fn bits(values: &[f32]) -> impl Iterator<Item = u32> + '_ {
    values.iter().map(|value| value.to_bits())
}

/// A case whose index space follows from the output, a vector of `lanes` elements per point.
fn case(
    object: &[u8],
    inputs: Vec<Data>,
    output: (Element, &[u32], Vec<u32>),
    scalars: Vec<u32>,
    lanes: u32,
) -> Result<Case, KernelError> {
    let (element, sizes, elements) = output;
    let mut space = sizes.to_vec();
    if let Some(first) = space.first_mut() {
        *first = points(*first, lanes);
    }
    Ok(Case {
        kernel: Kernel::from_object("kernel", object)?,
        inputs,
        output: Data::dense(element, sizes, elements),
        scalars,
        splits: (0..space.len()).collect(),
        space,
        tolerance: Tolerance::Exact,
    })
}

fn add_f32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let sizes = [100, 3, 2, 2, 3];
    let (a, b) = (numbers.floats(3600), numbers.floats(3600));
    let sum = a.iter().zip(&b).map(|(a, b)| (a + b).to_bits()).collect();
    let inputs = vec![Data::dense(F32, &sizes, bits(&a)), Data::dense(F32, &sizes, bits(&b))];
    case(ADD_F32, inputs, (F32, &sizes, sum), vec![], 64)
}

fn add_i32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let sizes = [70, 5];
    let (a, b) = (numbers.words(350), numbers.words(350));
    let sum = a.iter().zip(&b).map(|(a, b)| a.wrapping_add(*b)).collect();
    let inputs = vec![Data::dense(I32, &sizes, a), Data::dense(I32, &sizes, b)];
    case(ADD_I32, inputs, (I32, &sizes, sum), vec![], 64)
}

/// `axpb_f32` on a tensor of two dimensions.
///
/// # Errors
/// The object cannot be loaded.
pub fn axpb_f32(numbers: &mut Numbers, sizes: &[u32; 2]) -> Result<Case, KernelError> {
    let count = sizes[0] as usize * sizes[1] as usize;
    let (x, scale, offset) = (numbers.floats(count), numbers.float(), numbers.float());
    let result = x.iter().map(|x| x.mul_add(scale, offset).to_bits()).collect();
    let scalars = vec![scale.to_bits(), offset.to_bits()];
    case(AXPB_F32, vec![Data::dense(F32, sizes, bits(&x))], (F32, sizes, result), scalars, 64)
}

fn cast_f32_to_bf16(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let sizes = [300, 3];
    let mut x = numbers.floats(900);
    let ties = [0x3F80_8000, 0x3F81_8000, 0x7F7F_FFFF, 0x8001, 0xFF80_0000];
    for (to, from) in x.iter_mut().zip(ties) {
        *to = f32::from_bits(from);
    }
    let result = x.iter().map(|x| to_bf16(*x).into()).collect();
    case(CAST_F32_TO_BF16, vec![Data::dense(F32, &sizes, bits(&x))], (Bf16, &sizes, result), vec![], 128)
}

fn fold_local_f32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let x = numbers.floats(1200);
    let result = bits(x.chunks(150).rev().collect::<Vec<_>>().concat().as_slice()).collect();
    let mut case =
        case(FOLD_LOCAL_F32, vec![Data::dense(F32, &[150, 8], bits(&x))], (F32, &[150, 8], result), vec![], 64)?;
    // The kernel walks dimension 1 by itself.
    (case.space, case.splits) = (vec![points(150, 64)], vec![0]);
    Ok(case)
}

fn leaky_relu_f32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let sizes = [90, 4];
    let mut x = numbers.floats(360);
    x[..4].copy_from_slice(&[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY]);
    let slope = 0.01f32;
    let result = x.iter().map(|&x| if x > 0.0 { x } else { x * slope }.to_bits()).collect();
    let inputs = vec![Data::dense(F32, &sizes, bits(&x))];
    case(LEAKY_RELU_F32, inputs, (F32, &sizes, result), vec![slope.to_bits()], 64)
}

fn max_rows_f32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let x = numbers.floats(1400);
    let largest = |column| x.iter().skip(column).step_by(200).fold(f32::NEG_INFINITY, |a, b| a.max(*b)).to_bits();
    let result = (0..200).map(largest).collect();
    case(MAX_ROWS_F32, vec![Data::dense(F32, &[200, 7], bits(&x))], (F32, &[200], result), vec![7], 64)
}

fn mul_bf16(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let sizes = [200, 3];
    let mut halves = || numbers.floats(600).into_iter().map(|value| to_bf16(value).into()).collect::<Vec<u32>>();
    let (a, b) = (halves(), halves());
    let wide = |half: u32| f32::from_bits(half << 16);
    let result = a.iter().zip(&b).map(|(&a, &b)| to_bf16(wide(a) * wide(b)).into()).collect();
    let inputs = vec![Data::dense(Bf16, &sizes, a), Data::dense(Bf16, &sizes, b)];
    case(MUL_BF16, inputs, (Bf16, &sizes, result), vec![], 128)
}

fn polynomial_f32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let sizes = [140, 2];
    let (x, c) = (numbers.floats(280), numbers.floats(4));
    let horner = |x: f32| x.mul_add(x.mul_add(x.mul_add(c[3], c[2]), c[1]), c[0]);
    let result = x.iter().map(|&x| horner(x).to_bits()).collect();
    let inputs = vec![Data::dense(F32, &sizes, bits(&x)), Data::dense(F32, &[4], bits(&c))];
    case(POLYNOMIAL_F32, inputs, (F32, &sizes, result), vec![], 64)
}

fn recip_newton_f32(numbers: &mut Numbers) -> Result<Case, KernelError> {
    let x = numbers.floats(333);
    let result = x.iter().map(|&x| (1.0 / x).to_bits()).collect();
    let mut case = case(RECIP_NEWTON_F32, vec![Data::dense(F32, &[333], bits(&x))], (F32, &[333], result), vec![], 64)?;
    case.tolerance = Tolerance::Relative(2.5e-7, 0.0);
    Ok(case)
}
