//! Happenings on which the queue engine is known to disagree with the interpreter. They are kept as named tests
//! (`tests/found.rs`) and taken out of random scenarios, so that the search goes on behind them.

use std::collections::BTreeMap;

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
        let arbitrates = self.arbitrates();
        self.steps.retain(|step| match step {
            // `a_request_is_granted_when_the_owner_is_switched_off`
            Step::Enable { .. } => !arbitrates,
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
        // `a_grant_waits_for_the_lower_cp_too`
        if arbitrates {
            let mut left = vec![3; self.qmans.len()];
            for step in &mut self.steps {
                if let Step::Submit { qman, program, .. } = step
                    && let Some(left) = left.get_mut(*qman)
                {
                    program.limit_calls(left);
                }
            }
        }
        // `a_request_that_passed_because_its_stream_was_masked_is_not_granted_later`
        let mut masks = BTreeMap::new();
        for step in &mut self.steps {
            if let Step::Arbiter { qman, config, .. } = step {
                let mask = *masks.entry(*qman).or_insert(*config & 0xF000);
                *config = *config & !0xF000 | mask;
            }
        }
        // `a_slaves_release_lets_the_next_choice_pass`: the first QMAN returns its credits to itself, which wakes it.
        for step in &mut self.steps {
            match step {
                Step::Arbiter { slaves, .. } => *slaves &= 1,
                Step::Choose { qman, .. } => *qman = 0,
                _ => {}
            }
        }
        // `a_grant_is_not_lost_when_the_posted_ring_is_full`
        if self.arbitrates() {
            self.room = 1 << 16;
        }
        for step in &mut self.steps {
            if let Step::Submit { qman, program, .. } | Step::StartLower { qman, program } = step {
                program.mend_bulk_writes(stops(qman));
            }
        }
        self
    }
}

impl Program {
    /// Replaces CP_DMA packets that are too many by NOPs.
    fn limit_calls(&mut self, left: &mut usize) {
        for item in &mut self.items {
            if matches!(item, Item::Call { .. } | Item::Packet(Packet { action: Action::CpDma { .. }, .. })) {
                if *left == 0 {
                    *item = Item::Packet(Packet::new(Action::Nop, Default::default()));
                } else {
                    *left -= 1;
                }
            }
        }
    }

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
