//! The board of one core: every port of the control core, and the wait that puts them to sleep.
//!
//! The parts are public for callers that need several ports at once; [`Board`] itself implements all ports by delegation.

use coxswain_abi::regs::mmu;
use coxswain_abi::soc::{Attributes, Notification, PostedWrite};
use coxswain_abi::trace::Event;
use coxswain_core::control::ControlBoard;
use coxswain_core::ports::{
    CardMemory, Clock, DeviceMemory, HostMemory, Notifications, OutOfRange, PostedWrites, ReadError, Registers, Trace,
};

use crate::clock::BoardClock;
use crate::memory::{CardWindow, DeviceReader, HostWindow};
use crate::notify::NotificationRing;
use crate::posted::PostedRing;
use crate::ring::Run;
use crate::shadow::Shadow;
use crate::soc::Soc;
use crate::trace::TraceRing;

/// Microseconds after which an idle core looks at its rings again whatever happened (`decisions.md` 3.13).
pub const SAFETY_TICK_US: u64 = 100_000;

/// The ports of one core.
#[derive(Debug)]
pub struct Board {
    /// Windows and information page.
    pub soc: Soc,
    /// Register reads.
    pub registers: Shadow,
    /// Posted writes of this core.
    pub posted: PostedRing,
    /// Notifications of this core.
    pub notifications: NotificationRing,
    /// Reads as an initiator of the card.
    pub device: DeviceReader,
    /// The host's memory.
    pub host: HostWindow,
    /// SRAM and HBM.
    pub card: CardWindow,
    /// Time.
    pub clock: BoardClock,
    /// The trace, on a board that is strapped for it.
    trace: Option<TraceRing>,
    /// Where measurements find how far this core has come.
    #[cfg(target_os = "none")]
    progress: Option<&'static core::sync::atomic::AtomicU64>,
    /// Counter value at which the next safety sweep is due; `None` in lockstep. Nothing can be lost there, and a tick would
    /// be counted as work (`decisions.md` 4).
    sweep_at: Option<u64>,
    /// A safety sweep is due and was not taken.
    sweep: bool,
}

impl Board {
    /// The ports of core `core`; `None` for a core without rings. At most one per core may exist.
    #[must_use]
    pub fn new(soc: Soc, core: usize, clock: BoardClock) -> Option<Self> {
        Some(Self {
            soc,
            registers: Shadow::new(&soc),
            posted: PostedRing::new(&soc, core)?,
            notifications: NotificationRing::new(&soc, core)?,
            device: DeviceReader::new(&soc),
            host: HostWindow::new(&soc),
            card: CardWindow::new(&soc),
            trace: None,
            sweep_at: (!soc.is_lockstep()).then(|| clock.tick_at(SAFETY_TICK_US)),
            clock,
            #[cfg(target_os = "none")]
            progress: soc.progress_cell(core),
            sweep: false,
        })
    }

    /// Begins to keep the trace of core `core` when the board is strapped for it.
    pub fn start_trace(&mut self, core: usize) {
        self.trace = TraceRing::new(&self.soc, core, self.clock.frequency());
    }

    /// Latches a page fault that firmware has found in the MMU's capture registers, unless an earlier one is still there
    /// (`gaudi-mmu-sync.md` 1.7).
    fn latch_fault(&mut self) {
        let Some(address) = self.device.take_fault() else { return };
        if self.registers.read(mmu::PAGE_ERROR_CAPTURE) & mmu::CAPTURE_VALID != 0 || self.posted.available() < 2 {
            return;
        }
        self.posted.post_status(mmu::PAGE_ERROR_CAPTURE_VA, address as u32);
        self.posted.post_status(mmu::PAGE_ERROR_CAPTURE, mmu::CAPTURE_VALID | (address >> 32) as u32 & 0x3_FFFF);
    }

    /// Makes the card look at its backlog when the notification ring was nearly full since the last call: it may hold
    /// notifications back, and posted writes with them, until it is kicked.
    #[inline]
    fn relieve(&mut self) {
        if self.notifications.is_under_pressure() {
            let _ = self.notifications.take_pressure();
            self.posted.kick();
        }
    }

    /// Everything that must have happened before this core may sleep. Returns false when there is work.
    ///
    /// `deadline_us` is the clock value of the next deadline.
    pub(crate) fn prepare_to_sleep(&mut self, deadline_us: Option<u64>) -> bool {
        self.posted.flush();
        self.relieve();
        // The counter is compared as it is: to microseconds it would have to be divided.
        if let Some(due) = self.sweep_at {
            let now = self.clock.ticks();
            if now >= due {
                self.sweep_at = Some(now.saturating_add(self.clock.ticks_in(SAFETY_TICK_US)));
                self.sweep = true;
                self.posted.kick_if_unread();
                return false;
            }
        }
        if let Some(deadline) = deadline_us
            && self.clock.now_us() >= deadline
        {
            return false;
        }
        // Before the flag: who sees the core asleep finds the count of everything it did.
        self.note_progress();
        self.notifications.arm_interrupt()
    }

    /// Tells measurements how many instructions this core has retired.
    #[cfg(target_os = "none")]
    #[inline]
    fn note_progress(&self) {
        if let Some(cell) = self.progress {
            cell.store(crate::pmu::instructions().into(), core::sync::atomic::Ordering::Relaxed);
        }
    }

    /// There is no counter in a host test.
    #[cfg(not(target_os = "none"))]
    fn note_progress(&self) {}

    /// Counter value at which the core must be awake again.
    pub(crate) fn wake_time(&self, deadline_us: Option<u64>) -> Option<u64> {
        match (deadline_us.map(|us| self.clock.tick_at(us)), self.sweep_at) {
            (Some(deadline), Some(sweep)) => Some(deadline.min(sweep)),
            (deadline, sweep) => deadline.or(sweep),
        }
    }

    /// True once after each safety tick: the caller looks at whatever a lost notification could have left behind.
    pub fn take_sweep(&mut self) -> bool {
        core::mem::take(&mut self.sweep)
    }

    /// Sleeps until there may be work: a notification, a doorbell, the clock reaching `deadline_us`, or the safety tick.
    ///
    /// Publishes posted writes first. Returns at once when something is waiting. May return without work.
    #[cfg(target_os = "none")]
    pub fn wait_for_work(&mut self, deadline_us: Option<u64>) {
        self.wait::<false>(deadline_us);
    }

    /// The same in an image that may keep a trace.
    #[cfg(target_os = "none")]
    pub fn wait_for_work_traced(&mut self, deadline_us: Option<u64>) {
        self.wait::<true>(deadline_us);
    }

    #[cfg(target_os = "none")]
    #[inline]
    fn wait<const TRACED: bool>(&mut self, deadline_us: Option<u64>) {
        if !self.prepare_to_sleep(deadline_us) {
            return;
        }
        if TRACED && self.is_tracing() {
            self.record(Event::Sleep);
        }
        crate::timer::sleep(self.wake_time(deadline_us));
        if TRACED && self.is_tracing() {
            self.record(Event::Wake);
        }
        self.notifications.disarm_interrupt();
    }

    /// Host tests do not sleep: the same looks, without the processor.
    #[cfg(not(target_os = "none"))]
    pub fn wait_for_work(&mut self, deadline_us: Option<u64>) {
        if self.prepare_to_sleep(deadline_us) {
            let _ = self.wake_time(deadline_us);
            self.notifications.disarm_interrupt();
        }
    }
}

impl ControlBoard for Board {
    type Host = HostWindow;
    type Posts = PostedRing;
    type Shadow = Shadow;

    #[inline]
    fn parts(&mut self) -> (&mut HostWindow, &mut PostedRing, &Shadow) {
        (&mut self.host, &mut self.posted, &self.registers)
    }
}

impl Registers for Board {
    #[inline]
    fn read(&self, offset: u32) -> u32 {
        self.registers.read(offset)
    }
}

impl PostedWrites for Board {
    type Burst<'a> = Run;

    #[inline(always)]
    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Run) -> R) -> R {
        self.posted.burst(keep, fill)
    }

    #[inline]
    fn available(&self) -> usize {
        self.posted.available()
    }

    #[inline]
    fn has_room(&self, writes: usize) -> bool {
        self.posted.has_room(writes)
    }

    // Always: a call would cost as much again, and everything that a packet does ends here.
    #[inline(always)]
    fn post(&mut self, write: PostedWrite) {
        self.posted.post(write);
    }

    #[inline]
    fn flush(&mut self) {
        self.posted.flush();
    }
}

impl DeviceMemory for Board {
    #[inline]
    fn read_words(&mut self, address: u64, access: Attributes, out: &mut [u64]) -> Result<(), ReadError> {
        let result = self.device.read_words(address, access, out);
        if result.is_err() {
            self.latch_fault();
        }
        result
    }
}

impl HostMemory for Board {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        self.host.read(address, out)
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        self.host.write(address, data)
    }

    fn write_release(&mut self, address: u64, value: u32) -> Result<(), OutOfRange> {
        self.host.write_release(address, value)
    }
}

impl CardMemory for Board {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        self.card.read(address, out)
    }

    fn write(&mut self, address: u64, data: &[u8]) -> Result<(), OutOfRange> {
        self.card.write(address, data)
    }
}

impl Notifications for Board {
    #[inline]
    fn next(&mut self) -> Option<Notification> {
        let notification = self.notifications.next();
        if notification.is_none() {
            self.relieve();
        }
        notification
    }

    #[inline]
    fn take_doorbells(&mut self) -> [u64; 2] {
        self.notifications.take_doorbells()
    }
}

impl Trace for Board {
    #[inline]
    fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    fn record(&mut self, event: Event) {
        let time = self.clock.ticks();
        if let Some(trace) = &mut self.trace {
            trace.record(time, event);
        }
    }
}

impl Clock for Board {
    #[inline]
    fn now_us(&self) -> u64 {
        self.clock.now_us()
    }
}
