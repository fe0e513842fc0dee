//! `boot`: only the firmware on the card, no Linux. What the host does comes from the scripted host, `hw-tests/host`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use coxswain_abi::soc::straps;
use coxswain_host::exercise::exercise;

use super::common;
use super::{FAILURE, INTERRUPTED};
use crate::cli::BootOptions;
use crate::environment;
use crate::images;
use crate::interrupt;
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
        straps: straps::with_queue_cores(u32::from(options.static_loader) * straps::STATIC_LOADER, options.queue_cores),
        injections: options.sensor.0.clone(),
        fuse_file: options.fuses.clone(),
        trace_registers: options.trace,
        gdb_firmware: options.gdb,
        ..Config::default()
    };
    let mut session = Session::start(tools, config)?;
    progress.line(format!("logs in {}", session.folder().path().display()));
    common::wait_for_firmware_debugger(&mut session, progress)?;
    let result = while_watching(&session, || drive(&session, &firmware));
    let good = result.is_ok() && session.firmware_log().fatal().is_empty();
    if !good {
        common::show_logs(&session);
    }
    session.shut_down();
    result.map(|()| if good { 0 } else { FAILURE })
}

/// Does `work`, which does not look for Ctrl-C and whose waits are long: a watcher ends the program instead.
fn while_watching<T>(session: &Session, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let scratch = session.scratch_folder();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if interrupt::requested() {
                    // What cannot be removed, the next run removes. The kernel ends the emulator with us.
                    let _ = std::fs::remove_dir_all(scratch);
                    eprintln!("interrupted");
                    std::process::exit(i32::from(INTERRUPTED));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })
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
