//! The arbiter of one QMAN: which upper stream may pass an ARB_POINT request (`qman.md` 6).
//!
//! A *master* grants one stream at a time, by priority or by weight, and tells its slaves; a *slave* lets the streams pass in
//! the order in which its master told it. Messages between QMANs are ordinary register writes.
//!
//! A grant is decided only when every stream of the QMAN has run up to where it blocks, so that a stream that releases and
//! requests again takes part in the decision (`qman.md` 6.2). [`Arbiter::decide`] is called then. The quiet period of the
//! hardware is shorter than that and needs no timer.

use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman::{self as regs, LOWER};
use coxswain_abi::soc::{Attributes, PostedWrite};
use heapless::Deque;

use crate::ports::{PostedWrites, Registers};

/// Upper streams.
const STREAMS: usize = LOWER;
/// Slaves of a master.
const SLAVES: usize = 32;
/// Choices that a slave can hold.
const CHOICES: usize = 64;
/// Posted writes of one decision at most: every slave is told.
pub(super) const ROOM: usize = SLAVES;
/// Credits towards each slave after a reset (ARB_MST_AVAIL_CRED).
const CREDITS: u8 = 0x40;

/// ARB_CFG_0: weighted round robin instead of priority.
const WEIGHTED: u32 = 1 << 0;
/// ARB_CFG_0: master.
const MASTER: u32 = 1 << 4;
/// ARB_CFG_0: on.
const ENABLE: u32 = 1 << 8;

/// Answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// Go on.
    Pass,
    /// Wait for a grant.
    Wait,
}

/// What a register write asks of the QMAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Streams that wait may be able to pass.
    Wake,
    /// A choice was pushed although the queue is full.
    Overflow,
}

/// State of an arbiter.
#[derive(Debug)]
pub(super) struct Arbiter {
    config: u32,
    /// Priorities of the streams that wait for a grant.
    requests: [Option<u8>; STREAMS],
    /// Bit per stream that waits for a grant: what [`Self::has_requests`] looks at after every turn of every stream.
    waiting: u8,
    owner: Option<u8>,
    /// Stream after the one that was granted last.
    cursor: usize,
    /// Consecutive grants that stream `cursor - 1` may still get.
    grants_left: u32,
    /// Choices of the master, for a slave.
    choices: Deque<u8, CHOICES>,
    credits: [u8; SLAVES],
    /// An error has stopped it: nothing passes any more.
    stopped: bool,
    /// The head of `choices` is another one than at the last [`Self::watch`].
    new_head: bool,
    /// Clock value, microseconds, at which the head of `choices` has stood too long.
    head_due: Option<u64>,
}

impl Arbiter {
    pub const fn new() -> Self {
        Self {
            config: 0,
            requests: [None; STREAMS],
            waiting: 0,
            owner: None,
            cursor: 0,
            grants_left: 0,
            choices: Deque::new(),
            credits: [CREDITS; SLAVES],
            stopped: false,
            new_head: false,
            head_due: None,
        }
    }

    /// True when an ARB_POINT of this stream has an effect.
    fn concerns(&self, stream: usize) -> bool {
        self.config & ENABLE != 0 && self.config >> (12 + stream) & 1 == 0
    }

    fn is_master(&self) -> bool {
        self.config & MASTER != 0
    }

    /// A stream executes a request.
    pub fn request(&mut self, stream: usize, priority: u8) -> Passage {
        if !self.concerns(stream) {
            return Passage::Pass;
        }
        let mine = Some(stream as u8);
        if self.is_master() {
            if self.owner == mine {
                return Passage::Pass;
            }
            self.set_request(stream, Some(priority));
            return Passage::Wait;
        }
        if self.stopped {
            return Passage::Wait;
        }
        if self.choices.front().copied() == mine { Passage::Pass } else { Passage::Wait }
    }

    /// A stream executes a release. That of a stream which is not the owner is ignored.
    pub fn release<P: PostedWrites + Registers>(&mut self, stream: usize, base: u32, ports: &mut P) {
        if !self.concerns(stream) {
            return;
        }
        let mine = Some(stream as u8);
        if self.is_master() {
            if self.owner == mine {
                self.owner = None;
            }
        } else if self.choices.front().copied() == mine {
            self.choices.pop_front();
            self.new_head = true;
            let offset = ports.read(base + regs::ARB_SLV_MASTER_INC_CRED_OFST);
            let number = ports.read(base + regs::ARB_SLV_ID) & 0x1F;
            post(base, offset, number, ports);
        }
    }

    /// The stream of a slave whose turn it is.
    pub fn turn(&self) -> Option<usize> {
        let stream = self.choices.front().filter(|_| !self.is_master() && !self.stopped)?;
        Some(usize::from(*stream))
    }

    /// True when [`Self::decide`] may grant something.
    #[inline]
    pub fn has_requests(&self) -> bool {
        self.waiting != 0 && self.owner.is_none() && !self.stopped
    }

    /// An error stops it, until it is switched off.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// True when an error has stopped it.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Choices that a slave holds, and the stream at their head.
    pub fn choices(&self) -> (u32, u32) {
        (self.choices.len() as u32, self.choices.front().copied().unwrap_or(0).into())
    }

    /// True when [`Self::watch`] has something to do.
    #[inline]
    pub fn has_new_head(&self) -> bool {
        self.new_head
    }

    /// Starts the watchdog of a new head; `limit` is in cycles of 1 ns, 0 for none (`qman.md` 6.3).
    pub fn watch(&mut self, now: u64, limit: u32) {
        self.new_head = false;
        let watched = limit != 0 && !self.choices.is_empty();
        // Rather late than early: the clock may be about to tick.
        self.head_due = watched.then(|| now.saturating_add(u64::from(limit) / 1000 + 1));
    }

    /// When the head has stood too long.
    #[inline]
    pub fn due(&self) -> Option<u64> {
        self.head_due
    }

    /// True once when the head has stood too long at `now`.
    pub fn is_overdue(&mut self, now: u64) -> bool {
        let overdue = self.head_due.is_some_and(|due| due <= now);
        if overdue {
            self.head_due = None;
        }
        overdue
    }

    fn set_request(&mut self, stream: usize, priority: Option<u8>) {
        if let Some(slot) = self.requests.get_mut(stream) {
            *slot = priority;
            self.waiting = self.waiting & !(1 << stream) | u8::from(priority.is_some()) << stream;
        }
    }

    /// Grants the next stream when nobody owns the arbiter and every slave has a credit; returns the stream. There must be
    /// [`ROOM`] for posted writes.
    pub fn decide<P: PostedWrites + Registers>(&mut self, base: u32, ports: &mut P) -> Option<usize> {
        if self.config & (ENABLE | MASTER) != ENABLE | MASTER || self.owner.is_some() {
            return None;
        }
        let slaves = ports.read(base + regs::ARB_MST_SLAVE_EN);
        let told = |number: &usize| slaves >> number & 1 != 0;
        if (0..SLAVES).filter(told).any(|number| self.credits.get(number).copied().unwrap_or(0) == 0) {
            return None;
        }
        let stream = if self.config & WEIGHTED != 0 { self.by_weight(base, ports) } else { self.by_priority() }?;
        self.set_request(stream, None);
        self.owner = Some(stream as u8);
        for number in (0..SLAVES).filter(told) {
            if let Some(credit) = self.credits.get_mut(number) {
                *credit = credit.saturating_sub(1);
            }
            let offset = ports.read(base + regs::ARB_MST_CHOISE_PUSH_OFST_0 + 4 * number as u32);
            post(base, offset, stream as u32, ports);
        }
        Some(stream)
    }

    /// The largest priority; equal ones take turns.
    fn by_priority(&mut self) -> Option<usize> {
        let order = (0..STREAMS).map(|step| (self.cursor + step) % STREAMS);
        let mut best: Option<(usize, u8)> = None;
        for stream in order {
            if let Some(priority) = self.requests.get(stream).copied().flatten()
                && best.is_none_or(|(_, before)| priority > before)
            {
                best = Some((stream, priority));
            }
        }
        let (stream, _) = best?;
        self.cursor = (stream + 1) % STREAMS;
        Some(stream)
    }

    /// Stream n gets up to ARB_WRR_WEIGHT_n grants in a row while it asks (`qman.md` 10 #19).
    fn by_weight<R: Registers>(&mut self, base: u32, registers: &R) -> Option<usize> {
        let last = (self.cursor + STREAMS - 1) % STREAMS;
        if self.grants_left != 0 && self.requests.get(last).copied().flatten().is_some() {
            self.grants_left -= 1;
            return Some(last);
        }
        let stream = (0..STREAMS)
            .map(|step| (self.cursor + step) % STREAMS)
            .find(|stream| self.requests.get(*stream).copied().flatten().is_some())?;
        self.cursor = (stream + 1) % STREAMS;
        self.grants_left = registers.read(base + regs::ARB_WRR_WEIGHT_0 + 4 * stream as u32).saturating_sub(1);
        Some(stream)
    }

    /// A register of the arbiter was written.
    pub fn on_register_write(&mut self, inside: u32, value: u32) -> Change {
        match inside {
            regs::ARB_CFG_0 => {
                if value & ENABLE == 0 || (value ^ self.config) & MASTER != 0 {
                    *self = Self { credits: self.credits, new_head: true, ..Self::new() };
                }
                self.config = value;
                // A masked stream passes without a grant.
                for stream in 0..STREAMS {
                    if value >> (12 + stream) & 1 != 0 {
                        self.set_request(stream, None);
                    }
                }
                Change::Wake
            }
            regs::ARB_CHOISE_Q_PUSH => match self.choices.push_back((value & 3) as u8) {
                Ok(()) => {
                    self.new_head |= self.choices.len() == 1;
                    Change::Wake
                }
                Err(_) => Change::Overflow,
            },
            regs::ARB_MST_CRED_INC => {
                if let Some(credit) = self.credits.get_mut((value & 0x1F) as usize) {
                    *credit = credit.saturating_add(1).min(0x7F);
                }
                Change::Wake
            }
            _ => Change::None,
        }
    }

    /// Forgets the request of a stream that is stopped: it asks again when it goes on.
    pub fn withdraw(&mut self, stream: usize) {
        self.set_request(stream, None);
    }

    /// Forgets the request and the ownership of a stream.
    pub fn forget(&mut self, stream: usize) {
        self.withdraw(stream);
        if self.owner == Some(stream as u8) {
            self.owner = None;
        }
    }
}

/// A message to the arbiter of another QMAN: an ordinary, non-secure write at ARB_BASE plus offset.
fn post<P: PostedWrites + Registers>(base: u32, offset: u32, data: u32, ports: &mut P) {
    let low = ports.read(base + regs::ARB_BASE_LO);
    let high = ports.read(base + regs::ARB_BASE_HI);
    let target = (u64::from(low) | u64::from(high) << 32).wrapping_add(u64::from(offset));
    // An unset base reads 0; nothing of the arbiters lies outside the register space.
    if target >= CFG_BASE && target % 4 == 0 {
        let number = regs::find(base).map_or(0, |(number, _)| number);
        let attributes = Attributes::new(false, true, 0, coxswain_abi::soc::initiator(number, 0));
        ports.post(PostedWrite { address: target, data, attributes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::OneByOne;

    struct NoPorts;

    impl Registers for NoPorts {
        fn read(&self, offset: u32) -> u32 {
            // Weights 2, 1, 1, 1; no slaves.
            if offset == 0x50_8000 + regs::ARB_WRR_WEIGHT_0 { 2 } else { u32::from(offset & 0xFF0 == 0xA10) }
        }
    }

    impl PostedWrites for NoPorts {
        type Burst<'a> = OneByOne<'a, Self>;

        fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Self::Burst<'_>) -> R) -> R {
            let room = self.available().saturating_sub(keep);
            fill(&mut OneByOne { port: self, room })
        }

        fn available(&self) -> usize {
            1000
        }
        fn post(&mut self, _: PostedWrite) {}
        fn flush(&mut self) {}
    }

    const BASE: u32 = 0x50_8000;

    fn master(config: u32) -> Arbiter {
        let mut arbiter = Arbiter::new();
        arbiter.on_register_write(regs::ARB_CFG_0, config);
        arbiter
    }

    #[test]
    fn the_largest_priority_wins_and_equal_ones_take_turns() {
        let mut arbiter = master(0x110);
        for (stream, priority) in [(0, 1), (1, 5), (2, 5), (3, 0)] {
            assert_eq!(arbiter.request(stream, priority), Passage::Wait);
        }
        for expected in [1, 2, 0, 3] {
            assert_eq!(arbiter.decide(BASE, &mut NoPorts), Some(expected));
            assert_eq!(arbiter.decide(BASE, &mut NoPorts), None, "one owner at a time");
            assert_eq!(arbiter.request(expected, 0), Passage::Pass);
            arbiter.release((expected + 1) % 4, BASE, &mut NoPorts);
            assert_eq!(arbiter.decide(BASE, &mut NoPorts), None, "the release of another stream is ignored");
            arbiter.release(expected, BASE, &mut NoPorts);
        }
    }

    #[test]
    fn a_weight_is_a_number_of_grants_in_a_row() {
        let mut arbiter = master(0x111);
        let mut granted = [0; 6];
        for slot in &mut granted {
            for stream in [0, 1] {
                arbiter.request(stream, 0);
            }
            *slot = arbiter.decide(BASE, &mut NoPorts).unwrap();
            arbiter.release(*slot, BASE, &mut NoPorts);
        }
        assert_eq!(granted, [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn a_masked_stream_and_a_disabled_arbiter_let_everything_pass() {
        let mut arbiter = master(0x110 | 1 << 13);
        assert_eq!(arbiter.request(1, 0), Passage::Pass);
        assert_eq!(arbiter.request(0, 0), Passage::Wait);
        assert_eq!(arbiter.on_register_write(regs::ARB_CFG_0, 0), Change::Wake);
        assert_eq!(arbiter.request(0, 0), Passage::Pass);
        assert_eq!(arbiter.decide(BASE, &mut NoPorts), None);
    }

    #[test]
    fn a_slave_follows_its_choices_in_order_and_reports_one_too_many() {
        let mut arbiter = master(0x100);
        arbiter.on_register_write(regs::ARB_CHOISE_Q_PUSH, 2);
        arbiter.on_register_write(regs::ARB_CHOISE_Q_PUSH, 0);
        assert_eq!(arbiter.request(0, 0), Passage::Wait);
        assert_eq!(arbiter.request(2, 0), Passage::Pass);
        arbiter.release(2, BASE, &mut NoPorts);
        assert_eq!(arbiter.request(0, 0), Passage::Pass);
        for _ in 1..CHOICES {
            assert_eq!(arbiter.on_register_write(regs::ARB_CHOISE_Q_PUSH, 1), Change::Wake);
        }
        assert_eq!(arbiter.on_register_write(regs::ARB_CHOISE_Q_PUSH, 1), Change::Overflow);
    }
}
