//! The event queue towards the host.
