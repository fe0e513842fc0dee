//! Time lines of what the queue managers did, from the trace that firmware leaves in reserved HBM.
//!
//! * [`records`] - reads the rings of all cores.
//! * [`perfetto`] - writes them in the trace-event format that the Perfetto viewer and other viewers open.

pub mod perfetto;
pub mod records;
