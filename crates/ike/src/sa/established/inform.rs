//! What both sides say to each other while an SA lives, and when.

use super::set_up::{Awaited, Installing};
use super::{Established, KEEPALIVE, Phase, TicketAnswer};
use crate::context::Context;
use crate::event::{Gone, Output, Path, Role};
use crate::exchange::child::Child;
use crate::exchange::informational::{self, Asked};
use crate::fault::{Discard, PeerFault};
use crate::sa::channel::{AnswerTicket, Incoming, Refused};
use crate::sa::closing::Closed;
use crate::sa::fragments::Datagram;
use crate::sa::protection::{OpenFault, Unsendable};
use crate::sa::window::Task;
use crate::sa::{IkeSa, Outcome, Then, Why};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, Header, NotifyType, Payloads, Protocol};

impl Established {
    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        path: Path,
        header: &Header,
        datagram: &mut Datagram<'_>,
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
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if let Phase::Installing(Installing { awaited: Awaited::ByPeer(_), .. }) = self.phase {
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
        let deletes = |child: &Child| informational::deletes_child(payloads, child.terms.spi_out);
        let deleted = self.child().filter(|child| deletes(child)).map(|child| child.spi_in);
        // Only a client asks for tickets (A2).
        let wants_ticket = asked.ticket && self.role() == Role::Responder;
        let granted = if wants_ticket { self.issue(cx, now) } else { TicketAnswer::None };
        let answered = self.base.channel.answer(cx, ticket, |builder| {
            if let Some(spi_in) = deleted {
                builder.delete_children(Protocol::ESP, std::iter::once(spi_in.get()));
            }
            granted.push(builder);
        });
        if answered.is_err() {
            return self.fault(cx);
        }
        if asked.delete_ike || asked.rejected {
            self.dismantle(cx, Gone::PeerDeleted);
            let sa = Closed::after(self.base.channel, now);
            return Outcome { sa, then: Then::Nothing };
        }
        match deleted {
            Some(_) => self.child_deleted(cx, now),
            None => Outcome::keep(IkeSa::Established(self)),
        }
    }

    /// The peer has taken its child away. One that nobody has used yet leaves
    /// nothing to wait for.
    fn child_deleted(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        match &mut self.phase {
            Phase::Up { child, .. } => {
                if let Some(child) = child.take() {
                    self.remove(cx, &child, Gone::PeerDeleted);
                }
                Outcome::keep(IkeSa::Established(self))
            }
            Phase::New | Phase::Installing(_) => {
                self.delete(cx, now, Gone::PeerDeleted, Vec::new())
            }
        }
    }

    fn receive_response(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        header: &Header,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if self.is_disowned_by(header, datagram) {
            return self.disowned(cx, now);
        }
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

    /// Whether an answer in clear to our request proves that the peer has lost
    /// the SA (RFC 6290 section 4.5).
    fn is_disowned_by(&self, header: &Header, datagram: &[u8]) -> bool {
        let in_flight = self.base.channel.window.in_flight.as_ref();
        in_flight.is_some_and(|request| request.id == header.message_id)
            && self.crash_token.as_ref().is_some_and(|token| token.is_shown_by(datagram))
    }

    /// Sends what waits.
    fn go_on(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        let tries = cx.retransmission.tries;
        match self.base.channel.pump(cx, now.instant, tries) {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
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
}
