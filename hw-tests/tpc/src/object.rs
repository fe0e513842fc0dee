//! Kernel objects as the public compiler writes them (`tpc.md` 13.7).
//!
//! For: taking code and what is known about it out of an ELF file. Owns the checks that a file is one that this engine can run,
//! each with its own words. It never trusts a size or an offset of the file, and never executes anything.

use core::fmt;

use object::elf;
use object::read::elf::{ElfFile32, FileHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _};

/// Machine number of an object: the compiler has none of its own and takes that of the i386.
const MACHINE: u16 = elf::EM_386;
/// Architecture of the metadata: Gaudi.
const GAUDI: u16 = 2;
/// Bytes of the metadata section.
const METADATA_BYTES: usize = 262;

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// No ELF file, one of the wrong kind, or one whose tables lie outside of it.
    Malformed(String),
    /// It is no relocatable file; the type is given.
    NotRelocatable(u16),
    /// The code is for another processor.
    Machine(u16),
    /// No section named `.text`, or an empty one.
    NoText,
    /// `.text` is not a whole number of bundles; its bytes are given.
    PartialBundle(usize),
    /// `.text` would have to be changed before it runs, which no kernel of this compiler needs.
    Relocations,
    /// The metadata section is shorter than its table; its bytes are given.
    ShortMetadata(usize),
    /// The metadata names another generation of the engine.
    Architecture(u16),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(formatter, "no usable ELF32 little-endian file: {why}"),
            Self::NotRelocatable(kind) => write!(formatter, "the ELF type is {kind}, a kernel object has type 1"),
            Self::Machine(number) => write!(formatter, "the ELF machine is {number}, a kernel object has {MACHINE}"),
            Self::NoText => formatter.write_str("the object has no code: its .text section is missing or empty"),
            Self::PartialBundle(bytes) => {
                write!(formatter, "the .text section has {bytes} bytes, which is not a whole number of bundles")
            }
            Self::Relocations => formatter.write_str("the object has relocations for .text"),
            Self::ShortMetadata(bytes) => {
                write!(formatter, "the .tpc_metadata section has {bytes} bytes instead of {METADATA_BYTES}")
            }
            Self::Architecture(number) => {
                write!(formatter, "the object was compiled for architecture {number}, Gaudi is {GAUDI}")
            }
        }
    }
}

impl core::error::Error for ObjectError {}

/// What the compiler says about a kernel (`tpc.md` 13.7). The engine does not use it; who launches the kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Version of the table, 12 for the known compiler.
    pub version: u32,
    /// Lookup tables are used: vector local memory is limited to 16 KiB.
    pub lookups: bool,
    /// Text is printed into a tensor of this number.
    pub printf: Option<u8>,
    /// Scalar parameters, S0 upwards; tensors are not counted.
    pub scalars: u8,
    /// Tensors that are reached through addresses, bit n = tensor n.
    pub addressed_tensors: u16,
    /// Tensors that are stored to by read-modify-write, bit n = tensor n.
    pub combined_tensors: u16,
}

/// A kernel object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelObject<'data> {
    /// The code; execution starts at its first byte.
    pub text: &'data [u8],
    /// The name that the compiler gave, when there is one.
    pub name: Option<&'data str>,
    /// What else the compiler says, when it does.
    pub metadata: Option<Metadata>,
}

impl<'data> KernelObject<'data> {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// [`ObjectError`] with what is wrong with the file.
    pub fn parse(data: &'data [u8]) -> Result<Self, ObjectError> {
        let malformed = |error: object::Error| ObjectError::Malformed(error.to_string());
        let file = ElfFile32::<LittleEndian>::parse(data).map_err(malformed)?;
        let header = file.elf_header();
        match (header.e_type(LittleEndian), header.e_machine(LittleEndian)) {
            (elf::ET_REL, MACHINE) => {}
            (elf::ET_REL, machine) => return Err(ObjectError::Machine(machine)),
            (kind, _) => return Err(ObjectError::NotRelocatable(kind)),
        }
        let content = |name: &str| match file.section_by_name_bytes(name.as_bytes()) {
            Some(section) => section.data().map(Some).map_err(malformed),
            None => Ok(None),
        };
        let text = content(".text")?.filter(|text| !text.is_empty()).ok_or(ObjectError::NoText)?;
        if !text.len().is_multiple_of(crate::BUNDLE_BYTES) {
            return Err(ObjectError::PartialBundle(text.len()));
        }
        if file.section_by_name_bytes(b".text").is_some_and(|section| section.relocations().next().is_some()) {
            return Err(ObjectError::Relocations);
        }
        let name = content(".KernelInfo")?.and_then(kernel_name);
        let metadata = content(".tpc_metadata")?.map(parse_metadata).transpose()?;
        Ok(Self { text, name, metadata })
    }
}

/// The code of a kernel object.
///
/// # Errors
///
/// As [`KernelObject::parse`].
pub fn kernel_text(object: &[u8]) -> Result<&[u8], ObjectError> {
    KernelObject::parse(object).map(|object| object.text)
}

/// The name in `KERNELINFOBEGIN KernelName:[name] #KERNELINFOEND`.
fn kernel_name(info: &[u8]) -> Option<&str> {
    let (_, rest) = core::str::from_utf8(info).ok()?.split_once("KernelName:[")?;
    rest.split_once(']').map(|(name, _)| name)
}

fn parse_metadata(bytes: &[u8]) -> Result<Metadata, ObjectError> {
    let Some(table) = bytes.first_chunk::<METADATA_BYTES>() else {
        return Err(ObjectError::ShortMetadata(bytes.len()));
    };
    let half = |at: usize| u16::from_le_bytes([table[at], table[at + 1]]);
    match half(8) {
        GAUDI => {}
        other => return Err(ObjectError::Architecture(other)),
    }
    Ok(Metadata {
        version: u32::from(half(0)) | u32::from(half(2)) << 16,
        lookups: table[4] != 0,
        printf: (table[5] != 0).then_some(table[13]),
        scalars: table[12],
        addressed_tensors: half(26),
        combined_tensors: half(28),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = include_bytes!("../tests/data/kernels/axpb_f32.o");
    const POLYNOMIAL: &[u8] = include_bytes!("../tests/data/kernels/polynomial_f32.o");
    /// Where the metadata and the section headers lie in `OBJECT`.
    const METADATA: usize = 0x560;
    const HEADERS: usize = 0x77C;

    /// `OBJECT` with some bytes replaced.
    fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut object = OBJECT.to_vec();
        object[at..at + bytes.len()].copy_from_slice(bytes);
        object
    }

    #[test]
    fn code_name_and_metadata_are_found_by_section_name() {
        let object = KernelObject::parse(OBJECT).unwrap();
        assert_eq!((object.text.len(), object.name), (1248, Some("axpb_f32")));
        let expected = Metadata { version: 12, scalars: 2, ..Metadata::default() };
        assert_eq!(object.metadata, Some(expected));
        let metadata = KernelObject::parse(POLYNOMIAL).unwrap().metadata.unwrap();
        assert_eq!((metadata.scalars, metadata.addressed_tensors), (0, 2));
    }

    #[test]
    fn no_cut_of_an_object_panics_or_yields_other_code() {
        let text = kernel_text(OBJECT).unwrap();
        for length in 0..OBJECT.len() {
            if let Ok(found) = kernel_text(&OBJECT[..length]) {
                assert_eq!(found, text);
            }
        }
    }

    #[test]
    fn no_changed_byte_of_an_object_panics() {
        for at in 0..OBJECT.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let _ = KernelObject::parse(&changed(at, &[value]));
            }
        }
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused_with_its_own_words() {
        let says = |data: &[u8], words: &str| {
            let error = KernelObject::parse(data).expect_err(words).to_string();
            assert!(error.contains(words), "{error:?} does not say {words:?}");
        };
        says(b"", "no usable ELF32");
        says(b"not an object", "no usable ELF32");
        says(&changed(4, &[2]), "no usable ELF32");
        says(&changed(5, &[2]), "no usable ELF32");
        says(&changed(16, &[2, 0]), "the ELF type is 2");
        says(&changed(18, &[62, 0]), "the ELF machine is 62");
        says(&changed(METADATA + 8, &[1, 0]), "compiled for architecture 1");
        let text_size = HEADERS + 40 + 0x14;
        says(&changed(text_size, &[0xE1]), "1249 bytes");
        says(&changed(text_size, &[0, 0]), "no code");
        says(&changed(text_size, &[0xE0, 0xFF, 0xFF]), "no usable ELF32");
        says(&changed(HEADERS + 3 * 40 + 0x14, &[8, 0]), ".tpc_metadata section has 8 bytes");
    }
}
