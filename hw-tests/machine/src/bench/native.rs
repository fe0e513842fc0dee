//! The queue engine's loops on this machine's own processor, in nanoseconds.
//!
//! For judging a change of the engine without an emulator. The figures depend on the machine and on what else it does, so they
//! are reported and never compared with golden ones. The cost of a packet is the difference between a long and a short run
//! of it, as in [`super::on_target`]; each is the median of many batches.

use std::time::Instant;

use coxswain_abi::packet::{self, EB, Header, RB, opcode};
use coxswain_abi::regs::SRAM_BASE;
use coxswain_abi::regs::dma_core::{self, commit};
use coxswain_reference::native::Native;

use super::golden::Figures;
use crate::scripted::HBM;

/// Batches of which the median counts.
const BATCHES: usize = 101;
/// Jobs of a batch: a batch takes much longer than reading the clock.
const JOBS: u32 = 32;
/// Offset in a DMA core's window with unused registers behind it.
const BULK_TARGET: u32 = 0x400;

/// Measures everything and returns nanoseconds by name.
#[must_use]
pub fn measure() -> Figures {
    let mut native = Native::new();
    let mut figures = Figures::new();
    let mut insert = |name: &str, nanoseconds: f64| {
        figures.insert(format!("ns, {name}"), (nanoseconds * 100.0).round() / 100.0);
    };
    let nop = [packet::nop(0)];
    let long = packet::msg_long(SRAM_BASE + 0x1000, 1, 0);
    let short = [packet::msg_short(1, 0, packet::sob_add(0), 0)];
    let register = [packet::wreg_32(dma_core::SRC_TSIZE_0 as u16, 1, 0)];
    let fence = [packet::fence(0, 0, 0, 0)];
    let copy = packet::lin_dma(HBM, HBM + 4096, 64, RB | commit::LIN);
    insert("blank job: doorbell to rest", job(&mut native, &nop, 0));
    insert("64-byte DMA job: doorbell to rest", job(&mut native, &copy, 1));
    for (name, packet) in [
        ("NOP packet", &nop[..]),
        ("MSG_LONG packet", &long),
        ("MSG_SHORT packet", &short),
        ("WREG_32 packet", &register),
        ("satisfied FENCE packet", &fence),
    ] {
        insert(name, per_packet(&mut native, packet, 64, 512, 0));
    }
    let five = [&nop[..], &long, &short, &register, &fence].concat();
    insert("packet in a mix of five", per_packet(&mut native, &five, 16, 128, 0) / 5.0);
    let bulk = |pairs: u32| {
        let header = Header::new(opcode::WREG_BULK, BULK_TARGET << 8, pairs);
        std::iter::once(header.0).chain(std::iter::repeat_n(0, pairs as usize)).collect::<Vec<u64>>()
    };
    let (few, many) = (job(&mut native, &bulk(8), 0), job(&mut native, &bulk(108), 0));
    insert("further register of a WREG_BULK", (many - few) / 200.0);
    insert("LIN_DMA packet and its completion", per_packet(&mut native, &copy, 2, 12, 1));
    let round_trip = [&copy[..], &[packet::nop(EB)]].concat();
    insert("LIN_DMA, completion and engine barrier", per_packet(&mut native, &round_trip, 2, 12, 1));
    figures
}

/// Nanoseconds of one job, the median of many batches.
fn job(native: &mut Native, packets: &[u64], transfers: u32) -> f64 {
    native.load(packets);
    let mut batch = || {
        let begun = Instant::now();
        for _ in 0..JOBS {
            std::hint::black_box(native.job(packets.len(), transfers));
        }
        begun.elapsed().as_nanos() as f64 / f64::from(JOBS)
    };
    // The first batch touches everything once.
    batch();
    median(&mut std::iter::repeat_with(batch).take(BATCHES).collect::<Vec<f64>>())
}

/// Nanoseconds of one more of these packets, each of which starts `transfers` transfers.
fn per_packet(native: &mut Native, packet: &[u64], few: usize, many: usize, transfers: u32) -> f64 {
    let few_cost = job(native, &packet.repeat(few), transfers * few as u32);
    let many_cost = job(native, &packet.repeat(many), transfers * many as u32);
    (many_cost - few_cost) / (many - few) as f64
}

/// The middle of an odd number of samples; 0 of none.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_an_outlier() {
        assert_eq!(median(&mut [5.0, 1.0, 1e9, 2.0, 3.0]), 3.0);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn the_same_rows_are_measured_natively_as_on_the_target() {
        let golden = super::super::golden::load(&super::super::golden::path()).unwrap();
        let figures = measure();
        let mut common = 0;
        for (name, nanoseconds) in &figures {
            let row = name.strip_prefix("ns, ").unwrap();
            common += usize::from(golden.contains_key(&format!("instructions, {row}")));
            assert!(nanoseconds.is_finite());
        }
        assert!(common >= 7, "{figures:?}");
    }
}
