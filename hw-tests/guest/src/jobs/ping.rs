//! Two engines that hand data to each other, ordered by sync objects.
//!
//! DMA2 copies when one sync object has reached the round and then raises the other; DMA3 does the same the other way round.
//! Both run on their lower command processor: one from HBM, the other from host memory.

use super::bench::{Bench, JobError};
use super::chain::Chain;
use super::many::Measured;
use super::packets::{LOWER, Packets, QUEUE_TO_DEVICE, QUEUE_TO_HOST, external, internal};
use super::programs::Programs;
use crate::device::{DeviceError, HostBuffer, Job};

/// Raised for DMA2, first by the host's queue.
const PING: u16 = 40;
/// Raised for DMA3.
const PONG: u16 = 41;
/// Monitors of DMA2, DMA3 and DMA1.
const MONITORS: [u16; 3] = [20, 21, 22];
/// The two engines.
const ENGINES: [usize; 2] = [2, 3];
/// A copy that takes longer than the way of a signal from engine to engine, in bytes.
const SLOW: u32 = 256 * 1024;
/// Where it lies in the second area of HBM; before it lies a program.
const SLOW_OFFSET: u64 = 64 << 20;
/// Most rounds: a sync object counts to 32767.
const LIMIT: usize = 30_000;

/// Runs `rounds` rounds and checks every step.
///
/// # Errors
/// A submission failed, or the data was handed on too early.
pub fn pong(bench: &Bench<'_>, rounds: usize, seed: u64) -> Result<Measured, JobError> {
    if rounds > LIMIT {
        return Err(DeviceError::Argument("more rounds than a sync object counts").into());
    }
    let mut chain = Chain::new(bench, 2 * rounds + 1, seed)?;
    let [first, second] = ENGINES;
    let [first_monitor, second_monitor, end_monitor] = MONITORS;
    let (mut left, mut right) = (Packets::new(), Packets::new());
    // One of the two is slow in each round, in turn: the other would overtake it if it did not wait.
    let slow = bench.layout.hbm_second + SLOW_OFFSET;
    let dawdle = |packets: Packets, is_slow: bool| {
        if is_slow { packets.copy(slow, slow + u64::from(SLOW), SLOW) } else { packets }
    };
    for round in 0..rounds {
        let value = round as u16 + 1;
        let waiting = left.wait_until(PING, value, first_monitor, first, LOWER);
        left = chain.hand_on(2 * round, dawdle(waiting, round % 2 == 0)).signal(PONG);
        let waiting = right.wait_until(PONG, value, second_monitor, second, LOWER);
        right = chain.hand_on(2 * round + 1, dawdle(waiting, round % 2 == 1)).signal(PING);
    }

    let in_hbm = bench.layout.hbm_second;
    let mut staging = HostBuffer::new(bench.device, left.bytes())?;
    bench.upload(&mut staging, &left.to_le_bytes(), in_hbm)?;
    let mut programs = Programs::new(bench, right.bytes() + 4096)?;
    let (address, bytes) = programs.put(&right)?;
    programs.lower_at(internal(first, 0), in_hbm, left.bytes() as u32)?;
    programs.lower_at(internal(second, 0), address, bytes)?;

    let (qman, stream) = external(QUEUE_TO_HOST);
    let end = Packets::new().wait_until(PING, rounds as u16 + 1, end_monitor, qman, stream).clear(PING).clear(PONG);
    let (end, begin) = (bench.commands(&end)?, bench.commands(&Packets::new().signal(PING))?);
    let mut jobs: Vec<Job<'_>> = programs.jobs().to_vec();
    jobs.push(Job::External { queue: QUEUE_TO_HOST, commands: &end });
    jobs.push(Job::External { queue: QUEUE_TO_DEVICE, commands: &begin });
    let time = bench.run(&jobs)?;
    chain.check(bench)?;
    Ok(Measured { samples: vec![time], total: time })
}
