//! Why a certificate does not convince: one reason for each check.

use serde::{Deserialize, Serialize};

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
