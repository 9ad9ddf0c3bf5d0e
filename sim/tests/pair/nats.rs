//! Address translation, and what pretends to be one.

use std::net::IpAddr;
use std::time::Duration;

use esp::spec::Encapsulation;
use ike::event::{Command, Event, How};
use sim::pair::NAT;
use sim::{Content, Pair};

const SECOND: Duration = Duration::from_secs(1);

/// Where the client's child leads, on both sides.
fn encapsulation(pair: &Pair) -> Encapsulation {
    let child = pair.world.node(pair.client).plane.children().values().next().unwrap();
    child.path.encapsulation
}

fn ports(pair: &Pair) -> Vec<u16> {
    let from_client = |sent: &&sim::Sent| sent.by == pair.client;
    pair.world.trace.iter().filter(from_client).map(|sent| sent.datagram.to.port()).collect()
}

fn moves(pair: &Pair) -> usize {
    pair.gateway_events().filter(|event| matches!(event, Event::Moved { .. })).count()
}

#[test]
fn without_a_nat_esp_travels_plainly_and_ike_on_its_own_port() {
    let mut pair = Pair::with(|scene| {
        scene.client.local_addrs = vec![sim::pair::CLIENT];
        scene.client.mobike = false;
    });
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(encapsulation(&pair), Encapsulation::Plain);
    assert_eq!(ports(&pair), [500, 500]);
}

#[test]
fn a_client_that_does_not_know_its_address_yet_encapsulates_like_its_peer() {
    let mut pair = Pair::joined(|_| {});
    pair.assert_joined();
    assert_eq!(encapsulation(&pair), Encapsulation::Udp);
}

#[test]
fn behind_a_nat_both_go_to_port_4500() {
    let mut pair = Pair::with(|scene| scene.nat = Some(120 * SECOND));
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(encapsulation(&pair), Encapsulation::Udp);
    assert_eq!(ports(&pair), [500, 4500]);
    assert_eq!(pair.served()[0].sa.as_ref().unwrap().remote.ip(), NAT);
    pair.suspend().unwrap();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(encapsulation(&pair), Encapsulation::Udp);
    assert_eq!(ports(&pair), [500, 4500]);
}

#[test]
fn who_is_behind_a_nat_keeps_its_mapping_alive() {
    let mut pair = Pair::joined(|scene| scene.nat = Some(30 * SECOND));
    pair.world.run_for(600 * SECOND);
    let keepalives = pair.world.trace.iter().filter(|s| s.datagram.content == Content::Keepalive);
    assert_eq!(keepalives.count(), 30);
    pair.assert_joined();
    assert_eq!(moves(&pair), 0);
    let mut pair = Pair::joined(|_| {});
    pair.world.run_for(600 * SECOND);
    assert_eq!(pair.world.trace.len(), 0);
}

#[test]
fn a_new_mapping_is_followed_when_an_authentic_request_comes_from_it() {
    let mut pair = Pair::joined(|scene| {
        scene.nat = Some(3600 * SECOND);
        scene.client.liveness = Some(30 * SECOND);
    });
    pair.world.nat(0).restart();
    pair.world.run_for(31 * SECOND);
    assert_eq!(moves(&pair), 1);
    pair.assert_joined();
}

#[test]
fn a_new_mapping_is_followed_when_authentic_esp_comes_from_it() {
    let mut pair = Pair::joined(|scene| scene.nat = Some(3600 * SECOND));
    pair.world.nat(0).restart();
    pair.outgoing();
    pair.world.drive();
    assert_eq!(moves(&pair), 1);
    pair.assert_joined();
}

#[test]
fn a_client_follows_nobody_from_behind_its_nat() {
    let mut pair = Pair::joined(|scene| {
        scene.nat = Some(3600 * SECOND);
        scene.gateway.liveness = Some(30 * SECOND);
    });
    let gateway = pair.gateway;
    let elsewhere: IpAddr = "198.51.100.66".parse().unwrap();
    pair.world.run_for(29 * SECOND);
    let sent = pair.world.trace.len();
    pair.world.meddler = Some(Box::new(move |sent| {
        let mut datagram = sent.datagram.clone();
        if sent.by == gateway {
            datagram.from.set_ip(elsewhere);
        }
        vec![sim::Arrival { after: Duration::from_millis(10), datagram }]
    }));
    pair.world.run_for(5 * SECOND);
    assert!(pair.world.trace.len() > sent);
    pair.world.meddler = None;
    assert!(!pair.client_events().any(|event| matches!(event, Event::Moved { .. })));
    pair.assert_joined();
}

#[test]
fn either_side_can_force_encapsulation_on_both() {
    for (client, gateway) in [(true, false), (false, true), (true, true)] {
        let mut pair = Pair::with(|scene| {
            scene.client.local_addrs = vec![sim::pair::CLIENT];
            scene.client.force_encapsulation = client;
            scene.gateway.force_encapsulation = gateway;
        });
        pair.up().unwrap();
        pair.assert_joined();
        assert_eq!(encapsulation(&pair), Encapsulation::Udp);
        pair.suspend().unwrap();
        pair.resume().unwrap();
        pair.assert_up_by(How::Resumed);
        assert_eq!(encapsulation(&pair), Encapsulation::Udp);
    }
}

#[test]
fn the_outside_may_be_ipv6() {
    let (ours, theirs): (IpAddr, IpAddr) =
        ("2001:db8::a".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let mut world = sim::World::new(3, sim::Link::default());
    let mut profile = sim::Profile::client();
    profile.remote = Some(theirs);
    let client = world.add(sim::pair::machine(&profile, ours, 31, 0));
    let gateway = world.add(sim::pair::machine(&sim::Profile::gateway(), theirs, 32, 0));
    for command in [Command::Up, Command::Suspend, Command::Resume] {
        let request = world.command(client, command("home".into()));
        world.drive();
        assert_eq!(world.node(client).replies[&request], Ok(()));
    }
    let child = world.node(gateway).plane.children().values().next().unwrap();
    assert_eq!((child.path.local.ip(), child.path.remote.ip()), (theirs, ours));
    let child = *world.node(client).plane.children().keys().next().unwrap();
    assert!(world.counterpart(client, child).is_some());
}

#[test]
fn a_plane_without_plain_esp_makes_both_encapsulate() {
    for (client, gateway) in [(true, false), (false, true), (false, false)] {
        let mut pair = Pair::with(|scene| {
            scene.client.local_addrs = vec![sim::pair::CLIENT];
            scene.client.plain_esp = client;
            scene.gateway.plain_esp = gateway;
        });
        pair.up().unwrap();
        pair.assert_joined();
        assert_eq!(encapsulation(&pair), Encapsulation::Udp);
    }
}
