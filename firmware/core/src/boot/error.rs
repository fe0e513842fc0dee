//! Numbered errors of the boot chain, in one table.
//!
//! A number, once given, is never reused for something else: it reaches the driver's log (`boot-protocol.md` 8.8) and must
//! lead to one line of source for as long as any image that can print it is in use. Groups of 0x100: 1 flattened tree,
//! 2 container contents, 3 trust and signature, 4 transfer and protocol.

use coxswain_abi::regs::psoc::err0;

/// Why the boot chain refused something.
macro_rules! boot_errors {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why the boot chain refused something. The discriminant is the error's number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum BootError {
            $($(#[$doc])* $name = $number,)*
        }

        impl BootError {
            /// Every error, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The texts of [`Self::ALL`], each with a line feed behind it: a table of strings would double their size.
            const TEXTS: &'static str = concat!($($text, "\n",)*);
        }
    };
}

boot_errors! {
    /// Fewer bytes than a tree header.
    TreeTooShort = 0x0101, "image is shorter than a FIT header";
    /// The first word is not 0xD00DFEED.
    TreeMagic = 0x0102, "image is not a FIT container (bad magic)";
    /// A version that cannot be read as version 17.
    TreeVersion = 0x0103, "unsupported FIT tree version";
    /// The header's total size does not fit the bytes that were announced, or leaves more than their padding.
    TreeSize = 0x0104, "FIT size differs from the announced size";
    /// The structure block or the strings block lies outside the tree or is misaligned.
    TreeBlock = 0x0105, "FIT tree block lies outside the image";
    /// The structure block ends inside a token, or a token is unknown.
    TreeToken = 0x0106, "FIT tree is damaged (bad token)";
    /// Nodes are not balanced, or nested too deep.
    TreeNesting = 0x0107, "FIT tree is damaged (bad nesting)";
    /// A node or property name is not terminated, or lies outside its block.
    TreeName = 0x0108, "FIT tree is damaged (bad name)";
    /// Something follows the root node.
    TreeTrailing = 0x0109, "FIT tree is damaged (more behind it)";

    /// No `/configurations` with a `default` that names one.
    NoConfiguration = 0x0201, "FIT has no default configuration";
    /// The configuration names no image, or one that does not exist.
    NoImage = 0x0202, "FIT configuration names no image";
    /// A property that must be there is missing or has a wrong length.
    Property = 0x0203, "FIT image lacks a required property";
    /// Not `type = "firmware"`.
    ImageType = 0x0204, "FIT image is not of type firmware";
    /// Not `arch = "arm64"`.
    Architecture = 0x0205, "FIT image is not for arm64";
    /// Not `os = "coxswain"`.
    OperatingSystem = 0x0206, "FIT image is not Coxswain firmware";
    /// Compressed.
    Compression = 0x0207, "FIT image is compressed";
    /// An image of another stage, for example a control image where the boot-fit is expected.
    WrongStage = 0x0208, "FIT image is for another boot stage";
    /// No data.
    NoData = 0x0209, "FIT image is empty";
    /// The image does not fit the memory it asks to be loaded to.
    LoadRange = 0x020A, "FIT load address is not permitted";
    /// The entry point is outside the image or misaligned.
    EntryPoint = 0x020B, "FIT entry point is outside the image";
    /// No SHA-512 hash.
    NoHash = 0x020C, "FIT image has no sha512 hash";
    /// The hash differs.
    HashMismatch = 0x020D, "FIT hash does not match (sha512)";

    /// No signature node of the right algorithm, or one whose key or value has a wrong length.
    NoSignature = 0x0301, "FIT configuration has no ed25519 signature";
    /// The fuses hold no key, or their redundancy check failed.
    NoTrust = 0x0302, "card fuses hold no usable key";
    /// Signed with a key that the fuses do not know.
    UnknownKey = 0x0303, "FIT image is signed with an unknown key";
    /// Signed with a key that the fuses have revoked.
    RevokedKey = 0x0304, "FIT image is signed with a revoked key";
    /// The signature is not the key's, or not over what the container says.
    BadSignature = 0x0305, "FIT signature does not match (ed25519)";
    /// Older than the card's rollback counter allows.
    RolledBack = 0x0306, "FIT image is older than the card allows";

    /// PREP_DESC announced nothing, or more than the stage can take.
    TransferSize = 0x0401, "announced image size is refused";
    /// DATA_RDY without a PREP_DESC before it.
    NothingAnnounced = 0x0402, "data ready without a transfer";
    /// EXEC without a verified image or message.
    NothingToExecute = 0x0403, "execute without a verified image";
    /// The transfer region or the descriptor is not card memory: a mistake in the stage's configuration.
    BadConfiguration = 0x0404, "stage configuration names no memory";
}

impl BootError {
    /// One line for a log, at most 80 ASCII characters.
    #[must_use]
    pub fn text(self) -> &'static str {
        let mut rest = Self::TEXTS;
        for error in Self::ALL {
            let end = rest.bytes().position(|byte| byte == b'\n').unwrap_or(rest.len());
            if *error == self {
                return rest.get(..end).unwrap_or("");
            }
            rest = rest.get(end.saturating_add(1)..).unwrap_or("");
        }
        rest
    }

    /// The error's number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Bits of CPU_BOOT_ERR0 that go with the error, without ENABLED (`boot-protocol.md` 12). None of them fails the driver's
    /// load by itself: the refusal does.
    #[must_use]
    pub const fn err0_bits(self) -> u32 {
        match self {
            Self::NoTrust => err0::EFUSE_FAIL,
            Self::NoSignature | Self::UnknownKey | Self::RevokedKey | Self::BadSignature | Self::RolledBack => {
                err0::SECURITY_FAIL
            }
            _ => err0::FIT_CORRUPTED,
        }
    }

    /// The error with a number; `None` when there is none.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|error| error.number() == number)
    }
}

impl core::fmt::Display for BootError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "boot error 0x{:04X}: {}", self.number(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_belongs_to_one_error_and_every_text_fits_a_log_line() {
        for (index, error) in BootError::ALL.iter().enumerate() {
            assert_eq!(BootError::from_number(error.number()), Some(*error));
            assert!(BootError::ALL[index + 1..].iter().all(|other| other.text() != error.text()));
            assert!(error.text().len() <= 80 && error.text().is_ascii());
        }
        assert_eq!(BootError::from_number(0), None);
    }

    /// The numbers that have been published. A change here is a mistake; new errors are added.
    #[test]
    fn published_numbers_keep_their_meaning() {
        assert_eq!(BootError::TreeMagic.number(), 0x0102);
        assert_eq!(BootError::WrongStage.number(), 0x0208);
        assert_eq!(BootError::HashMismatch.number(), 0x020D);
        assert_eq!(BootError::TransferSize.number(), 0x0401);
    }
}
