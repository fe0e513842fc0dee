//! Ctrl-C and polite termination.
//!
//! The first SIGINT, SIGTERM or SIGHUP sets a flag; whoever waits looks at it through [`check`] and returns an error, and
//! the destructors on the way out end processes and remove files. A second signal ends the program at once: the kernel
//! then kills the child processes (see [`crate::process`]). This module never ends anything itself on the first signal.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The error that [`check`] returns; the program ends with exit code 130 for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Starts to listen for signals. Call once, from the program's main function.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn install() -> anyhow::Result<()> {
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot install signal handlers")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _signal in &mut signals {
                if INTERRUPTED.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
            }
        })
        .context("cannot start the signal thread")?;
    Ok(())
}

/// True after the first signal.
#[must_use]
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Fails with [`Interrupted`] after the first signal.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> anyhow::Result<()> {
    if requested() { Err(Interrupted.into()) } else { Ok(()) }
}
