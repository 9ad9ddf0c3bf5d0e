//! The exchanges: what each accepts, what it says, what it makes of the answer.

pub(crate) mod auth;
pub(crate) mod certificates;
pub(crate) mod child;
pub(crate) mod configuration;
pub(crate) mod create_child;
pub(crate) mod follow_up;
pub(crate) mod informational;
pub(crate) mod intermediate;
pub(crate) mod lifetime;
pub(crate) mod mobike;
pub(crate) mod nat;
pub(crate) mod ppk;
pub(crate) mod rekey_ike;
pub(crate) mod sa_init;
pub(crate) mod session_resume;
pub(crate) mod signature;
pub(crate) mod transport;

#[cfg(test)]
mod known_answer;

use std::sync::Arc;

use crypto::{IntAuth, Nonces};

use crate::event::Role;
use crate::fault::Discard;
use crate::wire::{Header, PayloadType, Payloads};

/// What a message of an exchange must and must not hold. Everything else is
/// optional: RFC 7296 section 1.2 lets any message carry notifies and vendor ids.
pub(crate) struct Shape {
    pub(crate) required: &'static [PayloadType],
    pub(crate) forbidden: &'static [PayloadType],
}

impl Shape {
    /// Whether a message has this shape.
    pub(crate) fn check(&self, payloads: &Payloads<'_>) -> Result<(), Discard> {
        let has = |kind: &PayloadType| payloads.iter().any(|payload| payload.kind() == *kind);
        if !self.required.iter().all(has) {
            return Err(Discard::MissingPayload);
        }
        if self.forbidden.iter().any(has) { Err(Discard::BadPayload) } else { Ok(()) }
    }
}

/// What both sides said in the first exchange, as AUTH covers it
/// (RFC 7296 section 2.15).
pub(crate) struct Transcript {
    /// The request that was answered, so the one with the cookie.
    pub(crate) request: Arc<[u8]>,
    pub(crate) response: Arc<[u8]>,
    ni: Box<[u8]>,
    nr: Box<[u8]>,
    /// IntAuth of the exchanges after the first; empty if there were none
    /// (RFC 9242 section 3.3.2).
    pub(crate) intermediate: Box<[u8]>,
    /// The message id of the next request before the SA is established: of
    /// IKE_AUTH after all IKE_INTERMEDIATE (RFC 9242 section 3.2).
    pub(crate) auth_id: u32,
}

impl Transcript {
    pub(crate) fn new(
        (request, ni): (Arc<[u8]>, &[u8]),
        (response, nr): (Arc<[u8]>, &[u8]),
    ) -> Self {
        Self {
            request,
            response,
            ni: ni.into(),
            nr: nr.into(),
            intermediate: Box::default(),
            auth_id: 1,
        }
    }

    /// One more IKE_INTERMEDIATE is over.
    pub(crate) fn cover(&mut self, int_auth: &IntAuth) {
        self.auth_id += 1;
        self.intermediate = int_auth.octets(self.auth_id);
    }

    /// How many IKE_INTERMEDIATE there have been.
    pub(crate) const fn intermediate_exchanges(&self) -> usize {
        self.auth_id as usize - 1
    }

    /// Whether this is another answer to the first request than the one here.
    pub(crate) fn contests(&self, header: &Header, datagram: &[u8]) -> bool {
        header.flags.response && header.message_id == 0 && *datagram != *self.response
    }

    pub(crate) fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.ni, responder: &self.nr }
    }

    /// The message that `signer` sent, and the nonce that it received.
    pub(crate) fn signed_by(&self, signer: Role) -> (&[u8], &[u8]) {
        match signer {
            Role::Initiator => (&self.request, &self.nr),
            Role::Responder => (&self.response, &self.ni),
        }
    }
}
