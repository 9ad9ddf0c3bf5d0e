//! Every single datagram lost, doubled, late or overtaken, in every scenario.

use std::time::Duration;

use sim::meddle::{self, DELAY, arrival};
use sim::{Arrival, Sent};

use crate::scenarios::{ALL, End, Scenario};

const SECOND: Duration = Duration::from_secs(1);

/// Meddles with each datagram in turn and compares the ends.
fn at_every_position(
    meddle: fn(&Sent) -> Vec<Arrival>,
    compare: impl Fn(Scenario, usize, &End, &End),
) {
    for scenario in ALL {
        let expected = scenario.undisturbed();
        for position in 0..scenario.datagrams() {
            let mut pair = scenario.before();
            let end = scenario.run(&mut pair, Some(meddle::nth(position, meddle)));
            compare(scenario, position, &end, &expected);
            scenario.check(&mut pair);
        }
    }
}

/// The same end by the same way, only later.
fn same(scenario: Scenario, position: usize, end: &End, expected: &End) {
    assert_eq!(end, expected, "{scenario:?}, datagram {position}");
}

#[test]
fn every_lost_datagram_is_made_up_for() {
    at_every_position(|_| Vec::new(), same);
}

#[test]
fn every_doubled_datagram_counts_once() {
    at_every_position(|sent| vec![arrival(DELAY, sent), arrival(DELAY + DELAY / 2, sent)], same);
}

#[test]
fn every_datagram_that_comes_twice_at_once_counts_once() {
    at_every_position(|sent| vec![arrival(DELAY, sent), arrival(DELAY, sent)], same);
}

#[test]
fn every_copy_that_comes_much_later_changes_nothing() {
    at_every_position(|sent| vec![arrival(DELAY, sent), arrival(2 * SECOND, sent)], same);
    at_every_position(|sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)], same);
}

#[test]
fn every_datagram_that_is_overtaken_by_its_repetition_counts_once() {
    at_every_position(|sent| vec![arrival(3 * SECOND / 4, sent)], same);
    at_every_position(|sent| vec![arrival(3 * SECOND, sent)], same);
}
