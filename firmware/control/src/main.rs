//! The control image: queue managers, CPUCP server, event queue.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod image;
#[cfg(target_os = "none")]
mod queue_cores;

#[cfg(not(target_os = "none"))]
fn main() {}
