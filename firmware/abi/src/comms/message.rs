//! The message that a host may send instead of an image (`boot-protocol.md` 8.5).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::DESCRIPTOR_BYTES;

/// A message that the host placed where an image was expected (`boot-protocol.md` 8.5). 1280 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HostMessage {
    /// [`MESSAGE_MAGIC`]; the low byte is the version.
    pub magic: U32,
    /// Not computed by the driver.
    pub crc32: U32,
    /// Header bytes, 16.
    pub size: U16,
    /// 0.
    pub version: u8,
    /// 1 = reset cause.
    pub kind: u8,
    /// Zero.
    pub reserved: U32,
    /// A [`ResetCause`] number.
    pub reset_cause: u8,
    /// Zero.
    pub rest: [u8; 1263],
}

const _: () = assert!(size_of::<HostMessage>() == DESCRIPTOR_BYTES);

/// Value of [`HostMessage::magic`].
pub const MESSAGE_MAGIC: u32 = 0x4843_4D03;
/// [`HostMessage::kind`] of a reset cause.
pub const MESSAGE_RESET_CAUSE: u8 = 1;

/// Why the host reset the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetCause {
    /// 0, or a number without a name.
    Unknown = 0,
    /// The heartbeat failed.
    Heartbeat = 1,
    /// A submission timed out.
    Timeout = 2,
}

impl HostMessage {
    /// A reset-cause message as the driver sends it.
    #[must_use]
    pub const fn reset_cause(cause: ResetCause) -> Self {
        Self {
            magic: U32::new(MESSAGE_MAGIC),
            crc32: U32::ZERO,
            size: U16::new(16),
            version: 0,
            kind: MESSAGE_RESET_CAUSE,
            reserved: U32::ZERO,
            reset_cause: cause as u8,
            rest: [0; 1263],
        }
    }

    /// Reads the reset cause from what the host placed; `None` when `bytes` are not such a message. The CRC is not
    /// required (the driver leaves it 0) and the version byte of the magic is ignored.
    #[must_use]
    pub fn parse_reset_cause(bytes: &[u8]) -> Option<ResetCause> {
        let (message, _) = Self::ref_from_prefix(bytes).ok()?;
        if message.magic.get() >> 8 != MESSAGE_MAGIC >> 8 || message.kind != MESSAGE_RESET_CAUSE {
            return None;
        }
        Some(match message.reset_cause {
            1 => ResetCause::Heartbeat,
            2 => ResetCause::Timeout,
            _ => ResetCause::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_cause_is_told_from_an_image() {
        let mut bytes = [0u8; 1280];
        bytes[..4].copy_from_slice(&[0x03, 0x4D, 0x43, 0x48]);
        bytes[8] = 16;
        bytes[11] = 1;
        bytes[16] = 2;
        assert_eq!(HostMessage::reset_cause(ResetCause::Timeout).as_bytes(), bytes);
        assert_eq!(HostMessage::parse_reset_cause(&bytes), Some(ResetCause::Timeout));
        bytes[11] = 0;
        assert_eq!(HostMessage::parse_reset_cause(&bytes), None);
        assert_eq!(HostMessage::parse_reset_cause(&[0xD0, 0x0D, 0xFE, 0xED]), None);
    }
}
