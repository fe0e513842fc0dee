//! What the SoC tests share: a card with fake wires, the management CPU's side of the rings, and the driver's writes.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests: a failed access is a failed test")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use coxswain_abi::regs::{CFG_BASE, dma_core, psoc};
use coxswain_abi::soc::{Attributes, CORES, Notification, PostedWrite, ResetReason, core_block, initiator};
use coxswain_card::memory::Memories;
use coxswain_card::soc::{Soc, SocOptions, Wires};

/// Host memory of a test card.
pub const HOST_BYTES: u64 = 16 << 20;
/// Longest time that a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Counts what the SoC signals.
#[derive(Default)]
pub struct FakeWires {
    pub msis: AtomicU32,
    pub interrupts: [AtomicU64; CORES],
    pub resets: Mutex<Vec<ResetReason>>,
    signal: Mutex<u64>,
    changed: Condvar,
}

impl FakeWires {
    /// Waits until a core interrupt arrived that `seen` does not count yet; false when none came in time.
    pub fn wait_for_interrupt(&self, core: usize, seen: u64) -> bool {
        let guard = self.signal.lock().unwrap();
        let pending = |_: &mut u64| self.interrupts[core].load(Ordering::SeqCst) == seen;
        let (_guard, result) = self.changed.wait_timeout_while(guard, PATIENCE, pending).unwrap();
        !result.timed_out()
    }
}

impl Wires for FakeWires {
    fn raise_host_msi(&self) {
        self.msis.fetch_add(1, Ordering::SeqCst);
    }

    fn raise_core_interrupt(&self, core: usize) {
        let _guard = self.signal.lock().unwrap();
        self.interrupts[core].fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn request_cpu_reset(&self, reason: ResetReason) {
        self.resets.lock().unwrap().push(reason);
    }
}

/// A card and the management CPU's side of its rings.
pub struct Card {
    pub soc: Arc<Soc>,
    pub memories: Arc<Memories>,
    pub wires: Arc<FakeWires>,
}

impl Card {
    pub fn new() -> Self {
        Self::with(SocOptions::default())
    }

    /// A card whose work is done when a write or kick returns.
    pub fn lockstep() -> Self {
        Self::with(SocOptions { lockstep: true, ..Default::default() })
    }

    pub fn with(options: SocOptions) -> Self {
        let memories = Arc::new(Memories::new(HOST_BYTES).unwrap());
        let soc = Soc::new(memories.clone(), options);
        let wires = Arc::new(FakeWires::default());
        soc.connect(wires.clone());
        Self { soc, memories, wires }
    }

    /// Appends posted writes to a core's ring without kicking.
    pub fn publish(&self, core: usize, writes: &[PostedWrite]) {
        let soc = &self.memories.soc;
        let block = core_block::offset(core);
        let mut producer = soc.read_u32(block + core_block::POSTED_PRODUCER).unwrap();
        for write in writes {
            let slot = u64::from(producer % core_block::POSTED_ENTRIES);
            let [first, second] = write.to_words();
            soc.write_u64(block + core_block::POSTED_RING + 16 * slot, first).unwrap();
            soc.write_u64(block + core_block::POSTED_RING + 16 * slot + 8, second).unwrap();
            producer = producer.wrapping_add(1);
        }
        soc.store_release_u32(block + core_block::POSTED_PRODUCER, producer).unwrap();
    }

    /// Appends posted writes and kicks when the idle flag says so.
    pub fn post(&self, core: usize, writes: &[PostedWrite]) {
        self.publish(core, writes);
        fence(Ordering::SeqCst);
        if self.memories.soc.read_u32(core_block::offset(core) + core_block::POSTED_IDLE).unwrap() == 1 {
            self.soc.kick(core);
        }
    }

    /// A field of a core's block.
    pub fn ring_word(&self, core: usize, field: u64) -> u32 {
        self.memories.soc.read_u32(core_block::offset(core) + field).unwrap()
    }

    /// Posts one bus write from core 0.
    pub fn message(&self, address: u64, data: u32, attributes: Attributes) {
        self.post(0, &[PostedWrite { address, data, attributes }]);
    }

    /// Consumes every notification of a core that is there.
    pub fn notifications(&self, core: usize) -> Vec<Notification> {
        self.take(core, u32::MAX)
    }

    /// Consumes at most `limit` notifications of a core.
    pub fn take(&self, core: usize, limit: u32) -> Vec<Notification> {
        let soc = &self.memories.soc;
        let block = core_block::offset(core);
        let producer = soc.load_acquire_u32(block + core_block::NOTIFY_PRODUCER).unwrap();
        let mut consumer = soc.read_u32(block + core_block::NOTIFY_CONSUMER).unwrap();
        let waiting = producer.wrapping_sub(consumer);
        assert!(waiting <= core_block::NOTIFY_ENTRIES, "{waiting} notifications: consumed {consumer} of {producer}");
        let mut out = Vec::new();
        while consumer != producer && (out.len() as u32) < limit {
            let slot = u64::from(consumer % core_block::NOTIFY_ENTRIES);
            let place = block + core_block::NOTIFY_RING + 16 * slot;
            let words = [soc.read_u64(place).unwrap(), soc.read_u64(place + 8).unwrap()];
            out.push(Notification::from_words(words).expect("a known kind"));
            consumer = consumer.wrapping_add(1);
        }
        soc.store_release_u32(block + core_block::NOTIFY_CONSUMER, consumer).unwrap();
        out
    }

    /// Consumes notifications of core 0 until `wanted` is among them; returns all of them.
    pub fn until(&self, wanted: impl Fn(&Notification) -> bool) -> Vec<Notification> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        loop {
            all.extend(self.notifications(0));
            if all.iter().any(&wanted) {
                return all;
            }
            assert!(Instant::now() < deadline, "nothing but {all:?}");
            std::thread::yield_now();
        }
    }

    /// Takes and clears the doorbells of a core.
    pub fn doorbells(&self, core: usize) -> [u64; 2] {
        let place = core_block::offset(core) + core_block::DOORBELLS;
        [self.memories.soc.swap_u64(place, 0).unwrap(), self.memories.soc.swap_u64(place + 8, 0).unwrap()]
    }

    pub fn read(&self, offset: u32) -> u32 {
        self.soc.host_read(offset)
    }

    pub fn write(&self, offset: u32, value: u32) {
        self.soc.host_write(offset, value);
    }

    /// Writes a 64-bit value to a pair of registers, low half first.
    pub fn write_pair(&self, low: u32, high: u32, value: u64) {
        self.write(low, value as u32);
        self.write(high, (value >> 32) as u32);
    }

    /// The driver's writes of one or more groups of `gaudi-init-trace.csv`; host-dependent addresses are written as 0.
    /// Returns what was written, last value per register.
    pub fn replay(&self, group: &str) -> std::collections::BTreeMap<u32, u32> {
        let trace = include_str!("../../../../boards/gaudi/docs/gaudi-init-trace.csv");
        let mut written = std::collections::BTreeMap::new();
        for line in trace.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            if columns[0].starts_with(group) && columns[1] == "W" {
                let offset = u32::from_str_radix(columns[2].trim_start_matches("0x"), 16).unwrap();
                let value = u32::from_str_radix(columns[3].trim_start_matches("0x"), 16).unwrap_or(0);
                self.write(offset, value);
                written.insert(offset, value);
            }
        }
        written
    }

    /// Security and engine set-up as the driver leaves them at the end of its initialisation.
    pub fn initialise(&self) {
        self.replay("hw_init.");
        for index in 0..8 {
            self.write(dma_core::base(index) + dma_core::NON_SECURE_PROPS, 1);
        }
        self.notifications(0);
        self.doorbells(0);
    }

    /// Programs DMA core `index` and commits.
    pub fn dma(&self, index: usize, from: u64, to: u64, len: u32, control: u32) {
        let base = dma_core::base(index);
        self.write_pair(base + dma_core::SRC_BASE_LO, base + dma_core::SRC_BASE_HI, from);
        self.write_pair(base + dma_core::DST_BASE_LO, base + dma_core::DST_BASE_HI, to);
        self.write(base + dma_core::DST_TSIZE_0, len);
        self.write(base + dma_core::COMMIT, control);
    }

    /// Starts a fill of 1 GiB on DMA core `index`: 16384 times the same 64 KiB at `to`. Neither the time that it takes nor the
    /// memory depends on what the card need not store.
    pub fn long_fill(&self, index: usize, pattern: u64, to: u64) {
        const DST_COUNT_1: u32 = 0x54;
        self.write(dma_core::base(index) + DST_COUNT_1, 1 << 14);
        self.write(dma_core::base(index) + DST_COUNT_1 + 4, 0);
        self.dma(index, pattern, to, 64 << 10, dma_core::commit::MEM_SET);
    }

    /// What the harness does after a reset was asked for. The caller holds the CPU: nobody uses its side of the rings now.
    pub fn answer_reset(&self, reason: ResetReason) {
        self.soc.reset_state(reason);
        self.soc.out_of_reset();
    }

    /// Maps `pages` pages of 4 KiB from virtual address `va` of ASID 1 to the given host bus addresses, and loads hop 0.
    pub fn map(&self, va: u64, pages: &[u64]) {
        let hbm = &self.memories.hbm;
        let shifts = [48, 39, 30, 21, 12];
        let mut next = 0x1000_2000;
        for (page, host) in pages.iter().enumerate() {
            let va = va + 4096 * page as u64;
            let mut table = 0x1000_1000;
            for shift in &shifts[..4] {
                let entry = table + 8 * (va >> shift & 0x1FF);
                let mut value = hbm.read_u64(entry).unwrap();
                if value == 0 {
                    value = next | 1;
                    next += 0x1000;
                    hbm.write_u64(entry, value).unwrap();
                }
                table = value & !0xFFF;
            }
            hbm.write_u64(table + 8 * (va >> 12 & 0x1FF), (0x80_0000_0000 + host) | 0x801).unwrap();
        }
        use coxswain_abi::regs::mmu;
        self.write(mmu::STLB_ASID, 1);
        self.write(mmu::STLB_HOP0_PA43_12, 0x1_0001);
        self.write(mmu::STLB_HOP0_PA49_44, 0);
        self.write(mmu::STLB_BUSY, 0x8000_0000);
        self.write(mmu::MMU_ENABLE, 1);
    }
}

/// Absolute address of a register.
pub fn cfg(offset: u32) -> u64 {
    CFG_BASE + u64::from(offset)
}

/// A user's packet of a stream.
pub fn user(qman: usize, stream: usize) -> Attributes {
    Attributes::new(false, false, 1, initiator(qman, stream))
}

/// A driver-secured packet of a stream.
pub fn secured(qman: usize, stream: usize) -> Attributes {
    Attributes::new(true, true, 0, initiator(qman, stream))
}

/// A bus write of the management CPU.
pub fn cpu_write(offset: u32, data: u32) -> PostedWrite {
    PostedWrite { address: cfg(offset), data, attributes: Attributes::CPU }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// A write of the message register, as a notification.
pub fn kmd_msg(value: u32) -> Notification {
    Notification::RegisterWrite { offset: psoc::KMD_MSG_TO_CPU, value, secure: true }
}
