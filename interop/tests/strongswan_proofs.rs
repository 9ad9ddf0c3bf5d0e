//! Each side proves itself in a way of its own (RFC 7296 section 2.15), with strongSwan 5.9 in both
//! roles: one by a secret, the other by a certificate.

use anyhow::Result;
use control::{Role, State};
use crypto::KeyKind;
use interop::{Cygnet, Papers, Proof, StrongSwan, Tunnel, story};

const BY_SECRET: &str = "with pre-shared key successful";
const BY_SIGNATURE: &str = "with ECDSA_WITH_SHA256_DER successful";

#[test]
fn cygnet_shows_a_certificate_and_strongswan_knows_the_secret() -> Result<()> {
    for begins in [Role::Initiator, Role::Responder] {
        proven_by([Proof::Certificates, secret()], begins, BY_SIGNATURE)?;
    }
    Ok(())
}

#[test]
fn cygnet_knows_the_secret_and_strongswan_shows_a_certificate() -> Result<()> {
    for begins in [Role::Initiator, Role::Responder] {
        proven_by([secret(), Proof::Certificates], begins, BY_SECRET)?;
    }
    Ok(())
}

fn secret() -> Proof {
    Proof::Secret("correct horse battery staple".into())
}

/// Who checks a certificate has its root, and nothing else.
fn proven_by(proofs: [Proof; 2], begins: Role, ours: &str) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::certified("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let tunnel = tunnel.proven_by(proofs);
        let papers = Papers::new(&tunnel, KeyKind::EcdsaP256, 0)?;
        let folder = peer.dir().join("swanctl");
        for (side, dir) in [(&tunnel.local, dut.dir()), (&tunnel.remote, &folder)] {
            match side.proof {
                Proof::Certificates => papers.give(&side.id, dir)?,
                Proof::Secret(_) => papers.give_root(dir)?,
            }
        }
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        match begins {
            Role::Initiator => cygnet.up()?,
            Role::Responder => strongswan.initiate()?,
        }
        cygnet.wait_for_state(State::Up)?;
        strongswan.ensure_logged(&format!("authentication of 'dut.example.org' {ours}"))?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        peer.ping(tunnel.remote.inner, tunnel.local.inner)
    })
}
