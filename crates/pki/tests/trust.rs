//! Every check of a chain: passed by good ones, and failed by one bad thing.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, SystemTime};

use crypto::{KeyKind, Provider, Signer as _, SigningKey};
use pki::issue::{
    AlternativeName, Authority, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    NameConstraints, Request, Revoked, Role, self_signed,
};
use pki::{
    Certificate, Dn, ExtendedKeyUsage, Name, Presented, Refusal, Refused, Revocation, Subject,
    Trust, Verified, Vouched,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const GATEWAY: Name<'static> = Name::Dns("gateway.example.org");

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

struct Issued {
    certificate: Certificate,
    key: SigningKey,
}

impl Issued {
    fn authority(&self) -> Authority<'_> {
        Authority { certificate: &self.certificate, key: &self.key }
    }

    fn issue(&self, request: &Request, kind: KeyKind) -> Self {
        let key = key(kind);
        let certificate = self.authority().issue(request, &key, &mut provider()).unwrap();
        Self { certificate, key }
    }
}

fn provider() -> Provider {
    Provider::system()
}

fn key(kind: KeyKind) -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate(kind, 2048).unwrap()).unwrap()
}

fn request(subject: &str, role: Role) -> Request {
    Request {
        subject: subject.parse().unwrap(),
        names: Vec::new(),
        validity: (now() - DAY, now() + DAY),
        role,
        extended_key_usages: Vec::new(),
        name_constraints: None,
        crl_uri: None,
    }
}

fn peer() -> Request {
    let names = vec![
        AlternativeName::Dns("gateway.example.org".into()),
        AlternativeName::Email("admin@example.org".into()),
        AlternativeName::Address("192.0.2.1".parse().unwrap()),
    ];
    Request { names, ..request("C=CH, O=Example, CN=gateway", Role::Peer) }
}

fn root() -> Issued {
    let key = key(KeyKind::EcdsaP256);
    let request = request("O=Example, CN=Root", Role::Authority(None));
    Issued { certificate: self_signed(&request, &key, &mut provider()).unwrap(), key }
}

fn trusting(root: &Issued) -> Trust {
    let mut trust = Trust::new(Revocation::Relaxed);
    trust.add_authority(root.certificate.clone()).unwrap();
    trust
}

fn verify(trust: &Trust, chain: &[&Issued], name: &Name<'_>) -> Result<Verified, Refused> {
    let certificates: Vec<_> = chain.iter().map(|issued| issued.certificate.as_der()).collect();
    trust.verify(Presented { certificates: &certificates, raw_key: None }, name, now())
}

fn why(trust: &Trust, chain: &[&Issued]) -> Refusal {
    verify(trust, chain, &GATEWAY).unwrap_err().check
}

/// Which check has failed, and on which certificate.
fn on(trust: &Trust, chain: &[&Issued]) -> (Refusal, Option<String>) {
    let refused = verify(trust, chain, &GATEWAY).unwrap_err();
    (refused.check, refused.subject.map(|subject| subject.to_string()))
}

fn check(result: Result<Verified, Refused>) -> Result<(), Refusal> {
    result.map(|_| ()).map_err(|refused| refused.check)
}

fn subject(issued: &Issued) -> Option<String> {
    Some(issued.certificate.subject().to_string())
}

#[test]
fn a_certificate_of_every_kind_of_key_is_believed() {
    for kind in [KeyKind::Rsa, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let root = root();
        let leaf = root.issue(&peer(), kind);
        let verified = verify(&trusting(&root), &[&leaf], &GATEWAY).unwrap();
        assert_eq!(verified.key, *leaf.key.public_key());
        assert_eq!(verified.expires, Some(now() + DAY));
    }
}

#[test]
fn a_chain_of_four_is_followed_in_any_order() {
    let root = root();
    let first = root.issue(&request("CN=1", Role::Authority(None)), KeyKind::EcdsaP256);
    let second = first.issue(&request("CN=2", Role::Authority(None)), KeyKind::Ed25519);
    let third = second.issue(&request("CN=3", Role::Authority(Some(0))), KeyKind::EcdsaP384);
    let leaf = third.issue(&peer(), KeyKind::EcdsaP256);
    let trust = trusting(&root);
    assert!(verify(&trust, &[&leaf, &third, &second, &first], &GATEWAY).is_ok());
    assert!(verify(&trust, &[&leaf, &first, &third, &second, &root], &GATEWAY).is_ok());
    assert_eq!(why(&trust, &[&leaf, &third, &first]), Refusal::UnknownIssuer);
}

#[test]
fn every_name_in_it_is_the_peers_and_no_other() {
    let root = root();
    let (trust, leaf) = (trusting(&root), root.issue(&peer(), KeyKind::EcdsaP256));
    let subject: Dn = "C=ch, O=EXAMPLE, CN=gateway".parse().unwrap();
    let key_id = crypto::sha1_name(leaf.key.public_key().octets());
    for name in [
        Name::Dns("GATEWAY.example.org"),
        Name::Email("admin@EXAMPLE.org"),
        Name::Address("192.0.2.1".parse().unwrap()),
        Name::Dn(subject),
        Name::KeyId(&key_id),
    ] {
        assert!(verify(&trust, &[&leaf], &name).is_ok(), "{name:?}");
    }
    for name in [
        Name::Dns("gateway"),
        Name::Dns("x.gateway.example.org"),
        Name::Email("ADMIN@example.org"),
        Name::Address("192.0.2.2".parse().unwrap()),
        Name::Dn("C=CH, O=Example".parse().unwrap()),
        Name::KeyId(b"gateway"),
    ] {
        assert_eq!(
            verify(&trust, &[&leaf], &name).unwrap_err().check,
            Refusal::Identity,
            "{name:?}"
        );
    }
}

#[test]
fn a_wildcard_is_nobodys_name() {
    let root = root();
    let names = vec![AlternativeName::Dns("*.example.org".into())];
    let leaf = root.issue(&Request { names, ..peer() }, KeyKind::EcdsaP256);
    assert_eq!(why(&trusting(&root), &[&leaf]), Refusal::Identity);
}

#[test]
fn another_authority_with_the_same_name_is_not_believed() {
    let (root, impostor) = (root(), root());
    let leaf = impostor.issue(&peer(), KeyKind::EcdsaP256);
    let refused = why(&trusting(&root), &[&leaf]);
    assert!(matches!(refused, Refusal::Signature | Refusal::UnknownIssuer), "{refused:?}");
    assert_eq!(why(&Trust::new(Revocation::Relaxed), &[&leaf]), Refusal::UnknownIssuer);
}

#[test]
fn nothing_is_good_before_or_after_its_time() {
    let root = root();
    let trust = trusting(&root);
    let early = Request { validity: (now() + DAY / 2, now() + DAY), ..peer() };
    let late = Request { validity: (now() - DAY, now() - DAY / 2), ..peer() };
    assert_eq!(why(&trust, &[&root.issue(&early, KeyKind::EcdsaP256)]), Refusal::NotYetValid);
    assert_eq!(why(&trust, &[&root.issue(&late, KeyKind::EcdsaP256)]), Refusal::Expired);
    let old = Request {
        validity: (now() - DAY, now() - DAY / 2),
        ..request("CN=1", Role::Authority(None))
    };
    let old = root.issue(&old, KeyKind::EcdsaP256);
    let leaf = old.issue(&peer(), KeyKind::EcdsaP256);
    assert_eq!(why(&trust, &[&leaf, &old]), Refusal::Expired);
}

#[test]
fn an_authority_that_has_expired_vouches_for_nobody() {
    let root = root();
    let leaf = root
        .issue(&Request { validity: (now() - DAY, now() + 9 * DAY), ..peer() }, KeyKind::EcdsaP256);
    let presented = Presented { certificates: &[leaf.certificate.as_der()], raw_key: None };
    let later = trusting(&root).verify(presented, &GATEWAY, now() + 2 * DAY);
    assert_eq!(later.unwrap_err().check, Refusal::UnknownIssuer);
}

#[test]
fn key_usage_and_extended_key_usage_must_allow_it() {
    let root = root();
    let trust = trusting(&root);
    let encipherment = Request { role: Role::Encipherment, ..peer() };
    assert_eq!(why(&trust, &[&root.issue(&encipherment, KeyKind::Rsa)]), Refusal::KeyUsage);
    let with = |trust: &Trust, purpose: ExtendedKeyUsagePurpose| {
        let request = Request { extended_key_usages: vec![purpose], ..peer() };
        check(verify(trust, &[&root.issue(&request, KeyKind::EcdsaP256)], &GATEWAY))
    };
    let tls = trusting(&root).with_extended_key_usage(ExtendedKeyUsage::Tls);
    let ipsec_ike = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    for good in [ipsec_ike, ExtendedKeyUsagePurpose::Any] {
        assert_eq!(with(&trust, good.clone()), Ok(()), "{good:?}");
        assert_eq!(with(&tls, good.clone()), Ok(()), "{good:?}");
    }
    for tls_only in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        assert_eq!(with(&trust, tls_only.clone()), Err(Refusal::ExtendedKeyUsage));
        assert_eq!(with(&tls, tls_only), Ok(()));
    }
    for bad in [ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::TimeStamping] {
        assert_eq!(with(&trust, bad.clone()), Err(Refusal::ExtendedKeyUsage));
        assert_eq!(with(&tls, bad), Err(Refusal::ExtendedKeyUsage));
    }
}

#[test]
fn a_peer_vouches_for_nobody_and_an_authority_is_no_peer() {
    let root = root();
    let trust = trusting(&root);
    let other = root.issue(&peer(), KeyKind::EcdsaP256);
    let leaf = other.issue(&peer(), KeyKind::EcdsaP256);
    assert_eq!(why(&trust, &[&leaf, &other]), Refusal::BasicConstraints);
    let authority = Request { role: Role::Authority(None), ..peer() };
    let refused = why(&trust, &[&root.issue(&authority, KeyKind::EcdsaP256)]);
    assert!(matches!(refused, Refusal::BasicConstraints | Refusal::KeyUsage), "{refused:?}");
    assert!(Trust::default().add_authority(other.certificate).is_err());
}

#[test]
fn a_path_is_not_longer_than_an_authority_allows() {
    let root = root();
    let first = root.issue(&request("CN=1", Role::Authority(Some(0))), KeyKind::EcdsaP256);
    let second = first.issue(&request("CN=2", Role::Authority(None)), KeyKind::EcdsaP256);
    let leaf = second.issue(&peer(), KeyKind::EcdsaP256);
    assert_eq!(why(&trusting(&root), &[&leaf, &second, &first]), Refusal::PathLength);
}

#[test]
fn an_authority_vouches_only_for_the_names_that_it_may() {
    let root = root();
    let constrained = |domain: &str| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName(domain.into())];
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() };
        let request = Request {
            name_constraints: Some(constraints),
            ..request("CN=1", Role::Authority(None))
        };
        root.issue(&request, KeyKind::EcdsaP256)
    };
    let names = vec![AlternativeName::Dns("gateway.example.org".into())];
    let request = Request { names, ..peer() };
    let (good, bad) = (constrained("example.org"), constrained("example.com"));
    let leaf = good.issue(&request, KeyKind::EcdsaP256);
    assert!(verify(&trusting(&root), &[&leaf, &good], &GATEWAY).is_ok());
    let leaf = bad.issue(&request, KeyKind::EcdsaP256);
    assert_eq!(why(&trusting(&root), &[&leaf, &bad]), Refusal::NameConstraints);
}

#[test]
fn what_is_revoked_is_refused_even_by_a_list_that_is_out_of_date() {
    let root = root();
    let (leaf, other) =
        (root.issue(&peer(), KeyKind::EcdsaP256), root.issue(&peer(), KeyKind::EcdsaP256));
    for updates in [(now() - DAY / 2, now() + DAY), (now() - DAY, now() - DAY / 2)] {
        let mut trust = trusting(&root);
        let (list, _) = root.authority().revoke(&[&leaf.certificate], updates, 1).unwrap();
        trust.add_crl(list);
        assert_eq!(why(&trust, &[&leaf]), Refusal::Revoked);
        assert!(verify(&trust, &[&other], &GATEWAY).is_ok());
    }
}

#[test]
fn the_policy_says_who_needs_a_list() {
    let root = root();
    let plain = root.issue(&peer(), KeyKind::EcdsaP256);
    let uri = Request { crl_uri: Some("http://crl.example.org/ca.crl".into()), ..peer() };
    let uri = root.issue(&uri, KeyKind::EcdsaP256);
    let missing = Err(Refusal::NoRevocationList);
    for (policy, with_plain, with_uri) in [
        (Revocation::Strict, missing, missing),
        (Revocation::IfUri, Ok(()), missing),
        (Revocation::Relaxed, Ok(()), Ok(())),
    ] {
        for (leaf, expected) in [(&plain, with_plain), (&uri, with_uri)] {
            let mut trust = Trust::new(policy);
            trust.add_authority(root.certificate.clone()).unwrap();
            assert_eq!(check(verify(&trust, &[leaf], &GATEWAY)), expected, "{policy:?}");
            let old = root.authority().revoke(&[], (now() - DAY, now() - DAY / 2), 1).unwrap().0;
            trust.add_crl(old);
            assert_eq!(check(verify(&trust, &[leaf], &GATEWAY)), expected, "{policy:?}");
            let new = root.authority().revoke(&[], (now() - DAY / 2, now() + DAY), 2).unwrap().0;
            trust.add_crl(new);
            assert_eq!(check(verify(&trust, &[leaf], &GATEWAY)), Ok(()), "{policy:?}");
        }
    }
}

/// Of one that names no place, any list of its authority may speak: what is
/// revoked is not good for want of a name.
#[test]
fn a_list_says_nothing_of_certificates_that_name_another_place() {
    let (here, elsewhere) = ("http://crl.example.org/1.crl", "http://crl.example.org/2.crl");
    let root = root();
    let at = |uri: &str| Request { crl_uri: Some(uri.into()), ..peer() };
    let (named, unnamed) =
        (root.issue(&at(here), KeyKind::EcdsaP256), root.issue(&peer(), KeyKind::EcdsaP256));
    let revoked = [&named, &unnamed]
        .map(|leaf| Revoked { serial: leaf.certificate.serial().to_vec(), since: now() - DAY });
    for (place, of_named, of_unnamed) in [
        (Some(here), Refusal::Revoked, Refusal::Revoked),
        (Some(elsewhere), Refusal::NoRevocationList, Refusal::Revoked),
        (None, Refusal::Revoked, Refusal::Revoked),
    ] {
        let updates = (now() - DAY, now() + DAY);
        let (list, _) = root.authority().list_for(place, &revoked, updates, 1).unwrap();
        let mut trust = Trust::new(Revocation::Strict);
        trust.add_authority(root.certificate.clone()).unwrap();
        trust.add_crl(list);
        assert_eq!(why(&trust, &[&named]), of_named, "{place:?}");
        assert_eq!(why(&trust, &[&unnamed]), of_unnamed, "{place:?}");
    }
}

#[test]
fn an_unknown_extension_is_ignored_unless_it_is_critical() {
    let root = root();
    let trust = trusting(&root);
    let with = |is_critical: bool| {
        // An INTEGER under an arc for examples.
        let mut extension = CustomExtension::from_oid_content(&[2, 999, 1], vec![0x02, 0x01, 0x05]);
        extension.set_criticality(is_critical);
        let key = key(KeyKind::EcdsaP256);
        let made = root.authority().issue_with(vec![extension], &peer(), &key, &mut provider());
        Issued { certificate: made.unwrap(), key }
    };
    assert!(verify(&trust, &[&with(false)], &GATEWAY).is_ok());
    assert_eq!(why(&trust, &[&with(true)]), Refusal::CriticalExtension);
}

/// A list in the name of the authority, made with another key, must not hide
/// that something was revoked, nor count as a list.
#[test]
fn a_forged_list_does_not_count() {
    let (root, forger) = (root(), root());
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let mut trust = Trust::new(Revocation::Strict);
    trust.add_authority(root.certificate).unwrap();
    trust.add_crl(forger.authority().revoke(&[], (now() - DAY, now() + DAY), 1).unwrap().0);
    assert_eq!(why(&trust, &[&leaf]), Refusal::RevocationList);
}

#[test]
fn a_configured_certificate_needs_nobody_to_vouch_for_it() {
    let root = root();
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let mut trust = Trust::default();
    trust.add_peer(leaf.certificate.clone());
    assert!(verify(&trust, &[&leaf], &GATEWAY).is_ok());
    // It need not even be sent (RFC 7296 section 3.6).
    assert_eq!(verify(&trust, &[], &GATEWAY).unwrap().key, *leaf.key.public_key());
    assert_eq!(why(&trust, &[&root.issue(&peer(), KeyKind::EcdsaP256)]), Refusal::UnknownIssuer);
    let presented = Presented { certificates: &[leaf.certificate.as_der()], raw_key: None };
    let later = trust.verify(presented, &GATEWAY, now() + 2 * DAY);
    assert_eq!(later.unwrap_err().check, Refusal::Expired);
}

#[test]
fn a_raw_key_is_believed_if_it_is_configured() {
    let (known, unknown) = (key(KeyKind::Ed25519), key(KeyKind::Ed25519));
    let mut trust = Trust::default();
    trust.add_key(known.public_key().clone());
    let show = |spki: &[u8]| {
        let presented = Presented { certificates: &[], raw_key: Some(spki) };
        trust.verify(presented, &GATEWAY, now()).map(|it| it.key).map_err(|it| it.check)
    };
    assert_eq!(show(&known.public_key().to_spki()).as_ref(), Ok(known.public_key()));
    assert_eq!(show(&unknown.public_key().to_spki()), Err(Refusal::UnknownKey));
    assert_eq!(show(b"nonsense"), Err(Refusal::Key));
}

#[test]
fn a_peer_that_shows_nothing_or_too_much_is_refused() {
    let root = root();
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let trust = trusting(&root);
    assert_eq!(why(&trust, &[]), Refusal::Missing);
    assert_eq!(why(&trust, &[&leaf; 9]), Refusal::TooMuch);
    let large = vec![0; 17 * 1024];
    let presented = Presented { certificates: &[&large], raw_key: None };
    assert_eq!(trust.verify(presented, &GATEWAY, now()).unwrap_err().check, Refusal::TooMuch);
}

#[test]
fn one_changed_octet_is_noticed_wherever_it_is() {
    let root = root();
    let (trust, leaf) = (trusting(&root), root.issue(&peer(), KeyKind::Ed25519));
    let good = leaf.certificate.as_der();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        if let Some(octet) = bad.get_mut(at) {
            *octet ^= 1;
        }
        let presented = Presented { certificates: &[&bad], raw_key: None };
        assert!(trust.verify(presented, &GATEWAY, now()).is_err(), "octet {at}");
    }
}

/// An authority under the root, and a peer under that.
fn chain(root: &Issued, middle: &Request, leaf: &Request) -> [Issued; 2] {
    let middle = root.issue(middle, KeyKind::EcdsaP256);
    let leaf = middle.issue(leaf, KeyKind::EcdsaP256);
    [leaf, middle]
}

fn middle() -> Request {
    request("O=Example, CN=Middle", Role::Authority(None))
}

#[test]
fn a_refusal_names_the_certificate_that_failed_whatever_its_place() {
    let root = root();
    let trust = trusting(&root);
    let past = (now() - DAY, now() - DAY / 2);
    let future = (now() + DAY / 2, now() + DAY);
    for (validity, expected) in [(past, Refusal::Expired), (future, Refusal::NotYetValid)] {
        let [leaf, old] = chain(&root, &Request { validity, ..middle() }, &peer());
        assert_eq!(on(&trust, &[&leaf, &old]), (expected, subject(&old)));
        let [old, middle] = chain(&root, &middle(), &Request { validity, ..peer() });
        assert_eq!(on(&trust, &[&old, &middle]), (expected, subject(&old)));
    }

    let code = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let purposes = Request { extended_key_usages: code, ..peer() };
    let [leaf, authority] = chain(&root, &middle(), &purposes);
    let refused = on(&trust, &[&leaf, &authority]);
    assert_eq!(refused, (Refusal::ExtendedKeyUsage, subject(&leaf)));

    let [leaf, unsigned] = chain(&root, &Request { role: Role::Peer, ..middle() }, &peer());
    let refused = on(&trust, &[&leaf, &unsigned]);
    assert_eq!(refused, (Refusal::BasicConstraints, subject(&unsigned)));

    let encipherment = Request { role: Role::Encipherment, ..peer() };
    let leaf = root.issue(&encipherment, KeyKind::Rsa);
    assert_eq!(on(&trust, &[&leaf]), (Refusal::KeyUsage, subject(&leaf)));
}

#[test]
fn a_refusal_names_what_was_revoked_or_has_no_list() {
    let root = root();
    let [leaf, authority] = chain(&root, &middle(), &peer());
    let updates = (now() - DAY / 2, now() + DAY);
    for revoked in [&leaf, &authority] {
        let issuer = if std::ptr::eq(revoked, &leaf) { &authority } else { &root };
        let mut trust = trusting(&root);
        let (list, _) = issuer.authority().revoke(&[&revoked.certificate], updates, 1).unwrap();
        trust.add_crl(list);
        assert_eq!(on(&trust, &[&leaf, &authority]), (Refusal::Revoked, subject(revoked)));
    }
    let mut trust = Trust::new(Revocation::Strict);
    trust.add_authority(root.certificate.clone()).unwrap();
    trust.add_crl(root.authority().revoke(&[], updates, 1).unwrap().0);
    let expected = (Refusal::NoRevocationList, subject(&leaf));
    assert_eq!(on(&trust, &[&leaf, &authority]), expected);
}

#[test]
fn a_refusal_names_where_a_chain_ends_that_leads_to_nobody() {
    let [known, stranger] = [root(), root()];
    let trust = trusting(&known);
    let other = Request { subject: "CN=Elsewhere".parse().unwrap(), ..middle() };
    let key = key(KeyKind::EcdsaP256);
    let certificate = self_signed(&other, &key, &mut provider()).unwrap();
    let elsewhere = Issued { certificate, key };
    let [leaf, authority] = chain(&elsewhere, &middle(), &peer());
    let ends = |chain: &[&Issued], at: &Issued| {
        assert_eq!(on(&trust, chain), (Refusal::UnknownIssuer, subject(at)));
    };
    ends(&[&leaf], &leaf);
    ends(&[&leaf, &authority], &authority);
    ends(&[&leaf, &elsewhere, &authority], &elsewhere);
    // It has the name of our authority, not its key.
    let leaf = stranger.issue(&peer(), KeyKind::EcdsaP256);
    assert_eq!(on(&trust, &[&leaf]).1, subject(&leaf));
    // One of the two is forged, and nobody says which.
    let [leaf, authority] = chain(&stranger, &middle(), &peer());
    assert_eq!(on(&trust, &[&leaf, &authority]).1, None);
}

#[test]
fn a_subject_is_one_bounded_line_whatever_is_in_it() {
    let text = |name: &str| Subject::of(&name.parse().unwrap()).map(|it| it.to_string());
    let hostile = "CN=a\\0d\\0a\\1b[2J\\e2\\80\\ae\\e2\\81\\a6";
    assert_eq!(text(hostile).as_deref(), Some(hostile));
    let long = format!("CN={}", "\u{fc}".repeat(500));
    let shown = text(&long).unwrap();
    assert_eq!(shown, format!("CN={}...", "\u{fc}".repeat(253)));
    assert_eq!(Subject::of(&Dn::from_der(&[0x30, 0]).unwrap()), None);
}

/// What is kept of a chain that convinces a trust.
fn vouched(trust: &Trust, chain: &[&Issued]) -> Vouched {
    verify(trust, chain, &GATEWAY).unwrap().vouched
}

/// What is kept of a chain is as good as the chain, and no better.
fn assert_as_good(trust: &Trust, chain: &[&Issued], kept: &Vouched, expected: Option<Refusal>) {
    assert_eq!(check(verify(trust, chain, &GATEWAY)).err(), expected);
    assert_eq!(trust.still_believes(kept, now()).err(), expected);
}

#[test]
fn a_proof_that_is_kept_is_worth_nothing_when_any_of_its_certificates_is_revoked() {
    let (root, revoked) = (root(), Some(Refusal::Revoked));
    let [leaf, middle] = chain(&root, &middle(), &peer());
    let other = middle.issue(&peer(), KeyKind::EcdsaP256);
    let [of_leaf, of_other] = [&leaf, &other].map(|it| vouched(&trusting(&root), &[it, &middle]));
    for updates in [(now() - DAY / 2, now() + DAY), (now() - DAY, now() - DAY / 2)] {
        let by = |issuer: &Issued, what: &Issued| {
            let (list, _) = issuer.authority().revoke(&[&what.certificate], updates, 1).unwrap();
            let mut trust = trusting(&root);
            trust.add_crl(list);
            trust
        };
        let trust = by(&middle, &leaf);
        assert_as_good(&trust, &[&leaf, &middle], &of_leaf, revoked);
        assert_as_good(&trust, &[&other, &middle], &of_other, None);
        let trust = by(&root, &middle);
        assert_as_good(&trust, &[&leaf, &middle], &of_leaf, revoked);
        assert_as_good(&trust, &[&other, &middle], &of_other, revoked);
        // The serial number alone says nothing: it is that of another issuer's.
        assert_as_good(&by(&root, &leaf), &[&leaf, &middle], &of_leaf, None);
    }
}

/// What was on hold may be released (RFC 5280 section 5.3.1).
#[test]
fn of_several_lists_the_newest_says_what_is_revoked() {
    let root = root();
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let kept = vouched(&trusting(&root), &[&leaf]);
    let list = |revoked: &[&Certificate], from| {
        root.authority().revoke(revoked, (from, now() + DAY), 1).unwrap().0
    };
    let mut trust = trusting(&root);
    trust.add_crl(list(&[&leaf.certificate], now() - DAY));
    assert_as_good(&trust, &[&leaf], &kept, Some(Refusal::Revoked));
    trust.renew("here", list(&[], now() - DAY / 2).into());
    assert_as_good(&trust, &[&leaf], &kept, None);
    trust.renew("here", list(&[&leaf.certificate], now() - DAY / 4).into());
    assert_as_good(&trust, &[&leaf], &kept, Some(Refusal::Revoked));
}

#[test]
fn a_proof_that_is_kept_needs_the_lists_that_its_certificates_need() {
    let (here, elsewhere) = ("http://crl.example.org/1.crl", "http://crl.example.org/2.crl");
    let (root, missing) = (root(), Some(Refusal::NoRevocationList));
    let uri = Request { crl_uri: Some(here.into()), ..peer() };
    let (plain, uri) =
        (root.issue(&peer(), KeyKind::EcdsaP256), root.issue(&uri, KeyKind::EcdsaP256));
    let [of_plain, of_uri] = [&plain, &uri].map(|it| vouched(&trusting(&root), &[it]));
    let revoked = [Revoked { serial: uri.certificate.serial().to_vec(), since: now() - DAY }];
    let list = |place, revoked: &[Revoked], to| {
        root.authority().list_for(place, revoked, (now() - DAY, to), 1).unwrap().0
    };
    for (policy, with_plain, with_uri) in [
        (Revocation::Strict, missing, missing),
        (Revocation::IfUri, None, missing),
        (Revocation::Relaxed, None, None),
    ] {
        let trust = |lists: Vec<pki::Crl>| {
            let mut trust = Trust::new(policy);
            trust.add_authority(root.certificate.clone()).unwrap();
            lists.into_iter().for_each(|list| trust.add_crl(list));
            trust
        };
        let none = trust(Vec::new());
        assert_as_good(&none, &[&plain], &of_plain, with_plain);
        assert_as_good(&none, &[&uri], &of_uri, with_uri);
        let old = trust(vec![list(None, &[], now() - DAY / 2)]);
        assert_as_good(&old, &[&plain], &of_plain, with_plain);
        assert_as_good(&old, &[&uri], &of_uri, with_uri);
        // A list for others says nothing, even if it names it.
        let others = trust(vec![list(Some(elsewhere), &revoked, now() + DAY)]);
        assert_as_good(&others, &[&uri], &of_uri, with_uri);
        let own = trust(vec![list(Some(here), &[], now() + DAY)]);
        assert_as_good(&own, &[&plain], &of_plain, None);
        assert_as_good(&own, &[&uri], &of_uri, None);
        let own = trust(vec![list(Some(here), &revoked, now() + DAY)]);
        assert_as_good(&own, &[&uri], &of_uri, Some(Refusal::Revoked));
    }
}

#[test]
fn a_proof_rests_on_an_authority_that_is_believed_and_in_time() {
    let (root, other) = (root(), root());
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let kept = vouched(&trusting(&root), &[&leaf]);
    let still = |trust: &Trust, time| trust.still_believes(&kept, time);
    let unknown = Err(Refusal::UnknownIssuer);
    let mut both = trusting(&other);
    assert_eq!(still(&both, now()), unknown);
    both.add_authority(root.certificate.clone()).unwrap();
    assert_eq!(still(&both, now()), Ok(()));
    assert_eq!(still(&both, now() + 2 * DAY), unknown);
    // With the same key and name it is the same authority, whatever its certificate.
    let again = Request {
        validity: (now() - DAY, now() + 9 * DAY),
        ..request("O=Example, CN=Root", Role::Authority(None))
    };
    let mut renewed = Trust::default();
    renewed.add_authority(self_signed(&again, &root.key, &mut provider()).unwrap()).unwrap();
    assert!(verify(&renewed, &[&leaf], &GATEWAY).is_ok());
    assert_eq!(still(&renewed, now() + 2 * DAY), Ok(()));
}

#[test]
fn a_proof_that_needs_no_authority_rests_on_itself() {
    let root = root();
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let mut trust = Trust::default();
    trust.add_peer(leaf.certificate.clone());
    for chain in [&[][..], &[&leaf]] {
        let kept = vouched(&trust, chain);
        assert_eq!(trust.still_believes(&kept, now()), Ok(()));
        assert!(trust.still_believes(&kept, now() + 2 * DAY).is_err());
        assert!(trusting(&root).still_believes(&kept, now()).is_err());
    }
    let mut trust = Trust::default();
    trust.add_key(leaf.key.public_key().clone());
    let spki = leaf.key.public_key().to_spki();
    let shown = Presented { certificates: &[], raw_key: Some(&spki) };
    let kept = trust.verify(shown, &GATEWAY, now()).unwrap().vouched;
    assert_eq!(trust.still_believes(&kept, now()), Ok(()));
    assert!(Trust::default().still_believes(&kept, now()).is_err());
}

/// What is fetched is not configuration: it outlives that, as long as it is
/// from somebody who is believed.
#[test]
fn fetched_lists_outlive_a_change_of_all_but_the_authorities() {
    let (root, other) = (root(), root());
    let leaf = root.issue(&peer(), KeyKind::EcdsaP256);
    let kept = vouched(&trusting(&root), &[&leaf]);
    let updates = (now() - DAY, now() + DAY);
    let (list, _) = root.authority().revoke(&[&leaf.certificate], updates, 1).unwrap();
    let before = trusting(&root);
    before.renew("here", list.into());
    let (same, (asked, heard)) = (trusting(&root), std::sync::mpsc::channel());
    same.ask_for_lists(Box::new(move |wanted| asked.send(wanted).unwrap()));
    same.succeed(&before);
    let wanted = heard.try_recv().unwrap();
    assert_eq!((&*wanted.uri, &wanted.issuers[..]), ("here", &[root.certificate.clone()][..]));
    assert_as_good(&same, &[&leaf], &kept, Some(Refusal::Revoked));
    let mut altered = trusting(&root);
    altered.add_authority(other.certificate).unwrap();
    altered.succeed(&before);
    assert_as_good(&altered, &[&leaf], &kept, None);
}
