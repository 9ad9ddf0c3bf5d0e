//! What a resumption saves where peers have certificates. Alone in its process,
//! whose operations are counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use pki::Revocation;
use sim::Pair;
use sim::certificates::{Authority, Certified, YEAR};

#[test]
fn a_full_exchange_costs_ten_public_key_operations_and_a_resumption_none() {
    let mut authority = Authority::new(7);
    let [client, gateway] =
        ["client.example", "gateway.example"].map(|name| authority.issue(name, (YEAR, YEAR)));
    let [here, there] = [(); 2].map(|()| authority.trust(Revocation::Relaxed));
    let mut pair = Pair::with(|scene| {
        scene.client.certified = Some(Certified::both(client, here));
        scene.gateway.certified = Some(Certified::both(gateway, there));
    });
    // On each side a key pair, an agreement and a signature; the peer's
    // certificate and its signature are verified.
    assert_eq!(pair.public_key_operations(), (10, 0));
}
