//! The card model: hardware only.
//!
//! One process holds the card: two PCI functions served over vfio-user ([`function`]), the memories behind them
//! ([`memory`]) and the SoC between them ([`soc`]). It behaves as `gaudi-soc.md`, `gaudi-mmu-sync.md` and `decisions.md` 3
//! say hardware behaves, and knows nothing of what firmware means.

pub mod function;
pub mod memory;
pub mod power;
pub mod soc;
pub mod vfio_user;
