//! Who we are: what INFO_GET, EEPROM_DATA_GET, PLL_INFO_GET and the version requests tell.

use coxswain_abi::comms::text_field;
use coxswain_abi::cpucp::{ComponentVersions, CpucpInfo, Pll, SENSORS, SensorEntry};
use zerocopy::FromZeros;
use zerocopy::little_endian::U32;

/// A PLL of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PllData {
    /// Which one.
    pub pll: Pll,
    /// Frequencies of its four outputs in MHz.
    pub outputs_mhz: [u16; 4],
    /// Highest frequency that can be set, Hz.
    pub limit_hz: u64,
}

/// What a board and its firmware say about themselves. Strings that the driver prints without a newline of its own end with
/// one (`cpucp.md` 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// hwmon device name: 1 to 15 characters without '-', '*' and white space.
    pub card_name: &'static str,
    /// Version of the control image as the "kernel"; ends with a newline.
    pub kernel_version: &'static str,
    /// Version of the CPUCP server.
    pub cpucp_version: &'static str,
    /// Version of the operating system; ends with a newline.
    pub fw_os_version: &'static str,
    /// Fuse version.
    pub fuse_version: &'static str,
    /// Thermal firmware version; ends with a newline.
    pub thermal_version: &'static str,
    /// 0 PCI card, 1 PMC card; the driver derives its default power limit from it.
    pub card_type: u32,
    /// Module id.
    pub card_location: u32,
    /// CPLD version and timestamp.
    pub cpld: [u32; 2],
    /// Voltage-regulator firmware version.
    pub regulator_version: u32,
    /// Contents of the board's EEPROM.
    pub eeprom: &'static [u8],
    /// Power limit in mW before the host sets one.
    pub default_power_mw: u64,
    /// Largest power limit in mW that the host may set.
    pub largest_power_mw: u64,
    /// PLLs; those that are missing do not exist.
    pub plls: &'static [PllData],
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Identity {
    /// The data of a PLL; `None` when the board has none.
    #[must_use]
    pub fn pll(&self, pll: Pll) -> Option<&PllData> {
        self.plls.iter().find(|data| data.pll == pll)
    }

    /// The frequency of output 0 per PLL of [`Pll::ALL`], in Hz; 0 for a PLL that does not exist.
    #[must_use]
    pub fn frequencies(&self) -> [u64; 10] {
        Pll::ALL.map(|pll| {
            let megahertz = self.pll(pll).map_or(0, |data| data.outputs_mhz[0]);
            u64::from(megahertz) * 1_000_000
        })
    }

    /// Fills in the answer to INFO_GET. Sensors beyond [`SENSORS`] are left out.
    pub(super) fn info(&self, sensors: impl Iterator<Item = SensorEntry>) -> CpucpInfo {
        let mut info = CpucpInfo::new_zeroed();
        for (to, from) in info.sensors.iter_mut().take(SENSORS).zip(sensors) {
            *to = from;
        }
        info.kernel_version = text_field(self.kernel_version);
        info.card_type = U32::new(self.card_type);
        info.card_location = U32::new(self.card_location);
        info.cpld_version = U32::new(self.cpld[0]);
        info.cpld_timestamp = U32::new(self.cpld[1]);
        info.infineon_version = U32::new(self.regulator_version);
        info.fuse_version = text_field(self.fuse_version);
        info.thermal_version = text_field(self.thermal_version);
        info.cpucp_version = text_field(self.cpucp_version);
        info.card_name = text_field(self.card_name);
        info.fw_os_version = text_field(self.fw_os_version);
        for data in self.plls {
            let bit = data.pll as u16;
            if let Some(byte) = info.pll_map.get_mut(usize::from(bit / 8)) {
                *byte |= 1 << (bit % 8);
            }
        }
        info
    }

    /// Fills in the answer to the version request: one component without modules.
    pub(super) fn versions(&self) -> ComponentVersions {
        let mut versions = ComponentVersions::new_zeroed();
        let size = size_of::<ComponentVersions>() as u16;
        versions.struct_size.set(size);
        versions.modules_offset.set(size);
        versions.component = text_field(VERSION);
        versions.fw_os = text_field(self.fw_os_version.trim_ascii_end());
        versions.name = text_field("coxswain");
        versions
    }
}
