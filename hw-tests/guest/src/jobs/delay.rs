//! Delays and time stamps on an internal queue (`qman.md` 5.6 and 10 #15, #16).
//!
//! The device's own time, written by time-stamp messages, shows how long the delays were.

use super::bench::{Bench, JobError};
use super::many::Measured;
use super::packets::{LOWER, Packets, fence_address, internal};
use super::programs::Programs;
use crate::device::{DeviceError, HostBuffer, Information, uapi::info_op};

/// The engine whose lower command processor waits.
const ENGINE: usize = 4;
/// Delays in cycles of about 1 GHz, up to the longest.
const DELAYS: [u32; 4] = [1_000, 100_000, 3_000_000, 0xFF_FFFF];
/// Delays that run at the same time, and their cycles.
const TOGETHER: u32 = 12;
const EACH: u32 = 15_000_000;
/// A delay may be longer by this much, in cycles: other programs use the host's processors too.
const SLACK: u32 = 1_000_000_000;
/// Fence counters of the single delays and of those that run together.
const SINGLE: u32 = 1;
const SHARED: u32 = 2;
/// The fence counter that shows that the messages before have arrived.
const ARRIVED: u32 = 3;

/// One delay after another, each between time stamps; then many at once.
///
/// # Errors
/// A submission failed, a delay was too short or far too long, or a time stamp is not the device's time.
pub fn delays(bench: &Bench<'_>) -> Result<Measured, JobError> {
    // One stamp before each delay, one behind the last, one behind those that run together.
    let count = DELAYS.len() + 2;
    let stamps = HostBuffer::new(bench.device, 4 * count)?;
    let stamp = |number: usize| stamps.address(4 * number);
    // A message is on its way when the next packet begins. One to the own fence, waited for, comes behind the stamp.
    let arrived = |packets: Packets| packets.message(fence_address(ENGINE, LOWER, ARRIVED), 1).fence(ARRIVED, 1, 1);
    let mut packets = arrived(Packets::new().timestamp(stamp(0)));
    for (number, cycles) in DELAYS.into_iter().enumerate() {
        packets = packets.delayed(SINGLE, 1, cycles).fence(SINGLE, 1, 1);
        packets = arrived(packets.timestamp(stamp(number + 1)));
    }
    for _ in 0..TOGETHER {
        packets = packets.delayed(SHARED, 1, EACH);
    }
    packets = packets.fence(SHARED, TOGETHER as u8, TOGETHER).timestamp(stamp(count - 1));
    let mut programs = Programs::new(bench, 4096)?;
    programs.lower(internal(ENGINE, 0), packets)?;

    let device_time = || -> Result<u64, DeviceError> {
        let [device, _, _]: [u64; 3] = bench.device.information(info_op::TIME_SYNC, 0)?;
        Ok(device)
    };
    let before = device_time()?;
    let time = programs.run(bench, &Packets::new())?;
    let after = device_time()?;

    let mut found = vec![0; 4 * count];
    stamps.read(0, &mut found)?;
    let found: Vec<u32> = found.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect();
    check(&found, before, after).map_err(JobError::Claim)?;
    Ok(Measured { samples: vec![time], total: time })
}

/// Checks the stamps, the low halves of a 64-bit time between `before` and `after`.
fn check(stamps: &[u32], before: u64, after: u64) -> Result<(), String> {
    let whole = after.wrapping_sub(before);
    if whole > u64::from(u32::MAX) {
        return Err(format!("the delays took {whole} cycles in all"));
    }
    let since = |stamp: u32| u64::from(stamp.wrapping_sub(before as u32));
    let (Some(first), Some(last)) = (stamps.first(), stamps.last()) else { return Err("no time stamps".to_owned()) };
    if since(*first) > since(*last) || since(*last) > whole {
        return Err(format!("time stamps {first:#x} to {last:#x} are not between {before:#x} and {after:#x}"));
    }
    let elapsed: Vec<u32> = stamps
        .windows(2)
        .map(|pair| match pair {
            [early, late] => late.wrapping_sub(*early),
            _ => 0,
        })
        .collect();
    for (cycles, elapsed) in DELAYS.iter().chain([&EACH]).zip(&elapsed) {
        if elapsed < cycles || *elapsed > cycles + SLACK {
            return Err(format!("a delay of {cycles} cycles took {elapsed}"));
        }
    }
    match elapsed.last() {
        Some(together) if *together < TOGETHER * EACH => Ok(()),
        _ => Err(format!("{TOGETHER} delays of {EACH} cycles did not run at the same time: {elapsed:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps that follow each other by these distances, from a time whose low half is about to wrap.
    fn stamps(distances: &[u32]) -> (Vec<u32>, u64, u64) {
        let before = 0x5_FFFF_FF00_u64;
        let mut now = before + 10;
        let mut stamps = vec![now as u32];
        for distance in distances {
            now += u64::from(*distance);
            stamps.push(now as u32);
        }
        (stamps, before, now + 10)
    }

    #[test]
    fn delays_that_are_exact_pass_and_short_or_serial_ones_do_not() {
        let good = [1_000, 100_000, 3_000_000, 0xFF_FFFF, EACH];
        let (found, before, after) = stamps(&good);
        assert_eq!(check(&found, before, after), Ok(()));
        for (index, wrong) in [(0, 999), (3, 0xFF_FFFE), (4, EACH - 1), (4, TOGETHER * EACH), (1, SLACK + 200_000)] {
            let mut distances = good;
            distances[index] = wrong;
            let (found, before, after) = stamps(&distances);
            assert!(check(&found, before, after).is_err(), "{index} {wrong}");
        }
    }

    #[test]
    fn stamps_of_another_clock_do_not_pass() {
        let (mut found, before, after) = stamps(&[1_000, 100_000, 3_000_000, 0xFF_FFFF, EACH]);
        assert!(check(&found, before + 20, after).is_err());
        assert!(check(&found, before, after - 20).is_err());
        found.iter_mut().for_each(|stamp| *stamp ^= 0x8000_0000);
        assert!(check(&found, before, after).is_err());
    }
}
