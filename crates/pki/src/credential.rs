//! What we prove ourselves with: a key, and the certificates that go with it.

use std::sync::Arc;

use crypto::Signer;

use crate::certificate::Certificate;

/// A private key, wherever it is held.
pub type LocalKey = Arc<dyn Signer>;

/// A key, and the certificate of it with those of its authorities, or none: a
/// raw public key.
#[derive(Clone)]
pub struct Credential {
    key: LocalKey,
    /// The leaf first.
    certificates: Vec<Certificate>,
}

/// A key and a certificate that do not go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCredential {
    /// The first certificate has another key.
    #[error("the first certificate is not that of the private key")]
    OtherKey,
    /// The certificate must not sign (RFC 4945 section 5.1.3.2).
    #[error("the key usage of the certificate forbids signatures")]
    KeyUsage,
}

/// The same certificates, and the same public key: there is only one private
/// key to it.
impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates && self.key.public_key() == other.key.public_key()
    }
}

impl Credential {
    /// `key` with its certificates, its own first; those of authorities between
    /// it and the root may follow.
    ///
    /// # Errors
    /// [`BadCredential`].
    pub fn new(key: LocalKey, certificates: Vec<Certificate>) -> Result<Self, BadCredential> {
        if let Some(leaf) = certificates.first() {
            if leaf.key() != key.public_key() {
                return Err(BadCredential::OtherKey);
            }
            if !leaf.may_sign() {
                return Err(BadCredential::KeyUsage);
            }
        }
        Ok(Self { key, certificates })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &LocalKey {
        &self.key
    }

    /// The certificate of the key; `None` for a raw public key.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }

    /// The certificates to send, the leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}
