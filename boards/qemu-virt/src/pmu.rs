//! Counting retired instructions with the performance monitor (event 0x08, INST_RETIRED).
//!
//! Exact on a machine with `-icount` and one running core; reads 0 without (`emulation.md` 4). The counter has 32 bits and
//! runs over all stages. In Secure state it counts because the ROM sets MDCR_EL3.SPME.

use core::arch::asm;

/// PMEVTYPER event number of INST_RETIRED; no filter bits: all exception levels count.
const INST_RETIRED: u64 = 0x08;

/// Starts the counter of this core from 0; done once, by the ROM, and by a queue core when it starts.
pub fn start() {
    // SAFETY: performance-monitor registers only; accessible because MDCR_EL3.TPM is 0.
    unsafe {
        asm!(
            "msr pmevtyper0_el0, {event}",
            "msr pmevcntr0_el0, xzr",
            "msr pmcntenset_el0, {one}",
            "msr pmcr_el0, {one}",
            "isb",
            event = in(reg) INST_RETIRED,
            one = in(reg) 1_u64,
            options(nomem, nostack),
        );
    }
}

/// Instructions retired since [`start`], modulo 2^32.
#[inline]
#[must_use]
pub fn instructions() -> u32 {
    let count: u64;
    // SAFETY: reads a performance-monitor register; the barrier orders the read against the code around it.
    unsafe { asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count, options(nomem, nostack)) };
    count as u32
}

/// Counts the instructions of one region of code.
#[derive(Debug, Clone, Copy)]
pub struct Region(u32);

impl Region {
    /// Starts here.
    #[inline]
    #[must_use]
    pub fn start() -> Self {
        Self(instructions())
    }

    /// Instructions since the start, modulo 2^32.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        instructions().wrapping_sub(self.0)
    }
}
