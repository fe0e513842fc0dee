//! Telemetry of the emulated board: what CPUCP tells is what the parts on the board-management bus say.
//!
//! The parts are read through existing drivers for them (`lm75`, `ina226`, `eeprom24x`). This module owns which part is which
//! sensor, its limits, and what is counted in firmware: highest values, offsets, energy. It makes nothing up: a part that does
//! not answer is a fault in the answer to the host.

use coxswain_abi::cpucp::sensor_attribute as attribute;
use coxswain_core::cpucp::telemetry::{Access, PcieDirection, SensorKind, Telemetry, TelemetryError};
use coxswain_core::ports::{Clock, PostedWrites, Registers};
use eeprom24x::{Eeprom24x, SlaveAddr};
use embedded_hal::i2c::I2c;
use ina226::INA226;
use lm75::Lm75;

use crate::i2c::{Bus, BusError, Health};

/// Number of the board-management bus in I2C requests.
pub const BUS: u8 = 0;
/// EEPROM address.
const EEPROM: u8 = 0x50;
/// Bytes of the EEPROM.
const EEPROM_BYTES: usize = 256;
/// Calibration of the power monitors: with a shunt of 2 mOhm one step of current is 1.25 mA, one of power 31.25 mW
/// (INA226 data sheet 7.5).
const CALIBRATION: u16 = 2048;

/// Where a sensor's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A PCT2075 at this address.
    Thermometer(u8),
    /// Bus voltage of an INA226.
    Voltage(u8),
    /// Current of an INA226.
    Current(u8),
    /// Power of an INA226.
    Power(u8),
}

/// A sensor of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sensor {
    kind: SensorKind,
    source: Source,
    /// Limits in the kind's unit: lower (voltage, current), upper, critical (temperature).
    limits: [i64; 3],
}

/// The board's sensors in list order.
const SENSORS: [Sensor; 6] = [
    Sensor { kind: SensorKind::Temperature, source: Source::Thermometer(0x48), limits: [0, 90_000, 105_000] },
    Sensor { kind: SensorKind::Temperature, source: Source::Thermometer(0x49), limits: [0, 95_000, 110_000] },
    Sensor { kind: SensorKind::Voltage, source: Source::Voltage(0x40), limits: [10_800, 13_200, 0] },
    Sensor { kind: SensorKind::Voltage, source: Source::Voltage(0x41), limits: [700, 950, 0] },
    Sensor { kind: SensorKind::Current, source: Source::Current(0x40), limits: [0, 40_000, 0] },
    Sensor { kind: SensorKind::Power, source: Source::Power(0x40), limits: [0, 350_000, 0] },
];

/// What a bus error means in the answer to the host: the part did not answer.
fn fault(_: BusError) -> TelemetryError {
    TelemetryError::Fault
}

/// Millidegrees of a PCT2075.
fn millidegrees<I: I2c>(bus: I, address: u8) -> Result<i64, TelemetryError> {
    // 0.125 degrees a step: the product is exact.
    let degrees = Lm75::new_pct2075(bus, address).read_temperature().map_err(|_| TelemetryError::Fault)?;
    Ok((degrees * 1000.0) as i64)
}

/// Millivolts, milliamperes or milliwatts of an INA226.
fn measure<I: I2c<Error = E>, E>(bus: I, source: Source) -> Result<i64, E> {
    let calibrated = |bus, address| {
        let mut part = INA226::new(bus, address);
        // A part that lost its supply has lost its calibration, and would say 0.
        part.set_callibration_raw(CALIBRATION).map(|()| part)
    };
    match source {
        Source::Voltage(address) => Ok(i64::from(INA226::new(bus, address).bus_voltage_raw()?) * 5 / 4),
        Source::Current(address) => Ok(i64::from(calibrated(bus, address)?.current_raw()?) * 5 / 4),
        Source::Power(address) => Ok(i64::from(calibrated(bus, address)?.power_raw()?) * 125 / 4),
        // Not measured by this part.
        Source::Thermometer(_) => Ok(0),
    }
}

/// The value of a source on any bus, in the unit of its kind.
///
/// # Errors
/// [`TelemetryError::Fault`] when the part does not answer.
fn read_source<I: I2c>(bus: I, source: Source) -> Result<i64, TelemetryError> {
    match source {
        Source::Thermometer(address) => millidegrees(bus, address),
        _ => measure(bus, source).map_err(|_| TelemetryError::Fault),
    }
}

/// What firmware keeps about a sensor.
#[derive(Debug, Clone, Copy, Default)]
struct History {
    offset: i64,
    highest: Option<i64>,
}

/// Telemetry from the parts of the board; `clock` bounds the waits for them.
#[derive(Debug)]
pub struct BoardTelemetry<C> {
    clock: C,
    health: Health,
    history: [History; SENSORS.len()],
    leds: u8,
    /// Energy in microjoule until the last sample, and when and how much power that was.
    energy: u64,
    sampled: Option<(u64, u64)>,
}

impl<C: Clock> BoardTelemetry<C> {
    /// Telemetry that has measured nothing yet.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self { clock, health: Health::default(), history: Default::default(), leds: 0, energy: 0, sampled: None }
    }

    /// What became of the transfers so far.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    fn bus<'a, 'b, R: Registers, P: PostedWrites>(
        &'a mut self,
        access: &'a mut Access<'b, R, P>,
    ) -> Bus<'a, 'b, R, P, C> {
        Bus::new(access, &self.clock, &mut self.health)
    }

    fn find(kind: SensorKind, index: u16) -> Result<(usize, Sensor), TelemetryError> {
        let mut same = SENSORS.into_iter().enumerate().filter(|(_, sensor)| sensor.kind == kind);
        same.nth(usize::from(index)).ok_or(TelemetryError::NoSuch)
    }

    /// Measures, and counts the value for the history.
    fn sample<R: Registers, P: PostedWrites>(
        &mut self,
        (position, sensor): (usize, Sensor),
        access: &mut Access<'_, R, P>,
    ) -> Result<i64, TelemetryError> {
        let measured = read_source(self.bus(access), sensor.source)?;
        let Some(history) = self.history.get_mut(position) else { return Ok(measured) };
        let value = measured.saturating_add(history.offset);
        history.highest = Some(history.highest.map_or(value, |highest| highest.max(value)));
        Ok(value)
    }

    fn highest<R: Registers, P: PostedWrites>(
        &mut self,
        found: (usize, Sensor),
        access: &mut Access<'_, R, P>,
    ) -> Result<i64, TelemetryError> {
        let value = self.sample(found, access)?;
        Ok(self.history.get(found.0).and_then(|history| history.highest).unwrap_or(value))
    }

    fn reset_history(&mut self, position: usize) {
        if let Some(history) = self.history.get_mut(position) {
            history.highest = None;
        }
    }
}

impl<C: Clock> Telemetry for BoardTelemetry<C> {
    fn sensor(&self, position: usize) -> Option<(SensorKind, u32)> {
        let bits = |attributes: &[u16]| attributes.iter().fold(0, |bits, attribute| bits | 1 << attribute);
        let kind = SENSORS.get(position)?.kind;
        let flags = match kind {
            SensorKind::Temperature => bits(&[
                attribute::INPUT,
                attribute::TEMPERATURE_MAX,
                attribute::TEMPERATURE_CRIT,
                attribute::TEMPERATURE_OFFSET,
                attribute::TEMPERATURE_HIGHEST,
                attribute::TEMPERATURE_RESET_HISTORY,
            ]),
            SensorKind::Power => {
                bits(&[attribute::POWER_INPUT, attribute::POWER_INPUT_HIGHEST, attribute::POWER_RESET_HISTORY])
            }
            _ => {
                bits(&[attribute::INPUT, attribute::MIN, attribute::MAX, attribute::HIGHEST, attribute::RESET_HISTORY])
            }
        };
        Some((kind, flags))
    }

    fn read<R: Registers, P: PostedWrites>(
        &mut self,
        kind: SensorKind,
        index: u16,
        attribute: u16,
        access: &mut Access<'_, R, P>,
    ) -> Result<i64, TelemetryError> {
        let found @ (position, sensor) = Self::find(kind, index)?;
        let [min, max, critical] = sensor.limits;
        match (kind, attribute) {
            (SensorKind::Power, attribute::POWER_INPUT_MILLIWATT) => self.sample(found, access),
            (SensorKind::Power, attribute::POWER_INPUT) => Ok(self.sample(found, access)?.saturating_mul(1000)),
            (SensorKind::Power, attribute::POWER_INPUT_HIGHEST) => {
                Ok(self.highest(found, access)?.saturating_mul(1000))
            }
            // The driver resets the power history with a POWER_GET (`cpucp.md` 8.4).
            (SensorKind::Power, attribute::POWER_RESET_HISTORY) => {
                self.reset_history(position);
                Ok(0)
            }
            (SensorKind::Power, _) => Err(TelemetryError::NotSupported),
            (_, attribute::INPUT) => self.sample(found, access),
            (SensorKind::Temperature, attribute::TEMPERATURE_MAX) => Ok(max),
            (SensorKind::Temperature, attribute::TEMPERATURE_CRIT) => Ok(critical),
            (SensorKind::Temperature, attribute::TEMPERATURE_OFFSET) => {
                Ok(self.history.get(position).map_or(0, |history| history.offset))
            }
            (SensorKind::Temperature, attribute::TEMPERATURE_HIGHEST) => self.highest(found, access),
            (SensorKind::Voltage | SensorKind::Current, attribute::MIN) => Ok(min),
            (SensorKind::Voltage | SensorKind::Current, attribute::MAX) => Ok(max),
            (SensorKind::Voltage | SensorKind::Current, attribute::HIGHEST) => self.highest(found, access),
            _ => Err(TelemetryError::NotSupported),
        }
    }

    fn write<R: Registers, P: PostedWrites>(
        &mut self,
        kind: SensorKind,
        index: u16,
        attribute: u16,
        value: i64,
        _access: &mut Access<'_, R, P>,
    ) -> Result<(), TelemetryError> {
        let (position, _) = Self::find(kind, index)?;
        match (kind, attribute) {
            (SensorKind::Temperature, attribute::TEMPERATURE_OFFSET) => {
                if let Some(history) = self.history.get_mut(position) {
                    history.offset = value;
                }
                Ok(())
            }
            (SensorKind::Temperature, attribute::TEMPERATURE_RESET_HISTORY)
            | (SensorKind::Voltage | SensorKind::Current, attribute::RESET_HISTORY)
            | (SensorKind::Power, attribute::POWER_RESET_HISTORY) => {
                self.reset_history(position);
                Ok(())
            }
            _ => Err(TelemetryError::NotSupported),
        }
    }

    /// The sum over the samples: between two requests the power is taken to be the mean of their readings. Before the first
    /// request it is taken to be that of the first.
    fn energy_millijoule<R: Registers, P: PostedWrites>(
        &mut self,
        now_us: u64,
        access: &mut Access<'_, R, P>,
    ) -> Result<u64, TelemetryError> {
        let power = self.sample(Self::find(SensorKind::Power, 0)?, access)?;
        let milliwatts = u64::try_from(power).unwrap_or(0);
        let (then, before) = self.sampled.unwrap_or((0, milliwatts));
        let mean = before.saturating_add(milliwatts) / 2;
        // Milliwatts times milliseconds are microjoule.
        self.energy = self.energy.saturating_add((now_us.saturating_sub(then) / 1000).saturating_mul(mean));
        self.sampled = Some((now_us, milliwatts));
        Ok(self.energy / 1000)
    }

    /// No link counter exists; a constant 0 keeps the driver's PCI counters readable.
    fn pcie_throughput(&mut self, _direction: PcieDirection) -> Result<u64, TelemetryError> {
        Ok(0)
    }

    /// An emulated link does not replay.
    fn pcie_replays(&mut self) -> Result<u32, TelemetryError> {
        Ok(0)
    }

    fn set_led(&mut self, index: u32, on: bool) -> Result<(), TelemetryError> {
        if index > 2 {
            return Err(TelemetryError::NoSuch);
        }
        self.leds = self.leds & !(1 << index) | u8::from(on) << index;
        Ok(())
    }

    fn i2c_read<R: Registers, P: PostedWrites>(
        &mut self,
        bus: u8,
        address: u8,
        register: u8,
        length: u8,
        access: &mut Access<'_, R, P>,
    ) -> Result<u64, TelemetryError> {
        let mut value = [0; 8];
        let bytes = value.get_mut(..usize::from(length)).ok_or(TelemetryError::NoSuch)?;
        if bus != BUS || address > 0x7F {
            return Err(TelemetryError::NoSuch);
        }
        self.bus(access).write_read(address, &[register], bytes).map_err(fault)?;
        Ok(u64::from_le_bytes(value))
    }

    /// The EEPROM is not written: it says who the board is, and a request of a host is no reason to change that.
    fn i2c_write<R: Registers, P: PostedWrites>(
        &mut self,
        bus: u8,
        address: u8,
        register: u8,
        length: u8,
        value: u64,
        access: &mut Access<'_, R, P>,
    ) -> Result<(), TelemetryError> {
        if address == EEPROM {
            return Err(TelemetryError::NotSupported);
        }
        let mut bytes = [0; 9];
        let (first, rest) = bytes.split_at_mut(1);
        first.copy_from_slice(&[register]);
        rest.copy_from_slice(&value.to_le_bytes());
        let bytes = bytes.get(..usize::from(length).saturating_add(1)).ok_or(TelemetryError::NoSuch)?;
        if bus != BUS || address > 0x7F {
            return Err(TelemetryError::NoSuch);
        }
        self.bus(access).write(address, bytes).map_err(fault)
    }

    fn eeprom<R: Registers, P: PostedWrites>(
        &mut self,
        out: &mut [u8],
        access: &mut Access<'_, R, P>,
    ) -> Result<usize, TelemetryError> {
        let length = out.len().min(EEPROM_BYTES);
        let bytes = out.get_mut(..length).ok_or(TelemetryError::Fault)?;
        let mut part = Eeprom24x::new_24x02(self.bus(access), SlaveAddr::Default);
        part.read_data(0, bytes).map_err(|_| TelemetryError::Fault)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec;
    use std::vec::Vec;

    fn read(transactions: &[Transaction], source: Source) -> Result<i64, TelemetryError> {
        let mut mock = Mock::new(transactions);
        let value = read_source(&mut mock, source);
        mock.done();
        value
    }

    fn register(address: u8, register: u8, value: u16) -> Vec<Transaction> {
        vec![Transaction::write(address, vec![register]), Transaction::read(address, value.to_be_bytes().to_vec())]
    }

    /// Values of the PCT2075's data sheet, table 9.
    #[test]
    fn temperatures_are_those_of_the_data_sheet() {
        for (raw, millidegrees) in
            [(0x7F00, 127_000), (0x7DE0, 125_875), (0x1900, 25_000), (0x0020, 125), (0xFFE0, -125), (0xC900, -55_000)]
        {
            let transaction = Transaction::write_read(0x48, vec![0], u16::to_be_bytes(raw).to_vec());
            assert_eq!(read(&[transaction], Source::Thermometer(0x48)), Ok(millidegrees), "{raw:#x}");
        }
    }

    #[test]
    fn power_monitors_are_calibrated_before_current_and_power_are_read() {
        assert_eq!(read(&register(0x40, 2, 9_600), Source::Voltage(0x40)), Ok(12_000));
        let calibration = Transaction::write(0x40, vec![5, 8, 0]);
        let current = [vec![calibration.clone()], register(0x40, 4, 4_000)].concat();
        assert_eq!(read(&current, Source::Current(0x40)), Ok(5_000));
        let power = [vec![calibration], register(0x40, 3, 1_920)].concat();
        assert_eq!(read(&power, Source::Power(0x40)), Ok(60_000));
    }

    #[test]
    fn a_part_that_does_not_acknowledge_is_a_fault() {
        let silence = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        let temperature = Transaction::write_read(0x49, vec![0], vec![0, 0]).with_error(silence);
        assert_eq!(read(&[temperature], Source::Thermometer(0x49)), Err(TelemetryError::Fault));
        let calibration = Transaction::write(0x40, vec![5, 8, 0]).with_error(ErrorKind::Bus);
        assert_eq!(read(&[calibration], Source::Power(0x40)), Err(TelemetryError::Fault));
    }

    #[test]
    fn sensors_have_one_place_each() {
        let telemetry = BoardTelemetry::new(Stopped);
        let kinds: Vec<_> = (0..).map_while(|position| telemetry.sensor(position)).map(|(kind, _)| kind).collect();
        assert_eq!(kinds.len(), SENSORS.len());
        assert_eq!(BoardTelemetry::<Stopped>::find(SensorKind::Voltage, 1).map(|(position, _)| position), Ok(3));
        assert!(BoardTelemetry::<Stopped>::find(SensorKind::Fan, 0).is_err());
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now_us(&self) -> u64 {
            0
        }
    }
}
