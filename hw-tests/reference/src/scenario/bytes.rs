//! Scenarios out of arbitrary bytes, for fuzzing: every byte string is one.

use super::{Item, Program, QMANS, Scenario, Setup, Step, fence_address};
use crate::packet::{Action, Decoded, Packet};

/// Reads fields from the front; 0 when the bytes are used up.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let (front, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        front.to_vec()
    }
}

pub(super) fn scenario(bytes: &[u8]) -> Scenario {
    let mut reader = Reader { bytes };
    let chosen = reader.byte();
    let qmans = (0..QMANS.len())
        .filter(|index| chosen >> index & 1 == 1)
        .map(|index| Setup {
            number: QMANS[index],
            stop_on_error: reader.byte() & 3 != 0,
            engine_depth: 1 + u32::from(reader.byte() % 4),
            ring_log2: u32::from(reader.byte() % 4),
        })
        .collect();
    let strict = chosen >> 7 == 1;
    let room = 128 + 16 * usize::from(reader.byte());
    let seed = u64::from(reader.byte()) << 8 | u64::from(reader.byte());
    let mut steps = vec![];
    while !reader.is_empty() && steps.len() < 64 {
        steps.push(step(&mut reader));
    }
    Scenario { qmans, steps, room, strict, seed }
}

fn step(reader: &mut Reader<'_>) -> Step {
    let kind = reader.byte() % 32;
    let place = reader.byte();
    let (qman, stream, id) = (usize::from(place & 3), usize::from(place >> 2) % 5, usize::from(place >> 6));
    match kind {
        0..=11 => Step::Submit { qman, stream, program: program(reader, 0), rings: kind != 0 },
        12 => Step::CheckDoorbells,
        13 | 14 => Step::Fence { qman, stream, id, increment: reader.byte() },
        15 => Step::SetFence { qman, stream, id, value: u32::from(reader.byte()) << 6 | 0x3F },
        16 | 17 => Step::Complete { qman },
        18 => Step::FailEngine { qman },
        19 => Step::Stop { qman, streams: reader.byte() & 0x1F },
        20 => Step::Stop { qman, streams: 0 },
        21 => Step::Pause { qman, streams: reader.byte() & 0x1F },
        22 => Step::Enable { qman, streams: reader.byte() & 0xF },
        23 => Step::StartLower { qman, program: program(reader, 1) },
        24 => Step::FailMessage { qman, stream },
        25 => Step::BadProducer { qman, stream, excess: 1 + u32::from(reader.byte()) },
        26 => Step::LoseRing { qman, stream },
        27 => Step::ClearCauses { qman, stream },
        28 => Step::Arbiter {
            qman,
            config: u32::from(reader.byte() & 0x11) | 0x100 | u32::from(reader.byte() & 0xF & !(1 << stream)) << 12,
            weights: std::array::from_fn(|_| reader.byte() & 3),
            slaves: reader.byte() & 0xF,
        },
        29 => Step::Choose { qman, stream },
        30 => Step::Time { milliseconds: u32::from(reader.byte()) },
        _ if reader.flag() => Step::Run { rounds: reader.byte() % 8, writes: reader.byte(), steps: reader.byte() },
        _ => Step::Settle,
    }
}

/// A buffer: up to 63 packets out of raw bytes, with a few forms that raw bytes would not hit.
fn program(reader: &mut Reader<'_>, depth: usize) -> Program {
    let shape = reader.byte();
    let mut items = vec![];
    for _ in 0..reader.below(64) {
        if reader.is_empty() {
            break;
        }
        items.push(item(reader, depth));
    }
    Program {
        items,
        misalignment: if shape & 1 == 1 { reader.byte() % 8 } else { 0 },
        cut: if shape & 0xF0 == 0x10 { u32::from(reader.byte()) } else { 0 },
        missing: shape & 0xF0 == 0x20,
    }
}

fn item(reader: &mut Reader<'_>, depth: usize) -> Item {
    match reader.byte() % 16 {
        0 if depth < 2 => Item::Call {
            body: program(reader, depth + 1),
            barriers: Default::default(),
            predicate: reader.byte() & reader.byte() & 0x1F,
        },
        1 => Item::LoadPredicates {
            table: u32::from_le_bytes(std::array::from_fn(|_| reader.byte())),
            predicate: reader.byte() & reader.byte() & 0x1F,
            misalignment: reader.byte() % 8,
        },
        2 => Item::LoadScalars {
            packet: Box::new(packet(reader)),
            second: reader.flag(),
            execute: reader.flag(),
            predicate: reader.byte() & reader.byte() & 0x1F,
        },
        3 => {
            let place = reader.byte();
            let address =
                fence_address(QMANS[usize::from(place & 3)], usize::from(place >> 2) % 5, usize::from(place >> 6) % 3);
            let value = u32::from(reader.byte() & 0xF);
            let action = Action::MessageLong { protected: false, address, value, operation: 0 };
            Item::Packet(Packet::new(action, Default::default()))
        }
        _ => Item::Packet(packet(reader)),
    }
}

/// A packet out of raw bytes: an opcode byte, then as many bytes as it has.
fn packet(reader: &mut Reader<'_>) -> Packet {
    let control = reader.byte();
    let opcode = control & 0x1F;
    let mut bytes = reader.take(if opcode == 0x02 { 2 } else { 7 });
    // A short bulk write is as good as a long one.
    if opcode == 0x02 {
        let count = bytes.first().copied().unwrap_or(0) % 24;
        let offset = bytes.get(1).copied().unwrap_or(0);
        bytes = vec![count, 0, 0, 0, 0, offset << 2, offset >> 6];
    }
    bytes.resize(7, 0);
    bytes.push(control);
    // Predicates are rare, or nothing would execute.
    if let Some(low) = bytes.get_mut(4)
        && *low & 0xE0 != 0x20
    {
        *low &= 0xE0;
    }
    let length = crate::packet::length(u32::from(bytes[0]) | u32::from(bytes[1]) << 8, u32::from(control) << 24);
    bytes.extend(reader.take(length as usize - 8));
    bytes.resize(length as usize, 0);
    match Packet::decode(&bytes) {
        Decoded::Packet(packet, _) => packet,
        Decoded::Truncated => Packet::new(Action::Nop, Default::default()),
    }
}
