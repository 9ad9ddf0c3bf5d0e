//! A private key with its certificates in one file: PKCS #12 (RFC 7292), as
//! OpenSSL 3 writes it: PBES2 with AES, and an HMAC with SHA-2.

use crypto::{BadKey, HashAlg, Pkcs12Mac, Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::der::{INTEGER, Malformed, OCTET_STRING, OID, Reader, SEQUENCE};
use crate::key::{self, BadPrivateKey};
use crate::refusal::BadCertificate;

/// The largest file that is read, in octets.
pub const MAX_FILE: usize = 1024 * 1024;

/// The most parts that are looked at: encrypted ones are each worth a
/// derivation of a key.
const MAX_PARTS: usize = 8;

/// The most keys and certificates.
const MAX_BAGS: usize = 64;

/// What a file holds.
pub struct Contents {
    /// The private key.
    pub key: SigningKey,
    /// The certificate of the key first, if there is one; then those of
    /// authorities, but for any that vouches for itself: who is to believe it
    /// has it.
    pub certificates: Vec<Certificate>,
}

/// Why a file gives no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPkcs12 {
    /// It cannot be read.
    #[error("this is no PKCS #12 file, or not one in DER")]
    Malformed,
    /// Its parts are too many.
    #[error("the file is too large")]
    TooLarge,
    /// It is encrypted, and no passphrase is given.
    #[error("the file is encrypted: its passphrase is needed")]
    NeedsPassphrase,
    /// The passphrase is another, or the file was changed.
    #[error("the passphrase does not open the file")]
    WrongPassphrase,
    /// Protected in another way than with PBES2 and an HMAC.
    #[error(
        "the file is protected in a way that is not supported; \
         \"openssl pkcs12 -export\" of OpenSSL 3 writes one that is"
    )]
    Protection,
    /// There is no private key in it, or more than one.
    #[error("there is not one private key in the file")]
    Keys,
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// One of its certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
}

impl From<Malformed> for BadPkcs12 {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<BadPrivateKey> for BadPkcs12 {
    fn from(error: BadPrivateKey) -> Self {
        match error {
            BadPrivateKey::Missing | BadPrivateKey::Malformed => Self::Malformed,
            BadPrivateKey::Key(key) => Self::Key(key),
            BadPrivateKey::NeedsPassphrase => Self::NeedsPassphrase,
            BadPrivateKey::WrongPassphrase => Self::WrongPassphrase,
            BadPrivateKey::Encryption => Self::Protection,
        }
    }
}

const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const KEY_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01";
const SHROUDED_KEY_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
const CERT_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03";
const X509: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";
const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
const SHA512: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x03";

const EXPLICIT_0: u8 = 0xa0;
const IMPLICIT_0: u8 = 0x80;

/// The private key and the certificates in a file. Without a passphrase, those
/// of a file whose passphrase is empty.
///
/// # Errors
/// [`BadPkcs12`].
pub fn read(file: &[u8], passphrase: Option<&[u8]>) -> Result<Contents, BadPkcs12> {
    if file.len() > MAX_FILE {
        return Err(BadPkcs12::TooLarge);
    }
    // PFX (RFC 7292 section 4).
    let mut pfx = Reader::new(file).inside(SEQUENCE)?;
    if pfx.expect(INTEGER)? != [3] {
        return Err(BadPkcs12::Malformed);
    }
    let safe = data(pfx.inside(SEQUENCE)?)?;
    let mac = if pfx.is_empty() { None } else { Some(mac(pfx.inside(SEQUENCE)?)?) };
    authentic(mac, passphrase, safe)?;
    contents(safe, passphrase.unwrap_or_default())
}

/// AuthenticatedSafe, whose code is right.
pub(crate) fn contents(safe: &[u8], passphrase: &[u8]) -> Result<Contents, BadPkcs12> {
    let mut bags = Bags::default();
    let mut parts = Reader::new(safe).inside(SEQUENCE)?;
    for _ in 0..MAX_PARTS {
        if parts.is_empty() {
            return bags.sorted();
        }
        bags.take_part(parts.inside(SEQUENCE)?, passphrase)?;
    }
    Err(BadPkcs12::TooLarge)
}

/// ContentInfo of the type Data.
fn data(mut info: Reader<'_>) -> Result<&[u8], BadPkcs12> {
    if info.expect(OID)? != DATA {
        // Signed instead of keyed by a passphrase.
        return Err(BadPkcs12::Protection);
    }
    Ok(info.inside(EXPLICIT_0)?.expect(OCTET_STRING)?)
}

/// MacData.
fn mac(mut fields: Reader<'_>) -> Result<Pkcs12Mac<'_>, BadPkcs12> {
    let mut digest = fields.inside(SEQUENCE)?;
    let hash = match digest.inside(SEQUENCE)?.expect(OID)? {
        SHA1 => None,
        SHA256 => Some(HashAlg::Sha256),
        SHA384 => Some(HashAlg::Sha384),
        SHA512 => Some(HashAlg::Sha512),
        _ => return Err(BadPkcs12::Protection),
    };
    let code = digest.expect(OCTET_STRING)?;
    let salt = fields.expect(OCTET_STRING)?;
    let iterations = if fields.is_empty() { 1 } else { key::number(fields.expect(INTEGER)?)? };
    Ok(Pkcs12Mac { hash, salt, iterations, code })
}

/// Nothing of a file is used before its code is seen to be right.
fn authentic(
    mac: Option<Pkcs12Mac<'_>>,
    passphrase: Option<&[u8]>,
    safe: &[u8],
) -> Result<(), BadPkcs12> {
    let mac = mac.ok_or(BadPkcs12::Protection)?;
    let text = std::str::from_utf8(passphrase.unwrap_or_default());
    let text = text.map_err(|_| BadPkcs12::WrongPassphrase)?;
    let refused = match passphrase {
        None => BadPkcs12::NeedsPassphrase,
        Some(_) => BadPkcs12::WrongPassphrase,
    };
    mac.verify(text, safe).map_err(|_| refused)
}

/// What was found so far.
#[derive(Default)]
struct Bags {
    count: usize,
    keys: Vec<SigningKey>,
    certificates: Vec<Certificate>,
}

impl Bags {
    /// ContentInfo of the type Data or EncryptedData (RFC 5652 section 8).
    fn take_part(&mut self, mut info: Reader<'_>, passphrase: &[u8]) -> Result<(), BadPkcs12> {
        let kind = info.expect(OID)?;
        let mut content = info.inside(EXPLICIT_0)?;
        match kind {
            DATA => self.take_all(content.expect(OCTET_STRING)?, passphrase),
            ENCRYPTED_DATA => {
                let mut fields = content.inside(SEQUENCE)?;
                fields.expect(INTEGER)?;
                let opened = decrypted(fields.inside(SEQUENCE)?, passphrase)?;
                self.take_all(&opened, passphrase)
            }
            _ => Err(BadPkcs12::Protection),
        }
    }

    /// SafeContents.
    fn take_all(&mut self, contents: &[u8], passphrase: &[u8]) -> Result<(), BadPkcs12> {
        let mut bags = Reader::new(contents).inside(SEQUENCE)?;
        while !bags.is_empty() {
            self.count += 1;
            if self.count > MAX_BAGS {
                return Err(BadPkcs12::TooLarge);
            }
            self.take(bags.inside(SEQUENCE)?, passphrase)?;
        }
        Ok(())
    }

    /// SafeBag: its attributes are names, which the key itself makes needless.
    fn take(&mut self, mut bag: Reader<'_>, passphrase: &[u8]) -> Result<(), BadPkcs12> {
        let kind = bag.expect(OID)?;
        let value = bag.expect(EXPLICIT_0)?;
        match kind {
            KEY_BAG => self.keys.push(SigningKey::from_pkcs8(value)?),
            // One key is enough, and each costs a derivation.
            SHROUDED_KEY_BAG if self.keys.is_empty() => {
                self.keys.push(key::encrypted(value, Some(passphrase))?);
            }
            SHROUDED_KEY_BAG => return Err(BadPkcs12::Keys),
            CERT_BAG => self.take_certificate(value)?,
            // Revocation lists, secrets: nothing of ours.
            _ => {}
        }
        Ok(())
    }

    /// CertBag.
    fn take_certificate(&mut self, value: &[u8]) -> Result<(), BadPkcs12> {
        let mut fields = Reader::new(value).inside(SEQUENCE)?;
        if fields.expect(OID)? == X509 {
            let der = fields.inside(EXPLICIT_0)?.expect(OCTET_STRING)?;
            self.certificates.push(Certificate::from_der(der)?);
        }
        Ok(())
    }

    fn sorted(self) -> Result<Contents, BadPkcs12> {
        let Ok([key]) = <[SigningKey; 1]>::try_from(self.keys) else {
            return Err(BadPkcs12::Keys);
        };
        let is_own = |certificate: &Certificate| certificate.key() == key.public_key();
        let (mut certificates, others): (Vec<_>, Vec<_>) =
            self.certificates.into_iter().partition(is_own);
        let vouches_for_itself = |it: &Certificate| it.subject() == it.issuer();
        certificates.extend(others.into_iter().filter(|it| !vouches_for_itself(it)));
        Ok(Contents { key, certificates })
    }
}

/// EncryptedContentInfo.
fn decrypted(mut info: Reader<'_>, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadPkcs12> {
    if info.expect(OID)? != DATA {
        return Err(BadPkcs12::Malformed);
    }
    let scheme = key::pbes2(info.inside(SEQUENCE)?)?;
    let ciphertext = info.expect(IMPLICIT_0)?;
    let opened = scheme.decrypt(passphrase, ciphertext);
    opened.map_err(|_| BadPkcs12::WrongPassphrase)
}
