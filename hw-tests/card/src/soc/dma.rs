//! The eight DMA cores: descriptor FIFO, status, completion and errors (`gaudi-mmu-sync.md` 3, `qman.md` 5.5, 7.3).
//!
//! For: writes into a core's block, and what happens around the movement of bytes that `transfer.rs` does. Owns: the FIFO
//! of latched descriptors of each core, STS0, STS1 and ERR_CAUSE. Never: moves a byte under the bus lock.
//!
//! Every COMMIT is answered by one EngineDone notification, unless the core stopped on an error or was flushed. A
//! descriptor that failed while stop-on-error is off is answered too, but sends no completion write: nobody is told that
//! its data are there.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use coxswain_abi::regs::{dma_core as regs, dma_core::err_cause};
use coxswain_abi::soc::{Attributes, Notification, initiator};

use super::address::Refusal;
use super::bus::Bus;
use super::transfer::{ENGINE_STREAM, Outcome, Transfer, WR_INFLIGHTS};

/// Number of cores.
pub(super) const CORES: usize = 8;
/// Descriptors a core accepts beyond the one in execution.
pub(super) const QUEUE_DEPTH: usize = 16;
/// STS0: busy.
const BUSY: u32 = 1 << 31;
/// CFG_1: drop every descriptor (chosen: the documents name the bit only).
const FLUSH: u32 = 1 << 1;
/// PROT: error messages are secure.
const PROT_ERR: u32 = 1 << 1;
/// ERR_CFG: send the error message; stop on error.
const ERR_MSG_EN: u32 = 1 << 0;
const STOP_ON_ERR: u32 = 1 << 1;
/// Registers that only the core writes.
const RD_INFLIGHTS: u32 = 0x114;
const DEBUG: std::ops::Range<u32> = 0x200..0x23C;

/// Queue and state of one core.
#[derive(Default)]
pub(super) struct DmaCore {
    queue: VecDeque<Transfer>,
    /// A transfer that was begun and paused.
    paused: Option<Transfer>,
    /// A worker moves bytes for it.
    running: bool,
    /// It stopped on an error; only a reset revives it.
    stopped: bool,
    /// Bumped when everything in flight is to be forgotten.
    generation: u32,
    /// What the worker moves is to be forgotten.
    aborting: bool,
}

/// A transfer that a worker has taken.
pub(super) struct Taken {
    pub transfer: Transfer,
    generation: u32,
}

impl DmaCore {
    fn forget(&mut self) {
        self.queue.clear();
        self.paused = None;
        self.stopped = false;
        self.generation = self.generation.wrapping_add(1);
        self.aborting = self.running;
    }

    /// True while a worker moves bytes.
    pub fn is_running(&self) -> bool {
        self.running
    }
}

impl Bus {
    /// A write at `inside` the block of core `index`.
    pub(super) fn write_dma_core(&mut self, index: usize, inside: u32, value: u32) {
        let place = regs::base(index) + inside;
        match inside {
            regs::COMMIT => {
                self.hardware.registers.write(place, value);
                self.commit(index, value);
            }
            regs::ERR_CAUSE => self.hardware.registers.clear_bits(place, value),
            regs::STS0 | regs::STS1 | RD_INFLIGHTS | WR_INFLIGHTS => {}
            _ if DEBUG.contains(&inside) => {}
            regs::CFG_1 => {
                self.hardware.registers.write(place, value & !FLUSH);
                if value & FLUSH != 0 && !self.dma[index].stopped {
                    self.dma[index].forget();
                }
            }
            _ => self.hardware.registers.write(place, value),
        }
        self.refresh_dma(index);
    }

    fn commit(&mut self, index: usize, control: u32) {
        if self.dma[index].stopped {
            return;
        }
        let transfer = Transfer::latch(&self.hardware.registers, index, control);
        let core = &mut self.dma[index];
        let executing = usize::from(core.running || core.paused.is_some());
        if core.queue.len() + executing > QUEUE_DEPTH {
            self.dma_error(index, err_cause::DESC_OVF);
            return;
        }
        core.queue.push_back(transfer);
    }

    /// True when core `index` has work that may run now.
    pub(super) fn dma_runnable(&self, index: usize) -> bool {
        let core = &self.dma[index];
        let work = core.paused.is_some() || !core.queue.is_empty();
        let ready = work && !core.running && !core.stopped && !self.do_engines_stand_still();
        let register = |inside| self.hardware.registers.read(regs::base(index) + inside);
        ready && register(regs::CFG_0) & 1 != 0 && register(regs::CFG_1) & 1 == 0
    }

    /// True when engine `index` is a DMA core whose next transfer is small.
    pub(super) fn is_next_transfer_small(&self, index: usize) -> bool {
        let core = self.dma.get(index);
        core.is_some_and(|core| core.paused.as_ref().or(core.queue.front()).is_some_and(Transfer::is_small))
    }

    /// Takes the next transfer of core `index`.
    pub(super) fn take_transfer(&mut self, index: usize) -> Option<Taken> {
        if !self.dma_runnable(index) {
            return None;
        }
        let core = &mut self.dma[index];
        let transfer = core.paused.take().or_else(|| core.queue.pop_front())?;
        core.running = true;
        let generation = core.generation;
        self.refresh_dma(index);
        Some(Taken { transfer, generation })
    }

    /// Accounts for what became of a transfer.
    pub(super) fn finish_transfer(&mut self, index: usize, taken: Taken, outcome: Outcome) {
        self.requests.engine_rests = true;
        let core = &mut self.dma[index];
        core.running = false;
        core.aborting = false;
        if taken.generation != core.generation || core.stopped {
            self.refresh_dma(index);
            return;
        }
        match outcome {
            Outcome::Paused => self.dma[index].paused = Some(taken.transfer),
            Outcome::Done => {
                let sent =
                    taken.transfer.completion.map(|(address, data)| self.write(address, data, taken.transfer.access));
                self.end_descriptor(index, if sent == Some(Err(super::bus::BusError)) { err_cause::LBW_WR } else { 0 });
            }
            Outcome::Unsupported => self.end_descriptor(index, err_cause::DESC_OVF),
            Outcome::Refused { refusal, address, write } => {
                self.report_refusal(refusal, taken.transfer.access.initiator(), write, address);
                self.end_descriptor(index, if write { err_cause::HBW_WR } else { err_cause::HBW_RD });
            }
        }
        self.refresh_dma(index);
    }

    /// The descriptor in execution ended, with causes when it failed.
    fn end_descriptor(&mut self, index: usize, causes: u32) {
        if causes != 0 {
            self.dma_error(index, causes);
        } else {
            self.refresh_dma(index);
            self.notify(Notification::EngineDone { engine: index as u8 });
        }
    }

    /// Sets causes, sends the error message, stops if told to, notifies; answers the descriptor if the core goes on.
    fn dma_error(&mut self, index: usize, causes: u32) {
        let base = regs::base(index);
        let config = self.hardware.registers.read(base + regs::ERR_CFG);
        let stopped = config & STOP_ON_ERR != 0;
        self.hardware.registers.set_bits(base + regs::ERR_CAUSE, causes);
        if stopped {
            self.dma[index].queue.clear();
            self.dma[index].paused = None;
            self.dma[index].stopped = true;
        }
        self.refresh_dma(index);
        if config & ERR_MSG_EN != 0 {
            let registers = &self.hardware.registers;
            let secure = registers.read(base + regs::PROT) & PROT_ERR != 0;
            let props = registers.read(base + if secure { regs::SECURE_PROPS } else { regs::NON_SECURE_PROPS });
            let access = Attributes::from_props(secure, props, initiator(index, ENGINE_STREAM));
            let address = registers.read_pair(base + regs::ERRMSG_ADDR_LO, base + regs::ERRMSG_ADDR_HI);
            let data = registers.read(base + regs::ERRMSG_WDATA);
            // An error message that fails has nobody left to tell.
            let _ = self.write(address, data, access);
        }
        self.notify(Notification::EngineError { engine: index as u8, cause: causes, stopped });
        if !stopped {
            self.notify(Notification::EngineDone { engine: index as u8 });
        }
    }

    /// Recomputes what a core shows and whether a worker has to act.
    pub(super) fn refresh_dma(&mut self, index: usize) {
        let base = regs::base(index);
        let halted = self.hardware.registers.read(base + regs::CFG_1) & 1 != 0;
        let enabled = self.hardware.registers.read(base + regs::CFG_0) & 1 != 0;
        let core = &self.dma[index];
        let busy = core.running || core.paused.is_some() || !core.queue.is_empty() || core.stopped;
        let is_halt = u32::from(halted && !core.running);
        self.hardware.registers.write(base + regs::STS0, if busy { BUSY } else { 0 });
        self.hardware.registers.write(base + regs::STS1, is_halt);
        if let Some(pause) = self.hardware.pause.get(index) {
            let keep_out = halted || !enabled || self.do_engines_stand_still() || core.stopped || core.aborting;
            pause.store(keep_out, Ordering::Relaxed);
        }
        if self.dma_runnable(index) {
            self.requests.engines |= 1 << index;
        }
    }

    /// Drops everything of every core, as at a reset of the card.
    pub(super) fn reset_dma(&mut self) {
        for index in 0..CORES {
            self.dma[index].forget();
            self.refresh_dma(index);
        }
    }
}

/// True for the refusals that make a bus write an error.
pub(super) fn is_error(refusal: Refusal) -> bool {
    refusal != Refusal::Blocked
}
