//! `trace`: runs jobs with the firmware's trace on and writes a time line.

use std::fs::File;
use std::io::BufWriter;

use anyhow::Context as _;
use coxswain_abi::soc::straps;

use super::common;
use super::{FAILURE, UsageError};
use crate::cli::TraceOptions;
use crate::progress::Progress;
use crate::time_line::{perfetto, records};

const JOBS: &str = "coxswain-jobs";

/// Runs it. The time line is written also when a job fails.
pub fn run(options: &TraceOptions, progress: &Progress) -> anyhow::Result<u8> {
    // Before minutes of work: the jobs must exist, and the file must be one that can be written.
    coxswain_guest::jobs::catalogue::parse_all(&options.jobs).map_err(UsageError)?;
    let output = File::create(&options.output)
        .map_err(|error| UsageError(format!("cannot write {}: {error}", options.output.display())))?;
    let machine = &options.machine;
    let prepared = common::prepare(machine, None, progress)?;
    let mut scenario = prepared.scenario(machine, None, true)?;
    let mut words = vec![JOBS];
    words.extend(options.jobs.iter().map(String::as_str));
    scenario.run(&words, options.timeout)?;
    let run = scenario.into_run(common::limit(machine, options.timeout));
    let mut session = common::start_strapped(&prepared, machine, straps::TRACE, progress)?;
    let task = progress.spinner("booting the guest and running the jobs");
    let outcome = session.run(&run, &mut |_| Ok(()))?;
    drop(task);
    let passed = outcome.last_exit().is_some_and(|(code, ..)| code == Some(0)) && outcome.complaints().is_empty();
    if !passed {
        common::show_failure(&session, &outcome);
    }
    let all = records::read(session.card().context("the guest runs without a card")?)?;
    session.shut_down();
    serde_json::to_writer(BufWriter::new(output), &perfetto::document(&all.records))
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    println!(
        "{}: {} events, {} older ones overwritten; open it in the Perfetto viewer",
        options.output.display(),
        all.records.len(),
        all.lost
    );
    if all.damaged != 0 {
        println!("{} records were damaged", all.damaged);
    }
    Ok(if passed && all.damaged == 0 { 0 } else { FAILURE })
}
