//! A stand-in for the card's firmware, so that the scripted host can be tested without a machine for it.
//!
//! It knows just enough of the protocols to answer the host: COMMS, the queue handshake, control packets, and command
//! buffers of MSG_PROT, MSG_LONG and LIN_DMA on external queues. It is written from the documents, not from the host's
//! code: its page walk and its packet reader are its own. It polls, and tells what it did.

use coxswain_abi::comms::{Descriptor, MessageLevel};
use coxswain_abi::regs::{self, cpu_if, psoc, qman};
use coxswain_abi::soc::{bar0, core_block};
use coxswain_card::{Card, CpuPower, Memories};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use zerocopy::{FromZeros, IntoBytes};

/// What a test may change about the stand-in.
#[derive(Default)]
pub struct Faults {
    /// Publish a descriptor with a wrong CRC.
    pub bad_descriptor: AtomicBool,
    /// Refuse the image of this stage at DATA_RDY: 1 boot-fit, 2 control image.
    pub refuse_image: AtomicU32,
    /// Write CQ entries but raise no interrupt.
    pub no_interrupt: AtomicBool,
    /// Do not execute command buffers.
    pub dead_queues: AtomicBool,
    /// Answer control packets of this opcode with code 2.
    pub failing_packet: AtomicU32,
}

/// What the stand-in saw.
#[derive(Default)]
pub struct Seen {
    /// Images by their stage, as found where the descriptor asked for them.
    pub images: Vec<Vec<u8>>,
    /// Opcodes of the control packets.
    pub packets: Vec<u16>,
    /// Reset causes told.
    pub causes: Vec<u8>,
}

pub struct StandIn {
    pub faults: Arc<Faults>,
    pub seen: Arc<Mutex<Seen>>,
    run: Arc<Run>,
}

struct Run {
    memories: Arc<Memories>,
    host: Arc<coxswain_card::HostFunction>,
    faults: Arc<Faults>,
    seen: Arc<Mutex<Seen>>,
    stop: AtomicBool,
    events: Mutex<Vec<(u16, [u8; 8])>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

const DESCRIPTOR: u64 = 0x1000;
const IMAGE: u64 = regs::SRAM_BASE + 0x20_0000;

impl StandIn {
    /// Starts the stand-in and lets the card's reset restart it.
    pub fn start(card: &Card) -> Self {
        let faults = Arc::new(Faults::default());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let run = Arc::new(Run {
            memories: card.memories().clone(),
            host: card.host().clone(),
            faults: faults.clone(),
            seen: seen.clone(),
            stop: AtomicBool::new(false),
            events: Mutex::new(Vec::new()),
            thread: Mutex::new(None),
        });
        card.set_cpu_power(Arc::new(Power(run.clone())));
        Power(run.clone()).release().unwrap();
        Self { faults, seen, run }
    }

    /// Puts an event into the event queue.
    pub fn send_event(&self, id: u16, payload: [u8; 8]) {
        self.run.events.lock().unwrap().push((id, payload));
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        Power(self.run.clone()).hold().unwrap();
    }
}

struct Power(Arc<Run>);

impl CpuPower for Power {
    fn hold(&self) -> anyhow::Result<()> {
        self.0.stop.store(true, Ordering::Release);
        if let Some(thread) = self.0.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
        Ok(())
    }

    fn release(&self) -> anyhow::Result<()> {
        self.0.stop.store(false, Ordering::Release);
        let run = self.0.clone();
        *self.0.thread.lock().unwrap() = Some(std::thread::spawn(move || Life::new(&run).live()));
        Ok(())
    }
}

/// One life from reset to reset.
struct Life<'a> {
    run: &'a Run,
    stage: u32,
    last_command: u32,
    ok_pending: Option<u32>,
    message_expected: bool,
    consumer: u32,
    event_slot: u32,
    event_index: u16,
    queues: [u32; 8],
}

impl<'a> Life<'a> {
    fn new(run: &'a Run) -> Self {
        Self {
            run,
            stage: 0,
            last_command: 0,
            ok_pending: None,
            message_expected: false,
            consumer: 0,
            event_slot: 0,
            event_index: 0,
            queues: [0; 8],
        }
    }

    fn register(&self, offset: u32) -> u32 {
        self.run.memories.soc.load_acquire_u32(bar0::SHADOW + u64::from(offset)).unwrap()
    }

    fn set(&self, offset: u32, value: u32) {
        self.run.memories.soc.store_release_u32(bar0::SHADOW + u64::from(offset), value).unwrap();
    }

    fn live(&mut self) {
        let valid = psoc::sts0::ENABLED | psoc::sts0::FW_LD_COM_EN | psoc::sts0::EQ_INDEX_EN;
        self.set(psoc::CPU_BOOT_DEV_STS0, valid);
        self.set(psoc::CPU_BOOT_STATUS, psoc::boot_status::WAITING_FOR_BOOT_FIT);
        while !self.run.stop.load(Ordering::Acquire) {
            self.drop_notifications();
            self.comms();
            self.control();
            self.events();
            for queue in 0..8 {
                self.queue(queue);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The stand-in polls registers; what the card tells besides is thrown away.
    fn drop_notifications(&self) {
        let block = core_block::offset(0);
        let soc = &self.run.memories.soc;
        let producer = soc.load_acquire_u32(block + core_block::NOTIFY_PRODUCER).unwrap();
        soc.store_release_u32(block + core_block::NOTIFY_CONSUMER, producer).unwrap();
    }

    fn comms(&mut self) {
        let word = self.register(psoc::KMD_MSG_TO_CPU);
        let (command, size) = (word >> 27, word & 0x1FF_FFFF);
        match command {
            0 => {
                let Some(done) = self.ok_pending.take() else { return };
                let status = self.carry_out(done >> 27);
                if let Some(status) = status {
                    self.set(psoc::CPU_CMD_STATUS_TO_HOST, status);
                }
            }
            1 => {
                self.set(psoc::CPU_CMD_STATUS_TO_HOST, 0);
                self.last_command = 0;
            }
            _ if word != self.last_command => {
                self.last_command = word;
                self.ok_pending = Some(word);
                if command == 3 {
                    self.publish(size);
                }
                self.set(psoc::CPU_CMD_STATUS_TO_HOST, 0x1000_0000);
            }
            _ => {}
        }
    }

    fn publish(&mut self, size: u32) {
        let version = ["Preboot version hl-stand-in-1.0.0-fw-1.0.0 (test)", "boot-fit of the stand-in"];
        let mut descriptor = Descriptor::new(version[self.stage as usize % 2], IMAGE);
        descriptor.add_message(MessageLevel::Info, &format!("room for {size} bytes"));
        let mut descriptor = descriptor.seal();
        if self.run.faults.bad_descriptor.load(Ordering::Relaxed) {
            descriptor.image_address = 0.into();
        }
        self.run.memories.soc.write_bytes(DESCRIPTOR, descriptor.as_bytes()).unwrap();
        self.message_expected = size == 1280;
    }

    fn carry_out(&mut self, command: u32) -> Option<u32> {
        match command {
            2 => Some(0x2000_0000),
            3 => Some(0x2000_0000 | (DESCRIPTOR >> 2) as u32),
            4 => {
                let mut image = vec![0; 4096];
                self.run.memories.soc.read_bytes(0x20_0000, &mut image).unwrap();
                if image[..4] == 0x4843_4D03u32.to_le_bytes() {
                    self.run.seen.lock().unwrap().causes.push(image[16]);
                    return Some(0x2000_0000);
                }
                if self.run.faults.refuse_image.load(Ordering::Relaxed) == self.stage + 1 {
                    self.set(psoc::CPU_BOOT_ERR0, 0x8000_0002);
                    return Some(0x2C00_0000);
                }
                self.run.seen.lock().unwrap().images.push(image);
                self.message_expected = false;
                Some(0x2000_0000)
            }
            5 if self.message_expected => Some(0x2000_0000),
            5 => {
                self.stage += 1;
                self.set(psoc::CPU_BOOT_STATUS, if self.stage == 1 { 15 } else { 3 });
                None
            }
            7 => {
                self.set(psoc::CPU_BOOT_STATUS, 1);
                None
            }
            _ => None,
        }
    }

    /// A host bus address from the form that CPU_IF registers carry.
    fn bus(&self, address: u64) -> u64 {
        (u64::from(self.register(cpu_if::CPU_MSB_ADDR)) << 39) + (address & 0x7F_FFFF_FFFF) - 0x80_0000_0000
    }

    fn pair(&self, low: u32, high: u32) -> u64 {
        u64::from(self.register(low)) | u64::from(self.register(high)) << 32
    }

    fn control(&mut self) {
        let memory = &self.run.memories.host;
        if self.register(cpu_if::QUEUE_INIT) == 3 {
            self.consumer = 0;
            self.set(cpu_if::QUEUE_INIT, 2);
            return;
        }
        if self.register(cpu_if::QUEUE_INIT) != 2 {
            return;
        }
        while self.consumer != self.register(cpu_if::PF_PQ_PI) {
            let ring = self.bus(self.pair(cpu_if::PQ_BASE_ADDR_LOW, cpu_if::PQ_BASE_ADDR_HIGH));
            let entry = ring + 16 * u64::from(self.consumer & 4095);
            let packet = self.bus(memory.read_u64(entry).unwrap());
            assert_eq!(memory.read_u32(entry + 12).unwrap(), (self.consumer + 1) & 8191, "index in the descriptor");
            let ctl = memory.read_u32(packet + 8).unwrap();
            let opcode = (ctl >> 16) as u16 & 0x1FFF;
            self.run.seen.lock().unwrap().packets.push(opcode);
            let failing = self.run.faults.failing_packet.load(Ordering::Relaxed) == u32::from(opcode);
            if opcode == 14 {
                let buffer = self.bus(memory.read_u64(packet).unwrap());
                assert_eq!(memory.read_u32(packet + 16).unwrap(), 1768);
                let mut info = coxswain_abi::cpucp::CpucpInfo::new_zeroed();
                info.card_name[..5].copy_from_slice(b"STAND");
                memory.write_bytes(buffer, info.as_bytes()).unwrap();
            }
            memory.write_u32(packet + 8, ctl | u32::from(failing) << 13).unwrap();
            memory.store_release_u32(packet + 12, 0xFE8C_E7A5).unwrap();
            self.consumer = (self.consumer + 1) & 8191;
        }
    }

    fn events(&mut self) {
        for (id, payload) in std::mem::take(&mut *self.run.events.lock().unwrap()) {
            let memory = &self.run.memories.host;
            let queue = self.bus(self.pair(cpu_if::EQ_BASE_ADDR_LOW, cpu_if::EQ_BASE_ADDR_HIGH));
            let entry = queue + 64 * u64::from(self.event_slot);
            self.event_index += 1;
            self.event_slot = (self.event_slot + 1) % 64;
            memory.write_bytes(entry + 8, &payload).unwrap();
            let ctl = 1 << 31 | u32::from(id) << 16 | u32::from(self.event_index);
            memory.store_release_u32(entry + 4, ctl).unwrap();
            self.run.host.msi().raise(0);
        }
    }

    fn queue(&mut self, queue: usize) {
        let base = qman::base(queue / 4);
        let stream = queue as u32 % 4;
        if self.register(base) == 0 || self.run.faults.dead_queues.load(Ordering::Relaxed) {
            self.queues[queue] = 0;
            return;
        }
        while self.queues[queue] != self.register(base + 0xA0 + 4 * stream) {
            let memory = &self.run.memories.host;
            let ring = self.pair(base + 0x70 + 4 * stream, base + 0x80 + 4 * stream) - regs::HOST_BASE;
            let entry = ring + 16 * u64::from(self.queues[queue] & 4095);
            let buffer = memory.read_u64(entry).unwrap() - regs::HOST_BASE;
            let bytes = u64::from(memory.read_u32(entry + 8).unwrap());
            self.execute(queue / 4, buffer, bytes);
            self.queues[queue] = (self.queues[queue] + 1) & 8191;
        }
    }

    /// Reads packets as `qman.md` 5.1 lays them out.
    fn execute(&self, engine: usize, buffer: u64, bytes: u64) {
        let memory = &self.run.memories.host;
        let word = |at: u64| memory.read_u64(buffer + at).unwrap();
        let mut at = 0;
        while at < bytes {
            let first = word(at);
            at += match first >> 56 & 0x1F {
                0x03 | 0x07 => {
                    self.message(word(at + 8), first as u32);
                    16
                }
                0x09 => {
                    self.dma(engine, first, word(at + 8), word(at + 16));
                    24
                }
                0x0A => 8,
                other => panic!("packet {other:#x} in a command buffer"),
            };
        }
    }

    fn message(&self, address: u64, value: u32) {
        if address == 0x7F_FCC0_4100 {
            if !self.run.faults.no_interrupt.load(Ordering::Relaxed) {
                self.run.host.msi().raise(0);
            }
        } else if address >= regs::HOST_BASE {
            self.run.memories.host.store_release_u32(address - regs::HOST_BASE, value).unwrap();
        } else {
            self.set((address - regs::CFG_BASE) as u32, value);
        }
    }

    fn dma(&self, engine: usize, first: u64, source: u64, destination: u64) {
        let size = first & 0xFFFF_FFFF;
        let secure = self.register(0x50_0000 + 0x2_0000 * engine as u32 + 0xB8) & 1 != 0;
        if first >> 36 & 1 != 0 {
            self.run.memories.hbm.fill(destination, size, source).unwrap();
            return;
        }
        for index in 0..size {
            let mut byte = [0];
            match self.locate(source + index, secure) {
                (true, at) => self.run.memories.host.read_bytes(at, &mut byte).unwrap(),
                (false, at) => self.run.memories.hbm.read_bytes(at, &mut byte).unwrap(),
            }
            match self.locate(destination + index, secure) {
                (true, at) => self.run.memories.host.write_bytes(at, &byte).unwrap(),
                (false, at) => self.run.memories.hbm.write_bytes(at, &byte).unwrap(),
            }
        }
    }

    /// Host or HBM, and where, for an address: its own walk of the tables in `gaudi-mmu-sync.md` 1.2.
    fn locate(&self, address: u64, secure: bool) -> (bool, u64) {
        if address < regs::HBM_SIZE {
            return (false, address);
        }
        if secure {
            return (true, address - regs::HOST_BASE);
        }
        let mut table = 0x1000_1000;
        for (shift, mask) in [(48, 3), (39, 511), (30, 511), (21, 511), (12, 511)] {
            let entry = self.run.memories.hbm.read_u64(table + 8 * (address >> shift & mask)).unwrap();
            assert_eq!(entry & 1, 1, "page fault at {address:#x}");
            table = entry & !0xFFF;
        }
        (true, table - regs::HOST_BASE + (address & 0xFFF))
    }
}
