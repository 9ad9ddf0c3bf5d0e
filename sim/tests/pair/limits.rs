//! What strangers may cost: cookies, half-open SAs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ike::config::{Lifetime, Unique};
use ike::event::{Command, Event, Gone, How};
use ike::fault::{Discard, Failure, Refusal};
use ike::wire::{ExchangeType, Flags, Header, Message, MessageBuilder, NotifyType};
use sim::pair::CLIENT;
use sim::profile::GATEWAY;
use sim::{Arrival, Content, Datagram, Pair, Profile, Scene};

const SECOND: Duration = Duration::from_secs(1);

/// The first request of a client.
fn first_request(pair: &mut Pair) -> Datagram {
    pair.begin(Command::Up(pair.name()));
    pair.world.trace[0].datagram.clone()
}

/// The same request of somebody else: another SPI, another address.
fn of_stranger(request: &Datagram, number: u8, source: IpAddr) -> Datagram {
    let mut octets = request.ike().unwrap().to_vec();
    octets[0] ^= 0x55;
    octets[7] = number;
    let from = SocketAddr::new(source, 500);
    Datagram { from, to: request.to, content: Content::Ike(octets.into()) }
}

fn inject(pair: &mut Pair, datagram: Datagram) {
    pair.world.inject(Arrival { after: Duration::ZERO, datagram });
    pair.world.drive();
}

/// A pair whose gateway has `count` half-open SAs of strangers.
fn besieged(count: u8, change: impl FnOnce(&mut Scene)) -> Pair {
    let mut other = Pair::new(Scene { seed: 77, ..Scene::default() });
    let request = first_request(&mut other);
    let mut pair = Pair::with(change);
    siege(&mut pair, &request, count);
    pair
}

fn siege(pair: &mut Pair, request: &Datagram, count: u8) {
    for number in 0..count {
        let source = IpAddr::from([203, 0, 113, number]);
        inject(pair, of_stranger(request, number, source));
    }
    assert_eq!(half_open(pair), usize::from(count));
    pair.forget_past();
}

fn half_open(pair: &Pair) -> usize {
    pair.world.node(pair.gateway).endpoint.status().half_open
}

#[test]
fn above_the_threshold_a_cookie_is_asked_for_and_the_initiator_brings_it() {
    let mut pair = besieged(8, |scene| scene.gateway.limits.cookie_threshold = 8);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(pair.set_up().round_trips, 3);
    assert_eq!(pair.gateway_counters().cookies, 1);
    assert_eq!(pair.gateway_counters().discarded(Discard::BadCookie), 1);
}

#[test]
fn a_cookie_goes_well_with_a_wrong_group() {
    let mut pair = besieged(8, |scene| {
        scene.gateway.limits.cookie_threshold = 8;
        scene.client.ike = vec!["aes256gcm16-prfsha384-ecp256-x25519"];
    });
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(pair.set_up().round_trips, 4);
}

#[test]
fn a_resumption_brings_a_cookie_too() {
    let mut other = Pair::new(Scene { seed: 77, ..Scene::default() });
    let request = first_request(&mut other);
    let mut pair = Pair::suspended(|scene| scene.gateway.limits.cookie_threshold = 8);
    siege(&mut pair, &request, 8);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(pair.set_up().round_trips, 3);
    assert_eq!(pair.gateway_counters().cookies, 1);
}

#[test]
fn whoever_brings_no_good_cookie_costs_no_memory() {
    let mut pair = besieged(4, |scene| scene.gateway.limits.cookie_threshold = 4);
    let request = first_request(&mut pair);
    pair.world.drive();
    pair.forget_past();
    let before = half_open(&pair);
    for number in 0..100 {
        let stranger = of_stranger(&request, number, [203, 0, 113, 200].into());
        let cookie = &[number; 32];
        inject(&mut pair, with_cookie(&stranger, cookie));
    }
    assert_eq!(half_open(&pair), before);
    assert_eq!(pair.gateway_counters().cookies, 101);
}

#[test]
fn a_cookie_is_good_for_its_address_and_its_time_only() {
    let mut pair = besieged(4, |scene| {
        scene.gateway.limits.cookie_threshold = 4;
        scene.gateway.limits.half_open_timeout = Duration::from_secs(10_000);
    });
    let request = first_request(&mut pair);
    let client = pair.client;
    pair.world.node_mut(client).offline = true;
    pair.world.drive();
    let answer = pair.world.trace.iter().find(|sent| sent.by == pair.gateway).unwrap();
    let octets = answer.datagram.ike().unwrap().clone();
    let answer = Message::parse(&octets).unwrap();
    let cookie = answer.payloads.notify(NotifyType::COOKIE).unwrap().data;
    let good = with_cookie(&request, cookie);
    let elsewhere =
        Datagram { from: SocketAddr::new([203, 0, 113, 99].into(), 500), ..good.clone() };
    inject(&mut pair, elsewhere);
    assert_eq!(half_open(&pair), 4);
    pair.world.run_for(Duration::from_secs(121));
    inject(&mut pair, good.clone());
    assert_eq!(half_open(&pair), 4);
    let mut pair = besieged(4, |scene| scene.gateway.limits.cookie_threshold = 4);
    inject(&mut pair, request);
    inject(&mut pair, good);
    assert_eq!(half_open(&pair), 5);
}

#[test]
fn a_cookie_of_no_or_too_many_octets_is_not_brought() {
    for (len, requests) in [(0, 1), (1, 2), (64, 2), (65, 1), (60_000, 1)] {
        let mut pair = Pair::new(Scene::default());
        let request = first_request(&mut pair);
        let gateway = pair.gateway;
        pair.world.node_mut(gateway).offline = true;
        let header = Message::parse(request.ike().unwrap()).unwrap().header;
        let flags = Flags { initiator: false, response: true };
        let spis = (header.spi_i, header.spi_r);
        let header = Header::new(spis, ExchangeType::SA_INIT, flags, 0);
        let mut builder = MessageBuilder::new(Vec::new(), header);
        builder.notify(NotifyType::COOKIE, &vec![7; len]);
        let answer = request.reflected().with_ike(&builder.finish().unwrap());
        inject(&mut pair, answer);
        assert_eq!(pair.exchanges().len(), requests, "{len} octets");
    }
}

/// The request with a cookie in front, as RFC 7296 section 2.6 wants it.
fn with_cookie(request: &Datagram, cookie: &[u8]) -> Datagram {
    let octets = request.ike().unwrap();
    let message = Message::parse(octets).unwrap();
    let mut builder = MessageBuilder::new(Vec::new(), message.header);
    builder.notify(NotifyType::COOKIE, cookie);
    for payload in &message.payloads {
        builder.payload(payload);
    }
    request.with_ike(&builder.finish().unwrap())
}

#[test]
fn one_source_gets_no_more_than_its_share() {
    let mut pair = Pair::with(|scene| scene.gateway.limits.half_open_per_source = 3);
    let request = first_request(&mut pair);
    pair.world.drive();
    assert_eq!(half_open(&pair), 0);
    for number in 0..10 {
        inject(&mut pair, of_stranger(&request, number, [203, 0, 113, 5].into()));
    }
    assert_eq!(half_open(&pair), 3);
    assert_eq!(pair.gateway_counters().discarded(Discard::Limit), 7);
    inject(&mut pair, of_stranger(&request, 99, [203, 0, 113, 6].into()));
    assert_eq!(half_open(&pair), 4);
}

/// One host has as many IPv6 addresses as it likes.
#[test]
fn all_addresses_of_one_64_bit_prefix_are_one_source() {
    let mut pair = Pair::with(|scene| scene.gateway.limits.half_open_per_source = 3);
    let request = first_request(&mut pair);
    pair.world.drive();
    let address = |prefix: u16, host: u8| [0x2001, 0xdb8, 0, prefix, 9, 0, 0, host.into()].into();
    for number in 0..10 {
        inject(&mut pair, of_stranger(&request, number, address(1, number)));
    }
    assert_eq!(half_open(&pair), 3);
    inject(&mut pair, of_stranger(&request, 99, address(2, 0)));
    assert_eq!(half_open(&pair), 4);
    pair.down().unwrap();
    pair.world.run_for(31 * SECOND);
    pair.assert_empty();
}

/// A client with that many connections to the gateway, as one identity.
fn greedy(names: [&'static str; 4], change: impl FnOnce(&mut Scene)) -> Pair {
    Pair::with(|scene| {
        let [first, more @ ..] = names;
        let connection = |(number, name)| {
            let local_ts = vec![format!("10.1.{number}.0/24")];
            Profile { name, local_ts, ..Profile::client() }
        };
        scene.client.name = first;
        scene.client.more = (1..).zip(more).map(connection).collect();
        change(scene);
    })
}

fn is_full(pair: &Pair) -> usize {
    let is_it = |event: &&Event| matches!(event, Event::Failed { why: Failure::Full, .. });
    pair.gateway_events().filter(is_it).count()
}

#[test]
fn a_connection_gets_no_more_sas_than_it_may_have() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let mut pair = greedy(NAMES, |scene| scene.gateway.max_sas = Some(2));
    pair.command(Command::Up("a".into())).unwrap();
    pair.command(Command::Up("b".into())).unwrap();
    let refused = Err(Refusal::Failed(Failure::RefusedByPeer));
    assert_eq!(pair.command(Command::Up("c".into())), refused);
    assert_eq!((is_full(&pair), pair.served().len()), (1, 2));
    // What is resumed takes its own place.
    pair.command(Command::Suspend("b".into())).unwrap();
    assert_eq!(pair.served().len(), 2);
    pair.command(Command::Resume("b".into())).unwrap();
    // Whoever gives one up leaves room for another.
    pair.command(Command::Down("a".into())).unwrap();
    pair.command(Command::Up("d".into())).unwrap();
    assert_eq!((is_full(&pair), pair.served().len()), (1, 2));
    for name in ["b", "d"] {
        pair.command(Command::Down(name.into())).unwrap();
    }
    pair.world.run_for(31 * SECOND);
    pair.assert_empty();
}

#[test]
fn what_takes_the_place_of_another_has_room() {
    for unique in [Unique::Replace, Unique::Keep] {
        let mut pair = greedy(["a", "b", "c", "d"], |scene| {
            scene.gateway.max_sas = Some(1);
            scene.gateway.unique = unique;
        });
        pair.command(Command::Up("a".into())).unwrap();
        pair.command(Command::Up("b".into())).unwrap();
        pair.world.run_for(11 * SECOND);
        assert_eq!((is_full(&pair), pair.served().len()), (0, 1));
    }
}

#[test]
fn who_proves_itself_again_has_room_and_no_more_than_before() {
    let times = Lifetime::of(60 * SECOND);
    let narrow: [fn(&mut Scene); 2] = [
        |scene| scene.gateway.max_sas = Some(1),
        |scene| scene.gateway.limits.sas_per_identity = 1,
    ];
    for narrow in narrow {
        let mut pair = Pair::joined(|scene| {
            scene.client.reauth = times;
            narrow(scene);
        });
        pair.world.run_for(600 * SECOND);
        let ups = pair.client_events().filter(|it| matches!(it, Event::Up { .. })).count();
        assert!(ups >= 9, "{ups}");
        assert!(pair.served().len() <= 2);
        // Who does not end the one before is made to.
        let gateway = pair.gateway;
        pair.world.meddler = Some(Box::new(move |sent| {
            let is_delete = sent.by != gateway
                && sent.datagram.header().is_some_and(|it| {
                    it.exchange == ExchangeType::INFORMATIONAL && !it.flags.response
                });
            if is_delete { Vec::new() } else { sim::meddle::untouched(sent) }
        }));
        let before = pair.gateway_events().count();
        pair.world.run_for(90 * SECOND);
        let ends = pair.gateway_events().skip(before);
        let replaced = |it: &&Event| matches!(it, Event::Down { why: Gone::Replaced, .. });
        assert!(ends.filter(replaced).count() >= 1);
        assert!(pair.served().len() <= 2);
    }
}

fn refusals(pair: &Pair) -> Vec<(Option<String>, Option<String>)> {
    let refusal = |event: &Event| match event {
        Event::Failed { connection, peer, why: Failure::TooManySas, .. } => Some((
            connection.as_ref().map(ToString::to_string),
            peer.as_ref().map(ToString::to_string),
        )),
        _ => None,
    };
    pair.gateway_events().filter_map(refusal).collect()
}

#[test]
fn one_identity_gets_no_more_sas_than_it_may_have() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let mut pair = greedy(NAMES, |scene| scene.gateway.limits.sas_per_identity = 2);
    pair.command(Command::Up("a".into())).unwrap();
    pair.command(Command::Up("b".into())).unwrap();
    let refused = Err(Refusal::Failed(Failure::RefusedByPeer));
    assert_eq!(pair.command(Command::Up("c".into())), refused);
    let who = (Some("clients".to_owned()), Some("@client.example".to_owned()));
    assert_eq!(refusals(&pair), [who]);
    assert_eq!(pair.served().len(), 2);
    // Whoever gives one up may have another.
    pair.command(Command::Down("a".into())).unwrap();
    pair.command(Command::Up("d".into())).unwrap();
    assert_eq!(pair.served().len(), 2);
}

#[test]
fn who_comes_back_or_has_no_other_sa_is_not_one_too_many() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let mut pair = greedy(NAMES, |scene| scene.gateway.limits.sas_per_identity = 1);
    pair.command(Command::Up("a".into())).unwrap();
    pair.command(Command::Suspend("a".into())).unwrap();
    pair.command(Command::Resume("a".into())).unwrap();
    assert_eq!(pair.served().len(), 1);
    // INITIAL_CONTACT: the gateway's SA is one that the client has forgotten.
    pair.restart_client();
    pair.command(Command::Up("a".into())).unwrap();
    assert_eq!(pair.served().len(), 1);
    assert_eq!(refusals(&pair), []);
}

#[test]
fn all_sources_together_get_no_more_than_there_is() {
    let mut pair = Pair::with(|scene| scene.gateway.limits.half_open = 5);
    let request = first_request(&mut pair);
    pair.world.drive();
    for number in 0..10 {
        inject(&mut pair, of_stranger(&request, number, [203, 0, 113, number].into()));
    }
    assert_eq!(half_open(&pair), 5);
}

#[test]
fn a_stranger_that_does_not_go_on_is_forgotten() {
    let mut pair = besieged(5, |_| {});
    pair.world.run_for(31 * SECOND);
    assert_eq!(half_open(&pair), 0);
    pair.assert_empty();
    assert_eq!(pair.gateway_counters().failed, 5);
}

#[test]
fn a_request_sent_again_gets_the_same_answer_and_no_second_sa() {
    let mut pair = Pair::new(Scene::default());
    let request = first_request(&mut pair);
    let client = pair.client;
    pair.world.node_mut(client).offline = true;
    pair.world.drive();
    inject(&mut pair, request.clone());
    inject(&mut pair, request);
    let answers: Vec<_> = pair.world.trace.iter().filter(|sent| sent.by == pair.gateway).collect();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|sent| sent.datagram == answers[0].datagram));
    assert_eq!(half_open(&pair), 1);
}

#[test]
fn exchanges_that_begin_nothing_get_no_answer() {
    let mut pair = Pair::new(Scene::default());
    let request = first_request(&mut pair);
    pair.world.drive();
    pair.forget_past();
    for exchange in [ExchangeType::AUTH, ExchangeType::INFORMATIONAL, ExchangeType(240)] {
        let mut octets = request.ike().unwrap().to_vec();
        octets[18] = exchange.0;
        octets[0] ^= 1;
        inject(&mut pair, request.with_ike(&octets));
    }
    assert_eq!(pair.exchanges().len(), 0);
    assert_eq!(pair.gateway_counters().discarded(Discard::WrongExchange), 3);
    let (from, to) = (SocketAddr::new(CLIENT, 500), SocketAddr::new(GATEWAY, 500));
    for len in 0..Header::LEN {
        let content = Content::Ike(vec![7; len].into());
        inject(&mut pair, Datagram { from, to, content });
    }
    assert_eq!(pair.exchanges().len(), 0);
    assert_eq!(pair.gateway_counters().discarded(Discard::Malformed), 28);
}
