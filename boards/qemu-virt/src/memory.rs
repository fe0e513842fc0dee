//! The card's and the host's memory: device-address reads of the queues, and plain copies of the control plane.
//!
//! [`DeviceReader`] decides per access what an initiator may read (`gaudi-mmu-sync.md` 1.1, `qman.md` 7.4, 7.5); the copies of
//! [`HostWindow`] and [`CardWindow`] are the management CPU's own and only bounded.

use core::sync::atomic::Ordering;

use coxswain_abi::regs::{self, mmu};
use coxswain_abi::soc::Attributes;
use coxswain_core::ports::{CardMemory, DeviceMemory, HostMemory, OutOfRange, ReadError, Registers};

use crate::hbm::HbmWindow;
use crate::shadow::Shadow;
use crate::soc::Soc;
use crate::translation::Translator;
use crate::window::Window;

/// Bytes of HBM from 0 that non-secure initiators may not read: firmware and page tables (`qman.md` 7.5).
const HBM_CLOSED: u64 = 0x2000_0000;
/// Reads repeated at most because the translation changed meanwhile. Each repetition needs another invalidation by the host.
const TRANSLATION_RETRIES: usize = 16;

/// Reads of device memory as an initiator of the card.
#[derive(Debug)]
pub struct DeviceReader {
    hbm: HbmWindow,
    sram: Window,
    host: Window,
    shadow: Shadow,
    translator: Translator,
    /// A page fault found since [`Self::take_fault`]: the address.
    fault: Option<u64>,
}

impl DeviceReader {
    /// A reader over the memories of `soc`.
    #[must_use]
    pub fn new(soc: &Soc) -> Self {
        Self {
            hbm: soc.hbm,
            sram: soc.sram,
            host: soc.host,
            shadow: Shadow::new(soc),
            translator: Translator::new(soc),
            fault: None,
        }
    }

    /// Takes the address of the first page fault since the last call, to be latched in the MMU's capture registers.
    pub fn take_fault(&mut self) -> Option<u64> {
        self.fault.take()
    }

    /// Reads `out` from host memory at physical device address `address`; false when it is not host memory.
    #[inline]
    fn read_physical(&self, address: u64, out: &mut [u64]) -> bool {
        address.checked_sub(regs::HOST_BASE).is_some_and(|bus| self.host.read_words(bus, out))
    }

    /// Reads from wherever the address leads.
    fn read_decoded(&mut self, address: u64, access: Attributes, out: &mut [u64]) -> Result<(), ReadError> {
        let unmapped = Err(ReadError::Unmapped { address });
        if !address.is_multiple_of(8) {
            return unmapped;
        }
        // HBM and SRAM are decoded before any translation.
        if regs::within(address, regs::HBM_BASE, regs::HBM_SIZE) {
            if address < HBM_CLOSED && !access.secure() {
                return unmapped;
            }
            return if self.hbm.read_words(address, out) { Ok(()) } else { unmapped };
        }
        if regs::within(address, regs::SRAM_BASE, regs::SRAM_SIZE) {
            return if self.sram.read_words(address - regs::SRAM_BASE, out) { Ok(()) } else { unmapped };
        }
        // The rest of the card's own range - registers, flash, scratchpad - is no memory to fetch from.
        if regs::within(address, regs::SRAM_BASE, regs::HOST_BASE - regs::SRAM_BASE) {
            return unmapped;
        }
        if access.bypass() || self.shadow.read(mmu::MMU_ENABLE) & 1 == 0 {
            return if self.read_physical(address, out) { Ok(()) } else { unmapped };
        }
        self.read_translated(address, access.asid(), out)
    }

    /// Reads through the page tables, page by page. After each page the generation is looked at again: when the host has
    /// invalidated meanwhile, the words may come from a page that is no longer mapped, and are read again.
    fn read_translated(&mut self, address: u64, asid: u32, out: &mut [u64]) -> Result<(), ReadError> {
        let mut at = address;
        let mut rest = out;
        while !rest.is_empty() {
            let mut taken = None;
            for _ in 0..TRANSLATION_RETRIES {
                let generation = self.translator.generation();
                let Some((physical, room)) = self.translator.translate(asid, at) else {
                    if self.translator.generation() != generation {
                        continue;
                    }
                    break;
                };
                let words = rest.len().min((room / 8) as usize);
                let Some(block) = rest.get_mut(..words) else { break };
                if !self.read_physical(physical, block) {
                    return Err(ReadError::Unmapped { address: at });
                }
                // The words above are read before the counter below.
                core::sync::atomic::fence(Ordering::Acquire);
                if self.translator.generation() == generation {
                    taken = Some(words);
                    break;
                }
            }
            let Some(words) = taken else {
                self.fault.get_or_insert(at);
                return Err(ReadError::PageFault { address: at });
            };
            at = at.wrapping_add(8 * words as u64);
            rest = rest.get_mut(words..).unwrap_or_default();
        }
        Ok(())
    }
}

impl DeviceMemory for DeviceReader {
    #[inline]
    fn read_words(&mut self, address: u64, access: Attributes, out: &mut [u64]) -> Result<(), ReadError> {
        // Nearly everything is read from host memory by its physical address: rings and the driver's own buffers. The check
        // of the alignment is the window's: host memory starts on a multiple of 8.
        if address >= regs::HOST_BASE && access.bypass() {
            return if self.read_physical(address, out) { Ok(()) } else { Err(ReadError::Unmapped { address }) };
        }
        self.read_decoded(address, access, out)
    }
}

/// The host's memory by bus address.
#[derive(Debug, Clone, Copy)]
pub struct HostWindow {
    window: Window,
}

impl HostWindow {
    /// The host's memory behind `soc`.
    #[must_use]
    pub const fn new(soc: &Soc) -> Self {
        Self { window: soc.host }
    }
}

impl HostMemory for HostWindow {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        if self.window.read_bytes(address, out) { Ok(()) } else { Err(OutOfRange { address }) }
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        if self.window.write_bytes(address, data) { Ok(()) } else { Err(OutOfRange { address }) }
    }

    fn write_release(&mut self, address: u64, value: u32) -> Result<(), OutOfRange> {
        let cell = self.window.word(address).ok_or(OutOfRange { address })?;
        crate::barrier::full();
        cell.store(value.to_le(), Ordering::Release);
        Ok(())
    }
}

/// SRAM and HBM by device address.
#[derive(Debug, Clone, Copy)]
pub struct CardWindow {
    sram: Window,
    hbm: HbmWindow,
}

impl CardWindow {
    /// The card's memories behind `soc`.
    #[must_use]
    pub const fn new(soc: &Soc) -> Self {
        Self { sram: soc.sram, hbm: soc.hbm }
    }

    /// The offset in SRAM; `None` when `address` lies elsewhere.
    fn in_sram(address: u64) -> Option<u64> {
        regs::within(address, regs::SRAM_BASE, regs::SRAM_SIZE).then(|| address - regs::SRAM_BASE)
    }

    /// The offset in HBM; `None` when `address` lies elsewhere.
    fn in_hbm(address: u64) -> Option<u64> {
        regs::within(address, regs::HBM_BASE, regs::HBM_SIZE).then(|| address - regs::HBM_BASE)
    }
}

impl CardMemory for CardWindow {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        let is_read = match (Self::in_sram(address), Self::in_hbm(address)) {
            (Some(offset), _) => self.sram.read_bytes(offset, out),
            (_, Some(offset)) => self.hbm.read_bytes(offset, out),
            _ => false,
        };
        if is_read { Ok(()) } else { Err(OutOfRange { address }) }
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        let is_written = match (Self::in_sram(address), Self::in_hbm(address)) {
            (Some(offset), _) => self.sram.write_bytes(offset, data),
            (_, Some(offset)) => self.hbm.write_bytes(offset, data),
            _ => false,
        };
        if is_written { Ok(()) } else { Err(OutOfRange { address }) }
    }
}
