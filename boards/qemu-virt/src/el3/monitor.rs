//! The resident monitor: parked cores and the SMC interface of the images at Secure EL1.
//!
//! State: one mail box per core in a slice of secure RAM that no start-up code clears. A mail box is written by its own core
//! until that core is parked and by the monitor on the boot core afterwards. *Parked* is what the core's redistributor says
//! (GICR_WAKER, asleep after a reset of the machine), so a mail box of an earlier boot is never believed.
//!
//! Nothing here polls: a parked core sleeps in WFI until an SGI that only `start_core` sends.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::gic;
use crate::memory_map::CORES;
use crate::smc::{self, SmcError};

/// Where a parked core goes next. All accesses happen at EL3 with the MMU off: plain loads and stores.
struct MailBox {
    entry: AtomicU64,
    argument: AtomicU64,
}

/// Mail boxes; uninitialised memory at reset, each cleared by its own core.
#[unsafe(link_section = ".monitor")]
static MAIL_BOXES: [MailBox; CORES] =
    [const { MailBox { entry: AtomicU64::new(0), argument: AtomicU64::new(0) } }; CORES];

// Entered from the vector with x30 on the stack. SMCCC lets x0..x17 change; all but the results x0..x3 are preserved.
global_asm!(
    ".section .text.smc_el3, \"ax\"",
    ".global __coxswain_smc",
    "__coxswain_smc:",
    "ldr x30, [sp], #16",
    "sub sp, sp, #192",
    "stp x0, x1, [sp, #0]",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "stp x16, x17, [sp, #128]",
    "stp x18, x29, [sp, #144]",
    "str x30, [sp, #160]",
    "mov x0, sp",
    "bl {handle}",
    "ldp x0, x1, [sp, #0]",
    "ldp x2, x3, [sp, #16]",
    "ldp x4, x5, [sp, #32]",
    "ldp x6, x7, [sp, #48]",
    "ldp x8, x9, [sp, #64]",
    "ldp x10, x11, [sp, #80]",
    "ldp x12, x13, [sp, #96]",
    "ldp x14, x15, [sp, #112]",
    "ldp x16, x17, [sp, #128]",
    "ldp x18, x29, [sp, #144]",
    "ldr x30, [sp, #160]",
    "add sp, sp, #192",
    "eret",
    handle = sym handle,
);

/// Carries out one SMC. `registers` are x0..x3 of the caller, in and out.
extern "C" fn handle(registers: &mut [u64; 4]) {
    let [function, first, second, third] = *registers;
    let result = match function as u32 {
        smc::SMCCC_VERSION => Ok(smc::SMCCC_VERSION_VALUE),
        smc::MONITOR_VERSION => Ok(smc::MONITOR_VERSION_VALUE),
        smc::START_CORE => start_core(first, second, third).map(|()| 0),
        smc::WARM_RESET => warm_reset(first),
        _ => Err(SmcError::NotSupported),
    };
    *registers = match result {
        Ok(value) => [value, 0, 0, 0],
        Err(error) => [error.to_register(), 0, 0, 0],
    };
}

/// Starts a parked core at `entry` (Secure EL1) with `x0 = argument`.
fn start_core(core: u64, entry: u64, argument: u64) -> Result<(), SmcError> {
    let index = usize::try_from(core).map_err(|_| SmcError::InvalidParameter)?;
    let mail_box = MAIL_BOXES.get(index).ok_or(SmcError::InvalidParameter)?;
    if index == 0 || index >= gic::count_cores() || !smc::is_image_address(entry) {
        return Err(SmcError::InvalidParameter);
    }
    if !gic::is_awake(index) {
        return Err(SmcError::NotParked);
    }
    if mail_box.entry.load(Ordering::Relaxed) != 0 {
        return Err(SmcError::AlreadyRunning);
    }
    mail_box.argument.store(argument, Ordering::Relaxed);
    crate::barrier::full();
    mail_box.entry.store(entry, Ordering::Relaxed);
    crate::barrier::full();
    gic::wake_core(index);
    Ok(())
}

/// Asks the card for a reset of the CPU through the trapped register at `register`, and stops.
fn warm_reset(register: u64) -> Result<u64, SmcError> {
    let expected = crate::memory_map::BAR0 + coxswain_abi::soc::bar0::CPU_RESET;
    if register != expected {
        return Err(SmcError::InvalidParameter);
    }
    // SAFETY: the ROM has placed BAR0 at this fixed address; the register is trapped and takes any 32-bit write. EL3 runs
    // with the MMU off, so the access is a device access.
    unsafe { core::ptr::write_volatile(expected as *mut u32, 1) };
    crate::el::park()
}

/// Parks core `core` (not the first) until the monitor starts it; the entry code ends here.
pub extern "C" fn park_core(core: u64) -> ! {
    let Some(mail_box) = MAIL_BOXES.get(core as usize) else { crate::el::park() };
    mail_box.entry.store(0, Ordering::Relaxed);
    crate::barrier::full();
    // From here on the redistributor says that this core is awake: the mail box is ready.
    gic::set_up_parked_core(core as usize);
    loop {
        let entry = mail_box.entry.load(Ordering::Relaxed);
        if entry != 0 {
            crate::barrier::full();
            let argument = mail_box.argument.load(Ordering::Relaxed);
            gic::acknowledge_all();
            // SAFETY: the monitor has checked that `entry` lies in an image region; the image that asked vouches for the rest.
            unsafe { super::enter_secure_el1(entry, argument) };
        }
        cortex_a::asm::wfi();
        gic::acknowledge_all();
    }
}
