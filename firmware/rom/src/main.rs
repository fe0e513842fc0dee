//! The boot ROM: the first image, from flash, at EL3.
//!
//! Sets the machine up, tells the host that it is there, loads the boot-fit image and enters it at Secure EL1. Its monitor
//! stays resident.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod image;

#[cfg(not(target_os = "none"))]
fn main() {}
