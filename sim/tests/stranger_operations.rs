//! What a stranger with certificates may cost a gateway with many connections.
//! Alone in its process, whose operations are counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use crypto::{CryptoError, PublicKey, Scheme, Signer};
use pki::{Credential, LocalKey, Revocation};
use sim::certificates::{Authority, Certified, YEAR};
use sim::{Pair, Profile};

/// Twenty connections for anybody, each with another authority of one name.
fn besieged(client: Credential) -> Pair {
    Pair::with(|scene| {
        let mut own = Authority::named(1, "CN=Own");
        let here = own.trust(Revocation::Relaxed);
        let mut connections = (0..20).map(|number| {
            let credential = own.issue("gateway.example", (YEAR, YEAR));
            let trust = Authority::new(100 + number).trust(Revocation::Relaxed);
            Profile { certified: Some(Certified::both(credential, trust)), ..Profile::gateway() }
        });
        scene.gateway = connections.next().unwrap();
        scene.gateway.more = connections.collect();
        scene.client.certified = Some(Certified::both(client, here));
    })
}

/// Who shows a key that it has not.
struct Thief {
    shown: PublicKey,
    key: LocalKey,
}

impl Signer for Thief {
    fn public_key(&self) -> &PublicKey {
        &self.shown
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.key.sign(scheme, message)
    }
}

fn cost(mut pair: Pair) -> u64 {
    let before = crypto::public_key_operations();
    assert!(pair.up().is_err());
    crypto::public_key_operations() - before
}

#[test]
fn a_signature_is_checked_once_and_four_chains_at_most() {
    // Of the right name, but of none of them.
    let mut stranger = Authority::new(2);
    let client = stranger.issue("client.example", (YEAR, YEAR));
    let other = stranger.issue("client.example", (YEAR, YEAR));
    // Key pairs and agreements of both, the signature and its check, four chains.
    assert_eq!(cost(besieged(client.clone())), 4 + 2 + 4);
    // Somebody else's certificate: its own signature is all that is looked at.
    let leaf = client.leaf().unwrap().clone();
    let thief = Thief { shown: leaf.key().clone(), key: Arc::clone(other.key()) };
    let stolen = Credential::new(Arc::new(thief), vec![leaf]).unwrap();
    assert_eq!(cost(besieged(stolen)), 4 + 2);
}
