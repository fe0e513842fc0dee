//! A bench for kernels: tensors in flat memory, an index space split over several engines.

// Each test binary uses its own part of this module, and its helpers unwrap like the tests themselves.
#![allow(dead_code, clippy::unwrap_used)]

pub mod lanes;

use coxswain_tpc::sim::{DIMENSIONS, Tensor};
use coxswain_tpc::{FlatMemory, Launch, Memory, Outcome, Tpc};

/// Where the code is.
pub const CODE: u64 = 0x7F_F000_2000;
/// Where tensor 0 is; the others follow at this distance.
pub const DATA: u64 = 0x2_0000_0000;
/// Distance of tensors.
pub const TENSOR_SPACE: u64 = 0x10_0000;
/// What bytes outside of tensors hold.
pub const POISON: u8 = 0xC3;

/// Data type codes of tensors.
pub const INT32: u32 = 2;
/// BF16.
pub const BF16: u32 = 6;
/// FP32.
pub const FP32: u32 = 7;

/// Memory of a bench: code and tensors, apart from each other; nothing else is mapped.
pub struct BenchMemory {
    pub code: FlatMemory,
    pub data: FlatMemory,
}

impl Memory for BenchMemory {
    fn read(&mut self, address: u64, out: &mut [u8]) -> Result<(), coxswain_tpc::MemoryFault> {
        if address >= CODE { self.code.read(address, out) } else { self.data.read(address, out) }
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), coxswain_tpc::MemoryFault> {
        // Code is read-only here: a kernel that stores into it is wrong.
        self.data.write(address, data)
    }
}

/// One kernel, its tensors and scalars.
pub struct Bench {
    pub memory: BenchMemory,
    pub launch: Launch,
    tensors: Vec<(Vec<usize>, usize)>,
    /// Bundles that the engines of the last run executed.
    pub retired: Vec<u64>,
}

impl Bench {
    pub fn new(code: &[u8]) -> Self {
        let mut memory = BenchMemory {
            code: FlatMemory::new(CODE, code.len()),
            data: FlatMemory::new(DATA, 4 * TENSOR_SPACE as usize),
        };
        memory.code.write(CODE, code).unwrap();
        memory.data.write(DATA, &vec![POISON; 4 * TENSOR_SPACE as usize]).unwrap();
        let mut launch = Launch::default();
        launch.set_kernel_address(CODE);
        Self { memory, launch, tensors: Vec::new(), retired: Vec::new() }
    }

    /// Adds the next tensor, dense, with these sizes and element bytes.
    pub fn tensor(&mut self, data_type: u32, sizes: &[usize], bytes: &[u8]) -> &mut Self {
        let number = self.tensors.len();
        let width = if data_type == BF16 { 2 } else { 4 };
        let base = DATA + number as u64 * TENSOR_SPACE + 0x1000;
        let mut all_sizes = [1u32; DIMENSIONS];
        let mut strides = [0u32; DIMENSIONS];
        let mut stride = 1;
        for dimension in 0..DIMENSIONS {
            if let Some(&size) = sizes.get(dimension) {
                all_sizes[dimension] = size as u32;
            }
            strides[dimension] = stride;
            stride *= all_sizes[dimension];
        }
        let tensor = Tensor {
            base,
            padding: 0,
            data_type,
            dimensions: (1 << sizes.len()) - 1,
            read_modify_write: false,
            operation: 0,
            sizes: all_sizes,
            strides,
        };
        self.launch.set_tensor(number, &tensor);
        self.memory.data.write(base, bytes).unwrap();
        self.tensors.push((sizes.to_vec(), width));
        self
    }

    /// Adds an output: poisoned before the run.
    pub fn output(&mut self, data_type: u32, sizes: &[usize]) -> &mut Self {
        self.tensor(data_type, sizes, &[])
    }

    /// Runs the index space `size`, dimension `split` of it cut into `engines` parts (some may be empty).
    pub fn run(&mut self, size: [i32; DIMENSIONS], split: usize, engines: i32) {
        self.retired.clear();
        for engine in 0..engines {
            let (mut offset, mut part) = ([0; DIMENSIONS], size);
            let total = size[split];
            offset[split] = total * engine / engines;
            part[split] = total * (engine + 1) / engines - offset[split];
            self.launch.set_index_space(offset, part);
            let mut tpc = Tpc::new();
            tpc.start(&self.launch);
            let outcome = tpc.run(&mut self.memory, 10_000_000);
            assert_eq!(outcome, Outcome::Halted, "engine {engine}");
            self.retired.push(tpc.retired());
        }
    }

    /// The bytes of a tensor, after a check that its neighbourhood still holds poison.
    pub fn bytes(&mut self, number: usize) -> Vec<u8> {
        let (sizes, width) = self.tensors[number].clone();
        let length = sizes.iter().product::<usize>() * width;
        let mut space = vec![0; TENSOR_SPACE as usize];
        self.memory.data.read(DATA + number as u64 * TENSOR_SPACE, &mut space).unwrap();
        let (before, rest) = space.split_at(0x1000);
        let (content, behind) = rest.split_at(length);
        assert!(before.iter().chain(behind).all(|&byte| byte == POISON), "a store left tensor {number}");
        content.to_vec()
    }

    pub fn words(&mut self, number: usize) -> Vec<u32> {
        self.bytes(number).as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }

    pub fn halves(&mut self, number: usize) -> Vec<u16> {
        self.bytes(number).as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()
    }
}

pub fn word_bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

pub fn half_bytes(halves: impl IntoIterator<Item = u16>) -> Vec<u8> {
    halves.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// A small generator of numbers for tests; the same sequence every time.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 ^ (self.0 >> 11) as u32
    }

    /// A float of ordinary size, both signs, all mantissas.
    pub fn float(&mut self) -> f32 {
        let bits = self.next();
        f32::from_bits(bits & 0x807F_FFFF | (127 - 12 + self.next() % 24) << 23)
    }

    /// A 32-bit pattern in which special floats and small integers are frequent.
    pub fn pattern(&mut self) -> u32 {
        const SPECIAL: [u32; 16] = [
            0,
            0x8000_0000,
            0x7F80_0000,
            0xFF80_0000,
            0x7FC0_0000,
            0x7FA0_0001,
            1,
            0x807F_FFFF,
            0x7F7F_FFFF,
            0x3F80_0000,
            0xBF80_0000,
            0xFFFF_FFFF,
            0x7FFF_FFFF,
            0x0080_0000,
            0x0000_FFFF,
            0x7F7F_8000,
        ];
        match self.next() % 4 {
            0 => SPECIAL[self.next() as usize % SPECIAL.len()],
            1 => self.float().to_bits(),
            2 => self.next() % 64,
            _ => self.next(),
        }
    }
}
