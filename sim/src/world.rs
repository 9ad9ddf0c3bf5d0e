//! Machines, what lies between them, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use esp::plane::Dataplane;
use esp::spec::{ChildId, Encapsulation, OuterPath, StreamId};
use esp::stream::{self, Decoder, LENGTH_LEN};
use ike::event::{Command, LookupId, Path, Port, RequestId, StreamCommand, StreamEvent};
use ike::inner::Domain;

use crate::chance::Chance;
use crate::clock::Time;
use crate::link::Link;
use crate::names::Names;
use crate::nat::Nat;
use crate::node::{Node, NodeId, Outbound};
use crate::plane::Outgoing;
use crate::tcp::{self, Connection, End, Segment, Tcp};
use crate::wire::{Arrival, Content, Datagram, Sent};

/// Decides what arrives of a datagram, in place of the link.
pub type Meddler = Box<dyn FnMut(&Sent) -> Vec<Arrival>>;

/// What comes to a machine.
enum Arriving {
    Datagram(Datagram),
    /// To this end of this connection.
    Segment(u64, usize, Segment),
    /// A connection is gone that a machine calls so.
    Closed(NodeId, StreamId),
    /// The addresses of a name that a machine has asked for.
    Addresses(NodeId, LookupId, Vec<IpAddr>),
}

/// More steps than this without time going on: somebody wants to be woken for nothing.
const MAX_STEPS_AT_ONCE: u32 = 20_000;

/// A world.
pub struct World {
    /// What lies between the machines.
    pub link: Link,
    /// Every IKE datagram and keepalive that was sent.
    pub trace: Vec<Sent>,
    /// Every ESP packet that was sent.
    pub packets: Vec<Sent>,
    /// Whoever meddles with IKE datagrams.
    pub meddler: Option<Meddler>,
    /// Somebody drops everything but TCP.
    pub only_tcp: bool,
    /// The TCP connections.
    pub tcp: Tcp,
    /// The name server.
    pub names: Names,
    /// Every IKE message that was sent by TCP, in the form of a datagram.
    pub tcp_trace: Vec<Sent>,
    /// Ways on which everything is lost, from an address to another one.
    pub broken: BTreeSet<(IpAddr, IpAddr)>,
    now: Time,
    chance: Chance,
    nodes: Vec<Node>,
    nats: Vec<Nat>,
    on_the_way: BTreeMap<(Time, u64), Arriving>,
    sequence: u64,
    steps_at_once: u32,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, link: Link) -> Self {
        Self {
            link,
            trace: Vec::new(),
            packets: Vec::new(),
            meddler: None,
            only_tcp: false,
            tcp: Tcp::default(),
            names: Names::answering_in(link.delay * 2),
            tcp_trace: Vec::new(),
            broken: BTreeSet::new(),
            now: Time::ZERO,
            chance: Chance::new(seed),
            nodes: Vec::new(),
            nats: Vec::new(),
            on_the_way: BTreeMap::new(),
            sequence: 0,
            steps_at_once: 0,
        }
    }

    /// Adds a machine.
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// Adds a NAT.
    pub fn add_nat(&mut self, nat: Nat) -> usize {
        self.nats.push(nat);
        self.nats.len() - 1
    }

    /// A NAT.
    pub fn nat(&mut self, index: usize) -> &mut Nat {
        &mut self.nats[index]
    }

    /// A machine.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// A machine. What its endpoint says is taken up by [`Self::settle`] or the next step.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// The machines alone, for another world.
    #[must_use]
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Every machine.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Time since the beginning.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The world's chance, for whoever wants to stay repeatable.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Gives a command.
    pub fn command(&mut self, id: NodeId, command: Command) -> RequestId {
        let time = self.now;
        let node = self.node_mut(id);
        let now = node.clock.at(time);
        let request = node.command(now, command);
        self.settle(id);
        request
    }

    /// A machine is on another network from now on, or on several: it has these
    /// addresses, the best first, maybe behind a NAT, and its endpoint is told so.
    pub fn roam(&mut self, id: NodeId, addresses: &[IpAddr], behind: Option<usize>) {
        let time = self.now;
        let node = self.node_mut(id);
        let now = node.clock.at(time);
        node.offline = addresses.is_empty();
        if let Some((best, others)) = addresses.split_first() {
            node.address = *best;
            node.others = others.to_vec();
            node.behind = behind;
        }
        node.tell_addresses(now);
        self.settle(id);
    }

    /// Sends an inner packet of a machine into its tunnel.
    pub fn send_inner(&mut self, id: NodeId, inner: &[u8]) -> Outgoing {
        let outgoing = self.node_mut(id).plane.send(inner);
        if let Outgoing::Sealed(path, esp) = &outgoing {
            let (content, port) = match path.encapsulation {
                Encapsulation::Udp => (Content::EspInUdp(esp.clone()), Port::NatTraversal),
                Encapsulation::Plain => (Content::PlainEsp(esp.clone()), Port::NatTraversal),
                Encapsulation::Tcp(stream) => (Content::EspInTcp(esp.clone()), Port::Tcp(stream)),
            };
            let path = Path { local: path.local, remote: path.remote, port };
            if let Some(outbound) = self.node(id).outbound(path, content) {
                self.put(id, outbound);
            }
        }
        self.settle(id);
        outgoing
    }

    /// Lets a datagram arrive after some time.
    pub fn inject(&mut self, arrival: Arrival) {
        self.arrive_at(self.now + arrival.after, Arriving::Datagram(arrival.datagram));
    }

    /// Lets an IKE message that was sent before arrive again: the one of this number,
    /// counted around, and with this bit of it flipped.
    pub fn replay(&mut self, which: usize, flip: Option<usize>) {
        let ike: Vec<_> = self.trace.iter().filter_map(|s| s.datagram.ike().zip(Some(s))).collect();
        if ike.is_empty() {
            return;
        }
        let (octets, sent) = ike[which % ike.len()];
        let mut octets = octets.to_vec();
        if let Some(flip) = flip {
            let at = flip % octets.len();
            octets[at] ^= 1 << (flip / octets.len() % 8);
        }
        let datagram = sent.datagram.with_ike(&octets);
        self.inject(Arrival { after: Duration::ZERO, datagram });
    }

    fn arrive_at(&mut self, at: Time, arriving: Arriving) {
        self.sequence += 1;
        self.on_the_way.insert((at, self.sequence), arriving);
    }

    /// Breaks every TCP connection. What is on the way is lost, and each end
    /// learns of it.
    pub fn break_tcp(&mut self) {
        let all: Vec<_> = self.tcp.connections.keys().copied().collect();
        all.into_iter().for_each(|number| self.break_connection(number));
    }

    /// The connections of a machine end with the process that had them, and only
    /// the other ends learn of it. What it had asked for is told to nobody.
    pub(crate) fn forget_process_of(&mut self, id: NodeId) {
        let is_its = |connection: &Connection| connection.ends.iter().any(|end| end.node == id);
        let all = self.tcp.connections.iter();
        let own: Vec<_> = all.filter(|(_, it)| is_its(it)).map(|(&number, _)| number).collect();
        own.into_iter().for_each(|number| self.break_connection(number));
        let is_told = |arriving: &Arriving| match arriving {
            Arriving::Closed(node, _) | Arriving::Addresses(node, ..) => *node == id,
            Arriving::Datagram(_) | Arriving::Segment(..) => false,
        };
        self.on_the_way.retain(|_, arriving| !is_told(arriving));
        self.node_mut(id).kept.clear();
    }

    fn break_connection(&mut self, number: u64) {
        let is_of_it = |arriving: &Arriving| match arriving {
            Arriving::Segment(of, ..) => *of == number,
            Arriving::Datagram(_) | Arriving::Closed(..) | Arriving::Addresses(..) => false,
        };
        self.on_the_way.retain(|_, arriving| !is_of_it(arriving));
        let Some(connection) = self.tcp.connections.remove(&number) else { return };
        let at = self.now + self.link.delay;
        for End { node, id, .. } in connection.ends {
            self.arrive_at(at, Arriving::Closed(node, id));
        }
    }

    /// Whether nothing is on the way and no plane is busy.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.on_the_way.is_empty() && self.nodes.iter().all(|n| n.plane.next_due().is_none())
    }

    /// Runs until nothing is on the way. Timers that are due later wait.
    pub fn drive(&mut self) {
        while !self.is_quiet() {
            assert!(self.step(), "something is on the way");
        }
    }

    /// Runs until `done`, for `limit` at the most; whether it was.
    pub fn drive_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            match self.next_time() {
                Some(time) if time <= end => self.step(),
                _ => {
                    self.now = end;
                    return done(self);
                }
            };
        }
    }

    /// Runs for some time.
    pub fn run_for(&mut self, time: Duration) {
        self.drive_until(time, |_| false);
    }

    /// When something happens next.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        let arrival = self.on_the_way.keys().next().map(|&(time, _)| time);
        let nodes = self.nodes.iter().filter_map(|node| self.next_of(node));
        nodes.chain(arrival).min().map(|time| time.max(self.now))
    }

    /// Lets the next thing happen; whether there was one.
    pub fn step(&mut self) -> bool {
        let Some(time) = self.next_time() else { return false };
        self.steps_at_once = if time > self.now { 0 } else { self.steps_at_once + 1 };
        assert!(self.steps_at_once < MAX_STEPS_AT_ONCE, "the world spins at {time:?}");
        self.now = time;
        if let Some(entry) = self.on_the_way.first_entry()
            && entry.key().0 <= time
        {
            match entry.remove() {
                Arriving::Datagram(datagram) => self.arrive(datagram),
                Arriving::Segment(number, end, segment) => self.reach(number, end, segment),
                Arriving::Closed(node, id) => self.tell(node, id, StreamEvent::Closed),
                Arriving::Addresses(node, id, found) => self.tell_addresses(node, id, found),
            }
            return true;
        }
        let due = |node: &Node| self.next_of(node).is_some_and(|due| due <= time);
        if let Some(index) = self.nodes.iter().position(due) {
            self.wake(NodeId(index));
        }
        true
    }

    /// Takes up what a machine's endpoint has said.
    pub fn settle(&mut self, id: NodeId) {
        let now = self.now;
        for outbound in self.node_mut(id).drain(now) {
            self.put(id, outbound);
        }
        for inner in self.node_mut(id).plane.take_released() {
            self.send_inner(id, &inner);
        }
        let objections = self.node_mut(id).plane.take_objections();
        assert!(objections.is_empty(), "the plane of {id:?} objects: {objections:?}");
        self.check_keys(id);
    }

    fn next_of(&self, node: &Node) -> Option<Time> {
        let timer = node.endpoint.poll_timeout(node.clock.at(self.now));
        let timer = timer.map(|(instant, _)| node.clock.when(instant));
        [timer, node.plane.next_due()].into_iter().flatten().min()
    }

    fn wake(&mut self, id: NodeId) {
        let time = self.now;
        let node = self.node_mut(id);
        let now = node.clock.at(time);
        node.plane.set_time(time);
        match node.plane.poll_event() {
            Some(event) => node.endpoint.handle_plane(now, event),
            None => node.endpoint.handle_timeout(now, |child| node.plane.traffic(child)),
        }
        self.settle(id);
    }

    /// A machine sends.
    fn put(&mut self, by: NodeId, outbound: Outbound) {
        let (mut from, to, content) = match outbound {
            Outbound::Datagram { from, to, content } => (from, to, content),
            Outbound::Message { stream, path, content } => {
                return self.write(by, stream, path, content);
            }
            Outbound::Stream(id, command) => return self.change_stream(by, id, command),
            Outbound::Lookup(id, name) => return self.look_up(by, id, name),
        };
        if let Some(nat) = self.node(by).behind {
            if matches!(content, Content::PlainEsp(_)) {
                return;
            }
            let now = self.now;
            from = self.nats[nat].outbound(from, now);
        }
        if self.broken.contains(&(from.ip(), to.ip())) {
            return;
        }
        let sent = Sent { at: self.now, by, datagram: Datagram { from, to, content } };
        let is_ike = sent.datagram.ike().is_some();
        let arrivals = match &mut self.meddler {
            _ if self.only_tcp => Vec::new(),
            Some(meddler) if is_ike => meddler(&sent),
            _ => self.link.carry(&mut self.chance, &sent.datagram),
        };
        match &sent.datagram.content {
            Content::Ike(_) | Content::Keepalive => self.trace.push(sent),
            Content::EspInUdp(_) | Content::PlainEsp(_) | Content::EspInTcp(_) => {
                self.packets.push(sent);
            }
        }
        for arrival in arrivals {
            self.inject(arrival);
        }
    }

    /// A datagram has come to an address.
    fn arrive(&mut self, datagram: Datagram) {
        let Some((id, to)) = self.recipient(datagram.to) else { return };
        let time = self.now;
        let node = self.node_mut(id);
        if node.offline {
            return;
        }
        let now = node.clock.at(time);
        let way = |encapsulation| OuterPath { local: to, remote: datagram.from, encapsulation };
        match datagram.content {
            Content::Ike(octets) => {
                let Some(path) = node.path(to, datagram.from) else { return };
                node.endpoint.handle_datagram(now, path, &mut octets.to_vec());
            }
            Content::Keepalive | Content::EspInTcp(_) => {}
            Content::EspInUdp(esp) => {
                let inner = node.plane.receive(way(Encapsulation::Udp), &esp);
                node.delivered.extend(inner);
            }
            Content::PlainEsp(esp) => {
                let inner = node.plane.receive(way(Encapsulation::Plain), &esp);
                node.delivered.extend(inner);
            }
        }
        self.settle(id);
    }

    /// A machine that is on no network learns at once that there is no answer.
    fn look_up(&mut self, by: NodeId, id: LookupId, name: Domain) {
        let found = match self.names.ask(self.now, by, name) {
            _ if self.node(by).offline => Vec::new(),
            Some(found) => found,
            None => return,
        };
        self.arrive_at(self.now + self.names.delay, Arriving::Addresses(by, id, found));
    }

    /// A machine learns the addresses of a name.
    fn tell_addresses(&mut self, id: NodeId, lookup: LookupId, found: Vec<IpAddr>) {
        let time = self.now;
        let node = self.node_mut(id);
        let now = node.clock.at(time);
        node.endpoint.handle_lookup(now, lookup, found);
        self.settle(id);
    }

    /// What an endpoint wants done with a TCP connection.
    fn change_stream(&mut self, by: NodeId, id: StreamId, command: StreamCommand) {
        match command {
            StreamCommand::Dial { local, remote } => self.dial(by, id, (local, remote)),
            StreamCommand::Keep => {
                self.node_mut(by).kept.insert(id);
            }
            StreamCommand::Leave => {
                self.node_mut(by).kept.remove(&id);
                if let (StreamId::Ours(_), Some((number, _))) = (id, self.tcp.find(by, id)) {
                    // What is on the way still arrives, and then the end of it.
                    self.send_segment((number, 1), Segment::Closed);
                }
            }
        }
    }

    fn dial(&mut self, by: NodeId, id: StreamId, (local, remote): (SocketAddr, SocketAddr)) {
        let number = self.tcp.next();
        let node = self.node(by);
        let is_free = local.ip().is_unspecified();
        let local = if is_free { node.address } else { local.ip() };
        let is_there = node.has(local) && !node.offline;
        let local = SocketAddr::new(local, 50_000 + number as u16);
        let public = match node.behind {
            Some(nat) => self.nats[nat].outbound(local, self.now),
            None => local,
        };
        let listener = self.find(remote.ip(), None).filter(|_| !self.tcp.blocked);
        let Some(listener) = listener.filter(|_| is_there) else {
            let at = self.now + self.link.delay * 2;
            return self.arrive_at(at, Arriving::Closed(by, id));
        };
        let end = |node, id, (local, remote), decoder| End {
            node,
            id,
            local,
            remote,
            decoder,
            busy_until: self.now,
        };
        let accepted = StreamId::Theirs(number);
        let ends = [
            end(by, id, (local, remote), Decoder::opened()),
            end(listener, accepted, (remote, public), Decoder::accepted()),
        ];
        self.tcp.connections.insert(number, Connection { ends, state: tcp::State::Opening });
        let at = self.now + self.link.delay * 2;
        self.arrive_at(at, Arriving::Segment(number, 0, Segment::Opened));
    }

    /// A message goes into a connection, if that is still there.
    fn write(&mut self, by: NodeId, stream: StreamId, path: Path, content: Content) {
        let Some((number, end)) = self.tcp.find(by, stream) else { return };
        let octets = match &content {
            Content::Ike(message) => {
                [&stream::ike_head(message.len()).unwrap(), &**message].concat()
            }
            Content::EspInTcp(esp) => [&stream::length(esp.len()).unwrap(), &**esp].concat(),
            Content::Keepalive => panic!("a keepalive by TCP"),
            Content::EspInUdp(_) | Content::PlainEsp(_) => panic!("a datagram by TCP"),
        };
        if let Content::Ike(_) = content {
            let datagram = Datagram { from: path.local, to: path.remote, content };
            self.tcp_trace.push(Sent { at: self.now, by, datagram });
        }
        self.send_octets((number, 1 - end), &octets);
    }

    /// Whether octets still arrive: the addresses of both ends are there. Where
    /// some have not arrived, none will, and no end is told.
    fn is_whole(&mut self, number: u64) -> bool {
        let is_there = |end: &End| {
            let node = self.node(end.node);
            node.has(end.local.ip()) && !node.offline
        };
        let Some(connection) = self.tcp.connections.get(&number) else { return false };
        let is_whole = connection.ends.iter().all(is_there);
        let connection = self.tcp.connections.get_mut(&number).unwrap();
        if connection.state == tcp::State::Open && !is_whole {
            connection.state = tcp::State::Torn;
        }
        connection.state == tcp::State::Open
    }

    fn send_octets(&mut self, (number, end): (u64, usize), octets: &[u8]) {
        if !self.is_whole(number) {
            return;
        }
        let (carried, breaks) = self.tcp.spend(octets);
        for piece in tcp::cut(&mut self.chance, carried) {
            self.send_segment((number, end), Segment::Octets(piece));
        }
        if breaks {
            // What was carried arrives before the connection breaks.
            let after = self.tcp.connections[&number].ends[end].busy_until;
            self.arrive_at(after, Arriving::Segment(number, end, Segment::Closed));
        }
    }

    fn send_segment(&mut self, (number, end): (u64, usize), segment: Segment) {
        let takes = self.link.delay + self.chance.up_to(self.link.jitter);
        let connection = self.tcp.connections.get_mut(&number).unwrap();
        let busy_until = &mut connection.ends[end].busy_until;
        *busy_until = (self.now + takes).max(*busy_until);
        let at = *busy_until;
        self.arrive_at(at, Arriving::Segment(number, end, segment));
    }

    /// A segment has come to an end of a connection.
    fn reach(&mut self, number: u64, end: usize, segment: Segment) {
        let Some(connection) = self.tcp.connections.get_mut(&number) else { return };
        let End { node, id, local, remote, .. } = connection.ends[end];
        match segment {
            Segment::Opened => {
                connection.state = tcp::State::Open;
                self.send_octets((number, 1), &stream::PREFIX);
                self.tell(node, id, StreamEvent::Opened { local, remote });
            }
            Segment::Closed => self.break_connection(number),
            Segment::Octets(octets) => {
                let taken = take_apart(&mut connection.ends[end].decoder, octets);
                let way = OuterPath { local, remote, encapsulation: Encapsulation::Tcp(id) };
                taken.into_iter().for_each(|content| self.take(node, way, content));
            }
        }
    }

    /// A message has come by a connection.
    fn take(&mut self, id: NodeId, way: OuterPath, content: Content) {
        let time = self.now;
        let node = self.node_mut(id);
        let Encapsulation::Tcp(stream) = way.encapsulation else { return };
        let path = Path { local: way.local, remote: way.remote, port: Port::Tcp(stream) };
        let now = node.clock.at(time);
        match content {
            Content::Ike(octets) => {
                node.endpoint.handle_datagram(now, path, &mut octets.to_vec());
            }
            Content::EspInTcp(esp) => {
                let inner = node.plane.receive(way, &esp);
                node.delivered.extend(inner);
            }
            Content::Keepalive | Content::EspInUdp(_) | Content::PlainEsp(_) => {}
        }
        self.settle(id);
    }

    /// A machine learns what became of a connection.
    fn tell(&mut self, id: NodeId, stream: StreamId, event: StreamEvent) {
        let time = self.now;
        let node = self.node_mut(id);
        let now = node.clock.at(time);
        node.endpoint.handle_stream(now, stream, event);
        self.settle(id);
    }

    fn recipient(&self, to: SocketAddr) -> Option<(NodeId, SocketAddr)> {
        let (to, behind) = match self.nats.iter().position(|nat| nat.public == to.ip()) {
            Some(index) => (self.nats[index].inbound(to.port(), self.now)?, Some(index)),
            None => (to, None),
        };
        let id = self.find(to.ip(), behind)?;
        Some((id, to))
    }

    fn find(&self, address: IpAddr, behind: Option<usize>) -> Option<NodeId> {
        let fits = |node: &Node| node.has(address) && node.behind == behind;
        self.nodes.iter().position(fits).map(NodeId)
    }

    /// What one end of a child seals the other opens, as soon as both have it.
    fn check_keys(&mut self, id: NodeId) {
        for child in self.node_mut(id).plane.take_new() {
            let Some((other, peer)) = self.counterpart(id, child) else { continue };
            let forth = self.node_mut(id).plane.probe(child);
            let back = self.node_mut(other).plane.probe(peer);
            assert!(self.node(other).plane.children()[&peer].opens(&forth), "keys do not fit");
            assert!(self.node(id).plane.children()[&child].opens(&back), "keys do not fit");
        }
    }

    /// The other end of a child.
    #[must_use]
    pub fn counterpart(&self, id: NodeId, child: ChildId) -> Option<(NodeId, ChildId)> {
        let ours = self.node(id).plane.children().get(&child)?;
        let others = self.nodes.iter().enumerate().filter(|&(index, _)| index != id.0);
        others.into_iter().find_map(|(index, node)| {
            let fits = |(_, theirs): &(&ChildId, &crate::plane::Installed)| {
                theirs.spi_in == ours.spi_out && theirs.spi_out == ours.spi_in
            };
            let (&peer, _) = node.plane.children().iter().find(fits)?;
            Some((NodeId(index), peer))
        })
    }
}

fn take_apart(decoder: &mut Decoder, mut octets: Vec<u8>) -> Vec<Content> {
    let mut all = Vec::new();
    let fed = decoder.feed(&mut octets, |content| match content {
        stream::Content::Ike(message) => all.push(Content::Ike((&*message).into())),
        stream::Content::Esp { frames, stride } => {
            all.extend(frames.chunks(stride).map(|f| Content::EspInTcp(f[LENGTH_LEN..].to_vec())));
        }
        stream::Content::Keepalive | stream::Content::Runt => panic!("nobody sends that"),
    });
    assert_eq!(fed, Ok(()), "an endpoint's stream is corrupt");
    all
}
