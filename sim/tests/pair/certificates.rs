//! Peers that prove themselves with certificates (RFC 7296 section 2.15, RFC 7427).

use std::sync::Arc;
use std::time::Duration;

use ike::config::{LocalAuth, RemoteAuth};
use ike::event::{Event, FallBack, How, Role, TicketFault};
use ike::fault::{Failure, Refusal};
use ike::identity::Id;
use ike::status::Stage;
use pki::issue::AlternativeName;
use pki::{Credential, Crl, Revocation, Trust};
use sim::certificates::{Authority, Certified, YEAR};
use sim::meddle::{self, DELAY, arrival};
use sim::{Arrival, Content, Pair, Scene, Sent};

use crate::reconfigure::reconfigure;
use crate::resumption::{fell_back, refused_tickets};
use crate::set_up;

const SECOND: Duration = Duration::from_secs(1);
const CLIENT: &str = "client.example";
const MALLORY: &str = "mallory.example";
const VALID: (Duration, Duration) = (YEAR, YEAR);

/// What both ends need; each test spoils one thing.
struct Ends {
    authority: Authority,
    client: Credential,
    gateway: Credential,
    client_trusts: Trust,
    gateway_trusts: Trust,
}

impl Ends {
    fn new() -> Self {
        let mut authority = Authority::new(7);
        let client = authority.issue("client.example", VALID);
        let gateway = authority.issue("gateway.example", VALID);
        let client_trusts = authority.trust(Revocation::Relaxed);
        let gateway_trusts = authority.trust(Revocation::Relaxed);
        Self { authority, client, gateway, client_trusts, gateway_trusts }
    }

    fn equip(self, scene: &mut Scene) {
        scene.client.certified = Some(Certified::both(self.client, self.client_trusts));
        scene.gateway.certified = Some(Certified::both(self.gateway, self.gateway_trusts));
    }

    fn pair(self) -> Pair {
        Pair::with(|scene| self.equip(scene))
    }
}

/// Both ends have a certificate of one authority.
pub(crate) fn certified(scene: &mut Scene) {
    Ends::new().equip(scene);
}

/// Why it failed, here and there. Nothing is left of it.
fn failure(mut pair: Pair) -> (Failure, Option<Failure>) {
    let why = set_up::failure(&mut pair);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
    why
}

/// The gateway refuses the certificate for this name, and the client learns no
/// more than that it is refused.
fn gateway_says(check: pki::Refusal, of: &str) -> (Failure, Option<Failure>) {
    (Failure::RefusedByPeer, Some(refused(check, of)))
}

/// The client refuses the certificate for this name: the gateway had let it in.
fn client_says(check: pki::Refusal, of: &str) -> (Failure, Option<Failure>) {
    (refused(check, of), None)
}

pub(crate) fn refused(check: pki::Refusal, of: &str) -> Failure {
    let subject = pki::Subject::of(&format!("O=Example, CN={of}").parse().unwrap());
    Failure::Certificate(pki::Refused { check, subject })
}

#[test]
fn two_certificates_of_one_authority_set_up_a_tunnel() {
    let mut pair = Ends::new().pair();
    pair.up().unwrap();
    pair.assert_joined();
    pair.assert_up_by(How::Full);
    assert!(pair.ping());
}

/// AUTH covers the additional key exchanges, whoever makes it (RFC 9242 section 3.3.2).
#[test]
fn certificates_go_with_ml_kem() {
    let suite = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_mlkem1024";
    let mut pair = Pair::with(|scene| {
        certified(scene);
        for profile in [&mut scene.client, &mut scene.gateway] {
            profile.ike = vec![suite];
        }
    });
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(pair.status().sa.unwrap().suite.as_deref(), Some(suite));
    pair.suspend().unwrap();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn the_loss_of_any_datagram_is_made_up_for() {
    let disturbances: [fn(&Sent) -> Vec<Arrival>; 3] = [
        |_| Vec::new(),
        |sent| vec![arrival(DELAY, sent), arrival(DELAY, sent)],
        |sent| vec![arrival(3 * SECOND / 4, sent)],
    ];
    for meddle in disturbances {
        for position in 0..4 {
            let mut pair = Ends::new().pair();
            pair.world.meddler = Some(meddle::nth(position, meddle));
            pair.up().unwrap();
            pair.assert_joined();
        }
    }
}

#[test]
fn a_lossy_way_that_reorders_does_not_keep_them_apart() {
    for seed in 1..=20 {
        let mut pair = Pair::with(|scene| {
            Ends::new().equip(scene);
            scene.seed = seed;
            scene.link.loss = 200;
            scene.link.duplication = 200;
            scene.link.jitter = Duration::from_millis(300);
        });
        pair.up().unwrap();
        assert_eq!(pair.status().stage, Stage::Up);
    }
}

#[test]
fn a_gateway_with_a_certificate_serves_clients_with_secrets() {
    let mut pair = Pair::with(|scene| {
        let ends = Ends::new();
        let secrets = Arc::new(scene.client.pre_shared());
        let mut client = Certified::both(ends.client, ends.client_trusts);
        client.0.local = LocalAuth::PreShared(Arc::clone(&secrets));
        let mut gateway = Certified::both(ends.gateway, ends.gateway_trusts);
        gateway.0.remote = RemoteAuth::PreShared(secrets);
        (scene.client.certified, scene.gateway.certified) = (Some(client), Some(gateway));
    });
    pair.up().unwrap();
    pair.assert_joined();
}

#[test]
fn who_is_expected_with_a_certificate_gets_nowhere_with_a_secret() {
    let pair = Pair::with(|scene| {
        Ends::new().equip(scene);
        scene.client.certified = None;
    });
    assert_eq!(failure(pair), (Failure::RefusedByPeer, Some(Failure::OtherMethod)));
}

#[test]
fn who_is_expected_with_a_secret_gets_nowhere_with_a_certificate() {
    let pair = Pair::with(|scene| {
        Ends::new().equip(scene);
        scene.gateway.certified = None;
    });
    assert_eq!(failure(pair), (Failure::RefusedByPeer, Some(Failure::OtherMethod)));
}

#[test]
fn a_client_of_another_authority_is_refused() {
    let mut ends = Ends::new();
    ends.client = Authority::new(8).issue("client.example", VALID);
    let (ours, theirs) = failure(ends.pair());
    assert_eq!(ours, Failure::RefusedByPeer);
    // The two authorities have one name: it is the signature that is wrong.
    let Some(Failure::Certificate(why)) = theirs else { panic!("{theirs:?}") };
    assert!(matches!(why.check, pki::Refusal::Signature | pki::Refusal::UnknownIssuer));
    assert_eq!(why.subject.unwrap().as_str(), "O=Example, CN=client.example");
}

#[test]
fn a_client_whose_certificate_has_expired_is_refused() {
    let mut ends = Ends::new();
    ends.client = ends.authority.issue("client.example", (YEAR, SECOND));
    let mut pair = ends.pair();
    pair.world.run_for(2 * SECOND);
    assert_eq!(failure(pair), gateway_says(pki::Refusal::Expired, CLIENT));
}

#[test]
fn a_client_whose_certificate_is_not_valid_yet_is_refused() {
    let mut pair = Ends::new().pair();
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).clock.jump_back(2 * YEAR);
    assert_eq!(failure(pair), gateway_says(pki::Refusal::NotYetValid, CLIENT));
}

#[test]
fn a_client_whose_certificate_is_revoked_is_refused() {
    let mut ends = Ends::new();
    let list = ends.authority.revoke(&[ends.client.leaf().unwrap()]);
    ends.gateway_trusts.add_crl(list);
    assert_eq!(failure(ends.pair()), gateway_says(pki::Refusal::Revoked, CLIENT));
}

#[test]
fn a_strict_gateway_refuses_a_client_of_whose_authority_it_has_no_list() {
    let mut ends = Ends::new();
    ends.gateway_trusts = ends.authority.trust(Revocation::Strict);
    assert_eq!(failure(ends.pair()), gateway_says(pki::Refusal::NoRevocationList, CLIENT));
}

#[test]
fn a_client_that_takes_anothers_name_is_refused() {
    let mut ends = Ends::new();
    ends.client = ends.authority.issue("mallory.example", VALID);
    assert_eq!(failure(ends.pair()), gateway_says(pki::Refusal::Identity, MALLORY));
}

#[test]
fn a_client_may_go_by_any_name_in_its_certificate_and_by_no_other() {
    let go_by = |id: &str| {
        let mut ends = Ends::new();
        let names = vec![
            AlternativeName::Dns("laptop.example".into()),
            AlternativeName::Email("user@client.example".into()),
            AlternativeName::Address("192.0.2.10".parse().unwrap()),
            AlternativeName::Address("2001:db8::10".parse().unwrap()),
        ];
        ends.client = ends.authority.issue_for("O=Example, CN=laptop", names, VALID);
        Pair::with(|scene| {
            ends.equip(scene);
            scene.client.local_id = id.into();
        })
    };
    let good = [
        "O=Example, CN=laptop",
        "laptop.example",
        "user@client.example",
        "192.0.2.10",
        "2001:db8::10",
    ];
    for id in good {
        let mut pair = go_by(id);
        pair.up().unwrap();
        let peer = pair.served().remove(0).sa.unwrap().remote_id.unwrap();
        assert_eq!(peer.parse::<Id>(), id.parse());
        pair.suspend().unwrap();
        pair.resume().unwrap();
        pair.assert_up_by(How::Resumed);
    }
    for id in ["O=Example, CN=desktop", "example", "root@client.example", "192.0.2.11"] {
        assert_eq!(failure(go_by(id)), gateway_says(pki::Refusal::Identity, "laptop"), "{id}");
    }
}

#[test]
fn a_gateway_with_a_wrong_certificate_is_told_so() {
    let mut ends = Ends::new();
    ends.gateway = ends.authority.issue("mallory.example", VALID);
    assert_eq!(failure(ends.pair()), client_says(pki::Refusal::Identity, MALLORY));
    let mut ends = Ends::new();
    ends.gateway = ends.authority.issue("gateway.example", (YEAR, SECOND));
    let mut pair = ends.pair();
    pair.world.run_for(2 * SECOND);
    assert_eq!(failure(pair), client_says(pki::Refusal::Expired, "gateway.example"));
}

/// Somebody else's certificate is no secret: it is the signature that counts.
#[test]
fn a_certificate_without_its_key_is_of_no_use() {
    let mut ends = Ends::new();
    let mallory = ends.authority.issue("mallory.example", VALID);
    ends.client = Credential::new(Arc::clone(mallory.key()), Vec::new()).unwrap();
    // The gateway knows the client's certificate, so it need not be sent.
    let known = ends.authority.issue("client.example", VALID);
    ends.gateway_trusts = Trust::default();
    ends.gateway_trusts.add_peer(known.leaf().unwrap().clone());
    let (ours, theirs) = failure(ends.pair());
    assert_eq!(ours, Failure::RefusedByPeer);
    let expected = Failure::Certificate(pki::Refusal::UnknownKey.into());
    assert_eq!(theirs, Some(expected));
}

#[test]
fn raw_public_keys_need_no_authority() {
    let mut ends = Ends::new();
    let key = |credential: &Credential| credential.key().public_key().clone();
    let bare = |credential: &Credential| {
        Credential::new(Arc::clone(credential.key()), Vec::new()).unwrap()
    };
    (ends.client_trusts, ends.gateway_trusts) = (Trust::default(), Trust::default());
    ends.client_trusts.add_key(key(&ends.gateway));
    ends.gateway_trusts.add_key(key(&ends.client));
    (ends.client, ends.gateway) = (bare(&ends.client), bare(&ends.gateway));
    let mut pair = ends.pair();
    pair.up().unwrap();
    pair.assert_joined();
}

#[test]
fn a_session_with_certificates_resumes_without_them() {
    let mut pair = Pair::suspended(|scene| Ends::new().equip(scene));
    pair.resume().unwrap();
    pair.assert_joined();
    pair.assert_up_by(How::Resumed);
    // No certificate is on the way: all messages are small.
    let is_small = |sent: &Sent| match &sent.datagram.content {
        Content::Ike(octets) => octets.len() < 600,
        Content::Keepalive | Content::EspInUdp(_) | Content::EspInTcp(_) | Content::PlainEsp(_) => {
            true
        }
    };
    assert!(pair.world.trace.iter().all(is_small));
}

/// It fits a datagram with room to spare, though it knows a certificate.
#[test]
fn a_ticket_of_a_session_with_a_certificate_has_225_octets() {
    let pair = Pair::suspended(|scene| Ends::new().equip(scene));
    assert_eq!(pair.status().ticket.unwrap().len, 225);
}

/// Two hours, though a ticket would be good for a day: a proof that has expired
/// proves nothing, whatever stands for it. Tickets that follow keep to it, too.
#[test]
fn a_ticket_is_good_no_longer_than_the_clients_certificate() {
    let hour = 3600 * SECOND;
    let mut pair = Pair::with(|scene| {
        let mut ends = Ends::new();
        ends.client = ends.authority.issue("client.example", (YEAR, 2 * hour));
        ends.equip(scene);
    });
    pair.up().unwrap();
    assert!(ticket_lifetimes(&pair).last().is_some_and(|&it| it <= 2 * hour));
    pair.suspend().unwrap();
    pair.world.run_for(hour);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert!(ticket_lifetimes(&pair).last().is_some_and(|&it| it <= hour));
    pair.suspend().unwrap();
    pair.world.run_for(hour + SECOND);
    assert!(pair.resume().is_err(), "its ticket has expired with the certificate");
}

fn ticket_lifetimes(pair: &Pair) -> Vec<Duration> {
    let lifetime = |event: &Event| match event {
        Event::TicketGranted { lifetime, .. } => Some(*lifetime),
        _ => None,
    };
    pair.client_events().filter_map(lifetime).collect()
}

/// What a gateway has learnt to demand since counts: a ticket does not stand
/// for a proof that is not accepted any more.
#[test]
fn a_session_with_a_secret_is_not_resumed_where_a_certificate_is_demanded_now() {
    let mut pair = Pair::suspended(|_| {});
    Ends::new().equip(pair.scene());
    pair.reconfigure_gateway();
    assert!(pair.resume().is_err());
    pair.assert_apart();
}

/// A session of a client that has a certificate, and what revokes this one, or
/// that of somebody else.
fn asleep() -> (Pair, [Crl; 2]) {
    let mut ends = Ends::new();
    let other = ends.authority.issue("another.example", VALID);
    let lists = [&ends.client, &other].map(|it| ends.authority.revoke(&[it.leaf().unwrap()]));
    (Pair::suspended(|scene| ends.equip(scene)), lists)
}

/// The gateway has fetched a list.
fn fetch(pair: &mut Pair, list: Crl) {
    let Some(Certified(auth)) = &pair.scene().gateway.certified else { panic!("no certificate") };
    let RemoteAuth::PublicKey(trust) = &auth.remote else { panic!("no trust") };
    trust.renew("http://crl.example/", Arc::new(list));
}

/// The gateway goes on with another trust.
fn trust(pair: &mut Pair, trust: Trust) {
    let Some(Certified(auth)) = &mut pair.scene().gateway.certified else { panic!() };
    auth.remote = RemoteAuth::PublicKey(Arc::new(trust));
    let (gateway, config) = (pair.gateway, pair.scene().gateway.config());
    assert_eq!(reconfigure(pair, gateway, config).altered.len(), 1);
}

/// The gateway refuses the ticket, and in the full exchange that follows the
/// client is told no more than that it is refused: why is said at the gateway.
fn assert_distrusted(pair: &mut Pair, check: pki::Refusal) {
    assert_eq!(pair.resume(), Err(Refusal::Failed(Failure::RefusedByPeer)));
    assert_eq!(refused_tickets(pair), [TicketFault::Distrusted]);
    assert_eq!(fell_back(pair), [FallBack::Nack]);
    let why = pair.gateway_events().find_map(|event| match event {
        Event::Failed { role: Role::Responder, why, .. } => Some(why.clone()),
        _ => None,
    });
    let Some(Failure::Certificate(why)) = why else { panic!("{why:?}") };
    assert_eq!(why.check, check);
    // A refusal in a full exchange costs no session: see `resumption`.
    assert_eq!(pair.status().stage, Stage::Suspended);
    assert!(pair.world.node(pair.client).plane.children().is_empty());
}

#[test]
fn a_session_whose_certificate_was_revoked_while_it_slept_is_not_resumed() {
    let (mut pair, [of_client, of_another]) = asleep();
    fetch(&mut pair, of_another);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert!(pair.ping());
    pair.suspend().unwrap();
    pair.forget_past();
    // The ticket of a resumed session knows the certificate, too.
    fetch(&mut pair, of_client);
    assert_distrusted(&mut pair, pki::Refusal::Revoked);
}

#[test]
fn no_weather_brings_a_revoked_session_back() {
    let disturbances: [fn(&Sent) -> Vec<Arrival>; 3] = [
        |_| Vec::new(),
        |sent| vec![arrival(DELAY, sent), arrival(DELAY, sent)],
        |sent| vec![arrival(3 * SECOND / 4, sent)],
    ];
    for meddle in disturbances {
        for position in 0..6 {
            let (mut pair, [of_client, _]) = asleep();
            fetch(&mut pair, of_client);
            pair.world.meddler = Some(meddle::nth(position, meddle));
            assert_eq!(pair.resume(), Err(Refusal::Failed(Failure::RefusedByPeer)));
            let refused = refused_tickets(&pair);
            assert!(!refused.is_empty() && refused.iter().all(|it| *it == TicketFault::Distrusted));
            assert_eq!(pair.status().stage, Stage::Suspended);
            assert!(pair.world.node(pair.client).plane.children().is_empty());
        }
    }
}

#[test]
fn a_list_that_a_reload_brings_ends_sessions_and_one_that_was_fetched_outlives_it() {
    let (mut pair, [of_client, _]) = asleep();
    let mut with_list = Ends::new().gateway_trusts;
    with_list.add_crl(of_client);
    trust(&mut pair, with_list);
    assert_distrusted(&mut pair, pki::Refusal::Revoked);

    let (mut pair, [of_client, _]) = asleep();
    fetch(&mut pair, of_client);
    trust(&mut pair, Ends::new().authority.trust(Revocation::IfUri));
    assert_distrusted(&mut pair, pki::Refusal::Revoked);
}

#[test]
fn a_session_is_not_resumed_where_a_list_is_missing_that_must_be_there() {
    let (mut pair, [_, of_another]) = asleep();
    trust(&mut pair, Ends::new().authority.trust(Revocation::Strict));
    assert_distrusted(&mut pair, pki::Refusal::NoRevocationList);
    fetch(&mut pair, of_another);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_session_is_not_resumed_when_its_authority_is_believed_no_more() {
    let (mut pair, _) = asleep();
    let other = Authority::named(8, "O=Example, CN=Another");
    trust(&mut pair, other.trust(Revocation::Relaxed));
    assert_distrusted(&mut pair, pki::Refusal::UnknownIssuer);
    // It may be one of several.
    let mut both = other.trust(Revocation::Relaxed);
    Ends::new().authority.vouch(&mut both);
    trust(&mut pair, both);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_session_is_resumed_as_long_as_its_raw_key_is_believed() {
    let mut pair = Pair::suspended(|scene| {
        let mut ends = Ends::new();
        let key = Arc::clone(ends.client.key());
        ends.gateway_trusts = Trust::default();
        ends.gateway_trusts.add_key(key.public_key().clone());
        ends.client = Credential::new(key, Vec::new()).unwrap();
        ends.equip(scene);
    });
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    pair.suspend().unwrap();
    pair.forget_past();
    let mut other = Trust::default();
    other.add_key(Ends::new().gateway.key().public_key().clone());
    trust(&mut pair, other);
    assert_distrusted(&mut pair, pki::Refusal::UnknownKey);
}
