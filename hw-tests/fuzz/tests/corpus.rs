//! Every target over its seeds, its saved inputs and a fixed number of mutations of them.
#![allow(clippy::unwrap_used, reason = "a test program: a panic is how it fails")]

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use coxswain_fuzz::mutate::{Random, mutate};
use coxswain_fuzz::{Reached, TARGETS, Target};

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// The saved inputs of a target by file name.
fn saved(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder("saved").join(target.name)) else { return vec![] };
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Runs an input; when it fails, says which one it was.
fn run(target: &Target, what: &str, input: &[u8]) -> Reached {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|panic| {
        let hex = input.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        eprintln!("{}: {what} fails, input (hexadecimal; keep it in saved/{}):\n{hex}", target.name, target.name);
        resume_unwind(panic)
    })
}

/// Runs seeds, saved inputs and `mutations` mutated inputs, and asserts that every milestone was reached.
fn hold(name: &str, mutations: u64) {
    let target = target(name);
    let mut inputs = (target.seeds)();
    let mut reached = Reached::new();
    for (number, input) in inputs.iter().enumerate() {
        reached.extend(run(&target, &format!("seed {number}"), input));
    }
    for (file, input) in saved(&target) {
        reached.extend(run(&target, &format!("saved/{name}/{file}"), &input));
        inputs.push(input);
    }
    let mut random = Random::new(setting("COXSWAIN_FUZZ_SEED", 1));
    for number in 0..setting("COXSWAIN_FUZZ_INPUTS", mutations) {
        let mut input = inputs[random.below(inputs.len())].clone();
        let other = &inputs[random.below(inputs.len())];
        mutate(&mut input, other, &mut random);
        let found = run(&target, &format!("mutation {number}"), &input);
        // What reaches something new is worth further mutations.
        if !found.is_subset(&reached) {
            inputs.push(input);
        }
        reached.extend(found);
    }
    let missing: Vec<_> = target.milestones.iter().filter(|milestone| !reached.contains(*milestone)).collect();
    assert!(missing.is_empty(), "{name} never came to {missing:?}");
    let unknown: Vec<_> = reached.iter().filter(|milestone| !target.milestones.contains(milestone)).collect();
    assert!(unknown.is_empty(), "{name} does not list {unknown:?}");
}

#[test]
fn queue_engine_and_reference_agree_on_any_bytes() {
    hold("queue_programs", 8000);
}

#[test]
fn no_image_file_is_accepted_that_is_damaged() {
    hold("container", 40_000);
}

#[test]
fn the_loader_executes_what_it_checked_whatever_the_host_writes() {
    hold("comms", 20_000);
}

#[test]
fn the_control_queue_stays_in_the_shared_area_whatever_the_host_writes() {
    hold("packets", 20_000);
}

#[test]
fn events_arrive_in_order_and_once_whatever_the_host_writes() {
    hold("event_ring", 40_000);
}

#[test]
fn every_folder_of_saved_inputs_belongs_to_a_target() {
    for entry in fs::read_dir(folder("saved")).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "saved/{name}");
    }
}

#[test]
fn the_same_seed_gives_the_same_mutations() {
    let made = |seed| {
        let mut random = Random::new(seed);
        let mut input = vec![1, 2, 3, 4];
        for _ in 0..50 {
            mutate(&mut input, &[9; 40], &mut random);
        }
        input
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}

/// Not a test of anything but the writing: `COXSWAIN_FUZZ_WRITE_SEEDS=1` asks for it.
#[test]
fn seeds_for_libfuzzer() {
    if std::env::var_os("COXSWAIN_FUZZ_WRITE_SEEDS").is_none() {
        return;
    }
    for target in TARGETS {
        let folder = folder("corpus").join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
