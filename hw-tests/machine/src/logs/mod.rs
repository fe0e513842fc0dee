//! What a run leaves for a person to read.

pub mod backtrace;
pub mod console;
pub mod firmware;
pub mod run_folder;
