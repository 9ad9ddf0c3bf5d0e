//! Certificates with strongSwan 5.9, in both roles and with every kind of key.
#![allow(clippy::expect_used, reason = "a panic is how a story ends badly")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use control::{CertificateFault, Failure, How, State, What};
use crypto::{KeyKind, Provider, SigningKey};
use interop::{Cygnet, StrongSwan, Tunnel, story};
use pki::issue::{AlternativeName, Authority, Request, Role, self_signed};
use pki::{Certificate, pem};

const CYGNET: &str = "cygnet.example.org";
const SWAN: &str = "swan.example.org";

#[test]
fn rsa_signs_for_both_with_cygnet_as_initiator() -> Result<()> {
    cygnet_initiates(KeyKind::Rsa)
}

#[test]
fn ecdsa_signs_for_both_with_cygnet_as_initiator() -> Result<()> {
    cygnet_initiates(KeyKind::EcdsaP256)
}

#[test]
fn ed25519_signs_for_both_with_cygnet_as_initiator() -> Result<()> {
    cygnet_initiates(KeyKind::Ed25519)
}

#[test]
fn rsa_signs_for_both_with_cygnet_as_responder() -> Result<()> {
    strongswan_initiates(KeyKind::Rsa)
}

#[test]
fn ecdsa_signs_for_both_with_cygnet_as_responder() -> Result<()> {
    strongswan_initiates(KeyKind::EcdsaP384)
}

#[test]
fn ed25519_signs_for_both_with_cygnet_as_responder() -> Result<()> {
    strongswan_initiates(KeyKind::Ed25519)
}

#[test]
fn a_certificate_of_another_authority_gets_authentication_failed() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let (ours, theirs) = (Papers::new(KeyKind::EcdsaP256)?, Papers::new(KeyKind::EcdsaP256)?);
        let tunnel = tunnel();
        ours.write(dut.dir(), CYGNET)?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &cygnet_config(&tunnel))?;
        theirs.write(&peer.dir().join("swanctl"), SWAN)?;
        peer.address("lo", &format!("{}/32", tunnel.remote.inner))?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_config(&tunnel.reversed()))?;

        let refusal = strongswan.initiate().expect_err("an SA with a stranger");
        assert!(format!("{refusal:#}").contains("AUTHENTICATION_FAILED"), "{refusal:#}");
        let why = cygnet.wait_for_event("failed", |what| match what {
            What::Failed { why, .. } => Some(*why),
            _ => None,
        })?;
        let expected = [CertificateFault::UnknownIssuer, CertificateFault::Signature];
        assert!(expected.map(Failure::Certificate).contains(&why), "{why:?}");
        Ok(())
    })
}

fn cygnet_initiates(kind: KeyKind) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = tunnel();
        let papers = Papers::new(kind)?;
        papers.write(&peer.dir().join("swanctl"), SWAN)?;
        peer.address("lo", &format!("{}/32", tunnel.remote.inner))?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_config(&tunnel.reversed()))?;
        papers.write(dut.dir(), CYGNET)?;
        let cygnet = Cygnet::start_with(&dut, "dut", &cygnet_config(&tunnel))?;

        cygnet.up()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)?;
        strongswan.wait_for_established(1)
    })
}

fn strongswan_initiates(kind: KeyKind) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = tunnel();
        let papers = Papers::new(kind)?;
        papers.write(dut.dir(), CYGNET)?;
        let mut cygnet = Cygnet::start_with(&dut, "dut", &cygnet_config(&tunnel))?;
        papers.write(&peer.dir().join("swanctl"), SWAN)?;
        peer.address("lo", &format!("{}/32", tunnel.remote.inner))?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_config(&tunnel.reversed()))?;

        strongswan.initiate()?;
        let how = cygnet.wait_for_event("up", |what| match what {
            What::Up { set_up, .. } => Some(set_up.how),
            _ => None,
        })?;
        assert_eq!(how, How::Full);
        peer.ping(tunnel.remote.inner, tunnel.local.inner)?;
        cygnet.wait_for_state(State::Up).map(drop)
    })
}

fn tunnel() -> Tunnel {
    let mut tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
    tunnel.local.id = CYGNET.into();
    tunnel.remote.id = SWAN.into();
    tunnel
}

/// An authority, and a certificate with its key for each side.
struct Papers {
    authority: Certificate,
    sides: [(&'static str, Certificate, Vec<u8>); 2],
}

impl Papers {
    fn new(kind: KeyKind) -> Result<Self> {
        let mut provider = Provider::system();
        let new_key = || SigningKey::generate(kind, 3072);
        let key = SigningKey::from_pkcs8(&new_key()?)?;
        let authority = self_signed(&request("CA", Role::Authority(None))?, &key, &mut provider)?;
        let by = Authority { certificate: &authority, key: &key };
        let mut side = |name: &'static str| -> Result<_> {
            let pkcs8 = new_key()?;
            let request = Request {
                names: vec![AlternativeName::Dns(name.into())],
                ..request(name, Role::Peer)?
            };
            let key = SigningKey::from_pkcs8(&pkcs8)?;
            Ok((name, by.issue(&request, &key, &mut provider)?, pkcs8.to_vec()))
        };
        let sides = [side(CYGNET)?, side(SWAN)?];
        Ok(Self { authority, sides })
    }

    /// As swanctl has its folders.
    fn write(&self, dir: &Path, name: &str) -> Result<()> {
        let put = |folder: &str, label: &str, octets: &[u8]| -> Result<()> {
            fs::create_dir_all(dir.join(folder))?;
            let path = dir.join(folder).join("own.pem");
            fs::write(&path, pem::encode(label, octets).as_bytes())?;
            Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
        };
        put("x509ca", "CERTIFICATE", self.authority.as_der())?;
        let own = self.sides.iter().find(|(whose, ..)| *whose == name);
        let (_, certificate, key) = own.expect("one of the two");
        put("x509", "CERTIFICATE", certificate.as_der())?;
        put("pkcs8", "PRIVATE KEY", key)
    }
}

#[expect(clippy::disallowed_methods, reason = "the peers have real clocks")]
fn request(name: &str, role: Role) -> Result<Request> {
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    Ok(Request {
        subject: format!("C=CH, O=Example, CN={name}").parse()?,
        names: Vec::new(),
        validity: (now - day, now + day),
        role,
        extended_key_usages: Vec::new(),
        name_constraints: None,
        crl_uri: None,
    })
}

fn cygnet_config(tunnel: &Tunnel) -> String {
    let Tunnel { local, remote, ike, esp, .. } = tunnel;
    format!(
        r#"[daemon]
listen = ["{}"]

[connections.dut]
local_addrs = ["{}"]
remote_addrs = ["{}"]
proposals = ["{ike}"]
inner_addrs = ["{}/24"]

[connections.dut.local]
auth = "pubkey"
id = "{}"
certs = ["x509/own.pem"]
key = "pkcs8/own.pem"

[connections.dut.remote]
auth = "pubkey"
id = "{}"
cacerts = ["x509ca/own.pem"]

[connections.dut.children.net]
local_ts = ["{}"]
remote_ts = ["{}"]
esp_proposals = ["{esp}"]
"#,
        local.outer,
        local.outer,
        remote.outer,
        local.inner,
        local.id,
        remote.id,
        local.network(),
        remote.network(),
    )
}

fn swanctl_config(tunnel: &Tunnel) -> String {
    let Tunnel { local, remote, ike, esp, .. } = tunnel;
    format!(
        "connections {{ dut {{
            version = 2
            local_addrs = {}
            remote_addrs = {}
            proposals = {ike}
            encap = yes
            mobike = no
            local {{ auth = pubkey
                     certs = own.pem
                     id = {} }}
            remote {{ auth = pubkey
                      id = {} }}
            children {{ net {{ local_ts = {}
                               remote_ts = {}
                               esp_proposals = {esp}
                               mode = tunnel }} }}
        }} }}\n",
        local.outer,
        remote.outer,
        local.id,
        remote.id,
        local.network(),
        remote.network()
    )
}
