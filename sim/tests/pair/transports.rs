//! An SA moves between UDP and TCP (RFC 9329 section 7.1).

use std::net::IpAddr;
use std::time::Duration;

use esp::spec::{Encapsulation, StreamId};
use ike::config::{FragmentationMode, TcpUse};
use ike::event::{Command, Event, Gone, How, RekeyWhat};
use ike::wire::{ExchangeType, Header, PayloadType};
use sim::pair::{CLIENT, Scene};
use sim::{Arrival, Link, Pair, Sent};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The client's address on another network, and on a third.
const ELSEWHERE: [&str; 2] = ["198.18.0.5", "198.18.0.6"];

/// What a network lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Network {
    Open,
    OnlyTcp,
}

/// Both sides know TCP, and the client is up on this network.
fn joined_on(network: Network, change: impl FnOnce(&mut Scene)) -> Pair {
    let mut pair = Pair::with(|scene| {
        scene.client.tcp = TcpUse::Auto;
        scene.gateway.tcp = TcpUse::Auto;
        change(scene);
    });
    enter(&mut pair, network, CLIENT);
    assert_eq!(pair.up(), Ok(()));
    assert_eq!(by_tcp(&pair), network == Network::OnlyTcp);
    pair.forget_past();
    pair
}

/// The client has this address now, on a network like that.
fn enter(pair: &mut Pair, network: Network, address: IpAddr) {
    pair.world.only_tcp = network == Network::OnlyTcp;
    pair.world.roam(pair.client, &[address], None);
}

fn elsewhere() -> IpAddr {
    ELSEWHERE[0].parse().unwrap()
}

fn way(pair: &Pair, is_client: bool) -> (IpAddr, IpAddr, Encapsulation) {
    let id = if is_client { pair.client } else { pair.gateway };
    let child = pair.world.node(id).plane.children().values().next().unwrap();
    (child.path.local.ip(), child.path.remote.ip(), child.path.encapsulation)
}

/// Whether the packets of both sides go by TCP, or those of neither.
fn by_tcp(pair: &Pair) -> bool {
    let [ours, theirs] = [true, false].map(|is_client| {
        let (.., encapsulation) = way(pair, is_client);
        matches!(encapsulation, Encapsulation::Tcp(_))
    });
    assert_eq!(ours, theirs, "the two sides go by different ways");
    ours
}

fn client_stream(pair: &Pair) -> Option<StreamId> {
    match way(pair, true).2 {
        Encapsulation::Tcp(stream) => Some(stream),
        Encapsulation::Udp | Encapsulation::Plain => None,
    }
}

/// The SA is the one that it was before, and goes from this address by the best
/// that the network lets through. No connection is open that is not needed.
fn assert_moved(pair: &mut Pair, network: Network, address: IpAddr) {
    pair.assert_joined();
    let is_other = |event: &&Event| matches!(event, Event::Down { .. } | Event::Up { .. });
    assert_eq!(pair.client_events().find(is_other), None);
    assert_eq!(pair.gateway_events().find(is_other), None);
    assert_eq!((way(pair, true).0, way(pair, false).1), (address, address));
    assert_eq!(by_tcp(pair), network == Network::OnlyTcp);
    pair.world.drive();
    let kept = pair.world.node(pair.gateway).kept.len();
    assert_eq!(kept, usize::from(network == Network::OnlyTcp));
    assert_eq!(pair.world.tcp.len(), kept, "a connection is left open");
}

/// The requests of the client, in the order in which they were sent, each way.
fn asked<'p>(pair: &'p Pair, trace: &'p [Sent]) -> Vec<&'p [u8]> {
    let by_client = trace.iter().filter(|sent| sent.by == pair.client);
    let is_request = |sent: &&Sent| sent.datagram.header().is_some_and(|it| !it.flags.response);
    by_client.filter(is_request).filter_map(|sent| Some(&**sent.datagram.ike()?)).collect()
}

#[test]
fn where_udp_is_blocked_an_sa_goes_on_by_tcp_and_comes_back_where_it_is_not() {
    let mut pair = joined_on(Network::Open, |_| {});
    enter(&mut pair, Network::OnlyTcp, elsewhere());
    pair.world.run_for(3 * SECOND);
    assert_moved(&mut pair, Network::OnlyTcp, elsewhere());

    // The request is the same by UDP and by TCP; what it says of the way is
    // right in the next one only.
    let by_udp = asked(&pair, &pair.world.trace);
    let by_tcp = asked(&pair, &pair.world.tcp_trace);
    assert!(by_udp.len() >= 2 && by_udp.iter().all(|sent| *sent == by_udp[0]), "{by_udp:?}");
    assert_eq!(by_tcp.len(), 2);
    assert_eq!(by_tcp[0], by_udp[0]);
    // Who opens a connection is there: the gateway does not check it.
    let by_gateway = |sent: &&Sent| sent.by == pair.gateway;
    let answers = pair.world.tcp_trace.iter().filter(by_gateway);
    assert!(answers.into_iter().all(|sent| sent.datagram.header().unwrap().flags.response));

    enter(&mut pair, Network::Open, CLIENT);
    pair.world.drive();
    assert_moved(&mut pair, Network::Open, CLIENT);
}

#[test]
fn from_one_network_without_udp_to_another_and_udp_is_tried_first_with_less_patience() {
    let mut pair = joined_on(Network::OnlyTcp, |_| {});
    let before = client_stream(&pair);
    enter(&mut pair, Network::OnlyTcp, elsewhere());
    pair.world.run_for(SECOND);
    assert_moved(&mut pair, Network::OnlyTcp, elsewhere());
    assert_ne!(client_stream(&pair), before);
    assert!(!asked(&pair, &pair.world.trace).is_empty(), "UDP was not tried");
}

#[test]
fn from_behind_a_nat_to_tcp_and_behind_another_nat() {
    let mut pair = Pair::with(|scene| {
        scene.nat = Some(120 * SECOND);
        (scene.client.tcp, scene.gateway.tcp) = (TcpUse::Auto, TcpUse::Auto);
    });
    pair.up().unwrap();
    pair.forget_past();
    enter(&mut pair, Network::OnlyTcp, elsewhere());
    pair.world.run_for(3 * SECOND);
    assert_moved(&mut pair, Network::OnlyTcp, elsewhere());
    let public = "203.0.113.98".parse().unwrap();
    let nat = pair.world.add_nat(sim::nat::Nat::new(public, 120 * SECOND));
    pair.world.only_tcp = false;
    pair.world.roam(pair.client, &["192.168.1.9".parse().unwrap()], Some(nat));
    pair.world.drive();
    pair.assert_joined();
    assert!(!by_tcp(&pair));
    assert_eq!(way(&pair, true).2, Encapsulation::Udp);
}

#[test]
fn a_wall_that_rises_on_the_same_network_is_got_through_too() {
    let mut pair = joined_on(Network::Open, |it| it.client.liveness = Some(10 * SECOND));
    pair.world.only_tcp = true;
    pair.world.run_for(20 * SECOND);
    assert_moved(&mut pair, Network::OnlyTcp, CLIENT);
    // Nothing tells us that it is gone. The next network is asked by UDP again.
    pair.world.only_tcp = false;
    pair.world.run_for(20 * SECOND);
    assert_moved(&mut pair, Network::OnlyTcp, CLIENT);
    enter(&mut pair, Network::Open, elsewhere());
    pair.world.drive();
    assert_moved(&mut pair, Network::Open, elsewhere());
}

#[test]
fn an_answer_by_udp_wins_whenever_it_comes() {
    // One way: before the connection is open, and after it.
    for delay in [1200, 1600, 1900, 2600] {
        let mut pair = joined_on(Network::Open, |_| {});
        pair.world.link.delay = delay * MILLISECOND;
        enter(&mut pair, Network::Open, elsewhere());
        pair.world.run_for(30 * SECOND);
        assert_moved(&mut pair, Network::Open, elsewhere());
    }
}

#[test]
fn while_the_old_network_is_there_no_packet_is_lost_on_the_way_back_to_udp() {
    let mut pair = joined_on(Network::OnlyTcp, |_| {});
    pair.world.only_tcp = false;
    pair.world.link.delay = 100 * MILLISECOND;
    pair.world.roam(pair.client, &[elsewhere(), CLIENT], None);
    for _ in 0..40 {
        assert!(pair.ping());
        pair.world.run_for(10 * MILLISECOND);
    }
    assert_moved(&mut pair, Network::Open, elsewhere());
}

#[test]
fn who_wants_nothing_but_tcp_moves_by_another_connection() {
    let mut pair = Pair::with(|scene| {
        (scene.client.tcp, scene.gateway.tcp) = (TcpUse::Always, TcpUse::Auto);
    });
    enter(&mut pair, Network::Open, CLIENT);
    pair.up().unwrap();
    pair.forget_past();
    enter(&mut pair, Network::Open, elsewhere());
    pair.world.drive();
    assert_moved(&mut pair, Network::OnlyTcp, elsewhere());
    assert!(pair.world.trace.is_empty(), "something went by UDP");
    // Before the first is open, there is a third network.
    for address in ELSEWHERE {
        enter(&mut pair, Network::Open, address.parse().unwrap());
        pair.world.run_for(5 * MILLISECOND);
    }
    pair.world.drive();
    assert_moved(&mut pair, Network::OnlyTcp, ELSEWHERE[1].parse().unwrap());
}

#[test]
fn who_never_uses_tcp_is_not_made_to() {
    let mut client = joined_on(Network::Open, |it| it.client.tcp = TcpUse::Never);
    enter(&mut client, Network::OnlyTcp, elsewhere());
    client.world.run_for(200 * SECOND);
    assert!(client.world.tcp_trace.is_empty());
    assert!(client.status().sa.is_none());

    let mut gateway = joined_on(Network::Open, |it| it.gateway.tcp = TcpUse::Never);
    enter(&mut gateway, Network::OnlyTcp, elsewhere());
    gateway.world.run_for(200 * SECOND);
    let is_down = |event: &Event| matches!(event, Event::Down { why: Gone::Moved, .. });
    assert!(gateway.client_events().any(is_down), "the gateway has not refused");
    assert!(gateway.status().sa.is_none());
    gateway.world.run_for(60 * SECOND);
    assert!(gateway.world.tcp.is_empty(), "a connection is left open");
    enter(&mut gateway, Network::Open, CLIENT);
    gateway.resume().unwrap();
    gateway.assert_joined();
}

#[test]
fn without_mobike_a_session_is_resumed_by_what_gets_through() {
    let (open, only_tcp) = (Network::Open, Network::OnlyTcp);
    for (from, to) in [(open, only_tcp), (only_tcp, open), (only_tcp, only_tcp)] {
        let mut pair = joined_on(from, |scene| scene.gateway.mobike = false);
        enter(&mut pair, to, elsewhere());
        pair.world.run_for(5 * SECOND);
        pair.assert_up_by(How::Resumed);
        assert_eq!(by_tcp(&pair), to == only_tcp);
    }
}

/// Every datagram by UDP is once the one that is lost.
#[test]
fn each_datagram_of_a_move_to_udp_may_be_lost() {
    for lost in 0..4 {
        let mut pair = joined_on(Network::OnlyTcp, |_| {});
        let mut left = lost;
        pair.world.meddler = Some(Box::new(move |sent| {
            left -= 1;
            let arrival = Arrival { after: 10 * MILLISECOND, datagram: sent.datagram.clone() };
            if left == -1 { Vec::new() } else { vec![arrival] }
        }));
        enter(&mut pair, Network::Open, elsewhere());
        pair.world.run_for(10 * SECOND);
        // It may have come to TCP, where the answer by UDP was lost.
        pair.assert_joined();
        let network = if by_tcp(&pair) { Network::OnlyTcp } else { Network::Open };
        assert_moved(&mut pair, network, elsewhere());
    }
}

/// Every octet by TCP is once the last before the connection breaks.
#[test]
fn a_move_to_tcp_survives_a_break_after_any_octet() {
    for octets in (0..500).step_by(7) {
        let mut pair = joined_on(Network::Open, |_| {});
        pair.world.tcp.breaks_after = Some(octets);
        enter(&mut pair, Network::OnlyTcp, elsewhere());
        pair.world.run_for(10 * SECOND);
        pair.world.tcp.breaks_after = None;
        assert_moved(&mut pair, Network::OnlyTcp, elsewhere());
    }
}

#[test]
fn nobody_to_connect_to_is_a_peer_that_does_not_answer() {
    let mut pair = joined_on(Network::Open, |_| {});
    pair.world.tcp.blocked = true;
    enter(&mut pair, Network::OnlyTcp, elsewhere());
    pair.world.run_for(200 * SECOND);
    assert!(pair.status().sa.is_none());
    assert_eq!(pair.client_endpoint().holdings().sessions, 1);
    pair.world.tcp.blocked = false;
    pair.resume().unwrap();
    pair.assert_joined();
    assert!(by_tcp(&pair));
}

#[test]
fn any_order_of_networks_under_any_weather_ends_on_the_last() {
    for seed in 1..=150 {
        let mut pair = joined_on(Network::Open, |scene| {
            scene.seed = seed;
            scene.client.liveness = Some(20 * SECOND);
            scene.gateway.liveness = Some(20 * SECOND);
        });
        pair.world.link =
            Link { jitter: 700 * MILLISECOND, loss: 200, duplication: 250, ..Link::default() };
        for turn in 0..6_u8 {
            let only_tcp = pair.world.chance().below(2) == 0;
            let network = if only_tcp { Network::OnlyTcp } else { Network::Open };
            enter(&mut pair, network, IpAddr::from([198, 18, 0, 10 + turn]));
            if pair.world.chance().below(4) == 0 {
                pair.world.break_tcp();
            }
            let pause = pair.world.chance().up_to(4 * SECOND);
            pair.world.run_for(pause);
        }
        pair.world.link = Link::default();
        enter(&mut pair, Network::Open, elsewhere());
        pair.world.run_for(60 * SECOND);
        assert_moved(&mut pair, Network::Open, elsewhere());
    }
}

#[test]
fn a_rekey_by_either_side_and_a_move_at_any_time_of_it_go_together() {
    for what in [RekeyWhat::IkeSa, RekeyWhat::Children] {
        for (from, to) in [(Network::Open, Network::OnlyTcp), (Network::OnlyTcp, Network::Open)] {
            for (by_gateway, after) in
                [0, 5, 12, 15, 25, 35].into_iter().flat_map(|n| [(false, n), (true, n)])
            {
                let mut pair = joined_on(from, |_| {});
                let (node, name) = if by_gateway {
                    (pair.gateway, "clients".into())
                } else {
                    (pair.client, pair.name())
                };
                pair.world.command(node, Command::Rekey(name, what));
                pair.world.run_for(after * MILLISECOND);
                enter(&mut pair, to, elsewhere());
                // What is left of the former SA stays where it is.
                pair.world.run_for(100 * SECOND);
                assert_moved(&mut pair, to, elsewhere());
            }
        }
    }
}

#[test]
fn a_request_of_the_gateway_finds_the_client_by_the_new_way() {
    for (from, to) in [(Network::Open, Network::OnlyTcp), (Network::OnlyTcp, Network::Open)] {
        let mut pair = joined_on(from, |scene| scene.gateway.liveness = Some(10 * SECOND));
        pair.world.run_for(9 * SECOND);
        pair.world.node_mut(pair.client).offline = true;
        pair.world.run_for(4 * SECOND);
        enter(&mut pair, to, elsewhere());
        pair.world.run_for(5 * SECOND);
        assert_moved(&mut pair, to, elsewhere());
    }
}

#[test]
fn fragments_go_by_udp_only_wherever_an_sa_began() {
    for (from, to) in [(Network::Open, Network::OnlyTcp), (Network::OnlyTcp, Network::Open)] {
        let mut pair = joined_on(from, |scene| {
            for profile in [&mut scene.client, &mut scene.gateway] {
                profile.fragmentation.mode = FragmentationMode::Yes;
                profile.fragmentation.size = 260;
            }
        });
        enter(&mut pair, to, elsewhere());
        pair.world.run_for(5 * SECOND);
        pair.forget_past();
        pair.command(Command::Rekey(pair.name(), RekeyWhat::IkeSa)).unwrap();
        pair.world.run_for(5 * SECOND);
        assert_moved(&mut pair, to, elsewhere());
        let has_fragments = |trace: &[Sent]| {
            let messages = trace.iter().filter_map(|sent| sent.datagram.ike());
            messages.into_iter().any(|m| Header::parse(m).unwrap().0.next == PayloadType::SKF)
        };
        assert_eq!(has_fragments(&pair.world.trace), to == Network::Open);
        assert!(!has_fragments(&pair.world.tcp_trace));
    }
}

/// A message that was cut for UDP, and is sent again by TCP as it is.
#[test]
fn fragments_are_taken_by_tcp() {
    let mut pair = joined_on(Network::Open, |scene| {
        for profile in [&mut scene.client, &mut scene.gateway] {
            profile.fragmentation.mode = FragmentationMode::Yes;
            profile.fragmentation.size = 200;
        }
    });
    pair.world.only_tcp = true;
    let rekey = pair.begin(Command::Rekey(pair.name(), RekeyWhat::IkeSa));
    assert_eq!(pair.finish(rekey), Ok(()));
    pair.world.run_for(30 * SECOND);
    assert_moved(&mut pair, Network::OnlyTcp, CLIENT);
    let first = asked(&pair, &pair.world.tcp_trace)[0];
    let (header, _) = Header::parse(first).unwrap();
    assert_eq!((header.exchange, header.next), (ExchangeType::CREATE_CHILD_SA, PayloadType::SKF));
}

#[test]
fn no_keepalive_goes_by_tcp_and_they_begin_again_by_udp() {
    let mut pair = Pair::with(|scene| {
        scene.nat = Some(60 * SECOND);
        (scene.client.tcp, scene.gateway.tcp) = (TcpUse::Auto, TcpUse::Auto);
        scene.client.liveness = None;
    });
    pair.up().unwrap();
    let nat = pair.world.node(pair.client).behind;
    let inside: IpAddr = "192.168.1.7".parse().unwrap();
    pair.world.only_tcp = true;
    pair.world.roam(pair.client, &[inside], nat);
    pair.world.run_for(5 * SECOND);
    assert!(by_tcp(&pair));
    pair.forget_past();
    pair.world.run_for(100 * SECOND);
    assert!(pair.world.trace.is_empty(), "a keepalive was sent");
    pair.world.only_tcp = false;
    pair.world.roam(pair.client, &["192.168.1.8".parse().unwrap()], nat);
    pair.world.run_for(100 * SECOND);
    assert!(!by_tcp(&pair));
    let is_keepalive = |sent: &&Sent| sent.datagram.content == sim::Content::Keepalive;
    assert!(pair.world.trace.iter().any(|sent| is_keepalive(&sent)));
    pair.assert_joined();
}

/// Whoever has seen the messages of a move cannot move the SA with them.
#[test]
fn a_repeated_message_does_not_draw_the_gateway_to_another_connection_or_address() {
    let mut pair = joined_on(Network::Open, |_| {});
    enter(&mut pair, Network::OnlyTcp, elsewhere());
    pair.world.run_for(3 * SECOND);
    let seen: Vec<Vec<u8>> = [&pair.world.trace, &pair.world.tcp_trace]
        .into_iter()
        .flat_map(|trace| asked(&pair, trace))
        .map(<[u8]>::to_vec)
        .collect();
    let stranger = "192.0.2.66:4500".parse().unwrap();
    let gateway = "198.51.100.1:4500".parse().unwrap();
    for port in [ike::event::Port::Tcp(StreamId::Theirs(666)), ike::event::Port::NatTraversal] {
        let path = ike::event::Path { local: gateway, remote: stranger, port };
        for octets in &seen {
            let now = pair.gateway_now();
            pair.gateway_endpoint().handle_datagram(now, path, &mut octets.clone());
            pair.settle();
        }
    }
    pair.world.drive();
    assert_moved(&mut pair, Network::OnlyTcp, elsewhere());
}
