//! The control queue and the event queue: the CPUCP side of the host (`cpucp.md` 1 to 5 and 10).
//!
//! Owns the area of 2 MiB that host and control image share, and the indices of both queues.

use crate::link::Link;
use crate::memory::Pages;
use crate::{Bounds, HostError};
use coxswain_abi::cpucp::{
    BufferDescriptor, CpucpInfo, FENCE_ACKNOWLEDGED, FENCE_SUBMITTED, HOST_ADDRESS_BIT, INFO_BYTES, PACKET_BYTES,
    PACKET_FENCE, Packet, opcode, queue_init,
};
use coxswain_abi::event;
use coxswain_abi::regs::psoc::{self, sts0};
use coxswain_abi::regs::{GICD_SETSPI_NSR, cpu_if};
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of the shared area.
pub const AREA_BYTES: u64 = 0x20_0000;
/// Interrupt number: the host has written its producer index, or the handshake.
pub const PI_UPDATE: u32 = 484;
/// Interrupt number: stop, a reset follows.
pub const HALT_MACHINE: u32 = 485;
/// Interrupt number: the host is ready for events.
pub const INTS_REGISTER: u32 = 486;

const PQ: u64 = 0;
const PQ_ENTRIES: u32 = 4096;
const PQ_BYTES: u32 = PQ_ENTRIES * 16;
const EQ: u64 = 0x1_0000;
const EQ_ENTRIES: u32 = 64;
const EQ_BYTES: u32 = EQ_ENTRIES * event::ENTRY_BYTES as u32;
const PACKET: u64 = 0x1_1000;
/// Buffer for answers that do not fit a packet.
const BUFFER: u64 = 0x1_2000;
/// Bytes of it.
const BUFFER_BYTES: u64 = AREA_BYTES - BUFFER;

/// An event of the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Event id (`cpucp.md` 12).
    pub id: u16,
    /// Running index, when firmware counts events.
    pub index: u16,
    /// The 56 bytes of payload.
    pub payload: [u8; event::ENTRY_BYTES - event::ENTRY_PAYLOAD],
}

/// Both queues after the handshake.
#[derive(Debug)]
pub struct Control {
    area: Pages,
    producer: u32,
    events: u32,
    /// Index that the next event must carry; `None` when firmware does not count.
    expected: Option<u16>,
    acknowledge_with_index: bool,
    /// After one time-out nothing is sent any more, as the driver does.
    dead: bool,
}

impl Control {
    /// Sets both queues up in `area` (of [`AREA_BYTES`], zeroed here) and waits for firmware to take them over.
    ///
    /// # Errors
    /// Firmware refuses, or does not answer.
    pub fn handshake(link: &Link, bounds: &Bounds, area: Pages) -> Result<Self, HostError> {
        fill_zero(link, area)?;
        let address = |offset: u64| {
            // Bit 39 and the low bits; hardware adds the rest from CPU_MSB_ADDR.
            HOST_ADDRESS_BIT | area.device_address(offset) & (HOST_ADDRESS_BIT - 1)
        };
        let pair = |low: u32, high: u32, value: u64| {
            link.write(low, value as u32);
            link.write(high, (value >> 32) as u32);
        };
        pair(cpu_if::PQ_BASE_ADDR_LOW, cpu_if::PQ_BASE_ADDR_HIGH, address(PQ));
        pair(cpu_if::EQ_BASE_ADDR_LOW, cpu_if::EQ_BASE_ADDR_HIGH, address(EQ));
        pair(cpu_if::CQ_BASE_ADDR_LOW, cpu_if::CQ_BASE_ADDR_HIGH, address(0));
        link.write(cpu_if::PQ_LENGTH, PQ_BYTES);
        link.write(cpu_if::EQ_LENGTH, EQ_BYTES);
        link.write(cpu_if::CQ_LENGTH, AREA_BYTES as u32);
        link.write(cpu_if::EQ_RD_OFFS, 0);
        link.write(cpu_if::PF_PQ_PI, 0);
        link.write(cpu_if::QUEUE_INIT, queue_init::READY_FOR_CP_SINGLE_MSI);
        link.write(GICD_SETSPI_NSR, PI_UPDATE);

        let answered = |value: u32| value != queue_init::READY_FOR_CP_SINGLE_MSI;
        let answer = link.wait_register(cpu_if::QUEUE_INIT, "the queue handshake", bounds.control, answered)?;
        if answer != queue_init::READY_FOR_HOST {
            return Err(HostError::protocol(format!("the queue handshake was answered with {answer}")));
        }
        let capabilities = link.read(psoc::CPU_BOOT_DEV_STS0);
        Ok(Self {
            area,
            producer: 0,
            events: 0,
            expected: (capabilities & sts0::EQ_INDEX_EN != 0).then_some(1),
            acknowledge_with_index: capabilities & sts0::PKT_PI_ACK_EN != 0,
            dead: false,
        })
    }

    /// Sends a packet, waits for its answer and returns the answer.
    ///
    /// # Errors
    /// No answer within the bound, or an answer with an error code.
    pub fn send(&mut self, link: &Link, bounds: &Bounds, packet: &Packet) -> Result<Packet, HostError> {
        if self.dead {
            return Err(HostError::usage("a control packet after one was not answered"));
        }
        let opcode = packet.opcode();
        let memory = link.memory();
        let place = self.area.address + PACKET;
        write(link, place, packet.as_bytes())?;
        let slot = self.producer % PQ_ENTRIES;
        self.producer = (self.producer + 1) % (2 * PQ_ENTRIES);
        let descriptor = BufferDescriptor {
            pointer: (HOST_ADDRESS_BIT | self.area.device_address(PACKET) & (HOST_ADDRESS_BIT - 1)).into(),
            length: (PACKET_BYTES as u32).into(),
            ctl: self.producer.into(),
        };
        let descriptor_place = self.area.address + PQ + 16 * u64::from(slot);
        write(link, descriptor_place, descriptor.as_bytes())?;
        coxswain_card::memory::full_barrier();
        link.write(cpu_if::PF_PQ_PI, self.producer);
        link.write(GICD_SETSPI_NSR, PI_UPDATE);

        let expected = if self.acknowledge_with_index { self.producer } else { FENCE_ACKNOWLEDGED };
        let bound = if is_slow(opcode) { bounds.slow_packet } else { bounds.packet };
        let waited = link.wait_until(
            bound,
            || format!("answer to control packet {opcode}"),
            || match memory.load_acquire_u32(place + PACKET_FENCE) {
                Ok(fence) if fence == expected => Ok(()),
                Ok(FENCE_SUBMITTED) => Err("the fence is untouched".to_owned()),
                Ok(fence) => Err(format!("the fence is {fence:#x} instead of {expected:#x}")),
                Err(error) => Err(error.to_string()),
            },
        );
        if let Err(error) = waited {
            self.dead = true;
            return Err(error);
        }
        // The driver marks a used entry, so that firmware that reads it twice is caught.
        write(link, descriptor_place + 12, &u32::MAX.to_le_bytes())?;
        let mut bytes = [0; PACKET_BYTES];
        read(link, place, &mut bytes)?;
        let answer = Packet::read_from_bytes(&bytes).map_err(|_| HostError::protocol("a packet of another size"))?;
        match answer.return_code() {
            0 => Ok(answer),
            code => Err(HostError::Packet { opcode, code }),
        }
    }

    /// Sends a packet whose answer comes in a buffer of `bytes`, and returns the answer and the buffer.
    ///
    /// # Errors
    /// As [`Self::send`]; or the buffer is too large.
    pub fn send_for_data(
        &mut self,
        link: &Link,
        bounds: &Bounds,
        opcode: u16,
        bytes: usize,
        argument2: u32,
    ) -> Result<(Packet, Vec<u8>), HostError> {
        let size = u32::try_from(bytes).ok().filter(|size| u64::from(*size) <= BUFFER_BYTES);
        let size = size.ok_or_else(|| HostError::usage(format!("an answer of {bytes} bytes")))?;
        let mut buffer = vec![0; bytes];
        write(link, self.area.address + BUFFER, &buffer)?;
        let address = HOST_ADDRESS_BIT | self.area.device_address(BUFFER) & (HOST_ADDRESS_BIT - 1);
        let answer = self.send(link, bounds, &Packet::request(opcode, address, size, argument2))?;
        read(link, self.area.address + BUFFER, &mut buffer)?;
        Ok((answer, buffer))
    }

    /// Asks the control image about itself.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn info(&mut self, link: &Link, bounds: &Bounds) -> Result<CpucpInfo, HostError> {
        let (_, bytes) = self.send_for_data(link, bounds, opcode::INFO_GET, INFO_BYTES, 0)?;
        CpucpInfo::read_from_bytes(&bytes).map_err(|_| HostError::protocol("an information of another size"))
    }

    /// Takes the events that lie in the queue, oldest first.
    ///
    /// # Errors
    /// An event is out of sequence.
    pub fn take_events(&mut self, link: &Link) -> Result<Vec<Event>, HostError> {
        let memory = link.memory();
        let mut events = Vec::new();
        // At most one round: what arrives meanwhile comes with another interrupt.
        for _ in 0..EQ_ENTRIES {
            let place = self.area.address + EQ + event::ENTRY_BYTES as u64 * u64::from(self.events);
            let ctl = memory.load_acquire_u32(place + event::ENTRY_CTL).map_err(outside)?;
            if ctl & event::CTL_READY == 0 {
                break;
            }
            let (id, index) = ((ctl >> 16 & 0xFFF) as u16, ctl as u16);
            if let Some(expected) = self.expected {
                if index != expected {
                    return Err(HostError::protocol(format!("event {id} has index {index} instead of {expected}")));
                }
                self.expected = Some(expected.wrapping_add(1));
            }
            let mut payload = [0; event::ENTRY_BYTES - event::ENTRY_PAYLOAD];
            read(link, place + event::ENTRY_PAYLOAD as u64, &mut payload)?;
            events.push(Event { id, index, payload });
            memory.store_release_u32(place + event::ENTRY_CTL, ctl & !event::CTL_READY).map_err(outside)?;
            self.events = (self.events + 1) % EQ_ENTRIES;
            link.write(cpu_if::EQ_RD_OFFS, self.events);
        }
        Ok(events)
    }
}

/// Packets for which the driver waits longer.
fn is_slow(code: u16) -> bool {
    matches!(
        code,
        opcode::INFO_GET
            | opcode::EEPROM_DATA_GET
            | opcode::PCIE_THROUGHPUT_GET
            | opcode::PCIE_REPLAY_CNT_GET
            | opcode::TOTAL_ENERGY_GET
            | opcode::PLL_INFO_GET
            | opcode::POWER_GET
            | opcode::HBM_REPLACED_ROWS_INFO_GET
            | opcode::SEC_ATTEST_GET
            | opcode::INFO_SIGNED_GET
            | opcode::MONITOR_DUMP_GET
            | opcode::GENERIC_PASSTHROUGH
    )
}

pub(crate) fn outside(error: impl std::fmt::Display) -> HostError {
    HostError::usage(format!("host memory: {error}"))
}

pub(crate) fn write(link: &Link, address: u64, bytes: &[u8]) -> Result<(), HostError> {
    link.memory().write_bytes(address, bytes).map_err(outside)
}

pub(crate) fn read(link: &Link, address: u64, bytes: &mut [u8]) -> Result<(), HostError> {
    link.memory().read_bytes(address, bytes).map_err(outside)
}

pub(crate) fn fill_zero(link: &Link, pages: Pages) -> Result<(), HostError> {
    link.memory().fill(pages.address, pages.bytes, 0).map_err(outside)
}

/// Bounds of the driver for packets.
pub(crate) const PACKET_BOUND: Duration = Duration::from_millis(4000);
/// The longer one.
pub(crate) const SLOW_PACKET_BOUND: Duration = Duration::from_millis(10_000);
