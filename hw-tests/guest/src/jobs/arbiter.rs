//! The arbiter of one queue manager: who gets it, and in which order (`qman.md` 6.2, `submission-path.md` 11.5).
//!
//! Stream 3 of DMA0 takes the arbiter, lets the other three come to their requests, and gives it back. Each of these then
//! works several times between a request and a release, and its work is to push its name onto a list in HBM: the list is the
//! order of the grants.

use super::bench::{Bench, JobError};
use super::many::Measured;
use super::packets::{Packets, QUEUE_TO_DEVICE};
use super::streams::gate;
use crate::device::{DeviceError, HostBuffer, Job};
use coxswain_abi::regs::{CFG_BASE, qman};
use std::time::{Duration, Instant};

/// Streams that compete.
pub(super) const STREAMS: usize = 3;
/// The stream that holds the arbiter until they do.
pub(super) const HOLDER: u32 = 3;
/// Its priority, which decides nothing: it comes alone.
pub(super) const HOLDER_PRIORITY: u8 = 200;
/// The fence counter by which streams wait for each other.
pub(super) const FENCE: u32 = 1;
/// ARB_CFG_0: on, master, by priority.
pub(super) const BY_PRIORITY: u32 = 0x110;
/// The same by weight.
const BY_WEIGHT: u32 = 0x111;
/// Bytes of a name in the list.
pub(super) const NAME: u32 = 8;
/// Priorities of streams 0..=2, in every order.
pub(super) const PRIORITIES: [[u8; STREAMS]; 6] = [[1, 5, 9], [1, 9, 5], [5, 1, 9], [5, 9, 1], [9, 1, 5], [9, 5, 1]];
/// Weights of streams 0..=2.
const WEIGHTS: [u32; STREAMS] = [2, 3, 1];

/// Address of a register of DMA0's queue manager.
fn register(offset: u32) -> u64 {
    CFG_BASE + u64::from(qman::base(0) + offset)
}

/// What the streams do and how the arbiter is set.
struct Contest {
    /// ARB_CFG_0.
    configuration: u32,
    /// Per stream: priority and number of grants.
    streams: [(u8, usize); STREAMS],
    /// The arbiter is set in the buffer that then takes it, with a message barrier between, not by an earlier submission.
    same_buffer: bool,
}

impl Contest {
    fn grants(&self) -> usize {
        self.streams.iter().map(|(_, grants)| grants).sum()
    }

    /// Packets of stream `number`: they push names onto the list at `list`; `spare` is as large.
    fn packets(&self, number: usize, (priority, grants): (u8, usize), list: u64, spare: u64) -> Packets {
        let bytes = NAME * self.grants() as u32;
        // Told before the first request: then this stream is one of those that ask.
        let mut packets = Packets::new().fence(FENCE, 1, 1).message(gate(HOLDER, FENCE), 1);
        for _ in 0..grants {
            packets = push_name(packets.request(priority), number, list, spare, bytes).release();
        }
        packets
    }

    /// Runs it; returns the streams in the order of their grants, and the time.
    fn run(&self, bench: &Bench<'_>) -> Result<(Vec<usize>, Duration), JobError> {
        let grants = self.grants();
        let bytes = NAME as usize * (grants + 1);
        let (list, spare) = (bench.layout.hbm, bench.layout.hbm_second);
        let mut host = HostBuffer::new(bench.device, bytes)?;
        host.write(0, &vec![0xFF; bytes])?;
        bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), list, bytes as u32))?;

        let setting = WEIGHTS
            .iter()
            .zip((qman::ARB_WRR_WEIGHT_0..).step_by(4))
            .fold(Packets::new(), |packets, (weight, offset)| packets.message(register(offset), *weight));
        let setting = setting.message(register(qman::ARB_CFG_0), self.configuration).engine_barrier();
        let hold = if self.same_buffer {
            setting
        } else {
            bench.run_external(QUEUE_TO_DEVICE, &setting)?;
            Packets::new()
        };
        let hold = hold.request(HOLDER_PRIORITY);
        let hold = (0..STREAMS as u32).fold(hold, |packets, queue| packets.message(gate(queue, FENCE), 1));
        let hold = bench.commands(&hold.fence(FENCE, STREAMS as u8, STREAMS as u32).release())?;
        let mut buffers = Vec::new();
        for (number, stream) in self.streams.iter().enumerate() {
            buffers.push(bench.commands(&self.packets(number, *stream, list, spare))?);
        }
        let mut jobs = vec![Job::External { queue: HOLDER, commands: &hold }];
        jobs.extend((0..).zip(&buffers).map(|(queue, commands)| Job::External { queue, commands }));
        let time = bench.run(&jobs)?;
        bench.run_external(QUEUE_TO_DEVICE, &Packets::new().message(register(qman::ARB_CFG_0), 0))?;

        bench.download(list, host.address(0), bytes as u32)?;
        let order = order_of(&host, grants)?;
        Ok((order, time))
    }
}

/// Adds packets that push a name onto the list at `list`, which has `bytes` of names; `spare` is as large.
pub(super) fn push_name(packets: Packets, name: usize, list: u64, spare: u64, bytes: u32) -> Packets {
    packets
        .copy(list, spare, bytes)
        .engine_barrier()
        .copy(spare, list + u64::from(NAME), bytes)
        .engine_barrier()
        .fill(name as u64, list, NAME)
        .engine_barrier()
}

/// The names of a list at the start of a buffer, oldest first. The newest is the first in memory.
pub(super) fn order_of(buffer: &HostBuffer<'_>, count: usize) -> Result<Vec<usize>, DeviceError> {
    let mut names = vec![0; NAME as usize * count];
    buffer.read(0, &mut names)?;
    let name = |bytes: &[u8]| bytes.try_into().map_or(usize::MAX, |name| u64::from_le_bytes(name) as usize);
    Ok(names.chunks(NAME as usize).rev().map(name).collect())
}

/// The streams ask with different priorities, in all orders: the largest number goes first, with all its requests. The
/// arbiter is set by a submission of its own, or in the same buffer.
///
/// # Errors
/// A submission failed, or the order was another.
pub fn by_priority(bench: &Bench<'_>, grants: usize, same_buffer: bool) -> Result<Measured, JobError> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    for priorities in PRIORITIES {
        let streams = priorities.map(|priority| (priority, grants));
        let contest = Contest { configuration: BY_PRIORITY, streams, same_buffer };
        let (order, time) = contest.run(bench)?;
        let expected = order_by_priority(priorities, grants);
        if order != expected {
            return Err(JobError::Claim(format!("priorities {priorities:?}: {order:?} instead of {expected:?}")));
        }
        samples.push(time);
    }
    Ok(Measured { samples, total: begun.elapsed() })
}

/// The streams ask again and again: in each round each gets as many grants in a row as its weight says.
///
/// # Errors
/// A submission failed, or the order was another.
pub fn by_weight(bench: &Bench<'_>, rounds: usize) -> Result<Measured, JobError> {
    let streams = WEIGHTS.map(|weight| (0, weight as usize * rounds));
    let (order, time) = Contest { configuration: BY_WEIGHT, streams, same_buffer: false }.run(bench)?;
    let expected = orders_by_weight(rounds);
    if !expected.contains(&order) {
        return Err(JobError::Claim(format!("weights {WEIGHTS:?}: {order:?}")));
    }
    Ok(Measured { samples: vec![time], total: time })
}

pub(super) fn order_by_priority(priorities: [u8; STREAMS], grants: usize) -> Vec<usize> {
    let mut streams: Vec<usize> = (0..STREAMS).collect();
    streams.sort_by_key(|stream| std::cmp::Reverse(priorities.get(*stream).copied()));
    streams.into_iter().flat_map(|stream| std::iter::repeat_n(stream, grants)).collect()
}

/// A round may begin with any stream; the streams follow each other by number.
fn orders_by_weight(rounds: usize) -> Vec<Vec<usize>> {
    let turn = |stream: usize| {
        let weight = WEIGHTS.get(stream % STREAMS).copied().unwrap_or(0);
        std::iter::repeat_n(stream % STREAMS, weight as usize)
    };
    (0..STREAMS)
        .map(|first| {
            let round: Vec<usize> = (first..first + STREAMS).flat_map(turn).collect();
            round.repeat(rounds)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_orders_follow_from_numbers_and_weights() {
        assert_eq!(order_by_priority([1, 9, 5], 2), [1, 1, 2, 2, 0, 0]);
        let orders = orders_by_weight(2);
        assert_eq!(orders[0], [0, 0, 1, 1, 1, 2, 0, 0, 1, 1, 1, 2]);
        assert_eq!(orders[1], [1, 1, 1, 2, 0, 0, 1, 1, 1, 2, 0, 0]);
        assert_eq!(orders.len(), 3);
    }

    /// `submission-path.md` 11.5.
    #[test]
    fn the_registers_are_the_documented_ones() {
        assert_eq!(register(qman::ARB_CFG_0), 0x7F_FC50_8A00);
        assert_eq!(gate(3, 1), 0x7F_FC50_8328);
    }
}
