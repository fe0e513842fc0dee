//! `memory_scrub=1`: the driver fills SRAM and 31.5 GB of HBM with a pattern when it takes the card, whenever a user leaves
//! it, and after a reset (`gaudi-soc.md` 6.8). The card does not store such fills.

use std::time::Duration;

use coxswain_guest::plan::Step;
use coxswain_machine::scenario::{ADDED, STATUS, Scenario};

use crate::rig::{DEVICE, JOBS, Rig};

/// The driver's files for a look at device memory.
const DEBUG: &str = "/sys/kernel/debug/accel/0000:01:00.0";
/// The first and the last word of what is scrubbed, and one between.
const PLACES: [&str; 3] = ["0x20000000", "0x412345678", "0x7fffffff8"];
/// The driver's pattern, and another.
const DEFAULT: &str = "0x1122334455667788";
const CHANGED: &str = "0xa1b2c3d4e5f60718";
/// Page tables, firmware and the blocks that the driver itself has read are stored.
const STORED_LIMIT: u64 = 64 << 20;

/// Reads the words at [`PLACES`] through the host's BAR.
fn look(scenario: &mut Scenario<'_>) {
    for place in PLACES {
        scenario.step(Step::WriteFile { path: format!("{DEBUG}/addr"), data: format!("{place}\n") });
        scenario.step(Step::ReadFile { path: format!("{DEBUG}/data64") });
    }
}

#[test]
fn with_memory_scrub_the_driver_takes_the_card_jobs_pass_and_every_scrub_is_seen() {
    let rig = Rig::take();
    let mut scenario = rig.scenario();
    scenario.load_driver("memory_scrub=1").unwrap().wait_until_added(30).read_status();
    look(&mut scenario);
    scenario.step(Step::WriteFile { path: format!("{DEBUG}/memory_scrub_val"), data: format!("{CHANGED}\n") });
    let jobs = [
        JOBS,
        "--json",
        "host-hbm:67108864",
        "hbm-host:1048589",
        "hbm-hbm:67108864",
        "fill-hbm",
        "long-lower",
        "small",
    ];
    scenario.run(&jobs, 100).unwrap();
    // The driver may be at it still when the program has ended.
    scenario.step(Step::WriteFile { path: format!("{DEBUG}/addr"), data: format!("{}\n", PLACES[2]) });
    scenario.step(Step::WaitFor { path: format!("{DEBUG}/data64"), contains: CHANGED.into(), timeout_s: 10 });
    look(&mut scenario);
    scenario.step(Step::WriteFile { path: format!("{DEVICE}/hard_reset"), data: "1\n".into() });
    scenario.step(Step::WaitKernelLog { contains: "Successfully finished resetting".into(), timeout_s: 60 });
    scenario.step(Step::WaitFor { path: STATUS.into(), contains: "Operational".into(), timeout_s: 10 });
    look(&mut scenario);
    scenario.run(&[JOBS, "--json", "hbm-hbm:65539", "streams:200"], 60).unwrap();
    scenario.unload_driver(60);
    let story = rig.play(scenario, 240);

    story.must_be_flawless();
    let found = story.files(&format!("{DEBUG}/data64"));
    let expected = [[DEFAULT; 3], [CHANGED; 3], [CHANGED; 3]].concat();
    story.must(found == expected, format!("the words in HBM were {found:?}"));
    story.passed_jobs(0);
    story.passed_jobs(1);
    story.must_have_said(ADDED, 1);
    for words in ["scrub", "DMA Timeout", "NOT usable"] {
        story.must_have_said(words, 0);
    }
    let (begin, end) = story.span("habanalabs.ko");
    let loading = end - begin;
    story.must(loading < Duration::from_secs(30), format!("loading took {loading:?}"));
    let stored = story.hbm_stored();
    story.must(stored < STORED_LIMIT, format!("HBM takes {stored} bytes"));
    println!("HBM takes {} KiB; loading took {loading:.2?}", stored >> 10);
}
