//! Submissions per second and their latency, through the stock driver, next to queue managers that cost nothing.
//!
//! One guest per server of the queue managers, one after another in one run: the *ceiling* (the reference interpreter in
//! place of the management CPU, [`coxswain_reference::ceiling`]), the control core alone, and one or two queue cores. What
//! the firmware reaches is told as a part of the ceiling, since seconds under emulation mean little by themselves.
//!
//! Beside wall-clock time it takes the processor time of the three processes: the guest with the driver, the card model
//! (this process), and the management CPU. A machine with fewer processors than busy processes serialises them, and then
//! these sums say where a submission's time goes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use coxswain_abi::soc::straps;
use coxswain_guest::jobs::measure::{DEPTHS, Line, Measurement, Work};
use coxswain_reference::ceiling::Ceiling;
use serde::Serialize;

use crate::environment::Environment;
use crate::images::Firmware;
use crate::process::cpu_time;
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::session::{Config, Seen, Session};

/// Seconds in which the driver must have accepted the card, once its module is loaded.
const VERDICT: u64 = 10;
/// Seconds for boot, driver and shutdown on a busy machine.
const BOOT: u64 = 300;
/// Seconds that a measurement may take beside its own time: preparing and comparing the data.
const AROUND: u64 = 20;

/// Who serves the queue managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// The reference interpreter beside the card.
    Ceiling,
    /// Firmware: so many queue cores; 0: the control core.
    QueueCores(u32),
}

impl Server {
    /// All that are compared; the ceiling first.
    pub const ALL: [Self; 4] = [Self::Ceiling, Self::QueueCores(0), Self::QueueCores(1), Self::QueueCores(2)];

    /// In words.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Ceiling => "ceiling".into(),
            Self::QueueCores(0) => "control core".into(),
            Self::QueueCores(1) => "1 queue core".into(),
            Self::QueueCores(count) => format!("{count} queue cores"),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Servers, the ceiling among them for ratios to exist.
    pub servers: Vec<Server>,
    /// Submissions in flight.
    pub depths: Vec<usize>,
    /// Time of each measurement.
    pub each: Duration,
}

impl Extent {
    /// Everything, `each` long.
    #[must_use]
    pub fn whole(each: Duration) -> Self {
        Self { servers: Server::ALL.to_vec(), depths: DEPTHS.to_vec(), each }
    }
}

/// Microseconds of processor time per submission, by process. On a machine with fewer processors than that they add up to
/// more than the wall-clock time only as far as they overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessorTime {
    /// The guest: Linux, the driver, the program, and the emulator around them.
    pub guest_us: f64,
    /// The card model, with the ceiling where that serves.
    pub card_us: f64,
    /// The management CPU.
    pub management_us: f64,
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
    /// Submissions measured.
    pub submissions: usize,
    /// Submissions per second.
    pub per_second: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: f64,
    /// Submissions per second as a part of the ceiling's; none without a ceiling.
    pub ratio: Option<f64>,
    /// Where the processors' time went.
    pub processor: ProcessorTime,
}

/// Measures, one guest after another, and returns the rows ordered by work, depth and server.
///
/// # Errors
/// A session or a guest fails, a submission fails, or data is wrong.
pub fn measure(
    environment: &Environment,
    firmware: &Arc<Firmware>,
    extent: &Extent,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![];
    for &server in &extent.servers {
        let name = server.name();
        let task = progress.spinner(format!("end to end, {name}"));
        let measured = one_guest(environment, firmware, extent, server, &mut |row: &Row| {
            task.say(format!("end to end, {name}: {} at depth {}", row.work.name(), row.depth));
        })
        .with_context(|| format!("end to end, {name}"))?;
        task.done(format!("end to end, {name}"));
        rows.extend(measured);
    }
    set_ratios(&mut rows);
    let place = |row: &Row| {
        let position = |list: &[Server]| list.iter().position(|server| *server == row.server);
        (Work::ALL.iter().position(|work| *work == row.work), row.depth, position(&extent.servers))
    };
    rows.sort_by_key(place);
    Ok(rows)
}

/// Tells every row as a part of the ceiling's.
fn set_ratios(rows: &mut [Row]) {
    let ceilings: Vec<(Work, usize, f64)> = rows
        .iter()
        .filter(|row| row.server == Server::Ceiling)
        .map(|row| (row.work, row.depth, row.per_second))
        .collect();
    for row in rows {
        let ceiling = ceilings.iter().find(|(work, depth, _)| (*work, *depth) == (row.work, row.depth));
        row.ratio = ceiling.filter(|(.., rate)| *rate > 0.0).map(|(.., rate)| row.per_second / rate);
    }
}

fn one_guest(
    environment: &Environment,
    firmware: &Arc<Firmware>,
    extent: &Extent,
    server: Server,
    tell: &mut dyn FnMut(&Row),
) -> anyhow::Result<Vec<Row>> {
    let milliseconds = extent.each.as_millis().to_string();
    let mut words = vec!["coxswain-jobs".to_owned(), "measure".to_owned(), "--milliseconds".to_owned(), milliseconds];
    words.extend(extent.depths.iter().flat_map(|depth| ["--depth".to_owned(), depth.to_string()]));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let count = Work::ALL.len() * extent.depths.len();
    let seconds = count as u64 * (extent.each.as_secs() + AROUND);
    let mut scenario = Scenario::new(environment)?;
    scenario.firmware(firmware).load_driver("")?.wait_until_added(VERDICT).run(&words, seconds)?;
    let run = scenario.into_run(Some(Duration::from_secs(seconds + BOOT)));

    let queue_cores = if let Server::QueueCores(count) = server { count } else { 0 };
    let config = Config {
        firmware: Some(Arc::clone(firmware)),
        straps: straps::with_queue_cores(0, queue_cores),
        ..Config::default()
    };
    let mut session = Session::start(Arc::clone(&environment.tools), config)?;
    let card = session.card().context("the session has no card")?;
    if server == Server::Ceiling {
        Ceiling::attach(card)?;
    }
    let management = session.management_process().context("the session has no management CPU")?;
    let mut reader = Reader { server, management, guest: None, line: vec![], before: None, rows: vec![] };
    let outcome = session.run(&run, &mut |seen| {
        match seen {
            Seen::Launched { process, .. } => reader.guest = Some(process),
            Seen::Output(bytes) => reader.feed(bytes, tell)?,
            _ => {}
        }
        Ok(())
    })?;
    let mut complaints = outcome.complaints();
    complaints.extend(session.firmware_log().fatal());
    if let Some(complaint) = complaints.first() {
        let said = String::from_utf8_lossy(&outcome.output);
        let said = said.lines().rfind(|line| !line.starts_with('{')).unwrap_or("").to_owned();
        bail!("{complaint}; {said}; logs: {}", session.folder().path().display());
    }
    session.shut_down();
    if reader.rows.len() != count {
        bail!("the guest measured {} of {count} rows", reader.rows.len());
    }
    Ok(reader.rows)
}

/// Reads what the guest prints and takes the processors' time at the moments of which it tells.
struct Reader {
    server: Server,
    management: u32,
    guest: Option<u32>,
    line: Vec<u8>,
    before: Option<[Duration; 3]>,
    rows: Vec<Row>,
}

impl Reader {
    fn feed(&mut self, bytes: &[u8], tell: &mut dyn FnMut(&Row)) -> anyhow::Result<()> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            match serde_json::from_slice::<Line>(&std::mem::take(&mut self.line)) {
                Ok(Line::MeasureBegin { .. }) => self.before = Some(self.processors()?),
                Ok(Line::MeasureEnd(measurement)) => {
                    let before = self.before.take().context("a measurement ended that had not begun")?;
                    let row = row(self.server, &measurement, before, self.processors()?);
                    tell(&row);
                    self.rows.push(row);
                }
                // Something for people; it is in the log of the run.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Processor time so far of guest, card and management CPU.
    fn processors(&self) -> anyhow::Result<[Duration; 3]> {
        let guest = self.guest.context("the guest has no process")?;
        Ok([cpu_time(guest)?, cpu_time(std::process::id())?, cpu_time(self.management)?])
    }
}

fn row(server: Server, measurement: &Measurement, before: [Duration; 3], after: [Duration; 3]) -> Row {
    let per_submission = |place: usize| {
        let spent = after[place].saturating_sub(before[place]);
        spent.as_secs_f64() * 1e6 / measurement.submissions.max(1) as f64
    };
    Row {
        work: measurement.work,
        depth: measurement.depth,
        server,
        submissions: measurement.submissions,
        per_second: measurement.per_second(),
        p50_us: measurement.latency_us.p50,
        p99_us: measurement.latency_us.p99,
        ratio: None,
        processor: ProcessorTime {
            guest_us: per_submission(0),
            card_us: per_submission(1),
            management_us: per_submission(2),
        },
    }
}

/// The rows for a person.
#[must_use]
pub fn to_text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<7}{:>6}  {:<15}{:>8}{:>11}{:>11}{:>8}{:>10}{:>7}{:>7}\n",
        "job", "depth", "queues served", "per s", "p50", "p99", "ratio", "CPU guest", "card", "A53"
    );
    let mut last = None;
    for row in rows {
        let begins = last.replace((row.work, row.depth)) != Some((row.work, row.depth));
        let (job, depth) = if begins { (row.work.name(), row.depth.to_string()) } else { ("", String::new()) };
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let ProcessorTime { guest_us, card_us, management_us } = row.processor;
        text.push_str(&format!(
            "{job:<7}{depth:>6}  {:<15}{:>8.0}{:>8.0} us{:>8.0} us{ratio:>8}{guest_us:>7.0} us{card_us:>7.0}{management_us:>7.0}\n",
            row.server.name(),
            row.per_second,
            row.p50_us,
            row.p99_us,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_guest::jobs::record::Latency;

    fn measurement(work: Work, depth: usize, submissions: usize) -> Measurement {
        let latency_us = Latency { min: 1.0, p50: 20.0, p99: 300.0, max: 4000.0 };
        Measurement { work, depth, submissions, seconds: 2.0, latency_us }
    }

    fn some_row(work: Work, depth: usize, server: Server, submissions: usize) -> Row {
        row(server, &measurement(work, depth, submissions), [Duration::ZERO; 3], [Duration::from_secs(1); 3])
    }

    #[test]
    fn a_ratio_compares_with_the_ceiling_of_the_same_work_and_depth() {
        let mut rows = [
            some_row(Work::Blank, 1, Server::Ceiling, 1000),
            some_row(Work::Blank, 8, Server::Ceiling, 4000),
            some_row(Work::Blank, 1, Server::QueueCores(0), 800),
            some_row(Work::Blank, 8, Server::QueueCores(2), 1000),
            some_row(Work::Large, 8, Server::QueueCores(2), 1000),
        ];
        set_ratios(&mut rows);
        let ratios: Vec<_> = rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [Some(1.0), Some(1.0), Some(0.8), Some(0.25), None]);
    }

    #[test]
    fn processor_time_is_told_per_submission() {
        let row = some_row(Work::Small, 8, Server::Ceiling, 1000);
        assert!((row.processor.guest_us - 1000.0).abs() < 1e-6, "{row:?}");
        assert!((row.per_second - 500.0).abs() < 1e-9);
    }

    #[test]
    fn lines_are_understood_however_they_are_cut() {
        let begin = serde_json::to_string(&Line::MeasureBegin { work: Work::Blank, depth: 1 }).unwrap();
        let end = serde_json::to_string(&Line::MeasureEnd(measurement(Work::Blank, 1, 10))).unwrap();
        let own = std::process::id();
        let mut reader = Reader {
            server: Server::Ceiling,
            management: own,
            guest: Some(own),
            line: vec![],
            before: None,
            rows: vec![],
        };
        for byte in format!("hello\n{begin}\n{end}\n").bytes() {
            reader.feed(&[byte], &mut |_| {}).unwrap();
        }
        assert_eq!(reader.rows.len(), 1);
        assert_eq!((reader.rows[0].work, reader.rows[0].submissions), (Work::Blank, 10));
        assert!(reader.feed(format!("{end}\n").as_bytes(), &mut |_| {}).is_err(), "an end without a begin");
    }

    #[test]
    fn the_table_names_each_job_once() {
        let text = to_text(&[
            some_row(Work::Small, 8, Server::Ceiling, 1000),
            some_row(Work::Small, 8, Server::QueueCores(1), 900),
        ]);
        assert_eq!(text.matches("4 KiB").count(), 1, "{text}");
        assert!(text.contains("1 queue core") && text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
