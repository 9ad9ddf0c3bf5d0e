//! Another configuration while everything runs.

use std::sync::Arc;
use std::time::Duration;

use ike::Changes;
use ike::config::Config;
use ike::event::{Command, Gone, How, TicketFault};
use ike::fault::{Failure, Refusal};
use ike::pool::{AddressRange, PoolConfig};
use ike::status::Stage;
use sim::plane::Outgoing;
use sim::{NodeId, Pair, Profile, packet};

use crate::life::ends;
use crate::rekey::keys;
use crate::resumption::refused_tickets;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn reconfigure(pair: &mut Pair, id: NodeId, config: Config) -> Changes {
    let now = pair.world.node(id).clock.at(pair.world.now());
    let changes = pair.world.node_mut(id).endpoint.reconfigure(now, config);
    pair.settle();
    changes
}

/// A client's or gateway's profile, with a change.
fn changed(profile: &Profile, change: impl FnOnce(&mut Profile)) -> Config {
    let mut profile = profile.clone();
    change(&mut profile);
    profile.config()
}

/// Both connections.
fn both(one: &Profile, other: &Profile) -> Config {
    let mut config = one.config();
    config.connections.push(Arc::new(other.connection()));
    config
}

fn lab() -> Profile {
    Profile { name: "lab", remote_id: "lab.example", ..Profile::gateway() }
}

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|name| Arc::from(*name)).collect()
}

#[test]
fn what_is_the_same_is_not_touched() {
    let mut pair = Pair::joined(|_| {});
    let before = keys(&pair);
    for id in [pair.client, pair.gateway] {
        let profile = if id == pair.client {
            pair.scene().client.clone()
        } else {
            pair.scene().gateway.clone()
        };
        assert_eq!(reconfigure(&mut pair, id, profile.config()), Changes::default());
        let added = names(&["lab"]);
        let expected = Changes { added, ..Changes::default() };
        assert_eq!(reconfigure(&mut pair, id, both(&profile, &lab())), expected);
        let removed = names(&["lab"]);
        let expected = Changes { removed, ..Changes::default() };
        assert_eq!(reconfigure(&mut pair, id, profile.config()), expected);
    }
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.exchanges(), []);
    assert_eq!(keys(&pair), before);
    pair.assert_joined();
}

#[test]
fn a_session_that_sleeps_is_not_touched_either() {
    let mut pair = Pair::suspended(|_| {});
    let (client, profile) = (pair.client, pair.scene().client.clone());
    let _ = reconfigure(&mut pair, client, both(&profile, &lab()));
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_connection_that_the_client_has_not_any_more_is_taken_down() {
    let mut pair = Pair::joined(|_| {});
    let client = pair.client;
    let changes = reconfigure(&mut pair, client, lab().config());
    assert_eq!(changes.removed, names(&["home"]));
    pair.world.drive();
    assert_eq!(ends(pair.client_events()), [Gone::Command]);
    assert_eq!(ends(pair.gateway_events()), [Gone::PeerDeleted]);
    assert_eq!(pair.up(), Err(Refusal::UnknownConnection));
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
    assert_eq!(pair.outgoing(), Outgoing::Clear);
    // And it can come again.
    let profile = pair.scene().client.clone();
    let changes = reconfigure(&mut pair, client, profile.config());
    assert_eq!((changes.added, changes.removed), (names(&["home"]), names(&["lab"])));
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
}

#[test]
fn a_session_of_a_connection_that_is_gone_is_forgotten() {
    let mut pair = Pair::suspended(|_| {});
    let (client, profile) = (pair.client, pair.scene().client.clone());
    let _ = reconfigure(&mut pair, client, lab().config());
    assert_eq!(pair.outgoing(), Outgoing::Clear);
    let _ = reconfigure(&mut pair, client, profile.config());
    assert_eq!(pair.resume(), Err(Refusal::NotSuspended));
}

#[test]
fn what_peers_began_ends_with_its_connection() {
    let mut pair = Pair::joined(|_| {});
    let gateway = pair.gateway;
    let changes = reconfigure(&mut pair, gateway, lab().config());
    assert_eq!(changes.removed, names(&["clients"]));
    pair.world.drive();
    assert_eq!(ends(pair.client_events()), [Gone::PeerDeleted]);
    pair.assert_apart();
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::RefusedByPeer)));
}

#[test]
fn an_attempt_at_a_connection_that_is_gone_ends_at_any_moment() {
    for milliseconds in (0..100).step_by(5) {
        let mut pair = Pair::with(|scene| scene.link.delay = 20 * SECOND / 1000);
        let (client, profile) = (pair.client, pair.scene().client.clone());
        let up = pair.begin(Command::Up(pair.name()));
        pair.world.run_for(Duration::from_millis(milliseconds));
        let _ = reconfigure(&mut pair, client, lab().config());
        let _ = pair.finish(up);
        pair.world.run_for(120 * SECOND);
        pair.assert_empty();
        let _ = reconfigure(&mut pair, client, profile.config());
        pair.up().unwrap();
        pair.assert_joined();
    }
}

#[test]
fn an_sa_goes_on_as_it_was_made_and_the_next_is_made_anew() {
    let mut pair = Pair::joined(|scene| {
        scene.gateway.ike = vec!["aes256gcm16-prfsha384-x25519", "aes128gcm16-prfsha256-x25519"];
    });
    let (client, before, profile) = (pair.client, keys(&pair), pair.scene().client.clone());
    let config = changed(&profile, |it| it.ike = vec!["aes128gcm16-prfsha256-x25519"]);
    let changes = reconfigure(&mut pair, client, config);
    assert_eq!(changes.altered, names(&["home"]));
    assert_eq!((pair.exchanges(), keys(&pair)), (vec![], before));
    pair.assert_joined();
    pair.down().unwrap();
    pair.up().unwrap();
    let suite = pair.status().sa.unwrap().suite.unwrap();
    assert_eq!(suite, "aes128gcm16-prfsha256-x25519");
}

#[test]
fn a_secret_counts_from_the_next_full_exchange_on() {
    let mut pair = Pair::joined(|_| {});
    let (gateway, profile) = (pair.gateway, pair.scene().gateway.clone());
    let config = changed(&profile, |it| it.secrets = vec![("", "another")]);
    let changes = reconfigure(&mut pair, gateway, config);
    assert_eq!(changes.altered, names(&["clients"]));
    pair.assert_joined();
    pair.down().unwrap();
    assert_eq!(pair.up(), Err(Refusal::Failed(Failure::RefusedByPeer)));
    let _ = reconfigure(&mut pair, gateway, profile.config());
    pair.up().unwrap();
    pair.assert_joined();
}

#[test]
fn a_kept_connection_comes_up_as_soon_as_its_mistake_is_mended() {
    let mut pair = Pair::with(|scene| scene.client.secrets = vec![("", "another")]);
    let (client, profile, name) = (pair.client, pair.scene().client.clone(), pair.name());
    let now = pair.world.node(client).clock.at(pair.world.now());
    pair.client_endpoint().keep_up(now, &name);
    pair.settle();
    pair.world.run_for(3600 * SECOND);
    assert_eq!(pair.status().stage, Stage::Down);
    let config = changed(&profile, |it| it.secrets = vec![("", "secret")]);
    let _ = reconfigure(&mut pair, client, config);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Full);
    // It is let go, and goes on until it ends.
    pair.client_endpoint().let_go(&name);
    pair.settle();
    pair.assert_joined();
    let gateway = pair.gateway;
    pair.world.command(gateway, Command::Down("clients".into()));
    pair.world.run_for(3600 * SECOND);
    pair.assert_empty();
}

#[test]
fn what_is_held_is_what_is_configured() {
    let mut pair = Pair::suspended(|_| {});
    let (client, profile) = (pair.client, pair.scene().client.clone());
    let config = changed(&profile, |it| it.remote_ts = vec!["10.3.0.0/16"]);
    let _ = reconfigure(&mut pair, client, config);
    let mut send = |target: [u8; 4]| {
        pair.world.send_inner(client, &packet::udp([10, 1, 0, 2].into(), target.into(), b"data"))
    };
    assert_eq!(send([10, 2, 0, 1]), Outgoing::Clear);
    assert_eq!(send([10, 3, 0, 1]), Outgoing::Held);
}

#[test]
fn addresses_stay_with_those_who_have_them() {
    let pool = |last: u8| {
        let range = AddressRange::new([10, 1, 0, 1].into(), [10, 1, 0, last].into());
        let (name, fixed) = ("pool".into(), Vec::new());
        PoolConfig { name, ranges: vec![range.unwrap()], fixed, network: Default::default() }
    };
    let mut pair = Pair::joined(|scene| {
        scene.client.vips = vec!["0.0.0.0"];
        scene.client.dynamic = true;
        scene.client.local_ts = vec!["0.0.0.0/0".into()];
        scene.gateway.dynamic = true;
        scene.gateway.pools = vec![pool(1)];
    });
    let (gateway, profile) = (pair.gateway, pair.scene().gateway.clone());
    let _ = reconfigure(&mut pair, gateway, changed(&profile, |it| it.pools = vec![pool(2)]));
    let held = pair.world.node(gateway).endpoint.holdings().addresses;
    assert_eq!(held, 1);
    pair.down().unwrap();
    let held = pair.world.node(gateway).endpoint.holdings().addresses;
    assert_eq!(held, 0);
    pair.up().unwrap();
    let addresses = pair.status().assigned.unwrap().addresses;
    assert_eq!(addresses.v4.map(|it| it.octets()), Some([10, 1, 0, 1]));
}

/// What a gateway with these secrets makes of a session whose client has "secret".
fn resumed_with(secrets: Vec<(&'static str, &'static str)>) -> (Pair, Result<(), Refusal>) {
    let mut pair = Pair::suspended(|_| {});
    let (gateway, profile) = (pair.gateway, pair.scene().gateway.clone());
    let config = changed(&profile, |gateway| gateway.secrets = secrets);
    assert_eq!(reconfigure(&mut pair, gateway, config).altered.len(), 1);
    let result = pair.resume();
    (pair, result)
}

#[test]
fn a_session_is_resumed_as_long_as_its_secret_is_good_for_its_client() {
    let client = "client.example";
    for secrets in [
        vec![("", "secret"), ("another.example", "other")],
        vec![("", "other"), (client, "secret")],
    ] {
        let (mut pair, result) = resumed_with(secrets);
        assert_eq!((result, refused_tickets(&pair)), (Ok(()), Vec::new()));
        pair.assert_up_by(How::Resumed);
    }
    for secrets in [
        vec![("", "other")],
        vec![("", "secret"), (client, "other")],
        vec![("another.example", "secret")],
    ] {
        let (pair, result) = resumed_with(secrets);
        assert_eq!(result, Err(Refusal::Failed(Failure::RefusedByPeer)));
        assert_eq!(refused_tickets(&pair), [TicketFault::Distrusted]);
        assert_eq!(pair.status().stage, Stage::Suspended);
    }
}
