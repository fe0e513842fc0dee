//! The image proper, for the target only.

use coxswain_abi::regs::psoc::{self, boot_status, sts0};
use coxswain_abi::soc::straps;
use coxswain_core::boot::loader::{Config, Loader};
use coxswain_core::boot::trust::Trust;
use coxswain_core::ports::PostedWrites;
use coxswain_qemu_virt::board::Board;
use coxswain_qemu_virt::boot_info::{self, Stage};
use coxswain_qemu_virt::clock::BoardClock;
use coxswain_qemu_virt::memory_map::{CONTROL, CONTROL_SIZE};
use coxswain_qemu_virt::soc::Soc;
use coxswain_qemu_virt::stage::{self, Next};
use coxswain_qemu_virt::{clock, el, el1_entry, gic, log, pmu, text};

el1_entry!(bootfit_main);

/// What the boot-fit says about itself in CPU_BOOT_DEV_STS0 (`boot-protocol.md` 11): valid, dynamic loader, HBM usable.
const STATUS: u32 = sts0::ENABLED | sts0::FW_LD_COM_EN | sts0::DRAM_INIT_EN;

/// Runs on the first core, at Secure EL1, with the MMU off.
fn bootfit_main(boot_info: u64) -> ! {
    let (entered, instructions) = (clock::ticks(), pmu::instructions());
    let clock = BoardClock::start();
    log::init(log::Image::BootFit);
    let mut info = match boot_info::load(boot_info) {
        Ok(info) => info,
        Err(error) => {
            text!("boot-fit: stopped: ", error.text());
            el::park()
        }
    };
    text!("Coxswain boot-fit ", env!("CARGO_PKG_VERSION"));
    stage::note_entered(&mut info, Stage::BootFit, entered, instructions);
    gic::set_up_core(0);
    // SAFETY: the ROM has placed the BARs there; the MMU is off, so addresses are physical.
    let soc = match unsafe { Soc::attach(&info.bars) } {
        Ok(soc) => soc,
        Err(error) => {
            let (error, detail) = error.explain();
            text!("boot-fit: stopped: ", error, " ", detail);
            el::park()
        }
    };
    let Some(mut board) = Board::new(soc, 0, clock) else {
        text!("boot-fit: stopped: no rings for core 0");
        el::park()
    };
    for (offset, value) in [
        (psoc::CPU_BOOT_STATUS, boot_status::IN_UBOOT),
        (psoc::CPU_BOOT_DEV_STS0, info.capabilities(STATUS)),
        (psoc::CPU_BOOT_DEV_STS1, sts0::ENABLED),
    ] {
        board.posted.post_status(offset, value);
    }
    board.posted.flush();

    // SAFETY: the only call of this image.
    let buffer = unsafe { stage::receive_buffer() };
    let config = Config::boot_fit(CONTROL..CONTROL + CONTROL_SIZE, Trust::read(&board.registers))
        .statically(info.straps & straps::STATIC_LOADER != 0);
    let mut loader = Loader::new(config, buffer);
    match stage::load_next(&mut board, &mut loader, &mut info, Stage::BootFit) {
        Next::Enter(entry) => {
            stage::note_left(&mut info, Stage::BootFit);
            // SAFETY: the image was verified, copied to its load address inside the control image's region, and expects the
            // address of the boot information.
            unsafe { el::enter_image(entry, boot_info) }
        }
        Next::Park => {
            text!("boot-fit: parked at the host's request");
            el::park()
        }
        Next::Reset => {
            text!("boot-fit: resets the card at the host's request");
            board.posted.post_register(psoc::SW_ALL_RST, 1);
            board.posted.flush();
            el::park()
        }
    }
}
