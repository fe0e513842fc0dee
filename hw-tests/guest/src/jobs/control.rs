//! Packets that decide over other packets: predicates and scalars (`qman.md` 5.3, `submission-path.md` 11.6).

use super::bench::{Bench, JobError, expect};
use super::many::Measured;
use super::packets::{INTERNAL_ENGINE, LOWER, Packets, QUEUE_INTERNAL, QUEUE_TO_DEVICE, fence_address};
use super::pattern::Pattern;
use super::programs::Programs;
use crate::device::HostBuffer;
use coxswain_abi::packet::{self, sob_add};
use std::time::Duration;

/// Entries of a predicate table; number 0 is always true.
const PREDICATES: u32 = 32;
/// Bytes of a predicate table.
const TABLE: usize = 4 * PREDICATES as usize;
/// Cells that the messages under predicates go to: one row per table, one cell per predicate.
const CELLS: usize = 4 * (PREDICATES as usize - 1) * PREDICATES as usize;
/// The fence counter that must not be waited for, or is raised just before.
const FENCE: u32 = 1;

/// Sync objects that packets in scalars raise.
const FIRST: u16 = 48;
const SECOND: u16 = 49;
/// The monitor that shows their values.
const MONITOR: u16 = 24;
/// Predicates: one that is loaded true, one false.
const TRUE: u32 = 5;
const FALSE: u32 = 6;

/// 31 tables, each with one true predicate, and under each table one message per predicate, on an external queue. The
/// tables lie in host memory, then in SRAM, then in HBM.
///
/// # Errors
/// A submission failed, or a message was sent that must not be, or one was not.
pub fn predicates(bench: &Bench<'_>, seed: u64) -> Result<Measured, JobError> {
    let pattern = Pattern::new(seed);
    let mut tables = HostBuffer::new(bench.device, TABLE * (PREDICATES as usize - 1))?;
    for (row, bytes) in (0..).zip(one_hot_tables()) {
        tables.write(row * TABLE, &bytes)?;
    }
    let bytes = (TABLE * (PREDICATES as usize - 1)) as u32;
    let mut samples = Vec::new();
    for place in [None, Some(bench.layout.sram), Some(bench.layout.hbm_second)] {
        if let Some(address) = place {
            bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(tables.address(0), address, bytes))?;
        }
        samples.push(under_tables(bench, place.unwrap_or(tables.address(0)), pattern)?);
    }
    let total = samples.iter().sum();
    Ok(Measured { samples, total })
}

/// Table n has predicate n + 1 true. Only bit 0 of an entry counts, and entry 0 does not.
fn one_hot_tables() -> impl Iterator<Item = Vec<u8>> {
    (1..PREDICATES).map(|hot| {
        let entry = |number: u32| if number == 0 { 0xFFFF_FFFE } else { 0xABCD_EF00 | u32::from(number == hot) };
        (0..PREDICATES).flat_map(|number| entry(number).to_le_bytes()).collect()
    })
}

/// True when the message of predicate `number` under table `row` is sent.
const fn is_sent(row: u32, number: u32) -> bool {
    number == 0 || number == row + 1
}

fn under_tables(bench: &Bench<'_>, tables: u64, pattern: Pattern) -> Result<Duration, JobError> {
    let cells = bench.layout.hbm;
    let mut host = HostBuffer::new(bench.device, CELLS)?;
    pattern.complement().fill(&mut host, 0, 0, CELLS)?;
    bench.run_external(QUEUE_TO_DEVICE, &Packets::new().copy(host.address(0), cells, CELLS as u32))?;

    let mut values = vec![0; CELLS];
    pattern.generate(0, &mut values);
    let mut values = values.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
    let mut packets = Packets::new();
    let mut address = cells;
    for row in 0..PREDICATES - 1 {
        packets = packets.load_predicates(tables + u64::from(row) * TABLE as u64);
        // A fence that would wait for ever, under a predicate that is false.
        let off = 1 + (row + 1) % (PREDICATES - 1);
        packets = packets.raw(&[packet::fence(FENCE, 1, 1, off)]);
        for number in 0..PREDICATES {
            packets = packets.message_if(number, address, values.next().unwrap_or_default());
            address += 4;
        }
    }
    let time = bench.run_external(QUEUE_TO_DEVICE, &packets)?;

    pattern.unrelated().fill(&mut host, 0, 0, CELLS)?;
    bench.download(cells, host.address(0), CELLS as u32)?;
    for row in 0..PREDICATES - 1 {
        for number in 0..PREDICATES {
            let offset = 4 * (row * PREDICATES + number) as usize;
            let right = if is_sent(row, number) { pattern } else { pattern.complement() };
            expect("a cell", 0, right.check(&host, offset, offset as u64, 4)?)
                .map_err(|error| JobError::Claim(format!("table {row}, predicate {number}: {error}")))?;
        }
    }
    Ok(time)
}

/// Packets held in scalars: short and long messages and a fence, from the first and from the third scalar, with and without
/// predicates, on an internal queue.
///
/// # Errors
/// A submission failed, or a packet was executed too often or not often enough.
pub fn scalars(bench: &Bench<'_>, seed: u64) -> Result<Measured, JobError> {
    /// What a cell holds before.
    const BLANK: u32 = 0xFFFF_FFFF;
    let value = |number: u32| (seed as u32 & 0xFFFF) << 8 | number;
    let mut cells = HostBuffer::new(bench.device, 4096)?;
    cells.write(0, &[0xFF; 64])?;
    let cell = |number: usize| cells.address(4 * number);

    let mut programs = Programs::new(bench, 8192)?;
    let raise = |sob: u16| packet::msg_short(1, 4 * sob, sob_add(1), packet::RB | packet::MB);
    let (signals, _) = programs.put(&Packets::new().raw(&[raise(FIRST), raise(SECOND)]))?;
    let (message, _) = programs.put(&Packets::new().message(cell(0), value(0)))?;
    let (fence, _) = programs.put(&Packets::new().fence(FENCE, 1, 1).raw(&[0]))?;
    let table: Vec<u64> =
        (0..PREDICATES / 2).map(|pair| u64::from(2 * pair == TRUE) | u64::from(2 * pair + 1 == TRUE) << 32).collect();
    let (table, _) = programs.put(&Packets::new().raw(&table))?;

    let packets = Packets::new()
        .clear(FIRST)
        .clear(SECOND)
        // FIRST 1, SECOND 2, FIRST 2.
        .load_scalars_and_execute(signals)
        .execute(0, true)
        .execute(0, true)
        .execute(0, false)
        // One of two: FIRST 3.
        .load_predicates(table)
        .execute(FALSE, false)
        .execute(TRUE, false)
        // A load that is switched off: FIRST 4.
        .load_scalars(FALSE, message)
        .execute(0, false)
        // And one that is not.
        .load_scalars(TRUE, message)
        .execute(0, false)
        // A fence in scalars, which waits for a message that is on its way.
        .message(fence_address(INTERNAL_ENGINE, LOWER, FENCE), 1)
        .load_scalars_and_execute(fence)
        .probe(FIRST, 4, MONITOR, cell(1), value(1))
        .probe(SECOND, 2, MONITOR, cell(2), value(2))
        .probe(FIRST, 3, MONITOR, cell(3), value(3))
        .clear(FIRST)
        .clear(SECOND);
    programs.lower(QUEUE_INTERNAL, packets)?;
    let time = programs.run(bench, &Packets::new())?;

    let mut found = [0; 16];
    cells.read(0, &mut found)?;
    let found: Vec<u32> = found.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect();
    let right = [value(0), value(1), value(2), BLANK];
    if found != right {
        return Err(JobError::Claim(format!("the cells are {found:#x?} instead of {right:#x?}")));
    }
    Ok(Measured { samples: vec![time], total: time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_makes_one_predicate_true() {
        for (row, table) in one_hot_tables().enumerate() {
            assert_eq!(table.len(), TABLE);
            let hot: Vec<usize> = table.chunks(4).enumerate().filter(|(_, e)| e[0] & 1 != 0).map(|(n, _)| n).collect();
            assert_eq!(hot, [row + 1]);
        }
        assert_eq!(one_hot_tables().count(), 31);
        assert!(is_sent(4, 5) && is_sent(4, 0) && !is_sent(4, 4));
    }
}
