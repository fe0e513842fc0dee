//! The card's side of the shared memory, for host tests: ordinary memory in the layout of [`coxswain_abi::soc`] and the
//! card's half of the ring rules.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::vec::Vec;

use coxswain_abi::soc::{Notification, PostedWrite, bar0, core_block, info};

use crate::boot_info::BarAddresses;
use crate::soc::Soc;

/// Host memory of the fake.
pub const HOST_BYTES: u64 = 0x40_0000;
/// HBM of the fake: more than the half gigabyte that is closed to users. Untouched pages cost nothing.
pub const HBM_BYTES: u64 = 0x2800_0000;
/// What the kick register holds before a kick.
pub const NO_KICK: u32 = 0xFFFF_FFFF;
/// What the register that makes blocks present holds before it is written.
pub const NO_FETCH: u32 = 0xFFFF_FFFF;

/// Zeroed memory. The small alignment lets the allocator take untouched pages from the system instead of clearing them.
struct Memory {
    base: *mut u8,
    layout: Layout,
}

impl Memory {
    fn new(bytes: u64) -> Self {
        let layout = Layout::from_size_align(bytes as usize, 16).unwrap();
        // SAFETY: the layout has a size.
        let base = unsafe { alloc_zeroed(layout) };
        assert!(!base.is_null());
        Self { base, layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.base, self.layout) };
    }
}

/// The card.
pub struct FakeCard {
    bar0: Memory,
    /// Kept for as long as `soc` refers to them.
    _backing: [Memory; 2],
    pub soc: Soc,
}

// SAFETY: all accesses to the memories are atomic.
unsafe impl Sync for FakeCard {}

impl FakeCard {
    /// A card in its power-on state with the usual ring sizes.
    pub fn new() -> Self {
        Self::with_rings(core_block::POSTED_ENTRIES, core_block::NOTIFY_ENTRIES).unwrap()
    }

    /// A card with other ring sizes; the attach error when firmware refuses it.
    pub fn with_rings(posted: u32, notify: u32) -> Result<Self, crate::soc::AttachError> {
        Self::with_page(|page| {
            page(info::POSTED_ENTRIES, posted);
            page(info::NOTIFY_ENTRIES, notify);
        })
    }

    /// A card whose information page is changed by `change` before firmware attaches.
    pub fn with_page(change: impl FnOnce(&mut dyn FnMut(u64, u32))) -> Result<Self, crate::soc::AttachError> {
        let (bar0, host, hbm) = (Memory::new(bar0::SIZE), Memory::new(HOST_BYTES), Memory::new(HBM_BYTES));
        let mut put = |offset: u64, value: u32| {
            // SAFETY: inside the allocation, aligned.
            unsafe { AtomicU32::from_ptr(bar0.base.add((bar0::INFO + offset) as usize).cast()) }
                .store(value, Ordering::Relaxed);
        };
        put(info::MAGIC, info::MAGIC_VALUE);
        put(info::VERSION, info::VERSION_VALUE);
        put(info::POSTED_ENTRIES, core_block::POSTED_ENTRIES);
        put(info::NOTIFY_ENTRIES, core_block::NOTIFY_ENTRIES);
        put(info::HOST_BYTES, HOST_BYTES as u32);
        put(info::HBM_BYTES, HBM_BYTES as u32);
        change(&mut put);
        let bars = BarAddresses {
            bar0: bar0.base as u64,
            bar2: host.base as u64,
            bar2_bytes: HOST_BYTES,
            bar4: hbm.base as u64,
            bar4_bytes: HBM_BYTES,
        };
        // SAFETY: the three memories live as long as the fake, which owns the result.
        let soc = unsafe { Soc::attach(&bars) }?;
        let card = Self { bar0, _backing: [host, hbm], soc };
        card.word(bar0::KICK).store(NO_KICK, Ordering::Relaxed);
        card.word(bar0::HBM_FETCH).store(NO_FETCH, Ordering::Relaxed);
        Ok(card)
    }

    /// A 32-bit cell of BAR0.
    pub fn word(&self, offset: u64) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < bar0::SIZE);
        // SAFETY: inside the allocation (just checked), aligned, atomic.
        unsafe { AtomicU32::from_ptr(self.bar0.base.add(offset as usize).cast()) }
    }

    /// A 32-bit cell of core 0's block.
    pub fn block(&self, offset: u64) -> &AtomicU32 {
        self.word(core_block::offset(0) + offset)
    }

    /// Writes a register of the shadow.
    pub fn set_register(&self, offset: u32, value: u32) {
        self.word(bar0::SHADOW + u64::from(offset)).store(value, Ordering::Relaxed);
    }

    /// Writes a 64-bit field of the information page.
    pub fn set_info(&self, offset: u64, value: u64) {
        self.word(bar0::INFO + offset).store(value as u32, Ordering::Relaxed);
        self.word(bar0::INFO + offset + 4).store((value >> 32) as u32, Ordering::Release);
    }

    /// Writes a 64-bit word of HBM.
    pub fn set_hbm(&self, offset: u64, value: u64) {
        assert!(self.soc.hbm.write_bytes(offset, &value.to_le_bytes()));
    }

    /// Writes a 64-bit word of host memory.
    pub fn set_host(&self, offset: u64, value: u64) {
        assert!(self.soc.host.write_bytes(offset, &value.to_le_bytes()));
    }

    /// Takes the kick: the core that kicked, if one did since the last call.
    pub fn take_kick(&self) -> Option<u32> {
        let value = self.word(bar0::KICK).swap(NO_KICK, Ordering::SeqCst);
        (value != NO_KICK).then_some(value)
    }

    /// The card's side of core 0's posted-write ring: consumes everything that is published.
    pub fn consume(&self) -> Vec<PostedWrite> {
        let size = self.soc.posted_entries();
        let consumer = self.block(core_block::POSTED_CONSUMER);
        let mut taken = Vec::new();
        loop {
            let index = consumer.load(Ordering::Relaxed);
            if index == self.block(core_block::POSTED_PRODUCER).load(Ordering::Acquire) {
                return taken;
            }
            let slot = core_block::POSTED_RING + 16 * u64::from(index % size);
            let word = |at| u64::from(self.block(slot + at).load(Ordering::Relaxed));
            taken.push(PostedWrite::from_words([word(0) | word(4) << 32, word(8) | word(12) << 32]));
            consumer.store(index.wrapping_add(1), Ordering::Release);
        }
    }

    /// The card's side of core 0's notification ring: false when it is full.
    pub fn notify(&self, words: [u64; 2]) -> bool {
        let size = self.soc.notify_entries();
        let producer = self.block(core_block::NOTIFY_PRODUCER);
        let index = producer.load(Ordering::Relaxed);
        if index.wrapping_sub(self.block(core_block::NOTIFY_CONSUMER).load(Ordering::Acquire)) >= size {
            return false;
        }
        let slot = core_block::NOTIFY_RING + 16 * u64::from(index % size);
        for (at, value) in [(0, words[0]), (8, words[1])] {
            self.block(slot + at).store(value as u32, Ordering::Relaxed);
            self.block(slot + at + 4).store((value >> 32) as u32, Ordering::Relaxed);
        }
        producer.store(index.wrapping_add(1), Ordering::Release);
        true
    }

    /// Publishes a notification and says whether the card raises its interrupt.
    pub fn notify_and_interrupt(&self, notification: Notification) -> Option<bool> {
        if !self.notify(notification.to_words()) {
            return None;
        }
        fence(Ordering::SeqCst);
        Some(self.block(core_block::WANT_INTERRUPT).swap(0, Ordering::SeqCst) == 1)
    }
}
