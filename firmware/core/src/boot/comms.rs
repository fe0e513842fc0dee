//! The COMMS server: a pure state machine over the values that the host writes to the command register.
//!
//! It owns nothing but its state. [`Server::on_command`] takes every value in the order in which the host wrote it and says
//! what to publish and what to carry out; whoever carries a command out tells the result with [`Server::complete`]. It never
//! touches a register and never decides whether an image is good.
//!
//! # The cycle (`boot-protocol.md` 8.1)
//!
//! | State | Command register | Status written | Next state |
//! |---|---|---|---|
//! | Idle, Done | CLR_STS | 0 | Idle |
//! | Idle, Done, Cleared, Acked | new command X | ACK (ERR when X is unknown) | Acked (Done) |
//! | Acked | CLR_STS | 0 | Cleared |
//! | Cleared | CLR_STS | 0 | Cleared |
//! | Cleared | NOOP | what [`Server::complete`] says | Done, or Idle for a command without an answer |
//! | Idle, Done, Acked | NOOP | - | unchanged |
//!
//! The three races behind it: the host may overwrite CLR_STS with the next command before anybody saw it, so a command is
//! accepted in every state; OK must not be published before the host's NOOP, or the host's wait for status 0 misses it and
//! runs into its 30 s limit; a value may be seen twice (once in the register at start, once as a notification), so a command
//! equal to the last value is not a new command.

use coxswain_abi::comms::{Command, CommandWord, StatusWord};

/// Where the server is in the command cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No command in progress.
    Idle,
    /// A command was acknowledged; the host has not cleared the acknowledgement yet.
    Acked(CommandWord),
    /// The acknowledgement was cleared; the command is carried out at the host's NOOP.
    Cleared(CommandWord),
    /// The command's answer is published.
    Done,
}

/// What a value of the command register means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing to do.
    Nothing,
    /// Publish this status word.
    Publish(StatusWord),
    /// Carry out this command, then call [`Server::complete`] (also when the command leaves the stage and has no answer).
    Perform(CommandWord),
}

/// The COMMS server of one stage.
#[derive(Debug, Clone)]
pub struct Server {
    state: State,
    last: CommandWord,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server that has seen no command.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Idle, last: CommandWord(0) }
    }

    /// Takes the next value of the command register. Any value is accepted.
    pub fn on_command(&mut self, word: CommandWord) -> Step {
        let repeated = word == self.last;
        self.last = word;
        match word.command() {
            Command::ClearStatus => {
                self.state = match self.state {
                    State::Acked(command) | State::Cleared(command) => State::Cleared(command),
                    State::Idle | State::Done => State::Idle,
                };
                Step::Publish(StatusWord::NOOP)
            }
            Command::Noop => match self.state {
                State::Cleared(command) => Step::Perform(command),
                State::Idle | State::Acked(_) | State::Done => Step::Nothing,
            },
            _ if repeated => Step::Nothing,
            Command::Unknown(_) | Command::PrepareDescriptorElbi => {
                self.state = State::Done;
                Step::Publish(StatusWord::ERR)
            }
            _ => {
                self.state = State::Acked(word);
                Step::Publish(StatusWord::ACK)
            }
        }
    }

    /// Ends the command that [`Step::Perform`] handed out: with the status word to publish, or without an answer. Returns
    /// the word to publish.
    pub fn complete(&mut self, answer: Option<StatusWord>) -> Option<StatusWord> {
        self.state = if answer.is_some() { State::Done } else { State::Idle };
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_abi::comms::Status;

    const CLEAR: u32 = 0x0800_0000;
    const RESET_STATE: u32 = 0x1000_0000;
    const PREPARE: u32 = 0x1800_0500;

    fn feed(server: &mut Server, word: u32) -> Step {
        server.on_command(CommandWord(word))
    }

    /// The host's whole cycle, values as in `boot-protocol.md` 8.7.
    #[test]
    fn a_command_is_acknowledged_cleared_performed_and_answered() {
        let mut server = Server::new();
        assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord(0)));
        assert_eq!(feed(&mut server, RESET_STATE), Step::Publish(StatusWord(0x1000_0000)));
        assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord(0)));
        assert_eq!(feed(&mut server, 0), Step::Perform(CommandWord(RESET_STATE)));
        assert_eq!(server.complete(Some(StatusWord::OK)), Some(StatusWord(0x2000_0000)));
        assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord(0)));
        assert_eq!(feed(&mut server, 0), Step::Nothing);
    }

    #[test]
    fn nothing_is_performed_before_the_noop_command() {
        let mut server = Server::new();
        let _ = feed(&mut server, PREPARE);
        assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord::NOOP));
        assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord::NOOP), "CLR_STS may be repeated");
        assert_eq!(feed(&mut server, 0), Step::Perform(CommandWord(PREPARE)));
    }

    #[test]
    fn an_acknowledgement_is_held_until_it_is_cleared() {
        let mut server = Server::new();
        assert_eq!(feed(&mut server, PREPARE), Step::Publish(StatusWord::ACK));
        assert_eq!(feed(&mut server, 0), Step::Nothing);
        assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord::NOOP));
    }

    #[test]
    fn a_command_needs_no_clear_status_before_it() {
        for prefix in [&[][..], &[PREPARE], &[PREPARE, CLEAR], &[PREPARE, CLEAR, 0]] {
            let mut server = Server::new();
            for word in prefix {
                if feed(&mut server, *word) == Step::Perform(CommandWord(PREPARE)) {
                    server.complete(Some(StatusWord::OK));
                }
            }
            assert_eq!(feed(&mut server, RESET_STATE), Step::Publish(StatusWord::ACK));
            assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord::NOOP));
            assert_eq!(feed(&mut server, 0), Step::Perform(CommandWord(RESET_STATE)), "the older command is dropped");
        }
    }

    #[test]
    fn a_value_seen_twice_is_one_command() {
        let mut server = Server::new();
        assert_eq!(feed(&mut server, PREPARE), Step::Publish(StatusWord::ACK));
        assert_eq!(feed(&mut server, PREPARE), Step::Nothing);
        let _ = feed(&mut server, CLEAR);
        assert_eq!(feed(&mut server, PREPARE), Step::Publish(StatusWord::ACK), "after another value it is a new one");
    }

    #[test]
    fn an_unknown_command_is_answered_with_an_error_and_the_next_one_works() {
        for number in [9, 10, 11, 31] {
            let mut server = Server::new();
            assert_eq!(feed(&mut server, number << 27), Step::Publish(StatusWord::new(Status::Err)));
            assert_eq!(feed(&mut server, CLEAR), Step::Publish(StatusWord::NOOP));
            assert_eq!(feed(&mut server, 0), Step::Nothing);
            assert_eq!(feed(&mut server, RESET_STATE), Step::Publish(StatusWord::ACK));
        }
    }

    #[test]
    fn a_command_without_an_answer_leaves_the_status_alone() {
        let mut server = Server::new();
        let _ = feed(&mut server, 0x3800_0000);
        let _ = feed(&mut server, CLEAR);
        assert_eq!(feed(&mut server, 0), Step::Perform(CommandWord(0x3800_0000)));
        assert_eq!(server.complete(None), None);
        assert_eq!(feed(&mut server, 0), Step::Nothing, "and is not performed again");
    }
}
