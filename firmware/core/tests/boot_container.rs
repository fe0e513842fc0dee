//! The image container: what is accepted, and with which number everything else is refused.
// A helper of a test that finds nothing is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::tree::{ImageParts, TreeWriter, trust};
use coxswain_core::boot::BootError;
use coxswain_core::boot::fdt::Tree;
use coxswain_core::boot::fit::{Expected, Image, Stage};
use proptest::prelude::*;

fn expected() -> Expected {
    Expected { stage: Stage::BootFit, load: 0x4010_0000..0x4020_0000, trust: trust() }
}

fn open(parts: &ImageParts) -> Result<(), BootError> {
    Image::open(&parts.pack(), &expected()).map(|_| ())
}

fn with(change: impl FnOnce(&mut ImageParts)) -> Result<(), BootError> {
    let mut parts = ImageParts::boot_fit(1000);
    change(&mut parts);
    open(&parts)
}

#[test]
fn a_good_image_is_found_in_place() {
    let parts = ImageParts::boot_fit(1001);
    let file = parts.pack();
    let image = Image::open(&file, &expected()).unwrap();
    assert_eq!(image.data, parts.data);
    assert_eq!((image.load, image.entry, image.version), (0x4010_0000, 0x4010_0040, &b"9.8.7"[..]));
    assert!(file.as_ptr_range().contains(&image.data.as_ptr()));
    assert_eq!(Image::locate(&file, &expected()), Ok(image));
}

#[test]
fn addresses_of_one_cell_are_accepted() {
    assert_eq!(with(|parts| parts.one_cell = true), Ok(()));
}

#[test]
fn every_wrong_content_has_its_own_number() {
    assert_eq!(with(|parts| parts.default = "conf-2"), Err(BootError::NoConfiguration));
    assert_eq!(with(|parts| parts.firmware = "image-2"), Err(BootError::NoImage));
    assert_eq!(with(|parts| parts.kind = "kernel"), Err(BootError::ImageType));
    assert_eq!(with(|parts| parts.arch = "arm"), Err(BootError::Architecture));
    assert_eq!(with(|parts| parts.os = "linux"), Err(BootError::OperatingSystem));
    assert_eq!(with(|parts| parts.compression = "gzip"), Err(BootError::Compression));
    assert_eq!(with(|parts| parts.stage = "control"), Err(BootError::WrongStage));
    assert_eq!(with(|parts| parts.without = "coxswain,stage"), Err(BootError::WrongStage));
    assert_eq!(with(|parts| parts.without = "data"), Err(BootError::Property));
    assert_eq!(with(|parts| parts.without = "load"), Err(BootError::Property));
    assert_eq!(with(|parts| parts.without = "coxswain,version"), Err(BootError::Property));
    assert_eq!(with(|parts| parts.data.clear()), Err(BootError::NoData));
    assert_eq!(with(|parts| parts.algorithm = "crc32"), Err(BootError::NoHash));
    assert_eq!(with(|parts| parts.without = "hash-1"), Err(BootError::NoHash));
    assert_eq!(with(|parts| parts.without = "coxswain,rollback"), Err(BootError::Property));
    assert_eq!(with(|parts| parts.raise_to = parts.rollback + 1), Err(BootError::Property));
    assert_eq!(with(|parts| parts.version = "v".repeat(65)), Err(BootError::Property));
}

#[test]
fn an_image_is_loaded_only_where_it_may_be() {
    let at = |load: u64, entry: u64| {
        with(|parts| {
            parts.load = load;
            parts.entry = entry;
        })
    };
    assert_eq!(at(0x4020_0000 - 1000, 0x4020_0000 - 1000), Ok(()));
    assert_eq!(at(0x4020_0000 - 996, 0x4020_0000 - 996), Err(BootError::LoadRange));
    assert_eq!(at(0x400F_FFFC, 0x4010_0000), Err(BootError::LoadRange));
    assert_eq!(at(u64::MAX - 3, u64::MAX - 3), Err(BootError::LoadRange));
    assert_eq!(at(0x4010_0000, 0x4010_0000 + 1000), Err(BootError::EntryPoint));
    assert_eq!(at(0x4010_0004, 0x4010_0000), Err(BootError::EntryPoint));
    assert_eq!(at(0x4010_0000, 0x4010_0002), Err(BootError::EntryPoint));
}

#[test]
fn the_announced_size_is_the_size_of_the_tree_and_its_padding() {
    let mut file = ImageParts::boot_fit(1000).pack();
    file.extend([0; 4]);
    assert_eq!(Image::open(&file, &expected()), Err(BootError::TreeSize));
    file.truncate(file.len() - 8);
    assert_eq!(Image::open(&file, &expected()), Err(BootError::TreeSize));
}

#[test]
fn every_damage_to_the_tree_has_its_own_number() {
    let parse = |bytes: &[u8]| Tree::parse(bytes).map(|_| ());
    let good = TreeWriter::default().begin("").end().finish();
    assert_eq!(parse(&good), Ok(()));
    assert_eq!(parse(&good[..39]), Err(BootError::TreeTooShort));
    let changed = |offset: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
        parse(&bytes)
    };
    assert_eq!(changed(0, 0xD00D_FEEE), Err(BootError::TreeMagic));
    assert_eq!(changed(20, 16), Err(BootError::TreeVersion));
    assert_eq!(changed(24, 18), Err(BootError::TreeVersion));
    assert_eq!(changed(4, good.len() as u32 + 1), Err(BootError::TreeSize));
    assert_eq!(changed(4, 39), Err(BootError::TreeSize));
    assert_eq!(changed(8, 57), Err(BootError::TreeBlock));
    assert_eq!(changed(8, 36), Err(BootError::TreeBlock));
    assert_eq!(changed(36, u32::MAX), Err(BootError::TreeBlock));
    assert_eq!(changed(12, u32::MAX), Err(BootError::TreeBlock));
    assert_eq!(changed(36, 12), Err(BootError::TreeToken), "ends before END");

    let tree = |build: fn(&mut TreeWriter)| {
        let mut writer = TreeWriter::default();
        build(&mut writer);
        parse(&writer.finish())
    };
    assert_eq!(tree(|tree| _ = tree.begin("").raw(7).end()), Err(BootError::TreeToken));
    assert_eq!(tree(|tree| _ = tree.begin("").raw(4).end()), Ok(()), "NOP");
    assert_eq!(tree(|tree| _ = tree.begin("").raw(3).raw(1000).raw(0).end()), Err(BootError::TreeToken));
    assert_eq!(tree(|tree| _ = tree.begin("").raw(3).raw(u32::MAX).raw(0).end()), Err(BootError::TreeToken));
    assert_eq!(tree(|tree| _ = tree.begin("").raw(3).raw(0).raw(1000).end()), Err(BootError::TreeName));
    assert_eq!(tree(|tree| _ = tree.begin(&"n".repeat(64)).end()), Err(BootError::TreeName));
    assert_eq!(tree(|tree| _ = tree.begin("").property(&"n".repeat(64), &[]).end()), Err(BootError::TreeName));
    assert_eq!(tree(|tree| _ = tree.begin("")), Err(BootError::TreeNesting));
    assert_eq!(tree(|tree| _ = tree.begin("").end().end()), Err(BootError::TreeNesting));
    assert_eq!(tree(|tree| _ = tree.property("name", &[]).begin("").end()), Err(BootError::TreeNesting));
    assert_eq!(tree(|_| ()), Err(BootError::TreeNesting), "no root");
    assert_eq!(tree(|tree| _ = tree.begin("").end().begin("").end()), Err(BootError::TreeTrailing));
    assert_eq!(tree(|tree| (0..9).for_each(|_| _ = tree.begin("n"))), Err(BootError::TreeNesting), "too deep");
}

#[test]
fn a_child_is_found_among_deeper_nodes_of_the_same_name() {
    let bytes = TreeWriter::default()
        .begin("")
        .begin("a")
        .begin("b")
        .text("where", "inner")
        .end()
        .end()
        .begin("b")
        .text("where", "outer")
        .end()
        .end()
        .finish();
    let root = Tree::parse(&bytes).unwrap().root().unwrap();
    assert_eq!(root.child(b"b").unwrap().unwrap().text("where"), Ok(Some(&b"outer"[..])));
    assert_eq!(root.property("where"), Ok(None));
}

/// The limit on names keeps the walk linear: a megabyte of properties that share one endless name is refused at once.
#[test]
fn a_tree_made_to_be_slow_is_refused_quickly() {
    let mut tree = TreeWriter::default();
    tree.begin("");
    for _ in 0..100_000 {
        tree.raw(3).raw(0).raw(0);
    }
    tree.property(&"x".repeat(1 << 20), &[]).end();
    let bytes = tree.finish();
    let start = std::time::Instant::now();
    assert_eq!(Tree::parse(&bytes).map(|_| ()), Err(BootError::TreeName));
    assert!(start.elapsed().as_secs() < 5);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Image::open(&bytes, &expected());
    }

    /// Random structure behind a header that is right, so that the walk is reached.
    #[test]
    fn no_structure_makes_the_parser_panic(words in proptest::collection::vec(prop_oneof![0u32..10, any::<u32>()], 0..64)) {
        let mut tree = TreeWriter::default();
        for word in words {
            tree.raw(word);
        }
        let bytes = tree.finish();
        if let Ok(tree) = Tree::parse(&bytes) {
            for item in tree.root().unwrap().items() {
                prop_assert!(item.is_ok());
            }
        }
    }

    #[test]
    fn a_damaged_image_never_yields_other_data(
        bytes in 1usize..300,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let parts = ImageParts::boot_fit(bytes.max(0x44));
        let mut file = parts.pack();
        for (position, value) in damage {
            let position = position.index(file.len());
            file[position] = value;
        }
        if let Ok(image) = Image::open(&file, &expected()) {
            prop_assert_eq!(image.data, &parts.data[..]);
            prop_assert_eq!((image.load, image.entry, image.rollback), (parts.load, parts.entry, parts.rollback));
            prop_assert!(image.load >= 0x4010_0000 && image.load + image.data.len() as u64 <= 0x4020_0000);
            prop_assert!(image.entry >= image.load && image.entry < image.load + image.data.len() as u64);
        }
    }

    #[test]
    fn a_truncated_image_is_refused(bytes in 0x44usize..300, cut in any::<prop::sample::Index>()) {
        let file = ImageParts::boot_fit(bytes).pack();
        prop_assert!(Image::open(&file[..cut.index(file.len() - 4)], &expected()).is_err());
    }
}
