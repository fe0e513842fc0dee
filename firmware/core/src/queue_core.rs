//! The queue work of one core: notifications and doorbells to its queue managers, and what must be told to the control core.
//!
//! [`QueueCore`] owns the queue managers of its core and shares nothing that is written on the packet path: rings, doorbells
//! and shadow are per core or read-only. What goes wrong is collected as [`Reports`]. The control core turns its own into
//! events; another core sends them as the hardware would, by writing an interrupt number to the register that the driver has
//! programmed as the target of error messages ([`send`]), so that they reach the control core as notifications.

use coxswain_abi::event::interrupt;
use coxswain_abi::regs::{GICD_SETSPI_NSR, qman};
use coxswain_abi::soc::Notification;

use crate::ports::{Notifications, PostedWrites};
use crate::queue::{QueueEngine, QueuePorts};

/// Notifications taken before the queues get their turn.
pub(crate) const NOTIFICATIONS_PER_STEP: usize = 64;
/// From an error that leaves a job without completion to the request for a reset: the driver reads the cause registers and
/// tells its user in this time (`submission-path.md` 8.3 R3).
pub const RESET_GRACE_US: u64 = 1_500_000;

/// What must be told to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reports {
    /// Bit per QMAN with a new error.
    pub queue_errors: u32,
    /// Bit per TPC with a new error of its kernel.
    pub kernel_errors: u8,
    /// A command buffer read ended in a page fault.
    pub page_fault: bool,
    /// A job can no longer complete, and the time for the driver to look is over: ask for a reset.
    pub reset: bool,
}

impl Reports {
    /// True when there is nothing to tell.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.queue_errors == 0 && self.kernel_errors == 0 && !self.page_fault && !self.reset
    }

    /// The interrupt numbers that stand for the reports (`cpucp.md` 12.3, 12.4).
    pub fn interrupts(self) -> impl Iterator<Item = u32> {
        let bits = |set: u32| (0..32u32).filter(move |bit| set >> bit & 1 != 0);
        bits(self.queue_errors)
            .map(interrupt::queue_manager)
            .chain(bits(self.kernel_errors.into()).map(interrupt::tpc_kernel_error))
            .chain(self.page_fault.then_some(interrupt::MMU_PAGE_FAULT))
            .chain(self.reset.then_some(interrupt::DEV_RESET_REQ))
    }
}

/// Where a core that asks for a reset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grace {
    /// Nothing is stuck.
    None,
    /// Something is; the request is due at this clock value.
    Until(u64),
    /// The request was made.
    Over,
}

/// The queue managers of one core.
pub struct QueueCore {
    queues: QueueEngine,
    kernel_errors: u8,
    grace: Grace,
}

impl QueueCore {
    /// Takes over an engine with the QMANs of this core.
    #[must_use]
    pub const fn new(queues: QueueEngine) -> Self {
        Self { queues, kernel_errors: 0, grace: Grace::None }
    }

    /// The queue engine.
    #[must_use]
    pub const fn queues(&self) -> &QueueEngine {
        &self.queues
    }

    /// Forgets all work, as when the host halts the card.
    pub fn halt(&mut self) {
        self.queues.reset();
        self.kernel_errors = 0;
        self.grace = Grace::None;
    }

    /// Acts on a notification of a queue manager or engine. False when it is for somebody else.
    #[inline]
    pub fn on_notification<P: QueuePorts>(&mut self, notification: Notification, ports: &mut P) -> bool {
        match notification {
            Notification::EngineDone { engine } => self.queues.on_engine_done(engine.into(), ports),
            Notification::Fence { qman, stream, fence, increment } => {
                self.queues.on_fence(qman.into(), stream.into(), fence.into(), increment, ports);
            }
            Notification::RegisterWrite { offset, value, .. } => match qman::find(offset) {
                Some((number, inside)) => self.queues.on_register_write(number, inside, value, ports),
                None => return false,
            },
            Notification::EngineError { engine, stopped, .. } => {
                if stopped {
                    self.queues.on_engine_stopped(engine.into());
                }
                // A DMA core sends its error message by itself.
                if let 8..=15 = engine {
                    self.kernel_errors |= 1 << (engine - 8);
                }
            }
            Notification::WriteFailed { initiator, .. } => self.queues.on_write_failed(initiator, ports),
            Notification::PageFault { .. } | Notification::Blocked { .. } | Notification::SyncManagerError { .. } => {
                return false;
            }
        }
        true
    }

    /// Takes the doorbells and runs every ready queue manager for a slice; flushes. True while more can be done at once.
    #[inline]
    pub fn run<P: QueuePorts + Notifications>(&mut self, ports: &mut P) -> bool {
        let doorbells = ports.take_doorbells();
        if doorbells != [0; 2] {
            self.queues.on_doorbells(doorbells, ports);
        }
        let more = self.queues.run(ports);
        ports.flush();
        more
    }

    /// Looks at every doorbell, as at the safety tick.
    pub fn sweep<P: QueuePorts>(&mut self, ports: &mut P) {
        self.queues.check_all_doorbells(ports);
    }

    /// What must be told since the last call. To be called after [`Self::run`], whose flush has made the causes visible.
    pub fn take_reports<P: QueuePorts>(&mut self, ports: &P) -> Reports {
        Reports {
            queue_errors: self.queues.take_errors(),
            kernel_errors: core::mem::take(&mut self.kernel_errors),
            page_fault: self.queues.take_page_fault(),
            reset: self.wants_reset(ports),
        }
    }

    /// Clock value in microseconds at which [`Self::run`] or [`Self::take_reports`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match (self.queues.next_time(), self.grace) {
            (Some(time), Grace::Until(due)) => Some(time.min(due)),
            (None, Grace::Until(due)) => Some(due),
            (time, Grace::None | Grace::Over) => time,
        }
    }

    /// True once when something has been stuck for the time of grace.
    fn wants_reset<P: QueuePorts>(&mut self, ports: &P) -> bool {
        if self.queues.stuck() == 0 {
            self.grace = Grace::None;
            return false;
        }
        match self.grace {
            Grace::None => self.grace = Grace::Until(ports.now_us().saturating_add(RESET_GRACE_US)),
            Grace::Until(due) if ports.now_us() >= due => {
                self.grace = Grace::Over;
                return true;
            }
            Grace::Until(_) | Grace::Over => {}
        }
        false
    }

    /// One round of a core that does nothing but queues. `Some`: sleep until there is work, at most until the clock value.
    pub fn step<P: QueuePorts + Notifications>(&mut self, ports: &mut P) -> Option<Option<u64>> {
        let mut taken = 0;
        while taken < NOTIFICATIONS_PER_STEP
            && let Some(notification) = ports.next()
        {
            taken += 1;
            // Whatever else comes here came to the wrong core.
            let _ = self.on_notification(notification, ports);
        }
        let more = self.run(ports);
        let reports = self.take_reports(ports);
        if !reports.is_empty() {
            send(reports, ports);
        }
        if more || taken != 0 { None } else { Some(self.deadline()) }
    }
}

/// Sends reports to the control core, as the hardware reports errors.
fn send<P: PostedWrites>(reports: Reports, ports: &mut P) {
    for number in reports.interrupts() {
        // At most one write for each QMAN and TPC; the queue engine leaves that much room.
        if ports.available() != 0 {
            ports.post_register(GICD_SETSPI_NSR, number);
        }
    }
    ports.flush();
}
