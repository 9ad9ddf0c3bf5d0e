//! The end of an SA: telling the peer, and remembering what was last said.

use std::sync::Arc;
use std::time::Duration;

use esp::plane::Command;

use crate::context::Context;
use crate::event::{Path, RequestId};
use crate::exchange::child::Child;
use crate::exchange::informational::Asked;
use crate::fault::{Discard, PeerFault};
use crate::sa::authenticating::is_auth_response;
use crate::sa::channel::{AnswerTicket, Channel, Incoming, Refused};
use crate::sa::datagram::Datagram;
use crate::sa::protection::{OpenFault, Protection, Unsendable};
use crate::sa::window::{Answered, Flight, Intent, Task, Unanswered, Window};
use crate::sa::{IkeSa, Meter, Outcome, Then, Why};
use crate::time::{Instant, Now};
use crate::wire::{ExchangeType, NotifyType};

/// Transmissions of a Delete: a peer that is gone must not keep us waiting for
/// as long as one that may only be slow.
const DELETE_TRIES: u32 = 4;

/// How long a last answer is kept: longer than a peer's retransmissions of the
/// request that it answers.
const LINGER: Duration = Duration::from_secs(30);

/// How long packets still come in by a child that was replaced: those that were
/// on their way when its end was agreed on.
pub(crate) const LATE_PACKETS: Duration = Duration::from_secs(5);

/// How long an SA that has a successor waits for its Delete.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// We are telling the peer that it is over. The child is already gone.
pub(crate) struct Deleting {
    connection: Arc<str>,
    channel: Channel,
    waiting: Vec<RequestId>,
}

impl Deleting {
    /// Sends the end of it, or waits with it until the window is open.
    pub(crate) fn begin(
        cx: &mut Context,
        now: Now,
        connection: Arc<str>,
        mut channel: Channel,
        farewell: Intent,
        waiting: Vec<RequestId>,
    ) -> Option<IkeSa> {
        channel.window.clear_queue();
        channel.window.push(farewell);
        let sa = Box::new(Self { connection, channel, waiting });
        sa.go_on(cx, now)
    }

    pub(crate) const fn connection(&self) -> &Arc<str> {
        &self.connection
    }

    pub(crate) const fn path(&self) -> &Path {
        &self.channel.path
    }

    /// Goes on over another TCP connection.
    pub(crate) fn rejoin(&mut self, cx: &mut Context, now: Instant, path: Path) {
        self.channel.rejoin(cx, now, path);
    }

    /// Whoever else wants to know of the end.
    pub(crate) fn wait(&mut self, waiting: Vec<RequestId>) {
        self.waiting.extend(waiting);
    }

    fn go_on(mut self: Box<Self>, cx: &mut Context, now: Now) -> Option<IkeSa> {
        match self.channel.pump(cx, now.instant, DELETE_TRIES) {
            Ok(_) => Some(IkeSa::Deleting(self)),
            Err(Unsendable) => {
                self.over(cx);
                None
            }
        }
    }

    fn over(self: Box<Self>, cx: &mut Context) {
        cx.reply(self.waiting, Ok(()));
    }

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

    fn receive_response(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        match self.channel.receive_response(datagram) {
            Ok((Task::Delete | Task::Reject, _)) | Err(OpenFault::Peer(_)) => {
                self.over(cx);
                Outcome::gone()
            }
            Ok((
                Task::Liveness
                | Task::AskTicket
                | Task::CreateChild(_)
                | Task::DeleteChild(_)
                | Task::DeleteLoser(_)
                | Task::RekeyIke(_)
                | Task::FollowUp(_)
                | Task::UpdateAddresses(_)
                | Task::TellAddresses
                | Task::TellLifetime
                | Task::CheckPath(_)
                | Task::CheckMapping
                | Task::GiveToken
                | Task::Redirect
                | Task::Moot(_),
                _,
            )) => Outcome { sa: self.go_on(cx, now), then: Then::Nothing },
            Err(OpenFault::Discard(why)) => Outcome::discard(cx, why, IkeSa::Deleting(self)),
        }
    }

    /// Both sides may end it at once (RFC 7296 section 1.4.1); all else that
    /// the peer still asks for is declined.
    fn receive_request(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        datagram: &mut Datagram<'_>,
    ) -> Outcome {
        match answer_last(&mut self.channel, cx, datagram) {
            Ok(false) => Outcome::keep(IkeSa::Deleting(self)),
            Err(Refused::Discard(why)) => Outcome::discard(cx, why, IkeSa::Deleting(self)),
            Err(Refused::Peer(_)) => {
                self.over(cx);
                Outcome::gone()
            }
            Ok(true) | Err(Refused::Unsendable) => {
                let Self { channel, waiting, .. } = *self;
                cx.reply(waiting, Ok(()));
                Outcome { sa: Closed::after(channel, now), then: Then::Nothing }
            }
        }
    }

    pub(crate) fn due(&self) -> Option<(Instant, Why)> {
        self.channel.due().map(|due| (due, Why::Retransmit))
    }

    pub(crate) fn timeout(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        if self.channel.retransmit(cx, now.instant).is_ok() {
            return Outcome::keep(IkeSa::Deleting(self));
        }
        self.over(cx);
        Outcome::gone()
    }
}

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
        self.farewell = self.farewell.and_then(|sa| step(*sa, cx).sa).map(Box::new);
        let is_told = !matches!(self.farewell.as_deref(), Some(IkeSa::Deleting(_)));
        if is_told && !was_told {
            self.until = Some(now.instant + LATE_PACKETS);
        }
        Outcome::keep(IkeSa::Retiring(self))
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

/// Answers a request to an SA that is being closed; whether it was the Delete
/// of it. Nothing new is begun (RFC 7296 section 2.25.2).
fn answer_last(
    channel: &mut Channel,
    cx: &mut Context,
    datagram: &mut Datagram<'_>,
) -> Result<bool, Refused> {
    let Incoming { message, ticket } = channel.receive_request(cx, datagram)?;
    let is_informational = ticket.exchange == ExchangeType::INFORMATIONAL;
    let is_end = is_informational && Asked::of(message.payloads()).delete_ike;
    channel.answer(cx, ticket, |builder| {
        if !is_informational {
            builder.notify(NotifyType::TEMPORARY_FAILURE, &[]);
        }
    })?;
    Ok(is_end)
}

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
