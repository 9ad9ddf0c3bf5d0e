//! The additional key exchanges of what CREATE_CHILD_SA has begun, by either
//! side (RFC 9370 section 2.2.4).
//!
//! Until the last of them there is no new SA. So of two rekeys of the same thing
//! that which loses (RFC 7296 section 2.8) is not deleted, but not gone on with;
//! and who is in the middle of them takes no other.

use std::time::Duration;

use crypto::{BadShare, CryptoError, Group, SharedSecret};
use esp::spec::ChildId;

use super::Established;
use super::children::Purpose;
use super::create::{BUSY, Broken, Refused};
use super::rekey::Heir;
use crate::context::Context;
use crate::event::Role;
use crate::exchange::child::KeySource;
use crate::exchange::create_child::{Answer, Value};
use crate::exchange::follow_up::{self, NewSa, Unfinished};
use crate::exchange::intermediate;
use crate::exchange::sa_init::key_share;
use crate::fault::Failure;
use crate::sa::channel::AnswerTicket;
use crate::sa::protection::Unsendable;
use crate::sa::window::{FollowUpTask, Intent, Task};
use crate::sa::{IkeSa, Outcome};
use crate::time::{Instant, Now};
use crate::wire::{NotifyType, Payloads};

/// How long the peer has for its next key exchange: RFC 9370 section 2.2.4
/// names 5 to 20 seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What an IKE_FOLLOWUP_KE is told from others by.
pub(super) type Link = [u8; 8];

/// What the peer has asked for, until its last key exchange.
pub(super) struct Pending {
    of: Unfinished,
    link: Link,
    until: Instant,
}

/// As who asked.
impl Established {
    /// Makes the next key exchange, by the link of the answer to the last one.
    pub(super) fn follow_up(
        &mut self,
        cx: &mut Context,
        now: Now,
        of: Unfinished,
        rival: Option<ChildId>,
        payloads: &Payloads<'_>,
    ) -> Result<(), Broken> {
        let group = of.next_group();
        let own = group.and_then(|group| cx.provider.key_exchange(group).ok());
        let (Some(key_exchange), Some(link)) = (own, follow_up::link(payloads)) else {
            abandon(cx, of);
            return Err(Broken);
        };
        let task = Task::FollowUp(Box::new(FollowUpTask { of, key_exchange, rival }));
        let tries = cx.retransmission.tries;
        let asked = self.base.channel.ask(cx, now.instant, tries, task, |task, builder| {
            if let Task::FollowUp(task) = task {
                let own = &task.key_exchange;
                follow_up::push(builder, (own.group(), own.public()), Some(link));
            }
        });
        asked.map_err(|Unsendable| Broken)
    }

    /// The answer to [`Self::follow_up`].
    pub(super) fn receive_follow_up(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        task: FollowUpTask,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        if let Some(error) = payloads.error() {
            return self.follow_up_refused(cx, now, task.of, error.kind);
        }
        let rival = task.rival;
        let of = match task.answered(payloads) {
            Ok(of) => of,
            Err(of) => {
                abandon(cx, of);
                return self.fault(cx);
            }
        };
        if of.next_group().is_none() {
            return self.finish(cx, now, of, rival, None);
        }
        match self.follow_up(cx, now, of, rival, payloads) {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Broken) => self.fault(cx),
        }
    }

    /// What we have asked for is there: all its key exchanges are over.
    pub(super) fn finish(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        of: Unfinished,
        rival: Option<ChildId>,
        lost: Option<Heir>,
    ) -> Outcome {
        let (what, nonces, secrets) = of.into_parts();
        match what {
            NewSa::Child { replaces, spi_in, terms } if !terms.fit(&self.ways.packets) => {
                self.base.channel.window.push(Intent::DeleteLoser(spi_in));
                self.rekey_later(cx, now, replaces, BUSY);
                self.go_on(cx, now)
            }
            NewSa::Child { replaces, spi_in, terms } => {
                let (role, shared) = (Role::Initiator, Some(secrets));
                let source = KeySource { role, nonces: nonces.both(), shared };
                self.install_ours(cx, (spi_in, terms), source, replaces, rival);
                self.go_on(cx, now)
            }
            NewSa::Ike(suite, spis, token) => {
                let own = self.successor_as(Role::Initiator, (suite, spis), secrets, nonces);
                self.go_on_as_own(cx, now, (own, token), lost)
            }
        }
    }

    /// The peer does not go on. From the beginning it may.
    fn follow_up_refused(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        of: Unfinished,
        error: NotifyType,
    ) -> Outcome {
        let is_passing =
            matches!(error, NotifyType::STATE_NOT_FOUND | NotifyType::TEMPORARY_FAILURE);
        let why = Failure::Notify(error.0);
        match &of.what {
            NewSa::Child { replaces: Some(old), .. } if is_passing => {
                self.rekey_later(cx, now, Some(*old), BUSY);
            }
            NewSa::Child { replaces, terms, .. } => {
                self.rekey_failed(cx, now, (terms.which, *replaces), why);
            }
            NewSa::Ike(..) if is_passing => self.ask_for_successor_later(cx, now),
            NewSa::Ike(..) => self.successor_failed(cx, now, why),
        }
        abandon(cx, of);
        self.go_on(cx, now)
    }
}

impl FollowUpTask {
    /// One key exchange further; or, if the answer is wrong or a refusal, what
    /// is given up.
    pub(crate) fn answered(self, payloads: &Payloads<'_>) -> Result<Unfinished, Unfinished> {
        let Self { of, key_exchange, .. } = self;
        let value = intermediate::share(payloads, key_exchange.group());
        match value.and_then(|value| key_exchange.agree(value).ok()) {
            Some(shared) => Ok(of.with(shared)),
            None => Err(of),
        }
    }
}

/// As who is asked.
impl Established {
    /// IKE_FOLLOWUP_KE.
    pub(super) fn answer_follow_up(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        let Some(of) = self.take_pending(cx, payloads) else {
            return self.refuse(cx, ticket, &Refused::With(NotifyType::STATE_NOT_FOUND));
        };
        let answer = match of.next_group() {
            Some(group) if intermediate::share(payloads, group).is_some() => {
                answer_value(cx, group, payloads)
            }
            _ => Err(Refused::Malformed),
        };
        let ((group, public), shared) = match answer {
            Ok(answer) => answer,
            Err(refused) => {
                abandon(cx, of);
                return self.refuse(cx, ticket, &refused);
            }
        };
        let of = of.with(shared);
        if of.next_group().is_none() {
            return self.complete(cx, now, ticket, of, (group, public));
        }
        let link = cx.provider.array();
        self.keep_pending(cx, now, of, link);
        let sent = self.base.channel.answer(cx, ticket, |builder| {
            follow_up::push(builder, (group, &public), Some(&link));
        });
        match sent {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    /// What the peer's link stands for, if it is still of use.
    fn take_pending(&mut self, cx: &mut Context, payloads: &Payloads<'_>) -> Option<Unfinished> {
        let link = follow_up::link(payloads);
        let Pending { of, .. } = *self.pending.take_if(|pending| link == Some(&pending.link))?;
        let is_up = |id| self.children.iter().any(|sa| sa.child.id == id && sa.is_up());
        let is_of_use = match &of.what {
            NewSa::Child { replaces, terms, .. } => {
                replaces.is_none_or(is_up) && terms.fit(&self.ways.packets)
            }
            NewSa::Ike(..) => true,
        };
        if !is_of_use {
            abandon(cx, of);
            return None;
        }
        Some(of)
    }

    /// What the peer has asked for is there, or will be as soon as the plane is ready.
    fn complete(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        of: Unfinished,
        value: Value,
    ) -> Outcome {
        let (what, nonces, secrets) = of.into_parts();
        match what {
            NewSa::Child { replaces, spi_in, terms } => {
                let (role, shared) = (Role::Responder, Some(secrets));
                let source = KeySource { role, nonces: nonces.both(), shared };
                let purpose = Purpose::Theirs(ticket, Answer::FollowUp(value), replaces);
                let id = self.submit(cx, (spi_in, terms), source, purpose);
                self.note_rival(replaces, id, nonces);
                Outcome::keep(IkeSa::Established(self))
            }
            NewSa::Ike(suite, spis, _) => {
                let (group, public) = value;
                let sent = self.base.channel.answer(cx, ticket, |builder| {
                    follow_up::push(builder, (group, &public), None);
                });
                if sent.is_err() {
                    return self.fault(cx);
                }
                let theirs = self.successor_as(Role::Responder, (suite, spis), secrets, nonces);
                self.go_on_as_theirs(cx, now, theirs)
            }
        }
    }

    /// Waits for the peer's next key exchange. One rekey is waited for at a time:
    /// who begins another has given up the one before.
    pub(super) fn keep_pending(&mut self, cx: &mut Context, now: Now, of: Unfinished, link: Link) {
        self.drop_pending(cx);
        self.pending = Some(Box::new(Pending { of, link, until: now.instant + PATIENCE }));
    }

    /// Gives up what the peer has asked for, if it is not there yet.
    pub(super) fn drop_pending(&mut self, cx: &mut Context) {
        if let Some(pending) = self.pending.take() {
            abandon(cx, pending.of);
        }
    }

    /// When the peer has had its time.
    pub(super) fn pending_until(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.until)
    }

    /// Gives up what the peer has forgotten.
    pub(super) fn drop_overdue(&mut self, cx: &mut Context, now: Instant) {
        if self.pending_until().is_some_and(|until| until <= now) {
            self.drop_pending(cx);
        }
    }

    /// What the peer is making in place of this child.
    pub(super) fn pending_for(&self, old: Option<ChildId>) -> Option<&Unfinished> {
        let pending = self.pending.as_ref().map(|pending| &pending.of);
        pending.filter(|of| old.is_some_and(|old| of.replaces(old)))
    }

    /// What the peer is making in place of this SA.
    pub(super) fn pending_successor(&self) -> Option<&Unfinished> {
        self.pending.as_ref().map(|pending| &pending.of).filter(|of| of.is_ike())
    }

    /// Whether the peer is making a child.
    pub(super) fn is_child_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.of.is_ike())
    }

    /// Whether we are in the middle of replacing this child.
    pub(super) fn is_following_up(&self, old: ChildId) -> bool {
        match self.base.channel.window.task() {
            Some(Task::FollowUp(task)) => task.of.replaces(old),
            _ => false,
        }
    }
}

/// Our public value for the peer's, in the group that was chosen, and what comes of both.
pub(super) fn answer_value(
    cx: &mut Context,
    group: Group,
    payloads: &Payloads<'_>,
) -> Result<(Value, SharedSecret), Refused> {
    let keyed = key_share(payloads).filter(|(keyed, _)| *keyed == group);
    let (_, value) = keyed.ok_or(Refused::WrongGroup(group))?;
    let answer = cx.provider.answer_key_exchange(group, value).map_err(|error| match error {
        CryptoError::BadShare => Refused::Malformed,
        CryptoError::Module | CryptoError::Exhausted | CryptoError::TooShort => {
            Refused::With(NotifyType::TEMPORARY_FAILURE)
        }
    })?;
    let public = answer.public().into();
    let shared = answer.agree().map_err(|BadShare| Refused::Malformed)?;
    Ok(((group, public), shared))
}

/// Gives back what an SA holds that is not to be.
pub(super) fn abandon(cx: &mut Context, of: Unfinished) {
    match of.what {
        NewSa::Child { spi_in, .. } => cx.spis.free(spi_in),
        NewSa::Ike(..) => {}
    }
}
