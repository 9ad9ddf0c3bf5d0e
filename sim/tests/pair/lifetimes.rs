//! Keys that are replaced before their life ends: by time, octets and packets.

use std::time::Duration;

use esp::plane::{Fault, Limit, PlaneEvent};
use ike::config::{ChildLifetime, Lifetime};
use ike::event::{Event, Gone, How, Role};
use sim::meddle;
use sim::{NodeId, Pair, Scene, World};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn count(pair: &Pair, id: NodeId, is_it: impl Fn(&Event) -> bool) -> usize {
    pair.world.node(id).events.iter().filter(|(_, event)| is_it(event)).count()
}

fn rekeyed_children(pair: &Pair, id: NodeId) -> usize {
    count(pair, id, |event| matches!(event, Event::ChildRekeyed { .. }))
}

fn rekeyed_sas(pair: &Pair, id: NodeId) -> usize {
    count(pair, id, |event| matches!(event, Event::Rekeyed { .. }))
}

fn child_ends(pair: &Pair, id: NodeId) -> Vec<Gone> {
    let ends = pair.world.node(id).events.iter().filter_map(|(_, event)| match event {
        Event::ChildDown { why, .. } => Some(*why),
        _ => None,
    });
    ends.collect()
}

fn sas(world: &World, id: NodeId) -> usize {
    world.node(id).endpoint.holdings().sas
}

/// Only the client's children live that long, or only the gateway's.
fn child_time(by_client: bool, lifetime: Lifetime<Duration>) -> impl FnOnce(&mut Scene) {
    move |scene| {
        let side = if by_client { &mut scene.client } else { &mut scene.gateway };
        side.child_lifetime.time = lifetime;
    }
}

/// Between two replacements there is one of each.
fn end(mut pair: Pair) {
    let ends = [pair.client, pair.gateway];
    let is_calm = |world: &World| {
        let counts = ends.map(|id| (world.node(id).plane.children().len(), sas(world, id)));
        counts == [(1, 1), (1, 1)]
    };
    assert!(pair.world.drive_until(2 * MINUTE, is_calm));
    pair.assert_joined();
    assert_eq!(pair.down(), Ok(()));
    pair.world.run_for(2 * MINUTE);
    pair.assert_apart();
    pair.assert_empty();
}

/// The end of its first child, and of the one that follows while that is being
/// installed here.
#[test]
fn a_child_that_the_peer_ends_before_it_is_installed_is_asked_for_again() {
    let mut pair = Pair::joined(|_| {});
    for (id, delay) in [(pair.client, 53), (pair.gateway, 0)] {
        let plane = &mut pair.world.node_mut(id).plane;
        let child = *plane.children().keys().next().unwrap();
        plane.raise(PlaneEvent::Expired(child, Limit::Hard));
        plane.delay = Duration::from_millis(delay);
        pair.world.run_for(Duration::from_millis(30));
    }
    pair.world.run_for(30 * SECOND);
    pair.assert_joined();
}

#[test]
fn a_child_is_replaced_before_its_time_is_over() {
    for by_client in [true, false] {
        let mut pair = Pair::joined(child_time(by_client, Lifetime::of(10 * MINUTE)));
        pair.world.run_for(9 * MINUTE - SECOND);
        assert_eq!(rekeyed_children(&pair, pair.client), 0);
        pair.world.run_for(MINUTE + 2 * SECOND);
        for id in [pair.client, pair.gateway] {
            assert_eq!(rekeyed_children(&pair, id), 1);
            assert!(child_ends(&pair, id).is_empty());
        }
        pair.world.run_for(100 * MINUTE);
        assert!((10..=12).contains(&rekeyed_children(&pair, pair.client)));
        end(pair);
    }
}

#[test]
fn an_ike_sa_is_replaced_before_its_time_is_over() {
    for by_client in [true, false] {
        let mut pair = Pair::joined(|scene| {
            let side = if by_client { &mut scene.client } else { &mut scene.gateway };
            side.lifetime = Lifetime::of(10 * MINUTE);
        });
        pair.world.run_for(9 * MINUTE - SECOND);
        assert_eq!(rekeyed_sas(&pair, pair.client), 0);
        pair.world.run_for(101 * MINUTE);
        for id in [pair.client, pair.gateway] {
            assert!((10..=12).contains(&rekeyed_sas(&pair, id)));
        }
        end(pair);
    }
}

/// Both ends have the same times, and so replace the same things nearly at once.
#[test]
fn both_sides_may_have_the_same_times() {
    let mut by = [0, 0];
    for seed in 1..20 {
        let mut pair = Pair::joined(|scene| {
            scene.seed = seed;
            for side in [&mut scene.client, &mut scene.gateway] {
                side.child_lifetime.time = Lifetime::of(30 * SECOND);
                side.lifetime = Lifetime::of(200 * SECOND);
            }
        });
        pair.world.run_for(30 * MINUTE);
        for id in [pair.client, pair.gateway] {
            assert_eq!(child_ends(&pair, id), [], "seed {seed}");
            assert!((59..=85).contains(&rekeyed_children(&pair, id)), "seed {seed}");
        }
        for (count_of, role) in by.iter_mut().zip([Role::Initiator, Role::Responder]) {
            let is_by = |event: &Event| match event {
                Event::ChildRekeyed { by, .. } => *by == role,
                _ => false,
            };
            *count_of += count(&pair, pair.client, is_by);
        }
        end(pair);
    }
    // Chance decides who comes first.
    assert!(by.iter().all(|count| *count > 200), "{by:?}");
}

#[test]
fn what_a_child_has_carried_counts_in_either_direction() {
    let small = Lifetime { rekey: Some(50), spread: 5, life: Some(500) };
    let bytes = Lifetime { rekey: Some(50 * 33), spread: 5 * 33, life: Some(500 * 33) };
    let by_packets = ChildLifetime { packets: small, ..ChildLifetime::endless() };
    let by_bytes = ChildLifetime { bytes, ..ChildLifetime::endless() };
    for lifetime in [by_packets, by_bytes] {
        for by_client in [true, false] {
            for from_client in [true, false] {
                let mut pair = Pair::joined(|scene| {
                    let side = if by_client { &mut scene.client } else { &mut scene.gateway };
                    side.child_lifetime = lifetime;
                });
                let (client, gateway) = (pair.client, pair.gateway);
                let there = sim::packet::udp([10, 1, 0, 2].into(), [10, 2, 0, 1].into(), b"there");
                let back = sim::packet::udp([10, 2, 0, 1].into(), [10, 1, 0, 2].into(), b"thens");
                assert_eq!(there.len(), 33);
                let (from, to, packet) =
                    if from_client { (client, gateway, there) } else { (gateway, client, back) };
                let before = pair.world.node(to).delivered.len();
                for n in 1..=200 {
                    pair.world.send_inner(from, &packet);
                    pair.world.drive();
                    if n < 40 {
                        assert_eq!(rekeyed_children(&pair, client), 0);
                    }
                }
                assert!((3..=5).contains(&rekeyed_children(&pair, client)));
                assert_eq!(pair.world.node(to).delivered.len() - before, 200);
                pair.world.run_for(MINUTE);
                end(pair);
            }
        }
    }
}

/// The gateway cannot install anything more: the child is not replaced in time.
#[test]
fn a_child_that_could_not_be_replaced_ends_and_is_made_anew() {
    for by_packets in [true, false] {
        let mut pair = Pair::joined(|scene| {
            let lifetime = &mut scene.client.child_lifetime;
            if by_packets {
                lifetime.packets = Lifetime { rekey: None, spread: 0, life: Some(100) };
            } else {
                let minute = Lifetime::of(MINUTE);
                lifetime.time = Lifetime { rekey: None, ..minute };
            }
        });
        let client = pair.client;
        let former = *pair.world.node(client).plane.children().keys().next().unwrap();
        for _ in 0..100 {
            pair.outgoing();
        }
        pair.world.run_for(67 * SECOND);
        assert_eq!(child_ends(&pair, client), [Gone::Exhausted]);
        assert_eq!(child_ends(&pair, pair.gateway), [Gone::PeerDeleted]);
        assert!(!pair.world.node(client).plane.children().contains_key(&former));
        assert!(pair.ping());
        end(pair);
    }
}

#[test]
fn a_child_whose_replacement_fails_for_long_ends_and_comes_back() {
    let mut pair = Pair::joined(child_time(true, Lifetime::of(2 * MINUTE)));
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).plane.faults.extend([Fault::Full; 3]);
    pair.world.run_for(5 * MINUTE);
    let client = pair.client;
    assert!(child_ends(&pair, client).len() <= 1);
    end(pair);
}

/// Whatever of the replacement is lost, the end of the old child does not make
/// a second one.
#[test]
fn the_end_of_a_child_may_cross_its_replacement() {
    for lost in 0..8 {
        for gap in [1, 20, 200, 2000] {
            let mut pair = Pair::joined(|scene| {
                let rekey = MINUTE;
                let life = Some(rekey + Duration::from_millis(gap));
                let spread = Duration::ZERO;
                scene.client.child_lifetime.time = Lifetime { rekey: Some(rekey), spread, life };
            });
            pair.world.meddler = Some(meddle::nth(lost, |_| Vec::new()));
            pair.world.run_for(90 * SECOND);
            pair.world.meddler = None;
            pair.world.run_for(20 * SECOND);
            let children = |id| pair.world.node(id).endpoint.holdings().children;
            assert_eq!((children(pair.client), children(pair.gateway)), (1, 1), "{lost} {gap}");
            end(pair);
        }
    }
}

#[test]
fn an_ike_sa_that_could_not_be_replaced_is_followed_by_another() {
    for enabled in [true, false] {
        let mut pair = Pair::joined(|scene| {
            scene.gateway.resumption.enabled = enabled;
            scene.client.lifetime = Lifetime { rekey: None, ..Lifetime::of(MINUTE) };
        });
        pair.world.run_for(70 * SECOND);
        pair.assert_up_by(if enabled { How::Resumed } else { How::Full });
        end(pair);
    }
}

#[test]
fn an_ike_sa_that_the_gateway_could_not_replace_ends() {
    let mut pair = Pair::joined(|scene| {
        scene.gateway.lifetime = Lifetime { rekey: None, ..Lifetime::of(MINUTE) };
    });
    pair.world.run_for(70 * SECOND);
    pair.assert_apart();
}

#[test]
fn it_is_told_when_new_keys_are_due() {
    let mut pair = Pair::joined(|scene| {
        scene.client.lifetime = Lifetime::of(10 * MINUTE);
        scene.client.child_lifetime.time = Lifetime::of(5 * MINUTE);
    });
    let now = |pair: &Pair| {
        let node = pair.world.node(pair.client);
        node.clock.at(pair.world.now()).instant
    };
    let sa = pair.status().sa.unwrap();
    let sa_in = sa.rekey_at.unwrap().since(now(&pair));
    let child_in = sa.children[0].rekey_at.unwrap().since(now(&pair));
    assert!((9 * MINUTE - SECOND..=10 * MINUTE).contains(&sa_in), "{sa_in:?}");
    assert!((269 * SECOND..=5 * MINUTE).contains(&child_in), "{child_in:?}");
    pair.world.run_for(child_in - SECOND);
    assert_eq!(rekeyed_children(&pair, pair.client), 0);
    pair.world.run_for(2 * SECOND);
    assert_eq!(rekeyed_children(&pair, pair.client), 1);
    end(pair);
}
