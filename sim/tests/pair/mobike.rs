//! MOBIKE: an SA goes along when addresses change.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use esp::spec::Encapsulation;
use ike::event::{Event, Gone, How};
use ike::status::Stage;
use sim::meddle::{self, DELAY, arrival};
use sim::nat::Nat;
use sim::pair::{CLIENT, NAT, Scene};
use sim::profile::GATEWAY;
use sim::{Arrival, Link, Pair, Sent};

const SECOND: Duration = Duration::from_secs(1);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn elsewhere() -> IpAddr {
    address("198.18.0.5")
}

/// Up, and both know the client's address.
fn joined(change: impl FnOnce(&mut Scene)) -> Pair {
    let mut pair = Pair::with(change);
    pair.world.roam(pair.client, &[CLIENT], None);
    assert_eq!(pair.up(), Ok(()));
    pair.forget_past();
    pair
}

/// The client is on another network.
fn roam(pair: &mut Pair, addresses: &[IpAddr], behind: Option<usize>) {
    pair.world.roam(pair.client, addresses, behind);
    pair.world.drive();
}

fn remote_of_gateway(pair: &Pair) -> IpAddr {
    pair.served()[0].sa.as_ref().unwrap().remote.ip()
}

fn paths(pair: &Pair) -> [(IpAddr, IpAddr, Encapsulation); 2] {
    [pair.client, pair.gateway].map(|id| {
        let child = pair.world.node(id).plane.children().values().next().unwrap();
        (child.path.local.ip(), child.path.remote.ip(), child.path.encapsulation)
    })
}

fn moves(events: &mut dyn Iterator<Item = &Event>) -> usize {
    events.filter(|event| matches!(event, Event::Moved { .. })).count()
}

/// The SA is the one that it was before, and goes between these addresses.
fn assert_moved(pair: &mut Pair, client: IpAddr, gateway: IpAddr) {
    pair.assert_joined();
    let is_other = |event: &&Event| matches!(event, Event::Down { .. } | Event::Up { .. });
    assert_eq!(pair.client_events().find(is_other), None);
    assert_eq!(pair.gateway_events().find(is_other), None);
    let [ours, theirs] = paths(pair);
    assert_eq!((ours.0, ours.1), (client, gateway));
    assert_eq!((theirs.0, theirs.1), (gateway, client));
    assert_eq!(ours.2, theirs.2);
}

#[test]
fn who_may_move_uses_the_port_that_crosses_nats_from_the_second_exchange_on() {
    let mut pair = Pair::with(|scene| scene.client.local_addrs = vec![CLIENT]);
    pair.up().unwrap();
    pair.assert_joined();
    let ports: Vec<_> = pair.world.trace.iter().map(|sent| sent.datagram.to.port()).collect();
    assert_eq!(ports, [500, 500, 4500, 4500]);
    assert_eq!(paths(&pair)[0].2, Encapsulation::Plain);
}

#[test]
fn a_client_that_changes_networks_takes_its_sa_along() {
    let mut pair = joined(|_| {});
    roam(&mut pair, &[elsewhere()], None);
    assert_moved(&mut pair, elsewhere(), GATEWAY);
    assert_eq!(moves(&mut pair.client_events()), 1);
    assert_eq!(moves(&mut pair.gateway_events()), 1);
    // UPDATE_SA_ADDRESSES, and the gateway's check that the client is there.
    assert_eq!(pair.world.trace.len(), 4);
}

#[test]
fn what_is_lost_doubled_or_late_on_the_way_changes_nothing() {
    for seed in 1..=60 {
        let mut pair = joined(|scene| {
            scene.seed = seed;
            scene.client.liveness = Some(20 * SECOND);
        });
        pair.world.link = Link {
            jitter: Duration::from_millis(700),
            loss: 250,
            duplication: 250,
            ..Link::default()
        };
        for to in ["198.18.0.5", "198.18.0.6", "198.18.0.7"] {
            pair.world.roam(pair.client, &[address(to)], None);
            let pause = pair.world.chance().up_to(3 * SECOND);
            pair.world.run_for(pause);
        }
        pair.world.run_for(60 * SECOND);
        pair.world.link = Link::default();
        pair.world.run_for(SECOND);
        pair.world.drive();
        assert_moved(&mut pair, address("198.18.0.7"), GATEWAY);
    }
}

/// To another network, with a public address or behind a NAT, with this done to
/// each datagram in turn: UPDATE_SA_ADDRESSES, and the gateway's check.
fn move_at_every_position(meddle: fn(&Sent) -> Vec<Arrival>) {
    for is_hidden in [false, true] {
        for position in 0..4 {
            let mut pair = joined(|_| {});
            let nat = pair.world.add_nat(Nat::new(NAT, 120 * SECOND));
            pair.world.meddler = Some(meddle::nth(position, meddle));
            if is_hidden {
                roam(&mut pair, &[address("192.168.1.2")], Some(nat));
            } else {
                roam(&mut pair, &[elsewhere()], None);
            }
            pair.world.run_for(30 * SECOND);
            pair.world.meddler = None;
            if is_hidden {
                pair.assert_joined();
                assert_eq!(remote_of_gateway(&pair), NAT, "datagram {position}");
                assert_eq!(paths(&pair)[1].1, NAT, "datagram {position}");
            } else {
                assert_moved(&mut pair, elsewhere(), GATEWAY);
            }
            assert_eq!(moves(&mut pair.gateway_events()), 1, "datagram {position}");
        }
    }
}

#[test]
fn any_datagram_of_a_move_may_be_lost() {
    move_at_every_position(|_| Vec::new());
}

#[test]
fn any_datagram_of_a_move_may_come_twice_or_late() {
    move_at_every_position(|sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)]);
    move_at_every_position(|sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]);
    move_at_every_position(|sent| vec![arrival(DELAY * 3, sent)]);
    move_at_every_position(|sent| vec![arrival(SECOND * 3 / 4, sent)]);
    move_at_every_position(|sent| vec![arrival(3 * SECOND, sent)]);
}

/// An address more, and one less: the peer is told, by one exchange each.
#[test]
fn any_datagram_of_a_list_of_addresses_may_be_lost_or_come_twice_or_late() {
    let meddlers: [fn(&Sent) -> Vec<Arrival>; 4] = [
        |_| Vec::new(),
        |sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)],
        |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)],
        |sent| vec![arrival(3 * SECOND, sent)],
    ];
    for meddle in meddlers {
        for position in 0..4 {
            let mut pair = joined(|_| {});
            pair.world.meddler = Some(meddle::nth(position, meddle));
            roam(&mut pair, &[CLIENT, elsewhere()], None);
            pair.world.run_for(SECOND);
            roam(&mut pair, &[CLIENT], None);
            pair.world.run_for(30 * SECOND);
            pair.world.meddler = None;
            assert_moved(&mut pair, CLIENT, GATEWAY);
            assert_eq!(moves(&mut pair.gateway_events()), 0);
            let headers = pair.world.trace.iter().filter_map(|sent| sent.datagram.header());
            let requests: BTreeSet<_> = headers
                .filter(|header| !header.flags.response)
                .map(|header| header.message_id)
                .collect();
            assert_eq!(requests.len(), 2, "datagram {position}");
            // Nothing of it is in the way of a move.
            roam(&mut pair, &[elsewhere()], None);
            assert_moved(&mut pair, elsewhere(), GATEWAY);
        }
    }
}

#[test]
fn a_request_in_flight_is_sent_again_by_the_new_way() {
    let mut pair = joined(|scene| scene.client.liveness = Some(10 * SECOND));
    // A liveness check goes out and is lost with the network.
    pair.world.run_for(9 * SECOND);
    pair.world.node_mut(pair.client).offline = true;
    pair.world.run_for(2 * SECOND);
    roam(&mut pair, &[elsewhere()], None);
    assert_moved(&mut pair, elsewhere(), GATEWAY);
}

#[test]
fn a_request_of_the_gateway_in_flight_finds_the_client_by_the_new_way() {
    let mut pair = joined(|scene| scene.gateway.liveness = Some(10 * SECOND));
    pair.world.run_for(9 * SECOND);
    pair.world.node_mut(pair.client).offline = true;
    pair.world.run_for(4 * SECOND);
    let sent = pair.world.trace.len();
    assert!(sent > 0, "the gateway asks");
    roam(&mut pair, &[elsewhere()], None);
    assert_moved(&mut pair, elsewhere(), GATEWAY);
}

#[test]
fn packets_go_back_only_to_where_the_client_is_known_to_be() {
    let mut pair = joined(|_| {});
    let gateway = pair.gateway;
    // Nothing that the gateway asks arrives.
    pair.world.meddler = Some(Box::new(move |sent| {
        let is_request = sent.datagram.header().is_some_and(|header| !header.flags.response);
        let arrival = Arrival { after: Duration::from_millis(10), datagram: sent.datagram.clone() };
        if sent.by == gateway && is_request { Vec::new() } else { vec![arrival] }
    }));
    roam(&mut pair, &[elsewhere()], None);
    assert_eq!(remote_of_gateway(&pair), elsewhere(), "messages go there");
    assert_eq!(paths(&pair)[1].1, CLIENT, "packets do not yet");
    pair.world.meddler = None;
    pair.world.run_for(5 * SECOND);
    assert_moved(&mut pair, elsewhere(), GATEWAY);
}

#[test]
fn encapsulation_comes_and_goes_with_nats() {
    let mut pair = Pair::with(|_| {});
    let nat = pair.world.add_nat(Nat::new(NAT, 120 * SECOND));
    pair.world.roam(pair.client, &[address("192.168.1.2")], Some(nat));
    pair.up().unwrap();
    pair.forget_past();
    assert_eq!(paths(&pair)[0].2, Encapsulation::Udp);
    // Out of the NAT, and behind it again.
    roam(&mut pair, &[elsewhere()], None);
    assert_moved(&mut pair, elsewhere(), GATEWAY);
    assert_eq!(paths(&pair)[0].2, Encapsulation::Plain);
    pair.world.run_for(300 * SECOND);
    let keepalives = |pair: &Pair| {
        let trace = pair.world.trace.iter();
        trace.filter(|sent| sent.datagram.content == sim::Content::Keepalive).count()
    };
    assert_eq!(keepalives(&pair), 0);
    roam(&mut pair, &[address("192.168.1.2")], Some(nat));
    pair.assert_joined();
    let [ours, theirs] = paths(&pair);
    assert_eq!((ours.2, theirs.1, theirs.2), (Encapsulation::Udp, NAT, Encapsulation::Udp));
    pair.world.run_for(300 * SECOND);
    assert_eq!(keepalives(&pair), 15);
    pair.assert_joined();
}

#[test]
fn from_one_nat_to_another() {
    let mut pair = joined(|scene| scene.client.liveness = Some(15 * SECOND));
    for public in [NAT, address("203.0.113.98"), address("203.0.113.99")] {
        let nat = pair.world.add_nat(Nat::new(public, 120 * SECOND));
        roam(&mut pair, &[address("192.168.1.2")], Some(nat));
        // The same inner address behind another NAT: the liveness check shows it.
        pair.world.run_for(40 * SECOND);
        pair.assert_joined();
        assert_eq!(remote_of_gateway(&pair), public);
    }
    let ups = pair.client_events().filter(|event| matches!(event, Event::Up { .. }));
    assert_eq!(ups.count(), 0);
}

#[test]
fn from_one_address_family_to_the_other() {
    let (ours, theirs) = (address("2001:db8::a"), address("2001:db8::1"));
    let mut pair = Pair::with(|_| {});
    pair.world.roam(pair.gateway, &[GATEWAY, theirs], None);
    pair.world.roam(pair.client, &[CLIENT], None);
    pair.up().unwrap();
    pair.forget_past();
    roam(&mut pair, &[ours], None);
    assert_moved(&mut pair, ours, theirs);
    roam(&mut pair, &[elsewhere()], None);
    assert_moved(&mut pair, elsewhere(), GATEWAY);
}

#[test]
fn a_broken_way_is_left_for_one_that_works() {
    let theirs = address("198.51.100.2");
    let mut pair = Pair::with(|scene| scene.client.liveness = Some(10 * SECOND));
    pair.world.roam(pair.gateway, &[GATEWAY, theirs], None);
    pair.world.roam(pair.client, &[CLIENT, elsewhere()], None);
    pair.up().unwrap();
    pair.forget_past();
    // All but one of the four ways break, and nobody is told.
    for (from, to) in [(CLIENT, GATEWAY), (CLIENT, theirs), (elsewhere(), GATEWAY)] {
        pair.world.broken.extend([(from, to), (to, from)]);
    }
    pair.world.run_for(20 * SECOND);
    pair.world.drive();
    assert_moved(&mut pair, elsewhere(), theirs);
}

#[test]
fn a_gateway_that_loses_an_address_is_found_at_its_other_one() {
    let theirs = address("198.51.100.2");
    let mut pair = Pair::with(|scene| scene.client.liveness = Some(10 * SECOND));
    pair.world.roam(pair.gateway, &[GATEWAY, theirs], None);
    pair.world.roam(pair.client, &[CLIENT], None);
    pair.up().unwrap();
    pair.forget_past();
    // The first address is gone: the client finds the second by itself.
    pair.world.roam(pair.gateway, &[theirs], None);
    pair.world.run_for(20 * SECOND);
    pair.world.drive();
    assert_moved(&mut pair, CLIENT, theirs);
}

#[test]
fn an_sa_ends_where_the_gateway_does_not_serve_the_address() {
    let mut pair = joined(|scene| scene.gateway.remote = Some(CLIENT));
    roam(&mut pair, &[elsewhere()], None);
    let is_down = |event: &Event| matches!(event, Event::Down { why: Gone::Moved, .. });
    assert!(pair.client_events().any(is_down));
    assert_eq!(remote_of_gateway(&pair), CLIENT);
}

#[test]
fn without_mobike_on_both_sides_the_session_is_resumed_on_the_new_network_at_once() {
    for (client, gateway) in [(false, true), (true, false), (false, false)] {
        let mut pair = joined(|scene| {
            scene.client.mobike = client;
            scene.gateway.mobike = gateway;
        });
        roam(&mut pair, &[elsewhere()], None);
        pair.assert_up_by(How::Resumed);
        let is_down = |event: &Event| matches!(event, Event::Down { why: Gone::Moved, .. });
        assert!(pair.client_events().any(is_down));
        assert_eq!(remote_of_gateway(&pair), elsewhere());
        // IKE_SESSION_RESUME and IKE_AUTH, and not a word more.
        assert_eq!(pair.world.trace.len(), 4);
    }
}

#[test]
fn without_mobike_and_a_ticket_a_full_exchange_follows_at_once() {
    let mut pair = joined(|scene| {
        scene.client.mobike = false;
        scene.client.resumption.enabled = false;
    });
    roam(&mut pair, &[elsewhere()], None);
    assert_eq!(pair.status().stage, Stage::Up);
    assert_eq!(pair.set_up().how, How::Full);
}

#[test]
fn a_set_up_on_its_way_begins_anew_on_the_new_network() {
    for after in [1, 15, 25, 35, 45] {
        let mut pair = Pair::with(|_| {});
        pair.world.roam(pair.client, &[CLIENT], None);
        let request = pair.begin(ike::event::Command::Up(pair.name()));
        pair.world.run_for(Duration::from_millis(after));
        pair.world.roam(pair.client, &[elsewhere()], None);
        assert_eq!(pair.finish(request), Ok(()));
        pair.world.run_for(SECOND);
        pair.world.drive();
        assert_eq!(pair.status().stage, Stage::Up);
        assert_eq!(paths(&pair)[0].0, elsewhere());
        assert!(pair.ping());
    }
}

#[test]
fn a_kept_connection_does_not_wait_when_the_network_comes_back() {
    let mut pair = Pair::with(|scene| scene.client.retransmission.tries = 2);
    pair.world.roam(pair.client, &[], None);
    let now = pair.world.node(pair.client).clock.at(pair.world.now());
    let name = pair.name();
    pair.client_endpoint().keep_up(now, &name);
    pair.world.run_for(1000 * SECOND);
    assert_eq!(pair.status().stage, Stage::Down);
    pair.world.roam(pair.client, &[elsewhere()], None);
    pair.world.run_for(2 * SECOND);
    pair.assert_joined();
}

#[test]
fn an_sa_that_was_rekeyed_moves_like_before() {
    for what in [ike::event::RekeyWhat::IkeSa, ike::event::RekeyWhat::Children] {
        let mut pair = joined(|_| {});
        pair.command(ike::event::Command::Rekey(pair.name(), what)).unwrap();
        pair.world.run_for(10 * SECOND);
        roam(&mut pair, &[elsewhere()], None);
        assert_moved(&mut pair, elsewhere(), GATEWAY);
    }
}

#[test]
fn a_move_in_the_middle_of_a_rekey_is_not_lost() {
    for what in [ike::event::RekeyWhat::IkeSa, ike::event::RekeyWhat::Children] {
        for after in [0, 5, 12, 15, 25, 35] {
            let mut pair = joined(|_| {});
            pair.begin(ike::event::Command::Rekey(pair.name(), what));
            pair.world.run_for(Duration::from_millis(after));
            roam(&mut pair, &[elsewhere()], None);
            pair.world.run_for(10 * SECOND);
            assert_moved(&mut pair, elsewhere(), GATEWAY);
        }
    }
}

#[test]
fn a_suspended_session_of_a_moved_sa_is_resumed_from_anywhere() {
    let mut pair = joined(|_| {});
    roam(&mut pair, &[elsewhere()], None);
    pair.suspend().unwrap();
    roam(&mut pair, &[CLIENT], None);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}
