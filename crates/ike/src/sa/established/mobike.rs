//! MOBIKE (RFC 4555), as who decides: the side that began the first SA chooses
//! the addresses (section 3.5).

use std::net::{IpAddr, SocketAddr};

use esp::spec::{Encapsulation, OuterPath};

use super::ways::DISBELIEF;
use super::{Established, Side};
use crate::config::TcpUse;
use crate::context::Context;
use crate::event::{Gone, Path, Port};
use crate::exchange::mobike::{self, Cookie, MAX_ADDRESSES};
use crate::exchange::nat::{HASH_LEN, Nat};
use crate::sa::Outcome;
use crate::sa::dialing::Transport;
use crate::sa::protection::Unsendable;
use crate::sa::window::{Intent, PathTask, Task, Unanswered};
use crate::time::Now;
use crate::wire::{NotifyType, Payloads};

/// How often a request is sent by the way of the SA before others are tried, too.
const TRIES_OF_ONE_WAY: u32 = 3;

/// Ways that are tried at once.
const MAX_WAYS: usize = 16;

impl Established {
    /// Whether we may choose other addresses.
    pub(super) const fn may_move(&self) -> bool {
        self.ways.are_free() && matches!(self.base.side, Side::Line { .. })
    }

    /// The machine's addresses or routes have changed. An SA that cannot be taken
    /// along is resumed or set up anew, at once.
    pub(crate) fn roam(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        source_towards: &dyn Fn(IpAddr) -> Option<IpAddr>,
    ) -> Outcome {
        let Some(ends) = self.way_out(cx, source_towards) else { return self.go_on(cx, now) };
        let (used, _) = self.ends();
        if ends == self.ends() {
            self.stay(cx, now);
        } else if self.may_move() {
            self.move_between(cx, now, ends);
        } else if cx.addresses.contains(&used) {
            // It may still be the better address.
            self.base.channel.window.push(Intent::Liveness);
        } else {
            return self.begin_anew(cx, now, Gone::Moved);
        }
        self.go_on(cx, now)
    }

    /// The two addresses that messages go between.
    const fn ends(&self) -> Ends {
        let Path { local, remote, .. } = self.base.channel.path;
        (local.ip(), remote.ip())
    }

    /// Between which addresses messages should go now; `None` if no way leads to
    /// the peer.
    fn way_out(
        &self,
        cx: &Context,
        source_towards: &dyn Fn(IpAddr) -> Option<IpAddr>,
    ) -> Option<Ends> {
        let ends @ (local, remote) = self.ends();
        let own: Vec<_> = cx.own_addresses(&self.base.connection).collect();
        let is_free = self.base.connection.local_addrs.is_empty();
        // Where the system's choice is not wanted, any other of ours will do.
        let source = |remote: IpAddr| {
            let chosen = source_towards(remote)?;
            let others = own.iter().find(|own| own.is_ipv4() == remote.is_ipv4()).copied();
            if is_free || own.contains(&chosen) { Some(chosen) } else { others }
        };
        let may_stay = !is_free && own.contains(&local);
        if may_stay && source_towards(remote).is_some() {
            return Some(ends);
        }
        self.remotes().find_map(|remote| Some((source(remote)?, remote)))
    }

    /// By UDP between these two addresses.
    fn way(&self, cx: &Context, (local, remote): Ends) -> Path {
        let Path { local: ours, remote: theirs, port } = self.base.channel.path;
        let (ports, port) = match port {
            Port::Ike | Port::NatTraversal => ((ours.port(), theirs.port()), port),
            Port::Tcp(_) => {
                ((cx.nat_port, self.base.connection.remote_nat_port), Port::NatTraversal)
            }
        };
        Path {
            local: SocketAddr::new(local, ports.0),
            remote: SocketAddr::new(remote, ports.1),
            port,
        }
    }

    /// Where the peer may be: the address in use first.
    fn remotes(&self) -> impl Iterator<Item = IpAddr> {
        let (_, used) = self.ends();
        let peers = self.ways.peers.iter().flatten();
        // Where we were redirected to, the configured addresses are another's.
        let is_configured = self.base.gateway.is_none();
        let configured = self.base.remotes.iter().filter(move |_| is_configured);
        let others = configured.chain(peers).copied();
        std::iter::once(used).chain(others.filter(move |other| *other != used))
    }

    /// The network is back, and the way is the same.
    fn stay(&mut self, cx: &mut Context, now: Now) {
        let path = self.base.channel.path;
        if self.may_move() && self.ways.told != cx.other_addresses(&self.base.connection, &path) {
            self.base.channel.window.push(Intent::TellAddresses);
        }
        let is_unheard =
            self.base.channel.window.in_flight.as_ref().is_some_and(|it| it.flight.sent() > 1);
        if is_unheard && path.stream().is_none() {
            self.base.channel.reroute(cx, now.instant, path);
        }
    }

    /// Goes between other addresses: by UDP first, whatever the way was before
    /// (RFC 9329 section 7.1).
    fn move_between(&mut self, cx: &mut Context, now: Now, ends: Ends) {
        let way = self.way(cx, ends);
        self.ways.dialled = None;
        match self.base.connection.tcp {
            TcpUse::Always => self.dial(cx, way),
            TcpUse::Auto | TcpUse::Never => self.move_to(cx, now, way),
        }
    }

    /// Opens a TCP connection between the addresses of `way`.
    fn dial(&mut self, cx: &mut Context, way: Path) {
        let remote = SocketAddr::new(way.remote.ip(), self.base.connection.remote_tcp_port);
        self.ways.dialled = Some(cx.dial(way.local, remote));
    }

    /// The TCP connection is open, and UDP was not answered. What was asked goes
    /// by it now, and says nothing of it yet: another request will
    /// (RFC 9329 section 7.1).
    pub(super) fn move_to_stream(&mut self, cx: &mut Context, now: Now, path: Path) {
        let was_udp = self.path().stream().is_none();
        self.ways.dialled = None;
        self.ways.needed_tcp = true;
        self.move_to(cx, now, path);
        // Should an answer come by UDP after all, that is the better way.
        self.ways.is_probing = was_udp;
    }

    pub(super) fn move_to(&mut self, cx: &mut Context, now: Now, path: Path) {
        self.ways.is_probing = false;
        self.ways.nats_left = DISBELIEF;
        self.base.channel.reroute(cx, now.instant, path);
        self.base.channel.window.push_first(Intent::UpdateAddresses);
        if self.is_known_to_lead(cx, &path) {
            self.lead(cx);
        }
        self.tell_of_move(cx);
    }

    /// Whether packets should take a way before it is answered.
    fn is_known_to_lead(&self, cx: &Context, path: &Path) -> bool {
        let OuterPath { local, remote, encapsulation } = self.ways.packets;
        match encapsulation {
            _ if path.stream().is_some() => true,
            // The connection may still carry them, and UDP may be blocked.
            Encapsulation::Tcp(_) => !cx.addresses.contains(&local.ip()),
            // Of an address of the peer that is new to us we know nothing yet.
            Encapsulation::Udp | Encapsulation::Plain => path.remote == remote,
        }
    }

    /// Tells the peer which way the SA goes.
    pub(super) fn ask_to_move(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let path = self.base.channel.path;
        let hashes = self.hashes(cx, &path);
        let cookie = Cookie::new(&mut cx.provider);
        let task = Task::UpdateAddresses(Box::new(PathTask { path, cookie }));
        let others = cx.other_addresses(&self.base.connection, &path);
        let (tries, no_nats) = (cx.retransmission.tries, self.no_nats());
        let asked = self.base.channel.ask(cx, now.instant, tries, task, |task, builder| {
            builder.notify(NotifyType::UPDATE_SA_ADDRESSES, &[]);
            if let Some(hashes) = &hashes {
                hashes.push(builder);
            }
            mobike::forbid_nats(builder, no_nats.as_ref());
            mobike::push_all(builder, &others);
            if let Task::UpdateAddresses(task) = task {
                task.cookie.push(builder);
            }
        });
        self.ways.told = others;
        asked
    }

    /// The answer to [`Self::ask_to_move`].
    pub(super) fn receive_moved(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        task: &PathTask,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        if !task.cookie.is_in(payloads) {
            return self.fault(cx);
        }
        if task.path != self.base.channel.path {
            // Another request will follow (RFC 4555 section 3.5).
            return self.go_on(cx, now);
        }
        let is_refused = |kind| payloads.notify(kind).is_some();
        if is_refused(NotifyType::UNACCEPTABLE_ADDRESSES) {
            return self.begin_anew(cx, now, Gone::Moved);
        }
        if is_refused(NotifyType::UNEXPECTED_NAT_DETECTED) {
            let Some(left) = self.ways.nats_left.checked_sub(1) else {
                return self.begin_anew(cx, now, Gone::Moved);
            };
            self.ways.nats_left = left;
            self.base.channel.window.push_first(Intent::UpdateAddresses);
            return self.go_on(cx, now);
        }
        self.detect(now, payloads, &task.path);
        self.ways.seen_as = seen_as(payloads);
        self.lead(cx);
        self.go_on(cx, now)
    }

    /// The way of a request of addresses without NAT traversal: there must be
    /// no NAT on it (RFC 4555 section 3.9). TCP minds none.
    fn no_nats(&self) -> Option<Path> {
        let minds = self.base.nat == Nat::NotSupported && self.path().stream().is_none();
        minds.then_some(self.base.channel.path)
    }

    /// Tells the peer our other addresses.
    pub(super) fn tell_addresses(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let others = cx.other_addresses(&self.base.connection, &self.base.channel.path);
        let (tries, no_nats) = (cx.retransmission.tries, self.no_nats());
        let task = Task::TellAddresses;
        let asked = self.base.channel.ask(cx, now.instant, tries, task, |_, builder| {
            mobike::push_all(builder, &others);
            mobike::forbid_nats(builder, no_nats.as_ref());
        });
        self.ways.told = others;
        asked
    }

    /// How to ask for a sign of life.
    pub(super) fn liveness_check(&self) -> Intent {
        let is_behind_nat = matches!(self.base.nat, Nat::Detected { ours: true });
        // A NAT keeps a TCP connection where it is, or ends it.
        let may_shift = is_behind_nat && self.path().stream().is_none();
        if may_shift && self.may_move() { Intent::CheckMapping } else { Intent::Liveness }
    }

    pub(super) fn check_mapping(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let hashes = self.hashes(cx, &self.base.channel.path.clone());
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, Task::CheckMapping, |_, builder| {
            if let Some(hashes) = &hashes {
                hashes.push(builder);
            }
        })
    }

    /// Whether the NAT shows the peer another address of ours than before. What
    /// it was before is known since the last update only: the first exchange
    /// may have gone by another port.
    pub(super) fn receive_mapping(&mut self, payloads: &Payloads<'_>) {
        let seen = seen_as(payloads);
        if seen.is_some() && seen != self.ways.seen_as {
            self.base.channel.window.push_first(Intent::UpdateAddresses);
        }
    }

    /// Sends the request in flight again if it is time; by other ways, too, when
    /// the one of the SA seems to be broken (RFC 4555 section 3.10), TCP among
    /// them (RFC 9329 section 7.1).
    pub(super) fn retransmit(&mut self, cx: &mut Context, now: Now) -> Result<(), Unanswered> {
        let sent = |sa: &Self| sa.base.channel.window.in_flight.as_ref().map(|it| it.flight.sent());
        let before = sent(self);
        self.base.channel.retransmit(cx, now.instant)?;
        let after = sent(self);
        let Some(sent) = after.filter(|_| after != before && self.may_move()) else {
            return Ok(());
        };
        if sent >= TRIES_OF_ONE_WAY {
            self.probe(cx);
        }
        if let Transport::Udp(Some(unheard)) = self.transport()
            && sent > unheard
        {
            self.dial_beside(cx);
        }
        Ok(())
    }

    /// By what a move is tried.
    fn transport(&self) -> Transport {
        Transport::first(self.base.connection.tcp, self.ways.needed_tcp)
    }

    /// UDP was not answered: TCP is tried beside it.
    fn dial_beside(&mut self, cx: &mut Context) {
        let path = self.base.channel.path;
        if path.stream().is_none() && self.ways.dialled.is_none() {
            self.dial(cx, path);
        }
    }

    fn probe(&mut self, cx: &mut Context) {
        let ways = self.other_ways(cx);
        let Some(in_flight) = &self.base.channel.window.in_flight else { return };
        for path in ways {
            self.ways.is_probing = true;
            cx.transmit_all(path, in_flight.flight.message());
        }
    }

    /// All pairs of addresses that may lead to the peer by UDP, but the one in
    /// use.
    fn other_ways(&self, cx: &Context) -> Vec<Path> {
        if self.base.connection.tcp == TcpUse::Always {
            return Vec::new();
        }
        let own = cx.own_addresses(&self.base.connection).filter(mobike::is_reachable);
        let own: Vec<_> = own.take(MAX_ADDRESSES).collect();
        let to = |remote: IpAddr| {
            let fits = own.iter().filter(move |local| local.is_ipv4() == remote.is_ipv4());
            fits.map(move |local| self.way(cx, (*local, remote)))
        };
        let others = self.remotes().flat_map(to).filter(|path| *path != self.base.channel.path);
        others.take(MAX_WAYS).collect()
    }

    /// A response has come by `path`. If our request was sent by several ways,
    /// this is one that works.
    pub(super) fn answered_by(&mut self, cx: &mut Context, now: Now, path: Path) {
        if path.stream().is_none() {
            (self.ways.dialled, self.ways.needed_tcp) = (None, false);
        }
        let is_probing = std::mem::take(&mut self.ways.is_probing);
        if is_probing && self.other_ways(cx).contains(&path) {
            self.move_to(cx, now, path);
        }
    }
}

/// Our address and the peer's.
type Ends = (IpAddr, IpAddr);

/// How the peer has seen our address.
fn seen_as(payloads: &Payloads<'_>) -> Option<[u8; HASH_LEN]> {
    payloads.notify(NotifyType::NAT_DETECTION_DESTINATION_IP)?.data.try_into().ok()
}
