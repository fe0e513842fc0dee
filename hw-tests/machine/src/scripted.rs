//! The firmware under the scripted host: what `boot`, `bench` and the on-target tests share beyond
//! [`coxswain_host::exercise`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use coxswain_abi::packet::{self, RB};
use coxswain_abi::regs::dma_core::commit;
use coxswain_host::{Bounds, Host};

use crate::images::Firmware;
use crate::session::Session;

/// User memory in HBM.
pub const HBM: u64 = 0x2000_0000;
/// The driver's bounds hold on a card; an emulated machine that shares its cores gets this many times as much.
const PATIENCE: u32 = 10;

/// Bounds for a machine that may be busy.
#[must_use]
pub fn bounds() -> Bounds {
    Bounds::scaled(PATIENCE)
}

/// Loads the firmware and makes the card ready for a user's jobs, as the driver does.
///
/// # Errors
/// A stage refused, or did not answer within its bound.
pub fn bring_up(session: &Session, firmware: &Firmware) -> anyhow::Result<Host> {
    let card = session.card().context("the session has no card")?;
    let [_, boot_fit, control] = &firmware.stages;
    let mut host = Host::probe_within(card, bounds()).context("looking for the card")?;
    host.bring_up(&boot_fit.image, &control.image).context("bringing the card up")?;
    host.open_context().context("opening a context")?;
    Ok(host)
}

/// What a burst of jobs cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Jobs.
    pub jobs: u32,
    /// From the first doorbell to the last completion.
    pub took: Duration,
    /// Trapped accesses of the management CPU.
    pub kicks: u64,
}

impl Burst {
    /// Trapped accesses per job.
    #[must_use]
    pub fn kicks_per_job(&self) -> f64 {
        self.kicks as f64 / f64::from(self.jobs)
    }
}

/// Submits `jobs` small copies on DMA0, at most `depth` in flight, and waits for all.
///
/// # Errors
/// A job does not complete.
pub fn burst(session: &Session, host: &mut Host, jobs: u32, depth: usize) -> anyhow::Result<Burst> {
    let card = session.card().context("the session has no card")?;
    let kicks = card.soc().counters().kicks;
    let begun = Instant::now();
    let mut flying = VecDeque::new();
    for job in 0..jobs {
        if flying.len() == depth
            && let Some(ticket) = flying.pop_front()
        {
            host.wait(ticket, host.bounds().job)?;
        }
        let copy = packet::lin_dma(HBM, HBM + 0x1_0000 + 64 * u64::from(job), 64, RB | commit::LIN);
        flying.push_back(host.submit(0, &copy)?);
    }
    for ticket in flying {
        host.wait(ticket, host.bounds().job)?;
    }
    Ok(Burst { jobs, took: begun.elapsed(), kicks: card.soc().counters().kicks - kicks })
}
