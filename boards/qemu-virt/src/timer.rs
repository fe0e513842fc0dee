//! Sleeping: the physical EL1 timer and WFI.

use cortex_a::asm::barrier;
use cortex_a::registers::{CNTP_CTL_EL0, CNTP_CVAL_EL0, Writeable};

use crate::gic;

/// Sleeps until an interrupt is pending on this core, at the latest when the counter reaches `wake_at` ticks. Takes
/// everything that is pending before it returns.
///
/// Interrupts are masked in PSTATE for the whole life of an image, so an interrupt that arrives before WFI makes WFI return
/// at once: there is no window to lose it in.
pub fn sleep(wake_at: Option<u64>) {
    if let Some(tick) = wake_at {
        CNTP_CVAL_EL0.set(tick);
        CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::SET);
    }
    barrier::dsb(barrier::SY);
    barrier::isb(barrier::SY);
    cortex_a::asm::wfi();
    if wake_at.is_some() {
        // The timer interrupt is level triggered: silence it before it is acknowledged.
        CNTP_CTL_EL0.set(0);
        barrier::isb(barrier::SY);
    }
    gic::acknowledge_all();
}
