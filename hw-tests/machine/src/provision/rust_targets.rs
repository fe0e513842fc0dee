//! The Rust targets that images and guest programs are built for.

use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;
use crate::progress::Progress;

/// Target of the firmware images.
pub const FIRMWARE: &str = "aarch64-unknown-none-softfloat";
/// Target of the guest's programs.
pub const GUEST: &str = "x86_64-unknown-linux-musl";

/// Makes sure that the compiler in use has the standard libraries of both targets, adding them with rustup when missing.
///
/// # Errors
/// When they are missing and cannot be added.
pub fn ensure(progress: &Progress) -> anyhow::Result<()> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let root = std::path::PathBuf::from(
        process::output(Command::new(&compiler).args(["--print", "sysroot"]))
            .context("cannot ask rustc for its libraries: is Rust installed?")?
            .trim(),
    );
    let missing: Vec<&str> = [FIRMWARE, GUEST]
        .into_iter()
        .filter(|target| !root.join("lib/rustlib").join(target).join("lib").exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let task = progress.spinner(format!("adding the Rust targets {}", missing.join(" and ")));
    let added = process::capture(Command::new("rustup").args(["target", "add"]).args(&missing), || {});
    match added {
        Ok(captured) if captured.status.success() => {
            task.done(format!("added the Rust targets {}", missing.join(" and ")));
            Ok(())
        }
        Ok(captured) => bail!(
            "cannot add the Rust targets ({}): run `rustup target add {}` yourself",
            captured.complaint(),
            missing.join(" ")
        ),
        Err(error) if error.is::<crate::interrupt::Interrupted>() => Err(error),
        Err(_) => bail!(
            "the Rust targets {} are missing and there is no rustup: install them yourself",
            missing.join(" and ")
        ),
    }
}
