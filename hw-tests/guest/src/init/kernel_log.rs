//! Waiting for kernel messages through `/dev/kmsg`.
//!
//! Owns one reader whose place in the log only moves forward. It never writes to the log.

use super::ports::readable_before;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

/// Largest record `/dev/kmsg` hands out, in bytes (the kernel's limit is 8 KiB in all versions so far).
const RECORD_LIMIT: usize = 16 * 1024;

/// One kernel message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Microseconds since the kernel's start.
    pub time_us: u64,
    /// The text without its prefix and without the dictionary lines.
    pub text: String,
}

impl Message {
    /// Decodes a record: `priority,sequence,time,flags[,...];text`, then dictionary lines that begin with a space.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<Self> {
        let record = String::from_utf8_lossy(record);
        let (prefix, rest) = record.split_once(';')?;
        let time_us = prefix.split(',').nth(2)?.parse().ok()?;
        let text = rest.lines().next().unwrap_or_default().to_owned();
        Some(Self { time_us, text })
    }
}

/// A reader of the kernel log.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Opens the log at its oldest message.
    ///
    /// # Errors
    /// `/dev/kmsg` cannot be opened.
    pub fn open() -> Result<Self, String> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open("/dev/kmsg")
            .map_err(|error| format!("/dev/kmsg cannot be opened: {error}"))?;
        Ok(Self { file })
    }

    /// Waits for the next message that contains `text` and returns it; the place in the log is then behind it.
    ///
    /// # Errors
    /// No such message came in time, or the log cannot be read.
    pub fn wait_for(&mut self, text: &str, deadline: Instant) -> Result<Message, String> {
        let mut record = [0; RECORD_LIMIT];
        loop {
            match self.file.read(&mut record) {
                Ok(count) => {
                    let message = Message::parse(record.get(..count).unwrap_or_default());
                    if let Some(message) = message.filter(|message| message.text.contains(text)) {
                        return Ok(message);
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    // PIPE: messages were overwritten before they were read; the reader is now at the oldest one left.
                    Some(Errno::PIPE | Errno::INTR) => {}
                    Some(Errno::AGAIN) => match readable_before(&self.file, deadline) {
                        Ok(true) => {}
                        Ok(false) => return Err(format!("no kernel message with \"{text}\" came in time")),
                        Err(error) => return Err(format!("/dev/kmsg cannot be waited for: {error}")),
                    },
                    _ => return Err(format!("/dev/kmsg cannot be read: {error}")),
                },
            }
            // A log that never runs dry must not outlive the time either.
            if Instant::now() >= deadline && !readable_before(&self.file, deadline).unwrap_or(false) {
                return Err(format!("no kernel message with \"{text}\" came in time"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_its_time_and_text_without_the_dictionary() {
        let record =
            b"6,1234,5123456,-,caller=T1;accel accel0: Successfully added device; ok\n SUBSYSTEM=pci\n DEVICE=+x\n";
        assert_eq!(
            Message::parse(record),
            Some(Message { time_us: 5_123_456, text: "accel accel0: Successfully added device; ok".to_owned() })
        );
    }

    #[test]
    fn a_record_without_prefix_is_none() {
        assert_eq!(Message::parse(b"no prefix"), None);
        assert_eq!(Message::parse(b"6,1;short"), None);
        assert_eq!(Message::parse(b"6,1,late,-;text"), None);
        assert_eq!(Message::parse(b""), None);
    }
}
