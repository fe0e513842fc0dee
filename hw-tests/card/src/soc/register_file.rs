//! The register file: storage of every register, shared with the management CPU as a read-only shadow.
//!
//! For: loads, stores and resets of registers by CFG offset. Owns: [`bar0::SHADOW`] in the SoC's memory file. Never: a
//! side effect of a register; those are in `bus.rs` and the files of the blocks.

use std::sync::Arc;

use coxswain_abi::soc::bar0;

use super::reset_values::ResetTable;
use crate::memory::Memories;

/// Which registers a reset returns to their reset value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResetScope {
    /// All of them.
    PowerOn,
    /// All but PCIe, the PLLs and the cold-reset flops (`gaudi-soc.md` 12).
    Software,
}

/// Access to the registers. An offset that is not 4-byte aligned or lies outside the register file reads 0 and swallows
/// writes.
///
/// Single loads and stores are atomic. A read-modify-write is not: all of them happen under the bus lock.
#[derive(Clone)]
pub(super) struct RegisterFile {
    memories: Arc<Memories>,
}

impl RegisterFile {
    pub fn new(memories: Arc<Memories>) -> Self {
        Self { memories }
    }

    fn place(offset: u32) -> Option<u64> {
        (u64::from(offset) < bar0::SHADOW_SIZE).then(|| bar0::SHADOW + u64::from(offset))
    }

    /// Reads the register at CFG offset `offset`.
    #[inline]
    pub fn read(&self, offset: u32) -> u32 {
        Self::place(offset).and_then(|place| self.memories.soc.read_u32(place).ok()).unwrap_or(0)
    }

    /// Reads two registers as one 64-bit value, the low half at `offset`.
    pub fn read_pair(&self, low: u32, high: u32) -> u64 {
        u64::from(self.read(low)) | u64::from(self.read(high)) << 32
    }

    /// Stores into the register at CFG offset `offset`.
    #[inline]
    pub fn write(&self, offset: u32, value: u32) {
        if let Some(place) = Self::place(offset) {
            let _ = self.memories.soc.write_u32(place, value);
        }
    }

    /// ORs `bits` into a register. Under the bus lock only.
    pub fn set_bits(&self, offset: u32, bits: u32) {
        self.write(offset, self.read(offset) | bits);
    }

    /// Clears `bits` of a register. Under the bus lock only.
    pub fn clear_bits(&self, offset: u32, bits: u32) {
        self.write(offset, self.read(offset) & !bits);
    }

    /// Returns the registers of `scope` to their reset values.
    pub fn reset(&self, scope: ResetScope) {
        let table = ResetTable::get();
        let kept: Vec<(u32, u32)> = match scope {
            ResetScope::PowerOn => Vec::new(),
            ResetScope::Software => table
                .survivors()
                .iter()
                .flat_map(|range| range.clone().step_by(4))
                .map(|offset| (offset, self.read(offset)))
                .collect(),
        };
        let _ = self.memories.soc.punch_hole(bar0::SHADOW, bar0::SHADOW_SIZE);
        for (offset, value) in table.values().chain(kept) {
            self.write(offset, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_abi::regs::psoc;

    fn file() -> RegisterFile {
        RegisterFile::new(Arc::new(Memories::new(4096).unwrap()))
    }

    #[test]
    fn a_software_reset_returns_every_register_but_the_survivors_to_its_reset_value() {
        let file = file();
        file.reset(ResetScope::PowerOn);
        let before: Vec<u32> = (0..bar0::SHADOW_SIZE as u32).step_by(4).map(|offset| file.read(offset)).collect();
        for offset in (0..bar0::SHADOW_SIZE as u32).step_by(4) {
            file.write(offset, 0xDEAD_0001 ^ offset);
        }
        file.reset(ResetScope::Software);
        let mut kept = 0;
        for (index, expected) in before.iter().enumerate() {
            let offset = 4 * index as u32;
            let survives = ResetTable::get().survivors().iter().any(|range| range.contains(&offset));
            kept += u32::from(survives);
            let expected = if survives { 0xDEAD_0001 ^ offset } else { *expected };
            assert_eq!(file.read(offset), expected, "register {offset:#x}");
        }
        assert!(kept > 4);
        assert_eq!(file.read(psoc::COLD_RST_FLOPS_1), 0xDEAD_0001 ^ psoc::COLD_RST_FLOPS_1);
        assert_eq!(file.read(psoc::HW_STATE), 0);
    }

    #[test]
    fn offsets_outside_the_register_file_read_zero_and_swallow_writes() {
        let file = file();
        file.write(bar0::SHADOW_SIZE as u32, 5);
        file.write(2, 5);
        assert_eq!(file.read(bar0::SHADOW_SIZE as u32), 0);
        assert_eq!(file.read(2), 0);
        assert_eq!(file.read(0), 0);
    }
}
