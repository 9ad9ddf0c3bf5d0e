//! What both sides say to each other while an SA lives, and when.

use super::children::{ChildSa, State};
use super::{Established, KEEPALIVE, TicketAnswer};
use crate::context::Context;
use crate::crash::PeerToken;
use crate::event::{Gone, Output, Role};
use crate::exchange::informational::Asked;
use crate::exchange::lifetime;
use crate::fault::{Discard, PeerFault};
use crate::redirect;
use crate::sa::channel::{AnswerTicket, Incoming, Refused};
use crate::sa::closing::Closed;
use crate::sa::datagram::Datagram;
use crate::sa::protection::{OpenFault, Unsendable};
use crate::sa::window::{Intent, Task};
use crate::sa::{IkeSa, Meter, Outcome, Then, Why};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, Payloads, Protocol};

impl Established {
    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if datagram.header.flags.response {
            self.receive_response(cx, now, datagram)
        } else {
            self.receive_request(cx, now, datagram)
        }
    }

    fn receive_request(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if self.children.iter().any(ChildSa::is_awaited_by_peer) {
            // The last request again, while its answer waits for the plane.
            return Outcome::discard(cx, Discard::Retransmission, IkeSa::Established(self));
        }
        let Incoming { message, ticket } = match self.base.channel.receive_request(cx, datagram) {
            Ok(incoming) => incoming,
            Err(Refused::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Established(self));
            }
            Err(Refused::Peer(PeerFault::UnsupportedCriticalPayload(_))) => {
                return Outcome::keep(IkeSa::Established(self));
            }
            // INVALID_SYNTAX is fatal on both sides (RFC 7296 section 2.21.3).
            Err(
                Refused::Peer(
                    PeerFault::InvalidSyntax
                    | PeerFault::AuthenticationFailed
                    | PeerFault::UnexpectedNat,
                )
                | Refused::Unsendable,
            ) => return self.fault(cx),
        };
        if self.heard_from(cx, now, ticket.path).is_err() {
            return self.fault(cx);
        }
        let answered = match ticket.exchange {
            ExchangeType::INFORMATIONAL => {
                return self.receive_informational(cx, now, ticket, message.payloads());
            }
            ExchangeType::CREATE_CHILD_SA => {
                return self.receive_create_child(cx, now, ticket, message.payloads());
            }
            ExchangeType::FOLLOWUP_KE => {
                return self.answer_follow_up(cx, now, ticket, message.payloads());
            }
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
        let deleted = self.deleted_by_peer(cx, now, payloads);
        // Only a client asks for tickets (A2).
        let wants_ticket = asked.ticket && self.role() == Role::Responder;
        let granted = if wants_ticket { self.issue(cx, now) } else { TicketAnswer::None };
        if self.role() == Role::Initiator {
            self.obey(cx, now, lifetime::wanted(payloads, now));
            if let Some(token) = PeerToken::of(payloads) {
                self.keep_crash_token(Some(token));
            }
        }
        let told = self.told_of_addresses(payloads);
        let (moved, reply) = self.hear_of_addresses(cx, now, ticket.path, (told, payloads));
        let answered = self.base.channel.answer(cx, ticket, |builder| {
            if !deleted.spis.is_empty() {
                let spis = deleted.spis.iter().map(|spi| spi.get());
                builder.delete_children(Protocol::ESP, spis);
            }
            granted.push(builder);
            reply.push(builder);
        });
        if answered.is_err() {
            return self.fault(cx);
        }
        if let Some(path) = moved {
            self.go(cx, now, path);
        }
        if asked.delete_ike || asked.rejected {
            return self.ended_by_peer(cx, now);
        }
        if deleted.unused {
            // A child that nobody has used yet leaves nothing to wait for.
            return self.delete(cx, now, Gone::PeerDeleted, Vec::new());
        }
        let away = redirect::target(&self.base.connection, payloads);
        match away.and_then(|to| self.redirection(now, to)) {
            Some(redirection) => self.go_on(cx, now).then(Then::Leave(Box::new(redirection))),
            None => self.go_on(cx, now),
        }
    }

    /// The peer has deleted the SA. If both sides were replacing it and only we
    /// have noticed so, the peer's successor goes on (RFC 7296 section 2.8.2).
    fn ended_by_peer(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if let Some(rival) = self.take_rival() {
            let (mut heir, old) = self.hand_over(cx, *rival, Role::Responder);
            heir.offer_token();
            let heir = heir.go_on_as_heir(cx, now).into_iter().collect();
            return Outcome { sa: Closed::after(old, now), then: Then::Rekeyed(heir) };
        }
        self.dismantle(cx, Gone::PeerDeleted);
        let sa = Closed::after(self.base.channel, now);
        Outcome { sa, then: Then::Nothing }
    }

    fn receive_response(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if self.is_disowned_by(datagram) {
            return self.begin_anew(cx, now, Gone::PeerRestarted);
        }
        let path = datagram.path;
        let (task, message) = match self.base.channel.receive_response(datagram) {
            Ok(done) => done,
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Established(self));
            }
            Err(OpenFault::Peer(_)) => return self.fault(cx),
        };
        self.watch.hear(now.instant);
        let payloads = message.payloads();
        self.answered_by(cx, now, path);
        match task {
            Task::Liveness | Task::Delete | Task::Reject | Task::Moot(_) => {}
            Task::AskTicket => self.receive_ticket(cx, now, payloads),
            Task::DeleteChild(id) => self.linger(now.instant, id),
            Task::DeleteLoser(spi) => cx.spis.free(spi),
            Task::TellAddresses | Task::TellLifetime | Task::GiveToken | Task::Redirect => {}
            Task::UpdateAddresses(task) => return self.receive_moved(cx, now, &task, payloads),
            Task::CheckPath(task) => return self.receive_checked(cx, now, &task, payloads),
            Task::CheckMapping => self.receive_mapping(payloads),
            Task::CreateChild(task) => {
                if self.receive_child(cx, now, *task, payloads).is_err() {
                    return self.fault(cx);
                }
            }
            Task::RekeyIke(task) => return self.receive_successor(cx, now, *task, payloads),
            Task::FollowUp(task) => return self.receive_follow_up(cx, now, *task, payloads),
        }
        self.go_on(cx, now)
    }

    /// Whether an answer in clear to our request proves that the peer has lost
    /// the SA (RFC 6290 section 4.5).
    fn is_disowned_by(&self, datagram: &Datagram<'_>) -> bool {
        let in_flight = self.base.channel.window.in_flight.as_ref();
        in_flight.is_some_and(|request| request.id == datagram.header.message_id)
            && self.crash_token.as_ref().is_some_and(|token| token.is_shown_by(datagram))
    }

    /// Sends what waits.
    pub(super) fn go_on(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        match self.pump(cx, now) {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    /// Asks for what waits, if it is our turn.
    pub(super) fn pump(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        if self.pending_successor().is_some() {
            // What waits is for the successor to ask (RFC 7296 section 2.25.2).
            return Ok(());
        }
        let tries = cx.retransmission.tries;
        while let Some(intent) = self.base.channel.pump(cx, now.instant, tries)? {
            self.ask(cx, now, intent)?;
        }
        self.stay_complete(cx, now);
        Ok(())
    }

    /// Asks for what it takes more for than the channel has, if it still makes sense.
    fn ask(&mut self, cx: &mut Context, now: Now, intent: Intent) -> Result<(), Unsendable> {
        match intent {
            Intent::CreateChild(which) => self.ask_for_child(cx, now, which, None),
            Intent::RekeyChild(id) => match self.which(id) {
                Some(which) => self.ask_for_child(cx, now, which, Some(id)),
                None => Ok(()),
            },
            Intent::DeleteChild(id) => self.delete_child(cx, now, id),
            Intent::DeleteLoser(spi) => self.delete_loser(cx, now, spi),
            Intent::RekeyIke => self.ask_for_successor(cx, now),
            Intent::UpdateAddresses => self.ask_to_move(cx, now),
            Intent::TellAddresses => self.tell_addresses(cx, now),
            Intent::TellLifetime => self.tell_lifetime(cx, now),
            Intent::CheckPath => self.check_path(cx, now),
            Intent::CheckMapping => self.check_mapping(cx, now),
            Intent::GiveToken => self.give_token(cx, now),
            Intent::Redirect => self.tell_where(cx, now),
            // The channel asks for these itself.
            Intent::Liveness | Intent::Delete | Intent::Reject | Intent::AskTicket => Ok(()),
        }
    }

    pub(crate) fn due(&self) -> Option<(Instant, Why)> {
        let retransmit = self.base.channel.due().map(|due| (due, Why::Retransmit));
        let liveness = self.liveness_due().map(|due| (due, Why::Liveness));
        let keepalive = self.keepalive_at.map(|due| (due, Why::Keepalive));
        let ticket = self.ask_at.map(|due| (due, Why::Ticket));
        let rekey = self.rekey_due().map(|due| (due, Why::Rekey));
        let proof = self.proof_due().map(|due| (due, Why::Reauthenticate));
        [retransmit, liveness, keepalive, ticket, rekey, proof].into_iter().flatten().min()
    }

    /// When a key, or what is left of one, is at its end.
    fn rekey_due(&self) -> Option<Instant> {
        let late = |sa: &ChildSa| match sa.state {
            State::Lingering { until } => Some(until),
            State::Installing(..) | State::Up | State::Replaced { .. } | State::Deleting => None,
        };
        let children = self.children.iter().flat_map(|sa| [sa.deadlines.next(), late(sa)]);
        let own = [self.deadlines.next(), self.complete_at, self.pending_until()];
        children.chain(own).flatten().min()
    }

    fn rekey_if_due(&mut self, cx: &mut Context, now: Instant) {
        self.remove_late(cx, now);
        self.drop_overdue(cx, now);
        let window = &mut self.base.channel.window;
        for sa in &mut self.children {
            if sa.deadlines.take_rekey(now) {
                window.push(Intent::RekeyChild(sa.child.id));
            }
        }
        if self.deadlines.take_rekey(now) {
            window.push(Intent::RekeyIke);
        }
        if self.complete_at.take_if(|due| *due <= now).is_some() {
            self.ask_for_missing();
        }
        let end = |sa: &mut ChildSa| sa.deadlines.take_end(now).then_some(sa.child.id);
        let over: Vec<_> = self.children.iter_mut().filter_map(end).collect();
        for id in over {
            self.expire(cx, id);
        }
    }

    pub(crate) fn timeout(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        meter: Meter<'_>,
    ) -> Outcome {
        if self.retransmit(cx, now).is_err() {
            return self.lost(cx, now);
        }
        if self.keepalive_at.is_some_and(|due| due <= now.instant) {
            let path = self.base.channel.path;
            // By TCP none is sent (RFC 9329 section 6.6).
            let keepalive = path.stream().is_none().then_some(Output::Keepalive(path));
            cx.outputs.extend(keepalive);
            self.keepalive_at = Some(now.instant + KEEPALIVE);
        }
        if self.ask_at.is_some_and(|due| due <= now.instant) {
            self.ask_at = None;
            self.base.channel.window.push(Intent::AskTicket);
        }
        self.look_if_due(now.instant, meter);
        if self.deadlines.take_end(now.instant) {
            return self.exhausted(cx, now);
        }
        if let Some(why) = self.take_end(now.instant) {
            return self.out_of_time(cx, now, why);
        }
        self.rekey_if_due(cx, now.instant);
        self.serve_if_due(cx, now.instant);
        let next = self.reauthenticate_if_due(now);
        let outcome = self.go_on(cx, now);
        match next.filter(|_| outcome.sa.is_some()) {
            Some(attempt) => outcome.then(Then::Reauthenticate(Box::new(attempt))),
            None => outcome,
        }
    }
}
