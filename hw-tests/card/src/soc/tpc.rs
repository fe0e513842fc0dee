//! The eight TPCs: launch queue, status, faults and the completion message (`gaudi-mmu-sync.md` 4).
//!
//! For: writes into a TPC_CFG block, and what happens around the execution of a kernel that `kernel.rs` does. Owns: the
//! launch queue of each TPC, its KERNEL_ descriptor copy, STATUS, WQ_INFLIGHT_CNTR and TPC_INTR_CAUSE. Never: executes a
//! bundle under the bus lock.
//!
//! A masked cause (TPC_INTR_MASK) is latched without an error notification. Chosen: not so a cause that stops the TPC, because
//! firmware has to know of the stop, whatever is masked.
//!
//! Every EXECUTE is answered by one EngineDone notification unless the TPC stopped on a fault. A kernel that faults stops
//! its TPC: no completion message, and STATUS stays busy until the card is reset.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use coxswain_abi::regs::tpc_cfg as regs;
use coxswain_abi::soc::{Attributes, Notification, initiator};

use super::bus::Bus;
use super::dma;
use super::kernel::{Ended, Engine};
use super::transfer::ENGINE_STREAM;

/// Words of a descriptor.
const DESCRIPTOR_WORDS: u32 = regs::DESCRIPTOR_SIZE / 4;
/// Launches that wait behind the one in execution (`gaudi-mmu-sync.md` 4.4: kernel_fifo resets to 4).
const QUEUE_DEPTH: usize = 4;
/// STATUS: another launch is accepted.
const QM_READY: u32 = 1 << 7;
/// TPC_INTR_CAUSE: a launch was lost because the queue was full (bit 15, "QM software error").
const CAUSE_QM: u32 = 1 << 15;
/// TPC_INTR_CAUSE: the completion message got an error answer.
const CAUSE_LBW_WRITE: u32 = 1 << 19;
/// Write counters that any write resets.
const WQ_LBW_TOTAL: u32 = 0x9BC;
const WQ_HBW_TOTAL: u32 = 0x9C0;
/// Shows how many bundles were retired, modulo 2^32 (chosen: the documents call it a status register only), so that firmware
/// can tell a long kernel from one that hangs.
pub(super) const RETIRED: u32 = 0x9C4;
const TSB_INFLIGHT: u32 = 0x9B4;
/// Protection attributes: \[2:0\] of writes, \[5:3\] of reads; AXI's bit 1 = non-secure.
const PROT: u32 = 0x900;
/// The part of the KERNEL_ set that only the TPC writes.
const KERNEL_SET: std::ops::Range<u32> = regs::KERNEL_DESCRIPTOR..regs::KERNEL_DESCRIPTOR + regs::DESCRIPTOR_SIZE;

/// One launch: the descriptor as it was at EXECUTE.
pub(super) struct Launch {
    descriptor: Vec<u32>,
    /// The kernel has begun.
    begun: bool,
}

/// Queue and state of one TPC.
#[derive(Default)]
pub(super) struct TpcCore {
    queue: VecDeque<Launch>,
    paused: Option<Launch>,
    /// The TPC itself, when no worker has it.
    engine: Option<Box<Engine>>,
    running: bool,
    stopped: bool,
    generation: u32,
    aborting: bool,
    /// The last fault in words; outlives resets.
    last_fault: Option<String>,
}

/// A launch that a worker has taken.
pub(super) struct Taken {
    launch: Launch,
    engine: Box<Engine>,
    generation: u32,
    /// Attributes of the kernel's global reads and writes.
    pub read: Attributes,
    pub write: Attributes,
}

impl Taken {
    /// The engine, with its descriptor as bytes when the kernel is to begin.
    pub fn begin(&mut self) -> (&mut Engine, Option<Vec<u8>>) {
        let fresh = !std::mem::replace(&mut self.launch.begun, true);
        let bytes = fresh.then(|| self.launch.descriptor.iter().flat_map(|word| word.to_le_bytes()).collect());
        (&mut self.engine, bytes)
    }
}

impl TpcCore {
    fn forget(&mut self) {
        self.queue.clear();
        self.paused = None;
        self.engine = None;
        self.stopped = false;
        self.generation = self.generation.wrapping_add(1);
        self.aborting = self.running;
    }

    /// What the last fault was, in words.
    pub fn last_fault(&self) -> Option<&str> {
        self.last_fault.as_deref()
    }

    /// Keeps a fault in words.
    pub fn set_last_fault(&mut self, fault: String) {
        self.last_fault = Some(fault);
    }

    /// True while a worker executes bundles.
    pub fn is_running(&self) -> bool {
        self.running
    }
}

impl Bus {
    /// A write at `inside` the block of TPC `index`.
    pub(super) fn write_tpc_cfg(&mut self, index: usize, inside: u32, value: u32) {
        let place = regs::base(index) + inside;
        let registers = &self.hardware.registers;
        match inside {
            regs::TPC_EXECUTE => {
                if value & 1 != 0 {
                    self.launch(index);
                }
            }
            // Cleared by writing 0 (`gaudi-mmu-sync.md` 4.1); a write cannot set a cause.
            regs::TPC_INTR_CAUSE => registers.write(place, registers.read(place) & value),
            regs::STATUS | regs::WQ_INFLIGHT_CNTR | TSB_INFLIGHT | RETIRED => {}
            _ if KERNEL_SET.contains(&inside) => {}
            WQ_LBW_TOTAL | WQ_HBW_TOTAL => registers.write(place, 0),
            _ => registers.write(place, value),
        }
        self.refresh_tpc(index);
    }

    fn launch(&mut self, index: usize) {
        if self.tpc[index].stopped {
            return;
        }
        let base = regs::base(index) + regs::QM_DESCRIPTOR;
        let descriptor = (0..DESCRIPTOR_WORDS).map(|word| self.hardware.registers.read(base + 4 * word)).collect();
        let core = &mut self.tpc[index];
        let executing = usize::from(core.running || core.paused.is_some());
        if core.queue.len() + executing > QUEUE_DEPTH {
            let engine = (dma::CORES + index) as u8;
            self.hardware.registers.set_bits(regs::base(index) + regs::TPC_INTR_CAUSE, CAUSE_QM);
            if self.hardware.registers.read(regs::base(index) + regs::TPC_INTR_MASK) & CAUSE_QM == 0 {
                self.notify(Notification::EngineError { engine, cause: CAUSE_QM, stopped: false });
            }
            self.notify(Notification::EngineDone { engine });
            return;
        }
        core.queue.push_back(Launch { descriptor, begun: false });
    }

    /// True when TPC `index` has work that may run now.
    pub(super) fn tpc_runnable(&self, index: usize) -> bool {
        let core = &self.tpc[index];
        let work = core.paused.is_some() || !core.queue.is_empty();
        let ready = work && !core.running && !core.stopped && !self.do_engines_stand_still();
        ready && self.hardware.registers.read(regs::base(index) + regs::TPC_STALL) & 1 == 0
    }

    /// Takes the next launch of TPC `index`; one that begins becomes the active descriptor.
    pub(super) fn take_launch(&mut self, index: usize) -> Option<Taken> {
        if !self.tpc_runnable(index) {
            return None;
        }
        let core = &mut self.tpc[index];
        let launch = core.paused.take().or_else(|| core.queue.pop_front())?;
        let engine = core.engine.take().unwrap_or_default();
        core.running = true;
        let generation = core.generation;
        let registers = &self.hardware.registers;
        if !launch.begun {
            for (word, &value) in launch.descriptor.iter().enumerate() {
                registers.write(regs::base(index) + regs::KERNEL_DESCRIPTOR + 4 * word as u32, value);
            }
        }
        let read = |offset| registers.read(regs::base(index) + offset);
        let signed_by = initiator(dma::CORES + index, ENGINE_STREAM);
        let prot = read(PROT);
        let taken = Taken {
            launch,
            engine,
            generation,
            read: Attributes::from_props(prot >> 4 & 1 == 0, read(regs::ARUSER_LO), signed_by),
            write: Attributes::from_props(prot >> 1 & 1 == 0, read(regs::AWUSER_LO), signed_by),
        };
        self.refresh_tpc(index);
        Some(taken)
    }

    /// Accounts for what became of a launch.
    pub(super) fn finish_launch(&mut self, index: usize, taken: Taken, ended: Ended) {
        self.requests.engine_rests = true;
        let core = &mut self.tpc[index];
        core.running = false;
        core.aborting = false;
        if taken.generation != core.generation || core.stopped {
            self.refresh_tpc(index);
            return;
        }
        core.engine = Some(taken.engine);
        match ended {
            Ended::Paused => core.paused = Some(taken.launch),
            Ended::Fault { cause } => self.tpc_fault(index, 1 << cause),
            Ended::Halted => {
                let descriptor = |register| {
                    taken.launch.descriptor.get(((register - regs::QM_DESCRIPTOR) / 4) as usize).copied().unwrap_or(0)
                };
                let low = descriptor(regs::QM_SYNC_OBJECT_ADDR);
                let high = self.hardware.registers.read(regs::base(index) + regs::SM_BASE_ADDRESS_HIGH);
                let address = u64::from(low) | u64::from(high) << 32;
                // Chosen: a descriptor without a sync object (its address never written) sends nothing.
                let sent = match low {
                    0 => Ok(()),
                    _ => self.write(address, descriptor(regs::QM_SYNC_OBJECT_MESSAGE), taken.write),
                };
                if sent.is_ok() {
                    self.refresh_tpc(index);
                    self.notify(Notification::EngineDone { engine: (dma::CORES + index) as u8 });
                } else {
                    self.tpc_fault(index, CAUSE_LBW_WRITE);
                }
            }
        }
        self.refresh_tpc(index);
    }

    fn tpc_fault(&mut self, index: usize, cause: u32) {
        self.hardware.registers.set_bits(regs::base(index) + regs::TPC_INTR_CAUSE, cause);
        self.tpc[index].queue.clear();
        self.tpc[index].stopped = true;
        self.refresh_tpc(index);
        self.notify(Notification::EngineError { engine: (dma::CORES + index) as u8, cause, stopped: true });
    }

    /// Recomputes what a TPC shows and whether a worker has to act.
    pub(super) fn refresh_tpc(&mut self, index: usize) {
        let base = regs::base(index);
        let stalled = self.hardware.registers.read(base + regs::TPC_STALL) & 1 != 0;
        let core = &self.tpc[index];
        let busy = core.running || core.paused.is_some() || !core.queue.is_empty() || core.stopped;
        let status = match busy {
            false => regs::STATUS_IDLE,
            true if core.queue.len() < QUEUE_DEPTH => QM_READY,
            true => 0,
        };
        self.hardware.registers.write(base + regs::STATUS, status);
        let engine = dma::CORES + index;
        if let Some(pause) = self.hardware.pause.get(engine) {
            let keep_out = stalled || self.do_engines_stand_still() || core.stopped || core.aborting;
            pause.store(keep_out, Ordering::Relaxed);
        }
        if self.tpc_runnable(index) {
            self.requests.engines |= 1 << engine;
        }
    }

    /// Drops everything of every TPC, local memories included, as at a reset of the card.
    pub(super) fn reset_tpc(&mut self) {
        for index in 0..self.tpc.len() {
            self.tpc[index].forget();
            self.refresh_tpc(index);
        }
    }
}
