//! The programs that run in the Linux guest, and the contract they keep with the harness on the developer's machine.
//!
//! * [`plan`]: what the harness asks the guest to do and what the guest reports. Pure data, used by both sides.
//! * [`init`]: the guest's process 1, `coxswain-init`.
//! * [`device`]: the user-space side of the driver.
//! * [`launch`]: running TPC kernels.
//! * [`jobs`]: work for the card and the checks of its results.
//!
//! Two programs are built from this crate, both static: `coxswain-init`, the guest's process 1, and `coxswain-jobs`,
//! which submits work through `/dev/accel/accel0` and checks every byte of the result.

pub mod device;
pub mod init;
pub mod jobs;
pub mod launch;
pub mod plan;
