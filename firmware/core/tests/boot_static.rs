//! The static loader against a host that behaves like the driver (`boot-protocol.md` 7), and both loaders against the same
//! bad images.
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::tree::{ImageParts, trust};
use common::{FakeCard, FakePosts, FakeRegisters};
use coxswain_abi::comms::{Command, CommandWord, StatusWord, static_mode};
use coxswain_abi::regs::psoc::{self, boot_status, err0};
use coxswain_abi::regs::{SRAM_BASE, efuse};
use coxswain_core::boot::BootError;
use coxswain_core::boot::loader::{Config, Loader, Outcome};
use coxswain_core::ports::{CardMemory, Registers};

const IMAGE: u64 = SRAM_BASE + 0x20_0000;

struct Bench<'a> {
    card: FakeCard,
    registers: FakeRegisters,
    posts: FakePosts,
    loader: Loader<'a>,
}

fn rom() -> Config {
    Config::rom(0x4010_0000..0x4020_0000, trust()).statically(true)
}

impl<'a> Bench<'a> {
    fn start(config: Config, card: FakeCard, buffer: &'a mut [u8]) -> Self {
        let registers = FakeRegisters::default();
        let posts = FakePosts::new(&registers);
        let mut bench = Self { card, registers, posts, loader: Loader::new(config, buffer) };
        bench.loader.start(&mut bench.card, &mut bench.posts);
        bench
    }

    fn write(&mut self, word: u32) -> Outcome {
        self.loader.on_command(word, &mut self.card, &mut self.posts)
    }

    fn status(&self) -> u32 {
        self.registers.read(psoc::CPU_CMD_STATUS_TO_HOST)
    }

    /// The host's steps S2 and S3; the firmware's answer.
    fn offer(&mut self, file: &[u8], place: u64) -> (Outcome, u32) {
        self.card.write(place, file).unwrap();
        self.registers.set(psoc::CPU_CMD_STATUS_TO_HOST, static_mode::CLEAR);
        let outcome = self.write(static_mode::FIT_READY);
        (outcome, self.status())
    }

    fn version(&self, register: u32) -> String {
        let offset = self.registers.read(register) & 0x0FFF_FFFF;
        let mut bytes = [0; 128];
        self.card.read(SRAM_BASE + u64::from(offset), &mut bytes).unwrap();
        let end = bytes.iter().position(|byte| *byte == 0).expect("a terminated string");
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }
}

#[test]
fn an_image_is_taken_and_executed_with_one_word() {
    let parts = ImageParts::boot_fit(999);
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.registers.read(psoc::CPU_BOOT_STATUS), boot_status::WAITING_FOR_BOOT_FIT);
    assert_eq!(bench.offer(&parts.pack(), IMAGE), (Outcome::Execute, static_mode::OK));
    assert_eq!(bench.loader.verified().unwrap().data, parts.data);
    // The host changes the image after it was checked.
    bench.card.write(IMAGE, &[0xEE; 999]).unwrap();
    assert_eq!(bench.loader.verified().unwrap().data, parts.data);
}

#[test]
fn the_version_string_lies_where_the_register_says() {
    let mut buffer = vec![0; 4096];
    let bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert!(bench.version(psoc::PREBOOT_VER_OFFSET).starts_with("Preboot version hl-gaudi-"));
    let config = Config::boot_fit(0x4010_0000..0x4020_0000, trust()).statically(true);
    let mut buffer = vec![0; 4096];
    let bench = Bench::start(config, FakeCard::new(), &mut buffer);
    assert!(bench.version(psoc::UBOOT_VER_OFFSET).starts_with("Coxswain boot-fit hl-gaudi-"));
    let order: Vec<u64> = bench.posts.log.iter().map(|write| write.address & 0xFFF).collect();
    let (version, invitation) = (order.iter().position(|at| *at == 0x174), order.iter().position(|at| *at == 0x300));
    assert!(version.is_some() && version < invitation, "the string is there before the host is invited: {order:x?}");
}

/// The driver looks at the answer every 10 ms; the next stage starts sooner than that.
#[test]
fn the_next_stage_leaves_the_answer_of_the_one_before_to_the_host() {
    let config = Config::boot_fit(0x4010_0000..0x4020_0000, trust()).statically(true);
    let mut buffer = vec![0; 4096];
    let bench = Bench::start(config, FakeCard::new(), &mut buffer);
    assert_eq!(bench.posts.values(psoc::CPU_CMD_STATUS_TO_HOST), []);
}

#[test]
fn the_boot_fit_waits_until_the_old_fit_ready_is_taken_back() {
    let mut parts = ImageParts::boot_fit(300);
    parts.stage = "control";
    let file = parts.pack();
    let config = Config::boot_fit(0x4010_0000..0x4020_0000, trust()).statically(true);
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(config, FakeCard::new(), &mut buffer);
    assert_eq!(bench.offer(&file, 0x80_0000), (Outcome::Continue, static_mode::CLEAR));
    assert_eq!(bench.write(static_mode::NONE), Outcome::Continue);
    assert_eq!(bench.offer(&file, 0x80_0000), (Outcome::Execute, static_mode::OK));
}

/// The ROM may have found FIT_RDY in the register, and its notification still lies in the ring when the boot-fit starts.
#[test]
fn the_boot_fit_takes_no_notification_of_the_roms_image_for_its_own() {
    let mut parts = ImageParts::boot_fit(300);
    parts.stage = "control";
    let config = Config::boot_fit(0x4010_0000..0x4020_0000, trust()).statically(true);
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(config, FakeCard::new(), &mut buffer);
    assert!(!bench.loader.looks_at_register(), "the register may hold the NONE that follows");
    for word in [static_mode::FIT_READY, static_mode::NONE] {
        assert_eq!(bench.write(word), Outcome::Continue);
    }
    assert_eq!(bench.loader.record(), None, "nothing was taken");
    assert_eq!(bench.offer(&parts.pack(), 0x80_0000), (Outcome::Execute, static_mode::OK));
    let mut buffer = vec![0; 4096];
    assert!(Bench::start(rom(), FakeCard::new(), &mut buffer).loader.looks_at_register());
}

#[test]
fn fit_ready_seen_twice_is_one_message() {
    let mut bad = ImageParts::boot_fit(300).pack();
    bad[200] ^= 1;
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.offer(&bad, IMAGE), (Outcome::Continue, static_mode::ERROR));
    let good = ImageParts::boot_fit(300).pack();
    assert_eq!(bench.offer(&good, IMAGE), (Outcome::Continue, static_mode::CLEAR), "not taken back yet");
    assert_eq!(bench.write(static_mode::NONE), Outcome::Continue);
    assert_eq!(bench.offer(&good, IMAGE), (Outcome::Execute, static_mode::OK));
}

#[test]
fn the_host_can_park_and_reset_the_stage() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    for word in [3, 4, 6, 0x0800_0000, u32::MAX] {
        assert_eq!(bench.write(word), Outcome::Continue, "{word}");
        assert_eq!(bench.status(), 0, "{word}");
    }
    assert_eq!(bench.write(static_mode::RESET_DEVICE), Outcome::Reset);
    assert_eq!(bench.write(static_mode::GOTO_WFE), Outcome::Park);
    assert_eq!(bench.registers.read(psoc::CPU_BOOT_STATUS), boot_status::IN_WFE);
}

#[test]
fn the_reason_of_a_refusal_goes_behind_the_version_at_the_next_attempt_until_a_load_succeeds() {
    let mut bad = ImageParts::boot_fit(300).pack();
    let last = bad.len() / 2;
    bad[last] ^= 1;
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    let _ = bench.offer(&bad, IMAGE);
    let card = bench.card.clone();
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), card, &mut buffer);
    let told = bench.version(psoc::PREBOOT_VER_OFFSET);
    assert!(told.contains("Coxswain: boot-fit refused: boot error 0x0"), "{told}");
    assert_eq!(bench.offer(&ImageParts::boot_fit(300).pack(), IMAGE), (Outcome::Execute, static_mode::OK));
    let card = bench.card.clone();
    let mut buffer = vec![0; 4096];
    let bench = Bench::start(rom(), card, &mut buffer);
    assert!(!bench.version(psoc::PREBOOT_VER_OFFSET).contains("refused"));
}

#[test]
fn a_length_that_cannot_be_is_refused() {
    let mut file = ImageParts::boot_fit(300).pack();
    let mut buffer = vec![0; 512];
    for (size, error) in [
        (0u32, BootError::TreeTooShort),
        (513, BootError::TransferSize),
        (u32::MAX, BootError::TransferSize),
        (44, BootError::TreeBlock),
    ] {
        file[4..8].copy_from_slice(&size.to_be_bytes());
        let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
        assert_eq!(bench.offer(&file, IMAGE).1, static_mode::ERROR);
        assert_eq!(bench.loader.record().unwrap().error, error, "{size}");
    }
}

/// What either loader makes of a file: the error, and ERR0.
fn refusal(is_static: bool, file: &[u8], trust: coxswain_core::boot::trust::Trust) -> (Option<BootError>, u32) {
    let config = Config::rom(0x4010_0000..0x4020_0000, trust).statically(is_static);
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(config, FakeCard::new(), &mut buffer);
    if is_static {
        let (outcome, status) = bench.offer(file, IMAGE);
        let good = bench.loader.record().is_none();
        assert_eq!(
            (outcome == Outcome::Execute, status),
            (good, if good { static_mode::OK } else { static_mode::ERROR })
        );
    } else {
        bench.card.write(IMAGE, file).unwrap();
        for (command, size) in [(Command::PrepareDescriptor, file.len() as u32), (Command::DataReady, 0)] {
            let _ = bench.write(CommandWord::new(Command::ClearStatus, 0).0);
            let _ = bench.write(CommandWord::new(command, size).0);
            let _ = bench.write(CommandWord::new(Command::ClearStatus, 0).0);
            let _ = bench.write(CommandWord::new(Command::Noop, 0).0);
        }
        let status = if bench.loader.record().is_none() { StatusWord::OK } else { StatusWord::REFUSED };
        assert_eq!(bench.status(), status.0);
    }
    (bench.loader.record().map(|record| record.error), bench.registers.read(psoc::CPU_BOOT_ERR0))
}

#[test]
fn both_loaders_refuse_the_same_images_with_the_same_numbers_and_bits() {
    let good = ImageParts::boot_fit(700);
    let with = |change: fn(&mut ImageParts)| {
        let mut parts = good.clone();
        change(&mut parts);
        parts.pack()
    };
    let mut flipped = good.pack();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let rolled_back = {
        let registers = FakeRegisters::default();
        registers.set(efuse::STATUS, efuse::STATUS_READY);
        trust().with_rollback(coxswain_core::boot::fit::Stage::BootFit, 6)
    };
    for (what, file, trust, error) in [
        ("good", good.pack(), trust(), None),
        ("flipped bit", flipped, trust(), Some(BootError::HashMismatch)),
        ("no container", vec![0; 64], trust(), Some(BootError::TreeMagic)),
        ("wrong type", with(|parts| parts.kind = "kernel"), trust(), Some(BootError::ImageType)),
        ("wrong stage", with(|parts| parts.stage = "control"), trust(), Some(BootError::WrongStage)),
        ("outside its memory", with(|parts| parts.load = 0), trust(), Some(BootError::LoadRange)),
        ("not signed", with(|parts| parts.without = "signature-1"), trust(), Some(BootError::NoSignature)),
        ("stranger", with(|parts| parts.signer = 7), trust(), Some(BootError::UnknownKey)),
        ("rolled back", good.pack(), rolled_back, Some(BootError::RolledBack)),
        ("oversized", with(|parts| parts.data.resize(5000, 1)), trust(), Some(BootError::TransferSize)),
    ] {
        let bits = err0::ENABLED | error.map_or(0, BootError::err0_bits);
        for is_static in [false, true] {
            let found = refusal(is_static, &file, trust);
            // COMMS refuses an announcement that is too long, and then data that nobody announced.
            if what == "oversized" && !is_static {
                assert_eq!(found.0, Some(BootError::NothingAnnounced));
            } else {
                assert_eq!(found, (error, bits), "{what}, static {is_static}");
            }
        }
    }
    // Cut short: the copy ends where the file's own length says, inside what lies behind it.
    let cut = &good.pack()[..400];
    assert_eq!(refusal(false, cut, trust()).0, Some(BootError::TreeSize));
    assert_eq!(refusal(true, cut, trust()).0, Some(BootError::TreeToken));
}

proptest::proptest! {
    /// Whatever a host writes, nothing panics, and only a good image is executed.
    #[test]
    fn no_sequence_of_words_runs_an_unverified_image(
        words in proptest::collection::vec(proptest::prop_oneof![0u32..7, proptest::num::u32::ANY], 0..30),
        good in proptest::bool::ANY,
    ) {
        let mut file = ImageParts::boot_fit(200).pack();
        if !good {
            file[300] ^= 4;
        }
        let mut buffer = vec![0; 2048];
        let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
        bench.card.write(IMAGE, &file).unwrap();
        for word in words {
            if bench.write(word) == Outcome::Execute {
                proptest::prop_assert!(good && word == static_mode::FIT_READY);
                proptest::prop_assert_eq!(bench.loader.verified().unwrap().data.len(), 200);
            }
        }
    }
}
