//! The e-fuse block: who reads it, who programs it, what a reset does to it.
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use coxswain_abi::regs::{CFG_BASE, efuse};
use coxswain_abi::soc::{Attributes, PostedWrite, ResetReason, WriteKind, bar0, core_block};
use coxswain_card::soc::SocOptions;
use coxswain_card::{Fuses, Memories, Soc};

fn soc(fuses: Fuses) -> (Arc<Memories>, Arc<Soc>) {
    let memories = Arc::new(Memories::new(4096).unwrap());
    let soc = Soc::new(Arc::clone(&memories), SocOptions { lockstep: true, fuses, ..Default::default() });
    (memories, soc)
}

/// Posts writes as core 0 of the management CPU.
fn post(memories: &Memories, soc: &Soc, writes: &[(u32, u32, Attributes)]) {
    let block = core_block::offset(0);
    let mut producer = memories.soc.read_u32(block + core_block::POSTED_PRODUCER).unwrap();
    for (offset, data, attributes) in writes {
        let write = PostedWrite { address: CFG_BASE + u64::from(*offset), data: *data, attributes: *attributes };
        let slot = block + core_block::POSTED_RING + 16 * u64::from(producer % core_block::POSTED_ENTRIES);
        for (number, word) in write.to_words().into_iter().enumerate() {
            memories.soc.write_u64(slot + 8 * number as u64, word).unwrap();
        }
        producer += 1;
    }
    memories.soc.store_release_u32(block + core_block::POSTED_PRODUCER, producer).unwrap();
    soc.kick(0);
}

fn program(offset: u32, bits: u32, attributes: Attributes) -> [(u32, u32, Attributes); 2] {
    [(efuse::PROGRAM_ADDRESS, offset, attributes), (efuse::PROGRAM_DATA, bits, attributes)]
}

#[test]
fn fuses_show_in_their_registers_for_host_and_firmware() {
    let hash: [u8; 32] = std::array::from_fn(|index| index as u8 + 1);
    let (memories, soc) = soc(Fuses::new().with_key(2, &hash).with_revoked(1).with_rollback(1, 33));
    assert_eq!(soc.host_read(efuse::STATUS), efuse::STATUS_READY);
    assert_eq!(soc.host_read(efuse::KEYS_PROGRAMMED), 0b100);
    assert_eq!(soc.host_read(efuse::KEYS_REVOKED), 0b010);
    assert_eq!(soc.host_read(efuse::KEY_HASH + 64), 0x0403_0201);
    assert_eq!(soc.host_read(efuse::KEY_HASH + 64 + 28), 0x201F_1E1D);
    assert_eq!(soc.host_read(efuse::ROLLBACK + 8), u32::MAX);
    let shadow = bar0::SHADOW + u64::from(efuse::ROLLBACK + 12);
    assert_eq!(memories.soc.read_u32(shadow).unwrap(), 1);
}

#[test]
fn only_the_management_cpu_programs_and_bits_never_go_back() {
    let (memories, soc) = soc(Fuses::new());
    soc.host_write(efuse::PROGRAM_ADDRESS, efuse::KEYS_REVOKED);
    soc.host_write(efuse::PROGRAM_DATA, 1);
    soc.host_write(efuse::KEYS_PROGRAMMED, 0xF);
    post(&memories, &soc, &program(efuse::KEYS_REVOKED, 1, Attributes::new(true, true, 0, 3)));
    post(&memories, &soc, &[(efuse::KEYS_PROGRAMMED, 0xF, Attributes::CPU.with_kind(WriteKind::Status))]);
    post(&memories, &soc, &[(efuse::KEYS_PROGRAMMED, 0xF, Attributes::CPU.with_kind(WriteKind::SetBits))]);
    assert_eq!(soc.fuses(), Fuses::new());
    assert_eq!(soc.host_read(efuse::KEYS_PROGRAMMED), 0);

    post(&memories, &soc, &program(efuse::ROLLBACK, 0b0101, Attributes::CPU));
    post(&memories, &soc, &program(efuse::ROLLBACK, 0b0010, Attributes::CPU));
    assert_eq!(soc.host_read(efuse::ROLLBACK), 0b0111);
    post(&memories, &soc, &program(efuse::STATUS, 0xFF, Attributes::CPU));
    post(&memories, &soc, &program(efuse::FUSES_END, 0xFF, Attributes::CPU));
    assert_eq!(soc.fuses(), Fuses::new().with_rollback(0, 3));
    for reason in [ResetReason::SoftwareAll, ResetReason::Watchdog, ResetReason::PowerOn] {
        soc.reset_state(reason);
        soc.out_of_reset();
        assert_eq!(soc.host_read(efuse::ROLLBACK), 0b0111, "{reason:?}");
    }
}

#[test]
fn a_damaged_block_says_so() {
    let (_memories, soc) = soc(Fuses::new().with_damage());
    assert_eq!(soc.host_read(efuse::STATUS), efuse::STATUS_READY | efuse::STATUS_ERROR);
}

#[test]
fn a_file_keeps_what_was_programmed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fuses");
    let fuses = Fuses::new().with_rollback(0, 2).in_file(&file).unwrap();
    let memories = Arc::new(Memories::new(4096).unwrap());
    let options = SocOptions { lockstep: true, fuses, fuse_file: Some(file.clone()), ..Default::default() };
    let soc = Soc::new(Arc::clone(&memories), options);
    post(&memories, &soc, &program(efuse::ROLLBACK, 0b0111, Attributes::CPU));
    assert_eq!(Fuses::new().in_file(&file).unwrap(), Fuses::new().with_rollback(0, 3));
    std::fs::write(&file, [0; 7]).unwrap();
    let error = Fuses::new().in_file(&file).unwrap_err().to_string();
    assert!(error.contains("not a fuse file"), "{error}");
}
