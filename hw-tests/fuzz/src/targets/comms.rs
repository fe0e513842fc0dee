//! The command register during boot, and what the host writes to the card's memory meanwhile
//! (`coxswain_core::boot::{loader, resident}`).

use coxswain_abi::comms::{Command, CommandWord, HostMessage, ResetCause, StatusWord};
use coxswain_abi::regs::{CFG_BASE, psoc};
use coxswain_abi::soc::WriteKind;
use coxswain_core::boot::fit::Stage;
use coxswain_core::boot::loader::{self, Config, Loader, Outcome};
use coxswain_core::boot::resident::{self, Resident};
use coxswain_core::ports::{CardMemory as _, Registers as _};
use zerocopy::IntoBytes as _;

use super::container::{LOAD, container, expected, trust};
use crate::board::{Card, Posts, Register};
use crate::bytes::Bytes;
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "comms",
    run,
    seeds,
    milestones: &[
        "a descriptor",
        "a verified image",
        "execute",
        "park",
        "refused",
        "reset",
        "reset cause",
        "an error to tell",
    ],
};

/// Largest image that the loader can take here.
const BUFFER: usize = 4096;
/// Most steps that are looked at.
const STEPS: usize = 400;
/// The data of the only images whose hash is right.
const GOOD: [&[u8]; 2] = [&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88], &[0xEE; 64]];

/// Commands in whole cycles.
const COMMANDS: [Command; 9] = [
    Command::ResetState,
    Command::PrepareDescriptor,
    Command::DataReady,
    Command::Execute,
    Command::PrepareDescriptor,
    Command::DataReady,
    Command::GotoWfe,
    Command::ResetDevice,
    Command::SkipBmc,
];

/// Runs one input.
///
/// # Panics
/// When a rule of the loader is broken.
pub fn run(bytes: &[u8]) -> Reached {
    let mut bytes = Bytes::new(bytes);
    let mut buffer = vec![0; BUFFER];
    let stage = if bytes.byte() & 1 == 0 { Stage::BootFit } else { Stage::Control };
    let range = expected(stage).load;
    let config = match stage {
        Stage::BootFit => Config::rom(range, trust()),
        Stage::Control => Config::boot_fit(range, trust()),
    };
    let good = GOOD.map(|data| container(stage, data));
    let mut card = Card::default();
    let mut reached = Reached::new();
    let mut steps = 0;
    // Every turn is a start of the stage; the card's memory goes on.
    while !bytes.is_empty() && steps < STEPS {
        let registers = Register::default();
        let mut posts = Posts::new(&registers);
        let mut side = Side {
            loader: Loader::new(config.clone(), &mut buffer),
            resident: Resident::new(),
            resident_posts: Posts::new(&Register::default()),
        };
        side.loader.start(&mut card, &mut posts);
        if side.loader.record().is_some() {
            reached.insert("an error to tell");
        }
        assert_eq!(registers.read(psoc::CPU_BOOT_STATUS), config.waiting_status, "the host is invited");
        while !bytes.is_empty() && steps < STEPS {
            steps += 1;
            let words = match bytes.byte() % 16 {
                0..=5 => {
                    let command = bytes.choose(&COMMANDS);
                    let size = match bytes.byte() {
                        size @ 0..2 => good[usize::from(size)].len() as u32,
                        2 => 1280,
                        3 => bytes.word(),
                        size => u32::from(size) * 16,
                    };
                    let clear = CommandWord::new(Command::ClearStatus, 0).0;
                    vec![clear, CommandWord::new(command, size).0, clear, 0]
                }
                6 => vec![bytes.word()],
                7 => vec![u32::from(bytes.byte() % 12) << 27 | u32::from(bytes.half())],
                8 => vec![bytes.choose(&[0, 1 << 27])],
                9..=11 => {
                    let image = &good[usize::from(bytes.byte() & 1)];
                    write(&mut card, config.image, image);
                    vec![]
                }
                12 => {
                    let message = HostMessage::reset_cause(bytes.choose(&[ResetCause::Heartbeat, ResetCause::Timeout]));
                    write(&mut card, config.image, message.as_bytes());
                    vec![]
                }
                13 => {
                    // Often in the data of a good image: its container stays right but for the hash.
                    let offset = match bytes.byte() {
                        0..64 => bytes.half() % BUFFER as u16,
                        inside => data_offset(&good[usize::from(inside & 1)]) + u16::from(inside >> 1 & 7),
                    };
                    write(&mut card, config.image + u64::from(offset), bytes.take(4));
                    vec![]
                }
                14 => {
                    let offset = u64::from(bytes.byte());
                    write(&mut card, config.record + offset, bytes.take(16));
                    vec![]
                }
                _ => {
                    let offset = u64::from(bytes.half() % 1280);
                    write(&mut card, config.descriptor + offset, bytes.take(8));
                    vec![]
                }
            };
            let mut leave = false;
            for word in words {
                leave |= side.feed(word, &config, &mut card, &mut posts, &registers, &mut reached);
            }
            if leave {
                break;
            }
        }
    }
    reached
}

/// Where the data begin in one of the containers with [`GOOD`] data.
fn data_offset(image: &[u8]) -> u16 {
    let found = GOOD.iter().find_map(|data| image.windows(data.len()).position(|window| window == *data));
    found.map_or(0, |offset| offset as u16)
}

/// The host's own write.
fn write(card: &mut Card, address: u64, data: &[u8]) {
    // Every place above lies in SRAM or HBM.
    let _ = card.write(address, data);
}

struct Side<'a> {
    loader: Loader<'a>,
    resident: Resident,
    resident_posts: Posts,
}

impl Side<'_> {
    /// Hands a word to both; true when the stage is over.
    fn feed(
        &mut self,
        word: u32,
        config: &Config,
        card: &mut Card,
        posts: &mut Posts,
        registers: &Register,
        reached: &mut Reached,
    ) -> bool {
        self.resident_posts.log.clear();
        self.resident_posts.room = resident::POSTS_PER_CALL;
        let outcome = self.resident.on_command(word, &mut self.resident_posts);
        assert_ne!(outcome, Outcome::Execute, "a running image executes nothing");

        posts.log.clear();
        posts.room = loader::POSTS_PER_CALL;
        let outcome = self.loader.on_command(word, card, posts);
        for post in &posts.log {
            let known = [psoc::CPU_BOOT_ERR0, psoc::CPU_CMD_STATUS_TO_HOST, psoc::CPU_BOOT_STATUS];
            let is_known = known.iter().any(|offset| post.address == CFG_BASE + u64::from(*offset));
            assert!(is_known && post.attributes.kind() == WriteKind::Status, "{post:?}");
        }
        let status = StatusWord(registers.read(psoc::CPU_CMD_STATUS_TO_HOST));
        if status == StatusWord::REFUSED {
            reached.insert("refused");
            // The key of the images is trusted, so the fuses are never to blame.
            let error = registers.read(psoc::CPU_BOOT_ERR0);
            let known = [0, psoc::err0::FIT_CORRUPTED, psoc::err0::SECURITY_FAIL];
            assert!(known.contains(&(error ^ psoc::err0::ENABLED)), "ERR0 is {error:#x}");
        } else if status.status() == 2 && status.location() == Some(config.descriptor) {
            reached.insert("a descriptor");
        }
        if self.loader.reset_cause().is_some() {
            reached.insert("reset cause");
        }
        if let Ok(image) = self.loader.verified() {
            reached.insert("a verified image");
            assert!(GOOD.contains(&image.data) && image.load == LOAD, "an image was verified that nobody made");
        }
        match outcome {
            Outcome::Continue => return false,
            Outcome::Execute => {
                reached.insert("execute");
                assert!(self.loader.verified().is_ok(), "nothing that was verified is executed");
            }
            Outcome::Park => {
                reached.insert("park");
                assert_eq!(registers.read(psoc::CPU_BOOT_STATUS), psoc::boot_status::IN_WFE);
            }
            Outcome::Reset => {
                reached.insert("reset");
            }
        }
        true
    }
}

fn seeds() -> Vec<Vec<u8>> {
    // Steps: 0, command, size = a whole cycle; 9, n = place image n.
    let (reset_state, prepare, ready, execute) = ([0, 0, 9], [0, 1, 0], [0, 2, 9], [0, 3, 9]);
    let load = [&[9, 0][..], &reset_state, &prepare, &ready, &execute].concat();
    let mut seeds = vec![];
    for stage in 0..2 {
        seeds.push([&[stage][..], &load].concat());
        // The other image after PREP_DESC, and damage after DATA_RDY.
        seeds.push(
            [&[stage][..], &prepare, &[9, 1], &ready, &execute, &[0, 4, 1], &ready, &[13, 64, 1], &execute].concat(),
        );
        // Damage before DATA_RDY.
        seeds.push([&[stage][..], &prepare, &[9, 0, 13, 64, 1, 2, 3, 4], &ready, &execute].concat());
        // A message instead of an image, then a load; a damaged record before the next start.
        let message = [12, 1, 0, 1, 2];
        seeds.push([&[stage][..], &message, &ready, &execute, &load, &[14, 0, 1, 2, 3], &load].concat());
        seeds.push(vec![stage, 0, 6, 9, 0, 7, 9, 0, 3, 9, 0, 8, 9]);
    }
    seeds
}
