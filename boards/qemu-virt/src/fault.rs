//! Exception vectors and what happens on a fault: a report on the text UART, an epitaph, and the core stops.
//!
//! No image takes interrupts as exceptions: they stay masked, wake the core from WFI and are acknowledged there. So every
//! exception but the monitor's SMC is fatal. The report runs on a stack of its own, since the usual reason to get here with
//! a broken stack is that it overflowed into its guard page.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::epitaph::{Cause, Epitaph};
use crate::text::Piece;
use crate::{clock, el, epitaph, log, text};

/// Registers at the time of the exception; the layout is known to the assembly below.
#[derive(Debug)]
#[repr(C)]
pub struct FaultFrame {
    /// x0 .. x30.
    registers: [u64; 31],
    stack: u64,
    program_counter: u64,
    syndrome: u64,
    address: u64,
    status: u64,
    /// Vector: 4 * source + type; source 0 current EL with SP0, 1 current EL, 2 lower EL AArch64, 3 lower EL AArch32; type
    /// 0 synchronous, 1 IRQ, 2 FIQ, 3 SError.
    vector: u64,
    padding: u64,
}

const _: () = assert!(size_of::<FaultFrame>() == 304);

unsafe extern "C" {
    /// Vector table of EL1; an address, never called.
    #[link_name = "__coxswain_vectors_el1"]
    pub fn vectors_el1();
}

// The fault path of one exception level. TPIDR_ELx, TPIDR_EL0 and TPIDRRO_EL0 hold x0, x2 and x1 meanwhile: nothing else
// uses them. SP becomes the core's fault stack (2 KiB per core below __fault_stack_top).
macro_rules! fault_path {
    ($level:literal) => {
        global_asm!(
            concat!(".section .text.fault_el", $level, ", \"ax\""),
            concat!("__coxswain_fault_el", $level, ":"),
            "msr tpidr_el0, x2",
            "mov x1, sp",
            "mrs x2, mpidr_el1",
            "and x2, x2, #3",
            "lsl x2, x2, #11",
            "mov sp, x2",
            "ldr x2, =__fault_stack_top",
            "sub x2, sp, x2",
            "neg x2, x2",
            "mov sp, x2",
            "sub sp, sp, #304",
            "stp x3, x4, [sp, #24]",
            "stp x5, x6, [sp, #40]",
            "stp x7, x8, [sp, #56]",
            "stp x9, x10, [sp, #72]",
            "stp x11, x12, [sp, #88]",
            "stp x13, x14, [sp, #104]",
            "stp x15, x16, [sp, #120]",
            "stp x17, x18, [sp, #136]",
            "stp x19, x20, [sp, #152]",
            "stp x21, x22, [sp, #168]",
            "stp x23, x24, [sp, #184]",
            "stp x25, x26, [sp, #200]",
            "stp x27, x28, [sp, #216]",
            "stp x29, x30, [sp, #232]",
            "str x1, [sp, #248]",
            "str x0, [sp, #288]",
            concat!("mrs x0, tpidr_el", $level),
            "mrs x1, tpidrro_el0",
            "mrs x2, tpidr_el0",
            "stp x0, x1, [sp, #0]",
            "str x2, [sp, #16]",
            concat!("mrs x0, elr_el", $level),
            concat!("mrs x1, esr_el", $level),
            concat!("mrs x2, far_el", $level),
            concat!("mrs x3, spsr_el", $level),
            "stp x0, x1, [sp, #256]",
            "stp x2, x3, [sp, #272]",
            "mov x0, sp",
            "mov x29, xzr",
            "mov x30, xzr",
            "b {report}",
            report = sym report,
        );
    };
}
fault_path!("1");
fault_path!("3");

global_asm!(
    ".section .text.vectors_el1, \"ax\"",
    ".balign 2048",
    ".global __coxswain_vectors_el1",
    "__coxswain_vectors_el1:",
    ".irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    ".balign 128",
    "msr tpidr_el1, x0",
    "msr tpidrro_el0, x1",
    "mov x0, #\\vector",
    "b __coxswain_fault_el1",
    ".endr",
);

// EL3: as above, but an SMC from a lower AArch64 level goes to the monitor, and only the vectors that can be taken exist: EL3
// never runs on SP_EL0 (the first four) and nothing below is AArch32 (the last four). The linker script puts the table 0x200
// bytes behind the vector base, which is the start of the ROM: where the first four would be, the entry code is, and a
// reset and an exception that cannot happen share an address.
global_asm!(
    ".section .text.vectors_el3, \"ax\"",
    ".irp vector, 4, 5, 6, 7, 8, 9, 10, 11",
    ".balign 128",
    ".if \\vector == 8",
    "str x30, [sp, #-16]!",
    "mrs x30, esr_el3",
    "lsr x30, x30, #26",
    "cmp x30, #0x17",
    "b.eq __coxswain_smc",
    "ldr x30, [sp], #16",
    ".endif",
    "msr tpidr_el3, x0",
    "msr tpidrro_el0, x1",
    "mov x0, #\\vector",
    "b __coxswain_fault_el3",
    ".endr",
);

/// Set by the first core that reports; a fault inside the report stops without another one.
static REPORTING: AtomicU32 = AtomicU32::new(0);

/// True for the first caller. Plain loads and stores: exclusives may not work where this is called from.
fn first_report() -> bool {
    let first = REPORTING.load(Ordering::Relaxed) == 0;
    REPORTING.store(1, Ordering::Relaxed);
    first
}

/// Reports a fault and stops.
extern "C" fn report(frame: &FaultFrame) -> ! {
    if first_report() {
        let mut epitaph = Epitaph::new(Cause::Exception, log::image(), el::core());
        epitaph.syndrome = frame.syndrome;
        epitaph.program_counter = frame.program_counter;
        epitaph.address = frame.address;
        epitaph.time = clock::ticks();
        epitaph::leave(&epitaph);
        text::write(&[
            Piece::Text("FATAL exception: image "),
            Piece::from(log::image()),
            Piece::Text(" core "),
            Piece::from(el::core()),
            Piece::Text(" EL"),
            Piece::Decimal(el::current()),
            Piece::Text(" vector "),
            Piece::Decimal(frame.vector),
        ]);
        for (name, value) in [
            (" ESR ", frame.syndrome),
            (" ELR ", frame.program_counter),
            (" FAR ", frame.address),
            (" SPSR ", frame.status),
            (" SP ", frame.stack),
        ] {
            text::write(&[Piece::Text(name), Piece::Hex(value)]);
        }
        text!("");
        for (index, value) in frame.registers.iter().enumerate() {
            let end = if index % 4 == 3 { "\r\n" } else { " " };
            text::write(&[
                Piece::Text("x"),
                Piece::from(index),
                Piece::Text("="),
                Piece::Hex(*value),
                Piece::Text(end),
            ]);
        }
        text!("");
    }
    el::park()
}

/// Stops with a report of where the panic came from.
///
/// Not a word of the message and of the source place: what nobody looks at the compiler drops from the image, with the
/// formatting and every path it would need, a tenth of the boot ROM. The return addresses say the same with the help of the
/// image's debug information.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    if first_report() {
        let mut epitaph = Epitaph::new(Cause::Panic, log::image(), el::core());
        epitaph.time = clock::ticks();
        epitaph.callers = el::callers();
        epitaph::leave(&epitaph);
        text::write(&[
            Piece::Text("FATAL panic: image "),
            Piece::from(log::image()),
            Piece::Text(" core "),
            Piece::from(el::core()),
            Piece::Text(" called from"),
        ]);
        for caller in epitaph.callers {
            text::write(&[Piece::Text(" "), Piece::Hex(caller)]);
        }
        text!("");
    }
    el::park()
}
