//! Reads the trace rings ([`coxswain_abi::trace`]) out of the card's memory.

use anyhow::{Context as _, bail};
use coxswain_abi::soc::CORES;
use coxswain_abi::{regs, trace};
use coxswain_card::Card;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of the management CPU's counter.
    pub nanoseconds: u64,
    /// Core that wrote it.
    pub core: usize,
    /// What happened.
    pub event: trace::Event,
}

/// The records of all cores, in order of time.
#[derive(Debug, Default)]
pub struct Records {
    /// The records.
    pub records: Vec<Record>,
    /// Records that were overwritten by later ones.
    pub lost: u64,
    /// Records that no firmware writes.
    pub damaged: u64,
}

/// Reads the rings of a card whose management CPU is at rest.
///
/// # Errors
/// No core has written a trace.
pub fn read(card: &Card) -> anyhow::Result<Records> {
    let mut all = Records::default();
    let mut rings = 0;
    for core in 0..CORES {
        let place = trace::BASE - regs::HBM_BASE + trace::STRIDE * core as u64;
        let mut header = [0; trace::HEADER as usize];
        card.memories().hbm.read_bytes(place, &mut header).context("the trace in HBM")?;
        if word(&header, trace::MAGIC) as u32 != trace::MAGIC_VALUE {
            continue;
        }
        rings += 1;
        let (written, frequency) = (word(&header, trace::WRITTEN), word(&header, trace::FREQUENCY).max(1));
        let kept = written.min(trace::CAPACITY);
        all.lost += written - kept;
        let mut bytes = vec![0; 16 * kept as usize];
        card.memories().hbm.read_bytes(place + trace::HEADER, &mut bytes).context("the trace in HBM")?;
        all.take(core, frequency, &bytes);
    }
    if rings == 0 {
        bail!("the firmware has written no trace: does the image know the strap?");
    }
    all.records.sort_by_key(|record| record.nanoseconds);
    Ok(all)
}

impl Records {
    /// Takes the records of a ring, in any order.
    fn take(&mut self, core: usize, frequency: u64, bytes: &[u8]) {
        for record in bytes.chunks_exact(16) {
            match trace::Event::from_word(word(record, 8)) {
                Some(event) => {
                    let nanoseconds = u128::from(word(record, 0)) * 1_000_000_000 / u128::from(frequency);
                    self.records.push(Record { nanoseconds: nanoseconds as u64, core, event });
                }
                None => self.damaged += 1,
            }
        }
    }
}

/// The little-endian 64-bit word at `offset`; 0 outside.
fn word(bytes: &[u8], offset: u64) -> u64 {
    let at = offset as usize;
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds_and_damage_is_counted() {
        let mut records = Records::default();
        let bytes = [125_u64.to_le_bytes(), trace::Event::Wake.to_word().to_le_bytes(), [0; 8], [0xEE; 8]].concat();
        records.take(2, 62_500_000, &bytes);
        assert_eq!(records.records, [Record { nanoseconds: 2000, core: 2, event: trace::Event::Wake }]);
        assert_eq!(records.damaged, 1);
    }
}
