//! The life of an established SA and its end.

use std::time::Duration;

use esp::plane::{Fault, Limit, PlaneEvent};
use ike::event::{Command, Event, Gone, How, RekeyWhat};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use ike::wire::{ExchangeType, NotifyType};
use sim::meddle;
use sim::plane::Outgoing;
use sim::{NodeId, Pair, Scene, packet};

use crate::rekey::rekey;

const SECOND: Duration = Duration::from_secs(1);
const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;

/// How SAs have ended.
pub(crate) fn ends<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Gone> {
    let why = |event: &Event| match event {
        Event::Down { why, .. } => Some(*why),
        _ => None,
    };
    events.filter_map(why).collect()
}

#[test]
fn the_client_ends_the_sa() {
    let mut pair = Pair::joined(|_| {});
    pair.down().unwrap();
    assert_eq!(pair.exchanges(), [(INFORMATIONAL, false), (INFORMATIONAL, true)]);
    assert_eq!(ends(pair.client_events()), [Gone::Command]);
    assert_eq!(ends(pair.gateway_events()), [Gone::PeerDeleted]);
    pair.assert_apart();
    assert_eq!(pair.outgoing(), Outgoing::Clear);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn the_gateway_ends_the_sa_and_the_ticket_with_it() {
    let mut pair = Pair::joined(|_| {});
    let gateway = pair.gateway;
    let request = pair.world.command(gateway, Command::Down("clients".into()));
    pair.world.drive();
    assert_eq!(pair.world.node(gateway).replies[&request], Ok(()));
    assert_eq!(ends(pair.client_events()), [Gone::PeerDeleted]);
    pair.assert_apart();
    assert_eq!(pair.resume(), Err(Refusal::NotSuspended));
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn both_end_the_sa_at_once() {
    let mut pair = Pair::joined(|_| {});
    let gateway = pair.gateway;
    let theirs = pair.world.command(gateway, Command::Down("clients".into()));
    let ours = pair.begin(Command::Down(pair.name()));
    assert_eq!(pair.finish(ours), Ok(()));
    assert_eq!(pair.world.node(gateway).replies[&theirs], Ok(()));
    pair.assert_apart();
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn an_end_that_nobody_hears_is_an_end_all_the_same() {
    let mut pair = Pair::joined(|_| {});
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    pair.down().unwrap();
    assert_eq!(pair.status().stage, Stage::Down);
    assert_eq!(pair.exchanges().len(), 4);
}

#[test]
fn an_sa_that_ends_asks_for_nothing_more() {
    let mut pair = Pair::joined(|scene| {
        scene.link.delay = SECOND;
        scene.client.liveness = Some(10 * SECOND);
        scene.gateway.resumption.lifetime = 21 * SECOND;
    });
    // A liveness check is on its way, and a request for a ticket waits for its answer.
    pair.world.drive_until(20 * SECOND, |world| world.trace.len() == 1);
    pair.world.run_for(SECOND / 2 + SECOND / 10);
    assert!(pair.exchanges().iter().all(|&(_, is_response)| !is_response));
    pair.down().unwrap();
    assert_eq!(pair.gateway_counters().tickets_issued, 1);
    pair.assert_apart();
}

#[test]
fn down_given_again_waits_for_the_same_end() {
    let mut pair = Pair::joined(|_| {});
    let first = pair.begin(Command::Down(pair.name()));
    assert_eq!(pair.status().stage, Stage::Ending);
    assert_eq!(pair.down(), Err(Refusal::NotUp));
    assert_eq!(pair.finish(first), Ok(()));
}

#[test]
fn up_does_not_wait_for_the_end_of_the_sa_before() {
    let mut pair = Pair::joined(|_| {});
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    pair.begin(Command::Down(pair.name()));
    pair.world.run_for(SECOND);
    pair.world.node_mut(gateway).offline = false;
    pair.up().unwrap();
    pair.world.run_for(60 * SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn a_silent_peer_is_asked_for_a_sign_of_life() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
    pair.world.run_for(29 * SECOND);
    assert_eq!(pair.exchanges(), []);
    pair.world.run_for(2 * SECOND);
    assert_eq!(pair.exchanges(), [(INFORMATIONAL, false), (INFORMATIONAL, true)]);
    pair.world.run_for(3600 * SECOND);
    pair.assert_joined();
}

/// A packet, and what happens in the time until the next.
fn send_every(pair: &mut Pair, from: NodeId, pause: Duration, count: u32) {
    let (client, gateway) = ([10, 1, 0, 2].into(), [10, 2, 0, 1].into());
    let (source, target) = if from == pair.client { (client, gateway) } else { (gateway, client) };
    for _ in 0..count {
        pair.world.send_inner(from, &packet::udp(source, target, b"data"));
        pair.world.run_for(pause);
    }
}

#[test]
fn a_peer_whose_packets_come_in_is_not_asked_whether_it_lives() {
    for pause in [SECOND, 29 * SECOND] {
        let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
        let gateway = pair.gateway;
        send_every(&mut pair, gateway, pause, 100);
        assert_eq!(pair.exchanges(), []);
        assert!(pair.world.drive_until(40 * SECOND, |world| world.trace.len() == 1));
    }
}

#[test]
fn packets_that_nobody_answers_make_it_ask_early() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
    let (client, gateway) = (pair.client, pair.gateway);
    assert!(pair.ping());
    pair.world.run_for(15 * SECOND);
    pair.world.node_mut(gateway).offline = true;
    send_every(&mut pair, client, SECOND, 10);
    assert_eq!(pair.exchanges()[0], (INFORMATIONAL, false));
    assert!(pair.world.trace[0].at < 22 * SECOND);
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.status().stage, Stage::Suspended);
}

#[test]
fn packets_that_need_no_answer_end_nothing() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
    let client = pair.client;
    send_every(&mut pair, client, SECOND, 300);
    assert!(pair.exchanges().len() <= 2 * 30, "{}", pair.exchanges().len());
    pair.assert_joined();
}

#[test]
fn a_dead_gateway_puts_the_session_to_sleep_and_it_comes_back() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    pair.world.run_for(180 * SECOND);
    assert_eq!(pair.status().stage, Stage::Suspended);
    assert_eq!(ends(pair.client_events()), [Gone::Unanswered]);
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.node_mut(gateway).offline = false;
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_dead_gateway_that_gave_no_ticket_ends_the_connection() {
    let mut pair = Pair::joined(|scene| {
        scene.client.liveness = Some(30 * SECOND);
        scene.gateway.resumption.enabled = false;
    });
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    pair.world.run_for(180 * SECOND);
    assert_eq!(pair.status().stage, Stage::Down);
    assert_eq!(ends(pair.client_events()), [Gone::Unanswered]);
}

#[test]
fn a_gateway_forgets_a_client_that_sleeps_and_still_takes_its_ticket() {
    let mut pair = Pair::suspended(|scene| scene.gateway.liveness = Some(30 * SECOND));
    pair.world.run_for(180 * SECOND);
    assert_eq!(ends(pair.gateway_events()), [Gone::Unanswered]);
    pair.assert_apart();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

/// RFC 6290: without it, the client would be patient first.
#[test]
fn a_restarted_gateway_proves_it_in_one_round_trip() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
    pair.restart_gateway();
    pair.world.run_for(31 * SECOND);
    assert_eq!(ends(pair.client_events()), [Gone::PeerRestarted]);
    let asked: Vec<_> =
        pair.exchanges().into_iter().filter(|(_, is_response)| !is_response).collect();
    let expected = [
        ExchangeType::INFORMATIONAL,
        ExchangeType::SESSION_RESUME,
        ExchangeType::SA_INIT,
        ExchangeType::AUTH,
    ];
    assert_eq!(asked, expected.map(|exchange| (exchange, false)));
    pair.assert_up_by(How::Full);
}

/// Whoever of both began the SA that is lost, and whatever was lost of the rekey.
#[test]
fn a_gateway_that_has_rekeyed_its_sa_proves_its_restart_in_one_round_trip() {
    for by_client in [true, false] {
        for lost in 0..7 {
            let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
            pair.world.meddler = Some(meddle::nth(lost, |_| Vec::new()));
            let id = if by_client { pair.client } else { pair.gateway };
            rekey(&mut pair, id, RekeyWhat::IkeSa);
            pair.world.run_for(10 * SECOND);
            pair.world.meddler = None;
            pair.restart_gateway();
            pair.forget_past();
            pair.world.run_for(31 * SECOND);
            assert_eq!(ends(pair.client_events()), [Gone::PeerRestarted], "{by_client} {lost}");
            let first = pair.exchanges().into_iter().find(|(_, is_response)| *is_response);
            assert_eq!(first, Some((INFORMATIONAL, true)));
            pair.assert_up_by(How::Full);
        }
    }
}

#[test]
fn a_restarted_gateway_that_kept_its_ticket_keys_is_resumed_with() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(30 * SECOND));
    pair.reconfigure_gateway();
    pair.world.run_for(31 * SECOND);
    assert_eq!(ends(pair.client_events()), [Gone::PeerRestarted]);
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_restarted_gateway_is_noticed_and_met_again() {
    let mut pair = Pair::joined(|scene| {
        scene.client.liveness = Some(30 * SECOND);
        scene.gateway.crash_secret = None;
    });
    pair.restart_gateway();
    pair.world.run_for(180 * SECOND);
    assert_eq!(pair.status().stage, Stage::Suspended);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
}

#[test]
fn a_gateway_that_shuts_down_voids_no_ticket_and_deletes_what_cannot_resume() {
    let mut pair = Pair::joined(|_| {});
    let now = pair.gateway_now();
    pair.gateway_endpoint().shut_down(now);
    pair.settle();
    pair.world.drive();
    assert_eq!(pair.exchanges(), []);
    let mut pair = Pair::joined(|scene| scene.gateway.resumption.enabled = false);
    let now = pair.gateway_now();
    pair.gateway_endpoint().shut_down(now);
    pair.settle();
    pair.world.drive();
    pair.assert_apart();
    assert!(!pair.gateway_endpoint().is_deleting());
}

#[test]
fn a_client_that_shuts_down_answers_everybody_who_waits() {
    let mut pair = Pair::new(Scene::default());
    let up = pair.begin(Command::Up(pair.name()));
    let client = pair.client;
    let now = pair.world.node(client).clock.at(pair.world.now());
    pair.client_endpoint().shut_down(now);
    pair.settle();
    assert_eq!(pair.finish(up), Err(Refusal::Failed(Failure::Ended)));
    assert!(!pair.client_endpoint().is_deleting());
}

#[test]
fn a_plane_that_fails_at_the_client_ends_the_sa_on_both_sides() {
    let mut pair = Pair::new(Scene::default());
    let client = pair.client;
    pair.world.node_mut(client).plane.faults.push_back(Fault::Os(12));
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::Plane)));
    pair.world.run_for(60 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
    assert_eq!(ends(pair.client_events()), []);
    pair.up().unwrap();
    pair.assert_joined();
}

#[test]
fn a_plane_that_fails_at_the_gateway_is_told_to_the_client() {
    let mut pair = Pair::new(Scene::default());
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).plane.faults.push_back(Fault::Full);
    let failure = Failure::Notify(NotifyType::NO_ADDITIONAL_SAS.0);
    assert_eq!(pair.up(), Err(Refusal::Failed(failure)));
    pair.world.run_for(60 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
    pair.up().unwrap();
    pair.assert_joined();
}

#[test]
fn nobody_is_invited_before_the_plane_is_ready() {
    let mut pair = Pair::new(Scene::default());
    for id in [pair.client, pair.gateway] {
        pair.world.node_mut(id).plane.delay = 2 * SECOND;
    }
    pair.up().unwrap();
    pair.assert_joined();
    let answer = pair.world.trace.iter().rfind(|sent| sent.by == pair.gateway).unwrap();
    assert!(answer.at >= 2 * SECOND);
    // The client was sending IKE_AUTH again all the time, and there is one SA.
    assert!(pair.client_counters().retransmissions > 0);
    assert_eq!(pair.gateway_counters().full, 1);
    let up = |(at, event): &(Duration, Event)| matches!(event, Event::Up { .. }).then_some(*at);
    let up = pair.world.node(pair.client).events.iter().find_map(up).unwrap();
    assert!(up >= 4 * SECOND);
}

#[test]
fn every_command_may_come_while_the_plane_is_busy() {
    for command in [Command::Down, Command::Suspend, Command::Up, Command::Resume] {
        let mut pair = Pair::new(Scene::default());
        let client = pair.client;
        pair.world.node_mut(client).plane.delay = 2 * SECOND;
        let up = pair.begin(Command::Up(pair.name()));
        pair.world.run_for(SECOND);
        assert!(pair.world.node(client).plane.children().len() == 1);
        pair.command(command(pair.name())).unwrap();
        let ended = pair.finish(up) != Ok(());
        assert_eq!(ended, pair.status().stage != Stage::Up);
        pair.world.run_for(60 * SECOND);
        let _ = pair.down();
        pair.world.run_for(60 * SECOND);
        assert_eq!(pair.status().stage, Stage::Down);
    }
}

#[test]
fn an_exhausted_child_is_followed_by_another_without_a_gap() {
    let mut pair = Pair::joined(|_| {});
    let client = pair.client;
    let child = *pair.world.node(client).plane.children().keys().next().unwrap();
    let exhausted = PlaneEvent::Expired(child, Limit::Hard);
    pair.world.node_mut(client).plane.raise(exhausted);
    pair.world.step();
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(10 * SECOND);
    pair.assert_joined();
    assert!(!pair.world.node(client).plane.children().contains_key(&child));
    let down = |event: &Event| match event {
        Event::ChildDown { why, .. } => Some(*why),
        _ => None,
    };
    assert_eq!(pair.client_events().filter_map(down).collect::<Vec<_>>(), [Gone::Exhausted]);
    assert_eq!(ends(pair.client_events()), []);
}

#[test]
fn an_exhausted_child_of_the_gateway_is_asked_for_again_by_the_client() {
    let mut pair = Pair::joined(|_| {});
    let gateway = pair.gateway;
    let child = *pair.world.node(gateway).plane.children().keys().next().unwrap();
    pair.world.node_mut(gateway).plane.raise(PlaneEvent::Expired(child, Limit::Hard));
    pair.world.drive();
    for id in [pair.client, gateway] {
        assert!(pair.world.node(id).plane.children().is_empty());
    }
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(10 * SECOND);
    pair.assert_joined();
    assert_eq!(ends(pair.client_events()), []);
}

#[test]
fn a_child_that_ends_while_its_successor_fails_is_asked_for_again() {
    let mut pair = Pair::joined(|_| {});
    let client = pair.client;
    let child = *pair.world.node(client).plane.children().keys().next().unwrap();
    let plane = &mut pair.world.node_mut(client).plane;
    plane.delay = SECOND / 10;
    plane.faults.push_back(Fault::Full);
    let gateway = pair.gateway;
    rekey(&mut pair, gateway, RekeyWhat::Children);
    pair.world.run_for(SECOND / 20);
    pair.world.node_mut(client).plane.raise(PlaneEvent::Expired(child, Limit::Hard));
    pair.world.run_for(30 * SECOND);
    assert_eq!(ends(pair.client_events()), []);
    pair.assert_joined();
}
