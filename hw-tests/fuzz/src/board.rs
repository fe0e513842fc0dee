//! The hardware around the targets: registers, posted writes, a host's memory and the card's, with the rules that every
//! user of a port must keep.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use coxswain_abi::regs::{self, CFG_BASE};
use coxswain_abi::soc::{PostedWrite, WriteKind};
use coxswain_core::ports::{CardMemory, HostMemory, OneByOne, OutOfRange, PostedWrites, Registers};

/// The register file; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Register(Rc<RefCell<BTreeMap<u32, u32>>>);

impl Register {
    /// Sets a register as the host would.
    pub fn set(&self, offset: u32, value: u32) {
        self.0.borrow_mut().insert(offset, value);
    }
}

impl Registers for Register {
    fn read(&self, offset: u32) -> u32 {
        self.0.borrow().get(&offset).copied().unwrap_or(0)
    }
}

/// Posted writes. Status stores reach the registers at a flush.
#[derive(Debug)]
pub struct Posts {
    /// What was posted since it was last taken.
    pub log: Vec<PostedWrite>,
    /// Writes that still find room.
    pub room: usize,
    registers: Register,
}

impl Posts {
    /// Posted writes that end up in `registers`, with much room.
    #[must_use]
    pub fn new(registers: &Register) -> Self {
        Self { log: Vec::new(), room: 4096, registers: registers.clone() }
    }
}

impl PostedWrites for Posts {
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
        self.room -= 1;
        self.log.push(write);
    }

    fn flush(&mut self) {
        for write in &self.log {
            if write.attributes.kind() == WriteKind::Status {
                self.registers.set((write.address - CFG_BASE) as u32, write.data);
            }
        }
    }
}

/// One write of firmware to the host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostWrite {
    /// Bus address.
    pub address: u64,
    /// Bytes.
    pub bytes: usize,
    /// The word that it replaced, at offset 4 of a longer write.
    pub before: u32,
    /// The word, of a release.
    pub released: Option<u32>,
}

/// Some host memory from bus address [`Host::BASE`] on.
#[derive(Debug)]
pub struct Host {
    /// The memory.
    pub bytes: Vec<u8>,
    /// Firmware's writes since they were last taken.
    pub writes: Vec<HostWrite>,
}

impl Host {
    /// Bus address of the first byte. Not 0, so that an address that lost its base is noticed.
    pub const BASE: u64 = 0x1234_0000;

    /// Zeroed memory of `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], writes: Vec::new() }
    }

    fn range(&self, address: u64, bytes: usize) -> Result<std::ops::Range<usize>, OutOfRange> {
        let start = address.checked_sub(Self::BASE).ok_or(OutOfRange { address })? as usize;
        let end = start.checked_add(bytes).filter(|end| *end <= self.bytes.len()).ok_or(OutOfRange { address })?;
        Ok(start..end)
    }

    /// The host's own write at `offset`; what lies outside is left out.
    pub fn put(&mut self, offset: usize, data: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(offset).zip(data) {
            *place = *byte;
        }
    }

    /// The word at `offset`; 0 outside.
    #[must_use]
    pub fn word(&self, offset: usize) -> u32 {
        self.bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
    }
}

impl HostMemory for Host {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        out.copy_from_slice(&self.bytes[self.range(address, out.len())?]);
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        let range = self.range(address, data.len())?;
        let before = if data.len() >= 8 { self.word(range.start + 4) } else { 0 };
        self.writes.push(HostWrite { address, bytes: data.len(), before, released: None });
        self.bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn write_release(&mut self, address: u64, value: u32) -> Result<(), OutOfRange> {
        let range = self.range(address, 4)?;
        if !address.is_multiple_of(4) {
            return Err(OutOfRange { address });
        }
        let before = self.word(range.start);
        self.writes.push(HostWrite { address, bytes: 4, before, released: Some(value) });
        self.bytes[range].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}

const PAGE: u64 = 4096;

/// SRAM and HBM, of which only the pages exist that were written.
#[derive(Debug, Clone, Default)]
pub struct Card(BTreeMap<u64, Box<[u8; PAGE as usize]>>);

impl Card {
    fn check(address: u64, bytes: usize) -> Result<(), OutOfRange> {
        let inside = |base: u64, size: u64| {
            address.checked_sub(base).is_some_and(|offset| offset <= size && bytes as u64 <= size - offset)
        };
        if inside(regs::SRAM_BASE, regs::SRAM_SIZE) || inside(regs::HBM_BASE, regs::HBM_SIZE) {
            Ok(())
        } else {
            Err(OutOfRange { address })
        }
    }
}

impl CardMemory for Card {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        Self::check(address, out.len())?;
        for (at, byte) in (address..).zip(out) {
            *byte = self.0.get(&(at / PAGE)).map_or(0, |page| page[(at % PAGE) as usize]);
        }
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        Self::check(address, data.len())?;
        for (at, byte) in (address..).zip(data) {
            self.0.entry(at / PAGE).or_insert_with(|| Box::new([0; PAGE as usize]))[(at % PAGE) as usize] = *byte;
        }
        Ok(())
    }
}
