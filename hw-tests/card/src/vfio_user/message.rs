//! The wire format: command numbers, flags, the header, little-endian field access.
//!
//! Owns: numbers and positions of the protocol document; all fields are in host order, which is little-endian here as on
//! every machine that runs the QEMUs' TCG guests of this project.
//!
//! Never: touches a socket.

/// Bytes of the header.
pub const HEADER_LEN: usize = 16;

/// Command numbers.
pub mod command {
    /// Version and capabilities.
    pub const VERSION: u16 = 1;
    /// A window of client memory appears.
    pub const DMA_MAP: u16 = 2;
    /// A window of client memory goes.
    pub const DMA_UNMAP: u16 = 3;
    /// Device kind and counts.
    pub const GET_INFO: u16 = 4;
    /// One region.
    pub const GET_REGION_INFO: u16 = 5;
    /// Descriptors for accesses without the client; none here.
    pub const GET_REGION_IO_FDS: u16 = 6;
    /// One interrupt index.
    pub const GET_IRQ_INFO: u16 = 7;
    /// Actions on interrupts.
    pub const SET_IRQS: u16 = 8;
    /// Region read.
    pub const REGION_READ: u16 = 9;
    /// Region write.
    pub const REGION_WRITE: u16 = 10;
    /// Device reset.
    pub const DEVICE_RESET: u16 = 13;
    /// Several region writes of up to 8 bytes.
    pub const REGION_WRITE_MULTI: u16 = 15;
}

/// Header flags: type field.
pub const FLAG_TYPE: u32 = 0xF;
/// Type of a reply.
pub const FLAG_REPLY: u32 = 1;
/// The sender wants no reply.
pub const FLAG_NO_REPLY: u32 = 1 << 4;
/// The reply reports an error.
pub const FLAG_ERROR: u32 = 1 << 5;

/// GET_INFO flags: reset works, PCI device.
pub const INFO_RESET_PCI: u32 = 0b11;
/// GET_REGION_INFO flags: readable, writable.
pub const REGION_READ_WRITE: u32 = 0b11;
/// GET_REGION_INFO flag: mappable.
pub const REGION_MMAP: u32 = 1 << 2;
/// GET_REGION_INFO flag: capabilities follow.
pub const REGION_CAPS: u32 = 1 << 3;
/// Bytes of the fixed part of a region info.
pub const REGION_INFO_LEN: usize = 32;
/// Capability id of the sparse-map list.
pub const CAP_SPARSE_MMAP: u16 = 1;
/// GET_IRQ_INFO flags: signalled by descriptor; set as one group.
pub const IRQ_EVENTFD_NORESIZE: u32 = 1 | 1 << 3;
/// SET_IRQS data kinds.
pub const IRQ_DATA_NONE: u32 = 1 << 0;
/// An array of flags.
pub const IRQ_DATA_BOOL: u32 = 1 << 1;
/// Descriptors beside the message.
pub const IRQ_DATA_EVENTFD: u32 = 1 << 2;
/// SET_IRQS actions.
pub const IRQ_ACTION_MASK: u32 = 1 << 3;
/// Unmask.
pub const IRQ_ACTION_UNMASK: u32 = 1 << 4;
/// Trigger, or what to do when the device triggers.
pub const IRQ_ACTION_TRIGGER: u32 = 1 << 5;

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sender's number, echoed in the reply.
    pub id: u16,
    /// A [`command`] number.
    pub command: u16,
    /// Bytes of the whole message.
    pub size: u32,
    /// Type, no-reply and error flags.
    pub flags: u32,
    /// Error number of a reply.
    pub error: u32,
}

impl Header {
    /// Decodes the 16 bytes; every pattern is a header.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Self {
        Self {
            id: u16::from_le_bytes([bytes[0], bytes[1]]),
            command: u16::from_le_bytes([bytes[2], bytes[3]]),
            size: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            flags: u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            error: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
        }
    }

    /// Encodes the header.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..2].copy_from_slice(&self.id.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.command.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.error.to_le_bytes());
        bytes
    }
}

/// The little-endian 32-bit field at `offset`; `None` beyond the end.
pub fn field_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

/// The little-endian 64-bit field at `offset`; `None` beyond the end.
pub fn field_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_documented_bytes() {
        let header = Header { id: 0x0102, command: command::REGION_READ, size: 0x20, flags: FLAG_NO_REPLY, error: 7 };
        let bytes = [2, 1, 9, 0, 0x20, 0, 0, 0, 0x10, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes), header);
    }

    #[test]
    fn a_field_beyond_the_end_is_refused() {
        assert_eq!(field_u32(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!(field_u32(&[1, 0, 0, 0], 1), None);
        assert_eq!(field_u64(&[0; 8], 9), None);
    }
}
