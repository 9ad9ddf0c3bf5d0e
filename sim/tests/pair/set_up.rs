//! A full exchange, and the ways in which it is refused.

use std::time::Duration;

use ike::event::{Command, Event, Gone, How, Role};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use ike::wire::{ExchangeType, KeMethod, Message, NotifyType, TransformType};
use sim::profile::subnet;
use sim::{Pair, Scene};

const SECOND: Duration = Duration::from_secs(1);

fn with_suite(ike: &'static str, esp: &'static str) -> Pair {
    Pair::with(|scene| {
        for profile in [&mut scene.client, &mut scene.gateway] {
            profile.ike = vec![ike];
            profile.esp = vec![esp];
        }
    })
}

/// Why the client's command failed, and the gateway's event of it.
pub(crate) fn failure(pair: &mut Pair) -> (Failure, Option<Failure>) {
    let Err(Refusal::Failed(ours)) = pair.up() else { panic!("it came up") };
    let theirs = pair.gateway_events().find_map(|event| match event {
        Event::Failed { role: Role::Responder, why, .. } => Some(why.clone()),
        _ => None,
    });
    pair.assert_apart();
    assert_eq!(pair.status().stage, Stage::Down);
    (ours, theirs)
}

#[test]
fn every_suite_sets_up_a_tunnel_that_carries_packets() {
    let suites = [
        ("aes256gcm16-prfsha384-x25519", "aes256gcm16"),
        ("aes192gcm16-prfsha512-x25519", "aes192gcm16"),
        ("aes128gcm16-prfsha256-ecp256", "aes128gcm16"),
        ("aes256gcm16-prfsha384-ecp384", "chacha20poly1305"),
        ("aes256-sha256-modp2048", "aes256gcm16"),
        ("aes192-sha384-x25519", "aes256gcm16"),
        ("aes128-sha512-ecp256", "aes256gcm16"),
        ("aes256-sha512-prfsha256-ecp384", "aes256gcm16"),
        ("chacha20poly1305-prfsha256-ecp521", "aes256gcm16"),
        ("aes256gcm16-prfsha384-modp3072", "aes256gcm16"),
        ("aes256gcm16-prfsha384-modp4096", "aes256gcm16"),
        ("aes256gcm16-prfsha384-mlkem768", "aes256gcm16"),
        ("aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16"),
        ("aes256-sha256-prfsha512-ecp384-ke1_mlkem1024", "aes256gcm16"),
        ("aes256gcm16-prfsha384-x25519-ke2_mlkem512-ke4_ecp256-ke7_modp2048", "aes256gcm16"),
    ];
    for (ike, esp) in suites {
        let mut pair = with_suite(ike, esp);
        assert_eq!(pair.up(), Ok(()), "{ike}");
        pair.assert_up_by(How::Full);
        let sa = pair.status().sa.unwrap();
        assert_eq!(sa.suite, pair.served()[0].sa.as_ref().unwrap().suite);
        assert_eq!(sa.children[0].suite, esp);
        pair.suspend().unwrap();
        pair.resume().unwrap();
        pair.assert_up_by(How::Resumed);
        pair.down().unwrap();
        pair.assert_apart();
    }
}

#[test]
fn a_full_exchange_takes_two_round_trips_and_is_told_on_both_sides() {
    let mut pair = Pair::new(Scene::default());
    pair.up().unwrap();
    let (init, auth) = (ExchangeType::SA_INIT, ExchangeType::AUTH);
    assert_eq!(pair.exchanges(), [(init, false), (init, true), (auth, false), (auth, true)]);
    assert_eq!(pair.set_up().round_trips, 2);
    assert_eq!(pair.set_up().took, Duration::from_millis(40));
    let up = |event: &Event| match event {
        Event::Up { peer, role, set_up, .. } => Some((peer.to_string(), *role, set_up.how)),
        _ => None,
    };
    let client: Vec<_> = pair.client_events().filter_map(up).collect();
    let gateway: Vec<_> = pair.gateway_events().filter_map(up).collect();
    assert_eq!(client, [("@gateway.example".to_owned(), Role::Initiator, How::Full)]);
    assert_eq!(gateway, [("@client.example".to_owned(), Role::Responder, How::Full)]);
    assert_eq!(pair.client_counters().full, 1);
    assert_eq!(pair.gateway_counters().full, 1);
}

#[test]
fn the_responder_names_the_group_it_wants_and_gets_it() {
    let mut pair = Pair::with(|scene| {
        scene.client.ike = vec!["aes256gcm16-prfsha384-x25519-ecp256"];
        scene.gateway.ike = vec!["aes256gcm16-prfsha384-ecp256"];
    });
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(pair.set_up().round_trips, 3);
    assert!(pair.status().sa.unwrap().suite.unwrap().ends_with("ecp256"));
}

#[test]
fn a_group_whose_value_was_sent_is_preferred_to_a_better_one() {
    let mut pair = Pair::with(|scene| {
        scene.client.ike = vec!["aes256gcm16-prfsha384-ecp256-x25519"];
        scene.gateway.ike = vec!["aes256gcm16-prfsha384-x25519-ecp256"];
    });
    pair.up().unwrap();
    assert_eq!(pair.set_up().round_trips, 2);
}

#[test]
fn a_second_proposal_is_chosen_by_its_number() {
    let mut pair = Pair::with(|scene| {
        scene.client.ike = vec!["aes256-sha256-ecp256", "aes256gcm16-prfsha384-ecp256"];
        scene.client.esp = vec!["chacha20poly1305", "aes256gcm16"];
        scene.gateway.ike = vec!["aes256gcm16-prfsha384-ecp256"];
    });
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert!(pair.status().sa.unwrap().suite.unwrap().starts_with("aes256gcm16"));
}

#[test]
fn without_a_common_ike_proposal_there_is_nothing() {
    let mut pair = Pair::with(|scene| scene.gateway.ike = vec!["aes256-sha256-ecp256"]);
    assert_eq!(failure(&mut pair), (Failure::NoIkeProposal, None));
    // An unauthenticated no is doubted for a second.
    assert!(pair.world.now() >= SECOND && pair.world.now() < 2 * SECOND);
    pair.assert_empty();
}

#[test]
fn without_a_common_esp_proposal_the_sa_is_ended_again() {
    let mut pair = Pair::with(|scene| scene.gateway.esp = vec!["chacha20poly1305"]);
    assert_eq!(failure(&mut pair).0, Failure::NoEspProposal);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn without_common_traffic_selectors_the_sa_is_ended_again() {
    let mut pair = Pair::with(|scene| scene.gateway.remote_ts = vec!["10.9.0.0/16"]);
    assert_eq!(failure(&mut pair).0, Failure::NoTrafficSelectors);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn the_responder_narrows_what_the_initiator_asks_for() {
    let mut pair = Pair::with(|scene| {
        scene.client.remote_ts = vec!["10.2.0.0/15", "172.16.0.0/12"];
        scene.gateway.local_ts = vec!["10.2.0.0/16".into(), "172.16.5.0/24".into()];
    });
    pair.up().unwrap();
    pair.assert_joined();
    let child = pair.status().sa.unwrap().children.remove(0);
    assert_eq!(child.remote_ts, [subnet("10.2.0.0/16"), subnet("172.16.5.0/24")]);
    assert_eq!(child.local_ts, [subnet("10.1.0.2/32")]);
}

#[test]
fn selectors_occur_once_and_are_not_too_many() {
    let many: Vec<&'static str> = vec!["10.2.0.0/24"; 60];
    let mut pair = Pair::with(|scene| scene.client.remote_ts = many);
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(pair.status().sa.unwrap().children[0].remote_ts, [subnet("10.2.0.0/24")]);
    let mut pair = Pair::with(|scene| {
        scene.client.remote_ts = vec!["10.2.0.0/16"];
        scene.gateway.local_ts =
            (0..300).map(|n| format!("10.2.{}.{}/25", n / 2, n % 2 * 128)).collect();
    });
    pair.up().unwrap();
    pair.assert_joined();
    assert_eq!(pair.status().sa.unwrap().children[0].remote_ts.len(), 255);
}

#[test]
fn a_set_up_that_is_ended_and_refused_needs_no_delete() {
    let mut pair = Pair::with(|scene| scene.client.secrets = vec![("", "wrong")]);
    pair.begin(Command::Up(pair.name()));
    pair.world.run_for(Duration::from_millis(25));
    assert_eq!(pair.exchanges().len(), 3);
    pair.down().unwrap();
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.exchanges().len(), 4);
    pair.assert_empty();
}

#[test]
fn a_wrong_secret_is_refused_by_the_gateway_and_nobody_tries_again() {
    let mut pair = Pair::with(|scene| scene.client.secrets = vec![("", "wrong")]);
    let (ours, theirs) = failure(&mut pair);
    assert_eq!((ours, theirs), (Failure::RefusedByPeer, Some(Failure::PeerNotAuthentic)));
    assert_eq!(pair.exchanges().len(), 4);
    pair.world.run_for(120 * SECOND);
    assert_eq!(pair.exchanges().len(), 4);
    pair.assert_empty();
}

#[test]
fn a_gateway_whose_proof_is_wrong_is_told_so() {
    // The client proves itself with the secret of everybody, since it does not
    // know whom it will meet; of this gateway it expects another one.
    let mut pair = Pair::with(|scene| {
        scene.client.remote_id = "";
        scene.client.secrets = vec![("", "secret"), ("gateway.example", "another")];
    });
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::PeerNotAuthentic)));
    pair.assert_apart();
    let ended = |event: &Event| matches!(event, Event::Down { why: Gone::PeerDeleted, .. });
    assert!(pair.gateway_events().any(ended));
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn a_gateway_that_is_somebody_else_is_not_asked_further() {
    let mut pair = Pair::with(|scene| scene.gateway.local_id = "another.example".into());
    let (ours, theirs) = failure(&mut pair);
    assert_eq!((ours, theirs), (Failure::RefusedByPeer, Some(Failure::WrongIdentity)));
}

#[test]
fn a_client_that_nobody_expects_is_refused() {
    let mut pair = Pair::with(|scene| scene.gateway.remote_id = "another.example");
    let (ours, theirs) = failure(&mut pair);
    assert_eq!((ours, theirs), (Failure::RefusedByPeer, Some(Failure::WrongIdentity)));
}

#[test]
fn a_client_without_a_secret_for_the_gateway_asks_for_nothing_more() {
    let mut pair = Pair::with(|scene| scene.client.secrets = vec![("other.example", "secret")]);
    assert_eq!(failure(&mut pair).0, Failure::NoSecret);
    assert_eq!(pair.exchanges().len(), 2);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn a_gateway_without_a_secret_for_the_client_refuses_it() {
    let mut pair = Pair::with(|scene| scene.gateway.secrets = vec![("other.example", "secret")]);
    let (ours, theirs) = failure(&mut pair);
    assert_eq!((ours, theirs), (Failure::RefusedByPeer, Some(Failure::NoSecret)));
}

#[test]
fn a_secret_that_names_the_peer_goes_before_one_for_everybody() {
    let mut pair = Pair::with(|scene| {
        scene.gateway.secrets = vec![("", "of everybody"), ("client.example", "secret")];
    });
    pair.up().unwrap();
    pair.assert_joined();
}

#[test]
fn a_gateway_that_is_not_there_is_given_up_after_seven_tries() {
    let mut pair = Pair::new(Scene::default());
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    assert_eq!(failure(&mut pair).0, Failure::Unanswered);
    assert_eq!(pair.exchanges().len(), 7);
    pair.assert_empty();
}

#[test]
fn a_gateway_that_serves_other_addresses_stays_silent() {
    let mut pair = Pair::with(|scene| {
        scene.gateway.local_addrs = vec!["198.51.100.9".parse().unwrap()];
    });
    assert_eq!(failure(&mut pair).0, Failure::Unanswered);
    assert!(pair.gateway_counters().discarded(ike::fault::Discard::NoConnection) > 0);
    pair.assert_empty();
}

#[test]
fn initial_contact_ends_what_is_left_of_a_client_that_lost_its_state() {
    let mut pair = Pair::joined(|_| {});
    let old = pair.served()[0].sa.as_ref().unwrap().id;
    pair.restart_client();
    pair.up().unwrap();
    pair.assert_joined();
    let replaced = pair
        .gateway_events()
        .any(|event| matches!(event, Event::Down { sa, why: Gone::Replaced, .. } if *sa == old));
    assert!(replaced);
}

#[test]
fn a_command_given_again_joins_the_set_up_that_is_under_way() {
    let mut pair = Pair::new(Scene::default());
    let up = Command::Up(pair.name());
    let first = pair.begin(up.clone());
    pair.world.step();
    let second = pair.begin(up.clone());
    assert_eq!(pair.finish(first), Ok(()));
    assert_eq!(pair.finish(second), Ok(()));
    let third = pair.begin(up);
    assert_eq!(pair.finish(third), Ok(()));
    assert_eq!(pair.exchanges().len(), 4);
    pair.assert_joined();
}

#[test]
fn down_ends_a_set_up_at_every_stage_of_it() {
    for steps in 0..6 {
        let mut pair = Pair::new(Scene::default());
        let up = pair.begin(Command::Up(pair.name()));
        for _ in 0..steps {
            pair.world.step();
        }
        let ended = pair.world.node(pair.client).replies.contains_key(&up);
        assert_eq!(pair.down(), Ok(()), "after {steps} steps");
        if !ended {
            assert_eq!(pair.finish(up), Err(Refusal::Failed(Failure::Ended)));
        }
        pair.world.run_for(120 * SECOND);
        pair.assert_apart();
        pair.assert_empty();
    }
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let mut pair = Pair::new(Scene::default());
    assert_eq!(pair.down(), Err(Refusal::NotUp));
    assert_eq!(pair.suspend(), Err(Refusal::NotUp));
    assert_eq!(pair.resume(), Err(Refusal::NotSuspended));
    let nobody = Command::Up("nobody".into());
    assert_eq!(pair.command(nobody), Err(Refusal::UnknownConnection));
    let up = pair.begin(Command::Up(pair.name()));
    assert_eq!(pair.suspend(), Err(Refusal::Busy));
    pair.finish(up).unwrap();
    let gateway = pair.gateway;
    let request = pair.world.command(gateway, Command::Up("clients".into()));
    let reply = pair.world.node(gateway).replies[&request].clone();
    assert_eq!(reply, Err(Refusal::CannotInitiate));
}

#[test]
fn the_same_seed_gives_the_same_octets_and_another_seed_others() {
    let life = |seed| {
        let mut pair = Pair::joined(|scene| {
            scene.seed = seed;
            scene.link = sim::Link { loss: 100, jitter: SECOND, ..scene.link };
        });
        pair.suspend().unwrap();
        pair.resume().unwrap();
        pair.down().unwrap();
        let events: Vec<_> = pair.client_events().cloned().collect();
        (pair.world.trace, events)
    };
    assert!(life(5) == life(5));
    assert!(life(5) != life(6));
}

#[test]
fn a_version_from_the_future_is_answered_with_ours() {
    let mut pair = Pair::new(Scene::default());
    pair.begin(Command::Up(pair.name()));
    let mut request = pair.world.trace[0].datagram.clone();
    let mut octets = request.ike().unwrap().to_vec();
    octets[17] = 0x30;
    request = request.with_ike(&octets);
    let client = pair.client;
    pair.world.node_mut(client).offline = true;
    pair.forget_past();
    pair.world.inject(sim::Arrival { after: Duration::ZERO, datagram: request });
    pair.world.step();
    let answer = &pair.world.trace[0].datagram;
    let message = Message::parse(answer.ike().unwrap()).unwrap();
    let notify = message.payloads.notify(NotifyType::INVALID_MAJOR_VERSION).unwrap();
    assert_eq!(notify.data, [2]);
}

/// RFC 9370 section 2.2.1, RFC 9242 section 3.
#[test]
fn ml_kem_is_used_if_both_sides_have_it_and_missed_by_nobody_if_not() {
    let defaults: Vec<String> =
        ike::proposal::IkeProposal::defaults().iter().map(ToString::to_string).collect();
    let defaults: Vec<&'static str> =
        defaults.into_iter().map(|text| &*Box::leak(text.into_boxed_str())).collect();
    let plain = vec!["aes256gcm16-prfsha256-x25519"];
    for (client, gateway, exchanges) in
        [(&defaults, &defaults, 6), (&defaults, &plain, 4), (&plain, &defaults, 4)]
    {
        let mut pair = Pair::with(|scene| {
            scene.client.ike.clone_from(client);
            scene.gateway.ike.clone_from(gateway);
        });
        assert_eq!(pair.up(), Ok(()));
        assert_eq!(pair.set_up().round_trips, exchanges / 2);
        let more = pair.exchanges().contains(&(ExchangeType::INTERMEDIATE, false));
        assert_eq!(more, exchanges == 6);
        assert_eq!(
            pair.status().sa.unwrap().suite.unwrap().contains("ke1_mlkem768"),
            exchanges == 6
        );
        pair.suspend().unwrap();
        pair.forget_past();
        pair.resume().unwrap();
        assert!(!pair.exchanges().contains(&(ExchangeType::INTERMEDIATE, false)));
        pair.assert_up_by(How::Resumed);
    }
}

/// RFC 9370 section 2.2.1.
#[test]
fn a_responder_says_which_additional_key_exchange_it_does_not_make() {
    let mut pair = Pair::with(|scene| {
        scene.client.ike = vec!["aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none-ke2_mlkem1024"];
        scene.gateway.ike = vec!["aes256gcm16-prfsha384-x25519-ke2_mlkem1024"];
    });
    assert_eq!(pair.up(), Ok(()));
    let response = pair.world.trace[1].datagram.ike().unwrap().clone();
    let response = Message::parse(&response).unwrap();
    let chosen = response.payloads.sa().unwrap().accepted().unwrap();
    let additional: Vec<_> = chosen
        .transforms()
        .filter(|t| [TransformType::ADDKE1, TransformType::ADDKE2].contains(&t.kind))
        .map(|t| (t.kind, KeMethod(t.id)))
        .collect();
    assert_eq!(additional.len(), 2);
    assert!(additional.contains(&(TransformType::ADDKE1, KeMethod::NONE)));
    assert!(additional.contains(&(TransformType::ADDKE2, KeMethod::ML_KEM_1024)));
    pair.assert_joined();
}

#[test]
fn a_gateway_that_wants_ml_kem_takes_neither_an_offer_nor_a_ticket_without() {
    let mut pair = Pair::suspended(|_| {});
    pair.scene().gateway.ike = vec!["aes256gcm16-prfsha384-x25519-ke1_mlkem768"];
    pair.reconfigure_gateway();
    let Err(Refusal::Failed(why)) = pair.resume() else { panic!("it came up") };
    assert_eq!(why, Failure::NoIkeProposal);
}
