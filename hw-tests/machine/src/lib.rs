//! Harness: provisions and starts the card, the firmware and the Linux guest.
//!
//! The program behind `cargo run` is a thin shell around this library, so that integration tests run the same scenarios.
//! The harness starts and watches; it never takes part in what card, firmware and driver say to each other.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod environment;
pub mod guest;
pub mod image;
pub mod images;
pub mod interrupt;
pub mod keys;
pub mod logs;
pub mod process;
pub mod progress;
pub mod provision;
pub mod qemu;
pub mod report;
pub mod scenario;
pub mod scripted;
pub mod session;
pub mod time_line;
