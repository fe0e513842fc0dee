//! Text for people on the first UART: banners and fatal errors. Everything else goes to [`crate::log`].

use arm_pl011_uart::{LineConfig, PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::Write;
use core::ptr::NonNull;

use crate::memory_map::{UART_LOG, UART_TEXT};

/// Clock of the PL011s on this machine, Hz.
const CLOCK: u32 = 24_000_000;
/// Baud rate; the machine does not care.
const BAUD: u32 = 115_200;

/// A driver for the UART at `base`.
///
/// # Safety
/// `base` must be a PL011 that is mapped as device memory.
pub(crate) unsafe fn uart(base: usize) -> Option<Uart<'static>> {
    let registers = NonNull::new(base as *mut PL011Registers)?;
    // SAFETY: the caller vouches for the device. Its registers are only accessed through drivers made here, one byte or flag
    // at a time; two at once may interleave output and do no other harm.
    Some(Uart::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// Switches both UARTs on; done once, by the ROM.
pub fn enable_uarts() {
    let line = LineConfig {
        data_bits: arm_pl011_uart::DataBits::Bits8,
        parity: arm_pl011_uart::Parity::None,
        stop_bits: arm_pl011_uart::StopBits::One,
    };
    for base in [UART_TEXT, UART_LOG] {
        // SAFETY: both addresses are PL011s of the machine, and the ROM runs with the MMU off (device memory).
        if let Some(mut uart) = unsafe { uart(base) } {
            // A refused rate leaves the reset setting, which this machine accepts as well.
            let _ = uart.enable(line, BAUD, CLOCK);
        }
    }
}

/// Writes `arguments` to the first UART; used through [`crate::text!`].
pub fn write(arguments: core::fmt::Arguments) {
    // SAFETY: UART_TEXT is a PL011 of the machine and every image maps it as device memory.
    if let Some(mut uart) = unsafe { uart(UART_TEXT) } {
        // The UART has no error that output could meet.
        let _ = uart.write_fmt(arguments);
    }
}

/// Writes one line of text to the first UART.
#[macro_export]
macro_rules! text {
    ($($argument:tt)*) => {{
        $crate::text::write(format_args!($($argument)*));
        $crate::text::write(format_args!("\r\n"));
    }};
}
