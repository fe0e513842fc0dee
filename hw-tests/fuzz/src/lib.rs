//! Fuzz targets: arbitrary bytes in the place of everything that a host can write.
//!
//! For: finding inputs on which firmware panics, overflows, breaks a rule of its interface, or disagrees with the reference.
//! Owns: the meaning of bytes as input of each target ([`targets`]), the boards they run on, seeds and saved findings. Never:
//! mends an input so that a rule holds; a target claims only what must hold for *every* input.
//!
//! | Target | What the bytes are | What must hold |
//! |---|---|---|
//! | `queue_programs` | PQ entries, command buffers, monitors, fences, registers of a few QMANs | the queue engine does what the reference interpreter does |
//! | `container` | a firmware image file | an accepted image lies inside, may be loaded there, and has the right hash |
//! | `comms` | values of the command register, and what the host writes to SRAM and HBM meanwhile | only a checked image is executed, and what was checked does not change |
//! | `packets` | registers, rings, packets and interrupts of the control queue | nothing outside the shared area is written, and nothing after access was withdrawn |
//! | `event_ring` | events, and a host that takes them, or writes anything into their ring | order, one event per id until it is unmasked, no overwritten entry, nothing lost |
//!
//! # How to run
//!
//! * `cargo test -p coxswain-fuzz` - on stable, seconds: the seeds, everything in `saved/`, and a fixed number of mutations of
//!   them from a fixed seed. `COXSWAIN_FUZZ_INPUTS=100000` sets another number, `COXSWAIN_FUZZ_SEED=7` another seed. A failure
//!   prints the input.
//! * For as long as one likes, with libFuzzer (`cargo install cargo-fuzz`, a nightly toolchain), from the repository's root:
//!
//!   ```text
//!   mkdir -p hw-tests/fuzz/corpus/comms
//!   cargo +nightly fuzz run --fuzz-dir hw-tests/fuzz --features libfuzzer comms \
//!       hw-tests/fuzz/corpus/comms hw-tests/fuzz/saved/comms
//!   ```
//!
//!   New inputs go to the first folder, which is not kept; inputs that fail go to `artifacts/`.
//! * `COXSWAIN_FUZZ_WRITE_SEEDS=1 cargo test -p coxswain-fuzz seeds_for_libfuzzer` writes the seeds to `corpus/`, where
//!   libFuzzer finds them.
//!
//! `saved/` holds inputs that libFuzzer found on the way to a milestone that mutations of the seeds do not reach, named by what
//! they reach, and findings. What bytes mean is the business of each target: when that changes, milestones go missing and the
//! tests say so.
//!
//! # When something is found
//!
//! Copy the input to `saved/<target>/<what-is-wrong>`; `cargo test` runs it from then on. `cargo test -p coxswain-fuzz` names
//! the file. For `queue_programs` the panic shows the scenario reduced to what matters, which makes a better test in
//! `hw-tests/reference/tests/found.rs`.

pub mod board;
pub mod bytes;
pub mod mutate;
pub mod targets;

use std::collections::BTreeSet;

/// Milestones that inputs have reached: evidence that a target looks at more than the refusal of nonsense.
pub type Reached = BTreeSet<&'static str>;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name, also that of its folder in `saved/`.
    pub name: &'static str,
    /// Runs one input and panics when something does not hold.
    pub run: fn(&[u8]) -> Reached,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Every milestone that [`Self::run`] can report.
    pub milestones: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    targets::queue_programs::TARGET,
    targets::container::TARGET,
    targets::comms::TARGET,
    targets::packets::TARGET,
    targets::event_ring::TARGET,
];
