//! What the driver tells about the card.

use super::{Device, DeviceError, call, uapi};
use rustix::fs::{Mode, OFlags, open};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerocopy::{FromBytes, IntoBytes};

/// Names of the device states, by number.
const STATES: [&str; 6] =
    ["operational", "in reset", "malfunction", "needs reset", "in device creation", "in reset after release"];

/// The card's control node: information only, also while another program has the card.
#[derive(Debug)]
pub struct ControlNode {
    file: OwnedFd,
}

impl ControlNode {
    /// Opens the node.
    ///
    /// # Errors
    /// [`DeviceError::Open`].
    pub fn open(path: &str) -> Result<Self, DeviceError> {
        open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map(|file| Self { file })
            .map_err(|errno| DeviceError::Open { path: path.to_owned(), errno })
    }
}

impl AsFd for ControlNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Information for ControlNode {}
impl Information for Device {}

/// The information operations, which both nodes have.
pub trait Information: AsFd {
    /// Reads the answer to operation `op` into a value; `selector` names a PLL or sync manager where one is asked for.
    ///
    /// # Errors
    /// The driver refuses, as it does for what this card or its firmware does not have.
    fn information<T: FromBytes + IntoBytes>(&self, op: u32, selector: u32) -> Result<T, DeviceError> {
        let mut value = T::new_zeroed();
        self.read_information(op, selector, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads the answer to operation `op` as bytes; an answer shorter than the buffer leaves the rest alone.
    ///
    /// # Errors
    /// As [`Self::information`].
    fn read_information(&self, op: u32, selector: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let return_size = u32::try_from(bytes.len()).map_err(|_| DeviceError::Argument("too large an answer"))?;
        let mut args = uapi::InfoArgs {
            return_pointer: bytes.as_mut_ptr().expose_provenance() as u64,
            return_size,
            op,
            selector,
            pad: 0,
        };
        // SAFETY: the number announces exactly the size of `InfoArgs` (asserted there). The driver writes at most
        // `return_size` bytes at `return_pointer`: the buffer, borrowed exclusively for the call.
        let result = unsafe { call::<{ uapi::IOCTL_INFO }, _>(self.as_fd(), &mut args) };
        result.map_err(|errno| DeviceError::Refused { operation: "an information request", errno })
    }

    /// What the card has.
    ///
    /// # Errors
    /// As [`Self::information`].
    fn hardware(&self) -> Result<uapi::HwIpInfo, DeviceError> {
        self.information(uapi::info_op::HW_IP_INFO, 0)
    }

    /// The device's state in words, as numbered by the interface.
    ///
    /// # Errors
    /// As [`Self::information`]; or the state is unknown.
    fn status(&self) -> Result<&'static str, DeviceError> {
        let [status, _]: [u32; 2] = self.information(uapi::info_op::DEVICE_STATUS, 0)?;
        STATES.get(status as usize).copied().ok_or(DeviceError::Answer("an unknown device state"))
    }

    /// Numbers and counts of the events that occurred: since the last hard reset, or since the driver was loaded.
    ///
    /// # Errors
    /// As [`Self::information`].
    fn events(&self, since_load: bool) -> Result<Vec<(u32, u32)>, DeviceError> {
        // An upper bound on an answer of the driver: event numbers are 16 bits wide.
        let count = self.hardware()?.events.min(0x1_0000);
        let mut counters = vec![0u32; count as usize];
        let op = if since_load { uapi::info_op::HW_EVENTS_AGGREGATE } else { uapi::info_op::HW_EVENTS };
        self.read_information(op, 0, counters.as_mut_bytes())?;
        Ok((0..).zip(counters).filter(|(_, count)| *count != 0).collect())
    }
}

/// A zero-terminated text in a fixed field.
#[must_use]
pub fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_zero_or_with_its_field() {
        assert_eq!(text(b"HL-205\0\0junk"), "HL-205");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn the_hardware_answer_is_read_at_the_documented_offsets() {
        let mut bytes = [0u8; 304];
        bytes[8..16].copy_from_slice(&0x2000_0000u64.to_le_bytes());
        bytes[24..28].copy_from_slice(&0x13F_FF80u32.to_le_bytes());
        bytes[68] = 0xFF;
        bytes[72..76].copy_from_slice(b"1.2\0");
        bytes[277] = 1;
        let info = uapi::HwIpInfo::read_from_bytes(&bytes).unwrap();
        assert_eq!((info.dram_base, info.sram_size, info.tpc_mask), (0x2000_0000, 0x13F_FF80, 0xFF));
        assert_eq!((text(&info.cpucp_version).as_str(), info.revision_id), ("1.2", 1));
    }
}
