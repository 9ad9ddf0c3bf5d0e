//! The classic methods of signatures (RFC 7296 section 3.8, RFC 4754), with a strongSwan 5.9 that
//! knows no method 14.
#![allow(clippy::expect_used, reason = "a panic is how a story ends badly")]

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use control::{Failure, Role, State, What};
use crypto::KeyKind;
use interop::{Cygnet, Namespace, Papers, StrongSwan, Tunnel, World, story};

/// The kinds of key, and the method that is made for each.
const ECDSA: [(KeyKind, &str); 2] =
    [(KeyKind::EcdsaP256, "ECDSA-256 signature"), (KeyKind::EcdsaP384, "ECDSA-384 signature")];

#[test]
fn ecdsa_of_every_curve_signs_for_both_with_cygnet_as_initiator() -> Result<()> {
    both_sign_by_ecdsa(Role::Initiator)
}

#[test]
fn ecdsa_of_every_curve_signs_for_both_with_cygnet_as_responder() -> Result<()> {
    both_sign_by_ecdsa(Role::Responder)
}

/// By method 1, it signs with SHA-1, and takes nothing else. Ours is with SHA-256, and we take no
/// SHA-1 (RFC 8247 section 3).
#[test]
fn strongswan_does_not_take_sha_256_with_rsa() -> Result<()> {
    story(|world| {
        let Ends { mut cygnet, strongswan, .. } = Ends::new(world, KeyKind::Rsa)?;
        let answer = cygnet.ask(&["up", "dut"])?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert_eq!(failure(&mut cygnet)?, Failure::RefusedByPeer);
        strongswan.ensure_logged("signature validation failed")?;
        strongswan.wait_for_established(0)
    })
}

#[test]
fn cygnet_does_not_take_sha_1_with_rsa() -> Result<()> {
    story(|world| {
        let Ends { mut cygnet, strongswan, .. } = Ends::new(world, KeyKind::Rsa)?;
        let refusal = strongswan.initiate().expect_err("an SA that rests on SHA-1");
        assert!(format!("{refusal:#}").contains("AUTHENTICATION_FAILED"), "{refusal:#}");
        assert_eq!(failure(&mut cygnet)?, Failure::PeerNotAuthentic);
        strongswan.ensure_logged("(myself) with RSA signature successful")
    })
}

fn both_sign_by_ecdsa(begins: Role) -> Result<()> {
    for (kind, method) in ECDSA {
        story(|world| {
            let Ends { tunnel, dut, peer, cygnet, strongswan } = Ends::new(world, kind)?;
            match begins {
                Role::Initiator => cygnet.up()?,
                Role::Responder => strongswan.initiate()?,
            }
            cygnet.wait_for_state(State::Up)?;
            for who in ["'dut.example.org'", "'peer.example.org' (myself)"] {
                let line = format!("authentication of {who} with {method} successful");
                strongswan.ensure_logged(&line)?;
            }
            dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
            peer.ping(tunnel.remote.inner, tunnel.local.inner)
        })?;
    }
    Ok(())
}

/// Both ends of a tunnel that is not up.
struct Ends {
    tunnel: Tunnel,
    dut: Namespace,
    peer: Namespace,
    cygnet: Cygnet,
    strongswan: StrongSwan,
}

impl Ends {
    fn new(world: &World, kind: KeyKind) -> Result<Self> {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::certified("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let folder = peer.dir().join("swanctl");
        let sides = [(&*tunnel.local.id, dut.dir()), (&*tunnel.remote.id, &folder)];
        if kind == KeyKind::EcdsaP521 {
            give_p521(world.dir(), sides)?;
        } else {
            let papers = Papers::new(&tunnel, kind, 0)?;
            sides.into_iter().try_for_each(|(id, dir)| papers.give(id, dir))?;
        }
        let strongswan = StrongSwan::start_classic(&peer, &tunnel.reversed())?;
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        Ok(Self { tunnel, dut, peer, cygnet, strongswan })
    }
}

/// As [`Papers`] are, with keys on P-521. We make no certificates for those; strongSwan's `pki`
/// does.
fn give_p521(desk: &Path, sides: [(&str, &Path); 2]) -> Result<()> {
    pki(desk, "root.key", "--gen --type ecdsa --size 384")?;
    pki(desk, "root.pem", "--self --ca --in root.key --type ecdsa --dn CN=root")?;
    for (id, dir) in sides {
        let name = id.trim_start_matches('@');
        let issue = "--issue --cacert root.pem --cakey root.key --in own.key --type ecdsa";
        pki(desk, "own.key", "--gen --type ecdsa --size 521")?;
        pki(desk, "own.pem", &format!("{issue} --dn CN={name} --san {name}"))?;
        for (folder, from, to) in [
            ("x509ca", "root.pem", "root.pem"),
            ("x509", "own.pem", "own.pem"),
            ("pkcs8", "own.key", "own.pem"),
        ] {
            fs::create_dir_all(dir.join(folder))?;
            fs::copy(desk.join(from), dir.join(folder).join(to))?;
        }
    }
    Ok(())
}

/// Has strongSwan's `pki` make this file.
fn pki(desk: &Path, file: &str, arguments: &str) -> Result<()> {
    let mut command = Command::new("pki");
    command.args(arguments.split_whitespace()).args(["--outform", "pem"]);
    let made = command.current_dir(desk).output()?;
    ensure!(made.status.success(), "pki {arguments}: {}", String::from_utf8_lossy(&made.stderr));
    Ok(fs::write(desk.join(file), made.stdout)?)
}

fn failure(cygnet: &mut Cygnet) -> Result<Failure> {
    cygnet.wait_for_event("failed", |what| match what {
        What::Failed { why, .. } => Some(why.clone()),
        _ => None,
    })
}
