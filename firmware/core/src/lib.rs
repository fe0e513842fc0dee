#![no_std]
//! The control core: what the management CPU does, without a board.
//!
//! * [`control`] - the control loop that hands everything to who acts on it.
//! * [`queue_core`] - the queue work of one core.
//! * [`queue`] - queue managers: streams, command processors, fences, barriers, errors.
//! * [`boot`] - the boot protocol towards the host and the image container.
//! * [`cpucp`] - the control-packet server. [`event`] - the event queue towards the host.
//! * [`ports`] - what a board must provide. Nothing here touches hardware in another way, so everything here runs and is
//!   tested on a host.
//!
//! Simple and bounded: no allocation after start-up, no recursion, no floating point, no panics. Whatever another side wrote - a host, a
//! command buffer, a ring index - is validated once, where it enters, and never trusted again.

extern crate alloc;

pub mod boot;
pub mod control;
pub mod cpucp;
pub mod event;
pub mod ports;
pub mod queue;
pub mod queue_core;
