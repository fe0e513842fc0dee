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

use std::collections::BTreeSet;

use coxswain_abi::regs::qman::{self as regs, EngineKind, LOWER};
use coxswain_abi::regs::{CFG_BASE, dma_core, mme, tpc_cfg};

use super::place::NOWHERE;
use super::{Item, Program, QMANS, Scenario, Set, Setup, Step};
use crate::packet::{Action, Barriers, Packet};

/// Where harmless messages go.
const QUIET: u64 = 0x7F_F010_0000;
/// Markers of grants: this plus 0x1000 times the QMAN plus 4 times the stream.
pub const MARKERS: u64 = 0x7F_F110_0000;
/// Milliseconds that pass at once.
const MILLISECOND: u32 = 1_000_000;
/// A window offset behind the start registers of all engines.
pub(super) const BEHIND_START: u16 = 0x940;
/// 64-bit values that fit between there and the end of the engine's block.
pub(super) const VALUES_BEHIND_START: usize = (0x1000 - BEHIND_START as usize) / 8;
/// WAIT packets of a scenario for one QMAN: as many as firmware keeps at the same time.
const WAITS: usize = 16;

/// Rules for the packets of one stream.
#[derive(Clone, Copy)]
struct Rules<'a> {
    scenario: &'a Facts,
    set: Set,
    setup: usize,
    stream: usize,
}

/// What the rules need to know of the whole scenario.
struct Facts {
    setups: Vec<Setup>,
    arbitrates: bool,
    /// A master of the scenario has slaves.
    has_slaves: bool,
    /// Per QMAN: the stream that may use the engine; `None` = any.
    engine_user: Vec<Option<usize>>,
    /// Per QMAN: several streams use the lower CP.
    crowded: Vec<bool>,
}

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
    fn repair(&mut self, rules: Rules<'_>) {
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

fn start_offset(number: usize) -> u32 {
    match regs::engine_kind(number) {
        EngineKind::Dma => dma_core::COMMIT,
        EngineKind::Tpc => tpc_cfg::TPC_EXECUTE,
        EngineKind::Mme => mme::CMD,
    }
}

/// Starts a job, or waits for the engine.
fn uses_engine(packet: &Packet, number: usize) -> bool {
    let start = start_offset(number);
    packet.barriers.engine
        || match &packet.action {
            Action::LinDma { .. } => true,
            Action::WriteRegister { offset, .. } => u32::from(*offset) == start,
            Action::WriteBulk { offset, values } => {
                (u32::from(*offset)..u32::from(*offset) + 8 * values.len() as u32).contains(&start)
            }
            _ => false,
        }
}

impl Rules<'_> {
    fn crowded(&self) -> bool {
        self.scenario.crowded.get(self.setup).copied().unwrap_or(false)
    }

    fn setup(&self) -> Option<&Setup> {
        self.scenario.setups.get(self.setup)
    }

    fn number(&self) -> usize {
        self.setup().map_or(0, |setup| setup.number)
    }

    fn may_use_engine(&self) -> bool {
        match self.scenario.engine_user.get(self.setup) {
            Some(Some(stream)) => *stream == self.stream,
            _ => true,
        }
    }

    /// An address where a message does nothing but signal a stream.
    fn address(&self, address: u64) -> u64 {
        let inside = address.wrapping_sub(CFG_BASE);
        let quiet = QUIET + (address & 0xFFF);
        let Some((number, offset)) = u32::try_from(inside).ok().and_then(|inside| regs::find(inside & !3)) else {
            // Its upper bytes must not be a FENCE packet when scalars are executed from the middle.
            return address & 0x00FF_FFFF_FFFF_FFFF;
        };
        let counters = regs::CP_FENCE0_RDATA_0..regs::CP_FENCE0_RDATA_0 + 3 * regs::FENCE_STRIDE;
        let index = offset.wrapping_sub(counters.start) % regs::FENCE_STRIDE / 4;
        let setup = self.scenario.setups.iter().position(|setup| setup.number == number);
        match setup {
            Some(setup) if counters.contains(&offset) && !self.scenario.arbitrates => {
                // A lower CP that several streams use must not stop.
                let stops = index as usize == LOWER && self.scenario.crowded.get(setup).copied().unwrap_or(false);
                if stops { quiet } else { address }
            }
            _ => quiet,
        }
    }

    /// A window offset that does not reach registers of the QMAN other than counters, nor the engine's start register when
    /// that is not allowed.
    fn offset(&self, offset: u16, registers: u32) -> u16 {
        let (first, end) = (u32::from(offset), u32::from(offset) + 4 * registers);
        let own = first < 0xA000 && end > 0x8000;
        if own {
            let target = u64::from(regs::base(self.number()) + first - 0x8000) + CFG_BASE;
            let fine = first >= 0x8000 && registers == 1 && self.address(target) == target;
            return if fine { offset } else { BEHIND_START };
        }
        let start = start_offset(self.number());
        if (first..end).contains(&start) && !self.may_use_engine() { BEHIND_START } else { offset }
    }

    /// An undefined command here. One in eight is left: programs that end at once say little.
    fn is_illegal(&self, action: &Action) -> bool {
        let is_external = self.setup().is_some_and(Setup::is_external);
        let is_lower = self.stream == LOWER;
        match action {
            Action::LinDma { size, .. } => {
                let legal = regs::engine_kind(self.number()) == EngineKind::Dma && (is_external || is_lower);
                !legal && size % 8 != 0
            }
            Action::CpDma { size, .. } => (is_external || is_lower) && size % 8 != 0,
            Action::ArbPoint { priority, .. } => is_lower && priority % 8 != 0,
            Action::MessageLong { operation: 2.., value, .. } | Action::MessageShort { operation: 2.., value, .. } => {
                value % 8 != 0
            }
            _ => false,
        }
    }

    fn packet(&self, packet: &mut Packet) {
        let set = self.set;
        let crowd = self.stream == LOWER && self.crowded();
        if crowd {
            packet.predicate = 0;
            packet.barriers.engine = false;
        }
        packet.barriers.engine &= self.may_use_engine();
        let replaced = match &packet.action {
            Action::WriteBulk { .. } => !set.bulk || crowd,
            Action::LoadAndExe { .. } => !set.load || crowd,
            Action::ArbPoint { .. } => !set.arbiter || crowd,
            Action::Wait { .. } => !set.time || crowd,
            // A buffer that exists is an `Item::Call`.
            Action::CpDma { .. } => self.crowded(),
            Action::LinDma { .. } | Action::Fence { .. } | Action::Stop => crowd,
            Action::Undefined { .. } => crowd,
            Action::MessageShort { .. } => crowd,
            Action::Nop | Action::MessageLong { .. } | Action::WriteRegister { .. } => false,
        } || matches!(packet.action, Action::LinDma { .. }) && !self.may_use_engine()
            || self.is_illegal(&packet.action);
        if replaced {
            packet.action = Action::Nop;
            packet.predicate = 0;
        }
        match &mut packet.action {
            Action::Fence { id, target, decrement } if *id != 3 => *decrement = (*decrement).min(*target),
            Action::Wait { id, cycles, .. } => {
                // Not on the edge between two moments at which anything is compared, which are whole milliseconds apart.
                *id %= 3;
                let fraction = *cycles % MILLISECOND;
                *cycles = *cycles - fraction + fraction.clamp(10_000, 900_000);
            }
            Action::MessageLong { address, value, operation, .. } => {
                *address = self.address(*address);
                if crowd {
                    *address &= !3;
                    *operation = 0;
                }
                if !set.time && *operation == 1 || regs::find(address.wrapping_sub(CFG_BASE) as u32).is_some() {
                    *operation = 0;
                }
                let _ = value;
            }
            Action::MessageShort { operation, .. } if !set.time && *operation == 1 => *operation = 0,
            Action::WriteRegister { offset, .. } => {
                *offset = self.offset(*offset, 1);
                if crowd {
                    *offset &= 0xFFC;
                    if u32::from(*offset) == start_offset(self.number()) {
                        *offset = BEHIND_START;
                    }
                }
            }
            Action::WriteBulk { offset, values } => *offset = self.offset(*offset, 2 * values.len() as u32),
            Action::CpDma { source, .. } | Action::LoadAndExe { source, load: true, .. } => *source = NOWHERE,
            Action::ArbPoint { release: false, .. } if self.scenario.arbitrates => packet.predicate = 0,
            _ => {}
        }
    }
}

impl Item {
    fn repair(&mut self, rules: Rules<'_>) {
        let crowd = rules.stream == LOWER && rules.crowded();
        match self {
            Self::Packet(packet) => rules.packet(packet),
            Self::Call { body, barriers, predicate } => {
                barriers.engine &= rules.may_use_engine();
                *predicate %= 32;
                let refused = rules.stream == LOWER || rules.setup().is_some_and(Setup::is_external);
                if crowd || refused && body.items.len() % 8 != 7 {
                    *self = Self::Packet(Packet::new(Action::Nop, Barriers::default()));
                    return;
                }
                let lower = Rules { stream: LOWER, ..rules };
                body.repair(lower);
                if rules.crowded() {
                    body.mark_origin(rules.stream as u32);
                }
            }
            Self::LoadPredicates { .. } | Self::LoadScalars { .. } if crowd || !rules.set.load => {
                *self = Self::Packet(Packet::new(Action::Nop, Barriers::default()));
            }
            Self::LoadPredicates { misalignment, predicate, .. } => {
                *misalignment %= 8;
                *predicate %= 32;
            }
            Self::LoadScalars { packet, second, predicate, .. } => {
                *predicate %= 32;
                rules.packet(packet);
                if matches!(packet.action, Action::Undefined { .. }) {
                    // The document does not say whether its barrier or its error comes first.
                    packet.barriers.engine = false;
                }
                // Only 16 bytes fit; 8 from R2 on.
                if packet.encode().len() > if *second { 8 } else { 16 } {
                    **packet = Packet::new(Action::Nop, packet.barriers);
                }
            }
        }
    }
}

impl Item {
    /// In a buffer that is cut off no packet waits for the engine, and no bulk write has another error: the document does not
    /// say what comes first.
    fn leave_one_error(&mut self) {
        match self {
            Self::Packet(packet) => {
                packet.barriers.engine = false;
                if let Action::WriteBulk { offset, values } = &mut packet.action
                    && (u32::from(*offset) + 8 * values.len() as u32 > 0x1000 || *offset % 4 != 0)
                {
                    *offset = BEHIND_START;
                    values.truncate(VALUES_BEHIND_START);
                }
            }
            Self::Call { barriers, .. } => barriers.engine = false,
            Self::LoadPredicates { .. } | Self::LoadScalars { .. } => {}
        }
    }
}

/// Bits of a message's value that name the upper stream it comes from.
pub const ORIGIN_SHIFT: u32 = 28;

impl Program {
    /// Marks the messages of a buffer with the stream that hands it to the lower CP.
    fn mark_origin(&mut self, stream: u32) {
        for item in &mut self.items {
            if let Item::Packet(Packet {
                action: Action::MessageLong { value, .. } | Action::WriteRegister { value, .. },
                ..
            }) = item
            {
                *value = *value & 0x0FFF_FFFF | stream << ORIGIN_SHIFT;
            }
        }
    }
}
