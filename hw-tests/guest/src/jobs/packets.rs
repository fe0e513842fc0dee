//! Command buffers, built without a card.
//!
//! Synchronisation uses the E_N sync manager: message base 0 of every QMAN points at its monitors and base 1 at its sync
//! objects, and users own all of it (`submission-path.md` 7.1).

use coxswain_abi::packet::{self, Header, opcode};
use coxswain_abi::regs::{CFG_BASE, dma_core::commit, qman, sync_manager};

/// External queue: stream 0 of DMA0, for copies from the host.
pub const QUEUE_TO_DEVICE: u32 = 0;
/// External queue: stream 0 of DMA1, for copies to the host.
pub const QUEUE_TO_HOST: u32 = 4;
/// External queues 0..=7: four streams of DMA0, then four of DMA1.
pub const EXTERNAL_QUEUES: u32 = 8;
/// Internal queue: stream 0 of DMA2.
pub const QUEUE_INTERNAL: u32 = 9;
/// The DMA engine behind [`QUEUE_INTERNAL`].
pub const INTERNAL_ENGINE: usize = 2;
/// The lower command processor counts as stream 4.
pub const LOWER: u32 = 4;

/// Queue number of a stream (0..=3) of an internal DMA engine (2..=7).
#[must_use]
pub const fn internal(engine: usize, stream: u32) -> u32 {
    QUEUE_INTERNAL + 4 * (engine as u32 - INTERNAL_ENGINE as u32) + stream
}

/// QMAN and stream behind an external queue.
#[must_use]
pub const fn external(queue: u32) -> (usize, u32) {
    ((queue / 4) as usize, queue % 4)
}

/// Device address that increments fence counter `fence` (0..=3) of a command processor.
#[must_use]
pub const fn fence_address(qman: usize, stream: u32, fence: u32) -> u64 {
    CFG_BASE + (qman::base(qman) + qman::CP_FENCE0_RDATA_0 + qman::FENCE_STRIDE * fence + 4 * stream) as u64
}

/// LOAD_AND_EXE: into the scalars instead of the predicates.
const SCALARS: u32 = 1 << 0;
/// LOAD_AND_EXE: load.
const LOAD: u32 = 1 << 8;
/// LOAD_AND_EXE: execute what the scalars hold.
const EXECUTE: u32 = 1 << 9;
/// LOAD_AND_EXE: from the third scalar on.
const FROM_THIRD: u32 = 1 << 10;

/// A write of one of a monitor's registers. Message base 0 is the payload address of monitor 0; the other arrays lie behind
/// it.
fn monitor_register(array: u32, monitor: u16, value: u32, barriers: u32) -> u64 {
    packet::msg_short(0, (array - sync_manager::MON_PAY_ADDRL_0) as u16 + 4 * monitor, value, barriers)
}

/// A command buffer in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packets(Vec<u64>);

impl Packets {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The 64-bit words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Bytes of the packets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        8 * self.0.len()
    }

    /// The packets as they lie in memory.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A linear copy. It begins when the registers written before are visible and may run on when the next packet begins.
    #[must_use]
    pub fn copy(mut self, source: u64, destination: u64, bytes: u32) -> Self {
        self.0.extend(packet::lin_dma(source, destination, bytes, packet::RB | commit::LIN));
        self
    }

    /// Fills memory with a 64-bit value, repeated.
    #[must_use]
    pub fn fill(mut self, value: u64, destination: u64, bytes: u32) -> Self {
        self.0.extend(packet::lin_dma(value, destination, bytes, packet::RB | commit::LIN | commit::MEM_SET));
        self
    }

    /// A 32-bit message to a device address.
    #[must_use]
    pub fn message(mut self, address: u64, value: u32) -> Self {
        self.0.extend(packet::msg_long(address, value, packet::RB | packet::MB));
        self
    }

    /// Adds 1 to a sync object when everything before is done: engine, registers and messages.
    #[must_use]
    pub fn signal(mut self, sob: u16) -> Self {
        self.0.push(packet::msg_short(1, 4 * sob, packet::sob_add(1), packet::EB | packet::RB | packet::MB));
        self
    }

    /// Sets a sync object to 0.
    #[must_use]
    pub fn clear(mut self, sob: u16) -> Self {
        self.0.push(packet::msg_short(1, 4 * sob, 0, packet::RB | packet::MB));
        self
    }

    /// Waits until a sync object is 1: arms `monitor` to increment fence 0 of the command processor that executes this,
    /// then waits on that fence.
    #[must_use]
    pub fn wait_for(self, sob: u16, monitor: u16, qman: usize, stream: u32) -> Self {
        let arm = packet::monitor_arm(u32::from(sob), 1, true);
        self.armed(monitor, fence_address(qman, stream, 0), 1, arm).fence(0, 1, 1)
    }

    /// The same until a sync object is at least `value` (at most 32767).
    #[must_use]
    pub fn wait_until(self, sob: u16, value: u16, monitor: u16, qman: usize, stream: u32) -> Self {
        let arm = packet::monitor_arm(u32::from(sob), value, false);
        self.armed(monitor, fence_address(qman, stream, 0), 1, arm).fence(0, 1, 1)
    }

    /// Writes `data` to `address` if a sync object is exactly `value` now, and disarms the monitor: shows the value without
    /// waiting for it.
    #[must_use]
    pub fn probe(self, sob: u16, value: u16, monitor: u16, address: u64, data: u32) -> Self {
        let mut packets = self.armed(monitor, address, data, packet::monitor_arm(u32::from(sob), value, true));
        packets.0.push(monitor_register(sync_manager::MON_STATUS_0, monitor, 0, packet::RB | packet::MB));
        packets
    }

    /// Arms `monitor`; when it fires it writes `data` to `address`.
    #[must_use]
    fn armed(mut self, monitor: u16, address: u64, data: u32, arm: u32) -> Self {
        let set = |array: u32, value: u32, barriers: u32| monitor_register(array, monitor, value, barriers);
        self.0.push(set(sync_manager::MON_PAY_ADDRL_0, address as u32, packet::RB));
        self.0.push(set(sync_manager::MON_PAY_ADDRH_0, (address >> 32) as u32, packet::RB));
        self.0.push(set(sync_manager::MON_PAY_DATA_0, data, packet::RB));
        self.0.push(set(sync_manager::MON_ARM_0, arm, packet::RB | packet::MB));
        self
    }

    /// Waits until fence counter `id` (0..=3) is at least `target`, then subtracts `decrement` (0..=15).
    #[must_use]
    pub fn fence(mut self, id: u32, target: u8, decrement: u32) -> Self {
        self.0.push(packet::fence(id, target, decrement, packet::RB | packet::MB));
        self
    }

    /// A 32-bit message when everything before is done: engine, registers and messages.
    #[must_use]
    pub fn message_behind(mut self, address: u64, value: u32) -> Self {
        self.0.extend(packet::msg_long(address, value, packet::EB | packet::RB | packet::MB));
        self
    }

    /// A 32-bit message, sent only when predicate `number` (0..=31) is true.
    #[must_use]
    pub fn message_if(mut self, number: u32, address: u64, value: u32) -> Self {
        self.0.extend(packet::msg_long(address, value, number));
        self
    }

    /// The low half of the device's time to an address (`qman.md` 10 #15).
    #[must_use]
    pub fn timestamp(mut self, address: u64) -> Self {
        self.0.extend(packet::msg_long(address, 0, packet::RB | packet::MB | 1 << 20));
        self
    }

    /// Waits until the engine is idle.
    #[must_use]
    pub fn engine_barrier(mut self) -> Self {
        self.0.push(packet::nop(packet::EB | packet::RB | packet::MB));
        self
    }

    /// Writes a register of the engine's window.
    #[must_use]
    pub fn register(mut self, offset: u32, value: u32) -> Self {
        self.0.push(packet::wreg_32(offset as u16, value, packet::RB));
        self
    }

    /// Writes consecutive registers from `offset` on, two per value, if predicate `number` is true.
    #[must_use]
    pub fn bulk_if(mut self, number: u32, offset: u32, values: &[u64]) -> Self {
        let control = packet::RB | number | offset << 8;
        self.0.push(Header::new(opcode::WREG_BULK, control, values.len() as u32).0);
        self.0.extend(values);
        self
    }

    /// Requests the arbiter with a priority.
    #[must_use]
    pub fn request(mut self, priority: u8) -> Self {
        self.0.push(Header::new(opcode::ARB_POINT, packet::RB, u32::from(priority)).0);
        self
    }

    /// Releases the arbiter.
    #[must_use]
    pub fn release(mut self) -> Self {
        self.0.push(Header::new(opcode::ARB_POINT, packet::RB, 1 << 31).0);
        self
    }

    /// Adds `increment` (0..=15) to fence counter `id` after `cycles` (24 bits) of a clock of about 1 GHz. Does not wait.
    #[must_use]
    pub fn delayed(mut self, id: u32, increment: u32, cycles: u32) -> Self {
        let value = (id & 3) << 28 | (increment & 0xF) << 24 | cycles & 0xFF_FFFF;
        self.0.push(Header::new(opcode::WAIT, 0, value).0);
        self
    }

    /// Loads the predicates from a table of 32 dwords, their bit 0.
    #[must_use]
    pub fn load_predicates(self, address: u64) -> Self {
        self.load_and_execute(0, LOAD, address)
    }

    /// Loads the four scalars from 16 bytes, if predicate `number` is true.
    #[must_use]
    pub fn load_scalars(self, number: u32, address: u64) -> Self {
        self.load_and_execute(number, LOAD | SCALARS, address)
    }

    /// Loads the scalars and executes the packet that begins with the first of them.
    #[must_use]
    pub fn load_scalars_and_execute(self, address: u64) -> Self {
        self.load_and_execute(0, LOAD | SCALARS | EXECUTE, address)
    }

    /// Executes the packet that begins with the first scalar, or with the third, if predicate `number` is true.
    #[must_use]
    pub fn execute(self, number: u32, from_third: bool) -> Self {
        self.load_and_execute(number, EXECUTE | if from_third { FROM_THIRD } else { 0 }, 0)
    }

    fn load_and_execute(mut self, number: u32, configuration: u32, address: u64) -> Self {
        let control = packet::RB | packet::MB | number & 0x1F;
        self.0.extend([Header::new(opcode::LOAD_AND_EXE, control, configuration).0, address]);
        self
    }

    /// Words as they are, also wrong ones.
    #[must_use]
    pub fn raw(mut self, words: &[u64]) -> Self {
        self.0.extend(words);
        self
    }

    /// Hands packets at a device address to the lower command processor.
    #[must_use]
    pub fn lower(mut self, address: u64, bytes: u32) -> Self {
        self.0.extend(packet::cp_dma(address, bytes, packet::RB | packet::MB));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dwords(packets: &Packets) -> Vec<u32> {
        packets.words().iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect()
    }

    /// `submission-path.md` 11.1.
    #[test]
    fn a_copy_is_the_documented_packet() {
        let packets = Packets::new().copy(0x1_0000_0000_0000, 0x2000_0000, 0x1000);
        assert_eq!(dwords(&packets), [0x1000, 0x4900_0008, 0, 0x0001_0000, 0x2000_0000, 0]);
        assert_eq!(packets.bytes(), 24);
    }

    /// `submission-path.md` 11.2: DMA0 stream 0, SOB 8, monitor 0.
    #[test]
    fn a_wait_is_the_documented_sequence() {
        assert_eq!(
            dwords(&Packets::new().wait_for(8, 0, 0, 0)),
            [
                0xFC50_8308,
                0x4400_0000,
                0x0000_007F,
                0x4400_0800,
                0x0000_0001,
                0x4400_1000,
                0x0003_FE01,
                0xC400_1800,
                0x0001_0001,
                0xC800_0000
            ]
        );
        assert_eq!(dwords(&Packets::new().signal(8)), [0x8000_0001, 0xE440_0020]);
    }

    /// `submission-path.md` 11.2, 11.3 and 11.8: DMA1 stream 0, the lower fence of DMA2; 7.2: fence 2 of DMA1.
    #[test]
    fn fence_addresses_are_the_documented_ones() {
        assert_eq!(fence_address(1, 0, 0), 0x7F_FC52_8308);
        assert_eq!(fence_address(2, LOWER, 0), 0x7F_FC54_8318);
        assert_eq!(fence_address(1, 0, 2), 0x7F_FC52_8330);
        assert_eq!(external(QUEUE_TO_HOST), (1, 0));
        assert_eq!(external(7), (1, 3));
    }

    #[test]
    fn monitor_numbers_move_all_four_registers() {
        let packets = dwords(&Packets::new().wait_for(17, 3, 1, 0));
        let controls: Vec<u32> = packets.iter().skip(1).step_by(2).take(4).copied().collect();
        assert_eq!(controls, [0x4400_000C, 0x4400_080C, 0x4400_100C, 0xC400_180C]);
        // Group 2, all sync objects of it masked but number 1, equal, value 1.
        assert_eq!(packets[6], 0x0003_FD02);
    }

    /// `qman.md` 5.8 and `submission-path.md` 11.5.
    #[test]
    fn arbiter_scalar_and_wait_packets_are_the_documented_ones() {
        assert_eq!(dwords(&Packets::new().request(1).release()), [1, 0x4C00_0000, 0x8000_0000, 0x4C00_0000]);
        let scalars = Packets::new().load_scalars_and_execute(0x7F_F000_0080);
        assert_eq!(dwords(&scalars), [0x301, 0xCF00_0000, 0xF000_0080, 0x7F]);
        assert_eq!(dwords(&Packets::new().execute(0, true)), [0x600, 0xCF00_0000, 0, 0]);
        let predicates = Packets::new().load_predicates(0x7F_F000_0080).message_if(10, 0x7F_F000_1080, 0x1234);
        assert_eq!(
            dwords(&predicates),
            [0x100, 0xCF00_0000, 0xF000_0080, 0x7F, 0x1234, 0x0300_000A, 0xF000_1080, 0x7F]
        );
        assert_eq!(dwords(&Packets::new().delayed(1, 1, 1000)), [0x1100_03E8, 0x0D00_0000]);
        let bulk = Packets::new().bulk_if(0, 0xA00, &[0; 0x88]);
        assert_eq!(dwords(&bulk).get(..2), Some(&[0x88, 0x420A_0000][..]));
        assert_eq!(dwords(&Packets::new().register(0x80, 0xFC4F_2240)), [0xFC4F_2240, 0x4100_8000]);
    }

    /// `submission-path.md` 2: queue numbers of the internal DMA engines.
    #[test]
    fn internal_queues_are_numbered_by_engine_and_stream() {
        assert_eq!([internal(2, 0), internal(3, 0), internal(4, 3), internal(7, 3)], [9, 13, 20, 32]);
    }

    /// `submission-path.md` 11.3: the upper buffer.
    #[test]
    fn the_upper_buffer_is_one_packet_of_16_bytes() {
        let packets = Packets::new().lower(0x7F_F000_1000, 0x48);
        assert_eq!(dwords(&packets), [0x48, 0xC500_0000, 0xF000_1000, 0x7F]);
        assert_eq!(packets.to_le_bytes().get(..8), Some(&[0x48, 0, 0, 0, 0, 0, 0, 0xC5][..]));
    }
}
