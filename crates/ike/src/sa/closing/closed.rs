//! What was last said to a peer, for when it asks again.

use std::time::Duration;

use crate::context::Context;
use crate::fault::PeerFault;
use crate::sa::channel::{AnswerTicket, Channel};
use crate::sa::datagram::Datagram;
use crate::sa::protection::Protection;
use crate::sa::window::Answered;
use crate::sa::{IkeSa, Outcome, Then, Why};
use crate::time::{Instant, Now};

/// How long a last answer is kept: longer than a peer's retransmissions of the
/// request that it answers.
const LINGER: Duration = Duration::from_secs(30);

/// It is over. A peer that missed our last answer gets it again.
pub(crate) struct Closed {
    protection: Protection,
    answered: Answered,
    until: Instant,
}

impl Closed {
    /// Answers a request with what is wrong with it, and no other.
    pub(crate) fn refusing(
        cx: &mut Context,
        now: Now,
        mut channel: Channel,
        ticket: AnswerTicket,
        fault: PeerFault,
    ) -> Outcome {
        if channel.answer_fault(cx, ticket, fault).is_err() {
            return Outcome::gone();
        }
        Outcome { sa: Self::after(channel, now), then: Then::Nothing }
    }

    pub(crate) fn after(channel: Channel, now: Now) -> Option<IkeSa> {
        let Channel { protection, window, .. } = channel;
        let (answered, until) = (window.answered?, now.instant + LINGER);
        Some(IkeSa::Closed(Box::new(Self { protection, answered, until })))
    }

    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        let why = self.answered.repeat(cx, &self.protection, datagram);
        Outcome::discard(cx, why, IkeSa::Closed(self))
    }

    pub(crate) const fn due(&self) -> (Instant, Why) {
        (self.until, Why::Linger)
    }

    pub(crate) fn timeout(self: Box<Self>, now: Now) -> Outcome {
        if now.instant < self.until { Outcome::keep(IkeSa::Closed(self)) } else { Outcome::gone() }
    }
}
