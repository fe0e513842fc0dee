//! Power and reset of the management CPU.
//!
//! For: what happens after something on the card asks for a CPU reset: stop the cores, bring the SoC into its reset state,
//! let the CPU run from its reset vector, report the SoC out of reset.
//!
//! Owns: the reset thread, so that whoever asks (a host write in the middle of an access, firmware, a watchdog) never waits
//! for a machine that may itself be waiting for the card.
//!
//! Never: knows how a CPU is stopped; the harness provides [`CpuPower`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use coxswain_abi::soc::ResetReason;

/// Control over the machine that is the management CPU. Calls come from the reset thread, one at a time.
pub trait CpuPower: Send + Sync {
    /// Stops all cores and returns when they have stopped.
    ///
    /// # Errors
    /// The cores may still run; the card stays in reset.
    fn hold(&self) -> anyhow::Result<()>;

    /// Resets the CPU and lets it run from its reset vector.
    ///
    /// # Errors
    /// The CPU may not run; the card stays in reset.
    fn release(&self) -> anyhow::Result<()>;
}

/// The part of the SoC that a reset needs.
pub trait ResetTarget: Send + Sync {
    /// Brings registers and engines into the state after a reset for `reason`. No core runs.
    fn reset_state(&self, reason: ResetReason);

    /// The CPU has been released: the boot manager is done.
    fn out_of_reset(&self);
}

/// Resets carried out so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResetCounts {
    /// Resets that ended with a released CPU.
    pub completed: u64,
    /// Resets in which [`CpuPower`] failed.
    pub failed: u64,
}

enum Message {
    Reset(ResetReason),
    PowerChanged,
    Stop,
}

#[derive(Default)]
struct Shared {
    power: Mutex<Option<Arc<dyn CpuPower>>>,
    completed: AtomicU64,
    failed: AtomicU64,
}

/// Asks for resets; cheap to copy, never waits.
#[derive(Clone)]
pub struct ResetRequests(Sender<Message>);

impl ResetRequests {
    /// Asks for a reset of the management CPU. Ignored after the card has shut down.
    pub fn request(&self, reason: ResetReason) {
        let _ = self.0.send(Message::Reset(reason));
    }
}

/// The reset thread.
pub struct ResetSequencer {
    shared: Arc<Shared>,
    requests: ResetRequests,
    receiver: Option<Receiver<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for ResetSequencer {
    fn default() -> Self {
        Self::new()
    }
}

impl ResetSequencer {
    /// Makes the sequencer; requests wait until [`Self::start`].
    #[must_use]
    pub fn new() -> Self {
        let (sender, receiver) = channel();
        Self { shared: Arc::default(), requests: ResetRequests(sender), receiver: Some(receiver), thread: None }
    }

    /// A handle for those who ask for resets.
    #[must_use]
    pub fn requests(&self) -> ResetRequests {
        self.requests.clone()
    }

    /// Starts the thread. A second call does nothing.
    ///
    /// # Errors
    /// The thread could not be made.
    pub fn start(&mut self, target: Arc<dyn ResetTarget>) -> std::io::Result<()> {
        let Some(receiver) = self.receiver.take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        self.thread = Some(std::thread::Builder::new().name("card-reset".into()).spawn(move || {
            shared.run(&receiver, &*target);
        })?);
        Ok(())
    }

    /// Sets how the CPU is stopped and started. Without it the card has no CPU, and a reset is one of the SoC alone. A reset
    /// that has failed is tried again with the new means.
    pub fn set_power(&self, power: Arc<dyn CpuPower>) {
        *self.shared.power.lock().unwrap_or_else(PoisonError::into_inner) = Some(power);
        let _ = self.requests.0.send(Message::PowerChanged);
    }

    /// Resets so far.
    #[must_use]
    pub fn counts(&self) -> ResetCounts {
        ResetCounts {
            completed: self.shared.completed.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Ends the thread after the resets already asked for.
    pub fn stop(&mut self) {
        let _ = self.requests.0.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for ResetSequencer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self, receiver: &Receiver<Message>, target: &dyn ResetTarget) {
        // The reset that has failed and is still due.
        let mut due = None;
        let mut stopping = false;
        while !stopping && let Ok(message) = receiver.recv() {
            let mut next = match message {
                Message::Reset(reason) => Some(stronger(due.take(), reason)),
                Message::PowerChanged => due.take(),
                Message::Stop => return,
            };
            while let Some(reason) = next.take() {
                if let Err(error) = self.cycle(target, reason) {
                    // The boot manager stays busy: that is how the host learns that the card did not come back.
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    eprintln!("card: reset of the management CPU ({reason:?}) failed: {error:#}");
                    due = Some(reason);
                    break;
                }
                self.completed.fetch_add(1, Ordering::Relaxed);
                // A request that came meanwhile is carried out before anybody sees the card out of reset.
                while next.is_none()
                    && !stopping
                    && let Ok(message) = receiver.try_recv()
                {
                    match message {
                        Message::Reset(reason) => next = Some(reason),
                        Message::PowerChanged => {}
                        Message::Stop => stopping = true,
                    }
                }
                if next.is_none() {
                    target.out_of_reset();
                }
            }
        }
    }

    /// Stops the CPU, resets the state, lets the CPU run.
    fn cycle(&self, target: &dyn ResetTarget, reason: ResetReason) -> anyhow::Result<()> {
        let power = self.power.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(power) = &power {
            power.hold()?;
        }
        target.reset_state(reason);
        if let Some(power) = &power {
            power.release()?;
        }
        Ok(())
    }
}

/// The reset that does what both ask for: one of the whole card wins over one of the CPU alone.
fn stronger(due: Option<ResetReason>, new: ResetReason) -> ResetReason {
    match (due, new) {
        (Some(due), ResetReason::Firmware | ResetReason::Watchdog) => due,
        _ => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Writes down what happens, in order; fails to hold while `broken`.
    #[derive(Default)]
    struct Bench {
        steps: Mutex<Vec<String>>,
        broken: AtomicBool,
    }

    impl Bench {
        fn step(&self, step: impl Into<String>) {
            self.steps.lock().unwrap().push(step.into());
        }
    }

    impl CpuPower for Bench {
        fn hold(&self) -> anyhow::Result<()> {
            anyhow::ensure!(!self.broken.load(Ordering::SeqCst), "no answer");
            self.step("hold");
            Ok(())
        }

        fn release(&self) -> anyhow::Result<()> {
            self.step("release");
            Ok(())
        }
    }

    impl ResetTarget for Bench {
        fn reset_state(&self, reason: ResetReason) {
            self.step(format!("{reason:?}"));
        }

        fn out_of_reset(&self) {
            self.step("out");
        }
    }

    fn run(bench: &Arc<Bench>, power: bool, reasons: &[ResetReason]) -> ResetCounts {
        let mut sequencer = ResetSequencer::new();
        if power {
            sequencer.set_power(Arc::clone(bench) as Arc<dyn CpuPower>);
        }
        for reason in reasons {
            sequencer.requests().request(*reason);
        }
        sequencer.start(Arc::clone(bench) as Arc<dyn ResetTarget>).unwrap();
        sequencer.stop();
        sequencer.counts()
    }

    #[test]
    fn the_state_is_reset_between_hold_and_release_and_the_card_comes_out_once_nothing_waits() {
        let bench = Arc::new(Bench::default());
        let counts = run(&bench, true, &[ResetReason::SoftwareAll, ResetReason::Watchdog]);
        assert_eq!(counts, ResetCounts { completed: 2, failed: 0 });
        let expected = ["hold", "SoftwareAll", "release", "hold", "Watchdog", "release", "out"];
        assert_eq!(*bench.steps.lock().unwrap(), expected);
    }

    #[test]
    fn a_cpu_that_cannot_be_stopped_leaves_the_card_in_reset() {
        let bench = Arc::new(Bench::default());
        bench.broken.store(true, Ordering::SeqCst);
        assert_eq!(run(&bench, true, &[ResetReason::SoftwareAll]), ResetCounts { completed: 0, failed: 1 });
        assert!(bench.steps.lock().unwrap().is_empty());
    }

    #[test]
    fn a_failed_reset_is_done_when_the_power_is_replaced() {
        let (broken, working) = (Arc::new(Bench::default()), Arc::new(Bench::default()));
        broken.broken.store(true, Ordering::SeqCst);
        let mut sequencer = ResetSequencer::new();
        sequencer.set_power(Arc::clone(&broken) as Arc<dyn CpuPower>);
        let requests = sequencer.requests();
        requests.request(ResetReason::SoftwareAll);
        // A weaker request does not take the place of the one that is due.
        requests.request(ResetReason::Watchdog);
        sequencer.start(Arc::clone(&broken) as Arc<dyn ResetTarget>).unwrap();
        while sequencer.counts().failed < 2 {
            std::thread::yield_now();
        }
        sequencer.set_power(Arc::clone(&working) as Arc<dyn CpuPower>);
        sequencer.stop();
        assert_eq!(sequencer.counts(), ResetCounts { completed: 1, failed: 2 });
        assert_eq!(*working.steps.lock().unwrap(), ["hold", "release"]);
        assert_eq!(*broken.steps.lock().unwrap(), ["SoftwareAll", "out"]);
    }

    #[test]
    fn a_card_without_a_cpu_resets_its_state_alone() {
        let bench = Arc::new(Bench::default());
        assert_eq!(run(&bench, false, &[ResetReason::SoftwareAll]), ResetCounts { completed: 1, failed: 0 });
        assert_eq!(*bench.steps.lock().unwrap(), ["SoftwareAll", "out"]);
    }
}
