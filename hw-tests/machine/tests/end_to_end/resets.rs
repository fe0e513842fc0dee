//! Hard resets that the operator asks for through sysfs, with no user on the card.

use coxswain_guest::plan::Step;
use coxswain_machine::scenario::STATUS;

use crate::rig::{DEVICE, JOBS, Rig};

const RESETS: usize = 3;
const RESET_DONE: &str = "Successfully finished resetting";

#[test]
fn jobs_pass_after_each_of_three_hard_resets_in_a_row() {
    let rig = Rig::take();
    let counter = format!("{DEVICE}/hard_reset_cnt");
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(30);
    for _ in 0..RESETS {
        scenario.step(Step::WriteFile { path: format!("{DEVICE}/hard_reset"), data: "1\n".into() });
        scenario.step(Step::WaitKernelLog { contains: RESET_DONE.into(), timeout_s: 60 });
        // The message comes just before the driver lets users in again.
        scenario.step(Step::WaitFor { path: STATUS.into(), contains: "Operational".into(), timeout_s: 10 });
        scenario.step(Step::ReadFile { path: counter.clone() });
        scenario
            .run(&[JOBS, "--json", "host-sram:4095", "hbm-host:1048589", "hbm-hbm:65539", "streams:200"], 60)
            .unwrap();
    }
    let story = rig.play(scenario, 240);

    story.must_be_flawless();
    story.must(story.files(&counter) == ["1", "2", "3"], format!("the reset counter was {:?}", story.files(&counter)));
    story.must_have_said("Hard-Reset requested through sysfs", RESETS);
    story.must_have_said(RESET_DONE, RESETS);
    // Each reset loads both images again.
    story.must_have_said("Successfully loaded firmware to device", 1 + RESETS);
    for index in 0..RESETS {
        story.must(story.passed_jobs(index).len() == 4, "a job is missing");
    }
}
