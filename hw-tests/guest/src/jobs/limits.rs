//! Command buffers at their size limits: every packet of them leaves its own trace in HBM.

use super::bench::{Bench, JobError, expect};
use super::many::Measured;
use super::packets::{Packets, QUEUE_INTERNAL, QUEUE_TO_DEVICE};
use super::pattern::Pattern;
use super::programs::Programs;
use crate::device::{DeviceError, HostBuffer};

/// Bytes of a message packet and of what it writes.
const MESSAGE: usize = 16;
const WORD: usize = 4;
/// Bytes of a copy packet and of what it copies.
const COPY: usize = 24;
const PIECE: usize = 8;

/// Prefills the trace's place in HBM with the complement of the pattern, and fills the host buffer with the pattern.
fn prepare<'d>(bench: &Bench<'d>, pattern: Pattern, bytes: usize) -> Result<HostBuffer<'d>, JobError> {
    if bytes as u64 > bench.layout.hbm_bytes {
        return Err(DeviceError::Argument("a trace larger than its place").into());
    }
    let mut host = HostBuffer::new(bench.device, bytes)?;
    pattern.complement().fill(&mut host, 0, 0, bytes)?;
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), bench.layout.hbm, bytes as u32))?;
    pattern.fill(&mut host, 0, 0, bytes)?;
    Ok(host)
}

/// Checks `bytes` of the trace, and that `behind` bytes behind it were left alone.
fn check(
    bench: &Bench<'_>,
    pattern: Pattern,
    host: &mut HostBuffer<'_>,
    bytes: usize,
    behind: usize,
) -> Result<(), JobError> {
    let whole = bytes + behind;
    pattern.unrelated().fill(host, 0, 0, whole)?;
    bench.download(bench.layout.hbm, host.address(0), whole as u32)?;
    expect("the trace of a long buffer", 0, pattern.check(host, 0, 0, bytes)?)?;
    expect("behind the trace", 0, pattern.complement().check(host, bytes, bytes as u64, behind)?)
}

/// A command buffer of `bytes` of messages on an external queue.
///
/// # Errors
/// A submission failed, or a message was lost or doubled.
pub fn external(bench: &Bench<'_>, bytes: usize, seed: u64) -> Result<Measured, JobError> {
    let pattern = Pattern::new(seed);
    let count = bytes / MESSAGE;
    let mut host = prepare(bench, pattern, (count + 1) * WORD)?;
    let mut words = vec![0; count * WORD];
    pattern.generate(0, &mut words);
    let messages = (bench.layout.hbm..).step_by(WORD).zip(words.chunks_exact(WORD));
    let mut packets = messages.fold(Packets::new(), |packets, (address, word)| {
        packets.message(address, word.try_into().map_or(0, u32::from_le_bytes))
    });
    while packets.bytes() + 8 <= bytes {
        packets = packets.engine_barrier();
    }
    let time = bench.run_external(QUEUE_TO_DEVICE, &packets)?;
    check(bench, pattern, &mut host, count * WORD, WORD)?;
    Ok(Measured { samples: vec![time], total: time })
}

/// A lower command buffer of `bytes` of copies on an internal queue, fetched from host memory, then from HBM.
///
/// # Errors
/// A submission failed, or a copy was lost or misplaced.
pub fn internal(bench: &Bench<'_>, bytes: usize, seed: u64) -> Result<Measured, JobError> {
    // The packet that raises the sync object at the end is part of the buffer.
    let count = bytes.saturating_sub(8) / COPY;
    let mut samples = Vec::new();
    for place in [None, Some(bench.layout.hbm_second)] {
        let pattern = Pattern::new(seed.wrapping_add(samples.len() as u64));
        let mut host = prepare(bench, pattern, (count + 1) * PIECE)?;
        let target = bench.layout.hbm;
        let packets = (0..count).fold(Packets::new(), |packets, piece| {
            let offset = piece * PIECE;
            packets.copy(host.address(offset), target + offset as u64, PIECE as u32)
        });
        let mut programs = Programs::new(bench, bytes + 4096)?;
        match place {
            None => programs.lower(QUEUE_INTERNAL, packets)?,
            Some(address) => programs.lower_from(bench, QUEUE_INTERNAL, packets, address)?,
        }
        samples.push(programs.run(bench, &Packets::new())?);
        check(bench, pattern, &mut host, count * PIECE, PIECE)?;
    }
    let total = samples.iter().sum();
    Ok(Measured { samples, total })
}
