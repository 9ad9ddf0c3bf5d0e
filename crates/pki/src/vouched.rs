//! What is kept of a proof when its certificates are gone: enough to see
//! whether it would be accepted today.

use webpki::VerifiedPath;

use crate::certificate::Certificate;
use crate::der::{Reader, SEQUENCE};

/// Stands for octets that are not kept: the first half of their SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(pub [u8; 16]);

impl Mark {
    pub(crate) fn of(octets: &[u8]) -> Self {
        let digest = crypto::sha256(octets);
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    /// Of the key in a SubjectPublicKeyInfo. The header does not count, since
    /// the library keeps none.
    pub(crate) fn of_key(spki: &[u8]) -> Self {
        Self::of(Reader::new(spki).expect(SEQUENCE).unwrap_or(spki))
    }
}

/// Who vouched for a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouched {
    /// The key of the authority; of a configured certificate or raw key, itself.
    pub by: Mark,
    /// The certificates below the authority, the peer's own last.
    pub certificates: Vec<Trace>,
}

/// What revocation lists know a certificate by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The name of who issued it.
    pub issuer: Mark,
    /// Its serial number, as in DER.
    pub serial: Box<[u8]>,
    /// Whether its key may sign certificates.
    pub may_issue: bool,
    /// Whether it names a place for its list, of whatever kind.
    pub names_list: bool,
    /// The places of complete lists of its issuer's own; `None`: it names none.
    pub places: Option<Vec<Mark>>,
}

impl Vouched {
    /// By itself: it is configured, and no list is asked about it.
    pub(crate) const fn by_itself(by: Mark) -> Self {
        Self { by, certificates: Vec::new() }
    }

    /// By the authority that this path leads to.
    pub(crate) fn by_anchor(path: &VerifiedPath<'_>, certificates: Vec<Trace>) -> Self {
        Self { by: Mark::of(path.anchor().subject_public_key_info.as_ref()), certificates }
    }
}

impl Trace {
    /// Of this certificate.
    #[must_use]
    pub fn of(certificate: &Certificate) -> Self {
        let mark = |place: &String| Mark::of(place.as_bytes());
        Self {
            issuer: Mark::of(certificate.issuer().as_der()),
            serial: certificate.serial().into(),
            may_issue: certificate.may_issue(),
            names_list: !certificate.crl_uris().is_empty(),
            places: certificate.places().map(|places| places.iter().map(mark).collect()),
        }
    }
}
