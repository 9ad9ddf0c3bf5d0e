//! What goes in and out of an endpoint besides datagrams and time.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::{EspSuite, IkeSuite};
use esp::plane;
use esp::spec::{Mode, Selector, Spi, StreamId};
use serde::{Deserialize, Serialize, Serializer};

use crate::endpoint::Changes;
use crate::fault::{Failure, Refusal};
use crate::identity::Id;
use crate::inner::{Assignment, Domain};
use crate::pool::LeaseChange;
use crate::redirect::Gateway;

/// Which socket a datagram uses. On the NAT-traversal port IKE is preceded by
/// the non-ESP marker (RFC 3948 section 2.2), which the core never sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// UDP 500, or what was configured for it.
    Ike,
    /// UDP 4500, or what was configured for it.
    NatTraversal,
    /// This TCP connection (RFC 9329). Its framing and the marker are the
    /// caller's, too.
    Tcp(StreamId),
}

/// The way of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    /// Our address and port. An unspecified address leaves the choice to the
    /// system, for an initiator's first datagram.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Our socket.
    pub port: Port,
}

impl Path {
    /// The TCP connection that it is.
    #[must_use]
    pub const fn stream(&self) -> Option<StreamId> {
        match self.port {
            Port::Tcp(stream) => Some(stream),
            Port::Ike | Port::NatTraversal => None,
        }
    }
}

/// What is to be done with a TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamCommand {
    /// Open it, and tell of the end by one [`StreamEvent`]. What is sent over it
    /// before is lost.
    Dial {
        /// From this address; unspecified leaves the choice to the system.
        local: SocketAddr,
        /// To this one.
        remote: SocketAddr,
    },
    /// A peer has opened it and proved who it is: it is not a stranger's any more.
    Keep,
    /// No SA uses it any more. One of ours is to be closed when all is sent; a
    /// peer may need one of its own for a while.
    Leave,
}

/// What became of a TCP connection of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamEvent {
    /// It is open.
    Opened {
        /// Our address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// It is broken, or could not be opened. Told once for each
    /// [`StreamCommand::Dial`], and not after [`StreamCommand::Leave`].
    Closed,
}

/// A datagram to send. Its octets are shared with the retransmission cache.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From where, to where.
    pub path: Path,
    /// An IKE message, without the non-ESP marker.
    pub datagram: Arc<[u8]>,
}

/// Names a lookup of the addresses of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(pub u64);

/// Names a request of the control interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What a person or a program asks of an endpoint. Each is answered by one
/// [`Output::Reply`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Bring a connection up: resume its session if there is one.
    /// Answered when packets can flow, or when that has failed.
    Up(Arc<str>),
    /// As `Up`, but only by resumption or not at all... until the fallback:
    /// refused with [`Refusal::NotSuspended`] when there is no session.
    Resume(Arc<str>),
    /// End a connection: Delete on the wire, session forgotten.
    Down(Arc<str>),
    /// Put a connection to sleep: no Delete, session kept.
    Suspend(Arc<str>),
    /// Replace the keys of a connection that is up. Answered when that has
    /// begun; [`Event::Rekeyed`] and [`Event::ChildRekeyed`] tell of the end.
    Rekey(Arc<str>, RekeyWhat),
}

/// Which keys are to be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RekeyWhat {
    /// Those of the IKE SA.
    IkeSa,
    /// Those of its children.
    Children,
}

/// What an endpoint wants done.
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Send one octet 0xff by this path, so that a NAT keeps its mapping
    /// (RFC 3948 section 2.3).
    Keepalive(Path),
    /// Do this with a TCP connection.
    Stream(StreamId, StreamCommand),
    /// Look up the addresses of this name, and tell the end of it by one
    /// [`Endpoint::handle_lookup`](crate::Endpoint::handle_lookup).
    Lookup(LookupId, Domain),
    /// Have the plane do this and report the end of it.
    Plane(plane::CommandId, plane::Command),
    /// A connection of ours has these inner addresses and name servers from now
    /// on, in place of those before; `None`: none any more.
    Inner(Arc<str>, Option<Arc<Assignment>>),
    /// Keep this over a restart.
    Lease(LeaseChange),
    /// The end of a [`Command`].
    Reply(RequestId, Result<(), Refusal>),
    /// Something that happened.
    Event(Event),
}

/// Names an IKE SA in events and status: our SPI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SaId(pub u64);

impl fmt::Display for SaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SaId> for String {
    fn from(id: SaId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SaId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

/// How an SA came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// `IKE_SA_INIT` and `IKE_AUTH`.
    Full,
    /// `IKE_SESSION_RESUME` and `IKE_AUTH`.
    Resumed,
}

/// Which side began an SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

impl Role {
    /// The other side's.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
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

/// A value that is shown as text when somebody looks: most events of a busy
/// gateway are never looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown<T>(pub T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Something that happened: the one stream that logs, `cygnet monitor`,
/// metrics and tests read. Holds no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A set-up began.
    Started {
        /// The connection's name.
        connection: Arc<str>,
        /// Full exchange or resumption.
        how: How,
        /// Where the first datagram goes.
        remote: SocketAddr,
    },
    /// A peer is authenticated and its child installed.
    Up {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// Who began.
        role: Role,
        /// The authenticated peer.
        peer: Shown<Id>,
        /// Where it is.
        remote: SocketAddr,
        /// The IKE suite, in strongSwan's spelling.
        suite: Shown<IkeSuite>,
        /// How it went.
        set_up: SetUp,
    },
    /// A child can carry packets.
    ChildUp {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// The child's configured name.
        child: Arc<str>,
        /// ESP suite.
        suite: Shown<EspSuite>,
        /// What its packets hold.
        mode: Shown<Mode>,
        /// The SPI of packets to us, in hexadecimal.
        spi_in: Shown<Spi>,
        /// The SPI of packets to the peer, in hexadecimal.
        spi_out: Shown<Spi>,
        /// Our side of the traffic.
        local_ts: Vec<Shown<Selector>>,
        /// The peer's side of the traffic.
        remote_ts: Vec<Shown<Selector>>,
        /// ESP in UDP rather than protocol 50.
        udp: bool,
        /// ESP in TCP (RFC 9329), and IKE with it.
        tcp: bool,
    },
    /// A child has new keys: another has taken its place.
    ChildRekeyed {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// The child's configured name.
        child: Arc<str>,
        /// Who has asked for it.
        by: Role,
        /// ESP suite.
        suite: Shown<EspSuite>,
        /// The SPI of packets to us, in hexadecimal.
        spi_in: Shown<Spi>,
        /// The SPI of packets to the peer, in hexadecimal.
        spi_out: Shown<Spi>,
    },
    /// An IKE SA has new keys: another has taken its place.
    Rekeyed {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA that it was.
        sa: SaId,
        /// The one that it is now.
        successor: SaId,
        /// Who has asked for it.
        by: Role,
        /// The IKE suite, in strongSwan's spelling.
        suite: Shown<IkeSuite>,
    },
    /// New keys were not to be had. The old ones go on, and another attempt follows.
    RekeyFailed {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// The child's configured name; none when it was about the IKE SA.
        child: Option<Arc<str>>,
        /// Why.
        why: Failure,
    },
    /// A child that was asked for besides the first was not to be had. The SA goes
    /// on without it, and it is asked for again.
    ChildFailed {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// The child's configured name.
        child: Arc<str>,
        /// Why.
        why: Failure,
    },
    /// A child is gone.
    ChildDown {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// The child's configured name.
        child: Arc<str>,
        /// Why.
        why: Gone,
    },
    /// An established SA is gone.
    Down {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// Why.
        why: Gone,
    },
    /// A session sleeps.
    Suspended {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA that it was.
        sa: SaId,
        /// Octets of its ticket.
        ticket_len: usize,
        /// How long it can be resumed.
        expires_in: Duration,
    },
    /// A suspended session is over; the next set-up is a full exchange.
    SessionLost {
        /// The connection's name.
        connection: Arc<str>,
        /// Why.
        why: SessionEnd,
    },
    /// A resumption attempt ended without an SA; a full exchange follows.
    FellBack {
        /// The connection's name.
        connection: Arc<str>,
        /// Why.
        why: FallBack,
    },
    /// The gateway gave us a ticket.
    TicketGranted {
        /// The connection's name.
        connection: Arc<str>,
        /// Its octets.
        len: usize,
        /// Its lifetime as the gateway said.
        lifetime: Duration,
    },
    /// The gateway answered the request for a ticket with no (`TICKET_NACK`)
    /// or not now (`TICKET_ACK`), or not at all.
    TicketDenied {
        /// The connection's name.
        connection: Arc<str>,
        /// Whether asking again later makes sense.
        later: bool,
    },
    /// We gave a peer a ticket.
    TicketIssued {
        /// The connection's name.
        connection: Arc<str>,
        /// To whom.
        peer: Shown<Id>,
        /// Its octets.
        len: usize,
    },
    /// We refused a ticket.
    TicketRefused {
        /// From where it came.
        remote: SocketAddr,
        /// Why.
        why: TicketFault,
    },
    /// A set-up failed.
    Failed {
        /// The connection's name; none when it was not yet known.
        connection: Option<Arc<str>>,
        /// Who the peer has proven to be, if it has.
        peer: Option<Shown<Id>>,
        /// The peer's address; none when it was not found.
        remote: Option<SocketAddr>,
        /// Who began.
        role: Role,
        /// Why.
        why: Failure,
    },
    /// Nothing has come of asking at an address of the peer; the next one follows.
    TriedInVain {
        /// The connection's name.
        connection: Arc<str>,
        /// The address.
        remote: SocketAddr,
        /// Why.
        why: Failure,
    },
    /// The addresses of a peer's name were not found.
    Unresolved {
        /// The connection's name.
        connection: Arc<str>,
        /// The peer's.
        name: Domain,
        /// Why.
        why: LookupFault,
        /// Those that it had before, which are taken instead.
        known: Vec<IpAddr>,
    },
    /// The gateway gave us inner addresses.
    AddressesReceived {
        /// The connection's name.
        connection: Arc<str>,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Its name servers.
        dns: Vec<IpAddr>,
        /// The domains to ask them for; none: all.
        domains: Vec<Domain>,
    },
    /// We gave a peer inner addresses.
    AddressesGiven {
        /// The connection's name.
        connection: Arc<str>,
        /// To whom.
        peer: Shown<Id>,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// We had no inner address for a peer.
    PoolExhausted {
        /// The connection's name.
        connection: Arc<str>,
        /// Who wanted one.
        peer: Shown<Id>,
    },
    /// Another configuration is in force.
    Reconfigured(Changes),
    /// An SA goes another way: an outside address has changed.
    Moved {
        /// The connection's name.
        connection: Arc<str>,
        /// The IKE SA.
        sa: SaId,
        /// Our address now.
        local: SocketAddr,
        /// The peer's address now.
        remote: SocketAddr,
        /// Whether it goes by TCP now (RFC 9329).
        tcp: bool,
    },
    /// A gateway has sent us to another one, and there we go.
    Redirected {
        /// The connection's name.
        connection: Arc<str>,
        /// Who has sent us.
        from: IpAddr,
        /// The other gateway, as it was named.
        to: Shown<Gateway>,
    },
    /// A gateway has sent us to another one, and we do not go there.
    RedirectRefused {
        /// The connection's name.
        connection: Arc<str>,
        /// Who has sent us.
        from: IpAddr,
        /// The other gateway, as it was named.
        to: Shown<Gateway>,
        /// Why not.
        why: RedirectFault,
    },
    /// We have sent a peer to another gateway.
    PeerRedirected {
        /// The connection's name; none where it is the same for all that it
        /// may be.
        connection: Option<Arc<str>>,
        /// Where the peer is.
        remote: SocketAddr,
        /// The other gateway.
        to: Shown<Gateway>,
    },
}

/// Why the addresses of a name were not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookupFault {
    /// There is no such name, it has no address, or nobody could be asked.
    NoAddress,
    /// There was no answer in time.
    NoAnswer,
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectFault {
    /// There were too many in a short time (RFC 5685 section 7).
    TooMany,
    /// The connection does not say where a gateway of this name is, or no
    /// machine can have the address.
    UnknownGateway,
}

/// Why an SA or a child is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gone {
    /// Somebody here asked for it.
    Command,
    /// The peer sent a Delete.
    PeerDeleted,
    /// The peer does not answer.
    Unanswered,
    /// The peer has lost the SA, and has proved it (RFC 6290).
    PeerRestarted,
    /// The peer has resumed its session or set up a new SA, or we have authenticated
    /// again in another one.
    Replaced,
    /// The session was put to sleep.
    Suspended,
    /// Its keys have lived or carried as much as they may, and could not be replaced.
    Exhausted,
    /// The data plane failed.
    Plane,
    /// An address changed, and what goes down could not be taken along.
    Moved,
    /// Who began it did not authenticate again in time (RFC 4478).
    AuthExpired,
    /// The peer broke the protocol in an authentic message.
    PeerFault,
}

/// Why a session cannot be resumed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// The ticket's lifetime is over.
    Expired,
    /// The gateway refused it under protection.
    Refused,
    /// Somebody here ended the connection.
    Command,
    /// A full exchange took its place.
    Replaced,
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
}
