//! Kernel objects as the compiler writes them (`tpc.md` 13.7): ELF32, little-endian, relocatable; only `.text` matters.

use core::fmt;

/// Why an object has no kernel in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// No ELF32 little-endian file, or one that ends inside its tables.
    Malformed,
    /// No section named `.text`.
    NoText,
    /// `.text` is not a whole number of bundles.
    PartialBundle,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "the object is no complete ELF32 little-endian file",
            Self::NoText => "the object has no .text section",
            Self::PartialBundle => "the .text section is not a whole number of bundles",
        })
    }
}

impl core::error::Error for ObjectError {}

const SECTION_HEADER_BYTES: usize = 40;

/// The code of a kernel object; execution starts at its first byte.
///
/// # Errors
///
/// [`ObjectError`] when there is none.
pub fn kernel_text(object: &[u8]) -> Result<&[u8], ObjectError> {
    let half = |at: usize| bytes::<2>(object, at).map(|bytes| usize::from(u16::from_le_bytes(bytes)));
    if !object.starts_with(&[0x7F, b'E', b'L', b'F', 1, 1]) {
        return Err(ObjectError::Malformed);
    }
    let table = word(object, 0x20)?;
    if half(0x2E)? != SECTION_HEADER_BYTES {
        return Err(ObjectError::Malformed);
    }
    let header = |index: usize| {
        let at = index.checked_mul(SECTION_HEADER_BYTES).and_then(|offset| offset.checked_add(table));
        at.ok_or(ObjectError::Malformed)
    };
    let content = |header: usize| {
        let (offset, size) = (word(object, header + 0x10)?, word(object, header + 0x14)?);
        object.get(offset..).and_then(|rest| rest.get(..size)).ok_or(ObjectError::Malformed)
    };
    let names = content(header(half(0x32)?)?)?;
    for index in 0..half(0x30)? {
        let header = header(index)?;
        let name = names.get(word(object, header)?..).ok_or(ObjectError::Malformed)?;
        if name.starts_with(b".text\0") {
            let text = content(header)?;
            return if text.len().is_multiple_of(crate::BUNDLE_BYTES) {
                Ok(text)
            } else {
                Err(ObjectError::PartialBundle)
            };
        }
    }
    Err(ObjectError::NoText)
}

fn bytes<const N: usize>(object: &[u8], at: usize) -> Result<[u8; N], ObjectError> {
    object.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(ObjectError::Malformed)
}

fn word(object: &[u8], at: usize) -> Result<usize, ObjectError> {
    bytes::<4>(object, at).map(|bytes| u32::from_le_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = include_bytes!("../tests/data/kernels/add_f32.o");

    #[test]
    fn the_text_section_is_found_by_name() {
        assert_eq!(kernel_text(OBJECT).map(<[u8]>::len), Ok(2080));
    }

    #[test]
    fn no_cut_of_an_object_panics_or_yields_other_code() {
        let text = kernel_text(OBJECT).unwrap();
        for length in 0..OBJECT.len() {
            if let Ok(found) = kernel_text(&OBJECT[..length]) {
                assert_eq!(found, text);
            }
        }
        assert_eq!(kernel_text(b"not an object"), Err(ObjectError::Malformed));
    }
}
