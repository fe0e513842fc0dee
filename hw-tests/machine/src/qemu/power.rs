//! Power and reset of the management CPU for the card, through QEMU's control connection.

use std::sync::Arc;

use coxswain_card::CpuPower;

use super::qmp::Qmp;

/// The management CPU's QEMU as the card sees it.
pub struct QemuPower(Arc<Qmp>);

impl QemuPower {
    /// Control over the machine behind `qmp`.
    #[must_use]
    pub fn new(qmp: Arc<Qmp>) -> Self {
        Self(qmp)
    }
}

impl CpuPower for QemuPower {
    fn hold(&self) -> anyhow::Result<()> {
        self.0.stop()
    }

    fn release(&self) -> anyhow::Result<()> {
        // The machine is stopped: it is reset first and runs only then.
        self.0.reset()?;
        self.0.cont()
    }
}
