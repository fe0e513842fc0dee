//! Our own kernels on tensors of any shape.
//!
//! Each function takes the shape and makes the data; the result is the host's. Results that the kernel reaches with other steps
//! than the host have a tolerance, and their data stays in the range that the kernel's source names.

use super::compiled::to_bf16;
use super::{Case, Data, Numbers, Tolerance, points};
use crate::built;
use crate::kernel::Kernel;
use crate::tensor::Element::{self, Bf16, F32, I32};
use crate::tensor::Tensor;

/// A kernel without name or code when there is none of that name: its case then fails.
fn kernel(name: &str) -> Kernel {
    built::kernel(name).unwrap_or_else(|| Kernel::from_code(name, Vec::new()))
}

/// A tensor of this shape whose elements lie apart by odd distances, or, at random, one behind the other.
#[must_use]
pub fn scattered(numbers: &mut Numbers, element: Element, sizes: &[u32]) -> Tensor {
    let mut next = 2 * numbers.below(3) + 1;
    let strides: Vec<u32> = sizes
        .iter()
        .map(|size| {
            let stride = next;
            next = (stride * size + numbers.below(8)) | 1;
            stride
        })
        .collect();
    Tensor::dense(0, element, sizes).with_strides(&strides)
}

/// Where the elements of a case lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One behind the other.
    Dense,
    /// Apart, with gaps that no kernel may touch.
    Scattered,
}

/// A case in the making.
struct Shape<'a> {
    numbers: &'a mut Numbers,
    layout: Layout,
    sizes: &'a [u32],
}

impl Shape<'_> {
    fn count(&self) -> usize {
        self.sizes.iter().map(|size| *size as usize).product()
    }

    fn tensor(&mut self, element: Element, sizes: &[u32]) -> Tensor {
        match self.layout {
            Layout::Dense => Tensor::dense(0, element, sizes),
            Layout::Scattered => scattered(self.numbers, element, sizes),
        }
    }

    fn data(&mut self, element: Element, elements: impl IntoIterator<Item = u32>) -> Data {
        let sizes = self.sizes.to_vec();
        Data::new(self.tensor(element, &sizes), elements)
    }

    /// A case with an output of the common shape, and `per_point` elements of dimension 0 for a point.
    fn elementwise(
        mut self,
        name: &str,
        inputs: Vec<Data>,
        output: (Element, Vec<u32>),
        scalars: Vec<u32>,
        per_point: u32,
    ) -> Case {
        let mut space = self.sizes.to_vec();
        if let Some(first) = space.first_mut() {
            *first = points(*first, per_point);
        }
        let output = self.data(output.0, output.1);
        let splits = (0..space.len()).collect();
        Case { kernel: kernel(name), inputs, output, scalars, space, splits, tolerance: Tolerance::Exact }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Values with zeros, infinities and NaN among them.
fn with_specials(numbers: &mut Numbers, count: usize) -> Vec<f32> {
    const SPECIAL: [f32; 6] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE];
    let mut values = numbers.floats(count);
    for value in &mut values {
        if numbers.below(8) == 0 {
            *value = SPECIAL[numbers.below(SPECIAL.len() as u32) as usize];
        }
    }
    values
}

/// What makes a case: random numbers, layout of the tensors, sizes of the common shape.
pub type Maker = fn(&mut Numbers, Layout, &[u32]) -> Case;

/// `add_f32`: 1 to 5 dimensions.
pub fn add_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let (a, b) = (shape.numbers.floats(shape.count()), shape.numbers.floats(shape.count()));
    let sum = a.iter().zip(&b).map(|(a, b)| (a + b).to_bits()).collect();
    let inputs = vec![shape.data(F32, bits(&a)), shape.data(F32, bits(&b))];
    shape.elementwise("add_f32", inputs, (F32, sum), vec![], 64)
}

/// `copy_5d_f32`: 1 to 5 dimensions.
pub fn copy_5d_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let words = shape.numbers.words(shape.count());
    let input = shape.data(I32, words.clone());
    shape.elementwise("copy_5d_f32", vec![input], (I32, words), vec![], 64)
}

/// `mac_f32`: 1 or 2 dimensions.
pub fn mac_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let mut floats = || shape.numbers.floats(sizes.iter().map(|size| *size as usize).product());
    let (a, b, c) = (floats(), floats(), floats());
    let result = a.iter().zip(&b).zip(&c).map(|((a, b), c)| a.mul_add(*b, *c).to_bits()).collect();
    let inputs = [a, b, c].iter().map(|values| shape.data(F32, bits(values))).collect();
    shape.elementwise("mac_f32", inputs, (F32, result), vec![], 64)
}

/// `relu_f32`: 1 or 2 dimensions.
pub fn relu_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let count = shape.count();
    let x = with_specials(shape.numbers, count);
    let result = x.iter().map(|&x| if x > 0.0 { x.to_bits() } else { 0 }).collect();
    let input = shape.data(F32, bits(&x));
    shape.elementwise("relu_f32", vec![input], (F32, result), vec![], 64)
}

/// `leaky_relu_f32`: 1 or 2 dimensions.
pub fn leaky_relu_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let count = shape.count();
    let x = with_specials(shape.numbers, count);
    let slope = 0.125f32;
    let result = x.iter().map(|&x| if x > 0.0 { x } else { x * slope }.to_bits()).collect();
    let input = shape.data(F32, bits(&x));
    let mut case = shape.elementwise("leaky_relu_f32", vec![input], (F32, result), vec![slope.to_bits()], 64);
    // Exact, but for the bits of NaN, which the host's own multiplication is free to choose.
    case.tolerance = Tolerance::Relative(0.0, 0.0);
    case
}

/// `div_f32`: 1 or 2 dimensions.
pub fn div_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let (mut a, b) = (shape.numbers.floats(shape.count()), shape.numbers.floats(shape.count()));
    for (index, value) in a.iter_mut().enumerate().filter(|(index, _)| index % 13 == 3) {
        *value = if index % 2 == 0 { 0.0 } else { -0.0 };
    }
    let result = a.iter().zip(&b).map(|(a, b)| (a / b).to_bits()).collect();
    let inputs = vec![shape.data(F32, bits(&a)), shape.data(F32, bits(&b))];
    let mut case = shape.elementwise("div_f32", inputs, (F32, result), vec![], 64);
    // One unit in the last place.
    case.tolerance = Tolerance::Relative(1.2e-7, 0.0);
    case
}

/// `cast_f32_bf16`: 1 or 2 dimensions.
pub fn cast_f32_bf16(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let mut x = shape.numbers.floats(shape.count());
    for value in x.iter_mut().step_by(3) {
        // Exactly between two results.
        *value = f32::from_bits(value.to_bits() & 0xFFFF_0000 | 0x8000);
    }
    let result = x.iter().map(|x| to_bf16(*x).into()).collect();
    let input = shape.data(F32, bits(&x));
    shape.elementwise("cast_f32_bf16", vec![input], (Bf16, result), vec![], 128)
}

/// `cast_bf16_f32`: 1 or 2 dimensions.
pub fn cast_bf16_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let mut shape = Shape { numbers, layout, sizes };
    let x: Vec<u32> = shape.numbers.floats(shape.count()).into_iter().map(|value| to_bf16(value).into()).collect();
    let result = x.iter().map(|half| half << 16).collect();
    let input = shape.data(Bf16, x);
    shape.elementwise("cast_bf16_f32", vec![input], (F32, result), vec![], 128)
}

/// A case of rows along dimension 0: sizes are elements of a row, and rows.
fn rows(
    mut shape: Shape<'_>,
    name: &str,
    x: &[f32],
    padding: f32,
    result: (Vec<u32>, Vec<f64>),
    tolerance: Tolerance,
) -> Case {
    let [length, count] = [0, 1].map(|dimension| shape.sizes.get(dimension).copied().unwrap_or(1));
    let input = shape.tensor(F32, &[length, count]).with_padding(padding.to_bits());
    let output = shape.tensor(F32, &result.0);
    Case {
        kernel: kernel(name),
        inputs: vec![Data::new(input, bits(x))],
        output: Data::new(output, result.1.iter().map(|value| (*value as f32).to_bits())),
        scalars: vec![length],
        space: vec![count],
        splits: vec![0],
        tolerance,
    }
}

/// `max_rows_f32`: sizes are elements of a row, and rows.
pub fn max_rows_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let shape = Shape { numbers, layout, sizes };
    let x = shape.numbers.floats(shape.count());
    let largest = x.chunks(sizes[0] as usize).map(|row| f64::from(row.iter().copied().fold(f32::MIN, f32::max)));
    let result = (vec![1, sizes.get(1).copied().unwrap_or(1)], largest.collect());
    rows(shape, "max_rows_f32", &x, f32::NEG_INFINITY, result, Tolerance::Exact)
}

/// `sum_rows_f32`: sizes are elements of a row, and rows. Of positive numbers, so that nothing cancels.
pub fn sum_rows_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let shape = Shape { numbers, layout, sizes };
    let x: Vec<f32> = shape.numbers.floats(shape.count()).into_iter().map(f32::abs).collect();
    let sums = x.chunks(sizes[0] as usize).map(|row| row.iter().copied().map(f64::from).sum());
    let result = (vec![1, sizes.get(1).copied().unwrap_or(1)], sums.collect());
    rows(shape, "sum_rows_f32", &x, 0.0, result, Tolerance::Relative(1e-6, 0.0))
}

/// `softmax_f32`: sizes are elements of a row, and rows.
pub fn softmax_f32(numbers: &mut Numbers, layout: Layout, sizes: &[u32]) -> Case {
    let shape = Shape { numbers, layout, sizes };
    let x: Vec<f32> =
        (0..shape.count()).map(|_| (shape.numbers.below(1 << 20) as f32 - 524_288.0) / 65_536.0).collect();
    let row = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = row.iter().map(|x| f64::from(x - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(move |power| power / sum)
    };
    let result = (sizes.to_vec(), x.chunks(sizes[0] as usize).flat_map(row).collect());
    rows(shape, "softmax_f32", &x, f32::NEG_INFINITY, result, Tolerance::Relative(2e-6, 1e-37))
}

/// The kernels that take tensors of one or two dimensions.
pub const FLAT: &[Maker] = &[
    mac_f32,
    relu_f32,
    leaky_relu_f32,
    div_f32,
    cast_f32_bf16,
    cast_bf16_f32,
    max_rows_f32,
    sum_rows_f32,
    softmax_f32,
];
/// The kernels that take one to five dimensions.
pub const DEEP: &[Maker] = &[add_f32, copy_5d_f32];

/// All kernels on tensors of some size, with the data of a seed.
#[must_use]
pub fn all(seed: u64) -> Vec<Case> {
    let mut numbers = Numbers::new(seed);
    let mut cases = Vec::new();
    for maker in FLAT {
        cases.push(maker(&mut numbers, Layout::Dense, &[1000, 9]));
        cases.push(maker(&mut numbers, Layout::Scattered, &[203, 11]));
    }
    for maker in DEEP {
        cases.push(maker(&mut numbers, Layout::Dense, &[500, 20]));
        cases.push(maker(&mut numbers, Layout::Scattered, &[67, 3, 2, 3, 9]));
    }
    cases
}
