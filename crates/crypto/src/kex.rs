//! Key exchanges: X25519 (RFC 8031), ECP (RFC 5903) and MODP (RFC 3526).

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::error::{BadShare, CryptoError};
use crate::modp;
use crate::ops::count_public_key_operation;
use crate::provider::Provider;
use crate::suite::Group;

/// Marks an uncompressed point, which a KE payload leaves out
/// (RFC 5903 section 7).
const UNCOMPRESSED: u8 = 4;

/// Our half of a key exchange, good for one agreement.
pub struct KeyExchange {
    private: Private,
    public: Box<[u8]>,
}

enum Private {
    X25519(PrivateKey),
    P256(PrivateKey),
    P384(PrivateKey),
    Modp2048(modp::Exponent),
}

impl KeyExchange {
    pub(crate) fn generate(provider: &mut Provider, group: Group) -> Result<Self, CryptoError> {
        let private = match group {
            Group::X25519 => Private::X25519(new_key(provider, &agreement::X25519)?),
            Group::P256 => Private::P256(new_key(provider, &agreement::ECDH_P256)?),
            Group::P384 => Private::P384(new_key(provider, &agreement::ECDH_P384)?),
            Group::Modp2048 => Private::Modp2048(modp::Exponent::new(provider)),
        };
        count_public_key_operation();
        Self::from_private(private)
    }

    fn from_private(private: Private) -> Result<Self, CryptoError> {
        let public = match &private {
            Private::X25519(key) => computed_public(key)?.as_ref().into(),
            Private::P256(key) | Private::P384(key) => {
                let point = computed_public(key)?;
                point.as_ref().strip_prefix(&[UNCOMPRESSED]).ok_or(CryptoError::Module)?.into()
            }
            Private::Modp2048(exponent) => exponent.public(),
        };
        Ok(Self { private, public })
    }

    /// The key pair of a private value from a published vector.
    #[cfg(test)]
    pub(crate) fn from_private_octets(group: Group, octets: &[u8]) -> Self {
        let key = |algorithm| PrivateKey::from_private_key(algorithm, octets).unwrap();
        let private = match group {
            Group::X25519 => Private::X25519(key(&agreement::X25519)),
            Group::P256 => Private::P256(key(&agreement::ECDH_P256)),
            Group::P384 => Private::P384(key(&agreement::ECDH_P384)),
            Group::Modp2048 => {
                Private::Modp2048(modp::Exponent::from_bytes(octets.try_into().unwrap()))
            }
        };
        Self::from_private(private).unwrap()
    }

    /// The group of the exchange.
    #[must_use]
    pub fn group(&self) -> Group {
        match self.private {
            Private::X25519(_) => Group::X25519,
            Private::P256(_) => Group::P256,
            Private::P384(_) => Group::P384,
            Private::Modp2048(_) => Group::Modp2048,
        }
    }

    /// Our public value as a KE payload carries it: of
    /// [`Group::public_len`] octets; for ECP x | y (RFC 5903 section 7).
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret shared with the holder of `peer_public`, which must be as in
    /// a KE payload.
    ///
    /// # Errors
    /// [`BadShare`].
    pub fn agree(self, peer_public: &[u8]) -> Result<SharedSecret, BadShare> {
        self.shared_with(peer_public)
    }

    /// As [`Self::agree`], but handed back when there is no such secret: a
    /// forged value must not cost us the exchange.
    ///
    /// # Errors
    /// The exchange itself.
    pub fn try_agree(self, peer_public: &[u8]) -> Result<SharedSecret, Self> {
        self.shared_with(peer_public).map_err(|BadShare| self)
    }

    fn shared_with(&self, peer_public: &[u8]) -> Result<SharedSecret, BadShare> {
        if peer_public.len() != self.group().public_len() {
            return Err(BadShare);
        }
        count_public_key_operation();
        match &self.private {
            Private::X25519(key) => agreed(key, peer_public),
            Private::P256(key) | Private::P384(key) => {
                agreed(key, &[&[UNCOMPRESSED], peer_public].concat())
            }
            Private::Modp2048(exponent) => {
                exponent.agree(peer_public.first_chunk().ok_or(BadShare)?)
            }
        }
    }
}

/// g^ir: the x coordinate for ECP, padded to the length of the modulus for
/// MODP (RFC 7296 section 2.14).
pub struct SharedSecret(Zeroizing<Box<[u8]>>);

impl SharedSecret {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn new_key(
    provider: &mut Provider,
    algorithm: &'static agreement::Algorithm,
) -> Result<PrivateKey, CryptoError> {
    if provider.is_system() {
        return PrivateKey::generate(algorithm).map_err(|_| CryptoError::Module);
    }
    let scalar_len = if *algorithm == agreement::ECDH_P384 { 48 } else { 32 };
    drawn_key(provider, algorithm, scalar_len)
}

/// Draws scalars until one is in the range of the curve. All but one in 2^32
/// are, so a second failure in a row already means that the module is at fault.
fn drawn_key(
    provider: &mut Provider,
    algorithm: &'static agreement::Algorithm,
    scalar_len: usize,
) -> Result<PrivateKey, CryptoError> {
    const ATTEMPTS: usize = 4;
    let mut scalar = Zeroizing::new([0; 48]);
    for _ in 0..ATTEMPTS {
        let scalar = scalar.split_at_mut(scalar_len).0;
        provider.fill(scalar);
        if let Ok(key) = PrivateKey::from_private_key(algorithm, scalar) {
            return Ok(key);
        }
    }
    Err(CryptoError::Module)
}

fn computed_public(key: &PrivateKey) -> Result<agreement::PublicKey, CryptoError> {
    key.compute_public_key().map_err(|_| CryptoError::Module)
}

/// The module refuses points off the curve and an all-zero X25519 result.
fn agreed(key: &PrivateKey, peer_public: &[u8]) -> Result<SharedSecret, BadShare> {
    let peer = UnparsedPublicKey::new(key.algorithm(), peer_public);
    agreement::agree(key, peer, BadShare, |secret| Ok(SharedSecret::new(secret)))
}
