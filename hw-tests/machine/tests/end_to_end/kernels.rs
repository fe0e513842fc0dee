//! Kernels on the TPCs through the stock driver: right results, and what becomes of wrong kernels.

use coxswain_guest::plan::Step;
use coxswain_machine::scenario::{ADDED, STATUS};

use crate::rig::{DEVICE, JOBS, Rig, run_expecting};

const RESET_DONE: &str = "Successfully finished resetting";
/// What every wrong kernel raises: the event of the TPC that it ran on.
const EVENT: &str = "[\"TPC5_KRN_ERR\"]";
/// What follows when the submission can never complete.
const RESET_REQUEST: &str = "[\"DEV_RESET_REQ\"]";

/// The job, and the cause that the driver reads and logs.
const FAULTS: [(&str, &str); 7] = [
    ("fault-tpc-instruction", "interrupt cause: tpc_illegal_instruction"),
    ("fault-tpc-load", "interrupt cause: tpc_hbw_rresp_err"),
    ("fault-tpc-store", "interrupt cause: tpc_hbw_bresp_err"),
    ("fault-tpc-local", "interrupt cause: tpc_address_exceed_slm"),
    ("fault-tpc-jump", "interrupt cause: tpc_pc_wrap_around"),
    ("fault-tpc-reg-read", "interrupt cause: tpc_lbw_rresp_err"),
    ("fault-tpc-reg-write", "interrupt cause: tpc_lbw_bresp_err"),
];

/// Microseconds in which a faulty submission must have ended: the grace of 1.5 s, and time for the driver to stop everything.
const SECONDS_US: f64 = 8e6;

#[test]
fn a_wrong_kernel_raises_its_event_with_its_cause_ends_in_seconds_and_the_next_user_s_kernels_work() {
    let rig = Rig::take();
    let counter = format!("{DEVICE}/hard_reset_cnt");
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(30);
    for (job, cause) in FAULTS {
        // The job passes only when its submission ended with the error of an aborted one and the event was counted.
        scenario.run(&[JOBS, "--json", job], 60).unwrap();
        for message in [EVENT, cause, RESET_REQUEST, RESET_DONE] {
            scenario.step(Step::WaitKernelLog { contains: message.to_owned(), timeout_s: 60 });
        }
        scenario.step(Step::WaitFor { path: STATUS.into(), contains: "Operational".into(), timeout_s: 10 });
        scenario.run(&[JOBS, "--json", "tpc-launches:64", "tpc-axpb:100000"], 60).unwrap();
    }
    scenario.step(Step::ReadFile { path: counter.clone() });
    let story = rig.play(scenario, 400);

    story.must_be_flawless();
    let resets = FAULTS.len().to_string();
    story.must(story.files(&counter) == [resets], format!("the reset counter was {:?}", story.files(&counter)));
    for (index, (job, _)) in FAULTS.iter().enumerate() {
        let records = story.passed_jobs(2 * index);
        let longest = records.first().and_then(|record| record.latency_us).map_or(f64::MAX, |latency| latency.max);
        story.must(longest < SECONDS_US, format!("{job} was pending for {:.1} s", longest / 1e6));
        story.must(story.passed_jobs(2 * index + 1).len() == 2, "a job after the fault is missing");
    }
    story.must_have_said("NOT usable", 0);
    story.must_have_said(ADDED, 1);
}

#[test]
fn compiled_and_own_kernels_give_right_results_over_one_to_eight_tpcs() {
    let rig = Rig::take();
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(30);
    let jobs =
        ["tpc-objects", "tpc-kernels", "tpc-launches:1000", "tpc-queued:100", "tpc-streams:50", "tpc-axpb:16777216"];
    let command: Vec<&str> = [JOBS, "--json"].into_iter().chain(jobs).collect();
    scenario.run(&command, 200).unwrap();
    let story = rig.play(scenario, 260);
    story.must_be_flawless();
    story.must(story.passed_jobs(0).len() == jobs.len(), "a job is missing");
}

#[test]
fn a_kernel_of_one_s_own_runs_from_a_file_and_a_broken_one_is_refused_in_words() {
    const OBJECT: &[u8] = include_bytes!("../../../tpc/tests/data/kernels/axpb_f32.o");
    let floats =
        |function: fn(f32) -> f32| (0..500).flat_map(move |n| function(n as f32).to_le_bytes()).collect::<Vec<u8>>();
    let rig = Rig::take();
    let mut scenario = rig.scenario();
    scenario.file("/axpb.o", OBJECT).file("/x", &floats(|x| x)).file("/right", &floats(|x| 2.0 * x + 0.5));
    scenario.file("/broken.o", &OBJECT[..700]);
    scenario.load_driver("").unwrap().wait_until_added(30);
    let tensors = ["--tensor", "in:f32:500:/x", "--tensor", "out:f32:500:/y", "--scalar", "2.0", "--scalar", "0.5"];
    let command = |kernel| [&["coxswain-kernel", kernel, "--space", "8"][..], &tensors].concat();
    scenario.run(&command("/axpb.o"), 60).unwrap().run(&["cmp", "/y", "/right"], 10).unwrap();
    run_expecting(&mut scenario, &command("/broken.o"), 60, 2);
    let story = rig.play(scenario, 120);
    story.must_be_flawless();
    let said = story.programs()[2].output;
    story.must(said.contains("/broken.o: no usable ELF32"), format!("the program said {said:?}"));
}
