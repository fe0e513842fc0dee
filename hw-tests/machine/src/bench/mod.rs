//! `bench`: exact costs of the firmware, in instructions, compared with the golden file.
//!
//! * [`on_target`] - runs the images under `-icount` with the card in lockstep and counts.
//! * [`golden`] - the figures that are expected, and what counts as a change.

pub mod golden;
pub mod on_target;
