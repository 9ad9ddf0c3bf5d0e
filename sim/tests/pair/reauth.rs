//! Authentications that are repeated in time (RFC 4478): the SA that comes takes
//! the place of the one before it without a gap.

use std::time::Duration;

use ike::config::{Lifetime, Unique};
use ike::event::{Command, Event, Gone, How, RekeyWhat};
use ike::inner::Network;
use ike::pool::{AddressRange, PoolConfig};
use ike::status::Stage;
use sim::meddle::{self, DELAY, arrival};
use sim::world::Meddler;
use sim::{NodeId, Pair, Scene, packet};

use crate::reconfigure::reconfigure;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TEN: Duration = Duration::from_secs(600);

fn by_client(scene: &mut Scene) {
    scene.client.reauth = Lifetime::of(TEN);
}

fn by_gateway(scene: &mut Scene) {
    scene.gateway.reauth = Lifetime::of(TEN);
}

const BOTH: [fn(&mut Scene); 2] = [by_client, by_gateway];

fn set_ups(pair: &Pair) -> Vec<How> {
    let how = |event: &Event| match event {
        Event::Up { set_up, .. } => Some(set_up.how),
        _ => None,
    };
    pair.client_events().filter_map(how).collect()
}

fn ends(pair: &Pair, id: NodeId) -> Vec<Gone> {
    let why = |(_, event): &(Duration, Event)| match event {
        Event::Down { why, .. } => Some(*why),
        _ => None,
    };
    pair.world.node(id).events.iter().filter_map(why).collect()
}

/// Until the next attempt begins.
fn wait_for_attempt(pair: &mut Pair, patience: Duration) -> bool {
    let client = pair.client;
    let attempts = |world: &sim::World| {
        let events = world.node(client).events.iter();
        events.filter(|(_, it)| matches!(it, Event::Started { .. })).count()
    };
    let before = attempts(&pair.world);
    pair.world.drive_until(patience, |world| attempts(world) > before)
}

/// One SA and one child at each end, and nothing after the end.
fn check(mut pair: Pair) {
    pair.world.meddler = None;
    pair.world.run_for(40 * SECOND);
    for id in [pair.client, pair.gateway] {
        let node = pair.world.node(id);
        assert_eq!((node.endpoint.holdings().sas, node.plane.children().len()), (1, 1));
    }
    pair.assert_joined();
    assert_eq!(pair.down(), Ok(()));
    pair.world.run_for(2 * MINUTE);
    pair.assert_apart();
    pair.assert_empty();
}

/// A steady stream both ways.
fn stream(pair: &mut Pair, packets: usize) -> [usize; 2] {
    let ends = [pair.client, pair.gateway];
    let status = pair.status();
    let given = status.assigned.and_then(|given| given.addresses.v4);
    let inner = given.unwrap_or([10, 1, 0, 2].into());
    let there = packet::udp(inner, [10, 2, 0, 1].into(), b"there");
    let back = packet::udp([10, 2, 0, 1].into(), inner, b"back");
    let count = |pair: &Pair| ends.map(|id| pair.world.node(id).delivered.len());
    let before = count(pair);
    for _ in 0..packets {
        pair.world.send_inner(ends[0], &there);
        pair.world.send_inner(ends[1], &back);
        pair.world.run_for(DELAY / 20);
    }
    pair.world.run_for(SECOND);
    let after = count(pair);
    [after[0] - before[0], after[1] - before[1]]
}

fn with_pool(scene: &mut Scene) {
    scene.gateway.pools = vec![PoolConfig {
        name: "clients".into(),
        ranges: vec![AddressRange::new([10, 1, 0, 2].into(), [10, 1, 0, 254].into()).unwrap()],
        fixed: Vec::new(),
        network: Network::default(),
    }];
    scene.gateway.dynamic = true;
    scene.client.dynamic = true;
    scene.client.local_ts = vec!["0.0.0.0/0".into()];
    scene.client.vips = vec!["0.0.0.0"];
}

#[test]
fn the_next_sa_takes_over_without_the_loss_of_a_packet() {
    for told in BOTH {
        for unique in [Unique::No, Unique::Never, Unique::Replace, Unique::Keep] {
            for has_pool in [false, true] {
                let mut pair = Pair::joined(|scene| {
                    told(scene);
                    scene.gateway.unique = unique;
                    scene.gateway.max_sas = Some(1);
                    if has_pool {
                        with_pool(scene);
                    }
                });
                let inner = pair.status().assigned;
                assert!(wait_for_attempt(&mut pair, TEN), "in time");
                assert_eq!(stream(&mut pair, 400), [400, 400], "{unique:?} {has_pool}");
                assert_eq!(set_ups(&pair), [How::Full]);
                pair.world.run_for(30 * SECOND);
                let (client, gateway) = (pair.client, pair.gateway);
                assert_eq!(ends(&pair, client), [Gone::Replaced]);
                assert_eq!(ends(&pair, gateway).len(), 1);
                assert_eq!(pair.status().assigned, inner, "the same address");
                check(pair);
            }
        }
    }
}

/// The gateway may send by the SA that comes as soon as it has answered; but it
/// does not know yet whether its answer has come.
#[test]
fn no_packet_is_lost_with_any_datagram_of_it() {
    let lost: fn(&sim::Sent) -> Vec<sim::Arrival> = |_| Vec::new();
    let late: fn(&sim::Sent) -> Vec<sim::Arrival> = |sent| vec![arrival(SECOND * 3 / 4, sent)];
    for meddling in [lost, late] {
        for position in 0..6 {
            let mut pair = Pair::joined(|scene| {
                by_client(scene);
                with_pool(scene);
            });
            assert!(wait_for_attempt(&mut pair, TEN));
            pair.world.meddler = Some(meddle::nth(position, meddling));
            assert_eq!(stream(&mut pair, 3000), [3000, 3000], "datagram {position}");
            assert_eq!(set_ups(&pair), [How::Full]);
            check(pair);
        }
    }
}

/// The address is that of the SA that still stands.
#[test]
fn an_address_stays_given_while_one_of_both_sas_has_it() {
    let mut pair = Pair::joined(|scene| {
        by_client(scene);
        with_pool(scene);
        scene.client.retransmission.tries = 3;
    });
    assert!(wait_for_attempt(&mut pair, TEN));
    // Its own child fails, and it takes back what it has just asked for.
    let client = pair.client;
    pair.world.node_mut(client).plane.faults.push_back(esp::plane::Fault::Full);
    let is_failure = |event: &Event| matches!(event, Event::Failed { .. });
    pair.world.run_for(7 * DELAY);
    assert_eq!(pair.client_events().filter(|event| is_failure(event)).count(), 1);
    assert_eq!(set_ups(&pair), []);
    let inner = pair.status().assigned;
    assert!(inner.is_some() && pair.ping());
    assert_eq!(pair.gateway_endpoint().holdings().addresses, 1, "it is held");
    pair.world.run_for(MINUTE);
    assert_eq!(pair.status().assigned, inner);
    check(pair);
}

#[test]
fn it_happens_again_and_again() {
    for told in BOTH {
        let mut pair = Pair::joined(told);
        pair.world.run_for(10 * TEN);
        let count = set_ups(&pair).len();
        assert!((10..=13).contains(&count), "{count}");
        assert!(ends(&pair, pair.client).iter().all(|why| *why == Gone::Replaced));
        check(pair);
    }
}

fn at_every_position(meddler: impl Fn(usize) -> Meddler) {
    for told in BOTH {
        for position in 0..9 {
            let mut pair = Pair::joined(told);
            // Of the datagrams on their way now, none is of the next set-up.
            assert!(wait_for_attempt(&mut pair, TEN));
            pair.world.meddler = Some(meddler(position));
            pair.world.run_for(MINUTE);
            assert!(!set_ups(&pair).is_empty(), "datagram {position}");
            assert_eq!(ends(&pair, pair.client), [Gone::Replaced], "datagram {position}");
            check(pair);
        }
    }
}

#[test]
fn any_datagram_of_it_may_be_lost() {
    at_every_position(|n| meddle::nth(n, |_| Vec::new()));
}

#[test]
fn any_datagram_of_it_may_come_twice_or_late() {
    for later in [DELAY * 3 / 2, 20 * SECOND] {
        at_every_position(|n| {
            meddle::nth(n, move |sent| vec![arrival(DELAY, sent), arrival(later, sent)])
        });
    }
    for late in [DELAY * 3, SECOND * 3 / 4, 3 * SECOND] {
        at_every_position(|n| meddle::nth(n, move |sent| vec![arrival(late, sent)]));
    }
}

#[test]
fn without_another_proof_the_gateway_ends_the_sa_after_some_tries() {
    let mut pair = Pair::joined(by_gateway);
    let mut other = pair.scene().gateway.clone();
    other.secrets = vec![("", "another")];
    let now = pair.gateway_now();
    pair.gateway_endpoint().reconfigure(now, other.config());
    pair.settle();
    pair.world.run_for(TEN + MINUTE - 2 * SECOND);
    assert_eq!(pair.status().stage, Stage::Up, "the old one stays");
    assert!(pair.ping());
    let is_failure = |event: &&Event| matches!(event, Event::Failed { .. });
    let failures = pair.client_events().filter(is_failure).count();
    assert!((1..=6).contains(&failures), "{failures}");
    pair.world.run_for(5 * SECOND);
    let (client, gateway) = (pair.client, pair.gateway);
    assert_eq!(ends(&pair, gateway), [Gone::AuthExpired]);
    assert_eq!(ends(&pair, client), [Gone::PeerDeleted]);
}

#[test]
fn a_client_whose_own_time_is_over_begins_anew() {
    let mut pair = Pair::joined(by_client);
    let gateway = pair.gateway;
    pair.scene().gateway.secrets = vec![("", "another")];
    let config = pair.scene().gateway.config();
    let now = pair.gateway_now();
    pair.gateway_endpoint().reconfigure(now, config);
    pair.world.run_for(TEN + MINUTE - 2 * SECOND);
    assert!(pair.ping());
    pair.world.run_for(4 * SECOND);
    assert_eq!(ends(&pair, pair.client), [Gone::AuthExpired]);
    assert_eq!(ends(&pair, gateway), [Gone::PeerDeleted]);
    assert!(!pair.ping());
}

#[test]
fn neither_a_resumption_nor_new_keys_give_more_time() {
    for told in BOTH {
        let mut pair = Pair::joined(told);
        pair.world.run_for(4 * MINUTE);
        pair.suspend().unwrap();
        pair.world.run_for(MINUTE);
        pair.resume().unwrap();
        pair.world.run_for(2 * MINUTE);
        pair.command(Command::Rekey(pair.name(), RekeyWhat::IkeSa)).unwrap();
        pair.world.run_for(3 * MINUTE);
        assert_eq!(set_ups(&pair), [How::Resumed, How::Full]);
        assert_eq!(ends(&pair, pair.client), [Gone::Suspended, Gone::Replaced]);
        check(pair);
    }
}

#[test]
fn a_ticket_is_not_good_longer_than_the_proof_behind_it() {
    let mut pair = Pair::joined(by_gateway);
    pair.world.run_for(2 * MINUTE);
    pair.suspend().unwrap();
    pair.world.run_for(TEN - 2 * MINUTE + SECOND);
    assert_eq!(pair.status().stage, Stage::Down);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
}

#[test]
fn an_end_or_a_sleep_in_the_middle_is_one_of_both_sas() {
    for told in BOTH {
        for n in 0..14 {
            for sleeps in [false, true] {
                let mut pair = Pair::joined(told);
                assert!(wait_for_attempt(&mut pair, TEN));
                pair.world.run_for(DELAY / 2 * n);
                if sleeps {
                    pair.suspend().unwrap();
                } else {
                    pair.down().unwrap();
                }
                pair.world.run_for(MINUTE);
                let stage = if sleeps { Stage::Suspended } else { Stage::Down };
                assert_eq!(pair.status().stage, stage, "{n}");
                assert!(pair.world.node(pair.client).plane.children().is_empty(), "{n}");
                if sleeps {
                    pair.resume().unwrap();
                    pair.down().unwrap();
                }
                pair.world.run_for(20 * MINUTE);
                pair.assert_apart();
                pair.assert_empty();
            }
        }
    }
}

#[test]
fn the_sa_that_was_coming_serves_if_the_other_is_lost() {
    let mut pair = Pair::joined(by_client);
    assert!(wait_for_attempt(&mut pair, TEN));
    pair.world.run_for(DELAY / 2);
    let (now, name) = (pair.gateway_now(), std::sync::Arc::from("clients"));
    pair.gateway_endpoint().handle_command(now, ike::event::RequestId(77), Command::Down(name));
    pair.settle();
    pair.world.run_for(MINUTE);
    assert_eq!(set_ups(&pair), [How::Full]);
    check(pair);
}

/// A reload at one end, after which full authentications are good for this.
fn limit_to(pair: &mut Pair, id: NodeId, reauth: Lifetime<Duration>) {
    let scene = pair.scene();
    let mut profile = scene.client.clone();
    if id != pair.client {
        profile = pair.scene().gateway.clone();
    }
    profile.reauth = reauth;
    let _ = reconfigure(pair, id, profile.config());
}

/// An hour, and joined.
fn for_an_hour(told: fn(&mut Scene, Lifetime<Duration>)) -> Pair {
    Pair::joined(|scene| told(scene, Lifetime::of(6 * TEN)))
}

const ENDS: [fn(&mut Scene, Lifetime<Duration>); 2] =
    [|scene, reauth| scene.client.reauth = reauth, |scene, reauth| scene.gateway.reauth = reauth];

#[test]
fn a_shorter_time_counts_for_sas_that_are_up() {
    for (told, is_client) in ENDS.into_iter().zip([true, false]) {
        for before in [Lifetime::of(6 * TEN), Lifetime::endless()] {
            let mut pair = Pair::joined(|scene| told(scene, before));
            pair.world.run_for(MINUTE);
            pair.forget_past();
            let id = if is_client { pair.client } else { pair.gateway };
            limit_to(&mut pair, id, Lifetime::of(TEN));
            pair.world.run_for(SECOND);
            // Who began it need not tell anybody.
            let said = if is_client { 0 } else { 2 };
            assert_eq!(pair.exchanges().len(), said);
            assert!(wait_for_attempt(&mut pair, TEN - MINUTE), "in time");
            check(pair);
        }
    }
}

/// What the SA has behind it is more than it may have now.
#[test]
fn who_is_late_by_a_shorter_time_still_has_some() {
    for (told, is_client) in ENDS.into_iter().zip([true, false]) {
        let mut pair = for_an_hour(told);
        pair.world.run_for(2 * TEN);
        let id = if is_client { pair.client } else { pair.gateway };
        limit_to(&mut pair, id, Lifetime::of(TEN));
        // A gateway leaves the tenth that it leaves after every deadline.
        let patience = if is_client { SECOND } else { MINUTE };
        assert!(wait_for_attempt(&mut pair, patience));
        assert_eq!(stream(&mut pair, 400), [400, 400]);
        pair.world.run_for(30 * SECOND);
        assert_eq!(ends(&pair, pair.client), [Gone::Replaced]);
        check(pair);
    }
}

#[test]
fn the_word_of_a_shorter_time_may_be_lost_doubled_or_late() {
    let meddlers: [fn(usize) -> Meddler; 3] = [
        |n| meddle::nth(n, |_| Vec::new()),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(3 * SECOND, sent)]),
    ];
    for meddler in meddlers {
        for position in 0..4 {
            for age in [MINUTE, 2 * TEN] {
                let mut pair = for_an_hour(ENDS[1]);
                pair.world.run_for(age);
                pair.world.meddler = Some(meddler(position));
                let gateway = pair.gateway;
                limit_to(&mut pair, gateway, Lifetime::of(TEN));
                assert!(wait_for_attempt(&mut pair, TEN), "datagram {position}, {age:?}");
                pair.world.run_for(MINUTE);
                assert_eq!(ends(&pair, pair.client), [Gone::Replaced]);
                check(pair);
            }
        }
    }
}

#[test]
fn a_longer_time_counts_from_the_next_sa_on() {
    for (told, is_client) in ENDS.into_iter().zip([true, false]) {
        for after in [Lifetime::of(12 * TEN), Lifetime::endless()] {
            let mut pair = for_an_hour(told);
            pair.forget_past();
            let id = if is_client { pair.client } else { pair.gateway };
            limit_to(&mut pair, id, after);
            pair.world.run_for(SECOND);
            assert_eq!(pair.exchanges(), []);
            assert!(wait_for_attempt(&mut pair, 6 * TEN), "as it was told");
            pair.world.run_for(MINUTE);
            pair.forget_past();
            assert!(!wait_for_attempt(&mut pair, 7 * TEN));
            check(pair);
        }
    }
}

/// A client that does not come in time is sent away, as after any other deadline.
#[test]
fn without_another_proof_the_shorter_time_ends_the_sa() {
    let mut pair = for_an_hour(ENDS[1]);
    pair.world.run_for(2 * TEN);
    let mut profile = pair.scene().gateway.clone();
    (profile.reauth, profile.secrets) = (Lifetime::of(TEN), vec![("", "another")]);
    let gateway = pair.gateway;
    let _ = reconfigure(&mut pair, gateway, profile.config());
    pair.world.run_for(MINUTE - SECOND);
    assert!(pair.ping(), "there is a tenth of the time");
    pair.world.run_for(3 * SECOND);
    assert_eq!(ends(&pair, gateway), [Gone::AuthExpired]);
}
