//! The program as a person uses it: arguments, exit codes, output, what it leaves behind. Most guests run without the card;
//! what the card and the driver do is tested end to end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use coxswain_machine::image::{self, Contents, Stage};
use coxswain_machine::keys::Signer;

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
    is_running_with(&[text])
}

/// True while a process has all of `texts` in its command line.
fn is_running_with(texts: &[&str]) -> bool {
    fs::read_dir("/proc").expect("/proc is there").flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        texts.iter().all(|text| line.contains(text))
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
        (&["explode"], "explode"),
        (&["bench", "--only", "everything"], "on-target, native, guest"),
        (&["bench", "--only", "native", "--update"], "--update is about the instruction counts"),
        (&["bench", "--rounds", "0"], "1 to 99 rounds"),
        (&["trace", "/no/folder/out.json"], "cannot write /no/folder/out.json"),
        (&["trace", "/no/folder/out.json", "no-such-job"], "no-such-job"),
        (&["--gdb", "card"], "--gdb"),
        (&["guest"], "PROGRAM"),
        (&["guest", "--driver-option", "memory_scrub", "--", "true"], "name=value"),
        (&["guest", "--", "frobnicate"], "frobnicate: neither a file here nor a command of the guest"),
    ] {
        let output = coxswain(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(line), "{words:?}: {}", said(&output));
        assert!(said(&output).lines().any(|said| said.starts_with("error: ")), "{words:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn help_names_every_command() {
    let output = coxswain(&["--help"]).output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for command in ["guest", "shell", "boot", "bench", "trace", "setup", "image"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is missing in\n{help}");
    }
}

#[test]
fn an_image_is_signed_anew_and_checked_with_a_key_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let contents = Contents {
        stage: Stage::BootFit,
        binary: &[7; 64],
        load: 0x1000,
        entry: 0x1000,
        version: "1.2",
        rollback: 3,
        raise_to: 0,
    };
    fs::write(path("a.itb"), image::pack(&contents, &Signer::development().unwrap()).unwrap()).unwrap();
    // An Ed25519 key as `openssl genpkey` writes it: a fixed header and 32 bytes.
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";
    fs::write(path("own.pem"), key).unwrap();
    let run = |words: &[&str]| {
        let output = coxswain(&[&["image"], words].concat()).env_remove("COXSWAIN_SIGNING_KEY").output().unwrap();
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), said(&output)))
    };
    let (first, second, own) = (path("a.itb"), path("b.itb"), path("own.pem"));
    let (code, words) = run(&["verify", &first]);
    assert!(code == Some(0) && words.contains("good: boot-fit 1.2, rollback version 3"), "{words}");
    let (code, words) = run(&["verify", &first, "--key", &own]);
    assert!(code == Some(1) && words.contains("0x0303"), "{words}");
    let (code, words) = run(&["verify", &first, "--rollback", "4"]);
    assert!(code == Some(1) && words.contains("0x0306"), "{words}");
    let (code, words) = run(&["sign", &first, "--key", &own, "--output", &second]);
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = run(&["verify", &second, "--key", &own]);
    assert!(code == Some(0) && words.contains("good"), "{words}");
    let (code, words) = run(&["list", &second]);
    assert!(code == Some(0) && words.contains("key-name-hint = \"own\""), "{words}");
    let (code, words) = run(&["sign", &first, "--key", &first]);
    assert!(code == Some(1) && words.contains("a.itb"), "{words}");
    let (code, words) = run(&["pack", &own, "--stage", "control", "-o", &second]);
    assert!(code == Some(1) && words.contains("cannot be packed"), "{words}");
}

#[test]
fn an_image_file_is_listed_and_another_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let contents = Contents {
        stage: Stage::Control,
        binary: &[7; 64],
        load: 0x1000,
        entry: 0x1000,
        version: "1.2",
        rollback: 1,
        raise_to: 0,
    };
    let image = image::pack(&contents, &Signer::development().unwrap()).unwrap();
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

/// The program waits in the guest for a file that appears only after its first line was seen here.
#[test]
fn beside_the_card_output_arrives_while_the_program_runs_and_its_exit_code_at_the_end() {
    let share = tempfile::tempdir().unwrap();
    let mut errors = tempfile::NamedTempFile::new().unwrap();
    let script = "test -c /dev/accel/accel0 && echo ready; until [ -e /share/question ]; do sleep 0.1; done; \
                  read -r word </share/question; echo \"${word^^}\" >/share/answer; mkdir /share/made; exit 7";
    let folder = share.path().to_str().unwrap();
    let mut child = coxswain(&["guest", "--timeout", "60", "--share", folder, "--", "/bin/bash", "-c", script])
        .stdout(Stdio::piped())
        .stderr(errors.reopen().unwrap())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    // Put there whole: the guest must not see a file without its text. Also after a wrong line, so that the guest ends.
    fs::write(share.path().join("writing"), "anchor\n").unwrap();
    fs::rename(share.path().join("writing"), share.path().join("question")).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(7), "{said}");
    assert_eq!(first, "ready\n", "{said}");
    assert_eq!(output.lines().count(), 0);
    assert_eq!(fs::read_to_string(share.path().join("answer")).unwrap(), "ANCHOR\n");
    assert!(share.path().join("made").is_dir());
}

#[test]
fn an_interrupted_run_with_the_card_ends_both_emulators_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = coxswain(&["guest", "--timeout", "60", "--", "sh", "-c", "echo ready; sleep 1000"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mark = folder.path().to_str().unwrap();
    let emulators = ["qemu-system-x86_64", "qemu-system-aarch64"].map(|name| is_running_with(&[mark, name]));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(first, "ready\n");
    assert_eq!(emulators, [true; 2]);
    assert!(!is_running(mark));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
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

/// A run that waits in its guest, with its temporary files below `folder`.
fn sleeping_guest(folder: &str) -> Child {
    let child = coxswain(&["guest", "--without-card", "--", "sleep", "1000"])
        .env("TMPDIR", folder)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started");
    eventually("the start of the emulator", 600, || is_running(folder));
    child
}

#[test]
fn an_interrupted_run_leaves_no_process_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().to_str().unwrap();
    let mut child = sleeping_guest(mark);
    let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_running(mark));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_killed_run_leaves_no_process_and_the_next_one_removes_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().to_str().unwrap();
    let mut child = sleeping_guest(mark);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    eventually("the end of the emulator", 10, || !is_running(mark));
    let next = coxswain(&["guest", "--without-card", "--", "true"]).env("TMPDIR", folder.path()).output().unwrap();
    assert_eq!(next.status.code(), Some(0), "{}", said(&next));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
