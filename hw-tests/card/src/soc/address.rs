//! Decoding of device addresses into memory, for accesses of any size.
//!
//! For: turning (address, attributes) into a piece of SRAM, HBM or host memory (`gaudi-mmu-sync.md` 1.1, `qman.md` 7.4).
//! Owns: the bundle of everything an engine needs without the bus lock ([`Hardware`]). Never: decodes registers (see
//! `bus.rs`), and never reports a refused access; the caller does, under the bus lock.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use coxswain_abi::regs;
use coxswain_abi::soc::{Attributes, bar0};

use super::mmu::Mmu;
use super::protection;
use super::register_file::RegisterFile;
use crate::memory::{Memories, OutOfBounds, SharedFile};

/// Engines with a worker: DMA 0-7, TPC 0-7, numbered like their QMANs.
pub(super) const ENGINES: usize = 16;

/// Bytes of the bounce buffer of a copy.
const COPY_BLOCK: usize = 4096;

/// Memories, registers and MMU: what may be used without the bus lock.
pub(super) struct Hardware {
    pub memories: Arc<Memories>,
    pub registers: RegisterFile,
    pub mmu: Mmu,
    /// Per engine, set under the bus lock: a worker shall stop at the next opportunity.
    pub pause: [AtomicBool; ENGINES],
}

/// Why an access was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No memory at that address.
    Unmapped,
    /// The translation failed.
    PageFault,
    /// Closed to non-secure initiators.
    Blocked,
}

/// Which memory file a piece lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The SoC's file, at [`bar0::SRAM`].
    Sram,
    /// HBM.
    Hbm,
    /// The host's memory.
    Host,
}

/// A contiguous piece of one memory file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub place: Place,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes, at least 1.
    pub len: u64,
}

impl Hardware {
    pub fn new(memories: Arc<Memories>) -> Self {
        let registers = RegisterFile::new(memories.clone());
        Self { mmu: Mmu::new(memories.clone(), registers.clone()), memories, registers, pause: Default::default() }
    }

    /// The file behind a place that is not HBM.
    fn file(&self, place: Place) -> Option<&SharedFile> {
        match place {
            Place::Sram => Some(&self.memories.soc),
            Place::Host => Some(&self.memories.host),
            Place::Hbm => None,
        }
    }

    /// Reads a resolved piece; `out` has its length.
    pub fn read_bytes(&self, piece: Piece, out: &mut [u8]) -> Result<(), OutOfBounds> {
        match self.file(piece.place) {
            Some(file) => file.read_bytes(piece.offset, out),
            None => self.memories.hbm.read_bytes(piece.offset, out),
        }
    }

    /// Writes a resolved piece; `data` has its length.
    pub fn write_bytes(&self, piece: Piece, data: &[u8]) -> Result<(), OutOfBounds> {
        match self.file(piece.place) {
            Some(file) => file.write_bytes(piece.offset, data),
            None => self.memories.hbm.write_bytes(piece.offset, data),
        }
    }

    /// Writes the 32-bit word at the start of a resolved piece after everything that precedes in program order.
    pub fn store_release_u32(&self, piece: Piece, data: u32) -> Result<(), OutOfBounds> {
        match self.file(piece.place) {
            Some(file) => file.store_release_u32(piece.offset, data),
            None => self.memories.hbm.store_release_u32(piece.offset, data),
        }
    }

    /// Fills a resolved piece with the little-endian `pattern`, which begins at its first byte.
    pub fn fill(&self, piece: Piece, pattern: u64) -> Result<(), OutOfBounds> {
        match self.file(piece.place) {
            Some(file) => file.fill(piece.offset, piece.len, pattern),
            None => self.memories.hbm.fill(piece.offset, piece.len, pattern),
        }
    }

    /// Copies as many bytes as `to` is long, ascending; `from` is as long at least. Where the two overlap, a byte may be read
    /// before or after it is overwritten. HBM that is known to hold one pattern is copied as a fill, which may take no memory.
    pub fn copy(&self, from: Piece, to: Piece) -> Result<(), OutOfBounds> {
        let uniform = match from.place {
            Place::Hbm => self.memories.hbm.uniform(from.offset, to.len)?,
            Place::Sram | Place::Host => None,
        };
        if let Some(pattern) = uniform {
            return self.fill(to, pattern);
        }
        if let (Some(source), Some(destination)) = (self.file(from.place), self.file(to.place)) {
            return SharedFile::copy_between(source, from.offset, destination, to.offset, to.len);
        }
        let mut block = [0; COPY_BLOCK];
        let mut done = 0;
        while done < to.len {
            let len = (to.len - done).min(COPY_BLOCK as u64);
            // PANIC: `len` is at most the block's length.
            let part = &mut block[..len as usize];
            self.read_bytes(Piece { offset: from.offset + done, len, ..from }, part)?;
            self.write_bytes(Piece { offset: to.offset + done, len, ..to }, part)?;
            done += len;
        }
        Ok(())
    }

    /// The piece that starts at `address`, at most `len` bytes (`len` > 0) long.
    pub fn resolve(&self, address: u64, len: u64, access: Attributes, write: bool) -> Result<Piece, Refusal> {
        let len = if access.secure() {
            len
        } else {
            match protection::open_bytes(&self.registers, address, len, write) {
                0 => return Err(Refusal::Blocked),
                open => open,
            }
        };
        if regs::within(address, regs::HBM_BASE, regs::HBM_SIZE) {
            let size = regs::HBM_SIZE.min(self.memories.hbm.len());
            return piece(Place::Hbm, address - regs::HBM_BASE, size, 0, len);
        }
        if regs::within(address, regs::SRAM_BASE, regs::SRAM_SIZE) {
            return piece(Place::Sram, address - regs::SRAM_BASE, regs::SRAM_SIZE, bar0::SRAM, len);
        }
        if is_local(address) {
            return Err(Refusal::Unmapped);
        }
        let (physical, len) = if access.bypass() || !self.mmu.enabled() {
            (address, len)
        } else {
            let translation = self.mmu.walk(access.asid(), address).ok_or(Refusal::PageFault)?;
            (translation.address, len.min(translation.len))
        };
        if !regs::within(physical, regs::HOST_BASE, regs::HOST_SIZE) {
            return Err(Refusal::Unmapped);
        }
        piece(Place::Host, physical - regs::HOST_BASE, self.memories.host.len(), 0, len)
    }
}

/// Addresses that the chip decodes itself and never translates: SRAM to the end of the CoreSight space.
fn is_local(address: u64) -> bool {
    (regs::SRAM_BASE..regs::HOST_BASE).contains(&address)
}

fn piece(place: Place, inside: u64, size: u64, base: u64, len: u64) -> Result<Piece, Refusal> {
    if inside >= size {
        return Err(Refusal::Unmapped);
    }
    Ok(Piece { place, offset: base + inside, len: len.min(size - inside) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_abi::regs::mmu;

    fn hardware() -> Hardware {
        Hardware::new(Arc::new(Memories::new(1 << 20).unwrap()))
    }

    const USER: Attributes = Attributes::new(false, false, 1, 0);

    #[test]
    fn memories_are_decoded_without_translation_and_clipped_at_their_ends() {
        let hardware = hardware();
        hardware.registers.write(mmu::MMU_ENABLE, 1);
        let resolve = |address, len| hardware.resolve(address, len, USER, true);
        assert_eq!(resolve(0x2000_0000, 64), Ok(Piece { place: Place::Hbm, offset: 0x2000_0000, len: 64 }));
        assert_eq!(resolve(0x7_FFFF_FFF0, 64), Ok(Piece { place: Place::Hbm, offset: 0x7_FFFF_FFF0, len: 16 }));
        assert_eq!(resolve(0x7F_F13F_FFFF, 64), Ok(Piece { place: Place::Sram, offset: 0x13F_FFFF, len: 1 }));
        assert_eq!(resolve(0x7F_FC00_0000, 4), Err(Refusal::Unmapped), "registers are no memory");
    }

    #[test]
    fn host_memory_needs_bypass_or_a_translation() {
        let hardware = hardware();
        let bypass = Attributes::new(false, true, 0, 0);
        let host = |offset, len| Ok(Piece { place: Place::Host, offset, len });
        assert_eq!(hardware.resolve(0x80_0000_1000, 4, USER, false), host(0x1000, 4), "the MMU is off");
        hardware.registers.write(mmu::MMU_ENABLE, 1);
        assert_eq!(hardware.resolve(0x80_0000_1000, 4, USER, false), Err(Refusal::PageFault));
        assert_eq!(hardware.resolve(0x80_0000_1000, 4, bypass, false), host(0x1000, 4));
        assert_eq!(hardware.resolve(0x80_000F_FFFC, 8, bypass, false), host(0xF_FFFC, 4));
        assert_eq!(hardware.resolve(0x80_0010_0000, 4, bypass, false), Err(Refusal::Unmapped));
        assert_eq!(hardware.resolve(0x2_0000_0000_0000, 4, bypass, false), Err(Refusal::Unmapped));
        assert_eq!(hardware.resolve(0x10_0000_0000, 4, bypass, false), Err(Refusal::Unmapped));
    }
}
