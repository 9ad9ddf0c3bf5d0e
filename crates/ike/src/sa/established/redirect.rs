//! Redirects of an SA that stands (RFC 5685 section 5).

use std::net::IpAddr;

use super::Established;
use crate::context::Context;
use crate::event::{Event, Role, Shown};
use crate::redirect::Gateway;
use crate::sa::protection::Unsendable;
use crate::sa::window::{Intent, Task};
use crate::sa::{Attempt, IkeSa, Outcome, Redirection, Start};
use crate::time::Now;
use crate::wire::NotifyType;

impl Established {
    /// Where we were redirected to.
    pub(crate) const fn gateway(&self) -> Option<IpAddr> {
        self.base.gateway
    }

    /// The attempt that follows when the peer sends us away. Only who has begun
    /// an SA can be (RFC 5685 section 10).
    pub(super) fn redirection(&self, now: Now, to: Gateway) -> Option<Redirection> {
        let attempt = Attempt { beside: true, ..self.successor(now)? };
        let start = Start::Fresh { parked: None };
        Some(Redirection { attempt, start, path: self.base.channel.path, to })
    }

    /// Whether the peer has said that it can be redirected.
    pub(crate) fn is_redirectable(&self) -> bool {
        self.role() == Role::Responder && self.base.redirectable
    }

    /// Sends the peer to another gateway; it ends the SA.
    pub(crate) fn redirect(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        to: Gateway,
    ) -> Outcome {
        let (connection, remote) = (Some(self.name()), self.base.channel.path.remote);
        cx.emit(Event::PeerRedirected { connection, remote, to: Shown(to.clone()) });
        self.elsewhere = Some(to);
        self.base.channel.window.push(Intent::Redirect);
        if self.up.is_none() {
            // Its IKE_AUTH is not answered yet.
            return Outcome::keep(IkeSa::Established(self));
        }
        self.go_on(cx, now)
    }

    pub(super) fn tell_where(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let Some(to) = self.elsewhere.take() else { return Ok(()) };
        let tries = cx.retransmission.tries;
        let asked = self.base.channel.ask(cx, now.instant, tries, Task::Redirect, |_, builder| {
            builder.notify(NotifyType::REDIRECT, &to.emit(&[]));
        });
        // The SA may be replaced before the peer has heard of it.
        self.elsewhere = Some(to);
        asked
    }
}
