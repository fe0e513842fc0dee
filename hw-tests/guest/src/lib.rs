//! The programs that run in the Linux guest, and the contract they keep with the harness on the developer's machine.
//!
//! * [`plan`]: what the harness asks the guest to do and what the guest reports. Pure data, used by both sides.
//! * [`init`]: the guest's process 1, `coxswain-init`.
//! * [`device`]: the user-space side of the driver.
//! * [`launch`]: running TPC kernels.
//! * [`run_kernel`]: a person's own kernel, from a file.
//! * [`jobs`]: work for the card and the checks of its results.
//!
//! Three programs are built from this crate, all static: `coxswain-init`, the guest's process 1; `coxswain-jobs`, which submits
//! work through `/dev/accel/accel0` and checks every byte of the result; and `coxswain-kernel`, which runs a kernel from a file.

pub mod device;
pub mod init;
pub mod jobs;
pub mod launch;
pub mod plan;
pub mod run_kernel;
