//! Makes the outcome of a scenario independent of the order between streams.
//!
//! Streams of one QMAN share an engine, the queue of the lower CP and the arbiter; all streams can reach each other's fence
//! counters. What could come out differently from one legal order to another is taken out here:
//!
//! * Counters 0 to 2 are for signals between streams: a FENCE takes no more from them than it has waited for. Counter 3 is for
//!   clipping: only the host writes it, at rest.
//! * When several upper streams of a QMAN hand buffers to its lower CP, the buffers hold messages only, marked with their origin.
//! * In a strict scenario one stream of each QMAN uses the engine. Scenarios with arbiters are strict, their streams do not
//!   signal each other, and a marker message behind each request shows the order of the grants.

use std::collections::{BTreeMap, BTreeSet};

use coxswain_abi::regs::qman::LOWER;

use super::rules::{Facts, Rules, uses_engine};
use super::{Item, Program, QMANS, Scenario, Set, Setup, Step};
use crate::packet::{Action, Barriers, Packet};
/// Markers of grants: this plus 0x1000 times the QMAN plus 4 times the stream.
pub const MARKERS: u64 = 0x7F_F110_0000;
/// WAIT packets of a scenario for one QMAN: as many as firmware keeps at the same time.
const WAITS: usize = 16;

impl Scenario {
    /// The scenario with everything taken out whose outcome could depend on the order between streams.
    #[must_use]
    pub fn repair(mut self, set: Set) -> Self {
        let mut seen = BTreeSet::new();
        self.qmans.retain(|setup| QMANS.contains(&setup.number) && seen.insert(setup.number));
        if self.qmans.is_empty() {
            self.qmans.push(Setup { number: 2, stop_on_error: true, engine_depth: 2, ring_log2: 2 });
        }
        for setup in &mut self.qmans {
            setup.engine_depth = setup.engine_depth.clamp(1, 4);
            setup.ring_log2 = setup.ring_log2.min(4);
        }
        self.room = self.room.clamp(128, 4096);
        if !set.arbiter {
            self.steps.retain(|step| !matches!(step, Step::Arbiter { .. } | Step::Choose { .. }));
        }
        if !set.time {
            self.steps.retain(|step| !matches!(step, Step::Time { .. }));
        }
        for step in &mut self.steps {
            limit(step, self.qmans.len());
        }
        self.strict |= self.arbitrates();
        let mut facts = Facts {
            arbitrates: self.arbitrates(),
            has_slaves: self.steps.iter().any(|step| matches!(step, Step::Arbiter { slaves: 1.., .. })),
            engine_user: vec![None; self.qmans.len()],
            crowded: (0..self.qmans.len()).map(|qman| callers(&self.steps, qman).len() > 1).collect(),
            setups: self.qmans.clone(),
        };
        if self.strict {
            for qman in 0..facts.setups.len() {
                facts.engine_user[qman] = Some(engine_user(&self.steps, qman, &facts.setups));
            }
        }
        let facts = facts;
        for step in &mut self.steps {
            match step {
                Step::Submit { qman, stream, program, .. } => {
                    program.repair(Rules { scenario: &facts, set, setup: *qman, stream: *stream });
                }
                Step::StartLower { qman, program } => {
                    program.repair(Rules { scenario: &facts, set, setup: *qman, stream: LOWER });
                }
                Step::Time { milliseconds } => *milliseconds = (*milliseconds).clamp(1, 40),
                Step::Arbiter { qman, slaves, .. } => *slaves &= !(1 << *qman),
                _ => {}
            }
        }
        keep_types(&mut self.steps);
        self.steps.retain(|step| !disturbs_lower(step, &facts));
        limit_waits(&mut self.steps, facts.setups.len());
        self
    }
}

/// Brings the numbers of a step into their ranges.
fn limit(step: &mut Step, qmans: usize) {
    match step {
        Step::Submit { qman, stream, .. }
        | Step::BadProducer { qman, stream, .. }
        | Step::LoseRing { qman, stream }
        | Step::Choose { qman, stream } => {
            *qman %= qmans;
            *stream %= LOWER;
        }
        Step::Fence { qman, stream, id, increment } => {
            *qman %= qmans;
            *stream %= 5;
            *id %= 4;
            *increment %= 16;
        }
        Step::SetFence { qman, stream, id, value } => {
            *qman %= qmans;
            *stream %= 5;
            *id %= 4;
            // Only counter 3 comes near its limit.
            *value &= if *id == 3 { 0x3FFF } else { 0xF };
        }
        Step::FailMessage { qman, stream } | Step::ClearCauses { qman, stream } => {
            *qman %= qmans;
            *stream %= 5;
        }
        Step::Complete { qman }
        | Step::FailEngine { qman }
        | Step::Stop { qman, .. }
        | Step::Pause { qman, .. }
        | Step::Enable { qman, .. }
        | Step::StartLower { qman, .. }
        | Step::Arbiter { qman, .. } => *qman %= qmans,
        Step::CheckDoorbells | Step::Time { .. } | Step::Run { .. } | Step::Settle => {}
    }
}

/// Upper streams that hand buffers to the lower CP of a QMAN.
pub(super) fn callers(steps: &[Step], wanted: usize) -> BTreeSet<usize> {
    let mut streams = BTreeSet::new();
    for step in steps {
        match step {
            Step::Submit { qman, stream, program, .. }
                if *qman == wanted && program.items.iter().any(hands_to_lower) =>
            {
                streams.insert(*stream);
            }
            Step::StartLower { qman, .. } if *qman == wanted => {
                streams.insert(LOWER);
            }
            _ => {}
        }
    }
    streams
}

fn hands_to_lower(item: &Item) -> bool {
    matches!(item, Item::Call { .. } | Item::Packet(Packet { action: Action::CpDma { .. }, .. }))
}

/// The first stream of a QMAN whose programs use its engine.
fn engine_user(steps: &[Step], wanted: usize, setups: &[Setup]) -> usize {
    let number = setups.get(wanted).map_or(0, |setup| setup.number);
    let of_program = |program: &Program, stream: usize| program.engine_user(number, stream);
    steps
        .iter()
        .find_map(|step| match step {
            Step::Submit { qman, stream, program, .. } if *qman == wanted => of_program(program, *stream),
            Step::StartLower { qman, program } if *qman == wanted => of_program(program, LOWER),
            _ => None,
        })
        .unwrap_or(0)
}

/// Steps that would make the queue of a lower CP that several streams use stand still.
fn disturbs_lower(step: &Step, facts: &Facts) -> bool {
    let crowded = |qman: &usize| facts.crowded.get(*qman).copied().unwrap_or(false);
    match step {
        Step::Fence { qman, stream, .. } | Step::SetFence { qman, stream, .. } | Step::FailMessage { qman, stream } => {
            *stream == LOWER && crowded(qman)
        }
        Step::Stop { qman, streams } => *streams >> LOWER & 1 == 1 && crowded(qman),
        Step::StartLower { qman, .. } => crowded(qman),
        _ => false,
    }
}

/// An arbiter keeps its type: the document does not say what is left of a round when it changes.
fn keep_types(steps: &mut [Step]) {
    let mut types = BTreeMap::new();
    for step in steps {
        if let Step::Arbiter { qman, config, .. } = step {
            let kind = *types.entry(*qman).or_insert(*config & 1);
            *config = *config & !1 | kind;
        }
    }
}

/// Replaces WAIT packets that are too many by NOPs.
fn limit_waits(steps: &mut [Step], qmans: usize) {
    let mut left = vec![WAITS; qmans];
    for step in steps {
        let (qman, program) = match step {
            Step::Submit { qman, program, .. } | Step::StartLower { qman, program } => (*qman, program),
            _ => continue,
        };
        if let Some(left) = left.get_mut(qman) {
            program.limit_waits(left);
        }
    }
}

impl Program {
    pub(super) fn repair(&mut self, rules: Rules<'_>) {
        self.misalignment %= 8;
        let crowd = rules.stream == LOWER && rules.crowded();
        if crowd {
            self.missing = false;
            self.cut = 0;
        }
        for item in &mut self.items {
            item.repair(rules);
            if self.cut != 0 {
                item.leave_one_error();
            }
        }
        if rules.scenario.arbitrates && rules.stream != LOWER {
            if rules.scenario.has_slaves {
                self.pair_requests();
            }
            self.mark_grants(rules);
        }
    }

    /// Leaves only releases behind requests, and a release behind each request: what a release does before the master has
    /// told its slave anything depends on who is faster.
    fn pair_requests(&mut self) {
        let mut holds = false;
        for item in &mut self.items {
            if let Item::Packet(Packet { action, predicate, .. }) = item
                && let Action::ArbPoint { release, .. } = action
            {
                if *release == holds {
                    holds = !holds;
                    *predicate = 0;
                } else {
                    *action = Action::Nop;
                    *predicate = 0;
                }
            }
        }
        if holds {
            let action = Action::ArbPoint { priority: 0, release: true };
            self.items.push(Item::Packet(Packet::new(action, Barriers::default())));
        }
    }

    /// Puts a message behind every request.
    fn mark_grants(&mut self, rules: Rules<'_>) {
        let address = MARKERS + 0x1000 * rules.setup as u64 + 4 * rules.stream as u64;
        let action = Action::MessageLong { protected: false, address, value: 0, operation: 0 };
        let marker = Item::Packet(Packet::new(action, Barriers::default()));
        let is_request =
            |item: &Item| matches!(item, Item::Packet(Packet { action: Action::ArbPoint { release: false, .. }, .. }));
        self.items = std::mem::take(&mut self.items)
            .into_iter()
            .flat_map(|item| if is_request(&item) { vec![item, marker.clone()] } else { vec![item] })
            .collect();
    }

    fn engine_user(&self, number: usize, stream: usize) -> Option<usize> {
        self.items.iter().find_map(|item| match item {
            Item::Packet(packet) => uses_engine(packet, number).then_some(stream),
            Item::Call { barriers, .. } if barriers.engine => Some(stream),
            Item::Call { body, .. } => body.engine_user(number, LOWER),
            Item::LoadScalars { packet, .. } => uses_engine(packet, number).then_some(stream),
            Item::LoadPredicates { .. } => None,
        })
    }

    fn limit_waits(&mut self, left: &mut usize) {
        for item in &mut self.items {
            match item {
                Item::Call { body, .. } => body.limit_waits(left),
                Item::Packet(packet) => limit_wait(packet, left),
                Item::LoadScalars { packet, .. } => limit_wait(packet, left),
                Item::LoadPredicates { .. } => {}
            }
        }
    }
}

fn limit_wait(packet: &mut Packet, left: &mut usize) {
    if matches!(packet.action, Action::Wait { .. }) {
        if *left == 0 {
            packet.action = Action::Nop;
        } else {
            *left -= 1;
        }
    }
}
