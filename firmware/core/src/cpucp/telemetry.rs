//! The board's sensors, counters, LEDs and buses, as CPUCP asks for them.
//!
//! [`Telemetry`] is the port; drivers of real parts implement it. [`ConstantTelemetry`] stands in where there is no part to
//! ask: it answers from a table of constants and makes no attempt to look alive.

use coxswain_abi::cpucp::{sensor_attribute as attribute, sensor_type};

use crate::ports::{PostedWrites, Registers};

/// What a sensor measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorKind {
    /// Millidegrees Celsius.
    Temperature,
    /// Millivolts.
    Voltage,
    /// Milliamperes.
    Current,
    /// Milliwatts for attribute 8, microwatts for the others (`cpucp.md` 8.4).
    Power,
    /// Revolutions per minute.
    Fan,
    /// 0 to 255, or an enable code.
    Pwm,
}

impl SensorKind {
    /// The type in the sensor list.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Temperature => sensor_type::TEMPERATURE,
            Self::Voltage => sensor_type::VOLTAGE,
            Self::Current => sensor_type::CURRENT,
            Self::Power => sensor_type::POWER,
            Self::Fan => sensor_type::FAN,
            Self::Pwm => sensor_type::PWM,
        }
    }
}

/// Why telemetry has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryError {
    /// No such sensor, LED or register.
    NoSuch,
    /// Not something this board can do.
    NotSupported,
    /// The part did not answer.
    Fault,
}

/// Direction of PCIe traffic as seen from the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PcieDirection {
    /// Card to host.
    Transmit,
    /// Host to card.
    Receive,
}

/// How telemetry reaches the chip: registers to read, posted writes. Who posts looks first whether there is room.
#[derive(Debug)]
pub struct Access<'a, R, P> {
    /// Registers.
    pub registers: &'a R,
    /// Posted writes.
    pub posts: &'a mut P,
}

/// The board's sensors, counters, LEDs and buses. Calls are made between queue work: none may take longer than a few hundred
/// microseconds when its part answers, and a few milliseconds when none does.
pub trait Telemetry {
    /// Sensors in list order, at least one: kind, and a bit per attribute it has, in the numbers of Linux hwmon. `None`
    /// behind the last one. The n-th sensor of a kind has index n in [`Self::read`].
    fn sensor(&self, position: usize) -> Option<(SensorKind, u32)>;

    /// Reads attribute `attribute` of the `index`-th sensor of a kind.
    ///
    /// # Errors
    /// [`TelemetryError`] when there is no such value.
    fn read<R: Registers, P: PostedWrites>(
        &mut self,
        kind: SensorKind,
        index: u16,
        attribute: u16,
        access: &mut Access<'_, R, P>,
    ) -> Result<i64, TelemetryError>;

    /// Writes attribute `attribute` of the `index`-th sensor of a kind.
    ///
    /// # Errors
    /// [`TelemetryError`] when there is no such attribute, or it cannot be written.
    fn write<R: Registers, P: PostedWrites>(
        &mut self,
        kind: SensorKind,
        index: u16,
        attribute: u16,
        value: i64,
        access: &mut Access<'_, R, P>,
    ) -> Result<(), TelemetryError>;

    /// Energy in mJ used up to `now_us` after the start of the image.
    ///
    /// # Errors
    /// [`TelemetryError`] when the board does not measure it.
    fn energy_millijoule<R: Registers, P: PostedWrites>(
        &mut self,
        now_us: u64,
        access: &mut Access<'_, R, P>,
    ) -> Result<u64, TelemetryError>;

    /// PCIe throughput in KB/s.
    ///
    /// # Errors
    /// [`TelemetryError::NotSupported`] unless the board has the counter.
    fn pcie_throughput(&mut self, direction: PcieDirection) -> Result<u64, TelemetryError> {
        let _ = direction;
        Err(TelemetryError::NotSupported)
    }

    /// PCIe replays since the image started.
    ///
    /// # Errors
    /// [`TelemetryError::NotSupported`] unless the board has the counter.
    fn pcie_replays(&mut self) -> Result<u32, TelemetryError> {
        Err(TelemetryError::NotSupported)
    }

    /// Switches LED `index` (0..=2).
    ///
    /// # Errors
    /// [`TelemetryError::NotSupported`] unless the board has LEDs.
    fn set_led(&mut self, index: u32, on: bool) -> Result<(), TelemetryError> {
        let _ = (index, on);
        Err(TelemetryError::NotSupported)
    }

    /// Reads `length` (1..=8) bytes of a register on a board I2C bus, first byte in the low bits.
    ///
    /// # Errors
    /// [`TelemetryError::NotSupported`] unless the board has the bus; [`TelemetryError::Fault`] when the part did not answer.
    fn i2c_read<R: Registers, P: PostedWrites>(
        &mut self,
        bus: u8,
        address: u8,
        register: u8,
        length: u8,
        access: &mut Access<'_, R, P>,
    ) -> Result<u64, TelemetryError> {
        let _ = (bus, address, register, length, access);
        Err(TelemetryError::NotSupported)
    }

    /// Writes `length` (1..=8) bytes of `value` to a register on a board I2C bus.
    ///
    /// # Errors
    /// As [`Self::i2c_read`].
    fn i2c_write<R: Registers, P: PostedWrites>(
        &mut self,
        bus: u8,
        address: u8,
        register: u8,
        length: u8,
        value: u64,
        access: &mut Access<'_, R, P>,
    ) -> Result<(), TelemetryError> {
        let _ = (bus, address, register, length, value, access);
        Err(TelemetryError::NotSupported)
    }

    /// Reads the board's EEPROM from its start into `out`; returns how many bytes it has there, at most all of `out`.
    ///
    /// # Errors
    /// [`TelemetryError::NotSupported`] unless the board has one; [`TelemetryError::Fault`] when it did not answer.
    fn eeprom<R: Registers, P: PostedWrites>(
        &mut self,
        out: &mut [u8],
        access: &mut Access<'_, R, P>,
    ) -> Result<usize, TelemetryError> {
        let _ = (out, access);
        Err(TelemetryError::NotSupported)
    }
}

/// A sensor of [`ConstantTelemetry`]: its reading and its limits, in the kind's unit (power: milliwatts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConstantSensor {
    /// What it measures.
    pub kind: SensorKind,
    /// The reading.
    pub value: i64,
    /// Lower limit (voltage, current).
    pub min: i64,
    /// Upper limit (temperature, voltage, current).
    pub max: i64,
    /// Critical limit (temperature).
    pub critical: i64,
}

impl ConstantSensor {
    const fn flags(&self) -> u32 {
        match self.kind {
            SensorKind::Temperature => {
                1 << attribute::INPUT
                    | 1 << attribute::TEMPERATURE_MAX
                    | 1 << attribute::TEMPERATURE_CRIT
                    | 1 << attribute::TEMPERATURE_OFFSET
                    | 1 << attribute::TEMPERATURE_HIGHEST
                    | 1 << attribute::TEMPERATURE_RESET_HISTORY
            }
            SensorKind::Voltage | SensorKind::Current => {
                1 << attribute::INPUT
                    | 1 << attribute::MIN
                    | 1 << attribute::MAX
                    | 1 << attribute::HIGHEST
                    | 1 << attribute::RESET_HISTORY
            }
            SensorKind::Power => {
                1 << attribute::POWER_INPUT | 1 << attribute::POWER_INPUT_HIGHEST | 1 << attribute::POWER_RESET_HISTORY
            }
            SensorKind::Fan | SensorKind::Pwm => 1 << attribute::INPUT,
        }
    }
}

/// Most sensors of a [`ConstantTelemetry`].
pub const CONSTANT_SENSORS: usize = 16;

/// Telemetry from a table of constants. Only what the host changes moves: the offset of a temperature, the LEDs, and the
/// energy, which is the constant power times the time.
#[derive(Debug, Clone)]
pub struct ConstantTelemetry {
    sensors: &'static [ConstantSensor],
    /// Offset of the temperatures, by position in the table.
    offset: [i64; CONSTANT_SENSORS],
    /// Highest reading since the last reset of the history, by position in the table.
    highest: [i64; CONSTANT_SENSORS],
    leds: u8,
}

impl ConstantTelemetry {
    /// Telemetry from `sensors`; those beyond [`CONSTANT_SENSORS`] are left out.
    #[must_use]
    pub fn new(sensors: &'static [ConstantSensor]) -> Self {
        let mut highest = [0; CONSTANT_SENSORS];
        for (to, sensor) in highest.iter_mut().zip(sensors) {
            *to = sensor.value;
        }
        Self { sensors, offset: [0; CONSTANT_SENSORS], highest, leds: 0 }
    }

    /// LEDs that are on, bit per index.
    #[must_use]
    pub const fn leds(&self) -> u8 {
        self.leds
    }

    fn find(&self, kind: SensorKind, index: u16) -> Result<(usize, ConstantSensor), TelemetryError> {
        self.sensors
            .iter()
            .copied()
            .enumerate()
            .take(CONSTANT_SENSORS)
            .filter(|(_, sensor)| sensor.kind == kind)
            .nth(usize::from(index))
            .ok_or(TelemetryError::NoSuch)
    }

    /// The present reading, which also counts for the history.
    fn sample(&mut self, position: usize, sensor: ConstantSensor) -> i64 {
        let value = sensor.value.saturating_add(self.offset.get(position).copied().unwrap_or(0));
        if let Some(highest) = self.highest.get_mut(position) {
            *highest = value.max(*highest);
        }
        value
    }

    fn highest(&mut self, position: usize, sensor: ConstantSensor) -> i64 {
        self.sample(position, sensor);
        self.highest.get(position).copied().unwrap_or(sensor.value)
    }

    fn reset_history(&mut self, position: usize, sensor: ConstantSensor) {
        if let Some(highest) = self.highest.get_mut(position) {
            *highest = i64::MIN;
        }
        self.sample(position, sensor);
    }
}

impl Telemetry for ConstantTelemetry {
    fn sensor(&self, position: usize) -> Option<(SensorKind, u32)> {
        let sensor = self.sensors.get(position).filter(|_| position < CONSTANT_SENSORS)?;
        Some((sensor.kind, sensor.flags()))
    }

    fn read<R: Registers, P: PostedWrites>(
        &mut self,
        kind: SensorKind,
        index: u16,
        attribute: u16,
        _access: &mut Access<'_, R, P>,
    ) -> Result<i64, TelemetryError> {
        let (position, sensor) = self.find(kind, index)?;
        match (kind, attribute) {
            (SensorKind::Power, attribute::POWER_INPUT_MILLIWATT) => Ok(self.sample(position, sensor)),
            (SensorKind::Power, attribute::POWER_INPUT) => Ok(self.sample(position, sensor).saturating_mul(1000)),
            (SensorKind::Power, attribute::POWER_INPUT_HIGHEST) => {
                Ok(self.highest(position, sensor).saturating_mul(1000))
            }
            // The driver resets the power history with a POWER_GET (`cpucp.md` 8.4).
            (SensorKind::Power, attribute::POWER_RESET_HISTORY) => {
                self.reset_history(position, sensor);
                Ok(0)
            }
            (SensorKind::Power, _) => Err(TelemetryError::NotSupported),
            (_, attribute::INPUT) => Ok(self.sample(position, sensor)),
            (SensorKind::Temperature, attribute::TEMPERATURE_MAX) => Ok(sensor.max),
            (SensorKind::Temperature, attribute::TEMPERATURE_CRIT) => Ok(sensor.critical),
            (SensorKind::Temperature, attribute::TEMPERATURE_OFFSET) => {
                Ok(self.offset.get(position).copied().unwrap_or(0))
            }
            (SensorKind::Temperature, attribute::TEMPERATURE_HIGHEST) => Ok(self.highest(position, sensor)),
            (SensorKind::Voltage | SensorKind::Current, attribute::MIN) => Ok(sensor.min),
            (SensorKind::Voltage | SensorKind::Current, attribute::MAX) => Ok(sensor.max),
            (SensorKind::Voltage | SensorKind::Current, attribute::HIGHEST) => Ok(self.highest(position, sensor)),
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
        let (position, sensor) = self.find(kind, index)?;
        match (kind, attribute) {
            (SensorKind::Temperature, attribute::TEMPERATURE_OFFSET) => {
                if let Some(offset) = self.offset.get_mut(position) {
                    *offset = value;
                }
                Ok(())
            }
            (SensorKind::Temperature, attribute::TEMPERATURE_RESET_HISTORY)
            | (SensorKind::Voltage | SensorKind::Current, attribute::RESET_HISTORY)
            | (SensorKind::Power, attribute::POWER_RESET_HISTORY) => {
                self.reset_history(position, sensor);
                Ok(())
            }
            _ => Err(TelemetryError::NotSupported),
        }
    }

    fn energy_millijoule<R: Registers, P: PostedWrites>(
        &mut self,
        now_us: u64,
        _access: &mut Access<'_, R, P>,
    ) -> Result<u64, TelemetryError> {
        let (_, power) = self.find(SensorKind::Power, 0)?;
        let milliwatts = u64::try_from(power.value).map_err(|_| TelemetryError::Fault)?;
        Ok((now_us / 1000).saturating_mul(milliwatts) / 1000)
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
}
