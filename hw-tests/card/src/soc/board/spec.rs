//! What can be injected, as text: `temp1=85000,curr1=20000,stuck=1`.
//!
//! Names and units are those of Linux hwmon where there is one, so that what is injected can be compared with what the host
//! shows.

use std::str::FromStr;

use super::{RAILS, TEMPERATURES, World};

/// One change of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// `tempN` (1, 2): millidegrees Celsius.
    Temperature {
        /// Sensor, from 0.
        index: usize,
        /// Millidegrees.
        value: i32,
    },
    /// `inN` (0, 1): millivolts of a rail.
    Voltage {
        /// Rail, from 0.
        index: usize,
        /// Millivolts.
        value: u32,
    },
    /// `currN` (1, 2): milliamperes of a rail.
    Current {
        /// Rail, from 0.
        index: usize,
        /// Milliamperes.
        value: u32,
    },
    /// `stuck`: 1 somebody holds the bus, 0 nobody does.
    Stuck(bool),
    /// `silent`: the part at this address does not acknowledge. `answers`: it does again.
    Silent {
        /// Address of the part, 0 to 0x7F.
        address: u8,
        /// Does not acknowledge.
        silent: bool,
    },
}

impl Injection {
    /// Parses a list of changes, separated by commas.
    ///
    /// # Errors
    /// Words for a person: which change is wrong, and what is possible.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        text.split(',').filter(|part| !part.trim().is_empty()).map(Self::from_str).collect()
    }

    /// Makes the change.
    pub fn apply(self, world: &mut World) {
        match self {
            Self::Temperature { index, value } => {
                if let Some(temperature) = world.temperatures.get_mut(index) {
                    *temperature = value;
                }
            }
            Self::Voltage { index, value } => {
                if let Some(rail) = world.rails.get_mut(index) {
                    rail.millivolts = value;
                }
            }
            Self::Current { index, value } => {
                if let Some(rail) = world.rails.get_mut(index) {
                    rail.milliamperes = value;
                }
            }
            Self::Stuck(stuck) => world.stuck = stuck,
            Self::Silent { address, silent } => {
                let bit = 1u128 << (address & 0x7F);
                world.silent = if silent { world.silent | bit } else { world.silent & !bit };
            }
        }
    }
}

/// A number, decimal or with `0x`.
fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{text:?}: {what}; possible are temp1, temp2 (millidegrees, -55000 to 127875), \
            in0, in1 (millivolts, 0 to 36000), curr1, curr2 (milliamperes, 0 to 40000), stuck (0 or 1), silent and answers \
            (address of a part)"
            )
        };
        let (name, value) = text.trim().split_once('=').ok_or_else(|| wrong("a change looks like name=value"))?;
        let value = number(value).ok_or_else(|| wrong("that is no number"))?;
        let within = |low: i64, high: i64| {
            if (low..=high).contains(&value) { Ok(value) } else { Err(wrong("the value is out of range")) }
        };
        let index = |prefix: &str, first: usize, count: usize| {
            let number: usize = name.strip_prefix(prefix)?.parse().ok()?;
            number.checked_sub(first).filter(|index| *index < count)
        };
        Ok(match name {
            "stuck" => Self::Stuck(within(0, 1)? == 1),
            "silent" | "answers" => Self::Silent { address: within(0, 0x7F)? as u8, silent: name == "silent" },
            _ => {
                if let Some(index) = index("temp", 1, TEMPERATURES) {
                    Self::Temperature { index, value: within(-55_000, 127_875)? as i32 }
                } else if let Some(index) = index("in", 0, RAILS) {
                    Self::Voltage { index, value: within(0, 36_000)? as u32 }
                } else if let Some(index) = index("curr", 1, RAILS) {
                    Self::Current { index, value: within(0, 40_000)? as u32 }
                } else {
                    return Err(wrong("there is no such value"));
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_changes_is_parsed_and_applied() {
        let mut world = World::default();
        let changes = Injection::parse_list("temp2=-1500, in0=11800,curr2=0x100,stuck=1,silent=0x48").unwrap();
        changes.into_iter().for_each(|change| change.apply(&mut world));
        assert_eq!(world.temperatures, [45_000, -1_500]);
        assert_eq!((world.rails[0].millivolts, world.rails[1].milliamperes), (11_800, 256));
        assert!(world.stuck && world.silent == 1 << 0x48);
        for change in Injection::parse_list("stuck=0,answers=0x48").unwrap() {
            change.apply(&mut world);
        }
        assert!(!world.stuck && world.silent == 0);
    }

    #[test]
    fn a_wrong_change_is_named() {
        for text in [
            "temp1",
            "temp0=1",
            "temp3=1",
            "in2=1",
            "curr0=1",
            "temp1=warm",
            "temp1=200000",
            "in0=-1",
            "fan1=3",
            "stuck=2",
            "silent=0x80",
        ] {
            let error = Injection::parse_list(text).unwrap_err();
            assert!(error.contains(text) && error.contains("possible are"), "{error}");
        }
        assert_eq!(Injection::parse_list(""), Ok(vec![]));
    }
}
