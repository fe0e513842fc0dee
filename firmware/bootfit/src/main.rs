//! The boot-fit: the second image, from secure RAM, at Secure EL1.
//!
//! Tells the host that HBM is usable, loads the control image and enters it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod image;

#[cfg(not(target_os = "none"))]
fn main() {}
