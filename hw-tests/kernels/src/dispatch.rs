//! One run of a kernel: parameters, index space, and its split over engines.
//!
//! Owns the checks of everything that a person can get wrong here. What it produces is complete: a descriptor per engine, to be
//! written at once.

use std::fmt;

use coxswain_tpc::Launch;
use coxswain_tpc::sim::{ARGUMENTS, DIMENSIONS, TENSORS};

use crate::kernel::Kernel;
use crate::tensor::Tensor;

/// Engines of a card.
pub const ENGINES: u8 = 8;
/// Alignment of code in device memory (`tpc.md` 13.6).
pub const CODE_ALIGNMENT: u64 = 8192;

/// Offset of SYNC_OBJECT_MESSAGE in the descriptor; the address follows.
const SYNC_MESSAGE: usize = 0x380;
const SYNC_ADDRESS: usize = 0x384;
const KERNEL_CONFIG: usize = 0x3B8;
/// Reset value of KERNEL_CONFIG: 32 scalars are valid, rate limits 8 and 6 (`tpc.md` 13.1).
const CONFIG: u32 = 0x6_0882;
/// KERNEL_CONFIG: vector local memory of 16 KiB.
const SMALL_VLM: u32 = 1;

/// The message that an engine sends when its kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMessage {
    /// Low half of the device address; the high half is a register that the driver sets.
    pub address: u32,
    /// The value; 0x8000_0001 adds 1 to a sync object.
    pub value: u32,
}

/// A kernel with its parameters.
#[derive(Clone, Debug)]
pub struct Dispatch<'kernel> {
    kernel: &'kernel Kernel,
    tensors: Vec<Tensor>,
    scalars: Vec<u32>,
    space: [u32; DIMENSIONS],
    split: usize,
    engines: Vec<u8>,
}

/// What one engine does.
#[derive(Clone, Debug)]
pub struct Part {
    /// Number of the engine, 0..8.
    pub engine: u8,
    /// Its descriptor.
    pub launch: Launch,
}

/// Why a dispatch is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchError {
    /// More tensors than a descriptor holds.
    Tensors(usize),
    /// The tensor of this number has no dimensions or more than five, or not one stride for each.
    Shape(usize),
    /// Not the number of scalars that the kernel takes: given and taken.
    Scalars(usize, usize),
    /// The index space has no or more than five dimensions, or one of more than 2^31 - 1 points.
    Space,
    /// The index space is to be split along a dimension that does not exist.
    Split(usize),
    /// No engine, one that does not exist, or one named twice.
    Engines,
    /// The code does not lie at a multiple of 8 KiB.
    CodeAddress(u64),
}

impl fmt::Display for DispatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensors(count) => write!(formatter, "{count} tensors, a descriptor holds {TENSORS}"),
            Self::Shape(tensor) => {
                write!(formatter, "tensor {tensor} must have 1 to {DIMENSIONS} dimensions and a stride for each")
            }
            Self::Scalars(given, taken) => write!(formatter, "{given} scalars, the kernel takes {taken}"),
            Self::Space => write!(formatter, "the index space must have 1 to {DIMENSIONS} dimensions below 2^31"),
            Self::Split(dimension) => write!(formatter, "there is no dimension {dimension} to split"),
            Self::Engines => write!(formatter, "engines must be different numbers below {ENGINES}, at least one"),
            Self::CodeAddress(address) => {
                write!(formatter, "the code lies at {address:#x}, which is no multiple of {CODE_ALIGNMENT}")
            }
        }
    }
}

impl std::error::Error for DispatchError {}

impl<'kernel> Dispatch<'kernel> {
    /// A run of `kernel` with nothing bound, for one point, on engine 0.
    #[must_use]
    pub fn new(kernel: &'kernel Kernel) -> Self {
        Self { kernel, tensors: Vec::new(), scalars: Vec::new(), space: [1; DIMENSIONS], split: 0, engines: vec![0] }
    }

    /// Binds the next tensor parameter.
    #[must_use]
    pub fn tensor(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// Binds the next scalar parameter, in its bits.
    #[must_use]
    pub fn scalar(mut self, value: u32) -> Self {
        self.scalars.push(value);
        self
    }

    /// The same for a float.
    #[must_use]
    pub fn float(self, value: f32) -> Self {
        self.scalar(value.to_bits())
    }

    /// Sets the points of the index space, the innermost dimension first; absent ones have one point.
    ///
    /// # Errors
    /// [`DispatchError::Space`].
    pub fn space(mut self, points: &[u32]) -> Result<Self, DispatchError> {
        if !(1..=DIMENSIONS).contains(&points.len()) || points.iter().any(|points| i32::try_from(*points).is_err()) {
            return Err(DispatchError::Space);
        }
        self.space = [1; DIMENSIONS];
        for (to, from) in self.space.iter_mut().zip(points) {
            *to = *from;
        }
        Ok(self)
    }

    /// Splits the index space along `dimension` over these engines.
    ///
    /// # Errors
    /// [`DispatchError::Split`], [`DispatchError::Engines`].
    pub fn over(mut self, dimension: usize, engines: &[u8]) -> Result<Self, DispatchError> {
        if dimension >= DIMENSIONS {
            return Err(DispatchError::Split(dimension));
        }
        let mut seen = 0u8;
        for engine in engines {
            let bit = if *engine < ENGINES { 1 << engine } else { 0 };
            if bit == 0 || seen & bit != 0 {
                return Err(DispatchError::Engines);
            }
            seen |= bit;
        }
        if engines.is_empty() {
            return Err(DispatchError::Engines);
        }
        self.split = dimension;
        self.engines = engines.to_vec();
        Ok(self)
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &'kernel Kernel {
        self.kernel
    }

    /// The tensors bound so far.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The descriptors, for code at `code`; each engine sends `message` when it is done. Engines without a point to work on
    /// have no part. Parts differ by one point at most.
    ///
    /// # Errors
    /// Any other [`DispatchError`].
    pub fn parts(&self, code: u64, message: Option<SyncMessage>) -> Result<Vec<Part>, DispatchError> {
        if !code.is_multiple_of(CODE_ALIGNMENT) {
            return Err(DispatchError::CodeAddress(code));
        }
        let common = self.common(code, message)?;
        if self.space.contains(&0) {
            return Ok(Vec::new());
        }
        // PANIC: `over` checked that the dimension exists and that there is an engine.
        let points = self.space[self.split];
        let engines = self.engines.len() as u32;
        let (each, longer) = (points / engines, points % engines);
        let mut begin = 0;
        let mut parts = Vec::new();
        for (index, engine) in (0..).zip(&self.engines) {
            let length = each + u32::from(index < longer);
            if length == 0 {
                break;
            }
            let mut launch = common.clone();
            let (mut offset, mut size) = ([0; DIMENSIONS], self.space.map(u32::cast_signed));
            offset[self.split] = begin as i32;
            size[self.split] = length as i32;
            launch.set_index_space(offset, size);
            parts.push(Part { engine: *engine, launch });
            begin += length;
        }
        Ok(parts)
    }

    /// What the descriptors of all engines have in common.
    fn common(&self, code: u64, message: Option<SyncMessage>) -> Result<Launch, DispatchError> {
        if self.tensors.len() > TENSORS {
            return Err(DispatchError::Tensors(self.tensors.len()));
        }
        let metadata = self.kernel.metadata();
        let taken = metadata.map_or(ARGUMENTS, |metadata| usize::from(metadata.scalars));
        if self.scalars.len() > ARGUMENTS || metadata.is_some() && self.scalars.len() != taken {
            return Err(DispatchError::Scalars(self.scalars.len(), taken));
        }
        let mut launch = Launch::default();
        for (index, tensor) in self.tensors.iter().enumerate() {
            launch.set_tensor(index, &tensor.descriptor().ok_or(DispatchError::Shape(index))?);
        }
        for (index, scalar) in self.scalars.iter().enumerate() {
            launch.set_argument(index, *scalar);
        }
        launch.set_kernel_address(code);
        let small = if metadata.is_some_and(|metadata| metadata.lookups) { SMALL_VLM } else { 0 };
        launch.set_word(KERNEL_CONFIG, CONFIG | small);
        if let Some(message) = message {
            launch.set_word(SYNC_MESSAGE, message.value);
            launch.set_word(SYNC_ADDRESS, message.address);
        }
        Ok(launch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Element;

    fn kernel() -> Kernel {
        Kernel::from_object("axpb", crate::compiled::AXPB_F32).unwrap()
    }

    fn spans(parts: &[Part], dimension: usize) -> Vec<(u8, i32, i32)> {
        let span = |part: &Part| {
            let (offset, size) = (part.launch.index_space_offset(), part.launch.index_space_size());
            (part.engine, offset[dimension], size[dimension])
        };
        parts.iter().map(span).collect()
    }

    #[test]
    fn parts_cover_the_index_space_once_and_differ_by_one_point() {
        let kernel = kernel();
        let dispatch = Dispatch::new(&kernel).float(1.0).float(2.0);
        let parts = dispatch.clone().space(&[10, 3]).unwrap().over(0, &[0, 1, 2, 7]).unwrap().parts(0, None).unwrap();
        assert_eq!(spans(&parts, 0), [(0, 0, 3), (1, 3, 3), (2, 6, 2), (7, 8, 2)]);
        assert_eq!(spans(&parts, 1), [(0, 0, 3), (1, 0, 3), (2, 0, 3), (7, 0, 3)]);
        let parts = dispatch.clone().space(&[1, 2]).unwrap().over(1, &[3, 4, 5]).unwrap().parts(0, None).unwrap();
        assert_eq!(spans(&parts, 1), [(3, 0, 1), (4, 1, 1)], "an engine without points has no part");
        assert!(dispatch.space(&[4, 0]).unwrap().parts(0, None).unwrap().is_empty());
    }

    #[test]
    fn a_descriptor_has_everything_where_the_table_says() {
        let kernel = kernel();
        let dispatch = Dispatch::new(&kernel)
            .tensor(Tensor::dense(0x2000_0000, Element::F32, &[100]))
            .tensor(Tensor::dense(0x2800_0000, Element::F32, &[100]))
            .float(2.0)
            .scalar(7);
        let message = SyncMessage { address: 0xFC4F_2260, value: 0x8000_0001 };
        let part = dispatch.parts(0x2400_2000, Some(message)).unwrap().remove(0);
        let word = |offset| part.launch.word(offset);
        assert_eq!([word(0x380), word(0x384), word(0x388), word(0x38C)], [0x8000_0001, 0xFC4F_2260, 0x2400_2000, 0]);
        assert_eq!([word(0x3B8), word(0x3C0), word(0x3C4)], [0x6_0882, 0x4000_0000, 7]);
        assert_eq!([word(0), word(0x38), word(0x44), word(0x48)], [0x2000_0000, 0x2800_0000, 0x107, 100]);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let kernel = kernel();
        let full = Dispatch::new(&kernel).scalar(0).scalar(0);
        let tensor = Tensor::dense(0, Element::F32, &[1]);
        let many = (0..17).fold(full.clone(), |dispatch, _| dispatch.tensor(tensor.clone()));
        let flat = full.clone().tensor(Tensor::dense(0, Element::F32, &[]));
        for (result, words) in [
            (Dispatch::new(&kernel).parts(0, None), "0 scalars, the kernel takes 2"),
            (full.parts(0x1000, None), "0x1000, which is no multiple of 8192"),
            (many.parts(0, None), "17 tensors"),
            (flat.parts(0, None), "tensor 0 must have 1 to 5 dimensions"),
        ] {
            let error = result.expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(full.clone().space(&[]).unwrap_err(), DispatchError::Space);
        assert_eq!(full.clone().space(&[1 << 31]).unwrap_err(), DispatchError::Space);
        assert_eq!(full.clone().over(5, &[0]).unwrap_err(), DispatchError::Split(5));
        for engines in [&[][..], &[8], &[1, 1]] {
            assert_eq!(full.clone().over(0, engines).unwrap_err(), DispatchError::Engines);
        }
    }
}
