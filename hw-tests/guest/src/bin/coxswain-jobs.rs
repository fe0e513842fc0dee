//! Work for `/dev/accel/accel0`, with every byte of the result checked; see `coxswain_guest::jobs`.

use clap::{Args, Parser, Subcommand};
use coxswain_guest::device::{COMPUTE_NODE, CONTROL_NODE, ControlNode, Device};
use coxswain_guest::jobs::bench::Bench;
use coxswain_guest::jobs::catalogue::{ENTRIES, parse_all};
use coxswain_guest::jobs::inventory;
use coxswain_guest::jobs::measure::{DEPTHS, Line, Work, measure};
use coxswain_guest::jobs::record::{Record, Verdict};
use coxswain_guest::jobs::supervise::{Settings, supervise, work};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::{Command as Process, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs jobs on the card and checks every byte. Ends with status 0 only when all passed.
#[derive(Debug, Parser)]
#[command(name = "coxswain-jobs", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what driver, sysfs and hwmon say about the card
    Info {
        /// One JSON value instead of lines
        #[arg(long)]
        json: bool,
        /// Also open the compute node, for what only its user may ask
        #[arg(long)]
        open: bool,
        /// Control node of the card
        #[arg(long, default_value = CONTROL_NODE)]
        device: String,
    },
    /// Measure submissions per second and their latency; one JSON line per measurement's begin and end
    Measure {
        /// Milliseconds of each measurement
        #[arg(long, value_name = "MS", default_value_t = 1000)]
        milliseconds: u64,
        /// Submissions in flight; may be given several times; 1, 8 and 64 when absent
        #[arg(long = "depth", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
        depths: Vec<u64>,
        /// Work of each submission: blank, small or large; may be given several times; all when absent
        #[arg(long = "work", value_name = "WORK", value_parser = work_by_name)]
        works: Vec<Work>,
        /// Compute node of the card
        #[arg(long, default_value = COMPUTE_NODE)]
        device: String,
        /// Seconds that one submission may take
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u64,
    },
}

#[derive(Debug, Clone, Args)]
struct Run {
    /// Jobs as NAME or NAME:AMOUNT (bytes, submissions or rounds); all but faults when none is named
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Show the jobs and end
    #[arg(long)]
    list: bool,
    /// One JSON line per job instead of a table
    #[arg(long)]
    json: bool,
    /// Compute node of the card
    #[arg(long, default_value = COMPUTE_NODE)]
    device: String,
    /// Seconds that one submission may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Seconds to wait for a card that is in use or in reset
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Base of the data's seeds; from the clock when absent
    #[arg(long)]
    seed: Option<u64>,
    /// Do the work in this process and write for a parent
    #[arg(long, hide = true)]
    worker: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Info { json, open, device }) => info(json, open, &device).map(|()| true),
        Some(Command::Measure { milliseconds, depths, works, device, timeout }) => {
            let depths = if depths.is_empty() { DEPTHS.to_vec() } else { depths.iter().map(|n| *n as usize).collect() };
            let (each, patience) = (Duration::from_millis(milliseconds), Duration::from_secs(timeout));
            let works = if works.is_empty() { Work::ALL.to_vec() } else { works };
            measure_all(&device, &works, &depths, each, patience).map(|()| true)
        }
        None if arguments.run.list => {
            list();
            Ok(true)
        }
        None => run(arguments.run),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("coxswain-jobs: {message}");
            ExitCode::from(2)
        }
    }
}

fn list() {
    for entry in ENTRIES {
        let amounts: Vec<String> = entry.amounts.iter().filter(|amount| **amount > 0).map(u64::to_string).collect();
        println!("{:<19} {} {}", entry.name, entry.about, amounts.join(" "));
    }
}

fn info(as_json: bool, open: bool, device: &str) -> Result<(), String> {
    let node = ControlNode::open(device).map_err(|error| error.to_string())?;
    let mut value = inventory::collect(&node, Path::new("/sys/class/accel/accel0"), Path::new("/sys/class/hwmon"));
    if open {
        let compute = Device::open(COMPUTE_NODE, Duration::ZERO).map_err(|error| error.to_string())?;
        value = json!({ "card": value, "compute": inventory::collect_compute(&compute) });
    }
    if as_json {
        println!("{value}");
    } else {
        for line in inventory::to_lines(&value) {
            println!("{line}");
        }
    }
    Ok(())
}

fn work_by_name(name: &str) -> Result<Work, String> {
    let known = || Work::ALL.map(Work::key).join(", ");
    Work::ALL.into_iter().find(|work| work.key() == name).ok_or_else(|| format!("one of {}", known()))
}

fn measure_all(
    device: &str,
    works: &[Work],
    depths: &[usize],
    each: Duration,
    patience: Duration,
) -> Result<(), String> {
    let device = Device::open(device, Duration::ZERO).map_err(|error| error.to_string())?;
    let bench = Bench::new(&device, patience).map_err(|error| error.to_string())?;
    let mut tell = |line: &Line| {
        if let Ok(text) = serde_json::to_string(line) {
            let mut output = std::io::stdout().lock();
            // A reader that is gone ends the program by itself.
            let _ = writeln!(output, "{text}").and_then(|()| output.flush());
        }
    };
    for &work in works {
        for &depth in depths {
            measure(&bench, work, depth, each, depth as u64, &mut tell)
                .map_err(|error| format!("{} at depth {depth}: {error}", work.name()))?;
        }
    }
    Ok(())
}

fn run(run: Run) -> Result<bool, String> {
    let requests = parse_all(&run.jobs)?;
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    let settings = Settings {
        device: run.device.clone(),
        patience: Duration::from_secs(run.timeout),
        open_patience: Duration::from_secs(run.wait),
        seed: run.seed.unwrap_or_else(clock),
    };
    if run.worker {
        // The parent was told the reason, if there is one.
        return Ok(work(&settings, &requests, std::io::stdout().lock()).is_ok());
    }

    let mut worker = Process::new("/proc/self/exe");
    worker
        .arg("--worker")
        .args(["--device", &run.device])
        .args(["--timeout", &run.timeout.to_string()])
        .args(["--wait", &run.wait.to_string()])
        .args(["--seed", &settings.seed.to_string()])
        .args(&run.jobs);
    let (mut count, mut failed) = (0, 0);
    let passed = supervise(worker, &settings, &requests, |record| {
        count += 1;
        failed += u32::from(record.result == Verdict::Fail);
        show(record, run.json);
    })?;
    if !run.json {
        println!("{count} jobs, {failed} failed");
    }
    Ok(passed)
}

fn show(record: &Record, as_json: bool) {
    let mut output = std::io::stdout().lock();
    let line = match serde_json::to_string(record) {
        Ok(line) if as_json => line,
        _ => record.to_string(),
    };
    // A reader that is gone does not change the result.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn jobs_and_options_are_read_in_any_order() {
        let arguments = Arguments::parse_from(["coxswain-jobs", "--json", "host-hbm:1", "small", "--timeout", "5"]);
        assert!(arguments.command.is_none() && arguments.run.json);
        assert_eq!(arguments.run.jobs, ["host-hbm:1", "small"]);
        assert_eq!(arguments.run.timeout, 5);
        assert_eq!(arguments.run.device, COMPUTE_NODE);
    }

    #[test]
    fn a_depth_that_no_queue_needs_is_refused() {
        assert!(Arguments::try_parse_from(["coxswain-jobs", "measure", "--depth", "8", "--depth", "1"]).is_ok());
        assert!(Arguments::try_parse_from(["coxswain-jobs", "measure", "--depth", "0"]).is_err());
        assert!(Arguments::try_parse_from(["coxswain-jobs", "measure", "--depth", "65"]).is_err());
        assert!(Arguments::try_parse_from(["coxswain-jobs", "measure", "--work", "huge"]).is_err());
        assert!(Arguments::try_parse_from(["coxswain-jobs", "measure", "--work", "large"]).is_ok());
    }

    #[test]
    fn info_is_a_command_of_its_own() {
        let arguments = Arguments::parse_from(["coxswain-jobs", "info", "--json"]);
        assert!(matches!(arguments.command, Some(Command::Info { json: true, open: false, .. })));
    }
}
