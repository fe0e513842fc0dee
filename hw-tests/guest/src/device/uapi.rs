//! Numbers and layouts of the driver's user interface (Linux 6.12; `submission-path.md` 2).
//!
//! Data only. Every size and every offset that the interface fixes is asserted at compile time.

use std::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// ioctl: information.
pub const IOCTL_INFO: u32 = 0xC018_6440;
/// ioctl: command buffers.
pub const IOCTL_CB: u32 = 0xC018_6441;
/// ioctl: submit.
pub const IOCTL_CS: u32 = 0xC030_6442;
/// ioctl: wait for a submission.
pub const IOCTL_WAIT_CS: u32 = 0xC038_6443;
/// ioctl: memory.
pub const IOCTL_MEMORY: u32 = 0xC028_6444;

/// Largest command buffer a user may create, in bytes.
pub const CB_LIMIT: usize = 0x20_0000 - 32;
/// Most jobs of one submission.
pub const JOBS_LIMIT: usize = 512;

/// Operations of [`IOCTL_INFO`].
pub mod info_op {
    /// [`super::HwIpInfo`].
    pub const HW_IP_INFO: u32 = 0;
    /// u32 per event: occurrences since the last hard reset.
    pub const HW_EVENTS: u32 = 1;
    /// u64 x 2: free device memory, memory of this context (both are what users accounted for).
    pub const DRAM_USAGE: u32 = 2;
    /// [`super::HwIdle`].
    pub const HW_IDLE: u32 = 3;
    /// u32 status, u32 padding.
    pub const DEVICE_STATUS: u32 = 4;
    /// u32 per event: occurrences since the driver was loaded.
    pub const HW_EVENTS_AGGREGATE: u32 = 7;
    /// u32 x 2: current and highest clock in MHz.
    pub const CLK_RATE: u32 = 8;
    /// u32 x 2: hard and compute resets.
    pub const RESET_COUNT: u32 = 9;
    /// u64 x 3: device time, host time, host time-stamp counter.
    pub const TIME_SYNC: u32 = 10;
    /// u64 x 12: submissions dropped, by cause.
    pub const CS_COUNTERS: u32 = 11;
    /// u32 x 4: first free sync object, monitor, CQ; reserved. Takes a sync manager number.
    pub const SYNC_MANAGER: u32 = 14;
    /// u64: energy.
    pub const TOTAL_ENERGY: u32 = 15;
    /// u16 x 4: outputs in MHz. Takes a PLL number.
    pub const PLL_FREQUENCY: u32 = 16;
    /// u64: power.
    pub const POWER: u32 = 17;
    /// [`super::OpenStats`].
    pub const OPEN_STATS: u32 = 18;
}

/// Operations of [`IOCTL_CB`].
pub mod cb_op {
    /// Create.
    pub const CREATE: u32 = 0;
    /// Destroy.
    pub const DESTROY: u32 = 1;
}

/// Operations and flags of [`IOCTL_MEMORY`].
pub mod memory_op {
    /// Account for device memory (on Gaudi nothing is allocated).
    pub const ALLOC: u32 = 0;
    /// Take back the accounting.
    pub const FREE: u32 = 1;
    /// Map host memory for the device.
    pub const MAP: u32 = 2;
    /// Unmap.
    pub const UNMAP: u32 = 3;
    /// Flag of [`MAP`]: the memory is the caller's own.
    pub const USER_POINTER: u32 = 0x4;
}

/// Flags of a submission.
pub mod cs_flags {
    /// Run the restore phase before the execute phase.
    pub const FORCE_RESTORE: u32 = 0x1;
    /// One chunk: raise the queue's own sync object.
    pub const SIGNAL: u32 = 0x2;
    /// One chunk: the queue waits for a signal submission.
    pub const WAIT: u32 = 0x4;
    /// A stage of a staged submission.
    pub const STAGED: u32 = 0x40;
    /// The first stage.
    pub const STAGED_FIRST: u32 = 0x80;
    /// The last stage.
    pub const STAGED_LAST: u32 = 0x100;
    /// With the first stage: its jobs send signals that were reserved. With [`WAIT`]: wait for some of them.
    pub const ENCAPSULATED: u32 = 0x800;
    /// Reserve signals of a queue, submit nothing.
    pub const RESERVE: u32 = 0x1000;
    /// Give the reservation back.
    pub const UNRESERVE: u32 = 0x2000;
    /// The time-out field is valid.
    pub const CUSTOM_TIMEOUT: u32 = 0x200;
}

/// Flag of [`WaitIn::flags`]: wait for the first of several submissions.
pub const WAIT_ANY: u32 = 0x4;
/// Most submissions of such a wait.
pub const WAIT_ANY_LIMIT: usize = 32;

/// States of a submission in [`WaitOut::status`].
pub mod wait_status {
    /// Complete.
    pub const COMPLETED: u32 = 0;
    /// Still running.
    pub const BUSY: u32 = 1;
    /// The driver's time-out for it expired.
    pub const TIMED_OUT: u32 = 2;
    /// Ended by a reset.
    pub const ABORTED: u32 = 3;
}

/// Argument of [`IOCTL_INFO`].
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InfoArgs {
    /// Where the answer goes.
    pub return_pointer: u64,
    /// Most bytes the driver may write there.
    pub return_size: u32,
    /// An [`info_op`].
    pub op: u32,
    /// PLL, sync manager or other selector, by operation.
    pub selector: u32,
    /// Zero.
    pub pad: u32,
}

/// Answer to [`info_op::HW_IP_INFO`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HwIpInfo {
    /// First SRAM address users may use.
    pub sram_base: u64,
    /// First device-memory address users may use; physical on Gaudi.
    pub dram_base: u64,
    /// Bytes of device memory for users.
    pub dram_size: u64,
    /// Bytes of SRAM for users.
    pub sram_size: u32,
    /// Event numbers, 0 .. this.
    pub events: u32,
    /// PCI device id.
    pub device_id: u32,
    /// Position in a server.
    pub module_id: u32,
    /// Not Gaudi.
    pub decoder_mask: u32,
    /// Not Gaudi.
    pub first_interrupt: u16,
    /// Server type.
    pub server_type: u16,
    /// CPLD version.
    pub cpld_version: u32,
    /// PCI PLL: NR.
    pub pll_nr: u32,
    /// PCI PLL: NF.
    pub pll_nf: u32,
    /// PCI PLL: OD.
    pub pll_od: u32,
    /// PCI PLL: divider.
    pub pll_divider: u32,
    /// Enabled TPCs, one bit each.
    pub tpc_mask: u8,
    /// 1: device memory works.
    pub dram_enabled: u8,
    /// 1: the firmware is in security mode.
    pub security_enabled: u8,
    /// Not Gaudi.
    pub mme_mode: u8,
    /// Version of the firmware's CPUCP server, zero-terminated.
    pub cpucp_version: [u8; 128],
    /// Card name, zero-terminated.
    pub card_name: [u8; 16],
    /// Enabled TPCs of later cards.
    pub tpc_mask_ext: u64,
    /// Page size of device memory.
    pub dram_page_size: u64,
    /// Not Gaudi.
    pub edma_mask: u32,
    /// Not Gaudi.
    pub user_interrupts: u16,
    /// Reserved.
    pub reserved_a: [u8; 2],
    /// Reserved.
    pub reserved_b: u64,
    /// Page size of device-memory allocations.
    pub alloc_page_size: u64,
    /// Reserved.
    pub reserved_c: [u64; 2],
    /// Reserved.
    pub reserved_d: u32,
    /// Reserved.
    pub reserved_e: u8,
    /// PCI revision.
    pub revision_id: u8,
    /// Not Gaudi.
    pub tpc_interrupt: u16,
    /// Not Gaudi.
    pub rotator_mask: u32,
    /// Reserved.
    pub reserved_f: u32,
    /// Not Gaudi.
    pub engine_core_interrupt: u64,
    /// Bytes of device memory kept by driver and firmware.
    pub reserved_dram_size: u64,
}

/// Answer to [`info_op::HW_IDLE`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HwIdle {
    /// 1: everything is idle.
    pub is_idle: u32,
    /// Busy engines, one bit each: DMA 0..=7, MME 8..=11, TPC 12..=19.
    pub busy: u32,
    /// The same and more engines.
    pub busy_ext: [u64; 4],
}

/// Answer to [`info_op::OPEN_STATS`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenStats {
    /// Successful opens so far.
    pub opens: u64,
    /// Milliseconds the device was open the last time.
    pub last_open_ms: u64,
    /// 1: a compute context exists.
    pub active: u8,
    /// 1: a compute context is being released.
    pub in_release: u8,
    /// Zero.
    pub pad: [u8; 6],
}

/// Argument of [`IOCTL_CB`]; the answer is the handle in the first field.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CbArgs {
    /// Handle: in for destroy, out for create.
    pub handle: u64,
    /// A [`cb_op`].
    pub op: u32,
    /// Bytes, for create.
    pub size: u32,
    /// Zero.
    pub context: u32,
    /// Zero.
    pub flags: u32,
}

/// One job of a submission.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chunk {
    /// External queue: handle of the command buffer. Internal queue: device address. Wait submission: address of an array
    /// of sequence numbers; for encapsulated signals the sequence number itself.
    pub handle_or_address: u64,
    /// Queue number.
    pub queue: u32,
    /// Bytes of valid packets. Wait submission: length of the array (1); for encapsulated signals how many to wait for.
    pub size: u32,
    /// Zero.
    pub flags: u32,
    /// Zero.
    pub collective_engine: u32,
    /// Zero.
    pub pad: [u32; 10],
}

/// Argument of [`IOCTL_CS`].
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CsIn {
    /// Address of the restore chunks.
    pub restore: u64,
    /// Address of the execute chunks.
    pub execute: u64,
    /// Later stages: sequence number of the first one. Encapsulated signals: handle of the reservation. Reservation: number
    /// of signals, and in the high half the queue.
    pub sequence: u64,
    /// Number of restore chunks.
    pub restore_count: u32,
    /// Number of execute chunks.
    pub execute_count: u32,
    /// Seconds, with [`cs_flags::CUSTOM_TIMEOUT`].
    pub timeout_s: u32,
    /// [`cs_flags`].
    pub flags: u32,
    /// Zero.
    pub context: u32,
    /// Zero.
    pub pad: u32,
}

/// Answer to [`IOCTL_CS`], at the beginning of its argument.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CsOut {
    /// Sequence number to wait for. Reservation: its handle, and in the high half the number of signals.
    pub sequence: u64,
    /// 0.
    pub status: u32,
    /// Signals and reservations: CFG offset of the sync object.
    pub sob_offset: u32,
    /// Signals: value of the sync object before them.
    pub sob_count: u16,
    /// Zero.
    pub pad: [u16; 3],
}

/// Argument of [`IOCTL_WAIT_CS`].
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitIn {
    /// Sequence number; with [`WAIT_ANY`] the address of an array of them.
    pub sequence: u64,
    /// Microseconds; 0 looks once.
    pub timeout_us: u64,
    /// Zero.
    pub context: u32,
    /// Zero for a wait for one submission, or [`WAIT_ANY`].
    pub flags: u32,
    /// With [`WAIT_ANY`]: length of the array.
    pub sequences: u64,
    /// User-interrupt waits only.
    pub interrupt: [u64; 3],
}

/// Answer to [`IOCTL_WAIT_CS`], at the beginning of its argument.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitOut {
    /// A [`wait_status`].
    pub status: u32,
    /// Bit 0: the driver no longer tracks this submission.
    pub flags: u32,
    /// Completion time, when asked for.
    pub timestamp_ns: i64,
    /// With [`WAIT_ANY`]: one bit per complete submission.
    pub completion_map: u32,
    /// Zero.
    pub pad: u32,
}

/// Argument of [`IOCTL_MEMORY`]; the answer is the first field of [`Self::argument`].
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryArgs {
    /// ALLOC: size, page size. FREE: size. MAP host: host address, wanted device address, size. UNMAP: device address.
    pub argument: [u64; 3],
    /// A [`memory_op`].
    pub op: u32,
    /// Flags of the operation.
    pub flags: u32,
    /// Zero.
    pub context: u32,
    /// Zero.
    pub elements: u32,
}

const _: () = {
    /// Size of the argument that an ioctl number announces.
    const fn announced(number: u32) -> usize {
        (number >> 16 & 0x3FFF) as usize
    }
    assert!(size_of::<InfoArgs>() == announced(IOCTL_INFO));
    assert!(size_of::<CbArgs>() == announced(IOCTL_CB));
    assert!(size_of::<CsIn>() == announced(IOCTL_CS));
    assert!(size_of::<WaitIn>() == announced(IOCTL_WAIT_CS));
    assert!(size_of::<MemoryArgs>() == announced(IOCTL_MEMORY));
    assert!(size_of::<CsOut>() == 24 && size_of::<WaitOut>() == 24);
    assert!(offset_of!(CsIn, restore_count) == 0x18 && offset_of!(CsIn, flags) == 0x24);
    assert!(offset_of!(CsOut, sob_count) == 0x10);
    assert!(offset_of!(WaitIn, flags) == 0x14 && offset_of!(WaitIn, sequences) == 0x18);
    assert!(size_of::<Chunk>() == 64 && offset_of!(Chunk, queue) == 8 && offset_of!(Chunk, size) == 12);
    assert!(offset_of!(MemoryArgs, op) == 24);
    assert!(size_of::<HwIpInfo>() == 304);
    assert!(offset_of!(HwIpInfo, tpc_mask) == 68 && offset_of!(HwIpInfo, cpucp_version) == 72);
    assert!(offset_of!(HwIpInfo, card_name) == 200 && offset_of!(HwIpInfo, dram_page_size) == 224);
    assert!(offset_of!(HwIpInfo, revision_id) == 277 && offset_of!(HwIpInfo, reserved_dram_size) == 296);
    assert!(size_of::<HwIdle>() == 40 && size_of::<OpenStats>() == 24);
};
