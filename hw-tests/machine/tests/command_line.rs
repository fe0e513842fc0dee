//! The program as a person uses it: arguments, exit codes, output, what it leaves behind. The guests run without the card;
//! what the card and the driver do is tested end to end.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn coxswain(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coxswain"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs `program` in a guest without the card.
fn guest(options: &[&str], program: &[&str]) -> Output {
    coxswain(&[&["guest", "--without-card"], options, &["--"], program].concat())
        .output()
        .expect("the program can be started")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for `condition`.
fn eventually(what: &str, limit: u64, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(limit);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen within {limit} s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// True while a process has `text` in its command line.
fn is_running(text: &str) -> bool {
    fs::read_dir("/proc").expect("/proc is there").flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
}

#[test]
fn wrong_arguments_end_with_exit_code_2_and_a_line_that_says_why() {
    for (words, line) in [
        (&["guest", "--", "./no-such-program"][..], "./no-such-program: no such file"),
        (&["guest", "--share", "/no/such/folder", "--", "true"], "--share /no/such/folder: no such folder"),
        (&["shell", "--kernel", "/no/kernel"], "--kernel /no/kernel: no such file"),
        (&["--modules", "/no/modules"], "--modules /no/modules: no such folder"),
        (&["image", "list", "/no/image.itb"], "/no/image.itb"),
        (&["--memory", "100"], "256..=2816"),
    ] {
        let output = coxswain(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(line), "{words:?}: {}", said(&output));
    }
}

#[test]
fn an_image_file_is_listed_and_another_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let image = coxswain_machine::image::pack(coxswain_machine::image::Stage::Control, &[7; 64], 0x1000, 0x1000, "1.2");
    fs::write(file.path(), image).unwrap();
    let path = file.path().to_str().unwrap();
    let output = coxswain(&["image", "list", path]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("load = 0x1000"));
    fs::write(file.path(), "something else").unwrap();
    let output = coxswain(&["image", "list", path]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_programs_exit_code_output_and_shared_files_come_back() {
    let share = tempfile::tempdir().unwrap();
    fs::write(share.path().join("in"), "forth\n").unwrap();
    let script = "cat /share/in; printf '\\000\\377\\r\\n'; echo back > /share/out; exit 7";
    let output = guest(&["--share", share.path().to_str().unwrap()], &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert_eq!(output.stdout, b"forth\n\0\xFF\r\n");
    assert_eq!(fs::read_to_string(share.path().join("out")).unwrap(), "back\n");
}

#[test]
fn a_dynamic_program_of_this_machine_runs_with_its_libraries() {
    let program = ["/usr/bin/env", "/bin/env"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    let output = guest(&[], &[program, "--version"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let here = Command::new(program).arg("--version").output().unwrap();
    assert_eq!(output.stdout, here.stdout);
}

#[test]
fn a_program_that_takes_too_long_or_dies_of_a_signal_is_told_apart() {
    let slow = guest(&["--timeout", "1"], &["sleep", "100"]);
    assert_eq!(slow.status.code(), Some(124), "{}", said(&slow));
    let dead = guest(&[], &["sh", "-c", "kill -SEGV $$"]);
    assert_eq!(dead.status.code(), Some(128 + 11), "{}", said(&dead));
}

#[test]
fn a_kernel_that_crashes_makes_the_run_fail_and_is_shown() {
    let output = guest(&[], &["sh", "-c", "echo c > /proc/sysrq-trigger"]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("FAILED: the kernel reported:") && said.contains("sysrq triggered crash"), "{said}");
    assert!(said.contains("--- guest console and kernel messages"), "{said}");
    assert!(said.contains("all logs: "), "{said}");
}

#[test]
fn an_interrupted_run_leaves_no_process_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = coxswain(&["guest", "--without-card", "--", "sleep", "1000"])
        .env("TMPDIR", folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mark = folder.path().to_str().unwrap();
    eventually("the start of the emulator", 600, || is_running(mark));
    let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_running(mark));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_killed_run_leaves_no_process_and_the_next_one_removes_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = coxswain(&["guest", "--without-card", "--", "sleep", "1000"])
        .env("TMPDIR", folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mark = folder.path().to_str().unwrap();
    eventually("the start of the emulator", 600, || is_running(mark));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    eventually("the end of the emulator", 10, || !is_running(mark));
    let next = coxswain(&["guest", "--without-card", "--", "true"]).env("TMPDIR", folder.path()).output().unwrap();
    assert_eq!(next.status.code(), Some(0), "{}", said(&next));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
