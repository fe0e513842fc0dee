//! The epitaph: what a fatal error leaves in secure RAM for the next boot, guarded against re-entry.
//!
//! A reset of the CPU keeps secure RAM, so the ROM of the next boot finds the record, logs it and clears it.

use crate::el;
use crate::memory_map::EPITAPH;

/// "CXEP".
const MAGIC: u32 = 0x5045_5843;

/// What ended the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Cause {
    /// A processor exception; `syndrome` is ESR.
    Exception = 1,
    /// A panic; `callers` say where.
    Panic = 2,
}

/// The record.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Epitaph {
    magic: u32,
    /// Raw [`Cause`].
    pub cause: u32,
    /// Image that died (its log byte: 1 ROM, 2 boot-fit, 3 control).
    pub image: u32,
    /// Core.
    pub core: u32,
    /// Exception syndrome (ESR).
    pub syndrome: u64,
    /// Address of the instruction (ELR).
    pub program_counter: u64,
    /// Fault address (FAR).
    pub address: u64,
    /// Counter ticks.
    pub time: u64,
    /// Return addresses, the innermost first: the first few are those of the panic machinery.
    pub callers: [u64; el::CALLERS],
}

impl Epitaph {
    /// A record with its magic.
    #[must_use]
    pub const fn new(cause: Cause, image: u8, core: usize) -> Self {
        Self {
            magic: MAGIC,
            cause: cause as u32,
            image: image as u32,
            core: core as u32,
            syndrome: 0,
            program_counter: 0,
            address: 0,
            time: 0,
            callers: [0; el::CALLERS],
        }
    }
}

/// Leaves `epitaph` for the next boot unless an earlier one is still there: the first error explains the later ones.
#[inline(never)]
pub fn leave(epitaph: &Epitaph) {
    if take_or_peek(false).is_none() {
        // SAFETY: the page at EPITAPH is secure RAM that only this module touches; the structure is smaller than a page.
        unsafe { core::ptr::copy_nonoverlapping(epitaph, EPITAPH as *mut Epitaph, 1) };
        crate::barrier::full();
    }
}

/// Takes the record that an earlier boot has left.
#[must_use]
pub fn take() -> Option<Epitaph> {
    take_or_peek(true)
}

/// Reads the record and clears it when `clear`.
fn take_or_peek(clear: bool) -> Option<Epitaph> {
    // SAFETY: the page at EPITAPH is secure RAM that only this module touches.
    let magic = unsafe { core::ptr::read_volatile(EPITAPH as *const u32) };
    if magic != MAGIC {
        return None;
    }
    // SAFETY: as above; every bit pattern is a value of the fields. Nobody writes meanwhile, so a plain read will do.
    let found = unsafe { core::ptr::read(EPITAPH as *const Epitaph) };
    if clear {
        // SAFETY: as above; a word of 0 is not the magic.
        unsafe { core::ptr::write_volatile(EPITAPH as *mut u32, 0) };
    }
    Some(found)
}
