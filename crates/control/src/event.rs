//! What happens, as a monitor is told.

use std::fmt;
use std::time::Duration;

use crate::method::Changes;
use serde::{Deserialize, Serialize};
use zlink::introspect::CustomType;

/// Something that happened, and when.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since 1970 by the daemon's clock, with a fraction.
    pub time: f64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. `Display` tells it in one line, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A set-up began.
    Started {
        /// The connection's name.
        connection: String,
        /// Full exchange or resumption.
        how: How,
        /// Where the first datagram goes.
        remote: String,
    },
    /// A peer is authenticated and its child installed.
    Up {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// Who began.
        role: Role,
        /// The authenticated peer.
        peer: String,
        /// Where it is.
        remote: String,
        /// The IKE suite.
        suite: String,
        /// How it went.
        set_up: SetUp,
    },
    /// A child can carry packets.
    ChildUp {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// The child's configured name.
        child: String,
        /// The ESP suite.
        suite: String,
        /// What its packets hold: `tunnel` or `transport`.
        mode: String,
        /// The SPI of packets to us, in hexadecimal.
        spi_in: String,
        /// The SPI of packets to the peer, in hexadecimal.
        spi_out: String,
        /// Our side of the traffic.
        local_ts: Vec<String>,
        /// The peer's side of the traffic.
        remote_ts: Vec<String>,
        /// ESP in UDP rather than IP protocol 50.
        udp: bool,
        /// ESP in TCP (RFC 9329), and IKE with it.
        tcp: bool,
    },
    /// A child has new keys.
    ChildRekeyed {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// The child's configured name.
        child: String,
        /// Who has asked for it.
        by: Role,
        /// ESP suite.
        suite: String,
        /// The SPI of packets to us, in hexadecimal.
        spi_in: String,
        /// The SPI of packets to the peer, in hexadecimal.
        spi_out: String,
    },
    /// An IKE SA has new keys.
    Rekeyed {
        /// The connection's name.
        connection: String,
        /// The IKE SA that it was.
        sa: String,
        /// The one that it is now.
        successor: String,
        /// Who has asked for it.
        by: Role,
        /// The IKE suite, in strongSwan's spelling.
        suite: String,
    },
    /// New keys were not to be had. The old ones go on, and another attempt follows.
    RekeyFailed {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// The child's configured name; none when it was about the IKE SA.
        child: Option<String>,
        /// Why.
        why: Failure,
    },
    /// A child that was asked for besides the first was not to be had. The SA goes
    /// on without it, and it is asked for again.
    ChildFailed {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// The child's configured name.
        child: String,
        /// Why.
        why: Failure,
    },
    /// A child is gone.
    ChildDown {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// The child's configured name.
        child: String,
        /// Why.
        why: Gone,
    },
    /// An established SA is gone.
    Down {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// Why.
        why: Gone,
    },
    /// A session sleeps.
    Suspended {
        /// The connection's name.
        connection: String,
        /// The IKE SA that it was.
        sa: String,
        /// The length of its ticket, in octets.
        ticket_len: usize,
        /// How long it can be resumed.
        expires_in: Duration,
    },
    /// A suspended session is over; the next set-up is a full exchange.
    SessionLost {
        /// The connection's name.
        connection: String,
        /// Why.
        why: SessionEnd,
    },
    /// A resumption attempt ended without an SA; a full exchange follows.
    FellBack {
        /// The connection's name.
        connection: String,
        /// Why.
        why: FallBack,
    },
    /// The gateway gave us a ticket.
    TicketGranted {
        /// The connection's name.
        connection: String,
        /// Its length, in octets.
        len: usize,
        /// Its lifetime as the gateway said.
        lifetime: Duration,
    },
    /// The gateway gave us no ticket.
    TicketDenied {
        /// The connection's name.
        connection: String,
        /// Whether asking again later makes sense.
        later: bool,
    },
    /// We gave a peer a ticket.
    TicketIssued {
        /// The connection's name.
        connection: String,
        /// To whom.
        peer: String,
        /// Its length, in octets.
        len: usize,
    },
    /// We refused a ticket.
    TicketRefused {
        /// From where it came.
        remote: String,
        /// Why.
        why: TicketFault,
    },
    /// A set-up failed.
    Failed {
        /// The connection's name; none when it was not yet known.
        connection: Option<String>,
        /// Who the peer has proven to be, if it has.
        #[serde(default)]
        peer: Option<String>,
        /// The peer's address; none when it was not found.
        remote: Option<String>,
        /// Who began.
        role: Role,
        /// Why.
        why: Failure,
    },
    /// Nothing has come of asking at an address of the peer; the next one follows.
    TriedInVain {
        /// The connection's name.
        connection: String,
        /// The address.
        remote: String,
        /// Why.
        why: Failure,
    },
    /// The addresses of a peer's name were not found.
    Unresolved {
        /// The connection's name.
        connection: String,
        /// The peer's.
        name: String,
        /// Why.
        why: LookupFault,
        /// Those that it had before, which are taken instead.
        known: Vec<String>,
    },
    /// The gateway gave us inner addresses.
    AddressesReceived {
        /// The connection's name.
        connection: String,
        /// The addresses.
        addresses: Vec<String>,
        /// Its name servers.
        dns: Vec<String>,
        /// The domains to ask them for; none: all.
        domains: Vec<String>,
    },
    /// We gave a peer inner addresses.
    AddressesGiven {
        /// The connection's name.
        connection: String,
        /// To whom.
        peer: String,
        /// The addresses.
        addresses: Vec<String>,
    },
    /// We had no inner address for a peer.
    PoolExhausted {
        /// The connection's name.
        connection: String,
        /// Who wanted one.
        peer: String,
    },
    /// Another configuration is in force.
    Reconfigured(Changes),
    /// An SA goes another way: an outside address has changed.
    Moved {
        /// The connection's name.
        connection: String,
        /// The IKE SA.
        sa: String,
        /// Our address now.
        #[serde(default)]
        local: String,
        /// The peer's address now.
        remote: String,
        /// Whether it goes by TCP now.
        #[serde(default)]
        tcp: bool,
    },
    /// A gateway has sent us to another one, and there we go.
    Redirected {
        /// The connection's name.
        connection: String,
        /// Who has sent us.
        from: String,
        /// The other gateway: an address, or a name.
        to: String,
    },
    /// A gateway has sent us to another one, and we do not go there.
    RedirectRefused {
        /// The connection's name.
        connection: String,
        /// Who has sent us.
        from: String,
        /// The other gateway: an address, or a name.
        to: String,
        /// Why not.
        why: RedirectFault,
    },
    /// We have sent a peer to another gateway.
    PeerRedirected {
        /// The connection's name; none where it is the same for all that it
        /// may be.
        connection: Option<String>,
        /// Where the peer is.
        remote: String,
        /// The other gateway: an address, or a name.
        to: String,
    },
    /// The first event of every monitor: from here on it is told everything.
    Listening {
        /// The daemon's version.
        version: String,
    },
    /// This monitor read too slowly: events before this one are missing.
    Lost {
        /// How many.
        count: u64,
    },
    /// Something that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// How an SA came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "kebab-case")]
#[zlink(rename_all = "snake_case")]
pub enum How {
    /// `IKE_SA_INIT` and `IKE_AUTH`.
    Full,
    /// `IKE_SESSION_RESUME` and `IKE_AUTH`.
    Resumed,
}

/// Which side began an SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "kebab-case")]
#[zlink(rename_all = "snake_case")]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

/// How a set-up went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetUp {
    /// By which exchange.
    pub how: How,
    /// Request-response pairs, with those of a refused attempt before it.
    pub round_trips: u32,
    /// From the first datagram to the installed child.
    pub took: Duration,
}

/// Why an SA or a child is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gone {
    /// Somebody asked for it.
    Command,
    /// The peer sent a Delete.
    PeerDeleted,
    /// The peer does not answer.
    Unanswered,
    /// The peer has lost the SA, most likely in a restart.
    PeerRestarted,
    /// The peer has resumed its session or set up a new SA, or we have authenticated
    /// again in another one.
    Replaced,
    /// The session was put to sleep.
    Suspended,
    /// Its sequence numbers are used up.
    Exhausted,
    /// The data plane failed.
    Plane,
    /// Our address changed, and the SA could not be taken along.
    Moved,
    /// Who began it did not authenticate again in time (RFC 4478).
    AuthExpired,
    /// The peer broke the protocol in an authentic message.
    PeerFault,
    /// A reason that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// Why a session cannot be resumed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// The ticket's lifetime is over.
    Expired,
    /// The gateway refused it under protection.
    Refused,
    /// Somebody ended the connection.
    Command,
    /// A full exchange took its place.
    Replaced,
    /// A reason that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// Why a resumption fell back to a full exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FallBack {
    /// `TICKET_NACK`.
    Nack,
    /// Another error notify in clear.
    Error(u16),
    /// A protected refusal of AUTH or identity.
    AuthenticationFailed,
    /// Nobody answered.
    Silence,
}

/// Why a presented ticket was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketFault {
    /// Sealed by no key that we hold.
    UnknownKey,
    /// Not sealed by us, or altered.
    Forged,
    /// Its time is over.
    Expired,
    /// It was used before.
    Used,
    /// No connection allows it (any more).
    NotAllowed,
    /// What its client proved itself with would not be accepted today.
    Distrusted,
    /// A reason that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// Why the addresses of a name were not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookupFault {
    /// There is no such name, it has no address, or nobody could be asked.
    NoAddress,
    /// There was no answer in time.
    NoAnswer,
    /// A reason that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectFault {
    /// There were too many in a short time.
    TooMany,
    /// The connection does not say where a gateway of this name is, or no
    /// machine can have the address.
    UnknownGateway,
    /// A reason that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// Which check of a peer's certificate failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateFault {
    /// The peer sent none, and none is configured.
    Missing,
    /// More certificates, or larger ones, than are looked at.
    TooMuch,
    /// It cannot be read.
    Malformed,
    /// Its key, or one of the chain, is too short or of an unknown kind.
    Key,
    /// It was signed with an algorithm that is too weak or not known.
    Algorithm,
    /// No chain leads to a configured certificate authority.
    UnknownIssuer,
    /// A signature in the chain is wrong.
    Signature,
    /// A certificate of the chain is not valid any more.
    Expired,
    /// A certificate of the chain is not valid yet.
    NotYetValid,
    /// It was revoked.
    Revoked,
    /// There is no good revocation list, and the configuration wants one.
    NoRevocationList,
    /// A revocation list cannot be used.
    RevocationList,
    /// Its key usage does not allow signatures, or that of an authority to
    /// sign certificates (RFC 4945 section 5.1.3.2).
    KeyUsage,
    /// Its extended key usage does not allow IKE (RFC 4945 section 5.1.3.12).
    ExtendedKeyUsage,
    /// A certificate of an authority where that of a peer belongs, or the reverse.
    BasicConstraints,
    /// The chain is longer than an authority allows, or than we follow.
    PathLength,
    /// An authority may not vouch for such names.
    NameConstraints,
    /// A critical extension is not known.
    CriticalExtension,
    /// The certificate is somebody else's.
    Identity,
    /// A raw public key that is not configured.
    UnknownKey,
    /// A check that this version of the crate has no word for.
    #[serde(other)]
    Unknown,
}

/// A check of a peer's certificates that has failed, and on which of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateRefused {
    /// Which check.
    pub check: CertificateFault,
    /// The subject of the certificate, of the peer or an authority of its chain;
    /// none where that is not certain, or it has no subject. Cut where it is long.
    #[serde(default)]
    pub subject: Option<String>,
}

/// Why a set-up failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Nobody answered.
    Unanswered,
    /// No address of the peer was found by its name.
    Unresolved,
    /// No common algorithms for the IKE SA.
    NoIkeProposal,
    /// No common algorithms for the child.
    NoEspProposal,
    /// The traffic selectors have nothing in common.
    NoTrafficSelectors,
    /// Transport mode is configured, and the peer or our data plane does not do it.
    NoTransportMode,
    /// The peer says that our identity or proof is wrong.
    RefusedByPeer,
    /// The peer's proof is wrong.
    PeerNotAuthentic,
    /// The peer proves itself in another way than configured.
    OtherMethod,
    /// The peer's certificate does not convince.
    Certificate(CertificateRefused),
    /// Our key makes no signature that the peer can verify.
    NoCommonSignature,
    /// The peer is somebody else than configured.
    WrongIdentity,
    /// There is no secret for the peer's identity.
    NoSecret,
    /// The peer does not use a post-quantum pre-shared key that we have, and one is required.
    NoPpk,
    /// The peer sets up no SA without a child, and there is to be no other.
    NoChildless,
    /// The peer answered with this error notify.
    Notify(u16),
    /// The peer broke the protocol.
    Protocol,
    /// The key exchange failed: an invalid public value.
    BadKeyExchange,
    /// The peer gave us no inner address.
    NoAddress,
    /// The IKE SA stands but the peer gave no child.
    NoChild,
    /// The peer has as many SAs as one identity may have.
    TooManySas,
    /// The connection has as many SAs as it may have.
    Full,
    /// The peer's identity has an SA already, and may have one only.
    NotUnique,
    /// The data plane could not install the child.
    Plane,
    /// Addresses were rewritten on the way, and the peer forbids it.
    UnexpectedNat,
    /// The peer has sent us to another gateway, and we do not go there.
    Redirected,
    /// A command ended it.
    Ended,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { connection, how, remote } => {
                write!(f, "{connection}: {} with {remote} begins", how.noun())
            }
            Self::Up { connection, role, peer, remote, suite, set_up, sa: _ } => {
                write!(f, "{connection}: up, {peer} at {remote}, {set_up}, {suite}")?;
                f.write_str(match role {
                    Role::Initiator => "",
                    Role::Responder => ", begun by the peer",
                })
            }
            Self::ChildUp {
                connection,
                child,
                suite,
                mode,
                spi_in,
                spi_out,
                local_ts,
                remote_ts,
                udp,
                tcp,
                sa: _,
            } => {
                let mode = if mode == "tunnel" { "" } else { "transport mode, " };
                let form = match (*tcp, *udp) {
                    (true, _) => "in TCP",
                    (false, true) => "in UDP",
                    (false, false) => "plain",
                };
                let (ours, theirs) = (local_ts.join(","), remote_ts.join(","));
                write!(f, "{connection}: child {child} up, {ours} = {theirs}, ")?;
                write!(f, "{mode}{suite} {form}, SPIs {spi_in} in, {spi_out} out")
            }
            Self::ChildRekeyed { connection, child, by, suite, spi_in, spi_out, sa: _ } => {
                write!(f, "{connection}: child {child} rekeyed {}: ", asked(*by))?;
                write!(f, "{suite}, SPIs {spi_in} in, {spi_out} out")
            }
            Self::Rekeyed { connection, successor, by, suite, sa: _ } => {
                write!(f, "{connection}: rekeyed {}: {suite}, SA {successor}", asked(*by))
            }
            Self::RekeyFailed { connection, child: Some(child), why, sa: _ } => {
                write!(f, "{connection}: child {child} got no new keys: {why}")
            }
            Self::RekeyFailed { connection, child: None, why, sa: _ } => {
                write!(f, "{connection}: got no new keys: {why}")
            }
            Self::ChildFailed { connection, child, why, sa: _ } => {
                write!(f, "{connection}: child {child} not up: {why}")
            }
            Self::ChildDown { connection, child, why, sa: _ } => {
                write!(f, "{connection}: child {child} down: {why}")
            }
            Self::Down { connection, why, sa: _ } => write!(f, "{connection}: down: {why}"),
            Self::Suspended { connection, ticket_len, expires_in, sa: _ } => {
                let seconds = expires_in.as_secs();
                write!(f, "{connection}: suspended, can be resumed for {seconds} s ")?;
                write!(f, "with a ticket of {ticket_len} octets")
            }
            Self::SessionLost { connection, why } => {
                write!(f, "{connection}: session cannot be resumed any more: {why}")
            }
            Self::FellBack { connection, why } => {
                write!(f, "{connection}: resumption failed, a full exchange follows: {why}")
            }
            Self::TicketGranted { connection, len, lifetime } => {
                let seconds = lifetime.as_secs();
                write!(f, "{connection}: got a ticket of {len} octets, good for {seconds} s")
            }
            Self::TicketDenied { connection, later: true } => {
                write!(f, "{connection}: the gateway gives no ticket now")
            }
            Self::TicketDenied { connection, later: false } => {
                write!(f, "{connection}: the gateway gives no ticket")
            }
            Self::TicketIssued { connection, peer, len } => {
                write!(f, "{connection}: gave {peer} a ticket of {len} octets")
            }
            Self::TicketRefused { remote, why } => {
                write!(f, "refused a ticket from {remote}: {why}")
            }
            Self::Failed { connection, peer, remote, role, why } => {
                if let Some(connection) = connection {
                    write!(f, "{connection}: ")?;
                }
                let Some(remote) = remote else { return write!(f, "set-up failed: {why}") };
                let whose = match role {
                    Role::Initiator => "set-up with",
                    Role::Responder => "set-up by",
                };
                write!(f, "{whose} ")?;
                if let Some(peer) = peer {
                    write!(f, "{peer} at ")?;
                }
                write!(f, "{remote} failed: {why}")
            }
            Self::TriedInVain { connection, remote, why } => {
                write!(f, "{connection}: not at {remote}: {why}; the next address is tried")
            }
            Self::Unresolved { connection, name, why, known } => {
                write!(f, "{connection}: no address of {name} was found: {why}")?;
                match known.as_slice() {
                    [] => Ok(()),
                    known => write!(f, "; as before, it is {}", known.join(", ")),
                }
            }
            Self::AddressesReceived { connection, addresses, dns, domains } => {
                write!(f, "{connection}: inner address {}", addresses.join(", "))?;
                if !dns.is_empty() {
                    write!(f, ", name servers {}", dns.join(", "))?;
                }
                if !domains.is_empty() {
                    write!(f, " for {}", domains.join(", "))?;
                }
                Ok(())
            }
            Self::AddressesGiven { connection, peer, addresses } => {
                write!(f, "{connection}: gave {peer} the inner address {}", addresses.join(", "))
            }
            Self::PoolExhausted { connection, peer } => {
                write!(f, "{connection}: no inner address is left for {peer}")
            }
            Self::Reconfigured(changes) => write!(f, "configuration read again: {changes}"),
            Self::Moved { connection, local, remote, tcp, sa: _ } => {
                let by = if *tcp { " by TCP" } else { "" };
                write!(f, "{connection}: goes between {local} and {remote}{by} now")
            }
            Self::Redirected { connection, from, to } => {
                write!(f, "{connection}: {from} sends us to {to}")
            }
            Self::RedirectRefused { connection, from, to, why } => {
                write!(f, "{connection}: {from} sends us to {to}, where we do not go: {why}")
            }
            Self::PeerRedirected { connection, remote, to } => {
                if let Some(connection) = connection {
                    write!(f, "{connection}: ")?;
                }
                write!(f, "sent {remote} to {to}")
            }
            Self::Listening { version } => write!(f, "cygnetd {version} tells what happens"),
            Self::Lost { count } => write!(f, "{count} events were missed: read too slowly"),
            Self::Unknown => f.write_str("an event that this version does not know (try --json)"),
        }
    }
}

impl How {
    const fn noun(self) -> &'static str {
        match self {
            Self::Full => "full exchange",
            Self::Resumed => "resumption",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        })
    }
}

/// Who has asked for new keys.
const fn asked(by: Role) -> &'static str {
    match by {
        Role::Initiator => "by us",
        Role::Responder => "by the peer",
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initiator => "initiator",
            Self::Responder => "responder",
        })
    }
}

impl fmt::Display for SetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, trips) = (self.how.noun(), self.round_trips);
        let plural = if trips == 1 { "" } else { "s" };
        let milliseconds = self.took.as_secs_f64() * 1e3;
        write!(f, "{noun} in {trips} round trip{plural} and {milliseconds:.1} ms")
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "by command",
            Self::PeerDeleted => "the peer ended it",
            Self::Unanswered => "the peer does not answer",
            Self::PeerRestarted => "the peer has restarted",
            Self::Replaced => "another SA has taken its place",
            Self::Suspended => "the session was put to sleep",
            Self::Exhausted => "its sequence numbers are used up",
            Self::Plane => "the data plane failed",
            Self::Moved => "our address changed",
            Self::AuthExpired => "it was not authenticated again in time",
            Self::PeerFault => "the peer broke the protocol",
            Self::Unknown => "for a reason that this version does not know",
        })
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the ticket's lifetime is over",
            Self::Refused => "the gateway refused it",
            Self::Command => "ended by command",
            Self::Replaced => "a full exchange took its place",
            Self::Unknown => "for a reason that this version does not know",
        })
    }
}

impl fmt::Display for FallBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nack => f.write_str("the gateway refused the ticket (TICKET_NACK)"),
            Self::Error(notify) => write!(f, "the gateway answered with error notify {notify}"),
            Self::AuthenticationFailed => {
                f.write_str("the gateway refused our proof (AUTHENTICATION_FAILED)")
            }
            Self::Silence => f.write_str("the gateway does not answer"),
        }
    }
}

impl fmt::Display for TicketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "sealed with a key that is not ours any more",
            Self::Forged => "not sealed by us, or altered",
            Self::Expired => "its time is over",
            Self::Used => "it was used before",
            Self::NotAllowed => "no connection allows it",
            Self::Distrusted => "what the client proved itself with is not accepted any more",
            Self::Unknown => "for a reason that this version does not know",
        })
    }
}

impl fmt::Display for LookupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAddress => "it has none, or nobody could be asked",
            Self::NoAnswer => "the name server does not answer",
            Self::Unknown => "for a reason that this version does not know",
        })
    }
}

impl fmt::Display for RedirectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "too many redirects in a short time (a loop?)",
            Self::UnknownGateway => {
                "no machine can have the address, or the name is not in redirect_names"
            }
            Self::Unknown => "for a reason that this version does not know",
        })
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the peer sent no certificate that can be used",
            Self::TooMuch => "the peer's certificates are too many or too large",
            Self::Malformed => "the peer's certificate is malformed",
            Self::Key => "a key in the peer's certificates is too short or of an unknown kind",
            Self::Algorithm => {
                "the peer's certificate is signed with an algorithm that is not accepted"
            }
            Self::UnknownIssuer => {
                "no configured certificate authority vouches for the peer's certificate"
            }
            Self::Signature => "a signature in the peer's chain of certificates is wrong",
            Self::Expired => "a certificate of the peer has expired",
            Self::NotYetValid => "a certificate of the peer is not valid yet",
            Self::Revoked => "a certificate of the peer is revoked",
            Self::NoRevocationList => {
                "there is no current revocation list for a certificate of the peer"
            }
            Self::RevocationList => {
                "a revocation list is not signed by the authority that it is for"
            }
            Self::KeyUsage => "the key usage of a certificate of the peer forbids this use",
            Self::ExtendedKeyUsage => {
                "the extended key usage of a certificate of the peer forbids IKE"
            }
            Self::BasicConstraints => {
                "a certificate of the peer is (or is not) that of an authority: basic constraints"
            }
            Self::PathLength => "the peer's chain of certificates is longer than allowed",
            Self::NameConstraints => {
                "the name constraints of an authority forbid the names of the peer's certificate"
            }
            Self::CriticalExtension => {
                "a certificate of the peer has a critical extension that is not supported"
            }
            Self::Identity => "the peer's certificate is not for the identity that it claims",
            Self::UnknownKey => "the peer's raw public key is not a configured one",
            Self::Unknown => "the peer's certificate fails a check that this version does not know",
        })
    }
}

impl fmt::Display for CertificateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.check)?;
        self.subject.as_ref().map_or(Ok(()), |subject| write!(f, " ({subject})"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unanswered => "the peer does not answer",
            Self::Unresolved => "no usable address of the peer was found by its name",
            Self::NoIkeProposal => "no common IKE proposal",
            Self::NoEspProposal => "no common ESP proposal",
            Self::NoTrafficSelectors => "no common traffic selectors",
            Self::NoTransportMode => "no transport mode, which is configured",
            Self::RefusedByPeer => {
                "the peer refused our identity or secret (AUTHENTICATION_FAILED)"
            }
            Self::PeerNotAuthentic => {
                "the peer's proof of identity is wrong: check the secret or the key"
            }
            Self::OtherMethod => "the peer authenticates in another way than configured",
            Self::Certificate(refused) => return refused.fmt(f),
            Self::NoCommonSignature => "the peer can verify no signature that our key can make",
            Self::WrongIdentity => "the peer's identity is not the configured one",
            Self::NoSecret => "no secret is configured for the peer's identity",
            Self::NoPpk => {
                "the peer uses no post-quantum pre-shared key (PPK) that we have, and one is \
                 required"
            }
            Self::NoChildless => {
                "the peer does not set up an SA without a child, which is demanded (childless = \
                 \"force\")"
            }
            Self::Notify(notify) => {
                return write!(f, "the peer answered with error notify {notify}");
            }
            Self::Protocol => "the peer's message breaks the protocol",
            Self::BadKeyExchange => "the peer's key exchange value is invalid",
            Self::NoAddress => "the peer gave us no inner address",
            Self::NoChild => "the peer set up no child SA",
            Self::TooManySas => {
                "the peer has as many SAs as one identity may have (sas_per_identity)"
            }
            Self::Full => "the connection has as many SAs as it may have (max_sas)",
            Self::NotUnique => "the peer's identity has an SA already (unique = \"keep\")",
            Self::Plane => "the data plane could not install the child SA",
            Self::UnexpectedNat => "a NAT is on the way, and the peer allows none",
            Self::Redirected => "redirected too often, or to a gateway that is not known",
            Self::Ended => "ended by command",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn what(value: Value) -> What {
        serde_json::from_value::<Event>(value).map(|event| event.what).unwrap()
    }

    #[test]
    fn an_older_client_understands_as_much_as_it_can() {
        assert_eq!(what(json!({"time": 1, "event": "teleported", "sa": "ab"})), What::Unknown);
        let down = |why: &str| {
            what(json!({"time": 1, "event": "down", "connection": "a", "sa": "ab", "why": why,
                "more": []}))
        };
        let expected = |why| What::Down { connection: "a".into(), sa: "ab".into(), why };
        assert_eq!(down("plane"), expected(Gone::Plane));
        assert_eq!(down("bored"), expected(Gone::Unknown));
    }

    #[test]
    fn an_event_is_told_in_one_line() {
        let line = |value: Value| what(value).to_string();
        assert_eq!(
            line(json!({"time": 1, "event": "up", "connection": "office", "sa": "ab",
                "role": "responder", "peer": "@peer", "remote": "192.0.2.1:4500",
                "suite": "aes256gcm16-prfsha384-x25519",
                "set_up": {"how": "resumed", "round_trips": 1,
                    "took": {"secs": 0, "nanos": 8_040_000}}})),
            "office: up, @peer at 192.0.2.1:4500, resumption in 1 round trip and 8.0 ms, \
             aes256gcm16-prfsha384-x25519, begun by the peer"
        );
        assert_eq!(
            line(json!({"time": 1, "event": "tried-in-vain", "connection": "office",
                "remote": "192.0.2.1:500", "why": "unanswered"})),
            "office: not at 192.0.2.1:500: the peer does not answer; the next address is tried"
        );
        let unresolved = |known: &[&str]| {
            line(json!({"time": 1, "event": "unresolved", "connection": "office",
                "name": "vpn.example.org", "why": "no-answer", "known": known}))
        };
        let words =
            "office: no address of vpn.example.org was found: the name server does not answer";
        assert_eq!(unresolved(&[]), words);
        assert_eq!(unresolved(&["192.0.2.1"]), format!("{words}; as before, it is 192.0.2.1"));
        assert_eq!(
            line(json!({"time": 1, "event": "failed", "connection": "office", "remote": null,
                "role": "initiator", "why": "unresolved"})),
            "office: set-up failed: no usable address of the peer was found by its name"
        );
        assert_eq!(
            line(json!({"time": 1, "event": "failed", "connection": null, "role": "initiator",
                "remote": "192.0.2.1:500", "why": {"notify": 14}})),
            "set-up with 192.0.2.1:500 failed: the peer answered with error notify 14"
        );
        let subject = "O=Example, CN=Laptop\\0a";
        let certificate = json!({"certificate": {"check": "expired", "subject": subject}});
        assert_eq!(
            line(json!({"time": 1, "event": "failed", "connection": "office", "role": "responder",
                "remote": "192.0.2.1:500", "why": certificate})),
            "office: set-up by 192.0.2.1:500 failed: a certificate of the peer has expired \
             (O=Example, CN=Laptop\\0a)"
        );
        assert_eq!(
            line(json!({"time": 1, "event": "fell-back", "connection": "office", "why": "nack"})),
            "office: resumption failed, a full exchange follows: \
             the gateway refused the ticket (TICKET_NACK)"
        );
    }
}
