//! What a run leaves for a person to read.

pub mod console;
pub mod run_folder;
