//! What can be wrong with a datagram, and what its sender deserves to hear.

use super::header::{Header, Version};
use super::notify_type::NotifyType;
use super::registry::PayloadType;

/// Why octets are not an IKE header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than a header.
    #[error("shorter than an IKE header")]
    Truncated,
    /// Not IKEv2. The header is as far as it goes: an answer needs its SPIs.
    #[error("IKE version {}", .0.version)]
    MajorVersion(Header),
    /// The length field is not the length of the datagram.
    #[error("length field {claimed}, datagram {actual} octets")]
    BadLength {
        /// What the header says.
        claimed: u32,
        /// Octets received.
        actual: usize,
    },
    /// The initiator's SPI is zero (RFC 7296 section 3.1).
    #[error("initiator's SPI is zero")]
    ZeroInitiatorSpi,
}

/// Why a message, or the inside of an Encrypted payload, could not be parsed.
///
/// The payload types name where it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// The header is wrong.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A payload ends before the fields that it must have.
    #[error("{0} payload is truncated")]
    Truncated(PayloadType),
    /// A length field contradicts what surrounds it or what it surrounds.
    #[error("{0} payload: bad length field")]
    BadLength(PayloadType),
    /// Octets follow the last payload.
    #[error("octets after the last payload")]
    TrailingOctets,
    /// More than [`super::limits::PAYLOADS`].
    #[error("too many payloads")]
    TooManyPayloads,
    /// A payload that occurs at most once occurs again.
    #[error("second {0} payload")]
    DuplicatePayload(PayloadType),
    /// A payload that is not understood and may not be skipped.
    #[error("unsupported critical payload {0}")]
    UnsupportedCritical(PayloadType),
    /// The Encrypted payload is not the last one (RFC 7296 section 3.14).
    #[error("octets after the {0} payload")]
    AfterEncrypted(PayloadType),
    /// An Encrypted payload inside another (RFC 7296 section 3.1).
    #[error("{0} payload inside an Encrypted payload")]
    NestedEncrypted(PayloadType),
    /// Fragment number or total is zero, or the number exceeds the total (RFC 7383 section 2.6).
    #[error("fragment {number} of {total}")]
    BadFragment {
        /// Fragment Number.
        number: u16,
        /// Total Fragments.
        total: u16,
    },
    /// A list that needs an element has none.
    #[error("{0} payload is empty")]
    Empty(PayloadType),
    /// A count field disagrees with what is there.
    #[error("{0} payload: bad count field")]
    BadCount(PayloadType),
    /// A Last Substruc field disagrees with what follows (RFC 7296 section 3.3).
    #[error("SA payload: bad chain of substructures")]
    BadChain,
    /// Proposal numbers do not ascend by one (RFC 7296 section 3.3.1).
    #[error("SA payload: proposal {0} out of order")]
    BadProposalNumber(u8),
    /// More than [`super::limits::PROPOSALS`].
    #[error("SA payload: too many proposals")]
    TooManyProposals,
    /// More than [`super::limits::TRANSFORMS`].
    #[error("SA payload: too many transforms")]
    TooManyTransforms,
    /// Two attributes of one type in one transform (RFC 7296 section 3.3).
    #[error("SA payload: key length given twice")]
    DuplicateAttribute,
    /// An SPI size that the protocol does not have.
    #[error("{payload} payload: SPI of {size} octets")]
    BadSpiSize {
        /// The payload.
        payload: PayloadType,
        /// The size, in octets.
        size: u8,
    },
    /// A Delete payload for a protocol that has no SAs here (RFC 7296 section 3.11).
    #[error("Delete payload for protocol {0}")]
    BadProtocol(u8),
    /// A nonce outside [`super::limits::NONCE`].
    #[error("nonce of {0} octets")]
    BadNonceLength(usize),
    /// An address identity that is not as long as an address.
    #[error("{0} payload: address of the wrong length")]
    BadIdentification(PayloadType),
    /// A traffic selector that ends before it begins.
    #[error("{0} payload: inverted range")]
    BadRange(PayloadType),
    /// More than [`super::limits::CONFIG_ATTRIBUTES`].
    #[error("Configuration payload: too many attributes")]
    TooManyAttributes,
    /// An EAP message whose length is not that of its payload, or too short for its code.
    #[error("malformed EAP message")]
    BadEap,
}

/// The notify that a fault deserves, where an answer is due at all.
///
/// Whether one may be sent is for the endpoint to decide: unauthenticated
/// datagrams mostly deserve silence (RFC 7296 section 2.21).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// Its type.
    pub kind: NotifyType,
    /// Its data, where the type has some.
    pub data: Option<u8>,
}

impl Complaint {
    /// The data as the octets of a notify.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.data.as_slice()
    }
}

impl HeaderError {
    /// A constant name, for counters.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated => "header-truncated",
            Self::MajorVersion(_) => "major-version",
            Self::BadLength { .. } => "header-length",
            Self::ZeroInitiatorSpi => "zero-initiator-spi",
        }
    }

    /// What to answer: only a version above ours has an answer (RFC 7296 section 2.5).
    #[must_use]
    pub fn complaint(&self) -> Option<Complaint> {
        match self {
            Self::MajorVersion(header) if header.version.major > Version::MAJOR => {
                let kind = NotifyType::INVALID_MAJOR_VERSION;
                Some(Complaint { kind, data: Some(Version::MAJOR) })
            }
            Self::MajorVersion(_)
            | Self::Truncated
            | Self::BadLength { .. }
            | Self::ZeroInitiatorSpi => None,
        }
    }
}

impl ParseError {
    /// A constant name, for counters.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Header(error) => error.reason(),
            Self::Truncated(_) => "truncated",
            Self::BadLength(_) => "bad-length",
            Self::TrailingOctets => "trailing-octets",
            Self::TooManyPayloads => "too-many-payloads",
            Self::DuplicatePayload(_) => "duplicate-payload",
            Self::UnsupportedCritical(_) => "unsupported-critical",
            Self::AfterEncrypted(_) => "after-encrypted",
            Self::NestedEncrypted(_) => "nested-encrypted",
            Self::BadFragment { .. } => "bad-fragment",
            Self::Empty(_) => "empty-payload",
            Self::BadCount(_) => "bad-count",
            Self::BadChain => "bad-chain",
            Self::BadProposalNumber(_) => "bad-proposal-number",
            Self::TooManyProposals => "too-many-proposals",
            Self::TooManyTransforms => "too-many-transforms",
            Self::DuplicateAttribute => "duplicate-attribute",
            Self::BadSpiSize { .. } => "bad-spi-size",
            Self::BadProtocol(_) => "bad-protocol",
            Self::BadNonceLength(_) => "bad-nonce-length",
            Self::BadIdentification(_) => "bad-identification",
            Self::BadRange(_) => "bad-range",
            Self::TooManyAttributes => "too-many-attributes",
            Self::BadEap => "bad-eap",
        }
    }

    /// What to answer to an authentic request: everything without a notify of
    /// its own is INVALID_SYNTAX (RFC 7296 section 3.10.1).
    #[must_use]
    pub fn complaint(&self) -> Option<Complaint> {
        match self {
            Self::Header(error) => error.complaint(),
            Self::UnsupportedCritical(kind) => Some(Complaint {
                kind: NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
                data: Some(kind.0),
            }),
            Self::Truncated(_)
            | Self::BadLength(_)
            | Self::TrailingOctets
            | Self::TooManyPayloads
            | Self::DuplicatePayload(_)
            | Self::AfterEncrypted(_)
            | Self::NestedEncrypted(_)
            | Self::BadFragment { .. }
            | Self::Empty(_)
            | Self::BadCount(_)
            | Self::BadChain
            | Self::BadProposalNumber(_)
            | Self::TooManyProposals
            | Self::TooManyTransforms
            | Self::DuplicateAttribute
            | Self::BadSpiSize { .. }
            | Self::BadProtocol(_)
            | Self::BadNonceLength(_)
            | Self::BadIdentification(_)
            | Self::BadRange(_)
            | Self::TooManyAttributes
            | Self::BadEap => Some(Complaint { kind: NotifyType::INVALID_SYNTAX, data: None }),
        }
    }
}
