//! Certificate revocation lists (RFC 5280 section 5).

use std::fmt;
use std::time::SystemTime;

use crypto::Scheme;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::{Certificate, system_time};
use crate::der::{BIT_STRING, Malformed, Reader, SEQUENCE};
use crate::dn::Dn;
use crate::refusal::BadCertificate;

/// The largest list that is read, in octets.
pub(crate) const MAX_CRL: usize = 16 * 1024 * 1024;

/// A revocation list. Its signature is checked when a chain leads to its issuer.
pub struct Crl {
    list: CertRevocationList<'static>,
    issuer: Dn,
    issuer_der: Box<[u8]>,
    this_update: SystemTime,
    next_update: Option<SystemTime>,
    revoked: usize,
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
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| BAD)?.into();
        let (issuer_der, digest) = (issuer_der.into(), crypto::sha256(der));
        Ok(Self { list, issuer, issuer_der, this_update, next_update, revoked, digest })
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
        let scheme = Scheme::from_algorithm_identifier(signed.algorithm).ok_or(BAD)?;
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

    /// Whether it speaks about certificates of this issuer, now.
    pub(crate) fn is_current_for(&self, issuer_der: &[u8], time: SystemTime) -> bool {
        *self.issuer_der == *issuer_der
            && self.this_update <= time
            && self.next_update.is_some_and(|next| time <= next)
    }

    pub(crate) const fn list(&self) -> &CertRevocationList<'static> {
        &self.list
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
