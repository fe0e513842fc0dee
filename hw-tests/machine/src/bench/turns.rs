//! Turns: several guests exist at once, and one of them works at a time.
//!
//! For measurements that are compared: when guests take turns every second, a machine that is busy with something else for
//! a while is busy for all of them. Owns the order of the turns and nothing else.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;

use crate::interrupt;

/// How often a guest that waits looks whether the harness is interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// Whose turn it is, of a fixed number of guests, round after round.
pub struct Turns {
    guests: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Turns that are over.
    over: usize,
    failed: bool,
}

/// The right of one guest to its turns. Dropping it early is a failure for all.
pub struct Ticket<'a> {
    turns: &'a Turns,
    guest: usize,
    round: usize,
    has_turn: bool,
    done: bool,
}

impl Turns {
    /// Turns for so many guests.
    #[must_use]
    pub fn new(guests: usize) -> Self {
        Self { guests, state: Mutex::new(State { over: 0, failed: false }), changed: Condvar::new() }
    }

    /// The ticket of guest `guest`, counted from 0. Each exists once.
    #[must_use]
    pub fn ticket(&self, guest: usize) -> Ticket<'_> {
        Ticket { turns: self, guest, round: 0, has_turn: false, done: false }
    }
}

impl Ticket<'_> {
    /// Ends the present turn, if there is one, and waits for the next.
    ///
    /// # Errors
    /// Another guest has failed, or the harness is interrupted.
    pub fn take_turn(&mut self) -> anyhow::Result<()> {
        self.end();
        let turn = self.round * self.turns.guests + self.guest;
        let mut state = self.turns.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.over != turn {
            if state.failed {
                bail!(Stopped);
            }
            state = self.turns.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            interrupt::check()?;
        }
        (self.has_turn, self.round) = (true, self.round + 1);
        Ok(())
    }

    /// Ends the last turn.
    pub fn done(mut self) {
        self.end();
        self.done = true;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.has_turn) {
            self.turns.state.lock().unwrap_or_else(PoisonError::into_inner).over += 1;
            self.turns.changed.notify_all();
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.turns.state.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
            self.turns.changed.notify_all();
        }
    }
}

/// Why a guest stopped that had done nothing wrong.
#[derive(Debug)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("another guest failed")
    }
}

impl std::error::Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_work_one_at_a_time_in_their_order() {
        let turns = Turns::new(3);
        let order = Mutex::new(vec![]);
        std::thread::scope(|scope| {
            for guest in [2, 0, 1] {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let mut ticket = turns.ticket(guest);
                    for round in 0..4 {
                        ticket.take_turn().unwrap();
                        order.lock().unwrap().push((round, guest));
                    }
                    ticket.done();
                });
            }
        });
        let expected: Vec<(usize, usize)> = (0..4).flat_map(|round| (0..3).map(move |guest| (round, guest))).collect();
        assert_eq!(order.into_inner().unwrap(), expected);
    }

    #[test]
    fn a_guest_that_fails_ends_the_waiting_of_the_others() {
        let turns = Turns::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.ticket(1).take_turn());
            let mut failing = turns.ticket(0);
            failing.take_turn().unwrap();
            drop(failing);
            assert!(waiting.join().unwrap().unwrap_err().is::<Stopped>());
        });
    }
}
