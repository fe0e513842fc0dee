//! Measuring submissions: how many per second, and how long each takes, at a given number in flight.
//!
//! For the harness's `bench`, which runs this with different servers of the queue managers and compares. Each submission is
//! one job for one external queue; the queues of DMA0 and DMA1 take turns, so that queue managers on two cores both have
//! work. It owns nothing between two measurements, and what was copied is compared afterwards: wrong data is no measurement.

use super::bench::{Bench, JobError, expect};
use super::packets::{Packets, QUEUE_TO_DEVICE, QUEUE_TO_HOST};
use super::pattern::Pattern;
use super::record::Latency;
use crate::device::{CommandBuffer, DeviceError, HostBuffer, Job};
use coxswain_abi::packet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Queues that take turns: stream 0 of DMA0 and of DMA1.
const QUEUES: [u32; 2] = [QUEUE_TO_DEVICE, QUEUE_TO_HOST];
/// Submissions per slot before measuring begins.
const WARM_UP: usize = 4;
/// The fewest submissions of a measurement, so that a 99th percentile exists.
const LEAST: usize = 100;

/// What one submission does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A NOP packet.
    Blank,
    /// A copy of 4 KiB from the host to HBM.
    Small,
    /// A copy of 1 MiB from the host to HBM.
    Large,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Blank, Self::Small, Self::Large];

    /// Bytes that it copies.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Blank => 0,
            Self::Small => 4 << 10,
            Self::Large => 1 << 20,
        }
    }

    /// Name on command lines and in records.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Small => "4 KiB",
            Self::Large => "1 MiB",
        }
    }
}

/// Depths at which is measured: submissions in flight.
pub const DEPTHS: [usize; 3] = [1, 8, 64];

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What each submission does.
    pub work: Work,
    /// Submissions in flight.
    pub depth: usize,
    /// Submissions measured.
    pub submissions: usize,
    /// From the first submission to the end of the last wait, in seconds.
    pub seconds: f64,
    /// From before each submission to the end of the wait for it, in microseconds.
    pub latency_us: Latency,
}

impl Measurement {
    /// Submissions per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.submissions as f64 / self.seconds } else { 0.0 }
    }
}

/// What a run writes: one JSON line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Measuring begins, warmed up.
    MeasureBegin {
        /// What each submission does.
        work: Work,
        /// Submissions in flight.
        depth: usize,
    },
    /// It has ended; the data is compared after this line.
    MeasureEnd(Measurement),
}

/// Measures `work` with `depth` submissions in flight for about `time`, then compares the data. `tell` hears when measuring
/// begins and ends.
///
/// # Errors
/// A submission failed, or the data is wrong.
pub fn measure(
    bench: &Bench<'_>,
    work: Work,
    depth: usize,
    time: Duration,
    seed: u64,
    tell: &mut dyn FnMut(&Line),
) -> Result<Measurement, JobError> {
    let depth = depth.max(1);
    let data = Data::new(bench, work, depth, seed)?;
    for _ in 0..WARM_UP {
        data.fly(bench, depth, Until::Submissions(depth))?;
    }
    tell(&Line::MeasureBegin { work, depth });
    let begun = Instant::now();
    let samples = data.fly(bench, depth, Until::Time(begun + time))?;
    let seconds = begun.elapsed().as_secs_f64();
    let latency_us = Latency::of(&samples).ok_or_else(|| JobError::Claim("nothing was measured".to_owned()))?;
    let measurement = Measurement { work, depth, submissions: samples.len(), seconds, latency_us };
    tell(&Line::MeasureEnd(measurement.clone()));
    data.check(bench)?;
    Ok(measurement)
}

/// When to submit no more.
#[derive(Clone, Copy)]
enum Until {
    Submissions(usize),
    Time(Instant),
}

impl Until {
    fn is_over(self, submitted: usize) -> bool {
        match self {
            Self::Submissions(count) => submitted >= count,
            Self::Time(end) => submitted >= LEAST && Instant::now() >= end,
        }
    }
}

/// Command buffers, one per submission in flight, and what they copy.
struct Data<'d> {
    commands: Vec<CommandBuffer<'d>>,
    work: Work,
    pattern: Pattern,
    source: HostBuffer<'d>,
}

impl<'d> Data<'d> {
    fn new(bench: &Bench<'d>, work: Work, depth: usize, seed: u64) -> Result<Self, JobError> {
        let bytes = work.bytes();
        let pattern = Pattern::new(seed);
        let mut source = HostBuffer::new(bench.device, bytes.max(1) as usize)?;
        pattern.fill(&mut source, 0, 0, bytes as usize)?;
        if depth as u64 * u64::from(bytes) > bench.layout.hbm_bytes {
            return Err(DeviceError::Argument("too many bytes in flight").into());
        }
        let mut commands = Vec::with_capacity(depth);
        for slot in 0..depth {
            let packets = if work == Work::Blank {
                Packets::new().raw(&[packet::nop(0)])
            } else {
                let target = bench.layout.hbm + slot as u64 * u64::from(bytes);
                // Each slot must be written by its own submission: first none holds the right bytes.
                bench.run_external(QUEUE_TO_DEVICE, &Packets::new().fill(0, target, bytes))?;
                Packets::new().copy(source.address(0), target, bytes)
            };
            commands.push(bench.commands(&packets)?);
        }
        Ok(Self { commands, work, pattern, source })
    }

    /// Submits, at most `depth` in flight, and waits for all. Returns the time of each.
    fn fly(&self, bench: &Bench<'_>, depth: usize, until: Until) -> Result<Vec<Duration>, DeviceError> {
        let mut flying = VecDeque::with_capacity(depth);
        let mut samples = vec![];
        let turns = QUEUES.into_iter().cycle().zip(self.commands.iter().cycle());
        for (submitted, (queue, commands)) in turns.enumerate() {
            if until.is_over(submitted) {
                break;
            }
            if flying.len() >= depth
                && let Some((sequence, before)) = flying.pop_front()
            {
                samples.push(finish(bench, sequence, before)?);
            }
            let before = Instant::now();
            flying.push_back((bench.device.submit(&[Job::External { queue, commands }])?, before));
        }
        for (sequence, before) in flying {
            samples.push(finish(bench, sequence, before)?);
        }
        Ok(samples)
    }

    /// Compares what the first and the last slot hold with the source.
    fn check(&self, bench: &Bench<'_>) -> Result<(), JobError> {
        let bytes = self.work.bytes();
        if bytes == 0 {
            return Ok(());
        }
        let back = HostBuffer::new(bench.device, self.source.len())?;
        for slot in [0, self.commands.len() - 1] {
            let target = bench.layout.hbm + slot as u64 * u64::from(bytes);
            bench.run_external(QUEUE_TO_HOST, &Packets::new().fill(0, back.address(0), bytes))?;
            bench.download(target, back.address(0), bytes)?;
            expect("slot", 0, self.pattern.check(&back, 0, 0, bytes as usize)?)?;
        }
        Ok(())
    }
}

fn finish(bench: &Bench<'_>, sequence: crate::device::Sequence, before: Instant) -> Result<Duration, DeviceError> {
    bench.device.wait(sequence, bench.patience)?;
    Ok(before.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_one_json_line_and_survives_it() {
        let latency_us = Latency { min: 1.0, p50: 2.0, p99: 3.0, max: 4.0 };
        let measurement = Measurement { work: Work::Small, depth: 8, submissions: 500, seconds: 0.25, latency_us };
        assert!((measurement.per_second() - 2000.0).abs() < 1e-9);
        for line in [Line::MeasureBegin { work: Work::Blank, depth: 1 }, Line::MeasureEnd(measurement)] {
            let text = serde_json::to_string(&line).unwrap();
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }

    #[test]
    fn a_measurement_has_enough_samples_for_its_percentiles_however_short_its_time() {
        let over = Until::Time(Instant::now());
        assert!(!over.is_over(LEAST - 1));
        assert!(over.is_over(LEAST));
        assert!(!Until::Submissions(3).is_over(2) && Until::Submissions(3).is_over(3));
    }
}
