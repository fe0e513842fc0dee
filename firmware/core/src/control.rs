//! The control loop of the control image: hands every notification to who acts on it.
//!
//! [`Control`] owns the queue engine, the CPUCP server and the event queue of the control core. It decides nothing by
//! itself but the order of things:
//!
//! 1. take notifications and doorbells;
//! 2. run the queues for one slice each, publish, flush;
//! 3. post events - after the flush, so that cause registers are readable before the host is told (`qman.md` 7.3);
//! 4. sleep only when nothing is left.
//!
//! It never waits for the host or for an engine: nothing here blocks the heartbeat (`submission-path.md` 8.3 R5).

use coxswain_abi::comms::{Command, CommandWord};
use coxswain_abi::event::{Event, id, interrupt};
use coxswain_abi::regs::{self, cpu_if, psoc, qman};
use coxswain_abi::soc::Notification;

use crate::boot::comms::{Server as CommsServer, Step as CommsStep};
use crate::cpucp::telemetry::Telemetry;
use crate::cpucp::{self, Signal};
use crate::event::EventQueue;
use crate::ports::{Clock, HostMemory, Notifications, PostedWrites, Registers};
use crate::queue::{QueueEngine, QueuePorts};

/// Notifications taken before the queues get their turn.
const NOTIFICATIONS_PER_STEP: usize = 64;
/// From an error that leaves a job without completion to the request for a reset: the driver reads the cause registers and
/// tells its user in this time (`submission-path.md` 8.3 R3).
pub const RESET_GRACE_US: u64 = 1_500_000;

/// A board as the control loop needs it: every port, and the parts that are used together.
pub trait ControlBoard: QueuePorts + Notifications + Clock {
    /// Host memory port.
    type Host: HostMemory;
    /// Posted-write port.
    type Posts: PostedWrites;
    /// Register port.
    type Shadow: Registers;

    /// Host memory, posted writes and registers at the same time.
    fn parts(&mut self) -> (&mut Self::Host, &mut Self::Posts, &Self::Shadow);
}

/// The CPUCP server's ports, made of a control board's parts.
type CpucpPorts<'a, B, T> =
    cpucp::Ports<'a, <B as ControlBoard>::Shadow, <B as ControlBoard>::Host, <B as ControlBoard>::Posts, T>;

/// What to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// There is more work: call again at once.
    Again,
    /// Sleep until there is work, at most until this clock value in microseconds.
    Sleep(Option<u64>),
    /// The host asked for a reset of the card.
    Reset,
}

/// The control loop's state.
pub struct Control<T> {
    queues: QueueEngine,
    cpucp: cpucp::Server,
    telemetry: T,
    events: EventQueue,
    comms: CommsServer,
    /// HALT_MACHINE or GOTO_WFE arrived: nothing but the reset protocol is served.
    halted: bool,
    /// Packets wait for their turn.
    packets_wait: bool,
    /// When to ask the host for a reset.
    reset_due: Option<u64>,
}

impl<T: Telemetry> Control<T> {
    /// A control loop for the given QMANs, with `telemetry` as the board's sensors.
    #[must_use]
    pub fn new(queues: QueueEngine, cpucp: cpucp::Server, telemetry: T) -> Self {
        Self {
            queues,
            cpucp,
            telemetry,
            events: EventQueue::new(),
            comms: CommsServer::new(),
            halted: false,
            // The handshake may have been asked for before the first look.
            packets_wait: true,
            reset_due: None,
        }
    }

    /// The queue engine, for the state dump.
    #[must_use]
    pub const fn queues(&self) -> &QueueEngine {
        &self.queues
    }

    /// One round. The caller sleeps when it is told to.
    pub fn step<B: ControlBoard>(&mut self, board: &mut B) -> Next {
        let mut taken = 0;
        while taken < NOTIFICATIONS_PER_STEP
            && let Some(notification) = board.next()
        {
            taken += 1;
            if self.on_notification(notification, board) == Next::Reset {
                return Next::Reset;
            }
        }
        let doorbells = board.take_doorbells();
        if self.halted {
            board.flush();
            return if taken == NOTIFICATIONS_PER_STEP { Next::Again } else { Next::Sleep(None) };
        }
        if doorbells != [0; 2] {
            self.queues.on_doorbells(doorbells, board);
        }
        let more = self.queues.run(board);
        board.flush();
        if core::mem::take(&mut self.packets_wait) {
            self.serve_packets(board);
        }
        let deadline = self.report(board);
        if more || taken != 0 || self.packets_wait { Next::Again } else { Next::Sleep(deadline) }
    }

    /// Looks at everything that a lost interrupt or doorbell could have left behind. Call it at the safety tick.
    pub fn sweep<B: ControlBoard>(&mut self, board: &mut B) {
        if !self.halted {
            self.queues.check_all_doorbells(board);
            self.packets_wait = true;
        }
    }

    fn on_notification<B: ControlBoard>(&mut self, notification: Notification, board: &mut B) -> Next {
        match notification {
            Notification::RegisterWrite { offset, value, .. } => return self.on_register(offset, value, board),
            Notification::Fence { qman, stream, fence, increment } => {
                self.queues.on_fence(qman.into(), stream.into(), fence.into(), increment, board);
            }
            Notification::EngineDone { engine } => self.queues.on_engine_done(engine.into()),
            Notification::EngineError { engine, stopped, .. } => {
                if stopped {
                    self.queues.on_engine_stopped(engine.into());
                }
                self.report_engine_error(engine.into());
            }
            Notification::PageFault { .. } => self.events.post(Event::new(id::MMU_PAGE_FAULT)),
            Notification::Blocked { .. } => self.events.post(Event::new(id::RAZWI_OR_ADC)),
            Notification::SyncManagerError { manager, cause, log } => {
                self.events.post(Event::sync_manager(manager.into(), cause, log));
            }
            Notification::WriteFailed { initiator, .. } => self.queues.on_write_failed(initiator, board),
        }
        Next::Again
    }

    /// An engine's own error. A DMA core's also arrives as its error message; the event is the same and joins.
    fn report_engine_error(&mut self, engine: usize) {
        match engine {
            0..=7 => self.events.post(Event::new(id::dma_core(engine))),
            8..=15 => self.events.post(Event::new(id::tpc_kernel_error(engine - 8))),
            _ => {}
        }
    }

    fn on_register<B: ControlBoard>(&mut self, offset: u32, value: u32, board: &mut B) -> Next {
        if let Some((number, inside)) = qman::find(offset) {
            if !self.halted {
                self.queues.on_register_write(number, inside, value, board);
            }
            return Next::Again;
        }
        match offset {
            regs::GICD_SETSPI_NSR => self.on_interrupt(value, board),
            psoc::KMD_MSG_TO_CPU => return self.on_comms(value, board),
            cpu_if::QUEUE_INIT | cpu_if::PF_PQ_PI => self.packets_wait = true,
            _ => {}
        }
        Next::Again
    }

    /// A number written to the interrupt register by the host or by an engine.
    fn on_interrupt<B: ControlBoard>(&mut self, number: u32, board: &mut B) {
        if let Some(event) = interrupt::engine_event(number) {
            self.events.post(Event::new(event));
        } else if number == interrupt::PI_UPDATE {
            self.packets_wait = true;
        } else {
            self.with_cpucp(board, |server, ports, events| server.on_interrupt(number, ports, events));
        }
    }

    fn serve_packets<B: ControlBoard>(&mut self, board: &mut B) {
        self.with_cpucp(board, |server, ports, events| server.tick(ports, events));
    }

    fn with_cpucp<B: ControlBoard>(
        &mut self,
        board: &mut B,
        act: impl FnOnce(&mut cpucp::Server, &mut CpucpPorts<'_, B, T>, &mut EventQueue) -> Signal,
    ) {
        let now_us = board.now_us();
        let (host, posts, registers) = board.parts();
        let mut ports = cpucp::Ports { registers, host, posts, telemetry: &mut self.telemetry, now_us };
        match act(&mut self.cpucp, &mut ports, &mut self.events) {
            Signal::None => {}
            Signal::More => self.packets_wait = true,
            Signal::Halt => self.halt(),
        }
    }

    /// Stops everything that reaches the host. The card is reset next.
    fn halt(&mut self) {
        self.halted = true;
        self.reset_due = None;
        self.queues.reset();
        self.events.stop();
    }

    /// COMMS towards the running image: only what the reset path may send is carried out (`boot-protocol.md` 14.2).
    fn on_comms<B: ControlBoard>(&mut self, word: u32, board: &mut B) -> Next {
        let mut next = Next::Again;
        let publish = match self.comms.on_command(CommandWord(word)) {
            CommsStep::Nothing => None,
            CommsStep::Publish(status) => Some(status),
            CommsStep::Perform(command) => {
                let answer = match command.command() {
                    Command::GotoWfe => {
                        self.halt();
                        board.post_status(psoc::CPU_BOOT_STATUS, psoc::boot_status::IN_WFE);
                        None
                    }
                    Command::ResetDevice => {
                        next = Next::Reset;
                        None
                    }
                    _ => Some(coxswain_abi::comms::StatusWord::REFUSED),
                };
                self.comms.complete(answer)
            }
        };
        if let Some(status) = publish {
            board.post_status(psoc::CPU_CMD_STATUS_TO_HOST, status.0);
        }
        board.flush();
        next
    }

    /// Posts events for what went wrong, and the request for a reset when a job can no longer complete. Returns the next
    /// deadline.
    fn report<B: ControlBoard>(&mut self, board: &mut B) -> Option<u64> {
        let mut errors = self.queues.take_errors();
        while errors != 0 {
            let number = errors.trailing_zeros() as usize;
            errors &= errors - 1;
            self.events.post(Event::new(id::queue_manager(number)));
        }
        if self.queues.take_page_fault() {
            self.events.post(Event::new(id::MMU_PAGE_FAULT));
        }
        let now = board.now_us();
        if self.queues.stuck() == 0 {
            self.reset_due = None;
        } else {
            let due = *self.reset_due.get_or_insert_with(|| now.saturating_add(RESET_GRACE_US));
            if now >= due {
                self.events.post(Event::new(id::DEV_RESET_REQ));
                self.reset_due = Some(u64::MAX);
            }
        }
        let (host, posts, _) = board.parts();
        self.events.pump(host, posts, now);
        self.reset_due.filter(|due| *due != u64::MAX)
    }
}
