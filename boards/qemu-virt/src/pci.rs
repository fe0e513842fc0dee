//! The PCI host bridge: finds the SoC-side function, gives it addresses and a message interrupt.
//!
//! Nothing else assigns BARs on this machine. Addresses are fixed ([`crate::memory_map`]), so that every stage and a warm
//! restart find the same ones. Only the ROM uses this module; later stages take the result from the boot information.

use coxswain_abi::soc;

use crate::boot_info::BarAddresses;
use crate::memory_map::{BAR0, BAR2, BAR2_MAX, BAR4, BAR4_MAX, MSI_DOORBELL, MSI_FIRST_INTID};

/// Configuration space of one function: 32-bit accesses at 4-byte aligned offsets below 4096.
pub trait ConfigSpace {
    /// Reads a register.
    fn read(&self, offset: u16) -> u32;
    /// Writes a register.
    fn write(&mut self, offset: u16, value: u32);
}

/// Configuration space of a function on bus 0, through ECAM.
#[cfg(target_os = "none")]
pub struct Ecam {
    base: usize,
}

#[cfg(target_os = "none")]
impl Ecam {
    /// The function 0 of device `device` on bus 0.
    #[must_use]
    pub const fn new(device: u8) -> Self {
        Self { base: crate::memory_map::ECAM + ((device as usize & 0x1F) << 15) }
    }
}

#[cfg(target_os = "none")]
impl ConfigSpace for Ecam {
    fn read(&self, offset: u16) -> u32 {
        let register = (self.base + usize::from(offset & 0xFFC)) as *const u32;
        // SAFETY: inside the function's 4 KiB of ECAM, aligned; the ROM runs with the MMU off (device access). Reads of an
        // absent function answer all ones.
        unsafe { core::ptr::read_volatile(register) }
    }

    fn write(&mut self, offset: u16, value: u32) {
        let register = (self.base + usize::from(offset & 0xFFC)) as *mut u32;
        // SAFETY: as in `read`; configuration writes have no effect on memory that Rust knows of until a BAR is enabled,
        // and then only at addresses of the PCI window.
        unsafe { core::ptr::write_volatile(register, value) };
    }
}

/// Why the function could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum PciError {
    /// No function, or another one: the vendor and device word read.
    WrongFunction(u32),
    /// A BAR is not a 64-bit memory BAR, or has no size that fits its slot.
    WrongBar {
        /// BAR number.
        bar: u8,
        /// Bytes found.
        bytes: u64,
    },
    /// The function has no MSI capability with 64-bit addresses.
    NoMsi,
}

impl PciError {
    /// What is wrong, in words, and the number that was found.
    #[must_use]
    pub const fn explain(&self) -> (&'static str, u64) {
        match *self {
            Self::WrongFunction(id) => ("wrong function at 00:01.0, device and vendor", id as u64),
            Self::WrongBar { bar, bytes } => ("unusable BAR, number and bytes / 256", (bar as u64) << 60 | bytes >> 8),
            Self::NoMsi => ("no 64-bit MSI capability", 0),
        }
    }
}

const ID: u16 = 0x00;
const COMMAND: u16 = 0x04;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_BUS_MASTER: u32 = 1 << 2;
const STATUS_CAPABILITIES: u32 = 1 << 20;
const FIRST_BAR: u16 = 0x10;
const CAPABILITIES: u16 = 0x34;
const CAPABILITY_MSI: u32 = 0x05;

/// Sets up the SoC-side function: addresses, memory and bus-master enable, MSI. Returns where the BARs are and how many MSI
/// vectors are enabled (1, 2 or 4).
///
/// # Errors
/// [`PciError`] says what is missing; the function is then left disabled.
pub fn set_up(space: &mut impl ConfigSpace) -> Result<(BarAddresses, u32), PciError> {
    let id = space.read(ID);
    if id != u32::from(soc::VENDOR_ID) | u32::from(soc::DEVICE_ID) << 16 {
        return Err(PciError::WrongFunction(id));
    }
    // The upper half of the register is write-1-to-clear status: writing 0 there changes nothing.
    space.write(COMMAND, 0);
    assign(space, 0, BAR0, soc::bar0::SIZE, soc::bar0::SIZE)?;
    let bar2_bytes = assign(space, 2, BAR2, 0x1000, BAR2_MAX)?;
    let bar4_bytes = assign(space, 4, BAR4, 0x1000, BAR4_MAX)?;
    let vectors = enable_msi(space)?;
    space.write(COMMAND, COMMAND_MEMORY | COMMAND_BUS_MASTER);
    Ok((BarAddresses { bar0: BAR0, bar2: BAR2, bar2_bytes, bar4: BAR4, bar4_bytes }, vectors))
}

/// Sizes 64-bit memory BAR `bar`, checks that it has `least ..= most` bytes and puts it at `address`. Returns its size.
fn assign(space: &mut impl ConfigSpace, bar: u8, address: u64, least: u64, most: u64) -> Result<u64, PciError> {
    let low = FIRST_BAR + 4 * u16::from(bar);
    let high = low + 4;
    space.write(low, u32::MAX);
    space.write(high, u32::MAX);
    let kind = space.read(low);
    let mask = u64::from(kind & !0xF) | u64::from(space.read(high)) << 32;
    let bytes = if mask == 0 { 0 } else { (!mask).wrapping_add(1) };
    // Type bits: memory [0] = 0, 64-bit [2:1] = 2.
    if kind & 0b111 != 0b100 || !bytes.is_power_of_two() || bytes < least || bytes > most {
        return Err(PciError::WrongBar { bar, bytes });
    }
    space.write(low, address as u32);
    space.write(high, (address >> 32) as u32);
    Ok(bytes)
}

/// Enables as many MSI vectors as the function has, up to one per core. Returns their number.
fn enable_msi(space: &mut impl ConfigSpace) -> Result<u32, PciError> {
    if space.read(COMMAND) & STATUS_CAPABILITIES == 0 {
        return Err(PciError::NoMsi);
    }
    let mut offset = (space.read(CAPABILITIES) & 0xFC) as u16;
    // A list has at most 48 entries of 4 bytes; a circular one ends here too.
    for _ in 0..48 {
        if offset < 0x40 {
            break;
        }
        let header = space.read(offset);
        if header & 0xFF == CAPABILITY_MSI {
            let control = header >> 16;
            // Bit 7: 64-bit address.
            if control & 1 << 7 == 0 {
                return Err(PciError::NoMsi);
            }
            // [3:1] capable, log2; at most 4 vectors are of use.
            let log2 = (control >> 1 & 7).min(2);
            space.write(offset + 4, MSI_DOORBELL as u32);
            space.write(offset + 8, (MSI_DOORBELL >> 32) as u32);
            space.write(offset + 12, MSI_FIRST_INTID);
            // [6:4] enabled vectors, log2; [0] enable.
            space.write(offset, (control & !0x71 | log2 << 4 | 1) << 16);
            return Ok(1 << log2);
        }
        offset = (header >> 8 & 0xFC) as u16;
    }
    Err(PciError::NoMsi)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration space with BAR sizing and an MSI capability at 0x50.
    struct Fake {
        words: [u32; 64],
        sizes: [u64; 3],
        capable: u32,
    }

    impl Fake {
        fn new() -> Self {
            let mut words = [0; 64];
            words[0] = 0x10C0_1DA3;
            words[1] = STATUS_CAPABILITIES;
            words[0x34 / 4] = 0x40;
            words[0x40 / 4] = 0x0000_5010;
            words[0x50 / 4] = 0x0080_0005;
            Self { words, sizes: [soc::bar0::SIZE, 1 << 30, 32 << 30], capable: 2 }
        }
    }

    impl ConfigSpace for Fake {
        fn read(&self, offset: u16) -> u32 {
            let index = usize::from(offset / 4);
            let bar = index.wrapping_sub(4);
            if bar < 6 {
                let mask = !(self.sizes[bar / 2] - 1);
                return if bar % 2 == 0 {
                    self.words[index] & mask as u32 & !0xF | 0xC
                } else {
                    self.words[index] & (mask >> 32) as u32
                };
            }
            if offset == 0x50 { self.words[index] | self.capable << 17 } else { self.words[index] }
        }

        fn write(&mut self, offset: u16, value: u32) {
            match offset {
                4 => self.words[1] = self.words[1] & 0xFFFF_0000 | value & 0xFFFF,
                0x50 => self.words[0x50 / 4] = value & 0x0071_0000 | 0x0080_0005,
                _ => self.words[usize::from(offset / 4)] = value,
            }
        }
    }

    #[test]
    fn the_function_gets_addresses_four_vectors_and_bus_mastering() {
        let mut fake = Fake::new();
        let (bars, vectors) = set_up(&mut fake).unwrap();
        assert_eq!(vectors, 4);
        assert_eq!((bars.bar2_bytes, bars.bar4_bytes), (1 << 30, 32 << 30));
        assert_eq!(fake.read(0x10) & !0xF, BAR0 as u32);
        assert_eq!(fake.read(0x24), (BAR4 >> 32) as u32);
        assert_eq!(fake.words[1] & 6, 6);
        assert_eq!(fake.words[0x50 / 4] >> 16 & 0x71, 0x21);
        assert_eq!((fake.words[0x54 / 4], fake.words[0x58 / 4], fake.words[0x5C / 4]), (0x0802_0040, 0, 80));
    }

    #[test]
    fn an_absent_or_foreign_function_is_named() {
        let mut fake = Fake::new();
        fake.words[0] = u32::MAX;
        assert_eq!(set_up(&mut fake), Err(PciError::WrongFunction(u32::MAX)));
        fake.words[0] = 0x1000_1DA3;
        assert_eq!(set_up(&mut fake), Err(PciError::WrongFunction(0x1000_1DA3)));
    }

    #[test]
    fn a_bar_of_another_size_leaves_the_function_disabled() {
        let mut fake = Fake::new();
        fake.sizes[0] = soc::bar0::SIZE / 2;
        assert_eq!(set_up(&mut fake), Err(PciError::WrongBar { bar: 0, bytes: soc::bar0::SIZE / 2 }));
        assert_eq!(fake.words[1] & 6, 0);
    }

    #[test]
    fn a_capability_list_that_is_a_circle_ends_the_search() {
        let mut fake = Fake::new();
        fake.words[0x40 / 4] = 0x0000_4010;
        assert_eq!(set_up(&mut fake), Err(PciError::NoMsi));
    }
}
