//! Process 1 of the guest; see `coxswain_guest::init`.

use rustix::process::{Pid, getpid};

fn main() {
    if getpid() != Pid::INIT {
        eprintln!("coxswain-init is the first process of a virtual machine; it does nothing elsewhere");
        std::process::exit(2);
    }
    coxswain_guest::init::run();
}
