//! The PCIe controller's address translation unit, as far as a host can program it.
//!
//! For: the driver's start-up, which sets three inbound regions and one outbound region through the DBI window unless
//! firmware says that it has done so (`gaudi-soc.md` 1.4, `boot-protocol.md` 4.3).
//!
//! Owns: the DBI selection and the region registers.
//!
//! Never: moves a window. The BARs of this card have their standard targets by construction; a region that is enabled with
//! another target or a mismatch of window is counted and reported, so that a driver that needs it does not fail silently.

use std::collections::BTreeMap;

use coxswain_abi::regs::{self, pcie};

/// Bytes of the DBI window.
const WINDOW: u32 = 0x1000;
/// Control 2: region enable.
const ENABLE: u32 = 1 << 31;
/// Control 2: match by BAR number.
const BAR_MATCH: u32 = 1 << 30;

/// The unit.
#[derive(Debug, Default)]
pub struct Iatu {
    selected: bool,
    /// Written registers by offset in the DBI window.
    registers: BTreeMap<u32, u32>,
    mismatches: u64,
}

/// An access that the unit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The selection register; the SoC's register file keeps its value too.
    Selection,
    /// A region register at this offset.
    Region(u32),
}

impl Iatu {
    /// Says whether an access to CFG offset `offset` is the unit's.
    #[must_use]
    pub fn target(&self, offset: u32) -> Option<Target> {
        if offset == pcie::AUX_DBI {
            return Some(Target::Selection);
        }
        let inside = offset.wrapping_sub(pcie::DBI);
        (self.selected && inside < WINDOW).then_some(Target::Region(inside))
    }

    /// Writes the selection register.
    pub fn select(&mut self, value: u32) {
        self.selected = value == pcie::AUX_DBI_IATU;
    }

    /// Reads the region register at `inside`; 0 when it was never written.
    #[must_use]
    pub fn read(&self, inside: u32) -> u32 {
        self.registers.get(&inside).copied().unwrap_or(0)
    }

    /// Writes the region register at `inside`. `Some` = the write enabled a region that this card does not have.
    pub fn write(&mut self, inside: u32, value: u32) -> Option<String> {
        self.registers.insert(inside, value);
        if inside & 0xFF != 0x04 || value & ENABLE == 0 {
            return None;
        }
        let base = inside & !0xFF;
        let complaint = if base & 0x100 != 0 { self.inbound_error(base, value) } else { self.outbound_error(base) };
        self.mismatches += u64::from(complaint.is_some());
        complaint
    }

    /// The 64-bit value in the registers at `low` and `low + 4`.
    fn pair(&self, low: u32) -> u64 {
        u64::from(self.read(low)) | u64::from(self.read(low + 4)) << 32
    }

    fn inbound_error(&self, base: u32, control: u32) -> Option<String> {
        let bar = control >> 8 & 7;
        let standard = match bar {
            0 => regs::SRAM_BASE,
            2 => regs::SPI_BASE,
            4 => regs::HBM_BASE,
            _ => return Some(format!("inbound region for BAR{bar}, which does not exist")),
        };
        let target = self.pair(base + 0x14);
        if control & BAR_MATCH == 0 {
            Some(format!("inbound region for BAR{bar} without BAR match mode"))
        } else if target != standard {
            Some(format!("BAR{bar} pointed to {target:#x}; it stays at {standard:#x}"))
        } else {
            None
        }
    }

    fn outbound_error(&self, base: u32) -> Option<String> {
        let (start, target) = (self.pair(base + 0x08), self.pair(base + 0x14));
        (start != regs::HOST_BASE || target != 0).then(|| {
            format!("outbound window at {start:#x} to host address {target:#x}; it stays at {:#x}", regs::HOST_BASE)
        })
    }

    /// Target of the inbound region for BAR `bar` (0, 2 or 4); `None` = not enabled.
    #[must_use]
    pub fn inbound_target(&self, bar: u32) -> Option<u64> {
        (0..8).map(|region| 0x100 + 0x200 * region).find_map(|base| {
            let control = self.read(base + 4);
            (control & ENABLE != 0 && control >> 8 & 7 == bar).then(|| self.pair(base + 0x14))
        })
    }

    /// Regions that were enabled with something this card does not have.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.mismatches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sequence of `boot-protocol.md` 4.3: region registers in order.
    const DRIVER_SEQUENCE: [(u32, u32); 20] = [
        (0x114, 0xF000_0000),
        (0x118, 0x7F),
        (0x100, 0),
        (0x104, 0xC008_0000),
        (0x314, 0xF800_0000),
        (0x318, 0x7F),
        (0x300, 0),
        (0x304, 0xC008_0200),
        (0x514, 0),
        (0x518, 0),
        (0x500, 0),
        (0x504, 0xC008_0400),
        (0x008, 0),
        (0x00C, 0x80),
        (0x010, 0xFFFF_FFFF),
        (0x014, 0),
        (0x018, 0),
        (0x020, 0x1_007F),
        (0x000, 0x2000),
        (0x004, 0x8000_0000),
    ];

    #[test]
    fn the_drivers_sequence_gives_the_standard_windows() {
        let mut iatu = Iatu::default();
        for (offset, value) in DRIVER_SEQUENCE {
            assert_eq!(iatu.target(pcie::DBI + offset), None);
            iatu.select(pcie::AUX_DBI_IATU);
            assert_eq!(iatu.target(pcie::DBI + offset), Some(Target::Region(offset)));
            assert_eq!(iatu.write(offset, value), None);
            iatu.select(0);
        }
        assert_eq!(iatu.mismatches(), 0);
        assert_eq!(iatu.inbound_target(0), Some(0x7F_F000_0000));
        assert_eq!(iatu.inbound_target(2), Some(0x7F_F800_0000));
        assert_eq!(iatu.inbound_target(4), Some(0));
        assert_eq!(iatu.inbound_target(1), None);
    }

    #[test]
    fn a_moved_window_is_recorded_and_counted() {
        let mut iatu = Iatu::default();
        iatu.write(0x514, 0x4000_0000);
        assert!(iatu.write(0x504, 0xC008_0400).is_some_and(|text| text.contains("0x40000000")));
        assert!(iatu.write(0x504, 0x8008_0400).is_some());
        assert!(iatu.write(0x704, 0xC008_0100).is_some());
        assert!(iatu.write(0x004, 0x8000_0000).is_some());
        assert_eq!(iatu.mismatches(), 4);
        assert_eq!(iatu.inbound_target(4), Some(0x4000_0000));
    }
}
