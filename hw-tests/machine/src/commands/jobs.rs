//! The main job: boot, load the driver, run the jobs, report.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use coxswain_guest::jobs::record::{Record, Verdict};
use coxswain_guest::plan::Event;

use super::FAILURE;
use super::common::{self, Prepared};
use crate::cli::{Debuggee, JobsOptions};
use crate::progress::{Progress, Task};
use crate::report::{Driver, Milestone, Report, Versions};
use crate::scenario::{ADDED, STATUS};
use crate::session::{GuestOutcome, Seen, Session};

const JOBS: &str = "coxswain-jobs";
const DEVICE_ADDED: &str = "device added";

/// Runs it.
pub fn run(options: &JobsOptions, progress: &Progress) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let machine = &options.machine;
    let prepared = common::prepare(machine, None, progress)?;
    let mut scenario = prepared.scenario(machine, None, true)?;
    scenario.read_status().run(&[JOBS, "info", "--json"], 60)?.run(&[JOBS, "--json"], options.timeout)?;
    let mut run = scenario.into_run(common::limit(machine, options.timeout));
    run.gdb = machine.gdb == Some(Debuggee::Kernel);
    let mut session = common::start(&prepared, machine, progress)?;
    let before_guest = session.elapsed();
    let mut stages = Stages { progress, task: None, what: String::new(), records: 0, line: Vec::new() };
    let outcome = session.run(&run, &mut |seen| {
        stages.on(&seen);
        Ok(())
    })?;
    drop(stages);
    let report = report(&prepared, &session, &outcome, before_guest, begun);
    if !report.passed {
        common::show_failure(&session, &outcome);
    }
    let json = serde_json::to_vec_pretty(&report).context("cannot write the report")?;
    let kept = session.folder().file("report.json");
    fs::write(&kept, &json).with_context(|| format!("cannot write {}", kept.display()))?;
    if let Some(path) = &options.json {
        fs::write(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    session.shut_down();
    print!("{}", report.to_text());
    Ok(if report.passed { 0 } else { FAILURE })
}

/// Progress of the guest, stage by stage.
struct Stages<'a> {
    progress: &'a Progress,
    task: Option<Task>,
    what: String,
    records: u32,
    line: Vec<u8>,
}

impl Stages<'_> {
    fn on(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Launched { gdb_port, .. } => {
                common::tell_kernel_debugger(*gdb_port, self.progress);
                self.begin("booting Linux");
            }
            Seen::Event(Event::StepBegun { what, .. }) if what.starts_with("load ") && what.contains("habanalabs") => {
                self.begin("loading the driver");
            }
            Seen::Event(Event::StepBegun { what, .. }) if what.ends_with("coxswain-jobs --json") => {
                self.begin("running the jobs");
            }
            Seen::Event(Event::Finished { .. }) => self.end(),
            Seen::Output(bytes) => {
                for &byte in *bytes {
                    if byte != b'\n' {
                        self.line.push(byte);
                        continue;
                    }
                    let line = std::mem::take(&mut self.line);
                    if let (Ok(record), Some(task)) = (serde_json::from_slice::<Record>(&line), &self.task) {
                        self.records += 1;
                        task.say(format!(
                            "running the jobs: {} done, last {} of {} bytes",
                            self.records, record.job, record.bytes
                        ));
                    }
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, what: &str) {
        self.end();
        self.what = what.to_owned();
        self.task = Some(self.progress.spinner(what));
    }

    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.done(&self.what);
        }
    }
}

/// The output of the programs, line by line: job records, and the inventory.
fn parse_output(output: &[u8]) -> (Vec<Record>, serde_json::Value) {
    let mut records = Vec::new();
    let mut card = serde_json::Value::Null;
    for line in output.split(|byte| *byte == b'\n') {
        if let Ok(record) = serde_json::from_slice::<Record>(line) {
            records.push(record);
        } else if let Ok(value) = serde_json::from_slice::<serde_json::Value>(line)
            && value.is_object()
        {
            card = value;
        }
    }
    (records, card)
}

fn report(
    prepared: &Prepared,
    session: &Session,
    outcome: &GuestOutcome,
    before_guest: Duration,
    begun: Instant,
) -> Report {
    let (jobs, card) = parse_output(&outcome.output);
    let mut complaints = outcome.complaints();
    let driver = driver(outcome);
    if driver.added && driver.status != "Operational" {
        complaints.push(format!("the device's status is {:?} instead of Operational", driver.status));
    }
    if driver.added && jobs.is_empty() {
        complaints.push("no job was run".to_owned());
    }
    for record in jobs.iter().filter(|record| record.result == Verdict::Fail) {
        complaints.push(format!(
            "job {} of {} bytes: {}",
            record.job,
            record.bytes,
            record.error.as_deref().unwrap_or("?")
        ));
    }
    let firmware_faults = session.firmware_log().fatal();
    if let Some(fault) = firmware_faults.first() {
        complaints.push(format!("the firmware reported: {fault}"));
    }
    let tools = &prepared.environment.tools;
    Report {
        passed: complaints.is_empty() && driver.added,
        complaints,
        versions: Versions {
            coxswain: env!("CARGO_PKG_VERSION").into(),
            qemu: tools.qemu.version().split_whitespace().next().unwrap_or_default().into(),
            kernel: tools.kernel.name.clone(),
        },
        boot: milestones(session, outcome, before_guest),
        driver,
        jobs,
        card,
        notes: outcome.notes.clone(),
        kernel_faults: outcome.kernel_faults.clone(),
        firmware_faults,
        image_bytes: prepared
            .firmware
            .iter()
            .flat_map(|firmware| &firmware.stages)
            .map(|stage| (stage.name.to_owned(), stage.image.len()))
            .collect(),
        run_seconds: session.elapsed().as_secs_f64(),
        total_seconds: begun.elapsed().as_secs_f64(),
        folder: session.folder().path().display().to_string(),
    }
}

fn driver(outcome: &GuestOutcome) -> Driver {
    let status = outcome.file(STATUS).unwrap_or_default().trim().to_owned();
    let added = outcome.events.iter().find_map(|(at, event)| match event {
        Event::KernelLog { message, .. } if message.contains(ADDED) => Some((message.clone(), at)),
        _ => None,
    });
    let insmod = outcome.events.iter().find_map(|(at, event)| match event {
        Event::StepBegun { what, .. } if what.starts_with("load ") && what.contains("habanalabs") => Some(at),
        _ => None,
    });
    let Some((message, added_at)) = added else { return Driver { status, ..Driver::default() } };
    Driver {
        added: true,
        message,
        insmod_to_added_seconds: insmod.map(|begun| added_at.saturating_sub(*begun).as_secs_f64()),
        status,
    }
}

fn milestones(session: &Session, outcome: &GuestOutcome, before_guest: Duration) -> Vec<Milestone> {
    let mut milestones: Vec<Milestone> = Vec::new();
    for banner in session.firmware_log().banners() {
        // "Coxswain <stage> <version>", one per stage and start.
        let Some((stage, version)) = banner.text.strip_prefix("Coxswain ").and_then(|rest| rest.rsplit_once(' '))
        else {
            continue;
        };
        let what = format!("{stage} started");
        milestones.push(Milestone { what, at_seconds: banner.at.as_secs_f64(), version: version.to_owned() });
    }
    for (at, event) in &outcome.events {
        let at_seconds = (before_guest + *at).as_secs_f64();
        match event {
            Event::Started { kernel, .. } => {
                milestones.push(Milestone { what: "Linux started".into(), at_seconds, version: kernel.clone() });
            }
            Event::StepBegun { what, .. } if what.starts_with("load ") && what.contains("habanalabs") => {
                milestones.push(Milestone { what: "driver loading".into(), at_seconds, version: String::new() });
            }
            Event::KernelLog { message, .. } if message.contains(ADDED) => {
                milestones.push(Milestone { what: DEVICE_ADDED.into(), at_seconds, version: String::new() });
            }
            _ => {}
        }
    }
    milestones.sort_by(|left, right| left.at_seconds.total_cmp(&right.at_seconds));
    // What comes behind belongs to the end of the run, not to the boot.
    if let Some(last) = milestones.iter().position(|milestone| milestone.what == DEVICE_ADDED) {
        milestones.truncate(last + 1);
    }
    milestones
}
