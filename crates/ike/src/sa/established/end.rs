//! How an SA ends: told to the peer, silently, or as a session that sleeps.

use std::sync::Arc;

use esp::plane::Command;

use super::children::{Purpose, State};
use super::follow_up::abandon;
use super::set_up::Awaited;
use super::{Established, Founded, Side};
use crate::context::Context;
use crate::event::{Event, Gone, RequestId, SaId, Shown};
use crate::fault::{Failure, PeerFault, Refusal};
use crate::redirect::Towards;
use crate::sa::channel::AnswerTicket;
use crate::sa::closing::{Closed, Deleting, Retiring};
use crate::sa::dialing::Transport;
use crate::sa::route::Route;
use crate::sa::window::{Intent, Task};
use crate::sa::{Attempt, Outcome, Start, Then};
use crate::session::{Grant, Resumable, ResumeAttempt, SessionKey, SuspendedSession};
use crate::time::Now;

impl Established {
    /// Puts the session to sleep: SK_d moves out of the SA, which ends without
    /// a word to the peer. A Delete would oblige both sides to drop the ticket
    /// (RFC 5723 section 6.2).
    ///
    /// # Errors
    /// The SA itself, when it holds no ticket that is still good.
    pub(crate) fn suspend(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        why: Gone,
    ) -> Result<SuspendedSession, Box<Self>> {
        // A ticket is not good longer than the proof that it stands for.
        let expires =
            |grant: &Grant| self.prove_by.map_or(grant.expires, |by| grant.expires.min(by));
        let grant = match self.grant.take() {
            Some(grant) if expires(&grant) > now.wall => {
                Grant { expires: expires(&grant), ..grant }
            }
            other => {
                self.grant = other;
                return Err(self);
            }
        };
        self.dismantle(cx, why);
        let connection = self.name();
        cx.emit(Event::Suspended {
            connection: Arc::clone(&connection),
            sa: self.id(),
            ticket_len: grant.ticket.octets().len(),
            expires_in: grant.expires.duration_since(now.wall).unwrap_or_default(),
        });
        let Self { base, peer, form, prove_by, .. } = *self;
        let state = Resumable {
            initiator: base.connection.local_id.clone(),
            responder: peer,
            authenticated: None,
            method: base.method,
            ppk: base.ppk,
            authenticated_at: base.authenticated_at,
            evidence: base.evidence,
            suite: base.suite,
            inner: base.inner,
            sk_d: base.sk_d,
        };
        let Grant { ticket, expires, .. } = grant;
        Ok(SuspendedSession { key: SessionKey(connection), state, ticket, expires, form, prove_by })
    }

    /// Ends the SA with a Delete. The ticket goes with it (D7). A peer that has
    /// no answer to its `IKE_AUTH` yet understands nothing else: it is refused.
    pub(crate) fn delete(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        why: Gone,
        waiting: Vec<RequestId>,
    ) -> Outcome {
        if matches!(why, Gone::Command | Gone::AuthExpired) {
            self.revoke(cx);
        }
        let unanswered = self.unanswered();
        self.dismantle(cx, why);
        let Founded { connection, channel, sk_d, .. } = self.base;
        if let Some(ticket) = unanswered {
            cx.reply(waiting, Ok(()));
            let fault = PeerFault::AuthenticationFailed;
            return Closed::refusing(cx, now, channel, ticket, fault);
        }
        let sa = Deleting::begin_with_successor(cx, now, (connection, sk_d), channel, waiting);
        Outcome { sa, then: Then::Nothing }
    }

    /// The right to answer the peer's `IKE_AUTH`, if its child is not there yet.
    fn unanswered(&self) -> Option<AnswerTicket> {
        self.children.iter().find_map(|sa| match &sa.state {
            State::Installing(_, Purpose::First(Awaited::ByPeer(answer))) => Some(answer.ticket),
            _ => None,
        })
    }

    /// Another SA of ours serves in the place of this one. The peer is told so,
    /// and may go on sending until it knows.
    pub(crate) fn retire(mut self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        self.abandon_tasks(cx);
        for sa in self.children.iter().filter(|sa| sa.is_up()) {
            self.tell_child_down(cx, sa.child.terms.which, Gone::Replaced);
        }
        let (connection, sa, why) = (self.name(), self.id(), Gone::Replaced);
        cx.emit(Event::Down { connection, sa, why });
        // The other one has all children that are to be had.
        cx.reply(std::mem::take(&mut self.waiting), Ok(()));
        let Self { base, children, .. } = *self;
        let Founded { connection, channel, sk_d, .. } = base;
        let of = (connection, sk_d);
        let sa = Deleting::begin_with_successor(cx, now, of, channel, Vec::new());
        let children = children.into_iter().map(|sa| sa.child).collect();
        Outcome::keep(Retiring::begin(sa, children, now))
    }

    /// Ends the SA without a word: its peer has a newer one (B21).
    pub(crate) fn replaced(mut self: Box<Self>, cx: &mut Context) {
        self.dismantle(cx, Gone::Replaced);
    }

    /// The keys of the SA are at their end and could not be replaced. Who began
    /// the SA begins the next one, with new keys for the same traffic.
    pub(super) fn exhausted(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        match self.succeed(cx, now, Gone::Exhausted) {
            Ok(successor) => successor,
            Err((sa, attempt)) => {
                let Outcome { sa, .. } = sa.delete(cx, now, Gone::Exhausted, Vec::new());
                let fresh = |attempt| Outcome::restart(attempt, Start::Fresh { parked: None }).then;
                Outcome { sa, then: attempt.map_or(Then::Nothing, fresh) }
            }
        }
    }

    /// The SA is of no use any more, and the peer cannot be told so. Who began
    /// it begins the next one at once.
    pub(super) fn begin_anew(self: Box<Self>, cx: &mut Context, now: Now, why: Gone) -> Outcome {
        match self.succeed(cx, now, why) {
            Ok(successor) => successor,
            Err((mut sa, attempt)) => {
                sa.dismantle(cx, why);
                match attempt {
                    Some(attempt) => Outcome::restart(attempt, Start::Fresh { parked: None }),
                    None => Outcome::gone(),
                }
            }
        }
    }

    /// Goes on with the session in another SA, or gives this one back, and the
    /// attempt at the next that is ours to make.
    fn succeed(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        why: Gone,
    ) -> Result<Outcome, (Box<Self>, Option<Attempt>)> {
        let Some(attempt) = self.successor(now) else { return Err((self, None)) };
        let form = self.base.connection.resumption.auth;
        match self.suspend(cx, now, why) {
            Ok(session) => {
                Ok(Outcome::restart(attempt, Start::Resume(ResumeAttempt::new(session, form))))
            }
            Err(sa) => Err((sa, Some(attempt))),
        }
    }

    /// An attempt at the SA that follows this one on its line.
    pub(super) fn successor(&self, now: Now) -> Option<Attempt> {
        let Side::Line { index, groups } = self.base.side else { return None };
        Some(Attempt {
            line: index,
            groups,
            connection: Arc::clone(&self.base.connection),
            beside: false,
            trigger: None,
            waiting: Vec::new(),
            started: now.instant,
            round_trips: 0,
            initial_contact: false,
            wanted: self.base.connection.vips.preferring(self.base.inner),
            retries_left: Attempt::RETRIES,
            transport: Transport::first(self.base.connection.tcp, self.path().stream().is_some()),
            towards: self.base.gateway.map_or(Towards::Configured, Towards::Gateway),
            route: Route::new(&self.base.connection, Some(self.path().remote.ip())),
        })
    }

    /// The peer does not answer. The session, if it can be resumed, is kept.
    pub(super) fn lost(self: Box<Self>, cx: &mut Context, now: Now) -> Outcome {
        match self.suspend(cx, now, Gone::Unanswered) {
            Ok(session) => Outcome::gone().then(Then::Keep(Box::new(session))),
            Err(mut sa) => {
                sa.dismantle(cx, Gone::Unanswered);
                Outcome::gone()
            }
        }
    }

    /// The SA cannot go on.
    pub(super) fn fault(mut self: Box<Self>, cx: &mut Context) -> Outcome {
        self.dismantle(cx, Gone::PeerFault);
        Outcome::gone()
    }

    /// Takes everything out of the plane, and tells whoever was told of the SA
    /// or waits for it that it is over.
    pub(super) fn dismantle(&mut self, cx: &mut Context, why: Gone) {
        self.abandon_tasks(cx);
        let was_up = self.up.take().is_some();
        for sa in std::mem::take(&mut self.children) {
            cx.submit(Command::Remove(sa.child.id));
            cx.forget_child(&sa.child);
            match sa.state {
                State::Up => self.tell_child_down(cx, sa.child.terms.which, why),
                State::Installing(_, Purpose::First(Awaited::ByUs(waiting))) => {
                    self.failed(cx, why, waiting);
                }
                State::Installing(_, Purpose::First(Awaited::ByPeer(_))) => {
                    self.failed(cx, why, Vec::new());
                }
                State::Installing(_, Purpose::Ours(_) | Purpose::Theirs(..))
                | State::Replaced { .. }
                | State::Deleting
                | State::Lingering { .. } => {}
            }
        }
        if was_up {
            let (connection, sa) = (self.name(), self.id());
            cx.emit(Event::Down { connection, sa, why });
        }
        let waiting = std::mem::take(&mut self.waiting);
        cx.reply(waiting, Err(Refusal::Failed(failure_of(why))));
        if let Side::Peer { groups } = &mut self.base.side {
            for (_, group) in std::mem::take(groups) {
                cx.submit(Command::Release(group.id));
            }
            self.give_addresses_up(cx);
            cx.end_to_serve(&self.base.connection.name);
        }
    }

    /// The inner addresses are nobody's any more, unless another SA of the same
    /// machine has them.
    fn give_addresses_up(&self, cx: &mut Context) {
        let (connection, inner, own) = (&self.base.connection, self.base.inner, self.id());
        let heir = {
            let all = cx.peers.sas_of(self.pair()).filter(|(_, it)| it.wish.inner == inner);
            let mut names = all.map(|(spi, _)| SaId(u64::from_be_bytes(spi.0)));
            names.find(|other| *other != own)
        };
        match heir.filter(|_| !inner.is_empty()) {
            Some(heir) => cx.pools.pass_on(&connection.pools, (own, heir), inner),
            None => cx.take_addresses_back(connection, own, inner),
        }
    }

    /// Gives back what those hold that were asked for and are not there yet. A
    /// successor of the SA holds nothing, but the peer may go on with it.
    fn abandon_tasks(&mut self, cx: &mut Context) {
        for intent in self.base.channel.window.take_queue() {
            if let Intent::DeleteLoser(spi) = intent {
                cx.spis.free(spi);
            }
        }
        self.drop_pending(cx);
        if self.base.channel.window.task().is_some_and(Task::is_rekey_ike) {
            return;
        }
        match self.base.channel.window.disown() {
            Some(Task::CreateChild(task)) => cx.spis.free(task.spi_in),
            Some(Task::FollowUp(task)) => abandon(cx, task.of),
            Some(Task::DeleteLoser(spi)) => cx.spis.free(spi),
            Some(
                Task::Liveness
                | Task::Delete
                | Task::Reject
                | Task::AskTicket
                | Task::DeleteChild(_)
                | Task::RekeyIke(_)
                | Task::UpdateAddresses(_)
                | Task::TellAddresses
                | Task::TellLifetime
                | Task::CheckPath(_)
                | Task::CheckMapping
                | Task::GiveToken
                | Task::Redirect
                | Task::Moot(_),
            )
            | None => {}
        }
    }

    /// The set-up ends without a child.
    pub(super) fn failed(&self, cx: &mut Context, why: Gone, waiting: Vec<RequestId>) {
        cx.counters.failed += 1;
        let why = failure_of(why);
        let (remote, role) = (Some(self.base.channel.path.remote), self.role());
        let (connection, peer) = (Some(self.name()), Some(Shown(self.peer.clone())));
        cx.emit(Event::Failed { connection, peer, remote, role, why: why.clone() });
        cx.reply(waiting, Err(Refusal::Failed(why)));
    }
}

/// What the end of an SA means for one that was not up yet.
const fn failure_of(why: Gone) -> Failure {
    match why {
        Gone::Command
        | Gone::Replaced
        | Gone::Suspended
        | Gone::Exhausted
        | Gone::Moved
        | Gone::AuthExpired => Failure::Ended,
        Gone::PeerDeleted => Failure::RefusedByPeer,
        Gone::Unanswered => Failure::Unanswered,
        Gone::Plane => Failure::Plane,
        Gone::PeerRestarted => Failure::Unanswered,
        Gone::PeerFault => Failure::Protocol,
    }
}
