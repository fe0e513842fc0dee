//! The report of the main job: for a person, and as JSON.

use std::fmt::Write as _;

use coxswain_guest::jobs::record::{Record, Verdict};
use serde::Serialize;
use serde_json::Value;

use crate::logs::console::KernelFault;
use crate::progress::human_bytes;

/// All that a run of the main job has to tell.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// True when everything was as it must be.
    pub passed: bool,
    /// What was not, one line each.
    pub complaints: Vec<String>,
    /// What a person should know although it is no failure.
    pub notes: Vec<String>,
    /// What took part.
    pub versions: Versions,
    /// The way from power-on to the driver's verdict.
    pub boot: Vec<Milestone>,
    /// What the driver thinks of the card.
    pub driver: Driver,
    /// The jobs.
    pub jobs: Vec<Record>,
    /// What driver, sysfs and hwmon say about the card.
    pub card: Value,
    /// Reports of the guest's kernel that make a run fail.
    pub kernel_faults: Vec<KernelFault>,
    /// Fault reports of the firmware.
    pub firmware_faults: Vec<String>,
    /// Sizes of the images in bytes.
    pub image_bytes: Vec<(String, usize)>,
    /// Seconds from the start of the card to the end of the guest.
    pub run_seconds: f64,
    /// Seconds since the program was started, provisioning and builds included.
    pub total_seconds: f64,
    /// Where the logs are.
    pub folder: String,
}

/// Versions of what took part.
#[derive(Debug, Default, Serialize)]
pub struct Versions {
    /// Of this repository.
    pub coxswain: String,
    /// Of the emulators.
    pub qemu: String,
    /// Of the guest's kernel.
    pub kernel: String,
}

/// One stage of the boot.
#[derive(Debug, Serialize)]
pub struct Milestone {
    /// What was reached.
    pub what: String,
    /// Seconds since the card was started.
    pub at_seconds: f64,
    /// What it said about itself.
    pub version: String,
}

/// The driver's verdict.
#[derive(Debug, Default, Serialize)]
pub struct Driver {
    /// True when it logged that the device was added.
    pub added: bool,
    /// Its own words.
    pub message: String,
    /// From `insmod` to that message, in seconds.
    pub insmod_to_added_seconds: Option<f64>,
    /// The device's status in sysfs.
    pub status: String,
}

impl Report {
    /// The report for a person: under 80 columns where the facts allow it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out)?;
        writeln!(
            out,
            "Coxswain {} - QEMU {}, Linux {}",
            self.versions.coxswain, self.versions.qemu, self.versions.kernel
        )?;
        writeln!(out)?;
        writeln!(out, "Boot")?;
        for Milestone { what, at_seconds, version } in &self.boot {
            writeln!(out, "  {at_seconds:7.2} s  {what:<18}{version}")?;
        }
        writeln!(out)?;
        let verdict = if self.driver.added { &self.driver.message } else { "the driver did not accept the card" };
        write!(out, "Driver  {verdict}")?;
        if let Some(seconds) = self.driver.insmod_to_added_seconds {
            write!(out, " ({seconds:.2} s after insmod)")?;
        }
        writeln!(out)?;
        if !self.driver.status.is_empty() {
            writeln!(out, "        status {}", self.driver.status)?;
        }
        if !self.jobs.is_empty() {
            writeln!(out)?;
            self.write_jobs(out)?;
        }
        writeln!(out)?;
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for complaint in &self.complaints {
            writeln!(out, "FAILED: {complaint}")?;
        }
        let word = if self.passed { "PASSED" } else { "FAILED" };
        writeln!(out, "{word}  run {:.1} s, all {:.1} s; logs in {}", self.run_seconds, self.total_seconds, self.folder)
    }

    fn write_jobs(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "Jobs{:>28}{:>9}{:>12}{:>12}{:>11}{:>11}", "bytes", "times", "median", "99 %", "rate", "result")?;
        for record in &self.jobs {
            let latency = |pick: fn(&coxswain_guest::jobs::record::Latency) -> f64| {
                record.latency_us.as_ref().map_or_else(|| "-".to_owned(), |latency| time(pick(latency)))
            };
            let rate = match (record.per_s, record.gb_per_s) {
                (Some(per_s), _) => format!("{per_s:.0}/s"),
                (None, Some(gb_per_s)) => format!("{}/s", human_bytes((gb_per_s * 1e9) as u64)),
                (None, None) => "-".to_owned(),
            };
            let result = if record.result == Verdict::Pass { "pass" } else { "FAIL" };
            writeln!(
                out,
                "  {:<20}{:>10}{:>9}{:>12}{:>12}{:>11}{:>11}",
                record.job,
                record.bytes,
                record.submissions,
                latency(|latency| latency.p50),
                latency(|latency| latency.p99),
                rate,
                result
            )?;
            if let Some(error) = &record.error {
                writeln!(out, "      {error} (seed {})", record.seed)?;
            }
        }
        Ok(())
    }
}

/// A time given in microseconds, with the unit that fits.
fn time(microseconds: f64) -> String {
    if microseconds < 1e3 {
        format!("{microseconds:.0} us")
    } else if microseconds < 1e6 {
        format!("{:.2} ms", microseconds / 1e3)
    } else {
        format!("{:.2} s", microseconds / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!(time(463.4), "463 us");
        assert_eq!(time(46_300.0), "46.30 ms");
        assert_eq!(time(2_500_000.0), "2.50 s");
    }

    #[test]
    fn a_failed_job_is_shown_with_its_reason() {
        let report =
            Report { jobs: vec![Record::failed("host-hbm", 4096, 7, "byte 3 differs".into())], ..Report::default() };
        let text = report.to_text();
        assert!(text.contains("FAIL\n      byte 3 differs (seed 7)\n"), "{text}");
        assert!(text.contains("the driver did not accept the card"));
    }
}
