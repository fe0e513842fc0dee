//! Happenings on which the queue engine is known to disagree with the interpreter. They are kept as named tests
//! (`tests/found.rs`) and taken out of random scenarios, so that the search goes on behind them.

use coxswain_abi::regs::qman::LOWER;

use super::rules::{BEHIND_START, VALUES_BEHIND_START};
use super::{Item, Program, Scenario, Step};
use crate::packet::{Action, Packet};

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
            // `a_stream_that_is_off_stays_idle_when_an_error_is_reported_for_it`
            Step::FailMessage { qman, stream }
            | Step::Fence { qman, stream, id: 3, .. }
            | Step::SetFence { qman, stream, id: 3, .. } => !is_off(qman, *stream),
            _ => true,
        });
        for step in &mut self.steps {
            if let Step::Submit { qman, program, .. } | Step::StartLower { qman, program } = step {
                program.mend_bulk_writes(stops(qman));
            }
        }
        self
    }
}

impl Program {
    /// Bulk writes that are neither empty and misaligned nor, without stop-on-error, refused or
    /// cut off.
    fn mend_bulk_writes(&mut self, stops: bool) {
        let is_cut = self.cut != 0;
        for item in &mut self.items {
            match item {
                Item::Packet(Packet { action: Action::WriteBulk { offset, values }, .. }) => {
                    // `a_bulk_write_that_is_cut_off_is_passed_over_with_its_values`
                    if is_cut && !stops {
                        values.clear();
                    }
                    // `an_empty_bulk_write_does_nothing_whatever_its_offset`
                    if values.is_empty() {
                        *offset &= !3;
                    }
                    // `a_refused_bulk_write_is_passed_over_with_its_values`
                    let end = u32::from(*offset) + 8 * values.len() as u32;
                    if !stops && (end > 0x1000 || *offset % 4 != 0) {
                        *offset = BEHIND_START;
                        values.truncate(VALUES_BEHIND_START);
                    }
                }
                Item::Call { body, .. } => body.mend_bulk_writes(stops),
                Item::Packet(_) | Item::LoadPredicates { .. } | Item::LoadScalars { .. } => {}
            }
        }
    }
}
