//! The page tables of the user's address space (`gaudi-mmu-sync.md` 1.2 to 1.5).
//!
//! Owns the tables in HBM and which virtual addresses are in use. Tables are written through BAR4 in the driver's order
//! and never read back; an invalidation ends every change.

use crate::HostError;
use crate::link::Link;
use crate::memory::{PAGE, Pages};
use coxswain_abi::regs::{HOST_VA_BASE, mmu};
use std::collections::BTreeMap;
use std::time::Duration;

/// Address space of the user.
pub const ASID: u32 = 1;
/// Tables of hop 0: one page per address space.
const HOP0: u64 = 0x1000_0000;
/// Tables of the other hops.
const POOL: u64 = 0x1000_2000;
/// End of the area of page tables.
const POOL_END: u64 = 0x1BF0_0000;
/// Lowest address bit that each hop translates.
const SHIFTS: [u32; 5] = [48, 39, 30, 21, 12];
/// Table index bits of hop 0; the others have nine.
const HOP0_BITS: u64 = 3;
const PRESENT: u64 = 1;
/// Leaf and present.
const LEAF: u64 = 0x801;
/// Granule of virtual addresses: no two mappings share a table of the last hop.
const GRANULE: u64 = 2 << 20;
/// The driver allows 2 ms; a simulated card may be descheduled for longer.
const INVALIDATION: Duration = Duration::from_secs(1);

/// The page tables of ASID 1.
#[derive(Debug)]
pub struct PageTables {
    /// Address of each table by hop (1..=4) and the virtual address bits above it.
    tables: BTreeMap<(usize, u64), u64>,
    next_table: u64,
    next_address: u64,
    invalidations: u32,
}

impl Default for PageTables {
    fn default() -> Self {
        Self { tables: BTreeMap::new(), next_table: POOL, next_address: HOST_VA_BASE, invalidations: 0 }
    }
}

impl PageTables {
    /// Maps pages of the host and returns their virtual address.
    ///
    /// # Errors
    /// The area of page tables is full, or the invalidation does not end.
    pub fn map(&mut self, link: &Link, pages: Pages) -> Result<u64, HostError> {
        let base = self.next_address;
        for offset in (0..pages.bytes).step_by(PAGE as usize) {
            self.map_page(link, base + offset, pages.device_address(offset))?;
        }
        self.next_address = (base + pages.bytes).next_multiple_of(GRANULE);
        self.invalidate(link)?;
        Ok(base)
    }

    /// Unmaps what [`Self::map`] mapped; the virtual addresses are not given out again.
    ///
    /// # Errors
    /// The range was not mapped, or the invalidation does not end.
    pub fn unmap(&mut self, link: &Link, base: u64, bytes: u64) -> Result<(), HostError> {
        for offset in (0..bytes).step_by(PAGE as usize) {
            let address = base + offset;
            let table = self.tables.get(&(4, address >> SHIFTS[3]));
            let table = table.ok_or_else(|| HostError::usage(format!("{address:#x} is not mapped")))?;
            link.write_device(table + 8 * index(4, address), &0u64.to_le_bytes())?;
        }
        self.invalidate(link)
    }

    fn map_page(&mut self, link: &Link, virtual_address: u64, physical: u64) -> Result<(), HostError> {
        let mut table = HOP0 + u64::from(ASID) * PAGE;
        let mut entries = Vec::new();
        for hop in 1..SHIFTS.len() {
            let above = SHIFTS.get(hop - 1).copied().unwrap_or_default();
            let key = (hop, virtual_address >> above);
            let next = match self.tables.get(&key) {
                Some(next) => *next,
                None => {
                    let next = self.next_table;
                    if next >= POOL_END {
                        return Err(HostError::usage("the area of page tables is full"));
                    }
                    self.next_table += PAGE;
                    self.tables.insert(key, next);
                    entries.push((table + 8 * index(hop - 1, virtual_address), next | PRESENT));
                    next
                }
            };
            table = next;
        }
        // The leaf first, then new tables from hop 0 downwards: the driver's order.
        entries.insert(0, (table + 8 * index(4, virtual_address), physical | LEAF));
        for (place, entry) in entries {
            link.write_device(place, &entry.to_le_bytes())?;
        }
        Ok(())
    }

    /// Makes the card forget every translation.
    ///
    /// # Errors
    /// It does not end.
    pub fn invalidate(&mut self, link: &Link) -> Result<(), HostError> {
        // The read flushes the writes of the tables.
        link.read_device(HOP0, &mut [0; 8])?;
        self.invalidations = (self.invalidations + 1) % 256;
        link.write(mmu::STLB_INV_PS, 3);
        link.write(mmu::STLB_CACHE_INV, self.invalidations);
        link.write(mmu::STLB_INV_PS, 2);
        link.wait_register(mmu::STLB_INV_PS, "the MMU invalidation", INVALIDATION, |value| value == 0)?;
        link.write(mmu::STLB_INV_SET, 0);
        Ok(())
    }
}

/// Index into a table of hop `hop` (0..=4).
fn index(hop: usize, address: u64) -> u64 {
    let mask = if hop == 0 { HOP0_BITS } else { 0x1FF };
    SHIFTS.get(hop).map_or(0, |shift| address >> shift & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `gaudi-mmu-sync.md` 1.2: five hops, their masks.
    #[test]
    fn an_address_is_cut_into_the_documented_indices() {
        let address = 0x3_FF80_0000_0000 | 5 << 30 | 6 << 21 | 7 << 12 | 0xABC;
        assert_eq!((0..5).map(|hop| index(hop, address)).collect::<Vec<_>>(), [3, 0x1FF, 5, 6, 7]);
        assert_eq!(index(0, HOST_VA_BASE), 1);
    }
}
