//! `bench`: measures what the firmware costs, compares what is exact with the golden file, and tells the rest.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::{FAILURE, UsageError};
use crate::bench::end_to_end::{self, Extent, Row, Server};
use crate::bench::golden::{self, Figures, Verdict};
use crate::bench::{native, on_target};
use crate::cli::{BenchOptions, BenchPart};
use crate::environment::{self, Environment};
use crate::images;
use crate::progress::Progress;
use crate::provision::Options;

/// The part of the ceiling's submissions per second that the firmware is to reach.
const GOAL: f64 = 0.8;

/// All that was measured; a part that was not is absent.
#[derive(Debug, Default, Serialize)]
struct Results {
    #[serde(skip_serializing_if = "Option::is_none")]
    on_target: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_to_end: Option<Vec<Row>>,
}

/// Runs it.
pub fn run(options: &BenchOptions, progress: &Progress) -> anyhow::Result<u8> {
    if options.update && !options.has(BenchPart::OnTarget) {
        return Err(UsageError("--update is about the instruction counts: add --only on-target".into()).into());
    }
    let mut results = Results::default();
    let mut code = 0;
    if options.has(BenchPart::OnTarget) {
        let tools = environment::tools(&options.fetch, progress)?;
        let firmware = Arc::new(images::build_firmware(progress)?);
        let measured = on_target::measure(tools, &firmware)?;
        code = tell_on_target(&measured, options.update)?;
        results.on_target = Some(measured);
    }
    if options.has(BenchPart::Native) {
        let measured = native::measure();
        println!("{:52} {:>12}", "on this machine, median", "measured");
        for (name, nanoseconds) in &measured {
            println!("{name:52} {nanoseconds:>12}");
        }
        results.native = Some(measured);
    }
    if options.has(BenchPart::Guest) {
        let fetch = Options { mirror: options.fetch.mirror.clone(), ..Options::default() };
        let environment = Environment::prepare(&fetch, progress)?;
        let firmware = Arc::new(images::build_firmware(progress)?);
        let extent = Extent::whole(Duration::from_millis(options.milliseconds), options.rounds);
        let rows = end_to_end::measure(&environment, &firmware, &extent, progress)?;
        print!("{}", end_to_end::to_text(&rows));
        println!("{}", verdict(&rows));
        results.end_to_end = Some(rows);
    }
    if let Some(path) = &options.json {
        let mut text = serde_json::to_string_pretty(&results).context("cannot write the figures")?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(code)
}

/// Shows the exact figures beside the golden ones and returns the exit code.
fn tell_on_target(measured: &Figures, update: bool) -> anyhow::Result<u8> {
    if update {
        golden::store(&golden::path(), measured)?;
    }
    let expected = golden::load(&golden::path()).context("`bench --update` writes a new one")?;
    let mut code = 0;
    println!("{:52} {:>12} {:>12}", "on the target", "measured", "golden");
    for (name, verdict) in golden::compare(measured, &expected) {
        let show = |value: Option<&f64>| value.map_or_else(|| "-".to_owned(), f64::to_string);
        let note = match verdict {
            Verdict::Same => String::new(),
            Verdict::Changed(part) => format!("  CHANGED by {:+.1} %", 100.0 * part),
            Verdict::New => "  NEW".to_owned(),
            Verdict::Missing => "  MISSING".to_owned(),
        };
        if verdict != Verdict::Same {
            code = FAILURE;
        }
        println!("{name:52} {:>12} {:>12}{note}", show(measured.get(&name)), show(expected.get(&name)));
    }
    if code != 0 {
        eprintln!(
            "FAILED: figures moved by more than 5 %: repair it, or explain it and run `cargo run -- bench --update`"
        );
    }
    Ok(code)
}

/// How the control core alone stands to the goal, in a line. Seconds under emulation fail nobody.
fn verdict(rows: &[Row]) -> String {
    let own = rows.iter().filter(|row| row.server == Server::QueueCores(0));
    let ratios: Vec<f64> = own.filter_map(|row| row.ratio).collect();
    let reached = ratios.iter().filter(|ratio| **ratio >= GOAL).count();
    format!("control core alone: at least {GOAL} of the ceiling in {reached} of {} rows", ratios.len())
}
