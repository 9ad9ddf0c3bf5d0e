//! The endpoint: from an SPI to its SA, from a stranger to a half-open SA,
//! from a command to an attempt.
//!
//! # Contract
//! The caller owns the sockets, the clocks and the data plane:
//!
//! - each datagram, without the non-ESP marker, goes to
//!   [`handle_datagram`](Endpoint::handle_datagram);
//! - [`handle_timeout`](Endpoint::handle_timeout) is called no earlier than
//!   [`poll_timeout`](Endpoint::poll_timeout) says;
//! - what a person wants goes to [`handle_command`](Endpoint::handle_command),
//!   what the plane tells to [`handle_plane`](Endpoint::handle_plane);
//! - after each of these, [`poll_output`](Endpoint::poll_output) is called until
//!   it gives nothing.
//!
//! Every plane command is completed by one
//! [`PlaneEvent::Completed`](esp::plane::PlaneEvent::Completed), every control
//! command by one [`Output::Reply`].

use std::sync::Arc;
use std::time::Duration;

use crypto::Provider;
use esp::plane::{Capabilities, Command as PlaneCommand, Hold, Limit, PlaneEvent};
use esp::spec::GroupId;

use crate::accept;
use crate::config::{Config, Connection, ResumeTrigger, Shard};
use crate::context::Context;
use crate::cookie::Cookies;
use crate::event::{Command, Event, Gone, Output, Path, RequestId, SessionEnd};
use crate::fault::{Discard, Refusal};
use crate::identity::{Id, IdPattern};
use crate::sa::initiating::{Initiating, first_path};
use crate::sa::{Attempt, IkeSa, Outcome, Start, Supersedes, Then, Why};
use crate::session::{ResumeAttempt, SessionKey, SuspendedSession, TicketIssuer};
use crate::status::{ConnectionStatus, EndpointStatus, Holdings, SaStatus, Stage, TicketStatus};
use crate::table::Table;
use crate::time::{Instant, Now};
use crate::wire::{Header, HeaderError, IkeSpi};

/// An IKEv2 peer: initiator and responder of all its connections.
pub struct Endpoint {
    pub(crate) cx: Context,
    pub(crate) table: Table,
    pub(crate) cookies: Cookies,
    pub(crate) shard: Shard,
    lines: Vec<Line>,
    port: u16,
}

/// A connection as its initiator: one SA or session at a time.
struct Line {
    connection: Arc<Connection>,
    group: GroupId,
    sa: Option<IkeSpi>,
    /// Whether a packet that wants to leave brings it up, whatever came before.
    armed: bool,
    /// Whether the plane keeps its packets from leaving in clear text, and
    /// tells of the first.
    held: Option<bool>,
    /// Its last attempt has failed: packets do not begin another before this.
    rests_until: Option<Instant>,
}

/// How long a connection rests after a failure, before traffic brings it up again.
const REST: Duration = Duration::from_secs(10);

impl Endpoint {
    /// An endpoint without SAs or sessions.
    #[must_use]
    pub fn new(
        config: Config,
        mut provider: Provider,
        capabilities: Capabilities,
        now: Now,
    ) -> Self {
        let Config { connections, retransmission, limits, shard, .. } = config;
        let issuer = TicketIssuer::new(&mut provider, config.ticket_key_rotation, now);
        let cookies = Cookies::new(&mut provider, now.instant);
        let connections: Arc<[_]> = connections.into();
        let mut cx = Context::new(
            provider,
            issuer,
            (retransmission, limits),
            capabilities,
            config.nat_port,
            Arc::clone(&connections),
        );
        let line = |connection: &Arc<Connection>| Line {
            connection: Arc::clone(connection),
            group: cx.new_group(),
            sa: None,
            armed: false,
            held: None,
            rests_until: None,
        };
        let lines = connections.iter().map(line).collect();
        Self { cx, table: Table::default(), cookies, shard, lines, port: config.port }
    }

    /// A datagram has come by `path`. It is decrypted in place.
    pub fn handle_datagram(&mut self, now: Now, path: Path, datagram: &mut [u8]) {
        let header = match Header::parse(datagram) {
            Ok((header, _)) => header,
            Err(error) => return self.refuse_header(path, &error),
        };
        let spi = header.recipient_spi();
        if spi.is_zero() {
            return accept::initial(self, now, path, &header, datagram);
        }
        if !self.table.contains(spi) {
            return self.cx.discard(Discard::UnknownSpi);
        }
        self.change(now, spi, |sa, cx| sa.receive(cx, now, path, &header, datagram));
    }

    /// Only a version above ours gets an answer (RFC 7296 section 2.5).
    fn refuse_header(&mut self, path: Path, error: &HeaderError) {
        self.cx.discard(Discard::Malformed);
        if let HeaderError::MajorVersion(header) = error
            && let Some(complaint) = error.complaint()
            && !header.flags.response
        {
            accept::complain(self, path, header, complaint);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.cx.issuer.rotate_if_due(&mut self.cx.provider, now);
        for SessionKey(name) in self.cx.sessions.expire(now.wall) {
            let (connection, why) = (Arc::clone(&name), SessionEnd::Expired);
            self.cx.emit(Event::SessionLost { connection, why });
            if let Some(index) = self.line_of(&name) {
                self.settle(index);
            }
        }
        for index in 0..self.lines.len() {
            self.rearm_if_due(now, index);
        }
        while let Some((due, _, spi)) = self.table.next_due()
            && due <= now.instant
        {
            self.change(now, spi, |sa, cx| sa.timeout(cx, now));
        }
    }

    /// When [`Self::handle_timeout`] is to be called at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<(Instant, Why)> {
        let sa = self.table.next_due().map(|(due, why, _)| (due, why));
        let key = (self.cx.issuer.rotation_due(), Why::TicketKey);
        let session = self.cx.sessions.next_expiry().map(|expiry| {
            let left = expiry.duration_since(now.wall).unwrap_or(Duration::ZERO);
            (now.instant + left, Why::SessionExpiry)
        });
        let rests = self.lines.iter().filter_map(|line| line.rests_until);
        let rest = rests.min().map(|until| (until, Why::Rest));
        [sa, Some(key), session, rest].into_iter().flatten().min()
    }

    /// Somebody wants something.
    pub fn handle_command(&mut self, now: Now, id: RequestId, command: Command) {
        let name = match &command {
            Command::Up(name)
            | Command::Resume(name)
            | Command::Down(name)
            | Command::Suspend(name) => name,
        };
        let Some(index) = self.line_of(name) else {
            return self.cx.reply(vec![id], Err(Refusal::UnknownConnection));
        };
        match command {
            Command::Up(_) => self.up(now, index, vec![id]),
            Command::Resume(_) => self.resume(now, index, id),
            Command::Down(_) => self.down(now, index, id),
            Command::Suspend(_) => self.suspend(now, index, id),
        }
    }

    /// The data plane tells something.
    pub fn handle_plane(&mut self, now: Now, event: PlaneEvent) {
        match event {
            PlaneEvent::Completed(command, result) => {
                let child = self.cx.installing.remove(&command);
                let Some(&spi) = child.and_then(|child| self.cx.owners.get(&child)) else { return };
                self.change_established(now, spi, |sa, cx| sa.installed(cx, now, command, result));
            }
            PlaneEvent::Acquire(group) => {
                let line = self.lines.iter().position(|line| line.group == group);
                if let Some(index) = line {
                    self.up(now, index, Vec::new());
                }
            }
            PlaneEvent::Expired(child, Limit::Hard) => {
                let Some(&spi) = self.cx.owners.get(&child) else { return };
                self.change_established(now, spi, |sa, cx| sa.exhausted(cx, now));
            }
            // Rekeying comes before the hard limit once there is rekeying.
            PlaneEvent::Expired(_, Limit::Soft) => {}
            PlaneEvent::MappingChanged(child, remote) => {
                let Some(&spi) = self.cx.owners.get(&child) else { return };
                self.change_established(now, spi, |mut sa, cx| {
                    sa.mapping_changed(cx, remote);
                    Outcome::keep(IkeSa::Established(sa))
                });
            }
        }
    }

    /// The next thing to do, in the order in which it must be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.outputs.pop_front()
    }

    /// From now on a packet that wants to leave brings this connection up,
    /// until the endpoint's end.
    pub fn arm(&mut self, name: &str) {
        let Some(index) = self.line_of(name) else { return };
        if let Some(line) = self.lines.get_mut(index) {
            line.armed = true;
        }
        self.settle(index);
    }

    /// Ends everything in an orderly way: a Delete to every peer but those that
    /// hold a ticket of ours, for whom it would void the ticket (RFC 5723
    /// section 6.2).
    pub fn shut_down(&mut self, now: Now) {
        let all: Vec<_> = self.table.iter().map(|(spi, _)| spi).collect();
        for spi in all {
            self.change(now, spi, |sa, cx| match sa {
                IkeSa::Established(sa) if sa.peer_may_resume(now.wall) => {
                    Outcome::keep(IkeSa::Established(sa))
                }
                other => other.end(cx, now, Vec::new()),
            });
        }
    }

    /// Whether a Delete of ours still waits for its answer.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        let is_deleting = |sa: &IkeSa| matches!(sa, IkeSa::Deleting(_) | IkeSa::Withdrawing(_));
        self.table.iter().any(|(_, sa)| is_deleting(sa))
    }

    /// Replaces the ticket key twice: no ticket handed out so far is good any more.
    pub fn void_tickets(&mut self, now: Now) {
        self.cx.issuer.rotate(&mut self.cx.provider, now);
        self.cx.issuer.rotate(&mut self.cx.provider, now);
    }
}

/// Commands.
impl Endpoint {
    fn line_of(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| &*line.connection.name == name)
    }

    fn line_sa(&self, index: usize) -> Option<(IkeSpi, &IkeSa)> {
        let spi = self.lines.get(index)?.sa?;
        Some((spi, self.table.get(spi)?))
    }

    fn up(&mut self, now: Now, index: usize, waiting: Vec<RequestId>) {
        match self.line_sa(index) {
            None => self.begin(now, index, waiting),
            Some((spi, IkeSa::Established(sa))) if !sa.is_usable() => {
                // The peer has taken its child away. The next SA begins before
                // this one ends, so that the line holds its packets throughout.
                self.begin(now, index, waiting);
                self.change_established(now, spi, |sa, cx| {
                    sa.delete(cx, now, Gone::Command, Vec::new())
                });
            }
            Some((spi, _)) => self.join(now, spi, waiting),
        }
    }

    /// Waits for an SA that is there or on its way.
    fn join(&mut self, now: Now, spi: IkeSpi, waiting: Vec<RequestId>) {
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

    /// Starts an attempt, with the suspended session if there is one.
    fn begin(&mut self, now: Now, index: usize, waiting: Vec<RequestId>) {
        let Some(line) = self.lines.get(index) else { return };
        let connection = Arc::clone(&line.connection);
        let Some(path) = first_path(&connection, self.port) else {
            return self.cx.reply(waiting, Err(Refusal::CannotInitiate));
        };
        let start = match self.take_session(now, &connection) {
            Some(session) => Start::Resume(ResumeAttempt::new(session, connection.resumption.auth)),
            None => Start::Fresh { parked: None },
        };
        let attempt = Attempt {
            line: index,
            group: line_group(&self.lines, index),
            initial_contact: self.is_only_contact(&connection),
            connection,
            waiting,
            started: now.instant,
            round_trips: 0,
            retries_left: Attempt::RETRIES,
        };
        if let Some(line) = self.lines.get_mut(index) {
            line.rests_until = None;
        }
        self.hold(index, false);
        self.launch(now, path, attempt, start);
    }

    /// The session of a connection, if it still fits the configuration: who we
    /// are and whom we expect (D8).
    fn take_session(&mut self, now: Now, connection: &Connection) -> Option<SuspendedSession> {
        let key = SessionKey(Arc::clone(&connection.name));
        let session = self.cx.sessions.take(&key, now.wall)?;
        let fits = connection.resumption.enabled
            && session.state.initiator == connection.local_id
            && connection.remote_id.accepts(&session.state.responder);
        fits.then_some(session)
    }

    /// Whether no other SA joins the two identities of a connection, as far as
    /// we can know before the peer has told its own.
    fn is_only_contact(&self, connection: &Connection) -> bool {
        let is_known = match &connection.remote_id {
            IdPattern::Any => self.table.has_peers(),
            IdPattern::Exact(peer) => !self.table.of_peer(peer).is_empty(),
        };
        let is_attempted = self.lines.iter().any(|line| {
            line.sa.is_some()
                && line.connection.name != connection.name
                && line.connection.local_id == connection.local_id
                && line.connection.remote_id == connection.remote_id
        });
        !is_known && !is_attempted
    }

    fn launch(&mut self, now: Now, path: Path, attempt: Attempt, start: Start) {
        let index = attempt.line;
        let spi = self.new_spi();
        match Initiating::start(&mut self.cx, now, spi, path, attempt, start) {
            Ok(sa) => {
                self.table.insert(spi, IkeSa::Initiating(sa), None);
                if let Some(line) = self.lines.get_mut(index) {
                    line.sa = Some(spi);
                }
            }
            Err((attempt, session, why)) => {
                let outcome = attempt.fail(&mut self.cx, path, why, session);
                self.follow(now, None, outcome.then);
                self.rest(now, index);
                self.settle(index);
            }
        }
    }

    fn resume(&mut self, now: Now, index: usize, id: RequestId) {
        let Some(line) = self.lines.get(index) else { return };
        let key = SessionKey(Arc::clone(&line.connection.name));
        match (line.sa, self.cx.sessions.get(&key)) {
            (None, None) => self.cx.reply(vec![id], Err(Refusal::NotSuspended)),
            (Some(_), _) | (None, Some(_)) => self.up(now, index, vec![id]),
        }
    }

    /// Ends what we began for a connection, or what its peers did.
    fn down(&mut self, now: Now, index: usize, id: RequestId) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let name = Arc::clone(&line.connection.name);
        let ours = line.sa.take();
        let mut all = self.answered(&name);
        all.extend(ours);
        let had_session = self.cx.sessions.forget(&SessionKey(Arc::clone(&name)));
        if had_session {
            let why = SessionEnd::Command;
            self.cx.emit(Event::SessionLost { connection: name, why });
        }
        match all.pop() {
            Some(last) => {
                for spi in all {
                    self.change(now, spi, |sa, cx| sa.end(cx, now, Vec::new()));
                }
                self.change(now, last, |sa, cx| sa.end(cx, now, vec![id]));
            }
            None if had_session => self.cx.reply(vec![id], Ok(())),
            None => self.cx.reply(vec![id], Err(Refusal::NotUp)),
        }
        self.settle(index);
    }

    /// The SAs of a connection that peers began.
    fn answered(&self, name: &str) -> Vec<IkeSpi> {
        let is_answered = |sa: &IkeSa| match sa {
            IkeSa::Established(sa) => sa.line().is_none() && *sa.connection().name == *name,
            _ => false,
        };
        self.table.iter().filter(|(_, sa)| is_answered(sa)).map(|(spi, _)| spi).collect()
    }

    fn suspend(&mut self, now: Now, index: usize, id: RequestId) {
        let Some((spi, sa)) = self.line_sa(index) else {
            let line = self.lines.get(index);
            let key = line.map(|line| SessionKey(Arc::clone(&line.connection.name)));
            let sleeps = key.is_some_and(|key| self.cx.sessions.get(&key).is_some());
            let result = if sleeps { Ok(()) } else { Err(Refusal::NotUp) };
            return self.cx.reply(vec![id], result);
        };
        if !matches!(sa, IkeSa::Established(_)) {
            return self.cx.reply(vec![id], Err(Refusal::Busy));
        }
        let mut result = Ok(());
        self.change_established(now, spi, |sa, cx| match sa.suspend(cx, now, Gone::Suspended) {
            Ok(session) => Outcome::gone().then(Then::Keep(Box::new(session))),
            Err(sa) => {
                result = Err(Refusal::NoTicket);
                Outcome::keep(IkeSa::Established(sa))
            }
        });
        self.cx.reply(vec![id], result);
    }
}

impl Line {
    /// Whether packets may bring it up.
    fn is_for_traffic(&self) -> bool {
        self.armed || self.connection.resumption.trigger == ResumeTrigger::OnTraffic
    }
}

fn line_group(lines: &[Line], index: usize) -> GroupId {
    lines.get(index).map_or(GroupId(0), |line| line.group)
}

/// SAs and what follows from their changes.
impl Endpoint {
    /// Takes an SA through a change, and lets follow what follows.
    pub(crate) fn change(
        &mut self,
        now: Now,
        spi: IkeSpi,
        step: impl FnOnce(IkeSa, &mut Context) -> Outcome,
    ) {
        let Some((sa, place)) = self.table.take(spi) else { return };
        let (line, was_young) = (sa.line(), sa.young().is_some());
        let Outcome { sa, then } = step(sa, &mut self.cx);
        let freed = line.filter(|_| sa.as_ref().is_none_or(|sa| sa.line() != line));
        self.table.put(spi, sa, place);
        if let Some(line) = freed.and_then(|index| self.lines.get_mut(index))
            && line.sa == Some(spi)
        {
            line.sa = None;
        }
        self.follow(now, Some(spi), then);
        if let Some(index) = freed {
            if was_young {
                self.rest(now, index);
            }
            self.settle(index);
        }
    }

    fn change_established(
        &mut self,
        now: Now,
        spi: IkeSpi,
        step: impl FnOnce(Box<crate::sa::established::Established>, &mut Context) -> Outcome,
    ) {
        self.change(now, spi, |sa, cx| match sa {
            IkeSa::Established(sa) => step(sa, cx),
            other => Outcome::keep(other),
        });
    }

    fn follow(&mut self, now: Now, spi: Option<IkeSpi>, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Keep(session) => self.cx.sessions.put(*session),
            Then::Restart(attempt, start) => {
                if let Some(path) = first_path(&attempt.connection, self.port) {
                    self.launch(now, path, *attempt, *start);
                }
            }
            Then::Arrived { peer, supersedes } => {
                let older = match supersedes {
                    Supersedes::None => Vec::new(),
                    Supersedes::All => self.table.of_peer(&peer),
                    Supersedes::Resumed(old) => vec![IkeSpi(old.to_be_bytes())],
                };
                for old in older.into_iter().filter(|&old| Some(old) != spi) {
                    self.replace(now, old, &peer);
                }
            }
        }
    }

    /// Removes an SA of a peer without a word to it (B21).
    fn replace(&mut self, now: Now, spi: IkeSpi, peer: &Id) {
        if self.table.get(spi).and_then(IkeSa::peer) != Some(peer) {
            return;
        }
        self.change_established(now, spi, |sa, cx| {
            sa.replaced(cx);
            Outcome::gone()
        });
    }

    /// An attempt has led to nothing. Packets would begin another at once.
    fn rest(&mut self, now: Now, index: usize) {
        if let Some(line) = self.lines.get_mut(index)
            && line.sa.is_none()
            && line.is_for_traffic()
        {
            line.rests_until = Some(now.instant + REST);
        }
    }

    fn rearm_if_due(&mut self, now: Now, index: usize) {
        if let Some(line) = self.lines.get_mut(index)
            && line.rests_until.take_if(|until| *until <= now.instant).is_some()
        {
            self.settle(index);
        }
    }

    /// After an SA of a line has ended: what becomes of its packets.
    fn settle(&mut self, index: usize) {
        let Some(line) = self.lines.get(index) else { return };
        if line.sa.is_some() {
            return;
        }
        let key = SessionKey(Arc::clone(&line.connection.name));
        if line.armed || self.cx.sessions.get(&key).is_some() {
            let acquire = line.is_for_traffic() && line.rests_until.is_none();
            self.hold(index, acquire);
        } else if line.held.is_some() {
            let group = line.group;
            self.cx.submit(PlaneCommand::Release(group));
            if let Some(line) = self.lines.get_mut(index) {
                line.held = None;
            }
        }
    }

    /// Keeps the packets of a line from leaving in clear text.
    fn hold(&mut self, index: usize, acquire: bool) {
        let Some(line) = self.lines.get_mut(index) else { return };
        // A hold that has raised its event must be made again to raise another.
        if line.held == Some(acquire) && !acquire {
            return;
        }
        line.held = Some(acquire);
        let hold = Hold {
            group: line.group,
            local_ts: line.connection.child.local_ts.clone(),
            remote_ts: line.connection.child.remote_ts.clone(),
            acquire,
        };
        self.cx.submit(PlaneCommand::Hold(hold));
    }

    /// An SPI that no SA of this endpoint has.
    pub(crate) fn new_spi(&mut self) -> IkeSpi {
        loop {
            let random = u64::from_be_bytes(self.cx.provider.array());
            let spi = IkeSpi(self.shard.mark(random).to_be_bytes());
            if !spi.is_zero() && !self.table.contains(spi) {
                return spi;
            }
        }
    }
}

/// Status.
impl Endpoint {
    /// How much is held.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        Holdings {
            sas: self.table.len(),
            table: self.table.index_entries(),
            spis: self.cx.spis.len(),
            children: self.cx.owners.len(),
            installing: self.cx.installing.len(),
            sessions: self.cx.sessions.len(),
        }
    }

    /// Where everything stands.
    #[must_use]
    pub fn status(&self) -> EndpointStatus {
        let mut connections: Vec<_> =
            self.lines.iter().map(|line| self.line_status(line)).collect();
        let answered = self.table.iter().filter_map(|(_, sa)| match sa {
            IkeSa::Established(sa) if sa.line().is_none() => {
                Some((Arc::clone(&sa.connection().name), sa.status()))
            }
            _ => None,
        });
        for (name, sa) in answered {
            connections.retain(|c| c.name != name || c.sa.is_some() || c.stage != Stage::Down);
            connections.push(ConnectionStatus {
                name,
                stage: Stage::Up,
                sa: Some(sa),
                ticket: None,
            });
        }
        EndpointStatus {
            connections,
            half_open: self.table.half_open(),
            counters: self.cx.counters,
        }
    }

    fn line_status(&self, line: &Line) -> ConnectionStatus {
        let name = Arc::clone(&line.connection.name);
        let (stage, sa, ticket) = match line.sa.and_then(|spi| self.table.get(spi)) {
            Some(IkeSa::Established(sa)) => (Stage::Up, Some(sa.status()), sa.ticket_status()),
            Some(sa) => (Stage::Connecting, self.young_status(line, sa), None),
            None => self.sleeping_status(line),
        };
        ConnectionStatus { name, stage, sa, ticket }
    }

    fn sleeping_status(&self, line: &Line) -> (Stage, Option<SaStatus>, Option<TicketStatus>) {
        let key = SessionKey(Arc::clone(&line.connection.name));
        if let Some(session) = self.cx.sessions.get(&key) {
            let len = session.ticket.octets().len();
            return (Stage::Suspended, None, Some(TicketStatus { len, expires: session.expires }));
        }
        let ending = self.table.iter().any(
            |(_, sa)| matches!(sa, IkeSa::Deleting(sa) if *sa.connection() == line.connection.name),
        );
        (if ending { Stage::Ending } else { Stage::Down }, None, None)
    }

    fn young_status(&self, line: &Line, sa: &IkeSa) -> Option<SaStatus> {
        let (path, suite) = sa.young()?;
        Some(SaStatus {
            id: crate::event::SaId(u64::from_be_bytes(line.sa?.0)),
            role: crate::event::Role::Initiator,
            local: path.local,
            remote: path.remote,
            local_id: line.connection.local_id.to_string(),
            remote_id: None,
            suite: suite.map(|suite| suite.to_string()),
            set_up: None,
            since: None,
            children: Vec::new(),
        })
    }
}
