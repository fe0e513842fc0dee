//! Many threads that submit at the same time.
//!
//! Each thread copies its own slots, on one of the external streams; all streams are used.

use super::bench::{Bench, JobError};
use super::many::{Measured, Slots, slot_copy};
use super::packets::EXTERNAL_QUEUES;
use crate::device::{CommandBuffer, DeviceError, Job, Sequence};
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

/// Threads.
const THREADS: usize = 64;
/// Submissions that one thread has in flight.
const WINDOW: usize = 8;

/// `count` submissions, shared by 64 threads that begin together.
///
/// # Errors
/// A submission failed or the data is wrong.
pub fn at_once(bench: &Bench<'_>, count: usize, seed: u64) -> Result<Measured, JobError> {
    let mut slots = Slots::new(bench, count, seed)?;
    let (source, target) = slots.addresses();
    let barrier = std::sync::Barrier::new(THREADS);
    let begun = Instant::now();
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let share: Vec<usize> = (number..count).step_by(THREADS).collect();
                    // Created before anybody begins; a thread that fails must not leave the others waiting.
                    let commands = CommandBuffer::new(bench.device, 4096);
                    barrier.wait();
                    work(bench, number as u32 % EXTERNAL_QUEUES, &share, (source, target), commands?)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or(Err(DeviceError::Answer("a thread that panicked"))))
            .collect::<Vec<_>>()
    });
    let total = begun.elapsed();
    let mut samples = Vec::with_capacity(count);
    for result in results {
        samples.extend(result?);
    }
    slots.check(bench, count)?;
    Ok(Measured { samples, total })
}

/// One thread: submits the slots of its share, a few in flight.
fn work(
    bench: &Bench<'_>,
    queue: u32,
    share: &[usize],
    (source, target): (u64, u64),
    mut commands: CommandBuffer<'_>,
) -> Result<Vec<Duration>, DeviceError> {
    let mut samples = Vec::with_capacity(share.len());
    let mut flight: VecDeque<(Sequence, Instant)> = VecDeque::new();
    let mut wait_oldest = |flight: &mut VecDeque<(Sequence, Instant)>| {
        let Some((sequence, begun)) = flight.pop_front() else { return Ok(false) };
        bench.device.wait(sequence, bench.patience)?;
        samples.push(begun.elapsed());
        Ok(true)
    };
    for index in share {
        commands.set(slot_copy(source, target, *index).words())?;
        let deadline = Instant::now() + bench.patience;
        loop {
            let begun = Instant::now();
            match bench.device.submit(&[Job::External { queue, commands: &commands }]) {
                Ok(sequence) => break flight.push_back((sequence, begun)),
                // Full, perhaps of other threads' work.
                Err(DeviceError::Full) if wait_oldest(&mut flight)? => {}
                Err(DeviceError::Full) if begun < deadline => thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error),
            }
        }
        if flight.len() >= WINDOW {
            wait_oldest(&mut flight)?;
        }
    }
    while wait_oldest(&mut flight)? {}
    Ok(samples)
}
