//! Global memory as the engine sees it.
//!
//! The simulator owns none: the card passes its memories here, behind its MMU and protection.

/// An access that memory refused: unmapped, protected, or outside of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// The first byte that cannot be accessed, or the address of the access.
    pub address: u64,
}

/// Byte-addressed memory in the device's address space (the addresses that descriptors hold).
///
/// An access may have any length and alignment. A refused access may have been done in part.
pub trait Memory {
    /// Fills `out` from `address` on.
    ///
    /// # Errors
    ///
    /// [`MemoryFault`] when a byte cannot be read.
    fn read(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault>;

    /// Writes `data` from `address` on.
    ///
    /// # Errors
    ///
    /// [`MemoryFault`] when a byte cannot be written.
    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryFault>;
}

/// Plain memory from one base address on: for tests and for running kernels without a card.
#[derive(Clone, Debug)]
pub struct FlatMemory {
    base: u64,
    bytes: Vec<u8>,
}

impl FlatMemory {
    /// `size` zero bytes from `base` on.
    #[must_use]
    pub fn new(base: u64, size: usize) -> Self {
        Self { base, bytes: vec![0; size] }
    }

    fn range(&self, address: u64, length: usize) -> Result<core::ops::Range<usize>, MemoryFault> {
        let start = address.checked_sub(self.base).and_then(|offset| usize::try_from(offset).ok());
        start
            .and_then(|start| Some(start..start.checked_add(length)?))
            .filter(|range| range.end <= self.bytes.len())
            .ok_or(MemoryFault { address })
    }
}

impl Memory for FlatMemory {
    fn read(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, out.len())?;
        // PANIC: `range` lies inside `bytes` and has the length of `out`.
        out.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, data.len())?;
        // PANIC: as in `read`.
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }
}
