//! The SoC-side function: how firmware sees the card's hardware on the QEMU board.
//!
//! The management CPU's machine has one PCI function that stands for the SoC around it. On silicon the same accesses are
//! plain loads and stores; here a trapped access costs tens of microseconds, so the function offers mapped memory
//! (SRAM, HBM, the host's memory), a mapped *shadow* of the register file for reads, and two rings per core:
//!
//! * the **posted-write ring**: firmware produces, the card consumes strictly in order;
//! * the **notification ring**: the card produces, firmware consumes; doorbells are a coalescing bitmap beside it.
//!
//! # Ownership
//!
//! Each 32-bit index has exactly one writer, named beside it in [`core_block`]. Indices run freely (modulo 2^32); the slot
//! is `index % entries`. An entry is written before its index is published (release) and read after the index was seen
//! (acquire).
//!
//! # Wake-ups
//!
//! *Firmware to card.* After publishing [`core_block::POSTED_PRODUCER`] firmware executes a full barrier and reads
//! [`core_block::POSTED_IDLE`]. If it is 1 the card will not look by itself: firmware writes the core number to
//! [`bar0::KICK`] (the only trapped access on this path). The card sets the flag to 1 *before* its last look at the producer
//! index and a full barrier stands between the two, so either the card sees the entry or firmware sees the flag.
//!
//! *Card to firmware.* Before it sleeps firmware writes 1 to [`core_block::WANT_INTERRUPT`], executes a full barrier and
//! looks at the ring and at the doorbells once more. The card publishes, executes a full barrier, and exchanges the flag
//! for 0; if it was 1 it raises the core's MSI.
//!
//! *Full notification ring.* The card keeps what does not fit in a backlog of its own, in order, and stops consuming posted
//! writes until the backlog is empty. It looks again at the next kick, so firmware kicks whenever it has consumed
//! notifications and its posted ring is not empty.
//!
//! # Failed writes
//!
//! Hardware would stop a command processor whose message got an error answer before its next message leaves. Here the next
//! ones may be in the ring already. So the card drops every later bus write of that initiator - above all the CQ entry that
//! would tell the host of a success - until firmware has recorded the error with a [`WriteKind::SetBits`] of the stream's
//! GLBL_STS1 register, which follows the dropped ones in the same ring.
//!
//! # Filled blocks of HBM
//!
//! A DMA core may fill tens of GiB with a pattern in a moment. The card does not store such a fill: it remembers the pattern
//! of each *block* ([`hbm_block`]), and what BAR4 shows of the block is undefined until it is *present* again. The state of
//! every block stands in [`bar0::HBM_BLOCKS`]. Before firmware accesses a block that is not present it writes the block's
//! number to [`bar0::HBM_FETCH`]; the block is present when that write returns. A fill can come at any time: after a read
//! firmware looks at the state again, and what was read counts when the state is the same. On silicon, and below
//! [`hbm_block::ALWAYS_PRESENT`], there is nothing to look at.
//!
//! Source: `decisions.md` 3.

/// PCI vendor of the SoC-side function.
pub const VENDOR_ID: u16 = 0x1DA3;
/// PCI device of the SoC-side function.
pub const DEVICE_ID: u16 = 0x10C0;
/// Cores that may own rings.
pub const CORES: usize = 4;
/// QMANs of the card; see [`crate::regs::qman::base`] for the order.
pub const QMANS: usize = 18;

/// Layout of BAR0, in bytes from its start. Everything but the kick page is backed by one shared memory file.
pub mod bar0 {
    /// Size of the BAR, a power of two.
    pub const SIZE: u64 = 0x0800_0000;
    /// SRAM; the first 64 MiB are what the host sees as its BAR0, the first 20 MiB are SRAM.
    pub const SRAM: u64 = 0;
    /// Bytes behind [`SRAM`].
    pub const SRAM_WINDOW: u64 = 0x0400_0000;
    /// Shadow of the register file, 32 MiB, indexed by CFG offset. Read-only for firmware.
    pub const SHADOW: u64 = 0x0400_0000;
    /// Bytes of [`SHADOW`].
    pub const SHADOW_SIZE: u64 = 0x0200_0000;
    /// The information page, [`super::info`]. Read-only for firmware.
    pub const INFO: u64 = 0x0600_0000;
    /// The control page, [`super::control`]. Written by firmware.
    pub const CONTROL: u64 = 0x0600_1000;
    /// The first core's block; see [`super::core_block`].
    pub const CORE_BLOCKS: u64 = 0x0601_0000;
    /// States of HBM's blocks; see [`super::hbm_block`]. Read-only for firmware.
    pub const HBM_BLOCKS: u64 = 0x0700_0000;
    /// Bytes of [`HBM_BLOCKS`], a multiple of 4096.
    pub const HBM_BLOCKS_SIZE: u64 = super::hbm_block::COUNT * 4;
    /// Bytes that are mapped; the rest of the BAR is trapped.
    pub const MAPPED: u64 = 0x07FF_F000;
    /// Trapped 32-bit register: a write of a core number makes the card look at that core's posted-write ring.
    pub const KICK: u64 = 0x07FF_F000;
    /// Trapped 32-bit register: a write of 1 asks for a reset of the management CPU (a warm restart from the ROM; card state
    /// stays).
    pub const CPU_RESET: u64 = 0x07FF_F004;
    /// Trapped 32-bit register: a write of a block's number makes that block of HBM present before the write returns.
    pub const HBM_FETCH: u64 = 0x07FF_F008;
}

/// Blocks of HBM that may be filled without being stored, and the words that tell their states.
pub mod hbm_block {
    /// Bytes of a block; block `n` starts at device address `n * SIZE`.
    pub const SIZE: u64 = 0x4_0000;
    /// Blocks of the whole HBM.
    pub const COUNT: u64 = crate::regs::HBM_SIZE / SIZE;
    /// HBM below this device address is always present: firmware and page tables lie there, and the driver never gives it to a
    /// user.
    pub const ALWAYS_PRESENT: u64 = 0x2000_0000;

    /// Offset in BAR0 of the state of the block that holds `address`, a device address of HBM: a u32 that grows by one with
    /// every change, modulo 2^32.
    #[must_use]
    pub const fn state(address: u64) -> u64 {
        super::bar0::HBM_BLOCKS + address / SIZE * 4
    }

    /// True when a state says that the block is present.
    #[must_use]
    pub const fn is_present(state: u32) -> bool {
        state & 1 == 0
    }
}

/// The information page: offsets of little-endian fields. Written by the card only.
pub mod info {
    /// u32: [`MAGIC_VALUE`].
    pub const MAGIC: u64 = 0x00;
    /// u32: [`VERSION_VALUE`]. Firmware must refuse another version.
    pub const VERSION: u64 = 0x04;
    /// u32: entries of each posted-write ring, a power of two.
    pub const POSTED_ENTRIES: u64 = 0x08;
    /// u32: entries of each notification ring, a power of two.
    pub const NOTIFY_ENTRIES: u64 = 0x0C;
    /// u64: bytes of host memory behind BAR2; host bus addresses 0 .. this.
    pub const HOST_BYTES: u64 = 0x10;
    /// u64: bytes of HBM behind BAR4.
    pub const HBM_BYTES: u64 = 0x18;
    /// u64 x 2: device address of the hop-0 table per ASID (0 = not loaded).
    pub const HOP0: u64 = 0x20;
    /// u64: bumped by the card before an MMU invalidation or a hop-0 load completes.
    pub const MMU_GENERATION: u64 = 0x30;
    /// u32: why the CPU last left reset, a [`super::ResetReason`] value.
    pub const RESET_REASON: u64 = 0x38;
    /// u32: board straps; see [`super::straps`].
    pub const STRAPS: u64 = 0x3C;
    /// u32: descriptors a DMA core accepts beyond the one in execution.
    pub const DMA_QUEUE_DEPTH: u64 = 0x40;
    /// u32: 1 when the card finishes the work of a kick before the trapped write returns.
    pub const LOCKSTEP: u64 = 0x44;
    /// Value of [`MAGIC`]: "CXSW".
    pub const MAGIC_VALUE: u32 = 0x5753_5843;
    /// Value of [`VERSION`].
    pub const VERSION_VALUE: u32 = 2;
}

/// Board straps: bit 0 = static loader instead of COMMS, bits 5:4 = cores that do nothing but queues.
pub mod straps {
    /// Use the static loader.
    pub const STATIC_LOADER: u32 = 1 << 0;
    /// Write a trace ([`crate::trace`]).
    pub const TRACE: u32 = 1 << 8;

    /// Cores beside the control core that do nothing but queues, 0..=3; 0: the control core does them.
    #[must_use]
    pub const fn queue_cores(straps: u32) -> u32 {
        straps >> 4 & 3
    }

    /// The straps with `cores` queue cores (0..=3).
    #[must_use]
    pub const fn with_queue_cores(straps: u32, cores: u32) -> u32 {
        straps & !(3 << 4) | (cores & 3) << 4
    }
}

/// The control page: offsets of fields. Written by firmware only.
pub mod control {
    /// u8 x [`super::QMANS`]: the core whose notification ring serves a QMAN and its engine. Everything else goes to core 0.
    pub const ROUTE: u64 = 0x00;
    /// u64 x [`super::CORES`]: instructions a core had retired when it last went to sleep. For measurements; the card does not
    /// look at it.
    pub const INSTRUCTIONS: u64 = 0x40;
    /// u64 x 3 (ROM, boot-fit, control image): instructions from a stage's entry until it is ready. For measurements.
    pub const STAGE_INSTRUCTIONS: u64 = 0x80;
    /// Instructions that stage n (0 ROM, 1 boot-fit) needed to copy and check the image that it accepted last, from the
    /// host's last word to the answer, 8 bytes each. Firmware writes it, for measurements.
    pub const CHECK_INSTRUCTIONS: u64 = 0xA0;
}

/// One core's block: offsets from its start. Cache-line separated by writer.
pub mod core_block {
    /// Distance between two cores' blocks.
    pub const STRIDE: u64 = 0x4_0000;
    /// u32, firmware: posted-write producer index.
    pub const POSTED_PRODUCER: u64 = 0x000;
    /// u32, card: posted-write consumer index.
    pub const POSTED_CONSUMER: u64 = 0x040;
    /// u32, card: 1 = the card looks only when kicked.
    pub const POSTED_IDLE: u64 = 0x044;
    /// u32, card: notification producer index.
    pub const NOTIFY_PRODUCER: u64 = 0x080;
    /// u32, firmware: notification consumer index.
    pub const NOTIFY_CONSUMER: u64 = 0x0C0;
    /// u32, firmware writes 1, card exchanges for 0: raise the MSI at the next notification.
    pub const WANT_INTERRUPT: u64 = 0x100;
    /// u64 x 2, card ORs, firmware exchanges for 0: bit `4 * qman + stream` = PQ_PI was written.
    pub const DOORBELLS: u64 = 0x140;
    /// Posted-write entries, 16 bytes each ([`super::PostedWrite`]).
    pub const POSTED_RING: u64 = 0x1_0000;
    /// Notification entries, 16 bytes each ([`super::Notification`]).
    pub const NOTIFY_RING: u64 = 0x2_0000;
    /// Entries in the posted-write ring of this card version.
    pub const POSTED_ENTRIES: u32 = 4096;
    /// Entries in the notification ring of this card version.
    pub const NOTIFY_ENTRIES: u32 = 1024;

    /// Offset of core `core`'s block in BAR0.
    #[must_use]
    pub const fn offset(core: usize) -> u64 {
        super::bar0::CORE_BLOCKS + STRIDE * core as u64
    }
}

/// Why the management CPU left reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ResetReason {
    /// The card was powered on.
    PowerOn = 0,
    /// The host wrote SW_ALL_RST.
    SoftwareAll = 1,
    /// The host reset the PCIe function.
    FunctionLevel = 2,
    /// Firmware asked for it through [`bar0::CPU_RESET`].
    Firmware = 3,
    /// The watchdog expired.
    Watchdog = 4,
}

impl ResetReason {
    /// Decodes the field of the information page; `None` for an unknown value.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::PowerOn,
            1 => Self::SoftwareAll,
            2 => Self::FunctionLevel,
            3 => Self::Firmware,
            4 => Self::Watchdog,
            _ => return None,
        })
    }
}

/// What a posted-write entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum WriteKind {
    /// A 32-bit write on the SoC bus, with translation, protection and side effects.
    Bus = 0,
    /// Stores a status value that firmware owns into the register shadow: no side effect, host cannot set it.
    Status = 1,
    /// ORs bits into a status register (cause registers).
    SetBits = 2,
    /// Clears bits of a status register.
    ClearBits = 3,
}

/// Attributes of an access on the SoC bus: who asks, and under which translation and protection.
///
/// Bits: \[1:0\] [`WriteKind`], \[2\] secure, \[3\] MMU bypass, \[13:4\] ASID, \[14\] time stamp, \[23:16\] initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Attributes(pub u32);

impl Attributes {
    /// The management CPU itself: secure, bypass.
    pub const CPU: Self = Self::new(true, true, 0, INITIATOR_CPU);

    /// Builds the attributes of a bus access. Only the low 10 bits of `asid` are used.
    #[must_use]
    pub const fn new(secure: bool, bypass: bool, asid: u32, initiator: u8) -> Self {
        Self((secure as u32) << 2 | (bypass as u32) << 3 | (asid & 0x3FF) << 4 | (initiator as u32) << 16)
    }

    /// Builds the attributes from a QMAN properties register: ASID \[9:0\], MMU bypass \[10\].
    #[must_use]
    pub const fn from_props(secure: bool, props: u32, initiator: u8) -> Self {
        Self::new(secure, props & 0x400 != 0, props & 0x3FF, initiator)
    }

    /// The same attributes with another write kind.
    #[must_use]
    pub const fn with_kind(self, kind: WriteKind) -> Self {
        Self(self.0 & !3 | kind as u32)
    }

    /// The same attributes for a bus write whose data is replaced by the low half of the device's time when it is carried out.
    #[must_use]
    pub const fn with_timestamp(self) -> Self {
        Self(self.0 | 1 << 14)
    }

    /// True when the data is replaced by the device's time.
    #[must_use]
    pub const fn timestamp(self) -> bool {
        self.0 >> 14 & 1 != 0
    }

    /// The write kind.
    #[must_use]
    pub const fn kind(self) -> WriteKind {
        match self.0 & 3 {
            0 => WriteKind::Bus,
            1 => WriteKind::Status,
            2 => WriteKind::SetBits,
            _ => WriteKind::ClearBits,
        }
    }

    /// True for a secure access: exempt from protection bits and range registers.
    #[must_use]
    pub const fn secure(self) -> bool {
        self.0 & 4 != 0
    }

    /// True when the address is physical.
    #[must_use]
    pub const fn bypass(self) -> bool {
        self.0 & 8 != 0
    }

    /// Address space when not in bypass.
    #[must_use]
    pub const fn asid(self) -> u32 {
        self.0 >> 4 & 0x3FF
    }

    /// The initiator; see [`initiator`].
    #[must_use]
    pub const fn initiator(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

/// Initiator number of the management CPU.
pub const INITIATOR_CPU: u8 = 0xFF;

/// Initiator number of a command processor: `8 * qman + stream`, stream 4 = lower CP.
#[must_use]
pub const fn initiator(qman: usize, stream: usize) -> u8 {
    ((qman as u8) << 3) | (stream as u8 & 7)
}

/// One entry of a posted-write ring: 16 bytes, `{address u64, data u32, attributes u32}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostedWrite {
    /// Device address, 4-byte aligned.
    pub address: u64,
    /// The 32-bit data.
    pub data: u32,
    /// Kind, security, translation and initiator.
    pub attributes: Attributes,
}

impl PostedWrite {
    /// The entry as two little-endian 64-bit words.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.address, self.data as u64 | (self.attributes.0 as u64) << 32]
    }

    /// Decodes two words; every bit pattern is an entry.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { address: words[0], data: words[1] as u32, attributes: Attributes((words[1] >> 32) as u32) }
    }
}

/// One entry of a notification ring, decoded. 16 bytes: word 0 = `{kind [7:0], unit [15:8], index [31:16], value [63:32]}`,
/// word 1 = detail.
///
/// `unit` is a QMAN number for queue notifications and an engine number (same numbering) for engine notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification {
    /// Kind 1: a register that firmware must act on was written. In order with every other notification of the core.
    RegisterWrite {
        /// CFG offset of the register.
        offset: u32,
        /// The value written.
        value: u32,
        /// True when a secure initiator (host, CPU, driver-secured unit) wrote it.
        secure: bool,
    },
    /// Kind 2: CP_FENCEx_RDATA was written.
    Fence {
        /// QMAN number.
        qman: u8,
        /// Stream 0..=4.
        stream: u8,
        /// Fence counter 0..=3.
        fence: u8,
        /// Increment, 0..=15.
        increment: u8,
    },
    /// Kind 3: an engine finished one descriptor or launch, data visible, completion write answered.
    EngineDone {
        /// Engine number (that of its QMAN).
        engine: u8,
    },
    /// Kind 4: an engine reported an error; its cause register holds `cause`.
    EngineError {
        /// Engine number.
        engine: u8,
        /// New cause bits.
        cause: u32,
        /// True when the engine stopped: the failing descriptor and those behind it will not complete.
        stopped: bool,
    },
    /// Kind 5: a translation failed; the capture registers of the MMU hold the first one.
    PageFault {
        /// Who asked ([`initiator`]; engines use stream 7).
        initiator: u8,
        /// True for a write.
        write: bool,
        /// The virtual address.
        address: u64,
    },
    /// Kind 6: an access was blocked by protection bits or range registers (and had no effect).
    Blocked {
        /// Who asked.
        initiator: u8,
        /// True for a write.
        write: bool,
        /// The device address.
        address: u64,
    },
    /// Kind 7: a sync manager set its SEI cause.
    SyncManagerError {
        /// 0 W_S, 1 E_S, 2 W_N, 3 E_N.
        manager: u8,
        /// 0 SOB over/underflow, 1 unaligned payload address, 2 payload write failed.
        cause: u8,
        /// SOB group, low address bits or initiator.
        log: u32,
    },
    /// Kind 8: a posted bus write got an error answer (unmapped address or failed translation).
    WriteFailed {
        /// Who asked.
        initiator: u8,
        /// The device address.
        address: u64,
    },
}

impl Notification {
    /// The entry as two little-endian 64-bit words.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        const fn head(kind: u8, unit: u8, index: u16, value: u32) -> u64 {
            kind as u64 | (unit as u64) << 8 | (index as u64) << 16 | (value as u64) << 32
        }
        match self {
            Self::RegisterWrite { offset, value, secure } => [head(1, 0, secure as u16, value), offset as u64],
            Self::Fence { qman, stream, fence, increment } => {
                [head(2, qman, stream as u16 | (fence as u16) << 8, increment as u32), 0]
            }
            Self::EngineDone { engine } => [head(3, engine, 0, 0), 0],
            Self::EngineError { engine, cause, stopped } => [head(4, engine, stopped as u16, cause), 0],
            Self::PageFault { initiator, write, address } => [head(5, initiator, write as u16, 0), address],
            Self::Blocked { initiator, write, address } => [head(6, initiator, write as u16, 0), address],
            Self::SyncManagerError { manager, cause, log } => [head(7, manager, cause as u16, log), 0],
            Self::WriteFailed { initiator, address } => [head(8, initiator, 0, 0), address],
        }
    }

    /// Decodes two words; `None` for an unknown kind.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Option<Self> {
        let [head, detail] = words;
        let unit = (head >> 8) as u8;
        let index = (head >> 16) as u16;
        let value = (head >> 32) as u32;
        Some(match head as u8 {
            1 => Self::RegisterWrite { offset: detail as u32, value, secure: index & 1 != 0 },
            2 => Self::Fence { qman: unit, stream: index as u8, fence: (index >> 8) as u8, increment: value as u8 },
            3 => Self::EngineDone { engine: unit },
            4 => Self::EngineError { engine: unit, cause: value, stopped: index & 1 != 0 },
            5 => Self::PageFault { initiator: unit, write: index & 1 != 0, address: detail },
            6 => Self::Blocked { initiator: unit, write: index & 1 != 0, address: detail },
            7 => Self::SyncManagerError { manager: unit, cause: index as u8, log: value },
            8 => Self::WriteFailed { initiator: unit, address: detail },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posted_write_has_the_documented_bytes() {
        let write = PostedWrite {
            address: 0x7F_FCC0_4100,
            data: 1,
            attributes: Attributes::new(true, true, 1, 0x0A).with_kind(WriteKind::Status),
        };
        assert_eq!(write.to_words(), [0x0000_007F_FCC0_4100, 0x000A_001D_0000_0001]);
        assert_eq!(PostedWrite::from_words(write.to_words()), write);
    }

    #[test]
    fn every_notification_survives_its_encoding() {
        let all = [
            Notification::RegisterWrite { offset: 0xC4_B304, value: 0x1800_0500, secure: true },
            Notification::Fence { qman: 17, stream: 4, fence: 3, increment: 15 },
            Notification::EngineDone { engine: 7 },
            Notification::EngineError { engine: 1, cause: 3, stopped: true },
            Notification::PageFault { initiator: 9, write: true, address: 0x1_0000_0000_0000 },
            Notification::Blocked { initiator: 9, write: false, address: 0x7F_FCC0_4100 },
            Notification::SyncManagerError { manager: 3, cause: 1, log: 0xFFFF_FFFF },
            Notification::WriteFailed { initiator: 0xFF, address: u64::MAX },
        ];
        for notification in all {
            assert_eq!(Notification::from_words(notification.to_words()), Some(notification));
        }
        assert_eq!(Notification::from_words([0, 0]), None);
        assert_eq!(Notification::from_words([9, 0]), None);
    }

    #[test]
    fn the_blocks_of_all_cores_fit_below_the_kick_page() {
        assert!(core_block::offset(CORES) <= bar0::MAPPED);
        assert!(core_block::POSTED_RING + 16 * u64::from(core_block::POSTED_ENTRIES) <= core_block::NOTIFY_RING);
        assert!(core_block::NOTIFY_RING + 16 * u64::from(core_block::NOTIFY_ENTRIES) <= core_block::STRIDE);
    }
}
