//! An SA that we asked for, with keys: IKE_AUTH is on its way.

use std::net::IpAddr;
use std::sync::Arc;

use crypto::{IkeSuite, PrfAlg};
use esp::packet::Flow;
use esp::spec::Spi;

use crate::config::{ChildIndex, Connection, NamedPpk};
use crate::context::Context;
use crate::crash::PeerToken;
use crate::event::{Event, FallBack, How, Path, Role, SessionEnd};
use crate::exchange::auth::{self, Claim, Expectation, PeerAuthenticated, push_auth, push_id};
use crate::exchange::nat::{Nat, Way};
use crate::exchange::{
    Transcript, certificates, child, configuration, informational, lifetime, mobike, ppk,
};
use crate::fault::{Discard, Failure};
use crate::inner::Addresses;
use crate::redirect::{self, Gateway};
use crate::sa::channel::Channel;
use crate::sa::closing::{Deleting, Withdrawing};
use crate::sa::datagram::Datagram;
use crate::sa::established::{Awaited, Established, Founded, Side};
use crate::sa::fragments::Datagrams;
use crate::sa::protection::{Authentic, Keys, OpenFault, Unsendable};
use crate::sa::window::{Flight, Intent, Window};
use crate::sa::{Attempt, IkeSa, Outcome, Redirection, Start, Then, Why, inner};
use crate::session::{Grant, ResumeAttempt, SuspendedSession};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, Header, NotifyType};

pub(crate) struct Authenticating {
    pub(crate) attempt: Attempt,
    basis: Basis,
    suite: IkeSuite,
    keys: Keys,
    transcript: Transcript,
    /// Another answer to our first request has come since: the one that we
    /// went by may have been forged or altered.
    is_contested: bool,
    spi_in: Spi,
    /// Our other addresses, as the peer was told.
    told: Vec<IpAddr>,
    flight: Flight,
}

/// What the first exchange has led to.
pub(crate) struct Basis {
    pub(crate) origin: Origin,
    pub(crate) way: Way,
    /// Whether we sent a cookie that anybody may have given us: the peer may
    /// have answered our first request without it.
    pub(crate) hinted: bool,
    pub(crate) expectation: Expectation,
    /// The PPK to mix in, if the peer says that it uses PPKs; then, that which is.
    pub(crate) ppk: Option<Arc<NamedPpk>>,
    /// Whether there is to be no child yet (RFC 6023).
    pub(crate) childless: bool,
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

/// Whether a message is of the kind that answers IKE_AUTH.
pub(crate) fn is_auth_response(header: &Header, auth_id: u32) -> bool {
    header.flags.response && header.exchange == ExchangeType::AUTH && header.message_id == auth_id
}

impl Origin {
    const fn exchange(&self) -> ExchangeType {
        match self {
            Self::Fresh { .. } => ExchangeType::SA_INIT,
            Self::Resumed(_) => ExchangeType::SESSION_RESUME,
        }
    }

    /// Transmissions of IKE_AUTH. Beside a resumption there is something else to try.
    const fn tries(&self, cx: &Context) -> u32 {
        match self {
            Self::Fresh { .. } => cx.retransmission.tries,
            Self::Resumed(_) => cx.retransmission.resume_tries,
        }
    }

    pub(crate) fn into_start(self) -> Start {
        match self {
            Self::Fresh { parked } => Start::Fresh { parked },
            Self::Resumed(resume) => Start::Resume(resume),
        }
    }

    pub(crate) fn into_session(self) -> Option<SuspendedSession> {
        match self {
            Self::Fresh { parked } => parked,
            Self::Resumed(resume) => Some(resume.unanswered()),
        }
    }

    /// The peer has accepted what we showed it: a ticket is used up (B3).
    fn spend(self, cx: &mut Context, attempt: &Attempt) -> Option<SuspendedSession> {
        match self {
            Self::Fresh { parked } => parked,
            Self::Resumed(resume) => {
                resume.refused();
                attempt.session_lost(cx, SessionEnd::Refused);
                None
            }
        }
    }
}

impl Authenticating {
    /// Sends IKE_AUTH.
    pub(crate) fn begin(
        cx: &mut Context,
        now: Now,
        attempt: Attempt,
        (basis, is_contested): (Basis, bool),
        ((suite, mut keys), transcript): ((IkeSuite, Keys), Transcript),
    ) -> Outcome {
        let path = basis.way.path;
        let told = cx.other_addresses(&attempt.connection, &path);
        let spi_in = cx.new_spi();
        let of = (&transcript, &basis, &*told);
        let request = request(cx, &attempt, (suite.prf, &mut keys), of, spi_in);
        let request = match request {
            Ok(request) => request,
            Err(why) => {
                cx.spis.free(spi_in);
                return attempt.fail(cx, path, why, basis.origin.into_session());
            }
        };
        let tries = basis.origin.tries(cx);
        let flight = Flight::launch(cx, now.instant, path, request, tries);
        Outcome::keep(IkeSa::Authenticating(Box::new(Self {
            attempt,
            basis,
            suite,
            keys,
            transcript,
            is_contested,
            spi_in,
            told,
            flight,
        })))
    }

    pub(crate) const fn path(&self) -> Path {
        self.basis.way.path
    }

    /// Goes on over another TCP connection.
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.basis.way.path = path;
        self.flight.resend(cx, now, path);
    }

    pub(crate) const fn suite(&self) -> IkeSuite {
        self.suite
    }

    pub(crate) fn receive(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if !is_auth_response(&datagram.header, self.transcript.auth_id) {
            self.is_contested |= self.contests(datagram);
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Authenticating(self));
        }
        let local = datagram.path.local;
        let message = match self.keys.protection.open(datagram) {
            Ok(message) => message,
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Authenticating(self));
            }
            Err(OpenFault::Peer(_)) => return self.fail(cx, Failure::Protocol),
        };
        self.attempt.round_trips += 1;
        self.basis.way.path.local = local;
        match self.authenticate(now, &message) {
            Ok(peer) => self.finish(cx, now, &message, peer),
            Err(Denial::Peer(kind)) => self.denied(cx, kind),
            Err(Denial::Us(why)) => self.reject(cx, now, why),
        }
    }

    /// Whether this is another answer to our first request than the one that
    /// we went by.
    fn contests(&self, datagram: &Datagram<'_>) -> bool {
        datagram.header.flags.response
            && datagram.header.exchange == self.basis.origin.exchange()
            && **datagram != *self.transcript.response
    }

    fn authenticate(
        &mut self,
        now: Now,
        message: &Authentic<'_>,
    ) -> Result<PeerAuthenticated, Denial> {
        let payloads = message.payloads();
        let expectation = &self.basis.expectation;
        if expectation.response().check(payloads).is_err() {
            return Err(match payloads.error() {
                Some(error) => Denial::Peer(error.kind),
                None => Denial::Us(Failure::Protocol),
            });
        }
        let claim =
            Claim::of(payloads, Role::Responder).ok_or(Denial::Us(Failure::WrongIdentity))?;
        if !expectation.peer.accepts(&claim.id) {
            return Err(Denial::Us(Failure::WrongIdentity));
        }
        let demand = expectation.demand(&claim.id, now.wall);
        let demand = demand.ok_or(Denial::Us(Failure::NoSecret))?;
        // Without a word of it, the peer goes on without the PPK (RFC 8784 section 3).
        match (&self.basis.ppk, ppk::identity(payloads)) {
            (Some(ppk), Some(_)) => self.keys.mix(&ppk.key),
            (Some(_), None) if self.attempt.connection.ppk.required => {
                return Err(Denial::Us(Failure::NoPpk));
            }
            (Some(_), None) | (None, _) => self.basis.ppk = None,
        }
        let with = (self.suite.prf, &self.keys.their_p);
        PeerAuthenticated::verify(with, &self.transcript, Role::Responder, claim, demand)
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
        if let Some(to) = redirect::target(&self.attempt.connection, payloads) {
            return self.redirected(cx, now, to);
        }
        let (connection, wanted) = (&self.attempt.connection, self.attempt.wanted);
        let accepted = if self.basis.childless {
            inner::accept_childless(wanted, payloads).map(|given| (None, given))
        } else {
            let ends = self.basis.way.ends(cx);
            let accepted = inner::accept(connection, (wanted, ends), payloads);
            accepted.map(|(terms, given)| (Some(terms), given))
        };
        let (terms, given) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => return self.without_child(cx, now, why),
        };
        let grant = informational::grant(payloads, now);
        let connection = Arc::clone(&self.attempt.connection);
        let later = informational::ticket_later(payloads);
        report_ticket(cx, &connection, grant.as_ref(), later);
        let Self { attempt, basis, suite, keys, transcript, spi_in, told, .. } = *self;
        let Way { path, nat, encapsulation } = basis.way;
        let wanted = lifetime::wanted(payloads, now);
        let (how, authenticated_at, method, ppk, prove_by) = match basis.origin {
            Origin::Fresh { parked } => {
                if parked.is_some() {
                    attempt.session_lost(cx, SessionEnd::Replaced);
                }
                let ppk = basis.ppk.map(|ppk| Arc::clone(&ppk.id));
                (How::Full, now.wall, connection.auth.local.method(), ppk, wanted)
            }
            Origin::Resumed(resume) => {
                let prove_by = wanted.or(resume.session().prove_by);
                let (method, authenticated_at, ppk) = resume.established();
                (How::Resumed, authenticated_at, method, ppk, prove_by)
            }
        };
        let founded = Founded {
            connection,
            side: Side::Line { index: attempt.line, groups: attempt.groups },
            channel: Channel {
                protection: keys.protection,
                path,
                window: Window::new(transcript.auth_id + 1, 0),
            },
            sk_d: keys.sk_d,
            suite,
            authenticated: None,
            authenticated_at,
            evidence: None,
            method,
            ppk,
            how,
            started: attempt.started,
            round_trips: attempt.round_trips,
            nat,
            encapsulation,
            mobike: mobike::accepted(payloads).filter(|_| attempt.connection.mobike),
            told,
            inner: given.as_ref().map_or(Addresses::NONE, |given| given.addresses),
            remotes: attempt.route.addresses(cx),
            gateway: attempt.towards.gateway(),
            redirectable: false,
            beside: false,
            wish: None,
        };
        if let Some(given) = given {
            cx.receive_addresses(&founded.connection, given);
        }
        let mut established = Established::new(founded, &peer, grant, now.instant);
        established.keep_crash_token(PeerToken::of(payloads));
        established.note_trigger(attempt.trigger);
        established.begin_proof(cx, now);
        established.obey(cx, now, prove_by);
        if later {
            established.ask_later(now.instant);
        }
        match terms {
            Some(terms) => {
                let awaited = Awaited::ByUs(attempt.waiting);
                established.install(cx, (spi_in, terms), &transcript, awaited)
            }
            None => {
                cx.spis.free(spi_in);
                established.begin_childless(cx, now, attempt.waiting)
            }
        }
    }

    /// An authenticated peer without a child is of no use: it is told so. The
    /// ticket that it has accepted is used up (B3).
    fn without_child(self: Box<Self>, cx: &mut Context, now: Now, why: Failure) -> Outcome {
        let (attempt, origin, channel) = self.part(cx);
        let session = origin.spend(cx, &attempt);
        end_with(cx, now, (attempt, session), (channel, Intent::Delete), why)
    }

    /// The peer is who it should be, and sends us to another gateway: the SA
    /// that stands between us is of no use (RFC 5685 section 6).
    fn redirected(self: Box<Self>, cx: &mut Context, now: Now, to: Gateway) -> Outcome {
        let (attempt, origin, channel) = self.part(cx);
        let start = Start::Fresh { parked: origin.spend(cx, &attempt) };
        let (name, path) = (Arc::clone(&attempt.connection.name), channel.path);
        let sa = Deleting::begin(cx, now, name, channel, Intent::Delete, Vec::new());
        let redirection = Redirection { attempt, start, path, to };
        Outcome { sa, then: Then::Redirect(Box::new(redirection)) }
    }

    /// The peer is not who it should be: it is told so (RFC 7296 section 2.21.2).
    /// It may still show who it is if what we went by was altered on the way,
    /// or in a full exchange, where a session was to be resumed.
    fn reject(mut self: Box<Self>, cx: &mut Context, now: Now, why: Failure) -> Outcome {
        let retries = self.is_contested && self.attempt.spend_retry();
        let (attempt, origin, channel) = self.part(cx);
        let name = Arc::clone(&attempt.connection.name);
        let restart = match origin {
            Origin::Fresh { parked } if retries => {
                Outcome::restart(attempt, Start::Fresh { parked })
            }
            Origin::Fresh { parked } => {
                return end_with(cx, now, (attempt, parked), (channel, Intent::Reject), why);
            }
            Origin::Resumed(resume) => without_ticket(cx, attempt, resume),
        };
        let sa = Deleting::begin(cx, now, name, channel, Intent::Reject, Vec::new());
        Outcome { sa, then: restart.then }
    }

    /// The peer said no under protection of the SA's keys.
    fn denied(mut self: Box<Self>, cx: &mut Context, kind: NotifyType) -> Outcome {
        let is_doubtful = self.is_contested || self.basis.hinted;
        let is_refusal = kind == NotifyType::AUTHENTICATION_FAILED;
        // Addresses are not authentic, either (RFC 4555 section 3.9).
        let is_rewritten = kind == NotifyType::UNEXPECTED_NAT_DETECTED;
        if (is_refusal && is_doubtful || is_rewritten) && self.attempt.spend_retry() {
            return self.begin_anew(cx);
        }
        let (attempt, origin, channel) = self.part(cx);
        match (origin, is_refusal) {
            (Origin::Fresh { parked }, true) => {
                attempt.fail(cx, channel.path, Failure::RefusedByPeer, parked)
            }
            (Origin::Fresh { parked }, false) => {
                attempt.fail(cx, channel.path, Failure::Notify(kind.0), parked)
            }
            (Origin::Resumed(resume), true) => match resume.with_other_form() {
                Ok(other) => Outcome::restart(attempt, Start::Resume(other)),
                Err(resume) => without_ticket(cx, attempt, resume),
            },
            (Origin::Resumed(resume), false) => {
                attempt.fell_back(cx, FallBack::Error(kind.0));
                let parked = Some(resume.unanswered());
                Outcome::restart(attempt, Start::Fresh { parked })
            }
        }
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.flight.due(), Why::Retransmit)
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        let is_due = self.flight.due() <= now.instant;
        if is_due && self.is_contested && self.attempt.spend_retry() {
            return self.begin_anew(cx);
        }
        let path = self.path();
        if self.flight.retransmit(cx, now.instant, path).is_ok() {
            return Outcome::keep(IkeSa::Authenticating(self));
        }
        let (mut attempt, origin, _) = self.part(cx);
        match origin {
            Origin::Fresh { parked } => {
                attempt.leave(cx, path, Failure::Unanswered, Start::Fresh { parked })
            }
            Origin::Resumed(resume) => {
                attempt.rewind(None);
                attempt.fell_back(cx, FallBack::Silence);
                let parked = Some(resume.unanswered());
                Outcome::restart(attempt, Start::Fresh { parked })
            }
        }
    }

    /// See [`IkeSa::roam`].
    pub(crate) fn roam(self: Box<Self>, cx: &mut Context) -> Outcome {
        if cx.addresses.contains(&self.path().local.ip()) {
            return Outcome::keep(IkeSa::Authenticating(self));
        }
        let (mut attempt, origin, _) = self.part(cx);
        attempt.set_out_again();
        Outcome::restart(attempt, origin.into_start())
    }

    /// From the first request on, as if nothing had been said.
    fn begin_anew(self: Box<Self>, cx: &mut Context) -> Outcome {
        let (attempt, origin, _) = self.part(cx);
        Outcome::restart(attempt, origin.into_start())
    }

    fn fail(self: Box<Self>, cx: &mut Context, why: Failure) -> Outcome {
        let (attempt, origin, channel) = self.part(cx);
        attempt.fail(cx, channel.path, why, origin.into_session())
    }

    /// Ended by a command, before the peer was known.
    pub(crate) fn abandon(self: Box<Self>, cx: &mut Context) -> Box<Withdrawing> {
        cx.spis.free(self.spi_in);
        let Self { attempt, basis, keys, transcript, flight, .. } = *self;
        let connection = Arc::clone(&attempt.connection.name);
        attempt.abandon(cx, basis.origin.into_session());
        let (protection, path) = (keys.protection, basis.way.path);
        Box::new(Withdrawing { connection, protection, path, flight, auth_id: transcript.auth_id })
    }

    /// The parts that go on without the SA, of which the plane has not heard yet.
    fn part(self: Box<Self>, cx: &mut Context) -> (Attempt, Origin, Channel) {
        cx.spis.free(self.spi_in);
        let Self { attempt, basis, keys, transcript, .. } = *self;
        let window = Window::new(transcript.auth_id + 1, 0);
        let channel = Channel { protection: keys.protection, path: basis.way.path, window };
        (attempt, basis.origin, channel)
    }
}

impl Attempt {
    pub(crate) fn spend_retry(&mut self) -> bool {
        let left = self.retries_left.checked_sub(1);
        self.retries_left = left.unwrap_or(0);
        left.is_some()
    }
}

/// The attempt has failed, and the peer is told so.
fn end_with(
    cx: &mut Context,
    now: Now,
    (attempt, session): (Attempt, Option<SuspendedSession>),
    (channel, task): (Channel, Intent),
    why: Failure,
) -> Outcome {
    let (name, path) = (Arc::clone(&attempt.connection.name), channel.path);
    let Outcome { then, .. } = attempt.fail(cx, path, why, session);
    Outcome { sa: Deleting::begin(cx, now, name, channel, task, Vec::new()), then }
}

/// The gateway and we do not agree on what the ticket stands for: a full
/// exchange instead.
fn without_ticket(cx: &mut Context, attempt: Attempt, resume: ResumeAttempt) -> Outcome {
    resume.refused();
    attempt.session_lost(cx, SessionEnd::Refused);
    attempt.fell_back(cx, FallBack::AuthenticationFailed);
    Outcome::restart(attempt, Start::Fresh { parked: None })
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
    (transcript, basis, told): (&Transcript, &Basis, &[IpAddr]),
    spi_in: Spi,
) -> Result<Datagrams, Failure> {
    let connection = &*attempt.connection;
    let Basis { expectation, way, ppk, .. } = basis;
    let our_id = &expectation.our_id;
    let proof = expectation.proof(expectation.expected_id()).ok_or(Failure::NoSecret)?;
    let mixed = ppk.as_ref().map(|ppk| keys.our_p.with_ppk(&ppk.key));
    let make = |sk_p| proof.make((prf, sk_p), transcript, Role::Initiator, &our_id.body());
    let auth = make(mixed.as_ref().unwrap_or(&keys.our_p))?;
    let is_optional = ppk.is_some() && !connection.ppk.required;
    let without = is_optional.then(|| make(&keys.our_p)).transpose()?;
    let ends = way.ends(cx);
    let traffic = (!basis.childless).then(|| child::first_traffic(&connection.children, ends));
    let traffic = traffic.transpose()?.map(|traffic| child::led_by(first_packet(attempt), traffic));
    let is_first =
        attempt.initial_contact && matches!(expectation.basis, auth::Basis::Credentials(_));
    let (exchange, id) = (ExchangeType::AUTH, transcript.auth_id);
    let sealed = keys.protection.request(&mut cx.provider, &way.path, exchange, id, |builder| {
        push_id(builder, Role::Initiator, our_id);
        if let Some(credential) = expectation.credential() {
            certificates::push(builder, credential);
        }
        expectation.wanted().push(builder);
        if let Some(peer) = expectation.expected_id() {
            push_id(builder, Role::Responder, peer);
        }
        push_auth(builder, &auth);
        if let Some(ppk) = ppk {
            ppk::push_identity(builder, &ppk.id, without.as_ref());
        }
        if is_first {
            builder.notify(NotifyType::INITIAL_CONTACT, &[]);
        }
        if connection.resumption.enabled {
            builder.notify(NotifyType::TICKET_REQUEST, &[]);
        }
        if !attempt.wanted.is_empty() {
            configuration::push_request(builder, attempt.wanted);
        }
        if let Some(traffic) = &traffic {
            child::offer(builder, &connection.children, traffic, spi_in);
        }
        if connection.mobike {
            let no_nats = (way.nat == Nat::NotSupported).then_some(&way.path);
            mobike::offer(builder, told, no_nats);
        }
    });
    sealed.map_err(|Unsendable| Failure::Protocol)
}

/// The packet that the first child is asked for by reason of. Where our side of
/// the traffic is what we are given, it may have no other address than the one
/// that we ask for.
fn first_packet(attempt: &Attempt) -> Option<Flow> {
    let packet = attempt.trigger.as_ref()?.of(ChildIndex::FIRST)?;
    let is_known = |address: &IpAddr| !address.is_unspecified();
    let mut ours = attempt.wanted.iter().filter(is_known);
    let is_any = !attempt.connection.children.first.dynamic;
    (is_any || ours.any(|it| it == packet.source)).then_some(packet)
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
