//! Making certificates and revocation lists, for a first set-up and for tests.

use std::net::IpAddr;
use std::time::SystemTime;

use crypto::{CryptoError, HashAlg, KeyKind, Provider, Scheme, Signer, SigningKey, sha1_name};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
};
use time::OffsetDateTime;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::{Certificate, system_time};
use crate::crl::Crl;
use crate::der::{IA5_STRING, PRINTABLE_STRING};
use crate::dn::Dn;
use crate::refusal::BadCertificate;

pub use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints};

/// What a certificate is to say.
#[derive(Clone)]
pub struct Request {
    /// Whom it is for.
    pub subject: Dn,
    /// Other names of the same.
    pub names: Vec<AlternativeName>,
    /// From when until when.
    pub validity: (SystemTime, SystemTime),
    /// Whether it is that of an authority.
    pub role: Role,
    /// Extended key usages; RFC 4945 section 5.1.3.12 wants none.
    pub extended_key_usages: Vec<ExtendedKeyUsagePurpose>,
    /// What an authority may vouch for.
    pub name_constraints: Option<NameConstraints>,
    /// Where its revocation list can be had.
    pub crl_uri: Option<String>,
}

/// Whose certificate it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A peer's: its key signs exchanges.
    Peer,
    /// An authority's: its key signs certificates. At the most so many more
    /// authorities may follow.
    Authority(Option<u8>),
    /// One whose key may do neither, to see it refused.
    Encipherment,
}

/// A name in subjectAltName.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AlternativeName {
    /// dNSName
    Dns(String),
    /// rfc822Name
    Email(String),
    /// iPAddress
    Address(IpAddr),
}

/// A certificate could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CannotIssue {
    /// rcgen refuses.
    #[error("the certificate cannot be made: {0}")]
    Request(String),
    /// What was made cannot be read.
    #[error(transparent)]
    Made(#[from] BadCertificate),
    /// The module makes no such key.
    #[error(transparent)]
    Key(#[from] CryptoError),
    /// Keys of this kind are not issued for.
    #[error("certificates with keys of this kind are not made here")]
    Kind,
    /// The authority's name does not come out as it is in its certificate, so
    /// that nobody would find the one by the other.
    #[error("the name of the authority is one that cannot be written as it is")]
    Issuer,
}

impl From<rcgen::Error> for CannotIssue {
    fn from(error: rcgen::Error) -> Self {
        Self::Request(error.to_string())
    }
}

/// A certificate that a list revokes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// Its serial number, as in DER.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub since: SystemTime,
}

/// What a list revokes, and its number: what the next one is to follow.
///
/// # Errors
/// [`BadCertificate::RevocationList`].
pub fn entries(list: &[u8]) -> Result<(Vec<Revoked>, u64), BadCertificate> {
    let read = CertificateRevocationList::from_der(list);
    let (_, read) = read.map_err(|_| BadCertificate::RevocationList)?;
    let mut revoked = Vec::new();
    for entry in read.iter_revoked_certificates() {
        let since = system_time(entry.revocation_date)?;
        revoked.push(Revoked { serial: entry.raw_serial().to_vec(), since });
    }
    let number = read.crl_number().and_then(|number| number.to_string().parse().ok());
    Ok((revoked, number.unwrap_or(0)))
}

/// A certificate of an authority with its key.
pub struct Authority<'a> {
    /// Its certificate.
    pub certificate: &'a Certificate,
    /// Its key.
    pub key: &'a SigningKey,
}

/// A certificate that vouches for itself.
///
/// # Errors
/// [`CannotIssue`].
pub fn self_signed(
    request: &Request,
    key: &SigningKey,
    provider: &mut Provider,
) -> Result<Certificate, CannotIssue> {
    let made = parameters(request, key, provider)?.self_signed(&Key::new(key)?)?;
    Ok(Certificate::from_der(made.der())?)
}

impl Authority<'_> {
    /// A certificate for `key`, which need only be public.
    ///
    /// # Errors
    /// [`CannotIssue`].
    pub fn issue(
        &self,
        request: &Request,
        key: &SigningKey,
        provider: &mut Provider,
    ) -> Result<Certificate, CannotIssue> {
        self.issue_with(Vec::new(), request, key, provider)
    }

    /// A certificate with more extensions than a request can name.
    ///
    /// # Errors
    /// [`CannotIssue`].
    pub fn issue_with(
        &self,
        extensions: Vec<CustomExtension>,
        request: &Request,
        key: &SigningKey,
        provider: &mut Provider,
    ) -> Result<Certificate, CannotIssue> {
        let mut parameters = parameters(request, key, provider)?;
        parameters.custom_extensions = extensions;
        let own = self.parameters();
        let issuer = Issuer::from_params(&own, Key::new(self.key)?);
        let made = Certificate::from_der(parameters.signed_by(&Key::new(key)?, &issuer)?.der())?;
        let is_findable = made.issuer().as_der() == self.certificate.subject().as_der();
        if is_findable { Ok(made) } else { Err(CannotIssue::Issuer) }
    }

    /// A list that revokes these certificates as of its making.
    ///
    /// # Errors
    /// [`CannotIssue`].
    pub fn revoke(
        &self,
        certificates: &[&Certificate],
        updates: (SystemTime, SystemTime),
        number: u64,
    ) -> Result<(Crl, Vec<u8>), CannotIssue> {
        let since = updates.0;
        let revoked =
            |certificate: &&Certificate| Revoked { serial: certificate.serial().to_vec(), since };
        self.list(&certificates.iter().map(revoked).collect::<Vec<_>>(), updates, number)
    }

    /// A list of these entries.
    ///
    /// # Errors
    /// [`CannotIssue`].
    pub fn list(
        &self,
        revoked: &[Revoked],
        updates: (SystemTime, SystemTime),
        number: u64,
    ) -> Result<(Crl, Vec<u8>), CannotIssue> {
        self.list_for(None, revoked, updates, number)
    }

    /// A list for those certificates only that name this place of it
    /// (RFC 5280 section 5.2.5).
    ///
    /// # Errors
    /// [`CannotIssue`].
    pub fn list_for(
        &self,
        uri: Option<&str>,
        revoked: &[Revoked],
        updates: (SystemTime, SystemTime),
        number: u64,
    ) -> Result<(Crl, Vec<u8>), CannotIssue> {
        let point = |uri: &str| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope: None,
        };
        let entry = |revoked: &Revoked| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&revoked.serial),
            revocation_time: date(revoked.since),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date(updates.0),
            next_update: date(updates.1),
            crl_number: number.into(),
            issuing_distribution_point: uri.map(point),
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: key_id(self.key),
        };
        let own = self.parameters();
        let made = list.signed_by(&Issuer::from_params(&own, Key::new(self.key)?))?;
        Ok((Crl::from_der(made.der())?, made.der().to_vec()))
    }

    /// As much as an issuer needs of them.
    fn parameters(&self) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished_name(self.certificate.subject());
        parameters.key_identifier_method = key_id(self.key);
        parameters.key_usages = authority_usages();
        parameters
    }
}

fn parameters(
    request: &Request,
    key: &SigningKey,
    provider: &mut Provider,
) -> Result<CertificateParams, CannotIssue> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = distinguished_name(&request.subject);
    parameters.subject_alt_names =
        request.names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    (parameters.not_before, parameters.not_after) =
        (date(request.validity.0), date(request.validity.1));
    // 126 bits, positive (RFC 5280 section 4.1.2.2 allows 20 octets).
    let mut serial: [u8; 16] = provider.array();
    serial[0] = serial[0] & 0x3f | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.key_identifier_method = key_id(key);
    parameters.use_authority_key_identifier_extension = true;
    parameters.extended_key_usages.clone_from(&request.extended_key_usages);
    parameters.name_constraints.clone_from(&request.name_constraints);
    let points = request.crl_uri.iter().map(|uri| CrlDistributionPoint { uris: vec![uri.clone()] });
    parameters.crl_distribution_points = points.collect();
    (parameters.is_ca, parameters.key_usages) = match request.role {
        Role::Peer => (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]),
        Role::Authority(None) => (IsCa::Ca(BasicConstraints::Unconstrained), authority_usages()),
        Role::Authority(Some(len)) => {
            (IsCa::Ca(BasicConstraints::Constrained(len)), authority_usages())
        }
        Role::Encipherment => (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::KeyEncipherment]),
    };
    Ok(parameters)
}

fn authority_usages() -> Vec<KeyUsagePurpose> {
    vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
}

fn alternative_name(name: &AlternativeName) -> Result<SanType, CannotIssue> {
    Ok(match name {
        AlternativeName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        AlternativeName::Email(address) => SanType::Rfc822Name(address.as_str().try_into()?),
        AlternativeName::Address(address) => SanType::IpAddress(*address),
    })
}

fn distinguished_name(dn: &Dn) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, tag, text) in dn.strings() {
        let value = match tag {
            PRINTABLE_STRING => text.as_str().try_into().ok().map(DnValue::PrintableString),
            IA5_STRING => text.as_str().try_into().ok().map(DnValue::Ia5String),
            _ => None,
        };
        name.push(DnType::from_oid(&kind), value.unwrap_or(DnValue::Utf8String(text)));
    }
    name
}

/// RFC 5280 section 4.2.1.2, method 1.
fn key_id(key: &SigningKey) -> KeyIdMethod {
    KeyIdMethod::PreSpecified(sha1_name(key.public_key().octets()).to_vec())
}

/// Dates of certificates are whole seconds, and end with the year 9999.
fn date(time: SystemTime) -> OffsetDateTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX).min(253_402_300_799);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A key as rcgen wants it.
struct Key<'a> {
    key: &'a SigningKey,
    algorithm: &'static SignatureAlgorithm,
    scheme: Scheme,
}

impl<'a> Key<'a> {
    fn new(key: &'a SigningKey) -> Result<Self, CannotIssue> {
        let asn1 = crypto::EcdsaForm::Asn1;
        let (algorithm, scheme) = match key.public_key().kind() {
            KeyKind::Rsa => (&rcgen::PKCS_RSA_SHA256, Scheme::RsaPkcs1(HashAlg::Sha256)),
            KeyKind::EcdsaP256 => {
                (&rcgen::PKCS_ECDSA_P256_SHA256, Scheme::Ecdsa(HashAlg::Sha256, asn1))
            }
            KeyKind::EcdsaP384 => {
                (&rcgen::PKCS_ECDSA_P384_SHA384, Scheme::Ecdsa(HashAlg::Sha384, asn1))
            }
            KeyKind::Ed25519 => (&rcgen::PKCS_ED25519, Scheme::Ed25519),
            KeyKind::EcdsaP521 => return Err(CannotIssue::Kind),
        };
        Ok(Self { key, algorithm, scheme })
    }
}

impl PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key().octets()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(self.scheme, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
