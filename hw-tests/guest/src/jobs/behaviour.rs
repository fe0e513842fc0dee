//! Jobs that exercise one behaviour of the queues each, by name.

use super::bench::{Bench, JobError};
use super::many::Measured;
use super::{arbiter, arbiter_slaves, control, delay, kernels, limits, ping, signals, streams, strided, threads};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// [`threads::at_once`].
    Threads,
    /// [`limits::external`].
    LongExternal,
    /// [`limits::internal`].
    LongInternal,
    /// [`streams::fence_between`].
    FenceBetween,
    /// [`ping::pong`].
    PingPong,
    /// [`arbiter::by_priority`].
    Priority,
    /// The same, set in the buffer that uses it.
    PrioritySameBuffer,
    /// [`arbiter::by_weight`].
    Weight,
    /// [`arbiter_slaves::by_priority`].
    Slaves,
    /// [`strided::by_registers`].
    Strided,
    /// [`strided::by_bulk`].
    Bulk,
    /// [`control::predicates`].
    Predicates,
    /// [`control::scalars`].
    Scalars,
    /// [`delay::delays`].
    Delays,
    /// [`signals::signal_and_wait`].
    SignalWait,
    /// [`signals::encapsulated`].
    Encapsulated,
    /// [`signals::staged`].
    Staged,
    /// [`signals::first_of_several`].
    FirstOfSeveral,
    /// [`kernels::axpb`].
    Axpb,
    /// [`kernels::objects`].
    Objects,
    /// [`kernels::own`].
    OwnKernels,
    /// [`kernels::launches`].
    Launches,
    /// [`kernels::queued`].
    QueuedLaunches,
    /// [`kernels::streams`].
    KernelStreams,
}

impl Behaviour {
    /// Runs it. The amount is a number of submissions, rounds or bytes; some have none.
    ///
    /// # Errors
    /// Whatever was not as it must be.
    pub fn run(self, bench: &Bench<'_>, amount: usize, seed: u64) -> Result<Measured, JobError> {
        match self {
            Self::Threads => threads::at_once(bench, amount, seed),
            Self::LongExternal => limits::external(bench, amount, seed),
            Self::LongInternal => limits::internal(bench, amount, seed),
            Self::FenceBetween => streams::fence_between(bench, amount, seed),
            Self::PingPong => ping::pong(bench, amount, seed),
            Self::Priority => arbiter::by_priority(bench, amount, false),
            Self::PrioritySameBuffer => arbiter::by_priority(bench, amount, true),
            Self::Weight => arbiter::by_weight(bench, amount),
            Self::Slaves => arbiter_slaves::by_priority(bench, amount),
            Self::Strided => strided::by_registers(bench, amount, seed),
            Self::Bulk => strided::by_bulk(bench, amount, seed),
            Self::Predicates => control::predicates(bench, seed),
            Self::Scalars => control::scalars(bench, seed),
            Self::Delays => delay::delays(bench),
            Self::SignalWait => signals::signal_and_wait(bench, amount, seed),
            Self::Encapsulated => signals::encapsulated(bench),
            Self::Staged => signals::staged(bench, amount, seed),
            Self::FirstOfSeveral => signals::first_of_several(bench),
            Self::Axpb => kernels::axpb(bench, amount, seed),
            Self::Objects => kernels::objects(bench, seed),
            Self::OwnKernels => kernels::own(bench, seed),
            Self::Launches => kernels::launches(bench, amount, seed),
            Self::QueuedLaunches => kernels::queued(bench, amount, seed),
            Self::KernelStreams => kernels::streams(bench, amount, seed),
        }
    }
}
