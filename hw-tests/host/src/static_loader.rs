//! The driver's static loader (`boot-protocol.md` 7): one word per image, fixed places, no text.

use crate::link::Link;
use crate::loader::{Loaded, text};
use crate::{Bounds, HostError};
use coxswain_abi::comms::{VERSION_BYTES, static_mode};
use coxswain_abi::regs::psoc::{self, boot_status, err0};
use coxswain_abi::regs::{HBM_BASE, SRAM_BASE, SRAM_SIZE};

/// Where the boot-fit is put.
const BOOT_FIT: u64 = SRAM_BASE + 0x20_0000;
/// Where the control image is put.
const CONTROL: u64 = HBM_BASE + 0x80_0000;

/// Loads both images.
///
/// # Errors
/// A stage did not answer, or refused an image: the driver cannot tell the two apart before its time is over, this host can.
pub(crate) fn load(link: &Link, bounds: &Bounds, boot_fit: &[u8], control: &[u8]) -> Result<Loaded, HostError> {
    let mut loaded = Loaded { preboot_version: version(link, psoc::PREBOOT_VER_OFFSET)?, ..Loaded::default() };
    link.wait_register(psoc::CPU_BOOT_STATUS, "CPU_BOOT_STATUS of the ROM", bounds.preboot, |status| {
        status == boot_status::WAITING_FOR_BOOT_FIT
    })?;
    link.write_device(BOOT_FIT, boot_fit)?;
    link.write(psoc::CPU_CMD_STATUS_TO_HOST, static_mode::CLEAR);
    link.write(psoc::KMD_MSG_TO_CPU, static_mode::FIT_READY);
    let answer = answer(link, bounds);
    link.write(psoc::KMD_MSG_TO_CPU, static_mode::NONE);
    answer?;
    link.wait_register(psoc::CPU_BOOT_STATUS, "CPU_BOOT_STATUS of the boot-fit", bounds.boot_fit, |status| {
        [2, 11, boot_status::READY_TO_BOOT].contains(&status)
    })?;
    loaded.boot_fit_version = version(link, psoc::UBOOT_VER_OFFSET)?;

    link.write_device(CONTROL, control)?;
    // The driver does not look at this word for the control image; it shows a refusal before 30 s are over.
    link.write(psoc::CPU_CMD_STATUS_TO_HOST, static_mode::CLEAR);
    link.write(psoc::KMD_MSG_TO_CPU, static_mode::FIT_READY);
    let started = self::answer(link, bounds).and_then(|()| {
        link.wait_register(psoc::CPU_BOOT_STATUS, "CPU_BOOT_STATUS of the control image", bounds.control, |status| {
            status == boot_status::SRAM_AVAIL
        })
    });
    link.write(psoc::KMD_MSG_TO_CPU, static_mode::NONE);
    started?;
    Ok(loaded)
}

/// Waits for the stage's verdict on an image.
fn answer(link: &Link, bounds: &Bounds) -> Result<(), HostError> {
    let word = link.wait_register(psoc::CPU_CMD_STATUS_TO_HOST, "CPU_MSG_OK", bounds.comms, |word| {
        word == static_mode::OK || word == static_mode::ERROR
    })?;
    if word == static_mode::OK {
        return Ok(());
    }
    let errors = link.read(psoc::CPU_BOOT_ERR0);
    let valid = if errors & err0::ENABLED != 0 { "" } else { " (not valid)" };
    Err(HostError::Boot(format!("firmware refuses the image: CPU_BOOT_ERR0 {errors:#x}{valid}")))
}

/// The version string that `register` points to, read as the driver does.
fn version(link: &Link, register: u32) -> Result<String, HostError> {
    let offset = u64::from(link.read(register) & 0x0FFF_FFFF);
    if offset >= SRAM_SIZE - VERSION_BYTES as u64 {
        return Err(HostError::protocol(format!("a version string at offset {offset:#x} of SRAM")));
    }
    let mut field = [0; VERSION_BYTES];
    link.read_device(SRAM_BASE + offset, &mut field)?;
    Ok(text(&field))
}

/// Asks the stage to stop, as the driver does before a reset: it does not wait for an answer.
pub(crate) fn go_to_wait(link: &Link, bounds: &Bounds) {
    link.write(psoc::KMD_MSG_TO_CPU, static_mode::GOTO_WFE);
    std::thread::sleep(bounds.halt);
    link.write(psoc::KMD_MSG_TO_CPU, static_mode::NONE);
}
