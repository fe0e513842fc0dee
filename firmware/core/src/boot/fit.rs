//! The image container: a FIT (flattened image tree) with one image, its hash and its signature.
//!
//! [`Image::open`] takes bytes that already lie in memory the host cannot write, checks everything that the next stage relies
//! on, and yields the only type a stage executes. It never copies and never decides what to do with a bad image.
//!
//! ```text
//! /images/<name>          description, type = "firmware", arch = "arm64", os = "coxswain", compression = "none",
//!                         load, entry (one or two cells), coxswain,stage, coxswain,version, coxswain,rollback,
//!                         coxswain,raise-to (may be missing), data
//! /images/<name>/hash-1   algo = "sha512", value (64 bytes, over data)
//! /configurations         default = "<configuration>"
//! /configurations/<c>     firmware = "<name>"
//! /configurations/<c>/signature-1
//!                         algo = "sha512,ed25519", coxswain,public-key (32 bytes), value (64 bytes)
//! ```
//!
//! The hash tells accidents from attacks in the log. The signature covers it and everything else that is used
//! ([`super::signature::Statement`]); what it does not cover - descriptions, key hints, the time stamp - is never read here.
//! An image whose `coxswain,rollback` is below the card's counter is refused; `coxswain,raise-to` raises that counter when
//! the image is executed, so that a release decides when the one before it may no longer run.

use core::ops::Range;

use sha2::{Digest, Sha512};

use super::error::BootError;
use super::fdt::{Node, Tree};
use super::signature::{self, Statement};
use super::trust::Trust;

/// Bytes by which an image may be longer than its tree: padding to a multiple of 4 (`boot-protocol.md` 9).
const PADDING: usize = 3;

/// Which stage an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Loaded by the ROM.
    BootFit,
    /// Loaded by the boot-fit.
    Control,
}

impl Stage {
    /// The value of the `coxswain,stage` property.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BootFit => "boot-fit",
            Self::Control => "control",
        }
    }
}

/// What a stage accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The stage to be loaded.
    pub stage: Stage,
    /// Memory that the image may be loaded to: addresses in the terms of the image's `load` property.
    pub load: Range<u64>,
    /// Keys and rollback counters of this card.
    pub trust: Trust,
}

/// An image that passed every check, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// The bytes to be placed at [`Self::load`].
    pub data: &'a [u8],
    /// Address of the first byte, inside [`Expected::load`] with all of `data`.
    pub load: u64,
    /// Address of the first instruction: inside `data`, 4-byte aligned.
    pub entry: u64,
    /// The image's version, for logs; at most [`signature::VERSION_BYTES`] bytes.
    pub version: &'a [u8],
    /// What the card's rollback counter is compared with.
    pub rollback: u32,
    /// What the card's rollback counter becomes at least when the image is executed; at most [`Self::rollback`].
    pub raise_to: u32,
}

/// What [`Image::find`] found in a container.
struct Found<'a> {
    image: Image<'a>,
    /// The image's node.
    node: Node<'a>,
    /// The configuration's node.
    configuration: Node<'a>,
}

impl<'a> Image<'a> {
    /// Checks the container in `bytes` (exactly what the host announced) against `expected`.
    ///
    /// # Errors
    /// A 0x01xx error for a damaged tree, a 0x02xx error for contents that are missing, unexpected or do not match the hash,
    /// a 0x03xx error for an image that this card must not run.
    pub fn open(bytes: &'a [u8], expected: &Expected) -> Result<Self, BootError> {
        let Found { image, node, configuration } = Self::find(bytes, expected)?;
        let digest = Self::check_hash(&node, image.data)?;
        let statement = Statement::new(expected.stage, &image, digest);
        Self::check_signature(&configuration, &statement, &expected.trust)?;
        expected.trust.check_rollback(expected.stage, image.rollback)?;
        Ok(image)
    }

    /// Finds the image in bytes that [`Self::open`] has accepted and nobody could write since: every check but hash and
    /// signature.
    ///
    /// # Errors
    /// As [`Self::open`], except for hash and signature.
    pub fn locate(bytes: &'a [u8], expected: &Expected) -> Result<Self, BootError> {
        Ok(Self::find(bytes, expected)?.image)
    }

    fn find(bytes: &'a [u8], expected: &Expected) -> Result<Found<'a>, BootError> {
        let tree = Tree::parse(bytes)?;
        if bytes.len() - tree.total_size() > PADDING {
            return Err(BootError::TreeSize);
        }
        let (configuration, node) = Self::default_image(tree.root()?)?;
        Self::check_kind(&node, expected.stage)?;

        let data = node.property("data")?.ok_or(BootError::Property)?;
        let load = node.number("load")?.ok_or(BootError::Property)?;
        let entry = node.number("entry")?.ok_or(BootError::Property)?;
        let version = node.text("coxswain,version")?.ok_or(BootError::Property)?;
        let rollback = node.number("coxswain,rollback")?.and_then(|number| u32::try_from(number).ok());
        let rollback = rollback.ok_or(BootError::Property)?;
        let raise_to = match node.number("coxswain,raise-to")? {
            None => 0,
            Some(floor) if floor <= u64::from(rollback) => floor as u32,
            Some(_) => return Err(BootError::Property),
        };
        if version.len() > signature::VERSION_BYTES {
            return Err(BootError::Property);
        }
        if data.is_empty() {
            return Err(BootError::NoData);
        }
        let end = load.checked_add(data.len() as u64).ok_or(BootError::LoadRange)?;
        if load < expected.load.start || end > expected.load.end {
            return Err(BootError::LoadRange);
        }
        if !(load..end).contains(&entry) || entry % 4 != 0 {
            return Err(BootError::EntryPoint);
        }
        Ok(Found { image: Self { data, load, entry, version, rollback, raise_to }, node, configuration })
    }

    /// The default configuration and the image that it names.
    fn default_image(root: Node<'a>) -> Result<(Node<'a>, Node<'a>), BootError> {
        let configurations = root.child(b"configurations")?.ok_or(BootError::NoConfiguration)?;
        let default = configurations.text("default")?.ok_or(BootError::NoConfiguration)?;
        let configuration = configurations.child(default)?.ok_or(BootError::NoConfiguration)?;
        let name = configuration.text("firmware")?.ok_or(BootError::NoImage)?;
        let images = root.child(b"images")?.ok_or(BootError::NoImage)?;
        Ok((configuration, images.child(name)?.ok_or(BootError::NoImage)?))
    }

    fn check_kind(node: &Node<'a>, stage: Stage) -> Result<(), BootError> {
        let require = |name, value: &str, error| match node.text(name)? {
            Some(found) if found == value.as_bytes() => Ok(()),
            _ => Err(error),
        };
        require("type", "firmware", BootError::ImageType)?;
        require("arch", "arm64", BootError::Architecture)?;
        require("os", "coxswain", BootError::OperatingSystem)?;
        require("compression", "none", BootError::Compression)?;
        require("coxswain,stage", stage.name(), BootError::WrongStage)
    }

    fn check_hash(node: &Node<'a>, data: &[u8]) -> Result<[u8; signature::DIGEST_BYTES], BootError> {
        let hash = node.child(b"hash-1")?.ok_or(BootError::NoHash)?;
        if hash.text("algo")? != Some(b"sha512") {
            return Err(BootError::NoHash);
        }
        let value = hash.bytes("value")?.ok_or(BootError::NoHash)?;
        let digest: [u8; signature::DIGEST_BYTES] = Sha512::digest(data).into();
        if digest != *value {
            return Err(BootError::HashMismatch);
        }
        Ok(digest)
    }

    fn check_signature(configuration: &Node<'a>, statement: &Statement, trust: &Trust) -> Result<(), BootError> {
        let node = configuration.child(b"signature-1")?.ok_or(BootError::NoSignature)?;
        if node.text("algo")? != Some(signature::ALGORITHM.as_bytes()) {
            return Err(BootError::NoSignature);
        }
        let key = node.bytes("coxswain,public-key")?.ok_or(BootError::NoSignature)?;
        let value = node.bytes("value")?.ok_or(BootError::NoSignature)?;
        signature::check(statement, key, value, trust)
    }
}
