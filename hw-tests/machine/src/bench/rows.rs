//! The result of the measurements through the driver: rows, ratios, and the table for a person.

use std::time::Duration;

use coxswain_guest::jobs::measure::{Measurement, Work};
use serde::Serialize;

/// Measurements during which the rest of the machine used no more than this part of the processors are calm.
const CALM: f64 = 0.05;

/// Who serves the queue managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// The reference interpreter, inside the access that rings the doorbell: nothing is faster for a single job.
    CeilingAtOnce,
    /// The reference interpreter on a thread of its own: the driver goes on meanwhile, and completions come together.
    CeilingBeside,
    /// Firmware: so many queue cores; 0: the control core.
    QueueCores(u32),
}

impl Server {
    /// All that are compared.
    pub const ALL: [Self; 5] =
        [Self::CeilingAtOnce, Self::CeilingBeside, Self::QueueCores(0), Self::QueueCores(1), Self::QueueCores(2)];

    /// True for what the firmware is compared with.
    #[must_use]
    pub const fn is_ceiling(self) -> bool {
        matches!(self, Self::CeilingAtOnce | Self::CeilingBeside)
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::CeilingAtOnce => "ceiling, at once".into(),
            Self::CeilingBeside => "ceiling, beside".into(),
            Self::QueueCores(0) => "control core".into(),
            Self::QueueCores(1) => "1 queue core".into(),
            Self::QueueCores(count) => format!("{count} queue cores"),
        }
    }
}

/// Microseconds of processor time per submission, by process, in the resolution of the system's accounts: a measurement of
/// less than a second says little. Processes that run at the same time add up to more than the time of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessorTime {
    /// The guest: Linux, the driver, the program, and the emulator around them.
    pub guest_us: f64,
    /// The card model, with the ceiling where that serves.
    pub card_us: f64,
    /// The management CPU.
    pub management_us: f64,
}

impl ProcessorTime {
    /// From what guest, card and management CPU spent on so many submissions.
    #[must_use]
    pub fn of([guest, card, management]: [Duration; 3], submissions: usize) -> Self {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / submissions.max(1) as f64;
        Self { guest_us: each(guest), card_us: each(card), management_us: each(management) }
    }
}

/// One measurement of one guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Who served the queue managers.
    pub server: Server,
    /// What the guest measured.
    pub measurement: Measurement,
    /// Processor time of guest, card and management CPU meanwhile.
    pub spent: [Duration; 3],
    /// Part of all processors' time that the rest of the machine used meanwhile.
    pub disturbance: f64,
}

/// One line of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What each submission does.
    pub work: Work,
    /// Submissions in flight.
    pub depth: usize,
    /// Who served the queue managers.
    pub server: Server,
    /// Submissions measured, all rounds together.
    pub submissions: usize,
    /// Submissions per second in the round that counts: the middle one of the calm rounds, or the calmest when none is calm.
    pub per_second: f64,
    /// Submissions per second of each round.
    pub rounds: Vec<f64>,
    /// Median latency of the round that counts, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the latency of that round in microseconds.
    pub p99_us: f64,
    /// Part of all processors' time that the rest of the machine used in that round.
    pub disturbance: f64,
    /// Submissions per second as a part of the better ceiling's, the median over the rounds; none without a ceiling.
    pub ratio: Option<f64>,
    /// Where the processors' time went, all rounds together.
    pub processor: ProcessorTime,
}

/// Puts the samples of all guests together: one row for each work, depth and server, in this order.
#[must_use]
pub fn summarise(samples: &[Sample]) -> Vec<Row> {
    let mut keys: Vec<(usize, usize, usize)> = samples
        .iter()
        .filter_map(|Sample { server, measurement, .. }| {
            let work = Work::ALL.iter().position(|work| *work == measurement.work)?;
            let server = Server::ALL.iter().position(|known| known == server)?;
            Some((work, measurement.depth, server))
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut rows: Vec<Row> = keys
        .into_iter()
        .filter_map(|(work, depth, server)| {
            let (work, server) = (*Work::ALL.get(work)?, *Server::ALL.get(server)?);
            let key = (work, depth, server);
            let of_row = |sample: &&Sample| (sample.measurement.work, sample.measurement.depth, sample.server) == key;
            row(&samples.iter().filter(of_row).collect::<Vec<_>>())
        })
        .collect();
    set_ratios(&mut rows);
    rows
}

/// The row of the samples of one work, depth and server; `None` without samples.
fn row(samples: &[&Sample]) -> Option<Row> {
    let mut calm: Vec<&Sample> = samples.iter().copied().filter(|sample| sample.disturbance <= CALM).collect();
    calm.sort_by(|left, right| left.measurement.per_second().total_cmp(&right.measurement.per_second()));
    let calmest = || samples.iter().copied().min_by(|left, right| left.disturbance.total_cmp(&right.disturbance));
    let Sample { server, measurement, disturbance, .. } = calm.get(calm.len() / 2).copied().or_else(calmest)?;
    let submissions = samples.iter().map(|sample| sample.measurement.submissions).sum();
    let spent = std::array::from_fn(|process| samples.iter().filter_map(|sample| sample.spent.get(process)).sum());
    Some(Row {
        work: measurement.work,
        depth: measurement.depth,
        server: *server,
        submissions,
        per_second: measurement.per_second(),
        rounds: samples.iter().map(|sample| sample.measurement.per_second()).collect(),
        p50_us: measurement.latency_us.p50,
        p99_us: measurement.latency_us.p99,
        disturbance: *disturbance,
        ratio: None,
        processor: ProcessorTime::of(spent, submissions),
    })
}

/// Tells every row as a part of the better ceiling of its work and depth: the median over the rounds, each compared with the
/// ceilings of the same round, which were measured seconds before or after it.
fn set_ratios(rows: &mut [Row]) {
    let ceilings: Vec<(Work, usize, Vec<f64>)> = rows
        .iter()
        .filter(|row| row.server.is_ceiling())
        .map(|row| (row.work, row.depth, row.rounds.clone()))
        .collect();
    for row in rows {
        let of_row = || ceilings.iter().filter(|(work, depth, _)| (*work, *depth) == (row.work, row.depth));
        let best = |round: usize| of_row().filter_map(|(.., rates)| rates.get(round).copied()).fold(0.0, f64::max);
        let compared = row.rounds.iter().enumerate().map(|(round, rate)| (rate, best(round)));
        let mut ratios: Vec<f64> = compared.filter(|(_, best)| *best > 0.0).map(|(rate, best)| rate / best).collect();
        ratios.sort_by(f64::total_cmp);
        row.ratio = ratios.get(ratios.len() / 2).copied();
    }
}

/// The rows for a person.
#[must_use]
pub fn to_text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<6}{:>5}  {:<17}{:>7}{:>11}{:>11}{:>7}   {}\n",
        "job", "depth", "queues served by", "per s", "p50", "p99", "ratio", "CPU us: guest  card   A53"
    );
    let mut last = None;
    for row in rows {
        let begins = last.replace((row.work, row.depth)) != Some((row.work, row.depth));
        let (job, depth) = if begins { (row.work.name(), row.depth.to_string()) } else { ("", String::new()) };
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let ProcessorTime { guest_us, card_us, management_us } = row.processor;
        let mark = if row.disturbance > CALM { "*" } else { "" };
        text.push_str(&format!(
            "{job:<6}{depth:>5}  {:<17}{:>7.0}{:>8.0} us{:>8.0} us{ratio:>7}   {guest_us:>13.0}{card_us:>6.0}{management_us:>6.0}{mark}\n",
            row.server.name(),
            row.per_second,
            row.p50_us,
            row.p99_us,
        ));
    }
    if let Some(worst) = rows.iter().map(|row| row.disturbance).filter(|part| *part > CALM).max_by(f64::total_cmp) {
        text.push_str(&format!(
            "* other programs used the processors meanwhile, up to {:.0} % of their time: measure again\n",
            100.0 * worst
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_guest::jobs::record::Latency;

    fn sample(work: Work, depth: usize, server: Server, submissions: usize) -> Sample {
        let latency_us = Latency { min: 1.0, p50: submissions as f64, p99: 300.0, max: 4000.0 };
        let measurement = Measurement { work, depth, submissions, seconds: 2.0, latency_us };
        Sample { server, measurement, spent: [1, 2, 3].map(Duration::from_secs), disturbance: 0.0 }
    }

    #[test]
    fn a_ratio_compares_with_the_better_ceiling_of_the_same_work_and_depth() {
        let rows = summarise(&[
            sample(Work::Blank, 8, Server::QueueCores(2), 1000),
            sample(Work::Blank, 1, Server::CeilingAtOnce, 1000),
            sample(Work::Blank, 1, Server::CeilingBeside, 500),
            sample(Work::Blank, 8, Server::CeilingAtOnce, 3000),
            sample(Work::Blank, 8, Server::CeilingBeside, 4000),
            sample(Work::Blank, 1, Server::QueueCores(0), 800),
            sample(Work::Large, 8, Server::QueueCores(1), 1000),
        ]);
        let found: Vec<_> = rows.iter().map(|row| (row.work, row.depth, row.server, row.ratio)).collect();
        assert_eq!(
            found,
            [
                (Work::Blank, 1, Server::CeilingAtOnce, Some(1.0)),
                (Work::Blank, 1, Server::CeilingBeside, Some(0.5)),
                (Work::Blank, 1, Server::QueueCores(0), Some(0.8)),
                (Work::Blank, 8, Server::CeilingAtOnce, Some(0.75)),
                (Work::Blank, 8, Server::CeilingBeside, Some(1.0)),
                (Work::Blank, 8, Server::QueueCores(2), Some(0.25)),
                (Work::Large, 8, Server::QueueCores(1), None),
            ]
        );
    }

    #[test]
    fn each_round_is_compared_with_its_own_ceiling_and_the_middle_ratio_counts() {
        let mut samples = vec![];
        // The whole machine is slow in the second round; the firmware alone is disturbed in the third.
        for (ceiling, firmware) in [(1000, 800), (100, 80), (1000, 10)] {
            samples.push(sample(Work::Blank, 1, Server::CeilingBeside, ceiling));
            samples.push(sample(Work::Blank, 1, Server::QueueCores(0), firmware));
        }
        let ratios: Vec<_> = summarise(&samples).iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [Some(1.0), Some(0.8)]);
    }

    #[test]
    fn of_several_rounds_the_middle_one_counts_and_processor_time_is_that_of_all() {
        let [one, two, three] =
            [900, 100, 500].map(|submissions| sample(Work::Small, 8, Server::CeilingAtOnce, submissions));
        let rows = summarise(&[one, two, three]);
        assert_eq!(rows.len(), 1);
        assert!((rows[0].per_second - 250.0).abs() < 1e-9 && (rows[0].p50_us - 500.0).abs() < 1e-9);
        assert_eq!(rows[0].rounds, [450.0, 50.0, 250.0]);
        let ProcessorTime { guest_us, card_us, management_us } = rows[0].processor;
        for (found, seconds) in [(guest_us, 3.0), (card_us, 6.0), (management_us, 9.0)] {
            assert!((found - seconds * 1e6 / 1500.0).abs() < 1e-6, "{rows:?}");
        }
    }

    #[test]
    fn calm_rounds_count_and_without_one_the_calmest_does_and_is_marked() {
        let rounds = |disturbances: [f64; 4]| -> Vec<Sample> {
            let samples = [100, 200, 300, 400].into_iter().zip(disturbances);
            samples
                .map(|(submissions, disturbance)| Sample {
                    disturbance,
                    ..sample(Work::Blank, 1, Server::QueueCores(0), submissions)
                })
                .collect()
        };
        let calm = summarise(&rounds([0.0, 0.9, 0.01, 0.5]));
        assert!((calm[0].per_second - 150.0).abs() < 1e-9, "the middle of rounds 1 and 3: {calm:?}");
        assert!(!to_text(&calm).contains('*'));
        let busy = summarise(&rounds([0.9, 0.3, 0.8, 0.5]));
        assert!((busy[0].per_second - 100.0).abs() < 1e-9, "{busy:?}");
        assert!(to_text(&busy).contains("up to 30 %"));
    }

    #[test]
    fn the_table_names_each_job_once() {
        let text = to_text(&summarise(&[
            sample(Work::Small, 8, Server::CeilingBeside, 1000),
            sample(Work::Small, 8, Server::QueueCores(1), 900),
        ]));
        assert_eq!(text.matches("4 KiB").count(), 1, "{text}");
        assert!(text.contains("1 queue core") && text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
