//! Event queue entries and event ids (`cpucp.md` 10 to 12).
