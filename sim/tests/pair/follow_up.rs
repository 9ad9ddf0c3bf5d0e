//! Rekeys with additional key exchanges (RFC 9370), by either side and by both
//! at once.

use std::time::Duration;

use ike::config::FragmentationMode;
use ike::event::{Event, RekeyWhat};
use ike::wire::ExchangeType;
use sim::meddle::{DELAY, untouched};
use sim::{Pair, Scene};

use crate::rekey::{
    AtOnce, BOTH, check, delay_each, double_each, end_after_each_step, keys, lose_each,
    one_after_another, rekey, stream_over_a_rekey, told,
};

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
    let pair = one_after_another(two_more, 4);
    for id in [pair.client, pair.gateway] {
        assert_eq!(BOTH.map(|what| told(&pair, id, what)), [4, 4]);
    }
    check(pair);
}

#[test]
fn every_lost_datagram_is_made_up_for() {
    lose_each(two_more, 16);
}

#[test]
fn every_doubled_datagram_counts_once() {
    double_each(two_more, 16);
}

#[test]
fn every_datagram_may_come_late() {
    delay_each(two_more, 16);
}

fn every_two() -> impl Iterator<Item = [RekeyWhat; 2]> {
    BOTH.into_iter().flat_map(|first| BOTH.map(|second| [first, second]))
}

#[test]
fn both_sides_rekey_at_every_offset() {
    let patience = 60 * SECOND;
    for what in every_two() {
        for seed in 1..=4 {
            for n in 0..14 {
                for client_first in [true, false] {
                    let offset = DELAY / 2 * n;
                    let both = AtOnce { what, client_first, offset, seed, lost: None, patience };
                    both.play(two_more);
                    both.play(mixed);
                }
            }
        }
    }
}

#[test]
fn both_sides_rekey_at_once_and_any_datagram_is_lost() {
    let (client_first, patience) = (true, 60 * SECOND);
    for what in every_two() {
        for seed in 1..=2 {
            for lost in (0..20).map(Some) {
                for offset in [Duration::ZERO, DELAY / 2, DELAY * 5 / 2] {
                    let both = AtOnce { what, client_first, offset, seed, lost, patience };
                    both.play(hybrid);
                    both.play(mixed);
                    AtOnce { client_first: false, ..both }.play(mixed);
                }
            }
        }
    }
}

#[test]
fn no_packet_is_lost_while_keys_are_replaced() {
    for what in BOTH {
        for by_client in [true, false] {
            let pair = stream_over_a_rekey(two_more, 600, what, by_client);
            assert_eq!(told(&pair, pair.gateway, what), 1);
            check(pair);
        }
    }
}

#[test]
fn an_end_in_the_middle_of_the_key_exchanges_is_an_end() {
    end_after_each_step(two_more, 16);
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
