//! Running a person's own kernel: what `coxswain-kernel` does.
//!
//! For: a kernel file - text for the assembler or an object of the public compiler - with its tensors in files. Owns the language of
//! the command line and the checks of what it names; loading, splitting and submitting is [`crate::launch`]'s.

use crate::device::HostBuffer;
use crate::jobs::bench::{Bench, JobError};
use crate::jobs::packets::{Packets, QUEUE_TO_DEVICE};
use crate::launch::{Launches, Loader};
use coxswain_kernels::packets::Order;
use coxswain_kernels::{Dispatch, Element, Kernel, Tensor};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, str::FromStr};

/// Alignment of tensors in device memory.
const ALIGNMENT: u64 = 256;
/// First bytes of an object.
const ELF: &[u8] = b"\x7FELF";

/// A tensor parameter: `in:f32:1000x3:FILE`, or with `out` or `inout`; sizes from the innermost dimension on. Sizes may be followed by
/// what loads give outside of the tensor, as a scalar: `in:f32:10x3@-inf:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorArgument {
    /// The file holds what the tensor is before.
    pub is_input: bool,
    /// The file gets what the tensor is afterwards.
    pub is_output: bool,
    /// Element type.
    pub element: Element,
    /// Elements per dimension.
    pub sizes: Vec<u32>,
    /// The bits that loads give outside.
    pub padding: u32,
    /// The file with the elements, little-endian.
    pub file: PathBuf,
}

impl FromStr for TensorArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(4, ':');
        let (Some(mode), Some(element), Some(sizes), Some(file)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("a tensor is MODE:TYPE:SIZES:FILE, such as in:f32:1000x3:x.bin".to_owned());
        };
        let (is_input, is_output) = match mode {
            "in" => (true, false),
            "out" => (false, true),
            "inout" => (true, true),
            _ => return Err(format!("\"{mode}\" is none of in, out, inout")),
        };
        let element = match element {
            "f32" => Element::F32,
            "bf16" => Element::Bf16,
            "i32" => Element::I32,
            "u32" => Element::U32,
            "i16" => Element::I16,
            "u16" => Element::U16,
            "i8" => Element::I8,
            "u8" => Element::U8,
            _ => return Err(format!("\"{element}\" is none of f32, bf16, i32, u32, i16, u16, i8, u8")),
        };
        let (sizes, padding) = match sizes.split_once('@') {
            Some((sizes, padding)) => (sizes, scalar(padding)?),
            None => (sizes, 0),
        };
        let sizes = numbers(sizes, 'x')?;
        if sizes.contains(&0) {
            return Err("a tensor has at least one element in each dimension".to_owned());
        }
        Ok(Self { is_input, is_output, element, sizes, padding, file: file.into() })
    }
}

/// Numbers separated by a sign, one to five of them.
///
/// # Errors
/// There are none or more, or one is no number.
pub fn numbers(text: &str, separator: char) -> Result<Vec<u32>, String> {
    let numbers: Result<Vec<u32>, String> =
        text.split(separator).map(|part| part.parse().map_err(|_| format!("\"{part}\" is not a number"))).collect();
    let numbers = numbers?;
    if numbers.len() > 5 { Err(format!("\"{text}\" has more than five dimensions")) } else { Ok(numbers) }
}

/// The bits of a scalar parameter: `1.5` and `1e3` are floats, `7`, `-7` and `0x7` integers.
///
/// # Errors
/// It is neither.
pub fn scalar(text: &str) -> Result<u32, String> {
    let integer = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned)),
    };
    let float = || text.parse::<f32>().ok().map(f32::to_bits);
    integer.or_else(float).ok_or_else(|| format!("\"{text}\" is neither a 32-bit integer nor a float"))
}

/// The kernel in a file.
///
/// # Errors
/// It cannot be read, or there is no kernel in it.
pub fn read_kernel(path: &Path) -> Result<Kernel, String> {
    let show = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| show(&error))?;
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("kernel");
    if bytes.starts_with(ELF) {
        return Kernel::from_object(name, &bytes).map_err(|error| show(&error));
    }
    let text = String::from_utf8(bytes).map_err(|_| show(&"neither an ELF object nor text"))?;
    Kernel::from_assembly(name, &text).map_err(|error| show(&error))
}

/// A run of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its tensors, in the order of its parameters.
    pub tensors: Vec<TensorArgument>,
    /// Its scalars, in the order of its parameters.
    pub scalars: Vec<u32>,
    /// Points of the index space.
    pub space: Vec<u32>,
    /// The dimension that is split.
    pub split: usize,
    /// TPCs that work.
    pub engines: Vec<u8>,
    /// How often.
    pub times: u32,
}

impl Run {
    /// Brings the kernel and its inputs to the card, runs it, and writes the outputs; returns the time of each run.
    ///
    /// # Errors
    /// A file does not fit its tensor, or any end but success.
    pub fn run(&self, bench: &Bench<'_>, kernel: &Kernel) -> Result<Vec<Duration>, JobError> {
        let end = bench.layout.hbm_second + bench.layout.hbm_bytes;
        let mut next = bench.layout.hbm;
        let mut dispatch = Dispatch::new(kernel);
        let mut memory = Vec::new();
        for argument in &self.tensors {
            let tensor = Tensor::dense(next, argument.element, &argument.sizes).with_padding(argument.padding);
            let size = argument
                .bytes()
                .filter(|size| next + u64::from(*size) <= end)
                .ok_or_else(|| JobError::Claim(format!("no place for tensor {}", memory.len())))?;
            let mut host = HostBuffer::new(bench.device, size as usize)?;
            if argument.is_input {
                host.write(0, &argument.read(size as usize)?)?;
                bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), next, size))?;
            }
            memory.push((host, next, size));
            next = (next + u64::from(size)).next_multiple_of(ALIGNMENT);
            dispatch = dispatch.tensor(tensor);
        }
        dispatch = self.scalars.iter().fold(dispatch, |dispatch, scalar| dispatch.scalar(*scalar));
        let dispatch = dispatch.space(&self.space)?.over(self.split, &self.engines)?;
        let loaded = Loader::new(bench).load(kernel)?;
        let launches = Launches::new(bench, &[(&loaded, dispatch)], 0, Order::AfterTheLast)?;
        let times = (0..self.times).map(|_| launches.run(bench, &Packets::new())).collect::<Result<Vec<_>, _>>()?;
        for (argument, (host, address, size)) in self.tensors.iter().zip(&memory) {
            if argument.is_output {
                bench.download(*address, host.address(0), *size)?;
                let mut bytes = vec![0; *size as usize];
                host.read(0, &mut bytes)?;
                fs::write(&argument.file, bytes).map_err(|error| argument.complain(&error))?;
            }
        }
        Ok(times)
    }
}

impl TensorArgument {
    /// Bytes of the tensor; `None` when a copy cannot have so many.
    fn bytes(&self) -> Option<u32> {
        let elements = self.sizes.iter().try_fold(1u32, |product, size| product.checked_mul(*size))?;
        elements.checked_mul(self.element.bytes() as u32)
    }

    fn read(&self, size: usize) -> Result<Vec<u8>, JobError> {
        let bytes = fs::read(&self.file).map_err(|error| self.complain(&error))?;
        if bytes.len() == size {
            return Ok(bytes);
        }
        Err(self.complain(&format!("the file has {} bytes, the tensor {size}", bytes.len())))
    }

    fn complain(&self, what: &dyn std::fmt::Display) -> JobError {
        JobError::Claim(format!("{}: {what}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_read_in_its_parts() {
        let tensor: TensorArgument = "inout:bf16:100x3:dir/x:y.bin".parse().unwrap();
        assert!(tensor.is_input && tensor.is_output);
        assert_eq!((tensor.element, tensor.sizes.clone()), (Element::Bf16, vec![100, 3]));
        assert_eq!((tensor.bytes(), tensor.file.to_str()), (Some(600), Some("dir/x:y.bin")));
        let padded: TensorArgument = "in:f32:10x2@-inf:x".parse().unwrap();
        assert_eq!((padded.padding, padded.sizes), (0xFF80_0000, vec![10, 2]));
        for (text, words) in [
            ("in:f32:10@none:x", "neither a 32-bit integer nor a float"),
            ("in:f32:10", "MODE:TYPE:SIZES:FILE"),
            ("to:f32:10:x", "\"to\" is none of"),
            ("in:f64:10:x", "\"f64\" is none of"),
            ("in:f32:10xx3:x", "\"\" is not a number"),
            ("in:f32:0x3:x", "at least one element"),
            ("in:f32:1x1x1x1x1x1:x", "more than five"),
        ] {
            let error = text.parse::<TensorArgument>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let huge: TensorArgument = "in:f32:65536x65536:x".parse().unwrap();
        assert_eq!(huge.bytes(), None);
    }

    #[test]
    fn a_scalar_is_an_integer_or_a_float() {
        assert_eq!(scalar("7"), Ok(7));
        assert_eq!(scalar("-1"), Ok(u32::MAX));
        assert_eq!(scalar("0x3f800000"), Ok(0x3F80_0000));
        assert_eq!(scalar("1.5"), Ok(0x3FC0_0000));
        assert_eq!(scalar("-2e0"), Ok(0xC000_0000));
        assert!(scalar("seven").unwrap_err().contains("neither"));
    }

    #[test]
    fn a_kernel_file_is_an_object_or_text_and_what_is_neither_is_told_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let object = read_kernel(&file("a.o", coxswain_kernels::compiled::AXPB_F32)).unwrap();
        assert_eq!(object.name(), "axpb_f32");
        assert_eq!(read_kernel(&file("b.tpc", b"nop; halt; halt; nop")).unwrap().code().len(), 32);
        for (name, bytes, words) in [
            ("c.o", &coxswain_kernels::compiled::AXPB_F32[..700], "c.o: no usable ELF32"),
            ("d.tpc", b"nop\nnop; halt; nop", "d.tpc: line 2: a bundle has the four slots"),
            ("e.bin", &[0xFF, 0xFE], "e.bin: neither an ELF object nor text"),
        ] {
            let error = read_kernel(&file(name, bytes)).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(read_kernel(&folder.path().join("none")).unwrap_err().contains("none: "));
    }
}
