//! What the emulated card says about itself, and the readings of its sensors.
//!
//! All of it is constant. What is measured comes from the board's parts ([`crate::telemetry`]); [`SENSORS`] and the EEPROM's
//! text stand for them where there are none.

use coxswain_abi::cpucp::Pll;
use coxswain_core::cpucp::identity::{Identity, PllData};
use coxswain_core::cpucp::telemetry::{ConstantSensor, SensorKind};

/// The emulated card.
pub const IDENTITY: Identity = Identity {
    card_name: "coxswain",
    kernel_version: concat!("Coxswain hl-gaudi-", env!("CARGO_PKG_VERSION"), "-fw-", env!("CARGO_PKG_VERSION"), " \n"),
    cpucp_version: concat!("hl-gaudi-", env!("CARGO_PKG_VERSION"), "-fw-", env!("CARGO_PKG_VERSION"), " "),
    fw_os_version: "bare metal\n",
    fuse_version: "none",
    thermal_version: "none\n",
    card_type: 1,
    card_location: 0,
    cpld: [0, 0],
    regulator_version: 0,
    eeprom: b"Coxswain emulated card\0\0",
    default_power_mw: 350_000,
    largest_power_mw: 500_000,
    plls: &[
        // Output 2 of the CPU PLL is the device time's frequency.
        PllData { pll: Pll::Cpu, outputs_mhz: [1500, 750, 500, 250], limit_hz: 1_500_000_000 },
        PllData { pll: Pll::Pci, outputs_mhz: [1000, 500, 250, 125], limit_hz: 1_000_000_000 },
        PllData { pll: Pll::Sram, outputs_mhz: [1100, 550, 275, 137], limit_hz: 1_100_000_000 },
        PllData { pll: Pll::Hbm, outputs_mhz: [1000, 500, 250, 125], limit_hz: 1_000_000_000 },
        PllData { pll: Pll::Dma, outputs_mhz: [1100, 550, 275, 137], limit_hz: 1_100_000_000 },
        PllData { pll: Pll::Mesh, outputs_mhz: [1100, 550, 275, 137], limit_hz: 1_100_000_000 },
        PllData { pll: Pll::Mme, outputs_mhz: [2200, 1100, 550, 275], limit_hz: 2_200_000_000 },
        PllData { pll: Pll::Tpc, outputs_mhz: [2200, 1100, 550, 275], limit_hz: 2_200_000_000 },
        PllData { pll: Pll::If, outputs_mhz: [1000, 500, 250, 125], limit_hz: 1_000_000_000 },
        PllData { pll: Pll::Nic, outputs_mhz: [0, 0, 0, 0], limit_hz: 0 },
    ],
};

/// A board without parts: readings of an idle card, constant because nothing is measured. The driver counts 60 W as idle, so the
/// utilization that it derives is 0 %.
pub const SENSORS: &[ConstantSensor] = &[
    ConstantSensor { kind: SensorKind::Temperature, value: 45_000, min: 0, max: 90_000, critical: 105_000 },
    ConstantSensor { kind: SensorKind::Temperature, value: 47_000, min: 0, max: 95_000, critical: 110_000 },
    ConstantSensor { kind: SensorKind::Voltage, value: 54_000, min: 44_000, max: 60_000, critical: 0 },
    ConstantSensor { kind: SensorKind::Voltage, value: 800, min: 700, max: 950, critical: 0 },
    ConstantSensor { kind: SensorKind::Current, value: 1_111, min: 0, max: 9_000, critical: 0 },
    ConstantSensor { kind: SensorKind::Power, value: 60_000, min: 0, max: 350_000, critical: 0 },
];
