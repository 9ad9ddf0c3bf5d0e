//! Private keys as files have them: PKCS #8, also encrypted, SEC 1 and PKCS #1.

use crypto::{BadKey, HashAlg, Pbes2, SigningKey};
use zeroize::Zeroizing;

use crate::der::{self, INTEGER, Malformed, OCTET_STRING, OID, Reader, SEQUENCE};
use crate::pem;

/// Why a file gives no private key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPrivateKey {
    /// There is none in it.
    #[error("there is no private key in it")]
    Missing,
    /// It cannot be read.
    #[error("the private key is malformed")]
    Malformed,
    /// It can be read, but not used.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// It is encrypted, and no passphrase is given.
    #[error("the private key is encrypted: its passphrase is needed")]
    NeedsPassphrase,
    /// The passphrase is another.
    #[error("the passphrase does not open the private key")]
    WrongPassphrase,
    /// Encrypted in another way than PBES2 with PBKDF2 and AES-CBC.
    #[error(
        "the private key is encrypted in a way that is not supported; \
         \"openssl pkcs8 -topk8 -v2 aes256\" writes one that is"
    )]
    Encryption,
}

impl From<Malformed> for BadPrivateKey {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// The private key in a file: PEM, or PKCS #8 in DER. `passphrase` counts only
/// if the key is encrypted.
///
/// # Errors
/// [`BadPrivateKey`].
pub fn private_key(file: &[u8], passphrase: Option<&[u8]>) -> Result<SigningKey, BadPrivateKey> {
    if !pem::is_pem(file) {
        return from_der(file, passphrase);
    }
    let text = std::str::from_utf8(file).map_err(|_| BadPrivateKey::Malformed)?;
    for section in pem::sections(text).map_err(|_| BadPrivateKey::Malformed)? {
        if section.has_headers && section.label.ends_with("PRIVATE KEY") {
            return Err(BadPrivateKey::Encryption);
        }
        let octets = &section.octets;
        return match section.label.as_str() {
            "PRIVATE KEY" => Ok(SigningKey::from_pkcs8(octets)?),
            "ENCRYPTED PRIVATE KEY" => encrypted(octets, passphrase),
            "EC PRIVATE KEY" => sec1(octets),
            "RSA PRIVATE KEY" => pkcs1(octets),
            _ => continue,
        };
    }
    Err(BadPrivateKey::Missing)
}

/// An encrypted key begins with an algorithm, any other with a version.
fn from_der(octets: &[u8], passphrase: Option<&[u8]>) -> Result<SigningKey, BadPrivateKey> {
    let first = Reader::new(octets).inside(SEQUENCE)?.next()?;
    if first.tag == SEQUENCE {
        return encrypted(octets, passphrase);
    }
    Ok(SigningKey::from_pkcs8(octets)?)
}

const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";

/// RSAPrivateKey (RFC 8017 appendix A.1.2).
fn pkcs1(octets: &[u8]) -> Result<SigningKey, BadPrivateKey> {
    Ok(SigningKey::from_pkcs8(&wrapped(RSA_ENCRYPTION, octets))?)
}

/// ECPrivateKey (RFC 5915), which must name its curve.
fn sec1(octets: &[u8]) -> Result<SigningKey, BadPrivateKey> {
    let mut fields = Reader::new(octets).inside(SEQUENCE)?;
    fields.expect(INTEGER)?;
    fields.expect(OCTET_STRING)?;
    let curve = fields.expect(0xa0)?;
    let algorithm = der::element(SEQUENCE, &[EC_PUBLIC_KEY, curve]);
    Ok(SigningKey::from_pkcs8(&wrapped(&algorithm, octets))?)
}

/// In PKCS #8 (RFC 5958 section 2).
fn wrapped(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let version = der::element(INTEGER, &[&[0]]);
    let key = Zeroizing::new(der::element(OCTET_STRING, &[key]));
    Zeroizing::new(der::element(SEQUENCE, &[&version, algorithm, &key]))
}

/// EncryptedPrivateKeyInfo (RFC 5958 section 3).
pub(crate) fn encrypted(
    octets: &[u8],
    passphrase: Option<&[u8]>,
) -> Result<SigningKey, BadPrivateKey> {
    let mut fields = Reader::new(octets).inside(SEQUENCE)?;
    let scheme = pbes2(fields.inside(SEQUENCE)?)?;
    let ciphertext = fields.expect(OCTET_STRING)?;
    let passphrase = passphrase.ok_or(BadPrivateKey::NeedsPassphrase)?;
    let opened = scheme.decrypt(passphrase, ciphertext);
    let opened = opened.map_err(|_| BadPrivateKey::WrongPassphrase)?;
    // Padding fits a wrong passphrase once in 256 times.
    Reader::new(&opened)
        .inside(SEQUENCE)
        .and_then(|mut key| key.expect(INTEGER))
        .map_err(|_| BadPrivateKey::WrongPassphrase)?;
    Ok(SigningKey::from_pkcs8(&opened)?)
}

const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const HMAC_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x07";
const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
const HMAC_SHA384: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a";
const HMAC_SHA512: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b";
const AES_128_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02";
const AES_192_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x16";
const AES_256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";

/// PBES2-params (RFC 8018 appendix A.4).
pub(crate) fn pbes2(mut algorithm: Reader<'_>) -> Result<Pbes2<'_>, BadPrivateKey> {
    if algorithm.expect(OID)? != PBES2 {
        return Err(BadPrivateKey::Encryption);
    }
    let mut parameters = algorithm.inside(SEQUENCE)?;
    let mut kdf = parameters.inside(SEQUENCE)?;
    let mut cipher = parameters.inside(SEQUENCE)?;
    if kdf.expect(OID)? != PBKDF2 {
        return Err(BadPrivateKey::Encryption);
    }
    let mut kdf = kdf.inside(SEQUENCE)?;
    let salt = kdf.expect(OCTET_STRING)?;
    let iterations = number(kdf.expect(INTEGER)?)?;
    let key_len = match cipher.expect(OID)? {
        AES_128_CBC => 16,
        AES_192_CBC => 24,
        AES_256_CBC => 32,
        _ => return Err(BadPrivateKey::Encryption),
    };
    let iv = cipher.expect(OCTET_STRING)?.try_into().map_err(|_| BadPrivateKey::Malformed)?;
    Ok(Pbes2 { hash: prf(kdf)?, salt, iterations, key_len, iv })
}

/// What is left of PBKDF2-params: the key's length and the PRF, both optional.
fn prf(mut kdf: Reader<'_>) -> Result<Option<HashAlg>, BadPrivateKey> {
    while !kdf.is_empty() {
        let field = kdf.next()?;
        if field.tag == SEQUENCE {
            return match Reader::new(field.content).expect(OID)? {
                HMAC_SHA1 => Ok(None),
                HMAC_SHA256 => Ok(Some(HashAlg::Sha256)),
                HMAC_SHA384 => Ok(Some(HashAlg::Sha384)),
                HMAC_SHA512 => Ok(Some(HashAlg::Sha512)),
                _ => Err(BadPrivateKey::Encryption),
            };
        }
    }
    Ok(None)
}

pub(crate) fn number(content: &[u8]) -> Result<u32, BadPrivateKey> {
    let content = content.strip_prefix(&[0]).unwrap_or(content);
    if content.len() > 4 {
        return Err(BadPrivateKey::Encryption);
    }
    Ok(content.iter().fold(0, |number, &octet| number << 8 | u32::from(octet)))
}
