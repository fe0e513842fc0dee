//! PSOC_GLOBAL_CONF mailboxes and reset, PSOC time stamp and PLL (`boot-protocol.md` 2). Offsets from CFG_BASE.

/// 0 = clean, 1 = dirty; written by the host.
pub const HW_STATE: u32 = 0xC4_B100;
/// Capability bits, see [`sts0`].
pub const CPU_BOOT_DEV_STS0: u32 = 0xC4_B150;
/// Second status word; only bit 31 has a meaning.
pub const CPU_BOOT_DEV_STS1: u32 = 0xC4_B154;
/// COMMS status or CPU_MSG value.
pub const CPU_CMD_STATUS_TO_HOST: u32 = 0xC4_B15C;
/// Error bits, see [`err0`].
pub const CPU_BOOT_ERR0: u32 = 0xC4_B160;
/// Second error word.
pub const CPU_BOOT_ERR1: u32 = 0xC4_B164;
/// Static loader: where the preboot version string is in SRAM.
pub const PREBOOT_VER_OFFSET: u32 = 0xC4_B170;
/// Static loader: where the boot-fit version string is in SRAM.
pub const UBOOT_VER_OFFSET: u32 = 0xC4_B174;
/// Boot progress, see [`boot_status`].
pub const CPU_BOOT_STATUS: u32 = 0xC4_B300;
/// COMMS command or KMD_MSG value, written by the host.
pub const KMD_MSG_TO_CPU: u32 = 0xC4_B304;
/// Board straps.
pub const BOOT_STRAP_PINS: u32 = 0xC4_B430;
/// Boot sequencer restart request.
pub const BOOT_SEQ_RE_START: u32 = 0xC4_B024;
/// Boot-manager state \[3:0\]; 0 when out of reset.
pub const BTM_FSM: u32 = 0xC4_B028;
/// First register that survives SW_ALL_RST.
pub const COLD_RST_FLOPS_0: u32 = 0xC4_B070;
/// Written by the driver before it resets the card; survives the reset.
pub const COLD_RST_FLOPS_1: u32 = 0xC4_B074;
/// Units of the reset, low half.
pub const SW_ALL_RST_CFG_L: u32 = 0xC4_B490;
/// Units of the reset, high half.
pub const SW_ALL_RST_CFG_H: u32 = 0xC4_B494;
/// A write of 1 resets the units.
pub const SW_ALL_RST: u32 = 0xC4_B498;
/// Device time: control, bit 0 = run.
pub const TIMESTAMP_CNTCR: u32 = 0xC4_9000;
/// Device time, low half.
pub const TIMESTAMP_CNTCVL: u32 = 0xC4_9008;
/// Device time, high half.
pub const TIMESTAMP_CNTCVU: u32 = 0xC4_900C;
/// CPU PLL feedback divider minus 1.
pub const CPU_PLL_NR: u32 = 0xC7_0100;
/// CPU PLL multiplier.
pub const CPU_PLL_NF: u32 = 0xC7_0104;
/// CPU PLL output divider minus 1.
pub const CPU_PLL_OD: u32 = 0xC7_0108;
/// CPU PLL output 2 divider.
pub const CPU_PLL_DIV_FACTOR_2: u32 = 0xC7_0208;
/// CPU PLL output 2 source.
pub const CPU_PLL_DIV_SEL_2: u32 = 0xC7_0288;

/// Values of CPU_BOOT_STATUS that firmware publishes (`boot-protocol.md` 3.1).
pub mod boot_status {
    /// Stopped in WFE on the host's request.
    pub const IN_WFE: u32 = 1;
    /// The control image runs; SRAM is free.
    pub const SRAM_AVAIL: u32 = 3;
    /// The ROM has started.
    pub const IN_PREBOOT: u32 = 5;
    /// The boot-fit has started.
    pub const IN_UBOOT: u32 = 7;
    /// The boot-fit waits for the control image.
    pub const READY_TO_BOOT: u32 = 15;
    /// The ROM waits for the boot-fit.
    pub const WAITING_FOR_BOOT_FIT: u32 = 16;
}

/// Bits of CPU_BOOT_DEV_STS0 (`boot-protocol.md` 11).
pub mod sts0 {
    /// HBM is initialised.
    pub const DRAM_INIT_EN: u32 = 1 << 3;
    /// End-to-end credits are set.
    pub const E2E_CRED_EN: u32 = 1 << 5;
    /// HBM credits are set.
    pub const HBM_CRED_EN: u32 = 1 << 6;
    /// The SRAM scrambler is set.
    pub const SRAM_SCR_EN: u32 = 1 << 8;
    /// The HBM scrambler is set.
    pub const DRAM_SCR_EN: u32 = 1 << 9;
    /// PLL_INFO_GET is answered.
    pub const PLL_INFO_EN: u32 = 1 << 11;
    /// HBM ECC details come with the event.
    pub const HBM_ECC_EN: u32 = 1 << 14;
    /// Packets are acknowledged with the PI.
    pub const PKT_PI_ACK_EN: u32 = 1 << 15;
    /// The dynamic loader (COMMS) is spoken.
    pub const FW_LD_COM_EN: u32 = 1 << 16;
    /// Firmware has programmed the iATU.
    pub const FW_IATU_CONF_EN: u32 = 1 << 17;
    /// PLL indices use the common numbering.
    pub const DYN_PLL_EN: u32 = 1 << 19;
    /// Events carry a running index.
    pub const EQ_INDEX_EN: u32 = 1 << 21;
    /// Sensor attributes use the firmware's numbering.
    pub const MAP_HWMON_EN: u32 = 1 << 26;
    /// The register is valid.
    pub const ENABLED: u32 = 1 << 31;
}

/// Bits of CPU_BOOT_ERR0 (`boot-protocol.md` 12).
pub mod err0 {
    /// HBM initialisation failed.
    pub const DRAM_INIT_FAIL: u32 = 1 << 0;
    /// An image was refused.
    pub const FIT_CORRUPTED: u32 = 1 << 1;
    /// An image is not one that this card may run.
    pub const SECURITY_FAIL: u32 = 1 << 8;
    /// The fuses cannot be believed.
    pub const EFUSE_FAIL: u32 = 1 << 9;
    /// The register is valid.
    pub const ENABLED: u32 = 1 << 31;
}
