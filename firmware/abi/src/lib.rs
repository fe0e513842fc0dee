#![no_std]
//! Wire formats and register maps.
//!
//! Everything here is a fact about bytes that two sides exchange: the host's driver and the firmware, or the firmware
//! and the hardware around it. The firmware, the card model and the tests share this crate so that a format is written
//! once; the tests keep independent golden bytes so that one mistake cannot agree with itself. It holds no behaviour
//! beyond encoding, decoding and range checks, and it never panics on any input.
//!
//! Sources are named by file in `boards/gaudi/docs/`.

pub mod comms;
pub mod cpucp;
pub mod event;
pub mod packet;
pub mod regs;
pub mod soc;
pub mod trace;
