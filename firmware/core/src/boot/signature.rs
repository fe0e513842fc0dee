//! The signature of an image: Ed25519 over a statement of everything that the next stage relies on.
//!
//! [`Statement`] is what is signed: not bytes of the container, but the values that were read from it and will be used, in
//! one fixed layout, so that there is no second way to read what was signed. The data enters by its SHA-512. [`check`]
//! decides whether a card that trusts certain keys may run the image; it never looks at the data itself.

use coxswain_abi::regs::efuse::KEY_HASH_BYTES;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha512};
use zerocopy::{Immutable, IntoBytes};

use super::error::BootError;
use super::fit::{Image, Stage};
use super::trust::Trust;

/// Bytes of a SHA-512 digest.
pub const DIGEST_BYTES: usize = 64;
/// Bytes of a public key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Longest version text.
pub const VERSION_BYTES: usize = 64;
/// `algo` of the signature node.
pub const ALGORITHM: &str = "sha512,ed25519";

/// What an image's signature covers: 192 bytes.
///
/// Numbers are little-endian; they are plain integers here because images run on little-endian processors without unaligned
/// accesses, where byte by byte costs ten times the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct Statement {
    /// Keeps signatures of images apart from everything else that a key may sign.
    domain: [u8; 16],
    /// 0 boot-fit, 1 control image.
    stage: u32,
    /// `coxswain,rollback`.
    rollback: u32,
    /// `coxswain,raise-to`.
    raise_to: u32,
    reserved: u32,
    load: u64,
    entry: u64,
    /// Bytes of the data.
    length: u64,
    reserved2: u64,
    /// `coxswain,version`, filled with zeros.
    version: [u8; VERSION_BYTES],
    /// SHA-512 of the data.
    digest: [u8; DIGEST_BYTES],
}

const _: () = assert!(size_of::<Statement>() == 192);

impl Statement {
    /// The statement about `image` of `stage`, whose data has the SHA-512 `digest`.
    #[must_use]
    pub fn new(stage: Stage, image: &Image, digest: [u8; DIGEST_BYTES]) -> Self {
        let mut version = [0; VERSION_BYTES];
        for (to, from) in version.iter_mut().zip(image.version) {
            *to = *from;
        }
        Self {
            domain: *b"Coxswain image 1",
            stage: match stage {
                Stage::BootFit => 0u32,
                Stage::Control => 1,
            }
            .to_le(),
            rollback: image.rollback.to_le(),
            raise_to: image.raise_to.to_le(),
            reserved: 0,
            load: image.load.to_le(),
            entry: image.entry.to_le(),
            length: (image.data.len() as u64).to_le(),
            reserved2: 0,
            version,
            digest,
        }
    }
}

/// The fuses' name for a public key: the first half of its SHA-512.
#[must_use]
pub fn key_hash(key: &[u8; KEY_BYTES]) -> [u8; KEY_HASH_BYTES] {
    let mut hash = [0; KEY_HASH_BYTES];
    for (to, from) in hash.iter_mut().zip(Sha512::digest(key)) {
        *to = from;
    }
    hash
}

/// Checks that `signature` over `statement` is good and of a key that `trust` accepts.
///
/// # Errors
/// The 0x03xx errors of keys and signatures.
pub fn check(
    statement: &Statement,
    key: &[u8; KEY_BYTES],
    signature: &[u8; SIGNATURE_BYTES],
    trust: &Trust,
) -> Result<(), BootError> {
    trust.check_key(&key_hash(key))?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| BootError::BadSignature)?;
    let signature = Signature::from_bytes(signature);
    key.verify(statement.as_bytes(), &signature).map_err(|_| BootError::BadSignature)
}
