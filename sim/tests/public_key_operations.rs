//! What a resumption saves. Alone in its process, whose operations are counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use sim::{Pair, Scene};

#[test]
fn a_full_exchange_costs_four_public_key_operations_and_a_resumption_none() {
    let mut pair = Pair::new(Scene::default());
    // A key pair and an agreement on each side.
    assert_eq!(pair.public_key_operations(), (4, 0));
}
