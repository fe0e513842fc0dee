//! A kernel, from whatever holds it.

use std::borrow::Cow;
use std::fmt;

use coxswain_tpc::{AssembleError, KernelObject, Metadata, ObjectError};

/// Code that engines execute, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    name: String,
    code: Cow<'static, [u8]>,
    metadata: Option<Metadata>,
}

/// Why there is no kernel.
#[derive(Debug)]
pub enum KernelError {
    /// The object cannot be used.
    Object(ObjectError),
    /// The text does not assemble.
    Assembly(AssembleError),
    /// The kernel needs what the card does not have: a place for what it prints.
    Prints,
}

impl fmt::Display for KernelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(error) => error.fmt(formatter),
            Self::Assembly(error) => error.fmt(formatter),
            Self::Prints => formatter.write_str("the kernel prints; bind its print tensor yourself or compile without"),
        }
    }
}

impl std::error::Error for KernelError {}

impl From<ObjectError> for KernelError {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

impl From<AssembleError> for KernelError {
    fn from(error: AssembleError) -> Self {
        Self::Assembly(error)
    }
}

impl Kernel {
    /// The kernel in an ELF object of the public compiler (`tpc.md` 13.7).
    ///
    /// # Errors
    /// The file is no such object, or the kernel prints.
    pub fn from_object(name: &str, object: &[u8]) -> Result<Self, KernelError> {
        let object = KernelObject::parse(object)?;
        if object.metadata.is_some_and(|metadata| metadata.printf.is_some()) {
            return Err(KernelError::Prints);
        }
        Ok(Self {
            name: object.name.unwrap_or(name).to_owned(),
            code: Cow::Owned(object.text.to_vec()),
            metadata: object.metadata,
        })
    }

    /// The kernel that a text of the assembler describes.
    ///
    /// # Errors
    /// The text does not assemble.
    pub fn from_assembly(name: &str, text: &str) -> Result<Self, KernelError> {
        Ok(Self { name: name.to_owned(), code: Cow::Owned(coxswain_tpc::assemble(text)?), metadata: None })
    }

    /// Code that was assembled before, also wrong code.
    #[must_use]
    pub fn from_code(name: &str, code: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.to_owned(), code: code.into(), metadata: None }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bundles; execution starts at the first byte.
    #[must_use]
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// What the compiler said about it.
    #[must_use]
    pub fn metadata(&self) -> Option<Metadata> {
        self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_brings_its_name_and_its_number_of_scalars() {
        let kernel = Kernel::from_object("file", crate::compiled::AXPB_F32).unwrap();
        assert_eq!((kernel.name(), kernel.code().len()), ("axpb_f32", 1248));
        assert_eq!(kernel.metadata().map(|metadata| metadata.scalars), Some(2));
    }

    #[test]
    fn what_is_no_kernel_is_refused_in_words() {
        let error = Kernel::from_object("x", b"\x7FELF").unwrap_err().to_string();
        assert!(error.contains("ELF32"), "{error}");
        let error = Kernel::from_assembly("x", "nop; frobnicate S1; nop; nop").unwrap_err().to_string();
        assert!(error.contains("frobnicate"), "{error}");
        let mut prints = crate::compiled::AXPB_F32.to_vec();
        prints[0x560 + 5] = 1;
        assert!(matches!(Kernel::from_object("x", &prints), Err(KernelError::Prints)));
    }
}
