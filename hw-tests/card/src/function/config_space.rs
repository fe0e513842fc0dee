//! Configuration space of a PCIe endpoint with three 64-bit BARs and MSI.
//!
//! For: header, MSI and PCIe capabilities, BAR sizing; plain storage for device-specific registers in the extended part.
//!
//! Owns: the 4096 bytes and which of their bits software can change.
//!
//! Never: has side effects. A function looks at the state after a write and acts on it.
//!
//! Layout: header at 0x00, MSI at [`MSI_CAPABILITY`], PCI Express at [`PCIE_CAPABILITY`]. There is no function-level reset
//! (device capabilities bit 28 is 0), no INTx and no power management.

use super::CONFIG_SIZE;

/// Offset of the MSI capability.
pub const MSI_CAPABILITY: usize = 0x50;
/// Offset of the PCI Express capability.
pub const PCIE_CAPABILITY: usize = 0x70;
/// Command register.
pub const COMMAND: usize = 0x04;
/// Command bit: memory space enable.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command bit: bus master enable.
pub const COMMAND_BUS_MASTER: u16 = 1 << 2;

/// Command bits that can be set: memory, bus master, parity response, SERR, INTx disable.
const COMMAND_WRITABLE: u16 = 0x0546;
/// Low bits of a 64-bit prefetchable memory BAR.
const BAR_TYPE: u32 = 0xC;

/// What distinguishes one function from another.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Vendor, also of the subsystem.
    pub vendor: u16,
    /// Device, also of the subsystem.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code, 24 bits.
    pub class: u32,
    /// Sizes of BAR0, BAR2 and BAR4 in bytes, powers of two of at least 4096.
    pub bars: [u64; 3],
    /// log2 of the MSI vectors, 0 ..= 5.
    pub msi_vectors_log2: u8,
}

/// The bytes and their write masks.
#[derive(Debug)]
pub struct ConfigSpace {
    bytes: Box<[u8; CONFIG_SIZE as usize]>,
    writable: Box<[u8; CONFIG_SIZE as usize]>,
    reset: Box<[u8; CONFIG_SIZE as usize]>,
}

impl ConfigSpace {
    /// Builds the configuration space in its reset state.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let mut space = Self {
            bytes: Box::new([0; CONFIG_SIZE as usize]),
            writable: Box::new([0; CONFIG_SIZE as usize]),
            reset: Box::new([0; CONFIG_SIZE as usize]),
        };
        space.field(0x00, identity.vendor, 0);
        space.field(0x02, identity.device, 0);
        space.field(COMMAND, 0u16, COMMAND_WRITABLE);
        // Status: capability list.
        space.field(0x06, 0x0010u16, 0);
        space.field(0x08, identity.class << 8 | u32::from(identity.revision), 0);
        // Cache line size: storage without effect.
        space.field(0x0C, 0u8, 0xFFu8);
        for (index, size) in identity.bars.into_iter().enumerate() {
            let mask = !(size - 1);
            space.field(0x10 + 8 * index, BAR_TYPE, mask as u32 & !0xF);
            space.field(0x14 + 8 * index, 0u32, (mask >> 32) as u32);
        }
        space.field(0x2C, identity.vendor, 0);
        space.field(0x2E, identity.device, 0);
        space.field(0x34, MSI_CAPABILITY as u8, 0);
        // Interrupt line: storage without effect; interrupt pin 0 = no INTx.
        space.field(0x3C, 0u8, 0xFFu8);

        // MSI, 64-bit address, no per-vector masks.
        space.field(MSI_CAPABILITY, 0x05u8, 0);
        space.field(MSI_CAPABILITY + 1, PCIE_CAPABILITY as u8, 0);
        space.field(MSI_CAPABILITY + 2, 0x0080 | u16::from(identity.msi_vectors_log2) << 1, 0x0071);
        space.field(MSI_CAPABILITY + 4, 0u32, !0x3u32);
        space.field(MSI_CAPABILITY + 8, 0u32, !0u32);
        space.field(MSI_CAPABILITY + 12, 0u16, !0u16);

        // PCI Express version 2, endpoint.
        space.field(PCIE_CAPABILITY, 0x10u8, 0);
        space.field(PCIE_CAPABILITY + 2, 0x0002u16, 0);
        // Role-based errors, payloads up to 256 bytes.
        space.field(PCIE_CAPABILITY + 0x04, 0x0000_8001u32, 0);
        space.field(PCIE_CAPABILITY + 0x08, 0x2810u16, 0x7FFF);
        // Gen3 x16, and the link trained to that.
        space.field(PCIE_CAPABILITY + 0x0C, 0x0000_0103u32, 0);
        space.field(PCIE_CAPABILITY + 0x10, 0u16, 0x00C3);
        space.field(PCIE_CAPABILITY + 0x12, 0x0103u16, 0);
        // Completion timeout can be disabled.
        space.field(PCIE_CAPABILITY + 0x24, 0x0000_0010u32, 0);
        space.field(PCIE_CAPABILITY + 0x28, 0u16, 0x001F);
        space.field(PCIE_CAPABILITY + 0x2C, 0x0000_000Eu32, 0);
        space.field(PCIE_CAPABILITY + 0x30, 0x0003u16, 0x000F);
        space.reset();
        space
    }

    /// Makes the 32-bit register at `offset` plain storage; used for device-specific registers.
    pub fn add_storage(&mut self, offset: u16) {
        self.field(usize::from(offset), 0u32, !0u32);
    }

    /// Defines a little-endian field: its reset value and its writable bits.
    fn field<const N: usize, T: Field<N>>(&mut self, offset: usize, value: T, writable: T) {
        // PANIC: fields are defined by constants of this file and the ELBI offsets, all inside the 4096 bytes.
        self.reset[offset..offset + N].copy_from_slice(&value.bytes());
        self.bytes[offset..offset + N].copy_from_slice(&value.bytes());
        self.writable[offset..offset + N].copy_from_slice(&writable.bytes());
    }

    /// Copies bytes from `offset`; what lies beyond the end reads as 0.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(offset.wrapping_add(index)).copied().unwrap_or(0);
        }
    }

    /// Changes the writable bits of the bytes at `offset`; the rest is ignored.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        for (index, new) in data.iter().enumerate() {
            let position = offset.wrapping_add(index);
            if let (Some(byte), Some(mask)) = (self.bytes.get_mut(position), self.writable.get(position)) {
                *byte = *byte & !mask | new & mask;
            }
        }
    }

    /// The 16-bit register at `offset`.
    #[must_use]
    pub fn get_u16(&self, offset: usize) -> u16 {
        let mut data = [0; 2];
        self.read(offset, &mut data);
        u16::from_le_bytes(data)
    }

    /// The 32-bit register at `offset`.
    #[must_use]
    pub fn get_u32(&self, offset: usize) -> u32 {
        let mut data = [0; 4];
        self.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// Sets the 32-bit register at `offset` whatever software can change of it; outside the space nothing happens.
    pub fn set_u32(&mut self, offset: usize, value: u32) {
        if let Some(slot) = self.bytes.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
            *slot = value.to_le_bytes();
        }
    }

    /// Returns every register to its reset value.
    pub fn reset(&mut self) {
        *self.bytes = *self.reset;
    }

    /// True when BAR accesses are decoded.
    #[must_use]
    pub fn memory_enabled(&self) -> bool {
        self.get_u16(COMMAND) & COMMAND_MEMORY != 0
    }

    /// Vectors that an MSI can be sent on: 0 while MSI or bus mastering is off, else what software allocated, at most
    /// `available`.
    #[must_use]
    pub fn msi_vectors(&self, available: u32) -> u32 {
        let control = self.get_u16(MSI_CAPABILITY + 2);
        if control & 1 == 0 || self.get_u16(COMMAND) & COMMAND_BUS_MASTER == 0 {
            return 0;
        }
        (1 << (control >> 4 & 7)).min(available)
    }

    /// Address of BAR `index` (0, 2 or 4).
    #[must_use]
    pub fn bar_address(&self, index: usize) -> u64 {
        let low = self.get_u32(0x10 + 4 * index) & !0xF;
        u64::from(low) | u64::from(self.get_u32(0x14 + 4 * index)) << 32
    }
}

/// An unsigned integer of `N` bytes.
trait Field<const N: usize>: Copy {
    fn bytes(self) -> [u8; N];
}

impl Field<1> for u8 {
    fn bytes(self) -> [u8; 1] {
        self.to_le_bytes()
    }
}

impl Field<2> for u16 {
    fn bytes(self) -> [u8; 2] {
        self.to_le_bytes()
    }
}

impl Field<4> for u32 {
    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new(&Identity {
            vendor: 0x1DA3,
            device: 0x1000,
            revision: 1,
            class: 0x12_0000,
            bars: [64 << 20, 128 << 20, 32 << 30],
            msi_vectors_log2: 2,
        })
    }

    #[test]
    fn the_header_names_the_device() {
        let space = space();
        assert_eq!(space.get_u32(0), 0x1000_1DA3);
        assert_eq!(space.get_u32(8), 0x1200_0001);
        assert_eq!(space.get_u32(0x3C) & 0xFF00, 0, "no interrupt pin");
    }

    #[test]
    fn the_capability_list_holds_msi_and_pci_express_and_ends() {
        let space = space();
        assert_ne!(space.get_u16(6) & 0x10, 0);
        let mut offset = usize::from(space.get_u16(0x34) & 0xFF);
        let mut seen = Vec::new();
        while offset != 0 {
            let header = space.get_u16(offset);
            seen.push(header & 0xFF);
            offset = usize::from(header >> 8);
        }
        assert_eq!(seen, [0x05, 0x10]);
        assert_eq!(space.get_u32(PCIE_CAPABILITY + 4) & 1 << 28, 0, "no function-level reset");
        assert_eq!(space.get_u32(0x100), 0, "no extended capabilities");
    }

    #[test]
    fn writing_ones_to_a_bar_shows_its_size_and_keeps_its_type() {
        let mut space = space();
        for (bar, size) in [(0, 64u64 << 20), (2, 128 << 20), (4, 32 << 30)] {
            space.write(0x10 + 4 * bar, &[0xFF; 8]);
            assert_eq!(space.get_u32(0x10 + 4 * bar) & 0xF, 0xC);
            assert_eq!(!space.bar_address(bar) + 1, size);
            space.write(0x10 + 4 * bar, &0x1234_5678_0000_0000u64.to_le_bytes());
            assert_eq!(space.bar_address(bar), 0x1234_5678_0000_0000 & !(size - 1));
        }
    }

    #[test]
    fn read_only_bytes_do_not_change() {
        let mut space = space();
        let before = space.get_u32(0);
        space.write(0, &[0; 4]);
        space.write(usize::MAX, &[0; 4]);
        space.write(0xFFE, &[1; 4]);
        assert_eq!(space.get_u32(0), before);
        assert_eq!(space.get_u16(0xFFE), 0);
    }

    #[test]
    fn msi_needs_its_enable_bit_and_bus_mastering() {
        let mut space = space();
        assert_eq!(space.get_u16(MSI_CAPABILITY + 2), 0x84, "64-bit, four vectors offered");
        space.write(MSI_CAPABILITY + 2, &0x0021u16.to_le_bytes());
        assert_eq!(space.msi_vectors(4), 0);
        space.write(COMMAND, &COMMAND_BUS_MASTER.to_le_bytes());
        assert_eq!(space.msi_vectors(4), 4);
        assert_eq!(space.msi_vectors(1), 1);
        space.write(MSI_CAPABILITY + 2, &0x0001u16.to_le_bytes());
        assert_eq!(space.msi_vectors(4), 1);
    }

    #[test]
    fn a_reset_clears_what_software_wrote() {
        let mut space = space();
        let initial = *space.bytes;
        space.write(0, &[0xFF; 4096]);
        assert!(space.memory_enabled());
        space.reset();
        assert_eq!(*space.bytes, initial);
    }
}
