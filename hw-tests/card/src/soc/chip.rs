//! The chip as its threads share it: locks, the service of the posted-write rings, workers, reset.
//!
//! For: everything that must run in a defined order of locks. Owns: the bus lock, the consumer index of each posted-write
//! ring, the engines' workers and the pump. Never: decides what a write means; `bus.rs` does.
//!
//! # Threads
//!
//! * The host's server thread writes registers; the SoC function's server thread kicks. Both may be any thread.
//! * One worker per engine moves bytes or executes bundles. A small transfer is moved by the thread whose write or kick
//!   committed it, before it returns: that costs less than waking a worker. In lockstep mode there are no workers and that
//!   thread does everything.
//! * The pump looks every millisecond, only while there is something to look at: notifications that did not fit, and
//!   payloads of monitors that fire each other without end. It also waits for the watchdog's expiry.
//!
//! # Lock order
//!
//! A ring's lock, then the bus lock, then nothing. Rings are locked in ascending order. No lock is held while bytes move,
//! bundles execute or a wire is driven. Waiting for a condition releases the bus lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use coxswain_abi::regs::psoc;
use coxswain_abi::soc::{CORES, PostedWrite, QMANS, ResetReason, bar0, control, core_block, info};

use super::address::{ENGINES, Hardware};
use super::bus::{Bus, Requests};
use super::psoc::resets_the_card;
use super::register_file::ResetScope;
use super::watchdog::Watchdog;
use super::{Counters, SocOptions, Wires, dma, kernel};
use crate::memory::{Memories, full_barrier};

/// Posted writes carried out under one hold of the bus lock.
const BATCH: u32 = 64;
/// How often the pump looks while there is something to look at.
const PUMP_PERIOD: Duration = Duration::from_millis(1);
/// Bundles that one trapped access executes at most per TPC in lockstep mode; a kernel that is not done by then goes on
/// at the next access.
const LOCKSTEP_BUNDLES: u64 = 20_000_000;
/// Cause bit of a TPC whose simulator has a bug ("QM software error"); the panic message says which.
const BUG: u32 = 15;
/// HBM below this address survives a reset of the card (`decisions.md` 3.11).
const SURVIVING_HBM: u64 = 256 << 20;

/// Locks a mutex; a panic of another holder does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the threads of one chip share.
pub(super) struct Chip {
    pub hardware: Arc<Hardware>,
    options: SocOptions,
    /// Consumer index of each posted-write ring.
    rings: [Mutex<u32>; CORES],
    bus: Mutex<Bus>,
    /// Engine n has work, or the chip stops.
    work: [Condvar; ENGINES],
    /// An engine came to rest.
    quiet: Condvar,
    /// The pump has something to look at, or the chip stops.
    pump: Condvar,
    wires: OnceLock<Arc<dyn Wires>>,
    /// The management CPU is being reset: kicks are ignored.
    cpu_in_reset: AtomicBool,
    stopping: AtomicBool,
    bad_producer: AtomicU64,
    kicks: AtomicU64,
}

impl Chip {
    pub fn new(memories: Arc<Memories>, options: SocOptions) -> Self {
        let hardware = Arc::new(Hardware::new(memories));
        let chip = Self {
            bus: Mutex::new(Bus::new(hardware.clone())),
            hardware,
            options,
            rings: Default::default(),
            work: Default::default(),
            quiet: Condvar::new(),
            pump: Condvar::new(),
            wires: OnceLock::new(),
            cpu_in_reset: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            bad_producer: AtomicU64::new(0),
            kicks: AtomicU64::new(0),
        };
        chip.reset_state(ResetReason::PowerOn);
        chip.out_of_reset();
        chip
    }

    pub fn connect(&self, wires: Arc<dyn Wires>) {
        let _ = self.wires.set(wires);
    }

    /// Runs `action` under the bus lock and then tells others what it asked for.
    pub fn with_bus<R>(&self, action: impl FnOnce(&mut Bus) -> R) -> R {
        let mut bus = lock(&self.bus);
        let result = action(&mut bus);
        self.release(bus, 0);
        result
    }

    /// The same for an access from outside, which then does at once what is not worth waking a worker for; in lockstep mode
    /// everything.
    pub fn access<R>(&self, action: impl FnOnce(&mut Bus) -> R) -> R {
        let mut bus = lock(&self.bus);
        let result = action(&mut bus);
        let mine = self.work_for_the_caller(&bus);
        self.release(bus, mine);
        if mine != 0 || self.options.lockstep {
            self.settle();
        }
        result
    }

    /// Engines (bit n = engine n) whose next job the accessing thread does itself.
    fn work_for_the_caller(&self, bus: &Bus) -> u32 {
        (0..ENGINES)
            .filter(|&engine| is_runnable(bus, engine) && (self.options.lockstep || bus.is_next_transfer_small(engine)))
            .fold(0, |mask, engine| mask | 1 << engine)
    }

    /// Wakes whom the bus asked for, but not the workers of the engines in `mine`, and releases the lock.
    fn release(&self, mut bus: MutexGuard<'_, Bus>, mine: u32) {
        let requests = bus.take_requests();
        if needs_pump(&bus) || requests.watchdog {
            self.pump.notify_one();
        }
        if requests.engine_rests && (bus.in_reset || self.options.lockstep) {
            self.quiet.notify_all();
        }
        for (engine, work) in self.work.iter().enumerate() {
            if (requests.engines & !mine) >> engine & 1 != 0 {
                work.notify_one();
            }
        }
        if requests.cpu_reset.is_some() {
            self.cpu_in_reset.store(true, Ordering::SeqCst);
        }
        drop(bus);
        self.drive_wires(&requests);
    }

    fn drive_wires(&self, requests: &Requests) {
        let Some(wires) = self.wires.get() else { return };
        if requests.host_msi {
            wires.raise_host_msi();
        }
        for core in (0..CORES).filter(|core| requests.cores >> core & 1 != 0) {
            wires.raise_core_interrupt(core);
        }
        if let Some(reason) = requests.cpu_reset {
            wires.request_cpu_reset(reason);
        }
    }

    /// Does the work that belongs to the accessing thread. In lockstep mode it also waits for what another thread does.
    fn settle(&self) {
        let mut unfinished = 0;
        loop {
            let mine = self.work_for_the_caller(&lock(&self.bus)) & !unfinished;
            if mine == 0 {
                break;
            }
            for engine in (0..ENGINES).filter(|engine| mine >> engine & 1 != 0) {
                if self.run_engine(engine, LOCKSTEP_BUNDLES, Runner::Caller) == Some(Progress::Unfinished) {
                    unfinished |= 1 << engine;
                }
            }
        }
        if self.options.lockstep {
            let mut bus = lock(&self.bus);
            while bus.any_engine_running() && !self.stopping.load(Ordering::SeqCst) {
                bus = self.quiet.wait(bus).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Runs what engine `engine` has to do next, at most `bundles` of a kernel; `None` when it has nothing to do.
    fn run_engine(&self, engine: usize, bundles: u64, runner: Runner) -> Option<Progress> {
        match engine.checked_sub(dma::CORES) {
            None => {
                let mut taken = self.with_bus(|bus| bus.take_transfer(engine))?;
                let pause = self.hardware.pause.get(engine)?;
                let outcome = taken.transfer.run(&self.hardware, pause);
                self.finish(engine, runner, |bus| bus.finish_transfer(engine, taken, outcome));
                Some(Progress::Finished)
            }
            Some(index) => {
                let mut taken = self.with_bus(|bus| bus.take_launch(index))?;
                // A bug of the simulator must not leave the engine running for ever: nothing could reset it.
                let kernel = || kernel::run(self, index, &mut taken, bundles);
                let ended = catch_unwind(AssertUnwindSafe(kernel)).unwrap_or(kernel::Ended::Fault { cause: BUG });
                self.finish(engine, runner, |bus| bus.finish_launch(index, taken, ended));
                Some(if ended == kernel::Ended::Paused { Progress::Unfinished } else { Progress::Finished })
            }
        }
    }

    /// Accounts for a job under the bus lock. The runner looks for the next job of its engine before it leaves, as far as
    /// that job is its own: no worker is woken for it.
    fn finish(&self, engine: usize, runner: Runner, action: impl FnOnce(&mut Bus)) {
        let mut bus = lock(&self.bus);
        action(&mut bus);
        let mine = match runner {
            Runner::Worker => 1 << engine,
            Runner::Caller => self.work_for_the_caller(&bus),
        };
        self.release(bus, mine);
    }

    /// A worker's life.
    pub fn work_for(&self, engine: usize) {
        let Some(work) = self.work.get(engine) else { return };
        loop {
            let mut bus = lock(&self.bus);
            while !self.stopping.load(Ordering::SeqCst) && !is_runnable(&bus, engine) {
                bus = work.wait(bus).unwrap_or_else(PoisonError::into_inner);
            }
            drop(bus);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            self.run_engine(engine, u64::MAX, Runner::Worker);
        }
    }

    /// The pump's life.
    pub fn pump(&self) {
        let mut bus = lock(&self.bus);
        while !self.stopping.load(Ordering::SeqCst) {
            let until_expiry = bus.watchdog.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let wait = match (needs_pump(&bus), until_expiry) {
                (true, expiry) => Some(expiry.map_or(PUMP_PERIOD, |expiry| expiry.min(PUMP_PERIOD))),
                (false, expiry) => expiry,
            };
            bus = match wait {
                Some(wait) => self.pump.wait_timeout(bus, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.pump.wait(bus).unwrap_or_else(PoisonError::into_inner),
            };
            bus.run_payloads();
            if bus.watchdog.deadline().is_some() {
                bus.run_watchdog();
            }
            let waiting: Vec<usize> = (0..CORES).filter(|&core| bus.notifier.has_backlog(core)).collect();
            self.release(bus, 0);
            if self.options.lockstep {
                self.settle();
            }
            for core in waiting {
                self.serve_ring(core);
            }
            bus = lock(&self.bus);
        }
    }

    /// Makes every thread of the chip end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let bus = lock(&self.bus);
        for pause in &self.hardware.pause {
            pause.store(true, Ordering::SeqCst);
        }
        drop(bus);
        for work in &self.work {
            work.notify_all();
        }
        self.pump.notify_all();
    }

    /// Consumes the posted writes of core `core` until there are none, or until its notifications have no room.
    ///
    /// The idle flag is 1 when this returns: the card looks again only when kicked, except the pump while there is a backlog.
    pub fn serve_ring(&self, core: usize) {
        let Some(ring) = self.rings.get(core) else { return };
        let mut consumer = lock(ring);
        let soc = &self.hardware.memories.soc;
        let block = core_block::offset(core);
        loop {
            if self.cpu_in_reset.load(Ordering::SeqCst) {
                return;
            }
            let _ = soc.write_u32(block + core_block::POSTED_IDLE, 0);
            let stalled = self.drain(core, &mut consumer);
            // The flag goes up before the last look, with a barrier between (`coxswain_abi::soc`, wake-ups).
            let _ = soc.store_release_u32(block + core_block::POSTED_IDLE, 1);
            full_barrier();
            if stalled || self.pending(core, *consumer) == 0 {
                return;
            }
        }
    }

    /// Entries that firmware has published and the card has not consumed. A producer index that cannot be is counted and
    /// taken for an empty ring.
    fn pending(&self, core: usize, consumer: u32) -> u32 {
        let place = core_block::offset(core) + core_block::POSTED_PRODUCER;
        let producer = self.hardware.memories.soc.load_acquire_u32(place).unwrap_or(consumer);
        let pending = producer.wrapping_sub(consumer);
        if pending > core_block::POSTED_ENTRIES {
            self.bad_producer.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        pending
    }

    /// Consumes what is there; true when it stopped because notifications wait for room.
    fn drain(&self, core: usize, consumer: &mut u32) -> bool {
        let memories = &self.hardware.memories;
        let block = core_block::offset(core);
        loop {
            let batch = self.pending(core, *consumer).min(BATCH);
            let mut stalled = false;
            self.access(|bus| {
                bus.notifier.flush(memories, core);
                for _ in 0..batch {
                    stalled = bus.notifier.has_backlog(core);
                    // A reset of the CPU asked for by an entry makes the entries behind it void.
                    if stalled || bus.requests.cpu_reset.is_some() {
                        break;
                    }
                    let slot = u64::from(*consumer % core_block::POSTED_ENTRIES);
                    let place = block + core_block::POSTED_RING + 16 * slot;
                    let words =
                        [memories.soc.read_u64(place).unwrap_or(0), memories.soc.read_u64(place + 8).unwrap_or(0)];
                    bus.post(PostedWrite::from_words(words));
                    *consumer = consumer.wrapping_add(1);
                }
                stalled |= bus.notifier.has_backlog(core);
                let _ = memories.soc.store_release_u32(block + core_block::POSTED_CONSUMER, *consumer);
            });
            if stalled || batch == 0 || self.cpu_in_reset.load(Ordering::SeqCst) {
                return stalled;
            }
        }
    }

    /// Returns the card to its state after a reset of this kind. The management CPU does not run.
    pub fn reset_state(&self, reason: ResetReason) {
        self.cpu_in_reset.store(true, Ordering::SeqCst);
        let mut rings: Vec<MutexGuard<'_, u32>> = self.rings.iter().map(lock).collect();
        let mut bus = lock(&self.bus);
        bus.request_cpu_reset(reason);
        bus.requests.cpu_reset = None;
        if resets_the_card(reason) {
            while bus.any_engine_running() && !self.stopping.load(Ordering::SeqCst) {
                bus = self.quiet.wait(bus).unwrap_or_else(PoisonError::into_inner);
            }
            let scope = if reason == ResetReason::PowerOn { ResetScope::PowerOn } else { ResetScope::Software };
            self.hardware.registers.reset(scope);
            self.hardware.registers.write(psoc::BOOT_STRAP_PINS, self.options.straps);
            bus.request_cpu_reset(reason);
            bus.requests.cpu_reset = None;
            bus.reset_units();
            let hbm = &self.hardware.memories.hbm;
            if let Some(len) = hbm.len().checked_sub(SURVIVING_HBM) {
                let _ = hbm.punch_hole(SURVIVING_HBM, len);
            }
        }
        bus.watchdog = Watchdog::default();
        bus.show_watchdog();
        bus.notifier.reset(&self.hardware.memories);
        for ring in &mut rings {
            **ring = 0;
        }
        self.reset_rings();
        self.write_info_page(reason);
    }

    fn reset_rings(&self) {
        let soc = &self.hardware.memories.soc;
        for core in 0..CORES {
            let block = core_block::offset(core);
            let _ = soc.write_u32(block + core_block::POSTED_PRODUCER, 0);
            let _ = soc.write_u32(block + core_block::POSTED_CONSUMER, 0);
            let _ = soc.store_release_u32(block + core_block::POSTED_IDLE, 1);
        }
        let _ = soc.write_bytes(bar0::CONTROL + control::ROUTE, &[0; QMANS]);
    }

    fn write_info_page(&self, reason: ResetReason) {
        let memories = &self.hardware.memories;
        let fields = [
            (info::VERSION, info::VERSION_VALUE),
            (info::POSTED_ENTRIES, core_block::POSTED_ENTRIES),
            (info::NOTIFY_ENTRIES, core_block::NOTIFY_ENTRIES),
            (info::RESET_REASON, reason as u32),
            (info::STRAPS, self.options.straps),
            (info::DMA_QUEUE_DEPTH, dma::QUEUE_DEPTH as u32),
            (info::LOCKSTEP, u32::from(self.options.lockstep)),
            (info::MAGIC, info::MAGIC_VALUE),
        ];
        let _ = memories.soc.write_u64(bar0::INFO + info::HOST_BYTES, memories.host.len());
        let _ = memories.soc.write_u64(bar0::INFO + info::HBM_BYTES, memories.hbm.len());
        for (field, value) in fields {
            let _ = memories.soc.store_release_u32(bar0::INFO + field, value);
        }
    }

    /// The management CPU runs again.
    pub fn out_of_reset(&self) {
        self.with_bus(|bus| {
            bus.in_reset = false;
            for index in 0..dma::CORES {
                bus.refresh_dma(index);
                bus.refresh_tpc(index);
            }
            self.hardware.registers.write(psoc::BTM_FSM, 0);
        });
        self.cpu_in_reset.store(false, Ordering::SeqCst);
        // The CPU may have run, and kicked, before this call.
        for core in 0..CORES {
            self.serve_ring(core);
        }
    }

    /// True from the request of a reset until the CPU runs again.
    pub fn is_in_reset(&self) -> bool {
        self.cpu_in_reset.load(Ordering::SeqCst)
    }

    /// Counts a trapped access of the management CPU.
    pub fn count_kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
    }

    pub fn counters(&self) -> Counters {
        Counters {
            kicks: self.kicks.load(Ordering::Relaxed),
            dropped_notifications: lock(&self.bus).notifier.dropped(),
            bad_producer_indices: self.bad_producer.load(Ordering::Relaxed),
        }
    }
}

/// Who runs an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// Its worker.
    Worker,
    /// A thread whose access has caused the work.
    Caller,
}

/// How far an engine got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Its job is accounted for.
    Finished,
    /// Its job goes on another time.
    Unfinished,
}

fn is_runnable(bus: &Bus, engine: usize) -> bool {
    match engine.checked_sub(dma::CORES) {
        None => bus.dma_runnable(engine),
        Some(index) => bus.tpc_runnable(index),
    }
}

fn needs_pump(bus: &Bus) -> bool {
    bus.has_payloads() || (0..CORES).any(|core| bus.notifier.has_backlog(core))
}
