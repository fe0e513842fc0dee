//! The board around the chip: what is measured, and the parts on the board-management bus that measure it.
//!
//! For: injecting what sensors see. Owns: temperatures, rails, the EEPROM's bytes, the bus's health. Never: computes what a
//! host is shown; parts answer with register values as their data sheets say.
//!
//! | Address | Part | Measures |
//! |---|---|---|
//! | 0x40 | INA226, 2 mOhm shunt | 12 V input rail |
//! | 0x41 | INA226, 2 mOhm shunt | core rail |
//! | 0x48 | PCT2075 | board temperature |
//! | 0x49 | PCT2075 | die temperature |
//! | 0x50 | 24C02, 256 bytes | the board's identity |

mod parts;
mod spec;

pub use spec::Injection;

use parts::{Eeprom, Part, PowerMonitor, Thermometer};

/// Temperature sensors.
pub const TEMPERATURES: usize = 2;
/// Rails with a power monitor.
pub const RAILS: usize = 2;
/// Bytes of the EEPROM.
pub const EEPROM_BYTES: usize = 256;

/// A supply rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rail {
    /// Millivolts, 0 to 36 000.
    pub millivolts: u32,
    /// Milliamperes, 0 to 40 000.
    pub milliamperes: u32,
}

/// The board as the world makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Millidegrees Celsius: board, die.
    pub temperatures: [i32; TEMPERATURES],
    /// 12 V input, core.
    pub rails: [Rail; RAILS],
    /// Contents of the EEPROM.
    pub eeprom: [u8; EEPROM_BYTES],
    /// Somebody holds a line of the bus: nothing moves.
    pub stuck: bool,
    /// Parts (by address, bit n) that do not acknowledge.
    pub silent: u128,
}

impl Default for World {
    /// An idle card: the driver counts 60 W as idle.
    fn default() -> Self {
        let mut eeprom = [0xFF; EEPROM_BYTES];
        let text = b"Coxswain emulated card\0\0part CXS-0001\0serial 00000001\0";
        eeprom[..text.len()].copy_from_slice(text);
        Self {
            temperatures: [45_000, 47_000],
            rails: [Rail { millivolts: 12_000, milliamperes: 5_000 }, Rail { millivolts: 800, milliamperes: 30_000 }],
            eeprom,
            stuck: false,
            silent: 0,
        }
    }
}

/// The board: the world, and the parts with the state of their registers.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub world: World,
    thermometers: [Thermometer; TEMPERATURES],
    monitors: [PowerMonitor; RAILS],
    eeprom: Eeprom,
}

impl Board {
    /// The part at a 7-bit address and the world it looks at; `None` when nobody answers there.
    pub fn part(&mut self, address: u8) -> Option<(&mut dyn Part, &mut World)> {
        if self.world.silent >> (address & 0x7F) & 1 != 0 {
            return None;
        }
        let part: &mut dyn Part = match address {
            0x40 | 0x41 => self.monitors.get_mut(usize::from(address & 1))?,
            0x48 | 0x49 => self.thermometers.get_mut(usize::from(address & 1))?,
            0x50 => &mut self.eeprom,
            _ => return None,
        };
        Some((part, &mut self.world))
    }
}
