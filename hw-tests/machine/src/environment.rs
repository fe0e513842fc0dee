//! Everything that a run is made from: the provisioned tools and the built images. Prepared once, used by many sessions.

use std::path::Path;
use std::sync::Arc;

use coxswain_guest::plan::Module as PlanModule;

use crate::cli::FetchOptions;
use crate::guest::initramfs::{Contents, PROGRAMS, module_path};
use crate::guest::modules::Modules;
use crate::images::{self, GuestPrograms};
use crate::progress::Progress;
use crate::provision::{self, Options, Tools};

/// Name of the driver's module.
pub const DRIVER: &str = "habanalabs";
/// Modules of the shared folder.
const SHARE_MODULES: &[&str] = &["9pnet_virtio", "9p"];

/// The ingredients of runs.
#[derive(Clone)]
pub struct Environment {
    /// Emulators, kernel, userland.
    pub tools: Arc<Tools>,
    /// Programs of the guest.
    pub programs: Arc<GuestPrograms>,
    /// Modules of the guest's kernel.
    pub modules: Arc<Modules>,
    /// True when the person brought the kernel: what is not among the modules may be built in.
    own_kernel: bool,
}

/// Provisions the tools alone.
///
/// # Errors
/// When something is missing and cannot be had.
pub fn tools(fetch: &FetchOptions, progress: &Progress) -> anyhow::Result<Arc<Tools>> {
    let options = Options { mirror: fetch.mirror.clone(), ..Options::default() };
    let tools = provision::provision(&options, progress)?;
    provision::ensure_rust_targets(progress)?;
    Ok(Arc::new(tools))
}

impl Environment {
    /// Provisions and builds.
    ///
    /// # Errors
    /// When something is missing and cannot be had, or does not build.
    pub fn prepare(options: &Options, progress: &Progress) -> anyhow::Result<Self> {
        let own_kernel = options.kernel.is_some();
        let tools = provision::provision(options, progress)?;
        provision::ensure_rust_targets(progress)?;
        let programs = images::build_guest(progress)?;
        let own = options.modules.as_deref();
        if let Some(folder) = own
            && !folder.is_dir()
        {
            anyhow::bail!("--modules {}: no such folder", folder.display());
        }
        let folders: Vec<&Path> = own.into_iter().chain(tools.kernel.modules.as_deref()).collect();
        let modules = Modules::search(&folders);
        if let Some(folder) = own
            && Modules::search(&[folder]).is_empty()
        {
            anyhow::bail!("--modules {}: there is no kernel module in it", folder.display());
        }
        Ok(Self { tools: Arc::new(tools), programs: Arc::new(programs), modules: Arc::new(modules), own_kernel })
    }

    /// The guest's files: process 1, busybox, the guest programs.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn contents(&self) -> anyhow::Result<Contents> {
        let mut contents = Contents::new(self.programs.init.clone(), self.tools.busybox.clone())?;
        for program in &self.programs.others {
            if let Some(name) = program.file_name() {
                contents.add(format!("{PROGRAMS}/{}", name.to_string_lossy()), program, 0o755)?;
            }
        }
        Ok(contents)
    }

    /// Adds the driver and what it depends on to `contents`; returns what is to be loaded before it, and the driver's path
    /// (`None` when a kernel of the person's own has it built in).
    ///
    /// # Errors
    /// When a module is missing.
    pub fn add_driver(&self, contents: &mut Contents) -> anyhow::Result<(Vec<PlanModule>, Option<String>)> {
        let mut loads = self.add_modules(&[DRIVER], contents)?;
        let driver = loads.pop_if(|module| module.path == module_path(DRIVER)).map(|module| module.path);
        Ok((loads, driver))
    }

    /// Adds the modules that `/share` needs to `contents`; returns what is to be loaded.
    ///
    /// # Errors
    /// When a module is missing.
    pub fn add_share(&self, contents: &mut Contents) -> anyhow::Result<Vec<PlanModule>> {
        self.add_modules(SHARE_MODULES, contents)
    }

    fn add_modules(&self, names: &[&str], contents: &mut Contents) -> anyhow::Result<Vec<PlanModule>> {
        let before = contents.modules.len();
        for name in names {
            if self.own_kernel && !self.modules.contains(name) {
                continue;
            }
            self.modules.closure(name, &mut contents.modules)?;
        }
        let added = contents.modules.iter().skip(before);
        Ok(added.map(|module| PlanModule { path: module_path(&module.name), params: String::new() }).collect())
    }
}
