//! The other cores of the control image: from the monitor's parking place to a Rust function with its own stack and MMU on.

use core::arch::global_asm;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::memory_map::CORES;
use crate::smc::{self, SmcError};
use crate::{gic, paging};

/// What each core runs once it is up: a `fn(usize) -> !` as an address, written before the core is started.
static MAINS: [AtomicUsize; CORES] = [const { AtomicUsize::new(0) }; CORES];

unsafe extern "C" {
    /// Entry code of another core; an address, never called.
    fn __coxswain_secondary();
}

// Entered by the monitor at Secure EL1 with x0 = core number, MMU off, no stack.
global_asm!(
    ".section .text.secondary, \"ax\"",
    ".global __coxswain_secondary",
    "__coxswain_secondary:",
    "msr daifset, #0xf",
    "ldr x1, =0x30d00808",
    "msr sctlr_el1, x1",
    "msr cpacr_el1, xzr",
    "ldr x1, ={vectors}",
    "msr vbar_el1, x1",
    "isb",
    "and x0, x0, #3",
    "ldr x1, =__stack_top",
    "ldr x2, =__stack_stride",
    "msub x1, x0, x2, x1",
    "mov sp, x1",
    "mov x29, xzr",
    "mov x30, xzr",
    "b {run}",
    vectors = sym crate::fault::vectors_el1,
    run = sym run,
);

/// First Rust code of another core.
extern "C" fn run(core: usize) -> ! {
    // SAFETY: `start` runs on the boot core after it has enabled its MMU with the tables that are used here.
    unsafe { paging::enable_on_this_core() };
    gic::set_up_core(core);
    let main = MAINS.get(core).map_or(0, |cell| cell.load(Ordering::Acquire));
    if main == 0 {
        crate::el::park();
    }
    // SAFETY: `start` has stored a `fn(usize) -> !` there, and nothing else writes the cell.
    let main: fn(usize) -> ! = unsafe { core::mem::transmute::<usize, fn(usize) -> !>(main) };
    main(core)
}

/// Starts core `core` (1..) with `main(core)`, its own stack, MMU and interrupts set up. The boot core calls this after
/// [`paging::enable`].
///
/// # Errors
/// What the monitor answers; [`SmcError::NotParked`] passes with time.
pub fn start(core: usize, main: fn(usize) -> !) -> Result<(), SmcError> {
    let cell = MAINS.get(core).ok_or(SmcError::InvalidParameter)?;
    cell.store(main as usize, Ordering::Release);
    // The new core reads the root address before its caches are on.
    clean(paging::root_cell().cast());
    // SAFETY: the entry code above expects the core's number and nothing else.
    unsafe { smc::start_core(core, __coxswain_secondary as *const () as u64, core as u64) }
}

/// Writes the cache line of `address` back to memory.
fn clean(address: *const u8) {
    // SAFETY: cleaning a line changes no value that any core reads through its caches.
    unsafe { core::arch::asm!("dc cvac, {}", "dsb sy", in(reg) address, options(nostack)) };
}
