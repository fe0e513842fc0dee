//! Copies inside the device by an internal queue, ordered by sync objects, monitors and fences.
//!
//! One submission with three jobs, as `submission-path.md` 11.3 has it:
//!
//! 1. DMA0 raises the start object when the source is in place;
//! 2. the internal queue's upper buffer hands a lower buffer to the engine's lower command processor: wait for the start
//!    object, copy, raise the end object;
//! 3. DMA1 waits for the end object, copies the result to the host, and clears both objects.
//!
//! Only the sync objects order the three: without them the third would read before the second wrote.

use super::bench::{Bench, JobError, MARGIN};
use super::copy::{Case, check_window};
use super::packets::{INTERNAL_ENGINE, LOWER, Packets, QUEUE_INTERNAL, QUEUE_TO_DEVICE, QUEUE_TO_HOST, external};
use super::pattern::Pattern;
use crate::device::Job;
use std::time::Duration;

/// Raised when the source is in place.
const START: u16 = 8;
/// Raised when the copy is done.
const END: u16 = 9;
/// Monitor of the lower command processor.
const START_MONITOR: u16 = 1;
/// Monitor of DMA1.
const END_MONITOR: u16 = 2;
/// Where the upper buffer lies behind the lower one.
const UPPER_OFFSET: u64 = 0x800;

/// The buffer that the lower command processor executes.
#[must_use]
pub fn lower_packets(source: u64, destination: u64, bytes: u32) -> Packets {
    Packets::new().wait_for(START, START_MONITOR, INTERNAL_ENGINE, LOWER).copy(source, destination, bytes).signal(END)
}

/// Copies from device memory at `from` to device memory at `to` on DMA2 and checks data and margins. The measured time
/// contains the way back to the host.
///
/// # Errors
/// A submission failed or the data is wrong.
pub fn copy(bench: &Bench<'_>, from: u64, to: u64, case: Case, seed: u64) -> Result<Vec<Duration>, JobError> {
    let pattern = Pattern::new(seed);
    let size = case.size()?;
    let offset = case.device_offset as u64;
    let (source, window) = (from + offset + 1, to + offset);
    let host = case.host_offset;
    let mut staging = case.host_buffer(bench)?;
    let mut back = case.host_buffer(bench)?;

    let lower = lower_packets(source, window + MARGIN as u64, size);
    let upper = Packets::new().lower(bench.layout.programs, lower.bytes() as u32);
    bench.upload(&mut staging, &lower.to_le_bytes(), bench.layout.programs)?;
    bench.upload(&mut staging, &upper.to_le_bytes(), bench.layout.programs + UPPER_OFFSET)?;

    bench.prefill(pattern, &mut staging, host, window, case.bytes)?;
    pattern.fill(&mut staging, host, 0, case.window())?;
    pattern.unrelated().fill(&mut back, host, 0, case.window())?;

    let (qman, stream) = external(QUEUE_TO_HOST);
    let start = bench.commands(&Packets::new().copy(staging.address(host + MARGIN), source, size).signal(START))?;
    let finish = bench.commands(
        &Packets::new()
            .wait_for(END, END_MONITOR, qman, stream)
            .copy(window, back.address(host), size + 2 * MARGIN as u32)
            .clear(START)
            .clear(END),
    )?;
    let jobs = [
        Job::External { queue: QUEUE_TO_HOST, commands: &finish },
        Job::Internal {
            queue: QUEUE_INTERNAL,
            address: bench.layout.programs + UPPER_OFFSET,
            bytes: upper.bytes() as u32,
        },
        Job::External { queue: QUEUE_TO_DEVICE, commands: &start },
    ];
    let measured = (0..case.repeat.max(1)).map(|_| bench.run(&jobs)).collect::<Result<Vec<_>, _>>()?;
    check_window(&back, host, pattern, case.bytes, "device memory")?;
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `submission-path.md` 11.3: monitor set-up to the lower fence (QMAN + 0x318), FENCE, LIN_DMA, sync object add.
    #[test]
    fn the_lower_buffer_waits_copies_and_signals() {
        let words = lower_packets(0x2000_0001, 0x2800_0040, 5);
        let dwords: Vec<u32> = words.words().iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect();
        assert_eq!(
            dwords,
            [
                0xFC54_8318,
                0x4400_0004,
                0x7F,
                0x4400_0804,
                1,
                0x4400_1004,
                0x0003_FE01,
                0xC400_1804,
                0x0001_0001,
                0xC800_0000,
                5,
                0x4900_0008,
                0x2000_0001,
                0,
                0x2800_0040,
                0,
                0x8000_0001,
                0xE440_0024,
            ]
        );
        assert!(words.bytes() as u64 <= UPPER_OFFSET);
    }
}
