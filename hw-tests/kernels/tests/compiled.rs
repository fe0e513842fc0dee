//! The ten compiled kernels in the simulator, through the loading library, split in every way.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use coxswain_kernels::cases::compiled;

#[test]
fn every_compiled_kernel_gives_the_right_result_on_1_to_8_engines_at_any_alignment() {
    for (seed, shift) in [(1, 0), (2, 4), (3, 252)] {
        for case in compiled::all(seed).unwrap() {
            for dimension in case.splits.clone() {
                for engines in [&[0][..], &[5, 2], &[0, 1, 2], &[0, 1, 2, 3, 4, 5, 6, 7]] {
                    common::run(&case, dimension, engines, shift);
                }
            }
        }
    }
}
