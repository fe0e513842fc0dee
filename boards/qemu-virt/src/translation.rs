//! Translation of the device MMU, for reads that firmware does itself: the five-hop walk through HBM with a small cache.
//!
//! The card's MMU is hardware and translates what engines and posted writes do. Command buffers are fetched by firmware
//! through mapped memory, so the same tables are walked here (`gaudi-mmu-sync.md` 1.2). A cached translation is valid for one
//! value of the card's generation counter, which the card bumps before an invalidation completes (`decisions.md` 3.9).

use core::sync::atomic::{AtomicU64, Ordering};

use coxswain_abi::soc::info;

use crate::hbm::HbmWindow;
use crate::soc::Soc;

/// Entries of the cache; a power of two. A CB of 2 MiB pages needs one entry per stream and direction.
const CACHE_ENTRIES: usize = 64;
/// Smallest page.
const PAGE_SHIFT: u32 = 12;
/// Address spaces of the card.
const ASIDS: u32 = 2;
/// Virtual addresses have 50 bits.
const VA_BITS: u32 = 50;
/// Shifts of the five hops and the mask of their indices.
const HOPS: [(u32, u64); 5] = [(48, 0x3), (39, 0x1FF), (30, 0x1FF), (21, 0x1FF), (12, 0x1FF)];
const PRESENT: u64 = 1;
const LAST: u64 = 1 << 11;
const ADDRESS: u64 = !0xFFF;

/// One cached 4 KiB translation.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Virtual page number << 1 | ASID; `u64::MAX` = empty.
    tag: u64,
    /// Physical address of the page.
    physical: u64,
}

const EMPTY: Entry = Entry { tag: u64::MAX, physical: 0 };

/// The page walker with its cache.
#[derive(Debug)]
pub struct Translator {
    hbm: HbmWindow,
    hop0: [Option<&'static AtomicU64>; ASIDS as usize],
    generation: Option<&'static AtomicU64>,
    cached_generation: u64,
    cache: [Entry; CACHE_ENTRIES],
}

impl Translator {
    /// A walker over the tables of `soc`.
    #[must_use]
    pub fn new(soc: &Soc) -> Self {
        Self {
            hbm: soc.hbm,
            hop0: [soc.info.double_word(info::HOP0), soc.info.double_word(info::HOP0 + 8)],
            generation: soc.info.double_word(info::MMU_GENERATION),
            cached_generation: 0,
            cache: [EMPTY; CACHE_ENTRIES],
        }
    }

    /// The card's generation counter. What was read under a translation counts when this has not changed afterwards.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    /// Translates `address` in address space `asid`: the physical address and the bytes up to the end of its 4 KiB page.
    /// `None` is a page fault.
    pub fn translate(&mut self, asid: u32, address: u64) -> Option<(u64, u64)> {
        let generation = self.generation();
        if generation != self.cached_generation {
            self.cache = [EMPTY; CACHE_ENTRIES];
            self.cached_generation = generation;
        }
        if asid >= ASIDS || address >> VA_BITS != 0 {
            return None;
        }
        let page = address >> PAGE_SHIFT;
        let inside = address & 0xFFF;
        let tag = page << 1 | u64::from(asid);
        let slot = (page ^ page >> 9) as usize & (CACHE_ENTRIES - 1);
        // PANIC: `slot` is masked to the length of the array, a power of two.
        let entry = &mut self.cache[slot];
        if entry.tag == tag {
            return Some((entry.physical | inside, 0x1000 - inside));
        }
        let hop0 = self.hop0.get(asid as usize).copied().flatten()?.load(Ordering::Acquire);
        let physical = walk(&self.hbm, hop0, address)? & ADDRESS;
        *entry = Entry { tag, physical };
        Some((physical | inside, 0x1000 - inside))
    }
}

/// Walks the tables from `hop0` (0 = not loaded). `None` is a page fault; a table outside HBM is one as well.
fn walk(hbm: &HbmWindow, hop0: u64, address: u64) -> Option<u64> {
    if hop0 == 0 {
        return None;
    }
    let mut table = hop0;
    for (shift, mask) in HOPS {
        let index = address >> shift & mask;
        let entry = hbm.read_u64((table & ADDRESS).checked_add(8 * index)?)?;
        if entry & PRESENT == 0 {
            return None;
        }
        if shift == PAGE_SHIFT || (shift == 21 && entry & LAST != 0) {
            let low = (1 << shift) - 1;
            return Some(entry & ADDRESS & !low | address & low);
        }
        table = entry & ADDRESS;
    }
    None
}
