//! Writes flattened trees token by token, so that tests can also write wrong ones.

use coxswain_core::boot::fit::{Image, Stage};
use coxswain_core::boot::signature::{Statement, key_hash};
use coxswain_core::boot::trust::Trust;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha512};
use zerocopy::IntoBytes;

/// A tree under construction.
#[derive(Debug, Clone, Default)]
pub struct TreeWriter {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl TreeWriter {
    fn word(&mut self, word: u32) -> &mut Self {
        self.structure.extend(word.to_be_bytes());
        self
    }

    fn pad(&mut self) -> &mut Self {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
        self
    }

    /// A bare word in the structure block.
    pub fn raw(&mut self, word: u32) -> &mut Self {
        self.word(word)
    }

    /// Opens a node.
    pub fn begin(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad()
    }

    /// Closes a node.
    pub fn end(&mut self) -> &mut Self {
        self.word(2)
    }

    /// A property.
    pub fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let offset = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.word(3).word(value.len() as u32).word(offset);
        self.structure.extend(value);
        self.pad()
    }

    /// A text property.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.property(name, &[value.as_bytes(), &[0]].concat())
    }

    /// The tree's bytes, structure before strings.
    pub fn finish(&mut self) -> Vec<u8> {
        self.word(9);
        let structure_offset = 56u32;
        let strings_offset = structure_offset + self.structure.len() as u32;
        let total = strings_offset + self.strings.len() as u32;
        let mut bytes = Vec::new();
        for word in [
            0xD00D_FEED,
            total,
            structure_offset,
            strings_offset,
            40,
            17,
            16,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([0; 16]);
        bytes.extend(&self.structure);
        bytes.extend(&self.strings);
        bytes
    }
}

/// The key of the tests with this number.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// Trust in key 1.
pub fn trust() -> Trust {
    Trust::in_key(key_hash(key(1).verifying_key().as_bytes()))
}

/// What goes into an image; tests change single fields.
#[derive(Debug, Clone)]
pub struct ImageParts {
    /// type
    pub kind: &'static str,
    /// arch
    pub arch: &'static str,
    /// os
    pub os: &'static str,
    /// compression
    pub compression: &'static str,
    /// coxswain,stage
    pub stage: &'static str,
    /// load
    pub load: u64,
    /// entry
    pub entry: u64,
    /// load and entry in one cell
    pub one_cell: bool,
    /// data
    pub data: Vec<u8>,
    /// algo of the hash
    pub algorithm: &'static str,
    /// default configuration
    pub default: &'static str,
    /// image that the configuration names
    pub firmware: &'static str,
    /// property of the image, or node, to leave out
    pub without: &'static str,
    /// coxswain,version
    pub version: String,
    /// coxswain,rollback
    pub rollback: u32,
    /// coxswain,raise-to
    pub raise_to: u32,
    /// number of the key that signs
    pub signer: u8,
    /// algo of the signature
    pub signature_algorithm: &'static str,
    /// bytes of the signature that are there
    pub signature_bytes: usize,
}

impl ImageParts {
    /// An acceptable boot-fit of `bytes` bytes at 0x4010_0000.
    pub fn boot_fit(bytes: usize) -> Self {
        Self {
            kind: "firmware",
            arch: "arm64",
            os: "coxswain",
            compression: "none",
            stage: "boot-fit",
            load: 0x4010_0000,
            entry: 0x4010_0040,
            one_cell: false,
            data: (0..bytes).map(|index| (index * 31 + 7) as u8).collect(),
            algorithm: "sha512",
            default: "conf-1",
            firmware: "image-1",
            without: "",
            version: "9.8.7".into(),
            rollback: 5,
            raise_to: 0,
            signer: 1,
            signature_algorithm: "sha512,ed25519",
            signature_bytes: 64,
        }
    }

    /// The signature of key [`Self::signer`].
    fn signature(&self) -> [u8; 64] {
        let stage = if self.stage == "control" { Stage::Control } else { Stage::BootFit };
        let image = Image {
            data: &self.data,
            load: self.load,
            entry: self.entry,
            version: self.version.as_bytes(),
            rollback: self.rollback,
            raise_to: self.raise_to,
        };
        let statement = Statement::new(stage, &image, Sha512::digest(&self.data).into());
        key(self.signer).sign(statement.as_bytes()).to_bytes()
    }

    /// The container, padded to a multiple of 4.
    pub fn pack(&self) -> Vec<u8> {
        let cells = |value: u64| {
            if self.one_cell { (value as u32).to_be_bytes().to_vec() } else { value.to_be_bytes().to_vec() }
        };
        let text = |value: &str| [value.as_bytes(), &[0]].concat();
        let mut tree = TreeWriter::default();
        tree.begin("").text("description", "test").begin("images").begin("image-1");
        for (name, value) in [
            ("type", text(self.kind)),
            ("arch", text(self.arch)),
            ("os", text(self.os)),
            ("compression", text(self.compression)),
            ("coxswain,stage", text(self.stage)),
            ("coxswain,version", text(&self.version)),
            ("coxswain,rollback", self.rollback.to_be_bytes().to_vec()),
            ("coxswain,raise-to", self.raise_to.to_be_bytes().to_vec()),
            ("load", cells(self.load)),
            ("entry", cells(self.entry)),
            ("data", self.data.clone()),
        ] {
            if name != self.without {
                tree.property(name, &value);
            }
        }
        if self.without != "hash-1" {
            tree.begin("hash-1").text("algo", self.algorithm).property("value", &Sha512::digest(&self.data)).end();
        }
        tree.end().end().begin("configurations").text("default", self.default);
        tree.begin("conf-1").text("firmware", self.firmware);
        if self.without != "signature-1" {
            let key = key(self.signer);
            tree.begin("signature-1").text("algo", self.signature_algorithm).text("key-name-hint", "test");
            tree.property("coxswain,public-key", key.verifying_key().as_bytes());
            tree.property("value", &self.signature()[..self.signature_bytes]).end();
        }
        tree.end().end().end();
        let mut bytes = tree.finish();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
