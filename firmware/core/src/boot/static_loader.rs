//! The static protocol: one word from the host, one word back (`boot-protocol.md` 7).
//!
//! The older of the two loaders, chosen by a board strap. Everything but the words is the dynamic loader's: where images lie,
//! the buffer they are copied into, how they are checked, what becomes of a refusal. It differs in what it cannot do:
//!
//! * The host does not say how long an image is; the container does. That length is only used to copy: the copy is parsed
//!   again, and one that says something else by then is refused.
//! * A refusal cannot be fast, because the host waits for OK alone (4 s for the boot-fit, 30 s for the control image), and
//!   there is no text: the line about it goes behind the version string that the host shows after the next attempt (in
//!   sysfs; its log shows the number alone).
//! * FIT_RDY is a level. A stage that follows another one in the same load first waits until the host has taken it back.

use coxswain_abi::comms::{VERSION_BYTES, static_mode};
use coxswain_abi::regs::psoc::{self, boot_status};

use super::error::BootError;
use super::fdt;
use super::loader::{Loader, Outcome};
use super::record::Record;
use crate::ports::{CardMemory, PostedWrites};

impl Loader<'_> {
    /// Publishes the stage's version string: where it is, and before that the string itself.
    pub(super) fn publish_version(&mut self, memory: &mut impl CardMemory, posts: &mut impl PostedWrites) {
        let config = &self.config;
        let mut field = [0; VERSION_BYTES];
        let mut place = field.iter_mut().take(VERSION_BYTES - 1);
        let line = self.record.map(|record| record.line());
        let told = line.as_ref().map_or("", |line| line.as_str());
        for (to, from) in place.by_ref().zip(config.version.bytes().chain([b' ']).chain(told.bytes())) {
            *to = from;
        }
        // Card memory is there, or no image could be loaded either; the string is for people.
        let _ = memory.write(config.static_version, &field);
        posts.post_status(config.version_register, config.static_version as u32 & 0x0FFF_FFFF);
    }

    /// Acts on the next value of KMD_MSG_TO_CPU.
    pub(super) fn on_message(
        &mut self,
        word: u32,
        memory: &mut impl CardMemory,
        posts: &mut impl PostedWrites,
    ) -> Outcome {
        match word {
            static_mode::NONE => self.armed = true,
            static_mode::FIT_READY if self.armed => {
                self.armed = false;
                let answer = match self.take_static(memory) {
                    Ok(raise_to) => {
                        // The line has been in the version string of this attempt.
                        Record::erase(memory, self.config.record);
                        self.raise_rollback(raise_to, posts);
                        posts.post_status(psoc::CPU_CMD_STATUS_TO_HOST, static_mode::OK);
                        Outcome::Execute
                    }
                    Err(error) => {
                        self.refuse(error, memory, posts);
                        posts.post_status(psoc::CPU_CMD_STATUS_TO_HOST, static_mode::ERROR);
                        Outcome::Continue
                    }
                };
                posts.flush();
                return answer;
            }
            static_mode::GOTO_WFE => {
                posts.post_status(psoc::CPU_BOOT_STATUS, boot_status::IN_WFE);
                posts.flush();
                return Outcome::Park;
            }
            static_mode::RESET_DEVICE => return Outcome::Reset,
            // FIT_RDY that is still the one of before, SKIP_BMC (there is no controller to skip), anything else.
            _ => {}
        }
        Outcome::Continue
    }

    /// Copies as many bytes as the container says it has, and checks the copy. Returns what its execution raises the rollback
    /// counter to.
    fn take_static(&mut self, memory: &impl CardMemory) -> Result<u32, BootError> {
        let mut start = [0; 8];
        memory.read(self.config.image, &mut start).map_err(|_| BootError::BadConfiguration)?;
        let size = fdt::total_size(&start)?.checked_next_multiple_of(4).ok_or(BootError::TransferSize)?;
        if size > self.config.image_limit {
            return Err(BootError::TransferSize);
        }
        self.take(size, memory)
    }
}
