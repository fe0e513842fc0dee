//! Happenings on which the queue engine is known to disagree with the interpreter. They are kept as named tests
//! (`tests/found.rs`) and taken out of random scenarios, so that the search goes on behind them.

use coxswain_abi::regs::qman::LOWER;

use super::{Scenario, Step};

impl Scenario {
    /// The scenario without happenings on which the two sides are known to disagree.
    #[must_use]
    pub fn avoid_known(mut self) -> Self {
        let stops: Vec<bool> = self.qmans.iter().map(|setup| setup.stop_on_error).collect();
        let stops = |qman: &usize| stops.get(*qman).copied().unwrap_or(false);
        let enables: Vec<bool> = (0..self.qmans.len())
            .map(|index| self.steps.iter().any(|step| matches!(step, Step::Enable { qman, .. } if *qman == index)))
            .collect();
        let external: Vec<bool> = self.qmans.iter().map(super::Setup::is_external).collect();
        // A stream that is off, or may be.
        let is_off = |qman: &usize, stream: usize| {
            enables.get(*qman).copied().unwrap_or(false)
                || stream == LOWER && external.get(*qman).copied().unwrap_or(false)
        };
        self.steps.retain(|step| match step {
            // `an_unreadable_queue_without_stop_on_error_is_passed_over`
            Step::LoseRing { qman, .. } => stops(qman),
            // `a_lower_cp_that_is_off_stays_idle_when_a_user_starts_it`
            Step::StartLower { qman, .. } => !is_off(qman, LOWER),
            // `a_stream_that_is_off_stays_idle_when_an_error_is_reported_for_it`
            Step::FailMessage { qman, stream }
            | Step::Fence { qman, stream, id: 3, .. }
            | Step::SetFence { qman, stream, id: 3, .. } => !is_off(qman, *stream),
            _ => true,
        });
        self
    }
}
