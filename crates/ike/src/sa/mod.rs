//! The stages of an IKE SA. Each owns what it needs and nothing else; a method
//! that may end a stage consumes it.
//!
//! ```text
//! [Resolving] --> [Dialing] --> Initiating
//! Initiating --response--> [Intermediate ..] --> Authenticating --IKE_AUTH--> Established --delete--> Deleting --> gone
//!                                `--down--> Withdrawing --IKE_AUTH----------^
//!            request --> HalfOpen ---------IKE_AUTH--> Established --deleted--> Closed ----> gone
//! Established --rekeyed by the peer--> Superseded --deleted--> Closed ----> gone
//! ```

pub(crate) mod authenticating;
pub(crate) mod channel;
pub(crate) mod closing;
pub(crate) mod datagram;
pub(crate) mod dialing;
pub(crate) mod established;
pub(crate) mod fragments;
pub(crate) mod half_open;
pub(crate) mod initiating;
pub(crate) mod inner;
pub(crate) mod intermediate;
pub(crate) mod protection;
pub(crate) mod resolving;
pub(crate) mod route;
pub(crate) mod window;

use std::net::IpAddr;
use std::sync::Arc;

use crypto::IkeSuite;
use esp::plane::Traffic;
use esp::spec::{ChildId, StreamId};

use crate::config::Connection;
use crate::context::{Context, Groups};
use crate::event::{Gone, Path, RequestId};
use crate::exchange::child::Trigger;
use crate::fault::{Discard, Failure};
use crate::identity::Id;
use crate::inner::Addresses;
use crate::redirect::{Gateway, Towards};
use crate::session::{ResumeAttempt, SuspendedSession};
use crate::time::{Instant, Now};
use crate::wire::IkeSpi;

use authenticating::Authenticating;
use closing::{Closed, Deleting, Retiring, Superseded, Withdrawing};
use datagram::Datagram;
use dialing::{Dialing, Transport};
use established::Established;
use half_open::HalfOpen;
use initiating::Initiating;
use intermediate::Intermediate;
use resolving::Resolving;
use route::Route;

/// An IKE SA in one of its stages.
pub(crate) enum IkeSa {
    /// We look up where the peer is.
    Resolving(Box<Resolving>),
    /// We open a TCP connection, to ask by it.
    Dialing(Box<Dialing>),
    /// We asked, in `IKE_SA_INIT` or `IKE_SESSION_RESUME`.
    Initiating(Box<Initiating>),
    /// We asked, in `IKE_INTERMEDIATE`.
    Intermediate(Box<Intermediate>),
    /// We asked, in `IKE_AUTH`.
    Authenticating(Box<Authenticating>),
    /// We answered a stranger and wait for its `IKE_AUTH`.
    HalfOpen(Box<HalfOpen>),
    /// Both sides are authenticated.
    Established(Box<Established>),
    /// We asked in `IKE_AUTH`, and want it no more.
    Withdrawing(Box<Withdrawing>),
    /// We are telling the peer that it is over.
    Deleting(Box<Deleting>),
    /// Another SA of ours has taken its place.
    Retiring(Box<Retiring>),
    /// Another SA has taken its place.
    Superseded(Box<Superseded>),
    /// It is over; only the last answer is kept, for a peer that missed it.
    Closed(Box<Closed>),
}

/// What is known of an SA that we set up, across its first stages and attempts.
pub(crate) struct Attempt {
    /// Which of the endpoint's lines it serves.
    pub(crate) line: usize,
    /// The plane's names for the policies of its children.
    pub(crate) groups: Groups,
    pub(crate) connection: Arc<Connection>,
    /// Whether it is to take the place of the SA that serves its line, which
    /// goes on until then.
    pub(crate) beside: bool,
    /// The packet that it was begun for, if it was.
    pub(crate) trigger: Option<Box<Trigger>>,
    /// Who wants to know how it ends.
    pub(crate) waiting: Vec<RequestId>,
    pub(crate) started: Instant,
    pub(crate) round_trips: u32,
    /// No other SA of ours is known to the peer (RFC 7296 section 2.4).
    pub(crate) initial_contact: bool,
    /// The inner addresses to ask for.
    pub(crate) wanted: Addresses,
    /// How often it may still begin anew, because what it went by was not
    /// authentic and may have been forged.
    pub(crate) retries_left: u8,
    pub(crate) transport: Transport,
    pub(crate) towards: Towards,
    /// Where it goes if it is not sent elsewhere.
    pub(crate) route: Box<Route>,
}

impl Attempt {
    /// [`Attempt::retries_left`] at the beginning.
    pub(crate) const RETRIES: u8 = 2;
}

/// How an attempt begins. Decided once; see [`initiating::Bootstrap`].
pub(crate) enum Start {
    /// With a full exchange. A session that could not be resumed just now is
    /// kept beside it, until the full exchange succeeds.
    Fresh {
        /// The session.
        parked: Option<SuspendedSession>,
    },
    /// With a ticket.
    Resume(ResumeAttempt),
}

/// What became of an SA, and what follows for others.
pub(crate) struct Outcome {
    pub(crate) sa: Option<IkeSa>,
    pub(crate) then: Then,
}

/// What follows for others.
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// Another attempt for the same connection.
    Restart(Box<Attempt>, Box<Start>),
    /// An attempt at an SA that takes the place of this one, which goes on
    /// until then.
    Reauthenticate(Box<Attempt>),
    /// As `Restart`, with the gateway that another one has named.
    Redirect(Box<Redirection>),
    /// As `Reauthenticate`, with the gateway that the peer has named.
    Leave(Box<Redirection>),
    /// A session is kept for later.
    Keep(Box<SuspendedSession>),
    /// An attempt has failed. A session that may still be good is kept.
    Failed(Failure, Option<Box<SuspendedSession>>),
    /// There are new SAs in place of this one: the first goes on where it
    /// ended, a second has lost against it (RFC 7296 section 2.8.2).
    Rekeyed(Vec<(IkeSpi, IkeSa)>),
    /// A peer has arrived: older SAs of it are obsolete.
    Arrived {
        /// Who.
        peer: Id,
        /// By which connection.
        connection: Arc<Connection>,
        /// Which older SAs.
        supersedes: Supersedes,
        /// An SA for which there is no room beside the new one.
        renews: Option<IkeSpi>,
    },
}

/// An attempt that a gateway has sent to another one.
pub(crate) struct Redirection {
    pub(crate) attempt: Attempt,
    pub(crate) start: Start,
    /// The way to the gateway that has sent us.
    pub(crate) path: Path,
    pub(crate) to: Gateway,
}

/// Which older SAs of a peer a new one replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Supersedes {
    /// None that we know of.
    None,
    /// All (RFC 7296 section 2.4, INITIAL_CONTACT).
    All,
    /// The one that was resumed, by our SPI of it (B21).
    Resumed(u64),
}

impl Outcome {
    pub(crate) const fn keep(sa: IkeSa) -> Self {
        Self { sa: Some(sa), then: Then::Nothing }
    }

    pub(crate) const fn gone() -> Self {
        Self { sa: None, then: Then::Nothing }
    }

    pub(crate) fn then(self, then: Then) -> Self {
        Self { sa: self.sa, then }
    }

    pub(crate) fn restart(attempt: Attempt, start: Start) -> Self {
        Self::gone().then(Then::Restart(Box::new(attempt), Box::new(start)))
    }

    pub(crate) fn redirect(redirection: Redirection) -> Self {
        Self::gone().then(Then::Redirect(Box::new(redirection)))
    }

    /// The datagram is dropped, and the SA stays what it was.
    pub(crate) fn discard(cx: &mut Context, why: Discard, sa: IkeSa) -> Self {
        cx.discard(why);
        Self::keep(sa)
    }
}

/// What a child has carried so far, as the plane counts it; `None` if it is not
/// installed.
pub(crate) type Meter<'a> = &'a dyn Fn(ChildId) -> Option<Traffic>;

/// Why an SA wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// A request was not answered yet.
    Retransmit,
    /// An unauthenticated refusal was not contradicted.
    Doubt,
    /// A stranger did not go on.
    HalfOpen,
    /// The peer has been silent.
    Liveness,
    /// A NAT mapping must be kept alive.
    Keepalive,
    /// A last answer need not be kept any longer.
    Linger,
    /// A ticket should be asked for.
    Ticket,
    /// Keys are to be replaced.
    Rekey,
    /// An identity is to be proved again, or was not.
    Reauthenticate,
    /// A ticket key's time is over.
    TicketKey,
    /// A suspended session's time is over.
    SessionExpiry,
    /// A connection that failed may be brought up by traffic again.
    Rest,
    /// A connection that is kept up is to come back.
    Return,
    /// A TCP connection is to be opened again.
    Dial,
    /// The addresses of a name were not found in time.
    Lookup,
}

impl IkeSa {
    /// A datagram whose SPI is that of this SA.
    pub(crate) fn receive(
        self,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        match self {
            Self::Resolving(_) | Self::Dialing(_) => {
                Outcome::discard(cx, Discard::Unexpected, self)
            }
            Self::Initiating(sa) => sa.receive(cx, now, datagram),
            Self::Intermediate(sa) => sa.receive(cx, now, datagram),
            Self::Authenticating(sa) => sa.receive(cx, now, datagram),
            Self::HalfOpen(sa) => sa.receive(cx, now, datagram),
            Self::Established(sa) => sa.receive(cx, now, datagram),
            Self::Withdrawing(sa) => sa.receive(cx, now, datagram),
            Self::Deleting(sa) => sa.receive(cx, now, datagram),
            Self::Retiring(sa) => sa.receive(cx, now, datagram),
            Self::Superseded(sa) => sa.receive(cx, now, datagram),
            Self::Closed(sa) => sa.receive(cx, datagram),
        }
    }

    /// Its time has come.
    pub(crate) fn timeout(self, cx: &mut Context, now: Now, meter: Meter<'_>) -> Outcome {
        match self {
            Self::Resolving(sa) => sa.timeout(cx, now),
            Self::Dialing(sa) => sa.timeout(cx, now),
            Self::Initiating(sa) => sa.timeout(cx, now),
            Self::Intermediate(sa) => sa.timeout(cx, now),
            Self::Authenticating(sa) => sa.timeout(cx, now),
            Self::HalfOpen(sa) => sa.timeout(cx, now),
            Self::Established(sa) => sa.timeout(cx, now, meter),
            Self::Withdrawing(sa) => sa.timeout(cx, now),
            Self::Deleting(sa) => sa.timeout(cx, now),
            Self::Retiring(sa) => sa.timeout(cx, now, meter),
            Self::Superseded(sa) => sa.timeout(cx, now),
            Self::Closed(sa) => sa.timeout(now),
        }
    }

    /// When [`Self::timeout`] has something to do.
    pub(crate) fn due(&self) -> Option<(Instant, Why)> {
        match self {
            Self::Resolving(sa) => Some(sa.due()),
            Self::Dialing(sa) => Some(sa.due()),
            Self::Initiating(sa) => Some(sa.due()),
            Self::Intermediate(sa) => Some(sa.due()),
            Self::Authenticating(sa) => Some(sa.due()),
            Self::HalfOpen(sa) => Some(sa.due()),
            Self::Established(sa) => sa.due(),
            Self::Withdrawing(sa) => Some(sa.due()),
            Self::Deleting(sa) => sa.due(),
            Self::Retiring(sa) => sa.due(),
            Self::Superseded(sa) => Some(sa.due()),
            Self::Closed(sa) => Some(sa.due()),
        }
    }

    /// The machine's addresses or routes have changed. An attempt that was sent
    /// from an address that is gone begins anew; the rest is for the side that
    /// began an SA to decide (RFC 4555 section 3.5).
    pub(crate) fn roam(
        self,
        cx: &mut Context,
        now: Now,
        source_towards: &dyn Fn(IpAddr) -> Option<IpAddr>,
    ) -> Outcome {
        match self {
            Self::Initiating(sa) => sa.roam(cx, now),
            Self::Intermediate(sa) => sa.roam(cx),
            Self::Authenticating(sa) => sa.roam(cx),
            Self::Established(sa) => sa.roam(cx, now, source_towards),
            Self::Resolving(_)
            | Self::Dialing(_)
            | Self::HalfOpen(_)
            | Self::Withdrawing(_)
            | Self::Deleting(_)
            | Self::Retiring(_)
            | Self::Superseded(_)
            | Self::Closed(_) => Outcome::keep(self),
        }
    }

    /// Whoever else wants to know when it can carry packets. `Err` gives the
    /// request back: it already can.
    pub(crate) fn wait(&mut self, id: RequestId) -> Result<(), RequestId> {
        match self {
            Self::Resolving(sa) => sa.attempt.waiting.push(id),
            Self::Dialing(sa) => sa.attempt.waiting.push(id),
            Self::Initiating(sa) => sa.attempt.waiting.push(id),
            Self::Intermediate(sa) => sa.attempt.waiting.push(id),
            Self::Authenticating(sa) => sa.attempt.waiting.push(id),
            Self::Established(sa) => return sa.wait(id),
            Self::HalfOpen(_)
            | Self::Withdrawing(_)
            | Self::Deleting(_)
            | Self::Retiring(_)
            | Self::Superseded(_)
            | Self::Closed(_) => {
                return Err(id);
            }
        }
        Ok(())
    }

    /// A command ends it. A session that was to be resumed ends with it (D8).
    /// Whoever waits does so for an authenticated peer only.
    pub(crate) fn end(self, cx: &mut Context, now: Now, waiting: Vec<RequestId>) -> Outcome {
        let rest = match self {
            Self::Established(sa) => return sa.delete(cx, now, Gone::Command, waiting),
            Self::Deleting(mut sa) => {
                sa.wait(waiting);
                return Outcome::keep(Self::Deleting(sa));
            }
            Self::Resolving(sa) => {
                sa.abandon(cx);
                None
            }
            Self::Dialing(sa) => {
                sa.abandon(cx);
                None
            }
            Self::Initiating(sa) => {
                sa.abandon(cx);
                None
            }
            Self::Intermediate(sa) => {
                sa.abandon(cx);
                None
            }
            Self::Authenticating(sa) => Some(Self::Withdrawing(sa.abandon(cx))),
            Self::Withdrawing(sa) => Some(Self::Withdrawing(sa)),
            Self::Retiring(sa) => Some(Self::Retiring(sa)),
            Self::Superseded(sa) => Some(Self::Superseded(sa)),
            Self::HalfOpen(_) | Self::Closed(_) => None,
        };
        cx.reply(waiting, Ok(()));
        Outcome { sa: rest, then: Then::Nothing }
    }

    /// The way and the suite of an SA that we are setting up, if it has a way.
    pub(crate) fn young(&self) -> Option<(Path, Option<IkeSuite>)> {
        match self {
            Self::Dialing(sa) => Some((sa.path(), None)),
            Self::Initiating(sa) => Some((sa.path(), None)),
            Self::Intermediate(sa) => Some((sa.path(), Some(sa.suite()))),
            Self::Authenticating(sa) => Some((sa.path(), Some(sa.suite()))),
            Self::Resolving(_)
            | Self::HalfOpen(_)
            | Self::Established(_)
            | Self::Withdrawing(_)
            | Self::Deleting(_)
            | Self::Retiring(_)
            | Self::Superseded(_)
            | Self::Closed(_) => None,
        }
    }

    /// Whether we are setting it up.
    pub(crate) fn is_young(&self) -> bool {
        matches!(self, Self::Resolving(_)) || self.young().is_some()
    }

    /// The line that it serves.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::Resolving(sa) => Some(sa.attempt.line),
            Self::Dialing(sa) => Some(sa.attempt.line),
            Self::Initiating(sa) => Some(sa.attempt.line),
            Self::Intermediate(sa) => Some(sa.attempt.line),
            Self::Authenticating(sa) => Some(sa.attempt.line),
            Self::Established(sa) => sa.line(),
            Self::HalfOpen(_)
            | Self::Withdrawing(_)
            | Self::Deleting(_)
            | Self::Retiring(_)
            | Self::Superseded(_)
            | Self::Closed(_) => None,
        }
    }

    /// It, if both sides are authenticated.
    pub(crate) fn established(&self) -> Option<&Established> {
        match self {
            Self::Established(sa) => Some(sa),
            Self::Resolving(_)
            | Self::Dialing(_)
            | Self::Initiating(_)
            | Self::Intermediate(_)
            | Self::Authenticating(_)
            | Self::HalfOpen(_)
            | Self::Withdrawing(_)
            | Self::Deleting(_)
            | Self::Retiring(_)
            | Self::Superseded(_)
            | Self::Closed(_) => None,
        }
    }

    /// The TCP connections that are kept for it. A stranger's is not, and a last
    /// answer goes back the way of the question.
    pub(crate) fn streams(&self) -> [Option<StreamId>; 2] {
        let only = match self {
            Self::Established(sa) => return sa.streams(),
            Self::Retiring(sa) => return sa.farewell().map_or([None; 2], Self::streams),
            Self::Dialing(sa) => Some(sa.stream()),
            Self::Initiating(sa) => sa.stream(),
            Self::Intermediate(sa) => sa.path().stream(),
            Self::Authenticating(sa) => sa.path().stream(),
            Self::Withdrawing(sa) => sa.path.stream(),
            Self::Deleting(sa) => sa.path().stream(),
            Self::Superseded(sa) => sa.path().stream(),
            Self::Resolving(_) | Self::HalfOpen(_) | Self::Closed(_) => None,
        };
        [only, None]
    }

    /// Its TCP connection is open, for the first time or once more: what is not
    /// answered goes out by it (RFC 9329 section 6.2).
    pub(crate) fn opened(self, cx: &mut Context, now: Now, path: Path) -> Outcome {
        let sa = match self {
            Self::Dialing(sa) => return sa.opened(path),
            Self::Initiating(sa) => return sa.opened(cx, now, path),
            Self::Established(sa) => return sa.opened(cx, now, path),
            Self::Retiring(sa) => return sa.opened(cx, now, path),
            Self::Intermediate(mut sa) => {
                sa.rejoin(cx, now.instant, path);
                Self::Intermediate(sa)
            }
            Self::Authenticating(mut sa) => {
                sa.rejoin(cx, now.instant, path);
                Self::Authenticating(sa)
            }
            Self::Withdrawing(mut sa) => {
                sa.rejoin(cx, now.instant, path);
                Self::Withdrawing(sa)
            }
            Self::Deleting(mut sa) => {
                sa.rejoin(cx, now.instant, path);
                Self::Deleting(sa)
            }
            Self::Superseded(mut sa) => {
                sa.rejoin(cx, now.instant, path);
                Self::Superseded(sa)
            }
            other @ (Self::Resolving(_) | Self::HalfOpen(_) | Self::Closed(_)) => other,
        };
        Outcome::keep(sa)
    }
}
