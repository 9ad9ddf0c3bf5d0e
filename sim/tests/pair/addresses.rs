//! Inner addresses from the gateway's pool (RFC 7296 sections 2.19 and 3.15).

use std::net::IpAddr;

use esp::spec::Prefix;
use ike::event::{Event, Gone, How};
use ike::fault::{Failure, Refusal};
use ike::identity::Id;
use ike::inner::{Addresses, Network};
use ike::pool::{AddressRange, PoolConfig};
use sim::plane::Outgoing;
use sim::{Pair, Scene};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Four IPv4 addresses, from that on which a ping of a pair comes, and four of IPv6.
fn pool() -> PoolConfig {
    let range = |first, last| AddressRange::new(ip(first), ip(last)).unwrap();
    PoolConfig {
        name: "clients".into(),
        ranges: vec![range("10.1.0.2", "10.1.0.5"), range("fd00::2", "fd00::5")],
        fixed: Vec::new(),
        network: Network {
            dns: vec![ip("10.2.0.53"), ip("fd00:2::53")],
            domains: vec!["corp.example".parse().unwrap()],
            subnets: Vec::new(),
        },
    }
}

/// A client that asks for an IPv4 address, and a gateway that has some.
pub(crate) fn dynamic(scene: &mut Scene) {
    scene.client.vips = vec!["0.0.0.0"];
    scene.client.dynamic = true;
    scene.client.local_ts = vec!["0.0.0.0/0".into(), "::/0".into()];
    scene.gateway.pools = vec![pool()];
    scene.gateway.dynamic = true;
    scene.gateway.remote_ts = vec!["10.1.0.0/16", "fd00::/16"];
}

fn ours(pair: &Pair) -> Option<Addresses> {
    let inner = &pair.world.node(pair.client).inner;
    inner.get(&pair.name()).map(|given| given.addresses)
}

fn only(text: &str) -> Option<Addresses> {
    Some([ip(text)].into_iter().collect())
}

fn failures(pair: &Pair) -> Vec<Failure> {
    let why = |event: &Event| match event {
        Event::Failed { why, .. } => Some(why.clone()),
        _ => None,
    };
    pair.client_events().filter_map(why).collect()
}

#[test]
fn the_gateway_gives_an_address_and_the_child_is_narrowed_to_it() {
    let mut pair = Pair::joined(dynamic);
    assert_eq!(ours(&pair), only("10.1.0.2"));
    pair.assert_joined();
    let child = &pair.status().sa.unwrap().children[0];
    assert_eq!(
        format!("{:?} {:?}", child.local_ts, child.remote_ts),
        "[10.1.0.2/32] [10.2.0.0/16]"
    );
    let theirs = pair.served()[0].sa.clone().unwrap();
    assert_eq!(Some(theirs.inner), only("10.1.0.2"));
    assert_eq!(format!("{:?}", theirs.children[0].remote_ts), "[10.1.0.2/32]");
}

#[test]
fn name_servers_of_the_families_that_were_asked_for_come_with_it() {
    let pair = Pair::joined(dynamic);
    let given = &pair.world.node(pair.client).inner[&pair.name()];
    assert_eq!(given.network.dns, [ip("10.2.0.53")]);
    assert_eq!(given.network.domains, ["corp.example".parse().unwrap()]);
    assert_eq!(pair.status().assigned.as_ref(), Some(given));
}

#[test]
fn what_lies_behind_the_gateway_is_told() {
    let subnets = [("10.2.0.0", 16), ("10.9.0.0", 24)];
    let subnets = subnets.map(|(address, len)| Prefix { address: ip(address), len });
    let pair = Pair::joined(|scene| {
        dynamic(scene);
        scene.gateway.pools[0].network.subnets = subnets.to_vec();
    });
    assert_eq!(pair.world.node(pair.client).inner[&pair.name()].network.subnets, subnets);
}

#[test]
fn a_client_can_have_an_address_of_each_family() {
    let pair = Pair::joined(|scene| {
        dynamic(scene);
        scene.client.vips = vec!["0.0.0.0", "fd00::4"];
        scene.client.remote_ts = vec!["10.2.0.0/16", "fd00:2::/32"];
        scene.gateway.local_ts = vec!["10.2.0.0/16".into(), "fd00:2::/32".into()];
    });
    let both = [ip("10.1.0.2"), ip("fd00::4")].into_iter().collect();
    assert_eq!(ours(&pair), Some(both));
    let child = &pair.status().sa.unwrap().children[0];
    assert_eq!(format!("{:?}", child.local_ts), "[10.1.0.2/32, fd00::4/128]");
}

#[test]
fn a_session_keeps_its_address_while_it_sleeps_and_when_it_comes_back() {
    let mut pair = Pair::suspended(|scene| {
        dynamic(scene);
        scene.client.vips = vec!["10.1.0.4"];
    });
    assert_eq!(ours(&pair), only("10.1.0.4"));
    pair.scene().client.vips = vec!["0.0.0.0"];
    pair.resume().unwrap();
    assert_eq!(pair.set_up().how, How::Resumed);
    assert_eq!(ours(&pair), only("10.1.0.4"));
    assert_eq!(pair.served().len(), 1);
    assert_eq!(pair.gateway_endpoint().holdings().addresses, 1);
}

#[test]
fn a_ticket_brings_the_address_back_to_a_gateway_that_has_lost_its_leases() {
    let mut pair = Pair::suspended(|scene| {
        dynamic(scene);
        scene.client.vips = vec!["10.1.0.4"];
    });
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).leases.clear();
    pair.reconfigure_gateway();
    pair.resume().unwrap();
    assert_eq!(pair.set_up().how, How::Resumed);
    assert_eq!(ours(&pair), only("10.1.0.4"));
}

#[test]
fn an_identity_gets_its_address_again_after_the_gateway_was_restarted() {
    let mut pair = Pair::joined(|scene| {
        dynamic(scene);
        scene.client.vips = vec!["10.1.0.4"];
    });
    pair.down().unwrap();
    assert_eq!(ours(&pair), None);
    pair.restart_gateway();
    pair.scene().client.vips = vec!["0.0.0.0"];
    pair.restart_client();
    pair.up().unwrap();
    assert_eq!(ours(&pair), only("10.1.0.4"));
}

#[test]
fn a_client_that_comes_anew_takes_over_the_address_of_its_old_sa() {
    let mut pair = Pair::joined(dynamic);
    pair.restart_client();
    pair.up().unwrap();
    assert_eq!(ours(&pair), only("10.1.0.2"));
    assert!(pair.gateway_events().any(|it| matches!(it, Event::Down { why: Gone::Replaced, .. })));
    pair.assert_joined();
    pair.down().unwrap();
    pair.world.run_for(std::time::Duration::from_secs(60));
    pair.assert_empty();
}

#[test]
fn an_exhausted_pool_gives_no_child_and_tells() {
    let mut pair = Pair::with(|scene| {
        dynamic(scene);
        let mut small = pool();
        small.ranges = vec![AddressRange::new(ip("10.1.0.2"), ip("10.1.0.2")).unwrap()];
        small.fixed = vec![("somebody.else".parse::<Id>().unwrap(), ip("10.1.0.2"))];
        scene.gateway.pools = vec![small];
    });
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::NoAddress)));
    assert_eq!(failures(&pair), [Failure::NoAddress]);
    assert!(pair.gateway_events().any(|event| matches!(event, Event::PoolExhausted { .. })));
    pair.world.run_for(std::time::Duration::from_secs(60));
    pair.assert_apart();
    pair.assert_empty();
}

#[test]
fn a_gateway_that_gives_addresses_wants_to_be_asked() {
    let mut pair = Pair::with(|scene| {
        dynamic(scene);
        scene.client.vips = Vec::new();
        scene.client.dynamic = false;
    });
    let required = ike::wire::NotifyType::FAILED_CP_REQUIRED.0;
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::Notify(required))));
}

#[test]
fn a_client_that_needs_an_address_does_not_do_without() {
    let mut pair = Pair::with(|scene| {
        dynamic(scene);
        scene.gateway.pools = Vec::new();
        scene.gateway.dynamic = false;
    });
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::NoAddress)));
    pair.world.run_for(std::time::Duration::from_secs(60));
    pair.assert_apart();
}

#[test]
fn another_source_address_does_not_pass_the_gateway() {
    let mut pair = Pair::joined(|scene| {
        dynamic(scene);
        scene.client.vips = vec!["10.1.0.4"];
    });
    assert!(!pair.ping(), "the ping comes from 10.1.0.2");
    assert!(!matches!(pair.outgoing(), Outgoing::Sealed(..)));
}

#[test]
fn the_address_goes_when_the_connection_ends_however_it_ends() {
    let mut pair = Pair::joined(dynamic);
    pair.down().unwrap();
    assert_eq!(ours(&pair), None);
    let mut pair = Pair::suspended(dynamic);
    assert!(ours(&pair).is_some());
    pair.down().unwrap();
    assert_eq!(ours(&pair), None);
    let mut pair = Pair::suspended(dynamic);
    pair.world.run_for(std::time::Duration::from_secs(25 * 3600));
    assert_eq!(ours(&pair), None, "the ticket has expired");
}
