//! "Load the next image": what the ROM does for the boot-fit and the boot-fit for the control image.
//!
//! A [`Loader`] owns the COMMS server, the transfer in progress and the buffer into which an image is copied *before* it is
//! checked. It publishes descriptors, status and error registers through the ports. It never jumps: it says
//! [`Outcome::Execute`] and the stage's main, which knows the machine, does it.
//!
//! # Use
//!
//! 1. Publish the stage's own registers (STS0, STS1) as `boot-protocol.md` 11 and 18 say.
//! 2. [`Loader::start`] - publishes ERR0, ERR1, the cleared command status and the stage's CPU_BOOT_STATUS, in this order.
//! 3. Hand every value of KMD_MSG_TO_CPU, in order, to [`Loader::on_command`] and follow its [`Outcome`].
//!
//! The protocol is COMMS, or the static one of [`Config::statically`] (`static_loader.rs`).
//!
//! # A refused image
//!
//! The answer is an OK word whose RAM type the driver rejects at once; ERR0 then says why ([`BootError::err0_bits`]) and the line with the
//! error's number goes into the next descriptor, also after a reset (see [`record`](super::record)). The loader stays as it
//! was: RST_STATE or PREP_DESC begins a new attempt and clears ERR0.

use coxswain_abi::comms::{
    Command, CommandWord, DESCRIPTOR_BYTES, Descriptor, HostMessage, MessageLevel, ResetCause, StatusWord,
};
use coxswain_abi::regs::{self, psoc};
use zerocopy::IntoBytes;

use super::comms::{Server, Step};
use super::error::BootError;
use super::fit::{Expected, Image, Stage};
use super::record::Record;
use super::trust::{self, Trust};
use super::version;
use crate::ports::{CardMemory, PostedWrites};

/// Posted writes that one call of [`Loader::on_command`] or [`Loader::start`] makes at most. The caller makes sure that there
/// is room for them.
pub const POSTS_PER_CALL: usize = 5;

/// Where a stage takes its image from and what it says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Version string of this stage (not of the image).
    pub version: &'static str,
    /// Device address of the descriptor, in SRAM or in the first 256 MiB of HBM.
    pub descriptor: u64,
    /// Device address where the host puts the image.
    pub image: u64,
    /// Largest acceptable image in bytes.
    pub image_limit: u32,
    /// CPU_BOOT_STATUS while this stage waits for its image.
    pub waiting_status: u32,
    /// Device address of the failure record; it must survive a reset of the card.
    pub record: u64,
    /// The image this stage executes.
    pub expected: Expected,
    /// Speak the static protocol instead of COMMS.
    pub is_static: bool,
    /// Static protocol: device address of the version string, in SRAM.
    pub static_version: u64,
    /// Static protocol: register that says where the version string is.
    pub version_register: u32,
    /// Static protocol: the stage that ran before in the same load may have left FIT_RDY in the register.
    pub follows_another: bool,
}

/// Largest image of any stage: the driver checks the address of a 1280-byte request against the size of the image it loaded
/// *before* the reset, so what the ROM offers must have room for the largest control image below the end of SRAM, strictly
/// (`boot-protocol.md` 8.6).
pub const LARGEST_IMAGE: u32 = (regs::SRAM_SIZE - ROM_IMAGE_OFFSET - 4) as u32;
/// Offset in SRAM at which the ROM lets the host put images; the place of the static loader, too.
const ROM_IMAGE_OFFSET: u64 = 0x20_0000;
/// Device address of the failure record: HBM's firmware area, which survives SW_ALL_RST (`decisions.md` 3.11).
pub const RECORD_ADDRESS: u64 = regs::HBM_BASE + 0x10_1000;

impl Config {
    /// The ROM's transfer: descriptor and image in SRAM. `load` is where a boot-fit may be loaded, `trust` what the fuses say.
    #[must_use]
    pub const fn rom(load: core::ops::Range<u64>, trust: Trust) -> Self {
        Self {
            version: version::PREBOOT,
            descriptor: regs::SRAM_BASE + 0x1000,
            image: regs::SRAM_BASE + ROM_IMAGE_OFFSET,
            image_limit: LARGEST_IMAGE,
            waiting_status: psoc::boot_status::WAITING_FOR_BOOT_FIT,
            record: RECORD_ADDRESS,
            expected: Expected { stage: Stage::BootFit, load, trust },
            is_static: false,
            static_version: regs::SRAM_BASE + 0x1800,
            version_register: psoc::PREBOOT_VER_OFFSET,
            follows_another: false,
        }
    }

    /// The same with the static protocol when `is_static`.
    #[must_use]
    pub const fn statically(mut self, is_static: bool) -> Self {
        self.is_static = is_static;
        self
    }

    /// The boot-fit's transfer: descriptor and image in HBM. `load` is where a control image may be loaded, `trust` what the
    /// fuses say.
    #[must_use]
    pub const fn boot_fit(load: core::ops::Range<u64>, trust: Trust) -> Self {
        Self {
            version: version::BOOT_FIT,
            descriptor: regs::HBM_BASE + 0x10_0000,
            image: regs::HBM_BASE + 0x80_0000,
            image_limit: LARGEST_IMAGE,
            waiting_status: psoc::boot_status::READY_TO_BOOT,
            record: RECORD_ADDRESS,
            expected: Expected { stage: Stage::Control, load, trust },
            is_static: false,
            static_version: regs::SRAM_BASE + 0x1900,
            version_register: psoc::UBOOT_VER_OFFSET,
            follows_another: true,
        }
    }
}

/// What the stage's main does after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Wait for the next command.
    Continue,
    /// Place [`Loader::verified`] and jump to its entry.
    Execute,
    /// Stop host accesses and sleep for ever; CPU_BOOT_STATUS already says so.
    Park,
    /// Reset the card.
    Reset,
}

/// Where the transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transfer {
    /// Nothing announced.
    None,
    /// The host announced this many bytes and may be writing them.
    Announced(u32),
    /// The buffer holds a verified image.
    Verified {
        /// Bytes of its container.
        size: u32,
        /// What its execution raises the card's rollback counter to.
        raise_to: u32,
    },
    /// The host's message says why it reset the card.
    Message(ResetCause),
}

/// Loads the next image.
pub struct Loader<'a> {
    pub(super) config: Config,
    server: Server,
    transfer: Transfer,
    buffer: &'a mut [u8],
    /// Failure to be told in the next descriptor.
    pub(super) record: Option<Record>,
    /// Static protocol: the next FIT_RDY is a new one.
    pub(super) armed: bool,
    /// The record went into a descriptor that the host was told about.
    record_told: bool,
    reset_cause: Option<ResetCause>,
}

impl<'a> Loader<'a> {
    /// A loader with `buffer` as the place into which images are copied before they are checked: memory the host cannot
    /// write, at least as large as the largest image to be accepted (a larger image is refused).
    #[must_use]
    pub fn new(config: Config, buffer: &'a mut [u8]) -> Self {
        Self {
            armed: !config.follows_another,
            config,
            server: Server::new(),
            transfer: Transfer::None,
            buffer,
            record: None,
            record_told: false,
            reset_cause: None,
        }
    }

    /// Takes over the failure record of an earlier attempt and publishes, in this order, clean error registers, a clean
    /// command status and the CPU_BOOT_STATUS that invites the host.
    pub fn start(&mut self, memory: &mut impl CardMemory, posts: &mut impl PostedWrites) {
        self.record = Record::load(memory, self.config.record);
        if self.config.is_static {
            self.publish_version(memory, posts);
        }
        posts.post_status(psoc::CPU_BOOT_ERR0, psoc::err0::ENABLED);
        posts.post_status(psoc::CPU_BOOT_ERR1, psoc::err0::ENABLED);
        // In the static protocol the word is the host's to clear: it may not have read the OK of the stage before yet.
        if !self.config.is_static {
            posts.post_status(psoc::CPU_CMD_STATUS_TO_HOST, StatusWord::NOOP.0);
        }
        posts.post_status(psoc::CPU_BOOT_STATUS, self.config.waiting_status);
        posts.flush();
    }

    /// Acts on the next value that the host wrote to KMD_MSG_TO_CPU.
    ///
    /// A stage that starts with a value already in the register feeds it first; a notification of the same value later is
    /// recognised as the same command.
    pub fn on_command(&mut self, word: u32, memory: &mut impl CardMemory, posts: &mut impl PostedWrites) -> Outcome {
        if self.config.is_static {
            return self.on_message(word, memory, posts);
        }
        match self.server.on_command(CommandWord(word)) {
            Step::Nothing => Outcome::Continue,
            Step::Publish(status) => {
                if CommandWord(word).command() == Command::ResetState {
                    self.begin_attempt(posts);
                }
                Self::publish(status, posts);
                Outcome::Continue
            }
            Step::Perform(command) => self.perform(command, memory, posts),
        }
    }

    /// The verified image after [`Outcome::Execute`]; it lies in the loader's buffer.
    ///
    /// # Errors
    /// [`BootError::NothingToExecute`] before a verified image, otherwise never.
    pub fn verified(&self) -> Result<Image<'_>, BootError> {
        let Transfer::Verified { size, .. } = self.transfer else { return Err(BootError::NothingToExecute) };
        Image::locate(self.buffer.get(..size as usize).unwrap_or(&[]), &self.config.expected)
    }

    /// True when the stage first feeds the value that KMD_MSG_TO_CPU has when it starts, because nobody may have seen it. In
    /// the static protocol a stage that follows another one sees every value as a notification, from the FIT_RDY of the
    /// stage before on; the register would let it take a host that was quick for one that has not spoken yet.
    #[must_use]
    pub const fn looks_at_register(&self) -> bool {
        !(self.config.is_static && self.config.follows_another)
    }

    /// True when the buffer holds a verified image.
    #[must_use]
    pub const fn holds_image(&self) -> bool {
        matches!(self.transfer, Transfer::Verified { .. })
    }

    /// Why the host says it reset the card, once it has said so.
    #[must_use]
    pub const fn reset_cause(&self) -> Option<ResetCause> {
        self.reset_cause
    }

    /// The failure that the next descriptor tells about.
    #[must_use]
    pub const fn record(&self) -> Option<Record> {
        self.record
    }

    fn publish(status: StatusWord, posts: &mut impl PostedWrites) {
        posts.post_status(psoc::CPU_CMD_STATUS_TO_HOST, status.0);
        posts.flush();
    }

    /// Drops the transfer and takes back the error of the attempt before.
    fn begin_attempt(&mut self, posts: &mut impl PostedWrites) {
        self.transfer = Transfer::None;
        posts.post_status(psoc::CPU_BOOT_ERR0, psoc::err0::ENABLED);
    }

    fn perform(
        &mut self,
        command: CommandWord,
        memory: &mut impl CardMemory,
        posts: &mut impl PostedWrites,
    ) -> Outcome {
        let (result, outcome) = match command.command() {
            Command::PrepareDescriptor => {
                self.begin_attempt(posts);
                (self.prepare(command.size(), memory).map(Some), Outcome::Continue)
            }
            Command::DataReady => (self.data_ready(memory).map(|()| Some(StatusWord::OK)), Outcome::Continue),
            Command::Execute => match self.transfer {
                Transfer::Verified { raise_to, .. } => {
                    self.raise_rollback(raise_to, posts);
                    posts.flush();
                    (Ok(None), Outcome::Execute)
                }
                Transfer::Message(cause) => {
                    self.reset_cause = Some(cause);
                    self.transfer = Transfer::None;
                    (Ok(Some(StatusWord::OK)), Outcome::Continue)
                }
                Transfer::None | Transfer::Announced(_) => (Err(BootError::NothingToExecute), Outcome::Continue),
            },
            Command::GotoWfe => {
                posts.post_status(psoc::CPU_BOOT_STATUS, psoc::boot_status::IN_WFE);
                posts.flush();
                (Ok(None), Outcome::Park)
            }
            Command::ResetDevice => (Ok(None), Outcome::Reset),
            // RST_STATE took effect when it was acknowledged; there is no board-management controller to skip.
            _ => (Ok(Some(StatusWord::OK)), Outcome::Continue),
        };
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.refuse(error, memory, posts);
                Some(StatusWord::REFUSED)
            }
        };
        if let Some(status) = self.server.complete(answer) {
            Self::publish(status, posts);
        }
        outcome
    }

    /// Raises the card's rollback counter for the image that is about to run.
    pub(super) fn raise_rollback(&self, raise_to: u32, posts: &mut impl PostedWrites) {
        if raise_to > 0 {
            trust::raise_rollback(self.config.expected.stage, raise_to, posts);
        }
    }

    /// Keeps the failure for the next descriptor and shows it in ERR0 before the refusal is published, because the driver
    /// reads ERR0 as soon as it sees the refusal.
    pub(super) fn refuse(&mut self, error: BootError, memory: &mut impl CardMemory, posts: &mut impl PostedWrites) {
        let record = Record { stage: self.config.expected.stage, error };
        self.transfer = Transfer::None;
        self.record = Some(record);
        self.record_told = false;
        record.store(memory, self.config.record);
        posts.post_status(psoc::CPU_BOOT_ERR0, psoc::err0::ENABLED | error.err0_bits());
    }

    /// PREP_DESC: writes a descriptor for `size` bytes and returns its location.
    fn prepare(&mut self, size: u32, memory: &mut impl CardMemory) -> Result<StatusWord, BootError> {
        if self.record_told {
            self.record = None;
            self.record_told = false;
            Record::erase(memory, self.config.record);
        }
        if size == 0 || size > self.config.image_limit || size as usize > self.buffer.len() {
            return Err(BootError::TransferSize);
        }
        let status = StatusWord::ok_at(self.config.descriptor).ok_or(BootError::BadConfiguration)?;
        let mut descriptor = Descriptor::new(self.config.version, self.config.image);
        if let Some(record) = self.record {
            descriptor.add_message(MessageLevel::Error, &record.line());
            self.record_told = true;
        }
        memory.write(self.config.descriptor, descriptor.seal().as_bytes()).map_err(|_| BootError::BadConfiguration)?;
        self.transfer = Transfer::Announced(size);
        Ok(status)
    }

    /// DATA_RDY: copies what the host placed and checks the copy.
    fn data_ready(&mut self, memory: &impl CardMemory) -> Result<(), BootError> {
        let Transfer::Announced(size) = self.transfer else { return Err(BootError::NothingAnnounced) };
        self.take(size, memory).map(|_| ())
    }

    /// Copies `size` bytes that the host placed and checks the copy. Returns what its execution raises the rollback counter to.
    pub(super) fn take(&mut self, size: u32, memory: &impl CardMemory) -> Result<u32, BootError> {
        self.transfer = Transfer::None;
        let bytes = self.buffer.get_mut(..size as usize).ok_or(BootError::TransferSize)?;
        memory.read(self.config.image, bytes).map_err(|_| BootError::BadConfiguration)?;
        if !self.config.is_static
            && size as usize == DESCRIPTOR_BYTES
            && let Some(cause) = HostMessage::parse_reset_cause(bytes)
        {
            self.transfer = Transfer::Message(cause);
            return Ok(0);
        }
        let raise_to = Image::open(bytes, &self.config.expected)?.raise_to;
        self.transfer = Transfer::Verified { size, raise_to };
        Ok(raise_to)
    }
}
