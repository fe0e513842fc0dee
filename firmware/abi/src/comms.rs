//! COMMS: the dynamic firmware-load protocol between the host and the boot stages.
//!
//! Words of the two mailbox registers, the descriptor that a stage publishes, and the message that a host may send
//! instead of an image. Bytes only: who says what and when is in the boot chain of the control core.
//!
//! Sources: `boot-protocol.md` 3.2 to 3.6 (values), 8.2 to 8.5 (structures), 20 (test vectors).

use crate::regs;

mod descriptor;
mod message;

/// Words of the static protocol (`boot-protocol.md` 3.2, 3.3).
pub mod static_mode {
    /// KMD_MSG_TO_CPU: nothing, or the last message is taken back.
    pub const NONE: u32 = 0;
    /// KMD_MSG_TO_CPU: stop in WFE.
    pub const GOTO_WFE: u32 = 1;
    /// KMD_MSG_TO_CPU: the image is in its place.
    pub const FIT_READY: u32 = 2;
    /// KMD_MSG_TO_CPU: reset the card.
    pub const RESET_DEVICE: u32 = 5;
    /// CPU_CMD_STATUS_TO_HOST: written by the host before FIT_RDY.
    pub const CLEAR: u32 = 0;
    /// CPU_CMD_STATUS_TO_HOST: the image was accepted.
    pub const OK: u32 = 1;
    /// CPU_CMD_STATUS_TO_HOST: the image was refused. The driver does not look for it.
    pub const ERROR: u32 = 2;
}

pub use descriptor::*;
pub use message::*;

/// Bytes of every version string field, terminating NUL included (`boot-protocol.md` 3.6).
pub const VERSION_BYTES: usize = 128;

/// A COMMS command (bits 31:27 of KMD_MSG_TO_CPU).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// 0: no command.
    Noop,
    /// 1: clear the status register.
    ClearStatus,
    /// 2: forget any half-finished transfer.
    ResetState,
    /// 3: prepare a descriptor for a transfer of the given bytes.
    PrepareDescriptor,
    /// 4: the announced bytes are in place.
    DataReady,
    /// 5: execute the image, or act on the message.
    Execute,
    /// 6: reset the device.
    ResetDevice,
    /// 7: stop in a wait-for-event loop.
    GotoWfe,
    /// 8: do not wait for the board-management controller.
    SkipBmc,
    /// 10: as [`Self::PrepareDescriptor`], descriptor to be read through ELBI. Not sent by the 6.12 driver.
    PrepareDescriptorElbi,
    /// Any other command number, 0..=31.
    Unknown(u8),
}

impl Command {
    /// The command number, 0..=31.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Noop => 0,
            Self::ClearStatus => 1,
            Self::ResetState => 2,
            Self::PrepareDescriptor => 3,
            Self::DataReady => 4,
            Self::Execute => 5,
            Self::ResetDevice => 6,
            Self::GotoWfe => 7,
            Self::SkipBmc => 8,
            Self::PrepareDescriptorElbi => 10,
            Self::Unknown(number) => number as u32 & 0x1F,
        }
    }
}

/// The COMMS command word: command in bits 31:27, size in bytes in bits 24:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct CommandWord(pub u32);

impl CommandWord {
    /// Builds a word; only the low 25 bits of `size` are used.
    #[must_use]
    pub const fn new(command: Command, size: u32) -> Self {
        Self(command.number() << 27 | size & 0x01FF_FFFF)
    }

    /// The command.
    #[must_use]
    pub const fn command(self) -> Command {
        match self.0 >> 27 {
            0 => Command::Noop,
            1 => Command::ClearStatus,
            2 => Command::ResetState,
            3 => Command::PrepareDescriptor,
            4 => Command::DataReady,
            5 => Command::Execute,
            6 => Command::ResetDevice,
            7 => Command::GotoWfe,
            8 => Command::SkipBmc,
            10 => Command::PrepareDescriptorElbi,
            number => Command::Unknown(number as u8),
        }
    }

    /// The size argument in bytes, 0..=0x1FF_FFFF.
    #[must_use]
    pub const fn size(self) -> u32 {
        self.0 & 0x01FF_FFFF
    }
}

/// Status code (bits 31:28 of CPU_CMD_STATUS_TO_HOST).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Nothing; what the host waits for after CLR_STS.
    Noop = 0,
    /// The command is recognised.
    Ack = 1,
    /// The command is done.
    Ok = 2,
    /// The command is not supported. The host does not end its wait early.
    Err = 3,
    /// An image is invalid. The host does not end its wait early.
    ValidErr = 4,
    /// Something took too long. The host does not end its wait early.
    TimeoutErr = 5,
}

/// Memory that a status word's offset is relative to (bits 27:26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RamType {
    /// SRAM, [`regs::SRAM_BASE`].
    Sram = 0,
    /// HBM, [`regs::HBM_BASE`].
    Hbm = 1,
    /// No memory: in an awaited status this makes the driver give up at once with -EIO.
    Invalid = 3,
}

/// The COMMS status word: status in bits 31:28, RAM type in bits 27:26, offset in units of 4 bytes in bits 25:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct StatusWord(pub u32);

impl StatusWord {
    /// The cleared register.
    pub const NOOP: Self = Self::new(Status::Noop);
    /// A recognised command.
    pub const ACK: Self = Self::new(Status::Ack);
    /// A command done that has no location to tell.
    pub const OK: Self = Self::new(Status::Ok);
    /// An unsupported command.
    pub const ERR: Self = Self::new(Status::Err);
    /// The refusal that costs the driver no time-out: OK with a RAM type that the driver rejects (`decisions.md` 1).
    pub const REFUSED: Self = Self((Status::Ok as u32) << 28 | (RamType::Invalid as u32) << 26);

    /// A status without a location.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self((status as u32) << 28)
    }

    /// OK with the location of a descriptor: `address` is a device address in SRAM or HBM, 4-byte aligned. `None` when it
    /// is neither, or cannot be expressed.
    #[must_use]
    pub const fn ok_at(address: u64) -> Option<Self> {
        let (ram, offset) = if regs::within(address, regs::SRAM_BASE, regs::SRAM_SIZE) {
            (RamType::Sram, address - regs::SRAM_BASE)
        } else if regs::within(address, regs::HBM_BASE, regs::HBM_SIZE) {
            (RamType::Hbm, address - regs::HBM_BASE)
        } else {
            return None;
        };
        if offset % 4 != 0 || offset >> 2 > 0x03FF_FFFF {
            return None;
        }
        Some(Self((Status::Ok as u32) << 28 | (ram as u32) << 26 | (offset >> 2) as u32))
    }

    /// Status number, bits 31:28.
    #[must_use]
    pub const fn status(self) -> u32 {
        self.0 >> 28
    }

    /// The device address of the location; `None` for a RAM type that names no memory.
    #[must_use]
    pub const fn location(self) -> Option<u64> {
        let offset = ((self.0 & 0x03FF_FFFF) as u64) << 2;
        match self.0 >> 26 & 3 {
            0 => Some(regs::SRAM_BASE + offset),
            1 => Some(regs::HBM_BASE + offset),
            _ => None,
        }
    }
}

/// Words of the static loader (`boot-protocol.md` 3.2, 3.3).
pub mod static_loader {
    /// KMD_MSG_TO_CPU: nothing.
    pub const KMD_NA: u32 = 0;
    /// KMD_MSG_TO_CPU: stop in WFE.
    pub const KMD_GOTO_WFE: u32 = 1;
    /// KMD_MSG_TO_CPU: the image is in place.
    pub const KMD_FIT_READY: u32 = 2;
    /// KMD_MSG_TO_CPU: reset the device.
    pub const KMD_RESET_DEVICE: u32 = 5;
    /// CPU_CMD_STATUS_TO_HOST: cleared (by the host).
    pub const CPU_CLEAR: u32 = 0;
    /// CPU_CMD_STATUS_TO_HOST: image accepted.
    pub const CPU_OK: u32 = 1;
    /// CPU_CMD_STATUS_TO_HOST: image refused. The driver never tests for it.
    pub const CPU_ERR: u32 = 2;
}

/// CRC-32 as in zlib and Ethernet: reflected polynomial 0xEDB88320, initial value and final XOR 0xFFFF_FFFF.
#[must_use]
pub const fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        crc ^= *byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        rest = tail;
    }
    !crc
}

/// Copies `text` into a NUL-terminated, NUL-padded field. What does not fit is cut; bytes that are not printable ASCII
/// (newline excepted) become `?`, because the field ends up in a kernel log.
#[must_use]
pub fn text_field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let room = N.saturating_sub(1);
    for (to, from) in field.iter_mut().take(room).zip(text.bytes()) {
        *to = if from == b'\n' || from == b' ' || from.is_ascii_graphic() { from } else { b'?' };
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of `boot-protocol.md` 8.7 and 20.
    #[test]
    fn command_and_status_words_have_the_documented_bits() {
        assert_eq!(CommandWord::new(Command::ClearStatus, 0).0, 0x0800_0000);
        assert_eq!(CommandWord::new(Command::ResetState, 0).0, 0x1000_0000);
        assert_eq!(CommandWord::new(Command::PrepareDescriptor, 1280).0, 0x1800_0500);
        assert_eq!(CommandWord::new(Command::PrepareDescriptor, 0x4_0000).0, 0x1804_0000);
        assert_eq!(CommandWord::new(Command::DataReady, 0).0, 0x2000_0000);
        assert_eq!(CommandWord::new(Command::Execute, 0).0, 0x2800_0000);
        assert_eq!(CommandWord::new(Command::ResetDevice, 0).0, 0x3000_0000);
        assert_eq!(CommandWord::new(Command::GotoWfe, 0).0, 0x3800_0000);
        assert_eq!(CommandWord::new(Command::SkipBmc, 0).0, 0x4000_0000);
        assert_eq!(CommandWord::new(Command::PrepareDescriptorElbi, 0).0, 0x5000_0000);
        assert_eq!(StatusWord::ACK.0, 0x1000_0000);
        assert_eq!(StatusWord::OK.0, 0x2000_0000);
        assert_eq!(StatusWord::REFUSED.0, 0x2C00_0000);
        assert_eq!(StatusWord::ok_at(0x7F_F000_1000), Some(StatusWord(0x2000_0400)));
        assert_eq!(StatusWord::ok_at(0x10_0000), Some(StatusWord(0x2404_0000)));
        assert_eq!(StatusWord(0x2404_0000).location(), Some(0x10_0000));
        assert_eq!(StatusWord(0x2000_0400).location(), Some(0x7F_F000_1000));
        assert_eq!(StatusWord::REFUSED.location(), None);
    }

    #[test]
    fn every_command_word_survives_its_decoding() {
        for number in 0..32u32 {
            let word = CommandWord(number << 27 | 0x123_4560 & 0x01FF_FFFF);
            assert_eq!(CommandWord::new(word.command(), word.size()), word);
        }
    }

    #[test]
    fn a_location_outside_the_memories_cannot_be_told() {
        assert_eq!(StatusWord::ok_at(0x7F_FBFE_0000), None, "scratchpad");
        assert_eq!(StatusWord::ok_at(0x7F_F000_1002), None, "not aligned");
        assert_eq!(StatusWord::ok_at(0x1000_0000), None, "beyond the 28 bits of the field");
    }
}
