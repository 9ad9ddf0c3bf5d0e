//! Packets that a child is asked for by reason of: what is asked for names them
//! first (RFC 7296 sections 2.9 and 2.23.1).

use std::net::Ipv4Addr;
use std::time::Duration;

use esp::spec::{Mode, Selector};
use ike::config::ResumeTrigger;
use ike::event::{Event, How, RekeyWhat};
use ike::wire::{ExchangeType, MessageBuilder, NotifyType, Protected};
use sim::meddle::{self, DELAY, arrival};
use sim::pair::CLIENT;
use sim::plane::Outgoing;
use sim::profile::{FurtherChild, GATEWAY, subnet};
use sim::script::{Opened, Scripted, push_esp};
use sim::world::Meddler;
use sim::{NodeId, Pair, Scene, packet};

use crate::addresses::dynamic;
use crate::authentic::{Client, has, tell};
use crate::rekey::{self, rekey};
use crate::several::with_lab;
use crate::transport::hosts;

const SECOND: Duration = Duration::from_secs(1);
const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;

/// Behind the gateway, in one net of it and in another.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 2, 5, 1);
const LAB: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);

const OURS: &str = "10.1.0.2/32";
const THEIRS: &str = "10.2.0.0/16";

fn to(server: Ipv4Addr) -> Vec<u8> {
    packet::udp([10, 1, 0, 2].into(), server, b"data")
}

/// An IPv4 packet of another kind to the server.
fn other(protocol: u8, flags_and_offset: u16) -> Vec<u8> {
    let mut packet = to(SERVER);
    packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    packet[9] = protocol;
    packet
}

fn scripted(change: impl FnOnce(&mut Scene)) -> Pair {
    Pair::with(|scene| {
        scene.client.local_addrs = vec![CLIENT];
        change(scene);
    })
}

/// The traffic that a request is for, as TSi and TSr have it.
fn asked(request: &Opened) -> [Vec<String>; 2] {
    let payloads = request.payloads();
    [payloads.ts_i(), payloads.ts_r()]
        .map(|ts| ts.unwrap().selectors().map(|it| it.to_string()).collect())
}

/// The traffic of the only child of an end.
fn traffic(pair: &Pair, id: NodeId) -> [Vec<String>; 2] {
    let status = pair.world.node(id).endpoint.status();
    let sa = status.connections.into_iter().find_map(|it| it.sa).unwrap();
    let text = |list: &[Selector]| list.iter().map(ToString::to_string).collect();
    [text(&sa.children[0].local_ts), text(&sa.children[0].remote_ts)]
}

fn send(pair: &mut Pair, inner: &[u8]) -> Outgoing {
    let client = pair.client;
    pair.world.send_inner(client, inner)
}

fn arm(pair: &mut Pair) {
    let name = pair.name();
    pair.client_endpoint().arm(&name);
    pair.settle();
}

/// Rekeys are for the same, and nothing is left after the end.
fn check(mut pair: Pair) {
    let (client, before) = (pair.client, traffic(&pair, pair.client));
    rekey(&mut pair, client, RekeyWhat::Children);
    pair.world.run_for(10 * SECOND);
    assert_eq!(traffic(&pair, client), before);
    let name = pair.name();
    pair.client_endpoint().let_go(&name);
    rekey::check(pair);
}

fn by_traffic(scene: &mut Scene) {
    scene.client.resumption.trigger = ResumeTrigger::OnTraffic;
}

#[test]
fn what_a_packet_asks_for_has_the_packet_first() {
    let packets = [
        (to(SERVER), "17/12345", "17/54321"),
        (other(6, 0), "6/12345", "6/54321"),
        // Type and code: 0x30, 0x39.
        (other(1, 0), "1/12345", "1/12345"),
        (other(17, 0x2001), "17", "17"),
        (other(47, 0), "47", "47"),
    ];
    for (packet, source, destination) in packets {
        let (_, auth) = Client::of_packet(scripted(|_| {}), &packet);
        let [ours, theirs] = asked(&auth);
        assert_eq!(ours, [format!("10.1.0.2/32[{source}]"), OURS.into()]);
        assert_eq!(theirs, [format!("10.2.0.1/32[{destination}]"), THEIRS.into()]);
    }
}

#[test]
fn what_a_command_asks_for_is_what_is_configured() {
    let (_, auth) = Client::of(scripted(|_| {}));
    assert_eq!(asked(&auth), [[OURS], [THEIRS]]);
}

#[test]
fn a_resumption_names_the_packet_that_has_begun_it() {
    let (mut client, _) = Client::of(scripted(by_traffic));
    client.accept(|builder| {
        both(builder, 0x1000, &[subnet(OURS)], &[subnet(THEIRS)]);
        builder.notify(NotifyType::TICKET_LT_OPAQUE, &[0, 0, 0x0e, 0x10, 1, 2, 3]);
    });
    assert_eq!(client.end(), Ok(()));
    client.pair.suspend().unwrap();
    assert_eq!(send(&mut client.pair, &to(OTHER)), Outgoing::Held);
    client.pair.world.drive();
    let first = client.pair.world.trace.last().unwrap().datagram.ike().unwrap().clone();
    let (gateway, response) = Scripted::resumed(&first, client.gateway.sk_d());
    let auth = tell(&mut client.pair, true, &response).expect("IKE_AUTH");
    let [ours, theirs] = asked(&gateway.open(&auth));
    assert_eq!(ours, ["10.1.0.2/32[17/12345]", OURS]);
    assert_eq!(theirs, ["10.2.5.1/32[17/54321]", THEIRS]);
}

fn both(builder: &mut MessageBuilder<Protected>, spi: u32, ours: &[Selector], theirs: &[Selector]) {
    push_esp(builder, 1, spi);
    builder.ts_i(ours).ts_r(theirs);
}

/// Only the child whose packet it is: here the second, and the first comes with
/// the SA.
#[test]
fn each_child_is_asked_for_by_reason_of_its_own_packets() {
    for (server, is_first) in [(SERVER, true), (LAB, false)] {
        let (mut client, auth) = Client::of_packet(scripted(with_lab), &to(server));
        assert_eq!(asked(&auth)[0].len(), if is_first { 2 } else { 1 });
        let answered = |builder: &mut _| both(builder, 0x1000, &[subnet(OURS)], &[subnet(THEIRS)]);
        let request = client.accept(answered).expect("a request for the second child");
        let request = client.gateway.open(&request);
        assert_eq!(asked(&request)[1].len(), if is_first { 1 } else { 2 });
        if !is_first {
            assert_eq!(asked(&request)[1], ["10.3.0.1/32[17/54321]", "10.3.0.0/16"]);
        }
        // It is asked for by reason of the packet until it is there.
        let refusal = client.gateway.seal((CREATE, 2, true), |builder| {
            builder.notify(NotifyType::TEMPORARY_FAILURE, &[]);
        });
        assert_eq!(client.hear(&refusal), None);
        client.pair.world.run_for(15 * SECOND);
        let again = client.pair.world.trace.last().unwrap().datagram.ike().unwrap().clone();
        assert_eq!(asked(&client.gateway.open(&again)), asked(&request));
    }
}

/// The first child could carry it, too.
#[test]
fn no_other_child_is_asked_for_by_reason_of_a_packet() {
    let pair = scripted(|scene| {
        scene.client.further = vec![FurtherChild::of_client("five", "10.2.5.0/24", OTHER)];
    });
    let (mut client, auth) = Client::of_packet(pair, &to(OTHER));
    assert_eq!(asked(&auth), [[OURS], [THEIRS]]);
    let answered = |builder: &mut _| both(builder, 0x1000, &[subnet(OURS)], &[subnet(THEIRS)]);
    let request = client.accept(answered).expect("a request for the second child");
    let [_, theirs] = asked(&client.gateway.open(&request));
    assert_eq!(theirs, ["10.2.5.1/32[17/54321]", "10.2.5.0/24"]);
}

/// The answer of a gateway with a policy for each flow.
#[test]
fn an_answer_for_the_packet_alone_is_taken_and_nothing_else_leaves() {
    let (mut client, auth) = Client::of_packet(scripted(|_| {}), &to(SERVER));
    let payloads = auth.payloads();
    let first =
        [payloads.ts_i(), payloads.ts_r()].map(|ts| ts.unwrap().selectors().next().unwrap());
    client.accept(|builder| both(builder, 0x1000, &first[..1], &first[1..]));
    assert_eq!(client.end(), Ok(()));
    let pair = &mut client.pair;
    assert_eq!(traffic(pair, pair.client), first.map(|it| vec![it.to_string()]));
    assert!(matches!(send(pair, &to(SERVER)), Outgoing::Sealed(..)));
    for outside in [to(OTHER), other(17, 0x2001), other(6, 0)] {
        assert!(!matches!(send(pair, &outside), Outgoing::Sealed(..)));
    }
    // The rekey is for what the child carries, and for nothing else.
    let id = pair.client;
    rekey(pair, id, RekeyWhat::Children);
    pair.world.drive();
    let request = pair.world.trace.last().unwrap().datagram.ike().unwrap().clone();
    let request = client.gateway.open(&request);
    assert_eq!(asked(&request), first.map(|it| vec![it.to_string()]));
}

#[test]
fn a_gateway_that_takes_all_answers_with_what_is_configured() {
    let mut pair = Pair::with(|_| {});
    arm(&mut pair);
    assert_eq!(send(&mut pair, &to(OTHER)), Outgoing::Held);
    pair.world.run_for(SECOND);
    assert_eq!(traffic(&pair, pair.client), [[OURS], [THEIRS]]);
    assert_eq!(traffic(&pair, pair.gateway), [[THEIRS], [OURS]]);
    assert_eq!(pair.world.node(pair.gateway).delivered, [to(OTHER)]);
    check(pair);
}

/// A gateway whose children have a part each of what the client asks for.
fn in_parts(scene: &mut Scene) {
    scene.gateway.local_ts = vec!["10.2.0.0/24".into()];
    let of = |name, net: &str| {
        let child = FurtherChild::of_client(name, THEIRS, OTHER).reversed();
        FurtherChild { local_ts: vec![net.into()], ..child }
    };
    scene.gateway.further = vec![of("one", "10.2.1.0/24"), of("five", "10.2.5.0/24")];
}

#[test]
fn a_gateway_that_cannot_take_all_takes_what_the_packet_is_of() {
    for (server, net) in [(SERVER, "10.2.0.0/24"), (OTHER, "10.2.5.0/24")] {
        let mut pair = Pair::with(in_parts);
        arm(&mut pair);
        assert_eq!(send(&mut pair, &to(server)), Outgoing::Held);
        pair.world.run_for(SECOND);
        assert_eq!(traffic(&pair, pair.client), [[OURS], [net]]);
        assert_eq!(pair.world.node(pair.gateway).delivered, [to(server)]);
        assert!(pair.ping_to(server));
    }
    let mut pair = Pair::with(in_parts);
    pair.up().unwrap();
    assert_eq!(traffic(&pair, pair.client), [[OURS], ["10.2.0.0/24"]]);
}

/// Neither part is for the packet: what there is is better than nothing.
#[test]
fn a_gateway_that_cannot_take_the_packet_takes_another_part() {
    let mut pair = Pair::with(in_parts);
    arm(&mut pair);
    send(&mut pair, &to([10, 2, 9, 9].into()));
    pair.world.run_for(SECOND);
    assert_eq!(traffic(&pair, pair.client), [[OURS], ["10.2.0.0/24"]]);
    assert_eq!(pair.world.node(pair.gateway).delivered.len(), 0);
    assert!(!matches!(send(&mut pair, &to([10, 2, 9, 9].into())), Outgoing::Sealed(..)));
}

#[test]
fn the_packet_is_not_forgotten_by_any_lost_doubled_or_late_datagram() {
    let meddlers: [fn(usize) -> Meddler; 4] = [
        |n| meddle::nth(n, |_| Vec::new()),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(3 * SECOND, sent)]),
    ];
    let begin: [fn() -> Pair; 2] = [
        || {
            let mut pair = Pair::with(in_parts);
            arm(&mut pair);
            pair
        },
        || {
            Pair::suspended(|scene| {
                in_parts(scene);
                by_traffic(scene);
            })
        },
    ];
    for (meddler, begin) in meddlers.into_iter().flat_map(|meddler| begin.map(|it| (meddler, it))) {
        for position in 0..4 {
            let mut pair = begin();
            pair.world.meddler = Some(meddler(position));
            assert_eq!(send(&mut pair, &to(OTHER)), Outgoing::Held);
            pair.world.run_for(60 * SECOND);
            assert_eq!(traffic(&pair, pair.client), [[OURS], ["10.2.5.0/24"]]);
            assert_eq!(pair.world.node(pair.gateway).delivered.last(), Some(&to(OTHER)));
        }
    }
}

/// A ticket is refused, or nobody answers: the full exchange is for the same packet.
#[test]
fn the_full_exchange_after_a_refused_ticket_is_for_the_same_packet() {
    let mut pair = Pair::suspended(|scene| {
        in_parts(scene);
        by_traffic(scene);
    });
    pair.restart_gateway();
    assert_eq!(send(&mut pair, &to(OTHER)), Outgoing::Held);
    pair.world.run_for(10 * SECOND);
    assert_eq!(pair.set_up().how, How::Full);
    assert_eq!(traffic(&pair, pair.client), [[OURS], ["10.2.5.0/24"]]);
}

/// What is held may be more than what is asked for, as long as no inner address
/// is known.
#[test]
fn before_an_inner_address_is_known_no_packet_is_named() {
    let (_, auth) = Client::of_packet(scripted(dynamic), &to(SERVER));
    assert_eq!(asked(&auth)[0], ["0.0.0.0/0", "::/0"]);
    let mut pair = Pair::with(dynamic);
    arm(&mut pair);
    send(&mut pair, &packet::udp([10, 9, 9, 9].into(), SERVER, b"data"));
    pair.world.run_for(SECOND);
    pair.assert_joined();
    assert_eq!(traffic(&pair, pair.client), [[OURS], [THEIRS]]);
}

#[test]
fn a_session_that_asks_for_its_inner_address_names_its_packets() {
    let mut pair = Pair::suspended(|scene| {
        dynamic(scene);
        in_parts(scene);
        by_traffic(scene);
    });
    assert_eq!(send(&mut pair, &to(OTHER)), Outgoing::Held);
    pair.world.run_for(SECOND);
    assert_eq!(pair.set_up().how, How::Resumed);
    assert_eq!(traffic(&pair, pair.client), [[OURS], ["10.2.5.0/24"]]);
    assert!(pair.ping_to(OTHER));
}

/// The hosts themselves, whose addresses are those of the SA; from another one
/// of the client more may be held than is asked for.
#[test]
fn in_transport_mode_protocol_and_ports_come_first() {
    let (client, another) = ([192, 0, 2, 10], [192, 0, 2, 77]);
    for (source, is_named) in [(client, true), (another, false)] {
        let packet = packet::udp(source.into(), [198, 51, 100, 1].into(), b"data");
        let pair = Pair::with(hosts);
        let (_, auth) = Client::of_packet(pair, &packet);
        assert!(has(&auth, NotifyType::USE_TRANSPORT_MODE));
        let [mut ours, mut theirs] = asked(&auth);
        if is_named {
            assert_eq!(ours.remove(0), format!("{CLIENT}/32[17/12345]"));
            assert_eq!(theirs.remove(0), format!("{GATEWAY}/32[17/54321]"));
        }
        assert_eq!([ours, theirs], [CLIENT, GATEWAY].map(|it| vec![format!("{it}/32")]));
    }
}

#[test]
fn in_transport_mode_the_packet_of_a_host_behind_a_nat_is_understood() {
    for nat in [None, Some(3600 * SECOND)] {
        let mut pair = Pair::with(|scene| {
            hosts(scene);
            scene.nat = nat;
            scene.client.liveness = nat.map(|_| 30 * SECOND);
        });
        arm(&mut pair);
        assert_eq!(pair.outgoing(), Outgoing::Held);
        pair.world.run_for(SECOND);
        pair.assert_joined();
        let plane = &pair.world.node(pair.client).plane;
        assert!(plane.children().values().all(|child| child.mode == Mode::Transport));
        let sides = [pair.client, pair.gateway].map(|id| traffic(&pair, id));
        assert!(sides.as_flattened().iter().all(|side| side.len() == 1));
        check(pair);
    }
}

/// A payload that is full of what is configured has no room for more.
#[test]
fn a_packet_does_not_displace_what_is_configured() {
    let nets = || (0..255).map(|n| format!("10.2.{n}.0/25"));
    let mut pair = Pair::with(|scene| {
        scene.client.remote_ts = nets().map(|net| &*net.leak()).collect();
        scene.gateway.local_ts = nets().collect();
    });
    arm(&mut pair);
    assert_eq!(send(&mut pair, &to(OTHER)), Outgoing::Held);
    pair.world.run_for(SECOND);
    let [_, theirs] = traffic(&pair, pair.client);
    assert_eq!(theirs.len(), 255);
}

#[test]
fn a_child_that_is_made_anew_is_not_asked_for_by_reason_of_an_old_packet() {
    let mut pair = Pair::with(in_parts);
    arm(&mut pair);
    assert_eq!(send(&mut pair, &to(OTHER)), Outgoing::Held);
    pair.world.run_for(SECOND);
    let child = pair.status().sa.unwrap().children[0].id;
    let (client, limit) = (pair.client, esp::plane::Limit::Hard);
    pair.world.node_mut(client).plane.raise(esp::plane::PlaneEvent::Expired(child, limit));
    pair.world.run_for(SECOND);
    let up = |event: &&Event| matches!(event, Event::ChildUp { .. });
    assert_eq!(pair.client_events().filter(up).count(), 2);
    assert_eq!(traffic(&pair, pair.client), [[OURS], ["10.2.0.0/24"]]);
}
