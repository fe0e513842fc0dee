//! Builds what runs elsewhere: the three firmware images for the A53, the TPC kernel, and the guest's programs.
//!
//! Calls cargo with target folders of its own (`<target>/images`), so that it never waits for the build that started it.
//! Owns the names of the firmware files; what is in them is the business of their crates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use serde_json::Value;

use crate::process;
use crate::progress::Progress;
use crate::provision;

/// The root of the repository that this harness was built from.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .components()
        .collect::<PathBuf>()
        .canonicalize()
        .unwrap_or_default()
}

/// The folder for build products and run folders: `$CARGO_TARGET_DIR`, else `target` in the repository.
#[must_use]
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The programs of the guest.
#[derive(Debug, Clone)]
pub struct GuestPrograms {
    /// Process 1.
    pub init: PathBuf,
    /// All other programs of the guest crate.
    pub others: Vec<PathBuf>,
}

/// Builds the guest's programs.
///
/// # Errors
/// When the build fails; the message carries the compiler's words.
pub fn build_guest(progress: &Progress) -> anyhow::Result<GuestPrograms> {
    let programs = cargo("guest programs", "guest", provision::GUEST_TARGET, &["coxswain-guest"], progress)?;
    let (init, others): (Vec<_>, Vec<_>) = programs.into_iter().partition(|path| path.ends_with("coxswain-init"));
    let init = init.into_iter().next().context("the guest crate has no program coxswain-init")?;
    Ok(GuestPrograms { init, others })
}

/// Runs `cargo build` and returns the programs that it made.
fn cargo(
    what: &str,
    profile: &str,
    target: &str,
    packages: &[&str],
    progress: &Progress,
) -> anyhow::Result<Vec<PathBuf>> {
    let task = progress.spinner(format!("building {what}"));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(["build", "--locked", "--profile", profile, "--target", target]);
    command.arg("--target-dir").arg(target_folder().join("images")).arg("--message-format=json-render-diagnostics");
    for package in packages {
        command.args(["-p", package]);
    }
    // Flags meant for the harness (coverage, sanitizers) do not fit other targets.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let captured = process::capture(&mut command, || {})?;
    if !captured.status.success() {
        bail!("building {what} failed:\n{}", captured.stderr.trim_end());
    }
    let mut programs: Vec<PathBuf> = captured
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .collect();
    programs.sort();
    task.done(format!("built {what}"));
    Ok(programs)
}

/// The loadable bytes of an ELF file as one flat image, gaps filled with zeros, and the physical address of its first byte.
///
/// # Errors
/// When it is not a 64-bit ELF file, has nothing to load, or would be larger than 64 MiB.
pub fn flatten(elf: &[u8]) -> anyhow::Result<(u64, Vec<u8>)> {
    let header = elf::FileHeader64::<Endianness>::parse(elf)?;
    let endian = header.endian()?;
    let mut parts: Vec<(u64, &[u8])> = Vec::new();
    for segment in header.program_headers(endian, elf)? {
        if segment.p_type(endian) == elf::PT_LOAD && segment.p_filesz(endian) > 0 {
            let data = segment.data(endian, elf).ok().context("a segment lies outside the file")?;
            parts.push((segment.p_paddr(endian), data));
        }
    }
    let start = parts.iter().map(|(address, _)| *address).min().context("there is nothing to load in it")?;
    let end = parts.iter().map(|(address, data)| address + data.len() as u64).max().unwrap_or(start);
    if end - start > 64 << 20 {
        bail!("its parts lie {} bytes apart", end - start);
    }
    let mut image = vec![0; (end - start) as usize];
    for (address, data) in parts {
        let offset = (address - start) as usize;
        image[offset..offset + data.len()].copy_from_slice(data);
    }
    Ok((start, image))
}

/// The entry address of an ELF file.
///
/// # Errors
/// When it is not a 64-bit ELF file.
pub fn entry(elf: &[u8]) -> anyhow::Result<u64> {
    let header = elf::FileHeader64::<Endianness>::parse(elf)?;
    Ok(header.e_entry(header.endian()?))
}

/// Reads a file of the repository.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
