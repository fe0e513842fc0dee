//! Everything that a host can write about a few QMANs, on the queue engine and on the reference interpreter
//! (`coxswain_reference::run_bytes`).

use crate::mutate::Random;
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "queue_programs",
    run,
    seeds,
    milestones: &[
        "a bus write was compared",
        "an arbiter granted",
        "arbiter",
        "barrier",
        "engine",
        "failed",
        "fence",
        "lower queue",
        "nothing",
        "stopped",
    ],
};

/// Runs one input.
///
/// # Panics
/// When the two disagree, with the scenario reduced to what matters.
pub fn run(bytes: &[u8]) -> Reached {
    let coverage = coxswain_reference::run_bytes(bytes);
    let mut reached: Reached = coverage.waiting.into_iter().collect();
    if coverage.writes > 0 {
        reached.insert("a bus write was compared");
    }
    if coverage.grants > 0 {
        reached.insert("an arbiter granted");
    }
    reached
}

/// Any bytes are a scenario.
fn seeds() -> Vec<Vec<u8>> {
    let mut random = Random::new(0x51);
    (0..24).map(|_| (0..random.below(600)).map(|_| random.next() as u8).collect()).collect()
}
