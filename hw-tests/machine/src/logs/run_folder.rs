//! The folder of one run: every log of it, kept after the run.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

/// Names of the files in a run folder, with what a person calls them.
pub const LOGS: &[(&str, &str)] = &[
    (GUEST_CONSOLE, "guest console and kernel messages"),
    (GUEST_OUTPUT, "program output"),
    (FIRMWARE, "firmware log"),
    (FIRMWARE_CONSOLE, "firmware console"),
    (HOST_QEMU, "host QEMU"),
    (MANAGEMENT_QEMU, "management CPU QEMU"),
];

/// Guest console: all kernel messages (`dmesg`).
pub const GUEST_CONSOLE: &str = "guest-console.log";
/// What programs in the guest printed.
pub const GUEST_OUTPUT: &str = "guest-output.log";
/// Events of the guest's process 1, one JSON object per line, with the time since the run's start.
pub const GUEST_EVENTS: &str = "guest-events.jsonl";
/// Decoded log of the three firmware images.
pub const FIRMWARE: &str = "firmware.log";
/// Plain text of the management CPU's first serial port.
pub const FIRMWARE_CONSOLE: &str = "firmware-console.log";
/// Standard error of the host's QEMU.
pub const HOST_QEMU: &str = "qemu-host.log";
/// Standard error of the management CPU's QEMU.
pub const MANAGEMENT_QEMU: &str = "qemu-management.log";
/// Register accesses by name, when asked for.
pub const REGISTERS: &str = "registers.log";

/// Run folders kept; older ones are removed when a new one is made.
const KEPT: usize = 30;
/// Bytes from the end of a log that are looked at for its last lines.
const TAIL_BYTES: u64 = 16 * 1024;

/// The folder of one run. It stays when the value is dropped.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new folder below `target`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(target: &Path) -> anyhow::Result<Self> {
        let parent = target.join("coxswain-runs");
        fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        remove_old(&parent);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stem = format!("{}-{}", civil_time(now.as_secs()), std::process::id());
        // Several runs of one test process may begin within a second.
        for number in 0..1000 {
            let name = if number == 0 { stem.clone() } else { format!("{stem}.{number}") };
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        anyhow::bail!("cannot make a run folder in {}", parent.display())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The last `count` lines of every log that has any, as text for a person.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        let mut text = String::new();
        for (name, title) in LOGS {
            let Ok(tail) = tail(&self.file(name)) else { continue };
            let lines: Vec<&str> = tail.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
            if lines.is_empty() {
                continue;
            }
            text.push_str(&format!("--- {title} ({name})\n"));
            for line in lines.iter().skip(lines.len().saturating_sub(count)) {
                text.extend(line.chars().filter(|character| !character.is_control() || *character == '\t'));
                text.push('\n');
            }
        }
        text
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes the oldest folders whose run is over.
fn remove_old(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let excess = folders.len().saturating_sub(KEPT - 1);
    for folder in folders.iter().take(excess) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let process = name.rsplit('-').next().and_then(|tail| tail.split('.').next()).unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            // What cannot be removed only takes space.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Seconds since 1970 as `YYYYMMDD-hhmmss` in UTC.
fn civil_time(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the proleptic Gregorian calendar, with years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_names_carry_the_date() {
        assert_eq!(civil_time(0), "19700101-000000");
        assert_eq!(civil_time(951_826_154), "20000229-120914");
        assert_eq!(civil_time(1_795_528_800), "20261124-140000");
    }

    #[test]
    fn the_last_lines_of_each_log_are_shown_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path()).unwrap();
        fs::write(run.file(GUEST_CONSOLE), "one\r\ntwo\r\n\nthree\r\n").unwrap();
        fs::write(run.file(GUEST_OUTPUT), "").unwrap();
        assert_eq!(run.last_lines(2), "--- guest console and kernel messages (guest-console.log)\ntwo\nthree\n");
    }

    #[test]
    fn old_runs_make_room_but_live_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunFolder::create(folder.path()).unwrap();
        let parent = first.path().parent().unwrap().to_path_buf();
        for number in 0..KEPT {
            fs::create_dir(parent.join(format!("20000101-0000{number:02}-4294967295"))).unwrap();
        }
        let last = RunFolder::create(folder.path()).unwrap();
        assert!(first.path().exists() && last.path().exists());
        assert_eq!(fs::read_dir(parent).unwrap().count(), KEPT);
    }
}
