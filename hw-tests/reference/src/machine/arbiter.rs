//! The arbiter of one QMAN (`qman.md` 6): which upper stream may pass an ARB_POINT request.
//!
//! A request is a stream that waits at such a packet; nothing else is remembered of it.
//!
//! Choices where the document leaves room: streams that are equal take turns in the order of their numbers, starting behind
//! the one that was granted last; a weight is read when the turn of its stream begins; a weight of 0 counts as 1; the quiet period is over when every stream of the QMAN has run
//! up to where it waits.

use std::collections::VecDeque;

use coxswain_abi::regs::qman::{self as regs, LOWER};

use super::{Attributes, Data, Machine, Waiting};

/// Choices that a slave holds (`qman.md` 6.3).
const CHOICES: usize = 64;
/// Credits towards each slave after a reset.
const CREDITS: u32 = 0x40;
/// Largest number of credits: 7 bits.
const CREDITS_MAX: u32 = 0x7F;

/// State of an arbiter.
#[derive(Debug, Clone)]
pub struct Arbiter {
    config: u32,
    /// Stream that may pass and has not released (master).
    owner: Option<usize>,
    /// Stream that was granted last, and the grants in a row that it may still get.
    last: Option<(usize, u32)>,
    /// Streams in the order in which the master chose them (slave).
    choices: VecDeque<usize>,
    credits: [u32; 32],
    /// Priorities of the requests that wait.
    priorities: [u8; LOWER],
    /// An error has stopped it: nothing passes any more, until it is switched off.
    pub stopped: bool,
}

impl Default for Arbiter {
    fn default() -> Self {
        Self {
            config: 0,
            owner: None,
            last: None,
            choices: VecDeque::new(),
            credits: [CREDITS; 32],
            priorities: [0; LOWER],
            stopped: false,
        }
    }
}

/// Effect of a register write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nothing to report.
    Fine,
    /// A choice was pushed although the queue is full.
    Overflow,
}

impl Arbiter {
    /// True when ARB_POINT packets of this stream have an effect.
    fn concerns(&self, stream: usize) -> bool {
        self.config >> 8 & 1 == 1 && self.config >> (12 + stream) & 1 == 0
    }

    fn is_master(&self) -> bool {
        self.config >> 4 & 1 == 1
    }

    fn is_weighted(&self) -> bool {
        self.config & 1 == 1
    }

    /// A stream executes a request; true when it passes.
    pub fn request(&mut self, stream: usize, priority: u8) -> bool {
        if !self.concerns(stream) {
            return true;
        }
        if let Some(slot) = self.priorities.get_mut(stream) {
            *slot = priority;
        }
        self.passes(stream)
    }

    /// True when a request of this stream passes now.
    pub fn passes(&self, stream: usize) -> bool {
        match () {
            () if !self.concerns(stream) => true,
            // The owner of a stopped one has passed already.
            () if self.stopped && !self.is_master() => false,
            () if self.is_master() => self.owner == Some(stream),
            () => self.choices.front() == Some(&stream),
        }
    }

    /// A register of the arbiter was written. Switching it off, or from slave to master or back, forgets owner and choices.
    pub fn write_register(&mut self, offset: u32, value: u32) -> Choice {
        match offset {
            regs::ARB_CFG_0 => {
                let was_master = self.is_master();
                self.config = value;
                if value >> 8 & 1 == 0 || self.is_master() != was_master {
                    self.owner = None;
                    self.last = None;
                    self.stopped = false;
                    self.choices.clear();
                }
            }
            regs::ARB_CHOISE_Q_PUSH if self.choices.len() == CHOICES => return Choice::Overflow,
            regs::ARB_CHOISE_Q_PUSH => self.choices.push_back((value & 3) as usize),
            regs::ARB_MST_CRED_INC => {
                if let Some(credit) = self.credits.get_mut((value & 0x1F) as usize) {
                    *credit = CREDITS_MAX.min(*credit + 1);
                }
            }
            _ => {}
        }
        Choice::Fine
    }

    /// The stream was enabled or disabled.
    pub fn forget(&mut self, stream: usize) {
        if self.owner == Some(stream) {
            self.owner = None;
        }
    }

    /// The request that is granted among those that wait, and the grants that its stream may get right after it.
    fn best(&self, waiting: &[usize], weights: &[u32; LOWER]) -> Option<(usize, u32)> {
        let turn = |stream: usize| match self.last {
            Some((last, _)) => (stream + LOWER - last - 1) % LOWER,
            None => stream,
        };
        if self.is_weighted() {
            if let Some((last, left)) = self.last
                && waiting.contains(&last)
                && left != 0
            {
                return Some((last, left - 1));
            }
            let chosen = waiting.iter().copied().min_by_key(|stream| turn(*stream))?;
            return Some((chosen, weights.get(chosen).map_or(0, |weight| weight.saturating_sub(1))));
        }
        let priority = |stream: usize| self.priorities.get(stream).copied().unwrap_or(0);
        let highest = waiting.iter().map(|stream| priority(*stream)).max()?;
        let equal = waiting.iter().copied().filter(|stream| priority(*stream) == highest);
        equal.min_by_key(|stream| turn(*stream)).map(|stream| (stream, 0))
    }
}

impl Machine {
    /// A release: of the owner for a master, of the stream at the head for a slave; any other is ignored.
    pub(super) fn release(&mut self, number: usize, stream: usize) {
        let Some(qman) = self.qmans.get_mut(&number) else { return };
        let arbiter = &mut qman.arbiter;
        if !arbiter.concerns(stream) {
            return;
        }
        if arbiter.is_master() {
            if arbiter.owner == Some(stream) {
                arbiter.owner = None;
            }
        } else if arbiter.choices.front() == Some(&stream) {
            arbiter.choices.pop_front();
            let identity = self.register(number, regs::ARB_SLV_ID);
            let offset = self.register(number, regs::ARB_SLV_MASTER_INC_CRED_OFST);
            self.arbiter_message(number, offset, identity);
        }
    }

    /// Grants a request of a master if there is one to grant.
    pub(super) fn arbitrate(&mut self, number: usize) -> bool {
        let Some(qman) = self.qmans.get(&number) else { return false };
        let arbiter = &qman.arbiter;
        if !arbiter.is_master() || arbiter.owner.is_some() || arbiter.stopped {
            return false;
        }
        let waiting: Vec<usize> =
            (0..LOWER).filter(|stream| arbiter.concerns(*stream) && self.waits_for_arbiter(number, *stream)).collect();
        let weights = std::array::from_fn(|stream| self.register(number, regs::ARB_WRR_WEIGHT_0 + 4 * stream as u32));
        let Some((chosen, left)) = arbiter.best(&waiting, &weights) else { return false };
        let enabled = self.register(number, regs::ARB_MST_SLAVE_EN);
        let slaves: Vec<usize> = (0..32).filter(|slave| enabled >> slave & 1 == 1).collect();
        if slaves.iter().any(|slave| arbiter.credits[*slave] == 0) {
            return false;
        }
        let Some(qman) = self.qmans.get_mut(&number) else { return false };
        qman.arbiter.owner = Some(chosen);
        qman.arbiter.last = Some((chosen, left));
        for slave in slaves {
            if let Some(credit) = self.qmans.get_mut(&number).and_then(|qman| qman.arbiter.credits.get_mut(slave)) {
                *credit -= 1;
            }
            let offset = self.register(number, regs::ARB_MST_CHOISE_PUSH_OFST_0 + 4 * slave as u32);
            self.arbiter_message(number, offset, chosen as u32);
        }
        true
    }

    fn waits_for_arbiter(&self, number: usize, stream: usize) -> bool {
        self.waiting(number, stream) == Some(Waiting::Arbiter)
    }

    /// A message to another arbiter: a plain write at ARB_BASE plus offset.
    fn arbiter_message(&mut self, number: usize, offset: u32, data: u32) {
        let base = self.register64(number, regs::ARB_BASE_LO, regs::ARB_BASE_HI);
        let attributes = Attributes { secure: false, bypass: true, asid: 0, qman: number, stream: 0 };
        self.write(base.wrapping_add(u64::from(offset)), Data::Value(data), attributes);
    }
}
