//! The steps of the plan: each is performed, timed and reported.

use super::kernel_log::KernelLog;
use super::ports::{Control, Output};
use super::process;
use crate::plan::{Event, FILE_LIMIT, Step};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};
use rustix::time::{ClockId, clock_gettime};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// `finit_module` flag: the file is compressed and the kernel decompresses it.
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;
/// `delete_module` flag: do not wait for users of the module (the value of `O_NONBLOCK`).
const DELETE_NONBLOCK: i32 = 0o4000;
/// Pause between two looks at something that has no wake-up.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a step means for those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// It failed; the reason was reported.
    Failed,
    /// The plan ends here.
    PowerOff,
}

/// Carries out steps one after another.
#[derive(Debug)]
pub struct Session<'a> {
    control: &'a mut Control,
    output: Output,
    kernel_log: Option<KernelLog>,
}

impl<'a> Session<'a> {
    /// A session that reports to `control`.
    #[must_use]
    pub fn new(control: &'a mut Control, output: Output) -> Self {
        Self { control, output, kernel_log: None }
    }

    /// Performs one step and reports its begin and end.
    pub fn perform(&mut self, number: u32, step: &Step) -> Outcome {
        let uptime = clock_gettime(ClockId::Boottime);
        let uptime_ms = uptime.tv_sec.cast_unsigned() * 1000 + uptime.tv_nsec.cast_unsigned() / 1_000_000;
        self.control.send(&Event::StepBegun { step: number, what: step.describe(), uptime_ms });
        let begun = Instant::now();
        let error = self.attempt(number, step).err();
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let failed = error.is_some();
        self.control.send(&Event::StepEnded { step: number, error, elapsed_ms });
        match step {
            Step::PowerOff => Outcome::PowerOff,
            _ if failed => Outcome::Failed,
            _ => Outcome::Done,
        }
    }

    /// Sends the last event of the run.
    pub fn finish(&mut self, event: &Event) {
        self.output.drain();
        self.control.send(event);
    }

    fn attempt(&mut self, number: u32, step: &Step) -> Result<(), String> {
        match step {
            Step::LoadModule { path, params } => load_module(path, params),
            Step::UnloadModule { name, timeout_s } => unload_module(name, deadline(*timeout_s)),
            Step::Run { argv, env, timeout_s, expect_exit } => {
                self.run(number, argv, env, Duration::from_secs(*timeout_s), *expect_exit)
            }
            Step::ReadFile { path } => {
                let (bytes, truncated) = read_bounded(path)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.control.send(&Event::File { step: number, path: path.clone(), text, truncated });
                Ok(())
            }
            Step::ListDir { path } => {
                let names = list(path)?;
                self.control.send(&Event::Listing { step: number, path: path.clone(), names });
                Ok(())
            }
            Step::WriteFile { path, data } => write_once(path, data.as_bytes()),
            Step::WaitFor { path, contains, timeout_s } => wait_for_file(path, contains, deadline(*timeout_s)),
            Step::WaitKernelLog { contains, timeout_s } => {
                let deadline = deadline(*timeout_s);
                let log = match &mut self.kernel_log {
                    Some(log) => log,
                    empty => empty.insert(KernelLog::open()?),
                };
                let message = log.wait_for(contains, deadline)?;
                self.control.send(&Event::KernelLog { step: number, message: message.text, time_us: message.time_us });
                Ok(())
            }
            Step::AwaitHost { token, timeout_s } => {
                self.control.send(&Event::AwaitingHost { step: number, token: token.clone() });
                self.control.await_release(token, deadline(*timeout_s))
            }
            Step::Sleep { ms } => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(())
            }
            Step::Shell => process::shell().map(|_| ()),
            Step::PowerOff => Ok(()),
        }
    }

    fn run(
        &mut self,
        step: u32,
        argv: &[String],
        env: &[(String, String)],
        limit: Duration,
        expect_exit: Option<i32>,
    ) -> Result<(), String> {
        let output_start = self.output.offset();
        let ended = process::run(argv, env, limit, &mut self.output)?;
        self.control.send(&Event::Exit {
            step,
            code: ended.code,
            signal: ended.signal,
            timed_out: ended.timed_out,
            output_start,
            output_bytes: self.output.offset() - output_start,
        });
        match (ended.timed_out, ended.code, ended.signal, expect_exit) {
            (true, ..) => Err(format!("killed after {} s", limit.as_secs())),
            (_, Some(code), _, Some(expected)) if code != expected => {
                Err(format!("exit status {code} instead of {expected}"))
            }
            (_, Some(_), ..) => Ok(()),
            (_, None, Some(signal), _) => Err(format!("ended by signal {signal}")),
            (_, None, None, _) => Err("ended in an unknown way".to_owned()),
        }
    }
}

fn deadline(seconds: u64) -> Instant {
    // Ten years bound the arithmetic.
    Instant::now() + Duration::from_secs(seconds.min(315_360_000))
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} contains a zero byte"))
}

fn load_module(path: &str, params: &str) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("{path} cannot be opened: {error}"))?;
    let compressed = [".xz", ".zst", ".gz"].iter().any(|ending| path.ends_with(ending));
    let flags = if compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 };
    match finit_module(&file, &c_string(params)?, flags) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(format!("{path} cannot be loaded: {error}")),
    }
}

fn unload_module(name: &str, deadline: Instant) -> Result<(), String> {
    let c_name = c_string(name)?;
    loop {
        match delete_module(&c_name, DELETE_NONBLOCK) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY | Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
            Err(error) => return Err(format!("{name} cannot be unloaded: {error}")),
        }
    }
}

/// The first [`FILE_LIMIT`] bytes, and whether there are more.
fn read_bounded(path: &str) -> Result<(Vec<u8>, bool), String> {
    let words = |error| format!("{path} cannot be read: {error}");
    let mut bytes = Vec::new();
    File::open(path).map_err(words)?.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(words)?;
    let truncated = bytes.len() > FILE_LIMIT;
    bytes.truncate(FILE_LIMIT);
    Ok((bytes, truncated))
}

fn list(path: &str) -> Result<Vec<String>, String> {
    let words = |error| format!("{path} cannot be listed: {error}");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(words)? {
        names.push(entry.map_err(words)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// One `write` call: sysfs and debugfs files take a value as a whole.
fn write_once(path: &str, data: &[u8]) -> Result<(), String> {
    let words = |error| format!("{path} cannot be written: {error}");
    let mut file = File::options().write(true).create(true).truncate(true).open(path).map_err(words)?;
    let count = file.write(data).map_err(words)?;
    if count < data.len() {
        return Err(format!("{path} took only {count} of {} bytes", data.len()));
    }
    Ok(())
}

fn wait_for_file(path: &str, contains: &str, deadline: Instant) -> Result<(), String> {
    loop {
        let seen = if contains.is_empty() {
            std::fs::symlink_metadata(path).map(|_| true).map_err(|error| format!("{path} is not there: {error}"))
        } else {
            read_bounded(path).map(|(bytes, _)| String::from_utf8_lossy(&bytes).contains(contains))
        };
        match seen {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() >= deadline => {
                return Err(format!("{path} did not contain \"{contains}\" in time"));
            }
            Err(error) if Instant::now() >= deadline => return Err(format!("{error}, and the time is over")),
            _ => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs steps against files instead of ports; returns outcomes, events and output.
    fn session(steps: &[Step]) -> (Vec<Outcome>, Vec<Event>, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let [control_path, output_path] = ["control", "output"].map(|name| directory.path().join(name));
        for path in [&control_path, &output_path] {
            File::create(path).unwrap();
        }
        let mut control = Control::open_or_console(control_path.to_str().unwrap());
        let mut session = Session::new(&mut control, Output::open(output_path.to_str().unwrap()).unwrap());
        let outcomes = (0..).zip(steps).map(|(number, step)| session.perform(number, step)).collect();
        let text = std::fs::read_to_string(&control_path).unwrap();
        let events = text.lines().map(|line| Event::from_line(line).unwrap()).collect();
        (outcomes, events, std::fs::read(&output_path).unwrap())
    }

    fn run_step(script: &str, expect_exit: Option<i32>) -> Step {
        Step::Run {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![],
            timeout_s: 20,
            expect_exit,
        }
    }

    #[test]
    fn two_programs_share_the_output_and_their_parts_can_be_told() {
        let (outcomes, events, output) = session(&[run_step("echo one", Some(0)), run_step("echo second", None)]);
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
        let parts: Vec<&[u8]> = events
            .iter()
            .filter_map(|event| match event {
                Event::Exit { output_start, output_bytes, code: Some(0), timed_out: false, .. } => {
                    Some(&output[*output_start as usize..(*output_start + *output_bytes) as usize])
                }
                _ => None,
            })
            .collect();
        assert_eq!(parts, [b"one\n".as_slice(), b"second\n"]);
    }

    #[test]
    fn an_unexpected_exit_status_fails_the_step_with_both_numbers() {
        let (outcomes, events, _) = session(&[run_step("exit 3", Some(0)), run_step("exit 3", None)]);
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Done]);
        assert!(events.iter().any(|event| matches!(event,
            Event::StepEnded { step: 0, error: Some(error), .. } if error == "exit status 3 instead of 0")));
    }

    #[test]
    fn a_step_reports_begin_content_and_end_in_this_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let (outcomes, events, _) =
            session(&[Step::WriteFile { path: path.clone(), data: "Operational\n".into() }, Step::ReadFile { path }]);
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
        let [.., Event::StepBegun { step: 1, .. }, Event::File { step: 1, text, truncated: false, .. }, last] =
            &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(text, "Operational\n");
        assert!(matches!(last, Event::StepEnded { step: 1, error: None, .. }));
    }

    #[test]
    fn a_file_beyond_the_limit_is_cut_and_marked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (length, cut) in [(FILE_LIMIT, false), (FILE_LIMIT + 1, true)] {
            std::fs::write(file.path(), vec![b'x'; length]).unwrap();
            let (bytes, truncated) = read_bounded(file.path().to_str().unwrap()).unwrap();
            assert_eq!((bytes.len(), truncated), (FILE_LIMIT, cut));
        }
    }

    #[test]
    fn waiting_for_a_file_ends_when_its_text_appears_or_its_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        let text = path.to_str().unwrap().to_owned();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            std::fs::write(&path, "in reset").unwrap();
            std::thread::sleep(Duration::from_millis(60));
            std::fs::write(&path, "Operational").unwrap();
        });
        assert_eq!(wait_for_file(&text, "Operational", deadline(20)), Ok(()));
        writer.join().unwrap();
        let late = wait_for_file(&text, "Malfunction", deadline(0)).unwrap_err();
        assert!(late.contains("did not contain \"Malfunction\""), "{late}");
        assert!(wait_for_file("/nowhere/at/all", "", deadline(0)).is_err());
    }

    #[test]
    fn power_off_ends_the_plan() {
        let (outcomes, _, _) = session(&[Step::Sleep { ms: 1 }, Step::PowerOff]);
        assert_eq!(outcomes, [Outcome::Done, Outcome::PowerOff]);
    }

    #[test]
    fn a_module_that_is_not_there_is_an_error_in_words() {
        let (outcomes, events, _) =
            session(&[Step::LoadModule { path: "/nowhere/drm.ko".into(), params: String::new() }]);
        assert_eq!(outcomes, [Outcome::Failed]);
        assert!(matches!(events.last(), Some(Event::StepEnded { error: Some(error), .. })
            if error.starts_with("/nowhere/drm.ko cannot be opened")));
    }
}
