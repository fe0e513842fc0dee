//! Cores that do nothing but queues: which QMAN runs where, and the life of such a core.
//!
//! QMANs are assigned statically, in turn. What a queue core writes on the packet path is its own: rings, engine state,
//! clock. Errors travel to the control core as interrupt numbers, as the hardware sends them.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicPtr, Ordering};

use coxswain_abi::soc::{CORES, QMANS, info as card_info, straps};
use coxswain_core::queue::QueueEngine;
use coxswain_core::queue_core::QueueCore;
use coxswain_gaudi::queues;
use coxswain_qemu_virt::board::Board;
use coxswain_qemu_virt::clock::BoardClock;
use coxswain_qemu_virt::smc::SmcError;
use coxswain_qemu_virt::{cores, el, pmu};

/// What a queue core takes over when it starts.
struct Hand {
    queues: QueueCore,
    board: Board,
}

/// One hand-over per core; taken once, by that core.
static HANDS: [AtomicPtr<Hand>; CORES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; CORES];

/// Starts as many queue cores as the straps ask for and the machine has, and returns the engine with the QMANs that stay on
/// the control core: all of them when there are no queue cores. All state comes from the start-up heap before the first core
/// runs.
pub fn start(board: &Board, present: u32, clock: BoardClock) -> QueueEngine {
    let depth = board.soc.info_u32(card_info::DMA_QUEUE_DEPTH).min(u32::from(u16::MAX) - 1) as u16 + 1;
    let wanted = straps::queue_cores(board.soc.info_u32(card_info::STRAPS));
    let count = wanted.min(present.saturating_sub(1)) as usize;
    let mut own = QueueEngine::new();
    if count == 0 {
        queues::add_all(&mut own, depth);
        return own;
    }
    for core in 1..=count {
        let mut engine = QueueEngine::new();
        for number in (0..QMANS).filter(|number| number % count + 1 == core) {
            engine.add(queues::description(number, depth));
            board.soc.route_qman(number, core);
        }
        let Some(mut board) = Board::new(board.soc, core, clock) else { continue };
        board.start_trace(core);
        let hand = Box::into_raw(Box::new(Hand { queues: QueueCore::new(engine), board }));
        if let Some(slot) = HANDS.get(core) {
            slot.store(hand, Ordering::Release);
        }
    }
    for core in 1..=count {
        loop {
            match cores::start(core, run) {
                Ok(()) => break,
                // It is on its way to its parking place.
                Err(SmcError::NotParked) => core::hint::spin_loop(),
                Err(error) => {
                    coxswain_qemu_virt::text::write_formatted(format_args!(
                        "control: core {core} does not start: {error:?}\r\n"
                    ));
                    el::park()
                }
            }
        }
    }
    own
}

/// The life of a queue core.
fn run(core: usize) -> ! {
    pmu::start();
    let hand = HANDS.get(core).map_or(core::ptr::null_mut(), |slot| slot.swap(core::ptr::null_mut(), Ordering::AcqRel));
    // SAFETY: `start` stored a leaked box there, and the exchange above gives it to this core alone.
    let Some(hand) = (unsafe { hand.as_mut() }) else { el::park() };
    loop {
        if let Some(deadline) = hand.queues.step(&mut hand.board) {
            hand.board.wait_for_work_traced(deadline);
            if hand.board.take_sweep() {
                hand.queues.sweep(&mut hand.board);
            }
        }
    }
}
