//! Many clients of one gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ike::event::{Command, Event, How};
use ike::status::Holdings;
use sim::pair::machine;
use sim::profile::GATEWAY;
use sim::{Link, NodeId, Profile, World};

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
