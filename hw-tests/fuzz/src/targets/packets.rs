//! The control queue: registers, rings, packets and interrupts as a host writes them (`coxswain_core::cpucp`).

use coxswain_abi::cpucp::{BufferDescriptor, FENCE_ACKNOWLEDGED, Packet, opcode, queue_init};
use coxswain_abi::event::{CTL_READY, ENTRY_BYTES, Event, interrupt};
use coxswain_abi::regs::cpu_if;
use coxswain_abi::regs::psoc::{CPU_BOOT_DEV_STS0, sts0};
use coxswain_core::cpucp::telemetry::ConstantTelemetry;
use coxswain_core::cpucp::{Ports, Server, Signal};
use coxswain_core::event::EventQueue;
use coxswain_core::ports::Registers as _;
use coxswain_gaudi::identity::{IDENTITY, SENSORS};
use zerocopy::IntoBytes as _;
use zerocopy::little_endian::{U32, U64};

use crate::board::{Host, Posts, Register};
use crate::bytes::Bytes;
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "packets",
    run,
    seeds,
    milestones: &[
        "a handshake",
        "a refused handshake",
        "a packet succeeds",
        "a packet fails",
        "the queue is lost",
        "access is withdrawn",
        "halt",
        "an event is written",
    ],
};

static THE_IDENTITY: coxswain_core::cpucp::identity::Identity = IDENTITY;

/// Offsets in the host's memory. The shared area lies in its middle, so that a step outside would find memory.
const SHARED: usize = 0x1_0000;
const PQ: usize = SHARED;
const EQ: usize = SHARED + 0x1000;
const PACKET: usize = SHARED + 0x2000;
const BUFFER: usize = SHARED + 0x3000;
const SHARED_BYTES: usize = 0x1_0000;
const MEMORY: usize = 0x4_0000;
/// Entries of the packet queue, and of the event queue.
const PQ_ENTRIES: u32 = 64;
const EQ_ENTRIES: u32 = 16;
/// Most steps that are looked at.
const STEPS: usize = 300;

/// An offset in the form of address that the host uses for the management CPU: bit 39, low bits of the bus address.
const fn at(offset: usize) -> u64 {
    0x80_0000_0000 + Host::BASE + offset as u64
}

/// The registers of the handshake, and what the driver writes there.
const REGISTERS: [(u32, u32); 11] = [
    (cpu_if::CPU_MSB_ADDR, 1),
    (cpu_if::PQ_BASE_ADDR_LOW, at(PQ) as u32),
    (cpu_if::PQ_BASE_ADDR_HIGH, (at(PQ) >> 32) as u32),
    (cpu_if::EQ_BASE_ADDR_LOW, at(EQ) as u32),
    (cpu_if::EQ_BASE_ADDR_HIGH, (at(EQ) >> 32) as u32),
    (cpu_if::CQ_BASE_ADDR_LOW, at(SHARED) as u32),
    (cpu_if::CQ_BASE_ADDR_HIGH, (at(SHARED) >> 32) as u32),
    (cpu_if::PQ_LENGTH, 16 * PQ_ENTRIES),
    (cpu_if::EQ_LENGTH, ENTRY_BYTES as u32 * EQ_ENTRIES),
    (cpu_if::CQ_LENGTH, SHARED_BYTES as u32),
    (CPU_BOOT_DEV_STS0, sts0::ENABLED),
];

struct Play {
    registers: Register,
    host: Host,
    posts: Posts,
    telemetry: ConstantTelemetry,
    events: EventQueue,
    server: Server,
    /// The host's producer index.
    index: u32,
    /// Everything so far was as the driver does it, so that the next proper packet must be answered.
    in_step: bool,
    now_us: u64,
    /// Bus addresses of the shared area of the last handshake; `None` while the host gives no access.
    area: Option<std::ops::Range<u64>>,
    reached: Reached,
}

/// Runs one input.
///
/// # Panics
/// When a rule of the control queue is broken.
pub fn run(bytes: &[u8]) -> Reached {
    let mut bytes = Bytes::new(bytes);
    let registers = Register::default();
    for (offset, value) in REGISTERS {
        registers.set(offset, value);
    }
    let mut play = Play {
        posts: Posts::new(&registers),
        registers,
        host: Host::new(MEMORY),
        telemetry: ConstantTelemetry::new(SENSORS),
        events: EventQueue::new(),
        server: Server::new(&THE_IDENTITY),
        index: 0,
        in_step: false,
        now_us: 0,
        area: None,
        reached: Reached::new(),
    };
    if bytes.byte() & 1 == 0 {
        play.handshake();
        play.interrupt(interrupt::INTS_REGISTER);
        play.send(&Packet::request(opcode::ENABLE_PCI_ACCESS, 0, 0, 0), 24);
    }
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        play.posts.room = 64;
        play.step(&mut bytes);
    }
    play.reached
}

impl Play {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 16 {
            0 => {
                let (offset, good) = bytes.choose(&REGISTERS);
                let value = if bytes.byte() & 1 == 0 { bytes.word() } else { good.wrapping_add(bytes.byte().into()) };
                self.in_step = false;
                self.registers.set(offset, value);
            }
            1 => {
                for (offset, value) in REGISTERS {
                    self.registers.set(offset, value);
                }
            }
            2 => self.handshake(),
            3..=8 => self.packet(bytes),
            9 => {
                let entry = bytes.take(16);
                self.in_step = false;
                self.host.put(PQ + 16 * (self.index % PQ_ENTRIES) as usize, entry);
                self.produce();
            }
            10 => {
                let number = match bytes.byte() {
                    0..16 => bytes.word(),
                    16 => interrupt::HALT_MACHINE,
                    number => interrupt::PI_UPDATE + u32::from(number % 2) * 2,
                };
                self.interrupt(number);
            }
            11 => {
                let offset = SHARED + usize::from(bytes.half());
                self.host.put(offset, bytes.take(16));
                // Entries and packets are written anew before they count; an entry of the event queue may now look taken.
            }
            12 => self.events.post(Event::new(bytes.half() % 700)),
            13 => {
                self.now_us += u64::from(bytes.half()) * 100;
                self.run(|server, ports, events| server.tick(ports, events));
            }
            14 => {
                for entry in 0..EQ_ENTRIES as usize {
                    let place = EQ + ENTRY_BYTES * entry + 4;
                    let control = self.host.word(place);
                    self.host.put(place, &(control & !CTL_READY).to_le_bytes());
                }
            }
            _ => {
                self.posts.room = usize::from(bytes.byte() % 3);
                self.registers.set(cpu_if::PF_PQ_PI, bytes.choose(&[self.index, self.index + 1, u32::MAX, 0]));
                self.in_step = false;
                self.interrupt(interrupt::PI_UPDATE);
            }
        }
    }

    /// The driver's handshake with what stands in the registers.
    fn handshake(&mut self) {
        self.index = 0;
        self.registers.set(cpu_if::PF_PQ_PI, 0);
        self.registers.set(cpu_if::QUEUE_INIT, queue_init::READY_FOR_CP_SINGLE_MSI);
        self.interrupt(interrupt::PI_UPDATE);
        self.in_step =
            self.server.is_ready() && REGISTERS.iter().all(|&(offset, value)| self.registers.read(offset) == value);
    }

    /// A packet at the usual place, answered if everything was in step.
    fn packet(&mut self, bytes: &mut Bytes<'_>) {
        let kind = u16::from(bytes.byte());
        let value = match bytes.byte() % 5 {
            0 => at(BUFFER),
            1 => bytes.half().into(),
            2 => at(SHARED) + u64::from(bytes.word() % (2 * SHARED_BYTES as u32)),
            // Near the end of the shared area.
            3 => at(SHARED + SHARED_BYTES) - u64::from(bytes.half() % 0x1800),
            _ => bytes.double(),
        };
        let argument = match bytes.byte() % 4 {
            0 => 4096,
            1 => bytes.byte().into(),
            2 => bytes.half().into(),
            _ => bytes.word(),
        };
        let length = if bytes.byte() & 3 == 0 { bytes.half().into() } else { 24 };
        self.send(&Packet::request(kind, value, argument, bytes.byte().into()), length);
    }

    fn send(&mut self, packet: &Packet, length: u32) {
        let is_answered = self.in_step && self.server.is_ready();
        self.host.put(PACKET, packet.as_bytes());
        self.host.put(PACKET + 12, &[0; 4]);
        let next = (self.index + 1) % (2 * PQ_ENTRIES);
        let entry = BufferDescriptor { pointer: U64::new(at(PACKET)), length: U32::new(length), ctl: U32::new(next) };
        self.host.put(PQ + 16 * (self.index % PQ_ENTRIES) as usize, entry.as_bytes());
        self.produce();
        let is_good = length as usize >= size_of::<Packet>() && PACKET + length as usize <= SHARED + SHARED_BYTES;
        if is_answered && is_good {
            let fence = self.host.word(PACKET + 12);
            // A buffer over the packet itself is the host's own doing.
            let is_overwritten = packet.value.get() < at(BUFFER) && packet.value.get() >= at(SHARED);
            assert!(fence == FENCE_ACKNOWLEDGED || is_overwritten, "packet {} got no answer", packet.opcode());
        } else if !is_good {
            self.in_step = false;
        }
    }

    /// Moves the producer index on and tells it.
    fn produce(&mut self) {
        self.index = (self.index + 1) % (2 * PQ_ENTRIES);
        self.registers.set(cpu_if::PF_PQ_PI, self.index);
        self.interrupt(interrupt::PI_UPDATE);
    }

    fn interrupt(&mut self, number: u32) {
        self.run(|server, ports, events| server.on_interrupt(number, ports, events));
    }

    /// Runs the server once and looks at what it did.
    fn run(
        &mut self,
        act: impl FnOnce(&mut Server, &mut Ports<'_, Register, Host, Posts, ConstantTelemetry>, &mut EventQueue) -> Signal,
    ) {
        let before = (self.server.counters(), self.events.counters(), self.server.is_ready());
        let asked = self.registers.read(cpu_if::QUEUE_INIT) == queue_init::READY_FOR_CP_SINGLE_MSI;
        let mut ports = Ports {
            registers: &self.registers,
            host: &mut self.host,
            posts: &mut self.posts,
            telemetry: &mut self.telemetry,
            now_us: self.now_us,
        };
        let signal = act(&mut self.server, &mut ports, &mut self.events);
        let after = (self.server.counters(), self.events.counters());
        self.posts.log.clear();
        if asked && self.registers.read(cpu_if::QUEUE_INIT) == queue_init::READY_FOR_HOST {
            self.reached.insert("a handshake");
            self.area = Some(self.shared_area());
        }
        for write in std::mem::take(&mut self.host.writes) {
            let Some(area) = &self.area else { panic!("{write:?} without access") };
            let end = write.address + write.bytes as u64;
            assert!(area.start <= write.address && end <= area.end, "{write:?} is outside {area:x?}");
        }
        for (is_new, name) in [
            (after.0.succeeded != before.0.succeeded, "a packet succeeds"),
            (after.0.failed != before.0.failed, "a packet fails"),
            (after.0.lost != before.0.lost, "the queue is lost"),
            (after.0.refused_handshakes != before.0.refused_handshakes, "a refused handshake"),
            (after.1.sent != before.1.sent, "an event is written"),
            (signal == Signal::Halt, "halt"),
        ] {
            if is_new {
                self.reached.insert(name);
            }
        }
        let is_unexplained = after.0.lost == before.0.lost && after.0.refused_handshakes == before.0.refused_handshakes;
        let was_disabled = before.2 && !self.server.is_ready() && is_unexplained;
        if signal == Signal::Halt || was_disabled {
            self.area = None;
            self.reached.insert("access is withdrawn");
        }
        if !self.server.is_ready() {
            self.in_step = false;
        }
    }

    /// The shared area as the registers have it: bits 49:39 of an address are the 11 bits of CPU_MSB_ADDR, and host memory
    /// begins at bit 39 (`cpucp.md` 1).
    fn shared_area(&self) -> std::ops::Range<u64> {
        let read = |offset| u64::from(self.registers.read(offset));
        let low = read(cpu_if::CQ_BASE_ADDR_LOW) | read(cpu_if::CQ_BASE_ADDR_HIGH) << 32;
        let start = (low & 0x7F_FFFF_FFFF | (read(cpu_if::CPU_MSB_ADDR) & 0x7FF) << 39) - 0x80_0000_0000;
        start..start + read(cpu_if::CQ_LENGTH)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    // Packets: kind, form of the value, form of the argument, form of the length, second argument.
    let mut every_opcode = vec![0];
    for kind in 0..70 {
        every_opcode.extend([3, kind, 0, 0, 1, 0]);
    }
    // Buffers that end a few bytes behind the shared area: 4096 bytes, 4064 before its end; and as many as there are.
    let mut at_the_end = vec![0];
    for kind in 0..70 {
        at_the_end.extend([3, kind, 3, 0xE0, 0x0F, 0, 1, 0]);
        at_the_end.extend([3, kind, 3, 0x80, 0x00, 2, 0x88, 0x00, 1, 0]);
    }
    vec![
        every_opcode,
        at_the_end,
        // Events, taken, time passes.
        vec![0, 12, 124, 1, 13, 0, 0, 14, 12, 124, 1, 13, 255, 255, 3, 16, 1, 124, 1, 1, 0, 0, 1, 0],
        // An array of ids to unmask, behind a longer packet.
        vec![0, 11, 24, 0x20, 2, 0, 0, 0, 124, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3, 17, 1, 0, 0, 0, 0, 64, 0, 0],
        // A wrong entry, a new handshake.
        vec![0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 18, 1, 5, 0, 1, 1, 1, 0],
        // Registers that cannot be.
        vec![1, 0, 7, 1, 3, 2, 1, 2, 0, 0, 1, 1, 2, 1, 2, 0, 10, 16, 13, 1, 0],
        // Access withdrawn, then events, then halt.
        vec![0, 3, 1, 1, 0, 0, 0, 1, 0, 12, 1, 1, 13, 1, 0, 2, 10, 16, 12, 2, 1, 13, 9, 9],
    ]
}
