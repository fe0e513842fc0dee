//! The image container: a FIT (flattened image tree) with one image and its hash.
//!
//! [`Image::open`] takes bytes that already lie in memory the host cannot write, checks everything that the next stage relies
//! on, and yields the only type a stage executes. It never copies and never decides what to do with a bad image.
//!
//! ```text
//! /images/<name>          description, type = "firmware", arch = "arm64", os = "coxswain", compression = "none",
//!                         load, entry (one or two cells), coxswain,stage, coxswain,version, data
//! /images/<name>/hash-1   algo = "sha512", value (64 bytes, over data)
//! /configurations         default = "<configuration>"
//! /configurations/<c>     firmware = "<name>"
//! ```
//!
//! The hash guards the data against accidents; load, entry and the rest are guarded by range checks only. A signature, which
//! will cover all of them, has its place as a node of the configuration, is to be checked after the hash and before the image
//! is used, and has the error numbers 0x03xx.

use core::ops::Range;

use sha2::{Digest, Sha512};

use super::error::BootError;
use super::fdt::{Node, Tree};

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
    /// The image's version, for logs.
    pub version: &'a str,
}

impl<'a> Image<'a> {
    /// Checks the container in `bytes` (exactly what the host announced) against `expected`.
    ///
    /// # Errors
    /// A 0x01xx error for a damaged tree, a 0x02xx error for contents that are missing, unexpected or do not match the hash.
    pub fn open(bytes: &'a [u8], expected: &Expected) -> Result<Self, BootError> {
        let (image, node) = Self::find(bytes, expected)?;
        Self::check_hash(&node, image.data)?;
        Ok(image)
    }

    /// Finds the image in bytes that [`Self::open`] has accepted and nobody could write since: every check but the hash.
    ///
    /// # Errors
    /// As [`Self::open`], except for the hash.
    pub fn locate(bytes: &'a [u8], expected: &Expected) -> Result<Self, BootError> {
        Ok(Self::find(bytes, expected)?.0)
    }

    fn find(bytes: &'a [u8], expected: &Expected) -> Result<(Self, Node<'a>), BootError> {
        let tree = Tree::parse(bytes)?;
        if bytes.len() - tree.total_size() > PADDING {
            return Err(BootError::TreeSize);
        }
        let node = Self::default_image(tree.root()?)?;
        Self::check_kind(&node, expected.stage)?;

        let data = node.property("data")?.ok_or(BootError::Property)?;
        let load = node.number("load")?.ok_or(BootError::Property)?;
        let entry = node.number("entry")?.ok_or(BootError::Property)?;
        let version = node.text("coxswain,version")?.ok_or(BootError::Property)?;
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
        Ok((Self { data, load, entry, version }, node))
    }

    fn default_image(root: Node<'a>) -> Result<Node<'a>, BootError> {
        let configurations = root.child(b"configurations")?.ok_or(BootError::NoConfiguration)?;
        let default = configurations.text("default")?.ok_or(BootError::NoConfiguration)?;
        let configuration = configurations.child(default.as_bytes())?.ok_or(BootError::NoConfiguration)?;
        let name = configuration.text("firmware")?.ok_or(BootError::NoImage)?;
        let images = root.child(b"images")?.ok_or(BootError::NoImage)?;
        images.child(name.as_bytes())?.ok_or(BootError::NoImage)
    }

    fn check_kind(node: &Node<'a>, stage: Stage) -> Result<(), BootError> {
        let require = |name, value, error| match node.text(name)? {
            Some(found) if found == value => Ok(()),
            _ => Err(error),
        };
        require("type", "firmware", BootError::ImageType)?;
        require("arch", "arm64", BootError::Architecture)?;
        require("os", "coxswain", BootError::OperatingSystem)?;
        require("compression", "none", BootError::Compression)?;
        require("coxswain,stage", stage.name(), BootError::WrongStage)
    }

    fn check_hash(node: &Node<'a>, data: &[u8]) -> Result<(), BootError> {
        let hash = node.child(b"hash-1")?.ok_or(BootError::NoHash)?;
        if hash.text("algo")? != Some("sha512") {
            return Err(BootError::NoHash);
        }
        let value = hash.property("value")?.ok_or(BootError::NoHash)?;
        if value.len() != 64 {
            return Err(BootError::NoHash);
        }
        if Sha512::digest(data).as_slice() != value {
            return Err(BootError::HashMismatch);
        }
        Ok(())
    }
}
