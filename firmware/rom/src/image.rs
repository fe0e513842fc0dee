//! The image proper, for the target only.

use coxswain_qemu_virt::boot_info::{self, BootInfo, Stage};
use coxswain_qemu_virt::clock::BoardClock;
use coxswain_qemu_virt::{clock, el, el3_entry, epitaph, gic, log, memory_map, pci, pmu, soc, text};

el3_entry!(rom_main);

/// Runs on the first core, at EL3, with the MMU off.
fn rom_main() -> ! {
    pmu::start();
    let entered = clock::ticks();
    log::init(log::Image::Rom);
    text::enable_uarts();
    text!("Coxswain boot ROM {}", env!("CARGO_PKG_VERSION"));
    gic::set_up_distributor();
    gic::set_up_core(0);
    defmt::info!("ROM: {} core(s)", gic::count_cores());

    let mut function = pci::Ecam::new(memory_map::SOC_DEVICE);
    let (bars, vectors) = match pci::set_up(&mut function) {
        Ok(found) => found,
        Err(error) => {
            text!("ROM: no SoC-side function: {}", error);
            defmt::error!("ROM: no SoC-side function: {}", error);
            el::park()
        }
    };
    let _ = (bars, vectors, entered);
    el::park()
}
