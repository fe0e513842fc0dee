//! The board-management bus: the firmware's own bus driver and part drivers against the modelled controller and parts.
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::sync::Arc;

use coxswain_abi::cpucp::sensor_attribute as attribute;
use coxswain_abi::regs::{CFG_BASE, i2c as regs};
use coxswain_abi::soc::{Attributes, PostedWrite, ResetReason, core_block};
use coxswain_card::soc::SocOptions;
use coxswain_card::soc::board::World;
use coxswain_card::{Injection, Memories, Soc};
use coxswain_core::cpucp::telemetry::{Access, SensorKind, Telemetry, TelemetryError};
use coxswain_core::ports::{Clock, OneByOne, PostedWrites, Registers};
use coxswain_gaudi::i2c::{Bus, BusError, Health, PATIENCE_US, REST_US};
use coxswain_gaudi::telemetry::BoardTelemetry;
use embedded_hal::i2c::{I2c, Operation};

/// Registers as firmware sees them.
struct Shadow(Arc<Soc>);

impl Registers for Shadow {
    fn read(&self, offset: u32) -> u32 {
        self.0.host_read(offset)
    }
}

/// Core 0's posted-write ring.
struct Ring {
    memories: Arc<Memories>,
    soc: Arc<Soc>,
    producer: u32,
}

impl PostedWrites for Ring {
    type Burst<'a> = OneByOne<'a, Self>;

    fn burst<R>(&mut self, keep: usize, fill: impl FnOnce(&mut Self::Burst<'_>) -> R) -> R {
        let room = self.available().saturating_sub(keep);
        fill(&mut OneByOne { port: self, room })
    }

    fn available(&self) -> usize {
        core_block::POSTED_ENTRIES as usize
    }

    fn post(&mut self, write: PostedWrite) {
        let slot = core_block::offset(0)
            + core_block::POSTED_RING
            + 16 * u64::from(self.producer % core_block::POSTED_ENTRIES);
        for (number, word) in write.to_words().into_iter().enumerate() {
            self.memories.soc.write_u64(slot + 8 * number as u64, word).unwrap();
        }
        self.producer += 1;
    }

    fn flush(&mut self) {
        let place = core_block::offset(0) + core_block::POSTED_PRODUCER;
        self.memories.soc.store_release_u32(place, self.producer).unwrap();
        self.soc.kick(0);
    }
}

/// A clock that moves 100 us whenever somebody looks.
#[derive(Debug, Default)]
struct Ticking(Cell<u64>);

impl Clock for Ticking {
    fn now_us(&self) -> u64 {
        self.0.set(self.0.get() + 100);
        self.0.get()
    }
}

struct Setup {
    shadow: Shadow,
    ring: Ring,
    telemetry: BoardTelemetry<Ticking>,
}

fn setup() -> Setup {
    let memories = Arc::new(Memories::new(4096).unwrap());
    let soc = Soc::new(Arc::clone(&memories), SocOptions { lockstep: true, ..Default::default() });
    Setup {
        shadow: Shadow(Arc::clone(&soc)),
        ring: Ring { memories, soc, producer: 0 },
        telemetry: BoardTelemetry::new(Ticking::default()),
    }
}

impl Setup {
    fn change(&self, change: impl FnOnce(&mut World)) {
        self.shadow.0.change_board(change);
    }

    fn read(&mut self, kind: SensorKind, index: u16, attribute: u16) -> Result<i64, TelemetryError> {
        let mut access = Access { registers: &self.shadow, posts: &mut self.ring };
        self.telemetry.read(kind, index, attribute, &mut access)
    }

    fn inputs(&mut self) -> Vec<Result<i64, TelemetryError>> {
        [
            (SensorKind::Temperature, 0, attribute::INPUT),
            (SensorKind::Temperature, 1, attribute::INPUT),
            (SensorKind::Voltage, 0, attribute::INPUT),
            (SensorKind::Voltage, 1, attribute::INPUT),
            (SensorKind::Current, 0, attribute::INPUT),
            (SensorKind::Power, 0, attribute::POWER_INPUT),
        ]
        .into_iter()
        .map(|(kind, index, attribute)| self.read(kind, index, attribute))
        .collect()
    }
}

#[test]
fn every_sensor_says_what_the_world_is_like() {
    let mut setup = setup();
    assert_eq!(setup.inputs(), [45_000, 47_000, 12_000, 800, 5_000, 60_000_000].map(Ok));
    setup.change(|world| {
        world.temperatures = [-12_125, 99_875];
        world.rails[0].millivolts = 11_500;
        world.rails[0].milliamperes = 20_000;
        world.rails[1].millivolts = 905;
    });
    assert_eq!(setup.inputs(), [-12_125, 99_875, 11_500, 905, 20_000, 230_000_000].map(Ok));
}

#[test]
fn history_and_offset_are_counted_from_measured_values() {
    let mut setup = setup();
    let temperature = |setup: &mut Setup, attribute| setup.read(SensorKind::Temperature, 0, attribute).unwrap();
    setup.change(|world| world.temperatures[0] = 80_000);
    assert_eq!(temperature(&mut setup, attribute::INPUT), 80_000);
    setup.change(|world| world.temperatures[0] = 50_000);
    assert_eq!(temperature(&mut setup, attribute::TEMPERATURE_HIGHEST), 80_000);
    let mut access = Access { registers: &setup.shadow, posts: &mut setup.ring };
    let kind = SensorKind::Temperature;
    setup.telemetry.write(kind, 0, attribute::TEMPERATURE_RESET_HISTORY, 1, &mut access).unwrap();
    setup.telemetry.write(kind, 0, attribute::TEMPERATURE_OFFSET, -1_000, &mut access).unwrap();
    assert_eq!(temperature(&mut setup, attribute::TEMPERATURE_HIGHEST), 49_000);
    assert_eq!(temperature(&mut setup, attribute::INPUT), 49_000);
}

#[test]
fn energy_is_the_sum_of_measured_power() {
    let mut setup = setup();
    let energy = |setup: &mut Setup, seconds: u64| {
        let mut access = Access { registers: &setup.shadow, posts: &mut setup.ring };
        setup.telemetry.energy_millijoule(seconds * 1_000_000, &mut access).unwrap()
    };
    assert_eq!(energy(&mut setup, 10), 600_000, "60 W for 10 s");
    setup.change(|world| world.rails[0].milliamperes = 10_000);
    assert_eq!(energy(&mut setup, 12), 600_000 + 180_000, "90 W on average for 2 s");
}

#[test]
fn the_eeprom_is_read_whole_and_a_host_cannot_write_it() {
    let mut setup = setup();
    let mut expected = [0; 256];
    setup.change(|world| {
        for (index, byte) in world.eeprom.iter_mut().enumerate() {
            *byte = (index as u8).wrapping_mul(7) ^ 0x5A;
        }
        expected = world.eeprom;
    });
    let mut access = Access { registers: &setup.shadow, posts: &mut setup.ring };
    let mut bytes = [0; 256];
    assert_eq!(setup.telemetry.eeprom(&mut bytes, &mut access), Ok(256));
    assert_eq!(bytes, expected);
    assert_eq!(setup.telemetry.i2c_write(0, 0x50, 0, 1, 0, &mut access), Err(TelemetryError::NotSupported));
    assert_eq!(
        setup.telemetry.i2c_read(0, 0x50, 3, 2, &mut access),
        Ok(u64::from(expected[4]) << 8 | u64::from(expected[3]))
    );
    assert_eq!(setup.telemetry.i2c_read(1, 0x50, 3, 2, &mut access), Err(TelemetryError::NoSuch));
}

#[test]
fn raw_access_reaches_registers_of_the_parts() {
    let mut setup = setup();
    let mut access = Access { registers: &setup.shadow, posts: &mut setup.ring };
    assert_eq!(setup.telemetry.i2c_read(0, 0x40, 0xFE, 2, &mut access), Ok(0x4954), "'TI', high byte first");
    assert_eq!(setup.telemetry.i2c_write(0, 0x49, 3, 2, 0x0064, &mut access), Ok(()));
    assert_eq!(setup.telemetry.i2c_read(0, 0x49, 3, 2, &mut access), Ok(0x0064));
    assert_eq!(setup.telemetry.i2c_read(0, 0x20, 0, 1, &mut access), Err(TelemetryError::Fault), "nobody is there");
}

#[test]
fn a_silent_part_is_a_fault_and_the_others_go_on() {
    let mut setup = setup();
    for change in Injection::parse_list("silent=0x49,silent=0x40").unwrap() {
        setup.change(|world| change.apply(world));
    }
    let fault = Err(TelemetryError::Fault);
    assert_eq!(setup.inputs(), [Ok(45_000), fault, fault, Ok(800), fault, fault]);
    for change in Injection::parse_list("answers=0x49,answers=0x40").unwrap() {
        setup.change(|world| change.apply(world));
    }
    assert!(setup.inputs().iter().all(Result::is_ok));
}

#[test]
fn a_stuck_bus_costs_one_wait_then_nothing_and_comes_back() {
    let mut setup = setup();
    setup.change(|world| world.stuck = true);
    let mut clock = Ticking::default();
    let mut health = Health::default();
    let read = |setup: &mut Setup, clock: &Ticking, health: &mut Health| {
        let mut access = Access { registers: &setup.shadow, posts: &mut setup.ring };
        Bus::new(&mut access, clock, health).write_read(0x48, &[0], &mut [0; 2])
    };
    assert_eq!(read(&mut setup, &clock, &mut health), Err(BusError::Stuck));
    let waited = clock.0.get();
    assert!((PATIENCE_US..3 * PATIENCE_US).contains(&waited), "{waited} us");
    for _ in 0..100 {
        assert_eq!(read(&mut setup, &clock, &mut health), Err(BusError::Stuck));
    }
    assert!(clock.0.get() < waited + 100 * 200, "a bus that does not move is waited for once");
    assert_eq!(health.stuck, 1);
    setup.change(|world| world.stuck = false);
    clock.0.get_mut().clone_from(&(waited + REST_US + 1000));
    assert_eq!(read(&mut setup, &clock, &mut health), Ok(()));
}

#[test]
fn a_transfer_with_changes_of_direction_is_one_transfer() {
    let mut setup = setup();
    let (clock, mut health) = (Ticking::default(), Health::default());
    let mut access = Access { registers: &setup.shadow, posts: &mut setup.ring };
    let mut bus = Bus::new(&mut access, &clock, &mut health);
    let (mut first, mut second) = ([0; 3], [0; 1]);
    bus.transaction(
        0x50,
        &mut [
            Operation::Write(&[0]),
            Operation::Read(&mut first),
            Operation::Write(&[9]),
            Operation::Read(&mut second),
        ],
    )
    .unwrap();
    assert_eq!((&first, &second), (b"Cox", b"e"));
    assert_eq!(bus.transaction(0x50, &mut []), Ok(()));
    assert_eq!(bus.read(0x50, &mut [0; 257]), Err(BusError::TooLong));
}

#[test]
fn the_host_cannot_drive_the_bus_and_a_reset_ends_a_transfer() {
    let setup = setup();
    for (offset, value) in
        [(regs::ENABLE, 1), (regs::TAR, 0x50), (regs::DATA_CMD, 0), (regs::DATA_CMD, regs::DATA_READ)]
    {
        setup.shadow.0.host_write(offset, value);
    }
    assert_eq!(setup.shadow.0.host_read(regs::RXFLR), 0);
    assert_eq!(setup.shadow.0.host_read(regs::STATUS), 0);
    let mut ring = setup.ring;
    for (offset, value) in [(regs::ENABLE, 1), (regs::TAR, 0x50), (regs::DATA_CMD, 0)] {
        let address = CFG_BASE + u64::from(offset);
        ring.post(PostedWrite { address, data: value, attributes: Attributes::CPU });
    }
    ring.flush();
    assert_eq!(setup.shadow.0.host_read(regs::STATUS), regs::ACTIVITY);
    setup.shadow.0.reset_state(ResetReason::SoftwareAll);
    setup.shadow.0.out_of_reset();
    assert_eq!(setup.shadow.0.host_read(regs::STATUS), 0);
}
