//! `bench`: what the firmware costs, measured in three ways.
//!
//! * [`on_target`] - runs the images under `-icount` with the card in lockstep and counts instructions; exact.
//! * [`golden`] - the counts that are expected, and what counts as a change.
//! * [`native`] - the queue engine's loops on this machine's processor, in nanoseconds.
//! * [`end_to_end`] - submissions through the stock driver, next to queue managers that cost nothing;
//!   [`turns`] lets its guests take turns, [`rows`] puts their measurements together.

pub mod end_to_end;
pub mod golden;
pub mod native;
pub mod on_target;
pub mod rows;
pub mod turns;
