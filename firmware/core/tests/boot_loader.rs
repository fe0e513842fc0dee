//! The loader against a scripted host that behaves like the driver (`boot-protocol.md` 8.1, 8.6, 8.7).
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::tree::{ImageParts, trust};
use common::{FakeCard, FakePosts, FakeRegisters};
use coxswain_abi::comms::{
    Command, CommandWord, DESCRIPTOR_BYTES, Descriptor, HostMessage, ResetCause, StatusWord, crc32,
};
use coxswain_abi::regs::psoc::{self, boot_status, err0};
use coxswain_abi::regs::{HBM_BASE, SRAM_BASE, SRAM_SIZE};
use coxswain_core::boot::BootError;
use coxswain_core::boot::comms::{Server, Step};
use coxswain_core::boot::fit::Stage;
use coxswain_core::boot::loader::{Config, LARGEST_IMAGE, Loader, Outcome};
use coxswain_core::boot::record::Record;
use coxswain_core::ports::{CardMemory, Registers};
use proptest::prelude::Strategy as _;
use zerocopy::{FromBytes, IntoBytes};

const ENABLED: u32 = err0::ENABLED;
const CORRUPTED: u32 = err0::ENABLED | err0::FIT_CORRUPTED;

/// A card with a boot stage on it, and the host's side of the protocol.
struct Bench<'a> {
    card: FakeCard,
    registers: FakeRegisters,
    posts: FakePosts,
    loader: Loader<'a>,
}

fn rom() -> Config {
    Config::rom(0x4010_0000..0x4020_0000, trust())
}

impl<'a> Bench<'a> {
    fn start(config: Config, card: FakeCard, buffer: &'a mut [u8]) -> Self {
        let registers = FakeRegisters::default();
        let posts = FakePosts::new(&registers);
        let mut bench = Self { card, registers, posts, loader: Loader::new(config, buffer) };
        bench.loader.start(&mut bench.card, &mut bench.posts);
        bench
    }

    fn write(&mut self, word: CommandWord) -> Outcome {
        self.loader.on_command(word.0, &mut self.card, &mut self.posts)
    }

    fn status(&self) -> StatusWord {
        StatusWord(self.registers.read(psoc::CPU_CMD_STATUS_TO_HOST))
    }

    fn error(&self) -> u32 {
        self.registers.read(psoc::CPU_BOOT_ERR0)
    }

    /// The cycle up to the host's NOOP command.
    fn send(&mut self, command: Command, size: u32) -> Outcome {
        let clear = CommandWord::new(Command::ClearStatus, 0);
        assert_eq!(self.write(clear), Outcome::Continue);
        assert_eq!(self.status(), StatusWord::NOOP);
        assert_eq!(self.write(CommandWord::new(command, size)), Outcome::Continue);
        assert_eq!(self.status(), StatusWord::ACK);
        assert_eq!(self.write(clear), Outcome::Continue);
        assert_eq!(self.status(), StatusWord::NOOP);
        self.write(CommandWord::new(Command::Noop, 0))
    }

    /// A whole cycle with an answer, which is returned.
    fn request(&mut self, command: Command, size: u32) -> StatusWord {
        assert_eq!(self.send(command, size), Outcome::Continue);
        let answer = self.status();
        assert_eq!(answer.status(), 2, "OK is published only after the NOOP command");
        assert_eq!(self.write(CommandWord::new(Command::ClearStatus, 0)), Outcome::Continue);
        assert_eq!(self.status(), StatusWord::NOOP);
        assert_eq!(self.write(CommandWord::new(Command::Noop, 0)), Outcome::Continue);
        answer
    }

    /// PREP_DESC as the driver checks it (8.6); `previous` is the size it checks the address against.
    fn prepare(&mut self, size: u32, previous: u32) -> Descriptor {
        let answer = self.request(Command::PrepareDescriptor, size);
        let location = answer.location().expect("a descriptor");
        let mut bytes = [0; DESCRIPTOR_BYTES];
        self.card.read(location, &mut bytes).unwrap();
        let descriptor = Descriptor::read_from_bytes(&bytes).unwrap();
        assert_eq!(descriptor.header.crc32.get(), crc32(&bytes[16..]));
        assert!(descriptor.is_valid());
        let address = descriptor.image_address.get();
        let end = if address >= SRAM_BASE { SRAM_BASE + SRAM_SIZE } else { HBM_BASE + (8 << 30) };
        assert!(address + u64::from(size.max(previous)) < end);
        descriptor
    }

    /// PREP_DESC, copy, DATA_RDY; the answer of DATA_RDY.
    fn offer(&mut self, file: &[u8]) -> StatusWord {
        let descriptor = self.prepare(file.len() as u32, 0);
        self.card.write(descriptor.image_address.get(), file).unwrap();
        self.request(Command::DataReady, 0)
    }
}

fn message(descriptor: &Descriptor) -> Option<String> {
    let message = &descriptor.messages[0];
    (message.valid == 1).then(|| String::from_utf8_lossy(&message.text).trim_end_matches('\0').to_owned())
}

#[test]
fn the_registers_are_clean_before_the_host_is_invited() {
    let mut buffer = vec![0; 4096];
    let bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.error(), ENABLED);
    assert_eq!(bench.registers.read(psoc::CPU_BOOT_ERR1), ENABLED);
    let last = bench.posts.log.last().unwrap();
    assert_eq!((last.address, last.data), (0x7F_FCC4_B300, boot_status::WAITING_FOR_BOOT_FIT));
}

/// The words of the example in `boot-protocol.md` 8.7, one by one.
#[test]
fn a_load_produces_the_documented_words() {
    let mut parts = ImageParts::boot_fit(0x1000);
    let mut file = parts.pack();
    // The example's boot-fit has 0x40000 bytes.
    parts.data.resize(0x1000 + 0x4_0000 - file.len(), 0);
    file = parts.pack();
    assert_eq!(file.len(), 0x4_0000);
    let mut buffer = vec![0; 0x4_0000];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    bench.card.write(SRAM_BASE + 0x20_0000, &file).unwrap();
    bench.posts.forget();
    let mut outcome = Outcome::Continue;
    for word in [
        0x0800_0000,
        0x1000_0000,
        0x0800_0000,
        0,
        0x0800_0000,
        0,
        0x0800_0000,
        0x1800_0500,
        0x0800_0000,
        0,
        0x0800_0000,
        0,
        0x0800_0000,
        0x1804_0000,
        0x0800_0000,
        0,
        0x0800_0000,
        0,
        0x0800_0000,
        0x2000_0000,
        0x0800_0000,
        0,
        0x0800_0000,
        0,
        0x0800_0000,
        0x2800_0000,
        0x0800_0000,
        0,
    ] {
        assert_eq!(outcome, Outcome::Continue);
        outcome = bench.write(CommandWord(word));
    }
    assert_eq!(outcome, Outcome::Execute);
    assert_eq!(
        bench.posts.values(psoc::CPU_CMD_STATUS_TO_HOST),
        [
            0,
            0x1000_0000,
            0,
            0x2000_0000,
            0,
            0,
            0x1000_0000,
            0,
            0x2000_0400,
            0,
            0,
            0x1000_0000,
            0,
            0x2000_0400,
            0,
            0,
            0x1000_0000,
            0,
            0x2000_0000,
            0,
            0,
            0x1000_0000,
            0
        ]
    );
    let image = bench.loader.verified().unwrap();
    assert_eq!((image.data, image.load, image.entry), (&parts.data[..], 0x4010_0000, 0x4010_0040));
}

#[test]
fn what_was_checked_is_what_runs() {
    let parts = ImageParts::boot_fit(500);
    let file = parts.pack();
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.offer(&file), StatusWord::OK);
    // The host changes the image after it was checked.
    bench.card.write(SRAM_BASE + 0x20_0000, &vec![0xEE; file.len()]).unwrap();
    assert_eq!(bench.send(Command::Execute, 0), Outcome::Execute);
    assert_eq!(bench.loader.verified().unwrap().data, parts.data);
}

#[test]
fn the_first_descriptor_may_be_abandoned_and_leaves_room_for_the_largest_image() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.request(Command::ResetState, 0), StatusWord::OK);
    let descriptor = bench.prepare(1280, LARGEST_IMAGE);
    assert!(String::from_utf8_lossy(&descriptor.current_version).contains("Preboot"));
    assert_eq!(bench.offer(&ImageParts::boot_fit(100).pack()), StatusWord::OK);
}

#[test]
fn a_reset_cause_is_taken_before_the_image() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    let message = HostMessage::reset_cause(ResetCause::Heartbeat);
    assert_eq!(bench.offer(message.as_bytes()), StatusWord::OK);
    assert_eq!(bench.loader.reset_cause(), None);
    assert_eq!(bench.request(Command::Execute, 0), StatusWord::OK, "EXEC of a message has an answer");
    assert_eq!(bench.loader.reset_cause(), Some(ResetCause::Heartbeat));
    assert_eq!(bench.offer(&ImageParts::boot_fit(100).pack()), StatusWord::OK);
    assert_eq!(bench.send(Command::Execute, 0), Outcome::Execute);
}

#[test]
fn a_bad_image_is_refused_at_once_and_the_next_one_is_loaded() {
    let good = ImageParts::boot_fit(700).pack();
    let mut bad = good.clone();
    let last = bad.len() / 2;
    bad[last] ^= 1;
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);

    assert_eq!(bench.offer(&bad), StatusWord::REFUSED);
    assert_eq!(bench.error(), CORRUPTED);
    assert_eq!(bench.loader.record(), Some(Record { stage: Stage::BootFit, error: BootError::HashMismatch }));
    // The error is visible before the refusal, because the driver reads it next.
    let order: Vec<u64> = bench.posts.log.iter().rev().map(|write| write.address & 0xFFF).skip(1).take(2).collect();
    assert_eq!(order, [0x15C, 0x160]);

    assert_eq!(bench.request(Command::ResetState, 0), StatusWord::OK);
    assert_eq!(bench.error(), ENABLED);
    let first = bench.prepare(1280, 0);
    let text = message(&first).unwrap();
    assert!(text.contains("boot-fit") && text.contains("0x020D") && text.contains("sha512"), "{text}");
    assert_eq!(message(&bench.prepare(good.len() as u32, 0)), None, "told once");
    assert_eq!(bench.offer(&good), StatusWord::OK);
    assert_eq!(bench.error(), ENABLED);
    assert_eq!(bench.send(Command::Execute, 0), Outcome::Execute);
}

#[test]
fn the_reason_of_a_refusal_survives_a_reset() {
    let mut buffer = vec![0; 4096];
    let mut config = Config::boot_fit(0x4010_0000..0x4020_0000, trust());
    config.expected.stage = Stage::Control;
    let mut bench = Bench::start(config, FakeCard::new(), &mut buffer);
    assert_eq!(bench.offer(&ImageParts::boot_fit(100).pack()), StatusWord::REFUSED);
    let card = bench.card.clone();

    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), card, &mut buffer);
    assert_eq!(bench.error(), ENABLED);
    let text = message(&bench.prepare(1280, 0)).unwrap();
    assert!(text.contains("control refused") && text.contains("0x0208"), "{text}");
    let _ = bench.prepare(1280, 0);
    let card = bench.card.clone();

    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), card, &mut buffer);
    assert_eq!(message(&bench.prepare(1280, 0)), None);
}

#[test]
fn a_forged_record_says_nothing() {
    let mut card = FakeCard::new();
    card.write(rom().record, &[0x43, 0x4F, 0x58, 0x52, 0, 0, 0x0D, 2, 1, 2, 3, 4]).unwrap();
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), card, &mut buffer);
    assert_eq!(message(&bench.prepare(1280, 0)), None);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    for size in [0, 4097, LARGEST_IMAGE + 1, 0x01FF_FFFF] {
        assert_eq!(bench.request(Command::PrepareDescriptor, size), StatusWord::REFUSED, "{size}");
        assert_eq!(bench.error(), CORRUPTED);
        assert_eq!(bench.request(Command::DataReady, 0), StatusWord::REFUSED);
    }
    let _ = bench.prepare(4096, 0);
    assert_eq!(bench.error(), ENABLED);
}

#[test]
fn nothing_unverified_is_executed() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.request(Command::Execute, 0), StatusWord::REFUSED);
    let _ = bench.prepare(1280, 0);
    assert_eq!(bench.request(Command::Execute, 0), StatusWord::REFUSED);
    assert_eq!(bench.offer(&ImageParts::boot_fit(100).pack()), StatusWord::OK);
    let _ = bench.prepare(1280, 0);
    assert_eq!(bench.request(Command::Execute, 0), StatusWord::REFUSED, "a new transfer drops the verified image");
    assert_eq!(bench.loader.verified().unwrap_err(), BootError::NothingToExecute);
}

#[test]
fn rst_state_drops_a_transfer_at_any_time() {
    let file = ImageParts::boot_fit(100).pack();
    let reset = CommandWord::new(Command::ResetState, 0);
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.offer(&file), StatusWord::OK);
    // In the middle of the EXEC cycle.
    let _ = bench.write(CommandWord::new(Command::Execute, 0));
    assert_eq!(bench.write(reset), Outcome::Continue);
    assert_eq!(bench.status(), StatusWord::ACK);
    let _ = bench.write(CommandWord::new(Command::ClearStatus, 0));
    assert_eq!(bench.write(CommandWord::new(Command::Noop, 0)), Outcome::Continue);
    assert_eq!(bench.status(), StatusWord::OK);
    assert_eq!(bench.request(Command::Execute, 0), StatusWord::REFUSED);
    assert_eq!(bench.offer(&file), StatusWord::OK);
    assert_eq!(bench.send(Command::Execute, 0), Outcome::Execute);
}

#[test]
fn goto_wfe_parks_and_says_so_after_the_handshake() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    let _ = bench.write(CommandWord::new(Command::GotoWfe, 0));
    assert_eq!(bench.registers.read(psoc::CPU_BOOT_STATUS), boot_status::WAITING_FOR_BOOT_FIT);
    let _ = bench.write(CommandWord::new(Command::ClearStatus, 0));
    assert_eq!(bench.write(CommandWord::new(Command::Noop, 0)), Outcome::Park);
    assert_eq!(bench.registers.read(psoc::CPU_BOOT_STATUS), boot_status::IN_WFE);
}

#[test]
fn rst_dev_resets_and_skip_bmc_and_unknown_commands_are_answered() {
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
    assert_eq!(bench.request(Command::SkipBmc, 0), StatusWord::OK);
    assert_eq!(bench.write(CommandWord::new(Command::Unknown(9), 0)), Outcome::Continue);
    assert_eq!(bench.status(), StatusWord::ERR);
    assert_eq!(bench.send(Command::ResetDevice, 0), Outcome::Reset);
}

#[test]
fn the_boot_fit_takes_its_image_from_hbm() {
    let mut parts = ImageParts::boot_fit(100);
    parts.stage = "control";
    let mut buffer = vec![0; 4096];
    let mut bench = Bench::start(Config::boot_fit(0x4010_0000..0x4020_0000, trust()), FakeCard::new(), &mut buffer);
    assert_eq!(bench.registers.read(psoc::CPU_BOOT_STATUS), boot_status::READY_TO_BOOT);
    let answer = bench.request(Command::PrepareDescriptor, 1280);
    assert_eq!(answer, StatusWord(0x2404_0000));
    let descriptor = bench.prepare(1280, LARGEST_IMAGE);
    assert_eq!(descriptor.image_address.get(), 0x80_0000);
    assert_eq!(bench.offer(&parts.pack()), StatusWord::OK);
    assert_eq!(bench.send(Command::Execute, 0), Outcome::Execute);
}

/// What the scripted host of the property test does next.
#[derive(Debug, Clone)]
enum Move {
    /// A bare word.
    Word(u32),
    /// A whole command cycle.
    Cycle(u32),
}

proptest::proptest! {
    /// Whatever a host writes, nothing panics, and what runs is an image that was verified after the last PREP_DESC.
    #[test]
    fn no_sequence_of_commands_runs_an_unverified_image(
        moves in proptest::collection::vec(
            proptest::prop_oneof![
                1 => (0u32..12).prop_map(Move::Word),
                9 => (2u32..9).prop_map(Move::Cycle),
            ],
            0..60,
        ),
        good in proptest::bool::ANY,
    ) {
        let mut file = ImageParts::boot_fit(200).pack();
        let size = file.len() as u32;
        if !good {
            file[300] ^= 4;
        }
        let mut buffer = vec![0; 2048];
        let mut bench = Bench::start(rom(), FakeCard::new(), &mut buffer);
        bench.card.write(SRAM_BASE + 0x20_0000, &file).unwrap();
        let mut performed = Vec::new();
        // Which commands are carried out is the server's business and tested with it.
        let mut server = Server::new();
        for step in moves {
            let words = match step {
                Move::Word(command) => vec![command],
                Move::Cycle(command) => vec![1, command, 1, 0],
            };
            for command in words {
                let word = CommandWord(command << 27 | if command == 3 { size } else { 0 });
                if let Step::Perform(word) = server.on_command(word) {
                    performed.push(word.0 >> 27);
                    server.complete(Some(StatusWord::OK));
                }
                if bench.write(word) == Outcome::Execute {
                    proptest::prop_assert!(good);
                    let prepared = performed.iter().rposition(|command| *command == 3);
                    let verified = performed.iter().rposition(|command| *command == 4);
                    proptest::prop_assert!(prepared.is_some() && prepared < verified);
                    proptest::prop_assert_eq!(performed.last(), Some(&5));
                    proptest::prop_assert_eq!(bench.loader.verified().unwrap().data.len(), 200);
                }
            }
        }
    }
}
