//! Public keys: what a certificate holds, and what signatures are checked with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1,
    ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::{EcdsaForm, HashAlg, KeyKind, Scheme};
use crate::error::{BadKey, Mismatch};
use crate::ops::count_public_key_operation;

/// The AlgorithmIdentifiers of keys, whole.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23";
const ED: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// A public key that is strong enough.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    bits: usize,
    /// RSAPublicKey in DER, an uncompressed point, or 32 octets.
    key: Box<[u8]>,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} bits", self.kind, self.bits)
    }
}

impl PublicKey {
    /// The key in a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), in DER.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_spki(der: &[u8]) -> Result<Self, BadKey> {
        let (body, rest) = element(SEQUENCE, der)?;
        let (algorithm, key) = split_element(body)?;
        let (bits, more) = element(BIT_STRING, key)?;
        let key = bits.strip_prefix(&[0]).ok_or(BadKey::Malformed)?;
        if !rest.is_empty() || !more.is_empty() {
            return Err(BadKey::Malformed);
        }
        Self::from_parts(kind_of(algorithm)?, key)
    }

    /// The key in the BIT STRING of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_parts(kind: KeyKind, key: &[u8]) -> Result<Self, BadKey> {
        let (bits, len) = match kind {
            KeyKind::Rsa => (modulus_bits(key)?, key.len()),
            KeyKind::EcdsaP256 => (256, 65),
            KeyKind::EcdsaP384 => (384, 97),
            KeyKind::EcdsaP521 => (521, 133),
            KeyKind::Ed25519 => (256, 32),
        };
        if key.len() != len {
            return Err(BadKey::Malformed);
        }
        Ok(Self { kind, bits, key: key.into() })
    }

    /// Its SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        let algorithm = match self.kind {
            KeyKind::Rsa => RSA,
            KeyKind::EcdsaP256 => P256,
            KeyKind::EcdsaP384 => P384,
            KeyKind::EcdsaP521 => P521,
            KeyKind::Ed25519 => ED,
        };
        let bits = [&[0], &*self.key].concat();
        let body = [algorithm, &with_header(BIT_STRING, &bits)].concat();
        with_header(SEQUENCE, &body)
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Its size: bits of the modulus or of the curve.
    #[must_use]
    pub const fn bits(&self) -> usize {
        self.bits
    }

    /// What the BIT STRING of its SubjectPublicKeyInfo holds.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.key
    }

    /// Checks the signature of `message`.
    ///
    /// # Errors
    /// [`Mismatch`], also if keys of this kind do not sign so.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), Mismatch> {
        let algorithm = self.algorithm(scheme).ok_or(Mismatch)?;
        count_public_key_operation();
        UnparsedPublicKey::new(algorithm, &self.key)
            .verify(message, signature)
            .map_err(|_| Mismatch)
    }

    fn algorithm(&self, scheme: Scheme) -> Option<&'static dyn VerificationAlgorithm> {
        use EcdsaForm::{Asn1, Fixed};
        use HashAlg::{Sha256, Sha384, Sha512};
        Some(match (self.kind, scheme) {
            (KeyKind::Rsa, Scheme::RsaPkcs1(Sha256)) => &RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa, Scheme::RsaPkcs1(Sha384)) => &RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa, Scheme::RsaPkcs1(Sha512)) => &RSA_PKCS1_2048_8192_SHA512,
            (KeyKind::Rsa, Scheme::RsaPss(Sha256)) => &RSA_PSS_2048_8192_SHA256,
            (KeyKind::Rsa, Scheme::RsaPss(Sha384)) => &RSA_PSS_2048_8192_SHA384,
            (KeyKind::Rsa, Scheme::RsaPss(Sha512)) => &RSA_PSS_2048_8192_SHA512,
            (KeyKind::EcdsaP256, Scheme::Ecdsa(Sha256, Fixed)) => &ECDSA_P256_SHA256_FIXED,
            (KeyKind::EcdsaP256, Scheme::Ecdsa(Sha256, Asn1)) => &ECDSA_P256_SHA256_ASN1,
            (KeyKind::EcdsaP256, Scheme::Ecdsa(Sha384, Asn1)) => &ECDSA_P256_SHA384_ASN1,
            (KeyKind::EcdsaP256, Scheme::Ecdsa(Sha512, Asn1)) => &ECDSA_P256_SHA512_ASN1,
            (KeyKind::EcdsaP384, Scheme::Ecdsa(Sha384, Fixed)) => &ECDSA_P384_SHA384_FIXED,
            (KeyKind::EcdsaP384, Scheme::Ecdsa(Sha256, Asn1)) => &ECDSA_P384_SHA256_ASN1,
            (KeyKind::EcdsaP384, Scheme::Ecdsa(Sha384, Asn1)) => &ECDSA_P384_SHA384_ASN1,
            (KeyKind::EcdsaP384, Scheme::Ecdsa(Sha512, Asn1)) => &ECDSA_P384_SHA512_ASN1,
            (KeyKind::EcdsaP521, Scheme::Ecdsa(Sha512, Fixed)) => &ECDSA_P521_SHA512_FIXED,
            (KeyKind::EcdsaP521, Scheme::Ecdsa(Sha256, Asn1)) => &ECDSA_P521_SHA256_ASN1,
            (KeyKind::EcdsaP521, Scheme::Ecdsa(Sha384, Asn1)) => &ECDSA_P521_SHA384_ASN1,
            (KeyKind::EcdsaP521, Scheme::Ecdsa(Sha512, Asn1)) => &ECDSA_P521_SHA512_ASN1,
            (KeyKind::Ed25519, Scheme::Ed25519) => &ED25519,
            (
                KeyKind::Rsa
                | KeyKind::EcdsaP256
                | KeyKind::EcdsaP384
                | KeyKind::EcdsaP521
                | KeyKind::Ed25519,
                _,
            ) => return None,
        })
    }
}

/// The kind of the key in a PKCS #8 structure: version, algorithm, key.
pub(super) fn kind_in_pkcs8(der: &[u8]) -> Result<KeyKind, BadKey> {
    let (body, _) = element(SEQUENCE, der)?;
    let (_version, after) = element(INTEGER, body)?;
    let (algorithm, _) = split_element(after)?;
    kind_of(algorithm)
}

fn kind_of(algorithm: &[u8]) -> Result<KeyKind, BadKey> {
    let known = [
        (RSA, KeyKind::Rsa),
        (P256, KeyKind::EcdsaP256),
        (P384, KeyKind::EcdsaP384),
        (P521, KeyKind::EcdsaP521),
        (ED, KeyKind::Ed25519),
    ];
    known.into_iter().find(|(id, _)| *id == algorithm).map(|(_, kind)| kind).ok_or(BadKey::Kind)
}

/// Bits of the modulus of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn modulus_bits(key: &[u8]) -> Result<usize, BadKey> {
    let (body, _) = element(SEQUENCE, key)?;
    let (modulus, _) = element(INTEGER, body)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let first = modulus.first().ok_or(BadKey::Malformed)?;
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if (2048..=8192).contains(&bits) { Ok(bits) } else { Err(BadKey::Size) }
}

/// The content of the element with this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Result<(&[u8], &[u8]), BadKey> {
    let (whole, rest) = split_element(der)?;
    let content_at = header_len(whole)?;
    if whole.first() != Some(&tag) {
        return Err(BadKey::Malformed);
    }
    Ok((whole.get(content_at..).ok_or(BadKey::Malformed)?, rest))
}

/// The first element with its header, and what follows it. Lengths up to 65535.
fn split_element(der: &[u8]) -> Result<(&[u8], &[u8]), BadKey> {
    let len = match der {
        [_, len @ 0..=0x7f, ..] => 2 + usize::from(*len),
        [_, 0x81, len, ..] => 3 + usize::from(*len),
        [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(BadKey::Malformed),
    };
    der.split_at_checked(len).ok_or(BadKey::Malformed)
}

fn header_len(der: &[u8]) -> Result<usize, BadKey> {
    match der.get(1) {
        Some(0..=0x7f) => Ok(2),
        Some(0x81) => Ok(3),
        Some(0x82) => Ok(4),
        Some(_) | None => Err(BadKey::Malformed),
    }
}

/// An element. Keys are far shorter than 65535 octets.
fn with_header(tag: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header: &[u8] = match body.len() {
        0..=0x7f => &[tag, low],
        0x80..=0xff => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [header, body].concat()
}
