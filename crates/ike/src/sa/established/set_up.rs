//! From an authenticated peer to a child that carries packets.

use std::sync::Arc;

use esp::plane::{Command, CommandId, Fault};
use esp::spec::{Encapsulation, GroupId, Selector, Spi};
use pki::Credential;

use super::{Established, Founded, Phase, Side};
use crate::context::Context;
use crate::crash::TOKEN_LEN;
use crate::event::{Event, Gone, How, RequestId, Role, SetUp, Shown};
use crate::exchange::Transcript;
use crate::exchange::auth::{AuthData, push_auth, push_id};
use crate::exchange::certificates;
use crate::exchange::child::{self, Child, Terms};
use crate::identity::Id;
use crate::sa::channel::AnswerTicket;
use crate::sa::inner::Given;
use crate::sa::{IkeSa, Outcome};
use crate::time::{Instant, Now};
use crate::wire::{MessageBuilder, NotifyType, Protected};

use super::TicketAnswer;

/// A child that the plane is installing.
pub(super) struct Installing {
    pub(super) command: CommandId,
    pub(super) child: Child,
    pub(super) awaited: Awaited,
}

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
    pub(crate) token: Option<[u8; TOKEN_LEN]>,
    pub(crate) granted: TicketAnswer,
    pub(crate) given: Given,
}

impl Answer {
    fn push(&self, builder: &mut MessageBuilder<Protected>, id: &Id) {
        push_id(builder, Role::Responder, id);
        if let Some(credential) = &self.credential {
            certificates::push(builder, credential);
        }
        push_auth(builder, &self.auth);
        if let Some(token) = &self.token {
            builder.notify(NotifyType::QUICK_CRASH_DETECTION, token);
        }
        self.granted.push(builder);
    }
}

impl Founded {
    fn set_up(&self, now: Instant) -> SetUp {
        SetUp { how: self.how, round_trips: self.round_trips, took: now.since(self.started) }
    }

    /// The group of a child that is to be installed.
    fn group(&mut self, cx: &mut Context) -> GroupId {
        match &mut self.side {
            Side::Line { group, .. } => *group,
            Side::Peer { group } => *group.get_or_insert_with(|| cx.new_group()),
        }
    }
}

impl Established {
    /// Has the plane install the child.
    pub(crate) fn install(
        mut self: Box<Self>,
        cx: &mut Context,
        (spi_in, terms): (Spi, Terms),
        transcript: &Transcript,
        awaited: Awaited,
    ) -> Outcome {
        let child = Child { id: cx.new_child(), group: self.base.group(cx), spi_in, terms };
        let spec = child.spec(self.role(), &self.base.sk_d, transcript, self.outer_path());
        let command = cx.submit(Command::Install(spec));
        cx.owners.insert(child.id, self.base.channel.protection.our_spi());
        cx.installing.insert(command, child.id);
        self.phase = Phase::Installing(Installing { command, child, awaited });
        Outcome::keep(IkeSa::Established(self))
    }

    /// The plane has installed the child, or could not.
    pub(crate) fn installed(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        done: CommandId,
        result: Result<(), Fault>,
    ) -> Outcome {
        let Installing { child, awaited, .. } = match std::mem::replace(&mut self.phase, Phase::New)
        {
            Phase::Installing(installing) if installing.command == done => installing,
            other => {
                self.phase = other;
                return Outcome::keep(IkeSa::Established(self));
            }
        };
        if result.is_err() {
            return self.not_installed(cx, now, &child, awaited);
        }
        match awaited {
            Awaited::ByUs(waiting) => {
                self.up(cx, now, Some(child));
                cx.reply(waiting, Ok(()));
                Outcome::keep(IkeSa::Established(self))
            }
            Awaited::ByPeer(answer) => self.answer_with_child(cx, now, child, &answer),
        }
    }

    fn answer_with_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        child: Child,
        answer: &Answer,
    ) -> Outcome {
        let id = &self.base.connection.local_id;
        let sent = self.base.channel.answer(cx, answer.ticket, |builder| {
            answer.push(builder, id);
            answer.given.push(builder);
            child::answer(builder, &child);
        });
        self.up(cx, now, Some(child));
        match sent {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(_) => self.fault(cx),
        }
    }

    /// The plane holds nothing of a child that it could not install.
    fn not_installed(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        child: &Child,
        awaited: Awaited,
    ) -> Outcome {
        cx.forget_child(child);
        if let Side::Peer { group } = &mut self.base.side {
            *group = None;
        }
        match awaited {
            Awaited::ByPeer(answer) => {
                self.without_child(cx, now, &answer, NotifyType::NO_ADDITIONAL_SAS)
            }
            Awaited::ByUs(waiting) => {
                self.failed(cx, Gone::Plane, waiting);
                self.delete(cx, now, Gone::Plane, Vec::new())
            }
        }
    }

    /// The peer is let in, but its child is not: `why` tells it so.
    pub(crate) fn without_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        answer: &Answer,
        why: NotifyType,
    ) -> Outcome {
        let id = &self.base.connection.local_id;
        let sent = self.base.channel.answer(cx, answer.ticket, |builder| {
            answer.push(builder, id);
            builder.notify(why, &[]);
        });
        self.up(cx, now, None);
        match sent {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(_) => self.fault(cx),
        }
    }

    /// All is done: says so.
    fn up(&mut self, cx: &mut Context, now: Now, child: Option<Child>) {
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
        if let Some(child) = &child {
            cx.emit(self.child_up(child));
        }
        self.phase = Phase::Up { set_up, since: now.instant, child };
    }

    fn child_up(&self, child: &Child) -> Event {
        let shown = |list: &[Selector]| list.iter().copied().map(Shown).collect();
        Event::ChildUp {
            connection: self.name(),
            sa: self.id(),
            child: Arc::clone(&self.base.connection.child.name),
            suite: Shown(child.terms.suite),
            spi_in: Shown(child.spi_in),
            spi_out: Shown(child.terms.spi_out),
            local_ts: shown(&child.terms.local_ts),
            remote_ts: shown(&child.terms.remote_ts),
            udp: self.base.encapsulation == Encapsulation::Udp,
        }
    }
}
