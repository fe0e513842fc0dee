//! CPUCP: the control packets between the host and the control image.
//!
//! Layouts, opcodes and constants; [`Packet`] and [`BufferDescriptor`] encode and decode themselves. What a packet does is
//! in the control core.
//!
//! Sources: `cpucp.md` 1 (addresses), 3 (handshake), 5 (queue and packet), 6 (opcodes), 7 (structures), 8 (sensors), 9 (PLLs).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Opcodes (`cpucp.md` 6).
pub mod opcode {
    /// No access to the host after the answer.
    pub const DISABLE_PCI_ACCESS: u16 = 1;
    /// Access to the host is permitted.
    pub const ENABLE_PCI_ACCESS: u16 = 2;
    /// Temperature in millidegrees Celsius.
    pub const TEMPERATURE_GET: u16 = 3;
    /// Voltage in millivolts.
    pub const VOLTAGE_GET: u16 = 4;
    /// Current in milliamperes.
    pub const CURRENT_GET: u16 = 5;
    /// Fan speed in revolutions per minute.
    pub const FAN_SPEED_GET: u16 = 6;
    /// PWM value.
    pub const PWM_GET: u16 = 7;
    /// Sets a PWM value.
    pub const PWM_SET: u16 = 8;
    /// Sets a PLL's frequency in Hz.
    pub const FREQUENCY_SET: u16 = 9;
    /// A PLL's configured frequency in Hz.
    pub const FREQUENCY_GET: u16 = 10;
    /// Switches an LED.
    pub const LED_SET: u16 = 11;
    /// Writes on a board I2C bus.
    pub const I2C_WR: u16 = 12;
    /// Reads on a board I2C bus.
    pub const I2C_RD: u16 = 13;
    /// Writes [`super::CpucpInfo`] to a buffer.
    pub const INFO_GET: u16 = 14;
    /// Removed.
    pub const FLASH_PROGRAM: u16 = 15;
    /// The host has handled an event.
    pub const UNMASK_RAZWI_IRQ: u16 = 16;
    /// The host has handled several events.
    pub const UNMASK_RAZWI_IRQ_ARRAY: u16 = 17;
    /// Echo; also the heartbeat.
    pub const TEST: u16 = 18;
    /// A PLL's current frequency in Hz.
    pub const FREQUENCY_CURR_GET: u16 = 19;
    /// Power limit in mW.
    pub const MAX_POWER_GET: u16 = 20;
    /// Sets the power limit in mW.
    pub const MAX_POWER_SET: u16 = 21;
    /// Copies the EEPROM to a buffer.
    pub const EEPROM_DATA_GET: u16 = 22;
    /// Ethernet.
    pub const NIC_INFO_GET: u16 = 23;
    /// Sets a temperature attribute.
    pub const TEMPERATURE_SET: u16 = 24;
    /// Sets a voltage attribute.
    pub const VOLTAGE_SET: u16 = 25;
    /// Sets a current attribute.
    pub const CURRENT_SET: u16 = 26;
    /// PCIe throughput in KB/s.
    pub const PCIE_THROUGHPUT_GET: u16 = 27;
    /// PCIe replays.
    pub const PCIE_REPLAY_CNT_GET: u16 = 28;
    /// Energy since firmware start in mJ.
    pub const TOTAL_ENERGY_GET: u16 = 29;
    /// Four PLL outputs in MHz.
    pub const PLL_INFO_GET: u16 = 30;
    /// Ethernet.
    pub const NIC_STATUS: u16 = 31;
    /// Power in mW.
    pub const POWER_GET: u16 = 32;
    /// Writes [`super::HbmRowsInfo`] to a buffer.
    pub const HBM_REPLACED_ROWS_INFO_GET: u16 = 43;
    /// Count of rows that will be replaced.
    pub const HBM_PENDING_ROWS_STATUS: u16 = 44;
    /// Sets a power attribute.
    pub const POWER_SET: u16 = 45;
    /// Attestation.
    pub const SEC_ATTEST_GET: u16 = 49;
    /// Signed [`super::CpucpInfo`].
    pub const INFO_SIGNED_GET: u16 = 50;
    /// Writes the monitors of all sync managers to a buffer.
    pub const MONITOR_DUMP_GET: u16 = 52;
    /// Requests with a sub-index.
    pub const GENERIC_PASSTHROUGH: u16 = 56;
}

/// Return codes. To this driver every code but success is -EIO (`cpucp.md` 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ReturnCode {
    /// Done.
    Success = 0,
    /// Invalid.
    Invalid = 1,
    /// Something failed while processing.
    Fault = 2,
    /// Not an operation of this firmware.
    NotSupported = 3,
    /// Operation known, parameters not.
    BadParameters = 4,
}

/// Value of the fence when a packet is submitted.
pub const FENCE_SUBMITTED: u32 = 0xFFFF_FFFF;
/// Acknowledge value without PKT_PI_ACK_EN; also the value of the TEST packet.
pub const FENCE_ACKNOWLEDGED: u32 = 0xFE8C_E7A5;

/// Values of QUEUE_INIT (`cpucp.md` 3).
pub mod queue_init {
    /// Reset value.
    pub const NA: u32 = 0;
    /// The host has set up the queues; several MSI vectors (not this card).
    pub const READY_FOR_CP: u32 = 1;
    /// Firmware has taken the queues over.
    pub const READY_FOR_HOST: u32 = 2;
    /// The host has set up the queues; one MSI vector.
    pub const READY_FOR_CP_SINGLE_MSI: u32 = 3;
    /// Firmware refuses: a length is not acceptable.
    pub const LEN_NOT_POWER_OF_TWO_ERR: u32 = 4;
    /// Firmware refuses: an address is not acceptable.
    pub const ILLEGAL_Q_ADDR_ERR: u32 = 5;
}

/// Bit of an address that leads to the host.
pub const HOST_ADDRESS_BIT: u64 = 1 << 39;

/// Converts an address that the host gave us into a host bus address: bit 39 must be set and bits 63:40 clear; hardware
/// replaces bits 49:39 with CPU_MSB_ADDR, and host bus address 0 appears at device address 2^39 (`cpucp.md` 1). `None` for an
/// address of another form, or one that would lie below the host window.
#[must_use]
pub const fn host_bus_address(address: u64, cpu_msb_addr: u32) -> Option<u64> {
    if address >> 39 != 1 {
        return None;
    }
    let device = (cpu_msb_addr as u64 & 0x7FF) << 39 | address & (HOST_ADDRESS_BIT - 1);
    device.checked_sub(HOST_ADDRESS_BIT)
}

/// An entry of the packet queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BufferDescriptor {
    /// Address of the packet, in the form of [`host_bus_address`].
    pub pointer: U64,
    /// Bytes of the packet.
    pub length: U32,
    /// The producer index after this entry.
    pub ctl: U32,
}

/// A packet, and its answer in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Packet {
    /// Request value or buffer address; then the result.
    pub value: U64,
    /// Opcode in bits 28:16, return code in bits 15:12 of the answer.
    pub ctl: U32,
    /// [`FENCE_SUBMITTED`], then the acknowledge value.
    pub fence: U32,
    /// Sensor index and type, I2C arguments, PLL, index or buffer size, by opcode.
    pub argument: U32,
    /// Port, sub-index or nonce, by opcode.
    pub argument2: U32,
}

/// Bytes of a [`Packet`].
pub const PACKET_BYTES: usize = 24;
/// Offset of the control word in a packet.
pub const PACKET_CTL: u64 = 8;
/// Offset of the fence in a packet.
pub const PACKET_FENCE: u64 = 12;
/// Offset of the element count of an array packet.
pub const ARRAY_COUNT: u64 = 24;
/// Offset of the first element of an array packet.
pub const ARRAY_ELEMENTS: u64 = 28;

impl Packet {
    /// A request as the driver submits it.
    #[must_use]
    pub const fn request(opcode: u16, value: u64, argument: u32, argument2: u32) -> Self {
        Self {
            value: U64::new(value),
            ctl: U32::new((opcode as u32 & 0x1FFF) << 16),
            fence: U32::new(FENCE_SUBMITTED),
            argument: U32::new(argument),
            argument2: U32::new(argument2),
        }
    }

    /// The opcode, 0..=0x1FFF.
    #[must_use]
    pub fn opcode(&self) -> u16 {
        (self.ctl.get() >> 16) as u16 & 0x1FFF
    }

    /// The return code of an answer, 0..=15.
    #[must_use]
    pub fn return_code(&self) -> u32 {
        self.ctl.get() >> 12 & 0xF
    }

    /// The control word of the answer: the request's with `code` in it.
    #[must_use]
    pub fn ctl_with(&self, code: ReturnCode) -> u32 {
        self.ctl.get() & !0xF000 | (code as u32) << 12
    }

    /// Sensor index, or PLL of PLL_INFO_GET: the low half of the argument.
    #[must_use]
    pub fn sensor_index(&self) -> u16 {
        self.argument.get() as u16
    }

    /// Sensor attribute: the high half of the argument.
    #[must_use]
    pub fn sensor_attribute(&self) -> u16 {
        (self.argument.get() >> 16) as u16
    }

    /// I2C arguments: bus, address, register, length in bytes (0 = one byte, at most 8).
    #[must_use]
    pub fn i2c(&self) -> [u8; 4] {
        self.argument.get().to_le_bytes()
    }
}

/// A sensor in [`CpucpInfo`]; type and flags in the numbering of Linux hwmon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SensorEntry {
    /// A [`sensor_type`].
    pub kind: U32,
    /// Bit n = attribute n exists. The first entry with type 0 and flags 0 ends the list.
    pub flags: U32,
}

/// Sensor types: Linux hwmon numbering (`cpucp.md` 8.1).
pub mod sensor_type {
    /// Temperature.
    pub const TEMPERATURE: u32 = 1;
    /// Voltage.
    pub const VOLTAGE: u32 = 2;
    /// Current.
    pub const CURRENT: u32 = 3;
    /// Power.
    pub const POWER: u32 = 4;
    /// Fan.
    pub const FAN: u32 = 7;
    /// PWM.
    pub const PWM: u32 = 8;
}

/// Sensor attributes in Linux numbering: what packets carry while STS0 bit 26 is clear (`cpucp.md` 8.2).
pub mod sensor_attribute {
    /// Temperature, voltage, current: present value.
    pub const INPUT: u16 = 1;
    /// Voltage and current: lower limit.
    pub const MIN: u16 = 2;
    /// Voltage and current: upper limit.
    pub const MAX: u16 = 3;
    /// Voltage and current: highest value seen.
    pub const HIGHEST: u16 = 8;
    /// Voltage and current: forget the highest value.
    pub const RESET_HISTORY: u16 = 9;
    /// Temperature: upper limit.
    pub const TEMPERATURE_MAX: u16 = 7;
    /// Temperature: hysteresis of the upper limit.
    pub const TEMPERATURE_MAX_HYST: u16 = 8;
    /// Temperature: critical limit.
    pub const TEMPERATURE_CRIT: u16 = 9;
    /// Temperature: hysteresis of the critical limit.
    pub const TEMPERATURE_CRIT_HYST: u16 = 10;
    /// Temperature: offset added to the present value.
    pub const TEMPERATURE_OFFSET: u16 = 20;
    /// Temperature: highest value seen.
    pub const TEMPERATURE_HIGHEST: u16 = 23;
    /// Temperature: forget the highest value.
    pub const TEMPERATURE_RESET_HISTORY: u16 = 24;
    /// Power of sensor 0 in mW for the power and utilization ioctls, in any numbering.
    pub const POWER_INPUT_MILLIWATT: u16 = 8;
    /// Power in the unit of the hwmon file: microwatt.
    pub const POWER_INPUT: u16 = 9;
    /// Highest power seen, microwatt.
    pub const POWER_INPUT_HIGHEST: u16 = 10;
    /// Power: forget the highest value. The driver sends it as POWER_GET.
    pub const POWER_RESET_HISTORY: u16 = 12;
}

/// Most sensors that fit [`CpucpInfo`].
pub const SENSORS: usize = 128;

/// What the control image says about itself and its board, 1768 bytes (`cpucp.md` 7.1).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CpucpInfo {
    /// Sensors.
    pub sensors: [SensorEntry; SENSORS],
    /// Version of the kernel; shown without a newline of the driver's.
    pub kernel_version: [u8; 128],
    /// Zero.
    pub reserved1: U32,
    /// 0 PCI card, 1 PMC card.
    pub card_type: U32,
    /// Module id.
    pub card_location: U32,
    /// CPLD version.
    pub cpld_version: U32,
    /// Voltage-regulator firmware version.
    pub infineon_version: U32,
    /// Fuse version.
    pub fuse_version: [u8; 128],
    /// Thermal firmware version.
    pub thermal_version: [u8; 128],
    /// CPUCP version.
    pub cpucp_version: [u8; 128],
    /// Second-stage voltage-regulator firmware version.
    pub infineon_second_stage_version: U32,
    /// Not used on Gaudi.
    pub dram_size: U64,
    /// hwmon device name, without '-', '*' and white space.
    pub card_name: [u8; 16],
    /// Not used on Gaudi, as everything up to the health check.
    pub tpc_binning_mask: U64,
    /// Not used on Gaudi.
    pub decoder_binning_mask: U64,
    /// Not used on Gaudi.
    pub sram_binning: u8,
    /// Not used on Gaudi.
    pub dram_binning_mask: u8,
    /// Not used on Gaudi.
    pub memory_repair_flag: u8,
    /// Not used on Gaudi.
    pub edma_binning_mask: u8,
    /// Not used on Gaudi.
    pub xbar_binning_mask: u8,
    /// Not used on Gaudi.
    pub interposer_version: u8,
    /// Not used on Gaudi.
    pub substrate_version: u8,
    /// Must be 0: otherwise the driver's second heartbeat resets the card.
    pub eq_health_check_supported: u8,
    /// Not used on Gaudi.
    pub sec_info: [u8; 4],
    /// CPLD timestamp.
    pub cpld_timestamp: U32,
    /// Bit n: PLL n of the common numbering exists.
    pub pll_map: [u8; 16],
    /// Not used on Gaudi.
    pub mme_binning_mask: U64,
    /// Version of the firmware's operating system.
    pub fw_os_version: [u8; 128],
}

/// Bytes of [`CpucpInfo`].
pub const INFO_BYTES: usize = 1768;

/// Replaced HBM rows, 264 bytes (`cpucp.md` 7.5): count, then up to 32 rows of 8 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HbmRowsInfo {
    /// Rows that are valid.
    pub count: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// Rows.
    pub rows: [[u8; 8]; 32],
}

/// Versions of one component without modules, 296 bytes (`cpucp.md` 7.7).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ComponentVersions {
    /// Bytes of this structure with its modules.
    pub struct_size: U16,
    /// Offset of the modules.
    pub modules_offset: U16,
    /// Version of the component.
    pub component: [u8; 128],
    /// Version of its operating system.
    pub fw_os: [u8; 128],
    /// Its name.
    pub name: [u8; 32],
    /// Modules that follow.
    pub modules: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// [`Packet::argument2`] of GENERIC_PASSTHROUGH that asks for [`ComponentVersions`].
pub const PASSTHROUGH_VERSIONS: u32 = 0;

/// Bytes of the answer to MONITOR_DUMP_GET: per sync manager W_S, E_S, W_N, E_N five arrays of 512 words (address low and
/// high, data, arm, status; `cpucp.md` 7.6).
pub const MONITOR_DUMP_BYTES: usize = 4 * 5 * 512 * 4;

/// PLLs in the common numbering (`cpucp.md` 9), which packets carry with DYN_PLL_EN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Pll {
    /// Management CPU; output 2 clocks the device time.
    Cpu = 0,
    /// PCIe.
    Pci = 1,
    /// Ethernet.
    Nic = 2,
    /// DMA.
    Dma = 3,
    /// Mesh.
    Mesh = 4,
    /// Matrix engines: the clock that is shown to users.
    Mme = 5,
    /// Tensor cores.
    Tpc = 6,
    /// Interfaces.
    If = 7,
    /// SRAM.
    Sram = 8,
    /// HBM.
    Hbm = 10,
}

impl Pll {
    /// Every PLL of the card.
    pub const ALL: [Self; 10] =
        [Self::Cpu, Self::Pci, Self::Nic, Self::Dma, Self::Mesh, Self::Mme, Self::Tpc, Self::If, Self::Sram, Self::Hbm];

    /// Decodes a number of the common numbering.
    #[must_use]
    pub fn from_common(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|pll| *pll as u32 == number)
    }

    /// Decodes a number of Gaudi's own numbering, which packets carry without DYN_PLL_EN.
    #[must_use]
    pub const fn from_legacy(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Cpu,
            1 => Self::Pci,
            2 => Self::Sram,
            3 => Self::Hbm,
            4 => Self::Nic,
            5 => Self::Dma,
            6 => Self::Mesh,
            7 => Self::Mme,
            8 => Self::Tpc,
            9 => Self::If,
            _ => return None,
        })
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<BufferDescriptor>() == 16);
    assert!(size_of::<Packet>() == PACKET_BYTES);
    assert!(offset_of!(Packet, ctl) == PACKET_CTL as usize);
    assert!(offset_of!(Packet, fence) == PACKET_FENCE as usize);
    assert!(offset_of!(Packet, argument) == 0x10);
    assert!(offset_of!(Packet, argument2) == 0x14);
    assert!(size_of::<CpucpInfo>() == INFO_BYTES);
    assert!(offset_of!(CpucpInfo, kernel_version) == 0x400);
    assert!(offset_of!(CpucpInfo, card_type) == 0x484);
    assert!(offset_of!(CpucpInfo, card_location) == 0x488);
    assert!(offset_of!(CpucpInfo, cpld_version) == 0x48C);
    assert!(offset_of!(CpucpInfo, infineon_version) == 0x490);
    assert!(offset_of!(CpucpInfo, fuse_version) == 0x494);
    assert!(offset_of!(CpucpInfo, thermal_version) == 0x514);
    assert!(offset_of!(CpucpInfo, cpucp_version) == 0x594);
    assert!(offset_of!(CpucpInfo, infineon_second_stage_version) == 0x614);
    assert!(offset_of!(CpucpInfo, dram_size) == 0x618);
    assert!(offset_of!(CpucpInfo, card_name) == 0x620);
    assert!(offset_of!(CpucpInfo, tpc_binning_mask) == 0x630);
    assert!(offset_of!(CpucpInfo, sram_binning) == 0x640);
    assert!(offset_of!(CpucpInfo, eq_health_check_supported) == 0x647);
    assert!(offset_of!(CpucpInfo, sec_info) == 0x648);
    assert!(offset_of!(CpucpInfo, cpld_timestamp) == 0x64C);
    assert!(offset_of!(CpucpInfo, pll_map) == 0x650);
    assert!(offset_of!(CpucpInfo, mme_binning_mask) == 0x660);
    assert!(offset_of!(CpucpInfo, fw_os_version) == 0x668);
    assert!(size_of::<HbmRowsInfo>() == 264);
    assert!(size_of::<ComponentVersions>() == 296);
    assert!(offset_of!(ComponentVersions, fw_os) == 132);
    assert!(offset_of!(ComponentVersions, name) == 260);
    assert!(offset_of!(ComponentVersions, modules) == 292);
    assert!(MONITOR_DUMP_BYTES == 40960);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes by the tables of `cpucp.md` 5.1 and 5.3.
    #[test]
    fn packets_have_the_documented_bytes() {
        let packet = Packet::request(opcode::TEST, 0xFE8C_E7A5, 0x0009_0002, 7);
        assert_eq!(
            packet.as_bytes(),
            [0xA5, 0xE7, 0x8C, 0xFE, 0, 0, 0, 0, 0, 0, 0x12, 0, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 9, 0, 7, 0, 0, 0]
        );
        assert_eq!((packet.opcode(), packet.sensor_index(), packet.sensor_attribute()), (18, 2, 9));
        assert_eq!(packet.ctl_with(ReturnCode::NotSupported), 0x0012_3000);
        let answer = Packet { ctl: U32::new(packet.ctl_with(ReturnCode::BadParameters)), ..packet };
        assert_eq!((answer.opcode(), answer.return_code()), (18, 4));
        let entry = BufferDescriptor { pointer: U64::new(0x80_0001_1000), length: U32::new(24), ctl: U32::new(1) };
        assert_eq!(entry.as_bytes(), [0, 0x10, 1, 0, 0x80, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn host_addresses_follow_the_extension_register() {
        assert_eq!(host_bus_address(0x80_0000_0000, 1), Some(0));
        assert_eq!(host_bus_address(0x80_1234_5678, 1), Some(0x1234_5678));
        assert_eq!(host_bus_address(0xFF_FFFF_FFFF, 1), Some(0x7F_FFFF_FFFF));
        assert_eq!(host_bus_address(0x80_0000_1000, 2), Some(0x80_0000_1000));
        assert_eq!(host_bus_address(0x80_0000_0000, 0x7FF), Some((0x7FF << 39) - (1 << 39)));
        assert_eq!(host_bus_address(0x80_0000_0000, 0), None, "below the window");
        assert_eq!(host_bus_address(0x7F_F000_0000, 1), None, "bit 39 clear");
        assert_eq!(host_bus_address(0x180_0000_0000, 1), None, "bit 40 set");
        assert_eq!(host_bus_address(0x80_0000_0000, 0x801), Some(0), "only 11 bits of the register count");
    }

    /// The two numberings of `cpucp.md` 9.
    #[test]
    fn both_pll_numberings_name_the_same_plls() {
        let legacy = [0, 1, 8, 10, 2, 3, 4, 5, 6, 7];
        for (number, common) in legacy.into_iter().enumerate() {
            let pll = Pll::from_legacy(number as u32).unwrap();
            assert_eq!(Pll::from_common(common), Some(pll));
        }
        assert_eq!(Pll::from_legacy(10), None);
        assert_eq!((Pll::from_common(9), Pll::from_common(11), Pll::from_common(u32::MAX)), (None, None, None));
    }
}
