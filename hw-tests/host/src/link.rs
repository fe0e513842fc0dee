//! The card's PCI function as a driver reaches it: configuration space, ELBI, BARs, and the host's memory.
//!
//! Owns the entry points and the way to wait. It never knows what a register means beyond the PCI function itself.

use crate::HostError;
use coxswain_abi::regs::{self, pcie};
use coxswain_card::{HostFunction, Memories};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Offset of the register space in BAR2.
const REGISTERS: u64 = regs::CFG_BASE - regs::SPI_BASE;
/// Configuration space: command register, and its memory and bus-master bits.
const COMMAND: u16 = 0x04;
const COMMAND_MEMORY_AND_MASTER: u32 = 0x6;
/// Configuration space: pointer to the first capability.
const CAPABILITIES: u16 = 0x34;
/// Capability number of MSI.
const CAPABILITY_MSI: u32 = 0x05;
/// MSI control, bit 16 of the first word: enable.
const MSI_ENABLE: u32 = 1 << 16;
/// MSI control, bits 22:20 of the first word: vectors allocated.
const MSI_VECTORS: u32 = 7 << 20;
/// Pause between two looks at a register.
const LOOK: Duration = Duration::from_micros(200);

/// A card reached through its host-side function.
#[derive(Clone)]
pub struct Link {
    function: Arc<HostFunction>,
    memories: Arc<Memories>,
}

impl Link {
    pub(crate) fn new(function: Arc<HostFunction>, memories: Arc<Memories>) -> Self {
        Self { function, memories }
    }

    /// Reads the register at CFG offset `offset`.
    #[must_use]
    pub fn read(&self, offset: u32) -> u32 {
        self.function.bar_read_u32(2, REGISTERS + u64::from(offset))
    }

    /// Writes the register at CFG offset `offset`.
    pub fn write(&self, offset: u32, value: u32) {
        self.function.bar_write_u32(2, REGISTERS + u64::from(offset), value);
    }

    /// Writes bytes to device memory through the BAR that shows it.
    ///
    /// # Errors
    /// The range is not wholly in SRAM or HBM.
    pub fn write_device(&self, address: u64, bytes: &[u8]) -> Result<(), HostError> {
        let (bar, offset) = Self::window(address, bytes.len())?;
        self.function.bar_write(bar, offset, bytes);
        Ok(())
    }

    /// Reads bytes of device memory through the BAR that shows it.
    ///
    /// # Errors
    /// The range is not wholly in SRAM or HBM.
    pub fn read_device(&self, address: u64, bytes: &mut [u8]) -> Result<(), HostError> {
        let (bar, offset) = Self::window(address, bytes.len())?;
        self.function.bar_read(bar, offset, bytes);
        Ok(())
    }

    /// The BAR and offset of a range of device memory.
    fn window(address: u64, length: usize) -> Result<(usize, u64), HostError> {
        let inside = |base: u64, size: u64| {
            address.checked_sub(base).filter(|offset| *offset <= size && length as u64 <= size - offset)
        };
        inside(regs::SRAM_BASE, regs::SRAM_SIZE)
            .map(|offset| (0, offset))
            .or_else(|| inside(regs::HBM_BASE, regs::HBM_SIZE).map(|offset| (4, offset)))
            .ok_or_else(|| HostError::usage(format!("{length} bytes at {address:#x} are not in SRAM or HBM")))
    }

    /// The host's memory; offset = host bus address.
    #[must_use]
    pub fn memory(&self) -> &coxswain_card::memory::SharedFile {
        &self.memories.host
    }

    /// Reads a register through ELBI, which works before memory is enabled (`boot-protocol.md` 4.1).
    ///
    /// # Errors
    /// The access is not done, or ended with an error.
    pub fn elbi_read(&self, offset: u32) -> Result<u32, HostError> {
        self.elbi(offset, 0, 0)?;
        Ok(self.function.config_read_u32(pcie::ELBI_DATA))
    }

    /// Writes a register through ELBI.
    ///
    /// # Errors
    /// As [`Self::elbi_read`].
    pub fn elbi_write(&self, offset: u32, value: u32) -> Result<(), HostError> {
        self.elbi(offset, value, 1 << 31)
    }

    fn elbi(&self, offset: u32, value: u32, control: u32) -> Result<(), HostError> {
        let function = &self.function;
        function.config_write_u32(pcie::ELBI_STS, 0);
        function.config_write_u32(pcie::ELBI_ADDR, (regs::CFG_BASE as u32).wrapping_add(offset));
        if control != 0 {
            function.config_write_u32(pcie::ELBI_DATA, value);
        }
        function.config_write_u32(pcie::ELBI_CTRL, control);
        let status = || function.config_read_u32(pcie::ELBI_STS) >> 30;
        self.wait_until(
            Duration::from_millis(10),
            || format!("ELBI access to {offset:#x}"),
            || match status() {
                0b10 => Ok(()),
                other => Err(format!("status bits are {other:#b}")),
            },
        )
    }

    /// Programs the address translation unit as the driver does (`boot-protocol.md` 4.3).
    ///
    /// # Errors
    /// An ELBI access failed.
    pub fn program_iatu(&self) -> Result<(), HostError> {
        const INBOUND: [[(u32, u32); 4]; 3] = [
            [(0x114, 0xF000_0000), (0x118, 0x7F), (0x100, 0), (0x104, 0xC008_0000)],
            [(0x314, 0xF800_0000), (0x318, 0x7F), (0x300, 0), (0x304, 0xC008_0200)],
            [(0x514, 0), (0x518, 0), (0x500, 0), (0x504, 0xC008_0400)],
        ];
        const OUTBOUND: [(u32, u32); 8] = [
            (0x008, 0),
            (0x00C, 0x80),
            (0x010, 0xFFFF_FFFF),
            (0x014, 0),
            (0x018, 0),
            (0x020, 0x1_007F),
            (0x000, 0x2000),
            (0x004, 0x8000_0000),
        ];
        for region in INBOUND.iter().map(|region| region.as_slice()).chain([OUTBOUND.as_slice()]) {
            for (register, value) in region {
                self.elbi_write(pcie::AUX_DBI, pcie::AUX_DBI_IATU)?;
                self.elbi_write(pcie::DBI + register, *value)?;
            }
            self.elbi_write(pcie::AUX_DBI, 0)?;
        }
        Ok(())
    }

    /// Enables memory decoding and bus mastering.
    pub fn enable_memory(&self) {
        let command = self.function.config_read_u32(COMMAND);
        self.function.config_write_u32(COMMAND, command & 0xFFFF | COMMAND_MEMORY_AND_MASTER);
    }

    /// Switches MSI with one vector on or off.
    ///
    /// # Errors
    /// The function has no MSI capability.
    pub fn enable_msi(&self, on: bool) -> Result<(), HostError> {
        let mut capability = self.function.config_read_u32(CAPABILITIES) as u16 & 0xFC;
        // A list longer than the space can hold is a loop.
        for _ in 0..48 {
            if capability == 0 {
                break;
            }
            let word = self.function.config_read_u32(capability);
            if word & 0xFF == CAPABILITY_MSI {
                let enable = if on { MSI_ENABLE } else { 0 };
                self.function.config_write_u32(capability, word & !(MSI_ENABLE | MSI_VECTORS) | enable);
                return Ok(());
            }
            capability = (word >> 8) as u16 & 0xFC;
        }
        Err(HostError::protocol("the function has no MSI capability"))
    }

    /// MSIs that the card has sent so far.
    #[must_use]
    pub fn interrupts(&self) -> u64 {
        self.function.msi().delivered(0)
    }

    /// Waits until more than `seen` MSIs were sent and returns their number; `None` when the time is over.
    #[must_use]
    pub fn wait_interrupt(&self, seen: u64, bound: Duration) -> Option<u64> {
        self.function.wait_msi(seen, bound)
    }

    /// Waits until `look` succeeds. It says in words what it saw instead.
    ///
    /// # Errors
    /// [`HostError::Timeout`].
    pub fn wait_until<T>(
        &self,
        bound: Duration,
        what: impl Fn() -> String,
        mut look: impl FnMut() -> Result<T, String>,
    ) -> Result<T, HostError> {
        let end = Instant::now() + bound;
        loop {
            // The time is read before the look: the last look is never before the end.
            let over = Instant::now() >= end;
            match look() {
                Ok(value) => return Ok(value),
                Err(seen) if over => return Err(HostError::Timeout { what: what(), bound, seen }),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// Waits until the register at `offset` satisfies `accept`, and returns its value.
    ///
    /// # Errors
    /// [`HostError::Timeout`].
    pub fn wait_register(
        &self,
        offset: u32,
        name: &str,
        bound: Duration,
        accept: impl Fn(u32) -> bool,
    ) -> Result<u32, HostError> {
        self.wait_until(
            bound,
            || format!("waiting for {name}"),
            || match self.read(offset) {
                value if accept(value) => Ok(value),
                value => Err(format!("it is {value:#x}")),
            },
        )
    }
}
