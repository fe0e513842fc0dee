//! What the program's commands do. Each returns the exit code; an error is one line for the person and exit code 1.

mod bench;
mod boot;
mod common;
mod guest;
mod image;
mod jobs;
mod shell;
mod trace;

use crate::cli::{Cli, Command, SetupOptions};
use crate::environment::Environment;
use crate::images;
use crate::progress::Progress;
use crate::provision::Options;

/// Exit code of a run in which something failed.
pub const FAILURE: u8 = 1;
/// Exit code for wrong arguments.
pub const USAGE: u8 = 2;
/// Exit code of `guest` when the program's time was over, as of `timeout(1)`.
pub const TIMED_OUT: u8 = 124;
/// Exit code after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Wrong arguments that only show when files are looked at; ends with [`USAGE`].
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Carries out a command line.
///
/// # Errors
/// When it could not be carried out.
pub fn run(cli: &Cli, progress: &Progress) -> anyhow::Result<u8> {
    match &cli.command {
        None => jobs::run(&cli.jobs, progress),
        Some(Command::Guest(options)) => guest::run(options, progress),
        Some(Command::Shell(options)) => shell::run(options, progress),
        Some(Command::Boot(options)) => boot::run(options, progress),
        Some(Command::Bench(options)) => bench::run(options, progress),
        Some(Command::Trace(options)) => trace::run(options, progress),
        Some(Command::Setup(options)) => setup(options, progress),
        Some(Command::Image { command }) => image::run(command),
    }
}

fn setup(options: &SetupOptions, progress: &Progress) -> anyhow::Result<u8> {
    let fetch = Options { mirror: options.fetch.mirror.clone(), refresh: options.refresh, ..Options::default() };
    let environment = Environment::prepare(&fetch, progress)?;
    let firmware = images::build_firmware(progress)?;
    let tools = &environment.tools;
    let origin = if tools.qemu.is_of_system() { "the system's" } else { "private" };
    println!("QEMU      {} ({origin})", tools.qemu.version());
    println!("kernel    {}", tools.kernel.name);
    println!("userland  busybox {}", tools.busybox_version);
    for stage in &firmware.stages {
        println!("{:9} {} bytes", stage.name, stage.image.len());
    }
    println!("ready: `cargo run` needs no network from here on");
    Ok(0)
}
