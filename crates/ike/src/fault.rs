//! What can go wrong, by who is to blame and what follows.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::inner::Domain;

/// Why a datagram was dropped without a trace. Nothing that an unauthenticated
/// datagram holds can do more than raise one of these counters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discard {
    /// Not an IKE message: header, length or version.
    Malformed,
    /// Payloads that cannot be parsed.
    BadPayload,
    /// No SA has this SPI.
    UnknownSpi,
    /// The SPI fits, but the integrity check does not.
    NotAuthentic,
    /// A message id outside the window.
    OutsideWindow,
    /// A response that nobody waits for, or to another exchange.
    Unexpected,
    /// A request that repeats one which has been answered; the answer was sent again.
    Retransmission,
    /// An initial message without what its exchange requires.
    MissingPayload,
    /// A cookie that is not ours, or too old.
    BadCookie,
    /// No configuration for these addresses.
    NoConnection,
    /// A limit of half-open SAs.
    Limit,
    /// A message that we sent ourselves.
    Reflected,
    /// An exchange that does not fit the SA's stage.
    WrongExchange,
    /// A fragment of a message that is not complete, kept or of no use.
    Fragment,
}

impl Discard {
    /// Every reason, for counters.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::BadPayload,
        Self::UnknownSpi,
        Self::NotAuthentic,
        Self::OutsideWindow,
        Self::Unexpected,
        Self::Retransmission,
        Self::MissingPayload,
        Self::BadCookie,
        Self::NoConnection,
        Self::Limit,
        Self::Reflected,
        Self::WrongExchange,
        Self::Fragment,
    ];

    /// Whether it was no IKE message that anybody with keys has sent: where
    /// nothing can be lost or injected on the way, that is a sign of corruption
    /// (RFC 9329 section 6.1).
    #[must_use]
    pub const fn is_senseless(self) -> bool {
        match self {
            Self::Malformed | Self::BadPayload | Self::NotAuthentic => true,
            Self::UnknownSpi
            | Self::OutsideWindow
            | Self::Unexpected
            | Self::Retransmission
            | Self::MissingPayload
            | Self::BadCookie
            | Self::NoConnection
            | Self::Limit
            | Self::Reflected
            | Self::WrongExchange
            | Self::Fragment => false,
        }
    }
}

/// How an authentic peer broke the protocol; each has one notify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerFault {
    /// A payload that cannot be parsed, or one that is missing.
    #[error("a payload is malformed or missing")]
    InvalidSyntax,
    /// A critical payload of a type that we do not know.
    #[error("critical payload {0} is not supported")]
    UnsupportedCriticalPayload(u8),
    /// Identity or AUTH are wrong.
    #[error("authentication failed")]
    AuthenticationFailed,
    /// Addresses were rewritten on the way, and the peer forbids it
    /// (RFC 4555 section 3.9).
    #[error("a NAT where there must be none")]
    UnexpectedNat,
}

/// Why a set-up failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Nobody answered.
    #[error("the peer does not answer")]
    Unanswered,
    /// No address of the peer was found by its name.
    #[error("no usable address of the peer was found by its name")]
    Unresolved,
    /// No common algorithms for the IKE SA.
    #[error("the peer accepts none of our IKE proposals")]
    NoIkeProposal,
    /// No common algorithms for the child.
    #[error("the peer accepts none of our ESP proposals")]
    NoEspProposal,
    /// The traffic selectors have nothing in common.
    #[error("the peer accepts none of our traffic selectors")]
    NoTrafficSelectors,
    /// The peer, or our data plane, makes no child in transport mode.
    #[error("transport mode is configured, and the peer or our data plane does not do it")]
    NoTransportMode,
    /// The peer says that our identity or proof is wrong.
    #[error("the peer refused our identity or secret (AUTHENTICATION_FAILED)")]
    RefusedByPeer,
    /// The peer's proof is wrong.
    #[error("the peer's proof of identity is wrong: check the secret or the key")]
    PeerNotAuthentic,
    /// The peer proves itself in another way than configured.
    #[error("the peer authenticates in another way than configured")]
    OtherMethod,
    /// The peer's certificate does not convince.
    #[error("{0}")]
    Certificate(pki::Refused),
    /// Our key makes no signature that the peer can verify.
    #[error("the peer can verify no signature that our key can make")]
    NoCommonSignature,
    /// The peer is somebody else than configured.
    #[error("the peer's identity is not the configured one")]
    WrongIdentity,
    /// There is no secret for the peer's identity.
    #[error("no secret is configured for the peer's identity")]
    NoSecret,
    /// The peer does not use a post-quantum pre-shared key that we have, and one
    /// is required.
    #[error("the peer uses no post-quantum pre-shared key (PPK) that we have, and one is required")]
    NoPpk,
    /// The peer sets up no SA without a child, and there is to be no other.
    #[error(
        "the peer does not set up an SA without a child, which is demanded (childless = \"force\")"
    )]
    NoChildless,
    /// The peer answered with this error notify.
    #[error("the peer answered with error notify {0}")]
    Notify(u16),
    /// The peer has as many SAs as one identity may have.
    #[error("the peer has as many SAs as one identity may have (sas_per_identity)")]
    TooManySas,
    /// The connection has as many SAs as it may have.
    #[error("the connection has as many SAs as it may have (max_sas)")]
    Full,
    /// The peer's identity has an SA already, and may have one only.
    #[error("the peer's identity has an SA already (unique = \"keep\")")]
    NotUnique,
    /// The peer broke the protocol.
    #[error("the peer's message breaks the protocol")]
    Protocol,
    /// The key exchange failed: an invalid public value.
    #[error("the peer's key exchange value is invalid")]
    BadKeyExchange,
    /// The peer gave us no inner address.
    #[error("the peer gave us no inner address (INTERNAL_ADDRESS_FAILURE, or none at all)")]
    NoAddress,
    /// The IKE SA stands but the peer gave no child.
    #[error("the peer set up no child SA")]
    NoChild,
    /// The data plane could not install the child.
    #[error("the data plane could not install the child SA")]
    Plane,
    /// Addresses were rewritten on the way, and the peer forbids it.
    #[error("a NAT is on the way, and the peer allows none (UNEXPECTED_NAT_DETECTED)")]
    UnexpectedNat,
    /// The peer has sent us to another gateway, and we do not go there.
    #[error("redirected too often, or to a gateway that is not known")]
    Redirected,
    /// A command ended it.
    #[error("ended by command")]
    Ended,
}

impl Failure {
    /// Whether an initiator would fail in the same way again, until somebody
    /// changes something at one of both ends.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::NoIkeProposal
            | Self::NoEspProposal
            | Self::NoTrafficSelectors
            | Self::NoTransportMode
            | Self::RefusedByPeer
            | Self::PeerNotAuthentic
            | Self::OtherMethod
            | Self::Certificate(_)
            | Self::NoCommonSignature
            | Self::WrongIdentity
            | Self::NoSecret
            | Self::NoPpk
            | Self::NoChildless
            | Self::TooManySas
            | Self::Full
            | Self::NotUnique
            | Self::UnexpectedNat
            | Self::Redirected => true,
            Self::Unanswered
            | Self::Unresolved
            | Self::Notify(_)
            | Self::Protocol
            | Self::BadKeyExchange
            | Self::NoAddress
            | Self::NoChild
            | Self::Plane
            | Self::Ended => false,
        }
    }
}

/// Why a command was refused or failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No connection has this name.
    #[error("no such connection")]
    UnknownConnection,
    /// The connection only answers: it has no `remote_addrs`.
    #[error("the connection has no remote_addrs: it can only answer")]
    CannotInitiate,
    /// There is nothing to end or to put to sleep.
    #[error("the connection is not up")]
    NotUp,
    /// There is no session to resume.
    #[error("the connection has no suspended session")]
    NotSuspended,
    /// The SA holds no ticket, so it could not be resumed.
    #[error("the gateway gave no ticket, or none yet for new keys: no session could be resumed")]
    NoTicket,
    /// The set-up is still under way.
    #[error("the connection is being set up")]
    Busy,
    /// The set-up failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// As with [`Failure::Unresolved`], with the name.
    #[error("no usable address of {0} was found")]
    Unresolved(Domain),
    /// None of the peer's addresses was of use, for different reasons.
    #[error("{}", of_each(.0))]
    AllFailed(Arc<[(IpAddr, Failure)]>),
}

fn of_each(failures: &[(IpAddr, Failure)]) -> String {
    let each: Vec<_> = failures.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    each.join("; ")
}
