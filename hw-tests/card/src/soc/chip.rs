//! The chip as its threads share it: locks, the service of the posted-write rings, workers.
//!
//! For: everything that must run in a defined order of locks. Owns: the bus lock, the consumer index of each posted-write
//! ring, the engines' workers and the pump. Never: decides what a write means; `bus.rs` does. Resets are in `reset.rs`.
//!
//! # Threads
//!
//! * The host's server thread writes registers; the SoC function's server thread kicks. Both may be any thread.
//! * One worker per engine moves bytes or executes bundles. A small transfer is moved by the thread whose write or kick
//!   committed it, before it returns: that costs less than waking a worker. In lockstep mode there are no workers and that
//!   thread does everything. Either way it does a bounded number of jobs: a completion write can commit the next transfer.
//! * A queue server, if there is one, runs on the thread that has news for it, or on one of its own (`queues.rs`).
//! * The pump looks every millisecond, only while there is something to look at: notifications that did not fit, posted
//!   writes that stand behind them, payloads of monitors that fire each other without end, a queue server that waits for
//!   time to pass. It also waits for the watchdog's expiry.
//!
//! # Lock order
//!
//! A ring's lock, then that of the queue server, then the bus lock, then nothing. Rings are locked in ascending order. The
//! bus lock is not held while bytes move, bundles execute, the queue server runs or a wire is driven.
//!
//! # Wake-ups
//!
//! Every condition that a thread waits for is state behind the bus lock, the end of the chip ([`Bus::stopping`]) included,
//! and waiting releases that lock alone. Whoever changes such state collects it as a request under the same hold, and
//! [`Chip::release`] notifies before the lock is given up: nothing can change between a check and a wait. A runner that
//! keeps a job for itself (the `mine` of [`Chip::release`]) must look again under the lock, or wake the worker after all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use coxswain_abi::soc::{CORES, PostedWrite, ResetReason, core_block};

use super::address::{ENGINES, Hardware};
use super::bus::{Bus, Requests};
use super::efuse::FuseBlock;
use super::queues::Queues;
use super::transfer::Outcome;
use super::{Counters, SocOptions, Wires, dma, kernel};
use crate::memory::{Memories, full_barrier};

/// Posted writes carried out under one hold of the bus lock.
const BATCH: u32 = 64;
/// How often the pump looks while there is something to look at.
const PUMP_PERIOD: Duration = Duration::from_millis(1);
/// Bundles that one trapped access executes at most per TPC in lockstep mode; a kernel that is not done by then goes on
/// at the next access.
const LOCKSTEP_BUNDLES: u64 = 20_000_000;
/// Jobs that one access does itself at most. More than its own writes can queue (17 descriptors and 5 launches per engine);
/// only engines that commit each other's work without end come here.
const JOBS_PER_ACCESS: u32 = 4096;
/// Cause bit of a TPC whose simulator has a bug ("QM software error"); the panic message says which.
const BUG: u32 = 15;

/// Locks a mutex; a panic of another holder does not spread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the threads of one chip share.
pub(super) struct Chip {
    pub hardware: Arc<Hardware>,
    pub(super) options: SocOptions,
    /// Consumer index of each posted-write ring.
    pub(super) rings: [Mutex<u32>; CORES],
    pub(super) bus: Mutex<Bus>,
    /// Engine n has work, or the chip stops.
    work: [Condvar; ENGINES],
    /// An engine came to rest, or the chip stops.
    pub(super) quiet: Condvar,
    /// The pump has something to look at, or the chip stops.
    pub(super) pump: Condvar,
    wires: OnceLock<Arc<dyn Wires>>,
    pub(super) queues: Queues,
    /// The management CPU is being reset: kicks are ignored. Cleared under the bus lock only.
    pub(super) cpu_in_reset: AtomicBool,
    bad_producer: AtomicU64,
    kicks: AtomicU64,
}

impl Chip {
    pub fn new(memories: Arc<Memories>, options: SocOptions) -> Self {
        let hardware = Arc::new(Hardware::new(memories));
        let mut bus = Bus::new(hardware.clone());
        bus.fuses = FuseBlock::new(options.fuses, options.fuse_file.clone());
        let chip = Self {
            bus: Mutex::new(bus),
            hardware,
            options,
            rings: Default::default(),
            work: Default::default(),
            quiet: Condvar::new(),
            pump: Condvar::new(),
            wires: OnceLock::new(),
            queues: Queues::default(),
            cpu_in_reset: AtomicBool::new(false),
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
        let queue_work = bus.has_queue_work();
        if needs_pump(&bus) || requests.watchdog {
            self.pump.notify_one();
        }
        if requests.engine_rests && (bus.in_reset || self.options.lockstep) {
            self.quiet.notify_all();
        }
        self.wake_workers(requests.engines & !mine);
        if requests.cpu_reset.is_some() {
            self.cpu_in_reset.store(true, Ordering::SeqCst);
        }
        drop(bus);
        self.drive_wires(&requests);
        if queue_work {
            self.call_queue_server();
        }
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
        let mut jobs = 0;
        loop {
            let bus = lock(&self.bus);
            let mine = self.work_for_the_caller(&bus) & !unfinished;
            if mine == 0 {
                break;
            }
            if jobs >= JOBS_PER_ACCESS {
                // The last accounting woke no worker for it.
                self.wake_workers(mine);
                break;
            }
            drop(bus);
            for engine in (0..ENGINES).filter(|engine| mine >> engine & 1 != 0) {
                if self.run_engine(engine, LOCKSTEP_BUNDLES, Runner::Caller) == Some(Progress::Unfinished) {
                    unfinished |= 1 << engine;
                }
                jobs += 1;
            }
        }
        if self.options.lockstep {
            drop(self.wait_until_engines_rest(lock(&self.bus)));
        }
    }

    /// Waits until no engine is inside a job, or the chip stops. [`Self::release`] notifies only in lockstep mode and during
    /// a reset of the card.
    pub(super) fn wait_until_engines_rest<'a>(&'a self, mut bus: MutexGuard<'a, Bus>) -> MutexGuard<'a, Bus> {
        while bus.any_engine_running() && !bus.stopping {
            bus = self.quiet.wait(bus).unwrap_or_else(PoisonError::into_inner);
        }
        bus
    }

    /// Wakes the workers of `engines` (bit n = engine n). Under the bus lock.
    fn wake_workers(&self, engines: u32) {
        for (engine, work) in self.work.iter().enumerate() {
            if engines >> engine & 1 != 0 {
                work.notify_one();
            }
        }
    }

    /// Runs what engine `engine` has to do next, at most `bundles` of a kernel; `None` when it has nothing to do.
    fn run_engine(&self, engine: usize, bundles: u64, runner: Runner) -> Option<Progress> {
        match engine.checked_sub(dma::CORES) {
            None => {
                let mut taken = self.with_bus(|bus| bus.take_transfer(engine))?;
                let pause = self.hardware.pause.get(engine)?;
                // A bug of the model must not leave an engine running for ever: nothing could reset it.
                let transfer = || taken.transfer.run(&self.hardware, pause);
                let outcome = catch_unwind(AssertUnwindSafe(transfer)).unwrap_or(Outcome::Unsupported);
                self.finish(engine, runner, |bus| bus.finish_transfer(engine, taken, outcome));
                Some(Progress::Finished)
            }
            Some(index) => {
                let mut taken = self.with_bus(|bus| bus.take_launch(index))?;
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
            while !bus.stopping && !is_runnable(&bus, engine) {
                bus = work.wait(bus).unwrap_or_else(PoisonError::into_inner);
            }
            if bus.stopping {
                return;
            }
            drop(bus);
            self.run_engine(engine, u64::MAX, Runner::Worker);
        }
    }

    /// The pump's life.
    pub fn pump(&self) {
        let mut bus = lock(&self.bus);
        while !bus.stopping {
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
            let queues_wait = bus.queues_wait;
            let waiting: Vec<usize> = (0..CORES).filter(|&core| bus.is_ring_waiting(core)).collect();
            self.release(bus, 0);
            if self.options.lockstep {
                self.settle();
            }
            if queues_wait {
                self.serve_queues(true);
            }
            for core in waiting {
                self.serve_ring(core);
            }
            bus = lock(&self.bus);
        }
    }

    /// Makes every thread of the chip end.
    pub fn stop(&self) {
        let mut bus = lock(&self.bus);
        bus.stopping = true;
        bus.refresh_engines();
        for condition in self.work.iter().chain([&self.quiet, &self.pump, &self.queues.work]) {
            condition.notify_all();
        }
    }

    /// Consumes the posted writes of core `core` until there are none, or until its notifications have no room.
    ///
    /// The idle flag is 1 when this returns: the card looks again only when kicked, except the pump after a stall.
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
                // The ring is left for the pump, which must not conclude from an empty backlog that nothing waits here: the
                // next notification of anybody flushes the backlog and does not know of the ring behind it.
                bus.set_stalled(core, stalled);
                let _ = memories.soc.store_release_u32(block + core_block::POSTED_CONSUMER, *consumer);
            });
            if stalled || batch == 0 || self.cpu_in_reset.load(Ordering::SeqCst) {
                return stalled;
            }
        }
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
    bus.has_payloads() || bus.queues_wait || (0..CORES).any(|core| bus.is_ring_waiting(core))
}
