//! The SoC: register file, bus, sync managers, MMU and engines, as hardware.
//!
//! For: everything between the host's PCI function and the management CPU's. Owns: the card's state outside of PCI. Never:
//! knows what a firmware is; a queue manager is a block of registers and a doorbell here.
//!
//! | File | Subject |
//! |---|---|
//! | `chip.rs` | threads, lock order, rings |
//! | `reset.rs` | reset of the card and of the management CPU, information page |
//! | `bus.rs` | every 32-bit write: decode, protection, side effects |
//! | `register_file.rs`, `reset_values.rs` | storage of registers and what a reset does to it |
//! | `address.rs`, `mmu.rs`, `protection.rs` | decoding, translation, closed ranges |
//! | `notifications.rs` | towards the management CPU |
//! | `queues.rs` | queue managers served by a program beside the card |
//! | `sync_manager.rs`, `qman.rs`, `psoc.rs` (with the MSI trigger), `watchdog.rs` | register blocks |
//! | `efuse.rs` | e-fuses |
//! | `i2c.rs`, `board/` | board-management bus, the parts on it and what they measure |
//! | `dma.rs`, `transfer.rs` | DMA cores |
//! | `tpc.rs`, `kernel.rs` | TPCs |

mod address;
pub mod board;
mod bus;
mod chip;
mod dma;
pub mod efuse;
mod i2c;
mod kernel;
mod mmu;
mod notifications;
mod protection;
mod psoc;
mod qman;
mod queues;
mod register_file;
mod reset;
mod reset_values;
mod sync_manager;
mod tpc;
mod transfer;
mod watchdog;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use coxswain_abi::regs::{CFG_BASE, psoc as psoc_regs};
use coxswain_abi::soc::{CORES, ResetReason};

use crate::memory::Memories;
use address::ENGINES;
use chip::Chip;
pub use queues::{CardView, QueueNews, QueuePort, QueueServer, QueueThread, ReadRefused, Turn};

/// Wires that leave the SoC. They are driven from any thread, without the bus lock but sometimes with the lock of a ring: they
/// must neither wait nor call back into the SoC.
pub trait Wires: Send + Sync {
    /// MSI vector 0 of the host's function.
    fn raise_host_msi(&self);
    /// The interrupt of one core of the management CPU.
    fn raise_core_interrupt(&self, core: usize);
    /// Asks for a reset of the management CPU. Whoever answers holds the CPU, calls [`Soc::reset_state`], lets the CPU run
    /// and calls [`Soc::out_of_reset`].
    fn request_cpu_reset(&self, reason: ResetReason);
}

/// How a SoC is built.
#[derive(Debug, Clone, Default)]
pub struct SocOptions {
    /// The work of a write or kick is finished before it returns; no engine has a thread of its own.
    pub lockstep: bool,
    /// Board straps, as in the information page and in BOOT_STRAP_PINS.
    pub straps: u32,
    /// What the e-fuses hold at power-on, unless [`Self::fuse_file`] holds something.
    pub fuses: efuse::Fuses,
    /// Keeps the e-fuses beyond the life of this process.
    pub fuse_file: Option<std::path::PathBuf>,
}

/// What happened on the management CPU's side of the rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Kicks: trapped accesses of the management CPU on the way of its writes.
    pub kicks: u64,
    /// Notifications dropped because firmware consumed none for a long time.
    pub dropped_notifications: u64,
    /// Posted-write producer indices that cannot be.
    pub bad_producer_indices: u64,
}

/// The SoC. Every method may be called from any thread.
pub struct Soc {
    chip: Arc<Chip>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Soc {
    /// A SoC after power-on, with its threads running. Interrupts raised before [`Self::connect`] are lost.
    ///
    /// # Panics
    /// When the operating system refuses a thread.
    #[must_use]
    pub fn new(memories: Arc<Memories>, options: SocOptions) -> Arc<Self> {
        let lockstep = options.lockstep;
        let chip = Arc::new(Chip::new(memories, options));
        let spawn = |name: String, life: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name).spawn(life).expect("the system refused a thread")
        };
        let pump = chip.clone();
        let mut threads = vec![spawn("soc-pump".into(), Box::new(move || pump.pump()))];
        if !lockstep {
            for engine in 0..ENGINES {
                let chip = chip.clone();
                threads.push(spawn(format!("soc-engine-{engine}"), Box::new(move || chip.work_for(engine))));
            }
        }
        Arc::new(Self { chip, threads: Mutex::new(threads) })
    }

    /// Connects the wires. Only the first call counts.
    pub fn connect(&self, wires: Arc<dyn Wires>) {
        self.chip.connect(wires);
    }

    /// Gives the queue managers to `server` in place of the management CPU, for good. To be called once, before the host
    /// enables the first QMAN: what was enabled before stays with the management CPU's firmware, which hears no more of it.
    ///
    /// # Panics
    /// When the operating system refuses a thread.
    pub fn serve_queues_with(&self, server: Box<dyn QueueServer>, thread: QueueThread) {
        self.chip.serve_queues_with(server, thread);
        if thread == QueueThread::Own {
            let chip = self.chip.clone();
            let thread = std::thread::Builder::new().name("soc-queues".into()).spawn(move || chip.queue_thread());
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.push(thread.expect("the system refused a thread"));
        }
    }

    /// The card as a management CPU sees it, for a queue server.
    #[must_use]
    pub fn view(&self) -> CardView {
        CardView::new(self.chip.hardware.clone())
    }

    /// Reads the register at CFG offset `cfg_offset` as the host. Outside the register file, and where not 4-byte aligned,
    /// it reads 0.
    #[must_use]
    pub fn host_read(&self, cfg_offset: u32) -> u32 {
        match cfg_offset {
            psoc_regs::TIMESTAMP_CNTCVL | psoc_regs::TIMESTAMP_CNTCVU => {
                self.chip.with_bus(|bus| bus.timestamp.read(cfg_offset)).unwrap_or(0)
            }
            psoc_regs::BTM_FSM => match self.chip.is_in_reset() {
                true => psoc::BTM_FSM_BUSY,
                false => 0,
            },
            _ => self.chip.hardware.registers.read(cfg_offset),
        }
    }

    /// Writes the register at CFG offset `cfg_offset` as the host, with its side effects. Outside the register file, and
    /// where not 4-byte aligned, it has none.
    pub fn host_write(&self, cfg_offset: u32, value: u32) {
        // Outside the register file a register access of the host reaches nothing; an error answer has nobody to go to.
        if u64::from(cfg_offset) < coxswain_abi::regs::CFG_SIZE {
            let _ = self.chip.access(|bus| bus.write(CFG_BASE + u64::from(cfg_offset), value, bus::HOST));
        }
    }

    /// Core `core` wrote its number to the kick register: looks at its posted-write ring. Ignored while the management CPU
    /// is being reset, and for a number that is no core.
    pub fn kick(&self, core: usize) {
        if core < CORES {
            self.chip.count_kick();
            self.chip.serve_ring(core);
        }
    }

    /// Starts a reset of the management CPU on behalf of `reason`: what a write of [`coxswain_abi::soc::bar0::CPU_RESET`],
    /// a function-level reset or an expired watchdog does. From now on kicks are ignored; [`Wires::request_cpu_reset`] is
    /// called before this returns.
    pub fn request_reset(&self, reason: ResetReason) {
        self.chip.with_bus(|bus| bus.request_cpu_reset(reason));
    }

    /// Returns registers, units, rings and information page to their state after a reset of this kind. A reset of the card
    /// waits until its engines stand still (at most one piece of a transfer, or one slice of a kernel). To be called with
    /// the management CPU held, between the request of a reset and [`Self::out_of_reset`].
    pub fn reset_state(&self, reason: ResetReason) {
        self.chip.reset_state(reason);
    }

    /// The management CPU runs again: BTM_FSM reads 0, kicks count.
    pub fn out_of_reset(&self) {
        self.chip.out_of_reset();
    }

    /// Changes the board around the chip: what its sensors see.
    pub fn change_board(&self, change: impl FnOnce(&mut board::World)) {
        self.chip.with_bus(|bus| change(&mut bus.board.world));
    }

    /// The e-fuses as they are now.
    #[must_use]
    pub fn fuses(&self) -> efuse::Fuses {
        self.chip.with_bus(|bus| bus.fuses.fuses())
    }

    /// What happened on the management CPU's side of the rings so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.chip.counters()
    }

    /// The last fault of TPC `tpc` (0-7) in words, for a person: address of the bundle, cause bit, operation, refused address.
    /// It survives resets; `None` when there was none, and for a number that is no TPC. A fault is also a line on stderr.
    #[must_use]
    pub fn last_tpc_fault(&self, tpc: usize) -> Option<String> {
        self.chip.with_bus(|bus| bus.tpc.get(tpc)?.last_fault().map(String::from))
    }

    /// Ends the SoC's threads and waits for them. Safe to call twice; dropping the SoC does it too.
    pub fn shutdown(&self) {
        self.chip.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked has printed why.
            let _ = thread.join();
        }
    }
}

impl Drop for Soc {
    fn drop(&mut self) {
        self.shutdown();
    }
}
