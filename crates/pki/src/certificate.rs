//! An X.509 certificate: what IKE wants to know of it (RFC 5280, RFC 4945).

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crypto::PublicKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    DistributionPointName, ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::dn::Dn;
use crate::name::{AlternativeNames, Name};
use crate::refusal::BadCertificate;

/// The largest certificate that is read, in octets.
pub(crate) const MAX_CERTIFICATE: usize = 16 * 1024;

/// A certificate that could be read. Whether it is to be trusted is another
/// question: see [`crate::Trust`].
#[derive(Clone)]
pub struct Certificate {
    der: Box<[u8]>,
    subject: Dn,
    issuer: Dn,
    spki: Box<[u8]>,
    key: PublicKey,
    names: AlternativeNames,
    key_id: Option<Box<[u8]>>,
    not_before: SystemTime,
    not_after: SystemTime,
    serial: Box<[u8]>,
    is_authority: bool,
    usage: Usage,
    crl_uris: Vec<String>,
    /// The places of complete lists of its issuer's own; `None`: it names none.
    places: Option<Vec<String>>,
}

/// What the extensions of a certificate allow its key, for people to read;
/// `None` where there is no such extension.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usages {
    /// KeyUsage, in the words of RFC 5280 section 4.2.1.3.
    pub key: Option<Vec<&'static str>>,
    /// ExtendedKeyUsage: words, or OIDs of those without one.
    pub extended: Option<Vec<String>>,
}

/// The KeyUsage extension; all may be done without it.
#[derive(Clone, Copy)]
struct Usage {
    may_sign: bool,
    may_issue: bool,
}

/// All else is read from it.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Certificate {
    /// The certificate in DER.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        if der.len() > MAX_CERTIFICATE {
            return Err(BadCertificate::TooLarge);
        }
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| BadCertificate::Malformed)?;
        if !rest.is_empty() {
            return Err(BadCertificate::Malformed);
        }
        let spki = x509.public_key().raw;
        let key = PublicKey::from_spki(spki)?;
        let name = |octets| Dn::from_der(octets).map_err(|_| BadCertificate::Names);
        let mut certificate = Self {
            subject: name(x509.subject().as_raw())?,
            issuer: name(x509.issuer().as_raw())?,
            spki: spki.into(),
            key,
            names: AlternativeNames::default(),
            key_id: None,
            not_before: system_time(x509.validity().not_before)?,
            not_after: system_time(x509.validity().not_after)?,
            serial: x509.raw_serial().into(),
            is_authority: false,
            usage: Usage { may_sign: true, may_issue: true },
            crl_uris: Vec::new(),
            places: None,
            der: der.into(),
        };
        for extension in x509.extensions() {
            certificate.take(extension.parsed_extension())?;
        }
        Ok(certificate)
    }

    fn take(&mut self, extension: &ParsedExtension<'_>) -> Result<(), BadCertificate> {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().try_for_each(|name| self.take_name(name))?;
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.key_id = Some(id.0.into()),
            ParsedExtension::BasicConstraints(constraints) => self.is_authority = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                self.usage = Usage {
                    may_sign: usage.digital_signature() || usage.non_repudiation(),
                    may_issue: usage.key_cert_sign(),
                };
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                let places = self.places.get_or_insert_default();
                for point in points.iter() {
                    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point
                    {
                        let uris = names.iter().filter_map(|name| match name {
                            GeneralName::URI(uri) => Some((*uri).to_owned()),
                            _ => None,
                        });
                        let uris: Vec<_> = uris.collect();
                        if point.reasons.is_none() && point.crl_issuer.is_none() {
                            places.extend(uris.iter().cloned());
                        }
                        self.crl_uris.extend(uris);
                    }
                }
            }
            ParsedExtension::ParseError { .. } => return Err(BadCertificate::Malformed),
            _ => {}
        }
        Ok(())
    }

    fn take_name(&mut self, name: &GeneralName<'_>) -> Result<(), BadCertificate> {
        match name {
            GeneralName::DNSName(name) => self.names.dns.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.names.emails.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => {
                self.names.addresses.push(address(octets).ok_or(BadCertificate::Names)?);
            }
            GeneralName::Invalid(..) => return Err(BadCertificate::Names),
            _ => {}
        }
        Ok(())
    }

    /// In DER.
    #[must_use]
    pub const fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it was issued to; may be empty.
    #[must_use]
    pub const fn subject(&self) -> &Dn {
        &self.subject
    }

    /// Who issued it.
    #[must_use]
    pub const fn issuer(&self) -> &Dn {
        &self.issuer
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub const fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// When it begins and ends to be valid.
    #[must_use]
    pub const fn validity(&self) -> (SystemTime, SystemTime) {
        (self.not_before, self.not_after)
    }

    /// Its serial number, as in DER.
    #[must_use]
    pub const fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// Whether it is that of an authority (RFC 5280 section 4.2.1.9).
    #[must_use]
    pub const fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// Whether its key may sign an exchange (RFC 4945 section 5.1.3.2).
    #[must_use]
    pub const fn may_sign(&self) -> bool {
        self.usage.may_sign
    }

    /// Whether its key may sign certificates.
    #[must_use]
    pub const fn may_issue(&self) -> bool {
        self.is_authority && self.usage.may_issue
    }

    /// What its key may be used for.
    #[must_use]
    pub fn usages(&self) -> Usages {
        let mut usages = Usages::default();
        let Ok((_, x509)) = X509Certificate::from_der(&self.der) else { return usages };
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => usages.key = Some(key_usages(usage)),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    usages.extended = Some(extended_key_usages(usage));
                }
                _ => {}
            }
        }
        usages
    }

    /// Where its revocation list can be had.
    #[must_use]
    pub fn crl_uris(&self) -> &[String] {
        &self.crl_uris
    }

    /// Where complete lists of its issuer's own are; `None` if it does not say
    /// that lists have places.
    pub(crate) fn places(&self) -> Option<&[String]> {
        self.places.as_deref()
    }

    /// A name that it is for: the first alternative one, or the subject.
    #[must_use]
    pub fn first_name(&self) -> Name<'_> {
        let AlternativeNames { dns, emails, addresses } = &self.names;
        match (dns.as_slice(), emails.as_slice(), addresses.as_slice()) {
            ([name, ..], ..) => Name::Dns(name),
            ([], [email, ..], _) => Name::Email(email),
            ([], [], [address, ..]) => Name::Address(*address),
            ([], [], []) => Name::Dn(self.subject.clone()),
        }
    }

    /// Its alternative names, as text.
    #[must_use]
    pub fn alternative_names(&self) -> Vec<String> {
        let addresses = self.names.addresses.iter().map(IpAddr::to_string);
        self.names.dns.iter().chain(&self.names.emails).cloned().chain(addresses).collect()
    }

    /// Whether it is for `name`. The common name does not count: RFC 4945
    /// section 3.1 matches an identity with subjectAltName, or with the whole
    /// subject.
    #[must_use]
    pub fn is_for(&self, name: &Name<'_>) -> bool {
        match name {
            Name::Address(address) => self.names.addresses.contains(address),
            Name::Dns(dns) => self.names.has_dns(dns),
            Name::Email(email) => self.names.has_email(email),
            Name::Dn(dn) => !dn.is_empty() && self.subject == *dn,
            Name::KeyId(id) => self.key_id.as_deref() == Some(id),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject)
    }
}

fn key_usages(usage: &KeyUsage) -> Vec<&'static str> {
    let all = [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ];
    all.into_iter().filter_map(|(is_set, word)| is_set.then_some(word)).collect()
}

fn extended_key_usages(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let words = known.into_iter().filter(|&(is_set, _)| is_set).map(|(_, word)| word.to_owned());
    let others = usage.other.iter().map(|oid| match oid.to_id_string().as_str() {
        "1.3.6.1.5.5.7.3.17" => "ipsecIKE".to_owned(),
        "1.3.6.1.5.5.8.2.2" => "ikeIntermediate".to_owned(),
        other => other.to_owned(),
    });
    words.chain(others).collect()
}

/// The subject of what is perhaps no certificate that could be used.
pub(crate) fn subject_of(der: &[u8]) -> Option<Dn> {
    if der.len() > MAX_CERTIFICATE {
        return None;
    }
    let (_, x509) = X509Certificate::from_der(der).ok()?;
    Dn::from_der(x509.subject().as_raw()).ok()
}

/// Dates before 1970 are as good as 1970.
pub(crate) fn system_time(time: ASN1Time) -> Result<SystemTime, BadCertificate> {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    let since = Duration::from_secs(seconds);
    SystemTime::UNIX_EPOCH.checked_add(since).ok_or(BadCertificate::Malformed)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}
