//! What every exception level needs: its number, the core's number, parking, the start of an EL1 image.

use cortex_a::registers::{CurrentEL, MPIDR_EL1, Readable};

/// The current exception level, 0..=3.
#[inline]
#[must_use]
pub fn current() -> u64 {
    CurrentEL.read(cortex_a::registers::CurrentEL::EL)
}

/// Number of this core, 0..=3: affinity level 0, one cluster.
#[inline]
#[must_use]
pub fn core() -> usize {
    (MPIDR_EL1.get() & 3) as usize
}

/// Return addresses that [`callers`] finds at most.
pub const CALLERS: usize = 6;
/// Largest distance between two frames of one stack that is believed.
const LARGEST_FRAME: u64 = 0x2_0000;

/// Return addresses of the functions that led here, the innermost first, as far as the chain of frame records looks sane;
/// the rest is 0.
#[inline(always)]
pub fn callers() -> [u64; CALLERS] {
    let mut frame: u64;
    // SAFETY: reads the frame pointer, nothing else.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let mut found = [0; CALLERS];
    for caller in &mut found {
        if frame == 0 || !frame.is_multiple_of(16) {
            break;
        }
        // SAFETY: a frame record, two words, on this core's stack: the first is the live frame pointer, the others lie a
        // bounded distance above it (below). A wrong address ends in a fault, whose report is suppressed by the first.
        let [next, address] = unsafe { core::ptr::read(frame as *const [u64; 2]) };
        *caller = address;
        if next <= frame || next.wrapping_sub(frame) > LARGEST_FRAME {
            break;
        }
        frame = next;
    }
    found
}

/// Stops this core until a reset, asleep. No interrupt wakes it: what is pending would turn the sleep into a busy loop.
pub fn park() -> ! {
    // SAFETY: masks interrupts, switches this core's timer and its interrupt groups off; nothing else runs here afterwards.
    // ICC_IGRPEN1_EL1 is accessible at EL1 and EL3 because the ROM has set ICC_SRE_EL3.
    unsafe {
        core::arch::asm!(
            "msr daifset, #0xf",
            "msr cntp_ctl_el0, xzr",
            "msr S3_0_C12_C12_7, xzr",
            "isb",
            "dsb sy",
            options(nostack),
        );
    }
    loop {
        cortex_a::asm::wfi();
    }
}

/// Leaves this image for the one at `entry`, at the same exception level with the MMU off, with `x0 = argument`.
///
/// # Safety
/// `entry` must be an image that is linked for this address, was written by this core, and expects `argument`.
pub unsafe fn enter_image(entry: u64, argument: u64) -> ! {
    // SAFETY: the caller vouches for the image; with the MMU off, its bytes are in memory after the barrier, and the
    // invalidation drops what was fetched from there before.
    unsafe {
        core::arch::asm!(
            "dsb sy",
            "ic iallu",
            "dsb sy",
            "isb",
            "br {entry}",
            entry = in(reg) entry,
            in("x0") argument,
            options(noreturn),
        );
    }
}

/// The entry of an image that runs at Secure EL1: `x0` = address of the boot information on the boot core.
///
/// `$main` is `fn(u64) -> !` and is called with `x0`, its own stack, the MMU off, `.bss` cleared and interrupts masked.
#[macro_export]
macro_rules! el1_entry {
    ($main:path) => {
        const _: fn(u64) -> ! = $main;

        extern "C" fn enter(boot_info: u64) -> ! {
            $main(boot_info)
        }

        core::arch::global_asm!(
            ".section .text.entry, \"ax\"",
            ".global _start",
            "_start:",
            "msr daifset, #0xf",
            "mov x19, x0",
            // RES1 bits; MMU, caches and alignment checks of EL1 off, stack alignment check on.
            "ldr x1, =0x30d00808",
            "msr sctlr_el1, x1",
            // Floating point traps.
            "msr cpacr_el1, xzr",
            "ldr x1, ={vectors}",
            "msr vbar_el1, x1",
            "isb",
            "ldr x1, =__stack_top",
            "mov sp, x1",
            "ldr x1, =__bss_start",
            "ldr x2, =__bss_end",
            "1:",
            "cmp x1, x2",
            "b.hs 2f",
            "stp xzr, xzr, [x1], #16",
            "b 1b",
            "2:",
            "mov x0, x19",
            "mov x29, xzr",
            "mov x30, xzr",
            "b {enter}",
            vectors = sym $crate::fault::vectors_el1,
            enter = sym enter,
        );
    };
}
