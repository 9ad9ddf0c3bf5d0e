//! Post-quantum pre-shared keys (RFC 8784).

use ike::event::{Event, How, RekeyWhat, Role};
use ike::fault::{Failure, Refusal};
use ike::wire::{Message, NotifyType};
use sim::{Pair, Scene};

use crate::certificates::certified;
use crate::reconfigure::reconfigure;
use crate::rekey::{BOTH, check, rekey, told};

/// What one side has of the PPK "one".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Has {
    /// No PPK at all.
    Nothing,
    /// Another PPK; a client uses none.
    Another,
    /// It, and may do without.
    Optional,
    /// It, and insists.
    Required,
    /// Another, and insists on one that it has.
    AnotherRequired,
}

fn equip(profile: &mut sim::Profile, has: Has, is_client: bool) {
    const ONE: (&str, &str) = ("one", "0123456789abcdef0123456789abcdef");
    const ANOTHER: (&str, &str) = ("another", "fedcba9876543210fedcba9876543210");
    profile.ppks = match has {
        Has::Nothing => Vec::new(),
        Has::Another | Has::AnotherRequired => vec![ANOTHER],
        Has::Optional | Has::Required => vec![ANOTHER, ONE],
    };
    profile.ppk_required = matches!(has, Has::Required | Has::AnotherRequired);
    profile.ppk_id = Some("one").filter(|_| is_client && profile.ppks.contains(&ONE));
}

/// A client and a gateway that have these.
fn with(client: Has, gateway: Has) -> impl Fn(&mut Scene) {
    move |scene| {
        equip(&mut scene.client, client, true);
        equip(&mut scene.gateway, gateway, false);
    }
}

/// Both have the PPK and may do without.
pub(crate) fn optional(scene: &mut Scene) {
    with(Has::Optional, Has::Optional)(scene);
}

/// How a set-up ends: in use or not, or why it fails on both sides.
fn end(client: Has, gateway: Has) -> Result<(), (Failure, Option<Failure>)> {
    let mut pair = Pair::with(with(client, gateway));
    match pair.up() {
        Ok(()) => {
            pair.assert_joined();
            let is_used =
                [client, gateway].iter().all(|it| [Has::Optional, Has::Required].contains(it));
            let expected = is_used.then(|| "one".to_owned());
            assert_eq!(in_use(&pair), [expected.clone(), expected]);
            Ok(())
        }
        Err(Refusal::Failed(ours)) => {
            let theirs = pair.gateway_events().find_map(|event| match event {
                Event::Failed { role: Role::Responder, why, .. } => Some(why.clone()),
                _ => None,
            });
            pair.world.run_for(std::time::Duration::from_secs(120));
            pair.assert_apart();
            pair.assert_empty();
            Err((ours, theirs))
        }
        Err(other) => panic!("{other}"),
    }
}

/// RFC 8784 section 3, table 1, and what an initiator has to check.
#[test]
fn a_ppk_is_used_where_both_have_it_and_missed_where_it_must_be() {
    let refused = Err((Failure::RefusedByPeer, Some(Failure::NoPpk)));
    for gateway in [Has::Nothing, Has::Another, Has::Optional] {
        assert_eq!(end(Has::Nothing, gateway), Ok(()));
    }
    for gateway in [Has::Required, Has::AnotherRequired] {
        assert_eq!(end(Has::Nothing, gateway), refused, "{gateway:?}");
    }
    for gateway in [Has::Nothing, Has::Another, Has::Optional, Has::Required] {
        assert_eq!(end(Has::Optional, gateway), Ok(()), "{gateway:?}");
    }
    assert_eq!(end(Has::Optional, Has::AnotherRequired), refused);
    for gateway in [Has::Optional, Has::Required] {
        assert_eq!(end(Has::Required, gateway), Ok(()), "{gateway:?}");
    }
    assert_eq!(end(Has::Required, Has::Nothing), Err((Failure::NoPpk, None)));
    for gateway in [Has::Another, Has::AnotherRequired] {
        assert_eq!(end(Has::Required, gateway), refused, "{gateway:?}");
    }
}

/// Clients of one gateway by two connections, each with a PPK of its own.
#[test]
fn of_several_connections_that_one_is_meant_whose_ppk_is_named() {
    const KEYS: [(&str, &str); 2] = [
        ("one", "0123456789abcdef0123456789abcdef"),
        ("another", "fedcba9876543210fedcba9876543210"),
    ];
    for (key, name) in KEYS.into_iter().zip(["clients", "others"]) {
        let mut pair = Pair::with(|scene| {
            (scene.client.ppks, scene.client.ppk_id) = (vec![key], Some(key.0));
            scene.gateway.ppks = vec![KEYS[0]];
            scene.gateway.ppk_required = true;
            let second =
                sim::Profile { name: "others", ppks: vec![KEYS[1]], ..scene.gateway.clone() };
            scene.gateway.more = vec![second];
        });
        pair.up().unwrap();
        pair.assert_joined();
        let [served] = &pair.served()[..] else { panic!("one SA") };
        assert_eq!(&*served.name, name);
    }
    // Who has none, or a third, is let in by whichever does not insist.
    for (required, name) in [([false, true], "clients"), ([true, false], "others")] {
        let mut pair = Pair::with(|scene| {
            let third = ("third", "00000000000000000000000000000000");
            (scene.client.ppks, scene.client.ppk_id) = (vec![third], Some("third"));
            scene.gateway.ppks = vec![KEYS[0]];
            let second =
                sim::Profile { name: "others", ppks: vec![KEYS[1]], ..scene.gateway.clone() };
            scene.gateway.more = vec![sim::Profile { ppk_required: required[1], ..second }];
            scene.gateway.ppk_required = required[0];
        });
        pair.up().unwrap();
        assert_eq!(&*pair.served()[0].name, name);
    }
}

/// A PPK that both sides know by its name is used, also where they could do
/// without: another key under the same name does not go unnoticed.
#[test]
fn two_keys_of_one_name_do_not_fit() {
    for required in [true, false] {
        let mut pair = Pair::with(|scene| {
            optional(scene);
            scene.client.ppks = vec![("one", "not the key that the gateway has")];
            scene.client.ppk_required = required;
        });
        assert_eq!(pair.up(), Err(Refusal::Failed(Failure::RefusedByPeer)));
        let theirs = pair.gateway_events().find_map(|event| match event {
            Event::Failed { why, .. } => Some(why.clone()),
            _ => None,
        });
        assert_eq!(theirs, Some(Failure::PeerNotAuthentic));
    }
}

fn says_so(pair: &Pair, datagram: usize) -> bool {
    let message = pair.world.trace[datagram].datagram.ike().unwrap().clone();
    Message::parse(&message).unwrap().payloads.notify(NotifyType::USE_PPK).is_some()
}

#[test]
fn each_side_says_that_it_uses_ppks_if_it_has_some() {
    for (client, gateway, said) in [
        (Has::Nothing, Has::Optional, [false, false]),
        (Has::Another, Has::Optional, [false, false]),
        (Has::Optional, Has::Nothing, [true, false]),
        (Has::Optional, Has::Another, [true, true]),
        (Has::Required, Has::Required, [true, true]),
    ] {
        let mut pair = Pair::with(with(client, gateway));
        assert_eq!(pair.up(), Ok(()));
        assert_eq!([says_so(&pair, 0), says_so(&pair, 1)], said, "{client:?} {gateway:?}");
    }
}

/// With a cookie, with ML-KEM before it, with certificates.
#[test]
fn a_ppk_goes_with_all_else_that_a_set_up_may_have() {
    for gateway in [Has::Required, Has::Another] {
        let client = if gateway == Has::Another { Has::Optional } else { Has::Required };
        let mut pair = Pair::with(|scene| {
            with(client, gateway)(scene);
            scene.gateway.limits.cookie_threshold = 0;
            for profile in [&mut scene.client, &mut scene.gateway] {
                profile.ike = vec!["aes256gcm16-prfsha384-x25519-ke1_mlkem768"];
            }
        });
        assert_eq!(pair.up(), Ok(()));
        pair.assert_joined();

        let mut pair = Pair::with(|scene| {
            certified(scene);
            with(client, gateway)(scene);
        });
        assert_eq!(pair.up(), Ok(()));
        pair.assert_joined();
    }
}

/// What comes after the set-up rests on SK_d, into which the PPK is mixed once
/// (RFC 8784 section 3).
#[test]
fn rekeys_and_a_resumption_go_on_from_keys_with_a_ppk() {
    let mut pair = Pair::joined(with(Has::Required, Has::Required));
    assert_eq!(in_use(&pair), [Some("one".into()), Some("one".into())]);
    for what in BOTH {
        for id in [pair.client, pair.gateway] {
            rekey(&mut pair, id, what);
            pair.world.run_for(std::time::Duration::from_secs(1));
            assert!(pair.ping());
            assert_eq!(in_use(&pair), [Some("one".into()), Some("one".into())]);
        }
    }
    let client = pair.client;
    assert_eq!(told(&pair, client, RekeyWhat::IkeSa), 2);
    pair.forget_past();
    pair.suspend().unwrap();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert!(!says_so(&pair, 0) && !says_so(&pair, 1));
    assert_eq!(in_use(&pair), [Some("one".into()), Some("one".into())]);
    pair.forget_past();
    check(pair);
}

/// A ticket says what its keys rest on: one without a PPK is worth nothing where
/// one is required now.
#[test]
fn a_session_without_a_ppk_is_not_resumed_where_one_is_required_now() {
    let optional = |has| with(has, Has::Optional);
    for (had, is_resumed) in [(Has::Nothing, false), (Has::Optional, true)] {
        let mut pair = Pair::suspended(optional(had));
        equip(&mut pair.scene().gateway, Has::Required, false);
        pair.reconfigure_gateway();
        assert_eq!(pair.resume().is_ok(), is_resumed, "the gateway, {had:?}");
    }
    for (had, how) in [(Has::Nothing, How::Full), (Has::Optional, How::Resumed)] {
        let mut pair = Pair::suspended(optional(had));
        equip(&mut pair.scene().client, Has::Required, true);
        let (client, config) = (pair.client, pair.scene().client.config());
        let _ = reconfigure(&mut pair, client, config);
        pair.up().unwrap();
        pair.assert_up_by(how);
        assert_eq!(in_use(&pair), [Some("one".into()), Some("one".into())]);
    }
}

/// The PPK that the SA of each side rests on.
fn in_use(pair: &Pair) -> [Option<String>; 2] {
    let [served] = &pair.served()[..] else { panic!("one SA") };
    [&pair.status(), served].map(|it| it.sa.as_ref()?.ppk.as_deref().map(str::to_owned))
}
