//! The whole card behind its two sockets: what crosses from one function to the other.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

#[allow(dead_code, reason = "each test file uses a part")]
mod vfio_client;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coxswain_abi::regs::{CFG_BASE, pcie, psoc};
use coxswain_abi::soc::{Attributes, PostedWrite, ResetReason, WriteKind, bar0, core_block, info};
use coxswain_card::{Card, CardOptions, CpuPower, HOST_MEMORY_LIMIT, ResetCounts};
use vfio_client::{Client, event, events, eventually};

const CONFIG: u32 = 7;
const CFG: u64 = 0x400_0000;
const DEVICE_RESET: u16 = 13;

struct Rig {
    card: Card,
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let card = Card::start(options(&directory, 1 << 20)).unwrap();
        Self { card, directory }
    }

    fn host(&self) -> Client {
        let mut client = Client::connect(&self.directory.path().join("host.sock"));
        client.write_u32(CONFIG, 4, 6);
        client
    }

    fn soc_socket(&self) -> PathBuf {
        self.directory.path().join("soc.sock")
    }
}

fn options(directory: &tempfile::TempDir, host_memory_bytes: u64) -> CardOptions {
    CardOptions {
        host_memory_bytes,
        host_socket: directory.path().join("host.sock"),
        soc_socket: directory.path().join("soc.sock"),
        lockstep: false,
        straps: 1,
        fuses: coxswain_card::Fuses::new(),
        fuse_file: None,
        trace: None,
    }
}

/// Does what QEMU does when the management CPU's machine is reset, and counts.
struct Machine {
    client: Mutex<Client>,
    holds: AtomicU32,
    releases: AtomicU32,
    broken: AtomicBool,
    posts: AtomicBool,
}

impl Machine {
    fn attach(rig: &Rig) -> Arc<Self> {
        let machine = Arc::new(Self {
            client: Mutex::new(Client::connect(&rig.soc_socket())),
            holds: AtomicU32::new(0),
            releases: AtomicU32::new(0),
            broken: AtomicBool::new(false),
            posts: AtomicBool::new(false),
        });
        rig.card.set_cpu_power(machine.clone());
        machine
    }
}

impl CpuPower for Machine {
    fn hold(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.broken.load(Ordering::SeqCst), "the machine does not answer");
        self.holds.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn release(&self) -> anyhow::Result<()> {
        let mut client = self.client.lock().unwrap();
        client.call(DEVICE_RESET, &[]).unwrap();
        for bar in 0..6 {
            client.write_u32(CONFIG, 0x10 + 4 * bar, 0);
        }
        client.write_u32(CONFIG, 4, 6);
        if self.posts.load(Ordering::SeqCst) {
            // What a ROM does first: publish that it runs.
            let write = PostedWrite {
                address: CFG_BASE + u64::from(psoc::CPU_BOOT_STATUS),
                data: 5,
                attributes: Attributes::CPU.with_kind(WriteKind::Status),
            };
            let block = core_block::offset(0);
            for (index, word) in (0..).zip(write.to_words()) {
                client.region_write(0, block + core_block::POSTED_RING + 8 * index, &word.to_le_bytes()).unwrap();
            }
            client.write_u32(0, block + core_block::POSTED_PRODUCER, 1);
            client.write_u32(0, bar0::KICK, 0);
        }
        self.releases.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn reset_card(host: &mut Client) {
    host.write_u32(2, CFG + u64::from(psoc::SW_ALL_RST_CFG_L), u32::MAX);
    host.write_u32(2, CFG + u64::from(psoc::SW_ALL_RST_CFG_H), u32::MAX);
    host.write_u32(2, CFG + u64::from(psoc::SW_ALL_RST), 1);
}

#[test]
fn a_software_reset_cycles_the_cpu_while_its_machine_resets_the_function() {
    let rig = Rig::new();
    let machine = Machine::attach(&rig);
    let mut host = rig.host();
    host.write_u32(2, CFG + u64::from(psoc::HW_STATE), 1);
    for round in 1..=3 {
        reset_card(&mut host);
        let end = Instant::now() + Duration::from_secs(10);
        while host.read_u32(2, CFG + u64::from(psoc::BTM_FSM)) != 0 {
            assert!(Instant::now() < end, "the boot manager stays busy");
        }
        assert_eq!(machine.holds.load(Ordering::SeqCst), round);
        assert_eq!(machine.releases.load(Ordering::SeqCst), round);
    }
    eventually(|| rig.card.resets() == ResetCounts { completed: 3, failed: 0 });
    assert_eq!(host.read_u32(2, CFG + u64::from(psoc::HW_STATE)), 0, "the reset reached the registers");
    let reason = rig.card.memories().soc.read_u32(bar0::INFO + info::RESET_REASON).unwrap();
    assert_eq!(ResetReason::from_raw(reason), Some(ResetReason::SoftwareAll));
}

#[test]
fn a_cpu_that_cannot_be_held_leaves_the_boot_manager_busy() {
    let rig = Rig::new();
    let machine = Machine::attach(&rig);
    machine.broken.store(true, Ordering::SeqCst);
    let mut host = rig.host();
    reset_card(&mut host);
    eventually(|| rig.card.resets().failed == 1);
    assert_ne!(host.read_u32(2, CFG + u64::from(psoc::BTM_FSM)) & 0xF, 0);
    assert_eq!(machine.releases.load(Ordering::SeqCst), 0);
    // With a machine that answers the card comes back.
    machine.broken.store(false, Ordering::SeqCst);
    rig.card.set_cpu_power(machine.clone());
    eventually(|| host.read_u32(2, CFG + u64::from(psoc::BTM_FSM)) == 0);
    assert_eq!(rig.card.resets(), ResetCounts { completed: 1, failed: 1 });
}

#[test]
fn what_the_cpu_posts_before_the_card_is_out_of_reset_is_not_forgotten() {
    let rig = Rig::new();
    let machine = Machine::attach(&rig);
    machine.posts.store(true, Ordering::SeqCst);
    let mut host = rig.host();
    reset_card(&mut host);
    eventually(|| host.read_u32(2, CFG + u64::from(psoc::CPU_BOOT_STATUS)) == 5);
}

#[test]
fn firmware_can_ask_for_a_warm_restart() {
    let rig = Rig::new();
    let machine = Machine::attach(&rig);
    {
        let mut client = machine.client.lock().unwrap();
        client.write_u32(CONFIG, 4, 6);
        client.write_u32(0, bar0::CPU_RESET, 1);
    }
    eventually(|| rig.card.resets().completed == 1);
    let reason = rig.card.memories().soc.read_u32(bar0::INFO + info::RESET_REASON).unwrap();
    assert_eq!(ResetReason::from_raw(reason), Some(ResetReason::Firmware));
}

#[test]
fn a_reset_of_either_function_is_no_reset_of_the_card() {
    let rig = Rig::new();
    let machine = Machine::attach(&rig);
    let mut host = rig.host();
    host.write_u32(2, CFG + u64::from(psoc::HW_STATE), 1);
    host.call(DEVICE_RESET, &[]).unwrap();
    machine.client.lock().unwrap().call(DEVICE_RESET, &[]).unwrap();
    host.write_u32(CONFIG, 4, 6);
    assert_eq!(host.read_u32(2, CFG + u64::from(psoc::HW_STATE)), 1);
    assert_eq!(rig.card.resets(), ResetCounts::default());
    assert_eq!(machine.holds.load(Ordering::SeqCst), 0);
}

#[test]
fn a_write_of_the_msi_register_interrupts_the_host() {
    let rig = Rig::new();
    let mut host = rig.host();
    let ours = event();
    host.region_write(CONFIG, 0x52, &[1, 0]).unwrap();
    host.set_irqs(0x24, 1, 0, 1, &[&ours]).unwrap();
    host.write_u32(2, CFG + u64::from(pcie::CORE_MSI_REQ), 1);
    assert_eq!(rig.card.host().wait_msi(0, Duration::from_secs(10)), Some(1));
    eventually(|| events(&ours) == 1);
}

#[test]
fn both_machines_share_the_memories() {
    let rig = Rig::new();
    let mut host = rig.host();
    let mut soc = Client::connect(&rig.soc_socket());
    soc.write_u32(CONFIG, 4, 6);
    host.write_u32(0, 0x2000, 1);
    host.write_u32(4, 0x80_0000, 2);
    rig.card.memories().host.write_u32(0x1000, 3).unwrap();
    assert_eq!([soc.read_u32(0, 0x2000), soc.read_u32(4, 0x80_0000), soc.read_u32(2, 0x1000)], [1, 2, 3]);
    assert_eq!(soc.read_u32(0, bar0::INFO + info::MAGIC), info::MAGIC_VALUE);
    let bytes = u64::from_le_bytes(soc.region_read(0, bar0::INFO + info::HOST_BYTES, 8).unwrap().try_into().unwrap());
    assert_eq!(bytes, 1 << 20);
}

#[test]
fn a_host_memory_that_cannot_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for bytes in [0, 4095, (1 << 20) + 1, HOST_MEMORY_LIMIT] {
        assert!(Card::start(options(&directory, bytes)).is_err(), "{bytes:#x}");
    }
}

#[test]
fn a_card_that_is_shut_down_leaves_no_socket_and_can_be_started_again() {
    let rig = Rig::new();
    let mut client = rig.host();
    rig.card.shutdown();
    assert!(client.is_closed());
    assert_eq!(std::fs::read_dir(rig.directory.path()).unwrap().count(), 0);
    let again = Card::start(options(&rig.directory, 1 << 20)).unwrap();
    Client::connect(&rig.directory.path().join("host.sock"));
    assert_eq!(again.clients(), [1, 0]);
}

/// Not a pass or fail: prints what one trapped access costs without a QEMU, for a look at changes of the server.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_trapped_read() {
    let rig = Rig::new();
    let mut host = rig.host();
    let rounds = 20_000;
    let start = Instant::now();
    for _ in 0..rounds {
        host.read_u32(2, CFG + u64::from(psoc::CPU_BOOT_STATUS));
    }
    println!("{:.1} us per read", start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}
