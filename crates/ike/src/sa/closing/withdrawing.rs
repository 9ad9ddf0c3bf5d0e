//! The end of an SA that is not there yet.

use std::sync::Arc;

use super::Deleting;
use crate::context::Context;
use crate::event::Path;
use crate::fault::Discard;
use crate::sa::authenticating::is_auth_response;
use crate::sa::channel::Channel;
use crate::sa::datagram::Datagram;
use crate::sa::protection::{OpenFault, Protection};
use crate::sa::window::{Flight, Intent, Unanswered, Window};
use crate::sa::{IkeSa, Outcome, Then, Why};
use crate::time::{Instant, Now};

/// IKE_AUTH is on its way, and the SA that may come of it is not wanted any
/// more. The peer has to be told, but not before it has answered: there is one
/// request at a time (RFC 7296 section 2.3).
pub(crate) struct Withdrawing {
    pub(crate) connection: Arc<str>,
    pub(crate) protection: Protection,
    pub(crate) path: Path,
    pub(crate) flight: Flight,
    /// The message id of IKE_AUTH.
    pub(crate) auth_id: u32,
}

impl Withdrawing {
    pub(crate) fn receive(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if !is_auth_response(&datagram.header, self.auth_id) {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Withdrawing(self));
        }
        let accepted = match self.protection.open(datagram) {
            Ok(message) => message.payloads().auth().is_some(),
            Err(OpenFault::Discard(why)) => {
                return Outcome::discard(cx, why, IkeSa::Withdrawing(self));
            }
            Err(OpenFault::Peer(_)) => false,
        };
        if !accepted {
            return Outcome::gone();
        }
        let Self { connection, protection, path, auth_id, .. } = *self;
        let channel = Channel { protection, path, window: Window::new(auth_id + 1, 0) };
        let sa = Deleting::begin(cx, now, connection, channel, Intent::Delete, Vec::new());
        Outcome { sa, then: Then::Nothing }
    }

    /// Goes on over another TCP connection.
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.path = path;
        self.flight.resend(cx, now, path);
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.flight.due(), Why::Retransmit)
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        match self.flight.retransmit(cx, now.instant, self.path) {
            Ok(()) => Outcome::keep(IkeSa::Withdrawing(self)),
            Err(Unanswered) => Outcome::gone(),
        }
    }
}
