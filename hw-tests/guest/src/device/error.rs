//! What can go wrong between a program and the driver, in words.

use rustix::io::Errno;
use std::fmt;

/// A failed operation on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceError {
    /// The device node cannot be opened.
    Open {
        /// Path of the node.
        path: String,
        /// The system's error.
        errno: Errno,
    },
    /// An operation of the driver was refused.
    Refused {
        /// The operation.
        operation: &'static str,
        /// The system's error.
        errno: Errno,
    },
    /// A queue or the driver's list of pending submissions is full: wait for an older submission, then try again.
    Full,
    /// The driver's time-out for the submission expired; a reset follows.
    TimedOut {
        /// The submission.
        sequence: u64,
    },
    /// A reset ended the submission.
    Aborted {
        /// The submission.
        sequence: u64,
    },
    /// The submission was still running when the caller's own patience ended.
    StillRunning {
        /// The submission.
        sequence: u64,
        /// Milliseconds waited.
        waited_ms: u64,
    },
    /// The driver gave an answer that its interface does not allow.
    Answer(&'static str),
    /// The caller asked for something that cannot be: out of range, too large.
    Argument(&'static str),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, errno } => {
                let hint = match *errno {
                    Errno::NOENT => ": no card, or the driver is not loaded",
                    Errno::BUSY => ": another program uses the card",
                    Errno::AGAIN => ": the card is being reset or released",
                    Errno::PERM => ": the card is not operational",
                    _ => "",
                };
                write!(f, "{path} cannot be opened: {errno}{hint}")
            }
            Self::Refused { operation, errno } => {
                let hint = match *errno {
                    Errno::NODEV => ": the card must be closed, a reset waits for it",
                    Errno::BUSY => ": the card is in reset or disabled",
                    Errno::PERM => ": a packet that users may not send, or the card is not operational",
                    Errno::FAULT => ": an address outside the user's memory",
                    _ => "",
                };
                write!(f, "{operation} was refused: {errno}{hint}")
            }
            Self::Full => f.write_str("the queue is full"),
            Self::TimedOut { sequence } => write!(f, "submission {sequence} ended with the driver's time-out"),
            Self::Aborted { sequence } => write!(f, "submission {sequence} was ended by a reset of the card"),
            Self::StillRunning { sequence, waited_ms } => {
                write!(f, "submission {sequence} was still running after {waited_ms} ms")
            }
            Self::Answer(what) => write!(f, "the driver's answer is not understood: {what}"),
            Self::Argument(what) => write!(f, "wrong use: {what}"),
        }
    }
}

impl std::error::Error for DeviceError {}
