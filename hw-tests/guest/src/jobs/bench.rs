//! The card, opened, with what all jobs share.

use super::pattern::{Mismatch, Pattern};
use crate::device::{CommandBuffer, Device, DeviceError, HostBuffer, Information, Job, Sequence};
use crate::jobs::packets::{Packets, QUEUE_TO_DEVICE, QUEUE_TO_HOST};
use std::fmt;
use std::time::{Duration, Instant};

/// Bytes on each side of the data that must stay untouched.
pub const MARGIN: usize = 64;
/// Windows up to this size are filled with the complement before a copy; of larger ones only the margins are.
pub const PREFILL_LIMIT: usize = 64 * 1024;

/// How long a submission is watched that must not end: many times what it takes when nothing holds it.
const WHILE: Duration = Duration::from_millis(20);

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// The driver or the card.
    Device(DeviceError),
    /// The data is not what it must be.
    Data {
        /// Which part of the memory.
        place: &'static str,
        /// The first wrong byte, index relative to the data.
        index: i64,
        /// Expected.
        expected: u8,
        /// Found.
        found: u8,
    },
    /// Something else that must hold did not.
    Claim(String),
}

impl JobError {
    /// True when the card's state is unknown after it: further jobs would only repeat it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Device(error) => !matches!(error, DeviceError::Argument(_) | DeviceError::Full),
            Self::Data { .. } | Self::Claim(_) => false,
        }
    }
}

impl From<DeviceError> for JobError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::Data { place, index, expected, found } => {
                write!(f, "{place}: byte {index} is {found:#04x} instead of {expected:#04x}")
            }
            Self::Claim(text) => f.write_str(text),
        }
    }
}

/// Turns a mismatch into an error; `origin` is the pattern index of byte 0 of the data.
///
/// # Errors
/// There is a mismatch.
pub fn expect(place: &'static str, origin: u64, mismatch: Option<Mismatch>) -> Result<(), JobError> {
    match mismatch {
        None => Ok(()),
        Some(Mismatch { index, expected, found }) => {
            Err(JobError::Data { place, index: index.cast_signed() - origin.cast_signed(), expected, found })
        }
    }
}

/// Device addresses that the jobs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Programs for internal queues, 4 KiB, in SRAM.
    pub programs: u64,
    /// Data in SRAM.
    pub sram: u64,
    /// Bytes of it.
    pub sram_bytes: u64,
    /// Data in HBM, first area.
    pub hbm: u64,
    /// Data in HBM, second area.
    pub hbm_second: u64,
    /// Bytes of each HBM area.
    pub hbm_bytes: u64,
    /// Code for the TPCs, in HBM, at a multiple of 8 KiB.
    pub kernels: u64,
    /// Bytes of it.
    pub kernel_bytes: u64,
}

impl Layout {
    /// Shares out the user memory that the driver names.
    ///
    /// # Errors
    /// There is less memory than a Gaudi has.
    pub fn new(sram_base: u64, sram_size: u64, dram_base: u64, dram_size: u64) -> Result<Self, JobError> {
        const AREA: u64 = 128 << 20;
        const KERNELS: u64 = 8 << 20;
        let programs = sram_base.next_multiple_of(0x1000);
        let sram = programs + 0x1_0000;
        let sram_bytes = (sram_base + sram_size).saturating_sub(sram);
        if sram_bytes < 1 << 20 || dram_size < 2 * AREA + KERNELS {
            return Err(JobError::Claim(format!("too little memory: SRAM {sram_size} bytes, HBM {dram_size} bytes")));
        }
        let hbm = dram_base.next_multiple_of(0x1000);
        let kernels = (hbm + 2 * AREA).next_multiple_of(0x2000);
        let hbm_bytes = AREA - 0x1000;
        let kernel_bytes = KERNELS - 0x4000;
        Ok(Self { programs, sram, sram_bytes, hbm, hbm_second: hbm + AREA, hbm_bytes, kernels, kernel_bytes })
    }
}

/// The card and what jobs need besides.
#[derive(Debug)]
pub struct Bench<'device> {
    /// The card.
    pub device: &'device Device,
    /// Addresses.
    pub layout: Layout,
    /// How long one submission may take.
    pub patience: Duration,
}

impl<'device> Bench<'device> {
    /// Asks the card what it has.
    ///
    /// # Errors
    /// The driver refuses, or there is too little memory.
    pub fn new(device: &'device Device, patience: Duration) -> Result<Self, JobError> {
        let hardware = device.hardware()?;
        let layout =
            Layout::new(hardware.sram_base, u64::from(hardware.sram_size), hardware.dram_base, hardware.dram_size)?;
        Ok(Self { device, layout, patience })
    }

    /// A command buffer with these packets.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn commands(&self, packets: &Packets) -> Result<CommandBuffer<'device>, DeviceError> {
        let mut buffer = CommandBuffer::new(self.device, packets.bytes())?;
        buffer.set(packets.words())?;
        Ok(buffer)
    }

    /// Submits jobs, waits for them, and returns the time from before the one to after the other.
    ///
    /// # Errors
    /// Any end but success.
    pub fn run(&self, jobs: &[Job<'_>]) -> Result<Duration, DeviceError> {
        let begun = Instant::now();
        let sequence = self.device.submit(jobs)?;
        self.device.wait(sequence, self.patience)?;
        Ok(begun.elapsed())
    }

    /// Submits packets to one external queue and does not wait.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn start_external(&self, queue: u32, packets: &Packets) -> Result<Sequence, DeviceError> {
        // The driver copies the packets: the buffer may go at once.
        let commands = self.commands(packets)?;
        self.device.submit(&[Job::External { queue, commands: &commands }])
    }

    /// Claims that a submission is not complete, after a while in which it could have been.
    ///
    /// # Errors
    /// It is complete, or ended with an error.
    pub fn expect_pending(&self, sequence: Sequence, what: &str) -> Result<(), JobError> {
        match self.device.wait(sequence, WHILE) {
            Err(DeviceError::StillRunning { .. }) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Err(JobError::Claim(format!("{what} did not wait"))),
        }
    }

    /// Waits for all submissions.
    ///
    /// # Errors
    /// Any end but success.
    pub fn wait_all(&self, sequences: &[Sequence]) -> Result<(), DeviceError> {
        sequences.iter().try_for_each(|sequence| self.device.wait(*sequence, self.patience))
    }

    /// Runs packets on one external queue.
    ///
    /// # Errors
    /// Any end but success.
    pub fn run_external(&self, queue: u32, packets: &Packets) -> Result<Duration, DeviceError> {
        let commands = self.commands(packets)?;
        self.run(&[Job::External { queue, commands: &commands }])
    }

    /// Puts bytes into device memory, through `staging` at its start.
    ///
    /// # Errors
    /// Any end but success.
    pub fn upload(&self, staging: &mut HostBuffer<'_>, bytes: &[u8], address: u64) -> Result<(), DeviceError> {
        staging.write(0, bytes)?;
        let size = u32::try_from(bytes.len()).map_err(|_| DeviceError::Argument("too much to upload"))?;
        self.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(staging.address(0), address, size)).map(|_| ())
    }

    /// Copies a window of device memory to a host buffer.
    ///
    /// # Errors
    /// Any end but success.
    pub fn download(&self, address: u64, to: u64, bytes: u32) -> Result<Duration, DeviceError> {
        self.run_external(QUEUE_TO_HOST, &Packets::new().copy(address, to, bytes))
    }

    /// Puts the complement of `pattern` around (and, in small windows, into) the place of the data: `window` is the
    /// device address of the first margin, pattern index 0. Uses `staging` from `offset` on.
    ///
    /// # Errors
    /// Any end but success.
    pub fn prefill(
        &self,
        pattern: Pattern,
        staging: &mut HostBuffer<'_>,
        offset: usize,
        window: u64,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        let whole = bytes + 2 * MARGIN;
        let complement = pattern.complement();
        let packets = if whole <= PREFILL_LIMIT {
            complement.fill(staging, offset, 0, whole)?;
            Packets::new().copy(staging.address(offset), window, whole as u32)
        } else {
            let tail = whole - MARGIN;
            complement.fill(staging, offset, 0, MARGIN)?;
            complement.fill(staging, offset + tail, tail as u64, MARGIN)?;
            Packets::new().copy(staging.address(offset), window, MARGIN as u32).copy(
                staging.address(offset + tail),
                window + tail as u64,
                MARGIN as u32,
            )
        };
        self.run_external(QUEUE_TO_DEVICE, &packets).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_areas_of_a_gaudi_lie_in_its_user_memory_and_apart() {
        let layout = Layout::new(0x7F_F000_0080, 0x13F_FF80, 0x2000_0000, 0x7_E000_0000).unwrap();
        assert_eq!(layout.programs, 0x7F_F000_1000);
        assert!(layout.sram + layout.sram_bytes <= 0x7F_F140_0000 && layout.sram >= layout.programs + 0x1000);
        assert!(layout.hbm + layout.hbm_bytes < layout.hbm_second);
        assert!(layout.hbm_second + layout.hbm_bytes < layout.kernels && layout.kernels.is_multiple_of(0x2000));
        assert!(layout.sram_bytes > 16 << 20);
        assert!(Layout::new(0x80, 0x1000, 0, 1 << 30).is_err());
    }

    #[test]
    fn a_wrong_byte_is_named_relative_to_the_data() {
        let error = expect("margin", 64, Some(Mismatch { index: 60, expected: 1, found: 2 })).unwrap_err();
        assert_eq!(error.to_string(), "margin: byte -4 is 0x02 instead of 0x01");
        assert!(!error.is_fatal());
        assert!(JobError::from(DeviceError::Aborted { sequence: 1 }).is_fatal());
    }
}
