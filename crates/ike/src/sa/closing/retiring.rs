//! What is left of an SA that another of ours has taken the place of.

use esp::plane::Command;

use super::LATE_PACKETS;
use crate::context::Context;
use crate::event::Path;
use crate::exchange::child::Child;
use crate::fault::Discard;
use crate::sa::datagram::Datagram;
use crate::sa::{IkeSa, Meter, Outcome, Then, Why};
use crate::time::{Instant, Now};

/// Another SA of ours serves in the place of this one, whose end the peer is
/// told. Packets that it had sent before it knew still come in.
pub(crate) struct Retiring {
    /// What is left of the SA but for its children, until it is over.
    farewell: Option<Box<IkeSa>>,
    children: Vec<Child>,
    /// When its children are over, once the peer knows.
    until: Option<Instant>,
}

impl Retiring {
    pub(crate) fn begin(farewell: Option<IkeSa>, children: Vec<Child>, now: Now) -> IkeSa {
        let until = farewell.is_none().then_some(now.instant + LATE_PACKETS);
        let farewell = farewell.map(Box::new);
        IkeSa::Retiring(Box::new(Self { farewell, children, until }))
    }

    pub(crate) fn farewell(&self) -> Option<&IkeSa> {
        self.farewell.as_deref()
    }

    pub(crate) fn receive(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        if self.farewell.is_none() {
            return Outcome::discard(cx, Discard::Unexpected, IkeSa::Retiring(self));
        }
        self.change(cx, now, |sa, cx| sa.receive(cx, now, datagram))
    }

    pub(crate) fn due(&self) -> Option<(Instant, Why)> {
        let until = self.until.map(|until| (until, Why::Linger));
        [until, self.farewell().and_then(IkeSa::due)].into_iter().flatten().min()
    }

    pub(crate) fn timeout(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        meter: Meter<'_>,
    ) -> Outcome {
        if self.until.is_some_and(|until| until <= now.instant) {
            return Outcome { sa: self.over(cx), then: Then::Nothing };
        }
        self.change(cx, now, |sa, cx| sa.timeout(cx, now, meter))
    }

    /// Goes on over another TCP connection.
    pub(crate) fn opened(self: Box<Self>, cx: &mut Context, now: Now, path: Path) -> Outcome {
        self.change(cx, now, |sa, cx| sa.opened(cx, now, path))
    }

    fn change(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        step: impl FnOnce(IkeSa, &mut Context) -> Outcome,
    ) -> Outcome {
        let was_told = !matches!(self.farewell.as_deref(), Some(IkeSa::Deleting(_)));
        let Outcome { sa, then } = match self.farewell.take() {
            Some(sa) => step(*sa, cx),
            None => Outcome::gone(),
        };
        self.farewell = sa.map(Box::new);
        let is_told = !matches!(self.farewell.as_deref(), Some(IkeSa::Deleting(_)));
        if is_told && !was_told {
            self.until = Some(now.instant + LATE_PACKETS);
        }
        Outcome::keep(IkeSa::Retiring(self)).then(then)
    }

    /// Its children end, and what is left of it is kept as long as it must be.
    pub(crate) fn over(self, cx: &mut Context) -> Option<IkeSa> {
        for child in &self.children {
            cx.submit(Command::Remove(child.id));
            cx.forget_child(child);
        }
        self.farewell.map(|sa| *sa)
    }
}
