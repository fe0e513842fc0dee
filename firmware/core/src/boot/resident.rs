//! COMMS after the boot: what the control image still answers.
//!
//! When a heartbeat failed, the driver halts the card and *then* asks for GOTO_WFE or RST_DEV through COMMS, although the
//! control image runs (`boot-protocol.md` 14.2, step R3). Without an answer it waits a minute. So the control image hands every
//! value of KMD_MSG_TO_CPU to [`Resident::on_command`] as long as it lives - also after HALT_MACHINE, when it touches nothing
//! else any more. It never loads an image: that is the business of the boot stages.

use coxswain_abi::comms::{Command, CommandWord, StatusWord};
use coxswain_abi::regs::psoc;

use super::comms::{Server, Step};
use super::loader::Outcome;
use crate::ports::PostedWrites;

/// Posted writes that one call makes at most; the caller makes sure that there is room for them.
pub const POSTS_PER_CALL: usize = 2;

/// The COMMS server of an image that runs.
#[derive(Debug, Clone, Default)]
pub struct Resident {
    server: Server,
}

impl Resident {
    /// A server that has seen no command. The register then still holds the NOOP that ended the loading.
    #[must_use]
    pub const fn new() -> Self {
        Self { server: Server::new() }
    }

    /// Acts on the next value that the host wrote to KMD_MSG_TO_CPU: [`Outcome::Park`] and [`Outcome::Reset`] when the host
    /// wants that, never [`Outcome::Execute`]. Commands that would load something are refused at once.
    pub fn on_command(&mut self, word: u32, posts: &mut impl PostedWrites) -> Outcome {
        let command = match self.server.on_command(CommandWord(word)) {
            Step::Nothing => return Outcome::Continue,
            Step::Publish(status) => {
                publish(status, posts);
                return Outcome::Continue;
            }
            Step::Perform(command) => command.command(),
        };
        let (answer, outcome) = match command {
            Command::GotoWfe => {
                posts.post_status(psoc::CPU_BOOT_STATUS, psoc::boot_status::IN_WFE);
                posts.flush();
                (None, Outcome::Park)
            }
            Command::ResetDevice => (None, Outcome::Reset),
            Command::PrepareDescriptor | Command::DataReady | Command::Execute => {
                (Some(StatusWord::REFUSED), Outcome::Continue)
            }
            _ => (Some(StatusWord::OK), Outcome::Continue),
        };
        if let Some(status) = self.server.complete(answer) {
            publish(status, posts);
        }
        outcome
    }
}

fn publish(status: StatusWord, posts: &mut impl PostedWrites) {
    posts.post_status(psoc::CPU_CMD_STATUS_TO_HOST, status.0);
    posts.flush();
}
