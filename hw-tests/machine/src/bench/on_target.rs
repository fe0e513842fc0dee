//! Instruction counts on the target: one core, `-icount`, card in lockstep, no deadlines.
//!
//! The firmware leaves its count of retired instructions in the control page whenever it is about to sleep, so a host that
//! waits for it to sleep before and after an operation knows what the operation cost, from the interrupt to the next sleep,
//! without anything in the image that is only for benchmarks. The counts are exact and repeat (`decisions.md` 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use coxswain_abi::packet::{self, RB};
use coxswain_abi::regs::SRAM_BASE;
use coxswain_abi::regs::dma_core::commit;
use coxswain_abi::soc::{bar0, control, core_block};
use coxswain_card::Card;
use coxswain_host::Host;

use super::golden::Figures;
use crate::images::Firmware;
use crate::provision::Tools;
use crate::scripted::{self, HBM};
use crate::session::{Config, Session};

/// Longest time in which the firmware must come to rest.
const REST: Duration = Duration::from_secs(60);

/// Measures everything and returns the figures by name.
///
/// # Errors
/// The session cannot be started, or the firmware does not do what it is asked to.
pub fn measure(tools: Arc<Tools>, firmware: &Arc<Firmware>) -> anyhow::Result<Figures> {
    let config = Config {
        firmware: Some(Arc::clone(firmware)),
        cores: 1,
        lockstep: true,
        instruction_count: true,
        ..Config::default()
    };
    let session = Session::start(tools, config)?;
    let mut host = scripted::bring_up(&session, firmware)?;
    let card = session.card().context("the session has no card")?;
    let mut figures = Figures::new();
    for stage in &firmware.stages {
        figures.insert(format!("bytes, {} image", stage.name), stage.image.len() as f64);
    }
    for (number, stage) in firmware.stages.iter().enumerate() {
        let offset = bar0::CONTROL + control::STAGE_INSTRUCTIONS + 8 * number as u64;
        let count = card.memories().soc.read_u64(offset).context("the control page")?;
        figures.insert(format!("instructions, {} from entry to ready", stage.name), count as f64);
    }
    let mut bench = Bench { card, host: &mut host };
    // The first job touches every path once; what it costs is not what the next ones cost.
    bench.job(&[])?;
    let blank = bench.job(&[])?;
    figures.insert("instructions, blank job: doorbell to sleep".into(), blank.instructions);
    let message = packet::msg_long(SRAM_BASE + 0x1000, 1, 0);
    figures.insert("instructions, MSG_LONG packet".into(), bench.per_packet(&message, 64, 512)?);
    let register = [packet::wreg_32(coxswain_abi::regs::dma_core::SRC_TSIZE_0 as u16, 1, 0)];
    figures.insert("instructions, WREG_32 packet".into(), bench.per_packet(&register, 64, 512)?);
    let copy = packet::lin_dma(HBM, HBM + 4096, 64, RB | commit::LIN);
    figures.insert("instructions, LIN_DMA packet and its completion".into(), bench.per_packet(&copy, 2, 12)?);
    let one = bench.job(&copy)?;
    figures.insert("instructions, 64-byte DMA job: doorbell to sleep".into(), one.instructions);
    figures.insert("trapped accesses, DMA job at depth 1".into(), one.kicks);
    session.shut_down();
    Ok(figures)
}

/// What a job cost.
struct Cost {
    instructions: f64,
    kicks: f64,
}

struct Bench<'a> {
    card: &'a Card,
    host: &'a mut Host,
}

impl Bench<'_> {
    /// Waits until core 0 sleeps and returns the instructions that it has retired.
    fn at_rest(&self) -> anyhow::Result<u32> {
        let soc = &self.card.memories().soc;
        let end = Instant::now() + REST;
        while soc.load_acquire_u32(core_block::offset(0) + core_block::WANT_INTERRUPT)? == 0 {
            if Instant::now() >= end {
                bail!("the firmware did not come to rest within {} s", REST.as_secs());
            }
            std::thread::yield_now();
        }
        Ok(soc.read_u64(bar0::CONTROL + control::INSTRUCTIONS)? as u32)
    }

    /// Runs one job on DMA0 stream 0 from sleep to sleep.
    fn job(&mut self, packets: &[u64]) -> anyhow::Result<Cost> {
        let kicks = self.card.soc().counters().kicks;
        let before = self.at_rest()?;
        let ticket = self.host.submit(0, packets)?;
        let after = self.at_rest()?;
        self.host.wait(ticket, self.host.bounds().job)?;
        Ok(Cost {
            instructions: f64::from(after.wrapping_sub(before)),
            kicks: (self.card.soc().counters().kicks - kicks) as f64,
        })
    }

    /// Cost of one more packet in a buffer of them: the difference between `many` and `few`.
    fn per_packet(&mut self, packet: &[u64], few: usize, many: usize) -> anyhow::Result<f64> {
        let few_cost = self.job(&packet.repeat(few))?.instructions;
        let many_cost = self.job(&packet.repeat(many))?.instructions;
        Ok(((many_cost - few_cost) / (many - few) as f64 * 100.0).round() / 100.0)
    }
}
