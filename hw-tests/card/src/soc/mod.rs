//! The SoC: register file, bus, engines.
