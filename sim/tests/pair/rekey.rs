//! New keys: of children and of the IKE SA, by either side and by both at once.

use std::sync::Arc;
use std::time::Duration;

use esp::plane::{Fault, Limit, PlaneEvent};
use ike::event::{Command, Event, How, RekeyWhat};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use sim::meddle::{self, DELAY, arrival};
use sim::world::Meddler;
use sim::{Arrival, NodeId, Pair, Scene, Sent};

const SECOND: Duration = Duration::from_secs(1);
pub(crate) const BOTH: [RekeyWhat; 2] = [RekeyWhat::Children, RekeyWhat::IkeSa];

fn name_of(pair: &Pair, id: NodeId) -> Arc<str> {
    if id == pair.client { pair.name() } else { "clients".into() }
}

pub(crate) fn rekey(pair: &mut Pair, id: NodeId, what: RekeyWhat) {
    let command = Command::Rekey(name_of(pair, id), what);
    let request = pair.world.command(id, command);
    assert_eq!(pair.world.node(id).replies[&request], Ok(()));
}

/// How often an end has told of new keys.
pub(crate) fn told(pair: &Pair, id: NodeId, what: RekeyWhat) -> usize {
    let is_it = |event: &Event| match event {
        Event::ChildRekeyed { .. } => what == RekeyWhat::Children,
        Event::Rekeyed { .. } => what == RekeyWhat::IkeSa,
        _ => false,
    };
    pair.world.node(id).events.iter().filter(|(_, event)| is_it(event)).count()
}

/// What is to be seen of the keys that are in use: SPIs.
pub(crate) fn keys(pair: &Pair) -> (String, u32) {
    let sa = pair.status().sa.unwrap();
    (sa.id.to_string(), sa.children[0].spi_in.get())
}

/// Both ends agree, nobody has more than one SA and one child, packets flow,
/// and after the end nothing is left.
pub(crate) fn check(mut pair: Pair) {
    pair.world.meddler = None;
    pair.world.run_for(120 * SECOND);
    let ends = pair.client_events().chain(pair.gateway_events());
    assert_eq!(ends.filter(|event| matches!(event, Event::Down { .. })).count(), 0);
    pair.assert_joined();
    let sas = |id| pair.world.node(id).endpoint.holdings().sas;
    assert_eq!((sas(pair.client), sas(pair.gateway)), (1, 1));
    assert_eq!(pair.down(), Ok(()));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
}

fn plain(_: &mut Scene) {}

/// Rekeys of everything, by both sides in turn.
pub(crate) fn one_after_another(scene: fn(&mut Scene), rounds: u32) -> Pair {
    let mut pair = Pair::joined(scene);
    for round in 0..rounds {
        for what in BOTH {
            let id = if round % 2 == 0 { pair.client } else { pair.gateway };
            rekey(&mut pair, id, what);
            pair.world.run_for(SECOND);
            assert!(pair.ping());
        }
    }
    pair
}

/// Rekeys, with something done to each of so many datagrams.
fn at_every_position(scene: fn(&mut Scene), datagrams: usize, meddler: impl Fn(usize) -> Meddler) {
    for what in BOTH {
        for by_client in [true, false] {
            for position in 0..datagrams {
                let mut pair = Pair::joined(scene);
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

pub(crate) fn lose_each(scene: fn(&mut Scene), datagrams: usize) {
    at_every_position(scene, datagrams, |n| meddle::nth(n, |_| Vec::new()));
}

pub(crate) fn double_each(scene: fn(&mut Scene), datagrams: usize) {
    for later in [DELAY + DELAY / 2, 20 * SECOND] {
        at_every_position(scene, datagrams, |n| {
            meddle::nth(n, move |sent| vec![arrival(DELAY, sent), arrival(later, sent)])
        });
    }
}

pub(crate) fn delay_each(scene: fn(&mut Scene), datagrams: usize) {
    for late in [DELAY * 3, SECOND * 3 / 4, 3 * SECOND] {
        at_every_position(scene, datagrams, |n| {
            meddle::nth(n, move |sent| vec![arrival(late, sent)])
        });
    }
}

/// Rekeys by both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtOnce {
    /// What each side rekeys.
    pub(crate) what: [RekeyWhat; 2],
    pub(crate) client_first: bool,
    /// How much later the second begins.
    pub(crate) offset: Duration,
    pub(crate) seed: u64,
    /// Which datagram does not arrive.
    pub(crate) lost: Option<usize>,
    /// After this much time there are new keys.
    pub(crate) patience: Duration,
}

impl AtOnce {
    pub(crate) fn play(self, scene: fn(&mut Scene)) {
        let mut pair = Pair::joined(|it| {
            scene(it);
            it.seed = self.seed;
        });
        if let Some(lost) = self.lost {
            pair.world.meddler = Some(meddle::nth(lost, |_| Vec::new()));
        }
        let (client, gateway) = (pair.client, pair.gateway);
        let (one, other) = if self.client_first { (client, gateway) } else { (gateway, client) };
        let before = keys(&pair);
        let [first, second] = self.what;
        rekey(&mut pair, one, first);
        pair.world.run_for(self.offset);
        rekey(&mut pair, other, second);
        pair.world.run_for(self.patience);
        assert_ne!(keys(&pair), before, "{self:?}");
        check(pair);
    }
}

/// A steady stream both ways, of which nothing is lost while keys are replaced.
pub(crate) fn stream_over_a_rekey(
    scene: fn(&mut Scene),
    packets: usize,
    what: RekeyWhat,
    by_client: bool,
) -> Pair {
    stream_with(Pair::joined(scene), packets, what, by_client)
}

fn stream_with(mut pair: Pair, packets: usize, what: RekeyWhat, by_client: bool) -> Pair {
    let (client, gateway) = (pair.client, pair.gateway);
    let there = sim::packet::udp([10, 1, 0, 2].into(), [10, 2, 0, 1].into(), b"there");
    let back = sim::packet::udp([10, 2, 0, 1].into(), [10, 1, 0, 2].into(), b"back");
    let before = [client, gateway].map(|id| pair.world.node(id).delivered.len());
    for n in 0..packets {
        if n == 20 {
            rekey(&mut pair, if by_client { client } else { gateway }, what);
        }
        pair.world.send_inner(client, &there);
        pair.world.send_inner(gateway, &back);
        pair.world.run_for(DELAY / 20);
    }
    pair.world.run_for(SECOND);
    let after = [client, gateway].map(|id| pair.world.node(id).delivered.len());
    assert_eq!([after[0] - before[0], after[1] - before[1]], [packets, packets]);
    pair
}

/// The end, so many steps after either or both have begun a rekey; and any
/// datagram after it, or none, is lost.
pub(crate) fn end_after_each_step(scene: fn(&mut Scene), steps: u32) {
    for what in BOTH {
        for by in [[true, false], [false, true], [true, true]] {
            for n in 0..steps {
                for lost in std::iter::once(None).chain((0..5).map(Some)) {
                    end_after(scene, what, by, n, lost);
                }
            }
        }
    }
}

fn end_after(
    scene: fn(&mut Scene),
    what: RekeyWhat,
    [by_client, by_gateway]: [bool; 2],
    steps: u32,
    lost: Option<usize>,
) {
    for ended_by_client in [true, false] {
        let mut pair = Pair::joined(|it| {
            scene(it);
            // What the Deletes leave would stay.
            it.client.liveness = None;
            it.gateway.liveness = None;
        });
        let (client, gateway) = (pair.client, pair.gateway);
        if by_client {
            rekey(&mut pair, client, what);
        }
        if by_gateway {
            rekey(&mut pair, gateway, what);
        }
        let ends = if ended_by_client { client } else { gateway };
        pair.world.run_for(DELAY / 2 * steps);
        pair.world.meddler = lost.map(|lost| meddle::nth(lost, |_| Vec::new()));
        let request = pair.world.command(ends, Command::Down(name_of(&pair, ends)));
        // Before anybody could take the other for lost.
        pair.world.run_for(20 * SECOND);
        assert_eq!(pair.world.node(ends).replies[&request], Ok(()));
        pair.assert_apart();
        pair.world.run_for(180 * SECOND);
        pair.assert_empty();
    }
}

#[test]
fn either_side_replaces_the_keys_of_a_child() {
    for esp in ["aes256gcm16", "aes256gcm16-x25519", "aes256gcm16-ecp256-x25519"] {
        for by_client in [true, false] {
            let mut pair = Pair::joined(|scene| {
                scene.client.esp = vec![esp];
                scene.gateway.esp = vec![esp];
            });
            let before = keys(&pair);
            let id = if by_client { pair.client } else { pair.gateway };
            rekey(&mut pair, id, RekeyWhat::Children);
            pair.world.drive();
            assert_eq!(pair.exchanges().len(), 4);
            let after = keys(&pair);
            assert!(before.0 == after.0 && before.1 != after.1);
            for id in [pair.client, pair.gateway] {
                assert_eq!(told(&pair, id, RekeyWhat::Children), 1);
            }
            assert!(pair.ping());
            check(pair);
        }
    }
}

#[test]
fn either_side_replaces_the_keys_of_the_ike_sa() {
    for by_client in [true, false] {
        let mut pair = Pair::joined(|_| {});
        let before = keys(&pair);
        let id = if by_client { pair.client } else { pair.gateway };
        rekey(&mut pair, id, RekeyWhat::IkeSa);
        pair.world.drive();
        let after = keys(&pair);
        assert!(before.0 != after.0 && before.1 == after.1);
        for id in [pair.client, pair.gateway] {
            assert_eq!(told(&pair, id, RekeyWhat::IkeSa), 1);
        }
        assert!(pair.ping());
        check(pair);
    }
}

#[test]
fn new_keys_follow_each_other_on_both_sides() {
    check(one_after_another(plain, 6));
}

/// A rekey of the IKE SA voids the ticket; the client asks for another (D7, D9).
#[test]
fn after_a_rekey_of_the_ike_sa_there_is_a_new_ticket_and_the_old_one_is_void() {
    let mut pair = Pair::joined(|_| {});
    let client = pair.client;
    rekey(&mut pair, client, RekeyWhat::IkeSa);
    pair.world.drive();
    let is_grant = |event: &&Event| matches!(event, Event::TicketGranted { .. });
    assert_eq!(pair.client_events().filter(is_grant).count(), 1);
    pair.suspend().unwrap();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_session_whose_new_ticket_has_not_come_yet_cannot_sleep() {
    let mut pair = Pair::joined(|_| {});
    let (client, gateway) = (pair.client, pair.gateway);
    rekey(&mut pair, client, RekeyWhat::IkeSa);
    let is_rekeyed = |world: &sim::World| {
        world.node(client).events.iter().any(|(_, event)| matches!(event, Event::Rekeyed { .. }))
    };
    assert!(pair.world.drive_until(SECOND, is_rekeyed));
    pair.world.node_mut(gateway).offline = true;
    assert_eq!(pair.suspend(), Err(Refusal::NoTicket));
    pair.world.node_mut(gateway).offline = false;
    check(pair);
}

/// A suspend half a way after half a way of a rekey of the IKE SA, with one
/// datagram lost: how the session comes back, if it could sleep. Whatever became
/// of the rekey, both sides have one SA then.
fn suspend_after(
    [by_client, by_gateway]: [bool; 2],
    halves: u32,
    lost: Option<usize>,
) -> Option<How> {
    let mut pair = Pair::joined(|it| {
        // What the gateway has left would go by itself.
        (it.client.liveness, it.gateway.liveness) = (None, None);
    });
    let (client, gateway) = (pair.client, pair.gateway);
    pair.world.meddler = lost.map(|lost| meddle::nth(lost, |_| Vec::new()));
    for (id, _) in [(client, by_client), (gateway, by_gateway)].into_iter().filter(|it| it.1) {
        rekey(&mut pair, id, RekeyWhat::IkeSa);
    }
    pair.world.run_for(DELAY / 4 + DELAY / 2 * halves);
    let request = pair.begin(Command::Suspend(pair.name()));
    if let Err(why) = &pair.world.node(client).replies[&request] {
        assert_eq!(*why, Refusal::NoTicket);
        check(pair);
        return None;
    }
    pair.resume().unwrap();
    let how = pair.set_up().how;
    pair.forget_past();
    check(pair);
    Some(how)
}

/// Who was asked for a successor and has answered holds the ticket for void; who
/// has asked, as soon as it is answered.
#[test]
fn a_suspend_in_the_middle_of_a_rekey_costs_a_full_exchange_at_the_most() {
    let (full, resumed, none) = (Some(How::Full), Some(How::Resumed), None);
    for (by, expected) in [
        ([true, false], [full, full, none, none, resumed]),
        ([false, true], [resumed, none, none, resumed, resumed]),
        ([true, true], [resumed, full, none, none, resumed]),
    ] {
        for (ways, expected) in (0..).zip(expected) {
            for half in 0..2 {
                assert_eq!(suspend_after(by, 2 * ways + half, None), expected, "{by:?} {ways}");
            }
        }
        for lost in 0..6 {
            for halves in 0..10 {
                let end = suspend_after(by, halves, Some(lost));
                assert!([full, resumed, none].contains(&end), "{end:?}");
            }
        }
    }
    // What was not asked leaves the ticket as it was.
    assert_eq!(suspend_after([true, false], 9, Some(0)), resumed);
    assert_eq!(suspend_after([false, true], 9, Some(0)), resumed);
    assert_eq!(suspend_after([true, false], 9, Some(1)), full);
}

#[test]
fn every_lost_datagram_is_made_up_for() {
    lose_each(plain, 8);
}

#[test]
fn every_doubled_datagram_counts_once() {
    double_each(plain, 8);
}

#[test]
fn every_datagram_may_come_late() {
    delay_each(plain, 8);
}

/// The client's first request for a child has a group that the gateway does not want.
fn with_another_group(scene: &mut Scene) {
    scene.client.esp = vec!["aes256gcm16-x25519-ecp256"];
    scene.gateway.esp = vec!["aes256gcm16-ecp256"];
}

#[test]
fn a_request_that_is_made_again_in_another_group_may_meet_all_of_that_too() {
    lose_each(with_another_group, 10);
    double_each(with_another_group, 10);
    delay_each(with_another_group, 10);
}

/// The end of a child that the other side is replacing, at every step of that,
/// and any datagram lost: both sides have one child in the end.
#[test]
fn a_child_may_end_on_one_side_while_the_other_replaces_it() {
    for by_client in [true, false] {
        for steps in 0..10 {
            for lost in std::iter::once(None).chain((0..10).map(Some)) {
                let mut pair = Pair::joined(plain);
                let (client, gateway) = (pair.client, pair.gateway);
                let (rekeys, ends) = if by_client { (client, gateway) } else { (gateway, client) };
                let child = *pair.world.node(ends).plane.children().keys().next().unwrap();
                pair.world.meddler = lost.map(|lost| meddle::nth(lost, |_| Vec::new()));
                rekey(&mut pair, rekeys, RekeyWhat::Children);
                pair.world.run_for(DELAY / 2 * steps);
                let plane = &mut pair.world.node_mut(ends).plane;
                if plane.children().contains_key(&child) {
                    plane.raise(PlaneEvent::Expired(child, Limit::Hard));
                }
                pair.world.run_for(60 * SECOND);
                check(pair);
            }
        }
    }
}

#[test]
fn both_sides_rekey_at_every_offset() {
    let (step, patience) = (DELAY / 2, 40 * SECOND);
    for (first, second) in BOTH.into_iter().flat_map(|a| BOTH.map(|b| (a, b))) {
        for seed in 1..=6 {
            for n in 0..10 {
                for client_first in [true, false] {
                    let (what, offset) = ([first, second], step * n);
                    AtOnce { what, client_first, offset, seed, lost: None, patience }.play(plain);
                }
            }
        }
    }
}

#[test]
fn both_sides_rekey_at_once_and_any_datagram_is_lost() {
    let (client_first, patience) = (true, 40 * SECOND);
    for (first, second) in BOTH.into_iter().flat_map(|a| BOTH.map(|b| (a, b))) {
        for seed in 1..=4 {
            for lost in (0..12).map(Some) {
                for offset in [Duration::ZERO, DELAY / 2, DELAY * 3 / 2] {
                    let what = [first, second];
                    AtOnce { what, client_first, offset, seed, lost, patience }.play(plain);
                }
            }
        }
    }
}

#[test]
fn who_is_installing_what_the_peer_has_asked_for_does_not_ask_for_the_same() {
    for slow_client in [true, false] {
        let mut pair = Pair::joined(|_| {});
        let (client, gateway) = (pair.client, pair.gateway);
        let (slow, quick) = if slow_client { (client, gateway) } else { (gateway, client) };
        pair.world.node_mut(slow).plane.delay = SECOND;
        rekey(&mut pair, quick, RekeyWhat::Children);
        pair.world.run_for(DELAY * 3 / 2);
        rekey(&mut pair, slow, RekeyWhat::Children);
        pair.world.run_for(60 * SECOND);
        assert_eq!(told(&pair, slow, RekeyWhat::Children), 1);
        pair.world.node_mut(slow).plane.delay = Duration::ZERO;
        check(pair);
    }
}

#[test]
fn an_end_in_the_middle_of_a_rekey_is_an_end() {
    end_after_each_step(plain, 10);
}

#[test]
fn no_packet_is_lost_while_keys_are_replaced() {
    for what in BOTH {
        for by_client in [true, false] {
            check(stream_over_a_rekey(plain, 400, what, by_client));
        }
    }
}

#[test]
fn no_packet_is_lost_with_any_datagram_of_a_rekey() {
    let lost: fn(&Sent) -> Vec<Arrival> = |_| Vec::new();
    let late: fn(&Sent) -> Vec<Arrival> = |sent| vec![arrival(SECOND * 3 / 4, sent)];
    for (what, by_client) in BOTH.into_iter().flat_map(|what| [(what, true), (what, false)]) {
        for (meddling, position) in
            [lost, late].into_iter().flat_map(|it| (0..4).map(move |n| (it, n)))
        {
            let mut pair = Pair::joined(plain);
            pair.world.meddler = Some(meddle::nth(position, meddling));
            let pair = stream_with(pair, 3000, what, by_client);
            assert_eq!(told(&pair, pair.gateway, what), 1);
            check(pair);
        }
    }
}

#[test]
fn a_child_near_its_end_is_replaced() {
    for by_client in [true, false] {
        let mut pair = Pair::joined(|_| {});
        let id = if by_client { pair.client } else { pair.gateway };
        let plane = &mut pair.world.node_mut(id).plane;
        let child = *plane.children().keys().next().unwrap();
        plane.raise(PlaneEvent::Expired(child, Limit::Soft));
        pair.world.drive();
        assert_eq!(told(&pair, id, RekeyWhat::Children), 1);
        check(pair);
    }
}

#[test]
fn a_child_that_cannot_be_installed_changes_nothing() {
    for by_client in [true, false] {
        for fails_at_client in [true, false] {
            let mut pair = Pair::joined(|_| {});
            let before = keys(&pair);
            let (client, gateway) = (pair.client, pair.gateway);
            let failing = if fails_at_client { client } else { gateway };
            pair.world.node_mut(failing).plane.faults.push_back(Fault::Full);
            rekey(&mut pair, if by_client { client } else { gateway }, RekeyWhat::Children);
            pair.world.run_for(8 * SECOND / 10);
            assert_eq!(keys(&pair), before);
            assert!(pair.ping());
            // It is tried again later.
            pair.world.run_for(120 * SECOND);
            assert_ne!(keys(&pair), before);
            check(pair);
        }
    }
}

#[test]
fn the_peer_names_the_group_that_it_wants() {
    let mut pair = Pair::joined(with_another_group);
    let before = keys(&pair);
    let client = pair.client;
    rekey(&mut pair, client, RekeyWhat::Children);
    pair.world.drive();
    assert_ne!(keys(&pair), before);
    // The request, the same again with the other group, and the Delete.
    assert_eq!(pair.exchanges().len(), 6);
    check(pair);
}

#[test]
fn a_peer_that_accepts_no_proposal_keeps_the_old_keys() {
    let mut pair = Pair::joined(|scene: &mut Scene| {
        scene.client.esp = vec!["aes256gcm16-x25519"];
        scene.gateway.esp = vec!["aes256gcm16-ecp256"];
    });
    let before = keys(&pair);
    let client = pair.client;
    rekey(&mut pair, client, RekeyWhat::Children);
    pair.world.drive();
    assert_eq!(keys(&pair), before);
    let failed = |event: &Event| match event {
        Event::RekeyFailed { why, .. } => Some(why.clone()),
        _ => None,
    };
    assert_eq!(pair.client_events().find_map(failed), Some(Failure::NoEspProposal));
    check(pair);
}

#[test]
fn what_is_not_up_has_no_keys_to_replace() {
    let mut pair = Pair::new(Scene::default());
    for what in BOTH {
        assert_eq!(pair.command(Command::Rekey(pair.name(), what)), Err(Refusal::NotUp));
    }
    assert_eq!(pair.status().stage, Stage::Down);
}
