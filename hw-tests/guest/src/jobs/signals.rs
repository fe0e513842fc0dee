//! The driver's own synchronisation: signal and wait submissions, reserved signals, stages, and waiting for the first of
//! several submissions (`submission-path.md` 7).
//!
//! Streams are held back by a fence that another stream opens, so that "not yet" can be checked as well as "done".

use super::bench::{Bench, JobError};
use super::chain::Chain;
use super::many::Measured;
use super::packets::{EXTERNAL_QUEUES, INTERNAL_ENGINE, LOWER, Packets, QUEUE_INTERNAL, QUEUE_TO_HOST, external};
use super::programs::Programs;
use super::streams::gate;
use crate::device::{DeviceError, Job, Sequence, Stage};
use coxswain_abi::packet::sob_add;
use coxswain_abi::regs::CFG_BASE;
use std::time::{Duration, Instant};

/// The fence counter that holds a stream back. The driver uses number 2.
const FENCE: u32 = 1;
/// The stream that opens fences.
const OPENER: u32 = 7;
/// Submissions in flight; a queue takes 4096 (`submission-path.md` 2).
const IN_FLIGHT: usize = 1500;
/// Sync objects and monitors of a staged submission.
const FIRST_DONE: u16 = 64;
const MIDDLE_DONE: u16 = 65;
const MONITORS: [u16; 2] = [32, 33];
/// How long a wait for several submissions is watched when none of them can end.
const WHILE: Duration = Duration::from_millis(20);

/// Opens the fence that holds a queue.
fn open(bench: &Bench<'_>, queue: u32) -> Result<(), DeviceError> {
    bench.run_external(OPENER, &Packets::new().message(gate(queue, FENCE), 1)).map(|_| ())
}

/// Packets that wait for [`open`].
fn held() -> Packets {
    Packets::new().fence(FENCE, 1, 1)
}

/// What a wait submission must be: one that the device has to carry out.
fn on_device(wait: Option<Sequence>, what: &str) -> Result<Sequence, JobError> {
    wait.ok_or_else(|| JobError::Claim(format!("{what} was complete before it could be")))
}

/// First a signal that is held back, and a wait for it that must not end; then data handed on `rounds` times from queue to
/// queue over all external streams, by a signal and a wait each, all in flight.
///
/// # Errors
/// A submission failed, a wait did not wait, or the data was handed on too early.
pub fn signal_and_wait(bench: &Bench<'_>, rounds: usize, seed: u64) -> Result<Measured, JobError> {
    let mut chain = Chain::new(bench, 3, seed)?;
    let (from, to) = (0, QUEUE_TO_HOST);
    let first = bench.start_external(from, &chain.hand_on(0, held()))?;
    let signal = bench.device.signal(from)?;
    let wait = on_device(bench.device.wait_on_queue(to, signal)?, "the signal of a queue that is held back")?;
    let behind = bench.start_external(to, &chain.hand_on(1, Packets::new()))?;
    let pending = bench
        .expect_pending(wait, "a wait for a signal")
        .and_then(|()| bench.expect_pending(behind, "the work behind a wait for a signal"));
    open(bench, from)?;
    bench.wait_all(&[first, signal, wait, behind])?;
    pending?;
    chain.check(bench)?;
    if bench.device.wait_on_queue(to, signal)?.is_some() {
        return Err(JobError::Claim("the driver submitted a wait for a signal that was complete".to_owned()));
    }

    let mut chain = Chain::new(bench, rounds + 1, seed.rotate_left(7))?;
    let mut pending = Vec::new();
    let begun = Instant::now();
    for (round, queue) in (0..rounds).zip((0..EXTERNAL_QUEUES).cycle()) {
        pending.push(bench.start_external(queue, &chain.hand_on(round, Packets::new()))?);
        let signal = bench.device.signal(queue)?;
        pending.push(signal);
        // None: complete already.
        pending.extend(bench.device.wait_on_queue((queue + 1) % EXTERNAL_QUEUES, signal)?);
        if pending.len() > IN_FLIGHT {
            bench.wait_all(&pending)?;
            pending.clear();
        }
    }
    bench.wait_all(&pending)?;
    let total = begun.elapsed();
    chain.check(bench)?;
    Ok(Measured { samples: vec![total / rounds.max(1) as u32], total })
}

/// A reservation of signals that a staged submission sends in two parts, and a wait for each part.
///
/// # Errors
/// A submission failed, a wait ended too early, or the driver accepted a wait beyond the reservation.
pub fn encapsulated(bench: &Bench<'_>) -> Result<Measured, JobError> {
    const PARTS: [u16; 2] = [3, 5];
    let [part, rest] = PARTS;
    let (signaller, last_queue) = (1, 2);
    let device = bench.device;
    let begun = Instant::now();

    // One that nobody uses can be given back.
    let unused = device.reserve_signals(3, 4)?;
    device.unreserve_signals(unused)?;

    let reservation = device.reserve_signals(signaller, u32::from(part + rest))?;
    let sob = CFG_BASE + u64::from(reservation.sob_offset);
    let packets = held().message_behind(sob, sob_add(part)).fence(FENCE, 1, 1).message_behind(sob, sob_add(rest));
    let commands = bench.commands(&packets)?;
    let job = Job::External { queue: signaller, commands: &commands };
    let staged = device.submit_stage(Stage::FirstWithSignals(reservation), &[job])?;
    let some = device.wait_on_queue_for(4, staged, part.into())?;
    let some = on_device(some, "a part of the reserved signals")?;
    let all = device.wait_on_queue_for(5, staged, (part + rest).into())?;
    let all = on_device(all, "all of the reserved signals")?;
    let beyond = device.wait_on_queue_for(6, staged, u32::from(part + rest) + 1);

    let nothing = bench.commands(&Packets::new().engine_barrier())?;
    let last = Job::External { queue: last_queue, commands: &nothing };
    device.submit_stage(Stage::Last(staged), &[last])?;

    let nothing_yet = bench
        .expect_pending(some, "a wait for a part of the reserved signals")
        .and_then(|()| bench.expect_pending(all, "a wait for all of the reserved signals"));
    open(bench, signaller)?;
    device.wait(some, bench.patience)?;
    let part_only = bench.expect_pending(all, "a wait for the second part of the reserved signals");
    open(bench, signaller)?;
    bench.wait_all(&[all, staged])?;
    nothing_yet?;
    part_only?;
    match beyond {
        Err(DeviceError::Refused { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(JobError::Claim("a wait beyond the reserved signals was accepted".to_owned())),
    }
    let total = begun.elapsed();
    Ok(Measured { samples: vec![total], total })
}

/// A submission in three stages on an external, an internal and another external queue. It is complete only behind the last.
///
/// # Errors
/// A stage failed, the whole was complete too early, or the data was handed on too early.
pub fn staged(bench: &Bench<'_>, rounds: usize, seed: u64) -> Result<Measured, JobError> {
    let mut samples = Vec::new();
    let begun = Instant::now();
    for round in 0..rounds {
        samples.push(three_stages(bench, seed.wrapping_add(round as u64), round == 0)?);
    }
    Ok(Measured { samples, total: begun.elapsed() })
}

fn three_stages(bench: &Bench<'_>, seed: u64, watched: bool) -> Result<Duration, JobError> {
    let mut chain = Chain::new(bench, 4, seed)?;
    let [middle_monitor, last_monitor] = MONITORS;
    let (qman, stream) = external(QUEUE_TO_HOST);
    let first = bench.commands(&chain.hand_on(0, Packets::new()).signal(FIRST_DONE))?;
    let middle = Packets::new().wait_until(FIRST_DONE, 1, middle_monitor, INTERNAL_ENGINE, LOWER);
    let middle = chain.hand_on(1, middle).signal(MIDDLE_DONE);
    let last = Packets::new().wait_until(MIDDLE_DONE, 1, last_monitor, qman, stream);
    let last = bench.commands(&chain.hand_on(2, last).clear(FIRST_DONE).clear(MIDDLE_DONE))?;
    let mut programs = Programs::new(bench, 4096)?;
    let (address, bytes) = programs.put(&middle)?;
    programs.lower_at(QUEUE_INTERNAL, address, bytes)?;

    let begun = Instant::now();
    let whole = bench.device.submit_stage(Stage::First, &[Job::External { queue: 0, commands: &first }])?;
    bench.device.submit_stage(Stage::Middle(whole), programs.jobs())?;
    let pending = if watched { bench.expect_pending(whole, "a submission without its last stage") } else { Ok(()) };
    let job = Job::External { queue: QUEUE_TO_HOST, commands: &last };
    bench.device.submit_stage(Stage::Last(whole), &[job])?;
    bench.device.wait(whole, bench.patience)?;
    let time = begun.elapsed();
    pending?;
    chain.check(bench)?;
    Ok(time)
}

/// Three submissions that are held back, let go one after another: a wait for any of them tells which are complete.
///
/// # Errors
/// A submission failed, or the wait told something else.
pub fn first_of_several(bench: &Bench<'_>) -> Result<Measured, JobError> {
    const QUEUES: [u32; 3] = [0, 2, 5];
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut held_back = Vec::new();
    for queue in QUEUES {
        held_back.push((queue, bench.start_external(queue, &held())?));
    }
    let all: Vec<Sequence> = held_back.iter().map(|(_, sequence)| *sequence).collect();
    let none = bench.device.wait_any(&all, WHILE)?;
    let mut wrong = (none != 0).then(|| format!("{none:#b} of three submissions that are held back"));
    // The second, then the last, then the first.
    for position in [1, 1, 0] {
        let left: Vec<Sequence> = held_back.iter().map(|(_, sequence)| *sequence).collect();
        let (queue, _) = held_back.remove(position);
        open(bench, queue)?;
        let before = Instant::now();
        let complete = bench.device.wait_any(&left, bench.patience)?;
        samples.push(before.elapsed());
        if complete != 1 << position {
            wrong.get_or_insert(format!("{complete:#b} instead of {:#b}", 1 << position));
        }
    }
    bench.wait_all(&all)?;
    match wrong {
        None => Ok(Measured { samples, total: begun.elapsed() }),
        Some(wrong) => Err(JobError::Claim(format!("a wait for several submissions told {wrong}"))),
    }
}
