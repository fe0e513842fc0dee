//! The PCI function that the management CPU's machine sees: the SoC around the CPU.
//!
//! For: giving firmware mapped memories instead of trapped accesses (`coxswain_abi::soc`): BAR0 = SRAM, register shadow,
//! rings (mapped) and the kick page (trapped), BAR2 = the host's memory (mapped as far as it goes), BAR4 = HBM (mapped),
//! one MSI per core.
//!
//! Owns: PCI state and the three trapped registers.
//!
//! Never: takes a reset of this function for a reset of the card. QEMU resets and re-programs it whenever it resets the
//! management CPU, in the middle of a host's SW_ALL_RST; nothing here waits for that host write (`decisions.md` 3.11).

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coxswain_abi::regs;
use coxswain_abi::soc::{CORES, DEVICE_ID, VENDOR_ID, bar0};

use super::config_space::{ConfigSpace, Identity};
use super::msi::Msi;
use super::{CONFIG_SIZE, RegisterBus, irq_count};
use crate::memory::Memories;
use crate::vfio_user::{Area, CONFIG_REGION, Device, DmaWindow, Errno, IrqAction, MSI_INDEX, Region};

/// Smallest BAR and page of a mapping.
const PAGE: u64 = 4096;

/// Things firmware did that this card counts instead of doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocCounts {
    /// Writes to the trapped page that are no kick of an existing core, no reset request and no existing block of HBM.
    pub bad_trapped_writes: u64,
    /// Kicks of any core.
    pub kicks: u64,
}

/// The function.
pub struct SocFunction {
    memories: Arc<Memories>,
    bus: Arc<dyn RegisterBus>,
    config: Mutex<ConfigSpace>,
    memory_enabled: AtomicBool,
    msi: Arc<Msi>,
    host_bar_size: u64,
    bad_trapped_writes: AtomicU64,
    kicks: AtomicU64,
}

impl SocFunction {
    /// Makes the function in its reset state.
    #[must_use]
    pub fn new(memories: Arc<Memories>, bus: Arc<dyn RegisterBus>) -> Self {
        let host_bar_size = memories.host.len().next_power_of_two().max(PAGE);
        let config = ConfigSpace::new(&Identity {
            vendor: VENDOR_ID,
            device: DEVICE_ID,
            revision: 1,
            class: 0x12_0000,
            bars: [bar0::SIZE, host_bar_size, regs::HBM_SIZE],
            msi_vectors_log2: CORES.ilog2() as u8,
        });
        Self {
            memories,
            bus,
            config: Mutex::new(config),
            memory_enabled: AtomicBool::new(false),
            msi: Arc::new(Msi::new(CORES as u32)),
            host_bar_size,
            bad_trapped_writes: AtomicU64::new(0),
            kicks: AtomicU64::new(0),
        }
    }

    /// The interrupts of this function, vector = core.
    #[must_use]
    pub fn msi(&self) -> &Arc<Msi> {
        &self.msi
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> SocCounts {
        SocCounts {
            bad_trapped_writes: self.bad_trapped_writes.load(Ordering::Relaxed),
            kicks: self.kicks.load(Ordering::Relaxed),
        }
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config_write(&self, offset: usize, data: &[u8]) {
        let mut config = self.config();
        config.write(offset, data);
        self.memory_enabled.store(config.memory_enabled(), Ordering::Relaxed);
        self.msi.set_allocated(config.msi_vectors(CORES as u32));
    }

    /// Writes the trapped registers. They are 32 bits wide; anything else on the page is counted.
    fn trapped_write(&self, offset: u64, data: &[u8]) {
        let value = data.try_into().map(u32::from_le_bytes);
        match (offset, value) {
            (bar0::KICK, Ok(core)) if (core as usize) < CORES => {
                self.kicks.fetch_add(1, Ordering::Relaxed);
                self.bus.kick(core as usize);
            }
            (bar0::CPU_RESET, Ok(1)) => self.bus.request_cpu_reset(),
            (bar0::HBM_FETCH, Ok(block)) if self.memories.hbm.make_present(u64::from(block)).is_ok() => {}
            _ => {
                self.bad_trapped_writes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Device for SocFunction {
    fn region(&self, index: usize) -> Region<'_> {
        let first = |len| vec![Area { offset: 0, len }];
        match index {
            0 => Region { size: bar0::SIZE, file: Some((self.memories.soc.fd(), first(bar0::MAPPED))) },
            2 => Region {
                size: self.host_bar_size,
                file: Some((self.memories.host.fd(), first(self.memories.host.len() & !(PAGE - 1)))),
            },
            4 => Region { size: regs::HBM_SIZE, file: Some((self.memories.hbm.fd(), first(regs::HBM_SIZE))) },
            CONFIG_REGION => Region { size: CONFIG_SIZE, file: None },
            _ => Region::default(),
        }
    }

    fn read(&self, index: usize, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        if index == CONFIG_REGION {
            self.config().read(usize::try_from(offset).map_err(|_| Errno::INVAL)?, data);
            return Ok(());
        }
        if !self.memory_enabled.load(Ordering::Relaxed) {
            data.fill(0xFF);
            return Ok(());
        }
        let answered = match index {
            0 if offset >= bar0::MAPPED => {
                // Write-only registers.
                data.fill(0);
                Ok(())
            }
            0 => self.memories.soc.read_bytes(offset, data),
            2 => self.memories.host.read_bytes(offset, data),
            _ => self.memories.hbm.read_bytes(offset, data),
        };
        if answered.is_err() {
            // Beyond the host's memory nobody answers.
            data.fill(0xFF);
        }
        Ok(())
    }

    fn write(&self, index: usize, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if index == CONFIG_REGION {
            self.config_write(usize::try_from(offset).map_err(|_| Errno::INVAL)?, data);
            return Ok(());
        }
        if !self.memory_enabled.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Beyond the host's memory nobody answers, and a posted write is lost.
        let _ = match index {
            0 if offset >= bar0::MAPPED => {
                self.trapped_write(offset, data);
                Ok(())
            }
            0 => self.memories.soc.write_bytes(offset, data),
            2 => self.memories.host.write_bytes(offset, data),
            _ => self.memories.hbm.write_bytes(offset, data),
        };
        Ok(())
    }

    fn irq_count(&self, index: u32) -> u32 {
        irq_count(index, &self.msi)
    }

    fn set_irqs(&self, index: u32, start: u32, count: u32, action: IrqAction) -> Result<(), Errno> {
        if index == MSI_INDEX { self.msi.set_irqs(start, count, action) } else { Ok(()) }
    }

    fn dma_map(&self, _window: DmaWindow, _file: Option<OwnedFd>) {}

    fn dma_unmap(&self, _address: u64, _size: u64) {}

    fn reset(&self) {
        self.config().reset();
        self.memory_enabled.store(false, Ordering::Relaxed);
        self.msi.set_allocated(0);
    }

    fn disconnected(&self) {
        self.msi.disconnect();
    }
}
