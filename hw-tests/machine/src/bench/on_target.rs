//! Instruction counts on the target: one core, `-icount`, card in lockstep, no deadlines.
//!
//! The firmware leaves its count of retired instructions in the control page whenever it is about to sleep, so a host that
//! waits for it to sleep before and after an operation knows what the operation cost, from the interrupt to the next sleep,
//! without anything in the image that is only for benchmarks. The counts are exact and repeat (`decisions.md` 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use coxswain_abi::packet::{self, EB, Header, RB, opcode};
use coxswain_abi::regs::dma_core::{self, commit};
use coxswain_abi::regs::{CFG_BASE, SRAM_BASE, qman};
use coxswain_abi::soc::{bar0, control, core_block, straps};
use coxswain_card::Card;
use coxswain_host::Host;

use super::golden::Figures;
use crate::images::Firmware;
use crate::provision::Tools;
use crate::scripted::{self, HBM};
use crate::session::{Config, Session};

/// Longest time in which the firmware must come to rest.
const REST: Duration = Duration::from_secs(60);
/// Counts of a figure that does not repeat exactly.
const REPEATED: usize = 9;
/// Offset in a DMA core's window with unused registers behind it.
const BULK_TARGET: u16 = 0x400;

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
    let session = Session::start(Arc::clone(&tools), config)?;
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
    for (number, (image, budget)) in firmware.stages[1..].iter().zip([(56, 2_600_000), (256, 10_000_000)]).enumerate() {
        let offset = bar0::CONTROL + control::CHECK_INSTRUCTIONS + 8 * number as u64;
        let count = card.memories().soc.read_u64(offset).context("the control page")?;
        figures.insert(format!("instructions, {} image from DATA_RDY to OK", image.name), count as f64);
        // Nearly all of it is in proportion to the bytes; the rest is the signature.
        let (kibibytes, limit) = budget;
        eprintln!("{}: {} bytes, {count} of at most {limit} for {kibibytes} KiB", image.name, image.image.len());
    }
    let mut bench = Bench { card, host: &mut host, core: 0 };
    bench.whole_jobs(&mut figures)?;
    bench.packets(&mut figures)?;
    bench.engine(&mut figures)?;
    bench.streams(&mut figures)?;
    session.shut_down();
    for count in 1..=3 {
        let name = format!("instructions, MSG_LONG packet on one of {count} queue cores");
        figures.insert(name, on_a_queue_core(Arc::clone(&tools), firmware, count)?);
    }
    Ok(figures)
}

/// Cost of a packet on the first of `count` queue cores, while the others and the control core sleep.
fn on_a_queue_core(tools: Arc<Tools>, firmware: &Arc<Firmware>, count: u32) -> anyhow::Result<f64> {
    let config = Config {
        firmware: Some(Arc::clone(firmware)),
        cores: 1 + count,
        straps: straps::with_queue_cores(0, count),
        lockstep: true,
        instruction_count: true,
        ..Config::default()
    };
    let session = Session::start(tools, config)?;
    let mut host = scripted::bring_up(&session, firmware)?;
    let card = session.card().context("the session has no card")?;
    let mut bench = Bench { card, host: &mut host, core: 1 };
    bench.job(&[])?;
    // With several cores in the machine a count is not always exact, even while the others sleep (`decisions.md` 4): the middle
    // one of several counts.
    let message = packet::msg_long(SRAM_BASE + 0x1000, 1, 0);
    let mut costs = (0..REPEATED).map(|_| bench.per_packet(&message, 64, 512)).collect::<anyhow::Result<Vec<_>>>()?;
    session.shut_down();
    costs.sort_by(f64::total_cmp);
    costs.get(REPEATED / 2).copied().context("no count")
}

/// What a job cost.
struct Cost {
    instructions: f64,
    kicks: f64,
}

struct Bench<'a> {
    card: &'a Card,
    host: &'a mut Host,
    /// The core that serves DMA0.
    core: usize,
}

impl Bench<'_> {
    /// Costs of jobs from the doorbell's interrupt to the next sleep.
    fn whole_jobs(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        // The first job touches every path once; what it costs is not what the next ones cost.
        self.job(&[])?;
        let blank = self.job(&[])?;
        figures.insert("instructions, blank job: doorbell to sleep".into(), blank.instructions);
        let one = self.job(&copy())?;
        figures.insert("instructions, 64-byte DMA job: doorbell to sleep".into(), one.instructions);
        figures.insert("trapped accesses, DMA job at depth 1".into(), one.kicks);
        Ok(())
    }

    /// Costs of packets in a run of them.
    fn packets(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        let nop = [packet::nop(0)];
        let long = packet::msg_long(SRAM_BASE + 0x1000, 1, 0);
        // Base 1 is where the driver has put the sync objects; the increment is 0.
        let short = [packet::msg_short(1, 0, packet::sob_add(0), 0)];
        let register = [packet::wreg_32(dma_core::SRC_TSIZE_0 as u16, 1, 0)];
        let fence = [packet::fence(0, 0, 0, 0)];
        for (name, packet) in [
            ("NOP", &nop[..]),
            ("MSG_LONG", &long),
            ("MSG_SHORT", &short),
            ("WREG_32", &register),
            ("satisfied FENCE", &fence),
        ] {
            figures.insert(format!("instructions, {name} packet"), self.per_packet(packet, 64, 512)?);
        }
        let five = [&nop[..], &long, &short, &register, &fence].concat();
        let mean = self.per_packet(&five, 16, 128)? / 5.0;
        figures.insert("instructions, packet in a mix of five".into(), round(mean));
        let few = self.job(&bulk(8))?.instructions;
        let many = self.job(&bulk(108))?.instructions;
        figures.insert("instructions, further register of a WREG_BULK".into(), round((many - few) / 200.0));
        Ok(())
    }

    /// Costs around the engine.
    fn engine(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        figures.insert("instructions, LIN_DMA packet and its completion".into(), self.per_packet(&copy(), 2, 12)?);
        // With the engine halted, packets start jobs and nothing completes.
        let (few, _) = self.held_job(&copy().repeat(2))?;
        let (many, _) = self.held_job(&copy().repeat(12))?;
        let packet = round((many - few) / 10.0);
        figures.insert("instructions, LIN_DMA packet to engine started".into(), packet);
        let (_, after) = self.held_job(&copy())?;
        figures.insert("instructions, engine interrupt to end of job: to sleep".into(), after);
        // Each round: the packet, the barrier that blocks, the status of the blocked stream, the completion, the next packet.
        let round_trip: Vec<u64> = copy().into_iter().chain([packet::nop(EB)]).collect();
        let trip = self.per_packet(&round_trip, 2, 12)?;
        figures.insert("instructions, engine barrier: blocked, completion, next packet".into(), round(trip - packet));
        Ok(())
    }

    /// Costs of packets on the streams of one queue manager, all of them busy or one of them blocked.
    fn streams(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        for (name, busy) in [("with four streams busy", 4), ("with one stream blocked", 3)] {
            let (few, many) = (self.burst(busy, 64)?, self.burst(busy, 512)?);
            let cost = (many - few) / ((512 - 64) * busy) as f64;
            figures.insert(format!("instructions, MSG_LONG packet {name}"), round(cost));
        }
        Ok(())
    }

    /// Instructions of a burst of `count` packets on each of the first `busy` streams of DMA0, which begin together; the others
    /// wait at a fence all the time.
    fn burst(&mut self, busy: usize, count: usize) -> anyhow::Result<f64> {
        let message = packet::msg_long(SRAM_BASE + 0x1000, 1, 0);
        let wait = packet::fence(0, 1, 1, 0);
        let gate = |stream: usize| {
            qman::base(0) + qman::CP_FENCE0_RDATA_0 + 4 * u32::try_from(stream).expect("a small number")
        };
        let open = |stream: usize| packet::msg_long(CFG_BASE + u64::from(gate(stream)), 1, 0);
        let mut tickets = Vec::new();
        for stream in 0..4 {
            let mut packets = vec![wait];
            if stream == 0 {
                packets.extend((1..busy).flat_map(open));
            }
            packets.extend(message.repeat(count));
            tickets.push(self.host.submit(stream as u32, &packets)?);
        }
        let before = self.at_rest()?;
        self.host.link().write(gate(0), 1);
        let after = self.at_rest()?;
        for stream in busy..4 {
            self.host.link().write(gate(stream), 1);
        }
        for ticket in tickets {
            self.host.wait(ticket, self.host.bounds().job)?;
        }
        self.at_rest()?;
        Ok(f64::from(after.wrapping_sub(before)))
    }

    /// Waits until the core sleeps and returns the instructions that it has retired.
    ///
    /// Firmware sets the flag before its last look for work, so the flag alone does not say that it sleeps. It does when
    /// nothing was waiting at that look: the ring is empty and its producer has not moved around the moment in which the
    /// flag was seen. Doorbells are rung by this thread only.
    fn at_rest(&self) -> anyhow::Result<u32> {
        let soc = &self.card.memories().soc;
        let block = core_block::offset(self.core);
        let end = Instant::now() + REST;
        loop {
            let producer = soc.load_acquire_u32(block + core_block::NOTIFY_PRODUCER)?;
            let consumer = soc.load_acquire_u32(block + core_block::NOTIFY_CONSUMER)?;
            let doorbells =
                soc.read_u64(block + core_block::DOORBELLS)? | soc.read_u64(block + core_block::DOORBELLS + 8)?;
            let flag = soc.load_acquire_u32(block + core_block::WANT_INTERRUPT)?;
            let still = soc.load_acquire_u32(block + core_block::NOTIFY_PRODUCER)? == producer;
            if flag == 1 && still && producer == consumer && doorbells == 0 {
                return Ok(soc.read_u64(bar0::CONTROL + control::INSTRUCTIONS + 8 * self.core as u64)? as u32);
            }
            if Instant::now() >= end {
                bail!("the firmware did not come to rest within {} s", REST.as_secs());
            }
            std::thread::yield_now();
        }
    }

    /// Runs one job with DMA0 halted until the firmware rests, then lets DMA0 go on. Returns the instructions of the two
    /// parts.
    fn held_job(&mut self, packets: &[u64]) -> anyhow::Result<(f64, f64)> {
        let halt = dma_core::base(0) + dma_core::CFG_1;
        let before = self.at_rest()?;
        self.host.link().write(halt, 1);
        let ticket = self.host.submit(0, packets)?;
        let blocked = self.at_rest()?;
        self.host.link().write(halt, 0);
        let after = self.at_rest()?;
        self.host.wait(ticket, self.host.bounds().job)?;
        Ok((f64::from(blocked.wrapping_sub(before)), f64::from(after.wrapping_sub(blocked))))
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
        Ok(round((many_cost - few_cost) / (many - few) as f64))
    }
}

/// A copy of 64 bytes in HBM.
fn copy() -> [u64; 3] {
    packet::lin_dma(HBM, HBM + 4096, 64, RB | commit::LIN)
}

/// A WREG_BULK packet: zeros to `pairs` pairs of registers from [`BULK_TARGET`].
fn bulk(pairs: u32) -> Vec<u64> {
    let header = Header::new(opcode::WREG_BULK, u32::from(BULK_TARGET) << 8, pairs);
    std::iter::once(header.0).chain(std::iter::repeat_n(0, pairs as usize)).collect()
}

/// A figure with two decimals.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
