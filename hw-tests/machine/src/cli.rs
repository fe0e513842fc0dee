//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use coxswain_card::Injection;

/// Open firmware for a Gaudi-class accelerator, run against the stock Linux driver with no hardware.
///
/// Without a command: provision, build the images, start the card, its management CPU and a Linux guest, load the driver,
/// run the jobs, print a report.
#[derive(Debug, Parser)]
#[command(name = "coxswain", bin_name = "cargo run --", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the main job.
    #[command(flatten)]
    pub jobs: JobsOptions,
}

/// Commands beside the main job.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program of your own in the guest, with the driver loaded; its exit code becomes ours
    Guest(GuestOptions),
    /// An interactive shell in the guest, with the driver loaded
    Shell(ShellOptions),
    /// Only the firmware on the card, driven by the scripted host (hw-tests/host); no Linux, takes seconds
    Boot(BootOptions),
    /// Measure what the firmware costs: instructions, compared with the golden file; nanoseconds on this machine; and
    /// submissions per second through the driver, next to queue managers that cost nothing
    Bench(BenchOptions),
    /// Run jobs and write a time line of streams, engines, fences and interrupts for the Perfetto viewer
    Trace(TraceOptions),
    /// Fetch and build everything that runs need, and run nothing
    Setup(SetupOptions),
    /// Pack, list, sign and check firmware image files
    Image {
        /// What to do with them.
        #[command(subcommand)]
        command: ImageCommand,
    },
}

/// Commands on image files. Where no key is given it is the one that COXSWAIN_SIGNING_KEY names, else the development key.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make a signed image file (.itb) of a linked program (ELF)
    Pack(PackOptions),
    /// Print what an image file holds
    List {
        /// The file.
        file: PathBuf,
    },
    /// Sign an image file anew, with another key
    Sign {
        /// The file.
        file: PathBuf,
        /// Private key (PEM)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Where to write it, instead of over the file
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check an image file as a card with this key in its fuses does
    Verify {
        /// The file.
        file: PathBuf,
        /// Public or private key (PEM)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The card's rollback counter
        #[arg(long, value_name = "N", default_value_t = 0)]
        rollback: u32,
    },
}

/// Options of `image pack`.
#[derive(Debug, Clone, Args)]
pub struct PackOptions {
    /// The linked program (ELF for AArch64).
    pub program: PathBuf,
    /// Who loads it: the ROM (boot-fit) or the boot-fit (control)
    #[arg(long, value_enum)]
    pub stage: ImageStage,
    /// Where to write the image
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Version for logs, at most 64 bytes
    #[arg(long = "image-version", value_name = "TEXT", default_value = env!("CARGO_PKG_VERSION"))]
    pub version: String,
    /// What a card compares its rollback counter with
    #[arg(long, value_name = "N", default_value_t = crate::images::ROLLBACK)]
    pub rollback: u32,
    /// What the card's rollback counter becomes when the image is executed: older images are refused from then on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub raise_to: u32,
    /// Private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// A stage that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageStage {
    /// Loaded by the ROM.
    BootFit,
    /// Loaded by the boot-fit.
    Control,
}

impl From<ImageStage> for crate::image::Stage {
    fn from(stage: ImageStage) -> Self {
        match stage {
            ImageStage::BootFit => Self::BootFit,
            ImageStage::Control => Self::Control,
        }
    }
}

/// Options of everything that is fetched.
#[derive(Debug, Clone, Default, Args)]
pub struct FetchOptions {
    /// Debian mirror to fetch from, instead of the one in the system's apt sources
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
}

/// Options of everything that starts a guest.
#[derive(Debug, Clone, Args)]
pub struct MachineOptions {
    /// Where to fetch from.
    #[command(flatten)]
    pub fetch: FetchOptions,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(256..=2816))]
    pub memory: u64,
    /// A parameter of the habanalabs module; may be given several times
    #[arg(long = "driver-option", value_name = "NAME=VALUE", value_parser = driver_option)]
    pub driver_options: Vec<String>,
    /// A Linux image of your own
    #[arg(long, value_name = "VMLINUZ")]
    pub kernel: Option<PathBuf>,
    /// A folder with kernel modules of your own, at any depth; they take the place of those of the same name
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Wait for a debugger before the first instruction of the firmware or of the kernel
    #[arg(long, value_enum, value_name = "WHAT")]
    pub gdb: Option<Debuggee>,
    /// Cores of the management CPU that do nothing but queues, 0 to 3; 0: the control core does them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3))]
    pub queue_cores: u32,
    /// Strap the card for the static loader instead of COMMS
    #[arg(long)]
    pub static_loader: bool,
    /// What the board's sensors see, as in temp1=85000,curr1=20000 (also temp2, in0, in1, curr2, stuck, silent, answers)
    #[arg(long, value_name = "SPEC", value_parser = injections, default_value = "")]
    pub sensor: Injections,
    /// A file that keeps the card's e-fuses from run to run; made when it is not there
    #[arg(long, value_name = "FILE")]
    pub fuses: Option<PathBuf>,
    /// Write every register access by name into the run folder; slow
    #[arg(long)]
    pub trace: bool,
    /// Start the guest without the card
    #[arg(long, hide = true)]
    pub without_card: bool,
}

/// What a debugger is to be attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Debuggee {
    /// The firmware on the management CPU.
    Firmware,
    /// The Linux kernel of the guest.
    Kernel,
}

/// Options of the main job.
#[derive(Debug, Clone, Args)]
pub struct JobsOptions {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Bound of the jobs in seconds
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub timeout: u64,
}

/// Options of `guest`.
#[derive(Debug, Clone, Args)]
pub struct GuestOptions {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// A folder that appears in the guest as /share; what the program writes there comes back
    #[arg(long, value_name = "DIR")]
    pub share: Option<PathBuf>,
    /// Bound of the program in seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub timeout: u64,
    /// Run the program even when the driver does not come up
    #[arg(long)]
    pub keep_going: bool,
    /// The program: a file of this machine (its libraries are brought along), a file below /share, or a command of the
    /// guest's busybox; then its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM [ARG]...")]
    pub program: Vec<String>,
}

/// Options of `shell`.
#[derive(Debug, Clone, Args)]
pub struct ShellOptions {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// A folder that appears in the guest as /share
    #[arg(long, value_name = "DIR")]
    pub share: Option<PathBuf>,
    /// Do not load the driver
    #[arg(long)]
    pub no_driver: bool,
}

/// Options of `trace`.
#[derive(Debug, Clone, Args)]
pub struct TraceOptions {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// Bound of the jobs in seconds
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub timeout: u64,
    /// Where to write the time line (JSON trace events)
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Jobs to run, `coxswain-jobs list` names them
    #[arg(value_name = "JOB", default_values = ["latency", "stream-fence", "ping-pong", "arbiter-priority"])]
    pub jobs: Vec<String>,
}

/// Options of `boot`.
#[derive(Debug, Clone, Args)]
pub struct BootOptions {
    /// Where to fetch from.
    #[command(flatten)]
    pub fetch: FetchOptions,
    /// Wait for a debugger before the first instruction of the firmware
    #[arg(long)]
    pub gdb: bool,
    /// Cores of the management CPU that do nothing but queues, 0 to 3; 0: the control core does them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3))]
    pub queue_cores: u32,
    /// Strap the card for the static loader instead of COMMS
    #[arg(long)]
    pub static_loader: bool,
    /// What the board's sensors see, as in temp1=85000,curr1=20000 (also temp2, in0, in1, curr2, stuck, silent, answers)
    #[arg(long, value_name = "SPEC", value_parser = injections, default_value = "")]
    pub sensor: Injections,
    /// A file that keeps the card's e-fuses from run to run; made when it is not there
    #[arg(long, value_name = "FILE")]
    pub fuses: Option<PathBuf>,
    /// Write every register access by name into the run folder; slow
    #[arg(long)]
    pub trace: bool,
}

/// Options of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// Where to fetch from.
    #[command(flatten)]
    pub fetch: FetchOptions,
    /// Only this part; may be given several times
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Vec<BenchPart>,
    /// Write the figures as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Make the measured instruction counts the golden ones
    #[arg(long)]
    pub update: bool,
    /// Milliseconds of each measurement through the driver
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub milliseconds: u64,
    /// Rounds of the measurements through the driver; the middle one counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = rounds)]
    pub rounds: usize,
}

impl BenchOptions {
    /// True when `part` is to be measured.
    #[must_use]
    pub fn has(&self, part: BenchPart) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Parts of `bench`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchPart {
    /// Instructions of the firmware on the emulated processor, exact, compared with the golden file.
    OnTarget,
    /// Nanoseconds of the queue engine's loops on this machine.
    Native,
    /// Submissions per second and latency through the stock driver.
    Guest,
}

/// Options of `setup`.
#[derive(Debug, Clone, Args)]
pub struct SetupOptions {
    /// Where to fetch from.
    #[command(flatten)]
    pub fetch: FetchOptions,
    /// Fetch again what the cache already has
    #[arg(long)]
    pub refresh: bool,
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds @ 1..=99) => Ok(rounds),
        _ => Err("1 to 99 rounds are possible".to_owned()),
    }
}

/// A list of changes of the board, in one argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injections(pub Vec<Injection>);

fn injections(text: &str) -> Result<Injections, String> {
    Injection::parse_list(text).map(Injections)
}

fn driver_option(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, value))
            if !name.is_empty()
                && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
                && !value.contains(char::is_whitespace) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("a driver option looks like name=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("coxswain").chain(words.iter().copied()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_two_dashes_belongs_to_the_program() {
        let cli =
            parse(&["guest", "--share", "/tmp", "--driver-option", "memory_scrub=1", "--", "./a", "--timeout", "-x"]);
        let Some(Command::Guest(options)) = cli.unwrap().command else { panic!("not the guest command") };
        assert_eq!(options.program, ["./a", "--timeout", "-x"]);
        assert_eq!(options.machine.driver_options, ["memory_scrub=1"]);
        assert_eq!(options.timeout, 600);
    }

    #[test]
    fn a_bench_measures_everything_or_the_parts_that_are_named() {
        let parts = [BenchPart::OnTarget, BenchPart::Native, BenchPart::Guest];
        for (words, expected) in [
            (&["bench"][..], [true; 3]),
            (&["bench", "--only", "native"], [false, true, false]),
            (&["bench", "--only", "guest", "--only", "on-target"], [true, false, true]),
        ] {
            let Some(Command::Bench(options)) = parse(words).unwrap().command else { panic!("not bench: {words:?}") };
            assert_eq!(parts.map(|part| options.has(part)), expected, "{words:?}");
        }
    }

    #[test]
    fn wrong_arguments_end_with_exit_code_2() {
        for words in [
            &["guest"][..],
            &["--memory", "64"],
            &["--memory", "4096"],
            &["guest", "--driver-option", "memory_scrub", "--", "x"],
            &["guest", "--driver-option", "a=1 b=2", "--", "x"],
            &["--gdb", "card"],
            &["--sensor", "temp9=1"],
            &["boot", "--sensor", "warm"],
            &["explode"],
            &["image", "list"],
            &["bench", "--only", "everything"],
            &["bench", "--milliseconds", "0"],
            &["bench", "--rounds", "0"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
