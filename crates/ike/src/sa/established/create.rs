//! Further children and successors of children, asked for by either side
//! (RFC 7296 sections 1.3.1, 1.3.3, 2.8.1 and 2.25.1).

use std::time::Duration;

use crypto::Group;
use esp::plane::Fault;
use esp::spec::{ChildId, Spi};

use super::Established;
use super::children::{Purpose, State};
use super::follow_up::{PATIENCE, answer_value};
use crate::config::ChildIndex;
use crate::context::Context;
use crate::event::{Event, Gone, RekeyWhat, Role};
use crate::exchange::child::{self, KeySource, Terms, Wish};
use crate::exchange::create_child::{self, BothNonces, NoSecret, about_child, agreed};
use crate::exchange::follow_up::{self, NewSa, Unfinished};
use crate::exchange::sa_init::key_share;
use crate::fault::{Failure, PeerFault, Refusal};
use crate::proposal::{group_number, group_of};
use crate::sa::channel::AnswerTicket;
use crate::sa::initiating::NONCE_LEN;
use crate::sa::protection::Unsendable;
use crate::sa::window::{ChildTask, Intent, Task};
use crate::sa::{IkeSa, Outcome};
use crate::time::Now;
use crate::wire::{Notify, NotifyType, Payloads, Protocol};

/// How long after a TEMPORARY_FAILURE the peer is asked again.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// How long after another refusal the peer is asked again.
pub(super) const REFUSED: Duration = Duration::from_secs(60);

/// Why a request of the peer for a new SA is refused; each has one notify.
pub(super) enum Refused {
    /// With a notify that says it all.
    With(NotifyType),
    /// With the group that is wanted (INVALID_KE_PAYLOAD).
    WrongGroup(Group),
    /// The child with this SPI is not there.
    NotFound(u32),
    /// The request breaks the protocol.
    Malformed,
}

impl From<NoSecret> for Refused {
    fn from(_: NoSecret) -> Self {
        Self::Malformed
    }
}

/// What a response breaks that cannot be gone on from.
pub(super) struct Broken;

/// What others want.
impl Established {
    /// Replaces keys, as soon as it is our turn.
    pub(crate) fn rekey(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        keys: RekeyWhat,
    ) -> Outcome {
        let window = &mut self.base.channel.window;
        match keys {
            RekeyWhat::IkeSa => window.push(Intent::RekeyIke),
            RekeyWhat::Children => {
                for sa in self.children.iter().filter(|sa| sa.is_up()) {
                    window.push(Intent::RekeyChild(sa.child.id));
                }
            }
        }
        self.go_on(cx, now)
    }

    /// A child comes near its end.
    pub(crate) fn rekey_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        id: ChildId,
    ) -> Outcome {
        self.base.channel.window.push(Intent::RekeyChild(id));
        self.go_on(cx, now)
    }

    /// A child has come to its end.
    pub(crate) fn child_expired(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        id: ChildId,
    ) -> Outcome {
        self.expire(cx, id);
        self.go_on(cx, now)
    }
}

/// As who asked.
impl Established {
    /// Asks for a child, maybe in place of another.
    pub(super) fn ask_for_child(
        &mut self,
        cx: &mut Context,
        now: Now,
        which: ChildIndex,
        replaces: Option<ChildId>,
    ) -> Result<(), Unsendable> {
        let old = replaces.and_then(|id| self.children.iter().find(|sa| sa.child.id == id));
        let gone = replaces.is_some() && !old.is_some_and(super::children::ChildSa::is_up);
        let is_there = replaces.is_none() && self.serves(which);
        if gone || is_there || self.up.is_none() {
            return Ok(());
        }
        if !self.has_room() {
            self.rekey_later(cx, now, replaces, BUSY);
            let waiting = std::mem::take(&mut self.waiting);
            cx.reply(waiting, Err(Refusal::Busy));
            return Ok(());
        }
        let is_theirs = self.pending_for(replaces).is_some();
        let is_settled = |id| !self.is_unconfirmed(id) && !self.is_being_replaced(id);
        if is_theirs || !replaces.is_none_or(is_settled) {
            self.rekey_later(cx, now, replaces, BUSY);
            return Ok(());
        }
        let old = replaces.and_then(|id| self.children.iter().find(|sa| sa.child.id == id));
        let children = &self.base.connection.children;
        let (config, scope) = (children.get(which), self.scope(cx));
        let further = Wish::further(children, which);
        let packet = self.trigger.as_ref().and_then(|trigger| trigger.of(which));
        let traffic = match old {
            Some(_) => Ok(Default::default()),
            None => child::askable(child::traffic(config, scope), config.mode, scope.ends)
                .map(|traffic| child::led_by(packet, traffic)),
        };
        let [local_ts, remote_ts] = &match traffic {
            Ok(traffic) => traffic,
            Err(why) => {
                self.rekey_failed(cx, now, (which, replaces), why);
                return Ok(());
            }
        };
        let wish = match old {
            Some(old) => Wish::again(children, &old.child.terms),
            None => Wish { local_ts, remote_ts, ..further },
        };
        let [wanted, _] = self.wanted;
        let group = wanted.filter(|group| wish.allows(*group)).or_else(|| wish.first_group());
        let key_exchange = group.map(|group| cx.provider.key_exchange(group)).transpose();
        let task = Task::CreateChild(Box::new(ChildTask {
            which,
            replaces,
            spi_in: cx.new_spi(),
            mode: wish.mode,
            traffic: [wish.local_ts.into(), wish.remote_ts.into()],
            nonce: cx.provider.array(),
            key_exchange: key_exchange.map_err(|_| Unsendable)?,
            rival: None,
            gone: Vec::new(),
        }));
        let rekeys = old.map(|old| old.child.spi_in);
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, task, |task, builder| {
            if let Task::CreateChild(task) = task {
                let ChildTask { spi_in: spi, nonce, .. } = &**task;
                let key_exchange = task.key_exchange.as_ref();
                let request =
                    create_child::Request { rekeys, wish, spi: *spi, nonce, key_exchange };
                request.push(builder);
            }
        })
    }

    /// The answer to [`Self::ask_for_child`].
    pub(super) fn receive_child(
        &mut self,
        cx: &mut Context,
        now: Now,
        task: ChildTask,
        payloads: &Payloads<'_>,
    ) -> Result<(), Broken> {
        if let Some(error) = payloads.error() {
            cx.spis.free(task.spi_in);
            self.child_refused(cx, now, &task, error);
            return Ok(());
        }
        let shape = create_child::RESPONSE.check(payloads);
        let (Ok(()), Some(nr)) = (shape, payloads.nonce()) else {
            cx.spis.free(task.spi_in);
            return Err(Broken);
        };
        let ChildTask { which, replaces, spi_in, mode, traffic, .. } = task;
        let ChildTask { nonce, key_exchange, rival, gone, .. } = task;
        let nonces = BothNonces::new(&nonce, nr);
        let [local_ts, remote_ts] = &traffic;
        let further = Wish::further(&self.base.connection.children, which);
        let wish = Wish { mode, local_ts, remote_ts, ..further };
        let ends = self.scope(cx).ends;
        let accepted = child::accept_for(wish, ends, payloads).and_then(|terms| {
            let shared = agreed(key_exchange, terms.first_group(), payloads);
            shared.map(|shared| (terms, shared)).map_err(|NoSecret| Failure::BadKeyExchange)
        });
        let is_over = accepted.as_ref().is_ok_and(|(terms, _)| terms.additional().is_empty());
        let theirs = rival.as_ref().map(|(_, nonces)| nonces);
        let theirs = theirs.or_else(|| self.pending_for(replaces).map(|of| &of.nonces));
        if theirs.is_some_and(|theirs| nonces.loses_against(theirs)) {
            self.lose(cx, now, replaces, spi_in, is_over);
            return Ok(());
        }
        let (terms, shared) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                // The peer has an SA that we cannot use.
                self.base.channel.window.push(Intent::DeleteLoser(spi_in));
                self.rekey_failed(cx, now, (which, replaces), why);
                return Ok(());
            }
        };
        if gone.contains(&terms.spi_out.get()) {
            cx.spis.free(spi_in);
            self.rekey_later(cx, now, replaces, BUSY);
            return Ok(());
        }
        if self.pending_for(replaces).is_some() {
            self.drop_pending(cx);
        }
        let rival = rival.map(|(id, _)| id);
        match shared {
            Some(shared) if !is_over => {
                let what = NewSa::Child { replaces, spi_in, terms };
                self.follow_up(cx, now, Unfinished::new(what, nonces, shared), rival, payloads)
            }
            shared => {
                let (role, shared) = (Role::Initiator, shared.map(Into::into));
                let source = KeySource { role, nonces: nonces.both(), shared };
                self.install_ours(cx, (spi_in, terms), source, replaces, rival);
                Ok(())
            }
        }
    }

    /// Has the plane install what we have asked for, in place of the old one and
    /// of what the peer has made meanwhile.
    pub(super) fn install_ours(
        &mut self,
        cx: &mut Context,
        agreed: (Spi, Terms),
        source: KeySource<'_>,
        replaces: Option<ChildId>,
        rival: Option<ChildId>,
    ) {
        let by = self.submit(cx, agreed, source, Purpose::Ours(replaces));
        for replaced in [replaces, rival].into_iter().flatten() {
            if let Some(sa) = self.find(replaced)
                && sa.is_up()
            {
                sa.state = State::Replaced { by };
                sa.deadlines.rekey_at = None;
            }
        }
    }

    /// What the peer makes for the same purpose wins. Ours is deleted if it is
    /// there, which it is not before its last key exchange is over.
    fn lose(
        &mut self,
        cx: &mut Context,
        now: Now,
        replaces: Option<ChildId>,
        spi_in: Spi,
        is_over: bool,
    ) {
        if is_over {
            self.base.channel.window.push(Intent::DeleteLoser(spi_in));
        } else {
            cx.spis.free(spi_in);
        }
        if self.pending_for(replaces).is_some() {
            self.rekey_later(cx, now, replaces, PATIENCE + BUSY);
        }
    }

    /// What follows from an error of the peer. What it has made itself in the
    /// meantime serves as well.
    fn child_refused(&mut self, cx: &mut Context, now: Now, task: &ChildTask, error: Notify<'_>) {
        if task.rival.is_some() {
            return;
        }
        if self.pending_for(task.replaces).is_some() {
            self.rekey_later(cx, now, task.replaces, PATIENCE + BUSY);
            return;
        }
        match (error.kind, task.replaces) {
            (NotifyType::TEMPORARY_FAILURE, replaces) => self.rekey_later(cx, now, replaces, BUSY),
            (NotifyType::CHILD_SA_NOT_FOUND, Some(old)) => {
                if self.find(old).is_some_and(|sa| sa.is_up()) {
                    self.remove(cx, old, Gone::PeerDeleted);
                    // Both would make one if both asked.
                    self.ask_for_missing();
                }
            }
            (NotifyType::INVALID_KE_PAYLOAD, replaces) => {
                let [former, _] = self.wanted;
                let wish = Wish::further(&self.base.connection.children, task.which);
                let wanted = error.wanted_group().and_then(group_of);
                match wanted.filter(|group| wish.allows(*group) && former != wanted) {
                    Some(group) => {
                        self.wanted = [Some(group), self.wanted[1]];
                        self.base.channel.window.push(match replaces {
                            Some(old) => Intent::RekeyChild(old),
                            None => Intent::CreateChild(task.which),
                        });
                    }
                    None => {
                        let child = (task.which, replaces);
                        self.rekey_failed(cx, now, child, Failure::NoEspProposal);
                    }
                }
            }
            (kind, replaces) => {
                let why = match kind {
                    NotifyType::NO_PROPOSAL_CHOSEN => Failure::NoEspProposal,
                    NotifyType::TS_UNACCEPTABLE => Failure::NoTrafficSelectors,
                    NotifyType(other) => Failure::Notify(other),
                };
                self.rekey_failed(cx, now, (task.which, replaces), why);
            }
        }
    }

    /// A child, or the successor of one, was not to be had. The old child goes
    /// on, for now.
    pub(super) fn rekey_failed(
        &mut self,
        cx: &mut Context,
        now: Now,
        (which, replaces): (ChildIndex, Option<ChildId>),
        why: Failure,
    ) {
        self.rekey_later(cx, now, replaces, REFUSED);
        let (connection, sa, child) = (self.name(), self.id(), self.child_name(which));
        if replaces.is_some() {
            cx.emit(Event::RekeyFailed { connection, sa, child: Some(child), why });
        } else {
            let waiting = std::mem::take(&mut self.waiting);
            cx.reply(waiting, Err(Refusal::Failed(why.clone())));
            cx.emit(Event::ChildFailed { connection, sa, child, why });
        }
    }

    pub(super) fn rekey_later(
        &mut self,
        cx: &mut Context,
        now: Now,
        child: Option<ChildId>,
        wait: Duration,
    ) {
        if child.is_none_or(|id| self.which(id).is_none()) {
            return self.complete_later(cx, now.instant, wait);
        }
        let wait = cx.jittered(wait);
        if let Some(sa) = child.and_then(|id| self.find(id)) {
            sa.deadlines.rekey_at = Some(now.instant + wait);
        }
    }

    /// The plane has installed what we have asked for, or could not.
    pub(super) fn installed_ours(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        (id, which): (ChildId, ChildIndex),
        replaces: Option<ChildId>,
        result: Result<(), Fault>,
    ) -> Outcome {
        match (result, replaces) {
            (Ok(()), None) => {
                self.tell_child(cx, id, false, Role::Initiator);
            }
            (Ok(()), Some(old)) => {
                self.tell_child(cx, id, true, Role::Initiator);
                self.base.channel.window.push(Intent::DeleteChild(old));
            }
            (Err(_), replaces) => {
                self.reinstate(replaces);
                self.rekey_failed(cx, now, (which, replaces), Failure::Plane);
            }
        }
        self.go_on(cx, now)
    }

    /// Tells the peer that a child is over which has been replaced.
    pub(super) fn delete_child(
        &mut self,
        cx: &mut Context,
        now: Now,
        id: ChildId,
    ) -> Result<(), Unsendable> {
        let Some(sa) = self.find(id) else { return Ok(()) };
        match sa.state {
            State::Up | State::Replaced { .. } => sa.state = State::Deleting,
            State::Installing(..) | State::Deleting | State::Lingering { .. } => return Ok(()),
        }
        let spi = sa.child.spi_in;
        self.send_delete(cx, now, Task::DeleteChild(id), spi)
    }

    /// Tells the peer that an SA is over which has never served.
    pub(super) fn delete_loser(
        &mut self,
        cx: &mut Context,
        now: Now,
        spi: Spi,
    ) -> Result<(), Unsendable> {
        self.send_delete(cx, now, Task::DeleteLoser(spi), spi)
    }

    fn send_delete(
        &mut self,
        cx: &mut Context,
        now: Now,
        task: Task,
        spi: Spi,
    ) -> Result<(), Unsendable> {
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, task, |_, builder| {
            builder.delete_children(Protocol::ESP, std::iter::once(spi.get()));
        })
    }
}

/// As who is asked.
impl Established {
    /// CREATE_CHILD_SA.
    pub(super) fn receive_create_child(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        let accepted = match create_child::Purpose::of(payloads) {
            create_child::Purpose::RekeyIke => {
                return self.receive_rekey_ike(cx, now, ticket, payloads);
            }
            create_child::Purpose::RekeyChild(spi) => {
                self.rekey_for_peer(cx, now, ticket, spi, payloads)
            }
            create_child::Purpose::Child => self.child_for_peer(cx, now, ticket, None, payloads),
        };
        match accepted {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(refused) => self.refuse(cx, ticket, &refused),
        }
    }

    /// Tells the peer why not.
    pub(super) fn refuse(
        mut self: Box<Self>,
        cx: &mut Context,
        ticket: AnswerTicket,
        refused: &Refused,
    ) -> Outcome {
        let channel = &mut self.base.channel;
        let answered = match *refused {
            Refused::With(kind) => channel.answer(cx, ticket, |builder| {
                builder.notify(kind, &[]);
            }),
            Refused::WrongGroup(group) => channel.answer(cx, ticket, |builder| {
                let wanted = group_number(group).0.to_be_bytes();
                builder.notify(NotifyType::INVALID_KE_PAYLOAD, &wanted);
            }),
            Refused::NotFound(spi) => channel.answer(cx, ticket, |builder| {
                about_child(builder, NotifyType::CHILD_SA_NOT_FOUND, spi);
            }),
            // Fatal on both sides (RFC 7296 section 2.21.3).
            Refused::Malformed => {
                let answered = channel.answer_fault(cx, ticket, PeerFault::InvalidSyntax);
                answered.and(Err(Unsendable))
            }
        };
        match answered {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    fn rekey_for_peer(
        &mut self,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        spi: u32,
        payloads: &Payloads<'_>,
    ) -> Result<(), Refused> {
        let named = self.children.iter().find(|sa| sa.child.terms.spi_out.get() == spi);
        let Some(old) = named else { return Err(self.refusal_of_unknown(spi)) };
        match old.state {
            State::Up if self.is_following_up(old.child.id) => {
                Err(Refused::With(NotifyType::TEMPORARY_FAILURE))
            }
            State::Up => {
                let old = old.child.id;
                self.child_for_peer(cx, now, ticket, Some(old), payloads)
            }
            State::Installing(..) | State::Replaced { .. } | State::Deleting => {
                Err(Refused::With(NotifyType::TEMPORARY_FAILURE))
            }
            State::Lingering { .. } => Err(Refused::NotFound(spi)),
        }
    }

    /// Why a child that we do not know is not replaced. It may be the one that we
    /// have asked for: the answer may be late, and the peer would drop the child
    /// if it was told that there is none.
    fn refusal_of_unknown(&self, spi: u32) -> Refused {
        match self.base.channel.window.task() {
            Some(Task::CreateChild(_) | Task::FollowUp(_)) => {
                Refused::With(NotifyType::TEMPORARY_FAILURE)
            }
            _ => Refused::NotFound(spi),
        }
    }

    fn child_for_peer(
        &mut self,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        replaces: Option<ChildId>,
        payloads: &Payloads<'_>,
    ) -> Result<(), Refused> {
        let is_rekeying = self.base.channel.window.task().is_some_and(Task::is_rekey_ike);
        if is_rekeying || self.pending_successor().is_some() || self.up.is_none() {
            return Err(Refused::With(NotifyType::TEMPORARY_FAILURE));
        }
        if !self.has_room() {
            return Err(Refused::With(NotifyType::NO_ADDITIONAL_SAS));
        }
        create_child::REQUEST.check(payloads).map_err(|_| Refused::Malformed)?;
        let ni = payloads.nonce().ok_or(Refused::Malformed)?;
        let children = &self.base.connection.children;
        let old = replaces.and_then(|id| self.children.iter().find(|sa| sa.child.id == id));
        let scope = self.scope(cx);
        let keyed = key_share(payloads).map(|(group, _)| group);
        let chosen = match old {
            Some(old) => {
                let again = (&old.child.terms, scope.ends);
                child::choose_again(children, again, payloads, keyed)
            }
            None => child::choose_further(children, scope, payloads, keyed),
        };
        let terms = chosen.map_err(Refused::With)?;
        let answer = terms.first_group().map(|group| answer_value(cx, group, payloads));
        let (value, shared) = answer.transpose()?.unzip();
        let nonce: [u8; NONCE_LEN] = cx.provider.array();
        let nonces = BothNonces::new(ni, &nonce);
        let spi_in = cx.new_spi();
        match shared {
            Some(shared) if !terms.additional().is_empty() => {
                let link = cx.provider.array();
                let sent = self.base.channel.answer(cx, ticket, |builder| {
                    let child = (&terms, spi_in);
                    create_child::push_created(builder, child, &nonce, value.as_ref());
                    follow_up::push_link(builder, Some(&link));
                });
                let what = NewSa::Child { replaces, spi_in, terms };
                self.keep_pending(cx, now, Unfinished::new(what, nonces, shared), link);
                sent.map_err(|Unsendable| Refused::Malformed)
            }
            shared => {
                let (role, shared) = (Role::Responder, shared.map(Into::into));
                let source = KeySource { role, nonces: nonces.both(), shared };
                let answer = create_child::Answer::Created(nonce.into(), value);
                let purpose = Purpose::Theirs(ticket, answer, replaces);
                let id = self.submit(cx, (spi_in, terms), source, purpose);
                self.note_rival(replaces, id, nonces);
                Ok(())
            }
        }
    }

    /// Remembers what the peer has made, if we have asked for the same.
    pub(super) fn note_rival(
        &mut self,
        replaces: Option<ChildId>,
        id: ChildId,
        nonces: BothNonces,
    ) {
        if let Some(Task::CreateChild(task)) = self.base.channel.window.task_mut()
            && replaces.is_some()
            && task.replaces == replaces
        {
            task.rival = Some((id, nonces));
        }
    }

    /// The plane has installed what the peer has asked for, or could not.
    pub(super) fn installed_theirs(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        id: ChildId,
        (ticket, answer, replaces): (AnswerTicket, &create_child::Answer, Option<ChildId>),
        result: Result<(), Fault>,
    ) -> Outcome {
        if result.is_err() {
            // What it was to replace may be over by now.
            self.stay_complete(cx, now);
            return self.refuse(cx, ticket, &Refused::With(NotifyType::TEMPORARY_FAILURE));
        }
        if let Some(old) = replaces.and_then(|old| self.find(old))
            && old.is_up()
        {
            old.state = State::Replaced { by: id };
            old.deadlines.rekey_at = None;
        }
        let child = self.children.iter().find(|sa| sa.child.id == id).map(|sa| &sa.child);
        let sent = self.base.channel.answer(cx, ticket, |builder| {
            if let Some(child) = child {
                answer.push(builder, child);
            }
        });
        self.tell_child(cx, id, replaces.is_some(), Role::Responder);
        match sent {
            Ok(()) => self.go_on(cx, now),
            Err(Unsendable) => self.fault(cx),
        }
    }
}
