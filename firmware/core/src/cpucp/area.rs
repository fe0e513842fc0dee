//! The area of host memory that the driver shares with us: every address from the host passes here once.

use coxswain_abi::cpucp::host_bus_address;

/// The shared area (the registers call it CQ): an extent of host memory, in the form of address that the host uses for the
/// management CPU. Whatever lies outside is none of our business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedArea {
    /// First byte, as the host writes it: bit 39 set.
    base: u64,
    /// Bytes, at least 1.
    length: u64,
    /// Host bus address of the first byte.
    bus: u64,
}

impl SharedArea {
    /// The area of `length` bytes at `base` (bit 39 set, `cpucp.md` 1) with the address extension `cpu_msb_addr`; `None` when it
    /// is empty or not an extent of host memory.
    #[must_use]
    pub fn new(base: u64, length: u32, cpu_msb_addr: u32) -> Option<Self> {
        let bus = host_bus_address(base, cpu_msb_addr)?;
        let last = base.checked_add(u64::from(length).checked_sub(1)?)?;
        // The last byte must have the same form: the extension is the same for the whole area.
        host_bus_address(last, cpu_msb_addr)?;
        Some(Self { base, length: u64::from(length), bus })
    }

    /// Host bus address of the `bytes` bytes at `address` (in the host's form); `None` unless all of them lie inside the area.
    #[must_use]
    pub fn bus_address(&self, address: u64, bytes: u64) -> Option<u64> {
        let offset = address.checked_sub(self.base)?;
        let end = offset.checked_add(bytes)?;
        if end > self.length { None } else { self.bus.checked_add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x80_1234_0000;

    #[test]
    fn addresses_inside_the_area_become_bus_addresses() {
        let area = SharedArea::new(BASE, 0x20_0000, 1).unwrap();
        assert_eq!(area.bus_address(BASE, 0x20_0000), Some(0x1234_0000));
        assert_eq!(area.bus_address(BASE + 0x1F_FFFF, 1), Some(0x1253_FFFF));
        let high = SharedArea::new(BASE, 0x20_0000, 3).unwrap();
        assert_eq!(high.bus_address(BASE, 1), Some(0x100_1234_0000));
    }

    #[test]
    fn nothing_reaches_outside_the_area() {
        let area = SharedArea::new(BASE, 0x1000, 1).unwrap();
        for (address, bytes) in [
            (BASE - 1, 1),
            (BASE, 0x1001),
            (BASE + 0xFFF, 2),
            (BASE + 0x1001, 0),
            (0, 1),
            (u64::MAX, 1),
            (BASE, u64::MAX),
        ] {
            assert_eq!(area.bus_address(address, bytes), None, "{address:#x}+{bytes:#x}");
        }
    }

    #[test]
    fn an_area_that_is_not_host_memory_is_refused() {
        assert_eq!(SharedArea::new(BASE, 0, 1), None);
        assert_eq!(SharedArea::new(0x1234_0000, 0x1000, 1), None);
        assert_eq!(SharedArea::new(0xFF_FFFF_F000, 0x1001, 1), None);
        assert_eq!(SharedArea::new(BASE, 0x1000, 0), None);
        assert!(SharedArea::new(0xFF_FFFF_F000, 0x1000, 1).is_some());
    }
}
