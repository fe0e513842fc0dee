//! The folder that keeps what was fetched: `$COXSWAIN_CACHE`, else `$XDG_CACHE_HOME/coxswain`, else `~/.cache/coxswain`.
//!
//! A *component* (QEMU, kernel, userland) lives in `<component>-<schema>/<id>/`, complete or not at all: it is put
//! together in a temporary folder and renamed into place, then `<component>-<schema>/current.json` is replaced
//! atomically. One lock file serialises those who install. An installed component never changes; a refresh adds another
//! beside it and removes those that no run has locked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::interrupt;
use crate::progress::Progress;

/// Version of the layout below the cache folder.
const SCHEMA: u32 = 1;

/// Begins the names of working folders in the cache.
pub(super) const WORK_PREFIX: &str = "work-";

/// One package that went into a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// File name in the archive, with version and architecture.
    pub file: String,
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// What an installed component is made of; stored as `manifest.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout version.
    pub schema: u32,
    /// Component name.
    pub component: String,
    /// The packages, in the order in which they were unpacked.
    pub packages: Vec<Package>,
}

impl Manifest {
    /// Version of the package called `name`.
    #[must_use]
    pub fn version_of(&self, name: &str) -> Option<&str> {
        self.packages.iter().find(|package| package.name == name).map(|package| package.version.as_str())
    }
}

#[derive(Serialize, Deserialize)]
struct Current {
    id: String,
}

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The right to install; released when dropped.
pub struct Lock {
    _file: File,
}

/// An installed component, kept from removal while this value lives.
#[derive(Debug)]
pub struct Installed {
    /// The unpacked files.
    pub root: PathBuf,
    /// What they are.
    pub manifest: Manifest,
    _in_use: File,
}

impl Cache {
    /// Finds (and makes) the cache folder.
    ///
    /// # Errors
    /// When there is no home folder or the folder cannot be written.
    pub fn open() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("COXSWAIN_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("coxswain")))
            .or_else(|| variable("HOME").map(|folder| folder.join(".cache/coxswain")))
            .context("no cache folder: set COXSWAIN_CACHE to a folder with 700 MB free")?;
        Self::at(root)
    }

    /// Uses `root` as the cache folder.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn at(root: PathBuf) -> anyhow::Result<Self> {
        let root = std::path::absolute(&root).unwrap_or(root);
        fs::create_dir_all(&root).with_context(|| {
            format!("cannot make the cache folder {}: set COXSWAIN_CACHE to a folder you may write", root.display())
        })?;
        if root.to_string_lossy().contains([':', '"', '\n']) {
            bail!("the cache folder {} has a ':' or '\"' in its name: set COXSWAIN_CACHE to another", root.display());
        }
        Ok(Self { root })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Waits until no other run installs.
    ///
    /// # Errors
    /// When interrupted, or the lock file cannot be opened.
    pub fn lock(&self, progress: &Progress) -> anyhow::Result<Lock> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| {
            format!("cannot write {}: set COXSWAIN_CACHE to a folder you may write", path.display())
        })?;
        let mut told = false;
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if !told {
                progress.line(format!("another run is filling {}; waiting for it", self.root.display()));
                told = true;
            }
            interrupt::check()?;
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // Working folders of runs that were killed; the lock says that nobody is using them.
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
                remove_tree(&entry.path());
            }
        }
        Ok(Lock { _file: file })
    }

    /// Folder for files that are being fetched; survives a killed run so that it can be resumed.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    fn component(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}-{SCHEMA}"))
    }

    /// The installed component `name`, if there is one.
    ///
    /// # Errors
    /// When the folder is there but damaged.
    pub fn installed(&self, name: &str) -> anyhow::Result<Option<Installed>> {
        let folder = self.component(name);
        let Ok(text) = fs::read(folder.join("current.json")) else { return Ok(None) };
        let damaged = || format!("{} is damaged: remove it and run again", folder.display());
        let current: Current = serde_json::from_slice(&text).with_context(damaged)?;
        let root = folder.join(&current.id);
        let in_use = File::open(root.join("manifest.json")).with_context(damaged)?;
        let _ = rustix::fs::flock(&in_use, FlockOperation::NonBlockingLockShared);
        let manifest: Manifest = serde_json::from_slice(&fs::read(root.join("manifest.json")).with_context(damaged)?)
            .with_context(damaged)?;
        if manifest.schema != SCHEMA {
            bail!(damaged());
        }
        Ok(Some(Installed { root, manifest, _in_use: in_use }))
    }

    /// Installs component `name`: `fill` puts the files into the folder it is given and says which packages they are.
    ///
    /// # Errors
    /// What `fill` reports, or when the folder cannot be put in place; nothing is left behind then.
    pub fn install(
        &self,
        _lock: &Lock,
        name: &str,
        fill: impl FnOnce(&Path) -> anyhow::Result<Vec<Package>>,
    ) -> anyhow::Result<Installed> {
        let folder = self.component(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Unfinished folders of runs that were killed; the lock says that nobody is using them.
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                remove_tree(&entry.path());
            }
        }
        let new = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&folder)
            .with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        let packages = fill(new.path())?;
        let manifest = Manifest { schema: SCHEMA, component: name.to_owned(), packages };
        let text = serde_json::to_vec_pretty(&manifest).context("cannot write the manifest")?;
        let id = hex(&Sha256::digest(&text))[..16].to_owned();
        fs::write(new.path().join("manifest.json"), &text).context("cannot write the manifest")?;
        let place = folder.join(&id);
        if !place.exists() {
            fs::rename(new.path(), &place).with_context(|| format!("cannot put {} in place", place.display()))?;
        }
        let mut current = tempfile::NamedTempFile::new_in(&folder).context("cannot write in the cache")?;
        serde_json::to_writer(&mut current, &Current { id: id.clone() }).context("cannot write in the cache")?;
        current.persist(folder.join("current.json")).context("cannot write in the cache")?;
        let installed = self.installed(name)?.with_context(|| format!("{name} was not installed"))?;
        remove_unused(&folder, &id);
        Ok(installed)
    }
}

/// Removes versions other than `keep` that no run holds.
fn remove_unused(folder: &Path, keep: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy() == keep || !entry.path().is_dir() {
            continue;
        }
        let Ok(manifest) = File::open(entry.path().join("manifest.json")) else { continue };
        if rustix::fs::flock(&manifest, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_tree(&entry.path());
        }
    }
}

fn remove_tree(path: &Path) {
    // What cannot be removed only takes space; the next refresh tries again.
    let _ = fs::remove_dir_all(path);
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut block = vec![0; 1 << 20];
    loop {
        let count = std::io::Read::read(&mut file, &mut block)?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&block[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str) -> Package {
        Package { file: "a.deb".into(), name: "a".into(), version: version.into(), bytes: 1, sha256: String::new() }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    #[test]
    fn a_failed_installation_leaves_nothing() {
        let (_folder, cache) = cache();
        let lock = cache.lock(&Progress::silent()).unwrap();
        let error = cache.install(&lock, "kernel", |folder| {
            fs::write(folder.join("half"), "x")?;
            bail!("the network went away")
        });
        assert_eq!(error.unwrap_err().to_string(), "the network went away");
        assert!(cache.installed("kernel").unwrap().is_none());
        assert_eq!(fs::read_dir(cache.component("kernel")).unwrap().count(), 0);
    }

    #[test]
    fn a_refresh_keeps_the_version_that_a_run_is_using() {
        let (_folder, cache) = cache();
        let lock = cache.lock(&Progress::silent()).unwrap();
        let fill = |version: &'static str| move |_: &Path| Ok(vec![package(version)]);
        let first = cache.install(&lock, "qemu", fill("1")).unwrap();
        let second = cache.install(&lock, "qemu", fill("2")).unwrap();
        assert!(first.root.exists() && second.root.exists() && first.root != second.root);
        assert_eq!(cache.installed("qemu").unwrap().unwrap().manifest.version_of("a"), Some("2"));
        let first_root = first.root.clone();
        drop(first);
        cache.install(&lock, "qemu", fill("3")).unwrap();
        assert!(!first_root.exists());
    }

    #[test]
    fn a_damaged_cache_names_the_folder_to_remove() {
        let (_folder, cache) = cache();
        let lock = cache.lock(&Progress::silent()).unwrap();
        cache.install(&lock, "qemu", |_| Ok(vec![package("1")])).unwrap();
        fs::write(cache.component("qemu").join("current.json"), "{").unwrap();
        let error = cache.installed("qemu").unwrap_err().to_string();
        assert!(error.ends_with("qemu-1 is damaged: remove it and run again"), "{error}");
    }
}
