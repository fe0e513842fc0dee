//! Many submissions: one after another, in flight together, on all streams, and into a full queue.
//!
//! Each submission copies its own small slot, so that a lost, doubled or misplaced one shows in the data.

use super::bench::{Bench, JobError, expect};
use super::packets::{EXTERNAL_QUEUES, Packets, QUEUE_TO_DEVICE, external};
use super::pattern::Pattern;
use crate::device::{CommandBuffer, DeviceError, HostBuffer, Job, Sequence};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of one submission.
pub const SLOT: usize = 64;
/// The sync object that opens a blocked stream.
const GATE: u16 = 16;
/// The monitor that watches it.
const GATE_MONITOR: u16 = 8;
/// The stream that is blocked.
const GATED_QUEUE: u32 = 1;
/// Submissions after which a queue that is never full is an error: it holds 4096 (`submission-path.md` 2).
const DEEP_LIMIT: usize = 6000;
/// The fewest submissions a queue must take before it is full.
const DEEP_LEAST: usize = 4000;

/// What a job with many submissions measured.
#[derive(Debug)]
pub struct Measured {
    /// From each submission to the end of the wait for it.
    pub samples: Vec<Duration>,
    /// From the first submission to the end of the last wait.
    pub total: Duration,
}

/// The copy of slot `index`.
pub(super) fn slot_copy(source: u64, target: u64, index: usize) -> Packets {
    let offset = (SLOT * index) as u64;
    Packets::new().copy(source + offset, target + offset, SLOT as u32)
}

/// The slots of one run: a source, their place in HBM, and the way to check them.
pub(super) struct Slots<'d> {
    pattern: Pattern,
    source: HostBuffer<'d>,
    back: HostBuffer<'d>,
    target: u64,
    commands: CommandBuffer<'d>,
    length: usize,
}

impl<'d> Slots<'d> {
    pub(super) fn new(bench: &Bench<'d>, count: usize, seed: u64) -> Result<Self, JobError> {
        let length = SLOT * count;
        let pattern = Pattern::new(seed);
        let mut source = HostBuffer::new(bench.device, length)?;
        let mut back = HostBuffer::new(bench.device, length)?;
        let target = bench.layout.hbm;
        // Every slot must be written by its own submission: first none holds the right bytes.
        pattern.complement().fill(&mut source, 0, 0, length)?;
        let size = u32::try_from(length).map_err(|_| DeviceError::Argument("too many slots"))?;
        bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(source.address(0), target, size))?;
        pattern.fill(&mut source, 0, 0, length)?;
        pattern.complement().fill(&mut back, 0, 0, length)?;
        let commands = CommandBuffer::new(bench.device, 4096)?;
        Ok(Self { pattern, source, back, target, commands, length })
    }

    /// Device addresses of the source and of the target.
    pub(super) fn addresses(&self) -> (u64, u64) {
        (self.source.address(0), self.target)
    }

    /// Submits the copy of slot `index`.
    fn submit(&mut self, bench: &Bench<'d>, queue: u32, index: usize) -> Result<Sequence, DeviceError> {
        let (source, target) = self.addresses();
        let packets = slot_copy(source, target, index);
        // The driver copies the packets at submission: one buffer serves all.
        self.commands.set(packets.words())?;
        bench.device.submit(&[Job::External { queue, commands: &self.commands }])
    }

    /// Checks the first `count` slots, and that the others were left alone.
    pub(super) fn check(&mut self, bench: &Bench<'d>, count: usize) -> Result<(), JobError> {
        bench.download(self.target, self.back.address(0), self.length as u32)?;
        let written = (SLOT * count).min(self.length);
        expect("slots", 0, self.pattern.check(&self.back, 0, 0, written)?)?;
        let rest = self.length - written;
        let complement = self.pattern.complement();
        expect("slots that were not submitted", 0, complement.check(&self.back, written, written as u64, rest)?)
    }
}

/// Submissions in flight, oldest first.
#[derive(Default)]
struct InFlight {
    pending: VecDeque<(Sequence, Instant)>,
    samples: Vec<Duration>,
}

impl InFlight {
    fn push(&mut self, sequence: Sequence, begun: Instant) {
        self.pending.push_back((sequence, begun));
    }

    /// Waits for the oldest; false when there is none.
    fn wait_oldest(&mut self, bench: &Bench<'_>) -> Result<bool, DeviceError> {
        let Some((sequence, begun)) = self.pending.pop_front() else { return Ok(false) };
        bench.device.wait(sequence, bench.patience)?;
        self.samples.push(begun.elapsed());
        Ok(true)
    }

    fn wait_all(&mut self, bench: &Bench<'_>) -> Result<(), DeviceError> {
        while self.wait_oldest(bench)? {}
        Ok(())
    }
}

/// `count` submissions, each waited for before the next.
///
/// # Errors
/// A submission failed or the data is wrong.
pub fn one_by_one(bench: &Bench<'_>, count: usize, seed: u64) -> Result<Measured, JobError> {
    let mut slots = Slots::new(bench, count, seed)?;
    let mut samples = Vec::with_capacity(count);
    let begun = Instant::now();
    for index in 0..count {
        let before = Instant::now();
        let sequence = slots.submit(bench, QUEUE_TO_DEVICE, index)?;
        bench.device.wait(sequence, bench.patience)?;
        samples.push(before.elapsed());
    }
    let total = begun.elapsed();
    slots.check(bench, count)?;
    Ok(Measured { samples, total })
}

/// `count` submissions over `queues` queues in turn, as many in flight as the driver takes.
///
/// # Errors
/// A submission failed or the data is wrong.
pub fn in_flight(bench: &Bench<'_>, count: usize, queues: u32, seed: u64) -> Result<Measured, JobError> {
    let mut slots = Slots::new(bench, count, seed)?;
    let mut flight = InFlight::default();
    let begun = Instant::now();
    for (index, queue) in (0..count).zip((0..queues.clamp(1, EXTERNAL_QUEUES)).cycle()) {
        loop {
            let before = Instant::now();
            match slots.submit(bench, queue, index) {
                Ok(sequence) => break flight.push(sequence, before),
                // Full: the oldest must end first. With nothing in flight the queue cannot be full.
                Err(DeviceError::Full) if flight.wait_oldest(bench)? => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    flight.wait_all(bench)?;
    let total = begun.elapsed();
    slots.check(bench, count)?;
    Ok(Measured { samples: flight.samples, total })
}

/// Blocks a stream at a fence, submits until the driver says that the queue is full, opens the fence from another stream
/// and waits for everything.
///
/// # Errors
/// The queue is full too early or never, a submission failed, or the data is wrong.
pub fn full_queue(bench: &Bench<'_>, seed: u64) -> Result<Measured, JobError> {
    let mut slots = Slots::new(bench, DEEP_LIMIT, seed)?;
    let (qman, stream) = external(GATED_QUEUE);
    let gate = bench.commands(&Packets::new().wait_for(GATE, GATE_MONITOR, qman, stream))?;
    let mut flight = InFlight::default();
    let begun = Instant::now();
    flight.push(bench.device.submit(&[Job::External { queue: GATED_QUEUE, commands: &gate }])?, begun);

    let mut taken = 0;
    let full = loop {
        if taken == DEEP_LIMIT {
            break false;
        }
        let before = Instant::now();
        match slots.submit(bench, GATED_QUEUE, taken) {
            Ok(sequence) => flight.push(sequence, before),
            Err(DeviceError::Full) => break true,
            Err(error) => return Err(error.into()),
        }
        taken += 1;
    };
    // The gate is opened in any case: a card left blocked would have to be reset.
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().signal(GATE))?;
    flight.wait_all(bench)?;
    let total = begun.elapsed();
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().clear(GATE))?;
    slots.check(bench, taken)?;
    if !full {
        return Err(JobError::Claim(format!("the queue took {taken} submissions and was never full")));
    }
    if taken < DEEP_LEAST {
        return Err(JobError::Claim(format!("the queue was full after {taken} submissions")));
    }
    Ok(Measured { samples: flight.samples, total })
}
