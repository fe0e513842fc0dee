//! A vfio-user server: one PCI function on one UNIX socket.
//!
//! For: letting an unmodified QEMU (`vfio-user-pci`) attach a function of the card. The protocol is the one QEMU documents
//! as `docs/interop/vfio-user`, version 0.0; the traps of `emulation.md` 2 are handled here.
//!
//! Owns: sockets, framing, version negotiation, argument checks, the serving thread. It checks region indices, offsets and
//! counts before a [`Device`] sees them.
//!
//! Never: knows what a register means, and never holds a lock while a [`Device`] works.
//!
//! Why hand-written: the published crate `vfio_user` 0.1.7 was tried and works with this QEMU, but it was slower per
//! trapped access (70-95 us against 40-50 us, `emulation.md` 2), serves one client per run and cannot be stopped from
//! another thread.
//!
//! * `socket` moves whole messages with their descriptors;
//! * `message` is the wire format: numbers, field positions;
//! * `session` answers the messages of one client;
//! * `server` listens, serves one client after the other, stops.

mod message;
mod server;
mod session;
mod socket;

use std::os::fd::{BorrowedFd, OwnedFd};

pub use rustix::io::Errno;
pub use server::Server;

/// Region index of configuration space; BAR n is region n.
pub const CONFIG_REGION: usize = 7;
/// Regions that a PCI function reports (BAR0-5, ROM, configuration space, VGA).
pub const REGIONS: usize = 9;
/// Interrupt index of MSI.
pub const MSI_INDEX: u32 = 1;
/// Interrupt index of the error notice.
pub const ERROR_INDEX: u32 = 3;
/// Interrupt indices that a PCI function reports (INTx, MSI, MSI-X, error, request).
pub const IRQ_INDICES: u32 = 5;
/// Most bytes one region access may move; announced at negotiation.
pub const MAX_TRANSFER: u32 = 1 << 20;
/// Most descriptors one message may carry; announced at negotiation.
pub const MAX_DESCRIPTORS: usize = 8;

/// A part of a region that the client may map, in bytes from the region's start and from the file's start alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// First byte, page aligned.
    pub offset: u64,
    /// Bytes, a multiple of the page size.
    pub len: u64,
}

/// What a client learns about one region.
#[derive(Debug, Clone, Default)]
pub struct Region<'a> {
    /// Bytes; 0 = the region does not exist.
    pub size: u64,
    /// The file behind the mappable areas, and these areas; `None` = every access is a message.
    pub file: Option<(BorrowedFd<'a>, Vec<Area>)>,
}

/// What SET_IRQS asks for on a range of vectors.
#[derive(Debug)]
pub enum IrqAction {
    /// Signal these descriptors from now on; the first belongs to the first vector of the range.
    Attach(Vec<OwnedFd>),
    /// Signal nothing any more.
    Detach,
    /// Raise the vectors whose flag is set, as the device would.
    Trigger(Vec<bool>),
    /// Mask (true) or unmask the vectors whose flag is set.
    Mask(bool, Vec<bool>),
}

/// A window of the client's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaWindow {
    /// First bus address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Where the window starts in the passed file.
    pub file_offset: u64,
}

/// A PCI function behind a server. Calls come from the server's one thread, in the order of the client's messages; other
/// threads may call the same object directly.
pub trait Device: Send + Sync {
    /// Describes region `index`, 0 .. [`REGIONS`].
    fn region(&self, index: usize) -> Region<'_>;

    /// Reads `data.len()` bytes, 1 ..= [`MAX_TRANSFER`], that lie inside region `index`.
    ///
    /// # Errors
    /// The number that the client gets.
    fn read(&self, index: usize, offset: u64, data: &mut [u8]) -> Result<(), Errno>;

    /// Writes `data.len()` bytes, 1 ..= [`MAX_TRANSFER`], that lie inside region `index`.
    ///
    /// # Errors
    /// The number that the client gets.
    fn write(&self, index: usize, offset: u64, data: &[u8]) -> Result<(), Errno>;

    /// Vectors of interrupt index `index`, 0 .. [`IRQ_INDICES`].
    fn irq_count(&self, index: u32) -> u32;

    /// Acts on vectors `start .. start + count` of interrupt index `index`, a range that [`Self::irq_count`] allows.
    ///
    /// # Errors
    /// The number that the client gets.
    fn set_irqs(&self, index: u32, start: u32, count: u32, action: IrqAction) -> Result<(), Errno>;

    /// Learns that a window of the client's memory became visible; without a descriptor it is not shared (the function's own
    /// BARs come back this way).
    fn dma_map(&self, window: DmaWindow, file: Option<OwnedFd>);

    /// Learns that a window is gone.
    fn dma_unmap(&self, address: u64, size: u64);

    /// Resets the function: what a reset of the client's machine does to it.
    fn reset(&self);

    /// Learns that the client is gone: its descriptors must be dropped, the device state stays.
    fn disconnected(&self);
}
