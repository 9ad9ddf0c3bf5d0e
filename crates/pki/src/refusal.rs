//! Why a certificate does not convince: one reason for each check.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, subject_of};
use crate::dn::Dn;

/// The longest subject that is told, in characters.
const MAX_SUBJECT: usize = 256;

/// A check of a peer's certificates that has failed, and on which of them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
pub struct Refused {
    /// Which check.
    pub check: Refusal,
    /// Whose certificate it is, of the peer, an intermediate authority or a
    /// root; `None` where that is not certain, or it has no subject.
    pub subject: Option<Subject>,
}

impl Refused {
    /// The check has failed on this certificate.
    pub(crate) fn on(check: Refusal, certificate: &Certificate) -> Self {
        Self { check, subject: Subject::of(certificate.subject()) }
    }

    /// The check has failed on these octets, which may be no certificate.
    pub(crate) fn on_der(check: Refusal, der: &[u8]) -> Self {
        Self { check, subject: subject_of(der).as_ref().and_then(Subject::of) }
    }
}

impl From<Refusal> for Refused {
    fn from(check: Refusal) -> Self {
        Self { check, subject: None }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.check)?;
        self.subject.as_ref().map_or(Ok(()), |subject| write!(f, " ({subject})"))
    }
}

/// A distinguished name for people to read: of one line and bounded length,
/// with nothing that a terminal would obey, whoever has made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Subject(Box<str>);

impl Subject {
    /// `None` if it names nobody.
    #[must_use]
    pub fn of(name: &Dn) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let mut text = name.to_string();
        if let Some((end, _)) = text.char_indices().nth(MAX_SUBJECT) {
            text.truncate(end);
            text.push_str("...");
        }
        Some(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which check of a peer's certificate failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The peer sent none, and none is configured.
    #[error("the peer sent no certificate that can be used")]
    Missing,
    /// More certificates, or larger ones, than are looked at.
    #[error("the peer's certificates are too many or too large")]
    TooMuch,
    /// It cannot be read.
    #[error("the peer's certificate is malformed")]
    Malformed,
    /// Its key, or one of the chain, is too short or of an unknown kind.
    #[error("a key in the peer's certificates is too short or of an unknown kind")]
    Key,
    /// It was signed with an algorithm that is too weak or not known.
    #[error("the peer's certificate is signed with an algorithm that is not accepted")]
    Algorithm,
    /// No chain leads to a configured certificate authority.
    #[error("no configured certificate authority vouches for the peer's certificate")]
    UnknownIssuer,
    /// A signature in the chain is wrong.
    #[error("a signature in the peer's chain of certificates is wrong")]
    Signature,
    /// A certificate of the chain is not valid any more.
    #[error("a certificate of the peer has expired")]
    Expired,
    /// A certificate of the chain is not valid yet.
    #[error("a certificate of the peer is not valid yet")]
    NotYetValid,
    /// It was revoked.
    #[error("a certificate of the peer is revoked")]
    Revoked,
    /// There is no good revocation list, and the configuration wants one.
    #[error("there is no current revocation list for a certificate of the peer")]
    NoRevocationList,
    /// A revocation list cannot be used.
    #[error("a revocation list is not signed by the authority that it is for")]
    RevocationList,
    /// Its key usage does not allow signatures, or that of an authority to
    /// sign certificates (RFC 4945 section 5.1.3.2).
    #[error("the key usage of a certificate of the peer forbids this use")]
    KeyUsage,
    /// Its extended key usage does not allow IKE (RFC 4945 section 5.1.3.12).
    #[error("the extended key usage of a certificate of the peer forbids IKE")]
    ExtendedKeyUsage,
    /// A certificate of an authority where that of a peer belongs, or the reverse.
    #[error("a certificate of the peer is (or is not) that of an authority: basic constraints")]
    BasicConstraints,
    /// The chain is longer than an authority allows, or than we follow.
    #[error("the peer's chain of certificates is longer than allowed")]
    PathLength,
    /// An authority may not vouch for such names.
    #[error("the name constraints of an authority forbid the names of the peer's certificate")]
    NameConstraints,
    /// A critical extension is not known.
    #[error("a certificate of the peer has a critical extension that is not supported")]
    CriticalExtension,
    /// The certificate is somebody else's.
    #[error("the peer's certificate is not for the identity that it claims")]
    Identity,
    /// A raw public key that is not configured.
    #[error("the peer's raw public key is not a configured one")]
    UnknownKey,
}

/// Why a configured certificate or revocation list cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCertificate {
    /// It cannot be read.
    #[error("not an X.509 certificate")]
    Malformed,
    /// It is longer than 16 KiB.
    #[error("the certificate is too large")]
    TooLarge,
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] crypto::BadKey),
    /// It has no alternative names or names that cannot be understood.
    #[error("the certificate's names are malformed")]
    Names,
    /// A certificate of a peer where that of an authority belongs.
    #[error("this is not the certificate of an authority (basic constraints)")]
    NotAnAuthority,
    /// A revocation list cannot be read.
    #[error("not a certificate revocation list, or one of a kind that is not supported")]
    RevocationList,
}

impl From<BadCertificate> for Refusal {
    fn from(bad: BadCertificate) -> Self {
        match bad {
            BadCertificate::Malformed
            | BadCertificate::Names
            | BadCertificate::NotAnAuthority
            | BadCertificate::RevocationList => Self::Malformed,
            BadCertificate::TooLarge => Self::TooMuch,
            BadCertificate::Key(_) => Self::Key,
        }
    }
}
