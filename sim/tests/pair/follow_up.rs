//! Rekeys with additional key exchanges (RFC 9370), by either side and by both
//! at once.

use std::time::Duration;

use ike::config::FragmentationMode;
use ike::event::{Event, RekeyWhat};
use ike::wire::ExchangeType;
use sim::meddle::{self, DELAY, arrival, untouched};
use sim::world::Meddler;
use sim::{Pair, Scene};

use crate::rekey::{BOTH, check, keys, rekey, told};

const SECOND: Duration = Duration::from_secs(1);

const PLAIN: &str = "aes256gcm16-prfsha384-x25519";
const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
const TWO_MORE: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_ecp384";
const ESP_PLAIN: &str = "aes256gcm16-x25519";
const ESP_HYBRID: &str = "aes256gcm16-x25519-ke1_mlkem768";
const ESP_TWO_MORE: &str = "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp384";

/// Both sides make these key exchanges and no others.
fn with(ike: &'static str, esp: &'static str) -> impl Fn(&mut Scene) {
    move |scene| {
        for profile in [&mut scene.client, &mut scene.gateway] {
            profile.ike = vec![ike];
            profile.esp = vec![esp];
        }
    }
}

fn hybrid(scene: &mut Scene) {
    with(HYBRID, ESP_HYBRID)(scene);
}

fn two_more(scene: &mut Scene) {
    with(TWO_MORE, ESP_TWO_MORE)(scene);
}

/// The client's rekeys have an additional key exchange, the gateway's have none.
fn mixed(scene: &mut Scene) {
    scene.client.ike = vec![PLAIN, HYBRID];
    scene.client.esp = vec![ESP_PLAIN, ESP_HYBRID];
    scene.gateway.ike = vec![HYBRID, PLAIN];
    scene.gateway.esp = vec![ESP_HYBRID, ESP_PLAIN];
}

fn follow_ups(pair: &Pair) -> usize {
    let exchanges = pair.exchanges();
    exchanges.iter().filter(|(exchange, _)| *exchange == ExchangeType::FOLLOWUP_KE).count()
}

#[test]
fn either_side_makes_all_key_exchanges_of_the_ike_sa_again() {
    for (suite, more) in [(PLAIN, 0), (HYBRID, 1), (TWO_MORE, 2)] {
        for by_client in [true, false] {
            let mut pair = Pair::joined(|scene| {
                with(suite, ESP_PLAIN)(scene);
                // So that each message is one datagram.
                scene.client.fragmentation.mode = FragmentationMode::No;
            });
            let before = keys(&pair);
            let id = if by_client { pair.client } else { pair.gateway };
            rekey(&mut pair, id, RekeyWhat::IkeSa);
            pair.world.drive();
            assert_ne!(keys(&pair).0, before.0);
            assert_eq!(follow_ups(&pair), 2 * more);
            let agreed = pair.client_events().find_map(|event| match event {
                Event::Rekeyed { suite, .. } => Some(suite.to_string()),
                _ => None,
            });
            assert_eq!(agreed.as_deref(), Some(suite));
            check(pair);
        }
    }
}

#[test]
fn either_side_makes_all_key_exchanges_of_a_child() {
    for (esp, more) in [(ESP_PLAIN, 0), (ESP_HYBRID, 1), (ESP_TWO_MORE, 2)] {
        for by_client in [true, false] {
            let mut pair = Pair::joined(|scene| {
                with(PLAIN, esp)(scene);
                scene.client.fragmentation.mode = FragmentationMode::No;
            });
            let before = keys(&pair);
            let id = if by_client { pair.client } else { pair.gateway };
            rekey(&mut pair, id, RekeyWhat::Children);
            pair.world.drive();
            assert_ne!(keys(&pair).1, before.1);
            assert_eq!(follow_ups(&pair), 2 * more);
            check(pair);
        }
    }
}

/// A method that is a key encapsulation may be the first as well.
#[test]
fn ml_kem_may_be_the_key_exchange_of_a_rekey() {
    for by_client in [true, false] {
        for what in BOTH {
            let mut pair = Pair::joined(|scene| {
                with("aes256gcm16-prfsha384-mlkem768", "aes256gcm16-mlkem512")(scene);
            });
            let before = keys(&pair);
            let id = if by_client { pair.client } else { pair.gateway };
            rekey(&mut pair, id, what);
            pair.world.drive();
            assert_ne!(keys(&pair), before);
            check(pair);
        }
    }
}

#[test]
fn what_is_offered_by_default_is_made_again_in_a_rekey() {
    let mut pair = Pair::joined(|scene| {
        let defaults = ike::proposal::IkeProposal::defaults();
        let defaults: Vec<_> = defaults.iter().map(|p| &*p.to_string().leak()).collect();
        scene.client.ike.clone_from(&defaults);
        scene.gateway.ike = defaults;
    });
    let client = pair.client;
    rekey(&mut pair, client, RekeyWhat::IkeSa);
    pair.world.drive();
    let suite = pair.status().sa.unwrap().suite.unwrap();
    assert!(suite.ends_with("-ke1_mlkem768"), "{suite}");
    check(pair);
}

#[test]
fn new_keys_follow_each_other_on_both_sides() {
    let mut pair = Pair::joined(two_more);
    for round in 0..4 {
        for what in BOTH {
            let id = if round % 2 == 0 { pair.client } else { pair.gateway };
            rekey(&mut pair, id, what);
            pair.world.run_for(SECOND);
            assert!(pair.ping());
        }
    }
    for id in [pair.client, pair.gateway] {
        assert_eq!(BOTH.map(|what| told(&pair, id, what)), [4, 4]);
    }
    check(pair);
}

fn at_every_position(meddler: impl Fn(usize) -> Meddler) {
    for what in BOTH {
        for by_client in [true, false] {
            for position in 0..16 {
                let mut pair = Pair::joined(two_more);
                let before = keys(&pair);
                pair.world.meddler = Some(meddler(position));
                let id = if by_client { pair.client } else { pair.gateway };
                rekey(&mut pair, id, what);
                pair.world.run_for(30 * SECOND);
                assert_ne!(keys(&pair), before, "{what:?}, datagram {position}");
                check(pair);
            }
        }
    }
}

#[test]
fn every_lost_datagram_is_made_up_for() {
    at_every_position(|n| meddle::nth(n, |_| Vec::new()));
}

#[test]
fn every_doubled_datagram_counts_once() {
    at_every_position(|n| {
        meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(DELAY + DELAY / 2, sent)])
    });
    at_every_position(|n| {
        meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)])
    });
}

#[test]
fn every_datagram_may_come_late() {
    for late in [DELAY * 3, SECOND * 3 / 4, 3 * SECOND] {
        at_every_position(|n| meddle::nth(n, move |sent| vec![arrival(late, sent)]));
    }
}

/// What of each side's rekeys, the second so much later than the first.
fn both_at_once(
    scene: impl Fn(&mut Scene),
    [first, second]: [RekeyWhat; 2],
    client_first: bool,
    (offset, seed): (Duration, u64),
    lost: Option<usize>,
) {
    let mut pair = Pair::joined(|s| {
        scene(s);
        s.seed = seed;
    });
    if let Some(lost) = lost {
        pair.world.meddler = Some(meddle::nth(lost, |_| Vec::new()));
    }
    let (client, gateway) = (pair.client, pair.gateway);
    let (one, other) = if client_first { (client, gateway) } else { (gateway, client) };
    let before = keys(&pair);
    rekey(&mut pair, one, first);
    pair.world.run_for(offset);
    rekey(&mut pair, other, second);
    pair.world.run_for(60 * SECOND);
    let case = (first, second, client_first, offset, seed, lost);
    assert_ne!(keys(&pair), before, "{case:?}");
    check(pair);
}

fn every_two() -> impl Iterator<Item = [RekeyWhat; 2]> {
    BOTH.into_iter().flat_map(|first| BOTH.map(|second| [first, second]))
}

#[test]
fn both_sides_rekey_at_every_offset() {
    for what in every_two() {
        for seed in 1..=4 {
            for n in 0..14 {
                for client_first in [true, false] {
                    let when = (DELAY / 2 * n, seed);
                    both_at_once(two_more, what, client_first, when, None);
                    both_at_once(mixed, what, client_first, when, None);
                }
            }
        }
    }
}

#[test]
fn both_sides_rekey_at_once_and_any_datagram_is_lost() {
    for what in every_two() {
        for seed in 1..=2 {
            for lost in 0..20 {
                for offset in [Duration::ZERO, DELAY / 2, DELAY * 5 / 2] {
                    both_at_once(hybrid, what, true, (offset, seed), Some(lost));
                    both_at_once(mixed, what, true, (offset, seed), Some(lost));
                    both_at_once(mixed, what, false, (offset, seed), Some(lost));
                }
            }
        }
    }
}

#[test]
fn no_packet_is_lost_while_keys_are_replaced() {
    for what in BOTH {
        for by_client in [true, false] {
            let mut pair = Pair::joined(two_more);
            let (client, gateway) = (pair.client, pair.gateway);
            let there = sim::packet::udp([10, 1, 0, 2].into(), [10, 2, 0, 1].into(), b"there");
            let back = sim::packet::udp([10, 2, 0, 1].into(), [10, 1, 0, 2].into(), b"back");
            let before = [client, gateway].map(|id| pair.world.node(id).delivered.len());
            let mut sent = 0;
            for n in 0..600 {
                if n == 20 {
                    rekey(&mut pair, if by_client { client } else { gateway }, what);
                }
                pair.world.send_inner(client, &there);
                pair.world.send_inner(gateway, &back);
                sent += 1;
                pair.world.run_for(DELAY / 20);
            }
            pair.world.run_for(SECOND);
            let after = [client, gateway].map(|id| pair.world.node(id).delivered.len());
            assert_eq!([after[0] - before[0], after[1] - before[1]], [sent, sent]);
            assert_eq!(told(&pair, gateway, what), 1);
            check(pair);
        }
    }
}

#[test]
fn an_end_in_the_middle_of_the_key_exchanges_is_an_end() {
    for what in BOTH {
        for by_client in [true, false] {
            for n in 0..16 {
                let mut pair = Pair::joined(|scene| {
                    two_more(scene);
                    scene.client.liveness = Some(20 * SECOND);
                    scene.gateway.liveness = Some(20 * SECOND);
                });
                let id = if by_client { pair.client } else { pair.gateway };
                rekey(&mut pair, id, what);
                pair.world.run_for(DELAY / 2 * n);
                assert_eq!(pair.down(), Ok(()));
                pair.world.run_for(200 * SECOND);
                pair.assert_apart();
                pair.assert_empty();
            }
        }
    }
}

/// Loses every datagram of IKE_FOLLOWUP_KE for so long.
fn without_follow_ups(pair: &mut Pair, how_long: Duration) {
    let until = pair.world.now() + how_long;
    pair.world.meddler = Some(Box::new(move |sent| {
        let is_lost = sent.at < until && sent.exchange() == Some(ExchangeType::FOLLOWUP_KE);
        if is_lost { Vec::new() } else { untouched(sent) }
    }));
}

/// The responder forgets an unfinished rekey after 20 seconds, tells so who
/// comes later, and the rekey begins anew.
#[test]
fn what_was_not_gone_on_with_in_time_is_forgotten_and_begun_anew() {
    for what in BOTH {
        for by_client in [true, false] {
            let mut pair = Pair::joined(hybrid);
            let before = keys(&pair);
            let (client, gateway) = (pair.client, pair.gateway);
            let (by, at) = if by_client { (client, gateway) } else { (gateway, client) };
            let spis = |pair: &Pair| pair.world.node(at).endpoint.holdings().spis;
            without_follow_ups(&mut pair, 25 * SECOND);
            rekey(&mut pair, by, what);
            pair.world.run_for(15 * SECOND);
            assert_eq!(spis(&pair), if what == RekeyWhat::Children { 2 } else { 1 });
            pair.world.run_for(9 * SECOND);
            assert_eq!(spis(&pair), 1);
            assert_eq!(keys(&pair), before);
            pair.world.run_for(60 * SECOND);
            assert_ne!(keys(&pair), before);
            for id in [client, gateway] {
                assert_eq!(told(&pair, id, what), 1);
            }
            check(pair);
        }
    }
}

/// While the peer is in the middle of replacing the SA, nothing is begun in it.
#[test]
fn what_is_asked_meanwhile_is_for_the_successor() {
    let mut pair = Pair::joined(hybrid);
    let (client, gateway) = (pair.client, pair.gateway);
    without_follow_ups(&mut pair, 2 * SECOND);
    rekey(&mut pair, client, RekeyWhat::IkeSa);
    pair.world.run_for(SECOND);
    rekey(&mut pair, gateway, RekeyWhat::Children);
    pair.world.run_for(10 * SECOND);
    for id in [client, gateway] {
        assert_eq!(BOTH.map(|what| told(&pair, id, what)), [1, 1]);
    }
    check(pair);
}
