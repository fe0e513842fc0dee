//! Jobs that do something wrong: the driver hears of it, the submission ends with an error in seconds, and the card works
//! for the next user (`decisions.md` 2).

use coxswain_guest::plan::Step;
use coxswain_machine::scenario::{ADDED, STATUS};

use crate::rig::{DEVICE, JOBS, Rig};

const RESET_DONE: &str = "Successfully finished resetting";

/// The job, and what the driver logs about the error in this order.
const FAULTS: [(&str, &[&str]); 12] = [
    ("fault-opcode", &["[\"DMA2_QM\"]", "err cause: CP error due to undefined OPCODE"]),
    ("fault-page", &["[\"MMU_PAGE_FAULT\"]", "MMU page fault on va 0x1010000000000"]),
    ("fault-message", &["[\"DMA0_QM\"]", "err cause: CP AXI LBW error"]),
    ("fault-lower-opcode", &["[\"DMA2_QM\"]", "err cause: CP error due to undefined OPCODE"]),
    ("fault-truncated", &["[\"DMA2_QM\"]", "err cause: CP error due to undefined OPCODE"]),
    ("fault-lower-message", &["[\"DMA2_QM\"]", "err cause: CP AXI LBW error"]),
    ("fault-fetch", &["[\"DMA2_QM\"]", "err cause: CQ AXI HBW error"]),
    ("fault-register", &["[\"DMA2_QM\"]", "err cause: CP WRREG32 or WRBULK returned error"]),
    ("fault-fence-under", &["[\"DMA2_QM\"]", "err cause: FENCE 1 dec"]),
    ("fault-fence-over", &["[\"DMA2_QM\"]", "err cause: FENCE 1 inc"]),
    ("fault-table", &["[\"DMA2_QM\"]", "err cause: CP AXI HBW error"]),
    ("fault-stop", &["[\"DMA2_QM\"]", "err cause: CP encountered STOP OPCODE"]),
];

/// Microseconds in which a faulty submission must have ended: the grace of 1.5 s before the card asks for a reset, and time
/// for the driver to stop everything on a busy machine.
const SECONDS_US: f64 = 8e6;

#[test]
fn a_fault_reaches_the_driver_ends_its_submission_in_seconds_and_the_next_user_finds_a_working_card() {
    let rig = Rig::take();
    let counter = format!("{DEVICE}/hard_reset_cnt");
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(30);
    for (job, messages) in FAULTS {
        // The job passes only when its submission ended with the error of an aborted one.
        scenario.run(&[JOBS, "--json", job], 60).unwrap();
        for message in messages.iter().chain(&["[\"DEV_RESET_REQ\"]", RESET_DONE]) {
            scenario.step(Step::WaitKernelLog { contains: (*message).to_owned(), timeout_s: 60 });
        }
        scenario.step(Step::WaitFor { path: STATUS.into(), contains: "Operational".into(), timeout_s: 10 });
        scenario.step(Step::ReadFile { path: counter.clone() });
        scenario
            .run(&[JOBS, "--json", "host-hbm:65539", "hbm-host:65539", "hbm-hbm:65539", "streams:100"], 60)
            .unwrap();
    }
    let story = rig.play(scenario, 600);

    story.must_be_flawless();
    let resets: Vec<String> = (1..=FAULTS.len()).map(|number| number.to_string()).collect();
    story.must(story.files(&counter) == resets, format!("the reset counter was {:?}", story.files(&counter)));
    for (index, (job, _)) in FAULTS.iter().enumerate() {
        let records = story.passed_jobs(2 * index);
        let longest = records.first().and_then(|record| record.latency_us).map_or(f64::MAX, |latency| latency.max);
        story.must(longest < SECONDS_US, format!("{job} was pending for {:.1} s", longest / 1e6));
        // Not before the grace, in which the driver reads the causes.
        story.must(longest > 1e6, format!("{job} was pending for {:.1} s only", longest / 1e6));
        story.must(story.passed_jobs(2 * index + 1).len() == 4, "a job after the fault is missing");
    }
    // The driver never gave the card up, and never had to be loaded again.
    story.must_have_said("NOT usable", 0);
    story.must_have_said(ADDED, 1);
}
