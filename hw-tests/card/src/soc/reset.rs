//! Reset of the card and of its management CPU.
//!
//! For: the state after each kind of reset, the information page, and the way in and out of reset. Owns: the rule that the
//! card is in reset from a request until the *last* reset that was asked for is answered. Never: stops or starts the
//! management CPU; whoever answers [`super::Wires::request_cpu_reset`] does.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use coxswain_abi::regs::psoc;
use coxswain_abi::soc::{CORES, QMANS, ResetReason, bar0, control, core_block, info};

use super::chip::{Chip, lock};
use super::dma;
use super::i2c::Controller;
use super::psoc::resets_the_card;
use super::register_file::ResetScope;
use super::watchdog::Watchdog;

/// HBM below this address survives a reset of the card (`decisions.md` 3.11).
const SURVIVING_HBM: u64 = 256 << 20;

impl Chip {
    /// Returns the card to its state after a reset of this kind.
    ///
    /// The management CPU does not run meanwhile, and what runs afterwards has forgotten every index. Here alone the card
    /// writes indices that firmware owns: a core that goes on would publish a consumer index of before beside the producer
    /// index 0 of after, and find close to 2^32 entries in its notification ring. A kick under way does no harm.
    pub fn reset_state(&self, reason: ResetReason) {
        self.cpu_in_reset.store(true, Ordering::SeqCst);
        let mut rings: Vec<MutexGuard<'_, u32>> = self.rings.iter().map(lock).collect();
        let mut bus = lock(&self.bus);
        bus.request_cpu_reset(reason);
        bus.requests.cpu_reset = None;
        bus = self.wait_until_queues_rest(bus);
        if resets_the_card(reason) {
            bus = self.wait_until_engines_rest(bus);
            let scope = if reason == ResetReason::PowerOn { ResetScope::PowerOn } else { ResetScope::Software };
            self.hardware.registers.reset(scope);
            self.hardware.registers.write(psoc::BOOT_STRAP_PINS, self.options.straps);
            bus.fuses.show(&self.hardware.registers);
            bus.i2c = Controller::default();
            bus.i2c.show(&self.hardware.registers);
            bus.request_cpu_reset(reason);
            bus.requests.cpu_reset = None;
            bus.reset_units();
            let hbm = &self.hardware.memories.hbm;
            if let Some(len) = hbm.len().checked_sub(SURVIVING_HBM) {
                let _ = hbm.punch_hole(SURVIVING_HBM, len);
            }
        }
        bus.reset_is_answered(reason);
        bus.watchdog = Watchdog::default();
        bus.show_watchdog();
        bus.reset_notifications();
        for ring in &mut rings {
            **ring = 0;
        }
        self.reset_rings();
        self.write_info_page(reason);
    }

    fn reset_rings(&self) {
        let soc = &self.hardware.memories.soc;
        for core in 0..CORES {
            let block = core_block::offset(core);
            let _ = soc.write_u32(block + core_block::POSTED_PRODUCER, 0);
            let _ = soc.write_u32(block + core_block::POSTED_CONSUMER, 0);
            let _ = soc.store_release_u32(block + core_block::POSTED_IDLE, 1);
        }
        let _ = soc.write_bytes(bar0::CONTROL + control::ROUTE, &[0; QMANS]);
    }

    fn write_info_page(&self, reason: ResetReason) {
        let memories = &self.hardware.memories;
        let fields = [
            (info::VERSION, info::VERSION_VALUE),
            (info::POSTED_ENTRIES, core_block::POSTED_ENTRIES),
            (info::NOTIFY_ENTRIES, core_block::NOTIFY_ENTRIES),
            (info::RESET_REASON, reason as u32),
            (info::STRAPS, self.options.straps),
            (info::DMA_QUEUE_DEPTH, dma::QUEUE_DEPTH as u32),
            (info::LOCKSTEP, u32::from(self.options.lockstep)),
            (info::MAGIC, info::MAGIC_VALUE),
        ];
        let _ = memories.soc.write_u64(bar0::INFO + info::HOST_BYTES, memories.host.len());
        let _ = memories.soc.write_u64(bar0::INFO + info::HBM_BYTES, memories.hbm.len());
        for (field, value) in fields {
            let _ = memories.soc.store_release_u32(bar0::INFO + field, value);
        }
    }

    /// The management CPU runs again. Does nothing while a reset is due that nobody has answered with
    /// [`Self::reset_state`]: it was asked for after that of the reset which ends here, and has its own end.
    pub fn out_of_reset(&self) {
        let is_out = self.with_bus(|bus| {
            if bus.is_reset_due() {
                return false;
            }
            bus.in_reset = false;
            bus.refresh_engines();
            self.hardware.registers.write(psoc::BTM_FSM, 0);
            // Under the bus lock: a request that comes next sets it again, and must not be overwritten.
            self.cpu_in_reset.store(false, Ordering::SeqCst);
            true
        });
        if is_out {
            // The CPU may have run, and kicked, before this call.
            for core in 0..CORES {
                self.serve_ring(core);
            }
        }
    }

    /// True from the request of a reset until the CPU runs again.
    pub fn is_in_reset(&self) -> bool {
        self.cpu_in_reset.load(Ordering::SeqCst)
    }
}
