//! Exception level 3: what only the boot ROM does.
//!
//! The ROM enters at EL3 on every core ([`crate::el3_entry`]), sets the level up ([`set_up_core`]), parks all cores but the
//! first ([`monitor`]) and starts the next image at Secure EL1 ([`enter_secure_el1`]). Its vectors stay resident: an SMC of
//! the images below reaches [`monitor`].

pub mod monitor;

use core::arch::asm;

use cortex_a::registers::{CNTFRQ_EL0, Readable, SCR_EL3, Writeable};

/// Counter frequency of this machine when nothing has programmed CNTFRQ, Hz. QEMU presets the register.
const DEFAULT_COUNTER_FREQUENCY: u64 = 62_500_000;

/// Sets EL3 up on this core; called by the entry code before anything else runs.
///
/// Secure state below, AArch64, interrupts taken where they arrive, secure timer open to EL1, floating point trapped
/// everywhere, instructions counted in Secure state.
pub extern "C" fn set_up_core() {
    // NS = 0, IRQ = FIQ = EA = 0 (taken at EL1 below EL3), SMC allowed, RW = 1, ST = 1 (bit 11), RES1 bits 4 and 5.
    SCR_EL3.set(1 << 11 | 1 << 10 | 0b11 << 4);
    // SAFETY: system registers of this core, none of which changes how the running code accesses memory or its stack.
    unsafe {
        asm!(
            // CPTR_EL3.TFP: floating point traps to EL3 from everywhere.
            "msr cptr_el3, {tfp}",
            // MDCR_EL3.SPME: the performance monitors count in Secure state; no trap bits.
            "msr mdcr_el3, {spme}",
            // CPUECTLR_EL1.SMPEN: the core takes part in coherency; required before caches are used.
            "mrs {scratch}, S3_1_C15_C2_1",
            "orr {scratch}, {scratch}, #0x40",
            "msr S3_1_C15_C2_1, {scratch}",
            // SCTLR_EL1: reset value is unknown; RES1 bits, everything off.
            "msr sctlr_el1, {sctlr}",
            "msr cpacr_el1, xzr",
            // ICC_SRE_EL3: system registers of the GIC, also below. It must stand before any ICC_ register is used.
            "msr S3_6_C12_C12_5, {sre}",
            "isb",
            tfp = in(reg) 1_u64 << 10,
            spme = in(reg) 1_u64 << 17,
            sctlr = in(reg) 0x30D0_0800_u64,
            sre = in(reg) 0b1111_u64,
            scratch = out(reg) _,
            options(nomem, nostack),
        );
    }
    if CNTFRQ_EL0.get() == 0 {
        // SAFETY: CNTFRQ_EL0 is writable at EL3, and only informs software.
        unsafe { asm!("msr cntfrq_el0, {}", in(reg) DEFAULT_COUNTER_FREQUENCY, options(nomem, nostack)) };
    }
}

/// Leaves EL3 for `entry` at Secure EL1 with `x0 = argument`, interrupts masked, the core's EL3 stack empty.
///
/// # Safety
/// `entry` must be an image that is linked for this address and expects `argument`. Nothing on this core's EL3 stack is used
/// again.
pub unsafe fn enter_secure_el1(entry: u64, argument: u64) -> ! {
    // SAFETY: the caller vouches for `entry`. The image was written by this core with the MMU off, so instruction fetch
    // needs no more than the barrier and the invalidation.
    unsafe {
        asm!(
            "msr elr_el3, {entry}",
            // EL1h, D A I F masked.
            "mov x9, #0x3c5",
            "msr spsr_el3, x9",
            "mrs x9, mpidr_el1",
            "and x9, x9, #3",
            "ldr x10, =__stack_stride",
            "ldr x11, =__stack_top",
            "msub x9, x9, x10, x11",
            "mov sp, x9",
            "dsb sy",
            "ic iallu",
            "dsb sy",
            "isb",
            "eret",
            entry = in(reg) entry,
            in("x0") argument,
            options(noreturn),
        );
    }
}

/// The entry of the boot ROM at EL3. `$main` is `fn() -> !`; it runs on the first core with `.data` and `.bss` in place.
#[macro_export]
macro_rules! el3_entry {
    ($main:path) => {
        const _: fn() -> ! = $main;

        extern "C" fn enter() -> ! {
            $main()
        }

        core::arch::global_asm!(
            ".section .text.entry, \"ax\"",
            ".global _start",
            "_start:",
            "msr daifset, #0xf",
            // RES1 bits; MMU and data cache off, instruction cache on, stack alignment checked.
            "ldr x1, =0x30c51838",
            "msr sctlr_el3, x1",
            "ldr x1, =__vector_base",
            "msr vbar_el3, x1",
            "isb",
            "mrs x19, mpidr_el1",
            "and x19, x19, #3",
            "ldr x1, =__stack_stride",
            "ldr x2, =__stack_top",
            "msub x1, x19, x1, x2",
            "mov sp, x1",
            "mov x29, xzr",
            "mov x30, xzr",
            "bl {set_up}",
            "cbnz x19, 5f",
            "ldr x1, =__data_start",
            "ldr x2, =__data_end",
            "ldr x3, =__data_load",
            "1:",
            "cmp x1, x2",
            "b.hs 2f",
            "ldp x4, x5, [x3], #16",
            "stp x4, x5, [x1], #16",
            "b 1b",
            "2:",
            "ldr x1, =__bss_start",
            "ldr x2, =__bss_end",
            "3:",
            "cmp x1, x2",
            "b.hs 4f",
            "stp xzr, xzr, [x1], #16",
            "b 3b",
            "4:",
            "b {enter}",
            "5:",
            "mov x0, x19",
            "b {park}",
            set_up = sym $crate::el3::set_up_core,
            park = sym $crate::el3::monitor::park_core,
            enter = sym enter,
        );
    };
}
