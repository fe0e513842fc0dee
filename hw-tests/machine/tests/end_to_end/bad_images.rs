//! Firmware files that must not run: the card refuses them at once, says why, and takes a good file afterwards.
//!
//! The failing attempt can only show the driver's fixed texts; the reason in words comes with the next good load
//! (`decisions.md` 1, `boot-protocol.md` 8.8).

use coxswain_guest::plan::Step;
use coxswain_machine::guest::initramfs::FIRMWARE;
use coxswain_machine::image::{self, Contents, Stage};
use coxswain_machine::images::{BOOT_FIT_FILE, CONTROL_FILE};
use coxswain_machine::keys::{Signer, SigningKey};
use coxswain_machine::scenario::{ADDED, STATUS};

use crate::rig::{JOBS, Rig, run_expecting};

const UNUSABLE: &str = "is NOT usable!";
const IMAGE_ERROR: &str = "Device boot error - FIT image corrupted";
const SECURITY_ERROR: &str = "Device boot error - security failure";
/// Where the guest keeps the good file while the bad one is in its place.
const KEPT: &str = "/good.itb";

/// The file `name` is `bad` at the first load and good at the second. `failed_step` is what the driver says it could not do,
/// `reason` what the firmware says at the second load.
fn a_bad_file_is_refused_and_a_good_one_loads(rig: &Rig, name: &str, bad: &[u8], failed_step: &str, reason: &str) {
    let kind = if reason.contains("error 0x03") { SECURITY_ERROR } else { IMAGE_ERROR };
    let good = rig.firmware().files().into_iter().find(|(file, _)| *file == name).unwrap().1;
    assert_ne!(good, bad, "the file is not bad");
    assert_eq!(bad.len() % 4, 0, "the driver itself would refuse this size");
    let place = format!("{FIRMWARE}/{name}");
    let mut scenario = rig.scenario();
    scenario.file(&place, bad).file(KEPT, good);
    scenario.load_driver("").unwrap();
    scenario.step(Step::WaitKernelLog { contains: kind.into(), timeout_s: 5 });
    scenario.step(Step::WaitKernelLog { contains: UNUSABLE.into(), timeout_s: 5 }).read_status();
    run_expecting(&mut scenario, &[JOBS, "--json", "host-hbm:64"], 30, 1);
    scenario.unload_driver(60).run(&["cp", KEPT, &place], 10).unwrap();
    scenario.load_driver("").unwrap();
    scenario.step(Step::WaitKernelLog { contains: reason.into(), timeout_s: 5 }).wait_until_added(30).read_status();
    scenario.run(&[JOBS, "--json", "host-hbm:4096", "hbm-hbm:4096"], 60).unwrap();
    // The reason is told once.
    scenario.unload_driver(60).load_driver("").unwrap().wait_until_added(30);
    let story = rig.play(scenario, 240);

    // The load of the bad file is among the steps that succeeded: insmod returns 0.
    story.must_be_flawless();
    story.must_have_said(failed_step, 1);
    story.must_have_said(UNUSABLE, 1);
    story.must_have_said(ADDED, 2);
    story.must_have_said(reason, 1);
    story.must_have_said("Coxswain: ", 1);
    let status = story.files(STATUS);
    story.must(matches!(status[..], ["Disabled", "Operational"]), format!("the status was {status:?}"));
    story.must(story.programs()[0].output.contains("the card is not operational"), "the card could be opened");
    story.must(story.passed_jobs(2).len() == 2, "a job is missing");
    let (begun, ended) = story.span("load /lib/modules/habanalabs.ko");
    let seconds = (ended - begun).as_secs();
    story.must(seconds < 10, format!("the refusal took {seconds} s: the driver has waited for its time-out"));
}

/// `good` with one bit of its middle changed: inside the program, far from the container's structure.
fn with_a_flipped_bit(good: &[u8]) -> Vec<u8> {
    let mut bad = good.to_vec();
    bad[good.len() / 2] ^= 0x10;
    bad
}

fn image(rig: &Rig, name: &str) -> Vec<u8> {
    rig.firmware().files().into_iter().find(|(file, _)| *file == name).unwrap().1.to_vec()
}

#[test]
fn a_corrupted_boot_fit_is_refused_and_a_good_one_loads() {
    let rig = Rig::take();
    let bad = with_a_flipped_bit(&image(&rig, BOOT_FIT_FILE));
    let reason = "Coxswain: boot-fit refused: boot error 0x020D: FIT hash does not match";
    a_bad_file_is_refused_and_a_good_one_loads(&rig, BOOT_FIT_FILE, &bad, "failed to load boot fit", reason);
}

#[test]
fn a_corrupted_control_image_is_refused_and_a_good_one_loads() {
    let rig = Rig::take();
    let bad = with_a_flipped_bit(&image(&rig, CONTROL_FILE));
    let reason = "Coxswain: control refused: boot error 0x020D: FIT hash does not match";
    a_bad_file_is_refused_and_a_good_one_loads(&rig, CONTROL_FILE, &bad, "failed to load Linux", reason);
}

#[test]
fn a_control_image_of_a_stranger_is_refused_and_one_of_ours_loads() {
    let rig = Rig::take();
    let stranger = Signer { key: SigningKey::from_bytes(&[9; 32]), name: "stranger".into() };
    let contents = Contents {
        stage: Stage::Control,
        binary: &[0; 4096],
        load: 0x0E40_0000,
        entry: 0x0E40_0000,
        version: "evil",
        rollback: 99,
        raise_to: 0,
    };
    let bad = image::pack(&contents, &stranger).unwrap();
    let reason = "Coxswain: control refused: boot error 0x0303: FIT image is signed with an unknown key";
    a_bad_file_is_refused_and_a_good_one_loads(&rig, CONTROL_FILE, &bad, "failed to load Linux", reason);
}

#[test]
fn a_truncated_control_image_is_refused_and_a_whole_one_loads() {
    let rig = Rig::take();
    let good = image(&rig, CONTROL_FILE);
    let bad = &good[..(good.len() / 2) & !3];
    let reason = "Coxswain: control refused: boot error 0x0104: FIT size differs";
    a_bad_file_is_refused_and_a_good_one_loads(&rig, CONTROL_FILE, bad, "failed to load Linux", reason);
}

#[test]
fn a_boot_fit_in_the_place_of_the_control_image_is_refused_and_the_right_one_loads() {
    let rig = Rig::take();
    let bad = image(&rig, BOOT_FIT_FILE);
    let reason = "Coxswain: control refused: boot error 0x0208: FIT image is for another boot stage";
    a_bad_file_is_refused_and_a_good_one_loads(&rig, CONTROL_FILE, &bad, "failed to load Linux", reason);
}
