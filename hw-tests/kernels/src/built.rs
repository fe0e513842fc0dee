//! Our own kernels, assembled at build from `hw-tests/tpc/kernels`. What each takes is written at the head of its source.

use crate::kernel::Kernel;

include!(concat!(env!("OUT_DIR"), "/built.rs"));

/// The kernel of this name; `None` when there is no source of that name.
#[must_use]
pub fn kernel(name: &str) -> Option<Kernel> {
    BUILT.iter().find(|(built, _)| *built == name).map(|(name, code)| Kernel::from_code(name, *code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_built_and_disassembles() {
        assert!(kernel("meminit").is_some() && kernel("nothing").is_none());
        for (name, code) in BUILT {
            assert!(coxswain_tpc::disassemble(code).is_ok(), "{name}");
        }
    }
}
