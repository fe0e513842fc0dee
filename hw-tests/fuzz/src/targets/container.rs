//! A firmware image file as the host sends it (`coxswain_core::boot::fit`).

use coxswain_core::boot::fdt::{Item, Node, Tree};
use coxswain_core::boot::fit::{Expected, Image, Stage};
use coxswain_core::boot::signature::{Statement, key_hash};
use coxswain_core::boot::trust::Trust;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha512};
use vm_fdt::FdtWriter;
use zerocopy::IntoBytes as _;

use crate::{Reached, Target};

/// The target.
pub const TARGET: Target =
    Target { name: "container", run, seeds, milestones: &["a tree", "an image but for its hash", "an image"] };

/// Where an image may be loaded.
pub(super) const LOAD: u64 = 0x4010_0000;
/// Bytes behind [`LOAD`].
const ROOM: u64 = 0x10_0000;
/// Version of the images.
const VERSION: &str = "1.2.3";
/// Nodes in a tree that are looked at; a tree of children without names is as long as its bytes.
const NODES: usize = 10_000;

/// What a stage accepts.
pub(super) fn expected(stage: Stage) -> Expected {
    Expected { stage, load: LOAD..LOAD + ROOM, trust: trust() }
}

/// Trust in the key that [`container`] signs with.
pub(super) fn trust() -> Trust {
    Trust::in_key(key_hash(key().verifying_key().as_bytes()))
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A container that a stage accepts, written with another crate than it is read with.
///
/// # Panics
/// Never for data of less than 2 GiB.
#[must_use]
pub fn container(stage: Stage, data: &[u8]) -> Vec<u8> {
    container_at(stage, data, LOAD)
}

/// The same for another address; the entry is the second instruction.
fn container_at(stage: Stage, data: &[u8], load: u64) -> Vec<u8> {
    write(stage, data, load).expect("data that fit into a tree")
}

fn write(stage: Stage, data: &[u8], load: u64) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    let images = tree.begin_node("images")?;
    let image = tree.begin_node("i")?;
    for (name, value) in [
        ("type", "firmware"),
        ("arch", "arm64"),
        ("os", "coxswain"),
        ("compression", "none"),
        ("coxswain,stage", stage.name()),
        ("coxswain,version", VERSION),
    ] {
        tree.property_string(name, value)?;
    }
    tree.property_u32("coxswain,rollback", 0)?;
    tree.property_u32("coxswain,raise-to", 0)?;
    tree.property_u64("load", load)?;
    let entry = load as u32 + 4;
    tree.property_u32("entry", entry)?;
    tree.property("data", data)?;
    let hash = tree.begin_node("hash-1")?;
    tree.property_string("algo", "sha512")?;
    tree.property("value", &Sha512::digest(data))?;
    tree.end_node(hash)?;
    tree.end_node(image)?;
    tree.end_node(images)?;
    let configurations = tree.begin_node("configurations")?;
    tree.property_string("default", "c")?;
    let configuration = tree.begin_node("c")?;
    tree.property_string("firmware", "i")?;
    let image = Image { data, load, entry: entry.into(), version: VERSION.as_bytes(), rollback: 0, raise_to: 0 };
    let statement = Statement::new(stage, &image, Sha512::digest(data).into());
    let signature = tree.begin_node("signature-1")?;
    tree.property_string("algo", "sha512,ed25519")?;
    tree.property("coxswain,public-key", key().verifying_key().as_bytes())?;
    tree.property("value", &key().sign(statement.as_bytes()).to_bytes())?;
    tree.end_node(signature)?;
    tree.end_node(configuration)?;
    tree.end_node(configurations)?;
    tree.end_node(root)?;
    tree.finish()
}

/// Visits every node and asserts that what is found lies in `bytes`.
fn visit(node: &Node<'_>, bytes: &[u8], left: &mut usize) {
    let inside = |part: &[u8]| part.is_empty() || bytes.as_ptr_range().contains(&part.as_ptr());
    for item in node.items() {
        let Some(less) = left.checked_sub(1) else { return };
        *left = less;
        match item {
            Ok(Item::Property { name, value }) => {
                assert!(inside(name) && inside(value), "a property outside the file");
            }
            Ok(Item::Child { name, node }) => {
                assert!(inside(name), "a name outside the file");
                visit(&node, bytes, left);
            }
            Err(error) => panic!("the structure was accepted, and is damaged: {error:?}"),
        }
    }
}

/// Runs one input.
///
/// # Panics
/// When an image is accepted that must not be, or a damaged tree is.
pub fn run(bytes: &[u8]) -> Reached {
    let mut reached = Reached::new();
    if let Ok(tree) = Tree::parse(bytes) {
        reached.insert("a tree");
        assert!(tree.total_size() <= bytes.len(), "a tree longer than its file");
        if let Ok(root) = tree.root() {
            visit(&root, bytes, &mut { NODES });
        }
    }
    for stage in [Stage::BootFit, Stage::Control] {
        let expected = expected(stage);
        let located = Image::locate(bytes, &expected);
        if let Ok(image) = located {
            reached.insert("an image but for its hash");
            check(&image, bytes, &expected);
        }
        if let Ok(image) = Image::open(bytes, &expected) {
            reached.insert("an image");
            assert_eq!(located, Ok(image), "the two ways to an image disagree");
            let digest = Sha512::digest(image.data);
            let is_there = bytes.windows(64).any(|window| window == digest.as_slice());
            assert!(is_there, "an image was accepted whose hash is not in the file");
        }
    }
    reached
}

fn check(image: &Image<'_>, bytes: &[u8], expected: &Expected) {
    let (file, data) = (bytes.as_ptr_range(), image.data.as_ptr_range());
    assert!(!image.data.is_empty() && file.start <= data.start && data.end <= file.end, "data outside the file");
    let end = u128::from(image.load) + image.data.len() as u128;
    assert!(image.load >= expected.load.start && end <= u128::from(expected.load.end), "loaded elsewhere");
    let entry = u128::from(image.entry);
    assert!(entry >= u128::from(image.load) && entry < end && image.entry.is_multiple_of(4), "entered elsewhere");
}

fn seeds() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..=255).collect();
    let last = LOAD + ROOM - data.len() as u64;
    vec![
        container(Stage::BootFit, &data),
        container(Stage::Control, &data[..5]),
        container(Stage::Control, &[]),
        // Up to the last byte, and beyond it; before the first.
        container_at(Stage::BootFit, &data, last),
        container_at(Stage::Control, &data, last + 4),
        container_at(Stage::Control, &data, LOAD - 4),
    ]
}
