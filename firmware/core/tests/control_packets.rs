//! The CPUCP server against a host that behaves like the driver (`cpucp.md` 3, 5, 6).
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{FakeHost, FakePosts, FakeRegisters};
use coxswain_abi::cpucp::{
    BufferDescriptor, CpucpInfo, Packet, opcode, queue_init, sensor_attribute as attribute, sensor_type,
};
use coxswain_abi::event::{Event, interrupt};
use coxswain_abi::regs::psoc::{CPU_BOOT_DEV_STS0, sts0};
use coxswain_abi::regs::{cpu_if, sync_manager};
use coxswain_core::cpucp::identity::Identity;
use coxswain_core::cpucp::telemetry::ConstantTelemetry;
use coxswain_core::cpucp::{CAPABILITIES, PACKETS_PER_CALL, Ports, Server, Signal};
use coxswain_core::event::EventQueue;
use coxswain_core::ports::Registers as _;
use coxswain_gaudi::identity::SENSORS as EMULATED_BOARD;
use proptest::prelude::*;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

static IDENTITY: Identity = coxswain_gaudi::identity::IDENTITY;

/// The shared area lies in the middle of the host's memory, so that a step outside it would find memory.
const SHARED: usize = 0x10_0000;
const PQ: usize = SHARED;
const EQ: usize = SHARED + 0x1_0000;
const PACKET: usize = SHARED + 0x1_1000;
const BUFFER: usize = SHARED + 0x1_2000;
const AREA: u64 = at(SHARED);

/// An offset in the host's memory in the form of address the host uses: bit 39, low bits of the bus address.
const fn at(offset: usize) -> u64 {
    0x80_0000_0000 + FakeHost::BASE + offset as u64
}

struct Bench {
    registers: FakeRegisters,
    host: FakeHost,
    posts: FakePosts,
    telemetry: ConstantTelemetry,
    events: EventQueue,
    server: Server,
    index: u32,
    now_us: u64,
}

impl Bench {
    fn new() -> Self {
        let registers = FakeRegisters::default();
        registers.set(CPU_BOOT_DEV_STS0, sts0::ENABLED | CAPABILITIES);
        registers.set(cpu_if::CPU_MSB_ADDR, 1);
        for (low, high, address) in [
            (cpu_if::PQ_BASE_ADDR_LOW, cpu_if::PQ_BASE_ADDR_HIGH, at(PQ)),
            (cpu_if::EQ_BASE_ADDR_LOW, cpu_if::EQ_BASE_ADDR_HIGH, at(EQ)),
            (cpu_if::CQ_BASE_ADDR_LOW, cpu_if::CQ_BASE_ADDR_HIGH, AREA),
        ] {
            registers.set(low, address as u32);
            registers.set(high, (address >> 32) as u32);
        }
        registers.set(cpu_if::PQ_LENGTH, 0x1_0000);
        registers.set(cpu_if::EQ_LENGTH, 0x1000);
        registers.set(cpu_if::CQ_LENGTH, 0x20_0000);
        Self {
            posts: FakePosts::new(&registers),
            registers,
            host: FakeHost::new(),
            telemetry: ConstantTelemetry::new(EMULATED_BOARD),
            events: EventQueue::new(),
            server: Server::new(&IDENTITY),
            index: 0,
            now_us: 0,
        }
    }

    fn ready() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.handshake(), queue_init::READY_FOR_HOST);
        bench
    }

    fn interrupt(&mut self, number: u32) -> Signal {
        let mut ports = Ports {
            registers: &self.registers,
            host: &mut self.host,
            posts: &mut self.posts,
            telemetry: &mut self.telemetry,
            now_us: self.now_us,
        };
        self.server.on_interrupt(number, &mut ports, &mut self.events)
    }

    /// The host's step 3 and 4; what QUEUE_INIT says afterwards.
    fn handshake(&mut self) -> u32 {
        self.registers.set(cpu_if::QUEUE_INIT, queue_init::READY_FOR_CP_SINGLE_MSI);
        assert_eq!(self.interrupt(interrupt::PI_UPDATE), Signal::None);
        self.registers.read(cpu_if::QUEUE_INIT)
    }

    /// Puts an entry into the packet queue and moves the producer index.
    fn submit_entry(&mut self, pointer: u64, length: u32, ctl: u32) {
        let entry = BufferDescriptor { pointer: U64::new(pointer), length: U32::new(length), ctl: U32::new(ctl) };
        self.host.put(PQ + 16 * (self.index as usize & 4095), entry.as_bytes());
        self.index = (self.index + 1) & 8191;
        self.registers.set(cpu_if::PF_PQ_PI, self.index);
    }

    /// Submits a packet as the driver does, and returns the answer if its fence is right.
    fn send(&mut self, packet: Packet) -> Option<Packet> {
        self.host.put(PACKET, packet.as_bytes());
        let next = (self.index + 1) & 8191;
        self.submit_entry(at(PACKET), 24, next);
        assert_eq!(self.interrupt(interrupt::PI_UPDATE), Signal::None);
        let answer = Packet::read_from_bytes(&self.host.bytes[PACKET..PACKET + 24]).unwrap();
        assert_eq!(answer.opcode(), packet.opcode());
        let acknowledge =
            if self.registers.read(CPU_BOOT_DEV_STS0) & sts0::PKT_PI_ACK_EN != 0 { next } else { 0xFE8C_E7A5 };
        (answer.fence.get() == acknowledge).then_some(answer)
    }

    /// Submits a request; its result, or its return code.
    fn request(&mut self, opcode: u16, value: u64, argument: u32, argument2: u32) -> Result<u64, u32> {
        let answer = self.send(Packet::request(opcode, value, argument, argument2)).expect("an answer");
        match answer.return_code() {
            0 => Ok(answer.value.get()),
            code => Err(code),
        }
    }

    /// Submits a request for a buffer of `bytes` bytes, filled with 0xEE around it.
    fn buffer(&mut self, opcode: u16, bytes: u32, argument2: u32) -> Result<(u64, Vec<u8>), u32> {
        let end = BUFFER + 0xB000;
        self.host.bytes[BUFFER..end].fill(0xEE);
        let result = self.request(opcode, at(BUFFER), bytes, argument2)?;
        assert!(self.host.bytes[BUFFER + bytes as usize..end].iter().all(|byte| *byte == 0xEE), "beyond the buffer");
        Ok((result, self.host.bytes[BUFFER..BUFFER + bytes as usize].to_vec()))
    }

    fn sensor(&mut self, opcode: u16, index: u32, attribute: u16) -> Result<i64, u32> {
        self.request(opcode, 0, index | u32::from(attribute) << 16, 0).map(|value| value as i64)
    }
}

#[test]
fn the_handshake_is_answered_once_per_request() {
    let mut bench = Bench::new();
    assert_eq!(bench.interrupt(interrupt::PI_UPDATE), Signal::None, "no request yet");
    assert!(bench.posts.log.is_empty());
    assert_eq!(bench.handshake(), queue_init::READY_FOR_HOST);
    assert_eq!(bench.posts.values(cpu_if::QUEUE_INIT), [2]);
}

#[test]
fn an_answer_on_its_way_is_not_a_second_handshake() {
    let mut bench = Bench::new();
    bench.posts.stalled = true;
    assert_eq!(bench.handshake(), queue_init::READY_FOR_CP_SINGLE_MSI, "not applied yet");
    let _ = bench.interrupt(interrupt::PI_UPDATE);
    assert_eq!(bench.posts.values(cpu_if::QUEUE_INIT), [2]);
}

#[test]
fn a_handshake_without_room_for_the_answer_is_done_later() {
    let mut bench = Bench::new();
    bench.posts.room = 0;
    bench.handshake();
    assert!(!bench.server.is_ready());
    bench.posts.room = 1;
    let _ = bench.interrupt(interrupt::PI_UPDATE);
    assert!(bench.server.is_ready());
}

#[test]
fn bad_lengths_and_addresses_are_refused_with_their_codes() {
    let refused = |offset: u32, value: u32| {
        let mut bench = Bench::new();
        bench.registers.set(offset, value);
        let answer = bench.handshake();
        assert!(!bench.server.is_ready() || answer == 2);
        answer
    };
    for (offset, value) in [
        (cpu_if::PQ_LENGTH, 0),
        (cpu_if::PQ_LENGTH, 8),
        (cpu_if::PQ_LENGTH, 0xFFFF),
        (cpu_if::PQ_LENGTH, 0x30_0000),
        (cpu_if::PQ_LENGTH, 0x8000_0000),
        (cpu_if::EQ_LENGTH, 0),
        (cpu_if::EQ_LENGTH, 0x20),
        (cpu_if::EQ_LENGTH, 0x1040),
    ] {
        assert_eq!(refused(offset, value), queue_init::LEN_NOT_POWER_OF_TWO_ERR, "{offset:#x} = {value:#x}");
    }
    for (offset, value) in [
        (cpu_if::CQ_LENGTH, 0),
        (cpu_if::CQ_LENGTH, 0x1_0000),
        (cpu_if::CQ_BASE_ADDR_HIGH, 0),
        (cpu_if::CQ_BASE_ADDR_HIGH, 0x180),
        (cpu_if::CPU_MSB_ADDR, 0),
        (cpu_if::CPU_MSB_ADDR, 2),
        (cpu_if::PQ_BASE_ADDR_HIGH, 0),
        (cpu_if::PQ_BASE_ADDR_LOW, 0xFFFF_0000),
        (cpu_if::PQ_BASE_ADDR_LOW, AREA as u32 + 4),
        (cpu_if::PQ_BASE_ADDR_LOW, AREA as u32 + 0x8000),
        (cpu_if::EQ_BASE_ADDR_LOW, AREA as u32 + 0xFFC0),
        (cpu_if::EQ_BASE_ADDR_LOW, AREA as u32 + 0x1_0002),
        (cpu_if::EQ_LENGTH, 0x40_0000),
    ] {
        assert_eq!(refused(offset, value), queue_init::ILLEGAL_Q_ADDR_ERR, "{offset:#x} = {value:#x}");
    }
}

#[test]
fn a_refused_handshake_can_be_repaired() {
    let mut bench = Bench::new();
    bench.registers.set(cpu_if::PQ_LENGTH, 5);
    assert_eq!(bench.handshake(), queue_init::LEN_NOT_POWER_OF_TWO_ERR);
    bench.registers.set(cpu_if::PQ_LENGTH, 0x1_0000);
    assert_eq!(bench.handshake(), queue_init::READY_FOR_HOST);
}

#[test]
fn the_answer_is_result_then_control_word_then_fence() {
    let mut bench = Bench::ready();
    bench.host.writes.clear();
    assert_eq!(bench.request(opcode::TEST, 0xFE8C_E7A5, 0, 0), Ok(0xFE8C_E7A5));
    let packet = FakeHost::BASE + PACKET as u64;
    assert_eq!(bench.host.writes, [(packet, 8, false), (packet + 8, 4, false), (packet + 12, 4, true)]);
}

#[test]
fn the_acknowledge_value_follows_the_capability_bit() {
    let mut bench = Bench::ready();
    bench.registers.set(CPU_BOOT_DEV_STS0, sts0::ENABLED);
    let answer = bench.send(Packet::request(opcode::TEST, 7, 0, 0)).unwrap();
    assert_eq!((answer.fence.get(), answer.value.get()), (0xFE8C_E7A5, 7));
}

#[test]
fn indices_run_over_twice_the_length() {
    let mut bench = Bench::ready();
    for value in 0..8200u64 {
        assert_eq!(bench.request(opcode::TEST, value, 0, 0), Ok(value));
    }
    assert_eq!(bench.index, 8);
}

#[test]
fn a_burst_is_served_in_bounded_calls() {
    let mut bench = Bench::ready();
    let burst = PACKETS_PER_CALL + 3;
    for position in 0..burst {
        let offset = PACKET + 32 * position;
        bench.host.put(offset, Packet::request(opcode::TEST, position as u64, 0, 0).as_bytes());
        bench.submit_entry(at(offset), 24, position as u32 + 1);
    }
    assert_eq!(bench.interrupt(interrupt::PI_UPDATE), Signal::More);
    assert_eq!(bench.interrupt(interrupt::PI_UPDATE), Signal::None);
    for position in 0..burst {
        assert_eq!(bench.host.word(PACKET + 32 * position + 12), position as u32 + 1);
    }
}

/// What may not be believed ends in event 647 with both indices, and in silence until the next handshake.
#[test]
fn a_lost_queue_is_told_and_not_read_any_more() {
    let cases: [fn(&mut Bench); 10] = [
        |bench| bench.submit_entry(at(PACKET), 24, 7),
        |bench| bench.submit_entry(at(PACKET), 24, 0xFFFF_FFFF),
        |bench| bench.submit_entry(at(PACKET), 23, 2),
        |bench| bench.submit_entry(at(PACKET) + 2, 24, 2),
        |bench| bench.submit_entry(AREA + 0x20_0000 - 23, 24, 2),
        |bench| bench.submit_entry(AREA - 4, 24, 2),
        |bench| bench.submit_entry(FakeHost::BASE, 24, 2),
        |bench| bench.registers.set(cpu_if::PF_PQ_PI, 8192),
        |bench| {
            bench.submit_entry(at(PACKET), 24, 2);
            bench.registers.set(cpu_if::PF_PQ_PI, 8192 + 2);
        },
        |bench| bench.registers.set(cpu_if::PF_PQ_PI, 4098),
    ];
    for (number, break_queue) in cases.iter().enumerate() {
        let mut bench = Bench::ready();
        assert_eq!(bench.request(opcode::ENABLE_PCI_ACCESS, 0, 0, 0), Ok(0));
        let _ = bench.interrupt(interrupt::INTS_REGISTER);
        break_queue(&mut bench);
        let producer = bench.registers.read(cpu_if::PF_PQ_PI);
        assert_eq!(bench.interrupt(interrupt::PI_UPDATE), Signal::None);
        assert_eq!(bench.host.word(EQ + 4), 0x8287_0001, "case {number}");
        assert_eq!((bench.host.word(EQ + 8), bench.host.word(EQ + 12)), (producer, 1), "case {number}");
        assert_eq!(bench.send(Packet::request(opcode::TEST, 1, 0, 0)), None, "case {number}");

        bench.host = FakeHost::new();
        bench.index = 0;
        bench.registers.set(cpu_if::PF_PQ_PI, 0);
        assert_eq!(bench.handshake(), queue_init::READY_FOR_HOST);
        assert_eq!(bench.request(opcode::TEST, 1, 0, 0), Ok(1), "case {number}");
    }
}

#[test]
fn a_full_queue_of_packets_is_not_a_lost_one() {
    let mut bench = Bench::ready();
    bench.host.put(PACKET, Packet::request(opcode::TEST, 1, 0, 0).as_bytes());
    for next in 1..=4096 {
        bench.submit_entry(at(PACKET), 24, next);
    }
    while bench.interrupt(interrupt::PI_UPDATE) == Signal::More {}
    assert_eq!(bench.server.counters().succeeded, 4096);
}

#[test]
fn every_opcode_is_answered() {
    let mut bench = Bench::ready();
    for number in (0..=0x1FFF).filter(|number| *number != opcode::DISABLE_PCI_ACCESS) {
        let answer = bench.send(Packet::request(number, 0, 0, 0)).expect("an answer");
        assert!(answer.return_code() <= 4);
    }
    for unknown in [0, 15, 23, 31, 33, 42, 46, 47, 49, 50, 58, 64, 65, 66, 0x1FFF] {
        assert_eq!(bench.request(unknown, 0, 0, 0), Err(3), "opcode {unknown}");
    }
}

#[test]
fn info_tells_who_we_are() {
    let mut bench = Bench::ready();
    let (_, bytes) = bench.buffer(opcode::INFO_GET, 1768, 0).unwrap();
    let info = CpucpInfo::read_from_bytes(&bytes).unwrap();
    assert_eq!(info.eq_health_check_supported, 0);
    let name = std::str::from_utf8(&info.card_name).unwrap().trim_end_matches('\0');
    assert!(!name.is_empty() && name.len() < 16 && !name.contains(['-', '*', ' ', '\t', '\n']));
    assert!(info.kernel_version.contains(&b'\n') && info.fw_os_version.contains(&b'\n'));
    assert_eq!(info.pll_map, [0xFF, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sensors: Vec<_> = info
        .sensors
        .iter()
        .map(|sensor| (sensor.kind.get(), sensor.flags.get()))
        .take_while(|pair| pair.0 != 0)
        .collect();
    assert_eq!(sensors.len(), EMULATED_BOARD.len());
    assert!(sensors.iter().all(|(kind, flags)| *kind < 10 && *flags != 0));
    assert!(sensors.iter().any(|(kind, _)| *kind == sensor_type::TEMPERATURE));
}

#[test]
fn every_attribute_in_the_sensor_list_can_be_used() {
    let mut bench = Bench::ready();
    let (_, bytes) = bench.buffer(opcode::INFO_GET, 1768, 0).unwrap();
    let info = CpucpInfo::read_from_bytes(&bytes).unwrap();
    let mut channels = [0u32; 16];
    for sensor in info.sensors.iter().take_while(|sensor| sensor.kind.get() != 0) {
        let kind = sensor.kind.get();
        let channel = channels[kind as usize];
        channels[kind as usize] += 1;
        for bit in (0..32u16).filter(|bit| sensor.flags.get() >> bit & 1 != 0) {
            let (get, set, resets) = match kind {
                sensor_type::TEMPERATURE => (opcode::TEMPERATURE_GET, opcode::TEMPERATURE_SET, 24),
                sensor_type::VOLTAGE => (opcode::VOLTAGE_GET, opcode::VOLTAGE_SET, 9),
                sensor_type::CURRENT => (opcode::CURRENT_GET, opcode::CURRENT_SET, 9),
                _ => (opcode::POWER_GET, opcode::POWER_SET, 12),
            };
            if bit == resets {
                assert_eq!(bench.request(set, 1, channel | u32::from(bit) << 16, 0), Ok(1), "type {kind} bit {bit}");
            } else {
                assert!(bench.sensor(get, channel, bit).is_ok(), "type {kind} channel {channel} bit {bit}");
            }
        }
        let get = [0, opcode::TEMPERATURE_GET, opcode::VOLTAGE_GET, opcode::CURRENT_GET, opcode::POWER_GET];
        assert_eq!(bench.sensor(get[kind as usize], 99, 1), Err(4), "no such channel");
    }
}

#[test]
fn power_is_told_in_the_unit_that_is_asked_for() {
    let mut bench = Bench::ready();
    assert_eq!(bench.sensor(opcode::POWER_GET, 0, attribute::POWER_INPUT_MILLIWATT), Ok(60_000));
    assert_eq!(bench.sensor(opcode::POWER_GET, 0, attribute::POWER_INPUT), Ok(60_000_000));
    assert_eq!(bench.sensor(opcode::POWER_GET, 0, attribute::POWER_INPUT_HIGHEST), Ok(60_000_000));
    assert_eq!(bench.sensor(opcode::POWER_GET, 0, attribute::POWER_RESET_HISTORY), Ok(0));
    bench.now_us = 90_000_000;
    assert_eq!(bench.request(opcode::TOTAL_ENERGY_GET, 0, 0, 0), Ok(60_000 * 90));
}

#[test]
fn a_temperature_offset_moves_the_reading_and_its_history() {
    let mut bench = Bench::ready();
    let offset = u32::from(attribute::TEMPERATURE_OFFSET) << 16 | 1;
    assert!(bench.request(opcode::TEMPERATURE_SET, (-2000i64) as u64, offset, 0).is_ok());
    assert_eq!(bench.sensor(opcode::TEMPERATURE_GET, 1, attribute::TEMPERATURE_OFFSET), Ok(-2000));
    assert_eq!(bench.sensor(opcode::TEMPERATURE_GET, 1, attribute::INPUT), Ok(45_000));
    assert_eq!(bench.sensor(opcode::TEMPERATURE_GET, 1, attribute::TEMPERATURE_HIGHEST), Ok(47_000));
    let reset = u32::from(attribute::TEMPERATURE_RESET_HISTORY) << 16 | 1;
    assert!(bench.request(opcode::TEMPERATURE_SET, 1, reset, 0).is_ok());
    assert_eq!(bench.sensor(opcode::TEMPERATURE_GET, 1, attribute::TEMPERATURE_HIGHEST), Ok(45_000));
    assert_eq!(bench.sensor(opcode::TEMPERATURE_GET, 0, attribute::INPUT), Ok(45_000), "the other sensor is not moved");
    assert!(bench.request(opcode::TEMPERATURE_SET, i64::MAX as u64, offset, 0).is_ok());
    assert!(bench.sensor(opcode::TEMPERATURE_GET, 1, attribute::INPUT).is_ok());
}

#[test]
fn clocks_keep_what_was_set_within_their_limits() {
    let mut bench = Bench::ready();
    // Common numbering: MME 5, HBM 10.
    assert!(bench.request(opcode::FREQUENCY_SET, 2_200_000_000, 5, 0).is_ok());
    assert_eq!(bench.request(opcode::FREQUENCY_GET, 0, 5, 0), Ok(2_200_000_000));
    assert!(bench.request(opcode::FREQUENCY_SET, 1_000_000_000, 5, 0).is_ok());
    assert_eq!(bench.request(opcode::FREQUENCY_CURR_GET, 0, 5, 0), Ok(1_000_000_000));
    assert_eq!(bench.request(opcode::FREQUENCY_SET, 2_200_000_001, 5, 0), Err(4));
    assert_eq!(bench.request(opcode::FREQUENCY_SET, 0, 5, 0), Err(4));
    assert_eq!(bench.request(opcode::FREQUENCY_GET, 0, 9, 0), Err(4));
    // CPU PLL: output 2 is the frequency of the device time, which must not be 0.
    let outputs = bench.request(opcode::PLL_INFO_GET, 0, 0, 0).unwrap();
    assert_eq!(outputs, 1500 | 750 << 16 | 500 << 32 | 250 << 48);
    assert_eq!(bench.request(opcode::PLL_INFO_GET, 0, 11, 0), Err(4));
    // Without DYN_PLL_EN the MME is number 7.
    bench.registers.set(CPU_BOOT_DEV_STS0, sts0::ENABLED | sts0::PKT_PI_ACK_EN);
    assert_eq!(bench.request(opcode::FREQUENCY_GET, 0, 7, 0), Ok(1_000_000_000));
    assert_eq!(bench.request(opcode::FREQUENCY_GET, 0, 10, 0), Err(4));
}

#[test]
fn the_power_limit_is_kept() {
    let mut bench = Bench::ready();
    assert_eq!(bench.request(opcode::MAX_POWER_GET, 0, 0, 0), Ok(350_000));
    assert!(bench.request(opcode::MAX_POWER_SET, 200_000, 0, 0).is_ok());
    assert_eq!(bench.request(opcode::MAX_POWER_GET, 0, 0, 0), Ok(200_000));
    for wrong in [0, 500_001, u64::MAX] {
        assert_eq!(bench.request(opcode::MAX_POWER_SET, wrong, 0, 0), Err(4));
    }
    assert_eq!(bench.server.max_power(), 200_000);
}

#[test]
fn leds_counters_and_missing_buses_are_answered() {
    let mut bench = Bench::ready();
    assert!(bench.request(opcode::LED_SET, 1, 2, 0).is_ok());
    assert_eq!(bench.telemetry.leds(), 4);
    assert_eq!(bench.request(opcode::LED_SET, 1, 3, 0), Err(4));
    assert_eq!(bench.request(opcode::LED_SET, 2, 0, 0), Err(4));
    assert_eq!(bench.request(opcode::PCIE_THROUGHPUT_GET, 0, 1, 0), Ok(0));
    assert_eq!(bench.request(opcode::PCIE_THROUGHPUT_GET, 0, 2, 0), Err(4));
    assert_eq!(bench.request(opcode::PCIE_REPLAY_CNT_GET, 9, 0, 0), Ok(0));
    assert_eq!(bench.request(opcode::I2C_RD, 0, 0x0100_4801, 0), Err(3));
    assert_eq!(bench.request(opcode::I2C_RD, 0, 0x0900_4801, 0), Err(4), "more than 8 bytes");
    assert_eq!(bench.request(opcode::I2C_WR, 0, 0x0100_4801, 0), Err(3));
    assert_eq!(bench.request(opcode::HBM_PENDING_ROWS_STATUS, 9, 0, 0), Ok(0));
}

#[test]
fn buffers_hold_what_was_asked_for_and_nothing_beyond() {
    let mut bench = Bench::ready();
    let (length, bytes) = bench.buffer(opcode::EEPROM_DATA_GET, 4096, 0).unwrap();
    assert_eq!(&bytes[..length as usize], IDENTITY.eeprom);
    let (length, bytes) = bench.buffer(opcode::EEPROM_DATA_GET, 4, 0).unwrap();
    assert_eq!((length, &bytes[..]), (4, &IDENTITY.eeprom[..4]));
    let (_, bytes) = bench.buffer(opcode::HBM_REPLACED_ROWS_INFO_GET, 8, 0).unwrap();
    assert_eq!(bytes, [0; 8]);
    let (length, bytes) = bench.buffer(opcode::GENERIC_PASSTHROUGH, 296, 0).unwrap();
    assert_eq!((length, &bytes[..4], bytes[292]), (296, &[0x28, 1, 0x28, 1][..], 0));
    assert_eq!(bench.buffer(opcode::GENERIC_PASSTHROUGH, 295, 0).unwrap_err(), 4);
    assert_eq!(bench.buffer(opcode::GENERIC_PASSTHROUGH, 296, 1).unwrap_err(), 3);
    let (_, bytes) = bench.buffer(opcode::INFO_GET, 100, 0).unwrap();
    assert_eq!(bytes.len(), 100);
}

#[test]
fn a_buffer_outside_the_shared_area_is_refused_and_not_touched() {
    let mut bench = Bench::ready();
    let before = bench.host.bytes.clone();
    for (address, bytes) in
        [(AREA + 0x20_0000 - 1767, 1768), (FakeHost::BASE, 1768), (AREA - 8, 1768), (u64::MAX, 1768), (AREA, 0)]
    {
        assert_eq!(bench.request(opcode::INFO_GET, address, bytes, 0), Err(4), "{address:#x}");
    }
    assert_eq!(before[BUFFER..], bench.host.bytes[BUFFER..]);
}

#[test]
fn the_monitor_dump_copies_the_registers_of_all_sync_managers() {
    let mut bench = Bench::ready();
    for (manager, array, monitor) in [(0, sync_manager::MON_PAY_ADDRL_0, 0), (3, sync_manager::MON_STATUS_0, 511)] {
        bench.registers.set(sync_manager::base(manager) + array + 4 * monitor, 0xA000 + monitor);
    }
    let (_, bytes) = bench.buffer(opcode::MONITOR_DUMP_GET, 40960, 0).unwrap();
    assert_eq!(bytes[..4], [0x00, 0xA0, 0, 0]);
    assert_eq!(bytes[40956..], [0xFF, 0xA1, 0, 0]);
    assert!(bytes[4..40956].iter().all(|byte| *byte == 0));
    assert_eq!(bench.buffer(opcode::MONITOR_DUMP_GET, 40959, 0).unwrap_err(), 4);
}

#[test]
fn events_start_with_the_host_and_stop_with_it() {
    let mut bench = Bench::ready();
    bench.events.post(Event::new(583));
    assert!(bench.request(opcode::ENABLE_PCI_ACCESS, 0, 0, 0).is_ok());
    assert_eq!(bench.host.word(EQ + 4), 0);
    assert_eq!(bench.interrupt(interrupt::INTS_REGISTER), Signal::None);
    assert_eq!(bench.host.word(EQ + 4), 0x8247_0001);
    bench.events.post(Event::new(583));
    assert!(bench.request(opcode::UNMASK_RAZWI_IRQ, 583, 0, 0).is_ok());
    assert_eq!(bench.host.word(EQ + 64 + 4), 0x8247_0002, "sent with the answer of the unmask");
    assert_eq!(bench.request(opcode::UNMASK_RAZWI_IRQ, 663, 0, 0), Err(4));
    assert_eq!(bench.request(opcode::UNMASK_RAZWI_IRQ, 583 + (1 << 16), 0, 0), Err(4));
}

#[test]
fn withdrawn_access_ends_everything_after_the_answer() {
    let mut bench = Bench::ready();
    assert!(bench.request(opcode::ENABLE_PCI_ACCESS, 0, 0, 0).is_ok());
    let _ = bench.interrupt(interrupt::INTS_REGISTER);
    assert!(bench.request(opcode::DISABLE_PCI_ACCESS, 0, 0, 0).is_ok());
    let accesses = *bench.host.accesses.borrow();
    let posted = bench.posts.log.len();
    bench.events.post(Event::new(646));
    assert_eq!(bench.send(Packet::request(opcode::TEST, 1, 0, 0)), None);
    let _ = bench.interrupt(interrupt::INTS_REGISTER);
    assert_eq!((*bench.host.accesses.borrow(), bench.posts.log.len()), (accesses, posted));
}

#[test]
fn halt_is_passed_on_and_final() {
    let mut bench = Bench::ready();
    assert_eq!(bench.interrupt(interrupt::HALT_MACHINE), Signal::Halt);
    let accesses = *bench.host.accesses.borrow();
    bench.registers.set(cpu_if::QUEUE_INIT, queue_init::READY_FOR_CP_SINGLE_MSI);
    assert_eq!(bench.send(Packet::request(opcode::TEST, 1, 0, 0)), None);
    assert_eq!(*bench.host.accesses.borrow(), accesses);
}

#[test]
fn an_array_unmasks_all_its_events() {
    let mut bench = Bench::ready();
    assert!(bench.request(opcode::ENABLE_PCI_ACCESS, 0, 0, 0).is_ok());
    let _ = bench.interrupt(interrupt::INTS_REGISTER);
    for _ in 0..2 {
        bench.events.post(Event::new(583));
        bench.events.post(Event::new(584));
        let _ = bench.interrupt(interrupt::PI_UPDATE);
    }
    let mut send = |count: u32, ids: &[u32], length: u32| {
        let mut packet = Packet::request(opcode::UNMASK_RAZWI_IRQ_ARRAY, 0, 0, 0).as_bytes().to_vec();
        packet.extend(count.to_le_bytes());
        packet.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        bench.host.put(PACKET, &packet);
        let next = bench.index + 1;
        bench.submit_entry(at(PACKET), length, next);
        let _ = bench.interrupt(interrupt::PI_UPDATE);
        assert_eq!(bench.host.word(PACKET + 12), next);
        (bench.host.word(PACKET + 8) >> 12 & 0xF, bench.host.word(EQ + 64 * 3 + 4) >> 16 & 0xFFF)
    };
    assert_eq!(send(4, &[583, 584], 40).0, 4, "more elements than the packet holds");
    assert_eq!(send(u32::MAX, &[583, 584], 40).0, 4);
    assert_eq!(send(0, &[], 24).0, 4, "no room for a count");
    assert_eq!(send(2, &[583, 584], 40), (0, 584));
}

proptest! {
    /// Nothing that a host can write makes the server panic or touch host memory outside the shared area.
    #[test]
    fn no_host_makes_the_server_reach_outside_the_area(
        steps in proptest::collection::vec(
            (any::<u16>(), any::<u64>(), any::<u32>(), any::<u32>(), 0u32..64, any::<bool>(), any::<u8>()),
            1..40,
        ),
    ) {
        let mut bench = Bench::ready();
        let start = FakeHost::BASE + SHARED as u64;
        let area = start..start + 0x20_0000;
        for (number, value, argument, argument2, length, near, damage) in steps {
            let value = if near { AREA + value % 0x20_0000 } else { value };
            let number = if damage & 8 == 0 { number % 66 } else { number };
            bench.host.put(PACKET, Packet::request(number, value, argument, argument2).as_bytes());
            let next = (bench.index + 1) & 8191;
            match damage % 8 {
                0 => bench.submit_entry(value, length, next),
                1 => bench.submit_entry(at(PACKET), length, next ^ argument & 1),
                2 => bench.registers.set(cpu_if::PF_PQ_PI, argument & 0x3FFF),
                3 => bench.registers.set(cpu_if::CQ_LENGTH, argument),
                _ => bench.submit_entry(at(PACKET), 24 + length, next),
            }
            let _ = bench.interrupt(interrupt::PI_UPDATE);
            if !bench.server.is_ready() {
                bench.index = 0;
                bench.registers.set(cpu_if::PF_PQ_PI, 0);
                bench.registers.set(cpu_if::CQ_LENGTH, 0x20_0000);
                bench.handshake();
            }
            prop_assert!(
                bench.host.writes.iter().all(|(at, bytes, _)| area.contains(at) && at + *bytes as u64 <= area.end)
            );
        }
    }
}
