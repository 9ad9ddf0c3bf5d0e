//! An SA whose two sides are authenticated, with its child.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crypto::{IkeSuite, Mac, SkD};
use esp::plane::{Command, CommandId, Fault};
use esp::spec::{Encapsulation, GroupId, OuterPath, Selector, Spi};

use crate::config::Connection;
use crate::context::Context;
use crate::event::{Event, Gone, How, Output, Path, RequestId, Role, SaId, SetUp};
use crate::exchange::Transcript;
use crate::exchange::auth::{PeerAuthenticated, push_auth, push_id};
use crate::exchange::child::{self, Child, Terms};
use crate::exchange::informational::{self, Asked};
use crate::exchange::nat::Nat;
use crate::fault::{Discard, Failure, PeerFault, Refusal};
use crate::identity::Id;
use crate::sa::channel::{AnswerTicket, Channel, Incoming, Refused};
use crate::sa::closing::{Closed, Deleting};
use crate::sa::protection::{OpenFault, Unsendable};
use crate::sa::window::Task;
use crate::sa::{IkeSa, Outcome, Then, Why};
use crate::session::{
    AuthForm, AuthMethod, Grant, Resumable, SessionKey, SuspendedSession, Ticket,
};
use crate::status::{ChildStatus, SaStatus, TicketStatus};
use crate::time::{Instant, Now};
use crate::wire::{
    ExchangeType, Header, MessageBuilder, NotifyType, Payloads, Protected, Protocol,
};

/// How often a NAT mapping is refreshed (RFC 3948 section 4).
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How long after a TICKET_ACK the gateway is asked again (A4).
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What an SA begins with.
pub(crate) struct Founded {
    pub(crate) connection: Arc<Connection>,
    /// The endpoint's line that it serves; none for a responder.
    pub(crate) line: Option<usize>,
    pub(crate) role: Role,
    pub(crate) channel: Channel,
    pub(crate) sk_d: SkD,
    pub(crate) suite: IkeSuite,
    /// The initiator's authenticated identity, when it is not IDi.
    pub(crate) authenticated: Option<Id>,
    pub(crate) authenticated_at: SystemTime,
    pub(crate) method: AuthMethod,
    pub(crate) how: How,
    pub(crate) started: Instant,
    pub(crate) round_trips: u32,
    pub(crate) nat: Nat,
    pub(crate) encapsulation: Encapsulation,
    /// The plane's name for its policies.
    pub(crate) group: GroupId,
}

pub(crate) struct Established {
    base: Founded,
    peer: Id,
    /// The form of AUTH by which it was resumed.
    form: Option<AuthForm>,
    child: Option<Child>,
    phase: Phase,
    grant: Option<Grant>,
    /// When the last ticket ends that we gave the peer.
    issued_until: Option<SystemTime>,
    /// When to ask for another ticket.
    ask_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    last_heard: Instant,
}

/// How far the set-up is.
enum Phase {
    /// The child is being installed. Whoever invites traffic to it waits.
    Installing { command: CommandId, answer: Option<Box<Answer>>, waiting: Vec<RequestId> },
    /// All is done.
    Up { set_up: SetUp, since: Instant },
}

/// The answer to IKE_AUTH, but for the child.
pub(crate) struct Answer {
    pub(crate) ticket: AnswerTicket,
    pub(crate) auth: Mac,
    pub(crate) granted: TicketAnswer,
}

/// A gateway's answer to TICKET_REQUEST (A3).
pub(crate) enum TicketAnswer {
    /// Nobody asked.
    None,
    /// A ticket, and its lifetime in seconds.
    Granted(Ticket, u32),
    /// TICKET_NACK.
    Refused,
}

impl TicketAnswer {
    fn push(&self, builder: &mut MessageBuilder<Protected>) {
        match self {
            Self::None => {}
            Self::Granted(ticket, seconds) => {
                let mut data = Vec::with_capacity(4 + ticket.octets().len());
                data.extend_from_slice(&seconds.to_be_bytes());
                data.extend_from_slice(ticket.octets());
                builder.notify(NotifyType::TICKET_LT_OPAQUE, &data);
            }
            Self::Refused => {
                builder.notify(NotifyType::TICKET_NACK, &[]);
            }
        }
    }
}

impl Established {
    /// An SA with an authenticated peer. Its child is still to come.
    pub(crate) fn new(
        base: Founded,
        peer: &PeerAuthenticated,
        grant: Option<Grant>,
        now: Instant,
    ) -> Box<Self> {
        let behind_nat = matches!(base.nat, Nat::Detected { ours: true });
        let mut sa = Box::new(Self {
            peer: peer.id().clone(),
            form: peer.form(),
            child: None,
            phase: Phase::Up { set_up: base.set_up(now), since: now },
            grant: None,
            issued_until: None,
            ask_at: None,
            keepalive_at: behind_nat.then_some(now + KEEPALIVE),
            last_heard: now,
            base,
        });
        if let Some(grant) = grant {
            sa.hold(grant, now);
        }
        sa
    }

    /// Keeps a ticket, and plans to ask for the next one in half its lifetime.
    fn hold(&mut self, grant: Grant, now: Instant) {
        self.ask_at = Some(now + grant.lifetime / 2);
        self.grant = Some(grant);
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.base.connection
    }

    pub(crate) const fn line(&self) -> Option<usize> {
        self.base.line
    }

    pub(crate) const fn peer(&self) -> &Id {
        &self.peer
    }

    fn id(&self) -> SaId {
        SaId(u64::from_be_bytes(self.base.channel.protection.our_spi().0))
    }

    /// A child of this SA.
    pub(crate) fn new_child(&self, cx: &mut Context, spi_in: Spi, terms: Terms) -> Child {
        Child { id: cx.new_child(), group: self.base.group, spi_in, terms }
    }

    /// Has the plane install the child. `answer` is what the peer waits for
    /// until then: nobody is invited to send what could not be received.
    pub(crate) fn install(
        mut self: Box<Self>,
        cx: &mut Context,
        child: Child,
        transcript: &Transcript,
        answer: Option<Box<Answer>>,
        waiting: Vec<RequestId>,
    ) -> Outcome {
        let spec = child.spec(self.base.role, &self.base.sk_d, transcript, self.outer_path());
        let command = cx.submit(Command::Install(spec));
        cx.owners.insert(child.id, self.base.channel.protection.our_spi());
        cx.installing.insert(command, child.id);
        self.child = Some(child);
        self.phase = Phase::Installing { command, answer, waiting };
        Outcome::keep(IkeSa::Established(self))
    }

    fn outer_path(&self) -> OuterPath {
        let Path { local, remote, .. } = self.base.channel.path;
        OuterPath { local, remote, encapsulation: self.base.encapsulation }
    }

    /// The peer is let in, but its child is not: `why` tells it so.
    pub(crate) fn without_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        answer: &Answer,
        why: NotifyType,
    ) -> Outcome {
        let id = &self.base.connection.local_id;
        let sent = self.base.channel.answer(cx, answer.ticket, |builder| {
            answer.push(builder, id);
            builder.notify(why, &[]);
        });
        if sent.is_err() {
            return self.fault(cx);
        }
        self.up(cx, now);
        Outcome::keep(IkeSa::Established(self))
    }

    /// The plane has installed the child, or could not.
    pub(crate) fn installed(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        done: CommandId,
        result: Result<(), Fault>,
    ) -> Outcome {
        let (answer, waiting) = match self.phase {
            Phase::Installing { command, answer, waiting } if command == done => (answer, waiting),
            other => {
                self.phase = other;
                return Outcome::keep(IkeSa::Established(self));
            }
        };
        self.phase = Phase::Up { set_up: self.base.set_up(now.instant), since: now.instant };
        match (result, answer) {
            (Ok(()), Some(answer)) => self.answer_with_child(cx, now, &answer),
            (Ok(()), None) => {
                self.up(cx, now);
                cx.reply(waiting, Ok(()));
                Outcome::keep(IkeSa::Established(self))
            }
            (Err(_), Some(answer)) => {
                self.drop_child(cx, Gone::Plane);
                self.without_child(cx, now, &answer, NotifyType::NO_ADDITIONAL_SAS)
            }
            (Err(_), None) => {
                cx.counters.failed += 1;
                let why = Failure::Plane;
                let connection = Some(Arc::clone(&self.base.connection.name));
                let (remote, role) = (self.base.channel.path.remote, self.base.role);
                cx.emit(Event::Failed { connection, remote, role, why });
                cx.reply(waiting, Err(Refusal::Failed(why)));
                self.delete(cx, now, Gone::Plane, Vec::new())
            }
        }
    }

    fn answer_with_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        answer: &Answer,
    ) -> Outcome {
        let id = &self.base.connection.local_id;
        let child = self.child.as_ref();
        let sent = self.base.channel.answer(cx, answer.ticket, |builder| {
            answer.push(builder, id);
            if let Some(child) = child {
                child::answer(builder, child);
            }
        });
        if sent.is_err() {
            return self.fault(cx);
        }
        self.up(cx, now);
        Outcome::keep(IkeSa::Established(self))
    }

    /// All is done: says so.
    fn up(&mut self, cx: &mut Context, now: Now) {
        let set_up = self.base.set_up(now.instant);
        self.phase = Phase::Up { set_up, since: now.instant };
        match set_up.how {
            How::Full => cx.counters.full += 1,
            How::Resumed => cx.counters.resumed += 1,
        }
        let connection = Arc::clone(&self.base.connection.name);
        cx.emit(Event::Up {
            connection,
            sa: self.id(),
            role: self.base.role,
            peer: self.peer.to_string(),
            remote: self.base.channel.path.remote,
            suite: self.base.suite.to_string(),
            set_up,
        });
        if let Some(child) = &self.child {
            let event = self.child_up(child);
            cx.emit(event);
        }
    }

    fn child_up(&self, child: &Child) -> Event {
        let shown = |list: &[Selector]| list.iter().map(ToString::to_string).collect();
        Event::ChildUp {
            connection: Arc::clone(&self.base.connection.name),
            sa: self.id(),
            child: Arc::clone(&self.base.connection.child.name),
            suite: child.terms.cipher.to_string(),
            spi_in: child.spi_in.to_string(),
            spi_out: child.terms.spi_out.to_string(),
            local_ts: shown(&child.terms.local_ts),
            remote_ts: shown(&child.terms.remote_ts),
            udp: self.base.encapsulation == Encapsulation::Udp,
        }
    }

    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        path: Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Outcome {
        if header.flags.response {
            self.receive_response(cx, now, header, datagram)
        } else {
            self.receive_request(cx, now, path, header, datagram)
        }
    }

    fn receive_request(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        path: Path,
        header: &Header,
        datagram: &mut [u8],
    ) -> Outcome {
        if let Phase::Installing { answer: Some(_), .. } = self.phase {
            // IKE_AUTH again, while its answer waits for the plane.
            return Outcome::discard(cx, Discard::Retransmission, IkeSa::Established(self));
        }
        let Incoming { message, ticket } =
            match self.base.channel.receive_request(cx, path, header, datagram) {
                Ok(incoming) => incoming,
                Err(Refused::Discard(why)) => {
                    return Outcome::discard(cx, why, IkeSa::Established(self));
                }
                Err(Refused::Peer(PeerFault::UnsupportedCriticalPayload(_))) => {
                    return Outcome::keep(IkeSa::Established(self));
                }
                // INVALID_SYNTAX is fatal on both sides (RFC 7296 section 2.21.3).
                Err(
                    Refused::Peer(PeerFault::InvalidSyntax | PeerFault::AuthenticationFailed)
                    | Refused::Unsendable,
                ) => return self.fault(cx),
            };
        self.heard_from(cx, now, path);
        let answered = match ticket.exchange {
            ExchangeType::INFORMATIONAL => {
                return self.receive_informational(cx, now, ticket, message.payloads());
            }
            ExchangeType::CREATE_CHILD_SA => self.base.channel.answer(cx, ticket, |builder| {
                builder.notify(NotifyType::NO_ADDITIONAL_SAS, &[]);
            }),
            _ => {
                let answered = self.base.channel.answer_fault(cx, ticket, PeerFault::InvalidSyntax);
                answered.and(Err(Unsendable))
            }
        };
        match answered {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    fn receive_informational(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        let asked = Asked::of(payloads);
        let deleted =
            self.child.take_if(|c| informational::deletes_child(payloads, c.terms.spi_out));
        // Only a client asks for tickets (A2).
        let wants_ticket = asked.ticket && self.base.role == Role::Responder;
        let granted = if wants_ticket { self.issue(cx, now) } else { TicketAnswer::None };
        let answered = self.base.channel.answer(cx, ticket, |builder| {
            if let Some(child) = &deleted {
                builder.delete_children(Protocol::ESP, std::iter::once(child.spi_in.get()));
            }
            granted.push(builder);
        });
        if let Some(child) = deleted {
            self.remove(cx, &child, Gone::PeerDeleted);
        }
        if answered.is_err() {
            return self.fault(cx);
        }
        if asked.delete_ike || asked.rejected {
            let waiting = self.dismantle(cx, Gone::PeerDeleted);
            cx.reply(waiting, Err(Refusal::Failed(Failure::RefusedByPeer)));
            let answered = self.base.channel.window.answered.take();
            return Outcome { sa: Closed::after(answered, now), then: Then::Nothing };
        }
        Outcome::keep(IkeSa::Established(self))
    }

    fn receive_response(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        header: &Header,
        datagram: &mut [u8],
    ) -> Outcome {
        let (task, message) = match self.base.channel.receive_response(header, datagram) {
            Ok(done) => done,
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Established(self));
            }
            Err(OpenFault::Peer(_)) => return self.fault(cx),
        };
        self.last_heard = now.instant;
        match task {
            Task::Liveness | Task::Delete | Task::Reject => {}
            Task::AskTicket => self.receive_ticket(cx, now, message.payloads()),
        }
        self.go_on(cx, now)
    }

    /// The answer to a request for another ticket. Without one, the last stays.
    fn receive_ticket(&mut self, cx: &mut Context, now: Now, payloads: &Payloads<'_>) {
        let connection = Arc::clone(&self.base.connection.name);
        match informational::grant(payloads, now) {
            Some(grant) => {
                let (len, lifetime) = (grant.ticket.octets().len(), grant.lifetime);
                cx.emit(Event::TicketGranted { connection, len, lifetime });
                self.hold(grant, now.instant);
            }
            None => {
                let later = informational::ticket_later(payloads);
                self.ask_at = later.then_some(now.instant + ASK_AGAIN);
                cx.emit(Event::TicketDenied { connection, later });
            }
        }
    }

    /// Asks again later for a ticket that was not to be had in IKE_AUTH (A4).
    pub(crate) fn ask_later(&mut self, now: Instant) {
        self.ask_at = Some(now + ASK_AGAIN);
    }

    /// Sends what waits.
    fn go_on(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        let tries = cx.retransmission.tries;
        match self.base.channel.pump(cx, now.instant, tries) {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    /// An authentic and new request has come by this path. A peer behind a NAT
    /// may have another address now (RFC 7296 section 2.23).
    fn heard_from(&mut self, cx: &mut Context, now: Now, path: Path) {
        self.last_heard = now.instant;
        if path != self.base.channel.path {
            self.follow(cx, path);
        }
    }

    /// Packets of the child come from another address.
    pub(crate) fn mapping_changed(&mut self, cx: &mut Context, remote: SocketAddr) {
        let path = Path { remote, ..self.base.channel.path };
        if path != self.base.channel.path {
            self.follow(cx, path);
        }
    }

    fn follow(&mut self, cx: &mut Context, path: Path) {
        // A side that is itself behind a NAT would follow only its own mapping.
        if self.base.nat != (Nat::Detected { ours: false }) {
            return;
        }
        self.base.channel.path = path;
        if let Some(child) = &self.child {
            let id = child.id;
            cx.submit(Command::Move(id, self.outer_path()));
        }
        let (connection, sa) = (Arc::clone(&self.base.connection.name), self.id());
        cx.emit(Event::Moved { connection, sa, remote: path.remote });
    }

    pub(crate) fn due(&self) -> Option<(Instant, Why)> {
        let retransmit = self.base.channel.due().map(|due| (due, Why::Retransmit));
        let liveness = self.liveness_due().map(|due| (due, Why::Liveness));
        let keepalive = self.keepalive_at.map(|due| (due, Why::Keepalive));
        let ticket = self.ask_at.map(|due| (due, Why::Ticket));
        [retransmit, liveness, keepalive, ticket].into_iter().flatten().min()
    }

    fn liveness_due(&self) -> Option<Instant> {
        let interval = self.base.connection.liveness?;
        self.base.channel.window.is_idle().then_some(self.last_heard + interval)
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if self.base.channel.retransmit(cx, now.instant).is_err() {
            return self.lost(cx, now);
        }
        if self.keepalive_at.is_some_and(|due| due <= now.instant) {
            cx.outputs.push_back(Output::Keepalive(self.base.channel.path));
            self.keepalive_at = Some(now.instant + KEEPALIVE);
        }
        if self.ask_at.is_some_and(|due| due <= now.instant) {
            self.ask_at = None;
            self.base.channel.window.push(Task::AskTicket);
        }
        if self.liveness_due().is_some_and(|due| due <= now.instant) {
            self.base.channel.window.push(Task::Liveness);
        }
        self.go_on(cx, now)
    }

    /// The peer does not answer. The session, if it can be resumed, is kept.
    fn lost(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        match self.suspend(cx, now, Gone::Unanswered) {
            Ok(session) => Outcome::gone().then(Then::Keep(Box::new(session))),
            Err(mut sa) => {
                let waiting = sa.dismantle(cx, Gone::Unanswered);
                cx.reply(waiting, Err(Refusal::Failed(Failure::Unanswered)));
                Outcome::gone()
            }
        }
    }

    /// Puts the session to sleep: SK_d moves out of the SA, which ends without
    /// a word to the peer. A Delete would oblige both sides to drop the ticket
    /// (RFC 5723 section 6.2).
    ///
    /// # Errors
    /// The SA itself, when it holds no ticket that is still good.
    pub(crate) fn suspend(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        why: Gone,
    ) -> Result<SuspendedSession, Box<Self>> {
        let grant = match self.grant.take() {
            Some(grant) if grant.expires > now.wall => grant,
            other => {
                self.grant = other;
                return Err(self);
            }
        };
        let waiting = self.dismantle(cx, why);
        cx.reply(waiting, Err(Refusal::Failed(Failure::Ended)));
        let connection = Arc::clone(&self.base.connection.name);
        cx.emit(Event::Suspended {
            connection: Arc::clone(&connection),
            sa: self.id(),
            ticket_len: grant.ticket.octets().len(),
            expires_in: grant.expires.duration_since(now.wall).unwrap_or_default(),
        });
        let Self { base, peer, form, .. } = *self;
        let state = Resumable {
            initiator: base.connection.local_id.clone(),
            responder: peer,
            authenticated: None,
            method: base.method,
            authenticated_at: base.authenticated_at,
            suite: base.suite,
            sk_d: base.sk_d,
        };
        let Grant { ticket, expires, .. } = grant;
        Ok(SuspendedSession { key: SessionKey(connection), state, ticket, expires, form })
    }

    /// Ends the SA with a Delete. The ticket goes with it (D7).
    pub(crate) fn delete(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        why: Gone,
        waiting: Vec<RequestId>,
    ) -> Outcome {
        let pending = self.dismantle(cx, why);
        cx.reply(pending, Err(Refusal::Failed(Failure::Ended)));
        let Founded { connection, channel, .. } = self.base;
        let name = Arc::clone(&connection.name);
        let sa = Deleting::begin(cx, now, name, channel, Task::Delete, waiting);
        Outcome { sa, then: Then::Nothing }
    }

    /// Ends the SA without a word: its peer has a newer one (B21).
    pub(crate) fn replaced(mut self: Box<Self>, cx: &mut Context) {
        let waiting = self.dismantle(cx, Gone::Replaced);
        cx.reply(waiting, Err(Refusal::Failed(Failure::Ended)));
    }

    /// The child's sequence numbers are used up, or the like: the SA has no use.
    pub(crate) fn exhausted(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        self.delete(cx, now, Gone::Exhausted, Vec::new())
    }

    /// The SA cannot go on.
    fn fault(mut self: Box<Self>, cx: &mut Context) -> Outcome {
        let waiting = self.dismantle(cx, Gone::PeerFault);
        cx.reply(waiting, Err(Refusal::Failed(Failure::Protocol)));
        Outcome::gone()
    }

    /// Takes the child out of the plane and says that the SA is over. Gives
    /// back who waits for its set-up.
    fn dismantle(&mut self, cx: &mut Context, why: Gone) -> Vec<RequestId> {
        self.drop_child(cx, why);
        if self.base.role == Role::Responder {
            cx.submit(Command::Release(self.base.group));
        }
        let (connection, sa) = (Arc::clone(&self.base.connection.name), self.id());
        cx.emit(Event::Down { connection, sa, why });
        match &mut self.phase {
            Phase::Installing { waiting, .. } => std::mem::take(waiting),
            Phase::Up { .. } => Vec::new(),
        }
    }

    fn drop_child(&mut self, cx: &mut Context, why: Gone) {
        if let Some(child) = self.child.take() {
            self.remove(cx, &child, why);
        }
    }

    fn remove(&self, cx: &mut Context, child: &Child, why: Gone) {
        cx.submit(Command::Remove(child.id));
        cx.owners.remove(&child.id);
        cx.spis.free(child.spi_in);
        let (connection, sa) = (Arc::clone(&self.base.connection.name), self.id());
        let child = Arc::clone(&self.base.connection.child.name);
        cx.emit(Event::ChildDown { connection, sa, child, why });
    }

    /// A ticket for this SA's session (A3). What comes of it does not alter
    /// the exchange that carries it (A5).
    pub(crate) fn issue(&mut self, cx: &mut Context, now: Now) -> TicketAnswer {
        let resumption = &self.base.connection.resumption;
        if !resumption.enabled {
            return TicketAnswer::Refused;
        }
        let left = self.base.age_left(now.wall);
        let lifetime = resumption.lifetime.min(left);
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let expires = now.wall.checked_add(Duration::from_secs(u64::from(seconds)));
        let issued = expires.filter(|_| seconds > 0).and_then(|expires| {
            let old_spi = u64::from_be_bytes(self.base.channel.protection.our_spi().0);
            cx.issuer.issue(&mut cx.provider, &self.resumable(), old_spi, expires)
        });
        let Some(ticket) = issued else { return TicketAnswer::Refused };
        self.issued_until = expires;
        cx.counters.tickets_issued += 1;
        cx.emit(Event::TicketIssued {
            connection: Arc::clone(&self.base.connection.name),
            peer: self.peer.to_string(),
            len: ticket.octets().len(),
        });
        TicketAnswer::Granted(ticket, seconds)
    }

    /// Whether the peer holds a ticket of ours that is still good.
    pub(crate) fn peer_may_resume(&self, now: SystemTime) -> bool {
        self.issued_until.is_some_and(|until| now < until)
    }

    /// What a ticket seals: the client holds the same.
    fn resumable(&self) -> Resumable {
        Resumable {
            initiator: self.peer.clone(),
            responder: self.base.connection.local_id.clone(),
            authenticated: self.base.authenticated.clone(),
            method: self.base.method,
            authenticated_at: self.base.authenticated_at,
            suite: self.base.suite,
            sk_d: self.base.sk_d.duplicate_for_grant(),
        }
    }

    /// Whether packets can flow: installed, with a child.
    pub(crate) fn is_usable(&self) -> bool {
        self.child.is_some()
    }

    /// Whoever else wants to know when the child is installed. `Err` gives the
    /// request back: it already is.
    pub(crate) fn wait(&mut self, id: RequestId) -> Result<(), RequestId> {
        match &mut self.phase {
            Phase::Installing { waiting, .. } => {
                waiting.push(id);
                Ok(())
            }
            Phase::Up { .. } => Err(id),
        }
    }

    pub(crate) fn status(&self) -> SaStatus {
        let (set_up, since) = match &self.phase {
            Phase::Installing { .. } => (None, None),
            Phase::Up { set_up, since } => (Some(*set_up), Some(*since)),
        };
        let Path { local, remote, .. } = self.base.channel.path;
        SaStatus {
            id: self.id(),
            role: self.base.role,
            local,
            remote,
            local_id: self.base.connection.local_id.to_string(),
            remote_id: Some(self.peer.to_string()),
            suite: Some(self.base.suite.to_string()),
            set_up,
            since,
            children: self.child.iter().map(|child| self.child_status(child)).collect(),
        }
    }

    fn child_status(&self, child: &Child) -> ChildStatus {
        ChildStatus {
            name: Arc::clone(&self.base.connection.child.name),
            id: child.id,
            suite: child.terms.cipher.to_string(),
            spi_in: child.spi_in,
            spi_out: child.terms.spi_out,
            udp: self.base.encapsulation == Encapsulation::Udp,
            local_ts: child.terms.local_ts.to_vec(),
            remote_ts: child.terms.remote_ts.to_vec(),
        }
    }

    pub(crate) fn ticket_status(&self) -> Option<TicketStatus> {
        let grant = self.grant.as_ref()?;
        Some(TicketStatus { len: grant.ticket.octets().len(), expires: grant.expires })
    }
}

impl Answer {
    fn push(&self, builder: &mut MessageBuilder<Protected>, id: &Id) {
        push_id(builder, Role::Responder, id);
        push_auth(builder, &self.auth);
        self.granted.push(builder);
    }
}

impl Founded {
    fn set_up(&self, now: Instant) -> SetUp {
        SetUp { how: self.how, round_trips: self.round_trips, took: now.since(self.started) }
    }

    /// How long the session may still be resumed, counted from the last full
    /// authentication.
    fn age_left(&self, now: SystemTime) -> Duration {
        let age = now.duration_since(self.authenticated_at).unwrap_or_default();
        self.connection.resumption.max_age.saturating_sub(age)
    }
}
