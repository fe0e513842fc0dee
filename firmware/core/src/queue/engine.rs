//! Jobs given to the engine behind a QMAN: how many are in flight, and whether the engine is idle.
//!
//! The engine barrier concerns the engine, whoever started its jobs: a stream, another stream of the same QMAN, or the host
//! by MMIO. So an engine counts as idle only when every job started here has been reported done *and* the engine's own
//! status says so.

use coxswain_abi::regs::qman::EngineKind;
use coxswain_abi::regs::{dma_core, mme, tpc_cfg};

use crate::ports::Registers;

/// The engine of one QMAN.
pub(super) struct Engine {
    kind: EngineKind,
    base: u32,
    depth: u16,
    in_flight: u16,
    /// It stopped with an error; its jobs will not complete.
    stopped: bool,
}

/// What a write to an engine register means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// A configuration register.
    Configuration,
    /// Starts a job.
    Start,
    /// Would start an engine that this card does not have.
    Unsupported,
}

impl Engine {
    pub const fn new(kind: EngineKind, base: u32, depth: u16) -> Self {
        Self { kind, base, depth, in_flight: 0, stopped: false }
    }

    /// Forgets all jobs, as after a reset.
    pub fn reset(&mut self) {
        self.in_flight = 0;
        self.stopped = false;
    }

    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// What a write at window offset `offset` means.
    #[inline]
    pub fn effect(&self, offset: u32) -> Effect {
        match self.kind {
            _ if offset != self.start_register() => Effect::Configuration,
            EngineKind::Dma | EngineKind::Tpc => Effect::Start,
            EngineKind::Mme => Effect::Unsupported,
        }
    }

    /// Window offset of the register that starts a job, or would if there were such an engine.
    #[inline]
    pub const fn start_register(&self) -> u32 {
        match self.kind {
            EngineKind::Dma => dma_core::COMMIT,
            EngineKind::Tpc => tpc_cfg::TPC_EXECUTE,
            EngineKind::Mme => mme::CMD,
        }
    }

    /// True when a job can be started now.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.depth && !self.stopped
    }

    /// Jobs that were started and not reported done.
    pub fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Counts a job that was just posted.
    #[inline]
    pub fn started(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// A job was reported done.
    pub fn done(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The engine stopped with an error.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// True when the engine barrier opens.
    #[inline]
    pub fn is_idle<R: Registers>(&self, registers: &R) -> bool {
        self.in_flight == 0 && !self.stopped && self.hardware_idle(registers)
    }

    fn hardware_idle<R: Registers>(&self, registers: &R) -> bool {
        match self.kind {
            EngineKind::Dma => registers.read(self.base.wrapping_add(dma_core::STS0)) >> 31 == 0,
            EngineKind::Tpc => {
                registers.read(self.base.wrapping_add(tpc_cfg::STATUS)) & tpc_cfg::STATUS_IDLE == tpc_cfg::STATUS_IDLE
            }
            EngineKind::Mme => {
                registers.read(self.base.wrapping_add(mme::ARCH_STATUS)) & mme::ARCH_STATUS_IDLE
                    == mme::ARCH_STATUS_IDLE
            }
        }
    }
}
