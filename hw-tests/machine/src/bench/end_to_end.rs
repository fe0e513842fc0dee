//! Submissions per second and their latency, through the stock driver, next to queue managers that cost nothing.
//!
//! One guest per server of the queue managers: two *ceilings* (the reference interpreter in place of the management CPU,
//! [`coxswain_reference::ceiling`]), the control core alone, and one or two queue cores. All guests are there at once and
//! [take turns](super::turns): each measurement stands beside those that it is compared with, because seconds under
//! emulation, on a machine that others use too, mean little by themselves.
//!
//! Beside time by the clock it takes the processor time of the three processes: the guest with the driver, the card model
//! (this process), and the management CPU. What the rest of the machine spends meanwhile is the *disturbance* of a
//! measurement: calm ones are preferred, and the table marks those for which there was none.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use coxswain_abi::soc::straps;
use coxswain_card::soc::QueueThread;
use coxswain_guest::jobs::measure::{DEPTHS, Line, Work};
use coxswain_guest::plan::{Event, Step};
use coxswain_reference::ceiling::Ceiling;

pub use super::rows::{ProcessorTime, Row, Server, to_text};

use super::rows::{Sample, summarise};
use super::turns::{Stopped, Ticket, Turns};
use crate::environment::Environment;
use crate::images::Firmware;
use crate::process::{cpu_time, machine_time};
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::session::{Config, Seen, Session};

/// Seconds in which the driver must have accepted the card, once its module is loaded.
const VERDICT: u64 = 10;
/// Seconds for boot, driver and shutdown of one guest on a busy machine.
const BOOT: u64 = 300;
/// Seconds that a measurement may take beside its own time: opening the card, preparing and comparing the data.
const AROUND: u64 = 60;
/// Memory of each guest in MiB: there are several.
const MEMORY_MIB: u64 = 512;
/// What a guest waits for.
const TURN: &str = "turn";

/// What is measured.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Servers, a ceiling among them for ratios to exist.
    pub servers: Vec<Server>,
    /// Submissions in flight.
    pub depths: Vec<usize>,
    /// Time of each measurement.
    pub each: Duration,
    /// Rounds of all measurements.
    pub rounds: usize,
}

impl Extent {
    /// Everything, in `rounds` rounds of measurements that are `each` long.
    #[must_use]
    pub fn whole(each: Duration, rounds: usize) -> Self {
        Self { servers: Server::ALL.to_vec(), depths: DEPTHS.to_vec(), each, rounds }
    }

    /// Measurements of one guest, in their order.
    fn measurements(&self) -> Vec<(Work, usize)> {
        let round = Work::ALL.into_iter().flat_map(|work| self.depths.iter().map(move |depth| (work, *depth)));
        std::iter::repeat_n(round.collect::<Vec<_>>(), self.rounds).flatten().collect()
    }
}

/// Measures and returns the rows, ordered by work, depth and server.
///
/// # Errors
/// A session or a guest fails, a submission fails, or data is wrong.
pub fn measure(
    environment: &Environment,
    firmware: &Arc<Firmware>,
    extent: &Extent,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let task = progress.spinner("end to end");
    let turns = Turns::new(extent.servers.len());
    let (sender, received) = channel::<Sample>();
    let mut samples = vec![];
    let mut failure: Option<anyhow::Error> = None;
    std::thread::scope(|scope| {
        let guests: Vec<_> = extent
            .servers
            .iter()
            .enumerate()
            .map(|(number, &server)| {
                let (turns, sender) = (&turns, sender.clone());
                // A session lives on the thread that has started it.
                scope.spawn(move || {
                    let mut ticket = turns.ticket(number);
                    one_guest(environment, firmware, extent, server, &mut ticket, sender)
                        .with_context(|| format!("end to end, {}", server.name()))?;
                    ticket.done();
                    anyhow::Ok(())
                })
            })
            .collect();
        drop(sender);
        for sample in received {
            let (work, depth) = (sample.measurement.work.name(), sample.measurement.depth);
            task.say(format!("end to end: {work} at depth {depth}, {}", sample.server.name()));
            samples.push(sample);
        }
        for guest in guests {
            let ended = guest.join().unwrap_or_else(|_| bail!("a guest's thread panicked"));
            // The first that failed made the others stop.
            if let Err(error) = ended
                && failure.as_ref().is_none_or(|before| before.is::<Stopped>())
            {
                failure = Some(error);
            }
        }
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    task.done(format!("end to end, {} measurements", samples.len()));
    Ok(summarise(&samples))
}

/// The life of one guest. It works only while it has its turn.
fn one_guest(
    environment: &Environment,
    firmware: &Arc<Firmware>,
    extent: &Extent,
    server: Server,
    ticket: &mut Ticket<'_>,
    sender: Sender<Sample>,
) -> anyhow::Result<()> {
    let measurements = extent.measurements();
    let seconds = extent.each.as_secs() + AROUND;
    let all = (BOOT + measurements.len() as u64 * seconds) * extent.servers.len() as u64;
    let milliseconds = extent.each.as_millis().to_string();
    let mut scenario = Scenario::new(environment)?;
    scenario.firmware(firmware).load_driver("")?.wait_until_added(VERDICT);
    for (work, depth) in &measurements {
        let depth = depth.to_string();
        let options = ["--milliseconds", &milliseconds, "--work", work.key(), "--depth", &depth];
        scenario.step(Step::AwaitHost { token: TURN.into(), timeout_s: all });
        scenario.run(&[&["coxswain-jobs", "measure"][..], &options[..]].concat(), seconds)?;
    }
    let run = scenario.into_run(Some(Duration::from_secs(all)));
    let queue_cores = if let Server::QueueCores(count) = server { count } else { 0 };
    let config = Config {
        memory_mib: MEMORY_MIB,
        firmware: Some(Arc::clone(firmware)),
        straps: straps::with_queue_cores(0, queue_cores),
        ..Config::default()
    };

    ticket.take_turn()?;
    let mut session = Session::start(Arc::clone(&environment.tools), config)?;
    let card = session.card().context("the session has no card")?;
    match server {
        Server::CeilingAtOnce => Ceiling::attach(card, QueueThread::Access)?,
        Server::CeilingBeside => Ceiling::attach(card, QueueThread::Own)?,
        Server::QueueCores(_) => {}
    }
    let management = session.management_process().context("the session has no management CPU")?;
    let mut reader = Reader { server, management, guest: None, line: vec![], before: None, samples: vec![] };
    let mut count = 0;
    let outcome = session.run(&run, &mut |seen| {
        match seen {
            Seen::Launched { process, .. } => reader.guest = Some(process),
            Seen::Output(bytes) => reader.feed(bytes)?,
            // The guest goes on when this returns.
            Seen::Event(Event::AwaitingHost { token, .. }) if token == TURN => ticket.take_turn()?,
            _ => {}
        }
        for sample in reader.samples.drain(..) {
            count += 1;
            // Whoever no longer listens is about to fail.
            let _ = sender.send(sample);
        }
        Ok(())
    })?;
    let mut complaints = outcome.complaints();
    complaints.extend(session.firmware_log().fatal());
    if count != measurements.len() {
        complaints.push(format!("the guest measured {count} of {} times", measurements.len()));
    }
    if let Some(complaint) = complaints.first() {
        let output = String::from_utf8_lossy(&outcome.output);
        let said = output.lines().rfind(|line| !line.starts_with('{')).unwrap_or("it said nothing more");
        bail!("{complaint} ({said}); logs in {}", session.folder().path().display());
    }
    session.shut_down();
    Ok(())
}

/// Reads what the guest prints and takes the processors' time at the moments of which it tells.
struct Reader {
    server: Server,
    management: u32,
    guest: Option<u32>,
    line: Vec<u8>,
    before: Option<Accounts>,
    samples: Vec<Sample>,
}

impl Reader {
    fn feed(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            match serde_json::from_slice::<Line>(&std::mem::take(&mut self.line)) {
                Ok(Line::MeasureBegin { .. }) => self.before = Some(self.processors()?),
                Ok(Line::MeasureEnd(measurement)) => {
                    let before = self.before.take().context("a measurement ended that had not begun")?;
                    let after = self.processors()?;
                    let spent = std::array::from_fn(|one| after.processes[one].saturating_sub(before.processes[one]));
                    let others = after.machine.saturating_sub(before.machine).saturating_sub(spent.iter().sum());
                    let all = after.at.saturating_duration_since(before.at) * processors();
                    let disturbance = others.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE);
                    self.samples.push(Sample { server: self.server, measurement, spent, disturbance });
                }
                // Something for people; it is in the log of the run.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn processors(&self) -> anyhow::Result<Accounts> {
        let guest = self.guest.context("the guest has no process")?;
        Ok(Accounts {
            at: Instant::now(),
            processes: [cpu_time(guest)?, cpu_time(std::process::id())?, cpu_time(self.management)?],
            machine: machine_time()?,
        })
    }
}

/// Processor time spent so far.
struct Accounts {
    at: Instant,
    /// By guest, card and management CPU. The card's is that of all cards here, of which the others have nothing to do.
    processes: [Duration; 3],
    /// By the whole machine.
    machine: Duration,
}

/// Processors of this machine.
fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_guest::jobs::measure::Measurement;
    use coxswain_guest::jobs::record::Latency;

    #[test]
    fn a_guest_measures_round_after_round() {
        let extent = Extent { depths: vec![1, 8], ..Extent::whole(Duration::from_millis(1), 2) };
        let measurements = extent.measurements();
        assert_eq!(measurements.len(), 2 * 3 * 2);
        assert_eq!(measurements[..3], [(Work::Blank, 1), (Work::Blank, 8), (Work::Small, 1)]);
        assert_eq!(measurements[6..], measurements[..6]);
    }

    #[test]
    fn lines_are_understood_however_they_are_cut() {
        let latency_us = Latency { min: 1.0, p50: 20.0, p99: 300.0, max: 4000.0 };
        let measurement = Measurement { work: Work::Blank, depth: 1, submissions: 10, seconds: 2.0, latency_us };
        let begin = serde_json::to_string(&Line::MeasureBegin { work: Work::Blank, depth: 1 }).unwrap();
        let end = serde_json::to_string(&Line::MeasureEnd(measurement.clone())).unwrap();
        let own = std::process::id();
        let mut reader = Reader {
            server: Server::CeilingBeside,
            management: own,
            guest: Some(own),
            line: vec![],
            before: None,
            samples: vec![],
        };
        for byte in format!("hello\n{begin}\n{end}\n").bytes() {
            reader.feed(&[byte]).unwrap();
        }
        assert_eq!(reader.samples.len(), 1);
        assert_eq!(reader.samples[0].measurement, measurement);
        assert!(reader.feed(format!("{end}\n").as_bytes()).is_err(), "an end without a begin");
    }
}
