//! Firmware image files: what the boot-fit and the control image look like on disk.
//!
//! [`pack`] wraps a flat binary into a signed FIT container, [`flatten_elf`] makes the flat binary from a linked
//! program, [`list`] prints what a container holds. The layout is the one that the boot chain documents in
//! `coxswain_core::boot::fit`, written here with another crate than it is read with, and readable by the usual tools
//! (`dumpimage -l`). Nothing here decides whether an image is acceptable: only the firmware does.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use coxswain_core::boot::fdt::{Item, Node, Tree};
use coxswain_core::boot::fit::Image;
pub use coxswain_core::boot::fit::Stage;
use coxswain_core::boot::signature::{ALGORITHM, Statement, VERSION_BYTES};
use ed25519_dalek::Signer as _;
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use sha2::{Digest as _, Sha512};
use vm_fdt::FdtWriter;
use zerocopy::IntoBytes as _;

use crate::keys::Signer;

/// Largest flat binary that [`flatten_elf`] makes: more than any stage can be sent.
const LARGEST: u64 = 64 << 20;

/// What goes into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents<'a> {
    /// The stage that it is.
    pub stage: Stage,
    /// Its bytes.
    pub binary: &'a [u8],
    /// Where they are placed.
    pub load: u64,
    /// Where they are entered.
    pub entry: u64,
    /// For logs; at most [`VERSION_BYTES`] bytes.
    pub version: &'a str,
    /// What a card compares its rollback counter with.
    pub rollback: u32,
    /// What the card's rollback counter becomes at least; at most `rollback` and 64.
    pub raise_to: u32,
}

/// The signed container of an image. The same arguments give the same bytes; the timestamp is that of `SOURCE_DATE_EPOCH`,
/// or 0.
///
/// # Errors
/// The version contains a NUL or is too long, the binary is too large for a tree (2 GiB), or `raise_to` is out of range.
pub fn pack(contents: &Contents, signer: &Signer) -> anyhow::Result<Vec<u8>> {
    if contents.version.len() > VERSION_BYTES {
        bail!("the version {:?} is longer than {VERSION_BYTES} bytes", contents.version);
    }
    if contents.raise_to > contents.rollback.min(64) {
        bail!("an image of rollback version {} cannot raise the counter to {}", contents.rollback, contents.raise_to);
    }
    let timestamp = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let digest: [u8; 64] = Sha512::digest(contents.binary).into();
    let image = Image {
        data: contents.binary,
        load: contents.load,
        entry: contents.entry,
        version: contents.version.as_bytes(),
        rollback: contents.rollback,
        raise_to: contents.raise_to,
    };
    let statement = Statement::new(contents.stage, &image, digest);
    let signature = signer.key.sign(statement.as_bytes()).to_bytes();
    write_tree(contents, &digest, signer, &signature, timestamp).context("the image cannot be written")
}

fn write_tree(
    contents: &Contents,
    digest: &[u8],
    signer: &Signer,
    signature: &[u8],
    timestamp: u32,
) -> Result<Vec<u8>, vm_fdt::Error> {
    let name = contents.stage.name();
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_string("description", &format!("Coxswain {name} {}", contents.version))?;
    tree.property_u32("timestamp", timestamp)?;
    tree.property_u32("#address-cells", 2)?;

    let images = tree.begin_node("images")?;
    let image = tree.begin_node(name)?;
    tree.property_string("description", &format!("Coxswain {name}"))?;
    tree.property_string("type", "firmware")?;
    tree.property_string("arch", "arm64")?;
    tree.property_string("os", "coxswain")?;
    tree.property_string("compression", "none")?;
    tree.property_u64("load", contents.load)?;
    tree.property_u64("entry", contents.entry)?;
    tree.property_string("coxswain,stage", name)?;
    tree.property_string("coxswain,version", contents.version)?;
    tree.property_u32("coxswain,rollback", contents.rollback)?;
    tree.property_u32("coxswain,raise-to", contents.raise_to)?;
    tree.property("data", contents.binary)?;
    let hash = tree.begin_node("hash-1")?;
    tree.property_string("algo", "sha512")?;
    tree.property("value", digest)?;
    tree.end_node(hash)?;
    tree.end_node(image)?;
    tree.end_node(images)?;

    let configurations = tree.begin_node("configurations")?;
    tree.property_string("default", "conf-1")?;
    let configuration = tree.begin_node("conf-1")?;
    tree.property_string("description", &format!("Coxswain {name}"))?;
    tree.property_string("firmware", name)?;
    let node = tree.begin_node("signature-1")?;
    tree.property_string("algo", ALGORITHM)?;
    tree.property_string("key-name-hint", &signer.name)?;
    tree.property("coxswain,public-key", signer.key.verifying_key().as_bytes())?;
    tree.property("value", signature)?;
    tree.end_node(node)?;
    tree.end_node(configuration)?;
    tree.end_node(configurations)?;
    tree.end_node(root)?;
    let mut bytes = tree.finish()?;
    // The driver takes only files whose size is a multiple of 4.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// The flat binary of a linked program: load address (the lowest physical address of its loadable segments), entry point,
/// and the bytes from there to the end of the last initialised byte, gaps filled with zero. Memory behind that (bss, stacks)
/// is the program's own to clear.
///
/// # Errors
/// When the file is not a 64-bit ELF file, has nothing to load, is inconsistent, would be larger than 64 MiB, or is entered
/// outside its bytes.
pub fn flatten_elf(file: &[u8]) -> anyhow::Result<(u64, u64, Vec<u8>)> {
    let header = elf::FileHeader64::<Endianness>::parse(file).context("not a 64-bit ELF file")?;
    let endian = header.endian()?;
    let mut parts = Vec::new();
    for segment in header.program_headers(endian, file)? {
        if segment.p_type(endian) != elf::PT_LOAD || segment.p_filesz(endian) == 0 {
            continue;
        }
        let data = segment.data(endian, file).ok().context("a segment lies outside the file")?;
        let start = segment.p_paddr(endian);
        let end = start.checked_add(data.len() as u64).context("a segment wraps around the address space")?;
        parts.push((start, end, data));
    }
    let load = parts.iter().map(|part| part.0).min().context("the program has nothing to load")?;
    let end = parts.iter().map(|part| part.1).max().unwrap_or(load);
    if end - load > LARGEST {
        bail!("the program's segments lie {} MiB apart", (end - load) >> 20);
    }
    let mut binary = vec![0; (end - load) as usize];
    for (start, end, data) in parts {
        binary[(start - load) as usize..(end - load) as usize].copy_from_slice(data);
    }
    let entry = header.e_entry(endian);
    if !(load..end).contains(&entry) {
        bail!("the program is entered at {entry:#x}, outside its bytes {load:#x}..{end:#x}");
    }
    Ok((load, entry, binary))
}

/// A readable listing of the nodes and properties of a container. Long values are shown by their length and first bytes.
///
/// # Errors
/// When `bytes` are not a flattened tree.
pub fn list(bytes: &[u8]) -> anyhow::Result<String> {
    let tree = Tree::parse(bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    let root = tree.root().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut text = String::new();
    list_node(&root, 0, &mut text)?;
    Ok(text)
}

/// Nesting is bounded by the parser, so the recursion is.
fn list_node(node: &Node<'_>, depth: usize, text: &mut String) -> anyhow::Result<()> {
    for item in node.items() {
        match item.map_err(|error| anyhow::anyhow!("{error}"))? {
            Item::Property { name, value } => {
                let name = String::from_utf8_lossy(name);
                writeln!(text, "{:indent$}{name} = {}", "", show(value), indent = 2 * depth)?;
            }
            Item::Child { name, node } => {
                writeln!(text, "{:indent$}{}:", "", String::from_utf8_lossy(name), indent = 2 * depth)?;
                list_node(&node, depth + 1, text)?;
            }
        }
    }
    Ok(())
}

/// A property's value: text in quotes, one or two cells in hexadecimal, anything else as bytes.
fn show(value: &[u8]) -> String {
    const SHOWN: usize = 16;
    if let [text @ .., 0] = value
        && !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return format!("\"{}\"", String::from_utf8_lossy(text));
    }
    if let Ok(cell) = <[u8; 4]>::try_from(value) {
        return format!("{:#x}", u32::from_be_bytes(cell));
    }
    if let Ok(cells) = <[u8; 8]>::try_from(value) {
        return format!("{:#x}", u64::from_be_bytes(cells));
    }
    let hex: String = value.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    let more = if value.len() > SHOWN { "..." } else { "" };
    format!("<{} bytes: {hex}{more}>", value.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coxswain_core::boot::BootError;
    use coxswain_core::boot::fit::Expected;
    use coxswain_core::boot::signature::key_hash;
    use coxswain_core::boot::trust::Trust;

    const LOAD: u64 = 0x4010_0000;

    fn signer() -> Signer {
        Signer::development().expect("the development key")
    }

    fn expected(stage: Stage) -> Expected {
        let trust = Trust::in_key(key_hash(signer().key.verifying_key().as_bytes()));
        Expected { stage, load: LOAD..LOAD + 0x10_0000, trust }
    }

    fn contents(stage: Stage, binary: &[u8]) -> Contents<'_> {
        Contents { stage, binary, load: LOAD, entry: LOAD + 0x40, version: "0.1.0-test", rollback: 3, raise_to: 2 }
    }

    fn packed(stage: Stage, binary: &[u8]) -> Vec<u8> {
        pack(&contents(stage, binary), &signer()).expect("an image")
    }

    fn binary() -> Vec<u8> {
        (0..10_001u32).map(|value| (value * 7) as u8).collect()
    }

    #[test]
    fn the_boot_chain_accepts_what_pack_writes() {
        let binary = binary();
        for stage in [Stage::BootFit, Stage::Control] {
            let file = packed(stage, &binary);
            assert_eq!(file.len() % 4, 0);
            let image = Image::open(&file, &expected(stage)).unwrap();
            assert_eq!((image.data, image.load, image.entry), (&binary[..], LOAD, LOAD + 0x40));
            assert_eq!((image.version, image.rollback, image.raise_to), (&b"0.1.0-test"[..], 3, 2));
        }
    }

    #[test]
    fn an_image_of_the_other_stage_is_refused() {
        let file = packed(Stage::Control, &binary());
        assert_eq!(Image::open(&file, &expected(Stage::BootFit)), Err(BootError::WrongStage));
    }

    #[test]
    fn a_flipped_bit_in_data_or_hash_is_a_hash_mismatch() {
        let binary = binary();
        let good = packed(Stage::Control, &binary);
        let data = good.windows(64).position(|window| window == &binary[..64]).unwrap();
        let digest = Sha512::digest(&binary);
        let hash = good.windows(64).position(|window| window == digest.as_slice()).unwrap();
        for offset in [data, data + 5000, data + 10_000, hash, hash + 63] {
            for bit in 0..8 {
                let mut file = good.clone();
                file[offset] ^= 1 << bit;
                assert_eq!(Image::open(&file, &expected(Stage::Control)), Err(BootError::HashMismatch));
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused_or_changes_nothing_that_is_used() {
        let binary = &binary()[..80];
        let good = packed(Stage::Control, binary);
        let whole = Image::open(&good, &expected(Stage::Control)).unwrap();
        let mut unused = 0;
        for offset in 0..good.len() {
            let mut file = good.clone();
            file[offset] ^= 1 << (offset % 8);
            // Descriptions, the key's name, the timestamp and unused header fields may change.
            if let Ok(image) = Image::open(&file, &expected(Stage::Control)) {
                assert_eq!(image, whole, "byte {offset}");
                unused += 1;
            }
        }
        assert!(unused < good.len() / 3, "{unused} of {} bytes are not covered", good.len());
    }

    #[test]
    fn what_a_card_would_refuse_is_not_packed() {
        let binary = binary();
        let contents = contents(Stage::Control, &binary);
        assert!(pack(&Contents { raise_to: 4, ..contents }, &signer()).is_err());
        assert!(pack(&Contents { rollback: 100, raise_to: 65, ..contents }, &signer()).is_err());
        assert!(pack(&Contents { version: &"v".repeat(65), ..contents }, &signer()).is_err());
        assert!(pack(&Contents { version: "a\0b", ..contents }, &signer()).is_err());
    }

    #[test]
    fn the_listing_names_every_node() {
        let text = list(&packed(Stage::BootFit, &[0x55; 80])).unwrap();
        for line in [
            "images:",
            "  boot-fit:",
            "    load = 0x40100000",
            "    coxswain,rollback = 0x3",
            "    data = <80 bytes: 55555555555555555555555555555555...>",
            "    hash-1:",
            "      algo = \"sha512\"",
            "configurations:",
            "  conf-1:",
            "    firmware = \"boot-fit\"",
            "    signature-1:",
            "      algo = \"sha512,ed25519\"",
            "      key-name-hint = \"development\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(list(b"not a tree, but long enough to have a header of one").is_err());
    }

    /// An ELF file for AArch64 by hand: segments of (physical address, bytes).
    fn elf_file(entry: u64, segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = vec![0x7F, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
        half(&mut file, 2);
        half(&mut file, 183);
        file.extend(1u32.to_le_bytes());
        file.extend(entry.to_le_bytes());
        file.extend(64u64.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        for value in [64, 56, segments.len() as u16, 64, 0, 0] {
            half(&mut file, value);
        }
        let mut offset = (64 + 56 * segments.len()) as u64;
        for (address, bytes) in segments {
            file.extend(1u32.to_le_bytes());
            file.extend(5u32.to_le_bytes());
            let size = bytes.len() as u64;
            for value in [offset, 0xFFFF_0000_0000_0000 ^ address, *address, size, size + 0x1000, 16] {
                file.extend(value.to_le_bytes());
            }
            offset += size;
        }
        for (_, bytes) in segments {
            file.extend(*bytes);
        }
        file
    }

    #[test]
    fn segments_are_placed_by_their_physical_addresses() {
        let file = elf_file(0x1004, &[(0x1010, b"data"), (0x1000, b"12345678")]);
        let (load, entry, binary) = flatten_elf(&file).unwrap();
        assert_eq!((load, entry), (0x1000, 0x1004));
        assert_eq!(binary, b"12345678\0\0\0\0\0\0\0\0data");
    }

    #[test]
    fn a_program_that_cannot_be_an_image_is_refused() {
        let long = elf_file(0, &[(0, b"x"), (1 << 40, b"y")]);
        let outside = elf_file(0x2000, &[(0x1000, b"12345678")]);
        let wrapping = elf_file(0, &[(u64::MAX, b"12")]);
        let mut truncated = elf_file(0x1000, &[(0x1000, b"12345678")]);
        truncated.pop();
        let empty = elf_file(0, &[]);
        for (file, words) in [
            (&long, "apart"),
            (&outside, "outside its bytes"),
            (&wrapping, "wraps"),
            (&truncated, "outside the file"),
            (&empty, "nothing to load"),
            (&b"#!/bin/sh".to_vec(), "not a 64-bit ELF"),
        ] {
            let error = flatten_elf(file).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
