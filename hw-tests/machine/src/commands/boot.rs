//! `boot`: only the firmware on the card, no Linux. What the host does comes from the scripted host, `hw-tests/host`.

use std::sync::Arc;
use std::time::Instant;

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

/// Brings the card up, runs jobs, resets it, and does it again.
fn drive(session: &Session, firmware: &images::Firmware) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut host, loaded, info) = scripted::bring_up(session, firmware)?;
    let name = String::from_utf8_lossy(&info.card_name);
    println!("{:8.1?}  card up: {}, STS0 {:#010x}", begun.elapsed(), name.trim_end_matches('\0'), loaded.capabilities);
    println!("          ROM      {}", loaded.preboot_version);
    println!("          boot-fit {}", loaded.boot_fit_version);
    for bytes in [1, 4096, 1 << 20, 64 << 20] {
        let took = scripted::round_trip(&mut host, bytes)?;
        println!("{:8.1?}  {bytes} bytes host -> HBM -> host in {took:.1?}, every byte right", begun.elapsed());
    }
    scripted::internal_copy(&mut host, 1 << 20)?;
    println!("{:8.1?}  1 MiB within HBM on DMA2, by CP_DMA, sync object, monitor and fence", begun.elapsed());
    for depth in [1, 64] {
        let burst = scripted::burst(session, &mut host, JOBS, depth)?;
        println!(
            "{:8.1?}  {} jobs of 64 bytes at depth {depth}: {:.0?} each, {:.2} trapped accesses each",
            begun.elapsed(),
            burst.jobs,
            burst.took / burst.jobs,
            burst.kicks as f64 / f64::from(burst.jobs)
        );
    }
    host.reset(None)?;
    scripted::load(&mut host, firmware)?;
    scripted::round_trip(&mut host, 4096)?;
    println!("{:8.1?}  reset, loaded again, jobs run", begun.elapsed());
    Ok(())
}
