//! What must agree when both sides are at rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use coxswain_abi::regs::qman::{self as regs, LOWER, STREAMS};
use coxswain_abi::regs::{CFG_BASE, within};
use coxswain_core::ports::Registers;

use super::engine_side::EngineSide;
use super::reference_side::ReferenceSide;
use super::{Coverage, name};
use crate::machine::{Data, Waiting, Write};
use crate::scenario::Setup;

/// Grants whose order is compared: per QMAN of the scenario the upper streams that its arbiter concerns.
pub type Arbitrated = BTreeMap<usize, u8>;

/// Writes of one stream. Messages between arbiters go by the time of a grant, not of their stream: they are a place of their
/// own. So are the buffers that one upper stream has handed to a lower CP which several use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Stream { number: usize, stream: usize },
    Lower { number: usize, origin: u32 },
    Arbiter { number: usize },
}

/// Compares both sides and forgets the writes of both.
///
/// # Errors
/// A text that says what differs.
pub fn compare(
    setups: &[Setup],
    crowded: &[usize],
    arbitrated: &Arbitrated,
    engine: &mut EngineSide,
    reference: &mut ReferenceSide,
    coverage: &mut Coverage,
) -> Result<(), String> {
    coverage.comparisons += 1;
    if let Some(misuse) = engine.board.misuse.take() {
        return Err(misuse);
    }
    let (ours, theirs) = (std::mem::take(&mut engine.writes), std::mem::take(&mut reference.writes));
    coverage.writes += theirs.len();
    grants(setups, arbitrated, &ours, &theirs, coverage)?;
    writes(crowded, &ours, &theirs)?;
    let events = engine.take_events();
    for setup in setups {
        state(setup.number, crowded, engine, reference, coverage)?;
    }
    let new = reference.machine.take_events();
    for setup in setups {
        let number = setup.number;
        let reported = events >> number & 1 == 1;
        if new.contains(&number) != reported {
            return Err(format!("QMAN {number}: the engine's error event is {reported}"));
        }
    }
    reads(engine, reference)
}

fn place(crowded: &[usize], write: &Write) -> Place {
    let (number, stream) = (write.attributes.qman, write.attributes.stream);
    let inside = write.address.wrapping_sub(CFG_BASE) as u32;
    let is_config = within(write.address, CFG_BASE, 0x200_0000);
    if is_config && let Some((_, regs::ARB_CHOISE_Q_PUSH | regs::ARB_MST_CRED_INC)) = regs::find(inside) {
        return Place::Arbiter { number };
    }
    if stream == LOWER && crowded.contains(&number) {
        let origin = match write.data {
            Data::Value(value) => value >> crate::scenario::ORIGIN_SHIFT,
            Data::Time => 0,
        };
        return Place::Lower { number, origin };
    }
    Place::Stream { number, stream }
}

fn writes(crowded: &[usize], ours: &[Write], theirs: &[Write]) -> Result<(), String> {
    let sort = |all: &[Write]| {
        let mut places: BTreeMap<Place, Vec<Write>> = BTreeMap::new();
        for write in all {
            places.entry(place(crowded, write)).or_default().push(*write);
        }
        places
    };
    let (ours, theirs) = (sort(ours), sort(theirs));
    let places: std::collections::BTreeSet<Place> = ours.keys().chain(theirs.keys()).copied().collect();
    let none = vec![];
    for place in places {
        let (ours, theirs) = (ours.get(&place).unwrap_or(&none), theirs.get(&place).unwrap_or(&none));
        if ours != theirs {
            let at = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
            let mut text = format!(
                "{place:?}: write {at} differs; the engine has {}, the reference {}\n",
                ours.len(),
                theirs.len()
            );
            _ = writeln!(text, "engine    {}", line(ours.get(at)));
            _ = writeln!(text, "reference {}", line(theirs.get(at)));
            return Err(text);
        }
    }
    Ok(())
}

fn line(write: Option<&Write>) -> String {
    write.map_or_else(
        || "nothing".to_owned(),
        |write| format!("[{:#x}] = {:x?} {:?}", write.address, write.data, write.attributes),
    )
}

/// The order in which streams passed their requests, from the marker messages behind them.
fn grants(
    setups: &[Setup],
    arbitrated: &Arbitrated,
    ours: &[Write],
    theirs: &[Write],
    coverage: &mut Coverage,
) -> Result<(), String> {
    for (qman, streams) in arbitrated {
        let order = |writes: &[Write]| -> Vec<u64> {
            writes
                .iter()
                .filter(|write| within(write.address, crate::scenario::MARKERS + 0x1000 * *qman as u64, 16))
                .map(|write| (write.address & 0xF) / 4)
                .filter(|stream| streams >> stream & 1 == 1)
                .collect()
        };
        let (ours, theirs) = (order(ours), order(theirs));
        coverage.grants += theirs.len();
        if ours != theirs {
            let number = setups.get(*qman).map_or(0, |setup| setup.number);
            return Err(format!("QMAN {number}: grants to streams {ours:?}, in the reference {theirs:?}"));
        }
    }
    Ok(())
}

fn state(
    number: usize,
    crowded: &[usize],
    engine: &EngineSide,
    reference: &ReferenceSide,
    coverage: &mut Coverage,
) -> Result<(), String> {
    for stream in 0..STREAMS {
        let theirs = reference.machine.waiting(number, stream);
        coverage.waiting.insert(name(theirs));
        coverage.causes |= reference.machine.causes(number, stream);
        match engine.waiting(number, stream) {
            Ok(ours) if ours == theirs => {}
            // A stopped stream without work has two names for it.
            Ok(Some(Waiting::Stopped)) if theirs.is_none() && reference.machine.is_stop_requested(number, stream) => {}
            ours => {
                return Err(format!("QMAN {number} stream {stream}: waits for {ours:?}, in the reference {theirs:?}"));
            }
        }
    }
    let (ours, theirs) = (engine.jobs(number), reference.machine.jobs(number));
    if ours != theirs {
        return Err(format!("QMAN {number}: {ours} jobs in flight, in the reference {theirs}"));
    }
    let lower = regs::CQ_PTR_LO_0 + regs::CQ_STRIDE * LOWER as u32;
    for (offset, theirs) in reference.machine.status(number) {
        if (lower..lower + 12).contains(&offset) && crowded.contains(&number) {
            // Which buffer was the last depends on the order between the upper streams.
            continue;
        }
        let mut ours = engine.board.read(regs::base(number) + offset);
        if offset == regs::GLBL_STS0 {
            let unsure = unsure_idle(reference, number);
            ours = ours & !unsure | theirs & unsure;
        }
        if ours != theirs {
            return Err(format!("QMAN {number}: register {offset:#x} is {ours:#x}, in the reference {theirs:#x}"));
        }
    }
    let (ours, theirs) = (engine.stuck() >> number & 1 == 1, reference.machine.is_stuck(number));
    if ours != theirs {
        return Err(format!("QMAN {number}: stuck is {ours}, in the reference {theirs}"));
    }
    Ok(())
}

/// PQF_IDLE of a stream that failed: whether a doorbell came before or after the failure is a matter of order. Its other units
/// are not idle.
fn unsure_idle(reference: &ReferenceSide, number: usize) -> u32 {
    let failed = |stream: &usize| reference.machine.waiting(number, *stream) == Some(Waiting::Failed);
    (0..LOWER).filter(failed).fold(0, |bits, stream| bits | 1 << stream)
}

/// Memory that both have read, they have read with the same attributes. The engine may read ahead.
fn reads(engine: &EngineSide, reference: &ReferenceSide) -> Result<(), String> {
    for (region, theirs) in reference.machine.reads() {
        let ours = engine.board.reads.get(region);
        if ours != Some(theirs) {
            return Err(format!("memory at {region:#x} was read with {ours:?}, in the reference with {theirs:?}"));
        }
    }
    Ok(())
}
