//! IKE_SESSION_RESUME (RFC 5723 section 4.3.2).
//!
//! ```text
//! HDR, [N(COOKIE)], Ni, N(TICKET_OPAQUE), N(NAT_DETECTION_*),
//!                                      [N(IKEV2_FRAGMENTATION_SUPPORTED)],
//!                                      [N(REDIRECT_SUPPORTED) | N(REDIRECTED_FROM)] -->
//!                               <-- HDR, Nr, N(NAT_DETECTION_*),
//!                                      [N(IKEV2_FRAGMENTATION_SUPPORTED)]
//!                          or   <-- HDR, N(TICKET_NACK)
//!                          or   <-- HDR, N(REDIRECT)
//! ```

use std::sync::Arc;

use crypto::Provider;

use crate::event::Path;
use crate::exchange::sa_init::{announce_fragmentation, announce_redirect, finish, start};
use crate::exchange::{Shape, nat};
use crate::sa::protection::{Spis, Unsendable};
use crate::session::Ticket;
use crate::wire::{ExchangeType, Flags, NotifyType, PayloadType};

/// What a request must hold, beside TICKET_OPAQUE.
pub(crate) const REQUEST: Shape = Shape {
    required: &[PayloadType::NONCE, PayloadType::NOTIFY],
    forbidden: &[PayloadType::SA, PayloadType::KE, PayloadType::SK, PayloadType::SKF],
};

/// What a response must hold that accepts the ticket.
pub(crate) const RESPONSE: Shape = Shape {
    required: &[PayloadType::NONCE],
    forbidden: &[PayloadType::SA, PayloadType::KE, PayloadType::SK, PayloadType::SKF],
};

/// What a client says (B7).
pub(crate) struct Request<'a> {
    pub(crate) spis: Spis,
    pub(crate) path: Path,
    pub(crate) cookie: Option<&'a [u8]>,
    pub(crate) nonce: &'a [u8],
    pub(crate) ticket: &'a Ticket,
    pub(crate) pretend_nat: bool,
    /// Whether to say that we know fragments (RFC 7383 section 2.3).
    pub(crate) fragmentation: bool,
    /// What to say of redirects (RFC 5685 section 3).
    pub(crate) redirect: Option<(NotifyType, Vec<u8>)>,
}

impl Request<'_> {
    pub(crate) fn build(&self, provider: &mut Provider) -> Result<Arc<[u8]>, Unsendable> {
        let flags = Flags { initiator: true, response: false };
        let mut builder = start(self.spis, ExchangeType::SESSION_RESUME, flags);
        if let Some(cookie) = self.cookie {
            builder.notify(NotifyType::COOKIE, cookie);
        }
        builder.nonce(self.nonce).notify(NotifyType::TICKET_OPAQUE, self.ticket.octets());
        nat::announce(&mut builder, provider, self.spis, &self.path, self.pretend_nat);
        announce_fragmentation(&mut builder, self.fragmentation);
        announce_redirect(&mut builder, self.redirect.as_ref());
        finish(builder)
    }
}

/// What a gateway says that accepts the ticket (B8).
pub(crate) struct Response<'a> {
    pub(crate) spis: Spis,
    pub(crate) path: Path,
    pub(crate) nonce: &'a [u8],
    /// Whether the client did NAT detection: libreswan's initiator takes
    /// nothing but a nonce.
    pub(crate) detect_nat: bool,
    pub(crate) pretend_nat: bool,
    /// Whether to say that we know fragments (RFC 7383 section 2.3).
    pub(crate) fragmentation: bool,
}

impl Response<'_> {
    pub(crate) fn build(&self, provider: &mut Provider) -> Result<Arc<[u8]>, Unsendable> {
        let flags = Flags { initiator: false, response: true };
        let mut builder = start(self.spis, ExchangeType::SESSION_RESUME, flags);
        builder.nonce(self.nonce);
        if self.detect_nat {
            nat::announce(&mut builder, provider, self.spis, &self.path, self.pretend_nat);
        }
        announce_fragmentation(&mut builder, self.fragmentation);
        finish(builder)
    }
}
