//! Cases that have failed once, as they were shrunk.

use crate::case::{Act, Case, Making, Mild, Round, Side};
use crate::run::play;

const FAIR: Mild = Mild { seed: 0, losses: 0, duplication: 0, jitter: 0 };

const PLAIN: Making =
    Making { seed: 0, nat: false, on_traffic: false, kept: false, dynamic: false, reauth: None };

/// Its packets were held for ever, though nobody would bring it up.
#[test]
fn a_kept_connection_that_is_on_its_way_back_is_put_to_sleep() {
    let acts = vec![(Act::Down(Side::Gateway), 10), (Act::Suspend, 0)];
    let making = Making { seed: 542_731_435, kept: true, ..PLAIN };
    play(&Case { making, rounds: vec![Round::Hasty(FAIR, acts)] });
}

/// The address was still held under the name that the SA had before.
#[test]
fn a_session_sleeps_and_resumes_with_its_address_after_its_ike_sa_was_rekeyed() {
    for side in [Side::Client, Side::Gateway] {
        let acts = vec![Act::Up, Act::RekeyIke(side), Act::Suspend, Act::Up];
        let making = Making { dynamic: true, ..PLAIN };
        play(&Case { making, rounds: vec![Round::Orderly(FAIR, acts)] });
    }
}

/// A packet that had waited between two attempts began the next one.
#[test]
fn what_is_put_to_sleep_between_two_attempts_stays_asleep() {
    let before = vec![(Act::Suspend, 0), (Act::Up, 0)];
    let acts = vec![Act::Kill(Side::Gateway), Act::Packet(Side::Client), Act::Suspend];
    let making = Making { seed: 778_516_631_923, nat: true, on_traffic: true, kept: true, ..PLAIN };
    let rounds = vec![Round::Hasty(FAIR, before), Round::Orderly(FAIR, acts)];
    play(&Case { making, rounds });

    let before = vec![Act::Restart(Side::Client), Act::Kill(Side::Gateway), Act::Up];
    let acts = vec![Act::Packet(Side::Client), Act::Up, Act::Suspend];
    let making = Making { seed: 312_577_412_560, on_traffic: true, kept: true, ..PLAIN };
    let rounds = vec![Round::Orderly(FAIR, before), Round::Orderly(FAIR, acts)];
    play(&Case { making, rounds });
}

/// The client asked by an SA that was not there yet for the gateway that was
/// making it, and was shown the token of SAs that are lost.
#[test]
fn an_sa_that_is_being_made_by_a_rekey_is_not_taken_for_a_lost_one() {
    let weather = Mild { seed: 11_231_612_214_367_258_891, losses: 1, duplication: 0, jitter: 1 };
    let before = Round::Orderly(FAIR, vec![Act::Up]);
    let rekey = Round::Orderly(weather, vec![Act::RekeyIke(Side::Gateway)]);
    play(&Case { making: PLAIN, rounds: vec![before, rekey] });
}

/// The reference was wrong: the client had proved again who it is while somebody
/// looked whether packets flow, and had another ticket.
#[test]
fn a_proof_that_nobody_has_waited_for_brings_a_ticket_as_well() {
    let making = Making { seed: 335_871_525_860, reauth: Some(18), ..PLAIN };
    let rounds = [vec![Act::Up, Act::VoidTickets], vec![Act::Suspend, Act::Up]];
    play(&Case { making, rounds: rounds.map(|acts| Round::Orderly(FAIR, acts)).into() });
}

/// It had lost the SA that was coming as well; the client asked for that one in
/// vain, and had forgotten its session.
#[test]
fn a_gateway_that_restarts_while_the_client_proves_who_it_is_gets_it_back() {
    let making = Making { seed: 292_421_710_203, reauth: Some(36), ..PLAIN };
    let mild = Mild { seed: 10_177_812_575_060_100_079, losses: 2, duplication: 32, jitter: 219 };
    let acts = vec![Act::RekeyIke(Side::Client), Act::Restart(Side::Gateway)];
    let rounds = vec![Round::Orderly(FAIR, vec![Act::Up]), Round::Orderly(mild, acts)];
    play(&Case { making, rounds });
}
