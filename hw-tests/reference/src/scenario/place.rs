//! Addresses for what a scenario holds.
//!
//! Every buffer and table is a region of its own, of exactly the aligned 64-bit words that it touches, so that a read beyond
//! is an error of whoever reads.

use super::{Item, Program};
use crate::packet::{Action, Packet};

/// Where nothing exists.
pub const NOWHERE: u64 = 0x0000_4000_0000_0000;
/// First address that is given out.
const FIRST: u64 = 0x2000_0000;

/// Gives out addresses.
#[derive(Debug, Clone)]
pub struct Placer {
    next: u64,
    /// New regions: address and contents.
    pub regions: Vec<(u64, Vec<u8>)>,
}

impl Default for Placer {
    fn default() -> Self {
        Self { next: FIRST, regions: vec![] }
    }
}

impl Placer {
    /// Places a buffer and everything that it uses; its address and length.
    pub fn program(&mut self, program: &Program) -> (u64, u32) {
        let bytes: Vec<u8> = program.items.iter().flat_map(|item| self.item(item)).collect();
        let size = (bytes.len() as u32).saturating_sub(program.cut);
        let address = if program.missing { NOWHERE } else { self.bytes(&bytes, program.misalignment) };
        (address, size)
    }

    fn item(&mut self, item: &Item) -> Vec<u8> {
        let load = |predicate: u8, scalars: bool, execute: bool, second: bool, source: u64| {
            let action = Action::LoadAndExe { scalars, load: true, execute, second, source };
            Packet { barriers: Default::default(), predicate, action }.encode()
        };
        match item {
            Item::Packet(packet) => packet.encode(),
            Item::Call { body, barriers, predicate } => {
                let (source, size) = self.program(body);
                Packet { barriers: *barriers, predicate: *predicate, action: Action::CpDma { source, size } }.encode()
            }
            Item::LoadPredicates { table, predicate, misalignment } => {
                // Only bit 0 of a dword counts.
                let bytes: Vec<u8> =
                    (0..32u32).flat_map(|index| (0xA5A5_A5A4 | table >> index & 1).to_le_bytes()).collect();
                let source = self.bytes(&bytes, *misalignment);
                load(*predicate, false, false, false, source)
            }
            Item::LoadScalars { packet, second, execute, predicate } => {
                let mut bytes = if *second { vec![0; 8] } else { vec![] };
                bytes.extend(packet.encode());
                bytes.resize(16, 0);
                let source = self.bytes(&bytes, 0);
                load(*predicate, true, *execute, *second, source)
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8], misalignment: u8) -> u64 {
        let offset = usize::from(misalignment % 8);
        let mut region = vec![0x5A; offset];
        region.extend(bytes);
        region.resize(region.len().next_multiple_of(8), 0xC3);
        let address = self.next;
        self.next += (region.len() as u64 + 0x100).next_multiple_of(0x100);
        self.regions.push((address, region));
        address + offset as u64
    }
}
