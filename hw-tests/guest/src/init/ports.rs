//! The control channel and the output port: raw serial lines.
//!
//! Raw means that no byte is changed on the way: no line-feed translation, no echo, no flow control. Both sides of a
//! write are finished when the function returns: the bytes have left the port.

use crate::plan::{CONSOLE_PORT, Event, Release};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, isatty, tcdrain, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// Longest line accepted on the control channel, in bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// Opens a serial port (or, in tests, any file) for both directions and makes it raw.
fn open_raw(path: &str) -> Result<File, String> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32)
        .open(path)
        .map_err(|error| format!("{path} cannot be opened: {error}"))?;
    if isatty(&file) {
        let mut attributes = tcgetattr(&file).map_err(|error| format!("{path} has no attributes: {error}"))?;
        attributes.make_raw();
        // An emulated port ignores the speed; a real one should not be the default of 9600.
        let _ = attributes.set_speed(115_200);
        tcsetattr(&file, OptionalActions::Now, &attributes)
            .map_err(|error| format!("{path} cannot be made raw: {error}"))?;
    }
    Ok(file)
}

/// Waits until the port has sent what was written; anything but a terminal is done at once.
fn drain(file: &File) {
    while tcdrain(file) == Err(Errno::INTR) {}
}

/// Waits until `file` is readable or `deadline` is over; true when it is readable.
pub(super) fn readable_before(file: impl AsFd, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut set = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut set, Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// A duration for the kernel; more than 10 years is 10 years.
pub(super) fn timespec(duration: Duration) -> Timespec {
    let bounded = duration.min(Duration::from_secs(315_360_000));
    Timespec { tv_sec: bounded.as_secs().cast_signed(), tv_nsec: i64::from(bounded.subsec_nanos()) as _ }
}

/// The control channel: events out, releases in.
#[derive(Debug)]
pub struct Control {
    port: Option<File>,
    received: Vec<u8>,
}

impl Control {
    /// Opens the channel at `path`. Without it events go to the console, so that a person sees them.
    #[must_use]
    pub fn open_or_console(path: &str) -> Self {
        let port = open_raw(path);
        if let Err(error) = &port {
            eprintln!("coxswain-init: {error}; events follow on {CONSOLE_PORT}");
        }
        Self { port: port.ok(), received: Vec::new() }
    }

    /// Sends one event. A channel that fails is not an error of the plan: the harness notices by itself.
    pub fn send(&mut self, event: &Event) {
        let line = event.to_line();
        match &mut self.port {
            Some(port) => {
                let _ = port.write_all(line.as_bytes());
                drain(port);
            }
            None => eprint!("{line}"),
        }
    }

    /// Waits for the release with this token; other lines are dropped.
    ///
    /// # Errors
    /// The time is over, or the channel is broken.
    pub fn await_release(&mut self, token: &str, deadline: Instant) -> Result<(), String> {
        let Some(port) = &mut self.port else {
            return Err("there is no control channel to be released on".to_owned());
        };
        loop {
            while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                if serde_json::from_slice::<Release>(&line).is_ok_and(|release| release.release == token) {
                    return Ok(());
                }
            }
            if self.received.len() > LINE_LIMIT {
                self.received.clear();
            }
            match readable_before(&*port, deadline) {
                Ok(true) => {}
                Ok(false) => return Err(format!("the host did not release \"{token}\" in time")),
                Err(error) => return Err(format!("the control channel cannot be waited for: {error}")),
            }
            let mut bytes = [0; 512];
            match port.read(&mut bytes) {
                Ok(0) => return Err("the control channel was closed".to_owned()),
                Ok(count) => self.received.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("the control channel cannot be read: {error}")),
            }
        }
    }
}

/// The port that carries the output of programs.
#[derive(Debug)]
pub struct Output {
    port: File,
    written: u64,
}

impl Output {
    /// Opens the port.
    ///
    /// # Errors
    /// It does not exist or cannot be made raw.
    pub fn open(path: &str) -> Result<Self, String> {
        Ok(Self { port: open_raw(path)?, written: 0 })
    }

    /// Bytes written since the start: the offset at which the next byte lands.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// The port refuses them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.port.write_all(bytes).map_err(|error| format!("the output port cannot be written: {error}"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Waits until everything has left the port.
    pub fn drain(&self) {
        drain(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    fn control_on_socket() -> (Control, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let port = File::from(std::os::fd::OwnedFd::from(ours));
        (Control { port: Some(port), received: Vec::new() }, theirs)
    }

    #[test]
    fn a_release_is_found_among_other_lines_and_in_pieces() {
        let (mut control, mut host) = control_on_socket();
        host.write_all(b"noise\n{\"release\":\"other\"}\n{\"rele").unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            host.write_all(b"ase\":\"go\"}\n{\"release\":\"next\"}\n").unwrap();
            host
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(control.await_release("go", deadline), Ok(()));
        assert_eq!(control.await_release("next", deadline), Ok(()));
        drop(writer.join().unwrap());
        assert_eq!(control.await_release("more", deadline), Err("the control channel was closed".to_owned()));
    }

    #[test]
    fn a_release_that_does_not_come_ends_with_the_time() {
        let (mut control, _host) = control_on_socket();
        let error = control.await_release("go", Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(error.contains("did not release \"go\" in time"), "{error}");
    }

    #[test]
    fn output_passes_every_byte_and_counts_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut output = Output::open(file.path().to_str().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..=255).collect();
        output.write(&bytes).unwrap();
        output.write(b"\r\n").unwrap();
        output.drain();
        assert_eq!(output.offset(), 258);
        let mut read = Vec::new();
        let mut file = file.reopen().unwrap();
        file.rewind().unwrap();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read.get(..256), Some(&bytes[..]));
    }
}
