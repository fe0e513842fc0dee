//! Executing a kernel on a TPC, without the bus lock.
//!
//! For: joining the TPC simulator (crate `coxswain-tpc`) with the card's memories and registers. Owns: the simulator of one
//! TPC with its local memories. Never: accounts for a launch; `tpc.rs` does.

use std::sync::atomic::Ordering;

use coxswain_abi::regs::{self, CFG_BASE, CFG_SIZE, tpc_cfg};
use coxswain_abi::soc::Attributes;
use coxswain_tpc::sim::{DESCRIPTOR_BYTES, Launch, Memory, MemoryFault, Outcome, Tpc};

use super::address::Refusal;
use super::chip::Chip;
use super::dma;
use super::tpc::{RETIRED, Taken};

/// Bundles between two looks at the pause flag.
const SLICE: u64 = 10_000;
/// ROUND_CSR of the block.
const ROUND_CSR: u32 = 0x8FC;
/// LUT_FUNC256 to LUT_FUNC32, low halves; the high halves follow each (`tpc.md` 13.2).
const LOOKUP_TABLES: [u32; 4] = [0x990, 0x988, 0x980, 0x978];

/// The simulator of one TPC.
#[derive(Default)]
pub(super) struct Engine {
    tpc: Tpc,
}

/// How an attempt to finish a kernel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// HALT; every store is done.
    Halted,
    /// The pause flag was seen, or the limit of this attempt reached.
    Paused,
    /// The kernel is stopped for good; number of the cause bit.
    Fault { cause: u32 },
}

/// Executes the taken launch of TPC `index` until its end, a pause, or `limit` bundles.
pub(super) fn run(chip: &Chip, index: usize, taken: &mut Taken, limit: u64) -> Ended {
    let base = tpc_cfg::base(index);
    let registers = &chip.hardware.registers;
    let mut memory = GlobalMemory { chip, read: taken.read, write: taken.write };
    let (engine, fresh) = taken.begin();
    if let Some(bytes) = fresh {
        let word = |offset| u64::from(registers.read(base + offset));
        let mut launch = Launch {
            round_csr: registers.read(base + ROUND_CSR),
            lookup_tables: LOOKUP_TABLES.map(|offset| word(offset + 4) << 32 | word(offset)),
            ..Launch::default()
        };
        let len = bytes.len().min(DESCRIPTOR_BYTES);
        launch.descriptor[..len].copy_from_slice(&bytes[..len]);
        engine.tpc.start(&launch);
    }
    let mut done = 0;
    loop {
        if chip.hardware.pause.get(dma::CORES + index).is_some_and(|pause| pause.load(Ordering::Relaxed))
            || done >= limit
        {
            return Ended::Paused;
        }
        let outcome = engine.tpc.run(&mut memory, SLICE);
        registers.write(base + RETIRED, engine.tpc.retired() as u32);
        match outcome {
            Outcome::Halted => return Ended::Halted,
            Outcome::OutOfBudget => done += SLICE,
            Outcome::Fault(fault) => {
                // The cause register holds a bit; the operation and its operands are in this line alone.
                eprintln!("card: TPC {index}: {fault}");
                chip.with_bus(|bus| bus.tpc[index].set_last_fault(fault.to_string()));
                return Ended::Fault { cause: fault.cause.bit() };
            }
        }
    }
}

/// Global memory as one kernel sees it: translated and protected; registers in words of four bytes.
struct GlobalMemory<'a> {
    chip: &'a Chip,
    read: Attributes,
    write: Attributes,
}

impl GlobalMemory<'_> {
    fn refused(&self, refusal: Refusal, access: Attributes, write: bool, address: u64) -> MemoryFault {
        self.chip.with_bus(|bus| bus.report_refusal(refusal, access.initiator(), write, address));
        MemoryFault { address }
    }
}

fn is_register(address: u64) -> bool {
    regs::within(address, CFG_BASE, CFG_SIZE)
}

impl Memory for GlobalMemory<'_> {
    fn read(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        if is_register(address) {
            let (true, Ok(word)) = (address & 3 == 0, <&mut [u8; 4]>::try_from(out)) else {
                return Err(MemoryFault { address });
            };
            let offset = (address - CFG_BASE) as u32;
            *word = self.chip.with_bus(|bus| bus.read_register(offset, self.read)).to_le_bytes();
            return Ok(());
        }
        let mut done = 0;
        while done < out.len() {
            let at = address.wrapping_add(done as u64);
            let piece = self
                .chip
                .hardware
                .resolve(at, (out.len() - done) as u64, self.read, false)
                .map_err(|refusal| self.refused(refusal, self.read, false, at))?;
            let end = done + piece.len as usize;
            let part = out.get_mut(done..end).ok_or(MemoryFault { address: at })?;
            self.chip.hardware.read_bytes(piece, part).map_err(|_| MemoryFault { address: at })?;
            done = end;
        }
        Ok(())
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        if is_register(address) {
            let (true, Ok(word)) = (address & 3 == 0, <[u8; 4]>::try_from(data)) else {
                return Err(MemoryFault { address });
            };
            let answer = self.chip.with_bus(|bus| bus.write(address, u32::from_le_bytes(word), self.write));
            return answer.map_err(|_| MemoryFault { address });
        }
        let mut done = 0;
        while done < data.len() {
            let at = address.wrapping_add(done as u64);
            let piece = self
                .chip
                .hardware
                .resolve(at, (data.len() - done) as u64, self.write, true)
                .map_err(|refusal| self.refused(refusal, self.write, true, at))?;
            let end = done + piece.len as usize;
            let part = data.get(done..end).ok_or(MemoryFault { address: at })?;
            self.chip.hardware.write_bytes(piece, part).map_err(|_| MemoryFault { address: at })?;
            done = end;
        }
        Ok(())
    }
}
