//! Work for the card, with every byte of the result checked.
//!
//! * [`catalogue`]: which jobs there are and at which sizes;
//! * [`mod@bench`]: the card, opened, with what all jobs share;
//! * [`copy`], [`internal`]: copies; [`many`], [`threads`], [`limits`]: many submissions and large buffers;
//! * [`streams`], [`ping`], [`arbiter`], [`arbiter_slaves`]: streams and engines that wait for each other;
//! * [`strided`], [`control`], [`delay`]: what single packets can do;
//! * [`kernels`]: kernels on the TPCs;
//! * [`signals`]: the driver's own synchronisation; [`behaviour`]: all of these by name;
//! * [`faults`], [`bad_packets`], [`kernel_faults`]: jobs that must end with an error;
//! * [`packets`]: the command buffers, built without a card; [`programs`]: those of internal queues;
//! * [`chain`]: data that shows in which order it was handed on;
//! * [`mod@measure`]: submissions per second and their latency, for the harness's `bench`;
//! * [`pattern`]: reproducible data;
//! * [`record`]: what is reported;
//! * [`supervise`]: a worker process does the work, because the driver kills the users of a card that it resets; the
//!   parent reports even then;
//! * [`inventory`]: what the driver and `hwmon` say about the card.

pub mod arbiter;
pub mod arbiter_slaves;
pub mod bad_packets;
pub mod behaviour;
pub mod bench;
pub mod catalogue;
pub mod chain;
pub mod control;
pub mod copy;
pub mod delay;
pub mod faults;
pub mod internal;
pub mod inventory;
pub mod kernel_faults;
pub mod kernels;
pub mod limits;
pub mod many;
pub mod measure;
pub mod packets;
pub mod pattern;
pub mod ping;
pub mod programs;
pub mod record;
pub mod signals;
pub mod streams;
pub mod strided;
pub mod supervise;
pub mod threads;
