#![no_std]
//! What a Gaudi-class card is, as data: its queue managers and engines, its identity,
//! the parts on its board-management bus and how they are reached. No machine.
//!
//! `docs/` holds the facts that the code cites.

pub mod i2c;
pub mod identity;
pub mod queues;
pub mod telemetry;
