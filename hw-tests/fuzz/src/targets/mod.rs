//! The targets, each a function over bytes.

pub mod comms;
pub mod container;
pub mod event_ring;
pub mod packets;
pub mod queue_programs;
