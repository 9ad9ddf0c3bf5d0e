//! What is left of an SA that has been rekeyed by the peer.

use std::time::Duration;

use super::{Closed, answer_last};
use crate::context::Context;
use crate::event::Path;
use crate::sa::channel::{Channel, Refused};
use crate::sa::datagram::Datagram;
use crate::sa::protection::OpenFault;
use crate::sa::{IkeSa, Outcome, Then, Why};
use crate::time::{Instant, Now};

/// How long an SA that has a successor waits for its Delete.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another SA has taken the place of this one. Whoever made that one will
/// delete this (RFC 7296 section 2.8); until then it is only held together.
pub(crate) struct Superseded {
    channel: Channel,
    until: Instant,
}

impl Superseded {
    pub(crate) fn begin(mut channel: Channel, now: Now) -> IkeSa {
        channel.window.clear_queue();
        IkeSa::Superseded(Box::new(Self { channel, until: now.instant + PATIENCE }))
    }

    pub(crate) const fn path(&self) -> &Path {
        &self.channel.path
    }

    /// Goes on over another TCP connection.
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.channel.rejoin(cx, now, path);
    }

    pub(crate) fn receive(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if datagram.header.flags.response {
            return match self.channel.receive_response(datagram) {
                Ok(_) | Err(OpenFault::Peer(_)) => Outcome::keep(IkeSa::Superseded(self)),
                Err(OpenFault::Discard(why)) => Outcome::discard(cx, why, IkeSa::Superseded(self)),
            };
        }
        match answer_last(&mut self.channel, cx, datagram) {
            Ok(false) => Outcome::keep(IkeSa::Superseded(self)),
            Ok(true) => Outcome { sa: Closed::after(self.channel, now), then: Then::Nothing },
            Err(Refused::Discard(why)) => Outcome::discard(cx, why, IkeSa::Superseded(self)),
            Err(Refused::Peer(_) | Refused::Unsendable) => Outcome::gone(),
        }
    }

    pub(crate) fn due(&self) -> (Instant, Why) {
        let retransmit = self.channel.due().map(|due| (due, Why::Retransmit));
        retransmit.into_iter().fold((self.until, Why::Linger), Ord::min)
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        let goes_on = now.instant < self.until && self.channel.retransmit(cx, now.instant).is_ok();
        if goes_on { Outcome::keep(IkeSa::Superseded(self)) } else { Outcome::gone() }
    }
}
