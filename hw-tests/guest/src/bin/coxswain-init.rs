//! Process 1 of the guest; see `coxswain_guest::init`. Under the name of a module loader it is that command.

use rustix::process::{Pid, getpid};

fn main() {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    if matches!(name, "insmod" | "modprobe") {
        let arguments: Vec<String> = arguments.collect();
        std::process::exit(coxswain_guest::init::erratum::load_command(name, &arguments));
    }
    if getpid() != Pid::INIT {
        eprintln!("coxswain-init is the first process of a virtual machine; it does nothing elsewhere");
        std::process::exit(2);
    }
    coxswain_guest::init::run();
}
