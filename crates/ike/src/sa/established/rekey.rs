//! The successor of an IKE SA, asked for by either side
//! (RFC 7296 sections 1.3.2, 2.8.2, 2.18 and 2.25.2).

use std::sync::Arc;

use crypto::{IkeSuite, SharedSecrets};

use super::Established;
use super::create::{BUSY, Broken, REFUSED, Refused};
use super::follow_up::{Link, PATIENCE, answer_value};
use crate::context::Context;
use crate::crash::PeerToken;
use crate::event::{Event, Role, SaId, Shown};
use crate::exchange::create_child::BothNonces;
use crate::exchange::follow_up::{self, NewSa, Unfinished};
use crate::exchange::rekey_ike::{self, Successor};
use crate::exchange::sa_init::key_share;
use crate::fault::Failure;
use crate::proposal::{IkeProposal, group_of};
use crate::sa::channel::{AnswerTicket, Channel};
use crate::sa::closing::{Deleting, Superseded};
use crate::sa::initiating::NONCE_LEN;
use crate::sa::protection::{Spis, Unsendable};
use crate::sa::window::{IkeTask, Intent, Task, Window};
use crate::sa::{IkeSa, Outcome, Then};
use crate::time::Now;
use crate::wire::{IkeSpi, Notify, NotifyType, Payloads};

/// An SA that goes on where another has ended, by our SPI.
pub(super) type Heir = (IkeSpi, IkeSa);

/// As who asked.
impl Established {
    /// Asks for a successor, unless a child is being made just now.
    pub(super) fn ask_for_successor(
        &mut self,
        cx: &mut Context,
        now: Now,
    ) -> Result<(), Unsendable> {
        if self.up.is_none() || self.is_changing_children() {
            self.ask_for_successor_later(cx, now);
            return Ok(());
        }
        let connection = Arc::clone(&self.base.connection);
        let proposals = &connection.proposals;
        let configured = proposals.iter().flat_map(|p| p.groups()).copied();
        let [_, wanted] = self.wanted;
        // The group of this SA is one that both sides have.
        let group = wanted.unwrap_or(self.base.suite.group);
        let group = configured.clone().find(|g| *g == group).or_else(|| configured.clone().next());
        let Some(group) = group else { return Ok(()) };
        let task = Task::RekeyIke(Box::new(IkeTask {
            spi: cx.random_ike_spi(),
            nonce: cx.provider.array(),
            key_exchange: cx.provider.key_exchange(group).map_err(|_| Unsendable)?,
            rival: None,
        }));
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, task, |task, builder| {
            if let Task::RekeyIke(task) = task {
                let IkeTask { spi, nonce, key_exchange, .. } = &**task;
                rekey_ike::Request { proposals, spi: *spi, nonce, key_exchange }.push(builder);
            }
        })
    }

    /// The answer to [`Self::ask_for_successor`].
    pub(super) fn receive_successor(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        task: IkeTask,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        if let Some(error) = payloads.error() {
            return match task.rival {
                Some(rival) => self.make_way(cx, now, *rival, None),
                None if self.pending_successor().is_some() => self.await_theirs(cx, now, None),
                None => self.successor_refused(cx, now, error),
            };
        }
        let (own, rival) = task.answered(&self.base.connection.proposals, payloads);
        let Some(own) = own else { return self.fault(cx) };
        let theirs = rival.as_ref().map(|rival| &rival.nonces);
        let theirs = theirs.or_else(|| self.pending_successor().map(|of| &of.nonces));
        if theirs.is_some_and(|theirs| own.nonces.loses_against(theirs)) {
            let lost = self.delete_lost(cx, now, own);
            return match rival {
                Some(rival) => self.make_way(cx, now, *rival, lost),
                None => self.await_theirs(cx, now, lost),
            };
        }
        self.drop_pending(cx);
        let lost = rival.map(|rival| {
            let channel = self.channel_of(*rival);
            (channel.protection.our_spi(), Superseded::begin(channel, now))
        });
        if own.next_group().is_none() {
            return self.finish(cx, now, own, None, lost);
        }
        match self.follow_up(cx, now, own, None, payloads) {
            Ok(()) => {
                let then = Then::Rekeyed(lost.into_iter().collect());
                Outcome::keep(IkeSa::Established(self)).then(then)
            }
            Err(Broken) => self.fault(cx),
        }
    }

    /// Our successor goes on, and this SA is deleted.
    pub(super) fn go_on_as_own(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        (own, token): (Successor, Option<PeerToken>),
        lost: Option<Heir>,
    ) -> Outcome {
        let name = self.name();
        let (mut heir, old) = self.hand_over(cx, own, Role::Initiator);
        heir.keep_crash_token(token);
        heir.offer_token();
        let sas = heir.go_on_as_heir(cx, now).into_iter().chain(lost).collect();
        let sa = Deleting::begin(cx, now, name, old, Intent::Delete, Vec::new());
        Outcome { sa, then: Then::Rekeyed(sas) }
    }

    /// Tells the peer that a successor of ours has lost, if there is one: not
    /// before its last key exchange is over.
    fn delete_lost(&self, cx: &mut Context, now: Now, own: Unfinished) -> Option<Heir> {
        let room = self.base.channel.protection.room();
        let own = own.successor(Role::Initiator, &self.base.sk_d, room)?;
        let spi = own.keys.protection.our_spi();
        let channel = self.channel_of(own);
        let sa = Deleting::begin(cx, now, self.name(), channel, Intent::Delete, Vec::new())?;
        Some((spi, sa))
    }

    /// The peer's successor will go on, once its key exchanges are over.
    fn await_theirs(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        lost: Option<Heir>,
    ) -> Outcome {
        self.deadlines.rekey_at = Some(now.instant + PATIENCE + cx.jittered(BUSY));
        Outcome::keep(IkeSa::Established(self)).then(Then::Rekeyed(lost.into_iter().collect()))
    }

    /// The peer's successor goes on, and the peer will delete this SA.
    fn make_way(
        self: Box<Self>,
        cx: &mut Context,
        now: Now,
        theirs: Successor,
        lost: Option<Heir>,
    ) -> Outcome {
        let (mut heir, old) = self.hand_over(cx, theirs, Role::Responder);
        heir.offer_token();
        let sas = heir.go_on_as_heir(cx, now).into_iter().chain(lost).collect();
        Outcome { sa: Some(Superseded::begin(old, now)), then: Then::Rekeyed(sas) }
    }

    fn successor_refused(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        error: Notify<'_>,
    ) -> Outcome {
        let why = match error.kind {
            NotifyType::TEMPORARY_FAILURE => {
                self.ask_for_successor_later(cx, now);
                return self.go_on(cx, now);
            }
            NotifyType::INVALID_KE_PAYLOAD => {
                let [child, former] = self.wanted;
                let wanted = error.wanted_group().and_then(group_of);
                if wanted.is_some() && wanted != former {
                    self.wanted = [child, wanted];
                    self.base.channel.window.push(Intent::RekeyIke);
                    return self.go_on(cx, now);
                }
                Failure::NoIkeProposal
            }
            NotifyType::NO_PROPOSAL_CHOSEN => Failure::NoIkeProposal,
            NotifyType(other) => Failure::Notify(other),
        };
        self.successor_failed(cx, now, why);
        self.go_on(cx, now)
    }

    /// There is something in the way that passes.
    pub(super) fn ask_for_successor_later(&mut self, cx: &mut Context, now: Now) {
        self.deadlines.rekey_at = Some(now.instant + cx.jittered(BUSY));
    }

    /// A successor was not to be had. This SA goes on, for now.
    pub(super) fn successor_failed(&mut self, cx: &mut Context, now: Now, why: Failure) {
        self.deadlines.rekey_at = Some(now.instant + cx.jittered(REFUSED));
        let (connection, sa) = (self.name(), self.id());
        cx.emit(Event::RekeyFailed { connection, sa, child: None, why });
    }
}

impl IkeTask {
    /// What comes of the answer, unless that is wrong or a refusal, and what the
    /// peer has made meanwhile.
    pub(crate) fn answered(
        self,
        proposals: &[IkeProposal],
        payloads: &Payloads<'_>,
    ) -> (Option<Unfinished>, Option<Box<Successor>>) {
        let Self { spi, nonce, key_exchange, rival } = self;
        let accept = || {
            rekey_ike::RESPONSE.check(payloads).ok()?;
            let (suite, spi_r) = rekey_ike::accepted(proposals, payloads)?;
            let (group, value) = key_share(payloads)?;
            let fits = group == suite.group && group == key_exchange.group();
            let shared = key_exchange.agree(value).ok().filter(|_| fits)?;
            let spis = Spis { initiator: spi, responder: spi_r };
            let nonces = BothNonces::new(&nonce, payloads.nonce()?);
            let what = NewSa::Ike(suite, spis, PeerToken::of(payloads));
            Some(Unfinished::new(what, nonces, shared))
        };
        (accept(), rival)
    }
}

/// As who is asked.
impl Established {
    pub(super) fn receive_rekey_ike(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        ticket: AnswerTicket,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        let (what, nonces, secrets) = match self.successor_for_peer(cx, ticket, payloads) {
            Ok(Some((theirs, Some(link)))) => {
                self.keep_pending(cx, now, theirs, link);
                return Outcome::keep(IkeSa::Established(self));
            }
            Ok(Some((theirs, None))) => theirs.into_parts(),
            Ok(None) => return self.fault(cx),
            Err(refused) => return self.refuse(cx, ticket, &refused),
        };
        let NewSa::Ike(suite, spis, _) = what else { return self.fault(cx) };
        let theirs = self.successor_as(Role::Responder, (suite, spis), secrets, nonces);
        self.go_on_as_theirs(cx, now, theirs)
    }

    /// The peer's successor is there.
    pub(super) fn go_on_as_theirs(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        theirs: Successor,
    ) -> Outcome {
        if let Some(Task::RekeyIke(task)) = self.base.channel.window.task_mut() {
            // Which of both goes on is seen when ours is answered.
            task.rival = Some(Box::new(theirs));
            return Outcome::keep(IkeSa::Established(self));
        }
        self.make_way(cx, now, theirs, None)
    }

    /// Answers, and gives what was agreed on, and the link if more key exchanges
    /// are to follow; `None` if the answer could not be sent.
    fn successor_for_peer(
        &mut self,
        cx: &mut Context,
        ticket: AnswerTicket,
        payloads: &Payloads<'_>,
    ) -> Result<Option<(Unfinished, Option<Link>)>, Refused> {
        if self.is_busy() {
            return Err(Refused::With(NotifyType::TEMPORARY_FAILURE));
        }
        rekey_ike::REQUEST.check(payloads).map_err(|_| Refused::Malformed)?;
        let keyed = key_share(payloads).map(|(group, _)| group);
        let proposals = &self.base.connection.proposals;
        let chosen = rekey_ike::choose(proposals, payloads, keyed).map_err(Refused::With)?;
        let ((_, public), shared) = answer_value(cx, chosen.suite.group, payloads)?;
        let nonce: [u8; NONCE_LEN] = cx.provider.array();
        let nonces = BothNonces::new(payloads.nonce().ok_or(Refused::Malformed)?, &nonce);
        let spis = Spis { initiator: chosen.spi, responder: cx.random_ike_spi() };
        // An SA that the peer began is one that it may miss (RFC 6290 section 4.3).
        // One that may lose against ours is not there until that is settled.
        let is_certain = self.base.channel.window.task().is_none_or(|task| !task.is_rekey_ike());
        let token = cx.crash_tokens.of(spis).filter(|_| is_certain && self.line().is_none());
        let theirs = Unfinished::new(NewSa::Ike(chosen.suite, spis, None), nonces, shared);
        let link: Option<Link> = theirs.next_group().map(|_| cx.provider.array());
        let sent = self.base.channel.answer(cx, ticket, |builder| {
            rekey_ike::answer(builder, chosen, spis.responder, &nonce, &public);
            follow_up::push_link(builder, link.as_ref().map(<[u8; 8]>::as_slice));
            if let Some(token) = token {
                builder.notify(NotifyType::QUICK_CRASH_DETECTION, &token);
            }
        });
        Ok(sent.ok().map(|()| (theirs, link)))
    }

    /// Whether a successor would disturb something (RFC 7296 section 2.25.2).
    fn is_busy(&self) -> bool {
        let asked = match self.base.channel.window.task() {
            Some(
                Task::CreateChild(_)
                | Task::DeleteChild(_)
                | Task::DeleteLoser(_)
                | Task::FollowUp(_),
            ) => true,
            Some(Task::RekeyIke(task)) => task.rival.is_some(),
            Some(
                Task::Liveness
                | Task::Delete
                | Task::Reject
                | Task::AskTicket
                | Task::UpdateAddresses(_)
                | Task::TellAddresses
                | Task::TellLifetime
                | Task::CheckPath(_)
                | Task::CheckMapping
                | Task::GiveToken
                | Task::Redirect
                | Task::Moot(_),
            )
            | None => false,
        };
        asked || self.up.is_none() || self.is_changing_children()
    }
}

/// On both sides.
impl Established {
    /// What comes of all key exchanges, for who has this role in them.
    pub(super) fn successor_as(
        &self,
        role: Role,
        (suite, spis): (IkeSuite, Spis),
        secrets: SharedSecrets,
        nonces: BothNonces,
    ) -> Successor {
        let of = (role, spis, self.base.channel.protection.room());
        Successor::new(of, suite, &self.base.sk_d, secrets, nonces)
    }

    /// What the peer has made while we were asking for the same.
    pub(super) fn take_rival(&mut self) -> Option<Box<Successor>> {
        match self.base.channel.window.task_mut()? {
            Task::RekeyIke(task) => task.rival.take(),
            Task::Liveness
            | Task::Delete
            | Task::Reject
            | Task::AskTicket
            | Task::CreateChild(_)
            | Task::DeleteChild(_)
            | Task::DeleteLoser(_)
            | Task::FollowUp(_)
            | Task::UpdateAddresses(_)
            | Task::TellAddresses
            | Task::TellLifetime
            | Task::CheckPath(_)
            | Task::CheckMapping
            | Task::GiveToken
            | Task::Redirect
            | Task::Moot(_) => None,
        }
    }

    /// The SA goes on as its successor, with all children; what is left of it
    /// is a channel to say goodbye through. The tickets of both sides are void
    /// (D7), and a client asks for another (D9).
    pub(super) fn hand_over(
        mut self: Box<Self>,
        cx: &mut Context,
        successor: Successor,
        by: Role,
    ) -> (Box<Self>, Channel) {
        self.revoke(cx);
        self.drop_pending(cx);
        let former = self.id();
        let Successor { suite, keys, .. } = successor;
        self.base.suite = suite;
        self.base.sk_d = keys.sk_d;
        let window = Window::new(0, 0);
        let channel = Channel { protection: keys.protection, path: self.base.channel.path, window };
        let mut old = std::mem::replace(&mut self.base.channel, channel);
        let spi = self.base.channel.protection.our_spi();
        for sa in &self.children {
            cx.owners.insert(sa.child.id, spi);
        }
        for intent in old.window.take_queue() {
            if !matches!(intent, Intent::RekeyIke | Intent::Liveness) {
                self.base.channel.window.push(intent);
            }
        }
        // A ticket names the SA that holds the session's addresses.
        let names = &self.base.connection.pools;
        cx.pools.pass_on(names, (former, self.id()), self.base.inner);
        if let Some(intent) = old.window.task().and_then(Task::of_paths) {
            self.base.channel.window.push_first(intent);
        }
        self.ways.forget_mapping();
        self.crash_token = None;
        self.renew_ticket();
        cx.emit(Event::Rekeyed {
            connection: self.name(),
            sa: former,
            successor: SaId(u64::from_be_bytes(spi.0)),
            by,
            suite: Shown(suite),
        });
        (self, old)
    }

    /// The peer has no token of this SA yet: our answer had none, or it was ours
    /// to ask. An SA that it never began is nothing that it would miss.
    pub(super) fn offer_token(&mut self) {
        if self.line().is_none() {
            self.base.channel.window.push(Intent::GiveToken);
        }
    }

    pub(super) fn give_token(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let spis = self.base.channel.protection.spis();
        let Some(token) = cx.crash_tokens.of(spis) else { return Ok(()) };
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, Task::GiveToken, |_, builder| {
            builder.notify(NotifyType::QUICK_CRASH_DETECTION, &token);
        })
    }

    /// Sends what has waited, unless the SA ends with that.
    pub(super) fn go_on_as_heir(mut self: Box<Self>, cx: &mut Context, now: Now) -> Option<Heir> {
        self.deadlines = self.base.connection.lifetime.begin(cx, now.instant);
        let spi = self.base.channel.protection.our_spi();
        Some((spi, self.go_on(cx, now).sa?))
    }

    /// A successor that does not go on, as something to say goodbye through.
    fn channel_of(&self, successor: Successor) -> Channel {
        let Successor { keys, .. } = successor;
        let (path, window) = (self.base.channel.path, Window::new(0, 0));
        Channel { protection: keys.protection, path, window }
    }
}
