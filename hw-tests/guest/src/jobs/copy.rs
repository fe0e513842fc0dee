//! Copies between host and device by the two external DMA engines.

use super::bench::{Bench, JobError, MARGIN, expect};
use super::packets::{Packets, QUEUE_TO_DEVICE, QUEUE_TO_HOST};
use super::pattern::Pattern;
use crate::device::{DeviceError, HostBuffer, Job};
use std::time::Duration;

/// Size and place of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Bytes to copy.
    pub bytes: usize,
    /// Offset of the data from a page boundary in host memory, less the margin.
    pub host_offset: usize,
    /// The same in device memory.
    pub device_offset: usize,
    /// How often the copy is measured.
    pub repeat: u32,
}

impl Case {
    /// Bytes of data and margins.
    #[must_use]
    pub fn window(self) -> usize {
        self.bytes + 2 * MARGIN
    }

    pub(super) fn size(self) -> Result<u32, DeviceError> {
        u32::try_from(self.window())
            .map(|window| window - 2 * MARGIN as u32)
            .map_err(|_| DeviceError::Argument("a copy beyond 4 GiB"))
    }

    /// A host buffer for the window at [`Self::host_offset`].
    pub(super) fn host_buffer<'d>(self, bench: &Bench<'d>) -> Result<HostBuffer<'d>, DeviceError> {
        HostBuffer::new(bench.device, self.host_offset + self.window())
    }
}

/// Direction of the measured copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Host to device, on DMA0.
    ToDevice,
    /// Device to host, on DMA1.
    ToHost,
}

/// Copies the case's data to or from device memory at `base` and checks data and margins on both sides.
///
/// # Errors
/// The submission failed or the data is wrong.
pub fn copy(
    bench: &Bench<'_>,
    direction: Direction,
    base: u64,
    case: Case,
    seed: u64,
) -> Result<Vec<Duration>, JobError> {
    let pattern = Pattern::new(seed);
    let (size, window) = (case.size()?, base + case.device_offset as u64);
    let data = window + MARGIN as u64;
    let host = case.host_offset;
    let mut source = case.host_buffer(bench)?;
    let mut back = case.host_buffer(bench)?;

    bench.prefill(pattern, &mut source, host, window, case.bytes)?;
    pattern.fill(&mut source, host, 0, case.window())?;
    before(direction, pattern).fill(&mut back, host, 0, case.window())?;
    let in_source = source.address(host + MARGIN);
    let in_back = back.address(host + MARGIN);

    let to_device = Packets::new().copy(in_source, data, size);
    let measured = match direction {
        Direction::ToDevice => repeat(bench, QUEUE_TO_DEVICE, &to_device, case.repeat)?,
        Direction::ToHost => {
            bench.run_external(QUEUE_TO_DEVICE, &to_device)?;
            repeat(bench, QUEUE_TO_HOST, &Packets::new().copy(data, in_back, size), case.repeat)?
        }
    };
    if direction == Direction::ToDevice {
        // Margins too: they must still hold the complement.
        bench.download(window, back.address(host), size + 2 * MARGIN as u32)?;
    }
    let place = match direction {
        Direction::ToDevice => "device memory",
        Direction::ToHost => "host memory",
    };
    check_window(&back, host, pattern, case.bytes, place)?;
    Ok(measured)
}

/// What lies in the host buffer before data comes back. A copy to the host must leave the margins there alone; a window
/// of device memory brings its own, so what lies there before must differ.
fn before(direction: Direction, pattern: Pattern) -> Pattern {
    match direction {
        Direction::ToHost => pattern.complement(),
        Direction::ToDevice => pattern.unrelated(),
    }
}

/// Checks data and both margins of a window in a host buffer.
///
/// # Errors
/// The first wrong byte.
pub fn check_window(
    buffer: &HostBuffer<'_>,
    offset: usize,
    pattern: Pattern,
    bytes: usize,
    place: &'static str,
) -> Result<(), JobError> {
    let origin = MARGIN as u64;
    let (data, tail) = (offset + MARGIN, offset + MARGIN + bytes);
    expect(place, origin, pattern.check(buffer, data, origin, bytes)?)?;
    let complement = pattern.complement();
    expect("in front of the data", origin, complement.check(buffer, offset, 0, MARGIN)?)?;
    expect("behind the data", origin, complement.check(buffer, tail, origin + bytes as u64, MARGIN)?)
}

fn repeat(bench: &Bench<'_>, queue: u32, packets: &Packets, count: u32) -> Result<Vec<Duration>, DeviceError> {
    let commands = bench.commands(packets)?;
    (0..count.max(1)).map(|_| bench.run(&[Job::External { queue, commands: &commands }])).collect()
}

/// Fills device memory with a 64-bit value on DMA0 and checks data and margins.
///
/// # Errors
/// The submission failed or the data is wrong.
pub fn fill(bench: &Bench<'_>, base: u64, case: Case, seed: u64) -> Result<Vec<Duration>, JobError> {
    let pattern = Pattern::new(seed);
    let (size, window) = (case.size()?, base + case.device_offset as u64);
    let mut staging = case.host_buffer(bench)?;
    bench.prefill(pattern, &mut staging, case.host_offset, window, case.bytes)?;

    let mut word = [0; 8];
    pattern.generate(0, &mut word);
    let packets = Packets::new().fill(u64::from_le_bytes(word), window + MARGIN as u64, size);
    let measured = repeat(bench, QUEUE_TO_DEVICE, &packets, case.repeat)?;

    pattern.unrelated().fill(&mut staging, case.host_offset, 0, case.window())?;
    bench.download(window, staging.address(case.host_offset), size + 2 * MARGIN as u32)?;
    let mut found = vec![0; case.bytes];
    staging.read(case.host_offset + MARGIN, &mut found)?;
    if let Some((index, (&found, &expected))) =
        found.iter().zip(word.iter().cycle()).enumerate().find(|(_, (found, expected))| found != expected)
    {
        return Err(JobError::Data { place: "filled memory", index: index as i64, expected, found });
    }
    let (origin, tail) = (MARGIN as u64, case.host_offset + MARGIN + case.bytes);
    let complement = pattern.complement();
    expect("in front of the data", origin, complement.check(&staging, case.host_offset, 0, MARGIN)?)?;
    expect("behind the data", origin, complement.check(&staging, tail, origin + case.bytes as u64, MARGIN)?)?;
    Ok(measured)
}
