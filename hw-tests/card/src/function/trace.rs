//! A record of the host's trapped register accesses, as they happen.
//!
//! For: reading what a driver does, and for tests that count accesses.
//!
//! Owns: the shape of an entry. Never: stores entries; the sink does what it likes, quickly, on the serving thread.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::names;

/// Receives every entry, in order for one client.
pub type RegisterTrace = Arc<dyn Fn(&TraceEntry) + Send + Sync>;

/// Which way an access came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Through the ELBI window of configuration space.
    Elbi,
    /// Through BAR2.
    Bar,
}

/// One 32-bit access to a CFG register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceEntry {
    /// Since the function was made.
    pub time: Duration,
    /// Which way it came.
    pub path: Path,
    /// True for a write.
    pub write: bool,
    /// CFG offset.
    pub offset: u32,
    /// Value written or read.
    pub value: u32,
}

impl TraceEntry {
    /// Name of the register, such as `DMA0_QM_PQ_PI[2]`; with an offset from a block when only the block is known, and
    /// `None` when nothing is.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        names::register_name(self.offset)
    }
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == Path::Elbi { " elbi" } else { "" };
        let direction = if self.write { "write" } else { "read " };
        write!(f, "{:12.6}{path} {direction} {:#09x} = {:#010x}", self.time.as_secs_f64(), self.offset, self.value)?;
        self.name().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}
