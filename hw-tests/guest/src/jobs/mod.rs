//! Work for the card, with every byte of the result checked.
//!
//! * [`catalogue`]: which jobs there are and at which sizes;
//! * [`mod@bench`]: the card, opened, with what all jobs share;
//! * [`copy`], [`internal`], [`many`]: the jobs;
//! * [`faults`]: jobs that must end with an error;
//! * [`packets`]: the command buffers, built without a card;
//! * [`pattern`]: reproducible data;
//! * [`record`]: what is reported;
//! * [`supervise`]: a worker process does the work, because the driver kills the users of a card that it resets; the
//!   parent reports even then;
//! * [`inventory`]: what the driver and `hwmon` say about the card.

pub mod bench;
pub mod catalogue;
pub mod copy;
pub mod faults;
pub mod internal;
pub mod inventory;
pub mod many;
pub mod packets;
pub mod pattern;
pub mod record;
pub mod supervise;
