//! Which of several connections a client comes through: by addresses, by
//! identities, and by what its proof convinces.

use std::net::IpAddr;

use ike::event::{Event, Role};
use ike::fault::{Failure, Refusal};
use ike::pool::AddressRange;
use pki::{Revocation, Trust};
use sim::certificates::{Authority, Certified, YEAR};
use sim::pair::CLIENT;
use sim::{Pair, Profile, Scene};

use crate::certificates;

/// A connection of the gateway.
fn connection(name: &'static str, change: impl FnOnce(&mut Profile)) -> Profile {
    let mut profile = Profile { name, ..Profile::gateway() };
    change(&mut profile);
    profile
}

/// The gateway has these connections, in this order.
fn serve(scene: &mut Scene, connections: impl IntoIterator<Item = Profile>) {
    let mut all = connections.into_iter();
    scene.gateway = all.next().unwrap();
    scene.gateway.more = all.collect();
}

/// A connection whose peers need a certificate that one of these authorities has issued.
fn certified(name: &'static str, own: &mut Authority, by: &[&Authority]) -> Profile {
    let credential = own.issue("gateway.example", (YEAR, YEAR));
    let mut trust = Trust::new(Revocation::Relaxed);
    by.iter().for_each(|authority| authority.vouch(&mut trust));
    connection(name, |profile| profile.certified = Some(Certified::both(credential, trust)))
}

/// A client with a certificate of `own` that believes the gateway's `other`.
fn client_of(own: &mut Authority, other: &Authority) -> Certified {
    Certified::both(own.issue("client.example", (YEAR, YEAR)), other.trust(Revocation::Relaxed))
}

/// The connection through which the gateway has let the client in.
fn through(pair: &Pair) -> String {
    let served = pair.served();
    assert_eq!(served.len(), 1);
    served[0].name.to_string()
}

/// Why the gateway does not let the client in.
fn refused(mut pair: Pair) -> Failure {
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::RefusedByPeer)));
    let mut failures = pair.gateway_events().filter_map(|event| match event {
        Event::Failed { role: Role::Responder, why, .. } => Some(why.clone()),
        _ => None,
    });
    let why = failures.next().expect("the gateway has told why");
    assert_eq!(failures.next(), None);
    drop(failures);
    pair.assert_apart();
    why
}

#[test]
fn the_authority_that_vouches_for_a_client_decides() {
    let [mut own, mut first, mut second] = [(1, "CN=Own"), (2, "CN=First"), (3, "CN=Second")]
        .map(|(seed, name)| Authority::named(seed, name));
    for (client, expected) in [(&mut first, "first"), (&mut second, "second")] {
        let client = client_of(client, &own);
        let mut pair = Pair::joined(|scene| {
            let [one, two] = [(2, "CN=First"), (3, "CN=Second")]
                .map(|(seed, name)| Authority::named(seed, name));
            let first = certified("first", &mut own, &[&one]);
            serve(scene, [first, certified("second", &mut own, &[&two])]);
            scene.client.certified = Some(client);
        });
        pair.assert_joined();
        assert_eq!(through(&pair), expected);
    }
}

/// Names do not tell two authorities apart, signatures do.
#[test]
fn two_authorities_of_one_name_are_told_apart() {
    let [mut own, mut first, mut second] = [1, 2, 3].map(Authority::new);
    for (client, expected) in [(&mut first, "first"), (&mut second, "second")] {
        let client = client_of(client, &own);
        let pair = Pair::joined(|scene| {
            let first = certified("first", &mut own, &[&Authority::new(2)]);
            serve(scene, [first, certified("second", &mut own, &[&Authority::new(3)])]);
            scene.client.certified = Some(client);
        });
        assert_eq!(through(&pair), expected);
    }
}

#[test]
fn a_client_that_no_authority_vouches_for_is_told_why_by_the_one_that_knows_it() {
    let mut own = Authority::named(1, "CN=Own");
    let mut client = Authority::named(3, "CN=Second");
    let mut pair = Pair::with(|scene| {
        let expired = (YEAR, std::time::Duration::from_secs(1));
        let expired = client.issue("client.example", expired);
        let first = certified("first", &mut own, &[&Authority::named(2, "CN=First")]);
        serve(scene, [first, certified("second", &mut own, &[&client])]);
        scene.client.certified = Some(Certified::both(expired, own.trust(Revocation::Relaxed)));
    });
    pair.world.run_for(std::time::Duration::from_secs(2));
    assert_eq!(refused(pair), certificates::refused(pki::Refusal::Expired, "client.example"));
    let pair = Pair::with(|scene| {
        let first = certified("first", &mut own, &[&Authority::named(2, "CN=First")]);
        serve(scene, [first]);
        scene.client.certified = Some(client_of(&mut client, &own));
    });
    assert_eq!(refused(pair), certificates::refused(pki::Refusal::UnknownIssuer, "client.example"));
}

#[test]
fn the_secret_that_a_client_knows_decides() {
    for (secret, expected) in [("one", "first"), ("two", "second")] {
        let pair = Pair::joined(|scene| {
            let with = |name, secret| connection(name, |it| it.secrets = vec![("", secret)]);
            serve(scene, [with("first", "one"), with("second", "two")]);
            scene.client.secrets = vec![("", secret)];
        });
        assert_eq!(through(&pair), expected);
    }
    let pair = Pair::with(|scene| {
        let with = |name, secret| connection(name, |it| it.secrets = vec![("", secret)]);
        serve(scene, [with("first", "one"), with("second", "two")]);
        scene.client.secrets = vec![("", "three")];
    });
    assert_eq!(refused(pair), Failure::PeerNotAuthentic);
}

#[test]
fn the_kind_of_proof_decides() {
    let [mut own, mut clients] = [1, 2].map(Authority::new);
    let credential = client_of(&mut clients, &own);
    for (client, expected) in [(None, "secrets"), (Some(credential), "certificates")] {
        let pair = Pair::joined(|scene| {
            let certificates = certified("certificates", &mut own, &[&clients]);
            // The gateway proves itself by a secret in the one, by a certificate in the other.
            serve(scene, [connection("secrets", |_| {}), certificates]);
            scene.client.certified = client;
        });
        assert_eq!(through(&pair), expected);
    }
}

#[test]
fn whom_a_client_asks_for_decides() {
    for wanted in ["one.example", "two.example"] {
        let pair = Pair::joined(|scene| {
            let who = |id: &'static str| connection(id, |it| it.local_id = id.into());
            serve(scene, [who("one.example"), who("two.example")]);
            scene.client.remote_id = wanted;
        });
        assert_eq!(through(&pair), wanted);
    }
    let pair = Pair::with(|scene| {
        serve(scene, [connection("one", |it| it.local_id = "one.example".into())]);
        scene.client.remote_id = "two.example";
    });
    assert_eq!(refused(pair), Failure::WrongIdentity);
}

#[test]
fn where_a_client_comes_from_decides() {
    let range = |first: &str, last: &str| {
        let [first, last] = [first, last].map(|text| text.parse::<IpAddr>().unwrap());
        AddressRange::new(first, last).unwrap()
    };
    let elsewhere = connection("elsewhere", |it| {
        it.remote_ranges = vec![range("10.0.0.0", "10.255.255.255"), range("::", "ffff::")];
    });
    let near = connection("near", |it| it.remote_ranges = vec![range("192.0.2.0", "192.0.2.255")]);
    let here = connection("here", |it| it.remote = Some(CLIENT));
    let anywhere = connection("anywhere", |_| {});
    for (connections, expected) in [
        (vec![elsewhere.clone(), near.clone(), anywhere.clone()], "near"),
        // The order of the configuration decides, not how narrow a range is.
        (vec![anywhere.clone(), near.clone()], "anywhere"),
        (vec![elsewhere.clone(), here, near], "here"),
        (vec![elsewhere, anywhere], "anywhere"),
    ] {
        let pair = Pair::joined(|scene| serve(scene, connections));
        assert_eq!(through(&pair), expected);
    }
}

/// What a stranger may cost is bounded: so is what a configuration may hope for.
#[test]
fn no_more_than_sixteen_secrets_are_tried() {
    const SECRETS: [&str; 17] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
    let among = |secret| {
        Pair::with(|scene| {
            let each = |secret| connection(secret, |it| it.secrets = vec![("", secret)]);
            serve(scene, SECRETS.map(each));
            scene.client.secrets = vec![("", secret)];
        })
    };
    let mut sixteenth = among("p");
    sixteenth.up().unwrap();
    assert_eq!(through(&sixteenth), "p");
    assert_eq!(refused(among("q")), Failure::PeerNotAuthentic);
}

/// Another connection that fits the same identity may give other rights.
#[test]
fn a_session_comes_back_through_the_connection_that_it_began_with() {
    let with = |name, secret| connection(name, |it| it.secrets = vec![("", secret)]);
    let mut pair = Pair::suspended(|scene| {
        serve(scene, [with("first", "one"), with("second", "two")]);
        scene.client.secrets = vec![("", "two")];
    });
    pair.resume().unwrap();
    assert_eq!(through(&pair), "second");
    pair.assert_up_by(ike::event::How::Resumed);
    pair.suspend().unwrap();
    serve(pair.scene(), [with("first", "one"), with("third", "two")]);
    pair.reconfigure_gateway();
    pair.resume().unwrap();
    assert_eq!(through(&pair), "third");
    pair.assert_up_by(ike::event::How::Full);
}
