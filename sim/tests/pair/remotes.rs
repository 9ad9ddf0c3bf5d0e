//! Several addresses of the peer, and names of which they are to be found out.

use std::net::IpAddr;
use std::time::Duration;

use ike::Changes;
use ike::config::{Lifetime, TcpUse};
use ike::event::{Command, Event, FallBack, How, LookupFault};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use ike::wire::{ExchangeType, Header, MessageBuilder, NotifyType};
use sim::meddle::{self, DELAY};
use sim::pair::{CLIENT, machine};
use sim::plane::Outgoing;
use sim::profile::GATEWAY;
use sim::{Arrival, Content, Datagram, Link, NodeId, Pair, Profile, Scene};

const SECOND: Duration = Duration::from_secs(1);

/// Addresses at which nobody is, unless somebody is put there.
const NOWHERE: [&str; 2] = ["198.51.100.66", "198.51.100.67"];

const NAME: &str = "vpn.example.org";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn gateway() -> String {
    GATEWAY.to_string()
}

/// The client's gateway is at these addresses, one after the other; the real one
/// is at [`GATEWAY`].
fn scene(scene: &mut Scene, remotes: &[&'static str]) {
    scene.client.remote = None;
    scene.client.remotes = remotes.to_vec();
}

fn pair(remotes: &[&'static str]) -> Pair {
    Pair::with(|it| scene(it, remotes))
}

/// The name server knows the gateway's name.
fn named(addresses: &[&str]) -> Pair {
    named_with(addresses, |_| {})
}

fn named_with(addresses: &[&str], change: impl FnOnce(&mut Scene)) -> Pair {
    let mut pair = Pair::with(|it| {
        scene(it, &[NAME]);
        change(it);
    });
    pair.world.names.set(NAME, addresses);
    pair
}

/// Another gateway at this address.
fn second_gateway(pair: &mut Pair, at: &str, change: impl FnOnce(&mut Profile)) -> NodeId {
    let mut profile = Profile::gateway();
    change(&mut profile);
    let id = pair.world.add(machine(&profile, ip(at), 77, 5000));
    pair.world.node_mut(id).plane.holds_first = false;
    id
}

/// Where attempts have begun, and how.
fn beginnings(pair: &Pair) -> Vec<(IpAddr, How)> {
    let begun = |event: &Event| match event {
        Event::Started { how, remote, .. } => Some((remote.ip(), *how)),
        _ => None,
    };
    pair.client_events().filter_map(begun).collect()
}

/// Which addresses were tried in vain, and why.
fn in_vain(pair: &Pair) -> Vec<(IpAddr, Failure)> {
    let vain = |event: &Event| match event {
        Event::TriedInVain { remote, why, .. } => Some((remote.ip(), why.clone())),
        _ => None,
    };
    pair.client_events().filter_map(vain).collect()
}

fn failures(pair: &Pair) -> Vec<(Option<IpAddr>, Failure)> {
    let failed = |event: &Event| match event {
        Event::Failed { remote, why, .. } => Some((remote.map(|it| it.ip()), why.clone())),
        _ => None,
    };
    pair.client_events().filter_map(failed).collect()
}

/// Which names were not found, why, and what is taken instead.
fn unresolved(pair: &Pair) -> Vec<(String, LookupFault, Vec<IpAddr>)> {
    let of = |event: &Event| match event {
        Event::Unresolved { name, why, known, .. } => Some((name.to_string(), *why, known.clone())),
        _ => None,
    };
    pair.client_events().filter_map(of).collect()
}

/// Datagrams that the client has sent to an address.
fn sent_to(pair: &Pair, address: IpAddr) -> usize {
    let is_it = |sent: &&sim::Sent| sent.by == pair.client && sent.datagram.to.ip() == address;
    pair.world.trace.iter().filter(is_it).count()
}

fn is_dead(pair: &mut Pair, address: IpAddr, is_dead: bool) {
    let way = (CLIENT, address);
    if is_dead {
        pair.world.broken.insert(way)
    } else {
        pair.world.broken.remove(&way)
    };
}

const REAL: &str = "198.51.100.1";

#[test]
fn where_the_first_address_does_not_answer_the_next_is_asked() {
    assert_eq!(gateway(), REAL);
    let mut pair = pair(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(beginnings(&pair), [(ip(NOWHERE[0]), How::Full), (GATEWAY, How::Full)]);
    assert_eq!(in_vain(&pair), [(ip(NOWHERE[0]), Failure::Unanswered)]);
    assert_eq!(sent_to(&pair, ip(NOWHERE[0])), 3);
    assert!(pair.world.now() < 4 * SECOND, "it took {:?}", pair.world.now());
    assert_eq!(pair.set_up().round_trips, 2);
    pair.down().unwrap();
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn where_the_first_address_answers_no_other_is_asked() {
    let mut pair = pair(&[REAL, NOWHERE[0]]);
    pair.up().unwrap();
    assert_eq!((pair.world.trace.len(), sent_to(&pair, ip(NOWHERE[0]))), (4, 0));
}

#[test]
fn where_none_answers_the_last_has_the_whole_patience_and_the_attempt_fails_once() {
    let mut alone = pair(&[NOWHERE[1]]);
    assert_eq!(alone.up(), Err(Refusal::Failed(Failure::Unanswered)));
    let mut pair = pair(&NOWHERE);
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::Unanswered)));
    assert_eq!(sent_to(&pair, ip(NOWHERE[0])), 3);
    assert_eq!(sent_to(&pair, ip(NOWHERE[1])), sent_to(&alone, ip(NOWHERE[1])));
    assert_eq!(failures(&pair), [(Some(ip(NOWHERE[1])), Failure::Unanswered)]);
    assert_eq!(pair.client_counters().failed, 1);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

/// Each datagram of a set-up that reaches the second address is lost once.
#[test]
fn a_lost_datagram_is_made_up_for_at_every_address() {
    for position in 0..8 {
        let mut pair = pair(&[NOWHERE[0], REAL, NOWHERE[1]]);
        pair.world.meddler = Some(meddle::nth(position, |_| Vec::new()));
        assert_eq!(pair.up(), Ok(()), "datagram {position}");
        pair.assert_up_by(How::Full);
    }
}

#[test]
fn weather_does_not_keep_a_client_from_the_address_that_answers() {
    for seed in 1..=100 {
        let mut pair = Pair::with(|it| {
            it.seed = seed;
            scene(it, &[NOWHERE[0], REAL]);
            it.link = Link {
                jitter: Duration::from_millis(700),
                loss: 200,
                duplication: 250,
                ..Link::default()
            };
        });
        assert_eq!(pair.up(), Ok(()), "seed {seed}");
        pair.world.link = Link::default();
        pair.world.run_for(5 * SECOND);
        pair.assert_joined();
    }
}

#[test]
fn a_gateway_that_refuses_before_anybody_has_proved_anything_is_left_for_the_next() {
    let mut pair = pair(&[NOWHERE[0], REAL]);
    second_gateway(&mut pair, NOWHERE[0], |it| it.ike = vec!["aes128gcm16-prfsha256-ecp256"]);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(in_vain(&pair), [(ip(NOWHERE[0]), Failure::NoIkeProposal)]);
    // No sooner than a single gateway's word would be believed.
    assert!(pair.world.now() >= SECOND, "after {:?}", pair.world.now());
}

#[test]
fn different_reasons_are_told_for_each_address() {
    let mut pair = pair(&NOWHERE);
    second_gateway(&mut pair, NOWHERE[0], |it| it.ike = vec!["aes128gcm16-prfsha256-ecp256"]);
    let reasons = [(ip(NOWHERE[0]), Failure::NoIkeProposal), (ip(NOWHERE[1]), Failure::Unanswered)];
    let refused = pair.up().unwrap_err();
    assert_eq!(refused, Refusal::AllFailed(reasons.into()));
    assert_eq!(
        refused.to_string(),
        "198.51.100.66: the peer accepts none of our IKE proposals; \
         198.51.100.67: the peer does not answer"
    );
}

/// An error that anybody may have sent is in time contradicted by the gateway.
#[test]
fn a_forged_error_does_not_send_a_client_on() {
    let mut pair = pair(&[REAL, NOWHERE[0]]);
    pair.world.meddler = Some(Box::new(|sent| {
        let header = sent.datagram.header().unwrap();
        let mut arrivals = vec![Arrival { after: DELAY, datagram: sent.datagram.clone() }];
        if header.exchange == ExchangeType::SA_INIT && !header.flags.response {
            arrivals[0].after = 40 * DELAY;
            arrivals.push(refusal(&sent.datagram, &header));
        }
        arrivals
    }));
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!((in_vain(&pair), sent_to(&pair, ip(NOWHERE[0]))), (vec![], 0));
}

fn refusal(request: &Datagram, header: &Header) -> Arrival {
    let mut flags = header.flags;
    (flags.initiator, flags.response) = (false, true);
    let header = Header::new((header.spi_i, header.spi_r), header.exchange, flags, 0);
    let mut builder = MessageBuilder::new(Vec::new(), header);
    builder.notify(NotifyType::NO_PROPOSAL_CHOSEN, &[]);
    let content = Content::Ike(builder.finish().unwrap().into());
    let datagram = Datagram { from: request.to, to: request.from, content };
    Arrival { after: 2 * DELAY, datagram }
}

#[test]
fn a_refusal_of_identity_or_proof_is_not_taken_to_the_next_address() {
    for change in [(|it| it.secrets = vec![("", "another")]) as fn(&mut Profile), |it| {
        it.local_id = "stranger.example".into();
    }] {
        let mut pair = pair(&[NOWHERE[0], REAL]);
        second_gateway(&mut pair, NOWHERE[0], change);
        let Err(Refusal::Failed(why)) = pair.up() else { panic!("not refused") };
        assert!(why.is_refusal(), "{why}");
        assert_eq!(beginnings(&pair), [(ip(NOWHERE[0]), How::Full)]);
        assert_eq!(sent_to(&pair, GATEWAY), 0);
    }
}

#[test]
fn a_family_that_the_machine_does_not_have_is_passed_over() {
    let mut pair = pair(&["2001:db8::1", REAL]);
    pair.world.roam(pair.client, &[CLIENT], None);
    pair.up().unwrap();
    assert_eq!(beginnings(&pair), [(GATEWAY, How::Full)]);
}

#[test]
fn each_address_is_tried_by_tcp_where_udp_does_not_get_through() {
    for tcp in [TcpUse::Auto, TcpUse::Always] {
        let mut pair = Pair::with(|it| {
            scene(it, &[NOWHERE[0], REAL]);
            (it.client.tcp, it.gateway.tcp) = (tcp, TcpUse::Auto);
        });
        pair.world.only_tcp = true;
        pair.up().unwrap();
        pair.assert_up_by(How::Full);
        assert_eq!(in_vain(&pair), [(ip(NOWHERE[0]), Failure::Unanswered)], "{tcp:?}");
        assert!(!pair.world.tcp_trace.is_empty());
        assert!(pair.world.now() < 10 * SECOND, "it took {:?}", pair.world.now());
        assert_eq!(pair.world.tcp.len(), 1, "a connection is left open");
        pair.down().unwrap();
        pair.world.run_for(60 * SECOND);
        pair.assert_empty();
    }
}

/// Somebody at the first address takes TCP connections, and says nothing.
#[test]
fn whoever_takes_the_connection_and_says_nothing_is_left_for_the_next() {
    let mut pair = Pair::with(|it| {
        scene(it, &[NOWHERE[0], REAL]);
        (it.client.tcp, it.gateway.tcp) = (TcpUse::Auto, TcpUse::Auto);
    });
    second_gateway(&mut pair, NOWHERE[0], |it| it.tcp = TcpUse::Never);
    pair.world.only_tcp = true;
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(in_vain(&pair), [(ip(NOWHERE[0]), Failure::Unanswered)]);
    assert!(pair.world.now() < 20 * SECOND, "it took {:?}", pair.world.now());
}

#[test]
fn a_session_is_resumed_where_it_was_last() {
    let mut pair = pair(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(beginnings(&pair), [(GATEWAY, How::Resumed)]);
    assert_eq!(pair.world.trace.len(), 4);
}

#[test]
fn a_session_whose_gateway_does_not_answer_is_shown_to_the_others() {
    // The gateway has two addresses.
    let mut pair = pair(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.world.node_mut(pair.gateway).others = vec![ip(NOWHERE[0])];
    is_dead(&mut pair, GATEWAY, true);
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(beginnings(&pair), [(GATEWAY, How::Resumed), (ip(NOWHERE[0]), How::Resumed)]);
    assert_eq!(sent_to(&pair, GATEWAY), 0, "a broken way");
}

#[test]
fn where_no_gateway_answers_a_resumption_the_full_exchange_goes_through_them_again() {
    let mut pair = pair(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    is_dead(&mut pair, GATEWAY, true);
    pair.forget_past();
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(12 * SECOND);
    let fell_back = |event: &Event| matches!(event, Event::FellBack { why: FallBack::Silence, .. });
    assert!(pair.client_events().any(fell_back));
    is_dead(&mut pair, GATEWAY, false);
    assert_eq!(pair.finish(up), Ok(()));
    pair.assert_up_by(How::Full);
    let at = |address: &str, how| (ip(address), how);
    let (full, resumed) = (How::Full, How::Resumed);
    let expected =
        [at(REAL, resumed), at(NOWHERE[0], resumed), at(NOWHERE[0], full), at(REAL, full)];
    assert_eq!(beginnings(&pair), expected);
}

#[test]
fn a_gateway_that_does_not_know_the_ticket_is_asked_for_a_full_exchange_at_once() {
    let mut pair = pair(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.restart_gateway();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(beginnings(&pair), [(GATEWAY, How::Resumed), (GATEWAY, How::Full)]);
}

#[test]
fn after_down_the_addresses_are_asked_in_their_order_again() {
    let mut pair = pair(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.down().unwrap();
    pair.forget_past();
    pair.up().unwrap();
    assert_eq!(beginnings(&pair)[0].0, ip(NOWHERE[0]));
}

#[test]
fn on_another_network_all_addresses_are_asked_again() {
    let mut pair = pair(&[REAL, NOWHERE[0]]);
    // A bound address: the attempt begins anew when it is gone.
    pair.scene().client.local_addrs = vec![CLIENT, ip("198.18.0.5")];
    pair.restart_client();
    pair.world.roam(pair.client, &[CLIENT], None);
    is_dead(&mut pair, GATEWAY, true);
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(10 * SECOND);
    assert_eq!(beginnings(&pair).last().unwrap().0, ip(NOWHERE[0]));
    pair.world.roam(pair.client, &[ip("198.18.0.5")], None);
    assert_eq!(pair.finish(up), Ok(()));
    pair.assert_joined();
}

#[test]
fn an_sa_moves_to_another_configured_or_resolved_address_of_its_gateway() {
    for is_named in [false, true] {
        let mut pair = Pair::with(|it| {
            scene(it, if is_named { &[NAME] } else { &[REAL, NOWHERE[0]] });
            it.client.liveness = Some(10 * SECOND);
        });
        pair.world.names.set(NAME, &[REAL, NOWHERE[0]]);
        pair.world.node_mut(pair.gateway).others = vec![ip(NOWHERE[0])];
        pair.world.roam(pair.client, &[CLIENT], None);
        pair.up().unwrap();
        // The gateway has not told of its other address: it does not know it.
        is_dead(&mut pair, GATEWAY, true);
        pair.forget_past();
        pair.world.run_for(60 * SECOND);
        assert_eq!(pair.status().sa.unwrap().remote.ip(), ip(NOWHERE[0]), "{is_named}");
        pair.assert_joined();
        let is_new = |event: &Event| matches!(event, Event::Started { .. } | Event::Down { .. });
        assert!(!pair.client_events().any(is_new));
    }
}

#[test]
fn who_proves_itself_again_does_so_where_the_peer_is() {
    let mut pair = Pair::with(|it| {
        scene(it, &[NOWHERE[0], REAL, NAME]);
        it.client.reauth = Lifetime { rekey: Some(60 * SECOND), ..Lifetime::endless() };
    });
    pair.up().unwrap();
    pair.forget_past();
    pair.world.run_for(90 * SECOND);
    pair.assert_joined();
    assert!(beginnings(&pair).contains(&(GATEWAY, How::Full)));
    assert_eq!((sent_to(&pair, ip(NOWHERE[0])), pair.world.names.asked.len()), (0, 0));
}

/// That a name server was not to be had is no refusal.
#[test]
fn a_kept_connection_asks_for_its_name_again_and_again() {
    let mut pair = named(&[]);
    let (client, name, time) = (pair.client, pair.name(), pair.world.now());
    let now = pair.world.node(client).clock.at(time);
    pair.client_endpoint().keep_up(now, &name);
    pair.settle();
    pair.world.run_for(120 * SECOND);
    assert!(pair.world.names.asked.len() > 4, "{:?}", pair.world.names.asked);
    pair.world.names.set(NAME, &[REAL]);
    pair.world.run_for(300 * SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn a_name_is_looked_up_and_each_of_its_addresses_is_asked() {
    let mut pair = named(&[NOWHERE[0], REAL]);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(beginnings(&pair), [(ip(NOWHERE[0]), How::Full), (GATEWAY, How::Full)]);
    let asked: Vec<_> = pair.world.names.asked.iter().map(|(.., name)| name.as_str()).collect();
    assert_eq!(asked, [NAME]);
}

#[test]
fn a_late_answer_is_waited_for() {
    let mut pair = named(&[REAL]);
    pair.world.names.delay = 4 * SECOND;
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(3 * SECOND);
    let status = pair.status();
    assert_eq!((status.stage, status.sa.is_none()), (Stage::Connecting, true));
    // Whoever else wants it waits for the same.
    let second = pair.begin(Command::Up(pair.name()));
    assert_eq!((pair.finish(up), pair.finish(second)), (Ok(()), Ok(())));
    pair.assert_joined();
    assert_eq!(pair.world.names.asked.len(), 1);
}

#[test]
fn a_name_without_addresses_fails_and_is_told_by_name() {
    let mut pair = named(&[]);
    let refused = pair.up().unwrap_err();
    assert_eq!(refused.to_string(), "no usable address of vpn.example.org was found");
    assert_eq!(unresolved(&pair), [(NAME.into(), LookupFault::NoAddress, vec![])]);
    assert_eq!(failures(&pair), [(None, Failure::Unresolved)]);
    assert_eq!(pair.client_counters().failed, 1);
    assert!(pair.world.trace.is_empty());
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn a_resolver_that_never_answers_is_waited_for_five_seconds() {
    let mut pair = named(&[REAL]);
    pair.world.names.is_silent = true;
    let refused = pair.up().unwrap_err();
    assert_eq!(refused, Refusal::Unresolved(NAME.parse().unwrap()));
    assert_eq!(unresolved(&pair), [(NAME.into(), LookupFault::NoAnswer, vec![])]);
    assert_eq!(pair.world.now(), 5 * SECOND);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn an_answer_that_comes_too_late_serves_the_next_attempt() {
    let mut pair = named(&[REAL]);
    pair.world.names.delay = 8 * SECOND;
    assert!(pair.up().is_err());
    pair.forget_past();
    pair.world.names.is_silent = true;
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(unresolved(&pair), [(NAME.into(), LookupFault::NoAnswer, vec![GATEWAY])]);
}

#[test]
fn a_gateway_that_has_moved_is_found_by_its_name() {
    let mut pair = named(&[REAL]);
    pair.up().unwrap();
    pair.down().unwrap();
    pair.world.node_mut(pair.gateway).address = ip(NOWHERE[0]);
    pair.world.names.set(NAME, &[NOWHERE[0]]);
    pair.forget_past();
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(beginnings(&pair), [(ip(NOWHERE[0]), How::Full)]);
}

#[test]
fn a_session_is_resumed_without_a_lookup_and_follows_a_gateway_that_has_moved() {
    let mut pair = named(&[REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(pair.world.names.asked.len(), 1);

    pair.suspend().unwrap();
    pair.world.node_mut(pair.gateway).address = ip(NOWHERE[0]);
    pair.world.names.set(NAME, &[NOWHERE[0]]);
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(beginnings(&pair), [(GATEWAY, How::Resumed), (ip(NOWHERE[0]), How::Resumed)]);
}

/// Where the old address now is somebody else's, who knows no ticket of ours.
#[test]
fn a_ticket_that_is_not_known_at_the_old_address_leads_to_another_lookup() {
    let mut pair = named(&[REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.world.node_mut(pair.gateway).address = ip(NOWHERE[0]);
    second_gateway(&mut pair, REAL, |it| it.local_id = "stranger.example".into());
    pair.world.names.set(NAME, &[NOWHERE[0]]);
    pair.forget_past();
    pair.resume().unwrap();
    assert_eq!(beginnings(&pair), [(GATEWAY, How::Resumed), (ip(NOWHERE[0]), How::Full)]);
    assert_eq!(pair.status().sa.unwrap().remote.ip(), ip(NOWHERE[0]));
}

#[test]
fn without_an_answer_the_addresses_from_before_are_taken() {
    for (is_silent, why) in [(true, LookupFault::NoAnswer), (false, LookupFault::NoAddress)] {
        let mut pair = named(&[REAL]);
        pair.up().unwrap();
        pair.down().unwrap();
        pair.world.names.is_silent = is_silent;
        pair.world.names.set(NAME, &[]);
        pair.forget_past();
        pair.up().unwrap();
        pair.assert_up_by(How::Full);
        assert_eq!(unresolved(&pair), [(NAME.into(), why, vec![GATEWAY])]);
    }
}

#[test]
fn down_ends_the_wait_for_an_answer() {
    let mut pair = named(&[REAL]);
    pair.world.names.delay = 3 * SECOND;
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(SECOND);
    let down = pair.begin(Command::Down(pair.name()));
    let replies = pair.world.node(pair.client).replies.clone();
    assert_eq!(replies[&up], Err(Refusal::Failed(Failure::Ended)));
    assert_eq!(replies[&down], Ok(()));
    pair.world.run_for(60 * SECOND);
    assert!(pair.world.trace.is_empty());
    pair.assert_empty();
}

#[test]
fn down_during_the_lookup_of_a_resumption_ends_its_session() {
    let mut pair = named(&[REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    is_dead(&mut pair, GATEWAY, true);
    pair.world.names.is_silent = true;
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(6 * SECOND);
    assert_eq!(pair.status().stage, Stage::Connecting);
    assert!(pair.status().sa.is_none(), "it is looked up");
    assert_eq!(pair.down(), Ok(()));
    assert_eq!(pair.finish(up), Err(Refusal::Failed(Failure::Ended)));
    assert_eq!(pair.status().stage, Stage::Down);
}

#[test]
fn a_client_that_is_killed_during_a_lookup_begins_anew() {
    let mut pair = named(&[REAL]);
    pair.world.names.delay = 3 * SECOND;
    pair.begin(Command::Up(pair.name()));
    pair.world.run_for(SECOND);
    pair.restart_client();
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.status().stage, Stage::Down);
    assert!(pair.world.trace.is_empty());
    pair.up().unwrap();
    pair.assert_joined();
}

/// A tunnel for all traffic must not keep the first question from the name server.
#[test]
fn nothing_is_held_before_the_first_lookup_and_all_after_it() {
    let mut pair = named(&[NOWHERE[0], REAL]);
    pair.world.names.delay = 3 * SECOND;
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(2 * SECOND);
    assert_eq!(pair.outgoing(), Outgoing::Clear);
    pair.world.run_for(2 * SECOND);
    assert_eq!(pair.outgoing(), Outgoing::Held);
    assert_eq!(pair.finish(up), Ok(()));
    pair.assert_joined();
}

#[test]
fn packets_wait_while_a_name_is_looked_up() {
    let mut pair = named(&[REAL]);
    let (client, name) = (pair.client, pair.name());
    pair.client_endpoint().arm(&name);
    pair.settle();
    pair.world.names.delay = 3 * SECOND;
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(10 * SECOND);
    pair.assert_joined();
    assert!(!pair.world.node(pair.gateway).delivered.is_empty(), "of {client:?}");
}

#[test]
fn names_and_addresses_are_asked_in_their_order_and_twice_nobody() {
    let mut pair = pair(&[NOWHERE[0], NAME, NOWHERE[1], "gw2.example.org", REAL]);
    pair.world.names.set(NAME, &[NOWHERE[1], NOWHERE[0]]);
    pair.up().unwrap();
    let addresses: Vec<_> = beginnings(&pair).into_iter().map(|(address, _)| address).collect();
    assert_eq!(addresses, [ip(NOWHERE[0]), ip(NOWHERE[1]), GATEWAY]);
    assert_eq!(unresolved(&pair), [("gw2.example.org".into(), LookupFault::NoAddress, vec![])]);
}

/// The last address is left early for a name of which nothing comes.
#[test]
fn an_address_before_a_name_that_is_not_found_gets_its_whole_patience_after_that() {
    let mut pair = pair(&[NOWHERE[0], NAME]);
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::Unanswered)));
    assert_eq!(sent_to(&pair, ip(NOWHERE[0])), 3 + 7);
    assert_eq!(failures(&pair), [(Some(ip(NOWHERE[0])), Failure::Unanswered)]);
}

#[test]
fn of_a_name_eight_addresses_are_taken_and_none_that_no_machine_has() {
    let many: Vec<_> = (1..=20).map(|n| format!("198.51.100.{}", 100 + n)).collect();
    let odd = ["0.0.0.0", "255.255.255.255", "ff02::1", "198.51.100.101"];
    let all: Vec<_> = odd.into_iter().chain(many.iter().map(String::as_str)).collect();
    let mut pair = named(&all);
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::Unanswered)));
    let addresses: Vec<_> = beginnings(&pair).into_iter().map(|(it, _)| it).collect();
    let expected: Vec<_> = many[..8].iter().map(|text| ip(text)).collect();
    assert_eq!(addresses, expected);
}

#[test]
fn a_changed_name_is_a_changed_connection_and_forgets_what_was_known() {
    let mut pair = named(&[REAL]);
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.world.names.set("gw2.example.org", &[NOWHERE[0]]);
    pair.scene().client.remotes = vec!["gw2.example.org"];
    assert_eq!(reconfigure(&mut pair).altered, ["home".into()]);
    pair.forget_past();
    let up = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(SECOND);
    // The session is shown where the connection says now.
    assert_eq!(beginnings(&pair), [(ip(NOWHERE[0]), How::Resumed)]);
    assert_eq!(pair.down(), Ok(()));
    assert_eq!(pair.finish(up), Err(Refusal::Failed(Failure::Ended)));

    // The first name is another one's by now, for all that is known.
    pair.scene().client.remotes = vec![NAME];
    reconfigure(&mut pair);
    pair.world.names.is_silent = true;
    assert_eq!(pair.up(), Err(Refusal::Unresolved(NAME.parse().unwrap())));
}

/// The client reads what the scene says now.
fn reconfigure(pair: &mut Pair) -> Changes {
    let config = pair.scene().client.config();
    let (client, time) = (pair.client, pair.world.now());
    let now = pair.world.node(client).clock.at(time);
    let changes = pair.client_endpoint().reconfigure(now, config);
    pair.settle();
    changes
}

#[test]
fn a_gateway_with_a_name_takes_the_peer_from_anywhere() {
    let mut pair = Pair::with(|it| it.gateway.remotes = vec!["client.example.org"]);
    pair.up().unwrap();
    pair.assert_joined();
    assert!(pair.world.names.asked.is_empty());
}

#[test]
fn weather_and_a_slow_resolver_change_nothing() {
    for seed in 1..=60 {
        let mut pair = named_with(&[NOWHERE[0], REAL], |it| {
            it.seed = seed;
            it.link = Link {
                jitter: Duration::from_millis(700),
                loss: 200,
                duplication: 250,
                ..Link::default()
            };
        });
        pair.world.names.delay = Duration::from_millis(seed * 80);
        assert_eq!(pair.up(), Ok(()), "seed {seed}");
        pair.world.link = Link::default();
        pair.world.run_for(5 * SECOND);
        pair.assert_joined();
        pair.suspend().unwrap();
        pair.resume().unwrap();
        pair.assert_up_by(How::Resumed);
    }
}
