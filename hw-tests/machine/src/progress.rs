//! What a person sees while the harness works: bars and spinners on a terminal, plain lines elsewhere.
//!
//! Everything goes to standard error, so that standard output carries only reports and the output of guest programs.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The place where progress is shown. Clones share the same terminal lines.
#[derive(Clone)]
pub struct Progress {
    bars: MultiProgress,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Silent,
}

impl Progress {
    /// Bars when standard error is a terminal, lines otherwise.
    #[must_use]
    pub fn new() -> Self {
        let mode = if std::io::stderr().is_terminal() { Mode::Bars } else { Mode::Lines };
        Self { bars: MultiProgress::new(), mode }
    }

    /// Shows nothing; for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self { bars: MultiProgress::new(), mode: Mode::Silent }
    }

    /// Prints one line above the bars.
    pub fn line(&self, text: impl AsRef<str>) {
        match self.mode {
            Mode::Bars => self.bars.suspend(|| write_line(text.as_ref())),
            Mode::Lines => write_line(text.as_ref()),
            Mode::Silent => {}
        }
    }

    /// Begins a task of unknown length.
    #[must_use]
    pub fn spinner(&self, what: impl Into<String>) -> Task {
        self.begin(what.into(), None)
    }

    /// Begins a task of `bytes` bytes.
    #[must_use]
    pub fn bytes(&self, what: impl Into<String>, bytes: u64) -> Task {
        self.begin(what.into(), Some((bytes, "{msg:30} {wide_bar} {bytes:>10}/{total_bytes:10}")))
    }

    /// Begins a task of `count` steps.
    #[must_use]
    pub fn steps(&self, what: impl Into<String>, count: u64) -> Task {
        self.begin(what.into(), Some((count, "{msg:30} {wide_bar} {pos:>5}/{len:5}")))
    }

    fn begin(&self, what: String, extent: Option<(u64, &str)>) -> Task {
        let bar = match (self.mode, extent) {
            (Mode::Bars, Some((length, template))) => {
                let bar = self.bars.add(ProgressBar::new(length));
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("=> "));
                }
                Some(bar)
            }
            (Mode::Bars, None) => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            (Mode::Lines, _) => {
                write_line(&format!("{what} ..."));
                None
            }
            (Mode::Silent, _) => None,
        };
        if let Some(bar) = &bar {
            bar.set_message(what.clone());
        }
        Task {
            progress: self.clone(),
            bar,
            what,
            started: Instant::now(),
            quarters: AtomicU64::new(0),
            extent: extent.map(|(length, _)| length),
        }
    }
}

/// Writes to standard error itself, not to what stands in for it while a test runs: the long steps of a test are work that
/// a person waits for.
fn write_line(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One running task; ends when dropped.
pub struct Task {
    progress: Progress,
    bar: Option<ProgressBar>,
    what: String,
    started: Instant,
    quarters: AtomicU64,
    extent: Option<u64>,
}

impl Task {
    /// Sets how far the task is, in the unit it was begun with.
    pub fn set(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            return;
        }
        // Without a terminal a long task says so once per quarter.
        let Some(length) = self.extent.filter(|length| *length > 0) else { return };
        let quarter = position.min(length).saturating_mul(4) / length;
        let slow = self.started.elapsed() > Duration::from_secs(1);
        if slow && quarter < 4 && self.quarters.fetch_max(quarter, Ordering::Relaxed) < quarter {
            self.progress.line(format!("{}: {} %", self.what, quarter * 25));
        }
    }

    /// Changes what is said about the task.
    pub fn say(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }

    /// Ends the task and leaves one line with its result and duration.
    pub fn done(self, result: impl AsRef<str>) {
        let seconds = self.started.elapsed().as_secs_f64();
        let text = format!("{} ({seconds:.1} s)", result.as_ref());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress.line(text);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A size as a person reads it: decimal units, three digits.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn sizes_are_written_with_the_unit_that_fits() {
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_bytes(1_500), "1.5 kB");
        assert_eq!(human_bytes(48_033_204), "48.0 MB");
        assert_eq!(human_bytes(2_500_000_000), "2.50 GB");
    }
}
