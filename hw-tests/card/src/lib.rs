//! The card model: hardware only.
//!
//! One process holds the card: two PCI functions served over vfio-user ([`function`]), the memories behind them
//! ([`memory`]) and the SoC between them ([`soc`]). It behaves as `gaudi-soc.md`, `gaudi-mmu-sync.md` and `decisions.md` 3
//! say hardware behaves, and knows nothing of what firmware means.
//!
//! [`Card`] puts the parts together. A harness starts one, gives the host's memory file to the host's QEMU
//! ([`Card::host_memory_fd`]), points both QEMUs at the sockets and says how the management CPU is reset
//! ([`Card::set_cpu_power`]). Tests without QEMUs use [`Card::host`] and [`Card::soc`] directly.

pub mod function;
pub mod memory;
pub mod power;
pub mod soc;
pub mod vfio_user;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use coxswain_abi::soc::{CORES, ResetReason};

pub use function::host::HostFunction;
pub use function::soc::SocFunction;
pub use function::trace::{RegisterTrace, TraceEntry};
pub use memory::Memories;
pub use power::{CpuPower, ResetCounts};
pub use soc::Soc;
pub use soc::board::Injection;
pub use soc::efuse::Fuses;

use function::RegisterBus;
use function::msi::Msi;
use power::{ResetRequests, ResetSequencer, ResetTarget};
use vfio_user::Server;

/// Host memory must stay below this: a q35 machine places more in two pieces, and bus addresses would no longer be offsets
/// in the host's file (`decisions.md` 3.10).
pub const HOST_MEMORY_LIMIT: u64 = 0xB000_0000;

/// How a card is made.
#[derive(Clone)]
pub struct CardOptions {
    /// Bytes of the host's memory, a multiple of 4096 below [`HOST_MEMORY_LIMIT`].
    pub host_memory_bytes: u64,
    /// Socket for the host's QEMU.
    pub host_socket: PathBuf,
    /// Socket for the management CPU's QEMU.
    pub soc_socket: PathBuf,
    /// Finish the work of a kick before the trapped write returns, for exact instruction counts (`decisions.md` 3.12).
    pub lockstep: bool,
    /// Board straps as firmware reads them ([`coxswain_abi::soc::straps`]).
    pub straps: u32,
    /// What the e-fuses hold at power-on.
    pub fuses: Fuses,
    /// Keeps the e-fuses; when the file exists, what it holds counts.
    pub fuse_file: Option<PathBuf>,
    /// Receives every trapped register access of the host.
    pub trace: Option<RegisterTrace>,
}

/// A running card.
pub struct Card {
    memories: Arc<Memories>,
    soc: Arc<Soc>,
    host: Arc<HostFunction>,
    soc_function: Arc<SocFunction>,
    resets: ResetSequencer,
    servers: [Server; 2],
}

impl Card {
    /// Makes a card in its power-on state and serves both functions.
    ///
    /// # Errors
    /// The options are out of range, a memory or thread could not be made, or a socket could not be bound.
    pub fn start(options: CardOptions) -> anyhow::Result<Self> {
        let bytes = options.host_memory_bytes;
        anyhow::ensure!(
            bytes != 0 && bytes.is_multiple_of(4096) && bytes < HOST_MEMORY_LIMIT,
            "host memory of {bytes:#x} bytes: a multiple of 4096 below {HOST_MEMORY_LIMIT:#x} is possible"
        );
        let memories = Arc::new(Memories::new(bytes).context("making the card's memories")?);
        let fuses = match &options.fuse_file {
            Some(file) => options.fuses.in_file(file)?,
            None => options.fuses,
        };
        let soc_options =
            soc::SocOptions { lockstep: options.lockstep, straps: options.straps, fuses, fuse_file: options.fuse_file };
        let soc = Soc::new(Arc::clone(&memories), soc_options);
        let mut resets = ResetSequencer::new();
        let requests = resets.requests();
        let host = Arc::new(HostFunction::new(Arc::clone(&memories), Arc::clone(&soc) as _, options.trace));
        let soc_function = Arc::new(SocFunction::new(Arc::clone(&memories), Arc::clone(&soc) as _));
        soc.connect(Arc::new(Lines {
            host: Arc::clone(host.msi()),
            cores: Arc::clone(soc_function.msi()),
            resets: requests,
        }));
        resets.start(Arc::clone(&soc) as _).context("starting the reset thread")?;
        let serve = |path: &PathBuf, device| {
            Server::start(path, device).with_context(|| format!("serving on {}", path.display()))
        };
        let servers = [
            serve(&options.host_socket, Arc::clone(&host) as _)?,
            serve(&options.soc_socket, Arc::clone(&soc_function) as _)?,
        ];
        Ok(Self { memories, soc, host, soc_function, resets, servers })
    }

    /// Says how the management CPU is stopped and started. Without it a reset is one of the SoC alone.
    pub fn set_cpu_power(&self, power: Arc<dyn CpuPower>) {
        self.resets.set_power(power);
    }

    /// The host's memory, to be the RAM of the host's QEMU (`memory-backend-file` with `share=on`).
    #[must_use]
    pub fn host_memory_fd(&self) -> BorrowedFd<'_> {
        self.memories.host.fd()
    }

    /// Makes changes to the board around the chip.
    pub fn inject(&self, changes: &[Injection]) {
        self.soc.change_board(|world| changes.iter().for_each(|change| change.apply(world)));
    }

    /// All memories of the card.
    #[must_use]
    pub fn memories(&self) -> &Arc<Memories> {
        &self.memories
    }

    /// The function that the host sees: the same entry points as over vfio-user.
    #[must_use]
    pub fn host(&self) -> &Arc<HostFunction> {
        &self.host
    }

    /// The function that the management CPU sees.
    #[must_use]
    pub fn soc_function(&self) -> &Arc<SocFunction> {
        &self.soc_function
    }

    /// The SoC.
    #[must_use]
    pub fn soc(&self) -> &Arc<Soc> {
        &self.soc
    }

    /// Resets of the management CPU so far.
    #[must_use]
    pub fn resets(&self) -> ResetCounts {
        self.resets.counts()
    }

    /// Clients that have attached so far: to the host's function, to the SoC-side function.
    #[must_use]
    pub fn clients(&self) -> [u64; 2] {
        self.servers.each_ref().map(Server::clients)
    }

    /// Disconnects both machines, removes the sockets and ends the card's threads. Dropping the card does the same.
    pub fn shutdown(mut self) {
        for server in &mut self.servers {
            server.stop();
        }
        self.resets.stop();
        self.soc.shutdown();
    }
}

/// What the SoC drives: interrupt lines and the reset line.
struct Lines {
    host: Arc<Msi>,
    cores: Arc<Msi>,
    resets: ResetRequests,
}

impl soc::Wires for Lines {
    fn raise_host_msi(&self) {
        self.host.raise(0);
    }

    fn raise_core_interrupt(&self, core: usize) {
        self.cores.raise(core as u32);
    }

    fn request_cpu_reset(&self, reason: ResetReason) {
        self.resets.request(reason);
    }
}

impl RegisterBus for Soc {
    fn host_read(&self, offset: u32) -> u32 {
        self.host_read(offset)
    }

    fn host_write(&self, offset: u32, value: u32) {
        self.host_write(offset, value);
    }

    fn kick(&self, core: usize) {
        self.kick(core);
    }

    fn request_cpu_reset(&self) {
        self.request_reset(ResetReason::Firmware);
    }
}

impl ResetTarget for Soc {
    fn reset_state(&self, reason: ResetReason) {
        self.reset_state(reason);
    }

    fn out_of_reset(&self) {
        self.out_of_reset();
        // The CPU has been running since its release, and a kick that came before this call was ignored.
        for core in 0..CORES {
            self.kick(core);
        }
    }
}
