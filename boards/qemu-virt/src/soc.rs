//! The SoC-side function as this board sees it: windows over its BARs, the information page and the rings of a core.
//!
//! See [`coxswain_abi::soc`] for the contract. This module owns the mapping only: who writes which index is decided there and
//! implemented in [`crate::posted`] and [`crate::notify`].

use coxswain_abi::regs;
use coxswain_abi::soc::{bar0, core_block, info};

use crate::boot_info::BarAddresses;
use crate::hbm::HbmWindow;
use crate::window::Window;

/// Why the function's memory was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
pub enum AttachError {
    /// The information page has another magic.
    Magic(u32),
    /// The information page has another version.
    Version(u32),
    /// A ring has no power-of-two size that fits its place.
    RingGeometry {
        /// Entries of the posted-write ring.
        posted: u32,
        /// Entries of the notification ring.
        notify: u32,
    },
    /// More memory is announced than the BAR behind it has.
    Extent {
        /// Bytes of host memory.
        host: u64,
        /// Bytes of HBM.
        hbm: u64,
    },
}

impl AttachError {
    /// What is wrong, in words, and the number that was found.
    #[must_use]
    pub const fn explain(&self) -> (&'static str, u64) {
        match *self {
            Self::Magic(magic) => ("card: wrong magic", magic as u64),
            Self::Version(version) => ("card: wrong version", version as u64),
            Self::RingGeometry { posted, notify } => {
                ("card: wrong ring sizes, posted and notify", (posted as u64) << 32 | notify as u64)
            }
            Self::Extent { host, hbm } => {
                ("card: more memory than its BARs, host and HBM MiB", host >> 20 << 32 | hbm >> 20)
            }
        }
    }
}

/// Windows over the SoC-side function. Copies refer to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Soc {
    /// The mapped part of BAR0.
    bar0: Window,
    /// Host memory, bus addresses from 0.
    pub(crate) host: Window,
    /// HBM, device addresses from 0.
    pub(crate) hbm: HbmWindow,
    /// SRAM, device addresses from [`regs::SRAM_BASE`].
    pub(crate) sram: Window,
    /// The register shadow, CFG offsets: exactly [`bar0::SHADOW_SIZE`] bytes.
    pub(crate) shadow: Window,
    /// The information page.
    pub(crate) info: Window,
    posted_entries: u32,
    notify_entries: u32,
    kick: TrappedRegister,
}

/// A register of the function's trapped page. A write costs tens of microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrappedRegister(*mut u32);

// SAFETY: the register takes 32-bit writes from any core, in any order.
unsafe impl Send for TrappedRegister {}
// SAFETY: as above.
unsafe impl Sync for TrappedRegister {}

impl TrappedRegister {
    /// Writes `value`; what the card does with it is done when this returns.
    pub(crate) fn write(self, value: u32) {
        if let Some(register) = core::ptr::NonNull::new(self.0.cast::<safe_mmio::fields::WriteOnly<u32>>()) {
            // SAFETY: the register of the attached function, device memory; writes need no exclusion between cores.
            unsafe { safe_mmio::UniqueMmioPointer::new(register) }.write(value);
        }
    }
}

/// Bytes of the information page.
const INFO_BYTES: u64 = 0x1000;

impl Soc {
    /// Attaches to the function whose BARs are at `bars`, after checks of the information page.
    ///
    /// # Safety
    /// The three BARs must be enabled at these addresses (identity-mapped where the MMU is on: memory as normal memory, the
    /// kick page as device memory), for as long as the result or a copy is used.
    ///
    /// # Errors
    /// [`AttachError`] when the card speaks another version of the contract or announces what cannot be.
    pub unsafe fn attach(bars: &BarAddresses) -> Result<Self, AttachError> {
        let base = bars.bar0 as *mut u8;
        // SAFETY: the caller vouches for BAR0; all of `MAPPED` is backed by memory.
        let window = unsafe { Window::new(base, bar0::MAPPED) };
        // SAFETY: KICK and HBM_FETCH lie inside BAR0, behind the mapped part.
        let kick = TrappedRegister(unsafe { base.add(bar0::KICK as usize) }.cast());
        // SAFETY: as above.
        let fetch = TrappedRegister(unsafe { base.add(bar0::HBM_FETCH as usize) }.cast());
        // SAFETY: the constants of `bar0` lie inside BAR0 and are multiples of 4096.
        let part = |offset: u64, bytes: u64| unsafe { Window::new(base.add(offset as usize), bytes) };
        let page = part(bar0::INFO, INFO_BYTES);
        let word = |offset| page.read_u32(offset).unwrap_or(0);
        let double_word = |offset| page.read_u64(offset).unwrap_or(0);

        if word(info::MAGIC) != info::MAGIC_VALUE {
            return Err(AttachError::Magic(word(info::MAGIC)));
        }
        if word(info::VERSION) != info::VERSION_VALUE {
            return Err(AttachError::Version(word(info::VERSION)));
        }
        let (posted, notify) = (word(info::POSTED_ENTRIES), word(info::NOTIFY_ENTRIES));
        let fits = |entries: u32, room: u64| entries.is_power_of_two() && u64::from(entries) * 16 <= room;
        if !fits(posted, core_block::NOTIFY_RING - core_block::POSTED_RING)
            || !fits(notify, core_block::STRIDE - core_block::NOTIFY_RING)
        {
            return Err(AttachError::RingGeometry { posted, notify });
        }
        let (host, hbm) = (double_word(info::HOST_BYTES), double_word(info::HBM_BYTES));
        if host > bars.bar2_bytes || hbm > bars.bar4_bytes || hbm > regs::HBM_SIZE {
            return Err(AttachError::Extent { host, hbm });
        }
        Ok(Self {
            bar0: window,
            // SAFETY: the caller vouches for BAR2, and the card says that `host` bytes of it are backed.
            host: unsafe { Window::new(bars.bar2 as *mut u8, host) },
            hbm: HbmWindow::new(
                // SAFETY: the caller vouches for BAR4, and the card says that `hbm` bytes of it are backed.
                unsafe { Window::new(bars.bar4 as *mut u8, hbm) },
                part(bar0::HBM_BLOCKS, bar0::HBM_BLOCKS_SIZE),
                fetch,
            ),
            sram: part(bar0::SRAM, regs::SRAM_SIZE),
            shadow: part(bar0::SHADOW, bar0::SHADOW_SIZE),
            info: page,
            posted_entries: posted,
            notify_entries: notify,
            kick,
        })
    }

    /// A field of the information page.
    #[must_use]
    pub fn info_u32(&self, offset: u64) -> u32 {
        self.info.read_u32(offset).unwrap_or(0)
    }

    /// Bytes of the host's memory.
    #[must_use]
    pub const fn host_bytes(&self) -> u64 {
        self.host.bytes()
    }

    /// Bytes of HBM.
    #[must_use]
    pub const fn hbm_bytes(&self) -> u64 {
        self.hbm.bytes()
    }

    /// True when the card finishes the work of a kick before the trapped write returns.
    #[must_use]
    pub fn is_lockstep(&self) -> bool {
        self.info_u32(info::LOCKSTEP) == 1
    }

    /// Entries of a posted-write ring, a power of two.
    #[must_use]
    pub const fn posted_entries(&self) -> u32 {
        self.posted_entries
    }

    /// Entries of a notification ring, a power of two.
    #[must_use]
    pub const fn notify_entries(&self) -> u32 {
        self.notify_entries
    }

    /// The block of core `core`; `None` for a core without rings.
    #[must_use]
    pub fn core_block(&self, core: usize) -> Option<Window> {
        if core >= coxswain_abi::soc::CORES {
            return None;
        }
        self.bar0.part(core_block::offset(core), core_block::STRIDE)
    }

    /// Writes the control page: QMAN `qman` and its engine notify core `core`.
    ///
    /// Out-of-range numbers change nothing.
    pub fn route_qman(&self, qman: usize, core: usize) {
        if qman < coxswain_abi::soc::QMANS && core < coxswain_abi::soc::CORES {
            let offset = bar0::CONTROL + coxswain_abi::soc::control::ROUTE + qman as u64;
            // Inside BAR0 by the two checks.
            let _ = self.bar0.write_bytes(offset, &[core as u8]);
        }
    }

    /// The word of the control page that says how many instructions core `core` had retired when it last went to sleep, for
    /// measurements; `None` for a core that does not exist.
    #[must_use]
    pub fn progress_cell(&self, core: usize) -> Option<&'static core::sync::atomic::AtomicU64> {
        if core >= coxswain_abi::soc::CORES {
            return None;
        }
        self.bar0.double_word(bar0::CONTROL + coxswain_abi::soc::control::INSTRUCTIONS + 8 * core as u64)
    }

    /// Writes the control page: instructions that stage `stage` (0 ROM, 1 boot-fit, 2 control image) needed until it was
    /// ready, for measurements.
    ///
    /// An out-of-range stage changes nothing.
    pub fn note_stage_instructions(&self, stage: usize, retired: u64) {
        if stage < 3 {
            self.store_control(coxswain_abi::soc::control::STAGE_INSTRUCTIONS + 8 * stage as u64, retired);
        }
    }

    /// Writes the control page: instructions that stage `stage` (0 ROM, 1 boot-fit) needed to copy and check an image, for
    /// measurements.
    ///
    /// An out-of-range stage changes nothing.
    pub fn note_check_instructions(&self, stage: usize, retired: u64) {
        if stage < 2 {
            self.store_control(coxswain_abi::soc::control::CHECK_INSTRUCTIONS + 8 * stage as u64, retired);
        }
    }

    /// Stores a whole word of the control page at once: another process reads it.
    #[inline]
    fn store_control(&self, offset: u64, value: u64) {
        if let Some(word) = self.bar0.double_word(bar0::CONTROL + offset) {
            word.store(value, core::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The trapped register that makes the card look at core `core`'s posted writes.
    #[must_use]
    pub fn kick(&self, core: usize) -> Kick {
        Kick { register: self.kick, core: core as u32 }
    }
}

/// The kick register with a core's number.
#[derive(Debug, Clone, Copy)]
pub struct Kick {
    register: TrappedRegister,
    core: u32,
}

impl Kick {
    /// Makes the card look at this core's ring. Costs a trap: tens of microseconds.
    pub fn ring(&self) {
        self.register.write(self.core);
    }
}
