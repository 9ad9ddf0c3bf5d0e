//! Certificates with strongSwan 5.9, in both roles and with every kind of key.
#![allow(clippy::expect_used, reason = "a panic is how a story ends badly")]

use anyhow::{Result, bail};
use control::{CertificateFault, Failure, How, State, What};
use crypto::KeyKind;
use interop::{
    Capture, Cygnet, Frame, Namespace, Packet, Papers, StrongSwan, Tunnel, World, story,
};

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
        let tunnel = tunnel();
        let ours = Papers::new(&tunnel, KeyKind::EcdsaP256, 0)?;
        let theirs = Papers::new(&tunnel, KeyKind::EcdsaP256, 0)?;
        ours.give(&tunnel.local.id, dut.dir())?;
        let mut cygnet = Cygnet::start(&dut, &tunnel, "")?;
        theirs.give(&tunnel.remote.id, &peer.dir().join("swanctl"))?;
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;

        let refusal = strongswan.initiate().expect_err("an SA with a stranger");
        assert!(format!("{refusal:#}").contains("AUTHENTICATION_FAILED"), "{refusal:#}");
        let why = cygnet.wait_for_event("failed", |what| match what {
            What::Failed { why, .. } => Some(why.clone()),
            _ => None,
        })?;
        let expected = [CertificateFault::UnknownIssuer, CertificateFault::Signature];
        let Failure::Certificate(refused) = &why else { bail!("{why:?}") };
        assert!(expected.contains(&refused.check) && refused.subject.is_some(), "{why:?}");
        Ok(())
    })
}

/// Root, two authorities and leaf, of which all but the root are sent: more than 3 KiB with RSA,
/// on a cable that carries 1280 octets. The kernels must not have to fragment IP for them.
#[test]
fn a_chain_of_four_passes_1280_octets_with_cygnet_as_initiator() -> Result<()> {
    story(|world| {
        let (dut, peer) = narrow_pair(world)?;
        let wire = Capture::start(&dut, "eth0")?;
        let (cygnet, strongswan) = start(&dut, &peer, KeyKind::Rsa, 2)?;
        up_by_cygnet(&dut, &peer, &cygnet, &strongswan)?;
        all_in_fragments(&wire.stop()?)
    })
}

#[test]
fn a_chain_of_four_passes_1280_octets_with_cygnet_as_responder() -> Result<()> {
    story(|world| {
        let (dut, peer) = narrow_pair(world)?;
        let wire = Capture::start(&dut, "eth0")?;
        let (cygnet, strongswan) = start(&dut, &peer, KeyKind::Rsa, 2)?;
        up_by_strongswan(&peer, cygnet, &strongswan)?;
        all_in_fragments(&wire.stop()?)
    })
}

fn cygnet_initiates(kind: KeyKind) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let (cygnet, strongswan) = start(&dut, &peer, kind, 0)?;
        up_by_cygnet(&dut, &peer, &cygnet, &strongswan)
    })
}

fn strongswan_initiates(kind: KeyKind) -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let (cygnet, strongswan) = start(&dut, &peer, kind, 0)?;
        up_by_strongswan(&peer, cygnet, &strongswan)
    })
}

fn tunnel() -> Tunnel {
    Tunnel::certified("aes256gcm16-prfsha384-x25519", "aes256gcm16")
}

fn start(
    dut: &Namespace,
    peer: &Namespace,
    kind: KeyKind,
    between: usize,
) -> Result<(Cygnet, StrongSwan)> {
    let tunnel = tunnel();
    let papers = Papers::new(&tunnel, kind, between)?;
    papers.give(&tunnel.remote.id, &peer.dir().join("swanctl"))?;
    let strongswan = StrongSwan::start(peer, &tunnel.reversed())?;
    papers.give(&tunnel.local.id, dut.dir())?;
    Ok((Cygnet::start(dut, &tunnel, "")?, strongswan))
}

fn up_by_cygnet(
    dut: &Namespace,
    peer: &Namespace,
    cygnet: &Cygnet,
    strongswan: &StrongSwan,
) -> Result<()> {
    let tunnel = tunnel();
    cygnet.up()?;
    dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
    peer.ping(tunnel.remote.inner, tunnel.local.inner)?;
    strongswan.wait_for_established(1)
}

fn up_by_strongswan(peer: &Namespace, mut cygnet: Cygnet, strongswan: &StrongSwan) -> Result<()> {
    let tunnel = tunnel();
    strongswan.initiate()?;
    let how = cygnet.wait_for_event("up", |what| match what {
        What::Up { set_up, .. } => Some(set_up.how),
        _ => None,
    })?;
    assert_eq!(how, How::Full);
    peer.ping(tunnel.remote.inner, tunnel.local.inner)?;
    cygnet.wait_for_state(State::Up).map(drop)
}

/// As [`World::pair`], on a cable that carries no more than IPv6 must.
fn narrow_pair(world: &World) -> Result<(Namespace, Namespace)> {
    let (dut, peer) = world.pair()?;
    dut.ip("link set eth0 mtu 1280")?;
    peer.ip("link set eth0 mtu 1280")?;
    Ok((dut, peer))
}

/// Both certificates came in several messages, and no packet in fragments of IP.
fn all_in_fragments(frames: &[Frame]) -> Result<()> {
    const IKE_AUTH: u8 = 35;
    let sent = |whose: bool| {
        let packets = frames.iter().filter_map(Frame::packet);
        packets
            .filter(|packet| {
                let Packet::Ike { exchange, response, .. } = packet else { return false };
                (*exchange, *response) == (IKE_AUTH, whose)
            })
            .count()
    };
    assert!(sent(false) >= 3 && sent(true) >= 3, "{} and {}", sent(false), sent(true));
    for frame in frames {
        // More fragments, or an offset (RFC 791 section 3.1).
        if let Some([0x45, _, _, _, _, _, flags, offset, ..]) = frame.octets.get(14..) {
            assert_eq!((flags & 0x3f, offset), (0, &0), "a fragment of IP");
        }
    }
    Ok(())
}
