//! A running QEMU: its process, its control connection and its serial ports.
//!
//! Every connection is an inherited socket pair: nothing with a name is left in the file system, and everything closes
//! when either side ends.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::qmp::Qmp;
use crate::process::{Child, supervise};

/// Builds the command line of one emulator.
pub struct Builder {
    name: &'static str,
    command: Command,
    inherited: Vec<OwnedFd>,
    serials: Vec<UnixStream>,
    qmp: UnixStream,
    gdb: Option<u16>,
}

impl Builder {
    /// Starts from the bare emulator `command`.
    ///
    /// # Errors
    /// When sockets cannot be made.
    pub fn new(name: &'static str, command: Command) -> anyhow::Result<Self> {
        let (qmp, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let mut builder = Self { name, command, inherited: Vec::new(), serials: Vec::new(), qmp, gdb: None };
        let fd = builder.inherit(theirs.into());
        builder.command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        builder.command.args(["-chardev", &format!("socket,id=qmp,fd={fd}"), "-qmp", "chardev:qmp"]);
        Ok(builder)
    }

    /// Adds arguments.
    pub fn args<S: AsRef<std::ffi::OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.command.args(args);
        self
    }

    /// Hands a descriptor to the emulator and returns its number there.
    pub fn inherit(&mut self, fd: OwnedFd) -> i32 {
        let number = fd.as_raw_fd();
        self.inherited.push(fd);
        number
    }

    /// Adds the next serial port; the other end is in [`Machine::serials`], in the order of the calls.
    ///
    /// # Errors
    /// When sockets cannot be made.
    pub fn serial(&mut self) -> anyhow::Result<&mut Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let id = format!("serial{}", self.serials.len());
        let fd = self.inherit(theirs.into());
        self.args(["-chardev", &format!("socket,id={id},fd={fd}"), "-serial", &format!("chardev:{id}")]);
        self.serials.push(ours);
        Ok(self)
    }

    /// Starts the machine stopped, with a debugger port on the loop-back interface; see [`Machine::gdb_port`].
    ///
    /// # Errors
    /// When no port can be had.
    pub fn wait_for_debugger(&mut self) -> anyhow::Result<&mut Self> {
        // The port is bound here and handed over: nobody can take it in between.
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot open a debugger port")?;
        self.gdb = Some(listener.local_addr().context("cannot open a debugger port")?.port());
        let fd = self.inherit(listener.into());
        self.args(["-S", "-chardev", &format!("socket,id=gdb,fd={fd},server=on,wait=off"), "-gdb", "chardev:gdb"]);
        Ok(self)
    }

    /// Starts the emulator, its standard error into `stderr`.
    ///
    /// # Errors
    /// When it cannot be started or ends at once; the message carries what it said.
    pub fn start(mut self, stderr: &Path) -> anyhow::Result<Machine> {
        let log = File::create(stderr).with_context(|| format!("cannot write {}", stderr.display()))?;
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let fds: Vec<_> = self.inherited.iter().map(OwnedFd::as_fd).collect();
        supervise(&mut self.command, &fds);
        let mut child = Child::spawn(&mut self.command, self.name)?;
        // Our copies of its ends, so that its death closes the connections.
        drop(fds);
        self.inherited.clear();
        let qmp = match Qmp::connect(self.qmp) {
            Ok(qmp) => qmp,
            Err(error) => {
                let ended = child.wait_for(Duration::from_secs(1))?.is_some();
                drop(child);
                let said = std::fs::read_to_string(stderr).unwrap_or_default();
                if ended {
                    bail!("{} did not start: {}", self.name, said.trim());
                }
                return Err(error.context(format!("{} did not start", self.name)));
            }
        };
        Ok(Machine { child, qmp: std::sync::Arc::new(qmp), serials: self.serials, gdb: self.gdb })
    }
}

/// A running emulator; killed when dropped.
pub struct Machine {
    /// The process.
    pub child: Child,
    /// Its control connection.
    pub qmp: std::sync::Arc<Qmp>,
    /// Our ends of its serial ports.
    pub serials: Vec<UnixStream>,
    gdb: Option<u16>,
}

impl Machine {
    /// The TCP port on which it waits for a debugger.
    #[must_use]
    pub fn gdb_port(&self) -> Option<u16> {
        self.gdb
    }

    /// Ends the emulator, politely first.
    pub fn shut_down(mut self) {
        // It may be gone already; dropping it does the rest.
        if self.qmp.quit().is_ok() {
            let _ = self.child.wait_for(Duration::from_secs(2));
        }
    }
}
