//! Keys that sign firmware images: PEM files as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.
//!
//! For: the development key, a developer's own, and the fuses that trust one. Never: makes a key, or prints a private one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use coxswain_card::Fuses;
use coxswain_core::boot::signature::key_hash;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
pub use ed25519_dalek::{SigningKey, VerifyingKey};

/// Names a file with the key that images are signed with; without it the development key is used.
pub const VARIABLE: &str = "COXSWAIN_SIGNING_KEY";

/// The development key of the repository: not a secret (`firmware/keys/README.md`).
const DEVELOPMENT: &str = include_str!("../../../firmware/keys/development.pem");

/// A private key and its name for listings.
#[derive(Clone)]
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// The file's name without folder and ending.
    pub name: String,
}

impl Signer {
    /// The key in `file`; the one that [`VARIABLE`] names when there is no `file`; else the development key.
    ///
    /// # Errors
    /// The file cannot be read, or is not a private Ed25519 key.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let Some(file) = file.map(Path::to_owned).or(named) else { return Self::development() };
        let text = read(&file)?;
        let key = SigningKey::from_pkcs8_pem(&text)
            .ok()
            .with_context(|| format!("{} is not a private Ed25519 key in PEM form", file.display()))?;
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { key, name })
    }

    /// The development key.
    ///
    /// # Errors
    /// The repository's file is damaged.
    pub fn development() -> anyhow::Result<Self> {
        let key = SigningKey::from_pkcs8_pem(DEVELOPMENT).ok().context("firmware/keys/development.pem is damaged")?;
        Ok(Self { key, name: "development".into() })
    }

    /// Fuses of a card that trusts this key and has never seen a newer image.
    #[must_use]
    pub fn fuses(&self) -> Fuses {
        Fuses::new().with_key(0, &key_hash(self.key.verifying_key().as_bytes()))
    }
}

/// The public key in `file`, which may hold a private one; as [`Signer::load`] without `file`.
///
/// # Errors
/// The file cannot be read, or is not an Ed25519 key.
pub fn public(file: Option<&Path>) -> anyhow::Result<VerifyingKey> {
    let Some(file) = file else { return Ok(Signer::load(None)?.key.verifying_key()) };
    let text = read(file)?;
    if let Ok(key) = VerifyingKey::from_public_key_pem(&text) {
        return Ok(key);
    }
    match SigningKey::from_pkcs8_pem(&text) {
        Ok(key) => Ok(key.verifying_key()),
        Err(_) => bail!("{} is not an Ed25519 key in PEM form", file.display()),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))
}
