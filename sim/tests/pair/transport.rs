//! Children in transport mode (RFC 7296 sections 1.3.1 and 2.23.1): between the
//! client and the gateway themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use esp::spec::{Mode, Original, Selector};
use ike::config::ResumeTrigger;
use ike::event::{Event, Gone, How, RekeyWhat};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use ike::wire::{ExchangeType, MessageBuilder, Notify, NotifyType, Protected, Protocol};
use sim::meddle::{self, DELAY, arrival};
use sim::pair::{CLIENT, NAT};
use sim::plane::{Installed, Outgoing};
use sim::profile::{FurtherChild, GATEWAY};
use sim::script::push_esp;
use sim::world::Meddler;
use sim::{NodeId, Pair, Scene, packet};

use crate::authentic::{Client, has};
use crate::rekey::{self, BOTH, check, one_after_another};

const SECOND: Duration = Duration::from_secs(1);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 8));
const INSIDE: &str = "192.168.1.2";
const NO_TRANSPORT_MODE: Result<(), Refusal> = Err(Refusal::Failed(Failure::NoTransportMode));

/// Both want transport mode, with whomever they talk to.
pub(crate) fn hosts(scene: &mut Scene) {
    for profile in [&mut scene.client, &mut scene.gateway] {
        profile.mode = Mode::Transport;
        profile.mobike = false;
        profile.local_ts = vec!["0.0.0.0/0".into()];
        profile.remote_ts = vec!["0.0.0.0/0"];
    }
}

fn behind_nat(scene: &mut Scene) {
    hosts(scene);
    scene.nat = Some(3600 * SECOND);
    scene.client.liveness = Some(30 * SECOND);
}

/// The client wants transport mode, the gateway a tunnel between the same hosts.
fn one_sided(scene: &mut Scene) {
    hosts(scene);
    scene.gateway.mode = Mode::Tunnel;
}

fn child(pair: &Pair, id: NodeId) -> &Installed {
    pair.world.node(id).plane.children().values().next().unwrap()
}

/// The traffic of the only child of an end.
fn traffic(pair: &Pair, id: NodeId) -> [String; 2] {
    let status = pair.world.node(id).endpoint.status();
    let sa = status.connections.into_iter().find_map(|it| it.sa).unwrap();
    let text = |list: &[Selector]| list[0].to_string();
    [text(&sa.children[0].local_ts), text(&sa.children[0].remote_ts)]
}

fn modes(pair: &Pair) -> [Mode; 2] {
    [pair.client, pair.gateway].map(|id| child(pair, id).mode)
}

fn is_up_in(event: &Event, wanted: Mode) -> bool {
    matches!(event, Event::ChildUp { mode, .. } if mode.0 == wanted)
}

fn failure(pair: &Pair) -> Option<Failure> {
    pair.client_events().find_map(|event| match event {
        Event::ChildFailed { why, .. } | Event::Failed { why, .. } => Some(why.clone()),
        _ => None,
    })
}

#[test]
fn who_both_want_it_talk_from_host_to_host() {
    let mut pair = Pair::with(hosts);
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(modes(&pair), [Mode::Transport; 2]);
    let [client, gateway] = [CLIENT, GATEWAY].map(|address| format!("{address}/32"));
    assert_eq!(traffic(&pair, pair.client), [client.clone(), gateway.clone()]);
    assert_eq!(traffic(&pair, pair.gateway), [gateway, client]);
    assert!([pair.client, pair.gateway].iter().all(|&id| child(&pair, id).original.is_none()));
    assert!(pair.client_events().any(|event| is_up_in(event, Mode::Transport)));
    assert!(pair.gateway_events().any(|event| is_up_in(event, Mode::Transport)));
    check(pair);
}

#[test]
fn behind_a_nat_each_has_the_addresses_that_it_sees_and_remembers_those_that_were_sent() {
    let mut pair = Pair::with(behind_nat);
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(traffic(&pair, pair.client), [format!("{INSIDE}/32"), format!("{GATEWAY}/32")]);
    assert_eq!(traffic(&pair, pair.gateway), [format!("{GATEWAY}/32"), format!("{NAT}/32")]);
    let inside: IpAddr = INSIDE.parse().unwrap();
    let at_gateway = Original { source: inside, destination: GATEWAY };
    assert_eq!(child(&pair, pair.gateway).original, Some(at_gateway));
    let at_client = Original { source: GATEWAY, destination: NAT };
    assert_eq!(child(&pair, pair.client).original, Some(at_client));
    check(pair);
}

#[test]
fn a_gateway_with_a_tunnel_makes_a_tunnel_and_the_client_takes_none() {
    let mut pair = Pair::with(one_sided);
    assert_eq!(pair.up(), NO_TRANSPORT_MODE);
    // It was made, and the client has ended it.
    assert!(pair.gateway_events().any(|event| is_up_in(event, Mode::Tunnel)));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
}

#[test]
fn a_gateway_in_transport_mode_makes_no_tunnel() {
    let mut pair = Pair::with(|scene| {
        hosts(scene);
        scene.client.mode = Mode::Tunnel;
    });
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::NoEspProposal)));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
}

#[test]
fn a_plane_that_cannot_do_it_is_not_asked() {
    // The client's: it does not even ask the gateway.
    let mut pair = Pair::with(|scene| {
        hosts(scene);
        scene.client.transport = false;
    });
    assert_eq!(pair.up(), NO_TRANSPORT_MODE);
    assert_eq!(failure(&pair), Some(Failure::NoTransportMode));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();

    // The gateway's: it makes a tunnel where it may, and nothing where it may not.
    for (scene, refusal) in [
        (one_sided as fn(&mut Scene), Failure::NoTransportMode),
        (hosts, Failure::NoTrafficSelectors),
    ] {
        let mut pair = Pair::with(|it| {
            scene(it);
            it.gateway.transport = false;
        });
        assert_eq!(pair.up(), Err(Refusal::Failed(refusal)));
        pair.world.run_for(120 * SECOND);
        pair.assert_apart();
        pair.assert_empty();
    }
}

#[test]
fn hosts_that_are_not_among_the_traffic_get_nothing() {
    let mut pair = Pair::with(|scene| {
        hosts(scene);
        scene.client.local_ts = vec!["10.1.0.0/16".into()];
    });
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::NoTrafficSelectors)));
    let mut pair = Pair::with(|scene| {
        hosts(scene);
        scene.gateway.remote_ts = vec!["10.1.0.0/16"];
    });
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::NoTrafficSelectors)));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
}

#[test]
fn a_further_child_can_be_in_another_mode_than_the_first() {
    let mut pair = Pair::with(|scene| {
        scene.client.mobike = false;
        scene.gateway.mobike = false;
        scene.client.further = vec![FurtherChild::of_hosts("hosts")];
        scene.gateway.further = vec![FurtherChild::of_hosts("hosts")];
    });
    pair.up().unwrap();
    pair.assert_joined();
    for id in [pair.client, pair.gateway] {
        let children = pair.world.node(id).plane.children().values();
        let modes: Vec<_> = children.map(|child| child.mode).collect();
        assert_eq!(modes, [Mode::Tunnel, Mode::Transport]);
    }
    check(pair);
}

#[test]
fn a_further_child_that_the_gateway_has_as_a_tunnel_only_is_ended() {
    let mut pair = Pair::with(|scene| {
        scene.client.mobike = false;
        scene.client.further = vec![FurtherChild::of_hosts("hosts")];
        let tunnel = FurtherChild { mode: Mode::Tunnel, ..FurtherChild::of_hosts("hosts") };
        scene.gateway.further = vec![tunnel];
    });
    assert_eq!(pair.up(), Ok(()));
    pair.world.run_for(30 * SECOND);
    assert_eq!(failure(&pair), Some(Failure::NoTransportMode));
    assert_eq!(pair.status().stage, Stage::Up);
    assert!(pair.ping_to([10, 2, 0, 1].into()));
    assert_eq!(pair.world.node(pair.gateway).plane.children().len(), 1);
}

#[test]
fn new_keys_come_in_the_same_mode_whoever_asks_for_them() {
    for scene in [hosts as fn(&mut Scene), behind_nat] {
        let pair = one_after_another(scene, 4);
        assert_eq!(modes(&pair), [Mode::Transport; 2]);
        assert_eq!(
            child(&pair, pair.gateway).original.is_some(),
            pair.served()[0].sa.as_ref().unwrap().remote.ip() == NAT
        );
        check(pair);
    }
}

#[test]
fn a_lost_doubled_or_late_datagram_of_a_rekey_is_made_up_for() {
    rekey::lose_each(behind_nat, 4);
    rekey::double_each(behind_nat, 4);
    rekey::delay_each(behind_nat, 4);
}

#[test]
fn two_that_rekey_at_once_agree_in_the_end() {
    for (client_first, offset) in [(true, Duration::ZERO), (false, DELAY / 2), (true, DELAY)] {
        for what in BOTH {
            let what = [what, RekeyWhat::Children];
            let patience = 60 * SECOND;
            let once = rekey::AtOnce { what, client_first, offset, seed: 7, lost: None, patience };
            once.play(behind_nat);
        }
    }
}

#[test]
fn a_lost_doubled_or_late_datagram_of_a_set_up_is_made_up_for() {
    let meddlers: [fn(usize) -> Meddler; 4] = [
        |n| meddle::nth(n, |_| Vec::new()),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(3 * SECOND, sent)]),
    ];
    for scene in [hosts as fn(&mut Scene), behind_nat] {
        for meddler in meddlers {
            for position in 0..4 {
                let mut pair = Pair::with(scene);
                pair.world.meddler = Some(meddler(position));
                assert_eq!(pair.up(), Ok(()));
                assert_eq!(modes(&pair), [Mode::Transport; 2]);
                check(pair);
            }
        }
    }
}

#[test]
fn a_resumption_has_a_child_in_transport_mode() {
    for scene in [hosts as fn(&mut Scene), behind_nat] {
        let mut pair = Pair::suspended(scene);
        pair.resume().unwrap();
        pair.assert_up_by(How::Resumed);
        pair.forget_past();
        assert_eq!(modes(&pair), [Mode::Transport; 2]);
        check(pair);
    }
}

#[test]
fn a_packet_to_the_gateway_itself_brings_a_session_back_and_no_other_does() {
    let mut pair = Pair::suspended(|scene| {
        hosts(scene);
        scene.client.resumption.trigger = ResumeTrigger::OnTraffic;
    });
    let (client, before) = (pair.client, pair.world.node(pair.gateway).delivered.len());
    let to = |server: [u8; 4]| packet::udp([192, 0, 2, 10].into(), server.into(), b"data");
    assert_eq!(pair.world.send_inner(client, &to([198, 51, 100, 2])), Outgoing::Clear);
    let wanted = to([198, 51, 100, 1]);
    assert_eq!(pair.world.send_inner(client, &wanted), Outgoing::Held);
    pair.world.run_for(10 * SECOND);
    let delivered = &pair.world.node(pair.gateway).delivered;
    assert_eq!((delivered.len(), &delivered[before]), (before + 1, &wanted));
    pair.assert_up_by(How::Resumed);
}

#[test]
fn another_address_ends_the_child_and_the_client_makes_another() {
    let mut pair = Pair::joined(behind_nat);
    pair.world.nat(0).public = ELSEWHERE;
    pair.world.nat(0).restart();
    pair.world.run_for(120 * SECOND);
    let moved = |event: &Event| matches!(event, Event::ChildDown { why: Gone::Moved, .. });
    assert_eq!(pair.gateway_events().filter(|event| moved(event)).count(), 1);
    assert_eq!(traffic(&pair, pair.gateway), [format!("{GATEWAY}/32"), format!("{ELSEWHERE}/32")]);
    check(pair);
}

#[test]
fn another_port_does_not() {
    let mut pair = Pair::joined(behind_nat);
    let before = rekey::keys(&pair);
    pair.world.nat(0).restart();
    pair.world.run_for(120 * SECOND);
    assert!(pair.gateway_events().any(|event| matches!(event, Event::Moved { .. })));
    assert_eq!(rekey::keys(&pair), before);
    check(pair);
}

#[test]
fn a_packet_from_another_address_ends_the_child_as_well() {
    let mut pair = Pair::joined(behind_nat);
    pair.world.nat(0).public = ELSEWHERE;
    pair.world.nat(0).restart();
    assert!(!pair.ping());
    pair.world.run_for(15 * SECOND);
    assert_eq!(traffic(&pair, pair.gateway), [format!("{GATEWAY}/32"), format!("{ELSEWHERE}/32")]);
    check(pair);
}

#[test]
fn an_address_that_changes_while_the_plane_installs_leaves_nothing_behind() {
    for step in 0..=6 {
        let mut pair = Pair::joined(|scene| {
            behind_nat(scene);
            scene.gateway.esp = vec!["aes256gcm16-x25519-ke1_mlkem768"];
            scene.client.esp = vec!["aes256gcm16-x25519-ke1_mlkem768"];
        });
        let (client, gateway) = (pair.client, pair.gateway);
        pair.world.node_mut(gateway).plane.delay = 5 * SECOND;
        rekey::rekey(&mut pair, client, RekeyWhat::Children);
        pair.world.run_for(DELAY / 2 + DELAY * step);
        pair.world.nat(0).public = ELSEWHERE;
        pair.world.nat(0).restart();
        assert!(!pair.ping());
        pair.world.run_for(60 * SECOND);
        let now = [format!("{GATEWAY}/32"), format!("{ELSEWHERE}/32")];
        assert_eq!(traffic(&pair, gateway), now);
        check(pair);
    }
}

#[test]
fn a_gateway_notices_that_a_client_is_lost_whose_last_request_came_from_another_address() {
    let mut pair = Pair::joined(|scene| {
        behind_nat(scene);
        scene.gateway.liveness = Some(30 * SECOND);
    });
    let client = pair.client;
    pair.world.nat(0).public = ELSEWHERE;
    pair.world.nat(0).restart();
    // What it wants new keys for is over by then.
    rekey::rekey(&mut pair, client, RekeyWhat::Children);
    pair.world.run_for(DELAY + DELAY / 2);
    pair.restart_client();
    pair.world.run_for(200 * SECOND);
    pair.assert_apart();
}

/// A client with such a child whose gateway is played by the test. There is no
/// word of a NAT.
fn scripted(mode: Mode) -> Client {
    let pair = Pair::with(|scene| {
        hosts(scene);
        scene.client.local_addrs = vec![CLIENT];
        scene.client.mode = mode;
    });
    let (client, auth) = Client::of(pair);
    assert_eq!(has(&auth, NotifyType::USE_TRANSPORT_MODE), mode == Mode::Transport);
    client
}

fn of_port(host: IpAddr, port: u16) -> Selector {
    Selector::new(host, host, 6, (port, port)).unwrap()
}

/// What a gateway answers that agrees.
fn between(builder: &mut MessageBuilder<Protected>, client: Selector, gateway: Selector, spi: u32) {
    push_esp(builder, 1, spi);
    builder.ts_i(&[client]).ts_r(&[gateway]).notify(NotifyType::USE_TRANSPORT_MODE, &[]);
}

#[test]
fn an_answer_may_narrow_ports_and_not_change_hosts() {
    let [any, https] = [of_port(CLIENT, 40_000), of_port(GATEWAY, 443)];
    let mut client = scripted(Mode::Transport);
    client.accept(|builder| between(builder, any, https, 0x1000));
    assert_eq!(client.end(), Ok(()));
    let child = client.pair.status().sa.unwrap().children.remove(0);
    assert_eq!(
        (child.mode, child.local_ts, child.remote_ts),
        (Mode::Transport, vec![any], vec![https])
    );

    let mut client = scripted(Mode::Transport);
    client.accept(|builder| between(builder, any, of_port(ELSEWHERE, 443), 0x1000));
    assert_eq!(client.failure(), Failure::NoTrafficSelectors);
}

#[test]
fn an_answer_in_a_mode_that_was_not_asked_for_breaks_the_protocol() {
    let mut client = scripted(Mode::Tunnel);
    let (ours, theirs) = (of_port(CLIENT, 40_000), of_port(GATEWAY, 443));
    client.accept(|builder| between(builder, ours, theirs, 0x1000));
    assert_eq!(client.failure(), Failure::Protocol);
}

#[test]
fn a_peer_cannot_change_the_mode_of_a_child_or_ask_for_more_than_hosts() {
    let mut client = scripted(Mode::Transport);
    let (ours, theirs) = (of_port(CLIENT, 40_000), of_port(GATEWAY, 443));
    client.accept(|builder| between(builder, ours, theirs, 0x1000));
    assert_eq!(client.end(), Ok(()));
    let rekey = |builder: &mut MessageBuilder<Protected>| {
        let (protocol, spi) = (Protocol::ESP, 0x1000_u32.to_be_bytes());
        let kind = NotifyType::REKEY_SA;
        builder.notify_about(&Notify { protocol, spi: &spi, kind, data: &[] }).nonce(&[1; 32]);
    };
    let answer = client.asked((ExchangeType::CREATE_CHILD_SA, 0), |builder| {
        rekey(builder);
        push_esp(builder, 1, 0x1001);
        builder.ts_i(&[theirs]).ts_r(&[ours]);
    });
    assert!(has(&answer, NotifyType::NO_PROPOSAL_CHOSEN));
    // The peer is the initiator here.
    let net = Selector::subnet(GATEWAY, 24);
    let answer = client.asked((ExchangeType::CREATE_CHILD_SA, 1), |builder| {
        builder.nonce(&[1; 32]);
        between(builder, net, ours, 0x1002);
    });
    assert!(has(&answer, NotifyType::NO_PROPOSAL_CHOSEN));
    let answer = client.asked((ExchangeType::CREATE_CHILD_SA, 2), |builder| {
        rekey(builder);
        between(builder, theirs, ours, 0x1003);
    });
    assert!(has(&answer, NotifyType::USE_TRANSPORT_MODE));
    assert_eq!(client.pair.status().stage, Stage::Up);
}
