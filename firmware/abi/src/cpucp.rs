//! CPUCP: the control packets between the host and the control image (`cpucp.md` 5 to 7).
