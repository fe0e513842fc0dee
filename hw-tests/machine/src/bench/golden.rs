//! The golden file: figures of operations that must not change unnoticed.
//!
//! A figure that moves by more than [`TOLERANCE`] fails the check in either direction: a gain is written down as well as a
//! loss is repaired or explained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Change of a figure that is still the same.
pub const TOLERANCE: f64 = 0.05;

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// Where the golden file is.
#[must_use]
pub fn path() -> PathBuf {
    crate::images::workspace().join("hw-tests/golden/on-target.json")
}

/// Reads a golden file.
///
/// # Errors
/// It cannot be read or is not a JSON object of numbers.
pub fn load(path: &Path) -> anyhow::Result<Figures> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not an object of numbers", path.display()))
}

/// Writes a golden file.
///
/// # Errors
/// It cannot be written.
pub fn store(path: &Path, figures: &Figures) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(figures).context("cannot write figures")?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How a figure stands to its golden value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Moved by this part of the golden value.
    Changed(f64),
    /// There is no golden value.
    New,
    /// It was not measured.
    Missing,
}

/// Compares measured figures with golden ones, by name.
#[must_use]
pub fn compare(measured: &Figures, golden: &Figures) -> Vec<(String, Verdict)> {
    let names: std::collections::BTreeSet<&String> = measured.keys().chain(golden.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let verdict = match (measured.get(name), golden.get(name)) {
                (Some(now), Some(before)) => {
                    let change = if now == before { 0.0 } else { (now - before) / before.abs().max(f64::MIN_POSITIVE) };
                    if change.abs() <= TOLERANCE { Verdict::Same } else { Verdict::Changed(change) }
                }
                (Some(_), None) => Verdict::New,
                _ => Verdict::Missing,
            };
            (name.clone(), verdict)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(&str, f64)]) -> Figures {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_figure_may_move_by_five_per_cent_and_not_by_six() {
        let golden = figures(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 0.0), ("gone", 1.0)]);
        let now = figures(&[("a", 105.0), ("b", 106.0), ("c", 94.0), ("d", 0.0), ("fresh", 1.0)]);
        let verdicts: BTreeMap<_, _> = compare(&now, &golden).into_iter().collect();
        assert_eq!(verdicts["a"], Verdict::Same);
        assert!(matches!(verdicts["b"], Verdict::Changed(change) if (change - 0.06).abs() < 1e-9));
        assert!(matches!(verdicts["c"], Verdict::Changed(change) if (change + 0.06).abs() < 1e-9));
        assert_eq!(verdicts["d"], Verdict::Same);
        assert_eq!(verdicts["gone"], Verdict::Missing);
        assert_eq!(verdicts["fresh"], Verdict::New);
    }
}
