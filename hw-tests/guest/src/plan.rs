//! The contract between the harness and the guest's process 1.
//!
//! The harness puts one [`Plan`] as JSON at [`PLAN_PATH`] into the initramfs. `coxswain-init` carries it out from top to
//! bottom and writes one JSON line per [`Event`] to [`CONTROL_PORT`]. What the started programs print goes, byte for
//! byte, to [`OUTPUT_PORT`]; the kernel console stays on [`CONSOLE_PORT`].
//!
//! This module owns the names and shapes of both languages and the fixed places. It never performs anything.
//!
//! # Order
//!
//! 1. mounts, host name; then [`Event::Started`];
//! 2. [`Plan::modules`] in order, as steps of their own with the numbers before those of [`Plan::steps`];
//! 3. the share, when [`Plan::share`] asks for it;
//! 4. [`Plan::steps`] in order. The first step that fails ends the plan, unless [`Plan::keep_going`] is set;
//! 5. [`Event::Finished`], then power off - also when the plan does not end with [`Step::PowerOff`].
//!
//! A step number counts from 0 over `modules` followed by `steps`. Everything that waits is bounded by the time-out its
//! step names, except [`Step::LoadModule`] (as long as the module takes) and [`Step::Shell`] (as long as a person takes).

use serde::{Deserialize, Serialize};

/// Where the plan lies in the initramfs.
pub const PLAN_PATH: &str = "/etc/coxswain/plan.json";
/// Kernel console and the interactive shell.
pub const CONSOLE_PORT: &str = "/dev/ttyS0";
/// Control channel: events out, releases of [`Step::AwaitHost`] in; raw, one JSON value per line.
pub const CONTROL_PORT: &str = "/dev/ttyS1";
/// Standard output and error of the programs that [`Step::Run`] starts; raw.
pub const OUTPUT_PORT: &str = "/dev/ttyS2";
/// Mount tag of the 9p share the harness offers (`mount_tag=` of the QEMU device).
pub const SHARE_TAG: &str = "share";
/// Where the share is mounted.
pub const SHARE_PATH: &str = "/share";
/// Most bytes of a file that [`Event::File`] carries; longer files are cut and marked.
pub const FILE_LIMIT: usize = 256 * 1024;

/// A whole run of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Host name of the guest.
    #[serde(default = "default_hostname")]
    pub hostname: String,
    /// Kernel modules loaded before the share is mounted, in this order.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// True: mount the 9p share [`SHARE_TAG`] at [`SHARE_PATH`]; a failure is [`Event::Fatal`].
    #[serde(default)]
    pub share: bool,
    /// True: a failed step does not end the plan.
    #[serde(default)]
    pub keep_going: bool,
    /// What to do.
    #[serde(default)]
    pub steps: Vec<Step>,
}

fn default_hostname() -> String {
    "coxswain".to_owned()
}

impl Default for Plan {
    fn default() -> Self {
        Self { hostname: default_hostname(), modules: Vec::new(), share: false, keep_going: false, steps: Vec::new() }
    }
}

/// A kernel module and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Path of the `.ko`, `.ko.xz` or `.ko.zst` file in the guest (compressed files need a kernel that decompresses).
    pub path: String,
    /// Parameters as `insmod` takes them: `name=value` separated by spaces.
    #[serde(default)]
    pub params: String,
}

/// One thing to do. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Load a kernel module; returns when its init function did. "Already loaded" is a success.
    LoadModule {
        /// As [`Module::path`].
        path: String,
        /// As [`Module::params`].
        #[serde(default)]
        params: String,
    },
    /// Unload a kernel module; tried again while it is busy, until the time-out.
    UnloadModule {
        /// Name as in `/proc/modules`.
        name: String,
        /// Bound of the whole step.
        timeout_s: u64,
    },
    /// Run a program, its output to [`OUTPUT_PORT`], and report [`Event::Exit`]. It runs in its own process group, which
    /// is killed when the time is over.
    Run {
        /// Program path and arguments; not empty.
        argv: Vec<String>,
        /// Environment variables as name and value, added to `PATH`, `HOME` and `TERM`.
        #[serde(default)]
        env: Vec<(String, String)>,
        /// Bound of the run.
        timeout_s: u64,
        /// Exit status that counts as success; absent: every end of its own accord is a success.
        #[serde(default)]
        expect_exit: Option<i32>,
    },
    /// Report a file's contents as [`Event::File`].
    ReadFile {
        /// Path in the guest.
        path: String,
    },
    /// Report the sorted names in a directory as [`Event::Listing`].
    ListDir {
        /// Path in the guest.
        path: String,
    },
    /// Write a file with one `write` call (as sysfs and debugfs want), created when missing.
    WriteFile {
        /// Path in the guest.
        path: String,
        /// The bytes.
        data: String,
    },
    /// Wait until a file exists and contains a text; an empty text waits for the file alone.
    WaitFor {
        /// Path in the guest.
        path: String,
        /// Text looked for in the first [`FILE_LIMIT`] bytes.
        #[serde(default)]
        contains: String,
        /// Bound of the wait.
        timeout_s: u64,
    },
    /// Wait until a kernel message contains a text, and report it as [`Event::KernelLog`]. Each such step continues
    /// behind the message at which the previous one ended, the first starts at boot: a text that was logged twice is
    /// found twice.
    WaitKernelLog {
        /// Text looked for.
        contains: String,
        /// Bound of the wait.
        timeout_s: u64,
    },
    /// Report [`Event::AwaitingHost`] and wait until the harness writes [`Release`] with the same token as one JSON
    /// line to the control channel.
    AwaitHost {
        /// Text that ties question and answer together.
        token: String,
        /// Bound of the wait.
        timeout_s: u64,
    },
    /// Sleep.
    Sleep {
        /// Milliseconds.
        ms: u64,
    },
    /// An interactive shell on the console, until the person leaves it.
    Shell,
    /// Power the guest off now; later steps are not carried out.
    PowerOff,
}

/// The harness's answer to [`Event::AwaitingHost`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The token of the step that may go on.
    pub release: String,
}

/// What the guest reports: one JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Process 1 runs and has read the plan.
    Started {
        /// Kernel release (`uname -r`).
        kernel: String,
        /// Steps to come, modules included.
        steps: u32,
    },
    /// A step begins.
    StepBegun {
        /// Step number.
        step: u32,
        /// The step in words.
        what: String,
        /// Milliseconds since the kernel's start.
        uptime_ms: u64,
    },
    /// A step ended. Whatever it reports came before this line.
    StepEnded {
        /// Step number.
        step: u32,
        /// `None`: success; otherwise what went wrong.
        error: Option<String>,
        /// Milliseconds the step took.
        elapsed_ms: u64,
    },
    /// Contents of a file.
    File {
        /// Step number.
        step: u32,
        /// Path in the guest.
        path: String,
        /// The contents; bytes that are not UTF-8 are replaced.
        text: String,
        /// True when the file was longer than [`FILE_LIMIT`].
        truncated: bool,
    },
    /// Names in a directory, sorted.
    Listing {
        /// Step number.
        step: u32,
        /// Path in the guest.
        path: String,
        /// The names.
        names: Vec<String>,
    },
    /// A program ended, or was killed because its time was over.
    Exit {
        /// Step number.
        step: u32,
        /// Exit status; `None` when a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// True when its time was over.
        timed_out: bool,
        /// Offset in the stream of [`OUTPUT_PORT`] at which this program's output begins.
        output_start: u64,
        /// Bytes this program wrote; all were handed to the port before this event.
        output_bytes: u64,
    },
    /// The kernel message that [`Step::WaitKernelLog`] waited for.
    KernelLog {
        /// Step number.
        step: u32,
        /// The message without its prefix.
        message: String,
        /// The kernel's time stamp of the message, in microseconds since its start.
        time_us: u64,
    },
    /// The guest waits for a [`Release`] with this token.
    AwaitingHost {
        /// Step number.
        step: u32,
        /// The token.
        token: String,
    },
    /// The plan could not be carried out at all; power off follows.
    Fatal {
        /// What went wrong.
        message: String,
    },
    /// The plan is over; power off follows.
    Finished {
        /// Numbers of the steps that failed.
        failed: Vec<u32>,
        /// Steps that were not begun because an earlier one failed.
        skipped: u32,
    },
}

impl Event {
    /// The event as one line of JSON with its line feed.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Plain data with string keys: serialisation cannot fail, but process 1 must not depend on that.
        let mut line = serde_json::to_string(self).unwrap_or_else(|error| {
            format!("{{\"event\":\"fatal\",\"message\":\"an event could not be written as JSON: {error}\"}}")
        });
        line.push('\n');
        line
    }

    /// Reads one line of the control channel, with or without its line end.
    ///
    /// # Errors
    /// The line is not an event: text from something else, or an event of another version.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line.trim())
    }
}

impl From<Module> for Step {
    fn from(module: Module) -> Self {
        Self::LoadModule { path: module.path, params: module.params }
    }
}

impl Step {
    /// The step in words, for [`Event::StepBegun`] and for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::LoadModule { path, params } if params.is_empty() => format!("load {path}"),
            Self::LoadModule { path, params } => format!("load {path} with {params}"),
            Self::UnloadModule { name, .. } => format!("unload {name}"),
            Self::Run { argv, .. } => format!("run {}", argv.join(" ")),
            Self::ReadFile { path } => format!("read {path}"),
            Self::ListDir { path } => format!("list {path}"),
            Self::WriteFile { path, .. } => format!("write {path}"),
            Self::WaitFor { path, contains, .. } if contains.is_empty() => format!("wait for {path}"),
            Self::WaitFor { path, contains, .. } => format!("wait for \"{contains}\" in {path}"),
            Self::WaitKernelLog { contains, .. } => format!("wait for the kernel message \"{contains}\""),
            Self::AwaitHost { token, .. } => format!("wait for the host: {token}"),
            Self::Sleep { ms } => format!("sleep {ms} ms"),
            Self::Shell => "interactive shell".to_owned(),
            Self::PowerOff => "power off".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_steps() -> Vec<Step> {
        vec![
            Step::LoadModule { path: "/lib/drm.ko".into(), params: String::new() },
            Step::UnloadModule { name: "habanalabs".into(), timeout_s: 30 },
            Step::Run {
                argv: vec!["/bin/coxswain-jobs".into(), "--json".into()],
                env: vec![("LANG".into(), "C".into())],
                timeout_s: 60,
                expect_exit: Some(0),
            },
            Step::ReadFile { path: "/sys/class/accel/accel0/device/status".into() },
            Step::ListDir { path: "/sys/class/hwmon".into() },
            Step::WriteFile { path: "/sys/kernel/debug/x".into(), data: "1\n".into() },
            Step::WaitFor { path: "/dev/accel/accel0".into(), contains: String::new(), timeout_s: 5 },
            Step::WaitKernelLog { contains: "Successfully added device".into(), timeout_s: 60 },
            Step::AwaitHost { token: "fault armed".into(), timeout_s: 10 },
            Step::Sleep { ms: 5 },
            Step::Shell,
            Step::PowerOff,
        ]
    }

    #[test]
    fn every_step_survives_its_json() {
        let plan = Plan {
            hostname: "guest".into(),
            modules: vec![Module { path: "/lib/9p.ko".into(), params: "a=1 b=2".into() }],
            share: true,
            keep_going: true,
            steps: all_steps(),
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    /// Written by hand: the bytes the harness may rely on.
    #[test]
    fn a_plan_written_by_hand_reads_as_meant() {
        let text = r#"{"modules":[{"path":"/lib/drm.ko"}],
            "steps":[{"do":"run","argv":["/bin/true"],"timeout_s":3},
                     {"do":"wait_kernel_log","contains":"added","timeout_s":9},{"do":"power_off"}]}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.hostname, "coxswain");
        assert!(!plan.share && !plan.keep_going);
        assert_eq!(plan.modules, [Module { path: "/lib/drm.ko".into(), params: String::new() }]);
        assert_eq!(
            plan.steps,
            [
                Step::Run { argv: vec!["/bin/true".into()], env: vec![], timeout_s: 3, expect_exit: None },
                Step::WaitKernelLog { contains: "added".into(), timeout_s: 9 },
                Step::PowerOff,
            ]
        );
    }

    #[test]
    fn a_misspelt_field_is_refused_rather_than_ignored() {
        let text = r#"{"steps":[{"do":"run","argv":["/bin/true"],"timeout":3}]}"#;
        assert!(serde_json::from_str::<Plan>(text).is_err());
        assert!(serde_json::from_str::<Plan>(r#"{"step":[]}"#).is_err());
    }

    #[test]
    fn every_event_is_one_line_and_survives() {
        let events = [
            Event::Started { kernel: "6.12.94".into(), steps: 4 },
            Event::StepBegun { step: 1, what: "run a\nb".into(), uptime_ms: 4200 },
            Event::StepEnded { step: 1, error: Some("exit status 3".into()), elapsed_ms: 12 },
            Event::File { step: 2, path: "/x".into(), text: "a\nb\u{fffd}".into(), truncated: false },
            Event::Listing { step: 2, path: "/x".into(), names: vec!["hwmon0".into()] },
            Event::Exit {
                step: 3,
                code: None,
                signal: Some(9),
                timed_out: true,
                output_start: 5,
                output_bytes: u64::from(u32::MAX) + 1,
            },
            Event::KernelLog { step: 4, message: "accel accel0: up".into(), time_us: 5_000_000 },
            Event::AwaitingHost { step: 5, token: "t".into() },
            Event::Fatal { message: "no plan".into() },
            Event::Finished { failed: vec![3], skipped: 2 },
        ];
        for event in events {
            let line = event.to_line();
            assert_eq!(line.matches('\n').count(), 1);
            assert!(line.ends_with('\n'));
            assert_eq!(Event::from_line(&line).unwrap(), event);
        }
        assert_eq!(
            Event::Finished { failed: vec![], skipped: 0 }.to_line(),
            "{\"event\":\"finished\",\"failed\":[],\"skipped\":0}\n"
        );
        assert!(Event::from_line("[    4.2] habanalabs: hello").is_err());
    }

    #[test]
    fn a_step_says_in_words_what_it_does() {
        let words: Vec<String> = all_steps().iter().map(Step::describe).collect();
        assert_eq!(words[0], "load /lib/drm.ko");
        assert_eq!(words[2], "run /bin/coxswain-jobs --json");
        assert_eq!(words[6], "wait for /dev/accel/accel0");
        assert!(words.iter().all(|words| !words.contains('\n')));
    }
}
