//! SAs that come up without a child, which is asked for afterwards (RFC 6023).

use std::time::Duration;

use ike::config::Childless;
use ike::event::{Event, How};
use ike::wire::ExchangeType;
use sim::meddle::{self, DELAY, arrival};
use sim::world::Meddler;
use sim::{Pair, Scene};

use crate::addresses::dynamic;
use crate::several::with_lab;

const SECOND: Duration = Duration::from_secs(1);

fn prefers(scene: &mut Scene) {
    scene.client.childless = Childless::Prefer;
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
    let mut pair = Pair::suspended(prefers);
    pair.resume().unwrap();
    assert_eq!(requests(&pair), [ExchangeType::SESSION_RESUME, AUTH]);
    pair.assert_up_by(How::Resumed);
    check(pair);
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
        for position in 0..6 {
            let mut pair = Pair::with(prefers);
            pair.world.meddler = Some(meddler(position));
            assert_eq!(pair.up(), Ok(()));
            check(pair);
        }
    }
}
