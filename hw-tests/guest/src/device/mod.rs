//! The user-space side of the card: `/dev/accel/accel0` of the `habanalabs` driver of Linux 6.12.
//!
//! Owns the calls into the driver and the memory that goes with them; every unsafe operation of the user side is in this
//! module and its children. It never decides what to run: that is [`crate::jobs`].
//!
//! # Memory
//!
//! On Gaudi the device's memory is not behind an MMU: SRAM and HBM are named by physical addresses from
//! [`uapi::HwIpInfo::sram_base`] and [`uapi::HwIpInfo::dram_base`], and the user decides what lies where. The driver's
//! ALLOC operation succeeds with handle 0 and only keeps count ([`Device::account_memory`]); a MAP of that handle is
//! refused. Host memory is mapped ([`HostBuffer`]) and gets a device address from 0x1_0000_0000_0000 upwards.

mod buffer;
mod error;
mod info;
mod submit;
mod sync;
pub mod uapi;

pub use buffer::{CommandBuffer, HostBuffer};
pub use error::DeviceError;
pub use info::{ControlNode, Information, text};
pub use submit::{Job, Sequence};
pub use sync::{Reservation, Stage};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The compute node of the first card.
pub const COMPUTE_NODE: &str = "/dev/accel/accel0";
/// Its control node: information only, any number of users.
pub const CONTROL_NODE: &str = "/dev/accel/accel_controlD0";

/// The card, opened for work. One process can have it at a time.
#[derive(Debug)]
pub struct Device {
    file: OwnedFd,
}

impl Device {
    /// Opens the compute node. While another program has the card or a reset runs, tries again until `patience` is over.
    ///
    /// # Errors
    /// [`DeviceError::Open`] with the last reason.
    pub fn open(path: &str, patience: Duration) -> Result<Self, DeviceError> {
        let deadline = Instant::now() + patience;
        loop {
            match open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => return Ok(Self { file }),
                Err(Errno::AGAIN | Errno::BUSY | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(errno) => return Err(DeviceError::Open { path: path.to_owned(), errno }),
            }
        }
    }

    /// Tells the driver that `bytes` of device memory are in use (`true`) or no longer (`false`). It keeps count for the
    /// administrator and gives out nothing.
    ///
    /// # Errors
    /// The driver refuses, or hands out a real allocation: then this is not a Gaudi.
    pub fn account_memory(&self, bytes: u64, in_use: bool) -> Result<(), DeviceError> {
        let op = if in_use { uapi::memory_op::ALLOC } else { uapi::memory_op::FREE };
        let mut args = uapi::MemoryArgs { argument: [bytes, 0, 0], op, ..Default::default() };
        self.memory("accounting for device memory", &mut args)?;
        match args.argument[0] {
            0 => Ok(()),
            _ if in_use => Err(DeviceError::Answer("a device-memory handle on a card without device virtual memory")),
            _ => Ok(()),
        }
    }

    fn memory(&self, operation: &'static str, args: &mut uapi::MemoryArgs) -> Result<(), DeviceError> {
        // SAFETY: the number announces exactly the size of `MemoryArgs` (asserted there). The driver writes only into
        // it: its other effect, pinning the pages of a mapped range, concerns memory that `HostBuffer` owns until UNMAP.
        let result = unsafe { call::<{ uapi::IOCTL_MEMORY }, _>(self.as_fd(), args) };
        result.map_err(|errno| DeviceError::Refused { operation, errno })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// One ioctl, tried again when a signal interrupted it.
///
/// # Safety
/// `NUMBER` must be an operation whose argument is a `T`, and every address inside `args` must be valid for what the
/// driver does with it.
unsafe fn call<const NUMBER: u32, T>(file: BorrowedFd<'_>, args: &mut T) -> Result<(), Errno> {
    loop {
        // SAFETY: passed on from the caller.
        let operation = unsafe { Updater::<NUMBER, T>::new(args) };
        // SAFETY: as above; `Updater` passes a pointer to `args`, borrowed for the whole call.
        match unsafe { ioctl(file, operation) } {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
