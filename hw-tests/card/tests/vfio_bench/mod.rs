//! Both functions of a card behind their sockets, with a register array in the place of the SoC.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use coxswain_card::function::RegisterBus;
use coxswain_card::function::host::HostFunction;
use coxswain_card::function::soc::SocFunction;
use coxswain_card::memory::Memories;
use coxswain_card::vfio_user::Server;

/// Host memory of the bench: no power of two, so that BAR2 of the SoC-side function is larger than it.
pub const HOST_BYTES: u64 = 3 << 20;

/// Registers that keep what was written, and a record of everything.
#[derive(Default)]
pub struct Registers {
    values: Mutex<HashMap<u32, u32>>,
    pub log: Mutex<Vec<String>>,
}

impl Registers {
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl RegisterBus for Registers {
    fn host_read(&self, offset: u32) -> u32 {
        self.log.lock().unwrap().push(format!("read {offset:#x}"));
        self.values.lock().unwrap().get(&offset).copied().unwrap_or(0)
    }

    fn host_write(&self, offset: u32, value: u32) {
        self.log.lock().unwrap().push(format!("write {offset:#x} {value:#x}"));
        self.values.lock().unwrap().insert(offset, value);
    }

    fn kick(&self, core: usize) {
        self.log.lock().unwrap().push(format!("kick {core}"));
    }

    fn request_cpu_reset(&self) {
        self.log.lock().unwrap().push("reset".into());
    }
}

pub struct Bench {
    pub memories: Arc<Memories>,
    pub registers: Arc<Registers>,
    pub host: Arc<HostFunction>,
    pub soc: Arc<SocFunction>,
    pub host_server: Server,
    pub soc_server: Server,
    pub directory: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let memories = Arc::new(Memories::new(HOST_BYTES).unwrap());
        let registers = Arc::new(Registers::default());
        let host = Arc::new(HostFunction::new(Arc::clone(&memories), Arc::clone(&registers) as _, None));
        let soc = Arc::new(SocFunction::new(Arc::clone(&memories), Arc::clone(&registers) as _));
        let host_server = Server::start(&directory.path().join("host.sock"), Arc::clone(&host) as _).unwrap();
        let soc_server = Server::start(&directory.path().join("soc.sock"), Arc::clone(&soc) as _).unwrap();
        Self { memories, registers, host, soc, host_server, soc_server, directory }
    }

    pub fn host_socket(&self) -> PathBuf {
        self.directory.path().join("host.sock")
    }

    pub fn soc_socket(&self) -> PathBuf {
        self.directory.path().join("soc.sock")
    }
}
