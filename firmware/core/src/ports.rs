//! Ports: what a board provides to the control core.
//!
//! Each port is narrow. Hot calls are generic and inlined, never `dyn`. A fake board for host tests implements the same
//! traits as a real one.

use coxswain_abi::soc::{Attributes, Notification, PostedWrite, WriteKind};
use coxswain_abi::trace::Event;

/// Reads of the SoC's register file by CFG offset.
pub trait Registers {
    /// Reads the 32-bit register at CFG offset `offset` (4-byte aligned; an offset outside the register file reads 0).
    fn read(&self, offset: u32) -> u32;
}

/// Posted writes that go into free entries taken in one piece: cheaper, write by write, than [`PostedWrites::post`].
pub trait Burst {
    /// Appends `writes` in order: all of them, or none and false when they find no room in this burst.
    #[must_use]
    fn push<const N: usize>(&mut self, writes: [PostedWrite; N]) -> bool;
}

/// A burst for boards that gain nothing from one: every write is posted by itself, [`Self::room`] of them at most.
#[derive(Debug)]
pub struct OneByOne<'a, P> {
    /// Where the writes go.
    pub port: &'a mut P,
    /// Writes that the burst may still make.
    pub room: usize,
}

impl<P: PostedWrites> Burst for OneByOne<'_, P> {
    fn push<const N: usize>(&mut self, writes: [PostedWrite; N]) -> bool {
        let Some(room) = self.room.checked_sub(N) else { return false };
        self.room = room;
        for write in writes {
            self.port.post(write);
        }
        true
    }
}

/// Posted writes, applied strictly in order.
pub trait PostedWrites {
    /// See [`Self::burst`].
    type Burst<'a>: Burst
    where
        Self: 'a;

    /// Lets `fill` append writes to the free entries that lie in one piece, all but the last `keep` of what is available. A
    /// burst may be shorter than [`Self::available`] says.
    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Self::Burst<'_>) -> R) -> R;

    /// Writes that can be posted now without waiting. A caller that is about to post `n` writes checks this first and yields
    /// when there is not enough room; it never waits inside a packet.
    fn available(&self) -> usize;

    /// True when `writes` writes can be posted now: what [`Self::available`] says, for less.
    #[inline]
    fn has_room(&self, writes: usize) -> bool {
        self.available() >= writes
    }

    /// Appends one write. The caller has made sure that [`Self::available`] is not 0; a write without room is dropped and
    /// counted by the board.
    fn post(&mut self, write: PostedWrite);

    /// Makes everything posted so far visible to the hardware.
    fn flush(&mut self);

    /// Stores a status value that firmware owns at CFG offset `offset`.
    fn post_status(&mut self, offset: u32, value: u32) {
        self.post(PostedWrite {
            address: coxswain_abi::regs::CFG_BASE + u64::from(offset),
            data: value,
            attributes: Attributes::CPU.with_kind(WriteKind::Status),
        });
    }

    /// Writes `value` to the register at CFG offset `offset` as the management CPU, with side effects.
    fn post_register(&mut self, offset: u32, value: u32) {
        self.post(PostedWrite {
            address: coxswain_abi::regs::CFG_BASE + u64::from(offset),
            data: value,
            attributes: Attributes::CPU,
        });
    }
}

/// Why a read of device memory failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// The address is not memory, or is closed to this initiator.
    Unmapped {
        /// The device address.
        address: u64,
    },
    /// Translation failed. The board has latched the fault in the MMU's capture registers.
    PageFault {
        /// The virtual address.
        address: u64,
    },
}

/// Reads of device memory (command buffers, PQ entries) as a given initiator.
pub trait DeviceMemory {
    /// Reads `out.len()` little-endian 64-bit words from `address` (8-byte aligned) with the security and translation of
    /// `access`. On an error the contents of `out` are unspecified.
    ///
    /// # Errors
    /// [`ReadError`] when any byte is not readable to the initiator.
    fn read_words(&mut self, address: u64, access: Attributes, out: &mut [u64]) -> Result<(), ReadError>;
}

/// An access outside the memory behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange {
    /// First address of the refused access.
    pub address: u64,
}

/// The host's memory as the management CPU sees it: bus addresses, 0 = start of host memory.
pub trait HostMemory {
    /// Copies `out.len()` bytes from host bus address `address`.
    ///
    /// # Errors
    /// [`OutOfRange`] when any byte lies outside host memory; nothing is copied then.
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange>;

    /// Copies `data` to host bus address `address`.
    ///
    /// # Errors
    /// [`OutOfRange`] when any byte lies outside host memory; nothing is written then.
    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange>;

    /// Stores one 32-bit word after everything written before is visible to the host (`address` 4-byte aligned).
    ///
    /// # Errors
    /// [`OutOfRange`] when the word lies outside host memory or is not aligned.
    fn write_release(&mut self, address: u64, value: u32) -> Result<(), OutOfRange>;
}

/// SRAM and HBM as the management CPU sees them, by device address; used by the boot stages.
pub trait CardMemory {
    /// Copies `out.len()` bytes from device address `address`.
    ///
    /// # Errors
    /// [`OutOfRange`] when any byte lies outside SRAM and HBM.
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange>;

    /// Copies `data` to device address `address`.
    ///
    /// # Errors
    /// [`OutOfRange`] when any byte lies outside SRAM and HBM.
    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange>;
}

/// Notifications from the hardware to this core.
pub trait Notifications {
    /// Takes the next notification, in order; `None` when there is none.
    fn next(&mut self) -> Option<Notification>;

    /// Takes and clears the doorbell bitmap: bit `4 * qman + stream`.
    fn take_doorbells(&mut self) -> [u64; 2];
}

/// The trace, where a board has one.
pub trait Trace {
    /// True when [`Self::record`] keeps what it is given. Constant for the life of an image.
    #[inline]
    fn is_tracing(&self) -> bool {
        false
    }

    /// Notes an event with the time.
    #[inline]
    fn record(&mut self, event: Event) {
        let _ = event;
    }
}

/// Time since the image started.
pub trait Clock {
    /// Microseconds, monotonic.
    fn now_us(&self) -> u64;
}
