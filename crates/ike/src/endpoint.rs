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
//!   what the plane tells to [`handle_plane`](Endpoint::handle_plane), what
//!   becomes of TCP connections to [`handle_stream`](Endpoint::handle_stream), the
//!   addresses of a name to [`handle_lookup`](Endpoint::handle_lookup);
//! - when the machine has other addresses or routes,
//!   [`handle_addresses`](Endpoint::handle_addresses) is told;
//! - after each of these, [`poll_output`](Endpoint::poll_output) is called until
//!   it gives nothing.
//!
//! Every plane command is completed by one
//! [`PlaneEvent::Completed`](esp::plane::PlaneEvent::Completed), every control
//! command by one [`Output::Reply`], every [`Output::Lookup`] by one call.

mod command;
mod follow;
mod keep;
mod line;
mod reconfigure;
mod redirect;
mod roam;
mod show;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Provider;
use esp::plane::{Capabilities, Limit, PlaneEvent, Traffic};
use esp::spec::{ChildId, StreamId};

use crate::accept;
use crate::config::Config;
use crate::context::Context;
use crate::cookie::Cookies;
use crate::crash::CrashTokens;
use crate::event::{Command, Event, LookupId, Output, Path, RequestId, SessionEnd, StreamEvent};
use crate::fault::{Discard, Refusal};
use crate::pool::{Lease, Pools};
use crate::sa::datagram::Datagram;
use crate::sa::{IkeSa, Outcome, Why};
use crate::session::{SessionKey, TicketIssuer};
use crate::table::Table;
use crate::time::{Instant, Now};
use crate::wire::{Header, HeaderError};

use line::Line;
pub use reconfigure::Changes;
pub use redirect::Redirected;

/// An IKEv2 peer: initiator and responder of all its connections.
pub struct Endpoint {
    pub(crate) cx: Context,
    pub(crate) table: Table,
    pub(crate) cookies: Cookies,
    lines: Vec<Line>,
    port: u16,
}

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
        let crash_tokens = CrashTokens::new(config.crash_key, now.instant);
        let pools = Pools::new(&config.pools);
        let mut cx = Context::new(
            provider,
            (issuer, crash_tokens),
            (retransmission, limits, shard),
            capabilities,
            config.nat_port,
            (Arc::clone(&connections), pools),
        );
        let line = |connection| Line::new(Arc::clone(connection), cx.new_groups());
        let lines = connections.iter().map(line).collect();
        Self { cx, table: Table::default(), cookies, lines, port: config.port }
    }

    /// A datagram has come by `path`. It is decrypted in place. Why it was
    /// dropped, if it was.
    pub fn handle_datagram(
        &mut self,
        now: Now,
        path: Path,
        datagram: &mut [u8],
    ) -> Option<Discard> {
        self.cx.dropped = None;
        self.handle(now, path, datagram);
        self.cx.dropped
    }

    fn handle(&mut self, now: Now, path: Path, datagram: &mut [u8]) {
        let header = match Header::parse(datagram) {
            Ok((header, _)) => header,
            Err(error) => return self.refuse_header(path, &error),
        };
        let spi = header.recipient_spi();
        if spi.is_zero() {
            return accept::initial(self, now, path, &header, datagram);
        }
        if !self.table.contains(spi) {
            return accept::stray(self, now, path, &header, datagram);
        }
        let mut datagram = Datagram::new(datagram, header, path, now.instant);
        self.change(now, spi, |sa, cx| sa.receive(cx, now, &mut datagram));
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

    /// Time has passed. `meter` is [`Dataplane::traffic`](esp::plane::Dataplane::traffic):
    /// a peer whose packets come in lives.
    pub fn handle_timeout(&mut self, now: Now, meter: impl Fn(ChildId) -> Option<Traffic>) {
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
            self.return_if_due(now, index);
        }
        self.cx.redial(now.instant);
        while let Some((due, _, spi)) = self.table.next_due()
            && due <= now.instant
        {
            self.change(now, spi, |sa, cx| sa.timeout(cx, now, &meter));
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
        let back = self.next_return().map(|at| (at, Why::Return));
        let dial = self.cx.streams.due().map(|at| (at, Why::Dial));
        [sa, Some(key), session, rest, back, dial].into_iter().flatten().min()
    }

    /// Somebody wants something.
    pub fn handle_command(&mut self, now: Now, id: RequestId, command: Command) {
        let name = match &command {
            Command::Up(name)
            | Command::Resume(name)
            | Command::Down(name)
            | Command::Suspend(name)
            | Command::Rekey(name, _) => name,
        };
        let Some(index) = self.line_of(name) else {
            return self.cx.reply(vec![id], Err(Refusal::UnknownConnection));
        };
        match command {
            Command::Up(_) => self.up(now, index, vec![id]),
            Command::Resume(_) => self.resume(now, index, id),
            Command::Down(_) => self.down(now, index, id),
            Command::Suspend(_) => self.suspend(now, index, id),
            Command::Rekey(_, keys) => self.rekey(now, index, keys, id),
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
            PlaneEvent::Acquire(group, packet) => self.acquire(now, group, packet),
            PlaneEvent::Expired(child, Limit::Hard) => {
                let Some(&spi) = self.cx.owners.get(&child) else { return };
                self.change_established(now, spi, |sa, cx| sa.child_expired(cx, now, child));
            }
            PlaneEvent::Expired(child, Limit::Soft) => {
                let Some(&spi) = self.cx.owners.get(&child) else { return };
                self.change_established(now, spi, |sa, cx| sa.rekey_child(cx, now, child));
            }
            PlaneEvent::MappingChanged(child, remote) => {
                let Some(&spi) = self.cx.owners.get(&child) else { return };
                self.change_established(now, spi, |sa, cx| sa.mapping_changed(cx, now, remote));
            }
            PlaneEvent::StreamChanged(child, path) => {
                let Some(&spi) = self.cx.owners.get(&child) else { return };
                self.change_established(now, spi, |sa, cx| sa.stream_changed(cx, now, path));
            }
        }
    }

    /// One of our TCP connections has opened or closed. What becomes of those
    /// of peers need not be told: their SAs wait for another
    /// (RFC 9329 section 6.1).
    pub fn handle_stream(&mut self, now: Now, id: StreamId, event: StreamEvent) {
        match event {
            StreamEvent::Opened { local, remote } => {
                let Some(path) = self.cx.opened(now.instant, id, (local, remote)) else { return };
                for spi in self.table.of_stream(id) {
                    self.change(now, spi, |sa, cx| sa.opened(cx, now, path));
                }
            }
            StreamEvent::Closed => self.cx.closed(now.instant, id),
        }
    }

    /// A lookup has ended: these are the addresses, the preferred first; none, if
    /// there are none or it has failed.
    pub fn handle_lookup(
        &mut self,
        now: Now,
        id: LookupId,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        let Some((spi, has_addresses)) = self.cx.looked_up(id, addresses) else { return };
        self.change(now, spi, |sa, cx| match sa {
            IkeSa::Resolving(sa) => sa.looked_up(cx, id, has_addresses),
            other => Outcome::keep(other),
        });
    }

    /// The next thing to do, in the order in which it must be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.settle_streams();
        self.cx.outputs.pop_front()
    }

    /// When all has been said, it is known which TCP connections are in use.
    fn settle_streams(&mut self) {
        while self.cx.outputs.is_empty()
            && let Some((stream, is_used)) = self.table.next_unsettled()
        {
            self.cx.settle_stream(stream, is_used);
        }
    }

    /// Takes up leases of an earlier life, before anything else is done. Those
    /// that do not fit the configuration any more are forgotten.
    pub fn restore_leases<'a>(&mut self, leases: impl IntoIterator<Item = &'a Lease>) {
        leases.into_iter().for_each(|lease| self.cx.pools.restore(lease));
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
        self.keep_nothing();
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
        let is_deleting = |sa: &IkeSa| match sa {
            IkeSa::Retiring(sa) => matches!(sa.farewell(), Some(IkeSa::Deleting(_))),
            other => matches!(other, IkeSa::Deleting(_) | IkeSa::Withdrawing(_)),
        };
        self.table.iter().any(|(_, sa)| is_deleting(sa))
    }

    /// Replaces the ticket key twice: no ticket handed out so far is good any more.
    pub fn void_tickets(&mut self, now: Now) {
        self.cx.issuer.rotate(&mut self.cx.provider, now);
        self.cx.issuer.rotate(&mut self.cx.provider, now);
    }
}
