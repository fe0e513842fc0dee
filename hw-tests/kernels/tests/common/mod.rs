//! Runs cases in the simulator: memory with room around each tensor, engines one after another.

use coxswain_kernels::cases::{Case, POISON};
use coxswain_kernels::dispatch::CODE_ALIGNMENT;
use coxswain_tpc::{FlatMemory, Memory, Outcome, Tpc};

const BASE: u64 = 0x2000_0000;
/// Bytes on each side of a tensor that must stay untouched.
const MARGIN: usize = 1024;
/// Bundles after which a kernel counts as hanging.
const BUDGET: u64 = 1 << 34;

/// Runs a case on `engines` engines, its tensors `shift` bytes off an aligned address; returns the bundles of each engine.
///
/// # Panics
/// When the result is not right, or memory outside of the output has changed.
pub fn run(case: &Case, dimension: usize, engines: &[u8], shift: usize) -> Vec<u64> {
    execute(case, dimension, engines, shift, 0)
}

/// The same with every result held back for `delay` bundles.
#[allow(dead_code, reason = "compiled code does not run with a delay")]
pub fn run_delayed(case: &Case, dimension: usize, engines: &[u8], delay: usize) -> Vec<u64> {
    execute(case, dimension, engines, 0, delay)
}

fn execute(case: &Case, dimension: usize, engines: &[u8], shift: usize, delay: usize) -> Vec<u64> {
    let name = case.kernel.name();
    let mut at = case.kernel.code().len().next_multiple_of(CODE_ALIGNMENT as usize);
    let mut places = Vec::new();
    for data in case.inputs.iter().chain([&case.output]) {
        places.push(at + MARGIN + shift);
        at = (at + 2 * MARGIN + shift + data.bytes.len()).next_multiple_of(256);
    }
    let mut image = vec![POISON; at];
    image[..case.kernel.code().len()].copy_from_slice(case.kernel.code());
    for (data, place) in case.inputs.iter().zip(&places) {
        image[*place..*place + data.bytes.len()].copy_from_slice(&data.bytes);
    }
    let mut memory = FlatMemory::new(BASE, image.len());
    memory.write(BASE, &image).unwrap();
    let addresses: Vec<u64> = places.iter().map(|place| BASE + *place as u64).collect();

    let dispatch = case.dispatch(&addresses, dimension, engines).unwrap();
    let mut retired = Vec::new();
    for part in dispatch.parts(BASE, None).unwrap() {
        let mut tpc = Tpc::new();
        tpc.set_write_delay(delay);
        tpc.start(&part.launch);
        assert_eq!(tpc.run(&mut memory, BUDGET), Outcome::Halted, "{name}, engine {}", part.engine);
        retired.push(tpc.retired());
    }

    let mut found = vec![0; image.len()];
    memory.read(BASE, &mut found).unwrap();
    let output = *places.last().unwrap();
    let range = output..output + case.output.bytes.len();
    let how = format!("{name} over {engines:?} along {dimension}, shifted by {shift}, delayed by {delay}");
    case.check(&found[range.clone()]).unwrap_or_else(|wrong| panic!("{how}: {wrong}"));
    found[range.clone()].copy_from_slice(&image[range]);
    assert!(found == image, "{how}: a store outside of the output");
    retired
}
