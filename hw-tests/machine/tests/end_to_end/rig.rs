//! What the tests share: the prepared ingredients, the turns, and the account of a run that every assertion carries.
//!
//! Owns no expectation of its own, except that a run that does not reach its end is a failure.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use coxswain_card::Soc;
use coxswain_guest::jobs::record::{Record, Verdict};
use coxswain_guest::plan::{Event, Step};
use coxswain_machine::bench::end_to_end::{self, Extent, Row};
use coxswain_machine::environment::Environment;
use coxswain_machine::images::{self, Firmware};
use coxswain_machine::logs::run_folder::{self as log, RunFolder};
use coxswain_machine::progress::Progress;
use coxswain_machine::provision::Options;
use coxswain_machine::scenario::Scenario;
use coxswain_machine::session::{Config, GuestOutcome, Seen, Session};

/// The jobs program of the guest.
pub const JOBS: &str = "coxswain-jobs";
/// The directory of the driver's attributes.
pub const DEVICE: &str = "/sys/class/accel/accel0/device";
/// The node that jobs open.
pub const NODE: &str = "/dev/accel/accel0";
/// Seconds for boot and shutdown of the guest on a busy machine.
const BOOT_LIMIT: u64 = 120;
/// Lines of each log in the message of a failure.
const LAST_LINES: usize = 12;

struct Ingredients {
    environment: Environment,
    firmware: Arc<Firmware>,
}

fn ingredients() -> &'static Ingredients {
    static INGREDIENTS: OnceLock<Ingredients> = OnceLock::new();
    INGREDIENTS.get_or_init(|| {
        let progress = Progress::new();
        let environment = Environment::prepare(&Options::default(), &progress)
            .unwrap_or_else(|error| panic!("the tools cannot be had: {error:#}"));
        let firmware =
            images::build_firmware(&progress).unwrap_or_else(|error| panic!("no firmware can be built: {error:#}"));
        Ingredients { environment, firmware: Arc::new(firmware) }
    })
}

/// The right to run the machine, one test at a time, and what it is made from.
pub struct Rig {
    ingredients: &'static Ingredients,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    /// Waits for the turn, and prepares everything when this is the first.
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed leaves nothing behind: its session is gone.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { ingredients: ingredients(), _turn: turn }
    }

    /// The good firmware.
    pub fn firmware(&self) -> &Firmware {
        &self.ingredients.firmware
    }

    /// A guest with the good firmware files and the driver at hand, not loaded.
    pub fn scenario(&self) -> Scenario<'static> {
        let mut scenario = Scenario::new(&self.ingredients.environment).unwrap();
        scenario.firmware(&self.ingredients.firmware);
        scenario.prepare_driver().unwrap();
        scenario
    }

    /// Runs the scenario on a new card, `seconds` long at most beside boot and shutdown.
    pub fn play(&self, scenario: Scenario<'_>, seconds: u64) -> Story {
        self.play_with(scenario, seconds, Config::default())
    }

    /// The same with other parameters than the default; the firmware is always the good one.
    pub fn play_with(&self, scenario: Scenario<'_>, seconds: u64, config: Config) -> Story {
        self.play_along(scenario, seconds, config, "", |_| ())
    }

    /// The same, and `act` changes the card when a step of the scenario waits for its host with this token.
    pub fn play_along(
        &self,
        scenario: Scenario<'_>,
        seconds: u64,
        config: Config,
        token: &str,
        mut act: impl FnMut(&Soc),
    ) -> Story {
        let config = Config { firmware: Some(Arc::clone(&self.ingredients.firmware)), ..config };
        let tools = Arc::clone(&self.ingredients.environment.tools);
        let mut session = Session::start(tools, config).unwrap_or_else(|error| panic!("no card: {error:#}"));
        let folder = session.folder().clone();
        let run = scenario.into_run(Some(Duration::from_secs(seconds + BOOT_LIMIT)));
        let guest_started = session.elapsed();
        let soc = session.card().map(|card| Arc::clone(card.soc()));
        let mut observer = |seen: Seen<'_>| {
            if let (Seen::Event(Event::AwaitingHost { token: found, .. }), Some(soc)) = (seen, &soc)
                && found == token
            {
                act(soc);
            }
            Ok(())
        };
        let outcome =
            session.run(&run, &mut observer).unwrap_or_else(|error| panic!("{error:#}\n{}", where_to_look(&folder)));
        let firmware_faults = session.firmware_log().fatal();
        let hbm_stored = session.card().and_then(|card| card.memories().hbm.stored_bytes().ok());
        session.shut_down();
        let console = fs::read_to_string(folder.file(log::GUEST_CONSOLE)).unwrap_or_default();
        Story { outcome, folder, guest_started, console, firmware_faults, hbm_stored }
    }

    /// Measures through the driver.
    pub fn measure(&self, extent: &Extent) -> Vec<Row> {
        let Ingredients { environment, firmware } = self.ingredients;
        end_to_end::measure(environment, firmware, extent, &Progress::silent())
            .unwrap_or_else(|error| panic!("the measurement failed: {error:#}"))
    }
}

fn where_to_look(folder: &RunFolder) -> String {
    format!("{}all logs: {}", folder.last_lines(LAST_LINES), folder.path().display())
}

/// A program that ended, with what it printed.
pub struct Ended<'a> {
    /// Exit status, unless a signal ended it.
    pub code: Option<i32>,
    /// Its output.
    pub output: &'a str,
}

/// What happened.
pub struct Story {
    outcome: GuestOutcome,
    folder: RunFolder,
    /// Since the card was started.
    guest_started: Duration,
    console: String,
    firmware_faults: Vec<String>,
    hbm_stored: Option<u64>,
}

impl Story {
    /// Fails the test with `what` and everything that helps to understand it.
    #[track_caller]
    pub fn fail(&self, what: impl AsRef<str>) -> ! {
        let mut text = what.as_ref().to_owned();
        for complaint in self.outcome.complaints().iter().chain(&self.outcome.notes).chain(&self.firmware_faults) {
            text.push_str("\n  ");
            text.push_str(complaint);
        }
        for record in self.programs().iter().flat_map(|program| failed(&records_of(program.output))) {
            text.push_str(&format!("\n  {record}"));
        }
        panic!("{text}\n{}", where_to_look(&self.folder))
    }

    /// Fails the test with `what` unless `condition` holds.
    #[track_caller]
    pub fn must(&self, condition: bool, what: impl AsRef<str>) {
        if !condition {
            self.fail(what);
        }
    }

    /// The plan was carried out to its end, no step failed, and neither kernel nor firmware reported trouble.
    #[track_caller]
    pub fn must_be_flawless(&self) {
        let quiet = self.outcome.complaints().is_empty() && self.firmware_faults.is_empty();
        self.must(quiet, "the run was not flawless");
        let finished = self.outcome.events.iter().any(|(_, event)| matches!(event, Event::Finished { skipped: 0, .. }));
        self.must(finished, "the plan was not carried out to its end");
    }

    /// What was read from `path`, in order, without line ends.
    pub fn files(&self, path: &str) -> Vec<&str> {
        let events = self.outcome.events.iter();
        let texts = events.filter_map(|(_, event)| match event {
            Event::File { path: found, text, .. } if found == path => Some(text.trim_end()),
            _ => None,
        });
        texts.collect()
    }

    /// The programs in the order in which they ended.
    pub fn programs(&self) -> Vec<Ended<'_>> {
        let ended = |event| match event {
            &Event::Exit { code, output_start, output_bytes, .. } => {
                let bytes = self.outcome.output.get(output_start as usize..)?.get(..output_bytes as usize)?;
                Some(Ended { code, output: std::str::from_utf8(bytes).unwrap_or("(not text)") })
            }
            _ => None,
        };
        self.outcome.events.iter().filter_map(|(_, event)| ended(event)).collect()
    }

    /// The job records of program number `index`; all must have passed, and there must be some.
    #[track_caller]
    pub fn passed_jobs(&self, index: usize) -> Vec<Record> {
        let programs = self.programs();
        let Some(program) = programs.get(index) else { self.fail(format!("there was no program number {index}")) };
        let records = records_of(program.output);
        let good = program.code == Some(0) && failed(&records).is_empty() && !records.is_empty();
        self.must(good, format!("the jobs of program number {index} did not pass"));
        records
    }

    /// Lines of the guest's console that contain `text`.
    pub fn kernel_lines(&self, text: &str) -> Vec<&str> {
        self.console.lines().filter(|line| line.contains(text)).collect()
    }

    /// Fails the test unless the console has exactly `count` lines with `text`.
    #[track_caller]
    pub fn must_have_said(&self, text: &str, count: usize) {
        let found = self.kernel_lines(text).len();
        self.must(found == count, format!("the kernel said \"{text}\" {found} times instead of {count}"));
    }

    /// Start and end of the first step whose description contains `what`, as time since the card was started.
    #[track_caller]
    pub fn span(&self, what: &str) -> (Duration, Duration) {
        let begun = self.outcome.events.iter().find_map(|(at, event)| match event {
            Event::StepBegun { step, what: found, .. } if found.contains(what) => Some((*at, *step)),
            _ => None,
        });
        let Some((begin, number)) = begun else { self.fail(format!("no step \"{what}\" was begun")) };
        let ended = self.outcome.events.iter().find_map(|(at, event)| match event {
            Event::StepEnded { step, .. } if *step == number => Some(*at),
            _ => None,
        });
        let Some(end) = ended else { self.fail(format!("the step \"{what}\" did not end")) };
        (self.guest_started + begin, self.guest_started + end)
    }

    /// Bytes of memory that HBM took at the end.
    #[track_caller]
    pub fn hbm_stored(&self) -> u64 {
        let Some(bytes) = self.hbm_stored else { self.fail("nobody knows what HBM takes") };
        bytes
    }

    /// A file of the run folder as text.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.file(name)).unwrap_or_default()
    }
}

/// The job records among the lines of a program's output.
fn records_of(output: &str) -> Vec<Record> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn failed(records: &[Record]) -> Vec<Record> {
    records.iter().filter(|record| record.result == Verdict::Fail).cloned().collect()
}

/// A step that runs a command of the guest and expects another exit status than 0.
pub fn run_expecting(scenario: &mut Scenario<'_>, words: &[&str], seconds: u64, status: i32) {
    scenario.run(words, seconds).unwrap();
    if let Some(Step::Run { expect_exit, .. }) = scenario.plan.steps.last_mut() {
        *expect_exit = Some(status);
    }
}
