//! The descriptor that a boot stage publishes (`boot-protocol.md` 8.2 to 8.4).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{VERSION_BYTES, crc32, text_field};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
