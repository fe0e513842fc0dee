//! One run of the whole: the card, the management CPU, and any number of lives of the Linux guest on it.
//!
//! A [`Session`] owns every process, socket and folder of a run; dropping it removes them all but the run folder. Keep it
//! on the thread that started it (see [`crate::process`]).

mod guest_run;
mod ports;
mod terminal;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

pub use guest_run::{GuestOutcome, GuestRun, Seen};

use crate::images;
use crate::logs::run_folder::RunFolder;
use crate::provision::Tools;

/// Parameters of a session.
#[derive(Debug, Clone)]
pub struct Config {
    /// Memory of the host machine in MiB; see [`crate::qemu::host::MEMORY_MIB`].
    pub memory_mib: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { memory_mib: 1024 }
    }
}

/// A running card with its management CPU.
pub struct Session {
    tools: Arc<Tools>,
    config: Config,
    folder: RunFolder,
    scratch: tempfile::TempDir,
    lives: u32,
}

impl Session {
    /// Starts a session.
    ///
    /// # Errors
    /// When a part of it cannot be started; everything already started is ended.
    pub fn start(tools: Arc<Tools>, config: Config) -> anyhow::Result<Self> {
        crate::qemu::host::check_memory(config.memory_mib)?;
        let folder = RunFolder::create(&images::target_folder())?;
        let scratch = tempfile::Builder::new()
            .prefix("coxswain-")
            .tempdir()
            .context("cannot make a temporary folder: set TMPDIR")?;
        Ok(Self { tools, config, folder, scratch, lives: 0 })
    }

    /// The folder with this run's logs.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    fn host_memory(&self) -> anyhow::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn host_socket(&self) -> Option<PathBuf> {
        None
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Path of a log of the present life of the guest; the first has the plain names.
    fn log_name(&self, file: &str) -> PathBuf {
        if self.lives <= 1 {
            return self.folder.file(file);
        }
        let (stem, extension) = file.rsplit_once('.').unwrap_or((file, "log"));
        self.folder.file(&format!("{stem}-{}.{extension}", self.lives))
    }
}
