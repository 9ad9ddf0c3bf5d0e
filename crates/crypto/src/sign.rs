//! Signatures: RSA, ECDSA and Ed25519, by keys of certificates and of their own.
//!
//! What is too weak is absent: no RSA key below 2048 bits (RFC 8247
//! section 3.1.1), no SHA-1 (section 3.2), no DSA.

mod public;
mod scheme;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair, Signature,
};
use aws_lc_rs::{digest, rsa};
use zeroize::Zeroizing;

pub use public::PublicKey;
pub use scheme::{EcdsaForm, HashAlg, Scheme};

use crate::error::{BadKey, CryptoError};
use crate::ops::count_public_key_operation;

/// What kind of key signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeyKind {
    /// RSA, 2048 to 8192 bits.
    Rsa,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

/// Whatever holds a private key and signs with it: a [`SigningKey`], or a
/// device that does not give its key away.
pub trait Signer: Send + Sync {
    /// The public key that belongs to it.
    fn public_key(&self) -> &PublicKey;

    /// The signature of `message`.
    ///
    /// # Errors
    /// [`CryptoError::Module`] if the key cannot sign so.
    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// A private key in memory. The module wipes it when it is dropped.
///
/// The randomness of ECDSA and of RSA-PSS is the module's own, also beside a
/// seeded [`crate::Provider`]: a nonce that anybody could repeat would give the
/// key away. Ed25519 and PKCS #1 v1.5 need none.
pub struct SigningKey {
    private: Private,
    public: PublicKey,
}

enum Private {
    Rsa(Box<RsaKeyPair>),
    /// One for each form of its signatures.
    Ecdsa(Box<Ecdsa>),
    Ed25519(Box<Ed25519KeyPair>),
}

struct Ecdsa {
    asn1: EcdsaKeyPair,
    fixed: EcdsaKeyPair,
}

impl SigningKey {
    /// The key in a PKCS #8 structure (RFC 5958), in DER.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let kind = public::kind_in_pkcs8(der)?;
        let private = match kind {
            KeyKind::Rsa => Private::Rsa(rsa_key(der)?),
            KeyKind::EcdsaP256 => {
                ecdsa_key(der, (&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_FIXED_SIGNING))?
            }
            KeyKind::EcdsaP384 => {
                ecdsa_key(der, (&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING))?
            }
            KeyKind::EcdsaP521 => {
                ecdsa_key(der, (&ECDSA_P521_SHA512_ASN1_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING))?
            }
            KeyKind::Ed25519 => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                Private::Ed25519(Box::new(key.map_err(|_| BadKey::Malformed)?))
            }
        };
        let public = PublicKey::from_parts(kind, private.public())?;
        Ok(Self { private, public })
    }

    /// A new key, as PKCS #8 in DER. `rsa_bits` counts for RSA only: 2048,
    /// 3072, 4096 or 8192.
    ///
    /// # Errors
    /// [`CryptoError::Module`] if the module does not make one.
    pub fn generate(kind: KeyKind, rsa_bits: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        count_public_key_operation();
        let ecdsa = |algorithm| {
            let key = EcdsaKeyPair::generate(algorithm)?;
            key.to_pkcs8v1().map(|document| Zeroizing::new(document.as_ref().to_vec()))
        };
        let key = match kind {
            KeyKind::Rsa => return generate_rsa(rsa_bits),
            KeyKind::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyKind::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyKind::EcdsaP521 => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING),
            KeyKind::Ed25519 => Ed25519KeyPair::generate()
                .and_then(|key| key.to_pkcs8v1())
                .map(|document| Zeroizing::new(document.as_ref().to_vec())),
        };
        key.map_err(|_| CryptoError::Module)
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        count_public_key_operation();
        match (&self.private, scheme) {
            (Private::Rsa(key), Scheme::RsaPkcs1(_) | Scheme::RsaPss(_)) => {
                rsa_signature(key, scheme, message)
            }
            (Private::Ecdsa(keys), Scheme::Ecdsa(hash, form)) => {
                if Some(hash) != self.public.kind().own_hash() {
                    return Err(CryptoError::Module);
                }
                let key = match form {
                    EcdsaForm::Asn1 => &keys.asn1,
                    EcdsaForm::Fixed => &keys.fixed,
                };
                signed(key.sign(&SystemRandom::new(), message))
            }
            (Private::Ed25519(key), Scheme::Ed25519) => signed(key.try_sign(message)),
            (Private::Rsa(_) | Private::Ecdsa(_) | Private::Ed25519(_), _) => {
                Err(CryptoError::Module)
            }
        }
    }
}

impl KeyKind {
    /// The hash that an ECDSA key of ours signs with: that of its curve's
    /// strength (RFC 4754 section 7).
    #[must_use]
    pub const fn own_hash(self) -> Option<HashAlg> {
        match self {
            Self::EcdsaP256 => Some(HashAlg::Sha256),
            Self::EcdsaP384 => Some(HashAlg::Sha384),
            Self::EcdsaP521 => Some(HashAlg::Sha512),
            Self::Rsa | Self::Ed25519 => None,
        }
    }
}

impl Private {
    fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::Ecdsa(keys) => keys.asn1.public_key().as_ref(),
            Self::Ed25519(key) => key.public_key().as_ref(),
        }
    }
}

/// SHA-1 of `octets`: how a certificate request names a trust anchor
/// (RFC 7296 section 3.7), and what many key identifiers are (RFC 5280
/// section 4.2.1.2). No security rests on it.
#[must_use]
pub fn sha1_name(octets: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref());
    out
}

/// SHA-256 of `octets`, by which people compare certificates and keys.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    out
}

fn rsa_key(der: &[u8]) -> Result<Box<RsaKeyPair>, BadKey> {
    let key = RsaKeyPair::from_pkcs8(der).map_err(|error| match error.to_string().as_str() {
        "TooSmall" | "TooLarge" => BadKey::Size,
        _ => BadKey::Malformed,
    })?;
    Ok(Box::new(key))
}

type Forms = (&'static EcdsaSigningAlgorithm, &'static EcdsaSigningAlgorithm);

fn ecdsa_key(der: &[u8], (asn1, fixed): Forms) -> Result<Private, BadKey> {
    let key = |form| EcdsaKeyPair::from_pkcs8(form, der).map_err(|_| BadKey::Malformed);
    Ok(Private::Ecdsa(Box::new(Ecdsa { asn1: key(asn1)?, fixed: key(fixed)? })))
}

fn generate_rsa(bits: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    use aws_lc_rs::encoding::AsDer as _;
    let size = match bits {
        2048 => rsa::KeySize::Rsa2048,
        3072 => rsa::KeySize::Rsa3072,
        4096 => rsa::KeySize::Rsa4096,
        8192 => rsa::KeySize::Rsa8192,
        _ => return Err(CryptoError::Module),
    };
    let key = RsaKeyPair::generate(size).map_err(|_| CryptoError::Module)?;
    let der = key.as_der().map_err(|_| CryptoError::Module)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn rsa_signature(key: &RsaKeyPair, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match scheme {
        Scheme::RsaPkcs1(HashAlg::Sha256) => &RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1(HashAlg::Sha384) => &RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1(HashAlg::Sha512) => &RSA_PKCS1_SHA512,
        Scheme::RsaPss(HashAlg::Sha256) => &RSA_PSS_SHA256,
        Scheme::RsaPss(HashAlg::Sha384) => &RSA_PSS_SHA384,
        Scheme::RsaPss(HashAlg::Sha512) => &RSA_PSS_SHA512,
        Scheme::Ecdsa(..) | Scheme::Ed25519 => return Err(CryptoError::Module),
    };
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| CryptoError::Module)?;
    Ok(signature)
}

fn signed<E>(signature: Result<Signature, E>) -> Result<Vec<u8>, CryptoError> {
    signature.map(|octets| octets.as_ref().to_vec()).map_err(|_| CryptoError::Module)
}
