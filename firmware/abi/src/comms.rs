//! COMMS: the dynamic firmware-load protocol between the host and the boot stages.
//!
//! Words of the two mailbox registers, the descriptor that a stage publishes, and the message that a host may send
//! instead of an image. Bytes only: who says what and when is in the boot chain of the control core.
//!
//! Sources: `boot-protocol.md` 3.2 to 3.6 (values), 8.2 to 8.5 (structures), 20 (test vectors).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::regs;

/// Bytes of every version string field, terminating NUL included (`boot-protocol.md` 3.6).
pub const VERSION_BYTES: usize = 128;

/// A COMMS command (bits 31:27 of KMD_MSG_TO_CPU).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// 0: no command.
    Noop,
    /// 1: clear the status register.
    ClearStatus,
    /// 2: forget any half-finished transfer.
    ResetState,
    /// 3: prepare a descriptor for a transfer of the given bytes.
    PrepareDescriptor,
    /// 4: the announced bytes are in place.
    DataReady,
    /// 5: execute the image, or act on the message.
    Execute,
    /// 6: reset the device.
    ResetDevice,
    /// 7: stop in a wait-for-event loop.
    GotoWfe,
    /// 8: do not wait for the board-management controller.
    SkipBmc,
    /// 10: as [`Self::PrepareDescriptor`], descriptor to be read through ELBI. Not sent by the 6.12 driver.
    PrepareDescriptorElbi,
    /// Any other command number, 0..=31.
    Unknown(u8),
}

impl Command {
    /// The command number, 0..=31.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Noop => 0,
            Self::ClearStatus => 1,
            Self::ResetState => 2,
            Self::PrepareDescriptor => 3,
            Self::DataReady => 4,
            Self::Execute => 5,
            Self::ResetDevice => 6,
            Self::GotoWfe => 7,
            Self::SkipBmc => 8,
            Self::PrepareDescriptorElbi => 10,
            Self::Unknown(number) => number as u32 & 0x1F,
        }
    }
}

/// The COMMS command word: command in bits 31:27, size in bytes in bits 24:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct CommandWord(pub u32);

impl CommandWord {
    /// Builds a word; only the low 25 bits of `size` are used.
    #[must_use]
    pub const fn new(command: Command, size: u32) -> Self {
        Self(command.number() << 27 | size & 0x01FF_FFFF)
    }

    /// The command.
    #[must_use]
    pub const fn command(self) -> Command {
        match self.0 >> 27 {
            0 => Command::Noop,
            1 => Command::ClearStatus,
            2 => Command::ResetState,
            3 => Command::PrepareDescriptor,
            4 => Command::DataReady,
            5 => Command::Execute,
            6 => Command::ResetDevice,
            7 => Command::GotoWfe,
            8 => Command::SkipBmc,
            10 => Command::PrepareDescriptorElbi,
            number => Command::Unknown(number as u8),
        }
    }

    /// The size argument in bytes, 0..=0x1FF_FFFF.
    #[must_use]
    pub const fn size(self) -> u32 {
        self.0 & 0x01FF_FFFF
    }
}

/// Status code (bits 31:28 of CPU_CMD_STATUS_TO_HOST).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Nothing; what the host waits for after CLR_STS.
    Noop = 0,
    /// The command is recognised.
    Ack = 1,
    /// The command is done.
    Ok = 2,
    /// The command is not supported. The host does not end its wait early.
    Err = 3,
    /// An image is invalid. The host does not end its wait early.
    ValidErr = 4,
    /// Something took too long. The host does not end its wait early.
    TimeoutErr = 5,
}

/// Memory that a status word's offset is relative to (bits 27:26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RamType {
    /// SRAM, [`regs::SRAM_BASE`].
    Sram = 0,
    /// HBM, [`regs::HBM_BASE`].
    Hbm = 1,
    /// No memory: in an awaited status this makes the driver give up at once with -EIO.
    Invalid = 3,
}

/// The COMMS status word: status in bits 31:28, RAM type in bits 27:26, offset in units of 4 bytes in bits 25:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct StatusWord(pub u32);

impl StatusWord {
    /// The cleared register.
    pub const NOOP: Self = Self::new(Status::Noop);
    /// A recognised command.
    pub const ACK: Self = Self::new(Status::Ack);
    /// A command done that has no location to tell.
    pub const OK: Self = Self::new(Status::Ok);
    /// An unsupported command.
    pub const ERR: Self = Self::new(Status::Err);
    /// The refusal that costs the driver no time-out: OK with a RAM type that the driver rejects (`decisions.md` 1).
    pub const REFUSED: Self = Self((Status::Ok as u32) << 28 | (RamType::Invalid as u32) << 26);

    /// A status without a location.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self((status as u32) << 28)
    }

    /// OK with the location of a descriptor: `address` is a device address in SRAM or HBM, 4-byte aligned. `None` when it
    /// is neither, or cannot be expressed.
    #[must_use]
    pub const fn ok_at(address: u64) -> Option<Self> {
        let (ram, offset) = if regs::within(address, regs::SRAM_BASE, regs::SRAM_SIZE) {
            (RamType::Sram, address - regs::SRAM_BASE)
        } else if regs::within(address, regs::HBM_BASE, regs::HBM_SIZE) {
            (RamType::Hbm, address - regs::HBM_BASE)
        } else {
            return None;
        };
        if offset % 4 != 0 || offset >> 2 > 0x03FF_FFFF {
            return None;
        }
        Some(Self((Status::Ok as u32) << 28 | (ram as u32) << 26 | (offset >> 2) as u32))
    }

    /// Status number, bits 31:28.
    #[must_use]
    pub const fn status(self) -> u32 {
        self.0 >> 28
    }

    /// The device address of the location; `None` for a RAM type that names no memory.
    #[must_use]
    pub const fn location(self) -> Option<u64> {
        let offset = ((self.0 & 0x03FF_FFFF) as u64) << 2;
        match self.0 >> 26 & 3 {
            0 => Some(regs::SRAM_BASE + offset),
            1 => Some(regs::HBM_BASE + offset),
            _ => None,
        }
    }
}

/// Words of the static loader (`boot-protocol.md` 3.2, 3.3).
pub mod static_loader {
    /// KMD_MSG_TO_CPU: nothing.
    pub const KMD_NA: u32 = 0;
    /// KMD_MSG_TO_CPU: stop in WFE.
    pub const KMD_GOTO_WFE: u32 = 1;
    /// KMD_MSG_TO_CPU: the image is in place.
    pub const KMD_FIT_READY: u32 = 2;
    /// KMD_MSG_TO_CPU: reset the device.
    pub const KMD_RESET_DEVICE: u32 = 5;
    /// CPU_CMD_STATUS_TO_HOST: cleared (by the host).
    pub const CPU_CLEAR: u32 = 0;
    /// CPU_CMD_STATUS_TO_HOST: image accepted.
    pub const CPU_OK: u32 = 1;
    /// CPU_CMD_STATUS_TO_HOST: image refused. The driver never tests for it.
    pub const CPU_ERR: u32 = 2;
}

/// CRC-32 as in zlib and Ethernet: reflected polynomial 0xEDB88320, initial value and final XOR 0xFFFF_FFFF.
#[must_use]
pub const fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        crc ^= *byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        rest = tail;
    }
    !crc
}

/// Copies `text` into a NUL-terminated, NUL-padded field. What does not fit is cut; bytes that are not printable ASCII
/// (newline excepted) become `?`, because the field ends up in a kernel log.
#[must_use]
pub fn text_field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let room = N.saturating_sub(1);
    for (to, from) in field.iter_mut().take(room).zip(text.bytes()) {
        *to = if from == b'\n' || from == b' ' || from.is_ascii_graphic() { from } else { b'?' };
    }
    field
}

/// Header of the descriptor.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DescriptorHeader {
    /// [`DESCRIPTOR_MAGIC`].
    pub magic: U32,
    /// CRC-32 of the `size` bytes after the header.
    pub crc32: U32,
    /// Bytes after the header: [`DESCRIPTOR_BODY_BYTES`].
    pub size: U16,
    /// [`DESCRIPTOR_VERSION`].
    pub version: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Value of [`DescriptorHeader::magic`].
pub const DESCRIPTOR_MAGIC: u32 = 0x4843_444D;
/// Value of [`DescriptorHeader::version`].
pub const DESCRIPTOR_VERSION: u8 = 3;
/// Bytes of a [`Descriptor`].
pub const DESCRIPTOR_BYTES: usize = 1280;
/// Bytes of a [`Descriptor`] behind its header.
pub const DESCRIPTOR_BODY_BYTES: u16 = 1264;
/// Text lines that a descriptor carries to the kernel log.
pub const DESCRIPTOR_MESSAGES: usize = 4;

/// Where the registers are: CFG offsets. The values of the latest descriptor replace all previous ones in the driver, so
/// every descriptor carries the complete set (`boot-protocol.md` 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DynamicRegisters {
    /// PQ base, low half.
    pub cpu_pq_base_addr_low: U32,
    /// PQ base, high half.
    pub cpu_pq_base_addr_high: U32,
    /// PQ length.
    pub cpu_pq_length: U32,
    /// Queue handshake.
    pub cpu_pq_init_status: U32,
    /// EQ base, low half.
    pub cpu_eq_base_addr_low: U32,
    /// EQ base, high half.
    pub cpu_eq_base_addr_high: U32,
    /// EQ length.
    pub cpu_eq_length: U32,
    /// EQ consumer index.
    pub cpu_eq_ci: U32,
    /// Shared area, low half.
    pub cpu_cq_base_addr_low: U32,
    /// Shared area, high half.
    pub cpu_cq_base_addr_high: U32,
    /// Length of the shared area.
    pub cpu_cq_length: U32,
    /// PQ producer index.
    pub cpu_pf_pq_pi: U32,
    /// Capability bits.
    pub cpu_boot_dev_sts0: U32,
    /// Second capability word.
    pub cpu_boot_dev_sts1: U32,
    /// Error bits.
    pub cpu_boot_err0: U32,
    /// Second error word.
    pub cpu_boot_err1: U32,
    /// Boot progress.
    pub cpu_boot_status: U32,
    /// Firmware update: status.
    pub fw_upd_sts: U32,
    /// Firmware update: command.
    pub fw_upd_cmd: U32,
    /// Firmware update: pending.
    pub fw_upd_pending_sts: U32,
    /// Fuse version string.
    pub fuse_ver_offset: U32,
    /// Preboot version string.
    pub preboot_ver_offset: U32,
    /// Boot-fit version string.
    pub uboot_ver_offset: U32,
    /// Clean or dirty.
    pub hw_state: U32,
    /// COMMS commands from now on.
    pub kmd_msg_to_cpu: U32,
    /// COMMS status from now on.
    pub cpu_cmd_status_to_host: U32,
    /// Interrupt to the CPU: PI update.
    pub gic_host_pi_upd_irq: U32,
    /// Interrupt to the CPU: TPC QMAN errors.
    pub gic_tpc_qm_irq_ctrl: U32,
    /// Interrupt to the CPU: MME QMAN errors.
    pub gic_mme_qm_irq_ctrl: U32,
    /// Interrupt to the CPU: DMA QMAN errors.
    pub gic_dma_qm_irq_ctrl: U32,
    /// Interrupt to the CPU: NIC QMAN errors.
    pub gic_nic_qm_irq_ctrl: U32,
    /// Interrupt to the CPU: DMA core errors.
    pub gic_dma_core_irq_ctrl: U32,
    /// Interrupt to the CPU: halt.
    pub gic_host_halt_irq: U32,
    /// Interrupt to the CPU: ready for events.
    pub gic_host_ints_irq: U32,
    /// Zero.
    pub reserved0: U32,
    /// Later ASICs.
    pub gic_rot_qm_irq_ctrl: U32,
    /// Zero.
    pub reserved1: U32,
    /// Later ASICs.
    pub eng_arc_irq_ctrl: U32,
    /// Zero.
    pub reserved2: [U32; 20],
}

impl DynamicRegisters {
    /// The registers that the Gaudi driver also has hard-coded; the table of `boot-protocol.md` 8.3.
    pub const GAUDI: Self = {
        use crate::regs::{GICD_SETSPI_NSR, cpu_if, psoc};
        let gic = U32::new(GICD_SETSPI_NSR);
        Self {
            cpu_pq_base_addr_low: U32::new(cpu_if::PQ_BASE_ADDR_LOW),
            cpu_pq_base_addr_high: U32::new(cpu_if::PQ_BASE_ADDR_HIGH),
            cpu_pq_length: U32::new(cpu_if::PQ_LENGTH),
            cpu_pq_init_status: U32::new(cpu_if::QUEUE_INIT),
            cpu_eq_base_addr_low: U32::new(cpu_if::EQ_BASE_ADDR_LOW),
            cpu_eq_base_addr_high: U32::new(cpu_if::EQ_BASE_ADDR_HIGH),
            cpu_eq_length: U32::new(cpu_if::EQ_LENGTH),
            cpu_eq_ci: U32::new(cpu_if::EQ_RD_OFFS),
            cpu_cq_base_addr_low: U32::new(cpu_if::CQ_BASE_ADDR_LOW),
            cpu_cq_base_addr_high: U32::new(cpu_if::CQ_BASE_ADDR_HIGH),
            cpu_cq_length: U32::new(cpu_if::CQ_LENGTH),
            cpu_pf_pq_pi: U32::new(cpu_if::PF_PQ_PI),
            cpu_boot_dev_sts0: U32::new(psoc::CPU_BOOT_DEV_STS0),
            cpu_boot_dev_sts1: U32::new(psoc::CPU_BOOT_DEV_STS1),
            cpu_boot_err0: U32::new(psoc::CPU_BOOT_ERR0),
            cpu_boot_err1: U32::new(psoc::CPU_BOOT_ERR1),
            cpu_boot_status: U32::new(psoc::CPU_BOOT_STATUS),
            fw_upd_sts: U32::new(0xC4_B168),
            fw_upd_cmd: U32::new(0xC4_B16C),
            fw_upd_pending_sts: U32::new(0xC4_B07C),
            fuse_ver_offset: U32::new(0xC4_B158),
            preboot_ver_offset: U32::new(psoc::PREBOOT_VER_OFFSET),
            uboot_ver_offset: U32::new(psoc::UBOOT_VER_OFFSET),
            hw_state: U32::new(psoc::HW_STATE),
            kmd_msg_to_cpu: U32::new(psoc::KMD_MSG_TO_CPU),
            cpu_cmd_status_to_host: U32::new(psoc::CPU_CMD_STATUS_TO_HOST),
            gic_host_pi_upd_irq: gic,
            gic_tpc_qm_irq_ctrl: gic,
            gic_mme_qm_irq_ctrl: gic,
            gic_dma_qm_irq_ctrl: gic,
            gic_nic_qm_irq_ctrl: gic,
            gic_dma_core_irq_ctrl: gic,
            gic_host_halt_irq: gic,
            gic_host_ints_irq: gic,
            reserved0: U32::ZERO,
            gic_rot_qm_irq_ctrl: U32::ZERO,
            reserved1: U32::ZERO,
            eng_arc_irq_ctrl: U32::ZERO,
            reserved2: [U32::ZERO; 20],
        }
    };
}

/// Level of a text line in the kernel log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageLevel {
    /// An error.
    Error = 0,
    /// A warning.
    Warning = 1,
    /// Information.
    Info = 2,
    /// Debug output.
    Debug = 3,
}

/// One line for the kernel log.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DescriptorMessage {
    /// 1 when the line is used; the driver stops at the first 0.
    pub valid: u8,
    /// A [`MessageLevel`].
    pub level: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// NUL-terminated text.
    pub text: [u8; VERSION_BYTES],
}

/// The descriptor, 1280 bytes (`boot-protocol.md` 8.2).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Descriptor {
    /// Magic, CRC, size and version.
    pub header: DescriptorHeader,
    /// Where the registers are.
    pub registers: DynamicRegisters,
    /// Fuse version; not used by the driver.
    pub fuse_version: [u8; VERSION_BYTES],
    /// Version of the stage that wrote the descriptor (`boot-protocol.md` 10 for its grammar).
    pub current_version: [u8; VERSION_BYTES],
    /// Zero.
    pub reserved0: [u8; VERSION_BYTES],
    /// Device address where the host must place the next image or message.
    pub image_address: U64,
    /// Not used on Gaudi.
    pub binning: [u8; 88],
    /// Lines for the kernel log.
    pub messages: [DescriptorMessage; DESCRIPTOR_MESSAGES],
    /// Not used on Gaudi.
    pub reserved_memory_mib: U32,
    /// Zero.
    pub reserved1: U32,
}

const _: () = {
    assert!(size_of::<DescriptorHeader>() == 16);
    assert!(size_of::<DynamicRegisters>() == 232);
    assert!(size_of::<DescriptorMessage>() == 136);
    assert!(size_of::<Descriptor>() == DESCRIPTOR_BYTES);
    assert!(core::mem::offset_of!(Descriptor, registers) == 0x010);
    assert!(core::mem::offset_of!(Descriptor, fuse_version) == 0x0F8);
    assert!(core::mem::offset_of!(Descriptor, current_version) == 0x178);
    assert!(core::mem::offset_of!(Descriptor, image_address) == 0x278);
    assert!(core::mem::offset_of!(Descriptor, binning) == 0x280);
    assert!(core::mem::offset_of!(Descriptor, messages) == 0x2D8);
    assert!(core::mem::offset_of!(Descriptor, reserved_memory_mib) == 0x4F8);
    assert!(core::mem::offset_of!(DynamicRegisters, kmd_msg_to_cpu) == 96);
    assert!(core::mem::offset_of!(DynamicRegisters, gic_host_ints_irq) == 132);
    assert!(core::mem::offset_of!(DynamicRegisters, eng_arc_irq_ctrl) == 148);
};

impl Descriptor {
    /// An unsealed descriptor with the Gaudi registers: `version` of the stage, `image_address` for the next image. Call
    /// [`Self::seal`] when it is complete.
    #[must_use]
    pub fn new(version: &str, image_address: u64) -> Self {
        Self {
            header: DescriptorHeader {
                magic: U32::new(DESCRIPTOR_MAGIC),
                crc32: U32::ZERO,
                size: U16::new(DESCRIPTOR_BODY_BYTES),
                version: DESCRIPTOR_VERSION,
                reserved: [0; 5],
            },
            registers: DynamicRegisters::GAUDI,
            fuse_version: [0; VERSION_BYTES],
            current_version: text_field(version),
            reserved0: [0; VERSION_BYTES],
            image_address: U64::new(image_address),
            binning: [0; 88],
            messages: [DescriptorMessage { valid: 0, level: 0, reserved: [0; 6], text: [0; VERSION_BYTES] };
                DESCRIPTOR_MESSAGES],
            reserved_memory_mib: U32::ZERO,
            reserved1: U32::ZERO,
        }
    }

    /// Adds a line for the kernel log; false when all [`DESCRIPTOR_MESSAGES`] lines are taken.
    pub fn add_message(&mut self, level: MessageLevel, text: &str) -> bool {
        for message in &mut self.messages {
            if message.valid == 0 {
                *message = DescriptorMessage { valid: 1, level: level as u8, reserved: [0; 6], text: text_field(text) };
                return true;
            }
        }
        false
    }

    /// Computes the CRC over everything behind the header.
    #[must_use]
    pub fn seal(mut self) -> Self {
        self.header.crc32 = U32::new(self.computed_crc());
        self
    }

    /// True when magic, size, version and CRC are right. What a host checks.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.header.magic.get() == DESCRIPTOR_MAGIC
            && self.header.size.get() == DESCRIPTOR_BODY_BYTES
            && self.header.version == DESCRIPTOR_VERSION
            && self.header.crc32.get() == self.computed_crc()
    }

    fn computed_crc(&self) -> u32 {
        crc32(self.as_bytes().get(size_of::<DescriptorHeader>()..).unwrap_or(&[]))
    }
}

/// A message that the host placed where an image was expected (`boot-protocol.md` 8.5). 1280 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HostMessage {
    /// [`MESSAGE_MAGIC`]; the low byte is the version.
    pub magic: U32,
    /// Not computed by the driver.
    pub crc32: U32,
    /// Header bytes, 16.
    pub size: U16,
    /// 0.
    pub version: u8,
    /// 1 = reset cause.
    pub kind: u8,
    /// Zero.
    pub reserved: U32,
    /// A [`ResetCause`] number.
    pub reset_cause: u8,
    /// Zero.
    pub rest: [u8; 1263],
}

const _: () = assert!(size_of::<HostMessage>() == DESCRIPTOR_BYTES);

/// Value of [`HostMessage::magic`].
pub const MESSAGE_MAGIC: u32 = 0x4843_4D03;
/// [`HostMessage::kind`] of a reset cause.
pub const MESSAGE_RESET_CAUSE: u8 = 1;

/// Why the host reset the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetCause {
    /// 0, or a number without a name.
    Unknown = 0,
    /// The heartbeat failed.
    Heartbeat = 1,
    /// A submission timed out.
    Timeout = 2,
}

impl HostMessage {
    /// A reset-cause message as the driver sends it.
    #[must_use]
    pub const fn reset_cause(cause: ResetCause) -> Self {
        Self {
            magic: U32::new(MESSAGE_MAGIC),
            crc32: U32::ZERO,
            size: U16::new(16),
            version: 0,
            kind: MESSAGE_RESET_CAUSE,
            reserved: U32::ZERO,
            reset_cause: cause as u8,
            rest: [0; 1263],
        }
    }

    /// Reads the reset cause from what the host placed; `None` when `bytes` are not such a message. The CRC is not
    /// required (the driver leaves it 0) and the version byte of the magic is ignored.
    #[must_use]
    pub fn parse_reset_cause(bytes: &[u8]) -> Option<ResetCause> {
        let (message, _) = Self::ref_from_prefix(bytes).ok()?;
        if message.magic.get() >> 8 != MESSAGE_MAGIC >> 8 || message.kind != MESSAGE_RESET_CAUSE {
            return None;
        }
        Some(match message.reset_cause {
            1 => ResetCause::Heartbeat,
            2 => ResetCause::Timeout,
            _ => ResetCause::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of `boot-protocol.md` 8.7 and 20.
    #[test]
    fn command_and_status_words_have_the_documented_bits() {
        assert_eq!(CommandWord::new(Command::ClearStatus, 0).0, 0x0800_0000);
        assert_eq!(CommandWord::new(Command::ResetState, 0).0, 0x1000_0000);
        assert_eq!(CommandWord::new(Command::PrepareDescriptor, 1280).0, 0x1800_0500);
        assert_eq!(CommandWord::new(Command::PrepareDescriptor, 0x4_0000).0, 0x1804_0000);
        assert_eq!(CommandWord::new(Command::DataReady, 0).0, 0x2000_0000);
        assert_eq!(CommandWord::new(Command::Execute, 0).0, 0x2800_0000);
        assert_eq!(CommandWord::new(Command::ResetDevice, 0).0, 0x3000_0000);
        assert_eq!(CommandWord::new(Command::GotoWfe, 0).0, 0x3800_0000);
        assert_eq!(CommandWord::new(Command::SkipBmc, 0).0, 0x4000_0000);
        assert_eq!(CommandWord::new(Command::PrepareDescriptorElbi, 0).0, 0x5000_0000);
        assert_eq!(StatusWord::ACK.0, 0x1000_0000);
        assert_eq!(StatusWord::OK.0, 0x2000_0000);
        assert_eq!(StatusWord::REFUSED.0, 0x2C00_0000);
        assert_eq!(StatusWord::ok_at(0x7F_F000_1000), Some(StatusWord(0x2000_0400)));
        assert_eq!(StatusWord::ok_at(0x10_0000), Some(StatusWord(0x2404_0000)));
        assert_eq!(StatusWord(0x2404_0000).location(), Some(0x10_0000));
        assert_eq!(StatusWord(0x2000_0400).location(), Some(0x7F_F000_1000));
        assert_eq!(StatusWord::REFUSED.location(), None);
    }

    #[test]
    fn every_command_word_survives_its_decoding() {
        for number in 0..32u32 {
            let word = CommandWord(number << 27 | 0x123_4560 & 0x01FF_FFFF);
            assert_eq!(CommandWord::new(word.command(), word.size()), word);
        }
    }

    #[test]
    fn a_location_outside_the_memories_cannot_be_told() {
        assert_eq!(StatusWord::ok_at(0x7F_FBFE_0000), None, "scratchpad");
        assert_eq!(StatusWord::ok_at(0x7F_F000_1002), None, "not aligned");
        assert_eq!(StatusWord::ok_at(0x1000_0000), None, "beyond the 28 bits of the field");
    }

    /// The vectors of `boot-protocol.md` 20.
    #[test]
    fn crc_and_descriptor_match_the_test_vectors() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(&[0; 1264]), 0x8DB4_E91B);
        let mut body = [0; 1264];
        body[616..624].copy_from_slice(&0x7F_F020_0000u64.to_le_bytes());
        assert_eq!(crc32(&body), 0xB0D4_6EF3);
        let descriptor = Descriptor::new("Preboot version hl-gaudi-0.1.0-fw-0.1.0 ", 0x7F_F020_0000).seal();
        assert_eq!(descriptor.header.crc32.get(), 0x28B7_CFC6);
        assert!(descriptor.is_valid());
    }

    /// Independent bytes: header, first and last register words, string and address at the offsets of 8.2.
    #[test]
    fn a_descriptor_has_the_documented_bytes() {
        let mut descriptor = Descriptor::new("Preboot x", 0x7F_F020_0000);
        assert!(descriptor.add_message(MessageLevel::Warning, "hash\u{7}"));
        let descriptor = descriptor.seal();
        let bytes = descriptor.as_bytes();
        assert_eq!(bytes[..4], [0x4D, 0x44, 0x43, 0x48]);
        assert_eq!(bytes[8..16], [0xF0, 0x04, 3, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[0x10..0x18], [0x04, 0x22, 0x44, 0, 0x08, 0x22, 0x44, 0]);
        assert_eq!(bytes[0x70..0x78], [0x04, 0xB3, 0xC4, 0, 0x5C, 0xB1, 0xC4, 0]);
        assert_eq!(bytes[0x94..0x98], [0x40, 0, 0x80, 0]);
        assert_eq!(bytes[0x178..0x182], *b"Preboot x\0");
        assert_eq!(bytes[0x278..0x280], [0, 0, 0x20, 0xF0, 0x7F, 0, 0, 0]);
        assert_eq!(bytes[0x2D8..0x2E0], [1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[0x2E0..0x2E6], *b"hash?\0");
    }

    #[test]
    fn a_fifth_message_is_refused() {
        let mut descriptor = Descriptor::new("v", 0);
        for _ in 0..DESCRIPTOR_MESSAGES {
            assert!(descriptor.add_message(MessageLevel::Info, "line"));
        }
        assert!(!descriptor.add_message(MessageLevel::Info, "line"));
    }

    #[test]
    fn a_changed_byte_makes_a_descriptor_invalid() {
        let mut descriptor = Descriptor::new("v", 0).seal();
        descriptor.reserved0[5] ^= 1;
        assert!(!descriptor.is_valid());
    }

    #[test]
    fn a_reset_cause_is_told_from_an_image() {
        let mut bytes = [0u8; 1280];
        bytes[..4].copy_from_slice(&[0x03, 0x4D, 0x43, 0x48]);
        bytes[8] = 16;
        bytes[11] = 1;
        bytes[16] = 2;
        assert_eq!(HostMessage::reset_cause(ResetCause::Timeout).as_bytes(), bytes);
        assert_eq!(HostMessage::parse_reset_cause(&bytes), Some(ResetCause::Timeout));
        bytes[11] = 0;
        assert_eq!(HostMessage::parse_reset_cause(&bytes), None);
        assert_eq!(HostMessage::parse_reset_cause(&[0xD0, 0x0D, 0xFE, 0xED]), None);
    }
}
