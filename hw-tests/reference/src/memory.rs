//! Memory that programs live in: separate regions of bytes, nothing between them.

use std::collections::BTreeMap;

/// Regions by first address. Regions do not touch, so a read beyond the end of one fails.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    regions: BTreeMap<u64, Vec<u8>>,
}

impl Memory {
    /// Adds a region, or replaces the one that begins at the same address.
    pub fn put(&mut self, address: u64, bytes: Vec<u8>) {
        self.regions.insert(address, bytes);
    }

    /// Removes the region that begins at `address`.
    pub fn remove(&mut self, address: u64) {
        self.regions.remove(&address);
    }

    /// First address and contents of the region that holds `address`.
    #[must_use]
    pub fn region(&self, address: u64) -> Option<(u64, &[u8])> {
        let (start, bytes) = self.regions.range(..=address).next_back()?;
        (address - start < bytes.len() as u64).then_some((*start, bytes))
    }

    /// The `length` bytes at `address`; `None` when not all of them exist.
    #[must_use]
    pub fn read(&self, address: u64, length: usize) -> Option<&[u8]> {
        let (start, bytes) = self.region(address)?;
        let from = (address - start) as usize;
        bytes.get(from..from.checked_add(length)?)
    }

    /// Replaces bytes inside a region; nothing happens outside.
    pub fn write(&mut self, address: u64, data: &[u8]) {
        if let Some((start, bytes)) = self.regions.range_mut(..=address).next_back() {
            let from = (address - start) as usize;
            if let Some(target) = bytes.get_mut(from..from + data.len()) {
                target.copy_from_slice(data);
            }
        }
    }
}
