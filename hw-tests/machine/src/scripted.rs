//! The firmware under the scripted host: bring-up and checks without Linux, in seconds.
//!
//! Used by `boot`, by `bench` and by the on-target tests. Every function checks what it did and fails in words.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use coxswain_abi::cpucp::CpucpInfo;
use coxswain_abi::packet::{self, EB, MB, RB};
use coxswain_abi::regs::dma_core::commit;
use coxswain_abi::regs::{CFG_BASE, SRAM_BASE, qman, sync_manager};
use coxswain_host::{Bounds, Host, Loaded};

use crate::images::Firmware;
use crate::session::Session;

/// User memory in HBM that the checks use.
pub const HBM: u64 = 0x2000_0000;
/// The driver's bounds hold on a card; an emulated machine that shares its cores gets this many times as much.
const PATIENCE: u32 = 10;

/// Loads the firmware and makes the card ready for jobs, as the driver does.
///
/// # Errors
/// A stage refused, or did not answer within its bound.
pub fn bring_up(session: &Session, firmware: &Firmware) -> anyhow::Result<(Host, Loaded, CpucpInfo)> {
    let card = session.card().context("the session has no card")?;
    let mut host = Host::probe_within(card, Bounds::scaled(PATIENCE)).context("looking for the card")?;
    let (loaded, info) = load(&mut host, firmware)?;
    Ok((host, loaded, info))
}

/// Loads the firmware again after [`Host::reset`].
///
/// # Errors
/// As [`bring_up`].
pub fn load(host: &mut Host, firmware: &Firmware) -> anyhow::Result<(Loaded, CpucpInfo)> {
    let [_, boot_fit, control] = &firmware.stages;
    let done = host.bring_up(&boot_fit.image, &control.image).context("bringing the card up")?;
    host.open_context().context("opening a context")?;
    Ok(done)
}

/// Copies `bytes` from the host to HBM and back on DMA0 and DMA1, by two jobs, and compares every byte. Source and
/// destination begin at odd offsets. Returns the time of both jobs.
///
/// # Errors
/// A job does not complete, or a byte is wrong.
pub fn round_trip(host: &mut Host, bytes: u32) -> anyhow::Result<Duration> {
    let (from, to) = (host.map(u64::from(bytes) + 16)?, host.map(u64::from(bytes) + 16)?);
    let pattern: Vec<u8> = (0..bytes).map(|index| (index.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    host.write(&from, 3, &pattern)?;
    let begun = Instant::now();
    host.run(0, &packet::lin_dma(from.address + 3, HBM + 5, bytes, RB | commit::LIN))?;
    host.run(4, &packet::lin_dma(HBM + 5, to.address + 7, bytes, RB | commit::LIN))?;
    let took = begun.elapsed();
    let mut read = vec![0; pattern.len() + 1];
    host.read(&to, 7, &mut read)?;
    let end = read.pop();
    if let Some(position) = read.iter().zip(&pattern).position(|(read, written)| read != written) {
        bail!("byte {position} of {bytes} is wrong after the way through HBM");
    }
    ensure!(end == Some(0), "a byte behind the copy of {bytes} bytes was written");
    host.unmap(from)?;
    host.unmap(to)?;
    Ok(took)
}

/// Copies within HBM on DMA2's lower CP, started by CP_DMA, and lets DMA0 wait for it with a monitor and a fence.
///
/// # Errors
/// A job does not complete, or a byte is wrong.
pub fn internal_copy(host: &mut Host, bytes: u32) -> anyhow::Result<()> {
    const SOB: u32 = 8;
    let buffer = host.map(u64::from(bytes))?;
    let pattern: Vec<u8> = (0..bytes).map(|index| (index.wrapping_mul(0x85EB_CA6B) >> 24) as u8 ^ 0x5A).collect();
    host.write(&buffer, 0, &pattern)?;
    host.run(0, &packet::lin_dma(buffer.address, HBM, bytes, RB | commit::LIN))?;

    // The lower program, and the upper one that starts it, in memory that the card reads by itself.
    let signal = packet::msg_short(1, (4 * SOB) as u16, packet::sob_add(1), EB | RB | MB);
    let mut lower = packet::lin_dma(HBM, HBM + (64 << 20), bytes, RB | commit::LIN).to_vec();
    lower.push(signal);
    let (lower_at, upper_at) = (SRAM_BASE + 0x1000, SRAM_BASE + 0x2000);
    let upper = packet::cp_dma(lower_at, 8 * lower.len() as u32, RB | MB);
    for (address, words) in [(lower_at, &lower[..]), (upper_at, &upper[..])] {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        host.link().write_device(address, &bytes)?;
    }

    // DMA1 stream 0: fence 0 is incremented by monitor 0 when the sync object reaches 1.
    let fence = CFG_BASE + u64::from(qman::base(1) + qman::CP_FENCE0_RDATA_0);
    let wait = [
        packet::msg_short(0, 0, fence as u32, RB),
        packet::msg_short(0, 0x800, (fence >> 32) as u32, RB),
        packet::msg_short(0, 0x1000, 1, RB),
        packet::msg_short(0, 0x1800, packet::monitor_arm(SOB, 1, false), RB | MB),
        packet::fence(0, 1, 1, RB | MB),
    ];
    let mut back = wait.to_vec();
    back.extend(packet::lin_dma(HBM + (64 << 20), buffer.address, bytes, RB | commit::LIN));
    host.write(&buffer, 0, &vec![0; bytes as usize])?;
    let waiting = host.submit(4, &back)?;
    host.submit_internal(9, upper_at, 16)?;
    host.wait(waiting, host.bounds().job)?;
    let mut read = vec![0; pattern.len()];
    host.read(&buffer, 0, &mut read)?;
    ensure!(read == pattern, "the copy of {bytes} bytes on the internal queue is wrong");
    let object = sync_manager::base(3) + sync_manager::SOB_OBJ_0 + 4 * SOB;
    ensure!(host.link().read(object) == 1, "the sync object reads {}", host.link().read(object));
    host.link().write(object, 0);
    host.unmap(buffer)?;
    Ok(())
}

/// What a burst of jobs cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Jobs.
    pub jobs: u32,
    /// From the first doorbell to the last completion.
    pub took: Duration,
    /// Trapped accesses of the management CPU.
    pub kicks: u64,
}

/// Submits `jobs` small copies on DMA0, `depth` in flight, and waits for all.
///
/// # Errors
/// A job does not complete.
pub fn burst(session: &Session, host: &mut Host, jobs: u32, depth: usize) -> anyhow::Result<Burst> {
    let card = session.card().context("the session has no card")?;
    let kicks = card.soc().counters().kicks;
    let begun = Instant::now();
    let mut flying = std::collections::VecDeque::new();
    for job in 0..jobs {
        if flying.len() == depth
            && let Some(ticket) = flying.pop_front()
        {
            host.wait(ticket, host.bounds().job)?;
        }
        let copy = packet::lin_dma(HBM, HBM + 0x1_0000 + 64 * u64::from(job), 64, RB | commit::LIN);
        flying.push_back(host.submit(0, &copy)?);
    }
    for ticket in flying {
        host.wait(ticket, host.bounds().job)?;
    }
    Ok(Burst { jobs, took: begun.elapsed(), kicks: card.soc().counters().kicks - kicks })
}
