//! Tickets of a living SA: asked for by an initiator, handed out by a responder.

use std::time::{Duration, SystemTime};

use super::{Established, Founded};
use crate::context::Context;
use crate::event::{Event, Shown};
use crate::exchange::informational;
use crate::sa::window::Intent;
use crate::session::{ConnectionMark, Evidence, Grant, Origin, Resumable, Ticket};
use crate::status::TicketStatus;
use crate::time::{Instant, Now};
use crate::wire::{MessageBuilder, NotifyType, Payloads, Protected};

/// How long after a TICKET_ACK the gateway is asked again (A4).
const ASK_AGAIN: Duration = Duration::from_secs(60);

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
    pub(super) fn push(&self, builder: &mut MessageBuilder<Protected>) {
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

/// Of an initiator.
impl Established {
    /// Keeps a ticket, and plans to ask for the next one in half its lifetime.
    pub(super) fn hold(&mut self, grant: Grant, now: Instant) {
        self.ask_at = Some(now + grant.lifetime / 2);
        self.grant = Some(grant);
    }

    /// After a rekey of the IKE SA: the ticket of the SA before is void on both
    /// sides (D7), and a client asks for another (D9).
    pub(super) fn renew_ticket(&mut self) {
        self.grant = None;
        self.issued_until = None;
        self.ask_at = None;
        if self.line().is_some() && self.base.connection.resumption.enabled {
            self.base.channel.window.push(Intent::AskTicket);
        }
    }

    /// Asks again later for a ticket that was not to be had in IKE_AUTH (A4).
    pub(crate) fn ask_later(&mut self, now: Instant) {
        self.ask_at = Some(now + ASK_AGAIN);
    }

    /// The answer to a request for another ticket. Without one, the last stays.
    pub(super) fn receive_ticket(&mut self, cx: &mut Context, now: Now, payloads: &Payloads<'_>) {
        let connection = self.name();
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

    pub(crate) fn ticket_status(&self) -> Option<TicketStatus> {
        let grant = self.grant.as_ref()?;
        Some(TicketStatus { len: grant.ticket.octets().len(), expires: grant.expires })
    }
}

/// Of a responder.
impl Established {
    /// A ticket for this SA's session (A3). What comes of it does not alter
    /// the exchange that carries it (A5).
    pub(crate) fn issue(&mut self, cx: &mut Context, now: Now) -> TicketAnswer {
        let resumption = &self.base.connection.resumption;
        if !resumption.enabled {
            return TicketAnswer::Refused;
        }
        let lifetime = resumption.lifetime.min(self.base.age_left(now.wall));
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let expires = now.wall.checked_add(Duration::from_secs(u64::from(seconds)));
        let issued = expires.filter(|_| seconds > 0).and_then(|expires| {
            let spi = u64::from_be_bytes(self.base.channel.protection.our_spi().0);
            let connection = ConnectionMark::of(&self.base.connection.name);
            let origin = Origin { spi, connection };
            cx.issuer.issue(&mut cx.provider, &self.resumable(), origin, expires)
        });
        let Some(ticket) = issued else { return TicketAnswer::Refused };
        self.issued_until = expires;
        cx.counters.tickets_issued += 1;
        cx.emit(Event::TicketIssued {
            connection: self.name(),
            peer: Shown(self.peer.clone()),
            len: ticket.octets().len(),
        });
        TicketAnswer::Granted(ticket, seconds)
    }

    /// Whoever ended the SA here wants it to stay ended: no ticket of its
    /// session is good any more (B9).
    pub(super) fn revoke(&self, cx: &mut Context) {
        if self.issued_until.is_some() {
            let spi = u64::from_be_bytes(self.base.channel.protection.our_spi().0);
            // It may have been spent before, by a resumption that this SA has not seen.
            let _ = cx.issuer.spend(spi);
        }
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
            ppk: self.base.ppk.clone(),
            authenticated_at: self.base.authenticated_at,
            evidence: self.base.evidence.clone(),
            suite: self.base.suite,
            inner: self.base.inner,
            sk_d: self.base.sk_d.duplicate_for_grant(),
        }
    }
}

impl Founded {
    /// How long the session may still be resumed, counted from the last full
    /// authentication, and no longer than its proof is good: a ticket shall not
    /// be worth more than what it stands for (RFC 5723 section 6.2).
    fn age_left(&self, now: SystemTime) -> Duration {
        let age = now.duration_since(self.authenticated_at).unwrap_or_default();
        let expires = self.evidence.as_ref().and_then(Evidence::expires);
        let proof = expires.map(|end| end.duration_since(now).unwrap_or_default());
        let age_left = self.connection.oldest_resumable().saturating_sub(age);
        proof.map_or(age_left, |proof| proof.min(age_left))
    }
}
