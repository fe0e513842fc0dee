//! The queues of the engines: rings in host memory, submission, completion (`submission-path.md` 3 to 5).
//!
//! Owns every PQ ring, the CQ rings of the external queues, and the command buffers in flight. Completions are taken only
//! after an interrupt, as the driver does: a card that completes without telling is found out.

use crate::HostError;
use crate::control::{fill_zero, outside, write};
use crate::link::Link;
use crate::memory::{Allocator, PAGE, Pages};
use coxswain_abi::packet::{self, EB, Header, MB, opcode};
use coxswain_abi::regs::{CFG_BASE, pcie, qman};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// External queues: four streams of DMA0, then four of DMA1.
pub const EXTERNAL: u32 = 8;
/// Number of the control queue, which is none of these.
pub const CONTROL: u32 = 8;
/// Queues, the control queue counted: numbers of the driver without the network queues.
pub const QUEUES: u32 = 73;
/// Entries of a CQ ring.
const CQ_ENTRIES: u32 = 4096;
/// CQ entry: complete.
const CQ_READY: u32 = 1 << 31;
/// CQ entry: the job index is valid.
const CQ_INDEX_VALID: u32 = 1 << 30;
/// Job index of a CQ entry.
const CQ_INDEX: u32 = 0xFFF;
/// Bytes of the two packets behind the user's packets.
const END_PAIR: usize = 32;
/// Line that the pair must not cross.
const LINE: usize = 128;

/// A submission on an external queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The queue.
    pub queue: u32,
    /// Running number of the submission on this queue, from 0.
    pub number: u64,
}

/// QMAN and stream behind a queue number (`gaudi-soc.md` 3.1); `None` for the control queue and beyond the last.
#[must_use]
pub fn place(queue: u32) -> Option<(usize, usize)> {
    let stream = |first: u32| ((queue - first) / 4, ((queue - first) % 4) as usize);
    Some(match queue {
        0..=7 => (stream(0).0 as usize, stream(0).1),
        9..=32 => (2 + stream(9).0 as usize, stream(9).1),
        // The driver's MME_0 is MME2's queue manager, and MME_1 is MME0's.
        33..=36 => (17, stream(33).1),
        37..=40 => (16, stream(37).1),
        41..=72 => (8 + stream(41).0 as usize, stream(41).1),
        _ => return None,
    })
}

/// Entries of a queue's ring.
#[must_use]
pub const fn ring_entries(queue: u32) -> u32 {
    if queue < 33 { 4096 } else { 1024 }
}

/// The packets of an external job as they lie in memory: the user's, padding, the CQ entry and the interrupt.
#[must_use]
pub fn external_buffer(packets: &[u64], completion: u64, value: u32) -> Vec<u64> {
    let size = 8 * packets.len();
    let mut buffer = packets.to_vec();
    if size % LINE + END_PAIR > LINE {
        buffer.resize(size.next_multiple_of(LINE) / 8, packet::nop(0));
    }
    let barrier = if contains_dma(packets) { EB | MB } else { MB };
    buffer.extend(packet::msg_prot(completion, value, barrier));
    buffer.extend(packet::msg_prot(CFG_BASE + u64::from(pcie::CORE_MSI_REQ), 1, MB));
    buffer
}

/// True when a job has a LIN_DMA packet: only then the driver asks for an engine barrier.
fn contains_dma(packets: &[u64]) -> bool {
    let mut rest = packets;
    while let Some(first) = rest.first() {
        let header = Header(*first);
        if header.opcode() == opcode::LIN_DMA {
            return true;
        }
        let Some(next) = header.words().and_then(|words| rest.get(words..)) else { return false };
        rest = next;
    }
    false
}

#[derive(Debug)]
struct Ring {
    pages: Pages,
    entries: u32,
    producer: u32,
    doorbell: u32,
    /// External queues only.
    completion: Option<Completion>,
}

#[derive(Debug)]
struct Completion {
    pages: Pages,
    submitted: u64,
    completed: u64,
    /// Job index and command buffer of the submissions that are not complete, oldest first.
    pending: VecDeque<(u32, Pages)>,
}

/// All queues of the engines.
#[derive(Debug)]
pub struct Queues {
    /// By queue number; `None` for the control queue.
    rings: Vec<Option<Ring>>,
    interrupts: u64,
}

impl Queues {
    /// Takes memory for every ring, zeroed. Interrupts sent before this do not count.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn new(link: &Link, allocator: &mut Allocator) -> Result<Self, HostError> {
        let mut take = |bytes: u32| -> Result<Pages, HostError> {
            let pages = allocator.take(u64::from(bytes), PAGE)?;
            fill_zero(link, pages)?;
            Ok(pages)
        };
        let mut rings = Vec::new();
        for queue in 0..QUEUES {
            let Some((index, stream)) = place(queue) else {
                rings.push(None);
                continue;
            };
            let entries = ring_entries(queue);
            let completion = match queue < EXTERNAL {
                true => Some(Completion {
                    pages: take(4 * CQ_ENTRIES)?,
                    submitted: 0,
                    completed: 0,
                    pending: VecDeque::new(),
                }),
                false => None,
            };
            let pages = take(16 * entries)?;
            let doorbell = qman::base(index) + qman::PQ_PI_0 + 4 * stream as u32;
            rings.push(Some(Ring { pages, entries, producer: 0, doorbell, completion }));
        }
        Ok(Self { rings, interrupts: link.interrupts() })
    }

    /// Device address of the ring of a QMAN's stream.
    #[must_use]
    pub fn ring_address(&self, index: usize, stream: usize) -> Option<u64> {
        let queue = (0..QUEUES).find(|queue| place(*queue) == Some((index, stream)))?;
        self.rings.get(queue as usize)?.as_ref().map(|ring| ring.pages.device_address(0))
    }

    fn ring(&mut self, queue: u32) -> Result<&mut Ring, HostError> {
        let ring = self.rings.get_mut(queue as usize).and_then(Option::as_mut);
        ring.ok_or_else(|| HostError::usage(format!("there is no engine queue {queue}")))
    }

    /// Puts an entry into a ring and rings the doorbell. `ctl` is the software index of external queues.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn push(&mut self, link: &Link, queue: u32, address: u64, bytes: u32, ctl: u32) -> Result<(), HostError> {
        let ring = self.ring(queue)?;
        let slot = ring.pages.address + 16 * u64::from(ring.producer % ring.entries);
        let mut entry = [0; 16];
        for (target, value) in entry.chunks_exact_mut(4).zip([address as u32, (address >> 32) as u32, bytes, ctl]) {
            target.copy_from_slice(&value.to_le_bytes());
        }
        write(link, slot, &entry)?;
        coxswain_card::memory::full_barrier();
        ring.producer = (ring.producer + 1) % (2 * ring.entries);
        link.write(ring.doorbell, ring.producer);
        Ok(())
    }

    /// Submits packets to an external queue, with the end that reports completion.
    ///
    /// # Errors
    /// There is no such external queue, it is full, or there is no memory for the command buffer.
    pub fn submit(
        &mut self,
        link: &Link,
        allocator: &mut Allocator,
        queue: u32,
        packets: &[u64],
    ) -> Result<Ticket, HostError> {
        let ring = self.ring(queue)?;
        let producer = ring.producer;
        let completion = ring
            .completion
            .as_mut()
            .ok_or_else(|| HostError::usage(format!("queue {queue} is internal: it reports no completion")))?;
        if completion.submitted - completion.completed >= u64::from(CQ_ENTRIES) {
            return Err(HostError::usage(format!("queue {queue} is full")));
        }
        let slot = completion.submitted % u64::from(CQ_ENTRIES);
        let index = producer & CQ_INDEX;
        let buffer =
            external_buffer(packets, completion.pages.device_address(4 * slot), CQ_READY | CQ_INDEX_VALID | index);
        let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_le_bytes()).collect();
        let pages = allocator.take(bytes.len() as u64, PAGE)?;
        completion.pending.push_back((index, pages));
        let ticket = Ticket { queue, number: completion.submitted };
        completion.submitted += 1;
        write(link, pages.address, &bytes)?;
        let size = u32::try_from(bytes.len()).map_err(|_| HostError::usage("packets beyond 4 GiB"))?;
        self.push(link, queue, pages.device_address(0), size, index)?;
        Ok(ticket)
    }

    /// Waits until a submission is complete.
    ///
    /// # Errors
    /// It is not within `bound`; the words say whether only the interrupt was missing.
    pub fn wait(
        &mut self,
        link: &Link,
        allocator: &mut Allocator,
        ticket: Ticket,
        bound: Duration,
    ) -> Result<(), HostError> {
        let end = Instant::now() + bound;
        loop {
            if self.is_complete(ticket)? {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            match link.wait_interrupt(self.interrupts, left) {
                Some(count) => {
                    self.interrupts = count;
                    self.collect(link, allocator)?;
                }
                None => {
                    let what = format!("completion of submission {} on queue {}", ticket.number, ticket.queue);
                    self.collect(link, allocator)?;
                    let seen = match self.is_complete(ticket)? {
                        true => "its CQ entry is there, but no interrupt came",
                        false => "its CQ entry is not written",
                    };
                    return Err(HostError::Timeout { what, bound, seen: seen.to_owned() });
                }
            }
        }
    }

    /// True when a submission is known to be complete.
    ///
    /// # Errors
    /// The ticket's queue is not external.
    pub fn is_complete(&mut self, ticket: Ticket) -> Result<bool, HostError> {
        let completion = self.ring(ticket.queue)?.completion.as_ref();
        let completion = completion.ok_or_else(|| HostError::usage("a ticket of an internal queue"))?;
        Ok(ticket.number < completion.completed)
    }

    /// Submissions on external queues that are not known to be complete.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let completions = self.rings.iter().flatten().filter_map(|ring| ring.completion.as_ref());
        completions.map(|completion| completion.submitted - completion.completed).sum()
    }

    /// Takes every CQ entry that is ready, as the driver's interrupt handler does.
    ///
    /// # Errors
    /// An entry does not belong to the job whose turn it is.
    pub fn collect(&mut self, link: &Link, allocator: &mut Allocator) -> Result<(), HostError> {
        let memory = link.memory();
        for (queue, ring) in self.rings.iter_mut().enumerate() {
            let Some(completion) = ring.as_mut().and_then(|ring| ring.completion.as_mut()) else { continue };
            loop {
                let place = completion.pages.address + 4 * (completion.completed % u64::from(CQ_ENTRIES));
                let entry = memory.load_acquire_u32(place).map_err(outside)?;
                if entry & CQ_READY == 0 {
                    break;
                }
                let turn = completion.pending.front().copied();
                let claims = |(index, _): &(u32, Pages)| entry & CQ_INDEX_VALID != 0 && entry & CQ_INDEX == *index;
                let Some((_, pages)) = turn.filter(claims) else {
                    return Err(HostError::protocol(format!(
                        "CQ {queue} holds {entry:#x}, the job whose turn it is has index {:?}",
                        turn.map(|(index, _)| index)
                    )));
                };
                memory.store_release_u32(place, entry & !CQ_READY).map_err(outside)?;
                completion.completed += 1;
                completion.pending.pop_front();
                allocator.give_back(pages);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_abi::regs::dma_core::commit;

    fn dwords(words: &[u64]) -> Vec<u32> {
        words.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect()
    }

    /// `submission-path.md` 11.1.
    #[test]
    fn an_external_buffer_is_the_documented_one() {
        let user = packet::lin_dma(0x1_0000_0000_0000, 0x2000_0000, 0x1000, packet::RB | commit::LIN);
        let buffer = external_buffer(&user, 0x80_1234_5678, CQ_READY | CQ_INDEX_VALID);
        assert_eq!(
            dwords(&buffer),
            [
                0x1000,
                0x4900_0008,
                0,
                0x0001_0000,
                0x2000_0000,
                0, //
                0xC000_0000,
                0xA700_0000,
                0x1234_5678,
                0x80, //
                1,
                0x8700_0000,
                0xFCC0_4100,
                0x7F
            ]
        );
    }

    /// `submission-path.md` 11.1: 96 bytes fit a line with the pair, 104 bytes need three NOPs.
    #[test]
    fn the_pair_never_crosses_a_line() {
        let nops = |count: usize| vec![packet::nop(MB); count];
        assert_eq!(external_buffer(&nops(12), 0, 0).len(), 16);
        let padded = external_buffer(&nops(13), 0, 0);
        assert_eq!(padded.len(), 20);
        assert_eq!(dwords(&padded)[26..28], [0, 0x0A00_0000]);
        assert_eq!(padded[13], padded[15]);
        for count in 1..100 {
            let start = 8 * (external_buffer(&nops(count), 0, 0).len() - 4);
            assert_eq!(start / 128, (start + 31) / 128, "{count}");
        }
    }

    #[test]
    fn only_a_job_with_lin_dma_asks_for_the_engine_barrier() {
        let message = packet::msg_long(0x7F_FC4F_2000, 1, 0);
        assert_eq!(dwords(&external_buffer(&message, 0, 0))[5], 0x8700_0000);
        // An operand that looks like a LIN_DMA header is none.
        let disguised = packet::msg_long(0x4900_0008_0000_0000, 1, 0);
        assert_eq!(dwords(&external_buffer(&disguised, 0, 0))[5], 0x8700_0000);
        let both: Vec<u64> = message.into_iter().chain(packet::lin_dma(0, 0, 1, commit::LIN)).collect();
        assert_eq!(dwords(&external_buffer(&both, 0, 0))[11], 0xA700_0000);
    }

    /// `gaudi-soc.md` 3.1.
    #[test]
    fn queue_numbers_are_those_of_the_driver() {
        let doorbell = |queue| place(queue).map(|(index, stream)| qman::base(index) + 0xA0 + 4 * stream as u32);
        assert_eq!(doorbell(0), Some(0x50_80A0));
        assert_eq!(doorbell(7), Some(0x52_80AC));
        assert_eq!(doorbell(8), None);
        assert_eq!(doorbell(9), Some(0x54_80A0));
        assert_eq!(doorbell(32), Some(0x5E_80AC));
        assert_eq!(doorbell(33), Some(0x16_80A0));
        assert_eq!(doorbell(37), Some(0x06_80A0));
        assert_eq!(doorbell(41), Some(0xE0_80A0));
        assert_eq!(doorbell(72), Some(0xFC_80AC));
        assert_eq!(doorbell(73), None);
        assert_eq!((ring_entries(32), ring_entries(33)), (4096, 1024));
    }
}
