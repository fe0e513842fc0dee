//! Event queue entries, event ids and the interrupt numbers that stand for events.
//!
//! Sources: `cpucp.md` 4.1 (interrupt numbers from the host), 10 (entries), 11 (payloads), 12 (ids and the driver's reactions).

/// Event ids, 0..=662.
pub mod id {
    /// A posted host write or read was refused by the PCIe decoder.
    pub const PCIE_DEC: u16 = 200;
    /// MMU page fault.
    pub const MMU_PAGE_FAULT: u16 = 380;
    /// MMU permission fault.
    pub const MMU_WR_PERM: u16 = 381;
    /// Over-temperature; payload: cause.
    pub const PSOC_GPIO_U16_0: u16 = 421;
    /// An access was blocked by protection bits or range registers.
    pub const RAZWI_OR_ADC: u16 = 548;
    /// Firmware died; payload: [`super::Event::firmware_alive`]. The driver resets the card.
    pub const FW_ALIVE_S: u16 = 645;
    /// Firmware asks for a hard reset.
    pub const DEV_RESET_REQ: u16 = 646;
    /// The packet queue lost synchronisation; payload: both indices. The driver resets the card.
    pub const PKT_QUEUE_OUT_SYNC: u16 = 647;
    /// Power throttling starts.
    pub const FIX_POWER_ENV_S: u16 = 658;
    /// Power throttling ends.
    pub const FIX_POWER_ENV_E: u16 = 659;
    /// Thermal throttling starts.
    pub const FIX_THERMAL_ENV_S: u16 = 660;
    /// Thermal throttling ends.
    pub const FIX_THERMAL_ENV_E: u16 = 661;
    /// A blocked access of a secure initiator. The driver resets the card.
    pub const RAZWI_OR_ADC_SW: u16 = 662;
    /// Ids are below this; the driver drops others.
    pub const LIMIT: u16 = 663;

    /// TPC `index` (0..=7): its decoder reported an error.
    #[must_use]
    pub const fn tpc_dec(index: usize) -> u16 {
        201 + 2 * (index as u16 & 7)
    }

    /// TPC `index` (0..=7): its kernel reported an error.
    #[must_use]
    pub const fn tpc_kernel_error(index: usize) -> u16 {
        301 + 6 * (index as u16 & 7)
    }

    /// Sync manager `index` (0 W_S, 1 E_S, 2 W_N, 3 E_N); payload: [`super::Event::sync_manager`].
    #[must_use]
    pub const fn sync_manager(index: usize) -> u16 {
        277 + (index as u16 & 3)
    }

    /// DMA core `index` (0..=7).
    #[must_use]
    pub const fn dma_core(index: usize) -> u16 {
        604 + (index as u16 & 7)
    }

    /// QMAN `index` in the numbering of [`crate::regs::qman::base`]: 0..=7 DMA, 8..=15 TPC, 16 MME0, else MME2.
    #[must_use]
    pub const fn queue_manager(index: usize) -> u16 {
        match index {
            0..=7 => 583 + index as u16,
            8..=15 => 572 + (index as u16 - 8),
            16 => 581,
            _ => 582,
        }
    }
}

/// Numbers that the host and the engines write to GICD_SETSPI_NSR (`cpucp.md` 4.1, 12.3).
pub mod interrupt {
    /// The packet queue's producer index, or the queue handshake.
    pub const PI_UPDATE: u32 = 484;
    /// Stop: a reset or the removal of the driver follows.
    pub const HALT_MACHINE: u32 = 485;
    /// The driver is ready for events.
    pub const INTS_REGISTER: u32 = 486;

    /// Translation failed.
    pub const MMU_PAGE_FAULT: u32 = 229;
    /// Ask the host for a reset.
    pub const DEV_RESET_REQ: u32 = 495;

    /// Distance from these numbers to the events they stand for (`cpucp.md` 12.4: the same for all from 149 on).
    const TO_EVENT: u32 = 151;

    /// Number of QMAN `index`, in the numbering of [`crate::regs::qman::base`].
    #[must_use]
    pub const fn queue_manager(index: u32) -> u32 {
        super::id::queue_manager(index as usize) as u32 - TO_EVENT
    }

    /// Number of the kernel error of TPC `index` (0..=7).
    #[must_use]
    pub const fn tpc_kernel_error(index: u32) -> u32 {
        super::id::tpc_kernel_error(index as usize) as u32 - TO_EVENT
    }

    /// The event that an error interrupt stands for: QMANs and DMA cores (421..=460), TPC kernels, page faults, and the
    /// request for a reset that queue cores send.
    #[must_use]
    pub const fn error_event(number: u32) -> Option<u16> {
        match number {
            421..=428 | 430..=439 | 453..=460 | MMU_PAGE_FAULT | DEV_RESET_REQ => Some((number + TO_EVENT) as u16),
            150..=192 if (number - 150).is_multiple_of(6) => Some((number + TO_EVENT) as u16),
            _ => None,
        }
    }
}

/// True when the driver ends the handling of the event with an UNMASK_RAZWI_IRQ packet: then at most one event of this id
/// may be outstanding (`cpucp.md` 10.3 and the classes D to J, L to N and P of 12.4).
#[must_use]
pub const fn is_unmasked_by_host(id: u16) -> bool {
    match id {
        // G: single-bit ECC errors.
        32 | 34 | 36 | 38..=45 | 70..=77 | 86 | 88 | 89 | 92..=123 | 156..=160 | 176..=179 | 185..=188 | 193 => true,
        54..=69 => id & 1 == 0,
        // H: decoders.
        200 | 257 | 262 | 263 => true,
        // E: TPC decoders.
        201..=215 => id & 1 == 1,
        // J: MME responses.
        219 | 220 | 224 | 225 | 229 | 230 | 234 | 235 => true,
        // M: NIC, N: sync managers.
        264..=268 | 277..=280 => true,
        // L and F: TPC monitors and kernels.
        300..=343 => id % 6 <= 1,
        // I: MMU. L: DMA monitors. D: HBM.
        380 | 381 | 383..=390 | 396 | 400 | 404 | 408 => true,
        // J: RAZWI, queue managers, DMA cores.
        548 | 572..=579 | 581..=590 | 594..=611 => true,
        // P: throttling.
        658..=661 => true,
        _ => false,
    }
}

/// Bytes of an entry of the event queue.
pub const ENTRY_BYTES: usize = 64;
/// Offset of the control word in an entry; it is written last.
pub const ENTRY_CTL: u64 = 4;
/// Offset of the payload in an entry.
pub const ENTRY_PAYLOAD: usize = 8;
/// Control word: the host owns the entry.
pub const CTL_READY: u32 = 1 << 31;
/// Bytes of payload that an [`Event`] can carry; no payload of the driver's table is longer.
pub const PAYLOAD_BYTES: usize = 24;

/// The control word of an entry: event id in bits 27:16, running index in bits 15:0, READY.
#[must_use]
pub const fn ctl(id: u16, index: u16) -> u32 {
    CTL_READY | (id as u32 & 0xFFF) << 16 | index as u32
}

/// An event: its id and its payload, zero where the id has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Event id, below [`id::LIMIT`].
    pub id: u16,
    /// Payload from its start; the rest of the entry is zero.
    pub payload: [u8; PAYLOAD_BYTES],
}

impl Event {
    /// An event without payload.
    #[must_use]
    pub const fn new(id: u16) -> Self {
        Self { id, payload: [0; PAYLOAD_BYTES] }
    }

    /// An error of sync manager `index`: cause 0 SOB over- or underflow, 1 unaligned address, 2 failed payload write; `log`
    /// names SOB group, address bits or initiator.
    #[must_use]
    pub const fn sync_manager(index: usize, cause: u8, log: u32) -> Self {
        let mut event = Self::new(id::sync_manager(index));
        let [a, b, c, d] = log.to_le_bytes();
        event.payload[0] = a;
        event.payload[1] = b;
        event.payload[2] = c;
        event.payload[3] = d;
        event.payload[4] = cause;
        event
    }

    /// The packet queue lost synchronisation between the host's producer index and our consumer index.
    #[must_use]
    pub fn out_of_sync(producer: u32, consumer: u32) -> Self {
        let mut event = Self::new(id::PKT_QUEUE_OUT_SYNC);
        event.put(0, &producer.to_le_bytes());
        event.put(4, &consumer.to_le_bytes());
        event
    }

    /// Firmware is about to die after `uptime` seconds; `process` and `thread` are free for its own codes, `critical`
    /// selects the severity.
    #[must_use]
    pub fn firmware_alive(uptime: u64, process: u32, thread: u32, critical: bool) -> Self {
        let mut event = Self::new(id::FW_ALIVE_S);
        event.put(0, &uptime.to_le_bytes());
        event.put(8, &process.to_le_bytes());
        event.put(12, &thread.to_le_bytes());
        event.put(16, &[u8::from(critical)]);
        event
    }

    /// Over-temperature with its cause.
    #[must_use]
    pub fn high_temperature(cause: u8) -> Self {
        let mut event = Self::new(id::PSOC_GPIO_U16_0);
        event.put(0, &[cause]);
        event
    }

    /// An ECC event: address, syndrome, memory wrapper and criticality (`cpucp.md` 11).
    #[must_use]
    pub fn ecc(id: u16, address: u64, syndrome: u64, wrapper: u8, critical: bool) -> Self {
        let mut event = Self::new(id);
        event.put(0, &address.to_le_bytes());
        event.put(8, &syndrome.to_le_bytes());
        event.put(16, &[wrapper, u8::from(critical)]);
        event
    }

    /// The entry's bytes with the control word left zero: what is written before the control word.
    #[must_use]
    pub fn entry_without_ctl(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        for (to, from) in entry.iter_mut().skip(ENTRY_PAYLOAD).zip(self.payload) {
            *to = from;
        }
        entry
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (to, from) in self.payload.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of `cpucp.md` 12.4.
    #[test]
    fn ids_are_those_of_the_table() {
        assert_eq!([0, 7, 8, 15, 16, 17].map(id::queue_manager), [583, 590, 572, 579, 581, 582]);
        assert_eq!([0, 7].map(id::dma_core), [604, 611]);
        assert_eq!([0, 1, 7].map(id::tpc_dec), [201, 203, 215]);
        assert_eq!([0, 1, 7].map(id::tpc_kernel_error), [301, 307, 343]);
        assert_eq!([0, 3].map(id::sync_manager), [277, 280]);
    }

    /// Pairs of `cpucp.md` 12.3.
    #[test]
    fn engine_interrupts_stand_for_their_events() {
        for (number, event) in
            [(421, 572), (428, 579), (430, 581), (431, 582), (432, 583), (439, 590), (453, 604), (460, 611), (150, 301)]
                .into_iter()
                .chain([(192, 343), (229, 380), (495, 646)])
        {
            assert_eq!(interrupt::error_event(number), Some(event));
        }
        for number in [149, 151, 193, 228, 230, 420, 429, 440, 452, 461, 484, 485, 486, 494] {
            assert_eq!(interrupt::error_event(number), None);
        }
    }

    #[test]
    fn numbers_and_events_agree_in_both_directions() {
        for index in 0..18 {
            let number = interrupt::queue_manager(index);
            assert_eq!(interrupt::error_event(number), Some(id::queue_manager(index as usize)));
        }
        for index in 0..8 {
            let number = interrupt::tpc_kernel_error(index);
            assert_eq!(interrupt::error_event(number), Some(id::tpc_kernel_error(index as usize)));
        }
        assert_eq!(interrupt::error_event(interrupt::MMU_PAGE_FAULT), Some(id::MMU_PAGE_FAULT));
        assert_eq!(interrupt::error_event(interrupt::DEV_RESET_REQ), Some(id::DEV_RESET_REQ));
    }

    #[test]
    fn only_events_that_the_host_unmasks_are_masked() {
        for masked in
            [32, 38, 45, 54, 70, 92, 123, 200, 201, 215, 257, 264, 277, 300, 301, 342, 343, 380, 381, 396, 548]
        {
            assert!(is_unmasked_by_host(masked), "{masked}");
        }
        for masked in [572, 579, 581, 590, 594, 604, 611, 658, 661] {
            assert!(is_unmasked_by_host(masked), "{masked}");
        }
        for free in
            [33, 46, 55, 69, 78, 124, 184, 189, 202, 217, 239, 290, 302, 395, 421, 483, 580, 612, 645, 646, 647, 648]
        {
            assert!(!is_unmasked_by_host(free), "{free}");
        }
        assert!(!is_unmasked_by_host(662) && !is_unmasked_by_host(663) && !is_unmasked_by_host(u16::MAX));
    }

    #[test]
    fn an_entry_has_the_documented_bytes() {
        assert_eq!(ctl(646, 1), 0x8286_0001);
        assert_eq!(ctl(277, 0xFFFF), 0x8115_FFFF);
        let entry = Event::sync_manager(3, 1, 0x1234_5678).entry_without_ctl();
        assert_eq!(entry[..16], [0, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 1, 0, 0, 0]);
        let entry = Event::out_of_sync(5, 0x1FFF).entry_without_ctl();
        assert_eq!(entry[8..16], [5, 0, 0, 0, 0xFF, 0x1F, 0, 0]);
        let entry = Event::firmware_alive(0x0102_0304_0506_0708, 9, 10, true).entry_without_ctl();
        assert_eq!(entry[8..25], [8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 10, 0, 0, 0, 1]);
        let entry = Event::ecc(32, 0x11, 0x22, 3, true).entry_without_ctl();
        assert_eq!(entry[8..26], [0x11, 0, 0, 0, 0, 0, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0, 3, 1]);
        assert_eq!(Event::high_temperature(2).entry_without_ctl()[8], 2);
    }
}
