//! Kernels on the TPCs: the compiled ones and our own with known results, a large one over all engines, many launches.

use super::bench::{Bench, JobError};
use super::many::Measured;
use super::packets::{Packets, QUEUE_TO_DEVICE};
use crate::device::{DeviceError, HostBuffer};
use crate::launch::{Launches, Loaded, Loader};
use coxswain_kernels::cases::{Case, POISON, built, compiled};
use coxswain_kernels::packets::Order;
use coxswain_kernels::{Dispatch, Element, Kernel, KernelError, Tensor};
use std::time::{Duration, Instant};

/// All TPCs.
const ALL: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// Engines that a case is run on.
const SETS: [&[u8]; 3] = [&[6], &[4, 0, 3], &ALL];
/// Bytes on each side of an output that no kernel may touch.
const MARGIN: usize = 512;
/// Distance of tensors: never the same place in a page.
const SPACING: usize = 4096 + 256;

impl From<KernelError> for JobError {
    fn from(error: KernelError) -> Self {
        Self::Claim(error.to_string())
    }
}

/// The ten kernels of the public compiler.
///
/// # Errors
/// A submission failed, or a result is wrong.
pub fn objects(bench: &Bench<'_>, seed: u64) -> Result<Measured, JobError> {
    run_cases(bench, &compiled::all(seed)?)
}

/// Our own kernels.
///
/// # Errors
/// A submission failed, or a result is wrong.
pub fn own(bench: &Bench<'_>, seed: u64) -> Result<Measured, JobError> {
    run_cases(bench, &built::all(seed))
}

/// Every case along all its dimensions on one, three and all engines.
fn run_cases(bench: &Bench<'_>, cases: &[Case]) -> Result<Measured, JobError> {
    let mut samples = Vec::new();
    for case in cases {
        for dimension in &case.splits {
            for engines in SETS {
                let named = |error: JobError| match error {
                    JobError::Claim(text) => JobError::Claim(format!(
                        "{} over TPCs {engines:?} along dimension {dimension}: {text}",
                        case.kernel.name()
                    )),
                    error => error,
                };
                samples.push(run_case(bench, case, *dimension, engines).map_err(named)?);
            }
        }
    }
    let total = samples.iter().sum();
    Ok(Measured { samples, total })
}

fn run_case(bench: &Bench<'_>, case: &Case, dimension: usize, engines: &[u8]) -> Result<Duration, JobError> {
    let whole = case.output.bytes.len() + 2 * MARGIN;
    let sizes: Vec<usize> = case.inputs.iter().map(|data| data.bytes.len()).chain([whole]).collect();
    let mut offsets = Vec::new();
    let mut used = 0;
    for size in &sizes {
        offsets.push(used);
        used = (used + size + SPACING).next_multiple_of(256);
    }
    let mut host = HostBuffer::new(bench.device, used)?;
    let mut upload = Packets::new();
    for ((data, offset), size) in case.inputs.iter().map(|data| &data.bytes).zip(&offsets).zip(&sizes) {
        host.write(*offset, data)?;
        upload = upload.copy(host.address(*offset), bench.layout.hbm + *offset as u64, *size as u32);
    }
    let output = offsets.last().copied().unwrap_or_default();
    host.write(output, &vec![POISON; whole])?;
    upload = upload.copy(host.address(output), bench.layout.hbm + output as u64, whole as u32);
    bench.run_external(QUEUE_TO_DEVICE, &upload)?;
    host.write(output, &vec![!POISON; whole])?;

    let mut addresses: Vec<u64> = offsets.iter().map(|offset| bench.layout.hbm + *offset as u64).collect();
    if let Some(last) = addresses.last_mut() {
        *last += MARGIN as u64;
    }
    let loaded = Loader::new(bench).load(&case.kernel)?;
    let dispatch = case.dispatch(&addresses, dimension, engines)?;
    let launches = Launches::new(bench, &[(&loaded, dispatch)], 0, Order::AfterTheLast)?;
    let back = Packets::new().copy(bench.layout.hbm + output as u64, host.address(output), whole as u32);
    let time = launches.run(bench, &back)?;

    let mut found = vec![0; whole];
    host.read(output, &mut found)?;
    let (before, rest) = found.split_at(MARGIN);
    let (result, behind) = rest.split_at(case.output.bytes.len());
    case.check(result).map_err(|wrong| JobError::Claim(wrong.to_string()))?;
    if before.iter().chain(behind).any(|byte| *byte != POISON) {
        return Err(JobError::Claim("a store outside of the output".to_owned()));
    }
    Ok(time)
}

/// Floats that a table holds: enough that an element out of place is almost never right.
const TABLE: usize = 4096;
/// Elements handled at a time between a buffer and the table.
const BLOCK: usize = 2048;

/// Data of many floats, drawn from a table, so that neither side has to calculate millions of them.
struct Floats {
    given: Vec<u32>,
    right: Vec<u32>,
    seed: u32,
}

impl Floats {
    fn new(seed: u64, function: impl Fn(f32) -> f32) -> Self {
        let values = coxswain_kernels::cases::Numbers::new(seed).floats(TABLE);
        let bits = |value: f32| value.to_bits();
        let right = values.iter().map(|value| bits(function(*value))).collect();
        Self { given: values.into_iter().map(bits).collect(), right, seed: seed as u32 | 1 }
    }

    fn entry(&self, index: usize) -> usize {
        ((index as u32).wrapping_mul(0x9E37_79B1).wrapping_add(self.seed) >> 20) as usize % TABLE
    }

    fn fill(&self, buffer: &mut HostBuffer<'_>, count: usize) -> Result<(), DeviceError> {
        let mut block = Vec::with_capacity(4 * BLOCK);
        for start in (0..count).step_by(BLOCK) {
            block.clear();
            for index in start..count.min(start + BLOCK) {
                block.extend(self.given.get(self.entry(index)).copied().unwrap_or_default().to_le_bytes());
            }
            buffer.write(4 * start, &block)?;
        }
        Ok(())
    }

    fn check(&self, buffer: &HostBuffer<'_>, count: usize) -> Result<(), JobError> {
        let mut block = vec![0; 4 * BLOCK];
        for start in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - start);
            let bytes = block.get_mut(..4 * length).unwrap_or_default();
            buffer.read(4 * start, bytes)?;
            for (index, found) in (start..).zip(bytes.as_chunks::<4>().0) {
                let found = u32::from_le_bytes(*found);
                let right = self.right.get(self.entry(index)).copied().unwrap_or_default();
                if found != right {
                    return Err(JobError::Claim(format!("element {index} is {found:#010x} instead of {right:#010x}")));
                }
            }
        }
        Ok(())
    }
}

/// y = a * x + b on `count` floats over all TPCs, with the kernel of the public compiler.
///
/// # Errors
/// A submission failed, or an element is wrong.
pub fn axpb(bench: &Bench<'_>, count: usize, seed: u64) -> Result<Measured, JobError> {
    const A: f32 = 1.7;
    const B: f32 = -0.3;
    let bytes = 4 * count;
    if bytes as u64 > bench.layout.hbm_bytes {
        return Err(JobError::Claim(format!("{bytes} bytes do not fit into {}", bench.layout.hbm_bytes)));
    }
    let (size, elements) = (bytes as u32, count as u32);
    let (x, y) = (bench.layout.hbm, bench.layout.hbm_second);
    let data = Floats::new(seed, |x| x.mul_add(A, B));
    let mut host = HostBuffer::new(bench.device, bytes)?;
    data.fill(&mut host, count)?;
    // What is left in the place of the result is wrong everywhere.
    let upload = Packets::new().copy(host.address(0), x, size).copy(host.address(0), y, size);
    bench.run_external(QUEUE_TO_DEVICE, &upload)?;

    let kernel = Kernel::from_object("axpb_f32", coxswain_kernels::compiled::AXPB_F32)?;
    let loaded = Loader::new(bench).load(&kernel)?;
    let dispatch = Dispatch::new(&kernel)
        .tensor(Tensor::dense(x, Element::F32, &[elements]))
        .tensor(Tensor::dense(y, Element::F32, &[elements]))
        .float(A)
        .float(B)
        .space(&[elements.div_ceil(Element::F32.lanes() as u32)])?
        .over(0, &ALL)?;
    let launches = Launches::new(bench, &[(&loaded, dispatch)], 0, Order::AfterTheLast)?;
    let time = launches.run(bench, &Packets::new())?;
    bench.download(y, host.address(0), size)?;
    data.check(&host, count)?;
    Ok(Measured { samples: vec![time], total: time })
}

/// `count` launches over all TPCs and streams, each submission one launch on each TPC: x = x + x in turn from one place to
/// the other, so that a lost, doubled or overtaken launch shows in the data.
///
/// # Errors
/// A submission failed, or an element is wrong.
pub fn launches(bench: &Bench<'_>, count: usize, seed: u64) -> Result<Measured, JobError> {
    const ELEMENTS: u32 = 8 * 64;
    let size = 4 * ELEMENTS;
    let kernel = Kernel::from_object("add_i32", coxswain_kernels::compiled::ADD_I32)?;
    let loaded = Loader::new(bench).load(&kernel)?;
    let (first, step, second) = (bench.layout.hbm, bench.layout.hbm + 0x1_0000, bench.layout.hbm_second);
    let mut numbers = coxswain_kernels::cases::Numbers::new(seed);
    let (begin, add) = (numbers.words(ELEMENTS as usize), numbers.words(ELEMENTS as usize));
    let mut host = HostBuffer::new(bench.device, 2 * size as usize)?;
    host.write(0, &to_bytes(&begin))?;
    host.write(size as usize, &to_bytes(&add))?;
    let upload = Packets::new().copy(host.address(0), first, size).copy(host.address(size as usize), step, size);
    bench.run_external(QUEUE_TO_DEVICE, &upload)?;

    let hop = |from: u64, to: u64| -> Result<Dispatch<'_>, JobError> {
        let tensor = |address| Tensor::dense(address, Element::I32, &[ELEMENTS]);
        let dispatch = Dispatch::new(&kernel).tensor(tensor(from)).tensor(tensor(step)).tensor(tensor(to));
        Ok(dispatch.space(&[8])?.over(0, &ALL)?)
    };
    let submission = |from, to, stream, order| -> Result<Launches<'_>, JobError> {
        Launches::new(bench, &[(&loaded, hop(from, to)?)], stream, order)
    };
    let there = submission(first, second, 0, Order::AfterTheLast)?;
    let back = submission(second, first, 3, Order::Queued)?;
    let submissions = count.div_ceil(ALL.len());
    let mut samples = Vec::with_capacity(submissions);
    let begun = Instant::now();
    for index in 0..submissions {
        let launches = if index.is_multiple_of(2) { &there } else { &back };
        samples.push(launches.run(bench, &Packets::new())?);
    }
    let total = begun.elapsed();

    let place = if submissions.is_multiple_of(2) { first } else { second };
    bench.download(place, host.address(0), size)?;
    let mut found = vec![0; size as usize];
    host.read(0, &mut found)?;
    let right: Vec<u32> =
        begin.iter().zip(&add).map(|(x, add)| x.wrapping_add(add.wrapping_mul(submissions as u32))).collect();
    if found != to_bytes(&right) {
        return Err(JobError::Claim(format!("the data after {submissions} submissions is wrong")));
    }
    Ok(Measured { samples, total })
}

/// Kernels in a row on each TPC by one program: the descriptor of the next is written while one runs.
///
/// # Errors
/// A submission failed, or an element is wrong.
pub fn queued(bench: &Bench<'_>, count: usize, seed: u64) -> Result<Measured, JobError> {
    const ELEMENTS: u32 = 64;
    let size = 4 * ELEMENTS;
    let kernel = Kernel::from_object("add_i32", coxswain_kernels::compiled::ADD_I32)?;
    let loaded = Loader::new(bench).load(&kernel)?;
    let mut numbers = coxswain_kernels::cases::Numbers::new(seed);
    let add = numbers.words(ELEMENTS as usize);
    let step = bench.layout.hbm_second;
    // TPC n hands a vector from place to place of its own row.
    let place =
        |tpc: u8, index: usize| bench.layout.hbm + u64::from(size) * (usize::from(tpc) * (count + 1) + index) as u64;
    let bytes = size as usize * (count + 1) * ALL.len();
    let mut host = HostBuffer::new(bench.device, bytes)?;
    for tpc in ALL {
        let begin: Vec<u32> = add.iter().map(|word| word ^ u32::from(tpc)).collect();
        host.write((place(tpc, 0) - bench.layout.hbm) as usize, &to_bytes(&begin))?;
    }
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), bench.layout.hbm, bytes as u32))?;
    host.write(0, &to_bytes(&add))?;
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), step, size))?;

    let tensor = |address| Tensor::dense(address, Element::I32, &[ELEMENTS]);
    let mut runs: Vec<(&Loaded<'_>, Dispatch<'_>)> = Vec::new();
    for index in 0..count {
        for tpc in ALL {
            let (from, to) = (place(tpc, index), place(tpc, index + 1));
            let dispatch = Dispatch::new(&kernel).tensor(tensor(from)).tensor(tensor(step)).tensor(tensor(to));
            runs.push((&loaded, dispatch.over(0, &[tpc])?));
        }
    }
    let launches = Launches::new(bench, &runs, 0, Order::Queued)?;
    let time = launches.run(bench, &Packets::new())?;
    bench.download(bench.layout.hbm, host.address(0), bytes as u32)?;
    let mut found = vec![0; size as usize];
    for tpc in ALL {
        for index in 0..=count {
            host.read((place(tpc, index) - bench.layout.hbm) as usize, &mut found)?;
            let right: Vec<u32> =
                add.iter().map(|word| (word ^ u32::from(tpc)).wrapping_add(word.wrapping_mul(index as u32))).collect();
            if found != to_bytes(&right) {
                return Err(JobError::Claim(format!("launch {index} of TPC {tpc} left wrong data")));
            }
        }
    }
    Ok(Measured { samples: vec![time; count * ALL.len()], total: time })
}

/// `count` kernels on every stream of every TPC, all in one submission: 32 streams in flight, of which the four of a TPC take turns.
/// Each stream adds its own number to its own row, again and again in place, so that a lost, doubled or mixed-up launch shows.
///
/// # Errors
/// A submission failed, or an element is wrong.
pub fn streams(bench: &Bench<'_>, count: usize, seed: u64) -> Result<Measured, JobError> {
    const STREAMS: u32 = 4;
    const ELEMENTS: u32 = 100;
    const ROW: u32 = 512;
    let rows = STREAMS * ALL.len() as u32;
    let bytes = rows * ROW;
    let kernel = Kernel::from_object("add_i32", coxswain_kernels::compiled::ADD_I32)?;
    let loaded = Loader::new(bench).load(&kernel)?;
    let mut numbers = coxswain_kernels::cases::Numbers::new(seed);
    let begin = numbers.words((bytes / 4) as usize);
    let add = numbers.words((bytes / 4) as usize);
    let mut host = HostBuffer::new(bench.device, 2 * bytes as usize)?;
    host.write(0, &to_bytes(&begin))?;
    host.write(bytes as usize, &to_bytes(&add))?;
    let (data, steps) = (bench.layout.hbm, bench.layout.hbm_second);
    let upload = Packets::new().copy(host.address(0), data, bytes).copy(host.address(bytes as usize), steps, bytes);
    bench.run_external(QUEUE_TO_DEVICE, &upload)?;

    let mut launches = Vec::new();
    for stream in 0..STREAMS {
        let mut runs: Vec<(&Loaded<'_>, Dispatch<'_>)> = Vec::new();
        for _ in 0..count {
            for tpc in ALL {
                let offset = u64::from(ROW * (STREAMS * u32::from(tpc) + stream));
                let tensor = |base| Tensor::dense(base + offset, Element::I32, &[ELEMENTS]);
                let dispatch = Dispatch::new(&kernel).tensor(tensor(data)).tensor(tensor(steps)).tensor(tensor(data));
                runs.push((&loaded, dispatch.space(&[2])?.over(0, &[tpc])?));
            }
        }
        let order = if stream.is_multiple_of(2) { Order::AfterTheLast } else { Order::Queued };
        launches.push(Launches::new(bench, &runs, stream, order)?);
    }
    let time = Launches::run_together(&launches, bench, &Packets::new())?;

    bench.download(data, host.address(0), bytes)?;
    let mut found = vec![0; bytes as usize];
    host.read(0, &mut found)?;
    let words_per_row = (ROW / 4) as usize;
    let right: Vec<u32> = (begin.iter().zip(&add).enumerate())
        .map(|(index, (begin, add))| {
            let times = if index % words_per_row < ELEMENTS as usize { count as u32 } else { 0 };
            begin.wrapping_add(add.wrapping_mul(times))
        })
        .collect();
    match found.chunks(4).zip(&right).position(|(found, right)| found != right.to_le_bytes()) {
        None => Ok(Measured { samples: vec![time; count * rows as usize], total: time }),
        Some(index) => {
            let row = (index / words_per_row) as u32;
            Err(JobError::Claim(format!("the data of stream {} of TPC {} is wrong", row % STREAMS, row / STREAMS)))
        }
    }
}

fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_a_large_tensor_are_different_elements() {
        let floats = Floats::new(7, |x| x + 1.0);
        for distance in [1, 2, 64, 65, 128, 1 << 15] {
            assert!((0..1000).filter(|index| floats.entry(*index) == floats.entry(index + distance)).count() < 20);
        }
        assert_eq!(floats.right[5], (f32::from_bits(floats.given[5]) + 1.0).to_bits());
    }
}
