//! The driver's hard reset (`gaudi-soc.md` 11 and 12): halt the engines, let firmware take its leave, reset the units.

use crate::memory::Allocator;
use crate::paging::PageTables;
use crate::{Host, HostError, control, hardware, loader};
use coxswain_abi::comms::ResetCause;
use coxswain_abi::cpucp::opcode;
use coxswain_abi::regs::psoc;
use coxswain_abi::regs::{GICD_SETSPI_NSR, pcie};
use std::time::Duration;

impl Host {
    /// Resets the card as the driver does (`gaudi-soc.md` 11 and 12) and waits for the ROM; [`Self::bring_up`] makes it
    /// useful again. Everything that was mapped or pending is gone. `cause` is told to the ROM at the next load.
    ///
    /// # Errors
    /// Firmware does not take its leave, or the ROM does not come back.
    pub fn reset(&mut self, cause: Option<ResetCause>) -> Result<(), HostError> {
        if self.control.is_some() && cause != Some(ResetCause::Heartbeat) {
            self.packet(opcode::DISABLE_PCI_ACCESS, 0, 0, 0)?;
        }
        if self.queues.is_some() {
            for step in ["halt.1", "halt.2", "halt.3", "halt.4"] {
                hardware::replay(&self.link, step, |_, _| None)?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.link.enable_msi(false)?;
        self.cause = cause;
        self.hard_reset()
    }

    pub(crate) fn hard_reset(&mut self) -> Result<(), HostError> {
        let link = &self.link;
        link.write(pcie::AUX_FLR_CTRL, 3);
        if self.loaded {
            link.write(GICD_SETSPI_NSR, control::HALT_MACHINE);
        } else {
            loader::go_to_wait(link, &self.bounds)?;
        }
        // SOFT_RST_CFG_H and _L, then the units of the reset (`boot-protocol.md` 2.4).
        link.write(0xC4_B4A8, 0x000F_C01F);
        link.write(0xC4_B4A4, 0xFE00_0000);
        link.write(psoc::SW_ALL_RST_CFG_H, 0x003F_FFFF);
        link.write(psoc::SW_ALL_RST_CFG_L, 0xFFE0_0001);
        std::thread::sleep(self.bounds.halt);
        link.write(psoc::COLD_RST_FLOPS_1, 0xED7B_D694);
        link.write(psoc::BOOT_SEQ_RE_START, 1);
        link.write(psoc::SW_ALL_RST, 1);
        link.wait_register(psoc::BTM_FSM, "BTM_FSM after the reset", self.bounds.reset, |value| value & 0xF == 0)?;

        self.loaded = false;
        self.control = None;
        self.queues = None;
        self.events.clear();
        self.tables = PageTables::default();
        self.allocator = Allocator::new(self.link.memory().len());
        loader::wait_preboot(&self.link, &self.bounds)?;
        if self.link.read(psoc::HW_STATE) != 0 {
            return Err(HostError::protocol("HW_STATE is still dirty after a reset"));
        }
        Ok(())
    }
}
