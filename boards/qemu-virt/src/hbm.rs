//! HBM as the management CPU reads it: a mapped window in which a filled block may have to be asked for first.
//!
//! For: command buffers and page tables in HBM, and the boot stages' copies. Owns: the rule of
//! [`coxswain_abi::soc`], filled blocks of HBM: look at the state, fetch, read, look again. Never: fills anything.
//!
//! On silicon this is a plain window.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use coxswain_abi::soc::hbm_block::{ALWAYS_PRESENT, SIZE, is_present};

use crate::soc::TrappedRegister;
use crate::window::Window;

/// Looks at a block's state at most, for one access. Each but the first two needs another fill of the very block that is read,
/// at that moment: whoever does that gets whatever is read last.
const LOOKS: usize = 16;

/// HBM, device addresses from 0.
#[derive(Debug, Clone, Copy)]
pub struct HbmWindow {
    window: Window,
    /// A word for each block.
    states: Window,
    fetch: TrappedRegister,
}

impl HbmWindow {
    /// HBM in `window`, with the blocks' states and the register that makes a block present.
    pub(crate) const fn new(window: Window, states: Window, fetch: TrappedRegister) -> Self {
        Self { window, states, fetch }
    }

    /// Bytes of HBM.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// The window over a part that is always present; `None` when some of it may not be, or lies outside.
    #[must_use]
    pub fn always_present(&self, offset: u64, bytes: u64) -> Option<Window> {
        if offset.checked_add(bytes)? > ALWAYS_PRESENT { None } else { self.window.part(offset, bytes) }
    }

    /// Runs `access` on the range, block after block present. `access` gets offset, position in the range and length, all
    /// multiples of 8 if those of the range are; it says whether the window took it.
    #[inline]
    fn each(&self, offset: u64, length: usize, mut access: impl FnMut(&Window, u64, usize, usize) -> bool) -> bool {
        if !self.window.contains(offset, length as u64) {
            return false;
        }
        if offset + length as u64 <= ALWAYS_PRESENT {
            return access(&self.window, offset, 0, length);
        }
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let piece = (length - done).min((SIZE - at % SIZE) as usize);
            if !self.while_present(at, || access(&self.window, at, done, piece)) {
                return false;
            }
            done += piece;
        }
        true
    }

    /// Runs `access` on the block of `at` until the block was present, and the same, before and after.
    fn while_present(&self, at: u64, mut access: impl FnMut() -> bool) -> bool {
        let Some(state) = self.states.word(at / SIZE * 4) else { return false };
        let mut before = self.present(state, at);
        for _ in 0..LOOKS {
            if !access() {
                return false;
            }
            // The bytes above are read before the state below.
            fence(Ordering::Acquire);
            if u32::from_le(state.load(Ordering::Relaxed)) == before {
                break;
            }
            before = self.present(state, at);
        }
        true
    }

    /// Makes the block of `at` present and returns its state.
    #[inline]
    fn present(&self, state: &AtomicU32, at: u64) -> u32 {
        let mut value = u32::from_le(state.load(Ordering::Acquire));
        for _ in 0..LOOKS {
            if is_present(value) {
                break;
            }
            self.fetch.write((at / SIZE) as u32);
            value = u32::from_le(state.load(Ordering::Acquire));
        }
        value
    }

    /// Reads `out.len()` 64-bit words from `offset` (8-byte aligned); false when any lies outside.
    #[inline]
    #[must_use]
    pub fn read_words(&self, offset: u64, out: &mut [u64]) -> bool {
        offset.is_multiple_of(8)
            && self.each(offset, 8 * out.len(), |window, at, position, length| {
                let part = out.get_mut(position / 8..(position + length) / 8);
                part.is_some_and(|part| window.read_words(at, part))
            })
    }

    /// Reads the 64-bit word at `offset`; `None` outside HBM or off alignment.
    #[inline]
    #[must_use]
    pub fn read_u64(&self, offset: u64) -> Option<u64> {
        let mut word = [0];
        self.read_words(offset, &mut word).then_some(word[0])
    }

    /// Copies `out.len()` bytes from `offset`; false when any lies outside.
    #[must_use]
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) -> bool {
        self.each(offset, out.len(), |window, at, position, length| {
            out.get_mut(position..position + length).is_some_and(|part| window.read_bytes(at, part))
        })
    }

    /// Copies `data` to `offset`; false when any byte lies outside. A block that is filled meanwhile is written again: the
    /// write counts as one after the fill.
    #[must_use]
    pub fn write_bytes(&self, offset: u64, data: &[u8]) -> bool {
        self.each(offset, data.len(), |window, at, position, length| {
            data.get(position..position + length).is_some_and(|part| window.write_bytes(at, part))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use coxswain_abi::soc::{bar0, hbm_block};

    use super::*;
    use crate::fake::{FakeCard, HBM_BYTES, NO_FETCH};

    /// A block's first byte.
    const BLOCK: u64 = ALWAYS_PRESENT + 3 * SIZE;

    fn set_state(card: &FakeCard, offset: u64, state: u32) {
        card.word(hbm_block::state(offset)).store(state, Ordering::Release);
    }

    #[test]
    fn a_present_block_is_read_without_asking_for_it() {
        let card = FakeCard::new();
        card.set_hbm(BLOCK, 5);
        set_state(&card, BLOCK, 2);
        assert_eq!(card.soc.hbm.read_u64(BLOCK), Some(5));
        // Where everything is always present the states are not looked at.
        set_state(&card, 0x1000, 1);
        card.set_hbm(0x1000, 6);
        assert_eq!(card.soc.hbm.read_u64(0x1000), Some(6));
        assert_eq!(card.word(bar0::HBM_FETCH).load(Ordering::Relaxed), NO_FETCH);
    }

    #[test]
    fn a_filled_block_is_asked_for_before_it_is_read_or_written() {
        let card = FakeCard::new();
        let done = AtomicBool::new(false);
        // The words of two blocks, neither present.
        set_state(&card, BLOCK, 1);
        set_state(&card, BLOCK + SIZE, 7);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let block = card.word(bar0::HBM_FETCH).swap(NO_FETCH, Ordering::AcqRel);
                    if block != NO_FETCH {
                        let offset = u64::from(block) * SIZE;
                        card.set_hbm(offset, 0x11);
                        card.set_hbm(offset + SIZE - 8, 0x22);
                        set_state(&card, offset, 8);
                    }
                }
            });
            // The fake's register does not hold the writer until it is served.
            let mut words = [0; 2];
            while words != [0x22, 0x11] {
                assert!(card.soc.hbm.read_words(BLOCK + SIZE - 8, &mut words));
            }
            set_state(&card, BLOCK, 9);
            while card.word(hbm_block::state(BLOCK)).load(Ordering::Acquire) != 8 {
                assert!(card.soc.hbm.write_bytes(BLOCK + 1, &[0xAA]));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_read_during_a_fill_is_repeated() {
        let card = FakeCard::new();
        let mut reads = 0;
        let taken = card.soc.hbm.while_present(BLOCK, || {
            reads += 1;
            // The fill comes during the first read; the block is fetched by somebody else.
            if reads == 1 {
                set_state(&card, BLOCK, 2);
            }
            true
        });
        assert!(taken && reads == 2);
    }

    #[test]
    fn a_card_that_never_makes_a_block_present_does_not_hold_the_reader() {
        let card = FakeCard::new();
        set_state(&card, BLOCK, 1);
        assert_eq!(card.soc.hbm.read_u64(BLOCK), Some(0));
        assert_eq!(u64::from(card.word(bar0::HBM_FETCH).load(Ordering::Relaxed)), BLOCK / SIZE);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let card = FakeCard::new();
        assert!(card.soc.hbm.read_u64(HBM_BYTES).is_none() && card.soc.hbm.read_u64(HBM_BYTES - 4).is_none());
        assert!(!card.soc.hbm.read_words(HBM_BYTES - 8, &mut [0; 2]));
        assert!(!card.soc.hbm.write_bytes(u64::MAX, &[0; 2]) && !card.soc.hbm.read_bytes(HBM_BYTES - 1, &mut [0; 2]));
        assert!(card.soc.hbm.write_bytes(HBM_BYTES - 2, &[1, 2]));
    }
}
