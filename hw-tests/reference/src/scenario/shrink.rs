//! Smaller scenarios that still show the same kind of failure.

use super::repair::MARKERS;
use super::{Item, Program, Scenario, Step};
use crate::packet::{Action, Packet};

impl Scenario {
    /// Takes out steps, packets and trimmings as long as `fails` says that the rest still fails. The result is small, not
    /// the smallest.
    #[must_use]
    pub fn minimise(mut self, fails: &dyn Fn(&Self) -> bool) -> Self {
        while let Some(smaller) = self.smaller().into_iter().find(|candidate| fails(candidate)) {
            self = smaller;
        }
        self
    }

    /// Scenarios with one thing less, the biggest cuts first.
    fn smaller(&self) -> Vec<Self> {
        let mut all = vec![];
        let steps = self.steps.len();
        // Halves and quarters first.
        for part in [steps / 2, steps / 4, 1] {
            for start in (0..steps).step_by(part.max(1)) {
                let mut smaller = self.clone();
                smaller.steps.drain(start..(start + part.max(1)).min(steps));
                all.push(smaller);
            }
        }
        if self.qmans.len() > 1 {
            // Indices stay valid when the last one goes; a step that named it keeps it.
            let last = self.qmans.len() - 1;
            if self.steps.iter().all(|step| step.qman() != Some(last)) {
                let mut smaller = self.clone();
                smaller.qmans.pop();
                all.push(smaller);
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            if let Step::Submit { program, .. } | Step::StartLower { program, .. } = step {
                let sections = program.has_sections();
                for program in program.smaller() {
                    if !program.is_marked() || sections && !program.has_sections() {
                        continue;
                    }
                    let mut smaller = self.clone();
                    if let Some(Step::Submit { program: slot, .. } | Step::StartLower { program: slot, .. }) =
                        smaller.steps.get_mut(index)
                    {
                        *slot = program;
                    }
                    all.push(smaller);
                }
            }
        }
        all
    }
}

impl Step {
    /// The QMAN that the step names.
    fn qman(&self) -> Option<usize> {
        match self {
            Self::Submit { qman, .. }
            | Self::Fence { qman, .. }
            | Self::SetFence { qman, .. }
            | Self::Complete { qman }
            | Self::FailEngine { qman }
            | Self::Stop { qman, .. }
            | Self::Pause { qman, .. }
            | Self::Enable { qman, .. }
            | Self::StartLower { qman, .. }
            | Self::FailMessage { qman, .. }
            | Self::BadProducer { qman, .. }
            | Self::LoseRing { qman, .. }
            | Self::ClearCauses { qman, .. }
            | Self::Arbiter { qman, .. }
            | Self::Choose { qman, .. } => Some(*qman),
            Self::CheckDoorbells | Self::Time { .. } | Self::Run { .. } | Self::Settle => None,
        }
    }
}

/// A request (true) or a release (false).
fn arbitrates(item: &Item) -> Option<bool> {
    match item {
        Item::Packet(Packet { action: Action::ArbPoint { release, .. }, .. }) => Some(!*release),
        _ => None,
    }
}

fn is_marker(item: &Item) -> bool {
    let Item::Packet(Packet { action: Action::MessageLong { address, .. }, .. }) = item else { return false };
    (MARKERS..MARKERS + 0x1_0000).contains(address)
}

impl Program {
    /// Markers stand behind requests and, when there are any, behind every request: without, they show nothing.
    fn is_marked(&self) -> bool {
        let marked = self.items.iter().any(is_marker);
        let behind = |index: usize| self.items.get(index + 1).is_some_and(is_marker);
        let fine = |(index, item): (usize, &Item)| behind(index) == (arbitrates(item) == Some(true));
        !marked || !self.items.first().is_some_and(is_marker) && self.items.iter().enumerate().all(fine)
    }

    /// Requests and releases alternate.
    fn has_sections(&self) -> bool {
        let points: Vec<bool> = self.items.iter().filter_map(arbitrates).collect();
        points.iter().enumerate().all(|(index, request)| *request == index.is_multiple_of(2))
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all = vec![];
        let items = self.items.len();
        for part in [items / 2, 1] {
            for start in (0..items).step_by(part.max(1)) {
                let mut smaller = self.clone();
                smaller.items.drain(start..(start + part.max(1)).min(items));
                all.push(smaller);
            }
        }
        if self.misalignment != 0 {
            all.push(Self { misalignment: 0, ..self.clone() });
        }
        if self.cut != 0 {
            all.push(Self { cut: 0, ..self.clone() });
        }
        for (index, item) in self.items.iter().enumerate() {
            for item in item.smaller() {
                let mut smaller = self.clone();
                smaller.items[index] = item;
                all.push(smaller);
            }
        }
        all
    }
}

impl Item {
    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Call { body, barriers, predicate } => body
                .smaller()
                .into_iter()
                .map(|body| Self::Call { body, barriers: *barriers, predicate: *predicate })
                .collect(),
            Self::Packet(packet) => {
                let mut plain = packet.clone();
                plain.barriers = Default::default();
                if let Action::WriteBulk { values, .. } = &mut plain.action {
                    values.truncate(values.len() / 2);
                }
                if plain == *packet { vec![] } else { vec![Self::Packet(plain)] }
            }
            Self::LoadPredicates { .. } | Self::LoadScalars { .. } => vec![],
        }
    }
}
