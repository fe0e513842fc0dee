//! COMMS: the dynamic firmware-load protocol between the host and the boot stages (`boot-protocol.md` 3, 8).
