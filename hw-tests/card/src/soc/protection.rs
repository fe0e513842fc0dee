//! Protection against non-secure initiators: protection bits per register and closed address ranges.
//!
//! For: the decision whether an access may happen. Owns: nothing; every decision is read from the registers that the
//! driver programs (`qman.md` 7.5, `gaudi-soc.md` 16). Never: performs or reports an access.
//!
//! The driver writes the same ranges into the 28 router and DMA interface blocks of the chip; the model evaluates one of
//! them (SIF_RTR_0) for every initiator.

use super::register_file::RegisterFile;
use super::reset_values::{PROT_BITS, ResetTable};

/// What a read of a protected register returns (`gaudi-soc.md` 16.4).
pub(super) const PROTECTED_READ: u32 = 0xBABA_0BAD;

/// LBW range registers of SIF_RTR_0: enable bits, first exclusive lower bound, first exclusive upper bound.
struct Lbw {
    hit: u32,
    min: u32,
    max: u32,
}

const LBW_WRITE: Lbw = Lbw { hit: 0x30_0400, min: 0x30_0410, max: 0x30_0450 };
const LBW_READ: Lbw = Lbw { hit: 0x30_0490, min: 0x30_04A0, max: 0x30_04E0 };
/// LBW ranges per block.
const LBW_RANGES: u32 = 16;

/// HBW range registers of SIF_RTR_CTRL_0: enable bits, bases and masks of address bits 49:0.
struct Hbw {
    hit: u32,
    base_low: u32,
    base_high: u32,
    mask_low: u32,
    mask_high: u32,
}

const HBW_WRITE: Hbw =
    Hbw { hit: 0x30_6A64, base_low: 0x30_65E4, base_high: 0x30_6624, mask_low: 0x30_6664, mask_high: 0x30_66A4 };
const HBW_READ: Hbw =
    Hbw { hit: 0x30_6A68, base_low: 0x30_6824, base_high: 0x30_6864, mask_low: 0x30_68A4, mask_high: 0x30_68E4 };
/// HBW ranges per block.
const HBW_RANGES: u32 = 16;
/// Address bits that the HBW ranges compare.
const HBW_BITS: u64 = (1 << 50) - 1;

/// Why a register is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// By its protection bit.
    ProtectionBit,
    /// By an LBW range.
    Range,
}

/// Whether the register at CFG offset `offset` is closed to non-secure initiators.
pub(super) fn register(registers: &RegisterFile, offset: u32, write: bool) -> Option<Closed> {
    let lbw = if write { &LBW_WRITE } else { &LBW_READ };
    let enabled = registers.read(lbw.hit);
    for index in (0..LBW_RANGES).filter(|index| enabled >> index & 1 != 0) {
        // Both bounds are exclusive.
        if offset > registers.read(lbw.min + 4 * index) && offset < registers.read(lbw.max + 4 * index) {
            return Some(Closed::Range);
        }
    }
    // A page without a block has no protection words either; the bus answers there with an error.
    if is_sync_manager(offset) || !ResetTable::get().exists(offset) {
        return None;
    }
    let word = registers.read(offset & !0xFFF | PROT_BITS | (offset >> 7 & 0x1F) << 2);
    (word >> (offset >> 2 & 0x1F) & 1 == 0).then_some(Closed::ProtectionBit)
}

/// The sync managers' pages hold objects up to their last byte: they have no protection words (`qman.md` 7.5).
fn is_sync_manager(offset: u32) -> bool {
    (0x49_0000..0x50_0000).contains(&offset) && offset >> 16 & 1 == 1
}

/// How many bytes from `address` are open to non-secure initiators, at most `len`; 0 = the address itself is closed.
pub(super) fn open_bytes(registers: &RegisterFile, address: u64, len: u64, write: bool) -> u64 {
    let hbw = if write { &HBW_WRITE } else { &HBW_READ };
    let enabled = registers.read(hbw.hit);
    let mut open = len;
    for index in (0..HBW_RANGES).filter(|index| enabled >> index & 1 != 0) {
        let mask = registers.read_pair(hbw.mask_low + 4 * index, hbw.mask_high + 4 * index) & HBW_BITS;
        let base = registers.read_pair(hbw.base_low + 4 * index, hbw.base_high + 4 * index) & mask;
        if address & mask == base {
            return 0;
        }
        if base > address {
            open = open.min(base - address);
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memories;
    use crate::soc::register_file::ResetScope;
    use std::sync::Arc;

    fn registers() -> RegisterFile {
        let registers = RegisterFile::new(Arc::new(Memories::new(4096).unwrap()));
        registers.reset(ResetScope::PowerOn);
        registers
    }

    /// Applies the driver's security writes.
    fn secured() -> RegisterFile {
        let registers = registers();
        let trace = include_str!("../../../../boards/gaudi/docs/gaudi-init-trace.csv");
        for line in trace.lines().filter(|line| line.starts_with("hw_init.09_security,W,")) {
            let columns: Vec<&str> = line.split(',').collect();
            let parse = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
            registers.write(parse(columns[2]), parse(columns[3]));
        }
        registers
    }

    #[test]
    fn everything_is_open_after_reset() {
        let registers = registers();
        for offset in [0x50_0014, 0x50_8000, 0xC0_4100, 0x80_0040, 0x49_2000] {
            assert_eq!(register(&registers, offset, true), None, "{offset:#x}");
        }
        assert_eq!(open_bytes(&registers, 0, 1 << 35, true), 1 << 35);
    }

    /// `gaudi-registers.csv`, column user_access, for every register of the blocks that the ranges leave open.
    #[test]
    fn the_driver_s_writes_give_the_documented_user_access() {
        let registers = secured();
        let list = include_str!("../../../../boards/gaudi/docs/gaudi-registers.csv");
        let mut checked = [0; 2];
        for line in list.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            let parse = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            let (Some(base), Some(offset)) = (parse(columns[1]), parse(columns[3])) else { continue };
            if !(0x7F_FC00_0000..0x7F_FE00_0000).contains(&base) {
                continue;
            }
            let offset = (base - 0x7F_FC00_0000 + offset) as u32;
            let expected = columns[8].split('/').next().unwrap_or_default();
            let user = match expected {
                "U" => true,
                "S-pb" | "S-range" => false,
                _ => continue,
            };
            checked[usize::from(user)] += 1;
            assert_eq!(register(&registers, offset, true).is_none(), user, "{} {} {offset:#x}", columns[0], columns[2]);
        }
        assert!(checked[0] > 100 && checked[1] > 100, "{checked:?}");
    }

    #[test]
    fn the_driver_s_ranges_close_the_first_half_gibibyte_and_the_head_of_sram() {
        let registers = secured();
        assert_eq!(open_bytes(&registers, 0x1FFF_FFFF, 1, false), 0);
        assert_eq!(open_bytes(&registers, 0x2000_0000, 4096, false), 4096);
        assert_eq!(open_bytes(&registers, 0x7F_F000_007F, 1, true), 0);
        assert_eq!(open_bytes(&registers, 0x7F_F000_007F, 1, false), 1);
        assert_eq!(open_bytes(&registers, 0x7F_F000_0080, 64, true), 64);
        assert_eq!(open_bytes(&registers, 0x7F_EFFF_FFF0, 64, true), 0x10, "open up to where the range begins");
    }
}
