//! A worker does the work, the parent reports.
//!
//! The driver kills the processes that use a card when it resets the card. So the jobs run in a child, which writes one
//! JSON line per begin and end of a job to a pipe, and the parent accounts for every job, whatever happens to the child.

use super::bench::Bench;
use super::catalogue::{Request, seed_of};
use super::record::{Record, Verdict};
use crate::device::Device;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// What a worker writes: one JSON line each. Tagged from outside: an inner tag would buffer the fields, and numbers do not
/// survive that when some crate of the build wants serde_json's arbitrary precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Job number `index` begins.
    Begin {
        /// Position in the list of requests.
        index: usize,
    },
    /// The job that began last has ended.
    End {
        /// Its result.
        record: Record,
    },
    /// The worker cannot go on.
    Stop {
        /// Why.
        reason: String,
    },
}

/// How the work is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Device node.
    pub device: String,
    /// How long one submission may take.
    pub patience: Duration,
    /// How long opening the card may take.
    pub open_patience: Duration,
    /// Base of the seeds.
    pub seed: u64,
}

/// The worker: runs the requests and writes lines to `output`. Stops when the card's state is unknown.
///
/// # Errors
/// The card cannot be opened, or the parent is gone. The parent was told, if it is there.
pub fn work(settings: &Settings, requests: &[Request], mut output: impl Write) -> Result<(), String> {
    let mut send = |line: &Line| -> Result<(), String> {
        let mut text = serde_json::to_string(line).map_err(|error| error.to_string())?;
        text.push('\n');
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| format!("no parent: {error}"))
    };
    let result = run_all(settings, requests, &mut send);
    if let Err(reason) = &result {
        send(&Line::Stop { reason: reason.clone() })?;
    }
    result
}

fn run_all(
    settings: &Settings,
    requests: &[Request],
    send: &mut impl FnMut(&Line) -> Result<(), String>,
) -> Result<(), String> {
    let device = Device::open(&settings.device, settings.open_patience).map_err(|error| error.to_string())?;
    let bench = Bench::new(&device, settings.patience).map_err(|error| error.to_string())?;
    for (index, request) in requests.iter().enumerate() {
        send(&Line::Begin { index })?;
        let (record, fatal) = request.run(&bench, seed_of(settings.seed, index));
        send(&Line::End { record })?;
        if fatal {
            break;
        }
    }
    Ok(())
}

/// The parent: starts `worker`, passes every record to `report`, and accounts for jobs that the worker did not end.
/// True when all passed.
///
/// # Errors
/// The worker cannot be started.
pub fn supervise(
    mut worker: Command,
    settings: &Settings,
    requests: &[Request],
    mut report: impl FnMut(&Record),
) -> Result<bool, String> {
    let mut child =
        worker.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| format!("no worker: {error}"))?;
    let pipe = child.stdout.take().ok_or("the worker has no output")?;
    let (sender, receiver) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });

    // A worker bounds each of its waits; silence beyond any of them, with time for its own computing, is a hang.
    let silence = settings.patience * 2 + settings.open_patience + Duration::from_secs(60);
    let mut passed = true;
    let mut ended = 0;
    let mut running = false;
    let mut why = None;
    loop {
        let line = match receiver.recv_timeout(silence) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                why = Some(format!("the worker was silent for {} s and was killed", silence.as_secs()));
                break;
            }
        };
        match serde_json::from_str(&line) {
            Ok(Line::Begin { index }) => {
                ended = index;
                running = true;
            }
            Ok(Line::End { record }) => {
                passed &= record.result == Verdict::Pass;
                report(&record);
                ended += 1;
                running = false;
            }
            Ok(Line::Stop { reason }) => why = Some(reason),
            Err(error) => {
                why = Some(format!("the worker wrote something unknown: {error}"));
                let _ = child.kill();
                break;
            }
        }
    }
    let status = child.wait().map_err(|error| format!("the worker is lost: {error}"))?;
    let _ = reader.join();

    let why = why.unwrap_or_else(|| describe(status));
    for (index, request) in requests.iter().enumerate().skip(ended) {
        let during = if running && index == ended { "" } else { "not run: " };
        let (bytes, seed) = (request.bytes(), seed_of(settings.seed, index));
        report(&Record::failed(request.entry.name, bytes, seed, format!("{during}{why}")));
        passed = false;
    }
    // A worker that fails after its last job - at closing the card - is a failure too. But behind a fault the driver may
    // kill it before it has left by itself.
    let after_fault = requests.last().is_some_and(|request| request.entry.is_fault());
    Ok(passed && (status.success() || after_fault && status.signal() == Some(9)))
}

/// The end of a worker in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "the worker stopped, because the state of the card is unknown".to_owned(),
        (Some(code), _) => format!("the worker ended with status {code}"),
        (_, Some(9)) => "the worker was killed, as the driver does with users of a card that it resets".to_owned(),
        (_, signal) => format!("the worker was ended by signal {}", signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::catalogue::parse_all;

    fn settings() -> Settings {
        Settings { device: "/nowhere".into(), patience: Duration::from_secs(1), open_patience: Duration::ZERO, seed: 1 }
    }

    /// A worker made of a shell script that writes these lines and ends in this way.
    fn scripted(lines: &[Line], end: &str) -> (bool, Vec<Record>) {
        scripted_for(&["host-hbm:1", "host-hbm:2", "host-hbm:3"], lines, end)
    }

    fn scripted_for(jobs: &[&str], lines: &[Line], end: &str) -> (bool, Vec<Record>) {
        let mut script = String::new();
        for line in lines {
            script.push_str(&format!("echo '{}'\n", serde_json::to_string(line).unwrap()));
        }
        script.push_str(end);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let requests = parse_all(&jobs.iter().map(|job| (*job).to_owned()).collect::<Vec<_>>()).unwrap();
        let mut records = Vec::new();
        let passed = supervise(command, &settings(), &requests, |record| records.push(record.clone())).unwrap();
        (passed, records)
    }

    fn job(index: usize) -> [Line; 2] {
        let record = Record::passed("host-hbm", index as u64 + 1, 0, &[Duration::from_micros(5)], None);
        [Line::Begin { index }, Line::End { record }]
    }

    #[test]
    fn all_jobs_passed_is_a_pass() {
        let (passed, records) = scripted(&[job(0), job(1), job(2)].concat(), "exit 0");
        assert!(passed);
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn every_job_is_accounted_for_when_the_worker_is_killed() {
        let lines = [&job(0)[..], &[Line::Begin { index: 1 }]].concat();
        let (passed, records) = scripted(&lines, "kill -9 $$");
        assert!(!passed);
        let errors: Vec<_> = records.iter().map(|record| (record.bytes, record.error.clone())).collect();
        assert_eq!(errors[0], (1, None));
        assert!(errors[1].1.as_ref().unwrap().starts_with("the worker was killed"), "{errors:?}");
        assert!(errors[2].1.as_ref().unwrap().starts_with("not run: "), "{errors:?}");
        assert_eq!(errors.len(), 3);
    }

    #[test]
    fn a_worker_that_cannot_open_the_card_fails_every_job_with_its_reason() {
        let (passed, records) = scripted(&[Line::Stop { reason: "no card".into() }], "exit 1");
        assert!(!passed);
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record.error.as_deref() == Some("not run: no card")));
    }

    #[test]
    fn an_unknown_line_is_not_taken_for_success() {
        let (passed, records) = scripted(&job(0), "echo garbage; exec sleep 60");
        assert!(!passed);
        assert_eq!(records.len(), 3);
        assert!(records[1].error.as_ref().unwrap().contains("something unknown"));
    }

    #[test]
    fn a_failure_at_the_very_end_is_a_failure() {
        let (passed, records) = scripted(&[job(0), job(1), job(2)].concat(), "exit 1");
        assert!(!passed);
        assert!(records.iter().all(|record| record.result == Verdict::Pass));
    }

    #[test]
    fn behind_a_fault_that_ended_well_the_worker_may_be_killed() {
        assert!(scripted_for(&["fault-page"], &job(0), "kill -9 $$").0);
        assert!(!scripted_for(&["fault-page"], &job(0), "exit 1").0);
        assert!(!scripted_for(&["host-hbm:1"], &job(0), "kill -9 $$").0);
    }

    #[test]
    fn a_worker_without_a_card_says_why() {
        let mut output = Vec::new();
        let error = work(&settings(), &[], &mut output).unwrap_err();
        assert!(error.contains("/nowhere cannot be opened") && error.contains("no card"), "{error}");
        assert_eq!(serde_json::from_slice::<Line>(&output).unwrap(), Line::Stop { reason: error });
    }
}
