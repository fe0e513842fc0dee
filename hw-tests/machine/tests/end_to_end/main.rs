//! End to end: the unmodified driver of a stock kernel, the real firmware on the emulated management CPU, and programs that
//! use `/dev/accel/accel0`.
//!
//! The tests provision and build what they need by themselves, once per run of this program, and take turns: each has the
//! machine to itself. A failure names the run folder with all logs.
#![allow(clippy::unwrap_used, reason = "a test program: a panic is how it fails")]

mod bad_images;
mod bench;
mod faults;
mod kernels;
mod loading;
mod resets;
mod rig;
mod scrub;
