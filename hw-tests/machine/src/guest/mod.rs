//! The Linux guest's contents: initramfs, kernel modules, programs with their libraries.

pub mod cpio;
pub mod initramfs;
pub mod libraries;
pub mod modules;
pub mod program;
