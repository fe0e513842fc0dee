//! Queue managers: what a QMAN does, in software.
//!
//! One [`QueueEngine`] per core owns the QMANs that are assigned to that core and nothing else writes to them. A QMAN has
//! four upper streams, a lower command processor and one engine. A stream is a small state machine: fetch, execute packets
//! until something blocks, remember *why* ([`Blocked`]), yield. What unblocks it is an event - doorbell, engine completion,
//! fence increment, register write; nothing polls.
//!
//! * [`stream`] - one stream: its command buffer, fetched block, fences and state.
//! * [`pq`] - the ring of buffer descriptors, with host-written indices made safe.
//! * [`fetch`] - blocks of a command buffer, of any alignment, as 64-bit words.
//! * [`cp`] - the command processor: executes packets; [`fast`] - a run of the frequent ones; [`bulk`] and [`load`] -
//!   WREG_BULK and LOAD_AND_EXE.
//! * [`arbiter`] - who may pass an ARB_POINT. [`timer`] - fence increments of WAIT packets.
//! * [`engine`] - jobs given to the engine behind the QMAN.
//! * [`qman`] - one QMAN: scheduling of its streams, configuration, errors.
//! * [`trace`] - the instrumented turn of a stream.
//! * [`status`] - what hosts can read: published when it changed, at the end of a round.
//!
//! Ordering: everything a command processor writes goes through the posted-write ring, which is applied strictly in order.
//! Therefore register and message barriers (RB, MB) are satisfied by construction for all that is hardware; the engine barrier
//! (EB) waits, and a request to the arbiter, whose registers the firmware keeps itself, waits for the messages before it
//! (`qman.md` 5.2, `decisions.md` 3.4). A message that writes a fence *counter* of its own stream is not waited for.
//!
//! Fairness: a stream runs at most [`SLICE`] words of packets, then the next ready stream of the QMAN and the next QMAN get their
//! turn.

mod arbiter;
mod bulk;
mod cp;
mod engine;
mod fast;
mod fetch;
mod load;
mod pq;
mod qman;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod trace;

use alloc::boxed::Box;

use coxswain_abi::regs::qman::EngineKind;
use coxswain_abi::soc::QMANS;
use coxswain_abi::trace::Event;

use crate::ports::{Clock, DeviceMemory, PostedWrites, Registers, Trace};
use qman::Qman;
pub use stream::Blocked;

/// Words of packets that a stream executes before it yields; a buffer counts as one more.
pub const SLICE: usize = 256;

/// Posted writes that one packet or one status update of a stream needs at most.
pub(crate) const ROOM: usize = 24;

/// What the board says about one QMAN.
#[derive(Debug, Clone, Copy)]
pub struct QmanDescription {
    /// QMAN number on the card; part of initiator numbers and notifications.
    pub number: u8,
    /// CFG offset of the register block.
    pub base: u32,
    /// CFG offset of the engine block at window offset 0.
    pub engine_base: u32,
    /// Engine behind the QMAN.
    pub engine: EngineKind,
    /// Jobs that the engine accepts, including the one in execution.
    pub engine_depth: u16,
}

/// Everything the queue engine needs from a board.
pub trait QueuePorts: Registers + PostedWrites + DeviceMemory + Clock + Trace {}
impl<T: Registers + PostedWrites + DeviceMemory + Clock + Trace> QueuePorts for T {}

/// The queue managers of one core. Their state is allocated when they are added, at start-up; nothing else allocates.
pub struct QueueEngine {
    qmans: [Option<Box<Qman>>; QMANS],
    /// Bit per QMAN with a stream that can run.
    ready: u32,
    /// Bit per QMAN whose status may have changed since it was published.
    touched: u32,
    /// Bit per QMAN that is stuck, see [`Self::stuck`].
    stuck: u32,
    /// Bit per QMAN with a new error to report.
    errors: u32,
    /// A page fault of a command buffer read waits to be reported.
    page_fault: bool,
    /// Bit per QMAN with fence increments that are due later.
    timed: u32,
}

impl QueueEngine {
    /// A queue engine without QMANs.
    #[must_use]
    pub const fn new() -> Self {
        Self { qmans: [const { None }; QMANS], ready: 0, touched: 0, stuck: 0, errors: 0, page_fault: false, timed: 0 }
    }

    /// Takes over a QMAN. A description with a number of [`QMANS`] or more is ignored.
    pub fn add(&mut self, description: QmanDescription) {
        if let Some(slot) = self.qmans.get_mut(usize::from(description.number)) {
            *slot = Some(Box::new(Qman::new(description)));
        }
    }

    /// Forgets all work and all state, as after a reset of the card.
    pub fn reset(&mut self) {
        for qman in self.qmans.iter_mut().flatten() {
            qman.reset();
        }
        self.ready = 0;
        self.touched = 0;
        self.stuck = 0;
        self.errors = 0;
        self.page_fault = false;
        self.timed = 0;
    }

    /// Acts on a doorbell bitmap: bit `4 * qman + stream`.
    pub fn on_doorbells<P: QueuePorts>(&mut self, doorbells: [u64; 2], ports: &mut P) {
        for (half, mut bits) in doorbells.into_iter().enumerate() {
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize + 64 * half;
                bits &= bits - 1;
                if ports.is_tracing() {
                    ports.record(Event::Doorbell { qman: (bit / 4) as u8, stream: (bit % 4) as u8 });
                }
                self.with(bit / 4, |qman| qman.on_doorbell(bit % 4, ports));
            }
        }
    }

    /// Looks at the producer index of every enabled stream, as if all doorbells had rung: heals a lost doorbell.
    pub fn check_all_doorbells<P: QueuePorts>(&mut self, ports: &mut P) {
        for number in 0..QMANS {
            self.with(number, |qman| {
                for stream in 0..4 {
                    qman.on_doorbell(stream, ports);
                }
            });
        }
    }

    /// Acts on a write to register `inside` (offset in the block) of QMAN `number`.
    pub fn on_register_write<P: QueuePorts>(&mut self, number: usize, inside: u32, value: u32, ports: &mut P) {
        self.with(number, |qman| qman.on_register_write(inside, value, ports));
    }

    /// Adds to a fence counter.
    pub fn on_fence<P: QueuePorts>(
        &mut self,
        number: usize,
        stream: usize,
        fence: usize,
        increment: u8,
        ports: &mut P,
    ) {
        if ports.is_tracing() {
            ports.record(Event::Fence { qman: number as u8, stream: stream as u8, id: fence as u8, increment });
        }
        self.with(number, |qman| qman.on_fence(stream, fence, increment, ports));
    }

    /// The engine behind QMAN `number` finished a job.
    pub fn on_engine_done<P: QueuePorts>(&mut self, number: usize, ports: &mut P) {
        self.with(number, |qman| {
            qman.on_engine_done();
            if ports.is_tracing() {
                trace::jobs(qman, ports);
            }
        });
    }

    /// The engine behind QMAN `number` stopped with an error: its jobs will not complete.
    pub fn on_engine_stopped(&mut self, number: usize) {
        self.with(number, |qman| qman.on_engine_stopped());
    }

    /// A message of the given initiator got an error answer.
    pub fn on_write_failed<P: QueuePorts>(&mut self, initiator: u8, ports: &mut P) {
        let stream = usize::from(initiator & 7);
        self.with(usize::from(initiator >> 3), |qman| qman.on_write_failed(stream, ports));
    }

    /// Carries out the fence increments of WAIT packets that are due at clock value `now` (microseconds).
    fn on_time<P: QueuePorts>(&mut self, now: u64, ports: &mut P) {
        let Some(due) = self.next_time() else { return };
        if due <= now {
            for number in 0..QMANS {
                self.with(number, |qman| qman.on_time(now, ports));
            }
        }
    }

    /// Clock value (microseconds) at which [`Self::run`] has something to do: fence increments of WAIT packets.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        let mut set = self.timed;
        let mut next: Option<u64> = None;
        while set != 0 {
            let number = set.trailing_zeros() as usize;
            set &= set - 1;
            let due = self.qmans.get(number).and_then(Option::as_ref).and_then(|qman| qman.next_time());
            next = match (next, due) {
                (Some(next), Some(due)) => Some(next.min(due)),
                (next, due) => next.or(due),
            };
        }
        next
    }

    /// Runs every ready QMAN for one slice and publishes what changed. Returns true while there is work that can go on at
    /// once. The caller flushes the ports.
    pub fn run<P: QueuePorts>(&mut self, ports: &mut P) -> bool {
        if self.timed != 0 {
            let now = ports.now_us();
            self.on_time(now, ports);
        }
        // Two loops, chosen where streams yield: the plain one pays nothing for the trace.
        if ports.is_tracing() {
            self.run_traced(ports)
        } else {
            self.run_slices::<P, false>(ports)
        }
        self.publish(ports);
        // What found no room to be published is work as well.
        self.ready | self.touched != 0
    }

    /// The instrumented loop, out of the way of the plain one.
    #[cold]
    #[inline(never)]
    fn run_traced<P: QueuePorts>(&mut self, ports: &mut P) {
        self.run_slices::<P, true>(ports);
    }

    /// Runs every ready QMAN for one slice.
    #[inline]
    fn run_slices<P: QueuePorts, const TRACED: bool>(&mut self, ports: &mut P) {
        let mut round = self.ready;
        while round != 0 {
            let number = round.trailing_zeros() as usize;
            round &= round - 1;
            if TRACED {
                self.with(number, |qman| trace::run_slice(qman, ports));
            } else {
                self.with(number, |qman| qman.run_slice(ports));
            }
        }
    }

    /// Takes the set of QMANs with a new error since the last call: bit per QMAN. Their cause registers have been posted.
    pub fn take_errors(&mut self) -> u32 {
        core::mem::take(&mut self.errors)
    }

    /// True once after a command buffer read ended in a page fault; the board has latched the address.
    pub fn take_page_fault(&mut self) -> bool {
        core::mem::take(&mut self.page_fault)
    }

    /// Bit per QMAN that has work pending but cannot finish it by itself: a stopped stream or a stopped engine.
    #[inline]
    #[must_use]
    pub const fn stuck(&self) -> u32 {
        self.stuck
    }

    /// Why stream `stream` of QMAN `number` waits; `None` when it is idle, ready or absent.
    #[must_use]
    pub fn blocked(&self, number: usize, stream: usize) -> Option<Blocked> {
        self.qmans.get(number)?.as_ref()?.blocked(stream)
    }

    fn publish<P: QueuePorts>(&mut self, ports: &mut P) {
        let mut set = core::mem::take(&mut self.touched);
        while set != 0 {
            let number = set.trailing_zeros() as usize;
            set &= set - 1;
            if let Some(Some(qman)) = self.qmans.get_mut(number)
                && !qman.publish(ports)
            {
                // No room: the rest is published in a later round.
                self.touched |= 1 << number;
            }
        }
    }

    fn with(&mut self, number: usize, act: impl FnOnce(&mut Qman)) {
        if let Some(Some(qman)) = self.qmans.get_mut(number) {
            act(qman);
            let bit = 1 << number;
            self.touched |= bit;
            self.ready = if qman.is_ready() { self.ready | bit } else { self.ready & !bit };
            if qman.wants_attention() || (self.stuck | self.timed) & bit != 0 {
                self.attend(number);
            }
        }
    }

    /// Takes over what is out of the ordinary in a QMAN.
    #[cold]
    fn attend(&mut self, number: usize) {
        if let Some(Some(qman)) = self.qmans.get_mut(number) {
            let bit = 1 << number;
            self.stuck = self.stuck & !bit | u32::from(qman.is_stuck()) << number;
            self.errors |= u32::from(qman.take_error()) << number;
            self.page_fault |= qman.take_page_fault();
            self.timed = self.timed & !bit | u32::from(qman.next_time().is_some()) << number;
        }
    }
}

impl Default for QueueEngine {
    fn default() -> Self {
        Self::new()
    }
}
