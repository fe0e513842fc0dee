//! Page tables of the control image: identity mapping, every region with the least rights that it needs.
//!
//! Built once at start-up on the boot core, from the start-up heap, and never changed afterwards; the other cores use the
//! same tables. Code is read-execute, everything else never executable; below each stack lies an unmapped guard page. What
//! the card publishes (register shadow, information page) is read-only. Memory behind BARs is mapped only as far as the card
//! says that it exists, so a stray access faults here instead of killing the machine.

use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_paging::MapError;
use aarch64_paging::descriptor::El1Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El1And0, MemoryRegion};
use cortex_a::asm::barrier;
use cortex_a::registers::{MAIR_EL1, ReadWriteable, SCTLR_EL1, TCR_EL1, TTBR0_EL1, Writeable};

use coxswain_abi::soc::bar0;

use crate::boot_info::BarAddresses;
use crate::memory_map::{BOOT_INFO, RAM};
use crate::soc::Soc;

/// Tables start at level 0: the 40-bit physical address space does not fit into level 1 alone.
const ROOT_LEVEL: usize = 0;
/// Interrupt controller and UARTs.
const DEVICES: core::ops::Range<u64> = 0x0800_0000..0x0A00_0000;
/// Bytes of ordinary RAM that are mapped.
const RAM_SIZE: u64 = 0x1000_0000;
/// Boot information and epitaph.
const RECORDS_SIZE: u64 = 0x2000;
/// Page size.
const PAGE: u64 = 0x1000;

/// Physical address of the root table, for the other cores; 0 before [`enable`].
static ROOT: AtomicU64 = AtomicU64::new(0);

const COMMON: El1Attributes =
    El1Attributes::VALID.union(El1Attributes::ACCESSED).union(El1Attributes::INNER_SHAREABLE).union(El1Attributes::UXN);
/// Device-nGnRE, never executable.
const DEVICE: El1Attributes = COMMON.union(El1Attributes::ATTRIBUTE_INDEX_0).union(El1Attributes::PXN);
/// Normal write-back memory, read-write, never executable.
const DATA: El1Attributes = COMMON.union(El1Attributes::ATTRIBUTE_INDEX_1).union(El1Attributes::PXN);
/// The same, read-only.
const READ_ONLY: El1Attributes = DATA.union(El1Attributes::READ_ONLY);
/// Normal memory, read-execute.
const CODE: El1Attributes = COMMON.union(El1Attributes::ATTRIBUTE_INDEX_1).union(El1Attributes::READ_ONLY);

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
    static __stacks_start: u8;
    static __stack_top: u8;
    static __image_end: u8;
    static __stack_stride: u8;
}

/// The address of a linker symbol.
fn address(symbol: *const u8) -> u64 {
    symbol as u64
}

/// The tables under construction.
struct Builder(IdMap<El1And0>);

impl Builder {
    /// Maps `start .. end`, widened to whole pages.
    fn map(&mut self, start: u64, end: u64, attributes: El1Attributes) -> Result<(), MapError> {
        if start >= end {
            return Ok(());
        }
        self.0.map_range(&MemoryRegion::new(start as usize, end as usize), attributes)
    }

    /// Maps `length` bytes from `start`, widened to whole pages.
    fn map_length(&mut self, start: u64, length: u64, attributes: El1Attributes) -> Result<(), MapError> {
        self.map(start, start.saturating_add(length), attributes)
    }

    /// Maps the image's own sections and stacks.
    fn map_image(&mut self) -> Result<(), MapError> {
        let text = (address(&raw const __text_start), address(&raw const __text_end));
        let constants = (address(&raw const __rodata_start), address(&raw const __rodata_end));
        let data = (address(&raw const __data_start), address(&raw const __data_end));
        let stacks = (address(&raw const __stacks_start), address(&raw const __stack_top));
        // A linker constant: the symbol's address is the value.
        let stride = address(&raw const __stack_stride).max(2 * PAGE);
        self.map(text.0, text.1, CODE)?;
        self.map(constants.0, constants.1, READ_ONLY)?;
        self.map(data.0, data.1, DATA)?;
        let mut stack = stacks.0;
        while stack < stacks.1 {
            // The first page of each stack is its guard.
            self.map(stack + PAGE, stack + stride, DATA)?;
            stack += stride;
        }
        // Fault stacks.
        self.map(stacks.1, address(&raw const __image_end), DATA)
    }

    /// Maps the machine and the SoC-side function.
    fn map_machine(&mut self, bars: &BarAddresses, soc: &Soc) -> Result<(), MapError> {
        self.map(DEVICES.start, DEVICES.end, DEVICE)?;
        self.map_length(BOOT_INFO, RECORDS_SIZE, DATA)?;
        self.map_length(RAM, RAM_SIZE, DATA)?;
        let base = bars.bar0;
        self.map_length(base + bar0::SRAM, bar0::SRAM_WINDOW, DATA)?;
        self.map_length(base + bar0::SHADOW, bar0::SHADOW_SIZE, READ_ONLY)?;
        self.map_length(base + bar0::INFO, PAGE, READ_ONLY)?;
        self.map(base + bar0::CONTROL, base + bar0::HBM_BLOCKS, DATA)?;
        self.map_length(base + bar0::HBM_BLOCKS, bar0::HBM_BLOCKS_SIZE, READ_ONLY)?;
        self.map_length(base + bar0::KICK, PAGE, DEVICE)?;
        self.map_length(bars.bar2, soc.host.bytes(), DATA)?;
        self.map_length(bars.bar4, soc.hbm.bytes(), DATA)
    }
}

/// Builds the tables and switches the MMU and the caches on. The boot core of the control image calls this once.
///
/// # Safety
/// `bars` must be the addresses at which `soc` is attached. The heap has its memory, and no other core of the image runs.
///
/// # Errors
/// [`MapError`] when a region cannot be mapped; the MMU stays off.
pub unsafe fn enable(bars: &BarAddresses, soc: &Soc) -> Result<(), MapError> {
    let mut builder = Builder(IdMap::with_asid(0, ROOT_LEVEL, El1And0));
    builder.map_image()?;
    builder.map_machine(bars, soc)?;
    let mut map = builder.0;
    let root = map.root_address().0 as u64;
    map.mark_active();
    // The tables live as long as the image.
    core::mem::forget(map);
    ROOT.store(root, Ordering::Relaxed);
    barrier::dsb(barrier::SY);
    // SAFETY: the tables map everything this image uses, each address to itself.
    unsafe { switch_on(root) };
    Ok(())
}

/// Switches the MMU of another core on, with the tables of [`enable`].
///
/// # Safety
/// [`enable`] has succeeded on the boot core.
pub unsafe fn enable_on_this_core() {
    // SAFETY: the caller vouches that the tables exist; they map everything to itself.
    unsafe { switch_on(ROOT.load(Ordering::Relaxed)) };
}

/// Address of the cell that other cores read with their MMU off; it must be clean in the caches then.
pub(crate) fn root_cell() -> *const AtomicU64 {
    &raw const ROOT
}

/// Programs the translation registers and switches MMU and caches on.
///
/// # Safety
/// `root` is a complete level-0 table that maps everything in use to itself.
unsafe fn switch_on(root: u64) {
    MAIR_EL1.write(
        MAIR_EL1::Attr0_Device::nonGathering_nonReordering_EarlyWriteAck
            + MAIR_EL1::Attr1_Normal_Outer::WriteBack_NonTransient_ReadWriteAlloc
            + MAIR_EL1::Attr1_Normal_Inner::WriteBack_NonTransient_ReadWriteAlloc,
    );
    TCR_EL1.write(
        TCR_EL1::T0SZ.val(16)
            + TCR_EL1::TG0::KiB_4
            + TCR_EL1::SH0::Inner
            + TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
            + TCR_EL1::EPD1::DisableTTBR1Walks
            + TCR_EL1::IPS::Bits_40,
    );
    TTBR0_EL1.set(root);
    barrier::isb(barrier::SY);
    // SAFETY: drops translations of whatever was active before; nothing was.
    unsafe { core::arch::asm!("tlbi vmalle1", "ic iallu", "dsb sy", "isb", options(nostack)) };
    // WXN: what can be written cannot be executed.
    SCTLR_EL1.modify(SCTLR_EL1::M::Enable + SCTLR_EL1::C::Cacheable + SCTLR_EL1::I::Cacheable + SCTLR_EL1::WXN::Enable);
    barrier::isb(barrier::SY);
}
