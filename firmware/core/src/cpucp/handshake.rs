//! The QUEUE_INIT handshake: the host's registers become queues that cannot be wrong afterwards (`cpucp.md` 2, 3).

use coxswain_abi::cpucp::queue_init;
use coxswain_abi::event::ENTRY_BYTES;
use coxswain_abi::regs::cpu_if;

use super::area::SharedArea;
use crate::event::EventRing;
use crate::ports::{HostMemory, Registers};

/// Bytes of an entry of the packet queue.
const DESCRIPTOR_BYTES: u32 = 16;
/// Most entries of a packet queue. The driver's has 4096.
const MOST_ENTRIES: u32 = 1 << 16;

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A length is not a power of two, or out of range.
    Length,
    /// An address is misaligned, outside the shared area, or not host memory; or the queues overlap.
    Address,
}

impl Refusal {
    /// The answer in QUEUE_INIT.
    pub(super) const fn queue_init(self) -> u32 {
        match self {
            Self::Length => queue_init::LEN_NOT_POWER_OF_TWO_ERR,
            Self::Address => queue_init::ILLEGAL_Q_ADDR_ERR,
        }
    }
}

/// The queues of an accepted handshake, and our place in the packet queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queues {
    /// The shared area.
    pub(super) area: SharedArea,
    /// The event queue.
    pub(super) events: EventRing,
    /// Consumer index of the packet queue, below twice its entries.
    pub(super) consumer: u32,
    /// Host bus address of entry 0.
    packets: u64,
    /// Entries, a power of two.
    entries: u32,
}

impl Queues {
    /// Reads and checks the registers; touches the first and last byte of both queues to see that they are memory.
    pub(super) fn take_over(registers: &impl Registers, host: &impl HostMemory) -> Result<Self, Refusal> {
        let pair = |low, high| u64::from(registers.read(low)) | u64::from(registers.read(high)) << 32;
        let packet_bytes = registers.read(cpu_if::PQ_LENGTH);
        let event_bytes = registers.read(cpu_if::EQ_LENGTH);
        let entries = Self::entries(packet_bytes, DESCRIPTOR_BYTES, MOST_ENTRIES).ok_or(Refusal::Length)?;
        let event_entries =
            Self::entries(event_bytes, ENTRY_BYTES as u32, EventRing::LARGEST).ok_or(Refusal::Length)?;

        let area = SharedArea::new(
            pair(cpu_if::CQ_BASE_ADDR_LOW, cpu_if::CQ_BASE_ADDR_HIGH),
            registers.read(cpu_if::CQ_LENGTH),
            registers.read(cpu_if::CPU_MSB_ADDR),
        )
        .ok_or(Refusal::Address)?;
        let place = |low, high, bytes: u32| {
            let bus = area.bus_address(pair(low, high), u64::from(bytes)).ok_or(Refusal::Address)?;
            let mut byte = [0];
            host.read(bus, &mut byte).map_err(|_| Refusal::Address)?;
            // An area that holds the queue holds its last byte, so nothing saturates; and no queue is empty.
            let end = bus.saturating_add(u64::from(bytes));
            host.read(end.saturating_sub(1), &mut byte).map_err(|_| Refusal::Address)?;
            Ok(bus..end)
        };
        let packets = place(cpu_if::PQ_BASE_ADDR_LOW, cpu_if::PQ_BASE_ADDR_HIGH, packet_bytes)?;
        let events = place(cpu_if::EQ_BASE_ADDR_LOW, cpu_if::EQ_BASE_ADDR_HIGH, event_bytes)?;
        let overlap = packets.start < events.end && events.start < packets.end;
        if overlap || packets.start % 8 != 0 {
            return Err(Refusal::Address);
        }
        let events = EventRing::new(events.start, event_entries).ok_or(Refusal::Address)?;
        Ok(Self { area, events, consumer: 0, packets: packets.start, entries })
    }

    fn entries(bytes: u32, entry: u32, most: u32) -> Option<u32> {
        let entries = bytes / entry;
        (bytes.is_power_of_two() && bytes >= entry && entries <= most).then_some(entries)
    }

    /// True before the first packet was consumed.
    pub(super) const fn is_untouched(&self) -> bool {
        self.consumer == 0
    }

    /// Indices run over twice the entries.
    const fn index_mask(&self) -> u32 {
        // Twice a power of two, minus 1.
        self.entries | self.entries.wrapping_sub(1)
    }

    /// The index behind the consumer index.
    pub(super) const fn next_index(&self) -> u32 {
        self.consumer.wrapping_add(1) & self.index_mask()
    }

    /// True when the host may have produced up to index `producer`: a possible index, and not more than the queue holds.
    pub(super) const fn may_produce(&self, producer: u32) -> bool {
        producer <= self.index_mask() && producer.wrapping_sub(self.consumer) & self.index_mask() <= self.entries
    }

    /// Host bus address of the entry at the consumer index.
    pub(super) fn entry_address(&self) -> u64 {
        let slot = self.consumer & self.entries.wrapping_sub(1);
        self.packets.saturating_add(u64::from(slot) * u64::from(DESCRIPTOR_BYTES))
    }
}
