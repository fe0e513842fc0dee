//! The driver takes the card: probe, sensors, versions, jobs, heartbeat, and the same again after `rmmod`.

use std::time::Duration;

use coxswain_abi::soc::straps;
use coxswain_card::Injection;
use coxswain_guest::plan::Step;
use coxswain_machine::logs::run_folder;
use coxswain_machine::scenario::{ADDED, STATUS};
use coxswain_machine::session::Config;
use serde_json::Value;

use crate::rig::{JOBS, NODE, Rig, Story};

/// Milliseconds that contain a heartbeat: the driver's period is 10 s (`boot-protocol.md` 14.4).
const HEARTBEAT_MS: u64 = 11_500;
/// How the trace shows that the driver has queued a packet: CPU_IF_PF_PQ_PI was written.
const PACKET_QUEUED: &str = " write 0x0442200 ";

#[test]
fn the_driver_takes_the_card_and_every_job_passes_before_and_after_a_second_load() {
    let rig = Rig::take();
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(30).read_status();
    scenario.run(&[JOBS, "--json"], 150).unwrap();
    scenario.step(Step::Sleep { ms: HEARTBEAT_MS }).read_status();
    scenario.run(&[JOBS, "info", "--json"], 30).unwrap();
    scenario.unload_driver(60).run(&["test", "!", "-e", NODE], 5).unwrap();
    scenario.load_driver("").unwrap().wait_until_added(30).read_status();
    scenario.run(&[JOBS, "--json", "host-hbm:65539", "hbm-host:65539", "hbm-hbm:65539", "small:100"], 60).unwrap();
    scenario.unload_driver(60);
    let story = rig.play_with(scenario, 300, Config { trace_registers: true, ..Config::default() });

    story.must_be_flawless();
    story.must_have_said(ADDED, 2);
    story.must_have_said("removed device successfully", 2);
    for status in story.files(STATUS) {
        story.must(status == "Operational", format!("the device's status is {status:?}"));
    }
    story.must(story.files(STATUS).len() == 3, "the status was not read three times");
    every_kind_of_job_passed(&story);
    a_heartbeat_came_while_the_card_was_idle(&story);
    story.must_have_said("Going to reset device", 0);
    let card: Value = serde_json::from_str(story.programs()[1].output)
        .unwrap_or_else(|error| story.fail(format!("the inventory cannot be read: {error}")));
    sensors_make_sense(&story, &card);
    versions_are_those_of_this_build(&story, &card);
    story.must(card["resets"]["hard"] == 0, "the driver has reset the card");
    story.must(story.passed_jobs(3).len() == 4, "not every job was run after the second load");
}

#[test]
fn the_driver_takes_a_card_that_is_strapped_for_the_static_loader_twice() {
    let rig = Rig::take();
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(60).read_status();
    scenario.run(&[JOBS, "--json", "host-hbm:4096", "hbm-hbm:65539"], 60).unwrap();
    scenario.unload_driver(60).load_driver("").unwrap().wait_until_added(60).read_status().unload_driver(60);
    let story = rig.play_with(scenario, 300, Config { straps: straps::STATIC_LOADER, ..Config::default() });
    story.must_be_flawless();
    story.must_have_said(ADDED, 2);
    story.must(story.files(STATUS) == ["Operational", "Operational"], "the card is not operational");
    story.must(story.passed_jobs(0).len() == 2, "a job is missing");
}

fn every_kind_of_job_passed(story: &Story) {
    let records = story.passed_jobs(0);
    for job in
        ["host-sram", "host-hbm", "sram-host", "hbm-host", "hbm-hbm", "sram-hbm", "fill-hbm", "small", "full-queue"]
    {
        story.must(records.iter().any(|record| record.job == job), format!("the job {job} was not run"));
    }
    for bytes in [1, 64 << 20] {
        let copies = records.iter().filter(|record| record.bytes == bytes && record.job.contains("hbm"));
        story.must(copies.count() >= 3, format!("copies of {bytes} bytes are missing"));
    }
    let small = records.iter().find(|record| record.job == "small");
    story.must(small.is_some_and(|record| record.submissions >= 1000), "fewer than 1000 small submissions");
}

fn a_heartbeat_came_while_the_card_was_idle(story: &Story) {
    let (begin, end) = story.span(&format!("sleep {HEARTBEAT_MS} ms"));
    let trace = story.log(run_folder::REGISTERS);
    let times = trace
        .lines()
        .filter(|line| line.contains(PACKET_QUEUED))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok().map(Duration::from_secs_f64));
    let packets = times.filter(|time| (begin..end).contains(time)).count();
    story.must(packets >= 1, "no heartbeat was sent in a whole period");
    story.must(packets <= 2, format!("{packets} packets were sent to an idle card"));
}

/// Reads the number that is at `name` among the sensors' values.
fn sensor(story: &Story, values: &Value, name: &str) -> f64 {
    let text = values[name].as_str().unwrap_or_default();
    text.parse()
        .unwrap_or_else(|_| story.fail(format!("the sensor file {name} does not hold a number: {}", values[name])))
}

/// Units of hwmon: millidegrees, millivolts, milliamperes, microwatts.
fn sensors_make_sense(story: &Story, card: &Value) {
    let monitor = &card["hwmon"][0];
    story.must(monitor["name"] == "coxswain", format!("the monitor's name is {}", monitor["name"]));
    let values = &monitor["values"];
    for (name, low, high) in [
        ("temp1_input", 10e3, 100e3),
        ("temp2_input", 10e3, 100e3),
        ("in0_input", 10.8e3, 13.2e3),
        ("in1_input", 600.0, 1100.0),
        ("curr1_input", 100.0, 10e3),
        ("power1_input", 10e6, 400e6),
    ] {
        let value = sensor(story, values, name);
        story.must((low..=high).contains(&value), format!("{name} is {value}"));
    }
    for pair in
        [("temp1_input", "temp1_max"), ("temp1_max", "temp1_crit"), ("in0_min", "in0_input"), ("in0_input", "in0_max")]
    {
        let (low, high) = (sensor(story, values, pair.0), sensor(story, values, pair.1));
        story.must(low < high, format!("{} = {low} is not below {} = {high}", pair.0, pair.1));
    }
    // Input voltage and current belong to the same rail as the power.
    let power = sensor(story, values, "in0_input") * sensor(story, values, "curr1_input");
    let ratio = power / sensor(story, values, "power1_input");
    story.must((0.9..1.1).contains(&ratio), "power is not voltage times current");
    let reported = card["power"].as_f64().unwrap_or_default() * 1000.0;
    story.must(reported == sensor(story, values, "power1_input"), "the power request and hwmon disagree");
}

/// The files of hwmon that show inputs, in the order of [`SHOWN`].
const FILES: [&str; 6] = ["temp1_input", "temp2_input", "in0_input", "in1_input", "curr1_input", "power1_input"];
/// What is injected before the driver loads, and while it runs; and what hwmon shows then (power in microwatts).
const SHOWN: [(&str, [f64; 6]); 2] = [
    ("temp1=33375,temp2=88125,in0=11900,in1=750,curr1=12000", [33_375.0, 88_125.0, 11_900.0, 750.0, 12_000.0, 142.8e6]),
    ("temp1=-8000,temp2=99500,in0=12500,in1=912,curr1=4000", [-8_000.0, 99_500.0, 12_500.0, 912.0, 4_000.0, 50.0e6]),
];

#[test]
fn hwmon_follows_what_the_sensors_see() {
    let rig = Rig::take();
    let list = |text: &str| Injection::parse_list(text).expect("a list of changes");
    let mut scenario = rig.scenario();
    scenario.load_driver("").unwrap().wait_until_added(30);
    scenario.run(&[JOBS, "info", "--json"], 30).unwrap();
    scenario.step(Step::AwaitHost { token: "other values".into(), timeout_s: 30 });
    scenario.run(&[JOBS, "info", "--json"], 30).unwrap();
    scenario.unload_driver(60);
    let config = Config { injections: list(SHOWN[0].0), ..Config::default() };
    let story = rig.play_along(scenario, 120, config, "other values", |soc| {
        soc.change_board(|world| list(SHOWN[1].0).into_iter().for_each(|change| change.apply(world)));
    });
    story.must_be_flawless();
    for (program, (_, expected)) in SHOWN.into_iter().enumerate() {
        let card: Value = serde_json::from_str(story.programs()[program].output)
            .unwrap_or_else(|error| story.fail(format!("the inventory cannot be read: {error}")));
        let values = &card["hwmon"][0]["values"];
        for (file, expected) in FILES.into_iter().zip(expected) {
            let found = sensor(&story, values, file);
            // One step of the power monitor is 1.25 mV, 1.25 mA, 31.25 mW.
            let close = (found - expected).abs() <= expected.abs() * 0.002 + 1.0;
            story.must(close, format!("{file} is {found}, injected was {expected}"));
        }
    }
}

fn versions_are_those_of_this_build(story: &Story, card: &Value) {
    let version = env!("CARGO_PKG_VERSION");
    for name in ["preboot_btl_ver", "uboot_ver", "cpucp_kernel_ver", "cpucp_ver"] {
        let found = card["sysfs"][name].as_str().unwrap_or_default();
        let words = format!("fw-{version}");
        story.must(found.contains(&words), format!("{name} is {found:?} and does not name {words}"));
    }
    for (name, expected) in [("device_type", "GAUDI"), ("status", "Operational"), ("security_enabled", "0")] {
        story.must(card["sysfs"][name] == expected, format!("{name} is {}", card["sysfs"][name]));
    }
    let hardware = &card["hardware"];
    story.must(hardware["card_name"] == "coxswain", "the card's name is wrong");
    story.must(hardware["tpc_mask"] == 0xFF, "not all TPCs are there");
}
