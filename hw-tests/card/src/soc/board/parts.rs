//! The parts on the board-management bus, register by register, as their data sheets describe them.

use super::{EEPROM_BYTES, World};

/// A part on the bus. `index` is its number among its like.
pub trait Part {
    /// The part was addressed: to be written, or to be read.
    fn start(&mut self, read: bool);
    /// Takes a byte; false when it is not acknowledged.
    fn write(&mut self, index: usize, byte: u8, world: &mut World) -> bool;
    /// Gives the next byte.
    fn read(&mut self, index: usize, world: &World) -> u8;
}

/// Registers of 16 bits behind a pointer: the first byte written selects, two more write, reads go high byte first.
#[derive(Debug, Default)]
struct Pointer {
    register: u8,
    written: usize,
    high: u8,
    read: usize,
}

impl Pointer {
    fn start(&mut self) {
        self.written = 0;
        self.read = 0;
    }

    /// Takes a byte; the register and its new value when the value is complete.
    fn write(&mut self, byte: u8) -> Option<(u8, u16)> {
        self.written += 1;
        match self.written {
            1 => self.register = byte,
            2 => self.high = byte,
            3 => return Some((self.register, u16::from(self.high) << 8 | u16::from(byte))),
            _ => {}
        }
        None
    }

    fn read(&mut self, value: u16) -> u8 {
        let byte = if self.read.is_multiple_of(2) { value >> 8 } else { value };
        self.read += 1;
        byte as u8
    }
}

/// PCT2075, a successor of the LM75: 11 bits, 0.125 degrees (data sheet 8.4).
#[derive(Debug)]
pub struct Thermometer {
    pointer: Pointer,
    configuration: u8,
    hysteresis: u16,
    overtemperature: u16,
}

impl Default for Thermometer {
    fn default() -> Self {
        Self { pointer: Pointer::default(), configuration: 0, hysteresis: 75 << 8, overtemperature: 80 << 8 }
    }
}

impl Part for Thermometer {
    fn start(&mut self, _read: bool) {
        self.pointer.start();
    }

    fn write(&mut self, _index: usize, byte: u8, _world: &mut World) -> bool {
        if self.pointer.written == 1 && self.pointer.register == 1 {
            self.configuration = byte;
        }
        match self.pointer.write(byte) {
            Some((2, value)) => self.hysteresis = value & 0xFF80,
            Some((3, value)) => self.overtemperature = value & 0xFF80,
            _ => {}
        }
        true
    }

    fn read(&mut self, index: usize, world: &World) -> u8 {
        let value = match self.pointer.register {
            0 => {
                let steps = world.temperatures[index].clamp(-55_000, 127_875).div_euclid(125);
                (steps as u16) << 5
            }
            1 => u16::from(self.configuration) * 0x0101,
            2 => self.hysteresis,
            3 => self.overtemperature,
            _ => 0xFFFF,
        };
        self.pointer.read(value)
    }
}

/// Shunt of every monitor, micro-ohms.
const SHUNT: u64 = 2_000;

/// INA226 (data sheet 7.6): shunt voltage in 2.5 uV, bus voltage in 1.25 mV; current and power follow from the calibration.
#[derive(Debug)]
pub struct PowerMonitor {
    pointer: Pointer,
    configuration: u16,
    calibration: u16,
    mask: u16,
    alert: u16,
}

impl Default for PowerMonitor {
    fn default() -> Self {
        Self { pointer: Pointer::default(), configuration: 0x4127, calibration: 0, mask: 0, alert: 0 }
    }
}

impl Part for PowerMonitor {
    fn start(&mut self, _read: bool) {
        self.pointer.start();
    }

    fn write(&mut self, _index: usize, byte: u8, _world: &mut World) -> bool {
        match self.pointer.write(byte) {
            Some((0, value)) if value >> 15 == 1 => *self = Self::default(),
            Some((0, value)) => self.configuration = value,
            Some((5, value)) => self.calibration = value & 0x7FFF,
            Some((6, value)) => self.mask = value,
            Some((7, value)) => self.alert = value,
            _ => {}
        }
        true
    }

    fn read(&mut self, index: usize, world: &World) -> u8 {
        let rail = world.rails[index];
        let shunt = (u64::from(rail.milliamperes) * SHUNT / 2500).min(0x7FFF);
        let bus = (u64::from(rail.millivolts) * 4 / 5).min(0x7FFF);
        let current = (shunt * u64::from(self.calibration) / 2048).min(0x7FFF);
        let value = match self.pointer.register {
            0 => self.configuration,
            1 => shunt as u16,
            2 => bus as u16,
            3 => (current * bus / 20_000).min(0xFFFF) as u16,
            4 => current as u16,
            5 => self.calibration,
            6 => self.mask,
            7 => self.alert,
            0xFE => 0x5449,
            0xFF => 0x2260,
            _ => 0xFFFF,
        };
        self.pointer.read(value)
    }
}

/// Bytes of a page of the EEPROM: writes wrap inside.
const PAGE: usize = 8;

/// 24C02: one address byte, then data; reads go on from there.
#[derive(Debug, Default)]
pub struct Eeprom {
    address: usize,
    written: usize,
}

impl Part for Eeprom {
    fn start(&mut self, read: bool) {
        if !read {
            self.written = 0;
        }
    }

    fn write(&mut self, _index: usize, byte: u8, world: &mut World) -> bool {
        if self.written == 0 {
            self.address = usize::from(byte);
        } else {
            world.eeprom[self.address] = byte;
            self.address = self.address / PAGE * PAGE + (self.address + 1) % PAGE;
        }
        self.written += 1;
        true
    }

    fn read(&mut self, _index: usize, world: &World) -> u8 {
        let byte = world.eeprom[self.address];
        self.address = (self.address + 1) % EEPROM_BYTES;
        byte
    }
}
