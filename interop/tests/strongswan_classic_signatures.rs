//! The classic methods of signatures (RFC 7296 section 3.8, RFC 4754), with a strongSwan 5.9 that
//! knows no method 14.
#![allow(clippy::expect_used, reason = "a panic is how a story ends badly")]

use anyhow::Result;
use control::{Failure, Role, State, What};
use crypto::KeyKind;
use interop::{Cygnet, Namespace, Papers, StrongSwan, Tunnel, World, story};

/// The kinds of key, and the method that is made for each.
const ECDSA: [(KeyKind, &str); 2] =
    [(KeyKind::EcdsaP256, "ECDSA-256 signature"), (KeyKind::EcdsaP384, "ECDSA-384 signature")];

#[test]
fn ecdsa_signs_for_both_with_cygnet_as_initiator() -> Result<()> {
    both_sign_by_ecdsa(Role::Initiator)
}

#[test]
fn ecdsa_signs_for_both_with_cygnet_as_responder() -> Result<()> {
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
        let papers = Papers::new(&tunnel, kind, 0)?;
        papers.give(&tunnel.remote.id, &peer.dir().join("swanctl"))?;
        let strongswan = StrongSwan::start_classic(&peer, &tunnel.reversed())?;
        papers.give(&tunnel.local.id, dut.dir())?;
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        Ok(Self { tunnel, dut, peer, cygnet, strongswan })
    }
}

fn failure(cygnet: &mut Cygnet) -> Result<Failure> {
    cygnet.wait_for_event("failed", |what| match what {
        What::Failed { why, .. } => Some(why.clone()),
        _ => None,
    })
}
