//! Kernels with data, and the results that the host's own arithmetic gives.
//!
//! For: the same checks in the simulator alone and through a driver. A case owns the contents of its tensors and how exactly the
//! result must be met; it does not know where the memory is. Everything depends on the seed alone.

pub mod built;
pub mod compiled;
mod numbers;

use std::fmt;

pub use numbers::Numbers;

use crate::dispatch::{Dispatch, DispatchError};
use crate::kernel::Kernel;
use crate::tensor::{Element, Tensor};

/// What memory of an output holds before: a store that is missing or out of place shows.
pub const POISON: u8 = 0xAB;

/// How close a result must come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Every bit.
    Exact,
    /// |found - right| <= this * |right| + this * the second number.
    Relative(f64, f64),
}

/// A tensor and what its memory holds.
#[derive(Clone, Debug)]
pub struct Data {
    /// Element type, sizes and strides; the address is 0.
    pub shape: Tensor,
    /// The bytes from the first to behind the last element. Of an output: the right ones, with [`POISON`] between the elements.
    pub bytes: Vec<u8>,
}

/// A run of a kernel whose result is known.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel.
    pub kernel: Kernel,
    /// Tensors 0 and on.
    pub inputs: Vec<Data>,
    /// The last tensor.
    pub output: Data,
    /// Scalar parameters.
    pub scalars: Vec<u32>,
    /// Points of the index space.
    pub space: Vec<u32>,
    /// Dimensions along which the index space may be split.
    pub splits: Vec<usize>,
    /// How close the result must come.
    pub tolerance: Tolerance,
}

/// An element that is not right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wrong {
    /// Byte offset in the output.
    pub offset: usize,
    /// Bits of the element or byte found.
    pub found: u32,
    /// The right ones.
    pub right: u32,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, found, right } = self;
        write!(formatter, "the output at byte {offset:#x} is {found:#x} instead of {right:#x}")
    }
}

impl Data {
    /// A tensor with elements in the order of their coordinates, the innermost dimension first; only the low bits of each count.
    #[must_use]
    pub fn new(shape: Tensor, elements: impl IntoIterator<Item = u32>) -> Self {
        let mut bytes = vec![POISON; shape.extent()];
        let size = shape.element.bytes();
        for (offset, element) in offsets(&shape).zip(elements) {
            if let Some(target) = bytes.get_mut(offset..offset + size) {
                target.copy_from_slice(&element.to_le_bytes()[..size]);
            }
        }
        Self { shape, bytes }
    }

    /// A dense one.
    #[must_use]
    pub fn dense(element: Element, sizes: &[u32], elements: impl IntoIterator<Item = u32>) -> Self {
        Self::new(Tensor::dense(0, element, sizes), elements)
    }
}

impl Case {
    /// The run with its tensors at these addresses, the output last, split over `engines` along `dimension`.
    ///
    /// # Errors
    /// What [`Dispatch`] refuses.
    pub fn dispatch(&self, addresses: &[u64], dimension: usize, engines: &[u8]) -> Result<Dispatch<'_>, DispatchError> {
        let mut dispatch = Dispatch::new(&self.kernel);
        for (data, address) in self.inputs.iter().chain([&self.output]).zip(addresses) {
            dispatch = dispatch.tensor(Tensor { address: *address, ..data.shape.clone() });
        }
        dispatch = self.scalars.iter().fold(dispatch, |dispatch, scalar| dispatch.scalar(*scalar));
        dispatch.space(&self.space)?.over(dimension, engines)
    }

    /// Compares the memory of the output, gaps included.
    ///
    /// # Errors
    /// The first element or byte that is not right.
    pub fn check(&self, found: &[u8]) -> Result<(), Wrong> {
        let right = &self.output.bytes;
        if found == right {
            return Ok(());
        }
        let size = self.output.shape.element.bytes();
        let element = |bytes: &[u8], offset: usize| {
            let mut word = [0; 4];
            let source = bytes.get(offset..offset + size).unwrap_or_default();
            word[..source.len()].copy_from_slice(source);
            u32::from_le_bytes(word)
        };
        let mut gaps = found.to_vec();
        for offset in offsets(&self.output.shape) {
            let (is, should) = (element(found, offset), element(right, offset));
            if !self.tolerance.accepts(self.output.shape.element, is, should) {
                return Err(Wrong { offset, found: is, right: should });
            }
            if let (Some(target), Some(source)) =
                (gaps.get_mut(offset..offset + size), right.get(offset..offset + size))
            {
                target.copy_from_slice(source);
            }
        }
        match gaps.iter().zip(right).position(|(is, should)| is != should) {
            Some(offset) => Err(Wrong { offset, found: u32::from(found[offset]), right: u32::from(right[offset]) }),
            None => Ok(()),
        }
    }
}

impl Tolerance {
    fn accepts(self, element: Element, found: u32, right: u32) -> bool {
        let value = |bits: u32| match element {
            Element::F32 => Some(f64::from(f32::from_bits(bits))),
            Element::Bf16 => Some(f64::from(f32::from_bits(bits << 16))),
            _ => None,
        };
        match (self, value(found), value(right)) {
            _ if found == right => true,
            (Self::Relative(relative, absolute), Some(found), Some(right)) => {
                found.is_nan() && right.is_nan()
                    || right.is_finite() && (found - right).abs() <= relative * right.abs() + absolute
            }
            _ => false,
        }
    }
}

/// Byte offsets of the elements, the innermost dimension first.
pub fn offsets(shape: &Tensor) -> impl Iterator<Item = usize> + '_ {
    let size = shape.element.bytes();
    (0..shape.elements()).map(move |index| {
        let mut rest = index;
        let mut at = 0;
        for (extent, stride) in shape.sizes.iter().zip(&shape.strides) {
            at += rest % *extent as usize * *stride as usize;
            rest /= *extent as usize;
        }
        at * size
    })
}

/// Points along a dimension of `elements` when one point covers `per_point`.
#[must_use]
pub const fn points(elements: u32, per_point: u32) -> u32 {
    elements.div_ceil(per_point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_placed_by_strides_and_gaps_count() {
        let shape = Tensor::dense(0, Element::U16, &[2, 2]).with_strides(&[2, 5]);
        let data = Data::new(shape, [1, 2, 3, 0x1_0004]);
        assert_eq!(
            data.bytes,
            [1, 0, POISON, POISON, 2, 0, POISON, POISON, POISON, POISON, 3, 0, POISON, POISON, 4, 0]
        );
        let case = Case {
            kernel: Kernel::from_code("x", vec![]),
            inputs: vec![],
            output: data.clone(),
            scalars: vec![],
            space: vec![1],
            splits: vec![0],
            tolerance: Tolerance::Exact,
        };
        assert_eq!(case.check(&data.bytes), Ok(()));
        let mut other = data.bytes.clone();
        other[8] = 0;
        assert_eq!(case.check(&other), Err(Wrong { offset: 8, found: 0, right: POISON.into() }));
        other[4] = 9;
        assert_eq!(case.check(&other), Err(Wrong { offset: 4, found: 9, right: 2 }));
    }

    #[test]
    fn a_tolerance_is_relative_and_takes_nan_for_nan() {
        let close = Tolerance::Relative(1e-6, 0.0);
        let accepts = |found: f32, right: f32| close.accepts(Element::F32, found.to_bits(), right.to_bits());
        assert!(accepts(1.000_000_8, 1.0) && !accepts(1.000_002, 1.0));
        assert!(accepts(f32::NAN, -f32::NAN) && !accepts(f32::NAN, 1.0) && !accepts(0.0, 1.0));
        assert!(accepts(f32::INFINITY, f32::INFINITY) && !accepts(f32::MAX, f32::INFINITY));
        assert!(Tolerance::Relative(0.01, 0.0).accepts(Element::Bf16, 0x3F81, 0x3F80));
        assert!(!close.accepts(Element::I32, 1, 2));
    }
}
