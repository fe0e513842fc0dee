//! What a job reports.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The result of one job at one size: one line of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name in the catalogue.
    pub job: String,
    /// Bytes moved by one submission.
    pub bytes: u64,
    /// Submissions that were measured.
    pub submissions: u32,
    /// Pass or fail.
    pub result: Verdict,
    /// Why it failed.
    pub error: Option<String>,
    /// Seed of the data.
    pub seed: u64,
    /// From before the submission to the end of the wait for it, in microseconds.
    pub latency_us: Option<Latency>,
    /// Bytes of one submission by the median latency, in 10^9 bytes per second.
    #[serde(rename = "GB/s")]
    pub gb_per_s: Option<f64>,
    /// Submissions per second over all of them.
    #[serde(rename = "submissions/s")]
    pub per_s: Option<f64>,
}

/// Pass or fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was as it must be.
    Pass,
    /// Something was not, or the job did not run.
    Fail,
}

/// Order statistics in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 99 of 100 are not larger.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Latency {
    /// The statistics of samples; `None` without samples.
    #[must_use]
    pub fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank: the smallest sample that at least this part of all samples does not exceed.
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { min: *sorted.first()?, p50: rank(50)?, p99: rank(99)?, max: *sorted.last()? })
    }
}

impl Record {
    /// A record of success.
    #[must_use]
    pub fn passed(job: &str, bytes: u64, seed: u64, samples: &[Duration], total: Option<Duration>) -> Self {
        let latency_us = Latency::of(samples);
        let rate = |amount: f64, seconds: f64| (seconds > 0.0).then(|| amount / seconds);
        Self {
            job: job.to_owned(),
            bytes,
            submissions: samples.len() as u32,
            result: Verdict::Pass,
            error: None,
            seed,
            latency_us,
            gb_per_s: latency_us.filter(|_| bytes > 0).and_then(|latency| rate(bytes as f64 / 1e9, latency.p50 / 1e6)),
            per_s: total.and_then(|total| rate(samples.len() as f64, total.as_secs_f64())),
        }
    }

    /// A record of failure.
    #[must_use]
    pub fn failed(job: &str, bytes: u64, seed: u64, error: String) -> Self {
        Self {
            job: job.to_owned(),
            bytes,
            submissions: 0,
            result: Verdict::Fail,
            error: Some(error),
            seed,
            latency_us: None,
            gb_per_s: None,
            per_s: None,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.result {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
        };
        write!(f, "{verdict}  {:<19} {:>10} bytes", self.job, self.bytes)?;
        if let Some(error) = &self.error {
            return write!(f, "  {error} (seed {})", self.seed);
        }
        if let Some(latency) = &self.latency_us {
            write!(f, "  {:>6} x  p50 {:>9.0} us  p99 {:>9.0} us", self.submissions, latency.p50, latency.p99)?;
        }
        if let Some(gb_per_s) = self.gb_per_s {
            write!(f, "  {gb_per_s:>7.3} GB/s")?;
        }
        if let Some(per_s) = self.per_s {
            write!(f, "  {per_s:>7.0} /s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        let latency = Latency::of(&samples).unwrap();
        let rounded = [latency.min, latency.p50, latency.p99, latency.max].map(f64::round);
        assert_eq!(rounded, [1.0, 50.0, 99.0, 100.0]);
        let one = Latency::of(&[Duration::from_micros(7)]).unwrap();
        assert_eq!([one.min, one.p50, one.p99, one.max].map(f64::round), [7.0; 4]);
        assert_eq!(Latency::of(&[]), None);
    }

    #[test]
    fn rates_follow_from_latency_and_total() {
        let samples = [Duration::from_millis(1); 4];
        let record = Record::passed("x", 1_000_000, 0, &samples, Some(Duration::from_millis(2)));
        assert!((record.gb_per_s.unwrap() - 1.0).abs() < 1e-9);
        assert!((record.per_s.unwrap() - 2000.0).abs() < 1e-6);
    }

    #[test]
    fn a_record_is_one_json_line_with_the_agreed_names() {
        let record = Record::passed("host-hbm", 4096, 5, &[Duration::from_micros(100)], None);
        let line = serde_json::to_string(&record).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["result"], "pass");
        assert_eq!(value["job"], "host-hbm");
        assert!(value["GB/s"].as_f64().is_some() && value["latency_us"]["p99"].as_f64().is_some());
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_failure_shows_its_reason_and_the_seed_to_repeat_it() {
        let text = Record::failed("host-hbm", 4096, 77, "byte 5 is wrong".into()).to_string();
        assert!(text.starts_with("FAIL") && text.contains("byte 5 is wrong") && text.contains("77"), "{text}");
    }
}
