//! Many clients of one gateway.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ike::event::{Command, Event, How};
use ike::inner::Network;
use ike::pool::{AddressRange, PoolConfig};
use ike::status::Holdings;
use sim::pair::{NAT, machine};
use sim::profile::GATEWAY;
use sim::{Link, Nat, NodeId, Profile, World, packet};

const CLIENTS: u8 = 40;
const SECOND: Duration = Duration::from_secs(1);

struct Crowd {
    world: World,
    gateway: NodeId,
    clients: Vec<NodeId>,
}

impl Crowd {
    fn new(link: Link) -> Self {
        let mut world = World::new(9, link);
        let mut profile = Profile::gateway();
        profile.limits.cookie_threshold = 10;
        let gateway = world.add(machine(&profile, GATEWAY, 9000, 100));
        let client = |n: u8| {
            let mut profile = Profile::client();
            profile.local_id = format!("client-{n}.example");
            profile.local_ts = vec![format!("10.1.{n}.2/32")];
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
            machine(&profile, address, 9100 + u64::from(n), u64::from(n))
        };
        let clients = (1..=CLIENTS).map(|n| world.add(client(n))).collect();
        Self { world, gateway, clients }
    }

    fn all(&mut self, command: fn(std::sync::Arc<str>) -> Command) {
        for &id in &self.clients {
            self.world.command(id, command("home".into()));
        }
        self.world.run_for(120 * SECOND);
    }

    fn ups(&self, how: How) -> usize {
        let is = |event: &Event| matches!(event, Event::Up { set_up, .. } if set_up.how == how);
        let ups = |&id: &NodeId| {
            let events = self.world.node(id).events.iter();
            events.filter(|(_, event)| is(event)).count()
        };
        self.clients.iter().map(ups).sum()
    }

    fn installed(&self) -> usize {
        self.world.node(self.gateway).plane.children().len()
    }

    /// Each client is a machine behind one NAT from now on.
    fn hide(&mut self) -> usize {
        let nat = self.world.add_nat(Nat::new(NAT, 3600 * SECOND));
        for (n, &id) in (1..).zip(&self.clients) {
            let node = self.world.node_mut(id);
            (node.address, node.behind) = ([192, 168, 1, n].into(), Some(nat));
        }
        nat
    }

    /// Where the gateway sees its clients.
    fn seen(&self) -> BTreeSet<SocketAddr> {
        let status = self.world.node(self.gateway).endpoint.status();
        let sas = status.connections.into_iter().filter_map(|connection| connection.sa);
        sas.map(|sa| sa.remote).collect()
    }

    /// A packet of each client arrives, and the answer at this client and no other.
    fn ping_all(&mut self) {
        let server = [10, 2, 0, 1].into();
        for (n, id) in (1..).zip(self.clients.clone()) {
            let inner = [10, 1, n, 2].into();
            let there = packet::udp(inner, server, b"there");
            let back = packet::udp(server, inner, b"back");
            for (from, to, packet) in [(id, self.gateway, there), (self.gateway, id, back)] {
                self.world.send_inner(from, &packet);
                self.world.drive();
                assert_eq!(self.world.node(to).delivered.last(), Some(&packet), "client {n}");
            }
        }
    }
}

#[test]
fn a_crowd_comes_up_sleeps_and_comes_back_at_once() {
    let mut crowd = Crowd::new(Link::default());
    crowd.all(Command::Up);
    assert_eq!(crowd.ups(How::Full), usize::from(CLIENTS));
    assert_eq!(crowd.installed(), usize::from(CLIENTS));
    let counters = crowd.world.node(crowd.gateway).endpoint.status().counters;
    assert!(counters.cookies > 0, "the crowd was above the threshold");
    crowd.all(Command::Suspend);
    crowd.all(Command::Resume);
    assert_eq!(crowd.ups(How::Resumed), usize::from(CLIENTS));
    assert_eq!(crowd.installed(), usize::from(CLIENTS));
    crowd.all(Command::Down);
    assert_eq!(crowd.installed(), 0);
    assert_eq!(crowd.world.node(crowd.gateway).endpoint.holdings(), Holdings::default());
}

#[test]
fn a_crowd_on_a_bad_network_comes_up_too() {
    let bad = Link { loss: 150, duplication: 100, jitter: SECOND, ..Link::default() };
    let mut crowd = Crowd::new(bad);
    crowd.all(Command::Up);
    crowd.all(Command::Suspend);
    crowd.all(Command::Resume);
    let up = crowd.clients.iter().filter(|&&id| {
        let status = crowd.world.node(id).endpoint.status();
        status.connections[0].stage == ike::status::Stage::Up
    });
    assert_eq!(up.count(), usize::from(CLIENTS));
    assert_eq!(crowd.installed(), usize::from(CLIENTS));
}

/// The machines of one home have one address outside: the gateway tells them
/// apart by their ports and SPIs, also when the NAT gives them other ones.
#[test]
fn a_crowd_behind_one_nat_is_told_apart() {
    let mut crowd = Crowd::new(Link::default());
    let nat = crowd.hide();
    crowd.all(Command::Up);
    assert_eq!(crowd.ups(How::Full), usize::from(CLIENTS));
    let before = crowd.seen();
    assert_eq!(before.len(), usize::from(CLIENTS));
    assert!(before.iter().all(|remote| remote.ip() == NAT));
    crowd.ping_all();
    crowd.world.nat(nat).restart();
    crowd.ping_all();
    assert!(crowd.seen().is_disjoint(&before));
    crowd.all(Command::Suspend);
    crowd.world.nat(nat).restart();
    crowd.all(Command::Resume);
    assert_eq!(crowd.ups(How::Resumed), usize::from(CLIENTS));
    assert_eq!(crowd.seen().len(), usize::from(CLIENTS));
    crowd.ping_all();
    crowd.all(Command::Down);
    assert_eq!(crowd.installed(), 0);
}

/// One connection of the gateway, for whoever has a name of its domain.
#[test]
fn a_thousand_clients_of_one_connection_have_an_address_each() {
    const MANY: u16 = 1000;
    let range = AddressRange::new([10, 1, 0, 1].into(), [10, 1, 255, 254].into()).unwrap();
    let mut world = World::new(11, Link::default());
    let mut profile = Profile::gateway();
    profile.remote_id = "*.clients.example";
    profile.limits.half_open_per_source = 1;
    profile.dynamic = true;
    profile.pools = vec![PoolConfig {
        name: "clients".into(),
        ranges: vec![range],
        fixed: Vec::new(),
        network: Network::default(),
    }];
    let gateway = world.add(machine(&profile, GATEWAY, 9000, 100));
    let client = |n: u16| {
        let [high, low] = n.to_be_bytes();
        let mut profile = Profile::client();
        profile.local_id = format!("c{n}.clients.example");
        profile.local_ts = vec!["0.0.0.0/0".into()];
        (profile.dynamic, profile.vips) = (true, vec!["0.0.0.0"]);
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, high, low));
        machine(&profile, address, 10_000 + u64::from(n), u64::from(n))
    };
    let clients: Vec<_> = (1..=MANY).map(|n| world.add(client(n))).collect();
    let mut crowd = Crowd { world, gateway, clients };
    crowd.all(Command::Up);
    assert_eq!(crowd.ups(How::Full), usize::from(MANY));
    let given = |crowd: &Crowd| {
        let of = |&id: &NodeId| crowd.world.node(id).inner.get("home").map(|it| it.addresses);
        crowd.clients.iter().filter_map(of).map(|it| it.v4).collect::<Vec<_>>()
    };
    let addresses = given(&crowd);
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), usize::from(MANY));
    // Each child carries the packets of its client's address and of no other.
    let status = crowd.world.node(crowd.gateway).endpoint.status();
    let sas = status.connections.into_iter().filter_map(|connection| connection.sa);
    let children = sas.flat_map(|sa| sa.children).map(|child| child.remote_ts);
    let sides: BTreeSet<_> =
        children.map(|side| (side.len(), side[0].start(), side[0].end())).collect();
    let expected =
        addresses.iter().map(|&address| (1, address.unwrap().into(), address.unwrap().into()));
    assert_eq!(sides, expected.collect());
    crowd.all(Command::Suspend);
    crowd.all(Command::Resume);
    assert_eq!(crowd.ups(How::Resumed), usize::from(MANY));
    assert_eq!(given(&crowd), addresses);
    assert_eq!(crowd.installed(), usize::from(MANY));
    crowd.all(Command::Down);
    assert_eq!(crowd.installed(), 0);
}
