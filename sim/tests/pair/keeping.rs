//! Connections that are kept up.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ike::Changes;
use ike::event::{Event, How};
use ike::status::Stage;
use sim::Pair;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn keep_up(pair: &mut Pair) {
    let (client, name) = (pair.client, pair.name());
    let now = pair.world.node(client).clock.at(pair.world.now());
    pair.client_endpoint().keep_up(now, &name);
    pair.settle();
}

fn gateway_is_gone(pair: &mut Pair, is_gone: bool) {
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = is_gone;
}

/// When attempts began, since the client was switched on.
fn beginnings(pair: &Pair) -> Vec<Duration> {
    let events = pair.world.node(pair.client).events.iter();
    events.filter(|(_, it)| matches!(it, Event::Started { .. })).map(|(at, _)| *at).collect()
}

/// A pair whose client gives an attempt up after a second and a half at the most.
fn impatient(seed: u64) -> Pair {
    Pair::with(|scene| {
        scene.seed = seed;
        scene.client.retransmission.tries = 2;
        scene.client.liveness = Some(10 * SECOND);
    })
}

#[test]
fn a_kept_connection_tries_until_its_gateway_is_there() {
    let mut pair = impatient(1);
    gateway_is_gone(&mut pair, true);
    keep_up(&mut pair);
    pair.world.run_for(HOUR);
    assert!(beginnings(&pair).len() > 10);
    gateway_is_gone(&mut pair, false);
    pair.world.run_for(310 * SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn waits_grow_to_five_minutes_and_are_all_chance() {
    let mut all = Vec::new();
    for seed in 1..=20 {
        let mut pair = impatient(seed);
        gateway_is_gone(&mut pair, true);
        keep_up(&mut pair);
        pair.world.run_for(4 * HOUR);
        let times = beginnings(&pair);
        let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let attempt = Duration::from_millis(1500);
        assert!(waits[0] <= 2 * SECOND + attempt, "{:?}", waits[0]);
        assert!(waits.iter().all(|wait| *wait <= 300 * SECOND + attempt));
        all.push(waits);
    }
    let late: Vec<_> = all.iter().flat_map(|waits| &waits[10..]).collect();
    assert!(late.iter().any(|wait| **wait < 60 * SECOND));
    assert!(late.iter().any(|wait| **wait > 240 * SECOND));
    let firsts: std::collections::BTreeSet<_> = all.iter().map(|waits| waits[0]).collect();
    assert_eq!(firsts.len(), all.len(), "no two clients come back together");
}

/// A pair whose gateway knows another secret, and whose client is kept up.
fn refused(seed: u64, change: impl FnOnce(&mut sim::pair::Scene)) -> Pair {
    let mut pair = Pair::with(|scene| {
        scene.seed = seed;
        scene.gateway.secrets = vec![("", "another")];
        change(scene);
    });
    keep_up(&mut pair);
    pair.world.run_for(SECOND);
    assert!(!beginnings(&pair).is_empty());
    pair
}

fn gateway_learns_the_secret(pair: &mut Pair) {
    pair.scene().gateway.secrets = pair.scene().client.secrets.clone();
    pair.reconfigure_gateway();
}

#[test]
fn a_refusal_is_not_asked_for_again_soon() {
    for seed in 1..=10 {
        let mut pair = refused(seed, |_| {});
        pair.world.run_for(24 * HOUR);
        let times = beginnings(&pair);
        // All chance, but no more than an hour: 48 are to be expected.
        assert!((25..100).contains(&times.len()), "{}", times.len());
        let within = |first: usize| times.get(first + 7).map(|last| *last - times[first]);
        assert!(within(0).unwrap() > 300 * SECOND, "{seed}: {:?}", within(0));
    }
}

#[test]
fn packets_do_not_hurry_a_connection_that_was_refused() {
    for is_kept in [true, false] {
        let mut pair = Pair::with(|scene| scene.gateway.secrets = vec![("", "another")]);
        let name = pair.name();
        pair.client_endpoint().arm(&name);
        if is_kept {
            keep_up(&mut pair);
        }
        for _ in 0..360 {
            pair.outgoing();
            pair.world.run_for(10 * SECOND);
        }
        let attempts = beginnings(&pair).len();
        assert!((2..25).contains(&attempts), "{is_kept}: {attempts}");
    }
}

#[test]
fn whatever_may_have_mended_a_refusal_ends_the_wait_for_it() {
    let up = |pair: &mut Pair| assert_eq!(pair.up(), Ok(()));
    let roam = |pair: &mut Pair| {
        let client = pair.client;
        pair.world.roam(client, &[IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77))], None);
    };
    let reload = |pair: &mut Pair| {
        let config = pair.scene().client.config();
        let now = pair.world.node(pair.client).clock.at(pair.world.now());
        assert_eq!(pair.client_endpoint().reconfigure(now, config), Changes::default());
        pair.settle();
    };
    let mends: [&dyn Fn(&mut Pair); 3] = [&up, &roam, &reload];
    for mend in mends {
        // With this seed, chance does not bring it back before.
        let mut pair = refused(2, |_| {});
        gateway_learns_the_secret(&mut pair);
        pair.world.run_for(2 * SECOND);
        assert_ne!(pair.status().stage, Stage::Up);
        mend(&mut pair);
        pair.world.run_for(2 * SECOND);
        pair.assert_up_by(How::Full);
    }
}

#[test]
fn after_a_refusal_silence_is_asked_again_soon() {
    let mut pair = refused(1, |scene| scene.client.retransmission.tries = 2);
    pair.world.run_for(10 * HOUR);
    gateway_is_gone(&mut pair, true);
    pair.world.run_for(2 * HOUR);
    gateway_learns_the_secret(&mut pair);
    gateway_is_gone(&mut pair, false);
    pair.world.run_for(310 * SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn a_kept_connection_that_was_lost_is_resumed() {
    let mut pair = impatient(3);
    keep_up(&mut pair);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Full);
    gateway_is_gone(&mut pair, true);
    pair.world.run_for(30 * SECOND);
    assert_ne!(pair.status().stage, Stage::Up);
    gateway_is_gone(&mut pair, false);
    pair.world.run_for(60 * SECOND);
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_command_ends_a_kept_connection_and_another_keeps_it_again() {
    let mut pair = impatient(1);
    keep_up(&mut pair);
    pair.world.run_for(SECOND);
    pair.down().unwrap();
    pair.world.run_for(HOUR);
    pair.assert_apart();
    pair.assert_empty();
    pair.up().unwrap();
    pair.suspend().unwrap();
    pair.world.run_for(HOUR);
    assert_eq!(pair.status().stage, Stage::Suspended);
    pair.resume().unwrap();
    gateway_is_gone(&mut pair, true);
    pair.world.run_for(60 * SECOND);
    gateway_is_gone(&mut pair, false);
    pair.world.run_for(310 * SECOND);
    pair.assert_joined();
}

#[test]
fn packets_wait_while_a_kept_connection_is_down() {
    let mut pair = impatient(1);
    gateway_is_gone(&mut pair, true);
    keep_up(&mut pair);
    pair.world.run_for(20 * SECOND);
    let node = pair.world.node(pair.client);
    assert_eq!(node.plane.groups().len(), 1, "its packets are held");
}

#[test]
fn nothing_comes_back_after_a_shutdown() {
    let mut pair = impatient(1);
    keep_up(&mut pair);
    pair.world.run_for(SECOND);
    let now = pair.world.node(pair.client).clock.at(pair.world.now());
    pair.client_endpoint().shut_down(now);
    pair.settle();
    pair.world.run_for(HOUR);
    pair.assert_apart();
}
