//! CPUCP: answers the driver's control packets.
//!
//! [`Server`] owns the consumer index of the packet queue, the shared area it accepted in the handshake, and the settings
//! that packets change. It answers every packet - an unknown one with an error, never with silence - and believes no index,
//! length or address before it has checked it. It never waits: one call answers a bounded number of packets.
//!
//! * [`area`] - the shared area: host addresses made safe. [`handshake`] - QUEUE_INIT.
//! * [`dispatch`] - what each packet does. [`identity`] - who we are.
//! * [`telemetry`] - the port to the board's sensors, and a table of constants that stands for them.
//!
//! # Use
//!
//! 1. Publish STS0 (with at most the bits of [`CAPABILITIES`] from this module) and SRAM_AVAIL.
//! 2. Call [`Server::on_interrupt`] with [`PI_UPDATE`](interrupt::PI_UPDATE) once - the handshake may already be there - and
//!    then with every number that the host writes to GICD_SETSPI_NSR.
//! 3. At the safety tick call [`Server::tick`].
//!
//! # When the two sides disagree (`cpucp.md` 5.2)
//!
//! A producer index that cannot be, an entry whose control word is not the next index, or a packet outside the shared area
//! mean that the queue is lost: event 647 is posted with both indices (the driver answers it with a reset) and nothing more is
//! read until the next handshake.

pub mod area;
mod dispatch;
mod handshake;
pub mod identity;
pub mod telemetry;

use coxswain_abi::cpucp::{
    BufferDescriptor, FENCE_ACKNOWLEDGED, PACKET_BYTES, PACKET_CTL, PACKET_FENCE, Packet, ReturnCode, queue_init,
};
use coxswain_abi::event::{Event, interrupt};
use coxswain_abi::regs::cpu_if;
use coxswain_abi::regs::psoc::{self, sts0};
use zerocopy::{FromZeros, IntoBytes};

use crate::event::EventQueue;
use crate::ports::{HostMemory, OutOfRange, PostedWrites, Registers};
use handshake::Queues;
use identity::Identity;
use telemetry::{Access, Telemetry};

/// STS0 bits whose behaviour this module and the event queue implement. MAP_HWMON_EN is not among them: sensor attributes use
/// the numbers of Linux (`decisions.md` 1).
pub const CAPABILITIES: u32 = sts0::PLL_INFO_EN | sts0::PKT_PI_ACK_EN | sts0::DYN_PLL_EN | sts0::EQ_INDEX_EN;

/// Packets answered in one call; the driver has one in flight.
pub const PACKETS_PER_CALL: usize = 8;

/// What the server needs from the board for one call.
pub struct Ports<'a, R, H, P, T> {
    /// The register file.
    pub registers: &'a R,
    /// The host's memory.
    pub host: &'a mut H,
    /// Posted writes: the handshake's answer and interrupts.
    pub posts: &'a mut P,
    /// Sensors, counters, LEDs and buses.
    pub telemetry: &'a mut T,
    /// Microseconds since the image started.
    pub now_us: u64,
}

impl<R, H, P, T> Ports<'_, R, H, P, T> {
    /// Telemetry, and its way to the chip.
    fn telemetry(&mut self) -> (&mut T, Access<'_, R, P>) {
        (self.telemetry, Access { registers: self.registers, posts: self.posts })
    }
}

/// What the caller must do after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Signal {
    /// Nothing.
    None,
    /// More packets wait: call [`Server::tick`] again, after other work had its turn.
    More,
    /// The host halts the card: stop the queues, access the host no more, park within 200 ms.
    Halt,
}

/// Counters of the packet queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketCounters {
    /// Packets answered with success.
    pub succeeded: u32,
    /// Packets answered with an error.
    pub failed: u32,
    /// Times that the queue was lost.
    pub lost: u32,
    /// Handshakes that were refused.
    pub refused_handshakes: u32,
}

/// Settings that packets change.
#[derive(Debug, Clone)]
struct Settings {
    /// Power limit in mW.
    max_power: u64,
    /// Configured frequency per PLL of [`coxswain_abi::cpucp::Pll::ALL`], in Hz.
    frequency: [u64; 10],
}

/// The CPUCP server.
pub struct Server {
    identity: &'static Identity,
    settings: Settings,
    queues: Option<Queues>,
    halted: bool,
    counters: PacketCounters,
}

impl Server {
    /// A server that waits for the handshake.
    #[must_use]
    pub fn new(identity: &'static Identity) -> Self {
        let settings = Settings { max_power: identity.default_power_mw, frequency: identity.frequencies() };
        Self { identity, settings, queues: None, halted: false, counters: PacketCounters::default() }
    }

    /// True after a handshake, until the host withdraws access or the queue is lost.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.queues.is_some()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> PacketCounters {
        self.counters
    }

    /// The power limit in mW that the host set.
    #[must_use]
    pub const fn max_power(&self) -> u64 {
        self.settings.max_power
    }

    /// Acts on an interrupt number from the host. Numbers that are not for the control plane do nothing here.
    pub fn on_interrupt<R, H, P, T>(
        &mut self,
        number: u32,
        ports: &mut Ports<'_, R, H, P, T>,
        events: &mut EventQueue,
    ) -> Signal
    where
        R: Registers,
        H: HostMemory,
        P: PostedWrites,
        T: Telemetry,
    {
        match number {
            interrupt::PI_UPDATE => self.tick(ports, events),
            interrupt::INTS_REGISTER => {
                events.host_is_ready();
                events.pump(ports.host, ports.posts, ports.now_us);
                Signal::None
            }
            interrupt::HALT_MACHINE => {
                self.halted = true;
                self.queues = None;
                events.stop();
                Signal::Halt
            }
            _ => Signal::None,
        }
    }

    /// Does whatever waits: the handshake, packets, events. Looks only at registers and memory, so a lost interrupt is made
    /// good by calling it.
    pub fn tick<R, H, P, T>(&mut self, ports: &mut Ports<'_, R, H, P, T>, events: &mut EventQueue) -> Signal
    where
        R: Registers,
        H: HostMemory,
        P: PostedWrites,
        T: Telemetry,
    {
        if self.halted {
            return Signal::None;
        }
        if ports.registers.read(cpu_if::QUEUE_INIT) == queue_init::READY_FOR_CP_SINGLE_MSI {
            self.handshake(ports, events);
        }
        let more = self.serve(ports, events);
        events.pump(ports.host, ports.posts, ports.now_us);
        if more { Signal::More } else { Signal::None }
    }

    /// Takes the queues over and tells the host so, or why not.
    fn handshake<R, H, P, T>(&mut self, ports: &mut Ports<'_, R, H, P, T>, events: &mut EventQueue)
    where
        R: Registers,
        H: HostMemory,
        P: PostedWrites,
    {
        if ports.posts.available() == 0 {
            return;
        }
        let answer = match Queues::take_over(ports.registers, ports.host) {
            // Our answer may still be on its way to the register that was read.
            Ok(queues) if self.queues == Some(queues) && queues.is_untouched() => return,
            Ok(queues) => {
                events.restart(queues.events);
                self.queues = Some(queues);
                queue_init::READY_FOR_HOST
            }
            Err(refusal) => {
                self.queues = None;
                self.counters.refused_handshakes = self.counters.refused_handshakes.saturating_add(1);
                refusal.queue_init()
            }
        };
        ports.posts.post_status(cpu_if::QUEUE_INIT, answer);
        ports.posts.flush();
    }

    /// Answers waiting packets; true when more wait.
    fn serve<R, H, P, T>(&mut self, ports: &mut Ports<'_, R, H, P, T>, events: &mut EventQueue) -> bool
    where
        R: Registers,
        H: HostMemory,
        P: PostedWrites,
        T: Telemetry,
    {
        for _ in 0..PACKETS_PER_CALL {
            let Some(queues) = self.queues else { return false };
            let producer = ports.registers.read(cpu_if::PF_PQ_PI);
            if producer == queues.consumer {
                return false;
            }
            let Some(next) = self.serve_one(queues, producer, ports, events) else {
                self.queues = None;
                self.counters.lost = self.counters.lost.saturating_add(1);
                events.post(Event::out_of_sync(producer, queues.consumer));
                return false;
            };
            // The packet may have withdrawn access, and with it the queues.
            if let Some(queues) = &mut self.queues {
                queues.consumer = next;
            }
        }
        self.queues.is_some_and(|queues| ports.registers.read(cpu_if::PF_PQ_PI) != queues.consumer)
    }

    /// Answers the packet at the consumer index and returns the next index; `None` when the two sides disagree.
    fn serve_one<R, H, P, T>(
        &mut self,
        queues: Queues,
        producer: u32,
        ports: &mut Ports<'_, R, H, P, T>,
        events: &mut EventQueue,
    ) -> Option<u32>
    where
        R: Registers,
        H: HostMemory,
        P: PostedWrites,
        T: Telemetry,
    {
        if !queues.may_produce(producer) {
            return None;
        }
        let mut entry = BufferDescriptor::new_zeroed();
        ports.host.read(queues.entry_address(), entry.as_mut_bytes()).ok()?;
        let next = queues.next_index();
        if entry.ctl.get() != next {
            return None;
        }
        let length = entry.length.get();
        if (length as usize) < PACKET_BYTES || entry.pointer.get() % 4 != 0 {
            return None;
        }
        let address = queues.area.bus_address(entry.pointer.get(), u64::from(length))?;
        let mut packet = Packet::new_zeroed();
        ports.host.read(address, packet.as_mut_bytes()).ok()?;

        let result = self.execute(&packet, address, length, queues.area, ports, events);
        let acknowledge = match ports.registers.read(psoc::CPU_BOOT_DEV_STS0) & sts0::PKT_PI_ACK_EN {
            0 => FENCE_ACKNOWLEDGED,
            _ => next,
        };
        self.count(result);
        Self::answer(&packet, address, result, acknowledge, ports.host).ok()?;
        if packet.opcode() == coxswain_abi::cpucp::opcode::DISABLE_PCI_ACCESS {
            self.queues = None;
            events.stop();
        }
        Some(next)
    }

    fn count(&mut self, result: Result<Option<u64>, ReturnCode>) {
        let counter = match result {
            Ok(_) => &mut self.counters.succeeded,
            Err(_) => &mut self.counters.failed,
        };
        *counter = counter.wrapping_add(1);
    }

    /// Writes the answer: result, control word, and last the fence, which is all the driver polls (`cpucp.md` 5.4).
    fn answer(
        packet: &Packet,
        address: u64,
        result: Result<Option<u64>, ReturnCode>,
        acknowledge: u32,
        host: &mut impl HostMemory,
    ) -> Result<(), OutOfRange> {
        let code = match result {
            Ok(value) => {
                if let Some(value) = value {
                    host.write(address, &value.to_le_bytes())?;
                }
                ReturnCode::Success
            }
            Err(code) => code,
        };
        host.write(address.saturating_add(PACKET_CTL), &packet.ctl_with(code).to_le_bytes())?;
        host.write_release(address.saturating_add(PACKET_FENCE), acknowledge)
    }
}
