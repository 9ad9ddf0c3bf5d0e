//! What a resumption saves where peers have certificates. Alone in its process,
//! whose operations are counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use pki::Revocation;
use sim::Pair;
use sim::certificates::{Authority, Certified, YEAR};

/// How many there are in a full exchange, and in a resumption; whether the
/// gateway has a revocation list, which names somebody else.
fn operations(gateway_has_list: bool) -> (u64, u64) {
    let mut authority = Authority::new(7);
    let [client, gateway, other] = ["client.example", "gateway.example", "other.example"]
        .map(|name| authority.issue(name, (YEAR, YEAR)));
    let [here, mut there] = [(); 2].map(|()| authority.trust(Revocation::Relaxed));
    if gateway_has_list {
        there.add_crl(authority.revoke(&[other.leaf().unwrap()]));
    }
    let mut pair = Pair::with(|scene| {
        scene.client.certified = Some(Certified::both(client, here));
        scene.gateway.certified = Some(Certified::both(gateway, there));
    });
    pair.public_key_operations()
}

#[test]
fn a_full_exchange_costs_ten_public_key_operations_and_a_resumption_none() {
    // On each side a key pair, an agreement and a signature; the peer's
    // certificate and its signature are verified.
    assert_eq!(operations(false), (10, 0));
    // And the signature of the list; a resumption only looks into it.
    assert_eq!(operations(true), (11, 0));
}
