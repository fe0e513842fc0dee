#![no_std]
//! What a Gaudi-class SoC is, as data: its queue managers and engines. No behaviour, no machine.
//!
//! `docs/` holds the facts that the code cites.

pub mod queues;
