//! What each packet does (`cpucp.md` 6). A packet yields a result, nothing, or a return code; the answer is written by the
//! server.

use coxswain_abi::cpucp::{
    ARRAY_COUNT, ARRAY_ELEMENTS, ComponentVersions, HbmRowsInfo, MONITOR_DUMP_BYTES, PASSTHROUGH_VERSIONS, Packet, Pll,
    ReturnCode, SensorEntry, opcode,
};
use coxswain_abi::regs::psoc::{self, sts0};
use coxswain_abi::regs::sync_manager;
use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::area::SharedArea;
use super::telemetry::{PcieDirection, SensorKind, Telemetry, TelemetryError};
use super::{Ports, Server};
use crate::event::EventQueue;
use crate::ports::{HostMemory, OutOfRange, PostedWrites, Registers};

/// Bytes of an EEPROM that EEPROM_DATA_GET can show.
const EEPROM_BYTES: usize = 256;

/// What a packet yields.
type Answer = Result<Option<u64>, ReturnCode>;

/// A setting has been made, or refused.
fn done(result: Result<(), TelemetryError>) -> Answer {
    result.map(|()| None).map_err(ReturnCode::from)
}

/// A signed value has been read, or not.
fn value(result: Result<i64, TelemetryError>) -> Answer {
    result.map(|value| Some(value.cast_unsigned())).map_err(ReturnCode::from)
}

/// A count has been read, or not.
fn count(result: Result<u64, TelemetryError>) -> Answer {
    result.map(Some).map_err(ReturnCode::from)
}

impl From<TelemetryError> for ReturnCode {
    fn from(error: TelemetryError) -> Self {
        match error {
            TelemetryError::NoSuch => Self::BadParameters,
            TelemetryError::NotSupported => Self::NotSupported,
            TelemetryError::Fault => Self::Fault,
        }
    }
}

/// A buffer that a packet names: inside the shared area, of the size the host stated.
struct ReplyBuffer {
    address: u64,
    bytes: usize,
}

impl ReplyBuffer {
    /// The buffer of `packet`: address in its value, size in its argument. Only the first `most` bytes are checked and used.
    fn of(packet: &Packet, area: SharedArea, most: usize) -> Result<Self, ReturnCode> {
        let bytes = most.min(packet.argument.get() as usize);
        if bytes == 0 {
            return Err(ReturnCode::BadParameters);
        }
        let address = area.bus_address(packet.value.get(), bytes as u64).ok_or(ReturnCode::BadParameters)?;
        Ok(Self { address, bytes })
    }

    /// Writes as much of `data` as fits; returns the bytes written.
    fn fill(&self, data: &[u8], host: &mut impl HostMemory) -> Result<u64, ReturnCode> {
        let data = data.get(..self.bytes).unwrap_or(data);
        host.write(self.address, data).map_err(fault)?;
        Ok(data.len() as u64)
    }
}

fn fault(_: OutOfRange) -> ReturnCode {
    ReturnCode::Fault
}

impl Server {
    /// Carries out `packet`, whose `length` bytes lie at host bus address `address`.
    pub(super) fn execute<R, H, P, T>(
        &mut self,
        packet: &Packet,
        address: u64,
        length: u32,
        area: SharedArea,
        ports: &mut Ports<'_, R, H, P, T>,
        events: &mut EventQueue,
    ) -> Answer
    where
        R: Registers,
        H: HostMemory,
        P: PostedWrites,
        T: Telemetry,
    {
        let request = packet.value.get();
        let argument = packet.argument.get();
        match packet.opcode() {
            // Access ends after the answer: see the server.
            opcode::DISABLE_PCI_ACCESS => Ok(None),
            opcode::ENABLE_PCI_ACCESS => {
                events.allow_access();
                Ok(None)
            }
            opcode::TEST => Ok(Some(request)),
            opcode::INFO_GET => self.info_get(packet, area, ports),
            opcode::UNMASK_RAZWI_IRQ => unmask(request, events).map(|()| None),
            opcode::UNMASK_RAZWI_IRQ_ARRAY => unmask_array(address, length, ports.host, events).map(|()| None),

            opcode::TEMPERATURE_GET => sensor_get(SensorKind::Temperature, packet, ports),
            opcode::VOLTAGE_GET => sensor_get(SensorKind::Voltage, packet, ports),
            opcode::CURRENT_GET => sensor_get(SensorKind::Current, packet, ports),
            opcode::POWER_GET => sensor_get(SensorKind::Power, packet, ports),
            opcode::FAN_SPEED_GET => sensor_get(SensorKind::Fan, packet, ports),
            opcode::PWM_GET => sensor_get(SensorKind::Pwm, packet, ports),
            opcode::TEMPERATURE_SET => sensor_set(SensorKind::Temperature, packet, ports),
            opcode::VOLTAGE_SET => sensor_set(SensorKind::Voltage, packet, ports),
            opcode::CURRENT_SET => sensor_set(SensorKind::Current, packet, ports),
            opcode::POWER_SET => sensor_set(SensorKind::Power, packet, ports),
            opcode::PWM_SET => sensor_set(SensorKind::Pwm, packet, ports),

            opcode::MAX_POWER_GET => Ok(Some(self.settings.max_power)),
            opcode::MAX_POWER_SET => {
                if request == 0 || request > self.identity.largest_power_mw {
                    return Err(ReturnCode::BadParameters);
                }
                self.settings.max_power = request;
                Ok(None)
            }
            opcode::FREQUENCY_SET => self.frequency_set(argument, request, ports.registers),
            // The board has no governor of its own: what is configured is what runs.
            opcode::FREQUENCY_GET | opcode::FREQUENCY_CURR_GET => {
                let (position, _) = self.pll(argument, ports.registers)?;
                Ok(self.settings.frequency.get(position).copied())
            }
            opcode::PLL_INFO_GET => self.pll_info_get(packet, ports.registers),

            opcode::PCIE_THROUGHPUT_GET => match argument {
                0 => count(ports.telemetry.pcie_throughput(PcieDirection::Transmit)),
                1 => count(ports.telemetry.pcie_throughput(PcieDirection::Receive)),
                _ => Err(ReturnCode::BadParameters),
            },
            opcode::PCIE_REPLAY_CNT_GET => count(ports.telemetry.pcie_replays().map(u64::from)),
            opcode::TOTAL_ENERGY_GET => {
                let now_us = ports.now_us;
                let (telemetry, mut access) = ports.telemetry();
                count(telemetry.energy_millijoule(now_us, &mut access))
            }
            opcode::LED_SET => match request {
                0 | 1 => done(ports.telemetry.set_led(argument, request == 1)),
                _ => Err(ReturnCode::BadParameters),
            },
            opcode::I2C_RD => {
                let [bus, part, register, bytes] = i2c(packet)?;
                let (telemetry, mut access) = ports.telemetry();
                count(telemetry.i2c_read(bus, part, register, bytes, &mut access))
            }
            opcode::I2C_WR => {
                let [bus, part, register, bytes] = i2c(packet)?;
                let (telemetry, mut access) = ports.telemetry();
                done(telemetry.i2c_write(bus, part, register, bytes, request, &mut access))
            }

            opcode::EEPROM_DATA_GET => {
                let mut contents = [0; EEPROM_BYTES];
                let (telemetry, mut access) = ports.telemetry();
                let length = match telemetry.eeprom(&mut contents, &mut access) {
                    Ok(length) => length,
                    // A board without the part has the contents in its image.
                    Err(TelemetryError::NotSupported) => {
                        for (to, from) in contents.iter_mut().zip(self.identity.eeprom) {
                            *to = *from;
                        }
                        self.identity.eeprom.len().min(EEPROM_BYTES)
                    }
                    Err(error) => return Err(error.into()),
                };
                let buffer = ReplyBuffer::of(packet, area, length)?;
                buffer.fill(contents.get(..length).unwrap_or(&contents), ports.host).map(Some)
            }
            opcode::HBM_REPLACED_ROWS_INFO_GET => {
                // No row is ever replaced: the emulated HBM does not fail. The buffer is often too small for the full list.
                let rows = HbmRowsInfo::new_zeroed();
                let buffer = ReplyBuffer::of(packet, area, size_of::<HbmRowsInfo>())?;
                buffer.fill(rows.as_bytes(), ports.host).map(|_| None)
            }
            opcode::HBM_PENDING_ROWS_STATUS => Ok(Some(0)),
            opcode::MONITOR_DUMP_GET => monitor_dump(packet, area, ports.registers, ports.host).map(|()| None),
            opcode::GENERIC_PASSTHROUGH => match packet.argument2.get() {
                PASSTHROUGH_VERSIONS => {
                    let buffer = ReplyBuffer::of(packet, area, size_of::<ComponentVersions>())?;
                    if buffer.bytes < size_of::<ComponentVersions>() {
                        return Err(ReturnCode::BadParameters);
                    }
                    buffer.fill(self.identity.versions().as_bytes(), ports.host).map(Some)
                }
                _ => Err(ReturnCode::NotSupported),
            },
            // There is no key to attest with, no Ethernet, and what later cards do differently is not for this one.
            _ => Err(ReturnCode::NotSupported),
        }
    }

    fn info_get<R, H, P, T>(&self, packet: &Packet, area: SharedArea, ports: &mut Ports<'_, R, H, P, T>) -> Answer
    where
        H: HostMemory,
        T: Telemetry,
    {
        let buffer = ReplyBuffer::of(packet, area, coxswain_abi::cpucp::INFO_BYTES)?;
        let telemetry = &*ports.telemetry;
        let sensors = (0..)
            .map_while(|position| telemetry.sensor(position))
            .map(|(kind, flags)| SensorEntry { kind: U32::new(kind.number()), flags: U32::new(flags) });
        let info = self.identity.info(sensors);
        buffer.fill(info.as_bytes(), ports.host).map(|_| None)
    }

    /// The PLL that `number` means in the numbering that STS0 announces: its position in [`Pll::ALL`] and itself.
    fn pll(&self, number: u32, registers: &impl Registers) -> Result<(usize, Pll), ReturnCode> {
        let common = registers.read(psoc::CPU_BOOT_DEV_STS0) & sts0::DYN_PLL_EN != 0;
        let pll = if common { Pll::from_common(number) } else { Pll::from_legacy(number) };
        let pll = pll.filter(|pll| self.identity.pll(*pll).is_some()).ok_or(ReturnCode::BadParameters)?;
        let position = Pll::ALL.iter().position(|other| *other == pll).ok_or(ReturnCode::BadParameters)?;
        Ok((position, pll))
    }

    fn frequency_set(&mut self, number: u32, hertz: u64, registers: &impl Registers) -> Answer {
        let (position, pll) = self.pll(number, registers)?;
        let limit = self.identity.pll(pll).map_or(0, |data| data.limit_hz);
        if hertz == 0 || hertz > limit {
            return Err(ReturnCode::BadParameters);
        }
        if let Some(frequency) = self.settings.frequency.get_mut(position) {
            *frequency = hertz;
        }
        Ok(None)
    }

    fn pll_info_get(&self, packet: &Packet, registers: &impl Registers) -> Answer {
        let (_, pll) = self.pll(u32::from(packet.sensor_index()), registers)?;
        let [a, b, c, d] = self.identity.pll(pll).map_or([0; 4], |data| data.outputs_mhz);
        Ok(Some(u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48))
    }
}

fn sensor_get<R: Registers, H, P: PostedWrites, T: Telemetry>(
    kind: SensorKind,
    packet: &Packet,
    ports: &mut Ports<'_, R, H, P, T>,
) -> Answer {
    let (telemetry, mut access) = ports.telemetry();
    value(telemetry.read(kind, packet.sensor_index(), packet.sensor_attribute(), &mut access))
}

fn sensor_set<R: Registers, H, P: PostedWrites, T: Telemetry>(
    kind: SensorKind,
    packet: &Packet,
    ports: &mut Ports<'_, R, H, P, T>,
) -> Answer {
    let value = packet.value.get().cast_signed();
    let (telemetry, mut access) = ports.telemetry();
    done(telemetry.write(kind, packet.sensor_index(), packet.sensor_attribute(), value, &mut access))
}

/// The I2C arguments with the length made explicit: 0 means one byte, more than 8 is refused.
fn i2c(packet: &Packet) -> Result<[u8; 4], ReturnCode> {
    let [bus, part, register, bytes] = packet.i2c();
    if bytes > 8 {
        return Err(ReturnCode::BadParameters);
    }
    Ok([bus, part, register, bytes.max(1)])
}

fn unmask(id: u64, events: &mut EventQueue) -> Result<(), ReturnCode> {
    let id = u16::try_from(id).map_err(|_| ReturnCode::BadParameters)?;
    if events.unmask(id) { Ok(()) } else { Err(ReturnCode::BadParameters) }
}

/// Unmasks the ids behind the packet. The count is believed as far as the packet's length goes.
fn unmask_array(address: u64, length: u32, host: &impl HostMemory, events: &mut EventQueue) -> Result<(), ReturnCode> {
    let room = u64::from(length).checked_sub(ARRAY_ELEMENTS).ok_or(ReturnCode::BadParameters)? / 4;
    let word = |offset| {
        let mut word = [0; 4];
        host.read(address.saturating_add(offset), &mut word).map(|()| u32::from_le_bytes(word)).map_err(fault)
    };
    let elements = u64::from(word(ARRAY_COUNT)?);
    // More elements than there are event ids mean nothing, and would keep us here for long.
    if elements > room || elements > u64::from(coxswain_abi::event::id::LIMIT) {
        return Err(ReturnCode::BadParameters);
    }
    let mut result = Ok(());
    for element in 0..elements {
        if let Err(code) = unmask(u64::from(word(ARRAY_ELEMENTS + 4 * element)?), events) {
            result = Err(code);
        }
    }
    result
}

/// Copies the monitors of all sync managers from the register file. The buffer must hold all of it.
fn monitor_dump(
    packet: &Packet,
    area: SharedArea,
    registers: &impl Registers,
    host: &mut impl HostMemory,
) -> Result<(), ReturnCode> {
    const WORDS: usize = 64;
    const ARRAYS: [u32; 5] = [
        sync_manager::MON_PAY_ADDRL_0,
        sync_manager::MON_PAY_ADDRH_0,
        sync_manager::MON_PAY_DATA_0,
        sync_manager::MON_ARM_0,
        sync_manager::MON_STATUS_0,
    ];
    let buffer = ReplyBuffer::of(packet, area, MONITOR_DUMP_BYTES)?;
    if buffer.bytes < MONITOR_DUMP_BYTES {
        return Err(ReturnCode::BadParameters);
    }
    let mut address = buffer.address;
    for manager in 0..sync_manager::MANAGERS {
        for array in ARRAYS {
            // Offsets inside the register file: nothing saturates.
            let mut register = sync_manager::base(manager).saturating_add(array);
            for _ in 0..sync_manager::MONITORS / WORDS {
                let mut chunk = [U32::ZERO; WORDS];
                for word in &mut chunk {
                    word.set(registers.read(register));
                    register = register.saturating_add(4);
                }
                host.write(address, chunk.as_bytes()).map_err(fault)?;
                address = address.saturating_add((WORDS * 4) as u64);
            }
        }
    }
    Ok(())
}
