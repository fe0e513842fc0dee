//! The SMC interface between the images at Secure EL1 and the monitor that the ROM leaves at EL3.
//!
//! SMC Calling Convention 1.4, fast calls, SMC64, owner *SiP service*: `x0` = function, results in `x0`; negative = error.
//!
//! | Function | x1 | x2 | x3 | Result |
//! |---|---|---|---|---|
//! | [`SMCCC_VERSION`] | | | | 0x1_0004 |
//! | [`MONITOR_VERSION`] | | | | [`MONITOR_VERSION_VALUE`] |
//! | [`START_CORE`] | core 1..=3 | entry, in an image region | argument | 0 or [`SmcError`] |
//! | [`WARM_RESET`] | address of [`coxswain_abi::soc::bar0::CPU_RESET`] | | | does not return |

use crate::memory_map::{BOOTFIT, BOOTFIT_SIZE, CONTROL, CONTROL_SIZE};

/// Version of the calling convention.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// Answer to [`SMCCC_VERSION`]: 1.4.
pub const SMCCC_VERSION_VALUE: u64 = 0x1_0004;
/// Version of the monitor.
pub const MONITOR_VERSION: u32 = 0xC200_0000;
/// Answer to [`MONITOR_VERSION`]: major in bits 31:16, minor in 15:0.
pub const MONITOR_VERSION_VALUE: u64 = 0x1_0000;
/// Starts a parked core.
pub const START_CORE: u32 = 0xC200_0001;
/// Resets the CPU; card state stays.
pub const WARM_RESET: u32 = 0xC200_0002;

/// Why the monitor refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum SmcError {
    /// Unknown function.
    NotSupported,
    /// A core that does not exist, an entry outside the image regions, a wrong register.
    InvalidParameter,
    /// The core has not reached its parking place; it will.
    NotParked,
    /// The core has been started before.
    AlreadyRunning,
    /// A code that this version does not know.
    Other,
}

impl SmcError {
    /// The result register of a refused call.
    #[must_use]
    pub const fn to_register(self) -> u64 {
        (match self {
            Self::NotSupported => -1_i64,
            Self::InvalidParameter => -2,
            Self::NotParked => -3,
            Self::AlreadyRunning => -4,
            Self::Other => -5,
        }) as u64
    }

    /// Decodes a result register: the value, or the error when it is negative.
    ///
    /// # Errors
    /// The decoded [`SmcError`].
    pub const fn decode(register: u64) -> Result<u64, Self> {
        match register as i64 {
            0.. => Ok(register),
            -1 => Err(Self::NotSupported),
            -2 => Err(Self::InvalidParameter),
            -3 => Err(Self::NotParked),
            -4 => Err(Self::AlreadyRunning),
            _ => Err(Self::Other),
        }
    }
}

/// True when `address` is an instruction address inside the regions of the loaded images.
#[must_use]
pub const fn is_image_address(address: u64) -> bool {
    address.is_multiple_of(4)
        && (address >= BOOTFIT && address < BOOTFIT + BOOTFIT_SIZE
            || address >= CONTROL && address < CONTROL + CONTROL_SIZE)
}

/// Calls the monitor.
#[cfg(target_os = "none")]
fn call(function: u32, first: u64, second: u64, third: u64) -> Result<u64, SmcError> {
    let mut arguments = [0; 17];
    arguments[..3].copy_from_slice(&[first, second, third]);
    let [result, ..] = smccc::smc64(function, arguments);
    SmcError::decode(result)
}

/// Version of the resident monitor.
///
/// # Errors
/// [`SmcError::NotSupported`] under a ROM without a monitor.
#[cfg(target_os = "none")]
pub fn monitor_version() -> Result<u64, SmcError> {
    call(MONITOR_VERSION, 0, 0, 0)
}

/// Starts core `core` at `entry` with `x0 = argument`, at Secure EL1 with the MMU off and no stack.
///
/// # Safety
/// `entry` must be start-up code that can run so, and `argument` what it expects.
///
/// # Errors
/// Whatever the monitor answers.
#[cfg(target_os = "none")]
pub unsafe fn start_core(core: usize, entry: u64, argument: u64) -> Result<(), SmcError> {
    call(START_CORE, core as u64, entry, argument).map(|_| ())
}

/// Resets the CPU through the card; returns only when the monitor refuses.
///
/// # Errors
/// Whatever the monitor answers.
#[cfg(target_os = "none")]
pub fn warm_reset() -> Result<(), SmcError> {
    call(WARM_RESET, crate::memory_map::BAR0 + coxswain_abi::soc::bar0::CPU_RESET, 0, 0).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_its_register() {
        for error in [
            SmcError::NotSupported,
            SmcError::InvalidParameter,
            SmcError::NotParked,
            SmcError::AlreadyRunning,
            SmcError::Other,
        ] {
            assert_eq!(SmcError::decode(error.to_register()), Err(error));
        }
        assert_eq!(SmcError::decode(SMCCC_VERSION_VALUE), Ok(0x1_0004));
    }

    #[test]
    fn an_entry_outside_the_images_is_refused() {
        assert!(is_image_address(CONTROL));
        assert!(!is_image_address(CONTROL + 2));
        assert!(!is_image_address(CONTROL + CONTROL_SIZE));
        assert!(!is_image_address(0));
        assert!(!is_image_address(u64::MAX - 3));
    }
}
