//! The image proper, for the target only.

use coxswain_abi::regs::psoc::{self, boot_status, sts0};
use coxswain_abi::soc::info as card_info;
use coxswain_abi::soc::{ResetReason, straps};
use coxswain_core::boot::loader::{Config, Loader};
use coxswain_core::boot::trust::Trust;
use coxswain_core::ports::PostedWrites;
use coxswain_qemu_virt::board::Board;
use coxswain_qemu_virt::boot_info::{self, BootInfo, Stage};
use coxswain_qemu_virt::clock::BoardClock;
use coxswain_qemu_virt::memory_map::{BOOT_INFO, BOOTFIT, BOOTFIT_SIZE, SOC_DEVICE};
use coxswain_qemu_virt::soc::Soc;
use coxswain_qemu_virt::stage::{self, Next};
use coxswain_qemu_virt::{clock, el, el3, el3_entry, epitaph, gic, log, pci, pmu, text};

el3_entry!(rom_main);

/// What the ROM says about itself in CPU_BOOT_DEV_STS0 (`boot-protocol.md` 11): valid, dynamic loader.
const STATUS: u32 = sts0::ENABLED | sts0::FW_LD_COM_EN;

/// Runs on the first core, at EL3, with the MMU off.
fn rom_main() -> ! {
    pmu::start();
    let entered = clock::ticks();
    let clock = BoardClock::start();
    log::init(log::Image::Rom);
    text::enable_uarts();
    text!("Coxswain boot ROM ", env!("CARGO_PKG_VERSION"));
    gic::set_up_distributor();
    gic::set_up_core(0);

    let (mut info, soc) = find_soc();
    stage::note_entered(&mut info, Stage::Rom, entered, 0);
    log_history(&info, &soc);
    let Some(mut board) = Board::new(soc, 0, clock) else { stop(("no rings for core", 0)) };
    board.notifications.discard();

    for (offset, value) in [
        (psoc::CPU_BOOT_STATUS, boot_status::IN_PREBOOT),
        (psoc::CPU_BOOT_ERR0, 0),
        (psoc::CPU_BOOT_ERR1, 0),
        (psoc::CPU_BOOT_DEV_STS0, info.capabilities(STATUS)),
        (psoc::CPU_BOOT_DEV_STS1, sts0::ENABLED),
    ] {
        board.posted.post_status(offset, value);
    }
    board.posted.flush();

    // SAFETY: the only call of this image.
    let buffer = unsafe { stage::receive_buffer() };
    let config = Config::rom(BOOTFIT..BOOTFIT + BOOTFIT_SIZE, Trust::read(&board.registers))
        .statically(info.straps & straps::STATIC_LOADER != 0);
    let mut loader = Loader::new(config, buffer);
    match stage::load_next(&mut board, &mut loader, &mut info, Stage::Rom) {
        Next::Enter(entry) => {
            stage::note_left(&mut info, Stage::Rom);
            // SAFETY: the image was verified, copied to its load address inside the boot-fit's region, and expects the
            // address of the boot information.
            unsafe { el3::enter_secure_el1(entry, BOOT_INFO) }
        }
        Next::Park => {
            text!("ROM: parked at the host's request");
            el::park()
        }
        Next::Reset => {
            text!("ROM: resets the card at the host's request");
            board.posted.post_register(psoc::SW_ALL_RST, 1);
            board.posted.flush();
            el::park()
        }
    }
}

/// Gives the SoC-side function its addresses, attaches to it and begins the hand-over structure.
fn find_soc() -> (BootInfo, Soc) {
    let (bars, msi_vectors) = match pci::set_up(&mut pci::Ecam::new(SOC_DEVICE)) {
        Ok(found) => found,
        Err(error) => stop(error.explain()),
    };
    // SAFETY: the BARs were placed there just now and stay; the MMU is off, so addresses are physical.
    let soc = match unsafe { Soc::attach(&bars) } {
        Ok(soc) => soc,
        Err(error) => stop(error.explain()),
    };
    let cores = gic::count_cores();
    for vector in 0..msi_vectors.min(cores as u32) {
        gic::route_msi(vector, vector as usize);
    }
    let reason = ResetReason::from_raw(soc.info_u32(card_info::RESET_REASON)).unwrap_or(ResetReason::PowerOn);
    let earlier = boot_info::load(BOOT_INFO).ok();
    let mut info = BootInfo::new(reason);
    info.bars = bars;
    info.msi_vectors = msi_vectors;
    info.cores = cores as u32;
    info.straps = soc.info_u32(card_info::STRAPS);
    info.counter_frequency = clock::frequency();
    if let Some(earlier) = earlier {
        info.warm = 1;
        info.boot_error = earlier.boot_error;
    }
    (info, soc)
}

/// Tells what is known about this boot and about what ended the one before.
fn log_history(info: &BootInfo, soc: &Soc) {
    defmt::info!(
        "ROM: {=u32} core(s), {=u32} MSI vector(s), host {=u64:#x}, HBM {=u64:#x}, reset reason {=u32}, warm {=u32}",
        info.cores,
        info.msi_vectors,
        soc.host_bytes(),
        soc.hbm_bytes(),
        info.reset_reason() as u32,
        info.warm
    );
    if let Some(last) = epitaph::take() {
        // Of a panic there is no program counter; the third caller is where it was, behind two of the panic machinery.
        let [_, _, panicked, ..] = last.callers;
        defmt::error!(
            "ROM: image {=u32} died on core {=u32}: cause {=u32}, syndrome {=u64:#x}, at {=u64:#x}, address {=u64:#x}",
            last.image,
            last.core,
            last.cause,
            last.syndrome,
            last.program_counter | panicked,
            last.address
        );
    }
}

/// Reports an error without which nothing can be told to the host, and stops.
fn stop((error, detail): (&str, u64)) -> ! {
    text!("ROM: stopped: ", error, " ", detail);
    el::park()
}
