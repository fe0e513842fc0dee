//! Reset values of the register file, taken from the project's own register documents.
//!
//! For: the table that a reset applies. Owns: the parsed table ([`ResetTable`]). Never: touches a register.
//!
//! `gaudi-registers.csv` gives the registers of one instance of each block type with their reset values, `instances.csv`
//! the pages of every block. What those files leave open is in [`OVERRIDES`] with its source.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use coxswain_abi::regs::{CFG_SIZE, mme, psoc};

/// Bytes of a register block's page.
const PAGE: u32 = 0x1000;
/// First protection word of a block's page (`qman.md` 7.5).
pub(super) const PROT_BITS: u32 = 0xF80;
/// Size of a sync manager's block, whose pages hold objects up to their last byte and no protection words.
const SYNC_MANAGER_SIZE: u32 = 0x1_0000;

static REGISTERS: &str = include_str!("../../../../boards/gaudi/docs/gaudi-registers.csv");
static INSTANCES: &str = include_str!("../../../../boards/gaudi/docs/instances.csv");

/// Block type, register name, value: reset values that `gaudi-registers.csv` does not give.
const OVERRIDES: &[(&str, &str, u32)] = &[
    // `gaudi-mmu-sync.md` 1.6: every property register resets to bypass, ASID 0.
    ("DMA_CORE", "SECURE_PROPS", 0x400),
    ("DMA_CORE", "NON_SECURE_PROPS", 0x400),
    ("MME_SBAB", "ARUSER0", 0x400),
    ("MME_SBAB", "ARUSER1", 0x400),
    ("MME_ACC", "WBC", 0x400),
    ("PSOC_GLOBAL_CONF", "TRACE_AWUSER", 0x400),
    ("PSOC_GLOBAL_CONF", "TRACE_ARUSER", 0x400),
    // `gaudi-soc.md` 15.1: what an idle MME shows.
    ("MME_CTRL", "ARCH_STATUS", mme::ARCH_STATUS_IDLE),
    // Chosen: 50 MHz x 32 with the undivided PLL selected = 1600 MHz (`gaudi-soc.md` 6.7 accepts any value).
    ("PSOC_CPU_PLL", "NF", 31),
    ("PSOC_CPU_PLL", "DIV_SEL_2", 1),
];

/// What a reset of the whole card does to the register file.
pub(super) struct ResetTable {
    /// CFG offset and value of every register that does not reset to 0, ascending.
    values: BTreeMap<u32, u32>,
    /// Ranges that keep their value when software resets the card.
    survivors: Vec<Range<u32>>,
    /// One entry per page of the register file: true where a block exists.
    pages: Vec<bool>,
}

impl ResetTable {
    /// The table of this card.
    pub fn get() -> &'static Self {
        static TABLE: LazyLock<ResetTable> = LazyLock::new(ResetTable::parse);
        &TABLE
    }

    /// Registers that do not reset to 0.
    pub fn values(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.values.iter().map(|(&offset, &value)| (offset, value))
    }

    /// Reset value of one register.
    #[cfg(test)]
    pub fn value(&self, offset: u32) -> u32 {
        self.values.get(&offset).copied().unwrap_or(0)
    }

    /// Ranges that a software reset keeps: PCIe, the PLLs, the cold-reset flops (`gaudi-soc.md` 12).
    pub fn survivors(&self) -> &[Range<u32>] {
        &self.survivors
    }

    /// True when a register block exists at `offset`.
    pub fn exists(&self, offset: u32) -> bool {
        self.pages.get((offset / PAGE) as usize).copied().unwrap_or(false)
    }

    fn parse() -> Self {
        let mut table = Self {
            values: BTreeMap::new(),
            survivors: Vec::new(),
            pages: vec![false; (CFG_SIZE / u64::from(PAGE)) as usize],
        };
        table.survivors.push(psoc::COLD_RST_FLOPS_0..psoc::COLD_RST_FLOPS_0 + 0x10);
        let mut instances: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for line in INSTANCES.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            let [block, _, _, offset, ..] = columns[..] else { continue };
            let Some(offset) = number(offset).filter(|&offset| u64::from(offset) < CFG_SIZE) else { continue };
            instances.entry(block).or_default().push(offset);
            table.add_block(block, offset);
        }
        for line in REGISTERS.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            let [block, _, name, offset, _, count, stride, reset, ..] = columns[..] else { continue };
            let Some(offset) = number(offset) else { continue };
            let given = OVERRIDES.iter().find(|(b, r, _)| (*b, *r) == (block, name)).map(|&(_, _, value)| value);
            let Some(value) = given.or_else(|| number(reset)).filter(|&value| value != 0) else { continue };
            let (count, stride) = (number(count).unwrap_or(1), number(stride).unwrap_or(4));
            for base in instances.get(block).into_iter().flatten() {
                for index in 0..count {
                    table.values.insert(base + offset + index * stride, value);
                }
            }
        }
        table
    }

    fn add_block(&mut self, block: &str, offset: u32) {
        let sync_manager = block == "SYNC_MNGR" || block == "SYNC_MNGR_OBJS";
        let size = if block == "SYNC_MNGR" { SYNC_MANAGER_SIZE } else { PAGE };
        for page in (offset / PAGE..).take((size / PAGE) as usize) {
            if let Some(exists) = self.pages.get_mut(page as usize) {
                *exists = true;
            }
        }
        if !sync_manager {
            for word in 0..32 {
                self.values.insert(offset + PROT_BITS + 4 * word, u32::MAX);
            }
        }
        if block.starts_with("PCIE") || block.ends_with("PLL") {
            self.survivors.push(offset..offset + PAGE);
        }
    }
}

/// A decimal or 0x-prefixed number.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_abi::regs::{dma_core, qman, sync_manager, tpc_cfg};

    #[test]
    fn the_table_gives_what_the_idle_check_reads() {
        let table = ResetTable::get();
        for index in 0..18 {
            assert_eq!(table.value(qman::base(index) + qman::GLBL_STS0), 0x3FFF);
            assert_eq!(table.value(qman::base(index) + qman::CGM_STS), 0x700);
            assert_eq!(table.value(qman::base(index) + qman::GLBL_SECURE_PROPS_0 + 16), 0x400);
        }
        for index in 0..8 {
            assert_eq!(table.value(tpc_cfg::base(index) + tpc_cfg::STATUS), 0xEE);
            assert_eq!(table.value(dma_core::base(index) + dma_core::NON_SECURE_PROPS), 0x400);
            assert_eq!(table.value(dma_core::base(index) + dma_core::STS0), 0);
        }
        for index in 0..4 {
            assert_eq!(table.value(mme::ctrl_base(index)), 0x1180);
        }
    }

    #[test]
    fn protection_words_are_open_after_reset_and_absent_in_sync_managers() {
        let table = ResetTable::get();
        assert_eq!(table.value(0x50_0F80), u32::MAX);
        assert_eq!(table.value(0x50_0FFC), u32::MAX);
        assert_eq!(table.value(sync_manager::base(0) + 0x2F80), 0);
    }

    #[test]
    fn blocks_exist_where_the_documents_say() {
        let table = ResetTable::get();
        assert!(table.exists(0x50_0000));
        assert!(table.exists(sync_manager::base(3) + sync_manager::MON_STATUS_0));
        assert!(!table.exists(0x50_7000));
        assert!(!table.exists(0x0200_0000));
    }
}
