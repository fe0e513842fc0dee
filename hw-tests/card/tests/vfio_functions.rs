//! What the two functions do with the accesses of their machines.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

#[allow(dead_code, reason = "each test file uses a part")]
mod vfio_bench;
#[allow(dead_code, reason = "each test file uses a part")]
mod vfio_client;

use std::time::Duration;

use coxswain_abi::soc::{bar0, hbm_block};
use vfio_bench::{Bench, HOST_BYTES};
use vfio_client::{Client, words};

const CONFIG: u32 = 7;
const CFG: u64 = 0x400_0000;

/// The driver's ELBI read (`boot-protocol.md` 4.1): status word and data.
fn elbi_read(client: &mut Client, address: u32) -> (u32, u32) {
    client.write_u32(CONFIG, 0xFFC, 0);
    client.write_u32(CONFIG, 0xFF0, address);
    client.write_u32(CONFIG, 0xFF8, 0);
    (client.read_u32(CONFIG, 0xFFC), client.read_u32(CONFIG, 0xFF4))
}

/// The driver's ELBI write: status word.
fn elbi_write(client: &mut Client, address: u32, value: u32) -> u32 {
    client.write_u32(CONFIG, 0xFFC, 0);
    client.write_u32(CONFIG, 0xFF0, address);
    client.write_u32(CONFIG, 0xFF4, value);
    client.write_u32(CONFIG, 0xFF8, 0x8000_0000);
    client.read_u32(CONFIG, 0xFFC)
}

#[test]
fn elbi_reaches_registers_before_memory_is_enabled() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    assert_eq!(elbi_write(&mut client, 0xFCC4_B150, 0x8002_0000), 0x8000_0000);
    assert_eq!(elbi_read(&mut client, 0xFCC4_B150), (0x8000_0000, 0x8002_0000));
    assert_eq!(bench.registers.take_log(), ["write 0xc4b150 0x80020000", "read 0xc4b150"]);
}

#[test]
fn elbi_refuses_what_is_not_a_register() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    for address in [0, 0xFBFF_FFFC, 0xFE00_0000, 0xFCC4_B152, u32::MAX] {
        assert_eq!(elbi_read(&mut client, address).0, 0x4000_0000, "{address:#x}");
        assert_eq!(elbi_write(&mut client, address, 1), 0x4000_0000, "{address:#x}");
    }
    assert_eq!(bench.host.counts().elbi_errors, 10);
    assert!(bench.registers.take_log().is_empty());
}

#[test]
fn only_a_write_of_the_control_register_starts_an_elbi_access() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 0xFF0, 0xFC00_0000);
    client.write_u32(CONFIG, 0xFF4, 1);
    client.write_u32(CONFIG, 0xFFC, 0);
    assert_eq!(client.read_u32(CONFIG, 0xFFC), 0);
    // One write over the whole window carries out the access with the values it brings.
    client.region_write(CONFIG, 0xFF0, &words(&[0xFC00_0010, 9, 0x8000_0000, 0])).unwrap();
    assert_eq!(client.read_u32(CONFIG, 0xFFC), 0x8000_0000);
    assert_eq!(bench.registers.take_log(), ["write 0x10 0x9"]);
}

#[test]
fn the_drivers_iatu_sequence_through_elbi_gives_the_standard_windows() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    for (region, target) in [(0, 0x7F_F000_0000u64), (1, 0x7F_F800_0000), (2, 0)] {
        let base = 0x100 + 0x200 * region;
        let control = 0xC008_0000 | (region * 2) << 8;
        for (offset, value) in
            [(base + 0x14, target as u32), (base + 0x18, (target >> 32) as u32), (base, 0), (base + 4, control)]
        {
            assert_eq!(elbi_write(&mut client, 0xFCC0_7490, 0x0030_0000), 0x8000_0000);
            assert_eq!(elbi_write(&mut client, 0xFCC0_2000 + offset, value), 0x8000_0000);
        }
        assert_eq!(elbi_write(&mut client, 0xFCC0_7490, 0), 0x8000_0000);
        assert_eq!(bench.host.inbound_target(region * 2), Some(target));
    }
    assert_eq!(bench.host.counts().iatu_mismatches, 0);
    // The SoC has seen the selection register only.
    assert!(bench.registers.take_log().iter().all(|line| line.starts_with("write 0xc07490")));
    // While the iATU is not selected the window is a register block like any other.
    assert_eq!(elbi_write(&mut client, 0xFCC0_2114, 5), 0x8000_0000);
    assert_eq!(bench.registers.take_log(), ["write 0xc02114 0x5"]);
    assert_eq!(bench.host.inbound_target(0), Some(0x7F_F000_0000));
}

#[test]
fn registers_are_reached_32_bits_at_a_time_in_ascending_order() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 4, 2);
    client.region_write(2, CFG + 0x10, &0x1122_3344_5566_7788u64.to_le_bytes()).unwrap();
    assert_eq!(client.region_read(2, CFG + 0x10, 8).unwrap(), 0x1122_3344_5566_7788u64.to_le_bytes());
    assert_eq!(
        bench.registers.take_log(),
        ["write 0x10 0x55667788", "write 0x14 0x11223344", "read 0x10", "read 0x14"]
    );
    assert_eq!(client.region_read(2, CFG + 0x11, 2).unwrap(), [0x77, 0x66]);
    assert_eq!(client.region_read(2, CFG + 0x12, 4).unwrap(), [0x66, 0x55, 0x44, 0x33]);
    bench.registers.take_log();
    client.region_write(2, CFG + 0x10, &[1]).unwrap();
    client.region_write(2, CFG + 0x12, &[1, 2, 3, 4]).unwrap();
    assert!(bench.registers.take_log().is_empty(), "a register is never written in part");
    assert_eq!(bench.host.counts().narrow_writes, 3);
}

#[test]
fn the_rest_of_bar2_is_scratchpad_or_nothing() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 4, 2);
    client.region_write(2, 0x3FE_0001, &[1, 2, 3, 4, 5]).unwrap();
    assert_eq!(client.region_read(2, 0x3FE_0000, 8).unwrap(), [0, 1, 2, 3, 4, 5, 0, 0]);
    client.write_u32(2, 0x3FF_7FFC, 77);
    assert_eq!(client.read_u32(2, 0x3FF_7FFC), 77);
    for absent in [0, 0x3FD_FFFC, 0x3FF_8000, 0x600_0000, 0x7FF_FFFC] {
        client.write_u32(2, absent, 1);
        assert_eq!(client.read_u32(2, absent), 0, "{absent:#x}");
    }
    assert!(bench.registers.take_log().is_empty());
    // The edges of the register space.
    client.write_u32(2, CFG, 1);
    client.write_u32(2, 0x5FF_FFFC, 2);
    assert_eq!(bench.registers.take_log(), ["write 0x0 0x1", "write 0x1fffffc 0x2"]);
}

#[test]
fn bars_do_not_answer_until_memory_is_enabled() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(2, CFG, 1);
    for bar in [0, 2, 4] {
        assert_eq!(client.read_u32(bar, 0x10), u32::MAX);
    }
    assert!(bench.registers.take_log().is_empty());
    client.write_u32(CONFIG, 4, 2);
    assert_eq!(client.read_u32(4, 0x10), 0);
}

#[test]
fn the_host_bars_are_sram_and_hbm() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 4, 2);
    client.region_write(0, 0x2003, b"tpc").unwrap();
    client.region_write(4, 0x7_FFFF_FFF0, b"hbm").unwrap();
    let (mut sram, mut hbm) = ([0; 3], [0; 3]);
    bench.memories.soc.read_bytes(bar0::SRAM + 0x2003, &mut sram).unwrap();
    bench.memories.hbm.read_bytes(0x7_FFFF_FFF0, &mut hbm).unwrap();
    assert_eq!((&sram, &hbm), (b"tpc", b"hbm"));
}

#[test]
fn the_host_s_hbm_bar_reads_and_writes_memory_that_is_filled_and_not_stored() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 4, 2);
    let filled = hbm_block::ALWAYS_PRESENT + hbm_block::SIZE;
    bench.memories.hbm.fill(filled, 2 * hbm_block::SIZE, 0x1122_3344_5566_7788).unwrap();
    assert_eq!(client.read_u32(4, filled + 4), 0x1122_3344);
    client.write_u32(4, filled + 4, 5);
    assert_eq!(bench.memories.hbm.read_u64(filled), Ok(0x5_5566_7788));
    assert_eq!(client.read_u32(4, filled + hbm_block::SIZE), 0x5566_7788);
    assert_eq!(bench.memories.hbm.stored_bytes().unwrap(), hbm_block::SIZE);
}

#[test]
fn firmware_makes_a_filled_block_present_before_it_reads_its_mapping() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    client.write_u32(CONFIG, 4, 2);
    let filled = hbm_block::ALWAYS_PRESENT + 7 * hbm_block::SIZE;
    bench.memories.hbm.fill(filled, hbm_block::SIZE, 0x1122_3344_5566_7788).unwrap();
    let state = || bench.memories.soc.read_u32(hbm_block::state(filled)).unwrap();
    assert!(!hbm_block::is_present(state()));
    client.write_u32(0, bar0::HBM_FETCH, (filled / hbm_block::SIZE) as u32);
    assert!(hbm_block::is_present(state()));
    assert_eq!(bench.memories.hbm.stored_bytes().unwrap(), hbm_block::SIZE);
    assert_eq!(bench.soc.counts().bad_trapped_writes, 0);
}

#[test]
fn the_scripted_host_sees_what_a_client_sees() {
    let bench = Bench::new();
    bench.host.config_write_u32(4, 6);
    bench.host.config_write(0x52, &[1, 0]);
    bench.host.bar_write_u32(2, CFG + 0x40, 3);
    assert_eq!(bench.host.bar_read_u32(2, CFG + 0x40), 3);
    let mut client = Client::connect(&bench.host_socket());
    assert_eq!(client.read_u32(2, CFG + 0x40), 3);
    assert_eq!(bench.host.wait_msi(0, Duration::ZERO), None);
    bench.host.msi().raise(0);
    assert_eq!(bench.host.wait_msi(0, Duration::ZERO), Some(1));
    assert_eq!(bench.host.bar_read_u32(3, 0), u32::MAX, "no such BAR");
    assert_eq!(bench.host.bar_read_u32(0, u64::MAX), u32::MAX);
    assert_eq!(bench.host.config_read_u32(0xFFFF), 0);
    bench.host.config_write(0xFFFF, &[0; 300]);
}

#[test]
fn the_kick_page_takes_kicks_of_existing_cores_and_reset_requests() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    client.write_u32(0, bar0::KICK, 0);
    assert!(bench.registers.take_log().is_empty(), "memory is not enabled");
    client.write_u32(CONFIG, 4, 2);
    client.write_u32(0, bar0::KICK, 0);
    client.write_u32(0, bar0::KICK, 3);
    client.write_u32(0, bar0::CPU_RESET, 1);
    assert_eq!(bench.registers.take_log(), ["kick 0", "kick 3", "reset"]);
    client.write_u32(0, bar0::KICK, 4);
    client.write_u32(0, bar0::CPU_RESET, 2);
    client.write_u32(0, bar0::KICK + 12, 0);
    client.write_u32(0, bar0::HBM_FETCH, hbm_block::COUNT as u32);
    client.region_write(0, bar0::KICK, &[0; 8]).unwrap();
    assert_eq!(client.read_u32(0, bar0::KICK), 0);
    assert!(bench.registers.take_log().is_empty());
    let counts = bench.soc.counts();
    assert_eq!((counts.kicks, counts.bad_trapped_writes), (2, 5));
}

#[test]
fn the_soc_side_maps_all_but_the_kick_page_and_exactly_the_hosts_memory() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    let mut info = |index| client.call(5, &words(&[64, 0, index, 0, 0, 0, 0, 0])).unwrap();
    let area = |bytes: &[u8]| (words(&[0, 0]) == bytes[48..56], u64::from_le_bytes(bytes[56..64].try_into().unwrap()));
    let size = |bytes: &[u8]| u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let shadow = info(0);
    assert_eq!((size(&shadow), area(&shadow)), (0x800_0000, (true, bar0::MAPPED)));
    let host = info(2);
    assert_eq!((size(&host), area(&host)), (4 << 20, (true, HOST_BYTES)));
    let hbm = info(4);
    assert_eq!((size(&hbm), area(&hbm)), (32 << 30, (true, 32 << 30)));
}

#[test]
fn beyond_the_hosts_memory_nobody_answers() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    client.write_u32(CONFIG, 4, 2);
    client.write_u32(2, HOST_BYTES - 4, 5);
    assert_eq!(client.read_u32(2, HOST_BYTES - 4), 5);
    client.write_u32(2, HOST_BYTES, 5);
    assert_eq!(client.read_u32(2, HOST_BYTES), u32::MAX);
}

#[test]
fn the_soc_side_function_has_its_own_identity() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    assert_eq!(client.read_u32(CONFIG, 0), 0x10C0_1DA3);
    assert_eq!(Client::connect(&bench.host_socket()).read_u32(CONFIG, 0), 0x1000_1DA3);
}
