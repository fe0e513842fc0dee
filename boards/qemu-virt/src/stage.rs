//! What the two loading stages - ROM and boot-fit - have in common: serve COMMS until the next image is verified, place it.
//!
//! The protocol is [`coxswain_core::boot`]'s. This module feeds it from the board, sleeps between commands, keeps the hand-over
//! structure up to date and copies the verified image to where it runs. It never jumps.

use coxswain_abi::regs::psoc;
use coxswain_abi::soc::Notification;
use coxswain_core::boot::fit;
use coxswain_core::boot::loader::{Loader, Outcome, POSTS_PER_CALL};
use coxswain_core::ports::{Notifications, PostedWrites, Registers};

use crate::board::Board;
use crate::boot_info::{self, BootErrorRecord, BootInfo, Stage};
use crate::memory_map::{BOOTFIT, BOOTFIT_SIZE, CONTROL, CONTROL_SIZE, RECEIVE, RECEIVE_SIZE};
use crate::soc::Soc;
use crate::{clock, pmu};

/// Microseconds between two looks for room in the posted-write ring; only a card that has stopped makes firmware wait.
const ROOM_RETRY_US: u64 = 1_000;

/// How a stage ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Enter the placed image here.
    Enter(u64),
    /// The host asked for quiet: stop host accesses and sleep.
    Park,
    /// The host asked for a reset of the card.
    Reset,
}

/// Memory that images are copied into before they are checked.
///
/// # Safety
/// Called at most once per image.
#[must_use]
pub unsafe fn receive_buffer() -> &'static mut [u8] {
    // SAFETY: the region is ordinary RAM that no image is linked to, that neither host nor card reaches, and that only the
    // running stage uses; the caller takes it once.
    unsafe { core::slice::from_raw_parts_mut(RECEIVE as *mut u8, RECEIVE_SIZE as usize) }
}

/// Notes that `stage` has been entered at counter value `ticks` with the instruction counter at `instructions`.
pub fn note_entered(info: &mut BootInfo, stage: Stage, ticks: u64, instructions: u32) {
    if let Some(record) = info.stages.get_mut(stage as usize) {
        record.entered = ticks;
        record.instructions = instructions;
    }
    boot_info::store(info);
}

/// Notes that `stage` is ready for its image, or for work.
pub fn note_ready(info: &mut BootInfo, stage: Stage, soc: &Soc) {
    if let Some(record) = info.stages.get_mut(stage as usize) {
        record.ready = clock::ticks();
        record.instructions_to_ready = pmu::instructions().wrapping_sub(record.instructions);
        soc.note_stage_instructions(stage as usize, record.instructions_to_ready.into());
        defmt::info!(
            "{}: ready after {=u64:us}, {=u32} instructions",
            stage,
            clock::ticks_to_us(record.ready.wrapping_sub(record.entered), info.counter_frequency),
            record.instructions_to_ready
        );
    }
    boot_info::store(info);
}

/// Notes that `stage` leaves for the next one.
pub fn note_left(info: &mut BootInfo, stage: Stage) {
    if let Some(record) = info.stages.get_mut(stage as usize) {
        record.left = clock::ticks();
        record.instructions = pmu::instructions().wrapping_sub(record.instructions);
        defmt::info!(
            "{}: left after {=u64:us}, {=u32} instructions",
            stage,
            clock::ticks_to_us(record.left.wrapping_sub(record.entered), info.counter_frequency),
            record.instructions
        );
    }
    boot_info::store(info);
}

/// Serves COMMS until the host lets the verified image run, and places that image.
///
/// The stage's STS0 and STS1 are published already. A command that the host wrote before this stage looked is found in the
/// register.
pub fn load_next(board: &mut Board, loader: &mut Loader, info: &mut BootInfo, stage: Stage) -> Next {
    wait_for_room(board);
    loader.start(&mut board.card, &mut board.posted);
    note_ready(info, stage, &board.soc);
    if loader.looks_at_register()
        && let early = board.registers.read(psoc::KMD_MSG_TO_CPU)
        && let Some(next) = command(board, loader, info, stage, early)
    {
        return next;
    }
    loop {
        match board.notifications.next() {
            Some(Notification::RegisterWrite { offset: psoc::KMD_MSG_TO_CPU, value, .. }) => {
                if let Some(next) = command(board, loader, info, stage, value) {
                    return next;
                }
            }
            Some(_) => {}
            None => {
                // No queue exists yet: doorbells are only taken so that they do not keep the core awake.
                let _ = board.notifications.take_doorbells();
                board.wait_for_work(None);
            }
        }
    }
}

/// Hands one command word to the loader. `None`: go on.
fn command(board: &mut Board, loader: &mut Loader, info: &mut BootInfo, stage: Stage, word: u32) -> Option<Next> {
    wait_for_room(board);
    let (before, held) = (pmu::instructions(), loader.holds_image());
    let outcome = loader.on_command(word, &mut board.card, &mut board.posted);
    if !held && loader.holds_image() {
        board.soc.note_check_instructions(stage as usize, pmu::instructions().wrapping_sub(before).into());
    }
    if word != 0 {
        defmt::debug!("{}: command {=u32:#010x}", stage, word);
    }
    if let Some(record) = loader.record() {
        let stage = match record.stage {
            fit::Stage::BootFit => Stage::Rom,
            fit::Stage::Control => Stage::BootFit,
        };
        let error = BootErrorRecord { number: u32::from(record.error.number()), stage: stage as u32, detail: 0 };
        if info.boot_error != error {
            defmt::warn!("{}: refused image, error {=u32:#06x}: {=str}", stage, error.number, record.error.text());
            info.boot_error = error;
            boot_info::store(info);
        }
    }
    match outcome {
        Outcome::Continue => None,
        Outcome::Execute => place(loader, stage).map(Next::Enter),
        Outcome::Park => Some(Next::Park),
        Outcome::Reset => Some(Next::Reset),
    }
}

/// Copies the verified image to its load address. Returns its entry point; `None` when there is no verified image.
fn place(loader: &Loader, stage: Stage) -> Option<u64> {
    let image = loader.verified().ok()?;
    let end = image.load.checked_add(image.data.len() as u64)?;
    let (start, limit) = match stage {
        Stage::Rom => (BOOTFIT, BOOTFIT + BOOTFIT_SIZE),
        Stage::BootFit | Stage::Control => (CONTROL, CONTROL + CONTROL_SIZE),
    };
    // The loader has refused anything else; here it is what the copy below relies on.
    if image.load < start || end > limit {
        return None;
    }
    defmt::info!(
        "{}: enters {=[u8]:a} at {=u64:#x}, {=usize} bytes",
        stage,
        image.version,
        image.entry,
        image.data.len()
    );
    // SAFETY: the destination is the next image's region in secure RAM, which holds nothing of this stage (checked above);
    // the source is the receive buffer in other RAM.
    unsafe { core::ptr::copy_nonoverlapping(image.data.as_ptr(), image.load as *mut u8, image.data.len()) };
    crate::barrier::full();
    Some(image.entry)
}

/// Waits until one call of the loader finds room for its posted writes.
fn wait_for_room(board: &mut Board) {
    use coxswain_core::ports::Clock;
    while board.posted.available() < POSTS_PER_CALL {
        let again = board.clock.now_us().saturating_add(ROOM_RETRY_US);
        board.wait_for_work(Some(again));
    }
}
