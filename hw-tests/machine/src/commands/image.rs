//! `image`: packs, lists, signs and checks firmware image files. Needs no card and fetches nothing.

use std::path::Path;

use anyhow::Context as _;
use coxswain_core::boot::fit::{Expected, Image, Stage};
use coxswain_core::boot::signature::key_hash;
use coxswain_core::boot::trust::Trust;

use super::{FAILURE, UsageError};
use crate::cli::{ImageCommand, PackOptions};
use crate::image::{self, Contents};
use crate::keys::{self, Signer};

/// Carries out one of the commands.
///
/// # Errors
/// A file cannot be read or written, or is not what it should be.
pub fn run(command: &ImageCommand) -> anyhow::Result<u8> {
    match command {
        ImageCommand::List { file } => list(file),
        ImageCommand::Pack(options) => pack(options),
        ImageCommand::Sign { file, key, output } => {
            sign(file, key.as_deref(), output.as_deref().unwrap_or(file)).map(|()| 0)
        }
        ImageCommand::Verify { file, key, rollback } => verify(file, key.as_deref(), *rollback),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| UsageError(format!("{}: {error}", file.display())).into())
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}: {} bytes", file.display(), bytes.len());
    Ok(())
}

fn list(file: &Path) -> anyhow::Result<u8> {
    let text = image::list(&read(file)?).with_context(|| format!("{} is not an image file", file.display()))?;
    print!("{text}");
    Ok(0)
}

fn pack(options: &PackOptions) -> anyhow::Result<u8> {
    let signer = Signer::load(options.key.as_deref())?;
    let elf = read(&options.program)?;
    let (load, entry, binary) =
        image::flatten_elf(&elf).with_context(|| format!("{} cannot be packed", options.program.display()))?;
    let contents = Contents {
        stage: options.stage.into(),
        binary: &binary,
        load,
        entry,
        version: &options.version,
        rollback: options.rollback,
        raise_to: options.raise_to,
    };
    write(&options.output, &image::pack(&contents, &signer)?)?;
    Ok(0)
}

/// What an image of either stage may be, for a look at it away from a card.
fn anywhere(stage: Stage, trust: Trust) -> Expected {
    Expected { stage, load: 0..u64::MAX, trust }
}

/// Finds the image in a file without looking at hash and signature.
fn locate<'a>(file: &Path, bytes: &'a [u8]) -> anyhow::Result<(Stage, Image<'a>)> {
    let mut refusal = None;
    for stage in [Stage::BootFit, Stage::Control] {
        match Image::locate(bytes, &anywhere(stage, Trust::in_key([0; 32]))) {
            Ok(image) => return Ok((stage, image)),
            Err(error) => refusal = Some(error),
        }
    }
    let error = refusal.map(|error| error.to_string()).unwrap_or_default();
    Err(anyhow::anyhow!("{}: {error}", file.display()))
}

fn sign(file: &Path, key: Option<&Path>, output: &Path) -> anyhow::Result<()> {
    let signer = Signer::load(key)?;
    let bytes = read(file)?;
    let (stage, found) = locate(file, &bytes)?;
    let version = String::from_utf8_lossy(found.version);
    let contents = Contents {
        stage,
        binary: found.data,
        load: found.load,
        entry: found.entry,
        version: &version,
        rollback: found.rollback,
        raise_to: found.raise_to,
    };
    write(output, &image::pack(&contents, &signer)?)
}

/// Exit code 1 when a card with this key in its fuses would refuse the file.
fn verify(file: &Path, key: Option<&Path>, rollback: u32) -> anyhow::Result<u8> {
    let key = keys::public(key)?;
    let bytes = read(file)?;
    let (stage, _) = locate(file, &bytes)?;
    let trust = Trust::in_key(key_hash(key.as_bytes())).with_rollback(stage, rollback);
    match Image::open(&bytes, &anywhere(stage, trust)) {
        Ok(image) => {
            println!(
                "{}: good: {} {}, rollback version {}, {} bytes at {:#x}",
                file.display(),
                stage.name(),
                String::from_utf8_lossy(image.version),
                image.rollback,
                image.data.len(),
                image.load
            );
            Ok(0)
        }
        Err(error) => {
            eprintln!("{}: refused: {error}", file.display());
            Ok(FAILURE)
        }
    }
}
