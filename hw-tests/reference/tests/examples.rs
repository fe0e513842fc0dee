//! The encoded examples of `qman.md` 5.8 and `submission-path.md` 11: bytes to packets and back, and what they do.
//!
//! The dwords are the documents', not an encoder's.

#[allow(dead_code, reason = "shared with another test")]
mod bench;

use bench::Bench;
use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman as regs;
use coxswain_reference::machine::Waiting;
use coxswain_reference::packet::{Decoded, Packet};
use coxswain_reference::scenario::{Item, Program, Scenario, Set, Setup, Step};

/// Every packet of `qman.md` 5.8 and its text.
const PACKETS: &[(&[u32], &str)] = &[
    (&[0x72E9_1AB9, 0xA700_0000, 0x1000, 2], "MSG_PROT [0x200001000] = 0x72e91ab9 EB MB"),
    (
        &[0x1000, 0xC900_0008, 0, 0x0001_0000, 0x2000_0000, 0],
        "LIN_DMA 0x1000 bytes 0x1000000000000 -> 0x20000000 control 0x8 RB MB",
    ),
    (
        &[0x1000, 0x4900_0008, 0, 0x0001_0000, 0x2000_0000, 0],
        "LIN_DMA 0x1000 bytes 0x1000000000000 -> 0x20000000 control 0x8 RB",
    ),
    (&[0x400, 0xE9AB_0009, 0, 0, 0, 0], "LIN_DMA 0x400 bytes 0x0 -> 0x0 control 0xab0009 EB RB MB"),
    (&[0x0C00_0000, 0xC900_0018, 0, 0, 0x1000_0000, 0], "LIN_DMA 0xc000000 bytes 0x0 -> 0x10000000 control 0x18 RB MB"),
    (&[0x8000_0001, 0xE440_0020], "MSG_SHORT [base1 + 0x20] = 0x80000001 EB RB MB"),
    (&[0, 0xC440_0020], "MSG_SHORT [base1 + 0x20] = 0x0 RB MB"),
    (&[0xFC50_8308, 0x4400_0000], "MSG_SHORT [base0 + 0x0] = 0xfc508308 RB"),
    (&[0x7F, 0x4400_0800], "MSG_SHORT [base0 + 0x800] = 0x7f RB"),
    (&[1, 0x4400_1000], "MSG_SHORT [base0 + 0x1000] = 0x1 RB"),
    (&[0x0003_FE01, 0xC400_1800], "MSG_SHORT [base0 + 0x1800] = 0x3fe01 RB MB"),
    (&[0x0001_0001, 0xC800_0000], "FENCE 0 target 1 decrement 1 RB MB"),
    (&[0x8001_0001, 0xC800_0000], "FENCE 2 target 1 decrement 1 RB MB"),
    (&[0x001E_000F, 0x4800_0000], "FENCE 0 target 30 decrement 15 RB"),
    (&[0x30, 0xC500_0000, 0xF000_0080, 0x7F], "CP_DMA 0x30 bytes at 0x7ff0000080 RB MB"),
    (&[0, 0x0300_0000, 0xFC4F_2240, 0x7F], "MSG_LONG [0x7ffc4f2240] = 0x0"),
    (&[0xFC4F_2240, 0x4100_8000], "WREG_32 [0x0080] = 0xfc4f2240 RB"),
    (&[0xF, 0xE109_3000], "WREG_32 [0x0930] = 0xf EB RB MB"),
    (&[0xF, 0x6109_3000], "WREG_32 [0x0930] = 0xf EB RB"),
    (&[1, 0x4109_3800], "WREG_32 [0x0938] = 0x1 RB"),
    (&[0, 0x0A00_0000], "NOP"),
    (&[0, 0xEA00_0000], "NOP EB RB MB"),
    (&[1, 0x4C00_0000], "ARB_POINT request 1 RB"),
    (&[0x8000_0001, 0x4C00_0000], "ARB_POINT release RB"),
    (&[0x100, 0xCF00_0000, 0xF000_0080, 0x7F], "LOAD_AND_EXE load predicates from 0x7ff0000080 RB MB"),
    (&[0x301, 0x4F00_0000, 0xF000_0080, 0x7F], "LOAD_AND_EXE load scalars from 0x7ff0000080 execute R0 RB"),
    (&[0x600, 0xCF00_0000, 0, 0], "LOAD_AND_EXE execute R2 RB MB"),
    (&[0x1100_03E8, 0x4D00_0000], "WAIT 1000 cycles fence 1 += 1 RB"),
    (&[0x1234, 0x4300_000A, 0xF000_1080, 0x7F], "MSG_LONG [0x7ff0001080] = 0x1234 RB if P10"),
];

fn bytes(dwords: &[u32]) -> Vec<u8> {
    dwords.iter().flat_map(|dword| dword.to_le_bytes()).collect()
}

fn decode(dwords: &[u32]) -> Packet {
    match Packet::decode(&bytes(dwords)) {
        Decoded::Packet(packet, length) => {
            assert_eq!(length as usize, 4 * dwords.len());
            packet
        }
        Decoded::Truncated => panic!("{dwords:x?} is no packet"),
    }
}

#[test]
fn the_documented_packets_decode_and_encode() {
    for (dwords, text) in PACKETS {
        let packet = decode(dwords);
        assert_eq!(packet.to_string(), *text);
        assert_eq!(packet.encode(), bytes(dwords), "{text}");
    }
}

#[test]
fn a_bulk_write_of_136_values_has_the_documented_length() {
    let mut dwords = vec![0x88, 0xE20A_0000];
    dwords.extend(0..272);
    assert_eq!(decode(&dwords).to_string(), "WREG_BULK [0x0a00..] = 136 values EB RB MB");
    assert!(matches!(Packet::decode(&bytes(&dwords[..273])), Decoded::Truncated));
}

/// Plays a buffer of documented dwords on the queue engine and on the interpreter.
fn both_agree(number: usize, dwords: &[&[u32]]) {
    let items = dwords.iter().map(|dwords| Item::Packet(decode(dwords))).collect();
    let program = Program { items, ..Program::default() };
    let setup = Setup { number, stop_on_error: true, engine_depth: 2, ring_log2: 2 };
    let steps = vec![Step::Submit { qman: 0, stream: 0, program, rings: true }];
    let scenario = Scenario { qmans: vec![setup], steps, room: 4096, strict: true, seed: 1 }.repair(Set::ALL);
    if let Err(disagreement) = coxswain_reference::run(&scenario) {
        panic!("{disagreement}\n{scenario}");
    }
}

#[test]
fn a_copy_from_host_to_hbm_with_its_end_packets() {
    // submission-path.md 11.1.
    let transfer: &[u32] = &[0x1000, 0x4900_0008, 0, 0x0001_0000, 0x2000_0000, 0];
    let entry: &[u32] = &[0xC000_0000, 0xA700_0000, 0x0010_2000, 0x80];
    let interrupt: &[u32] = &[1, 0x8700_0000, 0xFCC0_4100, 0x7F];
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &[transfer, entry, interrupt].concat());
    let core = CFG_BASE + 0x50_0000;
    let expected = [(0x14, 0), (0x18, 0x0001_0000), (0x1C, 0x2000_0000), (0x20, 0), (0x74, 0x1000), (0x78, 8)];
    assert_eq!(bench.writes(), expected.map(|(offset, value)| (core + offset, Some(value))));
    assert_eq!(bench.waiting(0, 0), Some(Waiting::Barrier));
    assert_ne!(bench.status(0, regs::GLBL_STS0), regs::STS0_IDLE);
    bench.complete(0);
    let end = bench.machine.take_writes();
    assert_eq!((end[0].address, end[1].address), (0x80_0010_2000, 0x7F_FCC0_4100));
    assert!(end.iter().all(|write| write.attributes.secure && write.attributes.bypass));
    assert_eq!(bench.status(0, regs::GLBL_STS0), regs::STS0_IDLE);
    both_agree(0, &[transfer, entry, interrupt]);
}

#[test]
fn a_wait_for_a_sync_object() {
    // submission-path.md 11.2.
    let packets: [&[u32]; 5] = [
        &[0xFC50_8308, 0x4400_0000],
        &[0x7F, 0x4400_0800],
        &[1, 0x4400_1000],
        &[0x0003_FE01, 0xC400_1800],
        &[0x0001_0001, 0xC800_0000],
    ];
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &packets.concat());
    let monitors = CFG_BASE + 0x4F_4000;
    let expected = [(0, 0xFC50_8308), (0x800, 0x7F), (0x1000, 1), (0x1800, 0x0003_FE01)];
    assert_eq!(bench.writes(), expected.map(|(offset, value)| (monitors + offset, Some(value))));
    assert_eq!(bench.waiting(0, 0), Some(Waiting::Fence { id: 0, target: 1 }));
    bench.fence(0, 0, 0, 1);
    assert_eq!(bench.waiting(0, 0), None);
    both_agree(0, &packets);
}

#[test]
fn a_transfer_of_an_internal_queue_through_its_lower_cp() {
    // submission-path.md 11.3: the upper buffer hands the lower buffer on.
    let lower: Vec<u32> = [
        &[0x0001_0001, 0xC800_0000][..],
        &[0x1000, 0x4900_0008, 0, 0x0001_0000, 0x2000_0000, 0],
        &[0x8000_0001, 0xE440_0020],
    ]
    .concat();
    let mut bench = Bench::new(&[2]);
    let address = bench.store(bytes(&lower)) as u32;
    bench.submit(2, 0, &[4 * lower.len() as u32, 0x4500_0000, address, 0]);
    assert_eq!(bench.waiting(2, 4), Some(Waiting::Fence { id: 0, target: 1 }));
    assert_eq!(bench.waiting(2, 0), None, "the upper stream does not wait for what it has handed on");
    bench.fence(2, 4, 0, 1);
    assert_eq!(bench.writes().len(), 6);
    bench.complete(2);
    assert_eq!(bench.writes(), [(CFG_BASE + 0x4F_2020, Some(0x8000_0001))]);
}

#[test]
fn a_strided_transfer_by_register_writes_is_one_job() {
    // submission-path.md 11.4, the last packets.
    let packets: [&[u32]; 3] = [&[0xFC4F_2000, 0xC100_8000], &[0x8000_0001, 0xC100_7C00], &[1, 0xC100_7800]];
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &packets.concat());
    assert_eq!(bench.machine.jobs(0), 1);
    assert_eq!(bench.waiting(0, 0), None, "nothing in this buffer waits for the transfer");
    both_agree(0, &packets);
}

#[test]
fn the_stream_with_the_smaller_priority_works_last() {
    // submission-path.md 11.5 and qman.md 6.2: request, release, request, work, release on both streams.
    let mut bench = Bench::new(&[0]);
    bench.machine.write_register(0, regs::ARB_CFG_0, 0x110);
    let program = |priority: u32, value: u32| -> Vec<u32> {
        let request = [priority, 0x4C00_0000];
        let release = [priority | 0x8000_0000, 0x4C00_0000];
        let work = [value, 0x0300_0000, 0xF000_0080, 0x7F];
        [&request[..], &release, &request, &work, &release].concat()
    };
    for first in [0, 1] {
        for (stream, priority, value) in [(first, 1, 10), (1 - first, 2, 20)] {
            let bytes = bytes(&program(priority, value));
            let size = bytes.len() as u32;
            let address = bench.store(bytes);
            bench.submit_buffer(0, stream, address, size);
        }
        bench.rest();
        assert_eq!(bench.values(), [20, 10]);
    }
}

#[test]
fn predicates_choose_among_messages() {
    // submission-path.md 11.6: one of 31 predicates is true.
    let mut bench = Bench::new(&[0]);
    let table: Vec<u32> = (0..32).map(|index| u32::from(index == 10)).collect();
    let address = bench.store(bytes(&table)) as u32;
    let mut dwords = vec![0x100, 0xCF00_0000, address, 0];
    for predicate in 1..32 {
        dwords.extend([predicate, 0x4300_0000 | predicate, 0xF000_1080, 0x7F]);
    }
    bench.submit(0, 0, &dwords);
    assert_eq!(bench.values(), [10]);
}

#[test]
fn a_wait_packet_is_a_delay_together_with_a_fence() {
    let mut bench = Bench::new(&[0]);
    bench.submit(0, 0, &[0x1100_03E8, 0x4D00_0000, 0x4001_0001, 0x0800_0000]);
    assert_eq!(bench.waiting(0, 0), Some(Waiting::Fence { id: 1, target: 1 }));
    bench.machine.pass_time(999);
    bench.rest();
    assert_eq!(bench.waiting(0, 0), Some(Waiting::Fence { id: 1, target: 1 }));
    bench.machine.pass_time(1);
    bench.rest();
    assert_eq!(bench.waiting(0, 0), None);
}
