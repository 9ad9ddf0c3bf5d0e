//! From an authenticated peer to a first child that carries packets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use esp::plane::{CommandId, Fault};
use esp::spec::{ChildId, GroupId, Spi};
use pki::Credential;

use super::children::Purpose;
use super::{Established, Founded, PeerGroup, Side};
use crate::config::ChildIndex;
use crate::context::Context;
use crate::crash::TOKEN_LEN;
use crate::event::{Event, Gone, How, RequestId, Role, SetUp, Shown};
use crate::exchange::Transcript;
use crate::exchange::auth::{AuthData, push_auth, push_id};
use crate::exchange::certificates;
use crate::exchange::child::{self, KeySource, Terms};
use crate::exchange::lifetime;
use crate::exchange::mobike;
use crate::identity::Id;
use crate::redirect::Gateway;
use crate::sa::channel::AnswerTicket;
use crate::sa::closing::LATE_PACKETS;
use crate::sa::inner::Given;
use crate::sa::{IkeSa, Outcome};
use crate::time::{Instant, Now};
use crate::wire::{MessageBuilder, NotifyType, Protected};

use super::TicketAnswer;

/// Who waits for the child.
pub(crate) enum Awaited {
    /// Whoever gave us commands.
    ByUs(Vec<RequestId>),
    /// The peer, for the answer to its IKE_AUTH: nobody is invited to send
    /// what could not be received.
    ByPeer(Box<Answer>),
}

/// The answer to IKE_AUTH, but for the child.
pub(crate) struct Answer {
    pub(crate) ticket: AnswerTicket,
    /// The certificates that go with it.
    pub(crate) credential: Option<Arc<Credential>>,
    pub(crate) auth: AuthData,
    /// Whether a PPK is mixed in here, and not in the session before.
    pub(crate) ppk: bool,
    pub(crate) token: Option<[u8; TOKEN_LEN]>,
    pub(crate) granted: TicketAnswer,
    pub(crate) given: Given,
    /// Our other addresses, if both sides know MOBIKE.
    pub(crate) told: Option<Vec<IpAddr>>,
    /// How long until the initiator should prove itself again (RFC 4478).
    pub(crate) lifetime: Option<Duration>,
}

/// Why the peer gets no child.
pub(crate) enum NoChild {
    /// It wants none yet (RFC 6023).
    Unwanted,
    /// It cannot have one.
    Refused(NotifyType),
    /// It is to go to another gateway (RFC 5685 section 6).
    Redirected(Gateway),
}

impl NoChild {
    fn push(&self, builder: &mut MessageBuilder<Protected>) {
        match self {
            Self::Unwanted => builder,
            Self::Refused(why) => builder.notify(*why, &[]),
            Self::Redirected(to) => builder.notify(NotifyType::REDIRECT, &to.emit(&[])),
        };
    }
}

impl Answer {
    fn push(&self, builder: &mut MessageBuilder<Protected>, id: &Id) {
        push_id(builder, Role::Responder, id);
        if let Some(credential) = &self.credential {
            certificates::push(builder, credential);
        }
        push_auth(builder, &self.auth);
        if self.ppk {
            builder.notify(NotifyType::PPK_IDENTITY, &[]);
        }
        if let Some(token) = &self.token {
            builder.notify(NotifyType::QUICK_CRASH_DETECTION, token);
        }
        self.granted.push(builder);
        if let Some(told) = &self.told {
            mobike::offer(builder, told, None);
        }
        if let Some(left) = self.lifetime {
            lifetime::push(builder, left);
        }
    }
}

impl Founded {
    fn set_up(&self, now: Instant) -> SetUp {
        SetUp { how: self.how, round_trips: self.round_trips, took: now.since(self.started) }
    }

    /// The group of a child that is to be installed.
    pub(super) fn group(&mut self, cx: &mut Context, which: ChildIndex) -> GroupId {
        let new = || PeerGroup { id: cx.new_group(), is_installed: false };
        match &mut self.side {
            Side::Line { groups, .. } => groups.of(which),
            Side::Peer { groups } => groups.entry(which).or_insert_with(new).id,
        }
    }

    /// The plane has installed a child.
    fn note_installed(&mut self, which: ChildIndex) {
        if let Side::Peer { groups } = &mut self.side
            && let Some(group) = groups.get_mut(&which)
        {
            group.is_installed = true;
        }
    }
}

impl Established {
    /// Has the plane install the first child.
    pub(crate) fn install(
        mut self: Box<Self>,
        cx: &mut Context,
        wanted: (Spi, Terms),
        transcript: &Transcript,
        awaited: Awaited,
    ) -> Outcome {
        let source = KeySource { role: self.role(), nonces: transcript.nonces(), shared: None };
        self.submit(cx, wanted, source, Purpose::First(awaited));
        Outcome::keep(IkeSa::Established(self))
    }

    /// The plane has installed a child, or could not.
    pub(crate) fn installed(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        done: CommandId,
        result: Result<(), Fault>,
    ) -> Outcome {
        let Some((id, which, purpose)) = self.settle(done) else {
            return Outcome::keep(IkeSa::Established(self));
        };
        let result = result.and_then(|()| self.keep_if_fit(cx, id));
        if result.is_err() {
            // The plane holds nothing of a child that it could not install.
            self.forget_failed(cx, id, &purpose);
        } else {
            self.base.note_installed(which);
            self.trigger.take_if(|trigger| trigger.which == which);
        }
        self.begin_life(cx, now.instant, id);
        self.reply_if_complete(cx);
        match purpose {
            Purpose::First(Awaited::ByUs(waiting)) => self.first_by_us(cx, now, waiting, result),
            Purpose::First(Awaited::ByPeer(answer)) => match result {
                Ok(()) => self.answer_with_child(cx, now, id, &answer),
                Err(_) => {
                    let why = NoChild::Refused(NotifyType::NO_ADDITIONAL_SAS);
                    self.without_child(cx, now, &answer, &why)
                }
            },
            Purpose::Ours(replaces) => self.installed_ours(cx, now, (id, which), replaces, result),
            Purpose::Theirs(ticket, answer, replaces) => {
                self.installed_theirs(cx, now, id, (ticket, &answer, replaces), result)
            }
        }
    }

    /// The peer is authenticated, and all children are still to be asked for
    /// (RFC 6023).
    pub(crate) fn begin_childless(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        waiting: Vec<RequestId>,
    ) -> Outcome {
        self.up(cx, now);
        self.ask_for_all(cx, now, waiting)
    }

    fn first_by_us(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        waiting: Vec<RequestId>,
        result: Result<(), Fault>,
    ) -> Outcome {
        if result.is_err() {
            self.failed(cx, Gone::Plane, waiting);
            return self.delete(cx, now, Gone::Plane, Vec::new());
        }
        self.up(cx, now);
        cx.reply(waiting, Ok(()));
        self.ask_for_missing();
        self.go_on(cx, now)
    }

    fn answer_with_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        id: ChildId,
        answer: &Answer,
    ) -> Outcome {
        let our_id = &self.base.connection.local_id;
        let child = self.children.iter().find(|sa| sa.child.id == id).map(|sa| &sa.child);
        let sent = self.base.channel.answer(cx, answer.ticket, |builder| {
            answer.push(builder, our_id);
            answer.given.push(builder);
            if let Some(child) = child {
                child::answer(builder, child);
            }
        });
        self.up(cx, now);
        match sent {
            Ok(()) => self.go_on(cx, now),
            Err(_) => self.fault(cx),
        }
    }

    /// The peer is let in, but its child is not: `why` tells it so.
    pub(crate) fn without_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        answer: &Answer,
        why: &NoChild,
    ) -> Outcome {
        let id = &self.base.connection.local_id;
        let sent = self.base.channel.answer(cx, answer.ticket, |builder| {
            answer.push(builder, id);
            if matches!(why, NoChild::Unwanted) {
                answer.given.push(builder);
            }
            why.push(builder);
        });
        self.up(cx, now);
        match sent {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(_) => self.fault(cx),
        }
    }

    /// All is done: says so.
    fn up(&mut self, cx: &mut Context, now: Now) {
        let set_up = self.base.set_up(now.instant);
        match set_up.how {
            How::Full => cx.counters.full += 1,
            How::Resumed => cx.counters.resumed += 1,
        }
        cx.emit(Event::Up {
            connection: self.name(),
            sa: self.id(),
            role: self.role(),
            peer: Shown(self.peer.clone()),
            remote: self.base.channel.path.remote,
            suite: Shown(self.base.suite),
            set_up,
        });
        for sa in &self.children {
            cx.emit(self.child_up(&sa.child));
        }
        self.up = Some((set_up, now.instant));
        self.prefer_at = self.base.beside.then_some(now.instant + LATE_PACKETS);
        self.deadlines = self.base.connection.lifetime.begin(cx, now.instant);
    }
}
