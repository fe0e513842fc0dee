//! The hand-over between the stages: one page of secure RAM that each stage reads, extends and passes on in `x0`.
//!
//! Written by the stage that runs, never by another side; it is not visible to the host or the card. The next stage checks
//! magic, version and size before it believes it.

use coxswain_abi::regs::psoc::sts0;
use coxswain_abi::soc::{ResetReason, straps};

/// "CXBI".
const MAGIC: u32 = 0x4942_5843;
/// Version of the layout.
const VERSION: u32 = 1;

/// A boot stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum Stage {
    /// Boot ROM.
    Rom = 0,
    /// Boot-fit.
    BootFit = 1,
    /// Control image.
    Control = 2,
}

/// Marks of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct StageRecord {
    /// Counter ticks (CNTPCT) when the stage was entered; 0 = not yet.
    pub entered: u64,
    /// Counter ticks when the stage waited for its image, or was ready when it loads none.
    pub ready: u64,
    /// Counter ticks when it left for the next stage.
    pub left: u64,
    /// Instructions retired from entry to `ready`, modulo 2^32. Meaningful on a machine with `-icount` only.
    pub instructions_to_ready: u32,
    /// Instructions retired from entry to `left`, modulo 2^32.
    pub instructions: u32,
}

/// An error that a boot stage reported, kept over a reset of the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BootErrorRecord {
    /// Number of the error; 0 = none. The numbers are those of the boot protocol's error table.
    pub number: u32,
    /// The [`Stage`] that reported it.
    pub stage: u32,
    /// What the error says beyond its number.
    pub detail: u64,
}

/// Where the ROM has put the SoC-side function's BARs, and how much memory is behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BarAddresses {
    /// BAR0: SRAM, shadow, rings.
    pub bar0: u64,
    /// BAR2: the host's memory.
    pub bar2: u64,
    /// Bytes of BAR2.
    pub bar2_bytes: u64,
    /// BAR4: HBM.
    pub bar4: u64,
    /// Bytes of BAR4.
    pub bar4_bytes: u64,
}

/// The hand-over structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BootInfo {
    magic: u32,
    version: u32,
    size: u32,
    /// Raw [`ResetReason`].
    reset_reason: u32,
    /// BARs of the SoC-side function.
    pub bars: BarAddresses,
    /// MSI vectors that are enabled: 1, 2 or 4. Vector `n` interrupts core `n`; a core without a vector has only its timer.
    pub msi_vectors: u32,
    /// Cores of the machine.
    pub cores: u32,
    /// Straps of the information page.
    pub straps: u32,
    /// True (1) when the machine was reset without losing this page: a boot after the first.
    pub warm: u32,
    /// Frequency of the counter in Hz.
    pub counter_frequency: u64,
    /// Last error of a boot stage.
    pub boot_error: BootErrorRecord,
    /// Marks of the ROM, the boot-fit and the control image.
    pub stages: [StageRecord; 3],
}

const _: () = assert!(size_of::<BootInfo>() == 192 && size_of::<BootInfo>() <= 4096);

/// Why the hand-over structure was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum BootInfoError {
    /// The pointer is not the documented address.
    Address,
    /// Magic, version or size differ: the images do not belong together.
    Version,
}

impl BootInfoError {
    /// What is wrong, in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Address => "boot information is not at its address",
            Self::Version => "boot information of another version",
        }
    }
}

impl BootInfo {
    /// A structure for a new boot.
    #[must_use]
    pub const fn new(reason: ResetReason) -> Self {
        const NOTHING: StageRecord =
            StageRecord { entered: 0, ready: 0, left: 0, instructions_to_ready: 0, instructions: 0 };
        Self {
            magic: MAGIC,
            version: VERSION,
            size: size_of::<Self>() as u32,
            reset_reason: reason as u32,
            bars: BarAddresses { bar0: 0, bar2: 0, bar2_bytes: 0, bar4: 0, bar4_bytes: 0 },
            msi_vectors: 1,
            cores: 1,
            straps: 0,
            warm: 0,
            counter_frequency: 0,
            boot_error: BootErrorRecord { number: 0, stage: 0, detail: 0 },
            stages: [NOTHING; 3],
        }
    }

    /// Why the CPU left reset; an unknown value counts as power-on.
    #[must_use]
    pub fn reset_reason(&self) -> ResetReason {
        ResetReason::from_raw(self.reset_reason).unwrap_or(ResetReason::PowerOn)
    }

    /// What a stage says about itself in CPU_BOOT_DEV_STS0: `word`, without COMMS when the straps choose the static loader.
    #[must_use]
    pub const fn capabilities(&self, word: u32) -> u32 {
        if self.straps & straps::STATIC_LOADER == 0 { word } else { word & !sts0::FW_LD_COM_EN }
    }

    /// Records why the CPU left reset.
    pub fn set_reset_reason(&mut self, reason: ResetReason) {
        self.reset_reason = reason as u32;
    }

    /// True when magic, version and size are this layout's.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.magic == MAGIC && self.version == VERSION && self.size as usize == size_of::<Self>()
    }
}

/// Reads the structure at its fixed address; an error when it is not one of this version.
///
/// # Errors
/// [`BootInfoError`] when `pointer` is not the documented address or the contents are not this layout's.
#[cfg(target_os = "none")]
pub fn load(pointer: u64) -> Result<BootInfo, BootInfoError> {
    if pointer != crate::memory_map::BOOT_INFO {
        return Err(BootInfoError::Address);
    }
    // SAFETY: the page at BOOT_INFO is secure RAM that only this module touches, aligned, and every bit pattern is a value
    // of the structure's integer fields.
    let info = unsafe { core::ptr::read(pointer as *const BootInfo) };
    if info.is_valid() { Ok(info) } else { Err(BootInfoError::Version) }
}

/// Writes the structure to its fixed address.
#[cfg(target_os = "none")]
pub fn store(info: &BootInfo) {
    // SAFETY: the page at BOOT_INFO is secure RAM that only this module touches, aligned and large enough (asserted above).
    unsafe { core::ptr::copy_nonoverlapping(info, crate::memory_map::BOOT_INFO as *mut BootInfo, 1) };
    crate::barrier::full();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_structure_is_valid_and_another_version_is_not() {
        let mut info = BootInfo::new(ResetReason::Watchdog);
        assert!(info.is_valid());
        assert_eq!(info.reset_reason(), ResetReason::Watchdog);
        info.version += 1;
        assert!(!info.is_valid());
    }

    #[test]
    fn an_unknown_reset_reason_counts_as_power_on() {
        let mut info = BootInfo::new(ResetReason::Firmware);
        info.reset_reason = 77;
        assert_eq!(info.reset_reason(), ResetReason::PowerOn);
    }
}
