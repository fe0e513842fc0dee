//! The image proper, for the target only.

use alloc::boxed::Box;
use core::mem::MaybeUninit;

use crate::queue_cores;
use coxswain_abi::regs::psoc::{self, boot_status, sts0};
use coxswain_core::control::{Control, Next};
use coxswain_core::cpucp;
use coxswain_core::ports::PostedWrites;
use coxswain_core::queue::QueueEngine;
use coxswain_gaudi::identity;
use coxswain_gaudi::telemetry::BoardTelemetry;
use coxswain_qemu_virt::board::Board;
use coxswain_qemu_virt::boot_info::{self, BootInfo, Stage};
use coxswain_qemu_virt::clock::BoardClock;
use coxswain_qemu_virt::soc::Soc;
use coxswain_qemu_virt::{clock, el, el1_entry, gic, heap, log, paging, pmu, smc, stage, text};

el1_entry!(control_main);

/// Bytes of the start-up heap: page tables, the control loop's state, and that of up to three queue cores.
const HEAP_BYTES: usize = 512 * 1024;

/// What the control image says about itself in CPU_BOOT_DEV_STS0 (`boot-protocol.md` 11).
const STATUS: u32 = sts0::ENABLED | sts0::FW_LD_COM_EN | sts0::DRAM_INIT_EN | cpucp::CAPABILITIES;

/// Who the card is, for INFO_GET.
static IDENTITY: cpucp::identity::Identity = identity::IDENTITY;

/// Runs on the first core, at Secure EL1.
fn control_main(boot_info: u64) -> ! {
    let (entered, instructions) = (clock::ticks(), pmu::instructions());
    let clock = BoardClock::start();
    log::init(log::Image::Control);
    text!("Coxswain control ", env!("CARGO_PKG_VERSION"));
    let (mut info, mut board) = start(boot_info, clock);
    stage::note_entered(&mut info, Stage::Control, entered, instructions);
    let control = control(queue_cores::start(&board, info.cores, clock), clock);
    defmt::info!("control: monitor version {}, heap {=usize} bytes used", smc::monitor_version(), heap::used());

    for (offset, value) in [
        (psoc::CPU_BOOT_DEV_STS0, info.capabilities(STATUS)),
        (psoc::CPU_BOOT_DEV_STS1, sts0::ENABLED),
        (psoc::CPU_BOOT_STATUS, boot_status::SRAM_AVAIL),
    ] {
        board.posted.post_status(offset, value);
    }
    board.posted.flush();
    stage::note_ready(&mut info, Stage::Control, &board.soc);
    text!("control: ready");
    loop {
        match control.step(&mut board) {
            Next::Again => {}
            Next::Sleep(deadline) => {
                board.wait_for_work_traced(deadline);
                if board.take_sweep() {
                    control.sweep(&mut board);
                }
            }
            Next::Reset => {
                text!("control: resets the card at the host's request");
                board.posted.post_register(psoc::SW_ALL_RST, 1);
                board.posted.flush();
                el::park()
            }
        }
    }
}

/// Builds the control loop on the start-up heap, for ever: the queue engine holds a fetched block for each of its 90 streams.
fn control(engine: QueueEngine, clock: BoardClock) -> &'static mut Control<BoardTelemetry<BoardClock>> {
    let server = cpucp::Server::new(&IDENTITY);
    Box::leak(Box::new(Control::new(engine, server, BoardTelemetry::new(clock))))
}

/// Attaches to the card, switches the MMU on and builds the board of the first core.
fn start(boot_info: u64, clock: BoardClock) -> (BootInfo, Board) {
    // Not cleared at the start: an allocator does not care.
    #[unsafe(link_section = ".uninitialised")]
    static mut HEAP: MaybeUninit<[u8; HEAP_BYTES]> = MaybeUninit::uninit();
    let info = match boot_info::load(boot_info) {
        Ok(info) => info,
        Err(error) => stop(format_args!("boot information refused: {error:?}")),
    };
    gic::set_up_core(0);
    // SAFETY: the ROM has placed the BARs there; addresses are physical now and identity-mapped below.
    let soc = match unsafe { Soc::attach(&info.bars) } {
        Ok(soc) => soc,
        Err(error) => {
            let (error, detail) = error.explain();
            stop(format_args!("{error} {detail:#x}"))
        }
    };
    let memory = &raw mut HEAP;
    // SAFETY: called once, on the boot core, before anything allocates; HEAP is used for nothing else. The allocator takes
    // plain memory and reads nothing that it has not written.
    unsafe { heap::init(&mut *memory) };
    // SAFETY: the BARs are those of `soc`, the heap is ready, no other core of this image runs.
    if let Err(error) = unsafe { paging::enable(&info.bars, &soc) } {
        stop(format_args!("page tables: {error}"));
    }
    match Board::new(soc, 0, clock) {
        Some(mut board) => {
            board.start_trace(0);
            (info, board)
        }
        None => stop(format_args!("no rings for core 0")),
    }
}

/// Reports an error without which nothing can be told to the host, and stops.
fn stop(error: core::fmt::Arguments) -> ! {
    coxswain_qemu_virt::text::write_formatted(format_args!("control: stopped: {error}\r\n"));
    el::park()
}
