//! Puts together what a guest is to do: its files and its plan, step by step.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::{sync::Arc, time::Duration};
//! use coxswain_machine::{environment::Environment, images, progress::Progress, scenario::Scenario};
//! use coxswain_machine::session::{Config, Session};
//!
//! let progress = Progress::silent();
//! let environment = Environment::prepare(&Default::default(), &progress)?;
//! let firmware = Arc::new(images::build_firmware(&progress)?);
//! let mut scenario = Scenario::new(&environment)?;
//! scenario.firmware(&firmware);
//! scenario.load_driver("")?.wait_until_added(60).run(&["coxswain-jobs", "--json"], 60)?;
//! let config = Config { firmware: Some(firmware), ..Config::default() };
//! let mut session = Session::start(environment.tools.clone(), config)?;
//! let outcome = session.run(&scenario.into_run(Some(Duration::from_secs(300))), &mut |_| Ok(()))?;
//! assert_eq!(outcome.complaints(), [""; 0]);
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use coxswain_guest::plan::{Plan, Step};

use crate::environment::{DRIVER, Environment};
use crate::guest::initramfs::{Contents, FIRMWARE, module_path};
use crate::guest::program;
use crate::images::Firmware;
use crate::session::GuestRun;
use crate::session::open_check::{self, OpenCheck};

/// What the driver logs when the card is up.
pub const ADDED: &str = "Successfully added device";
/// The device's status in sysfs.
pub const STATUS: &str = "/sys/class/accel/accel0/device/status";

/// A guest under construction.
pub struct Scenario<'a> {
    environment: &'a Environment,
    /// Files of the guest.
    pub contents: Contents,
    /// The plan so far.
    pub plan: Plan,
    /// Kernel parameters beyond the harness's own.
    pub kernel_parameters: String,
    share: Option<PathBuf>,
    open_check: Option<OpenCheck>,
    driver_prepared: bool,
    driver: Option<String>,
}

impl<'a> Scenario<'a> {
    /// A guest with process 1, busybox and the programs of the guest crate, and nothing to do.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn new(environment: &'a Environment) -> anyhow::Result<Self> {
        Ok(Self {
            environment,
            contents: environment.contents()?,
            plan: Plan::default(),
            kernel_parameters: String::new(),
            share: None,
            open_check: None,
            driver_prepared: false,
            driver: None,
        })
    }

    /// Puts the firmware files where the driver looks for them. A test may replace them in [`Self::contents`].
    pub fn firmware(&mut self, firmware: &Firmware) -> &mut Self {
        for (name, data) in firmware.files() {
            self.file(&format!("{FIRMWARE}/{name}"), data);
        }
        self
    }

    /// Adds a file to the guest, in place of an earlier one of that name.
    pub fn file(&mut self, path: &str, data: &[u8]) -> &mut Self {
        self.contents.files.retain(|(present, ..)| present != path);
        self.contents.files.push((path.to_owned(), 0o644, data.to_vec()));
        self
    }

    /// Offers `folder` as `/share`.
    ///
    /// # Errors
    /// When it does not exist, or the kernel lacks the modules.
    pub fn share(&mut self, folder: &Path) -> anyhow::Result<&mut Self> {
        self.share = Some(folder.canonicalize().with_context(|| format!("--share {}", folder.display()))?);
        self.plan.share = true;
        let modules = self.environment.add_share(&mut self.contents)?;
        self.plan.modules.extend(modules);
        Ok(self)
    }

    /// Adds the driver's module and what it depends on, without loading the driver itself.
    ///
    /// # Errors
    /// When a module is missing.
    pub fn prepare_driver(&mut self) -> anyhow::Result<&mut Self> {
        if std::mem::replace(&mut self.driver_prepared, true) {
            return Ok(self);
        }
        let (before, driver) = self.environment.add_driver(&mut self.contents)?;
        self.plan.modules.extend(before);
        self.driver = driver;
        let module = |name: &str| self.contents.modules.iter().find(|module| module.name == name);
        let needed = module(DRIVER).is_none_or(|driver| !open_check::has_flag(&driver.object));
        self.open_check = module("drm").filter(|_| needed).and_then(|drm| OpenCheck::find(&drm.object));
        if let Some(check) = &self.open_check {
            self.plan.steps.extend(check.steps());
        }
        Ok(self)
    }

    /// Adds a step that loads the driver. Nothing, when a kernel of the person's own has it built in.
    ///
    /// # Errors
    /// When a module is missing.
    pub fn load_driver(&mut self, parameters: &str) -> anyhow::Result<&mut Self> {
        self.prepare_driver()?;
        if self.driver.is_some() {
            self.step(Step::LoadModule { path: module_path(DRIVER), params: parameters.to_owned() });
        }
        Ok(self)
    }

    /// Adds a step that unloads the driver.
    pub fn unload_driver(&mut self, seconds: u64) -> &mut Self {
        self.step(Step::UnloadModule { name: DRIVER.into(), timeout_s: seconds })
    }

    /// Adds a step that waits for the driver's message that the card is up.
    pub fn wait_until_added(&mut self, seconds: u64) -> &mut Self {
        self.step(Step::WaitKernelLog { contains: ADDED.into(), timeout_s: seconds })
    }

    /// Adds a step that reads the device's status; see [`crate::session::GuestOutcome::file`].
    pub fn read_status(&mut self) -> &mut Self {
        self.step(Step::ReadFile { path: STATUS.into() })
    }

    /// Adds a step that runs a program; its first word as in [`program::bring`].
    ///
    /// # Errors
    /// When the program is neither here nor in the guest.
    pub fn run(&mut self, words: &[&str], seconds: u64) -> anyhow::Result<&mut Self> {
        let (program, arguments) = words.split_first().context("no program is named")?;
        let path = program::bring(program, self.share.as_deref(), &mut self.contents)?;
        let argv = std::iter::once(path).chain(arguments.iter().map(|word| (*word).to_owned())).collect();
        Ok(self.step(Step::Run { argv, env: Vec::new(), timeout_s: seconds, expect_exit: Some(0) }))
    }

    /// Adds any step.
    pub fn step(&mut self, step: Step) -> &mut Self {
        self.plan.steps.push(step);
        self
    }

    /// The finished guest; `limit` bounds its whole life, boot and shutdown included.
    #[must_use]
    pub fn into_run(self, limit: Option<Duration>) -> GuestRun {
        GuestRun {
            plan: self.plan,
            contents: self.contents,
            share: self.share,
            limit,
            kernel_parameters: self.kernel_parameters,
            gdb: false,
            open_check: self.open_check,
        }
    }
}
