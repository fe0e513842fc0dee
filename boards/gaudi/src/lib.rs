#![no_std]
//! What a Gaudi-class card is, as data: its queue managers and engines, its identity and sensors. No behaviour, no machine.
//!
//! `docs/` holds the facts that the code cites.

pub mod identity;
pub mod queues;
