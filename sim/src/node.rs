//! A machine: an endpoint, its plane, its clocks, and what it has told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use esp::spec::StreamId;
use ike::Endpoint;
use ike::event::{Command, Event, LookupId, Output, Path, Port, RequestId, StreamCommand};
use ike::fault::Refusal;
use ike::inner::{Assignment, Domain};
use ike::pool::{Lease, LeaseChange};
use ike::time::Now;

use crate::clock::{Clock, Time};
use crate::plane::ModelPlane;
use crate::wire::Content;

/// Names a machine of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(pub usize);

/// A machine.
pub struct Node {
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// Its plane.
    pub plane: ModelPlane,
    /// Its clocks.
    pub clock: Clock,
    /// Its address.
    pub address: IpAddr,
    /// Its other addresses.
    pub others: Vec<IpAddr>,
    /// The NAT in front of it, by its place in the world.
    pub behind: Option<usize>,
    /// Whether it can neither send nor receive.
    pub offline: bool,
    /// What its endpoint has told, in order.
    pub events: Vec<(Time, Event)>,
    /// Answers to commands.
    pub replies: BTreeMap<RequestId, Result<(), Refusal>>,
    /// Inner packets that came out of the tunnel.
    pub delivered: Vec<Vec<u8>>,
    /// What its connections were given.
    pub inner: BTreeMap<Arc<str>, Arc<Assignment>>,
    /// TCP connections of peers that it was told to keep.
    pub kept: BTreeSet<StreamId>,
    /// What it keeps over a restart.
    pub leases: BTreeMap<(Arc<str>, IpAddr), Lease>,
    next_request: u64,
}

/// What a machine puts on the wire.
pub(crate) enum Outbound {
    /// A datagram.
    Datagram { from: SocketAddr, to: SocketAddr, content: Content },
    /// A message by a TCP connection.
    Message { stream: StreamId, path: Path, content: Content },
    /// A change to a TCP connection.
    Stream(StreamId, StreamCommand),
    /// A question to the name server.
    Lookup(LookupId, Domain),
}

impl Node {
    /// A machine that is switched on now.
    #[must_use]
    pub fn new(address: IpAddr, endpoint: Endpoint, plane: ModelPlane, clock: Clock) -> Self {
        Self {
            endpoint,
            plane,
            clock,
            address,
            others: Vec::new(),
            behind: None,
            offline: false,
            events: Vec::new(),
            replies: BTreeMap::new(),
            delivered: Vec::new(),
            inner: BTreeMap::new(),
            kept: BTreeSet::new(),
            leases: BTreeMap::new(),
            next_request: 0,
        }
    }

    pub(crate) fn command(&mut self, now: Now, command: Command) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.endpoint.handle_command(now, id, command);
        id
    }

    pub(crate) fn path(&self, to: SocketAddr, from: SocketAddr) -> Option<Path> {
        let port = match to.port() {
            500 => Port::Ike,
            4500 => Port::NatTraversal,
            _ => return None,
        };
        Some(Path { local: to, remote: from, port })
    }

    /// Takes all outputs of the endpoint and carries out what concerns this
    /// machine alone. Returns what is to be sent.
    pub(crate) fn drain(&mut self, time: Time) -> Vec<Outbound> {
        use esp::plane::Dataplane;
        let mut sent = Vec::new();
        self.plane.set_time(time);
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    sent.extend(self.outbound(transmit.path, Content::Ike(transmit.datagram)));
                }
                Output::Keepalive(path) => sent.extend(self.outbound(path, Content::Keepalive)),
                Output::Stream(id, command) => sent.push(Outbound::Stream(id, command)),
                Output::Lookup(id, name) => sent.push(Outbound::Lookup(id, name)),
                Output::Plane(id, command) => self.plane.submit(id, command),
                Output::Reply(id, result) => {
                    let earlier = self.replies.insert(id, result);
                    assert!(earlier.is_none(), "{id:?} is answered twice");
                }
                Output::Inner(name, Some(given)) => {
                    self.inner.insert(name, given);
                }
                Output::Inner(name, None) => {
                    let before = self.inner.remove(&name);
                    assert!(before.is_some(), "{name} had nothing to lose");
                }
                Output::Lease(LeaseChange::Put(lease)) => {
                    self.leases.insert((Arc::clone(&lease.pool), lease.address), lease);
                }
                Output::Lease(LeaseChange::Drop { pool, address }) => {
                    let before = self.leases.remove(&(pool, address));
                    assert!(before.is_some(), "{address} was never leased");
                }
                Output::Event(event) => self.events.push((time, event)),
            }
        }
        sent
    }

    /// `None` when the address that it is to be sent from is no longer ours.
    pub(crate) fn outbound(&self, path: Path, content: Content) -> Option<Outbound> {
        if let Some(stream) = path.stream() {
            return (!self.offline).then_some(Outbound::Message { stream, path, content });
        }
        let local = Some(path.local.ip()).filter(|local| !local.is_unspecified());
        let local = local.or_else(|| self.source_towards(path.remote.ip()))?;
        if self.offline || !self.has(local) {
            return None;
        }
        let from = SocketAddr::new(local, path.local.port());
        Some(Outbound::Datagram { from, to: path.remote, content })
    }

    /// All its addresses, the best first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.address).chain(self.others.iter().copied())
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own == address)
    }

    /// From which address it sends to another one: the best of that family.
    #[must_use]
    pub fn source_towards(&self, remote: IpAddr) -> Option<IpAddr> {
        self.addresses().find(|own| own.is_ipv4() == remote.is_ipv4())
    }

    /// Tells the endpoint which addresses there are.
    pub(crate) fn tell_addresses(&mut self, now: Now) {
        let addresses: Vec<_> = if self.offline { Vec::new() } else { self.addresses().collect() };
        let source = |remote: IpAddr| {
            addresses.iter().find(|own| own.is_ipv4() == remote.is_ipv4()).copied()
        };
        self.endpoint.handle_addresses(now, addresses.clone(), source);
    }
}
