//! Both functions under real QEMUs: that they attach, place the BARs, reach memories and trapped pages, and take interrupts.
//!
//! Ignored by default because a QEMU with `vfio-user-pci` (10.1) and `gic-version=3,msi=gicv2m` (11.0) is needed: one in the
//! search path, or the folder that the harness unpacks, named by `COXSWAIN_QEMU_ROOT`.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coxswain_abi::soc::{bar0, info};
use coxswain_card::{Card, CardOptions};

/// Host memory: any size that SeaBIOS is content with.
const HOST_BYTES: u64 = 256 << 20;

fn card(directory: &tempfile::TempDir) -> Card {
    Card::start(CardOptions {
        host_memory_bytes: HOST_BYTES,
        host_socket: directory.path().join("host.sock"),
        soc_socket: directory.path().join("soc.sock"),
        lockstep: false,
        straps: 0,
        fuses: coxswain_card::Fuses::new(),
        fuse_file: None,
        trace: Some(Arc::new(|entry| println!("{entry}"))),
    })
    .unwrap()
}

fn qemu(program: &str) -> Command {
    let Some(root) = std::env::var_os("COXSWAIN_QEMU_ROOT").map(PathBuf::from) else { return Command::new(program) };
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(&libraries).arg(root.join("usr/bin").join(program));
    command.env("QEMU_MODULE_DIR", libraries.join("qemu")).env_remove("LD_LIBRARY_PATH");
    for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
        command.arg("-L").arg(root.join(folder));
    }
    command
}

fn function(socket: &str, directory: &tempfile::TempDir, place: &str) -> String {
    let path = directory.path().join(socket);
    format!(r#"{{"driver":"vfio-user-pci",{place},"rombar":0,"socket":{{"path":"{}","type":"unix"}}}}"#, path.display())
}

/// A QEMU whose standard input and output are a monitor or a qtest channel; killed at the end.
struct Machine {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Machine {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    /// Sends a qtest command and returns what follows OK.
    fn qtest(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "QEMU ended at: {command}");
            if let Some(answer) = line.strip_prefix("OK") {
                return answer.trim().to_owned();
            }
            assert!(!line.starts_with("FAIL"), "{command}: {line}");
        }
    }

    fn write_u32(&mut self, address: u64, value: u32) {
        self.qtest(&format!("writel {address:#x} {value:#x}"));
    }

    fn read_u32(&mut self, address: u64) -> u32 {
        let answer = self.qtest(&format!("readl {address:#x}"));
        u32::try_from(u64::from_str_radix(answer.trim_start_matches("0x"), 16).unwrap()).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ECAM address of device 1 on the virt machine's root bus.
const ECAM: u64 = 0x40_1000_8000;
/// Places for BAR0, BAR2 and BAR4 in the 64-bit window.
const BARS: [u64; 3] = [0x80_0000_0000, 0x80_4000_0000, 0x88_0000_0000];

fn program_function(machine: &mut Machine) {
    for (index, address) in BARS.into_iter().enumerate() {
        machine.write_u32(ECAM + 0x10 + 8 * index as u64, address as u32);
        machine.write_u32(ECAM + 0x14 + 8 * index as u64, (address >> 32) as u32);
    }
    machine.write_u32(ECAM + 4, 6);
}

#[test]
#[ignore = "needs a QEMU, see the file's head"]
fn the_management_cpus_machine_reaches_memories_kick_page_and_interrupts() {
    let directory = tempfile::tempdir().unwrap();
    let card = card(&directory);
    let monitor = directory.path().join("qmp");
    let mut machine = Machine::start(
        qemu("qemu-system-aarch64")
            .args(["-M", "virt,gic-version=3,msi=gicv2m", "-cpu", "cortex-a53", "-accel", "qtest", "-m", "256M"])
            .args(["-object", "memory-backend-memfd,id=m0,size=256M,share=on", "-machine", "memory-backend=m0"])
            .args(["-nodefaults", "-display", "none", "-qtest", "stdio", "-qtest-log", "/dev/null"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-device")
            .arg(function("soc.sock", &directory, r#""bus":"pcie.0","addr":"1.0""#)),
    );
    assert_eq!(machine.read_u32(ECAM), 0x10C0_1DA3);
    machine.write_u32(ECAM + 0x20, u32::MAX);
    machine.write_u32(ECAM + 0x24, u32::MAX);
    assert_eq!([machine.read_u32(ECAM + 0x20), machine.read_u32(ECAM + 0x24)], [0xC, 0xFFFF_FFF8], "32 GiB");
    program_function(&mut machine);

    assert_eq!(machine.read_u32(BARS[0] + bar0::INFO + info::MAGIC), info::MAGIC_VALUE);
    machine.write_u32(BARS[1] + HOST_BYTES - 4, 0x1234_5678);
    assert_eq!(card.memories().host.read_u32(HOST_BYTES - 4), Ok(0x1234_5678));
    card.memories().hbm.write_u32(0x7_FFFF_FFFC, 0x9ABC_DEF0).unwrap();
    assert_eq!(machine.read_u32(BARS[2] + 0x7_FFFF_FFFC), 0x9ABC_DEF0);
    machine.write_u32(BARS[0] + bar0::KICK, 0);
    machine.write_u32(BARS[0] + bar0::KICK, 9);
    let counts = card.soc_function().counts();
    assert_eq!((counts.kicks, counts.bad_trapped_writes), (1, 1));

    // Four vectors to the GICv2m frame, interrupt 80 onwards, edge triggered.
    machine.write_u32(0x0800_0C00 + 4 * (80 / 16), 0xAAAA_AAAA);
    machine.write_u32(ECAM + 0x54, 0x0802_0040);
    machine.write_u32(ECAM + 0x58, 0);
    machine.write_u32(ECAM + 0x5C, 80);
    machine.write_u32(ECAM + 0x50, 0x0021_0000);
    card.soc_function().msi().raise(2);
    let end = Instant::now() + Duration::from_secs(10);
    while machine.read_u32(0x0800_0208) != 1 << (82 - 64) {
        assert!(Instant::now() < end, "interrupt 82 is not pending");
    }

    // A reset of the machine clears the function and leaves the card alone.
    machine.write_u32(BARS[0] + 0x2000, 77);
    let mut monitor = UnixStream::connect(&monitor).unwrap();
    monitor.write_all(br#"{"execute":"qmp_capabilities"} {"execute":"system_reset"}"#).unwrap();
    monitor.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The event comes when every device has been reset.
    let done = BufReader::new(monitor).lines().any(|line| line.unwrap().contains(r#""event": "RESET""#));
    assert!(done, "no reset");
    assert_eq!(machine.read_u32(ECAM + 0x10), 0xC, "the BARs are cleared");
    card.soc_function().msi().raise(0);
    assert_eq!(card.soc_function().msi().counts().lost, 1);
    program_function(&mut machine);
    assert_eq!(machine.read_u32(BARS[0] + 0x2000), 77);
    assert_eq!(card.resets().completed, 0);
}

#[test]
#[ignore = "needs a QEMU, see the file's head"]
fn the_hosts_firmware_places_the_bars_and_its_memory_is_the_cards_host_file() {
    let directory = tempfile::tempdir().unwrap();
    let card = card(&directory);
    let memory = format!(
        "memory-backend-file,id=mem0,size={HOST_BYTES},mem-path=/proc/{}/fd/{},share=on",
        std::process::id(),
        card.host_memory_fd().as_raw_fd()
    );
    let mut machine = Machine::start(
        qemu("qemu-system-x86_64")
            .args(["-M", "q35,memory-backend=mem0", "-accel", "tcg", "-cpu", "max", "-m", "256M"])
            .args(["-object", &memory, "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "stdio"])
            .args(["-device", "pcie-root-port,id=rp0,chassis=1,slot=1", "-device"])
            .arg(function("host.sock", &directory, r#""bus":"rp0""#)),
    );
    let end = Instant::now() + Duration::from_secs(60);
    while card.host().config_read_u32(4) & 2 == 0 {
        assert!(Instant::now() < end, "SeaBIOS has not enabled memory");
        std::thread::sleep(Duration::from_millis(50));
    }
    machine.input.write_all(b"info pci\nquit\n").unwrap();
    let mut text = String::new();
    machine.output.read_to_string(&mut text).unwrap();
    let place = |bar: usize, size: u64| {
        let start = card.host().bar_address(bar);
        assert_ne!(start, 0);
        format!("BAR{bar}: 64 bit prefetchable memory at {start:#x} [{:#x}]", start + size - 1)
    };
    for line in ["PCI device 1da3:1000".to_owned(), place(0, 64 << 20), place(2, 128 << 20), place(4, 32 << 30)] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    // The BIOS's interrupt vectors and data area are visible to the card.
    let mut low = [0; 0x500];
    card.memories().host.read_bytes(0, &mut low).unwrap();
    assert!(low.iter().any(|byte| *byte != 0));
    assert_eq!(card.host().counts(), Default::default());
}
