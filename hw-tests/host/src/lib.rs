//! The scripted host: a small driver that uses the card through the same entry points as vfio-user does.
//!
//! For tests of firmware without Linux: in seconds, with every wait bounded and worded. It does what the `habanalabs`
//! driver does, in the driver's order and with the driver's bounds: ELBI and iATU, COMMS, register programming from the
//! recorded trace, control queue and events, queue tests, jobs with CQ entry and MSI, page tables, hard reset.
//!
//! It owns the host's memory of the card. It never touches the SoC's side: what it sees, a driver could see.
//!
//! ```no_run
//! # fn example(card: &coxswain_card::Card, boot_fit: &[u8], control: &[u8]) -> Result<(), coxswain_host::HostError> {
//! use coxswain_abi::{packet, regs::dma_core::commit};
//! let mut host = coxswain_host::Host::probe(card)?;
//! host.bring_up(boot_fit, control)?;
//! let buffer = host.map(4096)?;
//! host.write(&buffer, 0, b"hello")?;
//! let to_hbm = packet::lin_dma(buffer.address, 0x2000_0000, 5, packet::RB | commit::LIN);
//! host.run(0, &to_hbm)?;
//! # Ok(()) }
//! ```
//!
//! * [`link`]: configuration space, BARs, waiting;
//! * [`loader`]: preboot and COMMS;
//! * [`hardware`]: the trace of register writes;
//! * [`control`]: control queue and events;
//! * [`queues`]: engine queues;
//! * [`paging`]: page tables;
//! * [`memory`]: host memory;
//! * [`exercise`](exercise::exercise): a tour of all that.

mod bounds;
pub mod control;
mod error;
pub mod exercise;
pub mod hardware;
pub mod link;
pub mod loader;
pub mod memory;
pub mod paging;
pub mod queues;
mod reset;
mod static_loader;

pub use bounds::Bounds;
pub use control::Event;
pub use error::HostError;
pub use link::Link;
pub use loader::Loaded;
pub use queues::Ticket;

use control::Control;
use coxswain_abi::comms::ResetCause;
use coxswain_abi::cpucp::{CpucpInfo, Packet, opcode};
use coxswain_abi::packet::{self, EB, MB, RB};
use coxswain_abi::regs::psoc::{self, sts0};
use coxswain_abi::regs::{CFG_BASE, GICD_SETSPI_NSR, dma_core, sync_manager};
use coxswain_card::Card;
use memory::{Allocator, PAGE, Pages};
use paging::PageTables;
use queues::Queues;
use std::time::Duration;

/// Value that queue tests and the host's own jobs write to a word in host memory.
const FENCE_WORD: u32 = 0x72E9_1AB9;
/// Area of page tables that is cleared before use.
const TABLES: u64 = 0x1000_0000;
/// Bytes of it.
const TABLES_BYTES: u32 = 0x0C00_0000;

/// Host memory mapped for the user's address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Address for the user's packets.
    pub address: u64,
    /// The pages.
    pub pages: Pages,
}

/// The scripted host of one card.
pub struct Host {
    link: Link,
    bounds: Bounds,
    allocator: Allocator,
    queues: Option<Queues>,
    control: Option<Control>,
    tables: PageTables,
    /// Events taken while something else was waited for.
    events: Vec<Event>,
    /// Control image considered running, as the driver does.
    loaded: bool,
    /// Told to the ROM at the next load.
    cause: Option<ResetCause>,
}

impl Host {
    /// Finds the card and waits for its ROM, with the driver's bounds.
    ///
    /// # Errors
    /// An ELBI access fails, or the ROM is not ready.
    pub fn probe(card: &Card) -> Result<Self, HostError> {
        Self::probe_within(card, Bounds::default())
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// As [`Self::probe`].
    pub fn probe_within(card: &Card, bounds: Bounds) -> Result<Self, HostError> {
        let link = Link::new(card.host().clone(), card.memories().clone());
        let early = link.elbi_read(psoc::CPU_BOOT_DEV_STS0)?;
        link.enable_memory();
        let done_by_firmware = sts0::ENABLED | sts0::FW_IATU_CONF_EN;
        if early & done_by_firmware != done_by_firmware {
            link.program_iatu()?;
        }
        loader::wait_preboot(&link, &bounds)?;
        let limit = link.memory().len();
        let mut host = Self {
            link,
            bounds,
            allocator: Allocator::new(limit),
            queues: None,
            control: None,
            tables: PageTables::default(),
            events: Vec::new(),
            loaded: false,
            cause: None,
        };
        if host.link.read(psoc::HW_STATE) != 0 {
            // Left behind by a host that did not reset the card.
            host.hard_reset()?;
        }
        Ok(host)
    }

    /// The card's function, for tests that look at registers themselves.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// How long it waits.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Loads both images and waits until the control image runs.
    ///
    /// # Errors
    /// A stage refused or did not answer; the words contain what it said.
    pub fn load(&mut self, boot_fit: &[u8], control: &[u8]) -> Result<Loaded, HostError> {
        let loaded = loader::load(&self.link, &self.bounds, boot_fit, control, self.cause.take())?;
        self.loaded = true;
        Ok(loaded)
    }

    /// Programs the hardware as the driver does, switches MSI on and sets the control queue up.
    ///
    /// # Errors
    /// A poll does not end, memory is short, or the handshake fails.
    pub fn init_hardware(&mut self) -> Result<(), HostError> {
        let queues = Queues::new(&self.link, &mut self.allocator)?;
        let ring = |index, stream| queues.ring_address(index, stream);
        for group in ["04", "05", "06", "07", "08", "09", "10a", "10b", "10c", "10d", "11"] {
            hardware::replay(&self.link, &format!("hw_init.{group}"), ring)?;
        }
        self.queues = Some(queues);
        self.link.enable_msi(true)?;
        let area = self.allocator.take(control::AREA_BYTES, control::AREA_BYTES)?;
        self.control = Some(Control::handshake(&self.link, &self.bounds, area)?);
        let _ = self.link.read(psoc::HW_STATE);
        Ok(())
    }

    /// Tests the eight external queues and the control queue (`gaudi-soc.md` 6.6).
    ///
    /// # Errors
    /// A queue does not answer within its bound.
    pub fn test_queues(&mut self) -> Result<(), HostError> {
        for queue in 0..queues::EXTERNAL {
            self.own_job(queue, &[], self.bounds.queue_test, "queue test")?;
        }
        let answer = self.packet(opcode::TEST, u64::from(coxswain_abi::cpucp::FENCE_ACKNOWLEDGED), 0, 0)?;
        if answer.value.get() != u64::from(coxswain_abi::cpucp::FENCE_ACKNOWLEDGED) {
            return Err(HostError::protocol(format!("the TEST packet came back with {:#x}", answer.value.get())));
        }
        Ok(())
    }

    /// What the driver does before users come: information, access to the host, clean page tables, ASID 1 for every
    /// engine, ready for events. The driver's TPC kernel is not run.
    ///
    /// # Errors
    /// A packet or a job failed.
    pub fn late_init(&mut self) -> Result<CpucpInfo, HostError> {
        let (control, link) = (self.control.as_mut().ok_or_else(not_set_up)?, &self.link);
        let info = control.info(link, &self.bounds)?;
        loader::check_errors(&self.link)?;
        self.packet(opcode::ENABLE_PCI_ACCESS, 0, 0, 0)?;
        let memset = dma_core::commit::LIN | dma_core::commit::MEM_SET;
        let clear = packet::lin_dma(0, TABLES, TABLES_BYTES, RB | MB | memset);
        self.secure_job(&clear, "clearing the page tables")?;
        self.tables = PageTables::default();
        hardware::replay(&self.link, "late_init.mmu_prepare", |_, _| None)?;
        self.link.write(GICD_SETSPI_NSR, control::INTS_REGISTER);
        Ok(info)
    }

    /// Everything from the ROM to a card that takes jobs.
    ///
    /// # Errors
    /// Any step failed.
    pub fn bring_up(&mut self, boot_fit: &[u8], control: &[u8]) -> Result<(Loaded, CpucpInfo), HostError> {
        let loaded = self.load(boot_fit, control)?;
        self.init_hardware()?;
        self.test_queues()?;
        let info = self.late_init()?;
        Ok((loaded, info))
    }

    /// What the driver does when a user opens the card: clears the sync objects and monitors and restores the registers
    /// that users change (`gaudi-soc.md` 7).
    ///
    /// # Errors
    /// A job failed.
    pub fn open_context(&mut self) -> Result<(), HostError> {
        for manager in 0..sync_manager::MANAGERS {
            // The driver keeps the first sync objects and monitors of W_S.
            let (first_sob, first_monitor) = if manager == 0 { (144, 72) } else { (0, 0) };
            let base = CFG_BASE + u64::from(sync_manager::base(manager));
            let lists = [
                (sync_manager::SOB_OBJ_0, first_sob, sync_manager::SOBS),
                (sync_manager::MON_STATUS_0, first_monitor, sync_manager::MONITORS),
            ];
            for (array, first, end) in lists {
                let clear =
                    |number: usize| packet::msg_long(base + u64::from(array) + 4 * number as u64, 0, EB | RB | MB);
                let packets: Vec<u64> = (first..end).flat_map(clear).collect();
                self.secure_job(&packets, "clearing a sync manager")?;
            }
        }
        hardware::replay(&self.link, "ctx_open", |_, _| None)?;
        Ok(())
    }

    /// Sends a control packet and returns the answer.
    ///
    /// # Errors
    /// No answer, or an answer with an error code.
    pub fn packet(&mut self, opcode: u16, value: u64, argument: u32, argument2: u32) -> Result<Packet, HostError> {
        let control = self.control.as_mut().ok_or_else(not_set_up)?;
        control.send(&self.link, &self.bounds, &Packet::request(opcode, value, argument, argument2))
    }

    /// Sends a control packet that is answered with up to `bytes` of data.
    ///
    /// # Errors
    /// As [`Self::packet`].
    pub fn packet_for_data(
        &mut self,
        opcode: u16,
        bytes: usize,
        argument2: u32,
    ) -> Result<(Packet, Vec<u8>), HostError> {
        let control = self.control.as_mut().ok_or_else(not_set_up)?;
        control.send_for_data(&self.link, &self.bounds, opcode, bytes, argument2)
    }

    /// Submits packets to an external queue (0..=7).
    ///
    /// # Errors
    /// There is no such queue, it is full, or there is too little memory.
    pub fn submit(&mut self, queue: u32, packets: &[u64]) -> Result<Ticket, HostError> {
        let queues = self.queues.as_mut().ok_or_else(not_set_up)?;
        queues.submit(&self.link, &mut self.allocator, queue, packets)
    }

    /// Submits packets that lie in device-visible memory to an internal queue (9..=72). Nothing reports their completion.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn submit_internal(&mut self, queue: u32, address: u64, bytes: u32) -> Result<(), HostError> {
        if queue < queues::EXTERNAL {
            return Err(HostError::usage(format!("queue {queue} is external")));
        }
        self.queues.as_mut().ok_or_else(not_set_up)?.push(&self.link, queue, address, bytes, 0)
    }

    /// Waits until a submission is complete, at most `bound`.
    ///
    /// # Errors
    /// It is not; the words say whether only the interrupt was missing.
    pub fn wait(&mut self, ticket: Ticket, bound: Duration) -> Result<(), HostError> {
        let queues = self.queues.as_mut().ok_or_else(not_set_up)?;
        queues.wait(&self.link, &mut self.allocator, ticket, bound)
    }

    /// Submits packets to an external queue and waits for them.
    ///
    /// # Errors
    /// As [`Self::submit`] and [`Self::wait`].
    pub fn run(&mut self, queue: u32, packets: &[u64]) -> Result<(), HostError> {
        let ticket = self.submit(queue, packets)?;
        self.wait(ticket, self.bounds.job)
    }

    /// Submissions on external queues that are not known to be complete.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.queues.as_ref().map_or(0, Queues::pending)
    }

    /// MSIs sent so far; for [`Self::wait_msi`].
    #[must_use]
    pub fn msis(&self) -> u64 {
        self.link.interrupts()
    }

    /// Waits until more than `seen` MSIs were sent and returns their number; `None` when the time is over.
    #[must_use]
    pub fn wait_msi(&self, seen: u64, bound: Duration) -> Option<u64> {
        self.link.wait_interrupt(seen, bound)
    }

    /// Takes the events that have arrived, oldest first.
    ///
    /// # Errors
    /// An event is out of sequence.
    pub fn take_events(&mut self) -> Result<Vec<Event>, HostError> {
        let control = self.control.as_mut().ok_or_else(not_set_up)?;
        self.events.extend(control.take_events(&self.link)?);
        Ok(std::mem::take(&mut self.events))
    }

    /// Waits for an event with this id; others that come before it are kept for [`Self::take_events`].
    ///
    /// # Errors
    /// It does not come within `bound`, or an event is out of sequence.
    pub fn wait_event(&mut self, id: u16, bound: Duration) -> Result<Event, HostError> {
        let end = std::time::Instant::now() + bound;
        loop {
            let seen = self.link.interrupts();
            let events = self.take_events()?;
            self.events = events;
            if let Some(position) = self.events.iter().position(|event| event.id == id) {
                return Ok(self.events.remove(position));
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            if self.link.wait_interrupt(seen, left).is_none() {
                let others: Vec<u16> = self.events.iter().map(|event| event.id).collect();
                return Err(HostError::Timeout {
                    what: format!("event {id}"),
                    bound,
                    seen: format!("other events: {others:?}"),
                });
            }
        }
    }

    /// Answers an event so that firmware may send it again.
    ///
    /// # Errors
    /// As [`Self::packet`].
    pub fn unmask_event(&mut self, id: u16) -> Result<(), HostError> {
        self.packet(opcode::UNMASK_RAZWI_IRQ, u64::from(id), 0, 0).map(|_| ())
    }

    /// Takes zeroed host memory and maps it for ASID 1.
    ///
    /// # Errors
    /// Too little memory or room for tables, or the invalidation does not end.
    pub fn map(&mut self, bytes: u64) -> Result<Buffer, HostError> {
        let pages = self.allocator.take(bytes, PAGE)?;
        control::fill_zero(&self.link, pages)?;
        let address = self.tables.map(&self.link, pages)?;
        Ok(Buffer { address, pages })
    }

    /// Unmaps a buffer and gives its memory back.
    ///
    /// # Errors
    /// It is not mapped, or the invalidation does not end.
    pub fn unmap(&mut self, buffer: Buffer) -> Result<(), HostError> {
        self.tables.unmap(&self.link, buffer.address, buffer.pages.bytes)?;
        self.allocator.give_back(buffer.pages);
        Ok(())
    }

    /// Writes bytes into a buffer.
    ///
    /// # Errors
    /// They do not fit.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<(), HostError> {
        control::write(&self.link, place_in(buffer, offset, bytes.len())?, bytes)
    }

    /// Reads bytes of a buffer.
    ///
    /// # Errors
    /// The range is outside the buffer.
    pub fn read(&self, buffer: &Buffer, offset: u64, bytes: &mut [u8]) -> Result<(), HostError> {
        control::read(&self.link, place_in(buffer, offset, bytes.len())?, bytes)
    }

    /// Runs packets on DMA0 stream 0 untranslated, as the driver does with its own jobs.
    fn secure_job(&mut self, packets: &[u64], what: &str) -> Result<(), HostError> {
        let protection = dma_core::base(0) + dma_core::PROT;
        self.link.write(protection, 3);
        let result = self.own_job(0, packets, self.bounds.own_job, what);
        self.link.write(protection, 2);
        result
    }

    /// Runs packets on an external queue, followed by a word to host memory that is polled: no CQ entry, no interrupt.
    fn own_job(&mut self, queue: u32, packets: &[u64], bound: Duration, what: &str) -> Result<(), HostError> {
        let bytes = 8 * (packets.len() as u64 + 2);
        let pages = self.allocator.take(bytes + 8, PAGE)?;
        control::fill_zero(&self.link, pages)?;
        let words = packets.iter().copied().chain(packet::msg_prot(pages.device_address(bytes), FENCE_WORD, EB | MB));
        let buffer: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        control::write(&self.link, pages.address, &buffer)?;
        let queues = self.queues.as_mut().ok_or_else(not_set_up)?;
        queues.push(&self.link, queue, pages.device_address(0), bytes as u32, 0)?;
        let memory = self.link.memory();
        let looks = || match memory.load_acquire_u32(pages.address + bytes) {
            Ok(FENCE_WORD) => Ok(()),
            Ok(word) => Err(format!("the fence word is {word:#x}")),
            Err(error) => Err(error.to_string()),
        };
        self.link.wait_until(bound, || format!("{what} on queue {queue}"), looks)?;
        // Kept when the job did not end: the card may still read it.
        self.allocator.give_back(pages);
        Ok(())
    }
}

fn place_in(buffer: &Buffer, offset: u64, length: usize) -> Result<u64, HostError> {
    let fits = offset <= buffer.pages.bytes && length as u64 <= buffer.pages.bytes - offset;
    if fits {
        Ok(buffer.pages.address + offset)
    } else {
        Err(HostError::usage(format!("{length} bytes at {offset} of a buffer of {} bytes", buffer.pages.bytes)))
    }
}

fn not_set_up() -> HostError {
    HostError::usage("the queues are not set up: init_hardware first")
}
