//! The MMU: page walk, hop-0 loads, invalidation (`gaudi-mmu-sync.md` 1).
//!
//! For: translating the accesses of engines and command processors. Owns: the hop-0 base of each ASID and the generation
//! counter, both published in the information page. Never: keeps a translation; every access walks the tables, so an
//! invalidation has only the firmware's own cache to invalidate, which the generation counter does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use coxswain_abi::regs::mmu as regs;
use coxswain_abi::soc::{bar0, info};

use super::register_file::RegisterFile;
use crate::memory::Memories;

/// Address spaces of the card (`gaudi-soc.md` 2.3).
pub(super) const ASIDS: usize = 2;
/// Entries are 64 bits.
const ENTRY: u64 = 8;
/// PTE: the entry is valid.
const PRESENT: u64 = 1;
/// PTE: the entry is a leaf.
const LAST: u64 = 1 << 11;
/// PTE: flag bits; the rest is the address.
const FLAGS: u64 = 0xFFF;
/// Virtual address bits.
const VA_BITS: u32 = 50;
/// Lowest virtual address bit and number of index bits of each hop.
const HOPS: [(u32, u32); 5] = [(48, 2), (39, 9), (30, 9), (21, 9), (12, 9)];
/// The hop that may hold 2 MiB leaves.
const LARGE_PAGE_HOP: usize = 3;
/// STLB_BUSY: a hop-0 load is asked for, or running.
const BUSY: u32 = 1 << 31;
/// STLB_INV_PS: the value that runs the invalidation (1.5 step 3).
const INVALIDATE: u32 = 2;

/// A translated address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Translation {
    /// Physical address.
    pub address: u64,
    /// Bytes from there to the end of the page.
    pub len: u64,
}

/// The MMU. All of it may be used without the bus lock but [`Self::write_register`].
pub(super) struct Mmu {
    memories: Arc<Memories>,
    registers: RegisterFile,
    hop0: [AtomicU64; ASIDS],
    generation: AtomicU32,
}

impl Mmu {
    pub fn new(memories: Arc<Memories>, registers: RegisterFile) -> Self {
        Self { memories, registers, hop0: [const { AtomicU64::new(0) }; ASIDS], generation: AtomicU32::new(0) }
    }

    /// True when accesses without bypass are translated.
    pub fn enabled(&self) -> bool {
        self.registers.read(regs::MMU_ENABLE) & 1 != 0
    }

    /// Walks the tables of `asid` for `address`; `None` = page fault.
    pub fn walk(&self, asid: u32, address: u64) -> Option<Translation> {
        if address >> VA_BITS != 0 {
            return None;
        }
        let mut table = self.hop0.get(asid as usize)?.load(Ordering::Acquire);
        // 0 = not loaded; no table lies there (`gaudi-soc.md` 2.2: the management CPU's image area).
        if table == 0 {
            return None;
        }
        for (hop, (shift, bits)) in HOPS.into_iter().enumerate() {
            let index = address >> shift & ((1 << bits) - 1);
            let entry = self.memories.hbm.read_u64(table + ENTRY * index).ok()?;
            if entry & PRESENT == 0 {
                return None;
            }
            let leaf = hop == HOPS.len() - 1 || (hop == LARGE_PAGE_HOP && entry & LAST != 0);
            if leaf {
                let size = 1_u64 << shift;
                let inside = address & (size - 1);
                return Some(Translation { address: (entry & !FLAGS & !(size - 1)) + inside, len: size - inside });
            }
            table = entry & !FLAGS;
        }
        None
    }

    /// A write of one of the STLB command registers; false when `offset` is not one. Under the bus lock.
    pub fn write_register(&self, offset: u32, value: u32) -> bool {
        match offset {
            regs::STLB_BUSY => {
                if value & BUSY != 0 {
                    self.load_hop0();
                }
                self.registers.write(offset, value & !BUSY);
            }
            regs::STLB_INV_PS => {
                if value & 3 == INVALIDATE {
                    self.bump_generation();
                    self.registers.write(offset, 0);
                } else {
                    self.registers.write(offset, value);
                }
            }
            // The tables' cache lies in front of memory that the model reads directly.
            regs::STLB_MEM_CACHE_INVALIDATION => {
                self.bump_generation();
                self.registers.write(offset, 0);
            }
            _ => return false,
        }
        true
    }

    fn load_hop0(&self) {
        let low = u64::from(self.registers.read(regs::STLB_HOP0_PA43_12));
        let high = u64::from(self.registers.read(regs::STLB_HOP0_PA49_44));
        let base = (low | high << 32) << 12 & ((1 << VA_BITS) - 1);
        let asid = self.registers.read(regs::STLB_ASID) as usize;
        if let Some(hop0) = self.hop0.get(asid) {
            hop0.store(base, Ordering::Release);
            let _ = self.memories.soc.write_u64(bar0::INFO + info::HOP0 + 8 * asid as u64, base);
        }
        self.bump_generation();
    }

    /// Tells the firmware's translation cache that it is stale. The count goes on over resets of the card.
    fn bump_generation(&self) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let _ = self.memories.soc.store_release_u64(bar0::INFO + info::MMU_GENERATION, u64::from(generation));
    }

    /// Forgets the hop-0 pointers.
    pub fn reset(&self) {
        for (asid, hop0) in self.hop0.iter().enumerate() {
            hop0.store(0, Ordering::Release);
            let _ = self.memories.soc.write_u64(bar0::INFO + info::HOP0 + 8 * asid as u64, 0);
        }
        self.bump_generation();
    }

    /// Latches a page fault in the capture registers unless one is latched. Under the bus lock.
    pub fn capture_page_fault(&self, address: u64) {
        if self.registers.read(regs::PAGE_ERROR_CAPTURE) & regs::CAPTURE_VALID == 0 {
            self.registers.write(regs::PAGE_ERROR_CAPTURE_VA, address as u32);
            let high = (address >> 32) as u32 & (regs::CAPTURE_VALID - 1);
            self.registers.write(regs::PAGE_ERROR_CAPTURE, regs::CAPTURE_VALID | high);
        }
    }

    /// Latches a blocked access in the capture registers unless one is latched. Under the bus lock.
    pub fn capture_blocked(&self, initiator: u8, write: bool) {
        let (valid, id) = match write {
            true => (regs::RAZWI_WRITE_VLD, regs::RAZWI_WRITE_ID),
            false => (regs::RAZWI_READ_VLD, regs::RAZWI_READ_ID),
        };
        if self.registers.read(valid) == 0 {
            self.registers.write(id, razwi_id(initiator));
            self.registers.write(valid, 1);
        }
    }
}

/// The initiator as the RAZWI registers show it: kind \[23:20\], X \[27:24\], Y \[30:28\] (`gaudi-mmu-sync.md` 1.7).
fn razwi_id(initiator: u8) -> u32 {
    /// Position of each QMAN's engine: DMA0-7, TPC0-7, MME0, MME2.
    const POSITIONS: [(u32, u32); 18] = [
        (0, 1),
        (9, 1),
        (0, 2),
        (9, 2),
        (0, 3),
        (9, 3),
        (0, 4),
        (9, 4),
        (1, 1),
        (2, 1),
        (7, 1),
        (8, 1),
        (1, 6),
        (2, 6),
        (7, 6),
        (8, 6),
        (3, 1),
        (3, 6),
    ];
    let qman = usize::from(initiator >> 3);
    let kind = match qman {
        0..=7 => 2,
        8..=15 => 1,
        16 | 17 => 0,
        _ => 5,
    };
    let (x, y) = POSITIONS.get(qman).copied().unwrap_or((8, 1));
    y << 28 | x << 24 | kind << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mmu() -> Mmu {
        let memories = Arc::new(Memories::new(4096).unwrap());
        Mmu::new(memories.clone(), RegisterFile::new(memories))
    }

    /// Maps `address` to `physical` with tables from 0x1000_2000 up.
    fn map(mmu: &Mmu, asid: u32, address: u64, physical: u64, large: bool) {
        let hbm = &mmu.memories.hbm;
        let hop0 = 0x1000_0000 + 0x1000 * u64::from(asid);
        let mut table = hop0;
        let last = if large { 3 } else { 4 };
        for (hop, (shift, bits)) in HOPS.into_iter().enumerate().take(last) {
            let entry = table + 8 * (address >> shift & ((1 << bits) - 1));
            let next = 0x1000_2000 + 0x1000 * (hop as u64 + 5 * u64::from(asid));
            hbm.write_u64(entry, next | 1).unwrap();
            table = next;
        }
        let (shift, bits) = HOPS[last];
        hbm.write_u64(table + 8 * (address >> shift & ((1 << bits) - 1)), physical | 0x801).unwrap();
        mmu.registers.write(regs::STLB_ASID, asid);
        mmu.registers.write(regs::STLB_HOP0_PA43_12, (hop0 >> 12) as u32);
        mmu.registers.write(regs::STLB_HOP0_PA49_44, (hop0 >> 44) as u32);
        mmu.write_register(regs::STLB_BUSY, BUSY);
    }

    #[test]
    fn a_4_kib_page_is_walked_through_five_hops() {
        let mmu = mmu();
        map(&mmu, 1, 0x1_2345_6789_A000, 0x80_0123_4000, false);
        assert_eq!(mmu.walk(1, 0x1_2345_6789_A123), Some(Translation { address: 0x80_0123_4123, len: 0xEDD }));
        assert_eq!(mmu.walk(1, 0x1_2345_6789_B000), None, "the next page is not mapped");
        assert_eq!(mmu.walk(0, 0x1_2345_6789_A123), None, "another address space");
        assert_eq!(mmu.registers.read(regs::STLB_BUSY), 0);
    }

    #[test]
    fn a_2_mib_leaf_ends_the_walk_at_hop_3() {
        let mmu = mmu();
        map(&mmu, 1, 0x1_2345_6780_0000, 0x80_0120_0000, true);
        assert_eq!(
            mmu.walk(1, 0x1_2345_679F_FFFF),
            Some(Translation { address: 0x80_013F_FFFF, len: 1 }),
            "the last byte of the page"
        );
        assert_eq!(mmu.walk(1, 0x1_2345_67A0_0000), None);
    }

    #[test]
    fn an_address_beyond_50_bits_or_an_unknown_asid_faults() {
        let mmu = mmu();
        map(&mmu, 1, 0x1_2345_6789_A000, 0x80_0123_4000, false);
        assert_eq!(mmu.walk(1, 1 << 50 | 0x1_2345_6789_A000), None);
        assert_eq!(mmu.walk(2, 0x1_2345_6789_A000), None);
    }

    #[test]
    fn a_table_outside_the_memory_faults() {
        let mmu = mmu();
        map(&mmu, 1, 0x1_2345_6789_A000, 0x80_0123_4000, false);
        mmu.memories.hbm.write_u64(0x1000_1000 + 8, 0x000F_FFFF_FFFF_F001).unwrap();
        assert_eq!(mmu.walk(1, 0x1_2345_6789_A000), None);
    }

    #[test]
    fn an_invalidation_bumps_the_generation_and_reads_back_zero() {
        let mmu = mmu();
        let generation = || mmu.memories.soc.read_u64(bar0::INFO + info::MMU_GENERATION).unwrap();
        let before = generation();
        mmu.write_register(regs::STLB_INV_PS, 3);
        assert_eq!(mmu.registers.read(regs::STLB_INV_PS), 3);
        assert_eq!(generation(), before);
        mmu.write_register(regs::STLB_INV_PS, 2);
        assert_eq!(mmu.registers.read(regs::STLB_INV_PS), 0);
        assert_eq!(generation(), before + 1);
    }

    #[test]
    fn the_first_fault_stays_captured_until_the_host_clears_it() {
        let mmu = mmu();
        mmu.capture_page_fault(0x1_2345_6789_A000);
        mmu.capture_page_fault(0x1_0000_0000_0000);
        assert_eq!(mmu.registers.read(regs::PAGE_ERROR_CAPTURE), 0x4_0000 | 0x1_2345);
        assert_eq!(mmu.registers.read(regs::PAGE_ERROR_CAPTURE_VA), 0x6789_A000);
        mmu.registers.write(regs::PAGE_ERROR_CAPTURE, 0);
        mmu.capture_page_fault(0x3_0000_0000_1000);
        assert_eq!(mmu.registers.read(regs::PAGE_ERROR_CAPTURE), 0x4_0000 | 0x3_0000);
    }

    #[test]
    fn the_razwi_id_names_the_initiator_s_place_on_the_chip() {
        assert_eq!(razwi_id(5 << 3), 0x3920_0000, "DMA5 is at (9,3)");
        assert_eq!(razwi_id(15 << 3 | 7), 0x6810_0000, "TPC7 is at (8,6)");
        assert_eq!(razwi_id(17 << 3), 0x6300_0000, "MME2 is at (3,6)");
        assert_eq!(razwi_id(0xFF), 0x1850_0000, "the CPU is at (8,1)");
    }
}
