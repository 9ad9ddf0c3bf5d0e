//! Several children of one SA: the first comes with it, each of the others by an
//! exchange of its own (RFC 7296 section 1.3.1).

use std::net::Ipv4Addr;
use std::time::Duration;

use esp::plane::{Fault, Limit, PlaneEvent};
use esp::spec::ChildId;
use ike::config::ResumeTrigger;
use ike::event::{Command, Event, Gone, How, RekeyWhat};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use ike::wire::ExchangeType;
use sim::meddle::{self, DELAY, arrival};
use sim::plane::Outgoing;
use sim::profile::FurtherChild;
use sim::world::Meddler;
use sim::{Pair, Scene, packet};

use crate::rekey::rekey;

const SECOND: Duration = Duration::from_secs(1);
const LAB: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);

fn lab() -> FurtherChild {
    FurtherChild::of_client("lab", "10.3.0.0/16", LAB)
}

/// A second child on both sides.
pub(crate) fn with_lab(scene: &mut Scene) {
    scene.client.further = vec![lab()];
    scene.gateway.further = vec![lab().reversed()];
}

/// A second child that the gateway does not have.
fn refused(scene: &mut Scene) {
    scene.client.further = vec![lab()];
}

/// The children of the client, by name, with the SPIs that they have.
fn children(pair: &Pair) -> Vec<(String, u32)> {
    let children = pair.status().sa.map(|sa| sa.children).unwrap_or_default();
    let mut names: Vec<_> =
        children.iter().map(|child| (child.name.to_string(), child.spi_in.get())).collect();
    names.sort();
    names
}

fn names(pair: &Pair) -> Vec<String> {
    children(pair).into_iter().map(|(name, _)| name).collect()
}

fn child_of(pair: &Pair, name: &str) -> ChildId {
    let children = pair.status().sa.unwrap().children;
    children.iter().find(|child| &*child.name == name).unwrap().id
}

fn to_lab(pair: &mut Pair) -> Outgoing {
    let client = pair.client;
    pair.world.send_inner(client, &packet::udp([10, 1, 0, 2].into(), LAB, b"data"))
}

fn has_failed(pair: &Pair) -> Vec<(String, Failure)> {
    let failed = |event: &Event| match event {
        Event::ChildFailed { child, why, .. } => Some((child.to_string(), why.clone())),
        _ => None,
    };
    pair.client_events().filter_map(failed).collect()
}

/// Both sides have both children, and have nothing after the end.
fn check(mut pair: Pair) {
    pair.world.meddler = None;
    pair.world.run_for(120 * SECOND);
    pair.assert_joined();
    assert_eq!(names(&pair), ["lab", "net"]);
    assert_eq!(pair.down(), Ok(()));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
}

#[test]
fn the_second_child_is_asked_for_when_the_first_is_up() {
    let mut pair = Pair::with(with_lab);
    pair.up().unwrap();
    let both = |exchange| [(exchange, false), (exchange, true)];
    let all = [ExchangeType::SA_INIT, ExchangeType::AUTH, ExchangeType::CREATE_CHILD_SA];
    assert_eq!(pair.exchanges(), all.map(both).as_flattened());
    let served: Vec<_> = pair.served().into_iter().flat_map(|it| it.sa.unwrap().children).collect();
    assert_eq!(served.len(), 2);
    assert_ne!(served[0].name, served[1].name);
    check(pair);
}

#[test]
fn a_resumption_brings_both_back() {
    let mut pair = Pair::suspended(with_lab);
    assert_eq!(pair.outgoing(), Outgoing::Held);
    assert_eq!(to_lab(&mut pair), Outgoing::Held);
    pair.resume().unwrap();
    assert_eq!(pair.set_up().how, How::Resumed);
    check(pair);
}

#[test]
fn a_packet_of_the_second_child_brings_both_up() {
    let mut pair = Pair::suspended(|scene| {
        with_lab(scene);
        scene.client.resumption.trigger = ResumeTrigger::OnTraffic;
    });
    assert_eq!(to_lab(&mut pair), Outgoing::Held);
    pair.world.run_for(SECOND);
    assert_eq!(pair.set_up().how, How::Resumed);
    check(pair);
}

/// What came first to one side is second to the other.
#[test]
fn a_gateway_finds_the_child_by_its_traffic() {
    let mut pair = Pair::with(|scene| {
        with_lab(scene);
        let first = scene.gateway.local_ts.clone();
        scene.gateway.local_ts = vec!["10.3.0.0/16".into()];
        scene.gateway.further[0].local_ts = first;
    });
    pair.up().unwrap();
    check(pair);
}

/// The first of the gateway's children would do for a part of what is asked for.
#[test]
fn a_gateway_takes_the_child_that_is_for_all_the_traffic() {
    let mut pair = Pair::with(|scene| {
        with_lab(scene);
        scene.gateway.local_ts = vec!["10.3.0.0/24".into(), "10.2.0.0/24".into()];
        scene.gateway.further.push(FurtherChild {
            name: "all",
            local_ts: vec!["10.2.0.0/16".into()],
            ..lab().reversed()
        });
    });
    pair.up().unwrap();
    let mut names: Vec<_> =
        pair.served().into_iter().flat_map(|it| it.sa.unwrap().children).collect();
    names.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(names.iter().map(|child| &*child.name).collect::<Vec<_>>(), ["all", "lab"]);
    check(pair);
}

#[test]
fn a_child_that_is_refused_harms_nobody_else_and_its_packets_wait() {
    let mut pair = Pair::with(refused);
    assert_eq!(pair.up(), Ok(()));
    assert_eq!(names(&pair), ["net"]);
    assert!(pair.ping());
    assert_eq!(to_lab(&mut pair), Outgoing::Held);
    let failure = Failure::NoTrafficSelectors;
    assert_eq!(has_failed(&pair), [("lab".to_owned(), failure.clone())]);
    // Whoever asks again learns why not.
    assert_eq!(pair.up(), Err(Refusal::Failed(failure)));
    assert_eq!(pair.status().stage, Stage::Up);
    assert!(pair.ping());

    // It is asked for once a minute, and had when it can be.
    let before = has_failed(&pair).len();
    pair.world.run_for(600 * SECOND);
    assert!((9..=14).contains(&(has_failed(&pair).len() - before)));
    assert_eq!(pair.down(), Ok(()));
    pair.world.run_for(120 * SECOND);
    pair.assert_empty();
}

#[test]
fn a_child_that_the_plane_refuses_is_asked_for_again() {
    for client in [true, false] {
        let mut pair = Pair::with(with_lab);
        let id = if client { pair.client } else { pair.gateway };
        pair.world.node_mut(id).plane.faults.extend([Fault::Full]);
        // The first command of a client's plane holds, of a gateway's installs.
        let _ = pair.up();
        pair.world.run_for(200 * SECOND);
        assert_eq!(pair.up(), Ok(()));
        check(pair);
    }
}

#[test]
fn any_lost_doubled_or_late_datagram_of_the_set_up_is_made_up_for() {
    let meddlers: [fn(usize) -> Meddler; 4] = [
        |n| meddle::nth(n, |_| Vec::new()),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(3 * SECOND, sent)]),
    ];
    for meddler in meddlers {
        for position in 0..8 {
            let mut pair = Pair::with(with_lab);
            pair.world.meddler = Some(meddler(position));
            assert_eq!(pair.up(), Ok(()));
            check(pair);
        }
    }
}

#[test]
fn any_lost_datagram_of_rekeys_of_both_is_made_up_for() {
    for by_client in [true, false] {
        for what in [RekeyWhat::Children, RekeyWhat::IkeSa] {
            for position in 0..10 {
                let mut pair = Pair::joined(with_lab);
                let before = children(&pair);
                pair.world.meddler = Some(meddle::nth(position, |_| Vec::new()));
                let id = if by_client { pair.client } else { pair.gateway };
                rekey(&mut pair, id, what);
                pair.world.run_for(60 * SECOND);
                let after = children(&pair);
                let is_new = before.iter().zip(&after).all(|(old, new)| old.1 != new.1);
                assert_eq!(is_new, what == RekeyWhat::Children, "{before:?} {after:?}");
                check(pair);
            }
        }
    }
}

/// The end of a child, its Delete and the next one, by either side.
#[test]
fn any_lost_doubled_or_late_datagram_of_the_end_of_a_child_is_made_up_for() {
    let meddlers: [fn(usize) -> Meddler; 5] = [
        |n| meddle::nth(n, |_| Vec::new()),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY * 3, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(3 * SECOND, sent)]),
    ];
    for meddler in meddlers {
        for by_client in [true, false] {
            for position in 0..4 {
                let mut pair = Pair::joined(with_lab);
                let before = children(&pair);
                let id = if by_client { pair.client } else { pair.gateway };
                let child = *pair.world.node(id).plane.children().keys().next().unwrap();
                pair.world.meddler = Some(meddler(position));
                pair.world.node_mut(id).plane.raise(PlaneEvent::Expired(child, Limit::Hard));
                pair.world.run_for(30 * SECOND);
                let after = children(&pair);
                let same = before.iter().filter(|child| after.contains(child)).count();
                assert_eq!((same, after.len()), (1, 2), "{by_client} {position}");
                check(pair);
            }
        }
    }
}

/// The second child is being asked for when the gateway replaces the first, or
/// the IKE SA: at every step of the set-up, and any datagram after it lost.
#[test]
fn a_child_may_be_asked_for_while_the_gateway_replaces_what_there_is() {
    for what in [RekeyWhat::Children, RekeyWhat::IkeSa] {
        for steps in 0..8 {
            for lost in std::iter::once(None).chain((0..10).map(Some)) {
                let mut pair = Pair::with(with_lab);
                let up = pair.begin(Command::Up(pair.name()));
                let gateway = pair.gateway;
                let has_child =
                    |world: &sim::World| !world.node(gateway).plane.children().is_empty();
                assert!(pair.world.drive_until(SECOND, has_child));
                pair.world.run_for(DELAY / 2 * steps);
                pair.world.meddler = lost.map(|lost| meddle::nth(lost, |_| Vec::new()));
                rekey(&mut pair, gateway, what);
                pair.world.run_for(60 * SECOND);
                assert_eq!(pair.finish(up), Ok(()), "{what:?} {steps} {lost:?}");
                check(pair);
            }
        }
    }
}

#[test]
fn a_child_at_its_end_is_made_anew_and_the_other_is_not_touched() {
    for name in ["net", "lab"] {
        let mut pair = Pair::joined(with_lab);
        let before = children(&pair);
        let (client, child) = (pair.client, child_of(&pair, name));
        pair.world.node_mut(client).plane.raise(PlaneEvent::Expired(child, Limit::Hard));
        pair.world.run_for(10 * SECOND);
        let after = children(&pair);
        let touched = before.iter().zip(&after).filter(|(old, new)| old != new);
        assert_eq!(touched.map(|(_, new)| &*new.0).collect::<Vec<_>>(), [name]);
        check(pair);
    }
}

/// Both children carry packets all the time.
#[test]
fn both_children_go_over_to_the_next_sa_without_a_gap() {
    let mut pair = Pair::joined(|scene| {
        with_lab(scene);
        scene.client.reauth = ike::config::Lifetime::of(600 * SECOND);
    });
    let sa = pair.status().sa.unwrap().id;
    for _ in 0..800 {
        pair.world.run_for(SECOND);
        assert!(pair.ping_to(LAB) && pair.ping());
    }
    assert_ne!(pair.status().sa.unwrap().id, sa);
    check(pair);
}

#[test]
fn a_configuration_can_gain_and_lose_a_child() {
    let mut pair = Pair::joined(with_lab);
    let (client, name) = (pair.client, pair.name());
    let with = pair.scene().client.clone();
    let without = sim::Profile { further: Vec::new(), ..with.clone() };
    for (profile, count) in [(&without, 1), (&with, 2)] {
        let now = pair.world.node(client).clock.at(pair.world.now());
        pair.client_endpoint().reconfigure(now, profile.config());
        pair.settle();
        pair.command(Command::Down(name.clone())).unwrap();
        pair.world.run_for(60 * SECOND);
        pair.assert_empty();
        pair.up().unwrap();
        assert_eq!(children(&pair).len(), count);
    }
    check(pair);
}

#[test]
fn the_end_of_the_sa_ends_both() {
    let mut pair = Pair::joined(with_lab);
    let request = pair.world.command(pair.gateway, Command::Down("clients".into()));
    pair.world.drive();
    assert_eq!(pair.world.node(pair.gateway).replies[&request], Ok(()));
    let ended = |event: &Event| match event {
        Event::ChildDown { child, why, .. } => Some((child.to_string(), *why)),
        _ => None,
    };
    let mut ended: Vec<_> = pair.client_events().filter_map(ended).collect();
    ended.sort_by(|(one, _), (other, _)| one.cmp(other));
    let why = Gone::PeerDeleted;
    assert_eq!(ended, [("lab".to_owned(), why), ("net".to_owned(), why)]);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

/// The gateway's answer is late, and it replaces the child that it is about. The
/// client must not say that there is none: the gateway would drop it.
#[test]
fn a_child_is_replaced_before_its_answer_is_here() {
    let mut pair = Pair::with(with_lab);
    // What is sent at the sixth is the answer to CREATE_CHILD_SA.
    pair.world.meddler = Some(meddle::nth(5, |sent| vec![arrival(3 * SECOND, sent)]));
    let request = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(SECOND / 5);
    assert_eq!(names(&pair), ["net"]);
    let gateway = pair.gateway;
    rekey(&mut pair, gateway, RekeyWhat::Children);
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.finish(request), Ok(()));
    check(pair);
}

/// As above, and the gateway ends that child: its Delete comes before the answer
/// that speaks of the child, which is not there any more when it does.
#[test]
fn a_child_is_deleted_before_its_answer_is_here() {
    let mut pair = Pair::with(with_lab);
    pair.world.meddler = Some(meddle::nth(5, |sent| vec![arrival(SECOND / 4, sent)]));
    let request = pair.begin(Command::Up(pair.name()));
    pair.world.run_for(SECOND / 5);
    assert_eq!(names(&pair), ["net"]);
    let plane = &mut pair.world.node_mut(pair.gateway).plane;
    let lab = *plane.children().keys().next_back().unwrap();
    plane.raise(PlaneEvent::Expired(lab, Limit::Hard));
    pair.world.run_for(5 * SECOND);
    let installed = |id| pair.world.node(id).plane.children().len();
    assert_eq!((installed(pair.client), installed(pair.gateway)), (1, 1));
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.finish(request), Ok(()));
    check(pair);
}
