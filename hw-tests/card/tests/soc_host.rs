//! Register accesses of the host, as the driver makes them.

mod soc_support;

use std::sync::atomic::Ordering;

use coxswain_abi::regs::{GICD_SETSPI_NSR, cpu_if, dma_core, mme, mmu, pcie, psoc, qman, tpc_cfg};
use coxswain_abi::soc::{Attributes, Notification, PostedWrite, WriteKind, bar0, info};
use soc_support::{Card, cfg, cpu_write, kmd_msg, secured};

/// The driver's idle check (`gaudi-soc.md` 10).
fn assert_idle(card: &Card) {
    for index in 0..18 {
        let base = qman::base(index);
        assert_eq!(card.read(base + qman::GLBL_STS0) & 0x3FFF, 0x3FFF, "QMAN {index}");
        assert_ne!(card.read(base + qman::CGM_STS) & 0x100, 0, "QMAN {index}");
    }
    for index in 0..8 {
        assert_eq!(card.read(dma_core::base(index) + dma_core::STS0) >> 31, 0, "DMA {index}");
        assert_eq!(card.read(tpc_cfg::base(index) + tpc_cfg::STATUS) & 0xEE, 0xEE, "TPC {index}");
    }
    for index in 0..4 {
        assert_eq!(card.read(mme::ctrl_base(index) + mme::ARCH_STATUS) & 0x1180, 0x1180, "MME {index}");
    }
}

#[test]
fn a_card_is_idle_after_power_on_and_after_the_driver_s_initialisation() {
    let card = Card::new();
    assert_idle(&card);
    card.replay("hw_init.");
    assert_idle(&card);
}

#[test]
fn what_the_driver_writes_at_initialisation_reads_back() {
    let card = Card::new();
    let written = card.replay("hw_init.");
    assert!(written.len() > 5000);
    // Commands that read back something else by design.
    let commands = [mmu::STLB_BUSY, mmu::STLB_MEM_CACHE_INVALIDATION, psoc::TIMESTAMP_CNTCVL, psoc::TIMESTAMP_CNTCVU];
    for (offset, value) in written {
        if !commands.contains(&offset) {
            assert_eq!(card.read(offset), value, "register {offset:#x}");
        }
    }
    assert_eq!(card.read(mmu::STLB_BUSY), 0);
    let hop0 = |asid: u64| card.memories.soc.read_u64(bar0::INFO + info::HOP0 + 8 * asid).unwrap();
    assert_eq!((hop0(0), hop0(1)), (0x1000_0000, 0x1000_1000));
}

#[test]
fn the_driver_s_initialisation_reaches_firmware_as_enables_and_doorbells() {
    let card = Card::new();
    card.replay("hw_init.");
    let mut enabled = [false; 18];
    for notification in card.notifications(0) {
        let Notification::RegisterWrite { offset, value, secure: true } = notification else {
            panic!("unexpected {notification:?}")
        };
        let (index, inside) = qman::find(offset).expect("only QMAN registers notify");
        if inside == qman::GLBL_CFG0 {
            assert_eq!(value, if index < 2 { 0x1EFF } else { 0x3FFF });
            enabled[index] = true;
        }
    }
    assert_eq!(enabled, [true; 18]);
    assert_eq!(card.doorbells(0), [u64::MAX, 0xFF], "PI = 0 was written to every stream");
}

#[test]
fn every_value_of_the_message_register_arrives_in_order() {
    let card = Card::new();
    for value in [0x800_0000, 0, 0x1800_0500, 0x1800_0500, 0] {
        card.write(psoc::KMD_MSG_TO_CPU, value);
    }
    let expected = [0x800_0000, 0, 0x1800_0500, 0x1800_0500, 0].map(kmd_msg);
    assert_eq!(card.notifications(0), expected);
    assert_eq!(card.read(psoc::KMD_MSG_TO_CPU), 0);
}

#[test]
fn the_registers_of_the_cpu_queue_notify_with_their_values() {
    let card = Card::new();
    for (offset, value) in [(cpu_if::QUEUE_INIT, 3), (GICD_SETSPI_NSR, 484), (cpu_if::PF_PQ_PI, 17)] {
        card.write(offset, value);
        let expected = Notification::RegisterWrite { offset, value, secure: true };
        assert_eq!(card.notifications(0), [expected]);
        assert_eq!(card.read(offset), value);
    }
    card.write(cpu_if::EQ_RD_OFFS, 5);
    card.write(0, 1);
    card.write(0, 0);
    assert_eq!(card.notifications(0), [], "everything else is storage");
    assert_eq!(card.read(cpu_if::EQ_RD_OFFS), 5);
}

#[test]
fn a_doorbell_shows_the_latest_producer_index() {
    let card = Card::new();
    card.write(qman::base(9) + qman::PQ_PI_0 + 8, 4);
    card.write(qman::base(9) + qman::PQ_PI_0 + 8, 5);
    assert_eq!(card.doorbells(0), [1 << (4 * 9 + 2), 0]);
    assert_eq!(card.read(qman::base(9) + qman::PQ_PI_0 + 8), 5);
    assert_eq!(card.notifications(0), []);
}

#[test]
fn control_registers_of_a_qman_notify() {
    let card = Card::new();
    let base = qman::base(3);
    for offset in [
        base + qman::GLBL_CFG0,
        base + qman::GLBL_CFG1,
        base + qman::ARB_CFG_0,
        base + 0xA04,
        base + 0xAA0,
        base + qman::CQ_CTL_0,
        base + qman::CQ_CTL_0 + 4 * qman::CQ_STRIDE,
    ] {
        card.write(offset, 0x11);
        assert_eq!(card.notifications(0), [Notification::RegisterWrite { offset, value: 0x11, secure: true }]);
        assert_eq!(card.read(offset), 0x11);
    }
}

#[test]
fn a_fence_write_is_an_increment_of_one_stream_s_counter() {
    let card = Card::new();
    for (qman, stream, fence, value) in [(0_u8, 0_u8, 2_u8, 1), (8, 4, 0, 0xFF), (17, 3, 3, 7)] {
        let offset = qman::base(usize::from(qman))
            + qman::CP_FENCE0_RDATA_0
            + u32::from(fence) * qman::FENCE_STRIDE
            + 4 * u32::from(stream);
        card.write(offset, value);
        let increment = (value & 0xF) as u8;
        assert_eq!(card.notifications(0), [Notification::Fence { qman, stream, fence, increment }]);
    }
    let counter = qman::base(0) + qman::CP_FENCE0_CNT_0;
    card.write(counter, 9);
    let expected = Notification::RegisterWrite { offset: counter, value: 9, secure: true };
    assert_eq!(card.notifications(0), [expected]);
    assert_eq!(card.read(counter), 0, "the counter shows what firmware publishes");
}

#[test]
fn the_host_cannot_set_what_firmware_publishes() {
    let card = Card::new();
    let base = qman::base(2);
    card.write(base + qman::GLBL_CFG0, 0x3FFF);
    card.notifications(0);
    let published = [
        qman::GLBL_STS0,
        qman::PQ_CI_0,
        qman::CP_STS_0,
        qman::CP_CURRENT_INST_HI_0 + 16,
        qman::CQ_IFIFO_CNT_0,
        qman::CGM_STS,
        0xB80,
    ];
    for inside in published {
        let before = card.read(base + inside);
        card.write(base + inside, !before);
        assert_eq!(card.read(base + inside), before, "{inside:#x}");
        let status = Attributes::CPU.with_kind(WriteKind::Status);
        card.post(0, &[PostedWrite { address: cfg(base + inside), data: 0x1234, attributes: status }]);
        assert_eq!(card.read(base + inside), 0x1234, "{inside:#x}");
    }
    assert_eq!(card.notifications(0), []);
    card.write(base + qman::GLBL_CFG0, 0);
    card.write(base + qman::PQ_CI_0, 0);
    assert_eq!(card.read(base + qman::PQ_CI_0), 0, "a disabled QMAN's CI is the driver's");
}

#[test]
fn cause_registers_are_cleared_by_writing_ones() {
    let card = Card::new();
    let set = Attributes::CPU.with_kind(WriteKind::SetBits);
    for offset in [qman::base(1) + qman::GLBL_STS1_0 + 16, qman::base(1) + qman::ARB_ERR_CAUSE] {
        card.post(0, &[PostedWrite { address: cfg(offset), data: 0b111, attributes: set }]);
        card.write(offset, 0b101);
        assert_eq!(card.read(offset), 0b010);
    }
}

#[test]
fn a_write_of_one_to_the_msi_register_raises_the_host_s_msi() {
    let card = Card::new();
    let msis = || card.wires.msis.load(Ordering::SeqCst);
    card.post(0, &[cpu_write(pcie::CORE_MSI_REQ, 1)]);
    assert_eq!(msis(), 1);
    card.message(cfg(pcie::CORE_MSI_REQ), 1, secured(0, 0));
    assert_eq!(msis(), 2);
    card.message(cfg(pcie::CORE_MSI_REQ), 1, soc_support::user(0, 0));
    card.post(0, &[cpu_write(pcie::CORE_MSI_REQ, 0)]);
    assert_eq!(msis(), 2, "neither a user nor a zero");
}

#[test]
fn a_completion_entry_is_in_host_memory_before_its_interrupt() {
    let card = Card::new();
    card.initialise();
    let entry = PostedWrite { address: 0x80_0000_2000, data: 0xC000_0007, attributes: secured(0, 0) };
    let msi = PostedWrite { address: cfg(pcie::CORE_MSI_REQ), data: 1, attributes: secured(0, 0) };
    card.post(0, &[entry, msi]);
    assert_eq!(card.wires.msis.load(Ordering::SeqCst), 1);
    assert_eq!(card.memories.host.read_u32(0x2000).unwrap(), 0xC000_0007);
}

#[test]
fn host_writes_of_a_disabled_qman_are_dropped() {
    let card = Card::new();
    card.initialise();
    let address = 0x80_0000_3000;
    card.write(qman::base(1) + qman::GLBL_CFG0, 0);
    card.message(address, 1, secured(1, 2));
    assert_eq!(card.memories.host.read_u32(0x3000).unwrap(), 0);
    card.message(address, 2, secured(0, 2));
    assert_eq!(card.memories.host.read_u32(0x3000).unwrap(), 2, "another QMAN goes on");
    card.message(0x7F_F000_1000, 3, secured(1, 2));
    assert_eq!(card.memories.soc.read_u32(0x1000).unwrap(), 3, "the card's own memory stays reachable");
}

#[test]
fn a_start_of_an_mme_is_an_error_answer() {
    let card = Card::new();
    card.initialise();
    let address = cfg(mme::ctrl_base(0) + mme::CMD);
    card.message(address, 1, soc_support::user(16, 4));
    assert_eq!(card.notifications(0), [Notification::WriteFailed { initiator: 16 << 3 | 4, address }]);
}

#[test]
fn device_time_starts_when_the_driver_starts_it() {
    let card = Card::new();
    card.write(psoc::TIMESTAMP_CNTCVU, 5);
    assert_eq!(card.read(psoc::TIMESTAMP_CNTCVU), 5);
    card.replay("hw_init.11");
    let first = card.read(psoc::TIMESTAMP_CNTCVL);
    assert_eq!(card.read(psoc::TIMESTAMP_CNTCVU), 0);
    soc_support::eventually("time", || card.read(psoc::TIMESTAMP_CNTCVL) > first + 1_000_000);
    card.replay("halt.4");
    let stopped = card.read(psoc::TIMESTAMP_CNTCVL);
    assert_eq!(card.read(psoc::TIMESTAMP_CNTCVL), stopped);
}

#[test]
fn an_invalidation_of_the_mmu_completes_at_once_and_is_seen_by_firmware() {
    let card = Card::new();
    let generation = || card.memories.soc.read_u64(bar0::INFO + info::MMU_GENERATION).unwrap();
    let before = generation();
    card.write(mmu::STLB_INV_PS, 3);
    card.write(mmu::STLB_CACHE_INV, 1);
    card.write(mmu::STLB_INV_PS, 2);
    assert_eq!(card.read(mmu::STLB_INV_PS), 0);
    assert!(generation() > before);
}

#[test]
fn accesses_outside_the_register_file_are_harmless() {
    let card = Card::new();
    card.write(0x0200_0000, 5);
    card.write(0xFFFF_FFFC, 5);
    card.write(psoc::HW_STATE + 1, 5);
    assert_eq!(card.read(0x0200_0000), 0);
    assert_eq!(card.read(0xFFFF_FFFC), 0);
    assert_eq!(card.read(psoc::HW_STATE), 0);
}
