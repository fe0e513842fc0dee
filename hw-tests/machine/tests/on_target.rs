//! The firmware on the emulated Cortex-A53 under the scripted host: no Linux, seconds.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use coxswain_abi::cpucp::{opcode, sensor_attribute};
use coxswain_abi::packet::{self, MB, RB};
use coxswain_abi::regs::dma_core::commit;
use coxswain_abi::regs::psoc::{self, err0, sts0};
use coxswain_abi::soc::{core_block, hbm_block, straps};
use coxswain_card::soc::QueueThread;
use coxswain_card::{Card, Fuses, Injection};
use coxswain_core::boot::fit::{Expected, Image, Stage};
use coxswain_core::boot::trust::Trust;
use coxswain_host::exercise::exercise;
use coxswain_host::{Host, HostError};
use coxswain_machine::bench::golden::{self, Verdict};
use coxswain_machine::bench::on_target;
use coxswain_machine::image::{self, Contents};
use coxswain_machine::images::{self, Firmware};
use coxswain_machine::keys::{Signer, SigningKey};
use coxswain_machine::progress::Progress;
use coxswain_machine::provision::Tools;
use coxswain_machine::scripted;
use coxswain_machine::session::{Config, Session};
use coxswain_machine::time_line::records;
use coxswain_reference::ceiling::Ceiling;

struct Ready {
    tools: Arc<Tools>,
    firmware: Arc<Firmware>,
}

/// Tools and images, made ready once. The guard keeps the machines of two tests from sharing the cores.
fn ready() -> (&'static Ready, MutexGuard<'static, ()>) {
    static READY: OnceLock<Ready> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ready = READY.get_or_init(|| {
        let progress = Progress::new();
        Ready {
            tools: coxswain_machine::environment::tools(&Default::default(), &progress).expect("the tools"),
            firmware: Arc::new(images::build_firmware(&progress).expect("the images")),
        }
    });
    (ready, guard)
}

fn start(ready: &Ready) -> Session {
    start_with_queue_cores(ready, 0)
}

fn start_with_queue_cores(ready: &Ready, cores: u32) -> Session {
    start_strapped(ready, straps::with_queue_cores(0, cores))
}

fn start_strapped(ready: &Ready, straps: u32) -> Session {
    let config = Config { firmware: Some(Arc::clone(&ready.firmware)), straps, ..Config::default() };
    Session::start(Arc::clone(&ready.tools), config).expect("the card and its management CPU")
}

/// Shows where the logs are when a step fails.
#[track_caller]
fn check<T, E: std::fmt::Display>(session: &Session, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        panic!("{error}\n{}logs: {}", session.folder().last_lines(20), session.folder().path().display())
    })
}

#[test]
fn the_firmware_takes_the_scripted_host_through_its_tour() {
    let (ready, _one) = ready();
    let session = start(ready);
    let [_, boot_fit, control] = &ready.firmware.stages;
    let mut steps = 0;
    let mut host = check(
        &session,
        exercise(session.card().unwrap(), scripted::bounds(), &boot_fit.image, &control.image, |_, _, _| steps += 1),
    );
    assert_eq!(steps, 11, "every step of the tour tells that it ended");
    let alone = check(&session, scripted::burst(&session, &mut host, 200, 1));
    let together = check(&session, scripted::burst(&session, &mut host, 1000, 64));
    assert!(alone.kicks_per_job() <= 2.0, "{alone:?}: at most two trapped accesses for a job by itself");
    assert!(together.kicks_per_job() < alone.kicks_per_job(), "{together:?} is not better than {alone:?}");
}

#[test]
fn queues_spread_over_cores_take_the_same_tour() {
    let (ready, _one) = ready();
    for cores in 1..=3 {
        let session = start_with_queue_cores(ready, cores);
        let [_, boot_fit, control] = &ready.firmware.stages;
        let card = session.card().unwrap();
        check(&session, exercise(card, scripted::bounds(), &boot_fit.image, &control.image, |_, _, _| {}));
    }
}

#[test]
fn the_tour_gives_right_data_while_the_interpreter_serves_the_queues_beside_the_firmware() {
    let (ready, _one) = ready();
    for thread in [QueueThread::Access, QueueThread::Own] {
        let session = start(ready);
        let [_, boot_fit, control] = &ready.firmware.stages;
        let card = session.card().unwrap();
        check(&session, Ceiling::attach(card, thread));
        let tour = exercise(card, scripted::bounds(), &boot_fit.image, &control.image, |_, _, _| {});
        let mut host = check(&session, tour);
        let burst = check(&session, scripted::burst(&session, &mut host, 500, 64));
        assert!(burst.kicks < 50, "{burst:?}: the firmware had nothing to do with the jobs");
    }
}

/// A command buffer of two blocks of HBM that a fill has written, and that the card therefore does not store: NOPs, and a
/// message at the end.
#[test]
fn a_command_buffer_in_memory_that_was_only_filled_is_executed() {
    const PROGRAM: u64 = hbm_block::ALWAYS_PRESENT + 8 * hbm_block::SIZE;
    const BYTES: u64 = 2 * hbm_block::SIZE;
    const ANSWER: u64 = PROGRAM + BYTES + 0x40;
    /// The first stream of DMA2.
    const QUEUE: u32 = 9;

    let (ready, _one) = ready();
    let session = start(ready);
    let [_, boot_fit, control] = &ready.firmware.stages;
    let card = session.card().unwrap();
    let mut host = check(&session, Host::probe_within(card, scripted::bounds()));
    check(&session, host.bring_up(&boot_fit.image, &control.image));
    check(&session, host.open_context());
    let fill = |pattern, bytes| packet::lin_dma(pattern, PROGRAM, bytes as u32, RB | commit::LIN | commit::MEM_SET);
    check(&session, host.run(0, &fill(packet::nop(RB), BYTES + hbm_block::SIZE)));
    let is_present = |offset| {
        hbm_block::is_present(card.memories().soc.read_u32(hbm_block::state(PROGRAM + offset)).expect("the states"))
    };
    assert!([0, hbm_block::SIZE, BYTES].into_iter().all(|offset| !is_present(offset)), "the card stores the fill");
    let message: Vec<u8> =
        packet::msg_long(ANSWER, 0xC0FF_EE00, RB | MB).iter().flat_map(|word| word.to_le_bytes()).collect();
    check(&session, host.link().write_device(PROGRAM + BYTES - message.len() as u64, &message));
    assert!(!is_present(0) && is_present(hbm_block::SIZE) && !is_present(BYTES), "the write stores its block alone");
    check(&session, host.submit_internal(QUEUE, PROGRAM, BYTES as u32));
    let look = || {
        let mut word = [0; 4];
        host.link().read_device(ANSWER, &mut word).map_err(|error| error.to_string())?;
        if word == 0xC0FF_EE00_u32.to_le_bytes() { Ok(()) } else { Err(format!("{word:x?}")) }
    };
    let answered = host.link().wait_until(scripted::bounds().job, || "the message".into(), look);
    check(&session, answered);
    assert!(is_present(0), "the firmware has asked for the first block");
    assert!(card.memories().hbm.stored_bytes().expect("a size") >= 3 * hbm_block::SIZE);
}

/// What a host puts in the place of an image.
type Spoil = fn(&mut Vec<u8>);

const SPOILS: [(&str, Spoil); 4] = [
    ("a flipped bit in the code", |image| {
        let middle = image.len() / 2;
        image[middle] ^= 0x10;
    }),
    ("an image cut short", |image| image.truncate(image.len() / 2 / 4 * 4)),
    ("no container at all", |image| image[..64].fill(0)),
    ("nothing but zeros", |image| image.fill(0)),
];

/// Asserts that a load was refused at once, and how the card shows it.
#[track_caller]
fn refused(host: &Host, result: Result<coxswain_host::Loaded, HostError>, what: &str) {
    refused_with(host, result, what, err0::FIT_CORRUPTED);
}

#[track_caller]
fn refused_with(host: &Host, result: Result<coxswain_host::Loaded, HostError>, what: &str, bits: u32) {
    let error = result.expect_err(what);
    assert!(!error.is_timeout(), "{what} must be refused at once, not by a time-out: {error}");
    assert_eq!(host.link().read(psoc::CPU_BOOT_ERR0), err0::ENABLED | bits, "{what}");
}

/// A card whose fuses are not those of the images.
fn start_with_fuses(ready: &Ready, fuses: Fuses) -> Session {
    let config = Config { firmware: Some(Arc::clone(&ready.firmware)), fuses: Some(fuses), ..Config::default() };
    Session::start(Arc::clone(&ready.tools), config).expect("the card and its management CPU")
}

/// The image with other promises, signed with another key or the development key.
fn packed_anew(file: &[u8], stage: Stage, signer: &Signer, change: impl FnOnce(&mut Contents)) -> Vec<u8> {
    let trust = Trust::in_key([0; 32]);
    let found = Image::locate(file, &Expected { stage, load: 0..u64::MAX, trust }).expect("a good image");
    let mut contents = Contents {
        stage,
        binary: found.data,
        load: found.load,
        entry: found.entry,
        version: "test",
        rollback: found.rollback,
        raise_to: found.raise_to,
    };
    change(&mut contents);
    image::pack(&contents, signer).expect("an image")
}

/// The words of COMMS, one by one, as far as a host gets before it stops.
const HALF_WAY: [&[u32]; 6] = [
    &[0x0800_0000],
    &[0x0800_0000, 0x1000_0000],
    &[0x0800_0000, 0x1800_0500, 0x0800_0000, 0],
    &[0x0800_0000, 0x1800_8000, 0x0800_0000, 0, 0x0800_0000, 0, 0x0800_0000, 0x2000_0000],
    &[0x2000_0000, 0x0800_0000, 0],
    &[0x2800_0000, 0x0800_0000, 0, 0xFFFF_FFFF],
];

/// Waits until the firmware has acted on everything that the host has written, and sleeps: a host that comes back does not
/// come back in the middle of that.
fn wait_until_asleep(card: &Card) {
    let soc = &card.memories().soc;
    let block = core_block::offset(0);
    let word = |offset| soc.load_acquire_u32(block + offset).expect("the core's block");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let producer = word(core_block::NOTIFY_PRODUCER);
        let empty = producer == word(core_block::NOTIFY_CONSUMER) && word(core_block::WANT_INTERRUPT) == 1;
        if empty && word(core_block::NOTIFY_PRODUCER) == producer {
            return;
        }
        assert!(std::time::Instant::now() < end, "the firmware does not come to rest");
        std::thread::yield_now();
    }
}

#[test]
fn a_host_that_stopped_half_way_does_not_keep_the_next_one_from_loading() {
    let (ready, _one) = ready();
    let [_, boot_fit, control] = &ready.firmware.stages;
    let session = start(ready);
    let mut host = check(&session, Host::probe_within(session.card().unwrap(), scripted::bounds()));
    for words in HALF_WAY {
        for word in words {
            host.link().write(psoc::KMD_MSG_TO_CPU, *word);
        }
        wait_until_asleep(session.card().unwrap());
    }
    check(&session, host.load(&boot_fit.image, &control.image));
    // The same while the boot-fit waits for the control image: a reset takes it back to the ROM.
    for words in HALF_WAY {
        check(&session, host.reset(None));
        let result = host.load(&boot_fit.image, &[0; 64]);
        refused(&host, result, "no control image");
        for word in words {
            host.link().write(psoc::KMD_MSG_TO_CPU, *word);
        }
        wait_until_asleep(session.card().unwrap());
    }
    check(&session, host.reset(None));
    check(&session, host.bring_up(&boot_fit.image, &control.image));
}

/// The sensor packets that are sent: opcode, index, attribute.
const INPUTS: [(u16, u16, u16); 6] = [
    (opcode::TEMPERATURE_GET, 0, sensor_attribute::INPUT),
    (opcode::TEMPERATURE_GET, 1, sensor_attribute::INPUT),
    (opcode::VOLTAGE_GET, 0, sensor_attribute::INPUT),
    (opcode::VOLTAGE_GET, 1, sensor_attribute::INPUT),
    (opcode::CURRENT_GET, 0, sensor_attribute::INPUT),
    (opcode::POWER_GET, 0, sensor_attribute::POWER_INPUT_MILLIWATT),
];

fn sensors(host: &mut Host) -> Vec<Option<i64>> {
    let read =
        |(opcode, index, attribute)| host.packet(opcode, 0, u32::from(index) | u32::from(attribute) << 16, 0).ok();
    INPUTS.into_iter().map(read).map(|answer| answer.map(|packet| packet.value.get().cast_signed())).collect()
}

#[test]
fn sensor_packets_follow_what_is_injected_and_a_stuck_bus_holds_nothing_up() {
    let (ready, _one) = ready();
    let session = start(ready);
    let card = session.card().unwrap();
    let inject = |text: &str| card.inject(&Injection::parse_list(text).expect("a list of changes"));
    let mut host = check(&session, scripted::bring_up(&session, &ready.firmware));
    assert_eq!(sensors(&mut host), [45_000, 47_000, 12_000, 800, 5_000, 60_000].map(Some));
    inject("temp1=-5125,temp2=101500,in0=11400,in1=850,curr1=10000");
    assert_eq!(sensors(&mut host), [-5_125, 101_500, 11_400, 850, 10_000, 114_000].map(Some));
    inject("silent=0x48,silent=0x40");
    assert_eq!(sensors(&mut host), [None, Some(101_500), None, Some(850), None, None]);
    inject("answers=0x48,answers=0x40,stuck=1");
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(sensors(&mut host), [None; 6]);
    }
    assert!(begun.elapsed().as_secs() < 5, "120 packets took {:?}", begun.elapsed());
    check(&session, scripted::burst(&session, &mut host, 100, 8));
    inject("stuck=0");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(sensors(&mut host), [-5_125, 101_500, 11_400, 850, 10_000, 114_000].map(Some));

    let (answer, bytes) = check(&session, host.packet_for_data(opcode::EEPROM_DATA_GET, 4096, 0));
    assert_eq!(answer.value.get(), 256);
    assert!(bytes.starts_with(b"Coxswain emulated card\0"), "{:?}", String::from_utf8_lossy(&bytes));
}

#[test]
fn the_static_loader_takes_the_scripted_host_through_the_same_tour() {
    let (ready, _one) = ready();
    let session = start_strapped(ready, straps::STATIC_LOADER);
    let [_, boot_fit, control] = &ready.firmware.stages;
    let card = session.card().unwrap();
    let host = check(&session, exercise(card, scripted::bounds(), &boot_fit.image, &control.image, |_, _, _| {}));
    assert_eq!(host.link().read(psoc::CPU_BOOT_DEV_STS0) & sts0::FW_LD_COM_EN, 0);
}

#[test]
fn the_static_loader_refuses_what_the_dynamic_one_refuses() {
    let (ready, _one) = ready();
    let session = start_strapped(ready, straps::STATIC_LOADER);
    let [_, boot_fit, control] = &ready.firmware.stages;
    let mut host = check(&session, Host::probe_within(session.card().unwrap(), scripted::bounds()));
    for (what, spoil) in SPOILS {
        let mut bad = boot_fit.image.clone();
        spoil(&mut bad);
        // What lies behind a short file must not complete it.
        bad.resize(boot_fit.image.len(), 0);
        let result = host.load(&bad, &control.image);
        refused(&host, result, what);
    }
    let foreign = packed_anew(&boot_fit.image, Stage::BootFit, &stranger(), |_| ());
    let result = host.load(&foreign, &control.image);
    refused_with(&host, result, "a boot-fit of a stranger", err0::SECURITY_FAIL);
    check(&session, host.load(&boot_fit.image, &control.image));
    for (what, spoil) in SPOILS {
        check(&session, host.reset(None));
        let mut bad = control.image.clone();
        spoil(&mut bad);
        bad.resize(control.image.len(), 0);
        let result = host.load(&boot_fit.image, &bad);
        refused(&host, result, what);
    }
    check(&session, host.reset(None));
    let loaded = check(&session, host.load(&boot_fit.image, &control.image));
    assert!(loaded.preboot_version.contains("control refused"), "no record: {loaded:?}");
    check(&session, host.reset(None));
    let loaded = check(&session, host.load(&boot_fit.image, &control.image));
    assert!(!loaded.preboot_version.contains("refused"), "told twice: {loaded:?}");
}

fn stranger() -> Signer {
    Signer { key: SigningKey::from_bytes(&[9; 32]), name: "stranger".into() }
}

#[test]
fn only_images_that_the_fuses_allow_run() {
    let (ready, _one) = ready();
    let own = Signer::development().expect("the development key");
    let [_, boot_fit, control] = &ready.firmware.stages;
    let session = start_with_fuses(ready, own.fuses().with_rollback(0, 2).with_rollback(1, 3));
    let mut host = check(&session, Host::probe_within(session.card().unwrap(), scripted::bounds()));

    let foreign = packed_anew(&boot_fit.image, Stage::BootFit, &stranger(), |contents| contents.rollback = 2);
    let result = host.load(&foreign, &control.image);
    refused_with(&host, result, "a boot-fit of a stranger", err0::SECURITY_FAIL);
    let result = host.load(&boot_fit.image, &control.image);
    refused_with(&host, result, "a boot-fit older than the counter", err0::SECURITY_FAIL);
    let mut forged = packed_anew(&boot_fit.image, Stage::BootFit, &own, |contents| contents.rollback = 2);
    let at = signature_at(&forged);
    forged[at] ^= 1;
    let result = host.load(&forged, &control.image);
    refused_with(&host, result, "a boot-fit with a broken signature", err0::SECURITY_FAIL);

    let newer = packed_anew(&boot_fit.image, Stage::BootFit, &own, |contents| contents.rollback = 2);
    let result = host.load(&newer, &control.image);
    refused_with(&host, result, "a control image older than the counter", err0::SECURITY_FAIL);
    check(&session, host.reset(None));
    let control = packed_anew(&control.image, Stage::Control, &own, |contents| contents.rollback = 3);
    let loaded = check(&session, host.load(&newer, &control));
    let told = loaded.messages.iter().any(|line| line.contains("control refused: boot error 0x0306"));
    assert!(told, "the refusal is not told: {:?}", loaded.messages);
}

/// Position of the signature: the last 64 bytes of the structure block before five tokens.
fn signature_at(file: &[u8]) -> usize {
    let word = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    word(8) + word(36) - 5 * 4 - 64
}

#[test]
fn blank_fuses_run_nothing() {
    let (ready, _one) = ready();
    let [_, boot_fit, control] = &ready.firmware.stages;
    let session = start_with_fuses(ready, Fuses::new());
    let mut host = check(&session, Host::probe_within(session.card().unwrap(), scripted::bounds()));
    let result = host.load(&boot_fit.image, &control.image);
    refused_with(&host, result, "an image on a card without keys", err0::EFUSE_FAIL);
}

#[test]
fn an_image_that_raises_the_counter_shuts_older_ones_out() {
    let (ready, _one) = ready();
    let own = Signer::development().expect("the development key");
    let [_, boot_fit, control] = &ready.firmware.stages;
    let session = start(ready);
    let card = session.card().unwrap();
    let mut host = check(&session, Host::probe_within(card, scripted::bounds()));
    let raising = packed_anew(&boot_fit.image, Stage::BootFit, &own, |contents| {
        contents.rollback = 4;
        contents.raise_to = 3;
    });
    check(&session, host.load(&raising, &control.image));
    assert_eq!(card.soc().fuses(), own.fuses().with_rollback(0, 3));
    check(&session, host.reset(None));
    let result = host.load(&boot_fit.image, &control.image);
    refused_with(&host, result, "the older boot-fit", err0::SECURITY_FAIL);
    check(&session, host.load(&raising, &control.image));
}

#[test]
fn a_bad_boot_fit_is_refused_and_the_next_good_one_loads() {
    let (ready, _one) = ready();
    let session = start(ready);
    let [_, boot_fit, control] = &ready.firmware.stages;
    let mut host = check(&session, Host::probe_within(session.card().unwrap(), scripted::bounds()));
    for (what, spoil) in SPOILS {
        let mut bad = boot_fit.image.clone();
        spoil(&mut bad);
        let result = host.load(&bad, &control.image);
        refused(&host, result, what);
    }
    let result = host.load(&control.image, &control.image);
    refused(&host, result, "the control image in the place of the boot-fit");
    let loaded = check(&session, host.load(&boot_fit.image, &control.image));
    assert!(loaded.messages.iter().any(|line| line.contains("Coxswain:")), "no record: {:?}", loaded.messages);
    assert_eq!(host.link().read(psoc::CPU_BOOT_ERR0), err0::ENABLED, "a good load clears the error");
}

#[test]
fn a_bad_control_image_is_refused_and_a_reset_brings_the_card_back() {
    let (ready, _one) = ready();
    let session = start(ready);
    let [_, boot_fit, control] = &ready.firmware.stages;
    let mut host = check(&session, Host::probe_within(session.card().unwrap(), scripted::bounds()));
    for (what, spoil) in SPOILS {
        let mut bad = control.image.clone();
        spoil(&mut bad);
        let result = host.load(&boot_fit.image, &bad);
        refused(&host, result, what);
        check(&session, host.reset(None));
    }
    check(&session, host.bring_up(&boot_fit.image, &control.image));
}

/// The ROM is flash that a card cannot grow; the others are what the host has time to send and a stage to check.
#[test]
fn every_image_fits_its_bound() {
    let (ready, _one) = ready();
    for (stage, kibibytes) in ready.firmware.stages.iter().zip([40, 56, 256]) {
        let bytes = stage.image.len();
        assert!(bytes <= kibibytes << 10, "the {} image has {bytes} bytes, more than {kibibytes} KiB", stage.name);
    }
}

#[test]
fn the_costs_are_those_of_the_golden_file() {
    let (ready, _one) = ready();
    let measured = on_target::measure(Arc::clone(&ready.tools), &ready.firmware).expect("the measurement");
    let golden = golden::load(&golden::path()).expect("the golden file");
    let moved: Vec<_> =
        golden::compare(&measured, &golden).into_iter().filter(|(_, verdict)| *verdict != Verdict::Same).collect();
    assert!(moved.is_empty(), "repair or explain, then `cargo run -- bench --update`: {moved:?}");
}

#[test]
fn a_trace_tells_what_every_core_s_queues_did_and_when() {
    use coxswain_abi::trace::{Event, State};
    let (ready, _one) = ready();
    let session = start_strapped(ready, straps::with_queue_cores(straps::TRACE, 2));
    let [_, boot_fit, control] = &ready.firmware.stages;
    let card = session.card().unwrap();
    let mut host = check(&session, Host::probe_within(card, scripted::bounds()));
    check(&session, host.bring_up(&boot_fit.image, &control.image));
    check(&session, host.open_context());
    let copy = packet::lin_dma(scripted::HBM, scripted::HBM + 0x1000, 64, RB | commit::LIN);
    check(&session, host.run(0, &copy));
    let all = check(&session, records::read(card));
    assert_eq!((all.lost, all.damaged), (0, 0));
    assert!(all.records.is_sorted_by_key(|record| record.nanoseconds));
    // The last of them: the start-up used the queue before.
    let last = |event: Event| all.records.iter().rposition(|record| record.event == event && record.core == 1);
    let end = |state| Event::End { qman: 0, stream: 0, state };
    let steps = [
        Event::Doorbell { qman: 0, stream: 0 },
        end(State::Barrier),
        Event::Jobs { qman: 0, count: 1 },
        Event::Jobs { qman: 0, count: 0 },
    ]
    .map(|event| last(event).unwrap_or_else(|| panic!("{event:?} is not in the trace")));
    assert!(steps.is_sorted(), "{steps:?}");
    for core in [0, 1, 2] {
        assert!(all.records.iter().any(|record| record.core == core && record.event == Event::Sleep), "core {core}");
    }
}
