//! `cygnet pki` as a person runs it; what it makes is read back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crypto::{KeyKind, Signer as _, SigningKey};
use pki::{Certificate, Credential, Crl, Name, Presented, Refusal, Revocation, Trust, Verified};
use pki::{pem, private_key};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3600);
const GATEWAY: Name<'static> = Name::Dns("gateway.example.org");

struct Said {
    code: Option<i32>,
    printed: String,
    complaint: String,
}

/// A directory in which a person works.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn try_pki(&self, arguments: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cygnet"));
        command.current_dir(self.0.path()).arg("pki").args(arguments.split_whitespace());
        let output = command.output().unwrap();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        Said {
            code: output.status.code(),
            printed: text(&output.stdout),
            complaint: text(&output.stderr),
        }
    }

    fn pki(&self, arguments: &str) -> String {
        let said = self.try_pki(arguments);
        assert_eq!((said.code, said.complaint.as_str()), (Some(0), ""), "{arguments}");
        said.printed
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn key(&self, name: &str) -> SigningKey {
        private_key(&fs::read(self.path(name)).unwrap(), None).unwrap()
    }

    fn certificates(&self, name: &str) -> Vec<Certificate> {
        sections(&self.path(name)).iter().map(|der| Certificate::from_der(der).unwrap()).collect()
    }

    fn trust(&self, ca: &str, revocation: Revocation) -> Trust {
        let mut trust = Trust::new(revocation);
        trust.add_authority(self.certificates(ca).remove(0)).unwrap();
        trust
    }

    fn verify(&self, trust: &Trust, peer: &str, name: &Name<'_>) -> Result<Verified, Refusal> {
        let chain = self.certificates(peer);
        let chain: Vec<_> = chain.iter().map(Certificate::as_der).collect();
        trust
            .verify(Presented { certificates: &chain, raw_key: None }, name, now())
            .map_err(|refused| refused.check)
    }
}

#[expect(clippy::disallowed_methods, reason = "the command has a real clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn sections(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap();
    pem::sections(&text).unwrap().into_iter().map(|section| section.octets.to_vec()).collect()
}

#[test]
fn two_commands_make_an_authority_and_a_peer_that_convinces() {
    let desk = Desk::new();
    let said = desk.pki("ca");
    assert!(said.starts_with("ca.pem: the certificate of CN=cygnet CA, good until 20"), "{said}");
    let said = desk.pki("issue --id gateway.example.org --id 192.0.2.1 --id admin@example.org");
    let names = "for gateway.example.org, 192.0.2.1, admin@example.org, good until 20";
    assert!(said.contains(names), "{said}");

    let trust = desk.trust("ca.pem", Revocation::Relaxed);
    let file = "gateway.example.org.pem";
    for name in [
        GATEWAY,
        Name::Address("192.0.2.1".parse().unwrap()),
        Name::Email("admin@example.org"),
        Name::Dn("CN=gateway.example.org".parse().unwrap()),
    ] {
        desk.verify(&trust, file, &name).unwrap();
    }
    assert_eq!(
        desk.verify(&trust, file, &Name::Dns("example.org")).unwrap_err(),
        Refusal::Identity
    );
    let key = desk.key("gateway.example.org.key");
    assert_eq!(key.public_key().kind(), KeyKind::EcdsaP256);
    Credential::new(std::sync::Arc::new(key), desk.certificates(file)).unwrap();
}

#[test]
fn private_keys_are_for_their_owner_alone_and_nothing_is_overwritten() {
    let desk = Desk::new();
    desk.pki("ca");
    let mode = fs::metadata(desk.path("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = [fs::read(desk.path("ca.key")).unwrap(), fs::read(desk.path("ca.pem")).unwrap()];

    let said = desk.try_pki("ca");
    let exists = "is there already, and is not overwritten: name another with --out\n";
    assert_eq!(said.complaint, format!("cygnet: ca.key {exists}"));
    // The certificate is in the way: the key that was made for it goes, too.
    fs::write(desk.path("peer.pem"), "precious").unwrap();
    let said = desk.try_pki("issue --id peer");
    assert_eq!((said.code, said.complaint), (Some(1), format!("cygnet: peer.pem {exists}")));
    assert!(!desk.path("peer.key").exists());
    let after = [fs::read(desk.path("ca.key")).unwrap(), fs::read(desk.path("ca.pem")).unwrap()];
    assert_eq!(before, after);
}

#[test]
fn every_kind_of_key_can_be_had() {
    let desk = Desk::new();
    for (kind, expected) in [
        ("p256", (KeyKind::EcdsaP256, 256)),
        ("p384", (KeyKind::EcdsaP384, 384)),
        ("ed25519", (KeyKind::Ed25519, 256)),
        ("rsa3072", (KeyKind::Rsa, 3072)),
    ] {
        desk.pki(&format!("ca --key-type {kind} --out {kind}-ca"));
        desk.pki(&format!("issue --id {kind} --key-type {kind} --ca {kind}-ca.pem"));
        let trust = desk.trust(&format!("{kind}-ca.pem"), Revocation::Relaxed);
        let verified = desk.verify(&trust, &format!("{kind}.pem"), &Name::Dns(kind)).unwrap();
        assert_eq!((verified.key.kind(), verified.key.bits()), expected);
    }
}

#[test]
fn a_certificate_never_outlives_its_authority() {
    let desk = Desk::new();
    desk.pki("ca --lifetime 30");
    desk.pki("issue --id long");
    desk.pki("issue --id short --lifetime 7");
    let until = |name| desk.certificates(name)[0].validity().1;
    assert_eq!(until("long.pem"), until("ca.pem"));
    let left = until("short.pem").duration_since(now()).unwrap();
    assert!(left <= 7 * DAY && left > 6 * DAY, "{left:?}");
    assert_eq!(desk.try_pki("ca --lifetime 0 --out never").code, Some(2));
}

#[test]
fn an_authority_below_another_sends_its_own_certificate_along() {
    let desk = Desk::new();
    desk.pki("ca --out root");
    desk.pki("ca --subject CN=first --ca root.pem --out first");
    desk.pki("ca --subject CN=second --ca first.pem --out second");
    desk.pki("issue --id gateway.example.org --ca second.pem");
    let chain = desk.certificates("gateway.example.org.pem");
    let subjects: Vec<_> = chain.iter().map(|it| it.subject().to_string()).collect();
    assert_eq!(subjects, ["CN=gateway.example.org", "CN=second", "CN=first"]);
    let trust = desk.trust("root.pem", Revocation::Relaxed);
    desk.verify(&trust, "gateway.example.org.pem", &GATEWAY).unwrap();
}

#[test]
fn extended_usages_are_left_out_unless_asked_for_and_then_ike_is_among_them() {
    let desk = Desk::new();
    desk.pki("ca");
    desk.pki("issue --id plain");
    desk.pki("issue --id windows --flag serverAuth --flag ikeIntermediate");
    let extended = |name| desk.certificates(name)[0].usages().extended;
    assert_eq!(extended("plain.pem"), None);
    let expected = ["serverAuth", "ipsecIKE", "ikeIntermediate"].map(str::to_owned);
    assert_eq!(extended("windows.pem"), Some(expected.to_vec()));
    let trust = desk.trust("ca.pem", Revocation::Relaxed);
    desk.verify(&trust, "windows.pem", &Name::Dns("windows")).unwrap();
}

#[test]
fn a_list_revokes_and_the_next_one_goes_on() {
    let desk = Desk::new();
    desk.pki("ca");
    for name in ["a", "b", "c"] {
        desk.pki(&format!("issue --id {name}"));
    }
    let said = desk.pki("revoke a.pem");
    assert!(said.starts_with("ca.crl: a list of 1 revoked certificate, good until"), "{said}");
    desk.pki("revoke b.pem a.pem");
    let said = desk.pki("revoke");
    assert!(said.starts_with("ca.crl: a list of 2 revoked certificates"), "{said}");

    let der = sections(&desk.path("ca.crl")).remove(0);
    assert_eq!(pki::issue::entries(&der).unwrap().1, 3, "the number of the list");
    let mut trust = desk.trust("ca.pem", Revocation::Strict);
    trust.add_crl(Crl::from_der(&der).unwrap());
    for (name, expected) in
        [("a", Some(Refusal::Revoked)), ("b", Some(Refusal::Revoked)), ("c", None)]
    {
        let verified = desk.verify(&trust, &format!("{name}.pem"), &Name::Dns(name));
        assert_eq!(verified.err(), expected);
    }
    let said = desk.pki("show ca.crl");
    assert!(said.contains("revokes     2\n"), "{said}");
}

#[test]
fn only_the_authority_that_issued_a_certificate_revokes_it() {
    let desk = Desk::new();
    desk.pki("ca");
    desk.pki("ca --subject CN=other --out other");
    desk.pki("issue --id a");
    let said = desk.try_pki("revoke a.pem --ca other.pem");
    let expected = "cygnet: a.pem was not issued by the authority in other.pem\n";
    assert_eq!((said.code, said.complaint.as_str()), (Some(1), expected));
    assert!(!desk.path("other.crl").exists());
}

#[test]
fn show_says_what_a_certificate_says() {
    let desk = Desk::new();
    desk.pki("ca --subject O=Example,CN=Root");
    desk.pki("issue --id gateway.example.org --crl http://ca.example.org/ca.crl");
    let said = desk.pki("show gateway.example.org.pem");
    for expected in [
        "subject     CN=gateway.example.org\n",
        "issuer      O=Example, CN=Root\n",
        "names       gateway.example.org\n",
        "key         ECDSA on P-256\n",
        "authority   no\n",
        "key usage   digitalSignature\n",
        "extended    any\n",
        "CRL         http://ca.example.org/ca.crl\n",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    assert!(said.contains(", 824d 23h from now\n"), "{said}");
    let said = desk.pki("show ca.pem");
    for expected in ["issuer      itself\n", "authority   yes\n", "keyCertSign, cRLSign\n"] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
}

#[test]
fn show_says_whether_a_certificate_would_convince_and_why_not() {
    let desk = Desk::new();
    desk.pki("ca");
    desk.pki("ca --subject CN=other --out other");
    desk.pki("issue --id gateway.example.org");
    let show = "show gateway.example.org.pem";
    let said = desk.pki(&format!("{show} --ca ca.pem"));
    assert!(said.ends_with("convinces   yes, as gateway.example.org\n"), "{said}");

    let no = |arguments: &str, check: Refusal| {
        let why = format!("{check} (CN=gateway.example.org)");
        let said = desk.try_pki(&format!("{show} {arguments}"));
        assert_eq!(said.code, Some(1), "{arguments}");
        assert!(said.printed.ends_with(&format!("convinces   no: {why}\n")), "{}", said.printed);
        let complaint = format!("cygnet: gateway.example.org.pem would not convince: {why}\n");
        assert_eq!(said.complaint, complaint);
    };
    no("--ca other.pem", Refusal::UnknownIssuer);
    no("--ca ca.pem --id other.example.org", Refusal::Identity);
    desk.pki("revoke gateway.example.org.pem");
    no("--ca ca.pem --crl ca.crl", Refusal::Revoked);
}

#[test]
fn what_is_wrong_is_said_with_the_name_of_the_file() {
    let desk = Desk::new();
    let complaint = |arguments: &str| {
        let said = desk.try_pki(arguments);
        assert_eq!((said.code, said.printed.as_str()), (Some(1), ""), "{arguments}");
        said.complaint
    };
    assert_eq!(
        complaint("issue --id a"),
        "cygnet: ca.pem: No such file or directory (os error 2)\n"
    );
    desk.pki("ca");
    desk.pki("issue --id a");
    let expected =
        "cygnet: a.pem: this is not the certificate of an authority (basic constraints)\n";
    assert_eq!(complaint("issue --id b --ca a.pem"), expected);
    let expected = "cygnet: ca.pem: it is not the certificate of the key a.key\n";
    assert_eq!(complaint("issue --id b --ca-key a.key"), expected);
    assert_eq!(complaint("show a.key"), "cygnet: a.key: there is no certificate in it\n");
    fs::write(desk.path("noise"), [7; 40]).unwrap();
    assert_eq!(complaint("show noise"), "cygnet: noise: not an X.509 certificate\n");
    for id in ["", "a/b", "a@b@c", "*.example.org", "..", "a\u{1b}"] {
        assert_eq!(desk.try_pki(&format!("issue --id={id}")).code, Some(2), "{id:?}");
    }
}
