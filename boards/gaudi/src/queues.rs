//! The eighteen queue managers and the engines behind them (`gaudi-soc.md` 3, `qman.md` 1.1).

use coxswain_abi::regs::qman::{self, EngineKind};
use coxswain_abi::soc::QMANS;
use coxswain_core::queue::{QmanDescription, QueueEngine};

/// Launches that a TPC accepts, the one in execution included (WQ_CREDITS, `gaudi-mmu-sync.md` 4.1).
const TPC_DEPTH: u16 = 4;

/// Describes QMAN `number` (0..18: DMA0-7, TPC0-7, MME0, MME2) of a card whose DMA cores accept `dma_depth` descriptors, the
/// one in execution included.
#[must_use]
pub const fn description(number: usize, dma_depth: u16) -> QmanDescription {
    let engine = qman::engine_kind(number);
    QmanDescription {
        number: number as u8,
        base: qman::base(number),
        engine_base: qman::engine_base(number),
        engine,
        engine_depth: match engine {
            EngineKind::Dma => dma_depth,
            EngineKind::Tpc => TPC_DEPTH,
            EngineKind::Mme => 0,
        },
    }
}

/// Adds all queue managers to `engine`.
pub fn add_all(engine: &mut QueueEngine, dma_depth: u16) {
    for number in 0..QMANS {
        engine.add(description(number, dma_depth));
    }
}
