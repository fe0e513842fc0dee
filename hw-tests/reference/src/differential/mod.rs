//! Plays a scenario on the queue engine and on the interpreter, and compares.
//!
//! Both sides get the same happenings. Each comes to rest in its own order of streams; what must agree then is, for each
//! stream, the bus writes in order, the reason why it waits, its registers, and for each QMAN the jobs in flight, the events
//! and the global status. The order of grants of an arbiter must agree too.
//!
//! * [`board`] - the hardware around the queue engine.
//! * [`engine_side`], [`reference_side`] - the two interpreters behind one set of happenings.
//! * [`configure`] - registers as the driver sets them.
//! * [`play`] - the scenario's steps. [`compare`] - what must agree.

mod board;
mod compare;
pub mod configure;
mod engine_side;
mod play;
mod reference_side;

use std::collections::BTreeSet;
use std::fmt;

use crate::machine::Waiting;
use crate::scenario::{Scenario, Set};

/// Where the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Index of the step before which, or at whose end, it was seen.
    pub step: usize,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at step {}: {}", self.step, self.what)
    }
}

/// What a scenario came across: evidence that a test looked at something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Bus writes that were compared.
    pub writes: usize,
    /// Comparisons.
    pub comparisons: usize,
    /// Grants of arbiters whose order was compared.
    pub grants: usize,
    /// Cause bits seen at a comparison.
    pub causes: u32,
    /// Reasons seen at a comparison.
    pub waiting: BTreeSet<&'static str>,
}

impl Coverage {
    /// Adds what another scenario came across.
    pub fn merge(&mut self, other: &Self) {
        self.writes += other.writes;
        self.comparisons += other.comparisons;
        self.grants += other.grants;
        self.causes |= other.causes;
        self.waiting.extend(other.waiting.iter());
    }
}

/// Name of a reason to wait.
#[must_use]
pub fn name(waiting: Option<Waiting>) -> &'static str {
    match waiting {
        None => "nothing",
        Some(Waiting::Fence { .. }) => "fence",
        Some(Waiting::Engine) => "engine",
        Some(Waiting::Barrier) => "barrier",
        Some(Waiting::LowerQueue) => "lower queue",
        Some(Waiting::Arbiter) => "arbiter",
        Some(Waiting::Stopped) => "stopped",
        Some(Waiting::Failed) => "failed",
    }
}

/// Plays a repaired scenario on both and compares everything.
///
/// # Errors
/// The first [`Disagreement`].
pub fn run(scenario: &Scenario) -> Result<Coverage, Disagreement> {
    play::Player::new(scenario).play()
}

/// Plays the scenario that arbitrary bytes stand for: the whole of a fuzz target.
///
/// # Panics
/// With the scenario as text when the two sides disagree.
#[allow(clippy::panic, reason = "the answer of a fuzz target")]
pub fn run_bytes(bytes: &[u8]) -> Coverage {
    let scenario = Scenario::from_bytes(bytes, Set::ALL);
    match run(&scenario) {
        Ok(coverage) => coverage,
        Err(_) => {
            let scenario = scenario.minimise(&|scenario| run(scenario).is_err());
            panic!("{:?}\n{scenario}", run(&scenario).err())
        }
    }
}
