//! Text for people on the first UART: banners and fatal errors. Everything else goes to [`crate::log`].

use arm_pl011_uart::{LineConfig, PL011Registers, Uart, UniqueMmioPointer};
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

/// A piece of a line.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A number, printed as `0x` and its hexadecimal digits.
    Hex(u64),
    /// A number, printed in decimal.
    Decimal(u64),
}

impl<'a> From<&'a str> for Piece<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Piece<'_> {
    fn from(number: u64) -> Self {
        Self::Hex(number)
    }
}

impl From<usize> for Piece<'_> {
    fn from(number: usize) -> Self {
        Self::Decimal(number as u64)
    }
}

impl From<u32> for Piece<'_> {
    fn from(number: u32) -> Self {
        Self::Decimal(number.into())
    }
}

impl From<u8> for Piece<'_> {
    fn from(number: u8) -> Self {
        Self::Decimal(number.into())
    }
}

/// Writes pieces to the first UART without a space between; used through [`crate::text!`].
///
/// The formatting machinery of `core::fmt` would be an eighth of the boot ROM: it stays out of ROM and boot-fit.
pub fn write(pieces: &[Piece]) {
    // SAFETY: UART_TEXT is a PL011 of the machine and every image maps it as device memory.
    let Some(mut uart) = (unsafe { uart(UART_TEXT) }) else { return };
    let mut put = |byte| {
        while uart.is_tx_fifo_full() {}
        uart.write_word(byte);
    };
    for piece in pieces {
        match *piece {
            Piece::Text(text) => text.bytes().for_each(&mut put),
            Piece::Hex(number) => {
                put(b'0');
                put(b'x');
                digits(number, 16, &mut put);
            }
            Piece::Decimal(number) => digits(number, 10, &mut put),
        }
    }
}

/// Writes formatted text to the first UART, for the control image.
pub fn write_formatted(arguments: core::fmt::Arguments) {
    struct Sink;
    impl core::fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            write(&[Piece::Text(text)]);
            Ok(())
        }
    }
    // The UART has no error that output could meet.
    let _ = core::fmt::write(&mut Sink, arguments);
}

/// Writes the digits of `number` to base `base` (2 to 16), without leading zeros.
fn digits(number: u64, base: u64, put: &mut impl FnMut(u8)) {
    let mut divisor = 1;
    while number / divisor >= base {
        divisor *= base;
    }
    while divisor > 0 {
        let digit = (number / divisor % base) as u8;
        put(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        divisor /= base;
    }
}

/// Writes one line of text to the first UART: strings, `u64` (hexadecimal) and shorter numbers (decimal), one after the
/// other.
#[macro_export]
macro_rules! text {
    ($($piece:expr),* $(,)?) => {
        $crate::text::write(&[$($crate::text::Piece::from($piece),)* $crate::text::Piece::Text("\r\n")])
    };
}
