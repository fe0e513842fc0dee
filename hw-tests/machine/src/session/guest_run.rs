//! One life of the Linux guest: boot, carry out a plan, power off.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use coxswain_guest::plan::{Event, Plan, Release};
use serde_json::json;

use super::Session;
use super::open_check::{self, OpenCheck};
use super::ports::{self, Arrival, Port};
use crate::guest::initramfs::Contents;
use crate::interrupt;
use crate::logs::console::{ConsoleWatch, KernelFault};
use crate::logs::run_folder as log;
use crate::qemu::host::HostMachine;
use crate::qemu::machine::Machine;

/// What the guest is to do, and with what.
pub struct GuestRun {
    /// The plan.
    pub plan: Plan,
    /// Files of the guest.
    pub contents: Contents,
    /// A folder offered as `/share`; the plan says whether it is mounted.
    pub share: Option<PathBuf>,
    /// Bound of the whole life of the guest; `None` when a person or a debugger is in charge.
    pub limit: Option<Duration>,
    /// Kernel parameters beyond the harness's own.
    pub kernel_parameters: String,
    /// Start stopped and wait for a debugger.
    pub gdb: bool,
    /// The check that keeps the driver's device from being opened, to be removed when the plan asks for it.
    pub open_check: Option<OpenCheck>,
}

/// Something for the caller to see while the guest runs.
#[derive(Debug)]
pub enum Seen<'a> {
    /// The host's QEMU was started; a debugger port, when asked for.
    Launched {
        /// TCP port on the loop-back interface.
        gdb_port: Option<u16>,
        /// Its process id.
        process: u32,
    },
    /// An event of process 1. For [`Event::AwaitingHost`] the guest goes on when the observer has returned.
    Event(&'a Event),
    /// Bytes of the console.
    Console(&'a [u8]),
    /// Bytes that programs printed.
    Output(&'a [u8]),
}

/// What became of it.
#[derive(Debug, Default)]
pub struct GuestOutcome {
    /// All events with the time since the guest's QEMU was started.
    pub events: Vec<(Duration, Event)>,
    /// What the kernel complained about.
    pub kernel_faults: Vec<KernelFault>,
    /// What programs printed, in full.
    pub output: Vec<u8>,
    /// Why the run did not come to its proper end; `None` when the plan was carried out, even with failed steps.
    pub broken: Option<String>,
    /// What a person should know about the run, although nothing has failed yet.
    pub notes: Vec<String>,
    /// Time from the start of QEMU to its end.
    pub elapsed: Duration,
}

impl GuestOutcome {
    /// Numbers of the steps that failed, with their errors.
    #[must_use]
    pub fn failed_steps(&self) -> Vec<(u32, String)> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::StepEnded { step, error: Some(error), .. } => Some((*step, error.clone())),
                _ => None,
            })
            .collect()
    }

    /// Text of the file that step `step` read.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&str> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            Event::File { path: found, text, .. } if found == path => Some(text.as_str()),
            _ => None,
        })
    }

    /// The result of the last program: exit status, signal, timed out.
    #[must_use]
    pub fn last_exit(&self) -> Option<(Option<i32>, Option<i32>, bool)> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Exit { code, signal, timed_out, .. } => Some((*code, *signal, *timed_out)),
            _ => None,
        })
    }

    /// All that went wrong, one line each; empty for a good run. Failed steps count.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.broken.iter().cloned().collect();
        complaints.extend(self.failed_steps().into_iter().map(|(step, error)| {
            let what = self.events.iter().find_map(|(_, event)| match event {
                Event::StepBegun { step: begun, what, .. } if *begun == step => Some(what.as_str()),
                _ => None,
            });
            format!("step {step} ({}) failed: {error}", what.unwrap_or("?"))
        }));
        complaints
            .extend(self.kernel_faults.iter().map(|fault| format!("the kernel reported: {}", fault.headline.trim())));
        complaints
    }
}

impl Session {
    /// Boots the guest with `run` and returns when it is off. `observer` sees everything as it happens.
    ///
    /// # Errors
    /// When the guest cannot be started, the observer fails, or the harness is interrupted. What goes wrong inside the guest
    /// is in the outcome.
    pub fn run(
        &mut self,
        run: &GuestRun,
        observer: &mut dyn FnMut(Seen<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<GuestOutcome> {
        let mut life = Life::begin(self, run)?;
        observer(Seen::Launched { gdb_port: life.machine.gdb_port(), process: life.machine.child.id() })?;
        let end = run.limit.map(|limit| life.started + limit);
        while life.open_ports > 0 {
            interrupt::check()?;
            self.check_alive()?;
            if end.is_some_and(|end| Instant::now() >= end) {
                let seconds = run.limit.unwrap_or_default().as_secs();
                life.outcome.broken = Some(format!("the guest was not done after {seconds} s"));
                break;
            }
            life.step(observer)?;
        }
        life.finish()
    }

    /// Boots the guest with its console at this terminal; for [`coxswain_guest::plan::Step::Shell`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with_console(
        &mut self,
        run: &GuestRun,
        observer: &mut dyn FnMut(Seen<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<GuestOutcome> {
        let mut life = Life::begin(self, run)?;
        observer(Seen::Launched { gdb_port: life.machine.gdb_port(), process: life.machine.child.id() })?;
        let mut console = life.machine.serials.first().context("no console")?.try_clone().context("no console")?;
        let keyboard = super::terminal::Keyboard::start(move |bytes| console.write_all(bytes))?;
        while life.open_ports > 0 && !keyboard.left() {
            interrupt::check()?;
            self.check_alive()?;
            life.step(observer)?;
        }
        if keyboard.left() {
            life.outcome.broken = None;
            life.left_by_person = true;
        }
        drop(keyboard);
        life.finish()
    }
}

/// A guest that is running.
struct Life {
    machine: Machine,
    arrivals: std::sync::mpsc::Receiver<Arrival>,
    started: Instant,
    events: File,
    watch: ConsoleWatch,
    outcome: GuestOutcome,
    open_ports: usize,
    finished: bool,
    left_by_person: bool,
    qemu_log: PathBuf,
    open_check: Option<OpenCheck>,
    memory: Option<OwnedFd>,
    // Kept until QEMU has read it.
    _initramfs: tempfile::NamedTempFile,
}

impl Life {
    fn begin(session: &mut Session, run: &GuestRun) -> anyhow::Result<Self> {
        let mut initramfs = tempfile::NamedTempFile::new_in(session.scratch.path()).context("cannot make a file")?;
        initramfs.write_all(&run.contents.archive(&run.plan)?).context("cannot write the initramfs")?;
        let memory = session.host_memory()?;
        let own_memory = session.host_memory()?;
        let builder = HostMachine {
            qemu: &session.tools.qemu,
            memory_mib: session.config.memory_mib,
            memory,
            card: session.host_socket(),
            kernel: &session.tools.kernel.image,
            initramfs: initramfs.path(),
            parameters: run.kernel_parameters.clone(),
            share: run.share.clone(),
            gdb: run.gdb,
        }
        .build()?;
        session.lives += 1;
        let name = |file: &str| session.log_name(file);
        let qemu_log = name(log::HOST_QEMU);
        let started = Instant::now();
        let machine = builder.start(&qemu_log)?;
        let (sender, arrivals) = channel();
        let sources = [
            (Port::Console, Some(name(log::GUEST_CONSOLE))),
            (Port::Control, None),
            (Port::Output, Some(name(log::GUEST_OUTPUT))),
        ];
        let open_ports = sources.len();
        for ((port, path), stream) in sources.into_iter().zip(&machine.serials) {
            let stream = stream.try_clone().context("cannot share a serial port")?;
            ports::read(port, stream, path.as_deref(), sender.clone())?;
        }
        let path = name(log::GUEST_EVENTS);
        let events = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            machine,
            arrivals,
            started,
            events,
            watch: ConsoleWatch::default(),
            outcome: GuestOutcome::default(),
            open_ports,
            finished: false,
            left_by_person: false,
            qemu_log,
            open_check: run.open_check.clone(),
            memory: own_memory,
            _initramfs: initramfs,
        })
    }

    /// Waits a moment for the next arrival and deals with it.
    fn step(&mut self, observer: &mut dyn FnMut(Seen<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match self.arrivals.recv_timeout(Duration::from_millis(50)) {
            Ok(Arrival::Console(bytes)) => {
                self.watch.feed(&bytes);
                observer(Seen::Console(&bytes))?;
            }
            Ok(Arrival::Output(bytes)) => {
                observer(Seen::Output(&bytes))?;
                self.outcome.output.extend_from_slice(&bytes);
            }
            Ok(Arrival::Control(line)) => self.on_line(&line, observer)?,
            Ok(Arrival::Closed) => self.open_ports -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.open_ports = 0,
        }
        Ok(())
    }

    fn on_line(&mut self, line: &str, observer: &mut dyn FnMut(Seen<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let at = self.started.elapsed();
        let event = match Event::from_line(line) {
            Ok(event) => event,
            Err(error) => {
                self.outcome
                    .broken
                    .get_or_insert(format!("process 1 sent a line that is not understood ({error}): {line}"));
                return Ok(());
            }
        };
        let record = json!({ "at_ms": at.as_millis() as u64, "event": event });
        // A full disk must not stop the run.
        let _ = writeln!(self.events, "{record}");
        observer(Seen::Event(&event))?;
        match &event {
            Event::AwaitingHost { token, .. } => {
                if token == open_check::TOKEN {
                    self.remove_open_check();
                }
                self.release(token)?;
            }
            Event::Fatal { message } => self.outcome.broken = Some(format!("the guest gave up: {message}")),
            Event::Finished { .. } => self.finished = true,
            _ => {}
        }
        self.outcome.events.push((at, event));
        Ok(())
    }

    /// A guest whose check stays is still of use, only its device cannot be opened: the outcome says why.
    fn remove_open_check(&mut self) {
        let (Some(check), Some(memory)) = (&self.open_check, &self.memory) else { return };
        let place = self.outcome.events.iter().rev().find_map(|(_, event)| match event {
            Event::File { path, text, .. } if check.is_place(path) => Some(text.clone()),
            _ => None,
        });
        let result = check.remove(&place.unwrap_or_default(), &self.machine.qmp, memory.as_fd());
        self.outcome.notes.push(match result {
            Ok(()) => {
                "a check of Linux's DRM core that bars everybody from this driver's device was switched off in the \
                       guest's memory (hw-tests/machine/src/session/open_check.rs)"
                    .to_owned()
            }
            Err(error) => format!("Linux will not let anybody open the device (session/open_check.rs): {error:#}"),
        });
    }

    /// Lets the guest go on.
    fn release(&self, token: &str) -> anyhow::Result<()> {
        let release = serde_json::to_string(&Release { release: token.to_owned() }).context("cannot write")?;
        let mut control = self.machine.serials.get(1).context("no control channel")?;
        control.write_all(format!("{release}\n").as_bytes()).context("cannot answer the guest")
    }

    fn finish(mut self) -> anyhow::Result<GuestOutcome> {
        self.watch.finish();
        self.outcome.kernel_faults = self.watch.faults().to_vec();
        self.outcome.elapsed = self.started.elapsed();
        if self.outcome.broken.is_none() && !self.finished && !self.left_by_person {
            let said = std::fs::read_to_string(&self.qemu_log).unwrap_or_default();
            let said = said.lines().last().unwrap_or("it said nothing");
            let how = match self.machine.child.wait_for(Duration::from_secs(2))? {
                Some(status) => format!("QEMU ended ({status}): {said}"),
                None => "its serial ports closed".to_owned(),
            };
            self.outcome.broken = Some(format!("the guest ended before its plan did; {how}"));
        }
        // A finished guest is off or about to be.
        if self.machine.child.wait_for(Duration::from_secs(2))?.is_none() {
            self.machine.shut_down();
        }
        if self.outcome.events.is_empty() && self.outcome.broken.is_none() && !self.left_by_person {
            bail!("the guest never spoke");
        }
        Ok(self.outcome)
    }
}
