//! What can go wrong, in words that say who was waited for, how long, and what was seen instead.

use std::fmt;
use std::time::Duration;

/// A failure of the scripted host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostError {
    /// Something did not happen within its bound.
    Timeout {
        /// What was waited for.
        what: String,
        /// The bound.
        bound: Duration,
        /// What was seen at the end.
        seen: String,
    },
    /// The card or its firmware answered something that the protocol does not allow.
    Protocol(String),
    /// Firmware answered a control packet with an error.
    Packet {
        /// The packet's opcode.
        opcode: u16,
        /// The return code, 1..=15.
        code: u32,
    },
    /// The boot failed: error bits of the firmware and its texts.
    Boot(String),
    /// The caller asked for something that cannot be: out of memory, out of order, out of range.
    Usage(String),
}

impl HostError {
    pub(crate) fn protocol(text: impl Into<String>) -> Self {
        Self::Protocol(text.into())
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// True for a bound that was exceeded.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { what, bound, seen } => {
                write!(f, "{what}: not within {} ms, {seen}", bound.as_millis())
            }
            Self::Protocol(text) => write!(f, "protocol: {text}"),
            Self::Packet { opcode, code } => write!(f, "control packet {opcode} was answered with code {code}"),
            Self::Boot(text) => write!(f, "boot: {text}"),
            Self::Usage(text) => write!(f, "wrong use: {text}"),
        }
    }
}

impl std::error::Error for HostError {}
