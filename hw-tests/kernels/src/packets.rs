//! The packets that launch a descriptor, for the command processor of a TPC (`submission-path.md` 11.8).

use coxswain_abi::packet::{self, Header, opcode};
use coxswain_abi::regs::tpc_cfg;
use coxswain_tpc::Launch;
use coxswain_tpc::sim::DESCRIPTOR_BYTES;

/// TPC_CMD: invalidate the instruction, data, lookup and tensor caches.
const INVALIDATE_ALL: u32 = 0xF;
/// Where the queue manager of a TPC sees the registers of its engine.
const WINDOW: u32 = 0;

/// When the descriptor of a launch may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// When every kernel launched before has ended, as production programs do it.
    AfterTheLast,
    /// At once: the engine takes the descriptor over when it is told to execute, and queues up to four launches.
    Queued,
}

/// The packets that launch a kernel on the engine that executes them.
#[must_use]
pub fn launch(launch: &Launch, order: Order) -> Vec<u64> {
    let barrier = match order {
        Order::AfterTheLast => packet::EB,
        Order::Queued => 0,
    };
    let control = barrier | packet::RB | packet::MB | (WINDOW + tpc_cfg::QM_DESCRIPTOR) << 8;
    let mut words = vec![Header::new(opcode::WREG_BULK, control, DESCRIPTOR_BYTES as u32 / 8).0];
    words.extend(launch.descriptor.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    words.push(packet::wreg_32(tpc_cfg::TPC_CMD as u16, INVALIDATE_ALL, barrier | packet::RB));
    words.push(packet::wreg_32(tpc_cfg::TPC_EXECUTE as u16, 1, packet::RB));
    words
}

/// The packets that tell an engine where its lookup tables of 256, 128, 64 and 32 entries lie; to be sent before the launch.
#[must_use]
pub fn lookup_tables(tables: [u64; 4]) -> Vec<u64> {
    let registers = [0x990, 0x988, 0x980, 0x978];
    let halves = |(register, table): (u16, u64)| {
        [(register, table as u32), (register + 4, (table >> 32) as u32)]
            .map(|(register, half)| packet::wreg_32(register, half, packet::RB))
    };
    registers.into_iter().zip(tables).flat_map(halves).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `submission-path.md` 11.8, the lower program of a TPC.
    #[test]
    fn a_launch_is_the_documented_sequence() {
        let mut descriptor = Launch::default();
        descriptor.set_word(0, 0x1122_3344);
        descriptor.set_word(DESCRIPTOR_BYTES - 4, 0x5566_7788);
        let words = launch(&descriptor, Order::AfterTheLast);
        assert_eq!(words.len(), 1 + 136 + 2);
        assert_eq!(words[0], 0xE20A_0000_0000_0088);
        assert_eq!((words[1] as u32, (words[136] >> 32) as u32), (0x1122_3344, 0x5566_7788));
        assert_eq!(words[137..], [0x6109_3000_0000_000F, 0x4109_3800_0000_0001]);
    }

    /// `tpc.md` 13.2: 32, 64, 128, 256 from 0x978 on.
    #[test]
    fn lookup_tables_have_a_register_pair_for_each_size() {
        let words = lookup_tables([0x1_0000_0256, 0x128, 0x64, 0x32]);
        let pairs: Vec<(u64, u64)> = words.iter().map(|word| (word >> 40 & 0xFFFF, word & 0xFFFF_FFFF)).collect();
        let right = [
            (0x990, 0x256),
            (0x994, 1),
            (0x988, 0x128),
            (0x98C, 0),
            (0x980, 0x64),
            (0x984, 0),
            (0x978, 0x32),
            (0x97C, 0),
        ];
        assert_eq!(pairs, right);
    }

    #[test]
    fn a_queued_launch_does_not_wait_for_the_engine() {
        let words = launch(&Launch::default(), Order::Queued);
        assert_eq!((words[0] >> 32, words[137] >> 32), (0xC20A_0000, 0x4109_3000));
    }
}
