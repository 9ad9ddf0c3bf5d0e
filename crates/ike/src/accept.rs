//! A stranger's first message: what it must pass before it costs us anything
//! (RFC 7296 section 2.6, RFC 5723 section 4.3.2).
//!
//! In this order: syntax, repetition, cookie, another gateway, limits, then a
//! connection and a proposal or a ticket. Only after all of them is there a
//! half-open SA.

use std::net::IpAddr;
use std::sync::Arc;

use crypto::{CryptoError, Group};

use crate::config::{Childless, Connection};
use crate::endpoint::Endpoint;
use crate::event::{Event, Path, Shown, TicketFault};
use crate::exchange::certificates::Wanted;
use crate::exchange::nat::{self, Nat, Way};
use crate::exchange::sa_init::{self, Chosen, bare_answer, lost_sa};
use crate::exchange::{Shape, Transcript, ppk, session_resume};
use crate::fault::Discard;
use crate::proposal::group_number;
use crate::redirect::{self, Gateway};
use crate::sa::IkeSa;
use crate::sa::half_open::{Asked, Ground, HalfOpen, Secrets, responder_keys};
use crate::sa::initiating::NONCE_LEN;
use crate::sa::protection::Spis;
use crate::session::{ConnectionMark, Evidence, Presented};
use crate::time::Now;
use crate::wire::{Complaint, ExchangeType, Header, Message, NotifyType, Payloads};

/// A message without our SPI.
pub(crate) fn initial(
    endpoint: &mut Endpoint,
    now: Now,
    path: Path,
    header: &Header,
    datagram: &[u8],
) {
    if let Err(why) = admit(endpoint, now, path, header, datagram) {
        endpoint.cx.discard(why);
    }
}

/// A message with an SPI that no SA of ours has. Whoever may have an SA that we
/// have lost is shown the token that proves it (RFC 6290 section 4.5).
pub(crate) fn stray(
    endpoint: &mut Endpoint,
    now: Now,
    path: Path,
    header: &Header,
    datagram: &[u8],
) {
    endpoint.cx.discard(Discard::UnknownSpi);
    let token = endpoint.cx.crash_tokens.show(now.instant, header, datagram);
    // Nothing of ours is longer than a length field can say.
    if let Some(answer) = token.and_then(|token| lost_sa(header, &token).ok()) {
        endpoint.cx.transmit(path, &answer);
    }
}

/// Answers a message that is wrong in a way that RFC 7296 answers in clear.
pub(crate) fn complain(endpoint: &mut Endpoint, path: Path, header: &Header, c: Complaint) {
    answer_bare(endpoint, path, header, c.kind, c.data());
}

/// A first message that has the shape of one.
struct Request<'a> {
    now: Now,
    path: Path,
    header: &'a Header,
    payloads: &'a Payloads<'a>,
    datagram: &'a [u8],
    nonce: &'a [u8],
}

fn admit(
    endpoint: &mut Endpoint,
    now: Now,
    path: Path,
    header: &Header,
    datagram: &[u8],
) -> Result<(), Discard> {
    if header.flags.response {
        return Err(Discard::Unexpected);
    }
    if endpoint.table.contains(header.spi_i) {
        return Err(Discard::Reflected);
    }
    let shape = shape_of(header.exchange).ok_or(Discard::WrongExchange)?;
    if header.message_id != 0 {
        return Err(Discard::OutsideWindow);
    }
    let message = match Message::parse(datagram) {
        Ok(message) => message,
        Err(error) => {
            let complaint = error.complaint();
            let critical = NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD;
            if let Some(complaint) = complaint.filter(|c| c.kind == critical) {
                complain(endpoint, path, header, complaint);
            }
            return Err(Discard::BadPayload);
        }
    };
    let payloads = &message.payloads;
    shape.check(payloads)?;
    let nonce = payloads.nonce().ok_or(Discard::MissingPayload)?;
    let request = Request { now, path, header, payloads, datagram, nonce };
    request.check_repetition(endpoint)?;
    request.check_cookie(endpoint)?;
    if request.is_sent_elsewhere(endpoint) {
        return Ok(());
    }
    request.check_limits(endpoint)?;
    if header.exchange == ExchangeType::SESSION_RESUME {
        request.resume(endpoint)
    } else {
        request.set_up(endpoint)
    }
}

const fn shape_of(exchange: ExchangeType) -> Option<&'static Shape> {
    match exchange {
        ExchangeType::SA_INIT => Some(&sa_init::REQUEST),
        ExchangeType::SESSION_RESUME => Some(&session_resume::REQUEST),
        _ => None,
    }
}

impl Request<'_> {
    /// A message that was answered before gets the same answer again
    /// (RFC 7296 section 2.1). Another one with its SPI is one of its own, as
    /// long as nobody has gone on: who altered which of them on the way will
    /// be seen in IKE_AUTH.
    fn check_repetition(&self, endpoint: &mut Endpoint) -> Result<(), Discard> {
        let asker = (self.header.spi_i, self.source());
        for spi in endpoint.table.asked_by(asker) {
            let Some(IkeSa::HalfOpen(sa)) = endpoint.table.get(spi) else {
                return Err(Discard::Retransmission);
            };
            if *sa.asked.transcript.request == *self.datagram {
                let response = Arc::clone(&sa.asked.transcript.response);
                endpoint.cx.transmit(self.path, &response);
                return Err(Discard::Retransmission);
            }
        }
        Ok(())
    }

    /// Above the threshold, whoever does not show that it receives our answers
    /// is asked to, at no cost to us. That goes for ticket holders, too (B12,
    /// RFC 8019 section 4.5).
    fn check_cookie(&self, endpoint: &mut Endpoint) -> Result<(), Discard> {
        if self.path.stream().is_some() {
            // It has shown that by opening the connection (RFC 9329 section 6.3).
            return Ok(());
        }
        let is_needed = endpoint.table.half_open() >= endpoint.cx.limits.cookie_threshold;
        if !endpoint.cookies.are_wanted(self.now.instant, is_needed) {
            return Ok(());
        }
        let (provider, now) = (&mut endpoint.cx.provider, self.now.instant);
        let from = (&self.path, self.header.spi_i, self.nonce);
        let shown = self.payloads.notify(NotifyType::COOKIE);
        if let Some(cookie) = shown
            && endpoint.cookies.is_good(provider, now, from, cookie.data)
        {
            return Ok(());
        }
        let cookie = endpoint.cookies.make(provider, now, from);
        endpoint.cx.counters.cookies += 1;
        answer_bare(endpoint, self.path, self.header, NotifyType::COOKIE, &cookie);
        Err(Discard::BadCookie)
    }

    /// Whether all connections that it may be for send their clients to another
    /// gateway, wherever the first of them does: it is told so, at no cost to us
    /// (RFC 5685 section 3). Of several, who it is decides, in IKE_AUTH.
    fn is_sent_elsewhere(&self, endpoint: &mut Endpoint) -> bool {
        let candidates = self.candidates(endpoint);
        let all = candidates.iter().map(|connection| self.elsewhere(endpoint, connection));
        let Some(to) = all.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().next())
        else {
            return false;
        };
        let name = match &*candidates {
            [only] => Some(Arc::clone(&only.name)),
            _ => None,
        };
        self.answer_redirect(endpoint, name, &to);
        true
    }

    /// Where a connection sends this client, if it can be sent.
    fn elsewhere(&self, endpoint: &Endpoint, connection: &Connection) -> Option<Gateway> {
        let to = endpoint.cx.redirects.of(connection, self.path.local.ip())?;
        redirect::is_supported(self.payloads).then(|| to.clone())
    }

    fn answer_redirect(&self, endpoint: &mut Endpoint, name: Option<Arc<str>>, to: &Gateway) {
        let (connection, remote) = (name, self.path.remote);
        let event = Event::PeerRedirected { connection, remote, to: Shown(to.clone()) };
        endpoint.cx.emit_of_stranger(self.now.instant, event);
        self.answer(endpoint, NotifyType::REDIRECT, &to.emit(self.nonce));
    }

    fn check_limits(&self, endpoint: &Endpoint) -> Result<(), Discard> {
        let (table, limits) = (&endpoint.table, &endpoint.cx.limits);
        let full = table.half_open() >= limits.half_open
            || table.half_open_from(self.source()) >= limits.half_open_per_source
            || table.len() >= limits.sas;
        if full { Err(Discard::Limit) } else { Ok(()) }
    }

    fn source(&self) -> IpAddr {
        self.path.remote.ip()
    }

    /// The connections that these addresses may belong to.
    fn candidates(&self, endpoint: &Endpoint) -> Vec<Arc<Connection>> {
        let all = endpoint.cx.connections.iter();
        all.filter(|connection| connection.serves(&self.path)).map(Arc::clone).collect()
    }

    /// IKE_SA_INIT.
    fn set_up(&self, endpoint: &mut Endpoint) -> Result<(), Discard> {
        let candidates = self.candidates(endpoint);
        if candidates.is_empty() {
            return Err(Discard::NoConnection);
        }
        let sa = self.payloads.sa().ok_or(Discard::MissingPayload)?;
        let share = sa_init::key_share(self.payloads);
        let keyed = share.map(|(group, _)| group);
        let intermediate = sa_init::knows_intermediate(self.payloads);
        let choice = candidates.iter().find_map(|connection| {
            Some((connection, sa_init::choose(&connection.proposals, sa, keyed, intermediate)?))
        });
        let Some((connection, chosen)) = choice else {
            self.answer(endpoint, NotifyType::NO_PROPOSAL_CHOSEN, &[]);
            return Ok(());
        };
        let group = chosen.suite.group;
        let Some((_, public)) = share.filter(|&(sent, _)| sent == group) else {
            let wanted = group_number(group).0.to_be_bytes();
            self.answer(endpoint, NotifyType::INVALID_KE_PAYLOAD, &wanted);
            return Ok(());
        };
        self.answer_set_up(endpoint, connection, chosen, (group, public))
    }

    fn answer_set_up(
        &self,
        endpoint: &mut Endpoint,
        connection: &Arc<Connection>,
        chosen: Chosen,
        (group, public): (Group, &[u8]),
    ) -> Result<(), Discard> {
        let spis = self.new_spis(endpoint);
        let provider = &mut endpoint.cx.provider;
        let key_answer =
            provider.answer_key_exchange(group, public).map_err(|error| match error {
                CryptoError::BadShare => Discard::BadPayload,
                CryptoError::Module | CryptoError::Exhausted | CryptoError::TooShort => {
                    Discard::Limit
                }
            })?;
        let nonce: [u8; NONCE_LEN] = provider.array();
        let candidates = self.candidates(endpoint);
        let has_keys = |candidate: &Arc<Connection>| !candidate.ppk.keys.is_empty();
        let ppk = ppk::is_used(self.payloads) && candidates.iter().any(has_keys);
        let response = sa_init::Response {
            spis,
            path: self.path,
            chosen,
            key_answer: &key_answer,
            nonce: &nonce,
            wanted: &Wanted::of(candidates.iter().map(|candidate| &candidate.auth.remote)),
            pretend_nat: nat::pretends(&endpoint.cx, connection, &self.path),
            fragmentation: self.fragments_with(connection),
            ppk,
            childless: candidates.iter().any(|it| it.childless != Childless::Never),
        };
        let response = response.build(&mut endpoint.cx.provider).map_err(|_| Discard::Limit)?;
        let transcript = Transcript::new((self.datagram.into(), self.nonce), (response, &nonce));
        let secrets = Secrets::Agreement(key_answer);
        let asked =
            self.asked(endpoint, connection, spis, (chosen.suite, transcript), Ground::Fresh);
        let asked = Asked { ppk, ..asked };
        self.open_half(endpoint, HalfOpen { secrets, asked });
        Ok(())
    }

    /// IKE_SESSION_RESUME: the ticket is opened, which costs next to nothing,
    /// and accepted or refused (B8, E1).
    fn resume(&self, endpoint: &mut Endpoint) -> Result<(), Discard> {
        let ticket =
            self.payloads.notify(NotifyType::TICKET_OPAQUE).ok_or(Discard::MissingPayload)?;
        match self.present(endpoint, ticket.data) {
            Ok((presented, connection)) => match self.elsewhere(endpoint, &connection) {
                // The ticket is not used up: no SA comes of it here.
                Some(to) => {
                    self.answer_redirect(endpoint, Some(Arc::clone(&connection.name)), &to);
                    Ok(())
                }
                None => self.answer_resume(endpoint, presented, connection),
            },
            Err(why) => {
                endpoint.cx.counters.tickets_refused += 1;
                let event = Event::TicketRefused { remote: self.path.remote, why };
                endpoint.cx.emit_of_stranger(self.now.instant, event);
                self.answer(endpoint, NotifyType::TICKET_NACK, &[]);
                Ok(())
            }
        }
    }

    /// The ticket's content, and the connection that allows it today.
    fn present(
        &self,
        endpoint: &Endpoint,
        ticket: &[u8],
    ) -> Result<(Presented, Arc<Connection>), TicketFault> {
        let presented = endpoint.cx.issuer.open(ticket, self.now.wall)?;
        let state = &presented.state;
        let age = self.now.wall.duration_since(state.authenticated_at).unwrap_or_default();
        let allows = |connection: &Arc<Connection>| {
            connection.resumption.enabled
                && ConnectionMark::of(&connection.name) == presented.origin.connection
                && connection.remote_id.accepts(&state.initiator)
                && connection.local_id == state.responder
                && connection.auth.remote.method() == state.method
                && connection.proposals.iter().any(|p| p.allows(state.suite))
                && (state.ppk.is_some() || !connection.ppk.required)
                && age < connection.oldest_resumable()
        };
        let connection = self.candidates(endpoint).into_iter().find(allows);
        let connection = connection.ok_or(TicketFault::NotAllowed)?;
        let (remote, peer, now) = (&connection.auth.remote, &state.initiator, self.now.wall);
        let convinces = |it: &Evidence| it.convinces(remote, peer, &endpoint.cx.issuer, now);
        if !state.evidence.as_ref().is_some_and(convinces) {
            return Err(TicketFault::Distrusted);
        }
        Ok((presented, connection))
    }

    fn answer_resume(
        &self,
        endpoint: &mut Endpoint,
        presented: Presented,
        connection: Arc<Connection>,
    ) -> Result<(), Discard> {
        let spis = self.new_spis(endpoint);
        let nonce: [u8; NONCE_LEN] = endpoint.cx.provider.array();
        let response = session_resume::Response {
            spis,
            path: self.path,
            nonce: &nonce,
            detect_nat: Nat::detect(self.payloads, self.spis_of_request(), &self.path)
                != Nat::NotSupported,
            pretend_nat: nat::pretends(&endpoint.cx, &connection, &self.path),
            fragmentation: self.fragments_with(&connection),
        };
        let response = response.build(&mut endpoint.cx.provider).map_err(|_| Discard::Limit)?;
        let transcript = Transcript::new((self.datagram.into(), self.nonce), (response, &nonce));
        let suite = presented.state.suite;
        let seed = presented.state.sk_d.resume(transcript.nonces());
        let secrets =
            Secrets::Keys(responder_keys(spis, suite, seed, &transcript, self.room(&connection)));
        let ground = Ground::Resumed(Box::new(presented), Arc::clone(&connection));
        let asked = self.asked(endpoint, &connection, spis, (suite, transcript), ground);
        self.open_half(endpoint, HalfOpen { secrets, asked });
        Ok(())
    }

    fn new_spis(&self, endpoint: &mut Endpoint) -> Spis {
        Spis { initiator: self.header.spi_i, responder: endpoint.new_spi() }
    }

    fn asked(
        &self,
        endpoint: &Endpoint,
        connection: &Connection,
        spis: Spis,
        (suite, transcript): (crypto::IkeSuite, Transcript),
        ground: Ground,
    ) -> Asked {
        let claims = (self.payloads, self.spis_of_request());
        Asked {
            spis,
            room: self.room(connection),
            way: Way::of_responder(&endpoint.cx, connection, claims, self.path),
            suite,
            transcript,
            ground,
            ppk: false,
            redirectable: redirect::is_supported(self.payloads),
            int_auth: None,
            answered: None,
            started: self.now.instant,
            expires: self.now.instant + endpoint.cx.limits.half_open_timeout,
        }
    }

    /// Whether both sides know fragments (RFC 7383 section 2.3).
    fn fragments_with(&self, connection: &Connection) -> bool {
        connection.fragmentation.is_announced() && sa_init::knows_fragmentation(self.payloads)
    }

    fn room(&self, connection: &Connection) -> Option<usize> {
        let knows = sa_init::knows_fragmentation(self.payloads);
        connection.fragmentation.room(knows)
    }

    /// The hashes of a request are made with our SPI still zero.
    const fn spis_of_request(&self) -> Spis {
        Spis { initiator: self.header.spi_i, responder: self.header.spi_r }
    }

    fn open_half(&self, endpoint: &mut Endpoint, sa: HalfOpen) {
        let spi = sa.asked.spis.responder;
        let response = Arc::clone(&sa.asked.transcript.response);
        let asker = (self.header.spi_i, self.source());
        let sa = IkeSa::HalfOpen(Box::new(sa));
        endpoint.table.insert(&mut endpoint.cx.peers, spi, sa, Some(asker));
        endpoint.cx.transmit(self.path, &response);
    }

    fn answer(&self, endpoint: &mut Endpoint, kind: NotifyType, data: &[u8]) {
        answer_bare(endpoint, self.path, self.header, kind, data);
    }
}

fn answer_bare(
    endpoint: &mut Endpoint,
    path: Path,
    header: &Header,
    kind: NotifyType,
    data: &[u8],
) {
    // Nothing of ours is longer than a length field can say.
    if let Ok(answer) = bare_answer(header, kind, data) {
        endpoint.cx.transmit(path, &answer);
    }
}
