//! Programs: started in their own process group, bounded in time, reaped to the last.
//!
//! A program's standard output and error are one pipe, copied as they come. When the program ends, what is left of its
//! process group is killed: a step leaves nothing behind unless it takes itself out with `setsid`.

use super::ports::{Output, timespec};
use crate::plan::CONSOLE_PORT;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, ioctl_tiocsctty, kill_process, kill_process_group,
    pidfd_open, setsid, wait, waitpid,
};
use std::fs::OpenOptions;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a killed program may take to die; a program that waits inside the kernel dies late.
const KILL_GRACE: Duration = Duration::from_secs(15);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit status, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// True when its time was over and it was killed.
    pub timed_out: bool,
}

/// Runs a program to its end, or kills it at `limit`; its output goes to `output`.
///
/// # Errors
/// It cannot be started, its output cannot be copied, or it does not die when killed; in words.
pub fn run(argv: &[String], env: &[(String, String)], limit: Duration, output: &mut Output) -> Result<Ended, String> {
    let [program, arguments @ ..] = argv else {
        return Err("there is no program to run".to_owned());
    };
    let (mut reader, writer) = std::io::pipe().map_err(|error| format!("no pipe for the output: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("no pipe for the output: {error}"))?;
    let deadline = Instant::now() + limit;
    // The command value holds the write ends of the pipe and must be gone before the end of the output is awaited.
    let child = {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(second).process_group(0);
        environment(&mut command, env);
        command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?
    };
    let flags = fcntl_getfl(&reader).map_err(|error| format!("the output pipe is broken: {error}"))?;
    fcntl_setfl(&reader, flags | OFlags::NONBLOCK).map_err(|error| format!("the output pipe is broken: {error}"))?;

    let pid = pid_of(&child)?;
    let ended = attend(pid, deadline, Some((&mut reader, output)));
    // Also on error: nothing of the group survives the step.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = copy(&mut reader, output);
    output.drain();
    reap_orphans();
    ended.map_err(|error| format!("{program}: {error}"))
}

/// An interactive shell on the console, with job control, until the person leaves it.
///
/// # Errors
/// There is no shell or no console.
pub fn shell() -> Result<Ended, String> {
    let console = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONSOLE_PORT)
            .map_err(|error| format!("{CONSOLE_PORT} cannot be opened: {error}"))
    };
    let mut command = Command::new("/bin/sh");
    command.stdin(console()?).stdout(console()?).stderr(console()?);
    environment(&mut command, &[]);
    // SAFETY: the closure runs in the forked child before exec. It makes two system calls and touches neither memory
    // of the parent nor locks: both are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            // The console becomes the controlling terminal, so that ^C and job control work.
            ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    let child = command.spawn().map_err(|error| format!("/bin/sh cannot be started: {error}"))?;
    drop(command);
    let pid = pid_of(&child)?;
    // A person takes the time a person takes; ten years bound the arithmetic.
    let ended = attend(pid, Instant::now() + Duration::from_secs(315_360_000), None);
    let _ = kill_process_group(pid, Signal::KILL);
    reap_orphans();
    ended
}

/// Gives a program its environment: nothing inherited, the three usual variables, and `extra`.
fn environment(command: &mut Command, extra: &[(String, String)]) {
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/bin:/sbin:/usr/bin:/usr/sbin")
        .env("HOME", "/")
        .env("TERM", "vt100")
        .envs(extra.iter().map(|(name, value)| (name, value)));
}

fn pid_of(child: &Child) -> Result<Pid, String> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| "the program has no process number".to_owned())
}

/// Copies output and waits for the end of the process; kills its group when the time is over.
fn attend(pid: Pid, deadline: Instant, mut io: Option<(&mut PipeReader, &mut Output)>) -> Result<Ended, String> {
    let pidfd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("the process cannot be watched: {error}"))?;
    let mut deadline = deadline;
    let mut timed_out = false;
    let mut open = io.is_some();
    loop {
        let mut set = Vec::with_capacity(2);
        set.push(PollFd::new(&pidfd, PollFlags::IN));
        if let Some((reader, _)) = &io
            && open
        {
            set.push(PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut set, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("the process cannot be waited for: {error}")),
        }
        drop(set);
        if let Some((reader, output)) = &mut io
            && open
        {
            open = copy(reader, output)?;
        }
        if let Some(status) = reap(pid)? {
            return Ok(Ended { code: status.exit_status(), signal: status.terminating_signal(), timed_out });
        }
        if Instant::now() >= deadline {
            if timed_out {
                return Err("the program was killed because its time was over, but does not die".to_owned());
            }
            timed_out = true;
            deadline = Instant::now() + KILL_GRACE;
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Copies what the pipe holds now; false at its end.
fn copy(reader: &mut PipeReader, output: &mut Output) -> Result<bool, String> {
    let mut bytes = [0; 16 * 1024];
    // Bounded per call, so that a program that never stops writing cannot keep its own time from being looked at.
    for _ in 0..16 {
        match reader.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => output.write(bytes.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the output cannot be read: {error}")),
        }
    }
    Ok(true)
}

/// Looks whether `pid` has ended. Process 1 collects every other ended process on the way.
fn reap(pid: Pid) -> Result<Option<WaitStatus>, String> {
    if !is_first_process() {
        return match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(ended) => Ok(ended.map(|(_, status)| status)),
            Err(Errno::INTR) => Ok(None),
            Err(error) => Err(format!("the process cannot be reaped: {error}")),
        };
    }
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(format!("the process cannot be reaped: {error}")),
        }
    }
}

/// Collects ended processes that lost their parents to process 1. Does nothing elsewhere: there they are not ours.
fn reap_orphans() {
    if is_first_process() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

fn is_first_process() -> bool {
    getpid() == Pid::INIT
}

/// Kills every process of the machine and waits for their end, at most `limit`. Only process 1 may ask for it; elsewhere
/// it does nothing.
pub fn kill_everything(limit: Duration) {
    if !is_first_process() {
        return;
    }
    // kill(-1) has no form in the system-call crate; the numbered directories of /proc are the same set.
    let deadline = Instant::now() + limit;
    loop {
        let mut left = 0;
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let kernel_thread = || std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.is_empty());
            if let Some(pid) = number.filter(|pid| *pid != Pid::INIT && !kernel_thread()) {
                left += usize::from(kill_process(pid, Signal::KILL).is_ok());
            }
        }
        reap_orphans();
        if left == 0 || Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_output(test: impl FnOnce(&mut Output)) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut output = Output::open(file.path().to_str().unwrap()).unwrap();
        test(&mut output);
        std::fs::read(file.path()).unwrap()
    }

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_program_reports_its_exit_status_and_all_of_its_output() {
        let bytes = with_output(|output| {
            let env = [("WORD".to_owned(), "there".to_owned())];
            let ended = run(&sh("echo hello; echo $WORD >&2; exit 7"), &env, Duration::from_secs(20), output).unwrap();
            assert_eq!(ended, Ended { code: Some(7), signal: None, timed_out: false });
        });
        assert_eq!(bytes, b"hello\nthere\n");
    }

    #[test]
    fn a_large_output_arrives_whole() {
        let bytes = with_output(|output| {
            run(&sh("head -c 3000000 /dev/zero"), &[], Duration::from_secs(30), output).unwrap();
            assert_eq!(output.offset(), 3_000_000);
        });
        assert_eq!(bytes.len(), 3_000_000);
    }

    #[test]
    fn the_whole_group_is_killed_when_the_time_is_over() {
        let begun = Instant::now();
        let bytes = with_output(|output| {
            let ended = run(&sh("sleep 60 & echo $!; wait"), &[], Duration::from_millis(300), output).unwrap();
            assert_eq!(ended, Ended { code: None, signal: Some(9), timed_out: true });
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
        let sleeper: i32 = String::from_utf8(bytes).unwrap().trim().parse().unwrap();
        let dead = || match std::fs::read_to_string(format!("/proc/{sleeper}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !dead() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(dead());
    }

    #[test]
    fn a_program_left_in_the_background_does_not_hold_the_step() {
        let begun = Instant::now();
        with_output(|output| {
            let ended = run(&sh("sleep 60 & exit 0"), &[], Duration::from_secs(50), output).unwrap();
            assert_eq!(ended.code, Some(0));
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_in_words() {
        with_output(|output| {
            let error = run(&["/nowhere/at/all".to_owned()], &[], Duration::from_secs(1), output).unwrap_err();
            assert!(error.starts_with("/nowhere/at/all cannot be started"), "{error}");
            assert!(run(&[], &[], Duration::from_secs(1), output).is_err());
        });
    }
}
