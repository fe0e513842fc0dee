//! The PCI function that the host sees: the accelerator itself.
//!
//! For: the driver's view (`gaudi-soc.md` 1): BAR0 = SRAM (mappable), BAR2 = flash window, scratchpad and registers
//! (every access trapped), BAR4 = HBM (mappable where it is always stored, `memory/hbm.rs`), one MSI, and the ELBI window in
//! configuration space that works before memory is enabled.
//!
//! Owns: PCI state, the ELBI registers, the iATU, the scratchpad.
//!
//! Never: interprets a CFG register; those accesses go to the SoC as they are. A reset of this function ([`Device::reset`],
//! which the host's machine also does at power-on) resets PCI state only and never the card.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coxswain_abi::regs::{self, pcie};
use coxswain_abi::soc::hbm_block;

use super::config_space::{ConfigSpace, Identity};
use super::iatu::{Iatu, Target};
use super::msi::Msi;
use super::trace::{Path, RegisterTrace, TraceEntry};
use super::{CONFIG_SIZE, RegisterBus, copy_word_part, irq_count};
use crate::memory::Memories;
use crate::vfio_user::{Area, CONFIG_REGION, Device, DmaWindow, Errno, IrqAction, MSI_INDEX, Region};

/// Size of BAR0, of which the first 20 MiB are SRAM.
pub const BAR0_SIZE: u64 = 0x0400_0000;
/// Size of BAR2.
pub const BAR2_SIZE: u64 = 0x0800_0000;
/// Size of BAR4: all of HBM.
pub const BAR4_SIZE: u64 = regs::HBM_SIZE;
/// Offset of the CFG registers in BAR2.
pub const CFG_IN_BAR2: u64 = regs::CFG_BASE - regs::SPI_BASE;

const IDENTITY: Identity = Identity {
    vendor: 0x1DA3,
    device: 0x1000,
    revision: 1,
    class: 0x12_0000,
    bars: [BAR0_SIZE, BAR2_SIZE, BAR4_SIZE],
    msi_vectors_log2: 0,
};

/// Scratchpad (64 KiB) and the PCIe firmware's SRAM (32 KiB) behind it, in BAR2.
const SCRATCHPAD: u64 = regs::SCRATCHPAD_BASE - regs::SPI_BASE;
const SCRATCHPAD_SIZE: usize = 0x1_8000;
/// Low 32 bits of the register space's address, as ELBI names it.
const ELBI_CFG_BASE: u32 = regs::CFG_BASE as u32;
/// ELBI status: finished.
const ELBI_DONE: u32 = 1 << 31;
/// ELBI status: refused.
const ELBI_ERR: u32 = 1 << 30;
/// ELBI control: the access is a write.
const ELBI_WRITE: u32 = 1 << 31;
/// A memory window of the host of at least this size that is not the card's host file is worth a warning.
const LARGE_WINDOW: u64 = 32 << 20;

/// Things a host did that this card counts instead of doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// ELBI accesses that ended with the error bit.
    pub elbi_errors: u64,
    /// iATU regions enabled with something this card does not have.
    pub iatu_mismatches: u64,
    /// Register writes narrower than 32 bits, dropped.
    pub narrow_writes: u64,
    /// Windows of host memory that are not where the card's host file says.
    pub foreign_windows: u64,
}

/// The function.
pub struct HostFunction {
    memories: Arc<Memories>,
    bus: Arc<dyn RegisterBus>,
    config: Mutex<ConfigSpace>,
    /// Copy of the memory enable bit, read at every BAR access.
    memory_enabled: AtomicBool,
    iatu: Mutex<Iatu>,
    scratchpad: Mutex<Box<[u8]>>,
    msi: Arc<Msi>,
    trace: Option<RegisterTrace>,
    start: Instant,
    elbi_errors: AtomicU64,
    narrow_writes: AtomicU64,
    foreign_windows: AtomicU64,
}

impl HostFunction {
    /// Makes the function in its reset state.
    #[must_use]
    pub fn new(memories: Arc<Memories>, bus: Arc<dyn RegisterBus>, trace: Option<RegisterTrace>) -> Self {
        let mut config = ConfigSpace::new(&IDENTITY);
        for register in [pcie::ELBI_ADDR, pcie::ELBI_DATA, pcie::ELBI_CTRL, pcie::ELBI_STS] {
            config.add_storage(register);
        }
        Self {
            memories,
            bus,
            config: Mutex::new(config),
            memory_enabled: AtomicBool::new(false),
            iatu: Mutex::new(Iatu::default()),
            scratchpad: Mutex::new(vec![0; SCRATCHPAD_SIZE].into_boxed_slice()),
            msi: Arc::new(Msi::new(1 << IDENTITY.msi_vectors_log2)),
            trace,
            start: Instant::now(),
            elbi_errors: AtomicU64::new(0),
            narrow_writes: AtomicU64::new(0),
            foreign_windows: AtomicU64::new(0),
        }
    }

    /// The interrupt of this function: raised by the SoC, watched by tests and the scripted host.
    #[must_use]
    pub fn msi(&self) -> &Arc<Msi> {
        &self.msi
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> HostCounts {
        HostCounts {
            elbi_errors: self.elbi_errors.load(Ordering::Relaxed),
            iatu_mismatches: lock(&self.iatu).mismatches(),
            narrow_writes: self.narrow_writes.load(Ordering::Relaxed),
            foreign_windows: self.foreign_windows.load(Ordering::Relaxed),
        }
    }

    /// Target of the inbound window of BAR `bar` (0, 2 or 4) as the host programmed it; `None` = not programmed.
    #[must_use]
    pub fn inbound_target(&self, bar: u32) -> Option<u64> {
        lock(&self.iatu).inbound_target(bar)
    }

    /// Address of BAR `bar` (0, 2 or 4) as the host programmed it.
    #[must_use]
    pub fn bar_address(&self, bar: usize) -> u64 {
        lock(&self.config).bar_address(bar)
    }

    /// Reads configuration space; bytes beyond its end read as 0.
    pub fn config_read(&self, offset: u16, data: &mut [u8]) {
        lock(&self.config).read(usize::from(offset), data);
    }

    /// Reads a 32-bit register of configuration space.
    #[must_use]
    pub fn config_read_u32(&self, offset: u16) -> u32 {
        lock(&self.config).get_u32(usize::from(offset))
    }

    /// Writes configuration space. A write that touches ELBI_CTRL carries out the ELBI access before it returns.
    pub fn config_write(&self, offset: u16, data: &[u8]) {
        let mut config = lock(&self.config);
        config.write(usize::from(offset), data);
        self.memory_enabled.store(config.memory_enabled(), Ordering::Relaxed);
        self.msi.set_allocated(config.msi_vectors(1 << IDENTITY.msi_vectors_log2));
        let end = usize::from(offset) + data.len();
        if usize::from(offset) < usize::from(pcie::ELBI_STS) && end > usize::from(pcie::ELBI_CTRL) {
            let [address, value, control] = [pcie::ELBI_ADDR, pcie::ELBI_DATA, pcie::ELBI_CTRL]
                .map(|register| config.get_u32(usize::from(register)));
            drop(config);
            let result = self.elbi(address, value, control);
            let mut config = lock(&self.config);
            match result {
                Some(read) => {
                    if control & ELBI_WRITE == 0 {
                        config.set_u32(usize::from(pcie::ELBI_DATA), read);
                    }
                    config.set_u32(usize::from(pcie::ELBI_STS), ELBI_DONE);
                }
                None => {
                    self.elbi_errors.fetch_add(1, Ordering::Relaxed);
                    config.set_u32(usize::from(pcie::ELBI_STS), ELBI_ERR);
                }
            }
        }
    }

    /// Writes a 32-bit register of configuration space.
    pub fn config_write_u32(&self, offset: u16, value: u32) {
        self.config_write(offset, &value.to_le_bytes());
    }

    /// Carries out an ELBI access; `None` = refused. Only the register space can be reached, 32 bits at a time.
    fn elbi(&self, address: u32, value: u32, control: u32) -> Option<u32> {
        let offset = address.wrapping_sub(ELBI_CFG_BASE);
        if u64::from(offset) >= regs::CFG_SIZE || offset & 3 != 0 {
            return None;
        }
        if control & ELBI_WRITE != 0 {
            self.register_write(Path::Elbi, offset, value);
            Some(value)
        } else {
            Some(self.register_read(Path::Elbi, offset))
        }
    }

    /// Reads `data.len()` bytes of BAR `bar` (0, 2 or 4). While memory is not enabled, and outside the BAR, every byte reads
    /// as 0xFF: nobody answers.
    pub fn bar_read(&self, bar: usize, offset: u64, data: &mut [u8]) {
        if !self.memory_enabled.load(Ordering::Relaxed) || !self.inside(bar, offset, data.len()) {
            data.fill(0xFF);
            return;
        }
        // The file accesses cannot fail: `inside` checked them against the BAR, which its file covers.
        let answered = match bar {
            0 => self.memories.soc.read_bytes(offset, data).is_ok(),
            2 => {
                self.bar2_read(offset, data);
                true
            }
            _ => self.memories.hbm.read_bytes(offset, data).is_ok(),
        };
        if !answered {
            data.fill(0xFF);
        }
    }

    /// Writes `data` to BAR `bar` (0, 2 or 4); ignored while memory is not enabled and outside the BAR.
    pub fn bar_write(&self, bar: usize, offset: u64, data: &[u8]) {
        if !self.memory_enabled.load(Ordering::Relaxed) || !self.inside(bar, offset, data.len()) {
            return;
        }
        // As in `bar_read`, the file accesses cannot fail.
        let _ = match bar {
            0 => self.memories.soc.write_bytes(offset, data),
            2 => {
                self.bar2_write(offset, data);
                Ok(())
            }
            _ => self.memories.hbm.write_bytes(offset, data),
        };
    }

    /// Reads 32 bits of a BAR.
    #[must_use]
    pub fn bar_read_u32(&self, bar: usize, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.bar_read(bar, offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// Writes 32 bits of a BAR.
    pub fn bar_write_u32(&self, bar: usize, offset: u64, value: u32) {
        self.bar_write(bar, offset, &value.to_le_bytes());
    }

    fn inside(&self, bar: usize, offset: u64, len: usize) -> bool {
        let size = match bar {
            0 => BAR0_SIZE,
            2 => BAR2_SIZE,
            4 => BAR4_SIZE,
            _ => 0,
        };
        offset <= size && len as u64 <= size - offset
    }

    fn bar2_read(&self, offset: u64, data: &mut [u8]) {
        let end = offset + data.len() as u64;
        for register in (offset & !3..end).step_by(4) {
            let word = if let Some(cfg) = cfg_offset(register) {
                self.register_read(Path::Bar, cfg)
            } else if let Some(inside) = scratchpad_offset(register) {
                let memory = lock(&self.scratchpad);
                memory.get(inside..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
            } else {
                // Flash window and CoreSight: nothing there.
                0
            };
            copy_word_part(register, word, offset, data);
        }
    }

    fn bar2_write(&self, offset: u64, data: &[u8]) {
        if let Some(inside) = scratchpad_offset(offset) {
            if let Some(memory) = lock(&self.scratchpad).get_mut(inside..).and_then(|rest| rest.get_mut(..data.len())) {
                memory.copy_from_slice(data);
            }
            return;
        }
        let end = offset + data.len() as u64;
        for register in (offset & !3..end).step_by(4) {
            let Some(cfg) = cfg_offset(register) else { continue };
            let word = register
                .checked_sub(offset)
                .and_then(|start| data.get(start as usize..))
                .and_then(|rest| rest.first_chunk());
            match word {
                Some(word) => self.register_write(Path::Bar, cfg, u32::from_le_bytes(*word)),
                // Registers are 32 bits wide; a narrower write has no meaning that a driver could want.
                None => {
                    self.narrow_writes.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn register_read(&self, path: Path, offset: u32) -> u32 {
        let taken = {
            let iatu = lock(&self.iatu);
            match iatu.target(offset) {
                Some(Target::Region(inside)) => Some(iatu.read(inside)),
                _ => None,
            }
        };
        let value = taken.unwrap_or_else(|| self.bus.host_read(offset));
        self.record(path, false, offset, value);
        value
    }

    fn register_write(&self, path: Path, offset: u32, value: u32) {
        self.record(path, true, offset, value);
        {
            let mut iatu = lock(&self.iatu);
            match iatu.target(offset) {
                Some(Target::Region(inside)) => {
                    if let Some(complaint) = iatu.write(inside, value) {
                        eprintln!("card: iATU: {complaint}");
                    }
                    return;
                }
                Some(Target::Selection) => iatu.select(value),
                None => {}
            }
        }
        self.bus.host_write(offset, value);
    }

    fn record(&self, path: Path, write: bool, offset: u32, value: u32) {
        if let Some(trace) = &self.trace {
            trace(&TraceEntry { time: self.start.elapsed(), path, write, offset, value });
        }
    }

    /// Waits until more than `seen` interrupts were sent to the host and returns their number; `None` = `timeout` passed.
    #[must_use]
    pub fn wait_msi(&self, seen: u64, timeout: Duration) -> Option<u64> {
        self.msi.wait(0, seen, timeout)
    }
}

/// The CFG offset behind an offset in BAR2.
fn cfg_offset(offset: u64) -> Option<u32> {
    regs::within(offset, CFG_IN_BAR2, regs::CFG_SIZE).then(|| (offset - CFG_IN_BAR2) as u32)
}

/// The scratchpad offset behind an offset in BAR2.
fn scratchpad_offset(offset: u64) -> Option<usize> {
    regs::within(offset, SCRATCHPAD, SCRATCHPAD_SIZE as u64).then(|| (offset - SCRATCHPAD) as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves valid state behind, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device for HostFunction {
    fn region(&self, index: usize) -> Region<'_> {
        let first = |len| vec![Area { offset: 0, len }];
        match index {
            0 => Region { size: BAR0_SIZE, file: Some((self.memories.soc.fd(), first(BAR0_SIZE))) },
            2 => Region { size: BAR2_SIZE, file: None },
            // Behind it blocks of HBM may be filled and not stored; the host's accesses there are few, and trapped.
            4 => Region { size: BAR4_SIZE, file: Some((self.memories.hbm.fd(), first(hbm_block::ALWAYS_PRESENT))) },
            CONFIG_REGION => Region { size: CONFIG_SIZE, file: None },
            _ => Region::default(),
        }
    }

    fn read(&self, index: usize, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        if index == CONFIG_REGION {
            self.config_read(u16::try_from(offset).map_err(|_| Errno::INVAL)?, data);
        } else {
            self.bar_read(index, offset, data);
        }
        Ok(())
    }

    fn write(&self, index: usize, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if index == CONFIG_REGION {
            self.config_write(u16::try_from(offset).map_err(|_| Errno::INVAL)?, data);
        } else {
            self.bar_write(index, offset, data);
        }
        Ok(())
    }

    fn irq_count(&self, index: u32) -> u32 {
        irq_count(index, &self.msi)
    }

    fn set_irqs(&self, index: u32, start: u32, count: u32, action: IrqAction) -> Result<(), Errno> {
        if index == MSI_INDEX { self.msi.set_irqs(start, count, action) } else { Ok(()) }
    }

    fn dma_map(&self, window: DmaWindow, file: Option<OwnedFd>) {
        let Some(file) = file else { return };
        let identity = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        let ours = identity(file.as_fd()) == identity(self.memories.host.fd());
        let complaint = match ours {
            true if window.file_offset != window.address => "is at another offset of the card's host file",
            false if window.size >= LARGE_WINDOW => "is not the card's host file",
            _ => return,
        };
        self.foreign_windows.fetch_add(1, Ordering::Relaxed);
        eprintln!(
            "card: host memory at {:#x}, {:#x} bytes, {complaint}: DMA cannot reach it",
            window.address, window.size
        );
    }

    fn dma_unmap(&self, _address: u64, _size: u64) {}

    fn reset(&self) {
        lock(&self.config).reset();
        self.memory_enabled.store(false, Ordering::Relaxed);
        self.msi.set_allocated(0);
    }

    fn disconnected(&self) {
        self.msi.disconnect();
    }
}
