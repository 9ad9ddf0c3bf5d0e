//! An SA that we asked for, with keys: IKE_AUTH is on its way.

use std::sync::Arc;

use crypto::{IkeSuite, PrfAlg};
use esp::spec::{Encapsulation, Spi};

use crate::config::Connection;
use crate::context::Context;
use crate::event::{Event, FallBack, How, Path, Role, SessionEnd};
use crate::exchange::auth::{Basis, Claim, Expectation, PeerAuthenticated, push_auth, push_id};
use crate::exchange::nat::{Nat, float};
use crate::exchange::{Transcript, child, informational};
use crate::fault::{Discard, Failure, Refusal};
use crate::sa::channel::Channel;
use crate::sa::closing::Deleting;
use crate::sa::established::{Established, Founded};
use crate::sa::protection::{Authentic, Keys, OpenFault, Unsendable};
use crate::sa::window::{Flight, Task, Window};
use crate::sa::{Attempt, IkeSa, Outcome, Start, Why};
use crate::session::{AuthMethod, Grant, ResumeAttempt, SuspendedSession};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, Header, NotifyType};

/// The message id of IKE_AUTH.
pub(crate) const AUTH_ID: u32 = 1;

pub(crate) struct Authenticating {
    pub(crate) attempt: Attempt,
    origin: Origin,
    path: Path,
    nat: Nat,
    encapsulation: Encapsulation,
    suite: IkeSuite,
    keys: Keys,
    transcript: Transcript,
    expectation: Expectation,
    spi_in: Spi,
    flight: Flight,
}

/// How the SA began, and what is given back if nothing comes of it.
pub(crate) enum Origin {
    /// With a full exchange.
    Fresh {
        /// A session that could not be resumed just now.
        parked: Option<SuspendedSession>,
    },
    /// With a ticket.
    Resumed(ResumeAttempt),
}

impl Origin {
    fn into_session(self) -> Option<SuspendedSession> {
        match self {
            Self::Fresh { parked } => parked,
            Self::Resumed(resume) => Some(resume.unanswered()),
        }
    }
}

impl Authenticating {
    /// Sends IKE_AUTH.
    pub(crate) fn begin(
        cx: &mut Context,
        now: Now,
        attempt: Attempt,
        origin: Origin,
        (path, nat): (Path, Nat),
        ((suite, mut keys), transcript): ((IkeSuite, Keys), Transcript),
        expectation: Expectation,
    ) -> Outcome {
        let encapsulation = nat.encapsulation(&attempt.connection, cx);
        let path = float(path, encapsulation, &attempt.connection, cx);
        let spi_in = cx.new_spi();
        let request =
            request(cx, &attempt, (suite.prf, &mut keys), &transcript, &expectation, spi_in);
        let request = match request {
            Ok(request) => request,
            Err(why) => {
                cx.spis.free(spi_in);
                return attempt.fail(cx, path, why, origin.into_session());
            }
        };
        let flight = Flight::launch(cx, now.instant, path, request, cx.retransmission.tries);
        Outcome::keep(IkeSa::Authenticating(Box::new(Self {
            attempt,
            origin,
            path,
            nat,
            encapsulation,
            suite,
            keys,
            transcript,
            expectation,
            spi_in,
            flight,
        })))
    }

    pub(crate) const fn path(&self) -> Path {
        self.path
    }

    pub(crate) const fn suite(&self) -> IkeSuite {
        self.suite
    }

    pub(crate) fn receive(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        path: Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Outcome {
        let fits = header.flags.response
            && header.exchange == ExchangeType::AUTH
            && header.message_id == AUTH_ID;
        if !fits {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Authenticating(self));
        }
        let message = match self.keys.protection.open(header, datagram) {
            Ok(message) => message,
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Authenticating(self));
            }
            Err(OpenFault::Peer(_)) => return self.fail(cx, Failure::Protocol),
        };
        self.attempt.round_trips += 1;
        // The peer may have been reached through another address of its own.
        self.path.local = path.local;
        match self.authenticate(&message) {
            Ok(peer) => self.finish(cx, now, &message, peer),
            Err(Denial::Peer(kind)) => self.denied(cx, kind),
            Err(Denial::Us(why)) => self.reject(cx, now, why),
        }
    }

    fn authenticate(&self, message: &Authentic<'_>) -> Result<PeerAuthenticated, Denial> {
        let payloads = message.payloads();
        if self.expectation.response().check(payloads).is_err() {
            return Err(match payloads.error() {
                Some(error) => Denial::Peer(error.kind),
                None => Denial::Us(Failure::Protocol),
            });
        }
        let claim =
            Claim::of(payloads, Role::Responder).ok_or(Denial::Us(Failure::WrongIdentity))?;
        if !self.expectation.peer.accepts(&claim.id) {
            return Err(Denial::Us(Failure::WrongIdentity));
        }
        let proof = self.expectation.proof(Some(&claim.id)).ok_or(Denial::Us(Failure::NoSecret))?;
        let with = (self.suite.prf, &self.keys.their_p);
        PeerAuthenticated::verify(with, &self.transcript, Role::Responder, claim, &[proof])
            .map_err(Denial::Us)
    }

    /// The peer is who it should be: the child, the ticket, the SA.
    fn finish(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        message: &Authentic<'_>,
        peer: PeerAuthenticated,
    ) -> Outcome {
        let payloads = message.payloads();
        let terms = match child::accept(&self.attempt.connection.child, payloads) {
            Ok(terms) => terms,
            Err(why) => return self.without_child(cx, now, why),
        };
        let grant = informational::grant(payloads, now);
        let connection = Arc::clone(&self.attempt.connection);
        let later = informational::ticket_later(payloads);
        report_ticket(cx, &connection, grant.as_ref(), later);
        let Self {
            attempt, origin, path, nat, encapsulation, suite, keys, transcript, spi_in, ..
        } = *self;
        let name = Arc::clone(&connection.name);
        let (how, authenticated_at, method) = match origin {
            Origin::Fresh { parked } => {
                if parked.is_some() {
                    let why = SessionEnd::Replaced;
                    cx.emit(Event::SessionLost { connection: name, why });
                }
                (How::Full, now.wall, AuthMethod::PreShared)
            }
            Origin::Resumed(resume) => {
                let (method, authenticated_at) = resume.established();
                (How::Resumed, authenticated_at, method)
            }
        };
        let founded = Founded {
            connection,
            line: Some(attempt.line),
            role: Role::Initiator,
            channel: Channel {
                protection: keys.protection,
                path,
                window: Window::new(AUTH_ID + 1, 0),
            },
            sk_d: keys.sk_d,
            suite,
            authenticated: None,
            authenticated_at,
            method,
            how,
            started: attempt.started,
            round_trips: attempt.round_trips,
            nat,
            encapsulation,
            group: attempt.group,
        };
        let mut established = Established::new(founded, &peer, grant, now.instant);
        if later {
            established.ask_later(now.instant);
        }
        let child = established.new_child(cx, spi_in, terms);
        established.install(cx, child, &transcript, None, attempt.waiting)
    }

    /// An authenticated peer without a child is of no use: it is told so.
    fn without_child(self: Box<Self>, cx: &mut Context, now: Now, why: Failure) -> Outcome {
        self.end_with(cx, now, why, Task::Delete)
    }

    /// The peer said no under protection of the SA's keys.
    fn denied(self: Box<Self>, cx: &mut Context, kind: NotifyType) -> Outcome {
        if let Origin::Fresh { .. } = self.origin {
            let why = match kind {
                NotifyType::AUTHENTICATION_FAILED => Failure::RefusedByPeer,
                other => Failure::Notify(other.0),
            };
            return self.fail(cx, why);
        }
        cx.spis.free(self.spi_in);
        let Self { attempt, origin, .. } = *self;
        let Origin::Resumed(resume) = origin else { return Outcome::gone() };
        if kind != NotifyType::AUTHENTICATION_FAILED {
            attempt.fell_back(cx, FallBack::Error(kind.0));
            return Outcome::restart(attempt, Start::Fresh { parked: Some(resume.unanswered()) });
        }
        match resume.with_other_form() {
            Ok(other) => Outcome::restart(attempt, Start::Resume(other)),
            Err(resume) => {
                resume.refused();
                let connection = Arc::clone(&attempt.connection.name);
                cx.emit(Event::SessionLost { connection, why: SessionEnd::Refused });
                attempt.fell_back(cx, FallBack::AuthenticationFailed);
                Outcome::restart(attempt, Start::Fresh { parked: None })
            }
        }
    }

    /// The peer is not who it should be: it is told so (RFC 7296 section 2.21.2).
    fn reject(self: Box<Self>, cx: &mut Context, now: Now, why: Failure) -> Outcome {
        self.end_with(cx, now, why, Task::Reject)
    }

    fn end_with(self: Box<Self>, cx: &mut Context, now: Now, why: Failure, task: Task) -> Outcome {
        cx.spis.free(self.spi_in);
        let Self { attempt, origin, path, keys, .. } = *self;
        let name = Arc::clone(&attempt.connection.name);
        let outcome = attempt.fail(cx, path, why, origin.into_session());
        let window = Window::new(AUTH_ID + 1, 0);
        let channel = Channel { protection: keys.protection, path, window };
        let sa = Deleting::begin(cx, now, name, channel, task, Vec::new());
        Outcome { sa, then: outcome.then }
    }

    pub(crate) fn due(&self) -> (Instant, Why) {
        (self.flight.due(), Why::Retransmit)
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if self.flight.retransmit(cx, now.instant, self.path).is_ok() {
            return Outcome::keep(IkeSa::Authenticating(self));
        }
        if let Origin::Fresh { .. } = self.origin {
            return self.fail(cx, Failure::Unanswered);
        }
        cx.spis.free(self.spi_in);
        let Self { attempt, origin, .. } = *self;
        attempt.fell_back(cx, FallBack::Silence);
        Outcome::restart(attempt, Start::Fresh { parked: origin.into_session() })
    }

    fn fail(self: Box<Self>, cx: &mut Context, why: Failure) -> Outcome {
        cx.spis.free(self.spi_in);
        let Self { attempt, origin, path, .. } = *self;
        attempt.fail(cx, path, why, origin.into_session())
    }

    /// Ended by a command, before the peer was known.
    pub(crate) fn abandon(self: Box<Self>, cx: &mut Context) -> Option<SuspendedSession> {
        cx.spis.free(self.spi_in);
        let Self { attempt, origin, .. } = *self;
        cx.reply(attempt.waiting, Err(Refusal::Failed(Failure::Ended)));
        origin.into_session()
    }
}

/// Why there is no authenticated peer.
enum Denial {
    /// It sent this error instead.
    Peer(NotifyType),
    /// What it sent does not convince us.
    Us(Failure),
}

fn request(
    cx: &mut Context,
    attempt: &Attempt,
    (prf, keys): (PrfAlg, &mut Keys),
    transcript: &Transcript,
    expectation: &Expectation,
    spi_in: Spi,
) -> Result<Arc<[u8]>, Failure> {
    let connection = &*attempt.connection;
    let our_id = &expectation.our_id;
    let proof = expectation.proof(expectation.expected_id()).ok_or(Failure::NoSecret)?;
    let with = (prf, &keys.our_p);
    let mac = proof.mac(with, transcript, Role::Initiator, &our_id.body());
    let is_first = attempt.initial_contact && matches!(expectation.basis, Basis::Credentials(_));
    let exchange = ExchangeType::AUTH;
    let sealed = keys.protection.request(&mut cx.provider, exchange, AUTH_ID, |builder| {
        push_id(builder, Role::Initiator, our_id);
        if let Some(peer) = expectation.expected_id() {
            push_id(builder, Role::Responder, peer);
        }
        push_auth(builder, &mac);
        if is_first {
            builder.notify(NotifyType::INITIAL_CONTACT, &[]);
        }
        if connection.resumption.enabled {
            builder.notify(NotifyType::TICKET_REQUEST, &[]);
        }
        child::offer(builder, &connection.child, spi_in);
    });
    sealed.map_err(|Unsendable| Failure::Protocol)
}

/// Tells what came of the request for a ticket.
fn report_ticket(cx: &mut Context, connection: &Connection, grant: Option<&Grant>, later: bool) {
    if !connection.resumption.enabled {
        return;
    }
    let connection = Arc::clone(&connection.name);
    cx.emit(match grant {
        Some(grant) => Event::TicketGranted {
            connection,
            len: grant.ticket.octets().len(),
            lifetime: grant.lifetime,
        },
        None => Event::TicketDenied { connection, later },
    });
}
