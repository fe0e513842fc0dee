//! Who may say that an image is good, and what a card does with one that it must not run.
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::tree::{ImageParts, key, trust};
use common::{FakePosts, FakeRegisters};
use coxswain_abi::regs::efuse;
use coxswain_abi::regs::psoc::err0;
use coxswain_core::boot::BootError;
use coxswain_core::boot::fit::{Expected, Image, Stage};
use coxswain_core::boot::signature::{Statement, key_hash};
use coxswain_core::boot::trust::{Trust, raise_rollback};
use coxswain_core::ports::Registers;
use zerocopy::IntoBytes;

fn open_with(trust: Trust, change: impl FnOnce(&mut ImageParts)) -> Result<(), BootError> {
    let mut parts = ImageParts::boot_fit(1000);
    change(&mut parts);
    let expected = Expected { stage: Stage::BootFit, load: 0x4010_0000..0x4020_0000, trust };
    Image::open(&parts.pack(), &expected).map(|_| ())
}

/// Registers of a fuse block with the hashes of these keys in its slots.
fn fuses(keys: &[u8]) -> FakeRegisters {
    let registers = FakeRegisters::default();
    registers.set(efuse::STATUS, efuse::STATUS_READY);
    registers.set(efuse::KEYS_PROGRAMMED, (1 << keys.len()) - 1);
    for (slot, number) in keys.iter().enumerate() {
        let hash = key_hash(key(*number).verifying_key().as_bytes());
        for (index, word) in hash.chunks_exact(4).enumerate() {
            let offset = efuse::KEY_HASH + (32 * slot + 4 * index) as u32;
            registers.set(offset, u32::from_le_bytes(word.try_into().unwrap()));
        }
    }
    registers
}

/// The layout that signatures cover, byte by byte: a change makes every signed image invalid.
#[test]
fn the_signed_statement_has_its_documented_bytes() {
    let image = Image { data: &[0; 5], load: 0x1122, entry: 0x3344, version: b"1.2", rollback: 7, raise_to: 6 };
    let statement = Statement::new(Stage::Control, &image, [0xAB; 64]);
    let mut expected = b"Coxswain image 1".to_vec();
    for word in [1u32, 7, 6, 0] {
        expected.extend(word.to_le_bytes());
    }
    for word in [0x1122u64, 0x3344, 5, 0] {
        expected.extend(word.to_le_bytes());
    }
    expected.extend(b"1.2");
    expected.extend([0; 61]);
    expected.extend([0xAB; 64]);
    assert_eq!(statement.as_bytes(), expected);
}

#[test]
fn the_key_of_any_slot_may_sign() {
    let trust = Trust::read(&fuses(&[4, 3, 2, 1]));
    for signer in 1..=4 {
        assert_eq!(open_with(trust, |parts| parts.signer = signer), Ok(()));
    }
    assert_eq!(open_with(trust, |parts| parts.signer = 5), Err(BootError::UnknownKey));
}

#[test]
fn a_slot_that_is_not_programmed_trusts_nobody() {
    let registers = fuses(&[1, 2]);
    registers.set(efuse::KEYS_PROGRAMMED, 0b10);
    let trust = Trust::read(&registers);
    assert_eq!(open_with(trust, |parts| parts.signer = 1), Err(BootError::UnknownKey));
    assert_eq!(open_with(trust, |parts| parts.signer = 2), Ok(()));
}

#[test]
fn a_revoked_key_is_told_from_an_unknown_one_and_may_be_in_another_slot() {
    let registers = fuses(&[1, 2]);
    registers.set(efuse::KEYS_REVOKED, 0b01);
    let trust = Trust::read(&registers);
    assert_eq!(open_with(trust, |_| ()), Err(BootError::RevokedKey));
    assert_eq!(open_with(trust, |parts| parts.signer = 2), Ok(()));
    let registers = fuses(&[1, 1]);
    registers.set(efuse::KEYS_REVOKED, 0b01);
    assert_eq!(open_with(Trust::read(&registers), |_| ()), Ok(()));
}

#[test]
fn blank_damaged_and_missing_fuses_trust_nobody() {
    let blank = FakeRegisters::default();
    assert_eq!(open_with(Trust::read(&blank), |_| ()), Err(BootError::NoTrust));
    blank.set(efuse::STATUS, efuse::STATUS_READY);
    assert_eq!(open_with(Trust::read(&blank), |_| ()), Err(BootError::NoTrust));
    let damaged = fuses(&[1]);
    damaged.set(efuse::STATUS, efuse::STATUS_READY | efuse::STATUS_ERROR);
    assert_eq!(open_with(Trust::read(&damaged), |_| ()), Err(BootError::NoTrust));
}

#[test]
fn a_missing_or_malformed_signature_is_none() {
    assert_eq!(open_with(trust(), |parts| parts.without = "signature-1"), Err(BootError::NoSignature));
    assert_eq!(open_with(trust(), |parts| parts.signature_bytes = 63), Err(BootError::NoSignature));
    assert_eq!(open_with(trust(), |parts| parts.signature_algorithm = "sha512,rsa4096"), Err(BootError::NoSignature));
}

/// Takes the signature of one image and puts it on another that differs in one used value.
#[test]
fn a_signature_is_good_for_nothing_but_what_was_signed() {
    let signed = ImageParts::boot_fit(1000).pack();
    let expected = Expected { stage: Stage::BootFit, load: 0x4010_0000..0x4020_0000, trust: trust() };
    let signature = &signed[signature_at(&signed)..][..64];
    let changes: [fn(&mut ImageParts); 6] = [
        |parts| parts.load += 4,
        |parts| parts.entry += 4,
        |parts| parts.rollback += 1,
        |parts| parts.raise_to += 1,
        |parts| parts.version = "9.8.8".into(),
        |parts| parts.data[0] ^= 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut parts = ImageParts::boot_fit(1000);
        change(&mut parts);
        let mut file = parts.pack();
        assert!(Image::open(&file, &expected).is_ok(), "change {number} by itself");
        let at = signature_at(&file);
        file[at..at + 64].copy_from_slice(signature);
        assert_eq!(Image::open(&file, &expected), Err(BootError::BadSignature), "change {number}");
    }
    for stage in [("boot-fit", Stage::Control), ("control", Stage::BootFit)] {
        // The same bytes with the other stage's name: the loader of that stage believes the name, not the signature.
        let mut parts = ImageParts::boot_fit(1000);
        parts.stage = stage.0;
        let mut other = parts.clone();
        other.stage = if stage.0 == "control" { "boot-fit" } else { "control" };
        let mut file = other.pack();
        let at = signature_at(&file);
        let original = parts.pack();
        file[at..at + 64].copy_from_slice(&original[signature_at(&original)..][..64]);
        let expected = Expected { stage: stage.1, load: 0x4010_0000..0x4020_0000, trust: trust() };
        assert_eq!(Image::open(&file, &expected), Err(BootError::BadSignature), "{stage:?}");
    }
}

/// Position of the signature's value: the last property of the structure block, 64 bytes before END_NODE x4 and END.
fn signature_at(file: &[u8]) -> usize {
    let structure_end = 56 + u32::from_be_bytes(file[36..40].try_into().unwrap()) as usize;
    structure_end - 5 * 4 - 64
}

#[test]
fn a_changed_signature_or_key_is_refused() {
    let good = ImageParts::boot_fit(1000).pack();
    let expected = Expected { stage: Stage::BootFit, load: 0x4010_0000..0x4020_0000, trust: trust() };
    let at = signature_at(&good);
    for byte in [0, 31, 32, 63] {
        let mut file = good.clone();
        file[at + byte] ^= 0x20;
        assert_eq!(Image::open(&file, &expected), Err(BootError::BadSignature), "byte {byte}");
    }
    let key = key(1).verifying_key();
    let at = good.windows(32).position(|window| window == key.as_bytes()).unwrap();
    let mut file = good.clone();
    file[at] ^= 1;
    assert_eq!(Image::open(&file, &expected), Err(BootError::UnknownKey));
}

#[test]
fn the_rollback_counter_of_the_own_stage_counts() {
    let registers = fuses(&[1]);
    registers.set(efuse::ROLLBACK, 0x1F);
    registers.set(efuse::ROLLBACK + efuse::ROLLBACK_STRIDE, 0xFFFF_FFFF);
    let trust = Trust::read(&registers);
    assert_eq!(open_with(trust, |parts| parts.rollback = 5), Ok(()));
    assert_eq!(open_with(trust, |parts| parts.rollback = 4), Err(BootError::RolledBack));
    assert_eq!(trust.check_rollback(Stage::Control, 32), Ok(()));
    assert_eq!(trust.check_rollback(Stage::Control, 31), Err(BootError::RolledBack));
}

#[test]
fn raising_a_counter_adds_thermometer_bits() {
    for (floor, low, high) in
        [(0, 0, 0), (3, 7, 0), (32, u32::MAX, 0), (33, u32::MAX, 1), (64, u32::MAX, u32::MAX), (99, u32::MAX, u32::MAX)]
    {
        let mut posts = FakePosts::new(&FakeRegisters::default());
        raise_rollback(Stage::Control, floor, &mut posts);
        let offset = efuse::ROLLBACK + efuse::ROLLBACK_STRIDE;
        let words: Vec<(u32, u32)> =
            posts.log.iter().map(|write| ((write.address & 0xFFF_FFFF) as u32, write.data)).collect();
        let register = |offset: u32| (0xC00_0000 + offset) & 0xFFF_FFFF;
        assert_eq!(
            words,
            [
                (register(efuse::PROGRAM_ADDRESS), offset),
                (register(efuse::PROGRAM_DATA), low),
                (register(efuse::PROGRAM_ADDRESS), offset + 4),
                (register(efuse::PROGRAM_DATA), high)
            ],
            "{floor}"
        );
    }
}

#[test]
fn errors_show_as_the_bits_that_fit_them() {
    assert_eq!(BootError::HashMismatch.err0_bits(), err0::FIT_CORRUPTED);
    assert_eq!(BootError::TransferSize.err0_bits(), err0::FIT_CORRUPTED);
    assert_eq!(BootError::NoTrust.err0_bits(), err0::EFUSE_FAIL);
    for error in [
        BootError::NoSignature,
        BootError::UnknownKey,
        BootError::RevokedKey,
        BootError::BadSignature,
        BootError::RolledBack,
    ] {
        assert_eq!(error.err0_bits(), err0::SECURITY_FAIL, "{error:?}");
    }
    assert_eq!(FakeRegisters::default().read(efuse::STATUS), 0);
}
