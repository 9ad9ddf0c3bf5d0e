//! The children of an SA, and how far each of them is.

use std::sync::Arc;
use std::time::Duration;

use esp::plane::{Command, CommandId, Fault};
use esp::spec::{ChildId, Encapsulation, Selector, Spi};

use super::create::BUSY;
use super::set_up::Awaited;
use super::{Established, Side};
use crate::config::{ChildIndex, Children};
use crate::context::Context;
use crate::event::{Event, Gone, RequestId, Role, Shown};
use crate::exchange::child::{Child, KeySource, Terms};
use crate::exchange::{create_child, informational};
use crate::lifetime::Deadlines;
use crate::sa::Outcome;
use crate::sa::channel::AnswerTicket;
use crate::sa::closing::LATE_PACKETS;
use crate::sa::window::{Intent, Task};
use crate::time::{Instant, Now};
use crate::wire::{Delete, Payloads};

/// SPIs of children that the peer takes away before we know of them: more than
/// one is no accident.
const MAX_GONE: usize = 4;

/// Children of one SA, with those that are being replaced.
const MAX_CHILDREN: usize = 3 * Children::MOST;

/// A child that the plane was told of.
pub(super) struct ChildSa {
    pub(super) child: Child,
    pub(super) state: State,
    /// Of its keys, from when it is up.
    pub(super) deadlines: Deadlines,
}

/// How far a child is.
pub(super) enum State {
    /// The plane is installing it.
    Installing(CommandId, Purpose),
    /// It carries packets.
    Up,
    /// Another has taken its place. Whoever made that one will delete this one.
    Replaced {
        /// The other.
        by: ChildId,
    },
    /// We have told the peer that it is over, since it has been replaced.
    Deleting,
    /// It is over on both sides, but for late packets.
    Lingering {
        /// Until then.
        until: Instant,
    },
}

/// What a child is installed for.
pub(super) enum Purpose {
    /// It is the first of its SA.
    First(Awaited),
    /// We have asked for it, maybe in place of another.
    Ours(Option<ChildId>),
    /// The peer has, and waits for the answer: nobody is invited to send what
    /// could not be received.
    Theirs(AnswerTicket, create_child::Answer, Option<ChildId>),
}

impl ChildSa {
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether it carries packets, or will as soon as the plane is ready.
    pub(super) const fn is_usable(&self) -> bool {
        match self.state {
            State::Installing(..) | State::Up | State::Replaced { .. } => true,
            State::Deleting | State::Lingering { .. } => false,
        }
    }

    /// Whether the peer waits for an answer until it is installed.
    pub(super) const fn is_awaited_by_peer(&self) -> bool {
        matches!(
            self.state,
            State::Installing(_, Purpose::Theirs(..) | Purpose::First(Awaited::ByPeer(_)))
        )
    }

    const fn is_installing(&self) -> bool {
        matches!(self.state, State::Installing(..))
    }
}

/// What the peer's Deletes of children come to.
pub(super) struct Deleted {
    /// Our SPIs, for the answer.
    pub(super) spis: Vec<Spi>,
    /// The first child was taken away before anybody could use it.
    pub(super) unused: bool,
}

impl Established {
    pub(super) fn find(&mut self, id: ChildId) -> Option<&mut ChildSa> {
        self.children.iter_mut().find(|sa| sa.child.id == id)
    }

    /// Which of the configured children this is.
    pub(super) fn which(&self, id: ChildId) -> Option<ChildIndex> {
        self.children.iter().find(|sa| sa.child.id == id).map(|sa| sa.child.terms.which)
    }

    /// Whether packets of this child can flow, or will as soon as the plane is
    /// ready.
    pub(super) fn serves(&self, which: ChildIndex) -> bool {
        let is_it = |sa: &ChildSa| sa.child.terms.which == which;
        self.children.iter().any(|sa| is_it(sa) && sa.is_usable())
    }

    /// The configured children that there are none of.
    fn missing(&self) -> impl Iterator<Item = ChildIndex> {
        let all = self.base.connection.children.iter().map(|(which, _)| which);
        all.filter(|which| !self.serves(*which))
    }

    /// Whether a configured child is not there.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.missing().next().is_some()
    }

    /// Somebody wants all children to be there.
    pub(crate) fn ask_for_all(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        waiting: Vec<RequestId>,
    ) -> Outcome {
        self.waiting.extend(waiting);
        self.ask_for_missing();
        self.go_on(cx, now)
    }

    /// Tells whoever waits for the children that they are there.
    pub(super) fn reply_if_complete(&mut self, cx: &mut Context) {
        if !self.waiting.is_empty() && !self.is_incomplete() {
            let waiting = std::mem::take(&mut self.waiting);
            cx.reply(waiting, Ok(()));
        }
    }

    /// Whether it carries all that it will carry for now: each configured child
    /// is up, or was not to be had.
    pub(crate) fn is_ready(&self) -> bool {
        let is_up =
            |which| self.children.iter().any(|sa| sa.child.terms.which == which && sa.is_up());
        let mut all = self.base.connection.children.iter();
        self.complete_at.is_some() || all.all(|(which, _)| is_up(which))
    }

    /// Asks for the children of a line that it is without, as soon as it is our
    /// turn.
    pub(super) fn ask_for_missing(&mut self) {
        if self.line().is_some() {
            for which in self.missing().collect::<Vec<_>>() {
                self.base.channel.window.push(Intent::CreateChild(which));
            }
        }
    }

    /// Whether the peer has asked for this child in place of another, and may
    /// not have our answer yet.
    pub(super) fn is_unconfirmed(&self, id: ChildId) -> bool {
        let is_former = |sa: &ChildSa| matches!(sa.state, State::Replaced { by } if by == id);
        self.children.iter().any(is_former)
    }

    /// Whether the plane is installing what the peer has asked for in place of
    /// this child.
    pub(super) fn is_being_replaced(&self, id: ChildId) -> bool {
        let is_successor = |sa: &ChildSa| match &sa.state {
            State::Installing(_, Purpose::Theirs(_, _, replaces)) => *replaces == Some(id),
            State::Installing(_, Purpose::First(_) | Purpose::Ours(_))
            | State::Up
            | State::Replaced { .. }
            | State::Deleting
            | State::Lingering { .. } => false,
        };
        self.children.iter().any(is_successor)
    }

    /// Whether there may be one more.
    pub(super) fn has_room(&self) -> bool {
        self.children.len() < MAX_CHILDREN
    }

    /// Whether a child is being made or ended, which an end of the IKE SA
    /// would disturb (RFC 7296 section 2.25.2).
    pub(super) fn is_changing_children(&self) -> bool {
        let is_changing = |sa: &ChildSa| sa.is_installing() || matches!(sa.state, State::Deleting);
        self.children.iter().any(is_changing) || self.is_child_pending()
    }

    /// Has the plane install a child.
    pub(super) fn submit(
        &mut self,
        cx: &mut Context,
        (spi_in, terms): (Spi, Terms),
        source: KeySource<'_>,
        purpose: Purpose,
    ) -> ChildId {
        let standby = match &purpose {
            Purpose::First(Awaited::ByPeer(_)) => self.base.beside,
            Purpose::Theirs(_, _, None) => self.prefer_at.is_some(),
            Purpose::Theirs(_, _, Some(_)) => true,
            Purpose::First(Awaited::ByUs(_)) | Purpose::Ours(_) => false,
        };
        let group = self.base.group(cx, terms.which);
        let limits = self.base.connection.children.get(terms.which).lifetime.limits(cx);
        let child = Child { id: cx.new_child(), group, spi_in, terms };
        let around = (self.ways.packets, limits);
        let spec = child.spec(&self.base.sk_d, source, around, standby);
        let command = cx.submit(Command::Install(spec));
        let id = child.id;
        cx.owners.insert(id, self.base.channel.protection.our_spi());
        cx.installing.insert(command, id);
        let state = State::Installing(command, purpose);
        self.children.push(ChildSa { child, state, deadlines: Deadlines::default() });
        id
    }

    /// Takes the child out whose installation has ended, as one that is up.
    pub(super) fn settle(&mut self, done: CommandId) -> Option<(ChildId, ChildIndex, Purpose)> {
        let is_it = |sa: &&mut ChildSa| matches!(sa.state, State::Installing(id, _) if id == done);
        let sa = self.children.iter_mut().find(is_it)?;
        match std::mem::replace(&mut sa.state, State::Up) {
            State::Installing(_, purpose) => Some((sa.child.id, sa.child.terms.which, purpose)),
            State::Up | State::Replaced { .. } | State::Deleting | State::Lingering { .. } => None,
        }
    }

    /// Forgets a child that the plane does not hold.
    pub(super) fn forget(&mut self, cx: &mut Context, id: ChildId) {
        if let Some(at) = self.children.iter().position(|sa| sa.child.id == id) {
            let sa = self.children.remove(at);
            cx.forget_child(&sa.child);
        }
    }

    /// Takes a child out of the plane that was told of.
    pub(super) fn remove(&mut self, cx: &mut Context, id: ChildId, why: Gone) {
        let Some(which) = self.which(id) else { return };
        self.withdraw(cx, id);
        self.tell_child_down(cx, which, why);
        self.remove_unused(cx, which);
    }

    /// Takes a child out of the plane. What it had replaced serves again.
    pub(super) fn withdraw(&mut self, cx: &mut Context, id: ChildId) {
        cx.submit(Command::Remove(id));
        self.forget(cx, id);
        self.reinstate_former(id);
    }

    /// What this child had replaced serves again.
    fn reinstate_former(&mut self, id: ChildId) {
        for sa in &mut self.children {
            if matches!(sa.state, State::Replaced { by } if by == id) {
                sa.state = State::Up;
            }
        }
    }

    /// A child is up: its keys are used from now on.
    pub(super) fn begin_life(&mut self, cx: &mut Context, now: Instant, id: ChildId) {
        let Some(which) = self.which(id) else { return };
        let deadlines = self.base.connection.children.get(which).lifetime.time.begin(cx, now);
        if let Some(sa) = self.find(id) {
            sa.deadlines = deadlines;
        }
    }

    /// A child has come to its end and was not replaced in time: it carries
    /// nothing more, and both sides forget it. Who began the SA makes another.
    pub(super) fn expire(&mut self, cx: &mut Context, id: ChildId) {
        self.end_child(cx, id, Gone::Exhausted);
    }

    /// The ends of the SA may have other addresses: what is for those that they
    /// had is over, as with [`Self::expire`].
    pub(super) fn end_misfits(&mut self, cx: &mut Context) {
        let packets = self.ways.packets;
        let children = self.children.iter().map(|sa| &sa.child);
        let misfits = children.filter(|child| !child.terms.fit(&packets));
        for id in misfits.map(|child| child.id).collect::<Vec<_>>() {
            self.end_child(cx, id, Gone::Moved);
        }
    }

    /// A child that the plane has installed, unless the ends of the SA have other
    /// addresses by now: then it is taken out again, like one that the plane could
    /// not install.
    pub(super) fn keep_if_fit(&self, cx: &mut Context, id: ChildId) -> Result<(), Fault> {
        let is_misfit = |sa: &ChildSa| sa.child.id == id && !sa.child.terms.fit(&self.ways.packets);
        if self.children.iter().any(is_misfit) {
            cx.submit(Command::Remove(id));
            return Err(Fault::Unsupported);
        }
        Ok(())
    }

    fn end_child(&mut self, cx: &mut Context, id: ChildId, why: Gone) {
        let is_it = |sa: &ChildSa| {
            sa.child.id == id && matches!(sa.state, State::Up | State::Replaced { .. })
        };
        let Some(at) = self.children.iter().position(is_it) else { return };
        let ChildSa { child, state, .. } = self.children.remove(at);
        cx.submit(Command::Remove(id));
        cx.owners.remove(&id);
        self.base.channel.window.push(Intent::DeleteLoser(child.spi_in));
        let which = child.terms.which;
        self.reinstate_former(id);
        if matches!(state, State::Up) {
            self.tell_child_down(cx, which, why);
            if self.line().is_some() {
                self.base.channel.window.push(Intent::CreateChild(which));
            }
        }
        self.remove_unused(cx, which);
    }

    /// Whoever began the SA wants its children: they are asked for after a while.
    pub(super) fn complete_later(&mut self, cx: &mut Context, now: Instant, wait: Duration) {
        if self.line().is_some() {
            self.complete_at = Some(now + cx.jittered(wait));
        }
    }

    /// Whatever has come in between, what a line is without is asked for.
    pub(super) fn stay_complete(&mut self, cx: &mut Context, now: Now) {
        let is_asked_for = self.complete_at.is_some() || !self.base.channel.window.is_idle();
        if !is_asked_for && self.up.is_some() && self.is_incomplete() {
            self.complete_later(cx, now.instant, BUSY);
        }
    }

    pub(super) fn tell_child_down(&self, cx: &mut Context, which: ChildIndex, why: Gone) {
        let (connection, sa, child) = (self.name(), self.id(), self.child_name(which));
        cx.emit(Event::ChildDown { connection, sa, child, why });
    }

    pub(super) fn child_name(&self, which: ChildIndex) -> Arc<str> {
        Arc::clone(&self.base.connection.children.get(which).name)
    }

    /// No child that is over may be used for want of another.
    fn remove_unused(&mut self, cx: &mut Context, which: ChildIndex) {
        if !self.serves(which) {
            self.remove_lingering(cx, |sa, _| sa.child.terms.which == which);
        }
    }

    /// Takes those out that were kept for late packets long enough.
    pub(super) fn remove_late(&mut self, cx: &mut Context, now: Instant) {
        self.remove_lingering(cx, |_, until| until <= now);
    }

    fn remove_lingering(&mut self, cx: &mut Context, is_over: impl Fn(&ChildSa, Instant) -> bool) {
        let is_over = |sa: &ChildSa| match sa.state {
            State::Lingering { until } => is_over(sa, until),
            State::Installing(..) | State::Up | State::Replaced { .. } | State::Deleting => false,
        };
        let over: Vec<_> =
            self.children.iter().filter(|sa| is_over(sa)).map(|sa| sa.child.id).collect();
        for id in over {
            self.withdraw(cx, id);
        }
    }

    /// A child is over on both sides, and another has taken its place.
    pub(super) fn linger(&mut self, now: Instant, id: ChildId) {
        if let Some(sa) = self.find(id) {
            sa.state = State::Lingering { until: now + LATE_PACKETS };
            sa.deadlines = Deadlines::default();
        }
    }

    /// The peer takes children away. One that we are taking away ourselves is
    /// not named in the answer (RFC 7296 section 1.4.1).
    pub(super) fn deleted_by_peer(
        &mut self,
        cx: &mut Context,
        now: Now,
        payloads: &Payloads<'_>,
    ) -> Deleted {
        let is_named =
            |sa: &&ChildSa| informational::deletes_child(payloads, sa.child.terms.spi_out);
        let named: Vec<_> = self.children.iter().filter(is_named).map(|sa| sa.child.id).collect();
        self.note_unknown(payloads);
        let mut deleted = Deleted { spis: Vec::new(), unused: false };
        for id in named {
            let is_unconfirmed = self.is_unconfirmed(id);
            let Some(sa) = self.find(id) else { continue };
            let spi = sa.child.spi_in;
            match sa.state {
                // It has lost against what we are making ourselves.
                State::Up if is_unconfirmed => self.withdraw(cx, id),
                State::Up => {
                    self.remove(cx, id, Gone::PeerDeleted);
                    self.complete_later(cx, now.instant, BUSY);
                }
                State::Replaced { by } => {
                    // The peer is ready to receive by the new one now.
                    if self.find(by).is_some() {
                        cx.submit(Command::Prefer(by));
                        self.linger(now.instant, id);
                    } else {
                        self.remove(cx, id, Gone::PeerDeleted);
                    }
                }
                State::Installing(_, Purpose::First(_)) => deleted.unused = true,
                State::Installing(_, Purpose::Ours(_)) => {
                    self.withdraw(cx, id);
                    if self.is_incomplete() {
                        self.complete_later(cx, now.instant, BUSY);
                    }
                }
                State::Installing(_, Purpose::Theirs(..))
                | State::Deleting
                | State::Lingering { .. } => continue,
            }
            deleted.spis.push(spi);
        }
        deleted
    }

    /// Of a child that we have asked for, the peer's Delete may come before its
    /// answer.
    fn note_unknown(&mut self, payloads: &Payloads<'_>) {
        let children = &self.children;
        let Some(Task::CreateChild(task)) = self.base.channel.window.task_mut() else { return };
        let spis = payloads.deletes().flat_map(|delete| match delete {
            Delete::Children { spis, .. } => Some(spis),
            Delete::IkeSa => None,
        });
        let is_known = |spi: &u32| children.iter().any(|sa| sa.child.terms.spi_out.get() == *spi);
        let room = MAX_GONE.saturating_sub(task.gone.len());
        task.gone.extend(spis.flat_map(|spis| spis.iter()).filter(|spi| !is_known(spi)).take(room));
    }

    /// Nothing has come of the successor of a child.
    pub(super) fn reinstate(&mut self, replaced: Option<ChildId>) {
        if let Some(sa) = replaced.and_then(|id| self.find(id))
            && matches!(sa.state, State::Replaced { .. })
        {
            sa.state = State::Up;
        }
    }

    /// Tells that a child is up, in place of another or not.
    pub(super) fn tell_child(&self, cx: &mut Context, id: ChildId, replaces: bool, by: Role) {
        let Some(sa) = self.children.iter().find(|sa| sa.child.id == id) else { return };
        let event =
            if replaces { self.child_rekeyed(&sa.child, by) } else { self.child_up(&sa.child) };
        cx.emit(event);
    }

    fn child_rekeyed(&self, child: &Child, by: Role) -> Event {
        Event::ChildRekeyed {
            connection: self.name(),
            sa: self.id(),
            child: self.child_name(child.terms.which),
            by,
            suite: Shown(child.terms.suite),
            spi_in: Shown(child.spi_in),
            spi_out: Shown(child.terms.spi_out),
        }
    }

    pub(super) fn child_up(&self, child: &Child) -> Event {
        let shown = |list: &[Selector]| list.iter().copied().map(Shown).collect();
        Event::ChildUp {
            connection: self.name(),
            sa: self.id(),
            child: self.child_name(child.terms.which),
            suite: Shown(child.terms.suite),
            mode: Shown(child.terms.mode),
            spi_in: Shown(child.spi_in),
            spi_out: Shown(child.terms.spi_out),
            local_ts: shown(&child.terms.local_ts),
            remote_ts: shown(&child.terms.remote_ts),
            udp: self.ways.packets.encapsulation == Encapsulation::Udp,
            tcp: self.path().stream().is_some(),
        }
    }

    /// A child that the plane could not install. The peer of one that we have
    /// asked for has it already, and is told.
    pub(super) fn forget_failed(&mut self, cx: &mut Context, id: ChildId, purpose: &Purpose) {
        let Some(at) = self.children.iter().position(|sa| sa.child.id == id) else { return };
        let ChildSa { child, .. } = self.children.remove(at);
        let window = &mut self.base.channel.window;
        match purpose {
            Purpose::Ours(_) => {
                cx.owners.remove(&id);
                window.push(Intent::DeleteLoser(child.spi_in));
            }
            Purpose::First(_) | Purpose::Theirs(..) => cx.forget_child(&child),
        }
        if let Some(Task::CreateChild(task)) = window.task_mut() {
            task.rival.take_if(|(rival, _)| *rival == id);
        }
        let which = child.terms.which;
        let is_last = !self.children.iter().any(|sa| sa.child.terms.which == which);
        if let Side::Peer { groups } = &mut self.base.side
            && is_last
            && groups.get(&which).is_some_and(|group| !group.is_installed)
        {
            groups.remove(&which);
        }
    }
}
