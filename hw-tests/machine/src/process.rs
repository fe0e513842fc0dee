//! Child processes that cannot outlive the harness.
//!
//! A [`Child`] is killed and reaped when it is dropped; should the harness itself be killed, the kernel kills the child
//! (`PR_SET_PDEATHSIG`). That signal is tied to the *thread* that started the child: start children from a thread that
//! lives as long as they do.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::interrupt;

/// A supervised process.
pub struct Child {
    inner: std::process::Child,
    name: String,
}

/// Makes `command` die with the harness, in a process group of its own (so that a Ctrl-C reaches the harness alone), with
/// `inherited` open in the child under the same numbers.
///
/// The caller keeps `inherited` open until the command was spawned.
pub fn supervise(command: &mut Command, inherited: &[BorrowedFd<'_>]) {
    let parent = rustix::process::getpid();
    let inherited: Vec<RawFd> = inherited.iter().map(|fd| fd.as_raw_fd()).collect();
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec and makes system calls only (prctl, getppid, fcntl), all of which are
    // async-signal-safe; it neither allocates nor takes locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            if rustix::process::getppid() != Some(parent) {
                // The harness died between fork and prctl.
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            for &fd in &inherited {
                // SAFETY: `supervise` requires that the descriptor stays open until the spawn.
                let fd = BorrowedFd::borrow_raw(fd);
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        });
    }
}

/// Processor time that process `id` has spent so far, all threads together, in the system's clock ticks (10 ms).
///
/// # Errors
/// There is no such process.
pub fn cpu_time(id: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // Behind the name, which may contain anything: state is field 3, user and system time are fields 14 and 15 (proc(5)).
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks[..] else { bail!("{path} is not understood") };
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_micros((user + system) * 1_000_000 / per_second))
}

/// Processor time that the whole machine has spent so far on anything, time that a hypervisor took away included, in the
/// system's clock ticks.
///
/// # Errors
/// The system does not tell.
pub fn machine_time() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); guest time is part of user time.
    let first = text.lines().next().unwrap_or("");
    let fields: Vec<u64> = first.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _, _, interrupt, soft, stolen] = fields[..] else { bail!("/proc/stat is not understood") };
    let ticks = user + nice + system + interrupt + soft + stolen;
    Ok(Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1)))
}

impl Child {
    /// Starts `command`, which [`supervise`] has prepared.
    ///
    /// # Errors
    /// When the program cannot be started; the message names it.
    pub fn spawn(command: &mut Command, name: impl Into<String>) -> anyhow::Result<Self> {
        let name = name.into();
        let inner = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().to_string_lossy()))?;
        Ok(Self { inner, name })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// The exit status once the process has ended.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.inner.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits at most `limit` for the process to end of its own accord.
    ///
    /// # Errors
    /// [`interrupt::Interrupted`], or when the system cannot tell.
    pub fn wait_for(&mut self, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            interrupt::check()?;
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the process and reaps it.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }

    /// Takes the read end of standard error, when it was piped.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.inner.stderr.take()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a finished helper program left.
pub struct Captured {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Captured {
    /// What the program complained about, as one line for an error message: its first line with an error mark, else its
    /// last one.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let marked = lines().find_map(|line| line.strip_prefix("E: ").or_else(|| line.strip_prefix("error: ")));
        marked.or_else(|| lines().next_back()).unwrap_or("it said nothing").to_owned()
    }
}

/// Runs `command` to its end and captures its output. `tick` is called about ten times a second meanwhile.
///
/// # Errors
/// When the program cannot be started, or the harness was interrupted (the program is killed then). A failing exit status
/// is not an error here.
pub fn capture(command: &mut Command, mut tick: impl FnMut()) -> anyhow::Result<Captured> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    supervise(command, &[]);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = Child::spawn(command, name.clone())?;
    let stdout = drain(child.inner.stdout.take());
    let stderr = drain(child.inner.stderr.take());
    let mut ticked = Instant::now();
    let status = loop {
        if let Some(status) = child.wait_for(Duration::from_millis(50))? {
            break status;
        }
        if ticked.elapsed() >= Duration::from_millis(100) {
            ticked = Instant::now();
            tick();
        }
    };
    let join = |handle: JoinHandle<String>| handle.join().unwrap_or_default();
    Ok(Captured { status, stdout: join(stdout), stderr: join(stderr) })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe ends the text; what was read is still of use.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message carries its last lines.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let captured = capture(command, || {})?;
    if !captured.status.success() {
        bail!("{} failed: {}", command.get_program().to_string_lossy(), captured.complaint());
    }
    Ok(captured.stdout)
}

/// Finds a program in `PATH`.
#[must_use]
pub fn find_in_path(program: impl AsRef<OsStr>) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program.as_ref()))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work_and_is_an_error_for_nobody() {
        let own = std::process::id();
        let before = cpu_time(own).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while cpu_time(own).unwrap() < before + Duration::from_millis(50) {
            assert!(Instant::now() < end, "20 s of work took no processor time");
        }
        assert!(cpu_time(u32::MAX).is_err());
        // Accounts are closed at ticks: the sum may be behind a part.
        assert!(machine_time().unwrap() + Duration::from_secs(1) >= cpu_time(own).unwrap());
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let mut command = Command::new("sleep");
        command.arg("600");
        supervise(&mut command, &[]);
        let child = Child::spawn(&mut command, "sleep").unwrap();
        let id = child.id();
        assert!(std::path::Path::new(&format!("/proc/{id}")).exists());
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn a_failing_helper_is_reported_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo broken >&2; exit 3"]);
        assert_eq!(output(&mut command).unwrap_err().to_string(), "sh failed: broken");
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'W: x\\nE: no route\\nE: some failed\\n' >&2; exit 100"]);
        assert_eq!(output(&mut command).unwrap_err().to_string(), "sh failed: no route");
    }
}
