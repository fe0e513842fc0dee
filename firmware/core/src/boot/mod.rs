//! The boot protocol: COMMS towards the host and the image container.
