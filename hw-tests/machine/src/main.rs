//! The command-line program behind `cargo run`.

use std::process::ExitCode;

use clap::Parser as _;
use coxswain_machine::cli::Cli;
use coxswain_machine::commands::{self, FAILURE, INTERRUPTED, USAGE, UsageError};
use coxswain_machine::interrupt::{self, Interrupted};
use coxswain_machine::progress::Progress;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let progress = Progress::new();
    let result = interrupt::install().and_then(|()| commands::run(&cli, &progress));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if interrupt::requested() || error.is::<Interrupted>() => {
            eprintln!("interrupted");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<UsageError>() { USAGE } else { FAILURE })
        }
    }
}
