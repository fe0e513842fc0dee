//! Builds what runs elsewhere: the three firmware images for the A53, the TPC kernel, and the guest's programs.
//!
//! Calls cargo with target folders of its own (`<target>/images`), so that it never waits for the build that started it.
//! Owns the names of the firmware files; what is in them is the business of their crates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use coxswain_card::Fuses;
use serde_json::Value;

use crate::image;
use crate::keys::Signer;
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

/// What a boot stage's build yields.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Name for people.
    pub name: &'static str,
    /// Id of its frames in the firmware's log.
    pub log_id: u8,
    /// The program with symbols and log strings.
    pub elf: Vec<u8>,
    /// What the card executes: the flat image of the ROM, the packed image of the others.
    pub image: Vec<u8>,
}

/// The firmware of the card.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// Fuses of a card that trusts the key of these images.
    pub fuses: Fuses,
    /// Boot ROM, boot-fit and control image.
    pub stages: [Stage; 3],
    /// The TPC kernel that the driver runs at probe.
    pub tpc_kernel: Vec<u8>,
}

/// Rollback version of the images: to be raised together with a repair that an older image must not undo.
pub const ROLLBACK: u32 = 1;
/// Name under which the driver asks for the boot-fit.
pub const BOOT_FIT_FILE: &str = "gaudi-boot-fit.itb";
/// Name under which the driver asks for the control image.
pub const CONTROL_FILE: &str = "gaudi-fit.itb";
/// Name under which the driver asks for the TPC kernel.
pub const TPC_FILE: &str = "gaudi_tpc.bin";

impl Firmware {
    /// The boot ROM.
    #[must_use]
    pub fn rom(&self) -> &Stage {
        &self.stages[0]
    }

    /// The files that the driver loads, by name.
    #[must_use]
    pub fn files(&self) -> [(&'static str, &[u8]); 3] {
        [(BOOT_FIT_FILE, &self.stages[1].image), (CONTROL_FILE, &self.stages[2].image), (TPC_FILE, &self.tpc_kernel)]
    }
}

/// Builds the three firmware images and the TPC kernel, and writes the files that the driver loads to
/// `<target>/images/firmware`.
///
/// # Errors
/// When a build fails; the message carries the compiler's words.
pub fn build_firmware(progress: &Progress) -> anyhow::Result<Firmware> {
    let signer = Signer::load(None)?;
    let packages = ["coxswain-rom", "coxswain-bootfit", "coxswain-control"];
    let mut programs = cargo("boot images", "boot", provision::FIRMWARE_TARGET, &packages[..2], progress)?;
    programs.extend(cargo("control image", "firmware", provision::FIRMWARE_TARGET, &packages[2..], progress)?);
    let elf = |package: &str| -> anyhow::Result<Vec<u8>> {
        let path = programs.iter().find(|path| path.ends_with(package));
        read(path.with_context(|| format!("the build of {package} made no program"))?)
    };
    let [rom, boot_fit, control] = packages.map(elf);
    let rom = {
        let elf = rom?;
        let (start, _, image) = image::flatten_elf(&elf).context("the boot ROM")?;
        if start != 0 {
            bail!("the boot ROM begins at {start:#x} instead of 0: see linker/rom.ld");
        }
        Stage { name: "rom", log_id: 1, elf, image }
    };
    let pack = |name: &'static str, log_id: u8, kind: image::Stage, elf: Vec<u8>| -> anyhow::Result<Stage> {
        let (load, entry, binary) = image::flatten_elf(&elf).with_context(|| format!("the {name} image"))?;
        let contents = image::Contents {
            stage: kind,
            binary: &binary,
            load,
            entry,
            version: env!("CARGO_PKG_VERSION"),
            rollback: ROLLBACK,
            raise_to: 0,
        };
        Ok(Stage { name, log_id, image: image::pack(&contents, &signer)?, elf })
    };
    let boot_fit = pack("boot-fit", 2, image::Stage::BootFit, boot_fit?)?;
    let control = pack("control", 3, image::Stage::Control, control?)?;

    let source = workspace().join("hw-tests/tpc/kernels/meminit.tpc");
    let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let tpc_kernel = coxswain_tpc::assemble(&text).with_context(|| format!("assembling {}", source.display()))?;

    let firmware = Firmware { fuses: signer.fuses(), stages: [rom, boot_fit, control], tpc_kernel };
    let folder = target_folder().join("images/firmware");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, data) in firmware.files().into_iter().chain([("rom.bin", firmware.rom().image.as_slice())]) {
        let mut file = tempfile::NamedTempFile::new_in(&folder).context("cannot write the images")?;
        std::io::Write::write_all(&mut file, data).context("cannot write the images")?;
        file.persist(folder.join(name)).context("cannot write the images")?;
    }
    Ok(firmware)
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
    if profile == "boot" {
        // Every log line costs the ROM room; those about a boot that goes well are not worth it.
        command.env("DEFMT_LOG", "warn");
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

/// Reads a file of the repository.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
