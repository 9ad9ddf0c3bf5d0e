//! Commands: from what somebody wants to an attempt or an end.

use std::sync::Arc;

use esp::packet::Flow;
use esp::plane::Command as PlaneCommand;
use esp::spec::GroupId;

use super::Endpoint;
use super::keep::Ended;
use super::line::Line;
use crate::config::{Connection, Host};
use crate::event::{Event, Gone, Path, RekeyWhat, RequestId, SessionEnd};
use crate::exchange::child::Trigger;
use crate::fault::Refusal;
use crate::identity::IdPattern;
use crate::inner::{Addresses, Domain};
use crate::peers::Pair;
use crate::redirect::Towards;
use crate::sa::dialing::{Dialing, Transport};
use crate::sa::initiating::Initiating;
use crate::sa::resolving::Resolving;
use crate::sa::route::Route;
use crate::sa::{Attempt, IkeSa, Outcome, Start, Then};
use crate::session::{ResumeAttempt, SessionKey, SuspendedSession};
use crate::time::Now;
use crate::wire::IkeSpi;

impl Endpoint {
    pub(super) fn line_of(&self, name: &str) -> Option<usize> {
        let is_it = |line: &Line| !line.is_vacant && &*line.connection.name == name;
        self.lines.iter().position(is_it)
    }

    fn line_sa(&self, index: usize) -> Option<(IkeSpi, &IkeSa)> {
        let spi = self.lines.get(index)?.sa?;
        Some((spi, self.table.get(spi)?))
    }

    pub(super) fn up(&mut self, now: Now, index: usize, waiting: Vec<RequestId>) {
        self.bring_up(now, index, waiting, None);
    }

    /// A packet waits for a child of this group.
    pub(super) fn acquire(&mut self, now: Now, group: GroupId, packet: Flow) {
        let mut groups = self.lines.iter().map(|line| line.groups.which(group)).enumerate();
        if let Some((index, which)) = groups.find_map(|(index, which)| Some((index, which?))) {
            self.bring_up(now, index, Vec::new(), Some(Box::new(Trigger { which, packet })));
        }
    }

    fn bring_up(
        &mut self,
        now: Now,
        index: usize,
        waiting: Vec<RequestId>,
        trigger: Option<Box<Trigger>>,
    ) {
        self.want(index, true);
        match self.line_sa(index) {
            None => self.begin(now, index, waiting, trigger),
            // The peer has taken a child away, or has not let us have it.
            Some((spi, IkeSa::Established(sa))) if sa.is_up() && sa.is_incomplete() => {
                self.change_established(now, spi, |mut sa, cx| {
                    sa.note_trigger(trigger);
                    sa.ask_for_all(cx, now, waiting)
                });
            }
            Some((spi, _)) => self.join(now, spi, waiting),
        }
    }

    /// Waits for an SA that is there or on its way.
    pub(super) fn join(&mut self, now: Now, spi: IkeSpi, waiting: Vec<RequestId>) {
        for id in waiting {
            let mut answer = None;
            self.change(now, spi, |mut sa, _| {
                answer = sa.wait(id).err();
                Outcome::keep(sa)
            });
            if let Some(id) = answer {
                self.cx.reply(vec![id], Ok(()));
            }
        }
    }

    /// Starts an attempt, with the suspended session if there is one: with the
    /// gateway that its ticket is of.
    fn begin(
        &mut self,
        now: Now,
        index: usize,
        waiting: Vec<RequestId>,
        trigger: Option<Box<Trigger>>,
    ) {
        let Some(line) = self.lines.get_mut(index) else { return };
        line.rests_until = None;
        let (connection, groups) = (Arc::clone(&line.connection), line.groups);
        let transport = Transport::first(connection.tcp, line.needed_tcp);
        let key = SessionKey(Arc::clone(&connection.name));
        let gateway = line.gateway.filter(|_| self.cx.sessions.get(&key).is_some());
        let towards = gateway.map_or(Towards::Configured, Towards::Gateway);
        let peer = line.peer;
        if connection.remote_addrs.is_empty() {
            return self.cx.reply(waiting, Err(Refusal::CannotInitiate));
        }
        let start = match self.take_session(now, &connection) {
            Some(session) => Start::Resume(ResumeAttempt::new(session, connection.resumption.auth)),
            None => Start::Fresh { parked: None },
        };
        let earlier = match &start {
            Start::Fresh { .. } => Addresses::NONE,
            Start::Resume(resume) => resume.session().state.inner,
        };
        let wanted = connection.vips.preferring(earlier);
        // What resumes a session is asked of the gateway that it is of.
        let first = peer.filter(|_| matches!(start, Start::Resume(_)));
        let route = Route::new(&connection, first);
        let attempt = Attempt {
            line: index,
            groups,
            initial_contact: self.is_only_contact(&connection),
            connection,
            beside: false,
            trigger,
            waiting,
            started: now.instant,
            round_trips: 0,
            wanted,
            retries_left: Attempt::RETRIES,
            transport,
            towards,
            route,
        };
        // The name server may be beyond what would be held.
        let is_first_lookup = matches!(attempt.stop(&self.cx), Some(Host::Name(_)))
            && self.lines.get(index).is_some_and(|line| line.held.is_empty());
        if !is_first_lookup {
            self.hold(index, false);
        }
        self.go(now, attempt, start);
    }

    /// The session of a connection, if it still fits the configuration: who we
    /// are and whom we expect (D8).
    fn take_session(&mut self, now: Now, connection: &Connection) -> Option<SuspendedSession> {
        let key = SessionKey(Arc::clone(&connection.name));
        let session = self.cx.sessions.take(&key, now.wall)?;
        let fits = connection.resumption.enabled
            && session.state.initiator == connection.local_id
            && session.state.method == connection.auth.local.method()
            && (session.state.ppk.is_some() || !connection.ppk.required)
            && connection.remote_id.accepts(&session.state.responder);
        fits.then_some(session)
    }

    /// Whether no other SA joins the two identities of a connection, as far as
    /// we can know before the peer has told its own.
    fn is_only_contact(&self, connection: &Connection) -> bool {
        let is_known = match &connection.remote_id {
            IdPattern::Any | IdPattern::Like(_) => !self.cx.peers.is_empty(),
            IdPattern::Exact(peer) => {
                let pair = Pair { ours: &connection.local_id, peer };
                !self.table.of_pair(&self.cx.peers, pair).is_empty()
            }
        };
        let is_attempted = self.lines.iter().any(|line| {
            line.sa.is_some()
                && line.connection.name != connection.name
                && line.connection.local_id == connection.local_id
                && line.connection.remote_id == connection.remote_id
        });
        !is_known && !is_attempted
    }

    pub(super) fn launch(&mut self, now: Now, path: Path, attempt: Attempt, start: Start) {
        let Attempt { line: index, beside, .. } = attempt;
        let spi = self.new_spi();
        if attempt.transport == Transport::Dial {
            let sa = Dialing::start(&mut self.cx, now, path, attempt, start);
            self.table.insert(&mut self.cx.peers, spi, sa, None);
            if let Some(line) = self.lines.get_mut(index) {
                line.enter(spi, beside);
            }
            return;
        }
        match Initiating::start(&mut self.cx, now, spi, path, attempt, start) {
            Ok(sa) => {
                self.table.insert(&mut self.cx.peers, spi, IkeSa::Initiating(sa), None);
                if let Some(line) = self.lines.get_mut(index) {
                    line.enter(spi, beside);
                }
            }
            Err(failed) => {
                let (attempt, session, why) = *failed;
                let ended = Ended::failed(&why);
                let outcome = attempt.fail(&mut self.cx, path, why, session);
                self.follow(now, None, outcome.then);
                self.plan_return(now, index, ended);
                self.settle(index);
            }
        }
    }

    /// First asks where the peer is.
    pub(super) fn look_up(&mut self, now: Now, name: Domain, attempt: Attempt, start: Start) {
        let Attempt { line: index, beside, .. } = attempt;
        let spi = self.new_spi();
        let sa = Resolving::start(&mut self.cx, now, (spi, name), attempt, start);
        self.table.insert(&mut self.cx.peers, spi, sa, None);
        if let Some(line) = self.lines.get_mut(index) {
            line.enter(spi, beside);
        }
    }

    pub(super) fn resume(&mut self, now: Now, index: usize, id: RequestId) {
        let Some(line) = self.lines.get(index) else { return };
        let key = SessionKey(Arc::clone(&line.connection.name));
        match (line.sa, self.cx.sessions.get(&key)) {
            (None, None) => self.cx.reply(vec![id], Err(Refusal::NotSuspended)),
            (Some(_), _) | (None, Some(_)) => self.up(now, index, vec![id]),
        }
    }

    /// Ends what we began for a connection, or what its peers did.
    pub(super) fn down(&mut self, now: Now, index: usize, id: RequestId) {
        self.want(index, false);
        if let Err(unanswered) = self.take_down(now, index, vec![id]) {
            self.cx.reply(unanswered, Err(Refusal::NotUp));
        }
    }

    /// See [`Self::down`]. `Err` gives back who waits: there was nothing.
    pub(super) fn take_down(
        &mut self,
        now: Now,
        index: usize,
        waiting: Vec<RequestId>,
    ) -> Result<(), Vec<RequestId>> {
        let Some(line) = self.lines.get_mut(index) else { return Err(waiting) };
        let name = Arc::clone(&line.connection.name);
        let coming = line.coming.take();
        if let Some(coming) = coming {
            self.change(now, coming, |sa, cx| sa.end(cx, now, Vec::new()));
        }
        let ours = self.lines.get_mut(index).and_then(|line| line.sa.take());
        let mut all = self.answered(&name);
        all.extend(ours);
        let had_session = self.cx.sessions.forget(&SessionKey(Arc::clone(&name)));
        if had_session {
            let why = SessionEnd::Command;
            self.cx.emit(Event::SessionLost { connection: name, why });
        }
        let last = all.pop();
        for spi in all {
            self.change(now, spi, |sa, cx| sa.end(cx, now, Vec::new()));
        }
        let unanswered = match last {
            Some(last) => {
                self.change(now, last, |sa, cx| sa.end(cx, now, waiting));
                None
            }
            None if had_session => {
                self.cx.reply(waiting, Ok(()));
                None
            }
            None => Some(waiting),
        };
        self.settle(index);
        unanswered.map_or(Ok(()), Err)
    }

    /// Replaces keys of what we began for a connection, and of what its peers did.
    pub(super) fn rekey(&mut self, now: Now, index: usize, keys: RekeyWhat, id: RequestId) {
        let Some(line) = self.lines.get(index) else { return };
        let mut all = self.answered(&Arc::clone(&line.connection.name));
        all.extend(self.line_sa(index).map(|(spi, _)| spi));
        let mut result = Err(Refusal::NotUp);
        for spi in all {
            self.change_established(now, spi, |sa, cx| {
                if sa.is_usable() {
                    result = Ok(());
                }
                sa.rekey(cx, now, keys)
            });
        }
        self.cx.reply(vec![id], result);
    }

    /// The SAs of a connection that peers began.
    fn answered(&self, name: &str) -> Vec<IkeSpi> {
        let is_answered = |sa: &IkeSa| match sa {
            IkeSa::Established(sa) => sa.line().is_none() && *sa.connection().name == *name,
            _ => false,
        };
        self.table.iter().filter(|(_, sa)| is_answered(sa)).map(|(spi, _)| spi).collect()
    }

    /// Puts a session to sleep. A kept connection stays kept when that is refused.
    pub(super) fn suspend(&mut self, now: Now, index: usize, id: RequestId) {
        let Some((spi, sa)) = self.line_sa(index) else {
            let line = self.lines.get(index);
            let key = line.map(|line| SessionKey(Arc::clone(&line.connection.name)));
            let sleeps = key.is_some_and(|key| self.cx.sessions.get(&key).is_some());
            if sleeps {
                self.want(index, false);
                self.discard_what_would_wake(index);
            }
            let result = if sleeps { Ok(()) } else { Err(Refusal::NotUp) };
            return self.cx.reply(vec![id], result);
        };
        if !matches!(sa, IkeSa::Established(_)) {
            return self.cx.reply(vec![id], Err(Refusal::Busy));
        }
        let mut result = Ok(());
        let coming = self.lines.get_mut(index).and_then(|line| line.coming.take());
        self.change_established(now, spi, |sa, cx| match sa.suspend(cx, now, Gone::Suspended) {
            Ok(session) => Outcome::gone().then(Then::Keep(Box::new(session))),
            Err(sa) => {
                result = Err(Refusal::NoTicket);
                Outcome::keep(IkeSa::Established(sa))
            }
        });
        if result.is_ok() {
            self.want(index, false);
            if let Some(coming) = coming {
                self.change(now, coming, |sa, cx| sa.end(cx, now, Vec::new()));
            }
        } else if let Some(line) = self.lines.get_mut(index) {
            line.coming = coming;
        }
        self.cx.reply(vec![id], result);
    }

    /// What has waited since an attempt failed would begin the next one, after
    /// the order to sleep. A later packet may.
    fn discard_what_would_wake(&mut self, index: usize) {
        let Some(line) = self.lines.get(index) else { return };
        if line.is_for_traffic() {
            for hold in line.held.values() {
                self.cx.submit(PlaneCommand::Discard(hold.group));
            }
        }
    }
}
