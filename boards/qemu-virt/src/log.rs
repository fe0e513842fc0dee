//! The defmt logger over the second UART.
//!
//! Each frame is `[image id][rzcobs-encoded defmt frame][0x00]`; the id tells the decoder which ELF file names the strings.
//! An image's first frame is preceded by a single 0x00, which ends whatever an earlier image left unfinished: an empty frame
//! means nothing.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use cortex_a::registers::{CNTFRQ_EL0, CNTPCT_EL0, DAIF, Readable, SCTLR_EL1};
use defmt::Encoder;

use crate::memory_map::UART_LOG;

/// Which image writes a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Image {
    /// Boot ROM.
    Rom = 1,
    /// Boot-fit.
    BootFit = 2,
    /// Control image.
    Control = 3,
}

/// Id byte of this image; set once at start.
static IMAGE: AtomicU8 = AtomicU8::new(0);
/// Held while a core writes a frame, when several cores may.
static LOCK: AtomicBool = AtomicBool::new(false);

/// Names the image that runs; the first thing an image does.
pub fn init(image: Image) {
    IMAGE.store(image as u8, Ordering::Relaxed);
}

/// The id byte of the image that runs; 0 before [`init`].
#[must_use]
pub fn image() -> u8 {
    IMAGE.load(Ordering::Relaxed)
}

/// True when this core may use exclusive accesses: they need cacheable memory, so the MMU. With the MMU off an image runs on
/// one core and needs no lock.
fn exclusives_work() -> bool {
    crate::el::current() == 1 && SCTLR_EL1.is_set(cortex_a::registers::SCTLR_EL1::M)
}

/// Sends bytes to the UART, waiting for room in its FIFO.
fn send(bytes: &[u8]) {
    // SAFETY: UART_LOG is a PL011 of the machine and every image maps it as device memory.
    if let Some(mut uart) = unsafe { crate::text::uart(UART_LOG) } {
        for &byte in bytes {
            while uart.is_tx_fifo_full() {}
            uart.write_word(byte);
        }
    }
}

/// State of the frame that is being written.
struct Frame {
    encoder: Encoder,
    daif: u64,
}

/// The frame state, guarded by [`LOCK`] and by masked interrupts.
struct Guarded(core::cell::UnsafeCell<Frame>);

// SAFETY: only the logger touches the cell, between `acquire` and `release`, which exclude each other: on one core because
// interrupts are masked and frames do not nest, between cores by LOCK.
unsafe impl Sync for Guarded {}

static FRAME: Guarded = Guarded(core::cell::UnsafeCell::new(Frame { encoder: Encoder::new(), daif: 0 }));

#[defmt::global_logger]
struct Logger;

// SAFETY: `acquire` masks interrupts and takes the lock before the frame state is touched, `release` gives both back.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        let daif = DAIF.get();
        // SAFETY: masks interrupts; no memory is touched.
        unsafe { core::arch::asm!("msr daifset, #0xf", options(nostack)) };
        if exclusives_work() {
            while LOCK.swap(true, Ordering::Acquire) {
                core::hint::spin_loop();
            }
        }
        // SAFETY: interrupts are masked and the lock is held (or this is the only core).
        let frame = unsafe { &mut *FRAME.0.get() };
        frame.daif = daif;
        frame.encoder.start_frame(send);
        send(&[image()]);
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: called between `acquire` and `release` only.
        let frame = unsafe { &mut *FRAME.0.get() };
        frame.encoder.end_frame(send);
        let daif = frame.daif;
        if exclusives_work() {
            LOCK.store(false, Ordering::Release);
        }
        // SAFETY: restores the mask that `acquire` found.
        unsafe { core::arch::asm!("msr daif, {}", in(reg) daif, options(nostack)) };
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: called between `acquire` and `release` only.
        let frame = unsafe { &mut *FRAME.0.get() };
        frame.encoder.write(bytes, send);
    }
}

defmt::timestamp!("{=u64:us}", crate::clock::ticks_to_us(CNTPCT_EL0.get(), CNTFRQ_EL0.get()));
