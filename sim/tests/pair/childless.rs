//! SAs that come up without a child, which is asked for afterwards (RFC 6023).

use std::time::Duration;

use ike::config::Childless;
use ike::event::{Event, How};
use ike::fault::Failure;
use ike::wire::{ExchangeType, NotifyType};
use sim::meddle::{self, DELAY, arrival};
use sim::world::Meddler;
use sim::{Arrival, Content, Datagram, Pair, Scene};

use crate::addresses::dynamic;
use crate::set_up::failure;
use crate::several::with_lab;

const SECOND: Duration = Duration::from_secs(1);

fn prefers(scene: &mut Scene) {
    scene.client.childless = Childless::Prefer;
}

fn insists(scene: &mut Scene) {
    scene.client.childless = Childless::Force;
}

fn both_insist(scene: &mut Scene) {
    insists(scene);
    scene.gateway.childless = Childless::Force;
}

/// The requests of a set-up.
fn requests(pair: &Pair) -> Vec<ExchangeType> {
    let all = pair.exchanges().into_iter();
    all.filter(|(_, is_response)| !is_response).map(|(exchange, _)| exchange).collect()
}

const INIT: ExchangeType = ExchangeType::SA_INIT;
const AUTH: ExchangeType = ExchangeType::AUTH;
const CHILD: ExchangeType = ExchangeType::CREATE_CHILD_SA;

fn check(mut pair: Pair) {
    pair.world.meddler = None;
    pair.world.run_for(120 * SECOND);
    pair.assert_joined();
    assert_eq!(pair.down(), Ok(()));
    pair.world.run_for(120 * SECOND);
    pair.assert_apart();
    pair.assert_empty();
}

#[test]
fn who_prefers_it_asks_for_the_child_when_the_sa_is_up() {
    let mut pair = Pair::with(prefers);
    pair.up().unwrap();
    // Whoever gave the command has waited for the child.
    pair.assert_joined();
    assert_eq!(requests(&pair), [INIT, AUTH, CHILD]);
    let told: Vec<_> = pair
        .gateway_events()
        .filter(|event| matches!(event, Event::Up { .. } | Event::ChildUp { .. }))
        .map(|event| matches!(event, Event::Up { .. }))
        .collect();
    assert_eq!(told, [true, false]);
    check(pair);
}

#[test]
fn all_children_follow() {
    let mut pair = Pair::with(|scene| {
        prefers(scene);
        with_lab(scene);
    });
    pair.up().unwrap();
    assert_eq!(requests(&pair), [INIT, AUTH, CHILD, CHILD]);
    check(pair);
}

#[test]
fn nobody_else_does_so() {
    let mut pair = Pair::with(|_| {});
    pair.up().unwrap();
    assert_eq!(requests(&pair), [INIT, AUTH]);

    // The gateway does not offer it.
    let mut pair = Pair::with(|scene| {
        prefers(scene);
        scene.gateway.childless = Childless::Never;
    });
    pair.up().unwrap();
    assert_eq!(requests(&pair), [INIT, AUTH]);
    check(pair);
}

#[test]
fn an_inner_address_comes_with_the_sa_and_the_child_is_narrowed_to_it() {
    let mut pair = Pair::with(|scene| {
        prefers(scene);
        dynamic(scene);
    });
    pair.up().unwrap();
    assert_eq!(requests(&pair), [INIT, AUTH, CHILD]);
    let child = pair.status().sa.unwrap().children.remove(0);
    let traffic: Vec<_> = child.local_ts.iter().map(ToString::to_string).collect();
    assert_eq!(traffic, ["10.1.0.2/32"]);
    check(pair);
}

/// What a ticket saves is worth more than what comes of this.
#[test]
fn a_resumption_has_a_child() {
    for scene in [prefers as fn(&mut Scene), both_insist] {
        let mut pair = Pair::suspended(scene);
        pair.resume().unwrap();
        assert_eq!(requests(&pair), [ExchangeType::SESSION_RESUME, AUTH]);
        pair.assert_up_by(How::Resumed);
        check(pair);
    }
}

#[test]
fn who_insists_asks_for_the_child_when_the_sa_is_up_whatever_the_gateway_prefers() {
    for gateway in [Childless::Allow, Childless::Prefer, Childless::Force] {
        let mut pair = Pair::with(|scene| {
            insists(scene);
            scene.gateway.childless = gateway;
        });
        pair.up().unwrap();
        assert_eq!(requests(&pair), [INIT, AUTH, CHILD]);
        check(pair);
    }
}

#[test]
fn who_insists_gets_no_sa_where_it_is_not_offered() {
    let mut pair = Pair::with(|scene| {
        insists(scene);
        scene.gateway.childless = Childless::Never;
    });
    assert_eq!(failure(&mut pair), (Failure::NoChildless, None));
    assert!(requests(&pair).iter().all(|request| *request == INIT));
    pair.world.run_for(120 * SECOND);
    pair.assert_empty();
}

/// Anybody can leave out what the gateway has said.
#[test]
fn an_answer_without_the_offer_is_not_believed_while_a_better_one_may_come() {
    let mut pair = Pair::with(both_insist);
    pair.world.meddler = Some(meddle::nth(1, |sent| {
        let mut octets = sent.datagram.ike().unwrap().to_vec();
        let kind = NotifyType::CHILDLESS_IKEV2_SUPPORTED.0.to_be_bytes();
        let at = octets.windows(2).rposition(|two| two == kind).unwrap();
        octets[at..at + 2].copy_from_slice(&NotifyType(40959).0.to_be_bytes());
        let datagram = Datagram { content: Content::Ike(octets.into()), ..sent.datagram.clone() };
        let early = Arrival { after: DELAY / 2, datagram };
        vec![early, arrival(DELAY, sent)]
    }));
    pair.up().unwrap();
    assert_eq!(requests(&pair), [INIT, AUTH, CHILD]);
    check(pair);
}

#[test]
fn a_gateway_that_insists_refuses_a_child_in_ike_auth() {
    let mut pair = Pair::with(|scene| scene.gateway.childless = Childless::Force);
    let refused = Failure::Notify(NotifyType::INVALID_SYNTAX.0);
    assert_eq!(failure(&mut pair), (refused, Some(Failure::NoChildless)));
    pair.world.run_for(120 * SECOND);
    pair.assert_empty();
}

#[test]
fn any_lost_doubled_or_late_datagram_is_made_up_for() {
    let meddlers: [fn(usize) -> Meddler; 4] = [
        |n| meddle::nth(n, |_| Vec::new()),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(DELAY * 3 / 2, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]),
        |n| meddle::nth(n, |sent| vec![arrival(3 * SECOND, sent)]),
    ];
    for meddler in meddlers {
        for (position, scene) in
            (0..6).flat_map(|n| [(n, prefers as fn(&mut Scene)), (n, both_insist)])
        {
            let mut pair = Pair::with(scene);
            pair.world.meddler = Some(meddler(position));
            assert_eq!(pair.up(), Ok(()));
            check(pair);
        }
    }
}
