//! The programs and files that provisioning yields: emulators that have the needed features, and a kernel with modules.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::cache::Manifest;
use crate::process;

/// Which machine an emulator emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulator {
    /// The host: `qemu-system-x86_64`.
    Host,
    /// The management CPU: `qemu-system-aarch64`.
    Management,
}

impl Emulator {
    const fn program(self) -> &'static str {
        match self {
            Self::Host => "qemu-system-x86_64",
            Self::Management => "qemu-system-aarch64",
        }
    }
}

/// A pair of emulators of one version.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// Folder with the programs.
    programs: PathBuf,
    /// The dynamic loader and its library path, when the programs are not the system's.
    loader: Option<(PathBuf, OsString)>,
    data: Vec<PathBuf>,
    modules: Option<PathBuf>,
    version: String,
}

impl Qemu {
    /// The system's QEMU, when both programs have what is needed.
    #[must_use]
    pub fn of_system() -> Option<Self> {
        let host = process::find_in_path(Emulator::Host.program())?;
        let programs = host.parent()?.to_path_buf();
        let mut qemu = Self { programs, loader: None, data: Vec::new(), modules: None, version: String::new() };
        qemu.check().ok()?;
        qemu.version = qemu.read_version().ok()?;
        Some(qemu)
    }

    /// The QEMU unpacked from packages below `root`, run through the dynamic loader that was unpacked with it.
    ///
    /// # Errors
    /// When a file is missing or the programs lack a feature.
    pub fn unpacked(root: &Path) -> anyhow::Result<Self> {
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let loader = libraries.join("ld-linux-x86-64.so.2");
        if !loader.exists() {
            bail!("{} has no dynamic loader: run `cargo run -- setup --refresh`", root.display());
        }
        let data = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"].map(|folder| root.join(folder));
        let mut qemu = Self {
            programs: root.join("usr/bin"),
            loader: Some((loader, libraries.clone().into_os_string())),
            data: data.into_iter().filter(|folder| folder.exists()).collect(),
            modules: Some(libraries.join("qemu")),
            version: String::new(),
        };
        qemu.check()?;
        qemu.version = qemu.read_version()?;
        Ok(qemu)
    }

    /// A command that runs one of the emulators; arguments are to be added.
    #[must_use]
    pub fn command(&self, which: Emulator) -> Command {
        let program = self.programs.join(which.program());
        let mut command = match &self.loader {
            None => Command::new(program),
            Some((loader, libraries)) => {
                let mut command = Command::new(loader);
                command.arg("--library-path").arg(libraries).arg(program);
                command
            }
        };
        // Cargo's own library path must not reach a program with other libraries.
        command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
        if let Some(modules) = &self.modules {
            command.env("QEMU_MODULE_DIR", modules);
        }
        for folder in &self.data {
            command.arg("-L").arg(folder);
        }
        command
    }

    /// Version as QEMU prints it, e.g. `11.1.3 (Debian ...)`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// True for the QEMU that the system itself has.
    #[must_use]
    pub fn is_of_system(&self) -> bool {
        self.loader.is_none()
    }

    fn read_version(&self) -> anyhow::Result<String> {
        let text = process::output(self.command(Emulator::Host).arg("--version"))?;
        let line = text.lines().next().unwrap_or_default();
        Ok(line.trim_start_matches("QEMU emulator version ").to_owned())
    }

    /// Features are probed, never inferred from a version (`decisions.md` 4).
    fn check(&self) -> anyhow::Result<()> {
        for which in [Emulator::Host, Emulator::Management] {
            let devices = process::output(self.command(which).args(["-device", "help"]))?;
            if !devices.contains("\"vfio-user-pci\"") {
                bail!("{} has no vfio-user-pci device", which.program());
            }
        }
        let machine = process::output(self.command(Emulator::Management).args(["-M", "virt,help"]))?;
        if !machine.lines().any(|line| line.trim_start().starts_with("msi=")) {
            bail!("{} has no msi= property of the virt machine", Emulator::Management.program());
        }
        Ok(())
    }
}

/// A Linux kernel for the guest.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    /// Folder that holds its modules, at any depth; `None` when everything is built in.
    pub modules: Option<PathBuf>,
    /// A name for reports: the release, or the path of the person's own image.
    pub name: String,
}

impl Kernel {
    /// The kernel in an unpacked package.
    ///
    /// # Errors
    /// When the package does not look as expected.
    pub fn unpacked(root: &Path, manifest: &Manifest) -> anyhow::Result<Self> {
        let mut kernel = Self::find(root)?;
        if let Some(package) = manifest.packages.first() {
            kernel.name = format!("{} (package version {})", kernel.name, package.version);
        }
        Ok(kernel)
    }

    /// Finds image and modules below `root`.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn find(root: &Path) -> anyhow::Result<Self> {
        let unusable =
            || format!("{} is not a usable kernel package: run `cargo run -- setup --refresh`", root.display());
        let image = fs::read_dir(root.join("boot"))
            .with_context(unusable)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
            .with_context(unusable)?;
        let release =
            image.file_name().map(|name| name.to_string_lossy()["vmlinuz-".len()..].to_owned()).unwrap_or_default();
        let modules = ["usr/lib/modules", "lib/modules"]
            .iter()
            .map(|folder| root.join(folder).join(&release))
            .find(|folder| folder.exists())
            .with_context(unusable)?;
        Ok(Self { image, modules: Some(modules), name: release })
    }

    /// A kernel of the person's own.
    ///
    /// # Errors
    /// When a path does not exist.
    pub fn own(image: &Path, modules: Option<&Path>) -> anyhow::Result<Self> {
        if !image.is_file() {
            bail!("--kernel {}: no such file", image.display());
        }
        if let Some(modules) = modules
            && !modules.is_dir()
        {
            bail!("--modules {}: no such folder", modules.display());
        }
        Ok(Self {
            image: image.to_path_buf(),
            modules: modules.map(Path::to_path_buf),
            name: image.display().to_string(),
        })
    }
}
