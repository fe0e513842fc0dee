//! What a run needs besides this repository: a QEMU with the needed features, a Debian kernel with its modules, a small
//! userland, Rust targets. Found on the system or fetched once into the cache; never installed into the system.
//!
//! Facts: `emulation.md` 1.

mod apt;
mod cache;
mod rust_targets;
mod sources;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use cache::{Cache, Manifest, Package, sha256_of};
pub use rust_targets::{FIRMWARE as FIRMWARE_TARGET, GUEST as GUEST_TARGET, ensure as ensure_rust_targets};
pub use tools::{Emulator, Kernel, Qemu};

use crate::progress::Progress;
use apt::{Apt, Selection};
use cache::Installed;

/// What the person asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Debian mirror instead of the one in the system's apt sources.
    pub mirror: Option<String>,
    /// Fetch again even when the cache has it.
    pub refresh: bool,
    /// A kernel of the person's own; then nothing is fetched for it.
    pub kernel: Option<PathBuf>,
    /// Modules that belong to [`Self::kernel`].
    pub modules: Option<PathBuf>,
}

/// Everything that runs need, ready to use.
#[derive(Debug)]
pub struct Tools {
    /// The emulators.
    pub qemu: Qemu,
    /// The guest's kernel.
    pub kernel: Kernel,
    /// A static busybox for the guest.
    pub busybox: PathBuf,
    /// Version of the busybox package.
    pub busybox_version: String,
    _installed: Vec<Installed>,
}

const QEMU: &str = "qemu";
const KERNEL: &str = "kernel";
const USERLAND: &str = "userland";

/// Finds or fetches what runs need.
///
/// # Errors
/// When something is missing and cannot be fetched; the message is one line that names the remedy.
pub fn provision(options: &Options, progress: &Progress) -> anyhow::Result<Tools> {
    let cache = Cache::open()?;
    let system = Qemu::of_system();
    let own_kernel = options.kernel.is_some();
    let mut wanted = vec![USERLAND];
    if system.is_none() {
        wanted.insert(0, QEMU);
    }
    if !own_kernel {
        wanted.push(KERNEL);
    }

    let is_missing = |component: &str| Ok::<bool, anyhow::Error>(cache.installed(component)?.is_none());
    let any_missing =
        || wanted.iter().try_fold(false, |any, component| Ok::<_, anyhow::Error>(any || is_missing(component)?));
    if options.refresh || any_missing()? {
        let lock = cache.lock(progress)?;
        // Another run may have fetched them while this one waited.
        let mut missing = Vec::new();
        for component in &wanted {
            if options.refresh || is_missing(component)? {
                missing.push(*component);
            }
        }
        if !missing.is_empty() {
            fetch(&cache, &lock, &missing, options.mirror.as_deref(), progress)?;
        }
    }

    let mut installed = Vec::new();
    let mut take = |component: &str| -> anyhow::Result<(PathBuf, Manifest)> {
        let found = cache
            .installed(component)?
            .with_context(|| format!("the cache has lost {component}: run `cargo run -- setup --refresh`"))?;
        let result = (found.root.clone(), found.manifest.clone());
        installed.push(found);
        Ok(result)
    };
    let qemu = match system {
        Some(qemu) => qemu,
        None => Qemu::unpacked(&take(QEMU)?.0)?,
    };
    let kernel = match &options.kernel {
        Some(image) => Kernel::own(image, options.modules.as_deref())?,
        None => {
            let (root, manifest) = take(KERNEL)?;
            Kernel::unpacked(&root, &manifest)?
        }
    };
    let (root, manifest) = take(USERLAND)?;
    let busybox = [root.join("usr/bin/busybox"), root.join("bin/busybox")]
        .into_iter()
        .find(|path| path.exists())
        .context("the userland package has no busybox: run `cargo run -- setup --refresh`")?;
    let busybox_version = manifest.version_of("busybox-static").unwrap_or_default().to_owned();
    Ok(Tools { qemu, kernel, busybox, busybox_version, _installed: installed })
}

fn fetch(
    cache: &Cache,
    lock: &cache::Lock,
    missing: &[&str],
    mirror: Option<&str>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mirror = match mirror {
        Some(mirror) => mirror.trim_end_matches('/').to_owned(),
        None => sources::system_mirror(Path::new("/etc/apt"))
            .context("no Debian mirror in /etc/apt: pass --mirror with the address of a Debian archive")?,
    };
    progress.line(format!("provisioning {} into {}", missing.join(", "), cache.root().display()));
    let apt = Apt::new(cache.root(), cache.downloads(), &mirror, progress)?;
    for component in missing {
        cache.install(lock, component, |folder| {
            let packages = match *component {
                QEMU => {
                    if cfg!(not(target_arch = "x86_64")) {
                        anyhow::bail!("no QEMU 11 in PATH, and one can be fetched on x86-64 only: install it yourself");
                    }
                    apt.fetch("QEMU", &Selection::Closure(&["qemu-system-x86", "qemu-system-arm"]), progress)?
                }
                KERNEL => {
                    let package = apt.dependency("linux-image-amd64", "linux-image-")?;
                    apt.fetch("the Linux kernel", &Selection::Exactly(&[&package]), progress)?
                }
                _ => apt.fetch("busybox", &Selection::Exactly(&["busybox-static"]), progress)?,
            };
            apt.unpack(component, &packages, folder, progress)?;
            match *component {
                // Found unusable now, it is not installed at all.
                QEMU => drop(Qemu::unpacked(folder)?),
                KERNEL => drop(Kernel::find(folder)?),
                _ => {}
            }
            Ok(packages)
        })?;
    }
    apt.discard_downloads();
    Ok(())
}
