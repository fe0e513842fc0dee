//! What the commands with a guest share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::UsageError;
use crate::cli::{Debuggee, MachineOptions};
use crate::environment::Environment;
use crate::images::{self, Firmware};
use crate::progress::Progress;
use crate::provision::Options;
use crate::scenario::Scenario;
use crate::session::{Config, GuestOutcome, Session};
use coxswain_abi::soc::straps;

/// Seconds that the driver's module may take to load; its own limits for a failing card add up to 90 s.
const PROBE_LIMIT: u64 = 150;
/// Seconds after that in which its verdict must be there: it is logged before the module's initialisation returns.
const VERDICT_LIMIT: u64 = 10;
/// Seconds that boot and shutdown of the guest get beyond the steps' own limits.
const BOOT_LIMIT: u64 = 120;
/// Lines of each log that are shown when something failed.
const LAST_LINES: usize = 15;

/// What a command runs: tools, and the card's firmware unless the guest runs without a card.
pub struct Prepared {
    /// Tools and images.
    pub environment: Environment,
    /// The firmware.
    pub firmware: Option<Arc<Firmware>>,
}

impl Prepared {
    /// A guest with the driver at hand, and loaded when `load` says so.
    ///
    /// # Errors
    /// When a module or file is missing.
    pub fn scenario(&self, options: &MachineOptions, share: Option<&Path>, load: bool) -> anyhow::Result<Scenario<'_>> {
        let mut scenario = Scenario::new(&self.environment)?;
        if let Some(share) = share {
            scenario.share(share)?;
        }
        if let Some(firmware) = &self.firmware {
            scenario.firmware(firmware);
        }
        scenario.prepare_driver()?;
        if load {
            scenario.load_driver(&options.driver_options.join(" "))?;
            if self.firmware.is_some() {
                scenario.wait_until_added(VERDICT_LIMIT);
            }
        }
        Ok(scenario)
    }
}

/// Checks the arguments, provisions and builds.
///
/// # Errors
/// When an argument is wrong, or something is missing or does not build.
pub fn prepare(options: &MachineOptions, share: Option<&Path>, progress: &Progress) -> anyhow::Result<Prepared> {
    check_files(options, share)?;
    let fetch = Options {
        mirror: options.fetch.mirror.clone(),
        refresh: false,
        kernel: options.kernel.clone(),
        modules: options.modules.clone(),
    };
    let environment = Environment::prepare(&fetch, progress)?;
    let firmware = if options.without_card { None } else { Some(Arc::new(images::build_firmware(progress)?)) };
    Ok(Prepared { environment, firmware })
}

fn check_files(options: &MachineOptions, share: Option<&Path>) -> anyhow::Result<()> {
    let wrong = |text: String| Err(UsageError(text).into());
    if let Some(kernel) = &options.kernel
        && !kernel.is_file()
    {
        return wrong(format!("--kernel {}: no such file", kernel.display()));
    }
    if let Some(modules) = &options.modules
        && !modules.is_dir()
    {
        return wrong(format!("--modules {}: no such folder", modules.display()));
    }
    if let Some(share) = share
        && !share.is_dir()
    {
        return wrong(format!("--share {}: no such folder", share.display()));
    }
    Ok(())
}

/// Starts the card for a command and says where the logs are. With `--gdb firmware` it returns when the debugger has let
/// the firmware run.
///
/// # Errors
/// As [`Session::start`].
pub fn start(prepared: &Prepared, options: &MachineOptions, progress: &Progress) -> anyhow::Result<Session> {
    start_strapped(prepared, options, 0, progress)
}

/// The same with further straps.
///
/// # Errors
/// As [`Session::start`].
pub fn start_strapped(
    prepared: &Prepared,
    options: &MachineOptions,
    straps: u32,
    progress: &Progress,
) -> anyhow::Result<Session> {
    let loader = u32::from(options.static_loader) * straps::STATIC_LOADER;
    let config = Config {
        memory_mib: options.memory,
        firmware: prepared.firmware.clone(),
        straps: straps::with_queue_cores(loader | straps, options.queue_cores),
        injections: options.sensor.0.clone(),
        fuse_file: options.fuses.clone(),
        trace_registers: options.trace,
        gdb_firmware: options.gdb == Some(Debuggee::Firmware),
        ..Config::default()
    };
    let mut session = Session::start(Arc::clone(&prepared.environment.tools), config)?;
    progress.line(format!("logs in {}", session.folder().path().display()));
    wait_for_firmware_debugger(&mut session, progress)?;
    Ok(session)
}

/// Says how to attach to a management CPU that waits for a debugger, and waits with it.
///
/// # Errors
/// When interrupted, or the machine has ended.
pub fn wait_for_firmware_debugger(session: &mut Session, progress: &Progress) -> anyhow::Result<()> {
    let Some(port) = session.firmware_gdb_port() else { return Ok(()) };
    let file = |name: &str| session.folder().file(name).display().to_string();
    progress.line("the firmware waits for a debugger:");
    progress.line(format!(
        "  gdb-multiarch {} -ex 'add-symbol-file {}' -ex 'add-symbol-file {}' -ex 'target remote 127.0.0.1:{port}'",
        file("rom.elf"),
        file("boot-fit.elf"),
        file("control.elf")
    ));
    progress.line("  then: continue (breakpoints in flash and in images not loaded yet: hbreak)");
    session.wait_until_firmware_runs()
}

/// Says how to attach to a kernel that waits for a debugger.
pub fn tell_kernel_debugger(port: Option<u16>, progress: &Progress) {
    if let Some(port) = port {
        progress.line("the kernel waits for a debugger:");
        progress
            .line(format!("  gdb vmlinux -ex 'target remote 127.0.0.1:{port}' -ex 'hbreak start_kernel' -ex continue"));
        progress.line(
            "  (vmlinux: your own build, or the package of the kernel's debug symbols; addresses are not randomised)",
        );
    }
}

/// The bound of a guest's life: `steps` seconds for its work, and something for boot and shutdown. None under a debugger.
pub fn limit(options: &MachineOptions, steps: u64) -> Option<Duration> {
    options.gdb.is_none().then(|| Duration::from_secs(steps + PROBE_LIMIT + BOOT_LIMIT))
}

/// Shows what went wrong: complaints, kernel reports, the last lines of every log.
pub fn show_failure(session: &Session, outcome: &GuestOutcome) {
    for note in &outcome.notes {
        eprintln!("note: {note}");
    }
    for complaint in outcome.complaints() {
        eprintln!("FAILED: {complaint}");
    }
    for fault in &outcome.kernel_faults {
        eprintln!("--- the kernel's report");
        for line in fault.lines.iter().take(40) {
            eprintln!("{line}");
        }
    }
    show_logs(session);
}

/// Shows the firmware's fault reports and the last lines of every log.
pub fn show_logs(session: &Session) {
    for line in session.firmware_log().fatal() {
        eprintln!("firmware: {line}");
    }
    eprint!("{}", session.folder().last_lines(LAST_LINES));
    eprintln!("all logs: {}", session.folder().path().display());
}
