//! An SA that a stranger asked for: our answer is out, IKE_AUTH has not come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crypto::{Group, IkeSuite, IntAuth, KeyAnswer, Skeyseed};
use pki::Credential;

use crate::config::{Childless, Connection, PpkUse, ResumeAuth, Unique};
use crate::context::Context;
use crate::event::{Event, How, Path, Role, SaId, Shown, TicketFault};
use crate::exchange::auth::{
    self, AuthData, Basis, Claim, Demand, Expectation, PeerAuthenticated, identity,
};
use crate::exchange::configuration::Request;
use crate::exchange::nat::Way;
use crate::exchange::{Transcript, child, intermediate, mobike, ppk};
use crate::fault::{Discard, Failure, PeerFault};
use crate::identity::{Id, IdPattern};
use crate::inner::Addresses;
use crate::peers::{Here, Pair, Wish};
use crate::pool::Yields;
use crate::proposal::group_number;
use crate::sa::channel::{AnswerTicket, Channel};
use crate::sa::closing::Closed;
use crate::sa::datagram::Datagram;
use crate::sa::established::{Answer, Awaited, Established, Founded, NoChild, Side, TicketAnswer};
use crate::sa::inner::{Asking, Given};
use crate::sa::protection::{Authentic, Keys, OpenFault, Protection, Spis};
use crate::sa::window::{Answered, Window};
use crate::sa::{IkeSa, Outcome, Supersedes, Then, Why};
use crate::session::{AuthForm, Presented, Resumable};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, Header, IkeSpi, NotifyType, Payloads};

pub(crate) struct HalfOpen {
    pub(crate) secrets: Secrets,
    pub(crate) asked: Asked,
}

/// What the first exchange settled.
pub(crate) struct Asked {
    pub(crate) spis: Spis,
    pub(crate) way: Way,
    pub(crate) suite: IkeSuite,
    /// Octets above which messages go out in fragments.
    pub(crate) room: Option<usize>,
    pub(crate) transcript: Transcript,
    pub(crate) ground: Ground,
    /// Whether both sides have said that they use PPKs (RFC 8784 section 3).
    pub(crate) ppk: bool,
    /// Whether the initiator can be redirected (RFC 5685 section 3).
    pub(crate) redirectable: bool,
    /// What AUTH covers of the additional key exchanges so far.
    pub(crate) int_auth: Option<IntAuth>,
    /// The answer to the last of them, under the keys of that exchange.
    pub(crate) answered: Option<(Protection, Answered)>,
    pub(crate) started: Instant,
    pub(crate) expires: Instant,
}

/// The keys, or what they will be made of. The agreement waits for IKE_AUTH: a
/// stranger that sends only the first message costs half as much.
pub(crate) enum Secrets {
    /// Our answer to the peer's public value.
    Agreement(KeyAnswer),
    /// The keys.
    Keys(Box<Keys>),
}

/// What the SA rests on.
pub(crate) enum Ground {
    /// A full exchange: who the peer is will be seen.
    Fresh,
    /// A ticket, and the connection that allows it.
    Resumed(Box<Presented>, Arc<Connection>),
}

/// Who has arrived, and through which connection.
struct Admitted {
    connection: Arc<Connection>,
    peer: PeerAuthenticated,
    supersedes: Supersedes,
    /// The SA that must end, since there is no room for both.
    renews: Option<IkeSpi>,
    /// The PPK_ID of the PPK that is mixed in.
    ppk: Option<Arc<str>>,
}

/// Those that a peer may be of.
type Connections<'c> = Vec<&'c Arc<Connection>>;

/// Why somebody is not let in.
struct Denied {
    why: Failure,
    /// Who it has proven to be, and through which connection.
    proven: Option<(Arc<str>, Id)>,
}

impl From<Failure> for Denied {
    fn from(why: Failure) -> Self {
        Self { why, proven: None }
    }
}

/// Our side of the answer.
struct Proven {
    credential: Option<Arc<Credential>>,
    auth: AuthData,
}

impl HalfOpen {
    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        let Header { flags, message_id, .. } = datagram.header;
        if let Some((protection, answered)) = &self.asked.answered
            && message_id.wrapping_add(1) == self.asked.transcript.auth_id
        {
            let why = answered.repeat(cx, protection, datagram);
            return Outcome::discard(cx, why, IkeSa::HalfOpen(self));
        }
        let id = self.asked.transcript.auth_id;
        if flags.response || message_id != id {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::HalfOpen(self));
        }
        let group = self.asked.next_group();
        let exchange = match group {
            Some(_) => ExchangeType::INTERMEDIATE,
            None => ExchangeType::AUTH,
        };
        if datagram.header.exchange != exchange {
            return Outcome::discard(cx, Discard::WrongExchange, IkeSa::HalfOpen(self));
        }
        let ticket = AnswerTicket { exchange, id, path: datagram.path };
        let Some((mut keys, asked)) = self.with_keys() else {
            cx.discard(Discard::BadPayload);
            return Outcome::gone();
        };
        match (keys.protection.open(datagram), group) {
            (Ok(message), None) => asked.authenticate(cx, now, keys, ticket, &message),
            (Ok(message), Some(group)) => {
                asked.exchange_more(cx, now, (keys, group), ticket, &message)
            }
            (Err(OpenFault::Discard(why)), _) => {
                let secrets = Secrets::Keys(keys);
                Outcome::discard(cx, why, IkeSa::HalfOpen(Box::new(Self { secrets, asked })))
            }
            (Err(OpenFault::Peer(fault)), _) => {
                refuse(cx, now, keys, ticket, fault, Failure::Protocol)
            }
        }
    }

    /// Makes the keys when they are first needed. `None` if the peer's public
    /// value is not one: nothing can come of this SA.
    fn with_keys(self: Box<Self>) -> Option<(Box<Keys>, Asked)> {
        let Self { secrets, asked } = *self;
        let keys = match secrets {
            Secrets::Keys(keys) => keys,
            Secrets::Agreement(key_answer) => {
                let shared = key_answer.agree().ok()?;
                let nonces = asked.transcript.nonces();
                let seed = Skeyseed::initial(asked.suite.prf, nonces, shared);
                responder_keys(asked.spis, asked.suite, seed, &asked.transcript, asked.room)
            }
        };
        Some((keys, asked))
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.asked.expires, Why::HalfOpen)
    }

    pub(crate) fn timeout(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if now.instant < self.asked.expires {
            return Outcome::keep(IkeSa::HalfOpen(self));
        }
        cx.counters.failed += 1;
        let (remote, role) = (Some(self.asked.way.path.remote), Role::Responder);
        let why = Failure::Unanswered;
        let event = Event::Failed { connection: None, peer: None, remote, role, why };
        cx.emit_of_stranger(now.instant, event);
        Outcome::gone()
    }
}

impl Asked {
    /// The group of the additional key exchange that comes next. A resumed SA
    /// has none, whatever its suite had (RFC 5723 section 5).
    fn next_group(&self) -> Option<Group> {
        match self.ground {
            Ground::Fresh => {
                self.suite.additional.iter().nth(self.transcript.intermediate_exchanges())
            }
            Ground::Resumed(..) => None,
        }
    }

    /// Answers IKE_INTERMEDIATE, and goes on with the keys that come of it.
    fn exchange_more(
        mut self,
        cx: &mut Context,
        now: Now,
        (mut keys, group): (Box<Keys>, Group),
        ticket: AnswerTicket,
        message: &Authentic<'_>,
    ) -> Outcome {
        let share = intermediate::share(message.payloads(), group);
        let answer = share.and_then(|share| cx.provider.answer_key_exchange(group, share).ok());
        let (Some(answer), Some(request)) = (answer, message.covered()) else {
            let fault = PeerFault::InvalidSyntax;
            return refuse(cx, now, keys, ticket, fault, Failure::BadKeyExchange);
        };
        let (path, id) = (&ticket.path, ticket.id);
        let sealed = keys.protection.covered_response(&mut cx.provider, path, id, |builder| {
            builder.ke(group_number(group), answer.public());
        });
        let (Ok((response, covered)), Ok(shared)) = (sealed, answer.agree()) else {
            return Outcome::gone();
        };
        cx.transmit_all(ticket.path, &response);
        let messages = (&*request, &*covered);
        let int_auth = intermediate::cover(self.int_auth.take(), Role::Responder, &keys, messages);
        let role = (Role::Responder, self.spis, self.suite);
        let (keys, before) = intermediate::strengthen(*keys, role, &self.transcript, shared);
        self.transcript.cover(&int_auth);
        self.int_auth = Some(int_auth);
        self.answered = Some((before, Answered::new(ticket.id, response)));
        let secrets = Secrets::Keys(Box::new(keys));
        Outcome::keep(IkeSa::HalfOpen(Box::new(HalfOpen { secrets, asked: self })))
    }

    fn authenticate(
        self,
        cx: &mut Context,
        now: Now,
        mut keys: Box<Keys>,
        ticket: AnswerTicket,
        message: &Authentic<'_>,
    ) -> Outcome {
        let payloads = message.payloads();
        let admitted = self.admit(cx, now, &mut keys, ticket.path, payloads);
        let admitted = admitted.map_err(Denied::from).and_then(|admitted| {
            if admitted.connection.mobike && mobike::is_rewritten(payloads, &ticket.path) {
                return Err(Failure::UnexpectedNat.into());
            }
            if matches!(self.ground, Ground::Fresh) {
                admitted.asks_for_what_it_may(payloads)?;
            }
            let request = Request::of(payloads);
            let wanted = request.map_or(Addresses::NONE, |request| request.wanted);
            let wish = Wish::of(payloads, wanted);
            let renews = admitted.has_room(cx, ticket.path.remote, wish)?;
            let proven = self.prove(&keys, &admitted)?;
            Ok((Admitted { renews, ..admitted }, proven))
        });
        match admitted {
            Ok(admitted) => self.establish(cx, now, *keys, ticket, payloads, admitted),
            Err(denied) => {
                let fault = match denied.why {
                    Failure::UnexpectedNat => PeerFault::UnexpectedNat,
                    // "Rejected for policy reasons" (RFC 7296 section 3.10.1).
                    Failure::NoChildless => PeerFault::InvalidSyntax,
                    _ => PeerFault::AuthenticationFailed,
                };
                refuse(cx, now, keys, ticket, fault, denied)
            }
        }
    }

    fn admit(
        &self,
        cx: &mut Context,
        now: Now,
        keys: &mut Keys,
        path: Path,
        payloads: &Payloads<'_>,
    ) -> Result<Admitted, Failure> {
        match &self.ground {
            Ground::Fresh => self.admit_new(cx, now, keys, path, payloads),
            Ground::Resumed(presented, connection) => {
                self.admit_resumed(cx, keys, payloads, presented, connection)
            }
        }
    }

    /// A peer whose addresses, identities and proof fit a connection.
    fn admit_new(
        &self,
        cx: &Context,
        now: Now,
        keys: &mut Keys,
        path: Path,
        payloads: &Payloads<'_>,
    ) -> Result<Admitted, Failure> {
        auth::REQUEST.check(payloads).map_err(|_| Failure::Protocol)?;
        let claim = Claim::of(payloads, Role::Initiator).ok_or(Failure::WrongIdentity)?;
        let wanted = wanted_id(payloads)?;
        let fits = |connection: &&Arc<Connection>| {
            connection.serves(&path)
                && connection.remote_id.accepts(&claim.id)
                && wanted.as_ref().is_none_or(|id| connection.local_id.is_same(id))
                && connection.proposals.iter().any(|p| p.allows(self.suite))
        };
        let fitting: Vec<_> = cx.connections.iter().filter(fits).collect();
        let way = claim.method();
        let mut in_its_way = fitting.iter().filter(|it| it.auth.remote.method() == way).peekable();
        if in_its_way.peek().is_none() {
            let is_nobody = fitting.is_empty();
            return Err(if is_nobody { Failure::WrongIdentity } else { Failure::OtherMethod });
        }
        let in_its_way = in_its_way.copied().collect();
        let (claim, allowed, ppk) = self.mix_ppk(keys, in_its_way, payloads, claim)?;
        // Of several connections for one peer, the first that its proof
        // convinces: only then it is known to be the peer of that one.
        let id = claim.id.clone();
        let demands = allowed.into_iter().filter_map(|connection| {
            Some((connection, Demand::of(&connection.auth.remote, &id, now.wall)?))
        });
        let with = (self.suite.prf, &keys.their_p);
        let (transcript, signer) = (&self.transcript, Role::Initiator);
        let (connection, peer) =
            PeerAuthenticated::verify_first(with, transcript, signer, claim, demands)?;
        let initial_contact = payloads.notify(NotifyType::INITIAL_CONTACT).is_some();
        let supersedes = match connection.unique {
            Unique::No | Unique::Replace | Unique::Keep if initial_contact => Supersedes::All,
            Unique::No | Unique::Replace | Unique::Keep | Unique::Never => Supersedes::None,
        };
        Ok(Admitted { connection: Arc::clone(connection), peer, supersedes, renews: None, ppk })
    }

    /// Mixes in the PPK that the initiator names, and leaves the connections that
    /// are for it: keys are mixed once. One that does not insist on a PPK which
    /// we do not have has proved itself without it, too, for the connections that
    /// do not insist either (RFC 8784 section 3, table 1).
    fn mix_ppk<'a, 'c>(
        &self,
        keys: &mut Keys,
        mut connections: Connections<'c>,
        payloads: &Payloads<'a>,
        mut claim: Claim<'a>,
    ) -> Result<(Claim<'a>, Connections<'c>, Option<Arc<str>>), Failure> {
        if self.ppk {
            let id = ppk::identity(payloads).ok_or(Failure::NoPpk)?;
            if let Some(ppk) = connections.iter().find_map(|it| it.ppk.named(id)) {
                keys.mix(&ppk.key);
                let has_it = |it: &PpkUse| it.named(id).is_some_and(|own| Arc::ptr_eq(own, ppk));
                connections.retain(|it| has_it(&it.ppk));
                return Ok((claim, connections, Some(Arc::clone(&ppk.id))));
            }
            claim.auth.data = ppk::auth_without(payloads).ok_or(Failure::NoPpk)?;
        }
        connections.retain(|it| !it.ppk.required);
        if connections.is_empty() {
            return Err(Failure::NoPpk);
        }
        Ok((claim, connections, None))
    }

    /// The holder of a ticket, and of the session's SK_d.
    fn admit_resumed(
        &self,
        cx: &mut Context,
        keys: &Keys,
        payloads: &Payloads<'_>,
        presented: &Presented,
        connection: &Arc<Connection>,
    ) -> Result<Admitted, Failure> {
        auth::RESUMED_REQUEST.check(payloads).map_err(|_| Failure::Protocol)?;
        // What allowed the ticket may have been reconfigured since.
        if !cx.connections.iter().any(|it| Arc::ptr_eq(it, connection)) {
            return Err(Failure::WrongIdentity);
        }
        let claim = Claim::of(payloads, Role::Initiator).ok_or(Failure::WrongIdentity)?;
        let wanted = wanted_id(payloads)?;
        let state = &presented.state;
        let same =
            claim.id == state.initiator && wanted.as_ref().is_none_or(|id| *id == state.responder);
        if !same {
            return Err(Failure::WrongIdentity);
        }
        let forms = acceptable(connection.resumption.auth);
        let peer = self.verify(keys, claim, Demand::Resumed(forms))?;
        // Two attempts with one ticket may be under way: the first to get here wins (B4).
        if cx.issuer.spend(presented.origin.spi).is_err() {
            cx.counters.tickets_refused += 1;
            let (remote, why) = (self.way.path.remote, TicketFault::Used);
            cx.emit(Event::TicketRefused { remote, why });
            return Err(Failure::PeerNotAuthentic);
        }
        let supersedes = Supersedes::Resumed(presented.origin.spi);
        // Its SK_d has a PPK mixed in, or not, since the set-up: not again here.
        let ppk = state.ppk.clone();
        let connection = Arc::clone(connection);
        Ok(Admitted { connection, peer, supersedes, renews: None, ppk })
    }

    fn verify(
        &self,
        keys: &Keys,
        claim: Claim<'_>,
        demand: Demand<'_>,
    ) -> Result<PeerAuthenticated, Failure> {
        let with = (self.suite.prf, &keys.their_p);
        PeerAuthenticated::verify(with, &self.transcript, Role::Initiator, claim, demand)
    }

    /// Our proof for the peer. There may be none that it understands: then it
    /// is told so, like one that is not let in.
    fn prove(&self, keys: &Keys, admitted: &Admitted) -> Result<Proven, Failure> {
        let Admitted { connection, peer, .. } = admitted;
        let basis = match peer.form() {
            Some(form) => Basis::Session(form),
            None => Basis::Credentials(connection.auth.clone()),
        };
        let our_id = connection.local_id.clone();
        let expectation = Expectation { our_id, peer: IdPattern::Any, basis };
        let proof = expectation.proof(Some(peer.id())).ok_or(Failure::NoSecret)?;
        let (with, our_id) = ((self.suite.prf, &keys.our_p), expectation.our_id.body());
        let auth = proof.make(with, &self.transcript, Role::Responder, &our_id)?;
        Ok(Proven { credential: expectation.credential().cloned(), auth })
    }

    fn establish(
        self,
        cx: &mut Context,
        now: Now,
        keys: Keys,
        ticket: AnswerTicket,
        payloads: &Payloads<'_>,
        (admitted, proven): (Admitted, Proven),
    ) -> Outcome {
        let beside = admitted.of_same_machine(cx, ticket.path.remote);
        let yields = admitted.yields(&beside);
        let Admitted { connection, peer, supersedes, renews, ppk } = admitted;
        let arrived_by = Arc::clone(&connection);
        let Proven { credential, auth } = proven;
        let elsewhere = cx.redirects.of(&connection, ticket.path.local.ip()).cloned();
        let elsewhere = elsewhere.filter(|_| self.redirectable);
        let Self { spis, suite, transcript, ground, way, started, redirectable, .. } = self;
        let peer_id = peer.id().clone();
        let (how, authenticated_at, evidence, method, authenticated, earlier) = match ground {
            Ground::Fresh => {
                let remote = &connection.auth.remote;
                let (evidence, method) = (peer.evidence(remote, &cx.issuer), remote.method());
                (How::Full, now.wall, evidence, method, None, Addresses::NONE)
            }
            Ground::Resumed(presented, _) => {
                let Resumable { authenticated_at, evidence, .. } = presented.state;
                let Resumable { method, authenticated, inner, .. } = presented.state;
                (How::Resumed, authenticated_at, evidence, method, authenticated, inner)
            }
        };
        let sa = SaId(u64::from_be_bytes(keys.protection.our_spi().0));
        let owner = authenticated.as_ref().unwrap_or(&peer_id);
        let asking = Asking { peer: owner, sa, yields, earlier };
        let (given, refused) = match elsewhere {
            Some(to) => (Given::default(), Some(NoChild::Redirected(to))),
            None => match Given::to(cx, &connection, &asking, payloads) {
                Ok(given) => (given, None),
                Err(why) => (Given::default(), Some(NoChild::Refused(why))),
            },
        };
        let mobike = mobike::accepted(payloads).filter(|_| connection.mobike);
        let told = mobike.as_ref().map(|_| cx.other_addresses(&connection, &ticket.path));
        let window = Window::new(0, ticket.id + 1);
        let founded = Founded {
            connection,
            side: Side::Peer { groups: BTreeMap::new() },
            channel: Channel { protection: keys.protection, path: ticket.path, window },
            sk_d: keys.sk_d,
            suite,
            authenticated,
            authenticated_at,
            evidence,
            method,
            ppk: ppk.clone(),
            how,
            started,
            round_trips: 1 + transcript.auth_id,
            nat: way.nat,
            encapsulation: way.encapsulation,
            mobike,
            told: told.clone().unwrap_or_default(),
            inner: given.addresses,
            remotes: Vec::new(),
            gateway: None,
            redirectable,
            beside: !beside.is_empty(),
            wish: Some(Wish::of(payloads, given.addresses)),
        };
        cx.begin_to_serve(&arrived_by.name);
        let mut established = Established::new(founded, &peer, None, now.instant);
        established.begin_proof(cx, now);
        let lifetime = established.auth_lifetime(now);
        let is_redirected = matches!(refused, Some(NoChild::Redirected(_)));
        let wants_ticket = payloads.notify(NotifyType::TICKET_REQUEST).is_some() && !is_redirected;
        let granted = if wants_ticket { established.issue(cx, now) } else { TicketAnswer::None };
        let token = cx.crash_tokens.of(spis);
        let refused = refused.or_else(|| established.connection().refusal_of_childless(payloads));
        let terms = match refused {
            None => {
                let children = &established.connection().children;
                child::choose(children, established.scope(cx), payloads).map_err(NoChild::Refused)
            }
            Some(why) => Err(why),
        };
        let answer = Box::new(Answer {
            ticket,
            credential,
            auth,
            ppk: ppk.is_some() && how == How::Full,
            token,
            granted,
            given,
            told,
            lifetime,
        });
        let outcome = match terms {
            Ok(terms) => {
                let spi_in = cx.new_spi();
                established.install(cx, (spi_in, terms), &transcript, Awaited::ByPeer(answer))
            }
            Err(why) => established.without_child(cx, now, &answer, &why),
        };
        outcome.then(Then::Arrived { peer: peer_id, connection: arrived_by, supersedes, renews })
    }
}

impl Connection {
    /// What a request without a child gets instead of one (RFC 6023 section 3).
    fn refusal_of_childless(&self, payloads: &Payloads<'_>) -> Option<NoChild> {
        match self.childless {
            _ if wants_child(payloads) => None,
            Childless::Allow | Childless::Prefer | Childless::Force => Some(NoChild::Unwanted),
            Childless::Never => Some(NoChild::Refused(NotifyType::INVALID_SYNTAX)),
        }
    }
}

fn wants_child(payloads: &Payloads<'_>) -> bool {
    payloads.sa().is_some() || payloads.ts_i().is_some() || payloads.ts_r().is_some()
}

impl Admitted {
    /// No child in a full IKE_AUTH, where that must not be. strongSwan ends an SA
    /// without a word if its child is refused so, therefore there is none.
    fn asks_for_what_it_may(&self, payloads: &Payloads<'_>) -> Result<(), Denied> {
        if self.connection.childless != Childless::Force || !wants_child(payloads) {
            return Ok(());
        }
        let proven = Some((Arc::clone(&self.connection.name), self.peer.id().clone()));
        Err(Denied { why: Failure::NoChildless, proven })
    }

    /// Whether the peer, who is at `remote`, may have another SA. There is no
    /// notify of its own for one that may not: it is not let in (RFC 7296
    /// section 2.21.2). Who sets up again what it has, since it proves itself
    /// again, has one more for a while; where there is no room for that, this is
    /// which of its SAs must end.
    fn has_room(
        &self,
        cx: &Context,
        remote: SocketAddr,
        wish: Wish,
    ) -> Result<Option<IkeSpi>, Denied> {
        let all = || cx.peers.sas_of(self.pair());
        let stays = |(spi, _): &(IkeSpi, Here)| match self.supersedes {
            Supersedes::None => true,
            Supersedes::All => false,
            Supersedes::Resumed(old) => *spi != IkeSpi(old.to_be_bytes()),
        };
        let others = || all().filter(stays);
        let have = others().count();
        let is_alone = matches!(self.connection.unique, Unique::Replace | Unique::Keep);
        // What takes the place of another is not one more of its connection.
        let is_more = all().count() == have && !(is_alone && have > 0);
        let most = self.connection.max_sas.filter(|_| is_more).unwrap_or(usize::MAX);
        let served = cx.served.get(&self.connection.name).copied().unwrap_or_default();
        let of_identity = (have + 1).saturating_sub(cx.limits.sas_per_identity);
        let of_connection = (served + 1).saturating_sub(most);
        let why = match self.connection.unique {
            Unique::Keep if others().any(|(_, other)| other.address != remote) => {
                Failure::NotUnique
            }
            _ if of_identity > 0 => Failure::TooManySas,
            _ if of_connection > 0 => Failure::Full,
            _ => return Ok(None),
        };
        let is_it =
            |(_, other): &(IkeSpi, Here)| other.address.ip() == remote.ip() && other.wish == wish;
        let spare = why != Failure::NotUnique && of_identity.max(of_connection) == 1;
        match others().find(is_it).filter(|_| spare) {
            Some((old, _)) => Ok(Some(old)),
            None => {
                let proven = Some((Arc::clone(&self.connection.name), self.peer.id().clone()));
                Err(Denied { why, proven })
            }
        }
    }

    fn pair(&self) -> Pair<'_> {
        Pair { ours: &self.connection.local_id, peer: self.peer.id() }
    }

    /// The SAs that the peer has already, and that its machine has begun.
    fn of_same_machine(&self, cx: &Context, remote: SocketAddr) -> Vec<SaId> {
        let all = cx.peers.sas_of(self.pair());
        let own = all.filter(|(_, other)| other.address.ip() == remote.ip());
        own.map(|(spi, _)| SaId(u64::from_be_bytes(spi.0))).collect()
    }

    /// Which other SAs of the peer give it their addresses, since they end.
    fn yields<'a>(&self, beside: &'a [SaId]) -> Yields<'a> {
        match (self.connection.unique, self.supersedes) {
            (Unique::Replace | Unique::Keep, _) | (_, Supersedes::All) => Yields::All,
            (_, Supersedes::Resumed(old)) => Yields::One(SaId(old)),
            (_, Supersedes::None) => Yields::Wished(beside),
        }
    }
}

/// Tells the peer, under the keys of the SA, that it is not let in. The
/// answer is kept for a while, since it may be lost.
fn refuse(
    cx: &mut Context,
    now: Now,
    keys: Box<Keys>,
    ticket: AnswerTicket,
    fault: PeerFault,
    denied: impl Into<Denied>,
) -> Outcome {
    cx.counters.failed += 1;
    let (remote, role) = (Some(ticket.path.remote), Role::Responder);
    let Denied { why, proven } = denied.into();
    let (connection, peer) = proven.map(|(name, peer)| (name, Shown(peer))).unzip();
    cx.emit_of_stranger(now.instant, Event::Failed { connection, peer, remote, role, why });
    let window = Window::new(0, ticket.id + 1);
    let channel = Channel { protection: keys.protection, path: ticket.path, window };
    Closed::refusing(cx, now, channel, ticket, fault)
}

/// The identity that the initiator wants to talk to, if it says so.
fn wanted_id(payloads: &Payloads<'_>) -> Result<Option<Id>, Failure> {
    match payloads.id_r() {
        None => Ok(None),
        Some(id) => identity(&id).map(Some).ok_or(Failure::WrongIdentity),
    }
}

/// The forms of AUTH that a gateway takes after a resume, that of the RFC first.
const fn acceptable(setting: ResumeAuth) -> &'static [AuthForm] {
    match setting {
        ResumeAuth::Auto => &[AuthForm::Rfc5723, AuthForm::MessageOnly],
        ResumeAuth::Rfc5723 => &[AuthForm::Rfc5723],
        ResumeAuth::Libreswan => &[AuthForm::MessageOnly],
    }
}

/// The keys of the responder.
pub(crate) fn responder_keys(
    spis: Spis,
    suite: IkeSuite,
    seed: Skeyseed,
    transcript: &Transcript,
    room: Option<usize>,
) -> Box<Keys> {
    let on_wire = crypto::IkeSpis { initiator: spis.initiator.0, responder: spis.responder.0 };
    let keys = seed.expand(suite, transcript.nonces(), on_wire);
    Box::new(Keys::new(Role::Responder, spis, keys, room))
}
