//! An SA that we asked for: IKE_SA_INIT or IKE_SESSION_RESUME is on its way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::{Group, IkeSuite, KeyExchange, Skeyseed};
use esp::spec::StreamId;

use crate::config::{Childless, Connection, PpkUse, TcpUse};
use crate::context::Context;
use crate::event::{Event, FallBack, How, Path, Port, Role, SessionEnd};
use crate::exchange::auth::{self, Expectation};
use crate::exchange::nat::{self, Way};
use crate::exchange::{Transcript, ppk, sa_init, session_resume};
use crate::fault::{Discard, Failure, Refusal};
use crate::identity::IdPattern;
use crate::proposal::group_of;
use crate::sa::authenticating::{Authenticating, Basis, Origin};
use crate::sa::datagram::Datagram;
use crate::sa::dialing::{Transport, tcp_path};
use crate::sa::intermediate::Intermediate;
use crate::sa::protection::{Keys, Spis, Unsendable};
use crate::sa::window::Flight;
use crate::sa::{Attempt, IkeSa, Outcome, Redirection, Start, Then, Why};
use crate::session::{ResumeAttempt, SuspendedSession};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, IkeSpi, Message, Notify, NotifyType};

/// Cookies and group corrections that an attempt follows; anybody can send them.
const MAX_HINTS: u8 = 4;

/// Octets of a cookie (RFC 7296 section 2.6).
const COOKIE_LEN: std::ops::RangeInclusive<usize> = 1..=64;

/// How long an unauthenticated refusal may be contradicted by a good answer
/// before it is believed (RFC 7296 section 2.21.1).
const DOUBT: Duration = Duration::from_secs(1);

/// Octets of our nonces: at least half the size of the largest PRF's key
/// (RFC 7296 section 2.10).
pub(crate) const NONCE_LEN: usize = 32;

pub(crate) struct Initiating {
    pub(crate) attempt: Attempt,
    spi: IkeSpi,
    path: Path,
    nonce: [u8; NONCE_LEN],
    cookie: Option<Box<[u8]>>,
    bootstrap: Bootstrap,
    flight: Flight,
    hints_left: u8,
    doubt: Option<(Failure, Instant)>,
    /// A TCP connection that is being opened, while UDP goes on.
    dialled: Option<StreamId>,
}

/// How the SA begins. This is the one place that decides between a full
/// exchange and a resumption.
pub(crate) enum Bootstrap {
    /// With a key exchange.
    Fresh {
        /// Our half of it.
        key_exchange: KeyExchange,
        /// A session that could not be resumed just now.
        parked: Option<SuspendedSession>,
    },
    /// With a ticket.
    Resumed(ResumeAttempt),
}

impl Bootstrap {
    const fn exchange(&self) -> ExchangeType {
        match self {
            Self::Fresh { .. } => ExchangeType::SA_INIT,
            Self::Resumed(_) => ExchangeType::SESSION_RESUME,
        }
    }

    /// The group of the value that was sent.
    fn group(&self) -> Option<Group> {
        match self {
            Self::Fresh { key_exchange, .. } => Some(key_exchange.group()),
            Self::Resumed(_) => None,
        }
    }
}

/// An attempt that could not begin, the session that was to be resumed or was
/// parked, and why.
type NotBegun = Box<(Attempt, Option<SuspendedSession>, Failure)>;

impl Initiating {
    /// Sends the first request of an attempt from `local`.
    ///
    /// # Errors
    /// [`NotBegun`].
    pub(crate) fn start(
        cx: &mut Context,
        now: Now,
        spi: IkeSpi,
        path: Path,
        attempt: Attempt,
        start: Start,
    ) -> Result<Box<Self>, NotBegun> {
        let (how, bootstrap) = match start {
            Start::Resume(resume) => (How::Resumed, Bootstrap::Resumed(resume)),
            Start::Fresh { parked } => match key_exchange(cx, &attempt, None) {
                Some(key_exchange) => (How::Full, Bootstrap::Fresh { key_exchange, parked }),
                None => return Err(Box::new((attempt, parked, Failure::BadKeyExchange))),
            },
        };
        let nonce = cx.provider.array();
        let first = FirstRequest { attempt: &attempt, spi, path, nonce: &nonce, cookie: None };
        let Ok(request) = first.build(cx, &bootstrap) else {
            return Err(Box::new((attempt, bootstrap.into_session(), Failure::Protocol)));
        };
        let connection = Arc::clone(&attempt.connection.name);
        cx.emit(Event::Started { connection, how, remote: path.remote });
        let tries = tries(cx, (&attempt, path), &bootstrap);
        let flight = Flight::launch(cx, now.instant, path, request, tries);
        Ok(Box::new(Self {
            attempt,
            spi,
            path,
            nonce,
            cookie: None,
            bootstrap,
            flight,
            hints_left: MAX_HINTS,
            doubt: None,
            dialled: None,
        }))
    }

    pub(crate) const fn path(&self) -> Path {
        self.path
    }

    pub(crate) fn stream(&self) -> Option<StreamId> {
        self.path.stream().or(self.dialled)
    }

    /// A TCP connection is open. UDP was not answered before it was, so that the
    /// attempt goes on by it, with another SPI (RFC 9329 section 5.1). What was
    /// asked by TCP already is asked again.
    pub(crate) fn opened(mut self: Box<Self>, cx: &mut Context, now: Now, path: Path) -> Outcome {
        if self.path.stream().is_some() {
            self.path = path;
            self.flight.resend(cx, now.instant, path);
            return Outcome::keep(IkeSa::Initiating(self));
        }
        let Self { mut attempt, bootstrap, .. } = *self;
        attempt.transport = Transport::Stream(path);
        Outcome::restart(attempt, bootstrap.into_start())
    }

    /// UDP was not answered: after some time TCP is tried beside it.
    fn dial_if_unheard(&mut self, cx: &mut Context) {
        let Transport::Udp(Some(left)) = &mut self.attempt.transport else { return };
        *left = left.saturating_sub(1);
        if *left == 0 && self.dialled.is_none() {
            let path = tcp_path(&self.attempt, self.path);
            self.dialled = Some(cx.dial(path.local, path.remote));
        }
    }

    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &Datagram<'_>,
    ) -> Outcome {
        if let Err(why) = self.check_answer(datagram) {
            return Outcome::discard(cx, why, IkeSa::Initiating(self));
        }
        let Ok(message) = Message::parse(datagram) else {
            return Outcome::discard(cx, Discard::BadPayload, IkeSa::Initiating(self));
        };
        let payloads = &message.payloads;
        if let Some(cookie) = payloads.notify(NotifyType::COOKIE) {
            return self.take_cookie(cx, now, cookie.data);
        }
        if let Some(redirect) = payloads.notify(NotifyType::REDIRECT) {
            return self.take_redirect(cx, redirect);
        }
        match self.bootstrap {
            Bootstrap::Fresh { .. } => self.receive_init(cx, now, &message, datagram),
            Bootstrap::Resumed(_) => self.receive_resume(cx, now, &message, datagram),
        }
    }

    fn check_answer(&self, datagram: &Datagram<'_>) -> Result<(), Discard> {
        let Datagram { header, path, .. } = datagram;
        if !header.flags.response {
            return Err(Discard::Reflected);
        }
        let fits = header.exchange == self.bootstrap.exchange()
            && header.message_id == 0
            && path.stream() == self.path.stream();
        if fits { Ok(()) } else { Err(Discard::Unexpected) }
    }

    /// The answer to IKE_SA_INIT.
    fn receive_init(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        message: &Message<'_>,
        datagram: &Datagram<'_>,
    ) -> Outcome {
        let payloads = &message.payloads;
        if let Some(notify) = payloads.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let wanted = notify.wanted_group().and_then(group_of);
            return self.change_group(cx, now, wanted);
        }
        if let Some(error) = payloads.error() {
            let failure = match error.kind {
                NotifyType::NO_PROPOSAL_CHOSEN => Failure::NoIkeProposal,
                other => Failure::Notify(other.0),
            };
            return self.doubt(cx, now, failure);
        }
        if let Err(why) = sa_init::RESPONSE.check(payloads) {
            return Outcome::discard(cx, why, IkeSa::Initiating(self));
        }
        let accepted =
            payloads.sa().and_then(|sa| sa_init::accepted(&self.attempt.connection.proposals, sa));
        let Some(suite) = accepted else { return self.doubt(cx, now, Failure::NoIkeProposal) };
        if !suite.additional.is_empty() && !sa_init::knows_intermediate(payloads) {
            return self.doubt(cx, now, Failure::Protocol);
        }
        let PpkUse { own, required, .. } = &self.attempt.connection.ppk;
        let ppk = own.clone().filter(|_| ppk::is_used(payloads));
        if *required && ppk.is_none() {
            return self.doubt(cx, now, Failure::NoPpk);
        }
        let allows = payloads.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some();
        let childless = match self.attempt.connection.childless {
            Childless::Force if !allows => return self.doubt(cx, now, Failure::NoChildless),
            Childless::Force | Childless::Prefer => allows,
            Childless::Allow | Childless::Never => false,
        };
        let (Some((group, public)), Some(nonce)) = (sa_init::key_share(payloads), payloads.nonce())
        else {
            return self.doubt(cx, now, Failure::Protocol);
        };
        let Bootstrap::Fresh { key_exchange, parked } = self.bootstrap else {
            return Outcome::keep(IkeSa::Initiating(self));
        };
        if group != suite.group || group != key_exchange.group() || message.header.spi_r.is_zero() {
            self.bootstrap = Bootstrap::Fresh { key_exchange, parked };
            return self.doubt(cx, now, Failure::Protocol);
        }
        let shared = match key_exchange.try_agree(public) {
            Ok(shared) => shared,
            Err(key_exchange) => {
                self.bootstrap = Bootstrap::Fresh { key_exchange, parked };
                return self.doubt(cx, now, Failure::BadKeyExchange);
            }
        };
        let knows = sa_init::knows_fragmentation(payloads);
        let room = self.attempt.connection.fragmentation.room(knows);
        let agreed = Agreed { suite, responder: message.header.spi_r, nonce, datagram, room };
        let (spis, transcript) = agreed.transcript(self.spi, self.flight.datagram(), &self.nonce);
        let seed = Skeyseed::initial(suite.prf, transcript.nonces(), shared);
        let keys = agreed.keys(spis, seed, &transcript);
        let expectation = Expectation::configured(&self.attempt.connection);
        let claims = (payloads, spis);
        let way =
            Way::of_initiator(cx, &self.attempt.connection, claims, (self.path, datagram.path));
        let mut attempt = self.attempt;
        attempt.round_trips += 1;
        let origin = Origin::Fresh { parked };
        let hinted = self.cookie.is_some();
        let basis = Basis { origin, way, hinted, expectation, ppk, childless };
        Intermediate::begin(cx, now, attempt, basis, spis, (keys, transcript))
    }

    /// The answer to IKE_SESSION_RESUME.
    fn receive_resume(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        message: &Message<'_>,
        datagram: &Datagram<'_>,
    ) -> Outcome {
        let payloads = &message.payloads;
        if payloads.notify(NotifyType::TICKET_NACK).is_some() {
            return self.fall_back(cx, FallBack::Nack);
        }
        if let Some(error) = payloads.error() {
            return self.fall_back(cx, FallBack::Error(error.kind.0));
        }
        if let Err(why) = session_resume::RESPONSE.check(payloads) {
            return Outcome::discard(cx, why, IkeSa::Initiating(self));
        }
        let Some(nonce) = payloads.nonce().filter(|_| !message.header.spi_r.is_zero()) else {
            return Outcome::discard(cx, Discard::MissingPayload, IkeSa::Initiating(self));
        };
        let Self { mut attempt, spi, path: asked, nonce: ni, cookie, bootstrap, flight, .. } =
            *self;
        let Bootstrap::Resumed(resume) = bootstrap else { return Outcome::gone() };
        let state = &resume.session().state;
        let (suite, responder) = (state.suite, message.header.spi_r);
        let knows = sa_init::knows_fragmentation(payloads);
        let room = attempt.connection.fragmentation.room(knows);
        let agreed = Agreed { suite, responder, nonce, datagram, room };
        let (spis, transcript) = agreed.transcript(spi, flight.datagram(), &ni);
        let keys = agreed.keys(spis, state.sk_d.resume(transcript.nonces()), &transcript);
        let expectation = Expectation {
            our_id: state.initiator.clone(),
            peer: IdPattern::Exact(state.responder.clone()),
            basis: auth::Basis::Session(resume.form()),
        };
        let way =
            Way::of_initiator(cx, &attempt.connection, (payloads, spis), (asked, datagram.path));
        attempt.round_trips += 1;
        let origin = Origin::Resumed(resume);
        let (hinted, ppk, childless) = (cookie.is_some(), None, false);
        let basis = Basis { origin, way, hinted, expectation, ppk, childless };
        Authenticating::begin(cx, now, attempt, (basis, false), (keys, transcript))
    }

    /// The responder wants to see that we are where we say (RFC 7296 section 2.6).
    fn take_cookie(mut self: Box<Self>, cx: &mut Context, now: Now, cookie: &[u8]) -> Outcome {
        if !COOKIE_LEN.contains(&cookie.len()) {
            return Outcome::discard(cx, Discard::BadPayload, IkeSa::Initiating(self));
        }
        if self.cookie.as_deref() == Some(cookie) || !self.spend_hint() {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Initiating(self));
        }
        self.cookie = Some(cookie.into());
        self.follow_hint(cx, now)
    }

    /// The responder sends us to another gateway. That may be anybody who has
    /// seen our request, so that it counts as little as a hint: who is there
    /// must prove to be the peer all the same (RFC 5685 section 3).
    fn take_redirect(mut self: Box<Self>, cx: &mut Context, redirect: Notify<'_>) -> Outcome {
        let Some((gateway, nonce)) = redirect.gateway() else {
            return Outcome::discard(cx, Discard::BadPayload, IkeSa::Initiating(self));
        };
        if nonce != self.nonce || !self.attempt.connection.redirect.follow {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Initiating(self));
        }
        self.attempt.round_trips += 1;
        let Self { attempt, path, bootstrap, .. } = *self;
        let (start, to) = (bootstrap.into_start(), gateway.into());
        Outcome::redirect(Redirection { attempt, start, path, to })
    }

    /// Whether another hint is followed. After too many in a row, one is for
    /// each time that we ask by ourselves.
    const fn spend_hint(&mut self) -> bool {
        let left = self.hints_left.checked_sub(1);
        if let Some(left) = left {
            self.hints_left = left;
        }
        left.is_some()
    }

    /// Asks again with what an unauthenticated answer told us. What another
    /// one has told us before is not what stands in the way.
    fn follow_hint(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        self.doubt = None;
        self.attempt.round_trips += 1;
        let first = FirstRequest {
            attempt: &self.attempt,
            spi: self.spi,
            path: self.path,
            nonce: &self.nonce,
            cookie: self.cookie.as_deref(),
        };
        let Ok(request) = first.build(cx, &self.bootstrap) else {
            return self.fail(cx, Failure::Protocol);
        };
        let tries = tries(cx, (&self.attempt, self.path), &self.bootstrap);
        self.flight = Flight::launch(cx, now.instant, self.path, request, tries);
        Outcome::keep(IkeSa::Initiating(self))
    }

    /// The responder wants another group (RFC 7296 section 1.2): one that we
    /// offered and have not sent a value for.
    fn change_group(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        wanted: Option<Group>,
    ) -> Outcome {
        let is_offered = |group: &Group| {
            self.attempt.connection.proposals.iter().any(|p| p.groups().contains(group))
        };
        let Some(wanted) = wanted.filter(is_offered) else {
            return self.doubt(cx, now, Failure::NoIkeProposal);
        };
        let is_sent = self.bootstrap.group() == Some(wanted);
        if is_sent || !self.spend_hint() {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Initiating(self));
        }
        let fresh = key_exchange(cx, &self.attempt, Some(wanted));
        let (Bootstrap::Fresh { key_exchange, .. }, Some(fresh)) = (&mut self.bootstrap, fresh)
        else {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Initiating(self));
        };
        *key_exchange = fresh;
        self.follow_hint(cx, now)
    }

    /// Anybody may have sent this refusal: it is believed when nothing better
    /// comes for a while. By TCP nothing better can come (RFC 9329 section 6.4).
    fn doubt(mut self: Box<Self>, cx: &mut Context, now: Now, failure: Failure) -> Outcome {
        if self.path.stream().is_some() {
            return self.leave(cx, failure);
        }
        self.doubt.get_or_insert((failure, now.instant + DOUBT));
        Outcome::keep(IkeSa::Initiating(self))
    }

    pub(crate) fn due(&self) -> (Instant, Why) {
        let retransmit = (self.flight.due(), Why::Retransmit);
        match self.doubt {
            Some((_, until)) => retransmit.min((until, Why::Doubt)),
            None => retransmit,
        }
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if let Some((failure, until)) = &self.doubt
            && *until <= now.instant
        {
            let failure = failure.clone();
            return self.leave(cx, failure);
        }
        let is_due = self.flight.due() <= now.instant;
        if self.flight.retransmit(cx, now.instant, self.path).is_ok() {
            self.hints_left = self.hints_left.max(1);
            if is_due {
                self.dial_if_unheard(cx);
            }
            return Outcome::keep(IkeSa::Initiating(self));
        }
        if self.path.stream().is_some() && self.attempt.connection.tcp == TcpUse::Auto {
            // Whoever takes the connection is not the peer, or cannot reach it.
            let Self { mut attempt, bootstrap, .. } = *self;
            attempt.transport = Transport::Udp(None);
            return Outcome::restart(attempt, bootstrap.into_start());
        }
        let has_more = self.attempt.has_more(cx, self.path.remote.ip());
        match self.bootstrap {
            Bootstrap::Resumed(_) if !has_more => self.fall_back(cx, FallBack::Silence),
            Bootstrap::Fresh { .. } | Bootstrap::Resumed(_) => self.leave(cx, Failure::Unanswered),
        }
    }

    /// See [`IkeSa::roam`]. Where the system chooses the address, the request goes
    /// out once more.
    pub(crate) fn roam(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        let local = self.path.local.ip();
        if self.path.stream().is_some() {
            // The connection ends by itself.
            return Outcome::keep(IkeSa::Initiating(self));
        }
        if !local.is_unspecified() && !cx.addresses.contains(&local) {
            let Self { mut attempt, bootstrap, .. } = *self;
            attempt.set_out_again();
            return Outcome::restart(attempt, bootstrap.into_start());
        }
        if local.is_unspecified() {
            let tries = tries(cx, (&self.attempt, self.path), &self.bootstrap);
            self.flight.reroute(cx, now.instant, self.path, tries);
        }
        Outcome::keep(IkeSa::Initiating(self))
    }

    /// A full exchange instead. What refused the ticket was not authenticated,
    /// so the session is kept beside it until the full exchange succeeds.
    fn fall_back(self: Box<Self>, cx: &mut Context, why: FallBack) -> Outcome {
        let Self { mut attempt, path, bootstrap, .. } = *self;
        match why {
            FallBack::Silence => attempt.rewind(None),
            FallBack::Nack | FallBack::Error(_) | FallBack::AuthenticationFailed => {
                attempt.round_trips += 1;
                attempt.rewind(Some(path.remote.ip()));
            }
        }
        attempt.fell_back(cx, why);
        Outcome::restart(attempt, Start::Fresh { parked: bootstrap.into_session() })
    }

    fn leave(self: Box<Self>, cx: &mut Context, why: Failure) -> Outcome {
        let Self { attempt, path, bootstrap, .. } = *self;
        attempt.leave(cx, path, why, bootstrap.into_start())
    }

    fn fail(self: Box<Self>, cx: &mut Context, why: Failure) -> Outcome {
        let Self { attempt, path, bootstrap, .. } = *self;
        attempt.fail(cx, path, why, bootstrap.into_session())
    }

    /// Ended by a command, before anything was agreed.
    pub(crate) fn abandon(self: Box<Self>, cx: &mut Context) {
        let Self { attempt, bootstrap, .. } = *self;
        attempt.abandon(cx, bootstrap.into_session());
    }
}

impl Bootstrap {
    /// For another attempt of the same kind.
    fn into_start(self) -> Start {
        match self {
            Self::Fresh { parked, .. } => Start::Fresh { parked },
            Self::Resumed(resume) => Start::Resume(resume),
        }
    }

    /// The session that is given back when nothing came of it.
    fn into_session(self) -> Option<SuspendedSession> {
        match self {
            Self::Fresh { parked, .. } => parked,
            Self::Resumed(resume) => Some(resume.unanswered()),
        }
    }
}

impl Attempt {
    /// Ended by a command: so is the session that it was about (D8).
    pub(crate) fn abandon(self, cx: &mut Context, session: Option<SuspendedSession>) {
        if session.is_some() {
            self.session_lost(cx, SessionEnd::Command);
        }
        cx.reply(self.waiting, Err(Refusal::Failed(Failure::Ended)));
    }

    pub(crate) fn session_lost(&self, cx: &mut Context, why: SessionEnd) {
        cx.emit(Event::SessionLost { connection: Arc::clone(&self.connection.name), why });
    }

    pub(crate) fn fell_back(&self, cx: &mut Context, why: FallBack) {
        cx.emit(Event::FellBack { connection: Arc::clone(&self.connection.name), why });
    }

    /// Ends without an SA. A session that may still be good is kept.
    pub(crate) fn fail(
        self,
        cx: &mut Context,
        path: Path,
        why: Failure,
        session: Option<SuspendedSession>,
    ) -> Outcome {
        self.end(cx, (Some(path.remote), why.clone()), Refusal::Failed(why), session)
    }

    /// As [`Self::fail`], with what is told to those who wait.
    pub(crate) fn end(
        self,
        cx: &mut Context,
        (remote, why): (Option<SocketAddr>, Failure),
        told: Refusal,
        session: Option<SuspendedSession>,
    ) -> Outcome {
        cx.counters.failed += 1;
        let connection = Some(Arc::clone(&self.connection.name));
        let role = Role::Initiator;
        let event = why.clone();
        cx.emit(Event::Failed { connection, peer: None, remote, role, why: event });
        cx.reply(self.waiting, Err(told));
        Outcome::gone().then(Then::Failed(why, session.map(Box::new)))
    }
}

/// What the first request is made of.
struct FirstRequest<'a> {
    attempt: &'a Attempt,
    spi: IkeSpi,
    path: Path,
    nonce: &'a [u8],
    cookie: Option<&'a [u8]>,
}

impl FirstRequest<'_> {
    fn build(&self, cx: &mut Context, bootstrap: &Bootstrap) -> Result<Arc<[u8]>, Unsendable> {
        let Self { attempt, path, nonce, cookie, .. } = *self;
        let connection = &*attempt.connection;
        let spis = Spis { initiator: self.spi, responder: IkeSpi::ZERO };
        let pretend_nat = nat::pretends(cx, connection, &path);
        let fragmentation = connection.fragmentation.is_announced();
        let redirect = connection.redirect.follow.then(|| attempt.towards.notify());
        match bootstrap {
            Bootstrap::Fresh { key_exchange, .. } => {
                let proposals = &connection.proposals;
                let request = sa_init::Request {
                    proposals,
                    spis,
                    path,
                    cookie,
                    key_exchange,
                    nonce,
                    pretend_nat,
                    fragmentation,
                    ppk: connection.ppk.own.is_some(),
                    redirect,
                };
                request.build(&mut cx.provider)
            }
            Bootstrap::Resumed(resume) => {
                let ticket = &resume.session().ticket;
                let request = session_resume::Request {
                    spis,
                    path,
                    cookie,
                    nonce,
                    ticket,
                    pretend_nat,
                    fragmentation,
                    redirect,
                };
                request.build(&mut cx.provider)
            }
        }
    }
}

/// What the first exchange settled.
struct Agreed<'a> {
    suite: IkeSuite,
    responder: IkeSpi,
    nonce: &'a [u8],
    datagram: &'a [u8],
    /// Octets above which messages go out in fragments.
    room: Option<usize>,
}

impl Agreed<'_> {
    fn transcript(&self, initiator: IkeSpi, request: &Arc<[u8]>, ni: &[u8]) -> (Spis, Transcript) {
        let spis = Spis { initiator, responder: self.responder };
        let answer = (self.datagram.into(), self.nonce);
        (spis, Transcript::new((Arc::clone(request), ni), answer))
    }

    fn keys(&self, spis: Spis, seed: Skeyseed, transcript: &Transcript) -> (IkeSuite, Keys) {
        let on_wire = crypto::IkeSpis { initiator: spis.initiator.0, responder: spis.responder.0 };
        let keys = seed.expand(self.suite, transcript.nonces(), on_wire);
        (self.suite, Keys::new(Role::Initiator, spis, keys, self.room))
    }
}

/// A key exchange in the group wanted, if it is among those of the connection,
/// or in the first of those.
fn key_exchange(cx: &mut Context, attempt: &Attempt, wanted: Option<Group>) -> Option<KeyExchange> {
    let mut groups = attempt.connection.proposals.iter().flat_map(|p| p.groups());
    let group = match wanted {
        None => groups.next(),
        Some(wanted) => groups.find(|&&group| group == wanted),
    }?;
    cx.provider.key_exchange(*group).ok()
}

fn tries(cx: &Context, (attempt, path): (&Attempt, Path), bootstrap: &Bootstrap) -> u32 {
    // Where there is something else to try, it is tried earlier.
    let is_over_tcp = matches!(attempt.transport, Transport::Stream(_));
    let tries = match bootstrap {
        Bootstrap::Fresh { .. } if is_over_tcp && attempt.connection.tcp == TcpUse::Auto => {
            cx.retransmission.resume_tries
        }
        Bootstrap::Fresh { .. } => cx.retransmission.tries,
        Bootstrap::Resumed(_) => cx.retransmission.resume_tries,
    };
    attempt.tries_of(cx, path.remote.ip(), tries)
}

/// The way of a first request to `remote`.
pub(crate) fn first_path(cx: &Context, connection: &Connection, remote: IpAddr, port: u16) -> Path {
    let unspecified = match remote {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let fits = |local: &&IpAddr| local.is_ipv4() == remote.is_ipv4();
    let mut wanted = connection.local_addrs.iter().filter(fits);
    let local = wanted.clone().find(|local| cx.addresses.contains(local)).or(wanted.next());
    Path {
        local: SocketAddr::new(local.copied().unwrap_or(unspecified), port),
        remote: SocketAddr::new(remote, connection.remote_port),
        port: Port::Ike,
    }
}
