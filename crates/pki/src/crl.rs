//! Certificate revocation lists (RFC 5280 section 5).

use std::fmt;
use std::time::SystemTime;

use crypto::Scheme as SignatureScheme;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::{Certificate, system_time};
use crate::der::{BIT_STRING, Malformed, Reader, SEQUENCE};
use crate::dn::Dn;
use crate::refusal::BadCertificate;
use crate::vouched::{Mark, Trace};

/// The largest list that is read, in octets.
pub(crate) const MAX_CRL: usize = 16 * 1024 * 1024;

/// A revocation list. Its signature is checked when a chain leads to its issuer.
pub struct Crl {
    list: CertRevocationList<'static>,
    issuer: Dn,
    issuer_der: Box<[u8]>,
    issuer_mark: Mark,
    this_update: SystemTime,
    next_update: Option<SystemTime>,
    revoked: usize,
    scope: Scope,
    /// SHA-256 of its octets.
    digest: [u8; 32],
}

impl PartialEq for Crl {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Crl {
    /// The list in DER.
    ///
    /// # Errors
    /// [`BadCertificate::RevocationList`], also for delta and indirect lists.
    pub fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        const BAD: BadCertificate = BadCertificate::RevocationList;
        if der.len() > MAX_CRL {
            return Err(BadCertificate::TooLarge);
        }
        let (rest, read) = CertificateRevocationList::from_der(der).map_err(|_| BAD)?;
        if !rest.is_empty() {
            return Err(BAD);
        }
        let issuer_der = read.issuer().as_raw();
        let issuer = Dn::from_der(issuer_der).map_err(|_| BAD)?;
        let this_update = system_time(read.last_update())?;
        let next_update = read.next_update().map(system_time).transpose()?;
        let revoked = read.iter_revoked_certificates().count();
        let scope = Scope::of(&read);
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| BAD)?.into();
        let (issuer_mark, digest) = (Mark::of(issuer_der), crypto::sha256(der));
        let issuer_der = issuer_der.into();
        Ok(Self {
            list,
            issuer,
            issuer_der,
            issuer_mark,
            this_update,
            next_update,
            revoked,
            scope,
            digest,
        })
    }

    /// The list in DER, if one of these authorities has signed it. What comes
    /// from where anybody could have put it is read so.
    ///
    /// # Errors
    /// [`BadCertificate::RevocationList`].
    pub fn signed_by(der: &[u8], authorities: &[Certificate]) -> Result<Self, BadCertificate> {
        const BAD: BadCertificate = BadCertificate::RevocationList;
        let list = Self::from_der(der)?;
        let signed = Signed::from_der(der).map_err(|_| BAD)?;
        let scheme = SignatureScheme::from_algorithm_identifier(signed.algorithm).ok_or(BAD)?;
        let has_signed = |authority: &&Certificate| {
            authority.subject().as_der() == &*list.issuer_der
                && authority.may_issue()
                && authority.key().verify(scheme, signed.content, signed.signature).is_ok()
        };
        if authorities.iter().any(|it| has_signed(&it)) { Ok(list) } else { Err(BAD) }
    }

    /// Who issued it.
    #[must_use]
    pub const fn issuer(&self) -> &Dn {
        &self.issuer
    }

    /// How many certificates it revokes.
    #[must_use]
    pub const fn revoked(&self) -> usize {
        self.revoked
    }

    /// When it was issued, and when there will be another.
    #[must_use]
    pub const fn updates(&self) -> (SystemTime, Option<SystemTime>) {
        (self.this_update, self.next_update)
    }

    /// Whether it speaks about this certificate.
    pub(crate) fn is_for(&self, certificate: &Trace) -> bool {
        self.issuer_mark == certificate.issuer && self.scope.covers(certificate)
    }

    /// Whether it is out by now, and not out of date.
    pub(crate) fn is_current(&self, time: SystemTime) -> bool {
        self.this_update <= time && self.next_update.is_some_and(|next| time <= next)
    }

    /// Whether it revokes this certificate, which it [is for](Self::is_for). It
    /// has its entries sorted: they are not gone through.
    pub(crate) fn revokes(&self, certificate: &Trace) -> bool {
        matches!(self.list.find_serial(&certificate.serial), Ok(Some(_)))
    }

    pub(crate) const fn list(&self) -> &CertRevocationList<'static> {
        &self.list
    }
}

/// Which certificates of its issuer a list is for: its issuing distribution
/// point (RFC 5280 section 5.2.5).
#[derive(Default)]
struct Scope {
    /// The places that it names for itself; `None`: it is for all.
    places: Option<Vec<Mark>>,
    only_peers: bool,
    only_authorities: bool,
}

impl Scope {
    fn of(list: &CertificateRevocationList<'_>) -> Self {
        let is_scope = |it: &&X509Extension<'_>| it.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
        let Some(extension) = list.extensions().iter().find(is_scope) else {
            return Self::default();
        };
        let nowhere = Self { places: Some(Vec::new()), ..Self::default() };
        let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
            return nowhere;
        };
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some(Mark::of(uri.as_bytes())),
            _ => None,
        };
        let places = match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => names.iter().filter_map(uri).collect(),
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) | None => Vec::new(),
        };
        Self {
            places: Some(places),
            only_peers: point.only_contains_user_certs,
            only_authorities: point.only_contains_ca_certs,
        }
    }

    /// A list for other certificates must not pass for that of this one: it
    /// may leave out what the right one revokes (RFC 4945 section 5.1.3.13). As
    /// in the library, which looks into no other list.
    fn covers(&self, certificate: &Trace) -> bool {
        let is_right_kind =
            if certificate.may_issue { !self.only_peers } else { !self.only_authorities };
        let is_right_place = match (&self.places, &certificate.places) {
            (Some(own), Some(named)) => named.iter().any(|place| own.contains(place)),
            (None, _) | (_, None) => true,
        };
        is_right_kind && is_right_place
    }
}

/// A list as RFC 5280 section 5.1 has it.
struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn from_der(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(der).inside(SEQUENCE)?;
        let (content, algorithm) = (fields.next()?.whole, fields.next()?.whole);
        let bits = fields.expect(BIT_STRING)?;
        let signature = bits.strip_prefix(&[0]).ok_or(Malformed)?;
        Ok(Self { content, algorithm, signature })
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({})", self.issuer)
    }
}
