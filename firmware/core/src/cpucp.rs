//! CPUCP: answers the driver's control packets.
