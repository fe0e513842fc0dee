//! What a tensor parameter is bound to: an address, an element type, and a shape (`tpc.md` 10, 13.1).

use coxswain_tpc::sim::{self, DIMENSIONS};

/// Type of the elements; the discriminants are the codes of a tensor descriptor (`tpc.md` 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Signed bytes.
    I8 = 0,
    /// Signed 16-bit integers.
    I16 = 1,
    /// Signed 32-bit integers.
    I32 = 2,
    /// Bytes.
    U8 = 3,
    /// 16-bit integers.
    U16 = 4,
    /// 32-bit integers.
    U32 = 5,
    /// The upper halves of 32-bit floats.
    Bf16 = 6,
    /// 32-bit floats.
    F32 = 7,
}

impl Element {
    /// Bytes of an element: 1, 2 or 4.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
        }
    }

    /// Elements of a vector.
    #[must_use]
    pub const fn lanes(self) -> usize {
        sim::VECTOR_BYTES / self.bytes()
    }
}

/// A tensor in device memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Device address of the element with all coordinates 0.
    pub address: u64,
    /// Type of the elements.
    pub element: Element,
    /// Elements per dimension, the innermost first; 1 to 5 of them.
    pub sizes: Vec<u32>,
    /// Elements between neighbours of each dimension.
    pub strides: Vec<u32>,
    /// What loads give outside of the tensor, in the element's bits.
    pub padding: u32,
}

impl Tensor {
    /// A tensor whose elements lie one behind the other.
    #[must_use]
    pub fn dense(address: u64, element: Element, sizes: &[u32]) -> Self {
        Self { address, element, sizes: sizes.to_vec(), strides: dense_strides(sizes), padding: 0 }
    }

    /// The same with other distances.
    #[must_use]
    pub fn with_strides(mut self, strides: &[u32]) -> Self {
        self.strides = strides.to_vec();
        self
    }

    /// The same with another value outside.
    #[must_use]
    pub const fn with_padding(mut self, padding: u32) -> Self {
        self.padding = padding;
        self
    }

    /// Elements that it has.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.sizes.iter().map(|size| *size as usize).product()
    }

    /// Bytes from its first element to behind its last one.
    #[must_use]
    pub fn extent(&self) -> usize {
        if self.elements() == 0 {
            return 0;
        }
        let last: usize =
            self.sizes.iter().zip(&self.strides).map(|(size, stride)| (*size as usize - 1) * *stride as usize).sum();
        (last + 1) * self.element.bytes()
    }

    /// The descriptor's words; `None` for a shape that a descriptor cannot hold.
    pub(crate) fn descriptor(&self) -> Option<sim::Tensor> {
        let dimensions = self.sizes.len();
        if !(1..=DIMENSIONS).contains(&dimensions) || self.strides.len() != dimensions {
            return None;
        }
        // An absent dimension is there once; its distance is that of a dense tensor behind the last one.
        let mut sizes = [1; DIMENSIONS];
        let mut strides = [self.elements() as u32; DIMENSIONS];
        for (to, from) in sizes.iter_mut().zip(&self.sizes).chain(strides.iter_mut().zip(&self.strides)) {
            *to = *from;
        }
        Some(sim::Tensor {
            base: self.address,
            padding: self.padding,
            data_type: self.element as u32,
            // Kernels may leave coordinates unwritten that their tensors do not have (`tpc.md` 10): only those count that exist.
            dimensions: (1 << dimensions) - 1,
            read_modify_write: false,
            operation: 0,
            sizes,
            strides,
        })
    }
}

/// Strides of a tensor whose elements lie one behind the other.
fn dense_strides(sizes: &[u32]) -> Vec<u32> {
    let mut stride = 1u32;
    sizes
        .iter()
        .map(|size| {
            let own = stride;
            stride = stride.wrapping_mul(*size);
            own
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_tensor_has_the_strides_of_its_sizes() {
        let tensor = Tensor::dense(0x1000, Element::Bf16, &[100, 3, 5]);
        assert_eq!(tensor.strides, [1, 100, 300]);
        assert_eq!((tensor.elements(), tensor.extent()), (1500, 3000));
        let descriptor = tensor.descriptor().unwrap();
        assert_eq!(descriptor.sizes, [100, 3, 5, 1, 1]);
        assert_eq!(descriptor.strides, [1, 100, 300, 1500, 1500]);
        assert_eq!((descriptor.data_type, descriptor.dimensions), (6, 0b111));
    }

    #[test]
    fn a_strided_tensor_reaches_to_its_last_element() {
        let tensor = Tensor::dense(0, Element::F32, &[3, 4]).with_strides(&[2, 11]);
        assert_eq!(tensor.extent(), (2 * 2 + 3 * 11 + 1) * 4);
        assert_eq!(Tensor::dense(0, Element::F32, &[0, 4]).extent(), 0);
    }

    #[test]
    fn a_shape_without_or_with_too_many_dimensions_has_no_descriptor() {
        assert!(Tensor::dense(0, Element::F32, &[]).descriptor().is_none());
        assert!(Tensor::dense(0, Element::F32, &[1; 6]).descriptor().is_none());
        assert!(Tensor::dense(0, Element::F32, &[4, 4]).with_strides(&[1]).descriptor().is_none());
    }
}
