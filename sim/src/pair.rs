//! A client and a gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use esp::spec::{ChildId, Encapsulation, Mode};
use ike::event::{Command, Event, How, RequestId, SetUp};
use ike::fault::Refusal;
use ike::status::{ConnectionStatus, Counters, Holdings, Stage};
use ike::time::Now;
use ike::wire::ExchangeType;
use ike::{Endpoint, Why};

use crate::clock::Clock;
use crate::link::Link;
use crate::nat::Nat;
use crate::node::{Node, NodeId};
use crate::packet;
use crate::plane::{Installed, ModelPlane, Outgoing};
use crate::profile::{GATEWAY, Profile};
use crate::world::World;

/// The client's address.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

/// The outside address of the NAT in front of the client.
pub const NAT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// No command takes longer than this.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a pair begins with.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Chooses all chance.
    pub seed: u64,
    /// The client.
    pub client: Profile,
    /// The gateway.
    pub gateway: Profile,
    /// What lies between them.
    pub link: Link,
    /// Whether the client is behind a NAT, whose mappings live that long.
    pub nat: Option<Duration>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            seed: 1,
            client: Profile::client(),
            gateway: Profile::gateway(),
            link: Link::default(),
            nat: None,
        }
    }
}

/// A client and a gateway in a world of their own.
pub struct Pair {
    /// The world.
    pub world: World,
    /// The client.
    pub client: NodeId,
    /// The gateway.
    pub gateway: NodeId,
    scene: Scene,
    restarts: u64,
}

impl Pair {
    /// Both are switched on, nothing has happened.
    #[must_use]
    pub fn new(scene: Scene) -> Self {
        let mut world = World::new(scene.seed, scene.link);
        let client = world.add(machine(&scene.client, CLIENT, scene.seed * 1000 + 1, 3));
        let gateway = world.add(machine(&scene.gateway, GATEWAY, scene.seed * 1000 + 2, 5000));
        // It answers, even where it could begin.
        world.node_mut(gateway).plane.holds_first = false;
        if let Some(timeout) = scene.nat {
            let nat = world.add_nat(Nat::new(NAT, timeout));
            world.node_mut(client).behind = Some(nat);
            world.node_mut(client).address = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));
        }
        let mut pair = Self { world, client, gateway, scene, restarts: 0 };
        pair.settle();
        pair
    }

    /// As [`Self::new`], with a change to the default scene.
    #[must_use]
    pub fn with(change: impl FnOnce(&mut Scene)) -> Self {
        let mut scene = Scene::default();
        change(&mut scene);
        Self::new(scene)
    }

    /// As [`Self::with`], and the connection is up.
    #[must_use]
    pub fn joined(change: impl FnOnce(&mut Scene)) -> Self {
        let mut pair = Self::with(change);
        assert_eq!(pair.up(), Ok(()));
        pair.forget_past();
        pair
    }

    /// As [`Self::joined`], and then the session was put to sleep.
    #[must_use]
    pub fn suspended(change: impl FnOnce(&mut Scene)) -> Self {
        let mut pair = Self::joined(change);
        assert_eq!(pair.suspend(), Ok(()));
        pair.forget_past();
        pair
    }

    /// Forgets all events and datagrams.
    pub fn forget_past(&mut self) {
        self.world.trace.clear();
        self.world.tcp_trace.clear();
        self.world.packets.clear();
        for id in [self.client, self.gateway] {
            self.world.node_mut(id).events.clear();
        }
    }

    /// Gives the client a command and waits for its end.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub fn command(&mut self, command: Command) -> Result<(), Refusal> {
        let request = self.begin(command);
        self.finish(request)
    }

    /// Gives the client a command.
    pub fn begin(&mut self, command: Command) -> RequestId {
        self.world.command(self.client, command)
    }

    /// Waits for the end of a command, and until nothing is on the way.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub fn finish(&mut self, request: RequestId) -> Result<(), Refusal> {
        let client = self.client;
        let is_done = |world: &World| world.node(client).replies.contains_key(&request);
        assert!(self.world.drive_until(PATIENCE, is_done), "{request:?} is not answered");
        self.world.drive();
        self.world.node(client).replies[&request].clone()
    }

    /// Brings the connection up.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub fn up(&mut self) -> Result<(), Refusal> {
        self.command(Command::Up(self.name()))
    }

    /// Puts the session to sleep.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub fn suspend(&mut self) -> Result<(), Refusal> {
        self.command(Command::Suspend(self.name()))
    }

    /// Brings the session back.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub fn resume(&mut self) -> Result<(), Refusal> {
        self.command(Command::Resume(self.name()))
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub fn down(&mut self) -> Result<(), Refusal> {
        self.command(Command::Down(self.name()))
    }

    /// How many public-key operations both sides make for a full exchange, and
    /// how many for a resumption after it. The process must have nothing else
    /// to do: all of its operations are counted.
    pub fn public_key_operations(&mut self) -> (u64, u64) {
        let before = crypto::public_key_operations();
        assert_eq!(self.up(), Ok(()));
        let full = crypto::public_key_operations();
        assert_eq!(self.suspend(), Ok(()));
        assert_eq!(self.resume(), Ok(()));
        self.assert_joined();
        (full - before, crypto::public_key_operations() - full)
    }

    /// The name of the client's connection.
    #[must_use]
    pub fn name(&self) -> std::sync::Arc<str> {
        self.scene.client.name.into()
    }

    /// What the pair began with. Changes count from the next restart on.
    pub fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    /// The gateway is switched off and on: keys, SAs and children are gone.
    pub fn restart_gateway(&mut self) {
        self.restarts += 1;
        self.start_gateway(self.scene.seed * 1000 + 2 + 10 * self.restarts);
    }

    /// The gateway starts anew with what the scene says now, but with the ticket
    /// keys that it began with, as if it had kept them.
    pub fn reconfigure_gateway(&mut self) {
        self.start_gateway(self.scene.seed * 1000 + 2);
    }

    fn start_gateway(&mut self, seed: u64) {
        let now = self.world.now();
        self.world.forget_process_of(self.gateway);
        let node = self.world.node_mut(self.gateway);
        let mut endpoint = self.scene.gateway.endpoint(seed, node.clock.at(now));
        endpoint.restore_leases(node.leases.values());
        node.plane = ModelPlane::new(self.scene.gateway.capabilities());
        node.endpoint = endpoint;
        self.settle();
    }

    /// The client is switched off and on: it has forgotten everything.
    pub fn restart_client(&mut self) {
        self.restarts += 1;
        let seed = self.scene.seed * 1000 + 1 + 10 * self.restarts;
        let now = self.world.now();
        self.world.forget_process_of(self.client);
        let node = self.world.node_mut(self.client);
        let endpoint = self.scene.client.endpoint(seed, node.clock.at(now));
        node.plane = ModelPlane::new(self.scene.client.capabilities());
        node.plane.holds_first = true;
        node.inner.clear();
        node.endpoint = endpoint;
        self.settle();
    }

    /// Takes up what was done to an endpoint directly.
    pub fn settle(&mut self) {
        self.world.settle(self.client);
        self.world.settle(self.gateway);
    }

    /// An inner packet from the client to the gateway's net and one back, if
    /// the first arrives; whether both did. In transport mode, [`Self::ping_hosts`].
    pub fn ping(&mut self) -> bool {
        match self.scene.client.mode {
            Mode::Tunnel => self.ping_to([10, 2, 0, 1].into()),
            Mode::Transport => self.ping_hosts(),
        }
    }

    /// As [`Self::ping`], to another address behind the gateway.
    pub fn ping_to(&mut self, server: Ipv4Addr) -> bool {
        let there = packet::udp([10, 1, 0, 2].into(), server, b"ping");
        let back = packet::udp(server, [10, 1, 0, 2].into(), b"pong");
        self.send(self.client, self.gateway, &there, &there)
            && self.send(self.gateway, self.client, &back, &back)
    }

    /// As [`Self::ping`], from host to host. Each sees the addresses that the
    /// NAT leaves.
    pub fn ping_hosts(&mut self) -> bool {
        let inside = v4(self.world.node(self.client).address);
        let gateway = v4(GATEWAY);
        let served = self.served().into_iter().find_map(|it| it.sa);
        let outside = served.map_or(inside, |sa| v4(sa.remote.ip()));
        let sent = packet::udp(inside, gateway, b"ping");
        let seen = packet::udp(outside, gateway, b"ping");
        let answer = packet::udp(gateway, outside, b"pong");
        let answered = packet::udp(gateway, inside, b"pong");
        self.send(self.client, self.gateway, &sent, &seen)
            && self.send(self.gateway, self.client, &answer, &answered)
    }

    /// Whether what was sent has come, as `seen`.
    fn send(&mut self, from: NodeId, to: NodeId, inner: &[u8], seen: &[u8]) -> bool {
        let before = self.world.node(to).delivered.len();
        if !matches!(self.world.send_inner(from, inner), Outgoing::Sealed(..)) {
            return false;
        }
        self.world.drive();
        self.world.node(to).delivered.get(before).map(Vec::as_slice) == Some(seen)
    }

    /// What a packet of the client would meet with.
    pub fn outgoing(&mut self) -> Outgoing {
        let (from, to) = match self.scene.client.mode {
            Mode::Tunnel => ([10, 1, 0, 2].into(), [10, 2, 0, 1].into()),
            Mode::Transport => (v4(self.world.node(self.client).address), v4(GATEWAY)),
        };
        let inner = packet::udp(from, to, b"data");
        self.world.send_inner(self.client, &inner)
    }

    /// The client's connection.
    #[must_use]
    pub fn status(&self) -> ConnectionStatus {
        let status = self.world.node(self.client).endpoint.status();
        status.connections.into_iter().next().unwrap()
    }

    /// The gateway's SAs, established with a client.
    #[must_use]
    pub fn served(&self) -> Vec<ConnectionStatus> {
        let status = self.world.node(self.gateway).endpoint.status();
        status.connections.into_iter().filter(|c| c.sa.is_some()).collect()
    }

    /// How the client's SA came up.
    #[must_use]
    pub fn set_up(&self) -> SetUp {
        self.status().sa.and_then(|sa| sa.set_up).expect("an SA that is up")
    }

    /// What the client has told.
    pub fn client_events(&self) -> impl Iterator<Item = &Event> {
        self.world.node(self.client).events.iter().map(|(_, event)| event)
    }

    /// What the gateway has told.
    pub fn gateway_events(&self) -> impl Iterator<Item = &Event> {
        self.world.node(self.gateway).events.iter().map(|(_, event)| event)
    }

    /// What the client has counted.
    #[must_use]
    pub fn client_counters(&self) -> Counters {
        self.world.node(self.client).endpoint.status().counters
    }

    /// What the gateway has counted.
    #[must_use]
    pub fn gateway_counters(&self) -> Counters {
        self.world.node(self.gateway).endpoint.status().counters
    }

    /// The exchanges of all IKE datagrams that were sent, with whether each is a response.
    #[must_use]
    pub fn exchanges(&self) -> Vec<(ExchangeType, bool)> {
        let headers = self.world.trace.iter().filter_map(|sent| sent.datagram.header());
        headers.map(|header| (header.exchange, header.flags.response)).collect()
    }

    /// The client's endpoint.
    pub fn client_endpoint(&mut self) -> &mut Endpoint {
        &mut self.world.node_mut(self.client).endpoint
    }

    /// The gateway's endpoint. What it says is taken up by [`Self::settle`].
    pub fn gateway_endpoint(&mut self) -> &mut Endpoint {
        &mut self.world.node_mut(self.gateway).endpoint
    }

    /// The present, on the gateway's clocks.
    #[must_use]
    pub fn gateway_now(&self) -> Now {
        self.world.node(self.gateway).clock.at(self.world.now())
    }

    /// Neither end holds anything, and only the rotation of its ticket key
    /// wakes an endpoint.
    ///
    /// # Panics
    /// If one holds something.
    pub fn assert_empty(&self) {
        for node in self.world.nodes() {
            assert_eq!(node.endpoint.holdings(), Holdings::default());
            assert_eq!(node.plane.groups().len(), 0, "a group is left");
            let timer = node.endpoint.poll_timeout(node.clock.at(self.world.now()));
            assert_eq!(timer.map(|(_, why)| why), Some(Why::TicketKey));
        }
    }

    /// Both ends have the same children, these carry packets, and nobody has more.
    ///
    /// # Panics
    /// If not.
    pub fn assert_joined(&mut self) {
        assert!(self.is_joined(), "{:#?}\n{:#?}", self.status(), self.served());
        assert!(self.ping(), "no packets flow");
        for child in self.scene.client.further.clone() {
            let flow = match child.mode {
                Mode::Tunnel => self.ping_to(child.server),
                Mode::Transport => self.ping_hosts(),
            };
            assert!(flow, "no packets of {} flow", child.name);
        }
    }

    /// Whether both ends have the same children, and nobody has more.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        let (client, gateway) = (self.world.node(self.client), self.world.node(self.gateway));
        let (ours, theirs) = (client.plane.children(), gateway.plane.children());
        let is_shared = |(child, ours): (&ChildId, &Installed)| {
            let other = self.world.counterpart(self.client, *child);
            let theirs = other.and_then(|(_, other)| theirs.get(&other));
            theirs.is_some_and(|theirs| {
                have_one_form(ours.path.encapsulation, theirs.path.encapsulation)
            })
        };
        let count = 1 + self.scene.client.further.len();
        self.status().stage == Stage::Up
            && self.served().len() == 1
            && (ours.len(), theirs.len()) == (count, count)
            && ours.iter().all(is_shared)
    }

    /// Neither end has an SA or a child.
    ///
    /// # Panics
    /// If one has.
    pub fn assert_apart(&self) {
        assert!(self.is_apart(), "{:#?}\n{:#?}", self.status(), self.served());
    }

    /// Whether neither end has an SA or a child.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.world.nodes().all(|node| node.plane.children().is_empty())
            && self.status().sa.is_none()
            && self.served().is_empty()
    }

    /// The client is up, and came up like this.
    ///
    /// # Panics
    /// If not.
    pub fn assert_up_by(&mut self, how: How) {
        self.assert_joined();
        assert_eq!(self.set_up().how, how);
    }
}

/// A machine of a profile that has run for so many seconds.
#[must_use]
pub fn machine(profile: &Profile, address: IpAddr, seed: u64, uptime: u64) -> Node {
    let clock = Clock::new(Duration::from_secs(uptime));
    let endpoint = profile.endpoint(seed, clock.at(Duration::ZERO));
    let mut plane = ModelPlane::new(profile.capabilities());
    plane.holds_first = profile.begins();
    Node::new(address, endpoint, plane, clock)
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is not IPv4"),
    }
}

/// Whether two ends send in the same form; each has its own name for a stream.
fn have_one_form(ours: Encapsulation, theirs: Encapsulation) -> bool {
    use Encapsulation::Tcp;
    ours == theirs || matches!((ours, theirs), (Tcp(_), Tcp(_)))
}
