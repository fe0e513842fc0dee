//! Our own kernels in the simulator: sizes, alignments, strides, dimensions, splits, clipping, and the timing of hand-written code.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

mod common;

use coxswain_kernels::cases::built::{self, Layout};
use coxswain_kernels::cases::{Case, Numbers};

const ALL: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

fn both_layouts(mut check: impl FnMut(Layout)) {
    check(Layout::Dense);
    check(Layout::Scattered);
}

#[test]
fn every_size_around_a_vector_is_right_at_every_alignment() {
    let mut numbers = Numbers::new(11);
    for size in [1, 2, 63, 64, 65, 127, 128, 129, 255, 1000, 4099] {
        both_layouts(|layout| {
            for maker in built::FLAT.iter().chain(built::DEEP) {
                let case = maker(&mut numbers, layout, &[size]);
                let element = case.output.shape.element.bytes();
                for shift in [0, element, 64, 252] {
                    common::run(&case, 0, &[0], shift);
                }
            }
        });
    }
}

#[test]
fn one_to_eight_engines_share_the_work_along_any_dimension() {
    let mut numbers = Numbers::new(12);
    both_layouts(|layout| {
        for maker in built::FLAT.iter().chain(built::DEEP) {
            let case = maker(&mut numbers, layout, &[333, 13]);
            for dimension in case.splits.clone() {
                for engines in 1..=ALL.len() {
                    common::run(&case, dimension, &ALL[..engines], 0);
                }
            }
        }
    });
}

#[test]
fn one_to_five_dimensions_with_odd_strides_are_right() {
    let mut numbers = Numbers::new(13);
    let shapes: [&[u32]; 7] =
        [&[1], &[65, 3], &[64, 2, 5], &[130, 1, 3, 2], &[70, 2, 3, 2, 5], &[1, 1, 1, 1, 9], &[3, 5, 7, 1, 2]];
    for sizes in shapes {
        both_layouts(|layout| {
            for maker in built::DEEP {
                let case = maker(&mut numbers, layout, sizes);
                for dimension in case.splits.clone() {
                    for engines in [1, 3, 8] {
                        common::run(&case, dimension, &ALL[..engines], 4);
                    }
                }
            }
        });
    }
}

/// Loads outside give the padding, stores outside are dropped.
#[test]
fn an_index_space_beyond_the_tensors_is_clipped() {
    let mut numbers = Numbers::new(14);
    for maker in built::FLAT.iter().take(6).chain(built::DEEP) {
        let mut case = maker(&mut numbers, Layout::Scattered, &[100, 5]);
        case.space = vec![case.space[0] + 3, case.space[1] + 4];
        common::run(&case, 0, &[0, 1], 0);
        common::run(&case, 1, &[2, 1, 0], 0);
    }
}

#[test]
fn an_empty_index_space_stores_nothing() {
    let mut numbers = Numbers::new(15);
    for maker in built::FLAT.iter().chain(built::DEEP) {
        let mut case = maker(&mut numbers, Layout::Dense, &[100, 5]);
        case.space[0] = 0;
        let poison = vec![coxswain_kernels::cases::POISON; case.output.bytes.len()];
        case.output.bytes = poison;
        assert_eq!(common::run(&case, 0, &[0], 0), [0; 0]);
    }
}

/// The exposed pipeline: hand-written code must not read a result too early, however late the hardware delivers it.
#[test]
fn no_kernel_reads_a_result_before_seven_bundles_are_over() {
    for case in built::all(16) {
        for delay in 0..=7 {
            common::run_delayed(&case, 0, &[0], delay);
        }
    }
}

#[test]
fn sixteen_million_elements_over_eight_engines_are_right() {
    let case: Case = built::relu_f32(&mut Numbers::new(17), Layout::Dense, &[1 << 24]);
    let bundles = common::run(&case, 0, &ALL, 0);
    assert_eq!(bundles.len(), 8);
}
