//! IKE and ESP in TCP (RFC 9329): found out without being told, and mended
//! whenever it breaks.

use std::time::Duration;

use esp::spec::{Encapsulation, StreamId};
use ike::config::{FragmentationMode, TcpUse};
use ike::event::{Command, How, Path, Port, RekeyWhat};
use ike::fault::{Discard, Failure, Refusal};
use ike::wire::{ExchangeType, Header, PayloadType};
use sim::{NodeId, Pair, Scene, World};

const SECOND: Duration = Duration::from_secs(1);

/// Both sides know TCP; the client as told.
fn scene(scene: &mut Scene, client: TcpUse) {
    scene.client.tcp = client;
    scene.gateway.tcp = TcpUse::Auto;
}

/// UDP does not get through, and nobody has been told.
fn walled(change: impl FnOnce(&mut Scene)) -> Pair {
    let mut pair = Pair::with(|it| {
        scene(it, TcpUse::Auto);
        change(it);
    });
    pair.world.only_tcp = true;
    pair
}

/// As [`walled`], and up.
fn joined(change: impl FnOnce(&mut Scene)) -> Pair {
    let mut pair = walled(change);
    assert_eq!(pair.up(), Ok(()));
    pair.forget_past();
    pair
}

fn stream_of(pair: &Pair, node: NodeId) -> Option<StreamId> {
    match pair.world.node(node).plane.children().values().next()?.path.encapsulation {
        Encapsulation::Tcp(stream) => Some(stream),
        Encapsulation::Udp | Encapsulation::Plain => None,
    }
}

fn goes_by_tcp(pair: &Pair) -> bool {
    [pair.client, pair.gateway].iter().all(|&node| stream_of(pair, node).is_some())
}

/// The exchanges of all messages by TCP, with whether each is a response.
fn by_tcp(pair: &Pair) -> Vec<(ExchangeType, bool)> {
    let headers = pair.world.tcp_trace.iter().filter_map(|sent| sent.datagram.header());
    headers.map(|header| (header.exchange, header.flags.response)).collect()
}

#[test]
fn where_udp_does_not_get_through_tcp_does_without_being_told() {
    let mut pair = walled(|_| {});
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert!(goes_by_tcp(&pair));
    assert!(pair.world.now() < 3 * SECOND, "it took {:?}", pair.world.now());
    let (init, auth) = (ExchangeType::SA_INIT, ExchangeType::AUTH);
    assert_eq!(by_tcp(&pair), [(init, false), (init, true), (auth, false), (auth, true)]);

    // UDP was asked first, more than once, and TCP with another SPI.
    let asked = |trace: &[sim::Sent]| -> Vec<_> {
        trace.iter().map(|sent| sent.datagram.header().unwrap().spi_i).collect()
    };
    let by_udp = asked(&pair.world.trace);
    assert!(by_udp.len() >= 2 && by_udp.iter().all(|spi| *spi == by_udp[0]), "{by_udp:?}");
    assert!(asked(&pair.world.tcp_trace).iter().all(|spi| *spi != by_udp[0]));
    let kept = &pair.world.node(pair.gateway).kept;
    assert!(kept.iter().copied().eq(stream_of(&pair, pair.gateway)));
}

#[test]
fn where_udp_is_answered_no_connection_is_opened() {
    let mut pair = Pair::with(|it| scene(it, TcpUse::Auto));
    pair.up().unwrap();
    pair.assert_joined();
    assert!(!goes_by_tcp(&pair) && pair.world.tcp.is_empty());
}

#[test]
fn an_answer_by_udp_wins_against_a_connection_that_is_not_open_yet() {
    let mut pair = Pair::with(|it| {
        scene(it, TcpUse::Auto);
        it.link.delay = 900 * Duration::from_millis(1);
    });
    pair.up().unwrap();
    pair.assert_joined();
    assert!(!goes_by_tcp(&pair));
    pair.world.run_for(10 * SECOND);
    assert!(pair.world.tcp.is_empty(), "a connection is left open");
}

#[test]
fn a_side_that_is_told_never_to_use_tcp_does_not() {
    let mut client = walled(|it| it.client.tcp = TcpUse::Never);
    assert_eq!(client.up(), Err(Refusal::Failed(Failure::Unanswered)));
    assert!(client.world.tcp.is_empty() && client.world.tcp_trace.is_empty());

    let mut gateway = walled(|it| it.gateway.tcp = TcpUse::Never);
    assert_eq!(gateway.up(), Err(Refusal::Failed(Failure::Unanswered)));
    assert!(gateway.gateway_counters().discarded(Discard::NoConnection) > 0);
    gateway.world.run_for(60 * SECOND);
    assert!(gateway.world.tcp.is_empty(), "a connection is left open");
}

#[test]
fn a_side_that_is_told_always_to_use_tcp_sends_nothing_else() {
    let mut pair = Pair::joined(|it| scene(it, TcpUse::Always));
    pair.assert_joined();
    assert!(goes_by_tcp(&pair));
    pair.down().unwrap();
    pair.assert_apart();
    assert!(pair.world.trace.is_empty());
}

#[test]
fn whoever_takes_the_connection_and_says_nothing_does_not_keep_us_from_udp() {
    let mut pair = walled(|it| it.gateway.tcp = TcpUse::Never);
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(4 * SECOND);
    assert_eq!(pair.world.tcp.len(), 1, "TCP is not tried");
    pair.world.only_tcp = false;
    assert_eq!(pair.finish(up), Ok(()));
    pair.assert_joined();
    assert!(!goes_by_tcp(&pair));
}

#[test]
fn nobody_to_connect_to_is_an_unanswered_attempt() {
    for tcp in [TcpUse::Auto, TcpUse::Always] {
        let mut pair = walled(|it| it.client.tcp = tcp);
        pair.world.tcp.blocked = true;
        assert_eq!(pair.up(), Err(Refusal::Failed(Failure::Unanswered)));
        pair.world.run_for(60 * SECOND);
        pair.assert_empty();
    }
}

#[test]
fn a_command_ends_an_attempt_whose_connection_is_not_open() {
    let mut pair = walled(|it| it.client.tcp = TcpUse::Always);
    pair.world.tcp.blocked = true;
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(SECOND);
    assert_eq!(pair.down(), Ok(()));
    assert_eq!(pair.finish(up), Err(Refusal::Failed(Failure::Ended)));
    pair.assert_empty();
}

#[test]
fn a_session_is_resumed_by_tcp_with_udp_tried_first_and_less_patience() {
    let mut pair = joined(|_| {});
    pair.suspend().unwrap();
    pair.world.drive();
    assert!(pair.world.tcp.is_empty(), "nobody needs the connection");
    pair.forget_past();
    let before = pair.world.now();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert!(goes_by_tcp(&pair));
    assert!(pair.world.now() - before < SECOND, "it took {:?}", pair.world.now() - before);
    assert_eq!(pair.world.trace[0].exchange(), Some(ExchangeType::SESSION_RESUME));

    // In another network UDP gets through, and is taken again.
    pair.suspend().unwrap();
    pair.world.only_tcp = false;
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert!(!goes_by_tcp(&pair));
}

#[test]
fn a_restarted_gateway_refuses_the_ticket_and_is_asked_anew_by_the_same_connection() {
    let mut pair = joined(|_| {});
    pair.suspend().unwrap();
    pair.world.drive();
    pair.restart_gateway();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert!(goes_by_tcp(&pair));
    assert_eq!(pair.world.tcp.len(), 1);
}

#[test]
fn what_ends_the_sa_closes_the_connection() {
    let mut pair = joined(|_| {});
    pair.down().unwrap();
    pair.world.drive();
    assert!(pair.world.tcp.is_empty());
    assert!(pair.world.node(pair.gateway).kept.is_empty());
}

#[test]
fn a_broken_connection_is_opened_anew_and_the_gateway_follows() {
    let mut pair = joined(|_| {});
    for _ in 0..5 {
        let before = stream_of(&pair, pair.gateway);
        pair.world.run_for(20 * SECOND);
        pair.world.break_tcp();
        pair.world.run_for(SECOND);
        pair.assert_joined();
        assert_ne!(stream_of(&pair, pair.gateway), before);
        assert_eq!(pair.world.tcp.len(), 1);
        let kept = &pair.world.node(pair.gateway).kept;
        assert!(kept.iter().copied().eq(stream_of(&pair, pair.gateway)));
    }
}

#[test]
fn the_gateway_follows_packets_too() {
    let mut pair = joined(|_| {});
    let before = stream_of(&pair, pair.gateway);
    pair.world.break_tcp();
    let client = pair.client;
    let is_open = |world: &World| world.tcp.len() == 1 && world.node(client).events.is_empty();
    assert!(pair.world.drive_until(5 * SECOND, is_open));
    // The connection is on its way; a packet goes as soon as it can.
    pair.world.run_for(SECOND);
    assert!(pair.ping());
    assert_ne!(stream_of(&pair, pair.gateway), before);
}

#[test]
fn as_long_as_nobody_can_connect_the_connection_is_tried_with_growing_waits() {
    let mut pair = joined(|_| {});
    pair.world.run_for(20 * SECOND);
    pair.world.tcp.blocked = true;
    pair.world.break_tcp();
    pair.world.run_for(100 * SECOND);
    pair.world.tcp.blocked = false;
    pair.world.run_for(60 * SECOND);
    pair.assert_joined();
}

#[test]
fn a_peer_that_stays_away_is_given_up_and_its_session_kept() {
    let mut pair = joined(|it| it.client.liveness = Some(10 * SECOND));
    pair.world.tcp.blocked = true;
    pair.world.break_tcp();
    pair.world.run_for(180 * SECOND);
    assert!(pair.status().sa.is_none());
    assert_eq!(pair.client_endpoint().holdings().sessions, 1);
    assert!(pair.world.tcp.is_empty());
    pair.world.tcp.blocked = false;
    pair.resume().unwrap();
    assert!(goes_by_tcp(&pair));
    assert!(pair.ping());
}

/// Every octet of a set-up is once the last before the connection breaks.
#[test]
fn a_set_up_survives_a_break_after_any_octet() {
    for resumed in [false, true] {
        for octets in (0..2400).step_by(13) {
            let mut pair = if resumed { joined(|_| {}) } else { walled(|_| {}) };
            if resumed {
                pair.suspend().unwrap();
                pair.world.drive();
            }
            pair.world.tcp.breaks_after = Some(octets);
            pair.up().unwrap_or_else(|why| panic!("after {octets} octets: {why}"));
            pair.world.run_for(5 * SECOND);
            pair.world.tcp.breaks_after = None;
            pair.assert_joined();
            assert!(goes_by_tcp(&pair), "after {octets} octets");
        }
    }
}

/// Either side asks for new keys, and every octet of it is once the last.
#[test]
fn a_rekey_by_either_side_survives_a_break_after_any_octet() {
    for (octets, what) in
        (0..900).step_by(17).flat_map(|n| [(n, RekeyWhat::IkeSa), (n, RekeyWhat::Children)])
    {
        for by_gateway in [false, true] {
            let mut pair = joined(|_| {});
            pair.world.tcp.breaks_after = Some(octets);
            let (node, name) = if by_gateway {
                (pair.gateway, "clients".into())
            } else {
                (pair.client, pair.name())
            };
            pair.world.command(node, Command::Rekey(name, what));
            pair.world.run_for(20 * SECOND);
            pair.world.tcp.breaks_after = None;
            pair.assert_joined();
            assert!(goes_by_tcp(&pair), "{what:?} after {octets} octets");
            assert_eq!(pair.world.tcp.len(), 1, "{what:?} after {octets} octets");
        }
    }
}

#[test]
fn whoever_began_the_first_sa_opens_the_connections_of_its_successors() {
    let mut pair = joined(|_| {});
    pair.world.command(pair.gateway, Command::Rekey("clients".into(), RekeyWhat::IkeSa));
    pair.world.run_for(20 * SECOND);
    pair.world.break_tcp();
    pair.world.run_for(2 * SECOND);
    pair.assert_joined();
    assert!(matches!(stream_of(&pair, pair.client), Some(StreamId::Ours(_))));
}

#[test]
fn a_slow_answer_by_tcp_is_waited_for_and_nothing_is_sent_again() {
    let mut pair = Pair::with(|it| {
        scene(it, TcpUse::Always);
        it.link.delay = 3 * SECOND;
    });
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(by_tcp(&pair).len(), 4);
    assert_eq!(pair.client_counters().retransmissions, 0);
}

#[test]
fn by_tcp_there_are_no_cookies_keepalives_or_fragments() {
    let mut pair = Pair::with(|it| {
        scene(it, TcpUse::Always);
        it.nat = Some(300 * SECOND);
        it.gateway.limits.cookie_threshold = 0;
        for profile in [&mut it.client, &mut it.gateway] {
            profile.fragmentation.mode = FragmentationMode::Yes;
            profile.fragmentation.size = 260;
        }
    });
    pair.up().unwrap();
    pair.world.run_for(100 * SECOND);
    pair.assert_joined();
    assert_eq!(pair.gateway_counters().cookies, 0);
    assert!(pair.world.trace.is_empty(), "a keepalive was sent");
    let messages = pair.world.tcp_trace.iter().filter_map(|sent| sent.datagram.ike());
    assert!(messages.into_iter().all(|m| Header::parse(m).unwrap().0.next != PayloadType::SKF));
}

#[test]
fn a_repeated_message_on_another_connection_does_not_draw_the_gateway_there() {
    let mut pair = joined(|it| it.client.liveness = Some(10 * SECOND));
    pair.world.run_for(15 * SECOND);
    let before = stream_of(&pair, pair.gateway);
    let from_client = |sent: &&sim::Sent| sent.by == pair.client;
    let asked = pair.world.tcp_trace.iter().rfind(from_client).unwrap();
    let mut octets = asked.datagram.ike().unwrap().to_vec();
    let (local, remote) = ("198.51.100.1:4500".parse().unwrap(), "192.0.2.66:666".parse().unwrap());
    let path = Path { local, remote, port: Port::Tcp(StreamId::Theirs(666)) };
    let now = pair.gateway_now();
    pair.gateway_endpoint().handle_datagram(now, path, &mut octets);
    pair.settle();
    assert_eq!(stream_of(&pair, pair.gateway), before);
    pair.assert_joined();
}
