//! One run of the whole: the card, the management CPU, and any number of lives of the Linux guest on it.
//!
//! A [`Session`] owns every process, socket and folder of a run; dropping it removes them all but the run folder. Keep it
//! on the thread that started it (see [`crate::process`]).

mod guest_run;
pub mod open_check;
mod ports;
mod terminal;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use coxswain_card::{Card, CardOptions, Fuses, Injection, RegisterTrace, TraceEntry};

pub use guest_run::{GuestOutcome, GuestRun, Seen};

use crate::images::{self, Firmware};
use crate::interrupt;
use crate::logs::backtrace::Symbols;
use crate::logs::firmware::{Decoder, FirmwareLog, LoggedImage};
use crate::logs::run_folder::{self as log, RunFolder};
use crate::provision::Tools;
use crate::qemu::machine::Machine;
use crate::qemu::management::ManagementMachine;
use crate::qemu::power::QemuPower;

/// Parameters of a session.
#[derive(Clone)]
pub struct Config {
    /// Memory of the host machine in MiB; see [`crate::qemu::host::MEMORY_MIB`].
    pub memory_mib: u64,
    /// What runs on the card; `None`: the guest runs without a card.
    pub firmware: Option<Arc<Firmware>>,
    /// Cores of the management CPU, 1 to 4.
    pub cores: u32,
    /// The card finishes the work of a kick before the trapped write returns, for exact instruction counts.
    pub lockstep: bool,
    /// Board straps ([`coxswain_abi::soc::straps`]).
    pub straps: u32,
    /// The card's e-fuses at power-on; `None`: those that trust the key of [`Self::firmware`].
    pub fuses: Option<Fuses>,
    /// Changes of the board around the chip, made before the card starts.
    pub injections: Vec<Injection>,
    /// Keeps the e-fuses from run to run.
    pub fuse_file: Option<PathBuf>,
    /// Exact instruction counting of the management CPU (`-icount`); one core and [`Self::lockstep`] only.
    pub instruction_count: bool,
    /// Record every register access of the host in the run folder.
    pub trace_registers: bool,
    /// Start the management CPU stopped and wait for a debugger; see [`Session::firmware_gdb_port`].
    pub gdb_firmware: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_mib: 1024,
            firmware: None,
            cores: 4,
            lockstep: false,
            straps: 0,
            fuses: None,
            injections: Vec::new(),
            fuse_file: None,
            instruction_count: false,
            trace_registers: false,
            gdb_firmware: false,
        }
    }
}

/// A running card with its management CPU.
pub struct Session {
    tools: Arc<Tools>,
    config: Config,
    folder: RunFolder,
    lives: u32,
    started: Instant,
    firmware_log: FirmwareLog,
    // The order matters when the session is dropped: the machines go before the card that serves them, and the sockets'
    // folder goes last.
    management: Option<Machine>,
    card: Option<Card>,
    trace: Option<TraceFile>,
    scratch: tempfile::TempDir,
}

impl Session {
    /// Starts the card and its management CPU.
    ///
    /// # Errors
    /// When a part of it cannot be started; everything already started is ended.
    pub fn start(tools: Arc<Tools>, config: Config) -> anyhow::Result<Self> {
        crate::qemu::host::check_memory(config.memory_mib)?;
        let folder = RunFolder::create(&images::target_folder())?;
        remove_orphans();
        // Short: the name of a socket may have 107 bytes.
        let scratch = tempfile::Builder::new()
            .prefix(&format!("{SCRATCH_PREFIX}{}-", std::process::id()))
            .tempdir()
            .context("cannot make a temporary folder: set TMPDIR")?;
        let mut session = Self {
            tools,
            config,
            folder,
            lives: 0,
            started: Instant::now(),
            firmware_log: FirmwareLog::default(),
            management: None,
            card: None,
            trace: None,
            scratch,
        };
        if let Some(firmware) = session.config.firmware.clone() {
            session.start_card()?;
            session.start_management(&firmware)?;
        }
        Ok(session)
    }

    fn start_card(&mut self) -> anyhow::Result<()> {
        if self.config.trace_registers {
            self.trace = Some(TraceFile::create(&self.folder)?);
        }
        let card = Card::start(CardOptions {
            host_memory_bytes: self.config.memory_mib << 20,
            host_socket: self.host_socket_path(),
            soc_socket: self.scratch.path().join("soc.sock"),
            lockstep: self.config.lockstep,
            straps: self.config.straps,
            fuses: self
                .config
                .fuses
                .unwrap_or_else(|| self.config.firmware.as_ref().map_or_else(Fuses::new, |f| f.fuses)),
            fuse_file: self.config.fuse_file.clone(),
            trace: self.trace.as_ref().map(TraceFile::sink),
        })
        .context("cannot start the card")?;
        card.inject(&self.config.injections);
        self.card = Some(card);
        Ok(())
    }

    fn start_management(&mut self, firmware: &Firmware) -> anyhow::Result<()> {
        // Kept with the logs: they are of use only together with the images that wrote them.
        let rom = self.folder.file("rom.bin");
        std::fs::write(&rom, &firmware.rom().image).with_context(|| format!("cannot write {}", rom.display()))?;
        for stage in &firmware.stages {
            let path = self.folder.file(&format!("{}.elf", stage.name));
            std::fs::write(&path, &stage.elf).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let builder = ManagementMachine {
            qemu: &self.tools.qemu,
            rom: &rom,
            card: self.scratch.path().join("soc.sock"),
            cores: self.config.cores,
            instruction_count: self.config.instruction_count,
            gdb: self.config.gdb_firmware,
        }
        .build()?;
        let images: Vec<LoggedImage<'_>> = firmware
            .stages
            .iter()
            .map(|stage| LoggedImage { id: stage.log_id, name: stage.name, elf: &stage.elf })
            .collect();
        let decoder = Decoder::new(&images)?;
        let symbols = Symbols::new(&firmware.stages);
        let machine = builder.start(&self.folder.file(log::MANAGEMENT_QEMU))?;
        let port = |number: usize| -> anyhow::Result<_> {
            machine.serials.get(number).context("no serial port")?.try_clone().context("cannot share a serial port")
        };
        let qmp = Arc::clone(&machine.qmp);
        let text = self.folder.file(log::FIRMWARE_CONSOLE);
        self.firmware_log.read_text(port(0)?, &text, self.started, move |line| symbols.explain(line, &qmp))?;
        self.firmware_log.read_frames(port(1)?, &self.folder.file(log::FIRMWARE), decoder, self.started)?;
        if let Some(card) = &self.card {
            card.set_cpu_power(Arc::new(QemuPower::new(Arc::clone(&machine.qmp))));
        }
        self.management = Some(machine);
        Ok(())
    }

    /// The folder with this run's logs.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The temporary folder with the card's sockets; removed with the session.
    #[must_use]
    pub fn scratch_folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Time since the session was started; the clock of the firmware's log.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The card, for tests that look inside it or use its entry points; `None` in a session without one.
    #[must_use]
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// Process id of the management CPU's QEMU; `None` in a session without a card.
    #[must_use]
    pub fn management_process(&self) -> Option<u32> {
        self.management.as_ref().map(|machine| machine.child.id())
    }

    /// What the firmware has said.
    #[must_use]
    pub fn firmware_log(&self) -> &FirmwareLog {
        &self.firmware_log
    }

    /// The TCP port on which the management CPU waits for a debugger.
    #[must_use]
    pub fn firmware_gdb_port(&self) -> Option<u16> {
        self.management.as_ref().and_then(Machine::gdb_port)
    }

    /// Waits until a debugger has let the management CPU run.
    ///
    /// # Errors
    /// When interrupted, or the machine has ended.
    pub fn wait_until_firmware_runs(&mut self) -> anyhow::Result<()> {
        while let Some(machine) = &self.management
            && !machine.qmp.is_running()?
        {
            interrupt::check()?;
            self.check_alive()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Ends everything in good order. Dropping the session does the same less politely.
    pub fn shut_down(mut self) {
        if let Some(machine) = self.management.take() {
            machine.shut_down();
        }
        if let Some(card) = self.card.take() {
            card.shutdown();
        }
    }

    fn host_socket_path(&self) -> PathBuf {
        self.scratch.path().join("host.sock")
    }

    fn host_memory(&self) -> anyhow::Result<Option<OwnedFd>> {
        let Some(card) = &self.card else { return Ok(None) };
        Ok(Some(card.host_memory_fd().try_clone_to_owned().context("cannot share the host's memory")?))
    }

    fn host_socket(&self) -> Option<PathBuf> {
        self.card.as_ref().map(|_| self.host_socket_path())
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(machine) = &mut self.management
            && let Some(status) = machine.child.try_wait()?
        {
            let said = std::fs::read_to_string(self.folder.file(log::MANAGEMENT_QEMU)).unwrap_or_default();
            bail!(
                "the management CPU's QEMU has ended ({status}): {}",
                said.lines().last().unwrap_or("it said nothing")
            );
        }
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

const SCRATCH_PREFIX: &str = "coxswain-";

/// Removes the temporary folders of runs that were killed before they could do it themselves.
fn remove_orphans() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(SCRATCH_PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if process.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(process).exists() {
            // Somebody else's folder cannot be removed, and need not be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The register trace of a run.
struct TraceFile {
    writer: Arc<Mutex<BufWriter<File>>>,
}

impl TraceFile {
    fn create(folder: &RunFolder) -> anyhow::Result<Self> {
        let path = folder.file(log::REGISTERS);
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer: Arc::new(Mutex::new(BufWriter::new(file))) })
    }

    fn sink(&self) -> RegisterTrace {
        let writer = Arc::clone(&self.writer);
        Arc::new(move |entry: &TraceEntry| {
            // A full disk must not stop the card.
            let _ = writeln!(writer.lock().unwrap_or_else(PoisonError::into_inner), "{entry}");
        })
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        // As above.
        let _ = self.writer.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}
