//! `boot`: only the firmware on the card, no Linux. What the host does comes from the scripted host, `hw-tests/host`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use coxswain_host::exercise::exercise;

use super::common;
use crate::cli::BootOptions;
use crate::environment;
use crate::images;
use crate::progress::Progress;
use crate::scripted;
use crate::session::{Config, Session};

/// Jobs of the burst.
const JOBS: u32 = 1000;

/// Runs it.
pub fn run(options: &BootOptions, progress: &Progress) -> anyhow::Result<u8> {
    let tools = environment::tools(&options.fetch, progress)?;
    let firmware = Arc::new(images::build_firmware(progress)?);
    let config = Config {
        firmware: Some(Arc::clone(&firmware)),
        trace_registers: options.trace,
        gdb_firmware: options.gdb,
        ..Config::default()
    };
    let mut session = Session::start(tools, config)?;
    progress.line(format!("logs in {}", session.folder().path().display()));
    common::wait_for_firmware_debugger(&mut session, progress)?;
    let result = drive(&session, &firmware);
    if result.is_err() {
        eprint!("{}", session.folder().last_lines(20));
    }
    session.shut_down();
    result.map(|()| 0)
}

/// Takes the scripted host's tour of the card, then measures bursts of small jobs.
fn drive(session: &Session, firmware: &images::Firmware) -> anyhow::Result<()> {
    let card = session.card().context("the session has no card")?;
    let [_, boot_fit, control] = &firmware.stages;
    let tell = |step: &'static str, took: Duration, words: String| println!("{took:>10.1?}  {step:32} {words}");
    let mut host = exercise(card, scripted::bounds(), &boot_fit.image, &control.image, tell)?;
    for depth in [1, 64] {
        let burst = scripted::burst(session, &mut host, JOBS, depth)?;
        println!(
            "{:>10.1?}  {JOBS} jobs of 64 bytes, depth {depth:2}      {:.1?} each, {:.2} trapped accesses each",
            burst.took,
            burst.took / burst.jobs,
            burst.kicks_per_job()
        );
    }
    Ok(())
}
