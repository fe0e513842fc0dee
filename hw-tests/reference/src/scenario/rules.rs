//! The rules of [`Scenario::repair`](super::Scenario::repair) for one packet, given what it must know of the whole scenario.

use coxswain_abi::regs::qman::{self as regs, EngineKind, LOWER};
use coxswain_abi::regs::{CFG_BASE, dma_core, mme, tpc_cfg, within};

use super::place::NOWHERE;
use super::{Item, Program, Set, Setup};
use crate::packet::{Action, Barriers, Packet};

/// Where harmless messages go.
const QUIET: u64 = 0x7F_F010_0000;
/// Milliseconds that pass at once.
const MILLISECOND: u32 = 1_000_000;
/// A window offset behind the start registers of all engines.
const BEHIND_START: u16 = 0x940;
/// 64-bit values that fit between there and the end of the engine's block.
const VALUES_BEHIND_START: usize = (0x1000 - BEHIND_START as usize) / 8;

/// Rules for the packets of one stream.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) scenario: &'a Facts,
    pub(super) set: Set,
    pub(super) setup: usize,
    pub(super) stream: usize,
}

/// What the rules need to know of the whole scenario.
pub(super) struct Facts {
    pub(super) setups: Vec<Setup>,
    pub(super) arbitrates: bool,
    /// A master of the scenario has slaves.
    pub(super) has_slaves: bool,
    /// Per QMAN: the stream that may use the engine; `None` = any.
    pub(super) engine_user: Vec<Option<usize>>,
    /// Per QMAN: several streams use the lower CP.
    pub(super) crowded: Vec<bool>,
}

fn start_offset(number: usize) -> u32 {
    match regs::engine_kind(number) {
        EngineKind::Dma => dma_core::COMMIT,
        EngineKind::Tpc => tpc_cfg::TPC_EXECUTE,
        EngineKind::Mme => mme::CMD,
    }
}

/// Starts a job, or waits for the engine.
pub(super) fn uses_engine(packet: &Packet, number: usize) -> bool {
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
    pub(super) fn crowded(&self) -> bool {
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
        // Jobs that messages start are not the queue's: EB covers what WREG starts (`qman.md` 5.2).
        let is_engine = |number: usize| within(address, CFG_BASE + u64::from(regs::engine_base(number)), 0x1000);
        if (0..coxswain_abi::soc::QMANS).any(is_engine) {
            return quiet;
        }
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
            Action::MessageShort { base, offset, operation, .. } => {
                if !set.time && *operation == 1 {
                    *operation = 0;
                }
                if *base < 2 {
                    // The first DMA core is not far behind these bases.
                    *offset = (*offset).min(0xBFFC);
                }
            }
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
    pub(super) fn repair(&mut self, rules: Rules<'_>) {
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
    pub(super) fn leave_one_error(&mut self) {
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
