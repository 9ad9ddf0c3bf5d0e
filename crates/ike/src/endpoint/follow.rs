//! The change of one SA, and what follows from it for others and for the plane.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use esp::plane::{Command as PlaneCommand, Hold};

use super::Endpoint;
use super::keep::Ended;
use super::line::Line;
use crate::config::{ChildIndex, Host, Unique};
use crate::context::Context;
use crate::event::{Event, Gone, SessionEnd};
use crate::fault::Refusal;
use crate::inner::Addresses;
use crate::peers::Pair;
use crate::sa::dialing::Transport;
use crate::sa::established::Established;
use crate::sa::initiating::first_path;
use crate::sa::route::Route;
use crate::sa::{Attempt, IkeSa, Outcome, Start, Supersedes, Then};
use crate::session::SessionKey;
use crate::time::Now;
use crate::wire::IkeSpi;

/// How long a machine that has another SA has to end the one before it.
const GRACE: Duration = Duration::from_secs(10);

impl Endpoint {
    /// Takes an SA through a change, and lets follow what follows.
    pub(crate) fn change(
        &mut self,
        now: Now,
        spi: IkeSpi,
        step: impl FnOnce(IkeSa, &mut Context) -> Outcome,
    ) {
        let Some(sa) = self.table.take(spi) else { return };
        let (line, was_young) = (sa.line(), sa.is_young());
        let whereabouts = |sa: &Established| (sa.gateway(), sa.path().remote.ip());
        let was_at = sa.established().map(whereabouts);
        let Outcome { sa, then } = step(sa, &mut self.cx);
        if was_young {
            self.remember_transport(line, sa.as_ref());
        }
        let freed = line.filter(|_| sa.as_ref().is_none_or(|sa| sa.line() != line));
        self.table.put(&mut self.cx.peers, spi, sa);
        let then = self.inherit(then);
        let then = self.direct(now, then);
        self.remember_peer(line, was_at, &then);
        let ended = match &then {
            Then::Failed(why, _) => Ended::failed(why),
            _ if was_young => Ended::Failed { is_refused: false },
            _ => Ended::Served,
        };
        let left = freed.and_then(|index| self.lines.get_mut(index));
        let was_coming = left.is_some_and(|line| line.leave(spi));
        self.follow(now, Some(spi), then);
        match (freed, line) {
            (Some(index), _) if was_coming => self.plan_reauthentication(now, index, ended),
            (Some(index), _) => {
                self.plan_return(now, index, ended);
                self.settle(index);
            }
            (None, Some(index)) => self.relieve_if_up(now, index, spi),
            (None, None) => {}
        }
    }

    /// An SA that can carry packets takes the place of the one before it, and of
    /// a session that was kept when that one was lost.
    fn relieve_if_up(&mut self, now: Now, index: usize, spi: IkeSpi) {
        let sa = self.table.get(spi).and_then(IkeSa::established).filter(|sa| sa.is_up());
        let is_ready = sa.is_some_and(Established::is_ready);
        let is_up = sa.is_some();
        let Some(line) = self.lines.get_mut(index).filter(|_| is_up) else { return };
        let former = if is_ready { line.relieve(spi) } else { None };
        let connection = Arc::clone(&line.connection.name);
        if self.cx.sessions.forget(&SessionKey(Arc::clone(&connection))) {
            self.cx.emit(Event::SessionLost { connection, why: SessionEnd::Replaced });
        }
        if let Some(former) = former {
            self.end_retiring(index);
            self.change_established(now, former, |sa, cx| sa.retire(cx, now));
            if let Some(line) = self.lines.get_mut(index) {
                line.retiring = Some(former);
            }
        }
    }

    /// Whether an SA that has just come up has needed TCP.
    fn remember_transport(&mut self, line: Option<usize>, sa: Option<&IkeSa>) {
        let line = line.and_then(|index| self.lines.get_mut(index));
        if let (Some(line), Some(IkeSa::Established(sa))) = (line, sa) {
            line.needed_tcp = sa.path().stream().is_some();
        }
    }

    /// A session is of the gateway that its SA was with: where that had sent us,
    /// and where it was.
    fn remember_peer(
        &mut self,
        line: Option<usize>,
        was_at: Option<(Option<IpAddr>, IpAddr)>,
        then: &Then,
    ) {
        let line = line.and_then(|index| self.lines.get_mut(index));
        if let (Some(line), Some((gateway, peer)), Then::Keep(_)) = (line, was_at, then) {
            (line.gateway, line.peer) = (gateway, Some(peer));
        }
    }

    pub(super) fn change_established(
        &mut self,
        now: Now,
        spi: IkeSpi,
        step: impl FnOnce(Box<Established>, &mut Context) -> Outcome,
    ) {
        self.change(now, spi, |sa, cx| match sa {
            IkeSa::Established(sa) => step(sa, cx),
            other => Outcome::keep(other),
        });
    }

    pub(super) fn follow(&mut self, now: Now, spi: Option<IkeSpi>, then: Then) {
        match then {
            Then::Nothing | Then::Rekeyed(_) | Then::Redirect(_) | Then::Leave(_) => {}
            Then::Keep(session) => self.cx.sessions.put(*session),
            Then::Failed(_, session) => {
                session.into_iter().for_each(|session| self.cx.sessions.put(*session));
            }
            Then::Restart(attempt, start) => self.restart(now, *attempt, *start),
            Then::Reauthenticate(attempt) => {
                let index = attempt.line;
                let has_one = self.lines.get(index).is_none_or(|line| line.coming.is_some());
                if !has_one {
                    self.restart(now, *attempt, Start::Fresh { parked: None });
                    self.plan_reauthentication(now, index, Ended::Failed { is_refused: false });
                }
            }
            Then::Arrived { peer, connection, supersedes, renews } => {
                let pair = Pair { ours: &connection.local_id, peer: &peer };
                let older = match supersedes {
                    Supersedes::None => Vec::new(),
                    Supersedes::All => self.table.of_pair(&self.cx.peers, pair),
                    Supersedes::Resumed(old) => vec![IkeSpi(old.to_be_bytes())],
                };
                for old in older.into_iter().filter(|&old| Some(old) != spi) {
                    self.replace(now, old, pair);
                }
                if let Some(old) = renews {
                    self.change_established(now, old, |mut sa, _| {
                        sa.end_at(now.instant + GRACE, Gone::Replaced);
                        Outcome::keep(IkeSa::Established(sa))
                    });
                }
                // Who is let in beside the first is its machine, with a new SA.
                if matches!(connection.unique, Unique::Replace | Unique::Keep) {
                    self.evict(now, spi, pair);
                }
            }
        }
    }

    /// Ends the SAs that machines of a peer have begun, but for the newest. The
    /// machine that has begun that one may be about to end its last by itself,
    /// without a gap: it has some time for it. Two
    /// gateways that begin SAs to each other would never come to rest if those
    /// that we have begun ended, too.
    fn evict(&mut self, now: Now, newest: Option<IkeSpi>, pair: Pair<'_>) {
        let all = self.table.of_pair(&self.cx.peers, pair);
        let host = |sa: &Established| sa.path().remote.ip();
        let newest_at = newest.and_then(|spi| self.table.get(spi)?.established().map(host));
        for old in all.into_iter().filter(|&old| Some(old) != newest) {
            self.change_established(now, old, |mut sa, cx| match sa.line() {
                None if newest_at == Some(host(&sa)) => {
                    sa.end_at(now.instant + GRACE, Gone::Replaced);
                    Outcome::keep(IkeSa::Established(sa))
                }
                None => sa.delete(cx, now, Gone::Replaced, Vec::new()),
                Some(_) => Outcome::keep(IkeSa::Established(sa)),
            });
        }
    }

    /// Another attempt, by what is configured now, unless what was coming beside
    /// the SA that has ended serves already. If that is still on its way it ends:
    /// what the SA before it has ended by is in its way, too.
    fn restart(&mut self, now: Now, mut attempt: Attempt, start: Start) {
        let mut coming = None;
        if let Some(line) = self.lines.get(attempt.line) {
            if !Arc::ptr_eq(&attempt.connection, &line.connection) {
                attempt.route = Route::new(&line.connection, None);
            }
            attempt.connection = Arc::clone(&line.connection);
            attempt.wanted = attempt.connection.vips.preferring(attempt.wanted);
            coming = line.sa.filter(|_| !attempt.beside);
        }
        if let Some(serving) = coming.filter(|spi| self.is_serving(*spi)) {
            if start.into_session().is_some() {
                let connection = Arc::clone(&attempt.connection.name);
                self.cx.emit(Event::SessionLost { connection, why: SessionEnd::Replaced });
            }
            return self.join(now, serving, attempt.waiting);
        }
        let index = attempt.line;
        self.go(now, attempt, start);
        let serves = self.lines.get(index).and_then(|line| line.sa);
        if let Some(coming) = coming.filter(|coming| serves != Some(*coming)) {
            self.change(now, coming, |sa, cx| sa.end(cx, now, Vec::new()));
        }
    }

    /// To the address whose turn it is, or to the name.
    pub(super) fn go(&mut self, now: Now, attempt: Attempt, start: Start) {
        if let Transport::Stream(path) = attempt.transport {
            return self.launch(now, path, attempt, start);
        }
        let sent_to = attempt.towards.gateway().map(Host::Address);
        match sent_to.or_else(|| attempt.stop(&self.cx)) {
            Some(Host::Address(remote)) => {
                self.hold_after_lookup(attempt.line);
                let path = first_path(&self.cx, &attempt.connection, remote, self.port);
                self.launch(now, path, attempt, start);
            }
            Some(Host::Name(name)) => self.look_up(now, name, attempt, start),
            None => {
                let session = start.into_session();
                session.into_iter().for_each(|session| self.cx.sessions.put(session));
                self.cx.reply(attempt.waiting, Err(Refusal::CannotInitiate));
            }
        }
    }

    /// What was not held for the sake of the name server is held from now on.
    fn hold_after_lookup(&mut self, index: usize) {
        let is_free = |line: &Line| line.sa.is_none() && line.held.is_empty();
        if self.lines.get(index).is_some_and(is_free) {
            self.hold(index, false);
        }
    }

    fn is_serving(&self, spi: IkeSpi) -> bool {
        self.table.get(spi).and_then(IkeSa::established).is_some_and(Established::is_up)
    }

    /// Takes in the SAs that take the place of another; the first serves its
    /// line from now on.
    fn inherit(&mut self, then: Then) -> Then {
        let Then::Rekeyed(sas) = then else { return then };
        for (spi, sa) in sas {
            let line = sa.line();
            self.table.insert(&mut self.cx.peers, spi, sa, None);
            if let Some(line) = line.and_then(|index| self.lines.get_mut(index)) {
                line.sa = Some(spi);
            }
        }
        Then::Nothing
    }

    /// Removes an SA of a peer without a word to it (B21).
    fn replace(&mut self, now: Now, spi: IkeSpi, pair: Pair<'_>) {
        if self.table.pair_of(spi) != Some(pair) {
            return;
        }
        self.change_established(now, spi, |sa, cx| {
            sa.replaced(cx);
            Outcome::gone()
        });
    }

    pub(super) fn rearm_if_due(&mut self, now: Now, index: usize) {
        if let Some(line) = self.lines.get_mut(index)
            && line.rests_until.take_if(|until| *until <= now.instant).is_some()
        {
            self.settle(index);
        }
    }

    /// After an SA of a line has ended: what becomes of its packets.
    pub(super) fn settle(&mut self, index: usize) {
        if self.lines.get(index).is_none_or(|line| line.sa.is_some()) {
            return;
        }
        self.end_retiring(index);
        let Some(line) = self.lines.get(index) else { return };
        let key = SessionKey(Arc::clone(&line.connection.name));
        if self.cx.sessions.get(&key).is_none() {
            self.cx.forget_addresses(&key.0);
        }
        if line.is_missed() || self.cx.sessions.get(&key).is_some() {
            let acquire = line.is_for_traffic() && line.rests_until.is_none();
            self.hold(index, acquire);
        } else if let Some(line) = self.lines.get_mut(index) {
            for (_, hold) in std::mem::take(&mut line.held) {
                self.cx.submit(PlaneCommand::Release(hold.group));
            }
        }
    }

    /// The policies of a line are not those of an SA that has served before any
    /// more: whatever comes by it is too late.
    fn end_retiring(&mut self, index: usize) {
        let retiring = self.lines.get_mut(index).and_then(|line| line.retiring.take());
        if let Some(spi) = retiring
            && let Some(sa) = self.table.take(spi)
        {
            let rest = match sa {
                IkeSa::Retiring(sa) => sa.over(&mut self.cx),
                other => Some(other),
            };
            self.table.put(&mut self.cx.peers, spi, rest);
        }
    }

    /// Keeps the packets of a line from leaving in clear text.
    pub(super) fn hold(&mut self, index: usize, acquire: bool) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let assigned = self.cx.assigned.get(&line.connection.name);
        let inner = assigned.map_or(Addresses::NONE, |given| given.addresses);
        if line.sa.is_none() {
            let is_meant = |which: &ChildIndex| line.connection.children.contain(*which);
            for (_, hold) in line.held.extract_if(.., |which, _| !is_meant(which)) {
                self.cx.submit(PlaneCommand::Release(hold.group));
            }
        }
        for (which, child) in line.connection.children.iter() {
            let [local_ts, remote_ts] = line.connection.held(child, inner);
            if local_ts.is_empty() || remote_ts.is_empty() {
                continue;
            }
            let hold = Hold { group: line.groups.of(which), local_ts, remote_ts, acquire };
            // A hold that has raised its event must be made again to raise another.
            if acquire || line.held.get(&which) != Some(&hold) {
                line.held.insert(which, hold.clone());
                self.cx.submit(PlaneCommand::Hold(hold));
            }
        }
    }

    /// An SPI that no SA of this endpoint has.
    pub(crate) fn new_spi(&mut self) -> IkeSpi {
        loop {
            let spi = self.cx.random_ike_spi();
            if !spi.is_zero() && !self.table.contains(spi) {
                return spi;
            }
        }
    }
}
