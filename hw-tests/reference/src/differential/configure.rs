//! Registers as the driver sets them before it enables a QMAN (`qman.md` 8).

use coxswain_abi::regs::CFG_BASE;
use coxswain_abi::regs::qman as regs;

use crate::scenario::Setup;

/// Device address of a PQ.
pub fn ring(number: usize, stream: usize) -> u64 {
    0x80_0010_0000 + 0x1000 * (8 * number + stream) as u64
}

/// Registers by offset in the block, GLBL_CFG0 not among them. `slave_offsets` are the QMANs of the scenario: number i can be
/// told by a master as slave i, and returns its credits to `master`.
pub fn registers(setup: &Setup, identity: u32, scenario: &[Setup]) -> Vec<(u32, u32)> {
    let mut values = vec![];
    let mut set = |offset: u32, value: u32| values.push((offset, value));
    let external = setup.is_external();
    for stream in 0..5u32 {
        let index = 4 * stream;
        let feeds_lower = !external && stream < 4;
        set(regs::CP_LDMA_TSIZE_OFFSET_0 + index, if feeds_lower { 0x81BC } else { 0x74 });
        set(regs::CP_LDMA_SRC_BASE_LO_OFFSET_0 + index, if feeds_lower { 0x81B4 } else { 0x14 });
        set(regs::CP_LDMA_DST_BASE_LO_OFFSET_0 + index, 0x1C);
        for (base, low) in (0..).zip([0xFC4F_4000, 0xFC4F_2000, 0xFC49_4000, 0xFC49_2000]) {
            set(regs::CP_MSG_BASE0_ADDR_LO_0 + regs::CP_MSG_BASE_STRIDE * base + index, low);
            set(regs::CP_MSG_BASE0_ADDR_HI_0 + regs::CP_MSG_BASE_STRIDE * base + index, 0x7F);
        }
        set(regs::GLBL_SECURE_PROPS_0 + index, 0x400);
        set(regs::GLBL_NON_SECURE_PROPS_0 + index, 1);
        if stream < 4 {
            let ring = ring(setup.number, stream as usize);
            set(regs::GLBL_MSG_EN_0 + index, 0xFF7F);
            set(regs::PQ_BASE_LO_0 + index, ring as u32);
            set(regs::PQ_BASE_HI_0 + index, (ring >> 32) as u32);
            set(regs::PQ_SIZE_0 + index, setup.ring_log2);
            set(regs::PQ_PI_0 + index, 0);
        }
    }
    set(regs::GLBL_MSG_EN_4, 0xFF7E);
    set(regs::GLBL_PROT, if external { 0x5EFF } else { 0x400F });
    let errors = match (external, setup.stop_on_error) {
        (true, true) => 0x9EFF_1EFF,
        (true, false) => 0x0000_1EFF,
        (false, true) => 0xBFFF_3FFF,
        (false, false) => 0x0000_3FFF,
    };
    set(regs::GLBL_ERR_CFG, errors);
    set(regs::GLBL_CFG1, 0);
    set(regs::ARB_ERR_MSG_EN, 7);
    set(regs::ARB_BASE_LO, CFG_BASE as u32);
    set(regs::ARB_BASE_HI, (CFG_BASE >> 32) as u32);
    set(regs::ARB_SLV_ID, identity);
    for (slave, other) in (0..).zip(scenario) {
        set(regs::ARB_MST_CHOISE_PUSH_OFST_0 + 4 * slave, regs::base(other.number) + regs::ARB_CHOISE_Q_PUSH);
    }
    let master = scenario.first().map_or(0, |first| regs::base(first.number));
    set(regs::ARB_SLV_MASTER_INC_CRED_OFST, master + regs::ARB_MST_CRED_INC);
    values
}

/// GLBL_CFG0 that enables these upper streams, and the lower CP of an internal QMAN when there are any.
pub fn enables(setup: &Setup, streams: u8) -> u32 {
    let upper = u32::from(streams & 0xF);
    let lower = u32::from(upper != 0 && !setup.is_external()) << 4;
    upper | (upper | lower) << 4 | (upper | lower) << 9
}
