//! How many SAs one identity may have with another.

use std::net::IpAddr;
use std::time::Duration;

use ike::config::Unique;
use ike::event::{Command, Event, Gone, How};
use ike::fault::{Failure, Refusal};
use ike::inner::Network;
use ike::pool::{AddressRange, PoolConfig};
use sim::meddle::untouched;
use sim::pair::machine;
use sim::profile::GATEWAY;
use sim::{Link, NodeId, Profile, World};

const SECOND: Duration = Duration::from_secs(1);

/// Nobody is there.
const NOWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 99));

/// A gateway, and two machines of one identity. Each has two connections to the
/// gateway, and a third that leads nowhere: while that is tried, none of the
/// others is the only contact (RFC 7296 section 2.4).
struct Identity {
    world: World,
    gateway: NodeId,
    machines: [NodeId; 2],
}

impl Identity {
    fn new(unique: Unique) -> Self {
        let mut world = World::new(5, Link::default());
        let mut profile = Profile { unique, ..Profile::gateway() };
        profile.dynamic = true;
        profile.pools = vec![PoolConfig {
            name: "clients".into(),
            ranges: vec![AddressRange::new([10, 1, 0, 1].into(), [10, 1, 0, 254].into()).unwrap()],
            fixed: Vec::new(),
            network: Network::default(),
        }];
        let gateway = world.add(machine(&profile, GATEWAY, 5000, 50));
        let machines = [1, 2].map(|n: u8| {
            let connection = |name, remote| Profile {
                name,
                remote: Some(remote),
                local_ts: vec!["0.0.0.0/0".into()],
                dynamic: true,
                vips: vec!["0.0.0.0"],
                ..Profile::client()
            };
            let more = vec![connection("b", GATEWAY), connection("nowhere", NOWHERE)];
            let profile = Profile { more, ..connection("a", GATEWAY) };
            world.add(machine(&profile, [192, 0, 2, n].into(), 5000 + u64::from(n), n.into()))
        });
        Self { world, gateway, machines }
    }

    /// The answer to a command, when nothing is on the way any more.
    fn command(&mut self, machine: usize, command: Command) -> Result<(), Refusal> {
        let id = self.machines[machine];
        let request = self.world.command(id, command);
        let is_done = |world: &World| world.node(id).replies.contains_key(&request);
        assert!(self.world.drive_until(600 * SECOND, is_done));
        self.world.run_for(20 * SECOND);
        self.world.node(id).replies[&request].clone()
    }

    fn up(&mut self, machine: usize, name: &str) -> Result<(), Refusal> {
        self.command(machine, Command::Up(name.into()))
    }

    /// From now on, a machine does not say that it has no other SA.
    fn has_others(&mut self, machine: usize) {
        self.world.command(self.machines[machine], Command::Up("nowhere".into()));
    }

    /// The SAs at the gateway; each has its child and its inner address.
    fn sas(&self) -> usize {
        let node = self.world.node(self.gateway);
        let sas = node.endpoint.status().connections.into_iter().filter(|it| it.sa.is_some());
        let count = sas.count();
        assert_eq!(node.plane.children().len(), count);
        count
    }

    /// How SAs of this machine have ended.
    fn ends(&self, machine: usize) -> Vec<Gone> {
        let events = self.world.node(self.machines[machine]).events.iter();
        let why = |(_, event): &(_, Event)| match event {
            Event::Down { why, .. } => Some(*why),
            _ => None,
        };
        events.filter_map(why).collect()
    }

    fn refusals(&self) -> Vec<Failure> {
        let events = self.world.node(self.gateway).events.iter();
        let why = |(_, event): &(_, Event)| match event {
            Event::Failed { why, .. } => Some(why.clone()),
            _ => None,
        };
        events.filter_map(why).collect()
    }

    /// Whether the gateway has refused an SA of this machine.
    fn refused(&self, machine: usize) -> bool {
        let events = &self.world.node(self.machines[machine]).events;
        let is = |event: &Event| matches!(event, Event::Failed { why: Failure::RefusedByPeer, .. });
        events.iter().any(|(_, event)| is(event))
    }

    fn hows(&self, machine: usize) -> Vec<How> {
        let events = self.world.node(self.machines[machine]).events.iter();
        let how = |(_, event): &(_, Event)| match event {
            Event::Up { set_up, .. } => Some(set_up.how),
            _ => None,
        };
        events.filter_map(how).collect()
    }
}

const REFUSED: Result<(), Refusal> = Err(Refusal::Failed(Failure::RefusedByPeer));

#[test]
fn by_default_only_who_says_that_it_has_no_other_ends_the_others() {
    let mut identity = Identity::new(Unique::No);
    assert_eq!(identity.up(0, "a"), Ok(()));
    assert_eq!(identity.up(0, "b"), Ok(()));
    assert_eq!(identity.sas(), 2);
    identity.has_others(1);
    assert_eq!(identity.up(1, "a"), Ok(()));
    assert_eq!(identity.sas(), 3);

    let mut identity = Identity::new(Unique::No);
    assert_eq!(identity.up(0, "a"), Ok(()));
    assert_eq!(identity.up(1, "a"), Ok(()));
    assert_eq!(identity.sas(), 1);
    assert_eq!(identity.ends(0), [], "whoever has forgotten its SA needs no word of it");
}

#[test]
fn never_means_that_not_even_initial_contact_counts() {
    let mut identity = Identity::new(Unique::Never);
    for (machine, name) in [(0, "a"), (1, "a"), (0, "b")] {
        assert_eq!(identity.up(machine, name), Ok(()));
    }
    assert_eq!(identity.sas(), 3);
}

#[test]
fn replace_ends_the_older_ones_and_tells_their_machines() {
    for lost in 0..8 {
        let mut identity = Identity::new(Unique::Replace);
        assert_eq!(identity.up(0, "a"), Ok(()));
        identity.has_others(1);
        let mut sent = 0;
        identity.world.meddler = Some(Box::new(move |datagram| {
            sent += 1;
            if sent == lost { Vec::new() } else { untouched(datagram) }
        }));
        assert_eq!(identity.up(1, "a"), Ok(()), "{lost}");
        assert_eq!(identity.sas(), 1, "{lost}");
        assert_eq!(identity.ends(0), [Gone::PeerDeleted], "{lost}");
        assert_eq!(identity.ends(1), []);
        // What it resumes takes the place of the other machine's again.
        assert_eq!(identity.command(1, Command::Suspend("a".into())), Ok(()));
        assert_eq!(identity.up(0, "b"), Ok(()));
        assert_eq!(identity.command(1, Command::Resume("a".into())), Ok(()));
        assert_eq!(identity.hows(1), [How::Full, How::Resumed]);
        assert_eq!(identity.sas(), 1);
        assert_eq!(identity.ends(0), [Gone::PeerDeleted; 2]);
    }
}

#[test]
fn of_two_that_come_at_once_replace_leaves_one() {
    let mut identity = Identity::new(Unique::Replace);
    (0..2).for_each(|machine| identity.has_others(machine));
    for machine in identity.machines {
        identity.world.command(machine, Command::Up("a".into()));
    }
    identity.world.run_for(SECOND);
    assert_eq!(identity.sas(), 1);
    let refused = |machine| identity.refused(machine);
    assert_eq!([0, 1].map(refused), [true, false], "whoever is too early learns it at once");
}

#[test]
fn keep_refuses_other_machines_but_not_the_one_that_has_it() {
    let mut identity = Identity::new(Unique::Keep);
    assert_eq!(identity.up(0, "a"), Ok(()));
    identity.has_others(1);
    assert_eq!(identity.up(1, "a"), REFUSED);
    assert_eq!(identity.refusals(), [Failure::NotUnique]);
    assert_eq!(identity.sas(), 1);

    // The same machine begins another before it ends the first.
    assert_eq!(identity.up(0, "b"), Ok(()));
    assert_eq!(identity.sas(), 1);
    assert_eq!(identity.ends(0), [Gone::PeerDeleted]);

    // It sleeps and comes back to what the gateway still has.
    assert_eq!(identity.command(0, Command::Suspend("b".into())), Ok(()));
    assert_eq!(identity.command(0, Command::Resume("b".into())), Ok(()));
    assert_eq!(identity.hows(0), [How::Full, How::Full, How::Resumed]);
    assert_eq!(identity.command(0, Command::Down("b".into())), Ok(()));
    assert_eq!(identity.up(1, "a"), Ok(()));
}

#[test]
fn keep_lets_in_who_says_that_it_has_no_other() {
    let mut identity = Identity::new(Unique::Keep);
    assert_eq!(identity.up(0, "a"), Ok(()));
    assert_eq!(identity.up(1, "a"), Ok(()));
    assert_eq!(identity.sas(), 1);
    assert_eq!(identity.refusals(), []);
}
