//! QMAN packets (`qman.md` 5): opcodes, sizes, field accessors and encoders.
//!
//! A packet is a sequence of little-endian 64-bit words; word 0 holds dword 0 (packet specific) in its low half and the
//! control dword in its high half.

/// Opcodes, control bits \[28:24\].
pub mod opcode {
    /// Write a 32-bit engine register.
    pub const WREG_32: u32 = 0x01;
    /// Write consecutive engine registers.
    pub const WREG_BULK: u32 = 0x02;
    /// Write a 32-bit value to a device address.
    pub const MSG_LONG: u32 = 0x03;
    /// Write a 32-bit value to a message base plus offset.
    pub const MSG_SHORT: u32 = 0x04;
    /// Hand a command buffer to the lower CP.
    pub const CP_DMA: u32 = 0x05;
    /// Not public; an undefined command on this card.
    pub const REPEAT: u32 = 0x06;
    /// MSG_LONG with the CP's secure attribute.
    pub const MSG_PROT: u32 = 0x07;
    /// Wait for a fence counter.
    pub const FENCE: u32 = 0x08;
    /// Linear copy or memset.
    pub const LIN_DMA: u32 = 0x09;
    /// Barriers only.
    pub const NOP: u32 = 0x0A;
    /// Stop the stream.
    pub const STOP: u32 = 0x0B;
    /// Request or release the arbiter.
    pub const ARB_POINT: u32 = 0x0C;
    /// Delayed fence increment.
    pub const WAIT: u32 = 0x0D;
    /// Load predicates or scalars, execute a packet from scalars.
    pub const LOAD_AND_EXE: u32 = 0x0F;
}

/// Engine barrier bit of the control dword.
pub const EB: u32 = 1 << 29;
/// Register barrier bit.
pub const RB: u32 = 1 << 30;
/// Message barrier bit.
pub const MB: u32 = 1 << 31;

/// First 64-bit word of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Header(pub u64);

impl Header {
    /// Dword 0: value, size or configuration.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0 as u32
    }

    /// The control dword.
    #[inline]
    #[must_use]
    pub const fn control(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Opcode, 0..=31.
    #[inline]
    #[must_use]
    pub const fn opcode(self) -> u32 {
        self.control() >> 24 & 0x1F
    }

    /// Predicate number, 0 = always; meaningful only for opcodes that have one.
    #[inline]
    #[must_use]
    pub const fn predicate(self) -> u32 {
        self.control() & 0x1F
    }

    /// Register offset in the engine window (WREG_32, WREG_BULK).
    #[inline]
    #[must_use]
    pub const fn register_offset(self) -> u32 {
        self.control() >> 8 & 0xFFFF
    }

    /// Packet size in 64-bit words; `None` for an undefined opcode. WREG_BULK counts its values.
    #[inline]
    #[must_use]
    pub const fn words(self) -> Option<usize> {
        Some(match self.opcode() {
            opcode::WREG_32
            | opcode::MSG_SHORT
            | opcode::REPEAT
            | opcode::FENCE
            | opcode::NOP
            | opcode::STOP
            | opcode::ARB_POINT
            | opcode::WAIT => 1,
            opcode::MSG_LONG | opcode::CP_DMA | opcode::MSG_PROT | opcode::LOAD_AND_EXE => 2,
            opcode::LIN_DMA => 3,
            opcode::WREG_BULK => 1 + (self.0 & 0xFFFF) as usize,
            _ => return None,
        })
    }

    /// Builds a header.
    #[must_use]
    pub const fn new(op: u32, control: u32, value: u32) -> Self {
        Self(value as u64 | ((control | op << 24) as u64) << 32)
    }
}

/// MSG_LONG: `value` to `address`, with barrier bits.
#[must_use]
pub const fn msg_long(address: u64, value: u32, barriers: u32) -> [u64; 2] {
    [Header::new(opcode::MSG_LONG, barriers, value).0, address]
}

/// MSG_PROT: `value` to `address`, with barrier bits.
#[must_use]
pub const fn msg_prot(address: u64, value: u32, barriers: u32) -> [u64; 2] {
    [Header::new(opcode::MSG_PROT, barriers, value).0, address]
}

/// MSG_SHORT: `value` to message base `base` (0..=3) plus `offset`.
#[must_use]
pub const fn msg_short(base: u32, offset: u16, value: u32, barriers: u32) -> u64 {
    Header::new(opcode::MSG_SHORT, barriers | (base & 3) << 22 | offset as u32, value).0
}

/// WREG_32: `value` to the engine window at `register`.
#[must_use]
pub const fn wreg_32(register: u16, value: u32, barriers: u32) -> u64 {
    Header::new(opcode::WREG_32, barriers | (register as u32) << 8, value).0
}

/// FENCE on counter `id` (0..=3): wait for `target`, then subtract `decrement` (0..=15).
#[must_use]
pub const fn fence(id: u32, target: u8, decrement: u32, barriers: u32) -> u64 {
    Header::new(opcode::FENCE, barriers, (id & 3) << 30 | (target as u32) << 16 | decrement & 0xF).0
}

/// CP_DMA of `bytes` at `source`.
#[must_use]
pub const fn cp_dma(source: u64, bytes: u32, barriers: u32) -> [u64; 2] {
    [Header::new(opcode::CP_DMA, barriers, bytes).0, source]
}

/// LIN_DMA of `bytes` from `source` (or with the pattern `source`) to `destination`; `control` holds barriers and the
/// bits of [`crate::regs::dma_core::commit`].
#[must_use]
pub const fn lin_dma(source: u64, destination: u64, bytes: u32, control: u32) -> [u64; 3] {
    [Header::new(opcode::LIN_DMA, control, bytes).0, source, destination]
}

/// NOP with barrier bits.
#[must_use]
pub const fn nop(barriers: u32) -> u64 {
    Header::new(opcode::NOP, barriers, 0).0
}

/// Value that adds `increment` to a sync object.
#[must_use]
pub const fn sob_add(increment: u16) -> u32 {
    0x8000_0000 | increment as u32 & 0x7FFF
}

/// Value that arms a monitor on one sync object: fires when it is >= `target` (or == with `equal`).
#[must_use]
pub const fn monitor_arm(sob: u32, target: u16, equal: bool) -> u32 {
    (target as u32) << 17 | (equal as u32) << 16 | (!(1u32 << (sob & 7)) & 0xFF) << 8 | (sob >> 3) & 0xFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regs::dma_core::commit;

    fn dwords(words: &[u64]) -> [u32; 6] {
        let mut out = [0; 6];
        for (index, word) in words.iter().enumerate() {
            out[2 * index] = *word as u32;
            out[2 * index + 1] = (*word >> 32) as u32;
        }
        out
    }

    /// The encoded examples of `qman.md` 5.8, written there independently of these encoders.
    #[test]
    fn encoders_produce_the_documented_examples() {
        assert_eq!(dwords(&msg_prot(0x2_0000_1000, 0x72E9_1AB9, EB | MB))[..4], [0x72E9_1AB9, 0xA700_0000, 0x1000, 2]);
        assert_eq!(
            dwords(&lin_dma(0x1_0000_0000_0000, 0x2000_0000, 0x1000, RB | MB | commit::LIN)),
            [0x1000, 0xC900_0008, 0, 0x0001_0000, 0x2000_0000, 0]
        );
        assert_eq!(
            dwords(&lin_dma(0, 0x1000_0000, 0x0C00_0000, RB | MB | commit::LIN | commit::MEM_SET)),
            [0x0C00_0000, 0xC900_0018, 0, 0, 0x1000_0000, 0]
        );
        assert_eq!(dwords(&[msg_short(1, 0x20, sob_add(1), EB | RB | MB)])[..2], [0x8000_0001, 0xE440_0020]);
        assert_eq!(dwords(&[msg_short(0, 0x1800, monitor_arm(8, 1, true), RB | MB)])[..2], [0x0003_FE01, 0xC400_1800]);
        assert_eq!(dwords(&[fence(0, 1, 1, RB | MB)])[..2], [0x0001_0001, 0xC800_0000]);
        assert_eq!(dwords(&[fence(2, 1, 1, RB | MB)])[..2], [0x8001_0001, 0xC800_0000]);
        assert_eq!(dwords(&cp_dma(0x7F_F000_0080, 0x30, RB | MB))[..4], [0x30, 0xC500_0000, 0xF000_0080, 0x7F]);
        assert_eq!(dwords(&[wreg_32(0x80, 0xFC4F_2240, RB)])[..2], [0xFC4F_2240, 0x4100_8000]);
        assert_eq!(dwords(&[nop(EB | RB | MB)])[..2], [0, 0xEA00_0000]);
    }

    #[test]
    fn sizes_are_fixed_by_the_opcode() {
        assert_eq!(Header::new(opcode::WREG_BULK, 0, 136).words(), Some(137));
        for undefined in [0, 0x0E, 0x10, 0x1F] {
            assert_eq!(Header::new(undefined, 0, 0).words(), None);
        }
    }
}
