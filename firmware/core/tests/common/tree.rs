//! Writes flattened trees token by token, so that tests can also write wrong ones.

use sha2::{Digest, Sha512};

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
    /// property of the image to leave out
    pub without: &'static str,
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
        }
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
            ("coxswain,version", text("9.8.7")),
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
        tree.begin("conf-1").text("firmware", self.firmware).end().end().end();
        let mut bytes = tree.finish();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
