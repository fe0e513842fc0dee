//! `boot`: only the firmware on the card, no Linux. What the host does comes from the scripted host, `hw-tests/host`.

use std::sync::Arc;

use anyhow::bail;

use super::common;
use crate::cli::BootOptions;
use crate::environment;
use crate::images;
use crate::progress::Progress;
use crate::session::{Config, Session};

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
    session.shut_down();
    bail!("the scripted host (hw-tests/host) does not drive the card yet: use `cargo run` for now")
}
