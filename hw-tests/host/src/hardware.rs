//! Register programming of the driver, replayed from its trace (`boards/gaudi/docs/gaudi-init-trace.csv`).
//!
//! Owns the table. What a value means is not known here, except the ring addresses, which the caller supplies.

use crate::HostError;
use crate::link::Link;
use coxswain_abi::regs::qman;
use std::time::Duration;

/// The accesses in driver order; see `gaudi-soc.md` 20 for the columns.
const TRACE: &str = include_str!("../../../boards/gaudi/docs/gaudi-init-trace.csv");

/// Replays every access of the groups whose names begin with `prefix`. `ring` gives the device address of the ring of a
/// QMAN and stream, which the trace calls `HOST`.
///
/// # Errors
/// A poll does not end, a ring is missing, or there is no such group.
pub fn replay(link: &Link, prefix: &str, ring: impl Fn(usize, usize) -> Option<u64>) -> Result<usize, HostError> {
    let mut count = 0;
    for line in TRACE.lines().skip(1) {
        let mut columns = line.split(',');
        let mut column = || columns.next().unwrap_or_default();
        let (group, operation, offset, value, name) = (column(), column(), column(), column(), column());
        if !group.starts_with(prefix) {
            continue;
        }
        count += 1;
        let damaged = || HostError::usage(format!("line of the trace not understood: {line}"));
        let offset = hexadecimal(offset.trim_start_matches("BAR0+")).ok_or_else(damaged)?;
        match operation {
            "W" => {
                let value = match value {
                    "HOST" => ring_half(offset, &ring).ok_or_else(damaged)?,
                    "old&~0x7FF" => link.read(offset) & !0x7FF,
                    "old|0x1" => link.read(offset) | 1,
                    "old with [9:8]=2" => link.read(offset) & !0x300 | 0x200,
                    value => hexadecimal(value).ok_or_else(damaged)?,
                };
                link.write(offset, value);
            }
            "R" => {
                let _ = link.read(offset);
            }
            // The only polls of the trace: bit 31 clears within 2 ms. A simulated card may be descheduled for longer.
            "P" => {
                link.wait_register(offset, name, Duration::from_secs(1), |value| value >> 31 == 0)?;
            }
            // 64-bit zeros to the first bytes of SRAM.
            "Q" => {
                let address = coxswain_abi::regs::SRAM_BASE + u64::from(offset);
                link.write_device(address, &[0; 8])?;
            }
            _ => return Err(damaged()),
        }
    }
    if count == 0 {
        return Err(HostError::usage(format!("the trace has no group {prefix}")));
    }
    Ok(count)
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The half of a ring's address that belongs into the PQ_BASE register at `offset`.
fn ring_half(offset: u32, ring: &impl Fn(usize, usize) -> Option<u64>) -> Option<u32> {
    let (index, inside) = qman::find(offset)?;
    let (first, shift) = if inside < qman::PQ_BASE_HI_0 { (qman::PQ_BASE_LO_0, 0) } else { (qman::PQ_BASE_HI_0, 32) };
    let stream = inside.checked_sub(first).filter(|distance| *distance < 16)? / 4;
    Some((ring(index, stream as usize)? >> shift) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_trace_is_understood() {
        let ring = |_: usize, _: usize| Some(0x80_1234_5000);
        for line in TRACE.lines().skip(1) {
            let columns: Vec<&str> = line.split(',').collect();
            let offset = hexadecimal(columns[2].trim_start_matches("BAR0+")).unwrap();
            match (columns[1], columns[3]) {
                ("W", "HOST") => assert!(ring_half(offset, &ring).is_some(), "{line}"),
                ("W", "old&~0x7FF" | "old|0x1" | "old with [9:8]=2") | ("R", "") => {}
                ("W", value) => assert!(hexadecimal(value).is_some(), "{line}"),
                ("P", value) => assert_eq!(value, "bit31==0 within 2000us"),
                ("Q", _) => assert!(offset < 128, "{line}"),
                other => panic!("{other:?} in {line}"),
            }
        }
    }

    #[test]
    fn a_rings_address_is_split_over_its_two_registers() {
        let ring =
            |qman: usize, stream: usize| Some(0x80_0000_0000 + (qman as u64) * 0x10_0000 + (stream as u64) * 0x1000);
        assert_eq!(ring_half(0x50_8070, &ring), Some(0));
        assert_eq!(ring_half(0x50_8080, &ring), Some(0x80));
        assert_eq!(ring_half(0x52_807C, &ring), Some(0x10_3000));
        assert_eq!(ring_half(0x50_8090, &ring), None);
        assert_eq!(ring_half(0x50_0070, &ring), None);
    }
}
