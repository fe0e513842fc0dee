//! Moving the bytes of one DMA descriptor, without any lock.
//!
//! For: linear and five-dimensional copies and fills (`qman.md` 5.5, `gaudi-mmu-sync.md` 3). Owns: the position inside a
//! transfer, so that it can pause anywhere and go on. Never: touches a register or reports an error; `dma.rs` does.

use std::sync::atomic::{AtomicBool, Ordering};

use coxswain_abi::regs::{dma_core, dma_core::commit};
use coxswain_abi::soc::{Attributes, hbm_block, initiator};

use super::address::{Hardware, Refusal};
use super::register_file::RegisterFile;

/// Most bytes moved between two looks at the pause flag: well below the millisecond that the driver waits after a halt. A
/// block of HBM, so that a long transfer consists of whole blocks whatever its start and need not be stored if it is uniform.
const CHUNK: u64 = hbm_block::SIZE;
/// Bytes of a transfer that the committing thread moves itself.
const SMALL: u128 = 64 << 10;
/// Dimensions beyond the contiguous one.
const OUTER: usize = 4;
/// Offsets of the count of source dimension 1 and of destination dimension 1; the stride follows, then the next dimension.
const SRC_OUTER: u32 = 0x02C;
const DST_OUTER: u32 = 0x054;
/// Shows how many 4 KiB blocks of the transfer in execution are left (chosen: the documents call it a status register only),
/// so that firmware can tell a slow transfer from one that hangs.
pub(super) const WR_INFLIGHTS: u32 = 0x134;
/// User bits \[31:11\] of the core's writes; they ask the SRAM for a reduction (`qman.md` 5.5).
const WR_AWUSER_31_11: u32 = 0x130;
/// Values that ask for a plain write: 1 is the driver's, 0 stands before the driver has set it (chosen). The codes of the
/// reductions are not public, so any other value is one that this card does not have.
const PLAIN_WRITE: std::ops::RangeInclusive<u32> = 0..=1;
/// Stream number by which engines sign their accesses.
pub(super) const ENGINE_STREAM: usize = 7;

/// Walk over one side of a transfer: rows of contiguous bytes, up to four nested repetitions of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Walk {
    base: u64,
    row: u64,
    counts: [u32; OUTER],
    strides: [i32; OUTER],
    index: [u32; OUTER],
    /// Bytes of the present row that are done.
    done: u64,
}

impl Walk {
    fn linear(base: u64, len: u64) -> Self {
        Self { base, row: len, counts: [1; OUTER], strides: [0; OUTER], index: [0; OUTER], done: 0 }
    }

    /// A five-dimensional side; a count of 0 is 1, strides are signed (`qman.md` 5.5).
    fn strided(registers: &RegisterFile, base: u64, row: u64, outer: u32) -> Self {
        let mut walk = Self::linear(base, row);
        for (dimension, (count, stride)) in walk.counts.iter_mut().zip(&mut walk.strides).enumerate() {
            let place = outer + 8 * dimension as u32;
            *count = registers.read(place).max(1);
            *stride = registers.read(place + 4) as i32;
        }
        walk
    }

    fn total(&self) -> u128 {
        self.counts.iter().fold(u128::from(self.row), |total, &count| total.saturating_mul(u128::from(count)))
    }

    fn address(&self) -> u64 {
        let outer = self
            .index
            .iter()
            .zip(&self.strides)
            .fold(0_i64, |sum, (&index, &stride)| sum.wrapping_add(i64::from(index) * i64::from(stride)));
        self.base.wrapping_add_signed(outer).wrapping_add(self.done)
    }

    fn left_in_row(&self) -> u64 {
        self.row - self.done
    }

    /// Goes on by `bytes`, at most what is left in the row.
    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done < self.row {
            return;
        }
        self.done = 0;
        for (index, &count) in self.index.iter_mut().zip(&self.counts) {
            *index += 1;
            if *index < count {
                return;
            }
            *index = 0;
        }
    }
}

/// Where the bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Memory(Walk),
    Pattern(u64),
}

/// One descriptor, as it was when COMMIT was written, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    source: Source,
    destination: Walk,
    /// Bytes still to move.
    left: u128,
    /// Attributes of the core's accesses.
    pub access: Attributes,
    /// Address and data of the completion write.
    pub completion: Option<(u64, u32)>,
    /// The core cannot execute it.
    unsupported: bool,
}

/// How an attempt to finish a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every byte is moved and visible.
    Done,
    /// The pause flag was seen.
    Paused,
    /// An access was refused.
    Refused { refusal: Refusal, address: u64, write: bool },
    /// The descriptor asks for what this core cannot do.
    Unsupported,
}

impl Transfer {
    /// Reads the descriptor of DMA core `index` from its registers; `control` is the value written to COMMIT.
    pub fn latch(registers: &RegisterFile, index: usize, control: u32) -> Self {
        let base = dma_core::base(index);
        let read = |offset| registers.read(base + offset);
        let pair = |low, high| registers.read_pair(base + low, base + high);
        // Bits 31:24 of the high half are the context id.
        let to = pair(dma_core::DST_BASE_LO, dma_core::DST_BASE_HI) & 0x00FF_FFFF_FFFF_FFFF;
        let from = pair(dma_core::SRC_BASE_LO, dma_core::SRC_BASE_HI);
        let to_row = u64::from(read(dma_core::DST_TSIZE_0));
        let linear = control & commit::LIN != 0;
        let destination = match linear {
            true => Walk::linear(to, to_row),
            false => Walk::strided(registers, to, to_row, base + DST_OUTER),
        };
        let source = match (control & commit::MEM_SET != 0, linear) {
            (true, _) => Source::Pattern(from),
            (false, true) => Source::Memory(Walk::linear(from, to_row)),
            (false, false) => {
                let row = u64::from(read(dma_core::SRC_TSIZE_0));
                Source::Memory(Walk::strided(registers, from, row, base + SRC_OUTER))
            }
        };
        let left = destination.total();
        let sides_differ = matches!(&source, Source::Memory(walk) if walk.total() != left);
        let exotic = commit::TRANSPOSE | commit::DTYPE | commit::COMPRESS | commit::DECOMPRESS;
        let reduces = !PLAIN_WRITE.contains(&read(WR_AWUSER_31_11));
        let secure = read(dma_core::PROT) & 1 != 0;
        let props = read(if secure { dma_core::SECURE_PROPS } else { dma_core::NON_SECURE_PROPS });
        let completion = (control & commit::WR_COMP_EN != 0)
            .then(|| (pair(dma_core::WR_COMP_ADDR_LO, dma_core::WR_COMP_ADDR_HI), read(dma_core::WR_COMP_WDATA)));
        Self {
            source,
            destination,
            left,
            access: Attributes::from_props(secure, props, initiator(index, ENGINE_STREAM)),
            completion,
            unsupported: control & exotic != 0 || sides_differ || reduces,
        }
    }

    /// True when moving it takes about as long as waking a thread: linear and at most [`SMALL`] bytes.
    pub fn is_small(&self) -> bool {
        let linear = |walk: &Walk| walk.counts == [1; OUTER];
        let source_is_linear = match &self.source {
            Source::Memory(walk) => linear(walk),
            Source::Pattern(_) => true,
        };
        self.left <= SMALL && source_is_linear && linear(&self.destination)
    }

    /// Moves bytes until the end, an error, or `pause`.
    pub fn run(&mut self, hardware: &Hardware, pause: &AtomicBool) -> Outcome {
        if self.unsupported {
            return Outcome::Unsupported;
        }
        let progress = dma_core::base(usize::from(self.access.initiator() >> 3)) + WR_INFLIGHTS;
        while self.left > 0 {
            hardware.registers.write(progress, self.left.div_ceil(4096) as u32);
            if pause.load(Ordering::Relaxed) {
                return Outcome::Paused;
            }
            if let Err((refusal, address, write)) = self.step(hardware) {
                return Outcome::Refused { refusal, address, write };
            }
        }
        hardware.registers.write(progress, 0);
        Outcome::Done
    }

    /// Moves the largest piece that is contiguous on both sides.
    fn step(&mut self, hardware: &Hardware) -> Result<(), (Refusal, u64, bool)> {
        let to = self.destination.address();
        let mut len = self.destination.left_in_row().min(CHUNK - to % CHUNK);
        let from = match &self.source {
            Source::Pattern(_) => None,
            Source::Memory(walk) => {
                let address = walk.address();
                len = len.min(walk.left_in_row());
                let piece =
                    hardware.resolve(address, len, self.access, false).map_err(|refusal| (refusal, address, false))?;
                len = piece.len;
                Some(piece)
            }
        };
        let piece = hardware.resolve(to, len, self.access, true).map_err(|refusal| (refusal, to, true))?;
        let len = piece.len;
        let moved = match (&mut self.source, from) {
            (Source::Memory(walk), Some(from)) => {
                let moved = hardware.copy(from, piece);
                walk.advance(len);
                moved
            }
            (Source::Pattern(pattern), _) => {
                let moved = hardware.fill(piece, *pattern);
                *pattern = pattern.rotate_right(8 * (len % 8) as u32);
                moved
            }
            (Source::Memory(_), None) => Ok(()),
        };
        // The pieces lie inside their files; if a file and `resolve` ever disagree the master gets an error answer.
        moved.map_err(|_| (Refusal::Unmapped, to, true))?;
        self.destination.advance(len);
        self.left -= u128::from(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memories;
    use proptest::prelude::*;
    use std::sync::Arc;

    const HBM: u64 = 0x2000_0000;

    fn hardware() -> Hardware {
        Hardware::new(Arc::new(Memories::new(1 << 20).unwrap()))
    }

    fn write(hardware: &Hardware, offset: u32, value: u32) {
        hardware.registers.write(dma_core::base(2) + offset, value);
    }

    /// Programs core 2 and runs it.
    fn run(hardware: &Hardware, from: u64, to: u64, len: u32, control: u32) -> Outcome {
        write(hardware, dma_core::SRC_BASE_LO, from as u32);
        write(hardware, dma_core::SRC_BASE_HI, (from >> 32) as u32);
        write(hardware, dma_core::DST_BASE_LO, to as u32);
        write(hardware, dma_core::DST_BASE_HI, (to >> 32) as u32 | 0xAB00_0000);
        write(hardware, dma_core::DST_TSIZE_0, len);
        let mut transfer = Transfer::latch(&hardware.registers, 2, control);
        transfer.run(hardware, &AtomicBool::new(false))
    }

    fn bytes(hardware: &Hardware, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        hardware.memories.hbm.read_bytes(offset, &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn a_linear_copy_of_any_size_and_alignment_equals_a_slice_copy(
            from in 0..5000_u64, to in 0..5000_u64, len in 0..20_000_u32, to_sram: bool,
        ) {
            let hardware = hardware();
            let data: Vec<u8> = (0..25_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
            hardware.memories.hbm.write_bytes(HBM, &data).unwrap();
            let target = if to_sram { 0x7F_F000_1000 } else { HBM + 0x10_0000 };
            prop_assert_eq!(run(&hardware, HBM + from, target + to, len, commit::LIN), Outcome::Done);
            let mut expected = vec![0; 26_000];
            expected[to as usize..to as usize + len as usize]
                .copy_from_slice(&data[from as usize..from as usize + len as usize]);
            let mut seen = vec![0; 26_000];
            if to_sram {
                hardware.memories.soc.read_bytes(0x1000, &mut seen).unwrap();
            } else {
                seen = bytes(&hardware, HBM + 0x10_0000, 26_000);
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn a_fill_repeats_its_pattern_from_the_first_byte(to in 0..64_u64, len in 0..600_000_u32, pattern: u64) {
            let hardware = hardware();
            hardware.memories.hbm.fill(HBM, 700_000, 0x5555_5555_5555_5555).unwrap();
            prop_assert_eq!(run(&hardware, pattern, HBM + to, len, commit::LIN | commit::MEM_SET), Outcome::Done);
            let seen = bytes(&hardware, HBM, 700_000);
            for (index, byte) in seen.iter().enumerate() {
                let expected = match (index as u64).checked_sub(to).filter(|&inside| inside < u64::from(len)) {
                    Some(inside) => pattern.to_le_bytes()[inside as usize % 8],
                    None => 0x55,
                };
                prop_assert_eq!(*byte, expected, "byte {}", index);
            }
        }

        #[test]
        fn a_strided_copy_equals_nested_loops(
            row in 1..40_u32, inner in 1..5_u32, outer in 1..4_u32,
            stride_1 in 40..90_i32, stride_2 in 500..900_i32, negative: bool,
        ) {
            let hardware = hardware();
            let data: Vec<u8> = (0..4096_u32).map(|i| (i * 11 + i / 97) as u8).collect();
            hardware.memories.hbm.write_bytes(HBM, &data).unwrap();
            let signed = if negative { -stride_2 } else { stride_2 };
            let start = if negative { HBM + 3000 } else { HBM };
            for (offset, value) in [
                (dma_core::SRC_TSIZE_0, row), (SRC_OUTER, inner), (SRC_OUTER + 4, stride_1 as u32),
                (SRC_OUTER + 8, outer), (SRC_OUTER + 12, signed as u32), (SRC_OUTER + 16, 0), (SRC_OUTER + 24, 1),
                // The destination is one row of the same number of bytes.
                (DST_OUTER, 1), (DST_OUTER + 8, 0),
            ] {
                write(&hardware, offset, value);
            }
            let total = row * inner * outer;
            prop_assert_eq!(run(&hardware, start, HBM + 0x10_0000, total, 0), Outcome::Done);
            let mut expected = Vec::new();
            for j in 0..i64::from(outer) {
                for i in 0..i64::from(inner) {
                    let at = start as i64 - HBM as i64 + i * i64::from(stride_1) + j * i64::from(signed);
                    expected.extend_from_slice(&data[at as usize..at as usize + row as usize]);
                }
            }
            prop_assert_eq!(bytes(&hardware, HBM + 0x10_0000, total as usize), expected);
        }
    }

    #[test]
    fn sides_of_different_size_and_exotic_modes_are_unsupported() {
        let hardware = hardware();
        write(&hardware, dma_core::SRC_TSIZE_0, 5);
        assert_eq!(run(&hardware, HBM, HBM + 64, 6, 0), Outcome::Unsupported);
        assert_eq!(run(&hardware, HBM, HBM + 64, 5, 0), Outcome::Done);
        for bit in [commit::TRANSPOSE, commit::DTYPE, commit::COMPRESS, commit::DECOMPRESS] {
            assert_eq!(run(&hardware, HBM, HBM + 64, 8, commit::LIN | bit), Outcome::Unsupported);
        }
    }

    #[test]
    fn a_copy_stops_at_the_first_byte_that_is_no_memory() {
        let hardware = hardware();
        hardware.memories.soc.write_u32(0x13F_FFFC, 0x1234_5678).unwrap();
        let outcome = run(&hardware, 0x7F_F13F_FFFC, HBM, 8, commit::LIN);
        let expected = Outcome::Refused { refusal: Refusal::Unmapped, address: 0x7F_F140_0000, write: false };
        assert_eq!(outcome, expected);
        assert_eq!(bytes(&hardware, HBM, 4), [0x78, 0x56, 0x34, 0x12]);
        let outcome = run(&hardware, HBM, 0x7F_FC00_0000, 8, commit::LIN);
        let expected = Outcome::Refused { refusal: Refusal::Unmapped, address: 0x7F_FC00_0000, write: true };
        assert_eq!(outcome, expected, "a DMA core does not reach registers");
    }

    #[test]
    fn a_paused_transfer_goes_on_where_it_was() {
        let hardware = hardware();
        write(&hardware, dma_core::SRC_BASE_LO, 0x0403_0201);
        write(&hardware, dma_core::DST_BASE_LO, HBM as u32);
        write(&hardware, dma_core::DST_TSIZE_0, 3 * CHUNK as u32 + 3);
        let mut transfer = Transfer::latch(&hardware.registers, 2, commit::LIN | commit::MEM_SET);
        assert_eq!(transfer.run(&hardware, &AtomicBool::new(true)), Outcome::Paused);
        transfer.step(&hardware).unwrap();
        assert_eq!(transfer.run(&hardware, &AtomicBool::new(false)), Outcome::Done);
        assert_eq!(bytes(&hardware, HBM + 3 * CHUNK, 4), [1, 2, 3, 0]);
    }
}
