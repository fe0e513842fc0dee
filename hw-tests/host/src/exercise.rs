//! A tour of the whole card without Linux: boot, every external stream, every internal DMA, many jobs, a reset.
//!
//! For a quick check that firmware and card work together. Every byte that a job moves is compared.

use crate::{Bounds, Buffer, Host, HostError};
use coxswain_abi::packet::{self, EB, MB, RB};
use coxswain_abi::regs::{CFG_BASE, dma_core::commit, qman, sync_manager};
use coxswain_card::Card;
use std::time::{Duration, Instant};

/// User memory in HBM: where copies go, where internal copies go, where programs of internal queues lie.
const HBM: u64 = 0x2000_0000;
const HBM_SECOND: u64 = 0x2800_0000;
const PROGRAMS: u64 = 0x3000_0000;
/// Sizes of the copies; with odd offsets, so that nothing is aligned.
const SIZES: [u32; 5] = [1, 63, 4097, 65_539, (1 << 20) + 13];
/// Jobs of the step with many.
const MANY: u32 = 1000;
/// Sync object and monitor of the internal copies.
const SOB: u16 = 8;
const MONITOR: u16 = 1;

/// A step that failed.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub step: &'static str,
    /// Why.
    pub error: HostError,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for Failure {}

/// Takes the tour and tells every step that ended well, with its time and what it found. The card must be powered on and
/// its management CPU running. Returns the host, with the card up again.
///
/// # Errors
/// The first step that failed.
pub fn exercise(
    card: &Card,
    bounds: Bounds,
    boot_fit: &[u8],
    control: &[u8],
    mut tell: impl FnMut(&'static str, Duration, String),
) -> Result<Host, Failure> {
    let mut step = Steps { tell: &mut tell };
    let mut host = step.take("the ROM is ready", || {
        let host = Host::probe_within(card, bounds)?;
        Ok((host, String::new()))
    })?;
    step.take("both images run", || {
        let loaded = host.load(boot_fit, control)?;
        Ok(((), format!("{}, {}", loaded.preboot_version, loaded.boot_fit_version)))
    })?;
    step.take("hardware and control queue", || host.init_hardware().map(|()| ((), String::new())))?;
    step.take("queue tests", || host.test_queues().map(|()| ((), String::new())))?;
    step.take("late initialisation", || {
        let info = host.late_init()?;
        let name: Vec<u8> = info.card_name.iter().copied().take_while(|byte| *byte != 0).collect();
        Ok(((), String::from_utf8_lossy(&name).into_owned()))
    })?;
    step.take("a user opens the card", || host.open_context().map(|()| ((), String::new())))?;
    step.take("copies on every external stream", || {
        let bytes = external_copies(&mut host)?;
        Ok(((), format!("{bytes} bytes")))
    })?;
    step.take("copies on every internal DMA", || {
        let bytes = internal_copies(&mut host)?;
        Ok(((), format!("{bytes} bytes")))
    })?;
    step.take("many jobs in flight", || {
        many(&mut host)?;
        Ok(((), format!("{MANY} jobs")))
    })?;
    step.take("reset", || host.reset(None).map(|()| ((), String::new())))?;
    step.take("up again", || {
        host.bring_up(boot_fit, control)?;
        host.open_context()?;
        external_copies(&mut host)?;
        Ok(((), String::new()))
    })?;
    Ok(host)
}

struct Steps<'a> {
    tell: &'a mut dyn FnMut(&'static str, Duration, String),
}

impl Steps<'_> {
    fn take<T>(
        &mut self,
        name: &'static str,
        action: impl FnOnce() -> Result<(T, String), HostError>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let (value, words) = action().map_err(|error| Failure { step: name, error })?;
        (self.tell)(name, begun.elapsed(), words);
        Ok(value)
    }
}

/// Bytes that differ from copy to copy and from place to place.
fn pattern(seed: u32, bytes: u32) -> Vec<u8> {
    (0..bytes).map(|index| (index.wrapping_mul(0x9E37_79B1).wrapping_add(seed) >> 13) as u8).collect()
}

fn compare(host: &Host, buffer: &Buffer, offset: u64, expected: &[u8], what: &str) -> Result<(), HostError> {
    let mut found = vec![0; expected.len()];
    host.read(buffer, offset, &mut found)?;
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(index) => Err(HostError::protocol(format!("{what}: byte {index} of {} is wrong", expected.len()))),
    }
}

fn external_copies(host: &mut Host) -> Result<u64, HostError> {
    let source = host.map(2 << 20)?;
    let target = host.map(2 << 20)?;
    let mut total = 0;
    for (seed, (stream, size)) in (1..).zip((0..4).flat_map(|stream| SIZES.map(|size| (stream, size)))) {
        let data = pattern(seed, size);
        host.write(&source, 5, &data)?;
        host.write(&target, 0, &vec![0xEE; size as usize + 64])?;
        host.run(stream, &packet::lin_dma(source.address + 5, HBM + 3, size, RB | commit::LIN))?;
        host.run(4 + stream, &packet::lin_dma(HBM + 3, target.address + 9, size, RB | commit::LIN))?;
        let what = format!("{size} bytes over stream {stream}");
        compare(host, &target, 9, &data, &what)?;
        compare(host, &target, 0, &[0xEE; 9], &what)?;
        compare(host, &target, 9 + u64::from(size), &[0xEE; 32], &what)?;
        total += 2 * u64::from(size);
    }
    host.unmap(source)?;
    host.unmap(target)?;
    Ok(total)
}

/// Packets that arm a monitor on [`SOB`] == 1 for fence 0 of a command processor, and wait for it.
fn wait_for_sob(index: usize, stream: u32) -> Vec<u64> {
    let fence = CFG_BASE + u64::from(qman::base(index) + qman::CP_FENCE0_RDATA_0 + 4 * stream);
    let set = |array: u32, value: u32, barriers: u32| {
        packet::msg_short(0, (array - sync_manager::MON_PAY_ADDRL_0) as u16 + 4 * MONITOR, value, barriers)
    };
    vec![
        set(sync_manager::MON_PAY_ADDRL_0, fence as u32, RB),
        set(sync_manager::MON_PAY_ADDRH_0, (fence >> 32) as u32, RB),
        set(sync_manager::MON_PAY_DATA_0, 1, RB),
        set(sync_manager::MON_ARM_0, packet::monitor_arm(u32::from(SOB), 1, true), RB | MB),
        packet::fence(0, 1, 1, RB | MB),
    ]
}

fn internal_copies(host: &mut Host) -> Result<u64, HostError> {
    let buffer = host.map(2 << 20)?;
    let mut total = 0;
    for (engine, size) in (2..8).flat_map(|engine| [17, 70_001].map(|size| (engine, size))) {
        let data = pattern(engine * size, size);
        host.write(&buffer, 1, &data)?;
        host.run(0, &packet::lin_dma(buffer.address + 1, HBM + 7, size, RB | commit::LIN))?;

        let mut lower = packet::lin_dma(HBM + 7, HBM_SECOND + 11, size, RB | commit::LIN).to_vec();
        lower.push(packet::msg_short(1, 4 * SOB, packet::sob_add(1), EB | RB | MB));
        let upper = packet::cp_dma(PROGRAMS + 0x100, 8 * lower.len() as u32, RB | MB);
        for (place, words) in [(PROGRAMS, &upper[..]), (PROGRAMS + 0x100, &lower[..])] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            host.link().write_device(place, &bytes)?;
        }
        host.write(&buffer, 1, &vec![0; size as usize])?;
        // The external job is first in line: only the sync object tells it when the copy is done.
        let mut back = wait_for_sob(1, 0);
        back.extend(packet::lin_dma(HBM_SECOND + 11, buffer.address + 1, size, RB | commit::LIN));
        back.push(packet::msg_short(1, 4 * SOB, 0, RB | MB));
        let ticket = host.submit(4, &back)?;
        host.submit_internal(9 + 4 * (engine - 2), PROGRAMS, 8 * upper.len() as u32)?;
        host.wait(ticket, host.bounds().job)?;
        compare(host, &buffer, 1, &data, &format!("{size} bytes over DMA{engine}"))?;
        total += u64::from(size);
    }
    host.unmap(buffer)?;
    Ok(total)
}

fn many(host: &mut Host) -> Result<(), HostError> {
    const SLOT: u32 = 64;
    let buffer = host.map(u64::from(MANY * SLOT))?;
    let data = pattern(99, MANY * SLOT);
    host.write(&buffer, 0, &data)?;
    let mut tickets = Vec::new();
    for index in 0..MANY {
        let offset = u64::from(index * SLOT);
        let copy = packet::lin_dma(buffer.address + offset, HBM + offset, SLOT, RB | commit::LIN);
        tickets.push(host.submit(index % 8, &copy)?);
    }
    for ticket in tickets {
        host.wait(ticket, host.bounds().job)?;
    }
    host.write(&buffer, 0, &vec![0; data.len()])?;
    host.run(4, &packet::lin_dma(HBM, buffer.address, MANY * SLOT, RB | commit::LIN))?;
    compare(host, &buffer, 0, &data, "many small copies")?;
    host.unmap(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `submission-path.md` 11.2, with monitor 1 and DMA1.
    #[test]
    fn the_wait_is_the_documented_sequence() {
        let dwords: Vec<u32> =
            wait_for_sob(1, 0).iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect();
        assert_eq!(
            dwords,
            [
                0xFC52_8308,
                0x4400_0004,
                0x7F,
                0x4400_0804,
                1,
                0x4400_1004,
                0x0003_FE01,
                0xC400_1804,
                0x0001_0001,
                0xC800_0000
            ]
        );
    }
}
