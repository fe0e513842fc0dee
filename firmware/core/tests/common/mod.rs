//! A fake board for the host tests: the ports of the control core over plain vectors. Every test crate uses a part of it, and a helper that
//! finds nothing is a failed test.
#![allow(dead_code, clippy::unwrap_used)]

pub mod tree;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use coxswain_abi::regs::{self, CFG_BASE};
use coxswain_abi::soc::{PostedWrite, WriteKind};
use coxswain_core::ports::{CardMemory, HostMemory, OneByOne, OutOfRange, PostedWrites, Registers};

/// The register file; clones share it.
#[derive(Debug, Clone, Default)]
pub struct FakeRegisters(Rc<RefCell<BTreeMap<u32, u32>>>);

impl FakeRegisters {
    /// Sets a register as the host would.
    pub fn set(&self, offset: u32, value: u32) {
        self.0.borrow_mut().insert(offset, value);
    }
}

impl Registers for FakeRegisters {
    fn read(&self, offset: u32) -> u32 {
        self.0.borrow().get(&offset).copied().unwrap_or(0)
    }
}

/// Posted writes: kept in order; status stores reach the registers at a flush, as in the card.
#[derive(Debug)]
pub struct FakePosts {
    /// Everything posted so far.
    pub log: Vec<PostedWrite>,
    /// Room that [`PostedWrites::available`] reports.
    pub room: usize,
    /// While true the card does not consume: status stores stay on their way.
    pub stalled: bool,
    applied: usize,
    registers: FakeRegisters,
}

impl FakePosts {
    /// Posted writes that end up in `registers`.
    pub fn new(registers: &FakeRegisters) -> Self {
        Self { log: Vec::new(), room: 4096, stalled: false, applied: 0, registers: registers.clone() }
    }

    /// Forgets what was posted so far.
    pub fn forget(&mut self) {
        self.flush();
        self.log.clear();
        self.applied = 0;
    }

    /// Values of the status stores and bus writes to CFG offset `offset`, in order.
    pub fn values(&self, offset: u32) -> Vec<u32> {
        let address = CFG_BASE + u64::from(offset);
        self.log.iter().filter(|write| write.address == address).map(|write| write.data).collect()
    }
}

impl PostedWrites for FakePosts {
    type Burst<'a> = OneByOne<'a, Self>;

    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Self::Burst<'_>) -> R) -> R {
        let room = self.available().saturating_sub(keep);
        fill(&mut OneByOne { port: self, room })
    }

    fn available(&self) -> usize {
        self.room
    }

    fn post(&mut self, write: PostedWrite) {
        assert!(self.room > 0, "a write was posted without room for it");
        self.log.push(write);
    }

    fn flush(&mut self) {
        if self.stalled {
            return;
        }
        for write in &self.log[self.applied..] {
            if write.attributes.kind() == WriteKind::Status {
                self.registers.set((write.address - CFG_BASE) as u32, write.data);
            }
        }
        self.applied = self.log.len();
    }
}

/// The host's memory from bus address [`FakeHost::BASE`] on, with a record of the writes.
#[derive(Debug)]
pub struct FakeHost {
    /// Memory.
    pub bytes: Vec<u8>,
    /// (address, bytes, release) of every write, in order.
    pub writes: Vec<(u64, usize, bool)>,
    /// Number of accesses.
    pub accesses: RefCell<u32>,
}

impl FakeHost {
    /// Bus address of the first byte. Not 0, so that an address that lost its base is noticed.
    pub const BASE: u64 = 0x1234_0000;
    /// Bytes of memory.
    pub const SIZE: usize = 0x40_0000;

    /// Zeroed memory.
    pub fn new() -> Self {
        Self { bytes: vec![0; Self::SIZE], writes: Vec::new(), accesses: RefCell::new(0) }
    }

    fn range(&self, address: u64, bytes: usize) -> Result<std::ops::Range<usize>, OutOfRange> {
        *self.accesses.borrow_mut() += 1;
        let start = address.checked_sub(Self::BASE).ok_or(OutOfRange { address })? as usize;
        let end = start.checked_add(bytes).filter(|end| *end <= self.bytes.len()).ok_or(OutOfRange { address })?;
        Ok(start..end)
    }

    /// The host's own write at `offset` from [`Self::BASE`].
    pub fn put(&mut self, offset: usize, data: &[u8]) {
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
    }

    /// The word at `offset` from [`Self::BASE`].
    pub fn word(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes[offset..offset + 4].try_into().unwrap())
    }
}

impl HostMemory for FakeHost {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        out.copy_from_slice(&self.bytes[self.range(address, out.len())?]);
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        let range = self.range(address, data.len())?;
        self.writes.push((address, data.len(), false));
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn write_release(&mut self, address: u64, value: u32) -> Result<(), OutOfRange> {
        let range = self.range(address, 4)?;
        if !address.is_multiple_of(4) {
            return Err(OutOfRange { address });
        }
        self.writes.push((address, 4, true));
        self.bytes[range].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}

/// SRAM and the start of HBM.
#[derive(Debug, Clone)]
pub struct FakeCard {
    sram: Vec<u8>,
    hbm: Vec<u8>,
}

impl FakeCard {
    /// Zeroed memories.
    pub fn new() -> Self {
        Self { sram: vec![0; regs::SRAM_SIZE as usize], hbm: vec![0; 32 << 20] }
    }

    fn slice(&self, address: u64, bytes: usize) -> Result<(bool, std::ops::Range<usize>), OutOfRange> {
        let (sram, base, size) = if address >= regs::SRAM_BASE {
            (true, regs::SRAM_BASE, self.sram.len())
        } else {
            (false, regs::HBM_BASE, self.hbm.len())
        };
        let start = (address - base) as usize;
        match start.checked_add(bytes) {
            Some(end) if end <= size => Ok((sram, start..end)),
            _ => Err(OutOfRange { address }),
        }
    }
}

impl CardMemory for FakeCard {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        let (sram, range) = self.slice(address, out.len())?;
        out.copy_from_slice(if sram { &self.sram[range] } else { &self.hbm[range] });
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        let (sram, range) = self.slice(address, data.len())?;
        let memory = if sram { &mut self.sram } else { &mut self.hbm };
        memory[range].copy_from_slice(data);
        Ok(())
    }
}
