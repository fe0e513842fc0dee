//! The SoC bus: every 32-bit write of the card, and the state that such writes change.
//!
//! For: decoding an address and attributes into a memory or a register block, with protection and translation
//! (`gaudi-mmu-sync.md` 1.1, `qman.md` 7.4, 7.5). Owns: everything behind the bus lock - sync managers, notification side
//! of the rings, engine queues, requests for the outside world. Never: copies bulk data, waits, or drives a wire; what has
//! to be told to others is collected in [`Requests`] and delivered after the lock is released.

use std::collections::VecDeque;
use std::sync::Arc;

use coxswain_abi::regs::{self, CFG_BASE, CFG_SIZE, dma_core, mme as mme_regs, qman as qman_regs, tpc_cfg};
use coxswain_abi::soc::{
    Attributes, INITIATOR_CPU, Notification, PostedWrite, QMANS, ResetReason, WriteKind, initiator,
};

use super::address::{ENGINES, Hardware, Place, Refusal};
use super::board::Board;
use super::dma::{self, DmaCore};
use super::efuse::{self, FuseBlock};
use super::i2c::Controller;
use super::notifications::Notifier;
use super::protection::{self, Closed};
use super::psoc::Timestamp;
use super::reset_values::ResetTable;
use super::sync_manager::{self, Effects, Payload, SyncManager};
use super::tpc::TpcCore;
use super::watchdog::Watchdog;

/// Initiator number of the host, beside those of `coxswain_abi::soc`.
const INITIATOR_HOST: u8 = 0xFE;
/// Attributes of a register access through the host's BAR: the driver makes those secure (`gaudi-soc.md` 16.1).
pub(super) const HOST: Attributes = Attributes::new(true, true, 0, INITIATOR_HOST);
/// Monitor payloads carried out before the bus is given to others: a user can arm monitors that fire each other for ever.
const PAYLOADS_PER_TURN: usize = 1024;

/// A write got an error answer: unmapped, unaligned, failed translation, or an engine that this card does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BusError;

/// What others have to do once the bus lock is released.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Raise the host's MSI.
    pub host_msi: bool,
    /// Bit n: raise the interrupt of core n.
    pub cores: u32,
    /// Reset the management CPU.
    pub cpu_reset: Option<ResetReason>,
    /// Bit n: engine n has work.
    pub engines: u32,
    /// An engine came to rest.
    pub engine_rests: bool,
    /// The watchdog's expiry has moved.
    pub watchdog: bool,
}

/// State behind the bus lock.
pub(super) struct Bus {
    pub hardware: Arc<Hardware>,
    pub notifier: Notifier,
    pub requests: Requests,
    pub timestamp: Timestamp,
    pub watchdog: Watchdog,
    pub fuses: FuseBlock,
    pub board: Board,
    pub i2c: Controller,
    pub dma: [DmaCore; dma::CORES],
    pub tpc: [TpcCore; ENGINES - dma::CORES],
    sync: [SyncManager; regs::sync_manager::MANAGERS],
    payloads: VecDeque<Payload>,
    /// The whole card is being reset: engines stand still, writes are dropped.
    pub in_reset: bool,
    /// The chip's threads end: engines stand still.
    pub stopping: bool,
    /// A thread is inside the queue server.
    pub queues_busy: bool,
    /// The queue server wants to be called again soon.
    pub queues_wait: bool,
    /// Resets asked for and not answered: of the management CPU, of the whole card.
    pub(super) due: ResetsDue,
    /// Bit n: the posted writes of core n stand behind its backlog of notifications.
    stalled: u32,
    /// By initiator: a posted write got an error answer that firmware has not recorded yet.
    failed: [bool; 256],
}

/// Resets that were asked for and not answered yet.
#[derive(Debug, Default)]
pub(super) struct ResetsDue {
    pub cpu: bool,
    pub card: bool,
}

impl Bus {
    pub fn new(hardware: Arc<Hardware>) -> Self {
        let registers = hardware.registers.clone();
        Self {
            hardware,
            notifier: Notifier::default(),
            requests: Requests::default(),
            timestamp: Timestamp::default(),
            watchdog: Watchdog::default(),
            fuses: FuseBlock::default(),
            board: Board::default(),
            i2c: Controller::default(),
            dma: Default::default(),
            tpc: Default::default(),
            sync: std::array::from_fn(|index| SyncManager::new(index, registers.clone())),
            payloads: VecDeque::new(),
            in_reset: false,
            stopping: false,
            queues_busy: false,
            queues_wait: false,
            due: ResetsDue::default(),
            stalled: 0,
            failed: [false; 256],
        }
    }

    /// True while no engine may begin or go on.
    pub fn do_engines_stand_still(&self) -> bool {
        self.in_reset || self.stopping
    }

    /// Recomputes what every engine shows and whether it may run.
    pub fn refresh_engines(&mut self) {
        for index in 0..dma::CORES {
            self.refresh_dma(index);
        }
        for index in 0..self.tpc.len() {
            self.refresh_tpc(index);
        }
    }

    /// Notes whether the posted writes of `core` stand behind its backlog of notifications.
    pub fn set_stalled(&mut self, core: usize, stalled: bool) {
        self.stalled = self.stalled & !(1 << core) | u32::from(stalled) << core;
    }

    /// True when notifications of `core` wait for room, or posted writes wait behind such.
    pub fn is_ring_waiting(&self, core: usize) -> bool {
        self.notifier.has_backlog(core) || self.stalled >> core & 1 != 0
    }

    /// Empties every notification ring, as after a reset of the management CPU.
    pub fn reset_notifications(&mut self) {
        self.notifier.reset(&self.hardware.memories);
        self.stalled = 0;
        self.failed = [false; 256];
    }

    /// Carries out one entry of a posted-write ring. A bus write that gets an error answer is reported to its initiator.
    pub fn post(&mut self, entry: PostedWrite) {
        let offset = entry.address.wrapping_sub(CFG_BASE);
        let registers = &self.hardware.registers;
        match entry.attributes.kind() {
            WriteKind::Bus => self.post_bus_write(entry),
            // Status is firmware's own; one outside the register file has no place to go.
            _ if offset >= CFG_SIZE => {}
            // Hardware's own: a status store does not make a fuse.
            _ if efuse::contains(offset as u32) => {}
            WriteKind::Status => registers.write(offset as u32, entry.data),
            WriteKind::SetBits => {
                registers.set_bits(offset as u32, entry.data);
                self.acknowledge_failure(offset as u32);
            }
            WriteKind::ClearBits => registers.clear_bits(offset as u32, entry.data),
        }
    }

    /// A bus write of the ring. After one with an error answer those of the same command processor are dropped until firmware
    /// has recorded the error (`coxswain_abi::soc`, failed writes).
    fn post_bus_write(&mut self, entry: PostedWrite) {
        let initiator = entry.attributes.initiator();
        if self.failed.get(usize::from(initiator)).copied().unwrap_or(false) {
            return;
        }
        let data = if entry.attributes.timestamp() { self.timestamp.low() } else { entry.data };
        if self.write(entry.address, data, entry.attributes).is_err() {
            if initiator != INITIATOR_CPU
                && let Some(failed) = self.failed.get_mut(usize::from(initiator))
            {
                *failed = true;
            }
            self.notify(Notification::WriteFailed { initiator, address: entry.address });
        }
    }

    /// Firmware recorded a cause in a stream's GLBL_STS1: its writes count again.
    fn acknowledge_failure(&mut self, offset: u32) {
        if let Some((qman, inside)) = qman_regs::find(offset)
            && let Some(stream) = inside.checked_sub(qman_regs::GLBL_STS1_0).map(|distance| distance as usize / 4)
            && stream < qman_regs::STREAMS
            && let Some(failed) = self.failed.get_mut(usize::from(initiator(qman, stream)))
        {
            *failed = false;
        }
    }

    /// A 32-bit write to a device address, with everything that follows from it. A write that protection blocks is dropped
    /// and is no error.
    pub fn write(&mut self, address: u64, data: u32, access: Attributes) -> Result<(), BusError> {
        let answer = self.write_one(address, data, access);
        self.run_payloads();
        answer
    }

    fn write_one(&mut self, address: u64, data: u32, access: Attributes) -> Result<(), BusError> {
        if address & 3 != 0 {
            return Err(BusError);
        }
        if regs::within(address, CFG_BASE, CFG_SIZE) {
            return self.write_register((address - CFG_BASE) as u32, data, access);
        }
        match self.hardware.resolve(address, 4, access, true) {
            Ok(piece) if piece.place == Place::Host && self.is_disabled_queue(access) => Ok(()),
            // Release: whoever sees this word (a CQ entry, a fence) sees what was written before it.
            Ok(piece) => self.hardware.store_release_u32(piece, data).map_err(|_| BusError),
            Err(refusal) => {
                self.report_refusal(refusal, access.initiator(), true, address);
                if dma::is_error(refusal) { Err(BusError) } else { Ok(()) }
            }
        }
    }

    /// A write of a stream whose QMAN the driver has disabled: its host memory may be gone (`decisions.md` 3.14). Engines are
    /// stopped by their own registers.
    fn is_disabled_queue(&self, access: Attributes) -> bool {
        let (qman, stream) = (usize::from(access.initiator() >> 3), usize::from(access.initiator() & 7));
        let is_stream = qman < QMANS && stream < qman_regs::STREAMS;
        is_stream && self.hardware.registers.read(qman_regs::base(qman) + qman_regs::GLBL_CFG0) == 0
    }

    fn write_register(&mut self, offset: u32, value: u32, access: Attributes) -> Result<(), BusError> {
        if self.in_reset {
            return Ok(());
        }
        if !access.secure() && protection::register(&self.hardware.registers, offset, true).is_some() {
            // Production code pads with writes to closed registers of its own engine: silence there (`decisions.md` 1).
            if !is_own_window(access.initiator(), offset) {
                self.report_refusal(Refusal::Blocked, access.initiator(), true, CFG_BASE + u64::from(offset));
            }
            return Ok(());
        }
        let from_a_unit = !matches!(access.initiator(), INITIATOR_CPU | INITIATOR_HOST);
        if from_a_unit && !ResetTable::get().exists(offset) {
            return Err(BusError);
        }
        if let Some((manager, inside)) = sync_manager::find(offset) {
            let mut effects = Effects::default();
            if let Some(manager) = self.sync.get_mut(manager) {
                manager.write(inside, value, access, &mut effects);
            }
            self.apply(effects);
        } else if let Some((qman, inside)) = qman_regs::find(offset).filter(|_| offset & 0xFFF < 0xF80) {
            self.write_qman(qman, inside, value, access);
        } else if let Some((engine, inside)) = find_engine(offset) {
            match engine {
                0..dma::CORES => self.write_dma_core(engine, inside, value),
                _ => self.write_tpc_cfg(engine - dma::CORES, inside, value),
            }
        } else if is_mme_command(offset) {
            // No MME is modelled: its start is an error answer, never silence (`decisions.md` 3.15).
            return Err(BusError);
        } else if !self.hardware.mmu.write_register(offset, value) && !self.write_global(offset, value, access) {
            self.hardware.registers.write(offset, value);
        }
        Ok(())
    }

    /// A read of a register by a unit of the card; the host reads the register file itself.
    pub fn read_register(&mut self, offset: u32, access: Attributes) -> u32 {
        if !access.secure() {
            let closed = protection::register(&self.hardware.registers, offset, false);
            if let Some(closed) = closed {
                self.report_refusal(Refusal::Blocked, access.initiator(), false, CFG_BASE + u64::from(offset));
                return if closed == Closed::ProtectionBit { protection::PROTECTED_READ } else { 0 };
            }
        }
        self.timestamp.read(offset).unwrap_or_else(|| self.hardware.registers.read(offset))
    }

    /// Captures and reports a refused access.
    pub fn report_refusal(&mut self, refusal: Refusal, initiator: u8, write: bool, address: u64) {
        match refusal {
            Refusal::Unmapped => {}
            Refusal::PageFault => {
                self.hardware.mmu.capture_page_fault(address);
                self.notify(Notification::PageFault { initiator, write, address });
            }
            Refusal::Blocked => {
                self.hardware.mmu.capture_blocked(initiator, write);
                self.notify(Notification::Blocked { initiator, write, address });
            }
        }
    }

    /// Sends a notification to the core it belongs to.
    pub fn notify(&mut self, notification: Notification) {
        self.notifier.send(&self.hardware.memories, notification);
    }

    fn apply(&mut self, effects: Effects) {
        self.payloads.extend(effects.payloads);
        for notification in effects.notifications {
            self.notify(notification);
        }
    }

    /// Carries out payloads of monitors, up to a limit; the rest waits for the next turn.
    pub fn run_payloads(&mut self) {
        for _ in 0..PAYLOADS_PER_TURN {
            let Some(payload) = self.payloads.pop_front() else { break };
            if self.write_one(payload.address, payload.data, payload.attributes).is_err() {
                let mut effects = Effects::default();
                if let Some(manager) = self.sync.get_mut(payload.manager) {
                    manager.payload_failed(payload.attributes.initiator(), &mut effects);
                }
                self.apply(effects);
            }
        }
    }

    /// True when payloads are left over from the last turn.
    pub fn has_payloads(&self) -> bool {
        !self.payloads.is_empty()
    }

    /// What the outside has to be told since the last call.
    pub fn take_requests(&mut self) -> Requests {
        let mut requests = std::mem::take(&mut self.requests);
        requests.cores |= self.notifier.take_interrupts();
        requests
    }

    /// True while a worker is inside a transfer or a kernel.
    pub fn any_engine_running(&self) -> bool {
        self.dma.iter().any(DmaCore::is_running) || self.tpc.iter().any(TpcCore::is_running)
    }

    /// Forgets what sync managers and engines hold; the register file is reset elsewhere.
    pub fn reset_units(&mut self) {
        self.payloads.clear();
        for manager in &mut self.sync {
            manager.reset();
        }
        self.timestamp = Timestamp::default();
        self.hardware.mmu.reset();
        self.reset_dma();
        self.reset_tpc();
    }
}

/// The engine whose block holds `offset`, and the offset inside the block.
fn find_engine(offset: u32) -> Option<(usize, u32)> {
    let block = offset & !0xFFF;
    let inside = offset & 0xFFF;
    // The protection words at the end of a block are plain storage.
    if inside >= 0xF80 {
        return None;
    }
    let engine = match block {
        0x50_0000..0x60_0000 => (block - dma_core::base(0)) as usize / 0x2_0000,
        0xE0_6000..0x100_0000 => dma::CORES + (block - tpc_cfg::base(0)) as usize / 0x4_0000,
        _ => return None,
    };
    (qman_regs::engine_base(engine) == block && engine < ENGINES).then_some((engine, inside))
}

/// True for a register of the initiator's own QMAN or engine: what WREG packets reach.
fn is_own_window(initiator: u8, offset: u32) -> bool {
    let qman = usize::from(initiator >> 3);
    let block = offset & !0xFFF;
    qman < QMANS && (block == qman_regs::base(qman) || block == qman_regs::engine_base(qman))
}

fn is_mme_command(offset: u32) -> bool {
    (0..4).any(|index| offset == mme_regs::ctrl_base(index) + mme_regs::CMD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_blocks_are_found_exactly() {
        assert_eq!(find_engine(0x50_0078), Some((0, 0x78)));
        assert_eq!(find_engine(0x5E_0078), Some((7, 0x78)));
        assert_eq!(find_engine(0xE0_6938), Some((8, 0x938)));
        assert_eq!(find_engine(0xFC_6938), Some((15, 0x938)));
        assert_eq!(find_engine(0x50_8078), None, "a QMAN");
        assert_eq!(find_engine(0x50_1078), None);
        assert_eq!(find_engine(0x50_0F80), None, "protection words");
    }
}
