//! The ways of an SA: which addresses its messages and packets go between, and
//! how they change. Without MOBIKE a peer behind a NAT is followed
//! (RFC 7296 section 2.23); with it, who began the SA decides (RFC 4555).

use std::net::{IpAddr, SocketAddr};

use esp::plane::Command;
use esp::spec::{Encapsulation, OuterPath, StreamId};

use super::{Established, KEEPALIVE, Side};
use crate::context::Context;
use crate::event::{Event, Path, Port, Role};
use crate::exchange::mobike::{self, Cookie, Reply, Told};
use crate::exchange::nat::{self, HASH_LEN, Hashes, Nat};
use crate::sa::protection::Unsendable;
use crate::sa::window::{Intent, PathTask, Task};
use crate::sa::{IkeSa, Outcome};
use crate::time::Now;
use crate::wire::{NotifyType, Payloads};

/// How often a NAT where there must be none is not believed
/// (RFC 4555 section 3.9).
pub(super) const DISBELIEF: u8 = 3;

/// Where an SA leads, and where it could.
pub(super) struct Ways {
    /// Where the packets of its children go.
    pub(super) packets: OuterPath,
    /// The peer's other addresses, if both sides know MOBIKE.
    pub(super) peers: Option<Vec<IpAddr>>,
    /// Our other addresses, as the peer was told.
    pub(super) told: Vec<IpAddr>,
    /// We have made the peer believe in a NAT in front of us.
    pretends: bool,
    /// The hash of our address, as the peer has seen it last.
    pub(super) seen_as: Option<[u8; HASH_LEN]>,
    /// The request in flight was sent by other ways, too.
    pub(super) is_probing: bool,
    /// See [`DISBELIEF`].
    pub(super) nats_left: u8,
    /// A TCP connection that is being opened, since UDP seems to be blocked, or
    /// is not wanted on another network.
    pub(super) dialled: Option<StreamId>,
    /// TCP was needed the last time.
    pub(super) needed_tcp: bool,
}

impl Ways {
    pub(super) fn new(
        packets: OuterPath,
        nat: Nat,
        peers: Option<Vec<IpAddr>>,
        told: Vec<IpAddr>,
    ) -> Self {
        Self {
            packets,
            peers,
            told,
            pretends: nat == Nat::None && packets.encapsulation == Encapsulation::Udp,
            seen_as: None,
            is_probing: false,
            nats_left: DISBELIEF,
            dialled: None,
            needed_tcp: stream_of(&packets).is_some(),
        }
    }

    /// Whether both sides know MOBIKE.
    pub(super) const fn are_free(&self) -> bool {
        self.peers.is_some()
    }

    /// The hash of our address has the SPIs in it, and they have changed.
    pub(super) const fn forget_mapping(&mut self) {
        self.seen_as = None;
    }
}

/// On both sides.
impl Established {
    pub(crate) const fn path(&self) -> &Path {
        &self.base.channel.path
    }

    /// The TCP connections that it needs: while it moves, packets may still go
    /// by one, and another is being opened.
    pub(crate) fn streams(&self) -> [Option<StreamId>; 2] {
        match self.path().stream() {
            Some(stream) => [Some(stream), self.ways.dialled],
            None => [self.ways.dialled, stream_of(&self.ways.packets)],
        }
    }

    /// An authentic and new request has come by this path. A peer behind a NAT
    /// may have another address now; with MOBIKE, it says so (RFC 4555 section 3.8).
    pub(super) fn heard_from(
        &mut self,
        cx: &mut Context,
        now: Now,
        path: Path,
    ) -> Result<(), Unsendable> {
        self.watch.hear(now.instant);
        let follows = !self.ways.are_free() || path.stream().is_some();
        if follows { self.follow(cx, now, path) } else { Ok(()) }
    }

    /// Packets of the child come from another address.
    pub(crate) fn mapping_changed(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        remote: SocketAddr,
    ) -> Outcome {
        let path = self.base.channel.path;
        let is_udp = path.stream().is_none();
        match if is_udp { self.follow(cx, now, Path { remote, ..path }) } else { Ok(()) } {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    /// Packets of the child come over another TCP connection.
    pub(crate) fn stream_changed(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        path: OuterPath,
    ) -> Outcome {
        let OuterPath { local, remote, encapsulation } = path;
        let followed = match encapsulation {
            Encapsulation::Tcp(stream) => {
                self.follow(cx, now, Path { local, remote, port: Port::Tcp(stream) })
            }
            Encapsulation::Plain | Encapsulation::Udp => Ok(()),
        };
        match followed {
            Ok(()) => Outcome::keep(IkeSa::Established(self)),
            Err(Unsendable) => self.fault(cx),
        }
    }

    /// A TCP connection of ours is open: another one by which we wanted to move,
    /// or our own again. The peer learns so by a new request, which is more than
    /// an old one that it may have answered already (RFC 9329 section 6.1).
    pub(crate) fn opened(mut self: Box<Self>, cx: &mut Context, now: Now, path: Path) -> Outcome {
        if path.stream() == self.ways.dialled {
            self.move_to_stream(cx, now, path);
        } else if path.stream() == self.path().stream() {
            self.base.channel.window.push(Intent::Liveness);
            self.go_by(cx, now, path);
        }
        self.go_on(cx, now)
    }

    fn follow(&mut self, cx: &mut Context, now: Now, path: Path) -> Result<(), Unsendable> {
        let former = &self.base.channel.path;
        let follows = match (former.stream(), path.stream()) {
            // A side that is itself behind a NAT would follow only its own mapping.
            (None, None) => self.base.nat == (Nat::Detected { ours: false }) && path != *former,
            // Who began the first SA opens them, and says which (RFC 9329 section 6.1).
            (Some(former), Some(new)) => self.role() == Role::Responder && former != new,
            // It takes MOBIKE to say so (section 7.1).
            (Some(_), None) | (None, Some(_)) => false,
        };
        if follows {
            self.go_by(cx, now, path);
            // What has not been taken along is over, and the peer is told so.
            self.pump(cx, now)?;
        }
        Ok(())
    }

    fn go_by(&mut self, cx: &mut Context, now: Now, path: Path) {
        if path.stream().is_some() {
            self.base.channel.rejoin(cx, now.instant, path);
        } else {
            self.base.channel.path = path;
        }
        self.lead(cx);
        self.tell_of_move(cx);
    }

    /// Packets go where messages go.
    pub(super) fn lead(&mut self, cx: &mut Context) {
        let path = self.base.channel.path;
        let encapsulation = match path.stream() {
            Some(stream) => Encapsulation::Tcp(stream),
            None => self.base.nat.encapsulation(self.pretends(cx, &path)),
        };
        let packets = OuterPath { local: path.local, remote: path.remote, encapsulation };
        if packets == self.ways.packets {
            return;
        }
        self.ways.packets = packets;
        self.end_misfits(cx);
        for sa in self.children.iter().filter(|sa| sa.child.terms.fit(&packets)) {
            cx.submit(Command::Move(sa.child.id, packets));
        }
    }

    pub(super) fn tell_of_move(&self, cx: &mut Context) {
        let Path { local, remote, .. } = self.base.channel.path;
        let (connection, sa, tcp) = (self.name(), self.id(), self.path().stream().is_some());
        cx.emit(Event::Moved { connection, sa, local, remote, tcp });
    }

    fn pretends(&self, cx: &Context, path: &Path) -> bool {
        self.ways.pretends || nat::pretends(cx, &self.base.connection, path)
    }

    /// What the peer needs to find NATs on the way of the SA. One that does not
    /// know about NATs is told nothing.
    pub(super) fn hashes(&self, cx: &mut Context, path: &Path) -> Option<Hashes> {
        let pretend = self.pretends(cx, path);
        let spis = self.base.channel.protection.spis();
        let is_wanted = self.base.nat != Nat::NotSupported;
        is_wanted.then(|| Hashes::new(&mut cx.provider, spis, path, pretend))
    }

    /// What the peer's notifies tell of the way that they have come by.
    pub(super) fn detect(&mut self, now: Now, payloads: &Payloads<'_>, path: &Path) {
        let nat = Nat::detect(payloads, self.base.channel.protection.spis(), path);
        if nat == Nat::NotSupported {
            return;
        }
        self.base.nat = nat;
        // A NAT keeps TCP longer (RFC 9329 section 6.6).
        let is_behind_nat = nat == (Nat::Detected { ours: true }) && path.stream().is_none();
        let at = self.keepalive_at.unwrap_or(now.instant + KEEPALIVE);
        self.keepalive_at = is_behind_nat.then_some(at);
    }

    /// The peer may send by another way than before, and cannot choose where we
    /// send to without being there: whether it is.
    pub(super) fn check_path(&mut self, cx: &mut Context, now: Now) -> Result<(), Unsendable> {
        let path = self.base.channel.path;
        let cookie = Cookie::new(&mut cx.provider);
        let task = Task::CheckPath(Box::new(PathTask { path, cookie }));
        let tries = cx.retransmission.tries;
        self.base.channel.ask(cx, now.instant, tries, task, |task, builder| {
            if let Task::CheckPath(task) = task {
                task.cookie.push(builder);
            }
        })
    }

    /// The answer to [`Self::check_path`].
    pub(super) fn receive_checked(
        mut self: Box<Self>,
        cx: &mut Context,
        now: Now,
        task: &PathTask,
        payloads: &Payloads<'_>,
    ) -> Outcome {
        if !task.cookie.is_in(payloads) {
            return self.fault(cx);
        }
        // Another way since then is checked by itself.
        if task.path == self.base.channel.path {
            self.lead(cx);
        }
        self.go_on(cx, now)
    }
}

/// As who is told.
impl Established {
    /// What a request of the peer says of addresses, if it may say so.
    pub(super) fn told_of_addresses<'d>(&self, payloads: &Payloads<'d>) -> Option<Told<'d>> {
        self.ways.are_free().then(|| Told::of(payloads))
    }

    /// Takes in what the peer says of addresses: the way to go from now on, if
    /// it is another one, and what to answer.
    pub(super) fn hear_of_addresses<'d>(
        &mut self,
        cx: &mut Context,
        now: Now,
        path: Path,
        (told, payloads): (Option<Told<'d>>, &Payloads<'d>),
    ) -> (Option<Path>, Reply<'d>) {
        let Some(told) = told else { return (None, Reply::default()) };
        let hashes = if told.detects_nat { self.hashes(cx, &path) } else { None };
        // A NAT is no trouble for TCP (RFC 9329 section 7.1).
        let minds_nats = told.is_about_addresses() && path.stream().is_none();
        if minds_nats && mobike::is_rewritten(payloads, &path) {
            let refusal = NotifyType::UNEXPECTED_NAT_DETECTED;
            return (None, told.reply(Some(refusal), hashes));
        }
        let abandons = self.hear_of_others(&told, path);
        let is_led = told.update && matches!(self.base.side, Side::Peer { .. });
        if is_led && !self.base.connection.serves(&path) {
            let refusal = NotifyType::UNACCEPTABLE_ADDRESSES;
            return (None, told.reply(Some(refusal), hashes));
        }
        if is_led && told.detects_nat {
            self.detect(now, payloads, &path);
        }
        ((is_led || abandons).then_some(path), told.reply(None, hashes))
    }

    /// The peer's other addresses. Whether it has given up the one that we use,
    /// and it is ours to use another.
    fn hear_of_others(&mut self, told: &Told<'_>, path: Path) -> bool {
        let Some(additional) = &told.additional else { return false };
        let used = self.base.channel.path.remote.ip();
        self.ways.peers = Some(additional.clone());
        let is_gone = used != path.remote.ip() && !additional.contains(&used);
        is_gone && self.may_move()
    }

    /// Goes the way that the peer has told us by a request that came by it.
    pub(super) fn go(&mut self, cx: &mut Context, now: Now, path: Path) {
        if self.may_move() {
            return self.move_to(cx, now, path);
        }
        if path != self.base.channel.path {
            self.base.channel.reroute(cx, now.instant, path);
            self.tell_of_move(cx);
        }
        // Where the peer is known to be, packets may go at once (section 3.7);
        // nobody opens a connection from elsewhere (RFC 9329 section 7.1).
        if path.stream().is_some() || path.remote == self.ways.packets.remote {
            self.lead(cx);
        } else {
            self.base.channel.window.push_first(Intent::CheckPath);
        }
    }
}

/// The TCP connection by which packets go.
const fn stream_of(packets: &OuterPath) -> Option<StreamId> {
    match packets.encapsulation {
        Encapsulation::Tcp(stream) => Some(stream),
        Encapsulation::Plain | Encapsulation::Udp => None,
    }
}
