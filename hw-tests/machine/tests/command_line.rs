//! What a person sees of the program behind `cargo run`: exit codes, messages, and `guest` with programs of their own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coxswain_machine::image::{self, Stage};

const PROGRAM: &str = env!("CARGO_BIN_EXE_coxswain");
/// A dynamic program that every machine which can build this has.
const DYNAMIC_SHELL: &str = "/bin/bash";

fn coxswain(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs to the end; never for a guest that may hang.
fn run(arguments: &[&str]) -> Output {
    coxswain(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs with a guest take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of the last line that names the run folder, for messages of failures.
fn run_folder(errors: &str) -> &str {
    errors.lines().rev().find(|line| line.starts_with("logs in ")).unwrap_or("no run folder")
}

#[test]
fn wrong_arguments_end_with_exit_code_2_and_say_which() {
    let missing = "./no/such/thing";
    for (arguments, words) in [
        (&["explode"][..], "explode"),
        (&["--memory", "64"], "--memory"),
        (&["--gdb", "card"], "--gdb"),
        (&["guest"], "PROGRAM"),
        (&["guest", "--driver-option", "memory_scrub", "--", "true"], "name=value"),
        (&["guest", "--share", missing, "--", "true"], "no such folder"),
        (&["guest", "--kernel", missing, "--", "true"], "no such file"),
        (&["guest", "--modules", missing, "--", "true"], "no such folder"),
        (&["image", "list", missing], missing),
    ] {
        let output = run(arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: "), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_names_every_command() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    for command in ["guest", "shell", "boot", "setup", "image"] {
        assert!(text(&output.stdout).lines().any(|line| line.trim_start().starts_with(command)), "{command}");
    }
}

#[test]
fn an_image_file_is_listed_and_another_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gaudi-fit.itb");
    fs::write(&file, image::pack(Stage::Control, &[0x1D; 100], 0x4000_0000, 0x4000_0040, "1.2.3")).unwrap();
    let output = run(&["image", "list", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let listing = text(&output.stdout);
    for line in ["coxswain,version = \"1.2.3\"", "load = 0x40000000", "entry = 0x40000040", "algo = \"sha512\""] {
        assert!(listing.contains(line), "{line} is missing in\n{listing}");
    }
    fs::write(&file, "a text that is longer than the header of an image file").unwrap();
    let output = run(&["image", "list", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not an image file"), "{}", text(&output.stderr));
}

#[test]
fn a_guest_program_that_does_not_exist_is_wrong_usage() {
    let _turn = turn();
    for (program, words) in [
        ("./no-such-program", "./no-such-program: no such file"),
        ("frobnicate", "frobnicate: neither a file here nor a command of the guest"),
    ] {
        let output = run(&["guest", "--", program]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).lines().any(|line| line.contains(words)), "{}", text(&output.stderr));
    }
}

/// A started program behind `cargo run`, killed when a test fails.
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = coxswain(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        // Read beside the output: a full pipe would stop the program.
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            text(&bytes)
        });
        Self { child, output, errors: Some(errors) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for the end: exit code, what is left of the output, standard error.
    fn end(mut self, limit: Duration) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (status.code(), rest, self.errors.take().unwrap().join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program waits in the guest for a file that the test makes only when it has seen the program's first line.
#[test]
fn a_dynamic_program_streams_its_output_shares_files_both_ways_and_gives_its_exit_code() {
    let _turn = turn();
    let share = tempfile::tempdir().unwrap();
    let script = "test -e \"$1\" && echo ready; echo problem >&2; until [ -e /share/question ]; do sleep 0.1; done; \
                  read -r word </share/question; echo \"${word^^}\" >/share/answer; mkdir /share/made; exit 7";
    let folder = share.path().to_str().unwrap();
    let node = "/dev/accel/accel0";
    let mut running = Running::start(&["guest", "--share", folder, "--", DYNAMIC_SHELL, "-c", script, "sh", node]);
    let first = running.line();
    // The name is written whole: the guest must not see a file without its text.
    fs::write(share.path().join("writing"), "anchor\n").unwrap();
    fs::rename(share.path().join("writing"), share.path().join("question")).unwrap();
    let (code, rest, errors) = running.end(Duration::from_secs(120));
    let place = run_folder(&errors);
    assert_eq!(first, "ready", "{errors}");
    assert_eq!(rest, "problem\n", "{place}");
    assert_eq!(code, Some(7), "{errors}");
    assert_eq!(fs::read_to_string(share.path().join("answer")).unwrap(), "ANCHOR\n", "{place}");
    assert!(share.path().join("made").is_dir(), "{place}");
}

#[test]
fn trouble_in_the_guests_kernel_fails_the_run_although_the_program_succeeded() {
    let _turn = turn();
    let report = "BUG: made up by a test";
    let script = format!("echo '<0>{report}' >/dev/kmsg; sleep 1");
    let running = Running::start(&["guest", "--without-card", "--", "sh", "-c", &script]);
    let (code, _, errors) = running.end(Duration::from_secs(120));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.lines().any(|line| line.starts_with("FAILED: ") && line.contains(report)), "{errors}");
    assert!(errors.contains("all logs: "), "{errors}");
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_exit_code_124() {
    let _turn = turn();
    let running = Running::start(&["guest", "--without-card", "--timeout", "2", "--", "sleep", "1000"]);
    let (code, _, errors) = running.end(Duration::from_secs(120));
    assert_eq!(code, Some(124), "{errors}");
    assert!(errors.contains("sleep: not done after 2 s"), "{errors}");
}

/// Command lines of all processes that contain `text`.
fn processes_with(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(text)).collect()
}

fn names_with(folder: &Path, text: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.contains(text)).collect()
}

#[test]
fn an_interrupted_run_leaves_no_process_and_no_file_behind() {
    let _turn = turn();
    let mut running = Running::start(&["guest", "--", "sh", "-c", "echo ready; sleep 1000"]);
    assert_eq!(running.line(), "ready");
    let mark = format!("coxswain-{}-", running.child.id());
    assert_eq!(processes_with(&mark).len(), 2, "two emulators use the sockets of this run");
    assert_eq!(names_with(&std::env::temp_dir(), &mark).len(), 1);
    let process = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let (code, _, errors) = running.end(Duration::from_secs(20));
    assert_eq!(code, Some(130), "{errors}");
    assert!(errors.lines().any(|line| line == "interrupted"), "{errors}");
    assert_eq!(processes_with(&mark), [""; 0]);
    assert_eq!(names_with(&std::env::temp_dir(), &mark), [""; 0]);
}
