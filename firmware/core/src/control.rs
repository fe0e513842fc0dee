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

use coxswain_abi::comms::{Command, CommandWord, static_mode};
use coxswain_abi::event::{Event, id, interrupt};
use coxswain_abi::regs::{self, cpu_if, psoc};
use coxswain_abi::soc::Notification;

use crate::boot::comms::{Server as CommsServer, Step as CommsStep};
use crate::cpucp::telemetry::Telemetry;
use crate::cpucp::{self, Signal};
use crate::event::EventQueue;
use crate::ports::{Clock, HostMemory, Notifications, PostedWrites, Registers};
use crate::queue::{QueueEngine, QueuePorts};
use crate::queue_core::{NOTIFICATIONS_PER_STEP, QueueCore, Reports};

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
    queues: QueueCore,
    cpucp: cpucp::Server,
    telemetry: T,
    events: EventQueue,
    comms: CommsServer,
    /// HALT_MACHINE or GOTO_WFE arrived: nothing but the reset protocol is served.
    halted: bool,
    /// Packets wait for their turn.
    packets_wait: bool,
}

impl<T: Telemetry> Control<T> {
    /// A control loop for the given QMANs, with `telemetry` as the board's sensors.
    #[must_use]
    pub fn new(queues: QueueEngine, cpucp: cpucp::Server, telemetry: T) -> Self {
        Self {
            queues: QueueCore::new(queues),
            cpucp,
            telemetry,
            events: EventQueue::new(),
            comms: CommsServer::new(),
            halted: false,
            // The handshake may have been asked for before the first look.
            packets_wait: true,
        }
    }

    /// The queue engine, for the state dump.
    #[must_use]
    pub const fn queues(&self) -> &QueueEngine {
        self.queues.queues()
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
        if self.halted {
            let _ = board.take_doorbells();
            board.flush();
            return if taken == NOTIFICATIONS_PER_STEP { Next::Again } else { Next::Sleep(None) };
        }
        let more = self.queues.run(board);
        if core::mem::take(&mut self.packets_wait) {
            self.serve_packets(board);
        }
        let deadline = self.report(board);
        // What arrived since the last look keeps the core awake when it goes to sleep.
        if more || taken == NOTIFICATIONS_PER_STEP || self.packets_wait { Next::Again } else { Next::Sleep(deadline) }
    }

    /// Looks at everything that a lost interrupt or doorbell could have left behind. Call it at the safety tick.
    pub fn sweep<B: ControlBoard>(&mut self, board: &mut B) {
        if !self.halted {
            self.queues.sweep(board);
            self.packets_wait = true;
        }
    }

    fn on_notification<B: ControlBoard>(&mut self, notification: Notification, board: &mut B) -> Next {
        if !self.halted && self.queues.on_notification(notification, board) {
            return Next::Again;
        }
        match notification {
            Notification::RegisterWrite { offset: regs::GICD_SETSPI_NSR, value, .. } => self.on_interrupt(value, board),
            Notification::RegisterWrite { offset: psoc::KMD_MSG_TO_CPU, value, .. } => {
                return self.on_comms(value, board);
            }
            Notification::RegisterWrite { offset: cpu_if::QUEUE_INIT | cpu_if::PF_PQ_PI, .. } => {
                self.packets_wait = true;
            }
            Notification::PageFault { .. } => self.events.post(Event::new(id::MMU_PAGE_FAULT)),
            Notification::Blocked { .. } => self.events.post(Event::new(id::RAZWI_OR_ADC)),
            Notification::SyncManagerError { manager, cause, log } => {
                self.events.post(Event::sync_manager(manager.into(), cause, log));
            }
            _ => {}
        }
        Next::Again
    }

    /// A number written to the interrupt register by the host or by an engine.
    fn on_interrupt<B: ControlBoard>(&mut self, number: u32, board: &mut B) {
        if let Some(event) = interrupt::error_event(number) {
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
        self.queues.halt();
        self.events.stop();
    }

    /// COMMS towards the running image: only what the reset path may send is carried out (`boot-protocol.md` 14.2).
    fn on_comms<B: ControlBoard>(&mut self, word: u32, board: &mut B) -> Next {
        let mut next = Next::Again;
        // The two words of the static protocol that reach a running image; COMMS never sends them.
        match word {
            static_mode::GOTO_WFE => {
                self.halt();
                board.post_status(psoc::CPU_BOOT_STATUS, psoc::boot_status::IN_WFE);
                board.flush();
                return next;
            }
            static_mode::RESET_DEVICE => return Next::Reset,
            _ => {}
        }
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

    /// Posts events for what went wrong, also the request for a reset when a job can no longer complete. Returns the next
    /// deadline.
    fn report<B: ControlBoard>(&mut self, board: &mut B) -> Option<u64> {
        let reports = self.queues.take_reports(board);
        if !reports.is_empty() {
            self.post(reports);
        }
        // Most rounds have no event: they do not even look at the clock.
        if self.events.is_active() {
            let now = board.now_us();
            let (host, posts, _) = board.parts();
            self.events.pump(host, posts, now);
        }
        self.queues.deadline()
    }

    fn post(&mut self, reports: Reports) {
        for event in reports.interrupts().filter_map(interrupt::error_event) {
            self.events.post(Event::new(event));
        }
    }
}
