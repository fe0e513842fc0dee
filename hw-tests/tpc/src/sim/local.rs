//! Local memories and the engine's own registers in the MMIO space of LD_L and ST_L (`tpc.md` 11).

use super::vector::{VECTOR_BYTES, Vector};
use super::{Cause, Trap};

/// Bytes of scalar local memory.
pub const SLM_BYTES: usize = 1024;
/// Bytes of vector local memory.
pub const VLM_BYTES: usize = 80 * 1024;
/// Bytes of vector local memory of a kernel that asks for the small one.
pub const SMALL_VLM_BYTES: usize = 16 * 1024;

/// The two local memories. They keep their content from kernel to kernel.
#[derive(Clone, Debug)]
pub struct LocalMemory {
    pub(super) slm: Vec<u8>,
    pub(super) vlm: Vec<u8>,
    /// End of vector local memory for the running kernel.
    pub(super) vlm_limit: usize,
}

impl LocalMemory {
    pub(super) fn new() -> Self {
        Self { slm: vec![0; SLM_BYTES], vlm: vec![0; VLM_BYTES], vlm_limit: VLM_BYTES }
    }

    fn scalar(&mut self, address: u32) -> Result<&mut [u8; 4], Trap> {
        let at = address as usize;
        if !at.is_multiple_of(4) {
            return Err(Trap::new(Cause::LocalAddress, format!("scalar local address {address:#x} is not aligned")));
        }
        self.slm.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()).ok_or_else(|| {
            Trap::new(
                Cause::LocalAddress,
                format!("scalar local address {address:#x} lies outside of {SLM_BYTES} bytes"),
            )
        })
    }

    /// Reads a word of scalar local memory.
    pub(super) fn load_scalar(&mut self, address: u32) -> Result<u32, Trap> {
        self.scalar(address).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Writes a word of scalar local memory.
    pub(super) fn store_scalar(&mut self, address: u32, value: u32) -> Result<(), Trap> {
        *self.scalar(address)? = value.to_le_bytes();
        Ok(())
    }

    /// The bytes of an access of `length` bytes, which is also its alignment.
    ///
    /// Chosen: a vector access outside or off its alignment has the cause of the scalar one; the hardware lists no other.
    fn vector(&mut self, address: u32, length: usize) -> Result<&mut [u8], Trap> {
        let at = address as usize;
        let limit = self.vlm_limit;
        if !at.is_multiple_of(length) {
            let text = format!("vector local address {address:#x} is not a multiple of {length}");
            return Err(Trap::new(Cause::LocalAddress, text));
        }
        self.vlm.get_mut(..limit).and_then(|memory| memory.get_mut(at..at + length)).ok_or_else(|| {
            let text = format!("vector local address {address:#x} lies outside of {limit} bytes");
            Trap::new(Cause::LocalAddress, text)
        })
    }

    /// Reads into `bytes` (a part of a vector, 128 or 256 bytes) of `value`.
    pub(super) fn load_vector(&mut self, address: u32, half: Half, value: &mut Vector) -> Result<(), Trap> {
        let range = half.range();
        let source = self.vector(address, range.len())?;
        // PANIC: the range of a half lies inside a vector.
        value.0[range].copy_from_slice(source);
        Ok(())
    }

    /// Writes a vector or a half of it.
    pub(super) fn store_vector(&mut self, address: u32, half: Half, value: &Vector) -> Result<(), Trap> {
        let range = half.range();
        let target = self.vector(address, range.len())?;
        // PANIC: as in `load_vector`.
        target.copy_from_slice(&value.0[range]);
        Ok(())
    }
}

/// Which part of a vector register an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// All 256 bytes.
    Both,
    /// Bytes 0-127.
    Low,
    /// Bytes 128-255.
    High,
}

impl Half {
    /// The bytes of the register.
    #[must_use]
    pub const fn range(self) -> core::ops::Range<usize> {
        match self {
            Self::Both => 0..VECTOR_BYTES,
            Self::Low => 0..VECTOR_BYTES / 2,
            Self::High => VECTOR_BYTES / 2..VECTOR_BYTES,
        }
    }
}
