//! Transfers over five dimensions, programmed register by register (`submission-path.md` 11.4) or in one bulk write.
//!
//! The two sides have different shapes of the same number of bytes, with gaps; one stride is negative. What must lie in
//! the target afterwards is computed here by nested loops; the gaps must not be touched.

use super::bench::{Bench, JobError};
use super::many::Measured;
use super::packets::{Packets, QUEUE_TO_DEVICE, QUEUE_TO_HOST, external, internal};
use super::pattern::Pattern;
use super::programs::Programs;
use crate::device::{HostBuffer, Job};
use coxswain_abi::packet::sob_add;
use coxswain_abi::regs::{CFG_BASE, dma_core, dma_core::commit, sync_manager};

/// Raised by the engine at the end of a transfer.
const DONE: u16 = 56;
/// The monitor that watches it.
const MONITOR: u16 = 28;
/// Sync manager that the QMANs' message bases 0 and 1 name.
const E_N: usize = 3;
/// Counts and strides of source and target, dimension 1 first; the stride lies 4 bytes behind its count.
const SOURCE_OUTER: u32 = 0x2C;
const TARGET_OUTER: u32 = 0x54;
/// Bytes around each side.
const WINDOW: usize = 32 * 1024;
/// The engine that gets its descriptor by a bulk write.
const BULK_ENGINE: usize = 3;

/// One side of a transfer.
struct Side {
    /// Offset of the first byte in the window.
    start: usize,
    /// Bytes in a row.
    row: u32,
    /// Count and stride in bytes of dimensions 1..=4.
    outer: [(u32, i32); 4],
}

const SOURCE: Side = Side { start: 2600, row: 100, outer: [(4, 130), (3, 700), (2, -2500), (5, 6000)] };
const TARGET: Side = Side { start: 77, row: 60, outer: [(5, 71), (2, 400), (4, 1000), (5, 4500)] };

impl Side {
    /// Offsets of all bytes in the window, in the order in which they are moved.
    fn offsets(&self) -> Vec<usize> {
        let mut offsets: Vec<isize> = (0..self.row as isize).map(|byte| self.start as isize + byte).collect();
        for (count, stride) in self.outer {
            let inner = offsets.clone();
            offsets = (0..count as isize)
                .flat_map(|index| inner.iter().map(move |offset| offset + index * stride as isize))
                .collect();
        }
        offsets.into_iter().map(isize::cast_unsigned).collect()
    }

    /// Registers of this side: offset and value.
    fn registers(&self, outer: u32, row: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let dimensions = (outer..).step_by(8).zip(self.outer);
        dimensions
            .flat_map(|(offset, (count, stride))| [(offset, count), (offset + 4, stride.cast_unsigned())])
            .chain([(row, self.row)])
    }
}

/// The registers of a transfer between windows, in the order of `submission-path.md` 11.4.
fn descriptor(from: u64, to: u64) -> Vec<(u32, u32)> {
    let (from, to) = (from + SOURCE.start as u64, to + TARGET.start as u64);
    let mut registers = vec![
        (dma_core::SRC_BASE_LO, from as u32),
        (dma_core::SRC_BASE_HI, (from >> 32) as u32),
        (dma_core::DST_BASE_LO, to as u32),
        (dma_core::DST_BASE_HI, (to >> 32) as u32),
    ];
    registers.extend(SOURCE.registers(SOURCE_OUTER, dma_core::SRC_TSIZE_0));
    registers.extend(TARGET.registers(TARGET_OUTER, dma_core::DST_TSIZE_0));
    registers
}

/// Where and what an engine writes at the end of a transfer.
fn completion(sob: u32) -> [(u32, u32); 3] {
    let address = CFG_BASE + u64::from(sync_manager::base(E_N) + sync_manager::SOB_OBJ_0 + 4 * sob);
    [
        (dma_core::WR_COMP_ADDR_LO, address as u32),
        (dma_core::WR_COMP_ADDR_HI, (address >> 32) as u32),
        (dma_core::WR_COMP_WDATA, sob_add(1)),
    ]
}

fn write_all(packets: Packets, registers: impl IntoIterator<Item = (u32, u32)>) -> Packets {
    registers.into_iter().fold(packets, |packets, (offset, value)| packets.register(offset, value))
}

/// What the target's window must hold.
fn expected(pattern: Pattern) -> Vec<u8> {
    let mut source = vec![0; WINDOW];
    pattern.generate(0, &mut source);
    let mut target = vec![0; WINDOW];
    pattern.complement().generate(0, &mut target);
    for (from, to) in SOURCE.offsets().into_iter().zip(TARGET.offsets()) {
        if let (Some(from), Some(to)) = (source.get(from), target.get_mut(to)) {
            *to = *from;
        }
    }
    target
}

/// Compares a window in a host buffer with what it must hold.
fn compare(buffer: &HostBuffer<'_>, offset: usize, expected: &[u8], place: &'static str) -> Result<(), JobError> {
    let mut found = vec![0; expected.len()];
    buffer.read(offset, &mut found)?;
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(index) => Err(JobError::Data {
            place,
            index: index as i64,
            expected: expected.get(index).copied().unwrap_or(0),
            found: found.get(index).copied().unwrap_or(0),
        }),
    }
}

/// DMA0 fetches a window from the host, DMA1 brings one back, both strided and with a completion write that the other
/// engine's queue waits for.
///
/// # Errors
/// A submission failed or a byte is wrong.
pub fn by_registers(bench: &Bench<'_>, repeat: usize, seed: u64) -> Result<Measured, JobError> {
    let pattern = Pattern::new(seed);
    let right = expected(pattern);
    let (on_device, other) = (bench.layout.hbm, bench.layout.hbm_second);
    let mut source = HostBuffer::new(bench.device, WINDOW)?;
    let mut target = HostBuffer::new(bench.device, WINDOW)?;
    let mut samples = Vec::new();
    for _ in 0..repeat {
        // Into the device.
        pattern.complement().fill(&mut source, 0, 0, WINDOW)?;
        bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(source.address(0), on_device, WINDOW as u32))?;
        pattern.fill(&mut source, 0, 0, WINDOW)?;
        samples.push(transfer(bench, QUEUE_TO_DEVICE, QUEUE_TO_HOST, source.address(0), on_device)?);
        pattern.unrelated().fill(&mut target, 0, 0, WINDOW)?;
        bench.download(on_device, target.address(0), WINDOW as u32)?;
        compare(&target, 0, &right, "strided into the device")?;
        // And out of it.
        bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(source.address(0), other, WINDOW as u32))?;
        pattern.complement().fill(&mut target, 0, 0, WINDOW)?;
        samples.push(transfer(bench, QUEUE_TO_HOST, QUEUE_TO_DEVICE, other, target.address(0))?);
        compare(&target, 0, &right, "strided out of the device")?;
    }
    let total = samples.iter().sum();
    Ok(Measured { samples, total })
}

/// One transfer on the engine of `queue`; the completion is that of `waiter`.
fn transfer(bench: &Bench<'_>, queue: u32, waiter: u32, from: u64, to: u64) -> Result<std::time::Duration, JobError> {
    let (engine, _) = external(queue);
    let packets = write_all(Packets::new(), descriptor(from, to));
    let packets = write_all(packets, completion(DONE.into())).register(dma_core::COMMIT, commit::WR_COMP_EN);
    // Behind it the completion is set to what the driver sets at open.
    let packets = write_all(packets.engine_barrier(), completion(engine as u32));
    let (qman, stream) = external(waiter);
    let wait = Packets::new().wait_for(DONE, MONITOR, qman, stream).clear(DONE);
    let (packets, wait) = (bench.commands(&packets)?, bench.commands(&wait)?);
    let jobs = [Job::External { queue: waiter, commands: &wait }, Job::External { queue, commands: &packets }];
    Ok(bench.run(&jobs)?)
}

/// `repeat` descriptors, each in one bulk write that ends with the start register, on DMA3; and as many that a false
/// predicate switches off, with another target.
///
/// # Errors
/// A submission failed or a byte is wrong.
pub fn by_bulk(bench: &Bench<'_>, repeat: usize, seed: u64) -> Result<Measured, JobError> {
    let pattern = Pattern::new(seed);
    let right = expected(pattern);
    // The last window is the target of what is switched off.
    let windows = repeat + 1;
    let target = bench.layout.hbm;
    let mut host = HostBuffer::new(bench.device, WINDOW * windows)?;
    for window in 0..windows {
        pattern.complement().fill(&mut host, window * WINDOW, 0, WINDOW)?;
    }
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), target, (WINDOW * windows) as u32))?;
    let mut source = HostBuffer::new(bench.device, WINDOW)?;
    pattern.fill(&mut source, 0, 0, WINDOW)?;

    let mut programs = Programs::new(bench, 4096 + repeat * 512)?;
    // All predicates but 0 become false: bit 0 of every entry is clear.
    let (table, _) = programs.put(&Packets::new().raw(&[0xFFFF_FFFE_FFFF_FFFE; 16]))?;
    let mut packets = Packets::new().load_predicates(table);
    for window in 0..repeat {
        let address = |window: usize| target + (window * WINDOW) as u64;
        let off = 1 + window as u32 % 31;
        packets = packets.bulk_if(off, dma_core::SRC_BASE_LO, &bulk(source.address(0), address(repeat))).bulk_if(
            0,
            dma_core::SRC_BASE_LO,
            &bulk(source.address(0), address(window)),
        );
    }
    programs.lower(internal(BULK_ENGINE, 0), packets)?;
    let time = programs.run(bench, &Packets::new().copy(target, host.address(0), (WINDOW * windows) as u32))?;
    for window in 0..repeat {
        compare(&host, window * WINDOW, &right, "strided by a bulk write")?;
    }
    let mut untouched = vec![0; WINDOW];
    pattern.complement().generate(0, &mut untouched);
    compare(&host, repeat * WINDOW, &untouched, "the target of bulk writes that were switched off")?;
    Ok(Measured { samples: vec![time], total: time })
}

/// The descriptor as consecutive registers, from the source address up to and with COMMIT, two per value.
fn bulk(from: u64, to: u64) -> Vec<u64> {
    let first = dma_core::SRC_BASE_LO;
    let mut values = vec![0_u64; ((dma_core::COMMIT + 4 - first) / 8) as usize];
    // COMMIT 0: not linear, no completion write.
    for (offset, value) in descriptor(from, to) {
        let place = offset - first;
        if let Some(slot) = values.get_mut((place / 8) as usize) {
            *slot |= u64::from(value) << (8 * (place % 8));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_bytes_and_stay_in_their_windows() {
        let (source, target) = (SOURCE.offsets(), TARGET.offsets());
        assert_eq!(source.len(), 12_000);
        assert_eq!(target.len(), source.len());
        let mut sorted = target.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), target.len(), "no byte of the target is written twice");
        assert!(source.iter().chain(&target).all(|offset| *offset < WINDOW));
        assert_eq!(source.get(..2), Some(&[2600, 2601][..]));
        // Dimension 3 goes down: 100 x 4 x 3 bytes before it.
        assert_eq!(source.get(1200), Some(&100));
    }

    #[test]
    fn the_bulk_write_ends_with_the_start_register() {
        let values = bulk(0x1_0000_0000_0000, 0x2000_0000);
        assert_eq!(dma_core::SRC_BASE_LO + 8 * values.len() as u32, dma_core::COMMIT + 4);
        assert_eq!(values.first(), Some(&(0x1_0000_0000_0000 + 2600)));
        assert_eq!(values.get(1), Some(&(0x2000_0000 + 77)));
        // The last but one register is the size of target dimension 0, the last is COMMIT.
        assert_eq!(values.last(), Some(&60));
    }
}
