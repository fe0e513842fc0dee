//! Who serves the queue managers: the management CPU, or a program beside the card.
//!
//! For: measurements and tests that need queue managers without the cost of a management CPU. A [`QueueServer`] receives
//! what concerns QMANs - doorbells included, in order with the rest - in place of the notification rings, and answers with
//! the same posted writes that firmware would put into its ring. Owns: the news that wait for the server, and the rule that
//! one thread at a time serves. Never: knows what a server makes of the news; everything else still goes to the management
//! CPU.
//!
//! Served [at once](QueueThread::Access), the server runs on the thread whose access caused the news, before that access
//! returns; news of a transfer that a worker moved are served on the worker. No lock is held meanwhile but, behind a kick,
//! that of the kicked ring.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use coxswain_abi::soc::{Attributes, Notification, PostedWrite};

use super::address::Hardware;
use super::bus::Bus;
use super::chip::{Chip, lock};

/// Posted writes carried out under one hold of the bus lock.
const BATCH: usize = 64;

/// Something that a queue server has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueNews {
    /// What a notification ring would have carried. A doorbell is the write of its PQ_PI register.
    Notification(Notification),
    /// The management CPU is reset: everything that it knew of its queues is forgotten.
    Reset,
}

/// How a queue server left its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is left to do.
    Done,
    /// Something is left that only needs time: it is called again in about a millisecond.
    Waiting,
    /// It has done enough for one access: the rest is for others, in about a millisecond.
    Unfinished,
}

/// Which thread runs a queue server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueThread {
    /// The one whose access caused the news, before the access returns.
    Access,
    /// One of its own: accesses return at once, and what happens meanwhile is served together.
    Own,
}

/// Serves the queue managers in place of the management CPU.
pub trait QueueServer: Send {
    /// Takes news from `port` until there are none and does what follows from them, a bounded amount per call.
    fn serve(&mut self, port: &QueuePort<'_>) -> Turn;
}

/// Refused by the bus: no such memory, closed to the initiator, or not translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRefused;

/// What a management CPU can see of the card: memory as an initiator, and the register file. It captures no faults.
#[derive(Clone)]
pub struct CardView {
    hardware: Arc<Hardware>,
}

impl CardView {
    pub(super) fn new(hardware: Arc<Hardware>) -> Self {
        Self { hardware }
    }

    /// Reads memory at a device address with the security and translation of `access`.
    ///
    /// # Errors
    /// Some byte cannot be read; what was read before it is in `out`.
    pub fn read(&self, address: u64, out: &mut [u8], access: Attributes) -> Result<(), ReadRefused> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = address.checked_add(done as u64).ok_or(ReadRefused)?;
            let piece = self.hardware.resolve(at, rest.len() as u64, access, false).map_err(|_| ReadRefused)?;
            let length = usize::try_from(piece.len).map_err(|_| ReadRefused)?.min(rest.len());
            let part = rest.get_mut(..length).ok_or(ReadRefused)?;
            self.hardware.read_bytes(piece, part).map_err(|_| ReadRefused)?;
            done += length;
        }
        Ok(())
    }

    /// Reads the register at a CFG offset; 0 outside the register file.
    #[must_use]
    pub fn register(&self, cfg_offset: u32) -> u32 {
        self.hardware.registers.read(cfg_offset)
    }
}

impl std::fmt::Debug for CardView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CardView")
    }
}

/// The card, to a queue server that is being called.
pub struct QueuePort<'chip> {
    chip: &'chip Chip,
}

impl QueuePort<'_> {
    /// Takes what has happened, oldest first; nothing once the card ends.
    #[must_use]
    pub fn take_news(&self) -> VecDeque<QueueNews> {
        let mut bus = lock(&self.chip.bus);
        if bus.stopping { VecDeque::new() } else { std::mem::take(&mut bus.notifier.news) }
    }

    /// Carries out writes in order, as those of a posted-write ring. Small transfers that they start are over when this
    /// returns.
    pub fn post(&self, writes: &[PostedWrite]) {
        for batch in writes.chunks(BATCH) {
            self.chip.access(|bus| batch.iter().for_each(|write| bus.post(*write)));
        }
    }
}

/// The server, and how the chip's threads take turns with it.
#[derive(Default)]
pub(super) struct Queues {
    server: Mutex<Option<Box<dyn QueueServer>>>,
    /// The server has a thread of its own.
    has_thread: AtomicBool,
    /// There are news for that thread, or the chip stops.
    pub(super) work: Condvar,
}

impl Bus {
    /// True when a queue server has to be called and nobody is inside it.
    pub(super) fn has_queue_work(&self) -> bool {
        !self.queues_busy && !self.stopping && !self.notifier.news.is_empty()
    }
}

impl Chip {
    /// Gives the queue managers to `server`; from the next news on.
    pub fn serve_queues_with(&self, server: Box<dyn QueueServer>, thread: QueueThread) {
        *lock(&self.queues.server) = Some(server);
        self.queues.has_thread.store(thread == QueueThread::Own, Ordering::SeqCst);
        self.with_bus(|bus| bus.notifier.divert = true);
    }

    /// Sees to it that news are served. Without locks.
    pub(super) fn call_queue_server(&self) {
        if self.queues.has_thread.load(Ordering::SeqCst) {
            // Under the lock: the thread is between its last look and its sleep, or asleep.
            let _bus = lock(&self.bus);
            self.queues.work.notify_one();
        } else {
            self.serve_queues(false);
        }
    }

    /// The life of a queue server's own thread.
    pub fn queue_thread(&self) {
        loop {
            let mut bus = lock(&self.bus);
            while !bus.stopping && !bus.has_queue_work() {
                bus = self.queues.work.wait(bus).unwrap_or_else(PoisonError::into_inner);
            }
            if bus.stopping {
                return;
            }
            drop(bus);
            self.serve_queues(false);
        }
    }

    /// Calls the queue server while there are news, unless another thread is inside it: that one sees what is new before it
    /// leaves. `again` calls it without news.
    pub(super) fn serve_queues(&self, again: bool) {
        let mut due = again;
        loop {
            let mut bus = lock(&self.bus);
            if bus.queues_busy || bus.stopping || !due && !bus.has_queue_work() {
                return;
            }
            bus.queues_busy = true;
            drop(bus);
            due = false;
            let mut server = lock(&self.queues.server);
            let call = || server.as_mut().map_or(Turn::Done, |server| server.serve(&QueuePort { chip: self }));
            // A bug of the server must not leave it busy for ever: a reset waits for it.
            let turn = catch_unwind(AssertUnwindSafe(call)).unwrap_or(Turn::Done);
            drop(server);
            let mut bus = lock(&self.bus);
            bus.queues_busy = false;
            bus.queues_wait = turn != Turn::Done;
            if bus.queues_wait {
                self.pump.notify_one();
            }
            self.quiet.notify_all();
            if turn == Turn::Unfinished {
                return;
            }
        }
    }

    /// Waits until nobody is inside the queue server, or the chip stops.
    pub(super) fn wait_until_queues_rest<'a>(&'a self, mut bus: MutexGuard<'a, Bus>) -> MutexGuard<'a, Bus> {
        while bus.queues_busy && !bus.stopping {
            bus = self.quiet.wait(bus).unwrap_or_else(PoisonError::into_inner);
        }
        bus
    }
}
