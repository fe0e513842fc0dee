//! Host memory shared with the device: mapped buffers and command buffers.
//!
//! Other parties - the device, through DMA - read and write this memory while the program runs. So it is never lent out
//! as a slice: bytes are copied in and out.

use super::{Device, DeviceError, call, uapi};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};

/// A mapping of `length` bytes that this value owns.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn range(&self, offset: usize, length: usize) -> Result<NonNull<u8>, DeviceError> {
        match offset.checked_add(length) {
            // SAFETY: `offset` is at most the length of the mapping, so the result stays in it or one past its end.
            Some(end) if end <= self.length => Ok(unsafe { self.start.add(offset) }),
            _ => Err(DeviceError::Argument("a range outside the buffer")),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let target = self.range(offset, bytes.len())?;
        // SAFETY: `range` checked that the target lies in the mapping, which is writable and owned by `self`; `bytes`
        // is an ordinary Rust slice and so no part of it.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Ok(())
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let source = self.range(offset, bytes.len())?;
        // SAFETY: as in `write`, with the roles exchanged. The device may be writing the same bytes when the caller
        // reads before a completion: the copy then holds arbitrary bytes, and every byte is a valid u8.
        unsafe { source.copy_to_nonoverlapping(NonNull::from(&mut *bytes).cast(), bytes.len()) };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it exists: only copies leave this module.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn page_rounded(bytes: usize) -> Result<usize, DeviceError> {
    let page = rustix::param::page_size();
    match bytes.checked_next_multiple_of(page) {
        Some(0) | None => Err(DeviceError::Argument("a buffer of no or of too many bytes")),
        Some(rounded) => Ok(rounded),
    }
}

/// Ordinary memory, pinned and mapped into the device's address space.
#[derive(Debug)]
pub struct HostBuffer<'device> {
    device: &'device Device,
    mapping: Mapping,
    device_address: u64,
}

impl<'device> HostBuffer<'device> {
    /// Allocates `bytes` (rounded up to pages, zeroed) and maps them.
    ///
    /// # Errors
    /// No memory, or the driver refuses the mapping.
    pub fn new(device: &'device Device, bytes: usize) -> Result<Self, DeviceError> {
        let length = page_rounded(bytes)?;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of the program.
        let start =
            unsafe { mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
        let start = start.map_err(|errno| DeviceError::Refused { operation: "allocating memory", errno })?;
        let start = NonNull::new(start.cast()).ok_or(DeviceError::Answer("memory at address 0"))?;
        let mapping = Mapping { start, length };
        let mut args = uapi::MemoryArgs {
            argument: [start.as_ptr().expose_provenance() as u64, 0, length as u64],
            op: uapi::memory_op::MAP,
            flags: uapi::memory_op::USER_POINTER,
            ..Default::default()
        };
        device.memory("mapping host memory", &mut args)?;
        match args.argument[0] {
            0 => Err(DeviceError::Answer("device address 0 for host memory")),
            device_address => Ok(Self { device, mapping, device_address }),
        }
    }

    /// Bytes of the buffer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapping.length
    }

    /// False: a buffer has at least one page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mapping.length == 0
    }

    /// Device address of byte `offset`.
    #[must_use]
    pub fn address(&self, offset: usize) -> u64 {
        self.device_address + offset as u64
    }

    /// Copies bytes into the buffer.
    ///
    /// # Errors
    /// The range is outside the buffer.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.mapping.write(offset, bytes)
    }

    /// Copies bytes out of the buffer. What the device is writing at this moment is read in any mixture.
    ///
    /// # Errors
    /// The range is outside the buffer.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.mapping.read(offset, bytes)
    }
}

impl Drop for HostBuffer<'_> {
    fn drop(&mut self) {
        let mut args = uapi::MemoryArgs {
            argument: [self.device_address, 0, 0],
            op: uapi::memory_op::UNMAP,
            ..Default::default()
        };
        // Refused during a reset; the driver then unmaps at close and holds the pages until it did.
        let _ = self.device.memory("unmapping host memory", &mut args);
    }
}

/// A command buffer for external queues: the driver's memory, mapped into the program.
///
/// The driver copies the packets at submission: the buffer may be rewritten as soon as the call returned.
#[derive(Debug)]
pub struct CommandBuffer<'device> {
    device: &'device Device,
    /// Unmapped before the driver is asked to destroy the buffer.
    mapping: Option<Mapping>,
    handle: u64,
    used: usize,
}

impl<'device> CommandBuffer<'device> {
    /// Creates a buffer for at least `bytes` of packets, at most [`uapi::CB_LIMIT`].
    ///
    /// # Errors
    /// The driver refuses.
    pub fn new(device: &'device Device, bytes: usize) -> Result<Self, DeviceError> {
        if bytes > uapi::CB_LIMIT {
            return Err(DeviceError::Argument("a command buffer larger than the driver's limit"));
        }
        let length = page_rounded(bytes)?;
        let mut args = uapi::CbArgs { op: uapi::cb_op::CREATE, size: bytes as u32, ..Default::default() };
        Self::control(device, "creating a command buffer", &mut args)?;
        let mut buffer = Self { device, mapping: None, handle: args.handle, used: 0 };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of the program. The handle is
        // the offset that names the buffer to the driver.
        let start = unsafe { mmap(null_mut(), length, protection, MapFlags::SHARED, device.as_fd(), buffer.handle) };
        let start = start.map_err(|errno| DeviceError::Refused { operation: "mapping a command buffer", errno })?;
        let start = NonNull::new(start.cast()).ok_or(DeviceError::Answer("a command buffer at address 0"))?;
        buffer.mapping = Some(Mapping { start, length });
        Ok(buffer)
    }

    /// Replaces the contents by these packets.
    ///
    /// # Errors
    /// They do not fit.
    pub fn set(&mut self, packets: &[u64]) -> Result<(), DeviceError> {
        let mapping = self.mapping.as_mut().ok_or(DeviceError::Argument("an unmapped command buffer"))?;
        for (index, word) in packets.iter().enumerate() {
            mapping.write(8 * index, &word.to_le_bytes())?;
        }
        self.used = 8 * packets.len();
        Ok(())
    }

    /// The driver's name for it.
    #[must_use]
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// Bytes of valid packets.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    fn control(device: &Device, operation: &'static str, args: &mut uapi::CbArgs) -> Result<(), DeviceError> {
        // SAFETY: the number announces exactly the size of `CbArgs` (asserted there), and the driver writes nothing else.
        let result = unsafe { call::<{ uapi::IOCTL_CB }, _>(device.as_fd(), args) };
        result.map_err(|errno| DeviceError::Refused { operation, errno })
    }
}

impl Drop for CommandBuffer<'_> {
    fn drop(&mut self) {
        self.mapping = None;
        let mut args = uapi::CbArgs { handle: self.handle, op: uapi::cb_op::DESTROY, ..Default::default() };
        // Refused during a reset; the driver then destroys it at close.
        let _ = Self::control(self.device, "destroying a command buffer", &mut args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(length: usize) -> Mapping {
        // SAFETY: a new anonymous mapping touches no memory of the program.
        let start =
            unsafe { mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
        Mapping { start: NonNull::new(start.unwrap().cast()).unwrap(), length }
    }

    #[test]
    fn bytes_copied_in_come_out_and_no_range_leaves_the_mapping() {
        let mut mapping = mapping(8192);
        mapping.write(8189, &[1, 2, 3]).unwrap();
        let mut bytes = [9; 4];
        mapping.read(8188, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 1, 2, 3]);
        for (offset, length) in [(8190, 3), (8193, 0), (usize::MAX, 2)] {
            assert!(mapping.write(offset, &vec![0; length]).is_err());
            assert!(mapping.read(offset, &mut vec![0; length]).is_err());
        }
        assert!(mapping.write(8192, &[]).is_ok());
    }

    #[test]
    fn sizes_are_rounded_to_pages_and_zero_is_refused() {
        assert_eq!(page_rounded(1).unwrap(), 4096);
        assert_eq!(page_rounded(4097).unwrap(), 8192);
        assert!(page_rounded(0).is_err());
        assert!(page_rounded(usize::MAX).is_err());
    }
}
