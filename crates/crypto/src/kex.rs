//! Key exchanges: X25519 (RFC 8031), ECP (RFC 5903), MODP (RFC 3526) and
//! ML-KEM (draft-ietf-ipsecme-ikev2-mlkem).

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::error::{BadShare, CryptoError};
use crate::kem::{self, Parameters};
use crate::modp::{group14, group15, group16};
use crate::ops::count_public_key_operation;
use crate::provider::Provider;
use crate::suite::Group;

/// Marks an uncompressed point, which a KE payload leaves out
/// (RFC 5903 section 7).
const UNCOMPRESSED: u8 = 4;

/// The initiator's half of a key exchange, good for one agreement.
pub struct KeyExchange {
    private: Private,
    public: Box<[u8]>,
}

enum Private {
    X25519(PrivateKey),
    P256(PrivateKey),
    P384(PrivateKey),
    P521(PrivateKey),
    Modp2048(group14::Exponent),
    Modp3072(group15::Exponent),
    Modp4096(group16::Exponent),
    MlKem(kem::Private),
}

impl KeyExchange {
    pub(crate) fn generate(provider: &mut Provider, group: Group) -> Result<Self, CryptoError> {
        count_public_key_operation();
        let private = match group {
            Group::X25519 => Private::X25519(new_key(provider, &agreement::X25519)?),
            Group::P256 => Private::P256(new_key(provider, &agreement::ECDH_P256)?),
            Group::P384 => Private::P384(new_key(provider, &agreement::ECDH_P384)?),
            Group::P521 => Private::P521(new_key(provider, &agreement::ECDH_P521)?),
            Group::Modp2048 => Private::Modp2048(group14::Exponent::new(provider)),
            Group::Modp3072 => Private::Modp3072(group15::Exponent::new(provider)),
            Group::Modp4096 => Private::Modp4096(group16::Exponent::new(provider)),
            Group::MlKem512 => return Self::of_kem(provider, Parameters::MlKem512),
            Group::MlKem768 => return Self::of_kem(provider, Parameters::MlKem768),
            Group::MlKem1024 => return Self::of_kem(provider, Parameters::MlKem1024),
        };
        Self::from_private(private)
    }

    fn of_kem(provider: &mut Provider, parameters: Parameters) -> Result<Self, CryptoError> {
        let (private, public) = kem::Private::generate(provider, parameters)?;
        Ok(Self { private: Private::MlKem(private), public })
    }

    fn from_private(private: Private) -> Result<Self, CryptoError> {
        let public = match &private {
            Private::X25519(key) => computed_public(key)?.as_ref().into(),
            Private::P256(key) | Private::P384(key) | Private::P521(key) => {
                let point = computed_public(key)?;
                point.as_ref().strip_prefix(&[UNCOMPRESSED]).ok_or(CryptoError::Module)?.into()
            }
            Private::Modp2048(exponent) => exponent.public(),
            Private::Modp3072(exponent) => exponent.public(),
            Private::Modp4096(exponent) => exponent.public(),
            // Its public value cannot be computed again: it comes with the key.
            Private::MlKem(_) => return Err(CryptoError::Module),
        };
        Ok(Self { private, public })
    }

    /// The key pair of a private value from a published vector.
    #[cfg(test)]
    pub(crate) fn from_private_octets(group: Group, octets: &[u8]) -> Self {
        let key = |algorithm| PrivateKey::from_private_key(algorithm, octets).unwrap();
        let of_kem = |parameters| {
            let (private, public) =
                kem::Private::from_seed(octets.try_into().unwrap(), parameters).unwrap();
            Self { private: Private::MlKem(private), public }
        };
        let private = match group {
            Group::X25519 => Private::X25519(key(&agreement::X25519)),
            Group::P256 => Private::P256(key(&agreement::ECDH_P256)),
            Group::P384 => Private::P384(key(&agreement::ECDH_P384)),
            Group::P521 => Private::P521(key(&agreement::ECDH_P521)),
            Group::Modp2048 => Private::Modp2048(group14::Exponent::from_bytes(octets)),
            Group::Modp3072 => Private::Modp3072(group15::Exponent::from_bytes(octets)),
            Group::Modp4096 => Private::Modp4096(group16::Exponent::from_bytes(octets)),
            Group::MlKem512 => return of_kem(Parameters::MlKem512),
            Group::MlKem768 => return of_kem(Parameters::MlKem768),
            Group::MlKem1024 => return of_kem(Parameters::MlKem1024),
        };
        Self::from_private(private).unwrap()
    }

    /// The group of the exchange.
    #[must_use]
    pub fn group(&self) -> Group {
        match &self.private {
            Private::X25519(_) => Group::X25519,
            Private::P256(_) => Group::P256,
            Private::P384(_) => Group::P384,
            Private::P521(_) => Group::P521,
            Private::Modp2048(_) => Group::Modp2048,
            Private::Modp3072(_) => Group::Modp3072,
            Private::Modp4096(_) => Group::Modp4096,
            Private::MlKem(key) => match key.parameters() {
                Parameters::MlKem512 => Group::MlKem512,
                Parameters::MlKem768 => Group::MlKem768,
                Parameters::MlKem1024 => Group::MlKem1024,
            },
        }
    }

    /// Our public value as a KE payload carries it: of
    /// [`Group::public_len`] octets; for ECP x | y (RFC 5903 section 7).
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret shared with the responder, whose public value must be as in
    /// a KE payload, of [`Group::answer_len`] octets.
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
        if peer_public.len() != self.group().answer_len() {
            return Err(BadShare);
        }
        count_public_key_operation();
        match &self.private {
            Private::X25519(key) => agreed(key, peer_public),
            Private::P256(key) | Private::P384(key) | Private::P521(key) => {
                agreed(key, &[&[UNCOMPRESSED], peer_public].concat())
            }
            Private::Modp2048(exponent) => exponent.agree(peer_public),
            Private::Modp3072(exponent) => exponent.agree(peer_public),
            Private::Modp4096(exponent) => exponent.agree(peer_public),
            Private::MlKem(key) => key.decapsulate(peer_public),
        }
    }
}

/// The responder's half of a key exchange: an answer to the initiator's public
/// value.
pub struct KeyAnswer(Answer);

enum Answer {
    /// What is to be agreed on costs as much again; it waits until it is needed.
    Agreement { ours: KeyExchange, theirs: Box<[u8]> },
    /// A key encapsulation has its secret at once.
    Encapsulated { ciphertext: Box<[u8]>, secret: SharedSecret },
}

impl KeyAnswer {
    pub(crate) fn new(
        provider: &mut Provider,
        group: Group,
        peer_public: &[u8],
    ) -> Result<Self, CryptoError> {
        if peer_public.len() != group.public_len() {
            return Err(CryptoError::BadShare);
        }
        let parameters = match group {
            Group::MlKem512 => Parameters::MlKem512,
            Group::MlKem768 => Parameters::MlKem768,
            Group::MlKem1024 => Parameters::MlKem1024,
            Group::X25519
            | Group::P256
            | Group::P384
            | Group::P521
            | Group::Modp2048
            | Group::Modp3072
            | Group::Modp4096 => {
                let ours = KeyExchange::generate(provider, group)?;
                return Ok(Self(Answer::Agreement { ours, theirs: peer_public.into() }));
            }
        };
        count_public_key_operation();
        let (ciphertext, secret) = kem::encapsulate(provider, parameters, peer_public)
            .map_err(|BadShare| CryptoError::BadShare)?;
        Ok(Self(Answer::Encapsulated { ciphertext, secret }))
    }

    /// Our public value as a KE payload carries it: of [`Group::answer_len`]
    /// octets.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        match &self.0 {
            Answer::Agreement { ours, .. } => ours.public(),
            Answer::Encapsulated { ciphertext, .. } => ciphertext,
        }
    }

    /// The secret shared with the initiator.
    ///
    /// # Errors
    /// [`BadShare`], if the initiator's public value is not one of the group.
    pub fn agree(self) -> Result<SharedSecret, BadShare> {
        match self.0 {
            Answer::Agreement { ours, theirs } => ours.agree(&theirs),
            Answer::Encapsulated { secret, .. } => Ok(secret),
        }
    }
}

/// g^ir: the x coordinate for ECP, padded to the length of the modulus for
/// MODP (RFC 7296 section 2.14); for ML-KEM the 32 octets of its key.
pub struct SharedSecret(Zeroizing<Box<[u8]>>);

impl SharedSecret {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The secrets of one exchange: of its key exchange, and of the additional ones
/// that follow it (RFC 9370 section 2.2.4).
pub struct SharedSecrets {
    first: SharedSecret,
    additional: Vec<SharedSecret>,
}

impl From<SharedSecret> for SharedSecrets {
    fn from(first: SharedSecret) -> Self {
        Self { first, additional: Vec::new() }
    }
}

impl SharedSecrets {
    /// The same, and then another.
    #[must_use]
    pub fn then(mut self, next: SharedSecret) -> Self {
        self.additional.push(next);
        self
    }

    /// SK(0) | `nonces` | SK(1) | .. | SK(n).
    pub(crate) fn around(&self, nonces: &[u8]) -> Zeroizing<Vec<u8>> {
        let additional = self.additional.iter().map(SharedSecret::bytes);
        let parts = || [self.first.bytes(), nonces].into_iter().chain(additional.clone());
        let mut octets = Zeroizing::new(Vec::with_capacity(parts().map(<[u8]>::len).sum()));
        parts().for_each(|part| octets.extend_from_slice(part));
        octets
    }
}

fn new_key(
    provider: &mut Provider,
    algorithm: &'static agreement::Algorithm,
) -> Result<PrivateKey, CryptoError> {
    if provider.is_system() {
        return PrivateKey::generate(algorithm).map_err(|_| CryptoError::Module);
    }
    if *algorithm == agreement::ECDH_P521 {
        return drawn_key(provider, algorithm, 66, 0x01);
    }
    let scalar_len = if *algorithm == agreement::ECDH_P384 { 48 } else { 32 };
    drawn_key(provider, algorithm, scalar_len, 0xff)
}

/// Draws scalars until one is in the range of the curve. All but one in 2^32
/// are, so a second failure in a row already means that the module is at fault.
/// `first` are the bits of the first octet that the order of the curve has.
fn drawn_key(
    provider: &mut Provider,
    algorithm: &'static agreement::Algorithm,
    scalar_len: usize,
    first: u8,
) -> Result<PrivateKey, CryptoError> {
    const ATTEMPTS: usize = 4;
    let mut scalar = Zeroizing::new([0; 66]);
    for _ in 0..ATTEMPTS {
        let scalar = scalar.split_at_mut(scalar_len).0;
        provider.fill(scalar);
        if let Some(octet) = scalar.first_mut() {
            *octet &= first;
        }
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
