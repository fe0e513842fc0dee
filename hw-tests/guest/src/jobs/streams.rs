//! Streams of one queue manager that wait for each other at fences.
//!
//! Streams 2 and 3 of DMA0 raise each other's fence counter by messages; stream 0 begins.

use super::bench::{Bench, JobError};
use super::chain::Chain;
use super::many::Measured;
use super::packets::{Packets, QUEUE_TO_DEVICE, external, fence_address};
use crate::device::Job;
use std::time::Instant;

/// The two streams, as queues.
const LEFT: u32 = 2;
/// The other one.
const RIGHT: u32 = 3;
/// The fence counter they use.
const FENCE: u32 = 1;
/// The fence counter that is raised in parts.
const SUM: u32 = 3;

/// Where a queue's fence counter `fence` is raised.
pub(super) const fn gate(queue: u32, fence: u32) -> u64 {
    let (qman, stream) = external(queue);
    fence_address(qman, stream, fence)
}

/// `rounds` times: the left stream hands data on and opens the right one's fence, the right one hands it on and opens the
/// left one's.
///
/// # Errors
/// A submission failed, or the data was handed on too early.
pub fn fence_between(bench: &Bench<'_>, rounds: usize, seed: u64) -> Result<Measured, JobError> {
    let mut chain = Chain::new(bench, 2 * rounds + 1, seed)?;
    let (mut left, mut right) = (Packets::new(), Packets::new());
    for round in 0..rounds {
        left = chain.hand_on(2 * round, left.fence(FENCE, 1, 1)).message_behind(gate(RIGHT, FENCE), 1);
        right = chain.hand_on(2 * round + 1, right.fence(FENCE, 1, 1));
        right = if round + 1 < rounds { right.message_behind(gate(LEFT, FENCE), 1) } else { right };
    }
    let (left, right) = (bench.commands(&left)?, bench.commands(&right)?);
    let begin = bench.commands(&Packets::new().message(gate(LEFT, FENCE), 1))?;
    let time = bench.run(&[
        Job::External { queue: RIGHT, commands: &right },
        Job::External { queue: LEFT, commands: &left },
        Job::External { queue: QUEUE_TO_DEVICE, commands: &begin },
    ])?;
    chain.check(bench)?;
    sum(bench)?;
    Ok(Measured { samples: vec![time], total: time })
}

/// A target beyond the largest decrement, as two packets (`qman.md` 5.6): 30 in all, of which 29 are not enough, and all are
/// used up.
fn sum(bench: &Bench<'_>) -> Result<(), JobError> {
    let raise = |value| bench.run_external(QUEUE_TO_DEVICE, &Packets::new().message(gate(LEFT, SUM), value));
    let waits = Packets::new().fence(SUM, 30, 15).fence(SUM, 15, 15);
    let begun = Instant::now();
    let waiting = bench.start_external(LEFT, &waits)?;
    raise(15)?;
    raise(14)?;
    bench.expect_pending(waiting, "a fence below its target")?;
    raise(1)?;
    bench.device.wait(waiting, bench.patience)?;
    if begun.elapsed() > bench.patience {
        return Err(JobError::Claim("a fence at its target waited".to_owned()));
    }
    let behind = bench.start_external(LEFT, &Packets::new().fence(SUM, 1, 1))?;
    let pending = bench.expect_pending(behind, "a fence that was used up");
    raise(1)?;
    bench.device.wait(behind, bench.patience)?;
    pending
}
